//! Layouts of the runs directory, and the run of each directory in it.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

use serde::Deserialize;
use xxhash_rust::xxh3::xxh3_128;

use crate::model::{RunId, RunIdError};

/// Bytes of a name that are kept in a generated id.
const KEPT_BYTES_MAX: usize = 90;
/// Separator between them and the hash of the name.
const MADE: &str = ".x";
/// Hexadecimal digits of the hash.
const HASH_DIGITS: usize = 32;

/// The meaning of the directories in the runs directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// One directory per run, with its logs in `mount`.
    #[default]
    Runs,
    /// One directory per project, with its logs anywhere in it, as Claude Code keeps them.
    Projects,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Runs => "runs",
            Self::Projects => "projects",
        })
    }
}

impl Layout {
    /// Default includes of the layout.
    #[must_use]
    pub fn include_default(self) -> &'static [&'static str] {
        match self {
            Self::Runs => super::INCLUDE_DEFAULT,
            Self::Projects => &["*/**/*.jsonl", "*/**/*.jsonl.superseded-*"],
        }
    }

    /// The run of a directory with this name. A project always has one: if its name is no run id, or looks
    /// like a generated id, the id is generated from its first bytes and a 128-bit hash of all.
    ///
    /// # Errors
    /// The name of a run's directory is no run id.
    pub fn run_of(self, name: &OsStr) -> Result<RunId, RunIdError> {
        let run = RunId::new(&name.to_string_lossy());
        match (self, run) {
            (Self::Projects, Ok(run)) if is_made(run.as_str()) => made_of(name),
            (Self::Projects, Err(_)) => made_of(name),
            (_, run) => run,
        }
    }
}

fn is_made(id: &str) -> bool {
    let at = id.len().checked_sub(HASH_DIGITS + MADE.len());
    let made = at
        .and_then(|at| id.get(at..))
        .and_then(|end| end.strip_prefix(MADE));
    made.is_some_and(|hash| hash.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn made_of(name: &OsStr) -> Result<RunId, RunIdError> {
    let fit = |byte: &u8| {
        let is_fit = byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        char::from(if is_fit { *byte } else { b'_' })
    };
    let bytes = name.as_bytes();
    let kept: String = bytes.iter().take(KEPT_BYTES_MAX).map(fit).collect();
    RunId::new(&format!("{kept}{MADE}{:0HASH_DIGITS$x}", xxh3_128(bytes)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn project(name: &[u8]) -> RunId {
        Layout::Projects.run_of(OsStr::from_bytes(name)).unwrap()
    }

    #[test]
    fn a_project_is_a_run_whatever_its_name_is() {
        assert_eq!(project(b"-home-me-app").as_str(), "-home-me-app");
        let long = vec![b'-'; 255];
        for name in [&b"with space"[..], b"\xff", &long, "caf\u{e9}".as_bytes(), b"."] {
            let run = project(name);
            assert!(is_made(run.as_str()), "{run}");
            // A generated id as a name belongs to another directory.
            assert_ne!(project(run.as_str().as_bytes()), run);
        }
        assert!(Layout::Runs.run_of(OsStr::new("with space")).is_err());
        assert_eq!(Layout::Runs.run_of(OsStr::new("r")).unwrap().as_str(), "r");
    }

    proptest! {
        #[test]
        fn different_projects_are_different_runs(
            names in proptest::collection::vec("[-a ._é]{1,40}", 1..50),
        ) {
            let mut runs = HashMap::new();
            for name in names {
                let run = project(name.as_bytes());
                prop_assert_eq!(runs.entry(run).or_insert_with(|| name.clone()), &name);
            }
        }
    }
}
