//! Reading transcripts once, to the end, by the same parts as the collector: several readers, one committer.
//!
//! The result does not depend on which reader is faster: the totals never do, and ties between runs go by run order.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::iter::Peekable;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};

use crate::api::document::quota::EvalContext;
use crate::api::document::summary;
use crate::api::wire;
use crate::config::{Accounts, Limits};
use crate::globs::layout::Layout;
use crate::globs::{GlobError, Globs, INCLUDE_ANYWHERE};
use crate::logfile::shape::Shape;
use crate::logfile::unread::{self, LINKS_LOOKED_AT_MAX, PROJECTS, Sorter, Unread, UnreadKind, is_log_name};
use crate::logfile::walk::{WalkLimits, walk};
use crate::logfile::{EntryKind, LogFileError, Root, remedy};
use crate::model::{AccountId, Batch, Millis, Position, RUN_ID_BYTES_MAX, RelativePath, RunId};
use crate::reader::{self, PartialLine, ReadOptions};
use crate::store::{Outcome, ReplayEnd, Store, StoreError, StoreOptions};
use crate::sync::lock;

/// Chunks of batches in the queue to the committer; at this bound the readers wait.
const CHUNKS_WAITING_MAX: usize = 32;
/// A reader sends a chunk at this number of rows or batches, so that small files do not cause a wake-up each.
const CHUNK_ROWS_MAX: usize = 2048;
const CHUNK_BATCHES_MAX: usize = 64;
/// A replay keeps nobody waiting: its transactions have so many times the rows of the collector's.
const COMMIT_GROUPS_MAX: usize = 4;
/// At most this many readers.
const READERS_MAX: usize = 8;
/// The directory of a run that holds its logs.
const MOUNT: &str = "mount";
/// The directory that an agent keeps for itself, in the directory of the home or of its configuration.
const AGENT_HIDDEN: &str = ".claude";
const AGENT: &str = "claude";

/// Why a replay came to no result.
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

/// What to do where no transcript is: of what is there and not read, each has its own advice.
fn advice(unread: &[String]) -> String {
    if unread.is_empty() {
        return "name a directory of runs (each with its logs in mount), a directory of projects (as ~/.claude/projects), \
                a run's mount, or a transcript itself"
            .to_owned();
    }
    unread.join("; ")
}

/// What to replay and how.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    pub paths: Vec<PathBuf>,
    pub globs: Globs,
    /// The layout that the globs are for.
    pub layout: Layout,
    /// Whether it is the layout of the paths; else that is seen from what they hold.
    pub layout_given: bool,
    pub limits: Limits,
    pub store: StoreOptions,
    pub commit_rows_max: usize,
    pub accounts: Accounts,
    pub quota_zone: jiff::tz::TimeZone,
    /// The time of day, or the time the caller wants it to be.
    pub now: Millis,
    /// Leave out lines of a later time.
    pub until: Option<Millis>,
    /// True if `now` is also that of the document; else that is the latest line time read.
    pub now_given: bool,
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
    files: Vec<FoundFile>,
    /// What lies beside them and is not read, and which of them are no transcripts.
    unread: Mutex<Unread>,
    /// It is one file that was named itself.
    is_named_file: bool,
}

impl Source {
    /// Whether each of its files was read and is no transcript.
    fn has_no_transcript(&self) -> bool {
        let unread = lock(&self.unread);
        unread.no_transcripts() == self.files.len() as u64
    }

    /// Why a file that was named itself is no transcript.
    fn judgement(&self) -> Option<String> {
        let unread = lock(&self.unread);
        unread.judgement()
    }

    /// What is not read there, in a sentence for each kind.
    fn notices(&self) -> Vec<String> {
        let unread = lock(&self.unread);
        let sentences = unread.sentences(&self.directory, !self.files.is_empty());
        sentences
            .into_iter()
            .map(|(_, sentence)| format!("run {}: {sentence}", self.run))
            .collect()
    }
}

