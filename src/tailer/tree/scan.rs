//! Scan of a run's directory: finds new, changed, removed and renamed files.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::{
    Depth, Directory, FileState, GONE_FILES_MAX, ScanContext, Tree, WATCHED_DIRECTORIES_MAX, parent,
};
use crate::logfile::unread::{self, LINKS_LOOKED_AT_MAX, Sorter};
use crate::logfile::{EntryKind, LogFile, LogFileError, Root, Stat};
use crate::model::{Cursor, RelativePath};
use crate::watch::WatchError;

/// The findings of one scan.
#[derive(Default)]
pub(super) struct ScanFindings {
    visited: HashSet<RelativePath>,
    listed: HashSet<RelativePath>,
    /// The number of known files that exist, and of new ones.
    present: usize,
    /// New files, and files with another inode than that of their cursor.
    new_inodes: BTreeMap<RelativePath, Stat>,
    news: usize,
    /// Directories that were watched before their visit, with their metadata before that; `None` for refused
    /// ones.
    ahead: HashMap<RelativePath, Option<Stat>>,
    /// The number of links that may still be inspected.
    links_left: usize,
    /// Directories that could not be listed completely, and are listed again even if they have not changed.
    failed: BTreeSet<RelativePath>,
}

impl Tree {
    /// Scans the whole tree.
    ///
    /// # Errors
    /// [`LogFileError::Gone`] when the run's directory no longer exists.
    pub fn scan(&mut self, depth: Depth, context: ScanContext<'_>) -> Result<(), LogFileError> {
        let root = self.home.open()?;
        if depth == Depth::Everything {
            self.problems.clear();
            self.watch_all_again(context);
        }
        self.scans = self.scans.wrapping_add(1);
        let failed = self.failed.take().map(|failed| *failed).unwrap_or_default();
        for path in failed.files {
            // The problem is added again if the file, or the run's directory, still cannot be read.
            self.problems.remove(&*path);
            self.problems.remove(Path::new(""));
            self.enqueue(path);
        }
        let mut found = ScanFindings {
            failed: failed.directories,
            present: self.files.values().filter(|file| !file.gone).count(),
            links_left: LINKS_LOOKED_AT_MAX,
            ..ScanFindings::default()
        };
        if self.directories.is_empty() && !context.unwatched {
            found.ahead = self.watch_ahead(&root, context);
        }
        // Level by level, so that there is one request to the watcher for each.
        let mut level: Vec<RelativePath> = vec![Path::new("").into()];
        while !level.is_empty() {
            let mut below = Vec::new();
            let mut changed = Vec::new();
            let (mut unwatched, mut watched) = (Vec::new(), 0);
            for directory in level {
                let looked = self.visit_directory(&root, &directory, depth, &mut found, &mut below);
                if let Some((stat, is_new)) = looked {
                    let ahead = found.ahead.remove(&directory).flatten();
                    let is_watched =
                        ahead.is_some_and(|then| (then.device, then.inode) == (stat.device, stat.inode));
                    if is_watched {
                        watched += 1;
                    } else if is_new && !context.unwatched {
                        let others = found.ahead.len() + watched;
                        self.want_watched(&directory, others, &mut unwatched, context);
                    }
                    changed.push((directory, stat));
                }
            }
            for error in context.watch.watch_dirs(unwatched) {
                // Its files are still read: the scans find the changes.
                tracing::debug!(%error, "not watched");
            }
            for (directory, stat) in changed {
                self.list(&root, &directory, &stat, context, &mut found, &mut below);
            }
            level = below;
        }
        for directory in found.ahead.keys() {
            context.watch.forget_dir(&self.home.path.join(directory));
        }
        self.forget_directories(&found, context);
        let removed = self.removed(&found);
        self.match_new_inodes(&mut found, &removed);
        // On a filesystem with events these changes would have had hints.
        self.news_without_hint = found.news > 0 && depth == Depth::Everything;
        for path in removed {
            self.mark_removed(&path);
        }
        self.forget_gone();
        Ok(())
    }

