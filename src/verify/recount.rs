//! Reads the logs of a run again, up to the stored read positions.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::{Findings, VerifyError};
use crate::config::Settings;
use crate::globs::layout::Layout;
use crate::logfile::run_dir::RunDir;
use crate::logfile::walk::{WalkLimits, walk};
use crate::logfile::{LogFile, LogFileError, Root, Tail};
use crate::model::{Cursor, Millis, ParserState, Position, RelativePath, RunAccounts, RunId};
use crate::reader::{self, BLOCK_BYTES, PartialLine, ReadOptions};
use crate::store::{Snapshot, Writer};

/// A run during its recount.
struct RecountedRun<'a> {
    id: &'a RunId,
    home: &'a RunDir,
    root: Root,
    accounts: Arc<RunAccounts>,
    recount: &'a mut Writer,
    settings: &'a Settings,
    now: Millis,
    /// Its positions do not sum up to the bytes read of it: one may have been moved.
    is_uneven: bool,
}

/// Reads one run's files again; `bytes` is the stored number of bytes read of them.
pub(super) fn run(
    kept: &Snapshot<'_>,
    recount: &mut Writer,
    settings: &Settings,
    (run, home): (&RunId, &RunDir),
    bytes: u64,
    now: Millis,
    findings: &mut Findings,
) -> Result<(), VerifyError> {
    let account = kept.account_of(run)?.unwrap_or_default();
    recount.register(&[(run.clone(), account.clone())], false, now)?;
    let positions = kept.positions(run)?;
    let root = match home.open() {
        Ok(root) => root,
        Err(error) => {
            if let LogFileError::Io { .. } = error {
                findings.report.unread.push(format!("run {run}: {error}"));
            }
            findings.gone += positions.len() as u64;
            findings.gone_runs.insert(run.clone());
            return Ok(());
        }
    };
    // A file that replaced another, or was read again, was counted more than once.
    let is_whole = positions.values().all(|stored| stored.cursor.generation == 0);
    let read = |stored: &Position| stored.cursor.offset.max(stored.cursor.partial_end);
    let mut reading = RecountedRun {
        id: run,
        home,
        root,
        accounts: Arc::new(RunAccounts::new(account, kept.run_accounts(run)?)),
        recount,
        settings,
        now,
        is_uneven: is_whole && positions.values().map(read).sum::<u64>() != bytes,
    };
    if let Err(error) = reading.note_unread(&positions, findings) {
        findings.report.unread.push(format!("run {run}: {error}"));
    }
    let mut bytes_read = 0;
    for (path, mut stored) in positions {
        let found = match reading.file(&path, &mut stored, findings) {
            Err(VerifyError::LogFile(error)) => {
                findings.report.unread.push(format!("run {run}: {error}"));
                false
            }
            other => other?,
        };
        if !found || stored.cursor.generation > 0 {
            findings.gone += 1;
            findings.gone_runs.insert(run.clone());
        }
        bytes_read += read(&stored);
    }
    if reading.is_uneven {
        findings.uneven.insert(run.clone(), bytes_read);
    }
    Ok(())
}

