//! Series kept in memory between commits: some of those in the tables.

use std::collections::HashMap;

use crate::model::{RunNumber, SeriesNumber};
use crate::store::schema::SeriesRow;

/// Series that are kept in memory, each in some 120 bytes: beyond it all are read again as they occur.
pub const SERIES_KEPT_MAX: usize = 16_384;
/// Series as they are in the tables: some of them, see [`SERIES_KEPT_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesCache {
    pub rows: HashMap<SeriesNumber, SeriesRow>,
    pub numbers: HashMap<SeriesRow, SeriesNumber>,
    /// How many series a run has, of those runs that brought one.
    pub of_runs: HashMap<RunNumber, u32>,
}

impl SeriesCache {
    pub fn keep(&mut self, number: SeriesNumber, row: SeriesRow) {
        if self.rows.len() >= SERIES_KEPT_MAX {
            self.rows.clear();
            self.numbers.clear();
        }
        self.rows.insert(number, row);
        self.numbers.insert(row, number);
    }
}
