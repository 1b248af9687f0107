//! A walk: all log files below a directory, within bounds, for commands that read them once.

use std::path::{Path, PathBuf};

use crate::logfile::{EntryKind, LogFileError, Root};

use crate::logfile::unread::{LINKS_LOOKED_AT_MAX, Sorter, Unread};

/// Bounds of a walk; files beyond them are not read, and that is reported.
#[derive(Clone, Copy, Debug)]
pub struct WalkLimits {
    pub files_max: usize,
    /// Directories below the root.
    pub depth_max: usize,
}

/// The result of a walk.
#[derive(Debug, Default)]
pub struct Walk {
    /// Regular files that are wanted, sorted.
    pub files: Vec<PathBuf>,
    /// Files among them that are not read.
    pub unread: Unread,
    /// A bound was reached: there are more files.
    pub cut: bool,
}

/// Walks over everything below `root`.
///
/// # Errors
/// When a directory cannot be read; one that vanished meanwhile is no error.
pub fn walk(
    root: &Root,
    wants_directory: impl Fn(&Path) -> bool,
    wants_file: impl Fn(&Path) -> bool,
    limits: WalkLimits,
) -> Result<Walk, LogFileError> {
    let mut found = Walk::default();
    let mut links_left = LINKS_LOOKED_AT_MAX;
    let mut pending = vec![PathBuf::new()];
    while let Some(directory) = pending.pop() {
        let entries = match root.list(&directory) {
            Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => continue,
            listed => listed?,
        };
        let mut sorter = Sorter::new(root, &wants_directory, &wants_file, &mut links_left);
        for entry in entries {
            match entry.kind {
                EntryKind::Directory if !wants_directory(&entry.path) => {}
                EntryKind::Directory if entry.path.components().count() > limits.depth_max => {
                    found.cut = true;
                }
                EntryKind::Directory => pending.push(entry.path),
                EntryKind::File if !wants_file(&entry.path) => sorter.add(&entry),
                EntryKind::File if found.files.len() >= limits.files_max => found.cut = true,
                EntryKind::File => found.files.push(entry.path),
                _ => sorter.add(&entry),
            }
        }
        found.unread.merge(&sorter.unread);
    }
    found.files.sort_unstable();
    Ok(found)
}
