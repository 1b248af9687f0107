//! Stored and new state of each changed response, and the rows and sums that follow.

use std::sync::Arc;

use redb::{ReadableTableMetadata, Table, WriteTransaction};

use super::models::ModelTables;
use super::name_cache::NameCache;
use super::series::SeriesTables;
use super::sorted_rows::Rows;
use crate::dedup::{Response, Totals};
use crate::model::{
    Dating, Dialect, MINUTE_MS, ModelNumber, PlaceNumber, PriceClass, QUARTER_MS, ResponseKey, RouteNumber,
    SeriesNumber,
};
use crate::store::error::DbError;
use crate::store::schema::{RESPONSES, ResponseParts, ResponseRow, RowError, SeriesRow};
use crate::store::table::get;

/// The origin of a response: it follows the copy that owns it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ResponseSource {
    pub place: PlaceNumber,
    pub account: u32,
    /// `None` for a posted record.
    pub dialect: Option<Dialect>,
}

/// A response with the numbers of its names.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredResponse {
    pub response: Response,
    pub model: ModelNumber,
    pub source: ResponseSource,
    /// That of its posted record, whichever copy owns it; 0 without one.
    pub route: RouteNumber,
    /// The stored one, until [`number_series`].
    pub series: SeriesNumber,
}

/// The stored and the new state of one response in this transaction.
pub struct ResponseDelta {
    pub key: ResponseKey,
    /// The stored state.
    pub before: Option<Box<StoredResponse>>,
    pub after: StoredResponse,
}

impl ResponseDelta {
    pub fn new(key: ResponseKey, after: StoredResponse) -> Self {
        let before = None;
        Self { key, before, after }
    }

    /// A response that is unchanged so far.
    pub fn stored(key: ResponseKey, after: StoredResponse) -> Self {
        let before = Some(Box::new(after.clone()));
        Self { key, before, after }
    }

    /// True if it differs from the stored state.
    pub fn is_change(&self) -> bool {
        self.before.as_deref() != Some(&self.after)
    }
}

/// The table of responses, in a transaction.
pub struct ResponseTable<'t> {
    table: Table<'t, u128, &'static [u8]>,
    /// Set if no response is stored yet: nothing needs to be looked up, and all rows are inserted at the end.
    pub is_fresh: bool,
}

impl<'t> ResponseTable<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        let table = write.open_table(RESPONSES)?;
        let is_fresh = table.is_empty()?;
        Ok(Self { table, is_fresh })
    }

    /// A response in its stored state.
    pub fn stored(
        &self,
        names: &mut NameCache,
        series: &mut SeriesTables<'_>,
        key: ResponseKey,
    ) -> Result<Option<StoredResponse>, DbError> {
        if self.is_fresh {
            return Ok(None);
        }
        let Some(row) = get::<_, ResponseRow>(&self.table, key.0)? else {
            return Ok(None);
        };
        let SeriesRow {
            run,
            place,
            account,
            model,
            route,
            dialect,
            ..
        } = series.row(names, row.series)?;
        let name = (names.models.get(model as usize))
            .ok_or_else(|| DbError::row("series", RowError::Range("model")))?;
        let response = row.response(run, Arc::clone(name));
        Ok(Some(StoredResponse {
            response: response.map_err(|error| DbError::row("responses", error))?,
            model,
            source: ResponseSource {
                place,
                account,
                dialect,
            },
            route,
            series: row.series,
        }))
    }

    /// Writes the rows of all changed responses.
    pub fn write(&mut self, deltas: &[ResponseDelta]) -> Result<(), DbError> {
        let mut rows = Rows::with_capacity(deltas.len());
        for it in deltas.iter().filter(|it| it.is_change()) {
            rows.push(it.key.0, &it.after.row())?;
        }
        rows.write(&mut self.table)
    }
}

/// Sets the series of each changed response.
pub fn number_series(
    deltas: &mut [ResponseDelta],
    names: &mut NameCache,
    models: &mut ModelTables<'_>,
    series: &mut SeriesTables<'_>,
) -> Result<(), DbError> {
    for it in deltas.iter_mut().filter(|it| it.is_change()) {
        it.after.series = series.number(names, models, it.after.own_series())?;
    }
    series.write_new()
}

/// New responses that have no time.
pub fn undated(deltas: &[ResponseDelta]) -> impl Iterator<Item = ResponseKey> {
    let is_new = |it: &&ResponseDelta| it.before.is_none() && it.after.response.dating == Dating::Unknown;
    deltas.iter().filter(is_new).map(|it| it.key)
}

/// Changes, in the order of the keys of a table of sums. Sorted, not collected in a map: with a row for each
/// minute a map takes more memory than all responses.
pub struct Contributions<'c, K>(Vec<(K, Contribution<'c>)>);

/// The amount that a response adds to a sum, or subtracts.
enum Contribution<'c> {
    More(&'c Response),
    Less(&'c Response),
}

impl<'c, K: Ord + Copy> Contributions<'c, K> {
    /// Changes of the sums; a response without a key is in no sum.
    pub fn of(deltas: &'c [ResponseDelta], key_of: impl Fn(&StoredResponse) -> Option<K>) -> Self {
        let mut parts = Vec::with_capacity(deltas.len());
        for it in deltas.iter().filter(|it| it.is_change()) {
            if let Some(before) = &it.before {
                parts.extend(key_of(before).map(|key| (key, Contribution::Less(&before.response))));
            }
            parts.extend(key_of(&it.after).map(|key| (key, Contribution::More(&it.after.response))));
        }
        parts.sort_unstable_by_key(|(key, _)| *key);
        Self(parts)
    }

    /// The amount added to each row.
    pub fn sums(&self) -> impl Iterator<Item = (K, Totals)> {
        let same = self.0.chunk_by(|(one, _), (other, _)| one == other);
        same.map(|parts| {
            let mut sum = Totals::default();
            for (_, part) in parts {
                match part {
                    Contribution::More(response) => sum += Totals::of(response),
                    Contribution::Less(response) => sum -= Totals::of(response),
                }
            }
            (parts[0].0, sum)
        })
    }
}

impl StoredResponse {
    /// The minute since 1970 in which it counts as a call; `None` if its time is unknown.
    pub fn minute(&self) -> Option<u32> {
        let minute = u32::try_from(self.response.time / MINUTE_MS).unwrap_or(u32::MAX);
        (self.response.dating != Dating::Unknown).then_some(minute)
    }

    /// The row of the sums that contains it.
    pub fn sum_key(&self) -> (u32, SeriesNumber) {
        let quarter = u32::try_from(self.response.time / QUARTER_MS).unwrap_or(u32::MAX);
        (quarter, self.series)
    }

    /// The series that contains it if its run has room for that series.
    pub fn own_series(&self) -> SeriesRow {
        SeriesRow {
            run: self.response.run,
            place: self.source.place,
            account: self.source.account,
            model: self.model,
            route: self.route,
            dialect: self.source.dialect,
            class: PriceClass::of(&self.response.usage, self.response.service),
        }
    }

    fn row(&self) -> ResponseRow {
        let it = &self.response;
        let parts = ResponseParts {
            kind: it.kind,
            rank: it.rank,
            service: it.service,
            dating: it.dating,
            usage: it.usage,
            is_final: it.is_final,
            session: it.session,
            is_shared: it.is_shared,
            is_estimated: it.is_estimated,
        };
        ResponseRow::new(&parts, self.series, it.time)
    }
}
