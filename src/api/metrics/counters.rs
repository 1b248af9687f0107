//! Counters that never fall.

use std::sync::Mutex;

use super::encode::Peaks;

/// What the counters of earlier scrapes came to, in this life of the collector.
#[derive(Debug, Default)]
pub struct Counters(pub(super) Mutex<Peaks>);
