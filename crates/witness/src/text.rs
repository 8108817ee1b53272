//! Texts put together from the pieces that tests ask for.
//!
//! `*\cmd.exe`, `*\System32\*` and `C:\*` become `C:\System32\cmd.exe`: what must stand at the
//! start, then what may stand anywhere and is not there yet, then what must stand at the end. What
//! goes between is a matter of taste and of the field: a space between the words of a command line,
//! nothing between the parts of a path. When a filter objects to the plainest text, others are
//! tried, up to a limit; they differ in separators, padding, order, and the sample of a regular
//! expression.

use sigma::expr::{Pattern, Piece, Test};

use crate::field::Literal;
use crate::sample::{self, Sample};

/// The most texts that are tried for one field at a time.
const CANDIDATES_MAX: usize = 400;

/// How texts of a field look.
pub(crate) struct Taste {
    joiners: &'static [&'static str],
    /// What a path that begins with a backslash begins with.
    root: &'static str,
    seed: u32,
}

/// Words in the names of fields whose text is made of words.
const WORDY: &[&str] = &[
    "args",
    "cmd",
    "command",
    "content",
    "data",
    "description",
    "message",
    "payload",
    "query",
    "script",
    "text",
];

impl Taste {
    pub(crate) fn of(name: &str, seed: u32) -> Taste {
        let name = name.to_lowercase();
        let joiners: &[&str] = if WORDY.iter().any(|word| name.contains(word)) {
            &[" ", "", " x ", "\" \"", "/"]
        } else {
            &["", "x", "-", " ", "\\x\\", "/x/", "."]
        };
        let registry = ["registry", "targetobject", "objectname"];
        let root = if registry.iter().any(|word| name.contains(word)) { "HKLM" } else { "C:" };
        Taste { joiners, root, seed }
    }
}

/// What one test asks of a text: this, somewhere or at an end of it.
#[derive(Debug, Clone)]
struct Block {
    before: String,
    /// What follows the first `*`; the text may be longer there.
    after: Option<String>,
    starts: bool,
    ends: bool,
    cased: bool,
}

impl Block {
    fn of_pattern(pattern: &Pattern, keyword: bool, filler: char) -> Block {
        let mut pieces = pattern.pieces.as_slice();
        let starts = !keyword && pieces.first() != Some(&Piece::Any);
        let ends = !keyword && pieces.last() != Some(&Piece::Any);
        if let [Piece::Any, rest @ ..] = pieces {
            pieces = rest;
        }
        if let [rest @ .., Piece::Any] = pieces {
            pieces = rest;
        }
        let mut before = String::new();
        let mut after: Option<String> = None;
        for piece in pieces {
            let text = after.as_mut().unwrap_or(&mut before);
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::One => text.push(filler),
                Piece::Any if starts && ends && after.is_none() => after = Some(String::new()),
                Piece::Any => {}
            }
        }
        Block { before, after, starts, ends, cased: pattern.cased }
    }

    fn of_sample(sample: &Sample) -> Block {
        Block {
            before: sample.text.clone(),
            after: None,
            starts: sample.starts,
            ends: sample.ends,
            cased: true,
        }
    }
}

/// Tries texts until `accept` takes one. Tests that are not of text add nothing to the candidates.
pub(crate) fn assemble<T>(
    wanted: &[&Literal],
    taste: &Taste,
    accept: &mut dyn FnMut(String) -> Option<T>,
) -> Option<T> {
    let mut samples: Vec<Vec<Sample>> = Vec::new();
    for literal in wanted {
        samples.push(match &literal.atom().test {
            Test::Regex(regex) => sample::samples(regex),
            _ => Vec::new(),
        });
    }
    let rounds = samples.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let mut tried = 0;
    for round in 0..rounds {
        let filler = ['x', '1', 'A', '0'][(round + taste.seed as usize) % 4];
        let mut blocks = Vec::new();
        for (literal, samples) in wanted.iter().zip(&samples) {
            match &literal.atom().test {
                Test::Text(pattern) => {
                    let keyword = literal.atom().field.is_none();
                    blocks.push(Block::of_pattern(pattern, keyword, filler));
                }
                Test::Regex(_) if !samples.is_empty() => {
                    let turn = (round + taste.seed as usize) % samples.len();
                    blocks.extend(samples.get(turn).map(Block::of_sample));
                }
                _ => {}
            }
        }
        // With samples to choose from, each gets a part of the candidates.
        let share = CANDIDATES_MAX * (round + 1) / rounds;
        for reversed in [false, true] {
            if reversed {
                blocks.reverse();
            }
            for &(front, back) in paddings(taste.seed) {
                for joiner in taste.joiners {
                    if tried >= share {
                        break;
                    }
                    tried += 1;
                    let front = if front == ROOT { taste.root } else { front };
                    let text = join(&blocks, joiner, front, back);
                    if let Some(found) = accept(text) {
                        return Some(found);
                    }
                }
            }
        }
    }
    None
}

/// Stands for the root of paths.
const ROOT: &str = "\0";

