//! The pi dialect: entries of a session file to records.
//!
//! Counted are `message` entries of the assistant or with a tool's own usage, `compaction`, `branch_summary`
//! and `usage` entries of any kind. `session` and `model_change` say whose they are; all other entries are
//! passed over. docs/dialects.md has the rules.

mod state;

use std::num::NonZeroU64;
use std::sync::Arc;

use super::dialect::{self, DialectParser, LineHead};
use crate::json::scanner::NotJson;
use crate::json::{self, RawBytes, members};
use crate::model::{Observation, Rank, Record, ResponseKey, Usage, is_account_name};
use crate::parse::line::{LineContext, LineKind, Parsed};

/// The tag and the version of this dialect's keys.
const KEY_TAG: &[u8] = b"pi\x01";
/// Types of entries that are read, beside messages.
const TYPES_READ: [&[u8]; 5] = [
    b"session",
    b"model_change",
    b"compaction",
    b"branch_summary",
    b"usage",
];
/// The provider of a call whose provider has no name that can be an account's.
const PROVIDER_UNKNOWN: &str = "unknown";
/// Roles of messages that can have usage.
const ROLES_READ: [&[u8]; 2] = [b"assistant", b"toolResult"];

/// State of the parser of one file. Kept with the file's offset: encoded small (about 50 bytes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pi {
    session: Option<NonZeroU64>,
    /// The model and the provider of the last `model_change` or answer: summaries name none.
    model: Option<Arc<str>>,
    provider: Option<Arc<str>>,
}

impl DialectParser for Pi {
    /// True for an entry that can neither count nor name a model.
    fn passes_over(&self, head: &LineHead<'_>) -> bool {
        match head.kind.text().as_deref() {
            None => false,
            Some(b"message") => head.role.text().is_some_and(|role| !ROLES_READ.contains(&&*role)),
            Some(kind) => !TYPES_READ.contains(&kind),
        }
    }

    fn strict(
        &mut self,
        text: &[u8],
        place: LineContext,
        records: &mut Vec<Record>,
        _: &mut Vec<Observation>,
    ) -> Result<Parsed, NotJson> {
        let mut entry = PiEntry::default();
        if !json::object(text, &mut entry)? {
            return Ok(Parsed::plain(LineKind::Malformed, None));
        }
        let record = match entry.kind.text().as_deref() {
            Some(b"session") => {
                self.session = dialect::session(entry.id, place.scope);
                None
            }
            Some(b"model_change") => {
                self.take_model(entry.model_id, entry.own.provider);
                None
            }
            Some(b"message") => match entry.message.role.text().as_deref() {
                Some(b"assistant") => {
                    self.take_model(entry.message.answered_by(), entry.message.provider);
                    self.record(&entry, &entry.message, place)
                }
                Some(b"toolResult") => self.record(&entry, &entry.message, place),
                _ => None,
            },
            Some(b"compaction" | b"branch_summary" | b"usage") => self.record(&entry, &entry.own, place),
            _ => None,
        };
        let time = entry.timestamp.0.and_then(json::time_of);
        let parsed = dialect::parsed(record.is_some(), time);
        records.extend(record);
        Ok(parsed)
    }

    fn encode(&self) -> Vec<u8> {
        state::encode(self)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        state::decode(bytes)
    }
}

impl Pi {
    fn take_model(&mut self, model: RawBytes<'_>, provider: RawBytes<'_>) {
        if let Some(model) = dialect::name(model, self.model.as_ref()) {
            self.provider = provider_name(provider, self.provider.as_ref());
            self.model = Some(model);
        }
    }

