//! 10,000 runs that end at once, in each possible way, and the lines of another run meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::collector::{Collector, Place, append};
use super::still::{RESTING_RUNS, make_runs};
use super::{Options, line, programs, quantile};

/// The run that remains active.
const ON: &str = "on";
/// Interval of its lines. A line that waits does not delay the next ones.
const LINE_EVERY: Duration = Duration::from_millis(20);
/// Lines before and after the ending.
const LINES_AROUND: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Requests at the same time.
const CLIENTS: usize = 16;
const IDLE_STOP: &str = "60s";
/// The runs directory and the active run have fewer.
const WATCHES_LEFT: u64 = 10;
const WAIT_MAX: Duration = Duration::from_mins(10);
type Way = fn(&Path) -> anyhow::Result<()>;
const WAYS: [(&str, Way); 4] = [
    ("moved", moved_away),
    ("replaced", replaced),
    ("idle", idle),
    ("requested", requested),
];

/// All runs end: their directories are moved away one by one, the runs directory is replaced, they have no
/// activity for `runs.idle_stop`, and requests stop and forget them.
pub fn ends(options: &Options) -> anyhow::Result<()> {
    println!(
        "{RESTING_RUNS} runs end, another one gets a line every {} ms",
        LINE_EVERY.as_millis()
    );
    for program in programs(options) {
        println!("{}:", program.display());
        for (name, way) in WAYS {
            if options.only.as_ref().is_none_or(|only| only == name) {
                way(&program)?;
            }
        }
    }
    println!("bars: all ended in 15 s, and 50 ms for the others meanwhile");
    Ok(())
}

fn moved_away(program: &Path) -> anyhow::Result<()> {
    let (place, collector) = started(program, &[])?;
    measure(&place, &collector, "moved away one by one", || {
        let gone = place.runs().with_extension("gone");
        std::fs::create_dir_all(&gone)?;
        for run in 0..RESTING_RUNS {
            let run = format!("r{run}");
            std::fs::rename(place.runs().join(&run), gone.join(&run))?;
        }
        all_stopped(&collector)
    })?;
    collector.stop()
}

/// The other run is not in the runs directory, so it remains active.
fn replaced(program: &Path) -> anyhow::Result<()> {
    let place = Place::new()?;
    make_runs(&place)?;
    let roots = place.0.path().canonicalize()?.display().to_string();
    let collector = settled(program, &place, &[("TOKENTAIL__RUNS__MOUNT_ROOTS", &roots)])?;
    let log = place.beside("on.logs/a.jsonl")?;
    append(&log, &line("on-0"))?;
    let mount = log.parent().context("a directory")?.canonicalize()?;
    let body = serde_json::json!({ "mount": mount }).to_string();
    collector.request("PUT", &format!("/v1/runs/{ON}"), &body)?;
    measure(&place, &collector, "with the runs directory", || {
        std::fs::rename(place.runs(), place.runs().with_extension("gone"))?;
        std::fs::create_dir(place.runs())?;
        all_stopped(&collector)
    })?;
    collector.stop()
}

fn idle(program: &Path) -> anyhow::Result<()> {
    let (place, collector) = started(program, &[("TOKENTAIL__RUNS__IDLE_STOP", IDLE_STOP)])?;
    // Those that were read one after the other become idle one after the other, those of a start together.
    collector.stop()?;
    let collector = settled(program, &place, &[("TOKENTAIL__RUNS__IDLE_STOP", IDLE_STOP)])?;
    let is_first_stopped = || stopped(&collector, 1);
    std::thread::sleep(Duration::from_secs(45));
    measure_from(&place, &collector, "idle for as long as may be", || {
        until(is_first_stopped)?;
        let began = Instant::now();
        all_stopped(&collector)?;
        Ok(began)
    })?;
    collector.stop()
}

fn requested(program: &Path) -> anyhow::Result<()> {
    let (place, collector) = started(program, &[])?;
    measure(&place, &collector, "stopped by requests", || {
        request_all(&collector, "POST", "/stop?wait=true")
    })?;
    measure(&place, &collector, "forgotten by requests", || {
        request_all(&collector, "DELETE", "")
    })?;
    collector.stop()
}

/// A collector that has read the runs and the active one.
fn started(program: &Path, settings: &[(&str, &str)]) -> anyhow::Result<(Place, Collector)> {
    let place = Place::new()?;
    make_runs(&place)?;
    append(&place.log(ON, "a.jsonl")?, &line("on-0"))?;
    let collector = settled(program, &place, settings)?;
    Ok((place, collector))
}

fn settled(program: &Path, place: &Place, settings: &[(&str, &str)]) -> anyhow::Result<Collector> {
    let (collector, _) = Collector::start_with(program, place, settings)?;
    collector.catch_up()?;
    Ok(collector)
}

