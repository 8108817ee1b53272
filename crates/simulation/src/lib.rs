//! The demo's fleet: what a small company's machines write, and what an intruder leaves in it.
//!
//! Nobody can judge a SIEM on an empty index, and nobody should point a demo at their own logs. So
//! this crate makes the logs of fifteen Windows machines, four Linux hosts, a web site and an AWS
//! account, each in the shape that its usual shipper really sends, so that they take the same way
//! through ingest and normalisation as real ones. Into them it stages attacks ([`Staged`]), and it
//! says which rules must fire, so that a run can be held against what was there.
//!
//! The background is made to be hard: people mistype passwords, the Internet knocks on SSH all day,
//! a management agent runs encoded PowerShell, the antivirus opens LSASS, crawlers ask for pages
//! that are gone. A rule that is easily fooled gives false alerts here, and that is the point.
//!
//! The same [`Settings`] give the same events, byte for byte. Names are made up; outside addresses
//! are those that RFC 5737 and RFC 3849 keep for documentation, domains end in `.example` or `.test`.

mod attacks;
mod aws;
mod fleet;
mod linux;
mod linux_habits;
mod web;
mod windows;
mod windows_habits;
mod world;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use event::Timestamp;

pub use attacks::Staged;
use world::World;

/// The most background events per second; more is taken for this many. It is well above what one
/// core can make, and keeps the gaps between events above zero.
pub const RATE_MAX: u32 = 1_000_000;

/// Sets the intruder's chance apart from the fleet's.
const INTRUDER_SEED: u64 = 0x1b87_3593_9e37_79b9;

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// Background events per second, over all sources, on the average. 0: none, then the
    /// simulation ends after its attacks.
    pub rate: u32,
    /// Whether attacks are staged.
    pub attacks: bool,
    /// Sources that send nothing, and on which nothing is staged.
    pub without: Vec<Source>,
    /// The time of the beginning.
    pub start: Timestamp,
    /// When the first attack begins, after `start`.
    pub attacks_after: Duration,
    /// From the first attack's beginning to the last one's. Each takes a few seconds, whatever
    /// this is.
    pub attacks_within: Duration,
}

impl Default for Settings {
    /// As the demo has it: 50 events per second from the epoch on, and attacks that begin after
    /// 3 seconds and within 13.
    fn default() -> Self {
        Settings {
            seed: 1,
            rate: 50,
            attacks: true,
            without: Vec::new(),
            start: Timestamp::EPOCH,
            attacks_after: Duration::from_secs(3),
            attacks_within: Duration::from_secs(13),
        }
    }
}

/// A family of log sources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Windows event logs as Winlogbeat sends them: Security, System, Sysmon, PowerShell.
    Windows,
    /// The system log of Linux hosts, as syslog.
    Linux,
    /// The web server's access log.
    Web,
    /// AWS CloudTrail.
    Aws,
}

impl Source {
    /// All sources.
    pub const ALL: [Source; 4] = [Source::Windows, Source::Linux, Source::Web, Source::Aws];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Windows => "windows",
            Source::Linux => "linux",
            Source::Web => "web",
            Source::Aws => "aws",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Source::ALL.into_iter().find(|source| source.as_str() == text).ok_or_else(|| {
            format!("`{text}` is no source of the simulation; it has windows, linux, web and aws")
        })
    }
}

/// One payload as a shipper sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SimEvent {
    /// When it happened, which is also when it is sent.
    pub time: Timestamp,
    /// Which family it is of.
    pub source: Source,
    /// The dataset that the shipper names; empty for syslog, which has no place for one.
    pub dataset: &'static str,
    /// The machine, or the cloud account, that it tells of.
    pub host: String,
    /// The bytes, without transport framing.
    pub payload: Vec<u8>,
}

impl SimEvent {
    /// How such an event usually comes in: `syslog` or `http`.
    pub const fn listener(&self) -> &'static str {
        match self.source {
            Source::Linux => "syslog",
            Source::Windows | Source::Web | Source::Aws => "http",
        }
    }
}

