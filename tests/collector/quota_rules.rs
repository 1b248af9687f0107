//! Limits, calls, budgets and admission in a replay of a small generated tree.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::harness::{Place, append, text};

const NO_CONFIG: &str = "";

/// A time of 22 April 2026, `18:00:00`, or a full one, as in documents.
fn at(time: &str) -> String {
    if time.contains('T') {
        time.to_owned()
    } else {
        format!("2026-04-22T{time}.000Z")
    }
}

/// An event with the used share of each window and its reset; its status is for the first of them.
fn event(time: &str, status: &str, windows: &[(&str, f64, &str)]) -> String {
    let named = windows.first().map(|window| window.0);
    let shares: serde_json::Map<String, Value> = (windows.iter())
        .map(|(name, share, reset)| {
            (
                (*name).to_owned(),
                json!({"utilization": share, "resetsAt": at(reset)}),
            )
        })
        .collect();
    let info = json!({"status": status, "rateLimitType": named, "unifiedWindows": shares});
    line(&json!({"type": "rate_limit_event", "timestamp": at(time), "rate_limit_info": info}))
}

/// An event of the five-hour window alone.
fn five_hour(time: &str, share: f64, reset: &str) -> String {
    event(time, "allowed", &[("five_hour", share, reset)])
}

/// A refusal without a share.
fn refusal(time: &str, name: &str, reset: &str) -> String {
    let limits = json!({"status": "rejected", "rateLimitType": name, "resetsAt": at(reset)});
    line(
        &json!({"type": "assistant", "timestamp": at(time), "error": "rate_limit",
        "isApiErrorMessage": true, "apiErrorStatus": 429, "quotaLimits": limits}),
    )
}

/// A response of so many tokens.
fn response(id: &str, time: &str, tokens: u64) -> String {
    line(&json!({"type": "assistant", "timestamp": at(time), "message":
        {"id": format!("msg_{id}"), "model": "claude-opus-5", "usage": {"input_tokens": tokens}}}))
}

/// So many responses of one time, of one token each.
fn responses(name: &str, count: u64, time: &str) -> String {
    (0..count)
        .map(|number| response(&format!("{name}{number}"), time, 1))
        .collect()
}

fn line(document: &Value) -> String {
    format!("{document}\n")
}

/// `quota` of a replay of these runs; a run is its id and its lines.
#[track_caller]
fn replayed(config: &str, now: &str, runs: &[(&str, String)]) -> Value {
    let place = Place::new();
    for (run, lines) in runs {
        append(&place.log(run, "session.jsonl"), lines);
    }
    replayed_in(&place, config, now)["quota"].clone()
}

