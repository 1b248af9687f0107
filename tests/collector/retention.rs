//! Retention: old details go without a change of a total, by command and by configuration.

use std::path::Path;
use std::process::{Output, Stdio};

use fastrand::Rng;
use serde_json::Value;

use crate::harness::{DETAILS, Place, append, number_setting, text};
use crate::quota_live::{HOUR, now, time};

const DAY: i64 = 24 * HOUR;
/// Kills in the middle of a prune, and of a compaction; `TOKENTAIL_KILLS` sets another number.
const KILLS: u64 = 6;

/// A response of so many days ago.
fn aged(id: &str, output: u64, days: i64) -> String {
    format!(
        "{{\"type\":\"assistant\",\"uuid\":\"u-{id}\",\"requestId\":\"req_{id}\",\"sessionId\":\"s\",\"timestamp\":\"{}\",\"message\":{{\"id\":\"msg_{id}\",\"model\":\"claude-opus-5\",\"role\":\"assistant\",\"usage\":{{\"input_tokens\":10,\"output_tokens\":{output}}}}}}}\n",
        time(now() - days * DAY)
    )
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// The parts of a summary that a prune leaves as they are.
fn figures(summary: &Value) -> [Value; 4] {
    ["totals", "by_run", "by_model", "by_day"].map(|part| summary[part].clone())
}

fn day(days: i64) -> String {
    time(now() - days * DAY)[..10].to_owned()
}

#[test]
fn of_rows_of_40_and_10_days_a_prune_of_30_days_takes_one() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, aged("old", 5, 40) + &aged("new", 7, 10));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    let before = figures(&collector.summary());
    let dry = stdout(&place.run(&["prune", "30d", "--dry-run"]));
    assert!(
        dry.starts_with("Would prune 1 response older than 30d; totals unchanged.\n"),
        "{dry}"
    );
    assert!(
        dry.contains(&format!("Days before {} (UTC) would go.", day(30))),
        "{dry}"
    );
    let document = place.json(&["prune", "30d"]);
    assert_eq!(document["responses"], 1);
    assert_eq!(document["before"], day(30));
    assert_eq!(document["counted_before"], document["counted_after"]);
    assert!(document["free_bytes"].as_u64() < document["file_bytes"].as_u64());
    let again = stdout(&place.run(&["prune", "30d"]));
    assert!(
        again.starts_with("Pruned 0 responses older than 30d; totals unchanged; "),
        "{again}"
    );
    assert!(again.contains(" free inside the file.\n"), "{again}");
    assert_eq!(figures(&collector.summary()), before);
    collector.stop_cleanly();
    // On a stopped collector's database the same.
    let verified = stdout(&place.run(&["verify"]));
    assert!(
        verified.contains(&format!("note: details before {} were pruned", day(30))),
        "{verified}"
    );
    assert!(verified.contains("no difference"), "{verified}");
    let dry = stdout(&place.run(&["prune", "9d", "--dry-run"]));
    assert!(dry.starts_with("Would prune 1 response older than 9d"), "{dry}");
    let done = stdout(&place.run(&["prune", "9d"]));
    assert!(
        done.starts_with("Pruned 1 response older than 9d; totals unchanged; "),
        "{done}"
    );
    place.assert_verified();
    let mut collector = place.serve();
    assert_eq!(figures(&collector.wait_for_messages(2)), before);
    collector.stop_cleanly();
}

#[test]
fn ages_that_are_none_are_refused_with_the_forms() {
    let place = Place::new();
    for age in ["30s", "0d", "1w", "-1d", "30", "d"] {
        let output = place.run(&["prune", age]);
        assert_eq!(output.status.code(), Some(64), "{age}");
        let error = text(&output.stderr);
        assert!(error.contains(&format!("{age:?}")), "{error}");
        assert!(error.contains("\"30d\", \"12h\" or \"90m\""), "{error}");
    }
    for words in [
        &["prune"][..],
        &["prune", "30d", "--all"],
        &["prune", "--all", "--totals"],
    ] {
        assert_eq!(place.run(words).status.code(), Some(64), "{words:?}");
    }
    // No collector, and no database.
    let none = place.run(&["prune", "30d"]);
    assert_eq!(none.status.code(), Some(66), "{}", text(&none.stderr));
    let collector = place.serve();
    for body in [
        r#"{"what":"details","older_than":"30s"}"#,
        r#"{"what":"details"}"#,
        r#"{"what":"some"}"#,
        r#"{"what":"all","older_than":"30d"}"#,
    ] {
        let (status, problem) = collector.request("POST", "/v1/prune", body);
        assert_eq!(status, 400, "{body}: {problem}");
        assert!(problem["field"].is_string(), "{problem}");
    }
    collector.stop_cleanly();
}

