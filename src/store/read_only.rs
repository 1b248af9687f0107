//! Read-only access to a database file. Everything that opening it would write stays in memory.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard};

use redb::StorageBackend;

use crate::sync::lock;

/// Copy-on-write page size, in bytes.
const PIECE_BYTES: usize = 4096;

/// The file, with a shared lock against writers.
#[derive(Debug)]
pub struct ReadOnlyFile {
    file: File,
    written: Mutex<Written>,
}

/// The virtual contents: the file, with the pages written over it.
#[derive(Debug)]
struct Written {
    length: u64,
    /// Number of bytes at the start that are the file's; bytes beyond this are zero.
    of_file: u64,
    /// Written pages, by number.
    pieces: BTreeMap<u64, Box<[u8; PIECE_BYTES]>>,
}

impl ReadOnlyFile {
    /// `None` if another process writes the file.
    ///
    /// # Errors
    /// The length of the file cannot be read.
    pub fn new(file: File) -> io::Result<Option<Self>> {
        // Without support for locks, writers have none either.
        if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
            return Ok(None);
        }
        let length = file.metadata()?.len();
        let written = Mutex::new(Written {
            length,
            of_file: length,
            pieces: BTreeMap::new(),
        });
        Ok(Some(Self { file, written }))
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        lock(&self.written)
    }

    /// Reads the file up to `of_file`; bytes beyond this are zero.
    fn read_file(&self, of_file: u64, mut offset: u64, out: &mut [u8]) -> io::Result<()> {
        let left = usize::try_from(of_file.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (mut out, behind) = out.split_at_mut(left.min(out.len()));
        behind.fill(0);
        while !out.is_empty() {
            match self.file.read_at(out, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => {
                    out = &mut out[count..];
                    offset += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The parts of a range by page: the page's number, the offset in the page, the offset in the range, the
/// length.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
    let piece_bytes = PIECE_BYTES as u64;
    let mut done = 0;
    std::iter::from_fn(move || {
        if done == length {
            return None;
        }
        let at = offset + done as u64;
        let within = usize::try_from(at % piece_bytes).unwrap_or(0);
        let count = (PIECE_BYTES - within).min(length - done);
        let part = (at / piece_bytes, within, done, count);
        done += count;
        Some(part)
    })
}

impl StorageBackend for ReadOnlyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.written().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let written = self.written();
        let end = offset.checked_add(out.len() as u64);
        if end.is_none_or(|end| end > written.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read_file(written.of_file, offset, out)?;
        if written.pieces.is_empty() {
            return Ok(());
        }
        for (number, within, at, count) in parts(offset, out.len()) {
            if let Some(piece) = written.pieces.get(&number) {
                out[at..at + count].copy_from_slice(&piece[within..within + count]);
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut written = self.written();
        written.length = length;
        written.of_file = written.of_file.min(length);
        // Bytes beyond the new length are zero if it grows again.
        let piece_bytes = PIECE_BYTES as u64;
        drop(written.pieces.split_off(&length.div_ceil(piece_bytes)));
        let within = usize::try_from(length % piece_bytes).unwrap_or(0);
        if let Some(piece) = written.pieces.get_mut(&(length / piece_bytes)) {
            piece[within..].fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut written = self.written();
        let of_file = written.of_file;
        for (number, within, at, count) in parts(offset, data.len()) {
            let piece = match written.pieces.entry(number) {
                Entry::Occupied(kept) => kept.into_mut(),
                Entry::Vacant(vacant) => {
                    let mut piece = Box::new([0; PIECE_BYTES]);
                    self.read_file(of_file, number * PIECE_BYTES as u64, &mut *piece)?;
                    vacant.insert(piece)
                }
            };
            piece[within..within + count].copy_from_slice(&data[at..at + count]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_file_with_what_was_written_and_the_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let mut model: Vec<u8> = (0..PIECE_BYTES * 3 + 100)
            .map(|at| u8::try_from(at % 251).unwrap())
            .collect();
        std::fs::write(&path, &model).unwrap();
        let before = model.clone();
        let backend = ReadOnlyFile::new(File::open(&path).unwrap()).unwrap().unwrap();
        let seed = fastrand::u64(..);
        println!("the seed is {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for _ in 0..2000 {
            if random.u8(..10) == 0 {
                let length = random.usize(..PIECE_BYTES * 5);
                backend.set_len(length as u64).unwrap();
                model.resize(length, 0);
            } else if !model.is_empty() {
                let start = random.usize(..model.len());
                let count = random.usize(..=(model.len() - start).min(PIECE_BYTES * 2));
                let data: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(count).collect();
                backend.write(start as u64, &data).unwrap();
                model[start..start + count].copy_from_slice(&data);
            }
            let mut whole = vec![1; model.len()];
            assert_eq!(backend.len().unwrap(), model.len() as u64);
            backend.read(0, &mut whole).unwrap();
            assert!(whole == model);
        }
        assert!(std::fs::read(&path).unwrap() == before);
        let mut beyond = [0];
        assert!(backend.read(model.len() as u64, &mut beyond).is_err());
    }

    #[test]
    fn a_file_that_is_written_is_not_looked_at_and_many_may_look() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let writer = File::create(&path).unwrap();
        writer.lock().unwrap();
        let look = || ReadOnlyFile::new(File::open(&path).unwrap()).unwrap();
        assert!(look().is_none());
        drop(writer);
        let first = look();
        assert!(first.is_some() && look().is_some());
    }
}
