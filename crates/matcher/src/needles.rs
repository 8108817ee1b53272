//! Finds thousands of literals in a text in one pass.
//!
//! For each literal one piece of four bytes is chosen, its rarest. A text is walked byte by byte;
//! the four bytes at each place are hashed into a bitmap that lies in the nearest cache and says
//! for nearly all of them "no literal has this piece". Where it says "maybe", the literals with
//! the piece are compared in full. An automaton (Aho-Corasick) would do the same with one
//! dependent load for each byte, out of a table of many megabytes: it is several times slower
//! here and takes ten times as long to build. The cost: a crafted text full of one piece makes
//! each place compare each of the literals that share it, which is why no piece is shared by many
//! if it can be helped.
//!
//! Literals of two or three bytes have a second table, of two-byte pieces. Keywords have a third
//! one: every value of every event is searched for them, so it must be cheaper still. They are few
//! and long, so several neighbouring pieces of each are in the table and only every so manieth
//! place of a text is looked at; and letter case is left aside, so that no lower-cased copy of the
//! text is needed.

use std::collections::HashMap;
use std::ops::Range;

use crate::atoms::{ANY, AtomId, FieldId};
use crate::common;
use crate::witness::{EDGE, Trigger, Triggers};

/// Words of a table's bitmap: 65,536 bits are 8 KiB, a quarter of the nearest cache.
const BITMAP_WORDS: usize = 1024;

/// A literal, and the piece by which it is found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needle {
    /// Where its bytes lie in [`Needles::bytes`].
    start: u32,
    len: u32,
    /// The value's field, or [`ANY`].
    pub(crate) field: FieldId,
    /// How many bytes of it stand before its piece.
    before: u32,
    piece: u32,
    /// The atom that holds when it is found, or [`NO_ATOM`].
    pub(crate) atom: AtomId,
}

/// An atom that is none.
pub(crate) const NO_ATOM: AtomId = AtomId::MAX;

impl Needle {
    fn is_long(&self) -> bool {
        self.len >= 4
    }
}

/// The literals of all rules.
#[derive(Debug, Default)]
pub(crate) struct Needles {
    bytes: Vec<u8>,
    /// By trigger; none for those that are no literal.
    pub(crate) all: Vec<Option<Needle>>,
}

impl Needles {
    pub(crate) fn new(triggers: &Triggers) -> Needles {
        // How often each piece occurs among the literals, and whether it is common in logs.
        let mut counts: HashMap<u32, u32, foldhash::fast::FixedState> = HashMap::default();
        let literals = triggers.all.iter().filter_map(|trigger| match trigger {
            Trigger::Literal(_, bytes) => Some(&**bytes),
            Trigger::Present(_) => None,
        });
        for literal in literals {
            for piece in pieces::<4>(literal) {
                *counts.entry(piece).or_default() += 1;
            }
        }
        for text in common::texts() {
            for piece in pieces::<4>(text.as_bytes()) {
                *counts.entry(piece).or_default() += COMMON_PENALTY;
            }
        }
        let mut needles = Needles::default();
        for (id, trigger) in triggers.all.iter().enumerate() {
            let Trigger::Literal(field, bytes) = trigger else {
                needles.all.push(None);
                continue;
            };
            let (before, piece) = if bytes.len() >= 4 {
                let by_count = |(_, piece): &(usize, u32)| {
                    counts.get(piece).copied().unwrap_or(0) + edge_penalty(*piece)
                };
                pieces::<4>(bytes).enumerate().min_by_key(by_count).unwrap_or_default()
            } else {
                pieces::<2>(bytes)
                    .enumerate()
                    .min_by_key(|(_, p)| edge_penalty(*p))
                    .unwrap_or_default()
            };
            needles.all.push(Some(Needle {
                start: needles.bytes.len() as u32,
                len: bytes.len() as u32,
                field: *field,
                before: before as u32,
                piece,
                atom: triggers.decides.get(id).copied().flatten().unwrap_or(NO_ATOM),
            }));
            needles.bytes.extend_from_slice(bytes);
        }
        needles
    }

    /// How much memory they take, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + self.all.len() * size_of::<Option<Needle>>()
    }
}

/// A piece that is common in logs counts as if so many literals had it.
const COMMON_PENALTY: u32 = 40;

/// Every value has an end, so a piece with one and little else is met often.
fn edge_penalty(piece: u32) -> u32 {
    if piece.to_le_bytes().contains(&EDGE) { 2 } else { 0 }
}

fn pieces<const WIDTH: usize>(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.array_windows::<WIDTH>().map(piece)
}

