//! Causes of windows and budgets, minimums, and the words of documents.

use super::*;
use crate::model::{DAY_MS, HOUR_MS, LimitSource, LimitStatus, Observation};
use crate::quota::budget::{Day, start_of};
use crate::quota::window::{WindowState, merge};
use crate::quota::window_name::{FIVE_HOUR, OVERAGE, SEVEN_DAY, SEVEN_DAY_OPUS};

/// 2026-10-05T12:00:00Z
const NOON: Millis = 1_791_201_600_000;

fn state(name: &str, utilization: Option<f64>, reset_in: Option<Millis>, status: LimitStatus) -> WindowState {
    let observation = Observation {
        window: name.into(),
        utilization,
        remaining: None,
        limit: None,
        reset_at: reset_in.map(|span| NOON + span),
        observed_at: None,
        status,
        source: LimitSource::Headers,
        session: None,
        request: None,
    };
    merge(None, &observation, NOON, &[]).track.state
}

fn minimum(name: &str, percent: u8) -> Minimum {
    Minimum {
        window: name.into(),
        percent,
    }
}

fn observed(windows: &[NamedWindow], model: Option<&str>, now: Millis) -> Option<Cause> {
    blocked(windows, model, now).map(|(_, cause)| cause)
}

#[test]
fn a_healthy_header_ends_no_prediction() {
    let midnight = NOON + 12 * HOUR_MS;
    let day = Day {
        start: midnight - DAY_MS,
        end: midnight,
    };
    let noon = crate::quota::budget::minute_of(NOON);
    assert_eq!(start_of(noon), NOON);
    let budget = DailyBudget::new(1_000_000, day, [(noon, 1_000_000)]);
    assert_eq!(
        predicted(&budget, NOON).map(|(_, cause)| cause.until),
        Some(midnight)
    );
    let healthy = state(FIVE_HOUR, Some(0.2), Some(HOUR_MS), LimitStatus::Allowed);
    let windows = [NamedWindow {
        name: FIVE_HOUR,
        state: &healthy,
    }];
    assert_eq!(observed(&windows, None, NOON), None);
}

#[test]
fn the_window_blocked_longest_counts_among_those_that_bind() {
    let five = state(FIVE_HOUR, Some(1.02), Some(HOUR_MS), LimitStatus::Unknown);
    let opus = state(SEVEN_DAY_OPUS, None, Some(DAY_MS), LimitStatus::Rejected);
    let overage = state(OVERAGE, Some(1.0), Some(2 * DAY_MS), LimitStatus::Unknown);
    let windows = [
        NamedWindow {
            name: FIVE_HOUR,
            state: &five,
        },
        NamedWindow {
            name: SEVEN_DAY_OPUS,
            state: &opus,
        },
        NamedWindow {
            name: OVERAGE,
            state: &overage,
        },
    ];
    let until = |model, now| observed(&windows, model, now).map(|cause| cause.until - NOON);
    assert_eq!(until(None, NOON), Some(HOUR_MS));
    assert_eq!(until(Some("claude-sonnet-5"), NOON), Some(HOUR_MS));
    assert_eq!(until(Some("claude-opus-5"), NOON), Some(DAY_MS));
    assert_eq!(until(None, NOON + HOUR_MS), None);
    let said = observed(&windows, None, NOON).expect("five_hour is used up");
    assert_eq!(
        (&*said.reason, &*said.source, said.since),
        ("five_hour is used up", "headers", NOON)
    );
    let said = observed(&windows, Some("claude-opus-5"), NOON).expect("the opus window was refused");
    assert_eq!(&*said.reason, "seven_day_opus was refused by the provider");
}

