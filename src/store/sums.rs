//! Reading what was ever counted, by account and model.

use std::collections::BTreeMap;
use std::sync::Arc;

use redb::ReadableTable;

use super::schema::{RowError, SUMS, decode};
use super::{Store, StoreError};
use crate::dedup::Totals;
use crate::model::AccountId;

impl Store {
    /// Everything ever counted, by account and model; forgotten runs included.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn sums(&self) -> Result<BTreeMap<(AccountId, Arc<str>), Totals>, StoreError> {
        let (_open, read) = self.read()?;
        let (accounts, models) = (self.account_ids(&read)?, self.models(&read)?);
        let table = read.open_table(SUMS).map_err(|e| self.error(e))?;
        let mut sums = BTreeMap::new();
        for entry in table.iter().map_err(|e| self.error(e))? {
            let (key, row) = entry.map_err(|e| self.error(e))?;
            let (account, model) = key.value();
            let account = accounts.get(account as usize).cloned();
            let account = account.ok_or_else(|| self.row_error("sums", &RowError::Range("account")))?;
            let totals: Totals = decode(row.value()).map_err(|e| self.row_error("sums", &e))?;
            sums.insert((account, self.model_name(&models, model)?), totals);
        }
        Ok(sums)
    }
}
