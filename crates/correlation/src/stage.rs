//! The stage: `matches` to `alerts`.
//!
//! A match is put into its group at once; which alerts that makes is looked at when the batch
//! ends, for the periods that it touched. See the head of the crate for what an alert is and when
//! it is written again.

use std::collections::BTreeSet;
use std::sync::Arc;

use bus::{Output, Partition, Record, Reject, Stage, StageError, Start, StateReader, Topic};
use event::{Alert, Match, MatchKind, Timestamp};

use crate::alert::{Whole, of_match};
use crate::definition::{Correlations, Definition, Periods, Set};
use crate::groups::{Group, Inserted, Key, Name, Period, Seen, Written};
use crate::metrics;
use crate::state::{self, GroupId, Groups};

/// The header of an alert's record that tells its version, from `2` on: the same alert, which more
/// events belong to now.
pub const VERSION: &str = "version";

/// How often groups are looked through for such as are done, in running time.
const EXPIRE_EVERY_NANOS: i64 = 1_000_000_000;

/// The most running time that one step of the clock counts as. More is no running time: the
/// machine slept, or the clock was set.
const TICK_NANOS_MAX: i64 = 10_000_000_000;

/// How much is taken away when a limit is met, so that it is not met again at once: a tenth.
const EVICTED_SHARE: usize = 10;

/// The bounds of correlation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How late an event may come for its order not to matter, in seconds.
    pub lateness_s: u64,
    /// The most events of one group in one period. More are counted and left out: the alert then
    /// stands for at least so many.
    pub period_events_max: usize,
    /// The most groups. Beyond it those that have been quiet longest are dropped.
    pub groups_max: usize,
    /// The most memory for all windows, about. Beyond it the same happens.
    pub bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            // Shippers that lost their network for a moment; longer outages catch up in one go,
            // which running time forgives.
            lateness_s: 300,
            // Far above any threshold in public rules (the largest is 1,000).
            period_events_max: 10_000,
            groups_max: 200_000,
            bytes_max: 256 * 1024 * 1024,
        }
    }
}

/// Turns matches into alerts.
pub struct CorrelationStage {
    correlations: Correlations,
    set: Arc<Set>,
    settings: Settings,
    groups: Groups,
    /// About how much memory the groups take.
    bytes: usize,
    /// The periods that this batch put something into, or before.
    touched: BTreeSet<(GroupId, i64)>,
    running: RunningTime,
    /// How many matches came.
    turns: u64,
    expired_at: i64,
    /// The groups were read from state, and do not know yet how long they are kept.
    is_restored: bool,
}

/// How long the stage has been running: a clock that stands still while it does not.
#[derive(Debug, Default)]
struct RunningTime {
    last: Option<Timestamp>,
    nanos: i64,
}

impl RunningTime {
    fn tick(&mut self, now: Timestamp) {
        if let Some(last) = self.last {
            let step = now.as_nanos().saturating_sub(last.as_nanos());
            self.nanos = self.nanos.saturating_add(step.clamp(0, TICK_NANOS_MAX));
        }
        self.last = Some(now);
    }
}

impl CorrelationStage {
    /// A stage for these correlations.
    pub fn new(correlations: Correlations, settings: Settings) -> Self {
        CorrelationStage {
            set: correlations.current(),
            correlations,
            settings,
            groups: Groups::default(),
            bytes: 0,
            touched: BTreeSet::new(),
            running: RunningTime::default(),
            turns: 0,
            expired_at: 0,
            is_restored: false,
        }
    }

    /// The correlation of this id. The set may have been exchanged since the last batch, and the
    /// match come from a rule of the new one.
    fn definition(&mut self, id: &str) -> Option<Arc<Definition>> {
        if let Some(definition) = self.set.get(id) {
            return Some(Arc::clone(definition));
        }
        self.set = self.correlations.current();
        self.set.get(id).map(Arc::clone)
    }

