//! What a field's modifiers and values mean: one item becomes atoms.
//!
//! The modifiers of an item are first read as a [`Plan`], which refuses combinations that mean
//! nothing, each with its reason. Then every value becomes the tests of its forms (encodings,
//! dashes), and these are linked by `Or`, or by `And` when `all` is there. The order of modifiers
//! does not matter except among encodings: `wide|base64` is UTF-16 first and Base64 around it, and
//! `contains` puts its wildcards around the result wherever it is written.

use std::net::IpAddr;
use std::sync::Arc;

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::encode;
use crate::expr::{
    Atom, Comparison, Expr, Network, Pattern, Piece, Regex, Relation, Test, TimePart,
};
use crate::modifier::Modifier;
use crate::pattern;
use crate::pcre;
use crate::resolve::{Budget, all, any};
use crate::rule::{Item, Value, ValueKind};
use crate::yaml::json_number;

/// The most ways of writing its dashes that a value is spelled out in; one with more option dashes
/// becomes a regular expression that means the same.
pub(crate) const WINDASH_VARIANTS_MAX: usize = 125;

/// What a regular expression counts for among a rule's nodes: compiling one takes as long as
/// making so many plain tests, so a rule has at most some thousands.
const REGEX_NODES: usize = 50;

/// The expression of an item.
pub(crate) fn item_expr(item: &Item, budget: &mut Budget) -> Result<Expr, Diagnostic> {
    let plan = Plan::read(item)?;
    let field: Option<Arc<str>> = item.field.as_deref().map(Arc::from);
    let mut values = Vec::with_capacity(item.values.len());
    for value in &item.values {
        let tests = plan.tests(value, field.is_none())?;
        let each = if matches!(plan.kind, Kind::Regex { .. }) { REGEX_NODES } else { 1 };
        budget.spend(tests.len() * each)?;
        let atoms = tests.into_iter().map(|test| Expr::Atom(Atom { field: field.clone(), test }));
        values.extend(any(atoms.collect()));
    }
    let linked = if plan.all { all(values) } else { any(values) };
    let expr = linked.ok_or_else(|| {
        Diagnostic::error(Code::NeverMatches, item.span, "this field has no value to match")
    })?;
    Ok(if plan.negated { Expr::Not(Box::new(expr)) } else { expr })
}

/// The placeholder in a text, if there is one: its name, between `%` that no backslash escapes.
pub(crate) fn placeholder(text: &str) -> Option<&str> {
    split_placeholder(text).map(|(_, name, _)| name)
}

/// A text at its first placeholder: what is before it, its name, what is after it.
pub(crate) fn split_placeholder(text: &str) -> Option<(&str, &str, &str)> {
    let mut from = 0;
    while let Some(offset) = text.get(from..)?.find('%') {
        let start = from + offset;
        let (before, after) = (text.get(..start)?, text.get(start + 1..)?);
        if !before.ends_with('\\')
            && let Some((name, rest)) = after.split_once('%')
            && !name.is_empty()
            && name.chars().all(|c| c.is_alphanumeric() || c == '_')
        {
            return Some((before, name, rest));
        }
        from = start + 1;
    }
    None
}

/// What an item's modifiers say together.
struct Plan {
    kind: Kind,
    position: Position,
    /// In the order written.
    encodings: Vec<Modifier>,
    all: bool,
    cased: bool,
    negated: bool,
    expand: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Regex { ignore_case: bool, multi_line: bool, dot_all: bool },
    Cidr,
    Compare(Comparison),
    Exists,
    FieldRef,
    TimePart(TimePart, Option<Comparison>),
}

#[derive(Clone, Copy, PartialEq)]
enum Position {
    Whole,
    Contains,
    StartsWith,
    EndsWith,
}

