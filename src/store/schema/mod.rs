//! The tables on disk; docs/database.md lists them byte by byte.
//!
//! Keys are integers, tuples of them or names; values are rows (`rows.rs`), turned into bytes by `codec.rs`.

mod codec;
mod leases;
mod outbox;
pub(super) mod prepare;
mod rows;
mod series;
mod tombstone;

use redb::TableDefinition;

use crate::model::RunNumber;

pub use codec::{RowError, Stored, decode, encode, encode_after};
pub use leases::{LeaseEndRow, LeaseRow, ProbeRow};
pub use outbox::{LatchRow, OutboxPlace, OutboxRow};
pub use rows::{
    AccountLimitsRow, AccountRow, DeferredRow, FileRow, FiredRow, ForgottenRow, HistoryRow, LimitEventRow,
    MarkRow, PollRow, RunInfoRow, RunRow, RunTotalsRow, SessionRow, WindowRow,
};
pub use series::{
    ModelSumKey, PlaceRow, RecordPart, RecordRow, ResponseParts, ResponseRow, RouteRow, SeriesKey, SeriesRow,
};
pub use tombstone::{KeyState, Tombstone, day_of};

/// The version of the whole schema. A database of a later one is refused.
pub const SCHEMA_VERSION: u64 = 1;
/// The last number that programs before the first release gave to a schema, in the same row of `meta`. Its layout is
/// that of schema 1.
pub const LAST_UNRELEASED: u64 = 9;
/// The number in `meta`. It goes on from the earlier ones: those programs refuse a released schema as a newer one.
pub const STORED_SCHEMA: u64 = LAST_UNRELEASED + SCHEMA_VERSION;

type Bytes = &'static [u8];

/// `schema`, `sequence`, `created_ms` and the like.
pub const META: TableDefinition<'static, &'static str, u64> = TableDefinition::new("meta");
/// Texts about the database itself: data that a rebuild could not restore.
pub const NOTES: TableDefinition<'static, &'static str, &'static str> = TableDefinition::new("notes");
/// Run id to [`RunRow`].
pub const RUNS: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("runs");
/// (run, path below the run's directory) to file.
pub const PATHS: TableDefinition<'static, (u32, &'static [u8]), u32> = TableDefinition::new("paths");
/// File to [`FileRow`].
pub const FILES: TableDefinition<'static, u32, Bytes> = TableDefinition::new("files");
/// Model number to its name.
pub const MODELS: TableDefinition<'static, u32, &'static str> = TableDefinition::new("models");
/// Model number to the run that brought the name: one run has room for a part of the models only.
pub const MODEL_RUNS: TableDefinition<'static, u32, u32> = TableDefinition::new("model_runs");
/// Response key to [`ResponseRow`], or to a [`Tombstone`].
pub const RESPONSES: TableDefinition<'static, u128, Bytes> = TableDefinition::new("responses");
/// Run to [`RunTotalsRow`].
pub const TOTALS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("totals");
/// SessionPlace number to [`PlaceRow`].
pub const PLACES: TableDefinition<'static, u32, Bytes> = TableDefinition::new("places");
/// (session, project) to the number of that place; no project is an empty name.
pub const PLACE_NUMBERS: TableDefinition<'static, (&'static str, &'static str), u32> =
    TableDefinition::new("place_numbers");
/// Route number, from 1 on, to [`RouteRow`].
pub const ROUTES: TableDefinition<'static, u32, Bytes> = TableDefinition::new("routes");
/// (profile, route, instance) to the number of that route; a name left out is empty.
pub const ROUTE_NUMBERS: TableDefinition<'static, (&'static str, &'static str, &'static str), u32> =
    TableDefinition::new("route_numbers");
/// Response key of a posted record to [`RecordRow`].
pub const RECORDS: TableDefinition<'static, u128, Bytes> = TableDefinition::new("records");
/// Series number to [`SeriesRow`].
pub const SERIES: TableDefinition<'static, u32, Bytes> = TableDefinition::new("series");
/// [`SeriesKey`] to the number of that series.
pub const SERIES_NUMBERS: TableDefinition<'static, SeriesKey, u32> = TableDefinition::new("series_numbers");
/// Series to [`Totals`](crate::dedup::Totals): all responses ever counted, forgotten runs included.
pub const SERIES_SUMS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("series_sums");
/// (quarter of an hour since 1970, series) to [`Totals`](crate::dedup::Totals).
pub const QUARTERS: TableDefinition<'static, (u32, u32), Bytes> = TableDefinition::new("quarters");
/// (UTC day since 1970, series) to [`Totals`](crate::dedup::Totals).
pub const DAYS: TableDefinition<'static, (u32, u32), Bytes> = TableDefinition::new("days");
/// (run, UTC day since 1970, series): the rows of `days` that are a run's.
pub const RUN_DAYS: TableDefinition<'static, (u32, u32, u32), ()> = TableDefinition::new("run_days");
/// [`ModelSumKey`], by quarter of an hour since 1970, to [`Totals`](crate::dedup::Totals): the sums of `quarters` over
/// all runs and places.
pub const MODEL_QUARTERS: TableDefinition<'static, ModelSumKey, Bytes> =
    TableDefinition::new("model_quarters");
/// [`ModelSumKey`], by UTC day since 1970, to [`Totals`](crate::dedup::Totals): the sums of `days`, likewise.
pub const MODEL_DAYS: TableDefinition<'static, ModelSumKey, Bytes> = TableDefinition::new("model_days");

