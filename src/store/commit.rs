//! The only write path: batches in, one transaction, what it came to out.
//!
//! **Invariant**: the cursor of a file moves in the same transaction as what was read up to it, and only from where
//! the batch says it stood; a batch that continues anything else is refused, so nothing is counted twice.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use redb::{ReadableTable, ReadableTableMetadata, Table, WriteTransaction};

use super::changed::{Changed, Parts, StoredResponse, rows_of, undated};
use super::error::DbError;
use super::limits::{LimitChanges, MergeOrder, WindowChanges};
use super::registry::Registry;
use super::rows::{add, add_all};
use super::runs::RunEvent;
use super::schema::{
    ACCOUNTS, AccountRow, DAYS, FILES, FileRow, HOURS, META, META_SEQUENCE, MINUTES, MODEL_RUNS, MODELS,
    PATHS, RESPONSES, RUN_ACCOUNTS, RUN_DAYS, RUNS, ResponseParts, ResponseRow, RowError, RunRow,
    RunTotalsRow, SERVED, SUMS, decode,
};
use super::sessions::Sessions;
use super::table::{decode_row, get, put};
use super::{Store, StoreError};
use crate::dedup::{Response, Totals, fold};
use crate::model::{
    self, AccountId, Batch, DAY_HOURS, Dating, FileNumber, Kind, LineCounts, Millis, ModelNumber, Phase,
    Position, Record, ResponseKey, RunId, RunNumber,
};

/// How many model names are told apart; the rest are counted under [`MODEL_OTHER`].
pub const MODELS_MAX: usize = 4096;
/// How many of them one run can bring: others have room for theirs, whatever its lines say.
pub const MODELS_PER_RUN_MAX: usize = 128;
/// The name of all models beyond [`MODELS_MAX`] and [`MODELS_PER_RUN_MAX`].
const MODEL_OTHER: &str = "(other)";
/// From so many responses on a first replay writes them by a thread of their own, beside the other tables: it waits for
/// nothing else by then. A collector goes on, and the allocator would keep what each such thread took.
const ROWS_APART_MIN: usize = 8192;

/// What became of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Committed,
    /// The batch continued something else than what is stored, which is this. Read again from there.
    Stale(Option<Position>),
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
    pub account: AccountId,
    /// What is added to the sums, by model.
    pub models: Vec<(Arc<str>, Totals)>,
    /// The sums after the commit.
    pub totals: Totals,
    /// The lines after the commit.
    pub all_lines: LineCounts,
}

/// What a commit came to.
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// One for each batch, in order.
    pub outcomes: Vec<Outcome>,
    pub sequence: u64,
    pub changes: BTreeMap<RunId, RunChange>,
    /// The keys of responses that have the time of reading.
    pub undated: Vec<ResponseKey>,
    pub limits: LimitChanges,
    /// Runs that began, ended or went on.
    pub events: Vec<RunEvent>,
}

/// How a [reading once](Store::commit_then) ends.
#[derive(Clone, Debug)]
pub struct Conclusion {
    /// The responses without a time of the commits before.
    pub undated: Vec<ResponseKey>,
    /// What is said of the time: else it is the latest time of a line, or, if there is none, that of the clock.
    pub now: Option<Millis>,
    pub clock: Millis,
}

/// Small tables as committed, kept in memory between commits and thrown away after a failed one.
#[derive(Debug, Default)]
pub struct Kept {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, ModelNumber>,
    /// How many names each run brought.
    brought: HashMap<RunNumber, usize>,
    /// Runs whose backlog is not worked off yet.
    backlog: HashSet<RunNumber>,
    /// By their numbers.
    pub(super) accounts: Vec<AccountId>,
    run_accounts: HashMap<RunNumber, u32>,
}

impl Store {
    /// Commits batches in one transaction. They may still be coming: each is folded when it is there, what came of
    /// all is written after the last. Memory is needed for each response, not for its copies.
    ///
    /// # Errors
    /// When the disk or the database refuses; then nothing is known of what was committed until [`Store::reopen`].
    pub fn commit<B: Borrow<Batch>>(
        &self,
        batches: impl IntoIterator<Item = B>,
    ) -> Result<Committed, StoreError> {
        self.commit_then(batches.into_iter(), |_| None)
    }

