//! Runs as things of their own: started, stopped, forgotten, each in a numbered transaction.
//!
//! **Invariant**: forgetting a run takes nothing out of any sum, and its responses stay known by their keys: what was
//! counted once is not counted again, whatever becomes of the name.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, WriteTransaction};

use super::commit::{Committed, next_sequence};
use super::error::DbError;
use super::quota::account_ids;
use super::read::run_row_of;
use super::registry::Registry;
use super::schema::{
    FILES, FORGOTTEN, ForgottenRow, META, PATHS, RUN_ACCOUNTS, RUN_INFO, RUNS, RowError, RunInfoRow, RunRow,
};
use super::table::{decode_row, get, put};
use super::{Store, StoreError};
use crate::dedup::Totals;
use crate::model::{AccountId, Labels, Millis, Phase, Position, RelativePath, RunId, RunNumber, StopReason};

/// The row of `totals` that has the sums of all forgotten runs. No run gets this number: as many cannot be.
pub(super) const FORGOTTEN_RUNS: RunNumber = RunNumber::MAX;

/// A run to be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub run: RunId,
    pub account: AccountId,
    /// `None` for a run that was only found: what is known of it stays.
    pub labels: Option<Labels>,
    /// Where its logs are; `Some(None)` is the runs directory, `None` leaves that as it is.
    pub mount: Option<Option<PathBuf>>,
}

/// What became of a [`Start`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Started {
    New,
    Known,
    /// It was stopped, and goes on.
    Resumed,
    /// It is counted by this account and cannot move any more. Nothing was changed.
    Elsewhere(AccountId),
    /// Something was read of it here, and its logs cannot be elsewhere any more. Nothing was changed.
    MountedElsewhere(Option<PathBuf>),
}

/// A run began or ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEvent {
    pub run: RunId,
    pub account: AccountId,
    pub labels: Labels,
    pub phase: Phase,
    pub totals: Totals,
}

/// What is known of a run beside its sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInfo {
    pub number: RunNumber,
    pub account: AccountId,
    pub labels: Labels,
    pub mount: Option<PathBuf>,
    pub first_seen: Millis,
    /// When someone started it; `None` for one that was only found.
    pub registered_at: Option<Millis>,
    /// The earliest line time read.
    pub earliest: Option<Millis>,
    /// When it was stopped and why; `None` while it goes on.
    pub stopped: Option<(Millis, StopReason)>,
}

/// What is known of a run, and how far its files were read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRun {
    /// `None` if it is unknown.
    pub info: Option<RunInfo>,
    pub positions: BTreeMap<RelativePath, Position>,
}

/// The tables that say more of runs than `runs`, open: they serve for one run or for all.
pub(super) struct RunTables {
    infos: ReadOnlyTable<u32, &'static [u8]>,
    run_accounts: ReadOnlyTable<u32, u32>,
    accounts: Vec<AccountId>,
}

impl RunTables {
    /// What they say of a run.
    pub fn info(&self, row: &RunRow) -> Result<RunInfo, DbError> {
        let info: RunInfoRow = get(&self.infos, row.number)?.unwrap_or_default();
        let account = self.run_accounts.get(row.number)?;
        let account = account.and_then(|account| self.accounts.get(account.value() as usize));
        let account = account.ok_or_else(|| DbError::row("run_accounts", RowError::Range("run")))?;
        Ok(RunInfo {
            number: row.number,
            account: account.clone(),
            labels: info.labels,
            mount: info.mount.as_deref().map(path_of),
            first_seen: row.first_seen,
            registered_at: info.registered_at,
            earliest: info.earliest,
            stopped: info.stopped,
        })
    }
}

