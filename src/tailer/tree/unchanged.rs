//! Whether a tree still is what it was when it was last gone through: the question that is asked most often.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Depth, Directory, FileStamp, Tree};
use crate::logfile::mounts::is_local;
use crate::logfile::{EntryKind, Root, Stat, glance};

impl Directory {
    /// Whether it is there, with what it held.
    fn is_unchanged(&self, stat: &Stat) -> bool {
        stat.kind == EntryKind::Directory && self.is(stat) && self.changed_ns == stat.changed_ns
    }
}

impl Tree {
    /// Whether a scan of this depth would find everything as it was. It looks at what such a scan looks at, and keeps
    /// nothing; where it is in doubt, a scan has to say.
    #[must_use]
    pub fn is_unchanged(&self, depth: Depth) -> bool {
        // What is wrong may be right by now: only a scan finds out.
        let is_known = self.queue.is_empty() && self.problems.is_empty() && !self.directories.is_empty();
        if !is_known {
            return false;
        }
        if depth == Depth::Changed && !self.home.is_own {
            // The top comes first, and a directory before what is in it: no link on the way goes unseen.
            let home = &self.home.path;
            let mut directories = self.directories.iter();
            return directories.all(|(path, known)| {
                // With a slash at its end, a link would be followed.
                let is_top = path.as_os_str().is_empty();
                let full = if is_top { home.clone() } else { home.join(path) };
                glance(&full).is_ok_and(|stat| known.is_unchanged(&stat))
            });
        }
        self.home.open().is_ok_and(|root| {
            self.are_directories_unchanged(&root, depth)
                && (depth == Depth::Changed || self.are_files_unchanged(&root))
        })
    }

    /// The devices its files are on: a mount in a run is a device of its own.
    pub fn devices(&self) -> impl Iterator<Item = u64> {
        self.files.keys().filter_map(|path| self.device_of(path))
    }

    /// Those of its directories, each once.
    #[must_use]
    pub fn all_devices(&self) -> Vec<u64> {
        let devices: BTreeSet<u64> = self
            .directories
            .values()
            .map(|directory| directory.device)
            .collect();
        devices.into_iter().collect()
    }

    /// Finds out which of its devices only this kernel changes, so that events tell of every change there, and a
    /// directory's times are true. It looks at the filesystem.
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

    /// The device that something at this path is on, as far as it was seen.
    #[must_use]
    pub fn device_of(&self, path: &Path) -> Option<u64> {
        let directory = path
            .ancestors()
            .find_map(|path| self.directories.get(path.as_os_str()));
        directory.map(|directory| directory.device)
    }

    /// The device of a file that has news, if that is what is at this path. A hint at a directory proves no events there: it
    /// may come from the directory above, which is perhaps on another device, or from no event at all.
    #[must_use]
    pub fn device_of_news(&self, path: &Path) -> Option<u64> {
        let file = self.files.get(path.as_os_str())?;
        file.queued.then(|| self.device_of(path)).flatten()
    }

    fn are_directories_unchanged(&self, root: &Root, depth: Depth) -> bool {
        self.directories.iter().all(|(path, known)| {
            let is_same = root.stat(path).is_ok_and(|stat| known.is_unchanged(&stat));
            // Some filesystems change a directory and not its times.
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
