//! What it costs when nothing happens.

use std::time::Duration;

use super::collector::{Collector, Place, append, tail};
use super::{Options, line, milliseconds};

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
