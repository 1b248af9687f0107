//! Posted records, which no transcript contains.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, response, text};
use crate::stream::Client;

/// Behind `msg_`.
const MESSAGE: &str = "01XFDUDYJgAACzvnptvVoYEL";

fn record(id: &str, route: &str, tokens: u64, fallbacks: u64) -> Value {
    json!({
        "id": id, "source": "router-1", "time": "2026-10-05T10:00:00Z", "provider": "openai", "model": "gpt-4o",
        "profile": "default", "route": route, "instance": "inst1", "fallbacks": fallbacks,
        "usage": {"input_tokens": tokens - 1, "output_tokens": 1},
    })
}

fn post(collector: &Collector, body: &Value) -> (u16, Value) {
    collector.request("POST", "/v1/records", &body.to_string())
}

fn post_lines(collector: &Collector, lines: &str) -> (u16, Value) {
    let kind = "Content-Type: application/x-ndjson\r\n";
    let (status, _, body) = collector.exchange("POST", "/v1/records", kind, lines);
    (status, serde_json::from_str(&body).unwrap())
}

/// Counted, duplicate and rejected.
fn counts(answer: &Value) -> [u64; 3] {
    ["counted", "duplicate", "rejected"].map(|name| answer[name].as_u64().unwrap())
}

fn rows(collector: &Collector, query: &str) -> Vec<Value> {
    let (status, usage) = collector.get(&format!("/v1/usage?{query}"));
    assert_eq!(status, 200, "{usage}");
    usage["rows"].as_array().unwrap().clone()
}

/// Key, messages, tokens, fallbacks and failed attempts of each row.
fn figures(rows: &[Value]) -> Vec<(String, [u64; 4])> {
    let names = ["messages", "total_tokens", "fallbacks", "failed_attempts"];
    let figures = |row: &Value| names.map(|name| row[name].as_u64().unwrap());
    let key = |row: &Value| row["key"].as_str().unwrap_or("-").to_owned();
    rows.iter().map(|row| (key(row), figures(row))).collect()
}

fn row(key: &str, figures: [u64; 4]) -> (String, [u64; 4]) {
    (key.to_owned(), figures)
}

#[test]
fn records_are_counted_by_route_and_stay_so() {
    let place = Place::new();
    let collector = place.serve();
    let (status, answer) = post(&collector, &record("1", "/think", 25_000_000, 2));
    assert_eq!((status, counts(&answer)), (200, [1, 0, 0]), "{answer}");
    let others = json!([
        record("2", "/think", 15_000_000, 1),
        record("3", "/ultrathink", 5_600_000, 0)
    ]);
    assert_eq!(counts(&post(&collector, &others).1), [2, 0, 0]);
    let by_route = [
        row("/think", [2, 40_000_000, 3, 0]),
        row("/ultrathink", [1, 5_600_000, 0, 0]),
    ];
    assert_eq!(figures(&rows(&collector, "group_by=route")), by_route);
    for (group, key) in [
        ("profile", "default"),
        ("instance", "inst1"),
        ("provider", "openai"),
        ("run", "(none)"),
        ("dialect", "-"),
        ("session", "-"),
    ] {
        let all = figures(&rows(&collector, &format!("group_by={group}")));
        assert_eq!(all, [row(key, [3, 45_600_000, 3, 0])], "{group}");
    }
    let one = rows(
        &collector,
        "group_by=model&route=/ultrathink&instance=inst1&run=(none)",
    );
    assert_eq!(figures(&one), [row("gpt-4o", [1, 5_600_000, 0, 0])]);
    assert_eq!(rows(&collector, "profile=other"), Vec::<Value>::new());
    // In all totals, and in no run.
    let summary = collector.summary();
    assert_eq!(
        (&summary["messages"], &summary["by_run"]),
        (&json!(3), &json!({}))
    );
    assert_eq!(summary["without_run"]["total_tokens"], 45_600_000);
    collector.stop_cleanly();
    place.assert_verified();

    let collector = place.serve();
    assert_eq!(counts(&post(&collector, &others).1), [0, 2, 0]);
    assert_eq!(figures(&rows(&collector, "group_by=route")), by_route);
    collector.stop_cleanly();
}

