//! Fuzz test of the API: any request over the socket gets an answer with a status, and a problem if it is no
//! success.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::runtime::Runtime;

use super::tests::{WAIT_MAX, clock, settings, write_log};
use super::*;
use crate::fuzz::{self, Target};

/// Requests to one collector, which is then replaced, because the runs that they start stay.
const REQUESTS_OF_ONE: u64 = 1000;
/// Longest path and query of a correctly sent request, in bytes.
const TARGET_BYTES_MAX: usize = 8 << 10;
/// Headers of such a request, beside the required ones.
const HEADERS_MAX: usize = 16;
const HEADER_BYTES_MAX: usize = 500;
/// Headers about the length of a request or its connection.
const FRAMING: [&str; 7] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "expect",
    "upgrade",
    "sec-websocket-key",
];

static HTTP: Target = Target {
    name: "http",
    test: "app::fuzz::any_request",
    inputs: 1_500,
    tokens: &[
        b"GET /v1/runs/one",
        b"PUT /v1/runs/one",
        b"DELETE /v1/runs/one",
        b"POST /v1/runs/one/stop?wait=true",
        b"POST /v1/observations",
        b"POST /v1/quota/default/mark",
        b"POST /v1/accounts/claude/default/mark",
        b"HEAD ",
        b"OPTIONS ",
        b"?from=2026-10-05&to=2026-10-06&group_by=day,model",
        b"&limit=18446744073709551615",
        b"&offset=-1",
        b"label=a:b",
        b"%e2%80%ae",
        b"%",
        b"%zz",
        b"+",
        b"Accept: text/csv;q=0.1,*/*;q=2\n",
        b"Content-Type: application/json\n",
        b"Content-Type: text/plain;charset=\xff\n",
        b"Last-Event-ID: 9\n",
        b"{\"labels\":{\"provider\":\"x\"}}",
        b"{\"mount\":\"/\"}",
        b"{\"exhausted\":true,\"until\":\"2026-10-05T09:00:00Z\"}",
        b"\"observed_at\":\"1970-01-01T00:00:00Z\",",
        b"\"headers\":{\"anthropic-ratelimit-unified-5h-utilization\":\"0.5\"}",
        b"\"statusline\":{\"rate_limits\":{\"five_hour\":{\"used_percentage\":1e300}}}",
        b"\"rate_limit_event\":{\"status\":\"rejected\"}",
        b"\"status\":429",
    ],
    lines_of: &[],
    giant_bytes: 60 << 10,
};

static WIRE: Target = Target {
    name: "wire",
    test: "app::fuzz::any_bytes",
    inputs: 1_500,
    tokens: &[
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HTTP/1.1",
        b"HTTP/1.0",
        b"HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r\n\r\n",
        b"\r\n ",
        b"Host: ",
        b"Content-Length: 0\r\n",
        b"Content-Length: 18446744073709551616\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        b"\x81\x85\x01\x02\x03\x04",
        b"\x88\x80\0\0\0\0",
        b"http://[::1]:0/",
        b"*",
    ],
    lines_of: &[],
    giant_bytes: 256 << 10,
};

#[test]
fn any_request_is_answered() {
    fuzz::run(&HTTP, || {
        let mut request = TestCollector::new();
        move |input: &[u8]| request.judge_request(input)
    });
}

#[test]
fn any_bytes_leave_the_door_open() {
    fuzz::run(&WIRE, || {
        let mut request = TestCollector::new();
        move |input: &[u8]| request.judge_bytes(input)
    });
}

/// A collector in this process.
struct TestCollector {
    runtime: Runtime,
    running: Option<Running>,
    directory: tempfile::TempDir,
    stream: Option<UnixStream>,
    requests: u64,
    /// Answers by the hundreds of their status.
    answers: [u64; 6],
}

/// An answer.
#[derive(Debug)]
struct CommandOutput {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl TestCollector {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let mut request = Self {
            runtime,
            running: None,
            directory: place(),
            stream: None,
            requests: 0,
            answers: [0; 6],
        };
        request.start();
        request
    }

    fn start(&mut self) {
        self.stop();
        self.directory = place();
        write_log(self.directory.path(), "one", "a.jsonl", "1");
        let settings = settings(self.directory.path());
        let _inside = self.runtime.enter();
        let running = App::start(settings, Scope::Everything, clock()).unwrap();
        let read = running.backlog_done();
        let waited = async { tokio::time::timeout(WAIT_MAX, read.cancelled()).await };
        self.runtime.block_on(waited).expect("the backlog is read");
        self.running = Some(running);
    }

    fn stop(&mut self) {
        self.stream = None;
        if let Some(running) = self.running.take() {
            let drained = self.runtime.block_on(running.shutdown(WAIT_MAX));
            assert!(matches!(drained, ShutdownOutcome::Clean), "{drained:?}");
        }
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("t.sock")
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket()).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        stream
    }

    fn count(&mut self) {
        self.requests += 1;
        if self.requests.is_multiple_of(REQUESTS_OF_ONE) {
            self.start();
        }
    }

    fn judge_request(&mut self, input: &[u8]) {
        self.count();
        let (bytes, is_head) = request(input);
        let mut stream = self.stream.take().unwrap_or_else(|| self.connect());
        stream.write_all(&bytes).unwrap();
        let (said, stays) = read_answer(&mut stream, is_head);
        if stays {
            self.stream = Some(stream);
        }
        self.answers[usize::from(said.status / 100).min(5)] += 1;
        let request = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
        judge_answer(&said, is_head, &request);
    }

    fn judge_bytes(&mut self, input: &[u8]) {
        self.count();
        let mut stream = self.connect();
        // After an early refusal the rest of a request may not be accepted.
        let _ = stream.write_all(input);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Ok(_) => {}
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
                "{error}"
            ),
        }
        if !answer.is_empty() {
            let start = String::from_utf8_lossy(&answer[..answer.len().min(13)]).into_owned();
            assert!(
                start.starts_with("HTTP/1.") && !start.ends_with("500 "),
                "{start}"
            );
        }
        let mut stream = self.connect();
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .unwrap();
        let (said, _) = read_answer(&mut stream, false);
        assert_eq!(said.status, 200, "the next one is not answered: {said:?}");
    }
}

