//! Notifications through the program: each kind of receiver, scripted answers, and what an operator sees.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, HeaderName};
use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, text};
use crate::receiver::{Hook, Reaction, WebhookReceiver};
use crate::stream::Client;

pub const OK: Reaction = Reaction::Status(200, "");

pub fn now() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "a test's lines are of now")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// A collector with this configuration.
pub fn serve(place: &Place, config: &str) -> Collector {
    let path = place.path("t.toml");
    fs::write(&path, config).unwrap();
    let mut command = place.command(&["serve"]);
    command.arg("--config").arg(path);
    place.start(command)
}

/// A target for all events at this address.
pub fn target(name: &str, url: &str, more: &str) -> String {
    format!("[[notify]]\nname = {name:?}\nevents = [\"*\"]\nurl = {url:?}\n{more}\n")
}

/// Appends a reading of the five-hour window.
pub fn read_share(place: &Place, share: f64, status: &str, resets_in: i64) {
    let (at, resets_at) = (jiff::Timestamp::from_second(now()).unwrap(), now() + resets_in);
    let line = json!({"type": "rate_limit_event", "timestamp": at.to_string(), "rate_limit_info": {
        "status": status, "resetsAt": resets_at, "rateLimitType": "five_hour", "utilization": share}});
    append(&place.log("r1", "s.jsonl"), format!("{line}\n"));
}

/// The targets as listed.
pub fn list(place: &Place) -> Vec<Value> {
    place.json(&["notify", "list"]).as_array().unwrap().clone()
}

pub fn script(place: &Place, name: &str, text: &str) -> PathBuf {
    let path = place.path(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path
}

#[test]
fn a_threshold_reaches_every_kind_of_receiver_and_is_signed() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let hook = script(
        &place,
        "hook",
        &format!(
            "exec > {0}; cat; echo \"$TOKENTAIL_EVENT $TOKENTAIL_ID $#:$1:$2\"; mv {0} {0}.done",
            place.path("out").display()
        ),
    );
    let secret = place.path("secret");
    let (new, old) = (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
    );
    fs::write(&secret, format!("{new}\n{old}\n")).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let config = [
        target("signed", &receiver.url("signed"), &format!("secret_file = {secret:?}")),
        target("ntfy", &receiver.url("topic?auth=x"), "format = \"ntfy\""),
        target("slack", &receiver.url("slack"), "format = \"slack\""),
        target("am", &receiver.url("am"), "format = \"alertmanager\""),
        format!("[[notify]]\nname = \"script\"\nevents = [\"window.threshold\"]\nexec = [{hook:?}, \"a b\", \"it's\"]\n"),
    ]
    .concat();
    let mut collector = serve(&place, &config);
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    let mut by_path = std::collections::BTreeMap::new();
    while by_path.len() < 4 {
        let hook = receiver.next();
        if hook.body.contains("80 % used") {
            by_path.insert(hook.path.clone(), hook);
        }
    }
    let signed = &by_path["/signed"];
    let body = signed.json();
    assert_eq!(
        (signed.event().as_str(), &body["data"]["threshold"]),
        ("window.threshold", &json!(75))
    );
    // Either secret verifies it while they are replaced.
    let headers: HeaderMap = (signed.headers.iter())
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, value.parse().unwrap())
        })
        .collect();
    for secret in [new, old] {
        let official = standardwebhooks::Webhook::new(secret).unwrap();
        official.verify(signed.body.as_bytes(), &headers).unwrap();
    }
    let ids: std::collections::BTreeSet<&str> = by_path.values().map(Hook::id).collect();
    assert_eq!(ids.len(), 1, "one cause has one id: {ids:?}");
    // The message of ntfy goes to the server, with the topic in it.
    let message = by_path["/?auth=x"].json();
    assert_eq!(
        (&message["topic"], &message["priority"]),
        (&json!("topic"), &json!(3))
    );
    let sentence = message["message"].as_str().unwrap();
    assert!(
        sentence.starts_with("claude/default: five_hour is 80 % used"),
        "{message}"
    );
    assert!(
        by_path["/slack"].json()["text"]
            .as_str()
            .unwrap()
            .contains("80 % used")
    );
    assert_eq!(
        by_path["/am"].json()["alerts"][0]["labels"]["alertname"],
        "window.threshold"
    );
    collector.wait_for_log("a notification is sent\",\"target\":\"script\"");
    let out = fs::read_to_string(place.path("out.done")).unwrap();
    let (document, words) = out.split_once('\n').unwrap();
    assert_eq!(serde_json::from_str::<Value>(document).unwrap(), body);
    assert_eq!(
        words.trim_end(),
        format!("window.threshold {} 2:a b:it's", signed.id())
    );
    for secret in [new, old] {
        assert!(collector.seen.iter().all(|line| !line.contains(&secret[6..])));
        let (_, settings) = collector.get("/v1/settings");
        assert!(!settings.to_string().contains(&secret[6..]));
    }
    collector.stop_cleanly();
}

