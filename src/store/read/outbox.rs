//! Reads the outbox and the latches.

use std::collections::BTreeMap;

use redb::ReadableTable;

use super::Snapshot;
use crate::quota::notice::causes::Latches;
use crate::quota::notice::{LatchKey, NoticeKind, NumberedNotice};
use crate::store::StoreError;
use crate::store::error::DbError;
use crate::store::schema::{LATCHES, LatchRow, OUTBOX, OutboxPlace, OutboxRow, RowError};
use crate::store::table::decode_row;

impl Snapshot<'_> {
    /// The first event that waits for a target.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn first_notice(&self, target: &str) -> Result<Option<(OutboxPlace, NumberedNotice)>, StoreError> {
        self.reading(|read| {
            let table = read.open_table(OUTBOX)?;
            let mut rows = table.range((target, 0, 0)..=(target, u64::MAX, u32::MAX))?;
            let Some((key, row)) = rows.next().transpose()? else {
                return Ok(None);
            };
            let (_, sequence, place) = key.value();
            let row: OutboxRow = decode_row("outbox", row.value())?;
            Ok(Some(((sequence, place), row.notice())))
        })
    }

    /// The number of events that wait, by target.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn waiting_notices(&self) -> Result<BTreeMap<Box<str>, u64>, StoreError> {
        self.reading(|read| {
            let mut counts: BTreeMap<Box<str>, u64> = BTreeMap::new();
            for entry in read.open_table(OUTBOX)?.iter()? {
                let (key, _) = entry?;
                let target = key.value().0;
                match counts.get_mut(target) {
                    Some(count) => *count += 1,
                    None => drop(counts.insert(target.into(), 1)),
                }
            }
            Ok(counts)
        })
    }

    /// The latches that are set.
    ///
    /// # Errors
    /// As [`Snapshot::summary`].
    pub fn latches(&self) -> Result<Latches, StoreError> {
        self.reading(|read| {
            let mut latches = Latches::new();
            for entry in read.open_table(LATCHES)?.iter()? {
                let (key, row) = entry?;
                let (kind, subject) = key.value();
                let kind = NoticeKind::named(kind)
                    .ok_or_else(|| DbError::row("latches", RowError::Range("event")))?;
                let row: LatchRow = decode_row("latches", row.value())?;
                let subject = subject.into();
                latches.insert(LatchKey { kind, subject }, row.latch());
            }
            Ok(latches)
        })
    }
}
