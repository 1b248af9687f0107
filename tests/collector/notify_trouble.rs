//! Notifications in trouble, through the program: too many events, a clock that is set, restarts, and a database that
//! is copied, forgotten in and pruned while events wait.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, text};
use crate::machine::{skipped, wrapped};
use crate::notify::{OK, list, now, read_share, serve};
use crate::receiver::{Reaction, WebhookReceiver};

/// Accounts, windows of each, and events of each window: more than wait for one target.
const ACCOUNTS: usize = 10;
const WINDOWS: usize = 60;
const EVENTS: usize = 2 * ACCOUNTS * WINDOWS;
const TARGET: &str = "[[notify]]\nname = \"a\"\nevents = [\"window.threshold\", \"window.exhausted\"]\n";

/// A target of thresholds alone.
fn thresholds(url: &str) -> String {
    format!("[[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\nurl = {url:?}\n")
}

#[test]
fn of_more_events_than_may_wait_each_arrives_or_is_counted_in_one_event() {
    let place = Place::new();
    // Nobody listens there yet.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let accounts = (0..ACCOUNTS).map(|account| {
        format!("[[account]]\nname = \"a{account}\"\nruns = [\"r{account}\"]\nthresholds = [75]\n")
    });
    let accounts: Vec<String> = accounts.collect();
    let config = format!("{TARGET}url = \"http://{address}/a\"\n{}", accounts.concat());
    let at = jiff::Timestamp::from_second(now()).unwrap();
    let lines = (0..WINDOWS).map(|window| {
        let line = json!({"type": "rate_limit_event", "timestamp": at.to_string(), "rate_limit_info": {
            "status": "rejected", "resetsAt": now() + 7200, "rateLimitType": format!("w{window}"),
            "utilization": 1.0}});
        line.to_string() + "\n"
    });
    let lines: Vec<String> = lines.collect();
    for account in 0..ACCOUNTS {
        append(&place.log(&format!("r{account}"), "s.jsonl"), lines.concat());
    }
    let mut collector = serve(&place, &config);
    collector.wait_until("a full outbox", |_| list(&place)[0]["waiting"] == 1001);
    let dropped = list(&place)[0]["since_start"]["dropped"].as_u64().unwrap();
    assert_eq!(dropped, (EVENTS - 1000) as u64);
    let metrics = collector.exchange("GET", "/metrics", "", "").2;
    assert!(
        metrics.contains("tokentail_notifications_waiting{target=\"a\"} 1001"),
        "{metrics}"
    );
    let receiver = WebhookReceiver::on(TcpListener::bind(address).unwrap(), &[OK]);
    // A target whose settings changed is tried at once.
    fs::write(
        place.path("t.toml"),
        config.replace(
            "[\"window.threshold\", ",
            "[\"window.reset\", \"window.threshold\", ",
        ),
    )
    .unwrap();
    collector.signal("HUP");
    let (mut ids, mut lost) = (BTreeSet::new(), 0);
    for _ in 0..1001 {
        let hook = receiver.next();
        let body = hook.json();
        if body["type"] == "notify.dropped" {
            lost += body["data"]["count"].as_u64().unwrap();
        } else {
            ids.insert(hook.id().to_owned());
        }
    }
    assert_eq!((ids.len(), lost), (1000, dropped));
    collector.stop_cleanly();
    assert_eq!(receiver.further().len(), 0);
}

