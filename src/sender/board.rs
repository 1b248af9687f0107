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
    /// The first error since the last success.
    pub troubled_since: Option<Millis>,
    /// It failed several times, or refused.
    pub is_failing: bool,
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
            let (_, why) = status.error.as_ref().filter(|_| status.is_failing)?;
            Some(format!(
                "notifications do not reach {name}: {why}; see `tokentail notify list`, and try `tokentail notify test {name}`"
            ))
        });
        failing.collect()
    }

    /// Notes that something reached a target; true if it was failing.
    pub fn reached(&self, target: &str, now: Millis) -> bool {
        let mut was_failing = false;
        self.change(target, |status| {
            was_failing = status.is_failing;
            status.last_sent_at = Some(now);
            status.error = None;
            status.troubled_since = None;
            status.is_failing = false;
        });
        was_failing
    }

    /// Makes the events that wait for a target due: it took a test.
    pub fn reaches(&self, target: &str) {
        lock(&self.reached).insert(target.into());
        self.wake.notify_one();
    }

    /// Waits for targets that took a test.
    pub(super) async fn taken(&self) -> BTreeSet<Box<str>> {
        self.wake.notified().await;
        std::mem::take(&mut *lock(&self.reached))
    }

    /// Forgets what failed of a target that is another one now.
    pub(super) fn renew(&self, target: &str) {
        self.change(target, |status| {
            *status = TargetStatus {
                last_sent_at: status.last_sent_at,
                ..TargetStatus::default()
            };
        });
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