impl Plan {
    fn read(item: &Item) -> Result<Plan, Diagnostic> {
        let misuse = |message: String| Diagnostic::error(Code::ModifierMisuse, item.span, message);
        let mut plan = Plan {
            kind: Kind::Text,
            position: Position::Whole,
            encodings: Vec::new(),
            all: item.has(Modifier::All),
            cased: item.has(Modifier::Cased),
            negated: item.has(Modifier::Neq),
            expand: item.has(Modifier::Expand),
        };
        // The first modifier that decides the kind and the position, to name it in a message.
        let (mut kind_from, mut position_from) = (None, None);
        for &modifier in &item.modifiers {
            if let Some(kind) = kind_of(modifier, item) {
                plan.kind = match (plan.kind, kind) {
                    (Kind::Text, kind) => kind,
                    (Kind::TimePart(part, None), Kind::Compare(comparison))
                    | (Kind::Compare(comparison), Kind::TimePart(part, None)) => {
                        Kind::TimePart(part, Some(comparison))
                    }
                    _ => {
                        let first = kind_from.unwrap_or(modifier);
                        return Err(misuse(format!(
                            "`{first}` and `{modifier}` exclude each other"
                        )));
                    }
                };
                kind_from = kind_from.or(Some(modifier));
            }
            let position = match modifier {
                Modifier::Contains => Some(Position::Contains),
                Modifier::StartsWith => Some(Position::StartsWith),
                Modifier::EndsWith => Some(Position::EndsWith),
                _ => None,
            };
            if let Some(position) = position {
                if let Some(first) = position_from.filter(|_| plan.position != position) {
                    return Err(misuse(format!("`{first}` and `{modifier}` exclude each other")));
                }
                plan.position = position;
                position_from = Some(modifier);
            }
            if is_encoding(modifier) {
                plan.encodings.push(modifier);
            }
        }
        plan.check(item, kind_from, position_from)?;
        Ok(plan)
    }

    fn check(
        &self,
        item: &Item,
        kind_from: Option<Modifier>,
        position_from: Option<Modifier>,
    ) -> Result<(), Diagnostic> {
        let misuse =
            |message: String| Err(Diagnostic::error(Code::ModifierMisuse, item.span, message));
        for flag in [Modifier::IgnoreCase, Modifier::MultiLine, Modifier::DotAll] {
            if item.has(flag) && !matches!(self.kind, Kind::Regex { .. }) {
                return misuse(format!("`{flag}` belongs to `re`"));
            }
        }
        if let Some(kind) = kind_from {
            if let Some(encoding) = self.encodings.first() {
                return misuse(format!("`{kind}` and `{encoding}` exclude each other"));
            }
            let takes_position = matches!(self.kind, Kind::Regex { .. } | Kind::FieldRef);
            if let Some(position) = position_from.filter(|_| !takes_position) {
                return misuse(format!("`{kind}` and `{position}` exclude each other"));
            }
            if item.field.is_none() && !matches!(self.kind, Kind::Regex { .. }) {
                return misuse(format!("`{kind}` needs a field"));
            }
        }
        if self.negated && matches!(self.kind, Kind::Compare(_) | Kind::Exists) {
            return misuse("`neq` can't be combined with a comparison or `exists`".to_owned());
        }
        for (index, encoding) in self.encodings.iter().enumerate() {
            if is_utf16(*encoding) && !self.encodings.get(index + 1).is_some_and(|e| is_base64(*e))
            {
                let message =
                    format!("`{encoding}` must be followed by `base64` or `base64offset`");
                return misuse(message);
            }
        }
        if self.encodings.iter().filter(|encoding| is_base64(**encoding)).count() > 1 {
            return misuse("a value can be encoded as Base64 only once".to_owned());
        }
        if self.kind == Kind::Exists && item.values.len() > 1 {
            return misuse("`exists` takes one value, true or false".to_owned());
        }
        Ok(())
    }

