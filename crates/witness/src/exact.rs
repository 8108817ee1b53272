//! The exact search for a text: all tests as automata, walked together.
//!
//! A pattern or a regular expression is an automaton over bytes; the texts that pass some and fail
//! others are the paths through their product. A breadth-first walk finds the shortest of them, and
//! when it ends without one, there is none: this is what proves that a rule can't match. The
//! product may be huge, so the walk is bounded, and used only where putting pieces together failed.
//!
//! Only texts take part. With a test of another kind (a network, a comparison) among those that
//! must hold or must not, nothing can be proven here.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::LazyLock;

use foldhash::fast::FixedState;
use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};
use sigma::expr::{Pattern, Piece, Regex, Test};

use crate::field::Literal;

/// The most states of the product that are visited. A state costs some hundred bytes.
const STATES_MAX: usize = 20_000;

/// The most steps of all walks for one rule together: one automaton reading one byte. A step takes
/// some ten nanoseconds.
const STEPS_MAX: u32 = 20_000_000;

/// The share of the steps that are left which one walk may take.
const STEPS_SHARE: u32 = 5;

/// The most tests that are walked together.
const TESTS_MAX: usize = 48;

/// The most memory of one automaton, in bytes.
const AUTOMATON_BYTES_MAX: usize = 4 << 20;

/// The most automata that are kept for the next walk, and the most memory of each, in bytes.
const KEPT_MAX: usize = 128;
const KEPT_BYTES_MAX: usize = 256 << 10;

/// What the exact searches for one rule share.
pub(crate) struct Walks {
    /// How many steps they may still take.
    steps_left: u32,
    /// The same tests come together again and again, and to build their automata takes longer than
    /// most walks.
    kept: HashMap<Source, Automaton>,
}

impl Default for Walks {
    fn default() -> Self {
        Walks { steps_left: STEPS_MAX, kept: HashMap::new() }
    }
}

/// What an automaton is built from.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Source {
    Pattern {
        pattern: Pattern,
        keyword: bool,
    },
    Regex(Regex),
    /// Any text that is valid UTF-8.
    AnyText,
}

pub(crate) enum Answer {
    /// The shortest text that passes and fails as asked.
    Text(String),
    /// There is none.
    Impossible,
    /// A limit was met, or a test is not of text.
    Unknown,
}

/// Looks for a text that passes all of `wanted` and none of `denied`, in at most a part of the
/// steps that are left.
pub(crate) fn search(wanted: &[&Literal], denied: &[&Literal], walks: &mut Walks) -> Answer {
    if wanted.len() + denied.len() > TESTS_MAX {
        return Answer::Unknown;
    }
    let mut sources = Vec::new();
    let mut automata = Vec::new();
    // What is not text may only make the answer smaller where it must hold: "impossible" stays
    // true without it, and a text is checked by the caller.
    let mut whole = true;
    for (literals, positive) in [(wanted, true), (denied, false)] {
        for literal in literals {
            let source = source(literal);
            match source.and_then(|source| Some((walks.take(&source, positive)?, source))) {
                Some((automaton, source)) => {
                    automata.push(automaton);
                    sources.push(source);
                }
                None => whole = false,
            }
        }
    }
    // Without a test that must hold, every byte string would do.
    match walks.take(&Source::AnyText, true) {
        Some(automaton) => automata.push(automaton),
        None => return Answer::Unknown,
    }
    sources.push(Source::AnyText);
    let mut share = walks.steps_left / STEPS_SHARE;
    walks.steps_left -= share;
    let answer = walk(&mut automata, &mut share);
    walks.steps_left += share;
    sources.into_iter().zip(automata).for_each(|(source, automaton)| walks.keep(source, automaton));
    match answer {
        // Tests were left out, so there are fewer texts than were looked at: none is none.
        Answer::Text(text) if whole => Answer::Text(text),
        Answer::Text(_) | Answer::Unknown => Answer::Unknown,
        Answer::Impossible => Answer::Impossible,
    }
}

impl Walks {
    fn take(&mut self, source: &Source, positive: bool) -> Option<Automaton> {
        match self.kept.remove(source) {
            Some(automaton) => Some(Automaton { positive, ..automaton }),
            None => Automaton::new(source, positive),
        }
    }

