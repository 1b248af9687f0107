//! The tables on disk and their rows, byte by byte: docs/architecture.md tells them to people.
//!
//! Keys are integers, tuples of them or names; a value is one byte of version, then the fields in order as
//! variable-length integers (the postcard wire format). A new version is a new number, never a changed meaning.

use std::num::NonZeroU64;

use redb::TableDefinition;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::dedup::Totals;
use crate::quota::exhaustion::Cause;
use crate::quota::overage::Overage;
use crate::quota::throttle::Throttles;
use crate::quota::window::Track;
use crate::record::{
    AccountId, Cursor, Dating, Inode, Kind, Labels, LimitSource, LimitStatus, LineCounts, Millis,
    ModelNumber, Observation, ParserState, Position, Rank, RunNumber, SessionNumber, StopReason, Tier, Usage,
};

/// The version of the whole schema, in `meta`. A database with another one is refused.
pub const SCHEMA_VERSION: u64 = 5;
/// The version byte of every row written now.
const ROW_VERSION: u8 = 1;

type Bytes = &'static [u8];

/// `schema`, `sequence`, `created_ms` and the like.
pub const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
/// Texts about the database itself: what a rebuild could not bring back.
pub const NOTES: TableDefinition<'static, &'static str, &'static str> = TableDefinition::new("notes");
/// Run id to [`RunRow`].
pub const RUNS: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("runs");
/// (run, path below the run's directory) to file.
pub const PATHS: TableDefinition<'static, (u32, &'static [u8]), u32> = TableDefinition::new("paths");
/// File to [`FileRow`].
pub const FILES: TableDefinition<'static, u32, Bytes> = TableDefinition::new("files");
/// Model number to its name.
pub const MODELS: TableDefinition<'static, u32, &'static str> = TableDefinition::new("models");
/// Model number to the run that brought the name: one run has room for a part of them only.
pub const MODEL_RUNS: TableDefinition<'static, u32, u32> = TableDefinition::new("model_runs");
/// Response key to [`ResponseRow`].
pub const RESPONSES: TableDefinition<'static, u128, Bytes> = TableDefinition::new("responses");
/// Run to [`RunTotalsRow`].
pub const TOTALS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("totals");
/// (hour since 1970, run, model) to [`Totals`].
pub const HOURS: TableDefinition<'static, (u32, u32, u32), Bytes> = TableDefinition::new("hours");
/// (UTC day since 1970, model) to [`Totals`].
pub const DAYS: TableDefinition<'static, (u32, u32), Bytes> = TableDefinition::new("days");

/// (run, UTC day since 1970, model) to [`Totals`].
pub const RUN_DAYS: TableDefinition<'static, (u32, u32, u32), Bytes> = TableDefinition::new("run_days");

/// Account number to [`AccountRow`].
pub const ACCOUNTS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("accounts");
/// Run to account: given when the run is registered, and kept, because it is part of the keys of its responses.
pub const RUN_ACCOUNTS: TableDefinition<'static, u32, u32> = TableDefinition::new("run_accounts");
/// Run to [`RunInfoRow`].
pub const RUN_INFO: TableDefinition<'static, u32, Bytes> = TableDefinition::new("run_info");
/// Run id to [`ForgottenRow`]: runs that were forgotten while their directories were still there.
pub const FORGOTTEN: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("forgotten");
/// A hash of a session's id and account to its number.
pub const SESSION_NUMBERS: TableDefinition<'static, u64, u32> = TableDefinition::new("session_numbers");
/// Session to [`SessionRow`].
pub const SESSIONS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("sessions");
/// Session to [`Totals`]: of every response with a line in it.
pub const SESSION_SUMS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("session_sums");
/// (response key, session): copies in other sessions than that of the response's row.
pub const SESSION_COPIES: TableDefinition<'static, (u128, u32), ()> = TableDefinition::new("session_copies");
/// (account, model) to [`Totals`]: everything ever counted, forgotten runs included.
pub const SUMS: TableDefinition<'static, (u32, u32), Bytes> = TableDefinition::new("sums");
/// (account, minute since 1970) to [`Totals`]: calls and budgets.
pub const MINUTES: TableDefinition<'static, (u32, u32), Bytes> = TableDefinition::new("minutes");
/// (account, window) to [`WindowRow`].
pub const WINDOWS: TableDefinition<'static, (u32, &'static str), Bytes> = TableDefinition::new("windows");
/// (account, window, minute since 1970) to [`HistoryRow`]: the last observation of that minute.
pub const OBSERVATIONS: TableDefinition<'static, (u32, &'static str, u32), Bytes> =
    TableDefinition::new("observations");