    /// The tests of one value's forms; one that holds is enough.
    fn tests(&self, value: &Value, keyword: bool) -> Result<Vec<Test>, Diagnostic> {
        let wrong = |expected: &str| {
            let message = format!("{expected} should stand here, not {}", value.kind.describe());
            Err(Diagnostic::error(Code::Value, value.span, message))
        };
        match self.kind {
            Kind::Text => self.text_tests(value, keyword),
            Kind::Regex { ignore_case, multi_line, dot_all } => {
                let (ValueKind::Text(raw) | ValueKind::Number(raw)) = &value.kind else {
                    return wrong("a regular expression");
                };
                let raw = self.expanded(raw, value.span)?;
                let raw = match self.position {
                    Position::Whole | Position::Contains => raw,
                    Position::StartsWith => format!("^(?:{raw})"),
                    Position::EndsWith => format!("(?:{raw})$"),
                };
                match pcre::check(&raw, ignore_case, multi_line, dot_all) {
                    Ok(source) => {
                        Ok(vec![Test::Regex(Regex { source, ignore_case, multi_line, dot_all })])
                    }
                    Err(reason) => Err(Diagnostic::error(Code::Regex, value.span, reason)),
                }
            }
            Kind::Cidr => {
                let ValueKind::Text(text) = &value.kind else { return wrong("a network") };
                let text = self.expanded(text, value.span)?;
                match Network::parse(&text) {
                    Some(network) => Ok(vec![Test::Cidr(network)]),
                    None => {
                        let message = format!("`{text}` is not a network");
                        Err(Diagnostic::error(Code::Value, value.span, message)
                            .with_help("write it as `10.0.0.0/8` or `fe80::/10`"))
                    }
                }
            }
            Kind::Compare(comparison) => match value.kind.number() {
                Some(number) => Ok(vec![Test::Compare(comparison, number)]),
                None => wrong("a number"),
            },
            Kind::Exists => match &value.kind {
                ValueKind::Bool(expected) => Ok(vec![Test::Exists(*expected)]),
                _ => wrong("true or false"),
            },
            Kind::FieldRef => {
                let ValueKind::Text(field) = &value.kind else { return wrong("a field's name") };
                let relation = match self.position {
                    Position::Whole => Relation::Equals,
                    Position::Contains => Relation::Contains,
                    Position::StartsWith => Relation::StartsWith,
                    Position::EndsWith => Relation::EndsWith,
                };
                let field = field.as_str().into();
                Ok(vec![Test::FieldRef { field, relation, cased: self.cased }])
            }
            Kind::TimePart(part, comparison) => time_tests(part, comparison, value),
        }
    }

    fn text_tests(&self, value: &Value, keyword: bool) -> Result<Vec<Test>, Diagnostic> {
        let plain = self.position == Position::Whole && self.encodings.is_empty();
        let pieces = match &value.kind {
            ValueKind::Null if plain && !keyword => return Ok(vec![Test::Null]),
            ValueKind::Null => {
                let message = "null has no text that could be looked for";
                return Err(Diagnostic::error(Code::Value, value.span, message)
                    .with_help("without modifiers, null means that the field is absent"));
            }
            ValueKind::Bool(value) => pattern::literal(if *value { "true" } else { "false" }),
            ValueKind::Number(raw) => match json_number(raw).filter(|_| plain && !keyword) {
                Some(number) => pattern::literal(&number.to_string()),
                None => pattern::literal(raw),
            },
            ValueKind::Text(text) => pattern::pieces(&self.expanded(text, value.span)?),
        };
        let Some(forms) = self.encoded(pieces.clone(), value.span)? else {
            let pieces = self.positioned(pieces, keyword);
            let dash = |characters: &[char], index: usize| {
                encode::is_option_dash(characters, index).then_some(encode::DASH_CLASS)
            };
            let source = pattern::regex_source(&pieces, keyword, dash);
            let ignore_case = !self.cased;
            pcre::check(&source, ignore_case, false, true)
                .map_err(|reason| Diagnostic::error(Code::Regex, value.span, reason))?;
            let regex = Regex { source, ignore_case, multi_line: false, dot_all: true };
            return Ok(vec![Test::Regex(regex)]);
        };
        let mut tests: Vec<Test> = Vec::with_capacity(forms.len());
        for pieces in forms {
            let pieces = self.positioned(pieces, keyword);
            let test = Test::Text(Pattern { pieces, cased: self.cased });
            if !tests.contains(&test) {
                tests.push(test);
            }
        }
        Ok(tests)
    }

