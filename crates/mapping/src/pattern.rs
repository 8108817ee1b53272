//! Patterns of lines: text with named gaps.
//!
//! ```text
//! Accepted {ssh.method} for {user.name} from {source.address:ip} port {source.port:int}{? ssh2}
//! ```
//!
//! | | |
//! | --- | --- |
//! | `{name}` | as little as lets the rest match, nothing included |
//! | `{name:word}` | the same without blanks, at least one character |
//! | `{name:last}` | as much as lets the rest match |
//! | `{name:int}` | digits, with a sign or without |
//! | `{name:number}` | digits with at most one point |
//! | `{name:hex}` | hexadecimal digits |
//! | `{name:ip}` | an IPv4 or IPv6 address |
//! | `{name:id}` | letters, digits and `_-.` |
//! | `{name:quoted}` | up to the next `"` that no `\` is before |
//! | `{_}` | a gap that is not kept; `{_:space}` is blanks, none included |
//! | `{?...}` | this part may be missing |
//! | `{{`, `}}` | the braces themselves |
//!
//! A pattern matches a whole line. Users choose parts of lines (`Invalid user Accepted password for
//! root from ...`): nothing is searched for anywhere, so that a pattern reads a line from its first
//! character or not at all, and where a text could be cut in several ways the gaps' kinds decide.
//!
//! It is not grok or a regular expression, since those are slower where lines are taken apart at
//! known words (`benches/`), need the same care with escapes, and name nothing but strings.

use memchr::memmem;

/// How many steps one match may take; a line for which they don't suffice does not match. To look
/// through 64 bytes for the text behind a gap is a step too.
pub const STEPS_MAX: u32 = 20_000;

/// The most items of a pattern.
pub const ITEMS_MAX: usize = 200;

/// The deepest optional part.
const DEPTH_MAX: usize = 8;

/// A compiled pattern.
#[derive(Debug, Clone, PartialEq)]
pub struct Pattern {
    items: Vec<Item>,
    names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
enum Item {
    Literal(String),
    Gap { kind: Kind, name: Option<usize> },
    Optional(Vec<Item>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Any,
    Word,
    Last,
    Int,
    Number,
    Hex,
    Ip,
    Id,
    Quoted,
    Space,
}

const KINDS: [(&str, Kind); 10] = [
    ("any", Kind::Any),
    ("word", Kind::Word),
    ("last", Kind::Last),
    ("int", Kind::Int),
    ("number", Kind::Number),
    ("hex", Kind::Hex),
    ("ip", Kind::Ip),
    ("id", Kind::Id),
    ("quoted", Kind::Quoted),
    ("space", Kind::Space),
];

/// What gaps took: the gap's name, and where it lies in the line.
pub type Captures = Vec<(usize, usize, usize)>;

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// What is wrong, and at which character (from 0).
    pub fn new(text: &str) -> Result<Pattern, (usize, String)> {
        let mut pattern = Pattern { items: Vec::new(), names: Vec::new() };
        let chars: Vec<char> = text.chars().collect();
        let mut at = 0;
        pattern.items = parse(&chars, &mut at, 0, &mut pattern.names)?;
        if count(&pattern.items) > ITEMS_MAX {
            return Err((0, format!("more than {ITEMS_MAX} parts")));
        }
        Ok(pattern)
    }

    /// The names of its gaps.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Whether it matches the whole line; then `captures` holds what the gaps took.
    pub fn matches(&self, line: &str, captures: &mut Captures) -> bool {
        captures.clear();
        let mut run = Run { line, steps: STEPS_MAX, captures };
        run.rest(Some(&Then { items: &self.items, outer: None }), 0)
    }

