//! The Claude Code dialect: assistant lines and legacy progress lines to records, limits to observations.
//!
//! Counted lines: `type:"assistant"` with an object `message.usage`, or no `type` and
//! `message.role:"assistant"` with one; a `progress` line whose `data.message.message.usage` is an object.
//! The model `<synthetic>` never counts.

mod identity;
pub mod limits;
pub mod model_name;
pub mod prefilter;
mod report;
pub mod stream;
mod usage;

pub use identity::{is_message_id, key_of_message};

use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::identity::Identity;
use self::limits::{LimitFields, Retries};
use self::model_name::{MODEL_SYNTHETIC, ModelMemory, model_name};
use self::stream::Streams;
use self::usage::{CallModel, ParsedUsage, UsageFields, UsageMemory};
use crate::json::scanner::{NotJson, Scanner};
use crate::json::{self, MemberValue, Members, RawBytes, members};
use crate::model::{
    Dating, Kind, Millis, Observation, Rank, Record, Report, ResponseKey, Service, Speed, Usage,
};
use crate::parse::line::{LineContext, LineKind, Parsed};

/// Longest text of another member that is cached, in bytes.
const REMEMBERED_BYTES_MAX: usize = 128;

/// Parses a line that has no surrounding white space and is not empty.
pub fn line(
    bytes: &[u8],
    place: LineContext,
    memory: &mut Memory,
    records: &mut Vec<Record>,
    observations: &mut Vec<Observation>,
) -> Parsed {
    let before = records.len();
    if let Ok(parsed) = strict(bytes, bytes, place, memory, records, observations) {
        return parsed;
    }
    records.truncate(before);
    let repaired = json::repaired(bytes);
    let text = repaired.as_deref().unwrap_or(bytes);
    if repaired.is_some() {
        if let Ok(parsed) = strict(text, bytes, place, memory, records, observations) {
            return parsed;
        }
        records.truncate(before);
    }
    // The typed pass may refuse valid JSON (a number of 400 digits in an unexpected place).
    let class = if json::is_object(text) {
        LineKind::Ignored
    } else {
        LineKind::Malformed
    };
    Parsed::plain(class, None)
}

/// One pass over a text; `line` is the line as in the file, for the fallback key.
fn strict(
    text: &[u8],
    line: &[u8],
    place: LineContext,
    memory: &mut Memory,
    records: &mut Vec<Record>,
    observations: &mut Vec<Observation>,
) -> Result<Parsed, NotJson> {
    let Memory {
        usage,
        model,
        session,
        key,
        retries,
        streams,
    } = memory;
    let mut last = LastSeen { model, session, key };
    let mut envelope = Envelope::new(usage);
    if !json::object(text, &mut envelope)? {
        return Ok(Parsed::plain(LineKind::Malformed, None));
    }
    let (time, dating) = envelope.time();
    let kind = envelope.kind.text();
    let class = envelope.judge(
        kind.as_deref(),
        (time, dating),
        line,
        place,
        (&mut last, streams),
        records,
    );
    // Counted lines never have a synthetic model, so most lines skip this check.
    let is_synthetic = class != LineKind::Usage
        && kind.as_deref() == Some(b"assistant")
        && envelope.message.model.text().as_deref() == Some(MODEL_SYNTHETIC);
    if envelope.limits.any(is_synthetic) {
        let line = limits::LimitLine {
            kind: kind.as_deref(),
            time,
            is_synthetic,
            session_id: envelope.session_id.or(envelope.captured.session_id),
            request_id: envelope.request_id.or(envelope.captured.request_id),
            uuid: envelope.uuid,
            text,
        };
        envelope.limits.observe(&line, retries, observations);
    }
    let report = envelope.report(kind.as_deref(), last.session, place);
    if let UsageValue::New(place, parsed) = envelope.message.usage {
        usage.remember(&text[place], parsed);
    }
    Ok(Parsed { class, time, report })
}

