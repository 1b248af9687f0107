//! Sums of old days go, with their part of the sums by series and by run.

use std::collections::BTreeMap;

use redb::{ReadableTable, WriteTransaction};

use super::step::{Pruned, STEP_ROWS_MAX};
use crate::dedup::Totals;
use crate::model::{DAY_QUARTERS, RunNumber, SeriesNumber};
use crate::store::error::DbError;
use crate::store::horizon::Horizons;
use crate::store::schema::{
    DAYS, FORGOTTEN_RUNS, META, QUARTERS, RUN_DAYS, RowError, RunTotalsRow, SERIES, SERIES_SUMS, SeriesRow,
    TOTALS,
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
    let begin = day.saturating_mul(DAY_QUARTERS);
    for quarter in begin..begin.saturating_add(DAY_QUARTERS) {
        quarters.retain_in((quarter, *first)..=(quarter, *last), |_, _| false)?;
    }
    let mut pruned = Pruned {
        days: removed.len() as u64,
        is_partial: true,
        ..Pruned::default()
    };
    for (_, _, sum) in &removed {
        pruned.totals += *sum;
    }
    subtract(write, &removed)?;
    Ok(pruned)
}

/// Takes sums of days out of those by series and by run.
fn subtract(write: &WriteTransaction, removed: &[(u32, SeriesNumber, Totals)]) -> Result<(), DbError> {
    let series = write.open_table(SERIES)?;
    let mut series_sums = write.open_table(SERIES_SUMS)?;
    let mut run_days = write.open_table(RUN_DAYS)?;
    let mut totals = write.open_table(TOTALS)?;
    let mut by_run: BTreeMap<RunNumber, Totals> = BTreeMap::new();
    for (day, of, sum) in removed {
        let row: Option<SeriesRow> = get(&series, of)?;
        let row = row.ok_or_else(|| DbError::row("days", RowError::Range("series")))?;
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
