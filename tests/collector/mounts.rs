//! Mounts that appear and disappear over watched directories, and files that must not be held open.

use std::fs;

use crate::harness::{Collector, Place, append, response};
use crate::machine::{Namespace, wait_until_closed};
use crate::surroundings::assert_was_mounted_over;

/// Scans often and closes soon.
const EAGER: [(&str, &str); 2] = [
    ("TOKENTAIL__WATCH__SCAN_INTERVAL", "100ms"),
    ("TOKENTAIL__LIMITS__IDLE_CLOSE", "100ms"),
];

#[test]
fn lines_in_a_tmpfs_put_over_a_watched_directory_are_counted_and_it_can_be_unmounted() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    counts_over_a_mount(&namespace, "mount -t tmpfs none \"$1\"");
}

#[test]
fn lines_in_a_bind_mount_put_over_a_watched_directory_are_counted_and_it_can_be_unmounted() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    let source = tempfile::tempdir().unwrap();
    let source = source.path().to_str().unwrap();
    counts_over_a_mount(&namespace, &format!("mount --bind {source} \"$1\""));
}

fn counts_over_a_mount(namespace: &Namespace, mount: &str) {
    let place = Place::new();
    let below = place.log("one", "a.jsonl");
    append(&below, response("1", 5, 0));
    let mut command = namespace.command(&place.command(&["serve"]));
    command.envs(EAGER);
    let mut collector = Collector::start(command, place.socket());
    collector.wait_for_messages(1);

    let point = place.runs().join("one/mount");
    namespace.sh(mount, &[&point]);
    let mounted = namespace.path(&point);
    append(&mounted.join("a.jsonl"), response("2", 7, 1));
    fs::create_dir_all(mounted.join("deep/er")).unwrap();
    append(&mounted.join("deep/er/b.jsonl"), response("3", 9, 2));
    collector.wait_for_messages(3);
    append(&mounted.join("deep/er/b.jsonl"), response("4", 1, 3));
    let summary = collector.wait_for_messages(4);
    assert_eq!(summary["totals"]["output_tokens"], 22);

    wait_until_closed(&collector, "one/mount");
    namespace.sh("umount \"$1\"", &[&point]);
    // The files below are visible again, and continue.
    append(&below, response("5", 3, 4));
    let summary = collector.wait_for_messages(5);
    assert_eq!(summary["totals"]["output_tokens"], 25);
    assert_was_mounted_over(&place, &collector);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn deleted_files_are_not_held_open() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    append(&place.log("two", "deep/b.jsonl"), response("2", 7, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    fs::remove_file(&log).unwrap();
    fs::remove_dir_all(place.runs().join("two")).unwrap();
    wait_until_closed(&collector, "(deleted)");

    append(&log, response("3", 9, 1));
    let summary = collector.wait_for_messages(3);
    assert_eq!(summary["totals"]["output_tokens"], 21);
    collector.stop_cleanly();
}

#[test]
fn idle_files_are_closed() {
    let place = Place::new();
    for number in 0..20 {
        append(
            &place.log("one", &format!("{number}.jsonl")),
            response(&format!("{number}"), 1, 0),
        );
    }
    let mut command = place.command(&["serve"]);
    command.envs(EAGER);
    let mut collector = Collector::start(command, place.socket());
    collector.wait_for_messages(20);
    wait_until_closed(&collector, ".jsonl");
    append(&place.log("one", "0.jsonl"), response("more", 1, 1));
    collector.wait_for_messages(21);
    collector.stop_cleanly();
}
