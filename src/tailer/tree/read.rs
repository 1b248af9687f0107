//! Reads a run's files with news, a share at a time.

use std::path::Path;
use std::time::Instant;

use super::open_files::OpenFile;
use super::{FileStamp, FileState, OPEN_FILES_MAX, SHARE_RECORDS_MAX, Tree};
use crate::logfile::unread::{self, UnreadKind};
use crate::logfile::{EntryKind, LogFile, LogFileError, Root, Tail};
use crate::model::{Batch, RelativePath};
use crate::parse::foreign::Look;
use crate::reader::{self, PartialLine, ReadOptions};

impl Tree {
    /// Reads files with news, one chunk each, until the share is full.
    #[must_use]
    pub fn read_share(&mut self, reading: &ReadOptions, buffer: &mut Vec<u8>) -> Vec<Batch> {
        let mut batches = Vec::new();
        let root = match self.home.open() {
            Ok(root) => Some(root),
            Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => None,
            // The files stay as they were, and the next scan tries again.
            Err(error) => {
                for path in std::mem::take(&mut self.queue) {
                    if let Some(file) = self.files.get_mut(&path) {
                        file.queued = false;
                        file.seen = None;
                    }
                    self.failed().files.insert(path);
                }
                self.problem_at(Path::new(""), error.to_string());
                return batches;
            }
        };
        let (mut bytes, mut records) = (0, 0);
        while bytes < reading.turn_bytes_max
            && records < SHARE_RECORDS_MAX as usize
            && let Some(path) = self.queue.pop_front()
        {
            if let Some(file) = self.files.get_mut(&path) {
                file.queued = false;
            }
            match self.turn(root.as_ref(), &path, reading, buffer) {
                Ok((batch, read)) => {
                    // The bytes read count, not the records: a skipped line takes time too.
                    bytes += read.max(1);
                    if let Some(batch) = batch {
                        records += batch.records.len();
                        batches.push(batch);
                    }
                }
                Err(LogFileError::Gone(_)) => self.vanish(&path),
                // A file in its place is found at the next listing of its directory.
                Err(LogFileError::Refused(_)) => {}
                // The next scan tries again.
                Err(error) => {
                    self.problem_at(&path, error.to_string());
                    self.failed().files.insert(path);
                }
            }
        }
        batches
    }

    /// Reads a chunk of one file; returns its batch, if there is one, and the number of bytes read.
    fn turn(
        &mut self,
        root: Option<&Root>,
        path: &RelativePath,
        reading: &ReadOptions,
        buffer: &mut Vec<u8>,
    ) -> Result<(Option<Batch>, u64), LogFileError> {
        let full = self.home.path.join(path);
        let failed = |source| LogFileError::Io {
            path: full.clone(),
            source,
        };
        #[cfg(test)]
        fault::strike(path);
        let Some(file) = self.files.get_mut(path) else {
            return Ok((None, 0));
        };
        let Some((log, last_of_old)) = open_for_turn(root, path, file, &full)? else {
            return Ok((None, 0));
        };
        let stat = log.stat().map_err(failed)?;
        let stored = file.position();
        let is_last = last_of_old || file.gone;
        let reads_on = reading.settle || is_last || file.reads_on(&stat, reading.now);
        let read_on;
        let reading = if reads_on {
            read_on = ReadOptions {
                waits_for_holes: false,
                ..reading.clone()
            };
            &read_on
        } else {
            reading
        };
        let (position, tail) = match &stored {
            Some(stored) if file.is_filled(&log).map_err(failed)? => {
                (reader::anew(&stat, stored), Tail::default())
            }
            stored => reader::start(&log, &stat, stored.as_ref(), &self.run, path).map_err(failed)?,
        };
        let same_place = file
            .cursor
            .is_some_and(|stored| stored.generation == position.cursor.generation);
        let scanned = match same_place {
            true if file.is_reading_on() => file.scanned,
            true => file.scanned.without_nuls(),
            false => PartialLine::default(),
        };
        let turn = reader::read(&log, position, tail, scanned, reading, buffer).map_err(failed)?;
        let had_passed = file.has_passed_holes();
        let due = file.take_holes(&turn, !reads_on, same_place, Instant::now());
        self.is_noticed &= file.has_passed_holes() == had_passed;
        self.hole_due = [self.hole_due, due].into_iter().flatten().min();
        let (more, read_bytes) = (turn.more, turn.read_bytes);
        let known = if same_place { file.look } else { Look::default() };
        let look = match known {
            _ if !(turn.records.is_empty() && turn.observations.is_empty()) => Look::Ours,
            Look::TooShort | Look::Strange => unread::look(&log),
            clear => clear,
        };
        self.is_noticed &= UnreadKind::of(look) == UnreadKind::of(file.look);
        file.look = look;
        file.scanned = turn.scanned;
        file.active = Some(Instant::now());
        let is_news = file.cursor != Some(turn.cursor) || turn.lines.read > 0 || file.renamed_from.is_some();
        let batch = is_news.then(|| {
            let mut batch = turn.into_batch(self.run.clone(), path.clone(), file.cursor, reading);
            batch.written_at = Some(stat.modified_ms);
            batch.renamed_from = file.renamed_from.take();
            if std::mem::take(&mut file.replaces) {
                batch.cursor.generation = batch.cursor.generation.wrapping_add(1);
            }
            file.cursor = Some(batch.cursor);
            file.state = batch.state.clone();
            batch
        });
        if more || last_of_old {
            // Its rest, or the content that replaced it, is read next.
            file.open = match (more, last_of_old || file.gone) {
                (false, _) => None,
                (true, false) => OpenFile::if_room(log),
                (true, true) => Some(OpenFile::always(log)),
            };
            self.enqueue(path.clone());
        } else if file.gone {
            file.open = None;
        } else {
            file.seen = Some(FileStamp::from(&stat));
            file.open = OpenFile::if_room(log);
            if file.open.is_some() {
                self.opened(path);
            }
        }
        Ok((batch, read_bytes))
    }

