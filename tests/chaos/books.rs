//! The writers' books: the lines written to each run's log with their times, and when the collector published
//! them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::response;

/// One in so many writes ends inside a line.
const HALF_EVERY: usize = 20;
/// One in so many writes is a burst, of so many lines.
const BURST_EVERY: usize = 100;
const BURST_LINES: usize = 50;
/// Longest recovery of a run after a fault ended.
pub const RECOVERED_AFTER: Duration = Duration::from_secs(10);

/// A written line that is not published yet.
struct Waiting {
    /// The run's output tokens with this line.
    output: u64,
    at: Instant,
    /// True while its run had no fault since.
    is_fair: bool,
}

/// A run and its writer.
pub struct Run {
    pub log: PathBuf,
    /// True if its logs have events: then its lines are timed.
    pub has_events: bool,
    /// True while its logs are not where the collector can find them.
    pub is_away: bool,
    pub messages: u64,
    pub output: u64,
    /// The rest of the last, unfinished line.
    half: Vec<u8>,
    half_output: u64,
    waiting: VecDeque<Waiting>,
    troubles: usize,
    /// The end of its last fault.
    recovering: Option<Instant>,
    /// The end of any of its faults: health includes the changes from then on at the earliest.
    changed: Option<Instant>,
}

/// A line that was published too late.
#[derive(Debug)]
pub struct Late {
    pub run: String,
    pub written: Instant,
    pub waited: Duration,
}

#[derive(Default)]
pub struct Books {
    pub runs: BTreeMap<String, Run>,
    /// Latencies of lines of runs without a fault.
    pub latencies: Vec<Duration>,
    pub late: Vec<Late>,
    /// Lines written while the disk had no room for all of them.
    pub cut: u64,
    names: Vec<String>,
}

impl Books {
    pub fn add(&mut self, name: &str, log: PathBuf, has_events: bool) {
        let run = Run {
            log,
            has_events,
            is_away: false,
            messages: 0,
            output: 0,
            half: Vec::new(),
            half_output: 0,
            waiting: VecDeque::new(),
            troubles: 0,
            recovering: None,
            changed: None,
        };
        self.runs.insert(name.to_owned(), run);
        self.names.push(name.to_owned());
    }

    pub fn messages(&self) -> u64 {
        self.runs.values().map(|run| run.messages).sum()
    }

    /// One write: the next run's next line, a part of one, or many.
    pub fn write(&mut self, random: &mut fastrand::Rng) {
        let name = &self.names[random.usize(..self.names.len())];
        let run = self.runs.get_mut(name).unwrap();
        let lines = if random.usize(..BURST_EVERY) == 0 {
            BURST_LINES
        } else {
            1
        };
        for _ in 0..lines {
            if !run.write(name, random.usize(..HALF_EVERY) == 0, random) {
                self.cut += 1;
                break;
            }
        }
    }

    /// Writes what is left of half lines.
    pub fn finish_lines(&mut self) {
        for run in self.runs.values_mut() {
            run.write_half();
        }
    }

    /// Records that the collector published so many output tokens of a run.
    pub fn heard(&mut self, name: &str, output: u64, longest: Duration) {
        let Some(run) = self.runs.get_mut(name) else {
            return;
        };
        let now = Instant::now();
        while run.waiting.front().is_some_and(|line| line.output <= output) {
            let Some(line) = run.waiting.pop_front() else {
                return;
            };
            if run.recovering.is_some_and(|since| line.at >= since) {
                run.recovering = None;
            }
            if !(line.is_fair && run.has_events) {
                continue;
            }
            let waited = now - line.at;
            self.latencies.push(waited);
            if waited > longest {
                self.late.push(Late {
                    run: name.to_owned(),
                    written: line.at,
                    waited,
                });
            }
        }
    }

    /// Marks a run as faulty from now until [`Self::recover`].
    pub fn suffer(&mut self, name: &str) {
        let run = self.runs.get_mut(name).unwrap();
        run.troubles += 1;
        run.waiting.iter_mut().for_each(|line| line.is_fair = false);
    }

