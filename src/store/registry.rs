//! Which runs and accounts there are, and which run belongs to which account.

use redb::{ReadableTable, Table, WriteTransaction};

use super::commit::put;
use super::tables::{
    ACCOUNTS, AccountRow, RUN_ACCOUNTS, RUNS, RowError, RunRow, RunTotalsRow, TOTALS, decode,
};
use super::{Store, StoreError};
use crate::record::{AccountId, Millis, RunId};

/// The tables that say which runs and accounts there are.
pub(super) struct Registry<'s, 't> {
    store: &'s Store,
    runs: Table<'t, &'static str, &'static [u8]>,
    pub totals: Table<'t, u32, &'static [u8]>,
    accounts: Table<'t, u32, &'static [u8]>,
    run_accounts: Table<'t, u32, u32>,
}

impl<'s, 't> Registry<'s, 't> {
    pub fn new(store: &'s Store, write: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            store,
            runs: write.open_table(RUNS).map_err(|e| store.error(e))?,
            totals: write.open_table(TOTALS).map_err(|e| store.error(e))?,
            accounts: write.open_table(ACCOUNTS).map_err(|e| store.error(e))?,
            run_accounts: write.open_table(RUN_ACCOUNTS).map_err(|e| store.error(e))?,
        })
    }

    /// A run's row and account, as they are or made now.
    pub fn run(
        &mut self,
        run: &RunId,
        account: &AccountId,
        backlog: bool,
        now: Millis,
    ) -> Result<(RunRow, u32), StoreError> {
        let store = self.store;
        if let Some(row) = self.runs.get(run.as_str()).map_err(|e| store.error(e))? {
            let row: RunRow = decode(row.value()).map_err(|e| store.row_error("runs", &e))?;
            let of_run = self.run_accounts.get(row.number).map_err(|e| store.error(e))?;
            let of_run = of_run.ok_or_else(|| store.row_error("run_accounts", &RowError::Range("run")))?;
            return Ok((row, of_run.value()));
        }
        let account = self.account(account)?;
        // Every run has its row in `totals`, so the highest number there is the last one given.
        let last = self
            .totals
            .last()
            .map_err(|e| store.error(e))?
            .map(|(number, _)| number.value());
        let row = RunRow {
            number: last.map_or(0, |last| last + 1),
            backlog,
            first_seen: now,
        };
        put(store, &mut self.runs, run.as_str(), &row)?;
        put(store, &mut self.totals, row.number, &RunTotalsRow::default())?;
        self.run_accounts
            .insert(row.number, account)
            .map_err(|e| store.error(e))?;
        Ok((row, account))
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
