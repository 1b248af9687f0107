//! The words of the domain: plain data that every other file speaks in.
//!
//! Nothing here does IO, reads a clock or allocates beyond its own fields.

pub mod bucket;
pub mod format;

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::fmt;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// Longest run id in bytes.
pub const RUN_ID_BYTES_MAX: usize = 128;

/// A run's name: the first path component below the runs directory.
///
/// 1 to 128 bytes of `A-Z a-z 0-9 . _ -`, neither `.` nor `..`, so that it is
/// safe in paths, URLs and tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(Box<str>);

/// Why a name is no run id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunIdError {
    #[error("a run id is 1 to {RUN_ID_BYTES_MAX} bytes long, this one has {0}")]
    Length(usize),
    #[error("a run id has only A-Z a-z 0-9 . _ - in it, this one has {0:?}")]
    Character(char),
    #[error("`.` and `..` are no run ids")]
    Dots,
}

impl RunId {
    /// Checks a name.
    ///
    /// # Errors
    /// Says which rule the name breaks.
    pub fn new(name: &str) -> Result<Self, RunIdError> {
        if name.is_empty() || name.len() > RUN_ID_BYTES_MAX {
            return Err(RunIdError::Length(name.len()));
        }
        if let Some(bad) = name
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c)))
        {
            return Err(RunIdError::Character(bad));
        }
        if name == "." || name == ".." {
            return Err(RunIdError::Dots);
        }
        Ok(Self(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number the store gives a run; numbers grow in the order of first sight.
pub type RunNumber = u32;
/// The number the store gives a model name.
pub type ModelNumber = u32;
/// The number the store gives a session, from 1 on; 0 is none.
pub type SessionNumber = u32;
/// The number the store gives a log file.
pub type FileNumber = u32;
/// Milliseconds since 1970-01-01T00:00:00Z.
pub type Millis = i64;

/// Milliseconds in a minute.
pub const MINUTE_MS: Millis = 60_000;
/// Milliseconds in an hour.
pub const HOUR_MS: Millis = 3_600_000;
/// Milliseconds in a day.
pub const DAY_MS: Millis = 86_400_000;
/// 2025-01-01. A clock that shows less is wrong: this program is younger, and so are the agents it reads.
pub const CLOCK_MS_MIN: Millis = 1_735_689_600_000;

/// Whether a clock shows a time that is long past, as one does that was not set since its machine started.
#[must_use]
pub const fn is_clock_wrong(now: Millis) -> bool {
    now < CLOCK_MS_MIN
}

/// The latest time a line may have that is read when the clock shows `now`: a day more, for clocks differ. A clock that
/// is wrong says nothing against any line.
#[must_use]
pub const fn believed_until(now: Millis) -> Millis {
    if is_clock_wrong(now) {
        Millis::MAX
    } else {
        now.saturating_add(DAY_MS)
    }
}

/// A time that is not later than the clock shows, if that is not wrong itself.
#[must_use]
pub fn not_after(now: Millis, time: Millis) -> Millis {
    if is_clock_wrong(now) { time } else { time.min(now) }
}

/// The identity of one API response over all its copies: a 128-bit hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResponseKey(pub u128);

/// What one response used. Every field is at most `i64::MAX` when it comes from a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to the cache.
    pub input: u64,
    /// Generated tokens, thinking included.
    pub output: u64,
    pub cache_read: u64,
    /// All cache writes: the flat field or the sum of the two below, whichever is larger.
    pub cache_creation: u64,
    pub cache_creation_5m: u64,
    pub cache_creation_1h: u64,
    /// Web searches made by the server, in requests.
    pub web_search: u64,
    /// The part of `output` that was thinking, where the line says so.
    pub thinking: u64,
}

impl Usage {
    /// The four token fields together.
    #[must_use]
    pub fn total(&self) -> u128 {
        u128::from(self.input)
            + u128::from(self.output)
            + u128::from(self.cache_read)
            + u128::from(self.cache_creation)
    }

    /// Whether a line has no figures at all: nothing is known of what was used.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0 && self.web_search == 0 && self.thinking == 0
    }
}

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

/// The service tier of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    #[default]
    Unknown = 0,
    Standard = 1,
    Priority = 2,
    Batch = 3,
    Other = 4,
}

/// One copy of one response, as a line tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: ResponseKey,
    pub kind: Kind,
    pub rank: Rank,
    /// The model's name, `-fast` appended for the fast speed, `unknown` if none is given. Copies of one turn share it.
    pub model: Arc<str>,
    pub usage: Usage,
    pub tier: Tier,
    /// The line's own time, else the last time before it in its file; `None` if there is neither.
    pub time: Option<Millis>,
    /// Where `time` comes from.
    pub dating: Dating,
    /// A hash of the session the line is of, if it names one.
    pub session: Option<NonZeroU64>,
    /// Whether the response was over when the line was written, as far as it says.
    pub is_final: bool,
    /// How many lines it stands for: copies that differ in nothing but their time are [one](crate::dedup::join).
    pub copies: u32,
}

