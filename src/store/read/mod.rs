//! Reading: a reader takes snapshots; a snapshot answers every query as of one commit, in time that grows
//! with the answer only.
//!
//! **Invariant**: one request reads one snapshot, so all figures of an answer are of one commit.
//!
//! The exceptions are the walks over all responses and sums, which only a recount uses; their comments state
//! it.

mod counters;
mod coverage;
mod export;
mod leases;
mod outbox;
mod quota;
mod responses;
mod runs;
mod series;
mod sessions;
mod usage;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use redb::{ReadTransaction, ReadableDatabase, ReadableTable};

pub use counters::{ClassKey, ReadCounters};
pub use quota::{AccountSums, KnownAccounts, LimitEvent, QuotaView};
pub use responses::Recorded;
pub use runs::{RunInfo, StoredRun};
pub use series::{ResponseOrigin, SeriesNames};
pub use sessions::SessionView;
pub use usage::{RunNames, SumPlace};

use super::database::{DatabaseSlot, OpenDatabase};
use super::error::{DbError, StoreError};
use super::schema::{
    DAYS, META, META_SEQUENCE, MODELS, NO_RUN, NOTE_ASIDE, NOTE_REBUILT, NOTES, RUNS, RowError, RunRow,
    RunTotalsRow, SERIES, SERIES_SUMS, SeriesRow, TOTALS,
};
use super::table::{decode_row, get};
use crate::coverage::Coverage;
use crate::dedup::Totals;
use crate::model::{LineCounts, Millis, ModelNumber, RunId, RunNumber, SeriesNumber};
use coverage::coverage_in;
use runs::run_row_of;
use series::SeriesRows;
use usage::run_days;

/// The totals of one run.
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
    fn new(number: RunNumber, row: &RunTotalsRow) -> Self {
        let RunTotalsRow {
            totals,
            lines,
            files,
            bytes,
            latest,
        } = *row;
        Self {
            number,
            totals,
            lines,
            files,
            bytes,
            latest,
        }
    }

    /// Adds the totals of another run.
    pub fn add(&mut self, other: &Self) {
        self.totals += other.totals;
        self.lines.add(&other.lines);
        self.files = self.files.saturating_add(other.files);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.latest = self.latest.max(other.latest);
    }
}

/// The figures of a summary except the limits, as of one commit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SummaryFigures {
    pub sequence: u64,
    pub runs: BTreeMap<String, RunSums>,
    /// The totals of forgotten runs.
    pub forgotten: RunSums,
    /// The totals of posted records of no run.
    pub without_run: RunSums,
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

/// A handle for reading, which costs little to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    slot: Arc<DatabaseSlot>,
}

impl Reader {
    pub(super) fn new(slot: Arc<DatabaseSlot>) -> Self {
        Self { slot }
    }

    pub(super) fn slot(&self) -> &Arc<DatabaseSlot> {
        &self.slot
    }

    /// The database as of its last commit. It stays open while the snapshot exists. A thread must not take a
    /// second one meanwhile: if another thread waits to close the database, both would wait forever.
    ///
    /// # Errors
    /// The database is closed or unreadable.
    pub fn snapshot(&self) -> Result<Snapshot<'_>, StoreError> {
        let open = self.slot.database()?;
        let read = open.begin_read().map_err(|error| self.slot.error(error))?;
        Ok(Snapshot {
            read,
            slot: &self.slot,
            _open: open,
        })
    }

    /// The file's path, or a description of memory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.slot.file.path()
    }

    /// Number of times that a new database replaced a damaged one: if it changed, everything must be read
    /// again.
    #[must_use]
    pub fn replaced(&self) -> u64 {
        self.slot.replaced()
    }

    /// True while observations wait for the end of the backlog.
    #[must_use]
    pub fn defers(&self) -> bool {
        self.slot.defers()
    }

    /// Number of observations of windows beyond an account's bound that were ignored since the start.
    #[must_use]
    pub fn windows_left_out(&self) -> u64 {
        self.slot.windows_left_out()
    }

    /// As [`Snapshot::rebuilt`]. The reason that this process holds in memory is also returned while the
    /// database is closed.
    ///
    /// # Errors
    /// As [`Reader::snapshot`] and [`Snapshot::summary`].
    pub fn rebuilt(&self) -> Result<Option<String>, StoreError> {
        match self.slot.new_database() {
            Some(new_database) => Ok(Some(new_database)),
            None => self.snapshot()?.rebuilt(),
        }
    }
}

