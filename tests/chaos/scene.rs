//! The scene: 200 runs on several filesystems, their writers, the collector, and the faults.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::books::Books;
use crate::harness::{Place, text};
use crate::judge::{ANSWERED_WITHIN, Judge, JudgeReport, NAMED_WITHIN, Seen};
use crate::machine::{Namespace, open_files, skipped, wrapped};
use crate::process::{Process, Reading, ask};
use crate::server::Mount;
use crate::trouble::{Reach, Trouble};

const RUNS: usize = 200;
/// Number of runs in mounts that can hang: two of them in mounts of their own.
const RUNS_FAR: usize = 20;
const MOUNTS: usize = 3;
/// Number of runs on a disk that can fill.
const RUNS_NEAR: usize = 40;
/// Interval between two lines, over all runs.
const WRITE_EVERY: Duration = Duration::from_millis(5);
/// Longest latency of a line of a run without a fault.
const LATENCY_MAX: Duration = Duration::from_millis(250);
/// Longest quiet period.
const QUIET_WITHIN: Duration = Duration::from_secs(30);
const STEP: Duration = Duration::from_millis(50);
/// A thread that wakes this much too late shows that the machine itself was stalled.
const TICK: Duration = Duration::from_millis(5);
const STALL_MIN: Duration = Duration::from_millis(20);
const GRACE: Duration = Duration::from_secs(2);
/// Slack of a stop beyond its grace time.
const END_SLACK: Duration = Duration::from_secs(1);
const START_MAX: Duration = Duration::from_secs(20);
const STATE_MIB: u64 = 512;
const NEAR_MIB: u64 = 256;

/// State shared by the threads of the test.
pub struct Shared {
    pub books: Mutex<Books>,
    pub troubles: Mutex<Vec<Seen>>,
    /// When the collector began to answer.
    pub up_since: Mutex<Instant>,
    faults: Mutex<Vec<String>>,
    /// Stalls of the machine, with their lengths.
    stalls: Mutex<Vec<(Instant, Duration)>>,
    is_paused: AtomicBool,
    is_over: AtomicBool,
}

impl Shared {
    pub fn fault(&self, fault: String) {
        self.faults.lock().unwrap().push(fault);
    }
}

pub struct Scene {
    /// Before the place, which is removed.
    process: Option<Process>,
    mounts: Vec<Mount>,
    namespace: Namespace,
    place: Place,
    /// Arguments of faketime's library, if it is installed.
    clock: Option<String>,
    shared: Arc<Shared>,
    began: Instant,
    seed: u64,
    history: Vec<String>,
    counts: BTreeMap<String, u64>,
    judge: Option<JoinHandle<JudgeReport>>,
    threads: Vec<JoinHandle<()>>,
    /// Dropped at the end, which ends the threads.
    paces: Vec<SyncSender<()>>,
    /// Never receives anything: for waits.
    pace: Receiver<()>,
}

fn local(number: usize) -> String {
    format!("here-{number}")
}

fn near(number: usize) -> String {
    format!("near-{number}")
}

fn far(number: usize) -> String {
    format!("far-{number}")
}

/// A run whose directory is a mount.
fn alone(mount: usize) -> String {
    format!("alone-{mount}")
}

/// Runs that may be moved.
pub fn some_runs() -> Vec<String> {
    (0..3).map(local).collect()
}

pub fn runs_in_mount(mount: usize) -> Vec<String> {
    if mount == 0 {
        (0..RUNS_FAR).map(far).collect()
    } else {
        vec![alone(mount)]
    }
}

fn named(name: &str, body: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .unwrap()
}

