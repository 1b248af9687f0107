//! The Gemini CLI dialect: messages of a chat file to records.
//!
//! Counted are messages of type `gemini` with `tokens`, as a line of their own or in the list of a `$set` line,
//! which repeats the whole conversation. Copies without tokens are none. Headers and `$set` lines name the
//! session. docs/dialects.md has the rules.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::dialect::{self, DialectParser, LineHead};
use crate::json::scanner::{NotJson, Scanner};
use crate::json::{self, MemberValue, members};
use crate::model::{Observation, Record, Usage};
use crate::parse::line::{LineContext, LineKind, Parsed};

/// The tag and the version of this dialect's keys.
const KEY_TAG: &[u8] = b"gemini\x01";
/// The type of the messages that can count.
const TYPE_COUNTED: &[u8] = b"gemini";
/// Most messages of one line that are read, far above what a session has: each becomes a record in memory.
const MESSAGES_MAX: usize = 65_536;
/// The version of the encoded state.
const STATE_VERSION: u8 = 1;

/// State of the parser of one file. Kept with the file's offset: encoded in nine bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gemini {
    session: Option<NonZeroU64>,
}

impl DialectParser for Gemini {
    /// True for a message of the user or the CLI itself.
    fn passes_over(&self, head: &LineHead<'_>) -> bool {
        head.kind.text().is_some_and(|kind| *kind != *TYPE_COUNTED)
    }

    /// One line may have all messages of a session.
    fn strict(
        &mut self,
        text: &[u8],
        place: LineContext,
        records: &mut Vec<Record>,
        _: &mut Vec<Observation>,
    ) -> Result<Parsed, NotJson> {
        let mut line = ChatLine::default();
        if !json::object(text, &mut line)? {
            return Ok(Parsed::plain(LineKind::Malformed, None));
        }
        for named in [line.session_id, line.set.session_id] {
            self.session = dialect::session(named, place.scope).or(self.session);
        }
        let before = records.len();
        for message in line.set.messages.0.iter().chain([&line.message]) {
            let known = records.last().map(|record| &record.model);
            records.extend(message.record(known, self.session, place));
        }
        let time = line.message.timestamp.or(line.set.last_updated);
        let time = time.0.and_then(json::time_of);
        Ok(dialect::parsed(records.len() > before, time))
    }

    fn encode(&self) -> Vec<u8> {
        self.session.map_or_else(Vec::new, |session| {
            let mut bytes = vec![STATE_VERSION];
            bytes.extend_from_slice(&session.get().to_le_bytes());
            bytes
        })
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let session = match bytes {
            [] => None,
            [STATE_VERSION, session @ ..] => {
                Some(NonZeroU64::new(u64::from_le_bytes(session.try_into().ok()?))?)
            }
            _ => return None,
        };
        Some(Self { session })
    }
}

members! {
    /// The members of a line: of a header, a change or a message.
    struct ChatLine<'de> {
        session_id = b"sessionId",
        set: ChatChange<'de> = b"$set",
        ..message: ChatMessage<'de>,
    }
}

members! {
    /// `$set`: new values of the header's members, or of the list of messages.
    struct ChatChange<'de> {
        session_id = b"sessionId",
        last_updated = b"lastUpdated",
        messages: ChatMessages<'de> = b"messages",
    }
}

/// The messages of a list that can count.
#[derive(Debug, Default)]
struct ChatMessages<'de>(Vec<ChatMessage<'de>>);

impl<'de> MemberValue<'de> for ChatMessages<'de> {
    fn take(&mut self, value: &mut Scanner<'de>) -> Result<(), NotJson> {
        self.0.clear();
        value.each(|item| {
            let mut message = ChatMessage::default();
            let is_object = json::object(item, &mut message).is_ok();
            if is_object && message.is_counted() && self.0.len() < MESSAGES_MAX {
                self.0.push(message);
            }
            false
        })
    }
}

members! {
    struct ChatMessage<'de> {
        kind = b"type",
        id = b"id",
        timestamp = b"timestamp",
        /// The one asked for; the server's own name is not written.
        model = b"model",
        tokens: ChatTokens<'de> = b"tokens",
    }
}

impl ChatMessage<'_> {
    /// A function's response of the user may have the id of the message with the call.
    fn is_counted(&self) -> bool {
        self.kind.text().as_deref() == Some(TYPE_COUNTED)
    }

    fn record(
        &self,
        known: Option<&Arc<str>>,
        session: Option<NonZeroU64>,
        place: LineContext,
    ) -> Option<Record> {
        if !self.is_counted() {
            return None;
        }
        let key = dialect::key(KEY_TAG, place.scope, &[&self.id.text()?]);
        let time = self.timestamp.0.and_then(json::time_of);
        let model = dialect::name(self.model, known);
        dialect::record(key, model, self.tokens.usage(), time, session)
    }
}

members! {
    /// The members of `tokens`, which is `null` or absent where the server sent none.
    struct ChatTokens<'de> {
        input = b"input",
        output = b"output",
        cached = b"cached",
        thoughts = b"thoughts",
        tool = b"tool",
    }
}

impl ChatTokens<'_> {
    /// Cached tokens are a part of the input; thoughts and the prompt of tools come on top.
    fn usage(&self) -> Usage {
        let [input, output, cached, thoughts, tool] =
            [self.input, self.output, self.cached, self.thoughts, self.tool].map(dialect::tokens);
        let cache_read = cached.min(input);
        Usage {
            input: dialect::sum(input - cache_read, tool),
            output: dialect::sum(output, thoughts),
            cache_read,
            thinking: thoughts,
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests;
