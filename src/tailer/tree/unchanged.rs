//! Comparison of a tree with the filesystem, without a scan: the most frequent operation of a collector at
//! rest.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Depth, Directory, FileStamp, Tree};
use crate::logfile::mounts::is_local;
use crate::logfile::{EntryKind, Root, Stat, stat_path};

impl Directory {
    /// True if the directory exists and its entries have not changed.
    fn is_unchanged(&self, stat: &Stat) -> bool {
        stat.kind == EntryKind::Directory && self.is(stat) && self.changed_ns == stat.changed_ns
    }
}

impl Tree {
    /// True if a scan of this depth would find no change. It compares what such a scan compares, and keeps
    /// nothing; in doubt it returns false, and a scan decides.
    #[must_use]
    pub fn is_unchanged(&self, depth: Depth) -> bool {
        // Only a scan finds out if a problem is over.
        let is_known = self.queue.is_empty() && self.problems.is_empty() && !self.directories.is_empty();
        if !is_known {
            return false;
        }
        if depth == Depth::Changed && !self.home.is_own {
            // The top comes first, and each directory before those in it, so that no link on the way is
            // missed.
            let home = &self.home.path;
            let mut directories = self.directories.iter();
            return directories.all(|(path, known)| {
                // A link would be followed if the path ended with a slash.
                let is_top = path.as_os_str().is_empty();
                let full = if is_top {
                    home.to_path_buf()
                } else {
                    home.join(path)
                };
                stat_path(&full).is_ok_and(|stat| known.is_unchanged(&stat))
            });
        }
        self.home.open().is_ok_and(|root| {
            self.are_directories_unchanged(&root, depth)
                && (depth == Depth::Changed || self.are_files_unchanged(&root))
        })
    }

    /// The devices of its files: a mount in a run has a device of its own.
    pub fn devices(&self) -> impl Iterator<Item = u64> {
        self.files.keys().filter_map(|path| self.device_of(path))
    }

    /// The devices of its directories, each once.
    #[must_use]
    pub fn all_devices(&self) -> Vec<u64> {
        let devices: BTreeSet<u64> = self
            .directories
            .values()
            .map(|directory| directory.device)
            .collect();
        devices.into_iter().collect()
    }

    /// The devices that only this kernel changes, so that each change there has an event, and the times of
    /// directories are correct. It accesses the filesystem.
    #[must_use]
    pub fn local_devices(&mut self) -> Vec<u64> {
        let mut devices = self.all_devices();
        let all = devices.len();
        devices.retain(|device| {
            let mut directories = self.directories.iter();
            let found = directories.find(|(_, directory)| directory.device == *device);
            found.is_some_and(|(path, _)| is_local(&self.home.path.join(path)))
        });
        self.is_local = all > 0 && devices.len() == all;
        devices
    }

    /// The device of a path, as far as it was scanned.
    #[must_use]
    fn device_of(&self, path: &Path) -> Option<u64> {
        let directory = path
            .ancestors()
            .find_map(|path| self.directories.get(path.as_os_str()));
        directory.map(|directory| directory.device)
    }

    /// The device of a path if that is a file with news. A hint at a directory does not prove that events
    /// arrive from there: it may come from the directory above, which may be on another device, or from no
    /// event at all.
    #[must_use]
    pub fn device_of_news(&self, path: &Path) -> Option<u64> {
        let file = self.files.get(path.as_os_str())?;
        file.queued.then(|| self.device_of(path)).flatten()
    }

    fn are_directories_unchanged(&self, root: &Root, depth: Depth) -> bool {
        self.directories.iter().all(|(path, known)| {
            let is_same = root.stat(path).is_ok_and(|stat| known.is_unchanged(&stat));
            // Some filesystems change a directory without its times.
            let are_times_true = depth == Depth::Changed || self.is_local;
            is_same && (are_times_true || root.mark(path).is_ok_and(|mark| mark == known.mark))
        })
    }

    fn are_files_unchanged(&self, root: &Root) -> bool {
        let mut there = self.files.iter().filter(|(_, file)| !file.gone);
        there.all(|(path, file)| {
            root.stat(path)
                .is_ok_and(|stat| stat.kind == EntryKind::File && file.seen == Some(FileStamp::from(&stat)))
        })
    }
}
