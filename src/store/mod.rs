//! The database: the only place that knows redb.
//!
//! One process, one writer. The database is the truth about what was committed: after any error it is closed and
//! opened again, and what it then says holds. A damaged file is set aside and a new one takes its place.

pub mod audit;
mod backup;
mod database;
mod error;
mod looking;
mod open;
mod place;
mod read;
pub mod schema;
mod table;
mod write;

pub use database::{Store, StoreOptions};
pub use error::StoreError;
pub use open::is_database;
pub use place::Displacement;
pub use read::{
    AccountSums, Granularity, HourKey, KnownAccounts, LimitEvent, QuotaView, ReadCounters, RunInfo, RunNames,
    RunSums, RunView, Snapshot, StoredRun, UsageKey,
};
pub use write::{
    AccountObservations, Committed, LimitChanges, Outcome, ReplayEnd, RunChange, RunEvent, Start, Started,
};

#[cfg(test)]
pub(crate) mod tests;
