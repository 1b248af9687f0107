//! What one run's directory holds, how far each file was read, and which have news.
//!
//! **Invariant**: what the filesystem says now and the stored cursor decide; a hint only says where to look.
//! Directories are watched first and listed after, so that nothing falls between the two.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::config::Limits;
use crate::globs::Globs;
use crate::logfile::{EntryKind, LogFile, LogFileError, Root, Stat};
use crate::record::{Batch, Cursor, Inode, Millis, RelativePath, RunId};
use crate::watch::Watch;

use super::turn::{self, Reading, Scanned};

/// Records of one share of reading; more wait for the next share.
const SHARE_RECORDS_MAX: usize = 16_384;
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
pub struct World<'w> {
    pub globs: &'w Globs,
    pub limits: &'w Limits,
    pub watch: &'w Watch,
}

/// What a file looked like when it was read to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    inode: Inode,
    size: u64,
    changed_ns: i64,
}

impl From<&Stat> for Seen {
    fn from(stat: &Stat) -> Self {
        Self {
            inode: stat.inode,
            size: stat.size,
            changed_ns: stat.changed_ns,
        }
    }
}

#[derive(Debug, Default)]
struct Tracked {
    /// The stored cursor, as far as we know; what was sent is taken for stored until the committer says otherwise.
    cursor: Option<Cursor>,
    seen: Option<Seen>,
    scanned: Scanned,
    open: Option<LogFile>,
    active: Option<Instant>,
    renamed_from: Option<RelativePath>,
    /// It was renamed over another file, whose content is gone.
    replaces: bool,
    /// Its size when it was last looked at.
    size: u64,
    gone: bool,
    queued: bool,
}

impl Tracked {
    /// Whether the open file has more than was read: it is read to its end before another takes its place.
    fn has_unread_end(&self) -> bool {
        let read_to = self.cursor.map_or(0, |cursor| cursor.offset);
        let size = self.open.as_ref().map(LogFile::stat);
        matches!(size, Some(Ok(stat)) if stat.size > read_to)
    }
}

#[derive(Debug)]
struct Directory {
    device: u64,
    inode: Inode,
    changed_ns: i64,
    below: Vec<RelativePath>,
}

/// A run's directory.
#[derive(Debug)]
pub struct Tree {
    run: RunId,
    path: PathBuf,
    files: BTreeMap<RelativePath, Tracked>,
    directories: BTreeMap<RelativePath, Directory>,
    queue: VecDeque<RelativePath>,
    /// Paths of the files that are open, the longest untouched first.
    open: VecDeque<RelativePath>,
    /// **Invariant**: what is wrong at a path stays until the directory it lies in is listed again, or is gone.
    problems: BTreeMap<PathBuf, String>,
    refused: BTreeSet<PathBuf>,
    /// Whether the last full scan found changes: nothing had hinted at them.
    pub news_without_hint: bool,
}

/// What one scan saw.
#[derive(Default)]
struct Found {
    visited: HashSet<RelativePath>,
    listed: HashSet<RelativePath>,
    files: BTreeSet<RelativePath>,
    /// How many files there were, and new ones.
    present: usize,
    /// New files, and files with another inode than their cursor's.
    strangers: BTreeMap<RelativePath, Stat>,
    news: usize,
}

