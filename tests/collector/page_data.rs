//! The data of the page: snapshots of the stream, the list of runs, files of a run, the history of a window.

use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, response};
use crate::quota_live::{now, refused, second, share_line, time};
use crate::stream::Client;

const HOUR: i64 = 3_600_000;
const MINUTE: i64 = 60_000;

/// The first event of a stream: the kind and the document.
fn first_event(collector: &Collector, query: &str, last_id: &str) -> (String, Value) {
    let (status, mut client) = Client::connect(collector, query, last_id);
    assert_eq!(status, 200, "{query}");
    client.next_of_all()
}

fn keys(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Reports limits of an account: six windows, and a refusal of each.
fn observe(collector: &Collector, account: &str) {
    let reset = second(now() + 3 * HOUR);
    for (place, window) in (1i64..).zip([
        "five_hour",
        "seven_day",
        "seven_day_opus",
        "seven_day_sonnet",
        "seven_day_overage_included",
        "seven_day_oauth_apps",
    ]) {
        let at = time(now() - place * MINUTE);
        for info in [
            json!({ "status": "allowed", "rateLimitType": window, "utilization": 0.97, "resetsAt": reset / 1000 }),
            json!({ "status": "rejected", "rateLimitType": window, "resetsAt": reset / 1000 }),
        ] {
            let body = json!({ "account": account, "observed_at": at, "rate_limit_event": info });
            let (status, answer) = collector.request("POST", "/v1/observations", &body.to_string());
            assert_eq!(status, 200, "{answer}");
        }
    }
}

#[test]
fn a_brief_snapshot_is_small_and_has_the_figures_of_the_whole_one() {
    const RUNS: usize = 400;
    let place = Place::new();
    for run in 0..RUNS {
        let log = place.log(&format!("run-{run:04}"), "a.jsonl");
        append(&log, response(&run.to_string(), 3, 0));
    }
    append(&place.log("run-0000", "b.jsonl"), "no json\n");
    let mut collector = place.serve_open();
    collector.wait_for_messages(RUNS as u64);
    let (status, _) = collector.request("POST", "/v1/runs/run-0001/stop?wait=true", "");
    assert_eq!(status, 200);
    for account in ["default", "second"] {
        observe(&collector, account);
    }
    let whole = first_event(&collector, "", "").1;
    let (kind, event) = first_event(&collector, "?snapshot=brief", "");
    assert_eq!(kind, "snapshot");
    let bytes = event.to_string().len();
    assert!(bytes < 20 << 10, "{bytes} bytes");
    let (brief, whole) = (&event["snapshot"], &whole["snapshot"]);
    assert_eq!(brief["quota"]["accounts"].as_array().unwrap().len(), 2);
    assert_eq!(brief["quota"]["windows"].as_array().unwrap().len(), 12);
    for field in [
        "schema",
        "messages",
        "advisor_calls",
        "totals",
        "lines",
        "files",
        "bytes",
        "price_table",
    ] {
        assert_eq!(brief[field], whole[field], "{field}");
        assert!(!brief[field].is_null(), "{field}");
    }
    for field in keys(&brief["coverage"]) {
        assert_eq!(brief["coverage"][field], whole["coverage"][field], "{field}");
    }
    // Without what moves with the clock.
    for (list, fields) in [
        (
            "windows",
            &[
                "provider",
                "account",
                "window",
                "utilization",
                "reset_at",
                "refused",
                "observed_at",
            ][..],
        ),
        (
            "accounts",
            &["provider", "account", "state", "until", "reason", "leases"],
        ),
    ] {
        let shown = |document: &Value| {
            let list = document["quota"][list].as_array().unwrap().iter();
            let shown = list.map(|item| fields.iter().map(|field| item[field].clone()).collect::<Vec<_>>());
            shown.collect::<Vec<_>>()
        };
        assert_eq!(shown(brief), shown(whole), "{list}");
    }
    // The last ones; the whole snapshot has all.
    for field in ["limit_events", "thresholds_fired"] {
        let all = whole["quota"][field].as_array().unwrap();
        assert!(all.len() > 10, "{field}: {}", all.len());
        let last = &all[all.len() - 10..];
        assert_eq!(brief["quota"][field].as_array().unwrap(), last, "{field}");
    }
    for field in ["by_run", "by_model", "by_day", "without_run"] {
        assert!(brief.get(field).is_none(), "{field}");
    }
    assert!(brief["coverage"].get("by_run").is_none());
    let states = brief["runs"].as_object().unwrap();
    let all: u64 = states.values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(
        (all, &brief["runs"]["stopped"]),
        (RUNS as u64, &json!(1)),
        "{states:?}"
    );
    assert!(!states.values().any(|count| *count == 0), "{states:?}");
    let (kind, gap) = first_event(&collector, "?snapshot=brief", "99999999999999");
    assert_eq!((kind.as_str(), &gap["reason"]), ("gap", &json!("unknown")));
    assert_eq!(gap["snapshot"]["totals"], whole["totals"]);
    assert!(gap["snapshot"].get("by_run").is_none());
    let (status, problem) = collector.get("/v1/events?snapshot=short");
    assert_eq!(
        (status, &problem["field"]),
        (400, &json!("snapshot")),
        "{problem}"
    );
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("\"short\" is none of full, brief"), "{detail}");
    collector.stop_cleanly();
}

