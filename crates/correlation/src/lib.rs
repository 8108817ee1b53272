//! Turns matches into alerts, and counts over event time so that the order of arrival does not
//! matter.
//!
//! A match of a rule on its own becomes an alert at once. A match that feeds a correlation goes
//! into the windows of its group. Both ways, an alert's id is a hash of what identifies it, so a
//! replay makes the same alerts again and the index replaces them by themselves.
//!
//! # What a correlation means here
//!
//! A correlation has a timespan `T`; a group is a namespace and the values of its group-by fields.
//! All times are those of the events. The time line is cut into *periods* of length `T`, aligned
//! to the Unix epoch.
//!
//! *Conditions that more events can only make true* (`gt`, `gte`) look at sliding windows: the
//! window of a time `t` is `(t - T, t]`, and `t` is *full* when an event of the group happened at
//! `t` and the events of its window (their distinct number, or the distinct number of their values)
//! pass the condition. **A group has one alert for each period that holds a full time.** The
//! alert's time is the first full time of the period; its events are those of the windows of all
//! full times in it, that is, of `(first - T, last]`.
//!
//! *All other conditions* (`lt`, `lte`, `eq`, `neq`, and bounds from both sides) are only decided
//! once nothing more can come. They look at each period as a whole, once it is over: **one alert
//! for each period in which the group has an event and whose events pass.** A group without any
//! event is unknown, so "none at all" is not found.
//!
//! # Why periods
//!
//! An alert should be there a moment after the event that completes it, and a late event should
//! not change that it is there. With a `gte` condition, an event more makes more times full, never
//! fewer. If an alert's identity is a function of a full time alone, then late events add alerts
//! and never take one back, whatever their order: nothing that was shown to a person has to be
//! withdrawn. Identities that follow the data ("one alert from the first full window until it is
//! quiet") do not have this: an event that comes late may join two of them.
//!
//! The cost: something that is full on both sides of the border of two periods has two alerts, and
//! something that goes on for hours has one in each period. Folding those together is for the
//! people's side (incidents, suppression), which may look at them in peace.
//!
//! # Versions
//!
//! The first version of an alert is written with the batch that completed it. What it says (how
//! many events, which) can still grow, so it is written again, under the same id, when its first
//! full time became an earlier one, when its count has doubled, and once when the period is
//! settled. So it has few versions however long the attack, and the last is exact. Versions after
//! the first carry the header [`VERSION`].
//!
//! # Lateness
//!
//! Events are kept until they cannot meet a partner any more: until the end, in event time, of the
//! period after theirs, and for [`Settings::lateness_s`] longer, counted in *running time of the
//! stage* since the event came. A bus that was down for a day, or an import of last year's files,
//! thereby expires nothing: what is processed within that time of each other is seen together, in
//! any order. Clocks in the future cannot expire anything either, because event time never moves
//! the clock; they hold memory for two timespans more at most. What comes later still counts, with
//! what is still there.
//!
//! Within that bound the alerts are a pure function of the set of matches: [`batch::alerts`] is
//! that function, and the tests hold the stage equal to it (and it to a plainer one still) over
//! any order, any cut into batches and any restart.
//!
//! # Limits
//!
//! [`Settings`] bounds the events of a group's period, the groups and the memory. What hits a
//! bound is counted in `watchpost_correlation_limited_total`.

mod alert;
pub mod batch;
mod definition;
mod groups;
mod metrics;
pub mod reason;
mod stage;
mod state;
mod windows;

pub use alert::{EVIDENCE_BYTES_MAX, of_match};
pub use definition::{Correlations, Definition, Measure, Unsupported};
pub use stage::{CorrelationStage, Settings, VERSION};
