//! Keys of an account for leases: the number of runs at a time, shares that are kept, the ramp, expected costs.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;

use super::super::mistakes::{MistakeText, did_you_mean};
use super::super::units::{Count, Period, Share, within};
use super::table::{Table, check_name};
use crate::model::Millis;
use crate::quota::account::{RampRules, StartRules};
use crate::quota::lease::capacity::LEASES_MAX;

const CONCURRENCY_RANGE: RangeInclusive<Count> = Count(0)..=Count(LEASES_MAX as u64);
const SHARE_RANGE: RangeInclusive<Share> = Share(0.0)..=Share(1.0);
const STEP_RANGE: RangeInclusive<Count> = Count(1)..=Count(1000);
const EVERY_RANGE: RangeInclusive<Period> = Period(Duration::from_secs(1))..=Period(Duration::from_hours(1));
/// Shares in decimals do not add up exactly.
const SUM_EPSILON: f64 = 1e-9;

/// The keys whose values are shares by name.
pub(in crate::config) const OF_SHARES: [&str; 2] = ["reserve", "cost"];

/// The steps as text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DescribedRamp {
    start: u32,
    step: u32,
    every: String,
}

impl DescribedRamp {
    pub(super) fn new(rules: RampRules) -> Self {
        let every = Duration::from_millis(rules.every_ms.unsigned_abs());
        Self {
            start: rules.start,
            step: rules.step,
            every: Period(every).to_string(),
        }
    }
}

impl Table<'_> {
    /// The rules by which leases are granted.
    pub(super) fn start(&mut self) -> StartRules {
        let concurrency = self.given.concurrency.unwrap_or(Count(0));
        StartRules {
            concurrency: self.number("concurrency", concurrency, &CONCURRENCY_RANGE),
            reserve: self.reserve(),
            ramp: self.ramp(),
            cost: self.cost(),
        }
    }

    fn reserve(&mut self) -> BTreeMap<Box<str>, f64> {
        let before = self.mistakes.len();
        let mut reserve = BTreeMap::new();
        for (class, share) in self.given.reserve.iter().flatten() {
            let key = format!("reserve.{class}");
            if let Err(problem) = check_name(class) {
                self.refuse(&key, problem);
            } else if let Err(problem) = within(share, &SHARE_RANGE) {
                self.refuse(&key, of_percent(problem, *share));
            } else {
                reserve.insert(class.as_str().into(), share.0);
            }
        }
        let sum: f64 = reserve.values().sum();
        if self.mistakes.len() == before && sum > 1.0 - SUM_EPSILON {
            let problem = format!(
                "the shares add up to {sum:.2}; less than 1 is allowed: runs of no class need a rest"
            );
            self.refuse("reserve", problem);
        }
        reserve
    }

    fn ramp(&mut self) -> RampRules {
        let default = RampRules::default();
        let Some(given) = &self.given.ramp else {
            return default;
        };
        let every_ms = given.every.map_or(default.every_ms, |every| {
            if let Err(problem) = within(&every, &EVERY_RANGE) {
                self.refuse("ramp.every", problem);
            }
            Millis::try_from(every.0.as_millis()).unwrap_or(Millis::MAX)
        });
        let start = given.start.unwrap_or(Count(default.start.into()));
        let step = given.step.unwrap_or(Count(default.step.into()));
        RampRules {
            start: self.number("ramp.start", start, &STEP_RANGE),
            step: self.number("ramp.step", step, &STEP_RANGE),
            every_ms,
        }
    }

    fn cost(&mut self) -> BTreeMap<Box<str>, f64> {
        let cost = self.by_window("cost", self.given.cost.as_ref(), |table, key, share: Share| {
            if share.0 <= 0.0 || !SHARE_RANGE.contains(&share) {
                let problem = format!("{share} is out of bounds: more than 0 and up to 1 is allowed");
                table.refuse(key, of_percent(problem, share));
            }
            share.0
        });
        let owned = cost.into_iter().map(|(window, share)| (window.into(), share));
        owned.collect()
    }

    fn number(&mut self, key: &str, value: Count, range: &RangeInclusive<Count>) -> u32 {
        u32::try_from(self.within(key, value, range)).unwrap_or(u32::MAX)
    }
}

/// The problem with a share; one above 1 is meant in percent.
fn of_percent(problem: String, share: Share) -> MistakeText {
    let is_percent = share.0 > 1.0 && share.0 <= 100.0;
    MistakeText {
        hint: is_percent.then(|| did_you_mean(&Share(share.0 / 100.0).to_string())),
        ..problem.into()
    }
}
