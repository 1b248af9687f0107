//! What became of notifications: written by the actor, read by answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use strum::IntoStaticStr;
use tokio::sync::Notify;

use crate::model::Millis;
use crate::sync::lock;

/// The outcome of a try, or of an event, in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum SendOutcome {
    Sent,
    /// A try that is repeated.
    Retried,
    Dropped,
    Failed,
}

/// A target as shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetStatus {
    /// Failed tries in a row.
    pub tries: u32,
    /// The time of the next try, while one waits for it.
    pub next_at: Option<Millis>,
    pub last_sent_at: Option<Millis>,
    /// The last error and its time; the next success removes it.
    pub error: Option<(Millis, String)>,
    /// Since when nothing was sent, with an error.
    pub failing_since: Option<Millis>,
}

/// All targets.
#[derive(Debug, Default)]
pub struct NotifyBoard {
    statuses: Mutex<BTreeMap<Box<str>, TargetStatus>>,
    /// Targets that took a test: what waits for them is due.
    reached: Mutex<BTreeSet<Box<str>>>,
    wake: Notify,
    /// By target and outcome, since the start.
    counts: Mutex<BTreeMap<(Box<str>, SendOutcome), u64>>,
}

impl NotifyBoard {
    /// The target as of now.
    #[must_use]
    pub fn of(&self, target: &str) -> TargetStatus {
        lock(&self.statuses).get(target).cloned().unwrap_or_default()
    }

    /// The numbers of outcomes since the start.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<(Box<str>, SendOutcome), u64> {
        lock(&self.counts).clone()
    }

    /// Sentences on the targets that nothing reaches.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let statuses = lock(&self.statuses);
        let failing = statuses.iter().filter_map(|(name, status)| {
            status.failing_since?;
            let (_, why) = status.error.as_ref()?;
            Some(format!(
                "notifications do not reach {name}: {why}; see `tokentail notify list`, and try `tokentail notify test {name}`"
            ))
        });
        failing.collect()
    }

    /// Makes the events that wait for a target due: it took a test.
    pub fn reaches(&self, target: &str) {
        lock(&self.reached).insert(target.into());
        self.wake.notify_one();
    }

    /// Waits for targets that took a test.
    pub(super) async fn reached(&self) -> BTreeSet<Box<str>> {
        self.wake.notified().await;
        std::mem::take(&mut *lock(&self.reached))
    }

    pub(super) fn count(&self, target: &str, outcome: SendOutcome, count: u64) {
        *lock(&self.counts).entry((target.into(), outcome)).or_default() += count;
    }

    pub(super) fn retain(&self, is_kept: impl Fn(&str) -> bool) {
        lock(&self.statuses).retain(|name, _| is_kept(name));
    }

    pub(super) fn change(&self, target: &str, change: impl FnOnce(&mut TargetStatus)) {
        change(lock(&self.statuses).entry(target.into()).or_default());
    }
}
