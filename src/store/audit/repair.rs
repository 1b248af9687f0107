//! Correction of the tables by a recount, and of the sums by the responses.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;

use redb::{ReadableTable, Table, WriteTransaction};

use super::derived::{Derived, NumberKey, differing, keys_differing, pathless, totals_differing};
use super::names::SumNames;
use super::{Fixes, Repaired, ResponseFix};
use crate::dedup::{Response, Totals};
use crate::model::{LineCounts, PriceClass, RunId, RunNumber};
use crate::store::error::DbError;
use crate::store::schema::{
    ACCOUNTS, DAYS, FILES, FileRow, MINUTES, MODELS, PATHS, PLACE_NUMBERS, PLACES, QUARTERS, RECORDS,
    RESPONSES, ROUTE_NUMBERS, ROUTES, RUN_DAYS, RUNS, ResponseParts, ResponseRow, RowError, RunRow,
    RunTotalsRow, SERIES, SERIES_NUMBERS, SERIES_SUMS, SESSION_COPIES, SESSION_SUMS, SeriesRow, TOTALS,
};
use crate::store::table::{get, put};
use crate::store::write::models::ModelTables;
use crate::store::write::series::SeriesTables;
use crate::store::write::{NameCache, Registry};

/// Corrects the tables from names to the numbers of series and places: before anything reads them.
pub fn repair_names(write: &WriteTransaction, repaired: &mut Repaired) -> Result<(), DbError> {
    let names = sum_names(write)?;
    let mut series = write.open_table(SERIES_NUMBERS)?;
    for (key, must_be) in names.series_lost(&series)? {
        match must_be {
            Some(number) => series.insert(key, number)?,
            None => series.remove(key)?,
        };
        repaired.sums += 1;
    }
    let mut places = write.open_table(PLACE_NUMBERS)?;
    for ((session, project), must_be) in names.places_lost(&places)? {
        let key = (session.as_str(), project.as_str());
        match must_be {
            Some(number) => places.insert(key, number)?,
            None => places.remove(key)?,
        };
        repaired.sums += 1;
    }
    let mut routes = write.open_table(ROUTE_NUMBERS)?;
    for ((profile, route, instance), must_be) in SumNames::routes_lost(&write.open_table(ROUTES)?, &routes)? {
        let key = (profile.as_str(), route.as_str(), instance.as_str());
        match must_be {
            Some(number) => routes.insert(key, number)?,
            None => routes.remove(key)?,
        };
        repaired.sums += 1;
    }
    Ok(())
}

fn sum_names(write: &WriteTransaction) -> Result<SumNames, DbError> {
    SumNames::of(
        &write.open_table(RUNS)?,
        &write.open_table(MODELS)?,
        &write.open_table(ACCOUNTS)?,
        (&write.open_table(SERIES)?, &write.open_table(PLACES)?),
    )
}

pub fn repair_responses(
    write: &WriteTransaction,
    fixes: &Fixes,
    repaired: &mut Repaired,
) -> Result<(), DbError> {
    let mut tables = ResponseRepair {
        names: NameCache::load(write)?,
        models: ModelTables::new(write)?,
        series: SeriesTables::new(write)?,
        registry: Registry::new(write)?,
        responses: write.open_table(RESPONSES)?,
    };
    for fix in &fixes.responses {
        repaired.responses += 1;
        match &fix.response {
            Some(response) => tables.put(fix, response)?,
            None => drop(tables.responses.remove(fix.key.0)?),
        }
        tables.series.write_new()?;
    }
    Ok(())
}

/// The tables needed to write a response.
struct ResponseRepair<'t> {
    names: NameCache,
    models: ModelTables<'t>,
    series: SeriesTables<'t>,
    registry: Registry<'t>,
    responses: Table<'t, u128, &'static [u8]>,
}

impl ResponseRepair<'_> {
    fn put(&mut self, fix: &ResponseFix, response: &Response) -> Result<(), DbError> {
        // The session of a response depends on the order of reading.
        let stored: Option<ResponseRow> = get(&self.responses, fix.key.0)?;
        let parts = stored.map(|row| row.parts()).transpose();
        let parts = parts.map_err(|error| DbError::row("responses", error))?;
        let stored = match stored {
            Some(row) => Some(self.series.row(&mut self.names, row.series)?),
            None => None,
        };
        let names = &mut self.names;
        let (place, account, dialect) = match (stored, &fix.origin) {
            (Some(stored), origin) if stored.run == response.run || origin.is_none() => {
                (stored.place, stored.account, stored.dialect)
            }
            (_, Some(origin)) => (
                self.series.place(origin.place.clone())?,
                self.registry.account(&origin.account)?,
                origin.dialect,
            ),
            (_, None) => return Err(DbError::row("responses", RowError::Range("series"))),
        };
        let (_, model) = self.models.number(names, &response.model, response.run)?;
        let row = SeriesRow {
            run: response.run,
            place,
            account,
            model,
            // Its record's, whatever the logs give.
            route: stored.map_or(0, |stored| stored.route),
            dialect,
            class: PriceClass::of(&response.usage, response.service),
        };
        let series = self.series.number(names, &mut self.models, row)?;
        let parts = ResponseParts {
            session: parts.as_ref().map_or(0, |stored| stored.session),
            is_shared: parts.is_some_and(|stored| stored.is_shared),
            is_final: response.is_final,
            is_estimated: response.is_estimated,
            kind: response.kind,
            rank: response.rank,
            service: response.service,
            dating: response.dating,
            usage: response.usage,
        };
        put(
            &mut self.responses,
            fix.key.0,
            &ResponseRow::new(&parts, series, response.time),
        )
    }
}

