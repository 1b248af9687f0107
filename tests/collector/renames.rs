//! Renamed logs: alone, with their directory, in rotation, over each other.

use std::fs::{self, OpenOptions};
use std::path::Path;

use crate::files::{Expected, RUN, check, check_one, fourth, three};
use crate::harness::{Place, append, response};
use crate::scenario::{EVENTS_ONLY, figures, replace};

#[test]
fn a_renamed_log_keeps_its_cursor() {
    for name in ["b.jsonl", "0.jsonl", "sub/directory/a.jsonl"] {
        check(
            &[("a.jsonl", three()), ("sub/directory/other.jsonl", fourth())],
            |mount| fs::rename(mount.join("a.jsonl"), mount.join(name)).unwrap(),
            &Expected::exactly(4, 15).read(4, 2).grows(name),
        );
    }
}

#[test]
fn a_log_renamed_twice_keeps_its_cursor() {
    check_one(
        |mount| {
            fs::rename(mount.join("a.jsonl"), mount.join("b.jsonl")).unwrap();
            fs::rename(mount.join("b.jsonl"), mount.join("c.jsonl")).unwrap();
            append(&mount.join("c.jsonl"), fourth());
        },
        &Expected::exactly(4, 15).read_when_over(4, 1).grows("c.jsonl"),
    );
}

#[test]
fn logs_in_a_renamed_directory_keep_their_cursors() {
    check(
        &[("x/y/a.jsonl", three()), ("x/b.jsonl", fourth())],
        |mount| fs::rename(mount.join("x"), mount.join("z")).unwrap(),
        &Expected::exactly(4, 15).read(4, 2).grows("z/y/a.jsonl"),
    );
}

#[test]
fn a_log_that_leaves_and_comes_back_keeps_its_cursor() {
    check_one(
        |mount| {
            let away = mount.parent().unwrap().parent().unwrap().join("away.jsonl");
            fs::rename(mount.join("a.jsonl"), &away).unwrap();
            append(&away, fourth());
            fs::rename(&away, mount.join("a.jsonl")).unwrap();
        },
        &Expected::exactly(4, 15).read(4, 1).grows("a.jsonl"),
    );
}

#[test]
fn a_rotated_log_keeps_its_cursor_and_the_new_one_starts_its_own() {
    let rotate = |mount: &Path| {
        fs::rename(mount.join("a.jsonl"), mount.join("a.1.jsonl")).unwrap();
        append(&mount.join("a.jsonl"), fourth());
    };
    for name in ["a.jsonl", "a.1.jsonl"] {
        check_one(rotate, &Expected::exactly(4, 15).read_when_over(4, 2).grows(name));
    }
}

#[test]
fn a_log_is_rotated_over_an_older_one() {
    check(
        &[
            ("a.jsonl", response("3", 4, 2)),
            ("a.1.jsonl", response("2", 2, 1)),
            ("a.2.jsonl", response("1", 1, 0)),
        ],
        |mount| {
            fs::rename(mount.join("a.1.jsonl"), mount.join("a.2.jsonl")).unwrap();
            fs::rename(mount.join("a.jsonl"), mount.join("a.1.jsonl")).unwrap();
            append(&mount.join("a.jsonl"), fourth());
        },
        &Expected::exactly(4, 15).read_when_over(4, 4).grows("a.jsonl"),
    );
}

#[test]
fn a_log_renamed_over_another_log_keeps_the_totals_of_both() {
    check(
        &[("a.jsonl", three()), ("b.jsonl", fourth())],
        |mount| fs::rename(mount.join("a.jsonl"), mount.join("b.jsonl")).unwrap(),
        &Expected::exactly(4, 15).read(4, 2).grows("b.jsonl"),
    );
}

#[test]
fn two_logs_that_change_places_keep_their_totals() {
    check(
        &[("a.jsonl", three()), ("b.jsonl", fourth())],
        |mount| {
            fs::rename(mount.join("a.jsonl"), mount.join("aside")).unwrap();
            fs::rename(mount.join("b.jsonl"), mount.join("a.jsonl")).unwrap();
            fs::rename(mount.join("aside"), mount.join("b.jsonl")).unwrap();
        },
        &Expected::exactly(4, 15).grows("b.jsonl"),
    );
}

#[test]
fn a_log_with_a_second_name_is_counted_once() {
    check_one(
        |mount| {
            fs::create_dir(mount.join("sub")).unwrap();
            fs::hard_link(mount.join("a.jsonl"), mount.join("sub/b.jsonl")).unwrap();
            append(&mount.join("a.jsonl"), fourth());
        },
        &Expected::exactly(4, 15).grows("sub/b.jsonl"),
    );
}

#[test]
fn a_log_that_is_copied_and_truncated_is_counted_once() {
    check_one(
        |mount| {
            let log = mount.join("a.jsonl");
            fs::copy(&log, mount.join("a.1.jsonl")).unwrap();
            OpenOptions::new()
                .write(true)
                .open(&log)
                .unwrap()
                .set_len(0)
                .unwrap();
            append(&log, fourth());
        },
        &Expected::exactly(4, 15).grows("a.jsonl"),
    );
}

#[test]
fn the_last_lines_of_a_log_that_goes_at_once_are_read_from_the_open_file() {
    type Go = fn(&Path);
    let ways: [(Go, u64); 4] = [
        (|mount| fs::remove_file(mount.join("a.jsonl")).unwrap(), 0),
        (
            |mount| replace(&mount.join("a.jsonl"), &response("new", 32, 5)),
            32,
        ),
        (
            |mount| fs::rename(mount.join("b.jsonl"), mount.join("a.jsonl")).unwrap(),
            0,
        ),
        (|mount| fs::remove_dir_all(mount.parent().unwrap()).unwrap(), 0),
    ];
    for (number, (go, new)) in ways.into_iter().enumerate() {
        let place = Place::new();
        append(&place.log(RUN, "a.jsonl"), three());
        append(&place.log(RUN, "b.jsonl"), fourth());
        let mut collector = place.serve_with(EVENTS_ONLY);
        collector.wait_for_messages(4);
        collector.settle(&place, RUN);
        append(&place.log(RUN, "a.jsonl"), response("5", 16, 4));
        go(&place.mount(RUN));
        let messages = 5 + u64::from(new > 0);
        let summary = collector.wait_for_messages(messages);
        assert_eq!(figures(&summary).1, 31 + new, "way {number}");
        collector.stop_cleanly();
        place.assert_verified();
    }
}