members! {
    struct Envelope<'de> {
        kind = b"type",
        timestamp = b"timestamp",
        uuid = b"uuid",
        request_id = b"requestId",
        request_ref = b"requestRef",
        session_id = b"sessionId",
        forked_from: ForkedFrom<'de> = b"forkedFrom",
        captured: Captured<'de> {
            session_id = b"session_id",
            request_id = b"request_id",
            parent = b"parent_tool_use_id",
            message_id = b"api_message_id",
            timestamp = b"_audit_timestamp",
        },
        event = b"event",
        model_usage = b"modelUsage",
        is_sidechain = b"isSidechain",
        message: MessageMembers<'de> = b"message",
        /// Boxed, since few lines have it and it is large.
        data: Option<Box<ProgressData<'de>>> = b"data",
        ..limits: LimitFields<'de>,
    }
}

impl<'de> Envelope<'de> {
    fn new(memory: &'de UsageMemory) -> Self {
        Self {
            message: MessageMembers::new(Some(memory)),
            ..Self::default()
        }
    }
}

impl Envelope<'_> {
    /// A hash of the line's session.
    fn session(&self, last: &mut Remembered<Option<NonZeroU64>>, place: LineContext) -> Option<NonZeroU64> {
        let session = self.session_id.or(self.captured.session_id);
        last.get(session.0?, place.scope, || {
            NonZeroU64::new(xxh3_64_with_seed(&session.text()?, place.scope))
        })
    }

    fn report(
        &self,
        kind: Option<&[u8]>,
        last: &mut Remembered<Option<NonZeroU64>>,
        place: LineContext,
    ) -> Option<Report> {
        if self.model_usage.0.is_none() || !matches!(kind, Some(b"cost-state" | b"result")) {
            return None;
        }
        Some(Report {
            session: self.session(last, place)?,
            reported: report::reported(self.model_usage)?,
        })
    }

    /// The line's own time.
    fn time(&self) -> (Option<Millis>, Dating) {
        let time = |raw: RawBytes<'_>| raw.0.and_then(json::time_of);
        match time(self.timestamp) {
            Some(time) => (Some(time), Dating::Line),
            None => (time(self.captured.timestamp), Dating::Audit),
        }
    }

    /// The rank of a line that is not quoted by another line.
    fn rank(&self) -> Rank {
        let has_parent = self.captured.parent.0.is_some_and(|parent| parent != b"null");
        if self.is_captured() {
            Rank::Progress
        } else if self.is_sidechain.0 == Some(b"true") || has_parent {
            Rank::Sidechain
        } else {
            Rank::Main
        }
    }

    /// True for a line of a captured stream, false for one of a transcript.
    fn is_captured(&self) -> bool {
        self.session_id.0.is_none() && self.captured.is_any()
    }

    /// Judges a line of this type, and adds the records of its response.
    fn judge(
        &self,
        kind: Option<&[u8]>,
        when: (Option<Millis>, Dating),
        line: &[u8],
        place: LineContext,
        (last, streams): (&mut LastSeen<'_>, &mut Streams),
        records: &mut Vec<Record>,
    ) -> LineKind {
        if kind == Some(b"stream_event") {
            return self.judge_event(when, place, (last, streams), records);
        }
        let Some((message, rank)) = self.message_of(kind) else {
            return LineKind::Ignored;
        };
        let is_quoted = kind == Some(b"progress");
        let parsed = match &message.usage {
            // Only a line with the type of an assistant can be malformed by its usage.
            UsageValue::NoObject if kind == Some(b"assistant") => return LineKind::Malformed,
            UsageValue::Absent | UsageValue::NoObject => return LineKind::Ignored,
            UsageValue::New(_, parsed) => parsed,
            UsageValue::Known(parsed) => parsed,
        };
        let model_text = message.model.text();
        if model_text.as_deref() == Some(MODEL_SYNTHETIC) {
            return LineKind::Ignored;
        }
        let named = match key_of_id(message, place, last.key) {
            Some(key) => ResponseName {
                key,
                ..ResponseName::default()
            },
            None => self.named(message, is_quoted, line, place),
        };
        // Without a `stop_reason`, the response counts as complete.
        let is_final = message.stop_reason.0 != Some(b"null");
        let mut key = named.key;
        if named.is_block || !streams.is_empty() {
            let seen = stream::Seen {
                thread: stream::thread(self.captured.parent),
                id: &message.id.text().unwrap_or_default(),
                key,
                is_block: named.is_block,
                is_final,
                model: model_text.as_deref(),
                usage: &parsed.usage,
            };
            key = streams.see(&seen);
        }
        let model = (model_text.as_deref(), &mut *last.model);
        let origin = RecordOrigin {
            key,
            rank,
            session: self.session(last.session, place),
            is_final,
        };
        let first = records.len();
        push(records, origin, model, parsed, when, place);
        for key in named.captured.into_iter().flatten() {
            let duplicate = Record {
                key,
                kind: Kind::Duplicate,
                usage: Usage::default(),
                ..records[first].clone()
            };
            records.push(duplicate);
        }
        LineKind::Usage
    }

    /// The message of a line of this type that may have usage, and its rank.
    fn message_of(&self, kind: Option<&[u8]>) -> Option<(&MessageMembers<'_>, Rank)> {
        match kind {
            Some(b"assistant") => Some((&self.message, self.rank())),
            // Exports omit the type.
            None if self.kind.0.is_none() && self.message.is_of_assistant() => {
                Some((&self.message, self.rank()))
            }
            Some(b"progress") => Some((&self.data.as_ref()?.message.message, Rank::Progress)),
            _ => None,
        }
    }

    /// Judges an event of a stream: one that ends a message has the usage of its response.
    fn judge_event(
        &self,
        when: (Option<Millis>, Dating),
        place: LineContext,
        (last, streams): (&mut LastSeen<'_>, &mut Streams),
        records: &mut Vec<Record>,
    ) -> LineKind {
        let thread = stream::thread(self.captured.parent);
        let id = self.captured.message_id.text();
        let Some(ended) = streams.take(self.event, thread, id.as_deref(), place.scope) else {
            return LineKind::Ignored;
        };
        let origin = RecordOrigin {
            key: ended.key,
            rank: Rank::Sidechain,
            session: self.session(last.session, place),
            is_final: true,
        };
        let model = (Some(&*ended.model), &mut *last.model);
        push(records, origin, model, &ended.usage, when, place);
        LineKind::Usage
    }

    /// Names the response of a line whose id alone is not enough.
    fn named(
        &self,
        message: &MessageMembers<'_>,
        is_quoted: bool,
        line: &[u8],
        place: LineContext,
    ) -> ResponseName {
        let quoted = self.data.as_deref().filter(|_| is_quoted);
        let (request_id, request_ref) = match quoted {
            Some(data) => (data.message.request_id, data.message.request_ref),
            None => (self.request_id.or(self.captured.request_id), self.request_ref),
        };
        let id = message.id.text();
        let request_id = request_id.text();
        let request_ref = request_ref.text();
        let uuid = self.uuid.text();
        let session = (self.forked_from.session_id)
            .or(self.session_id)
            .or(self.captured.session_id);
        let timestamp = self.timestamp.or(self.captured.timestamp);
        let timestamp_text = timestamp.text();
        let identity = Identity {
            id: id.as_deref(),
            request_id: request_id.as_deref(),
            request_ref: request_ref.as_deref(),
            session: &session.text().unwrap_or_default(),
            timestamp: timestamp_text.as_deref().or(timestamp.0),
            uuid: uuid.as_deref(),
            line,
            is_captured: self.is_captured(),
        };
        let key = identity.key(place);
        let mut named = ResponseName {
            key,
            is_block: identity.is_of_block(),
            captured: [None; 2],
        };
        if !is_quoted {
            let keys = identity.keys_of_captured(place, key);
            named
                .captured
                .iter_mut()
                .zip(keys)
                .for_each(|(at, key)| *at = Some(key));
        }
        named
    }
}

/// The keys of a line's response.
#[derive(Clone, Copy, Debug, Default)]
struct ResponseName {
    key: ResponseKey,
    /// True for a captured line that names only itself.
    is_block: bool,
    /// Keys of captured copies with fewer identifiers.
    captured: [Option<ResponseKey>; 2],
}

/// The common fields of a line's records.
#[derive(Clone, Copy, Debug)]
struct RecordOrigin {
    key: ResponseKey,
    rank: Rank,
    session: Option<NonZeroU64>,
    is_final: bool,
}

/// The key of a response whose id alone is enough.
fn key_of_id(
    message: &MessageMembers<'_>,
    place: LineContext,
    memory: &mut Remembered<Option<ResponseKey>>,
) -> Option<ResponseKey> {
    memory.get(message.id.0?, place.scope, || {
        let id = message.id.text().filter(|id| identity::is_alone(id))?;
        Some(identity::key_of_id(place.scope, &id))
    })
}

/// Adds the records of a response: its own, and those of calls that its figures leave out.
fn push(
    records: &mut Vec<Record>,
    origin: RecordOrigin,
    (model, memory): (Option<&[u8]>, &mut ModelMemory),
    parsed: &ParsedUsage,
    (time, dating): (Option<Millis>, Dating),
    place: LineContext,
) {
    let RecordOrigin {
        key,
        rank,
        session,
        is_final,
    } = origin;
    let first = records.len();
    records.push(Record {
        key,
        kind: Kind::Message,
        rank,
        model: memory.name(model, parsed.service.speed == Speed::Fast),
        usage: parsed.usage,
        service: parsed.service,
        provider: None,
        time,
        dating,
        session,
        is_final,
        copies: 1,
    });
    for (index, call) in &parsed.calls {
        let name = match &call.model {
            CallModel::OfResponse => Arc::clone(&records[first].model),
            // The attempt that served is the response itself.
            CallModel::Declined(name) if Some(name.as_slice()) == model => continue,
            CallModel::Own(name) | CallModel::Declined(name) => model_name(Some(name)).into(),
        };
        records.push(Record {
            key: identity::key_of_call(place.scope, key, *index),
            kind: Kind::Advisor,
            rank,
            model: name,
            usage: call.usage,
            // A call is made where its response is, whether it says so or not.
            service: Service {
                geography: parsed.service.geography.max(call.service.geography),
                ..call.service
            },
            provider: None,
            time,
            dating,
            session,
            is_final,
            copies: 1,
        });
    }
}

/// Members of captured streams only.
#[derive(Debug, Default)]
struct Captured<'de> {
    session_id: RawBytes<'de>,
    request_id: RawBytes<'de>,
    parent: RawBytes<'de>,
    timestamp: RawBytes<'de>,
    /// The message of an event.
    message_id: RawBytes<'de>,
}

