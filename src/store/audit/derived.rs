//! Sums derived from the responses, and the rows of the tables of sums that differ from them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use redb::ReadableTable;

use super::names::SumNames;
use crate::dedup::{Totals, is_complete};
use crate::model::{
    DAY_QUARTERS, Dating, MINUTE_MS, PriceClass, QUARTER_MS, ResponseKey, RunNumber, SeriesNumber,
    SessionNumber,
};
use crate::store::error::DbError;
use crate::store::schema::{
    FORGOTTEN_RUNS, NO_RUN, RecordRow, ResponseRow, RowError, RunTotalsRow, SeriesRow, decode,
};
use crate::store::table::decode_row;

/// The sums derived from the responses, by the keys of their tables.
#[derive(Default)]
pub struct Derived {
    pub totals: BTreeMap<RunNumber, Totals>,
    pub quarters: BTreeMap<(u32, SeriesNumber), Totals>,
    pub days: BTreeMap<(u32, SeriesNumber), Totals>,
    pub run_days: BTreeSet<(RunNumber, u32, SeriesNumber)>,
    pub series_sums: BTreeMap<SeriesNumber, Totals>,
    pub minutes: BTreeMap<(u32, u32), Totals>,
    pub session_sums: BTreeMap<SessionNumber, Totals>,
    /// Responses in a series of another price class than theirs.
    pub misplaced: Vec<ResponseKey>,
    /// Records without a response.
    pub lost: Vec<ResponseKey>,
}

impl Derived {
    pub fn of(
        responses: &impl ReadableTable<u128, &'static [u8]>,
        copies: &impl ReadableTable<(u128, u32), ()>,
        records: &impl ReadableTable<u128, &'static [u8]>,
        names: &SumNames,
    ) -> Result<Self, DbError> {
        let copies = copies.iter()?;
        let copies = copies.map(|entry| Ok(entry?.0.value()));
        let mut copies = copies.peekable();
        let mut derived = Self::default();
        for run in names.runs.keys() {
            derived.totals.insert(*run, Totals::default());
        }
        for entry in responses.iter()? {
            let (key, row) = entry?;
            let key = key.value();
            let row: ResponseRow = decode_row("responses", row.value())?;
            let parts = row.parts().map_err(|error| DbError::row("responses", error))?;
            let complete = is_complete(parts.is_final, parts.rank);
            let one = Totals::of_usage(parts.kind, &parts.usage, complete, parts.is_estimated);
            let series = names.series.get(&row.series);
            let series = series.ok_or_else(|| DbError::row("responses", RowError::Range("series")))?;
            let class = PriceClass::of(&parts.usage, parts.service);
            // Series that contain other series have no class.
            if series.class != class && Some(series.model) != names.model_other {
                derived.misplaced.push(ResponseKey(key));
            }
            if one.is_zero() {
                // Counted under another key: in no sum.
                continue;
            }
            if parts.session != 0 {
                *derived.session_sums.entry(parts.session).or_default() += one;
            }
            // Both tables are sorted by key.
            while let Some(copy) = copies.next_if(|copy: &Result<(u128, u32), DbError>| {
                copy.as_ref().map_or(true, |(of, _)| *of <= key)
            }) {
                let (of, session) = copy?;
                if of == key {
                    *derived.session_sums.entry(session).or_default() += one;
                }
            }
            let quarter = u32::try_from(row.time / QUARTER_MS).unwrap_or(u32::MAX);
            derived.add(names, quarter, row.series, series, one);
            if parts.dating != Dating::Unknown {
                let minute = u32::try_from(row.time / MINUTE_MS).unwrap_or(u32::MAX);
                *derived.minutes.entry((series.account, minute)).or_default() += one;
            }
        }
        for entry in records.iter()? {
            let (key, row) = entry?;
            let row: RecordRow = decode_row("records", row.value())?;
            if responses.get(key.value())?.is_none() {
                derived.lost.push(ResponseKey(key.value()));
                continue;
            }
            for part in &row.parts {
                let series = names.series.get(&part.series);
                let series = series.ok_or_else(|| DbError::row("records", RowError::Range("series")))?;
                derived.add(names, row.quarter(), part.series, series, part.totals());
            }
        }
        Ok(derived)
    }

