//! Where a tailer without work leaves its tree, so that one thread can look after all that rest.
//!
//! **Invariant**: a tree is in one place: with its tailer, here, or with a visitor, who gives it back.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::scan_schedule::ScanSchedule;
use super::tree::Tree;

/// A tailer's tree, and how it is scanned.
#[derive(Debug)]
pub struct IdleState {
    pub tree: Box<Tree>,
    pub schedule: ScanSchedule,
}

/// Where one tailer leaves its tree.
#[derive(Clone, Debug, Default)]
pub struct IdleSlot {
    resting: Arc<Mutex<Option<IdleState>>>,
    given_back: Arc<Notify>,
}

impl IdleSlot {
    /// Leaves a tree.
    pub fn leave(&self, resting: IdleState) {
        *self.lock() = Some(resting);
        self.given_back.notify_one();
    }

    /// Takes the tree that was left, as soon as no visitor has it. For the tailer.
    pub async fn take(&self) -> IdleState {
        loop {
            if let Some(resting) = self.lock().take() {
                return resting;
            }
            self.given_back.notified().await;
        }
    }

    /// Takes the tree for a visit; `None` if its tailer is at work, or another visitor has it.
    #[must_use]
    pub fn visit(&self) -> Option<IdleGuard<'_>> {
        let resting = self.lock().take()?;
        Some(IdleGuard {
            idle: self,
            resting: Some(resting),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<IdleState>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tree on a visit, given back at its end.
#[derive(Debug)]
pub struct IdleGuard<'b> {
    idle: &'b IdleSlot,
    resting: Option<IdleState>,
}

impl IdleGuard<'_> {
    pub fn resting(&mut self) -> Option<&mut IdleState> {
        self.resting.as_mut()
    }
}

impl Drop for IdleGuard<'_> {
    fn drop(&mut self) {
        if let Some(resting) = self.resting.take() {
            self.idle.leave(resting);
        }
    }
}
