//! A hostile run: the other run is counted meanwhile, memory stays bounded, and problems are reported for the
//! hostile run only.
//!
//! `TOKENTAIL_HOSTILE=100 cargo test --release --test collector hostile_writers` multiplies everything by a
//! hundred: 100,000 directories, a million files, 200,000 links, a flood a hundred times as long.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use crate::harness::{Collector, Place, append, number_setting, output_by_run, response};
use crate::machine::proc_number;
use crate::scenario::SCANS_OFTEN;

/// Default amounts, multiplied by the variable.
const DIRECTORIES: u64 = 1000;
const FILES: u64 = 10_000;
const LINKS: u64 = 2000;
/// Lines of the other run during each attack.
const HONEST_LINES: u64 = 20;
/// Most blocks of a flood, some 200 KiB each; multiplied up to the other bound. Lines written faster than
/// they can be read are read beside the other run's lines.
const BLOCKS: u64 = 1000;
const BLOCKS_MAX: u64 = 20_000;
/// Bytes that each block adds to a line without an end.
const ENDLESS_BYTES: u64 = 1 << 16;
/// The default of `limits.line_bytes_max`.
const LINE_BYTES_MAX: u64 = 16 << 20;
const MEMORY_KIB_MAX: u64 = 96 * 1024;
/// Additional memory for each file of a run.
const FILE_BYTES_MAX: u64 = 1024;

fn times() -> u64 {
    number_setting("TOKENTAIL_HOSTILE").unwrap_or(1)
}

/// The other run.
struct Honest<'a> {
    place: &'a Place,
    lines: u64,
}

impl Honest<'_> {
    /// Writes lines one by one, each after the previous one is counted; returns the time of each.
    fn is_counted(&mut self, collector: &mut Collector, what: &str) {
        self.are_counted(HONEST_LINES, collector, what);
    }

    fn are_counted(&mut self, lines: u64, collector: &mut Collector, what: &str) {
        let mut took = Vec::new();
        for _ in 0..lines {
            let began = Instant::now();
            append(
                &self.place.log("honest", "a.jsonl"),
                response(&format!("honest-{}", self.lines), 1, 0),
            );
            self.lines += 1;
            let lines = self.lines;
            collector.wait_until("the honest line", |summary| {
                output_by_run(summary).get("honest").copied() == Some(lines)
            });
            took.push(began.elapsed());
        }
        took.sort_unstable();
        let middle = took[took.len() / 2];
        println!(
            "{what}: the other run's lines took {middle:?}, 99 of 100 at most {:?}, all at most {:?}",
            took[took.len() * 99 / 100],
            took.last().unwrap()
        );
    }
}

fn peak_kib(collector: &Collector) -> u64 {
    proc_number(collector.pid(), "status", "VmHWM").unwrap()
}

fn problem_of(collector: &Collector, run: &str) -> String {
    let reasons = collector.reasons();
    let of_run = reasons
        .iter()
        .find(|reason| reason.contains(&format!("run {run}")));
    of_run.cloned().unwrap_or_default()
}