/// (when in milliseconds, account, window) to [`LimitEventRow`].
pub const LIMIT_EVENTS: TableDefinition<'static, (u64, u32, &'static str), Bytes> =
    TableDefinition::new("limit_events");
/// Running number to [`FiredRow`].
pub const FIRED: TableDefinition<'static, u64, Bytes> = TableDefinition::new("fired");
/// Account to [`MarkRow`]: what an operator said about it.
pub const MARKS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("marks");
/// Account to [`AccountLimitsRow`]: what the provider says without naming a window.
pub const ACCOUNT_LIMITS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("account_limits");
/// (account, model) to the time of the latest response, in milliseconds: the provider served then.
pub const SERVED: TableDefinition<'static, (u32, u32), i64> = TableDefinition::new("served");
/// (when it came as far as its file tells, in milliseconds; a hash of that file's run and path; running number) to
/// [`ParkedRow`].
pub const PARKED: TableDefinition<'static, (u64, u64, u64), Bytes> = TableDefinition::new("parked");
/// File to the latest time of an observation of it that is parked, in milliseconds.
pub const PARKED_FILES: TableDefinition<'static, u32, i64> = TableDefinition::new("parked_files");

/// Key of `meta`: the version of the schema.
pub const META_SCHEMA: &str = "schema";
/// Key of `meta`: the number of the last commit.
pub const META_SEQUENCE: &str = "sequence";
/// Key of `meta`: the number of the last parked observation.
pub const META_PARKED: &str = "parked";
/// Key of `meta`: the number of the last threshold that fired.
pub const META_FIRED: &str = "fired";
/// Key of `meta`: when this database was made, in milliseconds.
pub const META_CREATED: &str = "created_ms";
/// Key of `notes`: how this database came to replace a damaged one.
pub const NOTE_REBUILT: &str = "rebuilt";
/// Key of `notes`: the path of that damaged one. Once it is moved away, the note has been read.
pub const NOTE_ASIDE: &str = "rebuilt_aside";

/// Why a row cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("an empty row")]
    Empty,
    #[error("a row of version {0}, this program knows {ROW_VERSION}")]
    Version(u8),
    #[error("a row whose bytes make no sense: {0}")]
    Bytes(#[from] postcard::Error),
    #[error("a row with {0} bytes after its end")]
    Rest(usize),
    #[error("a row with {0} out of range")]
    Range(&'static str),
}

/// Writes a row.
///
/// # Errors
/// Never for the rows of this file; the serializer's type says it could.
pub fn encode<R: Serialize>(row: &R) -> Result<Vec<u8>, RowError> {
    encode_after(Vec::with_capacity(64), row)
}

/// Writes a row behind what stands there already, which is lost with an error.
///
/// # Errors
/// As [`encode`].
pub fn encode_after<R: Serialize>(mut bytes: Vec<u8>, row: &R) -> Result<Vec<u8>, RowError> {
    bytes.push(ROW_VERSION);
    Ok(postcard::to_extend(row, bytes)?)
}

/// Reads a row.
///
/// # Errors
/// When the bytes are of another version, or are no such row.
pub fn decode<R: DeserializeOwned>(bytes: &[u8]) -> Result<R, RowError> {
    match bytes.split_first() {
        None => Err(RowError::Empty),
        Some((&ROW_VERSION, fields)) => match postcard::take_from_bytes(fields)? {
            (row, []) => Ok(row),
            (_, rest) => Err(RowError::Rest(rest.len())),
        },
        Some((&version, _)) => Err(RowError::Version(version)),
    }
}

/// A run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    pub number: RunNumber,
    /// Whether the run was part of a backlog that is not worked off yet: its ties go by run order.
    pub backlog: bool,
    pub first_seen: Millis,
}

