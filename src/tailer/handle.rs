//! The handle of a tailer: a mailbox in which messages are merged, and the slot for the tree of an idle
//! tailer.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, oneshot};

use super::dues::Due;
use super::idle::{IdleGuard, IdleSlot, IdleState};
use super::tree::Depth;

use crate::sync::lock;

/// Hints kept for one run; more are replaced by a scan of the run.
const HINTS_MAX: usize = 1024;

/// The messages in a mailbox, merged.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) paths: HashSet<PathBuf>,
    pub(super) scan: Option<Depth>,
    /// A scan of all runs, by its number; the run's schedule decides if it takes part.
    pub(super) tick: Option<(u32, Depth)>,
    pub(super) rescan: bool,
    /// The run is about to end.
    pub(super) ends: bool,
    pub(super) stops: Vec<StopWaiter>,
    /// The run was started again.
    pub(super) revive: bool,
}

impl Pending {
    /// True for a look that thousands of runs may need at once: the run is new, its directory itself may be gone,
    /// the run ends, or events were lost.
    pub(super) fn is_of_many(&self) -> bool {
        self.rescan || self.ends || self.paths.contains(Path::new(""))
    }
}

/// A request to stop the run, and the channel for its answer.
#[derive(Debug)]
pub(super) struct StopWaiter {
    /// The run is stopped even if some of its logs cannot be read.
    pub(super) incomplete: bool,
    /// The answer: the reason why the run is not stopped.
    pub(super) done: oneshot::Sender<Option<String>>,
}

/// The sending end of a tailer's mailbox. Clones belong to the same tailer.
#[derive(Clone, Debug, Default)]
pub struct TailerHandle {
    mailbox: Arc<Mailbox>,
}

#[derive(Debug, Default)]
struct Mailbox {
    /// `None` most of the time, as most of thousands of runs rest.
    pending: Mutex<Option<Box<Pending>>>,
    notify: Notify,
    idle: IdleSlot,
    due: Option<Due>,
}

impl TailerHandle {
    /// A handle for a run that the poller visits, with its entry in the table of what is due.
    #[must_use]
    pub fn new(due: Due) -> Self {
        Self {
            mailbox: Arc::new(Mailbox {
                due: Some(due),
                ..Mailbox::default()
            }),
        }
    }

    /// True if both are handles of the same tailer.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mailbox, &other.mailbox)
    }

    /// Adds a hint: a path below the run's directory that an event named.
    pub fn hint(&self, path: PathBuf) {
        self.send(|pending| {
            if pending.paths.len() < HINTS_MAX {
                pending.paths.insert(path);
            } else {
                pending.scan = Some(Depth::Everything);
            }
        });
    }

    /// Adds a scan of all runs, if the poller could not visit this one.
    pub(super) fn tick(&self, scan: u32, depth: Depth) {
        self.send(|pending| {
            let depth = pending.tick.map_or(depth, |(_, before)| before.max(depth));
            pending.tick = Some((scan, depth));
        });
    }

    /// Adds a scan of this run.
    pub(super) fn scan(&self, depth: Depth) {
        self.send(|pending| pending.scan = pending.scan.max(Some(depth)));
    }

    /// Wakes the tailer because the run has had no news for `runs.idle_stop`.
    pub(super) fn end_idle(&self) {
        self.send(|pending| {
            pending.scan = pending.scan.max(Some(Depth::Changed));
            pending.ends = true;
        });
    }

    /// Adds a scan that watches and lists everything again, because events were lost.
    pub fn rescan(&self) {
        self.send(|pending| pending.rescan = true);
    }

    /// Stops the run after a last sweep. When that is committed `done` gets `None`, or the reason why some
    /// logs could not be read; then the run is not stopped, unless `incomplete` is set.
    pub fn stop_run(&self, incomplete: bool, done: oneshot::Sender<Option<String>>) {
        self.send(|pending| pending.stops.push(StopWaiter { incomplete, done }));
    }

    /// Continues a stopped run.
    pub fn revive(&self) {
        self.send(|pending| pending.revive = true);
    }

    fn send(&self, change: impl FnOnce(&mut Pending)) {
        change(self.pending().get_or_insert_default());
        self.mailbox.notify.notify_one();
    }

    /// True if thousands of tailers may have such messages at once, see [`Pending::is_of_many`].
    pub(super) fn is_of_many(&self) -> bool {
        self.pending().as_deref().is_some_and(Pending::is_of_many)
    }

    /// Takes all messages. For the tailer.
    pub(super) fn take(&self) -> Pending {
        self.pending().take().map(|pending| *pending).unwrap_or_default()
    }

    /// Waits for a message. For the tailer.
    pub(super) async fn woken(&self) {
        self.mailbox.notify.notified().await;
    }

    /// Leaves the tree in the slot. For the tailer.
    pub(super) fn leave_idle(&self, state: IdleState) {
        self.mailbox.idle.leave(state);
    }

    /// Takes the tree back as soon as no visitor has it. For the tailer.
    pub(super) async fn take_idle(&self) -> IdleState {
        self.mailbox.idle.take().await
    }

    /// Takes the tree for a visit; `None` if the tailer works, or another visitor has it. For the poller.
    pub(super) fn visit(&self) -> Option<IdleGuard<'_>> {
        self.mailbox.idle.visit()
    }

    /// Has the poller visit the run at its next scan.
    pub(super) fn set_due(&self) {
        if let Some(due) = &self.mailbox.due {
            due.set_now();
        }
    }

    /// The run's group in the table of what is due.
    pub(super) fn group(&self) -> usize {
        self.mailbox.due.as_ref().map_or(0, Due::group)
    }

    fn pending(&self) -> MutexGuard<'_, Option<Box<Pending>>> {
        lock(&self.mailbox.pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_scans_are_not_among_the_looks_of_many() {
        let is_of_many = |send: &dyn Fn(&TailerHandle)| {
            let handle = TailerHandle::default();
            send(&handle);
            handle.take().is_of_many()
        };
        let hint = |path: &'static str| move |handle: &TailerHandle| handle.hint(path.into());
        assert!(!is_of_many(&hint("mount/a.jsonl")));
        assert!(!is_of_many(&|handle| {
            handle.hint("mount/a.jsonl".into());
            handle.tick(7, Depth::Changed);
            handle.scan(Depth::Everything);
        }));
        assert!(is_of_many(&hint("")), "its directory may be gone");
        assert!(is_of_many(&TailerHandle::rescan));
        assert!(is_of_many(&TailerHandle::end_idle));
    }
}
