//! The identity of the directory at a path: device, inode and birth time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::WatchError;
use crate::model::Inode;

/// A directory to be watched, and its identity.
pub(super) type FoundDirectory = (PathBuf, Result<DirectoryIdentity, WatchError>);

/// The identity of a directory. Inode numbers alone are reused at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DirectoryIdentity {
    pub(super) device: u64,
    /// Where the filesystem keeps no birth times equal numbers prove nothing.
    inode: Inode,
}

impl DirectoryIdentity {
    /// True if both are certainly the same directory.
    pub(super) fn is_surely(&self, other: &Self) -> bool {
        self.inode.born_ns != 0 && self == other
    }

    /// True if both are certainly different directories.
    pub(super) fn is_surely_not(&self, other: &Self) -> bool {
        self.device != other.device || !self.inode.may_be(other.inode)
    }
}

/// The identity of the directory at a path. Files and links are refused, although a watcher would accept
/// them: the tree is not trusted.
pub(super) fn identify(path: &Path) -> Result<DirectoryIdentity, WatchError> {
    let found = path
        .symlink_metadata()
        .map_err(|error| WatchError::of(path, error))?;
    if !found.is_dir() {
        return Err(WatchError::Gone {
            path: path.to_owned(),
        });
    }
    let born = found.created().ok();
    let born = born.and_then(|born| born.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok(DirectoryIdentity {
        device: found.dev(),
        inode: Inode {
            number: found.ino(),
            born_ns: born
                .and_then(|born| i64::try_from(born.as_nanos()).ok())
                .unwrap_or(0),
        },
    })
}

/// Identifies each directory.
pub(super) fn identify_all(paths: Vec<PathBuf>) -> Vec<FoundDirectory> {
    let with_identity = |path: PathBuf| {
        let identity = identify(&path);
        (path, identity)
    };
    paths.into_iter().map(with_identity).collect()
}
