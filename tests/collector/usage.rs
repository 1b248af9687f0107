//! `GET /v1/usage`: sums over time, as JSON and CSV; and the daily usage of the web client.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tokentail::clock::Clock;

use crate::harness::{Collector, Place, append};

/// A line of a response with so many output tokens and 10 input tokens at a time of its own.
fn line(id: &str, output: u64, at: &str, model: &str) -> String {
    let line = json!({"type": "assistant", "uuid": format!("u-{id}"), "requestId": format!("req_{id}"),
        "sessionId": "s", "timestamp": at, "message": {"id": format!("msg_{id}"), "model": model, "role": "assistant",
            "usage": {"input_tokens": 10, "output_tokens": output}}});
    format!("{line}\n")
}

/// Three runs over three days, two models, two accounts.
fn story() -> (Place, Collector) {
    let place = Place::new();
    let mut collector = place.serve_open();
    for (run, labels) in [
        ("a", json!({"project": "x"})),
        ("b", json!({"project": "y", "account": "other"})),
        ("c", json!({})),
    ] {
        let body = json!({ "labels": labels }).to_string();
        assert_eq!(collector.request("PUT", &format!("/v1/runs/{run}"), &body).0, 201);
    }
    let (big, small) = ("claude-opus-5", "claude-haiku-5");
    append(
        &place.log("a", "a.jsonl"),
        line("1", 1, "2026-10-05T09:59:59.999Z", big)
            + &line("2", 20, "2026-10-05T10:00:00.000Z", small)
            + &line("3", 300, "2026-10-06T00:00:00.000Z", big),
    );
    append(
        &place.log("b", "b.jsonl"),
        line("4", 4000, "2026-10-05T23:59:59.000Z", big),
    );
    append(
        &place.log("c", "c.jsonl"),
        line("5", 50000, "2026-10-08T01:00:00.000Z", small),
    );
    collector.wait_for_messages(5);
    (place, collector)
}

