//! The program under measurement, started in a directory of its own.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

/// Maximum wait for any condition.
const WAIT_MAX: Duration = Duration::from_mins(10);
const EVENTS_WAITING_MAX: usize = 1 << 16;
/// Ticks a second in which the kernel counts CPU time.
const TICKS: u64 = 100;

/// The directory of a collector.
pub struct Place(pub tempfile::TempDir);

impl Place {
    /// Below the target directory, so that it is on a disk.
    pub fn new() -> anyhow::Result<Self> {
        fs::create_dir_all("target/bars")?;
        Ok(Self(tempfile::tempdir_in("target/bars")?))
    }

    pub fn runs(&self) -> PathBuf {
        self.0.path().join("runs")
    }

    pub fn db(&self) -> PathBuf {
        self.0.path().join("t.redb")
    }

    fn socket(&self) -> PathBuf {
        self.0.path().join("s")
    }

    /// A file outside the runs directory; its directory is made.
    pub fn beside(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().context("a directory")?)?;
        Ok(path)
    }

    /// A log of a run; its directories are made.
    pub fn log(&self, run: &str, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.runs().join(run).join("mount").join(name);
        fs::create_dir_all(path.parent().context("a directory")?)?;
        Ok(path)
    }
}

pub fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = File::options().append(true).create(true).open(path)?;
    Ok(file.write_all(text.as_bytes())?)
}

/// A process that ends with this.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn file(&self, name: &str) -> anyhow::Result<String> {
        Ok(fs::read_to_string(format!("/proc/{}/{name}", self.0.id()))?)
    }

    /// CPU time taken until now, in the kernel's ticks.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = self.file("stat")?;
        let (_, fields) = stat.rsplit_once(')').context("stat")?;
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap_or(0)).sum();
        Ok(Duration::from_millis(ticks * 1000 / TICKS))
    }

    /// Resident memory now and at most, in MiB.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = self.file("status")?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok()
        };
        let now = field("VmRSS:").context("VmRSS")?;
        Ok((now >> 10, field("VmHWM:").context("VmHWM")? >> 10))
    }

    pub fn descriptors(&self) -> anyhow::Result<usize> {
        Ok(fs::read_dir(format!("/proc/{}/fd", self.0.id()))?.count())
    }
}

/// A running collector.
pub struct Collector {
    pub process: Process,
    /// Time until it answered from its database.
    pub answered: Duration,
    socket: PathBuf,
}

impl Collector {
    /// Starts it; measures the time until it was ready.
    pub fn start(program: &Path, place: &Place) -> anyhow::Result<(Self, Duration)> {
        Self::start_with(program, place, &[])
    }

