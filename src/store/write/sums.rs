//! The sums of responses by hour, day, minute, account and model.

use std::collections::BTreeMap;

use redb::{ReadableTable, Table, WriteTransaction};

use super::name_cache::NameCache;
use super::responses::{Contributions, ResponseDelta};
use super::sorted_rows::{add, add_all};
use crate::dedup::{Response, Totals};
use crate::model::{DAY_HOURS, Kind, Millis, ModelNumber, RunNumber};
use crate::store::error::DbError;
use crate::store::schema::{DAYS, HOURS, MINUTES, RUN_DAYS, SERVED, SUMS};

/// A row of `hours` and what is added to it.
pub type HourDelta = ((u32, RunNumber, ModelNumber), Totals);

/// The tables of sums, in a transaction.
pub struct SumTables<'t> {
    hours: Table<'t, (u32, u32, u32), &'static [u8]>,
    run_days: Table<'t, (u32, u32, u32), &'static [u8]>,
    days: Table<'t, (u32, u32), &'static [u8]>,
    minutes: Table<'t, (u32, u32), &'static [u8]>,
    sums: Table<'t, (u32, u32), &'static [u8]>,
    served: Table<'t, (u32, u32), i64>,
}

impl<'t> SumTables<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            hours: write.open_table(HOURS)?,
            run_days: write.open_table(RUN_DAYS)?,
            days: write.open_table(DAYS)?,
            minutes: write.open_table(MINUTES)?,
            sums: write.open_table(SUMS)?,
            served: write.open_table(SERVED)?,
        })
    }

    /// Adds what changed to the sums by time; what was added, by hour, run and model.
    pub fn add_by_time(
        &mut self,
        names: &NameCache,
        deltas: &[ResponseDelta],
    ) -> Result<Vec<HourDelta>, DbError> {
        let by_hour = Contributions::of(deltas, |response| Some(response.sum_key()));
        let by_hour: Vec<HourDelta> = by_hour.sums().collect();
        let mut by_day: BTreeMap<(u32, ModelNumber), Totals> = BTreeMap::new();
        let mut by_run_day: BTreeMap<(RunNumber, u32, ModelNumber), Totals> = BTreeMap::new();
        for ((hour, run, model), delta) in &by_hour {
            *by_day.entry((hour / DAY_HOURS, *model)).or_default() += *delta;
            *by_run_day.entry((*run, hour / DAY_HOURS, *model)).or_default() += *delta;
        }
        let by_minute = Contributions::of(deltas, |response| {
            Some((names.account_of(response.response.run), response.minute()?))
        });
        add_all(&mut self.hours, by_hour.iter().copied())?;
        add_all(&mut self.run_days, by_run_day.into_iter())?;
        add_all(&mut self.days, by_day.into_iter())?;
        add_all(&mut self.minutes, by_minute.sums())?;
        Ok(by_hour)
    }

    /// Adds the differences to `sums`.
    pub fn add_by_account(
        &mut self,
        names: &NameCache,
        by_model: &BTreeMap<(RunNumber, ModelNumber), Totals>,
    ) -> Result<(), DbError> {
        let mut sums: BTreeMap<(u32, ModelNumber), Totals> = BTreeMap::new();
        for ((run, model), delta) in by_model {
            *sums.entry((names.account_of(*run), *model)).or_default() += *delta;
        }
        for (key, delta) in sums {
            add(&mut self.sums, key, delta)?;
        }
        Ok(())
    }

    /// Notes when the provider served last, by account and model. Only a line's own time says so, and none that is still
    /// to come: a captured answer that is read late shows nothing of now.
    pub fn note_served(
        &mut self,
        names: &NameCache,
        deltas: &[ResponseDelta],
        read_at: Millis,
    ) -> Result<(), DbError> {
        let mut latest: BTreeMap<(RunNumber, ModelNumber), Millis> = BTreeMap::new();
        let shows_service = |response: &Response| {
            let is_served = response.kind == Kind::Message && !response.usage.is_empty();
            is_served && response.dating.is_own() && response.time <= read_at
        };
        let of = |it: &ResponseDelta| (it.after.response.run, it.after.model);
        // Responses of one reading mostly follow each other.
        for group in deltas.chunk_by(|one, other| of(one) == of(other)) {
            let responses = group.iter().map(|it| &it.after.response);
            if let Some(time) = responses.filter(|it| shows_service(it)).map(|it| it.time).max() {
                let at = latest.entry(of(&group[0])).or_insert(time);
                *at = time.max(*at);
            }
        }
        for ((run, model), at) in latest {
            let key = (names.account_of(run), model);
            let before = self.served.get(key)?;
            let before = before.map(|at| at.value());
            if before.is_none_or(|before| before < at) {
                self.served.insert(key, at)?;
            }
        }
        Ok(())
    }
}
