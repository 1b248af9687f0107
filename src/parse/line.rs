//! A line and what is found in it, whatever the agent.

use crate::model::{Millis, Report};

/// Longest line that is parsed whole though it mentions no usage, in bytes.
pub const SHORT_LINE_BYTES_MAX: usize = 4096;

/// What a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// It carries usage that can count.
    Usage,
    /// Nothing in it counts: other types, blank lines, lines of no API response.
    Ignored,
    /// It is not a JSON object, or has a `usage` that is not an object.
    Malformed,
}

/// What the parser knows of a line's surroundings.
#[derive(Clone, Copy, Debug, Default)]
pub struct LineContext {
    /// Keeps the responses of different provider accounts apart.
    pub scope: u64,
    /// The file's [`origin`](crate::model::Cursor::origin).
    pub origin: u64,
    /// The line's offset in its file.
    pub offset: u64,
}

/// What was found in a line; its records and observations are appended to the lists that were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    pub class: LineKind,
    /// The line's own time.
    pub time: Option<Millis>,
    /// What the agent reports of a session, if the line does that.
    pub report: Option<Report>,
}

impl Parsed {
    /// A line with nothing in it but its class and perhaps a time.
    #[must_use]
    pub fn plain(class: LineKind, time: Option<Millis>) -> Self {
        Self {
            class,
            time,
            report: None,
        }
    }
}
