//! The Codex CLI dialect: lines of a rollout to records and observations.
//!
//! A line is an envelope of `timestamp`, `type` and `payload`. Counted are `token_usage_record` lines, and
//! `token_count` events that no such line covers. `session_meta`, `turn_context` and `task_started` say whose
//! these are; limits come from `token_count` and `task_complete`. The payloads of all other types are passed
//! over.

mod count;
mod limits;
mod state;
mod thread;

use std::num::NonZeroU64;
use std::sync::Arc;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

use self::count::{Parts, RunningTotal, TotalOf, UsageParts};
use self::limits::{TurnError, UsedUp};
use self::thread::{CodexThread, CodexTurn, uuid_time};
use crate::json::scanner::{NotJson, Scanner};
use crate::json::{self, MemberValue, Members, Raw, RawBytes, members};
use crate::model::{Dating, Kind, Millis, Observation, Rank, Record, ResponseKey, Service};
use crate::parse::claude::limits::rollout::RolloutLine;
use crate::parse::claude::model_name::{MODEL_UNKNOWN, model_name};
use crate::parse::dialect::{DialectParser, LineHead};
use crate::parse::line::{LineContext, LineKind, Parsed, SHORT_LINE_BYTES_MAX};

/// State of the parser of one file. Kept with the file's offset: encoded small (about 130 bytes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codex {
    thread: Option<CodexThread>,
    turn: CodexTurn,
    /// The model of the last `turn_context`.
    model: Option<Arc<str>>,
    total: RunningTotal,
    used_up: Option<UsedUp>,
}

impl DialectParser for Codex {
    /// A payload's members are needed to decide whether it can count.
    fn passes_over(&self, _: &LineHead<'_>) -> bool {
        false
    }

    fn strict(
        &mut self,
        text: &[u8],
        place: LineContext,
        records: &mut Vec<Record>,
        observations: &mut Vec<Observation>,
    ) -> Result<Parsed, NotJson> {
        let mut line = RolloutEnvelope {
            may_be_left: text.len() > SHORT_LINE_BYTES_MAX && text.starts_with(b"{") && text.ends_with(b"}"),
            ..RolloutEnvelope::default()
        };
        let is_object = match json::object(text, &mut line) {
            Err(NotJson) if line.is_left => true,
            is_object => is_object?,
        };
        if !is_object {
            return Ok(Parsed::plain(LineKind::Malformed, None));
        }
        let time = line.timestamp.0.and_then(json::time_of);
        let before = records.len();
        if let (Some(kind), Some(payload)) = (line.kind.text(), &line.payload) {
            let at = LineAt { time, place };
            match &*kind {
                b"session_meta" => self.take_thread(payload, at),
                b"turn_context" => self.take_context(payload),
                b"token_usage_record" => records.extend(self.recorded(payload, at)),
                b"event_msg" => self.take_event(payload, at, records, observations),
                _ => {}
            }
        }
        let class = if records.len() > before {
            LineKind::Usage
        } else {
            LineKind::Ignored
        };
        Ok(Parsed::plain(class, time))
    }

    fn encode(&self) -> Vec<u8> {
        state::encode(self)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        state::decode(bytes)
    }
}

impl Codex {
    /// The first `session_meta` of a file is its own; later ones are copies of its ancestors'.
    fn take_thread(&mut self, payload: &Payload<'_>, at: LineAt) {
        if self.thread.is_some() {
            return;
        }
        let (id, forked_from) = (payload.id.text(), payload.forked_from.text());
        let session = payload.session_id.text();
        let session_hash = |id: &[u8]| NonZeroU64::new(xxh3_64_with_seed(id, at.place.scope));
        let created = payload.timestamp.0.and_then(json::time_of);
        let claims = [at.time, created, id.as_deref().and_then(uuid_time)];
        self.thread = Some(CodexThread {
            id: id.as_deref().map(xxh3_128),
            session: session.as_deref().or(id.as_deref()).and_then(session_hash),
            parent: forked_from.as_deref().and_then(session_hash),
            began: claims.into_iter().flatten().min(),
            is_continued: forked_from.is_some()
                || payload.history_base.0.is_some_and(|raw| raw.starts_with(b"{")),
        });
    }

    fn take_context(&mut self, payload: &Payload<'_>) {
        let id = payload.turn_id.text();
        // Without an id it is of the turn that began before.
        if id.is_some() || self.turn.id.is_none() {
            self.begin_turn(id.as_deref(), payload.started_at);
        }
        if let Some(model) = payload.model.text()
            && self
                .model
                .as_ref()
                .is_none_or(|known| known.as_bytes() != &*model)
        {
            self.model = Some(model_name(Some(&model)).into());
        }
    }

    fn begin_turn(&mut self, id: Option<&[u8]>, started_at: RawBytes<'_>) {
        let hash = id.map(xxh3_128);
        self.turn.is_begun = true;
        if hash.is_some() && hash == self.turn.id {
            return;
        }
        let thread = self.thread.unwrap_or_default();
        self.turn.id = hash;
        self.turn.copied_from = thread.time_of_copied(id, started_at);
        self.total.begin_turn();
    }

