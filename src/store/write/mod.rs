//! Writing: each change is one durable transaction, and only these files and a repair start one.

mod accounts;
mod backlog;
mod commit;
mod deferred;
mod files;
mod leases;
pub mod models;
mod name_cache;
mod outbox;
mod outcome;
mod record_table;
mod records;
mod registry;
mod reported;
mod responses;
pub mod routes;
mod run_costs;
mod runs;
pub mod series;
pub mod series_cache;
mod sessions;
mod sorted_rows;
mod sums;
mod tx_runs;
pub mod windows;

use std::path::Path;
use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};

pub use commit::ReplayEnd;
pub use leases::{DecideLeases, LeaseDesk, NotBound};
pub use name_cache::NameCache;
pub use outbox::{OUTBOX_ROWS_MAX, OutboxChange};
pub use outcome::{Committed, LimitChanges, Outcome, PostOutcome, RunChange, RunEvent};
pub use registry::Registry;
pub use reported::AccountObservations;
pub use runs::{ForgetRun, Start, Started};

use super::control::StoreControl;
use super::database::DatabaseSlot;
use super::error::{DbError, StoreError};
use super::read::Reader;
use super::schema::{META, META_SEQUENCE};

/// The only writer of a database.
///
/// **Invariant**: an open database has exactly one, and every write takes it as `&mut`, so no two writes
/// overlap. A [`Reader`] cannot write.
#[derive(Debug)]
pub struct Writer {
    reader: Reader,
    /// As committed; `None` if the next commit must read them.
    pub(super) names: Option<NameCache>,
}

impl Writer {
    pub(super) fn new(reader: Reader) -> Self {
        Self { reader, names: None }
    }

    /// A handle for reading the same database.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// A handle for settings that change while another thread holds the writer.
    #[must_use]
    pub fn control(&self) -> StoreControl {
        StoreControl::new(Arc::clone(self.reader.slot()))
    }

    pub(super) fn slot(&self) -> &Arc<DatabaseSlot> {
        self.reader.slot()
    }

    /// The file's path, or a description of memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.reader.path()
    }

    /// The size of the file in bytes; `None` in memory. It accesses the filesystem.
    #[must_use]
    pub fn file_bytes(&self) -> Option<u64> {
        self.slot().file.bytes()
    }

    /// Checks that commits can be found again: the path leads to the open file.
    ///
    /// # Errors
    /// [`StoreError::Displaced`] if it does not, [`StoreError::Io`] if it cannot be checked.
    pub fn in_place(&self) -> Result<(), StoreError> {
        self.slot().file.in_place()
    }

    /// Closes the database if it is open and opens it again. If its path does not lead to it any more, it is
    /// searched for there again, or created.
    ///
    /// # Errors
    /// As [`open`](crate::store::open()), and for a damaged file too. The database is closed then.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        // The names may be of a transaction that was not committed.
        self.names = None;
        self.slot().reopen(false)
    }

    /// Opens the database again and checks every page of it.
    ///
    /// # Errors
    /// As [`Writer::reopen`]; [`StoreError::Damaged`] if a page is not as it was written.
    pub fn examine(&mut self) -> Result<(), StoreError> {
        self.names = None;
        self.slot().reopen(true)
    }

    /// Sets the damaged file aside and creates a new one, which stores the reason.
    ///
    /// # Errors
    /// The file cannot be moved, or a new one cannot be created.
    pub fn replace(&mut self, why: &str) -> Result<(), StoreError> {
        self.names = None;
        self.slot().replace(why)
    }

    /// Closes the database cleanly. Waits for open snapshots.
    pub fn close(&mut self) {
        self.names = None;
        self.slot().close();
    }

    /// Takes a commit number, so that every later event has a higher one than all before.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn begin(&mut self) -> Result<u64, StoreError> {
        self.transact(|write| {
            let mut meta = write.open_table(META)?;
            next_sequence(&mut meta)
        })
    }

    /// Runs one write transaction that changes no name: durable, and fast to open again after a crash.
    pub(super) fn transact<T>(
        &mut self,
        body: impl FnOnce(&WriteTransaction) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        // Restored after the commit only: after an error the stored state is unknown.
        let names = self.names.take();
        let open = self.slot().database()?;
        self.in_place()?;
        let commit = || {
            let mut write = open.begin_write()?;
            write.set_quick_repair(true);
            let value = body(&write)?;
            write.commit()?;
            Ok(value)
        };
        let value = commit().map_err(|error: DbError| self.slot().error(error))?;
        drop(open);
        self.names = names;
        Ok(value)
    }

    /// Runs one write transaction that uses names, and may add some. It must make the same changes in memory
    /// as in the tables.
    fn transact_named<T>(
        &mut self,
        body: impl FnOnce(&WriteTransaction, &mut NameCache) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        let names = self.names.take();
        let (value, names) = self.transact(|write| {
            let mut names = match names {
                Some(names) => names,
                None => NameCache::load(write)?,
            };
            Ok((body(write, &mut names)?, names))
        })?;
        self.names = Some(names);
        Ok(value)
    }
}

/// Numbers a commit.
pub(super) fn next_sequence(meta: &mut Table<'_, &'static str, u64>) -> Result<u64, DbError> {
    let next = next_number(meta, META_SEQUENCE)?;
    meta.insert(META_SEQUENCE, next)?;
    Ok(next)
}

/// The number after the last one stored under a key of `meta`.
fn next_number(meta: &Table<'_, &'static str, u64>, key: &'static str) -> Result<u64, DbError> {
    let last = meta.get(key)?;
    Ok(last.map_or(0, |value| value.value()) + 1)
}
