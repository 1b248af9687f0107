//! Inserts rows into a table in the order of its keys: one after the other or, into an empty table, all at
//! once.

use std::borrow::Borrow;
use std::ops::{Bound, Range};

use redb::{ReadableTableMetadata, Table};

use crate::dedup::Totals;
use crate::store::error::DbError;
use crate::store::schema::{Stored, encode_after};
use crate::store::table::{get, put};

/// Typical size of a row, in bytes: memory that is reserved at once.
const ROW_BYTES_USUAL: usize = 40;

/// Number of rows inserted into a gap at once: redb collects them before it builds pages.
const GAP_ROWS_MAX: usize = 2048;

/// Rows in one buffer, so that sorting moves only their keys.
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

    pub fn push<R: Stored>(&mut self, key: K, row: &R) -> Result<(), DbError> {
        let start = self.bytes.len();
        let bytes = encode_after(std::mem::take(&mut self.bytes), row);
        self.bytes = bytes.map_err(|error| DbError::row("being written", error))?;
        self.keys.push((key, start..self.bytes.len()));
        Ok(())
    }

    /// Writes all rows.
    pub fn write(mut self, table: &mut Table<'_, K, &'static [u8]>) -> Result<(), DbError> {
        self.keys.sort_unstable_by_key(|(key, _)| *key);
        let rows = (self.keys.into_iter()).map(|(key, place)| (key, &self.bytes[place]));
        if table.is_empty()? {
            return fill(table, rows);
        }
        for (key, row) in rows {
            table.insert(key, row)?;
        }
        Ok(())
    }
}

/// Writes plain values in the order of their keys.
pub fn insert_all<K, V>(table: &mut Table<'_, K, V>, mut rows: Vec<(K, V)>) -> Result<(), DbError>
where
    K: redb::Key + for<'k> redb::Value<SelfType<'k> = K> + Copy + Ord + 'static,
    V: for<'v> redb::Value<SelfType<'v> = V> + 'static,
{
    rows.sort_unstable_by_key(|(key, _)| *key);
    if table.is_empty()? {
        return fill(table, rows.into_iter());
    }
    for (key, value) in rows {
        table.insert(key, value)?;
    }
    Ok(())
}

/// Inserts rows, sorted by key, into an empty table: into the gap at its end, without a tree descent per row.
fn fill<'k, 'v, K: redb::Key + 'static, V: redb::Value + 'static>(
    table: &mut Table<'_, K, V>,
    rows: impl Iterator<Item = (K::SelfType<'k>, V::SelfType<'v>)>,
) -> Result<(), DbError> {
    let mut rows = rows.peekable();
    while rows.peek().is_some() {
        let gap = table.upper_bound_mut(Bound::<K::SelfType<'k>>::Unbounded);
        let mut gap = gap?;
        for (key, value) in rows.by_ref().take(GAP_ROWS_MAX) {
            gap.insert_before(key, value)?;
        }
        gap.close()?;
    }
    Ok(())
}

/// Adds differences, sorted by key, to rows of sums.
pub fn add_all<K>(
    table: &mut Table<'_, K, &'static [u8]>,
    deltas: impl Iterator<Item = (K, Totals)>,
) -> Result<(), DbError>
where
    K: redb::Key + for<'k> redb::Value<SelfType<'k> = K> + Copy + Ord + 'static,
{
    add_and_see(table, deltas, |_, _| Ok(()))
}

/// As [`add_all`]; calls back for each row that is created (`true`) or removed.
pub fn add_and_see<K>(
    table: &mut Table<'_, K, &'static [u8]>,
    mut deltas: impl Iterator<Item = (K, Totals)>,
    mut see: impl FnMut(K, bool) -> Result<(), DbError>,
) -> Result<(), DbError>
where
    K: redb::Key + for<'k> redb::Value<SelfType<'k> = K> + Copy + Ord + 'static,
{
    if !table.is_empty()? {
        return deltas.try_for_each(|(key, delta)| match add(table, key, delta)? {
            Some(is_made) => see(key, is_made),
            None => Ok(()),
        });
    }
    let mut rows = Rows::with_capacity(deltas.size_hint().0);
    for (key, delta) in deltas {
        if !delta.is_zero() {
            rows.push(key, &delta)?;
            see(key, true)?;
        }
    }
    rows.write(table)
}

/// Adds a difference to a row of sums; a row of zeros is removed. Returns `true` if the row was created,
/// `false` if removed.
fn add<'k, K: redb::Key + 'static>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: impl Borrow<K::SelfType<'k>>,
    delta: Totals,
) -> Result<Option<bool>, DbError> {
    if delta.is_zero() {
        return Ok(None);
    }
    let stored: Option<Totals> = get(table, key.borrow())?;
    let mut sum = stored.unwrap_or_default();
    sum += delta;
    if sum.is_zero() {
        table.remove(key.borrow())?;
        return Ok(Some(false));
    }
    put(table, key, &sum)?;
    Ok(stored.is_none().then_some(true))
}
