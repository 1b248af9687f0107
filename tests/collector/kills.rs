//! `kill -9` under load: nothing is lost and nothing counted twice, compared with the generator's books.
//!
//! `TOKENTAIL_KILLS=500 cargo test --release --test collector kills` sets the number of kills.
//! `TOKENTAIL_KILLS_SEED=7` repeats a failure.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, sync_channel};

use fastrand::Rng;
use serde_json::Value;

use crate::harness::{Collector, PROGRAM, Place, append, number_setting, text};
use crate::holes::age;

/// Default number of kills.
const KILLS: u64 = 30;
const CORPUS_MIB: usize = 16;
const CORPUS_RUNS: &str = "6";
/// Slices of files, each cut at a random place, per kill.
const SLICES: usize = 170;
/// Each time this many ends, one is a clean stop instead.
const STOP_EVERY: usize = 6;
/// Number of ends between two recounts of the database.
const VERIFY_EVERY: usize = 10;

#[test]
fn kills_under_load_lose_nothing_and_count_nothing_twice() {
    let seed = number_setting("TOKENTAIL_KILLS_SEED").unwrap_or_else(|| fastrand::u64(..));
    let wanted = usize::try_from(number_setting("TOKENTAIL_KILLS").unwrap_or(KILLS)).unwrap();
    // Including the clean stops between them.
    let ends = wanted + wanted / (STOP_EVERY - 1);
    println!("the seed is {seed}");
    let mut rng = Rng::with_seed(seed);
    let place = Place::new();
    let (files, books) = corpus(&place.path("corpus"), seed % 1000);
    let steps = steps(&files, SLICES * (ends + 1), &mut rng);
    let a_round = steps.len() / (ends + 1);
    assert!(a_round >= 6, "{} steps are too few", steps.len());

    let (granted, grants) = sync_channel(1 << 16);
    let runs = place.runs();
    let writer = std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(move || write(&runs, &files, &steps, &grants))
        .unwrap();
    let (mut kills, mut stopped) = (0, 0);
    for end in 1..=ends {
        let mut collector = Collector::spawn(place.command(&["serve"]), place.socket());
        let mut left = a_round;
        if rng.u8(..4) == 0 {
            // During its start: the first log lines, readiness and the end of the backlog are always logged.
            granted.send(left).unwrap();
            left = 0;
            for _ in 0..rng.usize(..3) {
                collector.next_line("a line of the start");
            }
        } else {
            // Each step completes a line, so each grant is followed by a commit.
            for _ in 0..rng.usize(1..=4) {
                let steps = rng.usize(1..=a_round / 5);
                granted.send(steps).unwrap();
                left -= steps;
                collector.wait_for_next("\"committed\"");
            }
        }
        // Stopped at a random place, it continues later, or is killed in that state.
        let is_stopped = rng.u8(..3) == 0;
        if is_stopped {
            collector.signal("STOP");
            stopped += 1;
            let steps = rng.usize(..=left);
            granted.send(steps).unwrap();
            left -= steps;
        }
        if is_stopped && (rng.bool() || end % STOP_EVERY == 0) {
            collector.signal("CONT");
        }
        // Written during and after the kill.
        granted.send(left).unwrap();
        if end % STOP_EVERY == 0 {
            collector.wait_for_log("tokentail");
            collector.stop_cleanly();
        } else {
            collector.kill();
            kills += 1;
        }
        if end % VERIFY_EVERY == 0 {
            place.assert_verified();
        }
    }
    assert_eq!(kills, wanted);
    println!("{kills} kills, {stopped} stops in the middle");
    granted.send(usize::MAX).unwrap();
    drop(granted);
    writer.join().unwrap();
    // NUL bytes are waited for in a recently written log.
    let mut written = Vec::new();
    gather(&place.runs(), Path::new(""), &mut written);
    for file in &written {
        age(&place.runs().join(&file.path));
    }

    let mut collector = place.serve();
    let read = &books["lines"]["read"];
    collector.wait_until("every line is read", |summary| summary["lines"]["read"] == *read);
    collector.stop_cleanly();
    assert_agrees_with_books(&place.status(), &books);
    place.assert_verified();
}

/// A file of the corpus: its path below the runs directory and its final content.
struct Growing {
    path: PathBuf,
    content: Vec<u8>,
}

/// A piece of the file with that index.
type Slice = (usize, Range<usize>);

