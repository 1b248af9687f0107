//! Location of the database file: checks that the path still leads to the open file.
//!
//! A file that was removed, replaced, unmounted or mounted over still accepts commits, but is not opened
//! again. So the path is checked before each commit. While there is no file at the path of a database that is
//! lost, the filesystem and directory decide whether a new one may be created there.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase};
use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::error::{Displacement, StoreError, trouble};
use super::schema::{META, META_CREATED, META_SEQUENCE};

/// Time for which the file may be missing, as one that is renamed and put back, before a new database is
/// created.
const NEW_DATABASE_AFTER: Duration = Duration::from_secs(5);

/// Identity of a file, to distinguish it from others at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

/// Location of a directory.
#[derive(Clone, Copy, Debug)]
struct DirectoryLocation {
    device: u64,
    /// The mount of the path; 0 where the kernel does not report it.
    mount: u64,
}

/// Location of the open file.
#[derive(Clone, Copy, Debug)]
pub struct FileLocation {
    file: FileId,
    directory: DirectoryLocation,
}

/// A database to which its path does not lead any more.
#[derive(Debug)]
pub struct Lost {
    place: FileLocation,
    since: Instant,
    /// Creation time and last commit of the database; `None` if it could not be read any more.
    identity: Option<DatabaseIdentity>,
}

/// Identity of a database; older copies of it have another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseIdentity {
    created: u64,
    sequence: u64,
}

impl FileLocation {
    /// The location of a file that was just opened at this path.
    ///
    /// # Errors
    /// It cannot be examined.
    pub fn of(file: &File, path: &Path) -> io::Result<Self> {
        let found = rustix::fs::fstat(file)?;
        Ok(Self {
            file: FileId {
                device: found.st_dev,
                inode: found.st_ino,
            },
            directory: directory_location(directory_of(path))?,
        })
    }

    /// Checks that the path still leads to the file.
    pub fn check(&self, path: &Path) -> Result<(), StoreError> {
        let what = match file_id(path) {
            Ok(found) if found == self.file => return Ok(()),
            Err(error) if !is_absence(&error) => return Err(trouble(path, error)),
            _ if self.is_covered(path) => Displacement::Unmounted,
            Ok(_) => Displacement::Replaced,
            Err(_) => Displacement::Removed,
        };
        Err(StoreError::Displaced {
            path: path.to_owned(),
            what,
        })
    }

    /// True if the path now leads into another mount than that of the file's directory.
    fn is_covered(&self, path: &Path) -> bool {
        let around = path
            .ancestors()
            .skip(1)
            .map(directory_location)
            .find_map(Result::ok);
        around.is_none_or(|around| {
            if around.mount == 0 || self.directory.mount == 0 {
                around.device != self.directory.device
            } else {
                around.mount != self.directory.mount
            }
        })
    }
}

impl Lost {
    pub fn new(place: FileLocation, database: Option<&Database>) -> Self {
        Self {
            place,
            since: Instant::now(),
            identity: database.and_then(identity),
        }
    }

    /// True if the path now leads into another mount than that of the file's directory.
    pub fn is_covered(&self, path: &Path) -> bool {
        self.place.is_covered(path)
    }

    /// True if it is missing for longer than a file that is renamed and put back.
    pub fn is_long_gone(&self) -> bool {
        self.since.elapsed() >= NEW_DATABASE_AFTER
    }

    /// True if a database that was found is the one that was lost, or a copy of it as of its last commit. An
    /// older copy would give the numbers of commits a second time.
    pub fn is(&self, found: FileId, identity: Option<DatabaseIdentity>) -> bool {
        let is_same_file = || found == self.place.file;
        identity.is_some()
            && self
                .identity
                .map_or_else(is_same_file, |known| identity == Some(known))
    }
}

pub fn file_id(path: &Path) -> io::Result<FileId> {
    let found = rustix::fs::stat(path)?;
    Ok(FileId {
        device: found.st_dev,
        inode: found.st_ino,
    })
}

/// The directory that holds a path; of a bare name that is the current one.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if directory.as_os_str().is_empty() => Path::new("."),
        Some(directory) => directory,
        None => Path::new("/"),
    }
}

fn directory_location(directory: &Path) -> io::Result<DirectoryLocation> {
    let found = rustix::fs::stat(directory)?;
    let mount = rustix::fs::statx(CWD, directory, AtFlags::empty(), StatxFlags::MNT_ID);
    Ok(DirectoryLocation {
        device: found.st_dev,
        mount: mount.map_or(0, |found| found.stx_mnt_id),
    })
}

pub fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

pub fn identity(database: &Database) -> Option<DatabaseIdentity> {
    let read = database.begin_read().ok()?;
    let meta = read.open_table(META).ok()?;
    let number = |name| Some(meta.get(name).ok()??.value());
    Some(DatabaseIdentity {
        created: number(META_CREATED)?,
        sequence: number(META_SEQUENCE)?,
    })
}

/// The health reason for a database that was created because the previous one was gone.
pub fn new_database_note(path: &Path) -> String {
    format!(
        "the database {} was removed while it was in use, and a new one was made and everything read again; what was \
         counted from logs that are gone, and posted records, are missing; restart the collector when you have seen this",
        path.display()
    )
}
