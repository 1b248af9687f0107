//! A provider on loopback: answers the Messages API from scripts and records the responses it sent.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::script::{self, Step};

/// Remaining time of the refused five-hour window, in seconds.
const WINDOW_LEFT_SECONDS: u64 = 7200;

/// Sums of the responses sent, in tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub responses: u64,
    pub input: u64,
    pub output: u64,
    pub cache_creation: u64,
    pub cache_read: u64,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.responses += other.responses;
        self.input += other.input;
        self.output += other.output;
        self.cache_creation += other.cache_creation;
        self.cache_read += other.cache_read;
    }
}

/// Everything sent for one scenario.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub sums: Sums,
    pub refusals: u64,
}

#[derive(Default)]
struct Log {
    /// Numbers the responses of all scenarios, so that no two have the same figures.
    number: u64,
    /// By scenario.
    sent: std::collections::BTreeMap<String, Sent>,
}

/// The running provider.
pub struct Provider {
    base: String,
    log: Arc<Mutex<Log>>,
    runtime: tokio::runtime::Runtime,
}

impl Provider {
    pub fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .context("cannot listen on 127.0.0.1: is the loopback interface up?")?;
        let base = format!("http://{}", listener.local_addr()?);
        let log = Arc::new(Mutex::new(Log::default()));
        let router = axum::Router::new().fallback(answer).with_state(Arc::clone(&log));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { base, log, runtime })
    }

    /// The base URL a scenario's agent is given. A scenario whose name begins with `gateway` gets ids as a gateway makes
    /// them.
    pub fn url(&self, scenario: &str) -> String {
        format!("{}/{scenario}", self.base)
    }

    pub fn sent(&self, scenario: &str) -> Sent {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.sent.get(scenario).copied().unwrap_or_default()
    }

    /// Waits for a condition, for a bounded time.
    pub fn within<F: Future>(&self, longest: Duration, what: F) -> anyhow::Result<F::Output> {
        self.runtime
            .block_on(async { tokio::time::timeout(longest, what).await })
            .with_context(|| format!("no end after {} s", longest.as_secs()))
    }

    pub fn stop(self) {
        self.runtime.shutdown_background();
    }
}

async fn answer(State(log): State<Arc<Mutex<Log>>>, uri: Uri, body: Bytes) -> Response<Body> {
    let path = uri.path().trim_start_matches('/');
    let (scenario, route) = path.split_once('/').unwrap_or((path, ""));
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    match route {
        "v1/messages" if request["messages"].is_array() => message(&log, scenario, &request),
        "v1/messages/count_tokens" => whole(StatusCode::OK, HeaderMap::new(), &json!({"input_tokens": 1234})),
        _ => whole(
            StatusCode::NOT_FOUND,
            HeaderMap::new(),
            &json!({"type": "error", "error": {"type": "not_found_error", "message": "not here"}}),
        ),
    }
}

fn message(log: &Mutex<Log>, scenario: &str, request: &Value) -> Response<Body> {
    let messages = request["messages"].as_array().map_or(&[][..], Vec::as_slice);
    // Requests without tools are made by the agent's own helpers (a title, a recap): no script applies to
    // them.
    let has_tools = request["tools"].as_array().is_some_and(|tools| !tools.is_empty());
    let script = script::of(messages).filter(|_| has_tools);
    let (name, at) = script.unwrap_or_default();
    let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
    log.number += 1;
    let number = log.number;
    let sent = log.sent.entry(scenario.to_owned()).or_default();
    match script::step(&name, at) {
        Step::FiveHourRefusal => {
            sent.refusals += 1;
            refusal(number)
        }
        Step::Blocks(blocks) => {
            let response = Reply::new(scenario, number, request, blocks);
            sent.sums.add(response.sums);
            response.into_http(request["stream"] == true)
        }
    }
}

/// One response and its figures, which depend only on its number.
struct Reply {
    message: Value,
    first_usage: Value,
    request_id: Option<String>,
    sums: Sums,
}

impl Reply {
    fn new(scenario: &str, number: u64, request: &Value, mut blocks: Vec<Value>) -> Self {
        for (index, block) in blocks.iter_mut().enumerate() {
            if block["type"] == "tool_use" {
                block["id"] = json!(format!("toolu_01Loop{number:012}{index:02}"));
            }
        }
        let uses_tool = blocks.iter().any(|block| block["type"] == "tool_use");
        let is_gateway = scenario.starts_with("gateway");
        let id = if is_gateway {
            format!(
                "{:08x}-5cd1-4f2a-9b3e-{number:012x}",
                number * 2_654_435_761 % (1 << 32)
            )
        } else {
            format!("msg_01Loop{number:016}")
        };
        let sums = Sums {
            responses: 1,
            input: 10 + number,
            output: 50 + number,
            cache_creation: 300 + 3 * number,
            cache_read: 20_000 + number,
        };
        let usage = |output: u64| {
            json!({
                "input_tokens": sums.input,
                "cache_creation_input_tokens": sums.cache_creation,
                "cache_read_input_tokens": sums.cache_read,
                "cache_creation": {
                    "ephemeral_5m_input_tokens": 100 + number, "ephemeral_1h_input_tokens": 200 + 2 * number
                },
                "output_tokens": output,
                "service_tier": "standard",
            })
        };
        Self {
            message: json!({
                "id": id, "type": "message", "role": "assistant", "model": request["model"], "content": blocks,
                "stop_reason": if uses_tool { "tool_use" } else { "end_turn" }, "stop_sequence": null,
                "usage": usage(sums.output),
            }),
            // A stream begins with a placeholder for the output.
            first_usage: usage(1 + number % 4),
            request_id: (!is_gateway).then(|| format!("req_01Loop{number:016}")),
            sums,
        }
    }

