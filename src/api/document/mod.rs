//! Documents that more than one route answers with, built from stored rows.

pub mod cost;
pub mod leases;
pub mod prune;
pub mod quota;
pub mod summary;

use crate::model::Millis;

/// A time in documents: RFC 3339, UTC, milliseconds.
#[must_use]
pub fn time(millis: Millis) -> String {
    let timestamp = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    format!("{timestamp:.3}")
}
