//! The rows of the tables and the layout of each, field by field.
//!
//! A layout is the format of existing databases: a change of one is a new version of rows. The types of the
//! program have an order of their own, which may change. `store/tests/bytes.rs` has the bytes of a row of
//! each table.

use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::codec::{Coded, RowError, RowReader, RowWriter, Stored, codes, layout, row};
use crate::dedup::Totals;
use crate::model::{
    AccountId, Cursor, Fired, Inode, Labels, LimitSource, LimitStatus, LineCounts, Millis, Observation,
    ParserState, Position, Reported, RunNumber, SessionNumber, StopReason,
};
use crate::quota::exhaustion::Cause;
use crate::quota::overage::Overage;
use crate::quota::poll::Backoff;
use crate::quota::throttle::{Throttle, Throttles};
use crate::quota::window::{Held, Reading, Track, WindowState};

row! {
    /// A run.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct RunRow {
        pub number: RunNumber,
        /// True if the run is part of a backlog that is not finished: its ties are decided by run order.
        pub backlog: bool,
        pub first_seen: Millis,
    }
}

row! {
    /// A log file: its run and its [`Position`].
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct FileRow {
        pub run: RunNumber,
        inode: u64,
        born_ns: i64,
        generation: u32,
        offset: u64,
        tail_len: u16,
        tail_hash: u64,
        skip_to: u64,
        partial_end: u64,
        origin: u64,
        state: Box<[u8]>,
    }
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
            partial_end: cursor.partial_end,
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
            partial_end: self.partial_end,
            origin: self.origin,
        }
    }
}

row! {
    /// The totals of one run.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct RunTotalsRow {
        pub totals: Totals,
        pub lines: LineCounts,
        /// Log files ever seen.
        pub files: u64,
        pub bytes: u64,
        /// The latest line time read.
        pub latest: Option<Millis>,
    }
}

row! {
    /// The properties of a run beside its sums.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct RunInfoRow {
        pub labels: Labels,
        /// The directory of its logs, if it was given: bytes of an absolute path.
        pub mount: Option<Box<[u8]>>,
        /// Time of an explicit start; `None` for a run that was only found.
        pub registered_at: Option<Millis>,
        /// The earliest line time read.
        pub earliest: Option<Millis>,
        /// Time and reason of the stop; `None` while it is active.
        pub stopped: Option<(Millis, StopReason)>,
    }
}

impl RunInfoRow {
    /// [`RunInfoRow::mount`] as a path.
    #[must_use]
    pub fn mount_path(&self) -> Option<PathBuf> {
        let path = |bytes| PathBuf::from(OsStr::from_bytes(bytes));
        self.mount.as_deref().map(path)
    }
}

row! {
    /// A session of an agent.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SessionRow {
        /// The run that named it first.
        pub run: RunNumber,
        /// Another session of whose responses it has copies; 0 for none.
        pub linked: SessionNumber,
        /// Input, output, cache reads and cache writes that the agent reported, in tokens.
        pub reported: Option<[u64; 4]>,
        /// True if it has copies of pruned responses, which are not in its sums.
        pub has_pruned: bool,
    }
}

impl SessionRow {
    #[must_use]
    pub fn reported(&self) -> Option<Reported> {
        let [input, output, cache_read, cache_creation] = self.reported?;
        Some(Reported {
            input,
            output,
            cache_read,
            cache_creation,
        })
    }

    pub fn set_reported(&mut self, reported: Reported) {
        self.reported = Some([
            reported.input,
            reported.output,
            reported.cache_read,
            reported.cache_creation,
        ]);
    }
}

row! {
    /// A run that was forgotten: its directory does not make a new run as long as it exists.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ForgottenRow {
        pub number: RunNumber,
        pub at: Millis,
    }
}

row! {
    /// A provider account.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AccountRow {
        provider: Box<str>,
        name: Box<str>,
    }
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

row! {
    /// The current state of a window.
    #[derive(Clone, Debug, PartialEq)]
    pub struct WindowRow {
        pub track: Track,
        /// Number of rows of `observations` that belong to the window.
        pub history_rows: u32,
    }
}

row! {
    /// The provider's data on an account without a window name.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct AccountLimitsRow {
        pub throttles: Throttles,
        pub overage: Option<Overage>,
    }
}

row! {
    /// One point of a window's history.
    #[derive(Clone, Copy, Debug, PartialEq)]
    pub struct HistoryRow {
        pub observed_at: Millis,
        pub utilization: Option<f64>,
        pub reset_at: Option<Millis>,
        pub status: LimitStatus,
        pub source: LimitSource,
    }
}

