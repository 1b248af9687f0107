//! Counters that never fall.

use std::sync::Arc;

use tokio::sync::Mutex;

use super::cost::CostMeter;
use super::encode::Peaks;
use crate::store::Reader;

/// The counter values of earlier scrapes since this start of the collector, and its estimated costs.
#[derive(Debug, Default)]
pub struct Counters(pub(super) Arc<Mutex<Held>>);

/// The values behind [`Counters`].
#[derive(Debug, Default)]
pub struct Held {
    pub peaks: Peaks,
    pub costs: CostMeter,
}

impl Counters {
    /// Begins with everything that is counted now, which a thread of its own reads; a scrape waits for it.
    #[must_use]
    pub fn since_now(store: Reader) -> Self {
        let counters = Self::default();
        let held = Arc::clone(&counters.0);
        // Nobody else has it yet.
        if let Ok(mut held) = held.try_lock_owned() {
            tokio::task::spawn_blocking(move || {
                match store.snapshot().and_then(|snapshot| snapshot.sums()) {
                    Ok(sums) => held.costs.begin(sums),
                    Err(error) => tracing::warn!(%error, "the counter of costs begins with the first scrape"),
                }
            });
        }
        counters
    }
}
