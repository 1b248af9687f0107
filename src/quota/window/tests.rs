//! The rules one by one, a whole history with the expected state after each line, then random sequences.

use proptest::prelude::*;

use super::merge::Merged;
use super::*;
use crate::model::{DAY_MS, HOUR_MS};
use crate::quota::window_name::{FIVE_HOUR, SEVEN_DAY};

const MINUTE: Millis = 60_000;
/// 2026-10-05T00:00:00Z
const DAY: Millis = 1_791_158_400_000;
const THRESHOLDS: [u8; 2] = [75, 90];

fn saw(name: &str, utilization: Option<f64>, reset_at: Option<Millis>, status: LimitStatus) -> Observation {
    Observation {
        window: name.into(),
        utilization,
        remaining: None,
        limit: None,
        reset_at,
        observed_at: None,
        status,
        source: LimitSource::RateLimitEvent,
        session: None,
        request: None,
    }
}

/// A healthy reading of the five hour window.
fn share(utilization: f64, reset_at: Millis) -> Observation {
    saw(FIVE_HOUR, Some(utilization), Some(reset_at), LimitStatus::Allowed)
}

/// A reading of the share alone: the status of the response was for another window.
fn bare(utilization: f64, reset_at: Millis) -> Observation {
    saw(FIVE_HOUR, Some(utilization), Some(reset_at), LimitStatus::Unknown)
}

/// A repetition by a status line.
fn snapshot(utilization: f64, reset_at: Millis) -> Observation {
    Observation {
        source: LimitSource::Statusline,
        ..bare(utilization, reset_at)
    }
}

fn of_session(session: u64, observation: Observation) -> Observation {
    Observation {
        session: Some(session),
        ..observation
    }
}

fn status(status: LimitStatus, reset_at: Option<Millis>) -> Observation {
    saw(FIVE_HOUR, None, reset_at, status)
}

/// One window and its reported readings.
#[derive(Default)]
struct Story {
    track: Option<Track>,
}

impl Story {
    fn observe(&mut self, at: Millis, observation: &Observation) -> Merged {
        let merged = merge(self.track.as_ref(), observation, at, &THRESHOLDS);
        self.track = Some(merged.track.clone());
        merged
    }

    fn state(&self) -> &WindowState {
        &self.track.as_ref().expect("something was observed").state
    }

    fn utilization(&self) -> Option<f64> {
        self.state().utilization
    }
}

fn story(observations: &[(Millis, Observation)]) -> Story {
    let mut story = Story::default();
    for (at, observation) in observations {
        story.observe(*at, observation);
    }
    story
}

const RESET: Millis = DAY + 15 * HOUR_MS;
const T0: Millis = RESET - 4 * HOUR_MS;

#[test]
fn the_first_observation_opens_a_window_that_started_a_length_before_its_reset() {
    // 250 of 1000 left, to be reset at 2026-04-22T18:00:00Z.
    let observation = Observation {
        remaining: Some(250),
        limit: Some(1000),
        source: LimitSource::RateLimits,
        ..saw(
            FIVE_HOUR,
            Some(1.0 - 250.0 / 1000.0),
            Some(1_776_880_800_000),
            LimitStatus::Unknown,
        )
    };
    let merged = merge(None, &observation, 1_776_870_000_000, &THRESHOLDS);
    let state = &merged.track.state;
    assert_eq!(state.utilization, Some(0.75));
    assert_eq!((state.remaining, state.limit), (Some(250), Some(1000)));
    assert_eq!(state.reset_at, Some(1_776_880_800_000));
    assert_eq!(state.window_started_at, Some(1_776_862_800_000));
    assert_eq!(merged.crossed, [75], "250 of 1000 left is exactly 75 %");
    assert!(merged.history && !merged.rolled_over);
}

#[test]
fn a_threshold_fires_once_in_a_window_and_again_in_the_next() {
    let mut story = Story::default();
    let next = RESET + 4 * HOUR_MS;
    let fired: Vec<Vec<u8>> = [
        (0.745, RESET),
        (0.70, RESET),
        (0.76, RESET),
        (0.92, RESET),
        (0.93, RESET),
        (0.10, next),
        (0.80, next),
    ]
    .iter()
    .zip(1..)
    .map(|((utilization, reset), minute)| {
        story
            .observe(RESET - HOUR_MS + minute * MINUTE, &share(*utilization, *reset))
            .crossed
    })
    .collect();
    assert_eq!(
        fired,
        [vec![], vec![], vec![75], vec![90], vec![], vec![], vec![75]] as [Vec<u8>; 7]
    );
    assert_eq!(story.state().thresholds_crossed, [75]);
}

#[test]
fn one_reading_may_cross_several_thresholds() {
    assert_eq!(merge(None, &share(1.02, RESET), T0, &[75, 90]).crossed, [75, 90]);
}

#[test]
fn a_threshold_is_compared_without_surprise() {
    for percent in 1..=100u8 {
        assert!(
            reaches(f64::from(percent) / 100.0, percent),
            "{percent} % by division"
        );
        let left = f64::from(100 - percent) / 100.0;
        assert!(reaches(1.0 - left, percent), "{percent} % by what is left");
        assert!(!reaches(f64::from(percent) / 100.0 - 1e-6, percent));
    }
    assert!(!reaches(0.745, 75));
}

#[test]
fn a_window_seen_only_when_it_is_over_fires_nothing() {
    let merged = merge(None, &share(0.95, T0 - MINUTE), T0, &THRESHOLDS);
    assert_eq!(merged.crossed, [0u8; 0]);
    assert_eq!(view(&merged.track.state, T0).freshness, Freshness::Expired);
}

/// The expected state after one line of the history below.
struct Expect {
    five_hour: f64,
    five_reset: Millis,
    seven_day: f64,
    seven_reset: Millis,
    rolled_over: bool,
    why: &'static str,
}

