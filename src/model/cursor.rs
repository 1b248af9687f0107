//! Read position and identity of a log file.

use std::borrow::Borrow;
use std::ffi::OsStr;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

/// The number the store gives a log file.
pub type FileNumber = u32;

/// Identity of a file in its filesystem. The device is not part of it: it changes over reboots and remounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inode {
    pub number: u64,
    /// Birth time in nanoseconds since 1970; 0 where the filesystem stores none.
    pub born_ns: i64,
}

impl Inode {
    /// True if both may be the same file: an unknown birth time equals any.
    #[must_use]
    pub const fn may_be(self, other: Self) -> bool {
        self.number == other.number
            && (self.born_ns == other.born_ns || self.born_ns == 0 || other.born_ns == 0)
    }
}

/// Maximum length of the range before the offset that is hashed, in bytes.
pub const TAIL_BYTES_MAX: usize = 256;

/// Read position in a log file, with a hash of the content before it.
///
/// **Invariant**: `offset` is 0 or directly after a `\n` of this generation of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub inode: Inode,
    /// Incremented each time the file is read again from its start, or replaces another: 0 means that
    /// everything ever read at this path still exists.
    pub generation: u32,
    pub offset: u64,
    /// Number of bytes hashed in `tail_hash`, at most [`TAIL_BYTES_MAX`]: those before `skip_to` if it is
    /// set, else before `partial_end` if that is set, else before `offset`.
    pub tail_len: u16,
    pub tail_hash: u64,
    /// Set while a line longer than the bound is skipped: no `\n` lies in `offset..skip_to`.
    pub skip_to: Option<NonZeroU64>,
    /// End of the unterminated last line that was already counted: by a replay or a stop, which do not wait
    /// for its end.
    pub partial_end: u64,
    /// Identifies the file in the keys of responses that have no identity of their own; kept by rename and
    /// rewrite.
    pub origin: u64,
}

impl Cursor {
    /// The end of everything that was read, skipped or counted without its line's end.
    #[must_use]
    pub fn read_to(&self) -> u64 {
        let skipped = self.skip_to.map_or(0, NonZeroU64::get);
        self.offset.max(skipped).max(self.partial_end)
    }
}

/// Maximum size of the state that a parser keeps of one file between two reads, in bytes.
pub const PARSER_STATE_BYTES_MAX: usize = 8192;

/// The parser's state from the lines before a position, in a form that only the parser reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ParserState(Box<[u8]>);

impl ParserState {
    /// Stores the bytes; nothing if there are more than [`PARSER_STATE_BYTES_MAX`].
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        if bytes.len() > PARSER_STATE_BYTES_MAX {
            return Self::default();
        }
        Self(bytes.into())
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Read position in a file, with the parser's state from the lines before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    pub cursor: Cursor,
    pub state: ParserState,
}

/// A path below the run's directory, as the bytes that the filesystem returned.
///
/// Compared and hashed by its bytes, which is cheaper than by component and equivalent: it has no `.`, no
/// `//` and no slash at its end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RelativePath(Arc<OsStr>);

impl Deref for RelativePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl AsRef<Path> for RelativePath {
    fn as_ref(&self) -> &Path {
        self
    }
}

impl Borrow<OsStr> for RelativePath {
    fn borrow(&self) -> &OsStr {
        &self.0
    }
}

impl From<&Path> for RelativePath {
    fn from(path: &Path) -> Self {
        Self(path.as_os_str().into())
    }
}
