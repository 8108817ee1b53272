//! From a source file to a [`Source`], or to what is wrong with it and where.

use std::collections::HashMap;

use matcher::Prepared;
use sigma::expr::{Atom, Expr, Test};
use sigma::yaml::{Key, Kind, Node, parse};
use sigma::{Code, Diagnostic, Span, selection, suggest};
use xxhash_rust::xxh3::xxh3_64;

use crate::convert::{Convert, Destination, Gaps, Pairs, Part, Target, TimeForm};
use crate::decode::{Decoder, Form};
use crate::ecs_words;
use crate::pattern::Pattern;
use crate::source::{
    Block, Constant, FieldRule, Lookup, Piece, RuleKind, Setting, Source, TimeRule,
};

/// The keys of a source file, beside those of a block.
const KEYS: [&str; 11] = [
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
    "drop",
];

/// The keys of a block: of a file, a case, a row of a lookup.
const BLOCK_KEYS: [&str; 8] =
    ["logsource", "set", "default", "map", "copy", "rename", "cases", "lookup"];

const FIELD_KEYS: [&str; 12] = [
    "to",
    "lower",
    "upper",
    "table",
    "otherwise",
    "scale",
    "part",
    "empty",
    "split",
    "pattern",
    "equals",
    "pairs",
];

/// What the records of Windows have beside their data, without a dot in its name.
const NO_DATA: [&str; 3] = ["@timestamp", "message", "tags"];

/// The deepest part of a text that may be missing.
const OPTIONAL_DEPTH_MAX: usize = 8;