impl Drop for TestCollector {
    fn drop(&mut self) {
        eprintln!("answers by the hundreds of their status: {:?}", self.answers);
        self.stop();
    }
}

/// In memory where possible: each request that changes something waits for the disk.
fn place() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory)
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A correct request of HTTP with the contents of the input: a line with method and target, lines of
/// headers, an empty line, the body.
fn request(input: &[u8]) -> (Vec<u8>, bool) {
    let (line, rest) = cut(input, b'\n');
    let (method, target) = cut(line, b' ');
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(byte);
    let mut method: Vec<u8> = method.iter().copied().filter(is_token).take(20).collect();
    if method.is_empty() || method == b"CONNECT" {
        method = b"GET".to_vec();
    }
    let mut text = method.clone();
    text.extend_from_slice(b" /");
    for byte in target.iter().skip(usize::from(target.first() == Some(&b'/'))) {
        if text.len() > TARGET_BYTES_MAX {
            break;
        }
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(byte) {
            text.push(*byte);
        } else {
            text.extend_from_slice(format!("%{byte:02X}").as_bytes());
        }
    }
    text.extend_from_slice(b" HTTP/1.1\r\nHost: localhost\r\n");
    let mut body = rest;
    for _ in 0..HEADERS_MAX {
        let (line, rest) = cut(body, b'\n');
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            if line.is_empty() {
                body = rest;
            }
            break;
        };
        body = rest;
        let name: Vec<u8> = line[..colon].iter().copied().filter(is_token).take(100).collect();
        let is_framing = FRAMING
            .iter()
            .any(|framing| name.eq_ignore_ascii_case(framing.as_bytes()));
        if name.is_empty() || is_framing {
            continue;
        }
        text.extend_from_slice(&name);
        text.extend_from_slice(b": ");
        let is_of_a_value = |byte: &u8| !byte.is_ascii_control();
        let value = line[colon + 1..].iter().copied().filter(is_of_a_value);
        text.extend(value.take(HEADER_BYTES_MAX));
        text.extend_from_slice(b"\r\n");
    }
    text.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    text.extend_from_slice(body);
    (text, method == b"HEAD")
}

fn cut(text: &[u8], at: u8) -> (&[u8], &[u8]) {
    match memchr::memchr(at, text) {
        Some(end) => (&text[..end], &text[end + 1..]),
        None => (text, &[]),
    }
}

/// The answer, and true if its connection can be used again.
fn read_answer(stream: &mut UnixStream, is_head: bool) -> (CommandOutput, bool) {
    let mut bytes = Vec::new();
    let mut block = [0; 4096];
    let mut more = |bytes: &mut Vec<u8>| {
        let count = stream.read(&mut block).expect("an answer comes");
        assert!(
            count > 0,
            "the connection ends without an answer, or in it: {}",
            bytes.escape_ascii()
        );
        bytes.extend_from_slice(&block[..count]);
    };
    let end = loop {
        if let Some(end) = memchr::memmem::find(&bytes, b"\r\n\r\n") {
            break end + 4;
        }
        more(&mut bytes);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
    let header = |name: &str| {
        let lines = head.split("\r\n").filter_map(|line| line.split_once(": "));
        lines
            .clone()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    let length: Option<usize> = header("content-length").map(|length| length.parse().unwrap());
    let is_stream = header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    let is_without = is_head || status == 204 || status == 304 || status < 200;
    let stays = !is_stream && status >= 200 && header("connection") != Some("close");
    let mut body = bytes.split_off(end);
    match length {
        _ if is_without || is_stream => {}
        Some(length) => {
            while body.len() < length {
                more(&mut body);
            }
            assert_eq!(body.len(), length, "more than one answer");
        }
        None => {
            while !body.ends_with(b"0\r\n\r\n") {
                more(&mut body);
            }
        }
    }
    let said = CommandOutput { status, head, body };
    (said, stays)
}

fn judge_answer(said: &CommandOutput, is_head: bool, request: &str) {
    let CommandOutput { status, head, body } = said;
    assert!((200..600).contains(status) && *status != 500, "{request}\n{head}");
    // The collector itself has no problem.
    assert!(*status != 503, "{request}\n{head}{}", body.escape_ascii());
    if is_head {
        return;
    }
    if *status >= 400 {
        assert!(
            head.contains("content-type: application/problem+json\r\n"),
            "{request}\n{head}"
        );
        let problem: Value = serde_json::from_slice(body).expect("a problem is JSON");
        assert_eq!(problem["status"], *status, "{request}\n{problem}");
        assert!(
            problem["title"].is_string() && problem["detail"].is_string(),
            "{problem}"
        );
    } else if head.contains("content-type: application/json\r\n") && head.contains("content-length") {
        serde_json::from_slice::<Value>(body).unwrap_or_else(|error| panic!("{error}: {request}"));
    }
}
