//! The `usage` object of a response: token counts, tier, speed, and the calls inside it that its counts leave
//! out.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem;

use super::model_name::MODEL_SYNTHETIC;
use crate::json::scanner::Scanner;
use crate::json::{self, members};

use crate::model::{Geography, Service, Speed, Tier, Usage};

/// Most calls counted inside one response; a real one has a few.
const CALLS_MAX: usize = 256;
/// Found in a list of iterations if it has calls that the response's own counts leave out.
static LEFT_OUT: LazyLock<[memmem::Finder<'static>; 3]> =
    LazyLock::new(|| ["advisor_message", "compaction", FALLBACK].map(memmem::Finder::new::<str>));
/// Types of iterations that may be calls of their own.
const CALL_TYPES: [&[u8]; 3] = [b"advisor_message", b"compaction", b"message"];
/// Type of the iteration that served after another model declined.
const FALLBACK: &str = "fallback_message";
/// Longest cached `usage` object, in bytes; a usual one has some 300.
const REMEMBERED_BYTES_MAX: usize = 4096;

members! {
    /// The members of a `usage` object, raw.
    pub struct UsageFields<'de> {
        input = b"input_tokens",
        output = b"output_tokens",
        cache_read = b"cache_read_input_tokens",
        cache_creation = b"cache_creation_input_tokens",
        cache_split: CacheSplit<'de> = b"cache_creation",
        total = b"total_tokens",
        tools: ServerTools<'de> = b"server_tool_use",
        details: OutputDetails<'de> = b"output_tokens_details",
        tier = b"service_tier",
        speed = b"speed",
        geography = b"inference_geo",
        iterations = b"iterations",
    }
}

/// The parsed `usage` object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParsedUsage {
    pub usage: Usage,
    pub service: Service,
    /// The calls inside this response that the figures above leave out, with their index.
    pub calls: Vec<(CallIndex, Call)>,
}

/// The index of a call: its type, and its place among those of that type. A later copy may list more calls of
/// another type before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallIndex {
    pub kind: u64,
    pub among: u64,
}

/// A call inside a response that its own figures leave out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub model: CallModel,
    pub usage: Usage,
    pub service: Service,
}

/// The model of a call inside a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallModel {
    /// The model of an advisor.
    Own(Vec<u8>),
    /// The model of a compaction.
    OfResponse,
    /// A model that may have declined: it did if the response is of another model.
    Declined(Vec<u8>),
}

impl UsageFields<'_> {
    pub fn parsed(&self) -> ParsedUsage {
        ParsedUsage {
            usage: self.counts(),
            service: self.service(),
            calls: self.calls(),
        }
    }

    /// The figures of a later event of the same response; missing fields keep their first values.
    pub fn parsed_after(&self, start: &Usage) -> ParsedUsage {
        let mut parsed = self.parsed();
        let usage = &mut parsed.usage;
        for (raw, figure, before) in [
            (self.input, &mut usage.input, start.input),
            (self.output, &mut usage.output, start.output),
            (self.cache_read, &mut usage.cache_read, start.cache_read),
            (self.tools.web_search, &mut usage.web_search, start.web_search),
        ] {
            if raw.count().is_none() {
                *figure = before;
            }
        }
        let split = [self.cache_split.five_minutes, self.cache_split.one_hour];
        let has_split = split.iter().any(|raw| raw.count().is_some());
        if self.cache_creation.count().is_none() && !has_split {
            usage.cache_creation = start.cache_creation;
        }
        if !has_split {
            usage.cache_creation_5m = start.cache_creation_5m;
            usage.cache_creation_1h = start.cache_creation_1h;
        }
        parsed
    }

    fn counts(&self) -> Usage {
        let five_minutes = self.cache_split.five_minutes.count().unwrap_or(0);
        let one_hour = self.cache_split.one_hour.count().unwrap_or(0);
        let split = five_minutes.saturating_add(one_hour);
        let usage = Usage {
            input: self.input.count().unwrap_or(0),
            output: self.output.count().unwrap_or(0),
            cache_read: self.cache_read.count().unwrap_or(0),
            cache_creation: self.cache_creation.count().unwrap_or(0).max(split),
            cache_creation_5m: five_minutes,
            cache_creation_1h: one_hour,
            web_search: self.tools.web_search.count().unwrap_or(0),
            thinking: self.details.thinking.count().unwrap_or(0),
        };
        match self.total.count() {
            Some(total) => without_cached_input(usage, total),
            None => usage,
        }
    }

    fn service(&self) -> Service {
        let is_fast = self.speed.text().as_deref() == Some(b"fast");
        let is_us = (self.geography.text()).is_some_and(|geography| geography.starts_with(b"us"));
        Service {
            tier: self.tier(),
            speed: if is_fast { Speed::Fast } else { Speed::Standard },
            geography: if is_us { Geography::Us } else { Geography::Other },
        }
    }

    fn tier(&self) -> Tier {
        match self.tier.text().as_deref() {
            None => Tier::Unknown,
            Some(b"standard") => Tier::Standard,
            Some(b"priority") => Tier::Priority,
            Some(b"batch") => Tier::Batch,
            Some(b"flex") => Tier::Flex,
            Some(_) => Tier::Other,
        }
    }

    fn calls(&self) -> Vec<(CallIndex, Call)> {
        let mut calls = Vec::new();
        let is_left_out = |list: &&[u8]| LEFT_OUT.iter().any(|kind| kind.find(list).is_some());
        let Some(list) = self.iterations.0.filter(is_left_out) else {
            return calls;
        };
        let (mut seen, mut is_fallback) = ([0; CALL_TYPES.len()], false);
        json::each(list, |item| {
            let mut iteration = Iteration::default();
            if json::object(item, &mut iteration).is_ok() {
                let kind = iteration.kind.text();
                is_fallback |= kind.as_deref() == Some(FALLBACK.as_bytes());
                if let Some(kind) = CALL_TYPES.iter().position(|name| Some(*name) == kind.as_deref()) {
                    let index = CallIndex {
                        kind: kind as u64,
                        among: seen[kind],
                    };
                    seen[kind] += 1;
                    calls.extend(iteration.call().map(|call| (index, call)));
                }
            }
            calls.len() == CALLS_MAX
        });
        calls.retain(|(_, call)| is_fallback || !matches!(call.model, CallModel::Declined(_)));
        calls
    }
}

