//! Random crashes and faults, with the store's own schema and commits.
//!
//! A seed decides a schedule: the contents of files, how they are read and grouped, which are renamed and
//! rewritten, when a backlog ends, the marks of operators, and the disk faults meanwhile. After each opening
//! the database must be the merge of the files up to the stored offsets, computed here in another way:
//! responses, and windows with their history, rejections and thresholds; and no acknowledged data may be
//! lost.
//!
//! `TOKENTAIL_SCHEDULES=N` runs N schedules, `TOKENTAIL_SEED=S` begins with that seed.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;

use super::disk::{Disk, EIO, ENOSPC, Tally, Trouble};
use super::picture::{Limits, Picture, WINDOWS, account, check_fired, report};
use super::*;
use crate::fuzz::number_setting;
use crate::model::{Fired, Labels, LimitStatus, Observation, RelativePath};
use crate::quota::exhaustion::Cause;
use crate::store::Start;

/// Number of schedules if none is given.
const SCHEDULES: u64 = 10_000;
/// Number of schedules on the disk that ignores syncs.
const LIES: u64 = 200;
/// Consecutive openings that may fail before the schedule itself is considered wrong.
const OPENINGS_MAX: u32 = 100;
/// Maximum number of consecutive crashes.
const CRASHES_MAX: u32 = 3;
const RUNS: [&str; 2] = ["one", "two"];
/// Each file has two names and is renamed from one to the other.
const FILES: [[&str; 2]; 2] = [["a.jsonl", "a.1.jsonl"], ["b.jsonl", "b.1.jsonl"]];
/// Input tokens of each response.
const INPUT: u64 = 1;
/// Bytes of a line.
const LINE: u64 = 10;

/// A file: its run, its names, its lines. **Invariant**: positions count lines over all contents that the
/// file ever had.
struct File {
    run: &'static str,
    names: [&'static str; 2],
    /// Index of its current name.
    name: usize,
    lines: Vec<Record>,
    /// The observation of each line.
    reports: Vec<Option<Observation>>,
    /// Number of lines after which it is rewritten: the others are in it from its start.
    rewritten_at: u64,
}

impl File {
    /// The stored cursor when this number of lines was read.
    fn cursor(&self, read: u64) -> Option<Cursor> {
        let place = if read > self.rewritten_at {
            Cursor {
                generation: 1,
                ..cursor((read - self.rewritten_at) * LINE)
            }
        } else {
            cursor(read * LINE)
        };
        (read > 0).then_some(place)
    }

    /// The number of lines read when this is stored.
    fn read(&self, cursor: &Cursor) -> u64 {
        cursor.offset / LINE + u64::from(cursor.generation) * self.rewritten_at
    }

    fn reports(&self, read: u64) -> impl Iterator<Item = &Observation> {
        self.reports[..usize::try_from(read).unwrap()].iter().flatten()
    }
}

/// A mark with its state: the last acknowledged one, or the one after it.
#[derive(Default)]
struct WriteState {
    acknowledged: u64,
    tried: u64,
}

impl WriteState {
    fn may_be(&mut self, what: &str, stored: u64) -> Result<(), Stop> {
        if stored != self.acknowledged && stored != self.tried {
            return Err(Stop::Broken(format!(
                "{what} {stored} is there, {} was acknowledged, {} was tried",
                self.acknowledged, self.tried
            )));
        }
        (self.acknowledged, self.tried) = (stored, stored);
        Ok(())
    }
}

/// Reason for which a schedule ends early.
enum Stop {
    /// A promise is broken.
    Broken(String),
    /// The disk fails.
    Disk(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Disk(error)
    }
}

/// The expected contents of the database when these numbers of lines were read.
fn must_be(files: &[File], read: &[u64]) -> Picture {
    let mut picture = Picture::default();
    let mut copies = 0;
    let mut first: BTreeMap<u128, (Millis, &str)> = BTreeMap::new();
    for (file, &read) in files.iter().zip(read) {
        if read == 0 {
            continue;
        }
        let of_run = picture.read.entry(file.run.to_owned()).or_default();
        *of_run = (of_run.0 + read, of_run.1 + 1, of_run.2 + read * LINE);
        for record in &file.lines[..usize::try_from(read).unwrap()] {
            copies += 1;
            let time = record.time.unwrap();
            let claim = first.entry(record.key.0).or_insert((time, file.run));
            *claim = (*claim).min((time, file.run));
            let row = picture.responses.entry(record.key.0).or_default();
            // No two copies have the same one.
            if row.1.is_empty() || record.usage.output > row.0 {
                (row.0, row.1) = (record.usage.output, record.model.to_string());
            }
        }
    }
    for (key, row) in &mut picture.responses {
        let (time, run) = first[key];
        (row.2, row.3) = (run.to_owned(), time);
    }
    picture.add_up(INPUT);
    picture.duplicates = copies - picture.responses.len() as u64;
    picture.without_zeros()
}

/// A database without responses.
fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let disk = Disk::new(&[], false, fastrand::Rng::with_seed(0));
        let mut store = Writer::on(disk.clone());
        store.reopen().unwrap();
        store.close();
        disk.image()
    })
}

