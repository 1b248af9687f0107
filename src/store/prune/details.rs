//! Details that are not responses: histories of windows, refusals, thresholds, sums by minute.

use redb::{ReadableTable, Table, WriteTransaction};

use super::step::{Pruned, STEP_ROWS_MAX};
use crate::model::{DAY_MS, MINUTE_MS, Millis};
use crate::store::error::DbError;
use crate::store::schema::{
    ACCOUNTS, FIRED, FiredRow, LIMIT_EVENTS, MINUTES, OBSERVATIONS, WINDOWS, WindowRow, day_of,
};
use crate::store::table::{decode_row, get, put};

/// The first minute of a day.
pub fn first_minute(day: u32) -> u32 {
    u32::try_from(Millis::from(day) * (DAY_MS / MINUTE_MS)).unwrap_or(u32::MAX)
}

/// The lowest key of a refusal from a day on.
pub fn first_event(day: u32) -> (u64, u32, &'static str) {
    let at = Millis::from(day) * DAY_MS;
    (u64::try_from(at).unwrap_or(0), 0, "")
}

/// True if a threshold fired before a day.
pub fn is_old(row: &FiredRow, day: u32) -> bool {
    day_of(row.observed_at) < day
}

/// Removes at most [`STEP_ROWS_MAX`] rows.
pub fn prune(write: &WriteTransaction, before: u32, minutes: u32) -> Result<Pruned, DbError> {
    let mut pruned = Pruned::default();
    let room = |pruned: &Pruned| STEP_ROWS_MAX.saturating_sub(pruned.further_rows());
    let mut table = write.open_table(MINUTES)?;
    let accounts = write.open_table(ACCOUNTS)?;
    for entry in accounts.iter()? {
        let account = entry?.0.value();
        let old = (account, 0)..(account, first_minute(minutes));
        pruned.minutes += remove_first(&mut table, old, room(&pruned))?;
    }
    pruned.observations += prune_observations(write, before, room(&pruned))?;
    let mut events = write.open_table(LIMIT_EVENTS)?;
    for _ in 0..room(&pruned) {
        let first = events.first()?.map(|(key, _)| key.value().0);
        if first.is_none_or(|first| first >= first_event(before).0) {
            break;
        }
        events.pop_first()?;
        pruned.limit_events += 1;
    }
    let mut fired = write.open_table(FIRED)?;
    let mut old = Vec::new();
    for entry in fired.iter()? {
        let (number, row) = entry?;
        if is_old(&decode_row("fired", row.value())?, before) {
            old.push(number.value());
        }
    }
    for number in old.into_iter().take(room(&pruned)) {
        fired.remove(number)?;
        pruned.thresholds += 1;
    }
    pruned.is_partial = room(&pruned) == 0;
    Ok(pruned)
}

/// Removes the oldest points of the histories of windows.
fn prune_observations(write: &WriteTransaction, before: u32, room: usize) -> Result<u64, DbError> {
    let mut windows = write.open_table(WINDOWS)?;
    let mut history = write.open_table(OBSERVATIONS)?;
    let mut keys = Vec::new();
    for entry in windows.iter()? {
        let key = entry?.0;
        let (account, name) = key.value();
        keys.push((account, name.to_owned()));
    }
    let mut removed = 0;
    for (account, name) in keys {
        let mut old = Vec::new();
        let range = (account, name.as_str(), 0)..(account, name.as_str(), first_minute(before));
        let left = room.saturating_sub(usize::try_from(removed).unwrap_or(usize::MAX));
        for entry in history.range(range)?.take(left) {
            old.push(entry?.0.value().2);
        }
        if old.is_empty() {
            continue;
        }
        for minute in &old {
            history.remove((account, name.as_str(), *minute))?;
        }
        let key = (account, name.as_str());
        if let Some(mut row) = get::<_, WindowRow>(&windows, key)? {
            let count = u32::try_from(old.len()).unwrap_or(u32::MAX);
            row.history_rows = row.history_rows.saturating_sub(count);
            put(&mut windows, key, &row)?;
        }
        removed += old.len() as u64;
    }
    Ok(removed)
}

/// Removes the first rows of a range.
fn remove_first(
    table: &mut Table<'_, (u32, u32), &'static [u8]>,
    range: std::ops::Range<(u32, u32)>,
    room: usize,
) -> Result<u64, DbError> {
    let mut keys = Vec::new();
    for entry in table.range(range)?.take(room) {
        keys.push(entry?.0.value());
    }
    for key in &keys {
        table.remove(*key)?;
    }
    Ok(keys.len() as u64)
}
