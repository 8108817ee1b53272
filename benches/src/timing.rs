//! Interleaved rounds: every contender once per round, so that a noisy minute hits all of them.

use std::time::Instant;

/// One thing to time: its name, and a pass over all events that returns something to be checked
/// and kept from being optimised away.
pub struct Contender<'a> {
    /// How the table calls it.
    pub name: String,
    /// How many events one pass is.
    pub events: usize,
    /// The pass.
    pub pass: Box<dyn FnMut() -> u64 + 'a>,
}

/// Nanoseconds per event.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Of the fastest round.
    pub min: f64,
    /// Of the middle round.
    pub median: f64,
    /// What the pass returned.
    pub result: u64,
}

/// Times all contenders in so many rounds, after one that does not count.
pub fn interleaved(contenders: &mut [Contender<'_>], rounds: usize) -> Vec<Timing> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    let mut results = vec![0; contenders.len()];
    for round in 0..=rounds {
        for (at, contender) in contenders.iter_mut().enumerate() {
            let start = Instant::now();
            results[at] = std::hint::black_box((contender.pass)());
            let each = start.elapsed().as_secs_f64() * 1e9 / contender.events.max(1) as f64;
            if round > 0 {
                times[at].push(each);
            }
        }
    }
    times
        .into_iter()
        .zip(results)
        .map(|(mut times, result)| {
            times.sort_by(f64::total_cmp);
            let min = times.first().copied().unwrap_or(f64::NAN);
            let median = times.get(times.len() / 2).copied().unwrap_or(f64::NAN);
            Timing { min, median, result }
        })
        .collect()
}

/// How many events are passed over again and again before the next ones.
const BLOCK: usize = 64;
/// How often.
pub const REPEATS: usize = 8;

/// Calls `each` for all items, in small blocks that are each passed over [`REPEATS`] times, and
/// adds up what it returns for one time. An engine meets an event just after it was parsed, so
/// in the processor's cache; one pass over thousands of prepared events would measure memory.
pub fn in_blocks<T>(items: &[T], mut each: impl FnMut(&T) -> u64) -> u64 {
    let mut sum = 0;
    for block in items.chunks(BLOCK) {
        for _ in 0..REPEATS {
            sum += block.iter().map(&mut each).sum::<u64>();
        }
    }
    sum / REPEATS as u64
}
