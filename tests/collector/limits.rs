//! Exhausted inotify watches or instances: everything is counted by scanning, and reported.

use crate::harness::{Collector, Place, append, response};
use crate::machine::{Namespace, skipped};
use crate::surroundings::{assert_says, assert_went_through, metric};

const DIRECTORIES: u64 = 40;

/// A namespace in which a limit of inotify has this value; `None` if it cannot be set.
fn limited(limit: &str, value: u32) -> Option<Namespace> {
    let namespace = Namespace::of_user_or_skip()?;
    let output = namespace.try_sh(&format!("echo {value} > /proc/sys/user/{limit}"), &[]);
    if !output.status.success() {
        skipped(&format!("{limit} cannot be set in a user namespace"));
        return None;
    }
    Some(namespace)
}

fn log_of(place: &Place, number: u64) -> std::path::PathBuf {
    place.log("one", &format!("{number}/a.jsonl"))
}

/// Counts the backlog, then new lines, without events; returns the collector and its number of messages.
fn counts_by_polling(place: &Place, namespace: &Namespace) -> (Collector, u64) {
    for number in 0..DIRECTORIES {
        append(&log_of(place, number), response(&format!("{number}"), 1, 0));
    }
    let mut command = namespace.command(&place.command(&["serve"]));
    command.env("TOKENTAIL__WATCH__SCAN_INTERVAL", "100ms");
    let mut collector = Collector::start(command, place.socket());
    collector.wait_for_messages(DIRECTORIES);
    for number in 0..DIRECTORIES {
        append(&log_of(place, number), response(&format!("{number}-more"), 2, 1));
    }
    append(&place.log("two", "new/b.jsonl"), response("new", 3, 2));
    let messages = 2 * DIRECTORIES + 1;
    let summary = collector.wait_for_messages(messages);
    assert_eq!(summary["totals"]["output_tokens"], 3 * DIRECTORIES + 3);
    (collector, messages)
}

/// Once the limit is raised, events are used again; checked after each of further commits.
fn returns_to_events(place: &Place, collector: &mut Collector, mut messages: u64) {
    let log = log_of(place, 0);
    while collector.health()["watching"] != "events" {
        append(&log, response(&format!("again-{messages}"), 1, 3));
        messages += 1;
        collector.wait_for_messages(messages);
    }
    let health = collector.health();
    assert_eq!(health["status"], "ok", "{health}");
    assert_eq!(health["unwatched"], 0, "{health}");
    append(&log, response("last", 1, 4));
    collector.wait_for_messages(messages + 1);
    assert!(metric(collector, "tokentail_watch_mode{mode=\"events\"}") > 0.5);
    let family = "tokentail_watch_fallbacks_total";
    assert_went_through(place, collector, "fallbacks", family, "without watches (");
}

#[test]
fn out_of_watches_all_is_counted_by_polling_until_there_are_some_again() {
    let Some(namespace) = limited("max_inotify_watches", 20) else {
        return;
    };
    let place = Place::new();
    let (mut collector, messages) = counts_by_polling(&place, &namespace);
    let health = collector.health();
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["watching"], "polling", "{health}");
    assert!(health["unwatched"].as_u64().unwrap() > 0, "{health}");
    assert!(
        health["reasons"]
            .to_string()
            .contains("fs.inotify.max_user_watches"),
        "{health}"
    );
    assert_eq!(collector.get("/readyz").0, 200);
    assert_says(&place, &collector, "fs.inotify.max_user_watches");
    assert!(metric(&collector, "tokentail_watch_mode{mode=\"polling\"}") > 0.5);
    assert!(metric(&collector, "tokentail_unwatched_directories") > 0.5);

    namespace.sh("echo 1000 > /proc/sys/user/max_inotify_watches", &[]);
    returns_to_events(&place, &mut collector, messages);
    collector.stop_cleanly();
    place.assert_verified();
}

/// The watches that the kernel keeps for a process.
fn kernel_watches(pid: u32) -> usize {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap();
    let infos = descriptors.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
    infos.map(|info| info.matches("inotify wd:").count()).sum()
}

#[test]
fn what_is_watched_stays_known_when_further_watches_are_refused() {
    let Some(namespace) = limited("max_inotify_watches", 1000) else {
        return;
    };
    let place = Place::new();
    for number in 0..3 {
        append(&log_of(&place, number), response(&format!("{number}"), 1, 0));
    }
    let mut collector = Collector::start(namespace.command(&place.command(&["serve"])), place.socket());
    collector.wait_for_messages(3);
    let watches = collector.health()["watches"].as_u64().unwrap();
    assert_eq!(kernel_watches(collector.pid()) as u64, watches);
    namespace.sh(
        &format!("echo {watches} > /proc/sys/user/max_inotify_watches"),
        &[],
    );
    // Names sorted before and after the existing ones: a batch is refused at its first entry.
    for name in ["!", "0a", "~"] {
        append(
            &place.log("one", &format!("{name}/a.jsonl")),
            response(name, 1, 1),
        );
    }
    collector.wait_for_messages(6);
    collector.signal("HUP");
    collector.wait_for_log("the configuration is in effect");
    collector.settle(&place, "one");
    let health = collector.health();
    assert!(health["unwatched"].as_u64().unwrap() >= 3, "{health}");
    assert_eq!(health["watches"], watches, "{health}");
    assert_eq!(kernel_watches(collector.pid()) as u64, watches);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn without_an_inotify_instance_all_is_counted_by_polling_until_there_is_one() {
    let Some(namespace) = limited("max_inotify_instances", 0) else {
        return;
    };
    let place = Place::new();
    let (mut collector, messages) = counts_by_polling(&place, &namespace);
    let health = collector.health();
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["watching"], "polling", "{health}");
    assert_eq!(health["watches"], 0, "{health}");
    assert!(
        health["reasons"]
            .to_string()
            .contains("fs.inotify.max_user_instances"),
        "{health}"
    );
    assert_says(&place, &collector, "fs.inotify.max_user_instances");
    assert!(metric(&collector, "tokentail_watch_mode{mode=\"polling\"}") > 0.5);

    namespace.sh("echo 10 > /proc/sys/user/max_inotify_instances", &[]);
    returns_to_events(&place, &mut collector, messages);
    collector.stop_cleanly();
    place.assert_verified();
}
