//! Pace of a window: its use compared with the time that has passed, and the projected exhaustion.

use strum::IntoStaticStr;

use super::window::{SHARE_EPSILON, WindowState};
use crate::model::Millis;

/// From this lead of the used share on, the zone is hot.
pub const HOT: f64 = 0.25;
/// Up to this lead of the used share, the zone is chill.
pub const CHILL: f64 = -0.20;
/// Before one part in so many of a window has passed, pace is not evaluated.
const TOO_EARLY_PART: i128 = 20;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// The share used minus the share of the window that has passed; `None` if pace is not evaluated.
    pub delta: Option<f64>,
    pub zone: Zone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Zone {
    /// [`HOT`] or more.
    Hot,
    OnTrack,
    /// [`CHILL`] or less.
    Chill,
    /// Too early, or unknown.
    None,
}

/// The pace of a window at `now`.
#[must_use]
pub fn pace(state: &WindowState, now: Millis) -> Pace {
    let Some(course) = Course::of(state, now) else {
        return Pace {
            delta: None,
            zone: Zone::None,
        };
    };
    let delta = course.share - course.elapsed_ms / course.length_ms;
    let zone = if delta >= HOT - SHARE_EPSILON {
        Zone::Hot
    } else if delta <= CHILL + SHARE_EPSILON {
        Zone::Chill
    } else {
        Zone::OnTrack
    };
    Pace {
        delta: Some(delta),
        zone,
    }
}

/// The times at which the zone changes without new data: when pace is first evaluated, when it is no longer
/// hot, when it is chill.
#[must_use]
pub fn zone_changes(state: &WindowState) -> Vec<Millis> {
    let (Some(share), Some(started), Some(reset)) =
        (state.utilization, state.window_started_at, state.reset_at)
    else {
        return Vec::new();
    };
    let length = float(i128::from(reset) - i128::from(started));
    let early = length / float(TOO_EARLY_PART);
    // One millisecond later, so that float rounding does not matter.
    [early, (share - HOT) * length, (share - CHILL) * length]
        .into_iter()
        .filter(|elapsed| (0.0..=length).contains(elapsed))
        .map(|elapsed| started.saturating_add(whole_ms(elapsed.ceil())).saturating_add(1))
        .collect()
}

/// The time at which the window runs out at its average pace up to `now`: at `now` or later, and before its
/// reset; else `None`.
#[must_use]
pub fn projected_exhaustion_at(state: &WindowState, now: Millis) -> Option<Millis> {
    projected_at(state, 1.0, now)
}

/// The time at which `share` of the window is used at its average pace up to `now`: at `now` or later, and before
/// its reset; else `None`.
#[must_use]
pub fn projected_at(state: &WindowState, share: f64, now: Millis) -> Option<Millis> {
    let course = Course::of(state, now).filter(|course| course.share > 0.0)?;
    let reached = course
        .started
        .saturating_add(whole_ms(course.elapsed_ms / course.share * share));
    Some(reached.max(now)).filter(|at| *at < course.reset)
}

/// The progress of a window, if its pace can be evaluated.
struct Course {
    share: f64,
    started: Millis,
    reset: Millis,
    elapsed_ms: f64,
    length_ms: f64,
}

