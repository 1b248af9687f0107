//! A cache of series between commits: a part of the tables.

use std::collections::HashMap;

use crate::model::{RunNumber, SeriesNumber};
use crate::store::schema::SeriesRow;

/// Maximum number of cached series, each of some 120 bytes: beyond it the cache is emptied.
pub const SERIES_KEPT_MAX: usize = 16_384;
/// Cached rows of the tables of series, see [`SERIES_KEPT_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesCache {
    pub rows: HashMap<SeriesNumber, SeriesRow>,
    pub numbers: HashMap<SeriesRow, SeriesNumber>,
    /// Number of series of each run that brought one.
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