#[test]
fn a_whole_story_of_two_windows() {
    let time = |day: Millis, hour: Millis, minute: Millis| {
        DAY + (day - 5) * DAY_MS + hour * HOUR_MS + minute * MINUTE
    };
    let five = |day, hour, minute, second: Millis| time(day, hour, minute) + second * 1000;
    let (first, second, third) = (time(5, 15, 20), time(5, 20, 20), time(6, 13, 30));
    let week = time(9, 16, 0);
    #[rustfmt::skip]
    let observations = [
        // observed at, five hour share and reset, seven day share and reset, what is expected
        (time(5, 10, 30), 0.10, first, 0.40, week, Expect { five_hour: 0.10, five_reset: first, seven_day: 0.40, seven_reset: week, rolled_over: false, why: "new window" }),
        (time(5, 10, 40), 0.18, first, 0.41, week, Expect { five_hour: 0.18, five_reset: first, seven_day: 0.41, seven_reset: week, rolled_over: false, why: "raise" }),
        (time(5, 10, 41), 0.15, first, 0.41, week, Expect { five_hour: 0.18, five_reset: first, seven_day: 0.41, seven_reset: week, rolled_over: false, why: "a session that lags behind: the higher stays" }),
        (time(5, 10, 35), 0.13, first, 0.40, week, Expect { five_hour: 0.18, five_reset: first, seven_day: 0.41, seven_reset: week, rolled_over: false, why: "arrives late: history only" }),
        (time(5, 10, 50), 0.20, five(5, 15, 19, 59), 0.42, week + 2000, Expect { five_hour: 0.20, five_reset: first, seven_day: 0.42, seven_reset: week + 2000, rolled_over: false, why: "jitter is no rollover" }),
        (time(5, 15, 25), 0.02, second, 0.44, week, Expect { five_hour: 0.02, five_reset: second, seven_day: 0.44, seven_reset: week + 2000, rolled_over: true, why: "five hours forward: rollover" }),
        (time(5, 15, 26), 0.95, first, 0.44, week, Expect { five_hour: 0.02, five_reset: second, seven_day: 0.44, seven_reset: week + 2000, rolled_over: false, why: "a line of the window that is over" }),
        (time(6, 9, 0), 0.01, third, 0.02, week, Expect { five_hour: 0.01, five_reset: third, seven_day: 0.44, seven_reset: week + 2000, rolled_over: true, why: "a large drop is held" }),
        (time(6, 9, 5), 0.02, third, 0.03, week, Expect { five_hour: 0.02, five_reset: third, seven_day: 0.03, seven_reset: week + 2000, rolled_over: false, why: "the second reading confirms the drop" }),
        (time(6, 10, 0), 0.03, third, 0.99, time(6, 16, 0), Expect { five_hour: 0.03, five_reset: third, seven_day: 0.03, seven_reset: week + 2000, rolled_over: false, why: "a reset three days back is held" }),
        (time(6, 10, 10), 1.02, third, 0.05, week, Expect { five_hour: 1.02, five_reset: third, seven_day: 0.05, seven_reset: week + 2000, rolled_over: false, why: "more than all stays as it is; the old reset again drops what was held" }),
    ];
    let (mut five_hour, mut seven_day) = (Story::default(), Story::default());
    for (at, share5, reset5, share7, reset7, expect) in observations {
        let status = if share5 > 1.0 {
            LimitStatus::Rejected
        } else {
            LimitStatus::Allowed
        };
        let merged = five_hour.observe(at, &saw(FIVE_HOUR, Some(share5), Some(reset5), status));
        seven_day.observe(
            at,
            &saw(SEVEN_DAY, Some(share7), Some(reset7), LimitStatus::Unknown),
        );
        let got = (
            five_hour.utilization(),
            five_hour.state().reset_at,
            seven_day.utilization(),
            seven_day.state().reset_at,
            merged.rolled_over,
        );
        let want = (
            Some(expect.five_hour),
            Some(expect.five_reset),
            Some(expect.seven_day),
            Some(expect.seven_reset),
            expect.rolled_over,
        );
        assert_eq!(got, want, "{}", expect.why);
        assert!(merged.history, "{}", expect.why);
    }
    assert_eq!(seven_day.state().held, Held::default());
    let end = view(five_hour.state(), time(6, 10, 10));
    assert_eq!(
        (end.utilization, end.left, end.blocked_until),
        (Some(1.02), Some(0.0), Some(third))
    );
    assert_eq!(five_hour.state().window_started_at, Some(third - 5 * HOUR_MS));
}

#[test]
fn a_large_drop_needs_a_second_later_low_reading() {
    let mut once = story(&[(T0, bare(0.9, RESET)), (T0 + 1, bare(0.1, RESET))]);
    assert_eq!(once.utilization(), Some(0.9));
    once.observe(T0 + 1, &bare(0.12, RESET));
    assert_eq!(
        once.utilization(),
        Some(0.9),
        "a second of the same time is no second"
    );
    once.observe(T0 + 2, &bare(0.7, RESET));
    assert_eq!(
        once.utilization(),
        Some(0.7),
        "exactly 0.2 lower is a large drop as well"
    );

    let mut broken = story(&[(T0, bare(0.9, RESET)), (T0 + 1, bare(0.1, RESET))]);
    broken.observe(T0 + 2, &bare(0.75, RESET));
    broken.observe(T0 + 3, &bare(0.1, RESET));
    assert_eq!(broken.utilization(), Some(0.9), "not twice in a row");
    broken.observe(T0 + 4, &status(LimitStatus::Rejected, Some(RESET)));
    broken.observe(T0 + 5, &bare(0.1, RESET));
    assert_eq!(
        broken.utilization(),
        Some(0.9),
        "a rejection is the opposite of a drop"
    );
    broken.observe(T0 + 6, &status(LimitStatus::Unknown, Some(RESET)));
    broken.observe(T0 + 7, &bare(0.12, RESET));
    assert_eq!(
        broken.utilization(),
        Some(0.12),
        "a line without a share hinders nothing; of the two the higher is kept"
    );
    assert_eq!(broken.state().thresholds_crossed, [75, 90], "the latches stay");
    assert_eq!(broken.observe(T0 + 8, &bare(0.95, RESET)).crossed, [0u8; 0]);
}

#[test]
fn of_one_time_neither_is_a_low_reading_the_second_nor_does_a_milder_word_stand() {
    let low = story(&[
        (T0, bare(0.9, RESET)),
        (T0 + 1, bare(0.1, RESET)),
        (T0 + 1, bare(0.1, RESET + 1000)),
    ]);
    assert_eq!(low.utilization(), Some(0.9));
    let refused = story(&[
        (T0, status(LimitStatus::Rejected, Some(RESET))),
        (T0, status(LimitStatus::Allowed, Some(RESET + 1000))),
    ]);
    assert_eq!(view(refused.state(), T0).blocked_until, Some(RESET + 1000));
}

#[test]
fn a_raise_clears_a_held_drop() {
    let story = story(&[
        (T0, bare(0.5, RESET)),
        (T0 + 1, bare(0.1, RESET)),
        (T0 + 2, bare(0.5, RESET)),
        (T0 + 3, bare(0.1, RESET)),
    ]);
    assert_eq!(story.utilization(), Some(0.5));
}

