//! Routes of limits: answers to invalid questions, methods and bodies.

use serde_json::json;

use super::{HOUR, account, now, refused, second, share_line};
use crate::harness::Place;
use crate::scenario::EVENTS_ONLY;

const JSON: &str = "Content-Type: application/json\r\n";
const MARK: &str = "/v1/accounts/claude/max-1/mark";
const MODELS: &str = "[[account]]\nname = \"max-1\"\nmodels = { \"a b&c=d/é+%\" = \"served\" }\n";
/// More than any document of these routes.
const REASON_BYTES: usize = 60_000;

#[test]
fn questions_with_unknown_or_broken_parts_are_refused() {
    let place = Place::new();
    let collector = place.live_with(MODELS);
    for path in [
        "/v1/may-start?bad=1",
        "/v1/may-start?model=a&model=b",
        "/v1/quota/history",
        "/v1/quota/history?window=five_hour&since=1",
    ] {
        let (status, problem) = collector.get(path);
        assert_eq!(
            (status, &problem["status"]),
            (400, &400.into()),
            "{path}: {problem}"
        );
        assert_eq!(problem["title"], "not a query of this route", "{path}");
        assert_ne!(problem["detail"], "", "{path}");
    }
    for path in [
        "/v1/quota/",
        "/v1/accounts/claude/max-1",
        "/v1/accounts/claude/mark",
        "/v1/may-start/x",
    ] {
        assert_eq!(collector.get(path).0, 404, "{path}");
    }
    collector.stop_cleanly();
}

#[test]
fn a_model_may_have_any_letters() {
    let place = Place::new();
    let mut collector = place.live_with(MODELS);
    collector.commit_line(
        &place,
        "one",
        &share_line(now(), "five_hour", 0.2, second(now() + HOUR)),
    );
    let ask = |model: &str| collector.get(&format!("/v1/may-start?model={model}")).1;
    for escaped in ["a%20b%26c%3Dd%2F%C3%A9%2B%25", "a+b%26c%3dd/%c3%a9%2b%25"] {
        assert_eq!(ask(escaped)["chosen"]["model"], "served", "{escaped}");
    }
    assert_eq!(ask("")["chosen"]["model"], "");
    assert_eq!(ask("%22%0a")["chosen"]["model"], "\"\n");
    let answer = place.document(0, &["may-start", "--model", "a b&c=d/é+%"]);
    assert_eq!(answer["chosen"]["model"], "served");
    let answer = place.document(0, &["may-start", "--model", "x&bad=1#%41"]);
    assert_eq!(answer["chosen"]["model"], "x&bad=1#%41");
    collector.stop_cleanly();
}

#[test]
fn a_window_of_one_family_binds_that_family_only() {
    let place = Place::new();
    let mut collector = place.live_with("");
    let reset = second(now() + HOUR);
    collector.commit_line(&place, "one", &share_line(now(), "five_hour", 0.2, reset));
    collector.commit_line(&place, "one", &refused(now(), "seven_day_opus", reset));
    for (words, code) in [
        (&["may-start"][..], 0),
        (&["may-start", "--model", "claude-sonnet-5"], 0),
        (&["may-start", "--model", "claude-opus-5"], 1),
    ] {
        place.document(code, words);
    }
    collector.stop_cleanly();
}

#[test]
fn a_wrong_method_is_answered_with_the_right_one() {
    let place = Place::new();
    let collector = place.live_with(MODELS);
    for path in [
        "/v1/quota",
        "/v1/may-start",
        "/v1/quota/history?window=five_hour",
        "/v1/summary",
    ] {
        for method in ["POST", "PUT", "DELETE", "PATCH"] {
            let (status, head, problem) = collector.send(method, path, JSON, "{}");
            assert_eq!(status, 405, "{method} {path}");
            assert!(head.contains("allow: get"), "{method} {path}: {head}");
            assert_eq!(problem["detail"], "this route takes GET, HEAD");
        }
    }
    for method in ["GET", "PUT", "DELETE"] {
        let (status, head, problem) = collector.send(method, MARK, JSON, "{}");
        assert_eq!(status, 405, "{method}");
        assert!(head.contains("allow: post"), "{method}: {head}");
        assert_eq!(problem["detail"], "this route takes POST");
    }
    collector.stop_cleanly();
}

