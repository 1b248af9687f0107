//! Reading what was ever counted, by account and model.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::ReadableTable;

use super::error::DbError;
use super::quota::account_ids;
use super::read::{model_name, models};
use super::schema::{RowError, SUMS};
use super::table::decode_row;
use super::{Store, StoreError};
use crate::dedup::Totals;
use crate::model::AccountId;

impl Store {
    /// Everything ever counted, by account and model; forgotten runs included.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn sums(&self) -> Result<BTreeMap<(AccountId, Arc<str>), Totals>, StoreError> {
        self.reading(|read| {
            let (accounts, models) = (account_ids(read)?, models(read)?);
            let table = read.open_table(SUMS)?;
            let mut sums = BTreeMap::new();
            for entry in table.iter()? {
                let (key, row) = entry?;
                let (account, model) = key.value();
                let account = accounts.get(account as usize).cloned();
                let account = account.ok_or_else(|| DbError::row("sums", RowError::Range("account")))?;
                let totals: Totals = decode_row("sums", row.value())?;
                sums.insert((account, model_name(&models, model)?), totals);
            }
            Ok(sums)
        })
    }
}
