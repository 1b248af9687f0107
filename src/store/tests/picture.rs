//! Contents of a database, to compare with the expected contents.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::{memory, read};
use crate::dedup::Totals;
use crate::model::{
    AccountId, DAY_MS, DAY_QUARTERS, Fired, HOUR_MS, Kind, LimitSource, LimitStatus, MINUTE_MS, Millis,
    Observation, RunId, Usage,
};
use crate::quota::window_name::{FIVE_HOUR, SEVEN_DAY};
use crate::store::{Snapshot, StoreError, Writer};

/// The default thresholds, in percent.
const THRESHOLDS: [u8; 2] = [75, 90];
/// Length used for a window of unknown length: more than the move of its end that makes it another window.
const OTHER_MS: Millis = 10 * HOUR_MS;
pub const WINDOWS: [&str; 3] = [FIVE_HOUR, SEVEN_DAY, "other"];

/// Contents of a database, by names.
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
    /// The contents of a database.
    pub fn of(snapshot: &Snapshot<'_>) -> Result<Self, StoreError> {
        let (figures, quota) = (snapshot.summary()?, snapshot.quota(0)?);
        let numbers = snapshot.run_numbers()?;
        let names: BTreeMap<_, _> = numbers.iter().map(|(id, number)| (*number, id.clone())).collect();
        let name = |number| names.get(&number).cloned().unwrap_or_else(|| "(none)".to_owned());
        let mut picture = Self::default();
        snapshot.merge_join(&read(nothing()), |key, response, _| {
            // A duplicate is no response.
            let Some(it) = response.filter(|it| it.kind != Kind::Duplicate) else {
                return;
            };
            let row = (it.usage.output, it.model.to_string(), name(it.run), it.time);
            picture.responses.insert(key.0, row);
        })?;
        for (id, sums) in figures.runs {
            let read = (sums.lines.read, sums.files, sums.bytes);
            picture.duplicates += sums.lines.duplicate;
            picture.runs.insert(id.clone(), sums.totals);
            picture.read.insert(id.clone(), read);
            let view = snapshot.run(&RunId::new(&id).unwrap())?.unwrap_or_default();
            for (model, totals) in view.by_model {
                picture.of_runs.insert((id.clone(), model.to_string()), totals);
            }
            for (day, totals) in view.by_day {
                picture.of_runs.insert((id.clone(), day.to_string()), totals);
            }
        }
        let models = figures.by_model.into_iter();
        picture.models = models
            .map(|(model, totals)| (model.to_string(), totals))
            .collect();
        picture.days = figures.by_day;
        let names_of = snapshot.series_names()?;
        let quarters = |day: u32| day * DAY_QUARTERS;
        let recorded = snapshot
            .days_recorded()?
            .map(|(first, last)| quarters(first)..quarters(last + 1));
        let hours: Vec<_> = (recorded.unwrap_or_default().step_by(4))
            .map(|quarter| quarter..quarter + 4)
            .collect();
        snapshot.for_each_usage(&hours, None, |at, _, series, totals| {
            let model = names_of.models[series.model as usize].to_string();
            let key = (hours[at].start / 4, name(series.run), model);
            *picture.hours.entry(key).or_default() += totals;
        })?;
        for (minute, totals) in quota.accounts.into_values().flat_map(|sums| sums.minutes) {
            picture.minutes.insert(minute.into(), totals);
        }
        for ((_, model), totals) in snapshot.sums()? {
            picture.accounts.insert(model.to_string(), totals);
        }
        Ok(picture.without_zeros())
    }

    /// The sums derived from the responses, each with this number of input tokens.
    pub fn add_up(&mut self, input: u64) {
        for (output, model, run, time) in self.responses.values() {
            let usage = Usage {
                input,
                output: *output,
                ..Usage::default()
            };
            let totals = Totals::of_usage(Kind::Message, &usage, true, false);
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
        self.read.retain(|_, read| *read != (0, 0, 0));
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

/// An empty database to compare with another.
fn nothing() -> &'static Writer {
    static NOTHING: OnceLock<Writer> = OnceLock::new();
    NOTHING.get_or_init(memory)
}

/// State of a window: the thousandths used, its end, the time of the report, the status, the end of a
/// refusal, and the thresholds reached.
pub type Window = (u64, Millis, Millis, LimitStatus, Option<Millis>, Vec<u8>);

/// Contents of a database on limits, except the fired thresholds, see [`check_fired`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Limits {
    pub windows: BTreeMap<String, Window>,
    /// The last report of each minute, with the thousandths.
    pub history: BTreeMap<(String, Millis), (Millis, u64)>,
    pub rejections: BTreeMap<(Millis, String), Millis>,
}

