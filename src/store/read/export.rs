//! Walks over whole tables, for exports: the time they take grows with the rows in them.

use std::ops::ControlFlow;

use redb::ReadableTable;

use super::quota::account_ids;
use super::series::SeriesRows;
use super::{Snapshot, model_name, models};
use crate::dedup::Response;
use crate::model::{AccountId, ResponseKey};
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{
    HistoryRow, KeyState, OBSERVATIONS, RECORDS, RESPONSES, RecordPart, RecordRow, RowError, SeriesRow,
};
use crate::store::table::decode_row;

impl Snapshot<'_> {
    /// Passes every response that has its details to `each`, in the order of keys.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn for_each_response(
        &self,
        mut each: impl FnMut(ResponseKey, &SeriesRow, &Response) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.reading(|read| {
            let (models, mut series) = (models(read)?, SeriesRows::new(read)?);
            for entry in read.open_table(RESPONSES)?.iter()? {
                let (key, row) = entry?;
                let bad = |error: RowError| DbError::row("responses", error);
                let Some(row) = KeyState::decode(row.value()).map_err(bad)?.counted() else {
                    continue;
                };
                let of = series.row(row.series)?;
                let response = row
                    .response(of.run, model_name(&models, of.model)?)
                    .map_err(bad)?;
                if each(ResponseKey(key.value()), &of, &response).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Passes the parts of every posted record that has its details to `each`: its fallbacks and failed attempts.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn for_each_record(
        &self,
        mut each: impl FnMut(ResponseKey, &RecordRow, &RecordPart, &SeriesRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.reading(|read| {
            let mut series = SeriesRows::new(read)?;
            for entry in read.open_table(RECORDS)?.iter()? {
                let (key, row) = entry?;
                let row: RecordRow = decode_row("records", row.value())?;
                for part in &row.parts {
                    let of = series.row(part.series)?;
                    if each(ResponseKey(key.value()), &row, part, &of).is_break() {
                        return Ok(());
                    }
                }
            }
            Ok(())
        })
    }

    /// Passes every point of the histories of windows to `each`, by account, window and time.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn for_each_observation(
        &self,
        mut each: impl FnMut(&AccountId, &str, &HistoryRow) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        self.reading(|read| {
            let ids = account_ids(read)?;
            for entry in read.open_table(OBSERVATIONS)?.iter()? {
                let (key, row) = entry?;
                let (account, window, _) = key.value();
                let id = ids.get(account as usize);
                let id = id.ok_or_else(|| DbError::row("observations", RowError::Range("account")))?;
                if each(id, window, &decode_row("observations", row.value())?).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}
