//! `kill -9` at each step of a notification: each cause arrives at least once, and never under two ids.
//!
//! `TOKENTAIL_NOTIFY_KILLS=50 cargo test --test collector notify_kills` sets the number of kills at random.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use serde_json::json;

use crate::harness::{Collector, Place, append, number_setting};
use crate::machine::skipped;
use crate::notify::serve;
use crate::placed_kills::{killed_at, obstacle};
use crate::receiver::{Hook, Reaction, WebhookReceiver};

const OK: Reaction = Reaction::Status(200, "");
/// Default number of kills at random.
const KILLS: u64 = 12;
/// Causes written between two kills.
const CAUSES: u64 = 4;
/// A target that gets thresholds alone: each window of a name of its own is one cause.
const TARGET: &str = "[[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\n";

/// Writes a cause: a window of this name reaches its first threshold.
fn cause(place: &Place, name: &str) {
    #[expect(clippy::disallowed_methods, reason = "a test's lines are of now")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = i64::try_from(now.as_secs()).unwrap();
    let at = jiff::Timestamp::from_second(now).unwrap();
    let line = json!({"type": "rate_limit_event", "timestamp": at.to_string(), "rate_limit_info": {
        "status": "allowed_warning", "resetsAt": now + 7200, "rateLimitType": name, "utilization": 0.8}});
    append(&place.log("r1", "s.jsonl"), format!("{line}\n"));
}

/// The ids under which each cause arrived.
#[derive(Default)]
struct Arrived(BTreeMap<String, BTreeSet<String>>);

impl Arrived {
    fn note(&mut self, hook: &Hook) {
        let window = hook.json()["data"]["bucket"].as_str().unwrap().to_owned();
        let ids = self.0.entry(window.clone()).or_default();
        ids.insert(hook.id().to_owned());
        assert_eq!(ids.len(), 1, "{window} has two ids: {ids:?}");
    }
}

#[test]
fn killed_before_it_connects_and_in_the_middle_of_its_request_it_is_sent_by_the_next() {
    if let Some(reason) = obstacle() {
        return skipped(&reason);
    }
    for (call, times) in [("connect", 1), ("sendto", 1), ("sendto", 2)] {
        let place = Place::new();
        let receiver = WebhookReceiver::start(&[OK]);
        let config = format!("{TARGET}url = {:?}\n", receiver.url("a"));
        std::fs::write(place.path("t.toml"), &config).unwrap();
        // Read at the start, as a backlog, so that the kill needs no further step.
        cause(&place, "w0");
        let mut command = place.command(&["serve"]);
        command.arg("--config").arg(place.path("t.toml"));
        let killed = Collector::spawn(killed_at(call, times, &command), place.socket());
        let (code, said) = killed.wait_for_end();
        assert_eq!(code, None, "{call} {times}: {said}");
        assert_eq!(receiver.further().len(), 0, "{call} {times}");
        let collector = serve(&place, &config);
        let hook = receiver.next();
        assert_eq!(hook.json()["data"]["bucket"], "w0");
        collector.stop_cleanly();
        assert_eq!(receiver.further().len(), 0, "{call} {times}: it arrives once");
    }
}

#[test]
fn killed_after_the_request_and_in_a_pause_it_comes_again_under_its_id() {
    for reaction in [Reaction::Hang, Reaction::Status(503, "")] {
        let place = Place::new();
        let receiver = WebhookReceiver::start(&[reaction, OK]);
        let config = format!("{TARGET}url = {:?}\n", receiver.url("a"));
        let mut collector = serve(&place, &config);
        cause(&place, "w0");
        let first = receiver.next();
        if matches!(reaction, Reaction::Status(..)) {
            collector.wait_for_log("a notification waits");
        }
        collector.kill();
        let mut collector = serve(&place, &config);
        assert_eq!(receiver.next().id(), first.id(), "{reaction:?}");
        collector.wait_for_log("a notification is sent");
        collector.stop_cleanly();
    }
}

#[test]
fn nobody_listens_until_after_the_kill() {
    let place = Place::new();
    // The address is taken, and refuses.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = format!("{TARGET}url = \"http://{address}/a\"\n");
    let mut collector = serve(&place, &config);
    for number in 0..CAUSES {
        cause(&place, &format!("w{number}"));
    }
    collector.wait_until("the outbox", |_| {
        place.json(&["notify", "list"])[0]["waiting"] == CAUSES
    });
    collector.kill();
    let receiver = WebhookReceiver::on(TcpListener::bind(address).unwrap(), &[OK]);
    let collector = serve(&place, &config);
    let windows: Vec<String> = (0..CAUSES)
        .map(|_| {
            receiver.next().json()["data"]["bucket"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_eq!(windows, ["w0", "w1", "w2", "w3"], "in the order of their causes");
    collector.stop_cleanly();
    assert_eq!(receiver.further().len(), 0);
}

#[test]
fn killed_at_any_moment_each_cause_arrives_under_one_id() {
    let kills = number_setting("TOKENTAIL_NOTIFY_KILLS").unwrap_or(KILLS);
    let mut random = Rng::with_seed(7);
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let config = format!("{TARGET}url = {:?}\n", receiver.url("a"));
    let mut arrived = Arrived::default();
    for round in 0..kills {
        let mut collector = serve(&place, &config);
        for number in 0..CAUSES {
            cause(&place, &format!("w{}", round * CAUSES + number));
        }
        // A notification is a few log lines: the commit, the request, the removal.
        for _ in 0..random.u64(0..3 * CAUSES) {
            collector.wait_for_next_log("any step");
        }
        collector.kill();
        for hook in receiver.further() {
            arrived.note(&hook);
        }
    }
    let collector = serve(&place, &config);
    while (arrived.0.len() as u64) < kills * CAUSES {
        arrived.note(&receiver.next());
    }
    collector.stop_cleanly();
    for hook in receiver.further() {
        arrived.note(&hook);
    }
    place.assert_verified();
}
