//! Dense pages for the table of responses.
//!
//! A tombstone takes less room in its page than the row before it, and the page stays: new responses, whose keys are
//! random, fill it again. A compaction of the file moves pages and does not join them, so the rows are written anew.

use std::ops::Bound;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use crate::store::error::{DbError, StoreError};
use crate::store::schema::RESPONSES;
use crate::store::write::Writer;

/// The new table until it takes the place of the old one.
const PACKED: TableDefinition<'static, u128, &'static [u8]> = TableDefinition::new("responses_packed");
/// Rows that are inserted into a gap at once: they are collected before pages are built.
const CHUNK_ROWS: usize = 2048;

impl Writer {
    /// Frees the space in the file that holds nothing. Waits for open snapshots, and needs as much room as the rows of
    /// responses take.
    ///
    /// # Errors
    /// The disk fails; nothing is lost by that.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        self.transact(pack_responses)?;
        self.slot().compact()
    }
}

/// Writes all rows of `responses` into pages without gaps.
fn pack_responses(write: &WriteTransaction) -> Result<(), DbError> {
    {
        let responses = write.open_table(RESPONSES)?;
        let mut packed = write.open_table(PACKED)?;
        let mut rows = responses.iter()?.peekable();
        while rows.peek().is_some() {
            let mut gap = packed.upper_bound_mut(Bound::<u128>::Unbounded)?;
            for entry in rows.by_ref().take(CHUNK_ROWS) {
                let (key, row) = entry?;
                gap.insert_before(key.value(), row.value())?;
            }
            gap.close()?;
        }
    }
    write.delete_table(RESPONSES)?;
    write.rename_table(PACKED, RESPONSES)?;
    Ok(())
}
