//! Polls of accounts' own numbers: from a provider on loopback, and from the client's cache.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokentail::clock::Clock;

use crate::fake_provider::{Answer, Provider};
use crate::harness::{Collector, Place, WAIT_MAX, append, response, text};

const TOKEN: &str = "sk-test-oat01-SecretOfTheFirstLogin";
const OTHER_TOKEN: &str = "sk-test-oat01-SecretOfTheSecondLogin";

/// A time so many seconds from now.
fn from_now(seconds: i64) -> String {
    (Clock::SYSTEM.timestamp() + jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// A body of the usage endpoint with this share of the five hours.
fn usage(percent: f64) -> String {
    json!({
        "five_hour": {"utilization": percent, "resets_at": from_now(3600), "locked_reason": null},
        "seven_day": {"utilization": "12", "resets_at": from_now(86_400)},
        "seven_day_opus": null,
        "seven_day_odd": {"utilization": 3, "resets_at": 17},
        "a_new_key": [1, {"utilization": "none"}],
        "member_dashboard_available": true,
        "limits": [
            {"kind": "session", "percent": 99, "resets_at": from_now(3600), "scope": null},
            {"kind": "weekly_scoped", "percent": 64, "scope": {"model": {"id": null, "display_name": "Fable"}}}
        ]
    })
    .to_string()
}

/// The file of a login with this token; replaced by a rename, as the client does.
fn log_in(place: &Place, name: &str, token: &str, scopes: &Value) -> PathBuf {
    let path = place.path(name);
    let login = json!({"claudeAiOauth": {"accessToken": token, "refreshToken": "sk-test-ort01-x",
        "expiresAt": 4_000_000_000_000_i64, "scopes": scopes}});
    replace(&path, &login.to_string());
    path
}

fn replace(path: &Path, content: &str) {
    let new = path.with_extension("new");
    fs::write(&new, content).unwrap();
    fs::rename(new, path).unwrap();
}

fn may_ask() -> Value {
    json!(["user:inference", "user:profile"])
}

fn account(name: &str, poll: &str) -> String {
    format!("[[account]]\nname = \"{name}\"\nruns = []\n[account.poll]\n{poll}\n")
}

fn by_usage_api(name: &str, credentials: &Path, base: &str) -> String {
    let poll = format!(
        "via = \"usage-api\"\ncredentials = \"{}\"\nbase_url = \"{base}\"",
        credentials.display()
    );
    account(name, &poll)
}

fn poll_of<'d>(quota: &'d Value, name: &str) -> &'d Value {
    let accounts = quota["accounts"].as_array().unwrap();
    let found = accounts.iter().find(|account| account["account"] == name);
    &found.unwrap_or_else(|| panic!("no {name} in {quota}"))["poll"]
}

fn share(quota: &Value, account: &str, window: &str) -> Value {
    let windows = quota["windows"].as_array().unwrap();
    let found = windows
        .iter()
        .find(|one| one["account"] == account && one["window"] == window);
    found.map_or(Value::Null, |one| one["utilization"].clone())
}

/// The document of the limits once it fulfils `reached`; checked after each log line.
fn wait_for(collector: &mut Collector, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        let quota = collector.get("/v1/quota").1;
        if reached(&quota) {
            return quota;
        }
        assert!(Instant::now() < deadline, "{what}: {quota}");
        collector.next_line(&format!("{what}: {quota}"));
    }
}

fn fails_with(collector: &mut Collector, name: &str, code: &str) -> Value {
    let quota = wait_for(collector, &format!("{name}: {code}"), |quota| {
        poll_of(quota, name)["last_error"]["code"] == code
    });
    poll_of(&quota, name).clone()
}