fn piece<const WIDTH: usize>(window: &[u8; WIDTH]) -> u32 {
    let mut word = [0; 4];
    word[..WIDTH].copy_from_slice(window);
    u32::from_le_bytes(word)
}

/// What is done when a needle is found: which needle, and which of the class's rules wait for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) needle: Needle,
    pub(crate) waiting: Span,
    /// Those for which it is the second thing that they wait for.
    pub(crate) second: Span,
}

/// A part of a list.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn of<T>(self, list: &[T]) -> &[T] {
        list.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// The needles of one logsource class with pieces of one width.
#[derive(Debug)]
pub(crate) struct Table<const WIDTH: usize> {
    bitmap: Box<[u64; BITMAP_WORDS]>,
    /// Open addressing; a power of two, at most half full.
    slots: Vec<Slot>,
    /// Those with one piece side by side.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    piece: u32,
    /// Empty for a free slot.
    entries: Span,
}

impl<const WIDTH: usize> Table<WIDTH> {
    /// Of these needles the ones that are for this table.
    pub(crate) fn new(needles: &[Entry]) -> Self {
        // Long ones for any field are `Keywords`.
        let mut entries: Vec<Entry> = needles
            .iter()
            .filter(|entry| match WIDTH {
                4 => entry.needle.is_long() && entry.needle.field != ANY,
                _ => !entry.needle.is_long(),
            })
            .copied()
            .collect();
        entries.sort_by_key(|entry| entry.needle.piece);
        let size = (entries.len() * 2 + 1).next_power_of_two();
        let mut table = Table {
            bitmap: Box::new([0; BITMAP_WORDS]),
            slots: vec![Slot::default(); size],
            entries,
        };
        let mut start = 0;
        while let Some(first) = table.entries.get(start) {
            let piece = first.needle.piece;
            let same = table.entries[start..].partition_point(|entry| entry.needle.piece == piece);
            let span = Span { start: start as u32, end: (start + same) as u32 };
            start += same;
            let (word, bits) = bits::<WIDTH>(piece);
            table.bitmap[word] |= bits;
            let mut at = table.home(piece);
            while table.slots[at].entries.end != 0 {
                at = (at + 1) % size;
            }
            table.slots[at] = Slot { piece, entries: span };
        }
        table
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Calls `found` for every needle in a text. A place where one may be is first shown to
    /// `counts`, since needles of other fields have the same pieces.
    pub(crate) fn search(
        &self,
        needles: &Needles,
        text: &[u8],
        counts: impl Fn(&Needle, Range<usize>) -> bool,
        mut found: impl FnMut(&Entry),
    ) {
        let mut from = 0;
        while let Some((at, piece)) = self.next(text, from) {
            from = at + 1;
            for entry in self.with_piece(piece) {
                let Some(start) = at.checked_sub(entry.needle.before as usize) else { continue };
                let place = start..start + entry.needle.len as usize;
                if counts(&entry.needle, place.clone())
                    && text.get(place) == Some(needle_bytes(needles, &entry.needle))
                {
                    found(entry);
                }
            }
        }
    }

    /// The next place, and the piece there, that a needle may have. Apart from what is done with
    /// it, so that this loop, in which most of the time is spent, is as small as it looks.
    fn next(&self, text: &[u8], from: usize) -> Option<(usize, u32)> {
        let rest = text.get(from..)?;
        let at = rest.array_windows::<WIDTH>().position(|window| {
            let (word, bits) = bits::<WIDTH>(piece(window));
            self.bitmap[word] & bits == bits
        })?;
        Some((from + at, piece(rest.get(at..)?.first_chunk::<WIDTH>()?)))
    }

    fn with_piece(&self, piece: u32) -> &[Entry] {
        let mut at = self.home(piece);
        loop {
            let slot = &self.slots[at];
            if slot.entries.end == 0 {
                return &[];
            }
            if slot.piece == piece {
                return slot.entries.of(&self.entries);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn home(&self, piece: u32) -> usize {
        (piece.wrapping_mul(0x85EB_CA6B) >> 7) as usize & (self.slots.len() - 1)
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        BITMAP_WORDS * 8
            + self.slots.len() * size_of::<Slot>()
            + self.entries.len() * size_of::<Entry>()
    }
}

fn needle_bytes<'n>(needles: &'n Needles, needle: &Needle) -> &'n [u8] {
    let start = needle.start as usize;
    needles.bytes.get(start..start + needle.len as usize).unwrap_or_default()
}

fn has<const WORDS: usize>(bitmap: &[u64; WORDS], hash: u32) -> bool {
    bitmap[(hash >> 6) as usize % WORDS] >> (hash % 64) & 1 == 1
}

fn set<const WORDS: usize>(bitmap: &mut [u64; WORDS], hash: u32) {
    bitmap[(hash >> 6) as usize % WORDS] |= 1 << (hash % 64);
}

/// The word of a table's bitmap for a piece, and its bits there: two for four bytes, so that few
/// other pieces have both (a Bloom filter in a word); two bytes have one bit of their own.
fn bits<const WIDTH: usize>(piece: u32) -> (usize, u64) {
    if WIDTH == 2 {
        return (piece as usize / 64 % BITMAP_WORDS, 1 << (piece % 64));
    }
    let hash = piece.wrapping_mul(0x9E37_79B1);
    let word = (hash >> 22) as usize % BITMAP_WORDS;
    (word, 1 << (hash >> 16 & 63) | 1 << (hash >> 10 & 63))
}

/// The literals that are sought in values of any field, four bytes or longer.
#[derive(Debug)]
pub(crate) struct Keywords {
    bitmap: Box<[u64; KEYWORD_WORDS]>,
    /// Sorted by piece.
    entries: Vec<(u32, Entry)>,
    /// Every so manieth place of a text is looked at.
    stride: usize,
    /// The length of the shortest in bytes; a shorter text has none of them.
    pub(crate) len_min: usize,
    /// Some could stand in the text of a number or a boolean.
    pub(crate) in_scalars: bool,
    /// All are ASCII.
    ascii: bool,
}

/// The characters outside ASCII whose lower case is ASCII: the Kelvin sign and the dotted capital I
/// (Unicode Character Database, simple mappings).
const LOWERED_TO_ASCII: [&str; 2] = ["\u{212A}", "\u{130}"];

/// Words of the keywords' bitmap: 8,192 bits are 1 KiB.
const KEYWORD_WORDS: usize = 512;
/// At most so many pieces of each keyword are in the table.
const STRIDE_MAX: usize = 8;

impl Keywords {
    /// Of these needles the ones that are for any field.
    pub(crate) fn new(all: &[Entry], needles: &Needles) -> Self {
        let wanted: Vec<&Entry> = all
            .iter()
            .filter(|entry| entry.needle.field == ANY && entry.needle.is_long())
            .collect();
        let len_min = wanted.iter().map(|entry| entry.needle.len as usize).min().unwrap_or(0);
        let stride = (len_min.max(4) - 3).min(STRIDE_MAX);
        let mut keywords = Keywords {
            bitmap: Box::new([0; KEYWORD_WORDS]),
            entries: Vec::with_capacity(wanted.len() * stride),
            stride,
            len_min,
            in_scalars: false,
            ascii: true,
        };
        for entry in wanted {
            let bytes = needle_bytes(needles, &entry.needle);
            keywords.ascii &= bytes.is_ascii();
            keywords.in_scalars |= bytes
                .iter()
                .all(|byte| byte.is_ascii_digit() || b"+-.etruefalsinfan".contains(byte));
            // The neighbours that have the rarest piece among them: it was chosen to be so.
            let last = bytes.len() - 3 - stride;
            let first = (entry.needle.before as usize).saturating_sub(stride / 2).min(last);
            for (before, piece) in pieces::<4>(bytes).enumerate().skip(first).take(stride) {
                let needle = Needle { before: before as u32, ..entry.needle };
                let piece = fold(piece);
                set(&mut keywords.bitmap, keyword_hash(piece));
                keywords.entries.push((piece, Entry { needle, ..*entry }));
            }
        }
        keywords.entries.sort_by_key(|(piece, _)| *piece);
        keywords
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether keywords stand in a text as they are, but for the case of ASCII letters.
    pub(crate) fn compare_as_bytes(&self, text: &str) -> bool {
        let text = text.as_bytes();
        let lowered_to_ascii = |at: usize| {
            let rest = text.get(at..).unwrap_or_default();
            LOWERED_TO_ASCII.iter().any(|letter| rest.starts_with(letter.as_bytes()))
        };
        let [kelvin, dotted] = LOWERED_TO_ASCII.map(|letter| letter.as_bytes()[0]);
        match self.ascii {
            true => !memchr::memchr2_iter(kelvin, dotted, text).any(lowered_to_ascii),
            false => text.is_ascii(),
        }
    }

    /// Calls `found` for every keyword in a text that is lower-cased or in which they [stand as they
    /// are](Keywords::compare_as_bytes), with its place.
    pub(crate) fn search(
        &self,
        needles: &Needles,
        text: &[u8],
        mut found: impl FnMut(&Entry, Range<usize>),
    ) {
        let mut rest = text;
        while let Some(window) = rest.first_chunk::<4>() {
            let piece = fold(u32::from_le_bytes(*window));
            if has(&self.bitmap, keyword_hash(piece)) {
                let at = text.len() - rest.len();
                let start = self.entries.partition_point(|(other, _)| *other < piece);
                let same = self.entries.iter().skip(start).take_while(|(other, _)| *other == piece);
                for (_, entry) in same {
                    let bytes = needle_bytes(needles, &entry.needle);
                    let Some(start) = at.checked_sub(entry.needle.before as usize) else {
                        continue;
                    };
                    let place = start..start + bytes.len();
                    if text.get(place.clone()).is_some_and(|t| t.eq_ignore_ascii_case(bytes)) {
                        found(entry, place);
                    }
                }
            }
            rest = rest.get(self.stride..).unwrap_or_default();
        }
    }

    /// How much memory they take, in bytes.
    pub(crate) fn memory(&self) -> usize {
        KEYWORD_WORDS * 8 + self.entries.len() * size_of::<(u32, Entry)>()
    }
}

/// Leaves ASCII letter case aside (and confounds some other characters; all is compared in the
/// end).
fn fold(piece: u32) -> u32 {
    piece | 0x2020_2020
}

fn keyword_hash(piece: u32) -> u32 {
    piece.wrapping_mul(0x9E37_79B1) >> 17
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_is_there(
            literals in prop::collection::hash_set("[ab\u{e9}]{1,7}", 1..12),
            text in "[ab\u{e9}]{0,20}",
        ) {
            let mut triggers = Triggers::default();
            for (n, literal) in literals.iter().enumerate() {
                let mut bytes = literal.clone().into_bytes();
                if n % 2 == 1 {
                    bytes.insert(0, EDGE);
                }
                if n % 3 == 1 {
                    bytes.push(EDGE);
                }
                if bytes.len() >= 2 {
                    triggers.all.push(Trigger::Literal(0, bytes.into()));
                }
            }
            let keywords = {
                let mut triggers = Triggers::default();
                triggers.all.extend(literals.iter().filter(|literal| literal.len() >= 4).map(
                    |literal| Trigger::Literal(ANY, literal.clone().into_bytes().into()),
                ));
                triggers
            };
            check_keywords(&keywords, &text);
            let needles = Needles::new(&triggers);
            let entries: Vec<Entry> = needles.all.iter().flatten().enumerate().map(|(n, needle)| {
                let n = n as u32;
                Entry { needle: *needle, waiting: Span { start: n, end: n }, second: Span::default() }
            }).collect();
            let mut framed = vec![EDGE];
            framed.extend_from_slice(text.as_bytes());
            framed.push(EDGE);
            let mut found = Vec::new();
            let counts = |needle: &Needle, place: Range<usize>| needle.len as usize == place.len();
            let mut note = |entry: &Entry| found.push(entry.waiting.start);
            Table::<4>::new(&entries).search(&needles, &framed, counts, &mut note);
            Table::<2>::new(&entries).search(&needles, &framed, counts, &mut note);
            found.sort_unstable();
            found.dedup();
            let expected: Vec<u32> = triggers.all.iter().enumerate().filter_map(|(n, trigger)| {
                let Trigger::Literal(_, bytes) = trigger else { return None };
                memchr::memmem::find(&framed, bytes).map(|_| n as u32)
            }).collect();
            prop_assert_eq!(found, expected);
        }
    }

    fn check_keywords(triggers: &Triggers, text: &str) {
        let needles = Needles::new(triggers);
        let entries: Vec<Entry> = (0..)
            .zip(needles.all.iter().flatten())
            .map(|(n, needle)| Entry {
                needle: *needle,
                waiting: Span { start: n, end: n },
                second: Span::default(),
            })
            .collect();
        let mut found = Vec::new();
        Keywords::new(&entries, &needles)
            .search(&needles, text.as_bytes(), |entry, _| found.push(entry.waiting.start));
        found.sort_unstable();
        found.dedup();
        let expected: Vec<u32> = (0..)
            .zip(&triggers.all)
            .filter_map(|(n, trigger)| {
                let Trigger::Literal(_, bytes) = trigger else { return None };
                memchr::memmem::find(text.as_bytes(), bytes).map(|_| n)
            })
            .collect();
        assert_eq!(found, expected, "{text}");
    }
}
