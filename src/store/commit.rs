//! The only write path: batches in, one transaction, what it came to out.
//!
//! **Invariant**: the cursor of a file moves in the same transaction as what was read up to it, and only from where
//! the batch says it stood; a batch that continues anything else is refused, so nothing is counted twice.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use redb::{ReadableTable, Table, WriteTransaction};

use super::tables::{
    DAYS, FILES, FileRow, HOURS, META, META_SEQUENCE, MODELS, PATHS, RESPONSES, RESPONSES_BY_DAY, RUN_DAYS,
    RUNS, ResponseParts, ResponseRow, RowError, RunRow, RunTotalsRow, TOTALS, decode, encode,
};
use super::{Store, StoreError};
use crate::fold::{Response, Totals, fold};
use crate::record::{
    Batch, Cursor, DAY_MS, FileNumber, Kind, LineCounts, Millis, ModelNumber, Record, ResponseKey, RunId,
    RunNumber,
};

/// How many model names are told apart; the rest are counted under [`MODEL_OTHER`].
pub const MODELS_MAX: usize = 4096;
/// The name of all models beyond [`MODELS_MAX`].
const MODEL_OTHER: &str = "(other)";
/// Hours in a day.
const DAY_HOURS: u32 = 24;

/// What became of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// The batch continued something else than what is stored, which is this. Read again from there.
    Stale(Option<Cursor>),
}

/// One run's part of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunChange {
    pub lines: LineCounts,
    pub bytes: u64,
    /// Files seen for the first time.
    pub files: u64,
    /// Responses counted for the first time, advisor calls included.
    pub responses: u64,
}

/// What a commit came to.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One for each batch, in order.
    pub outcomes: Vec<Outcome>,
    pub sequence: u64,
    pub changes: BTreeMap<RunId, RunChange>,
    /// The keys of responses that were dated at the time of reading.
    pub undated: Vec<ResponseKey>,
}

/// Small tables as committed, kept in memory between commits and thrown away after a failed one.
#[derive(Debug, Default)]
pub struct Kept {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, ModelNumber>,
    /// Runs whose backlog is not worked off yet.
    backlog: HashSet<RunNumber>,
}

impl Store {
    /// Commits batches in one transaction.
    ///
    /// # Errors
    /// When the disk or the database refuses; then nothing is known of what was committed until [`Store::reopen`].
    pub fn commit(&self, batches: &[Batch]) -> Result<Committed, StoreError> {
        let kept = self.forget_kept();
        let (committed, kept) = self.transact(|write| {
            let kept = match kept {
                Some(kept) => kept,
                None => load_kept(self, write)?,
            };
            let mut work = Work::new(self, write, kept)?;
            for batch in batches {
                work.take(batch)?;
            }
            work.finish()
        })?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        Ok(committed)
    }

    /// Makes runs known, in the order given. Those that are new and part of a backlog have their ties go by order.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn register(&self, runs: &[RunId], backlog: bool, now: Millis) -> Result<(), StoreError> {
        self.forget_kept();
        self.transact(|write| {
            let mut table = write.open_table(RUNS).map_err(|e| self.error(e))?;
            let mut totals = write.open_table(TOTALS).map_err(|e| self.error(e))?;
            for run in runs {
                self.run_row(&mut table, &mut totals, run, backlog, now)?;
            }
            Ok(())
        })
    }

    /// Says that the backlog is worked off: from now on ties stay with the run that is there.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn end_backlog(&self) -> Result<(), StoreError> {
        self.forget_kept();
        self.transact(|write| {
            let mut table = write.open_table(RUNS).map_err(|e| self.error(e))?;
            let mut open = Vec::new();
            for entry in table.iter().map_err(|e| self.error(e))? {
                let (id, row) = entry.map_err(|e| self.error(e))?;
                let row: RunRow = decode(row.value()).map_err(|e| self.row_error("runs", &e))?;
                if row.backlog {
                    open.push((
                        id.value().to_owned(),
                        RunRow {
                            backlog: false,
                            ..row
                        },
                    ));
                }
            }
            for (id, row) in open {
                put(self, &mut table, id.as_str(), &row)?;
            }
            Ok(())
        })
    }

    /// Moves responses that were dated at the time of reading to `time`.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn redate(&self, keys: &[ResponseKey], time: Millis) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.forget_kept();
        self.transact(|write| {
            let mut work = Work::new(self, write, load_kept(self, write)?)?;
            for key in keys {
                let Some(known) = work.response(*key)? else {
                    continue;
                };
                if !known.dated {
                    work.store_response(*key, Some(&known.clone()), &Response { time, ..known })?;
                }
            }
            work.finish().map(|_| ())
        })
    }

    /// Takes what is kept in memory, so that the next commit reads it anew unless it is put back.
    fn forget_kept(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs one write transaction: durable, and quick to open again after a crash.
    fn transact<T>(
        &self,
        body: impl FnOnce(&WriteTransaction) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let open = self.database()?;
        let mut write = open.begin_write().map_err(|e| self.error(e))?;
        write.set_quick_repair(true);
        let value = body(&write)?;
        write.commit().map_err(|e| self.error(e))?;
        Ok(value)
    }

    fn run_row(
        &self,
        runs: &mut Table<'_, &'static str, &'static [u8]>,
        totals: &mut Table<'_, u32, &'static [u8]>,
        run: &RunId,
        backlog: bool,
        now: Millis,
    ) -> Result<RunRow, StoreError> {
        if let Some(row) = runs.get(run.as_str()).map_err(|e| self.error(e))? {
            return decode(row.value()).map_err(|e| self.row_error("runs", &e));
        }
        // Every run has its row in `totals`, so the highest number there is the last one given.
        let last = totals
            .last()
            .map_err(|e| self.error(e))?
            .map(|(number, _)| number.value());
        let row = RunRow {
            number: last.map_or(0, |last| last + 1),
            backlog,
            first_seen: now,
        };
        put(self, runs, run.as_str(), &row)?;
        put(self, totals, row.number, &RunTotalsRow::default())?;
        Ok(row)
    }
}

