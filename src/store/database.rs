//! The open database: opened, closed, replaced, and opened again after an error.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, RwLock, RwLockReadGuard};

use redb::{Database, ReadTransaction, ReadableDatabase};

use super::error::{DbError, StoreError};
use super::open;
use super::place::{Lost, Place, note_anew};
use super::write::{NameCache, WINDOWS_PER_ACCOUNT_MAX};
use crate::clock::Clock;
use crate::model::AccountId;
use crate::quota::account::{Account, THRESHOLDS_DEFAULT};
use crate::sync::{lock, unpoisoned};

/// How and where the database is kept.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The file; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    pub cache_bytes: usize,
    /// The time at which a database is made.
    pub clock: Clock,
}

/// The open database.
#[derive(Debug)]
pub struct Store {
    pub(super) options: StoreOptions,
    /// `None` while it is closed after an error.
    database: RwLock<Option<Database>>,
    pub(super) names: Mutex<Option<NameCache>>,
    /// Where the file lies that was opened last.
    pub(super) place: Mutex<Option<Place>>,
    /// Set while the path does not lead to the database.
    lost: Mutex<Option<Lost>>,
    /// Why a new database was made since the start, if that left nothing behind to look into.
    pub(super) anew: Mutex<Option<String>>,
    /// The file is only read.
    pub(super) only_looks: bool,
    /// It is not opened again.
    pub(super) has_ended: AtomicBool,
    replaced: AtomicU64,
    /// Observations wait for the end of the backlog.
    pub(super) defers: AtomicBool,
    /// Observations left out since the start, of windows beyond the bound.
    windows_left_out: AtomicU64,
    /// The thresholds in percent of the accounts that have their own.
    thresholds: RwLock<BTreeMap<AccountId, Vec<u8>>>,
    /// Takes the place of the file.
    #[cfg(test)]
    pub(super) disk: Option<super::tests::disk::Disk>,
}

impl Store {
    /// Opens the database, makes it if there is none, and puts a new one in the place of a damaged one.
    ///
    /// # Errors
    /// When another process has it, it is of another schema, or the disk does not let it be used.
    pub fn open(options: StoreOptions) -> Result<Self, StoreError> {
        let store = Self::closed(options);
        match store.reopen() {
            Err(error) if error.is_damage() => store.replace(&error.to_string())?,
            other => other?,
        }
        Ok(store)
    }

    /// Opens a database that is there, to write into it: nothing is made, replaced or set aside.
    ///
    /// # Errors
    /// As [`Store::open`]; for a damaged or missing file too.
    pub fn open_existing(options: StoreOptions) -> Result<Self, StoreError> {
        if let Some(path) = &options.path {
            std::fs::metadata(path).map_err(|source| StoreError::Io {
                path: path.clone(),
                source,
            })?;
        }
        let store = Self::closed(options);
        store.reopen()?;
        Ok(store)
    }

    /// Opens an existing database for reading: its file is only read, so read permission is enough.
    ///
    /// # Errors
    /// As [`Store::open_existing`].
    pub fn look(options: StoreOptions) -> Result<Self, StoreError> {
        let mut store = Self::closed(options);
        store.only_looks = true;
        store.reopen()?;
        Ok(store)
    }

    pub(super) fn closed(options: StoreOptions) -> Self {
        Self {
            options,
            database: RwLock::new(None),
            names: Mutex::new(None),
            place: Mutex::new(None),
            lost: Mutex::new(None),
            anew: Mutex::new(None),
            only_looks: false,
            has_ended: AtomicBool::new(false),
            replaced: AtomicU64::new(0),
            windows_left_out: AtomicU64::new(0),
            defers: AtomicBool::new(true),
            thresholds: RwLock::default(),
            #[cfg(test)]
            disk: None,
        }
    }

