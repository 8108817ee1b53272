//! Takes apart what holds several records, as its bytes arrive.
//!
//! [`Splitter`] is pushed bytes in any portions and hands out records as slices of them, or of the
//! little it had to hold: a line that is not at its end, an element, an object over several lines.
//! So neither a request nor a file is ever in memory twice, and where the portions are cut changes
//! nothing (a property test holds that).
//!
//! It finds out by itself what it has:
//!
//! - an array of objects, or `{"Records": [...]}` as CloudTrail writes it: its elements, byte for
//!   byte;
//! - lines, whatever is in them: each line that is not blank;
//! - where the first line opens an object and does not close it: objects over several lines, each
//!   until its brackets close.
//!
//! Broken input loses nothing. A broken line is handed out like any other, and if brackets never
//! close because a line is cut, the lines after it are handed out one by one.

use std::mem;
use std::ops::ControlFlow;

use event::raw::Encoding;
use serde::de::IgnoredAny;

/// The longest record that is taken in, in bytes. A line of 10 MB passes, and with its headers it
/// fits into a record of the bus.
pub const LINE_BYTES_MAX: usize = 15 * 1024 * 1024;

/// How far into a text it is looked for the beginning of an array. A longer beginning without one
/// is lines.
const HEAD_BYTES_MAX: usize = 4096;

const BOM: &[u8] = b"\xef\xbb\xbf";

/// Where a record stood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Position {
    /// The line it began on, from 1.
    Line(u64),
    /// Which element of an array, from 1.
    Element(u64),
}

impl Position {
    pub(crate) fn number(self) -> u64 {
        match self {
            Position::Line(number) | Position::Element(number) => number,
        }
    }
}

/// What a splitter found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// A record.
    Record { payload: &'a [u8], position: Position, encoding: Encoding },
    /// A record over the limit; its bytes are gone.
    TooLong { position: Position, bytes: u64 },
    /// The text ended within an array. What there was of the last element was handed out.
    Unclosed { position: Position },
}

/// Is handed each piece; `Break` stops the splitter.
pub(crate) type Sink<'a> = dyn FnMut(Piece<'_>) -> ControlFlow<()> + 'a;

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Splitter {
    bytes_max: usize,
    state: State,
    /// The bytes of a head, line or element whose end has not come.
    held: Vec<u8>,
    /// How many bytes of it were let go because it is over the limit; 0 while it is not.
    let_go: u64,
    /// The lines of an object whose brackets are open.
    span: Span,
    /// The line we are on, from 1.
    line: u64,
    /// How many elements were seen.
    elements: u64,
    /// Whether nothing came yet, so that a byte order mark may.
    at_start: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first record, or after an array.
    Head,
    /// Lines, none of which was looked at yet.
    FirstLine,
    /// Each line is a record.
    Lines,
    /// Objects may go over several lines.
    Objects,
    /// In an array.
    Array { nesting: Nesting, wrapped: bool },
    /// After the array of `{"Records": [...]}`, before the bracket that closes the object.
    Wrapper,
}

/// How deep in brackets a scan of JSON is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Nesting {
    depth: u32,
    in_string: bool,
    escaped: bool,
}

#[derive(Debug, Default)]
struct Span {
    bytes: Vec<u8>,
    nesting: Nesting,
    /// The line it began on.
    line: u64,
    /// Whether one of its later lines begins with `{` in the first column. Nothing that prints
    /// JSON over several lines does that within an object, so the first line is then likely cut.
    suspect: bool,
}

/// What the beginning of a text is.
#[derive(Debug, PartialEq, Eq)]
enum Head {
    /// Can't be said before more bytes come.
    Undecided,
    Lines,
    /// An array, whose first element begins after so many bytes.
    Array {
        skip: usize,
        wrapped: bool,
    },
}

