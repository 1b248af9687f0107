//! Takes one more observation into a window's state.
//!
//! Rules, each with its place below:
//! 1. Older than the state: history only. A line that speaks of a window already over: history only.
//! 2. A reset within [`RESET_JITTER_MS`] of the stored one: the same window; the later of the two stays.
//! 3. A lower share in the same window: the higher stays, unless it is far lower twice in a row.
//! 4. A reset far ahead, or any later one once the stored one has passed: the next window, nothing is carried over.
//! 5. A reset further back: held as a whole until a later observation says the same.
//! 6. A rejection: exhausted until the reset; the share stays what it was. A later "allowed" takes it back.
//! 7. Observations of one time: merged in one fixed order, whatever order they came in.

use std::cmp::Ordering;

use super::{
    Held, HeldReading, MOMENT_READINGS_MAX, Moment, RESET_UNKNOWN_MS, Reading, SHARE_EPSILON, WindowState,
};
use crate::quota::bucket;
use crate::record::{HOUR_MS, LimitStatus, Millis, Observation};

/// Resets that differ by no more than this mean the same window, in milliseconds.
pub const RESET_JITTER_MS: u64 = 120_000;
/// A share lower by this much is a large drop.
pub const DROP_LARGE: f64 = 0.2;
/// A reset moved by this much means another window where the length is not known, in milliseconds.
pub const MOVE_FAR_MS: Millis = HOUR_MS;

/// What taking in an observation came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    pub state: WindowState,
    /// Whether the observation says something that is worth keeping in the history.
    pub history: bool,
    /// Thresholds that the window reached just now, in percent, sorted.
    pub crossed: Vec<u8>,
    /// Whether a new window has just taken the place of a known one.
    pub rolled_over: bool,
}

/// Takes an observation of the time `observed_at` into what is known of its window.
///
/// `thresholds` are in percent. **Invariants**: an observation older than the state changes nothing; the order of
/// observations of one time changes nothing.
#[must_use]
pub fn merge(
    known: Option<&WindowState>,
    observation: &Observation,
    observed_at: Millis,
    thresholds: &[u8],
) -> Merged {
    let reading = Reading::of(observation);
    let speaks = reading.speaks();
    let unchanged = |state: &WindowState, history| Merged {
        state: state.clone(),
        history,
        crossed: Vec::new(),
        rolled_over: false,
    };
    let same_moment =
        known.filter(|state| state.observed_at == observed_at && !state.moment.readings.is_empty());
    let (before, mut readings) = match (known, same_moment) {
        (Some(state), _) if observed_at < state.observed_at => return unchanged(state, speaks),
        (_, Some(state)) => (state.moment.before.as_deref(), state.moment.readings.clone()),
        (before, None) => (before, Vec::new()),
    };
    if let (Some(state), Some(_)) = (known, before)
        && (!speaks || reading.is_over(observed_at))
    {
        return unchanged(state, speaks);
    }
    let fresh = add(&mut readings, reading, observed_at);
    if let (Some(state), false) = (same_moment, fresh) {
        return unchanged(state, false);
    }

    let length = bucket::length(&observation.bucket);
    let before = before.map(|state| WindowState {
        moment: Moment::default(),
        ..state.clone()
    });
    let mut opened = false;
    let state = readings.iter().fold(before.clone(), |state, reading| {
        Some(match state {
            None => open(reading, observed_at, length),
            Some(mut state) => {
                opened |= apply(&mut state, reading, observed_at, length);
                state
            }
        })
    });
    // There is at least the reading just added, so the fold has a state.
    let mut state = state.unwrap_or_else(|| open(&reading, observed_at, length));
    state.observed_at = observed_at;
    if state.utilization.is_some() && readings.iter().any(|reading| reading.utilization.is_some()) {
        state.utilization_at = Some(observed_at);
    }
    let rolled_over = opened && before.is_some() && same_moment.is_none_or(|state| !state.moment.rolled_over);
    latch(&mut state, thresholds);
    let reported = known.filter(|_| !rolled_over);
    let crossed = state
        .thresholds_crossed
        .iter()
        .copied()
        .filter(|threshold| reported.is_none_or(|known| !known.thresholds_crossed.contains(threshold)))
        .collect();
    state.moment = Moment {
        before: before.map(Box::new),
        readings,
        rolled_over: opened,
    };
    Merged {
        state,
        history: speaks,
        crossed,
        rolled_over,
    }
}

impl Reading {
    fn speaks(&self) -> bool {
        self.utilization.is_some() || self.reset_at.is_some() || self.status != LimitStatus::Unknown
    }

