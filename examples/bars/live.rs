//! From an append to its frame in the stream of events.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::collector::{Collector, Place, append, tail};
use super::{Options, line, milliseconds, quantile};

const FILES: usize = 50;
const APPENDS: usize = 1000;
const NEW_DIRECTORIES: usize = 300;
/// Maximum pause between two appends, in milliseconds.
const PAUSE_MAX_MS: u64 = 10;
const WAIT_MAX: Duration = Duration::from_secs(10);

fn heard(events: &Receiver<(Instant, String)>, run: &str) -> anyhow::Result<Instant> {
    loop {
        let (at, of) = events
            .recv_timeout(WAIT_MAX)
            .with_context(|| format!("no event of {run}"))?;
        if of == run {
            return Ok(at);
        }
    }
}

/// 50 live files: the time until an append is committed and published, and until `tail -F` prints it; and a
/// new directory with its first line.
pub fn live(options: &Options) -> anyhow::Result<()> {
    let place = Place::new()?;
    let mut logs = Vec::new();
    for number in 0..FILES {
        let log = place.log(&format!("r{number}"), "a.jsonl")?;
        append(&log, &line(&format!("first-{number}")))?;
        logs.push(log);
    }
    let (collector, _) = Collector::start(&options.program, &place)?;
    collector.catch_up()?;
    let events = collector.events()?;
    let (_tail, printed) = tail(&logs)?;
    let mut random = fastrand::Rng::with_seed(7);
    // Both show a line before the first that is measured.
    std::thread::sleep(Duration::from_secs(1));
    let (mut published, mut tailed) = (Vec::new(), Vec::new());
    for number in 0..APPENDS {
        let run = random.usize(..FILES);
        let text = line(&format!("live-{number}"));
        let began = Instant::now();
        append(&logs[run], &text)?;
        tailed.push(printed.recv_timeout(WAIT_MAX).context("tail prints nothing")? - began);
        published.push(heard(&events, &format!("r{run}"))? - began);
        std::thread::sleep(Duration::from_millis(random.u64(..PAUSE_MAX_MS)));
    }
    let mut new = Vec::new();
    for number in 0..NEW_DIRECTORIES {
        let run = format!("new{number}");
        let text = line(&run);
        let began = Instant::now();
        append(&place.log(&run, "deep/er/a.jsonl")?, &text)?;
        new.push(heard(&events, &run)? - began);
        std::thread::sleep(Duration::from_millis(random.u64(..PAUSE_MAX_MS)));
    }
    for samples in [&mut published, &mut tailed, &mut new] {
        samples.sort_unstable();
    }
    let print = |what: &str, sorted: &[Duration], bar: &str| {
        println!(
            "{what}: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms{bar}",
            quantile(sorted, 500),
            quantile(sorted, 990),
            milliseconds(sorted[sorted.len() - 1])
        );
    };
    println!("{FILES} live files, {APPENDS} appends, each seen by both");
    print(
        "append to committed and published",
        &published,
        " (bars 8 and 25 ms)",
    );
    print("append to printed by tail -F, which keeps nothing", &tailed, "");
    println!(
        "ratio: p50 {:.1}, p99 {:.1}",
        quantile(&published, 500) / quantile(&tailed, 500),
        quantile(&published, 990) / quantile(&tailed, 990)
    );
    print(
        "new run, directories and first line to published",
        &new,
        " (bar p99 100 ms)",
    );
    println!(
        "ratio to an append: p99 {:.1}",
        quantile(&new, 990) / quantile(&published, 990)
    );
    collector.stop()
}
