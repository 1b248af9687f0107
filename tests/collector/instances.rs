//! One database and one socket have one collector.

use std::fs::File;

use crate::harness::{Collector, Place, append, response, text};

#[test]
fn a_second_collector_on_the_same_database_ends_and_says_so() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    let mut first = place.serve();
    first.wait_for_messages(1);

    let second = place
        .serve_command_on(&place.db(), &place.path("other.sock"))
        .output()
        .unwrap();
    let said = text(&second.stderr);
    assert_eq!(second.status.code(), Some(69), "{said}");
    assert!(said.contains("in use by another tokentail"), "{said}");
    assert!(said.contains(place.db().to_str().unwrap()), "{said}");
    assert!(!place.path("other.sock").exists());

    append(&log, response("2", 7, 1));
    let summary = first.wait_for_messages(2);
    assert_eq!(summary["totals"]["output_tokens"], 12);
    first.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_second_collector_on_the_same_socket_ends_and_says_so() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 5, 0));
    let mut first = place.serve();
    first.wait_for_messages(1);

    let second = place
        .serve_command_on(&place.path("other.redb"), &place.socket())
        .output()
        .unwrap();
    let said = text(&second.stderr);
    assert_eq!(second.status.code(), Some(69), "{said}");
    assert!(said.contains("another collector answers on"), "{said}");
    assert!(said.contains(place.socket().to_str().unwrap()), "{said}");

    append(&log, response("2", 7, 1));
    first.wait_for_messages(2);
    first.stop_cleanly();
}

#[test]
fn a_socket_left_over_from_a_kill_is_taken_over() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let mut killed = place.serve();
    killed.wait_for_messages(1);
    killed.kill();
    assert!(place.socket().exists());
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    collector.stop_cleanly();
    assert!(!place.socket().exists());
}

/// A database that another process is just creating is empty for a moment: that is no damage.
#[test]
fn an_empty_database_that_someone_holds_is_not_set_aside() {
    let place = Place::new();
    std::fs::create_dir_all(place.db().parent().unwrap()).unwrap();
    let held = File::create(place.db()).unwrap();
    held.lock().unwrap();
    let (code, said) = Collector::spawn(place.command(&["serve"]), place.socket()).wait_for_end();
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains("in use by another tokentail"), "{said}");
    let beside: Vec<_> = std::fs::read_dir(place.db().parent().unwrap()).unwrap().collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
}