/// A file and its size when it was found, in bytes.
#[derive(Debug)]
struct FoundFile {
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
    let (sources, named) = sources(options, &mut warnings)?;
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
    store.register(&runs, true, options.now)?;
    if is_there {
        store.begin_backlog()?;
    }
    let tasks = tasks(&store, &sources)?;
    plan(tasks.iter().map(|task| task.size).sum());
    read_all(options, &store, &tasks, &mut progress)?;
    warnings.extend(sources.iter().flat_map(Source::notices));
    let now = if options.now_given {
        options.now
    } else {
        store.latest()?.unwrap_or(options.now)
    };
    let summary = {
        let terms = EvalContext {
            accounts: &options.accounts,
            zone: &options.quota_zone,
            unseen: None,
            now,
        };
        summary::collect(&store, &terms)?
    };
    store.close();
    for Named { path, runs } in named {
        let its = || (sources.iter()).filter(|source| runs.contains(&source.run));
        let is_counted =
            |source: &Source| (summary.by_run.get(source.run.as_str())).is_some_and(|run| run.messages > 0);
        let has_files = its().any(|source| !source.files.is_empty());
        if has_files && its().all(|source| source.has_no_transcript() && !is_counted(source)) {
            let unread = match its().find(|source| source.is_named_file) {
                Some(source) => source.judgement().into_iter().collect(),
                None => its().flat_map(Source::notices).collect(),
            };
            return Err(ReplayError::NoTranscript { path, unread });
        }
    }
    Ok(Replayed { summary, warnings })
}

/// A path that was named, and the runs it stands for.
struct Named {
    path: PathBuf,
    runs: BTreeSet<RunId>,
}

/// All runs the paths stand for, sorted by id, and which path stands for which.
fn sources(
    options: &ReplayOptions,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Source>, Vec<Named>), ReplayError> {
    let mut sources: BTreeMap<RunId, Source> = BTreeMap::new();
    let mut named = Vec::new();
    for path in &options.paths {
        let before = warnings.len();
        let Below {
            sources: found,
            patterns,
            is_tree,
        } = below(path, options, warnings)?;
        // Runs that wrote nothing yet are an answer; where something lies and nothing is read, that is a mistake, and so is
        // a tree with neither.
        if found.iter().all(|source| source.files.is_empty()) {
            let mut unread = warnings.split_off(before);
            unread.extend(found.iter().flat_map(Source::notices));
            if !unread.is_empty() || is_tree || found.is_empty() {
                let path = path.clone();
                return Err(ReplayError::Nothing {
                    path,
                    patterns,
                    unread,
                });
            }
        }
        named.push(Named {
            path: path.clone(),
            runs: found.iter().map(|source| source.run.clone()).collect(),
        });
        for source in found {
            let run = source.run.clone();
            if sources.insert(run.clone(), source).is_some() {
                return Err(ReplayError::TwiceTheSameRun(run));
            }
        }
    }
    Ok((sources.into_values().collect(), named))
}

/// What lies below one path.
struct Below {
    sources: Vec<Source>,
    /// Of which logs are read.
    patterns: Vec<String>,
    /// Whether it is one run, and no directory of several.
    is_tree: bool,
}

/// The runs of one path: a runs directory if it holds `*/mount`, else one run named after it.
fn below(path: &Path, options: &ReplayOptions, warnings: &mut Vec<String>) -> Result<Below, ReplayError> {
    let metadata = std::fs::metadata(path).map_err(|source| ReplayError::Path {
        path: path.to_owned(),
        source,
    })?;
    let full = full_path(path)?;
    if metadata.is_file() {
        if unread::is_compressed(path) {
            return Err(ReplayError::Compressed(path.to_owned()));
        }
        // A link that is named here is the operator's; only what lies below directories is not trusted.
        let directory = full.parent().unwrap_or(Path::new("/")).to_owned();
        let files = (full.file_name().map(PathBuf::from).into_iter())
            .map(|path| FoundFile {
                path,
                size: metadata.len(),
            })
            .collect();
        let source = Source {
            run: name_of(path.file_stem(), path, warnings),
            directory,
            files,
            unread: Mutex::default(),
            is_named_file: true,
        };
        return Ok(Below {
            sources: vec![source],
            patterns: Vec::new(),
            is_tree: true,
        });
    }
    // What is excluded stays so.
    let defaults = |patterns: &[&str]| {
        let patterns: Vec<String> = patterns.iter().map(|&one| one.to_owned()).collect();
        options.globs.with_include(&patterns)
    };
    if let Some((directory, layout)) = layout_of(path, &full, options)? {
        let globs = if layout == options.layout || layout == Layout::Runs {
            options.globs.clone()
        } else {
            // The globs of the settings are for runs with a mount.
            defaults(layout.include_default())?
        };
        let runs = runs_in(&directory, layout, warnings)?;
        return Ok(Below {
            sources: runs_below(&runs, &globs, options)?,
            patterns: globs.patterns,
            is_tree: false,
        });
    }
    // Any other tree: every `*.jsonl` in it.
    let globs = defaults(&INCLUDE_ANYWHERE)?;
    let run = name_of(full.file_name(), path, warnings);
    Ok(Below {
        sources: vec![source(run, path, &in_runs(&full), &globs, options)?],
        patterns: globs.patterns,
        is_tree: true,
    })
}