impl RecountedRun<'_> {
    /// Notes the content that was not read yet: files without a stored position, and bytes after stored
    /// positions.
    fn note_unread(
        &self,
        positions: &BTreeMap<RelativePath, Position>,
        findings: &mut Findings,
    ) -> Result<(), LogFileError> {
        let below = |path: &Path| self.home.in_runs.join(path);
        let globs = &self.settings.watch.globs;
        let limits = WalkLimits {
            files_max: self.settings.limits.files_per_run_max,
            depth_max: self.settings.limits.depth_max,
        };
        let found = walk(
            &self.root,
            |path| globs.may_contain(&below(path)),
            |path| globs.reads(&below(path)),
            limits,
        )?;
        let (mut files, mut bytes) = (0u64, 0u64);
        for path in &found.files {
            let Ok(stat) = self.root.stat(path) else { continue };
            let read = positions.get(path.as_os_str()).map_or(0, |stored| {
                let cursor = &stored.cursor;
                cursor
                    .offset
                    .max(cursor.partial_end)
                    .max(cursor.skip_to.map_or(0, std::num::NonZeroU64::get))
            });
            if stat.size > read || !positions.contains_key(path.as_os_str()) {
                files += 1;
                bytes += stat.size.saturating_sub(read);
            }
        }
        if files > 0 {
            findings.report.notes.push(format!(
                "run {}: {bytes} bytes in {files} files are not read yet",
                self.id
            ));
        }
        Ok(())
    }

    /// Reads one file again, up to the stored position; `false` if its content no longer exists. A position
    /// that was moved is corrected in `stored`.
    fn file(
        &mut self,
        path: &RelativePath,
        position: &mut Position,
        findings: &mut Findings,
    ) -> Result<bool, VerifyError> {
        let stored = &mut position.cursor;
        let full = self.home.path.join(path);
        let failed = |source| LogFileError::Io {
            path: full.clone(),
            source,
        };
        let file = match self.root.open_file(path) {
            Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => return Ok(false),
            other => other?,
        };
        let stat = file.stat().map_err(failed)?;
        let mut is_moved = false;
        if file.continues(&stat, stored).map_err(failed)?.is_none() {
            let is_plain = stored.skip_to.is_none() && stored.partial_end == 0;
            if !self.is_uneven || !is_plain || stat.inode != stored.inode {
                return Ok(false);
            }
            let Some(end) = end_of_read(&file, stored).map_err(failed)? else {
                return Ok(false);
            };
            findings.report.differs(format!(
                "{}: the stored offset is {}, and what was read ends at {end}",
                full.display(),
                stored.offset
            ));
            stored.offset = end;
            is_moved = true;
        }
        if stored.offset > 0 && !ends_a_line(&file, stored.offset).map_err(failed)? {
            findings.report.differs(format!(
                "{}: the stored offset {} is not after a line end",
                full.display(),
                stored.offset
            ));
            // It is read from the start again, which counts nothing twice.
            let again = Position {
                cursor: Cursor {
                    inode: stored.inode,
                    generation: stored.generation.wrapping_add(1),
                    origin: stored.origin,
                    ..Cursor::default()
                },
                state: ParserState::default(),
            };
            findings
                .fixes
                .positions
                .push((self.id.clone(), path.clone(), again));
            return Ok(false);
        }
        let stored = *stored;
        let Some(state) = self.read(&file, path, stored, failed)? else {
            return Ok(false);
        };
        if is_moved {
            position.state = state;
            let fix = (self.id.clone(), path.clone(), position.clone());
            findings.fixes.positions.push(fix);
        }
        Ok(true)
    }

    /// Reads a file from its start up to a cursor. Returns the parser's state there; `None` if the content
    /// changed.
    fn read(
        &mut self,
        file: &LogFile,
        path: &RelativePath,
        stored: Cursor,
        failed: impl Fn(io::Error) -> LogFileError + Copy,
    ) -> Result<Option<ParserState>, VerifyError> {
        let stat = file.stat().map_err(failed)?;
        let reading = ReadOptions {
            line_bytes_max: self.settings.limits.line_bytes_max,
            turn_bytes_max: self.settings.limits.turn_bytes_max as u64,
            count_partial: stored.partial_end > stored.offset,
            // A last line that is skipped was counted when the skip began.
            until: stored
                .offset
                .max(stored.partial_end)
                .max(stored.skip_to.map_or(0, std::num::NonZeroU64::get)),
            lines_until: None,
            waits_for_holes: false,
            is_project: self.settings.runs.layout == Layout::Projects && !self.home.is_own,
            accounts: Arc::clone(&self.accounts),
            now: self.now,
        };
        let mut position = Position {
            cursor: Cursor {
                inode: stored.inode,
                origin: stored.origin,
                ..Cursor::default()
            },
            state: ParserState::default(),
        };
        let mut tail = Tail::default();
        let mut expect = None;
        let mut buffer = Vec::new();
        let mut partial = PartialLine::default();
        loop {
            let chunk = reader::read(file, position, tail, partial, &reading, &mut buffer).map_err(failed)?;
            let more = chunk.more;
            partial = chunk.partial.nuls();
            let batch = chunk.into_batch(self.id.clone(), path.clone(), expect, &reading);
            let cursor = batch.cursor;
            expect = Some(cursor);
            let state = batch.state.clone();
            self.recount.commit(&[batch])?;
            if !more {
                return Ok(Some(state));
            }
            position = Position { cursor, state };
            tail = match file.continues(&stat, &cursor).map_err(failed)? {
                Some(tail) => tail,
                None => return Ok(None),
            };
        }
    }
}

fn ends_a_line(file: &LogFile, offset: u64) -> io::Result<bool> {
    let mut byte = [0];
    Ok(file.read_at(&mut byte, offset - 1)? == 1 && byte == *b"\n")
}

/// The line end directly after the bytes hashed in the cursor.
fn end_of_read(file: &LogFile, cursor: &Cursor) -> io::Result<Option<u64>> {
    let mut buffer = vec![0; BLOCK_BYTES];
    let (mut tail, mut offset) = (Tail::default(), 0);
    loop {
        let got = file.read_at(&mut buffer, offset)?;
        let mut taken = 0;
        for end in memchr::memchr_iter(b'\n', &buffer[..got]) {
            tail.push(&buffer[taken..=end]);
            taken = end + 1;
            if tail.length() == cursor.tail_len && tail.hash() == cursor.tail_hash {
                return Ok(Some(offset + taken as u64));
            }
        }
        tail.push(&buffer[taken..got]);
        if got < buffer.len() {
            return Ok(None);
        }
        offset += got as u64;
    }
}
