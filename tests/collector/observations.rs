//! Observations that someone tells: what never reaches a log.

use serde_json::{Value, json};

use crate::harness::{Collector, Place, append, response};

fn tell(collector: &Collector, body: &Value) -> (u16, Value) {
    collector.request("POST", "/v1/observations", &body.to_string())
}

/// A time so many seconds from now, as RFC 3339 and as Unix seconds.
fn from_now(seconds: i64) -> (String, i64) {
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(seconds);
    (at.to_string(), at.as_second())
}

fn window<'d>(windows: &'d Value, bucket: &str) -> &'d Value {
    let found = windows
        .as_array()
        .unwrap()
        .iter()
        .find(|window| window["bucket"] == bucket);
    found.unwrap_or_else(|| panic!("no {bucket} in {windows}"))
}

fn status_line(share: f64, reset: i64) -> Value {
    json!({"model": {"id": "m"}, "rate_limits": {"five_hour": {"used_percentage": share, "resets_at": reset}}})
}

#[test]
fn what_is_told_is_a_window_like_any_other_and_told_again_changes_nothing() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    let (at, _) = from_now(-60);
    let (_, reset) = from_now(3600);
    let body = json!({"observed_at": at, "statusline": status_line(42.0, reset)});
    let (status, first) = tell(&collector, &body);
    assert_eq!((status, &first["observations"]), (200, &json!(1)), "{first}");
    let five_hour = window(&first["windows"], "five_hour");
    assert_eq!(
        (&five_hour["utilization"], &five_hour["source"]),
        (&json!(0.42), &json!("statusline"))
    );
    let (_, again) = tell(&collector, &body);
    let pace = |answer: &Value| {
        let mut window = window(&answer["windows"], "five_hour").clone();
        // They go with the clock.
        window["pace"] = Value::Null;
        window["projected_exhaustion_at"] = Value::Null;
        window
    };
    assert_eq!(pace(&again), pace(&first));
    let history = collector.get("/v1/quota/history?bucket=five_hour").1;
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    // A rejection in headers closes the account.
    let headers = json!({"status": 429, "headers": {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
        "anthropic-ratelimit-unified-5h-utilization": ["1.0"],
        "anthropic-ratelimit-unified-5h-reset": reset.to_string()}});
    assert_eq!(tell(&collector, &headers).0, 200);
    let answer = collector.get("/v1/may-start").1;
    assert_eq!(answer["decision"], "wait", "{answer}");
    // What is older goes into the history only.
    let (old, _) = from_now(-600);
    let (_, answer) = tell(
        &collector,
        &json!({"observed_at": old, "statusline": status_line(7.0, reset)}),
    );
    assert_eq!(window(&answer["windows"], "five_hour")["status"], "rejected");
    // It survives a kill.
    collector.kill();
    let collector = place.serve();
    assert_eq!(collector.get("/v1/may-start").1["decision"], "wait");
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn they_go_to_the_account_of_a_run_or_to_one_that_is_known() {
    let place = Place::new();
    let mut collector = place.serve();
    let body = r#"{"labels":{"account":"other"}}"#;
    assert_eq!(collector.request("PUT", "/v1/runs/r", body).0, 201);
    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    collector.wait_for_messages(1);
    let (_, reset) = from_now(3600);
    let event = json!({"type": "rate_limit_event", "rate_limit_info":
        {"status": "allowed", "rateLimitType": "seven_day", "resetsAt": reset, "utilization": 0.5}});
    let (status, answer) = tell(
        &collector,
        &json!([
            {"run": "r", "rate_limit_event": event},
            {"account": "other", "statusline": status_line(10.0, reset)},
            {"statusline": status_line(20.0, reset)},
        ]),
    );
    assert_eq!((status, &answer["observations"]), (200, &json!(3)), "{answer}");
    let windows = answer["windows"].as_array().unwrap();
    let named: Vec<String> = windows
        .iter()
        .map(|window| {
            format!(
                "{} {} {}",
                window["account"], window["bucket"], window["utilization"]
            )
        })
        .collect();
    assert_eq!(
        named,
        [
            r#""default" "five_hour" 0.2"#,
            r#""other" "five_hour" 0.1"#,
            r#""other" "seven_day" 0.5"#
        ]
    );
    // A mark by a name that only one provider has.
    let mark = r#"{"state":"exhausted"}"#;
    assert_eq!(collector.request("POST", "/v1/quota/other/mark", mark).0, 200);
    assert_eq!(
        collector.request("POST", "/v1/quota/claude:other/mark", mark).0,
        200
    );
    let (status, problem) = collector.request("POST", "/v1/quota/nobody/mark", mark);
    assert_eq!((status, &problem["field"]), (404, &json!("account")));
    collector.stop_cleanly();
}

#[test]
fn what_tells_nothing_is_refused_by_its_name_and_nothing_of_it_is_taken() {
    let place = Place::new();
    let collector = place.serve();
    let (_, reset) = from_now(3600);
    let good = json!({"statusline": status_line(10.0, reset)});
    let with = |field: &str, value: Value| {
        let mut body = good.clone();
        body[field] = value;
        body
    };
    let (ahead, _) = from_now(3600);
    for (body, status, field) in [
        (json!({}), 400, "body"),
        (json!([]), 400, "body"),
        (json!(7), 400, "body"),
        (with("colour", json!(1)), 400, "body"),
        (with("headers", json!({})), 400, "body"),
        (with("observed_at", json!("yesterday")), 400, "observed_at"),
        (with("observed_at", json!(ahead)), 400, "observed_at"),
        (with("status", json!(429)), 400, "status"),
        (with("account", json!("nobody")), 404, "account"),
        (with("run", json!("nobody")), 404, "run"),
        (with("run", json!("a/b")), 400, "run"),
        (json!({"statusline": {}}), 422, "statusline"),
        (json!({"statusline": 7}), 422, "statusline"),
        (json!({"headers": {"content-type": "x"}}), 422, "headers"),
        (json!({"rate_limit_event": {}}), 422, "rate_limit_event"),
        (with("statusline", status_line(1e308, reset)), 400, "statusline"),
        (
            with("statusline", status_line(10_001.0, reset)),
            400,
            "statusline",
        ),
        (
            with("statusline", status_line(50.0, reset + 367 * 86_400)),
            400,
            "statusline",
        ),
        (json!([good, {"headers": {}}]), 422, "[1].headers"),
        (
            json!([{"account": "nobody", "statusline": status_line(1.0, reset)}]),
            404,
            "[0].account",
        ),
        (Value::Array(vec![good.clone(); 101]), 400, "body"),
    ] {
        let (answered, problem) = tell(&collector, &body);
        assert_eq!(
            (answered, &problem["field"]),
            (status, &json!(field)),
            "{body}: {problem}"
        );
    }
    let (status, problem) = collector.request("POST", "/v1/observations", "{");
    assert_eq!((status, &problem["field"]), (400, &json!("body")));
    assert_eq!(collector.get("/v1/quota").1["windows"], json!([]));
    collector.stop_cleanly();
}
