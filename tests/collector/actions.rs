//! Random changes to a run's files, compared with a model of what must be counted.
//!
//! Every response that was in a log while the collector could read it counts once, whatever happens to the
//! log afterwards. While the collector runs, each action is processed before the next, triggered by events
//! only; while it is down, several actions are combined.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use crate::harness::{Collector, Place, append, response};
use crate::scenario::{EVENTS_ONLY, replace};

const RUN: &str = "one";
const SEEDS: u64 = 8;
const STEPS: usize = 40;
/// Actions while the collector is down.
const UNSEEN_MAX: usize = 6;
const NAMES: [&str; 7] = [
    "a.jsonl",
    "b.jsonl",
    "d/a.jsonl",
    "d/b.jsonl",
    "d/f/c.jsonl",
    "e/a.jsonl",
    "e/f/c.jsonl",
];
const DIRECTORIES: [&str; 4] = ["d", "e", "d/f", "e/f"];

/// The ids in a log, one per line.
type Logs = BTreeMap<&'static str, Vec<u32>>;

struct Model {
    random: fastrand::Rng,
    mount: PathBuf,
    logs: Logs,
    counted: BTreeSet<u32>,
    ids: u32,
    /// The actions so far, for the report.
    done: Vec<String>,
}

fn lines(ids: &[u32]) -> String {
    ids.iter().map(|id| response(&id.to_string(), 1, *id)).collect()
}

fn name_of(path: &str) -> &'static str {
    NAMES.into_iter().find(|name| *name == path).unwrap()
}