#[test]
fn an_answer_is_read_value_by_value_and_the_token_is_nowhere() {
    let (place, provider) = (Place::new(), Provider::start());
    let login = log_in(&place, "login.json", TOKEN, &may_ask());
    let base = provider.plays("a", vec![Answer::ok(&usage(16.5))]);
    let settings =
        by_usage_api("a", &login, &base) + &account("b", "via = \"cache-file\"\ncache = \"/nowhere\"");
    let mut collector = place.serve_with(&settings);
    let request = provider.request();
    assert_eq!(request.path, "/a/api/oauth/usage");
    let headers = [
        ("authorization", format!("Bearer {TOKEN}")),
        ("anthropic-beta", "oauth-2025-04-20".to_owned()),
        ("user-agent", format!("tokentail/{}", env!("CARGO_PKG_VERSION"))),
        ("accept", "application/json".to_owned()),
    ];
    for (name, value) in headers {
        assert_eq!(request.header(name), Some(value.as_str()), "{name}");
    }
    let quota = wait_for(&mut collector, "the windows", |quota| {
        poll_of(quota, "a")["state"] == "idle" && poll_of(quota, "a")["last_ok"].is_string()
    });
    for (window, expected) in [
        ("five_hour", json!(0.165)),
        ("seven_day", json!(0.12)),
        ("seven_day_odd", json!(0.03)),
        ("weekly_scoped:Fable", json!(0.64)),
        ("seven_day_opus", Value::Null),
    ] {
        assert_eq!(share(&quota, "a", window), expected, "{window}");
    }
    assert_eq!(quota["windows"][0]["source"], "usage_api");
    let poll = poll_of(&quota, "a");
    assert_eq!(
        (&poll["via"], &poll["last_error"], &poll["retry_at"]),
        (&json!("usage-api"), &Value::Null, &Value::Null)
    );
    assert!(poll["next"].is_string(), "{poll}");
    // An interval of five minutes, give or take a tenth.
    let next: jiff::Timestamp = poll["next"].as_str().unwrap().parse().unwrap();
    let waits = next.duration_since(Clock::SYSTEM.timestamp());
    assert!(waits > jiff::SignedDuration::from_secs(200) && waits <= jiff::SignedDuration::from_secs(330));
    let metrics = collector.exchange("GET", "/metrics", "", "").2;
    let sample = r#"tokentail_poll_requests_total{provider="claude",account="a",outcome="ok"} 1"#;
    assert!(metrics.contains(sample), "{metrics}");
    assert_eq!(collector.get("/api/usage?account=a").1["last_error"], Value::Null);
    fails_with(&mut collector, "b", "cache");
    collector.signal("TERM");
    let (code, log) = collector.wait_for_end();
    assert_eq!(code, Some(0));
    // At the level of debug, and on disk.
    assert!(log.contains("\"polled\"") && !log.contains("sk-test"), "{log}");
    let database = fs::read(place.db()).unwrap();
    assert!(memchr::memmem::find(&database, b"sk-test").is_none());
    assert!(provider.further().is_empty());
}

