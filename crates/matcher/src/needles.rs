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
//! Each field that is searched has a table of its own, so that the thousands of literals for command
//! lines cost no other value anything. Where all of a field's literals are longer than a piece,
//! several neighbouring pieces of each are in the table and only every so manieth place of a text is
//! looked at: a value of hashes, where all literals are digests, at every eighth. Literals with
//! characters outside ASCII are apart again, since nearly no text has any of those.
//!
//! Literals of two or three bytes have a table of two-byte pieces. Keywords have one of another
//! kind: all texts of every event are searched for them, in one go, so it must be cheaper still.
//! Letter case is left aside there, so that no lower-cased copy of the text is needed.

use std::collections::HashMap;
use std::ops::Range;

use crate::atoms::{ANY, AtomId, FieldId};
use crate::common;
use crate::witness::{EDGE, Trigger, Triggers};

/// The most words of a table's bitmap: 65,536 bits are 8 KiB, a quarter of the nearest cache.
const BITMAP_WORDS: usize = 1024;
/// A bitmap has so many words that about so many pieces share one.
const PIECES_PER_WORD: usize = 6;

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
    pub(crate) fn is_long(&self) -> bool {
        self.len >= 4
    }

    /// The byte that it is, if it is one.
    pub(crate) fn single(&self) -> Option<u8> {
        (self.len == 1).then_some(self.piece as u8)
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
        let mut common = Vec::new();
        for (id, trigger) in triggers.all.iter().enumerate() {
            let Trigger::Literal(field, bytes) = trigger else {
                needles.all.push(None);
                continue;
            };
            let (before, piece) = match &**bytes {
                [byte] => (0, u32::from(*byte)),
                [_, _] | [_, _, _] => pieces::<2>(bytes)
                    .enumerate()
                    .min_by_key(|(_, piece)| edge_penalty(*piece))
                    .unwrap_or_default(),
                _ => {
                    common.clear();
                    common.extend(pieces::<4>(bytes).map(|piece| {
                        counts.get(&piece).copied().unwrap_or(0) + edge_penalty(piece)
                    }));
                    let before = rarest(&common);
                    (before, pieces::<4>(bytes).nth(before).unwrap_or_default())
                }
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

/// A piece that only so many literals have is rare enough.
const RARE_ENOUGH: u32 = 4;

/// The place of the rarest; of those that are rare enough, the one among the rarest neighbours, some
/// of which may be looked for too.
fn rarest(common: &[u32]) -> usize {
    let with_neighbours = |at: &usize| {
        let first = first_of(STRIDE_MAX, *at, common.len());
        let near = common.iter().skip(first).take(STRIDE_MAX).sum::<u32>();
        (common.get(*at).map(|count| RARE_ENOUGH.max(*count)), near)
    };
    (0..common.len()).min_by_key(with_neighbours).unwrap_or_default()
}

/// The first of `count` neighbours around a place, of `all`.
fn first_of(count: usize, at: usize, all: usize) -> usize {
    at.saturating_sub(count / 2).min(all.saturating_sub(count))
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

impl Entry {
    /// The same for so many neighbouring pieces of its needle, among them the one that was chosen
    /// as its rarest.
    fn neighbours<const WIDTH: usize>(
        &self,
        needles: &Needles,
        count: usize,
    ) -> impl Iterator<Item = (u32, Entry)> {
        let bytes = needle_bytes(needles, &self.needle);
        let all = (bytes.len() + 1).saturating_sub(WIDTH);
        let first = first_of(count, self.needle.before as usize, all);
        pieces::<WIDTH>(bytes).enumerate().skip(first).take(count).map(move |(before, piece)| {
            let needle = Needle { before: before as u32, piece, ..self.needle };
            (piece, Entry { needle, ..*self })
        })
    }
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

/// Entries by piece.
#[derive(Debug)]
struct ByPiece {
    /// Open addressing; a power of two, at most half full.
    slots: Vec<Slot>,
    /// Those with one piece side by side. A needle is there once for each of its pieces.
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    piece: u32,
    /// Empty for a free slot.
    entries: Span,
}

impl ByPiece {
    fn new(mut all: Vec<(u32, Entry)>) -> ByPiece {
        all.sort_by_key(|(piece, _)| *piece);
        let size = (all.len() * 2 + 1).next_power_of_two();
        let mut by_piece = ByPiece {
            slots: vec![Slot::default(); size],
            entries: all.iter().map(|(_, entry)| *entry).collect(),
        };
        let mut start = 0;
        for same in all.chunk_by(|(a, _), (b, _)| a == b) {
            let (piece, end) = (same[0].0, start + same.len() as u32);
            let mut at = by_piece.home(piece);
            while by_piece.slots[at].entries.end != 0 {
                at = (at + 1) % size;
            }
            by_piece.slots[at] = Slot { piece, entries: Span { start, end } };
            start = end;
        }
        by_piece
    }

    /// The entries with this piece.
    fn with(&self, piece: u32) -> &[Entry] {
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

    /// How much memory they take, in bytes.
    fn memory(&self) -> usize {
        self.slots.len() * size_of::<Slot>() + self.entries.len() * size_of::<Entry>()
    }
}

/// Needles that are sought in one go, by pieces of one width.
#[derive(Debug)]
pub(crate) struct Table<const WIDTH: usize> {
    /// A power of two of words.
    bitmap: Box<[u64]>,
    entries: ByPiece,
    /// Every so manieth place of a text is looked at; so many pieces of each needle are there.
    stride: usize,
}

impl<const WIDTH: usize> Table<WIDTH> {
    /// The table of these needles, none of which is shorter than a piece.
    pub(crate) fn new(wanted: &[Entry], needles: &Needles) -> Self {
        let len_min = wanted.iter().map(|entry| entry.needle.len as usize).min().unwrap_or(WIDTH);
        let stride = (len_min + 1).saturating_sub(WIDTH).clamp(1, STRIDE_MAX);
        let mut entries: Vec<(u32, Entry)> = Vec::with_capacity(wanted.len() * stride);
        for entry in wanted {
            entries.extend(entry.neighbours::<WIDTH>(needles, stride));
        }
        let words = (entries.len() / PIECES_PER_WORD).next_power_of_two();
        let mut table = Table {
            bitmap: vec![0; words.min(BITMAP_WORDS)].into(),
            entries: ByPiece::new(Vec::new()),
            stride,
        };
        for (piece, _) in &entries {
            let (word, bits) = table.bits(*piece);
            table.bitmap[word] |= bits;
        }
        table.entries = ByPiece::new(entries);
        table
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries.entries
    }

    /// Calls `found` for every needle in a text, of those that count.
    pub(crate) fn search(
        &self,
        needles: &Needles,
        text: &[u8],
        counts: impl Fn(&Needle) -> bool,
        mut found: impl FnMut(&Entry),
    ) {
        let mut from = 0;
        while let Some((at, piece)) = self.next(text, from) {
            from = at + self.stride;
            for entry in self.entries.with(piece) {
                let Some(start) = at.checked_sub(entry.needle.before as usize) else { continue };
                let place = start..start + entry.needle.len as usize;
                if counts(&entry.needle)
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
        let mut rest = text.get(from..)?;
        loop {
            let piece = piece(rest.first_chunk::<WIDTH>()?);
            let (word, bits) = self.bits(piece);
            if self.bitmap[word] & bits == bits {
                return Some((text.len() - rest.len(), piece));
            }
            rest = rest.get(self.stride..)?;
        }
    }

    /// The word of the bitmap for a piece, and its bits there: two, so that few other pieces have
    /// both (a Bloom filter in a word).
    fn bits(&self, piece: u32) -> (usize, u64) {
        let hash = piece.wrapping_mul(0x9E37_79B1);
        let word = (hash >> 22) as usize & (self.bitmap.len() - 1);
        (word, 1 << (hash >> 16 & 63) | 1 << (hash >> 10 & 63))
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.bitmap.len() * 8 + self.entries.memory()
    }
}

/// The longer needles of one field.
#[derive(Debug)]
pub(crate) struct Search {
    ascii: Table<4>,
    /// Those that are not ASCII, which is no place in a text that is.
    other: Option<Table<4>>,
}

impl Search {
    pub(crate) fn new(wanted: &[Entry], needles: &Needles) -> Search {
        let (ascii, other): (Vec<Entry>, Vec<Entry>) = wanted.iter().partition(|entry| {
            needle_bytes(needles, &entry.needle).iter().all(|b| b.is_ascii() || *b == EDGE)
        });
        Search {
            ascii: Table::new(&ascii, needles),
            other: (!other.is_empty()).then(|| Table::new(&other, needles)),
        }
    }

    /// Calls `found` for every needle in a lower-cased text between edges.
    pub(crate) fn search(&self, needles: &Needles, text: &[u8], mut found: impl FnMut(&Entry)) {
        self.ascii.search(needles, text, |_| true, &mut found);
        if let Some(other) = &self.other
            && let Some(inner) = text.get(1..text.len().saturating_sub(1))
            && !inner.is_ascii()
        {
            other.search(needles, text, |_| true, found);
        }
    }

    /// How much memory it takes, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.ascii.memory() + self.other.as_ref().map_or(0, Table::memory)
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

/// The literals that are sought in values of any field, four bytes or longer.
#[derive(Debug)]
pub(crate) struct Keywords {
    bitmap: Box<[u64; KEYWORD_WORDS]>,
    entries: ByPiece,
    /// As in [`Table`].
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

/// Words of the keywords' bitmap: 32,768 bits are 4 KiB.
const KEYWORD_WORDS: usize = 512;
/// At most so many pieces of each needle are in a table.
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
            entries: ByPiece::new(Vec::new()),
            stride,
            len_min,
            in_scalars: false,
            ascii: true,
        };
        let mut entries = Vec::with_capacity(wanted.len() * stride);
        for entry in wanted {
            let bytes = needle_bytes(needles, &entry.needle);
            keywords.ascii &= bytes.is_ascii();
            keywords.in_scalars |= bytes
                .iter()
                .all(|byte| byte.is_ascii_digit() || b"+-.etruefalsinfan".contains(byte));
            for (piece, entry) in entry.neighbours::<4>(needles, stride) {
                let piece = fold(piece);
                set(&mut keywords.bitmap, keyword_hash(piece));
                entries.push((piece, entry));
            }
        }
        keywords.entries = ByPiece::new(entries);
        keywords
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.entries.is_empty()
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
            true if text.is_ascii() => true,
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
        let mut from = 0;
        while let Some((at, piece)) = self.next(text, from) {
            from = at + self.stride;
            for entry in self.entries.with(piece) {
                let bytes = needle_bytes(needles, &entry.needle);
                let Some(start) = at.checked_sub(entry.needle.before as usize) else { continue };
                let place = start..start + bytes.len();
                if text.get(place.clone()).is_some_and(|t| t.eq_ignore_ascii_case(bytes)) {
                    found(entry, place);
                }
            }
        }
    }

    /// The next place, and the piece there, that a keyword may have.
    fn next(&self, text: &[u8], from: usize) -> Option<(usize, u32)> {
        let mut rest = text.get(from..)?;
        loop {
            let piece = fold(piece(rest.first_chunk::<4>()?));
            if has(&self.bitmap, keyword_hash(piece)) {
                return Some((text.len() - rest.len(), piece));
            }
            rest = rest.get(self.stride..)?;
        }
    }

    /// How much memory they take, in bytes.
    pub(crate) fn memory(&self) -> usize {
        KEYWORD_WORDS * 8 + self.entries.memory()
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
            let (long, short): (Vec<Entry>, Vec<Entry>) =
                entries.iter().partition(|entry| entry.needle.is_long());
            let mut note = |entry: &Entry| found.push(entry.waiting.start);
            Search::new(&long, &needles).search(&needles, &framed, &mut note);
            Table::<2>::new(&short, &needles).search(&needles, &framed, |_| true, &mut note);
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
