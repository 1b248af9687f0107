//! Tables of changes and the notices that follow, and of targets and what they get.

mod blocks;

use std::time::Duration;

use super::causes::*;
use super::target::*;
use super::*;
use crate::model::{HOUR_MS, LimitSource, LimitStatus, MINUTE_MS, Observation, window_name};
use crate::quota::account::Account;
use crate::quota::admission::{AccountVerdict, Assessment, Candidate, assess};
use crate::quota::budget::Calls;
use crate::quota::window::{NamedWindow, Track, WindowState, merge};

/// 2026-10-05T12:00:00Z
const NOON: Millis = 1_791_201_600_000;
const RESET: Millis = NOON + 5 * HOUR_MS;

fn account() -> AccountId {
    AccountId {
        provider: "claude".into(),
        name: "max-1".into(),
    }
}

fn seen(at: Millis, share: Option<f64>, reset_at: Millis, status: LimitStatus) -> Observation {
    Observation {
        window: window_name::FIVE_HOUR.into(),
        utilization: share,
        remaining: None,
        limit: None,
        reset_at: Some(reset_at),
        observed_at: Some(at),
        status,
        source: LimitSource::RateLimitEvent,
        session: None,
        request: None,
    }
}

/// Merges observations one by one; returns the notices of each as words.
fn told(observations: &[Observation]) -> Vec<Vec<String>> {
    let id = account();
    let subject = WindowSubject {
        account: &id,
        name: window_name::FIVE_HOUR,
    };
    let mut track: Option<Track> = None;
    let mut all = Vec::new();
    for observation in observations {
        let at = observation.observed_at.unwrap();
        let merged = merge(track.as_ref(), observation, at, &[75, 90]);
        let before = track.as_ref().map(|track| &track.state);
        let notices = of_window(
            subject,
            before,
            &merged.track.state,
            (merged.rolled_over, &merged.crossed),
            at,
        );
        let words = notices.iter().map(|notice| match notice.threshold {
            Some(percent) => format!("{} {percent}", notice.kind.into_str()),
            None => notice.kind.into_str().to_owned(),
        });
        all.push(words.collect());
        track = Some(merged.track);
    }
    all
}

#[test]
fn a_window_says_its_thresholds_its_end_and_its_reset_once() {
    use LimitStatus::{Allowed, Rejected};
    let next = RESET + 5 * HOUR_MS;
    for (what, observations, expected) in [
        (
            "thresholds, each once",
            vec![
                seen(NOON, Some(0.5), RESET, Allowed),
                seen(NOON + 1000, Some(0.77), RESET, Allowed),
                seen(NOON + 2000, Some(0.78), RESET, Allowed),
                seen(NOON + 3000, Some(0.93), RESET, Allowed),
            ],
            vec![
                vec![],
                vec!["window.threshold 75"],
                vec![],
                vec!["window.threshold 90"],
            ],
        ),
        (
            "both thresholds at once, the higher one last, and the end",
            vec![seen(NOON, Some(1.0), RESET, Allowed)],
            vec![vec![
                "window.threshold 75",
                "window.threshold 90",
                "window.exhausted",
            ]],
        ),
        (
            "a refusal, and its tries",
            vec![
                seen(NOON, Some(0.2), RESET, Allowed),
                seen(NOON + 1000, None, RESET, Rejected),
                seen(NOON + 2000, None, RESET, Rejected),
            ],
            vec![vec![], vec!["window.exhausted"], vec![]],
        ),
        (
            "a new window after half of one",
            vec![
                seen(NOON, Some(0.5), RESET, Allowed),
                seen(RESET + 1000, Some(0.01), next, Allowed),
            ],
            vec![vec![], vec!["window.reset"]],
        ),
        (
            "a new window after less",
            vec![
                seen(NOON, Some(0.49), RESET, Allowed),
                seen(RESET + 1000, Some(0.01), next, Allowed),
            ],
            vec![vec![], vec![]],
        ),
        (
            "a new window after a refusal, used up too",
            vec![
                seen(NOON, None, RESET, Rejected),
                seen(RESET + 1000, Some(1.0), next, Allowed),
            ],
            vec![
                vec!["window.exhausted"],
                vec![
                    "window.reset",
                    "window.threshold 75",
                    "window.threshold 90",
                    "window.exhausted",
                ],
            ],
        ),
        (
            "a new window that is the next one, late",
            vec![
                seen(NOON, Some(0.9), RESET, Allowed),
                seen(next - 1, Some(0.01), next, Allowed),
            ],
            vec![
                vec!["window.threshold 75", "window.threshold 90"],
                vec!["window.reset"],
            ],
        ),
        (
            "a new window after one that nobody saw",
            vec![
                seen(NOON, Some(0.9), RESET, Allowed),
                seen(next + 1, Some(0.01), next + 5 * HOUR_MS, Allowed),
            ],
            vec![vec!["window.threshold 75", "window.threshold 90"], vec![]],
        ),
        (
            "a new window after months",
            vec![
                seen(NOON, None, RESET, Rejected),
                seen(NOON + 2000 * HOUR_MS, Some(0.01), NOON + 2004 * HOUR_MS, Allowed),
            ],
            vec![vec!["window.exhausted"], vec![]],
        ),
    ] {
        assert_eq!(told(&observations), expected, "{what}");
    }
}