    /// The same with settings in the environment.
    pub fn start_with(
        program: &Path,
        place: &Place,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<(Self, Duration)> {
        let began = Instant::now();
        let child = Command::new(program)
            .arg("serve")
            .arg("--runs-dir")
            .arg(place.runs())
            .arg("--db")
            .arg(place.db())
            .arg("--socket")
            .arg(place.socket())
            .env("TOKENTAIL__HTTP__LISTEN", "off")
            .env("TOKENTAIL__LOG__LEVEL", "error")
            // As the systemd unit does.
            .env("MALLOC_ARENA_MAX", "2")
            .env("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0")
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut collector = Self {
            process: Process(child),
            answered: Duration::ZERO,
            socket: place.socket(),
        };
        collector.answered = collector.until(began, "/v1/quota")?;
        let ready = collector.until(began, "/readyz")?;
        Ok((collector, ready))
    }

    /// Waits until a request is answered; returns the duration.
    fn until(&self, began: Instant, path: &str) -> anyhow::Result<Duration> {
        loop {
            if let Ok(answer) = self.ask(path)
                && answer.starts_with("HTTP/1.0 200")
            {
                return Ok(began.elapsed());
            }
            ensure!(began.elapsed() < WAIT_MAX, "{path} is not answered");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn connect(&self, method: &str, path: &str, body: &str) -> anyhow::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(WAIT_MAX))?;
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + body).as_bytes())?;
        Ok(stream)
    }

    /// A whole answer.
    pub fn ask(&self, path: &str) -> anyhow::Result<String> {
        let mut answer = String::new();
        self.connect("GET", path, "")?.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// Makes a request that must succeed; returns the whole answer.
    pub fn request(&self, method: &str, path: &str, body: &str) -> anyhow::Result<String> {
        let mut answer = String::new();
        self.connect(method, path, body)?.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.0 2"), "{method} {path}: {answer}");
        Ok(answer)
    }

    pub fn json(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.ask(path)?;
        let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
        Ok(serde_json::from_str(body)?)
    }

    /// Waits until all existing logs were read.
    pub fn catch_up(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let health = self.json("/healthz")?;
            if health["backlog_done"] == true && health["lag_bytes"] == 0 {
                return Ok(());
            }
            ensure!(began.elapsed() < WAIT_MAX, "the backlog is not read: {health}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn messages(&self) -> anyhow::Result<u64> {
        self.json("/v1/summary")?["messages"].as_u64().context("messages")
    }

    /// Waits until this number of responses is counted.
    pub fn wait_for(&self, messages: u64) -> anyhow::Result<()> {
        let began = Instant::now();
        while self.messages()? < messages {
            ensure!(began.elapsed() < WAIT_MAX, "{messages} messages are not there");
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Responses of a run.
    pub fn run_messages(&self, run: &str) -> anyhow::Result<u64> {
        self.json(&format!("/v1/runs/{run}"))?["messages"]
            .as_u64()
            .context("messages")
    }

    /// Runs whose usage was published, as it is received.
    pub fn events(&self) -> anyhow::Result<Receiver<(Instant, String)>> {
        self.heard("/v1/events?kinds=usage", |document| {
            document["run"].as_str().unwrap_or_default().to_owned()
        })
    }

    /// The responses of a run that were published, as they are received.
    pub fn published(&self, run: &str) -> anyhow::Result<Receiver<(Instant, u64)>> {
        self.heard(&format!("/v1/events?kinds=usage&run={run}"), |document| {
            document["totals"]["messages"].as_u64().unwrap_or_default()
        })
    }

    fn heard<T: Send + 'static>(
        &self,
        path: &str,
        of: impl Fn(&Value) -> T + Send + 'static,
    ) -> anyhow::Result<Receiver<(Instant, T)>> {
        let stream = BufReader::new(self.connect("GET", path, "")?);
        let (sender, events) = sync_channel(EVENTS_WAITING_MAX);
        // Ends with the collector.
        std::thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || {
                for line in stream.lines().map_while(Result::ok) {
                    let Some(data) = line.strip_prefix("data: ") else {
                        continue;
                    };
                    let now = Instant::now();
                    let document: Value = serde_json::from_str(data).unwrap_or_default();
                    if sender.send((now, of(&document))).is_err() {
                        return;
                    }
                }
            })?;
        Ok(events)
    }

    pub fn kill(mut self) -> anyhow::Result<()> {
        self.process.0.kill()?;
        self.process.0.wait()?;
        Ok(())
    }

    pub fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.process.0.id().to_string();
        ensure!(
            Command::new("kill")
                .args(["-s", "TERM", &pid])
                .status()?
                .success(),
            "kill"
        );
        ensure!(self.process.0.wait()?.success(), "it did not end cleanly");
        Ok(())
    }
}

/// `tail -F` on these files, and the moment of each line it prints.
pub fn tail(files: &[PathBuf]) -> anyhow::Result<(Process, Receiver<Instant>)> {
    let mut child = Command::new("tail")
        .args(["-q", "-n", "0", "-F"])
        .args(files)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start tail")?;
    let lines = BufReader::new(child.stdout.take().context("its output")?);
    let (sender, moments) = sync_channel(EVENTS_WAITING_MAX);
    std::thread::Builder::new()
        .name("tail".to_owned())
        .spawn(move || {
            for _ in lines.lines().map_while(Result::ok) {
                if sender.send(Instant::now()).is_err() {
                    return;
                }
            }
        })?;
    Ok((Process(child), moments))
}
