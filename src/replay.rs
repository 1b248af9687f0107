//! Reading transcripts once, to the end, by the same parts as the collector: several readers, one committer.
//!
//! The result does not depend on which reader is faster: the totals never do, and ties between runs go by run order.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use crate::api::quota::Terms;
use crate::api::{summary, wire};
use crate::config::{Accounts, Limits};
use crate::globs::{GlobError, Globs};
use crate::logfile::{EntryKind, LogFileError, Root};
use crate::record::{AccountId, Batch, Millis, Position, RUN_ID_BYTES_MAX, RelativePath, RunId};
use crate::store::{Conclusion, Outcome, Store, StoreError, StoreOptions};
use crate::tailer::turn::{self, Reading, Scanned};
use crate::tailer::walk::{Walk, WalkLimits, walk};

/// How many parcels of batches wait for the committer before the readers wait.
const PARCELS_WAITING_MAX: usize = 32;
/// A reader sends a parcel when it has so many rows or batches: not a wake-up for each file.
const PARCEL_ROWS_MAX: usize = 2048;
const PARCEL_BATCHES_MAX: usize = 64;
/// A replay keeps nobody waiting: its transactions have so many times the rows of the collector's.
const COMMIT_GROUPS_MAX: usize = 4;
/// At most this many readers.
const READERS_MAX: usize = 8;

/// Why a replay came to no result.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("cannot read {path}: {source}")]
    Path { path: PathBuf, source: std::io::Error },
    #[error(
        "{0} holds more than limits.files_per_run_max files or is deeper than limits.depth_max; raise the limit"
    )]
    Bounds(PathBuf),
    #[error("two paths make one run {0}; replay them one after the other with --db")]
    TwiceTheSameRun(RunId),
    #[error("no transcript (*.jsonl) below {0}")]
    Nothing(PathBuf),
    #[error("{0}")]
    LogFile(#[from] LogFileError),
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Globs(#[from] GlobError),
    #[error("{path} changed under two writers of the database; replay again")]
    Stale { path: PathBuf },
}

/// What to replay and how.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    pub paths: Vec<PathBuf>,
    pub globs: Globs,
    pub limits: Limits,
    pub store: StoreOptions,
    pub commit_rows_max: usize,
    pub accounts: Accounts,
    pub quota_zone: jiff::tz::TimeZone,
    /// The host's clock, or the time the caller wants it to be.
    pub clock: Millis,
    /// Leave out lines of a later time.
    pub until: Option<Millis>,
    /// Whether `clock` is also the document's `now`; else that is the latest line time read.
    pub clock_given: bool,
}

/// How far a replay is.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayProgress {
    pub bytes: u64,
    pub files: u64,
    pub responses: u64,
}

/// One run to read: its id, where its files are, and which.
#[derive(Debug)]
struct Source {
    run: RunId,
    directory: PathBuf,
    files: Vec<Found>,
}

/// A file and its size when it was found, in bytes.
#[derive(Debug)]
struct Found {
    path: PathBuf,
    size: u64,
}

/// One file to read.
struct Task<'s> {
    source: &'s Source,
    path: RelativePath,
    stored: Option<Position>,
    size: u64,
    account: Arc<AccountId>,
}

/// What a replay came to.
#[derive(Debug)]
pub struct Replayed {
    pub summary: wire::Summary,
    /// Sentences on what was left alone.
    pub warnings: Vec<String>,
}

