//! What one run's directory holds, how far each file was read, and which have news.
//!
//! **Invariant**: what the filesystem says now and the stored cursor decide; a hint only says where to look.
//! Directories are watched first and listed after, so that nothing falls between the two.

mod holes;
mod open_files;
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
use crate::model::{Cursor, Inode, ParserState, Position, RelativePath, RunId};
use crate::parse::foreign::Look;
use crate::watch::Watch;

use crate::logfile::unread::{Unread, UnreadKind};
use crate::reader::PartialLine;
use holes::Holes;
use open_files::OpenFile;
use scan::ScanFindings;

/// Records of one share of reading; more wait for the next share.
pub const SHARE_RECORDS_MAX: u32 = 16_384;
/// Directories of one run that are watched. Giving watches back costs the more the more there are, and all runs wait
/// for it; the directories beyond are scanned at every scan.
const WATCHED_DIRECTORIES_MAX: usize = 1024;
/// Files of one run kept open at once.
const OPEN_FILES_MAX: usize = 8;
/// Vanished files remembered, to know them again under another name.
const GONE_FILES_MAX: usize = 1024;
/// Problems told apart in a run's status.
const PROBLEMS_MAX: usize = 8;

/// How thoroughly to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// List directories that changed; trust events for the files in the others.
    Changed,
    /// List every directory and look at every file.
    Everything,
}

/// What a tree needs from its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct ScanContext<'w> {
    pub globs: &'w Globs,
    pub limits: &'w Limits,
    pub watch: &'w Watch,
    /// A run that is stopped is scanned now and then, and not watched.
    pub unwatched: bool,
}

/// What a file looked like when it was read to its end.
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
    /// The stored cursor, as far as we know; what was sent is taken for stored until the committer says otherwise.
    cursor: Option<Cursor>,
    /// What the parser keeps of the lines before that cursor.
    state: ParserState,
    seen: Option<FileStamp>,
    scanned: PartialLine,
    open: Option<OpenFile>,
    active: Option<Instant>,
    renamed_from: Option<RelativePath>,
    /// It was renamed over another file, whose content is gone.
    replaces: bool,
    /// Its size when it was last looked at.
    size: u64,
    gone: bool,
    queued: bool,
    /// What it looks like, as far as it was seen.
    look: Look,
    /// The last scan that met it, by its number in [`Tree::scans`].
    met_in: u64,
    /// NUL bytes in it that are waited for, or were read over.
    holes: Option<Box<Holes>>,
}

impl FileState {
    /// How far it was read, as it is stored.
    fn position(&self) -> Option<Position> {
        self.cursor.map(|cursor| Position {
            cursor,
            state: self.state.clone(),
        })
    }

    fn set_position(&mut self, position: Option<Position>) {
        (self.cursor, self.state) = match position {
            Some(Position { cursor, state }) => (Some(cursor), state),
            None => Default::default(),
        };
    }

    /// Takes what the filesystem says of the file: whether it is to be queued, as it counts from now on.
    fn is_news(&mut self, stat: &Stat) -> bool {
        self.gone = false;
        self.size = stat.size;
        // What is queued was told of already.
        let is_news = self.seen != Some(FileStamp::from(stat)) && !self.queued;
        self.queued |= is_news;
        is_news
    }

    /// Whether the open file has more than was read: it is read to its end before another takes its place.
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
    /// What it held when it was listed, see [`crate::logfile::Root::mark`].
    mark: u64,
    below: Vec<RelativePath>,
    /// What is in it and not read, if anything.
    unread: Option<Box<Unread>>,
}

impl Directory {
    /// Whether it is still this one that stands there.
    fn is(&self, stat: &Stat) -> bool {
        self.device == stat.device && self.inode == stat.inode
    }
}

/// What could not be read for a reason that may be over soon.
#[derive(Debug, Default)]
struct Failed {
    /// To be listed again, though they be as they were.
    directories: BTreeSet<RelativePath>,
    /// To be queued again.
    files: BTreeSet<RelativePath>,
}