/// A log file: its run and its [`Position`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRow {
    pub run: RunNumber,
    inode: u64,
    born_ns: i64,
    generation: u32,
    offset: u64,
    tail_len: u16,
    tail_hash: u64,
    skip_to: u64,
    settled_to: u64,
    origin: u64,
    state: Box<[u8]>,
}

impl FileRow {
    #[must_use]
    pub fn new(run: RunNumber, cursor: &Cursor, state: &ParserState) -> Self {
        Self {
            run,
            inode: cursor.inode.number,
            born_ns: cursor.inode.born_ns,
            generation: cursor.generation,
            offset: cursor.offset,
            tail_len: cursor.tail_len,
            tail_hash: cursor.tail_hash,
            skip_to: cursor.skip_to.map_or(0, NonZeroU64::get),
            settled_to: cursor.settled_to,
            origin: cursor.origin,
            state: state.bytes().into(),
        }
    }

    #[must_use]
    pub fn position(&self) -> Position {
        Position {
            cursor: self.cursor(),
            state: ParserState::new(&self.state),
        }
    }

    #[must_use]
    pub fn cursor(&self) -> Cursor {
        Cursor {
            inode: Inode {
                number: self.inode,
                born_ns: self.born_ns,
            },
            generation: self.generation,
            offset: self.offset,
            tail_len: self.tail_len,
            tail_hash: self.tail_hash,
            skip_to: NonZeroU64::new(self.skip_to),
            settled_to: self.settled_to,
            origin: self.origin,
        }
    }
}

/// A counted response. `flags`: bit 0 advisor, bits 1-2 rank, bits 3-5 dating, bits 6-8 tier,
/// bit 9 unfinished, bit 10 copies in other sessions, bit 11 duplicate of what is counted under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseRow {
    flags: u16,
    pub model: ModelNumber,
    pub run: RunNumber,
    pub session: SessionNumber,
    pub time: Millis,
    usage: [u64; 8],
}

/// What a row says, apart from the model's name.
#[derive(Clone, Copy)]
pub struct ResponseParts {
    pub kind: Kind,
    pub rank: Rank,
    pub tier: Tier,
    pub dating: Dating,
    pub usage: Usage,
    pub is_final: bool,
    pub session: SessionNumber,
    pub is_shared: bool,
}

/// Bits of `flags` that mean something.
const FLAGS_BITS: u32 = 12;

impl ResponseRow {
    #[must_use]
    pub fn new(parts: &ResponseParts, model: ModelNumber, run: RunNumber, time: Millis) -> Self {
        let usage = &parts.usage;
        Self {
            flags: u16::from(parts.kind == Kind::Advisor)
                | ((parts.rank as u16) << 1)
                | ((parts.dating as u16) << 3)
                | ((parts.tier as u16) << 6)
                | (u16::from(!parts.is_final) << 9)
                | (u16::from(parts.is_shared) << 10)
                | (u16::from(parts.kind == Kind::Duplicate) << 11),
            model,
            run,
            session: parts.session,
            time,
            usage: [
                usage.input,
                usage.output,
                usage.cache_read,
                usage.cache_creation,
                usage.cache_creation_5m,
                usage.cache_creation_1h,
                usage.web_search,
                usage.thinking,
            ],
        }
    }

