//! What it costs when nothing happens.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::collector::{Collector, Place, append, tail};
use super::{Options, line, milliseconds, quantile};

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
    // Quiet runs are looked at less often after a minute.
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
const RESTING_RUNS: usize = 10_000;
const RESTING_DIRECTORIES: usize = 3;
/// How long it rests before that is measured, with `--long` until all are looked at as rarely as they ever are; and for
/// how long it is measured.
const REST: Duration = Duration::from_mins(2);
const REST_LONG: Duration = Duration::from_mins(25);
const REST_WATCHED: Duration = Duration::from_mins(1);
/// Files of sessions that are over, and the runs they are in.
const HISTORY_FILES: usize = 40_000;
const HISTORY_RUNS: usize = 400;
const WAIT_MAX: Duration = Duration::from_mins(10);
/// After how many of its lines the others are counted: that list is long.
const COUNTED_EVERY: usize = 10;
/// Pause between two lines of the run that goes on while the others are stopped.
const LINE_EVERY: Duration = Duration::from_millis(100);

/// 10,000 runs that rest, and the moment in which all of them end. With a program BEFORE in the environment, that one too.
pub fn rest(options: &Options) -> anyhow::Result<()> {
    let before = std::env::var_os("BEFORE").map(std::path::PathBuf::from);
    let programs = std::iter::once(options.program.clone()).chain(before);
    println!("{RESTING_RUNS} runs of {} directories", RESTING_DIRECTORIES + 2);
    for program in programs {
        println!("{}:", program.display());
        rest_of(&program, if options.long { REST_LONG } else { REST })?;
        history_of(&program)?;
    }
    println!(
        "bars: 0.5 %, 96 MiB; all ended in 15 s, and 50 ms for the others meanwhile; {HISTORY_FILES} files of history: 1 s, 0.5 %"
    );
    Ok(())
}

/// A start beside many files that were read before and do not grow any more, and what they cost afterwards.
fn history_of(program: &Path) -> anyhow::Result<()> {
    let place = Place::new()?;
    for file in 0..HISTORY_FILES {
        let log = place.log(&format!("r{}", file % HISTORY_RUNS), &format!("{file}.jsonl"))?;
        append(&log, &line(&file.to_string()))?;
    }
    let (collector, _) = Collector::start(program, &place)?;
    collector.catch_up()?;
    collector.stop()?;
    let (collector, ready) = Collector::start(program, &place)?;
    collector.catch_up()?;
    let share = cpu_share(&collector, REST)?;
    println!(
        "  {HISTORY_FILES} files of history in {HISTORY_RUNS} runs: ready after {:.0} ms; at rest {share:.2} % of a processor",
        milliseconds(ready)
    );
    collector.stop()
}

/// The share of a processor in percent, after a rest.
fn cpu_share(collector: &Collector, rest: Duration) -> anyhow::Result<f64> {
    std::thread::sleep(rest);
    let before = collector.process.cpu()?;
    std::thread::sleep(REST_WATCHED);
    let used = collector.process.cpu()?.saturating_sub(before);
    Ok(milliseconds(used) / milliseconds(REST_WATCHED) * 100.0)
}

fn rest_of(program: &Path, rest: Duration) -> anyhow::Result<()> {
    let place = Place::new()?;
    for run in 0..RESTING_RUNS {
        for directory in 0..RESTING_DIRECTORIES {
            let log = place.log(&format!("r{run}"), &format!("d{directory}/a.jsonl"))?;
            append(&log, &line(&format!("{run}-{directory}")))?;
        }
    }
    let on = place.log("on", "a.jsonl")?;
    append(&on, &line("on"))?;
    let (collector, ready) = Collector::start(program, &place)?;
    collector.catch_up()?;
    let share = cpu_share(&collector, rest)?;
    let (now, most) = collector.process.memory()?;
    println!(
        "  ready after {:.0} ms; at rest {share:.2} % of a processor, {now} MiB resident, {most} MiB at most",
        milliseconds(ready)
    );
    let events = collector.events()?;
    let began = Instant::now();
    let gone = place.runs().with_extension("gone");
    std::fs::create_dir_all(&gone)?;
    for run in 0..RESTING_RUNS {
        let run = format!("r{run}");
        std::fs::rename(place.runs().join(&run), gone.join(&run))?;
    }
    // One goes on.
    let mut latencies = Vec::new();
    let mut number = 0;
    let ended = loop {
        number += 1;
        let at = Instant::now();
        append(&on, &line(&format!("on-{number}")))?;
        loop {
            let (heard, run) = events.recv_timeout(WAIT_MAX).context("no event has the line")?;
            if run == "on" && heard > at {
                latencies.push(heard - at);
                break;
            }
        }
        std::thread::sleep(LINE_EVERY);
        if number % COUNTED_EVERY != 0 {
            continue;
        }
        let runs = collector.json("/v1/runs?state=stopped")?;
        if runs.as_array().is_some_and(|runs| runs.len() >= RESTING_RUNS) {
            break began.elapsed();
        }
        anyhow::ensure!(began.elapsed() < WAIT_MAX, "not all runs end");
    };
    latencies.sort_unstable();
    println!(
        "  all of them gone: ended in {:.1} s; lines of another run meanwhile: p50 {:.0} ms, p99 {:.0} ms, most {:.0} ms",
        ended.as_secs_f64(),
        quantile(&latencies, 500),
        quantile(&latencies, 990),
        quantile(&latencies, 1000)
    );
    collector.stop()
}