#[test]
fn a_refusal_stops_one_account_also_over_a_restart_and_hides_no_number() {
    let (place, provider) = (Place::new(), Provider::start());
    let login = log_in(&place, "login.json", TOKEN, &may_ask());
    let throttled = provider.plays(
        "throttled",
        vec![Answer::status(429, "Retry-After: 2974\r\nrequest-id: r\r\n")],
    );
    let healthy = provider.plays("healthy", vec![Answer::ok(&usage(20.0))]);
    let settings = by_usage_api("throttled", &login, &throttled) + &by_usage_api("healthy", &login, &healthy);
    let mut collector = place.serve_with(&settings);
    let seen = json!({"account": "throttled", "statusline": {"rate_limits": {"five_hour": {"used_percentage": 41}}}});
    assert_eq!(
        collector.request("POST", "/v1/observations", &seen.to_string()).0,
        200
    );
    let poll = fails_with(&mut collector, "throttled", "rate_limited");
    assert_eq!(poll["state"], "backoff");
    assert_eq!(poll["last_error"]["detail"], "the server answered 429");
    let retry: jiff::Timestamp = poll["retry_at"].as_str().unwrap().parse().unwrap();
    let waits = retry.duration_since(Clock::SYSTEM.timestamp()).as_secs();
    assert!((2900..=2974).contains(&waits), "{waits}");
    let quota = wait_for(&mut collector, "the other account", |quota| {
        poll_of(quota, "healthy")["last_ok"].is_string()
    });
    assert_eq!(share(&quota, "throttled", "five_hour"), json!(0.41));
    let web = collector.get("/api/usage?account=throttled").1;
    assert_eq!(
        (&web["last_error"], &web["buckets"][0]["utilization"]),
        (&json!("rate_limited"), &json!(0.41))
    );
    assert!(web["last_error_at"].is_i64(), "{web}");
    let shown = text(&place.run(&["quota"]).stdout);
    assert!(shown.contains("polled by usage-api: rate limited"), "{shown}");
    assert!(
        shown.contains("the server answered 429; wait; if it stays, raise account.poll.interval"),
        "{shown}"
    );
    assert!(shown.contains("; next in "), "{shown}");
    let (first, second) = (provider.request(), provider.request());
    assert!(
        second.at - first.at >= Duration::from_secs(1),
        "the gap between two requests"
    );
    collector.kill();
    // A restart does not ask again: neither the one that waits nor the one whose numbers are fresh.
    let mut collector = place.serve_with(&settings);
    let quota = wait_for(&mut collector, "the polls", |quota| {
        poll_of(quota, "healthy").is_object()
    });
    assert_eq!(poll_of(&quota, "throttled")["state"], "backoff");
    assert_eq!(poll_of(&quota, "throttled")["retry_at"], poll["retry_at"]);
    assert_eq!(poll_of(&quota, "healthy")["state"], "idle");
    collector.stop_cleanly();
    assert!(provider.further().is_empty());
    place.assert_verified();
}

#[test]
fn a_refused_token_is_used_again_by_nobody_and_another_one_at_once() {
    let (place, provider) = (Place::new(), Provider::start());
    let login = log_in(&place, "login.json", TOKEN, &may_ask());
    let base = provider.plays("a", vec![Answer::status(401, ""), Answer::ok(&usage(30.0))]);
    let narrow = log_in(
        &place,
        "narrow.json",
        "sk-test-oat01-narrow",
        &json!(["user:inference"]),
    );
    let settings = by_usage_api("a", &login, &base) + &by_usage_api("narrow", &narrow, &base);
    let mut collector = place.serve_with(&settings);
    let poll = fails_with(&mut collector, "a", "expired");
    assert_eq!((&poll["state"], &poll["next"]), (&json!("expired"), &Value::Null));
    assert_eq!(collector.get("/api/usage?account=a").1["last_error"], "expired");
    let forbidden = fails_with(&mut collector, "narrow", "forbidden");
    assert_eq!(forbidden["state"], "forbidden");
    let shown = text(&place.run(&["status"]).stdout);
    assert!(shown.contains("log in again with the official client"), "{shown}");
    assert!(shown.contains("lacks the scope user:profile"), "{shown}");
    assert_eq!(
        provider.request().header("authorization"),
        Some(format!("Bearer {TOKEN}").as_str())
    );
    // The file as it was: nothing is asked.
    log_in(&place, "login.json", TOKEN, &may_ask());
    assert!(provider.further().is_empty());
    log_in(&place, "login.json", OTHER_TOKEN, &may_ask());
    assert_eq!(
        provider.request().header("authorization"),
        Some(format!("Bearer {OTHER_TOKEN}").as_str())
    );
    let quota = wait_for(&mut collector, "the windows", |quota| {
        poll_of(quota, "a")["last_ok"].is_string()
    });
    assert_eq!(share(&quota, "a", "five_hour"), json!(0.3));
    assert_eq!(poll_of(&quota, "a")["last_error"], Value::Null);
    // The file goes, and comes back.
    collector.stop_cleanly();
    fs::remove_file(&login).unwrap();
    let missing = by_usage_api("fresh", &login, &base);
    let mut collector = place.serve_with(&missing);
    let poll = fails_with(&mut collector, "fresh", "missing_credentials");
    assert_eq!(poll["state"], "missing");
    assert_eq!(
        collector.get("/api/usage?account=fresh").1["last_error"],
        "missing_credentials"
    );
    log_in(&place, "login.json", TOKEN, &may_ask());
    provider.request();
    wait_for(&mut collector, "the windows", |quota| {
        poll_of(quota, "fresh")["last_ok"].is_string()
    });
    collector.stop_cleanly();
}

