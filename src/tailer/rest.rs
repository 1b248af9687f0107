//! Where a tailer without work leaves its tree, so that one thread can look after all that rest.
//!
//! **Invariant**: a tree is in one place: with its tailer, here, or with a visitor, who gives it back.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::rhythm::Rhythm;
use super::tree::Tree;

/// A tailer's tree, and how it is scanned.
#[derive(Debug)]
pub struct Resting {
    pub tree: Box<Tree>,
    pub rhythm: Rhythm,
}

/// Where one tailer leaves its tree.
#[derive(Clone, Debug, Default)]
pub struct Bed {
    resting: Arc<Mutex<Option<Resting>>>,
    given_back: Arc<Notify>,
}

impl Bed {
    /// Leaves a tree.
    pub fn leave(&self, resting: Resting) {
        *self.lock() = Some(resting);
        self.given_back.notify_one();
    }

    /// Takes the tree that was left, as soon as no visitor has it. For the tailer.
    pub async fn take(&self) -> Resting {
        loop {
            if let Some(resting) = self.lock().take() {
                return resting;
            }
            self.given_back.notified().await;
        }
    }

    /// Takes the tree for a visit; `None` if its tailer is at work, or another visitor has it.
    #[must_use]
    pub fn visit(&self) -> Option<Visit<'_>> {
        let resting = self.lock().take()?;
        Some(Visit {
            bed: self,
            resting: Some(resting),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Resting>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A tree on a visit, given back at its end.
#[derive(Debug)]
pub struct Visit<'b> {
    bed: &'b Bed,
    resting: Option<Resting>,
}

impl Visit<'_> {
    pub fn resting(&mut self) -> Option<&mut Resting> {
        self.resting.as_mut()
    }
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        if let Some(resting) = self.resting.take() {
            self.bed.leave(resting);
        }
    }
}