#[test]
fn a_refusal_a_new_window_and_the_end_of_the_block_arrive_in_order() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let config =
        "[[notify]]\nname = \"a\"\nevents = [\"window.exhausted\", \"window.reset\", \"account.*\"]\n";
    let collector = serve(&place, &format!("{config}url = {:?}\n", receiver.url("a")));
    read_share(&place, 0.6, "rejected", 3600);
    assert_eq!(receiver.next().event(), "window.exhausted");
    let exhausted = receiver.next();
    assert_eq!(exhausted.event(), "account.exhausted");
    assert_eq!(exhausted.json()["data"]["reason"], "window_exhausted");
    read_share(&place, 0.01, "allowed", 5 * 3600);
    let mut events = vec![receiver.next().event(), receiver.next().event()];
    events.sort();
    assert_eq!(events, ["account.available", "window.reset"]);
    collector.stop_cleanly();
    assert_eq!(receiver.further().len(), 0);
}

#[test]
fn trouble_is_said_and_its_end_also_while_nothing_can_be_committed() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let url = receiver.url("a");
    let mut collector = serve(
        &place,
        &format!("[[notify]]\nname = \"a\"\nevents = [\"health.*\"]\nurl = {url:?}\n"),
    );
    // A runs directory that is gone: the database takes the event.
    fs::rename(place.runs(), place.path("away")).unwrap();
    let blind = receiver.next();
    assert_eq!(blind.event(), "health.degraded");
    assert!(blind.json()["data"].get("sequence").is_some(), "{}", blind.body);
    fs::rename(place.path("away"), place.runs()).unwrap();
    assert_eq!(receiver.next().event(), "health.ok");
    // A database that is gone: it is said from memory.
    fs::rename(place.db(), place.path("db-away")).unwrap();
    fs::create_dir(place.db()).unwrap();
    read_share(&place, 0.1, "allowed", 3600);
    let stuck = receiver.next();
    assert_eq!(stuck.event(), "health.degraded");
    assert!(stuck.json()["data"].get("sequence").is_none(), "{}", stuck.body);
    assert_ne!(stuck.id(), blind.id());
    fs::remove_dir(place.db()).unwrap();
    fs::rename(place.path("db-away"), place.db()).unwrap();
    // Once more under the same id at most, and then the end.
    let well = receiver.next();
    assert_eq!(well.event(), "health.ok", "{}", well.body);
    collector.wait_for_log("the database takes commits again");
    collector.stop_cleanly();
    assert_eq!(receiver.further().len(), 0);
}