#[test]
fn each_record_has_its_own_answer_and_the_valid_ones_count() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let collector = place.serve();
    assert_eq!(counts(&post(&collector, &record("1", "/a", 10, 0)).1), [1, 0, 0]);
    let mut below_zero = record("2", "/a", 10, 0);
    below_zero["usage"]["input_tokens"] = json!(-1);
    let mut nowhere = record("3", "/a", 10, 0);
    nowhere["run"] = json!("two");
    let mut of_run = record("4", "/a", 10, 0);
    of_run["run"] = json!("one");
    of_run["attempts"] = json!([{"provider": "claude", "error": "rate_limit"}]);
    let failed = json!({"id": "5", "outcome": "failed", "provider": "openai", "route": "/a"});
    let body = json!([
        record("1", "/a", 10, 0), record("1", "/b", 10, 0), below_zero, nowhere, of_run, failed, {"id": 6}
    ]);
    let (status, answer) = post(&collector, &body);
    assert_eq!((status, counts(&answer)), (200, [2, 1, 4]), "{answer}");
    let items: Vec<_> = answer["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    let expected = [
        r#"{"detail":null,"id":"1","index":0,"status":"duplicate"}"#,
        r#"{"detail":"id: another content was posted under it, and stays","id":"1","index":1,"status":"conflict"}"#,
        r#"{"detail":"usage.input_tokens: below zero","id":"2","index":2,"status":"invalid"}"#,
        r#"{"detail":"run: there is no run two; `tokentail runs` or GET /v1/runs lists all runs","id":"3","index":3,"status":"invalid"}"#,
        r#"{"detail":"id: not a string","id":null,"index":6,"status":"invalid"}"#,
    ];
    assert_eq!(items, expected);
    let by_run = [row("(none)", [1, 10, 0, 1]), row("one", [2, 25, 0, 1])];
    assert_eq!(figures(&rows(&collector, "group_by=run")), by_run);
    let by_provider = [row("claude", [1, 15, 0, 1]), row("openai", [2, 20, 0, 1])];
    assert_eq!(figures(&rows(&collector, "group_by=provider")), by_provider);
    // One that was refused counts once it is right.
    let mut right = record("2", "/a", 10, 0);
    right["estimated"] = json!(true);
    assert_eq!(counts(&post(&collector, &right).1), [1, 0, 0]);
    let (_, usage) = collector.get("/v1/usage?group_by=account");
    assert_eq!(usage["totals"]["estimated_tokens"], 10, "{usage}");
    let (_, _, csv) = collector.exchange("GET", "/v1/usage?group_by=route", "Accept: text/csv\r\n", "");
    assert!(csv.starts_with("route,messages,"), "{csv}");
    assert!(
        csv.lines()
            .next()
            .unwrap()
            .contains("total_tokens,fallbacks,failed_attempts,estimated_tokens"),
        "{csv}"
    );
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn lines_are_records_of_their_own_and_a_body_that_cannot_be_read_counts_nothing() {
    let place = Place::new();
    let collector = place.serve();
    let lines = format!(
        "{}\n\n{{\"id\":\n{}\r\n",
        record("1", "/a", 10, 0),
        record("2", "/a", 10, 0)
    );
    let (status, answer) = post_lines(&collector, &lines);
    assert_eq!((status, counts(&answer)), (200, [2, 0, 1]), "{answer}");
    assert_eq!(answer["items"][0]["index"], 1);
    assert!(
        answer["items"][0]["detail"]
            .as_str()
            .unwrap()
            .starts_with("not JSON: "),
        "{answer}"
    );

    for (body, status, words) in [
        ("{\"id\":", 400, "body: "),
        ("[{\"id\":\"9\"},", 400, "body: "),
        ("[]", 400, "there is no record in it"),
        ("{\"id\":\"9\"}\n{\"id\":\"10\"}", 400, "application/x-ndjson"),
    ] {
        let answer = collector.request("POST", "/v1/records", body);
        assert_eq!(answer.0, status, "{body}: {}", answer.1);
        assert!(
            answer.1["detail"].as_str().unwrap().contains(words),
            "{body}: {}",
            answer.1
        );
    }
    let many: Vec<Value> = (0..1001).map(|id| json!({"id": id.to_string()})).collect();
    let mut long = record("long", "/a", 10, 0);
    long["route"] = json!("x".repeat(64 << 10));
    let mut large = record("large", "/a", 10, 0);
    large["route"] = json!("x".repeat(1 << 20));
    for (body, words) in [
        (json!(many), "1001 records, at most 1000"),
        (json!([record("3", "/a", 10, 0), long]), "record 1 has "),
        (large, "at most 1048576 bytes"),
    ] {
        let (status, answer) = post(&collector, &body);
        assert_eq!(status, 413, "{answer}");
        assert!(answer["detail"].as_str().unwrap().contains(words), "{answer}");
    }
    // 1,000 records of more than 64 KiB together are fine.
    let thousand: Vec<Value> = (0..1000)
        .map(|id| record(&format!("m{id}"), "/a", 10, 0))
        .collect();
    assert_eq!(counts(&post(&collector, &json!(thousand)).1), [1000, 0, 0]);
    assert_eq!(
        figures(&rows(&collector, "group_by=route")),
        [row("/a", [1002, 10_020, 0, 0])]
    );
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn records_are_taken_on_the_socket_only() {
    let place = Place::new();
    let mut command = place.command(&["serve"]);
    command.env("TOKENTAIL__HTTP__LISTEN", "127.0.0.1:0");
    let mut collector = Collector::start(command, place.socket());
    let address = collector.tcp();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let body = record("1", "/a", 10, 0).to_string();
    write!(
        stream,
        "POST /v1/records HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(text(&answer).starts_with("HTTP/1.1 40"), "{}", text(&answer));
    assert_eq!(counts(&post(&collector, &record("1", "/a", 10, 0)).1), [1, 0, 0]);
    collector.stop_cleanly();
}

/// Reads the head of an answer.
#[expect(clippy::disallowed_methods, reason = "bounded by `take`")]
fn content_length(stream: &mut BufReader<UnixStream>) -> usize {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.take(1 << 16).read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            return length;
        }
    }
}