/// Replays. `plan` hears how many bytes there are, `progress` how far it is.
///
/// # Errors
/// When a path cannot be read or the database refuses. What was committed until then stays.
pub fn replay(
    options: &ReplayOptions,
    plan: impl FnOnce(u64),
    mut progress: impl FnMut(ReplayProgress),
) -> Result<Replayed, ReplayError> {
    let mut warnings = Vec::new();
    let sources = sources(options, &mut warnings)?;
    // A file that is there is never set aside by a replay: it may have been named by mistake.
    let is_there = options.store.path.as_ref().is_some_and(|path| path.exists());
    let store = if is_there {
        Store::open_existing
    } else {
        Store::open
    }(options.store.clone())?;
    store.set_thresholds(options.accounts.rules());
    let runs: Vec<_> = (sources.iter())
        .map(|source| (source.run.clone(), options.accounts.of_run(&source.run).clone()))
        .collect();
    store.register(&runs, true, options.clock)?;
    if is_there {
        store.begin_backlog()?;
    }
    let tasks = tasks(&store, &sources)?;
    plan(tasks.iter().map(|task| task.size).sum());
    read_all(options, &store, &tasks, &mut progress)?;
    let now = if options.clock_given {
        options.clock
    } else {
        store.latest()?.unwrap_or(options.clock)
    };
    let summary = {
        let terms = Terms {
            accounts: &options.accounts,
            zone: &options.quota_zone,
            now,
        };
        summary::collect(&store, &terms)?
    };
    store.close();
    Ok(Replayed { summary, warnings })
}

/// All runs the paths stand for, sorted by id.
fn sources(options: &ReplayOptions, warnings: &mut Vec<String>) -> Result<Vec<Source>, ReplayError> {
    let mut sources: BTreeMap<RunId, Source> = BTreeMap::new();
    for path in &options.paths {
        let found = sources_of(path, options, warnings)?;
        for source in found {
            let run = source.run.clone();
            if sources.insert(run.clone(), source).is_some() {
                return Err(ReplayError::TwiceTheSameRun(run));
            }
        }
    }
    Ok(sources.into_values().collect())
}

/// The runs of one path: a runs directory if it holds `*/mount`, else one run named after it.
fn sources_of(
    path: &Path,
    options: &ReplayOptions,
    warnings: &mut Vec<String>,
) -> Result<Vec<Source>, ReplayError> {
    let metadata = std::fs::metadata(path).map_err(|source| ReplayError::Path {
        path: path.to_owned(),
        source,
    })?;
    if metadata.is_file() {
        // A link that is named here is the operator's; only what lies below directories is not trusted.
        let full = full_path(path)?;
        let directory = full.parent().unwrap_or(Path::new("/")).to_owned();
        let files = (full.file_name().map(PathBuf::from).into_iter())
            .map(|path| Found {
                path,
                size: metadata.len(),
            })
            .collect();
        let run = name_of(path.file_stem(), path, warnings);
        return Ok(vec![Source {
            run,
            directory,
            files,
        }]);
    }
    let root = Root::open_given(path)?;
    let mut names = root.list(Path::new(""))?;
    names.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    if names
        .iter()
        .any(|entry| entry.kind == EntryKind::Directory && path.join(&entry.path).join("mount").is_dir())
    {
        let mut runs = Vec::new();
        for entry in names {
            let directory = path.join(&entry.path);
            if entry.kind != EntryKind::Directory {
                if directory.is_dir() {
                    warnings.push(format!("{directory:?} is a link and is not followed"));
                }
                continue;
            }
            match RunId::new(&entry.path.to_string_lossy()) {
                Ok(run) => runs.push((run, directory)),
                Err(error) => warnings.push(format!("{directory:?} is no run: {error}")),
            }
        }
        return runs_below(&runs, options, warnings);
    }
    let run = name_of(full_path(path)?.file_name(), path, warnings);
    let source = tree(run, path, options, warnings)?;
    // A run that wrote nothing yet is an answer; a tree without transcripts is a mistake.
    if source.files.is_empty() {
        return Err(ReplayError::Nothing(path.to_owned()));
    }
    Ok(vec![source])
}

/// Directories below a runs directory, several at once.
fn runs_below(
    runs: &[(RunId, PathBuf)],
    options: &ReplayOptions,
    warnings: &mut Vec<String>,
) -> Result<Vec<Source>, ReplayError> {
    let next = AtomicUsize::new(0);
    let found: Vec<OnceLock<_>> = runs.iter().map(|_| OnceLock::new()).collect();
    std::thread::scope(|scope| {
        for _ in 0..readers() {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((run, directory)) = runs.get(at) else {
                        return;
                    };
                    found[at].get_or_init(|| {
                        let mut warnings = Vec::new();
                        let source = run_below(run.clone(), directory.clone(), options, &mut warnings);
                        (source, warnings)
                    });
                }
            });
        }
    });
    let mut sources = Vec::with_capacity(runs.len());
    for (source, told) in found.into_iter().filter_map(OnceLock::into_inner) {
        warnings.extend(told);
        sources.push(source?);
    }
    Ok(sources)
}

