//! A line without an end is skipped in little memory, once, and the lines after it are counted.
//!
//! `TOKENTAIL_GIANT_MIB=2048` sets its length.

use std::fs::{File, OpenOptions};
use std::path::Path;

use crate::harness::{Collector, Place, append, number_setting, response};
use crate::holes::age;
use crate::machine::{after, proc_number};

/// Default length of the line in MiB.
const GIANT_MIB: u64 = 1024;
const MEMORY_KIB_MAX: u64 = 96 * 1024;
/// In KiB, as in the shell; a bound of the collector's address space.
const ADDRESSES: &str = "ulimit -v 1048576";
/// Bound of one read share: the default of `limits.turn_bytes_max`, and one block.
const SHARE_BYTES: u64 = (4 << 20) + (256 << 10);

fn giant_bytes() -> u64 {
    number_setting("TOKENTAIL_GIANT_MIB").unwrap_or(GIANT_MIB) << 20
}

/// NUL bytes that take no disk space.
fn hole(path: &Path, bytes: u64) {
    let file: File = OpenOptions::new().append(true).create(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() + bytes).unwrap();
}

fn start(place: &Place) -> Collector {
    Collector::start(after(ADDRESSES, &place.command(&["serve"])), place.socket())
}

fn assert_little_memory(collector: &Collector) {
    let peak = proc_number(collector.pid(), "status", "VmHWM").unwrap();
    assert!(peak <= MEMORY_KIB_MAX, "the peak is {peak} KiB");
}

#[test]
fn a_giant_line_is_skipped_in_little_memory() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    hole(&log, giant_bytes());
    append(&log, "\n".to_owned() + &response("2", 7, 1));
    age(&log);
    let mut collector = start(&place);
    let summary = collector.wait_for_messages(2);
    assert_eq!(summary["lines"]["oversized"], 1);
    assert_eq!(summary["lines"]["read"], 3);
    assert_little_memory(&collector);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_long_line_that_grows_while_it_is_watched_is_counted_once() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    let mut collector = start(&place);
    collector.wait_for_messages(1);
    let piece = "x".repeat(4 << 20);
    for _ in 0..8 {
        append(&log, &piece);
    }
    collector.wait_until("it is known to be too long", |summary| {
        summary["lines"]["oversized"] == 1
    });
    append(&log, piece + "\n" + &response("2", 7, 1));
    let summary = collector.wait_for_messages(2);
    assert_eq!(summary["lines"]["oversized"], 1);
    assert_eq!(summary["lines"]["read"], 3);
    assert_little_memory(&collector);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_kill_in_the_middle_of_a_skip_does_not_make_it_begin_again() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    hole(&log, giant_bytes());
    append(&log, "\n".to_owned() + &response("2", 7, 1));
    age(&log);
    let mut collector = Collector::spawn(place.command(&["serve"]), place.socket());
    // The first commit has the first line; half of the others have half of the hole.
    let commits = giant_bytes() / SHARE_BYTES / 2;
    for _ in 0..commits {
        collector.wait_for_next("\"committed\"");
    }
    collector.kill();

    let mut collector = start(&place);
    let summary = collector.wait_for_messages(2);
    assert_eq!(summary["lines"]["oversized"], 1);
    assert_eq!(summary["lines"]["read"], 3);
    // Committed parts are not read again; reads are not counted on every system.
    if let Some(read) = proc_number(collector.pid(), "io", "rchar") {
        assert!(
            read < giant_bytes() * 3 / 4,
            "{read} bytes were read after the restart"
        );
    }
    assert_little_memory(&collector);
    collector.stop_cleanly();
    place.assert_verified();
}
