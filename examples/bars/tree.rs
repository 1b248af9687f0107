//! A large tree: costs of continuing in it, of a start with it, and of its database.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::collector::{Collector, Place, append as write};
use super::{Options, line, milliseconds, ratio_of};

const ROUNDS: u32 = 40;
const APPENDED: usize = 10;
const PAUSE: Duration = Duration::from_millis(500);
const STARTS: usize = 10;

/// A copy of the tree, with a collector that has read it; all logs.
fn copied(options: &Options) -> anyhow::Result<(Place, Collector, Vec<PathBuf>)> {
    let place = Place::new()?;
    let tree = options.tree.as_ref().context("--tree TREE")?.join("runs");
    let copy = Command::new("cp")
        .arg("-r")
        .arg(&tree)
        .arg(place.runs())
        .status()?;
    ensure!(copy.success(), "{} cannot be copied", tree.display());
    let (collector, _) = Collector::start(&options.program, &place)?;
    collector.catch_up()?;
    let mut logs = Vec::new();
    gather(&place.runs(), &mut logs)?;
    logs.sort();
    Ok((place, collector, logs))
}

fn gather(directory: &Path, logs: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            gather(&entry.path(), logs)?;
        } else if entry
            .path()
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            logs.push(entry.path());
        }
    }
    Ok(())
}

/// Ten files of the tree get a line: the CPU time until they are counted, compared with reading the tree
/// again.
pub fn append(options: &Options) -> anyhow::Result<()> {
    let (_place, collector, logs) = copied(options)?;
    let mut messages = collector.messages()?;
    // Logs that are read, from all over the tree.
    let is_read = |path: &&PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name != "journal.jsonl" && name.ends_with(".jsonl")
    };
    let logs: Vec<_> = logs.iter().filter(is_read).step_by(logs.len() / 100).collect();
    let idle_before = collector.process.cpu()?;
    std::thread::sleep(PAUSE * ROUNDS);
    let idle = collector.process.cpu()?.saturating_sub(idle_before);
    let mut random = fastrand::Rng::with_seed(7);
    let events = collector.events()?;
    let before = collector.process.cpu()?;
    for round in 0..ROUNDS {
        for file in 0..APPENDED {
            let log = logs[random.usize(..logs.len())];
            write(log, &line(&format!("bench-{round}-{file}")))?;
        }
        messages += APPENDED as u64;
        std::thread::sleep(PAUSE);
        while events.try_recv().is_ok() {}
    }
    let took = collector.process.cpu()?.saturating_sub(before);
    collector.wait_for(messages)?;
    let list: Vec<_> = logs.iter().map(|log| log.as_os_str()).collect();
    ensure!(!list.is_empty(), "no logs");
    let began = Instant::now();
    let tree = options.tree.as_ref().context("--tree TREE")?.join("runs");
    let counted = Command::new("sh")
        .args(["-c", "find \"$1\" -name '*.jsonl' -exec cat {} + | wc -l", "sh"])
        .arg(tree)
        .stdout(Stdio::null())
        .status()?;
    ensure!(counted.success(), "wc");
    let again = began.elapsed();
    let one = took.saturating_sub(idle) / ROUNDS;
    println!("{APPENDED} files of the tree appended, {ROUNDS} times, half a second apart");
    println!(
        "CPU time each time: {:.1} ms (bar 20 ms), beside {:.1} ms that half a second of idling takes",
        milliseconds(one),
        milliseconds(idle / ROUNDS)
    );
    println!(
        "reading the tree again with wc -l: {:.0} ms, {:.0} times as much",
        milliseconds(again),
        milliseconds(again) / milliseconds(one).max(0.1)
    );
    collector.stop()
}

/// Prints the median and the longest of some times; returns the median in milliseconds.
fn print(what: &str, mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let (middle, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "{what}: {:.0} ms, at most {:.0} ms",
        milliseconds(middle),
        milliseconds(most)
    );
    milliseconds(middle)
}

/// From the start to ready: after `kill -9` under load, after a clean stop, and with nothing at all.
pub fn restart(options: &Options) -> anyhow::Result<()> {
    let (place, collector, _) = copied(options)?;
    let log = place.log("bench", "a.jsonl")?;
    let ends = Arc::new(AtomicBool::new(false));
    let load = {
        let ends = Arc::clone(&ends);
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || -> anyhow::Result<()> {
                let mut number = 0;
                while !ends.load(Ordering::Relaxed) {
                    write(&log, &line(&format!("load-{number}")))?;
                    number += 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Ok(())
            })?
    };
    let (mut killed, mut stopped, mut empty) = (Vec::new(), Vec::new(), Vec::new());
    let mut collector = Some(collector);
    for start in 0..2 * STARTS {
        let Some(running) = collector.take() else { break };
        std::thread::sleep(Duration::from_millis(300));
        let times = if start % 2 == 0 {
            running.kill()?;
            &mut killed
        } else {
            running.stop()?;
            &mut stopped
        };
        let (started, took) = Collector::start(&options.program, &place)?;
        times.push(took);
        collector = Some(started);
        let nothing = Place::new()?;
        fs::create_dir_all(nothing.runs())?;
        let (started, took) = Collector::start(&options.program, &nothing)?;
        empty.push(took);
        started.stop()?;
    }
    ends.store(true, Ordering::Relaxed);
    load.join().ok().context("the load")??;
    println!(
        "from the start to ready, {STARTS} times each, in turns; the database is {} MiB",
        size_of(&place)? >> 20
    );
    let killed = print("after kill -9 under load (bar 100 ms)", killed);
    let stopped = print("after a clean stop", stopped);
    let empty = print("with nothing", empty);
    println!(
        "ratio of the first: {:.1} to a clean stop, {:.1} to nothing",
        killed / stopped,
        killed / empty
    );
    Ok(())
}

fn size_of(place: &Place) -> anyhow::Result<u64> {
    Ok(File::open(place.db())?.metadata()?.len())
}

/// Bytes of the database for each counted response, after a clean close.
pub fn size(options: &Options) -> anyhow::Result<()> {
    let (place, collector, logs) = copied(options)?;
    let summary = collector.json("/v1/summary")?;
    let counted = |name: &str| summary[name].as_u64().context("a count");
    let responses = counted("messages")? + counted("advisor_calls")?;
    collector.stop()?;
    let bytes = size_of(&place)?;
    let mut logged = 0;
    for log in &logs {
        logged += fs::metadata(log)?.len();
    }
    println!(
        "{responses} responses: {bytes} bytes of database, {:.0} for each (bar 160)",
        ratio_of(bytes) / ratio_of(responses)
    );
    println!(
        "the logs they come from: {logged} bytes, {:.0} times as much",
        ratio_of(logged) / ratio_of(bytes)
    );
    Ok(())
}
