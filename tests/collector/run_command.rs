//! `tokentail run`: a command as a run, counted by the collector or by itself.

use std::fs;
use std::io::Read;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{Place, append, response, text};

/// Writes a line to be copied by the script.
fn source(place: &Place, name: &str, bytes: &str) {
    append(&place.path(name), bytes);
}

/// A shell script as the run `r`.
fn run(place: &Place, more: &[&str], script: &str) -> Output {
    command(place, more, script).output().unwrap()
}

fn command(place: &Place, more: &[&str], script: &str) -> Command {
    let mut command = place.command(&[&["run", "r", "--json"], more, &["--", "sh", "-c", script]].concat());
    command.env("PATH", "/usr/bin:/bin");
    command
}

/// The run's document, printed after the command's own output.
fn document(output: &Output) -> Value {
    let printed = text(&output.stdout);
    let at = printed
        .find("{\n")
        .unwrap_or_else(|| panic!("no document in {printed:?}; it says {}", text(&output.stderr)));
    serde_json::from_str(&printed[at..]).unwrap()
}

const WRITE: &str = "mkdir -p runs/r/mount; cat one > runs/r/mount/a.jsonl; echo out; ";

#[test]
fn a_command_is_counted_by_the_collector_to_its_last_byte_and_its_code_is_ours() {
    let place = Place::new();
    source(
        &place,
        "one",
        &(response("1", 5, 1) + response("2", 6, 2).trim_end()),
    );
    let collector = place.serve();
    for (script, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -TERM $$", 143),
        ("kill -9 $$", 137),
    ] {
        let output = run(
            &place,
            &["--label", "project=alpha"],
            &format!("{WRITE} {script}"),
        );
        assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
        assert!(text(&output.stdout).starts_with("out\n"));
        let document = document(&output);
        assert_eq!(
            (
                &document["state"],
                &document["messages"],
                &document["output_tokens"]
            ),
            (&"stopped".into(), &2.into(), &11.into()),
            "{script}"
        );
        assert_eq!(document["labels"]["project"], "alpha");
    }
    assert!(!place.path("state/run-r.redb").exists());
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn without_a_collector_the_run_is_counted_in_a_database_of_its_own_and_read_on() {
    let place = Place::new();
    source(&place, "one", &response("1", 5, 1));
    source(&place, "two", response("2", 6, 2).trim_end());
    let output = run(&place, &[], &format!("{WRITE} exit 3"));
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("no collector answers on"),
        "{}",
        text(&output.stderr)
    );
    assert_eq!(document(&output)["output_tokens"], 5);
    // The same run once more: counted lines stay counted, once.
    let output = run(&place, &[], "cat two >> runs/r/mount/a.jsonl; kill -9 $$");
    assert_eq!(output.status.code(), Some(137), "{}", text(&output.stderr));
    assert_eq!(document(&output)["output_tokens"], 11);
    assert_eq!(document(&output)["messages"], 2);
    place.assert_verified();
}

/// A service could not open a file of another user beside its database.
#[test]
fn beside_the_database_of_another_user_the_run_is_counted_in_ones_own_directory() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make a directory another's");
        return;
    }
    let place = Place::new();
    source(&place, "one", &response("1", 5, 1));
    let state = place.path("service");
    fs::create_dir(&state).unwrap();
    std::os::unix::fs::chown(&state, Some(12_345), None).unwrap();
    let db = state.join("t.redb");
    let script = format!("{WRITE} exit 3");
    let mut command = Command::new(crate::harness::PROGRAM);
    command
        .args(["run", "r", "--json", "--", "sh", "-c", &script])
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", place.path("home"))
        .env("TOKENTAIL__RUNS_DIR", place.runs())
        .env("TOKENTAIL__SOCKET", place.socket())
        .env("TOKENTAIL__DB", &db)
        .current_dir(place.directory.path());
    let output = command.output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert_eq!(document(&output)["output_tokens"], 5);
    assert_eq!(fs::read_dir(&state).unwrap().count(), 0, "{message}");
    let own = place.path("home/.local/state/tokentail/run-r.redb");
    assert!(
        own.exists() && message.contains(own.to_str().unwrap()),
        "{message}"
    );
}

#[test]
fn a_mount_of_its_own_is_read_where_it_is() {
    let place = Place::new();
    source(&place, "one", &response("1", 5, 1));
    let script = "mkdir -p logs/deep; cat one > logs/deep/a.jsonl";
    let output = run(&place, &["--mount", "logs"], script);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(document(&output)["output_tokens"], 5);
    // The database has the place.
    let output = run(&place, &["--mount", "elsewhere"], "echo never");
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("logs"), "{}", text(&output.stderr));
    assert!(!text(&output.stdout).contains("never"));
    place.assert_verified();
}

