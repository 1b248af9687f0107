//! Life cycle of runs: started, stopped, forgotten, each in a numbered transaction.
//!
//! **Invariant**: forgetting a run subtracts nothing from any sum, and the keys of its responses are kept: a
//! response is never counted twice, even if the name of its run is used again.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use redb::WriteTransaction;

use super::leases::{LeaseTables, NotBound};
use super::name_cache::NameCache;
use super::outcome::{Committed, RunEvent};
use super::registry::Registry;
use super::run_costs::RunCosts;
use super::{Writer, next_sequence};
use crate::dedup::Totals;
use crate::model::{AccountId, CLASS_LABEL, Labels, Millis, Phase, RunId, RunNumber, StopReason};
use crate::quota::lease::{LeaseNumber, LeaseUpdate};
use crate::store::StoreError;
use crate::store::database::DatabaseSlot;
use crate::store::error::DbError;
use crate::store::schema::{
    FILES, FORGOTTEN, FORGOTTEN_RUNS, ForgottenRow, META, PATHS, RunInfoRow, RunRow, RunTotalsRow,
};
use crate::store::table::put;

/// A run to register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub run: RunId,
    pub account: AccountId,
    /// `None` for a run that was only found: its stored labels are kept.
    pub labels: Option<Labels>,
    /// The directory of its logs; `Some(None)` is the runs directory, `None` leaves the stored one.
    pub mount: Option<Option<PathBuf>>,
    /// The lease that it is bound to.
    pub lease: Option<LeaseNumber>,
}

/// A run to forget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForgetRun {
    pub run: RunId,
    /// Its name is not found again until [`Writer::release`].
    pub directory_is_there: bool,
}

/// Result of a [`Start`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    New,
    Known,
    /// It was stopped, and is resumed.
    Resumed,
    /// Its responses are counted under this account, so that it cannot be changed any more. Nothing was
    /// changed.
    Elsewhere(AccountId),
    /// It cannot be bound to the lease that was named. Nothing was changed.
    NotBound(NotBound),
    /// Some of its lines were read here, so that its directory cannot be changed any more. Nothing was
    /// changed.
    MountedElsewhere(Option<PathBuf>),
}

