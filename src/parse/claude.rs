//! The Claude Code dialect: assistant lines and legacy progress lines to records, limits to observations.
//!
//! What counts: `type:"assistant"` with an object `message.usage`; a `progress` line whose
//! `data.message.message.usage` is an object. Model `<synthetic>` never counts.

use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::json::{self, Members, RawBytes};
use super::limits::{self, LimitFields, Retries};
use super::scan::{NotJson, Scanner};
use super::usage::{Figures, UsageFields, UsageMemory};
use super::{Class, Parsed, Place};
use crate::record::{Kind, Millis, Observation, Rank, Record, ResponseKey};

/// Longest model name kept, in bytes; the rest is cut off.
pub const MODEL_BYTES_MAX: usize = 128;
/// The model of a response that names none.
pub const MODEL_UNKNOWN: &str = "unknown";
/// What is put after the model of a response that was made fast.
const MODEL_FAST: &str = "-fast";
/// The model of lines the CLI writes by itself.
pub(super) const MODEL_SYNTHETIC: &[u8] = b"<synthetic>";
/// What the API's own message ids begin with.
const API_ID_PREFIX: &[u8] = b"msg_";

/// Parses a line that has no surrounding whitespace and is not empty.
pub fn line(
    bytes: &[u8],
    place: Place,
    memory: &mut Memory,
    records: &mut Vec<Record>,
    observations: &mut Vec<Observation>,
) -> Parsed {
    let before = records.len();
    if let Ok(parsed) = strict(bytes, bytes, place, memory, records, observations) {
        return parsed;
    }
    records.truncate(before);
    let mended = json::mended(bytes);
    let text = mended.as_deref().unwrap_or(bytes);
    if mended.is_some() {
        if let Ok(parsed) = strict(text, bytes, place, memory, records, observations) {
            return parsed;
        }
        records.truncate(before);
    }
    // The typed pass may refuse what is JSON all the same (a number of 400 digits in an odd place).
    let class = if json::is_object(text) {
        Class::Ignored
    } else {
        Class::Malformed
    };
    Parsed { class, time: None }
}

/// One pass over a text; `line` is the line as it stands in the file, for the key of last resort.
fn strict(
    text: &[u8],
    line: &[u8],
    place: Place,
    memory: &mut Memory,
    records: &mut Vec<Record>,
    observations: &mut Vec<Observation>,
) -> Result<Parsed, NotJson> {
    let Memory {
        usage,
        model,
        retries,
    } = memory;
    let mut envelope = Envelope::new(usage);
    if !json::object(text, &mut envelope)? {
        return Ok(Parsed {
            class: Class::Malformed,
            time: None,
        });
    }
    let time = envelope.timestamp.text().and_then(|text| json::time(&text));
    let kind = envelope.kind.text();
    let class = envelope.judge(kind.as_deref(), time, line, place, model, records);
    // What counts is of no model the CLI made up, so most lines are not asked for theirs again.
    let is_synthetic = class != Class::Usage
        && kind.as_deref() == Some(b"assistant")
        && envelope.message.model.text().as_deref() == Some(MODEL_SYNTHETIC);
    if envelope.limits.any(is_synthetic) {
        let line = limits::Line {
            kind: kind.as_deref(),
            time,
            is_synthetic,
            session_id: envelope.session_id,
            request_id: envelope.request_id,
            uuid: envelope.uuid,
            text,
        };
        envelope.limits.observe(&line, retries, observations);
    }
    if let Claim::New(place, figures) = envelope.message.usage {
        usage.remember(&text[place], figures);
    }
    Ok(Parsed { class, time })
}

#[derive(Debug, Default)]
struct Envelope<'de> {
    kind: RawBytes<'de>,
    timestamp: RawBytes<'de>,
    uuid: RawBytes<'de>,
    request_id: RawBytes<'de>,
    session_id: RawBytes<'de>,
    is_sidechain: RawBytes<'de>,
    message: Message<'de>,
    data: ProgressData<'de>,
    limits: LimitFields<'de>,
}

impl<'de> Envelope<'de> {
    fn new(memory: &'de UsageMemory) -> Self {
        Self {
            message: Message::new(Some(memory)),
            ..Self::default()
        }
    }
}