impl Course {
    fn of(state: &WindowState, now: Millis) -> Option<Self> {
        let (share, started, reset) = (state.utilization?, state.window_started_at?, state.reset_at?);
        let (elapsed, length) = (
            i128::from(now) - i128::from(started),
            i128::from(reset) - i128::from(started),
        );
        let is_sure = length > 0 && now < reset && elapsed * TOO_EARLY_PART >= length;
        is_sure.then(|| Self {
            share,
            started,
            reset,
            elapsed_ms: float(elapsed),
            length_ms: float(length),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a span of more than 2^53 milliseconds is no window"
)]
fn float(span_ms: i128) -> f64 {
    span_ms as f64
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast saturates, and a forecast beyond the reset is none"
)]
fn whole_ms(span_ms: f64) -> Millis {
    span_ms.round() as Millis
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{HOUR_MS, LimitSource, LimitStatus, Observation};
    use crate::quota::window::merge;
    use crate::quota::window_name;

    const MINUTE: Millis = 60_000;
    /// 2026-04-22T13:00:00Z
    const START: Millis = 1_776_862_800_000;
    const RESET: Millis = START + 5 * HOUR_MS;

    fn window(name: &str, utilization: Option<f64>, reset_at: Option<Millis>) -> WindowState {
        let observation = Observation {
            window: name.into(),
            utilization,
            remaining: None,
            limit: None,
            reset_at,
            observed_at: None,
            status: LimitStatus::Allowed,
            source: LimitSource::RateLimits,
            session: None,
            request: None,
        };
        merge(None, &observation, START, &[]).track.state
    }

    fn used(utilization: f64) -> WindowState {
        window(window_name::FIVE_HOUR, Some(utilization), Some(RESET))
    }

    fn half() -> Millis {
        START + 5 * HOUR_MS / 2
    }

    #[test]
    fn three_quarters_used_at_half_time_is_hot() {
        assert_eq!(
            pace(&used(0.75), half()),
            Pace {
                delta: Some(0.25),
                zone: Zone::Hot
            }
        );
        assert_eq!(pace(&used(0.749), half()).zone, Zone::OnTrack);
    }

    #[test]
    fn half_used_at_half_time_is_on_track() {
        assert_eq!(
            pace(&used(0.5), half()),
            Pace {
                delta: Some(0.0),
                zone: Zone::OnTrack
            }
        );
    }

    #[test]
    fn the_bounds_hold_where_floats_round() {
        assert_eq!(pace(&used(0.3), half()).zone, Zone::Chill);
        assert_eq!(pace(&used(0.301), half()).zone, Zone::OnTrack);
        // 0.35 - 0.1 and 0.1 - 0.3 fall a little short.
        assert_eq!(pace(&used(0.35), START + 30 * MINUTE).zone, Zone::Hot);
        assert_eq!(pace(&used(0.1), START + 90 * MINUTE).zone, Zone::Chill);
    }

    #[test]
    fn a_window_has_no_pace_before_a_twentieth_of_it_has_passed() {
        let none = Pace {
            delta: None,
            zone: Zone::None,
        };
        assert_eq!(pace(&used(0.3), START + 10 * MINUTE), none);
        assert_eq!(pace(&used(0.3), START + 15 * MINUTE - 1), none);
        assert_eq!(pace(&used(0.3), START + 15 * MINUTE).zone, Zone::Hot);
        assert_eq!(pace(&used(0.3), START - 1), none);
    }

    #[test]
    fn a_window_has_no_pace_without_share_reset_or_length_or_once_it_is_over() {
        assert_eq!(pace(&used(0.9), RESET).zone, Zone::None);
        assert_eq!(pace(&used(0.9), RESET - 1).zone, Zone::OnTrack);
        for state in [
            window(window_name::FIVE_HOUR, None, Some(RESET)),
            window(window_name::FIVE_HOUR, Some(0.9), None),
            window("other", Some(0.9), Some(RESET)),
        ] {
            assert_eq!(pace(&state, half()).zone, Zone::None);
            assert_eq!(projected_exhaustion_at(&state, half()), None);
        }
    }

    #[test]
    fn the_forecast_follows_the_average_pace() {
        assert_eq!(
            projected_exhaustion_at(&used(0.75), half()),
            Some(START + 200 * MINUTE)
        );
        assert_eq!(
            projected_exhaustion_at(&used(0.5), half()),
            None,
            "it lasts to the reset"
        );
        assert_eq!(projected_exhaustion_at(&used(0.0), half()), None);
        assert_eq!(
            projected_exhaustion_at(&used(1.02), half()),
            Some(half()),
            "it has run out"
        );
        assert_eq!(projected_exhaustion_at(&used(0.9), START + 10 * MINUTE), None);
    }

    #[test]
    fn a_part_of_a_window_is_used_before_all_of_it() {
        for (used_share, part, expected) in [
            (0.75, 1.0, Some(START + 200 * MINUTE)),
            (0.75, 0.9, Some(START + 180 * MINUTE)),
            // It lasts, and does not keep a tenth.
            (0.48, 1.0, None),
            (0.48, 0.9, Some(START + 281 * MINUTE + 15_000)),
            (0.75, 0.5, Some(half())),
            (0.0, 0.0, None),
        ] {
            let at = projected_at(&used(used_share), part, half());
            assert_eq!(at, expected, "{used_share} {part}");
        }
    }

    #[test]
    fn the_clock_alone_changes_the_zone() {
        // Each is a millisecond or two late, so that the zone has changed by then.
        let check = |share, expect: &[Millis]| {
            let changes = zone_changes(&used(share));
            assert_eq!(changes.len(), expect.len(), "{share}: {changes:?}");
            for (at, expect) in changes.iter().zip(expect) {
                assert!((1..=2).contains(&(at - START - expect)), "{share}: {changes:?}");
            }
        };
        // First evaluated, no longer hot, chill.
        check(0.65, &[15 * MINUTE, 2 * HOUR_MS, 4 * HOUR_MS + 15 * MINUTE]);
        // Never hot, and never chill.
        check(0.1, &[15 * MINUTE, HOUR_MS + 30 * MINUTE]);
        check(1.2, &[15 * MINUTE, 4 * HOUR_MS + 45 * MINUTE]);
        for state in [
            window(window_name::FIVE_HOUR, None, Some(RESET)),
            window(window_name::FIVE_HOUR, Some(0.9), None),
            window("other", Some(0.9), Some(RESET)),
        ] {
            assert!(zone_changes(&state).is_empty());
        }
    }

    #[test]
    fn the_words_of_documents_stay_as_they_are() {
        let zones = [Zone::Hot, Zone::OnTrack, Zone::Chill, Zone::None];
        assert_eq!(
            zones.each_ref().map(Zone::into_str),
            ["hot", "on_track", "chill", "none"]
        );
    }

    proptest! {
        #[test]
        fn the_zone_stays_until_it_is_said_to_change(share in 0.0..1.5_f64, now in -1000..18_001_000_i64, part in 0.0..1.0_f64) {
            let (state, now) = (used(share), START + now);
            let ahead = zone_changes(&state).into_iter().chain(state.reset_at).filter(|at| *at > now);
            let next = ahead.min().unwrap_or(now + HOUR_MS);
            // Some milliseconds late, as the times are.
            let stays = now + whole_ms(part * float(i128::from((next - now - 3).max(0))));
            prop_assert_eq!(pace(&state, stays).zone, pace(&state, now).zone);
        }

        #[test]
        fn a_forecast_lies_between_now_and_the_reset(
            utilization in any::<f64>(), reset in any::<i64>(), now in any::<i64>(), near in any::<bool>(),
        ) {
            let now = if near { reset.saturating_sub(now.rem_euclid(6 * HOUR_MS)) } else { now };
            let state = window(window_name::FIVE_HOUR, Some(utilization), Some(reset));
            let _ = pace(&state, now);
            if let Some(at) = projected_exhaustion_at(&state, now) {
                prop_assert!(at >= now && at < reset);
            }
        }
    }
}