    fn keep(&mut self, source: Source, mut automaton: Automaton) {
        if automaton.cache.memory_usage() > KEPT_BYTES_MAX {
            automaton.cache = automaton.dfa.create_cache();
        }
        if self.kept.len() < KEPT_MAX && automaton.dfa.memory_usage() <= KEPT_BYTES_MAX {
            self.kept.insert(source, automaton);
        }
    }
}

fn source(literal: &Literal) -> Option<Source> {
    let atom = literal.atom();
    match &atom.test {
        Test::Text(pattern) => {
            Some(Source::Pattern { pattern: pattern.clone(), keyword: atom.field.is_none() })
        }
        Test::Regex(regex) => Some(Source::Regex(regex.clone())),
        _ => None,
    }
}

impl Source {
    /// The whole value as a regular expression, with its flags.
    fn whole(&self) -> (String, syntax::Config) {
        match self {
            Source::Pattern { pattern, keyword } => {
                (pattern_source(pattern, *keyword), syntax::Config::new())
            }
            Source::Regex(regex) => {
                // The flags of the rule may not change what stands around it.
                let flags = syntax::Config::new()
                    .case_insensitive(regex.ignore_case)
                    .multi_line(regex.multi_line)
                    .dot_matches_new_line(regex.dot_all);
                (format!(r"\A(?s:.)*(?:{})(?s:.)*\z", regex.source), flags)
            }
            Source::AnyText => (r"\A(?s:.)*\z".to_owned(), syntax::Config::new()),
        }
    }
}

fn pattern_source(pattern: &Pattern, keyword: bool) -> String {
    let mut source = String::from(r"\A");
    if keyword {
        source.push_str("(?s:.)*");
    }
    for piece in &pattern.pieces {
        match piece {
            Piece::Any => source.push_str("(?s:.)*"),
            Piece::One => source.push_str("(?s:.)"),
            Piece::Literal(text) => {
                for c in text.chars() {
                    source.push('[');
                    let mut push = |c: char| source.push_str(&format!(r"\x{{{:X}}}", u32::from(c)));
                    if pattern.cased {
                        push(c);
                    } else {
                        same_letter(c, &mut push);
                    }
                    source.push(']');
                }
            }
        }
    }
    if keyword {
        source.push_str("(?s:.)*");
    }
    source.push_str(r"\z");
    source
}

/// Simple lower-casing, as evaluators do it.
fn lower(c: char) -> char {
    c.to_lowercase().next().unwrap_or(c)
}

/// Gives every character with the same lower case.
fn same_letter(c: char, each: &mut dyn FnMut(char)) {
    static LETTERS: LazyLock<HashMap<char, Vec<char>>> = LazyLock::new(|| {
        let mut letters: HashMap<char, Vec<char>> = HashMap::new();
        for c in ('\0'..=char::MAX).filter(|c| lower(*c) != *c) {
            letters.entry(lower(c)).or_default().push(c);
        }
        letters
    });
    let own = lower(c);
    each(own);
    LETTERS.get(&own).into_iter().flatten().for_each(|other| each(*other));
}

struct Automaton {
    dfa: DFA,
    cache: Cache,
    positive: bool,
}

/// A limit of an automaton was met.
struct Stuck;

impl Automaton {
    fn new(source: &Source, positive: bool) -> Option<Automaton> {
        let (source, flags) = source.whole();
        let dfa = DFA::builder()
            .syntax(flags)
            .thompson(thompson::Config::new().nfa_size_limit(Some(AUTOMATON_BYTES_MAX)))
            .configure(
                DFA::config()
                    .cache_capacity(AUTOMATON_BYTES_MAX)
                    .skip_cache_capacity_check(true)
                    // States are remembered here, so none may be forgotten there.
                    .minimum_cache_clear_count(Some(0))
                    .unicode_word_boundary(true),
            )
            .build(&source)
            .ok()?;
        let cache = dfa.create_cache();
        Some(Automaton { dfa, cache, positive })
    }

    fn start(&mut self) -> Result<LazyStateID, Stuck> {
        let config = start::Config::new().anchored(Anchored::Yes);
        self.dfa.start_state(&mut self.cache, &config).map_err(|_| Stuck)
    }

