//! Series and their numbers: a series is the properties shared by the responses of one row of sums.
//!
//! A series gets its number when its first response is written. Names that lines and paths choose freely are
//! bounded by run: a run beyond its bound has its sums in series of the place and, at last, of the model and the
//! route `(other)`.

use std::collections::HashMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::models::{MODEL_OTHER, ModelTables};
use super::name_cache::NameCache;
use super::routes::RouteTables;
use super::sorted_rows::{Rows, insert_all};
use crate::model::{PlaceNumber, PriceClass, RunNumber, SeriesNumber, SessionPlace};
use crate::store::error::DbError;
use crate::store::schema::{
    PLACE_NUMBERS, PLACES, PlaceRow, RowError, SERIES, SERIES_NUMBERS, SeriesKey, SeriesRow,
};
use crate::store::table::{get, put};

/// Maximum number of series of one run with a session and a project of their own.
pub const SERIES_PER_RUN_MAX: u32 = 65_536;
/// Maximum number of series of one run, including those of the session `(other)`; beyond it their model
/// and their route are `(other)` too.
pub const SERIES_PER_RUN_LAST: u32 = SERIES_PER_RUN_MAX + 4096;
/// The session of a run's series beyond [`SERIES_PER_RUN_MAX`].
const PLACE_OTHER: &str = "(other)";

/// The tables of series and places, in a transaction.
pub struct SeriesTables<'t> {
    rows: Table<'t, u32, &'static [u8]>,
    numbers: Table<'t, SeriesKey, u32>,
    places: Table<'t, u32, &'static [u8]>,
    place_numbers: Table<'t, (&'static str, &'static str), u32>,
    pub routes: RouteTables<'t>,
    /// Places of which this transaction may create the first series.
    new_places: HashMap<SessionPlace, PlaceNumber>,
    /// Those of them that no series has yet.
    unwritten: HashMap<PlaceNumber, SessionPlace>,
    next_place: PlaceNumber,
    /// New series of this transaction, until [`SeriesTables::write_new`].
    new: HashMap<SeriesRow, SeriesNumber>,
    next: SeriesNumber,
    /// The one looked up last: consecutive responses mostly have the same series.
    last: Option<(SeriesRow, SeriesNumber)>,
}

