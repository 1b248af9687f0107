//! Situations in which other tailers lost or doubled lines, where no other test covers them.
//!
//! `TOKENTAIL_STOPS=200` sets the number of stops in a burst; `TOKENTAIL_BACKLOG_MIB=5120` the size of a
//! backlog.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use serde_json::Value;
use tokentail::clock::Clock;

use crate::harness::{Collector, Place, append, number_setting, response, text};
use crate::machine::{Namespace, proc_number, skipped, wrapped};
use crate::scenario::{EVENTS_ONLY, ended, figures};

/// Logs with the same beginning.
const TWINS: u64 = 50;
const ALIKE_BYTES: usize = 64 << 10;
/// Default number of stops.
const STOPS: u64 = 8;
/// Lines written around each of them.
const BURST_LINES: usize = 2000;
/// Default size of the backlog in MiB: more than the memory bound.
const BACKLOG_MIB: u64 = 160;
const MEMORY_KIB_MAX: u64 = 96 * 1024;
/// Bytes of a line of the backlog.
const LINE_BYTES: usize = 16 << 10;
const MONTH: Duration = Duration::from_hours(24 * 30);

/// A long line that counts nothing, always the same.
fn alike() -> String {
    format!("{{\"type\":\"{}\"}}\n", "x".repeat(ALIKE_BYTES - 12))
}

#[test]
fn logs_that_begin_alike_are_two_files() {
    for live in [true, false] {
        let place = Place::new();
        let log = |number: u64| place.log("one", &format!("{number}.jsonl"));
        let mut collector = live.then(|| place.serve_with(EVENTS_ONLY));
        for number in 0..TWINS {
            append(&log(number), alike());
        }
        if let Some(collector) = &mut collector {
            collector.wait_until("every head", |summary| summary["lines"]["ignored"] == TWINS);
        }
        for number in 0..TWINS {
            append(&log(number), response(&number.to_string(), 1 + number, 0));
        }
        let mut collector = collector.unwrap_or_else(|| place.serve_with(EVENTS_ONLY));
        let summary = collector.wait_for_messages(TWINS);
        let output = TWINS * (TWINS + 1) / 2;
        assert_eq!(figures(&summary), (TWINS, output, TWINS), "live: {live}");
        // Two logs swap places: their ends distinguish them, not their beginnings.
        let (beside, one, two) = (place.mount("one").join("beside"), log(1), log(2));
        fs::rename(&one, &beside).unwrap();
        fs::rename(&two, &one).unwrap();
        fs::rename(&beside, &two).unwrap();
        append(&one, response("after", 100, 0));
        let summary = collector.wait_for_messages(TWINS + 1);
        assert_eq!(summary["totals"]["output_tokens"], output + 100);
        collector.stop_cleanly();
        place.assert_verified();
    }
}

#[test]
fn a_backlog_larger_than_the_bound_of_memory_is_read_within_it() {
    let mib = number_setting("TOKENTAIL_BACKLOG_MIB").unwrap_or(BACKLOG_MIB);
    let place = Place::new();
    let lines = mib << 20;
    let lines = lines / LINE_BYTES as u64;
    let pad = "x".repeat(LINE_BYTES);
    for number in 0..lines {
        let line = response(&number.to_string(), 1, 0).replacen('{', &format!("{{\"note\":\"{pad}\","), 1);
        let log = place.log(&format!("run-{}", number % 3), &format!("{}.jsonl", number % 7));
        append(&log, line);
    }
    let mut collector = place.serve();
    let summary = collector.wait_for_messages(lines);
    assert_eq!(figures(&summary), (lines, lines, lines));
    let peak = proc_number(collector.pid(), "status", "VmHWM").unwrap();
    println!("{mib} MiB of backlog, peak memory {} MiB", peak / 1024);
    assert!(peak <= MEMORY_KIB_MAX, "the peak is {peak} KiB");
    collector.stop_cleanly();
    place.assert_verified();
}

/// Sets the times of a log back.
fn age(path: &Path) {
    let then = SystemTime::from(Clock::SYSTEM.timestamp()) - MONTH;
    let times = fs::FileTimes::new().set_accessed(then).set_modified(then);
    File::options()
        .write(true)
        .open(path)
        .unwrap()
        .set_times(times)
        .unwrap();
}