/// A generated tree and its true totals.
fn corpus(out: &Path, seed: u64) -> (Vec<Growing>, Value) {
    let output = Command::new(generator())
        .args([
            "--bytes",
            &format!("{CORPUS_MIB}M"),
            "--runs",
            CORPUS_RUNS,
            "--seed",
            &seed.to_string(),
        ])
        .arg(out)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let books = serde_json::from_slice(&fs::read(out.join("oracle.json")).unwrap()).unwrap();
    let mut files = Vec::new();
    gather(&out.join("runs"), Path::new(""), &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    (files, books)
}

/// The example `corpus`, built from the current source: `--test` builds the program but no examples.
fn generator() -> PathBuf {
    let directory = Path::new(PROGRAM).parent().unwrap();
    let profile = match directory.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--example", "corpus"])
        .args(["--profile", profile, "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .arg("--target-dir")
        .arg(directory.parent().unwrap())
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", text(&built.stderr));
    directory.join("examples/corpus")
}

fn gather(root: &Path, below: &Path, files: &mut Vec<Growing>) {
    for entry in fs::read_dir(root.join(below)).unwrap() {
        let entry = entry.unwrap();
        let path = below.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            gather(root, &path, files);
        } else {
            let content = fs::read(root.join(&path)).unwrap();
            files.push(Growing { path, content });
        }
    }
}

/// All slices, cut at random places and shuffled between the files. **Invariant**: each step but the last
/// completes a line of a file that is read.
fn steps(files: &[Growing], slices: usize, rng: &mut Rng) -> Vec<Vec<Slice>> {
    let total: usize = files.iter().map(|file| file.content.len()).sum();
    let slice_max = 2 * total / slices;
    let mut written = vec![0; files.len()];
    let mut unfinished: Vec<usize> = (0..files.len()).collect();
    let mut steps = vec![Vec::new()];
    while !unfinished.is_empty() {
        let pick = rng.usize(..unfinished.len());
        let file = unfinished[pick];
        let Growing { path, content } = &files[file];
        let start = written[file];
        let end = (start + rng.usize(1..=slice_max)).min(content.len());
        written[file] = end;
        if end == content.len() {
            unfinished.swap_remove(pick);
        }
        steps.last_mut().unwrap().push((file, start..end));
        let name = path.file_name().unwrap().to_string_lossy();
        let is_read = name != "journal.jsonl" && name.ends_with(".jsonl");
        if is_read && content[start..end].contains(&b'\n') {
            steps.push(Vec::new());
        }
    }
    steps
}

/// Writes granted steps until the channel closes.
fn write(runs: &Path, files: &[Growing], steps: &[Vec<Slice>], grants: &Receiver<usize>) {
    let mut steps = steps.iter();
    for grant in grants {
        for step in steps.by_ref().take(grant) {
            for (file, range) in step {
                let Growing { path, content } = &files[*file];
                let path = runs.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                append(&path, &content[range.clone()]);
            }
        }
    }
}

/// The books know no prices.
fn without_costs(part: &Value) -> Value {
    let mut part = part.clone();
    if let Some(members) = part.as_object_mut() {
        members.retain(|name, _| !["estimated_cost_usd", "unpriced"].contains(&name.as_str()));
        for member in members.values_mut() {
            *member = without_costs(member);
        }
    }
    part
}

fn assert_agrees_with_books(summary: &Value, books: &Value) {
    let summary = &without_costs(summary);
    for part in [
        "messages",
        "advisor_calls",
        "totals",
        "by_model",
        "lines",
        "files",
        "bytes",
    ] {
        assert_eq!(summary[part], books[part], "{part}");
    }
    // Of equal copies in two runs the books give the response to the run that is first by name, as a replay
    // does; live, it belongs to the run that was read first. The sum over all runs is the same.
    assert_eq!(
        sum_of_rows(&summary["by_run"]),
        sum_of_rows(&books["by_run"]),
        "by_run"
    );
    assert_eq!(summary["by_day"], books["by_day"], "by_day");
}

/// The sum of an object's rows, field by field.
fn sum_of_rows(rows: &Value) -> std::collections::BTreeMap<String, u64> {
    let mut sum = std::collections::BTreeMap::new();
    for row in rows.as_object().unwrap().values() {
        for (name, count) in row.as_object().unwrap() {
            *sum.entry(name.clone()).or_insert(0) += count.as_u64().unwrap();
        }
    }
    sum
}
