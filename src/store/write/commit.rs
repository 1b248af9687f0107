//! Applies batches in one transaction and returns its outcome.
//!
//! **Invariant**: the cursor of a file moves in the same transaction as the data read up to it, and only from
//! the position that the batch continues; a batch with another position is refused, so nothing is counted
//! twice.

use std::borrow::Borrow;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use redb::{ReadableTable, Table, WriteTransaction};

use super::accounts::BatchAccounts;
use super::backlog::set_backlog;
use super::deferred::MergeOrder;
use super::files::FileTables;
use super::models::ModelTables;
use super::name_cache::NameCache;
use super::outcome::{Committed, Outcome, PostOutcome, RunChange};
use super::record_table::RecordTable;
use super::registry::Registry;
use super::responses::{
    ResponseDelta, ResponseSource, ResponseTable, StoredKey, StoredResponse, earliest, number_series, undated,
};
use super::series::SeriesTables;
use super::sessions::Sessions;
use super::sums::{RecordSums, SumTables, by_model};
use super::tx_runs::TxRuns;
use super::windows::WindowChanges;
use super::{Writer, next_sequence};
use crate::dedup::{Response, Totals, merge_copy};
use crate::model::{
    self, Batch, Dating, FileNumber, Kind, Millis, PostedRecord, Record, ResponseKey, SessionNumber,
    SessionPlace,
};
use crate::store::StoreError;
use crate::store::database::DatabaseSlot;
use crate::store::error::DbError;
use crate::store::horizon::Horizons;
use crate::store::schema::{FileRow, META, RunTotalsRow, SeriesRow};
use crate::store::table::decode_row;

/// Number of responses from which a first replay writes them in a thread of their own, beside the other
/// tables: at that point it waits for nothing else. A collector keeps running, and the allocator would keep
/// the memory of each such thread.
const ROWS_APART_MIN: usize = 8192;

/// The end of a replay, see [`Writer::commit_then`].
#[derive(Clone, Debug)]
pub struct ReplayEnd {
    /// The responses without a time of the commits before.
    pub undated: Vec<ResponseKey>,
    /// The given time; without one it is the latest time of a line, or, if there is none, that of the clock.
    pub now: Option<Millis>,
    pub clock: Millis,
}

impl Writer {
    /// Commits batches in one transaction. They may still be arriving: each is merged when it arrives, and
    /// the results of all are written after the last. Memory is needed for each response, not for its copies.
    ///
    /// # Errors
    /// The disk or the database fails; it is then unknown what was committed until [`Writer::reopen`].
    pub fn commit<B: Borrow<Batch>>(
        &mut self,
        batches: impl IntoIterator<Item = B>,
    ) -> Result<Committed, StoreError> {
        self.commit_then(batches.into_iter(), |_| None)
    }

    /// Commits batches and posted records in one transaction.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn commit_posted(
        &mut self,
        batches: &[Batch],
        records: &[PostedRecord],
        now: Millis,
    ) -> Result<Committed, StoreError> {
        let slot = Arc::clone(self.slot());
        self.transact_named(|write, names| {
            let mut tx = CommitTx::new(&slot, write, names)?;
            for batch in batches {
                tx.apply_batch(batch)?;
            }
            for record in records {
                let outcome = tx.apply_posted(record, now)?;
                tx.posted.push(outcome);
            }
            tx.finish()
        })
    }

    /// [`Writer::commit`] for a program that reads once: in the transaction of the last batches, as given by
    /// `end` after the last one, responses and observations without a time get its time, deferred
    /// observations are merged, and the backlog ends. Not if any of the batches was refused.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn commit_then<I>(
        &mut self,
        mut batches: I,
        end: impl FnOnce(&mut I) -> Option<ReplayEnd>,
    ) -> Result<Committed, StoreError>
    where
        I: Iterator,
        I::Item: Borrow<Batch>,
    {
        let slot = Arc::clone(self.slot());
        let (committed, is_end) = self.transact_named(|write, names| {
            let mut tx = CommitTx::new(&slot, write, names)?;
            for batch in batches.by_ref() {
                tx.apply_batch(batch.borrow())?;
            }
            let is_whole = tx.outcomes.iter().all(|outcome| *outcome == Outcome::Committed);
            let end = end(&mut batches).filter(|_| is_whole);
            if let Some(end) = &end {
                tx.finish_replay(end)?;
            }
            Ok((tx.finish()?, end.is_some()))
        })?;
        if is_end {
            slot.defer_no_more();
            // No run is part of the backlog any more.
            self.names = None;
        }
        Ok(committed)
    }
}