/// A provider's report at a time: the share used grows as the window passes, so the latest report is the
/// highest of its window, and the state of a window follows from the latest line alone.
pub fn report(name: &str, at: Millis, status: LimitStatus) -> Observation {
    let (thousandths, reset) = share(name, at);
    Observation {
        window: name.into(),
        utilization: Some(f64::from(u32::try_from(thousandths).unwrap()) / 1000.0),
        remaining: None,
        limit: None,
        reset_at: Some(reset),
        observed_at: Some(at),
        status,
        source: LimitSource::RateLimitEvent,
        session: None,
        // Each is of a request of its own: copies of one are merged, and no two are tries of one request.
        request: u64::try_from(at).ok(),
    }
}

/// The thousandths used of a window at a time, and the end of the window.
pub fn share(name: &str, at: Millis) -> (u64, Millis) {
    let length = match name {
        FIVE_HOUR => 5 * HOUR_MS,
        SEVEN_DAY => 7 * DAY_MS,
        _ => OTHER_MS,
    };
    let passed = at.rem_euclid(length);
    (
        u64::try_from(passed * 1000 / length).unwrap(),
        at - passed + length,
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "shares from 0 to 1"
)]
fn thousandths(share: Option<f64>) -> u64 {
    (share.unwrap() * 1000.0).round() as u64
}

impl Limits {
    /// The contents of a database.
    pub fn of(snapshot: &Snapshot<'_>) -> Result<Self, StoreError> {
        let view = snapshot.quota(0)?;
        let mut limits = Self::default();
        for (account, sums) in view.accounts {
            for (name, state) in sums.windows {
                for point in snapshot.history(&account, &name)? {
                    let minute = point.observed_at.div_euclid(MINUTE_MS);
                    let row = (point.observed_at, thousandths(point.utilization));
                    limits.history.insert((name.to_string(), minute), row);
                }
                let window = (
                    thousandths(state.utilization),
                    state.reset_at.unwrap(),
                    state.observed_at,
                    state.status,
                    state.exhausted_until,
                    state.thresholds_crossed,
                );
                limits.windows.insert(name.to_string(), window);
            }
        }
        for event in view.limit_events {
            let key = (event.at, event.window.to_string());
            limits.rejections.insert(key, event.resets_at.unwrap());
        }
        Ok(limits)
    }

    /// The expected state after observations that [`report`] made, each of a separate time.
    pub fn must_be<'a>(observations: impl IntoIterator<Item = &'a Observation>) -> Self {
        let mut limits = Self::default();
        for observation in observations {
            let (at, name) = (observation.observed_at.unwrap(), observation.window.to_string());
            let (share, reset) = share(&name, at);
            let rejected = observation.status == LimitStatus::Rejected;
            if rejected {
                limits.rejections.insert((at, name.clone()), reset);
            }
            let point = limits
                .history
                .entry((name.clone(), at.div_euclid(MINUTE_MS)))
                .or_default();
            *point = (at, share).max(*point);
            let reached = THRESHOLDS
                .into_iter()
                .filter(|percent| u64::from(*percent) * 10 <= share);
            let window = (
                share,
                reset,
                at,
                observation.status,
                rejected.then_some(reset),
                reached.collect(),
            );
            if limits.windows.get(&name).is_none_or(|there| there.2 < at) {
                limits.windows.insert(name, window);
            }
        }
        limits
    }
}

/// Checks that thresholds fired once each, numbered without a gap, for a report; and that all thresholds
/// reached by the windows fired. The order of reports decides which others fired, so that is not computed.
pub fn check_fired<'a>(
    fired: &[Fired],
    limits: &Limits,
    observations: impl IntoIterator<Item = &'a Observation>,
) -> Result<(), String> {
    let reported: std::collections::BTreeSet<(Millis, &str)> = observations
        .into_iter()
        .map(|observation| (observation.observed_at.unwrap(), &*observation.window))
        .collect();
    let mut once = std::collections::BTreeSet::new();
    for (one, number) in fired.iter().zip(1..) {
        let (share, reset) = share(&one.window, one.observed_at);
        let is_right = one.number == number
            && one.reset_at == Some(reset)
            && thousandths(Some(one.utilization)) == share
            && u64::from(one.percent) * 10 <= share
            && reported.contains(&(one.observed_at, &*one.window));
        if !is_right || !once.insert((&*one.window, reset, one.percent)) {
            return Err(format!("a threshold fired that must not: {one:?} of {fired:?}"));
        }
    }
    for (name, (_, reset, .., reached)) in &limits.windows {
        if let Some(percent) = reached
            .iter()
            .find(|percent| !once.contains(&(&**name, *reset, **percent)))
        {
            return Err(format!(
                "{percent} % of {name} was reached and did not fire: {fired:?}"
            ));
        }
    }
    Ok(())
}

/// The account of all responses.
pub fn account() -> AccountId {
    AccountId::default()
}