/// A directory below a runs directory: read what the globs include.
fn run_below(
    run: RunId,
    directory: PathBuf,
    options: &ReplayOptions,
    warnings: &mut Vec<String>,
) -> Result<Source, ReplayError> {
    let below = |path: &Path| Path::new(run.as_str()).join(path);
    let globs = &options.globs;
    let files = files_of(
        &directory,
        |path| globs.may_contain(&below(path)),
        |path| globs.reads(&below(path)),
        options,
        warnings,
    )?;
    Ok(Source {
        run,
        directory,
        files,
    })
}

/// Any other tree: every `*.jsonl` in it.
fn tree(
    run: RunId,
    directory: &Path,
    options: &ReplayOptions,
    warnings: &mut Vec<String>,
) -> Result<Source, ReplayError> {
    let globs = Globs::new(&["**/*.jsonl".to_owned()], &[])?;
    let files = files_of(directory, |_| true, |path| globs.reads(path), options, warnings)?;
    Ok(Source {
        run,
        directory: directory.to_owned(),
        files,
    })
}

fn files_of(
    directory: &Path,
    wants_directory: impl Fn(&Path) -> bool,
    wants_file: impl Fn(&Path) -> bool,
    options: &ReplayOptions,
    warnings: &mut Vec<String>,
) -> Result<Vec<Found>, ReplayError> {
    let root = Root::open_given(directory)?;
    let found = walk(&root, wants_directory, wants_file, walk_limits(options))?;
    warn(directory, &found, warnings)?;
    let size = |path: &PathBuf| root.stat(path).map_or(0, |stat| stat.size);
    Ok((found.files.into_iter())
        .map(|path| Found {
            size: size(&path),
            path,
        })
        .collect())
}

fn walk_limits(options: &ReplayOptions) -> WalkLimits {
    WalkLimits {
        files_max: options.limits.files_per_run_max,
        depth_max: options.limits.depth_max,
    }
}

/// What a walk left alone: told, or an error if the totals would not be whole.
fn warn(directory: &Path, found: &Walk, warnings: &mut Vec<String>) -> Result<(), ReplayError> {
    for path in &found.refused {
        warnings.push(format!(
            "{:?} is no regular file and is left alone",
            directory.join(path)
        ));
    }
    if found.cut {
        return Err(ReplayError::Bounds(directory.to_owned()));
    }
    Ok(())
}

fn full_path(path: &Path) -> Result<PathBuf, ReplayError> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the operator names this path; what is below it is opened beneath"
    )]
    let full = path.canonicalize();
    full.map_err(|source| ReplayError::Path {
        path: path.to_owned(),
        source,
    })
}

/// The run a path is named after: what no run id may hold becomes `_`, and that is told.
fn name_of(name: Option<&OsStr>, path: &Path, warnings: &mut Vec<String>) -> RunId {
    let name = name.unwrap_or_default().to_string_lossy();
    RunId::new(&name).unwrap_or_else(|error| {
        let is_fit = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let fit: String = name
            .chars()
            .take(RUN_ID_BYTES_MAX)
            .map(|c| if is_fit(c) { c } else { '_' })
            .collect();
        let run = RunId::new(&fit).unwrap_or_else(|_| RunId::new("run").expect("three letters are a run id"));
        warnings.push(format!("{path:?} is counted as run {run}: {error}"));
        run
    })
}

