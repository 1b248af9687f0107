//! Blocks that become longer, and what their events have.

use super::*;
use crate::quota::admission::{BlockReason, Reason};
use crate::quota::exhaustion::CauseKind;

/// A verdict that is blocked by one cause.
fn blocked(code: Reason, window: Option<&str>, until: Option<Millis>, since: Millis) -> Assessment {
    let cause = BlockReason {
        kind: if code == Reason::Manual {
            CauseKind::Manual
        } else {
            CauseKind::Observed
        },
        until,
        code,
        reason: "why".into(),
        source: if code == Reason::Manual {
            "somebody".into()
        } else {
            "api_error".into()
        },
        window: window.map(Box::from),
        since,
    };
    Assessment {
        until,
        reason: code,
        causes: vec![cause],
        source: Some(LimitSource::Statusline),
        observed_at: Some(NOON - 9 * MINUTE_MS),
        ..verdict(AccountVerdict::Exhausted)
    }
}

#[test]
fn a_block_is_said_again_when_it_becomes_longer_and_not_at_each_small_shift() {
    use Reason::{Manual, Throttled, WindowExhausted};
    const SECOND: Millis = 1000;
    let mut latches = Latches::new();
    let five = Some("five_hour");
    for (what, after, code, window, until, expected) in [
        ("throttled for 15 s", 0, Throttled, None, Some(15 * SECOND), true),
        ("a small shift", 5, Throttled, None, Some(50 * SECOND), false),
        (
            "refused for three hours",
            10,
            WindowExhausted,
            five,
            Some(3 * HOUR_MS),
            true,
        ),
        (
            "its reset moves",
            60,
            WindowExhausted,
            five,
            Some(3 * HOUR_MS + 59 * SECOND),
            false,
        ),
        (
            "tries move the end by little",
            120,
            WindowExhausted,
            five,
            Some(3 * HOUR_MS + 30 * MINUTE_MS),
            false,
        ),
        (
            "it is said to last much longer",
            180,
            WindowExhausted,
            five,
            Some(4 * HOUR_MS),
            true,
        ),
        (
            "another window, longer by two minutes",
            200,
            WindowExhausted,
            Some("seven_day"),
            Some(4 * HOUR_MS + 2 * MINUTE_MS),
            true,
        ),
        (
            "a shorter end is no news",
            300,
            WindowExhausted,
            five,
            Some(3 * HOUR_MS),
            false,
        ),
        (
            "nor is it back",
            400,
            WindowExhausted,
            five,
            Some(4 * HOUR_MS),
            false,
        ),
        ("a mark without an end", 500, Manual, None, None, true),
        (
            "is the longest",
            600,
            WindowExhausted,
            five,
            Some(90 * HOUR_MS),
            false,
        ),
    ] {
        let now = NOON + after * SECOND;
        let change = of_account(
            &latches,
            &blocked(code, window, until.map(|until| NOON + until), NOON),
            now,
        );
        let event = applied(&mut latches, change);
        assert_eq!(event, expected.then_some("account.exhausted"), "{what}");
    }
    let change = of_account(&latches, &verdict(AccountVerdict::Available), NOON);
    assert_eq!(applied(&mut latches, change), Some("account.available"));
    assert!(latches.is_empty());
}

#[test]
fn a_block_has_the_source_and_the_time_of_its_cause() {
    for (code, source) in [(Reason::Manual, "mark"), (Reason::Throttled, "api_error")] {
        let change = of_account(&Latches::new(), &blocked(code, None, None, NOON - 5), NOON).unwrap();
        let notice = change.notice.unwrap();
        assert_eq!(
            (notice.source.as_deref(), notice.observed_at, notice.reset_at),
            (Some(source), Some(NOON - 5), None)
        );
    }
}

#[test]
fn a_window_that_is_nearly_used_up_is_not_said_to_be() {
    let id = account();
    let subject = WindowSubject {
        account: &id,
        name: window_name::FIVE_HOUR,
    };
    for (share, words) in [
        (0.999, "is 99 % used"),
        (0.29, "is 29 % used"),
        (1.0, "is 100 % used"),
        (1.5, "is 150 % used"),
    ] {
        let state = state(&[seen(NOON, Some(share), RESET, LimitStatus::Allowed)]);
        let notices = of_window(subject, None, &state, (false, &[20]), NOON);
        assert!(notices[0].sentence.contains(words), "{}", notices[0].sentence);
    }
}
