//! Exit codes, and the failure type that carries one.

use crate::store::StoreError;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

/// Exit codes; from 64 on they are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Success, or yes.
    Ok = 0,
    /// No, or a difference was found; not an error.
    No = 1,
    /// The answer is unknown.
    Unknown = 2,
    /// Invalid command line.
    Usage = 64,
    /// Input data is invalid.
    BadData = 65,
    /// Input does not exist.
    NoInput = 66,
    /// The collector does not answer.
    Unavailable = 69,
    /// Bug in this program.
    Bug = 70,
    /// Reading or writing failed.
    Io = 74,
    /// A retry may succeed.
    TryLater = 75,
    /// Not permitted.
    Permission = 77,
    /// Invalid configuration.
    Config = 78,
    /// The command was not started, as no place was free. `env` and `timeout` use it for a command that they did not
    /// start.
    NotAdmitted = 125,
    /// The command cannot be executed, as in a shell.
    NotExecutable = 126,
    /// The command was not found, as in a shell.
    NotFound = 127,
}

impl Exit {
    /// The exit code as a number.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code of a failed system call.
    #[must_use]
    pub fn of_io(kind: io::ErrorKind) -> Self {
        match kind {
            io::ErrorKind::NotFound => Self::NoInput,
            io::ErrorKind::PermissionDenied => Self::Permission,
            _ => Self::Io,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Between the sentences of a message on standard error.
pub const LINE_BREAK: &str = "\n    ";

/// A failure: one message for people, one exit code for scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Exit,
    /// The place, the cause and the remedy, without a newline at the end; [`LINE_BREAK`] between sentences.
    pub message: String,
    /// A replacement of several lines for people.
    pub drawn: Option<String>,
}

impl Failure {
    #[must_use]
    pub fn new(code: Exit, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            drawn: None,
        }
    }

    /// A failure of several sentences, each on a line of its own for people.
    #[must_use]
    pub fn of_lines(code: Exit, lines: &[String]) -> Self {
        Self::new(code, lines.join(LINE_BREAK))
    }

    /// A failed system call on a path: "cannot {verb} {path}: cause".
    #[must_use]
    pub fn on_path(verb: &str, path: &Path, error: &io::Error) -> Self {
        let message = format!("cannot {verb} {}: {error}", path.display());
        Self::of_io(error.kind(), message)
    }

    /// A failed system call, with the remedy.
    #[must_use]
    pub fn of_io(kind: io::ErrorKind, message: String) -> Self {
        let hint = match kind {
            io::ErrorKind::NotFound => "; check the path",
            io::ErrorKind::PermissionDenied => "; check its owner and mode, or run as another user",
            io::ErrorKind::StorageFull => "; free some space",
            _ => "",
        };
        Self::new(Exit::of_io(kind), message + hint)
    }

    /// Puts the failed operation before the message: "{what}: {message}".
    #[must_use]
    pub fn while_doing(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// The document `--json` prints on stderr.
    #[must_use]
    pub fn to_json(&self) -> String {
        #[derive(Serialize)]
        struct Document<'a> {
            error: &'a str,
            code: u8,
        }
        let message = self.message.replace(LINE_BREAK, "; ");
        // A string and a number always serialize; the plain message is the fallback.
        serde_json::to_string(&Document {
            error: &message,
            code: self.code.code(),
        })
        .unwrap_or(message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::new(Exit::of_io(error.kind()), error.to_string())
    }
}

/// Adds the path to the failure of a system call.
pub trait OnPath<T> {
    /// Turns the error into "cannot {verb} {path}: cause".
    ///
    /// # Errors
    /// The given error.
    fn on_path(self, verb: &str, path: &Path) -> Result<T, Failure>;
}

impl<T> OnPath<T> for io::Result<T> {
    fn on_path(self, verb: &str, path: &Path) -> Result<T, Failure> {
        self.map_err(|error| Failure::on_path(verb, path, &error))
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::InUse(_) | StoreError::Closed { .. } => Exit::Unavailable,
            StoreError::Newer { .. } | StoreError::Unreleased { .. } | StoreError::Damaged { .. } => {
                Exit::BadData
            }
            StoreError::Full { .. }
            | StoreError::TooManyDamaged(_)
            | StoreError::Copy { .. }
            | StoreError::Displaced { .. } => Exit::Io,
            // This message names the required owner by itself.
            StoreError::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Exit::Permission
            }
            StoreError::Io { source, .. } => return Self::of_io(source.kind(), error.to_string()),
            StoreError::Other { .. } => Exit::Bug,
        };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn io_errors_find_their_code() {
        for (kind, code) in [
            (io::ErrorKind::NotFound, 66),
            (io::ErrorKind::PermissionDenied, 77),
            (io::ErrorKind::StorageFull, 74),
            (io::ErrorKind::Other, 74),
        ] {
            assert_eq!(Failure::from(io::Error::from(kind)).code.code(), code, "{kind:?}");
        }
    }

    #[test]
    fn a_failure_names_the_path_and_what_to_do() {
        let result: io::Result<()> = Err(io::ErrorKind::NotFound.into());
        let failure = result.on_path("read", Path::new("/no/such")).unwrap_err();
        assert_eq!(
            failure.message,
            "cannot read /no/such: entity not found; check the path"
        );
        assert_eq!(
            failure.while_doing("replay").message.split(':').next(),
            Some("replay")
        );
    }

    #[test]
    fn each_sentence_has_a_line_of_its_own() {
        let failure = Failure::of_lines(Exit::No, &["no place".to_owned(), "later".to_owned()]);
        let failure = failure.while_doing("run x");
        assert_eq!(failure.message, "run x: no place\n    later");
        assert_eq!(
            failure.to_json(),
            r#"{"error":"run x: no place; later","code":1}"#
        );
    }

    #[test]
    fn the_json_form_escapes() {
        let failure = Failure::new(Exit::Config, "line \"3\"\nis wrong");
        assert_eq!(failure.to_json(), r#"{"error":"line \"3\"\nis wrong","code":78}"#);
    }
}