fn stopped(collector: &Collector, count: usize) -> anyhow::Result<bool> {
    let path = format!("/v1/runs?state=stopped&limit=1&offset={}", count - 1);
    Ok(collector
        .json(&path)?
        .as_array()
        .is_some_and(|runs| !runs.is_empty()))
}

/// Waits until all runs are stopped and their watches removed.
fn all_stopped(collector: &Collector) -> anyhow::Result<()> {
    until(|| {
        let watches = collector.json("/healthz")?["watches"].as_u64();
        Ok(watches.is_some_and(|watches| watches < WATCHES_LEFT) && stopped(collector, RESTING_RUNS)?)
    })
}

fn until(is_done: impl Fn() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    while !is_done()? {
        ensure!(began.elapsed() < WAIT_MAX, "not all runs end");
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Makes a request for each run.
fn request_all(collector: &Collector, method: &str, end: &str) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<()> {
                    loop {
                        let run = next.fetch_add(1, Ordering::Relaxed);
                        if run >= RESTING_RUNS {
                            return Ok(());
                        }
                        collector.request(method, &format!("/v1/runs/r{run}{end}"), "")?;
                    }
                })
            })
            .collect();
        for client in clients {
            client.join().ok().context("a client")??;
        }
        Ok(())
    })
}

fn measure(
    place: &Place,
    collector: &Collector,
    what: &str,
    end: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    measure_from(place, collector, what, || {
        let began = Instant::now();
        end()?;
        Ok(began)
    })
}

/// Measures an ending, which returns its start, and the lines meanwhile.
fn measure_from(
    place: &Place,
    collector: &Collector,
    what: &str,
    end: impl FnOnce() -> anyhow::Result<Instant>,
) -> anyhow::Result<()> {
    let published = collector.published(ON)?;
    let lines = Lines::start(place, collector.run_messages(ON)?)?;
    std::thread::sleep(LINES_AROUND);
    let before = collector.process.cpu()?;
    let began = end()?;
    let ended = Instant::now();
    let cpu = collector.process.cpu()?.saturating_sub(before);
    std::thread::sleep(LINES_AROUND);
    let mut latencies = lines.latencies(&published, began)?;
    latencies.sort_unstable();
    println!(
        "  {what}: ended in {:.1} s, {:.1} s of a processor; {} lines of another run meanwhile: p50 {:.0} ms, p99 {:.0} ms, \
         most {:.0} ms; {} MiB at most",
        (ended - began).as_secs_f64(),
        cpu.as_secs_f64(),
        latencies.len(),
        quantile(&latencies, 500),
        quantile(&latencies, 990),
        quantile(&latencies, 1000),
        collector.process.memory()?.1
    );
    Ok(())
}

/// A thread that appends lines at an interval.
struct Lines {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<Instant>>>,
    /// Lines of the run before the first.
    before: u64,
}

impl Lines {
    fn start(place: &Place, before: u64) -> anyhow::Result<Self> {
        let beside = place.beside("on.logs/a.jsonl")?;
        let log = if beside.exists() {
            beside
        } else {
            place.log(ON, "a.jsonl")?
        };
        let ends = Arc::new(AtomicBool::new(false));
        let its = Arc::clone(&ends);
        let thread = std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || {
                let began = Instant::now();
                let (mut at, mut number) = (Vec::new(), 0);
                while !its.load(Ordering::Relaxed) {
                    at.push(Instant::now());
                    append(&log, &line(&format!("on-{}", before + u64::from(number))))?;
                    number += 1;
                    std::thread::sleep(
                        (began + LINE_EVERY * number).saturating_duration_since(Instant::now()),
                    );
                }
                Ok(at)
            })?;
        Ok(Self { ends, thread, before })
    }

    /// Time that the lines since `from` waited until they were published.
    fn latencies(self, published: &Receiver<(Instant, u64)>, from: Instant) -> anyhow::Result<Vec<Duration>> {
        self.ends.store(true, Ordering::Relaxed);
        let lines = self.thread.join().ok().context("the lines")??;
        let mut latencies = Vec::new();
        let mut waiting = (self.before + 1..).zip(lines).peekable();
        while waiting.peek().is_some() {
            let (heard, messages) = published
                .recv_timeout(WAIT_MAX)
                .context("no event has the line")?;
            while let Some((_, at)) = waiting.next_if(|(number, _)| *number <= messages) {
                if at >= from {
                    latencies.push(heard.saturating_duration_since(at));
                }
            }
        }
        ensure!(!latencies.is_empty(), "no line came meanwhile");
        Ok(latencies)
    }
}
