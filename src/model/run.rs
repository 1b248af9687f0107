//! A run: its id, its labels, and its events.

use std::fmt;
use std::sync::Arc;

use strum::IntoStaticStr;

use super::letters::is_unsafe;

/// Maximum length of a run id, in bytes.
pub const RUN_ID_BYTES_MAX: usize = 128;

/// A run's name: the first path component below the runs directory.
///
/// 1 to 128 bytes of `A-Z a-z 0-9 . _ -`, neither `.` nor `..`, so that it is
/// safe in paths, URLs and tables.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunId(Arc<str>);

/// Reason for which a name is not a run id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunIdError {
    #[error("a run id is 1 to {RUN_ID_BYTES_MAX} bytes long, this one has {0}")]
    Length(usize),
    #[error("a run id has only A-Z a-z 0-9 . _ - in it, this one has {0:?}")]
    Character(char),
    #[error("`.` and `..` are no run ids")]
    Dots,
}

impl RunId {
    /// Validates a name.
    ///
    /// # Errors
    /// Describes the rule that the name breaks.
    pub fn new(name: &str) -> Result<Self, RunIdError> {
        if name.is_empty() || name.len() > RUN_ID_BYTES_MAX {
            return Err(RunIdError::Length(name.len()));
        }
        if let Some(bad) = name
            .chars()
            .find(|c| !(c.is_ascii_alphanumeric() || "._-".contains(*c)))
        {
            return Err(RunIdError::Character(bad));
        }
        if name == "." || name == ".." {
            return Err(RunIdError::Dots);
        }
        Ok(Self(name.into()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number that the store gives a run; numbers increase in the order of the first occurrence.
pub type RunNumber = u32;

/// Labels from the orchestrator, as names and values.
pub type Labels = std::collections::BTreeMap<Box<str>, Box<str>>;

/// The label that names the class of a run.
pub const CLASS_LABEL: &str = "class";

/// Maximum number of labels of a run.
pub const LABELS_MAX: usize = 32;

/// Maximum length of the name of a label, in bytes.
const LABEL_NAME_BYTES_MAX: usize = 64;

/// Maximum length of the value of a label, in bytes.
const LABEL_VALUE_BYTES_MAX: usize = 256;

/// A label in a query or on a command line, `project=alpha` or `project:alpha`: no name contains either sign.
#[must_use]
pub fn split_label(text: &str) -> Option<(&str, &str)> {
    text.split_once(['=', ':']).filter(|(name, _)| !name.is_empty())
}

/// True if this is a valid label of a run.
///
/// # Errors
/// Describes the valid labels.
pub fn check_label(name: &str, value: &str) -> Result<(), String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX || !name.chars().all(is_allowed) {
        return Err(format!(
            "{name:?} is no name: 1 to {LABEL_NAME_BYTES_MAX} of A-Z a-z 0-9 . _ - /"
        ));
    }
    if value.len() > LABEL_VALUE_BYTES_MAX || value.chars().any(is_unsafe) {
        return Err(format!(
            "the value of {name:?} is longer than {LABEL_VALUE_BYTES_MAX} bytes or has control characters or marks of direction"
        ));
    }
    Ok(())
}

/// Reason of a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum StopReason {
    /// By a request.
    Asked,
    /// No activity for a long time.
    Idle,
    /// Its directory is gone.
    Vanished,
}

/// Event of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It was started by a request, or its directory was found.
    Started,
    /// It was stopped and is resumed: it was started again, or new lines were read.
    Resumed,
    Stopped(StopReason),
    /// Its name is free again; its counts stay in the sums.
    Forgotten,
}
