//! Events of a captured stream: a response as the provider sent it, piece by piece.
//!
//! Pure. `message_start` opens a message with the figures known by then, `message_delta` gives the final ones, and
//! `message_stop` ends it. The assistant lines between carry the figures of the start only. Messages of the main thread
//! and of sub-agents come side by side; each belongs to the tool use it answers.

use xxhash_rust::xxh3::xxh3_64;

use super::identity;
use super::json::{self, Members, RawBytes};
use super::scan::{NotJson, Scanner};
use super::usage::{Figures, UsageFields};
use crate::record::{ResponseKey, Usage};

/// Messages open at once that are remembered; beyond it the one opened first is forgotten.
pub const STREAM_MESSAGES_MAX: usize = 4;
/// Longest model name that is remembered, in bytes; a message with a longer one is counted by its other lines.
const MODEL_BYTES_MAX: usize = 128;
/// An encoded message without its model: two hashes, whether there is a key, the key, eight figures.
const ENCODED_BYTES: usize = 8 + 8 + 1 + 16 + 8 * 8;

/// The messages that are open in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams(Vec<Message>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    thread: u64,
    /// A hash of its id.
    id: u64,
    /// `None` until a line of it says more than an id that names nothing.
    key: Option<ResponseKey>,
    model: Vec<u8>,
    /// The figures of its start.
    usage: Usage,
}

/// What a response came to.
#[derive(Debug)]
pub struct Final {
    pub key: ResponseKey,
    pub model: Vec<u8>,
    pub figures: Figures,
}

/// Whose messages these are: 0 for the main thread, else a hash of the tool use that a sub-agent answers.
#[must_use]
pub fn thread(parent_tool_use_id: RawBytes<'_>) -> u64 {
    (parent_tool_use_id.0.filter(|raw| *raw != b"null")).map_or(0, xxh3_64)
}

impl Streams {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes an assistant line between the events of its message: it names the model that serves, and the key.
    pub fn see(&mut self, thread: u64, id: &[u8], key: ResponseKey, model: Option<&[u8]>) {
        let id = xxh3_64(id);
        if let Some(message) = self
            .0
            .iter_mut()
            .find(|open| (open.thread, open.id) == (thread, id))
        {
            message.key = Some(key);
            if let Some(model) = model.filter(|model| model.len() <= MODEL_BYTES_MAX) {
                message.model = model.to_vec();
            }
        }
    }

    /// Takes an event; what a response came to, if it says so.
    pub fn take(&mut self, event: RawBytes<'_>, thread: u64, scope: u64) -> Option<Final> {
        let mut fields = Event::default();
        json::object(event.0?, &mut fields).ok()?;
        match &*fields.kind.text()? {
            b"message_start" => {
                self.0.retain(|open| open.thread != thread);
                self.open(&fields.message, thread, scope);
                None
            }
            b"message_delta" => {
                let message = self.0.iter().find(|open| open.thread == thread)?;
                let figures = fields.usage?.figures_after(&message.usage);
                Some(Final {
                    key: message.key?,
                    model: message.model.clone(),
                    figures,
                })
            }
            b"message_stop" => {
                self.0.retain(|open| open.thread != thread);
                None
            }
            _ => None,
        }
    }

    fn open(&mut self, start: &Start<'_>, thread: u64, scope: u64) {
        let (Some(id), Some(model)) = (start.id.text(), start.model.text()) else {
            return;
        };
        if model.len() > MODEL_BYTES_MAX {
            return;
        }
        if self.0.len() == STREAM_MESSAGES_MAX {
            self.0.remove(0);
        }
        self.0.push(Message {
            thread,
            id: xxh3_64(&id),
            key: identity::is_alone(&id).then(|| identity::key_of_id(scope, &id)),
            model: model.into_owned(),
            usage: start.usage.figures().usage,
        });
    }

    /// Writes each message down.
    pub(super) fn encode(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().map(|message| {
            let mut bytes = Vec::with_capacity(ENCODED_BYTES + message.model.len());
            bytes.extend(message.thread.to_le_bytes());
            bytes.extend(message.id.to_le_bytes());
            bytes.push(u8::from(message.key.is_some()));
            bytes.extend(message.key.map_or(0, |key| key.0).to_le_bytes());
            for figure in figures(&message.usage) {
                bytes.extend(figure.to_le_bytes());
            }
            bytes.extend(&message.model);
            bytes
        })
    }