/// All files: the largest run first and its largest file, so that the readers end together and stay in one run.
fn tasks<'s>(store: &Store, sources: &'s [Source]) -> Result<Vec<Task<'s>>, ReplayError> {
    let size_of = |source: &Source| source.files.iter().map(|file| file.size).sum::<u64>();
    let mut sources: Vec<_> = sources.iter().map(|source| (size_of(source), source)).collect();
    sources.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    let runs: Vec<RunId> = sources.iter().map(|(_, source)| source.run.clone()).collect();
    let mut tasks = Vec::new();
    for ((_, source), known) in sources.into_iter().zip(store.known(&runs)?) {
        let mut positions = known.positions;
        let account = Arc::new(known.info.map(|info| info.account).unwrap_or_default());
        let first = tasks.len();
        tasks.extend(source.files.iter().map(|file| {
            let path: RelativePath = file.path.as_path().into();
            Task {
                source,
                stored: positions.remove(&path),
                path,
                size: file.size,
                account: Arc::clone(&account),
            }
        }));
        tasks[first..].sort_by_key(|task| std::cmp::Reverse(task.size));
    }
    Ok(tasks)
}

fn readers() -> usize {
    std::thread::available_parallelism()
        .map_or(1, std::num::NonZero::get)
        .clamp(1, READERS_MAX)
}

/// Reads all tasks, commits what they give, and ends the reading.
fn read_all(
    options: &ReplayOptions,
    store: &Store,
    tasks: &[Task<'_>],
    progress: &mut impl FnMut(ReplayProgress),
) -> Result<(), ReplayError> {
    let (sender, receiver) = sync_channel(PARCELS_WAITING_MAX);
    let (next, reading) = (AtomicUsize::new(0), AtomicUsize::new(readers()));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers())
            .map(|_| {
                let (sender, next, reading) = (sender.clone(), &next, &reading);
                scope.spawn(move || -> Result<(), ReplayError> {
                    read_some(options, tasks, next, &sender)?;
                    // Before the sender goes: whoever sees the end of the parcels sees this too.
                    reading.fetch_sub(1, Ordering::Release);
                    Ok(())
                })
            })
            .collect();
        drop(sender);
        let is_whole = || reading.load(Ordering::Acquire) == 0;
        let committed = commit_all(options, store, receiver, is_whole, progress);
        for thread in threads {
            match thread.join() {
                Ok(read) => read?,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        committed
    })
}

/// One reader: takes file after file.
fn read_some(
    options: &ReplayOptions,
    tasks: &[Task<'_>],
    next: &AtomicUsize,
    parcels: &SyncSender<Vec<Batch>>,
) -> Result<(), ReplayError> {
    let mut buffer = Vec::new();
    let mut outbox = Outbox {
        parcel: Vec::new(),
        rows: 0,
        parcels,
    };
    // The run that was read last stays open: most files are of the same as the one before.
    let mut last: Option<(&Source, Root)> = None;
    while let Some(task) = tasks.get(next.fetch_add(1, Ordering::Relaxed)) {
        let read = match last.take() {
            Some(open) if std::ptr::eq(open.0, task.source) => Ok(open.1),
            _ => Root::open_given(&task.source.directory),
        };
        let read = read.and_then(|root| {
            let (_, root) = last.insert((task.source, root));
            read_file(options, task, root, &mut buffer, &mut outbox)
        });
        match read {
            // Deleted since the walk: as if it had been before.
            Err(LogFileError::Gone(_)) => {}
            other => other?,
        }
    }
    outbox.send();
    Ok(())
}

/// A reader's batches on their way to the committer.
struct Outbox<'p> {
    parcel: Vec<Batch>,
    rows: usize,
    parcels: &'p SyncSender<Vec<Batch>>,
}

impl Outbox<'_> {
    /// Takes a batch; says whether there is still a committer.
    fn add(&mut self, batch: Batch) -> bool {
        self.rows += batch.records.len();
        self.parcel.push(batch);
        if self.rows < PARCEL_ROWS_MAX && self.parcel.len() < PARCEL_BATCHES_MAX {
            return true;
        }
        self.send()
    }

    fn send(&mut self) -> bool {
        self.rows = 0;
        self.parcels.send(std::mem::take(&mut self.parcel)).is_ok()
    }
}

