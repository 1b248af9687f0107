//! The true content of the corpus, recorded while it is generated.
//!
//! The generator records each response when it invents it; nothing here reads the output, ranks copies or
//! parses anything. The result has the keys of a replay's summary.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::calendar;

/// The tokens used by one call to a model.
#[derive(Clone, Copy, Default)]
pub struct Usage {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_creation: u64,
    pub cache_creation_5m: u64,
    pub cache_creation_1h: u64,
    pub web_searches: u64,
    /// The part of `output` that was thinking.
    pub thinking: u64,
}

impl Usage {
    fn add(&mut self, other: Self) {
        self.input += other.input;
        self.output += other.output;
        self.cache_read += other.cache_read;
        self.cache_creation += other.cache_creation;
        self.cache_creation_5m += other.cache_creation_5m;
        self.cache_creation_1h += other.cache_creation_1h;
        self.web_searches += other.web_searches;
        self.thinking += other.thinking;
    }

    fn into_json(self) -> Map<String, Value> {
        [
            ("input_tokens", self.input),
            ("output_tokens", self.output),
            ("cache_creation_input_tokens", self.cache_creation),
            ("cache_read_input_tokens", self.cache_read),
            ("cache_creation_5m", self.cache_creation_5m),
            ("cache_creation_1h", self.cache_creation_1h),
            ("web_search_requests", self.web_searches),
            ("thinking_tokens", self.thinking),
            (
                "total_tokens",
                self.input + self.output + self.cache_creation + self.cache_read,
            ),
        ]
        .into_iter()
        .map(|(name, count)| (name.to_owned(), json!(count)))
        .collect()
    }
}

/// One call: the response itself, or an advisor called during it.
#[derive(Clone)]
pub struct Call {
    pub model: String,
    pub usage: Usage,
}

/// A response by its number in the books.
pub type ResponseId = usize;

struct Response {
    /// The smallest index among the runs that hold the earliest line.
    owner: usize,
    /// Time of the earliest line, or of the line before one without a time.
    first_ms: u64,
    call: Call,
    advisors: Vec<Call>,
    has_lines: bool,
}

#[derive(Default)]
pub struct Books {
    responses: Vec<Response>,
    malformed_by_run: BTreeMap<usize, u64>,
    usage_lines: u64,
    duplicate_lines: u64,
    ignored_lines: u64,
    clock_suspect_lines: u64,
    files: u64,
    bytes: u64,
    last_ms: u64,
}

#[derive(Default)]
struct RunTotals {
    messages: u64,
    usage: Usage,
}

impl Books {
    pub fn response(&mut self, run: usize, first_ms: u64, call: Call, advisors: Vec<Call>) -> ResponseId {
        self.responses.push(Response {
            owner: run,
            first_ms,
            call,
            advisors,
            has_lines: false,
        });
        self.responses.len() - 1
    }

    /// Sets the final response, on a later line than those written so far.
    pub fn finish(&mut self, id: ResponseId, call: Call) {
        self.responses[id].call = call;
    }

    pub fn usage_line(&mut self, id: ResponseId) {
        self.usage_lines += 1;
        if std::mem::replace(&mut self.responses[id].has_lines, true) {
            self.duplicate_lines += 1;
        }
    }

    /// The earliest line of a response was copied, time and all, into `run`.
    pub fn first_line_copied(&mut self, id: ResponseId, run: usize) {
        let owner = &mut self.responses[id].owner;
        *owner = run.min(*owner);
    }

    pub fn ignored_line(&mut self) {
        self.ignored_lines += 1;
    }

    pub fn malformed_line(&mut self, run: usize) {
        *self.malformed_by_run.entry(run).or_default() += 1;
    }

    pub fn clock_suspect_line(&mut self) {
        self.clock_suspect_lines += 1;
    }

    pub fn saw(&mut self, time_ms: u64) {
        self.last_ms = self.last_ms.max(time_ms);
    }

    pub fn file(&mut self, bytes: usize) {
        self.files += 1;
        self.bytes += bytes as u64;
    }

    pub fn summary(&self, run_names: &[String]) -> Value {
        let mut totals = Usage::default();
        let mut by_run: Vec<RunTotals> = run_names.iter().map(|_| RunTotals::default()).collect();
        let mut by_model: BTreeMap<String, Usage> = BTreeMap::new();
        let mut by_day: BTreeMap<String, Usage> = BTreeMap::new();
        let mut advisor_calls = 0;
        for response in &self.responses {
            let day = calendar::day(response.first_ms);
            by_run[response.owner].messages += 1;
            advisor_calls += response.advisors.len();
            for call in std::iter::once(&response.call).chain(&response.advisors) {
                totals.add(call.usage);
                by_run[response.owner].usage.add(call.usage);
                by_model.entry(call.model.clone()).or_default().add(call.usage);
                by_day.entry(day.clone()).or_default().add(call.usage);
            }
        }
        let malformed: u64 = self.malformed_by_run.values().sum();
        json!({
            "schema": 1,
            "now": calendar::time(self.last_ms),
            "messages": self.responses.len(),
            "advisor_calls": advisor_calls,
            "totals": totals.into_json(),
            "by_run": self.runs_json(run_names, by_run),
            "by_model": totals_json(by_model),
            "by_day": totals_json(by_day),
            "lines": {
                "read": self.usage_lines + self.ignored_lines + malformed,
                "usage": self.usage_lines,
                "duplicate": self.duplicate_lines,
                "ignored": self.ignored_lines,
                "malformed": malformed,
                "oversized": 0,
                "clock_suspect": self.clock_suspect_lines,
            },
            "files": self.files,
            "bytes": self.bytes,
        })
    }

    fn runs_json(&self, run_names: &[String], by_run: Vec<RunTotals>) -> Map<String, Value> {
        let mut runs = Map::new();
        for (index, (name, run)) in run_names.iter().zip(by_run).enumerate() {
            let mut row = run.usage.into_json();
            row.insert("messages".to_owned(), json!(run.messages));
            row.insert(
                "malformed_lines".to_owned(),
                json!(self.malformed_by_run.get(&index).copied().unwrap_or(0)),
            );
            runs.insert(name.clone(), Value::Object(row));
        }
        runs
    }
}

fn totals_json(rows: BTreeMap<String, Usage>) -> Map<String, Value> {
    rows.into_iter()
        .map(|(name, usage)| (name, Value::Object(usage.into_json())))
        .collect()
}