impl<'de> Members<'de> for Envelope<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"type" => self.kind.0 = Some(value.raw_bytes()?),
            b"timestamp" => self.timestamp.0 = Some(value.raw_bytes()?),
            b"uuid" => self.uuid.0 = Some(value.raw_bytes()?),
            b"requestId" => self.request_id.0 = Some(value.raw_bytes()?),
            b"sessionId" => self.session_id.0 = Some(value.raw_bytes()?),
            b"session_id" if self.session_id.0.is_none() => self.session_id.0 = Some(value.raw_bytes()?),
            b"isSidechain" => self.is_sidechain.0 = Some(value.raw_bytes()?),
            b"message" => {
                self.message = Message::new(self.message.memory);
                value.object(&mut self.message)?;
            }
            b"data" => {
                self.data = ProgressData::default();
                value.object(&mut self.data)?;
            }
            _ => self.limits.member(key, value)?,
        }
        Ok(())
    }
}

impl Envelope<'_> {
    fn judge(
        &self,
        kind: Option<&[u8]>,
        time: Option<Millis>,
        line: &[u8],
        place: Place,
        model: &mut ModelMemory,
        records: &mut Vec<Record>,
    ) -> Class {
        match kind {
            Some(b"assistant") => {
                let rank = if self.is_sidechain.0 == Some(b"true") {
                    Rank::Sidechain
                } else {
                    Rank::Main
                };
                self.count(
                    &self.message,
                    self.request_id,
                    rank,
                    time,
                    line,
                    place,
                    model,
                    records,
                )
            }
            Some(b"progress") => {
                let quoted = &self.data.message;
                match self.count(
                    &quoted.message,
                    quoted.request_id,
                    Rank::Progress,
                    time,
                    line,
                    place,
                    model,
                    records,
                ) {
                    Class::Usage => Class::Usage,
                    // Only a line that claims to be of the assistant can be malformed in its usage.
                    _ => Class::Ignored,
                }
            }
            _ => Class::Ignored,
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one place where everything a record needs comes together"
    )]
    fn count(
        &self,
        message: &Message<'_>,
        request_id: RawBytes<'_>,
        rank: Rank,
        time: Option<Millis>,
        line: &[u8],
        place: Place,
        model: &mut ModelMemory,
        records: &mut Vec<Record>,
    ) -> Class {
        let figures = match &message.usage {
            Claim::Absent => return Class::Ignored,
            Claim::NoObject => return Class::Malformed,
            Claim::New(_, figures) => figures,
            Claim::Known(figures) => figures,
        };
        let model_text = message.model.text();
        if model_text.as_deref() == Some(MODEL_SYNTHETIC) {
            return Class::Ignored;
        }
        let key = self.key(message, request_id, line, place);
        records.push(Record {
            key,
            kind: Kind::Message,
            rank,
            model: model.name(model_text.as_deref(), figures.is_fast),
            usage: figures.usage,
            tier: figures.tier,
            time,
            copies: 1,
        });
        for (index, call) in &figures.advisor_calls {
            records.push(Record {
                key: hash(place.scope, b'+', &[&key.0.to_le_bytes(), &index.to_le_bytes()]),
                kind: Kind::Advisor,
                rank,
                model: model_name(Some(&call.model)).into(),
                usage: call.usage,
                tier: call.tier,
                time,
                copies: 1,
            });
        }
        Class::Usage
    }

    /// The identity of the response, from the best the line has.
    fn key(&self, message: &Message<'_>, request_id: RawBytes<'_>, line: &[u8], place: Place) -> ResponseKey {
        let id = message.id.text();
        let scope = place.scope;
        match (id, request_id.text()) {
            (Some(id), _) if id.starts_with(API_ID_PREFIX) => hash(scope, b'm', &[&id]),
            (Some(id), Some(request)) => hash(scope, b'r', &[&id, &request]),
            (Some(id), None) => {
                let session = self.session_id.text().unwrap_or_default();
                let timestamp = self.timestamp.text().unwrap_or_default();
                hash(scope, b's', &[&session, &id, &timestamp])
            }
            (None, _) => match self.uuid.text() {
                Some(uuid) => hash(scope, b'u', &[&uuid]),
                // The content is in it too: another line at the same place of a rewritten file is another response.
                None => hash(
                    scope,
                    b'o',
                    &[&place.origin.to_le_bytes(), &place.offset.to_le_bytes(), line],
                ),
            },
        }
    }
}

/// Hashes the parts of an identity; the tag keeps identities of different kinds apart.
fn hash(scope: u64, tag: u8, parts: &[&[u8]]) -> ResponseKey {
    let mut text = Vec::with_capacity(1 + parts.iter().map(|part| part.len() + 8).sum::<usize>());
    text.push(tag);
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    }
    ResponseKey(xxh3_128_with_seed(&text, scope))
}

