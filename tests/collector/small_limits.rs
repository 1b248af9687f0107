//! Few threads, few descriptors, small files, a small stack: it works, or reports in one sentence what is
//! missing.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::disk::{STUCK, UNSTUCK, limit_files};
use crate::harness::{Collector, Place, WAIT_MAX, append, response, text};
use crate::machine::{skipped, wrapped};

/// An unused user id, so that its threads are those of one collector.
const NOBODY: u32 = 61_717;

/// `serve` with a limit, as `prlimit` names it.
fn limited(place: &Place, limit: &str, user: Option<u32>) -> Command {
    let mut prlimit = Command::new("prlimit");
    prlimit.args([limit, "--"]);
    let command = wrapped(prlimit, &place.command(&["serve"]));
    let Some(user) = user else { return command };
    let mut setpriv = Command::new("setpriv");
    let user = user.to_string();
    setpriv.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
    setpriv.args(["--inh-caps=-all", "--bounding-set=-all", "--"]);
    wrapped(setpriv, &command)
}

/// It counts and stops, or it ends with 74 and one line with these words; returns true if it counts.
#[track_caller]
fn counts_or_says(place: &Place, command: Command, words: &str) -> bool {
    let mut collector = Collector::spawn(command, place.socket());
    let ready = "the backlog is read";
    let is_up = collector.logs_or_ends(ready);
    if is_up {
        collector.wait_for_messages(1);
        collector.signal("TERM");
    }
    let (code, said) = collector.wait_for_end();
    if !is_up {
        assert_eq!(code, Some(74), "{said}");
        assert!(said.contains(words), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    assert!(!is_up || code == Some(0), "{code:?}: {said}");
    is_up
}

#[test]
fn few_threads_are_enough_or_refused_with_a_sentence() {
    if !rustix::process::geteuid().is_root() {
        return skipped("the threads of this user are not those of the collector alone");
    }
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mut chown = Command::new("chown");
    chown
        .arg("-R")
        .arg(NOBODY.to_string())
        .arg(place.directory.path());
    assert!(chown.status().unwrap().success());
    let probe = limited(&place, "--nproc=64", Some(NOBODY)).arg("--help").output();
    if !probe.is_ok_and(|output| output.status.success()) {
        return skipped(
            "another user cannot run the program where it lies, or setpriv or prlimit is missing",
        );
    }
    let workers = std::thread::available_parallelism().unwrap().get();
    let least = (1..=workers + 12).find(|threads| {
        let command = limited(&place, &format!("--nproc={threads}"), Some(NOBODY));
        counts_or_says(&place, command, "ulimit -u")
    });
    assert!(least.is_some_and(|least| least > workers), "{least:?}");
}

#[test]
fn few_descriptors_are_enough_or_refused_with_a_sentence() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let least = (4..=48).find(|files| {
        let command = limited(&place, &format!("--nofile={files}"), None);
        counts_or_says(&place, command, "ulimit -n")
    });
    assert!(least.is_some(), "48 descriptors are not enough");
    // A soft limit alone is raised.
    let command = limited(&place, "--nofile=8:4096", None);
    assert!(counts_or_says(&place, command, "ulimit -n"));
}

#[test]
fn a_small_stack_is_refused_with_a_sentence() {
    let place = Place::new();
    let command = limited(&place, "--stack=65536", None);
    assert!(!counts_or_says(&place, command, "ulimit -s"));
}

#[test]
fn a_limit_of_file_sizes_is_an_error_like_others() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 1, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    limit_files(&collector, Some(4096));
    append(&log, response("2", 1, 1));
    collector.wait_for_log(STUCK);
    limit_files(&collector, None);
    collector.wait_for_log(UNSTUCK);
    collector.wait_for_messages(2);
    collector.stop_cleanly();
    place.assert_verified();
}

/// A connection that was answered and is kept; `None` if it was refused.
fn stays(place: &Place) -> Option<UnixStream> {
    let mut stream = UnixStream::connect(place.socket()).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    assert!(
        &head == b"HTTP/1.1 200" || &head == b"HTTP/1.1 503",
        "{}",
        text(&head)
    );
    (&head == b"HTTP/1.1 200").then_some(stream)
}

#[test]
fn clients_beyond_the_descriptors_are_refused_and_the_log_is_not_flooded() {
    const CLIENTS: usize = 50;
    const STAYING_MAX: usize = 200;
    const INHERITED_MIN: u64 = 100;
    const SAID: &str = "cannot accept connections";
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let pid = Pid::from_raw(i32::try_from(collector.pid()).unwrap());
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = |current| prlimit(pid, Resource::Nofile, Rlimit { current, maximum });
    let open = fs::read_dir(format!("/proc/{}/fd", collector.pid())).unwrap();
    let last = open.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u64>().ok());
    // Descriptors above are inherited from the tester.
    let last = last.filter(|last| *last < INHERITED_MIN).max().unwrap();
    let before = limit(Some(last + 1)).unwrap();
    // Open connections take the descriptors below the last one.
    let mut staying = Vec::new();
    while let Some(stream) = stays(&place) {
        staying.push(stream);
        assert!(staying.len() < STAYING_MAX, "there are descriptors without end");
    }
    for _ in 0..CLIENTS {
        let status = collector.exchange("GET", "/healthz", "", "").0;
        assert!(status == 503 || status == 200, "{status}");
    }
    drop(staying);
    limit(before.current).unwrap();
    while collector.exchange("GET", "/healthz", "", "").0 == 503 {
        // The last refusal was before the limit was raised.
    }
    collector.signal("TERM");
    let (code, said) = collector.wait_for_end();
    assert_eq!(code, Some(0), "{said}");
    let told = said.lines().filter(|line| line.contains(SAID)).count();
    assert!((1..=3).contains(&told), "{told} times: {said}");
}