#[test]
fn too_little_left_blocks_until_a_minute_after_the_reset_of_that_window() {
    let five = state(FIVE_HOUR, Some(0.5), Some(600_000), LimitStatus::Allowed);
    let seven = state(SEVEN_DAY, Some(0.96), Some(259_200_000), LimitStatus::Allowed);
    let windows = [
        NamedWindow {
            name: FIVE_HOUR,
            state: &five,
        },
        NamedWindow {
            name: SEVEN_DAY,
            state: &seven,
        },
    ];
    let block = minimum_block(&windows, &[minimum("5h", 10), minimum("7d", 10)], NOON).expect("4 % are left");
    assert_eq!((&*block.window, block.until - NOON), (SEVEN_DAY, 259_260_000));
    assert_eq!(minimum_block(&windows, &[], NOON), None);
    let both = [minimum(FIVE_HOUR, 60), minimum(SEVEN_DAY, 10)];
    assert_eq!(
        minimum_block(&windows, &both, NOON).map(|block| block.until - NOON),
        Some(259_260_000),
        "of two, the one that takes longer"
    );
    assert_eq!(
        minimum_block(&windows, &both, NOON + 259_200_000),
        None,
        "a window that is over blocks nothing"
    );
}

#[test]
fn what_is_left_is_compared_with_the_minimum_of_its_window() {
    let five = state(FIVE_HOUR, Some(0.85), Some(HOUR_MS), LimitStatus::Allowed);
    let seven = state(SEVEN_DAY, Some(0.75), Some(DAY_MS), LimitStatus::Allowed);
    let windows = [
        NamedWindow {
            name: FIVE_HOUR,
            state: &five,
        },
        NamedWindow {
            name: SEVEN_DAY,
            state: &seven,
        },
    ];
    let blocks = |five, seven| {
        minimum_block(
            &windows,
            &[minimum(FIVE_HOUR, five), minimum(SEVEN_DAY, seven)],
            NOON,
        )
        .map(|block| block.window)
    };
    assert_eq!(blocks(5, 10), None);
    assert_eq!(blocks(15, 25), None, "exactly the minimum is enough");
    assert_eq!(blocks(20, 10).as_deref(), Some(FIVE_HOUR));
    assert_eq!(blocks(20, 30).as_deref(), Some(SEVEN_DAY));
    for percent in 0..=100 {
        let left = 1.0 - f64::from(100 - percent) / 100.0;
        assert!(!below_minimum(left, percent), "{percent} %");
        assert!(below_minimum(left - 1e-6, percent), "{percent} %");
    }
}

#[test]
fn a_window_whose_share_is_not_known_is_not_below_a_minimum() {
    let refused = state(FIVE_HOUR, None, Some(HOUR_MS), LimitStatus::Rejected);
    let windows = [NamedWindow {
        name: FIVE_HOUR,
        state: &refused,
    }];
    assert_eq!(minimum_block(&windows, &[minimum(FIVE_HOUR, 10)], NOON), None);
}

#[test]
fn a_window_without_a_reset_blocks_for_a_while_only() {
    let full = state(FIVE_HOUR, Some(1.0), None, LimitStatus::Unknown);
    let windows = [NamedWindow {
        name: FIVE_HOUR,
        state: &full,
    }];
    assert_eq!(
        observed(&windows, None, NOON).map(|cause| cause.until - NOON),
        Some(300_000)
    );
    let least = [minimum(FIVE_HOUR, 10)];
    let block = minimum_block(&windows, &least, NOON).expect("nothing is left");
    assert_eq!(block.until - NOON, 360_000);
    assert_eq!(minimum_block(&windows, &least, block.until), None);
}

#[test]
fn the_words_of_documents_stay_as_they_are() {
    let kinds = [
        CauseKind::Observed,
        CauseKind::Predicted,
        CauseKind::Manual,
        CauseKind::Throttled,
    ];
    let words = ["observed", "predicted", "manual", "throttled"];
    assert_eq!(kinds.each_ref().map(CauseKind::into_str), words);
    let sources = [
        LimitSource::RateLimits,
        LimitSource::QuotaLimits,
        LimitSource::ApiError,
        LimitSource::Headers,
        LimitSource::RateLimitEvent,
        LimitSource::Prose,
        LimitSource::Statusline,
        LimitSource::UsageApi,
        LimitSource::Codex,
        LimitSource::AgentCache,
        LimitSource::WhamUsage,
    ];
    let words = [
        "rate_limits",
        "quota_limits",
        "api_error",
        "headers",
        "rate_limit_event",
        "prose",
        "statusline",
        "usage_api",
        "codex",
        "agent_cache",
        "wham_usage",
    ];
    assert_eq!(sources.each_ref().map(LimitSource::into_str), words);
}