    fn take_event(
        &mut self,
        payload: &Payload<'_>,
        at: LineAt,
        records: &mut Vec<Record>,
        observations: &mut Vec<Observation>,
    ) {
        match payload.kind.text().as_deref() {
            Some(b"task_started" | b"turn_started") => {
                self.begin_turn(payload.turn_id.text().as_deref(), payload.started_at);
            }
            Some(b"token_count") => {
                records.extend(self.counted(payload, at));
                limits::observe(
                    payload.rate_limits,
                    self.limit_line(at),
                    &mut self.used_up,
                    observations,
                );
            }
            Some(b"task_complete" | b"turn_complete") => {
                if let Some(error) = &payload.error {
                    limits::refuse(error, self.limit_line(at), self.used_up.as_ref(), observations);
                }
            }
            _ => {}
        }
    }

    /// The response of a `token_usage_record`.
    fn recorded(&mut self, payload: &Payload<'_>, at: LineAt) -> Option<Record> {
        let (usage, id) = (payload.usage.as_ref()?, payload.response_id.text()?);
        self.total.cover();
        self.record(count::key_of_response(at.place.scope, &id), usage.parts(), at)
    }

    /// The response of a `token_count` that no record covers.
    fn counted(&mut self, payload: &Payload<'_>, at: LineAt) -> Option<Record> {
        let info = payload.info.as_ref()?;
        let Some(total) = info.total.as_ref().map(UsageParts::parts) else {
            self.total.uncover();
            return None;
        };
        let thread = self.thread.unwrap_or_default();
        let is_inherited = thread.is_continued && !self.turn.is_begun;
        let own = info.last.as_ref().map(UsageParts::parts);
        let parts = self.total.take(total, own, is_inherited)?;
        let of = match (self.turn.id, thread.id) {
            (Some(turn), _) => TotalOf::Turn(turn),
            (None, Some(thread)) => TotalOf::Thread(thread),
            (None, None) => TotalOf::File(at.place.origin),
        };
        self.record(count::key_of_total(at.place.scope, of, total), parts, at)
    }

    /// The record of a response; none without tokens.
    fn record(&self, key: ResponseKey, parts: Parts, at: LineAt) -> Option<Record> {
        let usage = count::usage(parts);
        (usage.total() > 0).then(|| Record {
            key,
            kind: Kind::Message,
            rank: Rank::Main,
            model: self.model.clone().unwrap_or_else(|| MODEL_UNKNOWN.into()),
            usage,
            service: Service::default(),
            provider: None,
            time: at.time,
            dating: at.time.map_or(Dating::Unknown, |_| Dating::Line),
            session: self.thread.and_then(|thread| thread.session),
            is_final: true,
            copies: 1,
        })
    }

    /// The line of an observation. One of a copied turn is the parent's, and was made in that turn.
    fn limit_line(&self, at: LineAt) -> RolloutLine {
        let thread = self.thread.unwrap_or_default();
        let session = self.turn.copied_from.map_or(thread.session, |_| thread.parent);
        RolloutLine {
            time: self.turn.copied_from.or(at.time),
            session: session.map(NonZeroU64::get),
            // One turn is refused once, although a token count and its end say so.
            request: self.turn.id.map(|id| xxh3_64(&id.to_le_bytes())),
        }
    }
}

/// When and where a line was written.
#[derive(Clone, Copy, Debug)]
struct LineAt {
    time: Option<Millis>,
    place: LineContext,
}

/// The members of a line.
#[derive(Debug, Default)]
struct RolloutEnvelope<'de> {
    /// True for a long line whose frame suffices as proof of an object.
    may_be_left: bool,
    /// True if the rest of the line was left unread.
    is_left: bool,
    timestamp: RawBytes<'de>,
    kind: RawBytes<'de>,
    payload: Option<Payload<'de>>,
}

impl<'de> Members<'de> for RolloutEnvelope<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"timestamp" => self.timestamp.take(value),
            b"type" => self.kind.take(value),
            b"payload" if self.is_passed_over() => {
                if self.may_be_left {
                    self.is_left = true;
                    return Err(NotJson);
                }
                value.skip()
            }
            b"payload" => MemberValue::take(&mut self.payload, value),
            _ => value.skip(),
        }
    }
}

impl RolloutEnvelope<'_> {
    /// True if the type came before the payload, as usual, and is none of those that are read.
    fn is_passed_over(&self) -> bool {
        const READ: [&[u8]; 4] = [
            b"session_meta",
            b"turn_context",
            b"token_usage_record",
            b"event_msg",
        ];
        self.kind.text().is_some_and(|kind| !READ.contains(&&*kind))
    }
}

members! {
    /// The members of a payload, of whatever type.
    struct Payload<'de> {
        kind = b"type",
        id = b"id",
        session_id = b"session_id",
        timestamp = b"timestamp",
        forked_from = b"forked_from_id",
        history_base = b"history_base",
        turn_id = b"turn_id",
        started_at = b"started_at",
        model = b"model",
        response_id = b"response_id",
        usage: Option<UsageParts<'de>> = b"usage",
        info: Option<TotalInfo<'de>> = b"info",
        rate_limits: Raw<'de> = b"rate_limits",
        error: Option<TurnError<'de>> = b"error",
    }
}

members! {
    /// `info` of a `token_count`.
    struct TotalInfo<'de> {
        total: Option<UsageParts<'de>> = b"total_token_usage",
        last: Option<UsageParts<'de>> = b"last_token_usage",
    }
}

#[cfg(test)]
mod tests;
