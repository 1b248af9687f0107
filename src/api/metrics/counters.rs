//! Counters that never fall.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::encode::Peaks;

/// The counter values of earlier scrapes since this start of the collector.
#[derive(Debug, Default)]
pub struct Counters(pub(super) Arc<Mutex<Peaks>>);
