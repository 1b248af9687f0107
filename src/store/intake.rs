//! Reading how much was ever read, and which models were ever seen: what metrics are made of.

use std::sync::Arc;

use redb::ReadableTable;

use super::read::models;
use super::schema::{META, META_SEQUENCE, RunTotalsRow, TOTALS};
use super::table::decode_row;
use super::{Store, StoreError};
use crate::model::LineCounts;

/// How much was ever read, of all runs, forgotten ones too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intake {
    /// The number of the last commit.
    pub sequence: u64,
    pub lines: LineCounts,
    pub files: u64,
    /// Bytes read, those of skipped lines included.
    pub bytes: u64,
    /// In the order of first sight, which never changes.
    pub models: Vec<Arc<str>>,
}

impl Store {
    /// The number of the last commit.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn sequence(&self) -> Result<u64, StoreError> {
        self.reading(|read| {
            let meta = read.open_table(META)?;
            let sequence = meta.get(META_SEQUENCE)?;
            Ok(sequence.map_or(0, |value| value.value()))
        })
    }

    /// How much was ever read.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn intake(&self) -> Result<Intake, StoreError> {
        self.reading(|read| {
            let meta = read.open_table(META)?;
            let sequence = meta.get(META_SEQUENCE)?;
            let mut intake = Intake {
                sequence: sequence.map_or(0, |value| value.value()),
                models: models(read)?,
                ..Intake::default()
            };
            let totals = read.open_table(TOTALS)?;
            for entry in totals.iter()? {
                let (_, row) = entry?;
                let row: RunTotalsRow = decode_row("totals", row.value())?;
                intake.lines.add(&row.lines);
                intake.files = intake.files.saturating_add(row.files);
                intake.bytes = intake.bytes.saturating_add(row.bytes);
            }
            Ok(intake)
        })
    }
}
