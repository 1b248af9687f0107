//! Thresholds of accounts, targets of events and shutdown, set while the committer holds the writer.

use std::sync::Arc;

use super::database::DatabaseSlot;
use crate::quota::account::Account;
use crate::quota::notice::target::NoticeTarget;

/// A handle of a database beside its writer. It does not write.
#[derive(Clone, Debug)]
pub struct StoreControl(Arc<DatabaseSlot>);

impl StoreControl {
    pub(super) fn new(slot: Arc<DatabaseSlot>) -> Self {
        Self(slot)
    }

    /// Sets the thresholds of accounts.
    pub fn set_thresholds(&self, accounts: &[Account]) {
        self.0.set_thresholds(accounts);
    }

    /// Sets the targets of events.
    pub fn set_targets(&self, targets: Arc<[NoticeTarget]>) {
        self.0.set_targets(targets);
    }

    /// Closes the database permanently, without writing, so that another process may open it while some part
    /// of this one still holds the reader or the writer. Waits for an open transaction.
    pub fn end(&self) {
        self.0.end();
    }
}
