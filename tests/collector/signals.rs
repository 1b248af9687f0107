//! Stops of the collector: requested once, twice, and with too little time.

use crate::disk::{STUCK, limit_files, limitable};
use crate::harness::{Collector, Place, append, response};

const STOPPING: &str = "stopping: finishing what was read";
const CLEAN: &str = "stopped: everything that was read is committed, the database is closed";
const CUT_SHORT: &str = "stopped at the end of shutdown.grace";
const RUNS: u64 = 4;
const LINES: u64 = 4000;

/// A place with a backlog that takes many commits, and its number of messages.
fn backlog() -> (Place, u64) {
    let place = Place::new();
    for run in 0..RUNS {
        let lines: String = (0..LINES)
            .map(|line| response(&format!("{run}-{line}"), 1, u32::try_from(line).unwrap()))
            .collect();
        append(&place.log(&format!("run-{run}"), "a.jsonl"), lines);
    }
    (place, RUNS * LINES)
}

fn serve_with_grace(place: &Place, grace: &str) -> Collector {
    let mut command = place.command(&["serve"]);
    command.env("TOKENTAIL__SHUTDOWN__GRACE", grace);
    // Small shares, so that a backlog takes many.
    command.env("TOKENTAIL__LIMITS__TURN_BYTES_MAX", "64KiB");
    let mut collector = Collector::spawn(command, place.socket());
    collector.wait_for_socket();
    collector
}

/// A restart counts everything, once.
fn assert_complete_after_restart(place: &Place, messages: u64) {
    let mut collector = place.serve();
    let summary = collector.wait_for_messages(messages);
    assert_eq!(summary["totals"]["output_tokens"], messages);
    assert_eq!(summary["lines"]["read"], messages);
    assert_eq!(summary["lines"]["duplicate"], 0);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_signal_during_a_backlog_ends_it_cleanly_and_loses_nothing() {
    for signal in ["TERM", "INT"] {
        let (place, messages) = backlog();
        let mut collector = serve_with_grace(&place, "1h");
        collector.wait_for_next("\"committed\"");
        collector.signal(signal);
        let (code, said) = collector.wait_for_end();
        assert_eq!(code, Some(0), "{signal}: {said}");
        assert!(said.contains(CLEAN), "{signal}: {said}");
        assert!(!place.socket().exists(), "{signal}");
        place.assert_verified();
        assert_complete_after_restart(&place, messages);
    }
}

#[test]
fn a_backlog_cut_short_by_a_tiny_grace_is_finished_by_the_next_start() {
    let (place, messages) = backlog();
    let mut collector = serve_with_grace(&place, "100ms");
    // The first commit registers the runs; what counts here is one of lines.
    collector.wait_until("some of it is counted", |summary| {
        summary["messages"].as_u64().is_some_and(|counted| counted > 0)
    });
    collector.signal("TERM");
    let (code, said) = collector.wait_for_end();
    assert_eq!(code, Some(0), "{said}");
    // A machine that reads the rest in the grace time ends cleanly.
    let is_clean = said.contains(CLEAN);
    assert!(is_clean != said.contains(CUT_SHORT), "{said}");
    let counted = place.status()["messages"].as_u64().unwrap();
    assert!(counted > 0 && counted <= messages, "{counted}");
    place.assert_verified();
    assert_complete_after_restart(&place, messages);
}

#[test]
fn a_stop_while_nothing_can_be_committed_says_what_is_read_again() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 1, 0));
    let mut collector = limitable(&place, &[("TOKENTAIL__SHUTDOWN__GRACE", "100ms")]);
    collector.wait_for_messages(1);
    limit_files(&collector, Some(4096));
    append(&log, response("2", 1, 1));
    collector.wait_for_log(STUCK);
    collector.signal("TERM");
    let (code, said) = collector.wait_for_end();
    assert_eq!(code, Some(74), "{said}");
    assert!(
        said.contains("they will be read again at the next start"),
        "{said}"
    );
    assert_complete_after_restart(&place, 2);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let place = Place::new();
        let log = place.log("one", "a.jsonl");
        append(&log, response("1", 1, 0));
        // It cannot commit and has an hour to try: only the second signal can end it.
        let mut collector = limitable(&place, &[("TOKENTAIL__SHUTDOWN__GRACE", "1h")]);
        collector.wait_for_messages(1);
        limit_files(&collector, Some(4096));
        append(&log, response("2", 1, 1));
        collector.wait_for_log(STUCK);
        collector.signal("TERM");
        collector.wait_for_log(STOPPING);
        collector.signal(signal);
        let (ended, said) = collector.wait_for_end();
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains("while stopping, exiting at once"), "{said}");
        assert_complete_after_restart(&place, 2);
    }
}
