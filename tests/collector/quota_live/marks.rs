//! Marks by an operator, and the exit codes of may-start.

use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, sync_channel};

use super::{HOUR, ONE_ACCOUNT, account, now, second, share_line, time};
use crate::harness::{Collector, Place, WAIT_MAX, text};
use crate::scenario::EVENTS_ONLY;

/// Most answers passed on to a waiting client.
const ANSWERS_MAX: usize = 1 << 10;
const TAKEN_OVER: &str = "the configuration is in effect";
const TWO_ACCOUNTS: &str =
    "[[account]]\nname = \"max-1\"\nruns = [\"a-*\"]\n\n[[account]]\nname = \"max-2\"\nruns = [\"b-*\"]\n";

fn code(place: &Place, words: &[&str]) -> i32 {
    place.ask(words).0.unwrap()
}

/// A collector with much room in its windows.
fn with_room(place: &Place, settings: &str) -> Collector {
    let mut collector = place.live_with(settings);
    for run in ["a-1", "b-1"] {
        collector.commit_line(
            place,
            run,
            &share_line(now(), "five_hour", 0.2, second(now() + HOUR)),
        );
    }
    collector
}

#[test]
fn a_mark_is_sent_to_everyone_and_survives_stops_and_kills_until_it_is_taken_back() {
    let place = Place::new();
    let mut collector = with_room(&place, TWO_ACCOUNTS);
    let until = time(second(now() + 2 * HOUR));
    let marked = place.document(
        0,
        &[
            "quota",
            "mark",
            "max-1",
            "exhausted",
            "--until",
            &until,
            "--reason",
            "shared with the demo",
        ],
    );
    for ends in 0..3 {
        let quota = collector.get("/v1/quota").1;
        if ends == 0 {
            assert_eq!(account(&marked, "max-1"), account(&quota, "max-1"));
        }
        let row = account(&quota, "max-1");
        assert_eq!(
            (&row["state"], &row["until"]),
            (&"exhausted".into(), &until.as_str().into())
        );
        assert_eq!(row["causes"].as_array().unwrap().len(), 1, "{row}");
        let cause = &row["causes"][0];
        assert_eq!(
            (&cause["kind"], &cause["reason"], &cause["source"]),
            (
                &"manual".into(),
                &"shared with the demo".into(),
                &"operator".into()
            )
        );
        assert_eq!(account(&quota, "max-2")["state"], "available");
        let answer = place.document(0, &["may-start"]);
        assert_eq!(
            (&answer["chosen"]["account"], &answer["reason"]),
            (&"max-2".into(), &"overflow".into())
        );
        let answer = place.document(1, &["may-start", "--account", "max-1"]);
        assert_eq!(
            (&answer["decision"], &answer["retry_at"]),
            (&"wait".into(), &until.as_str().into())
        );
        let (_, human, _) = place.ask(&["quota"]);
        assert!(human.contains("claude/max-1 exhausted"), "{human}");
        assert!(human.contains("shared with the demo (manual), until "), "{human}");
        match ends {
            0 => collector.kill(),
            _ => collector.stop_cleanly(),
        }
        // Without a collector the database gives the same answer.
        let stored = place.document(0, &["quota"]);
        assert_eq!(account(&stored, "max-1")["causes"], row["causes"]);
        assert_eq!(code(&place, &["quota", "mark", "max-1", "available"]), 69);
        collector = place.resume();
    }
    let (exit, human, _) = place.ask(&["quota", "mark", "claude/max-1", "available"]);
    assert_eq!(exit, Some(0));
    assert!(
        human.starts_with(
            "claude/max-1: the mark is removed, and what was noted of a recovery\nnow: claude/max-1 is "
        ),
        "{human}"
    );
    collector.kill();
    let collector = place.resume();
    let quota = collector.get("/v1/quota").1;
    assert_eq!(account(&quota, "max-1")["state"], "available", "{quota}");
    collector.stop_cleanly();
}

#[test]
fn a_mark_without_an_end_denies_and_a_mark_over_a_mark_takes_its_place() {
    let place = Place::new();
    let collector = with_room(&place, ONE_ACCOUNT);
    place.document(0, &["quota", "mark", "max-1", "exhausted"]);
    let answer = place.document(1, &["may-start"]);
    assert_eq!(
        (&answer["decision"], &answer["retry_at"]),
        (&"deny".into(), &().into())
    );
    let quota = place.document(0, &["quota"]);
    assert_eq!(account(&quota, "max-1")["until"], serde_json::Value::Null);
    // Nothing to wait for.
    assert_eq!(code(&place, &["may-start", "--wait"]), 1);
    let (_, human, _) = place.ask(&["quota"]);
    assert!(
        human.contains("marked by an operator (manual), until taken back"),
        "{human}"
    );
    place.document(0, &["quota", "mark", "claude", "exhausted", "--until", "2h"]);
    assert_eq!(place.document(1, &["may-start"])["decision"], "wait");
    place.document(0, &["quota", "mark", "max-1", "available"]);
    assert_eq!(code(&place, &["may-start"]), 0);
    // A mark removed twice is removed.
    place.document(0, &["quota", "mark", "max-1", "available"]);
    collector.stop_cleanly();
}