/// What an agent reports of a session so far: sums of its own, which are compared and never added, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reported {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_creation: u64,
}

impl Reported {
    /// The larger of each figure: reports of a session only grow.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_creation: self.cache_creation.max(other.cache_creation),
        }
    }
}

/// A line in which an agent reports what a session used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// As in [`Record::session`].
    pub session: NonZeroU64,
    pub reported: Reported,
}

/// The provider of an account nobody named: the coding agent whose transcripts are read first.
pub const PROVIDER_DEFAULT: &str = "claude";
/// The name of an account nobody named.
pub const ACCOUNT_DEFAULT: &str = "default";

/// A provider account: what limits and budgets belong to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId {
    pub provider: Box<str>,
    pub name: Box<str>,
}

impl Default for AccountId {
    fn default() -> Self {
        Self {
            provider: PROVIDER_DEFAULT.into(),
            name: ACCOUNT_DEFAULT.into(),
        }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.provider, self.name)
    }
}

/// What a limit line says about one window of the provider's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The window's name in one spelling: `five_hour`, `seven_day` and so on; an unknown name is kept as it is.
    pub bucket: Box<str>,
    /// The share used: 0.42 is 42 %, more than 1 occurs.
    pub utilization: Option<f64>,
    /// What is left of `limit`, in the provider's unit.
    pub remaining: Option<u64>,
    pub limit: Option<u64>,
    pub reset_at: Option<Millis>,
    /// The line's own time; `None` if it has none that can be read.
    pub observed_at: Option<Millis>,
    pub status: LimitStatus,
    pub source: LimitSource,
    /// A hash of the session that reported it, where the source names one: two sessions are two witnesses.
    pub session: Option<u64>,
    /// A hash of the refused request, where the source names one: its retries are one refusal.
    pub request: Option<u64>,
}

/// What the provider said to the request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitStatus {
    #[default]
    Unknown,
    Allowed,
    AllowedWarning,
    Rejected,
}

/// Which kind of line an observation came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LimitSource {
    /// `rateLimits` with remaining and limit on an assistant line.
    RateLimits,
    /// `quotaLimits` on a limit line.
    QuotaLimits,
    /// `error.rateLimits` of a `system` line of subtype `api_error`.
    ApiError,
    /// A map of response headers.
    Headers,
    /// A teed `rate_limit_event`.
    RateLimitEvent,
    /// A sentence of the CLI on a limit line.
    Prose,
    /// What a status line was given; told by someone, and in no log.
    Statusline,
    /// The body of the provider's usage API.
    UsageApi,
    /// Codex `rate_limits`, of a rollout or of its app server.
    Codex,
    /// The file in which an agent keeps the last answer of the usage API.
    AgentCache,
}

impl LimitStatus {
    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Allowed => "allowed",
            Self::AllowedWarning => "allowed_warning",
            Self::Rejected => "rejected",
        }
    }
}

impl LimitSource {
    /// The word in documents.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimits => "rate_limits",
            Self::QuotaLimits => "quota_limits",
            Self::ApiError => "api_error",
            Self::Headers => "headers",
            Self::RateLimitEvent => "rate_limit_event",
            Self::Prose => "prose",
            Self::Statusline => "statusline",
            Self::UsageApi => "usage_api",
            Self::Codex => "codex",
            Self::AgentCache => "agent_cache",
        }
    }

    /// Whether it repeats an earlier answer that may be old by now. A snapshot can raise a share, but it neither lowers
    /// one nor ends a refusal.
    #[must_use]
    pub const fn is_snapshot(self) -> bool {
        matches!(self, Self::Statusline | Self::AgentCache)
    }
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

/// Which file this is, as the filesystem says. The device is no part of it: it changes over reboots and remounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inode {
    pub number: u64,
    /// Birth time in nanoseconds since 1970; 0 where the filesystem keeps none.
    pub born_ns: i64,
}

impl Inode {
    /// Whether both may be one file: a birth time that is not known says nothing.
    #[must_use]
    pub const fn may_be(self, other: Self) -> bool {
        self.number == other.number
            && (self.born_ns == other.born_ns || self.born_ns == 0 || other.born_ns == 0)
    }
}

/// Longest stretch before the offset that is hashed, in bytes.
pub const TAIL_BYTES_MAX: usize = 256;

