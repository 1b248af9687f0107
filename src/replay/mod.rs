//! Replay: reads transcripts once, to the end, with the parts of the collector.
//!
//! Several readers (`read.rs`) send batches to one committing thread (`commit.rs`). The result does not depend
//! on which reader is faster: the totals never do, and ties between runs are decided by the order of the runs.

mod commit;
mod discover;
mod read;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;

use crate::api::document::summary;
use crate::api::wire;
use crate::config::{Accounts, Limits};
use crate::globs::layout::Layout;
use crate::globs::{GlobError, Globs};
use crate::logfile::{LogFileError, remedy};
use crate::model::{Millis, RunId};
use crate::prices::PriceList;
use crate::store::{self, Snapshot, StoreError, StoreOptions, Writer};
use crate::verdict::EvalContext;

use discover::{NamedPath, Source};
use read::Task;

/// Chunks of batches in the queue to the committer; at this bound the readers wait.
const CHUNKS_WAITING_MAX: usize = 32;
/// At most this many readers.
const READERS_MAX: usize = 8;

/// The error of a replay without a result.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot read {path}: {source}{}", remedy(.source))]
    Path { path: PathBuf, source: std::io::Error },
    #[error(
        "{0} holds more than limits.files_per_run_max files or is deeper than limits.depth_max; raise the limit"
    )]
    Bounds(PathBuf),
    #[error("two paths make one run {0}; replay them one after the other with --db")]
    TwiceTheSameRun(RunId),
    #[error("no transcript below {path}: no file there matches {}; {}", .patterns.join(" or "), advice(.unread))]
    Nothing {
        path: PathBuf,
        patterns: Vec<String>,
        unread: Vec<String>,
    },
    #[error("no transcript in {path}: {}", .unread.join("; "))]
    NoTranscript { path: PathBuf, unread: Vec<String> },
    #[error("{0} is compressed; unpack it first")]
    Compressed(PathBuf),
    #[error("{0}; without it the totals would not be whole, so there are none")]
    LogFile(#[from] LogFileError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Globs(#[from] GlobError),
    #[error("{path} changed under two writers of the database; replay again")]
    Stale { path: PathBuf },
}

/// The advice where no transcript is; each unread entry has its own.
fn advice(unread: &[String]) -> String {
    if unread.is_empty() {
        return "name a directory of runs (each with its logs in mount), a directory of projects (as ~/.claude/projects), \
                a run's mount, or a transcript itself"
            .to_owned();
    }
    unread.join("; ")
}

/// The paths to replay, and the settings.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    pub paths: Vec<PathBuf>,
    pub globs: Globs,
    /// The layout that the globs are for.
    pub layout: Layout,
    /// `layout` is the layout of the paths; otherwise the layout follows from what they hold.
    pub layout_given: bool,
    pub limits: Limits,
    pub store: StoreOptions,
    pub commit_rows_max: usize,
    pub accounts: Accounts,
    pub quota_zone: jiff::tz::TimeZone,
    pub prices: Arc<PriceList>,
    /// The time of day, or the time the caller wants it to be.
    pub now: Millis,
    /// Leave out lines of a later time.
    pub until: Option<Millis>,
    /// `now` is also that of the document; otherwise that is the latest line time read.
    pub now_given: bool,
}

/// The progress of a replay.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayProgress {
    pub bytes: u64,
    pub files: u64,
    pub responses: u64,
}

/// The result of a replay.
#[derive(Debug)]
pub struct Replayed {
    pub summary: wire::Summary,
    /// Sentences on what was left alone.
    pub warnings: Vec<String>,
}

/// Replays, as [`replay_then`] without a question.
///
/// # Errors
/// As [`replay_then`].
pub fn replay(
    options: &ReplayOptions,
    plan: impl FnOnce(u64),
    progress: impl FnMut(ReplayProgress),
) -> Result<Replayed, ReplayError> {
    replay_then(options, plan, progress, |_| ()).map(|(replayed, ())| replayed)
}

