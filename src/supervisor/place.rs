//! Place: where runs are looked for, and which directories there are runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::globs::Globs;
use crate::record::{RunId, RunIdError};

/// The name under which globs know the directory that holds a run's logs.
const MOUNT: &str = "mount";

/// A directory with runs in it.
#[derive(Clone, Debug)]
pub struct Place {
    /// As events will name it: absolute, without links.
    pub directory: PathBuf,
    only: Option<Only>,
}

/// The one entry of the directory that is a run.
#[derive(Clone, Debug)]
struct Only {
    run: RunId,
    name: OsString,
    in_runs: PathBuf,
}

impl Place {
    /// Every entry is a run of that name.
    #[must_use]
    pub fn of_all(directory: PathBuf) -> Self {
        Self {
            directory,
            only: None,
        }
    }

    /// The entry of this name is a run, the others are nobody's business.
    #[must_use]
    pub fn of_one(directory: PathBuf, run: RunId) -> Self {
        let name = run.as_str();
        let only = Some(Only {
            name: name.into(),
            in_runs: name.into(),
            run,
        });
        Self { directory, only }
    }

    /// A directory that holds a run's logs, wherever it is. `None` for one that has no name.
    #[must_use]
    pub fn of_mount(mount: &Path, run: RunId) -> Option<Self> {
        let only = Some(Only {
            name: mount.file_name()?.to_owned(),
            in_runs: Path::new(run.as_str()).join(MOUNT),
            run,
        });
        let directory = mount.parent()?.to_owned();
        Some(Self { directory, only })
    }

    /// Whose run a path below the directory belongs to; `None` if it is nobody's.
    #[must_use]
    pub fn run_of(&self, below: &Path) -> Option<Result<RunId, RunIdError>> {
        match &self.only {
            None => Globs::run_of(below),
            Some(only) => below.starts_with(&only.name).then(|| Ok(only.run.clone())),
        }
    }

    /// A run's directory.
    #[must_use]
    pub fn path_of(&self, run: &RunId) -> PathBuf {
        match &self.only {
            None => self.directory.join(run.as_str()),
            Some(only) => self.directory.join(&only.name),
        }
    }

    /// Where the globs take a run's directory to be, below the runs directory.
    #[must_use]
    pub fn in_runs(&self, run: &RunId) -> PathBuf {
        match &self.only {
            None => run.as_str().into(),
            Some(only) => only.in_runs.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_knows_whose_a_path_is() {
        let run = RunId::new("fix-42").unwrap();
        let all = Place::of_all("/runs".into());
        let one = Place::of_one("/runs".into(), run.clone());
        let mount = Place::of_mount(Path::new("/srv/logs of it"), run.clone()).unwrap();
        let whose = |place: &Place, path: &str| {
            let run = place.run_of(Path::new(path))?;
            Some(run.map(|run| run.to_string()).map_err(|_| ()))
        };
        let its = || Some(Ok("fix-42".to_owned()));
        for place in [&all, &one] {
            assert_eq!(whose(place, "fix-42/mount/a.jsonl"), its());
            assert_eq!(place.path_of(&run), Path::new("/runs/fix-42"));
            assert_eq!(place.in_runs(&run), Path::new("fix-42"));
        }
        assert_eq!(whose(&all, "other/a.jsonl"), Some(Ok("other".to_owned())));
        assert_eq!(whose(&all, "no run/a.jsonl"), Some(Err(())));
        assert_eq!(whose(&one, "other/a.jsonl"), None);
        assert_eq!(whose(&one, "fix-42.old/a.jsonl"), None);
        assert_eq!(whose(&mount, "logs of it/a.jsonl"), its());
        assert_eq!(whose(&mount, "others/a.jsonl"), None);
        assert_eq!(mount.directory, Path::new("/srv"));
        assert_eq!(mount.path_of(&run), Path::new("/srv/logs of it"));
        assert_eq!(mount.in_runs(&run), Path::new("fix-42/mount"));
        assert!(Place::of_mount(Path::new("/"), run).is_none());
    }
}
