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

use super::error::trouble;
use super::schema::{META, META_CREATED, META_SEQUENCE};
use super::{Store, StoreError, open};

use crate::sync::lock;

/// How long the file may be away, as one that is renamed and put back, before a new database is made.
const ANEW_AFTER: Duration = Duration::from_secs(5);

/// A file, to be told from others at the same path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
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
struct DatabaseIdentity {
    created: u64,
    sequence: u64,
}

/// What became of the file at the path.
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
            directory: ground(path.parent().unwrap_or(Path::new("/")))?,
        })
    }

    /// Whether the path still leads to the file.
    fn look(&self, path: &Path) -> Result<(), StoreError> {
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
    /// Whether a database that was found is the one that was lost, or a copy of it as of its last commit. An older copy
    /// would number commits a second time.
    fn is(&self, found: FileId, identity: Option<DatabaseIdentity>) -> bool {
        let is_same_file = || found == self.place.file;
        identity.is_some()
            && self
                .identity
                .map_or_else(is_same_file, |known| identity == Some(known))
    }
}

fn file_id(path: &Path) -> io::Result<FileId> {
    let found = rustix::fs::stat(path)?;
    Ok(FileId {
        device: found.st_dev,
        inode: found.st_ino,
    })
}

fn ground(directory: &Path) -> io::Result<Ground> {
    let found = rustix::fs::stat(directory)?;
    let mount = rustix::fs::statx(CWD, directory, AtFlags::empty(), StatxFlags::MNT_ID);
    Ok(Ground {
        device: found.st_dev,
        mount: mount.map_or(0, |found| found.stx_mnt_id),
    })
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn identity(database: &Database) -> Option<DatabaseIdentity> {
    let read = database.begin_read().ok()?;
    let meta = read.open_table(META).ok()?;
    let number = |name| Some(meta.get(name).ok()??.value());
    Some(DatabaseIdentity {
        created: number(META_CREATED)?,
        sequence: number(META_SEQUENCE)?,
    })
}

impl Store {
    /// Whether what is committed can be found again: the path leads to the open file.
    ///
    /// # Errors
    /// [`StoreError::Displaced`] if it does not, [`StoreError::Io`] if it cannot be looked at.
    pub fn in_place(&self) -> Result<(), StoreError> {
        let place = *lock(&self.place);
        match (&self.options.path, place) {
            (Some(path), Some(place)) => place.look(path),
            _ => Ok(()),
        }
    }

    /// What there is to remember of the open database if its path does not lead to it. Asked while its file is open, so
    /// that its number is no other file's.
    pub(super) fn displaced(&self, database: Option<&Database>) -> Option<Lost> {
        let place = *lock(&self.place);
        let error = self.in_place().err()?;
        matches!(error, StoreError::Displaced { .. }).then_some(Lost {
            place: place?,
            since: Instant::now(),
            identity: database.and_then(identity),
        })
    }

    /// Opens a database that was lost: the same one if it is at the path again, or a new one if nothing is. The latter
    /// has to be filled again.
    ///
    /// # Errors
    /// [`StoreError::Displaced`] while neither can be.
    pub(super) fn find_again(&self, lost: &Lost, examine: bool) -> Result<(Database, bool), StoreError> {
        let Some(path) = &self.options.path else {
            return Ok((open::open(self, examine)?, false));
        };
        let displaced = |what| {
            Err(StoreError::Displaced {
                path: path.clone(),
                what,
            })
        };
        let is_covered = || lost.place.is_covered(path);
        match file_id(path) {
            Ok(found) => match open::look(self) {
                Ok(database) if lost.is(found, identity(&database)) => {
                    drop(database);
                    Ok((open::open(self, examine)?, false))
                }
                Err(error @ StoreError::InUse(_)) => Err(error),
                _ if is_covered() => displaced(Displacement::Unmounted),
                _ => displaced(Displacement::Replaced),
            },
            Err(error) if !is_absence(&error) => Err(trouble(path, error)),
            Err(_) if is_covered() => displaced(Displacement::Unmounted),
            Err(_) if lost.since.elapsed() < ANEW_AFTER => displaced(Displacement::Removed),
            Err(_) => Ok((open::open(self, examine)?, true)),
        }
    }
}

/// What health says of a database that was made because the one before was gone.
pub fn note_anew(path: &Path) -> String {
    format!(
        "the database {} was removed while it was in use, and a new one was made and everything read again; what was \
         counted from logs that are gone is missing; restart the collector when you have seen this",
        path.display()
    )
}
