//! What changes without a line of its own: verdicts on accounts, and how the collector is.

use std::fs;

use serde_json::json;

use crate::harness::{Place, append};
use crate::quota_live::{now, refused, second};
use crate::stream::Client;

#[test]
fn a_mark_is_told_and_taken_back_and_told_to_those_who_come_back() {
    let place = Place::new();
    let collector = place.serve();
    let (_, mut client) = Client::connect(&collector, "?kinds=account", "");
    let first = client.find(|kind, _| kind == "snapshot");
    assert_eq!(first["snapshot"]["quota"]["accounts"][0]["state"], "unknown");
    let mark = |body: &str| assert_eq!(collector.request("POST", "/v1/quota/default/mark", body).0, 200);
    mark(r#"{"state":"exhausted","until":"2999-01-01T00:00:00Z","reason":"spent"}"#);
    let event = client.find(|kind, _| kind == "account");
    assert_eq!(
        (
            &event["provider"],
            &event["account"],
            &event["from"],
            &event["state"],
            &event["until"]
        ),
        (
            &json!("claude"),
            &json!("default"),
            &json!("unknown"),
            &json!("exhausted"),
            &json!("2999-01-01T00:00:00.000Z")
        ),
        "{event}"
    );
    assert_eq!(event["sequence"].to_string(), client.last_id);
    let last_id = client.last_id.clone();
    drop(client);
    mark(r#"{"state":"available"}"#);
    let (_, mut client) = Client::connect(&collector, "", &last_id);
    let event = client.find(|kind, _| kind == "account");
    assert_eq!(
        (&event["from"], &event["state"]),
        (&json!("exhausted"), &json!("unknown"))
    );
    // Of another account nothing comes.
    let (_, mut other) = Client::connect(&collector, "?account=other&kinds=account,run", "");
    mark(r#"{"state":"exhausted"}"#);
    client.find(|kind, event| kind == "account" && event["state"] == "exhausted");
    append(&place.log("r", "a.jsonl"), "{}\n");
    assert_eq!(
        collector
            .request("PUT", "/v1/runs/s", r#"{"labels":{"account":"other"}}"#)
            .0,
        201
    );
    let event = other.find(|kind, _| kind == "account" || kind == "run");
    assert_eq!(event["account"], "other", "{event}");
    collector.stop_cleanly();
}

#[test]
fn an_account_that_is_used_up_is_told_and_free_again_when_its_window_ends() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    let (_, mut client) = Client::connect(&collector, "", "");
    let reset = second(now()) + 3000;
    append(&place.log("r", "a.jsonl"), refused(now(), "five_hour", reset));
    let event = client.find(|kind, _| kind == "account");
    assert_eq!(event["state"], "exhausted", "{event}");
    let until = event["until"]
        .as_str()
        .unwrap()
        .parse::<jiff::Timestamp>()
        .unwrap();
    assert_eq!(until.as_millisecond(), reset);
    // Nothing is written any more: the time passes.
    let event = client.find(|kind, _| kind == "account");
    assert_eq!(event["from"], "exhausted", "{event}");
    assert_ne!(event["state"], "exhausted", "{event}");
    collector.stop_cleanly();
}

#[test]
fn the_collectors_health_is_told_at_first_and_when_it_changes() {
    let place = Place::new();
    let collector = place.serve();
    let (_, mut client) = Client::connect(&collector, "", "");
    let is_ok = |kind: &str, event: &serde_json::Value| kind == "health" && event["status"] == "ok";
    client.find(is_ok);
    fs::remove_dir(place.runs()).unwrap();
    let event = client.find(|kind, event| kind == "health" && event["status"] != "ok");
    assert_eq!(event["status"], "degraded", "{event}");
    assert!(
        event["reasons"][0].as_str().unwrap().contains("runs directory"),
        "{event}"
    );
    // One who comes now hears how it is now; one who does not wish for it does not.
    let (_, mut late) = Client::connect(&collector, "?kinds=health", "");
    let event = late.find(|kind, _| kind == "health");
    assert_eq!(event["status"], "degraded");
    fs::create_dir(place.runs()).unwrap();
    client.find(is_ok);
    late.find(is_ok);
    collector.stop_cleanly();
}
