//! Reading: every question is answered from one snapshot, in time that grows with the answer only.
//!
//! The exceptions are the walks over all responses and sums, which only a recount uses; they say so.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use redb::{AccessGuard, ReadOnlyTable, ReadTransaction, ReadableTable};

use super::error::DbError;
use super::quota::quota_in;
use super::runs::run_tables;
use super::schema::{
    DAYS, FILES, FileRow, HOURS, META, META_SEQUENCE, MODELS, NOTE_ASIDE, NOTE_REBUILT, NOTES, PATHS,
    RESPONSES, RUN_DAYS, RUNS, ResponseParts, ResponseRow, RowError, RunRow, RunTotalsRow, TOTALS,
};
use super::sessions::coverage_in;
use super::table::{decode_row, get};
use super::{QuotaView, Store, StoreError, StoredRun};
use crate::coverage::Coverage;
use crate::dedup::{Response, Totals};
use crate::model::{LineCounts, Millis, ModelNumber, Position, RelativePath, ResponseKey, RunId, RunNumber};

/// What is summed for one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSums {
    pub number: RunNumber,
    pub totals: Totals,
    pub lines: LineCounts,
    pub files: u64,
    pub bytes: u64,
    /// The latest line time read.
    pub latest: Option<Millis>,
}

impl RunSums {
    fn new(number: RunNumber, row: RunTotalsRow) -> Self {
        let RunTotalsRow {
            totals,
            lines,
            files,
            bytes,
            latest,
        } = row;
        Self {
            number,
            totals,
            lines,
            files,
            bytes,
            latest,
        }
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.totals += other.totals;
        self.lines.add(&other.lines);
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.latest = self.latest.max(other.latest);
    }
}

/// Everything a summary shows, as of one commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub sequence: u64,
    pub runs: BTreeMap<String, RunSums>,
    /// What was counted for runs that were forgotten.
    pub forgotten: RunSums,
    pub by_model: BTreeMap<Arc<str>, Totals>,
    /// Keyed by the UTC day since 1970.
    pub by_day: BTreeMap<u32, Totals>,
    pub coverage: Coverage,
}

/// One run in detail.
#[derive(Clone, Debug, Default)]
pub struct RunView {
    /// The number of the commit.
    pub sequence: u64,
    pub sums: RunSums,
    pub by_model: BTreeMap<Arc<str>, Totals>,
    pub by_day: BTreeMap<u32, Totals>,
}

/// A row of sums in `hours`: (hour, run, model).
pub type Cell = (u32, RunNumber, Arc<str>);

/// Turns a row of `responses` into a value.
fn response(models: &[Arc<str>], row: &ResponseRow) -> Result<Response, DbError> {
    let parts = row.parts().map_err(|error| DbError::row("responses", error))?;
    let ResponseParts {
        kind,
        rank,
        tier,
        dating,
        usage,
        is_final,
        session,
        is_shared,
    } = parts;
    Ok(Response {
        kind,
        rank,
        tier,
        model: model_name(models, row.model)?,
        usage,
        run: row.run,
        time: row.time,
        dating,
        is_final,
        session,
        is_shared,
    })
}

/// The responses of a database, in the order of their keys.
struct Responses {
    table: ReadOnlyTable<u128, &'static [u8]>,
    models: Vec<Arc<str>>,
}

impl Responses {
    fn of(read: &ReadTransaction) -> Result<Self, DbError> {
        Ok(Self {
            table: read.open_table(RESPONSES)?,
            models: models(read)?,
        })
    }

    fn iter(&self) -> Result<impl Iterator<Item = Result<(ResponseKey, Response), DbError>>, DbError> {
        let one = |(key, row): (AccessGuard<'_, u128>, AccessGuard<'_, &'static [u8]>)| {
            let row = decode_row("responses", row.value())?;
            Ok((ResponseKey(key.value()), response(&self.models, &row)?))
        };
        Ok(self.table.iter()?.map(move |entry| one(entry?)))
    }
}

