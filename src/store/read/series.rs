//! Reads series by their numbers, a leaf of the table at a time.

use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::quota::account_ids;
use super::{Snapshot, models};
use crate::model::{
    AccountId, Dialect, PlaceNumber, ResponseKey, RouteNames, RouteNumber, SeriesNumber, SessionPlace,
};
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{
    PLACES, PlaceRow, RESPONSES, ROUTES, ResponseRow, RouteRow, RowError, SERIES, SeriesRow,
};
use crate::store::table::{decode_row, get};

/// Number of series read at once: the series of one time mostly follow each other.
const SERIES_TOGETHER: u32 = 64;

/// The series of a snapshot, read as they are needed.
pub struct SeriesRows {
    table: ReadOnlyTable<u32, &'static [u8]>,
    rows: Vec<Option<SeriesRow>>,
}

impl SeriesRows {
    pub fn new(read: &ReadTransaction) -> Result<Self, DbError> {
        Ok(Self {
            table: read.open_table(SERIES)?,
            rows: Vec::new(),
        })
    }

    /// A series by its number.
    pub fn row(&mut self, number: SeriesNumber) -> Result<SeriesRow, DbError> {
        let at = number as usize;
        if let Some(Some(row)) = self.rows.get(at) {
            return Ok(*row);
        }
        let unknown = || DbError::row("series", RowError::Range("number"));
        let first = number - number % SERIES_TOGETHER;
        let last = first.saturating_add(SERIES_TOGETHER - 1);
        let mut found = Vec::new();
        for entry in self.table.range(first..=last)? {
            let (number, row) = entry?;
            found.push((number.value() as usize, decode_row("series", row.value())?));
        }
        // A number that damage made large must not reserve memory.
        if !found.iter().any(|(number, _)| *number == at) {
            return Err(unknown());
        }
        if self.rows.len() <= last as usize {
            self.rows.resize(last as usize + 1, None);
        }
        for (number, row) in found {
            self.rows[number] = Some(row);
        }
        self.rows[at].ok_or_else(unknown)
    }
}

/// The origin of a response, by names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseOrigin {
    pub place: SessionPlace,
    pub account: AccountId,
    pub dialect: Option<Dialect>,
}

/// The names of the numbers in series.
#[derive(Clone, Debug, Default)]
pub struct SeriesNames {
    pub models: Vec<Arc<str>>,
    pub accounts: Vec<AccountId>,
    /// The first has number 1.
    routes: Vec<RouteNames>,
}

impl SeriesNames {
    /// The names of a route; `None` for none.
    #[must_use]
    pub fn route(&self, number: RouteNumber) -> Option<&RouteNames> {
        self.routes.get((number as usize).checked_sub(1)?)
    }

    /// All routes and their numbers.
    pub fn routes(&self) -> impl Iterator<Item = (RouteNumber, &RouteNames)> {
        (1..).zip(&self.routes)
    }
}

impl Snapshot<'_> {
    /// The names of the numbers in series, except of places.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn series_names(&self) -> Result<SeriesNames, StoreError> {
        self.reading(|read| {
            Ok(SeriesNames {
                models: models(read)?,
                accounts: account_ids(read)?,
                routes: routes(read)?,
            })
        })
    }

    /// The places of these numbers.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn places(
        &self,
        numbers: impl IntoIterator<Item = PlaceNumber>,
    ) -> Result<Vec<SessionPlace>, StoreError> {
        self.reading(|read| {
            let table = read.open_table(PLACES)?;
            numbers
                .into_iter()
                .map(|number| place_in(&table, number))
                .collect()
        })
    }

    /// The origin of a response; `None` if it is unknown.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn origin(&self, key: ResponseKey) -> Result<Option<ResponseOrigin>, StoreError> {
        self.reading(|read| {
            let responses = read.open_table(RESPONSES)?;
            let Some(row) = get::<_, ResponseRow>(&responses, key.0)? else {
                return Ok(None);
            };
            let series = SeriesRows::new(read)?.row(row.series)?;
            let account = account_ids(read)?.get(series.account as usize).cloned();
            Ok(Some(ResponseOrigin {
                place: place_in(&read.open_table(PLACES)?, series.place)?,
                account: account.ok_or_else(|| DbError::row("series", RowError::Range("account")))?,
                dialect: series.dialect,
            }))
        })
    }
}

fn routes(read: &ReadTransaction) -> Result<Vec<RouteNames>, DbError> {
    let mut names = Vec::new();
    for entry in read.open_table(ROUTES)?.iter()? {
        let (number, row) = entry?;
        names.push(decode_row::<RouteRow>("routes", row.value())?.names);
        if number.value() as usize != names.len() {
            return Err(DbError::row("routes", RowError::Range("number")));
        }
    }
    Ok(names)
}

fn place_in(
    places: &ReadOnlyTable<u32, &'static [u8]>,
    number: PlaceNumber,
) -> Result<SessionPlace, DbError> {
    let row: Option<PlaceRow> = get(places, number)?;
    let row = row.ok_or_else(|| DbError::row("series", RowError::Range("place")))?;
    Ok(row.place())
}