#[test]
fn a_body_that_is_no_mark_is_refused_and_changes_nothing() {
    let place = Place::new();
    let collector = place.live_with(&format!("{EVENTS_ONLY}{MODELS}"));
    let long = json!({ "state": "exhausted", "reason": "r".repeat(REASON_BYTES) }).to_string();
    let mark = r#"{"state":"exhausted"}"#;
    for (kind, body, wanted) in [
        (JSON, "{", 400),
        (JSON, "", 400),
        (JSON, "[]", 422),
        (JSON, "{}", 422),
        (JSON, r#"{"state":"exhausted","colour":1}"#, 422),
        (JSON, r#"{"state":7}"#, 422),
        (JSON, r#"{"state":"exhausted"} {}"#, 400),
        (
            JSON,
            r#"{"state":"exhausted","until":"2999-01-01T00:00:00"}"#,
            400,
        ),
        (
            JSON,
            r#"{"state":"exhausted","until":"1999-01-01T00:00:00Z"}"#,
            400,
        ),
        (JSON, r#"{"state":"Exhausted"}"#, 400),
        (JSON, long.as_str(), 400),
        ("", mark, 415),
        ("Content-Type: text/plain\r\n", mark, 415),
    ] {
        let (status, _, problem) = collector.send("POST", MARK, kind, body);
        let shown = &body[..body.len().min(80)];
        assert_eq!(
            (status, &problem["field"]),
            (wanted, &"body".into()),
            "{shown}: {problem}"
        );
        assert_ne!(problem["detail"], "", "{shown}");
    }
    for path in [
        "/v1/accounts/claude/max-2/mark",
        "/v1/accounts/codex/max-1/mark",
        "/v1/accounts/%2e/%ff/mark",
    ] {
        let (status, _, problem) = collector.send("POST", path, JSON, mark);
        let wanted = if path.contains("%ff") { 400 } else { 404 };
        assert_eq!(status, wanted, "{path}: {problem}");
    }
    let quota = collector.get("/v1/quota").1;
    assert_eq!(account(&quota, "max-1")["causes"], json!([]));
    assert_eq!(quota["accounts"].as_array().unwrap().len(), 1, "{quota}");
    let (status, _, quota) = collector.send("POST", MARK, JSON, mark);
    assert_eq!(
        (status, &account(&quota, "max-1")["state"]),
        (200, &"exhausted".into())
    );
    collector.stop_cleanly();
}

#[test]
fn the_history_has_one_point_for_each_minute() {
    let place = Place::new();
    let mut collector = place.live_with(MODELS);
    let (start, reset) = (now() / 60_000 * 60_000 - HOUR, second(now() + HOUR));
    for (after, share) in [
        (0, 0.1),
        (59_999, 0.2),
        (60_000, 0.3),
        (30_000, 0.4),
        (61_000, 0.25),
    ] {
        collector.commit_line(
            &place,
            "one",
            &share_line(start + after, "five_hour", share, reset),
        );
    }
    let shares = |path: &str| -> Vec<f64> {
        let (status, points) = collector.get(path);
        assert_eq!(status, 200, "{points}");
        points
            .as_array()
            .unwrap()
            .iter()
            .map(|point| point["utilization"].as_f64().unwrap())
            .collect()
    };
    let whole = "/v1/quota/history?provider=claude&account=max-1&window=five_hour";
    assert_eq!(shares(whole), [0.2, 0.25]);
    assert_eq!(shares("/v1/quota/history?account=max-1&window=5h"), [0.2, 0.25]);
    assert_eq!(shares("/v1/quota/history?account=max-1&window=other"), [0f64; 0]);
    assert_eq!(
        shares("/v1/quota/history?account=nobody&window=five_hour"),
        [0f64; 0]
    );
    collector.kill();
    let collector = place.resume();
    assert_eq!(collector.get(whole).1.as_array().unwrap().len(), 2);
    collector.stop_cleanly();
}
