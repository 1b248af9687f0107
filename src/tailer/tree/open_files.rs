//! Files kept open between chunks, counted over all runs.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::logfile::LogFile;

/// Files that all runs together keep open; others are opened again when they have news.
const KEPT_FILES_MAX: usize = 64;

/// The number of files that are kept open.
static KEPT: AtomicUsize = AtomicUsize::new(0);

/// An open file, counted as long as it is kept.
#[derive(Debug)]
pub struct OpenFile(Option<LogFile>);

impl OpenFile {
    /// Keeps a file open, if there is room for one more.
    pub fn if_room(file: LogFile) -> Option<Self> {
        let one_more = |kept| (kept < KEPT_FILES_MAX).then_some(kept + 1);
        KEPT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
            .ok()?;
        Some(Self(Some(file)))
    }

    /// Keeps a file open whose name is gone: there is no other access to its rest.
    pub fn always(file: LogFile) -> Self {
        KEPT.fetch_add(1, Ordering::Relaxed);
        Self(Some(file))
    }

    /// Takes the file out; it is no longer counted.
    pub fn take(mut self) -> Option<LogFile> {
        self.0.take()
    }

    /// The metadata of the file.
    ///
    /// # Errors
    /// Those of `statx`.
    pub fn stat(&self) -> std::io::Result<crate::logfile::Stat> {
        match &self.0 {
            Some(file) => file.stat(),
            None => Err(std::io::ErrorKind::NotFound.into()),
        }
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        KEPT.fetch_sub(1, Ordering::Relaxed);
    }
}
