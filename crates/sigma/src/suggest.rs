//! "Did you mean ...?": the known word nearest to a mistyped one.
//!
//! Most faults in rule files are typing mistakes, and the right word is usually one or two letters
//! away. When nothing is near, the whole list is more help than a guess.

/// The word within an edit distance of a third of its length, the nearest first.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.to_lowercase().chars().take(WORD_CHARS_MAX).collect();
    known
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// A sentence of help: the nearest word, else the whole list.
pub fn help<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone) -> String {
    match nearest(word, known.clone()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("use one of: {}", known.collect::<Vec<_>>().join(", ")),
    }
}

/// Longer words are compared by their beginning; the cost grows with the square.
const WORD_CHARS_MAX: usize = 40;

/// The Levenshtein distance.
fn distance(left: &[char], right: &str) -> usize {
    let right: Vec<char> = right.chars().take(WORD_CHARS_MAX).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found() {
        let known = ["contains", "endswith", "startswith", "re"];
        assert_eq!(nearest("contain", known.into_iter()), Some("contains"));
        assert_eq!(nearest("endwith", known.into_iter()), Some("endswith"));
        assert_eq!(nearest("banana", known.into_iter()), None);
        assert_eq!(nearest("", [].into_iter()), None);
    }
}
