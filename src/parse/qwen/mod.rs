//! The Qwen Code dialect: rows of a chat file to records.
//!
//! Counted are `system` rows of telemetry with an `api_response`, which come before the row of the answer and
//! also contain sub-agents, compactions and background calls. In a file without such rows the usage of
//! `assistant` rows counts. Rows of side chains repeat what the session's own file has. docs/dialects.md has the
//! rules.

use super::dialect::{self, DialectParser, LineHead};
use crate::json::scanner::NotJson;
use crate::json::{self, RawBytes, members};
use crate::model::{Observation, Record, Usage};
use crate::parse::line::{LineContext, LineKind, Parsed};

/// The tag and the version of this dialect's keys.
const KEY_TAG: &[u8] = b"qwen\x01";
/// The event of a call that was answered.
const EVENT_COUNTED: &[u8] = b"qwen-code.api_response";
/// The encoded state of a file with telemetry.
const STATE_TELEMETRY: [u8; 1] = [1];

/// State of the parser of one file. Kept with the file's offset: encoded in one byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Qwen {
    /// True after a row of telemetry: rows of answers repeat such rows.
    has_telemetry: bool,
}

impl DialectParser for Qwen {
    fn passes_over(&self, head: &LineHead<'_>) -> bool {
        match head.kind.text().as_deref() {
            None | Some(b"system") => false,
            Some(b"assistant") => self.has_telemetry,
            Some(_) => true,
        }
    }

    fn strict(
        &mut self,
        text: &[u8],
        place: LineContext,
        records: &mut Vec<Record>,
        _: &mut Vec<Observation>,
    ) -> Result<Parsed, NotJson> {
        let mut row = QwenRow::default();
        if !json::object(text, &mut row)? {
            return Ok(Parsed::plain(LineKind::Malformed, None));
        }
        let record = match row.kind.text().as_deref() {
            _ if row.is_sidechain.0 == Some(b"true") => None,
            Some(b"system") if row.is_telemetry() => {
                self.has_telemetry = true;
                let event = &row.payload.event;
                row.record(event.model, &event.counts, place)
            }
            Some(b"assistant") if !self.has_telemetry => row.record(row.model, &row.usage, place),
            _ => None,
        };
        let parsed = dialect::parsed(record.is_some(), row.timestamp.0.and_then(json::time_of));
        records.extend(record);
        Ok(parsed)
    }

    fn encode(&self) -> Vec<u8> {
        if self.has_telemetry {
            STATE_TELEMETRY.to_vec()
        } else {
            Vec::new()
        }
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let has_telemetry = bytes == STATE_TELEMETRY;
        (has_telemetry || bytes.is_empty()).then_some(Self { has_telemetry })
    }
}

members! {
    /// The members of a row.
    struct QwenRow<'de> {
        uuid = b"uuid",
        session_id = b"sessionId",
        timestamp = b"timestamp",
        kind = b"type",
        subtype = b"subtype",
        is_sidechain = b"isSidechain",
        model = b"model",
        payload: SystemPayload<'de> = b"systemPayload",
        usage: QwenCounts<'de> = b"usageMetadata",
    }
}

impl QwenRow<'_> {
    fn is_telemetry(&self) -> bool {
        self.subtype.text().as_deref() == Some(b"ui_telemetry")
            && self.payload.event.name.text().as_deref() == Some(EVENT_COUNTED)
    }

    /// The record of a row, by its uuid, which a fork keeps. Ids of responses repeat on local servers.
    fn record(&self, model: RawBytes<'_>, counts: &QwenCounts<'_>, place: LineContext) -> Option<Record> {
        let key = dialect::key(KEY_TAG, place.scope, &[&self.uuid.text()?]);
        let session = dialect::session(self.session_id, place.scope);
        let time = self.timestamp.0.and_then(json::time_of);
        dialect::record(key, dialect::name(model, None), counts.usage(), time, session)
    }
}

members! {
    /// `systemPayload` of a row.
    struct SystemPayload<'de> {
        event: TelemetryEvent<'de> = b"uiEvent",
    }
}

members! {
    struct TelemetryEvent<'de> {
        name = b"event.name",
        model = b"model",
        ..counts: QwenCounts<'de>,
    }
}

members! {
    /// The counts of a call, in the words of telemetry or of `usageMetadata`.
    struct QwenCounts<'de> {
        input = b"input_token_count" | b"promptTokenCount",
        output = b"output_token_count" | b"candidatesTokenCount",
        cached = b"cached_content_token_count" | b"cachedContentTokenCount",
        thoughts = b"thoughts_token_count" | b"thoughtsTokenCount",
        total = b"total_token_count" | b"totalTokenCount",
    }
}

impl QwenCounts<'_> {
    /// Cached tokens are a part of the input. Only the total shows whether thoughts are a part of the output, as
    /// with some APIs: if there is room for them beside input and output, they are not, and what is left of
    /// the room is the prompt of tools.
    fn usage(&self) -> Usage {
        let [mut input, mut output, cached, thoughts, total] =
            [self.input, self.output, self.cached, self.thoughts, self.total].map(dialect::tokens);
        let cache_read = cached.min(input);
        let rest = total.saturating_sub(dialect::sum(input, output));
        input -= cache_read;
        if rest >= thoughts && rest > 0 {
            output = dialect::sum(output, thoughts);
            input = dialect::sum(input, rest - thoughts);
        }
        Usage {
            input,
            output,
            cache_read,
            thinking: thoughts.min(output),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests;
