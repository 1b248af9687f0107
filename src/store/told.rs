//! What does not come from logs: an operator's marks, and observations that someone tells.

use super::commit::{Committed, load_kept, next_sequence};
use super::limits::{MergeOrder, WindowChanges};
use super::registry::Registry;
use super::schema::{MARKS, META, MarkRow};
use super::table::put;
use super::{Store, StoreError};
use crate::model::{AccountId, Millis, Observation};
use crate::quota::exhaustion::Cause;

/// Observations of an account's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    pub account: AccountId,
    pub observations: Vec<Observation>,
}

impl Store {
    /// Notes what an operator says about an account; `None` takes it back.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn mark(&self, account: &AccountId, cause: Option<&Cause>) -> Result<Committed, StoreError> {
        self.register_account(account, |number, write| {
            let mut marks = write.open_table(MARKS)?;
            match cause {
                Some(cause) => put(&mut marks, number, &MarkRow { cause: cause.clone() })?,
                None => drop(marks.remove(number)?),
            }
            let mut meta = write.open_table(META)?;
            Ok(Committed {
                sequence: next_sequence(&mut meta)?,
                ..Committed::default()
            })
        })
    }

    /// Merges observations that stand in no log. During a backlog they wait for its end like all others.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn observe(&self, told: &[Told], now: Millis) -> Result<Committed, StoreError> {
        self.forget_kept();
        self.transact(|write| {
            let mut registry = Registry::new(write)?;
            let mut numbers = Vec::with_capacity(told.len());
            for one in told {
                numbers.push(registry.account(&one.account)?);
            }
            drop(registry);
            let kept = load_kept(write)?;
            let mut meta = write.open_table(META)?;
            let mut limits = WindowChanges::new(self, write)?;
            for (one, number) in told.iter().zip(numbers) {
                for observation in &one.observations {
                    let at = observation.observed_at.unwrap_or(now);
                    let place = MergeOrder::told(at);
                    if self.parks() {
                        limits.park(&meta, number, observation, place)?;
                    } else {
                        limits.wait(number, observation.clone(), at, place);
                    }
                }
            }
            limits.settle(&mut meta, &kept.accounts)?;
            Ok(Committed {
                sequence: next_sequence(&mut meta)?,
                limits: limits.finish(&kept.accounts)?,
                ..Committed::default()
            })
        })
    }
}
