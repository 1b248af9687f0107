//! Situations of accounts and the collector's answers: refusals, side counters, pauses, overage.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokentail::clock::Clock;

use crate::harness::{Collector, Place, append};

/// A time so many seconds from now.
fn from_now(seconds: i64) -> Timestamp {
    Clock::SYSTEM.timestamp() + SignedDuration::from_secs(seconds)
}

fn observe(collector: &Collector, body: &Value) {
    let (status, answer) = collector.request("POST", "/v1/observations", &body.to_string());
    assert_eq!(status, 200, "{answer}");
}

/// Decision and reason.
fn ask(collector: &Collector, query: &str) -> (String, String) {
    let (_, answer) = collector.get(&format!("/v1/may-start{query}"));
    let word = |name: &str| answer[name].as_str().unwrap_or_default().to_owned();
    (word("decision"), word("reason"))
}

fn serve(config: &str) -> (Place, Collector) {
    let place = Place::new();
    let mut collector = place.serve_with(config);
    collector.wait_until("the backlog", |_| true);
    (place, collector)
}

fn is(decision: &str, reason: &str) -> (String, String) {
    (decision.to_owned(), reason.to_owned())
}

/// An event of a run, so many seconds ago.
fn event(ago: i64, info: &Value) -> String {
    let line = json!({"type": "rate_limit_event", "timestamp": from_now(-ago).to_string(), "rate_limit_info": info,
        "uuid": format!("e-{ago}"), "session_id": "s1"});
    format!("{line}\n")
}

fn response(ago: i64, model: &str) -> String {
    let line = json!({"type": "assistant", "timestamp": from_now(-ago).to_string(), "sessionId": "s1", "uuid": format!("u-{ago}"),
        "message": {"id": format!("msg_01{ago:020}"), "model": model, "role": "assistant", "usage": {"input_tokens": 5, "output_tokens": 7}}});
    format!("{line}\n")
}

#[test]
fn side_counters_bind_nobody_until_they_refuse() {
    let (_place, collector) = serve("");
    let unified = |fields: &[(&str, String)]| {
        let mut headers = json!({
            "anthropic-ratelimit-unified-status": "allowed",
            "anthropic-ratelimit-unified-representative-claim": "five_hour",
            "anthropic-ratelimit-unified-5h-utilization": "0.2",
            "anthropic-ratelimit-unified-5h-reset": from_now(7200).as_second().to_string(),
        });
        for (name, value) in fields {
            headers[format!("anthropic-ratelimit-unified-{name}")] = json!(value);
        }
        json!({"status": 200, "headers": headers})
    };
    let reset = from_now(259_200).as_second().to_string();
    for fields in [
        &[("overage-period-monthly-utilization", "1.0".to_owned())][..],
        &[("grace-5h-utilization", "0.95".to_owned())],
        &[
            ("slow-budget-utilization", "1.0".to_owned()),
            ("slow-budget-reset", reset.clone()),
        ],
    ] {
        observe(&collector, &unified(fields));
        assert_eq!(ask(&collector, ""), is("allow", "available"), "{fields:?}");
    }
    observe(
        &collector,
        &unified(&[
            ("slow-budget-status", "rejected".to_owned()),
            ("slow-budget-reset", reset),
        ]),
    );
    assert_eq!(ask(&collector, ""), is("wait", "window_exhausted"));
}

#[test]
fn an_idle_terminal_neither_lowers_a_share_nor_ends_a_refusal() {
    let (_place, collector) = serve("[[account]]\nname = \"max-1\"\nminimum_left = { five_hour = 20 }\n");
    let reset = from_now(7200).as_second();
    let shows = |share: u8| {
        observe(
            &collector,
            &json!({"account": "max-1", "statusline": {"rate_limits": {"five_hour": {"used_percentage": share, "resets_at": reset}}}}),
        );
    };
    shows(40);
    assert_eq!(ask(&collector, "").0, "allow");
    for share in [85, 40, 40, 86] {
        shows(share);
        assert_eq!(ask(&collector, ""), is("wait", "below_minimum"), "{share}");
    }
}

#[test]
fn a_window_of_a_family_binds_its_models() {
    let (place, mut collector) = serve("");
    let (five, week) = (from_now(7200).as_second(), from_now(345_600).as_second());
    let info = json!({"status": "allowed", "rateLimitType": "five_hour", "resetsAt": five, "unifiedWindows": {
        "five_hour": {"utilization": 0.2, "resetsAt": five}, "seven_day_haiku": {"utilization": 1.0, "resetsAt": week}}});
    append(&place.log("r1", "a.jsonl"), event(60, &info));
    collector.wait_until("two windows", |summary| {
        summary["quota"]["windows"]
            .as_array()
            .is_some_and(|windows| windows.len() == 2)
    });
    assert_eq!(ask(&collector, ""), is("allow", "available"));
    assert_eq!(ask(&collector, "?model=claude-opus-5"), is("allow", "available"));
    assert_eq!(
        ask(&collector, "?model=claude-haiku-5"),
        is("wait", "window_exhausted")
    );
}