#[test]
fn a_reset_has_the_time_of_the_end_of_the_window_before() {
    let id = account();
    let subject = WindowSubject {
        account: &id,
        name: window_name::FIVE_HOUR,
    };
    let allowed = |at, share, reset| seen(at, Some(share), reset, LimitStatus::Allowed);
    let before = merge(None, &allowed(NOON, 0.9, RESET), NOON, &[]).track;
    let late = RESET + 2 * HOUR_MS;
    let after = merge(
        Some(&before),
        &allowed(late, 0.01, RESET + 5 * HOUR_MS),
        late,
        &[],
    );
    let notices = of_window(
        subject,
        Some(&before.state),
        &after.track.state,
        (after.rolled_over, &[]),
        late,
    );
    let [reset] = &notices[..] else {
        panic!("{notices:?}")
    };
    // Two hours old: a target whose max_age is shorter does not get it.
    assert_eq!((reset.at, reset.observed_at), (RESET, Some(late)));
}

fn verdict(state: AccountVerdict) -> Assessment {
    let rules = Account::new(account());
    let candidate = Candidate {
        account: &rules,
        model: None,
        windows: Vec::new(),
        calls: Calls::default(),
        budget: None,
        mark: None,
        throttled: None,
        overage: None,
    };
    Assessment {
        state,
        ..assess(&candidate, NOON)
    }
}

/// Applies a change to latches; the name of its event.
fn applied(latches: &mut Latches, change: Option<LatchChange>) -> Option<&'static str> {
    let change = change?;
    match change.to {
        Some(latch) => drop(latches.insert(change.key, latch)),
        None => drop(latches.remove(&change.key)),
    }
    change.notice.map(|notice| notice.kind.into_str())
}

#[test]
fn an_account_is_exhausted_once_and_available_once() {
    use AccountVerdict::{Available, Exhausted, NearLimit, Unknown};
    let mut latches = Latches::new();
    for (state, expected) in [
        (Unknown, None),
        (Available, None),
        (Exhausted, Some("account.exhausted")),
        (Exhausted, None),
        // Not known is no end.
        (Unknown, None),
        (NearLimit, Some("account.available")),
        (Available, None),
        (Exhausted, Some("account.exhausted")),
    ] {
        let change = of_account(&latches, &verdict(state), NOON);
        assert_eq!(applied(&mut latches, change), expected, "{state:?}");
    }
}

#[test]
fn a_block_has_the_time_of_its_cause_and_names_no_window_that_has_none() {
    // A share, and ten minutes later a refusal that has none.
    let share = seen(NOON, Some(0.6), RESET, LimitStatus::Allowed);
    let at = NOON + 10 * MINUTE_MS;
    let refusal = seen(at, None, RESET, LimitStatus::Rejected);
    let first = merge(None, &share, NOON, &[]).track;
    let state = merge(Some(&first), &refusal, at, &[]).track.state;
    let rules = Account::new(account());
    for (name, words) in [
        (window_name::FIVE_HOUR, "five_hour"),
        (window_name::UNKNOWN, "a window that the provider did not name"),
    ] {
        let candidate = Candidate {
            account: &rules,
            model: None,
            windows: vec![NamedWindow { name, state: &state }],
            calls: Calls::default(),
            budget: None,
            mark: None,
            throttled: None,
            overage: None,
        };
        let now_is = assess(&candidate, at + MINUTE_MS);
        assert_eq!(now_is.observed_at, Some(NOON), "the share is older");
        let change = of_account(&Latches::new(), &now_is, at + MINUTE_MS).unwrap();
        let notice = change.notice.unwrap();
        assert_eq!(notice.observed_at, Some(at));
        assert_eq!(
            &*notice.sentence,
            format!(
                "claude/max-1 is blocked: {words} was refused by the provider, free again at 10-05 17:00 UTC"
            )
        );
        let id = account();
        let subject = WindowSubject { account: &id, name };
        let exhausted = of_window(subject, Some(&first.state), &state, (false, &[]), at);
        assert_eq!(
            &*exhausted[0].sentence,
            format!("claude/max-1: {words} is refused by the provider, resets at 10-05 17:00 UTC")
        );
    }
}