    /// [`Store::commit`] for what reads once: in the transaction of the last batches, as `conclusion` knows when there
    /// are no more, responses and observations without a time become as of its time, parked observations are merged,
    /// and the backlog is worked off. Not if any of the batches was refused.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_then<I>(
        &self,
        mut batches: I,
        conclusion: impl FnOnce(&mut I) -> Option<Conclusion>,
    ) -> Result<Committed, StoreError>
    where
        I: Iterator,
        I::Item: Borrow<Batch>,
    {
        let kept = self.forget_kept();
        let (committed, kept, is_concluded) = self.transact(|write| {
            let kept = match kept {
                Some(kept) => kept,
                None => load_kept(write)?,
            };
            let mut work = Work::new(self, write, kept)?;
            for batch in batches.by_ref() {
                work.take(batch.borrow())?;
            }
            let is_whole = work.outcomes.iter().all(|outcome| *outcome == Outcome::Committed);
            let conclusion = conclusion(&mut batches).filter(|_| is_whole);
            if let Some(conclusion) = &conclusion {
                work.conclude(conclusion)?;
            }
            let (committed, kept) = work.finish()?;
            Ok((committed, kept, conclusion.is_some()))
        })?;
        if is_concluded {
            self.parks.store(false, Ordering::Release);
        } else {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept);
        }
        Ok(committed)
    }

    /// Merges the observations that were parked; those without a time count as made `now`. From now on observations
    /// are merged as they come.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn unpark(&self, now: Millis) -> Result<Committed, StoreError> {
        self.forget_kept();
        let committed = self.transact(|write| {
            let kept = load_kept(write)?;
            let mut limits = WindowChanges::new(self, write)?;
            let mut meta = write.open_table(META)?;
            limits.unpark(&mut meta, &kept.accounts, now)?;
            let sequence = next_sequence(&mut meta)?;
            Ok(Committed {
                sequence,
                limits: limits.finish(&kept.accounts)?,
                ..Committed::default()
            })
        })?;
        self.parks.store(false, Ordering::Release);
        Ok(committed)
    }

    /// Says that several readers work off a backlog of the runs there are: until it [ends](Store::end_backlog), ties go
    /// to the run with the lowest number, whichever reader is faster.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn begin_backlog(&self) -> Result<(), StoreError> {
        self.forget_kept();
        self.transact(|write| {
            let mut runs = write.open_table(RUNS)?;
            set_backlog(&mut runs, true)
        })
    }

    /// Says that the backlog is worked off: from now on ties stay with the run that is there.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn end_backlog(&self) -> Result<(), StoreError> {
        self.forget_kept();
        self.transact(|write| {
            let mut runs = write.open_table(RUNS)?;
            set_backlog(&mut runs, false)
        })
    }

    /// Does something about an account, which is made known if it is not.
    pub(super) fn register_account<T>(
        &self,
        account: &AccountId,
        body: impl FnOnce(u32, &WriteTransaction) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        self.forget_kept();
        self.transact(|write| {
            let number = Registry::new(write)?.account(account)?;
            body(number, write)
        })
    }

    /// Takes a number, so that whatever is told from now on has a higher one than anything told before.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn begin(&self) -> Result<u64, StoreError> {
        self.transact(|write| {
            let mut meta = write.open_table(META)?;
            next_sequence(&mut meta)
        })
    }

    /// Takes what is kept in memory, so that the next commit reads it anew unless it is put back.
    pub(super) fn forget_kept(&self) -> Option<Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Runs one write transaction: durable, and quick to open again after a crash.
    pub(super) fn transact<T>(
        &self,
        body: impl FnOnce(&WriteTransaction) -> Result<T, DbError>,
    ) -> Result<T, StoreError> {
        let open = self.database()?;
        self.in_place()?;
        let commit = || {
            let mut write = open.begin_write()?;
            write.set_quick_repair(true);
            let value = body(&write)?;
            write.commit()?;
            Ok(value)
        };
        commit().map_err(|error: DbError| self.error(error))
    }
}

/// Numbers a commit.
pub(super) fn next_sequence(meta: &mut Table<'_, &'static str, u64>) -> Result<u64, DbError> {
    let last = meta.get(META_SEQUENCE)?;
    let next = last.map_or(0, |value| value.value()) + 1;
    meta.insert(META_SEQUENCE, next)?;
    Ok(next)
}