/// One schedule in progress.
struct Schedule {
    random: fastrand::Rng,
    disk: Disk,
    files: Vec<File>,
    /// Number of acknowledged lines of each file.
    acknowledged: Vec<u64>,
    /// Number of lines of each file whose observations are merged, not deferred.
    merged: Vec<u64>,
    /// True if this process has ended the backlog, so that observations are merged as they arrive.
    is_live: bool,
    /// True while the end of a backlog is in progress, with an unknown outcome.
    applies_deferred: bool,
    fired: Vec<Fired>,
    mark: WriteState,
    label: WriteState,
    /// True if the database ever existed.
    was_there: bool,
    crashes_in_row: u32,
    reopenings: u64,
}

impl Schedule {
    fn new(seed: u64, ignores_sync: bool) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut outputs: Vec<u64> = (1..=80).collect();
        random.shuffle(&mut outputs);
        let mut files = Vec::new();
        for run in RUNS {
            for names in FILES {
                let (mut lines, mut observations) = (Vec::new(), Vec::new());
                for _ in 0..random.u64(4..=20) {
                    let output = outputs.pop().expect("80 lines at most");
                    // A separate time for each copy: the owner of a response is then unambiguous.
                    let step = random.i64(0..72);
                    let time = NOW - step * 1_800_000 - i64::try_from(output).unwrap();
                    lines.push(Record {
                        model: ["m", "n", "o"][random.usize(..3)].into(),
                        ..record(random.u128(..25), output, Some(time))
                    });
                    // Reports within a minute are equal, so that the latest alone decides.
                    let status = if step % 4 == 0 {
                        LimitStatus::Rejected
                    } else {
                        LimitStatus::Allowed
                    };
                    let name = WINDOWS[random.usize(..WINDOWS.len())];
                    observations.push(random.bool().then(|| report(name, time, status)));
                }
                files.push(File {
                    run,
                    names,
                    name: 0,
                    rewritten_at: random.u64(1..=lines.len() as u64),
                    lines,
                    reports: observations,
                });
            }
        }
        let is_new = random.u32(..10) == 0;
        let start = if is_new { &[] } else { image() };
        Self {
            disk: Disk::new(start, ignores_sync, random.fork()),
            acknowledged: vec![0; files.len()],
            merged: vec![0; files.len()],
            is_live: false,
            applies_deferred: false,
            fired: Vec::new(),
            mark: WriteState::default(),
            label: WriteState::default(),
            files,
            random,
            was_there: !is_new,
            crashes_in_row: 0,
            reopenings: 0,
        }
    }

    fn plan(&mut self, operations_max: u64) {
        let at = self.random.u64(1..=operations_max);
        let trouble = match self.random.u32(..8) {
            0 => None,
            1 | 2 => Some(Trouble::Fault {
                at,
                count: self.random.u64(1..=12),
                error: [EIO, ENOSPC][self.random.usize(..2)],
            }),
            _ => Some(Trouble::Crash { at }),
        };
        self.disk.expect(trouble);
    }

    /// Number of lines read of each file by the database; updates the current names of the files.
    fn stored(&mut self, snapshot: &Snapshot<'_>) -> Result<Vec<u64>, Stop> {
        let mut stored = Vec::new();
        for file in &mut self.files {
            let positions = snapshot.positions(&RunId::new(file.run).unwrap())?;
            let found = file.names.map(|name| positions.get(OsStr::new(name)));
            file.name = match found {
                [Some(_), Some(_)] => {
                    return Err(Stop::Broken(format!("{:?} are one file", file.names)));
                }
                [None, Some(_)] => 1,
                [_, None] => 0,
            };
            stored.push(found[file.name].map_or(0, |stored| file.read(&stored.cursor)));
        }
        Ok(stored)
    }

    /// Conditions that hold whenever the database is open.
    fn check(&mut self, snapshot: &Snapshot<'_>) -> Result<(), Stop> {
        let stored = self.stored(snapshot)?;
        let picture = Picture::of(snapshot)?;
        self.was_there = true;
        if stored
            .iter()
            .zip(&self.acknowledged)
            .any(|(stored, acknowledged)| stored < acknowledged)
        {
            return Err(Stop::Broken(format!(
                "an acknowledged commit is gone: lines {:?} were acknowledged, {stored:?} are there",
                self.acknowledged
            )));
        }
        let must_be = must_be(&self.files, &stored);
        if picture != must_be {
            return Err(Stop::Broken(format!(
                "the database is not the fold of the lines {stored:?}:\n{picture:#?}\nmust be\n{must_be:#?}"
            )));
        }
        self.check_limits(snapshot, &stored)?;
        self.check_said(snapshot)
    }

    /// Windows follow from the lines whose observations are merged: all that were read, or those read when
    /// the backlog ended.
    fn check_limits(&mut self, snapshot: &Snapshot<'_>, stored: &[u64]) -> Result<(), Stop> {
        let limits = Limits::of(snapshot)?;
        let reports = |read: &[u64]| -> Vec<&Observation> {
            let of = self.files.iter().zip(read);
            of.flat_map(|(file, read)| file.reports(*read)).collect()
        };
        let may_be = match (self.is_live, self.applies_deferred) {
            (true, _) => vec![stored.to_vec()],
            (false, true) => vec![self.merged.clone(), stored.to_vec()],
            (false, false) => vec![self.merged.clone()],
        };
        let is = may_be
            .iter()
            .find(|read| limits == Limits::must_be(reports(read)));
        let Some(is) = is.cloned() else {
            let must_be = Limits::must_be(reports(&may_be[0]));
            return Err(Stop::Broken(format!(
                "limits are not those of the lines {may_be:?}:\n{limits:#?}\nmust be\n{must_be:#?}"
            )));
        };
        let fired = snapshot.quota(0)?.fired;
        check_fired(&fired, &limits, reports(&is)).map_err(Stop::Broken)?;
        if !fired.starts_with(&self.fired) {
            return Err(Stop::Broken(format!(
                "what fired is gone: {:?} was there, {fired:?} is",
                self.fired
            )));
        }
        (self.merged, self.fired) = (is, fired);
        Ok(())
    }

    /// Checks that marks of operators are stored: they are in no log.
    fn check_said(&mut self, snapshot: &Snapshot<'_>) -> Result<(), Stop> {
        let view = snapshot.quota(0)?;
        let mark = view.accounts.get(&account()).and_then(|sums| sums.mark.as_ref());
        let mark = mark.map_or(0, |cause| u64::try_from(cause.until - NOW).unwrap());
        self.mark.may_be("the mark", mark)?;
        let info = snapshot
            .run_info(&RunId::new(RUNS[0]).unwrap())?
            .unwrap_or_default();
        let label = info.labels.get("n").map_or(0, |number| number.parse().unwrap());
        self.label.may_be("the label", label)
    }

    /// Opens the database until it is open, as a service that is restarted does.
    fn open(&mut self) -> Result<Writer, Stop> {
        let mut store = Writer::on(self.disk.clone());
        for _ in 0..OPENINGS_MAX {
            let opened = store.reopen().map_err(Stop::from);
            let checked = opened.and_then(|()| self.check(&store.reader().snapshot()?));
            let error = match checked {
                Ok(()) => {
                    self.crashes_in_row = 0;
                    self.reopenings += 1;
                    // A process starts with a backlog.
                    (self.is_live, self.applies_deferred) = (false, false);
                    return Ok(store);
                }
                Err(Stop::Disk(error)) => error,
                Err(broken) => return Err(broken),
            };
            self.after(&error, &mut store)?;
        }
        Err(Stop::Broken(format!("it did not open {OPENINGS_MAX} times")))
    }

    /// Restores the disk, and the process if it ended with the power.
    fn after(&mut self, error: &StoreError, store: &mut Writer) -> Result<(), Stop> {
        if self.disk.is_down() {
            self.disk.boot();
            *store = Writer::on(self.disk.clone());
            self.crashes_in_row += 1;
            if self.crashes_in_row < CRASHES_MAX {
                self.plan(40);
            }
            return Ok(());
        }
        if !error.is_damage() {
            return Ok(());
        }
        // A database whose creation was not finished is damaged when the power fails; the next one replaces
        // it.
        if self.was_there {
            return Err(Stop::Broken(format!(
                "a sound database was called damaged: {error}"
            )));
        }
        store.close();
        self.disk.wipe();
        Ok(())
    }

    /// Reads further lines in some of the files.
    fn batches(&mut self, stored: &[u64], all: bool) -> (Vec<Batch>, Vec<u64>) {
        let mut batches = Vec::new();
        let mut read = stored.to_vec();
        for (number, file) in self.files.iter_mut().enumerate() {
            let length = file.lines.len() as u64;
            let mut renamed = None;
            if read[number] > 0 && self.random.u32(..8) == 0 {
                renamed = Some(RelativePath::from(Path::new(file.names[file.name])));
                file.name = 1 - file.name;
            }
            // More than one batch of a file may be in one commit; one of a renamed file is committed at once.
            while renamed.is_some() || read[number] < length && (all || self.random.u32(..3) > 0) {
                let from = read[number];
                // The lines before a rewrite of the file are a batch of their own.
                let end = if from < file.rewritten_at {
                    file.rewritten_at
                } else {
                    length
                };
                let to = if all {
                    end
                } else {
                    self.random.u64(from.min(end - 1) + 1..=end)
                };
                let part = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
                let name = file.names[file.name];
                let lines = file.lines[part.clone()].to_vec();
                let mut batch = batch(file.run, name, None, (to - from) * LINE, lines);
                batch.expect = file.cursor(from);
                batch.cursor = file.cursor(to).unwrap_or_default();
                batch.observations = file.reports[part].iter().flatten().cloned().collect();
                batch.renamed_from = renamed.take();
                batches.push(batch);
                read[number] = to;
            }
        }
        (batches, read)
    }

    fn commit(&mut self, store: &mut Writer, all: bool) -> Result<(), Stop> {
        let mut stored = self.stored(&store.reader().snapshot()?)?;
        loop {
            let (batches, read) = self.batches(&stored, all);
            let committed = store.commit(&batches)?;
            if committed
                .outcomes
                .iter()
                .any(|outcome| *outcome != Outcome::Committed)
            {
                return Err(Stop::Broken(format!(
                    "what was stored is not continued: {:?}",
                    committed.outcomes
                )));
            }
            self.acknowledged.clone_from(&read);
            let is_whole = |(file, read): (&File, &u64)| file.lines.len() as u64 == *read;
            if !all || self.files.iter().zip(&read).all(is_whole) {
                return Ok(());
            }
            stored = read;
        }
    }

    /// The backlog ends: deferred observations are merged, and later ones as they arrive.
    fn apply_deferred(&mut self, store: &mut Writer) -> Result<(), Stop> {
        self.applies_deferred = true;
        store.apply_deferred(NOW)?;
        self.is_live = true;
        Ok(())
    }

    /// An operator sets a mark.
    fn say(&mut self, store: &mut Writer) -> Result<(), Stop> {
        if self.random.bool() {
            self.mark.tried += 1;
            let cause = Cause {
                until: NOW + i64::try_from(self.mark.tried).unwrap(),
                reason: "said".into(),
                source: "a test".into(),
                since: NOW,
            };
            store.mark(&account(), Some(&cause))?;
            self.mark.acknowledged = self.mark.tried;
        } else {
            self.label.tried += 1;
            let start = Start {
                run: RunId::new(RUNS[0]).unwrap(),
                account: account(),
                labels: Some(Labels::from([("n".into(), self.label.tried.to_string().into())])),
                mount: None,
                lease: None,
            };
            store.start(&[start], false, NOW)?;
            self.label.acknowledged = self.label.tried;
        }
        Ok(())
    }

    fn step(&mut self, store: &mut Writer) -> Result<(), Stop> {
        match self.random.u32(..8) {
            0 => self.apply_deferred(store),
            1 => self.say(store),
            _ => self.commit(store, false),
        }
    }

    fn run(&mut self) -> Result<(), String> {
        let describe = |stop: Stop| match stop {
            Stop::Broken(what) => what,
            Stop::Disk(error) => format!("the disk is well, and yet: {error}"),
        };
        self.plan(60);
        let mut store = self.open().map_err(describe)?;
        for _ in 0..self.random.u32(3..=8) {
            match self.step(&mut store) {
                Ok(()) => {}
                Err(Stop::Disk(error)) => {
                    self.after(&error, &mut store).map_err(describe)?;
                    drop(store);
                    store = self.open().map_err(describe)?;
                    self.plan(60);
                }
                Err(broken) => return Err(describe(broken)),
            }
        }
        // The power fails between two commits, or the fault is over.
        self.disk.expect(None);
        if self.random.bool() {
            self.disk.boot();
        }
        drop(store);
        let mut store = self.open().map_err(describe)?;
        self.commit(&mut store, true).map_err(describe)?;
        self.apply_deferred(&mut store).map_err(describe)?;
        // Closing compacts the file, and may fail as well.
        self.plan(40);
        store.close();
        self.disk.expect(None);
        drop(store);
        let store = self.open().map_err(describe)?;
        let whole: Vec<u64> = self.files.iter().map(|file| file.lines.len() as u64).collect();
        let stored = self.stored(&read(&store)).map_err(describe)?;
        if stored != whole || self.merged != whole {
            let merged = &self.merged;
            return Err(format!(
                "not everything is read and merged: {stored:?} and {merged:?} of {whole:?}"
            ));
        }
        Ok(())
    }
}

