//! What a transaction makes of responses, and what that comes to in rows and sums.

use std::collections::HashMap;

use super::rows::Rows;
use super::tables::{ResponseParts, ResponseRow};
use super::{Store, StoreError};
use crate::fold::{Response, Totals};
use crate::record::{MINUTE_MS, ModelNumber, ResponseKey, RunNumber};

/// Hours in a day.
pub const DAY_HOURS: u32 = 24;

/// A response with the number of its model.
#[derive(Clone, PartialEq, Eq)]
pub struct Known {
    pub response: Response,
    pub model: ModelNumber,
}

/// What this transaction makes of one response.
pub struct Changed {
    pub key: ResponseKey,
    /// As it is stored.
    pub before: Option<Box<Known>>,
    pub after: Known,
}

/// What some changes of responses come to.
pub struct Part {
    pub rows: Rows<u128>,
    /// New responses that have no time.
    pub undated: Vec<ResponseKey>,
    pub cells: HashMap<(u32, RunNumber, ModelNumber), Totals>,
    pub minutes: HashMap<(u32, u32), Totals>,
}

impl Part {
    /// Goes over them in the order in which they came: neighbours lie side by side in memory and in the sums.
    pub fn of(
        store: &Store,
        changed: &[Changed],
        run_accounts: &HashMap<RunNumber, u32>,
    ) -> Result<Self, StoreError> {
        let mut part = Self {
            rows: Rows::with_capacity(changed.len()),
            undated: Vec::new(),
            cells: HashMap::new(),
            minutes: HashMap::new(),
        };
        let account_of = |run: RunNumber| run_accounts.get(&run).copied().unwrap_or_default();
        let minute_of = |known: &Known| (account_of(known.response.run), known.minute());
        for Changed { key, before, after } in changed {
            let before = before.as_deref();
            if before == Some(after) {
                continue;
            }
            if let Some(before) = before {
                let sums = Totals::of(&before.response);
                *part.cells.entry(before.cell()).or_default() -= sums;
                *part.minutes.entry(minute_of(before)).or_default() -= sums;
            } else if !after.response.dated {
                part.undated.push(*key);
            }
            let sums = Totals::of(&after.response);
            *part.cells.entry(after.cell()).or_default() += sums;
            *part.minutes.entry(minute_of(after)).or_default() += sums;
            part.rows.push(store, key.0, &after.row())?;
        }
        Ok(part)
    }

    pub fn append(&mut self, other: Self) {
        self.rows.append(other.rows);
        self.undated.extend(other.undated);
        for (key, sums) in other.cells {
            *self.cells.entry(key).or_default() += sums;
        }
        for (key, sums) in other.minutes {
            *self.minutes.entry(key).or_default() += sums;
        }
    }
}

impl Known {
    /// The minute since 1970.
    fn minute(&self) -> u32 {
        u32::try_from(self.response.time / MINUTE_MS).unwrap_or(u32::MAX)
    }

    /// The row of sums it belongs to.
    fn cell(&self) -> (u32, RunNumber, ModelNumber) {
        (self.response.hour(), self.response.run, self.model)
    }

    fn row(&self) -> ResponseRow {
        let Response {
            kind,
            rank,
            tier,
            dated,
            usage,
            run,
            time,
            ..
        } = self.response;
        let parts = ResponseParts {
            kind,
            rank,
            tier,
            dated,
            usage,
        };
        ResponseRow::new(&parts, self.model, run, time)
    }
}