fn read_file(
    options: &ReplayOptions,
    task: &Task<'_>,
    root: &Root,
    buffer: &mut Vec<u8>,
    outbox: &mut Outbox<'_>,
) -> Result<(), LogFileError> {
    let full = task.source.directory.join(&task.path);
    let failed = |source| LogFileError::Io {
        path: full.clone(),
        source,
    };
    let file = root.open_file(&task.path)?;
    let stat = file.stat().map_err(failed)?;
    let reading = Reading {
        line_bytes_max: options.limits.line_bytes_max,
        turn_bytes_max: options.limits.turn_bytes_max as u64,
        settle: true,
        until: u64::MAX,
        lines_until: options.until,
        account: Arc::clone(&task.account),
        now: options.clock,
    };
    let mut stored = task.stored.clone();
    loop {
        let (position, tail) =
            turn::start(&file, &stat, stored.as_ref(), &task.source.run, &task.path).map_err(failed)?;
        let expect = stored.as_ref().map(|stored| stored.cursor);
        let turn = turn::read(&file, position, tail, Scanned::default(), &reading, buffer).map_err(failed)?;
        let more = turn.more;
        if expect != Some(turn.cursor) || turn.lines.read > 0 {
            let batch = turn.into_batch(task.source.run.clone(), task.path.clone(), expect, &reading);
            stored = Some(Position {
                cursor: batch.cursor,
                state: batch.state.clone(),
            });
            // Without a committer there is an error, and it is the committer's to tell.
            if !outbox.add(batch) {
                return Ok(());
            }
        }
        if !more {
            return Ok(());
        }
    }
}

/// Commits batches as they come: they are folded while the readers read on. With the last of them the reading ends, if
/// then `is_whole` says that all was read.
///
/// It takes the receiver, so that when it ends, early or late, the readers notice.
fn commit_all(
    options: &ReplayOptions,
    store: &Store,
    parcels: Receiver<Vec<Batch>>,
    is_whole: impl Fn() -> bool,
    progress: &mut impl FnMut(ReplayProgress),
) -> Result<(), ReplayError> {
    let mut undated = Vec::new();
    let mut so_far = ReplayProgress::default();
    let mut batches = parcels.into_iter().flatten().peekable();
    loop {
        let mut group = Group {
            batches: &mut batches,
            rows_left: options.commit_rows_max.saturating_mul(COMMIT_GROUPS_MAX),
            paths: Vec::new(),
            so_far: &mut so_far,
            progress,
        };
        let mut is_last = false;
        let committed = store.commit_then(&mut group, |group| {
            is_last = group.batches.peek().is_none();
            (is_last && is_whole()).then(|| Conclusion {
                undated: undated.clone(),
                now: options.clock_given.then_some(options.clock),
                clock: options.clock,
            })
        })?;
        let refused = |outcome: &Outcome| *outcome != Outcome::Committed;
        if let Some(at) = committed.outcomes.iter().position(refused) {
            return Err(ReplayError::Stale {
                path: group.paths[at].to_path_buf(),
            });
        }
        undated.extend(committed.undated);
        so_far.responses += committed
            .changes
            .values()
            .map(|change| change.responses)
            .sum::<u64>();
        progress(so_far);
        if is_last {
            return Ok(());
        }
    }
}

/// The batches of one transaction, as they come.
struct Group<'g, B: Iterator<Item = Batch>, P> {
    batches: &'g mut Peekable<B>,
    rows_left: usize,
    /// Where the batches are from, for the one that is refused.
    paths: Vec<RelativePath>,
    so_far: &'g mut ReplayProgress,
    progress: &'g mut P,
}

impl<B: Iterator<Item = Batch>, P: FnMut(ReplayProgress)> Iterator for Group<'_, B, P> {
    type Item = Batch;

    fn next(&mut self) -> Option<Batch> {
        if self.rows_left == 0 {
            return None;
        }
        let batch = self.batches.next()?;
        self.rows_left = self.rows_left.saturating_sub(batch.records.len() + 1);
        self.paths.push(batch.path.clone());
        self.so_far.bytes += batch.bytes;
        self.so_far.files += u64::from(batch.expect.is_none());
        (self.progress)(*self.so_far);
        Some(batch)
    }
}
