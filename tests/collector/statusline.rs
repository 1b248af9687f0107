//! `statusline`: what an agent shows below its prompt, and the limits it passes on.

use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::{Value, json};
use tokentail::clock::Clock;

use crate::harness::{Place, append, text};

const SESSION: &str = "11111111-aaaa-4aaa-8aaa-000000000001";

const ACCOUNTS: &str = r#"
[[account]]
name = "max-1"
runs = ["m-*"]
[[account]]
name = "default"
"#;

/// The input of a status line, with a share of the five hours.
fn input(share: f64) -> Value {
    let reset = Clock::SYSTEM.timestamp().as_second() + 7_200;
    json!({
        "session_id": SESSION,
        "model": {"id": "claude-opus-5", "display_name": "Opus 5"},
        "context_window": {"used_percentage": 34},
        "rate_limits": {"five_hour": {"used_percentage": share, "resets_at": reset}},
    })
}

/// A response of the session, today.
fn response(output: u64) -> String {
    let at = Clock::SYSTEM.timestamp();
    let line = json!({
        "type": "assistant", "sessionId": SESSION, "timestamp": at.to_string(), "requestId": "r1",
        "message": {"id": "msg_01AbCdEfGhIjKlMnOpQrStUv", "role": "assistant", "model": "claude-opus-5",
            "stop_reason": "end_turn", "usage": {"input_tokens": 300, "output_tokens": output}},
    });
    line.to_string() + "\n"
}

fn statusline(place: &Place, flags: &[&str], input: &[u8]) -> Output {
    let words = [&["statusline"], flags].concat();
    let mut command = place.command(&words);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command.env("NO_COLOR", "1").env("TZ", "UTC");
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn shown(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    std::str::from_utf8(&output.stdout).unwrap()
}

#[test]
fn the_line_has_the_run_and_today_and_its_limits_become_observations() {
    let place = Place::new();
    let mut collector = place.serve();
    append(&place.log("r", "a.jsonl"), response(1_200));
    collector.wait_for_messages(1);
    let output = statusline(&place, &[], input(42.0).to_string().as_bytes());
    assert_eq!(
        shown(&output),
        "Opus 5 | run 1.5k today 1.5k $0.03 | 5h 42% resets 2h00m | ctx 34%\n"
    );
    assert_eq!(text(&output.stderr), "");
    let quota = collector.get("/v1/quota").1;
    let window = &quota["windows"][0];
    assert_eq!(
        (&window["window"], &window["utilization"], &window["source"]),
        (&json!("five_hour"), &json!(0.42), &json!("statusline"))
    );
    // A terminal that idles repeats an old share: the collector knows a higher one.
    let output = statusline(
        &place,
        &["--format", "{five_hour}"],
        input(12.0).to_string().as_bytes(),
    );
    assert_eq!(shown(&output), "5h 42% resets 2h00m\n");
    collector.stop_cleanly();
}

#[test]
fn the_limits_are_those_of_the_account_of_the_session() {
    let place = Place::new();
    let mut collector = place.serve_with(ACCOUNTS);
    append(&place.log("m-1", "a.jsonl"), response(1));
    collector.wait_for_messages(1);
    let body = input(50.0).to_string();
    let (status, answer) = collector.request("POST", "/v1/statusline?zone=Asia/Kathmandu", &body);
    assert_eq!((status, &answer["account"]), (200, &json!("max-1")), "{answer}");
    assert_eq!(answer["windows"][0]["account"], "max-1", "{answer}");
    assert_eq!(answer["session_tokens"], 301);
    // A session that was not read yet.
    let other = body.replace(SESSION, "22222222-aaaa-4aaa-8aaa-000000000002");
    let (_, answer) = collector.request("POST", "/v1/statusline", &other);
    assert_eq!(answer["account"], "default", "{answer}");
    assert_eq!(
        (&answer["run_tokens"], &answer["session_tokens"]),
        (&Value::Null, &Value::Null)
    );
    let (status, problem) = collector.request("POST", "/v1/statusline?zone=Nowhere", &body);
    assert_eq!((status, &problem["field"]), (400, &json!("zone")));
    let (status, problem) = collector.request("POST", "/v1/statusline", "[1");
    assert_eq!((status, &problem["field"]), (400, &json!("body")));
    collector.stop_cleanly();
}

#[test]
fn an_impossible_share_is_no_observation() {
    let place = Place::new();
    let collector = place.serve();
    for share in [-5.0, 12_345_678.0, 1e300] {
        let output = statusline(
            &place,
            &["--format", "{five_hour}"],
            input(share).to_string().as_bytes(),
        );
        assert_eq!(shown(&output), "", "{share}");
    }
    assert_eq!(collector.get("/v1/quota").1["windows"], json!([]));
    collector.stop_cleanly();
}

#[test]
fn it_never_fails() {
    let place = Place::new();
    let body = input(42.0).to_string();
    let output = statusline(&place, &[], body.as_bytes());
    assert_eq!(
        shown(&output),
        "Opus 5 | 5h 42% resets 2h00m | ctx 34%\n",
        "without a collector"
    );
    for hostile in [
        "",
        "{",
        "[1,2]",
        "null",
        "{\"model\":{\"id\":7}}",
        "\u{0}\u{1b}]0;x\u{7}",
    ] {
        let output = statusline(&place, &[], hostile.as_bytes());
        assert_eq!((shown(&output), &*text(&output.stderr)), ("", ""), "{hostile:?}");
    }
}

#[test]
fn another_command_has_the_same_input_and_prints_below() {
    let place = Place::new();
    let body = input(42.0).to_string();
    let output = statusline(
        &place,
        &["--format", "{context}", "--then", "wc -c | tr -d ' '"],
        body.as_bytes(),
    );
    assert_eq!(shown(&output), format!("ctx 34%\n{}\n", body.len()));
    let output = statusline(&place, &["--format", "", "--then", "exit 3"], body.as_bytes());
    assert_eq!(shown(&output), "");
    assert_eq!(
        text(&output.stderr),
        "tokentail: the command of --then: exit status: 3\n"
    );
}
