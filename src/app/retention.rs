//! The prune by the configuration: once a day, at a time of day that differs between instances.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

use crate::committer::retention::{PruneError, Retention};
use crate::config::{Keep, RetentionSettings};
use crate::model::{HOUR_MS, Millis};
use crate::store::prune::PruneGoal;
use crate::store::{Horizons, day_name, horizon_day};
use crate::tailer::TailerContext;

/// Interval at which it is examined whether a further day is old enough.
const DUE_EVERY: Duration = Duration::from_mins(10);
/// Time after midnight UTC within which all instances have pruned.
const SPREAD_MS: Millis = 6 * HOUR_MS;

/// The task that prunes.
pub struct RetentionTask {
    pub retention: Arc<Retention>,
    pub shared: Arc<TailerContext>,
    pub backlog_done: CancellationToken,
    pub stop: CancellationToken,
}

impl RetentionTask {
    /// Prunes whenever a day became old enough, until it is stopped.
    pub async fn run(self) {
        let work = async {
            self.backlog_done.cancelled().await;
            if let Err(error) = self.retention.look_into_large().await {
                tracing::debug!(%error, "the free space is not measured");
            }
            if let Some(free) = self.retention.worth_compacting() {
                tracing::info!(
                    "more than half of the database file holds nothing: with the collector stopped, `tokentail compact` \
                     would free {} MiB",
                    free >> 20
                );
            }
            let mut interval = tokio::time::interval(DUE_EVERY);
            loop {
                interval.tick().await;
                if let Err(error) = self.prune().await {
                    tracing::warn!(%error, "the database is not pruned now; it is tried again");
                }
            }
        };
        self.stop.run_until_cancelled(work).await;
    }

    async fn prune(&self) -> Result<(), PruneError> {
        let settings = self.shared.settings.borrow().retention;
        let now = self.shared.clock.now();
        let spread = spread_of(self.retention.created().await?);
        let horizons = horizons(settings, now.saturating_sub(spread));
        if horizons == Horizons::default() || !self.retention.is_due(horizons).await? {
            return Ok(());
        }
        let pruned = self.retention.prune(PruneGoal::new(horizons, now)).await?;
        tracing::info!(
            responses = pruned.responses,
            keys = pruned.keys,
            days = pruned.days,
            "pruned details before {}",
            day_name(horizons.details)
        );
        Ok(())
    }
}

/// The horizons that the configuration gives.
fn horizons(settings: RetentionSettings, now: Millis) -> Horizons {
    let day = |keep: Keep| keep.age().map_or(0, |age| horizon_day(now, age.millis()));
    Horizons::default().with(Horizons {
        details: day(settings.details),
        keys: day(settings.tombstones),
        totals: day(settings.totals),
    })
}

/// The time after midnight at which the instance with this database prunes: hosts that share a disk do not prune at
/// once, also if they were set up together.
fn spread_of(created: u64) -> Millis {
    let span = u64::try_from(SPREAD_MS).unwrap_or(1);
    Millis::try_from(xxh3_64(&created.to_le_bytes()) % span).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Age;
    use crate::model::DAY_MS;

    #[test]
    fn horizons_are_those_of_the_configuration() {
        let now = 20_800 * DAY_MS + 5;
        let settings = |tombstones, totals| RetentionSettings {
            details: Keep::For(Age::days(90)),
            tombstones,
            totals,
        };
        let day = |details, keys, totals| Horizons {
            details,
            keys,
            totals,
        };
        let forever = Keep::Forever;
        assert_eq!(horizons(settings(forever, forever), now), day(20_710, 0, 0));
        let year = Keep::For(Age::days(400));
        assert_eq!(horizons(settings(year, forever), now), day(20_710, 20_400, 0));
        // What has no sums needs no key.
        assert_eq!(
            horizons(settings(forever, Keep::For(Age::days(100))), now),
            day(20_710, 20_700, 20_700)
        );
        let off = RetentionSettings {
            details: forever,
            tombstones: forever,
            totals: forever,
        };
        assert_eq!(horizons(off, now), Horizons::default());
    }

    #[test]
    fn instances_prune_at_times_of_their_own() {
        let second = 1_791_190_800_000;
        assert_eq!(spread_of(second), spread_of(second));
        assert!(spread_of(second).abs_diff(spread_of(second + 1)) > 1000);
        assert!((0..SPREAD_MS).contains(&spread_of(second)));
    }
}
