//! The sums of responses by quarter of an hour, day, series and minute.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::name_cache::NameCache;
use super::responses::{Contributions, ResponseDelta};
use super::series::SeriesTables;
use super::sorted_rows::{add_all, add_and_see, insert_all};
use crate::dedup::{Response, Totals};
use crate::model::{DAY_QUARTERS, Kind, Millis, ModelNumber, RunNumber, SeriesNumber};
use crate::store::error::DbError;
use crate::store::schema::{DAYS, MINUTES, QUARTERS, RUN_DAYS, SERIES_SUMS, SERVED, SeriesRow};

/// The amounts added to the sums of a series.
pub type SeriesDelta = (SeriesNumber, Totals);

/// The amounts that records add to the sums of a quarter of an hour and series, beside their responses.
pub type RecordSums = BTreeMap<(u32, SeriesNumber), Totals>;

/// The tables of sums, in a transaction.
pub struct SumTables<'t> {
    quarters: Table<'t, (u32, u32), &'static [u8]>,
    days: Table<'t, (u32, u32), &'static [u8]>,
    run_days: Table<'t, (u32, u32, u32), ()>,
    series: Table<'t, u32, &'static [u8]>,
    minutes: Table<'t, (u32, u32), &'static [u8]>,
    served: Table<'t, (u32, u32), i64>,
}

impl<'t> SumTables<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            quarters: write.open_table(QUARTERS)?,
            days: write.open_table(DAYS)?,
            run_days: write.open_table(RUN_DAYS)?,
            series: write.open_table(SERIES_SUMS)?,
            minutes: write.open_table(MINUTES)?,
            served: write.open_table(SERVED)?,
        })
    }

    /// Adds the changes to the sums, and the parts of records beside responses; returns the added amounts, by series.
    pub fn add(
        &mut self,
        names: &mut NameCache,
        series: &mut SeriesTables<'_>,
        deltas: &[ResponseDelta],
        of_records: &RecordSums,
    ) -> Result<Vec<(SeriesRow, Totals)>, DbError> {
        let by_quarter = Contributions::of(deltas, |response| Some(response.sum_key()));
        let mut by_quarter: Vec<((u32, SeriesNumber), Totals)> = by_quarter.sums().collect();
        if !of_records.is_empty() {
            let mut sums = of_records.clone();
            for (key, delta) in by_quarter {
                *sums.entry(key).or_default() += delta;
            }
            by_quarter = sums.into_iter().collect();
        }
        let mut by_day: BTreeMap<(u32, SeriesNumber), Totals> = BTreeMap::new();
        let mut by_series: BTreeMap<SeriesNumber, Totals> = BTreeMap::new();
        for ((quarter, of), delta) in &by_quarter {
            *by_day.entry((quarter / DAY_QUARTERS, *of)).or_default() += *delta;
            *by_series.entry(*of).or_default() += *delta;
        }
        let by_minute = Contributions::of(deltas, |response| {
            Some((response.source.account, response.minute()?))
        });
        add_all(&mut self.quarters, by_quarter.into_iter())?;
        let (run_days, mut made) = (&mut self.run_days, Vec::new());
        add_and_see(&mut self.days, by_day.into_iter(), |(day, of), is_made| {
            let key = (series.row(names, of)?.run, day, of);
            if is_made {
                made.push((key, ()));
            } else {
                run_days.remove(key)?;
            }
            Ok(())
        })?;
        insert_all(run_days, made)?;
        add_all(
            &mut self.series,
            by_series.iter().map(|(of, delta)| (*of, *delta)),
        )?;
        add_all(&mut self.minutes, by_minute.sums())?;
        let row_of = |(of, delta): SeriesDelta| Ok((series.row(names, of)?, delta));
        by_series.into_iter().map(row_of).collect()
    }

    /// Stores the time at which the provider served last, by account and model. Only a line's own time is
    /// used, and none in the future: a captured answer that is read late says nothing about the present.
    pub fn note_served(&mut self, deltas: &[ResponseDelta], read_at: Millis) -> Result<(), DbError> {
        let mut latest: BTreeMap<(u32, ModelNumber), Millis> = BTreeMap::new();
        let shows_service = |response: &Response| {
            let is_served = response.kind == Kind::Message && !response.usage.is_empty();
            is_served && response.dating.is_own() && response.time <= read_at
        };
        let of = |it: &ResponseDelta| (it.after.source.account, it.after.model);
        // Consecutive responses mostly have the same account and model.
        for group in deltas.chunk_by(|one, other| of(one) == of(other)) {
            let responses = group.iter().map(|it| &it.after.response);
            if let Some(time) = responses.filter(|it| shows_service(it)).map(|it| it.time).max() {
                let at = latest.entry(of(&group[0])).or_insert(time);
                *at = time.max(*at);
            }
        }
        for (key, at) in latest {
            let before = self.served.get(key)?;
            let before = before.map(|at| at.value());
            if before.is_none_or(|before| before < at) {
                self.served.insert(key, at)?;
            }
        }
        Ok(())
    }
}

/// The added amounts, by run and model.
pub fn by_model(by_series: &[(SeriesRow, Totals)]) -> BTreeMap<(RunNumber, ModelNumber), Totals> {
    let mut by_model: BTreeMap<(RunNumber, ModelNumber), Totals> = BTreeMap::new();
    for (series, delta) in by_series {
        *by_model.entry((series.run, series.model)).or_default() += *delta;
    }
    by_model
}