    /// Adds to every sum by time and series.
    fn add(&mut self, names: &SumNames, quarter: u32, number: SeriesNumber, series: &SeriesRow, one: Totals) {
        let day = quarter / DAY_QUARTERS;
        let owner = if names.runs.contains_key(&series.run) || series.run == NO_RUN {
            series.run
        } else {
            FORGOTTEN_RUNS
        };
        *self.totals.entry(owner).or_default() += one;
        *self.quarters.entry((quarter, number)).or_default() += one;
        *self.days.entry((day, number)).or_default() += one;
        self.run_days.insert((series.run, day, number));
        *self.series_sums.entry(number).or_default() += one;
    }
}

/// A key with its stored and its derived sum; `None` for no row.
pub type Difference<K> = (K, Option<Totals>, Option<Totals>);

/// A key made of numbers.
pub trait NumberKey:
    redb::Key + for<'a> redb::Value<SelfType<'a> = Self> + Ord + Copy + Debug + 'static
{
}
impl<K: redb::Key + for<'a> redb::Value<SelfType<'a> = K> + Ord + Copy + Debug + 'static> NumberKey for K {}

/// The rows of a table of sums that differ from the derived sums. An unreadable row counts as missing.
pub fn differing<K: NumberKey>(
    table: &impl ReadableTable<K, &'static [u8]>,
    must_be: &BTreeMap<K, Totals>,
) -> Result<Vec<Difference<K>>, DbError> {
    let mut found = Vec::new();
    let mut wanted = must_be.iter().peekable();
    for entry in table.iter()? {
        let (key, row) = entry?;
        let key = key.value();
        while let Some((missing, sum)) = wanted.next_if(|(wanted, _)| **wanted < key) {
            found.push((*missing, None, Some(*sum)));
        }
        let sum = wanted.next_if(|(wanted, _)| **wanted == key).map(|(_, sum)| *sum);
        let kept: Option<Totals> = decode(row.value()).ok();
        if kept.is_none() || kept != sum {
            found.push((key, kept, sum));
        }
    }
    found.extend(wanted.map(|(missing, sum)| (*missing, None, Some(*sum))));
    Ok(found)
}

/// Keys that a table without values lacks (`true`) or has in excess.
pub fn keys_differing<K: NumberKey>(
    table: &impl ReadableTable<K, ()>,
    must_be: &BTreeSet<K>,
) -> Result<Vec<(K, bool)>, DbError> {
    let mut wanted = must_be.clone();
    let mut found = Vec::new();
    for entry in table.iter()? {
        let key = entry?.0.value();
        if !wanted.remove(&key) {
            found.push((key, false));
        }
    }
    found.extend(wanted.into_iter().map(|key| (key, true)));
    Ok(found)
}

/// Files without a path.
pub fn pathless(
    paths: &impl ReadableTable<(u32, &'static [u8]), u32>,
    files: &impl ReadableTable<u32, &'static [u8]>,
) -> Result<Vec<u32>, DbError> {
    let mut known = BTreeSet::new();
    for entry in paths.iter()? {
        known.insert(entry?.1.value());
    }
    let mut pathless = Vec::new();
    for entry in files.iter()? {
        let (file, _) = entry?;
        if !known.contains(&file.value()) {
            pathless.push(file.value());
        }
    }
    Ok(pathless)
}

/// The totals of runs that differ from the derived ones. An unreadable row is damage: it holds more than the
/// sums.
pub fn totals_differing(
    table: &impl ReadableTable<u32, &'static [u8]>,
    must_be: &BTreeMap<RunNumber, Totals>,
) -> Result<Vec<Difference<RunNumber>>, DbError> {
    let mut wanted = must_be.clone();
    let mut found = Vec::new();
    for entry in table.iter()? {
        let (run, row) = entry?;
        let row: RunTotalsRow = decode_row("totals", row.value())?;
        let sum = wanted.remove(&run.value()).unwrap_or_default();
        if row.totals != sum {
            found.push((run.value(), Some(row.totals), Some(sum)));
        }
    }
    found.extend(wanted.into_iter().map(|(run, sum)| (run, None, Some(sum))));
    Ok(found)
}
