//! Writing: each change is one durable transaction, and only these files and a repair make one.

mod backlog;
mod commit;
mod deferred;
mod files;
pub mod models;
mod name_cache;
mod outcome;
mod registry;
mod reported;
mod responses;
mod runs;
mod sessions;
mod sorted_rows;
mod sums;
mod tx_runs;
pub mod windows;

use redb::{ReadableTable, Table, WriteTransaction};

pub use commit::ReplayEnd;
pub use name_cache::NameCache;
pub use outcome::{Committed, LimitChanges, Outcome, RunChange, RunEvent};
pub use reported::AccountObservations;
pub use runs::{Start, Started};
pub use windows::WINDOWS_PER_ACCOUNT_MAX;

use super::error::DbError;
use super::schema::{META, META_SEQUENCE};
use super::{Store, StoreError};

use crate::sync::lock;

impl Store {
    /// Takes a number, so that every later event has a higher one than all before.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn begin(&self) -> Result<u64, StoreError> {
        self.transact(|write| {
            let mut meta = write.open_table(META)?;
            next_sequence(&mut meta)
        })
    }

    /// Takes the names that are kept in memory, so that the next commit reads them anew unless they are put back.
    pub(super) fn take_names(&self) -> Option<NameCache> {
        lock(&self.names).take()
    }

    /// Keeps the names of a commit for the next.
    fn keep_names(&self, names: NameCache) {
        *lock(&self.names) = Some(names);
    }

    /// Runs one write transaction: durable, and quick to open again after a crash.
    pub(super) fn transact<T>(
        &self,
        body: impl FnOnce(&WriteTransaction) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        let open = self.database()?;
        self.in_place()?;
        let commit = || {
            let mut write = open.begin_write()?;
            write.set_quick_repair(true);
            let value = body(&write)?;
            write.commit()?;
            Ok(value)
        };
        commit().map_err(|error: DbError| self.error(error))
    }
}

/// Numbers a commit.
pub(super) fn next_sequence(meta: &mut Table<'_, &'static str, u64>) -> Result<u64, DbError> {
    let next = next_number(meta, META_SEQUENCE)?;
    meta.insert(META_SEQUENCE, next)?;
    Ok(next)
}

/// The number after the last given under a key of `meta`.
fn next_number(meta: &Table<'_, &'static str, u64>, key: &'static str) -> Result<u64, DbError> {
    let last = meta.get(key)?;
    Ok(last.map_or(0, |value| value.value()) + 1)
}