/// The events of the fleet in the order of their times, without end while there is background.
#[derive(Debug)]
pub struct Simulation {
    world: World,
    staged: Vec<Staged>,
    /// What is made but not yet due. The number keeps events of one moment in the order in which
    /// they were made.
    pending: BinaryHeap<Reverse<Pending>>,
    made: u64,
    /// When somebody does something next; `None` without background.
    next_deed: Option<Timestamp>,
    /// What the background does, and how often.
    habits: Vec<(u32, world::Habit)>,
    habits_total: u32,
    rate: u32,
}

#[derive(Debug, PartialEq, Eq)]
struct Pending {
    time: Timestamp,
    number: u64,
    event: SimEvent,
}

impl Ord for Pending {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

impl PartialOrd for Pending {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Simulation {
    /// A fleet at its beginning.
    pub fn new(settings: Settings) -> Self {
        let mut world = World::new(settings.seed);
        let sources = || Source::ALL.into_iter().filter(|one| !settings.without.contains(one));
        let mut staged = Vec::new();
        let mut attacked = Vec::new();
        if settings.attacks {
            // With chance of its own, so that the background is the same without the attacks.
            let mut intruder = world.beside(settings.seed ^ INTRUDER_SEED);
            staged = attacks::stage(&mut intruder, &settings);
            attacked = intruder.take_pending();
        }
        let mut habits = Vec::new();
        for source in sources() {
            habits.extend_from_slice(match source {
                Source::Windows => windows_habits::HABITS,
                Source::Linux => linux_habits::HABITS,
                Source::Web => web::HABITS,
                Source::Aws => aws::HABITS,
            });
        }
        let habits_total = habits.iter().map(|(weight, _)| weight).sum();
        let rate = settings.rate.min(RATE_MAX);
        let some = rate > 0 && habits_total > 0;
        let next_deed = some.then(|| settings.start.plus_nanos(world.gap(1, rate)));
        let mut simulation = Simulation {
            world,
            staged,
            pending: BinaryHeap::new(),
            made: 0,
            next_deed,
            habits,
            habits_total,
            rate,
        };
        simulation.queue(attacked);
        simulation
    }

    /// What is staged, in the order of its beginning, whether or not its events came yet.
    pub fn staged(&self) -> &[Staged] {
        &self.staged
    }

    fn queue(&mut self, events: Vec<SimEvent>) {
        for event in events {
            let number = self.made;
            self.made += 1;
            self.pending.push(Reverse(Pending { time: event.time, number, event }));
        }
    }

    /// Lets one habit happen, and sets the time of the next by how many events it made, so that
    /// the rate holds whatever the habits are.
    fn deed(&mut self, at: Timestamp) {
        let mut ticket = self.world.rng.u32(0..self.habits_total);
        for &(weight, habit) in &self.habits {
            if ticket < weight {
                habit(&mut self.world, at);
                break;
            }
            ticket -= weight;
        }
        let events = self.world.take_pending();
        let gap = self.world.gap(events.len(), self.rate);
        self.next_deed = Some(at.plus_nanos(gap));
        self.queue(events);
    }
}

impl Iterator for Simulation {
    type Item = SimEvent;

