//! Estimated costs: in documents, on the command line, in metrics, and the operator's prices.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, text};
use crate::scenario::ended;

const TAKEN_OVER: &str = "the configuration is in effect";
const REFUSED: &str = "the configuration is refused, the old one stays in effect";
const TABLE: &str = "genai-prices 0.2.1";

/// A line of a response of a model, of its own standard tier, with so many tokens.
fn line(id: &str, at: &str, model: &str, usage: &Value) -> String {
    let mut usage = usage.clone();
    usage["service_tier"] = "standard".into();
    let line = json!({"type": "assistant", "uuid": format!("u-{id}"), "requestId": format!("req_{id}"),
        "sessionId": "s", "timestamp": at,
        "message": {"id": format!("msg_{id}"), "model": model, "role": "assistant", "usage": usage}});
    format!("{line}\n")
}

fn plain(input: u64, output: u64) -> Value {
    json!({"input_tokens": input, "output_tokens": output})
}

/// A price that changed between two responses, a long prompt, and a model without a price.
fn write_story(place: &Place) {
    let written = json!({"input_tokens": 3, "output_tokens": 240, "cache_read_input_tokens": 12_000,
        "cache_creation_input_tokens": 900,
        "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 900}});
    append(
        &place.log("a", "a.jsonl"),
        line("1", "2026-08-20T23:59:59Z", "gpt-5.6-sol", &plain(250_000, 0))
            + &line("2", "2026-08-21T00:00:01Z", "gpt-5.6-sol", &plain(250_000, 0))
            + &line("3", "2026-11-29T10:00:00Z", "claude-opus-5", &written),
    );
    append(
        &place.log("b", "b.jsonl"),
        line(
            "4",
            "2026-11-29T10:00:00Z",
            "claude-haiku-5-5",
            &plain(100_000, 1_000),
        ) + &line(
            "5",
            "2026-11-29T10:01:00Z",
            "claude-haiku-5-5",
            &plain(100_001, 1_000),
        ),
    );
    append(
        &place.log("c", "c.jsonl"),
        line("6", "2026-11-29T10:00:00Z", "gpt-6.2-sol", &plain(20_000, 9_820)),
    );
}

fn usage(collector: &Collector, query: &str) -> Value {
    let (status, usage) = collector.get(&format!("/v1/usage{query}"));
    assert_eq!(status, 200, "{query}: {usage}");
    usage
}

/// The costs of the rows by their keys.
fn costs(usage: &Value) -> Vec<(&str, Option<f64>)> {
    let rows = usage["rows"].as_array().unwrap().iter();
    rows.map(|row| (row["key"].as_str().unwrap(), row["estimated_cost_usd"].as_f64()))
        .collect()
}

#[test]
fn every_document_has_the_cost_of_its_sums() {
    const ALL: f64 = 2.334_015_5;
    let unpriced = json!({"models": ["gpt-6.2-sol"], "tokens": 29_820});
    let place = Place::new();
    write_story(&place);
    let mut collector = place.serve();
    collector.wait_for_messages(6);
    let by_model = usage(&collector, "?group_by=model");
    assert_eq!(
        costs(&by_model),
        [
            ("claude-haiku-5-5", Some(0.063_000_5)),
            ("claude-opus-5", Some(0.021_015)),
            ("gpt-5.6-sol", Some(2.25)),
            ("gpt-6.2-sol", None)
        ]
    );
    assert_eq!(by_model["totals"]["estimated_cost_usd"].as_f64(), Some(ALL));
    assert_eq!(by_model["totals"]["unpriced"], unpriced);
    assert_eq!(by_model["rows"][0].get("unpriced"), None);
    assert_eq!(by_model["rows"][3]["unpriced"], unpriced);
    assert_eq!(
        (&by_model["price_table"], &by_model["assumed"]),
        (&TABLE.into(), &json!([]))
    );
    let by_day = usage(&collector, "");
    assert_eq!(
        costs(&by_day),
        [
            ("2026-08-20", Some(1.25)),
            ("2026-08-21", Some(1.0)),
            ("2026-11-29", Some(0.084_015_5))
        ]
    );
    // Quarters of an hour, and one run.
    let half = usage(
        &collector,
        "?group_by=run&from=2026-08-20T23:45:00Z&to=2026-08-21T00:00:00Z&run=a",
    );
    assert_eq!(costs(&half), [("a", Some(1.25))]);
    let (_, _, csv) = collector.exchange("GET", "/v1/usage?group_by=run", "Accept: text/csv\r\n", "");
    let ends: Vec<&str> = csv.lines().map(|line| line.rsplit(',').nth(1).unwrap()).collect();
    assert_eq!(ends, ["estimated_cost_usd", "2.271015", "0.0630005", ""]);
    assert!(csv.trim_end().ends_with(",,29820"), "{csv}");

    let summary = collector.summary();
    assert_eq!(summary["totals"]["estimated_cost_usd"].as_f64(), Some(ALL));
    assert_eq!(summary["totals"]["unpriced"], unpriced);
    assert_eq!(summary["by_run"]["a"]["estimated_cost_usd"], 2.271_015);
    assert_eq!(summary["by_run"]["c"]["estimated_cost_usd"], Value::Null);
    assert_eq!(summary["by_model"]["gpt-5.6-sol"]["estimated_cost_usd"], 2.25);
    assert_eq!(summary["by_day"]["2026-08-21"]["estimated_cost_usd"], 1.0);
    assert_eq!(summary["price_table"], TABLE);
    let (_, run) = collector.get("/v1/runs/a");
    assert_eq!(run["estimated_cost_usd"], 2.271_015);
    assert_eq!(run["by_day"]["2026-08-20"]["estimated_cost_usd"], 1.25);
    let (_, runs) = collector.get("/v1/runs");
    assert_eq!(runs[1]["estimated_cost_usd"], 0.063_000_5);
    let (_, stopped) = collector.request("POST", "/v1/runs/c/stop?wait=true", "");
    assert_eq!(stopped["unpriced"], unpriced);
    collector.stop_cleanly();
    // Without a collector, and read again.
    for document in [place.status(), place.replayed()] {
        assert_eq!(document["totals"]["estimated_cost_usd"].as_f64(), Some(ALL));
        assert_eq!(document["totals"]["unpriced"], unpriced);
    }
    let said = text(&place.run(&["replay", "runs"]).stdout);
    assert!(said.contains("cost: an estimate at list price (genai-prices 0.2.1), no bill; +?: no price of gpt-6.2-sol (29,820 tokens)"), "{said}");
    assert!(said.contains("$2.33 +?\n"), "{said}");
}

#[test]
fn the_operators_prices_are_read_again_and_a_wrong_file_changes_nothing() {
    const PRICES: &str =
        "[model.\"gpt-6.2-*\"]\ninput = 2.0\noutput = 10.0\ncache_read = 0.1\nsince = \"2026-11-18\"\n";
    let place = Place::new();
    write_story(&place);
    let file = place.path("prices.toml");
    let settings = format!("prices = \"{}\"\n", file.display());
    fs::write(&file, PRICES).unwrap();
    let mut collector = place.serve_with(&settings);
    collector.wait_for_messages(6);
    let cost = |collector: &Collector| {
        usage(collector, "?group_by=run&run=c")["rows"][0]["estimated_cost_usd"].clone()
    };
    assert_eq!(cost(&collector), 0.138_2);
    let all = usage(&collector, "");
    assert_eq!(all["price_table"], "genai-prices 0.2.1 + prices.toml");
    assert_eq!(all["totals"].get("unpriced"), None);

    // Twice the price.
    fs::write(&file, PRICES.replace("2.0", "4.0").replace("10.0", "20.0")).unwrap();
    collector.signal("HUP");
    collector.wait_for_logs(TAKEN_OVER, 1);
    assert_eq!(cost(&collector), 0.276_4);

    fs::write(&file, PRICES.replace("output", "outptu")).unwrap();
    collector.signal("HUP");
    collector.wait_for_logs(REFUSED, 1);
    assert_eq!(cost(&collector), 0.276_4);
    let place_of = format!("{}:3:1: ", file.display());
    let reasons = collector.reasons().join("\n");
    assert!(
        reasons.contains(&place_of) && reasons.contains("did you mean `output`?"),
        "{reasons}"
    );
    for words in [
        &["check-config"][..],
        &["serve"],
        &["prices", "--check", "prices.toml"],
    ] {
        let output = place.command_with_config(words).output().unwrap();
        let (code, _, stderr) = ended(&output);
        assert_eq!(code, Some(78), "{words:?}: {stderr}");
        assert!(stderr.contains("prices.toml:3:1: "), "{words:?}: {stderr}");
    }
    // The file that was read is gone.
    fs::remove_file(&file).unwrap();
    let gone = format!(
        "{} is gone: the prices that were read stay in effect",
        file.display()
    );
    collector.wait_for_log(&gone);
    let output = place.command_with_config(&["check-config"]).output().unwrap();
    let (code, _, stderr) = ended(&output);
    assert_eq!(code, Some(78));
    assert!(stderr.contains("t.toml:1:1: `prices`: cannot read "), "{stderr}");
    collector.stop_cleanly();
}

#[test]
fn prices_are_listed_and_a_file_is_compared() {
    let place = Place::new();
    let output = place.run(&[
        "prices",
        "claude-haiku-5-5",
        "gpt-5.6-sol",
        "--at",
        "2026-08-20",
        "--json",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let rows = document["prices"].as_array().unwrap();
    let of = |model: &str, service: &str, above: u64| {
        let is_it =
            |row: &&Value| row["model"] == model && row["service"] == service && row["above"] == above;
        rows.iter().find(is_it).unwrap_or(&Value::Null)
    };
    assert_eq!(of("claude-haiku-5-5", "standard", 0)["input"], 0.1);
    assert_eq!(of("claude-haiku-5-5", "us", 100_000)["output"], 2.75);
    assert_eq!(of("gpt-5.6-sol", "standard", 272_000)["input"], 10.0);
    assert_eq!(of("gpt-5.6-sol", "standard", 0)["source"], "genai-prices");
    assert_eq!(
        of("gpt-5.6-sol", "batch", 0),
        &Value::Null,
        "known from 2026-10-14 on"
    );
    let output = place.run(&["prices", "gpt-6.2-sol"]);
    assert_eq!(ended(&output).0, Some(1));
    assert!(text(&output.stdout).starts_with("no price is known of gpt-6.2-sol\n"));

    let file = place.path("p.toml");
    fs::write(
        &file,
        "[model.\"claude-opus-5\"]\ninput = 4\noutput = 25\ncache_read = 0.5\n",
    )
    .unwrap();
    let check = place.json(&["prices", "--check", "p.toml", "--at", "2026-11-29"]);
    let inputs = |rows: &Value| -> Vec<(String, f64)> {
        let rows = rows.as_array().unwrap().iter();
        rows.map(|row| {
            (
                row["service"].as_str().unwrap().to_owned(),
                row["input"].as_f64().unwrap(),
            )
        })
        .collect()
    };
    let row = |service: &str, usd| (service.to_owned(), usd);
    // The file has no price of batches.
    assert_eq!(
        inputs(&check["removed"]),
        [
            row("standard", 5.0),
            row("batch", 2.5),
            row("fast", 10.0),
            row("us", 5.5)
        ]
    );
    assert_eq!(
        inputs(&check["added"]),
        [row("standard", 4.0), row("fast", 8.0), row("us", 4.4)]
    );
    fs::write(&file, "").unwrap();
    let said = text(&place.run(&["prices", "--check", "p.toml"]).stdout);
    assert!(
        said.starts_with("the file is valid and changes no price of "),
        "{said}"
    );
}

#[test]
fn the_counter_of_costs_has_what_was_counted_since_the_start() {
    let scraped = |collector: &Collector| {
        let (_, _, body) = collector.ask("GET", "/metrics");
        let lines = body
            .lines()
            .filter(|line| line.starts_with("tokentail_cost_usd_total{"));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    let place = Place::new();
    write_story(&place);
    let mut collector = place.serve();
    collector.wait_for_messages(6);
    let first = scraped(&collector);
    let opus = "tokentail_cost_usd_total{provider=\"claude\",model=\"claude-opus-5\"} 0.021015";
    assert!(first.iter().any(|line| line == opus), "{first:?}");
    assert!(
        first.iter().all(|line| !line.contains("gpt-6.2-sol")),
        "{first:?}"
    );
    collector.stop_cleanly();
    let mut collector = place.serve();
    assert!(scraped(&collector).is_empty());
    append(
        &place.log("a", "a.jsonl"),
        line("7", "2026-11-29T11:00:00Z", "claude-opus-5", &plain(1_000, 1_000)),
    );
    collector.wait_for_messages(7);
    assert_eq!(
        scraped(&collector),
        ["tokentail_cost_usd_total{provider=\"claude\",model=\"claude-opus-5\"} 0.03"]
    );
    collector.stop_cleanly();
}