    /// What the line must begin with, as far as that is known.
    pub fn prefix(&self) -> &str {
        match self.items.first() {
            Some(Item::Literal(text)) => text,
            _ => "",
        }
    }
}

fn count(items: &[Item]) -> usize {
    let inner = |item: &Item| match item {
        Item::Optional(inner) => 1 + count(inner),
        _ => 1,
    };
    items.iter().map(inner).sum()
}

fn parse(
    chars: &[char],
    at: &mut usize,
    depth: usize,
    names: &mut Vec<String>,
) -> Result<Vec<Item>, (usize, String)> {
    let mut items = Vec::new();
    let mut literal = String::new();
    loop {
        let next = chars.get(*at + 1);
        match chars.get(*at) {
            Some('{') if next == Some(&'{') => {
                literal.push('{');
                *at += 2;
            }
            Some('}') if next == Some(&'}') && depth == 0 => {
                literal.push('}');
                *at += 2;
            }
            Some('}') if depth > 0 => {
                *at += 1;
                break;
            }
            Some('}') => {
                return Err((*at, "a `}` without its `{`; the brace itself is `}}`".into()));
            }
            Some('{') => {
                if !literal.is_empty() {
                    items.push(Item::Literal(std::mem::take(&mut literal)));
                }
                let start = *at;
                *at += 1;
                if next == Some(&'?') {
                    if depth == DEPTH_MAX {
                        return Err((start, format!("more than {DEPTH_MAX} parts in each other")));
                    }
                    *at += 1;
                    items.push(Item::Optional(parse(chars, at, depth + 1, names)?));
                } else {
                    items.push(gap(chars, at, start, names)?);
                }
            }
            Some(c) => {
                literal.push(*c);
                *at += 1;
            }
            None if depth > 0 => return Err((*at, "a `{?` without its `}`".into())),
            None => break,
        }
    }
    if !literal.is_empty() {
        items.push(Item::Literal(literal));
    }
    Ok(items)
}

fn gap(
    chars: &[char],
    at: &mut usize,
    start: usize,
    names: &mut Vec<String>,
) -> Result<Item, (usize, String)> {
    let length = chars.get(*at..).and_then(|rest| rest.iter().position(|c| *c == '}'));
    let Some(length) = length else { return Err((start, "a `{` without its `}`".into())) };
    let text: String = chars.iter().skip(*at).take(length).collect();
    *at += length + 1;
    let (name, kind) = text.split_once(':').unwrap_or((text.as_str(), "any"));
    let Some((_, kind)) = KINDS.iter().find(|(known, _)| *known == kind) else {
        let known: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
        return Err((start, format!("no kind of gap is `{kind}`; there are {}", known.join(", "))));
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "._-@".contains(c);
    if name.is_empty() || !name.chars().all(is_name) {
        return Err((start, format!("`{name}` is no name of a field")));
    }
    if name == "_" {
        return Ok(Item::Gap { kind: *kind, name: None });
    }
    let index = names.iter().position(|known| known == name).unwrap_or_else(|| {
        names.push(name.to_owned());
        names.len() - 1
    });
    Ok(Item::Gap { kind: *kind, name: Some(index) })
}

/// One match under way.
struct Run<'a> {
    line: &'a str,
    steps: u32,
    captures: &'a mut Captures,
}

/// The items to come: those of the innermost optional part, then those around it. It lives on the
/// stack of the calls, so that a match allocates nothing.
struct Then<'p> {
    items: &'p [Item],
    outer: Option<&'p Then<'p>>,
}

