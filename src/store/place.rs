//! Place: whether the path of the database still leads to the file that is open.
//!
//! A file that was removed, replaced, unmounted or mounted over still takes commits, and nobody opens it again. So the
//! path is looked at before each commit. While nothing is at the path of a database that is lost, its file system and
//! directory decide whether a new one may be made there.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{Database, ReadableDatabase};
use rustix::fs::{AtFlags, CWD, StatxFlags};

use super::error::{Displacement, StoreError, trouble};
use super::schema::{META, META_CREATED, META_SEQUENCE};

/// How long the file may be away, as one that is renamed and put back, before a new database is made.
const ANEW_AFTER: Duration = Duration::from_secs(5);

/// A file, to be told from others at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

/// Where a directory lies.
#[derive(Clone, Copy, Debug)]
struct Ground {
    device: u64,
    /// Which mount it was reached through; 0 where the kernel does not say.
    mount: u64,
}

/// Where the open file lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    file: FileId,
    directory: Ground,
}

/// A database whose path does not lead to it any more.
#[derive(Debug)]
pub struct Lost {
    place: Place,
    since: Instant,
    /// When the database was made and its last commit; `None` if it could not be read any more.
    identity: Option<DatabaseIdentity>,
}

/// What tells a database from others, and from older copies of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DatabaseIdentity {
    created: u64,
    sequence: u64,
}

impl Place {
    /// Of a file that was just opened at this path.
    ///
    /// # Errors
    /// It cannot be looked at.
    pub fn of(file: &File, path: &Path) -> io::Result<Self> {
        let found = rustix::fs::fstat(file)?;
        Ok(Self {
            file: FileId {
                device: found.st_dev,
                inode: found.st_ino,
            },
            directory: ground(directory_of(path))?,
        })
    }

    /// Whether the path still leads to the file.
    pub fn look(&self, path: &Path) -> Result<(), StoreError> {
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

    /// Whether what is at the path lies in another mount than the directory of the file did.
    fn is_covered(&self, path: &Path) -> bool {
        let around = path.ancestors().skip(1).map(ground).find_map(Result::ok);
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
    pub fn new(place: Place, database: Option<&Database>) -> Self {
        Self {
            place,
            since: Instant::now(),
            identity: database.and_then(identity),
        }
    }

    /// Whether what is at the path lies in another mount than the directory of the file did.
    pub fn is_covered(&self, path: &Path) -> bool {
        self.place.is_covered(path)
    }

    /// Whether it is away for longer than a file that is renamed and put back.
    pub fn is_long_gone(&self) -> bool {
        self.since.elapsed() >= ANEW_AFTER
    }

    /// Whether a database that was found is the one that was lost, or a copy of it as of its last commit. An older copy
    /// would number commits a second time.
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

fn ground(directory: &Path) -> io::Result<Ground> {
    let found = rustix::fs::stat(directory)?;
    let mount = rustix::fs::statx(CWD, directory, AtFlags::empty(), StatxFlags::MNT_ID);
    Ok(Ground {
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

/// What health says of a database that was made because the one before was gone.
pub fn note_anew(path: &Path) -> String {
    format!(
        "the database {} was removed while it was in use, and a new one was made and everything read again; what was \
         counted from logs that are gone is missing; restart the collector when you have seen this",
        path.display()
    )
}
