//! The `usage` object of a response: token counts, tier, speed, and the calls of other models inside it.

use serde::de::MapAccess;

use super::claude::MODEL_SYNTHETIC;
use super::json::{self, Members, Raw};

use crate::record::{Tier, Usage};

/// Calls of other models counted for one response; a real one has a few.
const ADVISOR_CALLS_MAX: usize = 256;

/// The members of a `usage` object, raw.
#[derive(Debug, Default)]
pub struct UsageFields<'de> {
    input: Raw<'de>,
    output: Raw<'de>,
    cache_read: Raw<'de>,
    cache_creation: Raw<'de>,
    cache_split: CacheSplit<'de>,
    web_search: Single<'de, WebSearch>,
    thinking: Single<'de, Thinking>,
    tier: Raw<'de>,
    pub speed: Raw<'de>,
    iterations: Raw<'de>,
}

impl<'de> Members<'de> for UsageFields<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &[u8], map: &mut A) -> Result<(), A::Error> {
        match key {
            b"input_tokens" => self.input.0 = json::raw(map)?,
            b"output_tokens" => self.output.0 = json::raw(map)?,
            b"cache_read_input_tokens" => self.cache_read.0 = json::raw(map)?,
            b"cache_creation_input_tokens" => self.cache_creation.0 = json::raw(map)?,
            b"cache_creation" => {
                self.cache_split = CacheSplit::default();
                json::member_object(map, &mut self.cache_split)?;
            }
            b"server_tool_use" => {
                self.web_search = Single::default();
                json::member_object(map, &mut self.web_search)?;
            }
            b"output_tokens_details" => {
                self.thinking = Single::default();
                json::member_object(map, &mut self.thinking)?;
            }
            b"service_tier" => self.tier.0 = json::raw(map)?,
            b"speed" => self.speed.0 = json::raw(map)?,
            b"iterations" => self.iterations.0 = json::raw(map)?,
            _ => json::skip(map)?,
        }
        Ok(())
    }
}

impl<'de> UsageFields<'de> {
    pub fn counts(&self) -> Usage {
        let five_minutes = self.cache_split.five_minutes.count().unwrap_or(0);
        let one_hour = self.cache_split.one_hour.count().unwrap_or(0);
        Usage {
            input: self.input.count().unwrap_or(0),
            output: self.output.count().unwrap_or(0),
            cache_read: self.cache_read.count().unwrap_or(0),
            cache_creation: self
                .cache_creation
                .count()
                .unwrap_or(five_minutes.saturating_add(one_hour)),
            cache_creation_5m: five_minutes,
            cache_creation_1h: one_hour,
            web_search: self.web_search.value.count().unwrap_or(0),
            thinking: self.thinking.value.count().unwrap_or(0),
        }
    }

    pub fn tier(&self) -> Tier {
        match self.tier.text().as_deref() {
            None => Tier::Unknown,
            Some(b"standard") => Tier::Standard,
            Some(b"priority") => Tier::Priority,
            Some(b"batch") => Tier::Batch,
            Some(_) => Tier::Other,
        }
    }

    /// The calls of another model inside this response, with their index; all other iterations are already
    /// inside the top-level figures.
    pub fn advisor_calls(&self) -> Vec<(u64, Iteration<'de>)> {
        let list = self.iterations.0.filter(|raw| raw.contains("advisor_message"));
        let items: Vec<&'de serde_json::value::RawValue> = list
            .and_then(|raw| serde_json::from_str(raw).ok())
            .unwrap_or_default();
        let calls = items.into_iter().zip(0u64..).filter_map(|(item, index)| {
            let mut iteration = Iteration::default();
            json::object(item.get().as_bytes(), &mut iteration).ok()?;
            let is_call = iteration.kind.text().as_deref() == Some(b"advisor_message")
                && iteration
                    .model
                    .text()
                    .is_some_and(|model| *model != *MODEL_SYNTHETIC);
            is_call.then_some((index, iteration))
        });
        calls.take(ADVISOR_CALLS_MAX).collect()
    }
}

/// One element of `usage.iterations`.
#[derive(Debug, Default)]
pub struct Iteration<'de> {
    kind: Raw<'de>,
    pub model: Raw<'de>,
    pub usage: UsageFields<'de>,
}

impl<'de> Members<'de> for Iteration<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &[u8], map: &mut A) -> Result<(), A::Error> {
        match key {
            b"type" => self.kind.0 = json::raw(map)?,
            b"model" => self.model.0 = json::raw(map)?,
            _ => self.usage.member(key, map)?,
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct CacheSplit<'de> {
    five_minutes: Raw<'de>,
    one_hour: Raw<'de>,
}

impl<'de> Members<'de> for CacheSplit<'de> {
    fn member<A: MapAccess<'de>>(&mut self, key: &[u8], map: &mut A) -> Result<(), A::Error> {
        match key {
            b"ephemeral_5m_input_tokens" => self.five_minutes.0 = json::raw(map)?,
            b"ephemeral_1h_input_tokens" => self.one_hour.0 = json::raw(map)?,
            _ => json::skip(map)?,
        }
        Ok(())
    }
}

/// An object of which one member is wanted.
#[derive(Debug, Default)]
struct Single<'de, W> {
    value: Raw<'de>,
    wanted: std::marker::PhantomData<W>,
}

trait Wanted {
    const KEY: &'static [u8];
}

#[derive(Debug, Default)]
struct WebSearch;
#[derive(Debug, Default)]
struct Thinking;

impl Wanted for WebSearch {
    const KEY: &'static [u8] = b"web_search_requests";
}

impl Wanted for Thinking {
    const KEY: &'static [u8] = b"thinking_tokens";
}

impl<'de, W: Wanted> Members<'de> for Single<'de, W> {
    fn member<A: MapAccess<'de>>(&mut self, key: &[u8], map: &mut A) -> Result<(), A::Error> {
        if key != W::KEY {
            return json::skip(map);
        }
        self.value.0 = json::raw(map)?;
        Ok(())
    }
}