#[test]
fn a_login_that_is_over_is_asked_with_again_once_its_end_moves() {
    let (place, provider) = (Place::new(), Provider::start());
    let login = place.path("login.json");
    let ends = |at: i64| {
        let login = json!({"accessToken": TOKEN, "expiresAt": at, "scopes": may_ask()});
        json!({ "claudeAiOauth": login }).to_string()
    };
    replace(&login, &ends(1));
    let base = provider.plays("a", vec![Answer::ok(&usage(20.0))]);
    let mut collector = place.serve_with(&by_usage_api("a", &login, &base));
    let poll = fails_with(&mut collector, "a", "expired");
    assert_eq!(poll["state"], "expired");
    assert!(provider.further().is_empty());
    replace(&login, &ends(4_000_000_000_000));
    wait_for(&mut collector, "the windows", |quota| {
        poll_of(quota, "a")["last_ok"].is_string()
    });
    collector.stop_cleanly();
}

#[test]
fn an_answer_to_a_token_that_was_replaced_meanwhile_is_dropped() {
    let (place, provider) = (Place::new(), Provider::start());
    let login = log_in(&place, "login.json", TOKEN, &may_ask());
    let (go, held) = Answer::ok(&usage(91.0)).held();
    let base = provider.plays("a", vec![held, Answer::ok(&usage(5.0))]);
    let mut collector = place.serve_with(&by_usage_api("a", &login, &base));
    provider.request();
    log_in(&place, "login.json", OTHER_TOKEN, &may_ask());
    go.send(()).unwrap();
    collector.wait_for_log("the credential was replaced meanwhile");
    assert_eq!(
        provider.request().header("authorization"),
        Some(format!("Bearer {OTHER_TOKEN}").as_str())
    );
    let quota = wait_for(&mut collector, "the windows", |quota| {
        poll_of(quota, "a")["last_ok"].is_string()
    });
    assert_eq!(share(&quota, "a", "five_hour"), json!(0.05));
    let history = collector.get("/v1/quota/history?account=a&window=five_hour").1;
    assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    collector.stop_cleanly();
}