#[test]
fn answers_decide_what_is_tried_again_under_the_same_id() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[
        Reaction::Status(500, ""),
        Reaction::Status(429, "Retry-After: 1\r\n"),
        OK,
    ]);
    let mut collector = serve(&place, &target("a", &receiver.url("a"), ""));
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    let tries = [receiver.next(), receiver.next(), receiver.next()];
    for hook in &tries {
        assert_eq!(hook.id(), tries[0].id());
        assert_eq!(hook.body, tries[0].body);
    }
    collector.wait_for_log("a notification is sent");
    let listed = &list(&place)[0];
    assert_eq!(listed["since_start"]["retried"], 2, "{listed}");
    assert!(
        collector
            .seen
            .iter()
            .any(|line| line.contains("tried again in 1 s"))
    );
    collector.stop_cleanly();
}

#[test]
fn a_receiver_that_refuses_gets_the_next_event_and_the_operator_hears_of_it() {
    for (status, said) in [
        (302, "a redirect"),
        (410, "takes no events any more"),
        (404, "404"),
    ] {
        let place = Place::new();
        let receiver = WebhookReceiver::start(&[
            Reaction::Status(status, "Location: http://127.0.0.1:1/elsewhere\r\n"),
            OK,
        ]);
        let events = "[[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\n";
        let mut collector = serve(&place, &format!("{events}url = {:?}\n", receiver.url("a")));
        read_share(&place, 0.8, "allowed_warning", 4 * 3600);
        let first = receiver.next();
        collector.wait_for_log("a notification is given up");
        let listed = &list(&place)[0];
        assert_eq!(
            (&listed["state"], &listed["waiting"]),
            (&json!("failing"), &json!(0)),
            "{listed}"
        );
        assert!(listed["error"].as_str().unwrap().contains(said), "{listed}");
        let notices = collector.health()["notices"].to_string();
        assert!(notices.contains("notifications do not reach a: "), "{notices}");
        let status = text(&place.run(&["status"]).stdout);
        assert!(status.contains("notifications do not reach a"), "{status}");
        read_share(&place, 0.95, "allowed_warning", 4 * 3600);
        assert_ne!(receiver.next().id(), first.id());
        collector.wait_for_log("notifications reach it again");
        assert_eq!(list(&place)[0]["state"], "idle");
        collector.stop_cleanly();
    }
}

#[test]
fn what_breaks_off_is_tried_again_unless_it_was_taken() {
    for (reaction, tries) in [
        (Reaction::Close, 2),
        (Reaction::CloseInHead, 2),
        (Reaction::Hang, 2),
        // The status was there.
        (Reaction::CloseInBody, 1),
        (Reaction::Giant, 1),
    ] {
        let place = Place::new();
        let receiver = WebhookReceiver::start(&[reaction, OK]);
        let events = "[[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\ntimeout = \"500ms\"\n";
        let mut collector = serve(&place, &format!("{events}url = {:?}\n", receiver.url("a")));
        read_share(&place, 0.8, "allowed_warning", 4 * 3600);
        let first = receiver.next();
        for _ in 1..tries {
            assert_eq!(receiver.next().id(), first.id(), "{reaction:?}");
        }
        collector.wait_for_log("a notification is sent");
        collector.stop_cleanly();
        assert_eq!(receiver.further().len(), 0, "{reaction:?}");
    }
}

#[test]
fn a_receiver_that_hangs_stops_neither_others_nor_the_end() {
    let place = Place::new();
    let (hanging, quick) = (
        WebhookReceiver::start(&[Reaction::Hang]),
        WebhookReceiver::start(&[OK]),
    );
    let config =
        target("hanging", &hanging.url("a"), "timeout = \"20s\"") + &target("quick", &quick.url("b"), "");
    let collector = serve(&place, &config);
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    hanging.next();
    assert_eq!(quick.next().event(), "window.threshold");
    // Its thread still waits; the end does not.
    collector.stop_cleanly();
}

