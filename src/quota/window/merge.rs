//! Merging of one observation into a window's state.
//!
//! Rules, each marked at its place below:
//! 1. An observation older than the state by more than [`LATE_MAX_MS`] goes into the history only, as does
//!    one of a window that has already ended. A less late one is merged as if it had arrived in time. A
//!    snapshot makes no live reading late.
//! 2. A reset within [`RESET_JITTER_MS`] of the stored one belongs to the same window; the later of the two
//!    stays. Prose rounds an end down by less than [`WORDS_STEP_MS`].
//! 3. Of two shares of the same window the higher stays. Two exceptions: (a) a live reading lower by
//!    `DROP_LARGE`, confirmed by a second one with another share or from another session; (b) a live
//!    `allowed` of the window itself with that much room, which is accepted at once and ends a refusal.
//!    Neither applies to the line of a response that may have begun before the block ([`SERVED_AFTER_MS`]). A
//!    refusal counts as a full share. A snapshot never lowers a share and never ends a refusal, and a share
//!    already seen in this window does not count as new.
//! 4. A reset far ahead, any later reset once the stored one has passed, or a later reset together with a
//!    large drop, begins the next window; nothing is carried over. A later reset without these moves the
//!    window's end, and its own reading is shown. While a live block holds, a later reset in a snapshot at
//!    most moves the end.
//! 5. An earlier reset is held back as a whole until a later observation confirms it: a live one by a live
//!    one, a snapshot by a snapshot only if both are of one session and the share grew, since idle terminals
//!    repeat their last values. A live refusal blocks at once, until its own end.
//! 6. After a rejection the window is exhausted until its reset; the share is unchanged. A live `allowed`
//!    ends it once no earlier request can be in flight any more ([`IN_FLIGHT_MS`]).
//! 7. A window ends at its reset: see `view`.
//! 8. An observation clears nothing that it does not name: each window is merged alone.
//! 9. A window's own status is treated like a claimed one: both are the `status` of an observation.

use std::cmp::Ordering;

use super::{
    Held, IN_FLIGHT_MS, LATE_MAX_MS, MOMENT_READINGS_MAX, RECENT_READINGS_MAX, RESET_UNKNOWN_MS, Reading,
    SERVED_AFTER_MS, SHARE_EPSILON, Track, WindowState,
};
use crate::model::{HOUR_MS, LimitSource, LimitStatus, Millis, Observation};
use crate::quota::window_name;

/// Prose rounds a window's end down by less than this, in milliseconds.
const WORDS_STEP_MS: u64 = HOUR_MS.unsigned_abs();
/// Resets that differ by at most this belong to the same window, in milliseconds.
pub const RESET_JITTER_MS: u64 = 120_000;
/// Size of a large drop of the share.
const DROP_LARGE: f64 = 0.2;
/// Rounding of snapshots, as a share.
const SNAPSHOT_STEP: f64 = 0.01;
/// If the length is unknown, a reset moved by this much belongs to another window, in milliseconds.
const MOVE_FAR_MS: Millis = HOUR_MS;

/// The result of a merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Merged {
    pub track: Track,
    /// True if the observation belongs in the history.
    pub history: bool,
    /// Thresholds newly reached by the window, in percent, sorted.
    pub crossed: Vec<u8>,
    /// True if a new window replaced a known one.
    pub rolled_over: bool,
}

