//! The tree of one run: its directories and files, the read position of each file, and the queue of files
//! with news.
//!
//! **Invariant**: the present state of the filesystem and the stored cursor decide; a hint only shows where
//! to look. Directories are watched first and listed second, so that no change is missed in between.

pub mod holes;
mod open_files;
mod path_map;
mod read;
mod scan;
mod unchanged;
#[cfg(test)]
pub use read::fault;

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::config::Limits;
use crate::globs::Globs;
use crate::logfile::run_dir::RunDir;
use crate::logfile::{EntryKind, LogFileError, Stat};
use crate::model::{Cursor, Inode, Millis, ParserState, Position, RelativePath, RunId};
use crate::parse::recognise::ContentKind;
use crate::watch::Watch;

use crate::logfile::unread::{Unread, UnreadKind};
use crate::reader::PartialLine;
use holes::Holes;
use open_files::OpenFile;
use path_map::PathMap;
use scan::ScanFindings;

/// Records of one share of reading; more wait for the next share.
pub const SHARE_RECORDS_MAX: u32 = 16_384;
/// Directories of one run that are watched. The more watches there are, the longer it takes to remove one,
/// and all runs wait for that; the other directories are scanned at every scan.
const WATCHED_DIRECTORIES_MAX: usize = 1024;
/// Files of one run kept open at once.
const OPEN_FILES_MAX: usize = 8;
/// Vanished files that are remembered, to recognize them under another name.
const GONE_FILES_MAX: usize = 1024;
/// Problems that are kept separately.
const PROBLEMS_MAX: usize = 8;

/// The depth of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// List directories that changed; trust events for the files in the others.
    Changed,
    /// List every directory and look at every file.
    Everything,
}

/// The settings of a scan, and the watch.
#[derive(Clone, Copy, Debug)]
pub struct ScanContext<'w> {
    pub globs: &'w Globs,
    pub limits: &'w Limits,
    pub watch: &'w Watch,
    /// The run is stopped, so its directories are scanned rarely and not watched.
    pub unwatched: bool,
}

/// The metadata of a file when it was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileStamp {
    inode: Inode,
    size: u64,
    changed_ns: i64,
}

impl From<&Stat> for FileStamp {
    fn from(stat: &Stat) -> Self {
        Self {
            inode: stat.inode,
            size: stat.size,
            changed_ns: stat.changed_ns,
        }
    }
}

#[derive(Debug, Default)]
struct FileState {
    /// The stored cursor, as far as known: a cursor that was sent counts as stored until the committer
    /// refuses it.
    cursor: Option<Cursor>,
    /// The state of the parser after the lines before that cursor.
    state: ParserState,
    seen: Option<FileStamp>,
    /// `None` as long as nothing of an unfinished line was searched.
    partial: Option<Box<PartialLine>>,
    open: Option<OpenFile>,
    active: Option<Instant>,
    renamed_from: Option<RelativePath>,
    /// It was renamed over another file, whose content is gone.
    replaces: bool,
    /// Its size as of the last look.
    size: u64,
    gone: bool,
    queued: bool,
    /// The kind of its content, as far as it was read.
    content: ContentKind,
    /// The number of the last scan that found it, as in [`Tree::scans`].
    found_in: u32,
    /// Holes in it that are waited for, or were read over.
    holes: Option<Box<Holes>>,
}

impl FileState {
    /// The read position, as it is stored.
    fn position(&self) -> Option<Position> {
        self.cursor.map(|cursor| Position {
            cursor,
            state: self.state.clone(),
        })
    }

    /// The bytes behind the read position, as of the last look.
    fn unread_bytes(&self) -> u64 {
        let read_to = |cursor: Cursor| cursor.skip_to.map_or(cursor.offset, std::num::NonZeroU64::get);
        self.size.saturating_sub(self.cursor.map_or(0, read_to))
    }

    fn set_position(&mut self, position: Option<Position>) {
        (self.cursor, self.state) = match position {
            Some(Position { cursor, state }) => (Some(cursor), state),
            None => Default::default(),
        };
    }

    /// Takes over the metadata of the file; true if the file has to be queued, and it counts as queued from
    /// now on.
    fn is_news(&mut self, stat: &Stat) -> bool {
        self.gone = false;
        self.size = stat.size;
        // A queued file has no further news.
        let is_news = self.seen != Some(FileStamp::from(stat)) && !self.queued;
        self.queued |= is_news;
        is_news
    }

