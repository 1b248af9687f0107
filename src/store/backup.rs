//! A copy of the database as of its last commit.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::StoreError;
use super::write::Writer;

impl Writer {
    /// Copies the database into a file without a name beside it, which goes with its handle. As only this
    /// writes, it is between two commits: what is copied is what a `kill` would leave, and opens like that.
    ///
    /// # Errors
    /// When there is no room for a copy, or the database cannot be read.
    pub fn copied(&self) -> Result<File, StoreError> {
        self.in_place()?;
        let copy = || -> io::Result<File> {
            let mut from = File::open(self.path())?;
            let directory = self.path().parent().unwrap_or(Path::new("/"));
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            let mut to = File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?);
            // Where the filesystem can, both share their blocks.
            io::copy(&mut from, &mut to)?;
            Ok(to)
        };
        copy().map_err(|source| StoreError::Copy {
            path: self.path().to_owned(),
            source,
        })
    }

    /// Copies the database, which nobody writes meanwhile, to a file of its name with this behind it; on the disk when
    /// this returns its path.
    ///
    /// # Errors
    /// When there is no room for a copy, such a file is there already, or the database cannot be read.
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
