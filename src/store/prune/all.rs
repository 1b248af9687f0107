//! Everything that was counted goes, in one transaction; cursors and keys stay, so that nothing is counted again.

use redb::{ReadableTable, ReadableTableMetadata, TableDefinition, WriteTransaction};

use super::keys::{is_one, tombstone_of};
use super::step::Pruned;
use crate::dedup::Totals;
use crate::store::error::DbError;
use crate::store::schema::{
    DAYS, FIRED, KeyState, LIMIT_EVENTS, MINUTES, MODEL_DAYS, MODEL_QUARTERS, OBSERVATIONS, QUARTERS,
    RECORDS, RESPONSES, RUN_DAYS, RunTotalsRow, SERIES_SUMS, SESSION_COPIES, SESSION_SUMS, SESSIONS,
    SessionRow, TOTALS, Tombstone, WINDOWS, WindowRow,
};
use crate::store::table::{decode_row, put};

/// Keys that are read before they are written.
const CHUNK_ROWS: usize = 50_000;

/// Removes all details and all sums. The present state of windows, marks and throttles stays: it decides admission.
pub fn prune(write: &WriteTransaction) -> Result<Pruned, DbError> {
    let mut pruned = Pruned {
        responses: bury_all(write)?,
        ..Pruned::default()
    };
    for entry in write.open_table(SERIES_SUMS)?.iter()? {
        pruned.totals += decode_row::<Totals>("series_sums", entry?.1.value())?;
    }
    pruned.observations = emptied(write, OBSERVATIONS)?;
    pruned.limit_events = emptied(write, LIMIT_EVENTS)?;
    pruned.thresholds = emptied(write, FIRED)?;
    pruned.minutes = emptied(write, MINUTES)?;
    pruned.days = emptied(write, DAYS)?;
    emptied(write, QUARTERS)?;
    emptied(write, MODEL_DAYS)?;
    emptied(write, MODEL_QUARTERS)?;
    emptied(write, RECORDS)?;
    emptied(write, RUN_DAYS)?;
    emptied(write, SERIES_SUMS)?;
    emptied(write, SESSION_SUMS)?;
    emptied(write, SESSION_COPIES)?;
    rewrite(write, TOTALS, |row: &mut RunTotalsRow| {
        row.totals = Totals::default();
    })?;
    // The reports of agents have no counted sums beside them any more.
    rewrite(write, SESSIONS, |row: &mut SessionRow| {
        row.has_pruned = true;
    })?;
    let mut windows = write.open_table(WINDOWS)?;
    let mut rows: Vec<(u32, String, WindowRow)> = Vec::new();
    for entry in windows.iter()? {
        let (key, row) = entry?;
        let (account, name) = key.value();
        rows.push((account, name.to_owned(), decode_row("windows", row.value())?));
    }
    for (account, name, mut row) in rows {
        row.history_rows = 0;
        put(&mut windows, (account, name.as_str()), &row)?;
    }
    Ok(pruned)
}

/// Turns every response into a tombstone that is in no sum; returns the number of those that had details.
fn bury_all(write: &WriteTransaction) -> Result<u64, DbError> {
    let mut responses = write.open_table(RESPONSES)?;
    let (mut from, mut buried) = (0, 0);
    loop {
        let mut chunk: Vec<(u128, Tombstone)> = Vec::new();
        for entry in responses.range(from..)?.take(CHUNK_ROWS) {
            let (key, row) = entry?;
            let state = KeyState::decode(row.value()).map_err(|error| DbError::row("responses", error))?;
            let tombstone = match state {
                KeyState::Counted(row) => {
                    buried += u64::from(is_one(&row));
                    tombstone_of(&row)?
                }
                KeyState::Pruned(tombstone) => tombstone,
            };
            let is_counted = false;
            chunk.push((
                key.value(),
                Tombstone {
                    is_counted,
                    ..tombstone
                },
            ));
        }
        let Some((last, _)) = chunk.last() else {
            return Ok(buried);
        };
        let after = last.checked_add(1);
        for (key, tombstone) in &chunk {
            responses.insert(*key, tombstone.encode().as_slice())?;
        }
        let Some(after) = after else { return Ok(buried) };
        from = after;
    }
}

/// Removes all rows of a table; returns their number.
fn emptied<K: redb::Key + 'static, V: redb::Value + 'static>(
    write: &WriteTransaction,
    table: TableDefinition<'static, K, V>,
) -> Result<u64, DbError> {
    let rows = write.open_table(table)?.len()?;
    write.delete_table(table)?;
    write.open_table(table)?;
    Ok(rows)
}

/// Changes every row of a table.
fn rewrite<R: crate::store::schema::Stored>(
    write: &WriteTransaction,
    table: TableDefinition<'static, u32, &'static [u8]>,
    change: impl Fn(&mut R),
) -> Result<(), DbError> {
    let name = redb::TableHandle::name(&table).to_owned();
    let mut table = write.open_table(table)?;
    let mut rows = Vec::new();
    for entry in table.iter()? {
        let (key, row) = entry?;
        rows.push((key.value(), decode_row::<R>(&name, row.value())?));
    }
    for (key, mut row) in rows {
        change(&mut row);
        put(&mut table, key, &row)?;
    }
    Ok(())
}