#[test]
fn a_budget_says_its_highest_new_threshold_each_day() {
    let mut latches = Latches::new();
    let id = account();
    for (used, day, expected) in [
        (74, 0, None),
        (75, 0, Some(75)),
        (80, 0, None),
        (130, 0, Some(90)),
        (500, 0, None),
        (10, 1, None),
        (95, 1, Some(90)),
    ] {
        let day_start = NOON + day * 24 * HOUR_MS;
        let budget = BudgetUse {
            account: &id,
            thresholds: &[75, 90],
            tokens: 100,
            used,
            day_start,
            day_end: day_start + 24 * HOUR_MS,
        };
        let change = of_budget(&latches, &budget, day_start);
        let threshold = change
            .as_ref()
            .and_then(|change| change.notice.as_ref()?.threshold);
        applied(&mut latches, change);
        assert_eq!(threshold, expected, "{used} on day {day}");
    }
    let none = BudgetUse {
        account: &id,
        thresholds: &[75],
        tokens: 0,
        used: 500,
        day_start: NOON,
        day_end: NOON,
    };
    assert_eq!(of_budget(&Latches::new(), &none, NOON), None, "no budget");
}

/// A window's state after observations.
fn state(observations: &[Observation]) -> WindowState {
    let mut track: Option<Track> = None;
    for observation in observations {
        let at = observation.observed_at.unwrap();
        track = Some(merge(track.as_ref(), observation, at, &[]).track);
    }
    track.unwrap().state
}

#[test]
fn a_forecast_is_said_once_and_again_after_two_readings_that_take_it_back() {
    let id = account();
    let subject = WindowSubject {
        account: &id,
        name: window_name::FIVE_HOUR,
    };
    let at = |minutes: Millis| NOON + minutes * MINUTE_MS;
    let reading = |minutes, share| state(&[seen(at(minutes), Some(share), RESET, LimitStatus::Allowed)]);
    let mut latches = Latches::new();
    for (what, minutes, share, expected) in [
        ("80 % after half of it: out in 37 min", 150, 0.80, None),
        (
            "90 % after 180 min: out in 20 min",
            180,
            0.90,
            Some("forecast.before_reset"),
        ),
        ("it is said", 181, 0.91, None),
        ("out in 47 min: once against", 188, 0.80, None),
        ("soon again", 190, 0.93, None),
        ("once against", 191, 0.80, None),
        ("twice against: taken back", 192, 0.80, None),
        ("said again", 200, 0.93, Some("forecast.before_reset")),
    ] {
        let change = of_forecast(
            &latches,
            subject,
            &reading(minutes, share),
            30 * MINUTE_MS,
            at(minutes),
        );
        assert_eq!(applied(&mut latches, change), expected, "{what}");
    }
    // The same reading counts once against it, however often it is judged.
    for _ in 0..3 {
        let slow = reading(205, 0.80);
        let change = of_forecast(&latches, subject, &slow, 30 * MINUTE_MS, at(205));
        assert_eq!(applied(&mut latches, change), None);
    }
    assert_eq!(latches.len(), 1);
    // Used up: no forecast. In the next window it is armed again.
    let full = reading(210, 1.0);
    assert_eq!(
        of_forecast(&Latches::new(), subject, &full, 30 * MINUTE_MS, at(210)),
        None
    );
    let next = state(&[seen(
        at(300 + 200),
        Some(0.95),
        RESET + 5 * HOUR_MS,
        LimitStatus::Allowed,
    )]);
    let change = of_forecast(&latches, subject, &next, 30 * MINUTE_MS, at(500));
    assert_eq!(applied(&mut latches, change), Some("forecast.before_reset"));
    // After the reset nothing is left of it.
    let change = of_forecast(&latches, subject, &next, 30 * MINUTE_MS, at(900));
    assert_eq!(applied(&mut latches, change), None);
    assert!(latches.is_empty());
}

