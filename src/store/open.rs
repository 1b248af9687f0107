//! Opening: a reader and a writer, or a reader alone.

use std::sync::Arc;

use super::database::DatabaseSlot;
use super::error::StoreError;
use super::file::{DatabaseFile, StoreOptions};
use super::read::Reader;
use super::write::Writer;

/// Opens the database, creates a missing one, and replaces a damaged one by a new one.
///
/// # Errors
/// Another process uses it, it is of another schema, or the disk prevents its use.
pub fn open(options: StoreOptions) -> Result<(Reader, Writer), StoreError> {
    let mut writer = closed(options);
    match writer.reopen() {
        Err(error) if error.is_damage() => writer.replace(&error.to_string())?,
        other => other?,
    }
    Ok((writer.reader().clone(), writer))
}

/// Opens an existing database for writing: nothing is created, replaced or set aside.
///
/// # Errors
/// As [`open`]; for a damaged or missing file too.
pub fn open_existing(options: StoreOptions) -> Result<(Reader, Writer), StoreError> {
    if let Some(path) = &options.path {
        std::fs::metadata(path).map_err(|source| StoreError::Io {
            path: path.clone(),
            source,
        })?;
    }
    let mut writer = closed(options);
    writer.reopen()?;
    Ok((writer.reader().clone(), writer))
}

/// Opens an existing database for reading: its file is only read, so read permission is enough.
///
/// # Errors
/// As [`open_existing`].
pub fn open_read_only(options: StoreOptions) -> Result<Reader, StoreError> {
    let slot = DatabaseSlot::new(DatabaseFile::new(options, true));
    slot.reopen(false)?;
    Ok(Reader::new(Arc::new(slot)))
}

fn closed(options: StoreOptions) -> Writer {
    let slot = DatabaseSlot::new(DatabaseFile::new(options, false));
    Writer::new(Reader::new(Arc::new(slot)))
}
