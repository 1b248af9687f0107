//! The database: the only module that uses redb.
//!
//! One process, one writer. The database is the only record of commits: after any error it is closed and
//! opened again, and its contents decide. A damaged file is set aside and replaced by a new one.
//!
//! [`open()`] returns a [`Reader`], which any part may clone and which reads a [`Snapshot`], and the only
//! [`Writer`].

pub mod audit;
mod backup;
mod control;
mod database;
mod error;
mod file;
mod horizon;
mod open;
mod place;
pub mod prune;
mod read;
mod read_only;
pub mod schema;
mod table;
mod write;

pub use control::StoreControl;
pub use error::{Displacement, StoreError};
pub use file::{StoreOptions, is_database};
pub use horizon::{Horizons, day_name, horizon_day};
pub use open::{open, open_existing, open_read_only};
pub use read::{
    AccountSums, ClassKey, KnownAccounts, LimitEvent, QuotaView, ReadCounters, Reader, Recorded,
    ResponseOrigin, RunInfo, RunNames, RunSums, RunView, SeriesNames, SessionView, Snapshot, StoredRun,
    SumPlace, SummaryFigures,
};
pub use write::windows::HISTORY_AGE_MAX_MS;
pub use write::{
    AccountObservations, Committed, DecideLeases, ForgetRun, LeaseDesk, LimitChanges, NotBound,
    OUTBOX_ROWS_MAX, OutboxChange, Outcome, PostOutcome, ReplayEnd, RunChange, RunEvent, Start, Started,
    Writer,
};

#[cfg(test)]
pub(crate) mod tests;
