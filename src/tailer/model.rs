//! Model test: random actions on files, and a model with every complete line that existed at a look.
//!
//! The lines have responses, some of them without an id or without a time, and limits. The real tree, reads
//! and commits work on a real directory, with the database on a disk in memory that loses unsynced data.
//! After each look the contents of the database must be equal to those of the model. The process ends at any
//! point: before it reads, with lines read and not committed, with a commit that was not acknowledged.
//!
//! `TOKENTAIL_MODELS=N` runs N of them, `TOKENTAIL_SEED=S` begins with that seed.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::tree::{Depth, ScanContext, Tree};
use crate::clock::Clock;
use crate::config::{Environment, Partial, Settings};
use crate::fuzz::number_setting;
use crate::logfile::run_dir::RunDir;
use crate::model::{DAY_MS, Millis, Observation, RunAccounts, RunId};
use crate::parse::{self, LineContext};
use crate::quota::account;
use crate::reader::ReadOptions;
use crate::store::tests::disk::Disk;
use crate::store::tests::picture::{Limits, Picture, WINDOWS, check_fired, share};
use crate::store::{Outcome, Snapshot, Writer};
use crate::watch::Watch;

/// Models that are run by default.
const MODELS: u64 = 120;
/// Looks of each model.
const LOOKS: usize = 40;
/// Actions between two looks.
const UNSEEN_MAX: usize = 6;
const RUNS: [&str; 3] = ["one", "three", "two"];
const NAMES: [&str; 6] = [
    "a.jsonl",
    "b.jsonl",
    "d/a.jsonl",
    "d/f/b.jsonl",
    "e/a.jsonl",
    "e/f/b.jsonl",
];
const DIRECTORIES: [&str; 4] = ["d", "e", "d/f", "e/f"];
const LLMS: [&str; 3] = ["claude-opus-5", "claude-sonnet-5", "claude-haiku-5"];
/// Input tokens of each response.
const INPUT: u64 = 10;
/// Time between two words about limits, in ms: all of them are within the days of which a window's history is
/// kept.
const LIMIT_EVERY_MS: Millis = 8000;
/// No line is later than this, and no clock earlier.
const EPOCH: Millis = 1_791_190_800_000;
/// Longest tick of a kernel's clock, in milliseconds.
const TICK_MS_MAX: Millis = 10;

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
struct ModelLine {
    says: Says,
    text: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    /// A response.
    Response {
        /// No two copies of a response have the same one.
        output: u64,
        /// `None` if neither the line nor its copies have one.
        time: Option<Millis>,
        llm: &'static str,
    },
    /// The utilization of a window.
    Limit,
}

/// The contents of a log: whole lines, and the beginning of another.
#[derive(Clone, Debug, Default)]
struct Log {
    lines: Vec<ModelLine>,
    half: Option<(ModelLine, usize)>,
    /// The half line was whole but for its line end when its run was stopped, and counts.
    settled: bool,
}

/// A run and a name below its mount.
type LogPlace = (&'static str, &'static str);

/// The counted part of a response: output and model of its best copy, its first time and its run.
type Counted = (u64, String, String, Millis);

/// The step before which the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kill {
    Read,
    Commit,
    Answer,
}

/// The kind of a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ModelLook {
    Hints,
    Everything,
    Rescan,
}

