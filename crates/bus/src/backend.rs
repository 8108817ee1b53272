//! What a backend outside of this crate needs to behave like those within it.
//!
//! The same refusals, the same counters under the same names: an operator who moves from the
//! embedded log to a cluster keeps the dashboards.

pub use crate::consumer::report_gap;
pub use crate::error::{count_refused, too_large};
pub use crate::group::check_name;
pub use crate::memory::count_appended;
