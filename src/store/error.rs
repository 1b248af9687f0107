//! Errors of the database: damage, transient errors, and use by another process.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::schema::RowError;

/// Number of damaged databases kept beside the current one, after which opening is refused.
pub const QUARANTINED_FILES_MAX: u32 = 100;

/// Errors of the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the database {0} is in use by another tokentail; stop that one or give this one another --db")]
    InUse(PathBuf),
    #[error(
        "the database {path} was written by a newer tokentail (schema {found}, this one has {known}); use the newer program"
    )]
    Newer { path: PathBuf, found: u64, known: u64 },
    #[error(
        "the database {path} was written by a tokentail from before the first release (its schema {found}), and is \
         not read any more; set it aside (mv {path} {path}.schema{found}) and start again: a new one is rebuilt from the logs"
    )]
    Unreleased { path: PathBuf, found: u64 },
    #[error("the database {path} is damaged: {what}")]
    Damaged { path: PathBuf, what: String },
    #[error("the database {path} is not where it was: {what}")]
    Displaced { path: PathBuf, what: Displacement },
    #[error("no room for the database {path}: {source}; free some space, counting goes on by itself")]
    Full { path: PathBuf, source: std::io::Error },
    #[error("cannot use the database {path}: {source}{}", remedy(.path, .source))]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the database {path} is closed after an error and not open again yet")]
    Closed { path: PathBuf },
    #[error("the database {path} does not take this: {what}")]
    Other { path: PathBuf, what: String },
    #[error("cannot copy the database {path}: {source}; a copy needs as much room beside it as it is long")]
    Copy { path: PathBuf, source: std::io::Error },
    #[error("{QUARANTINED_FILES_MAX} damaged databases lie beside {0}; look into them and move them away")]
    TooManyDamaged(PathBuf),
}

/// State of the file at the path.
#[derive(Debug, thiserror::Error)]
pub enum Displacement {
    #[error("it was removed or moved away; put it back, else a new one is made and everything is read again")]
    Removed,
    #[error(
        "another file is in its place; put the right one back, or restart the collector to count in that one, \
         or move it away and a new one is made"
    )]
    Replaced,
    #[error("its filesystem is not mounted there any more, or another is mounted over it; mount it again")]
    Unmounted,
}

impl StoreError {
    /// True if the file itself is at fault and must be replaced by a new one.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// An error inside a transaction. It has no path yet: [`DbError::at`] adds it where the transaction ends.
#[derive(Debug)]
pub enum DbError {
    Redb(redb::Error),
    /// A row of this table cannot be read.
    Row {
        table: String,
        error: RowError,
    },
}

/// Converts the errors of single calls of redb into [`DbError`] for `?`.
macro_rules! from_redb {
    ($($error:ident),+) => { $(
        impl From<redb::$error> for DbError {
            fn from(error: redb::$error) -> Self {
                Self::Redb(error.into())
            }
        }
    )+ };
}

from_redb!(
    CommitError,
    CompactionError,
    CursorError,
    DatabaseError,
    StorageError,
    TableError,
    TransactionError
);

impl DbError {
    pub fn row(table: &str, error: RowError) -> Self {
        let table = table.to_owned();
        Self::Row { table, error }
    }

    /// The error of the database at this path.
    pub fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Redb(error) => translate(path, error),
            Self::Row { table, error } => damaged(path, &format!("table {table}: {error}")),
        }
    }
}

/// Classifies an error as damage, a transient error, or use by another process.
fn translate(path: &Path, error: redb::Error) -> StoreError {
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

/// Remedy for a file that another user owns, as after a restore; begins with a semicolon.
fn remedy(path: &Path, error: &std::io::Error) -> String {
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

/// The [`StoreError`] for an I/O error of the file.
pub fn trouble(path: &Path, source: std::io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full { path, source },
        // Error of a file that is truncated or no database.
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData => StoreError::Damaged {
            path,
            what: source.to_string(),
        },
        _ => StoreError::Io { path, source },
    }
}

pub fn damaged(path: &Path, what: &str) -> StoreError {
    StoreError::Damaged {
        path: path.to_owned(),
        what: what.to_owned(),
    }
}
