//! The slot in which an idle tailer leaves its tree, so that the poller can visit all idle runs with one
//! thread.
//!
//! **Invariant**: a tree has one owner: its tailer, the slot, or a visitor, which puts it back at the end of
//! its visit.

use std::sync::Mutex;

use tokio::sync::Notify;

use super::scan_schedule::ScanSchedule;
use super::tree::Tree;

use crate::sync::lock;

/// The tree of an idle tailer, and its scan schedule.
#[derive(Debug)]
pub struct IdleState {
    pub tree: Box<Tree>,
    pub schedule: ScanSchedule,
}

/// The slot of one tailer.
#[derive(Debug, Default)]
pub struct IdleSlot {
    state: Mutex<Option<IdleState>>,
    put_back: Notify,
}

impl IdleSlot {
    /// Puts a tree into the slot.
    pub fn leave(&self, state: IdleState) {
        *self.lock() = Some(state);
        self.put_back.notify_one();
    }

    /// Takes the tree as soon as no visitor has it. For the tailer.
    pub async fn take(&self) -> IdleState {
        loop {
            if let Some(state) = self.lock().take() {
                return state;
            }
            self.put_back.notified().await;
        }
    }

    /// Takes the tree for a visit; `None` if its tailer works, or another visitor has it.
    #[must_use]
    pub fn visit(&self) -> Option<IdleGuard<'_>> {
        let state = self.lock().take()?;
        Some(IdleGuard {
            slot: self,
            state: Some(state),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<IdleState>> {
        lock(&self.state)
    }
}

/// A tree on a visit, put back into its slot on drop.
#[derive(Debug)]
pub struct IdleGuard<'b> {
    slot: &'b IdleSlot,
    state: Option<IdleState>,
}

impl IdleGuard<'_> {
    pub fn state(&mut self) -> Option<&mut IdleState> {
        self.state.as_mut()
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        if let Some(state) = self.state.take() {
            self.slot.leave(state);
        }
    }
}