/// Merges an observation of the time `observed_at` into its window.
///
/// `thresholds` are in percent. **Invariants**: an observation that is too late changes nothing; the order of
/// the others does not matter.
#[must_use]
pub fn merge(
    known: Option<&Track>,
    observation: &Observation,
    observed_at: Millis,
    thresholds: &[u8],
) -> Merged {
    let reading = Reading::of(observation, observed_at);
    let length = window_name::length(&observation.window);
    let history = reading.has_content();
    let (mut before, mut readings) = (None, Vec::new());
    if let Some(track) = known {
        let newest = |state: &WindowState| {
            if reading.is_snapshot() {
                Some(state.observed_at)
            } else {
                state.live_at
            }
        };
        let is_reachable = |state: &WindowState| newest(state) < Some(observed_at);
        (before, readings) = (track.before.clone(), track.readings.clone());
        // Readings without content hold the place of a window until one with content arrives.
        let is_empty = before.is_none() && readings.iter().all(Reading::is_void);
        let is_void =
            reading.is_void() && !(is_empty && readings.iter().all(|there| there.is_less(&reading)));
        // Rule 1.
        let is_late = newest(&track.state).is_some_and(|at| observed_at < at.saturating_sub(LATE_MAX_MS))
            || !before.as_ref().is_none_or(is_reachable);
        if is_empty {
            readings.clear();
        }
        if is_late || is_void || !add(&mut readings, reading) {
            return Merged {
                track: track.clone(),
                history: history && (is_late || is_void),
                crossed: Vec::new(),
                rolled_over: false,
            };
        }
    } else {
        add(&mut readings, reading);
    }
    take_old(&mut before, &mut readings, length, thresholds);
    let mut state = before.clone();
    for reading in &readings {
        take(&mut state, reading, length, thresholds);
    }
    // At least the reading just added is there, so there is a state.
    let state = state.unwrap_or_else(|| open(&reading, length));
    let reported = known
        .map(|track| &track.state)
        .filter(|known| is_same(known, &state));
    let crossed = state
        .thresholds_crossed
        .iter()
        .copied()
        .filter(|threshold| reported.is_none_or(|known| !known.thresholds_crossed.contains(threshold)))
        .collect();
    Merged {
        rolled_over: known.is_some() && reported.is_none(),
        track: Track {
            state,
            before,
            readings,
        },
        history,
        crossed,
    }
}

/// Moves the oldest readings into the state before them: those that are too old for an earlier one to follow, and
/// those beyond the bound.
fn take_old(
    before: &mut Option<WindowState>,
    readings: &mut Vec<Reading>,
    length: Option<Millis>,
    thresholds: &[u8],
) {
    let Some(newest) = readings.last().map(|last| last.at) else {
        return;
    };
    let live = readings.iter().rfind(|reading| !reading.is_snapshot());
    let horizon = live.map_or(newest, |live| live.at).saturating_sub(LATE_MAX_MS);
    while let Some(first) = readings.first().copied()
        && first.at < newest
        && (readings.len() > RECENT_READINGS_MAX || first.at < horizon)
    {
        // Only whole times are dropped, so that no later reading is merged before an earlier one of the same
        // time.
        let count = readings.partition_point(|reading| reading.at == first.at);
        for reading in readings.drain(..count) {
            take(before, &reading, length, thresholds);
        }
    }
}

/// True if two states, one merged after the other, belong to one window.
fn is_same(one: &WindowState, other: &WindowState) -> bool {
    let resets = one.reset_at.zip(other.reset_at);
    one.number == other.number || resets.is_some_and(|(one, other)| one.abs_diff(other) <= RESET_JITTER_MS)
}

/// Merges one reading that is not older than the state; a live one may be older than snapshots.
fn take(state: &mut Option<WindowState>, reading: &Reading, length: Option<Millis>, thresholds: &[u8]) {
    let Some(state) = state else {
        let mut opened = open(reading, length);
        latch(&mut opened, thresholds);
        *state = Some(opened);
        return;
    };
    if reading.is_void() {
        return;
    }
    apply(state, reading, length);
    state.observed_at = state.observed_at.max(reading.at);
    if !reading.is_snapshot() {
        state.live_at = state.live_at.max(Some(reading.at));
    }
    latch(state, thresholds);
}

impl Reading {
    fn has_content(&self) -> bool {
        self.utilization.is_some() || self.reset_at.is_some() || self.status != LimitStatus::Unknown
    }

    pub(super) fn is_void(&self) -> bool {
        !self.has_content() || self.is_over()
    }

    fn is_less(&self, other: &Self) -> bool {
        (self.place(), self.status)
            .cmp(&(other.place(), other.status))
            .then_with(|| self.compare_figures(other))
            == Ordering::Less
    }

    /// True for a line that was late already when it was written: its window has passed.
    fn is_over(&self) -> bool {
        self.reset_at.is_some_and(|reset| reset <= self.at)
    }

    /// The order of merging: by time; at one time windows that have passed first, then readings without a
    /// reset, then by reset, so that the window that ends last is merged last; live ones first.
    fn place(&self) -> (Millis, u8, Option<Millis>, bool) {
        let class = match self.reset_at {
            Some(_) if self.is_over() => 0,
            None => 1,
            Some(_) => 2,
        };
        (self.at, class, self.reset_at, self.is_snapshot())
    }

