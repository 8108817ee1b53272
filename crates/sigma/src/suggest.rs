//! "Did you mean ...?": the known word nearest to a mistyped one.
//!
//! Most faults in rule files are typing mistakes, and the right word is usually one or two letters
//! away. When nothing is near, the whole list is more help than a guess.

/// The word within an edit distance of a third of its length, the nearest first.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = letters(word);
    known
        .map(|candidate| (distance(&word, &letters(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= candidate.len().div_ceil(3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The known word that this one can hardly be else than a misspelling of: with other capitals or
/// separators, or one wrong letter in six. Words that differ in a number are different words.
pub fn near_miss<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let digits = |word: &str| word.chars().filter(char::is_ascii_digit).collect::<String>();
    let bare = |word: &str| -> String {
        word.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let (own, own_bare, own_digits) = (letters(word), bare(word), digits(word));
    let wrong_max = (own.len() / 6).min(2);
    known
        .filter_map(|candidate| {
            let wrong = match bare(candidate) == own_bare {
                true => 0,
                false => distance(&own, &letters(candidate)),
            };
            (wrong <= wrong_max && digits(candidate) == own_digits).then_some((wrong, candidate))
        })
        .min_by_key(|(wrong, _)| *wrong)
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

fn letters(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).take(WORD_CHARS_MAX).collect()
}

/// The Levenshtein distance.
fn distance(left: &[char], right: &[char]) -> usize {
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

    #[test]
    fn near_misses_are_misspellings() {
        let check = |word: &str, expected: Option<&str>| {
            let known = ["CommandLine", "src_ip", "param1", "TargetUserSid", "Status"];
            assert_eq!(near_miss(word, known.into_iter()), expected, "{word}");
        };
        check("ComandLine", Some("CommandLine"));
        check("commandline", Some("CommandLine"));
        check("SrcIp", Some("src_ip"));
        check("param2", None);
        check("TargetUserId", Some("TargetUserSid"));
        check("TargetSid", None);
        check("State", None);
        check("", None);
    }
}
