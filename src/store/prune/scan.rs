//! Searches for old rows in a snapshot.

use redb::{ReadTransaction, ReadableTable};

use super::step::{Pruned, STEP_ROWS_MAX};
use super::{PruneGoal, details, keys};
use crate::dedup::Totals;
use crate::model::ResponseKey;
use crate::store::error::{DbError, StoreError};
use crate::store::horizon::Horizons;
use crate::store::read::Snapshot;
use crate::store::schema::prepare::used_bytes;
use crate::store::schema::{
    DAYS, FIRED, FiredRow, KeyState, LIMIT_EVENTS, META, META_CREATED, META_HORIZON_DONE, MINUTES,
    OBSERVATIONS, RESPONSES, RunTotalsRow, TOTALS,
};
use crate::store::table::decode_row;

/// Rows that one snapshot looks at, at most: pages that commits replace meanwhile stay in the file until it is
/// dropped.
const SCANNED_MAX: usize = 50_000;

/// Old keys, and the key to go on from.
pub struct OldKeys {
    pub keys: Vec<ResponseKey>,
    pub next: Option<ResponseKey>,
}

impl Snapshot<'_> {
    /// Keys from this one on whose rows are before the horizons.
    pub(super) fn old_keys(&self, from: ResponseKey, horizons: Horizons) -> Result<OldKeys, StoreError> {
        self.reading(|read| {
            let responses = read.open_table(RESPONSES)?;
            let mut found = OldKeys {
                keys: Vec::new(),
                next: None,
            };
            for (looked_at, entry) in responses.range(from.0..)?.enumerate() {
                let (key, row) = entry?;
                let key = ResponseKey(key.value());
                if looked_at >= SCANNED_MAX || found.keys.len() >= STEP_ROWS_MAX {
                    found.next = Some(key);
                    break;
                }
                if keys::is_old(decoded(row.value())?, horizons) {
                    found.keys.push(key);
                }
            }
            Ok(found)
        })
    }

    /// The horizons of the database.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn horizons(&self) -> Result<Horizons, StoreError> {
        self.reading(|read| Horizons::read(&read.open_table(META)?))
    }

    /// True if a prune to these horizons would find something new, as far as is known without a search: lines of
    /// pruned days that were read later wait for the next day.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn is_prune_due(&self, horizons: Horizons) -> Result<bool, StoreError> {
        self.reading(|read| {
            let meta = read.open_table(META)?;
            let stored = Horizons::read(&meta)?;
            let done = meta.get(META_HORIZON_DONE)?.map_or(0, |day| day.value());
            let goal = stored.with(horizons);
            Ok(goal != stored || done < u64::from(goal.details))
        })
    }

    /// When the database was created, in milliseconds.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn created(&self) -> Result<u64, StoreError> {
        self.reading(|read| {
            let created = read.open_table(META)?.get(META_CREATED)?;
            Ok(created.map_or(0, |created| created.value()))
        })
    }

    /// Everything that is counted, of all runs.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn counted(&self) -> Result<Totals, StoreError> {
        self.reading(|read| {
            let mut counted = Totals::default();
            for entry in read.open_table(TOTALS)?.iter()? {
                let row: RunTotalsRow = decode_row("totals", entry?.1.value())?;
                counted += row.totals;
            }
            Ok(counted)
        })
    }

    /// The result that a prune with this goal would have, or one of everything. The time it takes grows with the number of responses.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn would_prune(&self, goal: Option<PruneGoal>) -> Result<Pruned, StoreError> {
        // Everything is older than the last day that there is.
        let goal = goal.unwrap_or(PruneGoal::EVERYTHING);
        self.reading(|read| {
            let horizons = goal.horizons;
            let mut pruned = Pruned::default();
            for entry in read.open_table(RESPONSES)?.iter()? {
                keys::count(decoded(entry?.1.value())?, horizons, &mut pruned);
            }
            count_details(read, goal, &mut pruned)?;
            for entry in read.open_table(DAYS)?.range(..(horizons.totals, 0))? {
                let row: Totals = decode_row("days", entry?.1.value())?;
                pruned.days += 1;
                pruned.totals += row;
            }
            Ok(pruned)
        })
    }

    /// True for a file of more than these bytes; in memory there is none.
    #[must_use]
    pub fn is_larger_than(&self, bytes: u64) -> bool {
        self.file_bytes().is_some_and(|is| is > bytes)
    }

    /// Number of bytes in the file that hold nothing, with the size of the file; `None` in memory. It reads every page
    /// of the database.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn free_bytes(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let used = self.reading(used_bytes)?;
        Ok(self.file_bytes().map(|bytes| (bytes.saturating_sub(used), bytes)))
    }
}

fn decoded(bytes: &[u8]) -> Result<KeyState, DbError> {
    KeyState::decode(bytes).map_err(|error| DbError::row("responses", error))
}

fn count_details(read: &ReadTransaction, goal: PruneGoal, pruned: &mut Pruned) -> Result<(), DbError> {
    let before = goal.horizons.details;
    for entry in read.open_table(MINUTES)?.iter()? {
        let (_, minute) = entry?.0.value();
        pruned.minutes += u64::from(minute < details::first_minute(goal.minutes));
    }
    for entry in read.open_table(OBSERVATIONS)?.iter()? {
        let (_, _, minute) = entry?.0.value();
        pruned.observations += u64::from(minute < details::first_minute(before));
    }
    for entry in read
        .open_table(LIMIT_EVENTS)?
        .range(..details::first_event(before))?
    {
        entry?;
        pruned.limit_events += 1;
    }
    for entry in read.open_table(FIRED)?.iter()? {
        let row: FiredRow = decode_row("fired", entry?.1.value())?;
        pruned.thresholds += u64::from(details::is_old(&row, before));
    }
    Ok(())
}