#[test]
fn a_429_without_a_window_pauses_the_account_until_it_serves_again() {
    let (place, mut collector) = serve("");
    let at = from_now(-1000).to_string();
    observe(
        &collector,
        &json!({"observed_at": at, "status": 429, "headers": {"retry-after": "3600"}}),
    );
    assert_eq!(ask(&collector, ""), is("wait", "throttled"));
    let quota = collector.get("/v1/quota").1;
    assert_eq!(quota["windows"], json!([]), "it is no window");
    let cause = &quota["accounts"][0]["causes"][0];
    assert_eq!(
        (&cause["kind"], &cause["code"]),
        (&json!("throttled"), &json!("throttled"))
    );
    let table = place.run(&["quota"]);
    let table = String::from_utf8_lossy(&table.stdout);
    assert!(table.contains("throttling"), "{table}");
    append(&place.log("r1", "a.jsonl"), response(5, "claude-opus-5"));
    collector.wait_for_messages(1);
    assert_eq!(ask(&collector, ""), is("unknown", "no_observation"));
}

#[test]
fn a_refusal_ends_when_its_family_is_served_again_minutes_later() {
    let reset = from_now(7200).as_second();
    let week = from_now(345_600).as_second();
    let refused = |kind: &str, resets: i64| {
        event(
            600,
            &json!({"status": "rejected", "rateLimitType": kind, "resetsAt": resets}),
        )
    };
    for (kind, resets, served, ago, decision) in [
        ("five_hour", reset, "claude-haiku-5", 430, "wait"),
        ("five_hour", reset, "claude-haiku-5", 410, "allow"),
        ("seven_day_opus", week, "claude-haiku-5", 60, "wait"),
        ("seven_day_opus", week, "claude-opus-5", 60, "allow"),
    ] {
        let (place, mut collector) = serve("");
        append(
            &place.log("r1", "a.jsonl"),
            refused(kind, resets) + &response(ago, served),
        );
        collector.wait_for_messages(1);
        let answer = ask(&collector, "?model=claude-opus-5");
        assert_eq!(answer.0, decision, "{kind} {served} {ago}: {answer:?}");
        let window = collector.get("/v1/quota").1["windows"][0].clone();
        assert_eq!(window["refused"], decision == "wait", "{window}");
    }
}

#[test]
fn what_is_paid_beyond_the_windows_is_used_only_if_that_is_wanted() {
    let reset = from_now(7200).as_second();
    let paid = json!({"status": "allowed", "rateLimitType": "five_hour", "resetsAt": reset, "isUsingOverage": true,
        "unifiedWindows": {"five_hour": {"utilization": 1.0, "resetsAt": reset}}});
    for (wanted, answer) in [
        ("", is("wait", "overage_only")),
        ("use_overage = false\n", is("wait", "overage_only")),
        ("use_overage = true\n", is("allow", "using_overage")),
    ] {
        let (place, mut collector) = serve(&format!("[[account]]\nname = \"default\"\n{wanted}"));
        append(
            &place.log("r1", "a.jsonl"),
            event(600, &paid) + &response(60, "claude-opus-5"),
        );
        collector.wait_for_messages(1);
        assert_eq!(ask(&collector, ""), answer, "{wanted}");
        let refused = json!({"status": "rejected", "rateLimitType": "overage", "resetsAt": reset});
        append(&place.log("r1", "a.jsonl"), event(30, &refused));
        collector.wait_until("the refusal", |summary| {
            summary["quota"]["limit_events"]
                .as_array()
                .is_some_and(|events| events.len() == 1)
        });
        assert_eq!(ask(&collector, ""), is("wait", "window_exhausted"), "{wanted}");
    }
}

/// An event about an account, so many seconds ago.
fn said(collector: &Collector, account: &str, ago: i64, info: &Value) {
    let at = from_now(-ago).to_string();
    observe(
        collector,
        &json!({"account": account, "observed_at": at, "rate_limit_event": info}),
    );
}

fn shown(collector: &Collector, account: &str, window: &str, percent: u8, reset: Timestamp) {
    let window = json!({window: {"used_percentage": percent, "resets_at": reset.as_second()}});
    observe(
        collector,
        &json!({"account": account, "statusline": {"session_id": "idle", "rate_limits": window}}),
    );
}

