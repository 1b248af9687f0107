//! Faults of receivers, programs and secrets, as an operator sees them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{Place, text};
use crate::notify::{read_share, serve, target};
use crate::receiver::{Reaction, WebhookReceiver};

const OK: Reaction = Reaction::Status(200, "");
const THRESHOLDS: &str = "[[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\n";

fn write(path: &Path, content: &str, mode: u32) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn hook(place: &Place, content: &str) -> PathBuf {
    let path = place.path("hook");
    write(&path, &format!("#!/bin/sh\n{content}\n"), 0o700);
    path
}

fn fifo(place: &Place) -> PathBuf {
    let path = place.path("fifo");
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

fn listed(place: &Place) -> Value {
    place.json(&["notify", "list"])[0].clone()
}

#[test]
fn a_receiver_that_repeats_the_address_does_not_show_it() {
    for (reaction, meaning) in [
        (
            Reaction::Echo(404),
            "it answered 404: it has nothing at this address",
        ),
        (Reaction::Echo(500), "it answered 500: it has an error of its own"),
        (Reaction::Close, "no answer: "),
        (Reaction::CloseInHead, "no answer: "),
    ] {
        let place = Place::new();
        let receiver = WebhookReceiver::start(&[reaction]);
        let url = receiver.url("services/T0/B0/SECRET?key=SECRET");
        let mut collector = serve(
            &place,
            &format!("log.level = \"debug\"\n{THRESHOLDS}url = {url:?}\n"),
        );
        read_share(&place, 0.8, "allowed_warning", 4 * 3600);
        receiver.next();
        collector.wait_for_log(meaning);
        let tested = place.run(&["notify", "test", "a"]);
        assert_eq!(tested.status.code(), Some(1));
        let said = text(&tested.stdout) + &text(&tested.stderr);
        assert!(said.contains(meaning), "{said}");
        let error = listed(&place)["error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(meaning), "{error}");
        let shown = [
            said,
            text(&place.run(&["notify", "list"]).stdout),
            collector.get("/v1/notify").1.to_string(),
            collector.health().to_string(),
            collector.seen.join("\n"),
        ];
        assert!(shown.iter().all(|shown| !shown.contains("SECRET")), "{shown:?}");
        collector.stop_cleanly();
    }
}

#[test]
fn a_program_that_a_signal_ended_is_run_again_under_the_same_id() {
    let place = Place::new();
    let ids = place.path("ids");
    let hook = hook(
        &place,
        &format!(
            "echo $TOKENTAIL_ID >> {0}; case $(wc -l < {0}) in 1) kill -KILL $$;; 2) sh -c 'kill $$'; exit $?;; esac",
            ids.display()
        ),
    );
    let mut collector = serve(&place, &format!("{THRESHOLDS}exec = [{hook:?}]\n"));
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    collector.wait_for_log("a notification waits: it was ended by a signal");
    // A reload makes it due, and so does the next.
    collector.signal("HUP");
    collector.wait_for_log("it ended with 143: a command in it was ended by a signal");
    collector.signal("HUP");
    collector.wait_for_log("a notification is sent");
    let ids: Vec<String> = fs::read_to_string(ids)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    assert_eq!(ids, vec![ids[0].clone(); 3]);
    assert_eq!(listed(&place)["since_start"]["failed"], 0);
    collector.stop_cleanly();
}

#[test]
fn a_program_that_runs_at_a_clean_stop_is_ended_and_runs_again() {
    let place = Place::new();
    let fifo = fifo(&place);
    // By its code it refuses the event; but that is the end of the collector.
    let waits = format!(
        "trap 'exit 3' TERM; echo $TOKENTAIL_ID > {}; sleep 1000 & wait",
        fifo.display()
    );
    let config = format!(
        "{THRESHOLDS}timeout = \"20s\"\nexec = [{:?}]\n",
        hook(&place, &waits)
    );
    let collector = serve(&place, &config);
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    let first = fs::read_to_string(&fifo).unwrap();
    collector.stop_cleanly();
    hook(&place, &format!("echo $TOKENTAIL_ID > {}", fifo.display()));
    let mut collector = serve(&place, &config);
    assert_eq!(fs::read_to_string(&fifo).unwrap(), first);
    collector.wait_for_log("a notification is sent");
    collector.stop_cleanly();
}

#[test]
fn a_program_that_comes_back_gets_what_waits() {
    let place = Place::new();
    let program = place.path("hook");
    let mut collector = serve(&place, &format!("{THRESHOLDS}exec = [{program:?}]\n"));
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    collector.wait_for_log("a notification waits: cannot run");
    assert_eq!(listed(&place)["waiting"], 1);
    hook(&place, "exit 0");
    collector.signal("HUP");
    collector.wait_for_log("a notification is sent");
    collector.stop_cleanly();
}

#[test]
fn a_test_that_arrives_sends_what_waits() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[Reaction::Status(503, "Retry-After: 3600\r\n"), OK]);
    let mut collector = serve(&place, &format!("{THRESHOLDS}url = {:?}\n", receiver.url("a")));
    read_share(&place, 0.8, "allowed_warning", 4 * 3600);
    let first = receiver.next();
    collector.wait_for_log("tried again in 3600 s");
    assert!(place.run(&["notify", "test", "a"]).status.success());
    assert_eq!(receiver.next().json()["data"]["test"], true);
    assert_eq!(receiver.next().id(), first.id());
    collector.wait_for_log("a notification is sent");
    assert_eq!(listed(&place)["state"], "idle");
    collector.stop_cleanly();
}