#[test]
fn jitter_takes_the_later_reset_and_more_moves_it() {
    let jitter = 120_000;
    let mut story = story(&[(T0, share(0.5, RESET)), (T0 + 1, share(0.4, RESET + jitter))]);
    assert_eq!(
        (story.utilization(), story.state().reset_at),
        (Some(0.5), Some(RESET + jitter))
    );
    story.observe(T0 + 2, &share(0.4, RESET));
    assert_eq!(story.state().reset_at, Some(RESET + jitter));
    assert_eq!(story.state().held, Held::default());
    // Further than jitter, less than half a window, no large drop: the end was moved, and the new reading is
    // shown.
    let moved = story.observe(T0 + 3, &share(0.4, RESET + HOUR_MS));
    assert_eq!(
        (
            moved.rolled_over,
            moved.track.state.utilization,
            moved.track.state.reset_at,
            moved.track.state.window_started_at
        ),
        (false, Some(0.4), Some(RESET + HOUR_MS), Some(RESET - 4 * HOUR_MS))
    );
}

#[test]
fn half_a_window_forward_is_the_next_one() {
    let half = 5 * HOUR_MS / 2;
    let at = RESET - HOUR_MS;
    let mut short = story(&[(at, share(0.9, RESET))]);
    assert!(!short.observe(at + 1, &share(0.8, RESET + half - 1)).rolled_over);
    let mut long = story(&[(at, share(0.9, RESET))]);
    let merged = long.observe(at + 1, &share(0.1, RESET + half));
    assert!(merged.rolled_over);
    assert_eq!(merged.track.state.utilization, Some(0.1));
    assert_eq!(merged.track.state.thresholds_crossed, [0u8; 0]);
    assert_eq!(
        merged.track.state.window_started_at,
        Some(RESET + half - 5 * HOUR_MS)
    );
}

#[test]
fn once_the_reset_has_passed_any_new_one_is_the_next_window() {
    let mut dated = story(&[(T0, share(0.9, RESET))]);
    let merged = dated.observe(RESET + MINUTE, &share(0.1, RESET + HOUR_MS));
    assert!(merged.rolled_over);
    assert_eq!(merged.track.state.utilization, Some(0.1));

    let mut idle = story(&[(T0, share(0.9, RESET))]);
    let merged = idle.observe(
        RESET + MINUTE,
        &saw(FIVE_HOUR, Some(0.0), None, LimitStatus::Unknown),
    );
    assert!(merged.rolled_over);
    assert_eq!(
        (
            merged.track.state.utilization,
            merged.track.state.reset_at,
            merged.track.state.window_started_at
        ),
        (Some(0.0), None, None)
    );
    let merged = idle.observe(RESET + HOUR_MS, &share(0.01, RESET + 6 * HOUR_MS));
    assert_eq!(
        (
            merged.rolled_over,
            merged.track.state.utilization,
            merged.track.state.reset_at
        ),
        (false, Some(0.01), Some(RESET + 6 * HOUR_MS))
    );
}

#[test]
fn a_window_without_a_reset_is_over_after_its_length() {
    let no_reset = |utilization| saw(FIVE_HOUR, Some(utilization), None, LimitStatus::Unknown);
    let mut story = story(&[(T0, no_reset(0.9))]);
    assert!(
        !story
            .observe(T0 + 5 * HOUR_MS - 1, &status(LimitStatus::Allowed, None))
            .rolled_over
    );
    let merged = story.observe(T0 + 10 * HOUR_MS, &no_reset(0.1));
    assert_eq!(
        (merged.rolled_over, merged.track.state.utilization),
        (true, Some(0.1))
    );
}

#[test]
fn a_rollover_without_a_share_forgets_the_old_one() {
    let mut story = story(&[(T0, share(0.9, RESET))]);
    let merged = story.observe(
        RESET + 1,
        &status(LimitStatus::Allowed, Some(RESET + 5 * HOUR_MS)),
    );
    assert!(merged.rolled_over);
    assert_eq!(
        (merged.track.state.utilization, merged.track.state.utilization_at),
        (None, None)
    );
    assert_eq!(merged.track.state.status, LimitStatus::Allowed);
}

#[test]
fn a_window_of_unknown_length_rolls_over_when_it_has_passed_or_moves_by_an_hour() {
    let other = |utilization, reset| saw("other", Some(utilization), Some(reset), LimitStatus::Unknown);
    let after = |at, reset| {
        let known = merge(None, &other(0.9, RESET), T0, &THRESHOLDS).track;
        merge(Some(&known), &other(0.8, reset), at, &THRESHOLDS).rolled_over
    };
    assert!(!after(T0 + 1, RESET + HOUR_MS - 1));
    assert!(after(T0 + 1, RESET + HOUR_MS));
    assert!(after(RESET, RESET + 3 * MINUTE));
    assert!(!after(RESET, RESET + 2 * MINUTE), "that is jitter");
}

#[test]
fn a_reset_that_moves_back_is_held_until_a_later_reading_says_it_again() {
    let week = DAY + 5 * DAY_MS;
    let reading = |utilization, reset| saw(SEVEN_DAY, Some(utilization), Some(reset), LimitStatus::Allowed);
    let early = week - 4 * DAY_MS;
    let start = [(T0, reading(0.95, week)), (T0 + 1, reading(0.10, early))];
    let mut held = story(&start);
    assert_eq!(
        (held.utilization(), held.state().reset_at),
        (Some(0.95), Some(week))
    );
    held.observe(T0 + 1, &reading(0.10, early + 1));
    assert_eq!(
        held.state().reset_at,
        Some(week),
        "a second of the same time is no second"
    );
    let merged = held.observe(T0 + 2, &reading(0.08, early + 2));
    assert_eq!(
        (
            merged.track.state.utilization,
            merged.track.state.reset_at,
            merged.rolled_over
        ),
        (Some(0.10), Some(early + 2), true)
    );
    assert_eq!(
        merged.track.state.thresholds_crossed, [0u8; 0],
        "another window is armed anew"
    );

    let mut dropped = story(&start);
    dropped.observe(T0 + 2, &reading(0.95, week));
    dropped.observe(T0 + 3, &reading(0.10, early));
    assert_eq!(
        dropped.state().reset_at,
        Some(week),
        "the old reset in between drops what was held"
    );
    dropped.observe(T0 + 4, &reading(0.10, early - HOUR_MS));
    assert_eq!(
        dropped.state().reset_at,
        Some(week),
        "another early reset is no second"
    );

    let mut moved = story(&[(T0, reading(0.95, week)), (T0 + 1, reading(0.5, week - DAY_MS))]);
    let merged = moved.observe(T0 + 2, &reading(0.4, week - DAY_MS));
    assert_eq!(
        (
            merged.track.state.utilization,
            merged.track.state.reset_at,
            merged.rolled_over
        ),
        (Some(0.5), Some(week - DAY_MS), false)
    );
    assert_eq!(
        merged.track.state.thresholds_crossed,
        [75, 90],
        "less than half a window back: the same window"
    );
}