#[test]
fn three_posts_on_one_connection_are_all_counted() {
    let place = Place::new();
    let collector = place.serve();
    let mut stream = BufReader::new(UnixStream::connect(collector.socket_path()).unwrap());
    let began = Instant::now();
    for id in ["1", "2", "3"] {
        let body = record(id, "/a", 10, 0).to_string();
        write!(
            stream.get_mut(),
            "POST /v1/records HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let length = content_length(&mut stream);
        let mut answer = vec![0; length];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(counts(&serde_json::from_slice(&answer).unwrap()), [1, 0, 0]);
    }
    println!("three posts took {} ms", began.elapsed().as_millis());
    assert_eq!(
        figures(&rows(&collector, "group_by=route")),
        [row("/a", [3, 30, 0, 0])]
    );
    collector.stop_cleanly();
}

#[test]
fn a_transcript_and_a_record_of_one_response_count_once_in_either_order() {
    let of_message = |id: &str, message: &str| {
        json!({"id": id, "run": "one", "route": "/think", "model": "m", "fallbacks": 1, "message_id": message,
               "usage": {"input_tokens": 300, "output_tokens": 200}})
    };
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let (_, answer) = post(
        &collector,
        &json!([
            of_message("1", "msg_1"),
            of_message("2", &format!("msg_{MESSAGE}"))
        ]),
    );
    assert_eq!(counts(&answer), [2, 0, 0], "{answer}");
    assert_eq!(
        figures(&rows(&collector, "group_by=route")),
        [row("/think", [2, 515, 2, 0])]
    );
    append(&place.log("one", "a.jsonl"), response(MESSAGE, 7, 1));
    collector.wait_until("the line replaces the record", |summary| {
        summary["totals"]["output_tokens"] == 12
    });
    assert_eq!(
        figures(&rows(&collector, "group_by=route")),
        [row("/think", [2, 32, 2, 0])]
    );
    assert_eq!(
        figures(&rows(&collector, "group_by=run")),
        [row("one", [2, 32, 2, 0])]
    );
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn records_appear_in_the_stream_of_their_run() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let collector = place.serve();
    let (_, mut client) = Client::connect(&collector, "?kinds=usage", "");
    let mut next = || client.find(|kind, _| kind == "usage");
    let mut of_run = record("1", "/a", 10, 0);
    of_run["run"] = json!("one");
    post(&collector, &of_run);
    let told = next();
    assert_eq!(
        (&told["run"], &told["delta"]["total_tokens"]),
        (&json!("one"), &json!(10)),
        "{told}"
    );
    assert_eq!(told["totals"]["messages"], 2, "{told}");
    post(&collector, &record("2", "/a", 20, 0));
    let told = next();
    assert_eq!(
        (&told["run"], &told["provider"]),
        (&Value::Null, &json!("openai")),
        "{told}"
    );
    assert_eq!(
        (&told["delta"]["total_tokens"], &told["totals"]["total_tokens"]),
        (&json!(20), &json!(20))
    );
    collector.stop_cleanly();
}

#[test]
fn a_commit_that_fails_is_tried_again_with_the_records_and_others_get_503_meanwhile() {
    let place = Place::new();
    let mut collector = place.serve();
    let away = place.path("away.redb");
    std::fs::rename(place.db(), &away).unwrap();
    let body = record("1", "/a", 10, 0).to_string();
    let kind = "Content-Type: application/json\r\n";
    let socket = collector.socket_path().to_owned();
    let first = std::thread::scope(|scope| {
        let posting = {
            let (socket, body) = (&socket, &body);
            std::thread::Builder::new()
                .spawn_scoped(scope, move || crate::record_kills::post(socket, body))
                .unwrap()
        };
        collector.wait_for_log("commits wait");
        let (status, head, answer) =
            collector.exchange("POST", "/v1/records", kind, &record("2", "/a", 10, 0).to_string());
        assert_eq!(status, 503, "{answer}");
        assert!(head.contains("retry-after: 1"), "{head}");
        std::fs::rename(&away, place.db()).unwrap();
        posting.join().unwrap().unwrap()
    });
    assert_eq!((first.0, counts(&first.1)), (200, [1, 0, 0]), "{}", first.1);
    assert_eq!(
        counts(
            &post(
                &collector,
                &json!([record("1", "/a", 10, 0), record("2", "/a", 10, 0)])
            )
            .1
        ),
        [1, 1, 0]
    );
    collector.stop_cleanly();
    place.assert_verified();
}

/// Runs `record` with these lines.
fn record_command(place: &Place, words: &[&str], lines: &str) -> (Option<i32>, String, String) {
    let mut command = place.command(&[&["record"], words].concat());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // It may refuse before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    let output = child.wait_with_output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_command_posts_a_file_and_says_what_was_rejected() {
    let place = Place::new();
    let collector = place.serve();
    let mut lines: Vec<String> = (0..1012)
        .map(|id| record(&format!("{}", id % 1000), "/a", 10, 0).to_string())
        .collect();
    let mut bad = record("bad", "/a", 10, 0);
    bad["usage"]["input_tokens"] = json!(-1);
    lines[36] = bad.to_string();
    let text = lines.join("\n");
    let (code, said, warned) = record_command(&place, &[], &text);
    // Line 37 replaced the record of id 36, which is not repeated.
    assert_eq!(
        said, "999 counted, 12 duplicate, 1 rejected: line 37: usage.input_tokens: below zero\n",
        "{warned}"
    );
    assert_eq!(code, Some(65));
    let (code, said, _) = record_command(&place, &["--json"], &lines[..36].join("\n"));
    let document: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, counts(&document)), (Some(0), [0, 36, 0]), "{said}");
    let long = format!("{{\"id\":\"{}\"}}\n[]\n", "x".repeat(64 << 10));
    let (code, said, _) = record_command(&place, &[], &long);
    assert_eq!(code, Some(65));
    assert_eq!(
        said,
        "0 counted, 2 rejected:\n  line 1: longer than 64 KiB\n  line 2: not a JSON object\n"
    );
    collector.stop_cleanly();
}

