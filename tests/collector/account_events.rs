//! Changes without a line of their own: verdicts on accounts, and the collector's health.

use std::fs;

use serde_json::json;
use tokentail::clock::Clock;

use crate::harness::{Place, append, response, text};
use crate::quota_live::{now, refused, second};
use crate::stream::Client;

#[test]
fn a_mark_and_its_end_are_events_and_a_resumed_stream_has_them() {
    let place = Place::new();
    let collector = place.serve_open();
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
    // Other accounts cause no event.
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
fn an_account_that_is_used_up_is_an_event_and_free_again_when_its_window_ends() {
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
    // Nothing is written any more; only time passes.
    let event = client.find(|kind, _| kind == "account");
    assert_eq!(event["from"], "exhausted", "{event}");
    assert_ne!(event["state"], "exhausted", "{event}");
    collector.stop_cleanly();
}

#[test]
fn the_collectors_health_is_sent_at_first_and_when_it_changes() {
    let place = Place::new();
    let collector = place.serve();
    let (_, mut client) = Client::connect(&collector, "", "");
    let is_ok = |kind: &str, event: &serde_json::Value| kind == "health" && event["status"] == "ok";
    client.find(is_ok);
    fs::remove_dir(place.runs()).unwrap();
    let event = client.find(|kind, event| kind == "health" && event["status"] != "ok");
    assert_eq!(event["status"], "unhealthy", "{event}");
    assert!(
        event["reasons"][0].as_str().unwrap().contains("runs directory"),
        "{event}"
    );
    // A new subscriber gets the current state; one that filters it out does not.
    let (_, mut late) = Client::connect(&collector, "?kinds=health", "");
    let event = late.find(|kind, _| kind == "health");
    assert_eq!(event["status"], "unhealthy");
    fs::create_dir(place.runs()).unwrap();
    client.find(is_ok);
    late.find(is_ok);
    collector.stop_cleanly();
}

/// Most lines buffered for the test.
const LINES_WAITING_MAX: usize = 10_000;

/// The lines of `watch` in order.
struct Watching {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Watching {
    fn start(place: &Place, words: &[&str]) -> Self {
        let mut command = place.command(&[&["watch"], words].concat());
        let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
        let mut out = child.stdout.take().unwrap();
        let (sender, lines) = std::sync::mpsc::sync_channel(LINES_WAITING_MAX);
        let reader = std::thread::Builder::new().name("watch".to_owned());
        let reader = reader.spawn(move || {
            let (mut text, mut part) = (Vec::new(), [0; 4096]);
            while let Ok(count) = std::io::Read::read(&mut out, &mut part) {
                if count == 0 {
                    return;
                }
                text.extend_from_slice(&part[..count]);
                while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = text.drain(..=end).collect();
                    let _ = sender.send(String::from_utf8(line).unwrap());
                }
            }
        });
        let reader = Some(reader.unwrap());
        Self { child, lines, reader }
    }

    fn find(&self, wanted: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self
                .lines
                .recv_timeout(crate::harness::WAIT_MAX)
                .expect("another line");
            if wanted(&line) {
                return line;
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        while self.lines.try_recv().is_ok() {}
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[test]
fn watch_prints_the_events_and_goes_on_after_a_restart() {
    let place = Place::new();
    assert_eq!(place.run(&["watch"]).status.code(), Some(69));
    let log = place.log("r", "a.jsonl");
    append(&log, response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let refused = place.run(&["watch", "--kinds", "noise"]);
    assert_eq!(refused.status.code(), Some(64), "{}", text(&refused.stderr));
    let people = Watching::start(&place, &[]);
    let programs = Watching::start(&place, &["--json", "--run", "r", "--kinds", "usage"]);
    people.find(|line| line.contains("snapshot") && line.contains("1 run, 15 tokens"));
    programs.find(|line| line.contains(r#""event":"snapshot""#));
    append(&log, response("2", 6, 2));
    people.find(|line| {
        line.contains("r  +16 tokens (+10 input, +6 output, +0 cache)  claude-opus-5  total 31")
    });
    let line = programs.find(|_| true);
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&event["event"], &event["data"]["delta"]["total_tokens"]),
        (&json!("usage"), &json!(16)),
        "{line}"
    );
    assert_eq!(event["id"], event["data"]["sequence"].to_string());
    collector.kill();
    append(&log, response("3", 7, 3));
    let mut collector = place.serve();
    collector.wait_for_messages(3);
    let line = programs.find(|line| line.contains(r#""event":"gap""#));
    assert!(
        line.contains(r#""reason":"restarted""#) && line.contains(r#""output_tokens":18"#),
        "{line}"
    );
    append(&log, response("4", 8, 4));
    people.find(|line| line.contains("+8 output") && line.contains("total 66"));
    // Windows, thresholds, accounts and runs as the collector sends them.
    let reset = Clock::SYSTEM.timestamp() + jiff::SignedDuration::from_secs(7_200);
    let limits = json!({"five_hour": {"used_percentage": 78, "resets_at": reset.as_second()}});
    let body = json!({"statusline": {"rate_limits": limits}});
    assert_eq!(
        collector.request("POST", "/v1/observations", &body.to_string()).0,
        200
    );
    let resets = reset.strftime("resets %Y-%m-%d %H:%M:%S UTC").to_string();
    let window = people.find(|line| line.contains(" window "));
    assert!(
        window.contains("claude/default  five_hour  78.0 % used, ") && window.contains(&resets),
        "{window}"
    );
    let threshold = people.find(|line| line.contains(" threshold "));
    assert!(
        threshold.contains("five_hour  75 % reached: 78.0 % used, resets "),
        "{threshold}"
    );
    people.find(|line| line.contains(" account ") && line.contains("(was unknown): claude/default is free"));
    assert!(place.run(&["stop", "r"]).status.success());
    people
        .find(|line| line.contains(" run ") && line.contains("r  stopped (asked)  claude/default  total 66"));
    collector.stop_cleanly();
}

#[test]
fn watch_says_what_is_not_there_and_ends_when_nobody_reads() {
    let place = Place::new();
    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let unknown = place.run(&["watch", "--account", "nobody"]);
    let message = text(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(66), "{message}");
    assert!(
        message.contains("nobody is not a configured account; there is claude/default"),
        "{message}"
    );
    // One line is read; nothing happens after it.
    for words in [
        &["watch", "--run", "r", "--run", "later"][..],
        &["watch", "--json"],
    ] {
        let mut watching = place
            .command(words)
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = watching.stdout.take().unwrap();
        let mut byte = [0];
        while byte != *b"\n" {
            std::io::Read::read_exact(&mut out, &mut byte).unwrap();
        }
        drop(out);
        let ended = watching.wait_with_output().unwrap();
        let message = text(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{message}");
        assert_eq!(
            message.contains("no run later yet; waiting for it"),
            words.len() > 2,
            "{message}"
        );
        assert!(!message.contains("no run r yet"), "{message}");
    }
    collector.stop_cleanly();
    let mut collector = place.serve_open();
    collector.wait_for_messages(1);
    let mut may_come = place.command(&["watch", "--account", "later", "--account", "default"]);
    let mut may_come = may_come
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut message = String::new();
    let mut err = may_come.stderr.take().unwrap();
    while !message.ends_with('\n') {
        let mut byte = [0];
        std::io::Read::read_exact(&mut err, &mut byte).unwrap();
        message.push(char::from(byte[0]));
    }
    assert!(
        message.contains("no account later yet; waiting for it"),
        "{message}"
    );
    may_come.kill().unwrap();
    may_come.wait().unwrap();
    collector.stop_cleanly();
}