#[test]
fn a_terminal_with_a_later_end_opens_nothing_and_makes_no_refusal_late() {
    let (_place, collector) = serve("[accounts]\nopen = true\n");
    let refused = |reset: Timestamp| json!({"status": "rejected", "rateLimitType": "five_hour", "resetsAt": reset.as_second()});
    for (account, later) in [("minutes", 600), ("hours", 10_000)] {
        said(&collector, account, 600, &refused(from_now(6600)));
        shown(&collector, account, "five_hour", 40, from_now(6600 + later));
        assert_eq!(
            ask(&collector, &format!("?account={account}")),
            is("wait", "window_exhausted"),
            "{later}"
        );
    }
    shown(&collector, "late", "five_hour", 40, from_now(6600));
    said(&collector, "late", 45, &refused(from_now(6600)));
    assert_eq!(ask(&collector, "?account=late"), is("wait", "window_exhausted"));
    // Nor does it block again after the provider has allowed.
    said(&collector, "open", 600, &refused(from_now(6600)));
    let allowed = json!({"status": "allowed", "rateLimitType": "five_hour", "resetsAt": from_now(6600).as_second(), "utilization": 0.25});
    said(&collector, "open", 500, &allowed);
    shown(&collector, "open", "five_hour", 100, from_now(6600));
    assert_eq!(ask(&collector, "?account=open"), is("allow", "available"));
}

#[test]
fn another_window_is_no_word_on_whether_requests_are_paid() {
    let (_place, collector) = serve("[accounts]\nopen = true\n");
    let reset = from_now(6600).as_second();
    let week = from_now(300_000);
    let refused = json!({"status": "rejected", "rateLimitType": "five_hour", "resetsAt": reset});
    let paid =
        json!({"status": "allowed", "rateLimitType": "five_hour", "resetsAt": reset, "isUsingOverage": true});
    let side = json!({"status": "allowed", "rateLimitType": "seven_day", "resetsAt": week.as_second(), "utilization": 0.3});
    said(&collector, "a", 900, &refused);
    said(&collector, "a", 700, &paid);
    said(&collector, "a", 600, &side);
    shown(&collector, "a", "seven_day", 31, week);
    assert_eq!(ask(&collector, "?account=a"), is("wait", "overage_only"));
    let free =
        json!({"status": "allowed", "rateLimitType": "five_hour", "resetsAt": reset, "utilization": 0.1});
    said(&collector, "a", 300, &free);
    assert_eq!(ask(&collector, "?account=a"), is("allow", "available"));
}

#[test]
fn two_polls_or_a_later_allowed_end_a_refusal_of_which_little_is_known() {
    let (_place, collector) = serve("[accounts]\nopen = true\n");
    let week = from_now(300_000);
    let refused = json!({"status": "rejected", "rateLimitType": "seven_day", "resetsAt": week.as_second()});
    said(&collector, "polled", 900, &refused);
    for (ago, percent, answer) in [
        (120, 10, is("wait", "window_exhausted")),
        (60, 11, is("allow", "available")),
    ] {
        let body = json!({"account": "polled", "observed_at": from_now(-ago).to_string(),
            "usage": {"seven_day": {"utilization": percent, "resets_at": week.to_string()}}});
        observe(&collector, &body);
        assert_eq!(ask(&collector, "?account=polled"), answer);
    }
    said(&collector, "words", 86_400, &json!({"status": "rejected"}));
    assert_eq!(ask(&collector, "?account=words"), is("unknown", "reset_unknown"));
    let allowed = json!({"status": "allowed", "rateLimitType": "seven_day", "resetsAt": week.as_second(), "utilization": 0.3});
    said(&collector, "words", 500, &allowed);
    assert_eq!(ask(&collector, "?account=words"), is("allow", "available"));
}

#[test]
fn a_response_that_may_have_been_asked_for_before_ends_neither_a_pause_nor_a_refusal() {
    let (place, mut collector) = serve("[accounts]\nopen = true\n");
    let pause = |account: &str, seconds: &str| {
        let headers = json!({"retry-after": seconds});
        let body = json!({"account": account, "status": 429, "headers": headers, "observed_at": from_now(-30).to_string()});
        observe(&collector, &body);
    };
    pause("default", "300");
    pause("long", "999999999");
    assert_eq!(ask(&collector, "?account=long"), is("wait", "throttled"));
    append(&place.log("r1", "a.jsonl"), response(28, "claude-opus-5"));
    collector.wait_for_messages(1);
    assert_eq!(ask(&collector, "?account=default"), is("wait", "throttled"));
    let refused =
        json!({"status": "rejected", "rateLimitType": "five_hour", "resetsAt": from_now(6600).as_second()});
    let (place, mut collector) = serve("");
    append(
        &place.log("r1", "a.jsonl"),
        event(300, &refused) + &response(200, "claude-opus-5"),
    );
    collector.wait_for_messages(1);
    assert_eq!(ask(&collector, ""), is("wait", "window_exhausted"));
    append(&place.log("r1", "a.jsonl"), response(100, "claude-opus-5"));
    collector.wait_for_messages(2);
    assert_eq!(ask(&collector, ""), is("allow", "available"));
}
