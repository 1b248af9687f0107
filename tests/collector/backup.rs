//! A backup while the collector runs.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

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
    // The collector continues, and is still the only one on its database.
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
    // An existing file is not overwritten.
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
    // In the place of the database, reading continues without doubles.
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

/// The names in the directory of a backup.
fn names(place: &Place) -> Vec<String> {
    let names = fs::read_dir(place.path("copies")).unwrap();
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

/// Answers one request with this text, then holds the connection.
fn answers(listener: &UnixListener, answer: &str) -> UnixStream {
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream.write_all(answer.as_bytes()).unwrap();
    stream
}

#[test]
fn a_backup_that_is_interrupted_leaves_nothing_and_hinders_no_other() {
    let place = Place::new();
    fs::create_dir(place.path("copies")).unwrap();
    // Another process's file, under a name used by earlier versions.
    fs::write(place.path("copies/copy.redb.part"), "another's").unwrap();
    let listener = UnixListener::bind(place.socket()).unwrap();
    let mut backup = place.command(&["backup", "copies/copy.redb"]).spawn().unwrap();
    let version = answers(&listener, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let part = "x".repeat(100_000);
    let body = answers(
        &listener,
        &format!("HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n{part}"),
    );
    let pid = rustix::process::Pid::from_child(&backup);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    backup.wait().unwrap();
    assert_eq!(names(&place), ["copy.redb.part"]);
    drop((version, body, listener));
    fs::remove_file(place.socket()).unwrap();

    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let output = place.run(&["backup", "copies/copy.redb"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(
        fs::read(place.path("copies/copy.redb.part")).unwrap(),
        b"another's"
    );
    collector.stop_cleanly();
}

#[test]
fn a_collector_that_does_not_answer_is_not_waited_for_for_ever() {
    let place = Place::new();
    fs::create_dir(place.path("copies")).unwrap();
    append(&place.log("r", "a.jsonl"), response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    collector.signal("STOP");
    for words in [&["backup", "copies/copy.redb"][..], &["watch"]] {
        let output = place.run(words);
        assert_eq!(
            output.status.code(),
            Some(75),
            "{words:?}: {}",
            text(&output.stderr)
        );
        let said = text(&output.stderr);
        assert!(
            said.contains("did not answer") && said.contains("within 5 s"),
            "{said}"
        );
    }
    assert_eq!(names(&place), [""; 0]);
    collector.signal("CONT");
    collector.stop_cleanly();
}
