//! The result of parsing a line, for any agent.

use crate::model::{Millis, Report};

/// Longest line that is parsed whole although it does not mention usage, in bytes.
pub const SHORT_LINE_BYTES_MAX: usize = 4096;

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// A line with usage that can count.
    Usage,
    /// A line without anything that counts: other types, blank lines, lines of no API response.
    Ignored,
    /// A line that is no JSON object, or has a `usage` that is not an object.
    Malformed,
}

/// The position of a line and its account.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineContext {
    /// Separates the responses of different provider accounts.
    pub scope: u64,
    /// The file's [`origin`](crate::model::Cursor::origin).
    pub origin: u64,
    /// The line's offset in its file.
    pub offset: u64,
}

/// The result of a line; its records and observations are appended to the given lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub class: LineKind,
    /// The line's own time.
    pub time: Option<Millis>,
    /// The agent's report of a session, if the line is one.
    pub report: Option<Report>,
}

impl Parsed {
    /// A line with only a kind and possibly a time.
    #[must_use]
    pub fn plain(class: LineKind, time: Option<Millis>) -> Self {
        Self {
            class,
            time,
            report: None,
        }
    }
}