#[test]
fn a_copy_of_a_pruned_response_changes_nothing_also_a_better_one() {
    let place = Place::new();
    let lines: String = (0..50).map(|id| aged(&id.to_string(), 5, 40)).collect();
    append(&place.log("r", "a.jsonl"), &lines);
    let mut collector = place.serve();
    collector.wait_for_messages(50);
    let before = figures(&collector.summary());
    assert_eq!(place.json(&["prune", "30d"])["responses"], 50);
    // A fork of all, one of them better, and a line that is new.
    let fork = lines.replace("\"output_tokens\":5", "\"output_tokens\":6") + &aged("new", 7, 0);
    append(&place.log("fork", "b.jsonl"), fork);
    let summary = collector.wait_for_messages(51);
    assert_eq!(summary["by_run"]["r"], before[1]["r"]);
    assert_eq!(summary["by_run"]["fork"]["output_tokens"], 7);
    assert_eq!(summary["lines"]["duplicate"], 50);
    collector.stop_cleanly();
    let verified = stdout(&place.run(&["verify"]));
    assert!(
        verified.contains("more in the logs than was counted"),
        "{verified}"
    );
    assert!(verified.contains("no difference"), "{verified}");
}

#[test]
fn a_prune_beside_writers_takes_nothing_from_any_total() {
    let place = Place::new();
    let old = |first: u32| -> String {
        (first..first + 3000)
            .map(|id| aged(&format!("old-{id}"), 3, 20 + i64::from(id % 40)))
            .collect()
    };
    append(&place.log("old", "a.jsonl"), old(0));
    let mut collector = place.serve();
    collector.wait_for_messages(3000);
    let log = place.log("new", "b.jsonl");
    let (mut count, mut pruned) = (0u64, 0);
    std::thread::scope(|scope| {
        let prune = scope.spawn(|| place.json(&["prune", "40d"]));
        while !prune.is_finished() {
            append(&log, aged(&format!("new-{count}"), 1, 0));
            count += 1;
            collector.wait_for_messages(3000 + count);
        }
        pruned = prune.join().unwrap()["responses"].as_u64().unwrap();
    });
    // Of 40 ages, those of 41 to 59 days; the one of 40 days is on the first day that is kept.
    assert_eq!(pruned, 19 * 75);
    assert!(count > 0);
    let summary = collector.wait_for_messages(3000 + count);
    assert_eq!(summary["totals"]["output_tokens"], 9000 + count);
    collector.stop_cleanly();
    place.assert_verified();
    assert_eq!(figures(&place.replayed()), figures(&place.status()));
}

#[test]
fn sums_go_only_with_yes_and_every_answer_has_the_rest() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, aged("old", 5, 40) + &aged("new", 7, 10));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    let asked = place.run(&["prune", "--totals", "30d"]);
    assert_eq!(asked.status.code(), Some(1), "{}", text(&asked.stderr));
    let said = text(&asked.stdout);
    assert!(
        said.contains("Total before: 32 tokens in 2 messages; after: 17 tokens in 1 message."),
        "{said}"
    );
    assert!(
        said.ends_with("Nothing was removed; add --yes to do it.\n"),
        "{said}"
    );
    collector.wait_for_messages(2);
    let done = stdout(&place.run(&["prune", "--totals", "30d", "--yes"]));
    assert!(
        done.starts_with("Pruned 1 response and 1 sum by day older than 30d; "),
        "{done}"
    );
    let summary = collector.wait_for_messages(1);
    assert_eq!(summary["totals"]["output_tokens"], 7);
    assert_eq!(summary["by_run"]["r"]["output_tokens"], 7);
    assert_eq!(summary["by_day"].as_object().unwrap().len(), 1);
    // The line is not counted again, under any name.
    append(
        &place.log("fork", "b.jsonl"),
        aged("old", 5, 40) + &aged("newer", 1, 0),
    );
    let summary = collector.wait_for_messages(2);
    assert_eq!(summary["totals"]["output_tokens"], 8);
    collector.stop_cleanly();
    let verified = stdout(&place.run(&["verify"]));
    assert!(
        verified.contains(&format!("sums before {} were removed", day(30))),
        "{verified}"
    );
}

#[test]
fn everything_goes_with_yes_and_is_not_counted_again() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, aged("old", 5, 40) + &aged("new", 7, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    let dry = place.json(&["prune", "--all", "--dry-run"]);
    assert_eq!(place.run(&["prune", "--all"]).status.code(), Some(1));
    let mut done = place.json(&["prune", "--all", "--yes"]);
    assert_eq!(done["counted_after"]["messages"], 0);
    for changed in ["dry_run", "file_bytes", "free_bytes"] {
        done[changed] = dry[changed].clone();
    }
    assert_eq!(done, dry);
    collector.wait_for_messages(0);
    append(&log, aged("newest", 1, 0));
    append(&place.log("fork", "b.jsonl"), aged("old", 50, 40));
    collector.wait_until("the fork is read", |summary| summary["lines"]["read"] == 4);
    collector.stop_cleanly();
    place.assert_verified();
    let verified = text(&place.run(&["verify"]).stdout);
    assert!(
        verified.contains("2 responses in the logs are in no sum: `prune --all` removed"),
        "{verified}"
    );
    let mut collector = place.serve();
    let summary = collector.wait_for_messages(1);
    assert_eq!(summary["totals"]["output_tokens"], 1);
    collector.stop_cleanly();
}

