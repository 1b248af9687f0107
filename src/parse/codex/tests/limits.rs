//! Windows and refusals, their names, times and ends.

use super::*;
use crate::model::{LimitSource, LimitStatus};
use crate::quota::window::merge;

/// Window, share in percent, end in seconds, status.
type ObservationFields<'a> = (&'a str, Option<f64>, Option<Millis>, LimitStatus);

fn fields(observations: &[Observation]) -> Vec<ObservationFields<'_>> {
    let percent = |share: f64| (share * 1000.0).round() / 10.0;
    let one = |one: &'_ Observation| {
        let end = one.reset_at.map(|end| end / 1000);
        (one.utilization.map(percent), end, one.status)
    };
    observations
        .iter()
        .map(|seen| {
            let (share, end, status) = one(seen);
            (&*seen.window, share, end, status)
        })
        .collect()
}

#[test]
fn windows_are_named_by_their_length_and_end_as_the_line_says() {
    use LimitStatus::Unknown;
    let line_time = 1_758_358_802;
    let seen = sample("09-legacy").observations;
    let want = [
        ("five_hour", Some(50.0), Some(line_time + 600), Unknown),
        ("seven_day", Some(5.0), Some(line_time + 86_400), Unknown),
    ];
    assert_eq!(fields(&seen), want);
    assert!(seen.iter().all(|one| one.source == LimitSource::Codex));
    assert!(seen.iter().all(|one| one.observed_at == Some(line_time * 1000)));
}

#[test]
fn a_limit_of_its_own_is_a_window_of_its_own_and_a_refused_turn_is_one_rejection() {
    use LimitStatus::{Rejected, Unknown};
    let seen = sample("11-usage-limit").observations;
    let until = Some(1_791_210_782);
    let want = [
        ("five_hour", Some(100.0), until, Rejected),
        ("seven_day", Some(42.0), Some(1_791_613_577), Unknown),
        ("five_hour", None, until, Rejected),
        (
            "codex:codex_other:seven_day",
            Some(77.0),
            Some(1_791_900_000),
            Unknown,
        ),
        ("seven_day", Some(97.0), Some(1_791_613_582), Unknown),
    ];
    assert_eq!(fields(&seen), want);
    let refused = |one: &&Observation| one.status == Rejected;
    let requests: Vec<Option<u64>> = seen.iter().filter(refused).map(|one| one.request).collect();
    assert!(
        requests[0].is_some() && requests[0] == requests[1],
        "{requests:?}"
    );
    let others = seen.iter().filter(|one| !refused(one));
    assert!(
        others
            .clone()
            .all(|one| one.request.is_none() && one.session.is_some())
    );
}

#[test]
fn a_refusal_without_a_used_up_window_ends_as_its_sentence_says() {
    use LimitStatus::{Rejected, Unknown};
    let (session, week) = (Some(1_795_924_800), Some(1_796_259_600));
    // 2026-11-29, 03:02 and 03:04.
    for (file, end) in [
        ("01a224d3-a086-7693-8819-a9092cbf7e8b", 1_795_921_320),
        ("01a224d4-ef81-7480-bffc-db16242f54af", 1_795_921_440),
    ] {
        let seen = sample(file).observations;
        let want = [
            ("five_hour", Some(14.0), session, Unknown),
            ("seven_day", Some(40.5), week, Unknown),
            ("unknown", None, Some(end), Rejected),
        ];
        assert_eq!(fields(&seen), want, "{file}");
        assert_eq!(seen[2].source, LimitSource::Prose);
    }
}

