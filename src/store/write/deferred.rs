//! Observations that wait for the end of a backlog.
//!
//! While a backlog is read, files are read in any order, but windows are merged in the order of time. So
//! observations are deferred then, and merged when the backlog ends. The time of each is the latest one on it
//! or on an observation before it in its file. Files that have the same time are ordered by run and path, so
//! that the order of reading does not matter. Afterwards observations are merged as they arrive, those of one
//! commit in that same order. The tables are `parked` and `parked_files`.

use std::os::unix::ffi::OsStrExt;

use redb::{ReadableTable, Table, WriteTransaction};
use xxhash_rust::xxh3::xxh3_64;

use super::next_number;
use crate::model::{Batch, FileNumber, Millis, Observation};
use crate::store::error::DbError;
use crate::store::schema::{DEFERRED, DEFERRED_FILES, DeferredRow, META_DEFERRED};
use crate::store::table::{decode_row, put};

/// The time of observations without one: after all others.
const DEFERRED_LAST: u64 = u64::MAX;

/// Order of an observation: its time, with a tie-breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MergeOrder {
    /// The latest time on it or on an observation before it in its file.
    time: u64,
    /// A hash of the file's run and path.
    file: u64,
}

impl MergeOrder {
    /// `time` is `None` if none is known: after all others.
    pub fn new(batch: &Batch, time: Option<Millis>) -> Self {
        let mut name = batch.run.as_str().as_bytes().to_vec();
        name.push(0);
        name.extend_from_slice(batch.path.as_os_str().as_bytes());
        Self {
            time: time.map_or(DEFERRED_LAST, |time| u64::try_from(time).unwrap_or(0)),
            file: xxh3_64(&name),
        }
    }

    /// For an observation from the API.
    pub fn reported(time: Millis) -> Self {
        Self {
            time: u64::try_from(time).unwrap_or(0),
            file: 0,
        }
    }
}

/// The tables of deferred observations, in a transaction.
pub struct DeferredTables<'t> {
    rows: Table<'t, (u64, u64, u64), &'static [u8]>,
    files: Table<'t, u32, i64>,
    /// The number of the last one deferred in this transaction, if any.
    number: Option<u64>,
}

impl<'t> DeferredTables<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            rows: write.open_table(DEFERRED)?,
            files: write.open_table(DEFERRED_FILES)?,
            number: None,
        })
    }

    /// Stores an observation until the end of the backlog.
    pub fn add(
        &mut self,
        meta: &Table<'_, &'static str, u64>,
        account: u32,
        observation: &Observation,
        order: MergeOrder,
    ) -> Result<(), DbError> {
        let number = match self.number {
            Some(number) => number + 1,
            None => next_number(meta, META_DEFERRED)?,
        };
        self.number = Some(number);
        let key = (order.time, order.file, number);
        put(&mut self.rows, key, &DeferredRow::new(account, observation))
    }

    /// The latest time of a file's deferred observations; `None` if none of them is deferred.
    pub fn until(&self, file: FileNumber) -> Result<Option<Millis>, DbError> {
        let time = self.files.get(file)?;
        Ok(time.map(|time| time.value()))
    }

    /// Stores the latest time of a file's deferred observations: a later line of it may be read after a
    /// restart.
    pub fn set_until(&mut self, file: FileNumber, time: Millis) -> Result<(), DbError> {
        self.files.insert(file, time)?;
        Ok(())
    }

    /// Stores the last number.
    pub fn store_number(&self, meta: &mut Table<'_, &'static str, u64>) -> Result<(), DbError> {
        if let Some(number) = self.number {
            meta.insert(META_DEFERRED, number)?;
        }
        Ok(())
    }

    /// Deletes the latest times of the files: the backlog ends.
    pub fn end(&mut self) -> Result<(), DbError> {
        self.files.retain(|_, _| false)?;
        Ok(())
    }

    /// Removes and returns the first one.
    pub fn pop(&mut self) -> Result<Option<DeferredRow>, DbError> {
        let first = self.rows.pop_first()?;
        first
            .map(|(_, row)| decode_row("parked", row.value()))
            .transpose()
    }
}
