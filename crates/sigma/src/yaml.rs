//! YAML as a small tree in which every node knows its line and column.
//!
//! The tree is built from `saphyr-parser`'s events rather than by a serde adapter, because a
//! diagnostic without a place is worth little, and because rule files come from strangers: what a
//! file may cost is bounded here (bytes, depth, nodes after alias expansion), once.
//!
//! A file is cut at its document markers before it is parsed. By YAML's own rule `---` at the
//! start of a line is a marker wherever it stands, so the cut is exact, and a syntax error in one
//! document leaves the others alone.
//!
//! Plain scalars follow the YAML 1.2 core schema, with two differences that rule authors expect:
//! `yes` and `no` are text, and so is a number with leading zeros.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle};

use crate::diagnostic::{Code, Diagnostic, Span};

/// The most bytes of one file. The largest public rule file has 300 kB.
pub const FILE_BYTES_MAX: usize = 4 << 20;
/// The most nested lists and maps. Public rules need five.
pub const DEPTH_MAX: usize = 64;
/// The most nodes of one document, after aliases are expanded; stops "billion laughs".
pub const NODES_MAX: usize = 200_000;
/// The most bytes of text of one document, after aliases are expanded; stops a long text that is
/// repeated.
pub const EXPANDED_BYTES_MAX: usize = 4 * FILE_BYTES_MAX;
/// The most keys of one map; they are compared with each other.
pub const MAP_KEYS_MAX: usize = 2_000;
/// The most documents of one file.
pub const DOCUMENTS_MAX: usize = 10_000;

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as written.
    Number(String),
    /// A text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the file.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its text.
    pub text: String,
    /// Where it stands.
    pub span: Span,
}

impl Node {
    /// The value of a key, when this is a map that has it.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|(_, value)| value)
    }

    /// A key and its value.
    pub fn entry(&self, key: &str) -> Option<(&Key, &Node)> {
        let entries = self.as_map()?;
        entries.iter().find(|(name, _)| name.text == key).map(|(name, value)| (name, value))
    }

    /// The entries, when this is a map.
    pub fn as_map(&self) -> Option<&[(Key, Node)]> {
        match &self.kind {
            Kind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, when this is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text of a text, number or boolean.
    pub fn to_text(&self) -> Option<String> {
        match &self.kind {
            Kind::Text(text) | Kind::Number(text) => Some(text.clone()),
            Kind::Bool(value) => Some(value.to_string()),
            Kind::Null | Kind::List(_) | Kind::Map(_) => None,
        }
    }

    /// The list itself, or the one value as a list of one; nothing for null.
    pub fn one_or_more(&self) -> &[Node] {
        match &self.kind {
            Kind::List(items) => items,
            Kind::Null => &[],
            _ => std::slice::from_ref(self),
        }
    }

    /// What kind of value this is, in words.
    pub fn describe(&self) -> &'static str {
        match self.kind {
            Kind::Null => "nothing",
            Kind::Bool(_) => "a boolean",
            Kind::Number(_) => "a number",
            Kind::Text(_) => "a text",
            Kind::List(_) => "a list",
            Kind::Map(_) => "a map",
        }
    }

    /// What it takes up.
    pub(crate) fn size(&self) -> Size {
        let mut size = Size { nodes: 1, bytes: 0 };
        match &self.kind {
            Kind::Text(text) | Kind::Number(text) => size.bytes = text.len(),
            Kind::List(items) => items.iter().for_each(|item| size.add(item.size())),
            Kind::Map(entries) => {
                for (key, value) in entries {
                    size.add(Size { nodes: 1, bytes: key.text.len() });
                    size.add(value.size());
                }
            }
            Kind::Null | Kind::Bool(_) => {}
        }
        size
    }

    /// The same value as JSON. Keys that stand twice can't occur; numbers that JSON lacks are
    /// texts.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.kind {
            Kind::Null => serde_json::Value::Null,
            Kind::Bool(value) => (*value).into(),
            Kind::Number(raw) => match json_number(raw) {
                Some(number) => serde_json::Value::Number(number),
                None => raw.clone().into(),
            },
            Kind::Text(text) => text.clone().into(),
            Kind::List(items) => items.iter().map(Node::to_json).collect(),
            Kind::Map(entries) => {
                let pairs = entries.iter().map(|(key, value)| (key.text.clone(), value.to_json()));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }
}

