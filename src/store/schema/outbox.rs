//! The rows of notices: events that wait for their targets, and latches.

use super::codec::{Coded, RowError, RowReader, RowWriter, Stored, codes, layout, row};
use crate::model::{AccountId, Millis};
use crate::quota::notice::{Latch, Notice, NoticeKind, NumberedNotice};

/// The place of a row among those of its target: the commit, and the place in it.
pub type OutboxPlace = (u64, u32);

codes!(NoticeKind, "event" {
    WindowThreshold = 0,
    WindowExhausted = 1,
    WindowReset = 2,
    AccountExhausted = 3,
    AccountAvailable = 4,
    BudgetThreshold = 5,
    ForecastBeforeReset = 6,
    RunStopped = 7,
    HealthDegraded = 8,
    HealthOk = 9,
    PollExpired = 10,
    NotifyDropped = 11,
});

row! {
    /// An event that waits for a target.
    #[derive(Clone, Debug, PartialEq)]
    pub struct OutboxRow {
        id: Box<str>,
        kind: NoticeKind,
        at: Millis,
        provider: Option<Box<str>>,
        account: Option<Box<str>>,
        bucket: Option<Box<str>>,
        run: Option<Box<str>>,
        threshold: Option<u8>,
        utilization: Option<f64>,
        reset_at: Option<Millis>,
        source: Option<Box<str>>,
        observed_at: Option<Millis>,
        reason: Option<Box<str>>,
        count: Option<u64>,
        sentence: Box<str>,
    }
}

impl OutboxRow {
    #[must_use]
    pub fn new(numbered: &NumberedNotice) -> Self {
        let NumberedNotice { id, notice } = numbered.clone();
        let (provider, account) = match notice.account {
            Some(AccountId { provider, name }) => (Some(provider), Some(name)),
            None => (None, None),
        };
        Self {
            id,
            kind: notice.kind,
            at: notice.at,
            provider,
            account,
            bucket: notice.bucket,
            run: notice.run,
            threshold: notice.threshold,
            utilization: notice.utilization,
            reset_at: notice.reset_at,
            source: notice.source,
            observed_at: notice.observed_at,
            reason: notice.reason,
            count: notice.count,
            sentence: notice.sentence,
        }
    }

    #[must_use]
    pub fn notice(self) -> NumberedNotice {
        let account = self.provider.zip(self.account);
        NumberedNotice {
            id: self.id,
            notice: Notice {
                kind: self.kind,
                at: self.at,
                account: account.map(|(provider, name)| AccountId { provider, name }),
                bucket: self.bucket,
                run: self.run,
                threshold: self.threshold,
                utilization: self.utilization,
                reset_at: self.reset_at,
                source: self.source,
                observed_at: self.observed_at,
                reason: self.reason,
                count: self.count,
                sentence: self.sentence,
            },
        }
    }
}

row! {
    /// What was said of a state.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LatchRow {
        stage: u8,
        mark: Millis,
        seen: Millis,
        against: u8,
    }
}

impl LatchRow {
    #[must_use]
    pub const fn new(latch: Latch) -> Self {
        Self {
            stage: latch.stage,
            mark: latch.mark,
            seen: latch.seen,
            against: latch.against,
        }
    }

    #[must_use]
    pub const fn latch(self) -> Latch {
        Latch {
            stage: self.stage,
            mark: self.mark,
            seen: self.seen,
            against: self.against,
        }
    }
}
