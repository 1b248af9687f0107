//! The slot of the open database, shared by the reader and the writer: it is filled, emptied, and filled
//! again after an error.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use redb::Database;

use super::error::{DbError, StoreError};
use super::file::{DatabaseFile, note_rebuilt};
use super::place::{Lost, new_database_note};
use crate::model::AccountId;
use crate::quota::account::{Account, THRESHOLDS_DEFAULT};
use crate::quota::notice::target::NoticeTarget;
use crate::sync::{lock, unpoisoned};

/// The database while it is open, and its state since the start.
#[derive(Debug)]
pub struct DatabaseSlot {
    pub(super) file: DatabaseFile,
    /// `None` while it is closed after an error.
    database: RwLock<Option<Database>>,
    /// Set while the path does not lead to the open database.
    lost: Mutex<Option<Lost>>,
    /// Why a new database was created since the start, if that left no old file to examine.
    new_database: Mutex<Option<String>>,
    replaced: AtomicU64,
    /// Set while observations wait for the end of the backlog.
    defers: AtomicBool,
    /// Number of observations ignored since the start, of windows beyond the bound.
    windows_left_out: AtomicU64,
    /// The thresholds, in percent, of accounts that have their own.
    thresholds: RwLock<BTreeMap<AccountId, Vec<u8>>>,
    /// The targets of events; none before they are set.
    targets: RwLock<Arc<[NoticeTarget]>>,
}

impl DatabaseSlot {
    /// Empty until [`DatabaseSlot::reopen`].
    pub fn new(file: DatabaseFile) -> Self {
        Self {
            file,
            database: RwLock::new(None),
            lost: Mutex::new(None),
            new_database: Mutex::new(None),
            replaced: AtomicU64::new(0),
            defers: AtomicBool::new(true),
            windows_left_out: AtomicU64::new(0),
            thresholds: RwLock::default(),
            targets: RwLock::new(Arc::default()),
        }
    }