impl Splitter {
    /// A splitter whose records may have so many bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Splitter {
            bytes_max,
            state: State::Head,
            held: Vec::new(),
            let_go: 0,
            span: Span::default(),
            line: 1,
            elements: 0,
            at_start: true,
        }
    }

    /// The line that the bytes so far end on, from 1.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// How many bytes are in memory here, waiting for their end.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.len() + self.span.bytes.len()
    }

    /// Takes the next bytes, and hands out every record that ends in them.
    pub(crate) fn push(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> ControlFlow<()> {
        if self.state == State::Head && !self.held.is_empty() {
            let mut head = mem::take(&mut self.held);
            head.extend_from_slice(bytes);
            self.run(&head, false, sink)
        } else {
            self.run(bytes, false, sink)
        }
    }

    /// Ends the text, and hands out what had no end of its own.
    pub(crate) fn finish(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        if self.state == State::Head {
            let head = mem::take(&mut self.held);
            self.run(&head, true, sink)?;
        }
        if let State::Array { .. } = self.state {
            self.end_element(&[], sink)?;
            sink(Piece::Unclosed { position: Position::Element(self.elements) })?;
        } else {
            if !self.held.is_empty() || self.let_go > 0 {
                self.end_line(&[], sink)?;
            }
            self.end_span(sink)?;
        }
        *self = Splitter::new(self.bytes_max);
        ControlFlow::Continue(())
    }

    fn run(&mut self, bytes: &[u8], ended: bool, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                State::Head => self.head(rest, ended),
                State::FirstLine | State::Lines | State::Objects => self.lines(rest, sink)?,
                State::Array { nesting, wrapped } => self.array(nesting, wrapped, rest, sink)?,
                State::Wrapper => self.wrapper(rest),
            };
        }
        ControlFlow::Continue(())
    }

    /// Decides what follows, or holds the bytes until that can be decided.
    fn head<'b>(&mut self, mut rest: &'b [u8], ended: bool) -> &'b [u8] {
        if self.at_start {
            if rest.len() < BOM.len() && BOM.starts_with(rest) && !ended {
                self.held.extend_from_slice(rest);
                return &[];
            }
            rest = rest.strip_prefix(BOM).unwrap_or(rest);
            self.at_start = false;
        }
        // Blank lines, and no more, so that a first line keeps the blanks it begins with.
        let blank = rest.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let (blanks, _) = rest.split_at(blank);
        if let Some(newline) = memchr::memrchr(b'\n', blanks) {
            self.line += memchr::memchr_iter(b'\n', blanks).count() as u64;
            rest = rest.get(newline + 1..).unwrap_or_default();
        }
        match head(rest, ended) {
            Head::Undecided if !ended && rest.len() < HEAD_BYTES_MAX => {
                self.held.extend_from_slice(rest);
                &[]
            }
            Head::Undecided | Head::Lines => {
                self.state = State::FirstLine;
                rest
            }
            Head::Array { skip, wrapped } => {
                let (skipped, rest) = rest.split_at(skip);
                self.line += memchr::memchr_iter(b'\n', skipped).count() as u64;
                self.state = State::Array { nesting: Nesting::default(), wrapped };
                rest
            }
        }
    }

    fn wrapper<'b>(&mut self, rest: &'b [u8]) -> &'b [u8] {
        let Some((&byte, after)) = rest.split_first() else { return rest };
        match byte {
            b'\n' => self.line += 1,
            b'}' => self.state = State::Head,
            byte if byte.is_ascii_whitespace() => {}
            // The object has more members; they are kept, as a line.
            _ => {
                self.state = State::Lines;
                return rest;
            }
        }
        after
    }

    fn lines<'b>(&mut self, rest: &'b [u8], sink: &mut Sink<'_>) -> ControlFlow<(), &'b [u8]> {
        let Some(newline) = memchr::memchr(b'\n', rest) else {
            self.hold(rest);
            return ControlFlow::Continue(&[]);
        };
        let (line, after) = rest.split_at(newline);
        self.end_line(line, sink)?;
        self.line += 1;
        ControlFlow::Continue(after.get(1..).unwrap_or_default())
    }

    /// A line is complete: what is held, and `last`.
    fn end_line(&mut self, last: &[u8], sink: &mut Sink<'_>) -> ControlFlow<()> {
        if self.held.is_empty() && self.let_go == 0 && last.len() <= self.bytes_max {
            return self.line_of(last, sink);
        }
        self.hold(last);
        if self.let_go > 0 {
            self.end_span(sink)?;
            let bytes = mem::take(&mut self.let_go);
            return sink(Piece::TooLong { position: Position::Line(self.line), bytes });
        }
        let mut held = mem::take(&mut self.held);
        let flow = self.line_of(&held, sink);
        held.clear();
        self.held = held;
        flow
    }

    /// Decides for a whole line, with its `\r` if it has one, what becomes of it.
    fn line_of(&mut self, line: &[u8], sink: &mut Sink<'_>) -> ControlFlow<()> {
        if self.state == State::FirstLine {
            if line.trim_ascii().is_empty() {
                return ControlFlow::Continue(());
            }
            // Whether objects go over several lines is decided once: to look into every line for
            // its brackets would cost as much again as all the rest.
            self.state = if opens_object(line) { State::Objects } else { State::Lines };
        }
        if self.state == State::Lines {
            return give_line(line, self.line, sink);
        }
        if self.span.bytes.is_empty() {
            if !opens_object(line) {
                return give_line(line, self.line, sink);
            }
            self.span.line = self.line;
        } else {
            if self.span.bytes.len() + line.len() + 1 > self.bytes_max {
                self.give_span_as_lines(sink)?;
                return self.line_of(line, sink);
            }
            self.span.suspect |= line.first() == Some(&b'{');
            self.span.bytes.push(b'\n');
        }
        self.span.bytes.extend_from_slice(line);
        self.span.nesting.scan(line);
        if self.span.nesting.in_string {
            // A string never goes over the end of a line: it is cut.
            return self.give_span_as_lines(sink);
        }
        if self.span.nesting.depth == 0 { self.end_span(sink) } else { ControlFlow::Continue(()) }
    }

    /// Hands out the lines gathered, as one record if they can be one.
    fn end_span(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let Span { bytes, line, suspect, .. } = &mut self.span;
        if bytes.is_empty() {
            return ControlFlow::Continue(());
        }
        if *suspect && !is_json(bytes) {
            return self.give_span_as_lines(sink);
        }
        let flow = give_line(bytes, *line, sink);
        self.span.clear();
        flow
    }

    fn give_span_as_lines(&mut self, sink: &mut Sink<'_>) -> ControlFlow<()> {
        let lines = self.span.bytes.split(|&byte| byte == b'\n');
        for (number, line) in (self.span.line..).zip(lines) {
            give_line(line, number, sink)?;
        }
        self.span.clear();
        ControlFlow::Continue(())
    }

    fn array<'b>(
        &mut self,
        mut nesting: Nesting,
        wrapped: bool,
        rest: &'b [u8],
        sink: &mut Sink<'_>,
    ) -> ControlFlow<(), &'b [u8]> {
        let (mut start, mut at) = (0, 0);
        while let Some((step, byte)) = nesting.next(rest.get(at..).unwrap_or_default()) {
            at += step;
            let element = rest.get(start..at).unwrap_or_default();
            at += 1;
            match byte {
                b',' if nesting.depth == 0 => {
                    self.end_element(element, sink)?;
                    start = at;
                }
                b']' if nesting.depth == 0 => {
                    self.end_element(element, sink)?;
                    self.state = if wrapped { State::Wrapper } else { State::Head };
                    return ControlFlow::Continue(rest.get(at..).unwrap_or_default());
                }
                b'\n' => self.line += 1,
                byte => nesting.take(byte),
            }
        }
        self.hold(rest.get(start..).unwrap_or_default());
        self.state = State::Array { nesting, wrapped };
        ControlFlow::Continue(&[])
    }

    /// An element is complete: what is held, and `last`.
    fn end_element(&mut self, last: &[u8], sink: &mut Sink<'_>) -> ControlFlow<()> {
        let direct = self.held.is_empty() && self.let_go == 0 && last.len() <= self.bytes_max;
        if !direct {
            self.hold(last);
        }
        if self.let_go > 0 {
            self.elements += 1;
            let bytes = mem::take(&mut self.let_go);
            return sink(Piece::TooLong { position: Position::Element(self.elements), bytes });
        }
        let payload = if direct { last } else { self.held.as_slice() }.trim_ascii();
        // An element that goes over lines as no JSON does: its brackets do not close because one of
        // the lines is cut.
        let is_lines = memchr::memmem::find(payload, b"\n{").is_some() && !is_json(payload);
        let elements = &mut self.elements;
        let mut give = |payload: &[u8]| {
            if payload.is_empty() {
                return ControlFlow::Continue(());
            }
            *elements += 1;
            let position = Position::Element(*elements);
            sink(Piece::Record { payload, position, encoding: Encoding::Json })
        };
        let flow = if is_lines {
            payload.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii).try_for_each(give)
        } else {
            give(payload)
        };
        self.held.clear();
        flow
    }

    /// Holds bytes of a record whose end has not come, or counts them if it is over the limit.
    fn hold(&mut self, bytes: &[u8]) {
        if self.let_go == 0 && self.held.len() + bytes.len() <= self.bytes_max {
            self.held.extend_from_slice(bytes);
        } else {
            self.let_go += (self.held.len() + bytes.len()) as u64;
            self.held = Vec::new();
        }
    }
}

