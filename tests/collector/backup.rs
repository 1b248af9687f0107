//! A backup while the collector runs.

use std::fs;

use crate::harness::{Collector, Place, append, response, text};

#[test]
fn a_backup_of_a_running_collector_is_a_database_that_reads_on() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let output = place.run(&["backup", "copy.redb"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("as of the last commit"),
        "{}",
        text(&output.stdout)
    );
    assert!(!place.path("copy.redb.part").exists());
    // The collector goes on, and is still the only one on its database.
    append(&log, response("2", 6, 2));
    collector.wait_for_messages(2);
    let second = place
        .serve_command_on(&place.db(), &place.path("other.sock"))
        .output()
        .unwrap();
    assert!(
        text(&second.stderr).contains("in use"),
        "{}",
        text(&second.stderr)
    );
    // Not over what is there.
    let again = place.run(&["backup", "copy.redb"]);
    assert_eq!(again.status.code(), Some(64), "{}", text(&again.stderr));
    let nowhere = place.run(&["backup", "no/such/copy.redb"]);
    assert!(!nowhere.status.success());
    assert!(
        text(&nowhere.stderr).contains("no/such"),
        "{}",
        text(&nowhere.stderr)
    );
    collector.stop_cleanly();
    assert_eq!(place.run(&["backup", "other.redb"]).status.code(), Some(69));
    assert!(!place.path("other.redb.part").exists());
    // In the place of the database, it reads on: nothing twice.
    fs::remove_file(place.db()).unwrap();
    fs::rename(place.path("copy.redb"), place.db()).unwrap();
    let mut collector = place.serve();
    let summary = collector.wait_for_messages(2);
    assert_eq!(summary["totals"]["output_tokens"], 11);
    assert_eq!(summary["lines"]["read"], 2);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn backups_under_load_are_each_whole() {
    let place = Place::new();
    let log = place.log("r", "a.jsonl");
    append(&log, response("first", 1, 0));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    for round in 0..10u64 {
        let lines: String = (0..200)
            .map(|line| response(&format!("{round}-{line}"), 1, 1))
            .collect();
        append(&log, lines);
        let copy = format!("copy-{round}.redb");
        let output = place.run(&["backup", &copy]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let summary = collector.wait_for_messages(2001);
    collector.stop_cleanly();
    for round in 0..10 {
        let copy = place.path(&format!("copy-{round}.redb"));
        let socket = place.path("copy.sock");
        let mut of_copy = Collector::start(place.serve_command_on(&copy, &socket), socket);
        let again = of_copy.wait_for_messages(2001);
        assert_eq!(again["totals"], summary["totals"], "{round}");
        of_copy.stop_cleanly();
    }
}