/// The time at which a response was made, by its record and its file. A response that is not dated by its own
/// line is not younger than the file, so that it cannot make an idle account look active.
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

/// One transaction: applies batches, merges their records, writes the changes.
pub(super) struct CommitTx<'s, 't> {
    pub(super) registry: Registry<'t>,
    limits: WindowChanges<'s, 't>,
    /// For the outbox.
    slot: &'s DatabaseSlot,
    write: &'t WriteTransaction,
    sessions: Sessions<'t>,
    files: FileTables<'t>,
    pub(super) models: ModelTables<'t>,
    pub(super) series: SeriesTables<'t>,
    pub(super) responses: ResponseTable<'t>,
    pub(super) records: RecordTable<'t>,
    sums: SumTables<'t>,
    pub(super) meta: Table<'t, &'static str, u64>,
    pub(super) names: &'s mut NameCache,
    /// Set if observations are deferred.
    defers: bool,
    pub(super) horizons: Horizons,
    pub(super) runs: TxRuns,
    pub(super) deltas: Vec<ResponseDelta>,
    /// Index of a response in `deltas`.
    pub(super) places: HashMap<ResponseKey, usize>,
    outcomes: Vec<Outcome>,
    posted: Vec<PostOutcome>,
    /// The latest time of an observation in a file.
    observed: HashMap<FileNumber, Millis>,
    /// Time at which the last of the batches was read, or of the records received.
    pub(super) read_at: Millis,
}

impl<'s, 't> CommitTx<'s, 't> {
    fn new(
        slot: &'s DatabaseSlot,
        write: &'t WriteTransaction,
        names: &'s mut NameCache,
    ) -> Result<Self, DbError> {
        let meta = write.open_table(META)?;
        let horizons = Horizons::read(&meta)?;
        Ok(Self {
            registry: Registry::new(write)?,
            limits: WindowChanges::new(slot, write)?,
            slot,
            write,
            sessions: Sessions::new(write)?,
            files: FileTables::new(write)?,
            models: ModelTables::new(write)?,
            series: SeriesTables::new(write)?,
            responses: ResponseTable::new(write)?,
            records: RecordTable::new(write)?,
            sums: SumTables::new(write)?,
            meta,
            names,
            defers: slot.defers(),
            horizons,
            runs: TxRuns::default(),
            deltas: Vec::new(),
            places: HashMap::new(),
            outcomes: Vec::new(),
            posted: Vec::new(),
            observed: HashMap::new(),
            read_at: 0,
        })
    }

    /// Checks a batch against the stored cursor and merges its records, or refuses it.
    fn apply_batch(&mut self, batch: &Batch) -> Result<(), DbError> {
        let place = self.runs.place(&mut self.registry, self.names, batch)?;
        let run = self.runs.all[place].row.number;
        let stored = self
            .files
            .stored(run, &batch.path, batch.renamed_from.as_deref())?;
        if stored.as_ref().map(|(_, position)| position.cursor) != batch.expect {
            self.outcomes
                .push(Outcome::Stale(stored.map(|(_, position)| position)));
            return Ok(());
        }
        let is_known = stored.is_some();
        let file = if let Some((file, _)) = stored {
            file
        } else {
            self.runs.all[place].files_added += 1;
            self.files.next_number()?
        };
        let mut cursor = batch.cursor;
        if (!is_known || batch.renamed_from.is_some())
            && self
                .files
                .link(run, file, &batch.path, batch.renamed_from.as_deref())?
            && cursor.generation == 0
        {
            // The positions do not sum up to the bytes read any more: the bytes of the other file are in the
            // counts, and if it exists under another name, it is read again. The next batch is refused once
            // for this, and built again.
            cursor.generation = 1;
        }
        self.files.put(file, &FileRow::new(run, &cursor, &batch.state))?;

        let mut change = self.runs.all[place].change.take().unwrap_or_default();
        change.lines.add(&batch.lines);
        change.bytes = change.bytes.saturating_add(batch.bytes);
        change.files += u64::from(!is_known);
        let account = self.apply_records(batch, place, &mut change)?;
        for report in &batch.reports {
            self.sessions.report(report, run)?;
        }
        self.apply_observations(batch, account, file)?;
        self.read_at = self.read_at.max(batch.read_at);
        let tx_run = &mut self.runs.all[place];
        tx_run.change = Some(change);
        tx_run.latest = tx_run.latest.max(batch.latest);
        tx_run.earliest = [tx_run.earliest, batch.earliest].into_iter().flatten().min();
        self.outcomes.push(Outcome::Committed);
        Ok(())
    }