#[test]
fn a_rejection_blocks_until_the_reset_and_leaves_the_share_alone() {
    let mut story = story(&[(T0, share(0.6, RESET))]);
    story.observe(T0 + 1, &status(LimitStatus::Rejected, Some(RESET + 1000)));
    let state = story.state();
    assert_eq!((state.utilization, state.utilization_at), (Some(0.6), Some(T0)));
    let blocked = view(state, T0 + 2);
    assert_eq!(
        (blocked.blocked_until, blocked.left, blocked.utilization),
        (Some(RESET + 1000), Some(0.0), Some(0.6))
    );
    assert_eq!(view(state, RESET + 999).blocked_until, Some(RESET + 1000));
    assert_eq!(view(state, RESET + 1000).blocked_until, None);

    story.observe(T0 + 1, &status(LimitStatus::Allowed, Some(RESET)));
    assert!(
        view(story.state(), T0 + 2).blocked_until.is_some(),
        "not later than the rejection"
    );
    story.observe(
        T0 + 2,
        &saw(FIVE_HOUR, Some(0.6), Some(RESET), LimitStatus::Unknown),
    );
    assert!(
        view(story.state(), T0 + 3).blocked_until.is_some(),
        "unknown says nothing"
    );
    story.observe(T0 + MINUTE, &status(LimitStatus::AllowedWarning, Some(RESET)));
    assert!(
        view(story.state(), T0 + MINUTE).refused,
        "what was asked before the refusal may be answered for a minute"
    );
    story.observe(T0 + MINUTE + 2, &status(LimitStatus::AllowedWarning, Some(RESET)));
    let cleared = view(story.state(), T0 + MINUTE + 2);
    assert_eq!((cleared.blocked_until, cleared.left), (None, Some(0.4)));
}

#[test]
fn a_rejection_without_a_reset_blocks_until_the_stored_one_or_for_five_minutes() {
    let known = story(&[
        (T0, share(0.6, RESET)),
        (T0 + 1, status(LimitStatus::Rejected, None)),
    ]);
    assert_eq!(known.state().exhausted_until, Some(RESET));
    let unknown = story(&[(T0, status(LimitStatus::Rejected, None))]);
    assert_eq!(view(unknown.state(), T0).blocked_until, Some(T0 + 5 * MINUTE));
    let next = story(&[
        (T0, share(0.6, RESET)),
        (RESET + 1, status(LimitStatus::Rejected, None)),
    ]);
    assert_eq!(
        next.state().exhausted_until,
        Some(RESET + 1 + 5 * MINUTE),
        "the stored reset has passed"
    );
}

#[test]
fn a_rollover_ends_a_rejection_unless_it_is_one_itself() {
    let at = RESET - HOUR_MS;
    let next = RESET + 4 * HOUR_MS;
    let start = [
        (at, share(0.6, RESET)),
        (at + 1, status(LimitStatus::Rejected, Some(RESET))),
    ];
    let mut healthy = story(&start);
    healthy.observe(
        at + 2,
        &saw(FIVE_HOUR, Some(0.1), Some(next), LimitStatus::Unknown),
    );
    assert_eq!(view(healthy.state(), at + 3).blocked_until, None);
    let mut again = story(&start);
    again.observe(at + 2, &status(LimitStatus::Rejected, Some(next)));
    assert_eq!(view(again.state(), at + 3).blocked_until, Some(next));
}

#[test]
fn a_block_moves_with_its_reset() {
    let later = RESET + HOUR_MS;
    let story = story(&[
        (T0, status(LimitStatus::Rejected, Some(RESET))),
        (
            T0 + 1,
            saw(FIVE_HOUR, Some(0.9), Some(later), LimitStatus::Unknown),
        ),
    ]);
    assert_eq!(view(story.state(), RESET + 1).blocked_until, Some(later));
}

#[test]
fn a_confirmed_drop_after_a_rejection_takes_it_back() {
    let drop = |utilization| saw(FIVE_HOUR, Some(utilization), Some(RESET), LimitStatus::Unknown);
    let story = story(&[
        (T0, share(0.99, RESET)),
        (T0 + 1, status(LimitStatus::Rejected, Some(RESET))),
        (T0 + 2, drop(0.1)),
        (T0 + 3, drop(0.1)),
    ]);
    assert_eq!(view(story.state(), T0 + 3).blocked_until, None);
    assert_eq!(story.state().status, LimitStatus::Unknown);
}

#[test]
fn a_share_of_one_blocks_until_the_reset_whatever_the_status() {
    let state = story(&[(T0, share(1.0, RESET))]).state().clone();
    assert_eq!(view(&state, T0).blocked_until, Some(RESET));
    let below = story(&[(T0, share(0.9999, RESET))]).state().clone();
    assert_eq!(view(&below, T0).blocked_until, None);
}

#[test]
fn a_line_of_a_window_already_over_changes_nothing() {
    let mut story = story(&[(T0, share(0.5, RESET))]);
    let before = story.state().clone();
    let merged = story.observe(RESET, &share(0.9, RESET));
    assert_eq!(
        (merged.track.state.clone(), merged.history),
        (before.clone(), true)
    );
    let merged = story.observe(T0 + 1, &saw(FIVE_HOUR, None, None, LimitStatus::Unknown));
    assert_eq!(
        (merged.track.state.clone(), merged.history),
        (before.clone(), false),
        "it says nothing at all"
    );
    let merged = story.observe(T0, &share(0.5, RESET));
    assert_eq!(
        (merged.track.state.clone(), merged.history),
        (before, false),
        "a copy of the same line"
    );
}

#[test]
fn a_state_is_fresh_for_five_minutes_stale_until_its_reset_and_then_expired() {
    let state = story(&[(T0, share(0.95, RESET))]).state().clone();
    let at = |now| view(&state, now).freshness;
    assert_eq!(at(T0 - 1), Freshness::Fresh);
    assert_eq!(at(T0 + 299_999), Freshness::Fresh);
    assert_eq!(at(T0 + 300_000), Freshness::Stale);
    assert_eq!(at(RESET - 1), Freshness::Stale);
    assert_eq!(
        view(&state, RESET),
        View {
            freshness: Freshness::Expired,
            utilization: None,
            left: None,
            blocked_until: None,
            refused: false,
        }
    );
    let silent = merge(
        None,
        &saw(FIVE_HOUR, None, Some(RESET), LimitStatus::Unknown),
        T0,
        &THRESHOLDS,
    );
    assert_eq!(view(&silent.track.state, T0).freshness, Freshness::Unknown);
    let spoken = story(&[(T0, status(LimitStatus::Allowed, None))]);
    assert_eq!(view(spoken.state(), T0).freshness, Freshness::Fresh);
}