/// Account number to [`AccountRow`].
pub const ACCOUNTS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("accounts");
/// Run to account: set when the run is registered, and kept, as it is part of the keys of its responses.
pub const RUN_ACCOUNTS: TableDefinition<'static, u32, u32> = TableDefinition::new("run_accounts");
/// (run, provider) to account: for providers beside that of the run's account, set with the first batch that
/// has it, and kept likewise.
pub const RUN_PROVIDERS: TableDefinition<'static, (u32, &'static str), u32> =
    TableDefinition::new("run_providers");
/// Run to [`RunInfoRow`].
pub const RUN_INFO: TableDefinition<'static, u32, Bytes> = TableDefinition::new("run_info");
/// Run id to [`ForgottenRow`]: runs that were forgotten while their directories still existed.
pub const FORGOTTEN: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("forgotten");
/// A hash of a session's id and account to its number.
pub const SESSION_NUMBERS: TableDefinition<'static, u64, u32> = TableDefinition::new("session_numbers");
/// Session to [`SessionRow`].
pub const SESSIONS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("sessions");
/// Session to [`Totals`](crate::dedup::Totals): of every response with a line in it.
pub const SESSION_SUMS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("session_sums");
/// (response key, session): copies in other sessions than that of the response's row.
pub const SESSION_COPIES: TableDefinition<'static, (u128, u32), ()> = TableDefinition::new("session_copies");
/// (account, minute since 1970) to [`Totals`](crate::dedup::Totals): calls and budgets.
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
/// Account to [`MarkRow`]: the operator's mark.
pub const MARKS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("marks");
/// Account to [`PollRow`]: the back-off of its poll, while there is one.
pub const POLLS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("polls");
/// Account to [`AccountLimitsRow`]: the provider's data without a window name.
pub const ACCOUNT_LIMITS: TableDefinition<'static, u32, Bytes> = TableDefinition::new("account_limits");
/// (account, model) to the time of the latest response, in milliseconds: the provider served then.
pub const SERVED: TableDefinition<'static, (u32, u32), i64> = TableDefinition::new("served");
/// (latest time in its file so far, in milliseconds; a hash of that file's run and path; running number) to
/// [`DeferredRow`].
pub const DEFERRED: TableDefinition<'static, (u64, u64, u64), Bytes> = TableDefinition::new("parked");
/// File to the latest time of an observation of it that is deferred, in milliseconds.
pub const DEFERRED_FILES: TableDefinition<'static, u32, i64> = TableDefinition::new("parked_files");

/// Lease to [`LeaseRow`]: those that have not ended.
pub const LEASES: TableDefinition<'static, u64, Bytes> = TableDefinition::new("leases");
/// Lease to [`LeaseEndRow`]: those that ended a short time ago.
pub const LEASE_ENDS: TableDefinition<'static, u64, Bytes> = TableDefinition::new("lease_ends");
/// The number of the last lease of a grant to the [`KeyedAnswer`](crate::quota::lease::KeyedAnswer) with it.
pub const LEASE_ANSWERS: TableDefinition<'static, u64, Bytes> = TableDefinition::new("lease_answers");
/// The key of a request to its number in `lease_answers`.
pub const LEASE_KEYS: TableDefinition<'static, &'static str, u64> = TableDefinition::new("lease_keys");
/// (provider, account, scope) to [`ProbeRow`].
pub const PROBES: TableDefinition<'static, (&'static str, &'static str, &'static str), Bytes> =
    TableDefinition::new("probes");
/// (provider, account, class) to [`CostHistory`](crate::quota::lease::cost::CostHistory); no class is empty.
pub const RUN_COSTS: TableDefinition<'static, (&'static str, &'static str, &'static str), Bytes> =
    TableDefinition::new("run_costs");

/// (target, commit, place in the commit) to [`OutboxRow`]: events that wait to be sent.
pub const OUTBOX: TableDefinition<'static, (&'static str, u64, u32), Bytes> = TableDefinition::new("outbox");
/// (event, subject) to [`LatchRow`]: what was said of states that have no row of their own.
pub const LATCHES: TableDefinition<'static, (&'static str, &'static str), Bytes> =
    TableDefinition::new("latches");

/// Key of `meta`: the version of the schema, see [`STORED_SCHEMA`].
pub const META_SCHEMA: &str = "schema";
/// Key of `meta`: the number of the last commit.
pub const META_SEQUENCE: &str = "sequence";
/// Key of `meta`: the number of the last deferred observation.
pub const META_DEFERRED: &str = "parked";
/// Key of `meta`: the number of the last threshold that fired.
pub const META_FIRED: &str = "fired";
/// Key of `meta`: the number of the last lease.
pub const META_LEASE: &str = "lease";
/// Key of `meta`: the UTC day since 1970 before which details were pruned.
pub const META_HORIZON: &str = "horizon";
/// Key of `meta`: the day up to which a prune of details reached its end.
pub const META_HORIZON_DONE: &str = "horizon_done";
/// Key of `meta`: the day before which keys of responses were removed.
pub const META_HORIZON_KEYS: &str = "horizon_keys";
/// Key of `meta`: the day before which sums were removed.
pub const META_HORIZON_TOTALS: &str = "horizon_totals";
/// Key of `meta`: when this database was created, in milliseconds.
pub const META_CREATED: &str = "created_ms";
/// Key of `notes`: how this database replaced a damaged one.
pub const NOTE_REBUILT: &str = "rebuilt";
/// Key of `notes`: the path of that damaged one. Once it is moved away, the note is obsolete.
pub const NOTE_ASIDE: &str = "rebuilt_aside";

/// The row of `totals` that has the sums of all forgotten runs. No run gets this number: there cannot be so
/// many.
pub const FORGOTTEN_RUNS: RunNumber = RunNumber::MAX;
/// The run of posted records of no run, in series and in `totals`. No run gets this number either.
pub const NO_RUN: RunNumber = RunNumber::MAX - 1;