impl<'t> SeriesTables<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        let rows = write.open_table(SERIES)?;
        let places = write.open_table(PLACES)?;
        let after = |table: &Table<'_, u32, &'static [u8]>| -> Result<u32, DbError> {
            Ok(table
                .last()?
                .map_or(0, |(last, _)| last.value().saturating_add(1)))
        };
        let (next, next_place) = (after(&rows)?, after(&places)?);
        Ok(Self {
            rows,
            numbers: write.open_table(SERIES_NUMBERS)?,
            places,
            place_numbers: write.open_table(PLACE_NUMBERS)?,
            routes: RouteTables::new(write)?,
            new_places: HashMap::new(),
            unwritten: HashMap::new(),
            next_place,
            new: HashMap::new(),
            next,
            last: None,
        })
    }

    /// The number of a place; a new one is written with its first series.
    pub fn place(&mut self, place: SessionPlace) -> Result<PlaceNumber, DbError> {
        if let Some(number) = self.new_places.get(&place) {
            return Ok(*number);
        }
        let project = place.project.as_deref().unwrap_or_default();
        if let Some(number) = self.place_numbers.get((&*place.session, project))? {
            return Ok(number.value());
        }
        let number = self.next_place;
        self.next_place = number.saturating_add(1);
        self.unwritten.insert(number, place.clone());
        self.new_places.insert(place, number);
        Ok(number)
    }

    /// A series by its number; a new one must be written.
    pub fn row(&mut self, names: &mut NameCache, number: SeriesNumber) -> Result<SeriesRow, DbError> {
        if let Some((row, last)) = self.last
            && last == number
        {
            return Ok(row);
        }
        let row = if let Some(row) = names.series.rows.get(&number) {
            *row
        } else {
            let row = get(&self.rows, number)?;
            let row = row.ok_or_else(|| DbError::row("responses", RowError::Range("series")))?;
            names.series.keep(number, row);
            row
        };
        self.last = Some((row, number));
        Ok(row)
    }

    /// The number of a series, created if it has none and its run has room.
    pub fn number(
        &mut self,
        names: &mut NameCache,
        models: &mut ModelTables<'_>,
        mut row: SeriesRow,
    ) -> Result<SeriesNumber, DbError> {
        if let Some(number) = self.known(names, &row)? {
            return Ok(number);
        }
        let of_run = self.of_run(names, row.run)?;
        if of_run >= SERIES_PER_RUN_MAX {
            row.place = self.place(SessionPlace {
                session: PLACE_OTHER.into(),
                project: None,
            })?;
            if let Some(number) = self.known(names, &row)? {
                return Ok(number);
            }
        }
        if of_run >= SERIES_PER_RUN_LAST {
            (_, row.model) = models.number(names, MODEL_OTHER, row.run)?;
            row.class = PriceClass::default();
            row.route = self.routes.without_own_name(names, row.route)?;
            if let Some(number) = self.known(names, &row)? {
                return Ok(number);
            }
        }
        Ok(self.add(names, row))
    }

    fn known(&mut self, names: &mut NameCache, row: &SeriesRow) -> Result<Option<SeriesNumber>, DbError> {
        if let Some((last, number)) = &self.last
            && last == row
        {
            return Ok(Some(*number));
        }
        let kept = names.series.numbers.get(row).or_else(|| self.new.get(row));
        let number = if let Some(number) = kept {
            *number
        } else {
            let Some(number) = self.numbers.get(row.key())?.map(|number| number.value()) else {
                return Ok(None);
            };
            names.series.keep(number, *row);
            number
        };
        self.last = Some((*row, number));
        Ok(Some(number))
    }

    fn of_run(&self, names: &mut NameCache, run: RunNumber) -> Result<u32, DbError> {
        if let Some(count) = names.series.of_runs.get(&run) {
            return Ok(*count);
        }
        let new = self.new.keys().filter(|row| row.run == run).count();
        let mut count = u32::try_from(new).unwrap_or(u32::MAX);
        for entry in self.numbers.range((run, 0, 0, 0, 0, 0, 0)..=of_run_last(run))? {
            entry?;
            count += 1;
        }
        names.series.of_runs.insert(run, count);
        Ok(count)
    }

    fn add(&mut self, names: &mut NameCache, row: SeriesRow) -> SeriesNumber {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.new.insert(row, number);
        *names.series.of_runs.entry(row.run).or_default() += 1;
        names.series.keep(number, row);
        self.last = Some((row, number));
        number
    }

    /// Writes all new series at once.
    pub fn write_new(&mut self) -> Result<(), DbError> {
        let mut new: Vec<(SeriesRow, SeriesNumber)> = std::mem::take(&mut self.new).into_iter().collect();
        new.sort_unstable_by_key(|(_, number)| *number);
        let mut rows = Rows::with_capacity(new.len());
        for (row, number) in &new {
            rows.push(*number, row)?;
            if let Some(place) = self.unwritten.remove(&row.place) {
                let project = place.project.as_deref().unwrap_or_default();
                self.place_numbers.insert((&*place.session, project), row.place)?;
                put(&mut self.places, row.place, &PlaceRow::new(&place))?;
            }
        }
        rows.write(&mut self.rows)?;
        let numbers = new.into_iter().map(|(row, number)| (row.key(), number));
        insert_all(&mut self.numbers, numbers.collect())
    }
}

/// The highest possible key of `series_numbers` of a run.
fn of_run_last(run: RunNumber) -> SeriesKey {
    (run, u32::MAX, u32::MAX, u32::MAX, u32::MAX, u8::MAX, u8::MAX)
}
