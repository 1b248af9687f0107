//! The count of responses: records of usage, and running totals where no record covers them.
//!
//! Pure. A `token_usage_record` is one response. A `token_count` repeats the running total of the thread; it is
//! a response of its own only in files of versions that write no records, or where a record is missing.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use crate::json::members;
use crate::model::{ResponseKey, Usage};

/// The tag of this dialect and the version of its keys.
const KEY_TAG: &[u8] = b"codex\x01";
/// Identity of a response: its id.
const TAG_RESPONSE: u8 = b'r';
/// Identity of a response without an id: its turn, and the total after it.
const TAG_TURN: u8 = b't';
/// Identity of a response of an unnamed turn: the thread, and the total after it.
const TAG_THREAD: u8 = b'h';
/// The same in a file without a thread: the file's origin.
const TAG_ORIGIN: u8 = b'o';

/// Input, cached input, cache writes, output and reasoning of a usage object. The second and third are parts of
/// the first, the last is a part of the fourth. `total_tokens` is none: in notes it is the size of the context.
pub type Parts = [u64; 5];

members! {
    /// The members of a usage object, raw.
    pub struct UsageParts<'de> {
        input = b"input_tokens",
        cached = b"cached_input_tokens",
        cache_write = b"cache_write_input_tokens",
        output = b"output_tokens",
        reasoning = b"reasoning_output_tokens",
    }
}

impl UsageParts<'_> {
    /// The numbers; what is none is 0.
    pub fn parts(&self) -> Parts {
        [
            self.input,
            self.cached,
            self.cache_write,
            self.output,
            self.reasoning,
        ]
        .map(|raw| raw.count().unwrap_or(0))
    }
}

/// The usage of a response: parts of the input are taken out of it.
#[must_use]
pub fn usage([input, cached, cache_write, output, reasoning]: Parts) -> Usage {
    let cache_read = cached.min(input);
    let cache_creation = cache_write.min(input - cache_read);
    Usage {
        input: input - cache_read - cache_creation,
        output,
        cache_read,
        cache_creation,
        thinking: reasoning.min(output),
        ..Usage::default()
    }
}

/// The running total of a thread, as of the last line with one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunningTotal {
    pub last: Option<Parts>,
    /// True if `last` is of the current turn.
    pub is_of_turn: bool,
    /// True if a record has counted what the next total repeats.
    pub is_covered: bool,
}

impl RunningTotal {
    /// A turn begins: the total may start again.
    pub fn begin_turn(&mut self) {
        self.is_of_turn = false;
    }

    /// A record counted a response.
    pub fn cover(&mut self) {
        self.is_covered = true;
    }

    /// A line with a total that cannot be read repeats what a record counted, like any other.
    pub fn uncover(&mut self) {
        self.is_covered = false;
    }

    /// Takes the total after a response, and the response's own figures if the line has them. Returns the
    /// figures of a response that is not counted yet. `is_inherited`: the total is another thread's.
    pub fn take(&mut self, total: Parts, own: Option<Parts>, is_inherited: bool) -> Option<Parts> {
        let is_covered = std::mem::take(&mut self.is_covered);
        if self.last == Some(total) {
            return None;
        }
        let is_zero = |parts: &Parts| parts.iter().all(|part| *part == 0);
        let fell = |before: &Parts| total.iter().zip(before).any(|(new, old)| new < old);
        let has_fallen = self.last.as_ref().is_some_and(fell);
        if !is_inherited && has_fallen && self.is_of_turn && !is_zero(&total) {
            // A snapshot older than the last line.
            return None;
        }
        let before = self.last.replace(total);
        self.is_of_turn = true;
        if is_inherited || is_covered {
            return None;
        }
        // Own figures of zero are a note, or the total jumps over turns that were rolled back and counted
        // before: the jump never counts.
        let amount = own.unwrap_or_else(|| match before {
            Some(before) if !has_fallen => std::array::from_fn(|part| total[part] - before[part]),
            _ => total,
        });
        Some(amount).filter(|amount| !is_zero(amount))
    }
}

/// The key of a response with an id.
#[must_use]
pub fn key_of_response(scope: u64, id: &[u8]) -> ResponseKey {
    key(scope, TAG_RESPONSE, id, &[])
}

/// The turn or thread of a response without an id: ids are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TotalOf {
    Turn(u128),
    Thread(u128),
    /// The [`origin`](crate::model::Cursor::origin) of a file that names no thread.
    File(u64),
}

/// The key of a response without an id, by the running total after it.
#[must_use]
pub fn key_of_total(scope: u64, of: TotalOf, total: Parts) -> ResponseKey {
    match of {
        TotalOf::Turn(id) => key(scope, TAG_TURN, &id.to_le_bytes(), &total),
        TotalOf::Thread(id) => key(scope, TAG_THREAD, &id.to_le_bytes(), &total),
        TotalOf::File(origin) => key(scope, TAG_ORIGIN, &origin.to_le_bytes(), &total),
    }
}

/// Hashes an identity. Only the id varies in length, after parts of a length that the tag decides.
fn key(scope: u64, tag: u8, id: &[u8], parts: &[u64]) -> ResponseKey {
    let mut text = Vec::with_capacity(KEY_TAG.len() + 1 + 8 * parts.len() + id.len());
    text.extend_from_slice(KEY_TAG);
    text.push(tag);
    for part in parts {
        text.extend_from_slice(&part.to_le_bytes());
    }
    text.extend_from_slice(id);
    ResponseKey(xxh3_128_with_seed(&text, scope))
}