    pub fn recover(&mut self, name: &str) {
        let run = self.runs.get_mut(name).unwrap();
        run.troubles -= 1;
        let now = Instant::now();
        run.changed = Some(now);
        if run.troubles == 0 {
            run.recovering = Some(now);
        }
    }

    /// Number of lines that are not published.
    pub fn waiting(&self) -> usize {
        self.runs.values().map(|run| run.waiting.len()).sum()
    }

    /// Runs with a line that the collector could have counted for so long and has not, and whether they have
    /// a fault.
    pub fn owed(&self, longer_than: Duration, up_since: Instant) -> Vec<(String, bool)> {
        let now = Instant::now();
        let owed = |(name, run): (&'_ String, &'_ Run)| {
            let since = run.waiting.front()?.at.max(up_since);
            let since = run.changed.map_or(since, |changed| since.max(changed));
            (!run.is_away && now - since > longer_than).then(|| (name.clone(), run.troubles > 0))
        };
        self.runs.iter().filter_map(owed).collect()
    }

    /// Differences of a summary.
    pub fn differences(&self, summary: &Value) -> Vec<String> {
        let said = |name: &str, field: &str| summary["by_run"][name][field].as_u64().unwrap_or(0);
        let mut differences: Vec<String> = self
            .runs
            .iter()
            .filter(|(name, run)| {
                run.output != said(name, "output_tokens") || 10 * run.messages != said(name, "input_tokens")
            })
            .map(|(name, run)| {
                format!(
                    "run {name} wrote {} lines of {} output tokens and has {} input and {} output tokens",
                    run.messages,
                    run.output,
                    said(name, "input_tokens"),
                    said(name, "output_tokens")
                )
            })
            .collect();
        if summary["messages"] != self.messages() {
            differences.push(format!(
                "{} lines were written and {} are counted",
                self.messages(),
                summary["messages"]
            ));
        }
        if summary["lines"]["duplicate"] != 0 {
            differences.push(format!("{} lines were read twice", summary["lines"]["duplicate"]));
        }
        differences
    }
}

impl Run {
    /// `false` if the disk is full.
    fn write(&mut self, name: &str, is_half: bool, random: &mut fastrand::Rng) -> bool {
        if !self.half.is_empty() {
            return self.write_half();
        }
        self.half_output = random.u64(1..5000);
        let id = format!("{name}-{}", self.messages);
        self.half = response(
            &id,
            self.half_output,
            u32::try_from(self.messages % 3600).unwrap(),
        )
        .into_bytes();
        if is_half {
            let rest = self.half.split_off(random.usize(1..self.half.len()));
            let is_whole = self.append();
            self.half.extend(rest);
            return is_whole;
        }
        self.write_half()
    }

    /// `false` if the disk is full.
    fn write_half(&mut self) -> bool {
        if self.half.is_empty() {
            return true;
        }
        if !self.append() {
            return false;
        }
        let at = Instant::now();
        self.messages += 1;
        self.output += self.half_output;
        if self
            .recovering
            .is_some_and(|since| since.elapsed() > RECOVERED_AFTER)
        {
            self.recovering = None;
        }
        self.waiting.push_back(Waiting {
            output: self.output,
            at,
            is_fair: self.troubles == 0 && self.recovering.is_none(),
        });
        true
    }

    /// Writes everything pending, if the disk has room.
    fn append(&mut self) -> bool {
        let mut file = match OpenOptions::new().append(true).create(true).open(&self.log) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::StorageFull => return false,
            Err(error) => panic!("{}: {error}", self.log.display()),
        };
        while !self.half.is_empty() {
            match file.write(&self.half) {
                Ok(written) => drop(self.half.drain(..written)),
                Err(error) if error.kind() == ErrorKind::StorageFull => return false,
                Err(error) => panic!("{}: {error}", self.log.display()),
            }
        }
        true
    }
}