/// When a response was made, as far as a record of it and its file say. What is not dated by its own line is not
/// younger than the file, so that it cannot make an account look busy that is not.
fn when(record: &Record, batch: &Batch) -> (Millis, Dating) {
    let believed = |time: &Millis| *time <= model::believed_until(batch.read_at);
    let written_at = (batch.written_at).map(|at| model::not_after(batch.read_at, at).max(0));
    match (record.time.filter(believed), written_at) {
        (Some(time), _) if record.dating.is_own() => (time, record.dating),
        (Some(time), written_at) => (written_at.map_or(time, |at| time.min(at)), Dating::Nearby),
        (None, Some(written_at)) => (written_at, Dating::Written),
        (None, None) => (batch.read_at.max(0), Dating::Unknown),
    }
}

fn set_backlog(runs: &mut Table<'_, &'static str, &'static [u8]>, backlog: bool) -> Result<(), DbError> {
    let mut others = Vec::new();
    for entry in runs.iter()? {
        let (id, row) = entry?;
        let row: RunRow = decode_row("runs", row.value())?;
        if row.backlog != backlog {
            others.push((id.value().to_owned(), RunRow { backlog, ..row }));
        }
    }
    for (id, row) in others {
        put(runs, id.as_str(), &row)?;
    }
    Ok(())
}

pub(super) fn load_kept(write: &WriteTransaction) -> Result<Kept, DbError> {
    let mut kept = Kept::default();
    let table = write.open_table(MODELS)?;
    for entry in table.iter()? {
        let (number, name) = entry?;
        if number.value() as usize != kept.names.len() {
            return Err(DbError::row("models", RowError::Range("number")));
        }
        let name: Arc<str> = name.value().into();
        kept.numbers.insert(Arc::clone(&name), number.value());
        kept.names.push(name);
    }
    let model_runs = write.open_table(MODEL_RUNS)?;
    for entry in model_runs.iter()? {
        let (_, run) = entry?;
        *kept.brought.entry(run.value()).or_default() += 1;
    }
    let runs = write.open_table(RUNS)?;
    for entry in runs.iter()? {
        let (_, row) = entry?;
        let row: RunRow = decode_row("runs", row.value())?;
        if row.backlog {
            kept.backlog.insert(row.number);
        }
    }
    let accounts = write.open_table(ACCOUNTS)?;
    for entry in accounts.iter()? {
        let (number, row) = entry?;
        if number.value() as usize != kept.accounts.len() {
            return Err(DbError::row("accounts", RowError::Range("number")));
        }
        let row: AccountRow = decode_row("accounts", row.value())?;
        kept.accounts.push(row.id());
    }
    let run_accounts = write.open_table(RUN_ACCOUNTS)?;
    for entry in run_accounts.iter()? {
        let (run, account) = entry?;
        kept.run_accounts.insert(run.value(), account.value());
    }
    Ok(kept)
}

/// One run's part of a transaction.
struct RunWork {
    id: RunId,
    row: RunRow,
    /// `None` if all of its batches were refused.
    change: Option<RunChange>,
    files_added: u64,
    /// Whether this transaction made it known.
    is_new: bool,
    earliest: Option<Millis>,
    latest: Option<Millis>,
}

/// The runs' rows as they are now, and what was added, by run and model.
type RunSumsAndDeltas = (
    BTreeMap<RunNumber, RunTotalsRow>,
    BTreeMap<(RunNumber, ModelNumber), Totals>,
);

/// One transaction's work: takes batches, folds their records, writes what changed.
struct Work<'s, 't> {
    registry: Registry<'t>,
    limits: WindowChanges<'s, 't>,
    sessions: Sessions<'t>,
    minutes_table: Table<'t, (u32, u32), &'static [u8]>,
    paths: Table<'t, (u32, &'static [u8]), u32>,
    files: Table<'t, u32, &'static [u8]>,
    models_table: Table<'t, u32, &'static str>,
    model_runs: Table<'t, u32, u32>,
    responses: Table<'t, u128, &'static [u8]>,
    hours: Table<'t, (u32, u32, u32), &'static [u8]>,
    days: Table<'t, (u32, u32), &'static [u8]>,
    sums: Table<'t, (u32, u32), &'static [u8]>,
    meta: Table<'t, &'static str, u64>,
    run_days: Table<'t, (u32, u32, u32), &'static [u8]>,
    kept: Kept,
    /// Observations are parked.
    parks: bool,
    /// No response is stored yet: nothing needs to be looked up, and all rows go in at the end.
    is_fresh: bool,
    /// The model asked for last.
    model: Option<(Arc<str>, ModelNumber)>,
    run_works: Vec<RunWork>,
    /// Where a run is in `run_works`.
    run_places: HashMap<RunId, usize>,
    changed: Vec<Changed>,
    /// Where a response is in `changed`.
    places: HashMap<ResponseKey, usize>,
    /// What is added, by hour, run and model.
    cells: Vec<((u32, RunNumber, ModelNumber), Totals)>,
    outcomes: Vec<Outcome>,
    /// The latest time an observation in a file had.
    observed: HashMap<FileNumber, Millis>,
    served: Table<'t, (u32, u32), i64>,
    /// When the last of the batches was read.
    read_at: Millis,
}