#[test]
fn a_run_of_directories_files_and_links_is_in_nobodys_way() {
    let times = times();
    let place = Place::new();
    let mut collector = place.serve_with(SCANS_OFTEN);
    let mut honest = Honest {
        place: &place,
        lines: 0,
    };
    honest.is_counted(&mut collector, "alone");

    let mut messages = honest.lines;
    for number in 0..DIRECTORIES * times {
        let directory = place
            .mount("directories")
            .join(format!("{}/{number}", number % 50));
        fs::create_dir_all(directory).unwrap();
    }
    let last = format!("0/{}", 50 * (DIRECTORIES * times / 50 - 1));
    append(
        &place.log("directories", &format!("{last}/a.jsonl")),
        response("in-the-last", 1, 0),
    );
    honest.is_counted(&mut collector, &format!("{} directories", DIRECTORIES * times));
    messages += HONEST_LINES + 1;
    collector.wait_for_messages(messages);
    let problem = problem_of(&collector, "directories");
    assert!(problem.contains("are scanned, not watched"), "{problem}");

    for number in 0..FILES * times {
        let path = place.log("files", &format!("{}/{number}.jsonl", number % 100));
        append(&path, "{\"type\":\"tiny\"}\n");
    }
    honest.is_counted(&mut collector, &format!("{} files", FILES * times));
    messages += HONEST_LINES;
    let files_max = 100_000.min(FILES * times);
    collector.wait_until("every file is read", |summary| {
        summary["lines"]["ignored"].as_u64() >= Some(files_max)
    });
    let problem = problem_of(&collector, "directories");
    assert!(
        problem.contains("are scanned, not watched"),
        "not any more: {problem}"
    );
    if FILES * times > files_max {
        let problem = problem_of(&collector, "files");
        assert!(problem.contains("limits.files_per_run_max"), "{problem}");
    }

    let link = |number: u64, to: &Path| {
        let path = place.log("links", &format!("{}/{number}.jsonl", number % 20));
        symlink(to, path).unwrap();
    };
    let honest_log = place.log("honest", "a.jsonl");
    for number in 0..LINKS * times {
        match number % 4 {
            0 => link(number, &honest_log),
            1 => link(number, Path::new("..")),
            2 => link(number, Path::new(&format!("{number}.jsonl"))),
            _ => link(number, Path::new("/")),
        }
    }
    append(&place.log("links", "true.jsonl"), response("no-link", 1, 0));
    honest.is_counted(&mut collector, &format!("{} links", LINKS * times));
    messages += HONEST_LINES + 1;
    let summary = collector.wait_for_messages(messages);
    assert_eq!(output_by_run(&summary)["links"], 1);

    let (peak, bound) = (
        peak_kib(&collector),
        MEMORY_KIB_MAX + files_max * FILE_BYTES_MAX / 1024,
    );
    println!("peak memory {} MiB", peak / 1024);
    assert!(peak <= bound, "{peak} KiB are more than {bound}");
    assert!(
        problem_of(&collector, "honest").is_empty(),
        "{:?}",
        collector.reasons()
    );
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_run_that_grows_as_fast_as_the_disk_is_in_nobodys_way() {
    let place = Place::new();
    let mut collector = place.serve_with(SCANS_OFTEN);
    let mut honest = Honest {
        place: &place,
        lines: 0,
    };
    honest.is_counted(&mut collector, "alone");
    let blocks_max = BLOCKS_MAX.min(BLOCKS * times());
    let (ends, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    // Lines that count, lines that do not, and one without an end, repeatedly.
    let log = place.log("flood", "a.jsonl");
    let line = response("flood", 1, 0);
    let block = line.repeat(64) + &"{\"type\":\"noise\"}\n".repeat(4096) + &"x".repeat(1 << 16) + "\n";
    let (endless, block_bytes) = (place.log("flood", "endless.jsonl"), block.len() as u64);
    let endless_bytes = vec![b'x'; usize::try_from(ENDLESS_BYTES).unwrap()];
    let writer = {
        let (ends, written) = (Arc::clone(&ends), Arc::clone(&written));
        std::thread::Builder::new()
            .name("flood".to_owned())
            .spawn(move || {
                let open = |path| OpenOptions::new().append(true).create(true).open(path).unwrap();
                let (mut log, mut endless) = (open(&log), open(&endless));
                while !ends.load(Ordering::Relaxed) && written.load(Ordering::Relaxed) < blocks_max {
                    log.write_all(block.as_bytes()).unwrap();
                    endless.write_all(&endless_bytes).unwrap();
                    written.fetch_add(1, Ordering::Relaxed);
                }
            })
    };
    honest.are_counted(HONEST_LINES * times(), &mut collector, "beside a flood");
    ends.store(true, Ordering::Relaxed);
    writer.unwrap().join().unwrap();
    let written = written.load(Ordering::Relaxed);
    println!(
        "{} MiB were written meanwhile",
        (written * (block_bytes + ENDLESS_BYTES)) >> 20
    );
    let endless_is_too_long = written * ENDLESS_BYTES > LINE_BYTES_MAX;
    // The end of each block is no JSON.
    let summary = collector.wait_until("the flood is read", |summary| {
        summary["lines"]["malformed"] == written
            && summary["lines"]["oversized"] == u64::from(endless_is_too_long)
    });
    assert_eq!(summary["messages"], honest.lines + 1);
    let peak = peak_kib(&collector);
    println!("peak memory {} MiB", peak / 1024);
    assert!(peak <= MEMORY_KIB_MAX, "{peak} KiB");
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn lines_that_claim_to_be_another_runs_stay_with_the_run_they_are_in() {
    let place = Place::new();
    let honest = response("honest", 5, 1);
    append(&place.log("honest", "a.jsonl"), &honest);
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    let claims = "{\"run\":\"honest\",\"run_id\":\"honest\",\"sessionId\":\"honest\",\"cwd\":\"/runs/honest/mount\",\"account\":\"other/other\",";
    let forged = |id: &str, time: &str, output: &str| {
        response(id, 1, 2)
            .replacen('{', claims, 1)
            .replace("2026-10-05T09:00:02.000Z", time)
            .replace("\"output_tokens\":1", &format!("\"output_tokens\":{output}"))
    };
    let log = place.log("hostile", "runs/honest/mount/a.jsonl");
    append(&log, forged("own", "2026-10-05T09:00:02.000Z", "7"));
    append(&log, forged("old", "1970-01-01T00:00:00.000Z", "1"));
    append(&log, forged("late", "2200-01-01T00:00:00.000Z", "1"));
    append(
        &log,
        forged("huge", "2026-10-05T09:00:02.000Z", "9223372036854775808"),
    );
    append(&log, forged("more", "2026-10-05T09:00:02.000Z", "1e308"));
    // The same response, later and not better: nothing is taken from its run, and nothing is counted twice.
    append(&log, forged("honest", "2026-10-05T09:00:02.000Z", "4"));
    append(&log, response("last", 1, 9));
    let summary = collector.wait_for_messages(7);
    let by_run = output_by_run(&summary);
    assert_eq!((by_run["honest"], by_run["hostile"]), (5, 10));
    assert_eq!(summary["lines"]["clock_suspect"], 1);
    // A time that is not accepted is replaced by the last one before it.
    assert_eq!(summary["by_day"]["1970-01-01"]["output_tokens"], 2);
    assert!(summary["by_day"].get("2200-01-01").is_none());
    assert_eq!(summary["by_run"]["honest"]["messages"], 1);
    collector.stop_cleanly();
    place.assert_verified();
}
