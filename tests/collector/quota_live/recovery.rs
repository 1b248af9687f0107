//! Leases of an account after a block: one run tries it, then runs are let in step by step.

use serde_json::{Value, json};

use super::{HOUR, MINUTE, account, now, refused, second, usage};
use crate::harness::{Collector, Place};
use crate::stream::Client;

const SETTINGS: &str =
    "[[account]]\nname = \"max-1\"\nconcurrency = 5\nramp = { start = 2, step = 1, every = \"1h\" }\n";

/// Status, leases and reason of a request for two leases.
fn acquire(collector: &Collector, key: &str) -> (u16, Vec<Value>, String) {
    let body = json!({"key": key, "n": 2, "ttl": "10m"}).to_string();
    let (status, answer) = collector.request("POST", "/v1/leases", &body);
    let leases = answer["leases"].as_array().unwrap().clone();
    (status, leases, answer["reason"].as_str().unwrap().to_owned())
}

fn recovery(collector: &Collector) -> Value {
    let (_, quota) = collector.get("/v1/quota");
    account(&quota, "max-1")["recoveries"][0].clone()
}

fn state(events: &mut Client, state: &str) {
    events.find(|kind, event| kind == "probe" && event["state"] == state);
}

#[test]
fn after_a_block_one_run_tries_the_account_and_others_follow_step_by_step() {
    let place = Place::new();
    let began = now();
    // Refused until a time that has passed.
    let reset = second(began - 2 * MINUTE);
    place.tell("old", &refused(began - 30 * MINUTE, "five_hour", reset));
    let mut collector = place.live_with(SETTINGS);
    let (_, mut events) = Client::connect(&collector, "?kinds=probe", "");
    assert_eq!(recovery(&collector)["state"], "due");

    let (status, leases, _) = acquire(&collector, "probe");
    assert_eq!((status, leases.len()), (201, 1), "{leases:?}");
    assert_eq!(leases[0]["probe"], true);
    state(&mut events, "half_open");
    let (status, none, reason) = acquire(&collector, "other");
    assert_eq!((status, none.len(), reason.as_str()), (200, 0, "probing"));
    let half_open = recovery(&collector);
    assert_eq!(
        (&half_open["state"], &half_open["lease"]),
        (&"half_open".into(), &leases[0]["id"])
    );

    // It serves: the ramp begins with one more.
    let lease = json!({"lease": leases[0]["id"]}).to_string();
    assert_eq!(collector.request("PUT", "/v1/runs/probe", &lease).0, 201);
    collector.commit_line(&place, "probe", &usage("1", now(), 5));
    state(&mut events, "ramp");
    assert_eq!(
        (&recovery(&collector)["state"], &recovery(&collector)["cap"]),
        (&"ramp".into(), &2.into())
    );
    let (status, leases, _) = acquire(&collector, "first of the ramp");
    assert_eq!((status, leases.len()), (201, 1), "{leases:?}");
    assert_eq!(leases[0]["probe"], false);
    let (status, _, reason) = acquire(&collector, "second of the ramp");
    assert_eq!((status, reason.as_str()), (200, "ramping"));
    let shown = place.run(&["quota"]);
    let shown = crate::harness::text(&shown.stdout);
    assert!(
        shown.contains("2 leases\n  recovery: 2 runs let in, more from "),
        "{shown}"
    );

    // It refuses again: nothing is granted before the new reset.
    let later = second(now() + HOUR);
    collector.commit_line(&place, "probe", &refused(now(), "five_hour", later));
    state(&mut events, "open");
    let (status, _, reason) = acquire(&collector, "after the refusal");
    assert_eq!((status, reason.as_str()), (200, "window_exhausted"));
    assert_eq!(recovery(&collector)["state"], "open");
    collector.stop_cleanly();
}

#[test]
fn an_operator_ends_the_steps_of_a_recovery() {
    let place = Place::new();
    let began = now();
    let reset = second(began - 2 * MINUTE);
    place.tell("old", &refused(began - 30 * MINUTE, "five_hour", reset));
    let mut collector = place.live_with(SETTINGS);
    let (_, mut events) = Client::connect(&collector, "?kinds=probe", "");
    let mark = || place.document(0, &["quota", "mark", "max-1", "available"]);
    // A try under way ends, and the next lease is one, as nothing was observed.
    acquire(&collector, "probe");
    assert_eq!(recovery(&collector)["state"], "half_open");
    mark();
    state(&mut events, "closed");
    assert_eq!(recovery(&collector)["state"], "due");
    let (_, leases, _) = acquire(&collector, "another");
    assert_eq!(leases[0]["probe"], true);
    // A ramp ends.
    let lease = json!({"lease": leases[0]["id"]}).to_string();
    assert_eq!(collector.request("PUT", "/v1/runs/probe", &lease).0, 201);
    collector.commit_line(&place, "probe", &usage("1", now(), 5));
    state(&mut events, "ramp");
    mark();
    state(&mut events, "closed");
    assert_eq!(recovery(&collector), Value::Null);
    let (status, leases, _) = acquire(&collector, "two at once");
    assert_eq!((status, leases.len()), (201, 2), "{leases:?}");
    // A refusal stays.
    collector.commit_line(
        &place,
        "probe",
        &refused(now(), "five_hour", second(now() + HOUR)),
    );
    mark();
    assert_eq!(recovery(&collector)["state"], "open");
    collector.stop_cleanly();
}

#[test]
fn a_try_that_is_given_back_leaves_the_account_to_the_next() {
    let place = Place::new();
    let began = now();
    let reset = second(began - 2 * MINUTE);
    place.tell("old", &refused(began - 30 * MINUTE, "five_hour", reset));
    let collector = place.live_with(SETTINGS);
    let (_, mut events) = Client::connect(&collector, "?kinds=probe", "");
    let (_, leases, _) = acquire(&collector, "first");
    state(&mut events, "half_open");
    let path = format!("/v1/leases/{}", leases[0]["id"].as_str().unwrap());
    assert_eq!(collector.request("DELETE", &path, "").0, 204);
    let (status, leases, _) = acquire(&collector, "second");
    assert_eq!((status, leases.len()), (201, 1));
    assert_eq!(leases[0]["probe"], true);
    collector.stop_cleanly();
}