impl Captured<'_> {
    fn is_any(&self) -> bool {
        let members = [self.session_id, self.request_id, self.parent, self.timestamp];
        members.iter().any(|member| member.0.is_some())
    }
}

members! {
    /// The original of a line that a fork copied.
    struct ForkedFrom<'de> {
        session_id = b"sessionId",
    }
}

/// Caches of the last parsed members, which mostly repeat.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    usage: UsageMemory,
    model: ModelMemory,
    session: Remembered<Option<NonZeroU64>>,
    key: Remembered<Option<ResponseKey>>,
    retries: Retries,
    streams: Streams,
}

impl Memory {
    pub(super) fn new(retries: Retries, streams: Streams) -> Self {
        Self {
            retries,
            streams,
            ..Self::default()
        }
    }

    /// The part that is kept between two readings of a file.
    pub(super) fn kept(&self) -> (Retries, Streams) {
        (self.retries, self.streams.clone())
    }
}

/// The parts of [`Memory`] that a record is made with.
struct LastSeen<'m> {
    model: &'m mut ModelMemory,
    session: &'m mut Remembered<Option<NonZeroU64>>,
    key: &'m mut Remembered<Option<ResponseKey>>,
}

/// The last text of a member, and its parsed value.
#[derive(Clone, Debug, Default)]
struct Remembered<T> {
    text: Vec<u8>,
    scope: u64,
    value: Option<T>,
}