#[test]
fn a_log_that_was_idle_for_a_month_goes_on_where_it_was() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    let old = |from: u32| -> String {
        (from..from + 50)
            .map(|id| response(&id.to_string(), 1, 0))
            .collect()
    };
    append(&log, old(0));
    let mut collector = place.serve_with(EVENTS_ONLY);
    collector.wait_for_messages(50);
    let expected = |summary: &Value, lines: u64| {
        assert_eq!(figures(summary), (lines, lines, lines));
        assert_eq!(summary["lines"]["duplicate"], 0);
        assert_eq!(summary["bytes"], fs::metadata(&log).unwrap().len());
    };
    // While it runs, and while it is down.
    age(&log);
    append(&log, old(50));
    expected(&collector.wait_for_messages(100), 100);
    collector.stop_cleanly();
    age(&log);
    let mut collector = place.serve_with(EVENTS_ONLY);
    expected(&collector.summary(), 100);
    append(&log, old(100));
    expected(&collector.wait_for_messages(150), 150);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_clock_that_jumps_by_days_reads_nothing_again_and_skips_nothing() {
    // The wrapper would receive the signals instead of the program: only its library is loaded.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "printf %s \"$LD_PRELOAD\""]);
    let mut faketime = Command::new("faketime");
    faketime.args(["-m", "-f", "+0d"]);
    let library = match wrapped(faketime, &shell).output() {
        Ok(output) if output.status.success() => text(&output.stdout),
        other => return skipped(&format!("faketime: {other:?}")),
    };
    let shifted = |shift: &str, mut command: Command| {
        // Waits use the other clock.
        command.envs([
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME", shift),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]);
        command
    };
    let mut date = Command::new("date");
    date.arg("+%s");
    let said = text(&shifted("-40d", date).output().unwrap().stdout);
    let now = Clock::SYSTEM.timestamp().as_second();
    let said: i64 = said.trim().parse().unwrap();
    assert!(
        said < now - 39 * 24 * 3600,
        "the clock is not shifted: {said}, {now}"
    );
    let place = Place::new();
    let (steady, new) = (place.log("one", "a.jsonl"), |number: usize| {
        place.log("one", &format!("new-{number}.jsonl"))
    });
    let mut lines = 0;
    for (number, shift) in ["+0d", "+1d", "-1d", "+30d", "-30d"].into_iter().enumerate() {
        // Written before and after the start; times of lines and of files differ.
        append(&steady, response(&format!("before-{number}"), 1, 0));
        let mut collector = Collector::start(shifted(shift, place.command(&["serve"])), place.socket());
        append(&steady, response(&format!("after-{number}"), 1, 0));
        append(&new(number), response(&format!("new-{number}"), 1, 0));
        lines += 3;
        let summary = collector.wait_for_messages(lines);
        assert_eq!(figures(&summary), (lines, lines, lines), "{shift}");
        assert_eq!(summary["lines"]["duplicate"], 0, "{shift}");
        collector.stop_cleanly();
    }
    place.assert_verified();
}

#[test]
fn a_tree_on_another_device_is_not_read_again() {
    let Some(namespace) = Namespace::or_skip() else {
        return;
    };
    let place = Place::new();
    for number in 0..20 {
        let log = place.log(&format!("run-{}", number % 2), &format!("{number}.jsonl"));
        append(&log, response(&number.to_string(), 1, 0));
    }
    let mut collector = place.serve();
    let before = collector.wait_for_messages(20);
    collector.stop_cleanly();

    // The same files, with the same inode numbers, on a device with another number: as after a reboot.
    let layers = place.path("layers");
    fs::create_dir_all(&layers).unwrap();
    namespace.sh(
        "mount -t tmpfs none \"$1\" && mkdir \"$1/upper\" \"$1/work\"",
        &[&layers],
    );
    let over = "mount -t overlay overlay -o lowerdir=\"$2\",upperdir=\"$1/upper\",workdir=\"$1/work\"";
    let runs = place.runs();
    let mounted = ["", ",userxattr"].into_iter().any(|option| {
        let script = format!("{over}{option} \"$2\"");
        namespace.try_sh(&script, &[&layers, &runs]).status.success()
    });
    if !mounted {
        return skipped("an overlay cannot be mounted here");
    }
    let log = place.log("run-0", "0.jsonl");
    let (below, above) = (
        fs::metadata(&log).unwrap(),
        fs::metadata(namespace.path(&log)).unwrap(),
    );
    if below.dev() == above.dev() || below.ino() != above.ino() {
        return skipped("an overlay here has the device of what lies below, or other files");
    }
    let mut collector = Collector::start(namespace.command(&place.command(&["serve"])), place.socket());
    let new = namespace.path(&place.mount("run-1")).join("new.jsonl");
    append(&new, response("new", 1, 1));
    let summary = collector.wait_for_messages(21);
    assert_eq!(summary["lines"]["duplicate"], 0);
    assert_eq!(summary["lines"]["read"], 21);
    let more = fs::metadata(&new).unwrap().len();
    assert_eq!(
        summary["bytes"].as_u64(),
        before["bytes"].as_u64().map(|bytes| bytes + more)
    );
    collector.stop_cleanly();
}

#[test]
fn stops_in_a_burst_lose_nothing_and_count_nothing_twice() {
    let stops = number_setting("TOKENTAIL_STOPS").unwrap_or(STOPS);
    let place = Place::new();
    let logs: Vec<_> = (0..6)
        .map(|log| place.log(&format!("run-{}", log % 3), &format!("{log}.jsonl")))
        .collect();
    let (granted, grants) = sync_channel(1);
    let writer = std::thread::Builder::new()
        .name("burst".to_owned())
        .spawn(move || {
            let mut numbers = 0..;
            for grant in grants {
                for number in numbers.by_ref().take(grant) {
                    let line = response(&number.to_string(), 1, 0);
                    // Some lines come in two parts.
                    let cut = line.len() / if number % 5 == 0 { 2 } else { 1 };
                    append(&logs[number % logs.len()], &line[..cut]);
                    append(&logs[number % logs.len()], &line[cut..]);
                }
            }
        });
    for stop in 0..stops {
        granted.send(BURST_LINES).unwrap();
        let mut command = place.command(&["serve"]);
        // This many writes keep the disk busy.
        command.env("TOKENTAIL__SHUTDOWN__GRACE", "1h");
        let mut collector = Collector::spawn(command, place.socket());
        // Log lines of the start, and of some commits.
        for _ in 0..=stop % 2 {
            collector.wait_for_next("\"committed\"");
        }
        collector.signal("TERM");
        let (code, said) = collector.wait_for_end();
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains("the database is closed"),
            "it was cut short: {said}"
        );
    }
    drop(granted);
    writer.unwrap().join().unwrap();
    let lines = stops * BURST_LINES as u64;
    let mut collector = place.serve();
    let summary = collector.wait_for_messages(lines);
    assert_eq!(figures(&summary), (lines, lines, lines));
    assert_eq!(summary["lines"]["duplicate"], 0);
    println!("{stops} stops in a burst of {lines} lines");
    collector.stop_cleanly();
    place.assert_verified();
}

/// Values at the ends of a setting: zero, and one.
fn edges(value: &str) -> Option<[&'static str; 2]> {
    let value = value.trim_matches('"');
    if value.ends_with("iB") || value.parse::<u64>().is_ok() {
        return Some(["0", "1"]);
    }
    let is_period = value.ends_with(['s', 'h', 'm']) && value.starts_with(|c: char| c.is_ascii_digit());
    is_period.then_some(["0s", "1ms"])
}

#[test]
fn every_limit_at_nothing_and_at_one_is_refused_by_name_or_works() {
    let place = Place::new();
    append(
        &place.log("one", "a.jsonl"),
        (0..3)
            .map(|id| response(&id.to_string(), 1, 0))
            .collect::<String>(),
    );
    let settings = place.json(&["check-config"])["settings"].take();
    let (mut refused, mut works) = (0, 0);
    for (key, setting) in settings.as_object().unwrap() {
        let Some(edges) = setting["value"].as_str().and_then(edges) else {
            continue;
        };
        let variable = format!("TOKENTAIL__{}", key.to_uppercase().replace('.', "__"));
        for edge in edges {
            let mut check = place.command(&["check-config"]);
            check.env(&variable, edge);
            let (code, stdout, stderr) = ended(&check.output().unwrap());
            if code != Some(0) {
                assert_eq!(code, Some(78), "{key} = {edge}: {stdout}{stderr}");
                assert!(
                    stderr.contains(key) || stderr.contains(&variable),
                    "{key} = {edge}: {stderr}"
                );
                refused += 1;
                continue;
            }
            fs::remove_dir_all(place.path("state")).unwrap_or_default();
            let mut command = place.command(&["serve"]);
            command.env(&variable, edge);
            let mut collector = Collector::start(command, place.socket());
            // The API can be used only as far as the setting allows; the database has what was committed.
            collector.wait_for_log("\"committed\"");
            append(&place.log("one", "a.jsonl"), "{\"type\":\"sentinel\"}\n");
            collector.wait_for_next("\"committed\"");
            collector.stop_cleanly();
            assert_eq!(place.status()["messages"], 3, "{key} = {edge}");
            works += 1;
        }
    }
    println!("{refused} refused, {works} work");
    assert!(
        refused > 0 && works > 0 && refused + works >= 20,
        "{refused} refused, {works} work"
    );
}

#[test]
fn everything_at_its_least_still_counts_everything() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(
        &log,
        (0..400)
            .map(|id| response(&id.to_string(), 1, 0))
            .collect::<String>(),
    );
    let settings = "[limits]\nline_bytes_max = 4096\nfiles_per_run_max = 1\ndepth_max = 1\nturn_bytes_max = \"64KiB\"\n\
                    idle_close = \"100ms\"\n[watch]\nscan_interval = \"100ms\"\n[store]\ncache_bytes = \"1MiB\"\n\
                    commit_rows_max = 1\n[runs]\nidle_stop = \"1m\"\n";
    let mut collector = place.serve_with(settings);
    collector.wait_for_messages(400);
    append(&log, "x".repeat(5000) + "\n");
    append(
        &log,
        (400..800)
            .map(|id| response(&id.to_string(), 1, 0))
            .collect::<String>(),
    );
    let summary = collector.wait_for_messages(800);
    assert_eq!(figures(&summary), (800, 800, 800));
    assert_eq!(summary["lines"]["oversized"], 1);
    collector.stop_cleanly();
    let verify = place.command_with_config(&["verify"]).output().unwrap();
    let (code, stdout, stderr) = ended(&verify);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}
