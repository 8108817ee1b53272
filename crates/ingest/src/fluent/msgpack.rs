//! MessagePack, as far as logs need it: where a value ends, what it is, and what it is as JSON.
//!
//! Nothing here builds a tree: a tree of small values takes thirty times the bytes that made it, so
//! a sender could fill the memory with an honest chunk. Values are slices of what was received, and
//! go straight into JSON text. A length in a header is only ever compared, never allocated.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use event::Timestamp;
use rmp::Marker;

/// How deep a record may be nested to be written as JSON, for which each level takes stack. Deeper
/// than events are read, so that what is too deep for them is rejected where it can be seen.
pub(super) const NESTING_MAX: usize = 100;

/// How deep values may be nested for their end to be found, which takes a number for each level.
const OPEN_MAX: usize = 1000;

/// The extension with which Fluentd writes times that have nanoseconds.
const EXTENSION_EVENT_TIME: i8 = 0;

/// MessagePack's own extension for times.
const EXTENSION_TIMESTAMP: i8 = -1;

/// Why bytes are no value that we take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The byte that MessagePack never uses.
    Reserved,
    /// Nested deeper than the limit.
    TooDeep,
    /// It has, or says that it will have, more bytes than the limit.
    TooLarge,
    /// It ends too early. Only where there is nothing to wait for.
    Cut,
}

impl Fault {
    pub(super) fn text(self) -> &'static str {
        match self {
            Fault::Reserved => "it has a byte that MessagePack does not use",
            Fault::TooDeep => "its values are nested too deep",
            Fault::TooLarge => "it is too large",
            Fault::Cut => "it ends within a value",
        }
    }
}

/// Finds where a value ends that arrives in pieces. It goes over each byte's header once, however
/// often it is asked.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// How many bytes from the value's start are known: the next header is there. May lie beyond
    /// what has arrived.
    known: usize,
    has_begun: bool,
    /// How many values are still to come in each container that is open.
    open: Vec<u64>,
}

impl Scan {
    /// Looks at all that has arrived of a value, and tells where it ends if it does.
    pub(super) fn end(&mut self, bytes: &[u8], bytes_max: usize) -> Result<Option<usize>, Fault> {
        loop {
            if self.known > bytes_max {
                return Err(Fault::TooLarge);
            }
            if self.has_begun && self.open.is_empty() {
                return Ok((self.known <= bytes.len()).then_some(self.known));
            }
            let Some(rest) = bytes.get(self.known..) else { return Ok(None) };
            let (head, length) = match head(rest) {
                Ok(found) => found,
                Err(Fault::Cut) => return Ok(None),
                Err(fault) => return Err(fault),
            };
            self.has_begun = true;
            self.known = self.known.saturating_add(length);
            let children = match head {
                Head::Array(count) => u64::from(count),
                Head::Map(count) => 2 * u64::from(count),
                Head::Str(length) | Head::Bin(length) | Head::Ext(_, length) => {
                    self.known = self.known.saturating_add(length as usize);
                    0
                }
                _ => 0,
            };
            // Each value takes a byte at least, so it is known to be too large before it is here.
            if children > bytes_max as u64 {
                return Err(Fault::TooLarge);
            }
            if children > 0 {
                if self.open.len() >= OPEN_MAX {
                    return Err(Fault::TooDeep);
                }
                self.open.push(children);
                continue;
            }
            while let Some(left) = self.open.last_mut() {
                *left -= 1;
                if *left > 0 {
                    break;
                }
                self.open.pop();
            }
        }
    }
}

/// A value's first bytes.
#[derive(Debug, Clone, Copy)]
enum Head {
    Nil,
    Bool(bool),
    Uint(u64),
    Int(i64),
    F32(f32),
    F64(f64),
    Str(u32),
    Bin(u32),
    Array(u32),
    Map(u32),
    Ext(i8, u32),
}

