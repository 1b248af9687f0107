//! Causes of notifications through the program: each kind once, to each kind of receiver, under one id.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::harness::{Place, append, text};
use crate::notify::{OK, list, now, read_share, script, serve, target};
use crate::receiver::{Hook, Reaction, WebhookReceiver};

/// The id of an event and its type, as each format has it.
fn id_and_event(hook: &Hook) -> (String, String) {
    let body = hook.json();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let event = match hook.path.as_str() {
        "/standard" => text(&body["type"]),
        "/am" => text(&body["alerts"][0]["annotations"]["event"]),
        // The topic is in the body.
        "/" => text(&body["title"]).split(' ').next().unwrap().to_owned(),
        "/slack" => text(&body["text"])[1..].split(' ').next().unwrap().to_owned(),
        other => panic!("{other}"),
    };
    (hook.id().to_owned(), event)
}

/// Waits for so many events of each target; the ids and events of each, in order.
fn next_of_each(receiver: &WebhookReceiver, count: usize) -> BTreeMap<String, Vec<(String, String)>> {
    let mut by_path: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for _ in 0..4 * count {
        let hook = receiver.next();
        by_path
            .entry(hook.path.clone())
            .or_default()
            .push(id_and_event(&hook));
    }
    by_path
}

#[test]
fn every_kind_of_receiver_gets_each_cause_under_one_id() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let program = script(
        &place,
        "hook",
        "echo \"$TOKENTAIL_ID $TOKENTAIL_EVENT\" >> \"$1\"",
    );
    let out = place.path("out");
    let events = "events = [\"window.*\", \"account.*\", \"health.*\"]";
    let config = [
        target("standard", &receiver.url("standard"), ""),
        target("am", &receiver.url("am"), "format = \"alertmanager\""),
        target("ntfy", &receiver.url("phone"), "format = \"ntfy\""),
        target("slack", &receiver.url("slack"), "format = \"slack\""),
        format!("[[notify]]\nname = \"script\"\nevents = [\"*\"]\nexec = [{program:?}, {out:?}]\n"),
    ]
    .concat()
    .replace("events = [\"*\"]", events);
    let mut collector = serve(&place, &config);
    let mut all: Vec<(String, String)> = Vec::new();
    let mut expect = |expected: &[&str]| {
        let by_path = next_of_each(&receiver, expected.len());
        let first = &by_path["/standard"];
        for (path, got) in &by_path {
            assert_eq!(got, first, "{path}");
        }
        let mut events: Vec<&str> = first.iter().map(|(_, event)| event.as_str()).collect();
        events.sort_unstable();
        assert_eq!(events, expected);
        all.extend(first.iter().cloned());
    };
    read_share(&place, 0.8, "allowed_warning", 3600);
    expect(&["window.threshold"]);
    read_share(&place, 0.8, "rejected", 3600);
    expect(&["account.exhausted", "window.exhausted"]);
    read_share(&place, 0.01, "allowed", 5 * 3600);
    expect(&["account.available", "window.reset"]);
    fs::rename(place.runs(), place.path("away")).unwrap();
    expect(&["health.degraded"]);
    fs::rename(place.path("away"), place.runs()).unwrap();
    expect(&["health.ok"]);
    let by_script = |text: &str| -> Vec<(String, String)> {
        let words = text.lines().filter_map(|line| line.split_once(' '));
        words
            .map(|(id, event)| (id.to_owned(), event.to_owned()))
            .collect()
    };
    collector.wait_until("the program's events", |_| {
        fs::read_to_string(&out).is_ok_and(|text| by_script(&text).len() == all.len())
    });
    assert_eq!(by_script(&fs::read_to_string(&out).unwrap()), all);
    let ids: std::collections::BTreeSet<_> = all.iter().map(|(id, _)| id).collect();
    assert_eq!(ids.len(), all.len(), "a cause of its own for each");
    collector.stop_cleanly();
    assert_eq!(receiver.further().len(), 0);
}