fn put<'k, K: redb::Key + 'static, R: serde::Serialize>(
    store: &Store,
    table: &mut Table<'_, K, &'static [u8]>,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    row: &R,
) -> Result<(), StoreError> {
    let bytes = encode(row).map_err(|e| store.row_error("being written", &e))?;
    table.insert(key, bytes.as_slice()).map_err(|e| store.error(e))?;
    Ok(())
}

fn load_kept(store: &Store, write: &WriteTransaction) -> Result<Kept, StoreError> {
    let mut kept = Kept::default();
    let table = write.open_table(MODELS).map_err(|e| store.error(e))?;
    for entry in table.iter().map_err(|e| store.error(e))? {
        let (number, name) = entry.map_err(|e| store.error(e))?;
        if number.value() as usize != kept.names.len() {
            return Err(store.row_error("models", &RowError::Range("number")));
        }
        let name: Arc<str> = name.value().into();
        kept.numbers.insert(Arc::clone(&name), number.value());
        kept.names.push(name);
    }
    let runs = write.open_table(RUNS).map_err(|e| store.error(e))?;
    for entry in runs.iter().map_err(|e| store.error(e))? {
        let (_, row) = entry.map_err(|e| store.error(e))?;
        let row: RunRow = decode(row.value()).map_err(|e| store.row_error("runs", &e))?;
        if row.backlog {
            kept.backlog.insert(row.number);
        }
    }
    Ok(kept)
}

/// A copy of a response on its way into the store.
struct Copy<'b> {
    key: ResponseKey,
    record: &'b Record,
    run: RunNumber,
    backlog: bool,
    time: Millis,
    dated: bool,
}

/// One transaction's work: takes batches, folds their records, writes what changed.
struct Work<'s, 't, 'b> {
    store: &'s Store,
    runs: Table<'t, &'static str, &'static [u8]>,
    paths: Table<'t, (u32, &'static [u8]), u32>,
    files: Table<'t, u32, &'static [u8]>,
    models_table: Table<'t, u32, &'static str>,
    responses: Table<'t, u128, &'static [u8]>,
    by_day: Table<'t, (u32, u128), ()>,
    totals: Table<'t, u32, &'static [u8]>,
    hours: Table<'t, (u32, u32, u32), &'static [u8]>,
    days: Table<'t, (u32, u32), &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    run_days: Table<'t, (u32, u32, u32), &'static [u8]>,
    kept: Kept,
    /// Runs of this transaction.
    known: HashMap<RunId, RunRow>,
    names: HashMap<RunNumber, RunId>,
    copies: Vec<Copy<'b>>,
    days_added: Vec<(u32, u128)>,
    cells: HashMap<(u32, RunNumber, ModelNumber), Totals>,
    files_added: HashMap<RunNumber, u64>,
    latest: HashMap<RunNumber, Millis>,
    committed: Committed,
}