/// Reads a header, and tells how many bytes it takes.
fn head(bytes: &[u8]) -> Result<(Head, usize), Fault> {
    let (&first, rest) = bytes.split_first().ok_or(Fault::Cut)?;
    let number = |length: usize| {
        let bytes = rest.get(..length).ok_or(Fault::Cut)?;
        Ok(bytes.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte)))
    };
    let length = |width: usize| Ok((number(width)? as u32, 1 + width));
    let kind = |at: usize| rest.get(at).map(|&byte| byte as i8).ok_or(Fault::Cut);
    Ok(match Marker::from_u8(first) {
        Marker::Null => (Head::Nil, 1),
        Marker::False => (Head::Bool(false), 1),
        Marker::True => (Head::Bool(true), 1),
        Marker::FixPos(value) => (Head::Uint(u64::from(value)), 1),
        Marker::U8 => (Head::Uint(number(1)?), 2),
        Marker::U16 => (Head::Uint(number(2)?), 3),
        Marker::U32 => (Head::Uint(number(4)?), 5),
        Marker::U64 => (Head::Uint(number(8)?), 9),
        Marker::FixNeg(value) => (Head::Int(i64::from(value)), 1),
        Marker::I8 => (Head::Int(i64::from(number(1)? as i8)), 2),
        Marker::I16 => (Head::Int(i64::from(number(2)? as i16)), 3),
        Marker::I32 => (Head::Int(i64::from(number(4)? as i32)), 5),
        Marker::I64 => (Head::Int(number(8)? as i64), 9),
        Marker::F32 => (Head::F32(f32::from_bits(number(4)? as u32)), 5),
        Marker::F64 => (Head::F64(f64::from_bits(number(8)?)), 9),
        Marker::FixStr(length) => (Head::Str(u32::from(length)), 1),
        Marker::Str8 => length(1).map(|(n, head)| (Head::Str(n), head))?,
        Marker::Str16 => length(2).map(|(n, head)| (Head::Str(n), head))?,
        Marker::Str32 => length(4).map(|(n, head)| (Head::Str(n), head))?,
        Marker::Bin8 => length(1).map(|(n, head)| (Head::Bin(n), head))?,
        Marker::Bin16 => length(2).map(|(n, head)| (Head::Bin(n), head))?,
        Marker::Bin32 => length(4).map(|(n, head)| (Head::Bin(n), head))?,
        Marker::FixArray(count) => (Head::Array(u32::from(count)), 1),
        Marker::Array16 => length(2).map(|(n, head)| (Head::Array(n), head))?,
        Marker::Array32 => length(4).map(|(n, head)| (Head::Array(n), head))?,
        Marker::FixMap(count) => (Head::Map(u32::from(count)), 1),
        Marker::Map16 => length(2).map(|(n, head)| (Head::Map(n), head))?,
        Marker::Map32 => length(4).map(|(n, head)| (Head::Map(n), head))?,
        Marker::FixExt1 => (Head::Ext(kind(0)?, 1), 2),
        Marker::FixExt2 => (Head::Ext(kind(0)?, 2), 2),
        Marker::FixExt4 => (Head::Ext(kind(0)?, 4), 2),
        Marker::FixExt8 => (Head::Ext(kind(0)?, 8), 2),
        Marker::FixExt16 => (Head::Ext(kind(0)?, 16), 2),
        Marker::Ext8 => (Head::Ext(kind(1)?, number(1)? as u32), 3),
        Marker::Ext16 => (Head::Ext(kind(2)?, number(2)? as u32), 4),
        Marker::Ext32 => (Head::Ext(kind(4)?, number(4)? as u32), 6),
        Marker::Reserved => return Err(Fault::Reserved),
    })
}

