//! Logs that show a later part before an earlier one, or are longer than their written content: nothing is
//! lost, and nothing is counted twice.

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tokentail::clock::Clock;

use crate::harness::{Collector, Place, response};
use crate::scenario::{EVENTS_ONLY, SCANS_OFTEN};

/// Longer than the wait for NUL bytes.
const LONG_AGO: Duration = Duration::from_hours(1);

fn write_at(log: &Path, bytes: &[u8], offset: usize) {
    let file = OpenOptions::new().write(true).open(log).unwrap();
    file.write_all_at(bytes, offset as u64).unwrap();
}

/// Sets the time of the last write back.
pub fn age(log: &Path) {
    let file = File::options().write(true).open(log).unwrap();
    file.set_modified(SystemTime::from(Clock::SYSTEM.timestamp()) - LONG_AGO)
        .unwrap();
}

fn assert_exact(place: &Place, mut collector: Collector, messages: u64) {
    let summary = collector.wait_for_messages(messages);
    assert_eq!(summary["lines"]["malformed"], 0);
    let replayed = place.replayed();
    assert_eq!(
        (&replayed["totals"], &replayed["by_day"]),
        (&summary["totals"], &summary["by_day"])
    );
    collector.stop_cleanly();
    place.assert_verified();
}

/// The range of a hole, given the length of the first line.
type Hole = fn(usize) -> Range<usize>;

#[test]
fn what_is_shown_late_is_waited_for_and_counted_once() {
    let place = Place::new();
    place.configure(EVENTS_ONLY);
    let mut collector = Collector::start(place.command_with_config(&["serve"]), place.socket());
    // The end of a line is in the second hole, the whole of one in the first.
    let lines = |run: &str| {
        (0..5)
            .map(|id| response(&format!("{run}-{id}"), 7, id))
            .collect::<Vec<_>>()
    };
    let holes: [(&str, Hole); 3] = [
        ("whole", |first: usize| first..first * 2),
        ("middle", |first: usize| first + 20..first + 80),
        ("end", |first: usize| first * 2 - 10..first * 4),
    ];
    let mut texts = Vec::new();
    for (run, hole) in holes {
        let lines = lines(run);
        let text = lines.concat();
        let hole = hole(lines[0].len());
        let mut shown = text.clone().into_bytes();
        shown[hole.clone()].fill(0);
        let log = place.log(run, "a.jsonl");
        fs::write(&log, shown).unwrap();
        texts.push((log, text, hole));
    }
    // Not the lines after the holes.
    let summary = collector.wait_for_messages(3);
    assert_eq!(summary["lines"]["read"], 3);
    for (log, text, hole) in texts {
        write_at(&log, &text.as_bytes()[hole.clone()], hole.start);
    }
    assert_exact(&place, collector, 15);
}

#[test]
fn a_log_that_is_long_before_it_is_filled_is_counted_as_it_fills() {
    let place = Place::new();
    place.configure(EVENTS_ONLY);
    let mut collector = Collector::start(place.command_with_config(&["serve"]), place.socket());
    let log = place.log("one", "a.jsonl");
    // Longer than the bound of a line.
    File::create(&log).unwrap().set_len(20 << 20).unwrap();
    let mut to = 0;
    for id in 0..5 {
        let line = response(&format!("p{id}"), 7, id);
        write_at(&log, line.as_bytes(), to);
        to += line.len();
        collector.wait_for_messages(u64::from(id) + 1);
    }
    assert_exact(&place, collector, 5);
}

#[test]
fn a_stop_does_not_wait_for_a_hole_and_what_fills_it_later_is_counted() {
    let place = Place::new();
    place.configure(SCANS_OFTEN);
    let mut collector = Collector::start(place.command_with_config(&["serve"]), place.socket());
    let (first, second) = (response("1", 7, 0), response("2", 7, 1));
    let log = place.log("one", "a.jsonl");
    let shown = [
        first.as_bytes(),
        &vec![0; second.len()],
        response("3", 7, 2).as_bytes(),
    ]
    .concat();
    fs::write(&log, shown).unwrap();
    collector.wait_for_messages(1);
    let (code, answer) = collector.request("POST", "/v1/runs/one/stop?wait=true", "");
    assert_eq!((code, &answer["output_tokens"]), (200, &14.into()), "{answer}");
    write_at(&log, second.as_bytes(), first.len());
    collector.wait_for_messages(3);
    collector.stop_cleanly();
    assert_eq!(place.replayed()["totals"]["output_tokens"], 21);
    place.assert_verified();
}

#[test]
fn what_waits_behind_a_hole_at_the_start_is_backlog_until_it_is_read() {
    let place = Place::new();
    let (first, behind) = (response("1", 7, 0), response("2", 7, 1));
    let text = [first.as_bytes(), &[0; 100], b"\n", behind.as_bytes()].concat();
    let waiting = text.len() - first.len();
    fs::write(place.log("one", "a.jsonl"), text).unwrap();
    // Written in the future, so that the wait does not depend on how long the start takes.
    let log = File::options()
        .write(true)
        .open(place.log("one", "a.jsonl"))
        .unwrap();
    log.set_modified(SystemTime::from(Clock::SYSTEM.timestamp()) + LONG_AGO)
        .unwrap();
    let mut collector = Collector::start(place.command(&["serve"]), place.socket());
    collector.wait_for_messages(1);
    let health = collector.health();
    // Counted only once already, it was not counted when health was asked for.
    if collector.summary()["messages"] == 1 {
        assert_eq!(
            (&health["backlog_done"], &health["lag_bytes"]),
            (&false.into(), &waiting.into()),
            "{health}"
        );
    }
    collector.wait_for_log("the backlog is read");
    let summary = collector.summary();
    assert_eq!(
        (&summary["messages"], &summary["totals"]["output_tokens"]),
        (&2.into(), &14.into())
    );
    assert_eq!(collector.health()["lag_bytes"], 0);
    collector.stop_cleanly();
}

#[test]
fn what_a_crash_left_is_read_over_at_once_and_said() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    let text = [
        response("1", 7, 0).as_bytes(),
        &[0; 700],
        response("2", 7, 1).as_bytes(),
        &[0; 700],
        b"\n",
        response("3", 7, 2).as_bytes(),
        &[0; 700],
    ]
    .concat();
    fs::write(&log, text).unwrap();
    age(&log);
    let mut collector = place.serve();
    let summary = collector.wait_for_messages(3);
    assert_eq!(
        (&summary["lines"]["read"], &summary["lines"]["malformed"]),
        (&4.into(), &1.into())
    );
    let notices = collector.health()["notices"].to_string();
    assert!(
        notices.contains("1 file has NUL bytes before what follows them"),
        "{notices}"
    );
    assert_eq!(place.replayed()["lines"], summary["lines"]);
    collector.stop_cleanly();
    place.assert_verified();
}