row! {
    /// A rejection.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LimitEventRow {
        pub resets_at: Option<Millis>,
        pub source: LimitSource,
        pub session: Option<u64>,
        pub request: Option<u64>,
        /// Time of its last occurrence: the tries of a request are one rejection.
        pub last_at: Millis,
    }
}

row! {
    /// A threshold that fired.
    #[derive(Clone, Debug, PartialEq)]
    pub struct FiredRow {
        pub account: u32,
        pub window: Box<str>,
        pub percent: u8,
        pub utilization: f64,
        pub reset_at: Option<Millis>,
        pub observed_at: Millis,
    }
}

impl FiredRow {
    /// The threshold in its published form.
    #[must_use]
    pub fn fired(self, number: u64, account: AccountId) -> Fired {
        Fired {
            number,
            account,
            window: self.window,
            percent: self.percent,
            utilization: self.utilization,
            reset_at: self.reset_at,
            observed_at: self.observed_at,
        }
    }
}

row! {
    /// The operator's mark of an account.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MarkRow {
        pub cause: Cause,
    }
}

row! {
    /// The back-off of an account's poll.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PollRow {
        pub backoff: Backoff,
    }
}

row! {
    /// An observation that waits for the end of a backlog.
    #[derive(Clone, Debug, PartialEq)]
    pub struct DeferredRow {
        pub account: u32,
        window: Box<str>,
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
}

impl DeferredRow {
    #[must_use]
    pub fn new(account: u32, observation: &Observation) -> Self {
        let observation = observation.clone();
        Self {
            account,
            window: observation.window,
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
            window: self.window,
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

// Layouts of the parts of rows.

layout!(Totals {
    messages: i64,
    without_figures: i64,
    unfinished: i64,
    advisor_calls: i64,
    input: i128,
    output: i128,
    cache_read: i128,
    cache_creation: i128,
    cache_creation_5m: i128,
    cache_creation_1h: i128,
    web_search: i128,
    thinking: i128,
    fallbacks: i64,
    failed_attempts: i64,
    estimated: i128,
});

layout!(LineCounts {
    read: u64,
    usage: u64,
    duplicate: u64,
    ignored: u64,
    malformed: u64,
    oversized: u64,
    clock_suspect: u64,
});

layout!(Track {
    state: WindowState,
    before: Option<WindowState>,
    readings: Vec<Reading>,
});

layout!(WindowState {
    utilization: Option<f64>,
    highest: Option<f64>,
    utilization_at: Option<i64>,
    remaining: Option<u64>,
    limit: Option<u64>,
    status: LimitStatus,
    status_at: Option<i64>,
    reset_at: Option<i64>,
    window_started_at: Option<i64>,
    length: Option<i64>,
    opened_at: i64,
    number: u32,
    observed_at: i64,
    live_at: Option<i64>,
    source: LimitSource,
    exhausted_until: Option<i64>,
    blocked_at: Option<i64>,
    held: Held,
    thresholds_crossed: Vec<u8>,
} without served_at, allowed_at);

layout!(Held {
    drop: Option<Reading>,
    reset: Option<Reading>,
    relief: Option<Reading>,
    rise: Option<Reading>,
});

layout!(Reading {
    at: i64,
    utilization: Option<f64>,
    remaining: Option<u64>,
    limit: Option<u64>,
    reset_at: Option<i64>,
    status: LimitStatus,
    source: LimitSource,
    session: Option<u64>,
});

layout!(Throttles { 0: Vec<Throttle> });

layout!(Throttle {
    at: i64,
    until: Option<i64>,
    request: Option<u64>,
    source: LimitSource,
});

layout!(Overage {
    said_at: i64,
    in_use: bool
});

layout!(Backoff {
    until: i64,
    failures: u32,
});

layout!(Cause {
    until: i64,
    reason: Box<str>,
    source: Box<str>,
    since: i64,
});

codes!(LimitStatus, "status" {
    Unknown = 0,
    Allowed = 1,
    AllowedWarning = 2,
    Rejected = 3,
});

codes!(LimitSource, "source" {
    RateLimits = 0,
    QuotaLimits = 1,
    ApiError = 2,
    Headers = 3,
    RateLimitEvent = 4,
    Prose = 5,
    Statusline = 6,
    UsageApi = 7,
    Codex = 8,
    AgentCache = 9,
    WhamUsage = 10,
});

codes!(StopReason, "reason" {
    Asked = 0,
    Idle = 1,
    Vanished = 2,
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::schema::codec::{decode, encode};

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
            partial_end: 4,
            origin: 11,
        };
        let state = ParserState::new(b"kept");
        let row: FileRow = decode(&encode(&FileRow::new(2, &cursor, &state)).unwrap()).unwrap();
        assert_eq!((row.run, row.position()), (2, Position { cursor, state }));
    }
}