    /// Moves the clock, and lets restored groups live on from now.
    fn tick(&mut self, now: Timestamp) {
        self.running.tick(now);
        if !std::mem::take(&mut self.is_restored) {
            return;
        }
        for group in self.groups.values_mut() {
            let grows = self.set.get(&group.name.correlation).is_none_or(|it| it.grows());
            let cut = group.cut();
            for (period, events) in &mut group.periods {
                let quiet_at = quiet_at(cut, *period, grows, now, &self.running, &self.settings);
                events.quiet_at = quiet_at;
            }
        }
    }

    fn add(
        &mut self,
        mut found: Match,
        kind: (String, Vec<String>, Option<String>),
        partition: Partition,
        now: Timestamp,
        output: &mut Output,
    ) {
        let (correlation, values, value) = kind;
        let Some(definition) = self.definition(&correlation) else {
            metrics::UNKNOWN.inc();
            return;
        };
        let late = found.received.as_nanos().saturating_sub(found.event_time.as_nanos());
        if late > seconds(self.settings.lateness_s) {
            metrics::LATE.inc();
        }
        let name = Name {
            correlation,
            shape: definition.shape(),
            timespan_s: definition.timespan_s,
            namespace: found.namespace.clone(),
            values,
        };
        let id = state::group_id(&name);
        let group = self.groups.entry(id.clone()).or_insert_with(|| {
            let group = Group::new(name, partition);
            self.bytes += group.bytes();
            state::put_name(output, &id, &group);
            group
        });
        self.turns += 1;
        group.turn = self.turns;
        let whole = Some(Box::new(Whole::new(&mut found)));
        let seen = Seen { received: found.received, whole };
        let key = Key { time: found.event_time, id: found.event_id, value };
        let (key_bytes, before) = (key.bytes(), group.whole_bytes(&key));
        let cut = group.cut();
        let period = cut.of(key.time);
        let stored = key.clone();
        match group.insert(key, seen, self.settings.period_events_max) {
            Inserted::New { shrunk } => {
                self.bytes += key_bytes;
                if let Some((key, freed)) = shrunk {
                    self.bytes = self.bytes.saturating_sub(freed);
                    put(output, &id, group, period, &key);
                }
            }
            Inserted::Replaced => {}
            Inserted::Known => return,
            Inserted::Full => {
                metrics::LIMITED.with_label_values(&["period_events"]).inc();
                return;
            }
        }
        self.bytes = (self.bytes + group.whole_bytes(&stored)).saturating_sub(before);
        put(output, &id, group, period, &stored);
        let grows = definition.grows();
        let quiet_at = quiet_at(cut, period, grows, now, &self.running, &self.settings);
        for (place, other) in group.periods.range_mut(period..=period.saturating_add(1)) {
            other.settled = false;
            if *place == period {
                other.quiet_at = other.quiet_at.max(quiet_at);
            }
            if grows {
                self.touched.insert((id.clone(), *place));
            }
        }
    }

    /// Writes the alert of a period if it says something new that is worth a version.
    fn write(
        &mut self,
        id: &GroupId,
        period: i64,
        is_settled: bool,
        now: Timestamp,
        output: &mut Output,
    ) {
        let Some(group) = self.groups.get_mut(id) else { return };
        let Some(definition) = self.set.get(&group.name.correlation) else { return };
        if group.name.shape != definition.shape() {
            return;
        }
        let written = group.periods.get(&period).and_then(|period| period.written.clone());
        let Some(found) = group.found(period, definition) else { return };
        if let Some(written) = &written {
            let count = found.event_count();
            // Fewer than before: the others are gone already, and this one came too late.
            let is_due = is_settled
                || found.full.time(definition) != written.time
                || count >= written.event_count.saturating_mul(2);
            if count < written.event_count || !is_due {
                return;
            }
        }
        let created = written.as_ref().map_or(now, |written| written.created);
        let mut alert = found.alert(&group.name, definition, created);
        let Some(json) = to_json(&mut alert) else { return };
        let digest = Alert::make_id(&[&json]);
        if written.as_ref().is_some_and(|written| written.digest == digest) {
            return;
        }
        let version = written.map_or(1, |written| written.version.saturating_add(1));
        push(output, &alert, &json, version, now);
        let written =
            Written { version, created, time: alert.time, event_count: alert.event_count, digest };
        state::put_written(output, id, group.partition, period, &written);
        if let Some(period) = group.periods.get_mut(&period) {
            period.written = Some(written);
        }
    }

