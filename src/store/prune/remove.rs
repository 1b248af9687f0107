//! Execution of a step.

use redb::{ReadableTable, WriteTransaction};

use super::step::{PruneStep, Pruned};
use super::{all, details, keys, sums};
use crate::store::error::{DbError, StoreError};
use crate::store::horizon::Horizons;
use crate::store::schema::{META, META_HORIZON_DONE};
use crate::store::write::{Writer, next_sequence};

impl Writer {
    /// Executes one step of a prune in one transaction.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn prune(&mut self, step: &PruneStep) -> Result<Pruned, StoreError> {
        self.transact(|write| {
            let pruned = execute(write, step)?;
            // No answer depends on details.
            if step.changes_totals() {
                let mut meta = write.open_table(META)?;
                next_sequence(&mut meta)?;
            }
            Ok(pruned)
        })
    }
}

fn execute(write: &WriteTransaction, step: &PruneStep) -> Result<Pruned, DbError> {
    match step {
        PruneStep::Begin(horizons) => {
            let mut meta = write.open_table(META)?;
            let stored = Horizons::read(&meta)?;
            stored.with(*horizons).write(&mut meta)?;
            Ok(Pruned::default())
        }
        PruneStep::Keys { keys, .. } => keys::prune(write, keys),
        PruneStep::Details { before, minutes } => details::prune(write, *before, *minutes),
        PruneStep::Sums => sums::prune(write),
        PruneStep::Done(horizons) => {
            let mut meta = write.open_table(META)?;
            let before = meta.get(META_HORIZON_DONE)?.map_or(0, |day| day.value());
            meta.insert(META_HORIZON_DONE, before.max(u64::from(horizons.details)))?;
            Ok(Pruned::default())
        }
        PruneStep::All => all::prune(write),
    }
}
