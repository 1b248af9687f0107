//! Parts of scenarios: detailed lines, settings, sentinel lines, and raw requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::{Collector, Place, append, text};

/// Changes are reported by events only: the first scan comes long after the test has failed.
pub const EVENTS_ONLY: &str = "[watch]\nscan_interval = \"1h\"\n";
/// Changes without an event are found soon.
pub const SCANS_OFTEN: &str = "[watch]\nscan_interval = \"100ms\"\n";

/// A line that is read and counts nothing.
const SENTINEL: &str = "{\"type\":\"sentinel\"}\n";

/// One copy of a response.
#[derive(Clone, Copy, Debug)]
pub struct Copy<'a> {
    pub id: &'a str,
    pub output: u64,
    pub time: &'a str,
    pub model: &'a str,
    pub sidechain: bool,
}

impl Copy<'_> {
    /// Its line, with the line end.
    pub fn line(&self) -> String {
        let Self {
            id,
            output,
            time,
            model,
            sidechain,
        } = self;
        format!(
            "{{\"type\":\"assistant\",\"isSidechain\":{sidechain},\"uuid\":\"u-{id}-{output}\",\"requestId\":\"req_{id}\",\"timestamp\":\"{time}\",\"message\":{{\"id\":\"msg_{id}\",\"model\":\"{model}\",\"role\":\"assistant\",\"usage\":{{\"input_tokens\":10,\"output_tokens\":{output}}}}}}}\n"
        )
    }
}

/// The same line, so many bytes long with its line end.
pub fn padded(line: &str, bytes: usize) -> String {
    const FIELD: &str = "\"pad\":\"\",";
    let pad = "x".repeat(bytes - line.len() - FIELD.len());
    let line = line.replacen('{', &format!("{{\"pad\":\"{pad}\","), 1);
    assert_eq!(line.len(), bytes);
    line
}

impl Place {
    /// The file written by [`Place::configure`].
    pub fn config(&self) -> PathBuf {
        self.path("t.toml")
    }

    pub fn configure(&self, settings: &str) {
        fs::write(self.config(), settings).unwrap();
    }

    /// A command with the configuration file.
    pub fn command_with_config(&self, words: &[&str]) -> Command {
        let mut command = self.command(words);
        command.arg("--config").arg(self.config());
        command
    }

    /// Starts the collector with these settings.
    pub fn serve_with(&self, settings: &str) -> Collector {
        self.configure(settings);
        self.start(self.command_with_config(&["serve"]))
    }

    pub fn mount(&self, run: &str) -> PathBuf {
        self.runs().join(run).join("mount")
    }
}

impl Collector {
    /// Waits until the tailer of `run` has processed everything written until now.
    ///
    /// Events are ordered, and a tailer processes its hints at once: the commit of a sentinel line shows that
    /// everything before it was read, that of a second one that the work of the first is done.
    pub fn settle(&mut self, place: &Place, run: &str) -> Value {
        let mut summary = self.summary();
        for _ in 0..2 {
            let rung = summary["lines"]["ignored"].as_u64().unwrap();
            append(&place.log(run, "sentinel.jsonl"), SENTINEL);
            summary = self.wait_until("the sentinel line", |summary| {
                summary["lines"]["ignored"].as_u64() > Some(rung)
            });
        }
        summary
    }

    /// Waits until a log line with `words` has appeared so many times.
    pub fn wait_for_logs(&mut self, words: &str, times: usize) {
        let count = |seen: &[String]| seen.iter().filter(|line| line.contains(words)).count();
        while count(&self.seen) < times {
            let before = self.seen.len();
            self.wait_for_next_log(words);
            assert!(self.seen.len() > before);
        }
    }

    /// The reasons of health.
    pub fn reasons(&self) -> Vec<String> {
        let health = self.get("/healthz").1;
        let reasons = health["reasons"].as_array().unwrap();
        reasons
            .iter()
            .map(|reason| reason.as_str().unwrap().to_owned())
            .collect()
    }

    /// Sends a request with any method: status, head and body.
    pub fn ask(&self, method: &str, path: &str) -> (u16, String, String) {
        self.ask_with(method, path, "")
    }

    /// As [`Collector::ask`], with further header lines, each with its line end.
    pub fn ask_with(&self, method: &str, path: &str, headers: &str) -> (u16, String, String) {
        self.exchange(method, path, headers, "")
    }
}

/// The exit code of a command, and both its outputs.
pub fn ended(output: &Output) -> (Option<i32>, String, String) {
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Messages, output tokens and usage lines read.
pub fn figures(summary: &Value) -> (u64, u64, u64) {
    let number = |value: &Value| value.as_u64().unwrap();
    (
        number(&summary["messages"]),
        number(&summary["totals"]["output_tokens"]),
        number(&summary["lines"]["usage"]),
    )
}

/// Replaces `path` by `text` as careful programs do: written beside it, then renamed.
pub fn replace(path: &Path, text: &str) {
    let beside = path.with_extension("tmp");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}
