//! Logs that are cut, replaced, rewritten and deleted, while the collector runs and while it is down.
//!
//! In every case the totals are exact, counted responses stay counted, and a recount agrees.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::harness::{Place, append, response};
use crate::scenario::{EVENTS_ONLY, figures, padded, replace};

/// The run of these tests.
pub const RUN: &str = "one";

/// The expected state after a change.
pub struct Expected {
    messages: u64,
    output: u64,
    /// Usage lines read, and files.
    lines_and_files: Option<(u64, u64)>,
    /// True if the same lines are read even if the change is seen half done.
    in_one_step: bool,
    /// A log that keeps growing.
    grows: Option<&'static str>,
}

impl Expected {
    pub fn exactly(messages: u64, output: u64) -> Self {
        Self {
            messages,
            output,
            lines_and_files: None,
            in_one_step: true,
            grows: None,
        }
    }

    pub fn read(self, lines: u64, files: u64) -> Self {
        Self {
            lines_and_files: Some((lines, files)),
            ..self
        }
    }

    /// As `read`, for a change of several steps: a read in between may repeat a log.
    pub fn read_when_over(self, lines: u64, files: u64) -> Self {
        Self {
            in_one_step: false,
            ..self.read(lines, files)
        }
    }

    pub fn grows(self, name: &'static str) -> Self {
        Self {
            grows: Some(name),
            ..self
        }
    }
}

/// Three responses, 1 + 2 + 4 tokens.
pub fn three() -> String {
    response("1", 1, 0) + &response("2", 2, 1) + &response("3", 4, 2)
}

/// Another one, 8 tokens.
pub fn fourth() -> String {
    response("4", 8, 3)
}

/// Applies `change` to a run's mount with these logs, all read: once live, triggered by events only, and once
/// while the collector is down.
pub fn check(logs: &[(&str, String)], change: impl Fn(&Path), expected: &Expected) {
    let lines: usize = logs.iter().map(|(_, text)| text.matches('\n').count()).sum();
    for live in [true, false] {
        let settings = if live { EVENTS_ONLY } else { "" };
        let place = Place::new();
        for (name, text) in logs {
            append(&place.log(RUN, name), text);
        }
        let mut collector = place.serve_with(settings);
        collector.wait_for_messages(lines as u64);
        collector.settle(&place, RUN);
        if live {
            change(&place.mount(RUN));
        } else {
            collector.stop_cleanly();
            change(&place.mount(RUN));
            collector = place.serve_with(settings);
        }
        collector.wait_for_messages(expected.messages);
        let summary = collector.settle(&place, RUN);
        let (messages, output, usage_lines) = figures(&summary);
        assert_eq!(
            (messages, output),
            (expected.messages, expected.output),
            "live: {live}"
        );
        let lines_and_files = expected.lines_and_files.filter(|_| expected.in_one_step || !live);
        if let Some((lines, files)) = lines_and_files {
            // The file with the sentinel line is a file as well.
            assert_eq!(
                (usage_lines, summary["files"].as_u64()),
                (lines, Some(files + 1)),
                "live: {live}"
            );
        }
        if let Some(name) = expected.grows {
            append(&place.mount(RUN).join(name), response("last", 1 << 20, 59));
            let summary = collector.wait_for_messages(expected.messages + 1);
            assert_eq!(figures(&summary).1, expected.output + (1 << 20), "live: {live}");
        }
        let before = figures(&collector.settle(&place, RUN));
        collector.stop_cleanly();
        place.assert_verified();
        let mut collector = place.serve();
        let after = figures(&collector.settle(&place, RUN));
        assert_eq!(
            (before.0, before.1),
            (after.0, after.1),
            "live: {live}: after a restart"
        );
        if lines_and_files.is_some() {
            assert_eq!(before, after, "live: {live}: a restart reads nothing again");
        }
    }
}

pub fn check_one(change: impl Fn(&Path), expected: &Expected) {
    check(&[("a.jsonl", three())], change, expected);
}

#[test]
fn a_log_cut_shorter_keeps_its_totals_and_counts_what_follows() {
    let cut = |mount: &Path, bytes: u64| {
        let log = mount.join("a.jsonl");
        OpenOptions::new()
            .write(true)
            .open(&log)
            .unwrap()
            .set_len(bytes)
            .unwrap();
        append(&log, fourth());
    };
    let first = response("1", 1, 0).len() as u64;
    check_one(
        |mount| cut(mount, first),
        &Expected::exactly(4, 15).grows("a.jsonl"),
    );
    check_one(|mount| cut(mount, 0), &Expected::exactly(4, 15).grows("a.jsonl"));
}