struct Model {
    random: fastrand::Rng,
    root: tempfile::TempDir,
    settings: Settings,
    accounts: Arc<RunAccounts>,
    disk: Disk,
    store: Writer,
    watch: Watch,
    trees: BTreeMap<&'static str, Tree>,
    logs: BTreeMap<LogPlace, Log>,
    counted: BTreeMap<u128, Counted>,
    /// Responses whose lines have no time: they have that of a reading, and belong to a run that held a line
    /// of theirs.
    undated: BTreeMap<u128, BTreeSet<&'static str>>,
    /// The times of all lines that were read: a line without a time may have that of a line before it.
    line_times: BTreeSet<Millis>,
    /// The time of the first write, by the clock of the filesystem.
    written_from: Millis,
    /// The observations of limits, by time and window.
    observed: BTreeMap<(Millis, Box<str>), Observation>,
    /// The times of all readings.
    readings: BTreeSet<Millis>,
    lines: u32,
    /// Something was removed, after which lines may be read again.
    changed: bool,
    only_adds: bool,
    /// Paths that were changed since the last look.
    touched: BTreeSet<(&'static str, PathBuf)>,
    done: Vec<String>,
}

fn pick<T: Copy>(random: &mut fastrand::Rng, of: &[T]) -> T {
    of[random.usize(..of.len())]
}

impl Model {
    fn new(seed: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let flags = Partial {
            runs_dir: Some(root.path().to_owned()),
            db: Some("unused".into()),
            socket: Some("unused".into()),
            ..Partial::default()
        };
        let environment = Environment {
            vars: [].into(),
            cwd: root.path().to_owned(),
            system_file: root.path().join("none"),
            has_files: true,
        };
        let disk = Disk::new(&[], false, fastrand::Rng::with_seed(seed));
        let mut store = Writer::on(disk.clone());
        store.reopen().unwrap();
        Self {
            random: fastrand::Rng::with_seed(seed),
            settings: Settings::load(flags, None, &environment).unwrap(),
            root,
            accounts: Arc::default(),
            disk,
            store,
            watch: Watch::start(),
            trees: BTreeMap::new(),
            logs: BTreeMap::new(),
            counted: BTreeMap::new(),
            undated: BTreeMap::new(),
            line_times: BTreeSet::new(),
            // The clock of the filesystem is as coarse as the kernel's tick.
            written_from: Clock::SYSTEM.now() - TICK_MS_MAX,
            observed: BTreeMap::new(),
            readings: BTreeSet::new(),
            lines: 0,
            changed: false,
            only_adds: seed.is_multiple_of(4),
            touched: BTreeSet::new(),
            done: Vec::new(),
        }
    }

    fn snapshot(&self) -> Snapshot<'_> {
        self.store.reader().snapshot().unwrap()
    }

    /// A line that is in no log: a new response, another copy of one that may be in a log, or an observation
    /// of limits.
    fn line(&mut self) -> ModelLine {
        self.lines += 1;
        // Each number once, in no order.
        let number = u64::from(self.lines) * 7919 % 100_003;
        let note = "x".repeat(self.random.usize(..200));
        if self.random.u32(..6) == 0 {
            return self.limit(number, &note);
        }
        let time = EPOCH - self.random.i64(1..40 * DAY_MS);
        let llm = pick(&mut self.random, &LLMS);
        let kind = self.random.u32(..10);
        let is_undated = kind == 0;
        // A response without an id is identified by that of the line, and has no other copies.
        let has_id = kind != 1;
        let id = if !is_undated && self.random.u32(..4) == 0 {
            self.random.u32(..=self.lines)
        } else {
            self.lines
        };
        let stamp = if is_undated {
            String::new()
        } else {
            let stamp = jiff::Timestamp::from_millisecond(time).unwrap();
            format!("\"timestamp\":\"{stamp:.3}\",")
        };
        // Those without a time have ids of their own.
        let of = if is_undated { "undated" } else { "" };
        let id = if has_id {
            format!("\"id\":\"msg_{of}{id}\",")
        } else {
            String::new()
        };
        let text = format!(
            "{{\"type\":\"assistant\",\"uuid\":\"u{number}\",\"requestId\":\"req\",\"note\":\"{note}\",{stamp}\"message\":{{{id}\"model\":\"{llm}\",\"role\":\"assistant\",\"usage\":{{\"input_tokens\":{INPUT},\"output_tokens\":{number}}}}}}}"
        );
        let says = Says::Response {
            output: number,
            time: (!is_undated).then_some(time),
            llm,
        };
        ModelLine { says, text }
    }

