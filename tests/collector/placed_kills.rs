//! `kill -9` at one system call after the other: while it scans, reads, writes, syncs and publishes.
//!
//! The last of them is the log line about a commit, written between the commit and the frames of the stream.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::harness::{Collector, Place, append, response, text};
use crate::machine::{skipped, wrapped};

/// Each with the collector's activity at that call.
const CALLS: [(&str, &str); 6] = [
    ("openat2", "opens a directory or a log"),
    ("pread64", "reads a log or the database"),
    ("pwrite64", "writes to the database"),
    ("fdatasync", "makes a commit durable"),
    ("write", "wakes a thread or publishes a commit"),
    ("futex", "hands over"),
];
/// Counts of these calls of one thread.
const TIMES: [u32; 4] = [1, 2, 5, 9];
/// Enough for some thread to make each call so often: at rest there are few.
const RUNS: usize = 24;
const FILES: usize = 2;
const LINES: usize = 300;

/// Of three lines two are responses, and the third is a better copy.
const RESPONSES: u64 = (RUNS * FILES * (LINES - LINES / 3)) as u64;
/// One token each, and one more where there is a better copy.
const OUTPUT: u64 = (RUNS * FILES * LINES) as u64;

/// The command, killed when one of its threads makes this system call for the n-th time.
pub fn killed_at(call: &str, times: u32, command: &Command) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
    strace.arg(format!("trace={call}")).arg("-e");
    strace.arg(format!("inject={call}:signal=SIGKILL:when={times}"));
    strace.arg("--");
    wrapped(strace, command)
}

/// The reason why nothing can be killed at a system call here.
pub fn obstacle() -> Option<String> {
    let mut end = Command::new("true");
    end.env_clear();
    let mut probe = killed_at("exit_group", 1, &end);
    match probe.stdout(Stdio::null()).output() {
        Err(error) => Some(format!("strace: {error}")),
        Ok(output) if output.status.success() => Some("strace kills nothing".to_owned()),
        Ok(output) if output.stderr.is_empty() => None,
        Ok(output) => Some(text(&output.stderr).trim().to_owned()),
    }
}

/// Three lines in a row: two responses, and a better copy of the first.
fn lines(run: usize, file: usize, part: usize) -> String {
    let range = part * LINES / 2..(part + 1) * LINES / 2;
    let line = |number: usize| {
        let of = if number % 3 == 2 { number - 2 } else { number };
        let output = if number % 3 == 2 { 2 } else { 1 };
        response(&format!("{run}-{file}-{of}"), output, 0)
    };
    range.map(line).collect()
}

fn write(place: &Place, part: usize) {
    for run in 0..RUNS {
        for file in 0..FILES {
            let path = place.log(&format!("run{run}"), &format!("{file}.jsonl"));
            append(Path::new(&path), lines(run, file, part));
        }
    }
}

#[test]
fn a_kill_at_any_system_call_loses_nothing_and_counts_nothing_twice() {
    if let Some(reason) = obstacle() {
        return skipped(&reason);
    }
    for (call, what) in CALLS {
        for times in TIMES {
            let place = Place::new();
            write(&place, 0);
            let mut command = place.command(&["serve"]);
            // Many small commits, so that there are enough calls.
            command.env("TOKENTAIL__LIMITS__TURN_BYTES_MAX", "64KiB");
            let killed = Collector::spawn(killed_at(call, times, &command), place.socket());
            let (code, said) = killed.wait_for_end();
            assert_eq!(code, None, "{call} {times}, which {what}: {said}");
            write(&place, 1);
            let mut collector = place.serve();
            let summary = collector.wait_for_messages(RESPONSES);
            assert_eq!(summary["totals"]["output_tokens"], OUTPUT, "{call} {times}");
            assert_eq!(summary["lines"]["usage"], (RUNS * FILES * LINES) as u64);
            collector.stop_cleanly();
            place.assert_verified();
        }
    }
}