impl Tree {
    /// A run's directory with the cursors stored for it.
    #[must_use]
    pub fn new(run: RunId, path: PathBuf, cursors: BTreeMap<RelativePath, Cursor>) -> Self {
        let tracked = |cursor| Tracked {
            cursor: Some(cursor),
            gone: true,
            ..Tracked::default()
        };
        Self {
            run,
            path,
            files: cursors
                .into_iter()
                .map(|(path, cursor)| (path, tracked(cursor)))
                .collect(),
            directories: BTreeMap::new(),
            queue: VecDeque::new(),
            open: VecDeque::new(),
            problems: BTreeMap::new(),
            refused: BTreeSet::new(),
            news_without_hint: false,
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
        let (_, first) = self.problems.first_key_value()?;
        Some(match self.problems.len() {
            1 => first.clone(),
            PROBLEMS_MAX.. => format!("{first}; and {PROBLEMS_MAX} or more like it"),
            count => format!("{first}; and {} more", count - 1),
        })
    }

    /// Looks where hints point, and wherever they show that the tree is not what it was.
    ///
    /// # Errors
    /// [`LogFileError::Gone`] when the run's directory is no longer there.
    pub fn look(&mut self, hints: &HashSet<PathBuf>, world: World<'_>) -> Result<(), LogFileError> {
        let root = Root::open(&self.path)?;
        let mut again = HashSet::new();
        for hint in hints {
            let path: RelativePath = hint.as_path().into();
            match root.stat(&path) {
                Ok(stat) if stat.kind == EntryKind::Directory => {
                    again.insert(path.clone());
                    again.insert(parent(&path));
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
        for directory in &again {
            self.directories.remove(directory);
        }
        self.scan(Depth::Changed, world)
    }

    /// Goes through the whole tree as if it had never been seen: events were lost, so watches may be too.
    ///
    /// # Errors
    /// [`LogFileError::Gone`] when the run's directory is no longer there.
    pub fn rescan(&mut self, world: World<'_>) -> Result<(), LogFileError> {
        self.directories.clear();
        self.scan(Depth::Everything, world)
    }

    /// Goes through the whole tree.
    ///
    /// # Errors
    /// [`LogFileError::Gone`] when the run's directory is no longer there.
    pub fn scan(&mut self, depth: Depth, world: World<'_>) -> Result<(), LogFileError> {
        let root = Root::open(&self.path)?;
        if depth == Depth::Everything {
            self.problems.clear();
        }
        let mut found = Found {
            present: self.files.values().filter(|file| !file.gone).count(),
            ..Found::default()
        };
        let mut pending: Vec<RelativePath> = vec![Path::new("").into()];
        while let Some(directory) = pending.pop() {
            self.visit(&root, &directory, depth, world, &mut found, &mut pending);
        }
        self.forget_directories(&found, world);
        let vanished = self.vanished(&found);
        self.settle_strangers(&mut found, &vanished);
        // Events would have told, if this filesystem had any.
        self.news_without_hint = found.news > 0 && depth == Depth::Everything;
        for path in vanished {
            self.vanish(&path);
        }
        self.forget_gone();
        Ok(())
    }

    /// Everything of this run is gone: what is still open is read to its end.
    pub fn vanish_all(&mut self, world: World<'_>) {
        self.forget_directories(&Found::default(), world);
        let paths: Vec<_> = self.files.keys().cloned().collect();
        for path in paths {
            self.vanish(&path);
        }
    }

    /// Whether a file is the one its cursor was made in.
    fn fits(&self, path: &Path, stat: &Stat) -> bool {
        stat.kind == EntryKind::File
            && self
                .files
                .get(path)
                .is_some_and(|file| !file.gone && file.cursor.is_none_or(|cursor| cursor.inode == stat.inode))
    }

    /// Queues a known file if it changed since it was read; says whether it did.
    fn consider(&mut self, path: &RelativePath, stat: &Stat) -> bool {
        let Some(file) = self.files.get_mut(path) else {
            return false;
        };
        file.gone = false;
        file.size = stat.size;
        let changed = file.seen != Some(Seen::from(stat));
        if changed {
            self.enqueue(path.clone());
        }
        changed
    }

    fn enqueue(&mut self, path: RelativePath) {
        if let Some(file) = self.files.get_mut(&path)
            && !file.queued
        {
            file.queued = true;
            self.queue.push_back(path);
        }
    }

    fn visit(
        &mut self,
        root: &Root,
        directory: &RelativePath,
        depth: Depth,
        world: World<'_>,
        found: &mut Found,
        pending: &mut Vec<RelativePath>,
    ) {
        let stat = match root.stat(directory) {
            Ok(stat) if stat.kind == EntryKind::Directory => stat,
            Err(error @ LogFileError::Io { .. }) => return self.problem_at(directory, error.to_string()),
            _ => return,
        };
        found.visited.insert(directory.clone());
        let same = self
            .directories
            .get(directory)
            .filter(|known| known.device == stat.device && known.inode == stat.inode);
        if let Some(known) = same {
            if depth == Depth::Changed && known.changed_ns == stat.changed_ns {
                pending.extend(known.below.iter().cloned());
                return;
            }
        } else {
            // Not to be watched is no reason not to be read: the scans find what happens there.
            let full = self.path.join(directory);
            if let Err(error) = world.watch.watch_dir(&full) {
                tracing::debug!(directory = %full.display(), %error, "not watched");
            }
        }
        let entries = match root.list(directory) {
            Ok(entries) => entries,
            Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => return,
            Err(error) => return self.problem_at(directory, error.to_string()),
        };
        found.listed.insert(directory.clone());
        self.problems
            .retain(|path, _| path != &**directory && path.parent() != Some(&**directory));
        let mut below = Vec::new();
        for entry in entries {
            let in_runs = Path::new(self.run.as_str()).join(&entry.path);
            match entry.kind {
                EntryKind::Directory if !world.globs.may_contain(&in_runs) => {}
                EntryKind::Directory if entry.path.components().count() > world.limits.depth_max => {
                    let limit = world.limits.depth_max;
                    self.problem_at(
                        &entry.path,
                        format!(
                            "{} lies deeper than limits.depth_max = {limit} and is not read",
                            entry.path.display()
                        ),
                    );
                }
                EntryKind::Directory => below.push(entry.path.as_path().into()),
                EntryKind::File | EntryKind::Other if !world.globs.reads(&in_runs) => {}
                EntryKind::File => self.meet(root, entry.path.as_path().into(), world, found),
                EntryKind::Other => self.refuse(&entry.path),
            }
        }
        pending.extend(below.iter().cloned());
        let known = Directory {
            device: stat.device,
            inode: stat.inode,
            changed_ns: stat.changed_ns,
            below,
        };
        self.directories.insert(directory.clone(), known);
    }

    /// A wanted file that a listing shows.
    fn meet(&mut self, root: &Root, path: RelativePath, world: World<'_>, found: &mut Found) {
        let stat = match root.stat(&path) {
            Ok(stat) => stat,
            Err(error @ LogFileError::Io { .. }) => return self.problem_at(&path, error.to_string()),
            Err(_) => return,
        };
        let known = self.files.get(&path);
        if known.is_none_or(|file| file.gone) {
            let limit = world.limits.files_per_run_max;
            if found.present >= limit {
                return self.problem_at(
                    &path,
                    format!("more files than limits.files_per_run_max = {limit}; the others are not read"),
                );
            }
            found.present += 1;
        }
        found.files.insert(path.clone());
        let is_stranger =
            known.is_none_or(|file| file.cursor.is_some_and(|cursor| cursor.inode != stat.inode));
        if is_stranger {
            found.strangers.insert(path, stat);
        } else if self.consider(&path, &stat) {
            found.news += 1;
        }
    }

    /// Something with a wanted name that is no regular file: told once.
    fn refuse(&mut self, path: &Path) {
        if self.refused.len() < GONE_FILES_MAX && self.refused.insert(path.to_owned()) {
            tracing::warn!(run = %self.run, path = %path.display(), "no regular file; it is left alone");
        }
    }

    /// Directories that were not met any more.
    fn forget_directories(&mut self, found: &Found, world: World<'_>) {
        let path = &self.path;
        self.directories.retain(|directory, _| {
            let met = found.visited.contains(directory);
            if !met {
                world.watch.forget_dir(&path.join(directory));
            }
            met
        });
        let directories = &self.directories;
        self.problems
            .retain(|path, _| path.as_os_str().is_empty() || directories.contains_key(&parent(path)));
    }

    /// Files that are not where they were.
    fn vanished(&self, found: &Found) -> BTreeSet<RelativePath> {
        let is_vanished = |path: &RelativePath| {
            let parent = parent(path);
            (found.listed.contains(&parent) && !found.files.contains(path))
                || !self.directories.contains_key(&parent)
        };
        let known = self
            .files
            .iter()
            .filter(|(path, file)| !file.gone && is_vanished(path));
        known.map(|(path, _)| path.clone()).collect()
    }

    /// Finds out which strangers are old files under a new name, and which are new.
    fn settle_strangers(&mut self, found: &mut Found, vanished: &BTreeSet<RelativePath>) {
        let strangers = std::mem::take(&mut found.strangers);
        if strangers.is_empty() {
            return;
        }
        let mut homeless = HashMap::new();
        for (home, file) in &self.files {
            let left = file.gone || vanished.contains(home) || strangers.contains_key(home);
            if let Some(cursor) = file.cursor.filter(|_| left) {
                homeless.entry(cursor.inode).or_insert((home, cursor.offset));
            }
        }
        let mut renamed = BTreeMap::new();
        for (path, stat) in &strangers {
            if let Some(&(home, offset)) = homeless.get(&stat.inode)
                && home != path
                && offset <= stat.size
                && !self.files.get(path).is_some_and(Tracked::has_unread_end)
            {
                renamed.entry(home.clone()).or_insert_with(|| path.clone());
            }
        }
        self.rename(in_order(renamed));
        for (path, stat) in strangers {
            self.files.entry(path.clone()).or_default();
            if self.consider(&path, &stat) {
                found.news += 1;
            }
        }
    }

    /// Files stand under new names: they keep their cursors. What stood there before is replaced.
    fn rename(&mut self, renames: Vec<(RelativePath, RelativePath)>) {
        let touched: HashSet<&RelativePath> = renames.iter().flat_map(|(from, to)| [from, to]).collect();
        self.queue.retain(|path| !touched.contains(path));
        self.open.retain(|path| !touched.contains(path));
        let taken: Vec<_> = renames
            .into_iter()
            .filter_map(|(from, to)| Some((self.files.remove(&from)?, from, to)))
            .collect();
        for (mut file, from, to) in taken.into_iter().rev() {
            file.open = None;
            file.gone = false;
            file.seen = None;
            file.queued = true;
            // Two renames before one commit: the store knows only the first name.
            file.renamed_from.get_or_insert(from);
            file.replaces |= self.files.get(&to).is_some_and(|there| there.cursor.is_some());
            self.files.insert(to.clone(), file);
            // First, so that the name it left is free in the store when another file is found there.
            self.queue.push_front(to);
        }
    }

    fn vanish(&mut self, path: &RelativePath) {
        if let Some(file) = self.files.get_mut(path)
            && !file.gone
        {
            file.gone = true;
            file.seen = None;
            if file.open.is_some() {
                self.enqueue(path.clone());
            }
        }
    }

    fn forget_gone(&mut self) {
        let idle = |file: &Tracked| file.gone && !file.queued && file.open.is_none();
        if self.files.values().filter(|file| idle(file)).count() > GONE_FILES_MAX {
            self.files.retain(|_, file| !idle(file));
        }
    }

    fn problem_at(&mut self, path: &Path, problem: String) {
        if self.problems.len() < PROBLEMS_MAX {
            self.problems.insert(path.to_owned(), problem);
        }
    }

    /// Reads files with news, one turn each, until the share is used up.
    #[must_use]
    pub fn read_share(&mut self, reading: &Reading, buffer: &mut Vec<u8>, now: Millis) -> Vec<Batch> {
        let root = Root::open(&self.path).ok();
        let mut batches = Vec::new();
        let (mut bytes, mut records) = (0, 0);
        while bytes < reading.turn_bytes_max
            && records < SHARE_RECORDS_MAX
            && let Some(path) = self.queue.pop_front()
        {
            if let Some(file) = self.files.get_mut(&path) {
                file.queued = false;
            }
            match self.turn(root.as_ref(), &path, reading, buffer, now) {
                Ok((batch, read)) => {
                    // What was read, not what became of it: a skipped line has its share of the time too.
                    bytes += read.max(1);
                    if let Some(batch) = batch {
                        records += batch.records.len();
                        batches.push(batch);
                    }
                }
                Err(LogFileError::Gone(_)) => self.vanish(&path),
                Err(LogFileError::Refused(_)) => self.refuse(&path),
                // The next scan finds it unseen and tries again.
                Err(error) => self.problem_at(&path, error.to_string()),
            }
        }
        batches
    }

    /// One turn on one file: what it gave, if it did, and how many bytes were read for it.
    fn turn(
        &mut self,
        root: Option<&Root>,
        path: &RelativePath,
        reading: &Reading,
        buffer: &mut Vec<u8>,
        now: Millis,
    ) -> Result<(Option<Batch>, u64), LogFileError> {
        let full = self.path.join(path);
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
        let (cursor, tail) = turn::start(&log, &stat, file.cursor, &self.run, path).map_err(failed)?;
        let same_place = file
            .cursor
            .is_some_and(|stored| stored.generation == cursor.generation);
        let scanned = if same_place {
            file.scanned
        } else {
            Scanned::default()
        };
        let turn = turn::read(&log, cursor, tail, scanned, reading, buffer).map_err(failed)?;
        let (more, read_bytes) = (turn.more, turn.read_bytes);
        file.scanned = turn.scanned;
        file.active = Some(Instant::now());
        let is_news = file.cursor != Some(turn.cursor) || turn.lines.read > 0 || file.renamed_from.is_some();
        let batch = is_news.then(|| {
            let mut batch = turn.into_batch(self.run.clone(), path.clone(), file.cursor, now);
            batch.renamed_from = file.renamed_from.take();
            if std::mem::take(&mut file.replaces) {
                batch.cursor.generation = batch.cursor.generation.wrapping_add(1);
            }
            file.cursor = Some(batch.cursor);
            batch
        });
        if more || last_of_old {
            // What replaced the old content, or the rest of this one, comes next.
            file.open = more.then_some(log);
            self.enqueue(path.clone());
        } else if file.gone {
            file.open = None;
        } else {
            file.seen = Some(Seen::from(&stat));
            file.open = Some(log);
            self.opened(path);
        }
        Ok((batch, read_bytes))
    }

    /// Remembers that a file is open; closes the one that was longest untouched if there are too many.
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

    /// Closes files that had no news for a while, so that nobody's unmount fails on us.
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

    /// The committer holds another cursor for a file than we thought: read on from that one.
    pub fn correct(&mut self, path: &RelativePath, stored: Option<Cursor>) {
        let file = self.files.entry(path.clone()).or_default();
        file.cursor = stored;
        file.seen = None;
        file.scanned = Scanned::default();
        file.renamed_from = None;
        self.enqueue(path.clone());
    }
}

/// The log to read now: the open one if it is still what stands at the path, or if it is not and its end was not
/// read yet (`true`: another follows); else the one at the path.
fn open_for_turn(
    root: Option<&Root>,
    path: &Path,
    file: &mut Tracked,
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
    if let Some(open) = file.open.take() {
        let stat = open.stat().map_err(failed)?;
        let is_same = stands.is_some_and(|stands| stands.inode == stat.inode && stands.device == stat.device);
        if is_same {
            return Ok(Some((open, false)));
        }
        let unread = file
            .cursor
            .is_some_and(|cursor| cursor.inode == stat.inode && cursor.offset < stat.size);
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

/// Renames in an order in which each name is free when it is taken. Those that only changed places among themselves
/// are left out: they are read anew.
fn in_order(mut renamed: BTreeMap<RelativePath, RelativePath>) -> Vec<(RelativePath, RelativePath)> {
    let mut ordered = Vec::with_capacity(renamed.len());
    while let Some((from, to)) = renamed.pop_first() {
        let mut chain = vec![(from, to)];
        while let Some((from, to)) = chain.last().and_then(|(_, to)| renamed.remove_entry(to)) {
            chain.push((from, to));
        }
        let is_circle = chain.last().map(|(_, to)| to) == chain.first().map(|(from, _)| from);
        if !is_circle {
            ordered.extend(chain.into_iter().rev());
        }
    }
    ordered
}

fn parent(path: &Path) -> RelativePath {
    path.parent().unwrap_or(Path::new("")).into()
}

/// A reader that panics, for tests of what a panic does to the others.
#[cfg(test)]
pub mod fault {
    use std::path::Path;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// How many more turns on a file called `panics.jsonl` panic.
    pub static PANICS_LEFT: AtomicU32 = AtomicU32::new(0);

    pub fn strike(path: &Path) {
        let strikes = path.ends_with("panics.jsonl")
            && PANICS_LEFT
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
        assert!(!strikes, "a panic was asked for");
    }
}