    fn into_http(self, streamed: bool) -> Response<Body> {
        let mut headers = HeaderMap::new();
        if let Some(id) = self
            .request_id
            .as_ref()
            .and_then(|id| HeaderValue::from_str(id).ok())
        {
            headers.insert("request-id", id);
        }
        if !streamed {
            return whole(StatusCode::OK, headers, &self.message);
        }
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        );
        respond(StatusCode::OK, headers, self.events())
    }

    fn events(&self) -> String {
        let mut text = String::new();
        let mut event = |kind: &str, mut data: Value| {
            data["type"] = json!(kind);
            text.extend(["event: ", kind, "\ndata: ", &data.to_string(), "\n\n"]);
        };
        let mut start = self.message.clone();
        (start["content"], start["stop_reason"]) = (json!([]), Value::Null);
        start["usage"] = self.first_usage.clone();
        event("message_start", json!({"message": start}));
        let blocks = self.message["content"].as_array().map_or(&[][..], Vec::as_slice);
        for (index, block) in blocks.iter().enumerate() {
            let (empty, deltas) = parts(block);
            event(
                "content_block_start",
                json!({"index": index, "content_block": empty}),
            );
            for delta in deltas {
                event("content_block_delta", json!({"index": index, "delta": delta}));
            }
            event("content_block_stop", json!({"index": index}));
        }
        event(
            "message_delta",
            json!({
                "delta": {"stop_reason": self.message["stop_reason"], "stop_sequence": null},
                "usage": self.message["usage"],
            }),
        );
        event("message_stop", json!({}));
        text
    }
}

/// A block as a stream sends it: first empty, then its contents.
fn parts(block: &Value) -> (Value, Vec<Value>) {
    let mut empty = block.clone();
    let deltas = match block["type"].as_str() {
        Some("thinking") => {
            (empty["thinking"], empty["signature"]) = (json!(""), json!(""));
            vec![
                json!({"type": "thinking_delta", "thinking": block["thinking"]}),
                json!({"type": "signature_delta", "signature": block["signature"]}),
            ]
        }
        Some("tool_use") => {
            empty["input"] = json!({});
            vec![json!({"type": "input_json_delta", "partial_json": block["input"].to_string()})]
        }
        _ => {
            empty["text"] = json!("");
            vec![json!({"type": "text_delta", "text": block["text"]})]
        }
    };
    (empty, deltas)
}

/// A 429 of the account's five-hour window.
#[expect(
    clippy::disallowed_methods,
    reason = "a program of its own, without a clock handed over"
)]
fn refusal(number: u64) -> Response<Body> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    // Real windows end at whole ten minutes.
    let reset = (now + WINDOW_LEFT_SECONDS) / 600 * 600;
    let unified = [
        ("status", "rejected".to_owned()),
        ("representative-claim", "five_hour".to_owned()),
        ("reset", reset.to_string()),
        ("5h-status", "rejected".to_owned()),
        ("5h-utilization", "1.0".to_owned()),
        ("5h-reset", reset.to_string()),
        ("7d-status", "allowed".to_owned()),
        ("7d-utilization", "0.17".to_owned()),
        ("7d-reset", (reset + 400_000).to_string()),
    ];
    let plain = [
        ("retry-after", (reset - now).to_string()),
        ("x-should-retry", "false".to_owned()),
        ("request-id", format!("req_01Loop{number:016}")),
    ];
    let unified = unified.map(|(name, value)| (format!("anthropic-ratelimit-unified-{name}"), value));
    let plain = plain.map(|(name, value)| (name.to_owned(), value));
    let headers = unified.into_iter().chain(plain);
    let headers = headers.filter_map(|(name, value)| {
        Some((
            HeaderName::try_from(name).ok()?,
            HeaderValue::try_from(value).ok()?,
        ))
    });
    whole(
        StatusCode::TOO_MANY_REQUESTS,
        headers.collect(),
        &json!({"type": "error", "error": {"type": "rate_limit_error", "message": "the window is used up"}}),
    )
}

fn whole(status: StatusCode, mut headers: HeaderMap, document: &Value) -> Response<Body> {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    respond(status, headers, document.to_string())
}

fn respond(status: StatusCode, headers: HeaderMap, text: String) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