#[test]
fn a_forecast_a_budget_and_a_credential_that_is_over_are_said_once_over_restarts() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let login = place.path("login.json");
    fs::write(
        &login,
        json!({"claudeAiOauth": {"accessToken": "sk-test-oat01-x", "expiresAt": 1,
            "scopes": ["user:profile"]}})
        .to_string(),
    )
    .unwrap();
    let config = format!(
        "[[account]]\nname = \"default\"\ndaily_tokens = 100\nthresholds = [50, 75, 90]\n\
         [[account]]\nname = \"polled\"\nruns = []\n[account.poll]\nvia = \"usage-api\"\ncredentials = {login:?}\n\
         base_url = \"http://127.0.0.1:1/x\"\n[[notify]]\nname = \"a\"\n\
         events = [\"forecast.*\", \"budget.*\", \"poll.*\"]\nurl = {:?}\n",
        receiver.url("a")
    );
    let collector = serve(&place, &config);
    let expired = receiver.next().json();
    assert_eq!(expired["type"], "poll.expired");
    assert_eq!(expired["data"]["account"], "polled");
    assert!(
        expired["data"]["sentence"]
            .as_str()
            .unwrap()
            .contains("the credential of its poll is over"),
        "{expired}"
    );
    let at = jiff::Timestamp::from_second(now()).unwrap();
    let line = json!({"type": "assistant", "uuid": "u", "requestId": "r", "sessionId": "s",
        "timestamp": at.to_string(), "message": {"id": "msg_1", "model": "claude-opus-5", "role": "assistant",
            "usage": {"input_tokens": 30, "output_tokens": 50}}});
    append(&place.log("r1", "s.jsonl"), format!("{line}\n"));
    let budget = receiver.next().json();
    assert_eq!(budget["type"], "budget.threshold");
    assert_eq!(
        (&budget["data"]["threshold"], &budget["data"]["utilization"]),
        (&json!(75), &json!(0.8)),
        "the highest of those that it reached: {budget}"
    );
    // After two of five hours 85 % are used: the rest lasts 21 minutes.
    read_share(&place, 0.85, "allowed_warning", 3 * 3600);
    let forecast = receiver.next().json();
    assert_eq!(forecast["type"], "forecast.before_reset");
    assert_eq!(forecast["data"]["bucket"], "five_hour");
    let sentence = forecast["data"]["sentence"].as_str().unwrap();
    assert!(
        sentence.contains("will be used up at ") && sentence.contains("before its reset"),
        "{sentence}"
    );
    collector.stop_cleanly();
    // Nothing changed, so nothing is said, until a window does.
    let mut collector = serve(
        &place,
        &config.replace("\"poll.*\"", "\"window.threshold\", \"poll.*\""),
    );
    collector.wait_until("the poll's state", |_| {
        place.json(&["quota"]).to_string().contains("\"expired\"")
    });
    read_share(&place, 0.95, "allowed_warning", 3 * 3600);
    assert_eq!(receiver.next().event(), "window.threshold");
    collector.stop_cleanly();
    assert_eq!(receiver.further().len(), 0);
}