    /// The file's path, or a word for memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.options.path.as_deref().unwrap_or(Path::new("(memory)"))
    }

    /// The size of the file in bytes; `None` in memory. It accesses the filesystem.
    #[must_use]
    pub fn file_bytes(&self) -> Option<u64> {
        let file = std::fs::metadata(self.options.path.as_ref()?).ok()?;
        Some(file.len())
    }

    /// Closes the database if it is open and opens it again. If its path does not lead to it any more, it is found again
    /// or made anew.
    ///
    /// # Errors
    /// As [`Store::open`], and for a damaged file too. The database is closed then.
    pub fn reopen(&self) -> Result<(), StoreError> {
        self.reopened(false)
    }

    /// Opens the database again and checks every page of it.
    ///
    /// # Errors
    /// As [`Store::reopen`]; [`StoreError::Damaged`] if a page is not what was written.
    pub fn examine(&self) -> Result<(), StoreError> {
        self.reopened(true)
    }

    fn reopened(&self, examine: bool) -> Result<(), StoreError> {
        let mut slot = unpoisoned(self.database.write());
        let mut lost = lock(&self.lost);
        if lost.is_none() {
            *lost = self.displaced(slot.as_ref());
        }
        let_go(slot.take());
        // The names may be of a commit that never came to be.
        *lock(&self.names) = None;
        let Some(away) = &*lost else {
            *slot = Some(open::open(self, examine)?);
            return Ok(());
        };
        let (database, is_new) = self.find_again(away, examine)?;
        *slot = Some(database);
        *lost = None;
        if is_new {
            let note = note_anew(self.path());
            tracing::error!("{note}");
            *lock(&self.anew) = Some(note);
            self.replaced.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    /// How often a new database took the place of a damaged one: with a new number, everything must be read again.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    /// Counts observations of windows beyond the bound, and says so the first time.
    pub(super) fn leave_out_windows(&self, count: u64) {
        if self.windows_left_out.fetch_add(count, Ordering::Relaxed) == 0 {
            tracing::warn!(
                "an account has more than {} windows of uncommon names; what logs say of further \
                 ones is left out (said once)",
                WINDOWS_PER_ACCOUNT_MAX
            );
        }
    }

    /// How many observations of windows beyond the bound of an account were left out since the start.
    pub fn windows_left_out(&self) -> u64 {
        self.windows_left_out.load(Ordering::Relaxed)
    }

    /// Sets the damaged file aside and starts a new one, which remembers why.
    ///
    /// # Errors
    /// When the file cannot be moved or a new one cannot be made.
    pub fn replace(&self, why: &str) -> Result<(), StoreError> {
        let mut slot = unpoisoned(self.database.write());
        let_go(slot.take());
        *lock(&self.names) = None;
        // What is at the path now may be another's.
        self.in_place()?;
        let aside = open::set_aside(self)?;
        tracing::error!(
            database = %self.path().display(), aside = %aside.display(),
            "{why}; it was set aside and is rebuilt from the logs that still exist"
        );
        let database = open::open(self, false)?;
        let note = format!(
            "{why}; kept as {}; rebuilt from the logs that still exist: what was counted from logs that are gone is missing; move that file away when you have seen this",
            aside.display()
        );
        open::note_rebuilt(&database, &note, &aside).map_err(|error| self.error(error))?;
        *slot = Some(database);
        self.replaced.fetch_add(1, Ordering::Release);
        Ok(())
    }

    /// Whether observations wait for [`Store::apply_deferred`].
    #[must_use]
    pub fn defers(&self) -> bool {
        self.defers.load(Ordering::Acquire)
    }

    /// Takes over the thresholds of accounts.
    pub fn set_thresholds(&self, accounts: &[Account]) {
        let thresholds = accounts
            .iter()
            .map(|account| (account.id.clone(), account.thresholds.clone()));
        *unpoisoned(self.thresholds.write()) = thresholds.collect();
    }

    pub(super) fn thresholds(&self, account: &AccountId) -> Vec<u8> {
        let thresholds = unpoisoned(self.thresholds.read());
        thresholds
            .get(account)
            .cloned()
            .unwrap_or_else(|| THRESHOLDS_DEFAULT.to_vec())
    }

    /// Closes the database cleanly.
    pub fn close(&self) {
        let database = unpoisoned(self.database.write()).take();
        if let Some(database) = database {
            unharmed(|| open::close(self, database));
        }
    }

    /// Closes the database as it is and for good, so that another process may open it though some part of this one still
    /// holds the store. Waits for a transaction that is under way.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
        let_go(unpoisoned(self.database.write()).take());
    }

    pub(super) fn database(&self) -> Result<OpenDatabase<'_>, StoreError> {
        let guard = unpoisoned(self.database.read());
        if guard.is_none() {
            return Err(StoreError::Closed {
                path: self.path().to_owned(),
            });
        }
        Ok(OpenDatabase(guard))
    }

    pub(super) fn read(&self) -> Result<(OpenDatabase<'_>, ReadTransaction), StoreError> {
        let open = self.database()?;
        let read = open.begin_read().map_err(|error| self.error(error))?;
        Ok((open, read))
    }

    /// Answers from one snapshot.
    pub(super) fn reading<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        let (_open, read) = self.read()?;
        body(&read).map_err(|error| self.error(error))
    }

    /// Adds the path to an error.
    pub(super) fn error(&self, error: impl Into<DbError>) -> StoreError {
        error.into().at(self.path())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let_go(unpoisoned(self.database.get_mut()).take());
    }
}

/// Closes a database as it is.
fn let_go(database: Option<Database>) {
    unharmed(|| drop(database));
}

/// redb writes once more as it closes, and may panic over a damaged file. It is given up all the same.
fn unharmed(close: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(close)).is_err() {
        tracing::warn!("the database could not be closed; nothing that was committed is lost by that");
    }
}

/// The database, kept open while this lives.
pub(super) struct OpenDatabase<'a>(RwLockReadGuard<'a, Option<Database>>);

impl std::ops::Deref for OpenDatabase<'_> {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.0
            .as_ref()
            .expect("checked when the guard was made, and nobody can empty it under the guard")
    }
}