impl Run<'_> {
    /// Whether what is left of the pattern matches the line from here to its end.
    fn rest(&mut self, then: Option<&Then<'_>>, at: usize) -> bool {
        let Some(steps) = self.steps.checked_sub(1) else { return false };
        self.steps = steps;
        let Some(Then { items, outer }) = then else { return at == self.line.len() };
        let Some((item, items)) = items.split_first() else { return self.rest(*outer, at) };
        let behind = Then { items, outer: *outer };
        let after = if items.is_empty() { *outer } else { Some(&behind) };
        let Some(rest) = self.line.get(at..) else { return false };
        match item {
            Item::Literal(text) => {
                rest.starts_with(text.as_str()) && self.rest(after, at + text.len())
            }
            Item::Optional(inner) => {
                let kept = self.captures.len();
                if self.rest(Some(&Then { items: inner, outer: after }), at) {
                    return true;
                }
                self.captures.truncate(kept);
                self.rest(after, at)
            }
            Item::Gap { kind, name } => self.gap(*kind, *name, after, at, rest),
        }
    }

    fn gap(
        &mut self,
        kind: Kind,
        name: Option<usize>,
        after: Option<&Then<'_>>,
        at: usize,
        rest: &str,
    ) -> bool {
        let run = run_of(kind, rest);
        let kept = self.captures.len();
        let ends_at = |this: &mut Self, length: usize| {
            this.captures.truncate(kept);
            if let Some(name) = name {
                this.captures.push((name, at, at + length));
            }
            this.rest(after, at + length)
        };
        match kind {
            Kind::Int | Kind::Number | Kind::Hex | Kind::Id | Kind::Ip => {
                run > 0 && ends_at(self, run)
            }
            Kind::Space | Kind::Quoted => ends_at(self, run),
            Kind::Any | Kind::Word | Kind::Last => {
                let least = usize::from(kind == Kind::Word);
                let Some(room) = rest.get(..run) else { return false };
                let next = after.and_then(|then| then.items.first());
                if next.is_some() {
                    let looked_through = u32::try_from(run / 64).unwrap_or(u32::MAX);
                    self.steps = self.steps.saturating_sub(looked_through);
                }
                match next {
                    None => run >= least && ends_at(self, run),
                    Some(Item::Literal(literal)) if kind == Kind::Last => {
                        // The literal may begin at the end of the room.
                        let reach = (run + literal.len()).min(rest.len());
                        let mut reach = rest.get(..reach).unwrap_or(rest);
                        while let Some(found) = reach.rfind(literal.as_str()) {
                            if ends_at(self, found) {
                                return true;
                            }
                            if self.steps == 0 {
                                return false;
                            }
                            let Some(shorter) = reach.get(..found + literal.len()) else { break };
                            let mut shorter = shorter.chars();
                            shorter.next_back();
                            reach = shorter.as_str();
                        }
                        false
                    }
                    Some(Item::Literal(literal)) => {
                        let found = memmem::find_iter(rest.as_bytes(), literal.as_bytes());
                        for length in found.take_while(|length| *length <= run) {
                            if length >= least && ends_at(self, length) {
                                return true;
                            }
                            if self.steps == 0 {
                                return false;
                            }
                        }
                        false
                    }
                    Some(_) => {
                        let mut lengths: Vec<usize> =
                            room.char_indices().map(|(length, _)| length).collect();
                        lengths.push(run);
                        if kind == Kind::Last {
                            lengths.reverse();
                        }
                        for length in lengths.into_iter().filter(|length| *length >= least) {
                            if ends_at(self, length) {
                                return true;
                            }
                            if self.steps == 0 {
                                return false;
                            }
                        }
                        false
                    }
                }
            }
        }
    }
}

