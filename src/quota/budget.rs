//! Configured limits of use: calls in any five hours, tokens in a day. Both are counted by minute.

use crate::model::{HOUR_MS, MINUTE_MS, Millis};

#[cfg(test)]
mod tests;

/// Shortest pause of a budget that was used too fast, in milliseconds.
const PACED_MIN_MS: Millis = 5 * MINUTE_MS;

/// Minutes since 1970-01-01T00:00:00Z.
pub type Minute = u32;

/// Length of the window of calls, in milliseconds.
pub const CALLS_WINDOW_MS: Millis = 5 * HOUR_MS;
/// Before this much of a day has passed, pace is not evaluated, in milliseconds.
const DAY_TOO_EARLY_MS: Millis = 15 * MINUTE_MS;
/// Before one part in so many of a budget is used, pace is not evaluated.
const BUDGET_TOO_LITTLE_PART: u128 = 10;

/// The minute of a time; times outside the range of minute numbers are moved to its ends.
#[cfg(test)]
pub fn minute_of(at: Millis) -> Minute {
    Minute::try_from(at.max(0) / MINUTE_MS).unwrap_or(Minute::MAX)
}

/// The start of a minute.
#[must_use]
pub fn start_of(minute: Minute) -> Millis {
    Millis::from(minute) * MINUTE_MS
}

/// Calls in the five hours up to now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    pub count: u64,
    /// Seconds until the oldest call no longer counts, rounded up; 0 without calls.
    pub oldest_leaves_in_s: u64,
}

/// Counts the calls of the last five hours. A call counts from the start of its minute for exactly five
/// hours.
#[must_use]
pub fn calls_in(minutes: impl IntoIterator<Item = (Minute, u64)>, now: Millis) -> Calls {
    let mut count = 0u64;
    let mut oldest: Option<Millis> = None;
    for (minute, calls) in minutes {
        let start = start_of(minute);
        if calls == 0 || start > now || now >= start + CALLS_WINDOW_MS {
            continue;
        }
        count = count.saturating_add(calls);
        oldest = Some(oldest.map_or(start, |oldest| oldest.min(start)));
    }
    let leaves_in_ms = oldest.map_or(0, |oldest| (oldest + CALLS_WINDOW_MS - now).unsigned_abs());
    Calls {
        count,
        oldest_leaves_in_s: leaves_in_ms.div_ceil(1000),
    }
}

/// True if `calls` are `percent` of `quota` or more. A quota of 0 means none.
#[must_use]
pub fn near_limit(calls: u64, quota: u64, percent: u8) -> bool {
    quota > 0 && u128::from(calls) * 100 >= u128::from(quota) * u128::from(percent)
}

/// A calendar day in the configured zone: from its first moment up to the first of the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Day {
    pub start: Millis,
    pub end: Millis,
}

impl Day {
    #[must_use]
    pub fn contains(self, at: Millis) -> bool {
        self.start <= at && at < self.end
    }
}

/// Tokens used in the minutes that begin within a day.
#[must_use]
pub fn used_in(day: Day, minutes: impl IntoIterator<Item = (Minute, u128)>) -> u128 {
    minutes
        .into_iter()
        .filter(|(minute, _)| day.contains(start_of(*minute)))
        .fold(0, |sum, (_, tokens)| sum.saturating_add(tokens))
}

/// The token budget of one day, and its use by minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DailyBudget {
    tokens: u64,
    day: Day,
    /// Of this day only, sorted.
    minutes: Vec<(Minute, u128)>,
}

/// A block by the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrun {
    /// True if all of it is used; else it is used too fast to last the day.
    pub used_up: bool,
    pub since: Millis,
    /// The end of the day; for a budget used too fast, the time at which the day has caught up with it.
    pub until: Millis,
}

impl DailyBudget {
    /// A budget in tokens (0 for none), the day, and tokens used by minute; minutes of other days are left
    /// out.
    #[must_use]
    pub fn new(tokens: u64, day: Day, minutes: impl IntoIterator<Item = (Minute, u128)>) -> Self {
        let mut minutes: Vec<_> = minutes
            .into_iter()
            .filter(|(minute, tokens)| *tokens > 0 && day.contains(start_of(*minute)))
            .collect();
        minutes.sort_unstable();
        Self { tokens, day, minutes }
    }