/// Subtracts cached tokens from the input, if a total shows that they were included.
fn without_cached_input(mut usage: Usage, total: u64) -> Usage {
    let cached = usage.cache_read.saturating_add(usage.cache_creation);
    if total == usage.input.saturating_add(usage.output) && cached <= usage.input {
        usage.input -= cached;
    }
    usage
}

impl Iteration<'_> {
    /// The call, if the response's own figures leave it out. Others are included in them.
    fn call(&self) -> Option<Call> {
        let kind = self.kind.text()?;
        let model = self.model.text().map(Cow::into_owned);
        let model = match (&*kind, model) {
            (_, Some(model)) if *model == *MODEL_SYNTHETIC => return None,
            (b"advisor_message", Some(model)) => CallModel::Own(model),
            (b"compaction", _) => CallModel::OfResponse,
            (b"message", Some(model)) => CallModel::Declined(model),
            _ => return None,
        };
        let usage = self.usage.counts();
        // A declined attempt without output is not billed.
        let is_billed = match model {
            CallModel::Declined(_) => usage.output > 0,
            _ => !usage.is_empty(),
        };
        is_billed.then(|| Call {
            model,
            usage,
            service: self.usage.service(),
        })
    }
}

/// The last `usage` object: the copies of a response follow each other, mostly with the same object.
#[derive(Clone, Debug, Default)]
pub struct UsageMemory {
    text: Vec<u8>,
    parsed: ParsedUsage,
}

impl UsageMemory {
    /// Skips a value that equals the cached one.
    pub fn recall(&self, value: &mut Scanner<'_>) -> Option<&ParsedUsage> {
        (!self.text.is_empty() && value.skip_object(&self.text)).then_some(&self.parsed)
    }

    pub fn remember(&mut self, text: &[u8], parsed: ParsedUsage) {
        self.text.clear();
        if text.len() <= REMEMBERED_BYTES_MAX {
            self.text.extend_from_slice(text);
            self.parsed = parsed;
        }
    }
}

members! {
    /// One element of `usage.iterations`.
    struct Iteration<'de> {
        kind = b"type",
        model = b"model",
        ..usage: UsageFields<'de>,
    }
}

members! {
    struct CacheSplit<'de> {
        five_minutes = b"ephemeral_5m_input_tokens",
        one_hour = b"ephemeral_1h_input_tokens",
    }
}

members! {
    struct ServerTools<'de> {
        web_search = b"web_search_requests",
    }
}

members! {
    struct OutputDetails<'de> {
        thinking = b"thinking_tokens",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_is_as_the_line_says() {
        let of = |text: &[u8]| {
            let mut fields = UsageFields::default();
            json::object(text, &mut fields).unwrap();
            let Service {
                tier,
                speed,
                geography,
            } = fields.parsed().service;
            (tier, speed, geography)
        };
        let (standard, other) = (Speed::Standard, Geography::Other);
        assert_eq!(of(b"{}"), (Tier::Unknown, standard, other));
        for (text, expect) in [
            (
                r#"{"inference_geo":"us"}"#,
                (Tier::Unknown, standard, Geography::Us),
            ),
            (
                r#"{"inference_geo":"us-east5"}"#,
                (Tier::Unknown, standard, Geography::Us),
            ),
            (
                r#"{"inference_geo":"not_available"}"#,
                (Tier::Unknown, standard, other),
            ),
            (r#"{"inference_geo":""}"#, (Tier::Unknown, standard, other)),
            (r#"{"inference_geo":null}"#, (Tier::Unknown, standard, other)),
            (
                r#"{"service_tier":"batch","speed":"fast"}"#,
                (Tier::Batch, Speed::Fast, other),
            ),
            (
                r#"{"service_tier":"flex","speed":"standard"}"#,
                (Tier::Flex, standard, other),
            ),
            (r#"{"service_tier":"new"}"#, (Tier::Other, standard, other)),
        ] {
            assert_eq!(of(text.as_bytes()), expect, "{text}");
        }
    }
}
