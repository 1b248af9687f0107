//! A replay says the same every time, whichever of its readers is faster.
//!
//! Two readers take the files from the largest to the smallest, so files of one size are read at once.

use std::fmt::Write as _;

use serde_json::Value;

use crate::harness::{Place, append, text};

const FILES: [(&str, &str); 6] = [
    ("a", "1.jsonl"),
    ("a", "2.jsonl"),
    ("b", "1.jsonl"),
    ("b", "deep/2.jsonl"),
    ("c", "1.jsonl"),
    ("c", "2.jsonl"),
];
const TIMES: usize = 5;
/// In seconds, of the windows of 5 October 2026.
const FIVE_HOUR_RESET: i64 = 1_791_213_600;
const SEVEN_DAY_RESET: i64 = 1_791_561_600;

/// A line of limits; without a time it counts as seen now.
fn event(minute: Option<usize>, windows: &[(&str, f64, i64)], status: &str) -> String {
    let mut line = "{\"type\":\"rate_limit_event\"".to_owned();
    if let Some(minute) = minute {
        let (hour, minute) = (10 + minute / 60, minute % 60);
        write!(line, ",\"timestamp\":\"2026-10-05T{hour}:{minute:02}:00Z\"").unwrap();
    }
    let shares: Vec<String> = (windows.iter())
        .map(|(name, share, reset)| format!("\"{name}\":{{\"utilization\":{share},\"resetsAt\":{reset}}}"))
        .collect();
    let (named, shares) = (windows[0].0, shares.join(","));
    writeln!(
        line,
        ",\"rate_limit_info\":{{\"status\":\"{status}\",\"rateLimitType\":\"{named}\",\"unifiedWindows\":{{{shares}}}}}}}"
    )
    .unwrap();
    line
}

/// Replays a few times; the bytes must be the same.
#[track_caller]
fn assert_same_bytes(place: &Place, times: usize) -> Value {
    let runs = place.runs();
    let words = [
        "replay",
        runs.to_str().unwrap(),
        "--json",
        "--now",
        "2026-10-05T13:00:00Z",
    ];
    let first = place.run(&words);
    assert!(first.status.success(), "{}", text(&first.stderr));
    for _ in 1..times {
        let again = place.run(&words);
        let (one, other) = (text(&first.stdout), text(&again.stdout));
        let differ: Vec<_> = (one.lines().zip(other.lines()))
            .filter(|(one, other)| one != other)
            .collect();
        assert!(first.stdout == again.stdout, "not the same again: {differ:#?}");
    }
    serde_json::from_slice(&first.stdout).unwrap()
}

/// A line of each minute goes to one of the files, some of them late or without a time.
#[test]
fn interleaved_lines_give_the_same_bytes_every_time() {
    let place = Place::new();
    for minute in 30..150 {
        let (run, name) = FILES[minute * 7 % FILES.len()];
        let log = place.log(run, name);
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let share = minute as f64 / 150.0;
        let status = if minute % 40 == 39 { "rejected" } else { "allowed" };
        let jitter = i64::try_from(minute % 3).unwrap();
        let five = ("five_hour", share, FIVE_HOUR_RESET + jitter);
        let seven = ("seven_day", share / 2.0, SEVEN_DAY_RESET - jitter);
        append(&log, event(Some(minute), &[five, seven], status));
        if minute % 11 == 0 {
            append(
                &log,
                event(
                    Some(minute - 20),
                    &[("five_hour", 0.99, FIVE_HOUR_RESET)],
                    "allowed",
                ),
            );
        }
        if minute % 13 == 0 {
            append(
                &log,
                // Below the thresholds.
                event(None, &[("seven_day", share * 0.7, SEVEN_DAY_RESET)], "allowed"),
            );
        }
    }
    let quota = &assert_same_bytes(&place, TIMES)["quota"];
    assert_eq!(quota["windows"].as_array().unwrap().len(), 2);
    assert_eq!(quota["limit_events"].as_array().unwrap().len(), 3);
    // The line of minute 149, and those without a time: the highest is beside the line of minute 143.
    assert_eq!(quota["windows"][0]["observed_at"], "2026-10-05T12:29:00.000Z");
    assert_eq!(quota["windows"][1]["observed_at"], "2026-10-05T13:00:00.000Z");
    assert_eq!(quota["windows"][1]["utilization"], 0.667_333);
}
