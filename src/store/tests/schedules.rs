//! Crashes and faults at random, with the store's own schema and commits on top.
//!
//! A schedule is all that a seed decides: what the files hold, how they are read and grouped, and what befalls the disk
//! meanwhile. After each opening the database must be the fold of the files up to the stored offsets, worked out here
//! in another way, and nothing that was acknowledged may be gone.
//!
//! `TOKENTAIL_SCHEDULES=N` runs N schedules, `TOKENTAIL_SEED=S` begins with that seed.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use super::disk::{Disk, EIO, ENOSPC, Tally, Trouble};
use super::picture::Picture;
use super::*;

/// Schedules that are run when nobody says how many.
const SCHEDULES: u64 = 10_000;
/// Those of the disk that lies.
const LIES: u64 = 200;
/// Openings in a row that may fail before something is wrong with the schedule itself.
const OPENINGS_MAX: u32 = 100;
/// Crashes in a row.
const CRASHES_MAX: u32 = 3;
const RUNS: [&str; 2] = ["one", "two"];
const FILES: [&str; 2] = ["a.jsonl", "b.jsonl"];
/// Input tokens of each response.
const INPUT: u64 = 1;
/// Bytes of a line.
const LINE: u64 = 10;

/// A file: its run, its name, its lines.
struct File {
    run: &'static str,
    path: &'static str,
    lines: Vec<Record>,
}

/// Why a schedule ends early.
enum Stop {
    /// A promise is broken.
    Broken(String),
    /// The disk does not answer.
    Disk(StoreError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Disk(error)
    }
}

/// What the database must say when so many lines of each file were read.
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
            // No two copies have the same.
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

/// A database in which nothing was counted yet.
fn image() -> &'static [u8] {
    static IMAGE: OnceLock<Vec<u8>> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let disk = Disk::new(&[], false, fastrand::Rng::with_seed(0));
        let store = Store::on(disk.clone());
        store.reopen().unwrap();
        store.close();
        disk.image()
    })
}