    /// The kinds under which the file is reported as unread.
    fn unread_kinds(&self) -> [Option<UnreadKind>; 2] {
        let hole = self.has_passed_holes().then_some(UnreadKind::Hole);
        [UnreadKind::of(self.content), hole]
    }

    /// True if the open file has unread bytes: it is read to its end before another file replaces it.
    fn has_unread_end(&self) -> bool {
        let read_to = self.cursor.map_or(0, |cursor| cursor.offset);
        let size = self.open.as_ref().map(OpenFile::stat);
        matches!(size, Some(Ok(stat)) if stat.size > read_to)
    }
}

#[derive(Debug)]
struct Directory {
    device: u64,
    inode: Inode,
    changed_ns: i64,
    /// The mark of its entries when it was listed, see [`crate::logfile::Root::mark`].
    mark: u64,
    below: Box<[RelativePath]>,
    /// Its unread entries, if there are any.
    unread: Option<Box<Unread>>,
}

impl Directory {
    /// True if the metadata is of this directory.
    fn is(&self, stat: &Stat) -> bool {
        self.device == stat.device && self.inode == stat.inode
    }
}

/// Directories and files that could not be read for a reason that may be over soon.
#[derive(Debug, Default)]
struct Failed {
    /// They are listed again even if they have not changed.
    directories: BTreeSet<RelativePath>,
    /// They are queued again.
    files: BTreeSet<RelativePath>,
}

/// The tree of a run's directory.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any mix of them occurs"
)]
pub struct Tree {
    run: RunId,
    home: RunDir,
    files: PathMap<Box<FileState>>,
    directories: PathMap<Directory>,
    queue: VecDeque<RelativePath>,
    /// The number of scans.
    scans: u32,
    /// Paths of the open files, the least recently read first.
    open: VecDeque<RelativePath>,
    /// There are more directories than can be watched.
    pub partly_watched: bool,
    /// Only this kernel changes its files, as of the first look.
    is_local: bool,
    /// Problems by path. **Invariant**: a problem of a path stays until the directory above is listed again,
    /// or is gone, or the path is tried again.
    problems: BTreeMap<PathBuf, String>,
    /// The paths that the next scan tries again; `None` if there are none.
    failed: Option<Box<Failed>>,
    /// Kinds of unread entries that were reported.
    noticed: BTreeSet<UnreadKind>,
    /// The notices are up to date.
    is_noticed: bool,
    /// The last full scan found changes without hints.
    pub news_without_hint: bool,
    /// The time at which the first hole has been waited for long enough.
    hole_due: Option<Instant>,
}

impl Tree {
    /// True if the run's directory is not in the runs directory.
    #[must_use]
    pub fn has_own_directory(&self) -> bool {
        self.home.is_own
    }

    /// The tree of a run's directory, with its stored positions.
    #[must_use]
    pub fn new(run: RunId, home: RunDir, positions: BTreeMap<RelativePath, Position>) -> Self {
        let tracked = |Position { cursor, state }| {
            Box::new(FileState {
                cursor: Some(cursor),
                state,
                gone: true,
                ..FileState::default()
            })
        };
        Self {
            run,
            home,
            files: positions
                .into_iter()
                .map(|(path, position)| (path, tracked(position)))
                .collect(),
            directories: PathMap::default(),
            queue: VecDeque::new(),
            scans: 0,
            open: VecDeque::new(),
            partly_watched: false,
            is_local: false,
            problems: BTreeMap::new(),
            failed: None,
            noticed: BTreeSet::new(),
            is_noticed: false,
            news_without_hint: false,
            hole_due: None,
        }
    }

    /// True if files with news are queued.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Gives memory back that a tree at rest does not need: there may be thousands.
    pub fn shrink(&mut self) {
        for queue in [&mut self.queue, &mut self.open] {
            if queue.is_empty() {
                *queue = VecDeque::new();
            }
        }
        self.files.shrink();
        self.directories.shrink();
    }

    /// When a log changed last, as of the reading of its end.
    #[must_use]
    pub fn last_change(&self) -> Option<Millis> {
        let seen = self.files.values().filter_map(|file| file.seen);
        seen.map(|stamp| stamp.changed_ns / 1_000_000).max()
    }

