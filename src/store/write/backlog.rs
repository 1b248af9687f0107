//! A backlog: runs that are read in any order, so that ties are decided by run and observations wait for its
//! end.

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
    /// Marks every run as part of a backlog that several readers read: until it [ends](Writer::end_backlog),
    /// ties are decided for the run with the lowest number, whichever reader is faster.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn begin_backlog(&mut self) -> Result<(), StoreError> {
        // They contain which runs are of the backlog.
        self.names = None;
        self.transact(|write| {
            let mut runs = write.open_table(RUNS)?;
            set_backlog(&mut runs, true)
        })
    }

    /// Ends the backlog: from now on ties are decided for the stored run.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn end_backlog(&mut self) -> Result<(), StoreError> {
        // They contain which runs are of the backlog.
        self.names = None;
        self.transact(|write| {
            let mut runs = write.open_table(RUNS)?;
            set_backlog(&mut runs, false)
        })
    }

    /// Merges the observations that were deferred; those without a time count as made `now`. From now on
    /// observations are merged as they arrive.
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
            let mut committed = Committed {
                sequence,
                limits: limits.finish(&names.accounts)?,
                ..Committed::default()
            };
            committed.queue_notices(&slot, write, now)?;
            Ok(committed)
        })?;
        slot.defer_no_more();
        Ok(committed)
    }
}

/// Marks every run as part of a backlog, or none.
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