    /// Records that a file is open; closes the least recently read one if there are too many.
    fn opened(&mut self, path: &RelativePath) {
        self.open.retain(|open| open != path);
        self.open.push_back(path.clone());
        if self.open.len() > OPEN_FILES_MAX
            && let Some(oldest) = self.open.pop_front()
            && let Some(file) = self.files.get_mut(&oldest)
        {
            file.open = None;
        }
    }

    /// Closes files without news for a while, so that their filesystem can be unmounted.
    pub fn close_idle(&mut self, idle: std::time::Duration, now: Instant) {
        let files = &mut self.files;
        self.open.retain(|path| {
            let Some(file) = files.get_mut(path) else {
                return false;
            };
            let keep = file
                .active
                .is_some_and(|active| now.duration_since(active) < idle);
            if !keep {
                file.open = None;
            }
            keep && file.open.is_some()
        });
    }
}

/// The log to read now: the open one if it is still the file at the path, or if its end was not read yet
/// (`true`: another follows); otherwise the file at the path.
fn open_for_turn(
    root: Option<&Root>,
    path: &Path,
    file: &mut FileState,
    full: &Path,
) -> Result<Option<(LogFile, bool)>, LogFileError> {
    let failed = |source| LogFileError::Io {
        path: full.to_owned(),
        source,
    };
    let stands = match root.map(|root| root.stat(path)) {
        Some(Ok(stat)) if stat.kind == EntryKind::File => Some(stat),
        _ => None,
    };
    if let Some(open) = file.open.take().and_then(OpenFile::take) {
        let stat = open.stat().map_err(failed)?;
        let is_same = stands.is_some_and(|stands| stands.inode == stat.inode && stands.device == stat.device);
        if is_same {
            return Ok(Some((open, false)));
        }
        let unread = file
            .cursor
            .is_some_and(|cursor| cursor.inode.may_be(stat.inode) && cursor.offset < stat.size);
        if unread || file.gone {
            return Ok(Some((open, stands.is_some())));
        }
    }
    let Some(root) = root else {
        return Err(LogFileError::Gone(full.to_owned()));
    };
    if file.gone && stands.is_none() {
        return Ok(None);
    }
    root.open_file(path).map(|log| Some((log, false)))
}

/// A reader that panics, for tests of the effects of a panic on other runs.
#[cfg(test)]
pub mod fault {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// The number of further chunks of a file called `panics.jsonl` that panic.
    pub static PANICS_LEFT: AtomicU32 = AtomicU32::new(0);

    /// # Panics
    /// When panics are left.
    pub fn strike(path: &Path) {
        let strikes = path.ends_with("panics.jsonl")
            && PANICS_LEFT
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
        assert!(!strikes, "a panic was asked for");
    }
}
