//! More events than the kernel's queue holds: the lost ones are found by scanning.

use std::fs;

use crate::harness::{Place, append, response};
use crate::machine::skipped;
use crate::surroundings::assert_went_through;

/// More would take too long; a queue this long is rare.
const EVENTS_MAX: u64 = 200_000;
const NEW_FILES: u64 = 500;

#[test]
fn what_happens_while_the_queue_of_events_is_full_is_counted() {
    let path = "/proc/sys/fs/inotify/max_queued_events";
    let queued_max: u64 = fs::read_to_string(path).unwrap().trim().parse().unwrap();
    if queued_max > EVENTS_MAX {
        return skipped(&format!("{path} is {queued_max}"));
    }
    let place = Place::new();
    let logs = [place.log("one", "a.jsonl"), place.log("one", "b.jsonl")];
    for (number, log) in logs.iter().enumerate() {
        append(log, response(&format!("{number}"), 1, 0));
    }
    let mut collector = place.serve();
    collector.wait_for_messages(2);
    assert_eq!(collector.health()["overflows"], 0);

    collector.signal("STOP");
    let pid = rustix::process::Pid::from_raw(i32::try_from(collector.pid()).unwrap());
    let stopped = rustix::process::waitpid(pid, rustix::process::WaitOptions::UNTRACED).unwrap();
    assert!(stopped.unwrap().1.stopped());
    // Equal consecutive events are merged, so two files alternate.
    let line = "{\"type\":\"noise\"}\n";
    for turn in 0..=queued_max {
        append(&logs[usize::from(turn % 2 == 0)], line);
    }
    // The queue is full: no event reports these.
    for number in 0..NEW_FILES {
        append(
            &place.log("one", &format!("c-{number}.jsonl")),
            response(&format!("c-{number}"), 1, 1),
        );
        append(
            &place.log(&format!("new-{}", number % 20), &format!("{number}/d.jsonl")),
            response(&format!("d-{number}"), 1, 2),
        );
    }
    append(&logs[0], response("last", 1, 3));
    collector.signal("CONT");

    let summary = collector.wait_for_messages(2 * NEW_FILES + 3);
    assert_eq!(summary["totals"]["output_tokens"], 2 * NEW_FILES + 3);
    let read = queued_max + 1 + 2 * NEW_FILES + 3;
    collector.wait_until("every line is read", |summary| summary["lines"]["read"] == read);
    let health = collector.health();
    assert!(health["overflows"].as_u64().unwrap() >= 1, "{health}");
    assert_eq!(health["status"], "ok", "{health}");
    let family = "tokentail_watch_overflows_total";
    assert_went_through(&place, &collector, "overflows", family, "events lost (");
    // Events work again, and in the new directories too.
    append(&place.log("new-1", "1/d.jsonl"), response("after", 1, 4));
    collector.wait_for_messages(2 * NEW_FILES + 4);
    collector.stop_cleanly();
    place.assert_verified();
}
