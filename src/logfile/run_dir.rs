//! The directory of a run's logs, in the runs directory or elsewhere.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::{LogFileError, Root};
use crate::globs::layout::Layout;
use crate::model::RunId;

/// Longest path that Linux accepts, in bytes (`PATH_MAX` without the final NUL).
const PATH_BYTES_MAX: usize = 4095;
/// Longest name in a directory, in bytes (`NAME_MAX`).
const NAME_BYTES_MAX: usize = 255;
/// The place of a run's own directory for globs: `<run>/mount`.
pub const MOUNT: &str = "mount";

/// The directory of a run's logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    /// The directory that is opened; the stored paths are relative to it.
    pub path: Arc<Path>,
    /// Its path for globs: below the runs directory.
    pub in_runs: Box<Path>,
    /// It is not in the runs directory: a request named it.
    pub is_own: bool,
}

/// The reason why a directory cannot be a run's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    #[error("{0:?} is no absolute path without `..`")]
    NotAbsolute(PathBuf),
    #[error(
        "no directory can have this name: at most {PATH_BYTES_MAX} bytes, {NAME_BYTES_MAX} between slashes, none of them NUL"
    )]
    Impossible,
    #[error("{mount:?} is in none of the directories that runs.mount_roots allows ({})", list(.roots))]
    Outside { mount: PathBuf, roots: Vec<PathBuf> },
    #[error("{0:?} is in the runs directory, where runs are found by their names")]
    InRuns(PathBuf),
}

fn list(roots: &[PathBuf]) -> String {
    if roots.is_empty() {
        return "it is empty".to_owned();
    }
    let roots = roots.iter().map(|root| root.display().to_string());
    roots.collect::<Vec<_>>().join(", ")
}

impl RunDir {
    /// The own directory of a run if it has one, otherwise the one of this name in the runs directory.
    #[must_use]
    pub fn of(runs_dir: &Path, name: &Path, own: Option<&Path>) -> Self {
        match own {
            Some(path) => Self {
                path: path.into(),
                in_runs: name.join(MOUNT).into(),
                is_own: true,
            },
            None => Self {
                path: runs_dir.join(name).into(),
                in_runs: name.into(),
                is_own: false,
            },
        }
    }

    /// Opens the directory. An own one was resolved when it was allowed: links that were made since are not
    /// followed.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open(&self) -> Result<Root, LogFileError> {
        if self.is_own {
            Root::open_resolved(&self.path)
        } else {
            Root::open(&self.path)
        }
    }
}

/// The name of a run's directory in the runs directory; where it is not the run's id, the runs directory is
/// searched.
#[must_use]
pub fn name_of(runs_dir: &Path, layout: Layout, run: &RunId) -> PathBuf {
    let as_it_is = PathBuf::from(run.as_str());
    if layout.run_of(as_it_is.as_os_str()).as_ref() == Ok(run) {
        return as_it_is;
    }
    let entries = Root::open_given(runs_dir).and_then(|root| root.list(Path::new("")));
    let mut names = entries.unwrap_or_default().into_iter().map(|entry| entry.path);
    names
        .find(|name| layout.run_of(name.as_os_str()).as_ref() == Ok(run))
        .unwrap_or(as_it_is)
}

/// The path without links of a directory that a request names for a run, if it is allowed; `None` if it is
/// the directory of the run in the runs directory. It accesses the filesystem.
///
/// # Errors
/// The directory is not allowed.
pub fn resolve_mount(
    mount: &Path,
    run: &RunId,
    runs_dir: Option<&Path>,
    roots: &[PathBuf],
) -> Result<Option<PathBuf>, MountError> {
    let is_plain = |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
    if !mount.is_absolute() || !mount.components().all(is_plain) {
        return Err(MountError::NotAbsolute(mount.to_owned()));
    }
    let resolved = resolve(mount);
    if !can_be(&resolved) {
        return Err(MountError::Impossible);
    }
    if let Some(Ok(below)) = runs_dir.map(|directory| resolved.strip_prefix(resolve(directory))) {
        return if below == Path::new(run.as_str()).join(MOUNT) {
            Ok(None)
        } else {
            Err(MountError::InRuns(resolved))
        };
    }
    // A root without links is recognized without access to it: another one may hang.
    let is_in = |root: &PathBuf| resolved.starts_with(root);
    if roots.iter().any(is_in) || roots.iter().any(|root| resolved.starts_with(resolve(root))) {
        Ok(Some(resolved))
    } else {
        Err(MountError::Outside {
            mount: resolved,
            roots: roots.to_vec(),
        })
    }
}

