//! Where a message ends in a TCP stream (RFC 6587).
//!
//! Two framings are in use and nothing announces which: a count of octets before each message, or a
//! newline after it. Each message tells by how it begins: `LENGTH SP <` is counted; anything else
//! ends at a newline (or a NUL, which some devices send). Once a stream has counted, `LENGTH SP` is
//! enough, since not every sender's messages begin with `<`. So a stream may even mix them.
//!
//! [`Framer`] is pushed bytes in any portions; where they are cut changes nothing (a property test
//! holds that). A message over the limit is handed out in parts, all of it.

use std::mem;

/// The most digits of a length: 9,999,999,999 is far over every limit.
const LENGTH_DIGITS_MAX: usize = 10;

/// Takes messages out of a stream.
#[derive(Debug)]
pub(super) struct Framer {
    bytes_max: usize,
    /// What came of a message that is not complete.
    held: Vec<u8>,
    state: State,
    /// Whether a message with a count came before.
    has_counted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a message.
    Start,
    /// In a counted message, of which so many bytes are to come.
    Counted { left: u64, is_part: bool },
    /// In a message that a newline ends. So many bytes of it, in `held`, have none.
    Line { searched: usize, is_part: bool },
}

/// A message, or a part of one that is over the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) bytes: &'a [u8],
    /// Whether it goes on from the frame before.
    pub(super) is_continuation: bool,
}

/// How a message begins.
enum Beginning {
    Undecided,
    Line,
    /// So many bytes of digits and blank, and then so many bytes of message.
    Counted {
        skip: usize,
        length: u64,
    },
}

impl Framer {
    pub(super) fn new(bytes_max: usize) -> Self {
        let bytes_max = bytes_max.max(1);
        Framer { bytes_max, held: Vec::new(), state: State::Start, has_counted: false }
    }