    /// The text with its placeholders checked and its `\%` read, when `expand` is there.
    fn expanded(&self, text: &str, span: Span) -> Result<String, Diagnostic> {
        if !self.expand {
            return Ok(text.to_owned());
        }
        match placeholder(text) {
            None => Ok(text.replace("\\%", "%")),
            Some(name) => {
                let message = format!("no pipeline gives a value for the placeholder `%{name}%`");
                Err(Diagnostic::error(Code::Placeholder, span, message).with_help(format!(
                    "add a pipeline with `vars: {{{name}: [...]}}` and a `value_placeholders` \
                     transformation"
                )))
            }
        }
    }

    /// The forms of a text after its encodings; nothing when there are too many.
    fn encoded(&self, text: Vec<Piece>, span: Span) -> Result<Option<Vec<Vec<Piece>>>, Diagnostic> {
        let mut forms = vec![text];
        let mut bytes: Option<Vec<Vec<u8>>> = None;
        for &encoding in &self.encodings {
            let refuse = |message: &str| {
                Err(Diagnostic::error(Code::Value, span, message.replace("{}", encoding.as_str())))
            };
            if encoding == Modifier::WinDash {
                if bytes.is_some() {
                    return refuse("`{}` must stand before the other encodings");
                }
                let mut all = Vec::new();
                for pieces in &forms {
                    match encode::windash(pieces, WINDASH_VARIANTS_MAX) {
                        Some(variants) => all.extend(variants),
                        None if self.encodings.len() == 1 => return Ok(None),
                        None => return refuse("too many dashes for `{}` with another encoding"),
                    }
                }
                forms = all;
                continue;
            }
            let mut texts = Vec::new();
            for pieces in &forms {
                match pattern::plain(pieces) {
                    Some(text) => texts.push(text),
                    None => return refuse("a wildcard can't be encoded by `{}`; escape it"),
                }
            }
            match encoding {
                Modifier::Utf16Le => {
                    bytes = Some(texts.iter().map(|text| encode::utf16_le(text)).collect());
                }
                Modifier::Utf16Be => {
                    bytes = Some(texts.iter().map(|text| encode::utf16_be(text)).collect());
                }
                Modifier::Utf16 => {
                    let marked = |text: &&str| encode::utf16_le(&format!("\u{feff}{text}"));
                    bytes = Some(texts.iter().map(marked).collect());
                }
                _ => {
                    let source = bytes.take().unwrap_or_else(|| {
                        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
                    });
                    let encoded: Vec<String> = match encoding {
                        Modifier::Base64 => source.iter().map(|b| encode::base64(b)).collect(),
                        _ => source.iter().flat_map(|b| encode::base64_offsets(b)).collect(),
                    };
                    if encoded.iter().any(String::is_empty) {
                        return refuse("this value is too short for `{}`");
                    }
                    forms = encoded.iter().map(|text| pattern::literal(text)).collect();
                }
            }
        }
        Ok(Some(forms))
    }

    fn positioned(&self, pieces: Vec<Piece>, keyword: bool) -> Vec<Piece> {
        let (before, after) = match self.position {
            Position::Whole => (false, false),
            Position::Contains => (true, true),
            Position::StartsWith => (false, true),
            Position::EndsWith => (true, false),
        };
        let pieces = pattern::surrounded(before, pieces, after);
        if keyword { pattern::bare(pieces) } else { pieces }
    }
}

fn kind_of(modifier: Modifier, item: &Item) -> Option<Kind> {
    Some(match modifier {
        Modifier::Re => Kind::Regex {
            ignore_case: item.has(Modifier::IgnoreCase),
            multi_line: item.has(Modifier::MultiLine),
            dot_all: item.has(Modifier::DotAll),
        },
        Modifier::Cidr => Kind::Cidr,
        Modifier::Exists => Kind::Exists,
        Modifier::FieldRef => Kind::FieldRef,
        Modifier::Lt => Kind::Compare(Comparison::Less),
        Modifier::Lte => Kind::Compare(Comparison::LessOrEqual),
        Modifier::Gt => Kind::Compare(Comparison::Greater),
        Modifier::Gte => Kind::Compare(Comparison::GreaterOrEqual),
        Modifier::Minute => Kind::TimePart(TimePart::Minute, None),
        Modifier::Hour => Kind::TimePart(TimePart::Hour, None),
        Modifier::Day => Kind::TimePart(TimePart::Day, None),
        Modifier::Week => Kind::TimePart(TimePart::Week, None),
        Modifier::Month => Kind::TimePart(TimePart::Month, None),
        Modifier::Year => Kind::TimePart(TimePart::Year, None),
        Modifier::All
        | Modifier::Contains
        | Modifier::StartsWith
        | Modifier::EndsWith
        | Modifier::Cased
        | Modifier::IgnoreCase
        | Modifier::MultiLine
        | Modifier::DotAll
        | Modifier::Base64
        | Modifier::Base64Offset
        | Modifier::Utf16Le
        | Modifier::Utf16Be
        | Modifier::Utf16
        | Modifier::WinDash
        | Modifier::Neq
        | Modifier::Expand => return None,
    })
}