/// What a directory that is one run is to the globs: `<run>/mount` and below if a `mount` is on the way to it, else the
/// run's directory.
fn in_runs(full: &Path) -> PathBuf {
    let parts: Vec<&OsStr> = full.iter().skip(1).collect();
    let mount = parts
        .iter()
        .rposition(|part| *part == MOUNT)
        .unwrap_or(parts.len());
    parts[mount.saturating_sub(1)..].iter().collect()
}

/// Where the directories of several runs are, and what they are; `None` if the path is one run.
fn layout_of(
    path: &Path,
    full: &Path,
    options: &ReplayOptions,
) -> Result<Option<(PathBuf, Layout)>, ReplayError> {
    let here = |layout| Some((path.to_owned(), layout));
    if options.layout_given {
        return Ok(here(options.layout));
    }
    let name = full.file_name().unwrap_or_default();
    // A run's mount is one run, whatever it holds.
    let is_mount = name == MOUNT;
    let is_agent = name == AGENT || name.as_encoded_bytes().starts_with(AGENT_HIDDEN.as_bytes());
    Ok(match Shape::of(path)? {
        Shape::Runs => here(Layout::Runs),
        Shape::Projects(_) if !is_mount => here(Layout::Projects),
        Shape::Agent(_) if is_agent => Some((path.join(PROJECTS), Layout::Projects)),
        _ => None,
    })
}

/// The runs in a directory.
fn runs_in(
    path: &Path,
    layout: Layout,
    warnings: &mut Vec<String>,
) -> Result<Vec<(RunId, PathBuf)>, ReplayError> {
    let root = Root::open_given(path)?;
    let mut names = root.list(Path::new(""))?;
    names.sort_unstable_by(|a, b| a.path.cmp(&b.path));
    let (every, none) = (|_: &Path| true, |_: &Path| false);
    let mut links_left = LINKS_LOOKED_AT_MAX;
    let mut sorter = Sorter::new(&root, &every, &none, &mut links_left);
    let mut runs = Vec::new();
    for entry in names {
        let directory = path.join(&entry.path);
        match entry.kind {
            EntryKind::Directory => match layout.run_of(entry.path.as_os_str()) {
                Ok(run) => runs.push((run, directory)),
                Err(_) => sorter.unread.add(UnreadKind::NoRun, &entry.path, None),
            },
            EntryKind::Link => sorter.add(&entry),
            EntryKind::File if layout == Layout::Projects && is_log_name(&entry.path) => {
                sorter.unread.add(UnreadKind::NotIncluded, &entry.path, None);
            }
            _ => {}
        }
    }
    let sentences = sorter.unread.sentences(path, true);
    warnings.extend(sentences.into_iter().map(|(_, sentence)| sentence));
    Ok(runs)
}

/// Directories of runs, several at once: of each, what the globs read.
fn runs_below(
    runs: &[(RunId, PathBuf)],
    globs: &Globs,
    options: &ReplayOptions,
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
                    let name = Path::new(directory.file_name().unwrap_or_default());
                    found[at].get_or_init(|| source(run.clone(), directory, name, globs, options));
                }
            });
        }
    });
    found.into_iter().filter_map(OnceLock::into_inner).collect()
}

/// A directory that is one run; `name` is what the globs take it to be, below the runs directory.
fn source(
    run: RunId,
    directory: &Path,
    name: &Path,
    globs: &Globs,
    options: &ReplayOptions,
) -> Result<Source, ReplayError> {
    let root = Root::open_given(directory)?;
    let wants_directory = |path: &Path| globs.may_contain(&name.join(path));
    let found = walk(
        &root,
        wants_directory,
        |path| globs.reads(&name.join(path)),
        walk_limits(options),
    )?;
    // The totals would not be whole.
    if found.cut {
        return Err(ReplayError::Bounds(directory.to_owned()));
    }
    let mut unread = found.unread;
    if found.files.is_empty() {
        let misses = |path: &Path| globs.misses(&name.join(path));
        unread.merge(&unread::not_included(&root, wants_directory, misses));
    }
    let size = |path: &PathBuf| root.stat(path).map_or(0, |stat| stat.size);
    let files = found.files.into_iter();
    let files = files.map(|path| FoundFile {
        size: size(&path),
        path,
    });
    Ok(Source {
        run,
        directory: directory.to_owned(),
        files: files.collect(),
        unread: Mutex::new(unread),
        is_named_file: false,
    })
}

