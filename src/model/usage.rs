//! The token counts of one response, and the totals that an agent itself reports of a session.

use std::num::NonZeroU64;

/// The number the store gives a model name.
pub type ModelNumber = u32;

/// The number the store gives a session, from 1 on; 0 is none.
pub type SessionNumber = u32;

/// The number the store gives a [`SessionPlace`](super::SessionPlace).
pub type PlaceNumber = u32;

/// The number the store gives a series: sums are stored by series.
pub type SeriesNumber = u32;

/// The tokens used by one response. Every field is at most `i64::MAX` when it comes from a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Usage {
    /// Prompt tokens that were neither read from nor written to the cache.
    pub input: u64,
    /// Generated tokens, thinking included.
    pub output: u64,
    pub cache_read: u64,
    /// All cache writes: the flat field or the sum of the two below, whichever is larger.
    pub cache_creation: u64,
    pub cache_creation_5m: u64,
    pub cache_creation_1h: u64,
    /// Web searches made by the server, in requests.
    pub web_search: u64,
    /// The part of `output` that was thinking, if the line contains it.
    pub thinking: u64,
}

impl Usage {
    /// The sum of the four token fields.
    #[must_use]
    pub fn total(&self) -> u128 {
        u128::from(self.input)
            + u128::from(self.output)
            + u128::from(self.cache_read)
            + u128::from(self.cache_creation)
    }

    /// All counts, in the order of rows and of parsers' states on disk.
    #[must_use]
    pub const fn to_array(&self) -> [u64; 8] {
        [
            self.input,
            self.output,
            self.cache_read,
            self.cache_creation,
            self.cache_creation_5m,
            self.cache_creation_1h,
            self.web_search,
            self.thinking,
        ]
    }

    /// The reverse of [`Usage::to_array`].
    #[must_use]
    pub const fn from_array(counts: [u64; 8]) -> Self {
        let [
            input,
            output,
            cache_read,
            cache_creation,
            cache_creation_5m,
            cache_creation_1h,
            web_search,
            thinking,
        ] = counts;
        Self {
            input,
            output,
            cache_read,
            cache_creation,
            cache_creation_5m,
            cache_creation_1h,
            web_search,
            thinking,
        }
    }

    /// True if no figure is set: the usage is unknown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.total() == 0 && self.web_search == 0 && self.thinking == 0
    }
}

/// The totals that an agent reports of a session so far: its own sums, which are compared and never added, in
/// tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reported {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_creation: u64,
}

impl Reported {
    /// The larger of each figure: reports of a session only increase.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            input: self.input.max(other.input),
            output: self.output.max(other.output),
            cache_read: self.cache_read.max(other.cache_read),
            cache_creation: self.cache_creation.max(other.cache_creation),
        }
    }
}

/// A line in which an agent reports the totals of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// As in [`Record::session`](super::Record::session).
    pub session: NonZeroU64,
    pub reported: Reported,
}
