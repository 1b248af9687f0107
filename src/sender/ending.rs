//! The end of the collector as seen by programs that run for it: they are ended, and waited for.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Mutex;

use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::sync::lock;

/// A signal that threads can wait for together with pipes, and the number of programs that run.
#[derive(Debug)]
pub struct HookEnding {
    /// Readable once the other end is closed.
    signal: PipeReader,
    open: Mutex<Option<PipeWriter>>,
    running: TaskTracker,
}

impl HookEnding {
    /// # Errors
    /// The system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (signal, open) = io::pipe()?;
        Ok(Self {
            signal,
            open: Mutex::new(Some(open)),
            running: TaskTracker::new(),
        })
    }

    /// Ends all programs that run, and those that would start.
    pub fn begin(&self) {
        lock(&self.open).take();
        self.running.close();
    }

    /// True from [`Self::begin`] on.
    #[must_use]
    pub fn is_begun(&self) -> bool {
        lock(&self.open).is_none()
    }

    /// Waits until no program runs; needs [`Self::begin`].
    pub async fn ended(&self) {
        self.running.wait().await;
    }

    /// Counts a program until the token is dropped.
    pub(super) fn count(&self) -> TaskTrackerToken {
        self.running.token()
    }

    /// A descriptor that is readable once the end has begun.
    pub(super) fn signal(&self) -> BorrowedFd<'_> {
        self.signal.as_fd()
    }
}