    /// A line about a window, at a time of its own in the last days.
    fn limit(&mut self, number: u64, note: &str) -> ModelLine {
        let at = EPOCH - i64::try_from(number).unwrap() * LIMIT_EVERY_MS - 1;
        let name = pick(&mut self.random, &WINDOWS);
        let status = pick(&mut self.random, &["allowed", "allowed", "rejected"]);
        let (thousandths, reset) = share(name, at);
        let stamp = jiff::Timestamp::from_millisecond(at).unwrap();
        let reset = reset / 1000;
        let used = format!("{}.{:03}", thousandths / 1000, thousandths % 1000);
        let text = format!(
            "{{\"type\":\"rate_limit_event\",\"note\":\"{note}\",\"timestamp\":\"{stamp:.3}\",\"rate_limit_info\":{{\"status\":\"{status}\",\"resetsAt\":{reset},\"rateLimitType\":\"{name}\",\"unifiedWindows\":{{\"{name}\":{{\"utilization\":{used},\"resetsAt\":{reset}}}}}}}}}"
        );
        ModelLine {
            says: Says::Limit,
            text,
        }
    }

    fn new_lines(&mut self) -> Vec<ModelLine> {
        (0..self.random.u32(1..4)).map(|_| self.line()).collect()
    }

    fn any(&mut self) -> LogPlace {
        (pick(&mut self.random, &RUNS), pick(&mut self.random, &NAMES))
    }

    fn any_log(&mut self) -> Option<LogPlace> {
        let there: Vec<LogPlace> = self.logs.keys().copied().collect();
        (!there.is_empty()).then(|| pick(&mut self.random, &there))
    }

    fn mount(&self, run: &str) -> PathBuf {
        self.root.path().join(run).join("mount")
    }

    /// The path of a log; its directories are made, and hints for the next look are added.
    fn path(&mut self, (run, name): LogPlace) -> PathBuf {
        self.touch(run, name);
        let path = self.mount(run).join(name);
        self.make(run, Path::new(name).parent().unwrap());
        path
    }

    /// Makes a directory below a run's mount and its parents, with their hints.
    fn make(&mut self, run: &'static str, name: &Path) {
        let path = Path::new("mount").join(name);
        let home = self.root.path().join(run);
        let new = path.ancestors().filter(|path| !home.join(path).exists());
        let new: Vec<_> = new.map(|path| (run, path.to_owned())).collect();
        self.touched.extend(new);
        fs::create_dir_all(home.join(path)).unwrap();
    }

    /// Adds the hint of an event at this name below the mount.
    fn touch(&mut self, run: &'static str, name: &str) {
        self.touched.insert((run, Path::new("mount").join(name)));
    }

    /// Adds the hint of an event at the run's own directory.
    fn touch_run(&mut self, run: &'static str) {
        self.touched.insert((run, PathBuf::new()));
    }

    fn write(&mut self, at: LogPlace, bytes: &str) {
        let path = self.path(at);
        let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(bytes.as_bytes()).unwrap();
    }

    /// An action that only adds: several may come between two looks.
    fn add(&mut self) -> String {
        match self.random.u32(..6) {
            0 => {
                let at = self.any();
                self.half(at)
            }
            1 => {
                let Some(from) = self.any_log() else {
                    return "nothing".to_owned();
                };
                let to = self.any();
                self.repeat(from, to)
            }
            2 => {
                let (run, _) = self.any();
                self.make(run, Path::new("new"));
                format!("a new directory in {run}")
            }
            _ => {
                let at = self.any();
                self.grow(at)
            }
        }
    }

    fn grow(&mut self, at: LogPlace) -> String {
        let lines = self.new_lines();
        self.append(at, &lines);
        format!("append {} lines to {at:?}", lines.len())
    }

