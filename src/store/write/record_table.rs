//! The table of posted records, and their parts of the sums.

use std::collections::{BTreeMap, HashMap};

use redb::{Table, WriteTransaction};

use super::models::ModelTables;
use super::name_cache::NameCache;
use super::series::SeriesTables;
use super::sums::RecordSums;
use crate::model::{Millis, QUARTER_MS, ResponseKey, SeriesNumber};
use crate::store::error::DbError;
use crate::store::schema::{RECORDS, RecordPart, RecordRow, SeriesRow};
use crate::store::table::{get, put};

/// A part of a new record, before its series has a number.
pub struct NewPart {
    pub series: SeriesRow,
    pub fallbacks: u32,
    pub failed_attempts: u32,
}

/// A record of this transaction.
pub struct NewRecord {
    pub content: u64,
    pub at: Millis,
    pub parts: Vec<NewPart>,
}

/// The table of records, in a transaction.
pub struct RecordTable<'t> {
    table: Table<'t, u128, &'static [u8]>,
    new: HashMap<ResponseKey, NewRecord>,
}

impl<'t> RecordTable<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            table: write.open_table(RECORDS)?,
            new: HashMap::new(),
        })
    }

    /// The content that was posted under this key.
    pub fn content(&self, key: ResponseKey) -> Result<Option<u64>, DbError> {
        if let Some(new) = self.new.get(&key) {
            return Ok(Some(new.content));
        }
        let row: Option<RecordRow> = get(&self.table, key.0)?;
        Ok(row.map(|row| row.content))
    }

    /// Adds a record, to be written at the end.
    pub fn insert(&mut self, key: ResponseKey, record: NewRecord) {
        self.new.insert(key, record);
    }

    /// Writes the new records; returns their parts of the sums.
    pub fn write(
        &mut self,
        names: &mut NameCache,
        models: &mut ModelTables<'_>,
        series: &mut SeriesTables<'_>,
    ) -> Result<RecordSums, DbError> {
        let mut sums = RecordSums::new();
        for (key, record) in std::mem::take(&mut self.new) {
            let mut by_series: BTreeMap<SeriesNumber, RecordPart> = BTreeMap::new();
            for part in record.parts {
                let number = series.number(names, models, part.series)?;
                let sum = by_series.entry(number).or_insert(RecordPart {
                    series: number,
                    fallbacks: 0,
                    failed_attempts: 0,
                });
                sum.fallbacks = sum.fallbacks.saturating_add(part.fallbacks);
                sum.failed_attempts = sum.failed_attempts.saturating_add(part.failed_attempts);
            }
            let row = RecordRow {
                content: record.content,
                at: record.at,
                parts: by_series.into_values().collect(),
            };
            for part in &row.parts {
                *sums.entry((row.quarter(), part.series)).or_default() += part.totals();
            }
            put(&mut self.table, key.0, &row)?;
        }
        series.write_new()?;
        Ok(sums)
    }
}

impl RecordRow {
    /// The quarter of an hour of its parts.
    #[must_use]
    pub fn quarter(&self) -> u32 {
        u32::try_from(self.at / QUARTER_MS).unwrap_or(u32::MAX)
    }
}
