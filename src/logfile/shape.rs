//! The shape of a directory with transcripts: runs with a mount each, or projects as the agent itself keeps
//! them.

use std::path::{Path, PathBuf};

use crate::logfile::unread::{PROJECTS, is_log_name};
use crate::logfile::{Entry, EntryKind, LogFileError, Root};

/// Directories in one directory that are inspected.
const LOOKED_INTO_MAX: usize = 64;

/// The shape of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One of its directories has a mount.
    Runs,
    /// Its directories contain transcripts themselves; one of them.
    Projects(PathBuf),
    /// It contains a directory of projects beside other entries, as an agent's own directory does; one
    /// transcript of them.
    Agent(PathBuf),
    /// It contains transcripts itself; one of them.
    Project(PathBuf),
    Other,
}

impl Shape {
    /// Inspects a directory. Directories in it are inspected until the shape is clear, up to the bound.
    ///
    /// # Errors
    /// When the directory itself cannot be read.
    pub fn of(path: &Path) -> Result<Self, LogFileError> {
        let root = Root::open_given(path)?;
        let mut entries = root.list(Path::new(""))?;
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        Ok(Self::of_entries(path, &root, &entries))
    }

    /// As [`Shape::of`], for a directory that was listed.
    #[must_use]
    pub fn of_entries(path: &Path, root: &Root, entries: &[Entry]) -> Self {
        let directories = || {
            let directories = entries.iter().filter(|entry| entry.kind == EntryKind::Directory);
            directories.map(|entry| entry.path.as_path())
        };
        let has_mount = |directory: &Path| {
            let mount = root.stat(&directory.join("mount"));
            mount.is_ok_and(|stat| matches!(stat.kind, EntryKind::Directory | EntryKind::Link))
        };
        if directories().any(has_mount) {
            return Self::Runs;
        }
        let projects = Path::new(PROJECTS);
        if directories().any(|directory| directory == projects)
            && let Ok(below) = root.list(projects)
        {
            let mut below = below.iter().filter(|entry| entry.kind == EntryKind::Directory);
            let mut looked_into = below.by_ref().take(LOOKED_INTO_MAX);
            if let Some(log) = looked_into.find_map(|entry| log_in(root, &entry.path)) {
                return Self::Agent(log);
            }
        }
        let is_named_so = path.file_name().is_some_and(|name| name == PROJECTS);
        let project = directories()
            .filter(|directory| is_named_so || is_project_name(directory))
            .take(LOOKED_INTO_MAX)
            .find_map(|directory| log_in(root, directory));
        if let Some(log) = project {
            return Self::Projects(log);
        }
        if let Some(log) = entries.iter().find(|entry| is_log(entry)) {
            return Self::Project(log.path.clone());
        }
        Self::Other
    }

    /// The setting with which the contents of `runs_dir` are read, by project, if the layout expects another
    /// shape. `reads` returns true for transcripts that the settings read.
    #[must_use]
    pub fn advice(&self, runs_dir: &Path, reads: impl Fn(&Path) -> bool) -> Option<String> {
        const PROJECTS_LAYOUT: &str = "runs.layout = \"projects\" (or --layout projects)";
        match self {
            Self::Projects(log) if !reads(log) => Some(format!(
                "{runs_dir:?} looks like a directory of projects ({log:?}), and none of them is read: set {PROJECTS_LAYOUT}"
            )),
            Self::Agent(log) => {
                let what_of_them = if reads(log) {
                    "are counted together as one run"
                } else {
                    "are not read"
                };
                Some(format!(
                    "{runs_dir:?} looks like an agent's own directory, and its projects {what_of_them}: set runs_dir = {:?} and {PROJECTS_LAYOUT}",
                    runs_dir.join(PROJECTS)
                ))
            }
            Self::Project(log) => Some(format!(
                "{runs_dir:?} holds transcripts itself ({log:?}), and they are not read: set runs_dir to the directory above and {PROJECTS_LAYOUT}",
            )),
            _ => None,
        }
    }
}

/// True for the name of a project: the path of its directory with dashes in place of all but letters and
/// digits.
fn is_project_name(directory: &Path) -> bool {
    let name = directory.as_os_str().as_encoded_bytes();
    let has_drive = name.first().is_some_and(u8::is_ascii_alphabetic) && name.get(1..3) == Some(b"--");
    name.first() == Some(&b'-') || has_drive
}

fn is_log(entry: &Entry) -> bool {
    entry.kind == EntryKind::File && is_log_name(&entry.path)
}

/// A log in a directory: the first one by name, as listings have no order.
fn log_in(root: &Root, directory: &Path) -> Option<PathBuf> {
    let entries = root.list(directory).ok()?;
    let logs = entries.into_iter().filter(is_log);
    logs.map(|entry| entry.path).min()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn shape_of(name: &str, files: &[&str]) -> Shape {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join(name);
        fs::create_dir(&root).unwrap();
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        Shape::of(&root).unwrap()
    }

    #[test]
    fn a_directory_looks_like_what_it_holds() {
        let projects = |log: &str| Shape::Projects(log.into());
        for (name, files, expect) in [
            ("runs", vec!["-a/x.jsonl", "r/mount/x.jsonl"], Shape::Runs),
            (
                "any",
                vec!["-home-me-app/x.jsonl", "-b/y.jsonl"],
                projects("-b/y.jsonl"),
            ),
            (
                "any",
                vec!["C--Users-me/x.jsonl"],
                projects("C--Users-me/x.jsonl"),
            ),
            ("any", vec!["one/x.jsonl", "two/y.jsonl"], Shape::Other),
            ("projects", vec!["one/x.jsonl"], projects("one/x.jsonl")),
            ("any", vec!["-a/deep/x.jsonl"], Shape::Other),
            (
                ".claude",
                vec!["projects/-a/x.jsonl", "settings.json"],
                Shape::Agent("projects/-a/x.jsonl".into()),
            ),
            (
                ".claude",
                vec!["projects/-a/x.jsonl", "history.jsonl"],
                Shape::Agent("projects/-a/x.jsonl".into()),
            ),
            ("-a", vec!["x.jsonl"], Shape::Project("x.jsonl".into())),
            ("any", vec!["note.txt"], Shape::Other),
        ] {
            assert_eq!(shape_of(name, &files), expect, "{name} {files:?}");
        }
    }
}