/// A run's directory.
#[derive(Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any mix of them occurs"
)]
pub struct Tree {
    run: RunId,
    home: RunDir,
    /// In boxes, because most runs have few files and a node of the map has room for eleven.
    files: BTreeMap<RelativePath, Box<FileState>>,
    directories: BTreeMap<RelativePath, Box<Directory>>,
    queue: VecDeque<RelativePath>,
    /// How many scans there were.
    scans: u64,
    /// Paths of the files that are open, the longest untouched first.
    open: VecDeque<RelativePath>,
    /// Whether there were more directories than are watched.
    pub partly_watched: bool,
    /// Whether only this kernel changes what it holds, as of the first look.
    is_local: bool,
    /// What cannot be read.
    /// **Invariant**: what is wrong at a path stays until the directory it lies in is listed again, or is gone, or what is at the path is
    /// tried again.
    problems: BTreeMap<PathBuf, String>,
    /// What the next scan tries again; `None` where there is nothing.
    failed: Option<Box<Failed>>,
    /// Kinds of what is not read that there were so far.
    noticed: BTreeSet<UnreadKind>,
    /// Whether something may be read, or not read, that was not when the notices were last made.
    is_noticed: bool,
    /// Whether the last full scan found changes: nothing had hinted at them.
    pub news_without_hint: bool,
    /// When the first of the holes that are waited for has been waited for long enough.
    hole_due: Option<Instant>,
}

impl Tree {
    /// A run's directory with the positions stored for it.
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
            directories: BTreeMap::new(),
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

    /// Whether files with news are waiting.
    #[must_use]
    pub fn has_news(&self) -> bool {
        !self.queue.is_empty()
    }

    /// How many bytes are waiting to be read.
    #[must_use]
    pub fn lag(&self) -> u64 {
        let waiting = self.queue.iter().filter_map(|path| self.files.get(path));
        waiting
            .map(|file| {
                let read_to =
                    |cursor: Cursor| cursor.skip_to.map_or(cursor.offset, std::num::NonZeroU64::get);
                file.size.saturating_sub(file.cursor.map_or(0, read_to))
            })
            .sum()
    }

