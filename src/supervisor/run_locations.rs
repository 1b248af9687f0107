//! Locations: the directories of runs, and the run that a path belongs to.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::globs::layout::Layout;
use crate::logfile::run_dir::{MOUNT, RunDir};
use crate::model::{RunId, RunIdError};

/// The runs directory, and the directories that runs have elsewhere.
#[derive(Clone, Debug, Default)]
pub struct RunLocations {
    /// The runs directory as the settings name it; `None` to have only runs that are started by request.
    pub given: Option<PathBuf>,
    /// The same without links, as events name it, once that is known.
    pub directory: Option<PathBuf>,
    /// The meaning of its directories.
    pub layout: Layout,
    /// Directories there whose names are not equal to the run ids.
    names: BTreeMap<RunId, PathBuf>,
    /// Directories of runs whose logs are elsewhere.
    /// **Invariant**: none is in another, and none in the runs directory.
    own: BTreeMap<RunId, PathBuf>,
    by_path: BTreeMap<PathBuf, RunId>,
}

/// The owner of a path.
#[derive(Debug, PartialEq, Eq)]
pub enum PathOwner<'a> {
    /// A run, with the path in its directory.
    Run(RunId, &'a Path),
    /// An entry of the runs directory that is no run.
    NoRun,
    Elsewhere,
}

impl RunLocations {
    #[must_use]
    pub fn new(directory: Option<PathBuf>, layout: Layout) -> Self {
        Self {
            given: directory.clone(),
            directory,
            layout,
            ..Self::default()
        }
    }

    /// The directory of a run's logs.
    #[must_use]
    pub fn home(&self, run: &RunId) -> RunDir {
        let runs_dir = self.directory.as_deref().unwrap_or(Path::new(""));
        let name = self
            .names
            .get(run)
            .map_or(Path::new(run.as_str()), PathBuf::as_path);
        RunDir::of(runs_dir, name, self.own.get(run).map(PathBuf::as_path))
    }

    /// The run of a directory in the runs directory; from then on that is its directory.
    ///
    /// # Errors
    /// The name belongs to no run.
    pub fn named(&mut self, name: &Path) -> Result<RunId, RunIdError> {
        let run = self.layout.run_of(name.as_os_str())?;
        if Path::new(run.as_str()) != name {
            self.names.insert(run.clone(), name.to_owned());
        }
        Ok(run)
    }

    /// The runs with directories of their own.
    #[must_use]
    pub fn own(&self) -> Vec<(RunId, RunDir)> {
        let runs = self.own.keys();
        runs.map(|run| (run.clone(), self.home(run))).collect()
    }

    /// True if the run has a directory of its own.
    #[must_use]
    pub fn has(&self, run: &RunId) -> bool {
        self.own.contains_key(run)
    }

    /// True if a directory outside the runs directory is read: it is a run's own one, is in one, or has one
    /// as its mount.
    #[must_use]
    pub fn reads_own(&self, directory: &Path) -> bool {
        let mut ancestors = directory.ancestors();
        ancestors.any(|above| self.by_path.contains_key(above))
            || self.by_path.contains_key(&directory.join(MOUNT))
    }

    /// Gives the run a directory of its own.
    pub fn take(&mut self, run: &RunId, mount: PathBuf) {
        self.give_up(run);
        self.by_path.insert(mount.clone(), run.clone());
        self.own.insert(run.clone(), mount);
    }

    /// Removes the run's own directory.
    pub fn give_up(&mut self, run: &RunId) {
        if let Some(mount) = self.own.remove(run) {
            self.by_path.remove(&mount);
        }
    }

    /// Another run whose directory is equal to this one, contains it, or is in it.
    #[must_use]
    pub fn overlaps(&self, run: &RunId, mount: &Path) -> Option<RunId> {
        // Paths are ordered by their components, so those below `mount` follow it.
        let below = (self.by_path.range(mount.to_owned()..)).take_while(|(path, _)| path.starts_with(mount));
        let above = mount
            .ancestors()
            .filter_map(|path| self.by_path.get_key_value(path));
        let mut others = below.chain(above).filter(|(_, other)| *other != run);
        others.next().map(|(_, other)| other.clone())
    }

    /// The owner of a path that an event names.
    #[must_use]
    pub fn run_at<'a>(&self, path: &'a Path) -> PathOwner<'a> {
        let below = self
            .directory
            .as_ref()
            .map(|directory| path.strip_prefix(directory));
        if let Some(Ok(below)) = below {
            let mut parts = below.components();
            return match parts.next().map(|name| self.layout.run_of(name.as_os_str())) {
                Some(Ok(run)) => PathOwner::Run(run, parts.as_path()),
                Some(Err(_)) => PathOwner::NoRun,
                None => PathOwner::Elsewhere,
            };
        }
        for above in path.ancestors() {
            if let (Some(run), Ok(below)) = (self.by_path.get(above), path.strip_prefix(above)) {
                return PathOwner::Run(run.clone(), below);
            }
        }
        PathOwner::Elsewhere
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(run: &str) -> RunId {
        RunId::new(run).unwrap()
    }

    fn places() -> RunLocations {
        let mut places = RunLocations::new(Some("/runs".into()), Layout::Runs);
        places.take(&id("a"), "/agents/a/logs".into());
        places.take(&id("b"), "/agents/b".into());
        places
    }

    #[test]
    fn a_path_belongs_to_the_run_in_whose_directory_it_is() {
        let places = places();
        for (path, expect) in [
            (
                "/runs/r/mount/x.jsonl",
                PathOwner::Run(id("r"), Path::new("mount/x.jsonl")),
            ),
            ("/runs/r", PathOwner::Run(id("r"), Path::new(""))),
            ("/runs", PathOwner::Elsewhere),
            ("/runs/not a run", PathOwner::NoRun),
            (
                "/agents/a/logs/d/x.jsonl",
                PathOwner::Run(id("a"), Path::new("d/x.jsonl")),
            ),
            ("/agents/a/logs", PathOwner::Run(id("a"), Path::new(""))),
            ("/agents/a", PathOwner::Elsewhere),
            ("/agents/bb", PathOwner::Elsewhere),
        ] {
            assert_eq!(places.run_at(Path::new(path)), expect, "{path}");
        }
    }

    #[test]
    fn directories_do_not_overlap() {
        let places = places();
        for (mount, other) in [
            ("/agents/a/logs", Some("a")),
            ("/agents/a/logs/deep/er", Some("a")),
            ("/agents/a", Some("a")),
            ("/agents/b", Some("b")),
            ("/agents", Some("a")),
            ("/agents/bb", None),
            ("/agents/a/log", None),
            ("/agents/a-b", None),
        ] {
            assert_eq!(
                places.overlaps(&id("r"), Path::new(mount)),
                other.map(id),
                "{mount}"
            );
        }
        assert_eq!(places.overlaps(&id("b"), Path::new("/agents/b")), None);
    }

    #[test]
    fn a_run_has_one_directory() {
        let mut places = places();
        places.take(&id("a"), "/agents/c".into());
        assert_eq!(places.run_at(Path::new("/agents/a/logs/x")), PathOwner::Elsewhere);
        assert_eq!(&*places.home(&id("a")).path, Path::new("/agents/c"));
        places.give_up(&id("a"));
        assert!(!places.has(&id("a")));
        assert_eq!(&*places.home(&id("a")).path, Path::new("/runs/a"));
        assert_eq!(places.own().len(), 1);
    }
}