/// Reads a source file.
///
/// # Errors
/// All that is wrong with it.
pub(crate) fn read(file: &str, text: &str) -> Result<Source, Vec<Diagnostic>> {
    let mut documents = parse(text);
    let mut reader = Reader { file, is_windows: false, faults: Vec::new() };
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
    /// Whether names without a dot are those of a Windows record's data.
    is_windows: bool,
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
            self.known(key, &[&KEYS[..], &BLOCK_KEYS].concat());
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
        if let Some(decode) = node.get("decode") {
            source.decoders = self.decoders(decode);
            if source.takes_lines() {
                source.empty = vec![String::new(), "-".to_owned()];
            }
        }
        self.is_windows = source.takes_windows();
        if self.is_windows {
            source.native = String::new();
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
        if let Some(time) = node.get("time") {
            for one in time.one_or_more() {
                let rule = self.time(one);
                source.times.extend(rule);
            }
        }
        if let Some(drop) = node.get("drop") {
            source.dropped =
                self.texts(drop).iter().flat_map(|name| self.native_names(name)).collect();
        }
        self.block(node, 0, Block::default(), &mut source);
        if source.recognise.is_none() && (source.takes_json() || self.is_windows) {
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
        let expr = if self.is_windows { self.asked_of_data(expr) } else { expr };
        Prepared::new(&expr).map_err(|why| self.fault(Code::Regex, key, why)).ok()
    }

    /// The names under which records may have a native field.
    fn native_names(&self, name: &str) -> Vec<String> {
        match self.is_windows && !name.contains('.') && !NO_DATA.contains(&name) {
            true => vec![format!("winlog.event_data.{name}"), format!("winlog.user_data.{name}")],
            false => vec![name.to_owned()],
        }
    }

    /// The same of a condition: it holds if it does for either, or if both say nothing.
    fn asked_of_data(&self, expr: Expr) -> Expr {
        let all =
            |parts: Vec<Expr>| parts.into_iter().map(|part| self.asked_of_data(part)).collect();
        match expr {
            Expr::And(parts) => Expr::And(all(parts)),
            Expr::Or(parts) => Expr::Or(all(parts)),
            Expr::Not(part) => Expr::Not(Box::new(self.asked_of_data(*part))),
            Expr::Selection(name, part) => {
                Expr::Selection(name, Box::new(self.asked_of_data(*part)))
            }
            Expr::Atom(Atom { field: Some(field), test }) => {
                let names = self.native_names(&field);
                let is_absence = matches!(test, Test::Exists(false) | Test::Null);
                let mut atoms: Vec<Expr> = names
                    .into_iter()
                    .map(|name| Expr::Atom(Atom { field: Some(name.into()), test: test.clone() }))
                    .collect();
                match (atoms.len(), is_absence) {
                    (1, _) => atoms.remove(0),
                    (_, true) => Expr::And(atoms),
                    (_, false) => Expr::Or(atoms),
                }
            }
            Expr::Atom(atom) => Expr::Atom(atom),
        }
    }

    /// Reads what a block says, and the blocks in it. `at` is its place, where it is put.
    fn block(&mut self, node: &Node, at: usize, mut block: Block, source: &mut Source) {
        if let Some(logsource) = node.get("logsource") {
            for (key, value) in self.map(logsource) {
                if self.known(key, &["product", "category", "service"]) {
                    let path = format!("watchpost.logsource.{}", key.text);
                    let values = vec![Constant::Text(self.text(value))];
                    block.sets.push(Setting { path, values, is_list: false });
                }
            }
        }
        if let Some(set) = node.get("set") {
            block.sets.extend(self.settings(set));
        }
        if let Some(default) = node.get("default") {
            block.defaults = self.settings(default);
        }
        for (name, kind) in
            [("map", RuleKind::Map), ("copy", RuleKind::Copy), ("rename", RuleKind::Rename)]
        {
            let Some(map) = node.get(name) else { continue };
            for (key, value) in self.map(map) {
                for destination in self.destinations(key.span, value) {
                    for native in self.native_names(&key.text) {
                        let destination = destination.clone();
                        source.fields.push(FieldRule { block: at, native, destination, kind });
                    }
                }
            }
        }
        let depth = block.depth + 1;
        let mut inner = |this: &mut Self, node: &Node, sets: Vec<Setting>| {
            let at = source.blocks.len();
            source.blocks.push(Block::default());
            this.block(node, at, Block { depth, sets, ..Block::default() }, source);
            at
        };
        for case in node.get("cases").map(Node::one_or_more).unwrap_or_default() {
            for (key, _) in self.map(case) {
                self.known(key, &[&["when"], &BLOCK_KEYS[..]].concat());
            }
            let Some((key, when)) = case.entry("when") else {
                self.fault(Code::Missing, case.span, "`when` is missing");
                continue;
            };
            let Some(when) = self.selection(when, key.span) else { continue };
            block.cases.push((when, inner(self, case, Vec::new())));
        }
        for lookup in node.get("lookup").map(Node::one_or_more).unwrap_or_default() {
            block.lookups.extend(self.lookup(lookup, &mut inner));
        }
        if let Some(place) = source.blocks.get_mut(at) {
            *place = block;
        }
    }

    /// Fields and their values.
    fn settings(&mut self, node: &Node) -> Vec<Setting> {
        let mut settings = Vec::new();
        for (key, value) in self.map(node) {
            self.setting(&key.text, value, &mut settings);
        }
        settings
    }

    /// A field and its values; maps in maps make dotted names.
    fn setting(&mut self, name: &str, node: &Node, settings: &mut Vec<Setting>) {
        if node.as_map().is_some() {
            for (key, value) in self.map(node) {
                self.setting(&format!("{name}.{}", key.text), value, settings);
            }
            return;
        }
        let path = match name.starts_with("logsource.") {
            true => format!("watchpost.{name}"),
            false => name.to_owned(),
        };
        let mut values = Vec::new();
        for one in node.one_or_more() {
            let constant = self.constant(one);
            if let Constant::Text(text) = &constant
                && let Some(fault) = ecs_words::fault(&path, text)
            {
                self.fault(Code::UnknownValue, one.span, fault);
            }
            values.push(constant);
        }
        let is_list = node.as_list().is_some() || ecs_words::is_list(&path);
        settings.push(Setting { path, values, is_list });
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

    /// `{field}` in a text is a field's value; `{?...}` is left out if one of its fields says nothing.
    fn template(&mut self, text: &str, span: Span) -> Constant {
        let mut rest = text;
        let pieces = self.pieces(&mut rest, 0).unwrap_or_else(|why| {
            self.fault(Code::Value, span, why);
            Vec::new()
        });
        Constant::Template(pieces)
    }

    fn pieces(&self, rest: &mut &str, depth: usize) -> Result<Vec<Piece>, String> {
        const OPEN: &str = "a `{` without its `}`";
        if depth > OPTIONAL_DEPTH_MAX {
            return Err(format!("more than {OPTIONAL_DEPTH_MAX} parts in each other"));
        }
        let mut pieces = Vec::new();
        loop {
            let ends = |c: char| c == '{' || c == '}' && depth > 0;
            let end = rest.find(ends).unwrap_or(rest.len());
            let (before, behind) = rest.split_at_checked(end).unwrap_or((rest, ""));
            if !before.is_empty() {
                pieces.push(Piece::Text(before.to_owned()));
            }
            let Some(after) = behind.strip_prefix('{') else {
                *rest = behind.strip_prefix('}').unwrap_or_default();
                let is_closed = depth == 0 || !behind.is_empty();
                return if is_closed { Ok(pieces) } else { Err(OPEN.to_owned()) };
            };
            if let Some(inside) = after.strip_prefix('?') {
                *rest = inside;
                pieces.push(Piece::Optional(self.pieces(rest, depth + 1)?));
                continue;
            }
            let (name, behind) = after.split_once('}').ok_or(OPEN)?;
            pieces.push(Piece::Field(self.native_names(name)));
            *rest = behind;
        }
    }

    /// Where the values of a field go. In a list each may be made another way.
    fn destinations(&mut self, key: Span, node: &Node) -> Vec<Destination> {
        let parts = match node.as_list() {
            Some(parts) if parts.iter().any(|part| part.as_map().is_some()) => parts,
            _ => std::slice::from_ref(node),
        };
        parts.iter().filter_map(|part| self.destination(key, part)).collect()
    }

    fn destination(&mut self, key: Span, node: &Node) -> Option<Destination> {
        let mut convert = Convert::default();
        let targets = match &node.kind {
            Kind::Map(entries) => {
                for (option, value) in entries {
                    if self.known(option, &FIELD_KEYS) {
                        self.conversion(&option.text, value, &mut convert);
                    }
                }
                if let (Some(equals), Some(pairs)) = (node.get("equals"), &mut convert.pairs) {
                    pairs.equals = self.text(equals);
                }
                node.get("to").map(|to| self.texts(to)).unwrap_or_default()
            }
            _ => self.texts(node),
        };
        if targets.is_empty() && convert.patterns.is_empty() && convert.pairs.is_none() {
            self.fault(Code::Missing, key, "`to` is missing: the field that it becomes");
            return None;
        }
        let targets = targets.iter().map(|target| Target::new(target)).collect();
        Some(Destination { targets, convert })
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
            "empty" => convert.empty = self.texts(node),
            "pattern" => {
                for one in node.one_or_more() {
                    convert.patterns.extend(self.pattern(one).map(Gaps::new));
                }
            }
            "pairs" => {
                let mut destinations = Vec::new();
                for (key, value) in self.map(node) {
                    for destination in self.destinations(key.span, value) {
                        destinations.push((key.text.clone(), destination));
                    }
                }
                convert.pairs = Some(Pairs { equals: "=".to_owned(), destinations });
            }
            // `to` and `equals`, which are read with the field.
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
            false => Constant::Template(vec![Piece::Field(self.native_names(&field))]),
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
            "windows" => Form::Windows,
            "audit" => Form::Audit,
            "key-value" => Form::KeyValue { pair: ' ', equals: '=' },
            _ => {
                let message = format!("no form is called `{word}`");
                let known =
                    ["json", "windows", "cef", "leef", "audit", "key-value", "patterns", "columns"];
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

    /// Reads a lookup; `inner` makes blocks of its rows.
    fn lookup(
        &mut self,
        node: &Node,
        inner: &mut dyn FnMut(&mut Self, &Node, Vec<Setting>) -> usize,
    ) -> Option<Lookup> {
        for (key, _) in self.map(node) {
            self.known(key, &["field", "rows", "otherwise"]);
        }
        let Some(field) = node.get("field") else {
            self.fault(Code::Missing, node.span, "`field` is missing: the field that is looked up");
            return None;
        };
        let field = self.text(field);
        let mut rows = HashMap::default();
        if let Some(node) = node.get("rows") {
            for (key, row) in self.map(node) {
                let block = self.row(row, inner);
                // Several values may share a row.
                for one in key.text.split(" | ") {
                    if rows.insert(one.trim().to_lowercase(), block).is_some() {
                        self.fault(Code::DuplicateKey, key.span, format!("`{one}` has two rows"));
                    }
                }
            }
        }
        let otherwise = node.get("otherwise").map(|node| self.row(node, inner));
        Some(Lookup { fields: self.native_names(&field), rows, otherwise })
    }

    /// A row is a block that need not say `set`.
    fn row(
        &mut self,
        node: &Node,
        inner: &mut dyn FnMut(&mut Self, &Node, Vec<Setting>) -> usize,
    ) -> usize {
        let mut sets = Vec::new();
        for (key, value) in self.map(node) {
            if !BLOCK_KEYS.contains(&key.text.as_str()) {
                self.setting(&key.text, value, &mut sets);
            }
        }
        inner(self, node, sets)
    }
}
