//! Rows on their way into a table, in the order of its keys: one after the other or, into an empty table, all at once.

use std::borrow::Borrow;
use std::ops::{Bound, Range};

use redb::{ReadableTable, ReadableTableMetadata, Table};

use super::commit::put;
use super::schema::{Stored, decode, encode_after};
use super::{Store, StoreError};
use crate::dedup::Totals;

/// What a row mostly takes, in bytes: room that is asked for at once.
const ROW_BYTES_USUAL: usize = 40;

/// Rows put into a gap at once: redb gathers them before it makes pages of them.
const GAP_ROWS_MAX: usize = 2048;

/// Rows written side by side into one piece of memory, so that sorting moves only their keys.
pub struct Rows<K> {
    keys: Vec<(K, Range<usize>)>,
    bytes: Vec<u8>,
}

impl<K: redb::Key + 'static> Rows<K>
where
    K: for<'k> redb::Value<SelfType<'k> = K> + Copy + Ord,
{
    pub fn with_capacity(rows: usize) -> Self {
        Self {
            keys: Vec::with_capacity(rows),
            bytes: Vec::with_capacity(rows * ROW_BYTES_USUAL),
        }
    }

    pub fn push<R: Stored>(&mut self, store: &Store, key: K, row: &R) -> Result<(), StoreError> {
        let start = self.bytes.len();
        let bytes = encode_after(std::mem::take(&mut self.bytes), row);
        self.bytes = bytes.map_err(|e| store.row_error("being written", &e))?;
        self.keys.push((key, start..self.bytes.len()));
        Ok(())
    }

    /// Writes all of them.
    pub fn write(mut self, store: &Store, table: &mut Table<'_, K, &'static [u8]>) -> Result<(), StoreError> {
        self.keys.sort_unstable_by_key(|(key, _)| *key);
        let rows = (self.keys.into_iter()).map(|(key, place)| (key, &self.bytes[place]));
        if table.is_empty().map_err(|e| store.error(e))? {
            return fill(store, table, rows);
        }
        for (key, row) in rows {
            table.insert(key, row).map_err(|e| store.error(e))?;
        }
        Ok(())
    }
}

/// Puts rows, sorted by key, into an empty table: into the gap at its end, without a way down the tree for each.
fn fill<'k, 'v, K: redb::Key + 'static, V: redb::Value + 'static>(
    store: &Store,
    table: &mut Table<'_, K, V>,
    rows: impl Iterator<Item = (K::SelfType<'k>, V::SelfType<'v>)>,
) -> Result<(), StoreError> {
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let gap = table.upper_bound_mut(Bound::<K::SelfType<'k>>::Unbounded);
        let mut gap = gap.map_err(|e| store.error(e))?;
        for (key, value) in rows.by_ref().take(GAP_ROWS_MAX) {
            gap.insert_before(key, value).map_err(|e| store.error(e))?;
        }
        gap.close().map_err(|e| store.error(e))?;
    }
    Ok(())
}

/// Adds differences, sorted by key, to rows of sums.
pub fn add_all<K>(
    store: &Store,
    table: &mut Table<'_, K, &'static [u8]>,
    name: &str,
    mut deltas: impl Iterator<Item = (K, Totals)>,
) -> Result<(), StoreError>
where
    K: redb::Key + for<'k> redb::Value<SelfType<'k> = K> + Copy + Ord + 'static,
{
    if !table.is_empty().map_err(|e| store.error(e))? {
        return deltas.try_for_each(|(key, delta)| add(store, table, name, key, delta));
    }
    let mut rows = Rows::with_capacity(deltas.size_hint().0);
    for (key, delta) in deltas {
        if !delta.is_zero() {
            rows.push(store, key, &delta)?;
        }
    }
    rows.write(store, table)
}

/// Adds a difference to a row of sums; a row that comes to nothing is removed.
pub fn add<'k, K: redb::Key + 'static>(
    store: &Store,
    table: &mut Table<'_, K, &'static [u8]>,
    name: &str,
    key: impl Borrow<K::SelfType<'k>>,
    delta: Totals,
) -> Result<(), StoreError> {
    if delta.is_zero() {
        return Ok(());
    }
    let mut sum: Totals = match table.get(key.borrow()).map_err(|e| store.error(e))? {
        Some(row) => decode(row.value()).map_err(|e| store.row_error(name, &e))?,
        None => Totals::default(),
    };
    sum += delta;
    if sum.is_zero() {
        table.remove(key.borrow()).map_err(|e| store.error(e))?;
        return Ok(());
    }
    put(store, table, key, &sum)
}