#[test]
fn the_filter_of_a_stream_holds_for_its_snapshots() {
    let place = Place::new();
    for (run, output) in [("one", 5), ("two", 6), ("three", 7)] {
        append(&place.log(run, "a.jsonl"), response(run, output, 0));
    }
    let mut collector = place.serve();
    collector.wait_for_messages(3);
    let (status, _) = collector.request("POST", "/v1/runs/two/stop?wait=true", "");
    assert_eq!(status, 200);
    let runs = collector.get("/v1/runs").1;
    let days = ["2026-10-05"];
    for (query, by_run, has_days) in [
        ("", &["one", "three", "two"][..], true),
        ("?run=two,none", &["two"], true),
        ("?run=none", &[], true),
        ("?kinds=run", &["one", "three", "two"], true),
        ("?kinds=usage,window", &["one", "three", "two"], true),
        ("?kinds=window,health", &[], false),
        ("?kinds=window&run=one,two", &["one", "two"], false),
        ("?account=default", &["one", "three", "two"], true),
    ] {
        for last_id in ["", "99999999999999"] {
            let snapshot = &first_event(&collector, query, last_id).1["snapshot"];
            assert_eq!(keys(&snapshot["by_run"]), by_run, "{query} {last_id}");
            assert_eq!(keys(&snapshot["by_day"]).len(), usize::from(has_days), "{query}");
            assert_eq!(
                keys(&snapshot["by_model"]).len(),
                usize::from(has_days),
                "{query}"
            );
            if has_days {
                assert_eq!(keys(&snapshot["by_day"]).len(), days.len());
            }
            assert_eq!(snapshot["totals"]["output_tokens"], 18, "{query}");
            for (run, sums) in snapshot["by_run"].as_object().unwrap() {
                let mut row = runs.as_array().unwrap().iter();
                let row = row.find(|row| row["id"] == **run).unwrap();
                assert_eq!(sums["state"], row["state"], "{run}");
                assert_eq!(sums["output_tokens"], row["output_tokens"], "{run}");
            }
        }
    }
    let two = &first_event(&collector, "", "").1["snapshot"]["by_run"]["two"];
    assert_eq!(two["state"], "stopped");
    collector.stop_cleanly();
}