    fn next(&mut self, state: LazyStateID, byte: u8) -> Result<LazyStateID, Stuck> {
        if state.is_dead() {
            return Ok(state);
        }
        let next = self.dfa.next_state(&mut self.cache, state, byte).map_err(|_| Stuck)?;
        if next.is_quit() { Err(Stuck) } else { Ok(next) }
    }

    /// Whether the text may end here, as far as this test goes.
    fn fine(&mut self, state: LazyStateID) -> Result<bool, Stuck> {
        let matched = !state.is_dead() && {
            let end = self.dfa.next_eoi_state(&mut self.cache, state).map_err(|_| Stuck)?;
            if end.is_quit() {
                return Err(Stuck);
            }
            end.is_match()
        };
        Ok(matched == self.positive)
    }
}

fn walk(automata: &mut [Automaton], steps: &mut u32) -> Answer {
    let alphabet = alphabet(automata);
    let mut stuck = false;
    let Ok(start) = automata.iter_mut().map(Automaton::start).collect::<Result<Vec<_>, Stuck>>()
    else {
        return Answer::Unknown;
    };
    // Each visited state: how it was reached.
    let mut reached: Vec<(u32, u8)> = vec![(0, 0)];
    let mut known: HashSet<Vec<LazyStateID>, FixedState> = HashSet::default();
    known.insert(start.clone());
    let mut queue: VecDeque<(Vec<LazyStateID>, u32)> = VecDeque::from([(start.clone(), 0)]);
    let mut next = start;
    let price = u32::try_from(alphabet.len() * automata.len()).unwrap_or(u32::MAX);
    while let Some((states, at)) = queue.pop_front() {
        match steps.checked_sub(price) {
            Some(left) => *steps = left,
            None => return Answer::Unknown,
        }
        match all_fine(automata, &states) {
            Ok(true) => return text(&reached, at),
            Ok(false) => {}
            Err(Stuck) => stuck = true,
        }
        for &byte in &alphabet {
            match all_next(automata, &states, byte, &mut next) {
                Ok(true) => {}
                Ok(false) => continue,
                Err(Stuck) => {
                    stuck = true;
                    continue;
                }
            }
            if known.contains(&next) {
                continue;
            }
            if reached.len() == STATES_MAX {
                return Answer::Unknown;
            }
            let number = reached.len() as u32;
            reached.push((at, byte));
            known.insert(next.clone());
            queue.push_back((next.clone(), number));
        }
    }
    if stuck { Answer::Unknown } else { Answer::Impossible }
}

/// Whether the text may end here.
fn all_fine(automata: &mut [Automaton], states: &[LazyStateID]) -> Result<bool, Stuck> {
    for (one, state) in automata.iter_mut().zip(states) {
        if !one.fine(*state)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads a byte; `false` when what must hold can't any more.
fn all_next(
    automata: &mut [Automaton],
    states: &[LazyStateID],
    byte: u8,
    next: &mut [LazyStateID],
) -> Result<bool, Stuck> {
    for ((one, state), next) in automata.iter_mut().zip(states).zip(next) {
        *next = one.next(*state, byte)?;
        if one.positive && next.is_dead() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One byte of every class that the automata tell apart, in the order of taste.
fn alphabet(automata: &[Automaton]) -> Vec<u8> {
    let mut seen = HashSet::new();
    let plain = (b'a'..=b'z').rev().chain(b'0'..=b'9').chain(b'A'..=b'Z').chain(b' '..=b'~');
    let mut alphabet = Vec::new();
    for byte in plain.chain(0..=255) {
        let class: Vec<u8> = automata.iter().map(|one| one.dfa.byte_classes().get(byte)).collect();
        if seen.insert(class) {
            alphabet.push(byte);
        }
    }
    alphabet
}

fn text(reached: &[(u32, u8)], mut at: u32) -> Answer {
    let mut bytes = Vec::new();
    while at != 0 {
        let Some(&(before, byte)) = reached.get(at as usize) else { return Answer::Unknown };
        bytes.push(byte);
        at = before;
    }
    bytes.reverse();
    String::from_utf8(bytes).map_or(Answer::Unknown, Answer::Text)
}
