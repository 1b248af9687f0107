//! Discovery for a replay: the runs that the named paths are, and their files.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock};

use super::{ReplayError, ReplayOptions, readers};
use crate::globs::layout::Layout;
use crate::globs::{Globs, INCLUDE_ANYWHERE};
use crate::logfile::shape::Shape;
use crate::logfile::unread::{self, LINKS_LOOKED_AT_MAX, PROJECTS, Sorter, Unread, UnreadKind, is_log_name};
use crate::logfile::walk::{WalkLimits, walk};
use crate::logfile::{EntryKind, Root};
use crate::model::{RUN_ID_BYTES_MAX, RunId};
use crate::sync::lock;

/// The directory of a run that holds its logs.
const MOUNT: &str = "mount";
/// The directory that an agent keeps for itself, in the directory of the home or of its configuration.
const AGENT_HIDDEN: &str = ".claude";
const AGENT: &str = "claude";

/// One run to read: its id and its files, with paths below its directory.
#[derive(Debug)]
pub struct Source {
    pub run: RunId,
    pub directory: PathBuf,
    pub files: Vec<FoundFile>,
    /// Entries beside the files that are not read, and files that turn out to be no transcripts.
    pub unread: Mutex<Unread>,
    /// It is one file that was named itself.
    pub is_named_file: bool,
    /// Its directory is that of a project, beside others.
    pub is_project: bool,
}

impl Source {
    /// True if each of its files was read and is no transcript.
    pub fn has_no_transcript(&self) -> bool {
        let unread = lock(&self.unread);
        unread.no_transcripts() == self.files.len() as u64
    }

    /// The reason why a file that was named itself is no transcript.
    pub fn judgement(&self) -> Option<String> {
        let unread = lock(&self.unread);
        unread.judgement()
    }

    /// A sentence for each kind of unread entry.
    pub fn notices(&self) -> Vec<String> {
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
pub struct FoundFile {
    pub path: PathBuf,
    pub size: u64,
}

/// A path that was named, and its runs.
pub struct NamedPath {
    pub path: PathBuf,
    pub runs: BTreeSet<RunId>,
}

/// The runs of all paths, sorted by id, and the runs of each path.
pub fn sources(
    options: &ReplayOptions,
    warnings: &mut Vec<String>,
) -> Result<(Vec<Source>, Vec<NamedPath>), ReplayError> {
    let mut sources: BTreeMap<RunId, Source> = BTreeMap::new();
    let mut named = Vec::new();
    for path in &options.paths {
        let before = warnings.len();
        let PathContent {
            sources: found,
            patterns,
            is_tree,
        } = content(path, options, warnings)?;
        // Runs that wrote nothing yet are an answer. Entries of which none is read are a mistake, and so is a tree
        // without any.
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
        named.push(NamedPath {
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

/// The runs of one path.
struct PathContent {
    sources: Vec<Source>,
    /// The globs of the logs that are read.
    patterns: Vec<String>,
    /// The path is one run, not a directory of several.
    is_tree: bool,
}

/// The runs of one path: those of a runs directory if it holds `*/mount`, otherwise one run named after it.
fn content(
    path: &Path,
    options: &ReplayOptions,
    warnings: &mut Vec<String>,
) -> Result<PathContent, ReplayError> {
    let metadata = std::fs::metadata(path).map_err(|source| ReplayError::Path {
        path: path.to_owned(),
        source,
    })?;
    let full = full_path(path)?;
    if metadata.is_file() {
        let source = named_file(path, &full, metadata.len(), warnings)?;
        return Ok(PathContent {
            sources: vec![source],
            patterns: Vec::new(),
            is_tree: true,
        });
    }
    // Excluded files stay excluded.
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
        let mut sources = runs_below(&runs, &globs, options)?;
        for source in &mut sources {
            source.is_project = layout == Layout::Projects;
        }
        return Ok(PathContent {
            sources,
            patterns: globs.patterns,
            is_tree: false,
        });
    }
    // Any other tree: every `*.jsonl` in it.
    let globs = defaults(&INCLUDE_ANYWHERE)?;
    let run = name_of(full.file_name(), path, warnings);
    Ok(PathContent {
        sources: vec![directory_source(run, path, &in_runs(&full), &globs, options)?],
        patterns: globs.patterns,
        is_tree: true,
    })
}

/// A file that was named itself, as a run.
fn named_file(
    path: &Path,
    full: &Path,
    size: u64,
    warnings: &mut Vec<String>,
) -> Result<Source, ReplayError> {
    if unread::is_compressed(path) {
        return Err(ReplayError::Compressed(path.to_owned()));
    }
    // A link that is named is the operator's; only entries below directories are not trusted.
    let directory = full.parent().unwrap_or(Path::new("/")).to_owned();
    let files = (full.file_name().map(PathBuf::from).into_iter()).map(|path| FoundFile { path, size });
    Ok(Source {
        run: name_of(path.file_stem(), path, warnings),
        directory,
        files: files.collect(),
        unread: Mutex::default(),
        is_named_file: true,
        is_project: false,
    })
}

/// The path of a directory that is one run, as the globs see it: `<run>/mount` and below if it is in a `mount`,
/// otherwise the directory's name.
fn in_runs(full: &Path) -> PathBuf {
    let parts: Vec<&OsStr> = full.iter().skip(1).collect();
    let mount = parts
        .iter()
        .rposition(|part| *part == MOUNT)
        .unwrap_or(parts.len());
    parts[mount.saturating_sub(1)..].iter().collect()
}

/// The directory that holds several runs, and its layout; `None` if the path is one run.
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
    // A run's mount is one run, with any content.
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

/// The directories of several runs, read by several threads.
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
                    found[at].get_or_init(|| directory_source(run.clone(), directory, name, globs, options));
                }
            });
        }
    });
    found.into_iter().filter_map(OnceLock::into_inner).collect()
}

/// A directory that is one run; `name` is its path below the runs directory, as the globs see it.
fn directory_source(
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
        is_project: false,
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