/// What a node takes up, with all that is in it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    pub(crate) nodes: usize,
    pub(crate) bytes: usize,
}

impl Size {
    pub(crate) fn add(&mut self, other: Size) {
        self.nodes += other.nodes;
        self.bytes += other.bytes;
    }
}

/// The JSON form of a number as YAML writes it (`+1`, `0x1F`, `1e3`); nothing for `.inf`.
pub fn json_number(raw: &str) -> Option<serde_json::Number> {
    let (negative, digits) = match raw.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, raw.strip_prefix('+').unwrap_or(raw)),
    };
    let radix = |prefix, radix| {
        digits.strip_prefix(prefix).and_then(|text| u64::from_str_radix(text, radix).ok())
    };
    if let Some(value) = radix("0x", 16).or_else(|| radix("0o", 8)) {
        return Some(value.into());
    }
    if let Ok(value) = digits.parse::<u64>() {
        return match (negative, i64::try_from(value)) {
            (false, _) => Some(value.into()),
            (true, Ok(value)) => Some((-value).into()),
            (true, Err(_)) => serde_json::Number::from_f64(-(value as f64)),
        };
    }
    raw.parse::<f64>().ok().and_then(serde_json::Number::from_f64)
}

/// The documents of a text, in order; a document that is not YAML, or too much, is an error
/// instead. Empty documents are left out.
pub fn parse(text: &str) -> Vec<Result<Node, Diagnostic>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes, more than {FILE_BYTES_MAX}", text.len());
        return vec![Err(Diagnostic::error(Code::TooLarge, Span::default(), message))];
    }
    let mut documents = Vec::new();
    for (line, chunk) in chunks(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        if documents.len() == DOCUMENTS_MAX {
            let span = Span { line: line + 1, column: 1, length: 1 };
            let message = format!("the file has more than {DOCUMENTS_MAX} documents");
            documents.push(Err(Diagnostic::error(Code::TooLarge, span, message)));
            break;
        }
        match parse_one(chunk, line) {
            Ok(None) => {}
            Ok(Some(node)) => documents.push(Ok(node)),
            Err(fault) => documents.push(Err(fault)),
        }
    }
    documents
}

/// Cuts a text at its document markers. Each chunk has the number of lines before it.
fn chunks(text: &str) -> Vec<(u32, &str)> {
    let mut chunks = Vec::new();
    let (mut start, mut start_line, mut offset) = (0, 0, 0);
    let mut content = false;
    for (line, text_line) in (0u32..).zip(text.split_inclusive('\n')) {
        let bare = text_line.trim_end();
        let begins = bare == "---" || bare.starts_with("--- ");
        let ends = bare == "...";
        if begins && content {
            chunks.extend(text.get(start..offset).map(|chunk| (start_line, chunk)));
            (start, start_line, content) = (offset, line, false);
        }
        offset += text_line.len();
        if ends {
            chunks.extend(text.get(start..offset).map(|chunk| (start_line, chunk)));
            (start, start_line, content) = (offset, line + 1, false);
            continue;
        }
        // Directives and comments belong to the document that follows them.
        let ignorable =
            bare.is_empty() || bare.trim_start().starts_with('#') || bare.starts_with('%');
        content |= !ignorable;
    }
    if content {
        chunks.extend(text.get(start..).map(|chunk| (start_line, chunk)));
    }
    chunks
}

/// A list or map that is still open.
struct Open {
    span: Span,
    anchor: usize,
    items: Vec<Node>,
    /// `None` for a list.
    keys: Option<Keys>,
}

#[derive(Default)]
struct Keys {
    entries: Vec<(Key, Node)>,
    pending: Option<Key>,
    merges: Vec<Node>,
}

struct Builder {
    first_line: u32,
    stack: Vec<Open>,
    anchors: HashMap<usize, Node>,
    size: Size,
    root: Option<Node>,
}

