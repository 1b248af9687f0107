//! What the polls do at present and what came of them: written by the actor, read by answers.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::model::{AccountId, Millis};
use crate::quota::poll::settings::PollVia;
use crate::quota::poll::{PollFailure, PollState};
use crate::sync::lock;

/// The poll of an account as shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollStatus {
    pub via: PollVia,
    pub state: PollState,
    pub last_ok: Option<Millis>,
    pub failure: Option<PollFailure>,
    /// The time of the next poll; `None` while another credential is awaited.
    pub next: Option<Millis>,
    /// The end of the back-off.
    pub retry_at: Option<Millis>,
}

/// The polls of all accounts that have one.
#[derive(Debug, Default)]
pub struct PollBoard {
    statuses: Mutex<BTreeMap<AccountId, PollStatus>>,
    /// By account and outcome, since the start.
    requests: Mutex<BTreeMap<(AccountId, &'static str), u64>>,
}

impl PollBoard {
    pub(super) fn show(&self, statuses: BTreeMap<AccountId, PollStatus>) {
        *lock(&self.statuses) = statuses;
    }

    pub(super) fn count(&self, account: &AccountId, outcome: &'static str) {
        *lock(&self.requests)
            .entry((account.clone(), outcome))
            .or_default() += 1;
    }

    /// The polls at present.
    #[must_use]
    pub fn statuses(&self) -> BTreeMap<AccountId, PollStatus> {
        lock(&self.statuses).clone()
    }

    /// The poll of an account.
    #[must_use]
    pub fn of(&self, account: &AccountId) -> Option<PollStatus> {
        lock(&self.statuses).get(account).cloned()
    }

    /// The number of polls by account and outcome, since the start.
    #[must_use]
    pub fn requests(&self) -> BTreeMap<(AccountId, &'static str), u64> {
        lock(&self.requests).clone()
    }
}