    /// A line that was late already when it was written: its window has passed.
    fn is_over(&self, at: Millis) -> bool {
        self.reset_at.is_some_and(|reset| reset <= at)
    }

    /// Readings of one time are merged in this order: windows that have passed, then those that do not say which
    /// window, then by reset. So the window that ends last has the last word.
    fn place(&self, at: Millis) -> (u8, Option<Millis>) {
        let class = match self.reset_at {
            Some(_) if self.is_over(at) => 0,
            None => 1,
            Some(_) => 2,
        };
        (class, self.reset_at)
    }

    /// A total order of the figures; the share decides first.
    fn compare_figures(&self, other: &Self) -> Ordering {
        let share = |reading: &Self| reading.utilization.unwrap_or(f64::NEG_INFINITY);
        share(self)
            .total_cmp(&share(other))
            .then_with(|| (self.limit, self.remaining).cmp(&(other.limit, other.remaining)))
            .then_with(|| self.source.cmp(&other.source))
    }

    /// The higher figures, and `status`.
    fn higher(self, other: Self, status: LimitStatus) -> Self {
        let higher = if self.compare_figures(&other) == Ordering::Less {
            other
        } else {
            self
        };
        Self { status, ..higher }
    }
}

/// Adds a reading to those of its time: one for each reset, with the highest figures and the gravest status. False
/// if it adds nothing.
fn add(readings: &mut Vec<Reading>, reading: Reading, at: Millis) -> bool {
    if let Some(there) = readings
        .iter_mut()
        .find(|there| there.reset_at == reading.reset_at)
    {
        let joined = there.higher(reading, there.status.max(reading.status));
        let changed = joined != *there;
        *there = joined;
        return changed;
    }
    readings.push(reading);
    readings.sort_by_key(|reading| reading.place(at));
    if readings.len() > MOMENT_READINGS_MAX {
        // Only later places push one out, so the same ones stay in any order.
        return readings.remove(0) != reading;
    }
    true
}

/// A window seen for the first time.
fn open(reading: &Reading, at: Millis, length: Option<Millis>) -> WindowState {
    let mut state = WindowState {
        utilization: reading.utilization,
        utilization_at: reading.utilization.map(|_| at),
        remaining: reading.remaining,
        limit: reading.limit,
        status: LimitStatus::Unknown,
        status_at: None,
        reset_at: reading.reset_at,
        window_started_at: started(reading.reset_at, length),
        observed_at: at,
        source: reading.source,
        exhausted_until: None,
        held: Held::default(),
        thresholds_crossed: Vec::new(),
        moment: Moment::default(),
    };
    take_status(&mut state, reading.status, at);
    state
}

fn started(reset: Option<Millis>, length: Option<Millis>) -> Option<Millis> {
    Some(reset?.saturating_sub(length?))
}

/// Which window a reading speaks of, as seen from the stored one.
enum Which {
    Same,
    Next,
    /// One that ends earlier; `far` if it cannot be the same one with its end moved.
    Earlier {
        far: bool,
    },
}

fn which(state: &WindowState, reading: &Reading, at: Millis, length: Option<Millis>) -> Which {
    let far = |old: Millis, new: Millis| {
        let bound = length.map_or(MOVE_FAR_MS, |length| length / 2);
        old.abs_diff(new) >= bound.unsigned_abs()
    };
    match (state.reset_at, reading.reset_at) {
        (Some(old), Some(new)) if old.abs_diff(new) <= RESET_JITTER_MS => Which::Same,
        (Some(old), Some(new)) if new < old => Which::Earlier { far: far(old, new) },
        (Some(old), Some(new)) if old <= at || far(old, new) => Which::Next,
        (Some(old), None) if old <= at => Which::Next,
        // Nobody said when the stored window ends; after its length it has ended.
        (None, _) if length.is_some_and(|length| at.saturating_sub(state.observed_at) >= length) => {
            Which::Next
        }
        _ => Which::Same,
    }
}

