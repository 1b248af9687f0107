//! Growing logs: appended line by line, byte by byte, split at every difficult place, over stops and kills.

use std::fs::{self, OpenOptions};
use std::io::Write;

use crate::harness::{Place, append, output_by_run, response};
use crate::scenario::{EVENTS_ONLY, figures};

const KIB: usize = 1024;
const EDGES: [usize; 4] = [8 * KIB, 16 * KIB, 64 * KIB, 256 * KIB];
/// New directories in one go.
const DIRECTORIES: usize = 200;

/// A response whose line has characters of two, three and four bytes and ends in `\r\n`.
fn awkward(id: &str, output: u64) -> Vec<u8> {
    response(id, output, 0)
        .replacen('{', "{\"note\":\"é漢🙂\",", 1)
        .replace('\n', "\r\n")
        .into_bytes()
}

/// Difficult places of a line: inside each character, before the line end and inside it.
fn awkward_cuts(line: &[u8]) -> Vec<usize> {
    let inside = (1..line.len()).filter(|at| line[*at] & 0b1100_0000 == 0b1000_0000);
    inside.chain([line.len() - 2, line.len() - 1]).collect()
}

#[test]
fn counts_lines_as_they_are_appended_to_many_logs() {
    let place = Place::new();
    let mut collector = place.serve_with(EVENTS_ONLY);
    for line in 0..200 {
        let path = place.log(&format!("run{}", line % 3), &format!("{}.jsonl", line % 7));
        append(&path, response(&line.to_string(), 1 << (line % 20), line));
    }
    let summary = collector.wait_for_messages(200);
    let output = 10 * ((1 << 20) - 1);
    assert_eq!(figures(&summary), (200, output, 200));
    assert_eq!(summary["files"], 21);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn counts_a_line_once_when_every_byte_is_a_write_of_its_own_and_the_writer_stalls() {
    let place = Place::new();
    let mut collector = place.serve_with(EVENTS_ONLY);
    let line = awkward("slow", 7);
    let cuts = awkward_cuts(&line);
    assert_eq!(cuts.len(), 1 + 2 + 3 + 2);
    let mut stalls = 0;
    let mut slow = OpenOptions::new()
        .append(true)
        .create(true)
        .open(place.log("one", "slow.jsonl"))
        .unwrap();
    for (at, byte) in line.iter().enumerate() {
        if cuts.contains(&at) {
            append(
                &place.log("one", "other.jsonl"),
                response(&format!("other{at}"), 1, 1),
            );
            stalls += 1;
            // The same tailer reads both, so it has read the unfinished line by now.
            let summary = collector.wait_for_messages(stalls);
            assert_eq!(figures(&summary), (stalls, stalls, stalls), "before byte {at}");
        }
        slow.write_all(&[*byte]).unwrap();
    }
    let summary = collector.wait_for_messages(stalls + 1);
    assert_eq!(figures(&summary), (stalls + 1, stalls + 7, stalls + 1));
    assert_eq!(summary["lines"]["malformed"], 0);
    assert_eq!(summary["lines"]["read"], stalls + 1);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn counts_a_line_once_when_it_is_split_at_a_buffer_edge() {
    let place = Place::new();
    let mut collector = place.serve_with(EVENTS_ONLY);
    let mut rests = Vec::new();
    for edge in EDGES {
        let sample = awkward("0-0", 3);
        for cut in awkward_cuts(&sample).into_iter().chain([sample.len()]) {
            let name = format!("{edge}-{cut}");
            let line = awkward(&name, 3);
            // The sample's cuts are before its id; those at its end are counted from the end.
            let cut = if cut < sample.len() - 2 {
                cut
            } else {
                line.len() - (sample.len() - cut)
            };
            let before = edge - cut;
            let mut content = format!("{{\"type\":\"{}\"}}\n", "x".repeat(before - 12)).into_bytes();
            assert_eq!(content.len(), before);
            content.extend_from_slice(&line);
            let path = place.log("one", &format!("{name}.jsonl"));
            append(&path, &content[..edge]);
            rests.push((path, content[edge..].to_vec()));
        }
    }
    let whole = rests.iter().filter(|(_, rest)| rest.is_empty()).count();
    assert_eq!((rests.len(), whole), (EDGES.len() * 9, EDGES.len()));
    let summary = collector.settle(&place, "one");
    assert_eq!(summary["messages"], whole);
    for (path, rest) in &rests {
        append(path, rest);
        append(path, "{\"type\":\"after\"}\n");
    }
    let lines = rests.len() as u64;
    let summary = collector.wait_until("all lines", |summary| {
        summary["lines"]["ignored"] == 2 * lines + 2 && summary["messages"] == lines
    });
    assert_eq!(figures(&summary), (lines, 3 * lines, lines));
    assert_eq!(summary["lines"]["malformed"], 0);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn counts_a_line_in_a_new_directory_that_is_never_touched_again() {
    for settings in ["", EVENTS_ONLY] {
        let place = Place::new();
        let mut collector = place.serve_with(settings);
        let known = place.log("known", "a.jsonl");
        append(&known, response("known", 1, 0));
        collector.wait_for_messages(1);
        for number in 0..DIRECTORIES {
            let line = response(&number.to_string(), 1, 1);
            append(&place.log(&format!("new{number}"), "a/b/c.jsonl"), line);
        }
        collector.wait_for_messages(1 + DIRECTORIES as u64);
        for number in 0..DIRECTORIES {
            let line = response(&format!("again{number}"), 1, 1);
            append(&place.log(&format!("new{number}"), "x/y/c.jsonl"), line);
        }
        collector.wait_for_messages(1 + 2 * DIRECTORIES as u64);
        for number in 0..DIRECTORIES {
            let line = response(&format!("deep{number}"), 1, 1);
            append(&place.log("known", &format!("{number}/a/b.jsonl")), line);
        }
        let total = 1 + 3 * DIRECTORIES as u64;
        let summary = collector.wait_for_messages(total);
        assert_eq!(figures(&summary), (total, total, total), "{settings}");
        assert_eq!(output_by_run(&summary)["known"], 1 + DIRECTORIES as u64);
        collector.stop_cleanly();
        place.assert_verified();
    }
}

#[test]
fn finishes_a_half_line_after_a_stop_and_after_a_kill() {
    for kill in [false, true] {
        for whole_but_for_its_end in [false, true] {
            let place = Place::new();
            let log = place.log("one", "a.jsonl");
            let line = awkward("cut", 8);
            let cut = if whole_but_for_its_end {
                line.len() - 2
            } else {
                line.len() / 2
            };
            append(&log, response("1", 1, 0));
            let mut collector = place.serve();
            collector.wait_for_messages(1);
            append(&log, &line[..cut]);
            let summary = collector.settle(&place, "one");
            assert_eq!(summary["messages"], 1);
            if kill {
                collector.kill();
            } else {
                collector.stop_cleanly();
            }
            // One part while it is down, the last after the restart.
            append(&log, &line[cut..=cut]);
            let mut collector = place.serve();
            let summary = collector.settle(&place, "one");
            assert_eq!(summary["messages"], 1);
            append(&log, &line[cut + 1..]);
            append(&log, response("2", 16, 1));
            let summary = collector.wait_for_messages(3);
            assert_eq!(
                figures(&summary),
                (3, 25, 3),
                "kill {kill}, whole {whole_but_for_its_end}"
            );
            assert_eq!(summary["lines"]["malformed"], 0);
            collector.stop_cleanly();
            place.assert_verified();
        }
    }
}

#[test]
fn a_half_line_that_is_cut_off_again_is_never_counted() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(&log, response("1", 1, 0));
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(1);
    let size = fs::metadata(&log).unwrap().len();
    append(&log, response("never", 100, 1).trim_end());
    collector.settle(&place, "one");
    OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(size)
        .unwrap();
    append(&log, response("2", 2, 2));
    let summary = collector.wait_for_messages(2);
    assert_eq!(figures(&summary), (2, 3, 2));
    collector.stop_cleanly();
    place.assert_verified();
}
