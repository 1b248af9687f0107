//! Costs while nothing happens.

use std::path::Path;
use std::time::Duration;

use super::collector::{Collector, Place, append, tail};
use super::{Options, line, milliseconds, programs};

const RUNS: usize = 500;
const FILES: usize = 10;
const SETTLE: Duration = Duration::from_secs(75);
const WATCH: Duration = Duration::from_mins(1);

/// 5,000 idle files in 500 runs, beside `tail -F` on the same files.
pub fn idle(options: &Options) -> anyhow::Result<()> {
    let place = Place::new()?;
    let mut logs = Vec::new();
    for run in 0..RUNS {
        for file in 0..FILES {
            let log = place.log(&format!("r{run}"), &format!("{file}.jsonl"))?;
            append(&log, &line(&format!("{run}-{file}")))?;
            logs.push(log);
        }
    }
    let (collector, _) = Collector::start(&options.program, &place)?;
    collector.catch_up()?;
    let (tail, _printed) = tail(&logs)?;
    // Quiet runs are scanned less often after a minute.
    std::thread::sleep(SETTLE);
    let before = (collector.process.cpu()?, tail.cpu()?);
    std::thread::sleep(WATCH);
    let after = (collector.process.cpu()?, tail.cpu()?);
    let share = |before: Duration, after: Duration| {
        milliseconds(after.saturating_sub(before)) / milliseconds(WATCH) * 100.0
    };
    println!(
        "{} idle files in {RUNS} runs, {} s of it",
        logs.len(),
        WATCH.as_secs()
    );
    for (what, process, cpu) in [
        ("tokentail", &collector.process, share(before.0, after.0)),
        ("tail -F", &tail, share(before.1, after.1)),
    ] {
        let (now, most) = process.memory()?;
        println!(
            "{what}: {cpu:.2} % of a processor, {now} MiB resident, {most} MiB at most, {} descriptors",
            process.descriptors()?
        );
    }
    println!("bars: 0.5 %, 40 MiB, 64 descriptors");
    collector.stop()
}

/// Resting runs and the directories of each, so that there are some 50,000 watches.
pub const RESTING_RUNS: usize = 10_000;
const RESTING_DIRECTORIES: usize = 3;
/// Time at rest before the measurement, with `--long` until all are scanned at the longest interval; and time
/// of the measurement.
const REST: Duration = Duration::from_mins(2);
const REST_LONG: Duration = Duration::from_mins(25);
const REST_WATCHED: Duration = Duration::from_mins(1);
/// Files of finished sessions, and their runs.
const HISTORY_FILES: usize = 40_000;
const HISTORY_RUNS: usize = 400;
/// Starts with everything read before.
const STARTS: usize = 3;

/// 10,000 runs that rest. With a program BEFORE in the environment, that one too.
pub fn rest(options: &Options) -> anyhow::Result<()> {
    println!("{RESTING_RUNS} runs of {} directories", RESTING_DIRECTORIES + 2);
    for program in programs(options) {
        println!("{}:", program.display());
        rest_of(&program, if options.long { REST_LONG } else { REST })?;
    }
    println!("bars: 0.5 %, 96 MiB");
    Ok(())
}

/// Many files that were read before and no longer grow.
pub fn files(options: &Options) -> anyhow::Result<()> {
    println!("{HISTORY_FILES} files of history in {HISTORY_RUNS} runs");
    for program in programs(options) {
        println!("{}:", program.display());
        history_of(&program)?;
    }
    println!("bars: 1 s, 0.5 %");
    Ok(())
}

/// A start beside many files that were read before and no longer grow, and their costs afterwards.
fn history_of(program: &Path) -> anyhow::Result<()> {
    let place = Place::new()?;
    for file in 0..HISTORY_FILES {
        let log = place.log(&format!("r{}", file % HISTORY_RUNS), &format!("{file}.jsonl"))?;
        append(&log, &line(&file.to_string()))?;
    }
    let (collector, first) = Collector::start(program, &place)?;
    collector.catch_up()?;
    collector.stop()?;
    println!("  ready the first time after {:.0} ms", milliseconds(first));
    let mut times = Vec::new();
    for _ in 1..STARTS {
        let (collector, ready) = Collector::start(program, &place)?;
        times.push(milliseconds(ready));
        collector.catch_up()?;
        collector.stop()?;
    }
    let cold = drop_caches();
    let (collector, ready) = Collector::start(program, &place)?;
    if cold {
        println!("  ready with empty caches after {:.0} ms", milliseconds(ready));
    } else {
        println!("  the caches cannot be emptied: that takes root");
    }
    collector.catch_up()?;
    let share = cpu_share(&collector, REST)?;
    let (now, most) = collector.process.memory()?;
    println!(
        "  ready again after {times:.0?} ms; at rest {share:.2} % of a processor, {now} MiB resident, {most} MiB at most"
    );
    collector.stop()
}

/// Empties the page cache and the caches of directories; `false` if that is not allowed.
fn drop_caches() -> bool {
    let synced = std::process::Command::new("sync").status();
    synced.is_ok() && std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

/// The share of a processor in percent, after a rest.
fn cpu_share(collector: &Collector, rest: Duration) -> anyhow::Result<f64> {
    std::thread::sleep(rest);
    let before = collector.process.cpu()?;
    std::thread::sleep(REST_WATCHED);
    let used = collector.process.cpu()?.saturating_sub(before);
    Ok(milliseconds(used) / milliseconds(REST_WATCHED) * 100.0)
}

/// The resting runs.
pub fn make_runs(place: &Place) -> anyhow::Result<()> {
    for run in 0..RESTING_RUNS {
        for directory in 0..RESTING_DIRECTORIES {
            let log = place.log(&format!("r{run}"), &format!("d{directory}/a.jsonl"))?;
            append(&log, &line(&format!("{run}-{directory}")))?;
        }
    }
    Ok(())
}

fn rest_of(program: &Path, rest: Duration) -> anyhow::Result<()> {
    let place = Place::new()?;
    make_runs(&place)?;
    let (collector, first) = Collector::start(program, &place)?;
    collector.catch_up()?;
    let share = cpu_share(&collector, rest)?;
    let (now, most) = collector.process.memory()?;
    println!(
        "  ready the first time after {:.0} ms; at rest {share:.2} % of a processor, {now} MiB resident, {most} MiB at most",
        milliseconds(first)
    );
    collector.stop()?;
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let (collector, ready) = Collector::start(program, &place)?;
        times.push(milliseconds(ready));
        collector.catch_up()?;
        let (now, most) = collector.process.memory()?;
        println!("  after another start {now} MiB resident, {most} MiB at most");
        collector.stop()?;
    }
    println!("  ready again after {times:.0?} ms");
    Ok(())
}