    /// Adds a message that [`Streams::encode`] wrote; `None` if it makes no sense.
    pub(super) fn decode_into(&mut self, bytes: &[u8]) -> Option<()> {
        let (fixed, model) = bytes.split_at_checked(ENCODED_BYTES)?;
        let number = |at: usize| Some(u64::from_le_bytes(fixed.get(at..at + 8)?.try_into().ok()?));
        let key = u128::from_le_bytes(fixed.get(17..33)?.try_into().ok()?);
        let figure = |index: usize| number(33 + 8 * index);
        if model.len() > MODEL_BYTES_MAX || self.0.len() == STREAM_MESSAGES_MAX {
            return None;
        }
        self.0.push(Message {
            thread: number(0)?,
            id: number(8)?,
            key: (fixed[16] == 1).then_some(ResponseKey(key)),
            model: model.to_vec(),
            usage: Usage {
                input: figure(0)?,
                output: figure(1)?,
                cache_read: figure(2)?,
                cache_creation: figure(3)?,
                cache_creation_5m: figure(4)?,
                cache_creation_1h: figure(5)?,
                web_search: figure(6)?,
                thinking: figure(7)?,
            },
        });
        Some(())
    }
}

fn figures(usage: &Usage) -> [u64; 8] {
    [
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_creation,
        usage.cache_creation_5m,
        usage.cache_creation_1h,
        usage.web_search,
        usage.thinking,
    ]
}

/// `event` of a line of type `stream_event`.
#[derive(Debug, Default)]
struct Event<'de> {
    kind: RawBytes<'de>,
    message: Start<'de>,
    usage: Option<UsageFields<'de>>,
}

impl<'de> Members<'de> for Event<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"type" => self.kind.0 = Some(value.raw_bytes()?),
            b"message" => {
                self.message = Start::default();
                value.object(&mut self.message)?;
            }
            b"usage" => {
                let mut fields = UsageFields::default();
                self.usage = value.object(&mut fields)?.then_some(fields);
            }
            _ => value.skip()?,
        }
        Ok(())
    }
}

/// `message` of a `message_start`.
#[derive(Debug, Default)]
struct Start<'de> {
    id: RawBytes<'de>,
    model: RawBytes<'de>,
    usage: UsageFields<'de>,
}

