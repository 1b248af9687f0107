//! Coverage: the agents' own reports beside the counts, live, over restarts and in a replay.

use serde_json::{Value, json};

use crate::harness::{Place, append};

const PARENT: &str = "5e551011-0000-4000-8000-000000000001";
const FORK: &str = "5e551011-0000-4000-8000-000000000002";

/// A line of a response; `stop` is its `stop_reason`.
fn line(session: &str, id: &str, output: u64, stop: &Value) -> String {
    let line = json!({
        "type": "assistant", "sessionId": session, "timestamp": "2026-10-05T09:00:00.000Z", "message": {
            "id": format!("msg_01CoverageAaBbCc{id}"), "role": "assistant", "model": "m", "stop_reason": stop,
            "usage": {"input_tokens": 10, "output_tokens": output}}
    });
    format!("{line}\n")
}

fn finished(session: &str, id: &str, output: u64) -> String {
    line(session, id, output, &json!("end_turn"))
}

/// An agent's report of a session: input and output tokens over two models.
fn state(session: &str, input: u64, output: u64) -> String {
    let line = json!({"type": "cost-state", "sessionId": session, "modelUsage": {
        "m": {"inputTokens": input, "outputTokens": output - 1}, "title": {"outputTokens": 1}}});
    format!("{line}\n")
}

/// Unlogged and reported tokens, and unfinished messages.
fn figures(summary: &Value) -> (u64, u64, u64) {
    let coverage = &summary["coverage"];
    let total = |part: &str| coverage[part]["total_tokens"].as_u64().unwrap();
    assert_eq!(
        total("reported"),
        total("counted") + total("unlogged"),
        "{coverage}"
    );
    (
        total("unlogged"),
        total("reported"),
        coverage["unfinished"].as_u64().unwrap(),
    )
}

#[test]
fn what_an_agent_reports_beyond_its_lines_is_shown_and_never_added() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, finished(PARENT, "0001", 100) + &state(PARENT, 10, 100));
    let mut collector = place.serve();
    let lines = |collector: &mut crate::harness::Collector, count: u64| {
        collector.wait_until("the lines", |summary| summary["lines"]["read"] == count)
    };
    assert_eq!(figures(&lines(&mut collector, 2)), (0, 110, 0));
    // A title was generated, and a sub-agent's response has no end yet.
    append(
        &log,
        line(PARENT, "0002", 1, &Value::Null) + &state(PARENT, 25, 160),
    );
    let summary = lines(&mut collector, 4);
    assert_eq!(figures(&summary), (64, 185, 1));
    assert_eq!(summary["totals"]["total_tokens"], 121, "nothing is added");
    assert_eq!(
        summary["coverage"]["by_run"],
        json!({"r": {"unlogged_tokens": 64, "unfinished": 1, "without_figures": 0}})
    );
    let metrics = collector.exchange("GET", "/metrics", "", "").2;
    for sample in [
        "tokentail_reported_tokens 185",
        "tokentail_unlogged_tokens 64",
        "tokentail_unfinished_messages 1",
        "tokentail_responses_without_figures 0",
    ] {
        assert!(metrics.contains(&format!("\n{sample}\n")), "{sample}: {metrics}");
    }
    // Over a kill, and with an older report that arrives late.
    collector.kill();
    let mut collector = place.serve();
    append(&log, state(PARENT, 10, 100) + &finished(PARENT, "0002", 40));
    let summary = lines(&mut collector, 6);
    assert_eq!(figures(&summary), (25, 185, 0));
    collector.stop_cleanly();
    let human = place.run(&["status"]);
    let human = crate::harness::text(&human.stdout);
    assert!(
        human.contains("coverage: 25 of 185 tokens reported by agents are in no log"),
        "{human}"
    );
    assert_eq!(figures(&place.replayed()), (25, 185, 0));
    place.assert_verified();
}

#[test]
fn a_fork_is_compared_with_what_it_copied_too() {
    let place = Place::new();
    // The title of the parent, 5 tokens, is in both reports.
    append(
        &place.log("r", "parent.jsonl"),
        finished(PARENT, "0001", 100) + &finished(PARENT, "0002", 50) + &state(PARENT, 20, 155),
    );
    append(
        &place.log("r", "fork.jsonl"),
        finished(FORK, "0001", 100) + &finished(FORK, "0003", 30) + &state(FORK, 20, 135),
    );
    let mut collector = place.serve();
    collector.wait_until("the lines", |summary| summary["lines"]["read"] == 6);
    collector.stop_cleanly();
    for summary in [place.status(), place.replayed()] {
        assert_eq!(summary["totals"]["total_tokens"], 210);
        assert_eq!(figures(&summary).0, 5, "{}", summary["coverage"]);
    }
    place.assert_verified();
    // A better copy of a shared response counts in the sums of both.
    append(&place.log("r", "fork.jsonl"), finished(FORK, "0001", 103));
    let mut collector = place.serve();
    let summary = collector.wait_until("the line", |summary| summary["lines"]["read"] == 7);
    assert_eq!(figures(&summary).0, 2, "{}", summary["coverage"]);
    collector.stop_cleanly();
    place.assert_verified();
}
