//! Reading: every question is answered from one snapshot, in time that grows with the answer only.
//!
//! The exceptions are the walks over all responses and sums, which only a recount uses; they say so.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use redb::{ReadTransaction, ReadableTable};

use super::schema::{
    DAYS, FILES, FileRow, HOURS, META, META_SEQUENCE, MODELS, NOTE_ASIDE, NOTE_REBUILT, NOTES, PATHS,
    RESPONSES, RUN_DAYS, RUNS, ResponseParts, ResponseRow, RowError, RunRow, RunTotalsRow, TOTALS, decode,
};
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

/// Turns rows of `responses` into values.
struct Responses<'s> {
    store: &'s Store,
    models: Vec<Arc<str>>,
}

type Row<'r> =
    Result<(redb::AccessGuard<'r, u128>, redb::AccessGuard<'r, &'static [u8]>), redb::StorageError>;

impl Responses<'_> {
    fn response(&self, row: Row<'_>) -> Result<(ResponseKey, Response), StoreError> {
        let damage = |error| self.store.row_error("responses", &error);
        let (key, row) = row.map_err(|e| self.store.error(e))?;
        let row: ResponseRow = decode(row.value()).map_err(damage)?;
        let ResponseParts {
            kind,
            rank,
            tier,
            dating,
            usage,
            is_final,
            session,
            is_shared,
        } = row.parts().map_err(damage)?;
        let model = self.store.model_name(&self.models, row.model)?;
        let response = Response {
            kind,
            rank,
            tier,
            model,
            usage,
            run: row.run,
            time: row.time,
            dating,
            is_final,
            session,
            is_shared,
        };
        Ok((ResponseKey(key.value()), response))
    }
}

