//! Events of a captured stream: a response in the pieces that the provider sent.
//!
//! Pure. `message_start` opens a message with its first figures, `message_delta` has the final ones, and
//! `message_stop` ends it. The assistant lines between them have the first figures only. Messages of the main
//! thread and of sub-agents are interleaved; each belongs to the tool use it answers.

use xxhash_rust::xxh3::xxh3_64;

use super::identity;
use super::usage::{ParsedUsage, UsageFields};
use crate::json::{self, RawBytes, members};
use crate::model::{ResponseKey, Usage};

/// Most open messages; with more, the one opened first is dropped. All of them fit into the kept state of a
/// file, some 7 kB; most files have none.
const STREAM_MESSAGES_MAX: usize = 32;
/// Longest cached model name, in bytes; a message with a longer one is counted by its other lines.
const MODEL_BYTES_MAX: usize = 128;
/// Length of an encoded message without its model: two hashes, two flag bits, the key, eight figures.
const ENCODED_BYTES: usize = 8 + 8 + 1 + 16 + 8 * 8;

/// The open messages of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Streams(Vec<StreamedMessage>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct StreamedMessage {
    thread: u64,
    /// A hash of its id, or of nothing.
    id: u64,
    /// `None` until a line names the response by more than a short id.
    key: Option<ResponseKey>,
    /// True if an event opened it, so that one will close it. Otherwise it ends with the first line of other
    /// figures.
    is_started: bool,
    model: Vec<u8>,
    /// The first figures.
    usage: Usage,
}

/// The identifying parts of an assistant line.
#[derive(Debug)]
pub struct Seen<'a> {
    pub thread: u64,
    /// Empty without an id.
    pub id: &'a [u8],
    pub key: ResponseKey,
    /// True if the key is that of the line alone, because nothing in it names the response.
    pub is_block: bool,
    /// True if the response was complete: then one block contains all of it.
    pub is_final: bool,
    pub model: Option<&'a [u8]>,
    pub usage: &'a Usage,
}

/// The final figures of a response.
#[derive(Debug)]
pub struct StreamEnd {
    pub key: ResponseKey,
    pub model: Vec<u8>,
    pub usage: ParsedUsage,
}

/// The thread of a message: 0 for the main thread, else a hash of the tool use that a sub-agent answers.
#[must_use]
pub fn thread(parent_tool_use_id: RawBytes<'_>) -> u64 {
    (parent_tool_use_id.0.filter(|raw| *raw != b"null")).map_or(0, xxh3_64)
}

impl Streams {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Records an assistant line; returns the key of its message, which for lines that name only themselves
    /// is that of the first line.
    ///
    /// Without events, consecutive lines belong to one message while their thread, id and figures are equal:
    /// all have the first figures. The next message has a longer prompt, and so other figures.
    pub fn see(&mut self, line: &Seen<'_>) -> ResponseKey {
        let id = xxh3_64(line.id);
        let model = line.model.filter(|model| model.len() <= MODEL_BYTES_MAX);
        let has_prompt = line.usage.total() > u128::from(line.usage.output);
        let is_of_begun = line.is_block && !line.is_final && has_prompt;
        let open = self.0.iter_mut().find(|open| {
            let is_of_it = open.is_started || is_of_begun && open.usage == *line.usage;
            (open.thread, open.id) == (line.thread, id) && is_of_it
        });
        if let Some(message) = open {
            let key = message.key.filter(|_| line.is_block).unwrap_or(line.key);
            message.key = Some(key);
            if let Some(model) = model {
                message.model = model.to_vec();
            }
            return key;
        }
        if line.is_block {
            self.0
                .retain(|open| open.is_started || open.thread != line.thread);
        }
        if is_of_begun {
            self.push(StreamedMessage {
                thread: line.thread,
                id,
                key: Some(line.key),
                is_started: false,
                model: model.unwrap_or_default().to_vec(),
                usage: *line.usage,
            });
        }
        line.key
    }

    /// Applies an event, of the message with this id if it has one; returns the final figures of a response,
    /// if they are known.
    pub fn take(
        &mut self,
        event: RawBytes<'_>,
        thread: u64,
        id: Option<&[u8]>,
        scope: u64,
    ) -> Option<StreamEnd> {
        let mut fields = StreamEvent::default();
        json::object(event.0?, &mut fields).ok()?;
        let id = id.map(xxh3_64);
        let is_of_it = |open: &StreamedMessage| {
            open.thread == thread && open.is_started && id.is_none_or(|id| id == open.id)
        };
        match &*fields.kind.text()? {
            b"message_start" => {
                self.0.retain(|open| {
                    open.thread != thread || open.is_started && id.is_some_and(|id| id != open.id)
                });
                self.open(&fields.message, thread, scope);
                None
            }
            b"message_delta" => {
                let message = self.0.iter().find(|open| is_of_it(open))?;
                let usage = fields.usage?.parsed_after(&message.usage);
                Some(StreamEnd {
                    key: message.key?,
                    model: message.model.clone(),
                    usage,
                })
            }
            b"message_stop" => {
                self.0.retain(|open| !is_of_it(open));
                None
            }
            _ => None,
        }
    }

