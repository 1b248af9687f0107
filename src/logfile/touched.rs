//! The path that a thread touches, for another one that watches whether the filesystem answers.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::sync::lock;

/// The path that work touches at present, shared with a thread that watches whether the filesystem answers.
#[derive(Clone, Debug, Default)]
pub struct TouchedPath(Arc<Mutex<Option<(PathBuf, Instant)>>>);

impl TouchedPath {
    /// The next call into a filesystem is about this path.
    pub fn set(&self, path: &Path) {
        *lock(&self.0) = Some((path.to_owned(), Instant::now()));
    }

    /// The path, and for how long it has been touched; `None` before the first.
    #[must_use]
    pub fn waits(&self) -> Option<(PathBuf, Duration)> {
        let (path, since) = lock(&self.0).clone()?;
        Some((path, since.elapsed()))
    }
}