impl Store {
    /// The summary's figures.
    ///
    /// # Errors
    /// When the database is closed, damaged or unreadable.
    pub fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let (_open, read) = self.read()?;
        self.snapshot_in(&read)
    }

    /// The summary's figures and what is known of accounts, as of the same commit; minutes from the one that holds `since`.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn overview(&self, since: Millis) -> Result<(Snapshot, QuotaView), StoreError> {
        let (_open, read) = self.read()?;
        Ok((self.snapshot_in(&read)?, self.quota_in(&read, since)?))
    }

    fn snapshot_in(&self, read: &ReadTransaction) -> Result<Snapshot, StoreError> {
        let models = self.models(read)?;
        let mut snapshot = Snapshot::default();
        let meta = read.open_table(META).map_err(|e| self.error(e))?;
        snapshot.sequence = meta
            .get(META_SEQUENCE)
            .map_err(|e| self.error(e))?
            .map_or(0, |value| value.value());
        let mut sums = BTreeMap::new();
        let totals = read.open_table(TOTALS).map_err(|e| self.error(e))?;
        for entry in totals.iter().map_err(|e| self.error(e))? {
            let (number, row) = entry.map_err(|e| self.error(e))?;
            let row: RunTotalsRow = decode(row.value()).map_err(|e| self.row_error("totals", &e))?;
            sums.insert(number.value(), RunSums::new(number.value(), row));
        }
        let runs = read.open_table(RUNS).map_err(|e| self.error(e))?;
        for entry in runs.iter().map_err(|e| self.error(e))? {
            let (id, row) = entry.map_err(|e| self.error(e))?;
            let row: RunRow = decode(row.value()).map_err(|e| self.row_error("runs", &e))?;
            let of_run = sums.remove(&row.number);
            let of_run = of_run.ok_or_else(|| self.row_error("runs", &RowError::Range("number")))?;
            snapshot.runs.insert(id.value().to_owned(), of_run);
        }
        // What no name leads to is what forgotten runs left.
        for rest in sums.into_values() {
            snapshot.forgotten.add(&rest);
        }
        let days = read.open_table(DAYS).map_err(|e| self.error(e))?;
        for entry in days.iter().map_err(|e| self.error(e))? {
            let (key, row) = entry.map_err(|e| self.error(e))?;
            let (day, model) = key.value();
            let totals: Totals = decode(row.value()).map_err(|e| self.row_error("days", &e))?;
            *snapshot.by_day.entry(day).or_default() += totals;
            *snapshot
                .by_model
                .entry(self.model_name(&models, model)?)
                .or_default() += totals;
        }
        snapshot.coverage = self.coverage_in(read)?;
        Ok(snapshot)
    }

    /// How this database came to replace another since the start, or a damaged one that is still kept beside it.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn rebuilt(&self) -> Result<Option<String>, StoreError> {
        if let Some(anew) = &*self.anew.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Some(anew.clone()));
        }
        let (_open, read) = self.read()?;
        let notes = read.open_table(NOTES).map_err(|e| self.error(e))?;
        let aside = notes.get(NOTE_ASIDE).map_err(|e| self.error(e))?;
        if !aside.is_some_and(|aside| Path::new(aside.value()).exists()) {
            return Ok(None);
        }
        Ok(notes
            .get(NOTE_REBUILT)
            .map_err(|e| self.error(e))?
            .map(|note| note.value().to_owned()))
    }

    /// One run in detail; `None` if it was never seen.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn run(&self, run: &RunId) -> Result<Option<RunView>, StoreError> {
        let (_open, read) = self.read()?;
        let Some(row) = self.run_row_of(&read, run)? else {
            return Ok(None);
        };
        let models = self.models(&read)?;
        let meta = read.open_table(META).map_err(|e| self.error(e))?;
        let sequence = meta.get(META_SEQUENCE).map_err(|e| self.error(e))?;
        let mut view = RunView {
            sequence: sequence.map_or(0, |value| value.value()),
            sums: self.run_sums(&read, row.number)?,
            ..RunView::default()
        };
        let days = read.open_table(RUN_DAYS).map_err(|e| self.error(e))?;
        let of_run = (row.number, 0, 0)..=(row.number, u32::MAX, u32::MAX);
        for entry in days.range(of_run).map_err(|e| self.error(e))? {
            let (key, cell) = entry.map_err(|e| self.error(e))?;
            let (_, day, model) = key.value();
            let totals: Totals = decode(cell.value()).map_err(|e| self.row_error("run_days", &e))?;
            *view.by_day.entry(day).or_default() += totals;
            *view.by_model.entry(self.model_name(&models, model)?).or_default() += totals;
        }
        Ok(Some(view))
    }

    /// The latest time on any line read, of all runs.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn latest(&self) -> Result<Option<Millis>, StoreError> {
        let (_open, read) = self.read()?;
        let table = read.open_table(TOTALS).map_err(|e| self.error(e))?;
        let mut latest = None;
        for entry in table.iter().map_err(|e| self.error(e))? {
            let (_, row) = entry.map_err(|e| self.error(e))?;
            let row: RunTotalsRow = decode(row.value()).map_err(|e| self.row_error("totals", &e))?;
            latest = latest.max(row.latest);
        }
        Ok(latest)
    }

    /// The run ids known, with their numbers.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn run_numbers(&self) -> Result<BTreeMap<String, RunNumber>, StoreError> {
        let (_open, read) = self.read()?;
        let mut numbers = BTreeMap::new();
        let runs = read.open_table(RUNS).map_err(|e| self.error(e))?;
        for entry in runs.iter().map_err(|e| self.error(e))? {
            let (id, row) = entry.map_err(|e| self.error(e))?;
            let row: RunRow = decode(row.value()).map_err(|e| self.row_error("runs", &e))?;
            numbers.insert(id.value().to_owned(), row.number);
        }
        Ok(numbers)
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
        let (_open, read) = self.read()?;
        let rows = read.open_table(RUNS).map_err(|e| self.error(e))?;
        let paths = read.open_table(PATHS).map_err(|e| self.error(e))?;
        let files = read.open_table(FILES).map_err(|e| self.error(e))?;
        let infos = self.run_tables(&read)?;
        let one = |run: &RunId| {
            let Some(row) = rows.get(run.as_str()).map_err(|e| self.error(e))? else {
                return Ok(StoredRun::default());
            };
            let row: RunRow = decode(row.value()).map_err(|e| self.row_error("runs", &e))?;
            let mut known = StoredRun {
                info: Some(infos.info(self, &row)?),
                positions: BTreeMap::new(),
            };
            let first: (u32, &[u8]) = (row.number, &[]);
            for entry in paths.range(first..).map_err(|e| self.error(e))? {
                let (key, file) = entry.map_err(|e| self.error(e))?;
                let (run, path) = key.value();
                if run != row.number {
                    break;
                }
                let file = files.get(file.value()).map_err(|e| self.error(e))?;
                let file = file.ok_or_else(|| self.row_error("paths", &RowError::Range("file")))?;
                let file: FileRow = decode(file.value()).map_err(|e| self.row_error("files", &e))?;
                let path = Path::new(std::ffi::OsStr::from_bytes(path)).into();
                known.positions.insert(path, file.position());
            }
            Ok(known)
        };
        runs.iter().map(one).collect()
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
        let mine = Responses {
            store: self,
            models: self.models(&read)?,
        };
        let theirs = Responses {
            store: other,
            models: other.models(&other_read)?,
        };
        let my_table = read.open_table(RESPONSES).map_err(|e| self.error(e))?;
        let their_table = other_read.open_table(RESPONSES).map_err(|e| other.error(e))?;
        let mut my_rows = my_table
            .iter()
            .map_err(|e| self.error(e))?
            .map(|row| mine.response(row));
        let mut their_rows = their_table
            .iter()
            .map_err(|e| other.error(e))?
            .map(|row| theirs.response(row));
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
        let (_open, read) = self.read()?;
        let models = self.models(&read)?;
        let table = read.open_table(HOURS).map_err(|e| self.error(e))?;
        for entry in table.iter().map_err(|e| self.error(e))? {
            let (key, row) = entry.map_err(|e| self.error(e))?;
            let (hour, run, model) = key.value();
            let totals: Totals = decode(row.value()).map_err(|e| self.row_error("hours", &e))?;
            each((hour, run, self.model_name(&models, model)?), totals);
        }
        Ok(())
    }

    pub(super) fn run_row_of(
        &self,
        read: &ReadTransaction,
        run: &RunId,
    ) -> Result<Option<RunRow>, StoreError> {
        let runs = read.open_table(RUNS).map_err(|e| self.error(e))?;
        let Some(row) = runs.get(run.as_str()).map_err(|e| self.error(e))? else {
            return Ok(None);
        };
        decode(row.value())
            .map(Some)
            .map_err(|e| self.row_error("runs", &e))
    }

    fn run_sums(&self, read: &ReadTransaction, number: RunNumber) -> Result<RunSums, StoreError> {
        let table = read.open_table(TOTALS).map_err(|e| self.error(e))?;
        let row: RunTotalsRow = match table.get(number).map_err(|e| self.error(e))? {
            Some(row) => decode(row.value()).map_err(|e| self.row_error("totals", &e))?,
            None => return Err(self.row_error("runs", &RowError::Range("number"))),
        };
        Ok(RunSums::new(number, row))
    }

    pub(super) fn models(&self, read: &ReadTransaction) -> Result<Vec<Arc<str>>, StoreError> {
        let table = read.open_table(MODELS).map_err(|e| self.error(e))?;
        let mut names = Vec::new();
        for entry in table.iter().map_err(|e| self.error(e))? {
            names.push(entry.map_err(|e| self.error(e))?.1.value().into());
        }
        Ok(names)
    }

    pub(super) fn model_name(
        &self,
        models: &[Arc<str>],
        number: ModelNumber,
    ) -> Result<Arc<str>, StoreError> {
        let name = models.get(number as usize);
        name.cloned()
            .ok_or_else(|| self.row_error("models", &RowError::Range("number")))
    }
}
