//! A backlog: runs that are read in any order, so that ties go by run and observations wait until it ends.

use std::sync::Arc;

use redb::{ReadableTable, Table};

use super::outcome::Committed;
use super::windows::WindowChanges;
use super::{Writer, next_sequence};
use crate::model::Millis;
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{META, RUNS, RunRow};
use crate::store::table::{decode_row, put};

impl Writer {
    /// Says that several readers work off a backlog of the runs there are: until it [ends](Writer::end_backlog), ties go
    /// to the run with the lowest number, whichever reader is faster.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn begin_backlog(&mut self) -> Result<(), StoreError> {
        // They say which runs are of the backlog.
        self.names = None;
        self.transact(|write| {
            let mut runs = write.open_table(RUNS)?;
            set_backlog(&mut runs, true)
        })
    }

    /// Says that the backlog is worked off: from now on ties stay with the run that is there.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn end_backlog(&mut self) -> Result<(), StoreError> {
        // They say which runs are of the backlog.
        self.names = None;
        self.transact(|write| {
            let mut runs = write.open_table(RUNS)?;
            set_backlog(&mut runs, false)
        })
    }

    /// Merges the observations that were deferred; those without a time count as made `now`. From now on observations
    /// are merged as they come.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn apply_deferred(&mut self, now: Millis) -> Result<Committed, StoreError> {
        let slot = Arc::clone(self.slot());
        let committed = self.transact_named(|write, names| {
            let mut limits = WindowChanges::new(&slot, write)?;
            let mut meta = write.open_table(META)?;
            limits.apply_deferred(&mut meta, &names.accounts, now)?;
            let sequence = next_sequence(&mut meta)?;
            Ok(Committed {
                sequence,
                limits: limits.finish(&names.accounts)?,
                ..Committed::default()
            })
        })?;
        slot.defer_no_more();
        Ok(committed)
    }
}

/// Makes every run one of a backlog, or none.
pub fn set_backlog(runs: &mut Table<'_, &'static str, &'static [u8]>, backlog: bool) -> Result<(), DbError> {
    let mut others = Vec::new();
    for entry in runs.iter()? {
        let (id, row) = entry?;
        let row: RunRow = decode_row("runs", row.value())?;
        if row.backlog != backlog {
            others.push((id.value().to_owned(), RunRow { backlog, ..row }));
        }
    }
    for (id, row) in others {
        put(runs, id.as_str(), &row)?;
    }
    Ok(())
}
