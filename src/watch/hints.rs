//! Hints: paths with changes, in a bounded set from which the supervisor takes all at once.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Mutex;

use notify::Event;
use tokio::sync::Notify;

use crate::sync::lock;

/// Paths in the set; more are replaced by a rescan.
pub const HINTS_PENDING_MAX: usize = 65_536;

/// All hints since the last time they were taken.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Paths with changes, each once, in no order, spelled as the watched directory was.
    pub paths: Vec<PathBuf>,
    /// Events were lost, so anything may have changed.
    pub rescan: bool,
}

/// The set of hints, shared with the handlers of all watchers.
#[derive(Debug, Default)]
pub(super) struct SharedHints {
    pub(super) pending: Mutex<PendingHints>,
    wake: Notify,
}

#[derive(Debug, Default)]
pub(super) struct PendingHints {
    paths: HashSet<PathBuf>,
    rescan: bool,
    /// Times the queue of the kernel or this set was full.
    pub(super) overflows: u64,
    /// Errors that a watcher reported.
    pub(super) errors: u64,
}

impl SharedHints {
    /// Adds the paths of an event.
    pub(super) fn handle(&self, event: notify::Result<Event>) {
        match event {
            Err(_) => self.mark(|pending| {
                pending.errors += 1;
                pending.rescan = true;
            }),
            // An overflow; such an event has no paths.
            Ok(event) if event.need_rescan() => self.mark(|pending| {
                pending.overflows += 1;
                pending.rescan = true;
            }),
            Ok(event) if event.kind.is_access() => {}
            Ok(event) => self.mark(|pending| event.paths.into_iter().for_each(|path| pending.add(path))),
        }
    }

    /// Adds a rescan, because some changes may have had no event.
    pub(super) fn request_rescan(&self) {
        self.mark(|pending| pending.rescan = true);
    }

    fn mark(&self, change: impl FnOnce(&mut PendingHints)) {
        let mut pending = lock(&self.pending);
        change(&mut pending);
        if !pending.is_empty() {
            self.wake.notify_one();
        }
    }

    /// Waits until there are hints and takes all of them. Cancel safe: they are taken only when they are
    /// returned.
    pub(super) async fn next(&self) -> Hints {
        loop {
            if let Some(hints) = self.take() {
                return hints;
            }
            self.wake.notified().await;
        }
    }

    /// Takes all hints; `None` if there are none.
    pub(super) fn take(&self) -> Option<Hints> {
        let mut pending = lock(&self.pending);
        if pending.is_empty() {
            return None;
        }
        Some(Hints {
            paths: std::mem::take(&mut pending.paths).into_iter().collect(),
            rescan: std::mem::take(&mut pending.rescan),
        })
    }
}

impl PendingHints {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.rescan
    }

    fn add(&mut self, path: PathBuf) {
        if self.paths.len() < HINTS_PENDING_MAX {
            self.paths.insert(path);
        } else if !self.paths.contains(&path) && !self.rescan {
            self.rescan = true;
            self.overflows += 1;
        }
    }
}