#[test]
fn a_secret_that_does_not_sign_is_never_sent() {
    const RAW: &str = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let signing = format!("whsec_{RAW}");
    let cases = [
        (
            "secret_file",
            RAW.to_owned(),
            "not whsec_ and 24 to 64 bytes in base64",
        ),
        (
            "secret_file",
            format!("WHSEC_{RAW}"),
            "access token belongs into token_file",
        ),
        (
            "secret_file",
            format!("{signing}\n{RAW}"),
            "access token belongs into token_file",
        ),
        ("token_file", format!("{RAW}\n{RAW}"), "has more than one line"),
        ("token_file", signing.clone(), "belongs into secret_file"),
    ];
    for format in ["standard", "alertmanager", "ntfy"] {
        for (key, content, expected) in &cases {
            let place = Place::new();
            let receiver = WebhookReceiver::start(&[OK]);
            write(&place.path("secret"), content, 0o600);
            // Beside the configuration.
            let config = target(
                "a",
                &receiver.url("a"),
                &format!("format = {format:?}\n{key} = \"secret\""),
            );
            let mut collector = serve(&place, &config);
            let checked = place.run(&["check-config", "--config", place.path("t.toml").to_str().unwrap()]);
            let tested = place.run(&["notify", "test", "a"]);
            assert_eq!(tested.status.code(), Some(1));
            for output in [checked, tested] {
                let said = (text(&output.stdout) + &text(&output.stderr))
                    .split_whitespace()
                    .collect::<Vec<_>>()
                    .join(" ");
                assert!(said.contains(expected), "{format} {key}: {said}");
                assert!(!said.contains(RAW), "{said}");
            }
            read_share(&place, 0.8, "allowed_warning", 4 * 3600);
            collector.wait_for_log("a notification waits");
            collector.stop_cleanly();
            assert_eq!(receiver.further().len(), 0, "{format} {key}");
        }
    }
}

#[test]
fn a_token_is_a_header_beside_the_signature() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    write(&place.path("token"), "tk_abc\n", 0o600);
    write(
        &place.path("secret"),
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        0o600,
    );
    let keys = "format = \"ntfy\"\ntoken_file = \"token\"\nsecret_file = \"secret\"";
    let collector = serve(&place, &target("a", &receiver.url("a"), keys));
    assert!(place.run(&["notify", "test", "a"]).status.success());
    let got = receiver.next();
    assert_eq!(got.headers["authorization"], "Bearer tk_abc");
    assert!(
        got.headers["webhook-signature"].starts_with("v1,"),
        "{:?}",
        got.headers
    );
    collector.stop_cleanly();
}

#[test]
fn a_program_that_others_may_write_is_named() {
    let place = Place::new();
    let program = hook(&place, "exit 0");
    let config = place.path("t.toml");
    fs::write(&config, format!("{THRESHOLDS}exec = [{program:?}]\n")).unwrap();
    let check = || {
        let output = place.run(&["check-config", "--config", config.to_str().unwrap()]);
        let said = text(&output.stdout) + &text(&output.stderr);
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(!check().contains("every user may write"));
    fs::set_permissions(&program, fs::Permissions::from_mode(0o777)).unwrap();
    let said = check();
    assert!(said.contains("notify a: every user may write"), "{said}");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    // The directory decides which file has the name.
    fs::set_permissions(place.directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let said = check();
    assert!(said.contains("notify a: every user may write"), "{said}");
}

#[test]
fn an_event_says_when_in_words_that_stay_true() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let config = format!(
        "[[notify]]\nname = \"a\"\nevents = [\"account.*\"]\nurl = {:?}\n",
        receiver.url("a")
    );
    let collector = serve(&place, &config);
    read_share(&place, 0.6, "rejected", 3600);
    let blocked = receiver.next().json();
    let sentence = blocked["data"]["sentence"].as_str().unwrap();
    let until: jiff::Timestamp = blocked["data"]["reset_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        sentence,
        format!(
            "claude/default is blocked: five_hour was refused by the provider, free again at {}",
            until.strftime("%m-%d %H:%M UTC")
        )
    );
    read_share(&place, 0.01, "allowed", 5 * 3600);
    let free = receiver.next().json();
    assert_eq!(
        (&free["type"], &free["data"]["sentence"]),
        (
            &json!("account.available"),
            &json!("claude/default is free again: five_hour has 99 % left")
        )
    );
    collector.stop_cleanly();
}
