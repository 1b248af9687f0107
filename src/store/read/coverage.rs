//! Reads the totals that agents reported beside the totals counted.

use redb::{ReadTransaction, ReadableTable};

use super::Snapshot;
use crate::coverage::{self, Coverage};
use crate::dedup::Totals;
use crate::model::Reported;
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{SESSION_SUMS, SESSIONS, SessionRow};
use crate::store::table::decode_row;

impl Snapshot<'_> {
    /// The totals that agents reported, beside the totals counted.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn coverage(&self) -> Result<Coverage, StoreError> {
        self.reading(coverage_in)
    }
}

/// The figures of a sum that agents report too. A negative sum counts as zero.
fn figures_of(sum: &Totals) -> Reported {
    let clamp = |tokens: i128| u64::try_from(tokens.max(0)).unwrap_or(u64::MAX);
    Reported {
        input: clamp(sum.input),
        output: clamp(sum.output),
        cache_read: clamp(sum.cache_read),
        cache_creation: clamp(sum.cache_creation),
    }
}

/// As [`Snapshot::coverage`], in a transaction.
pub fn coverage_in(read: &ReadTransaction) -> Result<Coverage, DbError> {
    let rows = read.open_table(SESSIONS)?;
    let sums = read.open_table(SESSION_SUMS)?;
    let mut sessions = Vec::new();
    let mut sums = sums.iter()?.peekable();
    for entry in rows.iter()? {
        let (number, row) = entry?;
        let number = number.value();
        let row: SessionRow = decode_row("sessions", row.value())?;
        let mut counted = Totals::default();
        // Both tables are sorted by number.
        while let Some(entry) = sums.next_if(|sum| sum.as_ref().is_ok_and(|(of, _)| of.value() <= number)) {
            let (of, sum) = entry?;
            if of.value() == number {
                counted = decode_row("session_sums", sum.value())?;
            }
        }
        sessions.push(coverage::Session {
            number,
            run: row.run,
            linked: row.linked,
            // With copies of pruned responses it reports more than its sums can have.
            reported: row.reported().filter(|_| !row.has_pruned),
            counted: figures_of(&counted),
        });
    }
    Ok(coverage::of(&sessions))
}