    fn next(&mut self) -> Option<SimEvent> {
        loop {
            // A deed makes events at its time or later, so what is before the next deed is final.
            match (self.pending.peek_mut(), self.next_deed) {
                (Some(first), Some(deed)) if first.0.time > deed => {}
                (Some(first), _) => return Some(PeekMut::pop(first).0.event),
                (None, None) => return None,
                (None, Some(_)) => {}
            }
            let at = self.next_deed?;
            self.deed(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Timestamp {
        Timestamp::parse_rfc3339("2026-11-24T08:00:00Z").unwrap()
    }

    fn settings() -> Settings {
        Settings { start: start(), ..Settings::default() }
    }

    #[test]
    fn one_seed_one_course() {
        let events = |seed| -> Vec<SimEvent> {
            Simulation::new(Settings { seed, ..settings() }).take(3_000).collect()
        };
        assert_eq!(events(7), events(7));
        assert_ne!(events(7), events(8));
    }

    #[test]
    fn in_order_and_at_the_rate() {
        let events: Vec<_> = Simulation::new(Settings { attacks: false, rate: 200, ..settings() })
            .take_while(|event| event.time < start().plus_nanos(60 * world::SECOND))
            .collect();
        assert!(events.is_sorted_by_key(|event| event.time));
        let expected = 200 * 60;
        assert!(events.len().abs_diff(expected) < expected / 10, "{}", events.len());
        for source in Source::ALL {
            let count = events.iter().filter(|event| event.source == source).count();
            assert!(count > events.len() / 20, "{source}: {count} of {}", events.len());
        }
    }

    #[test]
    fn the_background_is_the_same_without_attacks() {
        let background = |attacks| -> Vec<SimEvent> {
            let simulation = Simulation::new(Settings { attacks, ..settings() });
            let staged: Vec<_> = simulation.staged().to_vec();
            assert_eq!(staged.is_empty(), !attacks);
            simulation.take(4_000).collect()
        };
        let with = background(true);
        let without = background(false);
        let mut with = with.iter();
        // Everything of the quiet run is in the other, in the same order.
        let found = without.iter().take(3_000).filter(|event| with.any(|other| other == *event));
        assert_eq!(found.count(), 3_000);
    }

    #[test]
    fn attacks_alone_come_to_an_end() {
        let simulation = Simulation::new(Settings { rate: 0, ..settings() });
        let staged = simulation.staged().to_vec();
        let events: Vec<_> = simulation.collect();
        assert_eq!(staged.len(), 10);
        assert!(staged.is_sorted_by_key(|one| one.starts_at));
        assert_eq!(staged[0].starts_at, start().plus_nanos(3 * world::SECOND));
        let last = staged.iter().map(|one| one.ends_at).max().unwrap();
        assert!(last <= start().plus_nanos(20 * world::SECOND), "{last}");
        assert_eq!(events.last().map(|event| event.time), Some(last));
        assert!(events.is_sorted_by_key(|event| event.time));
    }

    #[test]
    fn what_is_left_out_is_silent() {
        let without = vec![Source::Windows, Source::Aws];
        let simulation = Simulation::new(Settings { without, ..settings() });
        assert_eq!(simulation.staged().len(), 3);
        for event in simulation.take(2_000) {
            assert!(matches!(event.source, Source::Linux | Source::Web), "{event:?}");
        }
        let nothing = Settings { without: Source::ALL.to_vec(), ..settings() };
        assert_eq!(Simulation::new(nothing).count(), 0);
    }

    #[test]
    fn extreme_settings_do_no_harm() {
        let days = Duration::from_secs(u64::MAX);
        for rate in [1, u32::MAX] {
            let settings =
                Settings { rate, attacks_after: days, attacks_within: days, ..settings() };
            assert_eq!(Simulation::new(settings).take(500).count(), 500);
        }
    }

    #[test]
    fn payloads_are_what_shippers_send() {
        for event in Simulation::new(settings()).take(4_000) {
            let text = std::str::from_utf8(&event.payload).unwrap();
            match event.source {
                Source::Windows | Source::Aws => {
                    let json: serde_json::Value = serde_json::from_str(text).unwrap();
                    let time = json["@timestamp"].as_str().or(json["eventTime"].as_str()).unwrap();
                    let time = Timestamp::parse_rfc3339(time).unwrap();
                    assert!(event.time.as_nanos() - time.as_nanos() < world::SECOND, "{text}");
                }
                Source::Linux => assert!(text.starts_with('<'), "{text}"),
                Source::Web => assert!(text.contains("HTTP/1.1"), "{text}"),
            }
            assert!(!text.contains('\n'), "one line each: {text}");
        }
    }

    #[test]
    fn outside_addresses_are_for_documentation() {
        for event in Simulation::new(settings()).take(4_000) {
            let text = String::from_utf8(event.payload).unwrap();
            for word in text.split(|c: char| !c.is_ascii_digit() && c != '.') {
                let Ok(ip) = word.parse::<std::net::Ipv4Addr>() else { continue };
                // Version numbers look like addresses, and are zero where those are not.
                let fine = ip.is_private() || ip.is_documentation() || ip.is_loopback();
                assert!(fine || ip.octets()[3] == 0 || ip.octets()[0] < 11, "{ip} in {text}");
            }
        }
    }

    #[test]
    fn sources_have_names() {
        for source in Source::ALL {
            assert_eq!(source.as_str().parse(), Ok(source));
        }
        assert!("mainframe".parse::<Source>().unwrap_err().contains("windows, linux"));
    }
}