    /// Appends whole lines, after the rest of one that was begun.
    fn append(&mut self, at: LogPlace, lines: &[ModelLine]) {
        let log = self.logs.entry(at).or_default();
        let mut text = String::new();
        if let Some((line, written)) = log.half.take() {
            log.settled = false;
            text.push_str(&line.text[written..]);
            text.push('\n');
            log.lines.push(line);
        }
        for line in lines {
            text.push_str(&line.text);
            text.push('\n');
        }
        log.lines.extend_from_slice(lines);
        self.write(at, &text);
    }

    /// A part of a line, or all of it but its end.
    fn half(&mut self, at: LogPlace) -> String {
        let (line, from) = match self.logs.get(&at).and_then(|log| log.half.clone()) {
            Some(half) => half,
            None => (self.line(), 0),
        };
        let to = if self.random.bool() {
            line.text.len()
        } else {
            self.random.usize(from..=line.text.len())
        };
        self.write(at, &line.text[from..to]);
        let what = format!("append bytes {from} to {to} of a line to {at:?}");
        self.logs.entry(at).or_default().half = Some((line, to));
        what
    }

    /// Lines that are in another log too.
    fn repeat(&mut self, from: LogPlace, to: LogPlace) -> String {
        let lines = self.logs[&from].lines.clone();
        self.append(to, &lines);
        format!("append the lines of {from:?} to {to:?}")
    }

    /// An action that removes or moves something.
    fn change(&mut self) -> String {
        if self.only_adds {
            return self.add();
        }
        self.changed = true;
        let what = match self.random.u32(..12) {
            0 => self.delete(),
            1..=3 => self.rename(),
            4 => self.rewrite(),
            5 => self.replace(),
            6 => self.cut(),
            7 => self.copy_truncate(),
            8 => self.rename_directory(),
            9 => self.remove_directory(),
            10 => self.move_run(),
            _ => self.remove_run(),
        };
        what.unwrap_or_else(|| self.add())
    }

    fn delete(&mut self) -> Option<String> {
        let at = self.any_log()?;
        fs::remove_file(self.path(at)).unwrap();
        self.logs.remove(&at);
        Some(format!("delete {at:?}"))
    }

    fn rename(&mut self) -> Option<String> {
        let from = self.any_log()?;
        let mut to = self.any();
        if self.random.bool() {
            to.0 = from.0;
        }
        fs::rename(self.path(from), self.path(to)).unwrap();
        let log = self.logs.remove(&from).unwrap();
        self.logs.insert(to, log);
        Some(format!("rename {from:?} to {to:?}"))
    }

    fn text(lines: &[ModelLine]) -> String {
        lines.iter().map(|line| line.text.clone() + "\n").collect()
    }

    /// Other content in the same file.
    fn rewrite(&mut self) -> Option<String> {
        let (at, lines) = (self.any_log()?, self.new_lines());
        fs::write(self.path(at), Self::text(&lines)).unwrap();
        let what = format!("rewrite {at:?} with {} lines", lines.len());
        self.logs.insert(
            at,
            Log {
                lines,
                ..Log::default()
            },
        );
        Some(what)
    }

    /// Other content in another file of the same name.
    fn replace(&mut self) -> Option<String> {
        let (at, lines) = (self.any_log()?, self.new_lines());
        let path = self.path(at);
        let beside = path.with_extension("tmp");
        fs::write(&beside, Self::text(&lines)).unwrap();
        fs::rename(beside, path).unwrap();
        let what = format!("replace {at:?} by {} lines", lines.len());
        self.logs.insert(
            at,
            Log {
                lines,
                ..Log::default()
            },
        );
        Some(what)
    }

    /// Fewer lines, and perhaps others after them.
    fn cut(&mut self) -> Option<String> {
        let at = self.any_log()?;
        let mut lines = self.logs[&at].lines.clone();
        lines.truncate(self.random.usize(..=lines.len()));
        let path = self.path(at);
        let file = OpenOptions::new().write(true).open(path).unwrap();
        file.set_len(Self::text(&lines).len() as u64).unwrap();
        let what = format!("cut {at:?} to {} lines", lines.len());
        self.logs.insert(
            at,
            Log {
                lines,
                ..Log::default()
            },
        );
        if self.random.bool() {
            return Some(what + ", " + &self.grow(at));
        }
        Some(what)
    }