/// The document of a replay of what is in a place.
#[track_caller]
fn replayed_in(place: &Place, config: &str, now: &str) -> Value {
    place.configure(config);
    let runs = place.runs();
    let words = ["replay", runs.to_str().unwrap(), "--json", "--now", &at(now)];
    let output = place.command_with_config(&words).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// An account of the runs `name` and `name-*`, with further settings.
fn account(name: &str, settings: &str) -> String {
    format!("\n[[account]]\nname = \"{name}\"\nruns = [\"{name}\", \"{name}-*\"]\n{settings}\n")
}

/// Selected members of an array's entries.
fn picked(list: &Value, keys: &[&str]) -> Vec<Value> {
    let entries = list.as_array().unwrap().iter();
    entries
        .map(|entry| keys.iter().map(|key| entry[*key].clone()).collect())
        .collect()
}

fn millis(time: &Value) -> i64 {
    let time: jiff::Timestamp = time.as_str().unwrap().parse().unwrap();
    time.as_millisecond()
}

#[test]
fn what_remains_of_a_limit_is_a_share_with_a_start_and_an_end() {
    for (remaining, limit, reset, share, reset_ms) in [
        (250, 1000, "2026-04-22T18:00:00Z", 0.75, 1_776_880_800_000_i64),
        (250, 1000, "2026-04-22T18:00:00+02:00", 0.75, 1_776_873_600_000),
        (0, 1000, "2026-04-22T18:00:00-07:30", 1.0, 1_776_907_800_000),
        (1000, 1000, "1776880800", 0.0, 1_776_880_800_000),
        (4, 7, "1776880800000", 0.428_571, 1_776_880_800_000),
        (1200, 1000, "2026-04-22T18:00:00.500Z", 0.0, 1_776_880_800_500),
    ] {
        for what in ["tokens", "requests"] {
            let headers = json!({
                format!("anthropic-ratelimit-unified-5h-{what}-remaining"): remaining.to_string(),
                format!("anthropic-ratelimit-unified-5h-{what}-limit"): limit,
                "anthropic-ratelimit-unified-5h-reset": reset,
            });
            let line = line(
                &json!({"type": "assistant", "timestamp": at("13:30:00"), "rateLimits": headers,
                "message": {"model": "m", "usage": {"input_tokens": 5}}}),
            );
            let quota = replayed(NO_CONFIG, "13:30:00", &[("a", line)]);
            let window = &quota["windows"][0];
            assert_eq!(
                picked(
                    &quota["windows"],
                    &["window", "utilization", "remaining", "limit", "source"]
                ),
                [json!(["five_hour", share, remaining, limit, "rate_limits"])],
                "{reset}"
            );
            assert_eq!(millis(&window["reset_at"]), reset_ms);
            assert_eq!(millis(&window["window_started_at"]), reset_ms - 18_000_000);
        }
    }
}

/// Fired thresholds for shares of consecutive minutes; each share comes with the hour its window ends.
#[track_caller]
fn check_thresholds(config: &str, shares: &[(f64, u32)], fired: &[(u8, f64)]) {
    let lines: String = (shares.iter().enumerate())
        .map(|(minute, (share, hour))| {
            five_hour(&format!("13:{minute:02}:00"), *share, &format!("{hour}:00:00"))
        })
        .collect();
    let quota = replayed(config, "13:59:59", &[("a", lines)]);
    let fired: Vec<Value> = fired
        .iter()
        .map(|(percent, share)| json!([percent, share]))
        .collect();
    assert_eq!(
        picked(&quota["thresholds_fired"], &["threshold", "utilization"]),
        fired,
        "{shares:?}"
    );
    let numbers = picked(&quota["thresholds_fired"], &["number"]);
    assert_eq!(numbers, (1..=fired.len()).map(|n| json!([n])).collect::<Vec<_>>());
}

#[test]
fn a_threshold_fires_once_in_each_window() {
    check_thresholds(
        NO_CONFIG,
        &[(0.70, 18), (0.76, 18), (0.92, 18)],
        &[(75, 0.76), (90, 0.92)],
    );
    check_thresholds(
        NO_CONFIG,
        &[
            (0.70, 18),
            (0.76, 18),
            (0.76, 18),
            (0.92, 18),
            (0.93, 18),
            (0.10, 21),
            (0.80, 21),
            (0.81, 21),
        ],
        &[(75, 0.76), (90, 0.92), (75, 0.80)],
    );
    check_thresholds(NO_CONFIG, &[(0.745, 18), (0.7499, 18)], &[]);
    check_thresholds(NO_CONFIG, &[(0.75, 18), (0.9, 18)], &[(75, 0.75), (90, 0.9)]);
    check_thresholds(NO_CONFIG, &[(1.3, 18)], &[(75, 1.3), (90, 1.3)]);
    // A dip and a drop within the window reset nothing.
    check_thresholds(
        NO_CONFIG,
        &[(0.76, 18), (0.7, 18), (0.76, 18), (0.1, 18), (0.1, 18), (0.8, 18)],
        &[(75, 0.76)],
    );
    let other = account("a", "thresholds = [10, 29, 110]");
    check_thresholds(
        &other,
        &[(0.09, 18), (0.29, 18), (1.09, 18), (1.1, 18)],
        &[(10, 0.29), (29, 0.29), (110, 1.1)],
    );
    check_thresholds(&account("a", "thresholds = []"), &[(0.99, 18)], &[]);
}

#[test]
fn pace_compares_the_share_with_the_time_that_has_passed() {
    for (now, share, zone, delta, runs_out) in [
        ("15:30:00", 0.75, "hot", json!(0.25), json!(at("16:20:00"))),
        (
            "15:30:00",
            0.74,
            "on_track",
            json!(0.24),
            json!("2026-04-22T16:22:42.162Z"),
        ),
        ("15:30:00", 0.50, "on_track", json!(0.0), Value::Null),
        ("15:30:00", 0.31, "on_track", json!(-0.19), Value::Null),
        ("15:30:00", 0.30, "chill", json!(-0.2), Value::Null),
        ("13:10:00", 0.30, "none", Value::Null, Value::Null),
        ("13:14:59", 0.30, "none", Value::Null, Value::Null),
        ("13:15:00", 0.30, "hot", json!(0.25), json!(at("13:50:00"))),
        // Used up some time ago, which is shown as now.
        ("17:00:00", 1.25, "hot", json!(0.45), json!(at("17:00:00"))),
        ("18:00:00", 0.50, "none", Value::Null, Value::Null),
    ] {
        let quota = replayed(NO_CONFIG, now, &[("a", five_hour("13:05:00", share, "18:00:00"))]);
        let window = &quota["windows"][0];
        assert_eq!(
            window["pace"],
            json!({"delta": delta, "zone": zone}),
            "{now} {share}"
        );
        assert_eq!(window["projected_exhaustion_at"], runs_out, "{now} {share}");
    }
    // With a minimum, the account is blocked before the window is used up.
    for (settings, share, blocked_at) in [
        ("", 0.75, json!(at("16:20:00"))),
        ("minimum_left = { 5h = 10 }", 0.75, json!(at("16:00:00"))),
        // It lasts to the reset, and does not keep a tenth.
        ("minimum_left = { 5h = 10 }", 0.48, json!(at("17:41:15"))),
        ("minimum_left = { weekly = 10 }", 0.48, Value::Null),
        ("minimum_left = { 5h = 50 }", 0.75, json!(at("15:30:00"))),
    ] {
        let lines = five_hour("15:05:00", share, "18:00:00");
        let quota = replayed(&account("a", settings), "15:30:00", &[("a", lines)]);
        assert_eq!(
            quota["windows"][0]["projected_block_at"], blocked_at,
            "{settings} {share}"
        );
    }
    // The second window of a run without a registration.
    let lines = five_hour("14:00:00", 0.9, "18:00:00") + &five_hour("20:30:00", 0.5, "23:00:00");
    let quota = replayed(NO_CONFIG, "20:30:00", &[("a", lines)]);
    let window = &quota["windows"][0];
    assert_eq!(window["window_started_at"], at("18:00:00"));
    assert_eq!(window["pace"], json!({"delta": 0.0, "zone": "on_track"}));
}

#[test]
fn a_window_that_is_over_has_no_share_and_blocks_nobody() {
    for share in [0.10, 0.95, 1.0, 1.4] {
        for now in ["18:00:00", "18:01:00", "2026-04-29T18:00:00.000Z"] {
            let quota = replayed(NO_CONFIG, now, &[("a", five_hour("17:59:00", share, "18:00:00"))]);
            let window = &quota["windows"][0];
            assert_eq!(
                (&window["utilization"], &window["state"]),
                (&Value::Null, &json!("expired"))
            );
            assert_eq!(
                (&window["exhausted_until"], &window["reset_at"]),
                (&Value::Null, &json!(at("18:00:00")))
            );
            assert_eq!(quota["accounts"][0]["state"], "available");
            assert_eq!(quota["may_start"]["decision"], "allow");
            assert_eq!(quota["may_start"]["reason"], "awaiting_refresh");
            assert_eq!(quota["may_start"]["candidates"][0]["headroom"], Value::Null);
        }
    }
    // Just before, it is there.
    let before = replayed(
        NO_CONFIG,
        "2026-04-22T17:59:59.999Z",
        &[("a", five_hour("17:59:00", 1.0, "18:00:00"))],
    );
    assert_eq!(before["windows"][0]["utilization"], 1.0);
    assert_eq!(before["may_start"]["decision"], "wait");
}

#[test]
fn a_call_is_a_counted_response_of_its_provider() {
    let config = "[[account]]\nname = \"main\"\nruns = [\"c-*\"]\n[[account]]\nprovider = \"codex\"\nname = \"team\"\nruns = [\"x-*\"]\n";
    let failed = line(
        &json!({"type": "system", "subtype": "api_error", "timestamp": at("13:00:01"), "error": {"status": 500}}),
    );
    let synthetic = line(
        &json!({"type": "assistant", "timestamp": at("13:00:02"), "isApiErrorMessage": true,
        "message": {"id": "f", "model": "<synthetic>", "content": "API Error: 500", "usage": {"input_tokens": 0}}}),
    );
    let one = response("1", "13:00:00", 7);
    let quota = replayed(
        config,
        "13:10:00",
        &[
            ("c-1", one.clone() + &failed + &one + &synthetic),
            ("c-2", response("2", "13:01:00", 7) + &one),
            ("x-1", response("1", "13:02:00", 7) + &failed),
        ],
    );
    assert_eq!(
        picked(&quota["accounts"], &["provider", "calls_5h"]),
        [json!(["claude", 2]), json!(["codex", 1])]
    );
}

#[test]
fn near_the_calls_quota_from_a_percentage_on() {
    for (calls, quota, percent, near) in [
        (7, 10, 80, false),
        (8, 10, 80, true),
        (12, 10, 80, true),
        (12, 0, 80, false),
        (0, 3, 30, false),
        (1, 3, 30, true),
        (1, 4, 30, false),
        (2, 3, 67, false),
        (2, 3, 66, true),
        (9, 10, 100, false),
        (10, 10, 100, true),
    ] {
        let config = account(
            "a",
            &format!("calls_quota = {quota}\nwarn_at_percent = {percent}"),
        );
        let lines = responses("r", calls, "13:00:00") + &five_hour("13:00:00", 0.1, "18:00:00");
        let quota = replayed(&config, "13:00:00", &[("a", lines)]);
        let state = if near { "near_limit" } else { "available" };
        assert_eq!(
            quota["accounts"][0]["state"], state,
            "{calls} of {:?} at {percent}",
            quota["accounts"][0]
        );
        assert_eq!(quota["may_start"]["decision"], "allow");
    }
}

#[test]
fn calls_leave_after_five_hours() {
    let lines = responses("a", 600, "01:00:00") + &responses("b", 300, "05:59:00");
    let place = Place::new();
    append(&place.log("a", "s.jsonl"), lines);
    for (now, calls, leaves_in) in [
        ("01:00:00", 600, 18_000),
        ("05:59:00", 900, 60),
        ("05:59:59", 900, 1),
        ("06:00:01", 300, 17_939),
        ("10:58:59", 300, 1),
        ("10:59:00", 0, 0),
        ("23:00:00", 0, 0),
        ("00:59:59", 0, 0),
    ] {
        let document = replayed_in(&place, NO_CONFIG, now);
        assert_eq!(document["messages"], 900);
        assert_eq!(
            picked(
                &document["quota"]["accounts"],
                &["calls_5h", "oldest_call_leaves_in_s"]
            ),
            [json!([calls, leaves_in])],
            "{now}"
        );
    }
}

#[test]
fn near_its_limit_the_first_account_hands_over_to_the_next() {
    let config = account("claude", "calls_quota = 900") + &account("codex", "calls_quota = 1500");
    for (first, second, chosen, reason) in [
        (719, 0, "claude", "within_own_limits"),
        (719, 1400, "claude", "within_own_limits"),
        (720, 0, "codex", "overflow"),
        (720, 1199, "codex", "overflow"),
        (900, 1199, "codex", "overflow"),
        (720, 1200, "claude", "all_near_limit"),
        (2000, 1200, "claude", "all_near_limit"),
    ] {
        let runs = [
            ("claude", responses("r", first, "13:00:00")),
            ("codex", responses("r", second, "13:00:00")),
        ];
        let quota = replayed(&config, "13:30:00", &runs);
        let answer = &quota["may_start"];
        assert_eq!(
            (&answer["decision"], &answer["retry_at"]),
            (&json!("allow"), &Value::Null)
        );
        assert_eq!(
            (&answer["chosen"]["account"], &answer["reason"]),
            (&json!(chosen), &json!(reason)),
            "{first} {second}"
        );
        assert_eq!(
            picked(&quota["accounts"], &["account", "calls_5h", "calls_quota"]),
            [json!(["claude", first, 900]), json!(["codex", second, 1500])]
        );
        let warned = answer["sentence"].as_str().unwrap().contains("with a warning");
        assert_eq!(warned, reason == "all_near_limit");
    }
}

#[test]
fn a_days_budget_is_not_used_faster_than_the_day_passes() {
    let midnight = at("2026-04-23T00:00:00.000Z");
    for (tokens, used_at, now, reason) in [
        (100_000, "12:00:00", "12:00:00", None),
        (
            500_000,
            "06:00:00",
            "06:00:00",
            Some(("budget_predicted", "12:00:00")),
        ),
        (
            500_000,
            "06:00:00",
            "11:59:59",
            Some(("budget_predicted", "12:00:00")),
        ),
        (500_000, "06:00:00", "12:00:00", None),
        (250_000, "06:00:00", "06:00:00", None),
        (
            250_001,
            "06:00:00",
            "06:00:00",
            Some(("budget_predicted", "06:05:00")),
        ),
        (250_001, "06:00:00", "06:05:00", None),
        (12, "00:00:01", "00:00:01", None),
        (900_000, "00:00:01", "00:14:59", None),
        (
            900_000,
            "00:00:01",
            "00:15:00",
            Some(("budget_predicted", "21:36:00")),
        ),
        (
            1_000_000,
            "00:00:01",
            "00:00:01",
            Some(("budget_exhausted", &midnight)),
        ),
        (
            1_000_000,
            "18:00:00",
            "18:00:00",
            Some(("budget_exhausted", &midnight)),
        ),
        (99_999, "00:20:00", "00:20:00", None),
        (
            100_000,
            "00:20:00",
            "00:20:00",
            Some(("budget_predicted", "02:24:00")),
        ),
        (
            1_000_001,
            "23:59:00",
            "23:59:59",
            Some(("budget_exhausted", &midnight)),
        ),
        (5_000_000, "23:59:00", "2026-04-23T00:00:00.000Z", None),
    ] {
        let config = account("a", "daily_tokens = 1_000_000");
        let quota = replayed(&config, now, &[("a", response("1", used_at, tokens))]);
        let account = &quota["accounts"][0];
        let wanted = match reason {
            Some((reason, until)) => json!(["exhausted", at(until), reason]),
            None => json!(["available", null, "within_own_limits"]),
        };
        assert_eq!(
            picked(&quota["accounts"], &["state", "until", "reason"]),
            [wanted],
            "{tokens} {now}"
        );
        assert_eq!(
            account["budget_used"],
            if now.contains("23T") { 0 } else { tokens }
        );
        let kinds: Vec<&str> = reason.map(|_| "predicted").into_iter().collect();
        assert_eq!(
            picked(&account["causes"], &["kind"]),
            kinds.iter().map(|kind| json!([kind])).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_late_response_counts_on_its_own_day() {
    let lines = response("1", "2026-04-21T10:00:00.000Z", 50_000)
        + &response("2", "00:30:00", 100)
        + &response("3", "2026-04-21T23:59:59.999Z", 10_000);
    let place = Place::new();
    append(&place.log("a", "s.jsonl"), lines);
    let config = account("a", "daily_tokens = 1_000_000");
    let document = replayed_in(&place, &config, "00:40:00");
    assert_eq!(document["by_day"]["2026-04-21"]["total_tokens"], 60_000);
    assert_eq!(document["by_day"]["2026-04-22"]["total_tokens"], 100);
    assert_eq!(document["quota"]["accounts"][0]["budget_used"], 100);
    let day_before = replayed_in(&place, &config, "2026-04-21T23:59:59.999Z");
    assert_eq!(day_before["quota"]["accounts"][0]["budget_used"], 60_000);
    // The zone decides when the day begins: 50,000 tokens at 12:00, the others early on the next day.
    let berlin = format!("[quota]\nzone = \"Europe/Berlin\"\n{config}");
    let document = replayed_in(&place, &berlin, "00:40:00");
    assert_eq!(document["quota"]["accounts"][0]["budget_used"], 10_100);
}

#[test]
fn an_exhaustion_ends_by_itself() {
    for (now, state, until) in [
        ("11:59:00", "exhausted", json!(at("12:05:00"))),
        ("12:04:59", "exhausted", json!(at("12:05:00"))),
        ("2026-04-22T12:04:59.999Z", "exhausted", json!(at("12:05:00"))),
        ("12:05:00", "available", Value::Null),
        ("12:05:01", "available", Value::Null),
    ] {
        for lines in [
            refusal("11:58:00", "five_hour", "12:05:00"),
            five_hour("11:57:00", 0.4, "12:05:00") + &refusal("11:58:00", "five_hour", "12:05:00"),
            event("11:58:00", "rejected", &[("five_hour", 0.97, "12:05:00")]),
        ] {
            let quota = replayed(NO_CONFIG, now, &[("a", lines)]);
            assert_eq!(
                picked(&quota["accounts"], &["state", "until"]),
                [json!([state, until])],
                "{now}"
            );
            let decision = if state == "available" { "allow" } else { "wait" };
            assert_eq!(
                (&quota["may_start"]["decision"], &quota["may_start"]["retry_at"]),
                (&json!(decision), &until)
            );
        }
    }
}

#[test]
fn the_causes_of_an_exhaustion_are_apart() {
    let config = account("a", "daily_tokens = 1000");
    let midnight = "2026-04-23T00:00:00.000Z";
    let used = response("1", "12:00:00", 1000);
    let healthy = used.clone() + &five_hour("12:01:00", 0.1, "16:00:00");
    let refused = used.clone() + &refusal("12:01:00", "five_hour", "16:00:00");
    let longer = used + &refusal("12:01:00", "seven_day", "2026-04-24T16:00:00.000Z");
    let predicted = json!(["predicted", midnight]);
    for (lines, now, until, causes) in [
        (&healthy, "12:02:00", json!(midnight), vec![predicted.clone()]),
        (&healthy, midnight, Value::Null, vec![]),
        (
            &refused,
            "12:02:00",
            json!(midnight),
            vec![json!(["observed", at("16:00:00")]), predicted.clone()],
        ),
        (&refused, "16:00:00", json!(midnight), vec![predicted.clone()]),
        (
            &longer,
            "12:02:00",
            json!("2026-04-24T16:00:00.000Z"),
            vec![json!(["observed", "2026-04-24T16:00:00.000Z"]), predicted],
        ),
        (
            &longer,
            midnight,
            json!("2026-04-24T16:00:00.000Z"),
            vec![json!(["observed", "2026-04-24T16:00:00.000Z"])],
        ),
    ] {
        let quota = replayed(&config, now, &[("a", lines.clone())]);
        let account = &quota["accounts"][0];
        assert_eq!(account["until"], until, "{now}");
        assert_eq!(picked(&account["causes"], &["kind", "until"]), causes, "{now}");
        assert_eq!(quota["may_start"]["retry_at"], until);
    }
}

#[test]
fn with_all_accounts_exhausted_the_first_to_recover_is_waited_for() {
    let config: String = ["a", "b", "c"].map(|name| account(name, "")).concat();
    for (ends, retry) in [
        (["12:30:00", "12:02:00", "13:00:00"], "12:02:00"),
        (["12:00:01", "12:02:00", "13:00:00"], "12:00:01"),
        (["14:00:00", "14:00:00", "13:00:00"], "13:00:00"),
    ] {
        let runs = ["a", "b", "c"]
            .iter()
            .zip(ends)
            .map(|(run, end)| (*run, refusal("11:55:00", "five_hour", end)));
        let runs: Vec<_> = runs.collect();
        let quota = replayed(&config, "12:00:00", &runs);
        let answer = &quota["may_start"];
        assert_eq!(
            (&answer["decision"], &answer["chosen"], &answer["reason"]),
            (&json!("wait"), &Value::Null, &json!("all_exhausted"))
        );
        assert_eq!(answer["retry_at"], at(retry));
        let listed: Vec<Value> = (["a", "b", "c"].iter().zip(ends))
            .map(|(name, end)| json!([name, "wait", at(end), "window_exhausted"]))
            .collect();
        assert_eq!(
            picked(&answer["candidates"], &["account", "verdict", "until", "reason"]),
            listed
        );
        for candidate in answer["candidates"].as_array().unwrap() {
            assert_eq!(candidate["causes"][0]["window"], "five_hour");
            assert!(candidate["sentence"].as_str().unwrap().contains("was refused"));
        }
        // Once the first has recovered, it is chosen.
        let after = replayed(&config, retry, &runs);
        assert_eq!(after["may_start"]["decision"], "allow");
    }
}

#[test]
fn so_much_of_a_window_must_be_left() {
    // Five hours end in 600 s, seven days in 259,200 s; a minute is added to both.
    let (soon, later) = ("12:10:00", "2026-04-25T12:00:00.000Z");
    let (soon_end, later_end) = (at("12:11:00"), at("2026-04-25T12:01:00.000Z"));
    for (used, minimum, block) in [
        (
            [0.50, 0.96],
            "{ 5h = 10, 7d = 10 }",
            Some(("seven_day", &later_end)),
        ),
        (
            [0.96, 0.50],
            "{ 5h = 10, 7d = 10 }",
            Some(("five_hour", &soon_end)),
        ),
        (
            [0.96, 0.96],
            "{ 5h = 10, 7d = 10 }",
            Some(("seven_day", &later_end)),
        ),
        ([0.85, 0.75], "{ five_hour = 5, seven_day = 10 }", None),
        ([0.85, 0.75], "{ five_hour = 15, weekly = 25 }", None),
        (
            [0.85, 0.75],
            "{ five_hour = 16, seven_day = 25 }",
            Some(("five_hour", &soon_end)),
        ),
        (
            [0.85, 0.75],
            "{ five_hour = 20, seven_day = 30 }",
            Some(("seven_day", &later_end)),
        ),
        ([0.85, 0.75], "{ seven_day_opus = 100 }", None),
        ([0.0, 0.0], "{ five_hour = 100, seven_day = 100 }", None),
        (
            [0.01, 0.0],
            "{ five_hour = 100, seven_day = 100 }",
            Some(("five_hour", &soon_end)),
        ),
    ] {
        let config = account("a", &format!("minimum_left = {minimum}"));
        let windows = [("five_hour", used[0], soon), ("seven_day", used[1], later)];
        let quota = replayed(
            &config,
            "12:00:00",
            &[("a", event("12:00:00", "allowed", &windows))],
        );
        let causes = block.map(|(name, until)| json!(["below_minimum", name, until]));
        assert_eq!(
            picked(&quota["accounts"][0]["causes"], &["code", "window", "until"]),
            causes.into_iter().collect::<Vec<_>>(),
            "{used:?} {minimum}"
        );
        let answer = &quota["may_start"];
        match block {
            Some((name, until)) => {
                assert_eq!(
                    (&answer["decision"], &answer["retry_at"]),
                    (&json!("wait"), &json!(until))
                );
                assert_eq!(answer["candidates"][0]["binding_window"], name);
            }
            None => assert_eq!(
                (&answer["decision"], &answer["retry_at"]),
                (&json!("allow"), &Value::Null)
            ),
        }
    }
}

#[test]
fn a_model_is_asked_for_by_one_name_and_served_by_another() {
    let mut config = account("main", "on_unknown = \"allow\"");
    write!(
        config,
        "[[account]]\nprovider = \"codex\"\nname = \"team\"\nruns = []\non_unknown = \"allow\"\nmodels = {{ \"claude-opus-5\" = \"gpt-6-codex\" }}\n"
    )
    .unwrap();
    let place = Place::new();
    let collector = place.serve_with(&config);
    let ask = |query: &str| collector.get(&format!("/v1/may-start{query}")).1;
    let chosen = |provider: &str, account: &str, model: Value| json!({"provider": provider, "account": account, "model": model});
    assert_eq!(ask("")["chosen"], chosen("claude", "main", Value::Null));
    let answer = ask("?model=claude-opus-5");
    assert_eq!(answer["chosen"], chosen("claude", "main", json!("claude-opus-5")));
    assert_eq!(
        picked(&answer["candidates"], &["account", "model"]),
        [json!(["main", "claude-opus-5"]), json!(["team", "gpt-6-codex"])]
    );
    assert_eq!(
        ask("?model=claude-opus-5&provider=codex")["chosen"],
        chosen("codex", "team", json!("gpt-6-codex"))
    );
    // A model missing in the map keeps its name.
    assert_eq!(
        ask("?model=other&provider=codex")["chosen"],
        chosen("codex", "team", json!("other"))
    );

    // A mark by an operator removes the first from the choice, until it is removed.
    place.configure(&config);
    let mark = |words: &[&str]| {
        let output = place
            .command_with_config(&[&["quota", "mark", "main"], words].concat())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    mark(&["exhausted", "--reason", "holiday"]);
    let answer = ask("?model=claude-opus-5");
    assert_eq!(answer["chosen"], chosen("codex", "team", json!("gpt-6-codex")));
    assert_eq!(
        picked(
            &answer["candidates"][0]["causes"],
            &["kind", "code", "reason", "until"]
        ),
        [json!(["manual", "manual", "holiday", null])]
    );
    assert_eq!(ask("?account=main")["decision"], "deny");
    mark(&["available"]);
    assert_eq!(
        ask("?model=claude-opus-5")["chosen"],
        chosen("claude", "main", json!("claude-opus-5"))
    );
    collector.stop_cleanly();
}
