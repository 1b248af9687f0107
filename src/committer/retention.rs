//! Prunes beside commits: old rows are searched for on a thread that may block, and the committer executes one short
//! transaction after the other.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::handle::{CommitterGone, WeakCommitterHandle};
use crate::store::prune::{PruneGoal, PruneStep, Pruned, Pruning};
use crate::store::{Horizons, Reader, StoreError};
use crate::sync::lock;

/// Pause before a step is tried again that has to wait for lines of its age.
const UNSETTLED_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause after a step, which is as long as the step took: commits have the disk half of the time at least.
const STEP_PAUSE_MAX: Duration = Duration::from_millis(200);
/// Size of a file below which its free space is not worth a compaction, in bytes.
const COMPACT_BYTES_MIN: u64 = 64 << 20;

/// The reason why a prune ended early. What it did stays, and the next one goes on.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Gone(#[from] CommitterGone),
    #[error("the search for old rows failed: {0}")]
    Search(String),
}

/// Prunes the database of a running collector, one prune at a time.
#[derive(Debug)]
pub struct Retention {
    store: Reader,
    writes: WeakCommitterHandle,
    turn: tokio::sync::Mutex<()>,
    /// Bytes of the file that hold nothing, and the size of the file, as of the last look.
    free: Mutex<Option<(u64, u64)>>,
}

impl Retention {
    #[must_use]
    pub fn new(store: Reader, writes: WeakCommitterHandle) -> Self {
        Self {
            store,
            writes,
            turn: tokio::sync::Mutex::default(),
            free: Mutex::default(),
        }
    }

    /// Prunes up to a goal. It may take minutes, and can be dropped between two steps.
    ///
    /// # Errors
    /// The store cannot be read, or the committer has stopped.
    pub async fn prune(&self, goal: PruneGoal) -> Result<Pruned, PruneError> {
        let _turn = self.turn.lock().await;
        let (mut pruning, mut pruned) = (Pruning::new(goal), Pruned::default());
        loop {
            let (reader, mut searching) = (self.store.clone(), pruning);
            let found = blocking(move || {
                let step = searching.next_step(&reader)?;
                Ok((searching, step))
            });
            let step;
            (pruning, step) = found.await?;
            let Some(step) = step else { break };
            let done = self.execute(&step).await?;
            pruned.add(&done);
            pruning.note(&step, &done);
        }
        self.look().await?;
        Ok(pruned)
    }

    /// Removes all details and sums, in one transaction.
    ///
    /// # Errors
    /// As [`Retention::prune`].
    pub async fn prune_everything(&self) -> Result<Pruned, PruneError> {
        let _turn = self.turn.lock().await;
        let pruned = self.execute(&PruneStep::All).await?;
        self.look().await?;
        Ok(pruned)
    }

    async fn execute(&self, step: &PruneStep) -> Result<Pruned, PruneError> {
        loop {
            let began = Instant::now();
            if let Some(done) = self.writes.prune(step.clone()).await? {
                tokio::time::sleep(began.elapsed().min(STEP_PAUSE_MAX)).await;
                return Ok(done);
            }
            tokio::time::sleep(UNSETTLED_PAUSE).await;
        }
    }

    /// When the database was created, in milliseconds.
    ///
    /// # Errors
    /// As [`Retention::prune`].
    pub async fn created(&self) -> Result<u64, PruneError> {
        let reader = self.store.clone();
        blocking(move || reader.snapshot()?.created()).await
    }

    /// True if a prune to these horizons would find something new.
    ///
    /// # Errors
    /// As [`Retention::prune`].
    pub async fn is_due(&self, horizons: Horizons) -> Result<bool, PruneError> {
        let reader = self.store.clone();
        blocking(move || reader.snapshot()?.is_prune_due(horizons)).await
    }

    /// Measures the free space in the file. It reads the whole database.
    ///
    /// # Errors
    /// As [`Retention::prune`].
    pub async fn look(&self) -> Result<(), PruneError> {
        let reader = self.store.clone();
        let free = blocking(move || reader.snapshot()?.free_bytes()).await?;
        *lock(&self.free) = free;
        Ok(())
    }

    /// Measures the free space in a file that may be worth a compaction.
    ///
    /// # Errors
    /// As [`Retention::prune`].
    pub async fn look_into_large(&self) -> Result<(), PruneError> {
        let reader = self.store.clone();
        let is_large = blocking(move || Ok(reader.snapshot()?.is_larger_than(COMPACT_BYTES_MIN)));
        if is_large.await? {
            self.look().await?;
        }
        Ok(())
    }

    /// Bytes of the file that hold nothing, and the size of the file, as of the last look.
    #[must_use]
    pub fn free_bytes(&self) -> Option<(u64, u64)> {
        *lock(&self.free)
    }

    /// Bytes that a compaction would free; `None` if it is not worth it.
    #[must_use]
    pub fn worth_compacting(&self) -> Option<u64> {
        let (free, bytes) = self.free_bytes()?;
        (bytes > COMPACT_BYTES_MIN && free > bytes / 2).then_some(free)
    }
}

/// Reads the store on a thread that may block.
async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, PruneError> {
    match tokio::task::spawn_blocking(read).await {
        Ok(found) => Ok(found?),
        Err(error) => Err(PruneError::Search(error.to_string())),
    }
}
