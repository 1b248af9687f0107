//! What is left of pruned days.

use std::collections::BTreeMap;

use crate::dedup::Totals;
use crate::model::{DAY_QUARTERS, SeriesNumber};
use crate::store::horizon::Horizons;
use crate::store::prune::responses_in;
use crate::store::schema::Tombstone;

/// What is left of pruned days.
#[derive(Default)]
pub struct PrunedDays {
    pub horizons: Horizons,
    /// The sums of responses of these days that still have their details.
    pub left: BTreeMap<(u32, SeriesNumber), Totals>,
    /// Tombstones that are in the sums, by day.
    pub tombstones: BTreeMap<u32, i64>,
    /// Responses in the sums, by day.
    pub counted: BTreeMap<u32, i64>,
}

impl PrunedDays {
    pub fn note_tombstone(&mut self, tombstone: Tombstone) {
        *self.tombstones.entry(tombstone.day).or_default() += i64::from(tombstone.is_counted);
    }

    pub fn note_sum(&mut self, quarter: u32, sum: &Totals) {
        *self.counted.entry(quarter / DAY_QUARTERS).or_default() += responses_in(sum);
    }
}

/// True if no figure of a sum is below that of its part.
pub fn contains(sum: &Totals, part: &Totals) -> bool {
    let mut rest = *sum;
    rest -= *part;
    let Totals {
        messages,
        without_figures,
        unfinished,
        advisor_calls,
        input,
        output,
        cache_read,
        cache_creation,
        cache_creation_5m,
        cache_creation_1h,
        web_search,
        thinking,
        fallbacks,
        failed_attempts,
        estimated,
    } = rest;
    [
        messages,
        without_figures,
        unfinished,
        advisor_calls,
        fallbacks,
        failed_attempts,
    ]
    .into_iter()
    .map(i128::from)
    .chain([input, output, cache_read, cache_creation])
    .chain([
        cache_creation_5m,
        cache_creation_1h,
        web_search,
        thinking,
        estimated,
    ])
    .all(|figure| figure >= 0)
}
