//! Recounting from the logs, and naming every difference with the store.
//!
//! Each file is read again up to where the store says it was read, into a second store in memory; then both are laid
//! side by side. What was counted from content that is gone cannot be recounted: that is noted, not called wrong.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Settings;
use crate::fold::{Response, Totals};
use crate::logfile::home::Home;
use crate::logfile::{LogFileError, Root, Tail};
use crate::record::{AccountId, Cursor, MINUTE_MS, RelativePath, RunId, RunNumber};
use crate::store::{Snapshot, Store, StoreError, StoreOptions};
use crate::tailer::turn::{self, Reading, Scanned};
use crate::tailer::walk::{WalkLimits, walk};

/// Differences that are told one by one.
const DIFFERENCES_TOLD_MAX: usize = 1000;

/// Why there is no recount.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    LogFile(#[from] LogFileError),
}

/// What a recount came to.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Responses recounted.
    pub responses: u64,
    pub differences_total: u64,
    /// The first of them, a sentence each.
    pub differences: Vec<String>,
    /// What could not be compared, and why.
    pub notes: Vec<String>,
}

impl Report {
    fn differs(&mut self, sentence: String) {
        self.differences_total += 1;
        if self.differences.len() < DIFFERENCES_TOLD_MAX {
            self.differences.push(sentence);
        }
    }
}

/// Recounts everything below the runs directory that the store says it read.
///
/// # Errors
/// When the store or a log cannot be read.
pub fn verify(store: &Store, settings: &Settings) -> Result<Report, VerifyError> {
    let mut report = Report::default();
    let memory = StoreOptions {
        path: None,
        cache_bytes: settings.store.cache_bytes,
    };
    let recount = Store::open(memory)?;
    let infos = store.run_infos()?;
    // Without the logs everything would be "gone", and nothing compared.
    if infos.values().any(|info| info.mount.is_none()) {
        Root::open_given(&settings.runs_dir)?;
    }
    let mut gone = 0u64;
    for (id, _) in store.run_numbers()? {
        let Ok(run) = RunId::new(&id) else {
            report.differs(format!("run {id:?}: the store holds a name that is no run id"));
            continue;
        };
        let own = infos.get(&run).and_then(|info| info.mount.as_deref());
        let home = Home::of(&settings.runs_dir, &run, own);
        gone += recount_run(store, &recount, settings, (&run, &home), &mut report)?;
    }
    if gone > 0 {
        report.notes.push(format!(
            "{gone} files were removed, replaced or rewritten since they were read; what was counted from them cannot be recounted"
        ));
    }
    compare_responses(store, &recount, gone > 0, &mut report)?;
    if gone == 0 {
        compare_lines(store, &recount, &mut report)?;
    }
    compare_sums(store, &mut report)?;
    Ok(report)
}

/// Reads one run's files again; returns how many cannot be.
fn recount_run(
    store: &Store,
    recount: &Store,
    settings: &Settings,
    (run, home): (&RunId, &Home),
    report: &mut Report,
) -> Result<u64, VerifyError> {
    let now = jiff::Timestamp::now().as_millisecond();
    let account = store.account_of(run)?.unwrap_or_default();
    recount.register(&[(run.clone(), account.clone())], false, now)?;
    let account = Arc::new(account);
    let cursors = store.cursors(run)?;
    let root = match home.open() {
        Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => return Ok(cursors.len() as u64),
        other => other?,
    };
    let mut gone = 0;
    note_unread(&root, settings, (run, home), &cursors, report)?;
    for (path, stored) in cursors {
        gone += u64::from(stored.generation > 0);
        if !recount_file(
            recount,
            settings,
            (&root, home),
            (run, &account),
            &path,
            stored,
            report,
        )? && stored.generation == 0
        {
            gone += 1;
        }
    }
    Ok(gone)
}