#[test]
fn a_mark_that_makes_no_sense_is_refused_and_changes_nothing() {
    let place = Place::new();
    let collector = with_room(&place, TWO_ACCOUNTS);
    let before = collector.get("/v1/quota").1;
    let long = "r".repeat(257);
    let longest = "r".repeat(256);
    for (wanted, words, said) in [
        (
            66,
            &["max-3", "exhausted"][..],
            "max-3 is not a configured account; did you mean claude/max-1?",
        ),
        (
            66,
            &["codex/max-1", "exhausted"],
            "codex/max-1 is not a configured account",
        ),
        (
            64,
            &["claude", "exhausted"],
            "claude may be any of claude/max-1, claude/max-2; name one of them",
        ),
        (
            64,
            &["claude/max-1/five_hour", "exhausted"],
            "a mark is for a whole account, not for one of its windows; write claude/max-1",
        ),
        (64, &["max-1", "tired"], "tired"),
        (
            64,
            &["max-1", "exhausted", "--until", "2020-01-01T00:00:00Z"],
            "until: that time has passed",
        ),
        (64, &["max-1", "exhausted", "--until", "tomorrow"], "tomorrow"),
        (
            64,
            &["max-1", "exhausted", "--until", "2030-01-01T00:00:00"],
            "with an offset",
        ),
        (
            64,
            &["max-1", "exhausted", "--reason", &long],
            "at most 256 bytes",
        ),
        (
            64,
            &["max-1", "exhausted", "--reason", "two\nlines"],
            "on one line",
        ),
        (
            64,
            &["max-1", "available", "--until", "2h"],
            "takes neither until nor reason",
        ),
        (
            64,
            &["max-1", "available", "--reason", "rested"],
            "takes neither until nor reason",
        ),
        (64, &["max-1"], "STATE"),
    ] {
        let (code, stdout, stderr) = place.ask(&[&["quota", "mark"][..], words].concat());
        assert_eq!((code, stdout.as_str()), (Some(wanted), ""), "{words:?}: {stderr}");
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    }
    let after = collector.get("/v1/quota").1;
    for part in ["limit_events", "thresholds_fired"] {
        assert_eq!(before[part], after[part]);
    }
    for name in ["max-1", "max-2"] {
        assert_eq!(account(&after, name)["causes"], serde_json::json!([]), "{after}");
    }
    assert_eq!(
        code(
            &place,
            &["quota", "mark", "max-1", "exhausted", "--reason", &longest]
        ),
        0
    );
    collector.stop_cleanly();
}

#[test]
fn may_start_exits_with_its_answer() {
    let place = Place::new();
    let with = |rule: &str| format!("{EVENTS_ONLY}{ONE_ACCOUNT}{rule}\n");
    let mut collector = place.live_with(&with(""));
    // Nothing is known: reported, allowed or waited for, as configured.
    let answer = place.document(2, &["may-start"]);
    assert_eq!(
        (&answer["decision"], &answer["chosen"]),
        (&"unknown".into(), &().into())
    );
    // Who waits, waits for an answer, and learns at the end why there is none.
    let answer = place.document(2, &["may-start", "--wait=200ms"]);
    assert_eq!(answer["reason"], "no_observation");
    let (code, _, stderr) = place.ask(&["may-start", "--wait=200ms"]);
    assert_eq!(code, Some(2), "{stderr}");
    let said = "may-start waits: whether a run may start is unknown\n    claude/max-1 has never been seen";
    assert!(stderr.contains(said), "{stderr}");
    for (times, (rule, wanted, waited, reason)) in [
        ("allow", 0, 0, "unknown_as_allow"),
        ("wait", 1, 75, "unknown_as_wait"),
        ("say", 2, 2, "no_observation"),
    ]
    .into_iter()
    .enumerate()
    {
        place.configure(&with(&format!("on_unknown = \"{rule}\"")));
        collector.signal("HUP");
        collector.wait_for_logs(TAKEN_OVER, times + 1);
        assert_eq!(place.document(wanted, &["may-start"])["reason"], reason, "{rule}");
        assert_eq!(
            place.document(waited, &["may-start", "--wait=200ms"])["reason"],
            reason,
            "{rule}"
        );
    }
    collector.commit_line(
        &place,
        "one",
        &share_line(now(), "five_hour", 0.2, second(now() + HOUR)),
    );
    let answer = place.document(0, &["may-start", "--model", "claude-opus-5"]);
    assert_eq!(
        (&answer["chosen"]["account"], &answer["chosen"]["model"]),
        (&"max-1".into(), &"claude-opus-5".into())
    );
    let (code, human, _) = place.ask(&["may-start"]);
    assert_eq!(code, Some(0));
    assert!(human.starts_with("may start: allow, "), "{human}");
    // Full: waited for until its reset, at most for the given time.
    let reset = second(now() + HOUR);
    collector.commit_line(&place, "one", &share_line(now(), "five_hour", 1.0, reset));
    let answer = place.document(1, &["may-start"]);
    assert_eq!(
        (&answer["decision"], &answer["reason"]),
        (&"wait".into(), &"window_exhausted".into())
    );
    assert_eq!(
        place.document(75, &["may-start", "--wait=200ms"])["decision"],
        "wait"
    );
    let (code, _, stderr) = place.ask(&["may-start", "--account", "max-9"]);
    assert_eq!(code, Some(66));
    assert!(stderr.contains("max-9 is not a configured account"), "{stderr}");
    let (code, _, stderr) = place.ask(&["may-start", "--wait=soon"]);
    assert_eq!(code, Some(64), "{stderr}");
    collector.stop_cleanly();
    for words in [&["may-start"][..], &["may-start", "--wait=200ms"]] {
        let (code, stdout, stderr) = place.ask(words);
        assert_eq!((code, stdout.as_str()), (Some(69), ""), "{stderr}");
        assert!(stderr.contains("no collector answers on"), "{stderr}");
    }
    // The database alone still has the last share.
    let (code, human, _) = place.ask(&["quota"]);
    assert_eq!(code, Some(0));
    assert!(
        human.contains("no collector is running") && human.contains("100.0 %, EXHAUSTED"),
        "{human}"
    );
}