impl<'de> Members<'de> for Start<'de> {
    fn member(&mut self, key: &[u8], value: &mut Scanner<'de>) -> Result<(), NotJson> {
        match key {
            b"id" => self.id.0 = Some(value.raw_bytes()?),
            b"model" => self.model.0 = Some(value.raw_bytes()?),
            b"usage" => {
                self.usage = UsageFields::default();
                value.object(&mut self.usage)?;
            }
            _ => value.skip()?,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Class, Parser, Place};
    use crate::record::{Millis, Rank, Record};

    fn event(parent: &str, event: &str) -> String {
        format!(r#"{{"type":"stream_event","session_id":"s","parent_tool_use_id":{parent},"event":{event}}}"#)
    }

    fn start(id: &str, input: u64) -> String {
        format!(
            r#"{{"type":"message_start","message":{{"id":"{id}","model":"m","usage":{{"input_tokens":{input},"output_tokens":1,"cache_read_input_tokens":7}}}}}}"#
        )
    }

    fn delta(usage: &str) -> String {
        format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"end_turn"}},"usage":{{{usage}}}}}"#)
    }

    fn assistant(parent: &str, id: &str, model: &str) -> String {
        format!(
            r#"{{"type":"assistant","session_id":"s","parent_tool_use_id":{parent},"message":{{"id":"{id}","model":"{model}","usage":{{"input_tokens":5,"output_tokens":1,"cache_read_input_tokens":7}}}}}}"#
        )
    }

    /// The records of lines, read by a parser that starts anew after each of the cuts.
    fn records(lines: &[String], is_cut: impl Fn(usize) -> bool) -> Vec<Record> {
        let (mut parser, mut records) = (Parser::default(), Vec::new());
        for (index, line) in lines.iter().enumerate() {
            if is_cut(index) {
                parser = Parser::new(&parser.state(), Millis::MAX);
            }
            let before = records.len();
            let parsed = parser.line(line.as_bytes(), Place::default(), &mut records, &mut Vec::new());
            assert_eq!(parsed.class == Class::Usage, records.len() > before, "{line}");
        }
        records
    }

    const API: &str = "msg_01XFDUDYJgAACzvnptvVoYEL";
    const UUID: &str = "0b8e6bd0-5f1f-4c41-9bf0-0f2f6a2c7d11";

    #[test]
    fn a_delta_gives_the_final_figures_of_the_response_its_lines_are_of() {
        for id in [API, UUID] {
            let lines = [
                event("null", &start(id, 5)),
                assistant("null", id, "m"),
                event("null", &delta(r#""output_tokens":90"#)),
                event("null", r#"{"type":"message_stop"}"#),
                event("null", &delta(r#""output_tokens":91"#)),
            ];
            let records = records(&lines, |_| false);
            let [stub, last] = &records[..] else {
                panic!("{records:?}")
            };
            assert_eq!(stub.key, last.key);
            assert_eq!((stub.usage.output, last.usage.output), (1, 90));
            assert_eq!(
                (last.usage.input, last.usage.cache_read),
                (5, 7),
                "as at the start"
            );
            assert_eq!((&*last.model, last.rank), ("m", Rank::Sidechain));
        }
    }

    #[test]
    fn figures_of_a_delta_go_before_those_of_the_start() {
        let lines = [
            event("null", &start(API, 5)),
            event(
                "null",
                &delta(
                    r#""input_tokens":6,"output_tokens":9,"cache_creation":{"ephemeral_1h_input_tokens":4}"#,
                ),
            ),
        ];
        let usage = records(&lines, |_| false)[0].usage;
        assert_eq!(
            (
                usage.input,
                usage.cache_creation,
                usage.cache_creation_1h,
                usage.cache_read
            ),
            (6, 4, 4, 7)
        );
    }

    #[test]
    fn threads_are_apart_and_a_model_that_takes_over_is_named() {
        let lines = [
            event("null", &start(API, 5)),
            event(r#""toolu_1""#, &start("msg_01XFDUDYJgAACzvnptvVoYEM", 6)),
            assistant("null", API, "fallback"),
            event(r#""toolu_1""#, &delta(r#""output_tokens":20"#)),
            event("null", &delta(r#""output_tokens":10"#)),
        ];
        let records = records(&lines, |_| false);
        let of = |index: usize| {
            let one: &Record = &records[index];
            (one.usage.input, one.usage.output, &*one.model, one.rank)
        };
        assert_eq!(of(1), (6, 20, "m", Rank::Sidechain));
        assert_eq!(of(2), (5, 10, "fallback", Rank::Sidechain));
    }

    #[test]
    fn an_id_that_names_nothing_counts_by_its_lines_alone() {
        let lines = [
            event("null", &start("response", 5)),
            event("null", &delta(r#""output_tokens":10"#)),
            event("null", "7"),
            event("null", r#"{"type":"message_delta"}"#),
        ];
        assert_eq!(records(&lines, |_| false), []);
    }

    proptest! {
        /// Cut anywhere by restarts, a stream gives the same records.
        #[test]
        fn a_restart_changes_nothing(
            picks in proptest::collection::vec((0usize..6, 0usize..5), 0..40),
            cuts in proptest::collection::vec(any::<bool>(), 40),
        ) {
            let parents = ["null", r#""a""#, r#""b""#, r#""c""#, r#""d""#, r#""e""#];
            let ids = [API, UUID];
            let lines: Vec<String> = picks
                .iter()
                .enumerate()
                .map(|(index, (thread, kind))| {
                    let (parent, id) = (parents[*thread], ids[(thread + index) % 2]);
                    match kind {
                        0 | 1 => event(parent, &start(id, index as u64)),
                        2 => assistant(parent, id, "m"),
                        3 => event(parent, &delta(&format!(r#""output_tokens":{index}"#))),
                        _ => event(parent, r#"{"type":"message_stop"}"#),
                    }
                })
                .collect();
            prop_assert_eq!(records(&lines, |index| cuts[index]), records(&lines, |_| false));
        }
    }
}