    fn copy_truncate(&mut self) -> Option<String> {
        let (from, to) = (self.any_log()?, self.any());
        if from == to {
            return None;
        }
        let (old, new) = (self.path(from), self.path(to));
        // The target is another file: a copy over a log in place is a rewrite.
        let _ = fs::remove_file(&new);
        fs::copy(&old, &new).unwrap();
        fs::write(&old, "").unwrap();
        let log = self.logs.insert(from, Log::default()).unwrap();
        self.logs.insert(to, log);
        Some(format!("copy {from:?} to {to:?} and truncate it"))
    }

    fn below(&self, run: &str, directory: &str) -> Vec<LogPlace> {
        let is_below = |at: &&LogPlace| at.0 == run && Path::new(at.1).starts_with(directory);
        self.logs.keys().filter(is_below).copied().collect()
    }

    fn forget(&mut self, run: &str, directory: &str) {
        for at in self.below(run, directory) {
            self.logs.remove(&at);
        }
    }

    fn rename_directory(&mut self) -> Option<String> {
        let (run, _) = self.any_log()?;
        let (from, to) = pick(
            &mut self.random,
            &[("d", "e"), ("e", "d"), ("d/f", "e/f"), ("e/f", "d/f")],
        );
        let (old, new) = (self.mount(run).join(from), self.mount(run).join(to));
        if !old.exists() {
            return None;
        }
        self.touch(run, from);
        self.touch(run, to);
        if new.exists() {
            fs::remove_dir_all(&new).unwrap();
        }
        self.make(run, Path::new(to).parent().unwrap());
        fs::rename(old, new).unwrap();
        self.forget(run, to);
        for at in self.below(run, from) {
            let log = self.logs.remove(&at).unwrap();
            let name = at.1.replacen(from, to, 1);
            let name = NAMES.into_iter().find(|known| **known == name).unwrap();
            self.logs.insert((run, name), log);
        }
        Some(format!("rename {from} to {to} in {run}"))
    }

    fn remove_directory(&mut self) -> Option<String> {
        let (run, _) = self.any_log()?;
        let directory = pick(&mut self.random, &DIRECTORIES);
        if !self.mount(run).join(directory).exists() {
            return None;
        }
        fs::remove_dir_all(self.mount(run).join(directory)).unwrap();
        self.touch(run, directory);
        self.forget(run, directory);
        Some(format!("remove {directory} in {run}"))
    }

    fn move_run(&mut self) -> Option<String> {
        let (from, _) = self.any_log()?;
        let to = pick(&mut self.random, &RUNS);
        if from == to {
            return None;
        }
        let new = self.root.path().join(to);
        if new.exists() {
            fs::remove_dir_all(&new).unwrap();
        }
        fs::rename(self.root.path().join(from), new).unwrap();
        self.touch_run(from);
        self.touch_run(to);
        self.forget(to, "");
        for at in self.below(from, "") {
            let log = self.logs.remove(&at).unwrap();
            self.logs.insert((to, at.1), log);
        }
        Some(format!("move run {from} to {to}"))
    }

    fn remove_run(&mut self) -> Option<String> {
        let (run, _) = self.any_log()?;
        fs::remove_dir_all(self.root.path().join(run)).unwrap();
        self.touch_run(run);
        self.forget(run, "");
        Some(format!("remove run {run}"))
    }

    /// A new process, with the data that the disk kept.
    fn restart(&mut self) {
        self.trees.clear();
        self.store.close();
        self.watch = Watch::start();
        self.disk.boot();
        self.store = Writer::on(self.disk.clone());
        self.store.reopen().unwrap();
    }

