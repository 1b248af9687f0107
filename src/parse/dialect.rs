//! The interface of a dialect, and the parts that the parsers of all but Claude Code share: two attempts at a
//! line, keys, records.
//!
//! Pure. A long line is judged by its first members where these say that it cannot count: most bytes of a
//! session are in such lines.

use std::fmt::Debug;
use std::num::NonZeroU64;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::claude::model_name::{MODEL_UNKNOWN, model_name};
use super::line::{LineContext, LineKind, Parsed, SHORT_LINE_BYTES_MAX};
use crate::json::scanner::{NotJson, Scanner};
use crate::json::{self, MemberValue, Members, RawBytes};
use crate::model::{Dating, Kind, Millis, Observation, Rank, Record, ResponseKey, Service, Usage};

/// The parser of one file of a dialect.
pub trait DialectParser: Debug + Send {
    /// True if a long line with this head, in the frame of an object, cannot count.
    fn passes_over(&self, head: &LineHead<'_>) -> bool;

    /// Parses a text, whose records and observations are appended.
    ///
    /// # Errors
    /// It is not JSON; nothing changed then.
    fn strict(
        &mut self,
        text: &[u8],
        place: LineContext,
        records: &mut Vec<Record>,
        observations: &mut Vec<Observation>,
    ) -> Result<Parsed, NotJson>;

    /// The state between two readings of the file; empty if there is nothing to keep.
    fn encode(&self) -> Vec<u8>;

    /// Decodes the result of [`DialectParser::encode`]; `None` for bytes that no version wrote.
    fn decode(bytes: &[u8]) -> Option<Self>
    where
        Self: Sized;
}

/// Parses a line (trimmed, not empty, without `\n`), and once more with its bad bytes repaired.
pub fn line(
    parser: &mut dyn DialectParser,
    bytes: &[u8],
    place: LineContext,
    records: &mut Vec<Record>,
    observations: &mut Vec<Observation>,
) -> Parsed {
    if let Some(head) = LineHead::of_long(bytes).filter(|head| parser.passes_over(head)) {
        return Parsed::plain(LineKind::Ignored, head.timestamp.0.and_then(json::time_of));
    }
    if let Ok(parsed) = parser.strict(bytes, place, records, observations) {
        return parsed;
    }
    let repaired = json::repaired(bytes);
    if let Some(text) = &repaired
        && let Ok(parsed) = parser.strict(text, place, records, observations)
    {
        return parsed;
    }
    // A name with an escape that is no character is still valid JSON.
    let class = if json::is_object(repaired.as_deref().unwrap_or(bytes)) {
        LineKind::Ignored
    } else {
        LineKind::Malformed
    };
    Parsed::plain(class, None)
}

/// The first members of a line, as far as they are needed to pass it over.
#[derive(Debug, Default)]
pub struct LineHead<'de> {
    pub kind: RawBytes<'de>,
    pub timestamp: RawBytes<'de>,
    /// The first member of `message`, if it is the role.
    pub role: RawBytes<'de>,
}

impl<'de> LineHead<'de> {
    /// The head of a long line in the frame of an object; `None` for any other line.
    fn of_long(line: &'de [u8]) -> Option<Self> {
        let is_long = line.len() > SHORT_LINE_BYTES_MAX && line.starts_with(b"{") && line.ends_with(b"}");
        is_long.then(|| {
            let mut head = Self::default();
            // Reading ends before the end of the line.
            let _ = json::object(line, &mut head);
            head
        })
    }
}

impl<'de> Members<'de> for LineHead<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"type" => self.kind.take(value),
            b"timestamp" => self.timestamp.take(value),
            b"message" => value.object(&mut RoleFirst(&mut self.role)).map(drop),
            // A change of the whole file: it has no type.
            b"$set" => Err(NotJson),
            _ if self.kind.0.is_some() && self.timestamp.0.is_some() => Err(NotJson),
            _ => value.skip(),
        }
    }
}

/// Reads a message up to its first member, where reading ends.
struct RoleFirst<'h, 'de>(&'h mut RawBytes<'de>);

impl<'de> Members<'de> for RoleFirst<'_, 'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        if key == b"role" {
            self.0.take(value)?;
        }
        Err(NotJson)
    }
}

/// Hashes an identity: the tag and the version of a dialect's keys, then its parts, each after its length.
#[must_use]
pub fn key(tag: &[u8], scope: u64, parts: &[&[u8]]) -> ResponseKey {
    let mut text = tag.to_vec();
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    }
    ResponseKey(xxh3_128_with_seed(&text, scope))
}