impl<'s, 't, 'b> Work<'s, 't, 'b> {
    fn new(store: &'s Store, write: &'t WriteTransaction, kept: Kept) -> Result<Self, StoreError> {
        macro_rules! open {
            ($table:expr) => {
                write.open_table($table).map_err(|e| store.error(e))?
            };
        }
        Ok(Self {
            store,
            runs: open!(RUNS),
            paths: open!(PATHS),
            files: open!(FILES),
            models_table: open!(MODELS),
            responses: open!(RESPONSES),
            by_day: open!(RESPONSES_BY_DAY),
            totals: open!(TOTALS),
            hours: open!(HOURS),
            days: open!(DAYS),
            meta: open!(META),
            run_days: open!(RUN_DAYS),
            kept,
            known: HashMap::new(),
            names: HashMap::new(),
            copies: Vec::new(),
            days_added: Vec::new(),
            cells: HashMap::new(),
            files_added: HashMap::new(),
            latest: HashMap::new(),
            committed: Committed::default(),
        })
    }

    /// Checks a batch against the stored cursor and takes its records, or refuses it.
    fn take(&mut self, batch: &'b Batch) -> Result<(), StoreError> {
        let run = self.run(batch)?;
        let stored = self.stored(run.number, &batch.path, batch.renamed_from.as_deref())?;
        let cursor = stored.map(|(_, cursor)| cursor);
        if cursor != batch.expect {
            self.committed.outcomes.push(Outcome::Stale(cursor));
            return Ok(());
        }
        let file = match stored {
            Some((file, _)) => file,
            None => self.new_file(run.number)?,
        };
        self.link(run.number, file, &batch.path, batch.renamed_from.as_deref())?;
        put(
            self.store,
            &mut self.files,
            file,
            &FileRow::new(run.number, &batch.cursor),
        )?;

        let change = self.committed.changes.entry(batch.run.clone()).or_default();
        change.lines.add(&batch.lines);
        change.bytes = change.bytes.saturating_add(batch.bytes);
        change.files += u64::from(stored.is_none());
        if let Some(time) = batch.latest {
            let latest = self.latest.entry(run.number).or_insert(time);
            *latest = time.max(*latest);
        }
        for record in &batch.records {
            let time = record
                .time
                .filter(|time| *time <= batch.read_at.saturating_add(DAY_MS));
            if time.is_none() && record.kind == Kind::Message {
                change.lines.clock_suspect += 1;
            }
            self.copies.push(Copy {
                key: record.key,
                record,
                run: run.number,
                backlog: run.backlog,
                time: time.unwrap_or(batch.read_at.max(0)),
                dated: time.is_some(),
            });
        }
        self.committed.outcomes.push(Outcome::Committed);
        Ok(())
    }

    fn run(&mut self, batch: &Batch) -> Result<RunRow, StoreError> {
        if let Some(row) = self.known.get(&batch.run) {
            return Ok(*row);
        }
        let row = self
            .store
            .run_row(&mut self.runs, &mut self.totals, &batch.run, false, batch.read_at)?;
        self.known.insert(batch.run.clone(), row);
        self.names.insert(row.number, batch.run.clone());
        Ok(row)
    }

    /// The file at a path (or at the path it was renamed from) and its cursor.
    fn stored(
        &self,
        run: RunNumber,
        path: &Path,
        renamed_from: Option<&Path>,
    ) -> Result<Option<(FileNumber, Cursor)>, StoreError> {
        let path = renamed_from.unwrap_or(path).as_os_str().as_bytes();
        let Some(file) = self
            .paths
            .get((run, path))
            .map_err(|e| self.store.error(e))?
            .map(|file| file.value())
        else {
            return Ok(None);
        };
        let row = self.files.get(file).map_err(|e| self.store.error(e))?;
        let row = row.ok_or_else(|| self.store.row_error("paths", &RowError::Range("file")))?;
        let row: FileRow = decode(row.value()).map_err(|e| self.store.row_error("files", &e))?;
        Ok(Some((file, row.cursor())))
    }

    fn new_file(&mut self, run: RunNumber) -> Result<FileNumber, StoreError> {
        *self.files_added.entry(run).or_default() += 1;
        let last = self
            .files
            .last()
            .map_err(|e| self.store.error(e))?
            .map(|(file, _)| file.value());
        Ok(last.map_or(0, |last| last + 1))
    }

