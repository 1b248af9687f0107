//! Leases through the routes, the commands, and `run --admit`: a place is held by one lease, and comes back.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

use crate::harness::{Collector, PROGRAM, Place, append, response, text};
use crate::stream::Client;

/// One account with so many places, where nothing was observed.
fn places(concurrency: u64) -> String {
    format!("[[account]]\nname = \"max-1\"\non_unknown = \"allow\"\nconcurrency = {concurrency}\n")
}

fn ids(leases: &Value) -> BTreeSet<String> {
    let leases = leases.as_array().unwrap().iter();
    leases
        .map(|lease| lease["id"].as_str().unwrap().to_owned())
        .collect()
}

impl Collector {
    fn acquire(&self, body: &Value) -> (u16, Value) {
        self.request("POST", "/v1/leases", &body.to_string())
    }

    /// One lease, which must be granted; its id.
    fn lease(&self, body: &Value) -> String {
        let (status, answer) = self.acquire(body);
        assert_eq!(status, 201, "{answer}");
        answer["leases"][0]["id"].as_str().unwrap().to_owned()
    }

    fn leases(&self) -> Value {
        self.get("/v1/leases").1
    }

    fn free(&self) -> Value {
        self.get("/v1/capacity").1[0]["free"].clone()
    }

    /// The events of leases from now on.
    fn lease_events(&self) -> Client {
        let (status, client) = Client::connect(self, "?kinds=lease", "");
        assert_eq!(status, 200);
        client
    }

