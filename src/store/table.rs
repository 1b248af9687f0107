//! Rows of tables: reading, decoding, writing.

use std::borrow::Borrow;

use redb::{ReadableTable, Table, TableHandle};

use super::error::DbError;
use super::schema::{Stored, decode, encode};

/// Decodes a row of the table of this name.
pub fn decode_row<R: Stored>(table: &str, bytes: &[u8]) -> Result<R, DbError> {
    decode(bytes).map_err(|error| DbError::row(table, error))
}

/// The row of a key; `None` if there is none.
pub fn get<'k, K: redb::Key + 'static, R: Stored>(
    table: &(impl ReadableTable<K, &'static [u8]> + TableHandle),
    key: impl Borrow<K::SelfType<'k>>,
) -> Result<Option<R>, DbError> {
    let row = table.get(key)?;
    row.map(|row| decode_row(table.name(), row.value())).transpose()
}

/// Writes the row of a key.
pub fn put<'k, K: redb::Key + 'static, R: Stored>(
    table: &mut Table<'_, K, &'static [u8]>,
    key: impl Borrow<K::SelfType<'k>>,
    row: &R,
) -> Result<(), DbError> {
    let bytes = encode(row).map_err(|error| DbError::row("being written", error))?;
    table.insert(key, bytes.as_slice())?;
    Ok(())
}
