//! Polls at given times: when the next one is due, and what an outcome changes.

use super::*;
use crate::model::{AccountId, LimitSource, LimitStatus, Observation, window_name};
use crate::quota::account::Minimum;
use crate::quota::poll::settings::{INTERVAL_DEFAULT_MS, PollVia};
use crate::quota::window::merge;

/// 2026-10-05T12:00:00Z
const NOON: Millis = 1_791_201_600_000;
const SECOND: Millis = 1_000;
const A: Option<Fingerprint> = Some(Fingerprint(1));
const B: Option<Fingerprint> = Some(Fingerprint(2));

type Windows = BTreeMap<Box<str>, WindowState>;

fn settings() -> PollSettings {
    PollSettings {
        via: PollVia::UsageApi,
        interval: INTERVAL_DEFAULT_MS,
        credentials: None,
        cache: None,
        command: Vec::new(),
        user_agent: None,
        base_url: None,
    }
}

fn account() -> Account {
    Account::new(AccountId::default())
}

fn add(windows: &mut Windows, name: &str, share: f64, reset_at: Option<Millis>, at: Millis) {
    let observation = Observation {
        window: name.into(),
        utilization: Some(share),
        remaining: None,
        limit: None,
        reset_at,
        observed_at: Some(at),
        status: LimitStatus::Unknown,
        source: LimitSource::UsageApi,
        session: None,
        request: None,
    };
    let state = merge(None, &observation, at, &[]).track.state;
    windows.insert(name.into(), state);
}

fn due(poll: &Poll, windows: &Windows, now: Millis) -> Option<Millis> {
    poll.due(&settings(), &account(), windows, now)
}

fn answer(windows: &[&str], at: Millis) -> PollOutcome {
    PollOutcome::Answer {
        windows: windows.iter().map(|name| (*name).into()).collect(),
        at,
    }
}

fn limited(retry_at: Option<Millis>) -> PollOutcome {
    PollOutcome::of_status(429, false, retry_at, true)
}

/// A poll that was answered at this time.
fn answered(at: Millis) -> Poll {
    let mut poll = Poll::seeded(&Windows::new(), None, at);
    assert!(poll.begin(A, 0, at));
    let finished = poll.finish(A, A, &answer(&[window_name::FIVE_HOUR], at), at);
    assert!(finished.takes && !finished.is_backoff_new);
    poll
}

#[test]
fn ten_requests_at_once_are_one_and_another_account_or_credential_has_its_own() {
    let new = || Poll::seeded(&Windows::new(), None, NOON);
    let (mut a, mut b) = (new(), new());
    let begun = (0..10).filter(|_| a.begin(A, 0, NOON)).count();
    assert_eq!(begun, 1);
    assert_eq!(due(&a, &Windows::new(), NOON), None);
    assert!(b.begin(A, 0, NOON), "another account");
    assert!(a.begin(B, 0, NOON), "another credential");
    // The answer to the first one comes later and is not the account's any more.
    let late = a.finish(A, B, &answer(&["five_hour"], NOON), NOON + SECOND);
    assert!(!late.takes);
    assert_eq!((a.state(), a.last_ok()), (PollState::InFlight, None));
    assert!(a.finish(B, B, &answer(&["five_hour"], NOON), NOON + SECOND).takes);
    assert_eq!((a.state(), a.last_ok()), (PollState::Idle, Some(NOON)));
}

#[test]
fn a_token_that_was_replaced_in_flight_takes_its_answer_with_it() {
    for (outcome, is_dropped) in [
        (answer(&["five_hour"], NOON), true),
        (PollOutcome::of_status(401, false, None, true), true),
        (PollOutcome::of_status(403, false, None, true), true),
        // The account is throttled whatever its token is.
        (limited(None), false),
    ] {
        let mut poll = answered(NOON - 1);
        assert!(poll.begin(A, 0, NOON));
        let finished = poll.finish(A, B, &outcome, NOON);
        assert!(!finished.takes);
        assert_eq!(poll.failure().is_none(), is_dropped, "{outcome:?}");
        let next = if is_dropped { NOON } else { NOON + 60 * SECOND };
        assert_eq!(due(&poll, &Windows::new(), NOON), Some(next), "{outcome:?}");
    }
}