fn walk_limits(options: &ReplayOptions) -> WalkLimits {
    WalkLimits {
        files_max: options.limits.files_per_run_max,
        depth_max: options.limits.depth_max,
    }
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

/// The run a path is named after: characters that no run id may hold become `_`, with a warning.
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
    for ((_, source), known) in sources.into_iter().zip(store.stored_runs(&runs)?) {
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
    let (sender, receiver) = sync_channel(CHUNKS_WAITING_MAX);
    let (next, reading) = (AtomicUsize::new(0), AtomicUsize::new(readers()));
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..readers())
            .map(|_| {
                let (sender, next, reading) = (sender.clone(), &next, &reading);
                scope.spawn(move || -> Result<(), ReplayError> {
                    read_some(options, tasks, next, &sender)?;
                    // Before the sender is dropped, so that it is visible with the end of the chunks.
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
    chunks: &SyncSender<Vec<Batch>>,
) -> Result<(), ReplayError> {
    let mut buffer = Vec::new();
    let mut sender = BatchSender {
        chunk: Vec::new(),
        rows: 0,
        chunks,
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
    /// Takes a batch; says whether there is still a committer.
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
        settle: true,
        until: u64::MAX,
        lines_until: options.until,
        waits_for_holes: false,
        account: Arc::clone(&task.account),
        now: options.now,
    };
    let mut stored = task.stored.clone();
    let (mut has_any, mut has_holes) = (false, false);
    let mut scanned = PartialLine::default();
    loop {
        let (position, tail) =
            reader::start(&file, &stat, stored.as_ref(), &task.source.run, &task.path).map_err(failed)?;
        let expect = stored.as_ref().map(|stored| stored.cursor);
        let turn = reader::read(&file, position, tail, scanned, &reading, buffer).map_err(failed)?;
        let more = turn.more;
        scanned = turn.scanned.nuls();
        has_holes |= !turn.passed.is_empty();
        has_any |= !turn.records.is_empty() || !turn.observations.is_empty();
        if expect != Some(turn.cursor) || turn.lines.read > 0 {
            let batch = turn.into_batch(task.source.run.clone(), task.path.clone(), expect, &reading);
            stored = Some(Position {
                cursor: batch.cursor,
                state: batch.state.clone(),
            });
            // Without a committer there is an error, and it is the committer's to tell.
            if !sender.add(batch) {
                return Ok(());
            }
        }
        if !more {
            break;
        }
    }
    let strange = (!has_any).then(|| UnreadKind::of(unread::look(&file))).flatten();
    let hole = has_holes.then_some(UnreadKind::Hole);
    for kind in strange.into_iter().chain(hole) {
        let mut unread = lock(&task.source.unread);
        unread.add(kind, &task.path, None);
    }
    Ok(())
}

/// Commits batches as they come: they are folded while the readers read on. With the last of them the reading ends, if
/// then `is_whole` says that all was read.
///
/// It takes the receiver, so that when it ends, early or late, the readers notice.
fn commit_all(
    options: &ReplayOptions,
    store: &Store,
    chunks: Receiver<Vec<Batch>>,
    is_whole: impl Fn() -> bool,
    progress: &mut impl FnMut(ReplayProgress),
) -> Result<(), ReplayError> {
    let mut undated = Vec::new();
    let mut so_far = ReplayProgress::default();
    let mut batches = chunks.into_iter().flatten().peekable();
    loop {
        let mut group = ReplayGroup {
            batches: &mut batches,
            rows_left: options.commit_rows_max.saturating_mul(COMMIT_GROUPS_MAX),
            paths: Vec::new(),
            so_far: &mut so_far,
            progress,
        };
        let mut is_last = false;
        let committed = store.commit_then(&mut group, |group| {
            is_last = group.batches.peek().is_none();
            (is_last && is_whole()).then(|| ReplayEnd {
                undated: undated.clone(),
                now: options.now_given.then_some(options.now),
                clock: options.now,
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
struct ReplayGroup<'g, B: Iterator<Item = Batch>, P> {
    batches: &'g mut Peekable<B>,
    rows_left: usize,
    /// Where the batches are from, for the one that is refused.
    paths: Vec<RelativePath>,
    so_far: &'g mut ReplayProgress,
    progress: &'g mut P,
}

impl<B: Iterator<Item = Batch>, P: FnMut(ReplayProgress)> Iterator for ReplayGroup<'_, B, P> {
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