impl<T: Copy> Remembered<T> {
    fn get(&mut self, text: &[u8], scope: u64, make: impl FnOnce() -> T) -> T {
        if let Some(value) = self.value
            && self.text == text
            && self.scope == scope
        {
            return value;
        }
        let value = make();
        // Long texts are not cached.
        if text.len() <= REMEMBERED_BYTES_MAX {
            self.text.clear();
            self.text.extend_from_slice(text);
            (self.scope, self.value) = (scope, Some(value));
        }
        value
    }
}

/// The value in the place of usage.
#[derive(Debug, Default)]
enum UsageValue<'de> {
    #[default]
    Absent,
    NoObject,
    /// An object, with its range in the text.
    New(Range<usize>, ParsedUsage),
    /// The cached object.
    Known(&'de ParsedUsage),
}

#[derive(Debug, Default)]
struct MessageMembers<'de> {
    memory: Option<&'de UsageMemory>,
    id: RawBytes<'de>,
    model: RawBytes<'de>,
    role: RawBytes<'de>,
    stop_reason: RawBytes<'de>,
    usage: UsageValue<'de>,
}

impl<'de> MessageMembers<'de> {
    fn new(memory: Option<&'de UsageMemory>) -> Self {
        Self {
            memory,
            ..Self::default()
        }
    }

