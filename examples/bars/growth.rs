//! Costs of a longer history and of more runs.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::collector::{Collector, Place, append};
use super::{Options, line, line_at, milliseconds, ratio_of};

const APPENDS: u64 = 400;
/// Lines of each append.
const LINES: u64 = 25;
/// Time until it is at rest, and time of the measurement at rest.
const SETTLE: Duration = Duration::from_secs(4);
const REST: Duration = Duration::from_secs(10);
const MODELS: [&str; 4] = [
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-haiku-5",
    "claude-fable-5",
];
/// Runs of the responses, and number of their days.
const RUNS: u64 = 100;
const DAYS: u64 = 30;
/// Number of times each query is made.
const ASKED: usize = 20;
const QUERIES: [&str; 14] = [
    "/v1/summary",
    "/v1/runs",
    "/v1/runs/r7",
    "/v1/quota",
    "/v1/usage?group_by=day",
    "/v1/usage?group_by=run",
    "/v1/usage?group_by=model",
    "/v1/usage?group_by=account",
    "/api/usage",
    "/api/usage/daily?days=30",
    "/api/usage/runs/r7",
    "/api/runs",
    "/metrics",
    "/healthz",
];

/// Cost of lines that are appended while the collector watches.
struct Cost {
    /// Microseconds of CPU time for each line, beyond the use at rest.
    cpu: f64,
    /// Microseconds that each line waits until it is counted.
    wall: f64,
    /// CPU time at rest, in parts of a processor.
    idle: f64,
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:.0} us of CPU and {:.0} us of waiting for each appended line, beside {:.2} % of a processor at rest",
            self.cpu,
            self.wall,
            self.idle * 100.0
        )
    }
}

fn cost_of_lines(collector: &Collector, place: &Place) -> anyhow::Result<Cost> {
    // After the start each file is checked regularly, until events arrive.
    append(&place.log("bench", "a.jsonl")?, &line("bench-first"))?;
    std::thread::sleep(SETTLE);
    let before = collector.process.cpu()?;
    std::thread::sleep(REST);
    let idle = collector.process.cpu()?.saturating_sub(before).as_secs_f64() / REST.as_secs_f64();
    let log = place.log("bench", "a.jsonl")?;
    let mut messages = collector.messages()?;
    let (cpu, began) = (collector.process.cpu()?, Instant::now());
    let events = collector.events()?;
    for round in 0..APPENDS {
        let text: String = (0..LINES)
            .map(|number| line(&format!("bench-{round}-{number}")))
            .collect();
        append(&log, &text)?;
        // Published: the next append is another commit.
        events.recv_timeout(Duration::from_secs(30)).context("no event")?;
    }
    let (cpu, wall) = (collector.process.cpu()?.saturating_sub(cpu), began.elapsed());
    messages += APPENDS * LINES;
    collector.wait_for(messages)?;
    let each = |seconds: f64| seconds * 1e6 / ratio_of(APPENDS * LINES);
    let wall = wall.as_secs_f64();
    Ok(Cost {
        cpu: each(cpu.as_secs_f64() - idle * wall),
        wall: each(wall),
        idle,
    })
}

fn measured(options: &Options, place: &Place, what: &str) -> anyhow::Result<f64> {
    let (collector, _) = Collector::start(&options.program, place)?;
    collector.catch_up()?;
    let cost = cost_of_lines(&collector, place)?;
    let memory = collector.process.memory()?.1;
    collector.stop()?;
    let (collector, ready) = Collector::start(&options.program, place)?;
    println!(
        "{what}: {cost}, {memory} MiB at most, answers again in {:.0} ms, ready in {:.0} ms",
        milliseconds(collector.answered),
        milliseconds(ready)
    );
    collector.stop()?;
    Ok(cost.cpu)
}

/// Longer and longer logs.
pub fn history(options: &Options) -> anyhow::Result<()> {
    let sizes: &[&str] = if options.long {
        &["1M", "100M", "1G", "10G"]
    } else {
        &["1M", "100M", "1G"]
    };
    let mut costs = Vec::new();
    for size in sizes {
        let place = Place::new()?;
        let corpus = options.program.with_file_name("examples").join("corpus");
        let made = Command::new(corpus)
            .args(["--bytes", size, "--seed", "7"])
            .arg(place.0.path())
            .stdout(Stdio::null())
            .status()?;
        ensure!(made.success(), "the corpus");
        costs.push(measured(options, &place, &format!("{size} of history"))?);
    }
    println!(
        "ratio of the longest to the shortest: {:.2}",
        costs[costs.len() - 1] / costs[0]
    );
    Ok(())
}

