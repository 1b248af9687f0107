//! Test harness: starts the program, waits for its commits, and sends requests.
//!
//! Waits are for events: the collector logs each commit, and a wait checks again after each log line. The
//! only clock is [`WAIT_MAX`], after which a test has failed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A wait that takes longer has failed.
pub const WAIT_MAX: Duration = Duration::from_mins(1);
/// Most log lines kept for a wait.
const LOG_LINES_MAX: usize = 1 << 20;
pub const LOG_LEVEL: &str = "TOKENTAIL__LOG__LEVEL";
/// Set to "forever" for all tests: their lines have fixed times, and the clock goes on.
pub const DETAILS: &str = "TOKENTAIL__RETENTION__DETAILS";
/// Each commit is logged, requests are not, so that a request is no event to wait for.
const LOG_LEVEL_DEFAULT: &str = "debug,tokentail::access=off";

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_tokentail");

/// A setting of a test, which is an environment variable.
pub fn setting(name: &str) -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a setting of a test, not of the program"
    )]
    std::env::var(name).ok()
}

/// A setting of a test that is a number.
///
/// # Panics
/// If it is no number.
pub fn number_setting(name: &str) -> Option<u64> {
    let value = setting(name)?;
    let number = value.parse();
    Some(number.unwrap_or_else(|_| panic!("{name}={value} is no number")))
}

/// From here on the kernel refuses `openat2` as unknown, for this thread and what it starts, like
/// `RestrictSUIDSGID=` of systemd and container runtimes.
pub fn refuse_openat2() {
    refuse(&[libc::SYS_openat2], libc::ENOSYS);
}

/// From here on the kernel refuses these calls with an error, for this thread and what it starts.
pub fn refuse(calls: &[i64], errno: i32) {
    let refused = calls.iter().map(|call| (*call, Vec::new())).collect();
    let error = seccompiler::SeccompAction::Errno(u32::try_from(errno).unwrap());
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = seccompiler::SeccompFilter::new(refused, seccompiler::SeccompAction::Allow, error, arch);
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    seccompiler::apply_filter(&program).unwrap();
}

