//! The collector's own files removed or replaced while it runs: reported, and repaired where possible.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{Collector, Place, append, response, text};
use crate::machine::Namespace;

/// A missing file is noticed within this time.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Waits until health is as wanted.
fn wait_for_health(collector: &Collector, what: &str, is_so: impl Fn(&Value, &str) -> bool) -> Value {
    let deadline = Instant::now() + NOTICED_WITHIN;
    loop {
        let health = collector.health();
        if is_so(&health, &health["reasons"].to_string()) {
            return health;
        }
        assert!(Instant::now() < deadline, "{what}: {health}");
        std::thread::yield_now();
    }
}

/// Waits until health has this reason for the database, and nothing is counted.
fn wait_for_unhealthy(collector: &Collector, place: &Place, words: &str) {
    let db = place.db();
    wait_for_health(collector, words, |health, reasons| {
        health["status"] == "unhealthy" && reasons.contains(words) && reasons.contains(db.to_str().unwrap())
    });
}

fn wait_for_ok(collector: &Collector) {
    wait_for_health(collector, "well again", |health, _| health["status"] == "ok");
}

fn wait_for_listener(socket: &Path) {
    let deadline = Instant::now() + NOTICED_WITHIN;
    while UnixStream::connect(socket).is_err() {
        assert!(
            Instant::now() < deadline,
            "nobody listens at {}",
            socket.display()
        );
        std::thread::yield_now();
    }
}

fn counting(place: &Place) -> Collector {
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    collector
}

#[test]
fn a_socket_that_is_removed_is_made_again() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let socket = place.path("run/deep/t.sock");
    let mut collector = Collector::start(place.serve_command_on(&place.db(), &socket), socket.clone());
    collector.wait_for_messages(1);
    let mode = fs::metadata(&socket).unwrap().mode();
    fs::remove_file(&socket).unwrap();
    wait_for_listener(&socket);
    fs::remove_dir_all(place.path("run")).unwrap();
    wait_for_listener(&socket);
    append(&place.log("one", "a.jsonl"), response("2", 7, 1));
    collector.wait_for_messages(2);
    assert_eq!(fs::metadata(&socket).unwrap().mode(), mode);
    wait_for_ok(&collector);
    assert!(collector.seen.iter().any(|line| line.contains("made again")));
    collector.stop_cleanly();
    assert!(!socket.exists());
}

#[test]
fn the_socket_of_another_is_left_alone_and_ours_is_back_when_its_place_is_free() {
    let place = Place::new();
    let mut collector = counting(&place);
    fs::remove_file(place.socket()).unwrap();
    let other = UnixListener::bind(place.socket()).unwrap();
    let its = fs::metadata(place.socket()).unwrap().ino();
    collector.wait_for_log("another collector answers on");
    assert_eq!(fs::metadata(place.socket()).unwrap().ino(), its);
    // A socket without a listener is left over.
    drop(other);
    collector.wait_for_log("made again");
    collector.wait_for_messages(1);
    fs::remove_file(place.socket()).unwrap();
    let other = UnixListener::bind(place.socket()).unwrap();
    let its = fs::metadata(place.socket()).unwrap().ino();
    collector.stop_cleanly();
    assert_eq!(fs::metadata(place.socket()).unwrap().ino(), its);
    drop(other);
}

#[test]
fn a_database_that_is_removed_is_made_anew_and_everything_read_again() {
    for whole_directory in [false, true] {
        let place = Place::new();
        let mut collector = counting(&place);
        if whole_directory {
            fs::remove_dir_all(place.db().parent().unwrap()).unwrap();
        } else {
            fs::remove_file(place.db()).unwrap();
        }
        wait_for_unhealthy(&collector, &place, "it was removed or moved away");
        append(&place.log("one", "a.jsonl"), response("2", 7, 1));
        wait_for_health(&collector, "made anew", |health, reasons| {
            health["status"] == "degraded" && reasons.contains("everything read again")
        });
        let summary = collector.wait_for_messages(2);
        assert_eq!(summary["totals"]["output_tokens"], 12);
        assert_eq!(summary["lines"]["read"], 2);
        let second = place
            .serve_command_on(&place.db(), &place.path("other.sock"))
            .output();
        assert!(text(&second.unwrap().stderr).contains("in use by another tokentail"));
        append(&place.log("one", "a.jsonl"), response("3", 1, 2));
        collector.wait_for_messages(3);
        collector.stop_cleanly();
        place.assert_verified();
        let mut collector = place.serve();
        collector.wait_for_messages(3);
        wait_for_ok(&collector);
        collector.stop_cleanly();
    }
}

