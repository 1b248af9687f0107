//! The domain types: plain data that every other module uses.
//!
//! Nothing here does I/O, reads a clock or allocates beyond its own fields.

mod account;
mod cursor;
mod dialect;
pub mod format;
pub mod letters;
mod place;
mod posted;
mod price;
mod record;
mod run;
mod time;
mod usage;
mod window;
pub mod window_name;

pub use account::{
    ACCOUNT_DEFAULT, ACCOUNT_NAME_BYTES_MAX, AccountId, PROVIDER_DEFAULT, RunAccounts, is_account_name,
};
pub use cursor::{
    Cursor, FileNumber, Inode, PARSER_STATE_BYTES_MAX, ParserState, Position, RelativePath, TAIL_BYTES_MAX,
};
pub use dialect::Dialect;
pub use place::{PLACE_NAME_BYTES_MAX, SessionPlace};
pub use posted::{FailedAttempt, PostedRecord, RecordId, RouteNames, RouteNumber};
pub use price::{Geography, PriceClass, PromptSize, Service, Speed, Tier};
pub use record::{Batch, Dating, Kind, LineCounts, Rank, Record, ResponseKey};
pub use run::{
    CLASS_LABEL, LABELS_MAX, Labels, Phase, RUN_ID_BYTES_MAX, RunId, RunIdError, RunNumber, StopReason,
    check_label, split_label,
};
pub use time::{
    DAY_MS, DAY_QUARTERS, HOUR_MS, MINUTE_MS, Millis, QUARTER_MS, believed_until, is_clock_wrong, not_after,
};
pub use usage::{ModelNumber, PlaceNumber, Report, Reported, SeriesNumber, SessionNumber, Usage};
pub use window::{Fired, LimitSource, LimitStatus, Observation, WindowUpdate};
