//! The file that keeps records while the collector is away.
//!
//! **Invariant**: records are on disk before they count as accepted, and leave the file only after the collector has
//! answered for all of them. A crash in between sends them again, which counts nothing twice. Processes take turns by a
//! lock on the file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::cli::exit::{Exit, Failure, OnPath};
use crate::cli::print::numbers;

/// The place and the bound of the file.
#[derive(Debug)]
pub struct Spool {
    pub path: PathBuf,
    pub bytes_max: u64,
}

/// The file, locked until it is dropped.
#[derive(Debug)]
pub struct LockedSpool<'s> {
    spool: &'s Spool,
    file: File,
}

impl Spool {
    /// Locks the file if there is one with records in it, and no other process sends it already.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn waiting(&self) -> Result<Option<LockedSpool<'_>>, Failure> {
        let file = match OpenOptions::new().read(true).write(true).open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.on_path("open", &self.path)?,
        };
        match file.try_lock() {
            Err(fs::TryLockError::WouldBlock) => return Ok(None),
            Err(fs::TryLockError::Error(error)) => return Err(Failure::on_path("lock", &self.path, &error)),
            Ok(()) => {}
        }
        let length = file.metadata().on_path("read", &self.path)?.len();
        Ok((length > 0).then_some(LockedSpool { spool: self, file }))
    }

    /// Locks the file for more records; it is created if there is none.
    ///
    /// # Errors
    /// It cannot be created or opened.
    pub fn open(&self) -> Result<LockedSpool<'_>, Failure> {
        if let Some(directory) = self.path.parent().filter(|path| !path.as_os_str().is_empty()) {
            fs::create_dir_all(directory).on_path("create", directory)?;
        }
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(&self.path).map_err(|error| {
            let mut failure = Failure::on_path("open", &self.path, &error);
            failure.message += "; name a file of your own with --spool";
            failure
        })?;
        file.lock().on_path("lock", &self.path)?;
        Ok(LockedSpool { spool: self, file })
    }
}

impl LockedSpool<'_> {
    pub fn path(&self) -> &Path {
        &self.spool.path
    }

    /// The records, one on each line.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(&mut self) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let read = self
            .file
            .rewind()
            .and_then(|()| self.file.read_to_end(&mut bytes));
        read.on_path("read", &self.spool.path)?;
        Ok(bytes)
    }

    /// Appends lines and waits until they are on disk. Returns the number of lines for which there was room.
    ///
    /// # Errors
    /// The file cannot be written; no line is in it then.
    pub fn append(&mut self, lines: &[Vec<u8>]) -> Result<usize, Failure> {
        let path = self.spool.path.clone();
        let before = self.file.seek(SeekFrom::End(0)).on_path("write", &path)?;
        let mut text = Vec::new();
        if before > 0 && !self.ends_a_line(before).on_path("read", &path)? {
            // A process was killed while it wrote: that line was not accepted.
            text.push(b'\n');
        }
        let mut taken = 0;
        for line in lines {
            if before + (text.len() + line.len() + 1) as u64 > self.spool.bytes_max {
                break;
            }
            text.extend_from_slice(line);
            text.push(b'\n');
            taken += 1;
        }
        let written = (self.file.seek(SeekFrom::End(0)))
            .and_then(|_| self.file.write_all(&text))
            .and_then(|()| self.file.sync_all());
        if let Err(error) = written {
            // A part of them may be there, and would be sent although it was not accepted.
            let _ = self.file.set_len(before);
            return Err(Failure::on_path("write", &path, &error));
        }
        Ok(taken)
    }

    fn ends_a_line(&mut self, length: u64) -> io::Result<bool> {
        let mut last = [0];
        self.file.seek(SeekFrom::Start(length - 1))?;
        self.file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }

    /// Removes all records, after they were answered.
    ///
    /// # Errors
    /// The file cannot be written; the records are sent again then.
    pub fn clear(self) -> Result<(), Failure> {
        let cleared = self.file.set_len(0).and_then(|()| self.file.sync_all());
        cleared.on_path("empty", &self.spool.path)
    }

    /// The failure for a record without room.
    pub fn full(&self, line: u64, kept: u64) -> Failure {
        let size = numbers::bytes(self.spool.bytes_max);
        let before = if kept > 0 {
            format!("{} before it are kept", numbers::counted(kept, "record"))
        } else {
            "none is kept".to_owned()
        };
        Failure::new(
            Exit::TryLater,
            format!(
                "the spool {} is full ({size}): line {line} and those after it were not taken, {before}; start the collector, \
                 or raise --spool-max, and send the same lines again",
                self.spool.path.display()
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(texts: &[&str]) -> Vec<Vec<u8>> {
        texts.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    #[test]
    fn what_is_accepted_stays_until_it_is_answered() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool {
            path: directory.path().join("a/b.spool"),
            bytes_max: 10,
        };
        assert!(spool.waiting().unwrap().is_none());
        let mut open = spool.open().unwrap();
        assert_eq!(open.append(&lines(&["one", "two"])).unwrap(), 2);
        // Another process waits for its turn, and does not send it too.
        assert!(spool.waiting().unwrap().is_none());
        assert_eq!(open.append(&lines(&["3", "four"])).unwrap(), 1);
        assert_eq!(open.append(&lines(&["5"])).unwrap(), 0);
        let full = open.full(4, 3);
        assert!(full.message.contains("line 4 and those after it"), "{full}");
        drop(open);
        let mut waiting = spool.waiting().unwrap().unwrap();
        assert_eq!(waiting.read().unwrap(), b"one\ntwo\n3\n");
        waiting.clear().unwrap();
        assert!(spool.waiting().unwrap().is_none());
    }

    #[test]
    fn a_line_that_was_cut_off_does_not_spoil_the_next() {
        let directory = tempfile::tempdir().unwrap();
        let spool = Spool {
            path: directory.path().join("b.spool"),
            bytes_max: 100,
        };
        fs::write(&spool.path, "{\"id\":").unwrap();
        spool.open().unwrap().append(&lines(&["one"])).unwrap();
        assert_eq!(
            spool.waiting().unwrap().unwrap().read().unwrap(),
            b"{\"id\":\none\n"
        );
    }
}