/// Replays, and then asks the store. `plan` gets the number of bytes to read, `progress` the progress.
///
/// # Errors
/// When a path cannot be read or the database refuses. What was committed until then stays.
pub fn replay_then<T>(
    options: &ReplayOptions,
    plan: impl FnOnce(u64),
    mut progress: impl FnMut(ReplayProgress),
    ask: impl FnOnce(&Snapshot<'_>) -> T,
) -> Result<(Replayed, T), ReplayError> {
    let mut warnings = Vec::new();
    let (sources, named) = discover::sources(options, &mut warnings)?;
    // A file that is there is never set aside by a replay: it may have been named by mistake.
    let is_there = options.store.path.as_ref().is_some_and(|path| path.exists());
    let (_, mut writer) = if is_there {
        store::open_existing
    } else {
        store::open
    }(options.store.clone())?;
    writer.control().set_thresholds(options.accounts.rules());
    let runs: Vec<_> = (sources.iter())
        .map(|source| (source.run.clone(), options.accounts.of_run(&source.run).clone()))
        .collect();
    writer.register(&runs, true, options.now)?;
    if is_there {
        writer.begin_backlog()?;
    }
    let tasks = read::tasks(&writer.reader().snapshot()?, &sources, &options.accounts)?;
    plan(tasks.iter().map(|task| task.size).sum());
    read_all(options, &mut writer, &tasks, &mut progress)?;
    warnings.extend(sources.iter().flat_map(Source::notices));
    let (summary, answer) = {
        let snapshot = writer.reader().snapshot()?;
        let now = if options.now_given {
            options.now
        } else {
            snapshot.latest()?.unwrap_or(options.now)
        };
        let terms = EvalContext {
            accounts: &options.accounts,
            zone: &options.quota_zone,
            prices: &options.prices,
            unseen: None,
            now,
        };
        (summary::collect(&snapshot, &terms)?, ask(&snapshot))
    };
    writer.close();
    for path in &named {
        has_transcript(path, &sources, &summary)?;
    }
    Ok((Replayed { summary, warnings }, answer))
}

/// Refuses a path with files of which each was read and none is a transcript.
fn has_transcript(named: &NamedPath, sources: &[Source], summary: &wire::Summary) -> Result<(), ReplayError> {
    let its = || (sources.iter()).filter(|source| named.runs.contains(&source.run));
    let is_counted =
        |source: &Source| (summary.by_run.get(source.run.as_str())).is_some_and(|run| run.sums.messages > 0);
    let has_files = its().any(|source| !source.files.is_empty());
    if !has_files || its().any(|source| is_counted(source) || !source.has_no_transcript()) {
        return Ok(());
    }
    let unread = match its().find(|source| source.is_named_file) {
        Some(source) => source.judgement().into_iter().collect(),
        None => its().flat_map(Source::notices).collect(),
    };
    Err(ReplayError::NoTranscript {
        path: named.path.clone(),
        unread,
    })
}

/// The number of threads that read.
fn readers() -> usize {
    std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .clamp(1, READERS_MAX)
}

/// Reads all tasks and commits their batches.
fn read_all(
    options: &ReplayOptions,
    writer: &mut Writer,
    tasks: &[Task<'_>],
    progress: &mut impl FnMut(ReplayProgress),
) -> Result<(), ReplayError> {
    let (sender, receiver) = sync_channel(CHUNKS_WAITING_MAX);
    let (next, reading) = (AtomicUsize::new(0), AtomicUsize::new(readers()));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers())
            .map(|_| {
                let (sender, next, reading) = (sender.clone(), &next, &reading);
                scope.spawn(move || -> Result<(), ReplayError> {
                    read::read_some(options, tasks, next, &sender)?;
                    // Before the sender is dropped, so that it is visible with the end of the chunks.
                    reading.fetch_sub(1, Ordering::Release);
                    Ok(())
                })
            })
            .collect();
        drop(sender);
        let is_whole = || reading.load(Ordering::Acquire) == 0;
        let committed = commit::commit_all(options, writer, receiver, is_whole, progress);
        for thread in threads {
            match thread.join() {
                Ok(read) => read?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        committed
    })
}
