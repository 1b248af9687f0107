//! Opening and closing the file, and setting a damaged one aside.

use std::fs::{File, Permissions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{
    Builder, Database, ReadableDatabase, ReadableTableMetadata,
    backends::{FileBackend, InMemoryBackend},
};

use super::error::{DbError, Displacement, QUARANTINED_FILES_MAX, StoreError, damaged, trouble};
use super::place::{FileLocation, Lost, directory_of, file_id, identity, is_absence};
use super::read_only::ReadOnlyFile;
use super::schema::prepare::prepare;
use super::schema::{NOTE_ASIDE, NOTE_REBUILT, NOTES, RESPONSES};

use crate::clock::Clock;
use crate::sync::lock;

/// Suffix of a damaged database that was set aside; a number follows if the name exists.
const QUARANTINE_SUFFIX: &str = "damaged";

/// The first bytes of a database of redb.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// A file of up to this size is checked page by page each time it is opened, in bytes: some 50 ms.
const CHECKED_BYTES_MAX: u64 = 64 << 20;
/// A file of up to this size is compacted when it is closed, in bytes: some 0.4 s. A larger one has less free
/// space.
const PACKED_BYTES_MAX: u64 = 256 << 20;
/// Bytes per response above which the file is compacted: compacted it has 60 to 100, and compaction rewrites
/// most of it.
const SPARE_RESPONSE_BYTES: u64 = 104;
/// Further bytes that any file may have without compaction: redb begins with half of it.
const SPARE_BYTES: u64 = 2 << 20;

/// The mode of a new database, whatever the umask: its contents show who works on what.
const FILE_MODE: u32 = 0o600;
/// The permissions of others: neither the owner nor the group.
const OTHERS_BITS: u32 = 0o007;

/// Location and settings of the database.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// The file; `None` keeps everything in memory.
    pub path: Option<PathBuf>,
    pub cache_bytes: usize,
    /// The clock for the creation time of a database.
    pub clock: Clock,
}

/// The file of the database, or memory: opens and closes it, and records the location of the file that was
/// opened last.
#[derive(Debug)]
pub struct DatabaseFile {
    options: StoreOptions,
    /// The location of the file that was opened last.
    place: Mutex<Option<FileLocation>>,
    /// The file is only read.
    only_looks: bool,
    /// Set when it must not be opened again.
    has_ended: AtomicBool,
    /// A storage backend used instead of the file.
    #[cfg(test)]
    pub(super) disk: Option<super::tests::disk::Disk>,
}

impl DatabaseFile {
    pub fn new(options: StoreOptions, only_looks: bool) -> Self {
        Self {
            options,
            place: Mutex::new(None),
            only_looks,
            has_ended: AtomicBool::new(false),
            #[cfg(test)]
            disk: None,
        }
    }

    /// The file's path, or a description of memory.
    pub fn path(&self) -> &Path {
        self.options.path.as_deref().unwrap_or(Path::new("(memory)"))
    }

    /// The size of the file in bytes; `None` in memory. It accesses the filesystem.
    pub fn bytes(&self) -> Option<u64> {
        let file = std::fs::metadata(self.options.path.as_ref()?).ok()?;
        Some(file.len())
    }

    /// Adds the path to an error.
    pub fn error(&self, error: impl Into<DbError>) -> StoreError {
        error.into().at(self.path())
    }