    /// The budget in tokens; 0 for none.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Tokens used up to and including the minute of `now`.
    #[must_use]
    pub fn used(&self, now: Millis) -> u128 {
        used_in(self.day, self.up_to(now))
    }

    /// The block that holds at `now`, if any.
    ///
    /// A used-up budget blocks until the day ends. One that is used too fast blocks until as large a part of
    /// the day has passed as was used of the budget. The verdict is computed at every minute with use, so it
    /// depends on the minutes alone: a live collector, a restarted one and a replay agree.
    #[must_use]
    pub fn overrun(&self, now: Millis) -> Option<Overrun> {
        if self.tokens == 0 || !self.day.contains(now) {
            return None;
        }
        let mut used = 0u128;
        // Kept apart: that all is used may come before the time from which the pace could be judged.
        let (mut up, mut paced) = (None, None::<Overrun>);
        for (minute, tokens) in self.up_to(now) {
            used = used.saturating_add(tokens);
            let at = start_of(minute);
            if up.is_none() && self.is_used_up(used) {
                up = Some(at);
            }
            let at = at.max(self.day.start.saturating_add(DAY_TOO_EARLY_MS));
            if at <= now && self.is_too_fast(used, at) {
                let until = self.back_on_pace(used).max(at.saturating_add(PACED_MIN_MS));
                let since = paced
                    .filter(|before| at <= before.until)
                    .map_or(at, |before| before.since);
                paced = Some(Overrun {
                    used_up: false,
                    since,
                    until: until.min(self.day.end),
                });
            }
        }
        let paced = paced.filter(|paced| now < paced.until);
        match up {
            Some(at) => Some(Overrun {
                used_up: true,
                since: paced.map_or(at, |paced| paced.since.min(at)),
                until: self.day.end,
            }),
            None => paced,
        }
    }

    /// The time at which as large a part of the day has passed as was used of the budget.
    fn back_on_pace(&self, used: u128) -> Millis {
        let part = used
            .saturating_mul(span(self.day.start, self.day.end))
            .div_ceil(u128::from(self.tokens).max(1));
        let part = Millis::try_from(part).unwrap_or(Millis::MAX);
        self.day.start.saturating_add(part)
    }

    /// The time at which the budget runs out at the day's average pace: at `now` or later, and within the
    /// day; else `None`.
    #[must_use]
    pub fn projected_exhaustion_at(&self, now: Millis) -> Option<Millis> {
        let used = self.used(now);
        let elapsed = span(self.day.start, now);
        if self.tokens == 0 || used == 0 || !self.day.contains(now) || elapsed < span(0, DAY_TOO_EARLY_MS) {
            return None;
        }
        let runs_out_in = elapsed.saturating_mul(u128::from(self.tokens)) / used;
        let runs_out = self
            .day
            .start
            .saturating_add(Millis::try_from(runs_out_in).unwrap_or(Millis::MAX));
        Some(runs_out.max(now)).filter(|at| *at < self.day.end)
    }

    fn up_to(&self, now: Millis) -> impl Iterator<Item = (Minute, u128)> {
        self.minutes
            .iter()
            .copied()
            .take_while(move |(minute, _)| start_of(*minute) <= now)
    }

    fn is_used_up(&self, used: u128) -> bool {
        used >= u128::from(self.tokens)
    }

    /// True if a larger part of the budget is used than has passed of the day, which may have 23 or 25 hours.
    fn is_too_fast(&self, used: u128, at: Millis) -> bool {
        let budget = u128::from(self.tokens);
        used.saturating_mul(BUDGET_TOO_LITTLE_PART) >= budget
            && used.saturating_mul(span(self.day.start, self.day.end)) > budget * span(self.day.start, at)
    }
}

/// Milliseconds from one time to a later one.
fn span(from: Millis, to: Millis) -> u128 {
    u128::from(to.saturating_sub(from).max(0).unsigned_abs())
}