    /// Makes `path` lead to `file`, and the path it was renamed from to nothing.
    fn link(
        &mut self,
        run: RunNumber,
        file: FileNumber,
        path: &Path,
        renamed_from: Option<&Path>,
    ) -> Result<(), StoreError> {
        if let Some(old) = renamed_from {
            self.paths
                .remove((run, old.as_os_str().as_bytes()))
                .map_err(|e| self.store.error(e))?;
        }
        let before = self
            .paths
            .insert((run, path.as_os_str().as_bytes()), file)
            .map_err(|e| self.store.error(e))?;
        let replaced = before
            .map(|before| before.value())
            .filter(|before| *before != file);
        if let Some(replaced) = replaced {
            self.files.remove(replaced).map_err(|e| self.store.error(e))?;
        }
        Ok(())
    }

    /// Folds all records, writes everything that changed.
    fn finish(mut self) -> Result<(Committed, Kept), StoreError> {
        // Sorted by key for the tree's sake; stable, so that of equal copies the first stays the first.
        let mut copies = std::mem::take(&mut self.copies);
        copies.sort_by_key(|copy| copy.key);
        for same in copies.chunk_by(|a, b| a.key == b.key) {
            self.fold_copies(same)?;
        }
        self.write_days_added()?;
        self.write_cells()?;
        self.write_run_totals()?;
        let sequence = self
            .meta
            .get(META_SEQUENCE)
            .map_err(|e| self.store.error(e))?
            .map_or(0, |value| value.value());
        self.committed.sequence = sequence + 1;
        self.meta
            .insert(META_SEQUENCE, sequence + 1)
            .map_err(|e| self.store.error(e))?;
        Ok((self.committed, self.kept))
    }