    fn open(&mut self, start: &MessageStart<'_>, thread: u64, scope: u64) {
        let Some(model) = start.model.text() else {
            return;
        };
        if model.len() > MODEL_BYTES_MAX {
            return;
        }
        let id = start.id.text().unwrap_or_default();
        self.push(StreamedMessage {
            thread,
            id: xxh3_64(&id),
            key: identity::is_unique(&id).then(|| identity::key_of_id(scope, &id)),
            is_started: true,
            model: model.into_owned(),
            usage: start.usage.parsed().usage,
        });
    }

    fn push(&mut self, message: StreamedMessage) {
        if self.0.len() == STREAM_MESSAGES_MAX {
            self.0.remove(0);
        }
        self.0.push(message);
    }

    /// Encodes each message.
    pub fn encode(&self) -> impl Iterator<Item = Vec<u8>> {
        self.0.iter().map(|message| {
            let mut bytes = Vec::with_capacity(ENCODED_BYTES + message.model.len());
            bytes.extend(message.thread.to_le_bytes());
            bytes.extend(message.id.to_le_bytes());
            bytes.push(u8::from(message.key.is_some()) | u8::from(message.is_started) << 1);
            bytes.extend(message.key.map_or(0, |key| key.0).to_le_bytes());
            for count in message.usage.to_array() {
                bytes.extend(count.to_le_bytes());
            }
            bytes.extend(&message.model);
            bytes
        })
    }

    /// Adds a message encoded by [`Streams::encode`]; `None` if it is invalid.
    pub fn decode_into(&mut self, bytes: &[u8]) -> Option<()> {
        let (fixed, model) = bytes.split_at_checked(ENCODED_BYTES)?;
        let number = |at: usize| Some(u64::from_le_bytes(fixed.get(at..at + 8)?.try_into().ok()?));
        let key = u128::from_le_bytes(fixed.get(17..33)?.try_into().ok()?);
        let mut counts = [0; 8];
        for (index, count) in counts.iter_mut().enumerate() {
            *count = number(33 + 8 * index)?;
        }
        if model.len() > MODEL_BYTES_MAX || self.0.len() == STREAM_MESSAGES_MAX {
            return None;
        }
        self.0.push(StreamedMessage {
            thread: number(0)?,
            id: number(8)?,
            key: (fixed[16] & 1 == 1).then_some(ResponseKey(key)),
            is_started: fixed[16] & 2 == 2,
            model: model.to_vec(),
            usage: Usage::from_array(counts),
        });
        Some(())
    }
}

members! {
    /// `event` of a line of type `stream_event`.
    struct StreamEvent<'de> {
        kind = b"type",
        message: MessageStart<'de> = b"message",
        usage: Option<UsageFields<'de>> = b"usage",
    }
}