impl<'s, 't> Work<'s, 't> {
    fn new(store: &'s Store, write: &'t WriteTransaction, kept: Kept) -> Result<Self, DbError> {
        macro_rules! open {
            ($table:expr) => {
                write.open_table($table)?
            };
        }
        let responses = open!(RESPONSES);
        Ok(Self {
            registry: Registry::new(write)?,
            limits: WindowChanges::new(store, write)?,
            sessions: Sessions::new(write)?,
            minutes_table: open!(MINUTES),
            paths: open!(PATHS),
            files: open!(FILES),
            models_table: open!(MODELS),
            model_runs: open!(MODEL_RUNS),
            is_fresh: responses.is_empty()?,
            responses,
            hours: open!(HOURS),
            days: open!(DAYS),
            sums: open!(SUMS),
            meta: open!(META),
            run_days: open!(RUN_DAYS),
            kept,
            parks: store.parks.load(Ordering::Acquire),
            model: None,
            run_works: Vec::new(),
            run_places: HashMap::new(),
            changed: Vec::new(),
            places: HashMap::new(),
            cells: Vec::new(),
            outcomes: Vec::new(),
            observed: HashMap::new(),
            served: open!(SERVED),
            read_at: 0,
        })
    }

    /// Checks a batch against the stored cursor and folds its records, or refuses it.
    fn take(&mut self, batch: &Batch) -> Result<(), DbError> {
        let place = self.run(batch)?;
        let run = self.run_works[place].row.number;
        let stored = self.stored(run, &batch.path, batch.renamed_from.as_deref())?;
        if stored.as_ref().map(|(_, position)| position.cursor) != batch.expect {
            self.outcomes
                .push(Outcome::Stale(stored.map(|(_, position)| position)));
            return Ok(());
        }
        let is_known = stored.is_some();
        let file = match stored {
            Some((file, _)) => file,
            None => self.new_file(place)?,
        };
        let mut cursor = batch.cursor;
        if (!is_known || batch.renamed_from.is_some())
            && self.link(run, file, &batch.path, batch.renamed_from.as_deref())?
            && cursor.generation == 0
        {
            // Positions do not add up to what was read any more: what was read of the other file is in the counts, and if
            // that lives under another name, it is read again. The next batch is refused for it once, and made anew.
            cursor.generation = 1;
        }
        put(&mut self.files, file, &FileRow::new(run, &cursor, &batch.state))?;

        let mut change = self.run_works[place].change.take().unwrap_or_default();
        change.lines.add(&batch.lines);
        change.bytes = change.bytes.saturating_add(batch.bytes);
        change.files += u64::from(!is_known);
        for record in &batch.records {
            self.take_record(record, batch, place, &mut change)?;
        }
        for report in &batch.reports {
            self.sessions.report(report, run)?;
        }
        self.take_observations(batch, run, file)?;
        self.read_at = self.read_at.max(batch.read_at);
        let work = &mut self.run_works[place];
        work.change = Some(change);
        work.latest = work.latest.max(batch.latest);
        work.earliest = [work.earliest, batch.earliest].into_iter().flatten().min();
        self.outcomes.push(Outcome::Committed);
        Ok(())
    }

