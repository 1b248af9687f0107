//! One copy of a response as a line shows it, and the batch in which the copies of one read reach the committer.

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

/// Which kind of line a copy came from; a higher rank wins over a lower.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rank {
    /// The legacy `progress` line that quotes a sub-agent's message, or a line of a captured stream: both are written
    /// when a response begins, so one never beats a line of a transcript that has more output.
    Progress = 0,
    /// A line of a side chain, or the final figures of a captured stream, which main lines have too.
    Sidechain = 1,
    /// A line of the main thread.
    Main = 2,
}

/// What a counted response is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A response of its own line.
    Message = 0,
    /// A call inside a response that its own figures leave out: by another model (`advisor_message`), for a
    /// compaction, or an attempt that was declined and made again by another model.
    Advisor = 1,
    /// A line whose response is counted under another key: nothing of it counts, whatever copies come. The line of a
    /// transcript says so of a captured stream's line, which names the response by less.
    Duplicate = 2,
}

/// Where a response's time comes from; a better one compares less.
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
    /// Nothing: it has the time of reading, and says nothing about how busy an account is.
    Unknown = 4,
}

impl Dating {
    /// Whether the time is the line's own.
    #[must_use]
    pub const fn is_own(self) -> bool {
        matches!(self, Self::Line | Self::Audit)
    }
}

/// One copy of one response, from one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: ResponseKey,
    pub kind: Kind,
    pub rank: Rank,
    /// The model's name, `-fast` appended for the fast speed, `unknown` if none is given. Copies of one chunk share it.
    pub model: Arc<str>,
    pub usage: Usage,
    /// Tier, speed and geography.
    pub service: Service,
    /// The provider that the line names, as written; `None` is the dialect's own.
    pub provider: Option<Arc<str>>,
    /// The line's own time, else the last time before it in its file; `None` if there is neither.
    pub time: Option<Millis>,
    /// Where `time` comes from.
    pub dating: Dating,
    /// A hash of the session the line is of, if it names one.
    pub session: Option<NonZeroU64>,
    /// Whether the response was over when the line was written, as far as it says.
    pub is_final: bool,
    /// How many lines it stands for: copies that differ in nothing but their time are [one](crate::dedup::coalesce).
    pub copies: u32,
}

/// How many lines of which kind were read.
///
/// `read = usage + ignored + malformed + oversized`; `duplicate` and
/// `clock_suspect` are parts of `usage`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineCounts {
    pub read: u64,
    /// Lines with usage that can count, copies included.
    pub usage: u64,
    /// Lines with usage of a response that was known already.
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

/// The result of reading one chunk of one file: the unit that the committer takes or refuses as a whole.
#[derive(Debug)]
pub struct Batch {
    pub run: RunId,
    pub path: RelativePath,
    /// The path this file was known by before, if it was renamed.
    pub renamed_from: Option<RelativePath>,
    /// The stored cursor this batch continues, `None` for a file never seen.
    /// If the store has another, the batch is refused.
    pub expect: Option<Cursor>,
    /// The cursor after this batch.
    pub cursor: Cursor,
    /// What the parser keeps of the lines before that cursor.
    pub state: ParserState,
    pub records: Vec<Record>,
    /// What the agent reports of its sessions.
    pub reports: Vec<Report>,
    /// The agent that wrote the file.
    pub dialect: Dialect,
    /// Whose limits and responses these are.
    pub account: Arc<AccountId>,
    /// Whose the responses are that name a provider, by its name.
    pub provider_accounts: Vec<(Arc<str>, Arc<AccountId>)>,
    /// In the order of the lines.
    pub observations: Vec<Observation>,
    /// The committer adds `duplicate` and `clock_suspect`.
    pub lines: LineCounts,
    /// Bytes read in lines (skipped ones too).
    pub bytes: u64,
    /// The earliest time on any line of the batch.
    pub earliest: Option<Millis>,
    /// The latest time on any line of the batch.
    pub latest: Option<Millis>,
    /// When the batch was read.
    pub read_at: Millis,
    /// When the file was written last; `None` where it must not count, as in a replay, whose document is the same on
    /// every machine.
    pub written_at: Option<Millis>,
}