#[test]
fn runs_are_sorted_before_they_are_paged_and_their_number_is_known() {
    let place = Place::new();
    for (run, output, at) in [("a", 5, 3), ("b", 9, 1), ("c", 5, 9), ("d", 1, 9)] {
        append(&place.log(run, "a.jsonl"), response(run, output, at));
    }
    let mut collector = place.serve();
    collector.wait_for_messages(4);
    let (status, _) = collector.request("POST", "/v1/runs/c/stop?wait=true", "");
    assert_eq!(status, 200);
    let (status, _) = collector.request("PUT", "/v1/runs/b", r#"{"labels":{"project":"x"}}"#);
    assert_eq!(status, 200);
    let listed = |query: &str| {
        let (status, head, body) = collector.exchange("GET", &format!("/v1/runs{query}"), "", "");
        assert_eq!(status, 200, "{query}: {body}");
        let total = head.lines().find_map(|line| line.strip_prefix("x-total-count: "));
        let runs: Value = serde_json::from_str(&body).unwrap();
        let ids = runs
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["id"].as_str().unwrap());
        (ids.collect::<String>(), total.unwrap().parse::<u64>().unwrap())
    };
    for (query, ids, total) in [
        ("", "abcd", 4),
        ("?sort=id", "abcd", 4),
        ("?sort=active", "cdab", 4),
        ("?sort=active&limit=2", "cd", 4),
        ("?sort=active&limit=2&offset=1", "da", 4),
        ("?sort=active&limit=2&offset=9", "", 4),
        ("?sort=active&limit=0", "", 4),
        ("?sort=tokens", "bacd", 4),
        ("?sort=started&limit=1", "b", 4),
        ("?sort=account", "abcd", 4),
        ("?sort=lag", "abcd", 4),
        ("?sort=tokens&state=stopped", "c", 1),
        ("?sort=tokens&label=project=x&limit=1", "b", 1),
        ("?label=project=y", "", 0),
    ] {
        assert_eq!(listed(query), (ids.to_owned(), total), "{query}");
    }
    for (query, field, said) in [
        (
            "?sort=size",
            "sort",
            "\"size\" is none of id, state, account, started, active, tokens, lag",
        ),
        ("?sort=", "sort", "\"\" is none of"),
        ("?limit=-1", "limit", "invalid digit"),
    ] {
        let (status, problem) = collector.get(&format!("/v1/runs{query}"));
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{problem}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{detail}");
    }
    collector.stop_cleanly();
}

#[test]
fn the_files_of_a_run_are_listed_up_to_a_bound() {
    let place = Place::new();
    let mut collector = place.serve();
    let line = response("0", 1, 0);
    for number in 0..3u32 {
        append(
            &place.log("one", &format!("deep/{number}.jsonl")),
            response(&number.to_string(), 1, number),
        );
        collector.wait_for_messages(u64::from(number) + 1);
    }
    append(&place.log("one", "deep/1.jsonl"), "no json\n");
    let length = line.len() as u64 + 8;
    collector.wait_until("read to its end", |summary| summary["lines"]["malformed"] == 1);
    let (status, list) = collector.get("/v1/runs/one/files");
    assert_eq!(status, 200);
    let file = |number: u32, bytes: u64| {
        let path = format!("mount/deep/{number}.jsonl");
        json!({ "path": path, "bytes_read": bytes })
    };
    let short = line.len() as u64;
    let all = [file(2, short), file(1, length), file(0, short)];
    assert_eq!(list, json!({ "run": "one", "total": 3, "files": all }));
    let (_, list) = collector.get("/v1/runs/one/files?limit=1");
    assert_eq!(list, json!({ "run": "one", "total": 3, "files": [all[0]] }));
    for (path, status, field) in [
        ("/v1/runs/none/files", 404, "id"),
        ("/v1/runs/a%20b/files", 400, "id"),
        ("/v1/runs/one/files?limit=0", 400, "limit"),
        ("/v1/runs/one/files?limit=1001", 400, "limit"),
        ("/v1/runs/one/files?colour=red", 400, "colour"),
    ] {
        let (answered, problem) = collector.get(path);
        assert_eq!(
            (answered, &problem["field"]),
            (status, &json!(field)),
            "{path}: {problem}"
        );
    }
    collector.stop_cleanly();
}