    /// Lets a batch's observations wait for the end of the transaction, or parks them while a backlog is read.
    fn take_observations(&mut self, batch: &Batch, run: RunNumber, file: FileNumber) -> Result<(), DbError> {
        if batch.observations.is_empty() {
            return Ok(());
        }
        let account = self.account_of(run);
        let mut latest = match self.observed.get(&file) {
            Some(latest) => Some(*latest),
            None => self.limits.parked_until(file)?,
        };
        for observation in &batch.observations {
            if !self.parks {
                let at = observation.observed_at.unwrap_or(batch.read_at);
                latest = latest.max(Some(at));
                let place = MergeOrder::new(batch, latest);
                self.limits.wait(account, observation.clone(), at, place);
                continue;
            }
            let effective = observation.observed_at.map(|time| {
                let time = latest.map_or(time, |latest| time.max(latest));
                latest = Some(time);
                time
            });
            let place = MergeOrder::new(batch, effective);
            self.limits.park(&self.meta, account, observation, place)?;
        }
        if let Some(latest) = latest {
            self.observed.insert(file, latest);
            if self.parks {
                self.limits.set_parked_until(file, latest)?;
            }
        }
        Ok(())
    }

    fn account_of(&self, run: RunNumber) -> u32 {
        self.kept.run_accounts.get(&run).copied().unwrap_or_default()
    }

    fn take_record(
        &mut self,
        record: &Record,
        batch: &Batch,
        place: usize,
        change: &mut RunChange,
    ) -> Result<(), DbError> {
        let run = self.run_works[place].row;
        let (time, dating) = when(record, batch);
        if !dating.is_own() && record.kind == Kind::Message {
            change.lines.clock_suspect += u64::from(record.copies);
        }
        let (name, model) = self.model(&record.model, run.number)?;
        let session = self.sessions.number(record.session, run.number)?;
        let copy = StoredResponse {
            response: Response {
                kind: record.kind,
                rank: record.rank,
                tier: record.tier,
                model: Arc::clone(&name),
                usage: record.usage,
                run: run.number,
                time,
                dating,
                is_final: record.is_final,
                session,
                is_shared: false,
            },
            model,
        };
        let duplicates = if record.kind == Kind::Message {
            record.copies
        } else {
            0
        };
        let next = self.changed.len();
        let place = *self.places.entry(record.key).or_insert(next);
        if place == next {
            let Some(before) = self.stored_response(record.key)? else {
                self.changed.push(Changed::new(record.key, copy));
                change.responses += u64::from(record.kind != Kind::Duplicate);
                change.lines.duplicate += u64::from(duplicates.saturating_sub(1));
                return Ok(());
            };
            self.changed.push(Changed::stored(record.key, before));
        }
        change.lines.duplicate += u64::from(duplicates);
        let known = &mut self.changed[place].after;
        let in_run_order = run.backlog && self.kept.backlog.contains(&known.response.run);
        let first = known.response.session;
        if first != 0 && session != 0 && first != session {
            self.sessions.copied(record.key, first, session)?;
            known.response.is_shared = true;
        }
        if record.kind == Kind::Duplicate && known.response.kind == Kind::Message {
            // Of its lines all but one are counted as duplicates by now.
            change.lines.duplicate += 1;
        }
        fold(&mut known.response, copy.response, in_run_order);
        // The fold kept the name of one of the two; names are shared, so the place in memory tells which.
        if Arc::ptr_eq(&known.response.model, &name) {
            known.model = model;
        }
        Ok(())
    }

    /// Ends a reading: see [`Store::commit_then`].
    fn conclude(&mut self, conclusion: &Conclusion) -> Result<(), DbError> {
        let now = match conclusion.now {
            Some(now) => now,
            None => self.latest()?.unwrap_or(conclusion.clock),
        };
        for key in &conclusion.undated {
            if !self.places.contains_key(key)
                && let Some(before) = self.stored_response(*key)?
            {
                self.places.insert(*key, self.changed.len());
                self.changed.push(Changed::stored(*key, before));
            }
        }
        let earlier: HashSet<ResponseKey> = conclusion.undated.iter().copied().collect();
        for change in &mut self.changed {
            let is_of_this_reading = change.before.is_none() || earlier.contains(&change.key);
            if is_of_this_reading && change.after.response.dating == Dating::Unknown {
                change.after.response.time = now;
            }
        }
        self.limits.unpark(&mut self.meta, &self.kept.accounts, now)?;
        set_backlog(&mut self.registry.runs, false)
    }

    /// The latest time of a line, those of this transaction included.
    fn latest(&self) -> Result<Option<Millis>, DbError> {
        let mut latest = self.run_works.iter().filter_map(|work| work.latest).max();
        for entry in self.registry.totals.iter()? {
            let (_, row) = entry?;
            let row: RunTotalsRow = decode_row("totals", row.value())?;
            latest = latest.max(row.latest);
        }
        Ok(latest)
    }