impl Scene {
    /// `None`, and a line with the reason, on a machine that does not allow it.
    pub fn or_skip(seed: u64) -> Option<Self> {
        let place = Place::new();
        let mut books = Books::default();
        let mut mounts = Vec::new();
        for number in 0..MOUNTS {
            let source = place.path(&format!("source-{number}"));
            let at = if number == 0 {
                place.path("work/far")
            } else {
                place.runs().join(alone(number))
            };
            fs::create_dir_all(source.join("mount")).unwrap();
            fs::create_dir_all(&at).unwrap();
            if number == 0 {
                for run in 0..RUNS_FAR {
                    fs::create_dir_all(source.join(far(run))).unwrap();
                    books.add(&far(run), source.join(far(run)).join("a.jsonl"), false);
                }
            } else {
                books.add(&alone(number), source.join("mount/a.jsonl"), false);
            }
            mounts.push(Mount::or_skip(&source, &at)?);
        }
        let namespace = Namespace::or_skip()?;
        for (directory, mebibytes) in [("state", STATE_MIB), ("work/near", NEAR_MIB)] {
            let directory = place.path(directory);
            fs::create_dir_all(&directory).unwrap();
            namespace.sh(
                &format!("mount -t tmpfs -o size={mebibytes}m none \"$1\""),
                &[&directory],
            );
        }
        for run in 0..RUNS_NEAR {
            let directory = namespace.path(&place.path("work/near")).join(near(run));
            fs::create_dir_all(&directory).unwrap();
            books.add(&near(run), directory.join("a.jsonl"), true);
        }
        for run in 0..RUNS - RUNS_FAR - RUNS_NEAR - (MOUNTS - 1) {
            let log = place.log(&local(run), "a.jsonl");
            books.add(&local(run), log, true);
        }
        fs::create_dir_all(place.path("aside")).unwrap();
        let configuration = format!(
            "[runs]\nmount_roots = [{:?}]\n[shutdown]\ngrace = \"{}s\"\n",
            place.path("work"),
            GRACE.as_secs()
        );
        fs::write(place.path("t.toml"), configuration).unwrap();
        fs::write(place.path("clock"), "+0d").unwrap();
        let now = Instant::now();
        let shared = Arc::new(Shared {
            books: Mutex::new(books),
            troubles: Mutex::default(),
            up_since: Mutex::new(now),
            faults: Mutex::default(),
            stalls: Mutex::default(),
            is_paused: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let (kept, pace) = sync_channel(0);
        let mut scene = Self {
            process: None,
            mounts,
            namespace,
            place,
            clock: faketime(),
            shared,
            began: now,
            seed,
            history: Vec::new(),
            counts: BTreeMap::new(),
            judge: None,
            threads: Vec::new(),
            paces: vec![kept],
            pace,
        };
        scene.start();
        scene.put_runs();
        scene.start_threads();
        Some(scene)
    }

    pub fn mounts(&self) -> usize {
        self.mounts.len()
    }

    pub fn has_clock(&self) -> bool {
        self.clock.is_some()
    }

    pub fn runs_in_runs_directory(&self) -> Vec<String> {
        let books = self.shared.books.lock().unwrap();
        let is_there = |name: &&String| !name.starts_with("near-") && !name.starts_with("far-");
        books.runs.keys().filter(is_there).cloned().collect()
    }

    /// Starts the collector and waits until it answers.
    fn start(&mut self) {
        let mut command = self.place.command(&["serve"]);
        command.arg("--config").arg(self.place.path("t.toml"));
        command.env(
            "TOKENTAIL__LOG__LEVEL",
            "debug,tokentail::access=off,tokentail::committer=info",
        );
        if let Some(library) = &self.clock {
            command.envs([
                ("LD_PRELOAD", library.as_str()),
                // Waits use the real clock.
                ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
                ("FAKETIME_CACHE_DURATION", "1"),
            ]);
            command.env("FAKETIME_TIMESTAMP_FILE", self.place.path("clock"));
        }
        let mut process = Process::spawn(&mut self.namespace.command(&command));
        let deadline = Instant::now() + START_MAX;
        let answers = loop {
            if ask(&self.place.socket(), "GET", "/readyz", "", ANSWERED_WITHIN).is_ok() {
                break true;
            }
            if process.ended().is_some() || Instant::now() > deadline {
                break false;
            }
            self.wait(STEP);
        };
        *self.shared.up_since.lock().unwrap() = Instant::now();
        self.process = Some(process);
        if !answers {
            self.fail("it does not start");
        }
    }

    /// Registers runs with their logs elsewhere.
    fn put_runs(&self) {
        let work = self.place.path("work");
        let elsewhere = (0..RUNS_FAR)
            .map(|run| (far(run), "far"))
            .chain((0..RUNS_NEAR).map(|run| (near(run), "near")));
        for (run, mount) in elsewhere {
            let body = json!({ "mount": work.join(mount).join(&run) }).to_string();
            let path = format!("/v1/runs/{run}");
            let answer = ask(&self.place.socket(), "PUT", &path, &body, ANSWERED_WITHIN);
            assert_eq!(answer.unwrap().0, 201, "{run}");
        }
    }

    fn start_threads(&mut self) {
        let mut pace = || {
            let (kept, pace) = sync_channel(0);
            self.paces.push(kept);
            pace
        };
        let (writer, ticker, hearer, judge) = (pace(), pace(), pace(), pace());
        let (shared, seed) = (Arc::clone(&self.shared), self.seed);
        self.threads
            .push(named("writers", move || write(&shared, &writer, seed)));
        let shared = Arc::clone(&self.shared);
        self.threads
            .push(named("ticker", move || note_stalls(&shared, &ticker)));
        let (shared, socket) = (Arc::clone(&self.shared), self.place.socket());
        self.threads
            .push(named("hearer", move || hear(&shared, &hearer, &socket)));
        let judge = Judge {
            shared: Arc::clone(&self.shared),
            socket: self.place.socket(),
            pace: judge,
        };
        let judge = std::thread::Builder::new()
            .name("judge".to_owned())
            .spawn(move || judge.run());
        self.judge = Some(judge.unwrap());
    }

    fn wait(&self, time: Duration) {
        let waited = self.pace.recv_timeout(time);
        assert_eq!(waited, Err(RecvTimeoutError::Timeout));
    }

    /// Continues until `at`, and ends the test as soon as something is wrong.
    pub fn go_on_until(&mut self, at: Instant) {
        loop {
            self.look();
            let Some(left) = at.checked_duration_since(Instant::now()) else {
                return;
            };
            self.wait(left.min(STEP));
        }
    }

    fn look(&mut self) {
        if let Some(status) = self.process.as_mut().and_then(Process::ended) {
            self.fail(&format!("the collector ended: {status}"));
        }
        let faults = self.shared.faults.lock().unwrap().clone();
        if let Some(fault) = faults.first() {
            self.fail(fault);
        }
    }

    fn note(&mut self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        self.history.push(format!("{at:9.3} s  {what}"));
    }

    fn fail(&self, fault: &str) -> ! {
        let history = &self.history[self.history.len().saturating_sub(40)..];
        let log = self.process.as_ref().map(Process::last_lines).unwrap_or_default();
        panic!(
            "{log}\n\n{}\n\nafter {:.3} s: {fault}\nTOKENTAIL_CHAOS_SEED={} repeats the schedule",
            history.join("\n"),
            self.began.elapsed().as_secs_f64(),
            self.seed
        );
    }

    fn reached(&self, trouble: &Trouble) -> Vec<String> {
        match trouble.reach(self) {
            Reach::All => self.shared.books.lock().unwrap().runs.keys().cloned().collect(),
            Reach::Runs(runs) => runs,
            Reach::None => Vec::new(),
        }
    }

    pub fn begin(&mut self, trouble: &Trouble, random: &mut fastrand::Rng) {
        self.note(&format!("{trouble:?} begins"));
        *self.counts.entry(name_of(trouble)).or_default() += 1;
        let runs = self.reached(trouble);
        let mut books = self.shared.books.lock().unwrap();
        for run in &runs {
            books.suffer(run);
        }
        drop(books);
        // For a fault of the whole collector, health names no runs.
        let runs = if matches!(trouble.reach(self), Reach::All) {
            Vec::new()
        } else {
            runs
        };
        let seen = Seen {
            what: format!("{trouble:?}"),
            began: Instant::now(),
            ended: None,
            is_silent: trouble.is_silent(),
            reaches_all: matches!(trouble.reach(self), Reach::All),
            takes_away: matches!(trouble, Trouble::MovedRunsDirectory | Trouble::MovedRun(_)),
            demanded: trouble.demanded(),
            words: trouble.words(),
            runs,
        };
        self.shared.troubles.lock().unwrap().push(seen);
        self.bring(trouble, random);
    }

    pub fn end(&mut self, trouble: &Trouble) {
        self.take_back(trouble);
        self.note(&format!("{trouble:?} ends"));
        let runs = self.reached(trouble);
        let mut books = self.shared.books.lock().unwrap();
        for run in &runs {
            books.recover(run);
        }
        drop(books);
        let what = format!("{trouble:?}");
        let mut troubles = self.shared.troubles.lock().unwrap();
        let now = Instant::now();
        troubles.retain(|seen| seen.ended.is_none_or(|ended| now - ended < 2 * NAMED_WITHIN));
        let seen = troubles
            .iter_mut()
            .find(|seen| seen.what == what && seen.ended.is_none());
        seen.unwrap().ended = Some(now);
    }

    fn process(&self) -> &Process {
        self.process.as_ref().unwrap()
    }

    fn bring(&mut self, trouble: &Trouble, random: &mut fastrand::Rng) {
        let state = self.place.path("state");
        match trouble {
            Trouble::HungMount(number) => self.mounts[*number].hang(),
            Trouble::FullState => self.fill("state/filler"),
            Trouble::CoveredState => self.namespace.sh("mount -t tmpfs none \"$1\"", &[&state]),
            Trouble::FullRuns => self.fill("work/near/filler"),
            Trouble::UnreadLog => self.process().read_log(Reading::Paused),
            Trouble::ClosedLog => self.process().read_log(Reading::Closed),
            Trouble::MovedRun(run) => self.move_runs(
                std::slice::from_ref(run),
                &self.place.runs().join(run),
                &self.place.path("aside").join(run),
                true,
            ),
            Trouble::MovedRunsDirectory => {
                let runs = self.runs_in_runs_directory();
                self.move_runs(&runs, &self.place.runs(), &self.place.path("runs-aside"), true);
            }
            Trouble::RemovedSocket => fs::remove_file(self.place.socket()).unwrap(),
            Trouble::RemovedConfiguration => {
                fs::rename(self.place.path("t.toml"), self.place.path("t.aside")).unwrap();
            }
            Trouble::Clock(shift) => self.set_clock(shift),
            Trouble::FewFiles => self.allow_files(Some(open_files(self.process().pid()).len())),
            Trouble::Frozen => self.process().signal("STOP"),
            Trouble::Reload => self.process().signal("HUP"),
            Trouble::Restart => self.restart(&["TERM"]),
            Trouble::HastyRestart => self.restart(&["TERM", "TERM"]),
            Trouble::Kill => {
                if random.bool() {
                    self.process().signal("STOP");
                    self.wait(STEP);
                }
                self.restart(&["KILL"]);
            }
        }
    }

    fn take_back(&mut self, trouble: &Trouble) {
        match trouble {
            Trouble::HungMount(number) => self.mounts[*number].answer(),
            Trouble::FullState => self.free("state/filler"),
            Trouble::CoveredState => self.namespace.sh("umount \"$1\"", &[&self.place.path("state")]),
            Trouble::FullRuns => self.free("work/near/filler"),
            Trouble::UnreadLog => self.process().read_log(Reading::On),
            Trouble::MovedRun(run) => self.move_runs(
                std::slice::from_ref(run),
                &self.place.path("aside").join(run),
                &self.place.runs().join(run),
                false,
            ),
            Trouble::MovedRunsDirectory => {
                let runs = self.runs_in_runs_directory();
                self.move_runs(&runs, &self.place.path("runs-aside"), &self.place.runs(), false);
            }
            Trouble::RemovedSocket => {
                if let Err(error) = ask(&self.place.socket(), "GET", "/readyz", "", ANSWERED_WITHIN) {
                    self.fail(&format!("the socket is not made again: {error}"));
                }
            }
            Trouble::RemovedConfiguration => {
                fs::rename(self.place.path("t.aside"), self.place.path("t.toml")).unwrap();
            }
            Trouble::Clock(_) => self.set_clock("+0d"),
            Trouble::FewFiles => self.allow_files(None),
            Trouble::Frozen => {
                self.process().signal("CONT");
                *self.shared.up_since.lock().unwrap() = Instant::now();
            }
            Trouble::ClosedLog
            | Trouble::Reload
            | Trouble::Restart
            | Trouble::HastyRestart
            | Trouble::Kill => {}
        }
    }

    fn fill(&self, filler: &str) {
        let filler = self.place.path(filler);
        let filled = self
            .namespace
            .try_sh("dd if=/dev/zero of=\"$1\" bs=64k", &[&filler]);
        assert!(!filled.status.success(), "the disk takes more than it has");
    }

    fn free(&self, filler: &str) {
        self.namespace.sh("rm \"$1\"", &[&self.place.path(filler)]);
    }

    /// Moves a directory, together with the writers of the runs in it.
    fn move_runs(&self, runs: &[String], from: &PathBuf, to: &PathBuf, is_away: bool) {
        let mut books = self.shared.books.lock().unwrap();
        fs::rename(from, to).unwrap();
        for name in runs {
            let run = books.runs.get_mut(name).unwrap();
            // Logs in mounts are written through the directory behind them.
            if let Ok(below) = run.log.strip_prefix(from) {
                run.log = to.join(below);
            }
            run.is_away = is_away;
        }
    }

    /// In one step, so that it is never read half written.
    fn set_clock(&self, shift: &str) {
        let (clock, new) = (self.place.path("clock"), self.place.path("clock.new"));
        fs::write(&new, shift).unwrap();
        fs::rename(new, clock).unwrap();
    }

    /// `None` restores the first limit.
    fn allow_files(&self, files: Option<usize>) {
        let pid = Pid::from_raw(i32::try_from(self.process().pid()).unwrap());
        let maximum = getrlimit(Resource::Nofile).maximum;
        let current = files.map(|files| files as u64).or(maximum);
        prlimit(pid, Resource::Nofile, Rlimit { current, maximum }).unwrap();
    }

    fn restart(&mut self, signals: &[&str]) {
        let mut process = self.process.take().unwrap();
        let began = Instant::now();
        for signal in signals {
            process.signal(signal);
        }
        let mut status = process.ends_within(GRACE + END_SLACK);
        if status.is_none() && process.is_kept_by_the_kernel() {
            // A request that the server had accepted before it was stopped cannot be interrupted.
            self.note("the kernel keeps the collector until the mounts answer");
            self.mounts.iter().for_each(Mount::answer);
            status = process.ends_within(GRACE + END_SLACK);
        }
        let took = began.elapsed();
        self.process = Some(process);
        match status {
            None => self.fail(&format!("it does not end after {signals:?}, for {took:?}")),
            Some(status) if signals == ["TERM"] && !status.success() => {
                self.fail(&format!("after SIGTERM it ended with {status}"));
            }
            Some(_) => {}
        }
        self.start();
    }

    /// After the end of all faults: soon everything is counted, and health is good.
    pub fn be_quiet(&mut self) {
        self.note("quiet");
        self.shared.is_paused.store(true, Ordering::SeqCst);
        self.shared.books.lock().unwrap().finish_lines();
        let began = Instant::now();
        loop {
            let summary = ask(&self.place.socket(), "GET", "/v1/summary", "", ANSWERED_WITHIN);
            let health = ask(&self.place.socket(), "GET", "/healthz", "", ANSWERED_WITHIN);
            let differs = match (&summary, &health) {
                (Ok((_, summary)), Ok((_, health))) => {
                    let books = self.shared.books.lock().unwrap();
                    let mut differs = books.differences(summary);
                    if health["status"] != "ok" {
                        differs.push(health.to_string());
                    }
                    if differs.is_empty() && books.waiting() > 0 {
                        differs.push(format!("{} lines are in no event", books.waiting()));
                    }
                    differs
                }
                other => vec![format!("{other:?}")],
            };
            if differs.is_empty() {
                break;
            }
            if began.elapsed() > QUIET_WITHIN {
                self.fail(&format!(
                    "all is over, and after {QUIET_WITHIN:?}: {}",
                    differs.join("\n")
                ));
            }
            self.go_on_until(Instant::now() + STEP);
        }
        self.judge_latencies();
        self.shared.is_paused.store(false, Ordering::SeqCst);
    }

    /// Checks that no line waited too long, except for stalls of the machine.
    fn judge_latencies(&mut self) {
        let late = std::mem::take(&mut self.shared.books.lock().unwrap().late);
        let stalls = std::mem::take(&mut *self.shared.stalls.lock().unwrap());
        for line in late {
            let heard = line.written + line.waited;
            let stood: Duration = stalls
                .iter()
                .filter(|(since, time)| *since < heard && *since + *time > line.written)
                .map(|(_, time)| *time)
                .sum();
            if line.waited.saturating_sub(stood) > LATENCY_MAX {
                self.fail(&format!(
                    "a line of run {} waited {:?}, written at {:.3} s; the machine stood still for {stood:?} of that",
                    line.run,
                    line.waited,
                    (line.written - self.began).as_secs_f64()
                ));
            }
        }
    }

    /// Stops everything, compares the database with the logs, and prints a report.
    pub fn finish(mut self, rounds: usize, took: Duration) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.paces.truncate(1);
        let figures = self.judge.take().unwrap().join().unwrap();
        let mut process = self.process.take().unwrap();
        process.signal("TERM");
        let status = process.ends_within(GRACE + END_SLACK);
        assert!(status.is_some_and(|status| status.success()), "{status:?}");
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
        let mut verify = self.place.command(&["verify"]);
        verify.arg("--config").arg(self.place.path("t.toml"));
        let verify = self.namespace.command(&verify).output().unwrap();
        assert!(
            verify.status.success(),
            "verify: {}{}",
            text(&verify.stdout),
            text(&verify.stderr)
        );
        let mut books = self.shared.books.lock().unwrap();
        books.latencies.sort_unstable();
        let quantile = |per_mille: usize| {
            let latencies = &books.latencies;
            let at = (latencies.len() * per_mille / 1000).min(latencies.len() - 1);
            latencies[at].as_secs_f64() * 1000.0
        };
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        let said = format!(
            "{rounds} rounds in {} s: {} lines of {RUNS} runs, none lost, none counted twice; {} asked for health, of these {} not ok, \
             longest answer {:.0} ms; {} lines of runs to which nothing happened: p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms; \
             {} writes cut by a full disk; {}",
            took.as_secs(),
            books.messages(),
            figures.questions,
            figures.not_ok,
            figures.answered_in.as_secs_f64() * 1000.0,
            books.latencies.len(),
            quantile(500),
            quantile(990),
            quantile(1000),
            books.cut,
            counts.join(", ")
        );
        writeln!(std::io::stderr(), "{said}").expect("standard error takes a line");
    }
}

pub fn name_of(trouble: &Trouble) -> String {
    let name = format!("{trouble:?}");
    name.split('(').next().unwrap_or(&name).to_owned()
}

/// The library that moves the clock; `None`, and a line with the reason, if it is missing.
fn faketime() -> Option<String> {
    // The wrapper would receive the signals instead of the program.
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "printf %s \"$LD_PRELOAD\""]);
    let mut faketime = Command::new("faketime");
    faketime.args(["-m", "-f", "+0d"]);
    match wrapped(faketime, &shell).output() {
        Ok(output) if output.status.success() => Some(text(&output.stdout)),
        other => {
            skipped(&format!("the clock is not moved: faketime: {other:?}"));
            None
        }
    }
}

