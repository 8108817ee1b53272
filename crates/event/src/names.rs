//! The names of an event's fields, apart from their values.
//!
//! Events of one kind have the same names in the same order, so what is known of the names of one
//! holds for all of them. [`Names`] are compared in a few steps, whatever their number.

use std::hash::BuildHasher;

/// The hash of a field's dotted name by which events find it; fixed for the life of the process.
pub fn path_hash(path: &str) -> u64 {
    foldhash::fast::FixedState::with_seed(0x7761_7463).hash_one(path)
}

/// The dotted names of an event's fields, in their order.
#[derive(Debug, Clone, Default)]
pub struct Names {
    /// One after the other, with what is left of those that were taken away.
    text: String,
    /// Where each begins there.
    starts: Vec<u32>,
    /// And ends.
    ends: Vec<u32>,
    hashes: Vec<u64>,
    /// The sum of the hashes.
    sum: u64,
}

impl PartialEq for Names {
    fn eq(&self, other: &Names) -> bool {
        // The hashes follow from the rest; their sum tells others apart soonest.
        self.sum == other.sum
            && self.starts == other.starts
            && self.ends == other.ends
            && self.text == other.text
    }
}

impl Eq for Names {}

impl Names {
    /// How many there are; elements of an array have one each.
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The name at a place.
    #[inline]
    pub fn get(&self, at: usize) -> Option<&str> {
        let (start, end) = (*self.starts.get(at)?, *self.ends.get(at)?);
        self.text.get(start as usize..end as usize)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|at| self.get(at).unwrap_or_default())
    }

    /// The hash ([`path_hash`]) of each.
    #[inline]
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// A number that is the same for equal names, and mostly another for others.
    #[inline]
    pub fn key(&self) -> u64 {
        self.sum
    }

    /// The places of a name.
    pub fn places<'a>(&'a self, path: &'a str) -> impl Iterator<Item = usize> + 'a {
        let hash = path_hash(path);
        let same = self.hashes.iter().enumerate().filter(move |(_, other)| **other == hash);
        same.map(|(at, _)| at).filter(move |at| self.get(*at) == Some(path))
    }

    /// How much memory they take, in bytes.
    pub fn bytes(&self) -> usize {
        self.text.len() + self.len() * (2 * size_of::<u32>() + size_of::<u64>())
    }

    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.starts.clear();
        self.ends.clear();
        self.hashes.clear();
        self.sum = 0;
    }

    pub(crate) fn push(&mut self, path: &str) {
        self.push_hashed(path, path_hash(path));
    }

    /// Adds the name at a place of other names.
    pub(crate) fn push_from(&mut self, other: &Names, at: usize) {
        if let (Some(name), Some(hash)) = (other.get(at), other.hashes.get(at)) {
            self.push_hashed(name, *hash);
        }
    }

    fn push_hashed(&mut self, path: &str, hash: u64) {
        self.hashes.push(hash);
        self.sum = self.sum.wrapping_add(hash);
        self.starts.push(to_u32(self.text.len()));
        self.text.push_str(path);
        self.ends.push(to_u32(self.text.len()));
    }

    /// Has the name at one place stand at another one too.
    pub(crate) fn copy(&mut self, from: usize, to: usize) {
        let hash = self.hashes[from];
        self.sum = self.sum.wrapping_sub(self.hashes[to]).wrapping_add(hash);
        self.hashes[to] = hash;
        self.starts[to] = self.starts[from];
        self.ends[to] = self.ends[from];
    }

    /// Drops all from this place on.
    pub(crate) fn truncate(&mut self, len: usize) {
        for gone in self.hashes.drain(len.min(self.hashes.len())..) {
            self.sum = self.sum.wrapping_sub(gone);
        }
        self.starts.truncate(len);
        self.ends.truncate(len);
    }
}

fn to_u32(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::Names;

    #[test]
    fn names_are_told_apart_also_where_they_run_together() {
        let names = |all: &[&str]| {
            let mut names = Names::default();
            all.iter().for_each(|name| names.push(name));
            names
        };
        let mut three = names(&["ab", "c", "d"]);
        assert_eq!(three.iter().collect::<Vec<_>>(), ["ab", "c", "d"]);
        assert_ne!(three, names(&["a", "bc", "d"]));
        assert_ne!(three, names(&["ab", "c"]));
        three.copy(2, 1);
        three.truncate(2);
        assert_eq!(three.iter().collect::<Vec<_>>(), ["ab", "d"]);
        assert_eq!(three.key(), names(&["ab", "d"]).key());
        assert_eq!(three.places("d").collect::<Vec<_>>(), [1]);
        three.clear();
        assert_eq!(three, Names::default());
        assert!(three.get(0).is_none() && three.is_empty());
    }
}
