//! Reads a run's files with news, a share at a time.

use std::path::Path;
use std::time::Instant;

use super::open_files::OpenFile;
use super::{FileStamp, FileState, OPEN_FILES_MAX, SHARE_RECORDS_MAX, Tree};
use crate::logfile::unread;
use crate::logfile::{EntryKind, LogFile, LogFileError, Root, Stat, Tail};
use crate::model::{Batch, RelativePath, RunId};
use crate::parse::recognise::ContentKind;
use crate::reader::{self, PartialLine, ReadChunk, ReadOptions};

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
            match self.read_chunk(root.as_ref(), &path, reading, buffer) {
                Ok((batch, read)) => {
                    // The bytes read count, not the records: a skipped line takes time too.
                    bytes += read.max(1);
                    if let Some(batch) = batch {
                        records += batch.records.len();
                        batches.push(batch);
                    }
                }
                Err(LogFileError::Gone(_)) => self.mark_removed(&path),
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
    fn read_chunk(
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
        let Some((log, last_of_old)) = open_to_read(root, path, file, &full)? else {
            return Ok((None, 0));
        };
        let stat = log.stat().map_err(failed)?;
        let is_last = last_of_old || file.gone;
        let reads_on = reading.count_partial || is_last || file.reads_on(&stat, reading.now);
        let read_on = reads_on.then(|| ReadOptions {
            waits_for_holes: false,
            ..reading.clone()
        });
        let reading = read_on.as_ref().unwrap_or(reading);
        let (position, tail) = match &file.position() {
            Some(stored) if file.is_filled(&log).map_err(failed)? => {
                (reader::at_start(&stat, stored), Tail::default())
            }
            stored => reader::start(&log, &stat, stored.as_ref(), &self.run, path).map_err(failed)?,
        };
        let same_place = file
            .cursor
            .is_some_and(|stored| stored.generation == position.cursor.generation);
        let partial = file.partial_line(same_place);
        let chunk = reader::read(&log, position, tail, partial, reading, buffer).map_err(failed)?;
        let unread_before = file.unread_kinds();
        let due = file.take_holes(&chunk, !reads_on, same_place, Instant::now());
        file.take_content(&chunk, &log, same_place);
        self.is_noticed &= file.unread_kinds() == unread_before;
        self.hole_due = [self.hole_due, due].into_iter().flatten().min();
        let (more, read_bytes) = (chunk.more, chunk.read_bytes);
        let mut batch = file.take_batch(chunk, &self.run, path, reading);
        if let Some(batch) = &mut batch {
            batch.written_at = Some(stat.modified_ms);
        }
        self.keep_open(path, log, &stat, more, last_of_old);
        Ok((batch, read_bytes))
    }

    /// Keeps a file open after a chunk, and queues it if there is `more`, or if it was the `last_of_old`
    /// content of its path.
    fn keep_open(&mut self, path: &RelativePath, log: LogFile, stat: &Stat, more: bool, last_of_old: bool) {
        let Some(file) = self.files.get_mut(path) else {
            return;
        };
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
            file.seen = Some(FileStamp::from(stat));
            file.open = OpenFile::if_room(log);
            if file.open.is_some() {
                self.opened(path);
            }
        }
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

impl FileState {
    /// The searched part of the unfinished line, as far as it holds at the position to read from.
    fn partial_line(&self, same_place: bool) -> PartialLine {
        match same_place {
            true if self.is_reading_on() => self.partial.as_deref().copied().unwrap_or_default(),
            true => {
                (self.partial.as_deref()).map_or_else(PartialLine::default, |partial| partial.without_nuls())
            }
            false => PartialLine::default(),
        }
    }

    /// Takes over what a chunk shows of the content.
    fn take_content(&mut self, chunk: &ReadChunk, log: &LogFile, same_place: bool) {
        let known = if same_place {
            self.content
        } else {
            ContentKind::default()
        };
        self.content = match known {
            _ if !(chunk.records.is_empty() && chunk.observations.is_empty()) => ContentKind::Ours,
            ContentKind::TooShort | ContentKind::Strange => unread::content_kind(log),
            decided => decided,
        };
        self.partial = chunk
            .partial
            .is_of(&chunk.cursor)
            .then(|| Box::new(chunk.partial));
        self.active = Some(Instant::now());
    }

    /// Moves the position behind a chunk; returns its batch, if there is something to commit.
    fn take_batch(
        &mut self,
        chunk: ReadChunk,
        run: &RunId,
        path: &RelativePath,
        reading: &ReadOptions,
    ) -> Option<Batch> {
        let is_news =
            self.cursor != Some(chunk.cursor) || chunk.lines.read > 0 || self.renamed_from.is_some();
        if !is_news {
            return None;
        }
        let mut batch = chunk.into_batch(run.clone(), path.clone(), self.cursor, reading);
        batch.renamed_from = self.renamed_from.take();
        if std::mem::take(&mut self.replaces) {
            batch.cursor.generation = batch.cursor.generation.wrapping_add(1);
        }
        self.cursor = Some(batch.cursor);
        self.state = batch.state.clone();
        Some(batch)
    }
}

/// The log to read now: the open one if it is still the file at the path, or if its end was not read yet
/// (`true`: another follows); otherwise the file at the path.
fn open_to_read(
    root: Option<&Root>,
    path: &Path,
    file: &mut FileState,
    full: &Path,
) -> Result<Option<(LogFile, bool)>, LogFileError> {
    let failed = |source| LogFileError::Io {
        path: full.to_owned(),
        source,
    };
    let current = match root.map(|root| root.stat(path)) {
        Some(Ok(stat)) if stat.kind == EntryKind::File => Some(stat),
        _ => None,
    };
    if let Some(open) = file.open.take().and_then(OpenFile::take) {
        let stat = open.stat().map_err(failed)?;
        let is_same =
            current.is_some_and(|current| current.inode == stat.inode && current.device == stat.device);
        if is_same {
            return Ok(Some((open, false)));
        }
        let unread = file
            .cursor
            .is_some_and(|cursor| cursor.inode.may_be(stat.inode) && cursor.offset < stat.size);
        if unread || file.gone {
            return Ok(Some((open, current.is_some())));
        }
    }
    let Some(root) = root else {
        return Err(LogFileError::Gone(full.to_owned()));
    };
    if file.gone && current.is_none() {
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