/// Runs schedules of these seeds; returns the disk faults, or the first schedule that broke a promise.
fn run(seeds: impl Iterator<Item = u64>) -> (Tally, u64) {
    let (mut sum, mut reopenings) = (Tally::default(), 0);
    for seed in seeds {
        let mut schedule = Schedule::new(seed, false);
        if let Err(what) = schedule.run() {
            panic!("schedule {seed}: {what}\nonce more: TOKENTAIL_SCHEDULES=1 TOKENTAIL_SEED={seed}");
        }
        let tally = schedule.disk.tally();
        sum.crashes += tally.crashes;
        sum.faults += tally.faults;
        sum.lost += tally.lost;
        sum.torn += tally.torn;
        sum.kept += tally.kept;
        reopenings += schedule.reopenings;
    }
    (sum, reopenings)
}

fn part(number: u64) {
    let first = number_setting("TOKENTAIL_SEED").unwrap_or(0);
    let count = number_setting("TOKENTAIL_SCHEDULES").unwrap_or(SCHEDULES);
    let (tally, reopenings) = run((first..first + count).filter(|seed| seed % 2 == number));
    eprintln!("{reopenings} openings, {tally:?}");
    if count >= 100 {
        let all = [tally.crashes, tally.faults, tally.lost, tally.torn, tally.kept];
        assert!(
            all.iter().all(|count| *count > 0),
            "the disks had no trouble: {tally:?}"
        );
    }
}

// Two halves, so that two processors are used.

#[test]
fn no_schedule_of_crashes_and_faults_breaks_a_promise_even_seeds() {
    part(0);
}

#[test]
fn no_schedule_of_crashes_and_faults_breaks_a_promise_odd_seeds() {
    part(1);
}

/// Without this, the above would prove nothing.
#[test]
fn a_disk_that_lies_about_syncs_is_caught() {
    let broken = |seed: &u64| {
        let mut schedule = Schedule::new(*seed, true);
        let ended = catch_unwind(AssertUnwindSafe(|| schedule.run()));
        // A panic over the contents of such a disk is detected too.
        !matches!(ended, Ok(Ok(())))
    };
    let caught = (0..LIES).filter(broken).count();
    eprintln!("{caught} of {LIES} schedules on a disk that ignores syncs broke a promise");
    assert!(caught > 0);
}