/// A value of which the contents are still to be read, if it is a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Nil,
    Bool(bool),
    Uint(u64),
    Int(i64),
    F32(f32),
    F64(f64),
    /// A string, UTF-8 or not.
    Str(&'a [u8]),
    Bin(&'a [u8]),
    /// So many values follow.
    Array(u32),
    /// So many keys with their values follow.
    Map(u32),
    Ext(i8, &'a [u8]),
}

impl<'a> Value<'a> {
    /// The bytes of a string, whether it calls itself one or not: older clients know one kind only.
    pub(super) fn bytes(self) -> Option<&'a [u8]> {
        match self {
            Value::Str(bytes) | Value::Bin(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Reads values one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next value; the contents of a container come after it.
    pub(super) fn read(&mut self) -> Result<Value<'a>, Fault> {
        let (head, length) = head(self.rest)?;
        self.take(length)?;
        Ok(match head {
            Head::Nil => Value::Nil,
            Head::Bool(value) => Value::Bool(value),
            Head::Uint(value) => Value::Uint(value),
            Head::Int(value) => Value::Int(value),
            Head::F32(value) => Value::F32(value),
            Head::F64(value) => Value::F64(value),
            Head::Str(length) => Value::Str(self.take(length as usize)?),
            Head::Bin(length) => Value::Bin(self.take(length as usize)?),
            Head::Array(count) => Value::Array(count),
            Head::Map(count) => Value::Map(count),
            Head::Ext(kind, length) => Value::Ext(kind, self.take(length as usize)?),
        })
    }

    /// The next value with all its contents, as bytes.
    pub(super) fn whole(&mut self) -> Result<&'a [u8], Fault> {
        let end = Scan::default().end(self.rest, self.rest.len())?.ok_or(Fault::Cut)?;
        self.take(end)
    }

    /// The next value, which stays the next.
    pub(super) fn peek(mut self) -> Result<Value<'a>, Fault> {
        self.read()
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Fault::Cut)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Writes the next value as JSON. What JSON does not have becomes what comes nearest: bytes
    /// that are no UTF-8 get the sign for that, numbers that are none become null, keys become
    /// text, times RFC 3339 and other extensions Base64.
    pub(super) fn write_json(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> Result<(), Fault> {
        self.write_nested(out, bytes_max, NESTING_MAX)
    }

    fn write_nested(
        &mut self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        levels: usize,
    ) -> Result<(), Fault> {
        let levels = levels.checked_sub(1).ok_or(Fault::TooDeep)?;
        match self.read()? {
            Value::Nil => out.extend_from_slice(b"null"),
            Value::Bool(value) => write(out, &value),
            Value::Uint(value) => write(out, &value),
            Value::Int(value) => write(out, &value),
            // JSON's writer makes null of what is no number.
            Value::F32(value) => write(out, &value),
            Value::F64(value) => write(out, &value),
            Value::Str(bytes) | Value::Bin(bytes) if bytes.len() > bytes_max => {
                return Err(Fault::TooLarge);
            }
            Value::Str(bytes) | Value::Bin(bytes) => write_text(out, bytes),
            Value::Ext(kind, bytes) => match time(kind, bytes) {
                Some(time) => write(out, &time),
                None if bytes.len() > bytes_max => return Err(Fault::TooLarge),
                None => write(out, &STANDARD.encode(bytes)),
            },
            Value::Array(count) => {
                out.push(b'[');
                for at in 0..count {
                    if at > 0 {
                        out.push(b',');
                    }
                    self.write_nested(out, bytes_max, levels)?;
                }
                out.push(b']');
            }
            Value::Map(count) => {
                out.push(b'{');
                for at in 0..count {
                    if at > 0 {
                        out.push(b',');
                    }
                    self.write_key(out, bytes_max, levels)?;
                    out.push(b':');
                    self.write_nested(out, bytes_max, levels)?;
                }
                out.push(b'}');
            }
        }
        if out.len() > bytes_max { Err(Fault::TooLarge) } else { Ok(()) }
    }

    /// Writes a key: any value but a string as the text of its JSON.
    fn write_key(
        &mut self,
        out: &mut Vec<u8>,
        bytes_max: usize,
        levels: usize,
    ) -> Result<(), Fault> {
        let start = out.len();
        self.write_nested(out, bytes_max, levels)?;
        if out.get(start) != Some(&b'"') {
            let text = out.split_off(start);
            write_text(out, &text);
        }
        Ok(())
    }
}

/// The time that an extension says, if it is one.
fn time(kind: i8, bytes: &[u8]) -> Option<Timestamp> {
    let number = |bytes: &[u8]| bytes.iter().fold(0_u64, |n, &byte| n << 8 | u64::from(byte));
    let (seconds, nanos) = match (kind, bytes.len()) {
        (EXTENSION_EVENT_TIME, 8) => {
            let (seconds, nanos) = bytes.split_at(4);
            (number(seconds) as i64, number(nanos))
        }
        (EXTENSION_TIMESTAMP, 4) => (number(bytes) as i64, 0),
        (EXTENSION_TIMESTAMP, 8) => {
            let both = number(bytes);
            ((both & 0x3_ffff_ffff) as i64, both >> 34)
        }
        (EXTENSION_TIMESTAMP, 12) => {
            let (nanos, seconds) = bytes.split_at(4);
            (number(seconds) as i64, number(nanos))
        }
        _ => return None,
    };
    let nanos = seconds.checked_mul(1_000_000_000)?.checked_add_unsigned(nanos)?;
    Some(Timestamp::from_nanos(nanos))
}

pub(super) fn write_text(out: &mut Vec<u8>, bytes: &[u8]) {
    write(out, &String::from_utf8_lossy(bytes));
}

fn write<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("scalars and text are JSON, and memory takes them");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(bytes: &[u8]) -> Result<String, Fault> {
        let mut out = Vec::new();
        let mut reader = Reader::new(bytes);
        reader.write_json(&mut out, 100_000)?;
        assert!(reader.is_empty());
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn what_json_lacks_becomes_what_comes_nearest() {
        let cases: [(&[u8], &str); 16] = [
            (b"\xc0", "null"),
            (b"\x7f", "127"),
            (b"\xe0", "-32"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xd3\x80\x00\x00\x00\x00\x00\x00\x00", "-9223372036854775808"),
            (b"\xca\x3f\x8c\xcc\xcd", "1.1"),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", "null"),
            (b"\xcb\xff\xf0\x00\x00\x00\x00\x00\x00", "null"),
            (b"\xa3a\"\n", r#""a\"\n""#),
            (b"\xc4\x02\xffz", "\"\u{fffd}z\""),
            (b"\x93\x01\x90\x80", "[1,[],{}]"),
            (b"\x83\x01\xc3\xc0\xc2\x91\xa1x\x02", r#"{"1":true,"null":false,"[\"x\"]":2}"#),
            (b"\xd7\x00\x5f\x5e\x10\x00\x00\x00\x00\x01", r#""2020-09-13T12:26:40.000000001Z""#),
            (b"\xd6\xff\x00\x00\x00\x01", r#""1970-01-01T00:00:01Z""#),
            (
                b"\xc7\x0c\xff\x00\x00\x00\x05\xff\xff\xff\xff\xff\xff\xff\xff",
                r#""1969-12-31T23:59:59.000000005Z""#,
            ),
            (b"\xc7\x03\x07abc", r#""YWJj""#),
        ];
        for (bytes, expected) in cases {
            assert_eq!(json(bytes).as_deref(), Ok(expected), "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn lengths_are_refused_before_anything_is_held() {
        for bytes in [
            &b"\xdb\xff\xff\xff\xff"[..],
            b"\xc6\x00\x10\x00\x00",
            b"\xdd\xff\xff\xff\xff",
            b"\xdf\x7f\xff\xff\xff",
            b"\x92\xc9\xff\xff\xff\xff\x01",
        ] {
            assert_eq!(Scan::default().end(bytes, 1000), Err(Fault::TooLarge));
        }
        let deep = [0x91; 1001];
        assert_eq!(Scan::default().end(&deep, 10_000), Err(Fault::TooDeep));
        assert_eq!(Scan::default().end(&deep[1..], 10_000), Ok(None));
        assert_eq!(json(&deep), Err(Fault::TooDeep));
        assert_eq!(Scan::default().end(b"\xc1", 1000), Err(Fault::Reserved));
    }

    /// Any value, by rmp's own encoder.
    fn value() -> impl Strategy<Value = Vec<u8>> {
        let leaf = prop_oneof![
            any::<u64>().prop_map(|n| encode(|out| drop(rmp::encode::write_uint(out, n)))),
            any::<i64>().prop_map(|n| encode(|out| drop(rmp::encode::write_sint(out, n)))),
            any::<f64>().prop_map(|n| encode(|out| drop(rmp::encode::write_f64(out, n)))),
            ".{0,40}".prop_map(|text| encode(|out| drop(rmp::encode::write_str(out, &text)))),
            prop::collection::vec(any::<u8>(), 0..300)
                .prop_map(|bytes| encode(|out| drop(rmp::encode::write_bin(out, &bytes)))),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(|bytes| encode(|out| {
                rmp::encode::write_ext_meta(out, bytes.len() as u32, 5).unwrap();
                out.extend_from_slice(&bytes);
            })),
        ];
        leaf.prop_recursive(4, 40, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..20).prop_map(|values| encode(|out| {
                    rmp::encode::write_array_len(out, values.len() as u32).unwrap();
                    out.extend(values.concat());
                })),
                prop::collection::vec((inner.clone(), inner), 0..20).prop_map(|pairs| encode(
                    |out| {
                        rmp::encode::write_map_len(out, pairs.len() as u32).unwrap();
                        pairs.iter().for_each(|(key, value)| {
                            out.extend_from_slice(key);
                            out.extend_from_slice(value);
                        });
                    }
                )),
            ]
        })
    }

    fn encode(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    proptest! {
        #[test]
        fn a_value_ends_where_its_encoder_ended_it(
            value in value(),
            more in prop::collection::vec(any::<u8>(), 0..4),
            step in 1..50_usize,
        ) {
            let bytes = [value.as_slice(), &more].concat();
            let mut scan = Scan::default();
            let mut arrived = 0;
            let end = loop {
                arrived = (arrived + step).min(bytes.len());
                if let Some(end) = scan.end(&bytes[..arrived], 1_000_000).unwrap() {
                    break end;
                }
                prop_assert!(arrived < bytes.len(), "it has no end");
            };
            prop_assert_eq!(end, value.len());
            let text = json(&value).unwrap();
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(&text);
            prop_assert!(parsed.is_ok(), "{}", text);
        }

        #[test]
        fn any_bytes_are_a_value_or_a_fault(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let end = Scan::default().end(&bytes, 1000);
            let mut out = Vec::new();
            let mut reader = Reader::new(&bytes);
            let written = reader.write_json(&mut out, 10_000);
            match end {
                Ok(Some(end)) => {
                    prop_assert!(written.is_ok() || written == Err(Fault::TooDeep));
                    if written.is_ok() {
                        prop_assert_eq!(bytes.len() - reader.rest.len(), end);
                        prop_assert!(serde_json::from_slice::<serde_json::Value>(&out).is_ok());
                    }
                }
                _ => prop_assert!(written.is_err()),
            }
        }
    }
}