fn parse_one(text: &str, first_line: u32) -> Result<Option<Node>, Diagnostic> {
    let mut builder = Builder {
        first_line,
        stack: Vec::new(),
        anchors: HashMap::new(),
        size: Size::default(),
        root: None,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, at) = event.map_err(|error| {
            let marker = error.marker();
            let span = Span {
                line: number(marker.line()) + first_line,
                column: number(marker.col()) + 1,
                length: 1,
            };
            Diagnostic::error(Code::Yaml, span, format!("not valid YAML: {}", error.info()))
                .with_help("look at the indentation and the quotes here and on the line before")
        })?;
        let span = builder.span(at);
        builder.take(event, span)?;
        if builder.root.is_some() {
            break;
        }
    }
    Ok(builder.root.filter(|node| node.kind != Kind::Null))
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(|tag| tag.suffix.as_str());
                let kind = scalar(&text, style, tag);
                self.add(Node { span, kind }, anchor, Some(&text))
            }
            Event::SequenceStart(anchor, _) => self.open(span, anchor, None),
            Event::MappingStart(anchor, _) => self.open(span, anchor, Some(Keys::default())),
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    let message = "this alias has no anchor before it";
                    return Err(Diagnostic::error(Code::Yaml, span, message));
                };
                // What it costs is counted before it is copied.
                let size = node.size();
                self.spend(size, span)?;
                let Some(node) = self.anchors.get(&anchor).cloned() else { return Ok(()) };
                self.add(Node { span, ..node }, 0, None)
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn open(&mut self, span: Span, anchor: usize, keys: Option<Keys>) -> Result<(), Diagnostic> {
        if self.stack.len() == DEPTH_MAX {
            let message = format!("lists and maps are nested deeper than {DEPTH_MAX}");
            return Err(Diagnostic::error(Code::TooLarge, span, message));
        }
        self.stack.push(Open { span, anchor, items: Vec::new(), keys });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Diagnostic> {
        let Some(open) = self.stack.pop() else { return Ok(()) };
        let kind = match open.keys {
            None => Kind::List(open.items),
            Some(mut keys) => {
                for merged in keys.merges.drain(..) {
                    if let Kind::Map(entries) = merged.kind {
                        for (key, value) in entries {
                            if !keys.entries.iter().any(|(known, _)| known.text == key.text) {
                                keys.entries.push((key, value));
                            }
                        }
                    }
                }
                Kind::Map(keys.entries)
            }
        };
        self.add(Node { span: open.span, kind }, open.anchor, None)
    }

    /// Puts a finished node where it belongs. `raw` is the text of a scalar, which may be a key.
    fn add(&mut self, node: Node, anchor: usize, raw: Option<&str>) -> Result<(), Diagnostic> {
        let bytes = raw.map_or(0, str::len);
        self.spend(Size { nodes: 1, bytes }, node.span)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let Some(keys) = &mut open.keys else {
            open.items.push(node);
            return Ok(());
        };
        match keys.pending.take() {
            Some(key) if key.text == "<<" => keys.merges.push(node),
            Some(key) => keys.entries.push((key, node)),
            None => {
                let text = match raw.map(str::to_owned).or_else(|| node.to_text()) {
                    Some(text) => text,
                    None => {
                        let message = format!("{} can't be a key of a map", node.describe());
                        return Err(Diagnostic::error(Code::Yaml, node.span, message));
                    }
                };
                if let Some((first, _)) = keys.entries.iter().find(|(key, _)| key.text == text) {
                    let message = format!("the key `{text}` stands twice in this map");
                    return Err(Diagnostic::error(Code::DuplicateKey, node.span, message)
                        .with_help(format!("the first is on line {}", first.span.line)));
                }
                if keys.entries.len() == MAP_KEYS_MAX {
                    let message = format!("the map has more than {MAP_KEYS_MAX} keys");
                    return Err(Diagnostic::error(Code::TooLarge, node.span, message));
                }
                keys.pending = Some(Key { text, span: node.span });
            }
        }
        Ok(())
    }

    fn spend(&mut self, size: Size, span: Span) -> Result<(), Diagnostic> {
        self.size.add(size);
        if self.size.nodes <= NODES_MAX && self.size.bytes <= EXPANDED_BYTES_MAX {
            return Ok(());
        }
        let message = format!(
            "the document has more than {NODES_MAX} values or {EXPANDED_BYTES_MAX} bytes of text"
        );
        Err(Diagnostic::error(Code::TooLarge, span, message))
    }

    fn span(&self, at: saphyr_parser::Span) -> Span {
        let (start, end) = (at.start, at.end);
        let length = if start.line() == end.line() { end.index() - start.index() } else { 1 };
        Span {
            line: number(start.line()) + self.first_line,
            column: number(start.col()) + 1,
            length: number(length.max(1)),
        }
    }
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&str>) -> Kind {
    if style != ScalarStyle::Plain || tag == Some("str") {
        return Kind::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ if is_number(text) => Kind::Number(text.to_owned()),
        _ => Kind::Text(text.to_owned()),
    }
}