    /// The bytes that wait to be read, those behind a hole that is waited for included.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let queued = self.queue.iter().filter_map(|path| self.files.get(path));
        let queued = queued.map(|file| &**file);
        let at_holes = self.files_at_holes().filter(|file| !file.queued);
        queued.chain(at_holes).map(FileState::unread_bytes).sum()
    }

    /// The problems of this run, in a sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let unwatched = self.partly_watched.then(|| {
            format!("more than {WATCHED_DIRECTORIES_MAX} directories; those beyond are scanned, not watched")
        });
        self.unread().or(unwatched)
    }

    /// The logs of this run that cannot be read, in a sentence: the counted usage is incomplete.
    #[must_use]
    pub fn unread(&self) -> Option<String> {
        let (_, first) = self.problems.first_key_value()?;
        Some(match self.problems.len() {
            1 => first.clone(),
            PROBLEMS_MAX.. => format!("{first}; and {PROBLEMS_MAX} or more like it"),
            count => format!("{first}; and {} more", count - 1),
        })
    }

    /// The unread entries of this run, in a sentence for each kind, and those sentences of kinds that are
    /// new; `None` if that has not changed.
    pub fn notices(&mut self) -> Option<(Arc<[String]>, Vec<String>)> {
        if std::mem::replace(&mut self.is_noticed, true) {
            return None;
        }
        let mut all = Unread::default();
        for unread in self.directories.values().filter_map(|one| one.unread.as_ref()) {
            all.merge(unread);
        }
        let mut has_logs = false;
        for (path, file) in self.files.iter().filter(|(_, file)| !file.gone) {
            has_logs = true;
            for kind in file.unread_kinds().into_iter().flatten() {
                all.add(kind, path, None);
            }
        }
        let sentences = all.sentences(&self.home.path, has_logs);
        let mut new = Vec::new();
        for (kind, sentence) in &sentences {
            if self.noticed.insert(*kind) {
                new.push(sentence.clone());
            }
        }
        Some((shared(sentences.into_iter().map(|(_, sentence)| sentence)), new))
    }

    /// Looks at the hinted paths, and at the directories that they show to be changed.
    ///
    /// # Errors
    /// [`LogFileError::Gone`] when the run's directory no longer exists.
    pub fn look(&mut self, hints: &HashSet<PathBuf>, context: ScanContext<'_>) -> Result<(), LogFileError> {
        let root = self.home.open()?;
        let (mut again, mut moved) = (HashSet::new(), HashSet::new());
        for hint in hints {
            let path: RelativePath = hint.as_path().into();
            match root.stat(&path) {
                Ok(stat) if stat.kind == EntryKind::Directory => {
                    again.insert(parent(&path));
                    if self.directories.contains_key(&path) {
                        moved.insert(path.clone());
                    }
                    again.insert(path);
                }
                Ok(stat) if self.fits(&path, &stat) => {
                    self.consider(&path, &stat);
                }
                _ => {
                    again.insert(parent(&path));
                }
            }
        }
        if again.is_empty() {
            return Ok(());
        }
        if !moved.is_empty() {
            // It may have been moved away and back, which removes the watches below it.
            let is_below =
                |path: &&RelativePath| path.ancestors().any(|path| moved.contains(path.as_os_str()));
            again.extend(self.directories.keys().filter(is_below).cloned());
        }
        again.retain(|directory| self.directories.remove(directory).is_some());
        self.scan_anew(again, Depth::Changed, context)
    }

    /// Scans the whole tree as if for the first time: events were lost, so watches may be lost too.
    ///
    /// # Errors
    /// [`LogFileError::Gone`] when the run's directory no longer exists.
    pub fn rescan(&mut self, context: ScanContext<'_>) -> Result<(), LogFileError> {
        let forgotten = std::mem::take(&mut self.directories).into_keys();
        self.scan_anew(forgotten, Depth::Everything, context)
    }

    /// Scans after some directories were dropped from the tree. The watches of those that the scan did not
    /// find again, because it ended early or they are gone, are removed here.
    fn scan_anew(
        &mut self,
        forgotten: impl IntoIterator<Item = RelativePath>,
        depth: Depth,
        context: ScanContext<'_>,
    ) -> Result<(), LogFileError> {
        let scanned = self.scan(depth, context);
        for directory in forgotten {
            if scanned.is_err() || !self.directories.contains_key(&directory) {
                context.watch.forget_dir(&self.home.path.join(directory));
            }
        }
        scanned
    }

    /// Notes that the whole run is gone; files that are still open are read to their ends.
    pub fn mark_all_removed(&mut self, context: ScanContext<'_>) {
        self.is_noticed = false;
        self.forget_directories(&ScanFindings::default(), context);
        let paths: Vec<_> = self.files.keys().cloned().collect();
        for path in paths {
            self.mark_removed(&path);
        }
    }

    /// Gives the watches and the open files of the run back.
    pub fn retire(&mut self, context: ScanContext<'_>) {
        for directory in self.directories.keys() {
            context.watch.forget_dir(&self.home.path.join(directory));
        }
        self.close_idle(std::time::Duration::ZERO, Instant::now());
    }

    /// Queues files that end without a line end, so that their rest is read once more.
    pub fn enqueue_unfinished(&mut self) {
        let unfinished = |file: &FileState| {
            !file.gone
                && file
                    .cursor
                    .is_some_and(|cursor| cursor.offset.max(cursor.partial_end) < file.size)
        };
        let paths: Vec<_> = (self.files.iter())
            .filter(|(_, file)| unfinished(file))
            .map(|(path, _)| path.clone())
            .collect();
        for path in paths {
            self.enqueue(path);
        }
    }

    /// The queued files with their present sizes.
    #[must_use]
    pub fn read_targets(&self) -> Vec<(RelativePath, u64)> {
        let waiting = self.queue.iter();
        waiting
            .filter_map(|path| Some((path.clone(), self.files.get(path)?.size)))
            .collect()
    }

    /// True if each of these files is read up to that size.
    #[must_use]
    pub fn has_read_to(&self, targets: &[(RelativePath, u64)]) -> bool {
        targets.iter().all(|(path, size)| {
            self.files
                .get(path)
                .is_none_or(|file| !file.queued || file.cursor.is_some_and(|cursor| cursor.offset >= *size))
        })
    }

    /// True if a file is the one of its cursor.
    fn fits(&self, path: &Path, stat: &Stat) -> bool {
        stat.kind == EntryKind::File
            && self.files.get(path.as_os_str()).is_some_and(|file| {
                !file.gone && file.cursor.is_none_or(|cursor| cursor.inode.may_be(stat.inode))
            })
    }

    /// Queues a known file if it changed since it was read; true if it did.
    fn consider(&mut self, path: &RelativePath, stat: &Stat) -> bool {
        let is_news = self.files.get_mut(path).is_some_and(|file| file.is_news(stat));
        if is_news {
            self.queue.push_back(path.clone());
        }
        is_news
    }

    fn enqueue(&mut self, path: RelativePath) {
        if let Some(file) = self.files.get_mut(&path)
            && !file.queued
        {
            file.queued = true;
            self.queue.push_back(path);
        }
    }

    /// True if there is work without an event soon: to retry paths that could not be read, or to close files.
    #[must_use]
    pub fn needs_looks(&self) -> bool {
        self.failed.is_some() || !self.open.is_empty()
    }

    fn failed(&mut self) -> &mut Failed {
        self.failed.get_or_insert_default()
    }

    fn problem_at(&mut self, path: &Path, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.insert(path.to_owned(), problem);
        }
    }

    /// Replaces the position of a file by the stored one, from which it is read again.
    pub fn rewind_to(&mut self, path: &RelativePath, stored: Option<Position>) {
        let file = self.files.or_default(path);
        file.set_position(stored);
        file.seen = None;
        file.content = ContentKind::default();
        file.partial = None;
        file.holes = None;
        file.renamed_from = None;
        self.enqueue(path.clone());
    }
}

/// The sentences; most runs have none, and then nothing is allocated.
fn shared(sentences: impl ExactSizeIterator<Item = String>) -> Arc<[String]> {
    if sentences.len() == 0 {
        return Arc::default();
    }
    sentences.collect()
}

fn parent(path: &Path) -> RelativePath {
    path.parent().unwrap_or(Path::new("")).into()
}

#[cfg(test)]
mod tests;
