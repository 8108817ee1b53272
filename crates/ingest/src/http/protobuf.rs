//! The wire format of protocol buffers, read in place.
//!
//! Decoding into structs would be the usual way, but it lets a sender choose how much memory we
//! take: an empty message is two bytes on the wire and some hundred as a struct, so that a request
//! of 64 MiB becomes several gigabytes. Here a message is the bytes of it, its fields are looked at
//! one after another, and nothing is allocated. Texts are bytes too: senders exist that put what is
//! not UTF-8 into them, and one such byte must not cost a whole request. The tests have `prost` as
//! the twin that this agrees with.
//!
//! <https://protobuf.dev/programming-guides/encoding/>

/// The longest varint, in bytes.
const VARINT_BYTES_MAX: usize = 10;

/// What is no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the protobuf message is broken: {0}")]
pub(super) struct Malformed(&'static str);

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// An integer, a boolean, an enum.
    Varint(u64),
    /// Eight bytes: `fixed64`, `double`.
    Fixed64(u64),
    /// A text, bytes, or a message.
    Bytes(&'a [u8]),
    /// Four bytes: `fixed32`, `float`.
    Fixed32(u32),
}

/// The fields of a message with their numbers, as they stand. Ends after what is broken.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a>(&'a [u8]);

/// The fields of a message.
pub(super) fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Value<'a>), Malformed> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| Malformed(LENGTH))?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed(LENGTH))?;
                self.0 = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups, which no protocol here ever had, or nothing at all.
            _ => return Err(Malformed("a field has a type that there is not")),
        };
        match key >> 3 {
            0 => Err(Malformed("a field has the number 0")),
            number => Ok((number, value)),
        }
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (index, &byte) in self.0.iter().take(VARINT_BYTES_MAX).enumerate() {
            // The tenth byte has one bit that counts.
            if index == VARINT_BYTES_MAX - 1 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(index + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        Err(Malformed("a number does not end"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk().ok_or(Malformed("a number is cut"))?;
        self.0 = rest;
        Ok(*array)
    }
}

const LENGTH: &str = "a field is longer than what there is of it";

/// Writes a field with a number.
pub(super) fn put_varint(message: &mut Vec<u8>, number: u64, value: u64) {
    varint(message, number << 3);
    varint(message, value);
}

/// Writes a field with a text, bytes or a message.
pub(super) fn put_bytes(message: &mut Vec<u8>, number: u64, value: &[u8]) {
    varint(message, number << 3 | 2);
    varint(message, value.len() as u64);
    message.extend_from_slice(value);
}

fn varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    #[test]
    fn what_is_broken_is_told_and_ends() {
        for (message, reason) in [
            (&[0x08][..], "a number does not end"),
            (&[0x80; 11], "a number does not end"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2], "does not end"),
            (&[0x09, 1, 2], "a number is cut"),
            (&[0x0d, 1, 2], "a number is cut"),
            (&[0x0a, 3, 1, 2], "longer than what there is"),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], "longer than"),
            (&[0x0b], "a type that there is not"),
            (&[0x00, 0], "the number 0"),
        ] {
            let mut fields = fields(message);
            let error = fields.next().unwrap().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert_eq!(fields.next(), None);
        }
    }

    #[derive(Clone, PartialEq, Message)]
    struct Twin {
        #[prost(uint64, tag = "1")]
        varint: u64,
        #[prost(fixed64, tag = "2")]
        fixed64: u64,
        #[prost(bytes = "vec", tag = "300")]
        bytes: Vec<u8>,
        #[prost(fixed32, tag = "536870911")]
        fixed32: u32,
    }

    proptest! {
        #[test]
        fn any_bytes_end(message in prop::collection::vec(any::<u8>(), 0..200)) {
            let fields: Vec<_> = fields(&message).collect();
            prop_assert!(fields.len() <= message.len());
        }

        #[test]
        fn both_read_the_same(
            varint: u64,
            fixed64: u64,
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            fixed32: u32,
        ) {
            let twin = Twin { varint, fixed64, bytes, fixed32 };
            let encoded = twin.encode_to_vec();
            let mut read = Twin::default();
            for field in fields(&encoded) {
                match field.unwrap() {
                    (1, Value::Varint(value)) => read.varint = value,
                    (2, Value::Fixed64(value)) => read.fixed64 = value,
                    (300, Value::Bytes(value)) => read.bytes = value.to_vec(),
                    (536_870_911, Value::Fixed32(value)) => read.fixed32 = value,
                    other => panic!("{other:?}"),
                }
            }
            prop_assert_eq!(&read, &twin);

            let mut written = Vec::new();
            put_varint(&mut written, 1, twin.varint);
            put_bytes(&mut written, 300, &twin.bytes);
            let read = Twin::decode(&*written).unwrap();
            prop_assert_eq!((read.varint, read.bytes), (twin.varint, twin.bytes));
        }
    }
}