    /// Where the run of a batch is in `run_works`.
    fn run(&mut self, batch: &Batch) -> Result<usize, DbError> {
        if let Some(place) = self.run_places.get(&batch.run) {
            return Ok(*place);
        }
        let (row, account, is_new) = self
            .registry
            .run(&batch.run, &batch.account, false, batch.read_at)?;
        self.kept.run_accounts.insert(row.number, account);
        if account as usize == self.kept.accounts.len() {
            self.kept.accounts.push((*batch.account).clone());
        }
        let place = self.run_works.len();
        self.run_works.push(RunWork {
            id: batch.run.clone(),
            row,
            is_new,
            change: None,
            files_added: 0,
            earliest: None,
            latest: None,
        });
        self.run_places.insert(batch.run.clone(), place);
        Ok(place)
    }

    /// The file at a path (or at the path it was renamed from) and how far it was read.
    fn stored(
        &self,
        run: RunNumber,
        path: &Path,
        renamed_from: Option<&Path>,
    ) -> Result<Option<(FileNumber, Position)>, DbError> {
        let path = renamed_from.unwrap_or(path).as_os_str().as_bytes();
        let Some(file) = self.paths.get((run, path))?.map(|file| file.value()) else {
            return Ok(None);
        };
        let row: Option<FileRow> = get(&self.files, file)?;
        let row = row.ok_or_else(|| DbError::row("paths", RowError::Range("file")))?;
        Ok(Some((file, row.position())))
    }

    fn new_file(&mut self, place: usize) -> Result<FileNumber, DbError> {
        self.run_works[place].files_added += 1;
        let last = self.files.last()?.map(|(file, _)| file.value());
        Ok(last.map_or(0, |last| last + 1))
    }

    /// Makes `path` lead to `file`, and the path it was renamed from to nothing. Whether another file's row went for it.
    fn link(
        &mut self,
        run: RunNumber,
        file: FileNumber,
        path: &Path,
        renamed_from: Option<&Path>,
    ) -> Result<bool, DbError> {
        if let Some(old) = renamed_from {
            self.paths.remove((run, old.as_os_str().as_bytes()))?;
        }
        let before = self.paths.insert((run, path.as_os_str().as_bytes()), file)?;
        let replaced = before
            .map(|before| before.value())
            .filter(|before| *before != file);
        if let Some(replaced) = replaced {
            self.files.remove(replaced)?;
        }
        Ok(replaced.is_some())
    }

    /// Writes everything that changed.
    fn finish(mut self) -> Result<(Committed, Kept), DbError> {
        let mut committed = Committed::default();
        let changed = std::mem::take(&mut self.changed);
        committed.undated = undated(&changed).collect();
        self.write_changed(&changed)?;
        self.write_served(&changed)?;
        drop(changed);
        let (sums, by_model) = self.write_run_totals()?;
        self.write_sums(&by_model)?;
        committed.events = self.write_run_infos()?;
        committed.sequence = next_sequence(&mut self.meta)?;
        committed.changes = self.changes(&sums, &by_model)?;
        self.limits.settle(&mut self.meta, &self.kept.accounts)?;
        committed.limits = self.limits.finish(&self.kept.accounts)?;
        committed.outcomes = self.outcomes;
        Ok((committed, self.kept))
    }

    fn stored_response(&self, key: ResponseKey) -> Result<Option<StoredResponse>, DbError> {
        if self.is_fresh {
            return Ok(None);
        }
        let Some(row) = self.responses.get(key.0)? else {
            return Ok(None);
        };
        let damage = |error| DbError::row("responses", error);
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
        let model = self
            .kept
            .names
            .get(row.model as usize)
            .ok_or_else(|| damage(RowError::Range("model")))?;
        let response = Response {
            kind,
            rank,
            tier,
            model: Arc::clone(model),
            usage,
            run: row.run,
            time: row.time,
            dating,
            is_final,
            session,
            is_shared,
        };
        Ok(Some(StoredResponse {
            response,
            model: row.model,
        }))
    }

