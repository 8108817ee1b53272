//! What changes while the simulation runs: chance, counters, and the events that are being made.

use event::Timestamp;
use fastrand::Rng;

use crate::SimEvent;
use crate::fleet::{self, Host, Person};

/// Something that somebody, or some machine, does now and then. It makes events at the given time
/// or shortly after it, never before.
pub(crate) type Habit = fn(&mut World, Timestamp);

/// One second in the nanoseconds of [`Timestamp`].
pub(crate) const SECOND: i64 = 1_000_000_000;
/// One millisecond in the nanoseconds of [`Timestamp`].
pub(crate) const MS: i64 = 1_000_000;

/// The state of the fleet.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) rng: Rng,
    /// Who sits at which workstation.
    pub(crate) seats: Vec<(Person, Host)>,
    /// The next record number of each Windows log, which counts up per host and channel.
    record_ids: Vec<((&'static str, &'static str), u64)>,
    pending: Vec<SimEvent>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut people = fleet::PEOPLE.to_vec();
        let mut rng = Rng::with_seed(seed);
        rng.shuffle(&mut people);
        let seats = people.into_iter().zip(fleet::WORKSTATIONS).collect();
        World { rng, seats, record_ids: Vec::new(), pending: Vec::new() }
    }

    /// The same fleet with chance of its own, so that what one of them does leaves the other's
    /// course as it is.
    pub(crate) fn beside(&self, seed: u64) -> Self {
        let rng = Rng::with_seed(seed);
        World { rng, seats: self.seats.clone(), record_ids: Vec::new(), pending: Vec::new() }
    }

    /// One of these; the lists are constants and never empty.
    pub(crate) fn one_of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.rng.usize(0..list.len())]
    }

    /// True once in so many times.
    pub(crate) fn once_in(&mut self, times: u32) -> bool {
        self.rng.u32(0..times) == 0
    }

    /// Some time after, up to `max_ms` milliseconds.
    pub(crate) fn later(&mut self, at: Timestamp, max_ms: i64) -> Timestamp {
        at.plus_nanos(self.rng.i64(0..=max_ms * MS))
    }

    /// How long nothing happens after so many events, to keep the rate: exponentially distributed,
    /// as the gaps of independent arrivals are.
    pub(crate) fn gap(&mut self, events: usize, rate: u32) -> i64 {
        let mean = events.max(1) as f64 * SECOND as f64 / f64::from(rate.max(1));
        let nanos = -(1.0 - self.rng.f64()).ln() * mean;
        // Ten times the mean is one gap in 22,000; longer ones would only look like an outage.
        nanos.min(mean * 10.0) as i64
    }

    /// A client's port.
    pub(crate) fn port(&mut self) -> u16 {
        self.rng.u16(49_152..=65_500)
    }

    /// So many hexadecimal digits.
    pub(crate) fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(self.one_of(b"0123456789abcdef"))).collect()
    }

    /// A random UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b, c) = (self.hex(8), self.hex(4), self.hex(3));
        let (d, e, f) = (self.one_of(&['8', '9', 'a', 'b']), self.hex(3), self.hex(12));
        format!("{a}-{b}-4{c}-{d}{e}-{f}")
    }

    /// A somebody at a workstation.
    pub(crate) fn seat(&mut self) -> (Person, Host) {
        self.seats[self.rng.usize(0..self.seats.len())]
    }

    /// Who sits there; a server is looked after by its first administrator.
    pub(crate) fn person_at(&self, host: Host) -> Person {
        let seat = self.seats.iter().find(|(_, own)| own.name == host.name);
        seat.map_or(fleet::ADMINS[0], |(person, _)| *person)
    }

    /// The next number in a log.
    pub(crate) fn record_id(&mut self, host: Host, channel: &'static str) -> u64 {
        let key = (host.name, channel);
        if let Some((_, id)) = self.record_ids.iter_mut().find(|(own, _)| *own == key) {
            *id += 1;
            return *id;
        }
        let first = self.rng.u64(10_000..9_000_000);
        self.record_ids.push((key, first));
        first
    }

    pub(crate) fn emit(&mut self, event: SimEvent) {
        self.pending.push(event);
    }

    pub(crate) fn pending(&self) -> &[SimEvent] {
        &self.pending
    }

    pub(crate) fn take_pending(&mut self) -> Vec<SimEvent> {
        std::mem::take(&mut self.pending)
    }
}
