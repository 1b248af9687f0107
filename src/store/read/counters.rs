//! Reads counters for metrics: lines and bytes read, responses counted, models seen.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::ReadableTable;

use super::quota::account_ids;
use super::{Snapshot, for_each_series, model_name, models};
use crate::dedup::Totals;
use crate::model::{AccountId, Dialect, LineCounts, ModelNumber, PriceClass};
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{META, META_SEQUENCE, RowError, RunTotalsRow, TOTALS};
use crate::store::table::decode_row;

/// Amounts read since the database was created, of all runs, forgotten ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadCounters {
    /// The number of the last commit.
    pub sequence: u64,
    pub lines: LineCounts,
    pub files: u64,
    /// Bytes read, those of skipped lines included.
    pub bytes: u64,
    /// In the order of the first occurrence, which never changes.
    pub models: Vec<Arc<str>>,
}

/// The sums of everything that has one price on a day.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClassKey {
    pub account: AccountId,
    pub model: Arc<str>,
    pub dialect: Option<Dialect>,
    pub class: PriceClass,
}

impl Snapshot<'_> {
    /// The number of the last commit.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn sequence(&self) -> Result<u64, StoreError> {
        self.reading(|read| {
            let meta = read.open_table(META)?;
            let sequence = meta.get(META_SEQUENCE)?;
            Ok(sequence.map_or(0, |value| value.value()))
        })
    }

    /// Amounts read since the database was created.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn counters(&self) -> Result<ReadCounters, StoreError> {
        self.reading(|read| {
            let meta = read.open_table(META)?;
            let sequence = meta.get(META_SEQUENCE)?;
            let mut counters = ReadCounters {
                sequence: sequence.map_or(0, |value| value.value()),
                models: models(read)?,
                ..ReadCounters::default()
            };
            let totals = read.open_table(TOTALS)?;
            for entry in totals.iter()? {
                let (_, row) = entry?;
                let row: RunTotalsRow = decode_row("totals", row.value())?;
                counters.lines.add(&row.lines);
                counters.files = counters.files.saturating_add(row.files);
                counters.bytes = counters.bytes.saturating_add(row.bytes);
            }
            Ok(counters)
        })
    }

    /// Everything ever counted, by account, model, agent and price class; forgotten runs included.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn sums(&self) -> Result<BTreeMap<ClassKey, Totals>, StoreError> {
        self.reading(|read| {
            let (accounts, models) = (account_ids(read)?, models(read)?);
            let mut by_number: BTreeMap<(u32, ModelNumber, Option<Dialect>, PriceClass), Totals> =
                BTreeMap::new();
            for_each_series(read, |series, totals| {
                let key = (series.account, series.model, series.dialect, series.class);
                *by_number.entry(key).or_default() += totals;
                Ok(())
            })?;
            let mut sums = BTreeMap::new();
            for ((account, model, dialect, class), totals) in by_number {
                let account = accounts.get(account as usize).cloned();
                let key = ClassKey {
                    account: account.ok_or_else(|| DbError::row("series", RowError::Range("account")))?,
                    model: model_name(&models, model)?,
                    dialect,
                    class,
                };
                sums.insert(key, totals);
            }
            Ok(sums)
        })
    }
}