fn write(shared: &Shared, pace: &Receiver<()>, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    while pace.recv_timeout(WRITE_EVERY) == Err(RecvTimeoutError::Timeout) {
        let mut books = shared.books.lock().unwrap();
        // Checked with the books locked: after a pause, nobody is writing.
        if !shared.is_paused.load(Ordering::SeqCst) {
            books.write(&mut random);
        }
    }
}

fn note_stalls(shared: &Shared, pace: &Receiver<()>) {
    loop {
        let began = Instant::now();
        if pace.recv_timeout(TICK) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        let stood = began.elapsed().saturating_sub(TICK);
        if stood > STALL_MIN {
            shared.stalls.lock().unwrap().push((began, stood));
        }
    }
}

/// Reads the collector's usage events, over each of its restarts.
fn hear(shared: &Shared, pace: &Receiver<()>, socket: &PathBuf) {
    while pace.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
        let Ok(mut stream) = UnixStream::connect(socket) else {
            continue;
        };
        if stream
            .write_all(b"GET /v1/events?kinds=usage HTTP/1.0\r\nHost: localhost\r\n\r\n")
            .is_err()
        {
            continue;
        }
        let lines = BufReader::new(stream).split(b'\n').map_while(Result::ok);
        let mut lines = lines.map(|line| text(&line).trim_end().to_owned());
        // Events sent while disconnected count once a later one arrives.
        if lines.by_ref().find(String::is_empty).is_none() {
            continue;
        }
        if let Ok((200, summary)) = ask(socket, "GET", "/v1/summary", "", NAMED_WITHIN) {
            for (run, totals) in summary["by_run"].as_object().into_iter().flatten() {
                heard(shared, run, totals);
            }
        }
        for line in lines {
            if let Some(event) = line.strip_prefix("data: ") {
                let event: Value = serde_json::from_str(event).unwrap_or_default();
                heard(
                    shared,
                    event["run"].as_str().unwrap_or_default(),
                    &event["totals"],
                );
            }
            if shared.is_over.load(Ordering::SeqCst) {
                break;
            }
        }
    }
}

fn heard(shared: &Shared, run: &str, totals: &Value) {
    if let Some(output) = totals["output_tokens"].as_u64() {
        let mut books = shared.books.lock().unwrap();
        books.heard(run, output, LATENCY_MAX);
    }
}