#[test]
fn a_block_that_another_cause_prolongs_is_said_again_under_an_id_of_its_own() {
    let place = Place::new();
    let receiver = WebhookReceiver::start(&[OK]);
    let config = "[[notify]]\nname = \"a\"\nevents = [\"account.*\"]\n";
    let collector = serve(&place, &format!("{config}url = {:?}\n", receiver.url("a")));
    read_share(&place, 0.6, "rejected", 3600);
    let first = receiver.next();
    // A try of the same request changes nothing; the week's window does.
    read_share(&place, 0.6, "rejected", 3600);
    let at = jiff::Timestamp::from_second(now()).unwrap();
    let end = now() + 3 * 86_400;
    let line = json!({"type": "rate_limit_event", "timestamp": at.to_string(), "rate_limit_info": {
        "status": "rejected", "resetsAt": end, "rateLimitType": "seven_day", "utilization": 1.0}});
    append(&place.log("r1", "s.jsonl"), format!("{line}\n"));
    let second = receiver.next();
    for hook in [&first, &second] {
        assert_eq!(hook.event(), "account.exhausted");
    }
    assert_ne!(first.id(), second.id());
    let data = second.json()["data"].take();
    let end: jiff::Timestamp = jiff::Timestamp::from_second(end).unwrap();
    let reset: jiff::Timestamp = data["reset_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(reset, end, "{data}");
    let sentence = data["sentence"].as_str().unwrap();
    assert!(sentence.contains("seven_day was refused"), "{sentence}");
    collector.stop_cleanly();
    assert_eq!(receiver.further().len(), 0);
}

#[test]
fn a_target_that_failed_and_was_changed_starts_anew() {
    let place = Place::new();
    let (gone, well) = (
        WebhookReceiver::start(&[Reaction::Status(410, "")]),
        WebhookReceiver::start(&[OK]),
    );
    let config = |url: &str| {
        format!(
            "[[notify]]\nname = \"a\"\nevents = [\"account.*\", \"window.exhausted\"]\n\
                 match = {{ account = \"claude/def*\", bucket = \"weekly\" }}\nurl = {url:?}\n"
        )
    };
    let mut collector = serve(&place, &config(&gone.url("a")));
    read_share(&place, 0.6, "rejected", 3600);
    assert_eq!(gone.next().event(), "account.exhausted");
    collector.wait_for_log("a notification is given up");
    assert_eq!(list(&place)[0]["state"], "failing");
    let is_said = |place: &Place| {
        place
            .json(&["status"])
            .to_string()
            .contains("notifications do not reach a")
    };
    assert!(is_said(&place));
    fs::write(place.path("t.toml"), config(&well.url("a"))).unwrap();
    collector.signal("HUP");
    collector.wait_until("the target starts anew", |_| {
        let target = list(&place)[0].clone();
        target["state"] == "idle" && target["failing_since"].is_null() && target["error"].is_null()
    });
    assert!(!is_said(&place));
    // The test is the first event that the target gets, of an account and a window that its conditions name.
    let tested = place.run(&["notify", "test", "a"]);
    assert!(
        text(&tested.stdout).contains("a took a test of account.exhausted"),
        "{tested:?}"
    );
    assert_eq!(well.next().json()["data"]["account"], "default");
    assert!(
        place
            .run(&["notify", "test", "a", "--event", "window.exhausted"])
            .status
            .success()
    );
    assert_eq!(well.next().json()["data"]["bucket"], "seven_day");
    assert_eq!(list(&place)[0]["state"], "idle");
    collector.stop_cleanly();
    assert_eq!(well.further().len(), 0);
}

#[test]
fn conditions_that_nothing_configured_fits_are_warned_of() {
    let place = Place::new();
    let account = "[[account]]\nname = \"max-1\"\nthresholds = [50, 90]\n";
    for (conditions, warning) in [
        ("account = \"max-*\", threshold = 90", None),
        ("account = \"claude/max-1\", bucket = \"5h\"", None),
        ("provider = \"codex\"", None),
        (
            "account = \"mac-*\"",
            Some("match has account = \"mac-*\", which no configured account fits"),
        ),
        ("account = \"codex/max-*\"", Some("there are claude/max-1")),
        (
            "threshold = 95",
            Some("match has threshold = 95, but the highest of `thresholds` is 90"),
        ),
    ] {
        let path = place.path("t.toml");
        let target = format!(
            "{account}[[notify]]\nname = \"a\"\nevents = [\"window.*\"]\nexec = [\"/bin/true\"]\nmatch = {{ {conditions} }}\n"
        );
        fs::write(&path, target).unwrap();
        let output = place
            .command(&["check-config", "--config"])
            .arg(&path)
            .env("COLUMNS", "400")
            .output()
            .unwrap();
        let shown = text(&output.stdout);
        assert!(output.status.success(), "{output:?}");
        match warning {
            Some(words) => assert!(
                shown.contains("warning: notify a: ") && shown.contains(words),
                "{shown}"
            ),
            None => assert!(!shown.contains("notify a: "), "{shown}"),
        }
    }
}