/// Whether the core schema reads a plain text as a number, and its leading zeros don't matter.
fn is_number(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let all =
        |digits: &str, is: fn(&u8) -> bool| !digits.is_empty() && digits.bytes().all(|b| is(&b));
    if let Some(hex) = text.strip_prefix("0x") {
        return all(hex, u8::is_ascii_hexdigit);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return all(octal, |b| matches!(b, b'0'..=b'7'));
    }
    let zeros = unsigned.len() > 1
        && unsigned.starts_with('0')
        && unsigned.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    let plain =
        unsigned.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'-' | b'+'));
    let digit = unsigned.as_bytes().first().is_some_and(u8::is_ascii_digit)
        || unsigned
            .strip_prefix('.')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    !zeros && plain && digit && unsigned.parse::<f64>().is_ok_and(f64::is_finite)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Node {
        parse(text).remove(0).expect("valid")
    }

    #[test]
    fn scalars_are_typed() {
        let node = one("[1, -2.5, 0x1F, 007, yes, true, ~, '1', 1.2.3, 4.3e2, 1-2]");
        let kinds: Vec<_> = node.as_list().unwrap().iter().map(|node| node.to_json()).collect();
        let expected =
            serde_json::json!([1, -2.5, 31, "007", "yes", true, null, "1", "1.2.3", 430.0, "1-2"]);
        assert_eq!(serde_json::Value::Array(kinds), expected);
    }

    #[test]
    fn places_are_those_of_the_file() {
        let documents = parse("# head\na: 1\n---\nb:\n  - x\n  - 'yy'\n");
        let second = documents[1].as_ref().expect("valid");
        let items = second.get("b").and_then(Node::as_list).expect("a list");
        assert_eq!(items[1].span, Span { line: 6, column: 5, length: 4 });
    }

    #[test]
    fn a_broken_document_leaves_the_others() {
        let documents = parse("a: 1\n---\nb: [\n---\nc: 3\n");
        assert!(documents[0].is_ok() && documents[2].is_ok());
        let fault = documents[1].as_ref().expect_err("not closed");
        assert_eq!(fault.code, Code::Yaml);
    }

    #[test]
    fn aliases_and_merges_expand_within_bounds() {
        let node = one("base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\n");
        assert_eq!(node.get("more").map(Node::to_json), Some(serde_json::json!({"x": 1, "y": 3})));

        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let list = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{list}]\n"));
        }
        let fault = parse(&bomb).remove(0).expect_err("too many values");
        assert_eq!(fault.code, Code::TooLarge);

        let long = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(100));
        let fault = parse(&long).remove(0).expect_err("too much text");
        assert_eq!(fault.code, Code::TooLarge);
    }

    #[test]
    fn depth_is_bounded() {
        for text in ["[".repeat(100), "[".repeat(100_000), "- ".repeat(100_000), "? ".repeat(500)] {
            let fault = parse(&text).remove(0).expect_err("too deep");
            assert!(matches!(fault.code, Code::TooLarge | Code::Yaml), "{fault}");
        }
    }

    #[test]
    fn duplicate_keys_are_refused() {
        let fault = parse("a: 1\nb: 2\na: 3\n").remove(0).expect_err("duplicate");
        assert_eq!((fault.code, fault.line), (Code::DuplicateKey, 3));
    }
}
