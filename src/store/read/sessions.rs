//! Reads a session by the id that its agent gave it.

use super::quota::account_ids;
use super::{Snapshot, run_sums};
use crate::dedup::Totals;
use crate::model::AccountId;
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{
    RUN_ACCOUNTS, RUN_PROVIDERS, RowError, SESSION_NUMBERS, SESSION_SUMS, SESSIONS, SessionRow,
};
use crate::store::table::get;

/// A session and its run.
#[derive(Clone, Debug)]
pub struct SessionView {
    /// The run's account of the requested provider, else its own.
    pub account: AccountId,
    /// Every response with a line in the session.
    pub session: Totals,
    /// Everything of the run that named it first.
    pub run: Totals,
}

impl Snapshot<'_> {
    /// The session with this hash, and its account of this provider; `None` if no line of it was read.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn session(&self, hash: u64, provider: &str) -> Result<Option<SessionView>, StoreError> {
        self.reading(|read| {
            let Some(number) = read.open_table(SESSION_NUMBERS)?.get(hash)? else {
                return Ok(None);
            };
            let number = number.value();
            let missing = |table| DbError::row(table, RowError::Range("session"));
            let row: SessionRow =
                get(&read.open_table(SESSIONS)?, number)?.ok_or_else(|| missing("sessions"))?;
            let further = read.open_table(RUN_PROVIDERS)?.get((row.run, provider))?;
            let own = read.open_table(RUN_ACCOUNTS)?.get(row.run)?;
            let accounts = account_ids(read)?;
            let of = |account: u32| accounts.get(account as usize).cloned();
            let own = own.and_then(|account| of(account.value()));
            let own = own.ok_or_else(|| missing("run_accounts"))?;
            let account = match further.and_then(|account| of(account.value())) {
                Some(further) if &*own.provider != provider => further,
                _ => own,
            };
            Ok(Some(SessionView {
                account,
                session: get(&read.open_table(SESSION_SUMS)?, number)?.unwrap_or_default(),
                run: run_sums(read, row.run)?.totals,
            }))
        })
    }
}