    /// Visits a directory. If it has to be listed, returns its metadata, and true if it is new or replaced
    /// another one.
    fn visit_directory(
        &mut self,
        root: &Root,
        directory: &RelativePath,
        depth: Depth,
        found: &mut ScanFindings,
        below: &mut Vec<RelativePath>,
    ) -> Option<(Stat, bool)> {
        let stat = match root.stat(directory) {
            Ok(stat) if stat.kind == EntryKind::Directory => stat,
            Err(error @ LogFileError::Io { .. }) => {
                self.failed().directories.insert(directory.clone());
                self.problem_at(directory, error.to_string());
                return None;
            }
            _ => return None,
        };
        found.visited.insert(directory.clone());
        let same = self.directories.get(directory).filter(|known| known.is(&stat));
        if let Some(known) = same
            && depth == Depth::Changed
            && known.changed_ns == stat.changed_ns
            && !found.failed.contains(directory)
        {
            below.extend(known.below.iter().cloned());
            return None;
        }
        Some((stat, same.is_none()))
    }

    /// Watches all directories, if there were too many before and are no longer; present watches stay.
    fn watch_all_again(&mut self, context: ScanContext<'_>) {
        if !self.partly_watched || context.unwatched || self.directories.len() > WATCHED_DIRECTORIES_MAX {
            return;
        }
        self.partly_watched = false;
        let all = self.directories.keys();
        let all = all.map(|directory| self.home.path.join(directory)).collect();
        for error in context.watch.watch_dirs(all) {
            tracing::debug!(%error, "not watched");
        }
    }

    /// Watches the directories of all known files in one request, parents before their children: later
    /// changes of a directory have an event in its parent. The first scan then has few requests.
    pub(super) fn watch_ahead(
        &self,
        root: &Root,
        context: ScanContext<'_>,
    ) -> HashMap<RelativePath, Option<Stat>> {
        let mut directories: BTreeSet<&OsStr> = BTreeSet::new();
        for file in self.files.keys() {
            for above in file.ancestors().skip(1) {
                // Its parents were added with another file.
                if !directories.insert(above.as_os_str()) {
                    break;
                }
            }
        }
        if directories.len() > WATCHED_DIRECTORIES_MAX {
            return HashMap::new();
        }
        let mut ahead: HashMap<RelativePath, Option<Stat>> = HashMap::new();
        let mut paths = Vec::with_capacity(directories.len());
        // In the order of their bytes each directory follows its parent.
        for directory in directories.into_iter().map(Path::new) {
            // Nothing is visited beyond a link.
            let is_below = directory
                .parent()
                .is_none_or(|above| ahead.contains_key(above.as_os_str()));
            if is_below
                && let Ok(stat) = root.stat(directory)
                && stat.kind == EntryKind::Directory
            {
                ahead.insert(directory.into(), Some(stat));
                paths.push(self.home.path.join(directory));
            }
        }
        let refused = context.watch.watch_dirs(paths);
        if !refused.is_empty() {
            let refused: HashSet<&Path> = refused.iter().map(WatchError::path).collect();
            for (directory, stat) in &mut ahead {
                // It is requested again at its visit.
                stat.take_if(|_| refused.contains(&*self.home.path.join(directory)));
            }
        }
        ahead
    }

    /// Adds a directory to those to be watched, within the bound.
    fn want_watched(
        &mut self,
        directory: &RelativePath,
        others: usize,
        unwatched: &mut Vec<PathBuf>,
        context: ScanContext<'_>,
    ) {
        if self.directories.len() + others + unwatched.len() < WATCHED_DIRECTORIES_MAX {
            return unwatched.push(self.home.path.join(directory));
        }
        // The watch may be from before a rescan.
        context.watch.forget_dir(&self.home.path.join(directory));
        self.partly_watched = true;
    }