/// What was read last, because it mostly comes again.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    usage: UsageMemory,
    model: ModelMemory,
    retries: Retries,
}

impl Memory {
    pub(super) fn new(retries: Retries) -> Self {
        Self {
            retries,
            ..Self::default()
        }
    }

    pub(super) fn retries(&self) -> Retries {
        self.retries
    }
}

/// The model that was named last: the records of a turn share its name.
#[derive(Clone, Debug, Default)]
struct ModelMemory {
    text: Option<Vec<u8>>,
    is_fast: bool,
    name: Option<Arc<str>>,
}

impl ModelMemory {
    /// What a response of this model is counted as.
    fn name(&mut self, text: Option<&[u8]>, is_fast: bool) -> Arc<str> {
        if let Some(name) = &self.name
            && self.text.as_deref() == text
            && self.is_fast == is_fast
        {
            return Arc::clone(name);
        }
        let mut name = model_name(text);
        if is_fast {
            name.truncate(name.floor_char_boundary(MODEL_BYTES_MAX - MODEL_FAST.len()));
            name.push_str(MODEL_FAST);
        }
        let name: Arc<str> = name.into();
        // A longer one is cut, and need not be kept whole.
        if text.is_none_or(|text| text.len() <= MODEL_BYTES_MAX) {
            (self.text, self.is_fast) = (text.map(<[u8]>::to_vec), is_fast);
            self.name = Some(Arc::clone(&name));
        }
        name
    }
}

/// A name fit to be stored and shown: valid text without control characters, at most [`MODEL_BYTES_MAX`] long.
fn model_name(text: Option<&[u8]>) -> String {
    let is_plain =
        |name: &&[u8]| (1..=MODEL_BYTES_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
    if let Some(plain) = text
        .filter(is_plain)
        .and_then(|name| std::str::from_utf8(name).ok())
    {
        return plain.to_owned();
    }
    let lossy = String::from_utf8_lossy(text.unwrap_or_default());
    let mut name = String::new();
    for c in lossy
        .trim()
        .chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
    {
        // One mark for a run of bad bytes: a lone surrogate is three of them.
        if c != '\u{FFFD}' || !name.ends_with(c) {
            name.push(c);
        }
    }
    if name.is_empty() {
        return MODEL_UNKNOWN.to_owned();
    }
    name.truncate(name.floor_char_boundary(MODEL_BYTES_MAX));
    name
}

/// What stands where usage is expected.
#[derive(Debug, Default)]
enum Claim<'de> {
    #[default]
    Absent,
    NoObject,
    /// An object, and where in the text it is.
    New(Range<usize>, Figures),
    /// The object that was remembered.
    Known(&'de Figures),
}

#[derive(Debug, Default)]
struct Message<'de> {
    memory: Option<&'de UsageMemory>,
    id: RawBytes<'de>,
    model: RawBytes<'de>,
    usage: Claim<'de>,
}

impl<'de> Message<'de> {
    fn new(memory: Option<&'de UsageMemory>) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }
}

impl<'de> Members<'de> for Message<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"id" => self.id.0 = Some(value.raw_bytes()?),
            b"model" => self.model.0 = Some(value.raw_bytes()?),
            b"usage" => {
                if let Some(figures) = self.memory.and_then(|memory| memory.recall(value)) {
                    self.usage = Claim::Known(figures);
                    return Ok(());
                }
                let mut fields = UsageFields::default();
                self.usage = match value.object_at(&mut fields)? {
                    Some(place) => Claim::New(place, fields.figures()),
                    None => Claim::NoObject,
                };
            }
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// `data` of a progress line.
#[derive(Debug, Default)]
struct ProgressData<'de> {
    message: QuotedLine<'de>,
}

impl<'de> Members<'de> for ProgressData<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        if key != b"message" {
            return value.skip();
        }
        self.message = QuotedLine::default();
        value.object(&mut self.message).map(drop)
    }
}

/// The sub-agent's line that a progress line quotes.
#[derive(Debug, Default)]
struct QuotedLine<'de> {
    request_id: RawBytes<'de>,
    message: Message<'de>,
}

impl<'de> Members<'de> for QuotedLine<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"requestId" => self.request_id.0 = Some(value.raw_bytes()?),
            b"message" => {
                self.message = Message::default();
                value.object(&mut self.message)?;
            }
            _ => value.skip()?,
        }
        Ok(())
    }
}