    fn reading(&mut self, count_partial: bool) -> ReadOptions {
        // The clock jumps, as far as it may without being behind the lines.
        let now = EPOCH + self.random.i64(0..400 * DAY_MS);
        self.readings.insert(now);
        ReadOptions {
            line_bytes_max: self.settings.limits.line_bytes_max,
            turn_bytes_max: pick(&mut self.random, &[1, 700, 4 << 20]),
            count_partial,
            until: u64::MAX,
            lines_until: None,
            waits_for_holes: true,
            is_project: false,
            accounts: Arc::clone(&self.accounts),
            now,
        }
    }

    /// One look at one run, as by its tailer; `false` if the process ended.
    fn look_at(&mut self, run: &'static str, look: ModelLook, stop: bool, kill: &mut Option<Kill>) -> bool {
        let id = RunId::new(run).unwrap();
        let is_new = !self.trees.contains_key(run);
        if is_new {
            if !self.root.path().join(run).is_dir() {
                return true;
            }
            let account = self.accounts.own().clone();
            self.store
                .register(&[(id.clone(), account)], false, EPOCH)
                .unwrap();
            let home = RunDir::of(self.root.path(), Path::new(id.as_str()), None);
            let positions = self.snapshot().positions(&id).unwrap();
            self.trees.insert(run, Tree::new(id, home, positions));
        }
        let mut tree = self.trees.remove(run).unwrap();
        let context = ScanContext {
            globs: &self.settings.watch.globs,
            limits: &self.settings.limits,
            watch: &self.watch,
            unwatched: false,
        };
        let hints: HashSet<PathBuf> = (self.touched.iter())
            .filter(|(of, _)| *of == run)
            .map(|(_, path)| path.clone())
            .collect();
        let looked = match look {
            _ if is_new => tree.rescan(context),
            ModelLook::Hints => tree.look(&hints, context),
            // As in the poller: an unchanged tree is not scanned.
            ModelLook::Everything if tree.is_unchanged(Depth::Everything) => Ok(()),
            ModelLook::Everything => tree.scan(Depth::Everything, context),
            ModelLook::Rescan => tree.rescan(context),
        };
        let is_gone = looked.is_err();
        if is_gone {
            tree.mark_all_removed(context);
        }
        if stop {
            tree.enqueue_unfinished();
        }
        let mut buffer = Vec::new();
        while tree.has_news() {
            if kill.take_if(|kill| *kill == Kill::Read).is_some() {
                return false;
            }
            let batches = tree.read_share(&self.reading(stop), &mut buffer);
            if batches.is_empty() {
                continue;
            }
            if kill.take_if(|kill| *kill == Kill::Commit).is_some() {
                return false;
            }
            let committed = self.store.commit(&batches).unwrap();
            if kill.take_if(|kill| *kill == Kill::Answer).is_some() {
                return false;
            }
            for (batch, outcome) in batches.iter().zip(committed.outcomes) {
                if let Outcome::Stale(stored) = outcome {
                    tree.rewind_to(&batch.path, stored);
                }
            }
        }
        if !is_gone {
            self.trees.insert(run, tree);
        }
        true
    }

    fn look(&mut self, look: ModelLook, stop: bool, mut kill: Option<Kill>) {
        loop {
            let alive = RUNS
                .into_iter()
                .all(|run| self.look_at(run, look, stop, &mut kill));
            if alive {
                break;
            }
            self.done.push("end of the process".to_owned());
            self.restart();
        }
        self.touched.clear();
        self.count(stop);
        if self.store.reader().defers() {
            // A backlog ends.
            self.store.apply_deferred(EPOCH).unwrap();
        }
    }