    /// Takes the next bytes, and hands out every message that ends in them.
    pub(super) fn push(&mut self, bytes: &[u8], each: &mut dyn FnMut(Frame<'_>)) {
        if self.held.is_empty() {
            let left = self.run(bytes, each);
            self.held.extend_from_slice(bytes.get(bytes.len() - left..).unwrap_or_default());
        } else {
            let mut held = mem::take(&mut self.held);
            held.extend_from_slice(bytes);
            let left = self.run(&held, each);
            held.drain(..held.len() - left);
            self.held = held;
        }
    }

    /// Whether a message has begun and not ended.
    pub(super) fn is_within(&self) -> bool {
        !self.held.is_empty() || self.state != State::Start
    }

    /// Ends the stream, and hands out what had no end of its own.
    pub(super) fn finish(&mut self, each: &mut dyn FnMut(Frame<'_>)) {
        let held = mem::take(&mut self.held);
        let is_continuation = match self.state {
            State::Start => false,
            State::Counted { is_part, .. } | State::Line { is_part, .. } => is_part,
        };
        give(&held, is_continuation, each);
        self.state = State::Start;
    }

    /// Hands out what is complete in `bytes`, and returns how many of the last bytes are left.
    fn run(&mut self, bytes: &[u8], each: &mut dyn FnMut(Frame<'_>)) -> usize {
        let mut rest = bytes;
        loop {
            match self.state {
                State::Start => {
                    rest = rest.trim_start_with_frame_ends();
                    match beginning(rest, self.has_counted) {
                        Beginning::Undecided => return rest.len(),
                        Beginning::Line => {
                            self.state = State::Line { searched: 0, is_part: false };
                        }
                        Beginning::Counted { skip, length } => {
                            self.has_counted = true;
                            self.state = State::Counted { left: length, is_part: false };
                            rest = rest.get(skip..).unwrap_or_default();
                        }
                    }
                }
                State::Counted { left, is_part } => {
                    let whole = left <= self.bytes_max as u64;
                    let wanted = if whole { left as usize } else { self.bytes_max };
                    let Some((frame, after)) = rest.split_at_checked(wanted) else {
                        return rest.len();
                    };
                    give(frame, is_part, each);
                    self.state = if whole {
                        State::Start
                    } else {
                        State::Counted { left: left - wanted as u64, is_part: true }
                    };
                    rest = after;
                }
                State::Line { searched, is_part } => {
                    let unsearched = rest.get(searched..).unwrap_or_default();
                    let end = memchr::memchr2(b'\n', 0, unsearched).map(|at| at + searched);
                    // The limit binds first, wherever the portions are cut.
                    let (frame, after, is_end) = match end {
                        Some(end) if end <= self.bytes_max => {
                            let (frame, after) = rest.split_at(end);
                            (frame, after.get(1..).unwrap_or_default(), true)
                        }
                        _ if rest.len() > self.bytes_max => {
                            let (frame, after) = rest.split_at(self.bytes_max);
                            (frame, after, false)
                        }
                        _ => {
                            self.state = State::Line { searched: rest.len(), is_part };
                            return rest.len();
                        }
                    };
                    give(frame, is_part, each);
                    self.state = if is_end {
                        State::Start
                    } else {
                        State::Line { searched: 0, is_part: true }
                    };
                    rest = after;
                }
            }
        }
    }
}

/// Hands out a frame without the line ends and NULs around it, unless nothing is left.
fn give(frame: &[u8], is_continuation: bool, each: &mut dyn FnMut(Frame<'_>)) {
    let bytes = trim_message(frame);
    if !bytes.is_empty() {
        each(Frame { bytes, is_continuation });
    }
}

/// A message without the line ends and NULs that it begins or ends with.
pub(super) fn trim_message(message: &[u8]) -> &[u8] {
    let mut message = message.trim_start_with_frame_ends();
    while let [rest @ .., last] = message
        && is_frame_end(*last)
    {
        message = rest;
    }
    message
}

fn is_frame_end(byte: u8) -> bool {
    matches!(byte, b'\n' | b'\r' | 0)
}

trait TrimStart {
    fn trim_start_with_frame_ends(&self) -> &[u8];
}

impl TrimStart for [u8] {
    fn trim_start_with_frame_ends(&self) -> &[u8] {
        let mut rest = self;
        while let [first, after @ ..] = rest
            && is_frame_end(*first)
        {
            rest = after;
        }
        rest
    }
}

fn beginning(bytes: &[u8], has_counted: bool) -> Beginning {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == 0 {
        return if bytes.is_empty() { Beginning::Undecided } else { Beginning::Line };
    }
    if digits > LENGTH_DIGITS_MAX || bytes.first() == Some(&b'0') {
        return Beginning::Line;
    }
    let (number, after) = bytes.split_at(digits);
    let counts = match after {
        [] => return Beginning::Undecided,
        [b' '] if !has_counted => return Beginning::Undecided,
        [b' ', b'<', ..] => true,
        [b' ', ..] => has_counted,
        _ => false,
    };
    let length = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
    match length {
        Some(length) if counts => Beginning::Counted { skip: digits + 1, length },
        _ => Beginning::Line,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frames(
        stream: &[u8],
        bytes_max: usize,
        mut sizes: impl Iterator<Item = usize>,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let mut each = |frame: Frame<'_>| {
            let sign = if frame.is_continuation { "+" } else { "" };
            found.push(format!("{sign}{}", frame.bytes.escape_ascii()));
        };
        let mut framer = Framer::new(bytes_max);
        let mut rest = stream;
        while !rest.is_empty() {
            let size = sizes.next().unwrap_or(rest.len()).clamp(1, rest.len());
            let (portion, after) = rest.split_at(size);
            framer.push(portion, &mut each);
            rest = after;
        }
        framer.finish(&mut each);
        found
    }

    #[track_caller]
    fn check(stream: impl AsRef<[u8]>, expected: &[&str]) {
        let stream = stream.as_ref();
        assert_eq!(frames(stream, 20, std::iter::empty()), expected, "in one");
        for size in 1..=5 {
            assert_eq!(frames(stream, 20, std::iter::repeat(size)), expected, "by {size}");
        }
    }

    #[test]
    fn newlines_end_messages() {
        check("<1>a\n<2>b\r\n\n<3>c\0\n<4>d\0<5>e", &["<1>a", "<2>b", "<3>c", "<4>d", "<5>e"]);
        check("12:00:01 no header\n2026-11-24 x\n", &["12:00:01 no header", "2026-11-24 x"]);
        check("7 messages\n", &["7 messages"]);
        check("123", &["123"]);
        check(b"\xff\xfe\n \n", &["\\xff\\xfe", " "]);
    }

    #[test]
    fn counts_end_messages() {
        check("4 <1>a5 <2>bb", &["<1>a", "<2>bb"]);
        check("8 <1>a\n<2>", &["<1>a\\n<2>"]);
        check("5 <1>a\n4 <2>b\n3 abc", &["<1>a", "<2>b", "abc"]);
        check("9 <1>cut", &["<1>cut"]);
        check("99999999999 <1>x\n", &["99999999999 <1>x"]);
        check("04 <1>x\n", &["04 <1>x"]);
    }

    #[test]
    fn a_stream_may_mix() {
        check("4 <1>a<2>b\n4 <3>c\n<4>d\n", &["<1>a", "<2>b", "<3>c", "<4>d"]);
    }

    #[test]
    fn long_messages_come_in_parts() {
        let long = "x".repeat(45);
        let twenty = "x".repeat(20);
        let part = format!("+{twenty}");
        check(format!("{long}\n<1>b\n"), &[&twenty, &part, "+xxxxx", "<1>b"]);
        check(format!("<{twenty}\n"), &[&format!("<{}", "x".repeat(19)), "+x"]);
        check(format!("{twenty}\n<1>b\n"), &[&twenty, "<1>b"]);
        check(
            format!("45 <{}4 <1>b", "x".repeat(44)),
            &[&format!("<{}", "x".repeat(19)), &part, "+xxxxx", "<1>b"],
        );
        check("9999999999 <1>x", &["<1>x"]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn where_portions_are_cut_changes_nothing(
            stream in prop_oneof![
                "([0-9]{1,3} <|<[0-9]>|[a-c]{1,5}|[0-9 \n\r\\x00<]){0,20}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..60),
            ],
            sizes in prop::collection::vec(1..9_usize, 1..40),
            bytes_max in 1..30_usize,
        ) {
            prop_assert_eq!(
                frames(&stream, bytes_max, sizes.into_iter()),
                frames(&stream, bytes_max, std::iter::empty())
            );
        }

        #[test]
        fn messages_come_out_as_they_went_in(
            messages in prop::collection::vec(("<[0-9]{1,3}>[a-z0-9 <>]{0,30}", any::<bool>()), 0..20),
        ) {
            let mut stream = String::new();
            for (message, counted) in &messages {
                if *counted {
                    stream.push_str(&format!("{} {message}", message.len()));
                } else {
                    stream.push_str(message);
                    stream.push('\n');
                }
            }
            let expected: Vec<&str> = messages.iter().map(|(message, _)| message.as_str()).collect();
            prop_assert_eq!(frames(stream.as_bytes(), 100, std::iter::empty()), expected);
        }
    }
}