    fn is_of_assistant(&self) -> bool {
        self.role.text().as_deref() == Some(b"assistant")
    }
}

impl<'de> Members<'de> for MessageMembers<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"id" => self.id.0 = Some(value.raw_bytes()?),
            b"model" => self.model.0 = Some(value.raw_bytes()?),
            b"stop_reason" => self.stop_reason.0 = Some(value.raw_bytes()?),
            b"role" => self.role.0 = Some(value.raw_bytes()?),
            b"usage" => {
                if let Some(parsed) = self.memory.and_then(|memory| memory.recall(value)) {
                    self.usage = UsageValue::Known(parsed);
                    return Ok(());
                }
                let mut fields = UsageFields::default();
                self.usage = match value.object_at(&mut fields)? {
                    Some(place) => UsageValue::New(place, fields.parsed()),
                    None => UsageValue::NoObject,
                };
            }
            _ => value.skip()?,
        }
        Ok(())
    }
}

impl<'de> MemberValue<'de> for MessageMembers<'de> {
    fn take(&mut self, value: &mut Scanner<'de>) -> Result<(), NotJson> {
        *self = Self::new(self.memory);
        value.object(self).map(drop)
    }
}

impl<'de> MemberValue<'de> for Option<Box<ProgressData<'de>>> {
    fn take(&mut self, value: &mut Scanner<'de>) -> Result<(), NotJson> {
        value.object(&mut **self.insert(Box::default())).map(drop)
    }
}

members! {
    /// `data` of a progress line.
    struct ProgressData<'de> {
        message: QuotedLine<'de> = b"message",
    }
}

members! {
    /// The sub-agent's line quoted by a progress line.
    struct QuotedLine<'de> {
        request_id = b"requestId",
        request_ref = b"requestRef",
        message: MessageMembers<'de> = b"message",
    }
}