    /// Writes the last version of what can no longer change, and forgets what is of no use.
    fn expire(&mut self, now: Timestamp, output: &mut Output) {
        let running = self.running.nanos;
        let mut settled: Vec<(GroupId, i64)> = Vec::new();
        for (id, group) in &self.groups {
            let due = group
                .periods
                .iter()
                .filter(|(at, period)| !period.settled && group.settles_at(**at) <= running);
            settled.extend(due.map(|(at, _)| (id.clone(), *at)));
        }
        settled.sort_unstable();
        for (id, at) in settled {
            self.write(&id, at, true, now, output);
            let period = self.groups.get_mut(&id).and_then(|group| group.periods.get_mut(&at));
            if let Some(period) = period {
                period.settled = true;
            }
        }
        let bytes = &mut self.bytes;
        self.groups.retain(|id, group| {
            let ended: Vec<i64> =
                group.periods.keys().copied().filter(|at| group.ends_at(*at) <= running).collect();
            for at in ended {
                let Some(period) = group.periods.remove(&at) else { continue };
                forget(output, id, group.partition, at, &period, bytes);
            }
            if group.periods.is_empty() {
                *bytes = bytes.saturating_sub(group.bytes());
                state::delete_name(output, id, group.partition);
            }
            !group.periods.is_empty()
        });
    }

    /// Drops the groups that have been quiet longest, when there is too much.
    fn evict(&mut self, now: Timestamp, output: &mut Output) {
        let Settings { groups_max, bytes_max, .. } = self.settings;
        if self.groups.len() <= groups_max && self.bytes <= bytes_max {
            return;
        }
        let groups_kept = groups_max - groups_max / EVICTED_SHARE;
        let bytes_kept = bytes_max - bytes_max / EVICTED_SHARE;
        let mut oldest: Vec<(u64, GroupId)> =
            self.groups.iter().map(|(id, group)| (group.turn, id.clone())).collect();
        oldest.sort_unstable();
        let mut evicted = 0u64;
        for (_, id) in oldest {
            if self.groups.len() <= groups_kept && self.bytes <= bytes_kept {
                break;
            }
            let periods: Vec<i64> = self
                .groups
                .get(&id)
                .iter()
                .flat_map(|group| group.periods.keys().copied())
                .collect();
            for at in periods {
                // What waits for its period to end is not decided, so nothing is said about it.
                let grows = self.groups.get(&id).is_some_and(|group| {
                    self.set.get(&group.name.correlation).is_some_and(|it| it.grows())
                });
                if grows {
                    self.write(&id, at, true, now, output);
                }
            }
            let Some(group) = self.groups.remove(&id) else { continue };
            for (at, period) in &group.periods {
                forget(output, &id, group.partition, *at, period, &mut self.bytes);
            }
            self.bytes = self.bytes.saturating_sub(group.bytes());
            state::delete_name(output, &id, group.partition);
            evicted += 1;
        }
        metrics::LIMITED.with_label_values(&["groups"]).inc_by(evicted);
        tracing::warn!(
            evicted,
            groups_max,
            bytes_max,
            "correlation windows hit their limit; the groups that were quiet longest are dropped"
        );
    }
}