    /// Takes the row apart.
    ///
    /// # Errors
    /// When the flags hold values that no version wrote.
    pub fn parts(&self) -> Result<ResponseParts, RowError> {
        if self.flags >> FLAGS_BITS != 0 {
            return Err(RowError::Range("flags"));
        }
        let [
            input,
            output,
            cache_read,
            cache_creation,
            cache_creation_5m,
            cache_creation_1h,
            web_search,
            thinking,
        ] = self.usage;
        Ok(ResponseParts {
            kind: match (self.flags & 1, self.flags >> 11) {
                (0, 0) => Kind::Message,
                (1, 0) => Kind::Advisor,
                (0, 1) => Kind::Duplicate,
                _ => return Err(RowError::Range("flags")),
            },
            rank: match (self.flags >> 1) & 3 {
                0 => Rank::Progress,
                1 => Rank::Sidechain,
                2 => Rank::Main,
                _ => return Err(RowError::Range("rank")),
            },
            dating: match (self.flags >> 3) & 7 {
                0 => Dating::Line,
                1 => Dating::Audit,
                2 => Dating::Nearby,
                3 => Dating::Written,
                4 => Dating::Unknown,
                _ => return Err(RowError::Range("dating")),
            },
            tier: match (self.flags >> 6) & 7 {
                0 => Tier::Unknown,
                1 => Tier::Standard,
                2 => Tier::Priority,
                3 => Tier::Batch,
                4 => Tier::Other,
                _ => return Err(RowError::Range("tier")),
            },
            usage: Usage {
                input,
                output,
                cache_read,
                cache_creation,
                cache_creation_5m,
                cache_creation_1h,
                web_search,
                thinking,
            },
            is_final: (self.flags >> 9) & 1 == 0,
            session: self.session,
            is_shared: (self.flags >> 10) & 1 == 1,
        })
    }
}

/// Everything that is summed for one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunTotalsRow {
    pub totals: Totals,
    pub lines: LineCounts,
    /// Log files ever seen.
    pub files: u64,
    pub bytes: u64,
    /// The latest line time read.
    pub latest: Option<Millis>,
}

/// What is known of a run beside its sums.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfoRow {
    pub labels: Labels,
    /// Where its logs are, if someone said so: bytes of an absolute path.
    pub mount: Option<Box<[u8]>>,
    /// When someone started it; `None` for one that was only found.
    pub registered_at: Option<Millis>,
    /// The earliest line time read.
    pub earliest: Option<Millis>,
    /// When it was stopped and why; `None` while it goes on.
    pub stopped: Option<(Millis, StopReason)>,
}

/// A session of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRow {
    /// The run that named it first.
    pub run: RunNumber,
    /// Another session whose responses it has copies of; 0 for none.
    pub linked: SessionNumber,
    /// Input, output, cache reads and cache writes that the agent reported, in tokens.
    pub reported: Option<[u64; 4]>,
}

/// A run that was forgotten: its directory is not taken for a new one as long as it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForgottenRow {
    pub number: RunNumber,
    pub at: Millis,
}

/// A provider account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRow {
    provider: Box<str>,
    name: Box<str>,
}

impl AccountRow {
    #[must_use]
    pub fn new(id: &AccountId) -> Self {
        Self {
            provider: id.provider.clone(),
            name: id.name.clone(),
        }
    }

    #[must_use]
    pub fn id(self) -> AccountId {
        AccountId {
            provider: self.provider,
            name: self.name,
        }
    }
}

/// A window as it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowRow {
    pub track: Track,
    /// How many rows of `observations` are its.
    pub history_rows: u32,
}

/// What the provider says of an account without naming a window.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountLimitsRow {
    pub throttles: Throttles,
    pub overage: Option<Overage>,
}

/// One point of a window's history.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryRow {
    pub observed_at: Millis,
    pub utilization: Option<f64>,
    pub reset_at: Option<Millis>,
    pub status: LimitStatus,
    pub source: LimitSource,
}

/// A rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitEventRow {
    pub resets_at: Option<Millis>,
    pub source: LimitSource,
    pub session: Option<u64>,
    pub request: Option<u64>,
    /// When it was said last: its tries are one.
    pub last_at: Millis,
}

