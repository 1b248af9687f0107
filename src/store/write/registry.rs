//! Registry of runs and accounts, and of the accounts of runs.

use redb::{ReadableTable, Table, WriteTransaction};

use crate::model::{AccountId, Millis, RunId, RunNumber};
use crate::store::error::DbError;
use crate::store::schema::{
    ACCOUNTS, AccountRow, FORGOTTEN, RUN_ACCOUNTS, RUN_INFO, RUN_PROVIDERS, RUNS, RowError, RunInfoRow,
    RunRow, RunTotalsRow, TOTALS,
};
use crate::store::table::{decode_row, get, put};

/// The tables of the registry of runs and accounts.
pub struct Registry<'t> {
    pub runs: Table<'t, &'static str, &'static [u8]>,
    pub totals: Table<'t, u32, &'static [u8]>,
    accounts: Table<'t, u32, &'static [u8]>,
    pub run_accounts: Table<'t, u32, u32>,
    pub run_providers: Table<'t, (u32, &'static str), u32>,
    pub infos: Table<'t, u32, &'static [u8]>,
    pub forgotten: Table<'t, &'static str, &'static [u8]>,
}

impl<'t> Registry<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            runs: write.open_table(RUNS)?,
            totals: write.open_table(TOTALS)?,
            accounts: write.open_table(ACCOUNTS)?,
            run_accounts: write.open_table(RUN_ACCOUNTS)?,
            run_providers: write.open_table(RUN_PROVIDERS)?,
            infos: write.open_table(RUN_INFO)?,
            forgotten: write.open_table(FORGOTTEN)?,
        })
    }

    /// A run's row and account, existing or created; `true` if created.
    pub fn run(
        &mut self,
        run: &RunId,
        account: &AccountId,
        backlog: bool,
        now: Millis,
    ) -> Result<(RunRow, u32, bool), DbError> {
        if let Some((row, account)) = self.known(run)? {
            return Ok((row, account, false));
        }
        let account = self.account(account)?;
        let row = RunRow {
            number: self.next_number()?,
            backlog,
            first_seen: now,
        };
        put(&mut self.runs, run.as_str(), &row)?;
        put(&mut self.totals, row.number, &RunTotalsRow::default())?;
        put(&mut self.infos, row.number, &RunInfoRow::default())?;
        self.run_accounts.insert(row.number, account)?;
        self.forgotten.remove(run.as_str())?;
        Ok((row, account, true))
    }

    /// A run's row and account.
    pub fn known(&self, run: &RunId) -> Result<Option<(RunRow, u32)>, DbError> {
        let Some(row) = get::<_, RunRow>(&self.runs, run.as_str())? else {
            return Ok(None);
        };
        let account = self.run_accounts.get(row.number)?;
        let account = account.ok_or_else(|| DbError::row("run_accounts", RowError::Range("run")))?;
        Ok(Some((row, account.value())))
    }

    /// The name of a run by its number: a walk over all runs.
    pub fn name_of(&self, number: RunNumber) -> Result<Option<RunId>, DbError> {
        for entry in self.runs.iter()? {
            let (id, row) = entry?;
            let row: RunRow = decode_row("runs", row.value())?;
            if row.number == number {
                return Ok(RunId::new(id.value()).ok());
            }
        }
        Ok(None)
    }

    /// The number after the highest that was ever given to a run.
    fn next_number(&self) -> Result<RunNumber, DbError> {
        // A run has its account permanently, so that its responses keep theirs.
        let last = self.run_accounts.last()?;
        Ok(last.map_or(0, |(number, _)| number.value() + 1))
    }

    /// The properties of a run beside its sums.
    pub fn info(&self, run: RunNumber) -> Result<RunInfoRow, DbError> {
        Ok(get(&self.infos, run)?.unwrap_or_default())
    }

    /// The totals of a run.
    pub fn sums(&self, run: RunNumber) -> Result<RunTotalsRow, DbError> {
        Ok(get(&self.totals, run)?.unwrap_or_default())
    }

    /// The name of an account.
    pub fn account_id(&self, number: u32) -> Result<AccountId, DbError> {
        let row: Option<AccountRow> = get(&self.accounts, number)?;
        let row = row.ok_or_else(|| DbError::row("accounts", RowError::Range("number")))?;
        Ok(row.id())
    }

    /// The number of an account, created if it has none.
    pub fn account(&mut self, id: &AccountId) -> Result<u32, DbError> {
        let mut count = 0;
        for entry in self.accounts.iter()? {
            let (number, row) = entry?;
            let row: AccountRow = decode_row("accounts", row.value())?;
            if row.id() == *id {
                return Ok(number.value());
            }
            count = number.value() + 1;
        }
        put(&mut self.accounts, count, &AccountRow::new(id))?;
        Ok(count)
    }
}