#[test]
fn a_refusal_waits_as_long_as_the_server_says_else_ever_longer() {
    let mut poll = answered(NOON);
    let mut now = NOON;
    for (failures, seconds) in [(1, 60), (2, 120), (3, 240), (4, 480), (5, 900), (6, 900)] {
        assert!(poll.begin(A, 0, now));
        assert!(poll.finish(A, A, &limited(None), now).is_backoff_new);
        let until = now + seconds * SECOND;
        assert_eq!(poll.backoff(), Some(Backoff { until, failures }));
        assert_eq!(due(&poll, &Windows::new(), now), Some(until));
        now = until;
    }
    for (retry_s, waits_s) in [(2974, 2974), (1, 900), (7 * 3600, 6 * 3600)] {
        assert!(poll.begin(A, 0, now));
        poll.finish(A, A, &limited(Some(now + retry_s * SECOND)), now);
        now += waits_s * SECOND;
        assert_eq!(due(&poll, &Windows::new(), now), Some(now));
    }
    // A success ends it; the first failure afterwards waits a minute again.
    assert!(poll.begin(A, 0, now));
    let finished = poll.finish(A, A, &answer(&[], now), now);
    assert!(finished.is_backoff_new);
    assert_eq!((poll.backoff(), poll.failure()), (None, None));
    assert_eq!(backoff_until(1, None, now), now + 60 * SECOND);
}

#[test]
fn the_later_of_two_deadlines_stays() {
    let mut poll = answered(NOON);
    assert!(poll.begin(A, 0, NOON));
    poll.finish(A, A, &limited(Some(NOON + 2974 * SECOND)), NOON);
    // A request that was under way with another credential.
    assert!(poll.begin(B, 0, NOON));
    poll.finish(B, B, &limited(None), NOON + SECOND);
    assert_eq!(
        poll.backoff().map(|backoff| backoff.until),
        Some(NOON + 2974 * SECOND)
    );
}

#[test]
fn a_refused_credential_is_not_asked_with_again_and_is_no_throttling() {
    for (status, is_codex, state) in [
        (401, false, PollState::Expired),
        (403, false, PollState::Forbidden),
        (401, true, PollState::Expired),
        (403, true, PollState::Expired),
    ] {
        let mut poll = answered(NOON);
        assert!(poll.begin(A, 0, NOON));
        let finished = poll.finish(A, A, &PollOutcome::of_status(status, is_codex, None, true), NOON);
        assert_eq!((finished.is_backoff_new, poll.backoff()), (false, None));
        assert_eq!(poll.state(), state);
        let later = NOON + 100 * INTERVAL_DEFAULT_MS;
        assert_eq!(due(&poll, &Windows::new(), later), None);
        assert!(!poll.begin(A, 0, later));
        assert!(poll.begin(B, 0, later), "another token");
    }
}

#[test]
fn another_credential_does_not_end_a_wait() {
    let mut poll = answered(NOON);
    assert!(poll.begin(A, 0, NOON));
    poll.finish(A, A, &limited(None), NOON);
    poll.refuse(A, PollErrorKind::Expired, "over".into(), NOON + SECOND);
    assert!(poll.is_refused_as(A, PollErrorKind::Expired));
    assert!(!poll.begin(B, 0, NOON + 2 * SECOND));
    assert_eq!(
        due(&poll, &Windows::new(), NOON + 2 * SECOND),
        Some(NOON + 60 * SECOND)
    );
    assert!(poll.begin(B, 0, NOON + 60 * SECOND));
}

#[test]
fn refusals_by_the_edge_without_an_answer_ever_name_the_token() {
    let edge = PollOutcome::of_status(429, false, None, false);
    let words = |poll: &Poll| poll.failure().unwrap().detail.to_string();
    let mut poll = Poll::seeded(&Windows::new(), None, NOON);
    for number in 1..=3 {
        assert!(poll.begin(A, 0, NOON));
        poll.finish(A, A, &edge, NOON);
        assert_eq!(words(&poll).contains("user:profile"), number == 3, "{number}");
    }
    let mut poll = answered(NOON);
    for _ in 0..4 {
        assert!(poll.begin(A, 0, NOON));
        poll.finish(A, A, &edge, NOON);
    }
    assert!(!words(&poll).contains("user:profile"), "it was answered before");
}

#[test]
fn a_reading_is_stale_after_the_interval_and_chance_moves_it_a_tenth() {
    let poll = answered(NOON);
    let at = due(&poll, &Windows::new(), NOON).unwrap();
    assert!(at > NOON + 299_999 && at <= NOON + 300_000);
    assert_eq!(stale_at(0, 300_000, -JITTER_MAX), 270_000);
    assert_eq!(stale_at(0, 300_000, JITTER_MAX), 330_000);
}

