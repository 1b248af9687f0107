//! Reading the sums of a stretch of time, from the smallest table that has them.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use redb::ReadableTable;

use super::{RunInfo, Snapshot, model_name, models};
use crate::dedup::Totals;
use crate::model::{AccountId, DAY_HOURS, RunId, RunNumber};
use crate::store::StoreError;
use crate::store::schema::{DAYS, HOURS, RUN_DAYS};
use crate::store::table::decode_row;

/// A row of sums in `hours`: (hour, run, model).
pub type HourKey = (u32, RunNumber, Arc<str>);

/// What a sum is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageKey {
    /// Since 1970; the first hour of the day where the granularity is a day.
    pub hour: u32,
    /// `None` where runs are not told apart.
    pub run: Option<RunNumber>,
    pub model: Arc<str>,
}

/// The parts into which sums are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granularity {
    pub hours: bool,
    pub runs: bool,
}

/// Whom the numbers of runs mean.
#[derive(Clone, Debug, Default)]
pub struct RunNames {
    /// Runs that are known; a number without an entry is a forgotten run's.
    pub infos: BTreeMap<RunNumber, (RunId, RunInfo)>,
    /// Accounts of all runs, forgotten ones too.
    pub accounts: BTreeMap<RunNumber, AccountId>,
}

impl Snapshot<'_> {
    /// Walks over the sums of these hours since 1970. Coarser ones are read from smaller tables.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn for_each_usage(
        &self,
        hours: Range<u32>,
        granularity: Granularity,
        mut each: impl FnMut(UsageKey, Totals),
    ) -> Result<(), StoreError> {
        self.reading(|read| {
            let models = models(read)?;
            let days = hours.start / DAY_HOURS..hours.end.div_ceil(DAY_HOURS);
            let whole_days = hours.start.is_multiple_of(DAY_HOURS)
                && (hours.end.is_multiple_of(DAY_HOURS) || hours.end == u32::MAX);
            if granularity.hours || !whole_days || (granularity.runs && hours.end != u32::MAX) {
                let table = read.open_table(HOURS)?;
                let range = (hours.start, 0, 0)..(hours.end, 0, 0);
                for entry in table.range(range)? {
                    let (key, row) = entry?;
                    let (hour, run, model) = key.value();
                    let totals: Totals = decode_row("hours", row.value())?;
                    let model = model_name(&models, model)?;
                    let run = Some(run);
                    each(UsageKey { hour, run, model }, totals);
                }
            } else if granularity.runs {
                let table = read.open_table(RUN_DAYS)?;
                for entry in table.iter()? {
                    let (key, row) = entry?;
                    let (run, day, model) = key.value();
                    if !days.contains(&day) {
                        continue;
                    }
                    let totals: Totals = decode_row("run_days", row.value())?;
                    let model = model_name(&models, model)?;
                    let (hour, run) = (day.saturating_mul(DAY_HOURS), Some(run));
                    each(UsageKey { hour, run, model }, totals);
                }
            } else {
                let table = read.open_table(DAYS)?;
                let range = (days.start, 0)..(days.end, 0);
                for entry in table.range(range)? {
                    let (key, row) = entry?;
                    let (day, model) = key.value();
                    let totals: Totals = decode_row("days", row.value())?;
                    let model = model_name(&models, model)?;
                    let hour = day.saturating_mul(DAY_HOURS);
                    each(
                        UsageKey {
                            hour,
                            run: None,
                            model,
                        },
                        totals,
                    );
                }
            }
            Ok(())
        })
    }

    /// Which runs the numbers of [`UsageKey`] mean.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn run_names(&self) -> Result<RunNames, StoreError> {
        let infos = self.run_infos()?.into_iter();
        Ok(RunNames {
            infos: infos.map(|(id, info)| (info.number, (id, info))).collect(),
            accounts: self.accounts_by_number()?,
        })
    }

    /// How many runs used something on each of these days since 1970.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn runs_by_day(&self, days: Range<u32>) -> Result<BTreeMap<u32, usize>, StoreError> {
        let mut runs: BTreeMap<u32, BTreeSet<RunNumber>> = BTreeMap::new();
        let hours = days.start.saturating_mul(DAY_HOURS)..days.end.saturating_mul(DAY_HOURS);
        let granularity = Granularity {
            hours: false,
            runs: true,
        };
        self.for_each_usage(hours, granularity, |cell, totals| {
            if totals != Totals::default() {
                runs.entry(cell.hour / DAY_HOURS).or_default().extend(cell.run);
            }
        })?;
        Ok(runs.into_iter().map(|(day, runs)| (day, runs.len())).collect())
    }

    /// The first and the last day since 1970 of which there are sums.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn days_recorded(&self) -> Result<Option<(u32, u32)>, StoreError> {
        self.reading(|read| {
            let table = read.open_table(DAYS)?;
            let (first, last) = (table.first(), table.last());
            let (first, last) = (first?, last?);
            Ok(first
                .zip(last)
                .map(|((first, _), (last, _))| (first.value().0, last.value().0)))
        })
    }

    /// Walks over all hourly sums. For recounts.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn for_each_hour(&self, mut each: impl FnMut(HourKey, Totals)) -> Result<(), StoreError> {
        self.reading(|read| {
            let models = models(read)?;
            let table = read.open_table(HOURS)?;
            for entry in table.iter()? {
                let (key, row) = entry?;
                let (hour, run, model) = key.value();
                let totals: Totals = decode_row("hours", row.value())?;
                each((hour, run, model_name(&models, model)?), totals);
            }
            Ok(())
        })
    }
}