/// Notes what is there and was not read yet: files the store does not know, and bytes after its positions.
fn note_unread(
    root: &Root,
    settings: &Settings,
    (run, home): (&RunId, &Home),
    cursors: &BTreeMap<RelativePath, Cursor>,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let below = |path: &Path| home.in_runs.join(path);
    let globs = &settings.watch.globs;
    let limits = WalkLimits {
        files_max: settings.limits.files_per_run_max,
        depth_max: settings.limits.depth_max,
    };
    let found = walk(
        root,
        |path| globs.may_contain(&below(path)),
        |path| globs.reads(&below(path)),
        limits,
    )?;
    let (mut files, mut bytes) = (0u64, 0u64);
    for path in &found.files {
        let Ok(stat) = root.stat(path) else { continue };
        let read = cursors.get(path.as_path()).map_or(0, |cursor| {
            cursor
                .offset
                .max(cursor.settled_to)
                .max(cursor.skip_to.map_or(0, std::num::NonZeroU64::get))
        });
        if stat.size > read || !cursors.contains_key(path.as_path()) {
            files += 1;
            bytes += stat.size.saturating_sub(read);
        }
    }
    if files > 0 {
        report.notes.push(format!(
            "run {run}: {bytes} bytes in {files} files are not read yet"
        ));
    }
    Ok(())
}

/// Reads one file again, as far as the store says; `false` if its content is not there any more.
fn recount_file(
    recount: &Store,
    settings: &Settings,
    (root, home): (&Root, &Home),
    (run, account): (&RunId, &Arc<AccountId>),
    path: &RelativePath,
    stored: Cursor,
    report: &mut Report,
) -> Result<bool, VerifyError> {
    let full = home.path.join(path);
    let failed = |source| LogFileError::Io {
        path: full.clone(),
        source,
    };
    let file = match root.open_file(path) {
        Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => return Ok(false),
        other => other?,
    };
    let stat = file.stat().map_err(failed)?;
    if file.continues(&stat, &stored).map_err(failed)?.is_none() {
        return Ok(false);
    }
    if stored.offset > 0 && !ends_a_line(&file, stored.offset).map_err(failed)? {
        report.differs(format!(
            "{}: the stored offset {} is not after a line end",
            full.display(),
            stored.offset
        ));
        return Ok(true);
    }
    let now = jiff::Timestamp::now().as_millisecond();
    let reading = Reading {
        line_bytes_max: settings.limits.line_bytes_max,
        turn_bytes_max: settings.limits.turn_bytes_max as u64,
        settle: stored.settled_to > stored.offset,
        // A last line that is skipped was counted when the skip began.
        until: stored
            .offset
            .max(stored.settled_to)
            .max(stored.skip_to.map_or(0, std::num::NonZeroU64::get)),
        account: Arc::clone(account),
        now,
    };
    let mut cursor = Cursor {
        inode: stored.inode,
        origin: stored.origin,
        ..Cursor::default()
    };
    let mut tail = Tail::default();
    let mut expect = None;
    let mut buffer = Vec::new();
    loop {
        let turn =
            turn::read(&file, cursor, tail, Scanned::default(), &reading, &mut buffer).map_err(failed)?;
        let more = turn.more;
        let batch = turn.into_batch(run.clone(), path.clone(), expect, &reading);
        cursor = batch.cursor;
        expect = Some(cursor);
        recount.commit(&[batch])?;
        if !more {
            return Ok(true);
        }
        tail = match file.continues(&stat, &cursor).map_err(failed)? {
            Some(tail) => tail,
            None => return Ok(false),
        };
    }
}

fn ends_a_line(file: &crate::logfile::LogFile, offset: u64) -> std::io::Result<bool> {
    let mut byte = [0];
    Ok(file.read_at(&mut byte, offset - 1)? == 1 && byte == *b"\n")
}