impl Writer {
    /// Registers runs, in the order given, each with its provider account, and resumes stopped ones if they
    /// have labels, even empty labels. The ties of those that are new and part of a backlog are decided by
    /// order. A run with lines read keeps its account: it is part of the keys of its responses.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn start(
        &mut self,
        runs: &[Start],
        backlog: bool,
        now: Millis,
    ) -> Result<(Vec<Started>, Committed), StoreError> {
        let slot = Arc::clone(self.slot());
        self.transact_named(|write, names| {
            let mut registry = Registry::new(write)?;
            let mut leases = LeaseTables::new(write)?;
            let mut events = Vec::new();
            let mut started = Vec::with_capacity(runs.len());
            for start in runs {
                let (outcome, phase) = start_one(&mut registry, &mut leases, names, start, backlog, now)?;
                if let Some(phase) = phase {
                    events.extend(event(&registry, &start.run, phase)?);
                }
                started.push(outcome);
            }
            Ok((started, numbered(&slot, write, events, leases.updates, now)?))
        })
    }

    /// As [`Writer::start`], for runs that were found.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn register(
        &mut self,
        runs: &[(RunId, AccountId)],
        backlog: bool,
        now: Millis,
    ) -> Result<(), StoreError> {
        let start = |(run, account): &(RunId, AccountId)| Start {
            run: run.clone(),
            account: account.clone(),
            labels: None,
            mount: None,
            lease: None,
        };
        let runs: Vec<Start> = runs.iter().map(start).collect();
        self.start(&runs, backlog, now).map(|_| ())
    }

    /// Stops runs in one transaction; returns for each run if it changed: one that is unknown, or stopped
    /// already, is left unchanged. `None` if nothing changed.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn stop(
        &mut self,
        runs: &[(RunId, StopReason)],
        now: Millis,
    ) -> Result<(Vec<bool>, Option<Committed>), StoreError> {
        let slot = Arc::clone(self.slot());
        self.transact(|write| {
            let (mut stopped, mut events) = (Vec::with_capacity(runs.len()), Vec::new());
            let mut leases = LeaseTables::new(write)?;
            {
                let mut registry = Registry::new(write)?;
                let mut costs = RunCosts::new(write)?;
                for (run, reason) in runs {
                    let info = match registry.known(run)? {
                        Some((row, account)) => Some((row.number, account, registry.info(row.number)?)),
                        None => None,
                    };
                    let is_running = |info: &(_, _, RunInfoRow)| info.2.stopped.is_none();
                    let Some((number, account, mut info)) = info.filter(is_running) else {
                        stopped.push(false);
                        continue;
                    };
                    info.stopped = Some((now, *reason));
                    put(&mut registry.infos, number, &info)?;
                    costs.note(&registry, number, account, &info, now)?;
                    leases.run_ended(run, now)?;
                    events.extend(event(&registry, run, Phase::Stopped(*reason))?);
                    stopped.push(true);
                }
            }
            if !stopped.contains(&true) {
                return Ok((stopped, None));
            }
            Ok((
                stopped,
                Some(numbered(&slot, write, events, leases.updates, now)?),
            ))
        })
    }

    /// Forgets runs in one transaction: their names, labels and read positions. Returns for each if it was known.
    /// `None` if nothing changed.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn forget(
        &mut self,
        runs: &[ForgetRun],
        now: Millis,
    ) -> Result<(Vec<bool>, Option<Committed>), StoreError> {
        let slot = Arc::clone(self.slot());
        self.transact_named(|write, names| {
            let (mut known, mut events) = (Vec::with_capacity(runs.len()), Vec::new());
            let mut leases = LeaseTables::new(write)?;
            for forget in runs {
                leases.run_ended(&forget.run, now)?;
                let event = forget_one(write, names, forget, now)?;
                known.push(event.is_some());
                events.extend(event);
            }
            if events.is_empty() {
                return Ok((known, None));
            }
            Ok((known, Some(numbered(&slot, write, events, leases.updates, now)?)))
        })
    }

    /// Removes the names of forgotten runs whose directories are gone: a run of that name is new then.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn release(&mut self, runs: &[RunId]) -> Result<(), StoreError> {
        self.transact(|write| {
            let mut forgotten = write.open_table(FORGOTTEN)?;
            for run in runs {
                forgotten.remove(run.as_str())?;
            }
            Ok(())
        })
    }
}

fn start_one(
    registry: &mut Registry<'_>,
    leases: &mut LeaseTables<'_>,
    names: &mut NameCache,
    start: &Start,
    backlog: bool,
    now: Millis,
) -> Result<(Started, Option<Phase>), DbError> {
    let is_new = registry.known(&start.run)?.is_none();
    let mut bind = |before: &RunTotalsRow| leases.bind(&start.run, &start.account, start.lease, before, now);
    let mut class = None;
    // Before anything is written for a run that is refused.
    if is_new {
        class = match bind(&RunTotalsRow::default())? {
            Ok(class) => class,
            Err(refused) => return Ok((Started::NotBound(refused), None)),
        };
    }
    let (row, account, _) = registry.run(&start.run, &start.account, backlog, now)?;
    names.note_run(&row, account);
    names.note_account(account, &start.account);
    let Some(labels) = &start.labels else {
        if let Some(class) = class {
            let mut info = registry.info(row.number)?;
            info.labels.insert(CLASS_LABEL.into(), class);
            put(&mut registry.infos, row.number, &info)?;
        }
        return Ok(if is_new {
            (Started::New, Some(Phase::Started))
        } else {
            (Started::Known, None)
        });
    };
    let current = registry.account_id(account)?;
    let before = registry.info(row.number)?;
    let mount: Option<Box<[u8]>> = match &start.mount {
        Some(mount) => (mount.as_ref()).map(|mount| mount.as_os_str().as_bytes().into()),
        None => before.mount.clone(),
    };
    if let Some(elsewhere) = counted_elsewhere(registry, &row, start, &current, (&before, &mount))? {
        return Ok((elsewhere, None));
    }
    if !is_new {
        class = match bind(&registry.sums(row.number)?)? {
            Ok(class) => class,
            Err(refused) => return Ok((Started::NotBound(refused), None)),
        };
    }
    let mut labels = labels.clone();
    if let Some(class) = class {
        labels.entry(CLASS_LABEL.into()).or_insert(class);
    }
    if current != start.account {
        let account = registry.account(&start.account)?;
        registry.run_accounts.insert(row.number, account)?;
        names.note_run(&row, account);
        names.note_account(account, &start.account);
    }
    let after = RunInfoRow {
        labels,
        mount,
        registered_at: before.registered_at.or(Some(now)),
        earliest: before.earliest,
        stopped: None,
    };
    if after != before {
        put(&mut registry.infos, row.number, &after)?;
    }
    Ok(match (is_new, before.stopped) {
        (true, _) => (Started::New, Some(Phase::Started)),
        (false, Some(_)) => (Started::Resumed, Some(Phase::Resumed)),
        (false, None) => (Started::Known, None),
    })
}