#[test]
fn rows_of_a_removed_target_and_old_ones_are_dropped_and_said() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[Reaction::Status(503, "")]);
    let both = target("gone", &receiver.url("gone"), "") + &target("stays", &receiver.url("stays"), "");
    let mut collector = serve(&place, &both);
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    receiver.next();
    collector.wait_for_log("a notification waits");
    fs::write(place.path("t.toml"), target("stays", &receiver.url("stays"), "")).unwrap();
    collector.signal("HUP");
    collector.wait_for_log("waiting events are dropped: the configuration has no such target any more");
    let names: Vec<Value> = list(&place).iter().map(|listed| listed["name"].clone()).collect();
    assert_eq!(names, ["stays"]);
    collector.stop_cleanly();
}

#[test]
fn a_backlog_of_old_lines_pages_nobody() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let mut lines = String::new();
    for day in 1..28 {
        for share in [0.8, 0.95] {
            let resets = format!("2026-02-{day:02}T17:00:00Z")
                .parse::<jiff::Timestamp>()
                .unwrap();
            let line = json!({"type": "rate_limit_event", "timestamp": format!("2026-02-{day:02}T13:00:00Z"),
                "rate_limit_info": {"status": "allowed_warning", "resetsAt": resets.as_second(),
                    "rateLimitType": "five_hour", "utilization": share}});
            lines.push_str(&line.to_string());
            lines.push('\n');
        }
    }
    append(&place.log("r1", "s.jsonl"), &lines);
    let events = "[[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\n";
    let mut collector = serve(&place, &format!("{events}url = {:?}\n", receiver.url("a")));
    collector.wait_for_log("events are older than the target's max_age and are not sent");
    let said = collector
        .seen
        .iter()
        .filter(|line| line.contains("older than the target's max_age"));
    assert_eq!(said.count(), 1);
    let listed = &list(&place)[0];
    assert!(
        listed["since_start"]["dropped"].as_u64().unwrap() >= 50,
        "{listed}"
    );
    // The next event is the first that is sent.
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    assert_eq!(receiver.next().json()["data"]["threshold"], 75);
    collector.stop_cleanly();
}

#[test]
fn a_test_is_marked_and_says_what_is_wrong() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK, Reaction::Status(500, "")]);
    let config = target("a", &receiver.url("a"), "")
        + "[[notify]]\nname = \"s\"\nevents = [\"*\"]\nexec = [\"/no/such/program\"]\n";
    let collector = serve(&place, &config);
    let output = place.run(&["notify", "test", "a", "--event", "account.exhausted"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let hook = receiver.next();
    assert_eq!(
        (hook.event().as_str(), &hook.json()["data"]["test"]),
        ("account.exhausted", &json!(true))
    );
    for (words, code, said) in [
        (
            &["notify", "test", "a"][..],
            1,
            "a did not take a test of window.threshold: it answered 500: it has an error of its own",
        ),
        (
            &["notify", "test", "s"],
            1,
            "cannot run \"/no/such/program\": No such file or directory",
        ),
        (&["notify", "test", "b"], 66, "\"b\" is no target; there are a, s"),
        (
            &["notify", "test", "a", "--event", "acount.exhausted"],
            64,
            "did you mean `account.exhausted`?",
        ),
    ] {
        let output = place.run(words);
        let printed = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{words:?}: {printed}");
        assert!(printed.contains(said), "{words:?}: {printed}");
    }
    // Nothing of a test is left.
    assert_eq!(list(&place)[0]["waiting"], 0);
    collector.stop_cleanly();
}

#[test]
fn events_of_notifications_are_in_the_stream() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let events = "[[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\n";
    let collector = serve(&place, &format!("{events}url = {:?}\n", receiver.url("a")));
    let (status, mut client) = Client::connect(&collector, "?kinds=notify", "");
    assert_eq!(status, 200);
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    receiver.next();
    for phase in ["waiting", "sent"] {
        let event = client.find(|kind, _| kind == "notify");
        assert_eq!((&event["target"], &event["phase"]), (&json!("a"), &json!(phase)));
        assert_eq!(event["event"], "window.threshold");
    }
    collector.stop_cleanly();
}
