//! Reads the runs and the read positions of their files.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable};

use super::Snapshot;
use super::quota::account_ids;
use crate::model::{AccountId, Cursor, Labels, Millis, Position, RelativePath, RunId, RunNumber, StopReason};
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{
    FILES, FORGOTTEN, FileRow, PATHS, RUN_ACCOUNTS, RUN_INFO, RUN_PROVIDERS, RUNS, RowError, RunInfoRow,
    RunRow,
};
use crate::store::table::{decode_row, get};

/// The properties of a run beside its sums.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunInfo {
    pub number: RunNumber,
    pub account: AccountId,
    pub labels: Labels,
    pub mount: Option<PathBuf>,
    pub first_seen: Millis,
    /// Time of an explicit start; `None` for a run that was only found.
    pub registered_at: Option<Millis>,
    /// The earliest line time read.
    pub earliest: Option<Millis>,
    /// Time and reason of the stop; `None` while it is active.
    pub stopped: Option<(Millis, StopReason)>,
}

/// The properties of a run and the read positions of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRun {
    /// `None` if it is unknown.
    pub info: Option<RunInfo>,
    pub positions: BTreeMap<RelativePath, Position>,
}

/// The accounts of a run beside its own, by provider.
pub type FurtherAccounts = Vec<(Box<str>, AccountId)>;

/// The number of a run's files, and the cursors of those found last.
pub type NewestFiles = (u64, Vec<(RelativePath, Cursor)>);

/// The tables with further properties of runs, open: they serve for one run or for all.
struct RunTables {
    infos: ReadOnlyTable<u32, &'static [u8]>,
    run_accounts: ReadOnlyTable<u32, u32>,
    run_providers: ReadOnlyTable<(u32, &'static str), u32>,
    accounts: Vec<AccountId>,
}

impl RunTables {
    /// The accounts of a run beside its own, one for each further provider.
    fn further(&self, run: RunNumber) -> Result<FurtherAccounts, DbError> {
        let mut accounts = Vec::new();
        for entry in self.run_providers.range((run, "")..)? {
            let (key, account) = entry?;
            let (number, provider) = key.value();
            if number != run {
                break;
            }
            let account = self.accounts.get(account.value() as usize).cloned();
            let account = account.ok_or_else(|| DbError::row("run_providers", RowError::Range("account")))?;
            accounts.push((provider.into(), account));
        }
        Ok(accounts)
    }