    /// Takes the lines of all logs for read.
    fn count(&mut self, stop: bool) {
        let scope = account::scope(self.accounts.own());
        for ((run, _), log) in &mut self.logs {
            let whole = |half: &&(ModelLine, usize)| stop && half.1 == half.0.text.len();
            let settled = log.half.as_ref().filter(whole).map(|(line, _)| line);
            log.settled |= settled.is_some();
            for line in log.lines.iter().chain(settled) {
                let place = LineContext {
                    scope,
                    origin: 0,
                    offset: 0,
                };
                let (mut records, mut observations) = (Vec::new(), Vec::new());
                let parsed = parse::line(line.text.as_bytes(), place, &mut records, &mut observations);
                self.line_times.extend(parsed.time);
                for observation in observations {
                    let at = observation.observed_at.unwrap();
                    self.observed
                        .insert((at, observation.window.clone()), observation);
                }
                let Says::Response { output, time, llm } = line.says else {
                    continue;
                };
                let key = records[0].key.0;
                if time.is_none() {
                    self.undated.entry(key).or_default().insert(*run);
                }
                let time = time.unwrap_or(Millis::MAX);
                let row = self
                    .counted
                    .entry(key)
                    .or_insert_with(|| (output, llm.to_owned(), (*run).to_owned(), time));
                if output > row.0 {
                    (row.0, row.1) = (output, llm.to_owned());
                }
                if time < row.3 {
                    (row.2, row.3) = ((*run).to_owned(), time);
                }
            }
        }
    }

    /// Takes over the time and the run of responses without a time, which the model cannot compute. Each must
    /// have the time of a line, of a file or of a reading, in a run that had its line.
    fn adopt(&mut self, picture: &Picture) -> Result<(), String> {
        let written = self.written_from..=Clock::SYSTEM.now();
        let (readings, lines) = (&self.readings, &self.line_times);
        let may_be = |at: &Millis| readings.contains(at) || lines.contains(at) || written.contains(at);
        for (key, runs) in &self.undated {
            let (_, _, run, time) = self.counted.get_mut(key).unwrap();
            let Some((_, _, in_run, at)) = picture.responses.get(key) else {
                return Err(format!("without a time, {key:032x} was not counted"));
            };
            if !runs.contains(&**in_run) || !may_be(at) {
                return Err(format!(
                    "without a time, {key:032x} is of {in_run} at {at}, and was of {run} at {time}"
                ));
            }
            (*run, *time) = (in_run.clone(), *at);
        }
        Ok(())
    }

    /// Windows follow from the observations.
    fn check_limits(&self) -> Result<(), String> {
        let (is, must_be) = (
            Limits::of(&self.snapshot()).unwrap(),
            Limits::must_be(self.observed.values()),
        );
        if is != must_be {
            return Err(format!("limits are\n{is:#?}\nand must be\n{must_be:#?}"));
        }
        check_fired(
            &self.snapshot().quota(0).unwrap().fired,
            &is,
            self.observed.values(),
        )
    }

    /// The checks after a look.
    fn check(&mut self) -> Result<(), String> {
        let mut picture = Picture::of(&self.snapshot()).unwrap();
        self.adopt(&picture)?;
        self.check_limits()?;
        let snapshot = self.snapshot().summary().unwrap();
        let lines: u64 = snapshot.runs.values().map(|run| run.lines.read).sum();
        let of_responses: u64 = snapshot.runs.values().map(|run| run.lines.usage).sum();
        let duplicates = std::mem::take(&mut picture.duplicates);
        picture.read.clear();
        let mut must_be = Picture {
            responses: self.counted.clone(),
            ..Picture::default()
        };
        must_be.add_up(INPUT);
        if picture != must_be {
            return Err(difference(&picture, &must_be));
        }
        let counted = self.counted.len() as u64;
        if of_responses - duplicates != counted {
            return Err(format!(
                "{of_responses} lines, {duplicates} of them duplicates, are not {counted} responses"
            ));
        }
        let standing = |log: &Log| log.lines.len() as u64 + u64::from(log.settled);
        let standing: u64 = self.logs.values().map(standing).sum();
        if !self.changed && lines != standing {
            return Err(format!("{lines} lines were read, and there are {standing}"));
        }
        for ((run, name), log) in &self.logs {
            let positions = self.snapshot().positions(&RunId::new(run).unwrap()).unwrap();
            let path = Path::new("mount").join(name);
            let offset = (positions.get(path.as_os_str())).map_or(0, |stored| stored.cursor.offset);
            let end = Self::text(&log.lines).len() as u64;
            if offset != end {
                return Err(format!(
                    "{run}/{name} is read to {offset}, its last line ends at {end}"
                ));
            }
        }
        Ok(())
    }