/// One schedule under way.
struct Schedule {
    random: fastrand::Rng,
    disk: Disk,
    files: Vec<File>,
    /// Lines of each file that were acknowledged.
    acknowledged: Vec<u64>,
    /// Whether the database was ever there.
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
            for path in FILES {
                let lines = (0..random.u64(4..=20)).map(|_| {
                    let output = outputs.pop().expect("80 lines at most");
                    // A time of its own for each copy: which of two owns a response is then no question.
                    let time = NOW - random.i64(0..72) * 1_800_000 - i64::try_from(output).unwrap();
                    Record {
                        model: ["m", "n", "o"][random.usize(..3)].into(),
                        ..record(random.u128(..25), output, Some(time))
                    }
                });
                let lines = lines.collect();
                files.push(File { run, path, lines });
            }
        }
        let is_new = random.u32(..10) == 0;
        let start = if is_new { &[] } else { image() };
        Self {
            disk: Disk::new(start, ignores_sync, random.fork()),
            acknowledged: vec![0; files.len()],
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

    /// Lines of each file that the database says were read.
    fn stored(&self, store: &Store) -> Result<Vec<u64>, StoreError> {
        let of = |file: &File| -> Result<u64, StoreError> {
            let cursors = store.cursors(&RunId::new(file.run).unwrap())?;
            let found = cursors.iter().find(|(path, _)| ***path == *Path::new(file.path));
            Ok(found.map_or(0, |(_, cursor)| cursor.offset / LINE))
        };
        self.files.iter().map(of).collect()
    }

    /// What must hold whenever the database is open.
    fn check(&mut self, store: &Store) -> Result<(), Stop> {
        let stored = self.stored(store)?;
        let picture = Picture::of(store)?;
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
        Ok(())
    }

    /// Opens the database until it is open, as a service that is started again does.
    fn open(&mut self) -> Result<Store, Stop> {
        let mut store = Store::on(self.disk.clone());
        for _ in 0..OPENINGS_MAX {
            let opened = store.reopen().map_err(Stop::from);
            let checked = opened.and_then(|()| self.check(&store));
            let error = match checked {
                Ok(()) => {
                    self.crashes_in_row = 0;
                    self.reopenings += 1;
                    return Ok(store);
                }
                Err(Stop::Disk(error)) => error,
                Err(broken) => return Err(broken),
            };
            self.after(&error, &mut store)?;
        }
        Err(Stop::Broken(format!("it did not open {OPENINGS_MAX} times")))
    }

    /// Brings the disk back, and the process if it went with the power.
    fn after(&mut self, error: &StoreError, store: &mut Store) -> Result<(), Stop> {
        if self.disk.is_down() {
            self.disk.boot();
            *store = Store::on(self.disk.clone());
            self.crashes_in_row += 1;
            if self.crashes_in_row < CRASHES_MAX {
                self.plan(40);
            }
            return Ok(());
        }
        if !error.is_damage() {
            return Ok(());
        }
        // A database that was still being made is damaged when the power goes; the next one takes its place.
        if self.was_there {
            return Err(Stop::Broken(format!(
                "a sound database was called damaged: {error}"
            )));
        }
        store.close();
        self.disk.wipe();
        Ok(())
    }

    /// Reads on in some of the files.
    fn batches(&mut self, stored: &[u64], all: bool) -> (Vec<Batch>, Vec<u64>) {
        let mut batches = Vec::new();
        let mut read = stored.to_vec();
        for (number, file) in self.files.iter().enumerate() {
            let length = file.lines.len() as u64;
            // More than one batch of a file may be in one commit.
            while read[number] < length && (all || self.random.u32(..3) > 0) {
                let from = read[number];
                let to = if all {
                    length
                } else {
                    self.random.u64(from + 1..=length)
                };
                let lines = &file.lines[usize::try_from(from).unwrap()..usize::try_from(to).unwrap()];
                let expect = (from > 0).then_some(from * LINE);
                batches.push(batch(file.run, file.path, expect, to * LINE, lines.to_vec()));
                read[number] = to;
            }
        }
        (batches, read)
    }

    fn commit(&mut self, store: &Store, all: bool) -> Result<(), Stop> {
        let stored = self.stored(store)?;
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
        self.acknowledged = read;
        Ok(())
    }

    fn run(&mut self) -> Result<(), String> {
        let told = |stop: Stop| match stop {
            Stop::Broken(what) => what,
            Stop::Disk(error) => format!("the disk is well, and yet: {error}"),
        };
        self.plan(60);
        let mut store = self.open().map_err(told)?;
        for _ in 0..self.random.u32(3..=8) {
            match self.commit(&store, false) {
                Ok(()) => {}
                Err(Stop::Disk(error)) => {
                    self.after(&error, &mut store).map_err(told)?;
                    drop(store);
                    store = self.open().map_err(told)?;
                    self.plan(60);
                }
                Err(broken) => return Err(told(broken)),
            }
        }
        // The power goes between two commits, or the trouble is over.
        self.disk.expect(None);
        if self.random.bool() {
            self.disk.boot();
        }
        drop(store);
        let store = self.open().map_err(told)?;
        self.commit(&store, true).map_err(told)?;
        // Closing packs the file, and may be in trouble as well.
        self.plan(40);
        store.close();
        self.disk.expect(None);
        drop(store);
        let store = self.open().map_err(told)?;
        let whole: Vec<u64> = self.files.iter().map(|file| file.lines.len() as u64).collect();
        match self.stored(&store) {
            Ok(stored) if stored == whole => Ok(()),
            other => Err(format!("not everything is read: {other:?} of {whole:?}")),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "settings of this test, not of the program"
)]
fn from_environment(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name}={value} is no number")),
    )
}

/// Runs schedules of these seeds; what befell their disks, or the first that broke a promise.
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
    let first = from_environment("TOKENTAIL_SEED").unwrap_or(0);
    let count = from_environment("TOKENTAIL_SCHEDULES").unwrap_or(SCHEDULES);
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

// Two halves, so that two processors share them.

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
    let caught = (0..LIES)
        .filter(|seed| Schedule::new(*seed, true).run().is_err())
        .count();
    eprintln!("{caught} of {LIES} schedules on a disk that ignores syncs broke a promise");
    assert!(caught > 0);
}