#[test]
fn counting_goes_on_while_a_provider_never_answers() {
    let (place, provider) = (Place::new(), Provider::start());
    let login = log_in(&place, "login.json", TOKEN, &may_ask());
    let base = provider.plays("a", vec![Answer::Never]);
    let mut collector = place.serve_with(&by_usage_api("a", &login, &base));
    provider.request();
    wait_for(&mut collector, "the request", |quota| {
        poll_of(quota, "a")["state"] == "in_flight"
    });
    for number in 1..=20 {
        append(
            &place.log("r", "a.jsonl"),
            response(&number.to_string(), 5, number),
        );
        collector.wait_for_messages(u64::from(number));
    }
    let quota = collector.get("/v1/quota").1;
    assert_eq!(poll_of(&quota, "a")["state"], "in_flight");
    let shown = text(&place.run(&["quota"]).stdout);
    assert!(
        shown.contains("polled by usage-api: no answer since the start; asking now"),
        "{shown}"
    );
    // A stop does not wait for it either.
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn an_answer_that_is_none_is_an_error_and_a_token_goes_to_no_other_server() {
    let (place, provider, elsewhere) = (Place::new(), Provider::start(), Provider::start());
    let login = log_in(&place, "login.json", TOKEN, &may_ask());
    elsewhere.plays("redirected", vec![Answer::ok(&usage(1.0))]);
    let exact = |bytes: usize| {
        let body = usage(7.0);
        body.clone() + &" ".repeat(bytes - body.len())
    };
    let cases = [
        (
            "long",
            Answer::ok(&exact((64 << 10) + 1)),
            "bad_answer",
            "longer than 64 KiB",
        ),
        (
            "none",
            Answer::ok(r#"{"five_hour":null}"#),
            "bad_answer",
            "no reading of a limit",
        ),
        (
            "text",
            Answer::ok("<html>"),
            "bad_answer",
            "no reading of a limit",
        ),
        (
            "half",
            Answer::Half(r#"{"five_hour":{"utilization":7}}"#),
            "network",
            "no answer of 127.0.0.1",
        ),
        (
            "broken",
            Answer::status(503, "Retry-After: 0\r\n"),
            "server",
            "the server answered 503",
        ),
        (
            "moved",
            Answer::status(302, "Location: /redirected/api/oauth/usage\r\n"),
            "bad_answer",
            "a redirect, which is not followed",
        ),
    ];
    let mut settings = String::new();
    for (name, answer, ..) in &cases {
        let base = provider.plays(name, vec![answer.clone()]);
        settings += &by_usage_api(name, &login, &base);
    }
    let full = provider.plays("full", vec![Answer::ok(&exact(64 << 10))]);
    settings += &by_usage_api("full", &login, &full);
    let mut collector = place.serve_with(&settings);
    for (name, _, code, words) in cases {
        let poll = fails_with(&mut collector, name, code);
        let detail = poll["last_error"]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{name}: {detail}");
        assert_eq!(poll["state"], "backoff", "{name}");
    }
    let quota = wait_for(&mut collector, "a full body", |quota| {
        poll_of(quota, "full")["last_ok"].is_string()
    });
    assert_eq!(share(&quota, "full", "five_hour"), json!(0.07));
    assert_eq!(share(&quota, "long", "five_hour"), Value::Null);
    collector.stop_cleanly();
    let asked: Vec<String> = provider
        .further()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(asked.len(), 7, "{asked:?}");
    assert!(elsewhere.further().is_empty());
}

#[test]
fn codex_is_asked_with_its_own_login() {
    let (place, provider) = (Place::new(), Provider::start());
    let login = place.path("auth.json");
    let tokens = json!({"OPENAI_API_KEY": null, "tokens": {"id_token": "i", "access_token": TOKEN,
        "refresh_token": "r", "account_id": "acc-1"}});
    replace(&login, &tokens.to_string());
    let window = |percent, seconds, after| json!({"used_percent": percent, "limit_window_seconds": seconds, "reset_after_seconds": after});
    let body = json!({"plan_type": "plus", "rate_limit": {"allowed": true, "limit_reached": false,
        "primary_window": window(19, 604_800, 3600), "secondary_window": null}, "credits": {"balance": "12.5"}});
    let base = provider.plays("a", vec![Answer::ok(&body.to_string()), Answer::status(403, "")]);
    let settings = format!(
        "[[account]]\nprovider = \"codex\"\nname = \"a\"\nruns = []\n[account.poll]\nvia = \"wham\"\ncredentials = \"{}\"\n\
         base_url = \"{base}/backend-api\"\nuser_agent = \"codex-test 1\"\n",
        login.display()
    );
    let mut collector = place.serve_with(&settings);
    let request = provider.request();
    assert_eq!(request.path, "/a/backend-api/wham/usage");
    for (name, value) in [("chatgpt-account-id", "acc-1"), ("user-agent", "codex-test 1")] {
        assert_eq!(request.header(name), Some(value));
    }
    assert_eq!(request.header("anthropic-beta"), None);
    let quota = wait_for(&mut collector, "the windows", |quota| {
        poll_of(quota, "a")["last_ok"].is_string()
    });
    assert_eq!(share(&quota, "a", "seven_day"), json!(0.19));
    assert_eq!(quota["windows"][0]["source"], "wham_usage");
    collector.stop_cleanly();
}

#[test]
fn an_answer_of_another_account_than_the_login_is_not_taken() {
    let (place, provider) = (Place::new(), Provider::start());
    let login = place.path("auth.json");
    let own = "5f0c8a4e-1111-4a2b-8c3d-0123456789ab";
    replace(
        &login,
        &json!({"tokens": {"access_token": TOKEN, "account_id": own}}).to_string(),
    );
    let of_account = |(name, id): (&str, &str)| {
        let window = json!({"used_percent": 19, "limit_window_seconds": 604_800, "reset_after_seconds": 60});
        let body = json!({"account_id": id, "rate_limit": {"primary_window": window}});
        let base = provider.plays(name, vec![Answer::ok(&body.to_string())]);
        format!(
            "[[account]]\nprovider = \"codex\"\nname = \"{name}\"\nruns = []\n[account.poll]\nvia = \"wham\"\n\
             credentials = \"{}\"\nbase_url = \"{base}/backend-api\"\n",
            login.display()
        )
    };
    let other = "5f0c8a4e-2222-4a2b-8c3d-0123456789ab";
    let settings: String = [("a", other), ("b", own)].map(of_account).concat();
    let mut collector = place.serve_with(&settings);
    let poll = fails_with(&mut collector, "a", "other_account");
    assert_eq!(poll["state"], "backoff");
    let quota = wait_for(&mut collector, "the windows of the login", |quota| {
        poll_of(quota, "b")["last_ok"].is_string()
    });
    assert_eq!(share(&quota, "a", "seven_day"), Value::Null);
    assert_eq!(share(&quota, "b", "seven_day"), json!(0.19));
    collector.stop_cleanly();
}

/// The client's file with a cache fetched at this time.
fn cache(at: i64, percent: f64) -> String {
    let body: Value = serde_json::from_str(&usage(percent)).unwrap();
    json!({"numStartups": 3, "cachedUsageUtilization": {"fetchedAtMs": at, "accountUuid": "u", "utilization": body}})
        .to_string()
}

fn now() -> i64 {
    Clock::SYSTEM.timestamp().as_millisecond()
}

#[test]
fn a_cache_that_is_not_renewed_is_said_and_its_reading_is_kept() {
    let place = Place::new();
    let file = place.path("claude.json");
    replace(&file, &cache(now() - 7 * 3_600_000 - 60_000, 55.0));
    let settings = account(
        "a",
        &format!("via = \"cache-file\"\ncache = \"{}\"", file.display()),
    );
    let mut collector = place.serve_with(&settings);
    let poll = fails_with(&mut collector, "a", "cache");
    let detail = poll["last_error"]["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("the client's cache has not been renewed for 7 h"),
        "{detail}"
    );
    let quota = collector.get("/v1/quota").1;
    assert_eq!(share(&quota, "a", "five_hour"), json!(0.55));
    collector.stop_cleanly();
}

#[test]
fn a_cache_is_an_observation_at_its_time_of_fetching_and_reloads_turn_polls_on_and_off() {
    let place = Place::new();
    let file = place.path("claude.json");
    let at = now() - 90_000;
    replace(&file, &cache(at, 55.0));
    let on = account(
        "a",
        &format!("via = \"cache-file\"\ncache = \"{}\"", file.display()),
    );
    let off = "[[account]]\nname = \"a\"\nruns = []\npoll = false\n";
    let mut collector = place.serve_with(off);
    assert_eq!(poll_of(&collector.get("/v1/quota").1, "a"), &Value::Null);
    place.configure(&on);
    collector.signal("HUP");
    let quota = wait_for(&mut collector, "the cache", |quota| {
        poll_of(quota, "a")["last_ok"].is_string() && share(quota, "a", "five_hour") == 0.55
    });
    let window = &quota["windows"][0];
    assert_eq!(window["source"], "agent_cache");
    let observed: jiff::Timestamp = window["observed_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        observed.as_millisecond(),
        at,
        "the time of fetching, not of the file"
    );
    assert_eq!(poll_of(&quota, "a")["last_ok"], window["observed_at"]);
    place.configure(off);
    collector.signal("HUP");
    let quota = wait_for(&mut collector, "no poll", |quota| poll_of(quota, "a").is_null());
    assert_eq!(share(&quota, "a", "five_hour"), json!(0.55), "the numbers stay");
    // A half-written file, and one of the future.
    for (name, content, words) in [
        (
            "torn",
            cache(at, 60.0)[..200].to_owned(),
            "not a whole JSON document",
        ),
        (
            "ahead",
            cache(now() + 3_600_000, 60.0),
            "ahead of this host's clock",
        ),
        (
            "empty",
            r#"{"numStartups":3}"#.to_owned(),
            "has no `cachedUsageUtilization`",
        ),
    ] {
        replace(&file, &content);
        let poll = format!("via = \"cache-file\"\ncache = \"{}\"", file.display());
        place.configure(&account(name, &poll));
        collector.signal("HUP");
        wait_for(&mut collector, name, |quota| {
            let accounts = quota["accounts"].as_array().unwrap();
            accounts.iter().any(|account| account["account"] == name)
        });
        let poll = fails_with(&mut collector, name, "cache");
        let detail = poll["last_error"]["detail"].as_str().unwrap();
        assert!(detail.contains(words), "{detail}");
    }
    collector.stop_cleanly();
}

/// A program that stands for the client.
fn client(place: &Place, name: &str, script: &str) -> PathBuf {
    let path = place.path(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[test]
fn the_client_is_run_and_its_cache_read() {
    let place = Place::new();
    let by_cli = |name: &str, script: &str| {
        let program = client(&place, &format!("{name}.sh"), script);
        let file = place.path(&format!("{name}.json"));
        let poll = format!(
            "via = \"claude-cli\"\ncache = \"{}\"\ncommand = [\"{}\", \"{}\"]",
            file.display(),
            program.display(),
            file.display()
        );
        account(name, &poll)
    };
    replace(&place.path("new.json"), &cache(now() + 30_000, 35.0));
    let new = place.path("new.json");
    let settings = [
        by_cli(
            "writes",
            &format!("test -z \"$NOTIFY_SOCKET\" && mv {} \"$1\"", new.display()),
        ),
        by_cli("silent", "exit 0"),
        by_cli("fails", "exit 3"),
    ];
    // A cache that is fresh is adopted, and the client is not run.
    replace(&place.path("adopted.json"), &cache(now() - 1000, 45.0));
    let adopted = by_cli("adopted", "touch \"$1.was-run\"");
    replace(&place.path("silent.json"), &cache(now() - 3_600_000, 25.0));
    let mut collector = place.serve_with(&(settings.concat() + &adopted));
    let quota = wait_for(&mut collector, "the cache", |quota| {
        share(quota, "writes", "five_hour") == 0.35 && share(quota, "adopted", "five_hour") == 0.45
    });
    assert!(!place.path("adopted.json.was-run").exists());
    assert_eq!(poll_of(&quota, "writes")["via"], "claude-cli");
    let poll = fails_with(&mut collector, "silent", "cache");
    assert!(
        poll["last_error"]["detail"]
            .as_str()
            .unwrap()
            .contains("as old as before"),
        "{poll}"
    );
    let poll = fails_with(&mut collector, "fails", "command");
    assert!(
        poll["last_error"]["detail"]
            .as_str()
            .unwrap()
            .contains("exit status: 3"),
        "{poll}"
    );
    collector.stop_cleanly();
}
