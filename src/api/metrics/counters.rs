//! Counters that never fall.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use tokio::sync::Mutex;

use super::cost::CostMeter;
use super::encode::Peaks;
use crate::store::Reader;

/// The counter values of earlier scrapes since this start of the collector, and its estimated costs.
#[derive(Debug, Default)]
pub struct Counters(pub(super) Arc<Mutex<HeldCounters>>);

/// The values behind [`Counters`].
#[derive(Debug, Default)]
pub struct HeldCounters {
    pub peaks: Peaks,
    pub costs: CostMeter,
}

impl Counters {
    /// Begins with everything that is counted now: the snapshot is taken before this returns, and a thread of its own
    /// reads it, for which a scrape waits.
    #[must_use]
    pub fn since_now(store: Reader) -> Self {
        let counters = Self::default();
        let held = Arc::clone(&counters.0);
        // Nobody else has it yet.
        if let Ok(mut held) = held.try_lock_owned() {
            let (taken, is_taken) = sync_channel(1);
            tokio::task::spawn_blocking(move || {
                let snapshot = store.snapshot();
                let _ = taken.send(());
                match snapshot.and_then(|snapshot| snapshot.sums()) {
                    Ok(sums) => held.costs.begin(sums),
                    Err(error) => tracing::warn!(%error, "the counter of costs begins with the first scrape"),
                }
            });
            let _ = is_taken.recv();
        }
        counters
    }
}