/// A hash of the id of a session, if the member is there.
#[must_use]
pub fn session(id: RawBytes<'_>, scope: u64) -> Option<NonZeroU64> {
    session_hash(&id.text()?, scope)
}

/// A hash of the id of a session of the account with this scope.
#[must_use]
pub fn session_hash(id: &[u8], scope: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(xxh3_64_with_seed(id, scope))
}

/// The name of a model or a provider; shared if it is the one before.
#[must_use]
pub fn name(text: RawBytes<'_>, before: Option<&Arc<str>>) -> Option<Arc<str>> {
    let text = text.text()?;
    Some(match before {
        Some(before) if before.as_bytes() == &*text => Arc::clone(before),
        _ => model_name(Some(&text)).into(),
    })
}

/// A token count; what is none is 0.
#[must_use]
pub fn tokens(raw: RawBytes<'_>) -> u64 {
    raw.count().unwrap_or(0)
}

/// The sum of two token counts, which is at most `i64::MAX` too.
#[must_use]
pub fn sum(tokens: u64, more: u64) -> u64 {
    tokens.saturating_add(more).min(i64::MAX.unsigned_abs())
}

/// The record of a response that is the line's own; `None` if it used nothing.
#[must_use]
pub fn record(
    key: ResponseKey,
    model: Option<Arc<str>>,
    usage: Usage,
    time: Option<Millis>,
    session: Option<NonZeroU64>,
) -> Option<Record> {
    (usage.total() > 0).then(|| Record {
        key,
        kind: Kind::Message,
        rank: Rank::Main,
        model: model.unwrap_or_else(|| MODEL_UNKNOWN.into()),
        usage,
        service: Service::default(),
        provider: None,
        time,
        dating: time.map_or(Dating::Unknown, |_| Dating::Line),
        session,
        is_final: true,
        copies: 1,
    })
}

/// The result of a line with these records.
#[must_use]
pub fn parsed(has_records: bool, time: Option<Millis>) -> Parsed {
    let class = if has_records {
        LineKind::Usage
    } else {
        LineKind::Ignored
    };
    Parsed::plain(class, time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(start: &str) -> (Option<Vec<u8>>, Option<Vec<u8>>, bool) {
        let line = format!(r#"{{{start}"pad":"{}"}}"#, "x".repeat(SHORT_LINE_BYTES_MAX));
        let head = LineHead::of_long(line.as_bytes()).unwrap();
        let text = |raw: RawBytes<'_>| raw.text().map(std::borrow::Cow::into_owned);
        (text(head.kind), text(head.role), head.timestamp.0.is_some())
    }

    #[test]
    fn the_head_of_a_long_line_is_read_as_far_as_it_decides() {
        let some = |text: &str| Some(text.as_bytes().to_vec());
        for (start, want) in [
            (
                r#""type":"a","timestamp":"t","message":{"role":"r","x":1},"#,
                (some("a"), some("r"), true),
            ),
            (r#""message":{"x":1,"role":"r"},"type":"a","#, (None, None, false)),
            (r#""message":{"role":"r"},"type":"a","#, (None, some("r"), false)),
            (
                r#""id":{"type":"b"},"timestamp":1,"type":"a","#,
                (some("a"), None, true),
            ),
            (r#""$set":{},"type":"a","#, (None, None, false)),
            (r#""type":7,"#, (None, None, false)),
        ] {
            assert_eq!(head(start), want, "{start}");
        }
        let short = format!(r#"{{"type":"a","pad":"{}"}}"#, "x".repeat(100));
        assert!(LineHead::of_long(short.as_bytes()).is_none());
    }

    #[test]
    fn parts_of_an_identity_do_not_run_into_each_other() {
        let parts: [&[&[u8]]; 5] = [&[b"ab", b"c"], &[b"a", b"bc"], &[b"abc"], &[b"abc", b""], &[]];
        let keys: std::collections::BTreeSet<_> = parts.iter().map(|parts| key(b"t", 7, parts)).collect();
        assert_eq!(keys.len(), parts.len());
        assert_ne!(key(b"t", 7, parts[0]), key(b"t", 8, parts[0]));
        assert_ne!(key(b"t", 7, parts[0]), key(b"u", 7, parts[0]));
    }

    #[test]
    fn sums_stay_within_the_bound_of_a_count() {
        assert_eq!(sum(3, 4), 7);
        for more in [1, i64::MAX.unsigned_abs(), u64::MAX] {
            assert_eq!(sum(i64::MAX.unsigned_abs(), more), i64::MAX.unsigned_abs());
        }
    }
}
