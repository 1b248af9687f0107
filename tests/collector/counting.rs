//! Identity and time of responses in transcripts of other writers: the same live, after a restart, and in a
//! replay.

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokentail::clock::Clock;

use crate::harness::{Place, append, response};
use crate::scenario::EVENTS_ONLY;

/// A line without a time, of a response with an id of its own.
fn undated(id: u32, output: u64) -> String {
    format!(
        "{{\"type\":\"assistant\",\"session_id\":\"s\",\"message\":{{\"id\":\"msg_01undated{id:08}\",\"model\":\"m\",\"usage\":{{\"input_tokens\":3,\"output_tokens\":{output}}}}}}}\n"
    )
}

fn undated_lines(count: u32) -> String {
    (0..count).map(|id| undated(id, 400)).collect()
}

fn set_written(path: &Path, at: SystemTime) {
    File::options()
        .append(true)
        .open(path)
        .unwrap()
        .set_modified(at)
        .unwrap();
}

/// The only account of the summary.
fn account(summary: &Value) -> &Value {
    &summary["quota"]["accounts"][0]
}

const ACCOUNT: &str = "[[account]]\nname = \"max-1\"\ncalls_quota = 50\ndaily_tokens = 500000\n";

#[test]
fn an_old_capture_without_times_does_not_make_the_account_look_busy() {
    let place = Place::new();
    let log = place.log("old", "out.jsonl");
    append(&log, undated_lines(60));
    set_written(
        &log,
        SystemTime::from(Clock::SYSTEM.timestamp()) - Duration::from_hours(30 * 24),
    );
    let mut collector = place.serve_with(ACCOUNT);
    let summary = collector.wait_for_messages(60);
    assert_eq!(summary["totals"]["output_tokens"], 24_000);
    assert_eq!(account(&summary)["calls_5h"], 0);
    assert_eq!(account(&summary)["budget_used"], 0);
    assert_eq!(summary["quota"]["may_start"]["decision"], "allow");
    // Lines without a time count as written now.
    append(&log, undated(60, 400));
    let summary = collector.wait_for_messages(61);
    assert_eq!(account(&summary)["calls_5h"], 1);
    collector.stop_cleanly();
    place.assert_verified();
    // A replay ignores file times: its document is the same on every machine.
    let replayed = place.replayed();
    assert_eq!(replayed["messages"], 61);
    assert_eq!(account(&replayed)["calls_5h"], 0);
}

#[test]
fn a_line_without_a_time_has_that_of_a_line_before_it_whatever_is_restarted_between() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    collector.stop_cleanly();
    append(&log, undated(1, 7));
    let mut collector = place.serve();
    let summary = collector.wait_for_messages(2);
    assert_eq!(summary["by_day"]["2026-10-05"]["output_tokens"], 12);
    assert_eq!(summary["lines"]["clock_suspect"], 1);
    collector.stop_cleanly();
    place.assert_verified();
    assert_eq!(place.replayed()["by_day"], summary["by_day"]);
}

#[test]
fn a_transcript_set_aside_while_nobody_looked_loses_nothing() {
    for live in [true, false] {
        for name in [
            "s.orphaned-1791190801000-ab12.jsonl",
            "s.jsonl.superseded-1791190801000",
        ] {
            let place = Place::new();
            let log = place.log("one", "-w/s.jsonl");
            append(&log, response("1", 2, 0));
            let mut collector = place.serve_with(EVENTS_ONLY);
            collector.wait_for_messages(1);
            let change = || {
                append(&log, response("2", 4, 1));
                fs::rename(&log, log.with_file_name(name)).unwrap();
                append(&log, response("3", 8, 2));
            };
            if live {
                collector.signal("STOP");
                change();
                collector.signal("CONT");
            } else {
                collector.stop_cleanly();
                change();
                collector = place.serve_with(EVENTS_ONLY);
            }
            let summary = collector.wait_for_messages(3);
            assert_eq!(summary["totals"]["output_tokens"], 14, "{name}, live: {live}");
            collector.stop_cleanly();
            place.assert_verified();
        }
    }
}

#[test]
fn a_response_without_figures_is_no_message_until_a_better_copy_comes() {
    let empty = response("1", 0, 0).replace("\"input_tokens\":10", "\"input_tokens\":0");
    let full = response("1", 7, 1);
    for (first, second) in [(&empty, &full), (&full, &empty)] {
        let place = Place::new();
        let mut collector = place.serve();
        append(&place.log("one", "a.jsonl"), first);
        let summary = collector.wait_until("the first", |summary| summary["lines"]["usage"] == 1);
        let is_full = u64::from(first == &full);
        assert_eq!(summary["messages"], is_full);
        assert_eq!(summary["coverage"]["without_figures"], 1 - is_full);
        assert_eq!(summary["by_model"].as_object().unwrap().len() as u64, is_full);
        append(&place.log("one", "b.jsonl"), second);
        let summary = collector.wait_until("the second", |summary| summary["lines"]["usage"] == 2);
        assert_eq!(
            (&summary["messages"], &summary["coverage"]["without_figures"]),
            (&1.into(), &0.into())
        );
        assert_eq!(summary["totals"]["output_tokens"], 7);
        collector.stop_cleanly();
        place.assert_verified();
        assert_eq!(place.replayed()["totals"], summary["totals"]);
    }
}

#[test]
fn that_two_runs_have_lines_of_one_time_is_said_where_the_owner_may_differ() {
    let place = Place::new();
    let mut collector = place.serve();
    append(&place.log("two", "a.jsonl"), response("1", 7, 0));
    collector.wait_for_messages(1);
    append(&place.log("one", "a.jsonl"), response("1", 7, 0));
    collector.wait_until("the copy", |summary| summary["lines"]["usage"] == 2);
    collector.stop_cleanly();
    let output = place.run(&["verify"]);
    assert!(output.status.success());
    let said = crate::harness::text(&output.stdout) + &crate::harness::text(&output.stderr);
    assert!(
        said.contains("1 responses have lines of the same time in several runs"),
        "{said}"
    );
}