/// More and more runs.
pub fn runs(options: &Options) -> anyhow::Result<()> {
    let mut costs = Vec::new();
    for count in [10, 1000, 10_000] {
        let place = Place::new()?;
        for run in 0..count {
            append(
                &place.log(&format!("r{run}"), "a.jsonl")?,
                &line(&format!("first-{run}")),
            )?;
        }
        costs.push(measured(options, &place, &format!("{count} runs"))?);
    }
    println!(
        "ratio of the most to the fewest: {:.2}",
        costs[costs.len() - 1] / costs[0]
    );
    Ok(())
}

/// A log of this number of small responses over [`RUNS`] runs and [`DAYS`] days.
fn write_responses(place: &Place, responses: u64) -> anyhow::Result<()> {
    for run in 0..RUNS {
        let mut log = BufWriter::new(File::create(place.log(&format!("r{run}"), "a.jsonl")?)?);
        for number in 0..responses / RUNS {
            let (day, hour) = (1 + number % DAYS, number / DAYS % 24);
            let (minute, second) = (number / 720 % 60, number / 43_200 % 60);
            let time = format!("2026-09-{day:02}T{hour:02}:{minute:02}:{second:02}.000Z");
            let model = MODELS[usize::try_from(number % 4)?];
            log.write_all(line_at(&format!("{run}-{number}"), &time, model).as_bytes())?;
        }
        log.flush()?;
    }
    Ok(())
}

/// Duration of each query.
fn ask_all(collector: &Collector) -> anyhow::Result<()> {
    let mut slowest: f64 = 0.0;
    for query in QUERIES {
        let mut times = Vec::new();
        for _ in 0..ASKED {
            let began = Instant::now();
            let answer = collector.ask(query)?;
            times.push(began.elapsed());
            ensure!(answer.starts_with("HTTP/1.0 200"), "{query}: {answer}");
        }
        times.sort_unstable();
        let (middle, most) = (milliseconds(times[ASKED / 2]), milliseconds(times[ASKED - 1]));
        slowest = slowest.max(middle);
        println!("  {query}: {middle:.2} ms, at most {most:.2} ms");
    }
    println!("  the slowest question takes {slowest:.2} ms (bar 10 ms)");
    Ok(())
}

/// Databases of more and more small responses: reading them, the queries, appended lines, the start after it.
pub fn responses(options: &Options) -> anyhow::Result<()> {
    let counts: &[u64] = if options.long {
        &[5000, 50_000, 500_000, 5_000_000]
    } else {
        &[5000, 50_000, 500_000]
    };
    let mut costs = Vec::new();
    for count in counts {
        let place = Place::new()?;
        write_responses(&place, *count)?;
        let (collector, _) = Collector::start(&options.program, &place)?;
        let began = Instant::now();
        collector.catch_up()?;
        let (memory, took) = (collector.process.memory()?.1, began.elapsed().as_secs_f64());
        println!("{count} responses read in {took:.1} s, {memory} MiB at most");
        ask_all(&collector)?;
        collector.stop()?;
        let bytes = std::fs::metadata(place.db())?.len();
        let (collector, ready) = Collector::start(&options.program, &place)?;
        let (ready, memory) = (milliseconds(ready), collector.process.memory()?);
        println!(
            "  answers again in {:.0} ms, ready in {ready:.0} ms, {} MiB at most; {:.0} bytes of database for each response",
            milliseconds(collector.answered),
            memory.1,
            ratio_of(bytes) / ratio_of(*count)
        );
        let cost = cost_of_lines(&collector, &place)?;
        println!("  {cost}");
        costs.push(cost.cpu);
        collector.stop()?;
    }
    println!(
        "ratio of the most to the fewest: {:.2}",
        costs[costs.len() - 1] / costs[0]
    );
    Ok(())
}

/// History, runs and responses, each from a small to a large number.
pub fn growth(options: &Options) -> anyhow::Result<()> {
    history(options)?;
    runs(options)?;
    responses(options)
}