/// How far a log file has been read, and of which content.
///
/// **Invariant**: `offset` is 0 or directly after a `\n` of this generation of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub inode: Inode,
    /// Raised by one each time the file is read again from its start, or takes the place of another: 0 says that
    /// everything ever read at this path is still there.
    pub generation: u32,
    pub offset: u64,
    /// How many bytes are hashed in `tail_hash`, at most [`TAIL_BYTES_MAX`]: those before `skip_to` if it is set, else
    /// before `settled_to` if that is, else before `offset`.
    pub tail_len: u16,
    pub tail_hash: u64,
    /// Set while a line longer than the bound is skipped: no `\n` lies in `offset..skip_to`.
    pub skip_to: Option<NonZeroU64>,
    /// End of the unterminated last line that was counted already: by a replay or a stop, which wait for nothing more.
    pub settled_to: u64,
    /// Names the file in the keys of responses that have no identity of their own; kept by rename and rewrite.
    pub origin: u64,
}

/// Most bytes that a parser keeps of one file between two readings.
pub const PARSER_STATE_BYTES_MAX: usize = 8192;

/// What a parser needs of the lines before a position, in a form that only the parser reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParserState(Box<[u8]>);

impl ParserState {
    /// Keeps the bytes; nothing if there are more than [`PARSER_STATE_BYTES_MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() > PARSER_STATE_BYTES_MAX {
            return Self::default();
        }
        Self(bytes.into())
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// How far a file was read, and what its parser keeps of the lines before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub cursor: Cursor,
    pub state: ParserState,
}

/// A path below the run's directory, as the bytes the filesystem gave.
///
/// Compared and hashed by its bytes, which takes a fraction of what going by components does: it has no `.`, no `//` and no
/// slash at its end, so that comes to the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(Arc<OsStr>);

impl Deref for RelativePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl AsRef<Path> for RelativePath {
    fn as_ref(&self) -> &Path {
        self
    }
}

impl Borrow<OsStr> for RelativePath {
    fn borrow(&self) -> &OsStr {
        &self.0
    }
}

impl From<&Path> for RelativePath {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().into())
    }
}

/// What one turn on one file found: the unit the committer takes or refuses as a whole.
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
    /// Whose limits and responses these are.
    pub account: Arc<AccountId>,
    /// In the order of the lines.
    pub observations: Vec<Observation>,
    /// `duplicate` and `clock_suspect` are filled in by the committer, which knows them.
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

/// A window whose state changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowUpdate {
    pub account: AccountId,
    pub bucket: Box<str>,
    /// Whether a new window began.
    pub rolled_over: bool,
}

/// A threshold of a window was reached: told once for each account, window and threshold.
#[derive(Clone, Debug, PartialEq)]
pub struct Fired {
    /// Grows by one with each; a listener that was away asks for those after the last it knows.
    pub number: u64,
    pub account: AccountId,
    pub bucket: Box<str>,
    /// The threshold, in percent.
    pub percent: u8,
    pub utilization: f64,
    pub reset_at: Option<Millis>,
    pub observed_at: Millis,
}

/// What an orchestrator says about a run, as names and values.
pub type Labels = std::collections::BTreeMap<Box<str>, Box<str>>;

/// Most labels of a run.
pub const LABELS_MAX: usize = 32;
/// Longest name of a label, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// Longest value of a label, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;

/// A label as queries and command lines have it, `project=alpha` or `project:alpha`: no name has either sign in it.
#[must_use]
pub fn split_label(text: &str) -> Option<(&str, &str)> {
    text.split_once(['=', ':']).filter(|(name, _)| !name.is_empty())
}

/// Whether this can be a label of a run.
///
/// # Errors
/// Says what is allowed.
pub fn check_label(name: &str, value: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX || !name.chars().all(is_allowed) {
        return Err(format!(
            "{name:?} is no name: 1 to {LABEL_NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - /"
        ));
    }
    if value.len() > LABEL_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
        return Err(format!(
            "the value of {name:?} is longer than {LABEL_VALUE_BYTES_MAX} bytes or has control characters"
        ));
    }
    Ok(())
}

/// Why a run is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// Someone asked for it.
    Asked,
    /// There was no news for long.
    Idle,
    /// Its directory is gone.
    Vanished,
}

impl StopReason {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Idle => "idle",
            Self::Vanished => "vanished",
        }
    }
}

/// What happened to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was started by someone, or its directory was found.
    Started,
    /// It was stopped and goes on: it was started again, or lines came.
    Resumed,
    Stopped(StopReason),
    /// Its name is free again; what was counted stays in the sums.
    Forgotten,
}