    /// Lists a directory, which is watched by now.
    fn list(
        &mut self,
        root: &Root,
        directory: &RelativePath,
        stat: &Stat,
        context: ScanContext<'_>,
        found: &mut ScanFindings,
        below: &mut Vec<RelativePath>,
    ) {
        let (entries, mark) = match root.list_marked(directory) {
            Ok(listed) => listed,
            Err(error) => return self.not_listed(directory, &error, context),
        };
        found.listed.insert(directory.clone());
        self.is_noticed = false;
        self.problems
            .retain(|path, _| path != &**directory && path.parent() != Some(&**directory));
        let mut there = Vec::new();
        let place = self.home.in_runs.clone();
        let wants_directory = |path: &Path| context.globs.may_contain(&place.join(path));
        let wants_file = |path: &Path| context.globs.reads(&place.join(path));
        let mut links_left = found.links_left;
        let mut sorter = Sorter::new(root, &wants_directory, &wants_file, &mut links_left);
        let mut has_logs = false;
        for entry in entries {
            match entry.kind {
                EntryKind::Directory if !wants_directory(&entry.path) => {}
                EntryKind::Directory if entry.path.components().count() > context.limits.depth_max => {
                    let limit = context.limits.depth_max;
                    self.problem_at(
                        &entry.path,
                        format!(
                            "{} lies deeper than limits.depth_max = {limit} and is not read",
                            entry.path.display()
                        ),
                    );
                }
                EntryKind::Directory => there.push(entry.path.as_path().into()),
                EntryKind::File if wants_file(&entry.path) => {
                    has_logs = true;
                    self.visit_file(root, entry.path.as_path().into(), context, found);
                }
                _ => sorter.add(&entry),
            }
        }
        let mut unread = sorter.unread;
        found.links_left = links_left;
        // Files beside the mount belong to the orchestrator; without a mount they may be misplaced logs.
        if there.is_empty() && !has_logs && directory.as_os_str().is_empty() {
            let misses = |path: &Path| context.globs.misses(&place.join(path));
            unread.merge(&unread::not_included(root, wants_directory, misses));
        }
        below.extend(there.iter().cloned());
        let known = Directory {
            device: stat.device,
            inode: stat.inode,
            changed_ns: stat.changed_ns,
            mark,
            below: there.into(),
            unread: (!unread.is_empty()).then(|| Box::new(unread)),
        };
        self.directories.insert(directory.clone(), known);
    }

    /// Drops a directory that is gone; one that cannot be listed is listed again at the next scan.
    fn not_listed(&mut self, directory: &RelativePath, error: &LogFileError, context: ScanContext<'_>) {
        let is_gone = matches!(error, LogFileError::Gone(_) | LogFileError::Refused(_));
        if is_gone {
            self.directories.remove(directory);
        } else {
            self.failed().directories.insert(directory.clone());
            self.problem_at(directory, error.to_string());
        }
        if !self.directories.contains_key(directory) {
            // Only watches of directories in the tree are given back later.
            context.watch.forget_dir(&self.home.path.join(directory));
        }
    }

    /// Visits a wanted file of a listing.
    fn visit_file(
        &mut self,
        root: &Root,
        path: RelativePath,
        context: ScanContext<'_>,
        found: &mut ScanFindings,
    ) {
        let stat = match root.stat(&path) {
            Ok(stat) => stat,
            Err(error @ LogFileError::Io { .. }) => {
                self.failed().directories.insert(parent(&path));
                return self.problem_at(&path, error.to_string());
            }
            Err(_) => return,
        };
        let cursor = self.files.get(&path).and_then(|file| file.cursor);
        let is_same = cursor.is_none_or(|cursor| {
            cursor.inode.may_be(stat.inode) || is_renumbered(root, &path, &stat, &cursor)
        });
        let known = self.files.get_mut(&path);
        if known.as_ref().is_none_or(|file| file.gone) {
            let limit = context.limits.files_per_run_max;
            if found.present >= limit {
                return self.problem_at(
                    &path,
                    format!("more files than limits.files_per_run_max = {limit}; the others are not read"),
                );
            }
            found.present += 1;
        }
        match known {
            Some(file) if is_same => {
                file.found_in = self.scans;
                if file.is_news(&stat) {
                    found.news += 1;
                    self.queue.push_back(path);
                }
            }
            other => {
                if let Some(file) = other {
                    file.found_in = self.scans;
                }
                found.new_inodes.insert(path, stat);
            }
        }
    }

