//! Reading what was ever counted, by account and model.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Store, StoreError};
use crate::fold::Totals;
use crate::record::AccountId;

impl Store {
    /// Everything ever counted, by account and model.
    ///
    /// # Errors
    /// As [`Store::snapshot`].
    pub fn sums(&self) -> Result<BTreeMap<(AccountId, Arc<str>), Totals>, StoreError> {
        let by_model = self.snapshot()?.by_model.into_iter();
        Ok(by_model
            .map(|(model, totals)| ((AccountId::default(), model), totals))
            .collect())
    }
}
