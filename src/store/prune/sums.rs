//! Sums of old days go, with their part of the sums by series and by run.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::step::{Pruned, STEP_ROWS_MAX};
use crate::dedup::Totals;
use crate::model::{DAY_QUARTERS, RunNumber, SeriesNumber};
use crate::store::error::DbError;
use crate::store::horizon::Horizons;
use crate::store::schema::{
    DAYS, FORGOTTEN_RUNS, META, MODEL_DAYS, MODEL_QUARTERS, ModelSumKey, QUARTERS, RUN_DAYS, RowError,
    RunTotalsRow, SERIES, SERIES_SUMS, SeriesRow, TOTALS,
};
use crate::store::table::{decode_row, get, put};

/// Removes the sums of at most [`STEP_ROWS_MAX`] series on the oldest day before the horizon: of each the day and its
/// quarters, so that every transaction leaves sums that agree.
pub fn prune(write: &WriteTransaction) -> Result<Pruned, DbError> {
    let horizon = Horizons::read(&write.open_table(META)?)?.totals;
    let mut days = write.open_table(DAYS)?;
    let mut removed: Vec<(u32, SeriesNumber, Totals)> = Vec::new();
    for entry in days.range(..(horizon, 0))?.take(STEP_ROWS_MAX) {
        let (key, row) = entry?;
        let (day, series) = key.value();
        if removed.first().is_some_and(|(first, ..)| *first != day) {
            break;
        }
        removed.push((day, series, decode_row("days", row.value())?));
    }
    let (Some((day, first, _)), Some((_, last, _))) = (removed.first(), removed.last()) else {
        return Ok(Pruned::default());
    };
    days.retain_in((*day, *first)..=(*day, *last), |_, _| false)?;
    let mut quarters = write.open_table(QUARTERS)?;
    let mut of_quarters: Vec<(u32, SeriesNumber, Totals)> = Vec::new();
    let begin = day.saturating_mul(DAY_QUARTERS);
    for quarter in begin..begin.saturating_add(DAY_QUARTERS) {
        let old = (quarter, *first)..=(quarter, *last);
        for entry in quarters.range(old.clone())? {
            let (key, row) = entry?;
            of_quarters.push((quarter, key.value().1, decode_row("quarters", row.value())?));
        }
        quarters.retain_in(old, |_, _| false)?;
    }
    let mut pruned = Pruned {
        days: removed.len() as u64,
        is_partial: true,
        ..Pruned::default()
    };
    for (_, _, sum) in &removed {
        pruned.totals += *sum;
    }
    let series = write.open_table(SERIES)?;
    subtract_by_model(&series, write.open_table(MODEL_DAYS)?, &removed)?;
    subtract_by_model(&series, write.open_table(MODEL_QUARTERS)?, &of_quarters)?;
    subtract(&series, write, &removed)?;
    Ok(pruned)
}

/// A series by its number.
fn series_of(series: &Table<'_, u32, &'static [u8]>, number: SeriesNumber) -> Result<SeriesRow, DbError> {
    let row: Option<SeriesRow> = get(series, number)?;
    row.ok_or_else(|| DbError::row("days", RowError::Range("series")))
}

/// Takes sums out of those over all runs and places.
fn subtract_by_model(
    series: &Table<'_, u32, &'static [u8]>,
    mut table: Table<'_, ModelSumKey, &'static [u8]>,
    removed: &[(u32, SeriesNumber, Totals)],
) -> Result<(), DbError> {
    let mut by_key: BTreeMap<ModelSumKey, Totals> = BTreeMap::new();
    for (time, of, sum) in removed {
        *by_key
            .entry(series_of(series, *of)?.model_key(*time))
            .or_default() += *sum;
    }
    for (key, sum) in by_key {
        let mut rest: Totals = get(&table, key)?.unwrap_or_default();
        rest -= sum;
        if rest.is_zero() {
            table.remove(key)?;
        } else {
            put(&mut table, key, &rest)?;
        }
    }
    Ok(())
}

/// Takes sums of days out of those by series and by run.
fn subtract(
    series: &Table<'_, u32, &'static [u8]>,
    write: &WriteTransaction,
    removed: &[(u32, SeriesNumber, Totals)],
) -> Result<(), DbError> {
    let mut series_sums = write.open_table(SERIES_SUMS)?;
    let mut run_days = write.open_table(RUN_DAYS)?;
    let mut totals = write.open_table(TOTALS)?;
    let mut by_run: BTreeMap<RunNumber, Totals> = BTreeMap::new();
    for (day, of, sum) in removed {
        let row = series_of(series, *of)?;
        run_days.remove((row.run, *day, *of))?;
        let mut rest: Totals = get(&series_sums, of)?.unwrap_or_default();
        rest -= *sum;
        if rest.is_zero() {
            series_sums.remove(of)?;
        } else {
            put(&mut series_sums, of, &rest)?;
        }
        *by_run.entry(row.run).or_default() += *sum;
    }
    for (run, sum) in by_run {
        // A forgotten run has no row of its own.
        let row: Option<RunTotalsRow> = get(&totals, run)?;
        let (owner, row) = match row {
            Some(row) => (run, row),
            None => (FORGOTTEN_RUNS, get(&totals, FORGOTTEN_RUNS)?.unwrap_or_default()),
        };
        let mut row = row;
        row.totals -= sum;
        put(&mut totals, owner, &row)?;
    }
    Ok(())
}