    /// Why a lease ended: the detail of the answer 410.
    fn end_of(&self, lease: &str) -> String {
        let (status, problem) = self.get(&format!("/v1/leases/{lease}"));
        assert_eq!(status, 410, "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    }
}

/// Waits for the event that a lease is in this phase.
fn phase(events: &mut Client, phase: &str) -> Value {
    events.find(|kind, event| kind == "lease" && event["phase"] == phase)
}

fn code(output: &Output, expected: i32) -> String {
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(expected), "{said}");
    said
}

/// A `tokentail run --admit` with a shell script.
fn admitted(place: &Place, run: &str, admit: &str, script: &str) -> Command {
    let mut command = place.command(&["run", admit, run, "--", "sh", "-c", script]);
    command.env("PATH", "/usr/bin:/bin").stderr(Stdio::piped());
    command
}

/// Reads lines from a process until one contains these words.
#[expect(clippy::disallowed_methods, reason = "the lines are few and short")]
fn read_until(from: &mut impl BufRead, words: &str) -> String {
    let mut said = String::new();
    while !said.contains(words) {
        assert!(
            from.read_line(&mut said).unwrap() > 0,
            "{words} does not come: {said}"
        );
    }
    said
}

fn fifo(place: &Place, name: &str) -> std::path::PathBuf {
    let path = place.path(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    path
}

fn kill_9(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn places_are_granted_renewed_and_given_back_from_the_command_line() {
    let place = Place::new();
    let collector = place.serve_with(&places(2));
    let granted = place.json(&[
        "lease", "acquire", "-n", "5", "--key", "k", "--holder", "night", "--class", "high",
    ]);
    assert_eq!(
        (&granted["key"], &granted["by"]),
        (&"k".into(), &"concurrency".into())
    );
    assert_eq!(ids(&granted["leases"]).len(), 2);
    // The same request again has the same answer, another one with its key has none.
    let again = place.json(&[
        "lease", "acquire", "-n", "5", "--key", "k", "--holder", "night", "--class", "high",
    ]);
    assert_eq!(again, granted);
    let other = place.run(&["lease", "acquire", "-n", "4", "--key", "k"]);
    assert!(code(&other, 64).contains("another request had this key"));
    let list = place.json(&["lease", "list"]);
    assert_eq!(ids(&list), ids(&granted["leases"]));
    let shown = code(&place.run(&["lease", "list"]), 0);
    assert!(shown.contains("night") && shown.contains("high") && shown.contains("granted"));
    // A third run has no place: the codes are those of may-start.
    let full = place.run(&["lease", "acquire"]);
    assert!(code(&full, 1).starts_with("no lease: wait; no place is free"));
    let full = place.run(&["lease", "acquire", "--json", "--min", "1"]);
    let full: Value = serde_json::from_slice(&full.stdout).unwrap();
    assert_eq!(
        (&full["decision"], &full["reason"]),
        (&"wait".into(), &"at_concurrency".into())
    );
    assert!(full["retry_at"].is_string() && full["key"].is_string(), "{full}");
    let over = place.run(&["lease", "acquire", "--wait=200ms"]);
    assert!(code(&over, 75).contains("waits: no place is free"));

    let first = list[0]["id"].as_str().unwrap();
    let renewed = place.json(&["lease", "renew", first, "--ttl", "9m"]);
    assert!(renewed["expires_at"].as_str() > list[0]["expires_at"].as_str());
    code(&place.run(&["lease", "release", first]), 0);
    code(&place.run(&["lease", "release", first]), 0);
    assert!(code(&place.run(&["lease", "renew", first]), 66).contains("it was released"));
    assert_eq!(collector.free(), 1);
    let second = list[1]["id"].as_str().unwrap();
    code(&place.run(&["lease", "revoke", second]), 0);
    assert!(collector.end_of(second).contains("an operator revoked it"));
    assert!(code(&place.run(&["lease", "release", "9-9"]), 66).contains("there is no lease"));
    let capacity = code(&place.run(&["capacity"]), 0);
    assert!(capacity.contains("claude/max-1     2  concurrency"), "{capacity}");
    collector.stop_cleanly();
    for words in [&["lease", "acquire"][..], &["lease", "list"], &["capacity"]] {
        code(&place.run(words), 69);
    }
}

#[test]
fn who_waits_for_a_place_gets_the_one_that_is_given_back_also_by_another_collector() {
    let place = Place::new();
    let collector = place.serve_with(&places(1));
    let held = collector.lease(&json!({"key": "first", "ttl": "10m"}));
    let mut waiting = place
        .command(&["lease", "acquire", "--key", "second", "--wait=50s", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(waiting.stderr.take().unwrap());
    read_until(&mut said, "no place is free");
    collector.kill();
    read_until(&mut said, "waits: no collector answers");
    let collector = place.start(place.command_with_config(&["serve"]));
    assert_eq!(ids(&collector.leases()), BTreeSet::from([held.clone()]));
    read_until(&mut said, "no place is free");
    code(&place.run(&["lease", "release", &held]), 0);
    let output = waiting.wait_with_output().unwrap();
    let granted: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{granted}");
    assert_eq!(ids(&collector.leases()), ids(&granted["leases"]));
    collector.stop_cleanly();
}

#[test]
fn a_lease_begins_with_its_run_and_ends_with_it() {
    let place = Place::new();
    let mut collector = place.serve_with(&places(3));
    let mut events = collector.lease_events();
    // By PUT.
    let put = collector.lease(&json!({"key": "put", "class": "high"}));
    phase(&mut events, "granted");
    let body = json!({"lease": put}).to_string();
    assert_eq!(collector.request("PUT", "/v1/runs/put", &body).0, 201);
    let bound = phase(&mut events, "bound");
    assert_eq!(
        (&bound["lease"]["id"], &bound["lease"]["run"]),
        (&put.clone().into(), &"put".into())
    );
    assert!(
        bound["lease"]["expires_at"].is_string(),
        "nothing is written yet: {bound}"
    );
    let (_, run) = collector.get("/v1/runs/put");
    assert_eq!(
        (&run["account"], &run["labels"]["class"]),
        (&"max-1".into(), &"high".into())
    );
    // The same start again is fine, another run is not, and neither is another lease of the run.
    assert_eq!(collector.request("PUT", "/v1/runs/put", &body).0, 200);
    assert_eq!(collector.request("PUT", "/v1/runs/other", &body).0, 409);
    let (status, problem) = collector.acquire(&json!({"key": "twice", "runs": ["put"]}));
    assert_eq!((status, &problem["field"]), (409, &"runs".into()), "{problem}");
    // By a directory that appears, whose lease names the run.
    let appears = collector.lease(&json!({"key": "appears", "runs": ["appears"], "class": "night"}));
    append(&place.log("appears", "a.jsonl"), response("1", 5, 1));
    let bound = phase(&mut events, "bound");
    assert_eq!(bound["lease"]["id"], appears.as_str());
    assert_eq!(collector.get("/v1/runs/appears").1["labels"]["class"], "night");
    // By a start that does not name it, and again by the same one.
    collector.lease(&json!({"key": "named", "runs": ["named"], "class": "night"}));
    for status in [201, 200] {
        let (code, run) = collector.request("PUT", "/v1/runs/named", "");
        assert_eq!(
            (code, &run["labels"]["class"]),
            (status, &"night".into()),
            "{run}"
        );
    }
    phase(&mut events, "bound");
    assert_eq!(
        collector.request("POST", "/v1/runs/named/stop?wait=true", "").0,
        200
    );
    phase(&mut events, "run_ended");
    // Released while its run goes on, a lease leaves the run, which still counts.
    let open = collector.lease(&json!({"key": "open"}));
    assert_eq!(collector.free(), 0);
    assert_eq!(
        collector.request("DELETE", &format!("/v1/leases/{open}"), "").0,
        204
    );
    assert_eq!(phase(&mut events, "released")["lease"]["id"], open.as_str());

    assert_eq!(
        collector.request("POST", "/v1/runs/put/stop?wait=true", "").0,
        200
    );
    assert_eq!(phase(&mut events, "run_ended")["lease"]["id"], put.as_str());
    assert!(collector.end_of(&put).contains("its run ended"));
    assert_eq!(collector.request("PUT", "/v1/runs/new", &body).0, 410);
    collector.wait_for_messages(1);
    let (_, lease) = collector.get(&format!("/v1/leases/{appears}"));
    assert!(lease["expires_at"].is_null(), "its log keeps it: {lease}");
    fs::remove_dir_all(place.runs().join("appears")).unwrap();
    assert_eq!(phase(&mut events, "run_ended")["lease"]["id"], appears.as_str());
    assert_eq!(collector.free(), 3);
    assert_eq!(collector.leases(), json!([]));
    // A run that comes back has no place by that.
    assert_eq!(collector.request("DELETE", "/v1/runs/put", "").0, 204);
    assert_eq!(collector.request("PUT", "/v1/runs/put", "").0, 201);
    assert_eq!(collector.leases(), json!([]));
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_lease_whose_run_does_not_start_in_time_ends() {
    let place = Place::new();
    let collector = place.serve_with(&places(1));
    let mut events = collector.lease_events();
    let late = collector.lease(&json!({"key": "late", "ttl": "1s"}));
    assert_eq!(collector.free(), 0);
    assert_eq!(phase(&mut events, "expired")["lease"]["id"], late.as_str());
    assert_eq!(collector.free(), 1);
    assert!(collector.end_of(&late).contains("its run wrote nothing in time"));
    let body = json!({"lease": late}).to_string();
    let (status, problem) = collector.request("PUT", "/v1/runs/r", &body);
    assert_eq!((status, &problem["field"]), (410, &"lease".into()), "{problem}");
    // Its key still has its answer, and the place is another's by then.
    assert_eq!(collector.lease(&json!({"key": "late", "ttl": "1s"})), late);
    let next = collector.lease(&json!({"key": "next", "ttl": "1s"}));
    // A run that is started and writes nothing does not keep its place: its client may have died.
    let body = json!({"lease": next}).to_string();
    assert_eq!(collector.request("PUT", "/v1/runs/silent", &body).0, 201);
    assert_eq!(phase(&mut events, "expired")["lease"]["id"], next.as_str());
    assert_eq!(collector.free(), 1);
    collector.stop_cleanly();
}

#[test]
fn a_command_with_a_place_gives_it_back_however_it_ends() {
    let place = Place::new();
    let collector = place.serve_with(&places(1));
    let mut events = collector.lease_events();
    let script = "mkdir -p runs/r/mount; echo $TOKENTAIL_PROVIDER $TOKENTAIL_ACCOUNT $TOKENTAIL_MODEL \
                  $TOKENTAIL_LEASE >seen; ";
    for (end, expected) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        let output = place
            .command(&[
                "run", "--admit", "--model", "m-1", "--class", "high", "r", "--", "sh", "-c",
            ])
            .arg(format!("{script}{end}"))
            .env("PATH", "/usr/bin:/bin")
            .output();
        code(&output.unwrap(), expected);
        let ended = phase(&mut events, "run_ended");
        let lease = ended["lease"]["id"].as_str().unwrap();
        let seen = fs::read_to_string(place.path("seen")).unwrap();
        assert_eq!(seen, format!("claude max-1 m-1 {lease}\n"));
        assert_eq!(collector.free(), 1);
    }
    // A command that cannot be run, and a run that is refused.
    code(&place.run(&["run", "--admit", "r", "--", "no-such-command"]), 127);
    phase(&mut events, "run_ended");
    let refused = place.run(&[
        "run",
        "--admit",
        "--label",
        "bad name=1",
        "y",
        "--",
        "touch",
        "never",
    ]);
    assert!(code(&refused, 64).contains("run y is not started"));
    phase(&mut events, "released");
    assert_eq!(collector.leases(), json!([]));
    // No place at all: nothing is started.
    collector.lease(&json!({"key": "held"}));
    let full = place.run(&["run", "--admit", "z", "--", "touch", "never"]);
    assert!(code(&full, 125).contains("run z is not started: no place is free"));
    let full = place.run(&["run", "--admit=100ms", "z", "--", "touch", "never"]);
    assert!(code(&full, 125).contains("the time of --admit is over"));
    assert!(!place.path("never").exists());
    assert_eq!(collector.get("/v1/runs/z").0, 404);
    collector.stop_cleanly();
    let away = place.run(&["run", "--admit", "z", "--", "touch", "never"]);
    assert!(code(&away, 69).contains("--admit needs a collector"));
    assert!(!place.path("never").exists());
}

#[test]
fn two_runs_with_one_place_run_one_after_the_other() {
    let place = Place::new();
    let collector = place.serve_with(&places(1));
    fifo(&place, "go");
    let mut first = admitted(
        &place,
        "one",
        "--admit",
        "echo begun >&2; read line <go; echo one >>order",
    )
    .spawn()
    .unwrap();
    read_until(&mut BufReader::new(first.stderr.take().unwrap()), "begun");
    let mut second = admitted(&place, "two", "--admit=50s", "echo two >>order")
        .spawn()
        .unwrap();
    let mut said = BufReader::new(second.stderr.take().unwrap());
    // Each sentence has a line of its own.
    let lines = read_until(&mut said, "\n    next attempt at 20");
    assert!(lines.contains("run two waits: no place is free"), "{lines}");
    // A third one gives up on a signal.
    let mut third = admitted(&place, "three", "--admit=50s", "echo three >>order")
        .spawn()
        .unwrap();
    let mut third_said = BufReader::new(third.stderr.take().unwrap());
    read_until(&mut third_said, "waits");
    let pid = third.id().to_string();
    assert!(Command::new("kill").arg(pid).status().unwrap().success());
    assert_eq!(third.wait().unwrap().code(), Some(143));
    read_until(
        &mut third_said,
        "run three is not started: stopped while it waited for a place",
    );

    fs::write(place.path("go"), "go\n").unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(second.wait().unwrap().code(), Some(0));
    assert_eq!(fs::read_to_string(place.path("order")).unwrap(), "one\ntwo\n");
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(!rest.contains("waits"), "{rest}");
    assert_eq!(collector.leases(), json!([]));
    collector.stop_cleanly();
}

#[test]
fn a_place_is_given_back_to_a_collector_that_was_started_again_meanwhile() {
    let place = Place::new();
    let collector = place.serve_with(&places(1));
    fifo(&place, "go");
    let mut run = admitted(&place, "one", "--admit", "echo begun >&2; read line <go")
        .spawn()
        .unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap());
    read_until(&mut said, "begun");
    collector.kill();
    // It ends while there is no collector.
    fs::write(place.path("go"), "go\n").unwrap();
    let collector = place.start(place.command_with_config(&["serve"]));
    assert_eq!(run.wait().unwrap().code(), Some(0));
    read_until(&mut said, "run one: 0 messages");
    assert_eq!(collector.leases(), json!([]));
    assert_eq!(collector.free(), 1);
    collector.stop_cleanly();
}

/// Answers one request as the collector would, on a socket of its own; the next connection is only accepted.
fn grant_once(listener: &UnixListener, collector: &Collector) -> Value {
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = Vec::new();
    let body = loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        assert!(count > 0, "the request ends");
        request.extend_from_slice(&bytes[..count]);
        let said = text(&request);
        if let Some((_, body)) = said.split_once("\r\n\r\n")
            && body.ends_with('}')
        {
            break body.to_owned();
        }
    };
    let (status, answer) = collector.request("POST", "/v1/leases", &body);
    assert_eq!(status, 201, "{answer}");
    let body = answer.to_string();
    write!(
        stream,
        "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    answer
}

#[test]
fn a_client_that_is_killed_before_its_run_starts_loses_its_place_in_time() {
    let place = Place::new();
    let collector = place.serve_with(&places(1));
    let mut events = collector.lease_events();
    // Between the grant and the start of the run: the client's second connection.
    let socket = place.path("between.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut client = Command::new(PROGRAM)
        .args([
            "--socket",
            socket.to_str().unwrap(),
            "run",
            "--admit",
            "r",
            "--",
            "true",
        ])
        .env_clear()
        .env("HOME", place.directory.path())
        .spawn()
        .unwrap();
    let granted = grant_once(&listener, &collector);
    let (_second, _): (UnixStream, _) = listener.accept().unwrap();
    kill_9(&mut client);
    let lease = granted["leases"][0]["id"].as_str().unwrap();
    assert_eq!(
        (collector.free(), ids(&collector.leases())),
        (0.into(), BTreeSet::from([lease.to_owned()]))
    );
    assert_eq!(phase(&mut events, "expired")["lease"]["id"], lease);
    assert_eq!(collector.free(), 1);
    collector.stop_cleanly();
}

#[test]
fn a_run_keeps_its_place_when_its_client_is_killed() {
    let place = Place::new();
    let mut collector = place.serve_with(&places(1));
    let mut events = collector.lease_events();
    append(&place.path("one"), response("1", 5, 1));
    let go = fifo(&place, "go");
    let script = "mkdir -p runs/r/mount; cat one >runs/r/mount/a.jsonl; echo begun >&2; read line <go; \
                  cat one >runs/r/mount/b.jsonl";
    let mut client = admitted(&place, "r", "--admit", script).spawn().unwrap();
    read_until(&mut BufReader::new(client.stderr.take().unwrap()), "begun");
    collector.wait_for_messages(1);
    kill_9(&mut client);
    let bound = phase(&mut events, "bound");
    assert_eq!(
        ids(&collector.leases()),
        BTreeSet::from([bound["lease"]["id"].as_str().unwrap().to_owned()])
    );
    let again = place.run(&["run", "--admit", "r", "--", "touch", "never"]);
    assert!(code(&again, 64).contains("has the lease"));
    // Its command goes on without the client.
    fs::write(go, "go\n").unwrap();
    collector.wait_until("the second file", |summary| summary["files"] == 2);
    assert_eq!(collector.leases()[0]["state"], "bound");
    assert_eq!(collector.request("POST", "/v1/runs/r/stop?wait=true", "").0, 200);
    phase(&mut events, "run_ended");
    assert_eq!(collector.free(), 1);
    collector.stop_cleanly();
}

#[test]
fn a_run_of_another_account_takes_no_place_of_the_lease_that_names_it() {
    let place = Place::new();
    let accounts = "[[account]]\nname = \"a\"\nruns = [\"a-*\"]\nconcurrency = 1\non_unknown = \"allow\"\n\n\
         [[account]]\nname = \"b\"\nruns = [\"b-*\"]\nconcurrency = 1\non_unknown = \"allow\"\n";
    let mut collector = place.serve_with(accounts);
    let lease = collector.lease(&json!({"key": "q1", "account": "a", "runs": ["b-1"]}));
    append(&place.log("b-1", "a.jsonl"), response("1", 5, 1));
    collector.wait_for_messages(1);
    let (_, found) = collector.get(&format!("/v1/leases/{lease}"));
    assert_eq!(found["state"], "granted", "{found}");
    let (status, answer) = collector.acquire(&json!({"key": "q2", "account": "b"}));
    assert_eq!((status, &answer["by"]), (200, &"concurrency".into()), "{answer}");
    let body = json!({"lease": lease}).to_string();
    let (status, problem) = collector.request("PUT", "/v1/runs/b-1", &body);
    assert_eq!(status, 409, "{problem}");
    collector.stop_cleanly();
}

#[test]
fn who_waits_for_a_probe_is_told_to_wait_whatever_is_known_of_the_account() {
    let place = Place::new();
    let collector = place.serve_with("[[account]]\nname = \"u\"\n");
    let refused = json!({"account": "u", "status": 429, "headers": {"retry-after": "1"}});
    assert_eq!(
        collector
            .request("POST", "/v1/observations", &refused.to_string())
            .0,
        200
    );
    let (_, first) = collector.acquire(&json!({"key": "early"}));
    assert_eq!(
        (&first["decision"], &first["by"]),
        (&"wait".into(), &"cool_down".into()),
        "{first}"
    );
    let output = place.run(&["lease", "acquire", "--key", "probe", "--wait=20s", "--json"]);
    let granted: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(granted["leases"][0]["probe"], true, "{granted}");
    let (_, other) = collector.acquire(&json!({"key": "other"}));
    assert_eq!(
        (&other["decision"], &other["reason"]),
        (&"wait".into(), &"probing".into()),
        "{other}"
    );
    for model in ["\u{1b}[31m".to_owned(), "m".repeat(129)] {
        let (status, problem) = collector.acquire(&json!({"key": "model", "model": model}));
        assert_eq!((status, &problem["field"]), (400, &"model".into()), "{problem}");
    }
    collector.stop_cleanly();
}

#[test]
fn a_class_or_a_window_that_does_not_exist_is_refused_with_the_one_that_was_meant() {
    let place = Place::new();
    let collector = place.serve_with(&format!("{}reserve = {{ high = 0.1, batch = 0 }}\n", places(9)));
    let refused = |field: &str, body: &Value| {
        let (status, problem) = collector.acquire(body);
        assert_eq!((status, &problem["field"]), (400, &field.into()), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    };
    let why = refused("class", &json!({"key": "a", "class": "hihg"}));
    assert!(why.contains("did you mean `high`?"), "{why}");
    for name in ["five_huor", "fivehour", "\u{202e}", "two words"] {
        let why = refused("cost", &json!({"key": "a", "cost": {name: 0.1}}));
        assert!(why.contains("five_hour") || name == "\u{202e}", "{why}");
    }
    let why = refused(
        "cost",
        &json!({"key": "a", "cost": {"5h": 0.1, "five_hour": 0.1}}),
    );
    assert!(why.contains("five_hour is there twice"), "{why}");
    assert_eq!(collector.leases(), json!([]));
    for (key, class) in [("b", "high"), ("c", "batch")] {
        collector
            .lease(&json!({"key": key, "class": class, "cost": {"5h": 0.01, "weekly_scoped:opus": 0.01}}));
    }
    for words in [
        &["lease", "acquire", "--class", "hihg"][..],
        &["run", "--admit", "--class", "hihg", "r", "--", "touch", "never"],
        &["capacity", "--class", "hihg"],
    ] {
        let said = code(&place.run(words), 64);
        assert!(said.contains("did you mean `high`?"), "{said}");
    }
    let cost = place.run(&["lease", "acquire", "--cost", "five_huor=0.1"]);
    assert!(code(&cost, 64).contains("did you mean `five_hour`?"));
    collector.stop_cleanly();
}