/// The database as of one commit.
pub struct Snapshot<'r> {
    // Dropped before the database may be closed.
    read: ReadTransaction,
    slot: &'r DatabaseSlot,
    _open: OpenDatabase<'r>,
}

impl Snapshot<'_> {
    /// Runs a query in the snapshot's transaction.
    pub(super) fn reading<T>(
        &self,
        body: impl FnOnce(&ReadTransaction) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        body(&self.read).map_err(|error| self.slot.error(error))
    }

    /// The size of the file in bytes; `None` in memory. It accesses the filesystem.
    pub(super) fn file_bytes(&self) -> Option<u64> {
        self.slot.file.bytes()
    }

    /// The summary's figures.
    ///
    /// # Errors
    /// The database is damaged or unreadable.
    pub fn summary(&self) -> Result<SummaryFigures, StoreError> {
        self.reading(|read| summary_in(read, |_, _, _| Ok(())))
    }

    /// As [`Snapshot::summary`]; passes the day, the series and the sum of each row of days to `each` on the way.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn summary_by_series(
        &self,
        mut each: impl FnMut(u32, &SeriesRow, &Totals),
    ) -> Result<SummaryFigures, StoreError> {
        self.reading(|read| {
            let mut series = SeriesRows::new(read)?;
            summary_in(read, |day, number, totals| {
                each(day, &series.row(number)?, totals);
                Ok(())
            })
        })
    }

    /// The sums of each run, without those by day, model or series.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn sums_by_run(&self) -> Result<BTreeMap<String, RunSums>, StoreError> {
        self.reading(|read| Ok(sums_by_run(read)?.0))
    }

    /// Why this database replaced another since the start, or replaced a damaged one that is still kept
    /// beside it.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn rebuilt(&self) -> Result<Option<String>, StoreError> {
        if let Some(new_database) = self.slot.new_database() {
            return Ok(Some(new_database));
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
    /// As [`Snapshot::summary`].
    pub fn run(&self, run: &RunId) -> Result<Option<RunView>, StoreError> {
        self.run_by_series(run, |_, _, _| {})
    }

    /// As [`Snapshot::run`]; passes the day, the series and the sum of each row of the run's days to `each` on the way.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn run_by_series(
        &self,
        run: &RunId,
        mut each: impl FnMut(u32, &SeriesRow, &Totals),
    ) -> Result<Option<RunView>, StoreError> {
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
            run_days(read, row.number, |day, series, totals| {
                each(day, series, &totals);
                *view.by_day.entry(day).or_default() += totals;
                let model = model_name(&models, series.model)?;
                *view.by_model.entry(model).or_default() += totals;
                Ok(())
            })?;
            Ok(Some(view))
        })
    }

    /// The totals of everything: of all runs, the forgotten ones included, and of posted records of no run.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn all_sums(&self) -> Result<RunSums, StoreError> {
        self.reading(|read| {
            let table = read.open_table(TOTALS)?;
            let mut all = RunSums::default();
            for entry in table.iter()? {
                let (number, row) = entry?;
                let row: RunTotalsRow = decode_row("totals", row.value())?;
                all.add(&RunSums::new(number.value(), &row));
            }
            Ok(all)
        })
    }

    /// The latest time on any line read, of all runs.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
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
}