#[test]
fn what_a_grandchild_writes_after_the_command_is_counted_by_the_collector() {
    let place = Place::new();
    source(&place, "one", &response("1", 5, 1));
    source(&place, "two", &response("2", 6, 2));
    let mut collector = place.serve();
    // It waits for the pipe, which this test opens, and does not hold our outputs.
    let fifo = place.path("go");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let script = format!(
        "{WRITE} (read line < go; cat two >> runs/r/mount/a.jsonl) >/dev/null 2>&1 </dev/null & exit 0"
    );
    let output = run(&place, &[], &script);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(document(&output)["output_tokens"], 5);
    fs::write(&fifo, "go\n").unwrap();
    collector.wait_until("the grandchild's line", |summary| {
        summary["totals"]["output_tokens"] == 11
    });
    let (_, detail) = collector.get("/v1/runs/r");
    assert_eq!(detail["output_tokens"], 11);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn signals_are_passed_on_and_the_totals_follow() {
    let place = Place::new();
    source(&place, "one", &response("1", 5, 1));
    for signal in ["TERM", "INT", "HUP", "USR1"] {
        let script = format!(
            "{WRITE} trap 'cat one > runs/r/mount/a.jsonl; exit 9' {signal}; echo armed; while :; do read line < go; done"
        );
        let _ = fs::remove_file(place.path("go"));
        assert!(
            Command::new("mkfifo")
                .arg(place.path("go"))
                .status()
                .unwrap()
                .success()
        );
        let mut child = command(&place, &[], &script)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut said = String::new();
        while !said.ends_with("armed\n") {
            let mut byte = [0];
            out.read_exact(&mut byte).unwrap();
            said.push(char::from(byte[0]));
        }
        let kill = Command::new("kill")
            .arg(format!("-{signal}"))
            .arg(child.id().to_string())
            .status();
        assert!(kill.unwrap().success());
        let mut rest = String::new();
        out.read_to_string(&mut rest).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9), "{signal}");
        let document: Value = serde_json::from_str(&rest).unwrap();
        assert_eq!(document["output_tokens"], 5, "{signal}");
    }
}

#[test]
fn what_cannot_be_run_has_the_code_of_a_shell() {
    let place = Place::new();
    append(&place.path("plain"), "no program");
    for (words, code) in [
        (&["no-such-command-anywhere"][..], 127),
        (&["./plain"], 126),
        (&["./runs"], 126),
    ] {
        let output = place.run(&[&["run", "r", "--"], words].concat());
        assert_eq!(
            output.status.code(),
            Some(code),
            "{words:?} {}",
            text(&output.stderr)
        );
        assert!(
            text(&output.stderr).contains("cannot run"),
            "{}",
            text(&output.stderr)
        );
    }
    // Refused before the command is started.
    let output = run(&place, &["--label", "a=1", "--label", "a=2"], "echo never");
    assert_eq!(output.status.code(), Some(64));
    let output = run(&place, &["--no-embedded"], "echo never");
    assert_eq!(output.status.code(), Some(69), "{}", text(&output.stderr));
    let collector = place.serve();
    let output = run(&place, &["--label", "bad name=1"], "echo never");
    assert_eq!(output.status.code(), Some(64), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("bad name"),
        "{}",
        text(&output.stderr)
    );
    assert!(!text(&output.stdout).contains("never"));
    collector.stop_cleanly();
}

#[test]
fn runs_are_listed_stopped_and_forgotten_from_the_command_line() {
    let place = Place::new();
    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let listed = place.run(&["runs"]);
    assert!(
        text(&listed.stdout).contains("claude/default"),
        "{}",
        text(&listed.stdout)
    );
    let long = "l".repeat(128);
    append(&place.log(&long, "a.jsonl"), response("2", 5, 1));
    append(&place.log("r", "a.jsonl"), response("3", 5, 1));
    collector.wait_for_messages(3);
    let sorted = place.run(&["runs", "--sort", "tokens"]);
    let sorted = text(&sorted.stdout);
    // Complete, since nothing is cut in a pipe: it can be copied into `stop`.
    let ids: Vec<&str> = (sorted.lines().skip(1))
        .take_while(|line| !line.starts_with("cost: "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert_eq!(ids, ["r", &long], "{sorted}");
    let first = place.run(&["runs", "--sort", "id", "--limit", "1"]);
    let first = text(&first.stdout);
    assert!(
        first.contains(&long) && first.contains("\n1 of 2 shown\n"),
        "{first}"
    );
    assert_eq!(
        place
            .json(&["runs", "--sort", "active", "--limit", "1"])
            .as_array()
            .unwrap()
            .len(),
        1
    );
    let wrong = place.run(&["runs", "--sort", "size"]);
    assert_eq!(wrong.status.code(), Some(64));
    assert!(text(&wrong.stderr).contains("tokens"), "{}", text(&wrong.stderr));
    let failed = place.run(&["forget", "r"]);
    assert_eq!(failed.status.code(), Some(64), "{}", text(&failed.stderr));
    assert!(
        text(&failed.stderr).contains("not stopped"),
        "{}",
        text(&failed.stderr)
    );
    let stopped = place.run(&["stop", "r"]);
    assert!(stopped.status.success());
    assert!(
        text(&stopped.stdout).contains("run r: 2 messages, 30 tokens"),
        "{}",
        text(&stopped.stdout)
    );
    assert_eq!(place.json(&["runs", "--state", "stopped"])[0]["id"], "r");
    assert!(place.run(&["forget", "r"]).status.success());
    // The name is kept as long as its directory is there, and only then.
    let unknown = |run: &str, why: &str| {
        for words in [["forget", run], ["stop", run]] {
            let output = place.run(&words);
            let message = text(&output.stderr);
            assert_eq!(output.status.code(), Some(66), "{words:?}: {message}");
            assert!(message.contains(why), "{words:?}: {message}");
        }
        for (method, path) in [("GET", ""), ("DELETE", ""), ("POST", "/stop?wait=true")] {
            let (status, problem) = collector.request(method, &format!("/v1/runs/{run}{path}"), "");
            let message = problem["detail"].as_str().unwrap();
            assert!(status == 404 && message.contains(why), "{method}: {problem}");
        }
    };
    unknown("r", "run r was forgotten; start it to create it again");
    unknown("never", "there is no run never; `tokentail runs`");
    collector.stop_cleanly();
    assert_eq!(place.run(&["runs"]).status.code(), Some(69));
}
