//! Notices: events that a person or a program outside is told of, the targets that get them, and the latches by
//! which each cause is one event.
//!
//! Pure: changes in, notices out. The store writes a notice for each target that wants it in the transaction of its
//! cause; the sender delivers them.

pub mod causes;
pub mod reach;
pub mod target;
#[cfg(test)]
pub(crate) mod tests;

use strum::{IntoStaticStr, VariantArray};

use crate::model::letters::safe;
use crate::model::{AccountId, Millis};

/// Most bytes of a sentence: receivers refuse long messages, and reasons may hold paths of any length.
pub const SENTENCE_BYTES_MAX: usize = 1000;

/// The type of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, VariantArray)]
#[strum(const_into_str)]
pub enum NoticeKind {
    /// A window reached one of the account's thresholds.
    #[strum(serialize = "window.threshold")]
    WindowThreshold,
    /// A window is used up, or the provider refused by it.
    #[strum(serialize = "window.exhausted")]
    WindowExhausted,
    /// A new window began after one of which half was used, or more.
    #[strum(serialize = "window.reset")]
    WindowReset,
    #[strum(serialize = "account.exhausted")]
    AccountExhausted,
    /// The end of an `account.exhausted`.
    #[strum(serialize = "account.available")]
    AccountAvailable,
    /// The tokens of a day reached one of the account's thresholds.
    #[strum(serialize = "budget.threshold")]
    BudgetThreshold,
    /// A window will soon be used up before its reset.
    #[strum(serialize = "forecast.before_reset")]
    ForecastBeforeReset,
    /// Frequent, so only a target that names it gets it.
    #[strum(serialize = "run.stopped")]
    RunStopped,
    #[strum(serialize = "health.degraded")]
    HealthDegraded,
    /// The end of a `health.degraded`.
    #[strum(serialize = "health.ok")]
    HealthOk,
    /// The credential of a poll is over.
    #[strum(serialize = "poll.expired")]
    PollExpired,
    /// Events of the target that were dropped.
    #[strum(serialize = "notify.dropped")]
    NotifyDropped,
}

impl NoticeKind {
    /// The kind of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::VARIANTS
            .iter()
            .copied()
            .find(|kind| kind.into_str() == name)
    }

    /// The event that this one ends.
    #[must_use]
    pub const fn ends(self) -> Option<Self> {
        match self {
            Self::WindowReset => Some(Self::WindowExhausted),
            Self::AccountAvailable => Some(Self::AccountExhausted),
            Self::HealthOk => Some(Self::HealthDegraded),
            _ => None,
        }
    }
}

/// An event. What it does not have is `None`.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub kind: NoticeKind,
    /// The time of its cause.
    pub at: Millis,
    pub account: Option<AccountId>,
    /// The window.
    pub bucket: Option<Box<str>>,
    pub run: Option<Box<str>>,
    /// In percent.
    pub threshold: Option<u8>,
    pub utilization: Option<f64>,
    /// The end of the window or of the block.
    pub reset_at: Option<Millis>,
    pub source: Option<Box<str>>,
    pub observed_at: Option<Millis>,
    /// A stable code.
    pub reason: Option<Box<str>>,
    /// The number of dropped events.
    pub count: Option<u64>,
    pub sentence: Box<str>,
}

impl Notice {
    /// An event with a sentence for people: one line without marks that change the direction of writing, and bounded.
    #[must_use]
    pub fn new(kind: NoticeKind, at: Millis, sentence: &str) -> Self {
        let mut plain: String = sentence.chars().map(safe).collect();
        if plain.len() > SENTENCE_BYTES_MAX {
            plain.truncate(plain.floor_char_boundary(SENTENCE_BYTES_MAX - '…'.len_utf8()));
            plain.push('…');
        }
        Self {
            kind,
            at,
            account: None,
            bucket: None,
            run: None,
            threshold: None,
            utilization: None,
            reset_at: None,
            source: None,
            observed_at: None,
            reason: None,
            count: None,
            sentence: plain.into(),
        }
    }

    /// True if this event makes an earlier one that waits needless: the same, with newer figures.
    #[must_use]
    pub fn replaces(&self, earlier: &Self) -> bool {
        let key = |notice: &Self| {
            (
                notice.kind,
                notice.account.clone(),
                notice.bucket.clone(),
                notice.run.clone(),
            )
        };
        key(self) == key(earlier)
    }

    /// The account and the window as words: `claude/max-1: five_hour`.
    #[must_use]
    pub fn subject(&self) -> String {
        let account = self.account.as_ref().map(ToString::to_string);
        let parts = [account.as_deref(), self.bucket.as_deref(), self.run.as_deref()];
        parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
    }
}

/// A notice with its id, which is the same on each try.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberedNotice {
    pub id: Box<str>,
    pub notice: Notice,
}

/// The id of the event with this place among those of a commit.
#[must_use]
pub fn id_of(sequence: u64, place: u32) -> Box<str> {
    format!("evt_{sequence}_{place}").into()
}

/// The beginning of the ids of health.
const HEALTH_ID: &str = "evt_health_";

/// True for the id of an event that may be sent from memory, before it is committed.
#[must_use]
pub fn has_two_ways(id: &str) -> bool {
    id.starts_with(HEALTH_ID)
}

/// What became of a notice for a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum NoticePhase {
    /// It is in the outbox.
    Waiting,
    Sent,
    /// The receiver refused it.
    Failed,
    /// Too old, or one too many.
    Dropped,
}

/// A change of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeUpdate {
    pub target: Box<str>,
    pub phase: NoticePhase,
    /// `None` for several that were dropped together.
    pub id: Option<Box<str>>,
    pub kind: Option<NoticeKind>,
    pub account: Option<AccountId>,
    pub count: u64,
}

/// What a latch is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatchKey {
    /// The event that sets it.
    pub kind: NoticeKind,
    /// The account as `provider/name`, with a window after a further slash; empty for health; for `notify.dropped` the
    /// target.
    pub subject: Box<str>,
}

/// What was said already of a state that no row of its own holds, so that a restart does not say it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latch {
    /// The threshold of a budget, the level of health, a number for the cause of a block; 1 for others.
    pub stage: u8,
    /// The reset of a window, the start of a day, or the time since when it is so.
    pub mark: Millis,
    /// The last reading that contradicts it; of a block its end as it was said.
    pub seen: Millis,
    /// Readings in a row that contradict it.
    pub against: u8,
}

/// A change of a latch, and the event that it is.
#[derive(Clone, Debug, PartialEq)]
pub struct LatchChange {
    pub key: LatchKey,
    /// `None` removes it.
    pub to: Option<Latch>,
    pub notice: Option<Notice>,
    /// For an event that may have been sent before it could be committed.
    pub id: Option<Box<str>>,
}