#[test]
fn records_wait_in_the_spool_while_the_collector_is_away() {
    let place = Place::new();
    let line = |id: &str| {
        let mut record = record(id, "/a", 10, 0);
        record.as_object_mut().unwrap().remove("time");
        format!("{record}\n")
    };
    let (code, said, warned) = record_command(&place, &[], &(line("1") + "7\n" + &line("2")));
    assert_eq!(code, Some(65), "{warned}");
    let spool = place.path("state/records.spool");
    let path = spool.display();
    assert_eq!(
        said,
        format!("0 counted, 2 kept in {path} for the next time, 1 rejected: line 2: not a JSON object\n")
    );
    assert!(warned.contains("no collector answers"), "{warned}");
    assert!(
        std::fs::read_to_string(&spool)
            .unwrap()
            .contains("\"received_at\":")
    );
    let collector = place.serve();
    let (code, said, _) = record_command(&place, &[], &line("3"));
    assert_eq!((code, said.as_str()), (Some(0), "3 counted\n"));
    assert_eq!(std::fs::metadata(&spool).unwrap().len(), 0);
    // The time of receipt is no part of the content.
    assert_eq!(
        record_command(&place, &[], &line("1")).1,
        "0 counted, 1 duplicate\n"
    );
    assert_eq!(
        figures(&rows(&collector, "group_by=route")),
        [row("/a", [3, 30, 0, 0])]
    );
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_full_spool_takes_nothing_more_and_keeps_what_it_has() {
    let place = Place::new();
    let lines: Vec<String> = (0..12_000)
        .map(|id| record(&id.to_string(), "/a", 10, 0).to_string())
        .collect();
    let lines = lines.join("\n");
    assert!(lines.len() > 2 << 20);
    let (code, _, warned) = record_command(&place, &["--spool", "s.ndjson", "--spool-max", "1"], &lines);
    assert_eq!(code, Some(75), "{warned}");
    assert!(warned.contains("is full (1.0 MiB): line "), "{warned}");
    let kept = std::fs::read_to_string(place.path("s.ndjson")).unwrap();
    assert!(
        kept.len() <= 1 << 20 && kept.lines().count() > 4000,
        "{}",
        kept.len()
    );
    let collector = place.serve();
    let (_, said, _) = record_command(&place, &["--spool", "s.ndjson"], &lines);
    let all = format!(
        "12,000 counted, {} duplicate\n",
        tokentail::model::format::grouped(kept.lines().count() as u64)
    );
    assert_eq!(said, all);
    collector.stop_cleanly();
}
