//! The log files of runs: their paths and read positions.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use redb::{ReadableTable, Table, WriteTransaction};

use crate::model::{FileNumber, Position, RunNumber};
use crate::store::error::DbError;
use crate::store::schema::{FILES, FileRow, PATHS, RowError};
use crate::store::table::{get, put};

/// The tables of files, in a transaction.
pub struct FileTables<'t> {
    paths: Table<'t, (u32, &'static [u8]), u32>,
    files: Table<'t, u32, &'static [u8]>,
}

impl<'t> FileTables<'t> {
    pub fn new(write: &'t WriteTransaction) -> Result<Self, DbError> {
        Ok(Self {
            paths: write.open_table(PATHS)?,
            files: write.open_table(FILES)?,
        })
    }

    /// The file at a path (or at the path it was renamed from) and its read position.
    pub fn stored(
        &self,
        run: RunNumber,
        path: &Path,
        renamed_from: Option<&Path>,
    ) -> Result<Option<(FileNumber, Position)>, DbError> {
        let path = renamed_from.unwrap_or(path).as_os_str().as_bytes();
        let Some(file) = self.paths.get((run, path))?.map(|file| file.value()) else {
            return Ok(None);
        };
        let row: Option<FileRow> = get(&self.files, file)?;
        let row = row.ok_or_else(|| DbError::row("paths", RowError::Range("file")))?;
        Ok(Some((file, row.position())))
    }

    /// An unused file number.
    pub fn next_number(&self) -> Result<FileNumber, DbError> {
        let last = self.files.last()?.map(|(file, _)| file.value());
        Ok(last.map_or(0, |last| last + 1))
    }

    pub fn put(&mut self, file: FileNumber, row: &FileRow) -> Result<(), DbError> {
        put(&mut self.files, file, row)
    }

    /// Links `path` to `file` and unlinks the path it was renamed from. Returns true if the row of another
    /// file was replaced.
    pub fn link(
        &mut self,
        run: RunNumber,
        file: FileNumber,
        path: &Path,
        renamed_from: Option<&Path>,
    ) -> Result<bool, DbError> {
        if let Some(old) = renamed_from {
            self.paths.remove((run, old.as_os_str().as_bytes()))?;
        }
        let before = self.paths.insert((run, path.as_os_str().as_bytes()), file)?;
        let replaced = before
            .map(|before| before.value())
            .filter(|before| *before != file);
        if let Some(replaced) = replaced {
            self.files.remove(replaced)?;
        }
        Ok(replaced.is_some())
    }
}