#[test]
fn a_history_is_answered_by_steps_of_a_range() {
    let place = Place::new();
    let hour = now().div_euclid(HOUR) * HOUR;
    let reset = second(hour + 4 * HOUR);
    // Two days ago, steadily for three hours; then today.
    let old = hour - 48 * HOUR;
    let old_reset = second(old + 4 * HOUR);
    let mut lines = String::new();
    for minute in 0..180i32 {
        let share = f64::from(minute) / 1000.0;
        lines += &share_line(old + i64::from(minute) * MINUTE, "five_hour", share, old_reset);
    }
    lines += &refused(old + 33 * MINUTE + 1_000, "five_hour", old_reset);
    for (minute, share) in [(-130, 0.1), (-128, 0.3), (-65, 0.4)] {
        lines += &share_line(hour + minute * MINUTE, "five_hour", share, reset);
    }
    append(&place.log("one", "a.jsonl"), lines);
    let collector = place.serve();
    let asked = |query: &str| {
        let (status, points) = collector.get(&format!("/v1/quota/history?window=five_hour{query}"));
        assert_eq!(status, 200, "{query}: {points}");
        points.as_array().unwrap().clone()
    };
    let at = |point: &Value| point["at"].as_str().unwrap().to_owned();
    // One for each quarter of an hour of the old hours, with the refusal; each minute of today.
    let all = asked("");
    assert_eq!(all.len(), 12 + 3, "{all:?}");
    let refusals: Vec<_> = all.iter().filter(|point| point["refused"] == true).collect();
    assert_eq!(refusals.len(), 1);
    assert_eq!(at(refusals[0]), time(old + 33 * MINUTE + 1_000));
    assert_eq!(
        (&refusals[0]["status"], &refusals[0]["max"]),
        (&json!("rejected"), &Value::Null)
    );
    let hours = asked("&step=1h");
    let shown: Vec<_> = (hours.iter())
        .map(|point| {
            (
                at(point),
                point["utilization"].clone(),
                point["max"].clone(),
                point["refused"] == true,
            )
        })
        .collect();
    let row = |minute: i64, from: i64, share: f64, is_refused: bool| {
        (
            time(from + minute * MINUTE),
            json!(share),
            json!(share),
            is_refused,
        )
    };
    assert_eq!(
        shown,
        [
            row(59, old, 0.059, true),
            row(119, old, 0.119, false),
            row(179, old, 0.179, false),
            row(-128, hour, 0.3, false),
            row(-65, hour, 0.4, false),
        ]
    );
    let range = format!(
        "&from={}&to={}",
        time(hour - 128 * MINUTE),
        time(hour - 65 * MINUTE)
    );
    let part = asked(&range);
    assert_eq!(
        part.iter().map(at).collect::<Vec<_>>(),
        [time(hour - 128 * MINUTE)]
    );
    assert!(asked("&from=2031-01-01").is_empty());
    for (query, field, said) in [
        ("&step=1m", "step", "take a step of 11m or more"),
        ("&step=45s", "step", "whole minutes, as in 5m or 1h"),
        ("&from=today", "from", "neither a date nor"),
        ("&from=2026-10-06&to=2026-10-05", "to", "not after from"),
    ] {
        let (status, problem) = collector.get(&format!("/v1/quota/history?window=five_hour{query}"));
        assert_eq!((status, &problem["field"]), (400, &json!(field)), "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(said), "{problem}");
    }
    collector.stop_cleanly();
}

#[test]
fn documents_say_the_time_they_are_of() {
    let place = Place::new();
    let collector = place.serve();
    let before = time(now());
    for path in ["/v1/quota", "/v1/may-start", "/healthz", "/readyz", "/v1/summary"] {
        let document = collector.get(path).1;
        // Times of one form sort as text.
        let said = document["now"].as_str().unwrap();
        assert!(*before <= *said && *said <= *time(now()), "{path}: {said}");
    }
    collector.stop_cleanly();
}