#[test]
fn a_database_that_is_away_for_a_moment_is_counted_on() {
    let place = Place::new();
    let mut collector = counting(&place);
    let (state, away) = (place.path("state"), place.path("away"));
    fs::rename(&state, &away).unwrap();
    append(&place.log("one", "a.jsonl"), response("2", 7, 1));
    wait_for_unhealthy(&collector, &place, "it was removed or moved away");
    fs::rename(&away, &state).unwrap();
    collector.wait_for_messages(2);
    wait_for_ok(&collector);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_database_that_is_replaced_takes_no_commit_until_the_right_one_is_back() {
    let place = Place::new();
    let mut collector = counting(&place);
    let (copy, right) = (place.path("copy"), place.path("state/right"));
    fs::copy(place.db(), &copy).unwrap();
    append(&place.log("one", "a.jsonl"), response("2", 7, 1));
    collector.wait_for_messages(2);
    for other in [fs::read(&copy).unwrap(), b"no database".to_vec(), Vec::new()] {
        fs::rename(place.db(), &right).unwrap();
        fs::write(place.db(), &other).unwrap();
        wait_for_unhealthy(&collector, &place, "another file is in its place");
        append(&place.log("one", "a.jsonl"), response("3", 9, 2));
        assert_eq!(collector.get("/readyz").0, 503);
        assert_eq!(fs::read(place.db()).unwrap(), other);
        fs::rename(&right, place.db()).unwrap();
        wait_for_ok(&collector);
    }
    // The third line is there three times. A copy is good only as of the last commit.
    let summary = collector.wait_until("every line", |summary| summary["lines"]["read"] == 5);
    assert_eq!(summary["totals"]["output_tokens"], 21);
    // A copy as of the last commit is as good.
    fs::rename(place.db(), &right).unwrap();
    fs::copy(&right, place.db()).unwrap();
    append(&place.log("one", "a.jsonl"), response("4", 1, 3));
    collector.wait_for_messages(4);
    wait_for_ok(&collector);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_database_that_is_unmounted_or_mounted_over_waits_for_its_mount() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    let place = Place::new();
    let state = place.path("state");
    fs::create_dir_all(&state).unwrap();
    namespace.sh("mount -t tmpfs none \"$1\"", &[&state]);
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let mut collector = Collector::start(namespace.command(&place.command(&["serve"])), place.socket());
    collector.wait_for_messages(1);

    namespace.sh("mount -t tmpfs none \"$1\"", &[&state]);
    append(&place.log("one", "a.jsonl"), response("2", 7, 1));
    wait_for_unhealthy(&collector, &place, "is not mounted there any more");
    let there = namespace.try_sh("ls \"$1\"", &[&state]);
    assert_eq!(text(&there.stdout), "");
    namespace.sh("umount \"$1\"", &[&state]);
    collector.wait_for_messages(2);
    wait_for_ok(&collector);

    namespace.sh("umount --lazy \"$1\"", &[&state]);
    append(&place.log("one", "a.jsonl"), response("3", 9, 2));
    wait_for_unhealthy(&collector, &place, "is not mounted there any more");
    assert!(!place.db().exists());
    let status = collector.stop();
    assert!(!place.db().exists());
    assert!(!status.success(), "it ends as if all were committed");
}

/// A collector with a token, and the files of its token and its configuration.
fn with_token() -> (Place, Collector, [PathBuf; 2]) {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let token = place.path("token");
    fs::write(&token, "0123456789abcdef").unwrap();
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(&token, private).unwrap();
    place.configure(&format!("[http]\ntoken_file = {token:?}\n"));
    let configuration = place.path("t.toml");
    let mut collector = place.start(place.command_with_config(&["serve"]));
    collector.wait_for_messages(1);
    (place, collector, [token, configuration])
}

#[test]
fn a_token_and_a_configuration_that_are_removed_are_said_until_they_are_back() {
    let (place, collector, files) = with_token();
    for file in &files {
        let away = place.path("away");
        // Seen while it was there.
        wait_for_ok(&collector);
        fs::rename(file, &away).unwrap();
        let gone = format!("{} is gone", file.display());
        wait_for_health(&collector, &gone, |health, reasons| {
            health["status"] == "degraded" && reasons.contains(&gone)
        });
        fs::rename(&away, file).unwrap();
        wait_for_ok(&collector);
    }
    collector.stop_cleanly();
}

#[test]
fn a_token_and_a_configuration_that_are_no_files_any_more_are_said_and_hold_no_reload_up() {
    let (place, collector, files) = with_token();
    for file in &files {
        for (command, what) in [("mkfifo", "no regular file"), ("mkdir", "a directory")] {
            let away = place.path("away");
            fs::rename(file, &away).unwrap();
            assert!(Command::new(command).arg(file).status().unwrap().success());
            let said = format!("{} is {what} now: ", file.display());
            wait_for_health(&collector, &said, |health, reasons| {
                health["status"] == "degraded" && reasons.contains(&said)
            });
            collector.signal("HUP");
            let refused = match (file == &files[0], command) {
                (true, _) => "the token was not read again",
                (false, "mkfifo") => "it is not a regular file",
                (false, _) => "it is a directory",
            };
            wait_for_health(&collector, refused, |_, reasons| reasons.contains(refused));
            Command::new("rm").arg("-r").arg(file).status().unwrap();
            fs::rename(&away, file).unwrap();
            collector.signal("HUP");
            wait_for_ok(&collector);
        }
    }
    collector.stop_cleanly();
}