    /// Prevents that it is opened again.
    pub fn end(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Opens the file (or memory), creates missing tables, and checks the schema.
    pub fn open(&self, examine: bool) -> Result<Database, StoreError> {
        if self.has_ended.load(Ordering::Acquire) {
            return Err(StoreError::Closed {
                path: self.path().to_owned(),
            });
        }
        let mut builder = Builder::new();
        builder.set_cache_size(self.options.cache_bytes);
        #[cfg(test)]
        if let Some(disk) = &self.disk {
            builder.set_check_integrity_on_open(!disk.is_empty());
            return self.open_with(|| builder.create_with_backend(disk.clone()));
        }
        let Some(path) = self.options.path.as_deref() else {
            let database =
                (builder.create_with_backend(InMemoryBackend::new())).map_err(|error| self.error(error))?;
            prepare(&database, self.path(), true, self.options.clock)?;
            return Ok(database);
        };
        if self.only_looks {
            return self.open_read_only();
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| trouble(parent, source))?;
        }
        // A crash of the machine or a full disk can leave an empty file of a database; a new one is not
        // empty.
        let bytes = std::fs::metadata(path)
            .ok()
            .filter(std::fs::Metadata::is_file)
            .map(|file| file.len());
        if bytes == Some(0) {
            return Err(damaged(path, "the file is empty"));
        }
        builder.set_check_integrity_on_open(examine || bytes.is_some_and(|bytes| bytes <= CHECKED_BYTES_MAX));
        let file = (File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false))
        .mode(FILE_MODE)
        .open(path)
        .map_err(|source| trouble(path, source))?;
        close_to_others(&file);
        say_if_without_locks(path);
        let place = FileLocation::of(&file, path).map_err(|source| trouble(path, source))?;
        *lock(&self.place) = Some(place);
        self.open_with(|| builder.create_with_backend(FileBackend::new(file)?))
    }

    /// Opens the file for reading, also where it is not writable: nothing is created or changed.
    fn open_read_only(&self) -> Result<Database, StoreError> {
        let path = self.path();
        let file = File::open(path).map_err(|source| trouble(path, source))?;
        let bytes = file.metadata().map_err(|source| trouble(path, source))?.len();
        if bytes == 0 {
            return Err(damaged(path, "the file is empty"));
        }
        let backend = ReadOnlyFile::new(file)
            .map_err(|source| trouble(path, source))?
            .ok_or_else(|| StoreError::InUse(path.to_owned()))?;
        let mut builder = Builder::new();
        builder.set_cache_size(self.options.cache_bytes);
        builder.set_check_integrity_on_open(bytes <= CHECKED_BYTES_MAX);
        self.open_with(|| builder.create_with_backend(backend))
    }

    /// Closes a database. Unused space that commits left between its pages, half of a small file, is freed
    /// first; an error of that is ignored, because the file is consistent after each step.
    pub fn close(&self, mut database: Database) {
        let bytes = self.options.path.as_ref().map(std::fs::metadata);
        let is_worth_it = match bytes {
            Some(Ok(file)) => file.len() <= PACKED_BYTES_MAX && file.len() > needed_bytes(&database),
            Some(Err(_)) => false,
            // In memory there is no space to free, except in a test of this.
            None => cfg!(test),
        };
        if !is_worth_it {
            return;
        }
        let packed = catch_unwind(AssertUnwindSafe(|| database.compact()));
        match packed {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::info!("the database is not packed: {error}; nothing is lost"),
            Err(_) => tracing::warn!("the database could not be packed; nothing is lost"),
        }
    }

    /// redb reports most damage as an error, but not all: a panic while opening is damage too.
    fn open_with(
        &self,
        open: impl FnOnce() -> Result<Database, redb::DatabaseError>,
    ) -> Result<Database, StoreError> {
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = open().map_err(|error| self.error(error))?;
            let options = &self.options;
            prepare(&database, self.path(), options.path.is_none(), options.clock)?;
            Ok(database)
        }));
        opened.unwrap_or_else(|_| Err(damaged(self.path(), "it cannot be opened without a panic")))
    }

    /// Renames the file to `<name>.damaged[.n]`, beside itself. Never one that another process holds: that
    /// process may be creating it, or may have replaced the damaged one already.
    pub fn set_aside(&self) -> Result<PathBuf, StoreError> {
        let path = self.path();
        let file = File::open(path).map_err(|source| trouble(path, source))?;
        close_to_others(&file);
        // Released when `file` is closed, after the rename. Without support for locks, redb has none either.
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            return Err(StoreError::InUse(path.to_owned()));
        }
        for number in 0..QUARANTINED_FILES_MAX {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{QUARANTINE_SUFFIX}"));
            if number > 0 {
                name.push(format!(".{number}"));
            }
            let aside = PathBuf::from(name);
            if aside.symlink_metadata().is_ok() {
                continue;
            }
            std::fs::rename(path, &aside).map_err(|source| trouble(path, source))?;
            return Ok(aside);
        }
        Err(StoreError::TooManyDamaged(path.to_owned()))
    }

    /// Checks that commits can be found again: the path leads to the open file.
    ///
    /// # Errors
    /// [`StoreError::Displaced`] if it does not, [`StoreError::Io`] if it cannot be checked.
    pub fn in_place(&self) -> Result<(), StoreError> {
        let place = *lock(&self.place);
        match (&self.options.path, place) {
            (Some(path), Some(place)) => place.check(path),
            _ => Ok(()),
        }
    }

    /// The identity of the open database if its path does not lead to it. Taken while its file is open, so
    /// that no other file can have its inode number.
    pub fn displaced(&self, database: Option<&Database>) -> Option<Lost> {
        let place = *lock(&self.place);
        let error = self.in_place().err()?;
        matches!(error, StoreError::Displaced { .. }).then_some(Lost::new(place?, database))
    }

    /// Opens a database that was lost: the same one if it is at the path again, or a new one if there is no
    /// file. A new one must be filled again.
    ///
    /// # Errors
    /// [`StoreError::Displaced`] while neither is possible.
    pub fn find_again(&self, lost: &Lost, examine: bool) -> Result<(Database, bool), StoreError> {
        let Some(path) = &self.options.path else {
            return Ok((self.open(examine)?, false));
        };
        let displaced = |what| {
            Err(StoreError::Displaced {
                path: path.clone(),
                what,
            })
        };
        let is_covered = || lost.is_covered(path);
        match file_id(path) {
            Ok(found) => match self.open_read_only() {
                Ok(database) if lost.is(found, identity(&database)) => {
                    drop(database);
                    Ok((self.open(examine)?, false))
                }
                Err(error @ StoreError::InUse(_)) => Err(error),
                _ if is_covered() => displaced(Displacement::Unmounted),
                _ => displaced(Displacement::Replaced),
            },
            Err(error) if !is_absence(&error) => Err(trouble(path, error)),
            Err(_) if is_covered() => displaced(Displacement::Unmounted),
            Err(_) if !lost.is_long_gone() => displaced(Displacement::Removed),
            Err(_) => Ok((self.open(examine)?, true)),
        }
    }
}