fn summary_in(
    read: &ReadTransaction,
    mut each: impl FnMut(u32, SeriesNumber, &Totals) -> Result<(), DbError>,
) -> Result<SummaryFigures, DbError> {
    let models = models(read)?;
    let mut figures = SummaryFigures::default();
    let meta = read.open_table(META)?;
    figures.sequence = meta.get(META_SEQUENCE)?.map_or(0, |value| value.value());
    let mut sums;
    (figures.runs, sums) = sums_by_run(read)?;
    figures.without_run = sums.remove(&NO_RUN).unwrap_or_default();
    // Rows without a name belong to forgotten runs.
    for rest in sums.into_values() {
        figures.forgotten.add(&rest);
    }
    let days = read.open_table(DAYS)?;
    let mut of_day: Option<(u32, Totals)> = None;
    for entry in days.iter()? {
        let (key, row) = entry?;
        let (day, number) = key.value();
        let totals: Totals = decode_row("days", row.value())?;
        each(day, number, &totals)?;
        match &mut of_day {
            Some((current, sum)) if *current == day => *sum += totals,
            _ => {
                figures.by_day.extend(of_day);
                of_day = Some((day, totals));
            }
        }
    }
    figures.by_day.extend(of_day);
    let mut by_model = vec![None; models.len()];
    for_each_series(read, |series, totals| {
        let sum: Option<&mut Option<Totals>> = by_model.get_mut(series.model as usize);
        let sum = sum.ok_or_else(|| DbError::row("series", RowError::Range("model")))?;
        *sum.get_or_insert_default() += totals;
        Ok(())
    })?;
    let by_model = models.into_iter().zip(by_model);
    figures.by_model = by_model.filter_map(|(name, sum)| Some((name, sum?))).collect();
    figures.coverage = coverage_in(read)?;
    Ok(figures)
}

/// Sums of runs by their numbers.
type NumberedSums = BTreeMap<RunNumber, RunSums>;

/// The sums of each run by its name, and those of numbers without a name.
fn sums_by_run(read: &ReadTransaction) -> Result<(BTreeMap<String, RunSums>, NumberedSums), DbError> {
    let mut sums = BTreeMap::new();
    let totals = read.open_table(TOTALS)?;
    for entry in totals.iter()? {
        let (number, row) = entry?;
        let row: RunTotalsRow = decode_row("totals", row.value())?;
        sums.insert(number.value(), RunSums::new(number.value(), &row));
    }
    let mut by_name = BTreeMap::new();
    let runs = read.open_table(RUNS)?;
    for entry in runs.iter()? {
        let (id, row) = entry?;
        let row: RunRow = decode_row("runs", row.value())?;
        let of_run = sums.remove(&row.number);
        let of_run = of_run.ok_or_else(|| DbError::row("runs", RowError::Range("number")))?;
        by_name.insert(id.value().to_owned(), of_run);
    }
    Ok((by_name, sums))
}

/// Walks over all sums by series.
fn for_each_series(
    read: &ReadTransaction,
    mut each: impl FnMut(SeriesRow, Totals) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let (series, sums) = (read.open_table(SERIES)?, read.open_table(SERIES_SUMS)?);
    let mut series = series.iter()?;
    for entry in sums.iter()? {
        let (number, row) = entry?;
        let totals = decode_row("series_sums", row.value())?;
        // Both tables are sorted by number.
        let of = loop {
            let entry = series.next().transpose()?;
            let (of, row) = entry.ok_or_else(|| DbError::row("series_sums", RowError::Range("series")))?;
            if of.value() == number.value() {
                break decode_row("series", row.value())?;
            }
        };
        each(of, totals)?;
    }
    Ok(())
}

fn run_sums(read: &ReadTransaction, number: RunNumber) -> Result<RunSums, DbError> {
    let table = read.open_table(TOTALS)?;
    let row: Option<RunTotalsRow> = get(&table, number)?;
    let row = row.ok_or_else(|| DbError::row("runs", RowError::Range("number")))?;
    Ok(RunSums::new(number, &row))
}

fn models(read: &ReadTransaction) -> Result<Vec<Arc<str>>, DbError> {
    let table = read.open_table(MODELS)?;
    let mut names = Vec::new();
    for entry in table.iter()? {
        names.push(entry?.1.value().into());
    }
    Ok(names)
}

fn model_name(models: &[Arc<str>], number: ModelNumber) -> Result<Arc<str>, DbError> {
    let name = models.get(number as usize);
    name.cloned()
        .ok_or_else(|| DbError::row("models", RowError::Range("number")))
}