fn is_utf16(modifier: Modifier) -> bool {
    matches!(modifier, Modifier::Utf16 | Modifier::Utf16Le | Modifier::Utf16Be)
}

fn is_base64(modifier: Modifier) -> bool {
    matches!(modifier, Modifier::Base64 | Modifier::Base64Offset)
}

fn is_encoding(modifier: Modifier) -> bool {
    is_utf16(modifier) || is_base64(modifier) || modifier == Modifier::WinDash
}

/// A part of a time is one of a few numbers, so a comparison is spelled out as those that pass.
fn time_tests(
    part: TimePart,
    comparison: Option<Comparison>,
    value: &Value,
) -> Result<Vec<Test>, Diagnostic> {
    let refuse = |message: String| Err(Diagnostic::error(Code::Value, value.span, message));
    let (least, most) = match part {
        TimePart::Minute => (0, 59),
        TimePart::Hour => (0, 23),
        TimePart::Day => (1, 31),
        TimePart::Week => (1, 53),
        TimePart::Month => (1, 12),
        TimePart::Year => (0, 9999),
    };
    let number = match value.kind.number() {
        Some(number) if number.fract() == 0.0 && number.abs() < 1e6 => number as i64,
        _ => {
            let found = value.kind.describe();
            return refuse(format!("a whole number should stand here, not {found}"));
        }
    };
    let Some(comparison) = comparison else {
        if !(least..=most).contains(&number) {
            return refuse(format!("{number} can't be: it is from {least} to {most}"));
        }
        return Ok(vec![Test::TimePart(part, number)]);
    };
    if part == TimePart::Year {
        return refuse("years can't be compared; list those that are meant".to_owned());
    }
    let passes = |candidate: &i64| match comparison {
        Comparison::Less => *candidate < number,
        Comparison::LessOrEqual => *candidate <= number,
        Comparison::Greater => *candidate > number,
        Comparison::GreaterOrEqual => *candidate >= number,
    };
    let tests: Vec<Test> =
        (least..=most).filter(passes).map(|number| Test::TimePart(part, number)).collect();
    if tests.is_empty() {
        return refuse(format!("no time passes this: it is from {least} to {most}"));
    }
    Ok(tests)
}

impl ValueKind {
    /// What kind of value this is, in words.
    pub fn describe(&self) -> &'static str {
        match self {
            ValueKind::Text(_) => "a text",
            ValueKind::Number(_) => "a number",
            ValueKind::Bool(_) => "a boolean",
            ValueKind::Null => "null",
        }
    }

    /// The number that it is, or that its text is.
    fn number(&self) -> Option<f64> {
        match self {
            ValueKind::Number(raw) => json_number(raw)?.as_f64(),
            ValueKind::Text(text) => {
                text.trim().parse().ok().filter(|number: &f64| number.is_finite())
            }
            ValueKind::Bool(_) | ValueKind::Null => None,
        }
    }
}

impl Network {
    /// Reads `10.0.0.0/8`, `fe80::/10`, or one address. Host bits are cleared.
    pub fn parse(text: &str) -> Option<Network> {
        let (address, prefix) = match text.trim().split_once('/') {
            Some((address, prefix)) => (address, Some(prefix.parse::<u8>().ok()?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().ok()?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.unwrap_or(bits);
        if prefix > bits {
            return None;
        }
        let host_bits = u32::from(bits - prefix);
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        };
        Some(Network { address, prefix })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}