#[test]
fn trouble_is_said_when_it_becomes_worse_and_has_one_id() {
    let worse = of_trouble(2, "unhealthy", Some("no disk"), NOON);
    assert_eq!(worse.id.as_deref(), Some("evt_health_1791201600000"));
    assert_eq!(
        &*worse.notice.as_ref().unwrap().sentence,
        "the collector is unhealthy since 10-05 12:00 UTC: no disk"
    );
    let slight = of_trouble(1, "degraded", None, NOON);
    for (stored, change, is_known) in [
        (None, &worse, false),
        (Some(latch(1, 5)), &worse, false),
        (Some(latch(2, 5)), &worse, true),
        (Some(latch(2, 5)), &slight, true),
        (None, &of_recovery(NOON), true),
        (Some(latch(1, 5)), &of_recovery(NOON), false),
    ] {
        assert_eq!(is_said(stored, change), is_known, "{stored:?} {change:?}");
    }
}

#[test]
fn an_expired_poll_is_said_once() {
    let mut latches = Latches::new();
    let id = account();
    for (is_expired, expected) in [
        (false, None),
        (true, Some("poll.expired")),
        (true, None),
        (false, None),
        (true, Some("poll.expired")),
    ] {
        let change = of_poll(&latches, &id, is_expired, "it is over", NOON);
        assert_eq!(applied(&mut latches, change), expected);
    }
}

pub fn target(events: &[&str], matches: NoticeMatch) -> NoticeTarget {
    NoticeTarget {
        name: "t".into(),
        events: events.iter().map(|event| (*event).into()).collect(),
        matches,
        route: NoticeRoute::Exec(vec!["/bin/true".to_owned()]),
        secret_file: None,
        token_file: None,
        format: NoticeFormat::Standard,
        timeout: Duration::from_secs(1),
        max_age: HOUR_MS,
    }
}

#[test]
fn a_target_gets_what_it_names_and_what_fits() {
    let mut notice = Notice::new(NoticeKind::WindowThreshold, NOON, "x");
    notice.account = Some(account());
    notice.bucket = Some("five_hour".into());
    notice.threshold = Some(75);
    let health = Notice::new(NoticeKind::HealthDegraded, NOON, "x");
    let stop = of_stop("r1", &account(), "idle", NOON);
    let lost = of_drops(2, NOON);
    let some = |text: &str| Some(text.into());
    let of = |rules: &[(&str, &str)], threshold| {
        let mut matches = NoticeMatch {
            threshold,
            ..NoticeMatch::default()
        };
        for (key, value) in rules {
            match *key {
                "provider" => matches.provider = some(value),
                "account" => matches.account = some(value),
                "bucket" => matches.bucket = some(value),
                _ => matches.run = some(value),
            }
        }
        matches
    };
    for (events, rules, threshold, notice, expected) in [
        (&["*"][..], &[][..], None, &notice, true),
        (&["window.threshold"], &[], None, &notice, true),
        (&["window.*"], &[], None, &notice, true),
        (&["account.*", "health.ok"], &[], None, &notice, false),
        (&["*"], &[("account", "max-*")], None, &notice, true),
        (&["*"], &[("account", "*-1")], None, &notice, true),
        (&["*"], &[("account", "m*x*1")], None, &notice, true),
        (&["*"], &[("account", "m*y*1")], None, &notice, false),
        (&["*"], &[("account", "max")], None, &notice, false),
        (&["*"], &[("provider", "codex")], None, &notice, false),
        (&["*"], &[("bucket", "five*")], None, &notice, true),
        (&["*"], &[("bucket", "seven*")], None, &notice, false),
        // A run is no property of a window.
        (&["*"], &[("run", "r9")], None, &notice, true),
        (&["*"], &[], Some(75), &notice, true),
        (&["*"], &[], Some(90), &notice, false),
        (&["*"], &[("account", "other")], Some(90), &health, true),
        (&["*", "run.*"], &[], None, &stop, false),
        (&["run.stopped"], &[], None, &stop, true),
        (&["run.stopped"], &[("run", "r1*")], None, &stop, true),
        (&["run.stopped"], &[("run", "x*")], None, &stop, false),
        // What was lost is said whatever is asked for.
        (&["health.ok"], &[], None, &lost, true),
    ] {
        let wants = target(events, of(rules, threshold)).wants(notice);
        assert_eq!(
            wants,
            expected,
            "{events:?} {rules:?} {threshold:?} {}",
            notice.kind.into_str()
        );
    }
}

#[test]
fn an_address_is_shown_up_to_its_host() {
    for (url, shown) in [
        (
            "https://hooks.example/services/T/SECRET",
            "https://hooks.example/...",
        ),
        ("https://a.example", "https://a.example"),
        ("https://a.example:8443?token=x", "https://a.example:8443/..."),
    ] {
        assert_eq!(shown_url(url), shown);
    }
}
