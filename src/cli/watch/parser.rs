//! Parser of server-sent events.

use serde_json::Value;

/// Longest event, in bytes: a snapshot of very many runs.
const EVENT_BYTES_MAX: usize = super::client::BODY_BYTES_MAX;

/// An event.
#[derive(Debug, PartialEq)]
pub struct ReceivedEvent<'p> {
    pub kind: &'p str,
    /// Empty for an event that is not repeated on resume.
    pub id: &'p str,
    pub data: Value,
}

/// State of the parser.
#[derive(Debug, Default)]
pub struct FrameParser {
    /// Bytes after the last line end.
    rest: Vec<u8>,
    kind: String,
    data: String,
    id: String,
    last_id: String,
}

impl FrameParser {
    /// The id to resume the stream from.
    pub fn last_id(&self) -> &str {
        &self.last_id
    }

    /// True if an event exceeds the bound.
    pub fn is_too_long(&self) -> bool {
        self.rest.len() + self.data.len() > EVENT_BYTES_MAX
    }

    /// Drops a partial event after a lost connection.
    pub fn start_again(&mut self) {
        *self = Self {
            last_id: std::mem::take(&mut self.last_id),
            ..Self::default()
        };
    }

    /// Parses bytes; passes each event to `each` until that returns `false`.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(ReceivedEvent<'_>) -> bool) {
        self.rest.extend_from_slice(bytes);
        let mut rest = std::mem::take(&mut self.rest);
        let mut from = 0;
        while let Some(length) = memchr::memchr(b'\n', &rest[from..]) {
            let line = String::from_utf8_lossy(&rest[from..from + length]).into_owned();
            from += length + 1;
            if !self.line(line.trim_end_matches('\r'), &mut each) {
                break;
            }
        }
        rest.drain(..from);
        self.rest = rest;
    }

    fn line(&mut self, line: &str, each: &mut impl FnMut(ReceivedEvent<'_>) -> bool) -> bool {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            // The end of an event, or of an id alone.
            "" if line.is_empty() => return self.end(each),
            "event" => value.clone_into(&mut self.kind),
            "id" => {
                value.clone_into(&mut self.id);
                value.clone_into(&mut self.last_id);
            }
            "data" => self.data.push_str(value),
            _ => {}
        }
        true
    }

    fn end(&mut self, each: &mut impl FnMut(ReceivedEvent<'_>) -> bool) -> bool {
        let (kind, data, id) = (
            std::mem::take(&mut self.kind),
            std::mem::take(&mut self.data),
            std::mem::take(&mut self.id),
        );
        if data.is_empty() {
            return true;
        }
        // Data that is not JSON is kept as text.
        let data = serde_json::from_str(&data).unwrap_or(Value::String(data));
        each(ReceivedEvent {
            kind: &kind,
            id: &id,
            data,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "id: 7\nevent: snapshot\ndata: {\"a\":1}\n\n: still here\nid: 8\n\nevent: health\r\ndata: [2]\r\n\r\n\
                          id: 9.1\nevent: usage\ndata: no document\n\nid: 9\nevent: half";

    fn events(chunk: usize) -> (Vec<String>, String) {
        let (mut parser, mut events) = (FrameParser::default(), Vec::new());
        for bytes in STREAM.as_bytes().chunks(chunk) {
            parser.take(bytes, |received| {
                events.push(format!("{}|{}|{}", received.kind, received.id, received.data));
                true
            });
        }
        (events, parser.last_id().to_owned())
    }

    #[test]
    fn events_are_the_same_however_the_bytes_come() {
        for chunk in [1, 2, 7, 1000] {
            let (events, _) = events(chunk);
            assert_eq!(
                events,
                ["snapshot|7|{\"a\":1}", "health||[2]", "usage|9.1|\"no document\""]
            );
        }
    }

    #[test]
    fn half_an_event_is_none_after_the_connection_was_lost() {
        let mut parser = FrameParser::default();
        parser.take(STREAM.as_bytes(), |_| true);
        assert_eq!(parser.last_id(), "9");
        parser.start_again();
        assert_eq!(parser.last_id(), "9");
        parser.take(b"data: 1\n\n", |received| {
            assert_eq!(received.kind, "");
            true
        });
    }

    #[test]
    fn a_reader_that_has_enough_gets_no_more() {
        let (mut parser, mut count) = (FrameParser::default(), 0);
        parser.take(STREAM.as_bytes(), |_| {
            count += 1;
            false
        });
        assert_eq!(count, 1);
    }
}