#[test]
fn the_words_of_documents_stay_as_they_are() {
    let freshness = [
        Freshness::Fresh,
        Freshness::Stale,
        Freshness::Expired,
        Freshness::Unknown,
    ];
    let words = ["fresh", "stale", "expired", "unknown"];
    assert_eq!(freshness.each_ref().map(Freshness::into_str), words);
}

fn any_status() -> impl Strategy<Value = LimitStatus> {
    prop_oneof![
        Just(LimitStatus::Unknown),
        Just(LimitStatus::Allowed),
        Just(LimitStatus::AllowedWarning),
        Just(LimitStatus::Rejected),
    ]
}

/// Times and shares that often coincide, including the borders of every rule.
fn any_observation() -> impl Strategy<Value = Observation> {
    let reset = prop_oneof![
        2 => Just(0),
        1 => Just(2_000),
        1 => Just(120_000),
        1 => Just(121_000),
        1 => Just(HOUR_MS),
        1 => Just(-HOUR_MS),
        1 => Just(-3 * HOUR_MS),
        1 => Just(-3 * HOUR_MS + 1_000),
        1 => Just(5 * HOUR_MS),
        1 => Just(-6 * HOUR_MS),
    ];
    (
        prop_oneof![Just(FIVE_HOUR), Just(SEVEN_DAY), Just("other")].prop_map(Box::from),
        proptest::option::weighted(
            0.7,
            prop_oneof![
                Just(0.0),
                Just(0.1),
                Just(0.3),
                Just(0.76),
                Just(0.95),
                Just(1.02)
            ],
        ),
        proptest::option::weighted(0.8, reset.prop_map(|shift| RESET + shift)),
        any_status(),
        prop_oneof![
            Just(LimitSource::Headers),
            Just(LimitSource::RateLimitEvent),
            Just(LimitSource::Statusline)
        ],
        proptest::option::of(0u64..3),
        proptest::option::of(0u64..2),
    )
        .prop_map(
            |(name, utilization, reset_at, status, source, remaining, session)| Observation {
                window: name,
                utilization,
                remaining,
                limit: remaining.map(|_| 3),
                reset_at,
                observed_at: None,
                status,
                source,
                session,
                request: None,
            },
        )
}

fn told_at(steps: std::ops::Range<i64>) -> impl Strategy<Value = (Millis, Observation)> {
    (steps, any_observation()).prop_map(|(step, observation)| (T0 + step * 30 * MINUTE, observation))
}

/// All for one window, so that they interact.
fn of_one_window(observations: Vec<(Millis, Observation)>) -> Vec<(Millis, Observation)> {
    let name = observations.first().map(|(_, first)| first.window.clone());
    observations
        .into_iter()
        .map(|(at, observation)| {
            let name = name.clone().unwrap_or_default();
            (
                at,
                Observation {
                    window: name,
                    ..observation
                },
            )
        })
        .collect()
}

fn a_past() -> impl Strategy<Value = Vec<(Millis, Observation)>> {
    proptest::collection::vec(told_at(0..12), 1..10).prop_map(of_one_window)
}

fn any_millis() -> impl Strategy<Value = Millis> {
    prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        Just(-1),
        T0 - DAY_MS..RESET + DAY_MS,
        any::<i64>(),
    ]
}

proptest! {
    #[test]
    fn an_older_observation_never_changes_the_state(
        past in a_past(), late in any_observation(), age in LATE_MAX_MS + 1..20 * HOUR_MS,
    ) {
        let story = story(&past);
        let state = story.state();
        let newest = if late.source.is_snapshot() { Some(state.observed_at) } else { state.live_at };
        prop_assume!(newest.is_some());
        let merged = merge(story.track.as_ref(), &late, newest.unwrap() - age, &THRESHOLDS);
        prop_assert_eq!(&merged.track.state, story.state());
        prop_assert!(merged.crossed.is_empty() && !merged.rolled_over);
    }

    #[test]
    fn jitter_never_rolls_over(
        utilizations in proptest::collection::vec((0.0f64..1.1, -60_000i64..=60_000), 2..20),
    ) {
        let mut story = Story::default();
        for ((utilization, jitter), step) in utilizations.iter().zip(0..) {
            let merged = story.observe(T0 + step * MINUTE, &share(*utilization, RESET + jitter));
            prop_assert!(!merged.rolled_over);
            prop_assert_eq!(merged.track.state.held.reset, None);
        }
    }

    #[test]
    fn a_rollover_arms_every_threshold_again(past in a_past(), utilization in 0.0f64..1.1) {
        let mut story = story(&past);
        let name = past[0].1.window.clone();
        let at = story.state().observed_at + MINUTE;
        let length = window_name::length(&name).unwrap_or(5 * HOUR_MS);
        let next = at + length;
        prop_assume!(story.state().reset_at.is_none_or(|reset| reset <= next - length / 2));
        let is_empty = story.track.as_ref().unwrap().readings.iter().all(Reading::is_void);
        if story.state().reset_at.is_none() || is_empty {
            // A rollover requires a reset.
            story.observe(at - 1, &saw(&name, Some(0.95), Some(at + length / 4), LimitStatus::Allowed));
        }
        let merged = story.observe(at, &saw(&name, Some(utilization), Some(next), LimitStatus::Allowed));
        let reached: Vec<u8> =
            THRESHOLDS.into_iter().filter(|threshold| reaches(utilization, *threshold)).collect();
        prop_assert!(merged.rolled_over);
        prop_assert_eq!(&merged.crossed, &reached);
        prop_assert_eq!(merged.track.state.thresholds_crossed, reached);
        prop_assert_eq!(merged.track.state.utilization, Some(utilization));
    }

    /// Lines of parallel sessions, of equal and of close times, arrive in any order.
    #[test]
    fn the_order_of_observations_of_half_a_minute_changes_nothing(
        past in proptest::collection::vec(told_at(0..12), 0..8),
        moment in proptest::collection::vec((0i64..4, any_observation()), 1..12),
        seed in any::<u64>(),
    ) {
        let start = T0 + DAY_MS;
        let observations = of_one_window(
            past.into_iter().chain(moment.into_iter().map(|(step, it)| (start + step * 10_000, it))).collect(),
        );
        let (moment, past): (Vec<_>, Vec<_>) = observations.into_iter().partition(|(at, _)| *at >= start);
        let before = story(&past);
        let mut random = fastrand::Rng::with_seed(seed);
        let mut shuffled = moment.clone();
        random.shuffle(&mut shuffled);
        shuffled.push(moment[random.usize(..moment.len())].clone());
        let end = |observations: &[(Millis, Observation)]| {
            let mut story = Story { track: before.track.clone() };
            for (at, observation) in observations {
                story.observe(*at, observation);
            }
            story.track
        };
        prop_assert_eq!(end(&moment), end(&shuffled));
    }

    /// Different resets at one time are bounded, and their order still does not matter.
    #[test]
    fn a_moment_is_bounded(resets in proptest::collection::vec(0i64..40, 1..40), seed in any::<u64>()) {
        let end = |resets: &[i64]| {
            let mut story = story(&[(T0 - 1, share(0.5, RESET))]);
            for reset in resets {
                story.observe(T0, &share(0.5, RESET + reset * 50_000));
            }
            story.track.unwrap()
        };
        let mut shuffled = resets.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert_eq!(end(&resets), end(&shuffled));
        prop_assert!(end(&resets).readings.len() <= MOMENT_READINGS_MAX + 1);
        let last = resets.iter().max().map(|reset| RESET + reset * 50_000);
        prop_assert_eq!(end(&resets).state.reset_at, last, "the window that ends last has the last word");
    }

    #[test]
    fn any_values_at_all_are_taken(
        observations in proptest::collection::vec(
            (any_millis(), any::<f64>(), proptest::option::of(any_millis()), any_status()),
            1..8,
        ),
        name in prop_oneof![Just(FIVE_HOUR), Just("other")],
        now in any_millis(),
    ) {
        let mut story = Story::default();
        for (at, utilization, reset, status) in observations {
            story.observe(at, &saw(name, Some(utilization), reset, status));
            let view = view(story.state(), now);
            prop_assert!(view.blocked_until.is_none_or(|until| until > now));
            prop_assert!(view.left.is_none_or(|left| (0.0..=1.0).contains(&left)));
            prop_assert!(story.utilization().is_none_or(f64::is_finite));
        }
    }
}