members! {
    /// `message` of a `message_start`.
    struct MessageStart<'de> {
        id = b"id",
        model = b"model",
        usage: UsageFields<'de> = b"usage",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{StreamedMessage, Streams};
    use crate::model::{Millis, Rank, Record, ResponseKey, Usage};
    use crate::parse::{LineContext, LineKind, Parser};

    #[test]
    fn the_bytes_of_a_message_stay_as_they_are() {
        let message = StreamedMessage {
            thread: 1,
            id: 2,
            key: Some(ResponseKey(3)),
            is_started: false,
            model: b"m".to_vec(),
            usage: Usage {
                input: 4,
                output: 5,
                cache_read: 6,
                cache_creation: 7,
                cache_creation_5m: 8,
                cache_creation_1h: 9,
                web_search: 10,
                thinking: 11,
            },
        };
        let mut pinned = vec![0; 33];
        (pinned[0], pinned[8], pinned[16], pinned[17]) = (1, 2, 1, 3);
        for figure in 4..=11 {
            pinned.extend([figure, 0, 0, 0, 0, 0, 0, 0]);
        }
        pinned.push(b'm');
        let streams = Streams(vec![message.clone()]);
        assert_eq!(streams.encode().collect::<Vec<_>>(), [pinned.clone()]);
        let mut read = Streams::default();
        read.decode_into(&pinned).unwrap();
        assert_eq!(read, streams);
        let opened = StreamedMessage {
            key: None,
            is_started: true,
            ..message
        };
        (pinned[16], pinned[17]) = (2, 0);
        assert_eq!(Streams(vec![opened]).encode().collect::<Vec<_>>(), [pinned]);
    }

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

    /// The records of lines, with a new parser after each of the cuts.
    fn records(lines: &[String], is_cut: impl Fn(usize) -> bool) -> Vec<Record> {
        let (mut parser, mut records) = (Parser::default(), Vec::new());
        for (index, line) in lines.iter().enumerate() {
            if is_cut(index) {
                parser = Parser::new(&parser.state(), Millis::MAX);
            }
            let before = records.len();
            let parsed = parser.line(
                line.as_bytes(),
                LineContext::default(),
                &mut records,
                &mut Vec::new(),
            );
            assert_eq!(parsed.class == LineKind::Usage, records.len() > before, "{line}");
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

    fn block(uuid: &str, parent: &str, id: &str, input: u64) -> String {
        format!(
            r#"{{"type":"assistant","session_id":"s","uuid":"{uuid}","parent_tool_use_id":{parent},"message":{{"id":{id},"model":"m","stop_reason":null,"usage":{{"input_tokens":{input},"output_tokens":1}}}}}}"#
        )
    }

    #[test]
    fn blocks_of_a_response_that_nothing_names_are_one_while_their_figures_stay() {
        for id in ["null", r#""ocgo""#] {
            let lines = [
                block("1", "null", id, 10),
                block("2", r#""toolu_1""#, id, 10),
                block("3", "null", id, 10),
                block("4", "null", id, 20),
                block("5", r#""toolu_1""#, id, 10),
                block("6", "null", id, 10),
                block("7", "null", id, 0),
                block("8", "null", id, 0),
                block("9", "null", id, 30),
                block("10", "null", id, 30).replace(r#""stop_reason":null"#, r#""stop_reason":"end_turn""#),
                block("11", "null", id, 30),
            ];
            let records = records(&lines, |_| false);
            let keys: Vec<_> = records.iter().map(|record| record.key).collect();
            let first_of = |index: usize| keys.iter().position(|key| *key == keys[index]);
            let firsts: Vec<_> = (0..keys.len()).filter_map(first_of).collect();
            assert_eq!(firsts, [0, 1, 0, 3, 1, 5, 6, 7, 8, 9, 10], "{id}");
        }
    }

    #[test]
    fn events_show_which_lines_are_of_one_message_whatever_its_id() {
        for id in ["null", r#""ocgo""#] {
            let lines = [
                event("null", &start("x", 5).replace(r#""x""#, id)),
                block("1", "null", id, 5),
                block("2", "null", id, 6),
                event("null", &delta(r#""output_tokens":90"#)),
                event("null", r#"{"type":"message_stop"}"#),
                block("3", "null", id, 6),
            ];
            let records = records(&lines, |_| false);
            let [one, two, last, next] = &records[..] else {
                panic!("{records:?}")
            };
            assert_eq!((one.key, two.key), (last.key, last.key), "{id}");
            assert_ne!(next.key, last.key, "{id}");
            assert_eq!(last.usage.output, 90);
        }
    }

    #[test]
    fn an_event_that_names_its_message_is_of_it() {
        let named = |line: String, id: &str| line.replacen('{', &format!(r#"{{"api_message_id":"{id}","#), 1);
        let lines = [
            named(event("null", &start(API, 5)), API),
            named(event("null", &start(UUID, 6)), UUID),
            named(event("null", &delta(r#""output_tokens":10"#)), API),
            named(event("null", &delta(r#""output_tokens":20"#)), UUID),
            named(event("null", &delta(r#""output_tokens":30"#)), "another"),
        ];
        let figures: Vec<_> = records(&lines, |_| false)
            .iter()
            .map(|one| (one.usage.input, one.usage.output))
            .collect();
        assert_eq!(figures, [(5, 10), (6, 20)]);
    }

    /// The largest number of open messages fits into the kept state.
    #[test]
    fn every_open_message_is_kept() {
        let model = "m".repeat(super::MODEL_BYTES_MAX);
        let mut lines = Vec::new();
        for (kind, output) in [(true, 1), (false, 9)] {
            for index in 0..super::STREAM_MESSAGES_MAX {
                let (parent, id) = (
                    format!(r#""toolu_{index}""#),
                    format!("msg_01StreamMessage{index:04}"),
                );
                let what = if kind {
                    start(&id, 5).replace(r#""model":"m""#, &format!(r#""model":"{model}""#))
                } else {
                    delta(&format!(r#""output_tokens":{output}"#))
                };
                lines.push(event(&parent, &what));
            }
        }
        let records = records(&lines, |index| index == super::STREAM_MESSAGES_MAX);
        assert_eq!(records.len(), super::STREAM_MESSAGES_MAX);
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
        /// With restarts anywhere, a stream gives the same records.
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
                        2 if index % 3 == 0 => block("1", parent, "null", 7),
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
