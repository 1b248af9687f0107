//! Reads leases, the recovery of accounts, and the answers that were given to keys.

use redb::{ReadTransaction, ReadableTable};

use super::Snapshot;
use crate::model::AccountId;
use crate::quota::lease::cost::CostHistory;
use crate::quota::lease::{KeyedAnswer, LeaseBook, LeaseNumber, ProbeKey};
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{
    LEASE_ANSWERS, LEASE_ENDS, LEASE_KEYS, LEASES, LeaseEndRow, LeaseRow, META, META_LEASE, META_SEQUENCE,
    PROBES, ProbeRow, RUN_COSTS, RUNS, RunRow, RunTotalsRow, TOTALS,
};
use crate::store::table::{decode_row, get};

impl Snapshot<'_> {
    /// Everything about leases.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn lease_book(&self) -> Result<LeaseBook, StoreError> {
        self.reading(book_in)
    }

    /// The end of a lease; `None` if it has not ended, or long ago.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn lease_end(&self, number: LeaseNumber) -> Result<Option<LeaseEndRow>, StoreError> {
        self.reading(|read| get(&read.open_table(LEASE_ENDS)?, number))
    }

    /// The answer that was given to a key.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn lease_answer(&self, key: &str) -> Result<Option<KeyedAnswer>, StoreError> {
        self.reading(|read| {
            let number = read
                .open_table(LEASE_KEYS)?
                .get(key)?
                .map(|number| number.value());
            match number {
                Some(number) => get(&read.open_table(LEASE_ANSWERS)?, number),
                None => Ok(None),
            }
        })
    }
}

pub(super) fn book_in(read: &ReadTransaction) -> Result<LeaseBook, DbError> {
    let mut book = LeaseBook::default();
    let meta = read.open_table(META)?;
    let number = |key| Ok::<_, DbError>(meta.get(key)?.map_or(0, |number| number.value()));
    book.last = number(META_LEASE)?;
    book.sequence = number(META_SEQUENCE)? + 1;
    for entry in read.open_table(LEASES)?.iter()? {
        let (number, row) = entry?;
        let row: LeaseRow = decode_row("leases", row.value())?;
        let lease = row
            .lease(number.value())
            .map_err(|error| DbError::row("leases", error))?;
        book.leases.insert(lease.number, lease);
    }
    let (runs, totals) = (read.open_table(RUNS)?, read.open_table(TOTALS)?);
    for lease in book.leases.values_mut().filter(|lease| lease.bound_at.is_some()) {
        let row: Option<RunRow> = match &lease.run {
            Some(run) => get(&runs, run.as_str())?,
            None => None,
        };
        if let Some(row) = row {
            let sums: RunTotalsRow = get(&totals, row.number)?.unwrap_or_default();
            lease.has_log = sums.bytes > lease.bytes_before;
            let used = sums.totals.fresh_tokens().saturating_sub(lease.tokens_before);
            book.used.insert(lease.number, used);
        }
    }
    for entry in read.open_table(PROBES)?.iter()? {
        let (key, row) = entry?;
        let (provider, name, scope) = key.value();
        let row: ProbeRow = decode_row("probes", row.value())?;
        let key = ProbeKey {
            account: AccountId {
                provider: provider.into(),
                name: name.into(),
            },
            scope: scope.into(),
        };
        let probe = row.probe().map_err(|error| DbError::row("probes", error))?;
        book.probes.insert(key, probe);
    }
    for entry in read.open_table(RUN_COSTS)?.iter()? {
        let (key, row) = entry?;
        let (provider, name, class) = key.value();
        let account = AccountId {
            provider: provider.into(),
            name: name.into(),
        };
        let costs: CostHistory = decode_row("run_costs", row.value())?;
        book.costs.insert((account, class.into()), costs);
    }
    Ok(book)
}