    /// Keeps a batch's observations for the end of the transaction, or defers them while a backlog is read.
    fn apply_observations(&mut self, batch: &Batch, account: u32, file: FileNumber) -> Result<(), DbError> {
        if batch.observations.is_empty() {
            return Ok(());
        }
        let mut latest = match self.observed.get(&file) {
            Some(latest) => Some(*latest),
            None => self.limits.deferred.until(file)?,
        };
        for observation in &batch.observations {
            if !self.defers {
                let at = observation.observed_at.unwrap_or(batch.read_at);
                latest = latest.max(Some(at));
                let order = MergeOrder::new(batch, latest);
                self.limits.wait(account, observation.clone(), at, order);
                continue;
            }
            let effective = observation.observed_at.map(|time| {
                let time = latest.map_or(time, |latest| time.max(latest));
                latest = Some(time);
                time
            });
            let order = MergeOrder::new(batch, effective);
            self.limits
                .deferred
                .add(&self.meta, account, observation, order)?;
        }
        if let Some(latest) = latest {
            self.observed.insert(file, latest);
            if self.defers {
                self.limits.deferred.set_until(file, latest)?;
            }
        }
        Ok(())
    }

    /// Merges the records of a batch; returns the account of its lines.
    fn apply_records(&mut self, batch: &Batch, place: usize, change: &mut RunChange) -> Result<u32, DbError> {
        let run = self.runs.all[place].row.number;
        let mut accounts = BatchAccounts::new(&mut self.registry, self.names, batch, run)?;
        if batch.records.is_empty() {
            return Ok(accounts.own);
        }
        let mut place_of = SessionPlace::of(batch.dialect, &batch.path);
        if batch.is_project && place_of.project.is_none() {
            place_of.project = Some(batch.run.as_str().into());
        }
        let of_batch = ResponseSource {
            place: self.series.place(place_of)?,
            account: accounts.own,
            dialect: Some(batch.dialect),
        };
        for record in &batch.records {
            let source = ResponseSource {
                account: accounts.of(&mut self.registry, self.names, record)?,
                ..of_batch
            };
            self.apply_record(record, source, batch, place, change)?;
        }
        Ok(accounts.own)
    }