    /// The shared name and the number of a model, which gets one if it has none and there is room for what `run` brings.
    fn model(&mut self, name: &str, run: RunNumber) -> Result<(Arc<str>, ModelNumber), DbError> {
        if let Some((last, number)) = &self.model
            && **last == *name
        {
            return Ok((Arc::clone(last), *number));
        }
        let brought = self.kept.brought.get(&run).copied().unwrap_or_default();
        let has_room = self.kept.names.len() < MODELS_MAX && brought < MODELS_PER_RUN_MAX;
        let is_known = self.kept.numbers.contains_key(name);
        let name = if is_known || has_room { name } else { MODEL_OTHER };
        let (shared, number) = match self.kept.numbers.get_key_value(name) {
            Some((shared, number)) => (Arc::clone(shared), *number),
            None => self.new_model(name, run)?,
        };
        self.model = Some((Arc::clone(&shared), number));
        Ok((shared, number))
    }

    fn new_model(&mut self, name: &str, run: RunNumber) -> Result<(Arc<str>, ModelNumber), DbError> {
        let number = u32::try_from(self.kept.names.len()).unwrap_or(u32::MAX);
        let shared: Arc<str> = name.into();
        self.models_table.insert(number, name)?;
        if name != MODEL_OTHER {
            self.model_runs.insert(number, run)?;
            *self.kept.brought.entry(run).or_default() += 1;
        }
        self.kept.numbers.insert(Arc::clone(&shared), number);
        self.kept.names.push(Arc::clone(&shared));
        Ok((shared, number))
    }

