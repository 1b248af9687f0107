//! The watched paths of one watcher, each by a hash: the watcher keeps every path three times already, and
//! there may be tens of thousands.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::sync::LazyLock;

use super::directory::DirectoryIdentity;

/// The key of the hash: another one in each process, so that nobody can make two paths with one hash.
static HASH_KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The hash of a path. Should two of a million paths have the same one, which has a probability of 1 to 37
/// million, then one of them may not be watched, and the scans find its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PathHash(u64);

impl PathHash {
    /// Paths that differ only in a slash at the end have the same hash, as they are equal.
    pub(super) fn of(path: &Path) -> Self {
        Self(HASH_KEY.hash_one(path))
    }
}

/// The watched paths, with the identities of their directories.
#[derive(Debug, Default)]
pub(super) struct WatchedPaths(HashMap<PathHash, DirectoryIdentity>);

impl WatchedPaths {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, path: PathHash) -> bool {
        self.0.contains_key(&path)
    }

    pub(super) fn get(&self, path: PathHash) -> Option<&DirectoryIdentity> {
        self.0.get(&path)
    }

    /// Adds paths one by one: for many at once a map makes room as if none of them were in it.
    pub(super) fn add(&mut self, paths: impl IntoIterator<Item = (PathHash, DirectoryIdentity)>) {
        for (path, identity) in paths {
            self.0.insert(path, identity);
        }
    }

    pub(super) fn remove(&mut self, path: PathHash) {
        self.0.remove(&path);
    }

    pub(super) fn clear(&mut self) {
        self.0 = HashMap::new();
    }
}