#[test]
fn a_status_alone_does_not_make_an_old_share_young() {
    let mut story = story(&[(T0, share(0.5, RESET))]);
    story.observe(T0 + HOUR_MS, &status(LimitStatus::Allowed, Some(RESET)));
    let view = view(story.state(), T0 + HOUR_MS);
    assert_eq!((view.freshness, view.utilization), (Freshness::Stale, Some(0.5)));
}

#[test]
fn a_late_refusal_of_another_session_is_not_lost() {
    let mut story = story(&[(T0, share(0.97, RESET)), (T0 + 5_000, share(0.99, RESET))]);
    story.observe(T0 + 4_000, &status(LimitStatus::Rejected, Some(RESET)));
    assert!(
        view(story.state(), T0 + 6_000).refused,
        "it came a second after one that is younger"
    );
    story.observe(T0 + 4_000 - LATE_MAX_MS - 2_000, &share(1.0, RESET));
    assert_eq!(story.utilization(), Some(0.99), "that one is too late");
}

#[test]
fn a_snapshot_never_lowers_a_share_and_never_ends_a_refusal() {
    let mut story = story(&[
        (T0, snapshot(0.4, RESET)),
        (T0 + MINUTE, snapshot(0.85, RESET)),
        (T0 + 2 * MINUTE, snapshot(0.4, RESET)),
        (T0 + 3 * MINUTE, snapshot(0.4, RESET)),
        (T0 + 4 * MINUTE, of_session(7, snapshot(0.41, RESET))),
    ]);
    assert_eq!(
        (story.utilization(), story.state().utilization_at),
        (Some(0.85), Some(T0 + MINUTE)),
        "what was seen before is no news, and makes nothing younger"
    );
    story.observe(T0 + 5 * MINUTE, &snapshot(0.86, RESET));
    assert_eq!(story.utilization(), Some(0.86));
    story.observe(T0 + 6 * MINUTE, &status(LimitStatus::Rejected, Some(RESET)));
    let cached = Observation {
        source: LimitSource::AgentCache,
        ..share(0.1, RESET)
    };
    story.observe(T0 + 20 * MINUTE, &cached);
    assert!(view(story.state(), T0 + 20 * MINUTE).refused);
    // Nor with a later end: the end in prose may have been rounded.
    story.observe(T0 + 21 * MINUTE, &snapshot(0.02, RESET + 10 * MINUTE));
    let seen = view(story.state(), T0 + 21 * MINUTE);
    assert_eq!(
        (story.utilization(), seen.blocked_until),
        (Some(0.86), Some(RESET + 10 * MINUTE))
    );
    // A live reading may show that a window began early, while an idle terminal repeats the previous one.
    story.observe(T0 + 22 * MINUTE, &bare(0.02, RESET + HOUR_MS));
    for minute in 23..26 {
        story.observe(T0 + minute * MINUTE, &snapshot(0.86, RESET));
    }
    assert_eq!(story.state().reset_at, Some(RESET + HOUR_MS));
    assert_eq!(
        (story.utilization(), story.state().status),
        (Some(0.02), LimitStatus::Unknown)
    );
}

#[test]
fn a_snapshot_with_a_later_end_leaves_what_is_used_up_live() {
    let (refused, full) = (status(LimitStatus::Rejected, Some(RESET)), bare(1.0, RESET));
    for (blocked, later, until) in [
        (&refused, RESET + 3 * MINUTE, RESET + 3 * MINUTE),
        (&full, RESET + 3 * MINUTE, RESET + 3 * MINUTE),
        // Another window, seen by a terminal only.
        (&refused, RESET + 3 * HOUR_MS, RESET),
        (&full, RESET + 3 * HOUR_MS, RESET),
    ] {
        let mut story = story(&[(RESET - HOUR_MS, blocked.clone())]);
        story.observe(RESET - HOUR_MS + MINUTE, &snapshot(0.4, later));
        let seen = view(story.state(), RESET - MINUTE);
        assert_eq!(seen.blocked_until, Some(until), "{blocked:?} {later}");
        story.observe(until + 1, &snapshot(0.03, until + 5 * HOUR_MS));
        assert_eq!(
            (story.utilization(), view(story.state(), until + 1).blocked_until),
            (Some(0.03), None),
            "after its end it begins anew"
        );
    }
    let mut terminals = story(&[(T0, snapshot(1.0, RESET))]);
    terminals.observe(T0 + MINUTE, &snapshot(0.1, RESET + HOUR_MS));
    assert_eq!(
        terminals.utilization(),
        Some(0.1),
        "without anything live, terminals are all there is"
    );
}

