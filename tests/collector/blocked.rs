//! Blocked readers: a log that nobody reads, and a service manager that accepts nothing.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::disk::limit_files;
use crate::harness::{Collector, Place, WAIT_MAX, append, response};
use crate::machine::after;
use crate::surroundings::metric;

const DROPPED: &str = "tokentail_log_lines_dropped_total";
const CLEAN: &str = "stopped: everything that was read is committed, the database is closed";
/// Requests whose access log lines, at `debug`, exceed the queue.
const MANY: usize = 8000;
/// Refused requests of which the log, at `info`, drops some.
const REFUSED: usize = 150;
/// Longest stop that waits for no reader: the log's last attempt, and a busy machine.
const END_WITHIN: Duration = Duration::from_secs(10);

/// A full pipe as standard error.
struct FullPipe {
    path: PathBuf,
    /// Both ends, so that it is never closed.
    ends: File,
}

impl FullPipe {
    fn new(place: &Place) -> Self {
        let path = place.path("stderr");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let mut ends = options
            .custom_flags(i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap())
            .open(&path)
            .unwrap();
        loop {
            if let Err(error) = ends.write_all(b"\n") {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                return Self { path, ends };
            }
        }
    }

    /// Runs `command` with the pipe as standard error.
    fn of(&self, command: &Command) -> Command {
        after(&format!("exec 2>{}", self.path.display()), command)
    }

    /// Reads from now on until these words arrived; returns what was read.
    fn read_until(&mut self, words: &str) -> String {
        let deadline = Instant::now() + WAIT_MAX;
        let (mut said, mut buffer) = (String::new(), [0; 4096]);
        while !said.contains(words) {
            match self.ends.read(&mut buffer) {
                Ok(length) => said += &String::from_utf8_lossy(&buffer[..length]),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
            assert!(Instant::now() < deadline, "{words} does not come: {said}");
        }
        said
    }
}

/// Polls until the condition holds.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + WAIT_MAX;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Sends so many requests on one connection, and expects answers below 500.
fn ask(place: &Place, path: &str, times: usize) {
    let mut stream = UnixStream::connect(place.socket()).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for _ in 1..times {
                write!(writer, "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            }
            write!(
                writer,
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            .unwrap();
        });
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        assert_eq!(answers.matches("HTTP/1.1 ").count(), times);
    });
}

/// A collector that logs more than the pipe holds.
fn says_too_much(place: &Place, pipe: &FullPipe) -> Collector {
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 1, 0));
    let mut command = pipe.of(&place.command(&["serve"]));
    command.env("TOKENTAIL__LOG__LEVEL", "debug");
    let mut collector = Collector::spawn(command, place.socket());
    collector.wait_for_socket();
    ask(place, "/v1/runs/unknown", REFUSED);
    append(&log, response("2", 1, 1));
    until("both responses are counted", || {
        collector.summary()["messages"] == 2
    });
    collector
}

#[test]
fn a_log_that_nobody_reads_holds_nothing_up_and_what_is_lost_is_said() {
    let place = Place::new();
    let mut pipe = FullPipe::new(&place);
    let collector = says_too_much(&place, &pipe);
    ask(&place, "/healthz", MANY);
    until("health says that the log is not written", || {
        collector.health()["notices"]
            .to_string()
            .contains("the log is not written: standard error has taken nothing for")
    });
    let health = collector.health();
    assert_eq!(health["status"], "ok", "{health}");
    assert!(metric(&collector, DROPPED) > 0.5);

    // A resumed reader gets the report.
    pipe.read_until("lines of the log were dropped");
    until("health has nothing more to say", || {
        collector.health()["notices"] == serde_json::json!([])
    });
    collector.signal("TERM");
    let mut said = pipe.read_until(CLEAN);
    assert_eq!(collector.exit_within(END_WITHIN), Some(0));
    if !said.ends_with('\n') {
        said += &pipe.read_until("\n");
    }
    assert!(said.ends_with("}\n"), "{said}");
    place.assert_verified();
}

#[test]
fn of_one_kind_of_message_only_so_many_are_logged_and_the_number_of_the_others() {
    let place = Place::new();
    let mut command = place.command(&["serve"]);
    command.env("TOKENTAIL__LOG__LEVEL", "info");
    let collector = Collector::start(command, place.socket());
    ask(&place, "/v1/runs/unknown", REFUSED);
    collector.signal("TERM");
    let (code, said) = collector.wait_for_end();
    assert_eq!(code, Some(0), "{said}");
    let answered = said.lines().filter(|line| line.contains("/v1/runs/unknown"));
    let left_out = said
        .lines()
        .filter(|line| line.contains("lines of one kind were dropped"));
    let lines = left_out.filter_map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["lines"].as_u64()
    });
    let (answered, left_out) = (answered.count() as u64, lines.sum::<u64>());
    assert_eq!(answered + left_out, REFUSED as u64, "{said}");
    assert!(left_out > 0, "{said}");
}

#[test]
fn a_stop_does_not_wait_for_the_reader_of_the_log() {
    let place = Place::new();
    let pipe = FullPipe::new(&place);
    let collector = says_too_much(&place, &pipe);
    collector.signal("TERM");
    assert_eq!(collector.exit_within(END_WITHIN), Some(0));
    place.assert_verified();
}

#[test]
fn a_second_signal_ends_it_at_once_though_nobody_reads_the_log() {
    let place = Place::new();
    let pipe = FullPipe::new(&place);
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 1, 0));
    let mut command = pipe.of(&place.command(&["serve"]));
    command.env("TOKENTAIL__SHUTDOWN__GRACE", "1h");
    let mut collector = Collector::spawn(command, place.socket());
    collector.wait_for_socket();
    until("the response is counted", || collector.summary()["messages"] == 1);
    // It cannot commit, and has an hour to try.
    limit_files(&collector, Some(4096));
    append(&log, response("2", 1, 1));
    until("no commit is possible", || {
        collector.health()["status"] == "unhealthy"
    });
    collector.signal("TERM");
    until("it is stopping", || !place.socket().exists());
    collector.signal("TERM");
    assert_eq!(collector.exit_within(END_WITHIN), Some(143));
}

#[test]
fn a_manager_that_takes_nothing_holds_nothing_up_and_hears_it_later() {
    let place = Place::new();
    let path = place.path("notify.sock");
    let manager = UnixDatagram::bind(&path).unwrap();
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"X=1", &path).is_ok() {}
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mut command = place.command(&["serve"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    let mut collector = Collector::start(command, place.socket());
    collector.wait_for_messages(1);
    manager.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let mut message = [0; 4096];
    loop {
        let length = manager.recv(&mut message).unwrap();
        if &message[..length] == b"READY=1\n" {
            break;
        }
    }
    while filler.send_to(b"X=1", &path).is_ok() {}
    collector.signal("TERM");
    assert_eq!(collector.exit_within(END_WITHIN), Some(0));
}