fn compare_responses(
    store: &Store,
    recount: &Store,
    some_gone: bool,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let names = |store: &Store| -> Result<BTreeMap<RunNumber, String>, StoreError> {
        Ok(store
            .run_numbers()?
            .into_iter()
            .map(|(id, number)| (number, id))
            .collect())
    };
    let (names, recount_names) = (names(store)?, names(recount)?);
    let name = |number: RunNumber| names.get(&number).map_or("(no run)", String::as_str);
    let recount_name = |number: RunNumber| recount_names.get(&number).map_or("(no run)", String::as_str);
    // The logs of a forgotten run are no longer read, whether they are there or not.
    let is_gone = |stored: &Response| some_gone || !names.contains_key(&stored.run);
    let mut not_recounted = 0u64;
    store.side_by_side(recount, |key, stored, counted| {
        report.responses += u64::from(counted.is_some());
        match (stored, counted) {
            (Some(stored), Some(counted)) if !same(&stored, &counted) => {
                // Content that is gone may have held a better or an earlier copy, never a worse one.
                if is_gone(&stored)
                    && (stored.usage.output >= counted.usage.output || stored.time < counted.time)
                {
                    not_recounted += 1;
                    return;
                }
                report.differs(format!(
                    "response {:032x} of run {}: the store has {}, the logs give {}",
                    key.0,
                    name(stored.run),
                    sentence(&stored),
                    sentence(&counted)
                ));
            }
            (Some(stored), None) if is_gone(&stored) => not_recounted += 1,
            (Some(stored), None) => report.differs(format!(
                "response {:032x} of run {}: the store has {}, the logs do not have it",
                key.0,
                name(stored.run),
                sentence(&stored)
            )),
            (None, Some(counted)) => report.differs(format!(
                "response {:032x} of run {}: the logs give {}, the store does not have it",
                key.0,
                recount_name(counted.run),
                sentence(&counted)
            )),
            _ => {}
        }
    })?;
    if not_recounted > 0 {
        report.notes.push(format!(
            "{not_recounted} responses in the store come from content that is gone, or from forgotten runs"
        ));
    }
    Ok(())
}

/// Equal in all that is counted. Times of reading cannot be repeated; ties between runs depend on who was first.
fn same(stored: &Response, counted: &Response) -> bool {
    stored.usage == counted.usage
        && stored.model == counted.model
        && stored.kind == counted.kind
        && (!stored.dated || (counted.dated && stored.time == counted.time))
}

fn sentence(response: &Response) -> String {
    let usage = &response.usage;
    format!(
        "{} in {} out {} cache read {} cache write of {} at {}",
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_creation,
        response.model,
        crate::api::summary::time(response.time)
    )
}

/// Sums the store's own responses and compares with the sums it keeps.
fn compare_sums(store: &Store, report: &mut Report) -> Result<(), VerifyError> {
    let empty = Store::open(StoreOptions {
        path: None,
        cache_bytes: 1 << 20,
    })?;
    let mut sums = Snapshot::default();
    let mut hours: BTreeMap<(u32, RunNumber, Arc<str>), Totals> = BTreeMap::new();
    let mut by_run: BTreeMap<RunNumber, Totals> = BTreeMap::new();
    let mut run_days: BTreeMap<RunNumber, (ByModel, BTreeMap<u32, Totals>)> = BTreeMap::new();
    let mut minutes: BTreeMap<(AccountId, i64), Totals> = BTreeMap::new();
    let mut by_account: BTreeMap<(AccountId, Arc<str>), Totals> = BTreeMap::new();
    // Those of forgotten runs too.
    let accounts = store.accounts_by_number()?;
    store.side_by_side(&empty, |_, stored, _| {
        let Some(stored) = stored else { return };
        let totals = Totals::of(&stored);
        *by_run.entry(stored.run).or_default() += totals;
        *sums.by_model.entry(stored.model.clone()).or_default() += totals;
        *sums.by_day.entry(stored.hour() / 24).or_default() += totals;
        let account = accounts.get(&stored.run).cloned().unwrap_or_default();
        *by_account
            .entry((account.clone(), stored.model.clone()))
            .or_default() += totals;
        *minutes.entry((account, stored.time / MINUTE_MS)).or_default() += totals;
        let of_run = run_days.entry(stored.run).or_default();
        *of_run.0.entry(stored.model.clone()).or_default() += totals;
        *of_run.1.entry(stored.hour() / 24).or_default() += totals;
        *hours
            .entry((stored.hour(), stored.run, stored.model))
            .or_default() += totals;
    })?;
    let (kept, quota) = store.overview(0)?;
    for (id, sums) in quota.accounts {
        for (minute, kept) in sums.minutes {
            let summed = minutes.remove(&(id.clone(), minute.into())).unwrap_or_default();
            difference(&format!("minute {minute} of account {id}"), kept, summed, report);
        }
    }
    for ((id, minute), summed) in minutes {
        difference(
            &format!("minute {minute} of account {id}"),
            Totals::default(),
            summed,
            report,
        );
    }
    for (id, run) in &kept.runs {
        let summed = by_run.remove(&run.number).unwrap_or_default();
        difference(&format!("total of run {id}"), run.totals, summed, report);
    }
    let mut nameless = Totals::default();
    for summed in by_run.into_values() {
        nameless += summed;
    }
    difference("total of forgotten runs", kept.forgotten.totals, nameless, report);
    let kept_sums = store.sums()?;
    for (key @ (account, model), kept) in &kept_sums {
        let what = format!("total of account {account}, model {model}");
        difference(&what, *kept, by_account.remove(key).unwrap_or_default(), report);
    }
    for ((account, model), summed) in by_account {
        let what = format!("total of account {account}, model {model}");
        difference(&what, Totals::default(), summed, report);
    }
    compare_maps("total of model", &kept.by_model, &sums.by_model, report);
    compare_maps("total of day", &kept.by_day, &sums.by_day, report);
    compare_run_days(store, &kept, &run_days, report)?;
    let mut kept_hours = BTreeMap::new();
    store.for_each_hour(|cell, totals| {
        kept_hours.insert(cell, totals);
    })?;
    for (cell, totals) in &kept_hours {
        let what = format!("hour {} of run number {}, model {}", cell.0, cell.1, cell.2);
        difference(&what, *totals, hours.remove(cell).unwrap_or_default(), report);
    }
    for (cell, summed) in hours {
        let what = format!("hour {} of run number {}, model {}", cell.0, cell.1, cell.2);
        difference(&what, Totals::default(), summed, report);
    }
    Ok(())
}

