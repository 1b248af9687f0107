//! Reported observations, which no log contains.

use serde_json::{Value, json};
use tokentail::clock::Clock;

use crate::harness::{Collector, Place, append, response};

fn post(collector: &Collector, body: &Value) -> (u16, Value) {
    collector.request("POST", "/v1/observations", &body.to_string())
}

/// A time so many seconds from now, as RFC 3339 and as Unix seconds.
fn from_now(seconds: i64) -> (String, i64) {
    let at = Clock::SYSTEM.timestamp() + jiff::SignedDuration::from_secs(seconds);
    (at.to_string(), at.as_second())
}

fn window<'d>(windows: &'d Value, name: &str) -> &'d Value {
    let found = windows
        .as_array()
        .unwrap()
        .iter()
        .find(|window| window["window"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {windows}"))
}

fn status_line(share: f64, reset: i64) -> Value {
    json!({"model": {"id": "m"}, "rate_limits": {"five_hour": {"used_percentage": share, "resets_at": reset}}})
}

#[test]
fn an_observation_is_a_window_like_any_other_and_a_repeated_one_changes_nothing() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    let (at, _) = from_now(-60);
    let (_, reset) = from_now(3600);
    let body = json!({"observed_at": at, "statusline": status_line(42.0, reset)});
    let (status, first) = post(&collector, &body);
    assert_eq!((status, &first["observations"]), (200, &json!(1)), "{first}");
    let five_hour = window(&first["windows"], "five_hour");
    assert_eq!(
        (&five_hour["utilization"], &five_hour["source"]),
        (&json!(0.42), &json!("statusline"))
    );
    let (_, again) = post(&collector, &body);
    let pace = |answer: &Value| {
        let mut window = window(&answer["windows"], "five_hour").clone();
        // They change with the clock.
        window["pace"] = Value::Null;
        window["projected_exhaustion_at"] = Value::Null;
        window["projected_block_at"] = Value::Null;
        window
    };
    assert_eq!(pace(&again), pace(&first));
    let history = collector.get("/v1/quota/history?window=five_hour").1;
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    // A rejection in headers blocks the account.
    let headers = json!({"status": 429, "headers": {
        "anthropic-ratelimit-unified-status": "rejected",
        "anthropic-ratelimit-unified-representative-claim": "five_hour",
        "anthropic-ratelimit-unified-5h-utilization": ["1.0"],
        "anthropic-ratelimit-unified-5h-reset": reset.to_string()}});
    assert_eq!(post(&collector, &headers).0, 200);
    let answer = collector.get("/v1/may-start").1;
    assert_eq!(answer["decision"], "wait", "{answer}");
    // An older one goes into the history only.
    let (old, _) = from_now(-600);
    let (_, answer) = post(
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
    let accounts = "[[account]]\nname = \"default\"\n[[account]]\nname = \"other\"\nruns = []\n";
    let mut collector = place.serve_with(accounts);
    let body = r#"{"labels":{"account":"other"}}"#;
    assert_eq!(collector.request("PUT", "/v1/runs/r", body).0, 201);
    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    collector.wait_for_messages(1);
    let (_, reset) = from_now(3600);
    let event = json!({"type": "rate_limit_event", "rate_limit_info":
        {"status": "allowed", "rateLimitType": "seven_day", "resetsAt": reset, "utilization": 0.5}});
    let (status, answer) = post(
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
                window["account"], window["window"], window["utilization"]
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
fn an_observation_without_content_is_refused_by_its_name_and_nothing_of_it_is_taken() {
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
        // An end is no reading, nor is a share under another name.
        (
            json!({"statusline": {"rate_limits": {"five_hour": {"utilization": 16, "resets_at": reset}}}}),
            422,
            "statusline",
        ),
        (
            json!({"headers": {"anthropic-ratelimit-unified-5h-reset": reset.to_string()}}),
            422,
            "headers",
        ),
        (
            json!({"status": 529, "headers": {"retry-after": "30"}}),
            422,
            "headers",
        ),
        (json!({"headers": {"retry-after": "30"}}), 422, "headers"),
        (
            json!({"usage": {"five_hour": null, "limits": [], "beta": true}}),
            422,
            "usage",
        ),
        (json!({"usage": []}), 422, "usage"),
        (
            json!({"usage": {"rate_limit": {"primary_window": null}}}),
            422,
            "usage",
        ),
        (
            json!({"cachedUsageUtilization": {"utilization": {"five_hour": {"utilization": 1}}}}),
            422,
            "cachedUsageUtilization",
        ),
        (
            json!({"cachedUsageUtilization": {"fetchedAtMs": (reset + 3600) * 1000,
                "utilization": {"five_hour": {"utilization": 1}}}}),
            400,
            "fetchedAtMs",
        ),
        (
            json!({"rate_limits": {"limit_id": "codex", "primary": null, "secondary": null}}),
            422,
            "rate_limits",
        ),
        (
            with("usage", json!({"five_hour": {"utilization": 1}})),
            400,
            "body",
        ),
        (json!([good, {"headers": {}}]), 422, "[1].headers"),
        (
            json!([{"account": "nobody", "statusline": status_line(1.0, reset)}]),
            404,
            "[0].account",
        ),
        (Value::Array(vec![good.clone(); 101]), 400, "body"),
    ] {
        let (answered, problem) = post(&collector, &body);
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

/// Share and source of each window in an answer, by its name.
fn shares(answer: &Value) -> Vec<(&str, Option<f64>, &str)> {
    let windows = answer["windows"].as_array().unwrap().iter();
    windows
        .map(|window| {
            let text = |name: &str| window[name].as_str().unwrap();
            (text("window"), window["utilization"].as_f64(), text("source"))
        })
        .collect()
}

#[test]
fn the_body_of_a_usage_api_is_taken_value_by_value() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    let (reset, seconds) = from_now(3600);
    let (week, _) = from_now(86_400);
    let body = json!({
        "five_hour": {"utilization": 0.5, "resets_at": reset, "locked_reason": null},
        "seven_day": {"utilization": "46", "resets_at": week},
        "seven_day_opus": {"utilization": 31, "resets_at": 7},
        "seven_day_sonnet": null,
        "extra_usage": {"is_enabled": true, "monthly_limit": 4000, "used_credits": 1200, "utilization": 30.0},
        "spend": {"used": {"amount_minor": 12}, "limit": {"amount_minor": 10}, "percent": 120},
        "iguana": {"utilization": null}, "member_dashboard_available": true, "list": [1],
        "limits": [
            {"kind": "session", "percent": 99, "resets_at": reset},
            {"kind": "weekly_all", "percent": 99},
            {"kind": "weekly_scoped", "percent": 99, "scope": {"model": {"id": null, "display_name": "Opus"}}},
            {"kind": "weekly_scoped", "percent": 12, "resets_at": week,
                "scope": {"model": {"id": null, "display_name": "Fable"}, "surface": null}},
            {"kind": "weekly_scoped", "percent": 13, "scope": {"model": null, "surface": "cowork"}},
            {"kind": "weekly_scoped", "percent": "many", "scope": {"surface": "other"}},
            7,
        ],
    });
    let (status, answer) = post(&collector, &json!({"usage": body}));
    assert_eq!(status, 200, "{answer}");
    let mut found = shares(&answer);
    found.sort_by_key(|found| found.0);
    let of = |share| (Some(share), "usage_api");
    let want = [
        ("extra_usage", of(0.3)),
        ("five_hour", of(0.005)),
        ("seven_day", of(0.46)),
        ("seven_day_opus", of(0.31)),
        ("spend", of(1.2)),
        ("weekly_scoped:Fable", of(0.12)),
        ("weekly_surface:cowork", of(0.13)),
    ];
    assert_eq!(found, want.map(|(name, (share, source))| (name, share, source)));
    let extra = window(&answer["windows"], "extra_usage");
    assert_eq!(
        (&extra["limit"], &extra["remaining"]),
        (&json!(4000), &json!(2800))
    );
    assert_eq!(
        window(&answer["windows"], "seven_day_opus")["reset_at"],
        Value::Null
    );
    // The observation time of a kept copy is its time of fetching.
    let fetched = Clock::SYSTEM.timestamp() - jiff::SignedDuration::from_secs(600);
    let copy = json!({"fetchedAtMs": fetched.as_millisecond(), "accountUuid": "a",
        "utilization": {"seven_day_haiku": {"utilization": 7, "resets_at": week}}});
    for body in [
        json!({"cachedUsageUtilization": copy}),
        json!({"usage": copy}),
        json!({"usage": {"cachedUsageUtilization": copy}}),
    ] {
        let (status, answer) = post(&collector, &body);
        assert_eq!(status, 200, "{answer}");
        let haiku = window(&answer["windows"], "seven_day_haiku");
        assert_eq!(
            (&haiku["utilization"], &haiku["source"]),
            (&json!(0.07), &json!("agent_cache"))
        );
        let at: jiff::Timestamp = haiku["observed_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(at.as_millisecond(), fetched.as_millisecond());
    }
    // A status line's share of money may exceed all of it.
    let body = json!({"statusline": {"rate_limits": {"spend_limit": {"used_percentage": 130, "resets_at": seconds}}}});
    let (status, answer) = post(&collector, &body);
    assert_eq!(
        (status, &window(&answer["windows"], "spend_limit")["utilization"]),
        (200, &json!(1.3))
    );
    collector.stop_cleanly();
}

#[test]
fn limits_of_codex_are_named_by_their_length() {
    let place = Place::new();
    let mut collector = place.serve_open();
    collector.wait_until("the backlog", |_| true);
    let (_, reset) = from_now(3600);
    let limit = |percent: f64, minutes: u64| json!({"used_percent": percent, "window_minutes": minutes, "resets_at": reset});
    let seconds = |percent: f64, seconds: u64| json!({"used_percent": percent, "limit_window_seconds": seconds, "reset_after_seconds": 60});
    // (account, body, windows with their shares and statuses)
    let cases = [
        (
            json!({"rate_limits": {"limit_id": "codex", "primary": limit(10.0, 299), "secondary": limit(40.5, 10_080)}}),
            json!({"five_hour": [0.1, "unknown"], "seven_day": [0.405, "unknown"]}),
        ),
        (
            // The week is in the first slot; the second slot is empty.
            json!({"rate_limits": {"primary": limit(97.0, 10_080), "secondary": {"used_percent": 0}}}),
            json!({"seven_day": [0.97, "unknown"]}),
        ),
        (
            json!({"rate_limits": {"limit_id": "codex_other", "primary": limit(77.0, 10_080), "secondary": limit(1.0, 1440)}}),
            json!({"codex:codex_other:seven_day": [0.77, "unknown"], "codex:codex_other:1440m": [0.01, "unknown"]}),
        ),
        (
            json!({"rate_limits": {"primary": limit(100.0, 300), "secondary": limit(42.0, 10_080),
                "rate_limit_reached_type": "rate_limit_reached"}}),
            json!({"five_hour": [1.0, "rejected"], "seven_day": [0.42, "unknown"]}),
        ),
        (
            json!({"rate_limits": {"error": {"message": "x", "codex_error_info": "usage_limit_exceeded"}}}),
            json!({"unknown": [null, "rejected"]}),
        ),
        (
            json!({"rate_limits": {"rateLimitsByLimitId": {
                "codex": {"limitId": "codex", "primary": {"usedPercent": 5, "windowDurationMins": 300, "resetsAt": reset}},
                "codex_x": {"limitId": "codex_x", "primary": {"usedPercent": 6, "windowDurationMins": 300, "resetsAt": reset}}}}}),
            json!({"five_hour": [0.05, "unknown"], "codex:codex_x:five_hour": [0.06, "unknown"]}),
        ),
        (
            json!({"usage": {"plan_type": "plus", "rate_limit": {"allowed": true, "limit_reached": false,
                    "primary_window": seconds(19.0, 18_000), "secondary_window": seconds(40.0, 604_800)},
                "code_review_rate_limit": {"primary_window": seconds(3.0, 604_800), "secondary_window": null},
                "additional_rate_limits": [{"limit_name": "n", "metered_feature": "codex_mini",
                    "rate_limit": {"primary_window": seconds(8.0, 18_000)}}, 7],
                "spend_control": {"individual_limit": {"limit": "25.00", "used": "20.00", "remaining_percent": 20, "resets_at": reset}}}}),
            json!({"five_hour": [0.19, "allowed"], "seven_day": [0.4, "allowed"], "codex:code_review:seven_day": [0.03, "unknown"],
                "codex:codex_mini:five_hour": [0.08, "unknown"], "spend_control": [0.8, "unknown"]}),
        ),
        (
            json!({"headers": {"x-codex-primary-used-percent": "12", "x-codex-primary-window-minutes": "90000",
                "x-codex-primary-reset-at": reset.to_string()}}),
            json!({"90000m": [0.12, "unknown"]}),
        ),
    ];
    for (number, (mut body, want)) in cases.into_iter().enumerate() {
        let run = format!("r{number}");
        let labels = json!({"labels": {"provider": "codex", "account": run}}).to_string();
        assert_eq!(
            collector.request("PUT", &format!("/v1/runs/{run}"), &labels).0,
            201
        );
        body["run"] = json!(run);
        let (status, answer) = post(&collector, &body);
        assert_eq!(status, 200, "{body}: {answer}");
        let windows = answer["windows"].as_array().unwrap();
        assert_eq!(windows.len(), want.as_object().unwrap().len(), "{answer}");
        for (name, reading) in want.as_object().unwrap() {
            let found = window(&answer["windows"], name);
            let share = found["utilization"].as_f64();
            assert_eq!(
                (share, &found["status"]),
                (reading[0].as_f64(), &reading[1]),
                "{name}: {found}"
            );
        }
    }
    collector.stop_cleanly();
}

#[test]
fn a_bare_429_pauses_the_account() {
    let place = Place::new();
    let mut collector = place.serve();
    collector.wait_until("the backlog", |_| true);
    for (headers, pause_ms) in [
        (json!({"retry-after": "30"}), 30_000),
        (json!({"Retry-After": ["40"]}), 40_000),
        (json!({"retry-after-ms": "50500"}), 50_500),
    ] {
        let now = Clock::SYSTEM.timestamp();
        let body = json!({"status": 429, "headers": headers, "observed_at": now.to_string()});
        let (status, answer) = post(&collector, &body);
        // A pause concerns the account; it is no window.
        assert_eq!((status, &answer["windows"]), (200, &json!([])), "{answer}");
        let answer = collector.get("/v1/may-start").1;
        let decision = (&answer["decision"], &answer["reason"]);
        assert_eq!(decision, (&json!("wait"), &json!("throttled")), "{answer}");
        let until: jiff::Timestamp = answer["retry_at"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            until.as_millisecond() - now.as_millisecond(),
            pause_ms,
            "{answer}"
        );
    }
    assert_eq!(post(&collector, &json!({"status": 429, "headers": {}})).0, 200);
    collector.stop_cleanly();
}