impl Store {
    /// The summary's figures.
    ///
    /// # Errors
    /// When the database is closed, damaged or unreadable.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        self.reading(|read| snapshot_in(read))
    }

    /// The summary's figures and what is known of accounts, as of the same commit; minutes from the one that holds `since`.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn overview(&self, since: Millis) -> Result<(Snapshot, QuotaView), StoreError> {
        self.reading(|read| Ok((snapshot_in(read)?, quota_in(read, since)?)))
    }

    /// How this database came to replace another since the start, or a damaged one that is still kept beside it.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn rebuilt(&self) -> Result<Option<String>, StoreError> {
        if let Some(anew) = &*self.anew.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Some(anew.clone()));
        }
        self.reading(|read| {
            let notes = read.open_table(NOTES)?;
            let aside = notes.get(NOTE_ASIDE)?;
            if !aside.is_some_and(|aside| Path::new(aside.value()).exists()) {
                return Ok(None);
            }
            Ok(notes.get(NOTE_REBUILT)?.map(|note| note.value().to_owned()))
        })
    }

    /// One run in detail; `None` if it was never seen.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn run(&self, run: &RunId) -> Result<Option<RunView>, StoreError> {
        self.reading(|read| {
            let Some(row) = run_row_of(read, run)? else {
                return Ok(None);
            };
            let models = models(read)?;
            let meta = read.open_table(META)?;
            let sequence = meta.get(META_SEQUENCE)?;
            let mut view = RunView {
                sequence: sequence.map_or(0, |value| value.value()),
                sums: run_sums(read, row.number)?,
                ..RunView::default()
            };
            let days = read.open_table(RUN_DAYS)?;
            let of_run = (row.number, 0, 0)..=(row.number, u32::MAX, u32::MAX);
            for entry in days.range(of_run)? {
                let (key, cell) = entry?;
                let (_, day, model) = key.value();
                let totals: Totals = decode_row("run_days", cell.value())?;
                *view.by_day.entry(day).or_default() += totals;
                *view.by_model.entry(model_name(&models, model)?).or_default() += totals;
            }
            Ok(Some(view))
        })
    }

    /// The latest time on any line read, of all runs.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn latest(&self) -> Result<Option<Millis>, StoreError> {
        self.reading(|read| {
            let table = read.open_table(TOTALS)?;
            let mut latest = None;
            for entry in table.iter()? {
                let (_, row) = entry?;
                let row: RunTotalsRow = decode_row("totals", row.value())?;
                latest = latest.max(row.latest);
            }
            Ok(latest)
        })
    }

    /// The run ids known, with their numbers.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn run_numbers(&self) -> Result<BTreeMap<String, RunNumber>, StoreError> {
        self.reading(|read| {
            let mut numbers = BTreeMap::new();
            let runs = read.open_table(RUNS)?;
            for entry in runs.iter()? {
                let (id, row) = entry?;
                let row: RunRow = decode_row("runs", row.value())?;
                numbers.insert(id.value().to_owned(), row.number);
            }
            Ok(numbers)
        })
    }

    /// How far each file of a run was read, by its path below the run's directory.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn positions(&self, run: &RunId) -> Result<BTreeMap<RelativePath, Position>, StoreError> {
        let known = self.known(std::slice::from_ref(run))?.pop();
        Ok(known.unwrap_or_default().positions)
    }

    /// What is known of each of these runs, and how far their files were read; from one snapshot.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn known(&self, runs: &[RunId]) -> Result<Vec<StoredRun>, StoreError> {
        self.reading(|read| {
            let rows = read.open_table(RUNS)?;
            let paths = read.open_table(PATHS)?;
            let files = read.open_table(FILES)?;
            let infos = run_tables(read)?;
            let one = |run: &RunId| {
                let Some(row) = rows.get(run.as_str())? else {
                    return Ok(StoredRun::default());
                };
                let row: RunRow = decode_row("runs", row.value())?;
                let mut known = StoredRun {
                    info: Some(infos.info(&row)?),
                    positions: BTreeMap::new(),
                };
                let first: (u32, &[u8]) = (row.number, &[]);
                for entry in paths.range(first..)? {
                    let (key, file) = entry?;
                    let (run, path) = key.value();
                    if run != row.number {
                        break;
                    }
                    let file = files.get(file.value())?;
                    let file = file.ok_or_else(|| DbError::row("paths", RowError::Range("file")))?;
                    let file: FileRow = decode_row("files", file.value())?;
                    let path = Path::new(std::ffi::OsStr::from_bytes(path)).into();
                    known.positions.insert(path, file.position());
                }
                Ok(known)
            };
            runs.iter().map(one).collect()
        })
    }

    /// Walks over the responses of two stores side by side, in key order; hears of each what both say.
    /// For recounts: it takes as long as there are responses.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn side_by_side(
        &self,
        other: &Self,
        mut each: impl FnMut(ResponseKey, Option<Response>, Option<Response>),
    ) -> Result<(), StoreError> {
        let (_open, read) = self.read()?;
        let (_other_open, other_read) = other.read()?;
        let mine = Responses::of(&read).map_err(|error| self.error(error))?;
        let theirs = Responses::of(&other_read).map_err(|error| other.error(error))?;
        let my_rows = mine.iter().map_err(|error| self.error(error))?;
        let their_rows = theirs.iter().map_err(|error| other.error(error))?;
        let mut my_rows = my_rows.map(|row| row.map_err(|error| self.error(error)));
        let mut their_rows = their_rows.map(|row| row.map_err(|error| other.error(error)));
        let (mut here, mut there) = (my_rows.next().transpose()?, their_rows.next().transpose()?);
        loop {
            let order = match (&here, &there) {
                (None, None) => return Ok(()),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((mine, _)), Some((theirs, _))) => mine.cmp(theirs),
            };
            let left = if order == Ordering::Greater {
                None
            } else {
                std::mem::replace(&mut here, my_rows.next().transpose()?)
            };
            let right = if order == Ordering::Less {
                None
            } else {
                std::mem::replace(&mut there, their_rows.next().transpose()?)
            };
            if let Some(key) = left.as_ref().or(right.as_ref()).map(|(key, _)| *key) {
                each(
                    key,
                    left.map(|(_, response)| response),
                    right.map(|(_, response)| response),
                );
            }
        }
    }

    /// Walks over all hourly sums. For recounts.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn for_each_hour(&self, mut each: impl FnMut(Cell, Totals)) -> Result<(), StoreError> {
        self.reading(|read| {
            let models = models(read)?;
            let table = read.open_table(HOURS)?;
            for entry in table.iter()? {
                let (key, row) = entry?;
                let (hour, run, model) = key.value();
                let totals: Totals = decode_row("hours", row.value())?;
                each((hour, run, model_name(&models, model)?), totals);
            }
            Ok(())
        })
    }
}