    fn step(&mut self) {
        let (mut kill, mut changes) = (None, false);
        let mut look = pick(
            &mut self.random,
            &[
                ModelLook::Hints,
                ModelLook::Hints,
                ModelLook::Everything,
                ModelLook::Rescan,
            ],
        );
        match self.random.u32(..8) {
            0 => {
                self.done.push("down".to_owned());
                self.restart();
                for _ in 0..self.random.usize(1..=UNSEEN_MAX) {
                    let what = if self.random.bool() {
                        self.add()
                    } else {
                        self.change()
                    };
                    self.done.push(what);
                }
                look = ModelLook::Rescan;
            }
            1 | 2 => {
                for _ in 0..self.random.usize(1..=UNSEEN_MAX) {
                    let what = self.add();
                    self.done.push(what);
                }
                let kills = [Kill::Read, Kill::Commit, Kill::Answer];
                kill = self.random.bool().then(|| pick(&mut self.random, &kills));
            }
            _ => {
                changes = true;
                let what = self.change();
                self.done.push(what);
            }
        }
        // Open files that are gone are read once more at a stop, which would count a half line that the model
        // has moved.
        let stop = !changes && self.random.u32(..4) == 0;
        self.done
            .push(format!("look: {look:?}, stop: {stop}, end: {kill:?}"));
        self.look(look, stop, kill);
    }

    fn run(&mut self) -> Result<(), String> {
        for _ in 0..LOOKS {
            self.step();
            self.check()?;
        }
        for run in RUNS {
            let _ = fs::remove_dir_all(self.root.path().join(run));
        }
        self.logs.clear();
        self.changed = true;
        self.look(ModelLook::Everything, false, None);
        self.check()?;
        match self.watch.health().watches {
            0 => Ok(()),
            left => Err(format!("{left} watches are left, and no directory")),
        }
    }
}

/// The responses in which two pictures differ; all contents, if they differ elsewhere.
fn difference(is: &Picture, must_be: &Picture) -> String {
    let keys: BTreeSet<&u128> = is.responses.keys().chain(must_be.responses.keys()).collect();
    let differ = keys
        .into_iter()
        .filter(|key| is.responses.get(key) != must_be.responses.get(key));
    let lines: Vec<String> = differ
        .map(|key| {
            let (is, must_be) = (is.responses.get(key), must_be.responses.get(key));
            format!("{key:032x}: {is:?}, must be {must_be:?}")
        })
        .collect();
    if lines.is_empty() {
        return format!("the database says\n{is:#?}\nand must say\n{must_be:#?}");
    }
    lines.join("\n")
}

fn part(number: u64) {
    let first = number_setting("TOKENTAIL_SEED").unwrap_or(0);
    let count = number_setting("TOKENTAIL_MODELS").unwrap_or(MODELS);
    let (mut counted, mut undated, mut observed) = (0, 0, 0);
    for seed in (first..first + count).filter(|seed| seed % 2 == number) {
        let mut model = Model::new(seed);
        if let Err(what) = model.run() {
            panic!(
                "{:#?}\n{what}\nonce more: TOKENTAIL_MODELS=1 TOKENTAIL_SEED={seed}",
                model.done
            );
        }
        counted += model.counted.len();
        undated += model.undated.len();
        observed += model.observed.len();
    }
    eprintln!(
        "{counted} responses, {undated} of them without a time, each counted once; {observed} words about limits"
    );
    assert!(count < 100 || (undated > 0 && observed > 0));
}

// Two halves, so that two processors share them.

#[test]
fn whatever_is_done_to_files_the_database_is_what_the_model_says_even_seeds() {
    part(0);
}

#[test]
fn whatever_is_done_to_files_the_database_is_what_the_model_says_odd_seeds() {
    part(1);
}
