//! Everything a database says, to be laid beside what it must say.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::memory;
use crate::fold::Totals;
use crate::record::{HOUR_MS, Kind, MINUTE_MS, Millis, RunId, Usage};
use crate::store::{Store, StoreError};

/// Everything the database says, by names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Best output tokens, model, run and time of each response.
    pub responses: BTreeMap<u128, (u64, String, String, Millis)>,
    pub runs: BTreeMap<String, Totals>,
    /// Lines, files and bytes of each run.
    pub read: BTreeMap<String, (u64, u64, u64)>,
    pub duplicates: u64,
    pub models: BTreeMap<String, Totals>,
    pub days: BTreeMap<u32, Totals>,
    pub hours: BTreeMap<(u32, String, String), Totals>,
    pub minutes: BTreeMap<i64, Totals>,
    pub accounts: BTreeMap<String, Totals>,
    pub of_runs: BTreeMap<(String, String), Totals>,
}

impl Picture {
    /// What the database says.
    pub fn of(store: &Store) -> Result<Self, StoreError> {
        let (snapshot, quota) = store.overview(0)?;
        let numbers = store.run_numbers()?;
        let names: BTreeMap<_, _> = numbers.iter().map(|(id, number)| (*number, id.clone())).collect();
        let name = |number| names.get(&number).cloned().unwrap_or_else(|| "(none)".to_owned());
        let mut picture = Self::default();
        store.side_by_side(nothing(), |key, response, _| {
            let Some(it) = response else { return };
            let row = (it.usage.output, it.model.to_string(), name(it.run), it.time);
            picture.responses.insert(key.0, row);
        })?;
        for (id, sums) in snapshot.runs {
            let read = (sums.lines.read, sums.files, sums.bytes);
            picture.duplicates += sums.lines.duplicate;
            picture.runs.insert(id.clone(), sums.totals);
            picture.read.insert(id.clone(), read);
            let view = store.run(&RunId::new(&id).unwrap())?.unwrap_or_default();
            for (model, totals) in view.by_model {
                picture.of_runs.insert((id.clone(), model.to_string()), totals);
            }
            for (day, totals) in view.by_day {
                picture.of_runs.insert((id.clone(), day.to_string()), totals);
            }
        }
        let models = snapshot.by_model.into_iter();
        picture.models = models
            .map(|(model, totals)| (model.to_string(), totals))
            .collect();
        picture.days = snapshot.by_day;
        store.for_each_hour(|(hour, run, model), totals| {
            picture.hours.insert((hour, name(run), model.to_string()), totals);
        })?;
        for (minute, totals) in quota.accounts.into_values().flat_map(|sums| sums.minutes) {
            picture.minutes.insert(minute.into(), totals);
        }
        for ((_, model), totals) in store.sums()? {
            picture.accounts.insert(model.to_string(), totals);
        }
        Ok(picture.without_zeros())
    }

    /// The sums that follow from the responses, each with so many input tokens.
    pub fn add_up(&mut self, input: u64) {
        for (output, model, run, time) in self.responses.values() {
            let usage = Usage {
                input,
                output: *output,
                ..Usage::default()
            };
            let totals = Totals::of_usage(Kind::Message, &usage);
            let hour = u32::try_from(time / HOUR_MS).unwrap();
            let day = hour / 24;
            *self.runs.entry(run.clone()).or_default() += totals;
            *self.models.entry(model.clone()).or_default() += totals;
            *self.accounts.entry(model.clone()).or_default() += totals;
            *self.days.entry(day).or_default() += totals;
            *self.minutes.entry(time / MINUTE_MS).or_default() += totals;
            for part in [model.clone(), day.to_string()] {
                *self.of_runs.entry((run.clone(), part)).or_default() += totals;
            }
            let cell = (hour, run.clone(), model.clone());
            *self.hours.entry(cell).or_default() += totals;
        }
    }

    pub fn without_zeros(mut self) -> Self {
        self.runs.retain(|_, totals| !totals.is_zero());
        self.models.retain(|_, totals| !totals.is_zero());
        self.days.retain(|_, totals| !totals.is_zero());
        self.hours.retain(|_, totals| !totals.is_zero());
        self.minutes.retain(|_, totals| !totals.is_zero());
        self.accounts.retain(|_, totals| !totals.is_zero());
        self.of_runs.retain(|_, totals| !totals.is_zero());
        self
    }
}

/// An empty database to lay beside another.
fn nothing() -> &'static Store {
    static NOTHING: OnceLock<Store> = OnceLock::new();
    NOTHING.get_or_init(memory)
}
