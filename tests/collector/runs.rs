//! Runs, mounts and the runs directory itself: removed, created again and renamed.

use std::fs;

use crate::harness::{Place, append, output_by_run, response};
use crate::scenario::{EVENTS_ONLY, SCANS_OFTEN, figures};

#[test]
fn a_run_that_is_removed_keeps_its_totals_and_goes_on_when_it_is_made_again() {
    for live in [true, false] {
        let place = Place::new();
        append(&place.log("one", "a.jsonl"), response("1", 1, 0));
        append(&place.log("two", "a.jsonl"), response("2", 2, 0));
        let mut collector = place.serve_with(EVENTS_ONLY);
        collector.wait_for_messages(2);
        if live {
            fs::remove_dir_all(place.runs().join("one")).unwrap();
            collector.wait_for_log("its directory is gone");
            assert_eq!(collector.get("/v1/runs/one").1["state"], "stopped");
            // The runs directory, the other run and its mount.
            assert_eq!(collector.get("/healthz").1["watches"], 3);
        } else {
            collector.stop_cleanly();
            fs::remove_dir_all(place.runs().join("one")).unwrap();
            collector = place.serve_with(EVENTS_ONLY);
        }
        assert_eq!(figures(&collector.summary()), (2, 3, 2), "live: {live}");
        // Counted lines and a new one, at the same path.
        append(
            &place.log("one", "a.jsonl"),
            response("1", 1, 0) + &response("3", 4, 1),
        );
        let summary = collector.wait_for_messages(3);
        assert_eq!(figures(&summary), (3, 7, 4), "live: {live}");
        assert_eq!(output_by_run(&summary)["one"], 5);
        append(&place.log("one", "a.jsonl"), response("4", 8, 2));
        collector.wait_for_messages(4);
        assert_ne!(collector.get("/v1/runs/one").1["state"], "stopped");
        collector.stop_cleanly();
        place.assert_verified();
    }
}