/// True if a file can have this path.
fn can_be(path: &Path) -> bool {
    let bytes = path.as_os_str().as_bytes();
    bytes.len() <= PATH_BYTES_MAX
        && bytes
            .split(|byte| *byte == b'/')
            .all(|name| name.len() <= NAME_BYTES_MAX && !name.contains(&0))
}

/// A path without links, as far as it exists: events name files by it.
#[must_use]
pub fn resolve(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for existing in path.ancestors() {
        #[expect(
            clippy::disallowed_methods,
            reason = "a path that the operator or an orchestrator names; what is below it is opened beneath it"
        )]
        let resolved = existing.canonicalize();
        if let (Ok(resolved), Ok(rest)) = (resolved, path.strip_prefix(existing)) {
            return if rest.as_os_str().is_empty() {
                resolved
            } else {
                resolved.join(rest)
            };
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn run() -> RunId {
        RunId::new("r").unwrap()
    }

    #[test]
    fn a_mount_is_what_it_is_in_truth() {
        let directory = tempfile::tempdir().unwrap();
        let base = resolve(directory.path());
        let (runs, root) = (base.join("runs"), base.join("root"));
        fs::create_dir_all(runs.join("r/mount")).unwrap();
        fs::create_dir_all(root.join("logs")).unwrap();
        fs::create_dir(base.join("secret")).unwrap();
        symlink(base.join("secret"), root.join("out")).unwrap();
        symlink(root.join("logs"), base.join("in")).unwrap();
        let resolved =
            |path: &str| resolve_mount(&base.join(path), &run(), Some(&runs), std::slice::from_ref(&root));
        assert_eq!(resolved("root/logs"), Ok(Some(root.join("logs"))));
        assert_eq!(resolved("in"), Ok(Some(root.join("logs"))));
        assert_eq!(resolved("root/later/logs"), Ok(Some(root.join("later/logs"))));
        assert_eq!(resolved("runs/r/mount"), Ok(None));
        for outside in ["secret", "root/out", "root/out/later", ""] {
            assert!(
                matches!(resolved(outside), Err(MountError::Outside { .. })),
                "{outside}"
            );
        }
        for in_runs in ["runs", "runs/r", "runs/s/mount", "runs/r/mount/deeper"] {
            assert!(
                matches!(resolved(in_runs), Err(MountError::InRuns(_))),
                "{in_runs}"
            );
        }
        let mount = runs.join("r/mount");
        assert_eq!(
            resolve_mount(&mount, &run(), None, &[base]),
            Ok(Some(mount.clone()))
        );
        for strange in ["logs", "/a/../b", ""] {
            let refused = resolve_mount(Path::new(strange), &run(), Some(&runs), &[PathBuf::from("/")]);
            assert!(matches!(refused, Err(MountError::NotAbsolute(_))), "{strange}");
        }
        let fits = "/".to_owned() + &"n".repeat(255);
        let long = fits.clone() + "n";
        let deep = "/name".repeat(820);
        for (path, is_refused) in [
            (fits.as_str(), false),
            (&long, true),
            ("/a\0b", true),
            (&deep, true),
            (&deep[..4095], false),
        ] {
            let refused = resolve_mount(Path::new(path), &run(), Some(&runs), &[PathBuf::from("/")]);
            assert_eq!(refused == Err(MountError::Impossible), is_refused, "{path:?}");
        }
    }

    #[test]
    fn a_link_that_came_later_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let base = resolve(directory.path());
        fs::create_dir_all(base.join("a/logs")).unwrap();
        let home = RunDir::of(Path::new("/runs"), Path::new("r"), Some(&base.join("a/logs")));
        assert_eq!(&*home.in_runs, Path::new("r/mount"));
        assert!(home.open().is_ok());
        fs::rename(base.join("a"), base.join("b")).unwrap();
        symlink(base.join("b"), base.join("a")).unwrap();
        assert!(matches!(home.open(), Err(LogFileError::Refused(_))));
    }
}