    fn fold_copies(&mut self, copies: &[Copy<'_>]) -> Result<(), StoreError> {
        let Some(first) = copies.first() else {
            return Ok(());
        };
        let key = first.key;
        let before = self.response(key)?;
        let mut after = before.clone();
        for copy in copies {
            let known_before = after.is_some();
            let in_run_order = copy.backlog
                && after
                    .as_ref()
                    .is_some_and(|known| self.kept.backlog.contains(&known.run));
            let response = Response {
                kind: copy.record.kind,
                rank: copy.record.rank,
                tier: copy.record.tier,
                model: self.model(&copy.record.model)?,
                usage: copy.record.usage,
                run: copy.run,
                time: copy.time,
                dated: copy.dated,
            };
            match &mut after {
                Some(known) => fold(known, response, in_run_order),
                empty => *empty = Some(response),
            }
            if let Some(change) = self
                .names
                .get(&copy.run)
                .and_then(|run| self.committed.changes.get_mut(run))
            {
                if !known_before {
                    change.responses += 1;
                } else if copy.record.kind == Kind::Message {
                    change.lines.duplicate += 1;
                }
            }
        }
        if let Some(after) = after
            && before.as_ref() != Some(&after)
        {
            if before.is_none() && !after.dated {
                self.committed.undated.push(key);
            }
            self.store_response(key, before.as_ref(), &after)?;
        }
        Ok(())
    }

    fn response(&self, key: ResponseKey) -> Result<Option<Response>, StoreError> {
        let Some(row) = self.responses.get(key.0).map_err(|e| self.store.error(e))? else {
            return Ok(None);
        };
        let damage = |error| self.store.row_error("responses", &error);
        let row: ResponseRow = decode(row.value()).map_err(damage)?;
        let ResponseParts {
            kind,
            rank,
            tier,
            dated,
            usage,
        } = row.parts().map_err(damage)?;
        let model = self
            .kept
            .names
            .get(row.model as usize)
            .ok_or_else(|| damage(RowError::Range("model")))?;
        Ok(Some(Response {
            kind,
            rank,
            tier,
            model: Arc::clone(model),
            usage,
            run: row.run,
            time: row.time,
            dated,
        }))
    }

    fn store_response(
        &mut self,
        key: ResponseKey,
        before: Option<&Response>,
        after: &Response,
    ) -> Result<(), StoreError> {
        let model = self.model_number(&after.model);
        let Response {
            kind,
            rank,
            tier,
            dated,
            usage,
            ..
        } = *after;
        let row = ResponseRow::new(
            &ResponseParts {
                kind,
                rank,
                tier,
                dated,
                usage,
            },
            model,
            after.run,
            after.time,
        );
        put(self.store, &mut self.responses, key.0, &row)?;
        let day = after.hour() / DAY_HOURS;
        let day_before = before.map(|before| before.hour() / DAY_HOURS);
        if day_before != Some(day) {
            if let Some(day_before) = day_before {
                self.by_day
                    .remove((day_before, key.0))
                    .map_err(|e| self.store.error(e))?;
            }
            self.days_added.push((day, key.0));
        }
        if let Some(before) = before {
            let model = self.model_number(&before.model);
            *self.cells.entry((before.hour(), before.run, model)).or_default() -= Totals::of(before);
        }
        *self.cells.entry((after.hour(), after.run, model)).or_default() += Totals::of(after);
        Ok(())
    }

    /// The shared name of a model, which gets a number if it has none.
    fn model(&mut self, name: &str) -> Result<Arc<str>, StoreError> {
        let name = match self.kept.numbers.get_key_value(name) {
            Some((known, _)) => return Ok(Arc::clone(known)),
            None if self.kept.names.len() < MODELS_MAX => name,
            None => MODEL_OTHER,
        };
        if let Some((known, _)) = self.kept.numbers.get_key_value(name) {
            return Ok(Arc::clone(known));
        }
        let number = u32::try_from(self.kept.names.len()).unwrap_or(u32::MAX);
        let shared: Arc<str> = name.into();
        self.models_table
            .insert(number, name)
            .map_err(|e| self.store.error(e))?;
        self.kept.numbers.insert(Arc::clone(&shared), number);
        self.kept.names.push(Arc::clone(&shared));
        Ok(shared)
    }

    fn model_number(&self, name: &str) -> ModelNumber {
        self.kept.numbers.get(name).copied().unwrap_or(0)
    }

    fn write_days_added(&mut self) -> Result<(), StoreError> {
        self.days_added.sort_unstable();
        for key in &self.days_added {
            self.by_day.insert(*key, ()).map_err(|e| self.store.error(e))?;
        }
        Ok(())
    }

    /// Adds the differences to `hours`, `run_days` and `days`.
    fn write_cells(&mut self) -> Result<(), StoreError> {
        let mut run_days: BTreeMap<(RunNumber, u32, ModelNumber), Totals> = BTreeMap::new();
        let mut days: BTreeMap<(u32, ModelNumber), Totals> = BTreeMap::new();
        let mut hours: Vec<_> = self.cells.iter().map(|(key, delta)| (*key, *delta)).collect();
        hours.sort_unstable_by_key(|(key, _)| *key);
        for ((hour, run, model), delta) in hours {
            *days.entry((hour / DAY_HOURS, model)).or_default() += delta;
            *run_days.entry((run, hour / DAY_HOURS, model)).or_default() += delta;
            add(self.store, &mut self.hours, "hours", (hour, run, model), delta)?;
        }
        for (key, delta) in run_days {
            add(self.store, &mut self.run_days, "run_days", key, delta)?;
        }
        for (key, delta) in days {
            add(self.store, &mut self.days, "days", key, delta)?;
        }
        Ok(())
    }

    fn write_run_totals(&mut self) -> Result<(), StoreError> {
        let mut deltas: BTreeMap<RunNumber, Totals> = BTreeMap::new();
        for ((_, run, _), delta) in &self.cells {
            *deltas.entry(*run).or_default() += *delta;
        }
        for row in self.known.values() {
            deltas.entry(row.number).or_default();
        }
        for (run, delta) in deltas {
            let mut row: RunTotalsRow = match self.totals.get(run).map_err(|e| self.store.error(e))? {
                Some(row) => decode(row.value()).map_err(|e| self.store.row_error("totals", &e))?,
                None => RunTotalsRow::default(),
            };
            row.totals += delta;
            row.files += self.files_added.get(&run).copied().unwrap_or(0);
            row.latest = row.latest.max(self.latest.get(&run).copied());
            if let Some(change) = self
                .names
                .get(&run)
                .and_then(|run| self.committed.changes.get(run))
            {
                row.lines.add(&change.lines);
                row.bytes = row.bytes.saturating_add(change.bytes);
            }
            put(self.store, &mut self.totals, run, &row)?;
        }
        Ok(())
    }
}

/// Adds a difference to a row of sums; a row that comes to nothing is removed.
fn add<'k, K: redb::Key + 'static>(
    store: &Store,
    table: &mut Table<'_, K, &'static [u8]>,
    name: &str,
    key: impl std::borrow::Borrow<K::SelfType<'k>>,
    delta: Totals,
) -> Result<(), StoreError> {
    if delta.is_zero() {
        return Ok(());
    }
    let mut sum: Totals = match table.get(key.borrow()).map_err(|e| store.error(e))? {
        Some(row) => decode(row.value()).map_err(|e| store.row_error(name, &e))?,
        None => Totals::default(),
    };
    sum += delta;
    if sum.is_zero() {
        table.remove(key.borrow()).map_err(|e| store.error(e))?;
        return Ok(());
    }
    put(store, table, key, &sum)
}