/// How many bytes at the start may belong to a gap of this kind.
fn run_of(kind: Kind, text: &str) -> usize {
    let bytes = text.as_bytes();
    let while_ = |is: fn(u8) -> bool| bytes.iter().take_while(|byte| is(**byte)).count();
    match kind {
        Kind::Any | Kind::Last => bytes.len(),
        Kind::Word => while_(|byte| !matches!(byte, b' ' | b'\t')),
        Kind::Int => {
            let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
            let digits = bytes.iter().skip(sign).take_while(|byte| byte.is_ascii_digit()).count();
            if digits == 0 { 0 } else { sign + digits }
        }
        Kind::Number => {
            let whole = run_of(Kind::Int, text);
            let fraction = text
                .get(whole..)
                .and_then(|rest| rest.strip_prefix('.'))
                .map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
            if whole > 0 && fraction > 0 { whole + 1 + fraction } else { whole }
        }
        Kind::Hex => while_(|byte| byte.is_ascii_hexdigit()),
        Kind::Id => while_(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte)),
        Kind::Ip => {
            let mut run = while_(|byte| byte.is_ascii_hexdigit() || b".:".contains(&byte));
            // A line may end, or go on with `:`, right after an address.
            while run > 0 {
                let Some(part) = text.get(..run) else { return 0 };
                if part.parse::<std::net::IpAddr>().is_ok() {
                    return run;
                }
                run = part.rfind(['.', ':']).unwrap_or(0);
            }
            0
        }
        Kind::Quoted => {
            let mut escaped = false;
            bytes
                .iter()
                .take_while(|byte| {
                    let is_end = **byte == b'"' && !escaped;
                    escaped = **byte == b'\\' && !escaped;
                    !is_end
                })
                .count()
        }
        Kind::Space => while_(|byte| matches!(byte, b' ' | b'\t')),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Pattern;

    fn read(pattern: &str, line: &str) -> Option<String> {
        let pattern = Pattern::new(pattern).unwrap();
        let mut captures = Vec::new();
        pattern.matches(line, &mut captures).then(|| {
            let one = |(name, start, end): &(usize, usize, usize)| {
                format!("{}={}", pattern.names()[*name], line.get(*start..*end).unwrap())
            };
            captures.iter().map(one).collect::<Vec<_>>().join(" ")
        })
    }

    #[test]
    fn lines_are_taken_apart() {
        let ssh = "{result:word} {method} for {?invalid user }{user} from {ip:ip} port {port:int}{? {version}}";
        assert_eq!(
            read(ssh, "Failed password for invalid user a from 10.0.0.1 port 22 ssh2").unwrap(),
            "result=Failed method=password user=a ip=10.0.0.1 port=22 version=ssh2"
        );
        // The name that an attacker chose reaches to the last place that can be an address.
        assert_eq!(
            read(ssh, "Failed password for x from 1.1.1.1 port 1 y from 10.0.0.1 port 22").unwrap(),
            "result=Failed method=password user=x ip=1.1.1.1 port=1 version=y from 10.0.0.1 port 22"
        );
        let strict = "Failed {method} for {user} from {ip:ip} port {port:int} ssh2";
        assert_eq!(
            read(strict, "Failed password for x from 1.1.1.1 port 1 ssh2 from ::1 port 22 ssh2")
                .unwrap(),
            "method=password user=x from 1.1.1.1 port 1 ssh2 ip=::1 port=22"
        );
        assert_eq!(read(strict, "Failed password for x from 1.1.1.1 port 1"), None);
    }

    #[test]
    fn gaps_have_kinds() {
        assert_eq!(read("{a:word}: {b}", "x:y: z").unwrap(), "a=x:y b=z");
        assert_eq!(read("{a:last} by {b}", "x by y by z").unwrap(), "a=x by y b=z");
        assert_eq!(read("{a} by {b}", "x by y by z").unwrap(), "a=x b=y by z");
        assert_eq!(read("{a:int}/{b:number}/{c:hex}", "-3/1.5/ff0").unwrap(), "a=-3 b=1.5 c=ff0");
        assert_eq!(read("{a:ip}:{b:int}", "10.0.0.1:80").unwrap(), "a=10.0.0.1 b=80");
        assert_eq!(read("{a:ip}:{b:int}", "fe80::1:80"), None);
        assert_eq!(read("[{a:ip}]:{b:int}", "[fe80::1]:80").unwrap(), "a=fe80::1 b=80");
        assert_eq!(read("{a:ip}: {b}", "10.0.0.1: x").unwrap(), "a=10.0.0.1 b=x");
        assert_eq!(read("\"{a:quoted}\" {b}", r#""say \"x\"" y"#).unwrap(), r#"a=say \"x\" b=y"#);
        assert_eq!(read("a{_:space}b{_}", "a   bc").unwrap(), "");
        assert_eq!(read("{{{a:id}}}", "{x_1.y}").unwrap(), "a=x_1.y");
        assert_eq!(read("{a}{?, {b}{?, {c}}}", "1, 2, 3").unwrap(), "a=1 b=2 c=3");
        assert_eq!(read("user {a}from", "user from").unwrap(), "a=");
    }

    #[test]
    fn faults_have_their_place() {
        for (pattern, at, message) in [
            ("a {b", 2, "without its"),
            ("a} b", 1, "without its"),
            ("a {b:thing}", 2, "no kind of gap"),
            ("a {}", 2, "no name"),
            ("a {?b", 5, "without its"),
        ] {
            let (place, why) = Pattern::new(pattern).unwrap_err();
            assert_eq!(place, at, "{pattern}");
            assert!(why.contains(message), "{why}");
        }
    }

    proptest! {
        #[test]
        fn no_line_takes_long_or_panics(line in "[a ,:\"\\\\é]{0,300}") {
            for pattern in ["{a}, {b}, {c}, {d}:", "{a:last}{?,{b}}{c:word}\"{d:quoted}\"", "{a}{b}{c}{?x}"] {
                let pattern = Pattern::new(pattern).unwrap();
                let mut captures = Vec::new();
                if pattern.matches(&line, &mut captures) {
                    for (_, start, end) in captures {
                        prop_assert!(line.get(start..end).is_some());
                    }
                }
            }
        }

        #[test]
        fn long_lines_are_given_up_soon(part in "[a, ]{1,4}") {
            // 20,000 looks through half a megabyte each would be seconds.
            let line = part.repeat(500_000 / part.len());
            let pattern = Pattern::new("{a}a{b},{c} {d}a{e},{f};").unwrap();
            let started = std::time::Instant::now();
            pattern.matches(&line, &mut Vec::new());
            prop_assert!(started.elapsed().as_secs() < 2);
        }

        #[test]
        fn any_text_is_a_pattern_or_a_fault(text in "[a{}?:_ ]{0,30}") {
            if let Err((at, _)) = Pattern::new(&text) {
                prop_assert!(at <= text.chars().count());
            }
        }
    }
}