/// Takes in one reading that is not older than the state; true if it opened another window.
fn apply(state: &mut WindowState, reading: &Reading, at: Millis, length: Option<Millis>) -> bool {
    match which(state, reading, at, length) {
        Which::Next => {
            *state = open(reading, at, length);
            return true;
        }
        Which::Same => {
            if let Some(new) = reading.reset_at {
                state.held.reset = None;
                let kept = state.reset_at.filter(|old| old.abs_diff(new) <= RESET_JITTER_MS);
                move_reset(state, kept.map_or(new, |old| old.max(new)), length);
            }
            take_utilization(state, reading, at);
            take_status(state, reading.status, at);
            state.source = reading.source;
        }
        Which::Earlier { far } => match confirmed(state.held.reset, reading, at) {
            Some(agreed) if far => {
                *state = open(&agreed, at, length);
                return true;
            }
            Some(agreed) => {
                state.held = Held::default();
                if let Some(new) = agreed.reset_at {
                    move_reset(state, new, length);
                }
                if agreed.utilization.is_some() {
                    keep_figures(state, &agreed, at);
                }
                take_status(state, agreed.status, at);
                state.source = agreed.source;
            }
            None => {
                state.held.reset = Some(HeldReading {
                    at,
                    reading: *reading,
                });
            }
        },
    }
    false
}

/// What a held reading and a strictly later one agree on, if they name the same reset.
fn confirmed(held: Option<HeldReading>, reading: &Reading, at: Millis) -> Option<Reading> {
    let first = held.filter(|held| held.at < at)?.reading;
    let (one, two) = (first.reset_at?, reading.reset_at?);
    if one.abs_diff(two) > RESET_JITTER_MS {
        return None;
    }
    let status = match reading.status {
        LimitStatus::Unknown => first.status,
        later => later,
    };
    Some(Reading {
        reset_at: Some(one.max(two)),
        ..first.higher(*reading, status)
    })
}

/// A block until the reset moves along with it.
fn move_reset(state: &mut WindowState, reset: Millis, length: Option<Millis>) {
    if state.exhausted_until.is_some() && state.exhausted_until == state.reset_at {
        state.exhausted_until = Some(reset);
    }
    state.reset_at = Some(reset);
    state.window_started_at = started(state.reset_at, length);
}

fn take_utilization(state: &mut WindowState, reading: &Reading, at: Millis) {
    let (kept, new) = match (state.utilization, reading.utilization) {
        (_, None) => {
            if reading.status == LimitStatus::Rejected {
                // Used up is the opposite of a drop.
                state.held.drop = None;
            }
            return;
        }
        (None, Some(_)) => return keep_figures(state, reading, at),
        (Some(kept), Some(new)) => (kept, new),
    };
    if new >= kept {
        state.held.drop = None;
        keep_figures(state, reading, at);
    } else if kept - new < DROP_LARGE - SHARE_EPSILON {
        // Sessions side by side know different amounts; the highest is nearest to the truth.
        state.held.drop = None;
    } else if let Some(first) = state.held.drop {
        let higher = first.reading.higher(*reading, LimitStatus::Unknown);
        if first.at < at {
            state.held.drop = None;
            keep_figures(state, &higher, at);
            if state.status == LimitStatus::Rejected && state.status_at < Some(first.at) {
                // The provider gave something back since it refused.
                state.exhausted_until = None;
                state.status = LimitStatus::Unknown;
                state.status_at = None;
            }
        } else {
            state.held.drop = Some(HeldReading { at, reading: higher });
        }
    } else {
        state.held.drop = Some(HeldReading {
            at,
            reading: *reading,
        });
    }
}

fn keep_figures(state: &mut WindowState, reading: &Reading, at: Millis) {
    state.utilization = reading.utilization;
    state.utilization_at = Some(at);
    state.remaining = reading.remaining;
    state.limit = reading.limit;
}

fn take_status(state: &mut WindowState, status: LimitStatus, at: Millis) {
    if status == LimitStatus::Unknown {
        return;
    }
    // Of one time, the gravest word stands.
    state.status = if state.status_at == Some(at) {
        state.status.max(status)
    } else {
        status
    };
    state.status_at = Some(at);
    state.exhausted_until = (state.status == LimitStatus::Rejected).then(|| {
        state
            .reset_at
            .unwrap_or_else(|| at.saturating_add(RESET_UNKNOWN_MS))
    });
}

/// Remembers the thresholds that the share has reached. A window that is over reaches none.
fn latch(state: &mut WindowState, thresholds: &[u8]) {
    let over = state.reset_at.is_some_and(|reset| reset <= state.observed_at);
    let Some(share) = state.utilization.filter(|_| !over) else {
        return;
    };
    for threshold in thresholds {
        if reaches(share, *threshold) && !state.thresholds_crossed.contains(threshold) {
            state.thresholds_crossed.push(*threshold);
        }
    }
    state.thresholds_crossed.sort_unstable();
}

/// True if a share reaches a percentage; 0.29 reaches 29, 0.745 does not reach 75.
pub(in crate::quota) fn reaches(share: f64, percent: u8) -> bool {
    share * 100.0 >= f64::from(percent) - SHARE_EPSILON
}
