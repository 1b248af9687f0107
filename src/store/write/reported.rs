//! Marks and observations reported through the API.

use std::sync::Arc;

use super::deferred::MergeOrder;
use super::outcome::Committed;
use super::registry::Registry;
use super::windows::WindowChanges;
use super::{Writer, next_sequence};
use crate::model::{AccountId, Millis, Observation};
use crate::quota::exhaustion::Cause;
use crate::quota::poll::Backoff;
use crate::store::StoreError;
use crate::store::schema::{MARKS, META, MarkRow, POLLS, PollRow};
use crate::store::table::put;

/// Observations of an account's limits.
#[derive(Clone, Debug, PartialEq)]
pub struct AccountObservations {
    pub account: AccountId,
    pub observations: Vec<Observation>,
}

impl Writer {
    /// Stores the operator's mark of an account; `None` removes it.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn mark(&mut self, account: &AccountId, cause: Option<&Cause>) -> Result<Committed, StoreError> {
        self.transact_named(|write, names| {
            let number = Registry::new(write)?.account(account)?;
            names.note_account(number, account);
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

    /// Stores the back-off of an account's poll; `None` removes it.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn set_backoff(&mut self, account: &AccountId, backoff: Option<Backoff>) -> Result<(), StoreError> {
        self.transact_named(|write, names| {
            let number = Registry::new(write)?.account(account)?;
            names.note_account(number, account);
            let mut polls = write.open_table(POLLS)?;
            match backoff {
                Some(backoff) => put(&mut polls, number, &PollRow { backoff })?,
                None => drop(polls.remove(number)?),
            }
            Ok(())
        })
    }

    /// Merges observations that are in no log. During a backlog they wait for its end like all others.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn observe(
        &mut self,
        reported: &[AccountObservations],
        now: Millis,
    ) -> Result<Committed, StoreError> {
        let slot = Arc::clone(self.slot());
        self.transact_named(|write, names| {
            let mut registry = Registry::new(write)?;
            let mut numbers = Vec::with_capacity(reported.len());
            for one in reported {
                let number = registry.account(&one.account)?;
                names.note_account(number, &one.account);
                numbers.push(number);
            }
            drop(registry);
            let mut meta = write.open_table(META)?;
            let mut limits = WindowChanges::new(&slot, write)?;
            for (one, number) in reported.iter().zip(numbers) {
                for observation in &one.observations {
                    let at = observation.observed_at.unwrap_or(now);
                    let order = MergeOrder::reported(at);
                    if slot.defers() {
                        limits.deferred.add(&meta, number, observation, order)?;
                    } else {
                        limits.wait(number, observation.clone(), at, order);
                    }
                }
            }
            limits.merge_waiting(&mut meta, &names.accounts)?;
            let mut committed = Committed {
                sequence: next_sequence(&mut meta)?,
                limits: limits.finish(&names.accounts)?,
                ..Committed::default()
            };
            committed.queue_notices(&slot, write, now)?;
            Ok(committed)
        })
    }
}