/// Passes on requests at a socket of its own, and reports each answer.
fn relay(place: &Place) -> (std::path::PathBuf, Receiver<()>) {
    let (here, there) = (place.path("relay.sock"), place.socket());
    let listener = UnixListener::bind(&here).unwrap();
    let (sender, answers) = sync_channel(ANSWERS_MAX);
    std::thread::Builder::new()
        .name("relay".to_owned())
        .spawn(move || {
            // Requests are sequential, each on a connection of its own.
            for stream in listener.incoming() {
                let mut asker = stream.unwrap();
                let mut collector = UnixStream::connect(&there).unwrap();
                let (mut from, mut to) = (asker.try_clone().unwrap(), collector.try_clone().unwrap());
                let asking = std::thread::Builder::new().name("asking".to_owned());
                let asking = asking.spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
                let _ = std::io::copy(&mut collector, &mut asker);
                let _ = asker.shutdown(std::net::Shutdown::Both);
                asking.unwrap().join().unwrap();
                if sender.send(()).is_err() {
                    return;
                }
            }
        })
        .unwrap();
    (here, answers)
}

#[test]
fn a_waiting_command_goes_on_once_the_mark_is_taken_back() {
    let place = Place::new();
    let collector = with_room(&place, ONE_ACCOUNT);
    place.document(0, &["quota", "mark", "max-1", "exhausted", "--until", "2h"]);
    let (socket, answers) = relay(&place);
    let mut command = place.command_with_config(&["may-start", "--wait", "--json"]);
    // The last named socket counts; the relay's replaces the collector's.
    command = replaced_socket(&command, &place, &socket);
    let waiting = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    answers.recv_timeout(WAIT_MAX).unwrap();
    // The answer was to wait.
    place.document(0, &["quota", "mark", "max-1", "available"]);
    let output = waiting.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&answer["decision"], &answer["chosen"]["account"]),
        (&"allow".into(), &"max-1".into())
    );
    collector.stop_cleanly();
}

#[test]
fn a_waiting_command_goes_on_once_something_is_known() {
    for words in [
        &["may-start", "--wait", "--json"][..],
        &["lease", "acquire", "--wait", "--json"],
    ] {
        let place = Place::new();
        let mut collector = place.live_with(&format!("{EVENTS_ONLY}{ONE_ACCOUNT}"));
        let (socket, answers) = relay(&place);
        let waiting = replaced_socket(&place.command_with_config(words), &place, &socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        answers.recv_timeout(WAIT_MAX).unwrap();
        // The answer was that nothing is known.
        let share = share_line(now(), "five_hour", 0.2, second(now() + HOUR));
        collector.commit_line(&place, "one", &share);
        let output = waiting.unwrap().wait_with_output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{words:?}: {said}");
        assert!(said.contains("whether a run may start is unknown"), "{said}");
        collector.stop_cleanly();
    }
}

/// The same command on another socket.
fn replaced_socket(
    command: &std::process::Command,
    place: &Place,
    socket: &std::path::Path,
) -> std::process::Command {
    let mut other = std::process::Command::new(command.get_program());
    for word in command.get_args() {
        other.arg(if word == place.socket() {
            socket.as_os_str()
        } else {
            word
        });
    }
    other.env_clear().env("HOME", place.directory.path());
    other
}