/// A token count of the limits of `id`: percent and minutes of the primary window.
fn limits(id: &str, percent: u32, minutes: u32, more: &str) -> String {
    let window = format!(r#"{{"used_percent":{percent},"window_minutes":{minutes},"resets_at":1791210782}}"#);
    format!(
        r#"{{"type":"token_count","info":null,"rate_limits":{{"limit_id":{id},"primary":{window},"secondary":null{more}}}}}"#
    )
}

/// A fork whose parent was at 90 % before, and which is at 10 % itself.
fn forked() -> Vec<Observation> {
    let (copied, own) = (started("copied", 30), started("own", 601));
    let (old, new) = (limits("\"codex\"", 90, 300, ""), limits("\"codex\"", 10, 300, ""));
    file(&[
        FORK,
        META,
        (600, "event_msg", &copied),
        (600, "event_msg", &old),
        (601, "event_msg", &own),
        (602, "event_msg", &new),
    ])
    .observations
}

#[test]
fn limits_of_a_copied_turn_are_of_that_turn_and_of_the_parent() {
    let seen = forked();
    let hash = |id: &[u8]| Some(xxh3_64_with_seed(id, 0));
    let of = |one: &Observation| (one.observed_at, one.session);
    assert_eq!(of(&seen[0]), (Some(TIME + 30_999), hash(b"thread")));
    assert_eq!(of(&seen[1]), (Some(TIME + 602_000), hash(b"child")));
    let legacy = sample("12b-child").observations;
    let times: Vec<Millis> = legacy.iter().map(|one| one.observed_at.unwrap() - TIME).collect();
    assert_eq!(times, [1_999, 1_999, 10_999, 10_999, 102_000, 102_000]);
}

#[test]
fn limits_of_a_copied_turn_are_history_and_change_no_window() {
    let seen = forked();
    let at = |one: &Observation| one.observed_at.unwrap();
    let own = merge(None, &seen[1], at(&seen[1]), &[]);
    let copied = merge(Some(&own.track), &seen[0], at(&seen[0]), &[]);
    assert!(copied.history);
    assert_eq!(copied.track, own.track);
}

#[test]
fn the_id_of_a_turn_dates_it_too_and_a_thread_of_its_own_has_no_copies() {
    let (turn, thread) = (
        "01a224d3-e2a1-7111-a320-e113a87c5623",
        "01a224d3-e2c2-77d0-98c6-b99163e80277",
    );
    let turn_time = 1_795_914_195_617;
    assert_eq!(uuid_time(turn.as_bytes()), Some(turn_time));
    for other in ["", "turn", &turn.replace("-7", "-4"), &turn.replace('e', "x")] {
        assert_eq!(uuid_time(other.as_bytes()), None, "{other}");
    }
    let (start, reading) = (
        format!(r#"{{"type":"turn_started","turn_id":"{turn}"}}"#),
        limits("null", 9, 300, ""),
    );
    let observed_at = |meta: &str| {
        let text = [
            ("session_meta", meta),
            ("event_msg", &start),
            ("event_msg", &reading),
        ]
        .map(|(kind, payload)| {
            format!(r#"{{"timestamp":"2026-11-29T01:04:00.000Z","type":"{kind}","payload":{payload}}}"#)
        });
        samples::read::<Codex>(text.join("\n").as_bytes(), true).observations[0].observed_at
    };
    let fork = format!(r#"{{"id":"{thread}","forked_from_id":"parent"}}"#);
    assert_eq!(observed_at(&fork), Some(turn_time));
    assert_eq!(
        observed_at(&format!(r#"{{"id":"{thread}"}}"#)),
        Some(1_795_914_240_000)
    );
}

#[test]
fn windows_that_are_not_the_usual_ones_have_names() {
    use LimitStatus::{Rejected, Unknown};
    let end = Some(1_791_210_782);
    let none =
        r#"{"type":"token_count","rate_limits":{"limit_id":"premium","primary":null,"secondary":null}}"#;
    let reached = |kind: &str| format!(r#","rate_limit_reached_type":{kind}"#);
    let depleted = reached("\"workspace_owner_credits_depleted\"");
    let cases: [(String, &[ObservationFields<'_>]); 8] = [
        (
            limits("null", 12, 4320, ""),
            &[("4320m", Some(12.0), end, Unknown)],
        ),
        (
            limits("\"codex\"", 12, 360, ""),
            &[("five_hour", Some(12.0), end, Unknown)],
        ),
        (
            limits("\"codex\"", 12, 361, ""),
            &[("361m", Some(12.0), end, Unknown)],
        ),
        (
            limits("\"codex\"", 12, 11_001, ""),
            &[("11001m", Some(12.0), end, Unknown)],
        ),
        (
            limits("\"codex_x\"", 12, 4320, ""),
            &[("codex:codex_x:4320m", Some(12.0), end, Unknown)],
        ),
        (limits("\"codex\"", 0, 0, ""), &[]),
        (none.to_owned(), &[]),
        (
            limits("\"codex\"", 12, 300, &depleted),
            &[
                ("five_hour", Some(12.0), end, Unknown),
                ("unknown", None, None, Rejected),
            ],
        ),
    ];
    for (payload, want) in cases {
        let seen = file(&[META, (1, "event_msg", &payload)]).observations;
        assert_eq!(fields(&seen), want, "{payload}");
    }
}

#[test]
fn a_refusal_is_by_the_newest_window_that_is_used_up() {
    let refused = |text: &str| {
        format!(
            r#"{{"type":"task_complete","error":{{"message":"{text}","codex_error_info":"usage_limit_exceeded"}}}}"#
        )
    };
    let full = limits("\"codex\"", 100, 300, "");
    let end = Some(1_791_210_782);
    let at = "You\u{2019}ve hit your usage limit. Try again at Jun 18th, 2027 8:41 AM.";
    let far = Some(1_813_308_060);
    let cases: [(&[&str], &str, &str, Option<Millis>); 7] = [
        (&[&full], "", "five_hour", end),
        (&[&full, &limits("\"codex_x\"", 7, 300, "")], "", "five_hour", end),
        (
            &[&limits("\"codex_x\"", 100, 90, "")],
            "",
            "codex:codex_x:five_hour",
            end,
        ),
        (&[&full, &limits("\"codex\"", 7, 300, "")], "", "unknown", None),
        (&[], at, "unknown", far),
        (
            &[],
            "Try again in 1 hour 5 minutes.",
            "unknown",
            Some(TIME / 1000 + 2 + 3900),
        ),
        (&[], "Try again later.", "unknown", None),
    ];
    for (before, text, window, until) in cases {
        let end = refused(text);
        let mut lines = vec![META];
        lines.extend(before.iter().map(|payload| (1, "event_msg", *payload)));
        lines.push((2, "event_msg", &end));
        let seen = file(&lines).observations;
        let last = fields(&seen[seen.len() - 1..])[0];
        assert_eq!(
            last,
            (window, None, until, LimitStatus::Rejected),
            "{before:?} {text}"
        );
    }
    let other = r#"{"type":"task_complete","error":{"message":"m","codex_error_info":{"other":{}}}}"#;
    assert_eq!(
        file(&[META, (1, "event_msg", &full), (2, "event_msg", other)])
            .observations
            .len(),
        1
    );
}
