//! The database: the only place that knows redb.
//!
//! One process, one writer. The database is the truth about what was committed: after any error it is closed and
//! opened again, and what it then says holds. A damaged file is set aside and a new one takes its place.

mod backup;
mod changed;
mod commit;
mod database;
pub mod derived;
mod error;
mod intake;
mod limits;
mod looking;
mod open;
mod place;
mod quota;
mod read;
mod registry;
mod rows;
mod runs;
pub mod schema;
mod sessions;
mod sums;
mod table;
mod told;
mod usage;

pub use commit::{Committed, Conclusion, Outcome, RunChange};
pub use database::{Store, StoreOptions};
pub use error::StoreError;
pub use intake::Intake;
pub use limits::LimitChanges;
pub use open::is_database;
pub use place::Displacement;
pub use quota::{AccountSums, LimitEvent, QuotaView};
pub use read::{Cell, RunSums, RunView, Snapshot};
pub use runs::{RunEvent, RunInfo, Start, Started, StoredRun};
pub use told::Told;
pub use usage::{Grain, RunNames, UsageCell};

#[cfg(test)]
pub(crate) mod tests;
