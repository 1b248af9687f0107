//! A replay gives the same result every time, whichever of its readers is faster.
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
    // The line of minute 149. Lines without a time are as old as the line before them: the highest is beside
    // that of minute 143.
    assert_eq!(quota["windows"][0]["observed_at"], "2026-10-05T12:29:00.000Z");
    assert_eq!(quota["windows"][1]["observed_at"], "2026-10-05T12:29:00.000Z");
    assert_eq!(quota["windows"][1]["utilization"], 0.667_333);
}

/// Lines without a time all have the same time, now.
#[test]
fn lines_without_a_time_give_the_same_bytes_every_time() {
    let place = Place::new();
    for (share, (run, name)) in [0.2, 0.76, 0.8, 0.91, 0.95, 0.99].into_iter().zip(FILES) {
        append(
            &place.log(run, name),
            event(None, &[("five_hour", share, FIVE_HOUR_RESET)], "allowed"),
        );
    }
    let quota = &assert_same_bytes(&place, 4 * TIMES)["quota"];
    assert_eq!(quota["windows"][0]["utilization"], 0.99);
    assert_eq!(quota["thresholds_fired"].as_array().unwrap().len(), 2);
}

/// Each file has a line of the same minute; the first fired threshold does not depend on speed.
#[test]
fn lines_of_one_time_give_the_same_bytes_every_time() {
    let place = Place::new();
    for minute in 30..90 {
        for (index, (run, name)) in FILES.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let share = (minute * 10 + index) as f64 / 900.0;
            let windows = [
                ("five_hour", share, FIVE_HOUR_RESET),
                ("seven_day", share, SEVEN_DAY_RESET),
            ];
            let status = if minute % 30 == 0 { "rejected" } else { "allowed" };
            append(
                &place.log(run, name),
                event(Some(minute), &windows[index % 2..][..1], status),
            );
        }
    }
    let quota = &assert_same_bytes(&place, 4 * TIMES)["quota"];
    assert_eq!(quota["thresholds_fired"].as_array().unwrap().len(), 4);
}

/// A late line of one window after a line of another: its age relative to the other file's line must not
/// depend on speed.
#[test]
fn a_late_line_beside_another_file_gives_the_same_bytes_every_time() {
    let place = Place::new();
    let late = event(Some(41), &[("seven_day", 0.1, SEVEN_DAY_RESET)], "allowed")
        + &event(Some(35), &[("five_hour", 0.5, FIVE_HOUR_RESET)], "allowed");
    append(&place.log("a", "s.jsonl"), late);
    append(
        &place.log("b", "s.jsonl"),
        event(Some(41), &[("five_hour", 0.4, FIVE_HOUR_RESET)], "allowed"),
    );
    let quota = &assert_same_bytes(&place, 8 * TIMES)["quota"];
    assert_eq!(quota["windows"][0]["observed_at"], "2026-10-05T10:41:00.000Z");
}
