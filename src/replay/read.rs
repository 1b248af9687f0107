//! Read of a replay: files in the order of their sizes, several readers, batches in chunks to the committer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;

use super::discover::Source;
use super::{ReplayError, ReplayOptions};
use crate::config::Accounts;
use crate::logfile::unread::{self, UnreadKind};
use crate::logfile::{LogFileError, Root};
use crate::model::{Batch, Position, RelativePath, RunAccounts, RunId};
use crate::reader::{self, PartialLine, ReadOptions};
use crate::store::Snapshot;
use crate::sync::lock;

/// A reader sends a chunk at this number of rows or batches, so that small files do not cause a wake-up each.
const CHUNK_ROWS_MAX: usize = 2048;
const CHUNK_BATCHES_MAX: usize = 64;

/// A file to read.
pub struct Task<'s> {
    source: &'s Source,
    path: RelativePath,
    stored: Option<Position>,
    pub size: u64,
    accounts: Arc<RunAccounts>,
}

/// All files: the largest run first and its largest file, so that the readers end together and stay in one run.
pub fn tasks<'s>(
    snapshot: &Snapshot<'_>,
    sources: &'s [Source],
    accounts: &Accounts,
) -> Result<Vec<Task<'s>>, ReplayError> {
    let size_of = |source: &Source| source.files.iter().map(|file| file.size).sum::<u64>();
    let mut sources: Vec<_> = sources.iter().map(|source| (size_of(source), source)).collect();
    sources.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let runs: Vec<RunId> = sources.iter().map(|(_, source)| source.run.clone()).collect();
    let mut tasks = Vec::new();
    for ((_, source), known) in sources.into_iter().zip(snapshot.stored_runs(&runs)?) {
        let mut positions = known.positions;
        let (own, labels) = (known.info).map_or_else(Default::default, |info| (info.account, info.labels));
        let accounts = Arc::new(accounts.of_providers(&source.run, &labels, own));
        let first = tasks.len();
        tasks.extend(source.files.iter().map(|file| {
            let path: RelativePath = file.path.as_path().into();
            Task {
                source,
                stored: positions.remove(&path),
                path,
                size: file.size,
                accounts: Arc::clone(&accounts),
            }
        }));
        tasks[first..].sort_by_key(|task| std::cmp::Reverse(task.size));
    }
    Ok(tasks)
}

/// One reader: takes file after file, until `next` is beyond the last.
pub fn read_some(
    options: &ReplayOptions,
    tasks: &[Task<'_>],
    next: &AtomicUsize,
    chunks: &SyncSender<Vec<Batch>>,
) -> Result<(), ReplayError> {
    let mut buffer = Vec::new();
    let mut sender = BatchSender {
        chunk: Vec::new(),
        rows: 0,
        chunks,
    };
    // The run that was read last stays open: most files are of the same run as the one before.
    let mut last: Option<(&Source, Root)> = None;
    while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
        let read = match last.take() {
            Some(open) if std::ptr::eq(open.0, task.source) => Ok(open.1),
            _ => Root::open_given(&task.source.directory),
        };
        let read = read.and_then(|root| {
            let (_, root) = last.insert((task.source, root));
            read_file(options, task, root, &mut buffer, &mut sender)
        });
        match read {
            // Deleted since the walk: as if it had been before.
            Err(LogFileError::Gone(_)) => {}
            other => other?,
        }
    }
    sender.send();
    Ok(())
}

/// A reader's batches on their way to the committer.
struct BatchSender<'p> {
    chunk: Vec<Batch>,
    rows: usize,
    chunks: &'p SyncSender<Vec<Batch>>,
}

impl BatchSender<'_> {
    /// Takes a batch; returns false if the committer ended.
    fn add(&mut self, batch: Batch) -> bool {
        self.rows += batch.records.len();
        self.chunk.push(batch);
        if self.rows < CHUNK_ROWS_MAX && self.chunk.len() < CHUNK_BATCHES_MAX {
            return true;
        }
        self.send()
    }

    fn send(&mut self) -> bool {
        self.rows = 0;
        self.chunks.send(std::mem::take(&mut self.chunk)).is_ok()
    }
}

fn read_file(
    options: &ReplayOptions,
    task: &Task<'_>,
    root: &Root,
    buffer: &mut Vec<u8>,
    sender: &mut BatchSender<'_>,
) -> Result<(), LogFileError> {
    let full = task.source.directory.join(&task.path);
    let failed = |source| LogFileError::Io {
        path: full.clone(),
        source,
    };
    let file = root.open_file(&task.path)?;
    let stat = file.stat().map_err(failed)?;
    let reading = ReadOptions {
        line_bytes_max: options.limits.line_bytes_max,
        turn_bytes_max: options.limits.turn_bytes_max as u64,
        count_partial: true,
        until: u64::MAX,
        lines_until: options.until,
        waits_for_holes: false,
        is_project: task.source.is_project,
        accounts: Arc::clone(&task.accounts),
        now: options.now,
    };
    let mut stored = task.stored.clone();
    let (mut has_any, mut has_holes) = (false, false);
    let mut partial = PartialLine::default();
    loop {
        let (position, tail) =
            reader::start(&file, &stat, stored.as_ref(), &task.source.run, &task.path).map_err(failed)?;
        let expect = stored.as_ref().map(|stored| stored.cursor);
        let chunk = reader::read(&file, position, tail, partial, &reading, buffer).map_err(failed)?;
        let more = chunk.more;
        partial = chunk.partial.nuls();
        has_holes |= !chunk.passed.is_empty();
        has_any |= !chunk.records.is_empty() || !chunk.observations.is_empty();
        if expect != Some(chunk.cursor) || chunk.lines.read > 0 {
            let batch = chunk.into_batch(task.source.run.clone(), task.path.clone(), expect, &reading);
            stored = Some(Position {
                cursor: batch.cursor,
                state: batch.state.clone(),
            });
            // The committer ended with an error, which it returns itself.
            if !sender.add(batch) {
                return Ok(());
            }
        }
        if !more {
            break;
        }
    }
    let strange = (!has_any)
        .then(|| UnreadKind::of(unread::content_kind(&file)))
        .flatten();
    let hole = has_holes.then_some(UnreadKind::Hole);
    for kind in strange.into_iter().chain(hole) {
        let mut unread = lock(&task.source.unread);
        unread.add(kind, &task.path, None);
    }
    Ok(())
}
