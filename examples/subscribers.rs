//! Load: many subscribers of the stream of events, some of which never read, while many runs write.
//!
//! usage: subscribers [PROGRAM] [SECONDS]
//!
//! Starts PROGRAM (default `target/release/tokentail`) in a directory of its own, 200 subscribers over the
//! control socket, of which 20 never read, and 50 runs that append 20 lines a second each. Prints the time
//! from the append to the event as ten of the readers receive it, each for all runs, and the collector's
//! memory before and after. Exits 1 if a reader did not receive everything exactly.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

const SUBSCRIBERS: usize = 200;
const NEVER_READ: usize = 20;
/// Readers that check their events; the others only receive them.
const MEASURING: usize = 10;
const RUNS: usize = 50;
const LINES_PER_SECOND: u32 = 20;
/// Maximum wait for a start, and for the last events.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Maximum length of a checked event, in bytes.
const EVENT_BYTES_MAX: usize = 1 << 20;

/// Time at which each line of each run was appended.
type Appended = Vec<Mutex<Vec<Instant>>>;

struct Collector(Child);

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let program = words
        .next()
        .map_or("target/release/tokentail".into(), PathBuf::from);
    let seconds: u32 = match words.next() {
        Some(word) => word.to_string_lossy().parse().context("SECONDS is a number")?,
        None => 20,
    };
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("t.sock");
    let runs: Vec<PathBuf> = (0..RUNS)
        .map(|run| directory.path().join(format!("runs/r{run}/mount")))
        .collect();
    for mount in &runs {
        std::fs::create_dir_all(mount)?;
    }
    let collector = Command::new(&program)
        .arg("serve")
        .arg("--runs-dir")
        .arg(directory.path().join("runs"))
        .arg("--db")
        .arg(directory.path().join("t.redb"))
        .arg("--socket")
        .arg(&socket)
        .env("TOKENTAIL__HTTP__LISTEN", "off")
        .env("TOKENTAIL__LOG__LEVEL", "warn")
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let collector = Collector(collector);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(load(&collector, &socket, &runs, seconds))
}