    /// Drops the directories that the scan did not find.
    pub(super) fn forget_directories(&mut self, found: &ScanFindings, context: ScanContext<'_>) {
        let path = &self.home.path;
        self.directories.retain(|directory, _| {
            let met = found.visited.contains(directory);
            if !met {
                context.watch.forget_dir(&path.join(directory));
            }
            met
        });
        let directories = &self.directories;
        self.problems.retain(|path, _| {
            path.parent()
                .is_none_or(|parent| directories.contains_key(parent.as_os_str()))
        });
    }

    /// Files that are no longer at their paths.
    fn removed(&self, found: &ScanFindings) -> BTreeSet<RelativePath> {
        let is_removed = |path: &Path| {
            let parent = path.parent().unwrap_or(Path::new(""));
            found.listed.contains(parent.as_os_str()) || !self.directories.contains_key(parent.as_os_str())
        };
        let known = (self.files.iter())
            .filter(|(path, file)| !file.gone && file.found_in != self.scans && is_removed(path));
        known.map(|(path, _)| path.clone()).collect()
    }

    /// Decides which of the new inodes are known files under a new name, and which are new files.
    fn match_new_inodes(&mut self, found: &mut ScanFindings, removed: &BTreeSet<RelativePath>) {
        let new_inodes = std::mem::take(&mut found.new_inodes);
        if new_inodes.is_empty() {
            return;
        }
        let mut orphaned = HashMap::new();
        for (home, file) in self.files.iter() {
            let left = file.gone || removed.contains(home) || new_inodes.contains_key(home);
            if let Some(cursor) = file.cursor.filter(|_| left) {
                orphaned.entry(cursor.inode).or_insert((home, cursor.offset));
            }
        }
        let mut renamed = BTreeMap::new();
        for (path, stat) in &new_inodes {
            if let Some(&(home, offset)) = orphaned.get(&stat.inode)
                && home != path
                && offset <= stat.size
                && !self.files.get(path).is_some_and(|file| file.has_unread_end())
            {
                renamed.entry(home.clone()).or_insert_with(|| path.clone());
            }
        }
        self.rename(in_order(renamed));
        for (path, stat) in new_inodes {
            self.files.or_default(&path);
            if self.consider(&path, &stat) {
                found.news += 1;
            }
        }
    }

    /// Moves files to their new names with their cursors. A file that had the name before is replaced.
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
            // With two renames before one commit the store has only the first name.
            file.renamed_from.get_or_insert(from);
            file.replaces |= self.files.get(&to).is_some_and(|there| there.cursor.is_some());
            self.files.insert(to.clone(), file);
            // At the front, so that its old name is free in the store when another file takes it.
            self.queue.push_front(to);
        }
    }

    pub(super) fn mark_removed(&mut self, path: &RelativePath) {
        if let Some(file) = self.files.get_mut(path)
            && !file.gone
        {
            self.is_noticed = false;
            file.gone = true;
            file.seen = None;
            if file.open.is_some() {
                self.enqueue(path.clone());
            }
        }
    }

    fn forget_gone(&mut self) {
        let idle = |file: &FileState| file.gone && !file.queued && file.open.is_none();
        if self.files.values().filter(|file| idle(file)).count() > GONE_FILES_MAX {
            self.files.retain(|_, file| !idle(file));
        }
    }
}

/// True if a file has another inode number and the same contents: some filesystems renumber their files each
/// time they drop them from memory. Those keep no birth times.
fn is_renumbered(root: &Root, path: &Path, stat: &Stat, cursor: &Cursor) -> bool {
    if stat.inode.born_ns != 0 || cursor.inode.born_ns != 0 {
        return false;
    }
    let fits = |log: LogFile| {
        let now = log.stat()?;
        Ok::<_, std::io::Error>(now.inode == stat.inode && log.continues(&now, cursor)?.is_some())
    };
    (root.open_file(path)).is_ok_and(|log| fits(log).unwrap_or(false))
}

/// Renames in an order in which each name is free when it is taken. Cyclic renames are left out: their files
/// are read again.
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
