//! Responses become tombstones, and tombstones go.

use redb::{ReadableTable, WriteTransaction};

use super::step::{Pruned, responses_in};
use crate::dedup::Totals;
use crate::model::{DAY_MS, Millis, ResponseKey, is_clock_wrong};
use crate::store::error::DbError;
use crate::store::horizon::Horizons;
use crate::store::schema::{KeyState, META, RESPONSES, ResponseRow, SESSION_COPIES, Tombstone, day_of};

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
            KeyState::Counted(_) => pruned.responses += 1,
            KeyState::Pruned(_) => pruned.keys += 1,
        }
    }
}

/// Removes the details of these responses, and the keys that are older than theirs may be.
pub fn prune(write: &WriteTransaction, keys: &[ResponseKey]) -> Result<Pruned, DbError> {
    let horizons = Horizons::read(&write.open_table(META)?)?;
    let mut responses = write.open_table(RESPONSES)?;
    let mut copies = write.open_table(SESSION_COPIES)?;
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
                forget_details(&mut copies, *key)?;
                tombstone_of(&row)?
            }
            KeyState::Pruned(tombstone) => tombstone,
        };
        if is_expired(tombstone.day, horizons) {
            responses.remove(key.0)?;
        } else {
            responses.insert(key.0, tombstone.encode().as_slice())?;
        }
    }
    Ok(pruned)
}

/// The rest of a response.
pub fn tombstone_of(row: &ResponseRow) -> Result<Tombstone, DbError> {
    let parts = row.parts().map_err(|error| DbError::row("responses", error))?;
    let one = Totals::of_usage(parts.kind, &parts.usage, parts.is_final);
    Ok(Tombstone {
        day: day_of(row.time),
        is_counted: responses_in(&one) > 0,
    })
}

/// Removes the rows of other tables that have a response's key. A table of details by this key belongs here, and in
/// `all.rs`.
fn forget_details(copies: &mut redb::Table<'_, (u128, u32), ()>, key: ResponseKey) -> Result<(), DbError> {
    let of_key = (key.0, 0)..=(key.0, u32::MAX);
    copies.retain_in(of_key, |_, ()| false)?;
    Ok(())
}