    /// The record of an entry's usage.
    fn record(&self, entry: &PiEntry<'_>, call: &PiCall<'_>, place: LineContext) -> Option<Record> {
        let usage = call.usage.usage();
        let own = dialect::name(call.answered_by(), self.model.as_ref());
        let provider = match own {
            Some(_) => provider_name(call.provider, self.provider.as_ref()),
            None => self.provider.clone(),
        };
        let model = own.or_else(|| self.model.clone());
        let is_unknown = model.is_none();
        let time = entry.timestamp.0.and_then(json::time_of);
        let mut record = dialect::record(call.key(entry, usage, place), model, usage, time, self.session)?;
        record.provider = provider;
        if is_unknown {
            // A copy in a file that names the model wins, in any order.
            record.rank = Rank::Sidechain;
        }
        Some(record)
    }
}

/// The provider of a call in the words of accounts; shared if it is the one before.
fn provider_name(text: RawBytes<'_>, before: Option<&Arc<str>>) -> Option<Arc<str>> {
    let text = text.text()?;
    let text = String::from_utf8_lossy(&text);
    let name = match &*text {
        // By an API key or by a subscription: the line does not say which.
        "anthropic" => "claude",
        "openai-codex" => "codex",
        "google" | "google-gemini-cli" => "gemini",
        other if is_account_name(other) => other,
        _ => PROVIDER_UNKNOWN,
    };
    Some(match before {
        Some(before) if **before == *name => Arc::clone(before),
        _ => name.into(),
    })
}

members! {
    /// The members of an entry.
    struct PiEntry<'de> {
        kind = b"type",
        /// Of the session, in its header. Ids of entries are not read: a file of the first version gets new ones when
        /// it is continued.
        id = b"id",
        timestamp = b"timestamp",
        /// The model of a `model_change`.
        model_id = b"modelId",
        message: PiCall<'de> = b"message",
        // The call of an entry without a message.
        ..own: PiCall<'de>,
    }
}

members! {
    /// A call of the API, in a message or in the entry itself.
    struct PiCall<'de> {
        role = b"role",
        timestamp = b"timestamp",
        provider = b"provider",
        model = b"model",
        response_model = b"responseModel",
        response_id = b"responseId",
        usage: PiUsage<'de> = b"usage",
    }
}

impl<'de> PiCall<'de> {
    /// The model that answered: `responseModel` is written where it is not the one asked for.
    fn answered_by(&self) -> RawBytes<'de> {
        match self.response_model.text() {
            Some(_) => self.response_model,
            None => self.model,
        }
    }

    /// Copies keep times, names and counts. The response's id alone is not enough: local servers repeat theirs,
    /// and summaries have none.
    fn key(&self, entry: &PiEntry<'_>, usage: Usage, place: LineContext) -> ResponseKey {
        let texts = [
            entry.timestamp,
            self.timestamp,
            self.provider,
            self.model,
            self.response_id,
            entry.kind,
        ]
        .map(|raw| raw.text().or(raw.0.map(Into::into)).unwrap_or_default());
        let counts =
            [usage.input, usage.output, usage.cache_read, usage.cache_creation].map(u64::to_le_bytes);
        let texts = texts.iter().map(|text| &**text);
        let parts: Vec<&[u8]> = texts.chain(counts.iter().map(<[u8; 8]>::as_slice)).collect();
        dialect::key(KEY_TAG, place.scope, &parts)
    }
}

members! {
    /// The members of a usage object. `totalTokens` is not read: for some APIs it is the server's.
    struct PiUsage<'de> {
        input = b"input",
        output = b"output",
        cache_read = b"cacheRead",
        cache_write = b"cacheWrite",
        cache_write_1h = b"cacheWrite1h",
        reasoning = b"reasoning",
    }
}

impl PiUsage<'_> {
    /// Reasoning is a part of the output, and one-hour writes are a part of the cache writes.
    fn usage(&self) -> Usage {
        let tokens = dialect::tokens;
        let (output, cache_creation) = (tokens(self.output), tokens(self.cache_write));
        Usage {
            input: tokens(self.input),
            output,
            cache_read: tokens(self.cache_read),
            cache_creation,
            cache_creation_1h: tokens(self.cache_write_1h).min(cache_creation),
            thinking: tokens(self.reasoning).min(output),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests;
