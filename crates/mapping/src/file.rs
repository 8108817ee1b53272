//! From a source file to a [`Source`], or to what is wrong with it and where.

use std::collections::HashMap;

use event::path_hash;
use matcher::Prepared;
use sigma::yaml::{Key, Kind, Node, parse};
use sigma::{Code, Diagnostic, Span, selection, suggest};
use xxhash_rust::xxh3::xxh3_64;

use crate::convert::{Convert, Part, TimeForm};
use crate::decode::{Decoder, Form};
use crate::ecs_words;
use crate::pattern::Pattern;
use crate::source::{Constant, FieldRule, Lookup, Setting, Source, TimeRule};

/// The keys of a source file.
const KEYS: [&str; 17] = [
    "source",
    "title",
    "description",
    "references",
    "native",
    "generic",
    "recognise",
    "decode",
    "empty",
    "time",
    "logsource",
    "set",
    "map",
    "copy",
    "drop",
    "cases",
    "lookup",
];

const CASE_KEYS: [&str; 5] = ["when", "set", "map", "copy", "logsource"];

const FIELD_KEYS: [&str; 9] =
    ["to", "lower", "upper", "table", "otherwise", "scale", "part", "split", "pattern"];

/// Reads a source file.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn read(file: &str, text: &str) -> Result<Source, Vec<Diagnostic>> {
    let mut documents = parse(text);
    let mut reader = Reader { file, faults: Vec::new() };
    if documents.len() != 1 {
        let span = Span { line: 1, column: 1, length: 1 };
        let message = format!("one source a file; this has {} documents", documents.len());
        return Err(vec![Diagnostic::error(Code::WrongType, span, message).in_file(file)]);
    }
    let node = match documents.remove(0) {
        Ok(node) => node,
        Err(fault) => return Err(vec![fault.in_file(file)]),
    };
    let source = reader.source(&node, text);
    match source {
        Some(source) if reader.faults.is_empty() => Ok(source),
        _ => Err(reader.faults),
    }
}

struct Reader<'f> {
    file: &'f str,
    faults: Vec<Diagnostic>,
}