#[test]
fn a_refusal_with_an_earlier_end_blocks_until_then() {
    let mut story = story(&[(T0, snapshot(0.4, RESET))]);
    story.observe(
        T0 + MINUTE,
        &status(LimitStatus::Rejected, Some(RESET - 10 * MINUTE)),
    );
    let seen = view(story.state(), T0 + MINUTE);
    assert_eq!(
        (seen.refused, seen.blocked_until),
        (true, Some(RESET - 10 * MINUTE))
    );
}

#[test]
fn a_late_refusal_counts_whatever_snapshots_came_meanwhile() {
    for count in [1, 100] {
        let mut story = Story::default();
        for n in 0..count {
            story.observe(T0 + n * 3_000, &snapshot(0.4, RESET));
        }
        let at = T0 + (count - 1) * 3_000;
        story.observe(at - 45_000, &status(LimitStatus::Rejected, Some(RESET)));
        assert!(view(story.state(), at).refused, "{count}");
        story.observe(at - 50_000, &share(0.1, RESET));
        assert!(view(story.state(), at).refused, "what is older ends nothing");
        story.observe(at - 90_000, &share(0.9, RESET));
        assert_ne!(story.utilization(), Some(0.9), "older than what was read live");
    }
}

#[test]
fn live_readings_with_room_end_a_refusal_without_a_share() {
    let refused = [(T0, status(LimitStatus::Rejected, Some(RESET)))];
    let poll = |share| Observation {
        source: LimitSource::UsageApi,
        ..bare(share, RESET)
    };
    let mut polled = story(&refused);
    polled.observe(T0 + MINUTE, &poll(0.1));
    assert!(view(polled.state(), T0 + MINUTE).refused, "one may be old");
    polled.observe(T0 + 2 * MINUTE, &poll(0.11));
    let seen = view(polled.state(), T0 + 2 * MINUTE);
    assert_eq!((seen.refused, seen.utilization), (false, Some(0.11)));
    let idle = Observation {
        reset_at: None,
        ..poll(0.0)
    };
    let mut idle_again = story(&refused);
    idle_again.observe(T0 + MINUTE, &idle);
    idle_again.observe(T0 + 2 * MINUTE, &idle);
    assert_eq!(view(idle_again.state(), T0 + 2 * MINUTE).blocked_until, None);
    let mut again = story(&refused);
    again.observe(T0 + MINUTE, &poll(0.1));
    again.observe(T0 + 2 * MINUTE, &refused[0].1);
    again.observe(T0 + 3 * MINUTE, &poll(0.11));
    assert!(view(again.state(), T0 + 3 * MINUTE).refused, "refused in between");
}

#[test]
fn an_old_full_share_of_a_terminal_does_not_block_what_is_served() {
    let refused = [(T0, status(LimitStatus::Rejected, Some(RESET)))];
    let mut served = story(&refused);
    served.observe(T0 + 10 * MINUTE, &snapshot(1.0, RESET));
    let mut state = served.state().clone();
    state.served_at = Some(T0 + 4 * MINUTE);
    assert_eq!(view(&state, T0 + 11 * MINUTE).blocked_until, None);
    let mut allowed = story(&refused);
    allowed.observe(T0 + 2 * MINUTE, &status(LimitStatus::Allowed, Some(RESET)));
    allowed.observe(T0 + 10 * MINUTE, &snapshot(1.0, RESET));
    assert_eq!(view(allowed.state(), T0 + 11 * MINUTE).blocked_until, None);
}

#[test]
fn what_a_response_says_at_its_end_may_be_from_before_the_refusal() {
    let refused = saw(FIVE_HOUR, Some(1.0), Some(RESET), LimitStatus::Rejected);
    let on_a_line = |share_: f64| Observation {
        source: LimitSource::RateLimits,
        ..share(share_, RESET)
    };
    let mut story = story(&[(T0, refused), (T0 + 40_000, on_a_line(0.78))]);
    story.observe(T0 + 50_000, &of_session(2, on_a_line(0.7)));
    let seen = view(story.state(), T0 + MINUTE);
    assert_eq!((seen.refused, seen.utilization), (true, Some(1.0)));
    story.observe(T0 + SERVED_AFTER_MS + 1, &on_a_line(0.3));
    assert_eq!(view(story.state(), T0 + 5 * MINUTE).blocked_until, None);
}

#[test]
fn an_end_further_ahead_than_the_window_is_long_is_none() {
    let bogus = T0 + 30 * DAY_MS;
    let mut story = story(&[(T0, snapshot(1.0, bogus))]);
    assert_eq!(story.state().reset_at, None);
    story.observe(T0 + MINUTE, &snapshot(0.1, RESET));
    assert_eq!(story.state().reset_at, Some(RESET));
    let far = T0 + 5 * HOUR_MS + RESET_AHEAD_SLACK_MS;
    for (reset, kept) in [(far, Some(far)), (far + 1, None)] {
        let merged = merge(None, &status(LimitStatus::Rejected, Some(reset)), T0, &THRESHOLDS);
        assert_eq!(merged.track.state.reset_at, kept);
    }
}

#[test]
fn a_window_that_restarted_does_not_come_back_by_what_terminals_repeat() {
    let mut story = story(&[
        (T0, status(LimitStatus::Rejected, Some(RESET))),
        (T0 + MINUTE, share(0.02, RESET + HOUR_MS)),
    ]);
    for session in [1, 2, 1, 3] {
        story.observe(T0 + 2 * MINUTE, &of_session(session, snapshot(1.0, RESET)));
    }
    story.observe(T0 + 3 * MINUTE, &of_session(4, bare(0.97, RESET)));
    assert_eq!(
        (story.utilization(), story.state().reset_at),
        (Some(0.02), Some(RESET + HOUR_MS))
    );
}

