//! What the whole collector decides while the committer holds the writer: the thresholds of accounts, and the
//! end.

use std::sync::Arc;

use super::database::DatabaseSlot;
use crate::quota::account::Account;

/// A handle of a database beside its writer. It writes nothing.
#[derive(Clone, Debug)]
pub struct StoreControl(Arc<DatabaseSlot>);

impl StoreControl {
    pub(super) fn new(slot: Arc<DatabaseSlot>) -> Self {
        Self(slot)
    }

    /// Takes over the thresholds of accounts.
    pub fn set_thresholds(&self, accounts: &[Account]) {
        self.0.set_thresholds(accounts);
    }

    /// Closes the database as it is and for good, so that another process may open it though some part of
    /// this one still holds the reader or the writer. Waits for a transaction that is under way.
    pub fn end(&self) {
        self.0.end();
    }
}