#[test]
fn a_clock_that_is_set_forward_makes_waiting_events_old_and_one_set_back_does_not() {
    // The wrapper would receive the signals instead of the program: only its library is loaded.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "printf %s \"$LD_PRELOAD\""]);
    let mut faketime = Command::new("faketime");
    faketime.args(["-m", "-f", "+0d"]);
    let library = match wrapped(faketime, &shell).output() {
        Ok(output) if output.status.success() => text(&output.stdout),
        other => return skipped(&format!("faketime: {other:?}")),
    };
    for (shift, arrives) in [("+2h", "notify.dropped"), ("-2h", "window.threshold")] {
        let place = Place::new();
        let receiver = WebhookReceiver::start(&[Reaction::Status(429, "Retry-After: 3\r\n"), OK]);
        fs::write(place.path("t.toml"), thresholds(&receiver.url("a"))).unwrap();
        fs::write(place.path("clock"), "+0s").unwrap();
        let mut command = place.command(&["serve"]);
        command.arg("--config").arg(place.path("t.toml"));
        // Waits use the other clock.
        command.envs([
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_NO_CACHE", "1"),
        ]);
        command.env("FAKETIME_TIMESTAMP_FILE", place.path("clock"));
        let mut collector = Collector::start(command, place.socket());
        read_share(&place, 0.8, "allowed_warning", 4 * 3600);
        let first = receiver.next();
        collector.wait_for_log("a notification waits");
        fs::write(place.path("clock"), shift).unwrap();
        let second = receiver.next();
        assert_eq!(second.event(), arrives, "{shift}");
        let sent_at: i64 = second.headers["webhook-timestamp"].parse().unwrap();
        assert!((sent_at - now()).abs() > 3600, "the clock is set: {sent_at}");
        if arrives == "notify.dropped" {
            assert_eq!(second.json()["data"]["count"], 1);
        } else {
            assert_eq!(second.id(), first.id());
        }
        collector.stop_cleanly();
        assert_eq!(receiver.further().len(), 0, "{shift}");
    }
}

#[test]
fn since_when_a_target_fails_is_known_after_a_restart_until_something_reaches_it() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK, Reaction::Status(410, ""), OK]);
    let config = thresholds(&receiver.url("a"));
    let mut collector = serve(&place, &config);
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    receiver.next();
    collector.wait_for_log("a notification is sent");
    read_share(&place, 0.95, "allowed_warning", 4 * 3600);
    receiver.next();
    collector.wait_for_log("a notification is given up");
    let before = list(&place)[0].clone();
    assert_eq!(before["state"], "failing");
    collector.stop_cleanly();
    let collector = serve(&place, &config);
    let after = list(&place)[0].clone();
    assert_eq!(
        (&after["state"], &after["error"]),
        (&json!("failing"), &Value::Null)
    );
    for key in ["failing_since", "last_sent_at"] {
        assert!(after[key].is_string(), "{after}");
        assert_eq!(
            after[key].as_str().unwrap()[..19],
            before[key].as_str().unwrap()[..19],
            "{key}"
        );
    }
    let shown = text(&place.run(&["notify", "list"]).stdout);
    for words in [
        "a: failing since 2",
        "; the log before this start has the reason",
        "`tokentail notify test a`",
        "since the start of the collector",
    ] {
        assert!(shown.replace('\n', " ").contains(words), "{shown}");
    }
    assert!(place.run(&["notify", "test", "a"]).status.success());
    collector.stop_cleanly();
    let collector = serve(&place, &config);
    let listed = list(&place)[0].clone();
    assert_eq!(
        (&listed["state"], &listed["failing_since"]),
        (&json!("idle"), &Value::Null)
    );
    collector.stop_cleanly();
}

#[test]
fn waiting_events_outlive_a_copy_a_forgotten_run_a_prune_and_a_compaction() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[Reaction::Status(503, "")]);
    let mut collector = serve(&place, &thresholds(&receiver.url("a")));
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    let first = receiver.next();
    collector.wait_for_log("a notification waits");
    for words in [
        &["backup", "copy.redb"][..],
        &["stop", "r1"],
        &["forget", "r1"],
        &["prune", "1h"],
    ] {
        let output = place.run(words);
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    }
    assert_eq!(list(&place)[0]["waiting"], 1);
    collector.stop_cleanly();
    let output = place.run(&["compact"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let good = WebhookReceiver::start(&[OK]);
    for database in ["its own", "the copy"] {
        if database == "the copy" {
            fs::remove_file(place.db()).unwrap();
            fs::rename(place.path("copy.redb"), place.db()).unwrap();
        }
        let mut collector = serve(&place, &thresholds(&good.url("a")));
        let hook = good.next();
        assert_eq!(
            (hook.id(), hook.event().as_str()),
            (first.id(), "window.threshold"),
            "{database}"
        );
        collector.wait_for_log("a notification is sent");
        collector.stop_cleanly();
    }
    assert_eq!(good.further().len(), 0);
}
