//! Limits of the running program: from lines, from operators, and in answers.

mod kills;
mod marks;
mod recovery;
mod routes;
mod settings;
mod shown;
mod story;
mod thresholds;

use serde_json::{Value, json};
use tokentail::clock::Clock;

use crate::harness::{Collector, Place, append};
use crate::scenario::ended;

pub type Millis = i64;

pub const MINUTE: Millis = 60_000;
pub const HOUR: Millis = 60 * MINUTE;

pub const BACKLOG_READ: &str = "the backlog is read";
const ONE_ACCOUNT: &str = "[[account]]\nname = \"max-1\"\n";

pub fn now() -> Millis {
    Clock::SYSTEM.now()
}

/// RFC 3339 in UTC with milliseconds, as in documents.
pub fn time(millis: Millis) -> String {
    format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap())
}

/// A whole second: resets have no fractions.
pub fn second(millis: Millis) -> Millis {
    millis.div_euclid(1000) * 1000
}

/// A line with the used share of a window.
pub fn share_line(at: Millis, name: &str, share: f64, reset: Millis) -> String {
    event(
        at,
        &json!({ "status": "allowed", "rateLimitType": name, "utilization": share, "resetsAt": reset / 1000 }),
    )
}

/// A line with a refusal of a window, without a share.
pub fn refused(at: Millis, name: &str, reset: Millis) -> String {
    event(
        at,
        &json!({ "status": "rejected", "rateLimitType": name, "resetsAt": reset / 1000 }),
    )
}

fn event(at: Millis, info: &Value) -> String {
    line(&json!({ "type": "rate_limit_event", "timestamp": time(at), "rate_limit_info": info }))
}

fn line(document: &Value) -> String {
    format!("{document}\n")
}

/// A response at a time, with so many output tokens and 10 of input.
fn usage(id: &str, at: Millis, output: u64) -> String {
    line(&used(id, at, output))
}

fn used(id: &str, at: Millis, output: u64) -> Value {
    json!({
        "type": "assistant", "uuid": format!("u-{id}"), "requestId": format!("req_{id}"), "timestamp": time(at),
        "message": {
            "id": format!("msg_{id}"), "model": "claude-opus-5", "role": "assistant",
            "usage": { "input_tokens": 10, "output_tokens": output },
        },
    })
}

impl Place {
    /// Runs a command with the configuration: code and both streams.
    fn ask(&self, words: &[&str]) -> (Option<i32>, String, String) {
        ended(&self.command_with_config(words).output().unwrap())
    }

    /// The document of a command with the configuration; it must end with this code.
    fn document(&self, code: i32, words: &[&str]) -> Value {
        let (got, stdout, stderr) = self.ask(&[words, &["--json"]].concat());
        assert_eq!(got, Some(code), "{words:?}: {stdout}{stderr}");
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
    }

    /// Starts with the existing configuration and waits until the backlog is merged.
    fn resume(&self) -> Collector {
        let mut collector = self.start(self.command_with_config(&["serve"]));
        collector.wait_for_log(BACKLOG_READ);
        collector
    }

    fn live_with(&self, settings: &str) -> Collector {
        self.configure(settings);
        self.resume()
    }

    fn tell(&self, run: &str, line: &str) {
        append(&self.log(run, "a.jsonl"), line);
    }
}

impl Collector {
    /// Appends a line and waits until it is committed.
    fn commit_line(&mut self, place: &Place, run: &str, line: &str) -> Value {
        let before = self.summary()["lines"]["read"].as_u64().unwrap();
        place.tell(run, line);
        self.wait_until("the line", |summary| {
            summary["lines"]["read"].as_u64() == Some(before + 1)
        })
    }

    /// Sends a request with a body: status, head in lower case, document.
    pub fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String, Value) {
        let (status, head, body) = self.exchange(method, path, kind, body);
        let document = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        (status, head, document)
    }
}

/// The account of this name, of a summary's `quota` or the answer of `/v1/quota`.
fn account<'d>(quota: &'d Value, name: &str) -> &'d Value {
    let accounts = quota["accounts"].as_array().unwrap();
    let found = accounts.iter().find(|account| account["account"] == name);
    found.unwrap_or_else(|| panic!("no account {name} in {quota}"))
}

/// Account, window, threshold and reset of all fired thresholds; their numbers go up by one from 1.
fn fired(quota: &Value) -> Vec<(String, String, u64, String)> {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let all = quota["thresholds_fired"].as_array().unwrap();
    for (one, number) in all.iter().zip(1..) {
        assert_eq!(one["number"], number, "{quota}");
    }
    all.iter()
        .map(|one| {
            let percent = one["threshold"].as_u64().unwrap();
            (
                word(&one["account"]),
                word(&one["window"]),
                percent,
                word(&one["reset_at"]),
            )
        })
        .collect()
}