/// What stands before and after a text that is open there, plainest first.
fn paddings(seed: u32) -> &'static [(&'static str, &'static str)] {
    match seed {
        0 => &[
            (ROOT, ""),
            ("", ""),
            ("x", ""),
            ("", "x"),
            ("x", "x"),
            ("C:\\x", ""),
            ("", " x"),
            ("x ", " x"),
            ("x\\x", "\\x"),
            ("/x", "/x"),
        ],
        1 => &[("C:\\q", "q"), ("q", "q"), ("q ", " q"), ("q", ""), ("", "q"), ("", "")],
        2 => &[("D:\\w7", ""), ("w7", "_7w"), ("w7 ", " 7w"), ("", "7"), ("", "")],
        _ => &[("zz-", "-zz"), ("z", ".z"), ("z/", "/z"), ("z", ""), ("", "z"), ("", "")],
    }
}

fn join(blocks: &[Block], joiner: &str, front: &str, back: &str) -> String {
    // The longest of what must stand at an end holds the others, if they can be together at all.
    let longest = |at_end: &dyn Fn(&Block) -> bool| {
        blocks.iter().filter(|block| at_end(block)).max_by_key(|block| block.before.len())
    };
    let whole = longest(&|block| block.starts && block.ends);
    let (mut head, mut tail) = (String::new(), String::new());
    let mut head_ends = 0;
    match whole {
        Some(block) => {
            head.push_str(&block.before);
            head_ends = head.len();
            match &block.after {
                Some(after) => tail.push_str(after),
                // Nothing else fits; a longer start or end would not pass either.
                None => return head,
            }
        }
        None => {
            if let Some(block) = longest(&|block| block.starts) {
                head.push_str(&block.before);
                head_ends = head.len();
            }
            if let Some(block) = longest(&|block| block.ends) {
                tail.push_str(&block.before);
            }
        }
    }
    let open = |texts: [&str; 2], block: &Block| {
        !texts.iter().any(|text| has(text, &block.before, block.cased))
    };
    let middle: Vec<&Block> = blocks
        .iter()
        .filter(|block| !block.starts && !block.ends && open([&head, &tail], block))
        .collect();
    for (at, block) in middle.iter().enumerate() {
        let within = |(other_at, other): (usize, &&Block)| {
            let longer = other.before.len() > block.before.len()
                || (other.before.len() == block.before.len() && other_at < at);
            other_at != at && longer && has(&other.before, &block.before, block.cased)
        };
        if middle.iter().enumerate().any(within) || has(&head, &block.before, block.cased) {
            continue;
        }
        append(&mut head, &block.before, joiner);
    }
    let starts = head_ends > 0 || blocks.iter().any(|block| block.starts);
    if !tail.is_empty() {
        // What ends the text may be there already, as the last of what stands anywhere.
        let there = head.len() > head_ends && has_end(&head, &tail);
        if !there || whole.is_some() {
            append(&mut head, &tail, joiner);
        }
    } else if !blocks.iter().any(|block| block.ends) {
        head.push_str(back);
    }
    if !starts {
        let is_root = ["C:", "HKLM"].contains(&front);
        let is_path = head.starts_with('\\') && !head.starts_with("\\\\");
        if !is_root || is_path {
            head.insert_str(0, front);
        }
    }
    head
}

/// Appends with a joiner between, unless a separator stands there already; the same separator at
/// both sides becomes one.
fn append(text: &mut String, more: &str, joiner: &str) {
    let separators = ['\\', '/', ' '];
    match (text.chars().last(), more.chars().next()) {
        (Some(last), Some(first)) if last == first && separators.contains(&last) => {
            text.push_str(more.strip_prefix(first).unwrap_or(more));
        }
        (last, first) => {
            let spaced = joiner == " " && (last == Some(' ') || first == Some(' '));
            if last.is_some() && !spaced {
                text.push_str(joiner);
            }
            text.push_str(more);
        }
    }
}

fn has(text: &str, part: &str, cased: bool) -> bool {
    if cased { text.contains(part) } else { text.to_lowercase().contains(&part.to_lowercase()) }
}

fn has_end(text: &str, end: &str) -> bool {
    text.to_lowercase().ends_with(&end.to_lowercase())
}

/// A text in the letter cases that the other tests may want: as it is, with the parts that a test
/// spells in its own way, all lower, all upper.
pub(crate) fn casings(text: &str, wanted: &[Test]) -> Vec<String> {
    let mut spelled = text.to_owned();
    let mut splice = |part: &str| {
        let at = spelled.to_ascii_lowercase().find(&part.to_ascii_lowercase());
        if let Some(at) = at.filter(|_| part.is_ascii() && spelled.is_ascii()) {
            spelled.replace_range(at..at + part.len(), part);
        }
    };
    let mut casings = vec![text.to_owned()];
    let mut counts = false;
    for test in wanted {
        match test {
            Test::Text(Pattern { pieces, cased: true }) => {
                counts = true;
                for piece in pieces {
                    if let Piece::Literal(part) = piece {
                        splice(part);
                    }
                }
            }
            Test::Regex(regex) => {
                counts = true;
                for sample in sample::samples(regex) {
                    splice(&sample.text);
                }
            }
            _ => {}
        }
    }
    if counts {
        casings.push(spelled);
    }
    casings.extend([text.to_lowercase(), text.to_uppercase()]);
    casings
}