async fn load(collector: &Collector, socket: &Path, runs: &[PathBuf], seconds: u32) -> anyhow::Result<()> {
    tokio::time::timeout(WAIT_MAX, ready(socket))
        .await
        .context("the collector is not ready")?;
    let lines = seconds * LINES_PER_SECOND;
    let appended: &Appended = Box::leak(Box::new((0..RUNS).map(|_| Mutex::default()).collect()));
    let mut stuck = Vec::new();
    for _ in 0..NEVER_READ {
        stuck.push(subscribe(socket).await?);
    }
    let mut taking = tokio::task::JoinSet::new();
    let mut measuring = tokio::task::JoinSet::new();
    for number in NEVER_READ..SUBSCRIBERS {
        let stream = subscribe(socket).await?;
        if number < NEVER_READ + MEASURING {
            measuring.spawn(measure(stream, appended, lines));
        } else {
            taking.spawn(take(stream));
        }
    }
    let before = memory(collector)?;
    let started = Instant::now();
    let period = Duration::from_secs(1) / LINES_PER_SECOND;
    let mut files = Vec::new();
    for mount in runs {
        files.push(std::fs::File::create(mount.join("a.jsonl"))?);
    }
    for line in 0..lines {
        for (run, file) in files.iter_mut().enumerate() {
            // Spread over the period, as independent runs are.
            let due = period * line + period * u32::try_from(run)? / u32::try_from(RUNS)?;
            tokio::time::sleep_until((started + due).into()).await;
            let text = text(run, line);
            appended[run].lock().expect("nobody panics").push(Instant::now());
            file.write_all(text.as_bytes())?;
        }
    }
    let mut latencies = Vec::new();
    let heard = async {
        while let Some(one) = measuring.join_next().await {
            latencies.extend(one??);
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(WAIT_MAX, heard)
        .await
        .context("not everything was heard")??;
    let after = memory(collector)?;
    latencies.sort_unstable();
    let share = |per_mille: usize| latencies[(latencies.len() - 1) * per_mille / 1000];
    println!(
        "{SUBSCRIBERS} subscribers, {NEVER_READ} never read; {RUNS} runs, {LINES_PER_SECOND} lines/s each, {seconds} s; {MEASURING} readers measured"
    );
    println!(
        "append to event: p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, most {:.1} ms ({} samples)",
        share(500).as_secs_f64() * 1e3,
        share(990).as_secs_f64() * 1e3,
        share(999).as_secs_f64() * 1e3,
        share(1000).as_secs_f64() * 1e3,
        latencies.len()
    );
    println!(
        "memory of the collector: {} KiB before, {} KiB after, {} KiB at most",
        before.0, after.0, after.1
    );
    let (mut cut_off, mut gaps) = (0, 0);
    for stream in stuck {
        let (ended, gap) = drain(stream).await;
        cut_off += usize::from(ended);
        gaps += usize::from(gap);
    }
    println!("of those who never read {cut_off} were cut off and {gaps} had a gap");
    Ok(())
}

/// Reads the queue of a subscriber that never read: returns whether the stream had ended, and whether a gap
/// was reported.
async fn drain(mut stream: UnixStream) -> (bool, bool) {
    let (mut text, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        match tokio::time::timeout(Duration::from_millis(500), stream.read(&mut bytes)).await {
            Ok(Ok(count)) if count > 0 && text.len() <= EVENT_BYTES_MAX => {
                text.extend_from_slice(&bytes[..count]);
            }
            ended => {
                let gap = String::from_utf8_lossy(&text).contains("event: gap");
                return (ended.is_ok_and(|read| read.is_ok_and(|count| count == 0)), gap);
            }
        }
    }
}

/// Waits until the collector reports that it is ready.
async fn ready(socket: &Path) {
    loop {
        if let Ok(mut stream) = UnixStream::connect(socket).await {
            let mut answer = String::new();
            let asked = stream
                .write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")
                .await;
            if asked.is_ok() && stream.read_to_string(&mut answer).await.is_ok() && answer.contains(" 200 ") {
                return;
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn subscribe(socket: &Path) -> anyhow::Result<UnixStream> {
    let mut stream = UnixStream::connect(socket).await?;
    stream
        .write_all(b"GET /v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await?;
    Ok(stream)
}

/// Reads everything that arrives.
async fn take(mut stream: UnixStream) {
    let mut bytes = vec![0; 64 << 10];
    while stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {}
}

/// Time from the append of each line of each run until it was received.
async fn measure(
    mut stream: UnixStream,
    appended: &'static Appended,
    lines: u32,
) -> anyhow::Result<Vec<Duration>> {
    let mut heard = vec![0usize; RUNS];
    let mut latencies = Vec::new();
    let (mut text, mut bytes) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let count = stream.read(&mut bytes).await?;
        ensure!(count > 0, "the stream ended");
        let now = Instant::now();
        text.extend_from_slice(&bytes[..count]);
        ensure!(text.len() <= EVENT_BYTES_MAX, "an event without an end");
        let Some(end) = text.windows(2).rposition(|pair| pair == b"\n\n") else {
            continue;
        };
        let rest = text.split_off(end + 2);
        let events = String::from_utf8(std::mem::replace(&mut text, rest))?;
        for event in events.split("\n\n") {
            if event.contains("event: gap") {
                bail!("a reader was too slow");
            }
            let Some((_, data)) = event.split_once("event: usage\ndata: ") else {
                continue;
            };
            let document: serde_json::Value = serde_json::from_str(data)?;
            let run: usize = document["run"]
                .as_str()
                .and_then(|run| run[1..].parse().ok())
                .context("a run")?;
            let messages = usize::try_from(document["totals"]["messages"].as_u64().context("messages")?)?;
            let tokens = document["totals"]["output_tokens"].as_u64().context("tokens")?;
            ensure!(
                tokens == messages as u64 * 7,
                "{messages} messages have {tokens} tokens"
            );
            let appended = appended[run].lock().expect("nobody panics");
            for at in &appended[heard[run]..messages] {
                latencies.push(now.saturating_duration_since(*at));
            }
            heard[run] = messages;
        }
        if heard.iter().all(|heard| *heard == lines as usize) {
            return Ok(latencies);
        }
    }
}

fn text(run: usize, line: u32) -> String {
    format!(
        "{{\"type\":\"assistant\",\"uuid\":\"u-{run}-{line}\",\"requestId\":\"req_{run}_{line}\",\"sessionId\":\"s\",\
         \"timestamp\":\"2026-10-05T09:00:00.000Z\",\"message\":{{\"id\":\"msg_{run}_{line}\",\"model\":\"claude-opus-5\",\
         \"role\":\"assistant\",\"usage\":{{\"input_tokens\":10,\"output_tokens\":7}}}}}}\n"
    )
}

/// Resident memory now and at most, in KiB.
fn memory(collector: &Collector) -> anyhow::Result<(u64, u64)> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", collector.0.id()))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.trim().trim_end_matches(" kB").trim().parse().ok())
    };
    Ok((
        field("VmRSS:").context("VmRSS")?,
        field("VmHWM:").context("VmHWM")?,
    ))
}