#[test]
fn a_run_that_is_removed_and_made_again_at_once_is_not_missed() {
    let place = Place::new();
    let mut collector = place.serve_with(EVENTS_ONLY);
    for round in 0..20 {
        append(&place.log("one", "a/b.jsonl"), response(&round.to_string(), 1, 0));
        append(&place.log("two", "b.jsonl"), response(&format!("{round}b"), 1, 0));
        collector.wait_for_messages(2 * round + 2);
        fs::remove_dir_all(place.runs().join("one")).unwrap();
        fs::remove_dir_all(place.runs().join("two")).unwrap();
    }
    assert_eq!(figures(&collector.summary()), (40, 40, 40));
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_renamed_run_is_counted_once_and_stays_with_its_first_name() {
    for live in [true, false] {
        let place = Place::new();
        append(&place.log("a", "x/1.jsonl"), response("1", 1, 0));
        append(&place.log("a", "2.jsonl"), response("2", 2, 0));
        let mut collector = place.serve_with(EVENTS_ONLY);
        collector.wait_for_messages(2);
        let up = if live {
            Some(collector)
        } else {
            collector.stop_cleanly();
            None
        };
        fs::rename(place.runs().join("a"), place.runs().join("b")).unwrap();
        let mut collector = up.unwrap_or_else(|| place.serve_with(EVENTS_ONLY));
        if live {
            // Until then its open logs are read to their end.
            collector.wait_for_log("its directory is gone");
        }
        append(&place.log("b", "x/1.jsonl"), response("3", 4, 1));
        collector.wait_for_messages(3);
        let summary = collector.settle(&place, "b");
        assert_eq!(
            (&summary["messages"], &summary["totals"]["output_tokens"]),
            (&3.into(), &7.into())
        );
        assert_eq!(
            output_by_run(&summary),
            [("a".to_owned(), 3), ("b".to_owned(), 4)].into()
        );
        // The old name is free for another run, and the new one goes on.
        append(&place.log("a", "x/1.jsonl"), response("4", 8, 2));
        collector.wait_for_messages(4);
        append(&place.log("b", "x/1.jsonl"), response("5", 16, 3));
        append(&place.log("b", "2.jsonl"), response("6", 32, 3));
        let summary = collector.wait_for_messages(6);
        assert_eq!(
            output_by_run(&summary),
            [("a".to_owned(), 11), ("b".to_owned(), 52)].into()
        );
        collector.stop_cleanly();
        place.assert_verified();
    }
}

#[test]
fn a_mount_that_is_removed_and_made_again_goes_on() {
    let place = Place::new();
    append(&place.log("one", "a/b.jsonl"), response("1", 1, 0));
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(1);
    for round in 0..10 {
        fs::remove_dir_all(place.mount("one")).unwrap();
        append(
            &place.log("one", "a/b.jsonl"),
            response(&format!("again{round}"), 1, 1),
        );
        collector.wait_for_messages(round + 2);
        // The watches are those of the new directories.
        append(&place.log("one", "a/b.jsonl"), "{\"type\":\"more\"}\n");
        collector.wait_until("the line after it", |summary| {
            summary["lines"]["ignored"] == round + 1
        });
    }
    fs::remove_dir_all(place.mount("one")).unwrap();
    append(&place.log("two", "a.jsonl"), response("two", 1, 1));
    let summary = collector.wait_for_messages(12);
    assert_eq!(figures(&summary), (12, 12, 12));
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn the_runs_directory_is_removed_and_made_again() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mut collector = place.serve_with(SCANS_OFTEN);
    collector.wait_for_messages(1);
    fs::remove_dir_all(place.runs()).unwrap();
    collector.wait_for_log("runs are picked up when the runs directory can be read");
    assert_eq!(collector.get("/readyz").0, 503);
    append(&place.log("one", "a.jsonl"), response("2", 2, 1));
    append(&place.log("two", "a.jsonl"), response("3", 4, 1));
    collector.wait_for_messages(3);
    append(&place.log("one", "a.jsonl"), response("4", 8, 2));
    let summary = collector.wait_for_messages(4);
    assert_eq!(figures(&summary), (4, 15, 4));
    assert_eq!(
        output_by_run(&summary),
        [("one".to_owned(), 11), ("two".to_owned(), 4)].into()
    );
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn the_runs_directory_appears_after_the_start() {
    let place = Place::new();
    fs::remove_dir(place.runs()).unwrap();
    let mut collector = place.serve_with(SCANS_OFTEN);
    collector.wait_for_log("runs are picked up when the runs directory can be read");
    assert_eq!(collector.get("/readyz").0, 503);
    assert_eq!(collector.summary()["messages"], 0);
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    collector.wait_for_messages(1);
    append(&place.log("one", "a.jsonl"), response("2", 2, 0));
    let summary = collector.wait_for_messages(2);
    assert_eq!(figures(&summary), (2, 3, 2));
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn the_runs_directory_gives_way_to_another_of_its_name() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 1, 0));
    let mut collector = place.serve_with(SCANS_OFTEN);
    collector.wait_for_messages(1);
    let other = place.path("other/one/mount");
    fs::create_dir_all(&other).unwrap();
    append(&other.join("a.jsonl"), response("1", 1, 0) + &response("2", 2, 1));
    fs::rename(place.runs(), place.path("old")).unwrap();
    fs::rename(place.path("other"), place.runs()).unwrap();
    collector.wait_for_messages(2);
    append(&place.log("one", "a.jsonl"), response("3", 4, 2));
    let summary = collector.wait_for_messages(3);
    assert_eq!(figures(&summary).1, 7);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn what_is_away_for_a_moment_is_read_on_at_once() {
    let place = Place::new();
    let log = place.log("one", "deep/a.jsonl");
    append(&log, response("0", 1, 0));
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(1);
    let mut messages = 1;
    for path in ["runs/one/mount/deep", "runs/one/mount", "runs/one", "runs"] {
        let (path, away) = (place.path(path), place.path("away"));
        for _ in 0..3 {
            fs::rename(&path, &away).unwrap();
            fs::rename(&away, &path).unwrap();
            messages += 1;
            append(&log, response(&messages.to_string(), 1, 0));
            collector.wait_for_messages(messages);
        }
        // Not visible while it was away.
        collector.signal("STOP");
        fs::rename(&path, &away).unwrap();
        fs::rename(&away, &path).unwrap();
        collector.signal("CONT");
        messages += 1;
        append(&log, response(&messages.to_string(), 1, 0));
        collector.wait_for_messages(messages);
        messages += 1;
        append(&log, response(&messages.to_string(), 1, 0));
        collector.wait_for_messages(messages);
    }
    collector.stop_cleanly();
    place.assert_verified();
}