/// The rows' output tokens by key.
fn rows(collector: &Collector, query: &str) -> BTreeMap<String, u64> {
    let (status, usage) = collector.get(&format!("/v1/usage{query}"));
    assert_eq!(status, 200, "{query}: {usage}");
    let rows = usage["rows"].as_array().unwrap();
    let by_key: BTreeMap<String, u64> = rows
        .iter()
        .map(|row| {
            let key = row["key"].as_str().unwrap_or("null").to_owned();
            (key, row["output_tokens"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(by_key.len(), rows.len(), "{query}: each key is there once");
    assert_eq!(
        by_key.values().sum::<u64>(),
        usage["totals"]["output_tokens"],
        "{query}"
    );
    by_key
}

fn expect(collector: &Collector, query: &str, wanted: &[(&str, u64)]) {
    let wanted = wanted.iter().map(|(key, tokens)| ((*key).to_owned(), *tokens));
    assert_eq!(rows(collector, query), wanted.collect(), "{query}");
}

#[test]
fn sums_are_grouped_as_requested_and_exact_for_the_requested_hours() {
    let (_place, collector) = story();
    expect(
        &collector,
        "",
        &[("2026-10-05", 4021), ("2026-10-06", 300), ("2026-10-08", 50000)],
    );
    expect(
        &collector,
        "?group_by=hour&to=2026-10-06",
        &[
            ("2026-10-05T09:00:00.000Z", 1),
            ("2026-10-05T10:00:00.000Z", 20),
            ("2026-10-05T23:00:00.000Z", 4000),
        ],
    );
    expect(
        &collector,
        "?group_by=run",
        &[("a", 321), ("b", 4000), ("c", 50000)],
    );
    expect(
        &collector,
        "?group_by=run&from=2026-10-05T10:00:00Z&to=2026-10-06T00:00:00Z",
        &[("a", 20), ("b", 4000)],
    );
    expect(
        &collector,
        "?group_by=run&from=2026-10-06",
        &[("a", 300), ("c", 50000)],
    );
    expect(
        &collector,
        "?group_by=model&from=2026-10-05T12:00:00%2B02:00&to=2026-10-06",
        &[("claude-haiku-5", 20), ("claude-opus-5", 4000)],
    );
    expect(
        &collector,
        "?group_by=model&run=a",
        &[("claude-haiku-5", 20), ("claude-opus-5", 301)],
    );
    expect(
        &collector,
        "?group_by=account",
        &[("claude/default", 50321), ("claude/other", 4000)],
    );
    expect(
        &collector,
        "?group_by=label:project",
        &[("x", 321), ("y", 4000), ("null", 50000)],
    );
    expect(
        &collector,
        "?label=project:x&model=claude-opus-5&from=2026-10-06",
        &[("2026-10-06", 300)],
    );
    expect(&collector, "?account=claude/other", &[("2026-10-05", 4000)]);
    expect(&collector, "?run=nobody", &[]);
    expect(&collector, "?from=2027-01-01", &[]);
    let (_, usage) = collector.get("/v1/usage?from=2026-10-05&to=2026-10-06");
    assert_eq!(
        (&usage["from"], &usage["to"], &usage["group_by"]),
        (
            &json!("2026-10-05T00:00:00.000Z"),
            &json!("2026-10-06T00:00:00.000Z"),
            &json!("day")
        )
    );
    assert_eq!(usage["totals"]["messages"], 3);
    assert_eq!(usage["totals"]["total_tokens"], 4021 + 30);
    collector.stop_cleanly();
}

#[test]
fn every_grouping_sums_up_to_the_summary_forgotten_runs_too() {
    let (place, collector) = story();
    assert_eq!(collector.request("POST", "/v1/runs/b/stop?wait=true", "").0, 200);
    assert_eq!(collector.request("DELETE", "/v1/runs/b", "").0, 204);
    let summary = collector.summary();
    let mut wanted = summary["totals"].clone();
    wanted["messages"] = summary["messages"].clone();
    wanted["advisor_calls"] = summary["advisor_calls"].clone();
    for of_records in ["fallbacks", "failed_attempts", "estimated_tokens"] {
        wanted[of_records] = 0.into();
    }
    for group in [
        "day",
        "week",
        "month",
        "hour",
        "run",
        "session",
        "project",
        "model",
        "dialect",
        "provider",
        "account",
        "price_class",
        "label:project",
        "model,day,run",
        "hour,session&zone=Asia/Kathmandu",
    ] {
        let (_, usage) = collector.get(&format!("/v1/usage?group_by={group}"));
        assert_eq!(usage["totals"], wanted, "{group}");
    }
    expect(
        &collector,
        "?group_by=run",
        &[("a", 321), ("null", 4000), ("c", 50000)],
    );
    // Its account is kept, its labels are not.
    expect(
        &collector,
        "?group_by=account&account=claude/other",
        &[("claude/other", 4000)],
    );
    expect(
        &collector,
        "?group_by=label:project",
        &[("x", 321), ("null", 54000)],
    );
    collector.stop_cleanly();
    place.assert_verified();
}

/// The rows' output tokens by the parts of their keys.
fn expect_several(collector: &Collector, query: &str, wanted: &[(Value, u64)]) {
    let (status, usage) = collector.get(&format!("/v1/usage{query}"));
    assert_eq!(status, 200, "{query}: {usage}");
    let rows = usage["rows"].as_array().unwrap().iter();
    let rows: Vec<_> = rows
        .map(|row| {
            assert!(row.get("key").is_none(), "{row}");
            (row["keys"].clone(), row["output_tokens"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(rows, wanted, "{query}");
}

#[test]
fn rows_are_of_several_groupings_and_of_the_days_of_a_zone() {
    let (place, collector) = story();
    let (big, small) = ("claude-opus-5", "claude-haiku-5");
    expect_several(
        &collector,
        "?group_by=model,day",
        &[
            (json!({"model": small, "day": "2026-10-05"}), 20),
            (json!({"model": small, "day": "2026-10-08"}), 50000),
            (json!({"model": big, "day": "2026-10-05"}), 4001),
            (json!({"model": big, "day": "2026-10-06"}), 300),
        ],
    );
    expect_several(
        &collector,
        "?group_by=session,label:project,provider&to=2026-10-06",
        &[
            (
                json!({"session": "a", "label:project": "x", "provider": "claude"}),
                21,
            ),
            (
                json!({"session": "b", "label:project": "y", "provider": "claude"}),
                4000,
            ),
        ],
    );
    // A quarter to six before UTC.
    expect(
        &collector,
        "?zone=Asia/Kathmandu",
        &[("2026-10-05", 21), ("2026-10-06", 4300), ("2026-10-08", 50000)],
    );
    expect(
        &collector,
        "?zone=Asia/Kathmandu&from=2026-10-06&to=2026-10-07&group_by=hour",
        &[("2026-10-06T05:00:00.000+05:45", 4300)],
    );
    expect(
        &collector,
        "?zone=America/Los_Angeles&group_by=week",
        &[("2026-W41", 54321)],
    );
    expect(&collector, "?group_by=month", &[("2026-10", 54321)]);
    expect(&collector, "?group_by=dialect", &[("claude", 54321)]);
    expect(&collector, "?group_by=project", &[("null", 54321)]);
    expect(
        &collector,
        "?group_by=price_class",
        &[("prompt_100k/standard/other/unknown", 54321)],
    );
    expect(&collector, "?group_by=session&session=a", &[("a", 321)]);
    expect(
        &collector,
        "?group_by=model&run=a&zone=Asia/Kathmandu&from=2026-10-06",
        &[(big, 300)],
    );
    for nothing in [
        "?session=nobody",
        "?project=a",
        "?dialect=codex",
        "?dialect=none",
        "?provider=openai",
        "?model=none",
        "?period=today&zone=Asia/Kolkata",
    ] {
        expect(&collector, nothing, &[]);
    }
    let (_, usage) =
        collector.get("/v1/usage?zone=Asia/Kathmandu&from=2026-10-05&to=2026-10-06&group_by=model,run");
    assert_eq!(
        (&usage["from"], &usage["to"], &usage["group_by"], &usage["zone"]),
        (
            &json!("2026-10-04T18:15:00.000Z"),
            &json!("2026-10-05T18:15:00.000Z"),
            &json!("model,run"),
            &json!("Asia/Kathmandu")
        )
    );
    let (status, _, body) =
        collector.exchange("GET", "/v1/usage?group_by=run,model", "Accept: text/csv\r\n", "");
    assert_eq!(status, 200, "{body}");
    let lines: Vec<&str> = body.lines().collect();
    assert!(lines[0].starts_with("run,model,messages,"), "{body}");
    assert!(lines[1].starts_with("a,claude-haiku-5,1,0,10,20,"), "{body}");
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn what_cannot_be_answered_exactly_is_refused_by_its_name() {
    let (_place, collector) = story();
    for (query, field) in [
        ("?from=2026-10-05T09:20:00Z", "from"),
        ("?from=yesterday", "from"),
        ("?to=2026-10-05T09:00:00", "to"),
        ("?from=2026-10-06&to=2026-10-05", "to"),
        ("?group_by=decade", "group_by"),
        ("?week_start=friday", "week_start"),
        ("?group_by=day,day", "group_by"),
        ("?zone=Nowhere", "zone"),
        ("?period=ever", "period"),
        ("?period=7d&from=2026-10-05", "period"),
        ("?group_by=label:", "group_by"),
        ("?account=max", "account"),
        ("?label=project", "label"),
        ("?colour=1", "colour"),
    ] {
        let (status, problem) = collector.get(&format!("/v1/usage{query}"));
        assert_eq!(
            (status, &problem["field"]),
            (400, &json!(field)),
            "{query}: {problem}"
        );
    }
    collector.stop_cleanly();
}

#[test]
fn it_is_csv_for_those_who_accept_that() {
    let (_place, collector) = story();
    let (status, head, body) =
        collector.exchange("GET", "/v1/usage?group_by=run", "Accept: text/csv\r\n", "");
    assert_eq!(status, 200, "{body}");
    assert!(head.contains("content-type: text/csv; charset=utf-8"), "{head}");
    assert!(head.contains("vary: accept"), "{head}");
    let lines: Vec<&str> = body.lines().collect();
    assert!(
        lines[0].starts_with("run,messages,advisor_calls,input_tokens,output_tokens,"),
        "{body}"
    );
    assert!(
        lines[0].ends_with(",fallbacks,failed_attempts,estimated_tokens,estimated_cost_usd,unpriced_tokens"),
        "{body}"
    );
    // claude-haiku-5 has no price: the cost is that of the other two responses.
    assert_eq!(lines[1], "a,3,0,30,321,0,0,0,0,0,0,351,0,0,0,0.007625,30");
    assert_eq!(lines[3], "c,1,0,10,50000,0,0,0,0,0,0,50010,0,0,0,,50010");
    assert_eq!(lines.len(), 4);
    let (status, _, body) = collector.exchange("GET", "/v1/usage", "Accept: text/html\r\n", "");
    assert_eq!(status, 406, "{body}");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["field"], "accept");
    collector.stop_cleanly();
}

#[test]
fn the_last_days_are_there_newest_first_with_those_without_usage() {
    let place = Place::new();
    let mut collector = place.serve();
    assert_eq!(collector.get("/api/usage/daily"), (200, json!([])));
    let day = |ago: i64| {
        Clock::SYSTEM.timestamp().to_zoned(jiff::tz::TimeZone::UTC).date() - jiff::Span::new().days(ago)
    };
    // Midnight may pass between two tests: the days are counted from the first.
    let today = day(0);
    append(
        &place.log("a", "a.jsonl"),
        line("1", 5, &format!("{}T10:00:00.000Z", day(3)), "m")
            + &line("2", 7, &format!("{}T00:00:00.000Z", day(1)), "m"),
    );
    append(
        &place.log("b", "a.jsonl"),
        line("3", 6, &format!("{}T11:00:00.000Z", day(3)), "m"),
    );
    collector.wait_for_messages(3);
    let (status, days) = collector.get("/api/usage/daily");
    assert_eq!(status, 200);
    let days = days.as_array().unwrap();
    let row = |date: jiff::civil::Date| days.iter().find(|row| row["date"] == date.to_string()).unwrap();
    let three_ago = today - jiff::Span::new().days(3);
    assert_eq!(
        *row(three_ago),
        json!({"date": three_ago.to_string(), "tokens_total": 31, "tokens_input": 20, "tokens_output": 11,
            "tokens_cache_read": 0, "tokens_cache_create": 0, "run_count": 2})
    );
    assert_eq!(row(today - jiff::Span::new().days(2))["run_count"], 0);
    assert_eq!(row(today - jiff::Span::new().days(1))["tokens_output"], 7);
    assert_eq!(
        days.last().unwrap()["date"],
        three_ago.to_string(),
        "from the first that had some"
    );
    let dates: Vec<&str> = days.iter().map(|row| row["date"].as_str().unwrap()).collect();
    assert!(dates.is_sorted_by(|a, b| a > b), "{dates:?}");
    let count = |collector: &Collector, query: &str| {
        collector
            .get(&format!("/api/usage/daily{query}"))
            .1
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        (
            count(&collector, "?days=0"),
            count(&collector, "?days=-5"),
            count(&collector, "?days=2")
        ),
        (1, 1, 2)
    );
    append(
        &place.log("c", "a.jsonl"),
        line("4", 6, &format!("{}T11:00:00.000Z", day(200)), "m"),
    );
    collector.wait_for_messages(4);
    assert_eq!(
        (
            count(&collector, ""),
            count(&collector, "?days=91"),
            count(&collector, "?days=many")
        ),
        (14, 90, 14)
    );
    collector.stop_cleanly();
    place.assert_verified();
}
