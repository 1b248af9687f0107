//! A copy of the database as of its last commit.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::StoreError;
use super::write::Writer;

impl Writer {
    /// Copies the database into an unnamed file beside it, which is deleted when its handle is closed. As
    /// only this process writes, the copy is of the state between two commits: it is as a `kill` would leave
    /// the database, and opens like that.
    ///
    /// # Errors
    /// There is not enough space for a copy, or the database cannot be read.
    pub fn copied(&self) -> Result<File, StoreError> {
        self.in_place()?;
        let copy = || -> io::Result<File> {
            let mut from = File::open(self.path())?;
            let directory = self.path().parent().unwrap_or(Path::new("/"));
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let mut to = File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?);
            // Where the filesystem supports it, both files share their blocks.
            io::copy(&mut from, &mut to)?;
            Ok(to)
        };
        copy().map_err(|source| StoreError::Copy {
            path: self.path().to_owned(),
            source,
        })
    }

    /// Copies the database, which nothing writes meanwhile, to a file with this suffix; the copy is synced to
    /// the disk when this returns its path.
    ///
    /// # Errors
    /// There is not enough space for a copy, such a file exists, or the database cannot be read.
    pub fn copy_beside(&self, suffix: &str) -> Result<PathBuf, StoreError> {
        let mut name = self.path().as_os_str().to_owned();
        name.push(".");
        name.push(suffix);
        let beside = PathBuf::from(name);
        let copy = || -> io::Result<()> {
            let mut from = File::open(self.path())?;
            let mut to = (File::options().write(true).create_new(true))
                .mode(0o600)
                .open(&beside)?;
            io::copy(&mut from, &mut to)?;
            to.sync_all()?;
            File::open(beside.parent().unwrap_or(Path::new("/")))?.sync_all()
        };
        copy().map_err(|source| StoreError::Copy {
            path: self.path().to_owned(),
            source,
        })?;
        Ok(beside)
    }
}