#[test]
fn a_blocked_account_is_asked_after_the_earliest_reset_or_in_half_an_hour() {
    let poll = answered(NOON);
    let mut account = account();
    let minimum = |window: &str, percent| Minimum {
        window: window.into(),
        percent,
    };
    account.minimum_left = vec![minimum("five_hour", 10), minimum("seven_day", 10)];
    let due = |windows: &Windows| poll.due(&settings(), &account, windows, NOON);
    let (five, seven) = (NOON + 600 * SECOND, NOON + 259_200 * SECOND);
    let windows = |five_hour, seven_day| {
        let mut windows = Windows::new();
        add(&mut windows, "five_hour", five_hour, Some(five), NOON);
        add(&mut windows, "seven_day", seven_day, Some(seven), NOON);
        windows
    };
    assert_eq!(due(&windows(0.5, 0.5)), Some(NOON + 300 * SECOND), "healthy");
    // The week has 4 % left: the five hours do not matter, and a plan may change.
    assert_eq!(due(&windows(0.5, 0.96)), Some(NOON + 1800 * SECOND));
    assert_eq!(due(&windows(0.95, 0.96)), Some(five + 60 * SECOND));
    assert_eq!(due(&windows(0.95, 0.5)), Some(five + 60 * SECOND));
    // Without a minimum, all must be used.
    let none = self::account();
    assert_eq!(
        poll.due(&settings(), &none, &windows(1.0, 0.5), NOON),
        Some(five + 60 * SECOND)
    );
}

#[test]
fn the_stored_readings_seed_the_first_poll() {
    let mut windows = Windows::new();
    add(&mut windows, "five_hour", 0.1, None, 900_000);
    add(&mut windows, "seven_day", 0.1, None, 1_000_000);
    let poll = Poll::seeded(&windows, None, 1_050_000);
    assert_eq!(due(&poll, &windows, 1_050_000), Some(1_300_000));
    let nothing = Poll::seeded(&Windows::new(), None, 1_050_000);
    assert_eq!(due(&nothing, &Windows::new(), 1_050_000), Some(1_050_000));
    // A back-off outlives a restart, but not a clock that was far ahead.
    let backoff = |until| Some(Backoff { until, failures: 2 });
    let waiting = Poll::seeded(&windows, backoff(2_000_000), 1_050_000);
    assert_eq!(due(&waiting, &windows, 1_050_000), Some(2_000_000));
    let ahead = Poll::seeded(&windows, backoff(NOON), 1_050_000);
    assert_eq!(
        due(&ahead, &windows, 1_050_000),
        Some(1_050_000 + RETRY_AFTER_MAX_MS)
    );
}

#[test]
fn a_newer_reading_of_another_source_postpones_the_poll_if_it_covers_all() {
    let mut poll = answered(NOON);
    poll.adopt(NOON, &["five_hour".into(), "seven_day".into()], NOON);
    let mut windows = Windows::new();
    add(&mut windows, "five_hour", 0.1, None, NOON + 200 * SECOND);
    let now = NOON + 200 * SECOND;
    assert_eq!(
        due(&poll, &windows, now),
        Some(NOON + 300 * SECOND),
        "one is missing"
    );
    add(&mut windows, "seven_day", 0.1, None, NOON + 100 * SECOND);
    assert_eq!(due(&poll, &windows, now), Some(NOON + 400 * SECOND));
    // Another process asked and left its answer on disk.
    poll.adopt(NOON + 150 * SECOND, &["five_hour".into()], now);
    assert_eq!(due(&poll, &Windows::new(), now), Some(NOON + 450 * SECOND));
}

#[test]
fn a_clock_that_goes_back_delays_nothing() {
    let hour = HOUR_MS;
    let mut poll = answered(NOON);
    poll.look(NOON + 100 * SECOND);
    poll.look(NOON + 100 * SECOND - hour);
    let now = NOON + 100 * SECOND - hour;
    assert_eq!(due(&poll, &Windows::new(), now), Some(now + 200 * SECOND));
    assert!(poll.begin(A, 0, now));
    poll.finish(A, A, &limited(None), now);
    poll.look(now - hour);
    assert_eq!(
        due(&poll, &Windows::new(), now - hour),
        Some(now - hour + 60 * SECOND)
    );
}

#[test]
fn errors_have_the_words_of_the_web_client() {
    for (kind, word) in [
        (PollErrorKind::Expired, "expired"),
        (PollErrorKind::Forbidden, "network"),
        (PollErrorKind::MissingCredentials, "missing_credentials"),
        (PollErrorKind::RateLimited, "rate_limited"),
        (PollErrorKind::Network, "network"),
        (PollErrorKind::Server, "network"),
        (PollErrorKind::BadAnswer, "network"),
        (PollErrorKind::OtherAccount, "network"),
        (PollErrorKind::Command, "network"),
        (PollErrorKind::Cache, "network"),
    ] {
        assert_eq!(kind.web_word(), word);
        assert!(!kind.advice().is_empty());
    }
}