/// The account or the directory of a run of which something was read, if a start names another one.
fn counted_elsewhere(
    registry: &Registry<'_>,
    row: &RunRow,
    start: &Start,
    current: &AccountId,
    (before, mount): (&RunInfoRow, &Option<Box<[u8]>>),
) -> Result<Option<Started>, DbError> {
    let is_other_account = *current != start.account;
    if !is_other_account && *mount == before.mount {
        return Ok(None);
    }
    let sums = registry.sums(row.number)?;
    let is_read = sums.bytes > 0 || sums.totals != Totals::default();
    Ok(is_read.then(|| {
        if is_other_account {
            Started::Elsewhere(current.clone())
        } else {
            Started::MountedElsewhere(before.mount_path())
        }
    }))
}

/// Forgets a run; `None` if it is unknown.
fn forget_one(
    write: &WriteTransaction,
    names: &mut NameCache,
    forget: &ForgetRun,
    now: Millis,
) -> Result<Option<RunEvent>, DbError> {
    let run = &forget.run;
    let mut registry = Registry::new(write)?;
    let Some((row, _)) = registry.known(run)? else {
        return Ok(None);
    };
    let event = event(&registry, run, Phase::Forgotten)?;
    let sums = registry.sums(row.number)?;
    let mut rest = registry.sums(FORGOTTEN_RUNS)?;
    rest.totals += sums.totals;
    rest.lines.add(&sums.lines);
    rest.files = rest.files.saturating_add(sums.files);
    rest.bytes = rest.bytes.saturating_add(sums.bytes);
    rest.latest = rest.latest.max(sums.latest);
    put(&mut registry.totals, FORGOTTEN_RUNS, &rest)?;
    registry.totals.remove(row.number)?;
    registry.infos.remove(row.number)?;
    registry.runs.remove(run.as_str())?;
    names.backlog.remove(&row.number);
    if forget.directory_is_there {
        let number = row.number;
        put(
            &mut registry.forgotten,
            run.as_str(),
            &ForgottenRow { number, at: now },
        )?;
    }
    forget_files(write, row.number)?;
    Ok(event)
}

fn event(registry: &Registry<'_>, run: &RunId, phase: Phase) -> Result<Option<RunEvent>, DbError> {
    let Some((row, account)) = registry.known(run)? else {
        return Ok(None);
    };
    Ok(Some(RunEvent {
        run: run.clone(),
        account: registry.account_id(account)?,
        labels: registry.info(row.number)?.labels,
        phase,
        totals: registry.sums(row.number)?.totals,
    }))
}

fn forget_files(write: &WriteTransaction, run: RunNumber) -> Result<(), DbError> {
    let mut paths = write.open_table(PATHS)?;
    let mut files = write.open_table(FILES)?;
    let first: (u32, &[u8]) = (run, &[]);
    let after: (u32, &[u8]) = (run + 1, &[]);
    let gone = paths.extract_from_if(first..after, |_, _| true)?;
    for entry in gone {
        let (_, file) = entry?;
        files.remove(file.value())?;
    }
    Ok(())
}

/// Result of a transaction with events only; without any it takes no number.
fn numbered(
    slot: &DatabaseSlot,
    write: &WriteTransaction,
    events: Vec<RunEvent>,
    leases: Vec<LeaseUpdate>,
    now: Millis,
) -> Result<Committed, DbError> {
    let mut committed = Committed {
        leases,
        ..Committed::default()
    };
    if !events.is_empty() || !committed.leases.is_empty() {
        let mut meta = write.open_table(META)?;
        committed.sequence = next_sequence(&mut meta)?;
    }
    committed.events = events;
    committed.queue_notices(slot, write, now)?;
    Ok(committed)
}