impl Store {
    /// Makes runs known, in the order given, each with its provider account, and lets stopped ones go on if they have
    /// labels, be they none. Those that are new and part of a backlog have their ties go by order. A run of which
    /// something was read keeps the account it has: its responses are known by it.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn start(
        &self,
        runs: &[Start],
        backlog: bool,
        now: Millis,
    ) -> Result<(Vec<Started>, Committed), StoreError> {
        self.forget_kept();
        self.transact(|write| {
            let mut registry = Registry::new(write)?;
            let mut events = Vec::new();
            let mut started = Vec::with_capacity(runs.len());
            for start in runs {
                let (outcome, phase) = self.start_one(&mut registry, start, backlog, now)?;
                if let Some(phase) = phase {
                    events.extend(event(&registry, &start.run, phase)?);
                }
                started.push(outcome);
            }
            Ok((started, numbered(write, events)?))
        })
    }

    /// As [`Store::start`], of runs that were found.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn register(
        &self,
        runs: &[(RunId, AccountId)],
        backlog: bool,
        now: Millis,
    ) -> Result<(), StoreError> {
        let start = |(run, account): &(RunId, AccountId)| Start {
            run: run.clone(),
            account: account.clone(),
            labels: None,
            mount: None,
        };
        let runs: Vec<Start> = runs.iter().map(start).collect();
        self.start(&runs, backlog, now).map(|_| ())
    }

    fn start_one(
        &self,
        registry: &mut Registry<'_>,
        start: &Start,
        backlog: bool,
        now: Millis,
    ) -> Result<(Started, Option<Phase>), DbError> {
        let (row, account, is_new) = registry.run(&start.run, &start.account, backlog, now)?;
        let Some(labels) = &start.labels else {
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
        if current != start.account || mount != before.mount {
            let sums = registry.sums(row.number)?;
            let is_read = sums.bytes > 0 || sums.totals != Totals::default();
            if is_read && current != start.account {
                return Ok((Started::Elsewhere(current), None));
            }
            if is_read {
                let mount = before.mount.as_deref().map(path_of);
                return Ok((Started::MountedElsewhere(mount), None));
            }
            let account = registry.account(&start.account)?;
            registry.run_accounts.insert(row.number, account)?;
        }
        let after = RunInfoRow {
            labels: labels.clone(),
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

    /// Stops runs in one transaction; says of each whether that changed anything: one that is unknown, or stopped
    /// already, stays as it is. `None` if nothing changed.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn stop(
        &self,
        runs: &[(RunId, StopReason)],
        now: Millis,
    ) -> Result<(Vec<bool>, Option<Committed>), StoreError> {
        self.forget_kept();
        self.transact(|write| {
            let (mut stopped, mut events) = (Vec::with_capacity(runs.len()), Vec::new());
            {
                let mut registry = Registry::new(write)?;
                for (run, reason) in runs {
                    let info = match registry.known(run)? {
                        Some((row, _)) => Some((row.number, registry.info(row.number)?)),
                        None => None,
                    };
                    let Some((number, mut info)) = info.filter(|(_, info)| info.stopped.is_none()) else {
                        stopped.push(false);
                        continue;
                    };
                    info.stopped = Some((now, *reason));
                    put(&mut registry.infos, number, &info)?;
                    events.extend(event(&registry, run, Phase::Stopped(*reason))?);
                    stopped.push(true);
                }
            }
            if !stopped.contains(&true) {
                return Ok((stopped, None));
            }
            Ok((stopped, Some(numbered(write, events)?)))
        })
    }

    /// Forgets a run: its name, labels and read positions. With `directory_is_there` the name is kept from being
    /// found again until [`Store::release`]. `None` if it is unknown.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn forget(
        &self,
        run: &RunId,
        directory_is_there: bool,
        now: Millis,
    ) -> Result<Option<Committed>, StoreError> {
        self.forget_kept();
        self.transact(|write| {
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
            if directory_is_there {
                let number = row.number;
                put(
                    &mut registry.forgotten,
                    run.as_str(),
                    &ForgottenRow { number, at: now },
                )?;
            }
            forget_files(write, row.number)?;
            numbered(write, event.into_iter().collect()).map(Some)
        })
    }

    /// The directories of forgotten runs are gone: what comes under their names is new.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn release(&self, runs: &[RunId]) -> Result<(), StoreError> {
        self.transact(|write| {
            let mut forgotten = write.open_table(FORGOTTEN)?;
            for run in runs {
                forgotten.remove(run.as_str())?;
            }
            Ok(())
        })
    }

    /// Every run that is known.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn run_infos(&self) -> Result<BTreeMap<RunId, RunInfo>, StoreError> {
        self.reading(|read| {
            let runs = read.open_table(RUNS)?;
            let tables = run_tables(read)?;
            let mut infos = BTreeMap::new();
            for entry in runs.iter()? {
                let (id, row) = entry?;
                let row: RunRow = decode_row("runs", row.value())?;
                let Ok(id) = RunId::new(id.value()) else {
                    return Err(DbError::row("runs", RowError::Range("id")));
                };
                infos.insert(id, tables.info(&row)?);
            }
            Ok(infos)
        })
    }

    /// What is known of a run; `None` if it is unknown.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn run_info(&self, run: &RunId) -> Result<Option<RunInfo>, StoreError> {
        self.reading(|read| {
            let Some(row) = run_row_of(read, run)? else {
                return Ok(None);
            };
            run_tables(read)?.info(&row).map(Some)
        })
    }

    /// The account of each number that was ever given to a run.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn accounts_by_number(&self) -> Result<BTreeMap<RunNumber, AccountId>, StoreError> {
        self.reading(|read| {
            let accounts = account_ids(read)?;
            let table = read.open_table(RUN_ACCOUNTS)?;
            let mut by_number = BTreeMap::new();
            for entry in table.iter()? {
                let (number, account) = entry?;
                let account = accounts.get(account.value() as usize).cloned();
                let account =
                    account.ok_or_else(|| DbError::row("run_accounts", RowError::Range("account")))?;
                by_number.insert(number.value(), account);
            }
            Ok(by_number)
        })
    }

    /// Runs that were forgotten while their directories were there.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn forgotten(&self) -> Result<BTreeSet<RunId>, StoreError> {
        self.reading(|read| {
            let table = read.open_table(FORGOTTEN)?;
            let mut runs = BTreeSet::new();
            for entry in table.iter()? {
                let (id, _) = entry?;
                runs.extend(RunId::new(id.value()));
            }
            Ok(runs)
        })
    }

    /// Whether a run of this name was forgotten while its directory was there, and the directory is there still.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn is_forgotten(&self, run: &RunId) -> Result<bool, StoreError> {
        self.reading(|read| {
            let table = read.open_table(FORGOTTEN)?;
            let row = table.get(run.as_str())?;
            Ok(row.is_some())
        })
    }
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

fn path_of(bytes: &[u8]) -> PathBuf {
    OsStr::from_bytes(bytes).to_owned().into()
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

/// The tables that say more of runs, as of one snapshot.
pub(super) fn run_tables(read: &ReadTransaction) -> Result<RunTables, DbError> {
    Ok(RunTables {
        infos: read.open_table(RUN_INFO)?,
        run_accounts: read.open_table(RUN_ACCOUNTS)?,
        accounts: account_ids(read)?,
    })
}

/// What a transaction came to that only has events; without any it takes no number.
fn numbered(write: &WriteTransaction, events: Vec<RunEvent>) -> Result<Committed, DbError> {
    let mut committed = Committed::default();
    if !events.is_empty() {
        let mut meta = write.open_table(META)?;
        committed.sequence = next_sequence(&mut meta)?;
    }
    committed.events = events;
    Ok(committed)
}
