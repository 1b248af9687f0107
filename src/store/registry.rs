//! Which runs and accounts there are, and which run belongs to which account.

use redb::{ReadableTable, Table, WriteTransaction};

use super::commit::put;
use super::schema::{
    ACCOUNTS, AccountRow, FORGOTTEN, RUN_ACCOUNTS, RUN_INFO, RUNS, RowError, RunInfoRow, RunRow,
    RunTotalsRow, TOTALS, decode,
};
use super::{Store, StoreError};
use crate::model::{AccountId, Millis, RunId, RunNumber};

/// The tables that say which runs and accounts there are.
pub(super) struct Registry<'s, 't> {
    store: &'s Store,
    pub runs: Table<'t, &'static str, &'static [u8]>,
    pub totals: Table<'t, u32, &'static [u8]>,
    accounts: Table<'t, u32, &'static [u8]>,
    pub run_accounts: Table<'t, u32, u32>,
    pub infos: Table<'t, u32, &'static [u8]>,
    pub forgotten: Table<'t, &'static str, &'static [u8]>,
}

impl<'s, 't> Registry<'s, 't> {
    pub fn new(store: &'s Store, write: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            store,
            runs: write.open_table(RUNS).map_err(|e| store.error(e))?,
            totals: write.open_table(TOTALS).map_err(|e| store.error(e))?,
            accounts: write.open_table(ACCOUNTS).map_err(|e| store.error(e))?,
            run_accounts: write.open_table(RUN_ACCOUNTS).map_err(|e| store.error(e))?,
            infos: write.open_table(RUN_INFO).map_err(|e| store.error(e))?,
            forgotten: write.open_table(FORGOTTEN).map_err(|e| store.error(e))?,
        })
    }

    /// A run's row and account, as they are or made now; `true` if now.
    pub fn run(
        &mut self,
        run: &RunId,
        account: &AccountId,
        backlog: bool,
        now: Millis,
    ) -> Result<(RunRow, u32, bool), StoreError> {
        if let Some((row, account)) = self.known(run)? {
            return Ok((row, account, false));
        }
        let account = self.account(account)?;
        let row = RunRow {
            number: self.next_number()?,
            backlog,
            first_seen: now,
        };
        let store = self.store;
        put(store, &mut self.runs, run.as_str(), &row)?;
        put(store, &mut self.totals, row.number, &RunTotalsRow::default())?;
        put(store, &mut self.infos, row.number, &RunInfoRow::default())?;
        self.run_accounts
            .insert(row.number, account)
            .map_err(|e| store.error(e))?;
        self.forgotten.remove(run.as_str()).map_err(|e| store.error(e))?;
        Ok((row, account, true))
    }

    /// A run's row and account.
    pub fn known(&self, run: &RunId) -> Result<Option<(RunRow, u32)>, StoreError> {
        let store = self.store;
        let Some(row) = self.runs.get(run.as_str()).map_err(|e| store.error(e))? else {
            return Ok(None);
        };
        let row: RunRow = decode(row.value()).map_err(|e| store.row_error("runs", &e))?;
        let account = self.run_accounts.get(row.number).map_err(|e| store.error(e))?;
        let account = account.ok_or_else(|| store.row_error("run_accounts", &RowError::Range("run")))?;
        Ok(Some((row, account.value())))
    }

    /// The name of a run by its number: a walk over all runs.
    pub fn name_of(&self, number: RunNumber) -> Result<Option<RunId>, StoreError> {
        let store = self.store;
        for entry in self.runs.iter().map_err(|e| store.error(e))? {
            let (id, row) = entry.map_err(|e| store.error(e))?;
            let row: RunRow = decode(row.value()).map_err(|e| store.row_error("runs", &e))?;
            if row.number == number {
                return Ok(RunId::new(id.value()).ok());
            }
        }
        Ok(None)
    }

    /// The number after the highest that was ever given to a run.
    fn next_number(&self) -> Result<RunNumber, StoreError> {
        let store = self.store;
        // Every run has its account for good, so that its responses keep theirs.
        let last = self.run_accounts.last().map_err(|e| store.error(e))?;
        Ok(last.map_or(0, |(number, _)| number.value() + 1))
    }

    /// What is known of a run beside its sums.
    pub fn info(&self, run: RunNumber) -> Result<RunInfoRow, StoreError> {
        let store = self.store;
        match self.infos.get(run).map_err(|e| store.error(e))? {
            Some(row) => decode(row.value()).map_err(|e| store.row_error("run_info", &e)),
            None => Ok(RunInfoRow::default()),
        }
    }

    /// What is summed for a run.
    pub fn sums(&self, run: RunNumber) -> Result<RunTotalsRow, StoreError> {
        let store = self.store;
        match self.totals.get(run).map_err(|e| store.error(e))? {
            Some(row) => decode(row.value()).map_err(|e| store.row_error("totals", &e)),
            None => Ok(RunTotalsRow::default()),
        }
    }

    /// The name of an account.
    pub fn account_id(&self, number: u32) -> Result<AccountId, StoreError> {
        let store = self.store;
        let row = self.accounts.get(number).map_err(|e| store.error(e))?;
        let row = row.ok_or_else(|| store.row_error("accounts", &RowError::Range("number")))?;
        let row: AccountRow = decode(row.value()).map_err(|e| store.row_error("accounts", &e))?;
        Ok(row.id())
    }

    /// The number of an account, which gets one if it has none.
    pub fn account(&mut self, id: &AccountId) -> Result<u32, StoreError> {
        let store = self.store;
        let mut count = 0;
        for entry in self.accounts.iter().map_err(|e| store.error(e))? {
            let (number, row) = entry.map_err(|e| store.error(e))?;
            let row: AccountRow = decode(row.value()).map_err(|e| store.row_error("accounts", &e))?;
            if row.id() == *id {
                return Ok(number.value());
            }
            count = number.value() + 1;
        }
        put(store, &mut self.accounts, count, &AccountRow::new(id))?;
        Ok(count)
    }
}
