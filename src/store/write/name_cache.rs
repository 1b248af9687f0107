//! Small tables that every commit needs, kept in memory between commits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use redb::{ReadableTable, WriteTransaction};

use super::series_cache::SeriesCache;
use crate::model::{AccountId, ModelNumber, RouteNames, RouteNumber, RunNumber};
use crate::store::error::DbError;
use crate::store::schema::{
    ACCOUNTS, AccountRow, MODEL_RUNS, MODELS, ROUTES, RUN_ACCOUNTS, RUN_PROVIDERS, RUNS, RouteRow, RowError,
    RunRow,
};
use crate::store::table::decode_row;

/// Names of models and accounts and their numbers, as committed; discarded after a failed commit.
///
/// **Invariant**: it equals the result of [`NameCache::load`], except for some series. Every change of one of
/// its tables changes it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameCache {
    /// Models by their numbers.
    pub models: Vec<Arc<str>>,
    pub model_numbers: HashMap<Arc<str>, ModelNumber>,
    /// Number of models that each run brought.
    pub brought: HashMap<RunNumber, usize>,
    /// Runs whose backlog is not finished.
    pub backlog: HashSet<RunNumber>,
    /// Accounts by their numbers.
    pub accounts: Vec<AccountId>,
    pub run_accounts: HashMap<RunNumber, u32>,
    /// Accounts of runs by further providers.
    pub run_providers: HashMap<RunNumber, HashMap<Box<str>, u32>>,
    /// Routes by their names.
    pub routes: HashMap<RouteNames, RouteNumber>,
    /// Read as they are needed.
    pub series: SeriesCache,
}

impl NameCache {
    /// Reads all of them.
    pub fn load(write: &WriteTransaction) -> Result<Self, DbError> {
        let mut cache = Self::default();
        let table = write.open_table(MODELS)?;
        for entry in table.iter()? {
            let (number, name) = entry?;
            if number.value() as usize != cache.models.len() {
                return Err(DbError::row("models", RowError::Range("number")));
            }
            let name: Arc<str> = name.value().into();
            cache.model_numbers.insert(Arc::clone(&name), number.value());
            cache.models.push(name);
        }
        let model_runs = write.open_table(MODEL_RUNS)?;
        for entry in model_runs.iter()? {
            let (_, run) = entry?;
            *cache.brought.entry(run.value()).or_default() += 1;
        }
        let runs = write.open_table(RUNS)?;
        for entry in runs.iter()? {
            let (_, row) = entry?;
            let row: RunRow = decode_row("runs", row.value())?;
            if row.backlog {
                cache.backlog.insert(row.number);
            }
        }
        let accounts = write.open_table(ACCOUNTS)?;
        for entry in accounts.iter()? {
            let (number, row) = entry?;
            if number.value() as usize != cache.accounts.len() {
                return Err(DbError::row("accounts", RowError::Range("number")));
            }
            let row: AccountRow = decode_row("accounts", row.value())?;
            cache.accounts.push(row.id());
        }
        let run_accounts = write.open_table(RUN_ACCOUNTS)?;
        for entry in run_accounts.iter()? {
            let (run, account) = entry?;
            cache.run_accounts.insert(run.value(), account.value());
        }
        let run_providers = write.open_table(RUN_PROVIDERS)?;
        for entry in run_providers.iter()? {
            let (key, account) = entry?;
            cache.note_provider(key.value(), account.value());
        }
        let routes = write.open_table(ROUTES)?;
        for entry in routes.iter()? {
            let (number, row) = entry?;
            let row: RouteRow = decode_row("routes", row.value())?;
            cache.routes.insert(row.names, number.value());
            if number.value() as usize != cache.routes.len() {
                return Err(DbError::row("routes", RowError::Range("number")));
            }
        }
        Ok(cache)
    }

    /// Adds an account that may be new.
    pub fn note_account(&mut self, number: u32, id: &AccountId) {
        if number as usize == self.accounts.len() {
            self.accounts.push(id.clone());
        }
    }

    /// Adds a run that may be new, or may have another account now.
    pub fn note_run(&mut self, row: &RunRow, account: u32) {
        self.run_accounts.insert(row.number, account);
        if row.backlog {
            self.backlog.insert(row.number);
        }
    }

    /// Adds a run's account by a further provider.
    pub fn note_provider(&mut self, (run, provider): (RunNumber, &str), account: u32) {
        let of_run = self.run_providers.entry(run).or_default();
        of_run.insert(provider.into(), account);
    }

    /// The number of a run's account.
    pub fn account_of(&self, run: RunNumber) -> u32 {
        self.run_accounts.get(&run).copied().unwrap_or_default()
    }
}