fn snapshot_in(read: &ReadTransaction) -> Result<Snapshot, DbError> {
    let models = models(read)?;
    let mut snapshot = Snapshot::default();
    let meta = read.open_table(META)?;
    snapshot.sequence = meta.get(META_SEQUENCE)?.map_or(0, |value| value.value());
    let mut sums = BTreeMap::new();
    let totals = read.open_table(TOTALS)?;
    for entry in totals.iter()? {
        let (number, row) = entry?;
        let row: RunTotalsRow = decode_row("totals", row.value())?;
        sums.insert(number.value(), RunSums::new(number.value(), row));
    }
    let runs = read.open_table(RUNS)?;
    for entry in runs.iter()? {
        let (id, row) = entry?;
        let row: RunRow = decode_row("runs", row.value())?;
        let of_run = sums.remove(&row.number);
        let of_run = of_run.ok_or_else(|| DbError::row("runs", RowError::Range("number")))?;
        snapshot.runs.insert(id.value().to_owned(), of_run);
    }
    // What no name leads to is what forgotten runs left.
    for rest in sums.into_values() {
        snapshot.forgotten.add(&rest);
    }
    let days = read.open_table(DAYS)?;
    for entry in days.iter()? {
        let (key, row) = entry?;
        let (day, model) = key.value();
        let totals: Totals = decode_row("days", row.value())?;
        *snapshot.by_day.entry(day).or_default() += totals;
        *snapshot.by_model.entry(model_name(&models, model)?).or_default() += totals;
    }
    snapshot.coverage = coverage_in(read)?;
    Ok(snapshot)
}

pub(super) fn run_row_of(read: &ReadTransaction, run: &RunId) -> Result<Option<RunRow>, DbError> {
    let runs = read.open_table(RUNS)?;
    get(&runs, run.as_str())
}

fn run_sums(read: &ReadTransaction, number: RunNumber) -> Result<RunSums, DbError> {
    let table = read.open_table(TOTALS)?;
    let row = get(&table, number)?.ok_or_else(|| DbError::row("runs", RowError::Range("number")))?;
    Ok(RunSums::new(number, row))
}

pub(super) fn models(read: &ReadTransaction) -> Result<Vec<Arc<str>>, DbError> {
    let table = read.open_table(MODELS)?;
    let mut names = Vec::new();
    for entry in table.iter()? {
        names.push(entry?.1.value().into());
    }
    Ok(names)
}

pub(super) fn model_name(models: &[Arc<str>], number: ModelNumber) -> Result<Arc<str>, DbError> {
    let name = models.get(number as usize);
    name.cloned()
        .ok_or_else(|| DbError::row("models", RowError::Range("number")))
}
