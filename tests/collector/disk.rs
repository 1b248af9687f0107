//! A disk that accepts no writes: reported, waited for, and nothing is lost.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use crate::harness::{Collector, Place, append, response, text};
use crate::machine::{Namespace, after};
use crate::surroundings::{assert_says, assert_went_through};

/// Logged once when commits begin to fail, and once when they succeed again.
pub const STUCK: &str = "nothing is lost, trying again";
pub const UNSTUCK: &str = "the database takes commits again";

/// A collector whose writes to files can be made to fail, see [`limit_files`].
pub fn limitable(place: &Place, environment: &[(&str, &str)]) -> Collector {
    // The signal that accompanies the error would end the process.
    let mut command = after("trap '' XFSZ", &place.command(&["serve"]));
    command.envs(environment.iter().copied());
    Collector::start(command, place.socket())
}

/// Limits every file of the collector to this size; `None` removes the limit.
pub fn limit_files(collector: &Collector, bytes: Option<u64>) {
    let pid = Pid::from_raw(i32::try_from(collector.pid()).unwrap());
    // The tester's hard limit is the largest value that can be restored.
    let maximum = getrlimit(Resource::Fsize).maximum;
    let current = bytes.or(maximum);
    prlimit(pid, Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

#[test]
fn commits_that_the_system_refuses_are_made_when_it_takes_them() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    let mut collector = limitable(&place, &[]);
    collector.wait_for_messages(1);

    limit_files(&collector, Some(4096));
    append(&log, response("2", 7, 1));
    collector.wait_for_log(STUCK);
    append(&place.log("one", "b.jsonl"), response("3", 9, 2));
    let health = collector.health();
    assert_eq!(health["status"], "unhealthy", "{health}");
    assert!(
        health["reasons"][0]
            .as_str()
            .unwrap()
            .contains(place.db().to_str().unwrap()),
        "{health}"
    );
    assert_eq!(collector.get("/readyz").0, 503);

    limit_files(&collector, None);
    collector.wait_for_log(UNSTUCK);
    let summary = collector.wait_for_messages(3);
    assert_eq!(summary["totals"]["output_tokens"], 21);
    let health = collector.health();
    assert_eq!(health["status"], "ok", "{health}");
    assert!(health["reopened"].as_u64().unwrap() >= 1, "{health}");
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    let place = Place::new();
    let state = place.path("state");
    fs::create_dir_all(&state).unwrap();
    namespace.sh("mount -t tmpfs -o size=8m none \"$1\"", &[&state]);
    let log = place.log("one", "a.jsonl");
    append(&log, response("0", 1, 0));
    let mut collector = Collector::start(namespace.command(&place.command(&["serve"])), place.socket());
    collector.wait_for_messages(1);

    let filler = state.join("filler");
    let filled = namespace.try_sh("dd if=/dev/zero of=\"$1\" bs=4096", &[&filler]);
    assert!(!filled.status.success(), "the disk takes more than it has");
    // The database has free space in its file: more is written until it is used.
    let mut messages = 1;
    while !collector.seen.iter().any(|line| line.contains(STUCK)) {
        let lines: String = (0..2000)
            .map(|line| response(&format!("{messages}-{line}"), 1, 7))
            .collect();
        append(&log, lines);
        messages += 2000;
        collector.wait_for_any(&["\"committed\"", STUCK]);
    }
    let health = collector.health();
    assert_eq!(health["status"], "unhealthy", "{health}");
    assert!(
        health["reasons"].to_string().contains("no room for the database"),
        "{health}"
    );
    assert_says(&place, &collector, "no room for the database");
    append(&place.log("two", "b.jsonl"), response("last", 1, 8));

    namespace.sh("rm \"$1\"", &[&filler]);
    let summary = collector.wait_for_messages(messages + 1);
    assert_eq!(summary["totals"]["output_tokens"], messages + 1);
    assert!(collector.seen.iter().any(|line| line.contains(UNSTUCK)));
    let family = "tokentail_store_reopened_total";
    assert_went_through(
        &place,
        &collector,
        "reopened",
        family,
        "the database opened anew (",
    );
    collector.stop_cleanly();
    let verify = namespace.command(&place.command(&["verify"])).output().unwrap();
    assert!(
        verify.status.success(),
        "{}{}",
        text(&verify.stdout),
        text(&verify.stderr)
    );
}

#[test]
fn a_disk_without_room_for_a_new_database_is_said_at_the_start() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    let place = Place::new();
    let state = place.path("state");
    fs::create_dir_all(&state).unwrap();
    namespace.sh("mount -t tmpfs -o size=8k none \"$1\"", &[&state]);
    let command = namespace.command(&place.command(&["serve"]));
    let (code, said) = Collector::spawn(command, place.socket()).wait_for_end();
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("no room for the database"), "{said}");
    assert!(said.contains(place.db().to_str().unwrap()), "{said}");

    // With free space, what was left behind is no obstacle and no damage.
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    namespace.sh("mount -o remount,size=8m \"$1\"", &[&state]);
    let mut collector = Collector::start(namespace.command(&place.command(&["serve"])), place.socket());
    collector.wait_for_messages(1);
    collector.stop_cleanly();
}

#[test]
fn a_state_directory_that_is_read_only_is_refused_with_its_name() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    let place = Place::new();
    let state = place.path("state");
    fs::create_dir_all(&state).unwrap();
    namespace.sh("mount -t tmpfs -o ro none \"$1\"", &[&state]);
    let command = namespace.command(&place.command(&["serve"]));
    let (code, said) = Collector::spawn(command, place.socket()).wait_for_end();
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains("Read-only file system"), "{said}");
    assert!(said.contains(place.db().to_str().unwrap()), "{said}");
    assert!(!place.socket().exists());
}

#[test]
fn a_state_directory_below_a_file_is_refused_with_its_name() {
    let place = Place::new();
    fs::write(place.path("state"), "in the way").unwrap();
    let (code, said) = Collector::spawn(place.command(&["serve"]), place.socket()).wait_for_end();
    assert_eq!(code, Some(74), "{said}");
    assert!(said.contains(place.path("state").to_str().unwrap()), "{said}");
    assert_eq!(fs::read(Path::new(&place.path("state"))).unwrap(), b"in the way");
}
