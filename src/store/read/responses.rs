//! Walks over all responses; only a recount does.

use std::cmp::Ordering;
use std::sync::Arc;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::series::SeriesRows;
use super::{Snapshot, model_name, models};
use crate::dedup::Response;
use crate::model::ResponseKey;
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{KeyState, RESPONSES, Tombstone};

/// A key of a database: a response, or the rest of one.
pub enum Recorded {
    Counted(Response),
    Pruned(Tombstone),
}

impl Recorded {
    /// The response, if it was not pruned.
    #[must_use]
    pub fn response(self) -> Option<Response> {
        match self {
            Self::Counted(response) => Some(response),
            Self::Pruned(_) => None,
        }
    }
}

/// The responses of a database, in the order of their keys.
struct Responses {
    table: ReadOnlyTable<u128, &'static [u8]>,
    models: Vec<Arc<str>>,
    series: SeriesRows,
}

impl Responses {
    fn of(read: &ReadTransaction) -> Result<Self, DbError> {
        Ok(Self {
            table: read.open_table(RESPONSES)?,
            models: models(read)?,
            series: SeriesRows::new(read)?,
        })
    }

    /// Starts at the first one.
    fn walk(&mut self) -> Result<impl Iterator<Item = Result<(ResponseKey, Recorded), DbError>>, DbError> {
        let (series, models) = (&mut self.series, &self.models);
        Ok(self.table.iter()?.map(move |entry| {
            let (key, row) = entry?;
            let key = ResponseKey(key.value());
            let row = match KeyState::decode(row.value()) {
                Ok(KeyState::Counted(row)) => row,
                Ok(KeyState::Pruned(tombstone)) => return Ok((key, Recorded::Pruned(tombstone))),
                Err(error) => return Err(DbError::row("responses", error)),
            };
            let of = series.row(row.series)?;
            let response = row.response(of.run, model_name(models, of.model)?);
            let response = response.map_err(|error| DbError::row("responses", error))?;
            Ok((key, Recorded::Counted(response)))
        }))
    }
}

impl Snapshot<'_> {
    /// Merge-joins the responses of two databases by key and passes each pair to `each`. For recounts: the
    /// time it takes grows with the number of responses.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn merge_join(
        &self,
        other: &Snapshot<'_>,
        mut each: impl FnMut(ResponseKey, Option<Recorded>, Option<Recorded>),
    ) -> Result<(), StoreError> {
        let my_error = |error: DbError| self.slot.error(error);
        let their_error = |error: DbError| other.slot.error(error);
        let mut mine = Responses::of(&self.read).map_err(my_error)?;
        let mut theirs = Responses::of(&other.read).map_err(their_error)?;
        let mut my_rows = mine.walk().map_err(my_error)?.map(|row| row.map_err(my_error));
        let mut their_rows = theirs
            .walk()
            .map_err(their_error)?
            .map(|row| row.map_err(their_error));
        let (mut here, mut there) = (my_rows.next().transpose()?, their_rows.next().transpose()?);
        loop {
            let order = match (&here, &there) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((mine, _)), Some((theirs, _))) => mine.cmp(theirs),
            };
            let left = if order == Ordering::Greater {
                None
            } else {
                std::mem::replace(&mut here, my_rows.next().transpose()?)
            };
            let right = if order == Ordering::Less {
                None
            } else {
                std::mem::replace(&mut there, their_rows.next().transpose()?)
            };
            if let Some(key) = left.as_ref().or(right.as_ref()).map(|(key, _)| *key) {
                each(
                    key,
                    left.map(|(_, recorded)| recorded),
                    right.map(|(_, recorded)| recorded),
                );
            }
        }
    }
}