impl Span {
    fn clear(&mut self) {
        self.bytes.clear();
        self.nesting = Nesting::default();
        self.suspect = false;
    }
}

impl Nesting {
    /// Where the next byte is that means something, and which it is. What lies in strings, and the
    /// strings' ends, are passed over. A line's end always means something, and ends a string too:
    /// there is none in a valid one, and a cut string must not swallow what follows.
    fn next(&mut self, bytes: &[u8]) -> Option<(usize, u8)> {
        let mut at = 0;
        loop {
            if self.escaped {
                let byte = *bytes.get(at)?;
                self.escaped = false;
                at += usize::from(byte != b'\n');
            }
            let rest = bytes.get(at..)?;
            if self.in_string {
                let found = memchr::memchr3(b'"', b'\\', b'\n', rest)?;
                at += found;
                match rest.get(found)? {
                    b'\\' => self.escaped = true,
                    b'\n' => {
                        self.in_string = false;
                        return Some((at, b'\n'));
                    }
                    _ => self.in_string = false,
                }
                at += 1;
            } else {
                let found = rest.iter().position(|byte| {
                    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b',' | b'\n')
                })?;
                at += found;
                match rest.get(found)? {
                    b'"' => self.in_string = true,
                    &byte => return Some((at, byte)),
                }
                at += 1;
            }
        }
    }

    /// Counts a byte that [`Nesting::next`] gave.
    fn take(&mut self, byte: u8) {
        match byte {
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }

    /// Goes over a whole line.
    fn scan(&mut self, line: &[u8]) {
        let mut rest = line;
        while let Some((step, byte)) = self.next(rest) {
            self.take(byte);
            rest = rest.get(step + 1..).unwrap_or_default();
        }
    }
}