    /// The properties of a run from these tables.
    fn info(&self, row: &RunRow) -> Result<RunInfo, DbError> {
        let info: RunInfoRow = get(&self.infos, row.number)?.unwrap_or_default();
        let account = self.run_accounts.get(row.number)?;
        let account = account.and_then(|account| self.accounts.get(account.value() as usize));
        let account = account.ok_or_else(|| DbError::row("run_accounts", RowError::Range("run")))?;
        Ok(RunInfo {
            number: row.number,
            account: account.clone(),
            mount: info.mount_path(),
            labels: info.labels,
            first_seen: row.first_seen,
            registered_at: info.registered_at,
            earliest: info.earliest,
            stopped: info.stopped,
        })
    }
}

impl Snapshot<'_> {
    /// All runs.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn run_infos(&self) -> Result<BTreeMap<RunId, RunInfo>, StoreError> {
        self.run_infos_of(|_| true)
    }

    /// All runs, and whether each is stopped.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn runs_stopped(&self) -> Result<BTreeMap<String, bool>, StoreError> {
        self.reading(|read| {
            let (runs, infos) = (read.open_table(RUNS)?, read.open_table(RUN_INFO)?);
            let mut stopped = BTreeMap::new();
            for entry in runs.iter()? {
                let (id, row) = entry?;
                let row: RunRow = decode_row("runs", row.value())?;
                let info: RunInfoRow = get(&infos, row.number)?.unwrap_or_default();
                stopped.insert(id.value().to_owned(), info.stopped.is_some());
            }
            Ok(stopped)
        })
    }

    /// The runs whose numbers are wanted. Their ids are the keys, so the walk is over all runs; the rest is read of
    /// the wanted ones only.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub(super) fn run_infos_of(
        &self,
        is_wanted: impl Fn(RunNumber) -> bool,
    ) -> Result<BTreeMap<RunId, RunInfo>, StoreError> {
        self.reading(|read| {
            let runs = read.open_table(RUNS)?;
            let tables = run_tables(read)?;
            let mut infos = BTreeMap::new();
            for entry in runs.iter()? {
                let (id, row) = entry?;
                let row: RunRow = decode_row("runs", row.value())?;
                if !is_wanted(row.number) {
                    continue;
                }
                let Ok(id) = RunId::new(id.value()) else {
                    return Err(DbError::row("runs", RowError::Range("id")));
                };
                infos.insert(id, tables.info(&row)?);
            }
            Ok(infos)
        })
    }

    /// The properties of a run; `None` if it is unknown.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn run_info(&self, run: &RunId) -> Result<Option<RunInfo>, StoreError> {
        self.reading(|read| {
            let Some(row) = run_row_of(read, run)? else {
                return Ok(None);
            };
            run_tables(read)?.info(&row).map(Some)
        })
    }

    /// Runs that were forgotten while their directories existed.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
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

    /// True if a run of this name was forgotten while its directory existed, and the directory still exists.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn is_forgotten(&self, run: &RunId) -> Result<bool, StoreError> {
        self.reading(|read| {
            let table = read.open_table(FORGOTTEN)?;
            let row = table.get(run.as_str())?;
            Ok(row.is_some())
        })
    }

    /// The account a run was registered with; `None` if the run was never seen.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn account_of(&self, run: &RunId) -> Result<Option<AccountId>, StoreError> {
        self.reading(|read| {
            let Some(row) = run_row_of(read, run)? else {
                return Ok(None);
            };
            let table = read.open_table(RUN_ACCOUNTS)?;
            let number = table.get(row.number)?;
            let ids = account_ids(read)?;
            number
                .and_then(|number| ids.get(number.value() as usize).cloned())
                .map(Some)
                .ok_or_else(|| DbError::row("run_accounts", RowError::Range("run")))
        })
    }

    /// The accounts of a run by further providers: those of responses or limits that are not of the account
    /// it was registered with.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn run_accounts(&self, run: &RunId) -> Result<FurtherAccounts, StoreError> {
        self.reading(|read| match run_row_of(read, run)? {
            Some(row) => run_tables(read)?.further(row.number),
            None => Ok(Vec::new()),
        })
    }

    /// All run ids, with their numbers.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
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

    /// The read position of each file of a run, by its path below the run's directory.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn positions(&self, run: &RunId) -> Result<BTreeMap<RelativePath, Position>, StoreError> {
        let known = self.stored_runs(std::slice::from_ref(run))?.pop();
        Ok(known.unwrap_or_default().positions)
    }

    /// The number of a run's files and the cursors of those that were found last, the last first; `None` if the run is
    /// unknown.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn newest_files(&self, run: &RunId, limit: usize) -> Result<Option<NewestFiles>, StoreError> {
        self.reading(|read| {
            let Some(row) = run_row_of(read, run)? else {
                return Ok(None);
            };
            let (paths, files) = (read.open_table(PATHS)?, read.open_table(FILES)?);
            let mut numbers = Vec::new();
            let first: (u32, &[u8]) = (row.number, &[]);
            for entry in paths.range(first..)? {
                let (key, file) = entry?;
                let (of, path) = key.value();
                if of != row.number {
                    break;
                }
                numbers.push((
                    file.value(),
                    RelativePath::from(Path::new(OsStr::from_bytes(path))),
                ));
            }
            let total = numbers.len() as u64;
            numbers.sort_by_key(|(file, _)| Reverse(*file));
            let newest = numbers.into_iter().take(limit).map(|(number, path)| {
                let file: Option<FileRow> = get(&files, number)?;
                let file = file.ok_or_else(|| DbError::row("paths", RowError::Range("file")))?;
                Ok((path, file.cursor()))
            });
            Ok(Some((total, newest.collect::<Result<_, DbError>>()?)))
        })
    }

    /// The properties of each of these runs, and the read positions of their files.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn stored_runs(&self, runs: &[RunId]) -> Result<Vec<StoredRun>, StoreError> {
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
                    let path = Path::new(OsStr::from_bytes(path)).into();
                    known.positions.insert(path, file.position());
                }
                Ok(known)
            };
            runs.iter().map(one).collect()
        })
    }
}

/// The tables with further properties of runs, as of one snapshot.
fn run_tables(read: &ReadTransaction) -> Result<RunTables, DbError> {
    Ok(RunTables {
        infos: read.open_table(RUN_INFO)?,
        run_accounts: read.open_table(RUN_ACCOUNTS)?,
        run_providers: read.open_table(RUN_PROVIDERS)?,
        accounts: account_ids(read)?,
    })
}

/// A run's row; `None` if it is unknown.
pub(super) fn run_row_of(read: &ReadTransaction, run: &RunId) -> Result<Option<RunRow>, DbError> {
    let runs = read.open_table(RUNS)?;
    get(&runs, run.as_str())
}
