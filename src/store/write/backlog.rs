//! A backlog: runs that are read in any order, so that ties go by run and observations wait until it ends.

use std::sync::atomic::Ordering;

use redb::{ReadableTable, Table};

use super::name_cache::NameCache;
use super::next_sequence;
use super::outcome::Committed;
use super::windows::WindowChanges;
use crate::model::Millis;
use crate::store::error::DbError;
use crate::store::schema::{META, RUNS, RunRow};
use crate::store::table::{decode_row, put};
use crate::store::{Store, StoreError};

impl Store {
    /// Says that several readers work off a backlog of the runs there are: until it [ends](Store::end_backlog), ties go
    /// to the run with the lowest number, whichever reader is faster.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn begin_backlog(&self) -> Result<(), StoreError> {
        self.take_names();
        self.transact(|write| {
            let mut runs = write.open_table(RUNS)?;
            set_backlog(&mut runs, true)
        })
    }

    /// Says that the backlog is worked off: from now on ties stay with the run that is there.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn end_backlog(&self) -> Result<(), StoreError> {
        self.take_names();
        self.transact(|write| {
            let mut runs = write.open_table(RUNS)?;
            set_backlog(&mut runs, false)
        })
    }

    /// Merges the observations that were deferred; those without a time count as made `now`. From now on observations
    /// are merged as they come.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn apply_deferred(&self, now: Millis) -> Result<Committed, StoreError> {
        self.take_names();
        let committed = self.transact(|write| {
            let names = NameCache::load(write)?;
            let mut limits = WindowChanges::new(self, write)?;
            let mut meta = write.open_table(META)?;
            limits.apply_deferred(&mut meta, &names.accounts, now)?;
            let sequence = next_sequence(&mut meta)?;
            Ok(Committed {
                sequence,
                limits: limits.finish(&names.accounts)?,
                ..Committed::default()
            })
        })?;
        self.defers.store(false, Ordering::Release);
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