#[test]
fn a_log_cut_inside_a_line_counts_what_follows_the_torn_line() {
    check_one(
        |mount| {
            let log = mount.join("a.jsonl");
            let half = response("1", 1, 0).len() as u64 / 2;
            OpenOptions::new()
                .write(true)
                .open(&log)
                .unwrap()
                .set_len(half)
                .unwrap();
            append(&log, "\n".to_owned() + &fourth());
        },
        &Expected::exactly(4, 15).grows("a.jsonl"),
    );
}

#[test]
fn a_log_replaced_by_a_shorter_an_equal_or_a_longer_one_counts_the_new_and_keeps_the_old() {
    // 1000 bytes by 400 with one new response; the others along the way.
    let old = padded(&response("old", 7, 0), 1000);
    for bytes in [400, 1000, 3000] {
        let new = padded(&response("new", 8, 1), bytes);
        check(
            &[("a.jsonl", old.clone())],
            |mount| replace(&mount.join("a.jsonl"), &new),
            &Expected::exactly(2, 15).read(2, 1).grows("a.jsonl"),
        );
    }
}

#[test]
fn a_log_replaced_by_one_that_repeats_it_counts_only_what_is_new() {
    check_one(
        |mount| replace(&mount.join("a.jsonl"), &(three() + &fourth())),
        &Expected::exactly(4, 15).read(7, 1).grows("a.jsonl"),
    );
}

#[test]
fn a_log_deleted_and_made_again_is_read_from_its_start_whatever_its_length() {
    let old = padded(&response("old", 7, 0), 1000);
    for bytes in [400, 1000, 3000] {
        let new = padded(&response("new", 8, 1), bytes);
        check(
            &[("a.jsonl", old.clone())],
            |mount| {
                fs::remove_file(mount.join("a.jsonl")).unwrap();
                fs::write(mount.join("a.jsonl"), &new).unwrap();
            },
            &Expected::exactly(2, 15).read(2, 1).grows("a.jsonl"),
        );
    }
}

#[test]
fn a_log_made_in_the_place_of_another_ones_inode_is_not_taken_for_it() {
    check_one(
        |mount| {
            fs::remove_file(mount.join("a.jsonl")).unwrap();
            append(&mount.join("b.jsonl"), three() + &fourth());
        },
        &Expected::exactly(4, 15).read(7, 2).grows("b.jsonl"),
    );
}

#[test]
fn a_deleted_log_keeps_its_totals() {
    check_one(
        |mount| fs::remove_file(mount.join("a.jsonl")).unwrap(),
        &Expected::exactly(3, 7).read(3, 1),
    );
}

#[test]
fn a_log_rewritten_in_place_past_its_old_end_is_read_from_its_start() {
    let rewrite = |mount: &Path, text: &str| {
        let mut file = OpenOptions::new()
            .write(true)
            .open(mount.join("a.jsonl"))
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    let longer = padded(&response("new", 8, 3), three().len()) + &response("newer", 16, 4);
    check_one(
        |mount| rewrite(mount, &longer),
        &Expected::exactly(5, 31).read(5, 1).grows("a.jsonl"),
    );
    let equal = padded(&response("new", 8, 3), three().len());
    check_one(
        |mount| rewrite(mount, &equal),
        &Expected::exactly(4, 15).read(4, 1).grows("a.jsonl"),
    );
}

#[test]
fn a_log_truncated_and_written_again_is_read_from_its_start() {
    check_one(
        |mount| fs::write(mount.join("a.jsonl"), three() + &fourth() + &response("5", 16, 5)).unwrap(),
        &Expected::exactly(5, 31).grows("a.jsonl"),
    );
}

#[test]
fn a_log_that_gives_way_to_a_directory_of_its_name_keeps_its_totals() {
    check_one(
        |mount| {
            fs::remove_file(mount.join("a.jsonl")).unwrap();
            fs::create_dir(mount.join("a.jsonl")).unwrap();
            append(&mount.join("a.jsonl/b.jsonl"), fourth());
        },
        &Expected::exactly(4, 15).read(4, 2).grows("a.jsonl/b.jsonl"),
    );
}