impl Model {
    fn new(seed: u64, mount: PathBuf) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            mount,
            logs: Logs::new(),
            counted: BTreeSet::new(),
            ids: 0,
            done: vec![format!("seed {seed}")],
        }
    }

    fn new_ids(&mut self) -> Vec<u32> {
        let first = self.ids;
        self.ids += self.random.u32(1..4);
        (first..self.ids).collect()
    }

    fn any_name(&mut self) -> &'static str {
        self.random.choice(NAMES).unwrap()
    }

    /// An existing log; most actions need one.
    fn any_log(&mut self) -> Option<&'static str> {
        let there: Vec<_> = self.logs.keys().copied().collect();
        self.random.choice(there)
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.mount.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// One action on the files and on the model.
    fn act(&mut self) {
        let what = match self.random.u32(0..10) {
            0 | 1 => Some(self.grow()),
            2 => self.repeat(),
            3 => self.delete(),
            4 | 5 => self.rename(),
            6 => self.exchange(),
            7 => self.cut(),
            8 => self.rename_directory(),
            _ => self.remove_directory(),
        };
        // Without a log to work on, the action creates something.
        let what = what.unwrap_or_else(|| self.grow());
        self.done.push(what);
    }

    fn grow(&mut self) -> String {
        let (name, ids) = (self.any_name(), self.new_ids());
        append(&self.path(name), lines(&ids));
        self.logs.entry(name).or_default().extend(&ids);
        format!("append {ids:?} to {name}")
    }

    /// Repeats lines of another log.
    fn repeat(&mut self) -> Option<String> {
        let from = self.any_log()?;
        let (name, ids) = (self.any_name(), self.logs[from].clone());
        append(&self.path(name), lines(&ids));
        self.logs.entry(name).or_default().extend(&ids);
        Some(format!("append a copy of {from} to {name}"))
    }

    fn delete(&mut self) -> Option<String> {
        let name = self.any_log()?;
        fs::remove_file(self.path(name)).unwrap();
        self.logs.remove(name);
        Some(format!("delete {name}"))
    }

    fn rename(&mut self) -> Option<String> {
        let (from, to) = (self.any_log()?, self.any_name());
        fs::rename(self.path(from), self.path(to)).unwrap();
        let ids = self.logs.remove(from).unwrap();
        self.logs.insert(to, ids);
        Some(format!("rename {from} to {to}"))
    }

    /// New content under an old name, in another file or in the same.
    fn exchange(&mut self) -> Option<String> {
        let (name, ids) = (self.any_log()?, self.new_ids());
        let in_place = self.random.bool();
        if in_place {
            fs::write(self.path(name), lines(&ids)).unwrap();
        } else {
            replace(&self.path(name), &lines(&ids));
        }
        let what = format!("{name} now has {ids:?}, in place: {in_place}");
        self.logs.insert(name, ids);
        Some(what)
    }

    /// Fewer lines, and perhaps others after them.
    fn cut(&mut self) -> Option<String> {
        let name = self.any_log()?;
        let mut ids = self.logs[name].clone();
        ids.truncate(self.random.usize(0..=ids.len()));
        let bytes = lines(&ids).len() as u64;
        let path = self.path(name);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(bytes).unwrap();
        let new = if self.random.bool() {
            self.new_ids()
        } else {
            Vec::new()
        };
        append(&path, lines(&new));
        let what = format!("cut {name} to {ids:?}, append {new:?}");
        ids.extend(new);
        self.logs.insert(name, ids);
        Some(what)
    }

    fn rename_directory(&mut self) -> Option<String> {
        let (from, to) = self
            .random
            .choice([("d", "e"), ("e", "d"), ("d/f", "e/f"), ("e/f", "d/f")])?;
        if !self.mount.join(from).exists() {
            return None;
        }
        let to_path = self.path(to);
        if to_path.exists() {
            fs::remove_dir_all(&to_path).unwrap();
        }
        fs::rename(self.mount.join(from), to_path).unwrap();
        self.forget_below(to);
        let moved: Vec<_> = self.below(from);
        for name in moved {
            let ids = self.logs.remove(name).unwrap();
            let new = name.replacen(from, to, 1);
            // A name outside the table is no log in the model.
            if NAMES.contains(&new.as_str()) {
                self.logs.insert(name_of(&new), ids);
            } else {
                fs::remove_file(self.mount.join(new)).unwrap();
            }
        }
        Some(format!("rename {from} to {to}"))
    }

    fn remove_directory(&mut self) -> Option<String> {
        let directory = self.random.choice(DIRECTORIES)?;
        if !self.mount.join(directory).exists() {
            return None;
        }
        fs::remove_dir_all(self.mount.join(directory)).unwrap();
        self.forget_below(directory);
        Some(format!("remove {directory}"))
    }

    fn below(&self, directory: &str) -> Vec<&'static str> {
        let is_below = |name: &&&str| Path::new(name).starts_with(directory);
        self.logs.keys().filter(is_below).copied().collect()
    }

    fn forget_below(&mut self, directory: &str) {
        for name in self.below(directory) {
            self.logs.remove(name);
        }
    }

    /// After the collector had time to read: everything present counts, and nothing else.
    fn check(&mut self, collector: &mut Collector, place: &Place) {
        self.counted.extend(self.logs.values().flatten());
        let wanted = self.counted.len() as u64;
        let summary = collector.settle(place, RUN);
        let totals = (
            &summary["messages"],
            &summary["totals"]["output_tokens"],
            &summary["lines"]["malformed"],
        );
        assert_eq!(
            totals,
            (&wanted.into(), &wanted.into(), &0.into()),
            "{:#?}",
            self.done
        );
    }
}

#[test]
fn any_changes_leave_every_response_counted_once() {
    for seed in 0..SEEDS {
        let place = Place::new();
        let mut model = Model::new(seed, place.mount(RUN));
        let mut collector = place.serve_with(EVENTS_ONLY);
        for _ in 0..STEPS {
            let unseen = if model.random.u32(0..6) == 0 {
                model.random.usize(1..=UNSEEN_MAX)
            } else {
                0
            };
            if unseen > 0 {
                if model.random.bool() {
                    model.done.push("stop".to_owned());
                    collector.stop_cleanly();
                } else {
                    model.done.push("kill".to_owned());
                    collector.kill();
                }
                for _ in 0..unseen {
                    model.act();
                }
                model.done.push("start".to_owned());
                collector = place.serve_with(EVENTS_ONLY);
            } else {
                model.act();
            }
            model.check(&mut collector, &place);
        }
        collector.stop_cleanly();
        place.assert_verified();
    }
}