pub fn repair_runs(write: &WriteTransaction, fixes: &Fixes, repaired: &mut Repaired) -> Result<(), DbError> {
    let runs = write.open_table(RUNS)?;
    let paths = write.open_table(PATHS)?;
    let mut files = write.open_table(FILES)?;
    let mut totals = write.open_table(TOTALS)?;
    let number_of = |run: &RunId| -> Result<Option<RunNumber>, DbError> {
        let row: Option<RunRow> = get(&runs, run.as_str())?;
        Ok(row.map(|row| row.number))
    };
    for (run, path, position) in &fixes.positions {
        let Some(number) = number_of(run)? else { continue };
        let key = (number, path.as_os_str().as_bytes());
        let Some(file) = paths.get(key)? else {
            continue;
        };
        let row = FileRow::new(number, &position.cursor, &position.state);
        put(&mut files, file.value(), &row)?;
        repaired.positions += 1;
    }
    for fix in &fixes.runs {
        let Some(number) = number_of(&fix.run)? else {
            continue;
        };
        let mut row: RunTotalsRow = get(&totals, number)?.unwrap_or_default();
        if let Some(lines) = fix.lines {
            row.lines = LineCounts {
                duplicate: row.lines.duplicate,
                clock_suspect: row.lines.clock_suspect,
                ..lines
            };
        }
        row.files = fix.files.unwrap_or(row.files);
        row.bytes = fix.bytes.unwrap_or(row.bytes);
        put(&mut totals, number, &row)?;
        repaired.runs += 1;
    }
    Ok(())
}

pub fn repair_sums(write: &WriteTransaction, repaired: &mut Repaired) -> Result<(), DbError> {
    macro_rules! open {
        ($table:expr) => {
            write.open_table($table)?
        };
    }
    let names = sum_names(write)?;
    let derived = {
        let (responses, copies) = (open!(RESPONSES), open!(SESSION_COPIES));
        Derived::of(&responses, &copies, &open!(RECORDS), &names)?
    };
    // Posted again, they count.
    for key in &derived.lost {
        open!(RECORDS).remove(key.0)?;
        repaired.sums += 1;
    }
    let derived = if derived.misplaced.is_empty() {
        derived
    } else {
        move_misplaced(write, &derived, repaired)?;
        let (responses, copies) = (open!(RESPONSES), open!(SESSION_COPIES));
        Derived::of(&responses, &copies, &open!(RECORDS), &sum_names(write)?)?
    };
    let mut totals = open!(TOTALS);
    for (run, _, sum) in totals_differing(&totals, &derived.totals)? {
        let mut row: RunTotalsRow = get(&totals, run)?.unwrap_or_default();
        row.totals = sum.unwrap_or_default();
        put(&mut totals, run, &row)?;
        repaired.sums += 1;
    }
    repaired.sums += rewrite(&mut open!(QUARTERS), &derived.quarters)?
        + rewrite(&mut open!(DAYS), &derived.days)?
        + rewrite(&mut open!(SERIES_SUMS), &derived.series_sums)?
        + rewrite(&mut open!(MINUTES), &derived.minutes)?
        + rewrite(&mut open!(SESSION_SUMS), &derived.session_sums)?;
    let mut run_days = open!(RUN_DAYS);
    for (key, must_be) in keys_differing(&run_days, &derived.run_days)? {
        if must_be {
            run_days.insert(key, ())?;
        } else {
            run_days.remove(key)?;
        }
        repaired.sums += 1;
    }
    let mut files = open!(FILES);
    for file in pathless(&open!(PATHS), &files)? {
        files.remove(file)?;
        repaired.sums += 1;
    }
    Ok(())
}

/// Moves responses to the series of their own price class.
fn move_misplaced(
    write: &WriteTransaction,
    derived: &Derived,
    repaired: &mut Repaired,
) -> Result<(), DbError> {
    let mut names = NameCache::load(write)?;
    let mut models = ModelTables::new(write)?;
    let mut series = SeriesTables::new(write)?;
    let mut responses = write.open_table(RESPONSES)?;
    for key in &derived.misplaced {
        let Some(mut row) = get::<_, ResponseRow>(&responses, key.0)? else {
            continue;
        };
        let parts = row.parts().map_err(|error| DbError::row("responses", error))?;
        let own = SeriesRow {
            class: PriceClass::of(&parts.usage, parts.service),
            ..series.row(&mut names, row.series)?
        };
        row.series = series.number(&mut names, &mut models, own)?;
        put(&mut responses, key.0, &row)?;
        repaired.responses += 1;
    }
    series.write_new()
}

/// Corrects a table of sums; returns the number of changed rows.
fn rewrite<K: NumberKey>(
    table: &mut Table<'_, K, &'static [u8]>,
    must_be: &BTreeMap<K, Totals>,
) -> Result<u64, DbError> {
    let found = differing(table, must_be)?;
    for (key, _, sum) in &found {
        match sum {
            Some(sum) => put(table, *key, sum)?,
            None => {
                table.remove(*key)?;
            }
        }
    }
    Ok(found.len() as u64)
}