impl Reader<'_> {
    fn fault(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.faults.push(Diagnostic::error(code, span, message).in_file(self.file));
    }

    fn map<'n>(&mut self, node: &'n Node) -> &'n [(Key, Node)] {
        if let Some(entries) = node.as_map() {
            return entries;
        }
        if !matches!(node.kind, Kind::Null) {
            self.fault(
                Code::WrongType,
                node.span,
                format!("a map is expected, this is {}", node.describe()),
            );
        }
        &[]
    }

    fn text(&mut self, node: &Node) -> String {
        node.to_text().unwrap_or_else(|| {
            let message = format!("a text is expected, this is {}", node.describe());
            self.fault(Code::WrongType, node.span, message);
            String::new()
        })
    }

    fn texts(&mut self, node: &Node) -> Vec<String> {
        node.one_or_more().iter().map(|one| self.text(one)).collect()
    }

    fn char(&mut self, node: &Node) -> char {
        let text = self.text(node);
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(c), None) => c,
            _ => {
                self.fault(Code::UnknownValue, node.span, "one character is expected");
                ' '
            }
        }
    }

    fn known(&mut self, key: &Key, known: &[&str]) -> bool {
        let is_known = known.contains(&key.text.as_str());
        if !is_known {
            let message = format!("there is no `{}` here", key.text);
            let help = suggest::help(&key.text, known.iter().copied());
            let fault = Diagnostic::error(Code::UnknownValue, key.span, message).with_help(help);
            self.faults.push(fault.in_file(self.file));
        }
        is_known
    }

    fn source(&mut self, node: &Node, text: &str) -> Option<Source> {
        for (key, _) in self.map(node) {
            self.known(key, &KEYS);
        }
        let Some(name) = node.get("source") else {
            self.fault(Code::Missing, node.span, "`source` is missing: the name, as `okta.system`");
            return None;
        };
        let span = name.span;
        let name = self.text(name);
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
        if name.is_empty() || !name.chars().all(is_name) || name.len() > 64 {
            let message = "a source is named with lower-case letters, digits and `._-`, at most 64";
            self.fault(Code::UnknownValue, span, message);
        }
        let mut source = Source::named(&name, &format!("{:08x}", xxh3_64(text.as_bytes()) as u32));
        if let Some(title) = node.get("title") {
            source.title = self.text(title);
        }
        if let Some(native) = node.get("native") {
            source.native = format!("{}.", self.text(native));
        }
        source.is_generic = node.get("generic").is_some_and(|node| node.kind == Kind::Bool(true));
        if let Some((key, recognise)) = node.entry("recognise") {
            source.recognise = self.selection(recognise, key.span);
            source.required = source.recognise.as_ref().and_then(Prepared::required_field);
        }
        if let Some(empty) = node.get("empty") {
            source.empty = self.texts(empty);
        }
        if let Some(decode) = node.get("decode") {
            source.decoders = self.decoders(decode);
            if node.get("empty").is_none() && source.takes_lines() {
                source.empty = vec![String::new(), "-".to_owned()];
            }
        }
        if let Some(time) = node.get("time") {
            for one in time.one_or_more() {
                let rule = self.time(one);
                source.times.extend(rule);
            }
        }
        if let Some(drop) = node.get("drop") {
            source.dropped = self.texts(drop).iter().map(|path| path_hash(path)).collect();
        }
        self.statements(node, None, &mut source);
        if let Some(cases) = node.get("cases") {
            for case in cases.one_or_more() {
                for (key, _) in self.map(case) {
                    self.known(key, &CASE_KEYS);
                }
                let Some((key, when)) = case.entry("when") else {
                    self.fault(Code::Missing, case.span, "`when` is missing");
                    continue;
                };
                let Some(when) = self.selection(when, key.span) else { continue };
                source.conditions.push(when);
                let index = source.conditions.len() - 1;
                self.statements(case, Some(index), &mut source);
            }
        }
        if let Some(lookup) = node.get("lookup") {
            for one in lookup.one_or_more() {
                let lookup = self.lookup(one);
                source.lookups.extend(lookup);
            }
        }
        if source.recognise.is_none() && source.takes_json() {
            let message = "`recognise` is missing: what tells its records from others";
            self.fault(Code::Missing, span, message);
        }
        source.finish();
        Some(source)
    }

    fn selection(&mut self, node: &Node, key: Span) -> Option<Prepared> {
        let expr = match selection(node, key, self.file) {
            Ok(expr) => expr,
            Err(faults) => {
                self.faults.extend(faults);
                return None;
            }
        };
        Prepared::new(&expr).map_err(|why| self.fault(Code::Regex, key, why)).ok()
    }

    fn statements(&mut self, node: &Node, when: Option<usize>, source: &mut Source) {
        if let Some(logsource) = node.get("logsource") {
            for (key, value) in self.map(logsource) {
                if self.known(key, &["product", "category", "service"]) {
                    let path = format!("watchpost.logsource.{}", key.text);
                    let text = self.text(value);
                    source.sets.push((
                        when,
                        Setting { path, values: vec![Constant::Text(text)], is_list: false },
                    ));
                }
            }
        }
        if let Some(set) = node.get("set") {
            let sets = self.settings(set, "");
            source.sets.extend(sets.into_iter().map(|set| (when, set)));
        }
        for (name, keep) in [("map", false), ("copy", true)] {
            let Some(map) = node.get(name) else { continue };
            for (key, value) in self.map(map) {
                let rule = self.field(key, value, when, keep);
                source.fields.extend(rule);
            }
        }
    }

    /// Fields and their values; maps in maps make dotted names.
    fn settings(&mut self, node: &Node, prefix: &str) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (key, value) in self.map(node) {
            let mut path = format!("{prefix}{}", key.text);
            if value.as_map().is_some() {
                settings.extend(self.settings(value, &format!("{path}.")));
                continue;
            }
            if path.starts_with("logsource.") {
                path = format!("watchpost.{path}");
            }
            let mut values = Vec::new();
            for one in value.one_or_more() {
                let constant = self.constant(one);
                if let Constant::Text(text) = &constant
                    && let Some(fault) = ecs_words::fault(&path, text)
                {
                    self.fault(Code::UnknownValue, one.span, fault);
                }
                values.push(constant);
            }
            let is_list = value.as_list().is_some() || ecs_words::is_list(&path);
            settings.push(Setting { path, values, is_list });
        }
        settings
    }

    fn constant(&mut self, node: &Node) -> Constant {
        match &node.kind {
            Kind::Bool(value) => Constant::Bool(*value),
            Kind::Number(raw) => match raw.parse::<i64>() {
                Ok(number) => Constant::Int(number),
                Err(_) => Constant::Text(raw.clone()),
            },
            _ => {
                let text = self.text(node);
                match text.contains('{') {
                    true => self.template(&text, node.span),
                    false => Constant::Text(text),
                }
            }
        }
    }

    /// `{field}` in a text is a field's value.
    fn template(&mut self, text: &str, span: Span) -> Constant {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            let Some((name, behind)) = after.split_once('}') else {
                self.fault(Code::Value, span, "a `{` without its `}`");
                break;
            };
            pieces.push((before.to_owned(), name.to_owned()));
            rest = behind;
        }
        Constant::Template { pieces, end: rest.to_owned() }
    }

    fn field(
        &mut self,
        key: &Key,
        node: &Node,
        when: Option<usize>,
        keep: bool,
    ) -> Option<FieldRule> {
        let mut convert = Convert::default();
        let targets = match &node.kind {
            Kind::Map(entries) => {
                for (option, value) in entries {
                    if self.known(option, &FIELD_KEYS) {
                        self.conversion(&option.text, value, &mut convert);
                    }
                }
                node.get("to").map(|to| self.texts(to)).unwrap_or_default()
            }
            _ => self.texts(node),
        };
        if targets.is_empty() && convert.pattern.is_none() {
            self.fault(Code::Missing, key.span, "`to` is missing: the field that it becomes");
            return None;
        }
        let native = key.text.clone();
        Some(FieldRule { when, hash: path_hash(&native), native, targets, convert, keep })
    }

    fn conversion(&mut self, option: &str, node: &Node, convert: &mut Convert) {
        match option {
            "lower" => convert.lower = node.kind == Kind::Bool(true),
            "upper" => convert.upper = node.kind == Kind::Bool(true),
            "table" => {
                let mut table = HashMap::new();
                for (key, value) in self.map(node) {
                    let value = self.text(value);
                    table.insert(key.text.to_lowercase(), value);
                }
                convert.table = Some(table);
            }
            "otherwise" => convert.otherwise = Some(self.text(node)),
            "scale" => match node.to_text().and_then(|text| text.parse::<f64>().ok()) {
                Some(scale) if scale.is_finite() && scale != 0.0 => convert.scale = Some(scale),
                _ => self.fault(Code::Value, node.span, "a number is expected, and not zero"),
            },
            "part" => {
                let text = self.text(node);
                convert.part =
                    Part::ALL.iter().find(|(name, _)| *name == text).map(|(_, part)| *part);
                if convert.part.is_none() {
                    let known: Vec<&str> = Part::ALL.iter().map(|(name, _)| *name).collect();
                    let message =
                        format!("no part is called `{text}`; there are {}", known.join(", "));
                    self.fault(Code::UnknownValue, node.span, message);
                }
            }
            "split" => convert.split = Some(self.text(node)),
            "pattern" => convert.pattern = self.pattern(node),
            // `to`, which is read with the field.
            _ => {}
        }
    }

    fn pattern(&mut self, node: &Node) -> Option<Pattern> {
        let text = self.text(node);
        Pattern::new(&text)
            .map_err(|(at, why)| {
                // Within plain and quoted texts of one line; for others it is where the text begins.
                let column = node.span.column + u32::try_from(at).unwrap_or(0);
                self.fault(Code::Value, Span { column, length: 1, ..node.span }, why);
            })
            .ok()
    }

    fn time(&mut self, node: &Node) -> Option<TimeRule> {
        let (field, form) = match node.get("field") {
            Some(field) => {
                let form = node.get("format").map(|format| self.text(format));
                let form = match form.as_deref() {
                    None => TimeForm::Any,
                    Some("seconds") => TimeForm::Unit(1_000_000_000),
                    Some("milliseconds") => TimeForm::Unit(1_000_000),
                    Some("microseconds") => TimeForm::Unit(1_000),
                    Some("nanoseconds") => TimeForm::Unit(1),
                    Some(format) => TimeForm::Format(format.to_owned()),
                };
                (self.text(field), form)
            }
            None => (self.text(node), TimeForm::Any),
        };
        // Several fields make one text: `{date} {time}`.
        let template = match field.contains('{') {
            true => self.template(&field, node.span),
            false => {
                Constant::Template { pieces: vec![(String::new(), field)], end: String::new() }
            }
        };
        Some(TimeRule { template, form })
    }

    fn decoders(&mut self, node: &Node) -> Vec<Decoder> {
        let mut decoders = Vec::new();
        for one in node.one_or_more() {
            let (form, when) = match &one.kind {
                Kind::Text(word) => (self.plain_form(word, one.span), None),
                _ => {
                    let when =
                        one.entry("when").and_then(|(key, when)| self.selection(when, key.span));
                    (self.form(one), when)
                }
            };
            decoders.extend(form.map(|form| Decoder { when, form }));
        }
        decoders
    }

    fn plain_form(&mut self, word: &str, span: Span) -> Option<Form> {
        Some(match word {
            "json" => Form::Json,
            "cef" => Form::Cef,
            "leef" => Form::Leef,
            "audit" => Form::Audit,
            "key-value" => Form::KeyValue { pair: ' ', equals: '=' },
            _ => {
                let message = format!("no form is called `{word}`");
                let known = ["json", "cef", "leef", "audit", "key-value", "patterns", "columns"];
                let help = suggest::help(word, known.into_iter());
                let fault = Diagnostic::error(Code::UnknownValue, span, message).with_help(help);
                self.faults.push(fault.in_file(self.file));
                return None;
            }
        })
    }

    fn form(&mut self, node: &Node) -> Option<Form> {
        let mut form = None;
        let mut optional = false;
        for (key, value) in self.map(node) {
            match key.text.as_str() {
                "when" => {}
                "optional" => optional = value.kind == Kind::Bool(true),
                "patterns" => {
                    let patterns: Vec<Pattern> =
                        value.one_or_more().iter().filter_map(|one| self.pattern(one)).collect();
                    form = Some(Form::Patterns { patterns, optional: false });
                }
                "key-value" => {
                    let pair = value.get("pair").map_or(' ', |node| self.char(node));
                    let equals = value.get("equals").map_or('=', |node| self.char(node));
                    form = Some(Form::KeyValue { pair, equals });
                }
                "columns" => {
                    let names = value.get("names").map(|names| self.texts(names));
                    let separator = value.get("separator").map_or(',', |node| self.char(node));
                    let names = names.unwrap_or_default();
                    if names.is_empty() {
                        self.fault(
                            Code::Missing,
                            key.span,
                            "`names` is missing: those of the columns",
                        );
                    }
                    form = Some(Form::Columns { separator, names });
                }
                "form" => {
                    let word = self.text(value);
                    form = self.plain_form(&word, value.span);
                }
                _ => {
                    self.known(
                        key,
                        &["when", "optional", "patterns", "key-value", "columns", "form"],
                    );
                }
            }
        }
        if let Some(Form::Patterns { optional: of, .. }) = &mut form {
            *of = optional;
        }
        if form.is_none() {
            self.fault(
                Code::Missing,
                node.span,
                "this says no form: `patterns`, `columns`, `key-value`",
            );
        }
        form
    }

    fn lookup(&mut self, node: &Node) -> Option<Lookup> {
        for (key, _) in self.map(node) {
            self.known(key, &["field", "rows", "otherwise"]);
        }
        let Some(field) = node.get("field") else {
            self.fault(Code::Missing, node.span, "`field` is missing: the field that is looked up");
            return None;
        };
        let field = self.text(field);
        let mut rows = HashMap::new();
        if let Some(node) = node.get("rows") {
            for (key, row) in self.map(node) {
                let settings = self.settings(row, "");
                // Several values may share a row.
                for one in key.text.split(" | ") {
                    if rows.insert(one.trim().to_lowercase(), settings.clone()).is_some() {
                        self.fault(Code::DuplicateKey, key.span, format!("`{one}` has two rows"));
                    }
                }
            }
        }
        let otherwise =
            node.get("otherwise").map(|node| self.settings(node, "")).unwrap_or_default();
        Some(Lookup { hash: path_hash(&field), field, rows, otherwise })
    }
}