/// A threshold that fired.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FiredRow {
    pub account: u32,
    pub bucket: Box<str>,
    pub percent: u8,
    pub utilization: f64,
    pub reset_at: Option<Millis>,
    pub observed_at: Millis,
}

/// What an operator said about an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRow {
    pub cause: Cause,
}

/// An observation that waits for the end of a backlog.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParkedRow {
    pub account: u32,
    bucket: Box<str>,
    utilization: Option<f64>,
    remaining: Option<u64>,
    limit: Option<u64>,
    reset_at: Option<Millis>,
    observed_at: Option<Millis>,
    status: LimitStatus,
    source: LimitSource,
    session: Option<u64>,
    request: Option<u64>,
}

impl ParkedRow {
    #[must_use]
    pub fn new(account: u32, observation: &Observation) -> Self {
        let observation = observation.clone();
        Self {
            account,
            bucket: observation.bucket,
            utilization: observation.utilization,
            remaining: observation.remaining,
            limit: observation.limit,
            reset_at: observation.reset_at,
            observed_at: observation.observed_at,
            status: observation.status,
            source: observation.source,
            session: observation.session,
            request: observation.request,
        }
    }

    #[must_use]
    pub fn observation(self) -> Observation {
        Observation {
            bucket: self.bucket,
            utilization: self.utilization,
            remaining: self.remaining,
            limit: self.limit,
            reset_at: self.reset_at,
            observed_at: self.observed_at,
            status: self.status,
            source: self.source,
            session: self.session,
            request: self.request,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went() {
        let parts = ResponseParts {
            kind: Kind::Advisor,
            rank: Rank::Main,
            tier: Tier::Other,
            dating: Dating::Unknown,
            usage: Usage {
                input: 1,
                output: i64::MAX as u64,
                thinking: 9,
                ..Usage::default()
            },
            is_final: false,
            session: 70_000,
            is_shared: true,
        };
        let row = ResponseRow::new(&parts, 3, 70_000, 1_791_190_800_000);
        let bytes = encode(&row).unwrap();
        assert!(bytes.len() <= 35, "a response row of {} bytes", bytes.len());
        let back: ResponseRow = decode(&bytes).unwrap();
        assert_eq!(back, row);
        let got = back.parts().unwrap();
        assert_eq!(
            (got.kind, got.rank, got.tier, got.dating),
            (Kind::Advisor, Rank::Main, Tier::Other, Dating::Unknown)
        );
        assert_eq!(got.usage, parts.usage);
        for kind in [Kind::Message, Kind::Advisor, Kind::Duplicate] {
            let row = ResponseRow::new(&ResponseParts { kind, ..parts }, 3, 7, 0);
            assert_eq!(row.parts().unwrap().kind, kind);
        }
    }

    #[test]
    fn a_position_comes_back_as_it_went() {
        let cursor = Cursor {
            inode: Inode {
                number: u64::MAX,
                born_ns: -5,
            },
            generation: 7,
            offset: 1 << 40,
            tail_len: 256,
            tail_hash: u64::MAX - 1,
            skip_to: NonZeroU64::new(9),
            settled_to: 4,
            origin: 11,
        };
        let state = ParserState::new(b"kept");
        let row: FileRow = decode(&encode(&FileRow::new(2, &cursor, &state)).unwrap()).unwrap();
        assert_eq!((row.run, row.position()), (2, Position { cursor, state }));
    }

    #[test]
    fn foreign_bytes_are_refused() {
        assert!(matches!(decode::<RunRow>(b""), Err(RowError::Empty)));
        assert!(matches!(decode::<RunRow>(b"\x09abc"), Err(RowError::Version(9))));
        assert!(matches!(decode::<RunRow>(b"\x01"), Err(RowError::Bytes(_))));
        assert!(decode::<RunRow>(b"\x01\x07\x00\x02").is_ok());
        assert!(matches!(
            decode::<RunRow>(b"\x01\x07\x00\x02\x00"),
            Err(RowError::Rest(1))
        ));
    }
}
