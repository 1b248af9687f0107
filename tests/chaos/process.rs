//! The collector's process: its log (read, left unread, or closed) and requests to it.

use std::collections::VecDeque;
use std::io::{self, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Most log lines in a report.
const LOG_LINES_MAX: usize = 300;
/// Interval of checks for its end.
const LOOK_EVERY: Duration = Duration::from_millis(5);

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    On,
    Paused,
    Closed,
}

pub struct Process {
    child: Child,
    log: Arc<Log>,
}

struct Log {
    lines: Mutex<VecDeque<String>>,
    reading: Mutex<Reading>,
    changed: Condvar,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = child.stderr.take().unwrap();
        let log = Arc::new(Log {
            lines: Mutex::default(),
            reading: Mutex::new(Reading::On),
            changed: Condvar::new(),
        });
        let read = Arc::clone(&log);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || read.read(stderr))
            .unwrap();
        Self { child, log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn read_log(&self, reading: Reading) {
        *self.log.reading.lock().unwrap() = reading;
        self.log.changed.notify_all();
    }

    pub fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args(["-s", name, &pid]).status();
        assert!(status.unwrap().success());
    }

    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end; `None` on a timeout.
    pub fn ends_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::park_timeout(LOOK_EVERY);
        }
    }

    /// True if a thread of it is in an uninterruptible system call.
    pub fn is_kept_by_the_kernel(&self) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid()));
        tasks.into_iter().flatten().flatten().any(|task| {
            let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')')
                .is_some_and(|(_, rest)| rest.starts_with(" D"))
        })
    }

    pub fn last_lines(&self) -> String {
        Vec::from(self.log.lines.lock().unwrap().clone()).join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    fn read(&self, stderr: ChildStderr) {
        let mut lines = io::BufRead::split(BufReader::new(stderr), b'\n');
        loop {
            let reading = self.reading.lock().unwrap();
            let reading = self
                .changed
                .wait_while(reading, |reading| *reading == Reading::Paused);
            if *reading.unwrap() == Reading::Closed {
                return;
            }
            let Some(Ok(line)) = lines.next() else { return };
            let mut kept = self.lines.lock().unwrap();
            if kept.len() == LOG_LINES_MAX {
                kept.pop_front();
            }
            kept.push_back(String::from_utf8_lossy(&line).into_owned());
        }
    }
}

/// Sends a request over the socket: status and document.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str, limit: Duration) -> io::Result<(u16, Value)> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(limit))?;
    let length = body.len();
    write!(
        stream,
        "{method} {path} HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let broken = || io::Error::other(format!("{answer:?} is no answer"));
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Ok((
        status.ok_or_else(broken)?,
        serde_json::from_str(body).unwrap_or_default(),
    ))
}