type ByModel = BTreeMap<Arc<str>, Totals>;

/// The sums of each run by model and by day.
fn compare_run_days(
    store: &Store,
    kept: &Snapshot,
    summed: &BTreeMap<RunNumber, (ByModel, BTreeMap<u32, Totals>)>,
    report: &mut Report,
) -> Result<(), VerifyError> {
    let nothing = Default::default();
    for (id, run) in &kept.runs {
        let Some(view) = RunId::new(id)
            .ok()
            .map(|id| store.run(&id))
            .transpose()?
            .flatten()
        else {
            continue;
        };
        let (by_model, by_day) = summed.get(&run.number).unwrap_or(&nothing);
        compare_maps(
            &format!("run {id}, total of model"),
            &view.by_model,
            by_model,
            report,
        );
        compare_maps(&format!("run {id}, total of day"), &view.by_day, by_day, report);
    }
    Ok(())
}

/// The line counts, if every file is still there: each line was counted once then.
fn compare_lines(store: &Store, recount: &Store, report: &mut Report) -> Result<(), VerifyError> {
    let (kept, counted) = (store.snapshot()?, recount.snapshot()?);
    for (id, run) in &kept.runs {
        let again = counted.runs.get(id).copied().unwrap_or_default();
        for (what, kept, counted) in [
            ("lines read", run.lines.read, again.lines.read),
            ("lines with usage", run.lines.usage, again.lines.usage),
            ("lines ignored", run.lines.ignored, again.lines.ignored),
            ("malformed lines", run.lines.malformed, again.lines.malformed),
            ("oversized lines", run.lines.oversized, again.lines.oversized),
            ("files", run.files, again.files),
        ] {
            if kept != counted {
                report.differs(format!(
                    "run {id}: the store keeps {kept} {what}, the logs give {counted}"
                ));
            }
        }
    }
    Ok(())
}

fn compare_maps<K: Ord + std::fmt::Display>(
    what: &str,
    kept: &BTreeMap<K, Totals>,
    summed: &BTreeMap<K, Totals>,
    report: &mut Report,
) {
    for key in kept
        .keys()
        .chain(summed.keys().filter(|key| !kept.contains_key(*key)))
    {
        let (kept, summed) = (kept.get(key).copied(), summed.get(key).copied());
        difference(
            &format!("{what} {key}"),
            kept.unwrap_or_default(),
            summed.unwrap_or_default(),
            report,
        );
    }
}

fn difference(what: &str, kept: Totals, summed: Totals, report: &mut Report) {
    if kept != summed {
        report.differs(format!(
            "{what}: the store keeps {kept:?}, its responses sum up to {summed:?}"
        ));
    }
}