/// Whether a line begins an object that other lines have to end.
fn opens_object(line: &[u8]) -> bool {
    if line.trim_ascii_start().first() != Some(&b'{') || is_json(line) {
        return false;
    }
    let mut nesting = Nesting::default();
    nesting.scan(line);
    nesting.depth > 0 && !nesting.in_string
}

fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Hands out a line without its `\r`, unless it is blank.
fn give_line(line: &[u8], number: u64, sink: &mut Sink<'_>) -> ControlFlow<()> {
    let payload = line.strip_suffix(b"\r").unwrap_or(line);
    match payload.trim_ascii_start().first() {
        None => ControlFlow::Continue(()),
        Some(first) => {
            let encoding = if *first == b'{' { Encoding::Json } else { Encoding::Unknown };
            sink(Piece::Record { payload, position: Position::Line(number), encoding })
        }
    }
}

/// What the beginning of a text is. `[Mon Aug 10 ...] [error]` is a line, `[{` an array.
fn head(text: &[u8], ended: bool) -> Head {
    let mut cursor = Cursor { text, at: 0 };
    let wrapped = match cursor.next() {
        None => return Head::Undecided,
        Some(b'[') => false,
        Some(b'{') => {
            for token in [br#""Records""#.as_slice(), b":", b"["] {
                for (index, expected) in token.iter().enumerate() {
                    match if index == 0 { cursor.next() } else { cursor.byte() } {
                        None => return Head::Undecided,
                        Some(byte) if byte == *expected => {}
                        Some(_) => return Head::Lines,
                    }
                }
            }
            true
        }
        Some(_) => return Head::Lines,
    };
    let skip = cursor.at;
    match cursor.next() {
        None => Head::Undecided,
        Some(b'{') => Head::Array { skip, wrapped },
        Some(b']') if wrapped => Head::Array { skip, wrapped },
        // An empty array, if nothing else is on its line.
        Some(b']') => loop {
            match cursor.byte() {
                Some(b' ' | b'\t') => {}
                None if !ended => return Head::Undecided,
                None | Some(b'\n' | b'\r') => return Head::Array { skip, wrapped },
                Some(_) => return Head::Lines,
            }
        },
        Some(_) => Head::Lines,
    }
}

struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = self.text.get(self.at).copied();
        self.at += usize::from(byte.is_some());
        byte
    }

    /// The next byte that is not blank.
    fn next(&mut self) -> Option<u8> {
        loop {
            match self.byte()? {
                byte if byte.is_ascii_whitespace() => {}
                byte => return Some(byte),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a text is taken apart into, one line each, when pushed in portions of these sizes.
    fn split(text: &[u8], bytes_max: usize, mut sizes: impl Iterator<Item = usize>) -> Vec<String> {
        let mut found = Vec::new();
        let mut sink = |piece: Piece<'_>| {
            let place = |position| match position {
                Position::Line(number) => format!("{number}"),
                Position::Element(number) => format!("#{number}"),
            };
            found.push(match piece {
                Piece::Record { payload, position, encoding } => {
                    let kind = if encoding == Encoding::Json { " json" } else { "" };
                    format!("{}{kind} {}", place(position), payload.escape_ascii())
                }
                Piece::TooLong { position, bytes } => {
                    format!("{} too long: {bytes}", place(position))
                }
                Piece::Unclosed { position } => format!("{} unclosed", place(position)),
            });
            ControlFlow::Continue(())
        };
        let mut splitter = Splitter::new(bytes_max);
        let mut rest = text;
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let (portion, after) = rest.split_at(size);
            assert!(splitter.push(portion, &mut sink).is_continue());
            rest = after;
        }
        assert!(splitter.finish(&mut sink).is_continue());
        found
    }

    #[track_caller]
    fn check(text: impl AsRef<[u8]>, expected: &[&str]) {
        let text = text.as_ref();
        assert_eq!(split(text, 1000, std::iter::empty()), expected, "in one");
        for size in 1..=7 {
            assert_eq!(split(text, 1000, std::iter::repeat(size)), expected, "by {size}");
        }
    }

    #[test]
    fn lines_are_byte_for_byte() {
        check("", &[]);
        check(" \n\r\n\t", &[]);
        check("{\"a\":1}\n{\"b\": 2 }", &["1 json {\\\"a\\\":1}", "2 json {\\\"b\\\": 2 }"]);
        check("\n\n one \r\n\r\n\ttwo\n", &["3  one ", "5 \\ttwo"]);
        check(b"a\xff\n\xc3\x28\n\0\n", &["1 a\\xff", "2 \\xc3(", "3 \\x00"]);
        check("\u{feff}{}\n", &["1 json {}"]);
        check("\u{feff}\u{feff}x", &["1 \\xef\\xbb\\xbfx"]);
        check(b"\xef\xbb", &["1 \\xef\\xbb"]);
        check("[Mon Aug 10] [error] x\n[1]\n", &["1 [Mon Aug 10] [error] x", "2 [1]"]);
        check("[] empty\n", &["1 [] empty"]);
        check("[\n", &["1 ["]);
        check("x\n{\n}\n", &["1 x", "2 json {", "3 }"]);
    }

    #[test]
    fn broken_lines_leave_the_others() {
        check(
            "{\"a\":1}\n{\"cut\":\n{\"b\":\"x\n{\"c\":3}\n",
            &[
                "1 json {\\\"a\\\":1}",
                "2 json {\\\"cut\\\":",
                "3 json {\\\"b\\\":\\\"x",
                "4 json {\\\"c\\\":3}",
            ],
        );
        check("{\"cut\":\n{\"b\":2}\n", &["1 json {\\\"cut\\\":", "2 json {\\\"b\\\":2}"]);
        check("{\"cut\":\"x\n{\"b\":2}\n", &["1 json {\\\"cut\\\":\\\"x", "2 json {\\\"b\\\":2}"]);
        check(
            "{\"a\":[\n{\"b\":2}\n]]}\nx\n",
            &["1 json {\\\"a\\\":[", "2 json {\\\"b\\\":2}", "3 ]]}", "4 x"],
        );
        let deep = format!("{}1{}", "{\"a\":".repeat(50), "}".repeat(50));
        assert_eq!(split(format!("{deep}\n{deep}").as_bytes(), 1000, std::iter::empty()).len(), 2);
    }

    #[test]
    fn arrays_give_their_elements() {
        check("[]", &[]);
        check(" [ ] \n", &[]);
        check(
            "[{\"a\":1.0e0},\n  {\"b\":\"],\\\"}[\"} , [1,2], \"s\"]\n",
            &[
                "#1 json {\\\"a\\\":1.0e0}",
                "#2 json {\\\"b\\\":\\\"],\\\\\\\"}[\\\"}",
                "#3 json [1,2]",
                "#4 json \\\"s\\\"",
            ],
        );
        check(
            "[{}]\n[{},]\n{\"x\":1}\ny",
            &["#1 json {}", "#2 json {}", "3 json {\\\"x\\\":1}", "4 y"],
        );
        check("[{\"a\":},{\"b\":2}]", &["#1 json {\\\"a\\\":}", "#2 json {\\\"b\\\":2}"]);
        check(
            "[{\"a\":1},{\"b\":",
            &["#1 json {\\\"a\\\":1}", "#2 json {\\\"b\\\":", "#2 unclosed"],
        );
        check("[{},", &["#1 json {}", "#1 unclosed"]);
        check(
            "[\n{\"a\":1}\n{\"b\":2}\n",
            &["#1 json {\\\"a\\\":1}", "#2 json {\\\"b\\\":2}", "#2 unclosed"],
        );
        check(
            "{ \"Records\" : [ {\"a\":1},{\"b\":2} ] }\n{\"Records\":[{}]}",
            &["#1 json {\\\"a\\\":1}", "#2 json {\\\"b\\\":2}", "#3 json {}"],
        );
        check("{\"Records\":[]}", &[]);
        check("{\"Records\":[{}],\"next\":1}\n", &["#1 json {}", "1 ,\\\"next\\\":1}"]);
        check("{\"Records\":1}\n{\"Recor", &["1 json {\\\"Records\\\":1}", "2 json {\\\"Recor"]);
    }

    #[test]
    fn objects_over_several_lines_are_one() {
        check(
            "{\r\n  \"a\": {\r\n    \"}\": \"{\" } }\r\n\r\n{\n}\ntext\n{\"b\":1}\n",
            &[
                "1 json {\\r\\n  \\\"a\\\": {\\r\\n    \\\"}\\\": \\\"{\\\" } }",
                "5 json {\\n}",
                "7 text",
                "8 json {\\\"b\\\":1}",
            ],
        );
        check("{\n \"a\": 1\n", &["1 json {\\n \\\"a\\\": 1"]);
        check("{\n \"a\": 1,\n}", &["1 json {\\n \\\"a\\\": 1,\\n}"]);
    }

    #[test]
    fn what_is_too_long_is_told_and_the_rest_goes_on() {
        let long = "x".repeat(1001);
        check(
            format!("a\n{long}\nb\n{long}"),
            &["1 a", "2 too long: 1001", "3 b", "4 too long: 1001"],
        );
        check(
            format!("[{{}},\"{long}\",{{}}]"),
            &["#1 json {}", "#2 too long: 1003", "#3 json {}"],
        );
        let most = "x".repeat(1000);
        check(&most, &[&format!("1 {most}")]);
        let mut expected: Vec<String> = vec!["1 json {".into()];
        expected.extend((2..=400).map(|line| format!("{line}  1,")));
        let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
        let lines = format!("{{\n{}", " 1,\n".repeat(399));
        check(lines, &expected);
    }

    #[test]
    fn a_break_stops() {
        let mut count = 0;
        let mut splitter = Splitter::new(100);
        let flow = splitter.push(b"a\nb\nc\n", &mut |_| {
            count += 1;
            if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(flow.is_break() && count == 2);
    }

    /// Texts that are likely to be almost something.
    fn texts() -> impl Strategy<Value = Vec<u8>> {
        let token = prop_oneof![
            "[\\[\\]{}\",:\\\\\r\n 1x]{1,4}".prop_map(String::into_bytes),
            Just(b"{\"Records\":[".to_vec()),
            Just(b"{\"a\":1}".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"\n{".to_vec()),
            Just(b"},".to_vec()),
            Just(b"\xef\xbb\xbf".to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(token, 0..24).prop_map(|tokens| tokens.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn where_portions_are_cut_changes_nothing(
            text in texts(),
            sizes in prop::collection::vec(1..9_usize, 1..40),
            bytes_max in prop_oneof![Just(1000_usize), 1..20_usize],
        ) {
            prop_assert_eq!(
                split(&text, bytes_max, sizes.into_iter()),
                split(&text, bytes_max, std::iter::empty())
            );
        }

        #[test]
        fn every_whole_line_is_there(
            lines in prop::collection::vec("\\{\"[a-z]\":([0-9]|\"[a-z]\"|\\{\\})\\}", 1..9),
            broken in prop::collection::vec(("[{}\",:x ]{1,6}", 0..9_usize), 0..4),
        ) {
            // Objects on a line of their own are found whatever lines are between them.
            let mut all = lines.clone();
            for (line, at) in broken {
                all.insert(at.min(all.len()), line);
            }
            let text = all.join("\n");
            let found = split(text.as_bytes(), 1000, std::iter::empty());
            for line in &lines {
                let shown = line.as_bytes().escape_ascii().to_string();
                prop_assert!(
                    found.iter().any(|record| record.ends_with(&format!(" {shown}"))),
                    "{line} of {text} is not in {found:?}"
                );
            }
        }
    }
}