    /// Writes responses, and beside them everything that is summed by other keys.
    fn write_changed(&mut self, changed: &[Changed]) -> Result<(), DbError> {
        let (responses, run_accounts) = (&mut self.responses, &self.kept.run_accounts);
        let (hours, run_days, days) = (&mut self.hours, &mut self.run_days, &mut self.days);
        let (minutes, sessions, places) = (&mut self.minutes_table, &mut self.sessions, &self.places);
        let account_of = |run: RunNumber| run_accounts.get(&run).copied().unwrap_or_default();
        let mut write_responses = move || rows_of(changed)?.write(responses);
        let mut write_others = move || {
            let cells: Vec<_> = Parts::of(changed, |known| Some(known.cell())).sums().collect();
            let mut day_sums: BTreeMap<(u32, ModelNumber), Totals> = BTreeMap::new();
            let mut run_sums: BTreeMap<(RunNumber, u32, ModelNumber), Totals> = BTreeMap::new();
            for ((hour, run, model), delta) in &cells {
                *day_sums.entry((hour / DAY_HOURS, *model)).or_default() += *delta;
                *run_sums.entry((*run, hour / DAY_HOURS, *model)).or_default() += *delta;
            }
            let by_minute = Parts::of(changed, |known| {
                Some((account_of(known.response.run), known.minute()?))
            });
            add_all(hours, cells.iter().copied())?;
            add_all(run_days, run_sums.into_iter())?;
            add_all(days, day_sums.into_iter())?;
            add_all(minutes, by_minute.sums())?;
            sessions.finish(changed, places)?;
            Ok::<_, DbError>(cells)
        };
        if !self.is_fresh || changed.len() < ROWS_APART_MIN {
            write_responses()?;
            self.cells = write_others()?;
            return Ok(());
        }
        self.cells = std::thread::scope(|scope| {
            let responses = scope.spawn(write_responses);
            let cells = write_others();
            (responses.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            cells
        })?;
        Ok(())
    }

    /// Notes when the provider served last, by account and model. Only a line's own time says so, and none that is still
    /// to come: a captured answer that is read late shows nothing of now.
    fn write_served(&mut self, changed: &[Changed]) -> Result<(), DbError> {
        let mut latest: BTreeMap<(RunNumber, ModelNumber), Millis> = BTreeMap::new();
        let shows_service = |response: &Response| {
            let is_served = response.kind == Kind::Message && !response.usage.is_empty();
            is_served && response.dating.is_own() && response.time <= self.read_at
        };
        let of = |it: &Changed| (it.after.response.run, it.after.model);
        // Responses of one reading mostly follow each other.
        for group in changed.chunk_by(|one, other| of(one) == of(other)) {
            let responses = group.iter().map(|it| &it.after.response);
            if let Some(time) = responses.filter(|it| shows_service(it)).map(|it| it.time).max() {
                let at = latest.entry(of(&group[0])).or_insert(time);
                *at = time.max(*at);
            }
        }
        for ((run, model), at) in latest {
            let key = (self.account_of(run), model);
            let before = self.served.get(key)?;
            let before = before.map(|at| at.value());
            if before.is_none_or(|before| before < at) {
                self.served.insert(key, at)?;
            }
        }
        Ok(())
    }

    fn write_run_totals(&mut self) -> Result<RunSumsAndDeltas, DbError> {
        let mut sums = BTreeMap::new();
        let mut deltas: BTreeMap<RunNumber, (Totals, Option<&RunWork>)> = BTreeMap::new();
        let mut by_model: BTreeMap<(RunNumber, ModelNumber), Totals> = BTreeMap::new();
        for ((_, run, model), delta) in &self.cells {
            deltas.entry(*run).or_default().0 += *delta;
            *by_model.entry((*run, *model)).or_default() += *delta;
        }
        for work in &self.run_works {
            deltas.entry(work.row.number).or_default().1 = Some(work);
        }
        for (run, (delta, work)) in deltas {
            let mut row: RunTotalsRow = get(&self.registry.totals, run)?.unwrap_or_default();
            row.totals += delta;
            if let Some(work) = work {
                row.files += work.files_added;
                row.latest = row.latest.max(work.latest);
            }
            if let Some(change) = work.and_then(|work| work.change.as_ref()) {
                row.lines.add(&change.lines);
                row.bytes = row.bytes.saturating_add(change.bytes);
            }
            put(&mut self.registry.totals, run, &row)?;
            sums.insert(run, row);
        }
        Ok((sums, by_model))
    }

    /// Adds the differences to `sums`.
    fn write_sums(&mut self, by_model: &BTreeMap<(RunNumber, ModelNumber), Totals>) -> Result<(), DbError> {
        let mut sums: BTreeMap<(u32, ModelNumber), Totals> = BTreeMap::new();
        for ((run, model), delta) in by_model {
            *sums.entry((self.account_of(*run), *model)).or_default() += *delta;
        }
        for (key, delta) in sums {
            add(&mut self.sums, key, delta)?;
        }
        Ok(())
    }

    /// What this transaction changed of each run: of those with batches, and of those that won or lost a response.
    fn changes(
        &mut self,
        sums: &BTreeMap<RunNumber, RunTotalsRow>,
        by_model: &BTreeMap<(RunNumber, ModelNumber), Totals>,
    ) -> Result<BTreeMap<RunId, RunChange>, DbError> {
        let mut changes = BTreeMap::new();
        for work in &mut self.run_works {
            if let Some(change) = work.change.take() {
                changes.insert(work.row.number, (work.id.clone(), change));
            }
        }
        for ((run, model), delta) in by_model {
            // Nobody waits for what has no figures.
            if !delta.has_figures() {
                continue;
            }
            if !changes.contains_key(run) {
                // Rare: only if a response of a run without batches has another owner or a better copy.
                let Some(id) = self.registry.name_of(*run)? else {
                    continue;
                };
                changes.insert(*run, (id, RunChange::default()));
            }
            if let Some((_, change)) = changes.get_mut(run) {
                change
                    .models
                    .push((Arc::clone(&self.kept.names[*model as usize]), *delta));
            }
        }
        let mut named = BTreeMap::new();
        for (run, (id, mut change)) in changes {
            change.account = (self.kept.accounts.get(self.account_of(run) as usize))
                .cloned()
                .unwrap_or_default();
            if let Some(row) = sums.get(&run) {
                change.totals = row.totals;
                change.all_lines = row.lines;
            }
            named.insert(id, change);
        }
        Ok(named)
    }

    /// Notes when runs had their first activity, and lets those go on that were stopped and have new lines.
    fn write_run_infos(&mut self) -> Result<Vec<RunEvent>, DbError> {
        let mut events = Vec::new();
        for work in &self.run_works {
            let Some(change) = &work.change else {
                continue;
            };
            let number = work.row.number;
            let mut info = self.registry.info(number)?;
            let resumes = info.stopped.is_some() && change.lines.read > 0;
            let earliest = [info.earliest, work.earliest].into_iter().flatten().min();
            if work.is_new || resumes {
                let phase = if work.is_new {
                    Phase::Started
                } else {
                    Phase::Resumed
                };
                events.push(RunEvent {
                    run: work.id.clone(),
                    account: self.registry.account_id(self.account_of(number))?,
                    labels: info.labels.clone(),
                    phase,
                    totals: self.registry.sums(number)?.totals,
                });
            }
            if resumes || earliest != info.earliest {
                info.stopped = info.stopped.filter(|_| !resumes);
                info.earliest = earliest;
                put(&mut self.registry.infos, number, &info)?;
            }
        }
        Ok(events)
    }
}
