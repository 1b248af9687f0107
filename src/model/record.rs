//! One copy of a response, as read from a line, and the batch of the copies of one read.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::account::AccountId;
use super::cursor::{Cursor, ParserState, RelativePath};
use super::dialect::Dialect;
use super::price::Service;
use super::run::RunId;
use super::time::Millis;
use super::usage::{Report, Usage};
use super::window::Observation;

/// The identity of one API response over all its copies: a 128-bit hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseKey(pub u128);

/// Source rank: the kind of line of a copy; a higher rank wins over a lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// A record posted by a client, which no transcript contains: any line of the same response is better.
    Posted,
    /// The legacy `progress` line that quotes a sub-agent's message, or a line of a captured stream: both are
    /// written when a response begins, so one never replaces a line of a transcript that has more output.
    Progress,
    /// A line of a side chain, or the final figures of a captured stream, which main lines contain too.
    Sidechain,
    /// A line of the main thread.
    Main,
}

/// Kind of a counted response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A response with a line of its own.
    Message = 0,
    /// A call inside a response that is not included in its figures: by another model (`advisor_message`),
    /// for a compaction, or an attempt that was declined and repeated by another model.
    Advisor = 1,
    /// A line whose response is counted under another key: it is never counted, whatever copies follow. The
    /// line of a transcript marks the line of a captured stream this way, which has a less specific key.
    Duplicate = 2,
}

/// Source of a response's time; a better one compares less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Dating {
    /// The line's `timestamp`.
    Line = 0,
    /// The line's `_audit_timestamp`.
    Audit = 1,
    /// The last time seen before in the same file.
    Nearby = 2,
    /// The file's modification time.
    Written = 3,
    /// No source: it has the time of reading, and is not used for the calls of an account.
    Unknown = 4,
    /// The time in a posted record: any line of the same response is better, as its run and session are too.
    Posted = 5,
    /// The time at which a posted record without a usable time was received.
    Received = 6,
}

impl Dating {
    /// True if the time is that of the line or of the posted record itself.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Line | Self::Audit | Self::Posted)
    }
}

/// One copy of one response, from one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: ResponseKey,
    pub kind: Kind,
    pub rank: Rank,
    /// The model's name, with `-fast` appended for the fast speed; `unknown` if there is none. Copies of one
    /// chunk share it.
    pub model: Arc<str>,
    pub usage: Usage,
    /// Tier, speed and geography.
    pub service: Service,
    /// The provider named by the line, as written; `None` for the dialect's own.
    pub provider: Option<Arc<str>>,
    /// The line's own time, else the last time before it in its file; `None` if there is neither.
    pub time: Option<Millis>,
    /// Source of `time`.
    pub dating: Dating,
    /// A hash of the line's session, if it has one.
    pub session: Option<NonZeroU64>,
    /// True if the response was complete when the line was written, as far as the line shows.
    pub is_final: bool,
    /// Number of lines merged into it: copies that differ only in their time are
    /// [one](crate::dedup::coalesce).
    pub copies: u32,
}

/// Number of lines read, by kind.
///
/// `read = usage + ignored + malformed + oversized`; `duplicate` and
/// `clock_suspect` are parts of `usage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    pub read: u64,
    /// Lines with usage that can count, copies included.
    pub usage: u64,
    /// Lines with usage of a response that was counted already.
    pub duplicate: u64,
    pub ignored: u64,
    pub malformed: u64,
    pub oversized: u64,
    /// Lines with usage but no usable time of their own.
    pub clock_suspect: u64,
}

impl LineCounts {
    /// Adds another count, field by field.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [
            (&mut self.read, other.read),
            (&mut self.usage, other.usage),
            (&mut self.duplicate, other.duplicate),
            (&mut self.ignored, other.ignored),
            (&mut self.malformed, other.malformed),
            (&mut self.oversized, other.oversized),
            (&mut self.clock_suspect, other.clock_suspect),
        ] {
            *mine = mine.saturating_add(theirs);
        }
    }
}

/// The result of reading one chunk of one file: the unit that the committer applies or refuses as a whole.
#[derive(Debug)]
pub struct Batch {
    pub run: RunId,
    pub path: RelativePath,
    /// The run's directory is that of a project, which paths below it do not name.
    pub is_project: bool,
    /// The previous path of this file, if it was renamed.
    pub renamed_from: Option<RelativePath>,
    /// The stored cursor that this batch continues, `None` for a new file. If the store has another, the
    /// batch is refused.
    pub expect: Option<Cursor>,
    /// The cursor after this batch.
    pub cursor: Cursor,
    /// The parser's state from the lines before that cursor.
    pub state: ParserState,
    pub records: Vec<Record>,
    /// The totals that the agent reports of its sessions.
    pub reports: Vec<Report>,
    /// The agent that wrote the file.
    pub dialect: Dialect,
    /// The account of its limits and responses.
    pub account: Arc<AccountId>,
    /// The accounts of responses that name a provider, by its name.
    pub provider_accounts: Vec<(Arc<str>, Arc<AccountId>)>,
    /// In the order of the lines.
    pub observations: Vec<Observation>,
    /// The committer adds `duplicate` and `clock_suspect`.
    pub lines: LineCounts,
    /// Bytes read in lines, skipped ones included.
    pub bytes: u64,
    /// The earliest time on any line of the batch.
    pub earliest: Option<Millis>,
    /// The latest time on any line of the batch.
    pub latest: Option<Millis>,
    /// Time at which the batch was read.
    pub read_at: Millis,
    /// Modification time of the file; `None` where it must not be used, as in a replay, whose document is the
    /// same on every machine.
    pub written_at: Option<Millis>,
}
