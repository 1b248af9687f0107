//! The identity of the directory at a path: device, inode and birth time.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::WatchError;

/// A directory to be watched, and its identity.
pub(super) type FoundDirectory = (PathBuf, Result<DirectoryIdentity, WatchError>);

/// The identity of a directory. Inode numbers alone are reused at once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DirectoryIdentity {
    pub(super) device: u64,
    inode: u64,
    /// `None` where the filesystem keeps no birth times; then equal numbers prove nothing.
    born: Option<SystemTime>,
}

impl DirectoryIdentity {
    /// True if both are certainly the same directory.
    pub(super) fn is_surely(&self, other: &Self) -> bool {
        self.born.is_some() && self == other
    }

    /// True if both are certainly different directories.
    pub(super) fn is_surely_not(&self, other: &Self) -> bool {
        let numbers = |of: &Self| (of.device, of.inode);
        numbers(self) != numbers(other)
            || (self.born.is_some() && other.born.is_some() && self.born != other.born)
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
    Ok(DirectoryIdentity {
        device: found.dev(),
        inode: found.ino(),
        born: found.created().ok(),
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
