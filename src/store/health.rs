//! Opening, telling damage from trouble, and setting a damaged file aside.

use std::fs::{File, Permissions, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use redb::{
    Builder, Database, ReadableDatabase, ReadableTableMetadata, WriteTransaction,
    backends::{FileBackend, InMemoryBackend},
};
use rustix::io::Errno;

use super::looking::Looking;
use super::place::Place;
use super::schema::{
    ACCOUNT_LIMITS, ACCOUNTS, DAYS, FILES, FIRED, FORGOTTEN, HOURS, LIMIT_EVENTS, MARKS, META, META_CREATED,
    META_SCHEMA, META_SEQUENCE, MINUTES, MODEL_RUNS, MODELS, NOTE_ASIDE, NOTE_REBUILT, NOTES, OBSERVATIONS,
    PARKED, PARKED_FILES, PATHS, RESPONSES, RUN_ACCOUNTS, RUN_DAYS, RUN_INFO, RUNS, SCHEMA_VERSION, SERVED,
    SESSION_COPIES, SESSION_NUMBERS, SESSION_SUMS, SESSIONS, SUMS, TOTALS, WINDOWS,
};
use super::{QUARANTINE_SUFFIX, QUARANTINED_FILES_MAX, Store, StoreError};

/// The first bytes of a database of redb.
const MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";
/// A file of up to this size is checked page by page each time it is opened, in bytes: some 50 ms.
const CHECKED_BYTES_MAX: u64 = 64 << 20;
/// A file of up to this size is packed when it is closed, in bytes: some 0.4 s. A larger one has less to spare.
const PACKED_BYTES_MAX: u64 = 256 << 20;
/// What a file may have for each response, in bytes, and not be packed: packed it has 60 to 100, and packing rewrites
/// most of it.
const SPARE_RESPONSE_BYTES: u64 = 104;
/// What any file may have beside that, in bytes: redb begins with half of it.
const SPARE_BYTES: u64 = 2 << 20;

/// The mode of a new database, whatever the umask: who may read it knows whom and what people work on.
const FILE_MODE: u32 = 0o600;
/// The rights of those who are neither the owner nor in the group.
const OTHERS_BITS: u32 = 0o007;

/// Hands every table but `meta`, which tells the schema, to a macro.
macro_rules! every_table {
    ($each:ident) => {
        $each!(
            NOTES,
            RUNS,
            PATHS,
            FILES,
            MODELS,
            MODEL_RUNS,
            RESPONSES,
            TOTALS,
            HOURS,
            DAYS,
            RUN_DAYS,
            ACCOUNTS,
            RUN_ACCOUNTS,
            RUN_INFO,
            FORGOTTEN,
            SUMS,
            MINUTES,
            WINDOWS,
            OBSERVATIONS,
            LIMIT_EVENTS,
            FIRED,
            MARKS,
            PARKED,
            PARKED_FILES,
            ACCOUNT_LIMITS,
            SERVED,
            SESSION_NUMBERS,
            SESSIONS,
            SESSION_SUMS,
            SESSION_COPIES
        )
    };
}

/// Opens the file (or memory), makes the tables if they are not there, and checks the schema.
pub fn open(store: &Store, examine: bool) -> Result<Database, StoreError> {
    if store.has_ended.load(Ordering::Acquire) {
        return Err(StoreError::Closed {
            path: store.path().to_owned(),
        });
    }
    let mut builder = Builder::new();
    builder.set_cache_size(store.options.cache_bytes);
    #[cfg(test)]
    if let Some(disk) = &store.disk {
        builder.set_check_integrity_on_open(!disk.is_empty());
        return open_with(store, || builder.create_with_backend(disk.clone()));
    }
    let Some(path) = store.options.path.as_deref() else {
        let database = builder
            .create_with_backend(InMemoryBackend::new())
            .map_err(|e| store.error(e))?;
        prepare(store, &database)?;
        return Ok(database);
    };
    if store.only_looks {
        return look(store);
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(|source| trouble(parent, source))?;
    }
    // An empty file is what a crash of the machine or a full disk leaves of a database; a new one is not empty.
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
    let place = Place::of(&file, path).map_err(|source| trouble(path, source))?;
    *store.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    open_with(store, || builder.create_with_backend(FileBackend::new(file)?))
}

/// Opens the file to read it, also where it may not be written: nothing is made or changed.
pub fn look(store: &Store) -> Result<Database, StoreError> {
    let path = store.path();
    let file = File::open(path).map_err(|source| trouble(path, source))?;
    let bytes = file.metadata().map_err(|source| trouble(path, source))?.len();
    if bytes == 0 {
        return Err(damaged(path, "the file is empty"));
    }
    let looking = Looking::new(file)
        .map_err(|source| trouble(path, source))?
        .ok_or_else(|| StoreError::InUse(path.to_owned()))?;
    let mut builder = Builder::new();
    builder.set_cache_size(store.options.cache_bytes);
    builder.set_check_integrity_on_open(bytes <= CHECKED_BYTES_MAX);
    open_with(store, || builder.create_with_backend(looking))
}

/// Whether a file begins as every database of redb does; what is behind that is not looked at.
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

/// The library does without locks where there are none, and says nothing.
fn say_if_without_locks(path: &Path) {
    // The directory, since its lock is nobody else's.
    let directory = path.parent().filter(|above| !above.as_os_str().is_empty());
    let Ok(directory) = File::open(directory.unwrap_or(Path::new("."))) else {
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

/// Takes a file that an earlier program or a restore left open to everybody from those who are not its group.
fn close_to_others(file: &File) {
    let mode = file.metadata().map(|file| file.permissions().mode());
    if let Ok(mode) = mode
        && mode & OTHERS_BITS != 0
    {
        // Not ours to change if the file is another user's.
        let _ = file.set_permissions(Permissions::from_mode(mode & !OTHERS_BITS));
    }
}

/// Closes a database. What commits left unused between its pages, half of a small file, is given back first; what stops
/// that stops nothing else, because the file is sound after each step.
pub fn close(store: &Store, mut database: Database) {
    let bytes = store.options.path.as_ref().map(std::fs::metadata);
    let is_worth_it = match bytes {
        Some(Ok(file)) => file.len() <= PACKED_BYTES_MAX && file.len() > needed_bytes(&database),
        Some(Err(_)) => false,
        // In memory there is nothing to give back, but for a test of this.
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

/// What a file of so many responses may have without being packed.
fn needed_bytes(database: &Database) -> u64 {
    let responses = || {
        let read = database.begin_read().ok()?;
        read.open_table(RESPONSES).ok()?.len().ok()
    };
    SPARE_BYTES + responses().unwrap_or(0) * SPARE_RESPONSE_BYTES
}

/// redb answers most damage with an error, but not all: a panic while opening is damage too.
fn open_with(
    store: &Store,
    open: impl FnOnce() -> Result<Database, redb::DatabaseError>,
) -> Result<Database, StoreError> {
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let database = open().map_err(|error| store.error(error))?;
        prepare(store, &database)?;
        Ok(database)
    }));
    opened.unwrap_or_else(|_| Err(damaged(store.path(), "it cannot be opened without a panic")))
}

/// Makes the tables of a new database; checks the schema and that every table opens.
fn prepare(store: &Store, database: &Database) -> Result<(), StoreError> {
    let found = {
        let read = database.begin_read().map_err(|e| store.error(e))?;
        match read.open_table(META) {
            Ok(meta) => {
                let schema = meta
                    .get(META_SCHEMA)
                    .map_err(|e| store.error(e))?
                    .map(|value| value.value());
                Some(schema.ok_or_else(|| damaged(store.path(), "it does not say its schema"))?)
            }
            Err(redb::TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(store.error(error)),
        }
    };
    match found {
        Some(SCHEMA_VERSION) => check_tables(store, database),
        Some(found) if found > SCHEMA_VERSION => Err(StoreError::Newer {
            path: store.path().to_owned(),
            found,
            known: SCHEMA_VERSION,
        }),
        Some(0) => Err(damaged(store.path(), "schema 0 was never written")),
        Some(found) => Err(StoreError::Older {
            path: store.path().to_owned(),
            found,
            known: SCHEMA_VERSION,
        }),
        None => create_tables(store, database),
    }
}

fn check_tables(store: &Store, database: &Database) -> Result<(), StoreError> {
    let read = database.begin_read().map_err(|e| store.error(e))?;
    macro_rules! opens {
        ($($table:expr),*) => { $( drop(read.open_table($table).map_err(|e| store.error(e))?); )* };
    }
    every_table!(opens);
    Ok(())
}

fn create_tables(store: &Store, database: &Database) -> Result<(), StoreError> {
    let write = database.begin_write().map_err(|e| store.error(e))?;
    {
        let mut meta = write.open_table(META).map_err(|e| store.error(e))?;
        meta.insert(META_SCHEMA, SCHEMA_VERSION)
            .map_err(|e| store.error(e))?;
        let created = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0);
        // A number never means two things, also where a new database took the place of another.
        let first = if store.options.path.is_some() { created } else { 0 };
        meta.insert(META_SEQUENCE, first).map_err(|e| store.error(e))?;
        meta.insert(META_CREATED, created).map_err(|e| store.error(e))?;
        make_tables(store, &write)?;
    }
    write.commit().map_err(|e| store.error(e))
}

/// Makes every table that is not there.
fn make_tables(store: &Store, write: &WriteTransaction) -> Result<(), StoreError> {
    macro_rules! make {
        ($($table:expr),*) => { $( drop(write.open_table($table).map_err(|e| store.error(e))?); )* };
    }
    every_table!(make);
    Ok(())
}

/// Writes down why this database had to replace another.
pub fn note_rebuilt(store: &Store, database: &Database, note: &str, aside: &Path) -> Result<(), StoreError> {
    let write = database.begin_write().map_err(|e| store.error(e))?;
    {
        let mut notes = write.open_table(NOTES).map_err(|e| store.error(e))?;
        notes.insert(NOTE_REBUILT, note).map_err(|e| store.error(e))?;
        notes
            .insert(NOTE_ASIDE, aside.to_string_lossy().as_ref())
            .map_err(|e| store.error(e))?;
    }
    write.commit().map_err(|e| store.error(e))
}

/// Renames the file to `<name>.damaged[.n]`, beside itself. Never one that another process holds: that process may
/// just be making it, or have put it in the place of the damaged one already.
pub fn set_aside(store: &Store) -> Result<PathBuf, StoreError> {
    let path = store.path();
    let file = File::open(path).map_err(|source| trouble(path, source))?;
    close_to_others(&file);
    // Given back when `file` is closed, after the rename. Where there are no locks, redb has none either.
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

/// Tells damage from trouble that passes and from another process.
pub fn translate(path: &Path, error: redb::Error) -> StoreError {
    match error {
        redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => {
            StoreError::InUse(path.to_owned())
        }
        redb::Error::Io(source) => trouble(path, source),
        redb::Error::PreviousIo | redb::Error::DatabaseClosed => StoreError::Closed {
            path: path.to_owned(),
        },
        redb::Error::Corrupted(what) => damaged(path, &what),
        error @ (redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableIsNotMultimap(_)
        | redb::Error::TypeDefinitionChanged { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted) => damaged(path, &error.to_string()),
        other => StoreError::Other {
            path: path.to_owned(),
            what: other.to_string(),
        },
    }
}

/// What to do about a file that is another user's, as after a restore, after a semicolon.
pub fn remedy(path: &Path, error: &std::io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::PERM | Errno::NOSYS) => {
            return "; probably a filter of system calls (seccomp) refuses it: allow flock, fsync, fdatasync, ftruncate, \
                    fallocate, pread64 and pwrite64; or the file is immutable (chattr -i)"
                .to_owned();
        }
        Some(Errno::ACCESS) => {}
        _ => return String::new(),
    }
    let place = match path.parent() {
        Some(directory) if !path.exists() => directory,
        _ => path,
    };
    let user = rustix::process::geteuid().as_raw();
    format!(
        "; it has to be user id {user}'s: chown {user} {}",
        place.display()
    )
}

pub fn trouble(path: &Path, source: std::io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { path, source },
        // What a file that ends too early, or is no database, answers.
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData => StoreError::Damaged {
            path,
            what: source.to_string(),
        },
        _ => StoreError::Io { path, source },
    }
}

fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