impl Stage for CorrelationStage {
    fn name(&self) -> &'static str {
        "correlation"
    }

    fn inputs(&self) -> &[Topic] {
        &[Topic::Matches]
    }

    fn restore(
        &mut self,
        _assigned: &[(Topic, Partition)],
        state: &dyn StateReader,
    ) -> Result<Start, StageError> {
        self.set = self.correlations.current();
        self.touched.clear();
        self.groups = state::restore(state)?;
        self.bytes = self.groups.values().map(Group::all_bytes).sum();
        self.is_restored = true;
        Ok(Start::Committed)
    }

    fn process(
        &mut self,
        record: &Record<'_>,
        now: Timestamp,
        output: &mut Output,
    ) -> Result<(), Reject> {
        let mut found: Match = serde_json::from_slice(record.value)
            .map_err(|error| Reject::new(format!("it is no match: {error}")))?;
        self.tick(now);
        match std::mem::replace(&mut found.kind, MatchKind::Alert) {
            MatchKind::Alert => {
                let mut alert = of_match(found, now);
                let json =
                    to_json(&mut alert).ok_or_else(|| Reject::new("its alert has no JSON form"))?;
                push(output, &alert, &json, 1, now);
            }
            MatchKind::Correlation { correlation, group, value } => {
                let kind = (correlation, group, value);
                self.add(found, kind, record.partition, now, output);
            }
        }
        Ok(())
    }

    fn end_batch(&mut self, now: Timestamp, output: &mut Output) -> Result<(), StageError> {
        self.tick(now);
        self.set = self.correlations.current();
        for (id, period) in std::mem::take(&mut self.touched) {
            self.write(&id, period, false, now, output);
        }
        if self.running.nanos.saturating_sub(self.expired_at) >= EXPIRE_EVERY_NANOS {
            self.expired_at = self.running.nanos;
            self.expire(now, output);
        }
        self.evict(now, output);
        metrics::GROUPS.set(i64::try_from(self.groups.len()).unwrap_or(i64::MAX));
        metrics::BYTES.set(i64::try_from(self.bytes).unwrap_or(i64::MAX));
        Ok(())
    }
}

/// When nothing can come any more that belongs together with events of this period, in running
/// time: the windows that reach back to it end with the next period, or with itself if periods are
/// looked at one by one; and then lateness passes.
fn quiet_at(
    cut: Periods,
    period: i64,
    grows: bool,
    now: Timestamp,
    running: &RunningTime,
    settings: &Settings,
) -> i64 {
    let end = cut.start(period.saturating_add(if grows { 2 } else { 1 }));
    let left = end.as_nanos().saturating_sub(now.as_nanos());
    // An event of the future keeps its place no longer than one of now.
    let left = left.clamp(0, cut.span_nanos.saturating_mul(2));
    running.nanos.saturating_add(left).saturating_add(seconds(settings.lateness_s))
}

fn seconds(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000)
}

fn put(output: &mut Output, id: &GroupId, group: &Group, period: i64, key: &Key) {
    if let Some(seen) = group.periods.get(&period).and_then(|period| period.events.get(key)) {
        state::put_event(output, id, group.partition, period, key, seen);
    }
}

fn forget(
    output: &mut Output,
    id: &GroupId,
    partition: Partition,
    at: i64,
    period: &Period,
    bytes: &mut usize,
) {
    for (key, seen) in &period.events {
        state::delete_event(output, id, partition, at, key);
        *bytes = bytes.saturating_sub(key.bytes() + seen.bytes());
    }
    if period.written.is_some() {
        state::delete_written(output, id, partition, at);
    }
}

/// The alert's record. An event that cannot be read back costs the alert its evidence, not its
/// existence.
fn to_json(alert: &mut Alert) -> Option<String> {
    let error = match alert.to_event() {
        Ok(event) => return Some(event.to_json()),
        Err(error) => error,
    };
    tracing::error!(%error, alert = alert.id, "an alert's newest event cannot be read back");
    alert.evidence.clear();
    alert.to_event().ok().map(|event| event.to_json())
}

fn push(output: &mut Output, alert: &Alert, json: &str, version: u32, now: Timestamp) {
    let key = alert.id.as_bytes();
    if version > 1 {
        let version = version.to_string();
        output.to(Topic::Alerts).push(key, &[(VERSION, version.as_bytes())], json.as_bytes());
        metrics::UPDATES.inc();
        return;
    }
    output.to(Topic::Alerts).push(key, &[], json.as_bytes());
    metrics::ALERTS.with_label_values(&[alert.rule.level.as_str()]).inc();
    let delay = now.as_nanos().saturating_sub(alert.received.as_nanos()).max(0);
    metrics::DELAY_SECONDS.observe(delay as f64 / 1e9);
}
