//! Accounts that no configuration names: refused with the configured names, and nothing of them is stored.

use serde_json::json;

use crate::harness::{Collector, Place, append, response};

const TWO_ACCOUNTS: &str = "[[account]]\nname = \"max-1\"\n[[account]]\nname = \"max-2\"\nruns = []\n";
const LABELS: &str = r#"{"labels":{"account":"max-3"}}"#;
const MARK: &str = r#"{"state":"exhausted"}"#;
const OBSERVATION: &str = r#"{"account":"max-3","status":429,"headers":{"retry-after":"600"}}"#;

/// Each request that names the account, with its status under `accounts.open`.
const REQUESTS: [(&str, &str, &str, u16); 5] = [
    ("PUT", "/v1/runs/r", LABELS, 201),
    ("POST", "/v1/observations", OBSERVATION, 200),
    ("POST", "/v1/quota/max-3/mark", MARK, 200),
    ("POST", "/v1/accounts/claude/max-3/mark", MARK, 200),
    ("GET", "/v1/may-start?account=max-3", "", 200),
];

#[test]
fn an_unknown_account_is_refused_everywhere_and_changes_nothing() {
    let place = Place::new();
    let mut collector = place.serve_with(TWO_ACCOUNTS);
    collector.wait_until("the backlog", |_| true);
    let before = collector.get("/v1/quota").1["accounts"].clone();
    for (method, path, body, _) in REQUESTS {
        let (status, problem) = collector.request(method, path, body);
        assert_eq!(status, 404, "{method} {path}: {problem}");
        let message = problem.to_string();
        assert!(
            message.contains("max-1") && message.contains("max-2"),
            "{method} {path}: {message}"
        );
    }
    let output = place
        .command_with_config(&["may-start", "--account", "max-3"])
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(66), "{message}");
    assert!(message.contains("did you mean"), "{message}");
    assert_eq!(collector.get("/v1/quota").1["accounts"], before);
    assert_eq!(collector.get("/api/runs").1, json!([]));
    collector.stop_cleanly();
}

#[test]
fn where_all_accounts_are_taken_an_unknown_one_is_one_like_any_other() {
    let place = Place::new();
    let mut collector = place.serve_with(&format!("{TWO_ACCOUNTS}[accounts]\nopen = true\n"));
    collector.wait_until("the backlog", |_| true);
    for (method, path, body, want) in REQUESTS {
        let (status, answer) = collector.request(method, path, body);
        assert_eq!(status, want, "{method} {path}: {answer}");
    }
    collector.stop_cleanly();
}

#[test]
fn a_run_goes_on_being_counted_when_its_account_is_no_longer_configured() {
    let place = Place::new();
    let mut collector = place.serve_with(&format!(
        "{TWO_ACCOUNTS}[[account]]\nname = \"max-3\"\nruns = []\n"
    ));
    // Before its directory exists: a run that is found is registered already.
    assert_eq!(collector.request("PUT", "/v1/runs/r", LABELS).0, 201);
    let log = place.log("r", "a.jsonl");
    append(&log, response("1", 5, 1));
    collector.wait_for_messages(1);
    collector.stop_cleanly();
    let mut collector: Collector = place.serve_with(TWO_ACCOUNTS);
    append(&log, response("2", 6, 2));
    let summary = collector.wait_for_messages(2);
    assert_eq!(summary["by_run"]["r"]["output_tokens"], 11);
    collector.stop_cleanly();
}
