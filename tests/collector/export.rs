//! `export`: rows of everything that is stored.

use serde_json::{Value, json};

use crate::harness::{Place, append, response, text};

/// A place with two responses of two runs, a posted record, and a refusal.
fn story() -> (Place, crate::harness::Collector) {
    let place = Place::new();
    let mut collector = place.serve();
    append(&place.log("a", "s1.jsonl"), response("1", 300, 1));
    append(&place.log("b", "=s2.jsonl"), response("2", 20, 4_000));
    collector.wait_for_messages(2);
    let record = json!({"id": "q1", "source": "router-1", "provider": "openai", "model": "gpt-6.1-sol",
        "route": "/think", "fallbacks": 2, "time": "2026-10-05T10:00:00Z",
        "usage": {"input_tokens": 7, "output_tokens": 5}, "attempts": [{"provider": "claude"}]});
    let (status, posted) = collector.request("POST", "/v1/records", &record.to_string());
    assert_eq!((status, &posted["counted"]), (200, &json!(1)), "{posted}");
    let headers = json!({"status": 429, "headers": {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
        "anthropic-ratelimit-unified-5h-utilization": "1.0"}});
    assert_eq!(
        collector
            .request("POST", "/v1/observations", &headers.to_string())
            .0,
        200
    );
    (place, collector)
}

fn rows(place: &Place, words: &[&str]) -> Vec<Value> {
    let output = place.run(&[&["export"], words].concat());
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    let lines = text(&output.stdout);
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn every_kind_has_its_rows_and_they_add_up() {
    let (place, collector) = story();
    let usage = rows(&place, &["usage"]);
    let of = |row: &Value, name: &str| row[name].as_u64().unwrap();
    let sum = |name: &str| usage.iter().map(|row| of(row, name)).sum::<u64>();
    let totals = collector.get("/v1/usage?group_by=provider").1["totals"].clone();
    for name in [
        "messages",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "fallbacks",
        "failed_attempts",
    ] {
        assert_eq!(sum(name), of(&totals, name), "{name}");
    }
    let hours: Vec<&str> = usage.iter().map(|row| row["hour"].as_str().unwrap()).collect();
    assert!(
        hours.is_sorted() && hours.contains(&"2026-10-05T10:00:00.000Z"),
        "{hours:?}"
    );
    let responses = rows(&place, &["responses"]);
    let output: u64 = responses.iter().map(|row| of(row, "output_tokens")).sum();
    assert_eq!((responses.len(), output), (3, 325));
    let posted = responses.iter().find(|row| row["run"] == "(none)").unwrap();
    assert_eq!(
        (&posted["route"], &posted["dialect"]),
        (&json!("/think"), &Value::Null)
    );
    let records = rows(&place, &["records"]);
    assert_eq!(
        records.iter().map(|row| of(row, "failed_attempts")).sum::<u64>(),
        1
    );
    assert_eq!(records.iter().map(|row| of(row, "fallbacks")).sum::<u64>(), 2);
    assert_eq!(rows(&place, &["windows"])[0]["status"], "rejected");
    assert_eq!(rows(&place, &["events"])[0]["kind"], "refused");
    collector.stop_cleanly();
}

#[test]
fn a_period_selects_rows_and_csv_takes_no_formula() {
    let (place, collector) = story();
    assert_eq!(rows(&place, &["responses", "2026-10-06"]).len(), 0);
    assert_eq!(rows(&place, &["responses", "2026-10-05"]).len(), 3);
    assert_eq!(
        rows(&place, &["usage", "2026-10-05", "-z", "Asia/Kathmandu"]).len(),
        4
    );
    let output = place.run(&["export", "responses", "--format", "csv"]);
    let csv = text(&output.stdout);
    assert!(
        csv.starts_with("key,at,run,session,project,provider,account,model,"),
        "{csv}"
    );
    assert!(csv.contains(",'=s2,") && csv.lines().count() == 4, "{csv}");
    for (path, status, field) in [
        ("/v1/export/nothing", 404, "kind"),
        ("/v1/export/usage?period=20250231", 400, "period"),
        ("/v1/export/usage?format=xml", 400, "format"),
        ("/v1/export/usage?zone=Nowhere", 400, "zone"),
    ] {
        let (answered, problem) = collector.get(path);
        assert_eq!((answered, &problem["field"]), (status, &json!(field)), "{path}");
    }
    collector.stop_cleanly();
    let output = place.run(&["export", "usage"]);
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
}
