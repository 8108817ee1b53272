//! A set of documents of one segment.
//!
//! Filters work on such sets, a word of 64 documents at a time: a segment of a million documents
//! is 125 KB, and joining two sets takes microseconds.

use std::ops::Range;

/// Documents, as bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bits {
    words: Vec<u64>,
    len: u32,
}

impl Bits {
    pub(crate) fn empty(len: u32) -> Self {
        Bits { words: vec![0; (len as usize).div_ceil(64)], len }
    }

    pub(crate) fn full(len: u32) -> Self {
        let mut bits = Bits { words: vec![u64::MAX; (len as usize).div_ceil(64)], len };
        let spare = bits.words.len() * 64 - len as usize;
        if let Some(last) = bits.words.last_mut() {
            *last >>= spare;
        }
        bits
    }

    /// From the first document to behind the last.
    pub(crate) fn span(&self) -> Range<u32> {
        let at = |found: Option<usize>| found.and_then(|at| Some((at, self.words.get(at)?)));
        let first = at(self.words.iter().position(|word| *word != 0));
        let last = at(self.words.iter().rposition(|word| *word != 0));
        let (Some((first, low)), Some((last, high))) = (first, last) else { return 0..0 };
        let start = first as u32 * 64 + low.trailing_zeros();
        start..last as u32 * 64 + 64 - high.leading_zeros()
    }

    /// Takes out all documents that are not among these.
    pub(crate) fn cut(&mut self, docs: &Range<u32>) {
        for (word, at) in self.words.iter_mut().zip(0u32..) {
            let from = docs.start.saturating_sub(at * 64).min(64);
            let to = docs.end.saturating_sub(at * 64).min(64);
            let below = |bit: u32| 1u64.checked_shl(bit).map_or(u64::MAX, |bit| bit - 1);
            *word &= below(to) & !below(from);
        }
    }

    /// How many documents the segment has.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    pub(crate) fn insert(&mut self, doc: u32) {
        if let Some(word) = self.words.get_mut(doc as usize / 64) {
            *word |= 1 << (doc % 64);
        }
    }

    pub(crate) fn remove(&mut self, doc: u32) {
        if let Some(word) = self.words.get_mut(doc as usize / 64) {
            *word &= !(1 << (doc % 64));
        }
    }

    pub(crate) fn contains(&self, doc: u32) -> bool {
        self.words.get(doc as usize / 64).is_some_and(|word| word >> (doc % 64) & 1 == 1)
    }

    pub(crate) fn count(&self) -> u32 {
        self.words.iter().map(|word| word.count_ones()).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    pub(crate) fn and(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= b);
    }

    pub(crate) fn or(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a |= b);
    }

    pub(crate) fn and_not(&mut self, other: &Bits) {
        self.words.iter_mut().zip(&other.words).for_each(|(a, b)| *a &= !b);
    }

    /// The documents, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.words.iter().zip(0u32..).flat_map(|(word, at)| {
            let mut left = *word;
            std::iter::from_fn(move || {
                if left == 0 {
                    return None;
                }
                let bit = left.trailing_zeros();
                left &= left - 1;
                Some(at * 64 + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn sets_are_sets() {
        let mut a = Bits::full(130);
        assert_eq!(a.count(), 130);
        let mut b = Bits::empty(130);
        for doc in [0, 63, 64, 129] {
            b.insert(doc);
        }
        assert_eq!(b.iter().collect::<Vec<_>>(), [0, 63, 64, 129]);
        a.and_not(&b);
        assert_eq!(a.count(), 126);
        assert!(!a.contains(64) && a.contains(65) && !a.contains(130));
        a.or(&b);
        assert_eq!(a, Bits::full(130));
        a.and(&b);
        assert_eq!(a, b);
        assert_eq!((a.span(), Bits::empty(130).span()), (0..130, 0..0));
        a.cut(&(1..129));
        assert_eq!((a.iter().collect::<Vec<_>>(), a.span()), (vec![63, 64], 63..65));
        a.cut(&(64..64));
        assert!(a.is_empty());
        assert!(Bits::empty(0).is_empty() && Bits::full(0).is_empty());
    }
}