/// A place for one test: a runs directory, a state directory, a socket.
pub struct Place {
    pub directory: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        fs::create_dir_all(place.runs()).unwrap();
        place
    }

    pub fn path(&self, relative: &str) -> PathBuf {
        self.directory.path().join(relative)
    }

    pub fn runs(&self) -> PathBuf {
        self.path("runs")
    }

    pub fn db(&self) -> PathBuf {
        self.path("state/t.redb")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("t.sock")
    }

    /// A file below `runs/<run>/mount`; its directories are made.
    pub fn log(&self, run: &str, name: &str) -> PathBuf {
        let path = self.runs().join(run).join("mount").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// The program with this place's paths, without the tester's environment.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        // First, since words after two dashes belong to another command.
        command
            .arg("--runs-dir")
            .arg(self.runs())
            .arg("--socket")
            .arg(self.socket());
        if words.first() != Some(&"replay") {
            command.arg("--db").arg(self.db());
        }
        command.args(words);
        command
            .env_clear()
            .env("HOME", self.directory.path())
            .env("TZ", "UTC")
            .env("TOKENTAIL__HTTP__LISTEN", "off")
            .env(DETAILS, "forever")
            .current_dir(self.directory.path());
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// A command that must succeed and print JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let output = self.run(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The document of `status --json`, whether all is well (0), something is wrong (1) or no collector runs
    /// (69).
    pub fn status(&self) -> Value {
        let output = self.run(&["status", "--json"]);
        let code = output.status.code();
        assert!(
            matches!(code, Some(0 | 1 | 69)),
            "{code:?}: {}",
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap()
    }

    pub fn serve(&self) -> Collector {
        self.start(self.command(&["serve"]))
    }

    /// A collector that is ready and has read everything that was there, if there is a runs directory.
    pub fn start(&self, command: Command) -> Collector {
        let mut collector = Collector::start(command, self.socket());
        if self.runs().is_dir() {
            collector.wait_for_log("the backlog is read; live from here on");
        }
        collector
    }

    /// `serve` with `accounts.open`.
    pub fn serve_open(&self) -> Collector {
        let mut command = self.command(&["serve"]);
        command.env("TOKENTAIL__ACCOUNTS__OPEN", "true");
        self.start(command)
    }

    /// `serve` on another database or socket than this place's.
    pub fn serve_command_on(&self, db: &Path, socket: &Path) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("serve").arg("--runs-dir").arg(self.runs());
        command.arg("--db").arg(db).arg("--socket").arg(socket);
        command
            .env_clear()
            .env("HOME", self.directory.path())
            .env("TOKENTAIL__HTTP__LISTEN", "off")
            .env(DETAILS, "forever");
        command.stdin(Stdio::null());
        command
    }

    /// The summary of a replay of everything below the runs directory.
    pub fn replayed(&self) -> Value {
        self.json(&["replay", self.runs().to_str().unwrap()])
    }

    /// No collector runs: the database agrees with a recount from the logs.
    pub fn assert_verified(&self) {
        let output = self.run(&["verify"]);
        assert!(
            output.status.success(),
            "verify: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
    }
}

/// The running program.
pub struct Collector {
    child: Option<Child>,
    socket: PathBuf,
    log: Receiver<String>,
    pub seen: Vec<String>,
}

impl Collector {
    /// Starts `command` (a `serve`) and waits until it is ready.
    pub fn start(command: Command, socket: PathBuf) -> Self {
        let mut collector = Self::spawn(command, socket);
        // Logged even if it is blind.
        collector.wait_for_log("\"ready");
        collector
    }

    /// Starts `command` without waiting.
    pub fn spawn(mut command: Command, socket: PathBuf) -> Self {
        if !command.get_envs().any(|(name, _)| name == LOG_LEVEL) {
            command.env(LOG_LEVEL, LOG_LEVEL_DEFAULT);
        }
        command.args(["--log-format", "json"]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let (sender, log) = sync_channel(LOG_LINES_MAX);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                for line in std::io::BufRead::split(BufReader::new(stderr), b'\n').map_while(Result::ok) {
                    if sender.send(text(&line)).is_err() {
                        return;
                    }
                }
            })
            .unwrap();
        Self {
            child: Some(child),
            socket,
            log,
            seen: Vec::new(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Waits until the control socket takes connections.
    pub fn wait_for_socket(&mut self) {
        let deadline = Instant::now() + WAIT_MAX;
        while UnixStream::connect(&self.socket).is_err() {
            assert!(
                Instant::now() < deadline,
                "nobody listens at {}",
                self.socket.display()
            );
            std::thread::yield_now();
        }
    }

    /// Waits for a log line that contains `words`.
    pub fn wait_for_log(&mut self, words: &str) {
        let deadline = Instant::now() + WAIT_MAX;
        if self.seen.iter().any(|line| line.contains(words)) {
            return;
        }
        loop {
            let line = self.next_log(deadline, words);
            if line.contains(words) {
                return;
            }
        }
    }

    /// Waits for any further log line.
    pub fn wait_for_next_log(&mut self, what: &str) {
        self.next_log(Instant::now() + WAIT_MAX, what);
    }

    /// The TCP address; start with `TOKENTAIL__HTTP__LISTEN=127.0.0.1:0` or similar.
    pub fn tcp(&mut self) -> SocketAddr {
        const WORDS: &str = "listening on http://";
        self.wait_for_log(WORDS);
        let line = self.seen.iter().find_map(|line| line.split_once(WORDS));
        let address = line.unwrap().1.split('"').next().unwrap();
        address.parse().unwrap()
    }

    pub fn socket_path(&self) -> &Path {
        &self.socket
    }

    fn next_log(&mut self, deadline: Instant, what: &str) -> String {
        match self
            .log
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(line) => {
                self.seen.push(line.clone());
                line
            }
            Err(error) => {
                let why = match error {
                    RecvTimeoutError::Timeout => "nothing more was logged in time",
                    RecvTimeoutError::Disconnected => "the collector ended",
                };
                panic!("waiting for {what}: {why}; its log:\n{}", self.seen.join("\n"));
            }
        }
    }

    /// Waits until the summary fulfils `reached`; checks after each log line (each commit is one).
    pub fn wait_until(&mut self, what: &str, reached: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            while let Ok(line) = self.log.try_recv() {
                self.seen.push(line);
            }
            let summary = self.summary();
            if reached(&summary) {
                return summary;
            }
            let what = format!("{what}; the summary is {summary}");
            self.next_log(deadline, &what);
        }
    }

    /// Waits until so many responses are counted, and checks the total of their tokens.
    pub fn wait_for_messages(&mut self, messages: u64) -> Value {
        self.wait_until(&format!("{messages} messages"), |summary| {
            summary["messages"] == messages
        })
    }

    /// Waits for the next log line.
    pub fn next_line(&mut self, what: &str) -> String {
        self.next_log(Instant::now() + WAIT_MAX, what)
    }

    /// Waits for the next log line that contains `words`; those already seen do not count.
    pub fn wait_for_next(&mut self, words: &str) -> String {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            let line = self.next_log(deadline, words);
            if line.contains(words) {
                return line;
            }
        }
    }

    /// Waits for the next log line that contains any of these words.
    pub fn wait_for_any(&mut self, words: &[&str]) {
        let deadline = Instant::now() + WAIT_MAX;
        let what = words.join(", or ");
        loop {
            let line = self.next_log(deadline, &what);
            if words.iter().any(|words| line.contains(words)) {
                return;
            }
        }
    }

    pub fn health(&self) -> Value {
        self.get("/healthz").1
    }

    pub fn summary(&self) -> Value {
        self.get("/v1/summary").1
    }

    /// Sends a GET over the socket: status and document.
    pub fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = self.exchange("GET", path, "", "");
        let document = serde_json::from_str(&body);
        (status, document.unwrap_or_else(|error| panic!("{error}: {body}")))
    }

    /// Sends a request with a JSON body over the socket: status and document, null for an empty answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let (status, _, body) = self.exchange(method, path, "Content-Type: application/json\r\n", body);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Sends a request over the socket, with further header lines: status, head and body.
    pub fn exchange(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let answer = text(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_ascii_lowercase(), body.to_owned())
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.pid().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.child.take().unwrap().wait().unwrap()
    }

    /// SIGTERM; it must end cleanly.
    pub fn stop_cleanly(self) {
        let status = self.stop();
        assert!(status.success(), "{status}");
    }

    /// Waits until it ends; its code and its log. A collector that does not end is killed, and the test
    /// fails.
    pub fn wait_for_end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            match self
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => self.seen.push(line),
                Err(RecvTimeoutError::Disconnected) => return self.wait(),
                Err(RecvTimeoutError::Timeout) => {
                    panic!("it does not end; its log:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Waits for a log line that contains `words`; `false` if it ends first.
    pub fn logs_or_ends(&mut self, words: &str) -> bool {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            match self
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => {
                    self.seen.push(line);
                    if self.seen.last().is_some_and(|line| line.contains(words)) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("neither {words} nor an end; its log:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    /// Waits up to `limit` for it to end by itself; its code.
    pub fn exit_within(mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        loop {
            let child = self.child.as_mut().unwrap();
            if let Some(status) = child.try_wait().unwrap() {
                self.child = None;
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end within {limit:?}");
            std::thread::yield_now();
        }
    }

    /// Waits for it to end by itself; its code and its log.
    pub fn wait(mut self) -> (Option<i32>, String) {
        let status = self.child.take().unwrap().wait().unwrap();
        self.seen.extend(self.log.iter());
        (status.code(), self.seen.join("\n"))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An assistant line of a response with so many output tokens (and 10 input tokens), with its line end.
pub fn response(id: &str, output: u64, second: u32) -> String {
    format!(
        "{{\"type\":\"assistant\",\"uuid\":\"u-{id}-{output}\",\"requestId\":\"req_{id}\",\"sessionId\":\"s\",\"timestamp\":\"2026-10-05T09:{:02}:{:02}.000Z\",\"message\":{{\"id\":\"msg_{id}\",\"model\":\"claude-opus-5\",\"role\":\"assistant\",\"usage\":{{\"input_tokens\":10,\"output_tokens\":{output}}}}}}}\n",
        second / 60 % 60,
        second % 60,
    )
}

pub fn append(path: &Path, bytes: impl AsRef<[u8]>) {
    let mut file: File = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.write_all(bytes.as_ref()).unwrap();
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The output tokens of each run.
pub fn output_by_run(summary: &Value) -> BTreeMap<String, u64> {
    let runs = summary["by_run"].as_object().unwrap();
    runs.iter()
        .map(|(run, totals)| (run.clone(), totals["output_tokens"].as_u64().unwrap()))
        .collect()
}