    fn apply_record(
        &mut self,
        record: &Record,
        source: ResponseSource,
        batch: &Batch,
        place: usize,
        change: &mut RunChange,
    ) -> Result<(), DbError> {
        let run = self.runs.all[place].row;
        let (time, dating) = when(record, batch);
        if !dating.is_own() && record.kind == Kind::Message {
            change.lines.clock_suspect += u64::from(record.copies);
        }
        let (name, model) = self.models.number(self.names, &record.model, run.number)?;
        let session = self.sessions.number(record.session, run.number)?;
        let copy = StoredResponse {
            response: Response {
                kind: record.kind,
                rank: record.rank,
                service: record.service,
                model: Arc::clone(&name),
                usage: record.usage,
                run: run.number,
                time,
                dating,
                is_final: record.is_final,
                session,
                is_shared: false,
                is_estimated: false,
            },
            model,
            source,
            route: 0,
            series: 0,
        };
        let duplicates = if record.kind == Kind::Message {
            record.copies
        } else {
            0
        };
        let next = self.deltas.len();
        let place = match self.places.entry(record.key) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(place) => {
                match (self.responses).stored(self.names, &mut self.series, record.key)? {
                    StoredKey::Counted(before) => {
                        if self.horizons.has_lost_sums_of(before.response.time) {
                            return self.note_pruned(duplicates, session, change);
                        }
                        self.deltas.push(ResponseDelta::stored(record.key, before));
                    }
                    StoredKey::Nothing if !self.horizons.has_lost_keys_of(time) => {
                        place.insert(next);
                        self.deltas.push(ResponseDelta::new(record.key, copy));
                        change.responses += u64::from(record.kind != Kind::Duplicate);
                        change.lines.duplicate += u64::from(duplicates.saturating_sub(1));
                        return Ok(());
                    }
                    StoredKey::Nothing | StoredKey::Pruned => {
                        return self.note_pruned(duplicates, session, change);
                    }
                }
                *place.insert(next)
            }
        };
        change.lines.duplicate += u64::from(duplicates);
        let known = &mut self.deltas[place].after;
        let in_run_order = run.backlog && self.names.backlog.contains(&known.response.run);
        let first = known.response.session;
        if first != 0 && session != 0 && first != session {
            self.sessions.copied(record.key, first, session)?;
            known.response.is_shared = true;
        }
        if record.kind == Kind::Duplicate && known.response.kind == Kind::Message {
            // All but one of its lines are counted as duplicates by now.
            change.lines.duplicate += 1;
        }
        if merge_copy(&mut known.response, copy.response, in_run_order) {
            known.source = source;
        }
        // The merge kept the name of one of the two; names are shared, so their addresses show which.
        if Arc::ptr_eq(&known.response.model, &name) {
            known.model = model;
        }
        Ok(())
    }

    /// Counts the lines of a copy of a pruned response, which changes nothing else.
    fn note_pruned(
        &mut self,
        duplicates: u32,
        session: SessionNumber,
        change: &mut RunChange,
    ) -> Result<(), DbError> {
        change.lines.duplicate += u64::from(duplicates);
        self.sessions.note_pruned(session)
    }

    /// Ends a replay: see [`Writer::commit_then`].
    fn finish_replay(&mut self, end: &ReplayEnd) -> Result<(), DbError> {
        let now = match end.now {
            Some(now) => now,
            None => self.latest()?.unwrap_or(end.clock),
        };
        for key in &end.undated {
            if !self.places.contains_key(key)
                && let StoredKey::Counted(before) =
                    (self.responses).stored(self.names, &mut self.series, *key)?
            {
                self.places.insert(*key, self.deltas.len());
                self.deltas.push(ResponseDelta::stored(*key, before));
            }
        }
        let earlier: HashSet<ResponseKey> = end.undated.iter().copied().collect();
        for delta in &mut self.deltas {
            let is_of_this_replay = delta.before.is_none() || earlier.contains(&delta.key);
            if is_of_this_replay && delta.after.response.dating == Dating::Unknown {
                delta.after.response.time = now;
            }
        }
        self.limits
            .apply_deferred(&mut self.meta, &self.names.accounts, now)?;
        set_backlog(&mut self.registry.runs, false)
    }

    /// The latest time of a line, including this transaction.
    fn latest(&self) -> Result<Option<Millis>, DbError> {
        let mut latest = self.runs.all.iter().filter_map(|run| run.latest).max();
        for entry in self.registry.totals.iter()? {
            let (_, row) = entry?;
            let row: RunTotalsRow = decode_row("totals", row.value())?;
            latest = latest.max(row.latest);
        }
        Ok(latest)
    }

    /// Writes all changes.
    fn finish(mut self) -> Result<Committed, DbError> {
        let mut committed = Committed::default();
        let mut deltas = std::mem::take(&mut self.deltas);
        committed.undated = undated(&deltas).collect();
        committed.earliest = earliest(&deltas);
        number_series(&mut deltas, self.names, &mut self.models, &mut self.series)?;
        let of_records = self
            .records
            .write(self.names, &mut self.models, &mut self.series)?;
        let by_series = self.write_deltas(&deltas, of_records)?;
        let by_model = by_model(&by_series);
        self.sums.note_served(&deltas, self.read_at)?;
        drop(deltas);
        let sums = self.runs.write_totals(&mut self.registry, &by_model)?;
        committed.events = self.runs.write_infos(&mut self.registry, self.names)?;
        committed.sequence = next_sequence(&mut self.meta)?;
        committed.changes = self.runs.changes(&self.registry, self.names, &sums, &by_model)?;
        committed.without_run = TxRuns::without_run(self.names, &sums, &by_series);
        self.limits.merge_waiting(&mut self.meta, &self.names.accounts)?;
        committed.limits = self.limits.finish(&self.names.accounts)?;
        committed.queue_notices(self.slot, self.write, self.read_at)?;
        committed.outcomes = self.outcomes;
        committed.posted = self.posted;
        Ok(committed)
    }

    /// Writes the responses and, in parallel, the sums by other keys; returns the added sums, by series.
    fn write_deltas(
        &mut self,
        deltas: &[ResponseDelta],
        of_records: RecordSums,
    ) -> Result<Vec<(SeriesRow, Totals)>, DbError> {
        let (responses, names, places) = (&mut self.responses, &mut *self.names, &self.places);
        let (sums, series, sessions) = (&mut self.sums, &mut self.series, &mut self.sessions);
        let is_apart = responses.is_fresh && deltas.len() >= ROWS_APART_MIN;
        let mut write_responses = move || responses.write(deltas);
        let mut write_others = move || {
            let by_series = sums.add(names, series, deltas, &of_records)?;
            sessions.finish(deltas, places)?;
            Ok::<_, DbError>(by_series)
        };
        if !is_apart {
            write_responses()?;
            return write_others();
        }
        std::thread::scope(|scope| {
            let responses = scope.spawn(write_responses);
            let by_series = write_others();
            (responses.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            by_series
        })
    }
}