    /// What is wrong in this run, in a sentence.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let unwatched = self.partly_watched.then(|| {
            format!("more than {WATCHED_DIRECTORIES_MAX} directories; those beyond are scanned, not watched")
        });
        self.unread().or(unwatched)
    }

    /// What of this run cannot be read, in a sentence: what is counted of it is less than what was used.
    #[must_use]
    pub fn unread(&self) -> Option<String> {
        let (_, first) = self.problems.first_key_value()?;
        Some(match self.problems.len() {
            1 => first.clone(),
            PROBLEMS_MAX.. => format!("{first}; and {PROBLEMS_MAX} or more like it"),
            count => format!("{first}; and {} more", count - 1),
        })
    }

    /// What lies in this run and is not read, in a sentence for each kind, if that may have changed; and the sentences
    /// of kinds that were never among them.
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
            if let Some(kind) = UnreadKind::of(file.look) {
                all.add(kind, path, None);
            }
            if file.has_passed_holes() {
                all.add(UnreadKind::Hole, path, None);
            }
        }
        let sentences = all.sentences(&self.home.path, has_logs);
        let mut new = Vec::new();
        for (kind, sentence) in &sentences {
            if self.noticed.insert(*kind) {
                new.push(sentence.clone());
            }
        }
        Some((sentences.into_iter().map(|(_, sentence)| sentence).collect(), new))
    }

    /// Looks where hints point, and wherever they show that the tree is not what it was.
    ///
    /// # Errors
    /// [`LogFileError::Gone`] when the run's directory is no longer there.
    pub fn look(&mut self, hints: &HashSet<PathBuf>, world: ScanContext<'_>) -> Result<(), LogFileError> {
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
            // It may have been away and be back: then the watches of what lies below it went with it.
            let is_below =
                |path: &&RelativePath| path.ancestors().any(|path| moved.contains(path.as_os_str()));
            again.extend(self.directories.keys().filter(is_below).cloned());
        }
        again.retain(|directory| self.directories.remove(directory).is_some());
        self.scan_anew(again, Depth::Changed, world)
    }

    /// Goes through the whole tree as if it had never been seen: events were lost, so watches may be too.
    ///
    /// # Errors
    /// [`LogFileError::Gone`] when the run's directory is no longer there.
    pub fn rescan(&mut self, world: ScanContext<'_>) -> Result<(), LogFileError> {
        let forgotten = std::mem::take(&mut self.directories).into_keys();
        self.scan_anew(forgotten, Depth::Everything, world)
    }

    /// Scans after some directories were forgotten. Of those the scan did not meet, because it ended early or they are
    /// gone, nobody else knows that they are watched.
    fn scan_anew(
        &mut self,
        forgotten: impl IntoIterator<Item = RelativePath>,
        depth: Depth,
        world: ScanContext<'_>,
    ) -> Result<(), LogFileError> {
        let scanned = self.scan(depth, world);
        for directory in forgotten {
            if scanned.is_err() || !self.directories.contains_key(&directory) {
                world.watch.forget_dir(&self.home.path.join(directory));
            }
        }
        scanned
    }

    /// Everything of this run is gone: what is still open is read to its end.
    pub fn vanish_all(&mut self, world: ScanContext<'_>) {
        self.is_noticed = false;
        self.forget_directories(&ScanFindings::default(), world);
        let paths: Vec<_> = self.files.keys().cloned().collect();
        for path in paths {
            self.vanish(&path);
        }
    }

    /// Gives back what holds the run's directories and files: watches and descriptors.
    pub fn retire(&mut self, world: ScanContext<'_>) {
        for directory in self.directories.keys() {
            world.watch.forget_dir(&self.home.path.join(directory));
        }
        self.close_idle(std::time::Duration::ZERO, Instant::now());
    }

    /// Queues files that end without a line end, so that what is there is read once more.
    pub fn enqueue_unfinished(&mut self) {
        let unfinished = |file: &FileState| {
            !file.gone
                && file
                    .cursor
                    .is_some_and(|cursor| cursor.offset.max(cursor.settled_to) < file.size)
        };
        let paths: Vec<_> = (self.files.iter())
            .filter(|(_, file)| unfinished(file))
            .map(|(path, _)| path.clone())
            .collect();
        for path in paths {
            self.enqueue(path);
        }
    }

    /// The files that wait and how long they are now.
    #[must_use]
    pub fn goals(&self) -> Vec<(RelativePath, u64)> {
        let waiting = self.queue.iter();
        waiting
            .filter_map(|path| Some((path.clone(), self.files.get(path)?.size)))
            .collect()
    }

    /// Whether each of these is read as far as it then was.
    #[must_use]
    pub fn has_reached(&self, goals: &[(RelativePath, u64)]) -> bool {
        goals.iter().all(|(path, size)| {
            self.files
                .get(path)
                .is_none_or(|file| !file.queued || file.cursor.is_some_and(|cursor| cursor.offset >= *size))
        })
    }

    /// Whether a file is the one its cursor was made in.
    fn fits(&self, path: &Path, stat: &Stat) -> bool {
        stat.kind == EntryKind::File
            && self.files.get(path.as_os_str()).is_some_and(|file| {
                !file.gone && file.cursor.is_none_or(|cursor| cursor.inode.may_be(stat.inode))
            })
    }

    /// Queues a known file if it changed since it was read; says whether that is news.
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

    /// Whether there is something to be done soon that no event tells of: to try again what could not be read, or to close
    /// files.
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

    /// The committer holds another position for a file than we thought: read on from that one.
    pub fn correct(&mut self, path: &RelativePath, stored: Option<Position>) {
        let file = self.files.entry(path.clone()).or_default();
        file.set_position(stored);
        file.seen = None;
        file.look = Look::default();
        file.scanned = PartialLine::default();
        file.holes = None;
        file.renamed_from = None;
        self.enqueue(path.clone());
    }
}

fn parent(path: &Path) -> RelativePath {
    path.parent().unwrap_or(Path::new("")).into()
}

#[cfg(test)]
mod tests;