    /// A total order of the figures, by share first.
    fn compare_figures(&self, other: &Self) -> Ordering {
        let share = |reading: &Self| reading.utilization.unwrap_or(f64::NEG_INFINITY);
        share(self)
            .total_cmp(&share(other))
            .then_with(|| (self.limit, self.remaining).cmp(&(other.limit, other.remaining)))
            .then_with(|| (self.source, self.session).cmp(&(other.source, other.session)))
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

    /// True if two readings may be independent. Readings without a session are answers to different requests.
    fn is_another_witness(&self, other: &Self) -> bool {
        let sessions = self.session.zip(other.session);
        self.utilization != other.utilization || sessions.is_none_or(|(one, other)| one != other)
    }
}

/// Adds a reading: at one time, one for each reset, live and snapshots apart, with the highest figures and
/// the gravest status. Returns false if it adds nothing.
fn add(readings: &mut Vec<Reading>, reading: Reading) -> bool {
    if let Some(there) = readings.iter_mut().find(|there| there.place() == reading.place()) {
        let joined = there.higher(reading, there.status.max(reading.status));
        let changed = joined != *there;
        *there = joined;
        return changed;
    }
    let place = readings.partition_point(|there| there.place() < reading.place());
    readings.insert(place, reading);
    let first = readings.partition_point(|there| there.at < reading.at);
    let count = readings[first..].partition_point(|there| there.at == reading.at);
    if count > MOMENT_READINGS_MAX {
        // Only later places displace one, so the order of arrival does not matter.
        return readings.remove(first) != reading;
    }
    true
}

/// A window seen for the first time.
fn open(reading: &Reading, length: Option<Millis>) -> WindowState {
    let mut state = WindowState {
        utilization: None,
        highest: None,
        utilization_at: None,
        remaining: None,
        limit: None,
        status: LimitStatus::Unknown,
        status_at: None,
        reset_at: reading.reset_at,
        window_started_at: started(reading.reset_at, length),
        length,
        opened_at: reading.at,
        number: 0,
        observed_at: reading.at,
        live_at: Some(reading.at).filter(|_| !reading.is_snapshot()),
        source: reading.source,
        exhausted_until: None,
        blocked_at: None,
        held: Held::default(),
        thresholds_crossed: Vec::new(),
        served_at: None,
        allowed_at: None,
    };
    keep_figures(&mut state, reading, reading.at);
    take_status(&mut state, reading);
    state
}

/// Replaces this window by another (rule 4); nothing is carried over.
fn reopen(state: &mut WindowState, reading: &Reading, length: Option<Millis>) {
    let number = state.number.saturating_add(1);
    let (observed_at, live_at) = (state.observed_at, state.live_at);
    *state = WindowState {
        number,
        observed_at,
        live_at,
        ..open(reading, length)
    };
}

fn started(reset: Option<Millis>, length: Option<Millis>) -> Option<Millis> {
    Some(reset?.saturating_sub(length?))
}

/// The window of a reading, relative to the stored one.
enum Which {
    Same,
    Next,
    /// The stored one, with a later end.
    Moved,
    /// A later one, seen only in a snapshot while the stored one is blocked.
    Doubtful,
    /// One that ends earlier; `far` if it cannot be the stored one with a moved end.
    Earlier {
        far: bool,
    },
}

fn which(state: &WindowState, reading: &Reading, length: Option<Millis>) -> Which {
    let far = |old: Millis, new: Millis| {
        let bound = length.map_or(MOVE_FAR_MS, |length| length / 2);
        old.abs_diff(new) >= bound.unsigned_abs()
    };
    let is_over = state.over_at().is_some_and(|over| over <= reading.at);
    match (state.reset_at, reading.reset_at) {
        (Some(old), Some(new)) if old.abs_diff(new) <= RESET_JITTER_MS => Which::Same,
        (Some(old), Some(new)) if is_rounded(reading) && new < old && old.abs_diff(new) < WORDS_STEP_MS => {
            Which::Same
        }
        (Some(old), Some(new)) if new < old => Which::Earlier { far: far(old, new) },
        (Some(old), Some(new)) if !is_over && reading.is_snapshot() && is_blocked_live(state, reading.at) => {
            // Prose is rounded, and a terminal has the exact second.
            if far(old, new) {
                Which::Doubtful
            } else {
                Which::Same
            }
        }
        (Some(old), Some(new)) if is_over || far(old, new) || has_room(state, reading) => Which::Next,
        (Some(_), Some(_)) => Which::Moved,
        _ if is_over => Which::Next,
        _ => Which::Same,
    }
}

/// Prose gives the hour or the minute of a window's end.
fn is_rounded(reading: &Reading) -> bool {
    reading.source == LimitSource::Prose
}

/// True if a refusal, or a live reading of a full share, still holds.
fn is_blocked_live(state: &WindowState, at: Millis) -> bool {
    let is_full = state.utilization.is_some_and(|share| share >= 1.0);
    is_refused(state, at) || is_full && state.blocked_at.is_some() && state.live_at >= state.blocked_at
}

fn is_refused(state: &WindowState, at: Millis) -> bool {
    state.status == LimitStatus::Rejected && state.exhausted_until.is_some_and(|until| until > at)
}

/// True if a reading's share is lower by `DROP_LARGE` than the shown one; a refused window counts as full.
fn has_room(state: &WindowState, reading: &Reading) -> bool {
    let shown = if is_refused(state, reading.at) {
        Some(1.0)
    } else {
        state.utilization
    };
    shown
        .zip(reading.utilization)
        .is_some_and(|(shown, new)| is_large_drop(shown, new))
}

/// True for the line of a response, written at its end, that may have begun before the block.
fn may_precede(state: &WindowState, reading: &Reading) -> bool {
    let is_of_response = matches!(reading.source, LimitSource::RateLimits | LimitSource::Codex);
    let margin = if is_of_response { SERVED_AFTER_MS } else { 0 };
    (state.blocked_at).is_some_and(|blocked| reading.at <= blocked.saturating_add(margin))
}

fn is_large_drop(from: f64, to: f64) -> bool {
    from - to >= DROP_LARGE - SHARE_EPSILON
}

/// Applies one reading that is not older than the state.
fn apply(state: &mut WindowState, reading: &Reading, length: Option<Millis>) {
    match which(state, reading, length) {
        Which::Next => reopen(state, reading, length),
        Which::Moved => {
            state.held = Held::default();
            take_moved(state, reading, length);
        }
        Which::Same => {
            if let Some(new) = reading.reset_at {
                if !reading.is_snapshot() {
                    state.held.reset = None;
                }
                let later = state.reset_at.map_or(new, |old| old.max(new));
                move_reset(state, later, length);
            }
            if is_idle_again(state, reading) {
                return reopen(state, reading, length);
            }
            let is_freed = frees(state, reading);
            let is_relieved = relieves(state, reading);
            take_utilization(state, reading, is_freed);
            if is_freed || is_relieved {
                end_refusal(state);
            }
            take_status(state, reading);
            state.source = reading.source;
        }
        Which::Doubtful => {}
        Which::Earlier { far } => match confirmed(state.held.reset, reading) {
            Some(agreed) if far => reopen(state, &agreed, length),
            Some(agreed) => {
                state.held = Held::default();
                take_moved(state, &agreed, length);
            }
            None => {
                let is_live = |reading: &Reading| !reading.is_snapshot();
                if is_live(reading) || !state.held.reset.as_ref().is_some_and(is_live) {
                    state.held.reset = Some(*reading);
                }
                if is_live(reading) && reading.status == LimitStatus::Rejected {
                    let until = reading.reset_at.max(state.exhausted_until);
                    refuse(state, reading.at, until);
                }
                if state.utilization.is_some() && reading.utilization.is_some() && !reading.is_snapshot() {
                    state.utilization_at = Some(reading.at);
                }
            }
        },
    }
}

fn end_refusal(state: &mut WindowState) {
    state.held.relief = None;
    state.exhausted_until = None;
    state.blocked_at = None;
    state.status = LimitStatus::Unknown;
    state.status_at = None;
}

/// True for a second live reading of an unused window without an end: the stored window has ended.
fn is_idle_again(state: &WindowState, reading: &Reading) -> bool {
    let is_idle = |reading: &Reading| reading.reset_at.is_none() && reading.utilization == Some(0.0);
    let firsts = [state.held.drop, state.held.relief];
    let mut firsts = firsts.iter().flatten();
    let is_first =
        |first: &Reading| first.at < reading.at && is_idle(first) && first.is_another_witness(reading);
    state.reset_at.is_some() && is_idle(reading) && !reading.is_snapshot() && firsts.any(is_first)
}

/// Applies a reading of the window with a moved end. A share that was read with another end does not apply to
/// this one.
fn take_moved(state: &mut WindowState, reading: &Reading, length: Option<Millis>) {
    if let Some(new) = reading.reset_at {
        move_reset(state, new, length);
    }
    state.highest = None;
    keep_figures(state, reading, reading.at);
    take_status(state, reading);
    state.source = reading.source;
}

/// True if the provider's own status ends a refusal or a full window: with much room at once (rule 3b); with
/// less, once no earlier request can be in flight (rule 6).
fn frees(state: &WindowState, reading: &Reading) -> bool {
    let is_allowed = matches!(reading.status, LimitStatus::Allowed | LimitStatus::AllowedWarning);
    if !is_allowed || reading.is_snapshot() {
        return false;
    }
    let Some(blocked_at) = state.blocked_at.filter(|_| !may_precede(state, reading)) else {
        return false;
    };
    let has_room = reading.status == LimitStatus::Allowed && has_room(state, reading);
    let is_later = reading.at > blocked_at.saturating_add(IN_FLIGHT_MS);
    has_room || (is_later && reading.utilization.is_none_or(|share| share < 1.0))
}

/// True for a second live reading with much room since a refusal, which counts as a full share (rule 3a).
fn relieves(state: &mut WindowState, reading: &Reading) -> bool {
    let has_room = reading.utilization.is_some_and(|share| is_large_drop(1.0, share));
    let is_silent = reading.is_snapshot() || reading.status == LimitStatus::Rejected;
    if state.status != LimitStatus::Rejected || is_silent || !has_room || may_precede(state, reading) {
        return false;
    }
    if let Some(first) = state.held.relief {
        return first.at < reading.at && first.is_another_witness(reading);
    }
    state.held.relief = Some(*reading);
    false
}

/// The common content of a held reading and a strictly later one, if both have the same reset (rule 5).
fn confirmed(held: Option<Reading>, reading: &Reading) -> Option<Reading> {
    let first = held.filter(|held| held.at < reading.at)?;
    let (one, two) = (first.reset_at?, reading.reset_at?);
    // Idle terminals repeat their last values; an active one changes them.
    let moves_on = first.session.is_some()
        && first.session == reading.session
        && first.utilization < reading.utilization;
    let is_snapshot = first.is_snapshot() || reading.is_snapshot();
    if one.abs_diff(two) > RESET_JITTER_MS || is_snapshot && !moves_on {
        return None;
    }
    let status = match reading.status {
        LimitStatus::Unknown => first.status,
        later => later,
    };
    Some(Reading {
        at: reading.at,
        reset_at: Some(one.max(two)),
        ..first.higher(*reading, status)
    })
}

/// Moves the reset, and a block that ended with it.
fn move_reset(state: &mut WindowState, reset: Millis, length: Option<Millis>) {
    if state.exhausted_until.is_some() && state.exhausted_until == state.reset_at {
        state.exhausted_until = Some(reset);
    }
    state.reset_at = Some(reset);
    state.window_started_at = started(state.reset_at, length);
}

/// Rule 3.
fn take_utilization(state: &mut WindowState, reading: &Reading, is_freed: bool) {
    let at = reading.at;
    let (kept, new) = match (state.utilization, reading.utilization) {
        (kept, None) => {
            if reading.status == LimitStatus::Rejected {
                // A full share contradicts a drop.
                state.held.drop = None;
            }
            let is_full = kept.is_some_and(|kept| kept >= 1.0);
            if is_freed && is_full && state.status == LimitStatus::Rejected {
                // Requests are served again; the share is unknown.
                state.utilization = None;
            }
            return;
        }
        (kept, Some(_)) if reading.is_snapshot() => {
            if reading.utilization > kept && is_news(state, reading) {
                state.held.drop = None;
                keep_figures(state, reading, at);
            }
            return;
        }
        (None, Some(_)) => return keep_figures(state, reading, at),
        (Some(kept), Some(new)) => (kept, new),
    };
    // Snapshots may have come before an older live reading, and a block before the end of a response.
    let is_older = state.utilization_at > Some(at) || may_precede(state, reading);
    state.utilization_at = state.utilization_at.max(Some(at));
    if new >= 1.0 {
        // A full share always counts as new: requests served since then may be due to an upgrade.
        state.blocked_at = state.blocked_at.max(Some(at));
        state.held.relief = None;
    }
    let is_same_time = state.status_at == Some(at) && state.status == LimitStatus::Rejected;
    if new >= kept || is_freed && kept >= 1.0 {
        state.held.drop = None;
        keep_figures(state, reading, at);
    } else if !is_large_drop(kept, new) {
        // Parallel sessions have different values; the highest is nearest to the truth.
        state.held.drop = None;
    } else if is_older && !is_same_time {
        // The use since then is unknown.
    } else if reading.status == LimitStatus::Allowed && !is_same_time {
        state.held.drop = None;
        keep_figures(state, reading, at);
    } else if let Some(first) = state.held.drop {
        if first.at < at && first.is_another_witness(reading) {
            state.held.drop = None;
            keep_figures(state, &first.higher(*reading, LimitStatus::Unknown), at);
        } else if first.at == at {
            state.held.drop = Some(first.higher(*reading, LimitStatus::Unknown));
        }
    } else {
        state.held.drop = Some(*reading);
    }
}

/// True if a snapshot with a higher share than the kept one is newer than the last drop: its share exceeds
/// all earlier ones, or its session is active.
fn is_news(state: &mut WindowState, reading: &Reading) -> bool {
    let most = state.highest.filter(|highest| Some(*highest) > state.utilization);
    if most.is_none_or(|most| reading.utilization > Some(most + SNAPSHOT_STEP)) {
        return true;
    }
    let is_one = |before: &Reading| before.session.is_some() && before.session == reading.session;
    let moves_on =
        (state.held.rise).is_some_and(|before| is_one(&before) && before.utilization < reading.utilization);
    // The lowest is the most likely to be current.
    if state
        .held
        .rise
        .is_none_or(|before| is_one(&before) || before.utilization > reading.utilization)
    {
        state.held.rise = Some(*reading);
    }
    moves_on
}

fn keep_figures(state: &mut WindowState, reading: &Reading, at: Millis) {
    let is_first_full = state.highest < Some(1.0);
    state.utilization = reading.utilization;
    if reading.utilization > state.highest {
        state.highest = reading.utilization;
    }
    state.utilization_at = reading.utilization.map(|_| at);
    state.remaining = reading.remaining;
    state.limit = reading.limit;
    match reading.utilization {
        // An idle terminal repeats an earlier full share, whatever was served since.
        Some(share) if share >= 1.0 && reading.is_snapshot() && !is_first_full => {}
        Some(share) if share >= 1.0 => state.blocked_at = state.blocked_at.max(Some(at)),
        Some(_) if state.status != LimitStatus::Rejected => state.blocked_at = None,
        _ => {}
    }
}

/// Rules 6 and 9.
fn take_status(state: &mut WindowState, reading: &Reading) {
    let (status, at) = (reading.status, reading.at);
    let is_in_force = state.exhausted_until.is_some_and(|until| until > at);
    let is_lighter = state.status == LimitStatus::Rejected
        && status != LimitStatus::Rejected
        && (is_in_force || reading.is_snapshot());
    // Ends of refusals were handled before (`frees`): a milder status here belongs to an earlier request.
    if status == LimitStatus::Unknown || is_lighter {
        return;
    }
    // Of equal times, the gravest status stays.
    let status = if state.status_at == Some(at) {
        state.status.max(status)
    } else {
        status
    };
    if status == LimitStatus::Rejected {
        let until = (state.reset_at).unwrap_or_else(|| at.saturating_add(RESET_UNKNOWN_MS));
        refuse(state, at, Some(until));
    } else {
        (state.status, state.status_at, state.exhausted_until) = (status, Some(at), None);
    }
}

fn refuse(state: &mut WindowState, at: Millis, until: Option<Millis>) {
    state.held.relief = None;
    state.status = LimitStatus::Rejected;
    state.status_at = Some(at);
    state.blocked_at = state.blocked_at.max(Some(at));
    state.exhausted_until = until;
    state.highest = Some(state.highest.map_or(1.0, |highest| highest.max(1.0)));
}

/// Latches the thresholds that the share has reached. An ended window reaches none.
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