#[test]
fn after_a_drop_an_old_snapshot_does_not_raise_the_share_again() {
    let mut story = story(&[(T0, share(0.52, RESET)), (T0 + MINUTE, share(0.1, RESET))]);
    for minute in 2..5 {
        story.observe(
            T0 + minute * MINUTE,
            &of_session(minute.unsigned_abs() % 2, snapshot(0.4, RESET)),
        );
    }
    assert_eq!(story.utilization(), Some(0.1));
    story.observe(T0 + 5 * MINUTE, &of_session(7, snapshot(0.2, RESET)));
    story.observe(T0 + 6 * MINUTE, &of_session(1, snapshot(0.4, RESET)));
    assert_eq!(story.utilization(), Some(0.1), "once it may be old");
    story.observe(T0 + 7 * MINUTE, &of_session(7, snapshot(0.22, RESET)));
    assert_eq!(story.utilization(), Some(0.22), "a terminal that moves on is not");
    story.observe(T0 + 8 * MINUTE, &snapshot(0.6, RESET));
    assert_eq!(story.utilization(), Some(0.6), "and so much never was");
}

#[test]
fn a_live_drop_needs_another_share_or_another_session_and_a_snapshot_between_does_not_matter() {
    let start = [(T0, bare(0.9, RESET)), (T0 + 1, of_session(1, bare(0.3, RESET)))];
    let mut repeated = story(&start);
    repeated.observe(T0 + 2, &of_session(1, bare(0.3, RESET)));
    assert_eq!(
        repeated.utilization(),
        Some(0.9),
        "the same session repeats itself"
    );
    repeated.observe(T0 + 3, &snapshot(0.9, RESET));
    repeated.observe(T0 + 4, &of_session(1, bare(0.31, RESET)));
    assert_eq!(repeated.utilization(), Some(0.31), "another share");
    let mut other = story(&start);
    other.observe(T0 + 2, &of_session(2, bare(0.3, RESET)));
    assert_eq!(other.utilization(), Some(0.3), "another session");
    let mut snapshots = story(&start);
    snapshots.observe(T0 + 2, &of_session(2, snapshot(0.2, RESET)));
    assert_eq!(snapshots.utilization(), Some(0.9), "a snapshot confirms nothing");
}

#[test]
fn the_providers_own_allowed_with_room_frees_at_once() {
    let refused = [
        (T0, share(1.0, RESET)),
        (T0, saw(FIVE_HOUR, Some(1.0), Some(RESET), LimitStatus::Rejected)),
    ];
    let mut upgraded = story(&refused);
    upgraded.observe(T0 + 1, &share(0.25, RESET));
    let seen = view(upgraded.state(), T0 + 2);
    assert_eq!((seen.utilization, seen.blocked_until), (Some(0.25), None));
    let mut in_flight = story(&refused);
    in_flight.observe(T0 + 1, &share(0.97, RESET));
    assert!(
        view(in_flight.state(), T0 + 2).refused,
        "without room it was asked before the refusal"
    );
    in_flight.observe(T0 + 2 * MINUTE, &share(0.91, RESET));
    let seen = view(in_flight.state(), T0 + 2 * MINUTE);
    assert_eq!(
        (seen.utilization, seen.blocked_until),
        (Some(0.91), None),
        "later it is the last word"
    );
    let mut dip = story(&[(T0, share(0.6, RESET))]);
    dip.observe(T0 + 1, &share(0.4, RESET));
    assert_eq!(dip.utilization(), Some(0.4));
}

#[test]
fn a_later_end_with_a_large_fall_is_the_next_window() {
    let mut restarted = story(&[
        (T0, status(LimitStatus::Rejected, Some(RESET))),
        (T0, bare(0.3, RESET)),
    ]);
    let merged = restarted.observe(T0 + MINUTE, &bare(0.29, RESET + HOUR_MS));
    assert!(merged.rolled_over, "refused shows as full");
    assert_eq!(view(restarted.state(), T0 + 2 * MINUTE).blocked_until, None);
    let mut claimed = story(&[(T0, bare(0.95, RESET))]);
    let merged = claimed.observe(T0 + MINUTE, &bare(0.01, RESET + 3 * MINUTE));
    assert_eq!((merged.rolled_over, claimed.utilization()), (true, Some(0.01)));
    assert_eq!(claimed.state().thresholds_crossed, [0u8; 0]);
}

#[test]
fn a_refusal_whose_end_has_passed_blocks_for_minutes() {
    let mut story = story(&[(T0, share(0.97, RESET))]);
    story.observe(RESET + 11 * MINUTE, &status(LimitStatus::Rejected, Some(RESET)));
    let seen = view(story.state(), RESET + 11 * MINUTE + 10_000);
    assert_eq!(
        (seen.refused, seen.blocked_until, seen.utilization),
        (true, Some(RESET + 16 * MINUTE), None)
    );
    assert!(!view(story.state(), RESET + 16 * MINUTE).refused);
    assert!(
        story.state().refuses(RESET + 16 * MINUTE),
        "and then it is not known"
    );
}

#[test]
fn a_response_minutes_after_a_refusal_ends_it_and_the_full_share() {
    let story = story(&[(T0, saw(FIVE_HOUR, Some(1.0), Some(RESET), LimitStatus::Rejected))]);
    let served = |served_at, now| {
        let mut state = story.state().clone();
        state.served_at = Some(served_at);
        let view = view(&state, now);
        (view.refused, view.blocked_until, view.utilization)
    };
    let refused = (true, Some(RESET), Some(1.0));
    assert_eq!(served(T0 - 1, T0 + 5 * MINUTE), refused);
    assert_eq!(
        served(T0 + SERVED_AFTER_MS, T0 + 5 * MINUTE),
        refused,
        "it may have been asked before"
    );
    assert_eq!(
        served(T0 + SERVED_AFTER_MS + 1, T0 + 5 * MINUTE),
        (false, None, None)
    );
    assert_eq!(
        served(T0 + SERVED_AFTER_MS + 1, T0 + MINUTE),
        refused,
        "not before it was served"
    );
}

#[test]
fn a_window_without_a_reset_ends_after_its_length() {
    let state = story(&[(T0, saw(FIVE_HOUR, Some(0.3), None, LimitStatus::Allowed))])
        .state()
        .clone();
    assert_eq!(view(&state, T0 + 5 * HOUR_MS - 1).utilization, Some(0.3));
    assert_eq!(view(&state, T0 + 5 * HOUR_MS).freshness, Freshness::Expired);
}

#[test]
fn an_account_that_is_idle_again_has_no_window_that_runs_out() {
    let idle = || Observation {
        source: LimitSource::UsageApi,
        ..saw(FIVE_HOUR, Some(0.0), None, LimitStatus::Unknown)
    };
    let mut story = story(&[(T0, bare(1.0, RESET)), (T0 + MINUTE, idle())]);
    assert_eq!(story.utilization(), Some(1.0));
    story.observe(T0 + 2 * MINUTE, &idle());
    assert_eq!((story.utilization(), story.state().reset_at), (Some(0.0), None));
}
