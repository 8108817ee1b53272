//! Text files: lines and JSON, through the [`Splitter`].
//!
//! Bytes that are no UTF-8 pass as they are. The exception is UTF-16, which PowerShell writes when
//! its output is redirected: cut at `\n` bytes it would be nothing, so it becomes UTF-8 first.

use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;

use super::{Place, READ_BYTES, Reading};
use crate::split::{Piece, Position, Splitter};

/// The byte order of UTF-16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wide {
    Little,
    Big,
}

impl Wide {
    /// What the byte order mark says, if the text begins with one of UTF-16.
    pub(crate) fn of(head: &[u8]) -> Option<Wide> {
        match head {
            [0xff, 0xfe, ..] => Some(Wide::Little),
            [0xfe, 0xff, ..] => Some(Wide::Big),
            _ => None,
        }
    }
}

pub(super) fn read(
    source: &mut dyn Read,
    wide: Option<Wide>,
    reading: &mut Reading<'_>,
) -> ControlFlow<()> {
    let mut splitter = Splitter::new(reading.options.line_bytes_max);
    let mut narrow = wide.map(Narrow::new);
    let mut buffer = vec![0; READ_BYTES];
    let mut bytes = 0_u64;
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                let message = format!("cannot be read further: {error}");
                reading.problem(Place::Byte(bytes), message);
                break;
            }
        };
        bytes += read as u64;
        let portion = buffer.get(..read).unwrap_or_default();
        let portion = match &mut narrow {
            None => portion,
            Some(narrow) => narrow.push(portion),
        };
        splitter.push(portion, &mut |piece| take(piece, reading))?;
    }
    if let Some(narrow) = &mut narrow {
        splitter.push(narrow.finish(), &mut |piece| take(piece, reading))?;
    }
    splitter.finish(&mut |piece| take(piece, reading))
}

fn take(piece: Piece<'_>, reading: &mut Reading<'_>) -> ControlFlow<()> {
    let place = |position| match position {
        Position::Line(number) => Place::Line(number),
        Position::Element(number) => Place::Element(number),
    };
    match piece {
        Piece::Record { payload, position, encoding } => {
            return reading.record(payload, position.number(), encoding);
        }
        Piece::TooLong { position, bytes } => {
            let max = reading.options.line_bytes_max;
            let message = format!("has {bytes} bytes, at most {max} are read; skipped");
            reading.problem(place(position), message);
        }
        Piece::Unclosed { position } => {
            reading.problem(place(position), "the file ends within the array: it is cut short");
        }
    }
    ControlFlow::Continue(())
}

/// UTF-16 to UTF-8, in portions. Units that are no text become U+FFFD.
struct Narrow {
    order: Wide,
    /// A byte whose other half has not come.
    half: Option<u8>,
    /// Units whose other half may come.
    units: Vec<u16>,
    text: String,
}

impl Narrow {
    fn new(order: Wide) -> Self {
        Narrow { order, half: None, units: Vec::new(), text: String::new() }
    }

    fn push(&mut self, bytes: &[u8]) -> &[u8] {
        for &byte in bytes {
            match self.half.take() {
                None => self.half = Some(byte),
                Some(first) => self.units.push(match self.order {
                    Wide::Little => u16::from_le_bytes([first, byte]),
                    Wide::Big => u16::from_be_bytes([first, byte]),
                }),
            }
        }
        let is_open = self.units.last().is_some_and(|unit| (0xd800..0xdc00).contains(unit));
        let open = if is_open { self.units.pop() } else { None };
        self.decode();
        self.units.extend(open);
        self.text.as_bytes()
    }

    fn finish(&mut self) -> &[u8] {
        if self.half.take().is_some() {
            self.units.push(0xfffd);
        }
        self.decode();
        self.text.as_bytes()
    }

    /// The splitter drops the byte order mark, as it does that of UTF-8.
    fn decode(&mut self) {
        self.text.clear();
        let units = self.units.drain(..);
        self.text.extend(
            char::decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_text_becomes_utf_8_wherever_it_is_cut() {
        let text = "\u{feff}{\"user\":\"J\u{f6}rg \u{1f600}\"}\r\nx\n";
        for order in [Wide::Little, Wide::Big] {
            let bytes: Vec<u8> = text
                .encode_utf16()
                .flat_map(|unit| match order {
                    Wide::Little => unit.to_le_bytes(),
                    Wide::Big => unit.to_be_bytes(),
                })
                .collect();
            assert_eq!(Wide::of(&bytes), Some(order));
            for size in 1..bytes.len() {
                let mut narrow = Narrow::new(order);
                let mut out = Vec::new();
                for portion in bytes.chunks(size) {
                    out.extend_from_slice(narrow.push(portion));
                }
                out.extend_from_slice(narrow.finish());
                assert_eq!(String::from_utf8(out).unwrap(), text, "portions of {size}");
            }
        }
    }

    #[test]
    fn wide_text_that_is_cut_is_marked() {
        let mut narrow = Narrow::new(Wide::Little);
        assert_eq!(narrow.push(b"a\0\x3d\xd8b"), b"a");
        assert_eq!(narrow.finish(), "\u{fffd}\u{fffd}".as_bytes());
    }
}