#[test]
fn the_configuration_prunes_once_the_backlog_is_read() {
    let place = Place::new();
    append(
        &place.log("r", "a.jsonl"),
        aged("oldest", 3, 800) + &aged("old", 5, 100) + &aged("new", 7, 1),
    );
    let mut serve = place.command(&["serve"]);
    serve.env(DETAILS, "30d");
    serve.env("TOKENTAIL__RETENTION__TOMBSTONES", "400d");
    serve.env("TOKENTAIL__RETENTION__TOTALS", "730d");
    let mut collector = place.start(serve);
    collector.wait_for_log("pruned details before");
    let summary = collector.wait_for_messages(2);
    assert_eq!(summary["totals"]["output_tokens"], 12);
    let (_, again) = collector.request("POST", "/v1/prune", r#"{"what":"details","older_than":"30d"}"#);
    assert_eq!(again["responses"], 0);
    // One copy has its key, the other line is older than keys are kept.
    append(
        &place.log("fork", "b.jsonl"),
        aged("old", 50, 100) + &aged("unseen", 9, 500),
    );
    collector.wait_until("the fork is read", |summary| summary["lines"]["read"] == 5);
    assert_eq!(collector.summary()["totals"]["output_tokens"], 12);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_configuration_whose_ages_contradict_is_refused() {
    let place = Place::new();
    for (key, value, words) in [
        ("DETAILS", "12h", "1d to forever is allowed"),
        ("DETAILS", "1w", "did you mean \"7d\"?"),
        (
            "TOTALS",
            "29d",
            "29d is shorter than retention.details, which is 30d",
        ),
        (
            "TOMBSTONES",
            "29d",
            "29d is shorter than retention.details, which is 30d",
        ),
    ] {
        let mut check = place.command(&["check-config"]);
        check.env(DETAILS, "30d");
        check.env(format!("TOKENTAIL__RETENTION__{key}"), value);
        let output = check.output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{key} {value}");
        let error = text(&output.stderr);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_compaction_needs_a_stopped_collector_and_changes_nothing() {
    let place = Place::new();
    fill(&place, 20_000);
    let mut collector = place.serve();
    let before = figures(&collector.wait_for_messages(20_000));
    let refused = place.run(&["compact"]);
    assert_eq!(refused.status.code(), Some(69));
    assert!(
        text(&refused.stderr).contains("a compaction needs it for itself: stop the collector first"),
        "{}",
        text(&refused.stderr)
    );
    place.json(&["prune", "30d"]);
    // Killed, it does not pack the file itself.
    collector.kill();
    let document = place.json(&["compact"]);
    let (was, is) = (&document["bytes_before"], &document["bytes_after"]);
    assert!(is.as_u64().unwrap() * 2 < was.as_u64().unwrap(), "{document}");
    assert_eq!(figures(&place.status()), before);
    let again = stdout(&place.run(&["compact"]));
    assert!(
        again.contains(" before, ") && again.ends_with(" now\n"),
        "{again}"
    );
    place.assert_verified();
}

#[test]
fn kills_in_the_middle_of_prunes_and_compactions_lose_nothing() {
    let seed = number_setting("TOKENTAIL_KILLS_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("the seed is {seed}");
    let mut random = Rng::with_seed(seed);
    let place = Place::new();
    fill(&place, 20_000);
    let mut collector = place.serve();
    let before = figures(&collector.wait_for_messages(20_000));
    collector.stop_cleanly();
    let (kills, mut interrupted) = (number_setting("TOKENTAIL_KILLS").unwrap_or(KILLS), 0);
    for round in 0..kills {
        // The live prune of one more day is killed after some of its steps, each of which is a change of the file.
        let age = format!("{}d", 58 - round * 28 / kills);
        let mut collector = place.serve();
        let mut prune = place.command(&["prune", &age]);
        let mut prune = prune.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let steps = random.usize(..4);
        for _ in 0..steps {
            collector.wait_for_next("\"pruned a step\"");
        }
        collector.kill();
        interrupted += u64::from(!prune.wait().unwrap().success());
        // And a compaction after a while.
        let mut compact = place.command(&["compact"]);
        let mut compact = compact
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        for _ in 0..random.u32(..20_000) {
            std::hint::spin_loop();
        }
        compact.kill().unwrap();
        compact.wait().unwrap();
        assert_eq!(figures(&place.status()), before, "round {round}");
        place.assert_verified();
    }
    assert!(interrupted > 0, "no prune was interrupted");
    let mut collector = place.serve();
    collector.wait_for_messages(20_000);
    let left = place.json(&["prune", "30d"])["responses"].as_u64().unwrap();
    println!("{interrupted} of {kills} prunes were interrupted, {left} responses were left");
    assert_eq!(figures(&collector.summary()), before);
    collector.stop_cleanly();
    place.assert_verified();
}

/// Responses of the last 60 days in one run.
fn fill(place: &Place, responses: u32) {
    let log: &Path = &place.log("r", "a.jsonl");
    let lines: String = (0..responses)
        .map(|id| aged(&id.to_string(), 3, i64::from(id % 60)))
        .collect();
    append(log, lines);
}
