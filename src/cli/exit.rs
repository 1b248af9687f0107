//! How a command ends: the exit codes scripts rely on, and the failure that carries one.

use crate::store::StoreError;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

/// The exit codes; from 64 on they are those of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Exit {
    /// Yes, or done.
    Ok = 0,
    /// No, or a difference was found; not an error.
    No = 1,
    /// Neither yes nor no: the answer is not known.
    Unknown = 2,
    /// The command line is wrong.
    Usage = 64,
    /// What was read is not what it should be.
    BadData = 65,
    /// What should be read is not there.
    NoInput = 66,
    /// The collector does not answer.
    Unavailable = 69,
    /// A bug in this program.
    Bug = 70,
    /// Reading or writing failed.
    Io = 74,
    /// The same again later may succeed.
    TryLater = 75,
    /// Not permitted.
    Permission = 77,
    /// The configuration is wrong.
    Config = 78,
    /// A command to be run cannot be executed, as a shell says it.
    NotExecutable = 126,
    /// A command to be run was not found, as a shell says it.
    NotFound = 127,
}

impl Exit {
    /// The number the shell sees.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The code for a failed system call.
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

/// Why a command could not do its work: one message for the person, one code for the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Exit,
    /// What, where, and what to do; no newline at the end.
    pub message: String,
    /// What a person sees in its place, of several lines.
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

    /// A failed system call on a path: "cannot {verb} {path}: why".
    #[must_use]
    pub fn on_path(verb: &str, path: &Path, error: &io::Error) -> Self {
        let message = format!("cannot {verb} {}: {error}", path.display());
        Self::of_io(error.kind(), message)
    }

    /// A failed system call, with what to do about it.
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

    /// Puts what was being done before the message: "{what}: {message}".
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
        // A string and a number always serialize; the plain message is the honest rest.
        serde_json::to_string(&Document {
            error: &self.message,
            code: self.code.code(),
        })
        .unwrap_or_else(|_| self.message.clone())
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

/// Names the path in the failure of a system call.
pub trait OnPath<T> {
    /// Turns the error into "cannot {verb} {path}: why".
    ///
    /// # Errors
    /// The error it was given.
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
            StoreError::Newer { .. } | StoreError::Older { .. } | StoreError::Damaged { .. } => Exit::BadData,
            StoreError::Full { .. }
            | StoreError::TooManyDamaged(_)
            | StoreError::Copy { .. }
            | StoreError::Displaced { .. } => Exit::Io,
            // It says by itself whose the file has to be.
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
    fn the_json_form_escapes() {
        let failure = Failure::new(Exit::Config, "line \"3\"\nis wrong");
        assert_eq!(failure.to_json(), r#"{"error":"line \"3\"\nis wrong","code":78}"#);
    }
}
