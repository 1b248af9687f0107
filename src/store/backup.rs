//! A copy of the database as of its last commit.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use super::{Store, StoreError};

impl Store {
    /// Copies the database into a file without a name beside it, which goes with its handle. Called by the only
    /// writer, between two commits: what is copied is what a `kill` would leave, and opens like that.
    ///
    /// # Errors
    /// When there is no room for a copy, or the database cannot be read.
    pub fn copied(&self) -> Result<File, StoreError> {
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
}
