//! Runs that are started, stopped and forgotten over the control socket.

use std::fs;

use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, response};

/// Stops a run and waits; its document.
fn stop(collector: &Collector, run: &str) -> Value {
    let (status, document) = collector.request("POST", &format!("/v1/runs/{run}/stop?wait=true"), "");
    assert_eq!(status, 200, "{document}");
    assert_eq!(document["state"], "stopped", "{document}");
    document
}

fn put(collector: &Collector, run: &str, body: &Value) -> (u16, Value) {
    collector.request("PUT", &format!("/v1/runs/{run}"), &body.to_string())
}

#[test]
fn a_run_is_started_before_its_directory_is_there_and_stopped_with_exact_totals() {
    let place = Place::new();
    let mut collector = place.serve();
    let body = json!({"labels": {"project": "alpha", "profile": "big"}});
    let (status, document) = put(&collector, "r", &body);
    assert_eq!(
        (status, &document["state"]),
        (201, &json!("waiting")),
        "{document}"
    );
    assert_eq!(document["labels"], body["labels"]);
    let (status, again) = put(&collector, "r", &body);
    assert_eq!(
        (status, &again["registered_at"]),
        (200, &document["registered_at"])
    );
    let log = place.log("r", "a.jsonl");
    append(&log, response("1", 5, 1) + &response("2", 6, 2));
    collector.wait_for_messages(2);
    // A line without its end waits while the run continues, and counts when the run is stopped.
    append(&log, response("3", 7, 3).trim_end());
    let document = stop(&collector, "r");
    assert_eq!(
        (&document["messages"], &document["output_tokens"]),
        (&json!(3), &json!(18))
    );
    assert_eq!(document["stop_reason"], "asked");
    assert_eq!(document["first_activity"], "2026-10-05T09:00:01.000Z");
    assert_eq!(document["last_activity"], "2026-10-05T09:00:03.000Z");
    assert_eq!(document["lag_bytes"], 0);
    let changed = fs::metadata(&log).unwrap().modified().unwrap();
    let changed = jiff::Timestamp::try_from(changed).unwrap().as_millisecond();
    let said: jiff::Timestamp = document["last_change"].as_str().unwrap().parse().unwrap();
    assert_eq!(said.as_millisecond(), changed);
    assert_eq!(
        stop(&collector, "r")["stopped_at"],
        document["stopped_at"],
        "twice is once"
    );
    assert_eq!(collector.get("/v1/runs?state=stopped").1[0]["id"], "r");
    assert_eq!(collector.get("/v1/runs?label=project:alpha").1[0]["id"], "r");
    assert_eq!(collector.get("/v1/runs?label=project:beta").1, json!([]));
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn late_lines_of_a_stopped_run_are_counted_and_it_goes_on() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    stop(&collector, "r");
    append(&log, response("2", 6, 2));
    // A repeated stop reads again; so does a start.
    assert_eq!(stop(&collector, "r")["output_tokens"], 11);
    append(&log, response("3", 7, 3));
    assert_eq!(put(&collector, "r", &json!({})).0, 200);
    collector.wait_for_messages(3);
    assert_ne!(collector.get("/v1/runs/r").1["state"], "stopped");
    stop(&collector, "r");
    collector.kill();
    // A stopped run stays stopped over a restart, and lines written meanwhile resume it.
    let mut collector = place.serve();
    assert_eq!(collector.get("/v1/runs/r").1["state"], "stopped");
    stop(&collector, "r");
    collector.kill();
    append(&log, response("4", 8, 4));
    collector = place.serve();
    collector.wait_for_messages(4);
    assert_ne!(collector.get("/v1/runs/r").1["state"], "stopped");
    assert_eq!(
        stop(&collector, "r")["output_tokens"],
        place.replayed()["by_run"]["r"]["output_tokens"]
    );
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_run_whose_directory_is_gone_stops_by_itself_and_answers_with_its_totals() {
    let place = Place::new();
    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    fs::remove_dir_all(place.runs().join("r")).unwrap();
    collector.wait_for_log("its directory is gone");
    let document = stop(&collector, "r");
    assert_eq!(
        (&document["output_tokens"], &document["messages"]),
        (&json!(5), &json!(1))
    );
    let (status, problem) = collector.request("POST", "/v1/runs/nobody/stop?wait=true", "");
    assert_eq!((status, &problem["field"]), (404, &json!("id")));
    collector.stop_cleanly();
}

#[test]
fn a_run_that_was_found_first_moves_to_the_account_of_its_labels_until_something_is_read() {
    let place = Place::new();
    fs::create_dir_all(place.runs().join("r/mount")).unwrap();
    let mut collector = place.serve_open();
    let labels = json!({"labels": {"account": "max-1"}});
    let (status, document) = put(&collector, "r", &labels);
    assert_eq!(
        (status, &document["account"]),
        (200, &json!("max-1")),
        "{document}"
    );
    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    collector.wait_for_messages(1);
    let (status, problem) = put(&collector, "r", &json!({"labels": {"account": "max-2"}}));
    assert_eq!((status, &problem["field"]), (409, &json!("labels")), "{problem}");
    assert_eq!(collector.get("/v1/runs/r").1["labels"], labels["labels"]);
    append(&place.log("r", "a.jsonl"), response("2", 6, 2));
    collector.wait_for_messages(2);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_forgotten_run_leaves_the_sums_and_is_not_found_again_until_it_is_new() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, response("1", 5, 1));
    append(&place.log("s", "a.jsonl"), response("2", 6, 2));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    let (status, problem) = collector.request("DELETE", "/v1/runs/r", "");
    assert_eq!((status, &problem["field"]), (409, &json!("id")), "{problem}");
    stop(&collector, "r");
    assert_eq!(collector.request("DELETE", "/v1/runs/r", "").0, 204);
    assert_eq!(collector.request("DELETE", "/v1/runs/r", "").0, 404);
    assert_eq!(collector.get("/v1/runs/r").0, 404);
    let summary = collector.summary();
    assert_eq!(
        (&summary["messages"], &summary["by_run"]["r"]),
        (&json!(2), &Value::Null)
    );
    collector.kill();
    // Its directory is still there, and it stays forgotten.
    append(&place.log("s", "a.jsonl"), response("3", 7, 3));
    let mut collector = place.serve();
    collector.wait_for_messages(3);
    assert_eq!(collector.get("/v1/runs/r").0, 404);
    // Started again it is new; counted lines are not counted again.
    assert_eq!(put(&collector, "r", &json!({})).0, 201);
    append(&log, response("4", 8, 4));
    let summary = collector.wait_for_messages(4);
    assert_eq!(summary["by_run"]["r"]["output_tokens"], 8);
    assert_eq!(summary["totals"]["output_tokens"], 26);
    stop(&collector, "s");
    assert_eq!(collector.request("DELETE", "/v1/runs/s", "").0, 204);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_refused_start_names_the_field() {
    let place = Place::new();
    let collector = place.serve();
    for (path, body, field) in [
        ("/v1/runs/a%20b", "{}", "id"),
        ("/v1/runs/..%2f..", "{}", "id"),
        ("/v1/runs/%ff", "{}", "id"),
        ("/v1/runs/r", "{", "body"),
        ("/v1/runs/r", "[]", "body"),
        ("/v1/runs/r", r#"{"label":{}}"#, "body"),
        ("/v1/runs/r", r#"{"labels":{"a":1}}"#, "body"),
        ("/v1/runs/r", r#"{"labels":{"":"x"}}"#, "labels"),
        ("/v1/runs/r", r#"{"labels":{"a b":"x"}}"#, "labels"),
        ("/v1/runs/r", r#"{"labels":{"a":"\u0007"}}"#, "labels"),
        ("/v1/runs/r", r#"{"labels":{"account":"a/b"}}"#, "labels"),
    ] {
        let (status, problem) = collector.request("PUT", path, body);
        assert_eq!(
            (status, &problem["field"]),
            (400, &json!(field)),
            "{path} {body}: {problem}"
        );
    }
    let many: serde_json::Map<String, Value> = (0..33).map(|n| (format!("l{n}"), json!("x"))).collect();
    assert_eq!(put(&collector, "r", &json!({"labels": many})).0, 400);
    assert_eq!(
        put(&collector, "r", &json!({"labels": {"l": "x".repeat(257)}})).0,
        400
    );
    assert_eq!(collector.get("/v1/runs/r").0, 404, "nothing of it was taken");
    for path in [
        "/v1/runs?state=dead",
        "/v1/runs?label=x",
        "/v1/runs?limit=-1",
        "/v1/runs?colour=red",
    ] {
        assert_eq!(collector.get(path).0, 400, "{path}");
    }
    assert_eq!(put(&collector, "r", &json!({})).0, 201);
    for path in ["/v1/runs/r/stop?wait=maybe", "/v1/runs/r/stop?for=ever"] {
        assert_eq!(collector.request("POST", path, "").0, 400, "{path}");
    }
    assert_eq!(collector.request("GET", "/v1/runs/r/stop", "").0, 405);
    assert_eq!(collector.request("PUT", "/v1/runs", "{}").0, 405);
    collector.stop_cleanly();
}
