//! What a backend outside of this crate needs to behave like those within it.
//!
//! The same refusals, the same counters under the same names: an operator who moves from the
//! embedded log to a cluster keeps the dashboards.

pub use crate::consumer::report_gap;
pub use crate::error::{count_refused, too_large};
pub use crate::group::check_name;
pub use crate::memory::count_appended;

/// Sets the gauge of how many records a group has still to read of a topic.
pub fn report_lag(group: &str, topic: crate::Topic, records: u64) {
    let records = i64::try_from(records).unwrap_or(i64::MAX);
    crate::metrics::BUS_LAG.with_label_values(&[group, topic.as_str()]).set(records);
}