/// True if a file begins as every database of redb does; the rest is not checked.
///
/// # Errors
/// The file cannot be read.
pub fn is_database(path: &Path) -> std::io::Result<bool> {
    let mut head = Vec::with_capacity(MAGIC.len());
    File::open(path)?
        .take(MAGIC.len() as u64)
        .read_to_end(&mut head)?;
    Ok(head == MAGIC)
}

/// The library continues without locks where they are not supported, and reports nothing.
fn say_if_without_locks(path: &Path) {
    // The directory, since no other program locks it.
    let Ok(directory) = File::open(directory_of(path)) else {
        return;
    };
    if let Err(TryLockError::Error(error)) = directory.try_lock_shared() {
        tracing::warn!(
            "flock is refused ({error}), so that a second collector on {} may not be noticed; allow it in the filter of \
             system calls (seccomp), or keep the database on a filesystem that has locks",
            path.display()
        );
    }
}

/// Removes the permissions of others from a file that an earlier program or a restore left open to everybody.
fn close_to_others(file: &File) {
    let mode = file.metadata().map(|file| file.permissions().mode());
    if let Ok(mode) = mode
        && mode & OTHERS_BITS != 0
    {
        // Not permitted if another user owns the file.
        let _ = file.set_permissions(Permissions::from_mode(mode & !OTHERS_BITS));
    }
}

/// Size of a file with this number of responses up to which it is not compacted.
fn needed_bytes(database: &Database) -> u64 {
    let responses = || {
        let read = database.begin_read().ok()?;
        read.open_table(RESPONSES).ok()?.len().ok()
    };
    SPARE_BYTES + responses().unwrap_or(0) * SPARE_RESPONSE_BYTES
}

/// Stores why this database replaced another.
pub fn note_rebuilt(database: &Database, note: &str, aside: &Path) -> Result<(), DbError> {
    let write = database.begin_write()?;
    {
        let mut notes = write.open_table(NOTES)?;
        notes.insert(NOTE_REBUILT, note)?;
        notes.insert(NOTE_ASIDE, aside.to_string_lossy().as_ref())?;
    }
    Ok(write.commit()?)
}
