//! Responses become tombstones, and tombstones go.

use redb::{ReadableTable, Table, WriteTransaction};

use super::step::{Pruned, responses_in};
use crate::dedup::{Totals, is_complete};
use crate::model::{DAY_MS, Kind, Millis, ResponseKey, is_clock_wrong};
use crate::store::error::DbError;
use crate::store::horizon::Horizons;
use crate::store::schema::{
    KeyState, META, RECORDS, RESPONSES, RecordRow, ResponseRow, SESSION_COPIES, Tombstone, day_of,
};
use crate::store::table::get;

/// True if the row of a key is before the horizons.
pub fn is_old(state: KeyState, horizons: Horizons) -> bool {
    match state {
        KeyState::Counted(row) => day_of(row.time) < horizons.details,
        KeyState::Pruned(tombstone) => is_expired(tombstone.day, horizons),
    }
}

/// True if the key of a response of this day goes. A day of a wrong clock has no age: the key stays.
fn is_expired(day: u32, horizons: Horizons) -> bool {
    day < horizons.keys && !is_clock_wrong(Millis::from(day) * DAY_MS)
}

/// Counts a row that a prune would remove.
pub fn count(state: KeyState, horizons: Horizons, pruned: &mut Pruned) {
    if is_old(state, horizons) {
        match state {
            KeyState::Counted(row) => pruned.responses += u64::from(is_one(&row)),
            KeyState::Pruned(_) => pruned.keys += 1,
        }
    }
}

/// True for the row of a response, false for a further key of one or for a call that failed.
pub fn is_one(row: &ResponseRow) -> bool {
    row.parts().is_ok_and(|parts| parts.kind != Kind::Duplicate)
}

/// Removes the details of these responses, and the keys that are older than theirs may be.
pub fn prune(write: &WriteTransaction, keys: &[ResponseKey]) -> Result<Pruned, DbError> {
    let horizons = Horizons::read(&write.open_table(META)?)?;
    let mut responses = write.open_table(RESPONSES)?;
    let mut details = DetailTables {
        copies: write.open_table(SESSION_COPIES)?,
        records: write.open_table(RECORDS)?,
    };
    let mut pruned = Pruned::default();
    for key in keys {
        let state = match responses.get(key.0)? {
            Some(row) => KeyState::decode(row.value()).map_err(|error| DbError::row("responses", error))?,
            None => continue,
        };
        // A commit since the search may have changed its time.
        if !is_old(state, horizons) {
            continue;
        }
        count(state, horizons, &mut pruned);
        let tombstone = match state {
            KeyState::Counted(row) => {
                details.forget(*key, horizons)?;
                tombstone_of(&row)?
            }
            KeyState::Pruned(tombstone) => tombstone,
        };
        if is_expired(tombstone.day, horizons) {
            responses.remove(key.0)?;
            details.records.remove(key.0)?;
        } else {
            responses.insert(key.0, tombstone.encode().as_slice())?;
        }
    }
    Ok(pruned)
}

/// The rest of a response.
pub fn tombstone_of(row: &ResponseRow) -> Result<Tombstone, DbError> {
    let parts = row.parts().map_err(|error| DbError::row("responses", error))?;
    let complete = is_complete(parts.is_final, parts.rank);
    let one = Totals::of_usage(parts.kind, &parts.usage, complete, parts.is_estimated);
    Ok(Tombstone {
        day: day_of(row.time),
        is_counted: responses_in(&one) > 0,
    })
}

/// The tables with rows that have a response's key. A table of details by this key belongs here, and in `all.rs`.
struct DetailTables<'t> {
    copies: Table<'t, (u128, u32), ()>,
    records: Table<'t, u128, &'static [u8]>,
}

impl DetailTables<'_> {
    /// Removes the rows of a key. A posted record of a day that keeps its details stays: its parts are in the sums of
    /// that day.
    fn forget(&mut self, key: ResponseKey, horizons: Horizons) -> Result<(), DbError> {
        let of_key = (key.0, 0)..=(key.0, u32::MAX);
        self.copies.retain_in(of_key, |_, ()| false)?;
        let record: Option<RecordRow> = get(&self.records, key.0)?;
        if record.is_some_and(|record| day_of(record.at) < horizons.details) {
            self.records.remove(key.0)?;
        }
        Ok(())
    }
}
