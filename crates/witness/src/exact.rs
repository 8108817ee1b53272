//! The exact search for a text: all tests as automata, walked together.
//!
//! A pattern or a regular expression is an automaton over bytes; the texts that pass some and fail
//! others are the paths through their product. A breadth-first walk finds the shortest of them, and
//! when it ends without one, there is none: this is what proves that a rule can't match. The
//! product may be huge, so the walk is bounded, and used only where putting pieces together failed.
//!
//! Only texts take part. With a test of another kind (a network, a comparison) among those that
//! must hold or must not, nothing can be proven here.

use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use regex_automata::Anchored;
use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::util::{start, syntax};
use sigma::expr::{Pattern, Piece, Test};

use crate::field::Literal;

/// The most states of the product that are visited. A state costs some hundred bytes.
const STATES_MAX: usize = 20_000;

/// The most steps of all walks for one rule together: one automaton reading one byte. A step takes
/// some ten nanoseconds.
pub(crate) const STEPS_MAX: u32 = 20_000_000;

/// The share of the steps that are left which one walk may take.
const STEPS_SHARE: u32 = 5;

/// The most tests that are walked together.
const TESTS_MAX: usize = 48;

/// The most memory of one automaton, in bytes.
const AUTOMATON_BYTES_MAX: usize = 4 << 20;

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
pub(crate) fn search(wanted: &[&Literal], denied: &[&Literal], steps: &mut u32) -> Answer {
    if wanted.len() + denied.len() > TESTS_MAX {
        return Answer::Unknown;
    }
    let mut automata = Vec::new();
    // What is not text may only make the answer smaller where it must hold: "impossible" stays
    // true without it, and a text is checked by the caller.
    let mut whole = true;
    for (literals, positive) in [(wanted, true), (denied, false)] {
        for literal in literals {
            match source(literal) {
                Some((source, flags)) => match Automaton::new(&source, flags, positive) {
                    Some(automaton) => automata.push(automaton),
                    None => whole = false,
                },
                None => whole = false,
            }
        }
    }
    // Without a test that must hold, every byte string would do.
    match Automaton::new(r"\A(?s:.)*\z", syntax::Config::new(), true) {
        Some(automaton) => automata.push(automaton),
        None => return Answer::Unknown,
    }
    let mut share = *steps / STEPS_SHARE;
    *steps -= share;
    let answer = walk(&mut automata, &mut share);
    *steps += share;
    match answer {
        // Tests were left out, so there are fewer texts than were looked at: none is none.
        Answer::Text(text) if whole => Answer::Text(text),
        Answer::Text(_) | Answer::Unknown => Answer::Unknown,
        Answer::Impossible => Answer::Impossible,
    }
}

/// The whole value as a regular expression, with its flags.
fn source(literal: &Literal) -> Option<(String, syntax::Config)> {
    let atom = literal.atom();
    match &atom.test {
        Test::Text(pattern) => {
            let source = pattern_source(pattern, atom.field.is_none());
            Some((source, syntax::Config::new()))
        }
        Test::Regex(regex) => {
            // The flags of the rule may not change what stands around it.
            let flags = syntax::Config::new()
                .case_insensitive(regex.ignore_case)
                .multi_line(regex.multi_line)
                .dot_matches_new_line(regex.dot_all);
            Some((format!(r"\A(?s:.)*(?:{})(?s:.)*\z", regex.source), flags))
        }
        _ => None,
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
    fn new(source: &str, flags: syntax::Config, positive: bool) -> Option<Automaton> {
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
            .build(source)
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

    /// Whether the text may end here.
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
    let mut known: HashMap<Vec<LazyStateID>, u32> = HashMap::from([(start.clone(), 0)]);
    let mut queue: VecDeque<(Vec<LazyStateID>, u32)> = VecDeque::from([(start, 0)]);
    let price = u32::try_from(alphabet.len() * automata.len()).unwrap_or(u32::MAX);
    while let Some((states, at)) = queue.pop_front() {
        match steps.checked_sub(price) {
            Some(left) => *steps = left,
            None => return Answer::Unknown,
        }
        let ends = automata.iter_mut().zip(&states).map(|(one, state)| one.fine(*state));
        match ends.collect::<Result<Vec<bool>, Stuck>>() {
            Ok(ends) if ends.iter().all(|fine| *fine) => return text(&reached, at),
            Ok(_) => {}
            Err(Stuck) => stuck = true,
        }
        for &byte in &alphabet {
            let next = automata.iter_mut().zip(&states).map(|(one, state)| one.next(*state, byte));
            let Ok(next) = next.collect::<Result<Vec<LazyStateID>, Stuck>>() else {
                stuck = true;
                continue;
            };
            let lost =
                automata.iter().zip(&next).any(|(one, state)| one.positive && state.is_dead());
            if lost || known.contains_key(&next) {
                continue;
            }
            if reached.len() == STATES_MAX {
                return Answer::Unknown;
            }
            let number = reached.len() as u32;
            reached.push((at, byte));
            known.insert(next.clone(), number);
            queue.push_back((next, number));
        }
    }
    if stuck { Answer::Unknown } else { Answer::Impossible }
}

/// One byte of every class that the automata tell apart, in the order of taste.
fn alphabet(automata: &[Automaton]) -> Vec<u8> {
    let mut seen = std::collections::HashSet::new();
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