    /// Closes the database if it is open and opens it again; with `examine` every page of it is checked. If
    /// its path does not lead to it any more, it is searched for there again, or created.
    ///
    /// # Errors
    /// Another process uses it, it is damaged or of another schema, or the disk prevents its use. It is
    /// closed then.
    pub fn reopen(&self, examine: bool) -> Result<(), StoreError> {
        let mut slot = unpoisoned(self.database.write());
        let mut lost = lock(&self.lost);
        if lost.is_none() {
            *lost = self.file.displaced(slot.as_ref());
        }
        close_as_is(slot.take());
        let Some(away) = &*lost else {
            *slot = Some(self.file.open(examine)?);
            return Ok(());
        };
        let (database, is_new) = self.file.find_again(away, examine)?;
        *slot = Some(database);
        *lost = None;
        if is_new {
            let note = new_database_note(self.file.path());
            tracing::error!("{note}");
            *lock(&self.new_database) = Some(note);
            self.replaced.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// Sets the damaged file aside and creates a new one, which stores the reason.
    ///
    /// # Errors
    /// The file cannot be moved, or a new one cannot be created.
    pub fn replace(&self, why: &str) -> Result<(), StoreError> {
        let mut slot = unpoisoned(self.database.write());
        close_as_is(slot.take());
        // The file now at the path may belong to another process.
        self.file.in_place()?;
        let aside = self.file.set_aside()?;
        tracing::error!(
            database = %self.file.path().display(), aside = %aside.display(),
            "{why}; it was set aside and is rebuilt from the logs that still exist"
        );
        let database = self.file.open(false)?;
        let note = format!(
            "{why}; kept as {}; rebuilt from the logs that still exist: what was counted from logs that are gone, and posted records, are missing; move that file away when you have seen this",
            aside.display()
        );
        note_rebuilt(&database, &note, &aside).map_err(|error| self.file.error(error))?;
        *slot = Some(database);
        self.replaced.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Frees the space in the file that holds nothing. Waits for open snapshots.
    ///
    /// # Errors
    /// The disk fails; the database is consistent after each step.
    pub fn compact(&self) -> Result<(), StoreError> {
        let mut slot = unpoisoned(self.database.write());
        let Some(database) = slot.as_mut() else {
            return Err(StoreError::Closed {
                path: self.file.path().to_owned(),
            });
        };
        database.compact().map_err(|error| self.file.error(error))?;
        Ok(())
    }

    /// Closes the database cleanly.
    pub fn close(&self) {
        let database = unpoisoned(self.database.write()).take();
        if let Some(database) = database {
            catch_panic(|| self.file.close(database));
        }
    }

    /// Closes the database permanently, without writing. Waits for an open transaction.
    pub fn end(&self) {
        self.file.end();
        close_as_is(unpoisoned(self.database.write()).take());
    }

    /// The database; it stays open while the returned guard exists.
    ///
    /// # Errors
    /// [`StoreError::Closed`].
    pub fn database(&self) -> Result<OpenDatabase<'_>, StoreError> {
        let guard = unpoisoned(self.database.read());
        if guard.is_none() {
            return Err(StoreError::Closed {
                path: self.file.path().to_owned(),
            });
        }
        Ok(OpenDatabase(guard))
    }

    /// Adds the path to an error.
    pub fn error(&self, error: impl Into<DbError>) -> StoreError {
        self.file.error(error)
    }

    /// Why a new database was created since the start, if that left no old file to examine.
    pub fn new_database(&self) -> Option<String> {
        lock(&self.new_database).clone()
    }

    /// Number of times that a new database replaced another.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    /// True while observations wait for the end of the backlog.
    pub fn defers(&self) -> bool {
        self.defers.load(Ordering::Acquire)
    }

    /// Ends the deferral of observations: they are merged as they arrive.
    pub fn defer_no_more(&self) {
        self.defers.store(false, Ordering::Release);
    }

    /// Counts observations of windows beyond the bound; returns the number before.
    pub fn leave_out_windows(&self, count: u64) -> u64 {
        self.windows_left_out.fetch_add(count, Ordering::Relaxed)
    }

    /// Number of observations of windows beyond an account's bound that were ignored since the start.
    pub fn windows_left_out(&self) -> u64 {
        self.windows_left_out.load(Ordering::Relaxed)
    }

    /// Sets the targets of events.
    pub fn set_targets(&self, targets: Arc<[NoticeTarget]>) {
        *unpoisoned(self.targets.write()) = targets;
    }

    /// The targets of events.
    pub fn targets(&self) -> Arc<[NoticeTarget]> {
        let targets = unpoisoned(self.targets.read());
        Arc::clone(&targets)
    }

    /// Sets the thresholds of accounts.
    pub fn set_thresholds(&self, accounts: &[Account]) {
        let thresholds = accounts
            .iter()
            .map(|account| (account.id.clone(), account.thresholds.clone()));
        *unpoisoned(self.thresholds.write()) = thresholds.collect();
    }

    /// The thresholds of an account, in percent.
    pub fn thresholds(&self, account: &AccountId) -> Vec<u8> {
        let thresholds = unpoisoned(self.thresholds.read());
        thresholds
            .get(account)
            .cloned()
            .unwrap_or_else(|| THRESHOLDS_DEFAULT.to_vec())
    }
}

impl Drop for DatabaseSlot {
    fn drop(&mut self) {
        close_as_is(unpoisoned(self.database.get_mut()).take());
    }
}

/// Closes a database without writing.
fn close_as_is(database: Option<Database>) {
    catch_panic(|| drop(database));
}

/// redb writes once more as it closes, and may panic over a damaged file. It is closed regardless.
fn catch_panic(close: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(close)).is_err() {
        tracing::warn!("the database could not be closed; nothing that was committed is lost by that");
    }
}

/// The database, kept open while this value exists.
pub struct OpenDatabase<'a>(RwLockReadGuard<'a, Option<Database>>);

impl std::ops::Deref for OpenDatabase<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0
            .as_ref()
            .expect("checked when the guard was made, and nobody can empty it under the guard")
    }
}
