//! Classification of long lines by searching for a few words, without parsing.

use std::sync::LazyLock;

use memchr::memmem;

use crate::json;
use crate::model::Millis;

/// Distance from both ends of a long line within which timestamps and signs of limits are searched, in bytes.
pub const END_BYTES: usize = 512;

pub static USAGE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"usage\""));
/// Start of an escaped ASCII letter, which no usual writer produces.
static ESCAPE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\\u00"));
/// Continuations of the escape for the letters of `usage`.
const USAGE_IN_HEX: [&[u8]; 5] = [b"75", b"73", b"61", b"67", b"65"];
static TIMESTAMP: LazyLock<memmem::FinderRev<'static>> =
    LazyLock::new(|| memmem::FinderRev::new(b"\"timestamp\":"));
/// Found early in most long lines: tool results, which contain no limits.
static USER: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"\"type\":\"user\""));
/// Types of lines that can count.
static COUNTING: LazyLock<[memmem::Finder<'static>; 2]> =
    LazyLock::new(|| ["\"assistant\"", "\"progress\""].map(memmem::Finder::new::<str>));
/// Found early in a session's report of its use.
static COST_STATE: LazyLock<memmem::Finder<'static>> =
    LazyLock::new(|| memmem::Finder::new(b"\"cost-state\""));
/// Found near an end of a long line with limits, each after a stem that is searched first: two searches, not
/// four.
static LIMIT_SIGNS: LazyLock<[(memmem::Finder<'static>, [memmem::Finder<'static>; 2]); 2]> =
    LazyLock::new(|| {
        let find = memmem::Finder::new::<str>;
        [
            (find("imit"), [find("imits\""), find("rate_limit_event")]),
            (find("rror"), [find("api_error"), find("isApiErrorMessage")]),
        ]
    });

/// True if a long line has the word `usage` in quotes, or letters of it as escapes. Tool results are not
/// searched for escapes, since they are full of them.
#[must_use]
pub fn may_mention_usage(line: &[u8]) -> bool {
    let is_of_usage = |at: usize| {
        let digits = line
            .get(at + ESCAPE.needle().len()..)
            .and_then(|rest| rest.get(..2));
        digits.is_some_and(|digits| USAGE_IN_HEX.contains(&digits))
    };
    USAGE.find(line).is_some() || !is_result(line) && ESCAPE.find_iter(line).any(is_of_usage)
}

/// True if a long line begins as one of the user, and has the type of a counted line at neither end.
#[must_use]
pub fn is_result(line: &[u8]) -> bool {
    let ends = [&line[..END_BYTES], &line[line.len() - END_BYTES..]];
    is_of_user(line)
        && !ends
            .iter()
            .any(|end| COUNTING.iter().any(|kind| kind.find(end).is_some()))
}

/// True if a long line begins as one of the user.
#[must_use]
pub fn is_of_user(line: &[u8]) -> bool {
    USER.find(&line[..END_BYTES]).is_some()
}

/// True if a long line may be a limit line, by its ends.
#[must_use]
pub fn speaks_of_limits(line: &[u8]) -> bool {
    [&line[..END_BYTES], &line[line.len() - END_BYTES..]]
        .into_iter()
        .any(|end| {
            LIMIT_SIGNS.iter().any(|(stem, words)| {
                stem.find(end).is_some() && words.iter().any(|word| word.find(end).is_some())
            })
        })
}

/// True if a long line may be an agent's report of a session's use.
#[must_use]
pub fn reports_use(line: &[u8]) -> bool {
    COST_STATE.find(&line[..END_BYTES]).is_some()
}

/// The time of a long line that is not parsed: the last `"timestamp"` near its end, else the last near its
/// start.
#[must_use]
pub fn time_near_the_ends(line: &[u8]) -> Option<Millis> {
    let tail = &line[line.len() - END_BYTES..];
    time_in(tail).or_else(|| time_in(&line[..END_BYTES]))
}

fn time_in(window: &[u8]) -> Option<Millis> {
    let text = &window[TIMESTAMP.rfind(window)? + TIMESTAMP.needle().len()..];
    let end = match text.first()? {
        b'"' => 2 + memchr::memchr(b'"', &text[1..])?,
        _ => text.iter().position(|byte| matches!(byte, b',' | b'}'))?,
    };
    json::time_of(&text[..end])
}
