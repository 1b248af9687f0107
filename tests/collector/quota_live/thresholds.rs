//! A threshold is reported once for each window that reaches it, over any restarts.

use super::{BACKLOG_READ, HOUR, MINUTE, ONE_ACCOUNT, fired, now, second, share_line};
use crate::harness::{Collector, Place};
use crate::scenario::EVENTS_ONLY;

const SAID_75: &str = "which is 75 % or more";
const SAID_90: &str = "which is 90 % or more";

fn times_said(seen: &[String], words: &str) -> usize {
    seen.iter().filter(|line| line.contains(words)).count()
}

fn configured() -> Place {
    let place = Place::new();
    place.configure(&format!("{EVENTS_ONLY}{ONE_ACCOUNT}"));
    place
}

#[test]
fn a_threshold_is_logged_once_in_each_window() {
    let place = configured();
    let mut collector = place.resume();
    let (start, reset) = (now(), second(now() + HOUR));
    for (minute, share) in [(0, 0.5), (1, 0.76), (2, 0.8), (3, 0.95), (4, 0.96)] {
        collector.commit_line(
            &place,
            "one",
            &share_line(start + minute * MINUTE, "five_hour", share, reset),
        );
    }
    let next = reset + 5 * HOUR;
    for (minute, share) in [(5, 0.1), (6, 0.8), (7, 0.81)] {
        collector.commit_line(
            &place,
            "one",
            &share_line(start + minute * MINUTE, "five_hour", share, next),
        );
    }
    let summary = collector.settle(&place, "one");
    let percents: Vec<_> = fired(&summary["quota"]).iter().map(|one| one.2).collect();
    assert_eq!(percents, [75, 90, 75]);
    // Log lines precede the answer; the log is complete after the stop.
    collector.signal("TERM");
    let (code, log) = collector.wait_for_end();
    assert_eq!(code, Some(0));
    let log: Vec<String> = log.lines().map(str::to_owned).collect();
    assert_eq!((times_said(&log, SAID_75), times_said(&log, SAID_90)), (2, 1));
    let of_it = |line: &&String| line.contains(SAID_75);
    for line in log.iter().filter(of_it) {
        for words in ["\"WARN\"", "claude/max-1", "five_hour"] {
            assert!(line.contains(words), "{line}");
        }
    }
}

#[test]
fn a_kill_directly_after_the_commit_neither_loses_a_threshold_nor_repeats_it() {
    let place = configured();
    let mut collector = place.resume();
    let (start, reset) = (now(), second(now() + HOUR));
    collector.commit_line(&place, "one", &share_line(start, "five_hour", 0.5, reset));
    let mut expected = Vec::new();
    let mut said = 0;
    // Live, then again in the next window.
    for round in 0..4 {
        let reset = reset + round * 5 * HOUR;
        place.tell(
            "one",
            &share_line(start + (round + 1) * MINUTE, "five_hour", 0.8, reset),
        );
        collector.wait_for_next("\"committed\"");
        let before = times_said(&collector.seen, SAID_75);
        collector.kill();
        expected.push(("max-1".to_owned(), "five_hour".to_owned(), 75, super::time(reset)));

        collector = place.resume();
        let summary = collector.settle(&place, "one");
        assert_eq!(fired(&summary["quota"]), expected);
        // Not again by the next process. It may report it first if the kill came before the commit: the
        // awaited line may belong to the previous commit.
        let again = times_said(&collector.seen, SAID_75);
        assert!(before + again <= 1, "{before}, {:?}", collector.seen);
        said += before + again;
    }
    assert!(said <= 4, "{said}");
    collector.stop_cleanly();
}

#[test]
fn a_threshold_that_lay_in_a_backlog_is_reported_when_the_backlog_ends() {
    let place = configured();
    let (start, reset) = (now(), second(now() + HOUR));
    place.tell(
        "one",
        &share_line(start - 10 * HOUR, "five_hour", 0.92, reset - 10 * HOUR),
    );
    place.tell("one", &share_line(start, "five_hour", 0.8, reset));
    let passed = [
        (75, super::time(reset - 10 * HOUR)),
        (90, super::time(reset - 10 * HOUR)),
    ];
    // Killed at its first commit, which defers the observations: the next process merges them, once.
    let mut collector = Collector::spawn(place.command_with_config(&["serve"]), place.socket());
    collector.wait_for_next("\"committed\"");
    collector.kill();
    let mut said = 0;
    for _ in 0..3 {
        let mut collector = place.resume();
        // Once the backlog is read, its observations are merged.
        let summary = collector.summary();
        collector.settle(&place, "one");
        said += times_said(&collector.seen, SAID_75);
        // That of an ended window is history and no warning.
        assert_eq!(times_said(&collector.seen, SAID_90), 0);
        let fired = fired(&summary["quota"]);
        let fired: Vec<_> = fired.iter().map(|one| (one.2, one.3.clone())).collect();
        assert_eq!(fired[..2], passed);
        assert_eq!(fired[2..], [(75, super::time(reset))]);
        collector.kill();
    }
    assert!(said <= 1, "{said}");
}

#[test]
fn several_logs_in_a_backlog_are_merged_by_time_and_reported_once() {
    let place = configured();
    let (start, reset) = (now(), second(now() + HOUR));
    // Later names have earlier lines.
    for (hour, run) in ["d", "c", "b", "a"].into_iter().enumerate() {
        let at = start - 60 * MINUTE + i64::try_from(hour).unwrap() * MINUTE;
        let share = [0.60, 0.76, 0.80, 0.91][hour];
        place.tell(run, &share_line(at, "five_hour", share, reset));
    }
    let mut collector = place.resume();
    collector.wait_for_log(BACKLOG_READ);
    let summary = collector.settle(&place, "a");
    let all = summary["quota"]["thresholds_fired"].as_array().unwrap();
    let shares: Vec<_> = all
        .iter()
        .map(|one| one["utilization"].as_f64().unwrap())
        .collect();
    assert_eq!(shares, [0.76, 0.91]);
    assert_eq!(
        (
            times_said(&collector.seen, SAID_75),
            times_said(&collector.seen, SAID_90)
        ),
        (1, 1)
    );
    collector.stop_cleanly();
}
