//! Routes of the socket, and commands that read.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::harness::{PROGRAM, Place, append, response, text};
use crate::scenario::{EVENTS_ONLY, ended, figures};

/// Two runs: 1 and 2 tokens, one bad line; and 4 tokens.
fn two_runs() -> Place {
    let place = Place::new();
    append(
        &place.log("one", "a.jsonl"),
        response("1", 1, 0) + &response("2", 2, 1) + "no json\n",
    );
    append(&place.log("two", "b/c.jsonl"), response("3", 4, 2));
    place
}

fn document(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn every_route_answers_with_its_document() {
    let place = two_runs();
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(3);
    collector.wait_for_log("the backlog is read");

    let (status, head, body) = collector.ask("GET", "/v1/summary");
    assert_eq!(status, 200);
    assert!(head.contains("content-type: application/json"), "{head}");
    let summary = document(&body);
    assert_eq!(summary["schema"], 1);
    assert_eq!(figures(&summary), (3, 7, 3));
    assert_eq!(summary["totals"]["total_tokens"], 37);
    assert_eq!(summary["by_run"]["one"]["malformed_lines"], 1);

    let (status, runs) = collector.get("/v1/runs");
    assert_eq!(status, 200);
    let rows: Vec<_> = runs
        .as_array()
        .unwrap()
        .iter()
        .map(|run| {
            (
                run["id"].as_str().unwrap(),
                run["output_tokens"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(rows, [("one", 3), ("two", 4)]);

    let (status, run) = collector.get("/v1/runs/one");
    assert_eq!(status, 200);
    assert_eq!((&run["id"], &run["messages"]), (&"one".into(), &2.into()));
    assert_eq!(
        (&run["lines"]["malformed"], &run["files"]),
        (&1.into(), &1.into())
    );
    assert_eq!(run["by_model"]["claude-opus-5"]["output_tokens"], 3);
    assert_eq!(run["by_day"]["2026-10-05"]["output_tokens"], 3);
    assert_eq!(run["restarts"], 0);
    assert!(
        ["live", "idle"].contains(&run["state"].as_str().unwrap()),
        "{run}"
    );

    for route in ["/healthz", "/readyz"] {
        let (status, health) = collector.get(route);
        assert_eq!(status, 200, "{health}");
        assert_eq!(
            (&health["status"], &health["ready"]),
            (&"ok".into(), &true.into())
        );
        assert_eq!(health["watching"], "events");
        assert_eq!(
            (&health["lag_bytes"], &health["backlog_done"]),
            (&0.into(), &true.into())
        );
        assert_eq!(health["reasons"], Value::Array(Vec::new()));
        assert!(health["commits"].as_u64() > Some(0));
    }
    collector.stop_cleanly();
    assert!(!place.socket().exists());
}

#[test]
fn a_question_that_cannot_be_answered_gets_a_problem_with_its_status() {
    let place = two_runs();
    let mut collector = place.serve();
    collector.wait_for_messages(3);
    for (method, path, wanted, title) in [
        ("GET", "/v1/runs/three", 404, "not found"),
        ("GET", "/v1/runs/a%20b", 400, "bad request"),
        ("GET", "/v1/runs/..", 400, "bad request"),
        ("GET", "/v1/runs/%2e%2e%2fetc", 400, "bad request"),
        ("GET", "/v1/runs/%ff", 400, "bad request"),
        ("GET", "/index.html", 404, "no such route"),
        ("GET", "/v1/runs/one/more", 404, "no such route"),
        ("GET", "/v2/summary", 404, "no such route"),
        ("POST", "/v1/summary", 405, "method not allowed"),
        ("PATCH", "/v1/summary", 405, "method not allowed"),
        ("PUT", "/healthz", 405, "method not allowed"),
    ] {
        let (status, head, body) = collector.ask(method, path);
        assert_eq!(status, wanted, "{method} {path}: {body}");
        let problem = document(&body);
        assert_eq!(problem["status"], wanted, "{method} {path}");
        assert_eq!(problem["title"], title, "{method} {path}");
        assert_ne!(problem["detail"], "", "{method} {path}");
        assert_eq!(head.contains("allow: get"), wanted == 405, "{head}");
    }
    let (status, _, body) = collector.ask("HEAD", "/healthz");
    assert_eq!((status, body.as_str()), (200, ""));
    let long = format!("/v1/runs/{}", "r".repeat(129));
    assert_eq!(collector.ask("GET", &long).0, 400);
}

#[test]
fn status_asks_the_collector_then_the_database_then_gives_up() {
    let place = two_runs();
    let (code, stdout, stderr) = ended(&place.run(&["status"]));
    assert_eq!((code, stdout.as_str()), (Some(69), ""), "{stderr}");
    assert!(stderr.contains("no collector answers on"), "{stderr}");
    assert!(stderr.contains("there is no database"), "{stderr}");
    let (code, _, stderr) = ended(&place.run(&["status", "--json"]));
    assert_eq!((code, &document(&stderr)["code"]), (Some(69), &69.into()));

    let mut collector = place.serve();
    collector.wait_for_messages(3);
    assert_eq!(figures(&place.status()), (3, 7, 3));
    let (code, human, stderr) = ended(&place.run(&["status"]));
    assert_eq!(code, Some(0), "{stderr}");
    for word in ["one", "two", "claude-opus-5", "2026-10-05"] {
        assert!(human.contains(word), "{word}: {human}");
    }
    assert!(human.starts_with("healthy\nmay start: "), "{human}");
    assert!(!human.contains("no collector is running"), "{human}");
    collector.stop_cleanly();

    assert_eq!(figures(&place.status()), (3, 7, 3));
    let (code, human, stderr) = ended(&place.run(&["status"]));
    assert_eq!(code, Some(69), "{stderr}");
    assert!(human.starts_with("no collector is running"), "{human}");
    assert!(human.contains("\nmay start: unknown"), "{human}");
    assert!(human.contains("claude-opus-5"), "{human}");

    // After a kill the socket file remains, without a listener.
    let mut collector = place.serve();
    append(&place.log("two", "b/c.jsonl"), response("4", 8, 3));
    collector.wait_for_messages(4);
    collector.kill();
    assert!(place.socket().exists());
    assert_eq!(figures(&place.status()), (4, 15, 4));
}

#[test]
fn verify_leaves_a_running_collector_its_database() {
    let place = two_runs();
    let mut collector = place.serve();
    collector.wait_for_messages(3);
    let (code, _, stderr) = ended(&place.run(&["verify"]));
    assert_eq!(code, Some(69), "{stderr}");
    assert!(stderr.contains("stop the collector first"), "{stderr}");
    append(&place.log("two", "b/c.jsonl"), response("4", 8, 3));
    collector.wait_for_messages(4);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_second_collector_on_the_same_database_or_socket_says_so_and_ends() {
    let place = two_runs();
    let mut collector = place.serve();
    collector.wait_for_messages(3);
    let (code, _, stderr) = ended(&place.run(&["serve"]));
    assert_eq!(code, Some(69), "{stderr}");
    let mut other = Command::new(PROGRAM);
    let output = other
        .arg("serve")
        .env_clear()
        .env("HOME", place.directory.path())
        .env("TOKENTAIL__RUNS_DIR", place.runs())
        .env("TOKENTAIL__SOCKET", place.socket())
        .output()
        .unwrap();
    let (code, _, stderr) = ended(&output);
    assert_eq!(code, Some(69), "{stderr}");
    assert!(stderr.contains("another collector answers on"), "{stderr}");
    append(&place.log("two", "b/c.jsonl"), response("4", 8, 3));
    collector.wait_for_messages(4);
    collector.stop_cleanly();
}

#[test]
fn replay_with_an_expectation_names_every_difference() {
    let place = two_runs();
    let golden = place.path("golden.json");
    let runs = place.runs();
    let runs = runs.to_str().unwrap();
    let mut expected = place.replayed();
    let replay = |json: bool| {
        let words = ["replay", runs, "--expect", golden.to_str().unwrap(), "--json"];
        ended(&place.run(&words[..if json { 5 } else { 4 }]))
    };
    fs::write(&golden, expected.to_string()).unwrap();
    let (code, stdout, stderr) = replay(false);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("as expected by"), "{stdout}");

    expected["totals"]["output_tokens"] = 8.into();
    expected["by_run"]["one"]["messages"] = 3.into();
    expected["by_run"]["three"] = expected["by_run"]["two"].take();
    expected["by_run"].as_object_mut().unwrap().remove("two");
    expected["lines"].as_object_mut().unwrap().remove("read");
    fs::write(&golden, expected.to_string()).unwrap();
    let (code, stdout, _) = replay(false);
    assert_eq!(code, Some(1), "{stdout}");
    let paths = [
        "by_run.one.messages",
        "by_run.three",
        "by_run.two",
        "totals.output_tokens",
    ];
    for path in paths {
        assert!(stdout.contains(path), "{path}: {stdout}");
    }
    assert!(stdout.contains("4 differences"), "{stdout}");
    let (code, stdout, _) = replay(true);
    let outcome = document(&stdout);
    assert_eq!((code, &outcome["equal"]), (Some(1), &false.into()));
    let mut named: Vec<_> = outcome["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["path"].as_str().unwrap())
        .collect();
    named.sort_unstable();
    assert_eq!(named, paths);

    for bad in ["{", "[]", "{}", "7"] {
        fs::write(&golden, bad).unwrap();
        let (code, _, stderr) = replay(false);
        assert_eq!(code, Some(65), "{bad}: {stderr}");
        assert!(stderr.contains("golden.json"), "{bad}: {stderr}");
    }
    fs::remove_file(&golden).unwrap();
    let (code, _, stderr) = replay(false);
    assert_eq!(code, Some(66), "{stderr}");
    assert!(stderr.contains("golden.json"), "{stderr}");
}

#[test]
fn replay_reads_a_file_a_tree_or_a_runs_directory() {
    let place = two_runs();
    let whole = place.replayed();
    assert_eq!(figures(&whole), (3, 7, 3));
    let file = place.path("session-1.jsonl");
    append(&file, response("1", 1, 0) + response("2", 2, 1).trim_end());
    let alone = place.json(&["replay", file.to_str().unwrap()]);
    assert_eq!(figures(&alone), (2, 3, 2), "the unfinished last line counts");
    assert_eq!(alone["by_run"]["session-1"]["output_tokens"], 3);
    let tree = place.path("tree");
    fs::create_dir_all(tree.join("x/y")).unwrap();
    append(&tree.join("a.jsonl"), response("4", 8, 0));
    append(&tree.join("x/y/b.jsonl"), response("5", 16, 0));
    append(&tree.join("x/c.txt"), response("6", 32, 0));
    let plain = place.json(&["replay", tree.to_str().unwrap()]);
    assert_eq!(figures(&plain), (2, 24, 2));
    assert_eq!(plain["by_run"]["tree"]["output_tokens"], 24);
    let runs = place.runs();
    let all = [&file, &tree, &runs].map(|path| path.to_str().unwrap());
    let together = place.json(&[&["replay"][..], &all].concat());
    // The file repeats lines of run one; the others add up.
    assert_eq!(figures(&together), (5, 31, 7));

    let (code, _, stderr) = ended(&place.run(&["replay", "nowhere"]));
    assert_eq!(code, Some(66), "{stderr}");
    assert!(stderr.contains("nowhere"), "{stderr}");
    fs::create_dir(place.path("empty")).unwrap();
    let (code, _, stderr) = ended(&place.run(&["replay", "empty"]));
    assert_eq!(code, Some(66), "{stderr}");
    let (code, _, stderr) = ended(&place.run(&["replay", all[0], all[0]]));
    assert_eq!(code, Some(64), "{stderr}");
    let output = place.run(&["replay", all[2]]);
    assert!(text(&output.stdout).contains("claude-opus-5"));
}

#[test]
fn replay_into_a_database_counts_nothing_twice() {
    let place = two_runs();
    let db = place.path("counted.redb");
    let runs = place.runs();
    let words = ["replay", runs.to_str().unwrap(), "--db", db.to_str().unwrap()];
    assert_eq!(figures(&place.json(&words)), (3, 7, 3));
    append(&place.log("two", "b/c.jsonl"), response("4", 8, 3));
    assert_eq!(figures(&place.json(&words)), (4, 15, 4));
    assert_eq!(figures(&place.json(&words)), (4, 15, 4));
}

#[test]
fn replay_until_a_time_leaves_out_what_came_later() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    let undated = r#"{"type":"assistant","message":{"id":"msg_01undated","usage":{"output_tokens":32}}}"#;
    append(&log, response("1", 1, 0) + &response("2", 2, 10) + undated + "\n");
    // A late line with an earlier time, and one after it.
    append(&log, response("3", 4, 5));
    append(
        &place.log("two", "b.jsonl"),
        undated.to_owned() + "\n" + &response("4", 8, 20),
    );
    let runs = place.runs();
    let runs = runs.to_str().unwrap();
    let whole = place.replayed();
    let second = |second: u32| format!("2026-10-05T09:00:{second:02}.000Z");
    let until = |words: &[&str]| place.json(&[&["replay", runs, "--until"][..], words].concat());
    for (time, want) in [
        (second(0), (1, 1, 1)),
        (second(9), (2, 5, 2)),
        (second(10), (4, 39, 4)),
        (second(19), (4, 39, 4)),
    ] {
        let then = until(&[&time]);
        assert_eq!(figures(&then), want, "{time}");
        assert_eq!(then["now"], time);
    }
    assert_eq!(figures(&until(&[&second(20)])), figures(&whole));
    let later = "2026-10-06T00:00:00.000Z";
    assert_eq!(until(&[&second(9), "--now", later])["now"], later);
    let (code, _, stderr) = ended(&place.run(&["replay", runs, "--until", later, "--db", "counted.redb"]));
    assert!(code == Some(64) && stderr.contains("--until"), "{stderr}");
    assert!(!place.path("counted.redb").exists());
}
