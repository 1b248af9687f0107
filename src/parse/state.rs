//! The parser state kept between two readings of a file of any dialect, and its encoding.
//!
//! Pure. One version byte, then fields: a tag, the length of the value in two bytes, the value. Bytes of
//! another version, or invalid ones, decode as the empty state: decoding never fails. A new field gets a new
//! tag.

use strum::VariantArray;

use super::claude::limits::Retries;
use super::claude::stream::Streams;
use crate::model::{Dialect, Millis, PARSER_STATE_BYTES_MAX, ParserState};

/// The current version.
const VERSION: u8 = 1;
/// Field: the last time, eight bytes, little-endian.
const TAG_LAST_TIME: u8 = 1;
/// Field: the latest time, likewise.
const TAG_LATEST_TIME: u8 = 2;
/// Field: the last refused attempt.
const TAG_RETRIES: u8 = 3;
/// Field: an open message of a captured stream; repeated.
const TAG_STREAM_MESSAGE: u8 = 4;
/// Field: the dialect, and then what its own parser keeps; or [`UNDECIDED`], and the number of lines so far.
const TAG_DIALECT: u8 = 5;
/// No line has shown the dialect yet.
const UNDECIDED: u8 = 255;

/// The dialect of a file, as far as its lines have shown it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptDialect {
    /// This many lines did not show it.
    Undecided(u8),
    /// With what the dialect's own parser keeps.
    Decided(Dialect, Box<[u8]>),
}

impl Default for KeptDialect {
    fn default() -> Self {
        Self::Undecided(0)
    }
}

/// State from the lines before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The time of the last line with one; it dates later lines without a time.
    pub last_time: Option<Millis>,
    /// The latest time of a line; later observations of limits are not older.
    pub latest_time: Option<Millis>,
    /// The last refused attempt, to recognise retries of one request.
    pub retries: Retries,
    /// The open messages of a captured stream.
    pub streams: Streams,
    pub dialect: KeptDialect,
}

impl State {
    /// Decodes the result of [`State::encode`].
    #[must_use]
    pub fn decode(kept: &ParserState) -> Self {
        Self::fields(kept.bytes()).unwrap_or_default()
    }

    /// Encodes the state.
    #[must_use]
    pub fn encode(&self) -> ParserState {
        let mut fields = Fields::default();
        for (tag, time) in [
            (TAG_LAST_TIME, self.last_time),
            (TAG_LATEST_TIME, self.latest_time),
        ] {
            if let Some(time) = time {
                fields.put(tag, &time.to_le_bytes());
            }
        }
        if let Some(retries) = self.retries.encode() {
            fields.put(TAG_RETRIES, &retries);
        }
        for message in self.streams.encode() {
            fields.put(TAG_STREAM_MESSAGE, &message);
        }
        match &self.dialect {
            KeptDialect::Undecided(0) => {}
            KeptDialect::Undecided(lines) => fields.put(TAG_DIALECT, &[UNDECIDED, *lines]),
            KeptDialect::Decided(dialect, kept) => {
                // The place of its name, which never changes: further ones come after it.
                let code = Dialect::VARIANTS.iter().position(|one| one == dialect);
                let code = u8::try_from(code.unwrap_or_default()).unwrap_or_default();
                fields.put(TAG_DIALECT, &[&[code], &**kept].concat());
            }
        }
        fields.written()
    }

    fn fields(bytes: &[u8]) -> Option<Self> {
        let (&version, mut rest) = bytes.split_first()?;
        if version != VERSION {
            return None;
        }
        let mut state = Self::default();
        while let Some(&[tag, low, high]) = rest.first_chunk() {
            let end = 3 + usize::from(u16::from_le_bytes([low, high]));
            let value = rest.get(3..end)?;
            match tag {
                TAG_LAST_TIME => state.last_time = Some(Millis::from_le_bytes(value.try_into().ok()?)),
                TAG_LATEST_TIME => state.latest_time = Some(Millis::from_le_bytes(value.try_into().ok()?)),
                TAG_RETRIES => state.retries = Retries::decode(value)?,
                TAG_STREAM_MESSAGE => state.streams.decode_into(value)?,
                TAG_DIALECT => {
                    state.dialect = match value {
                        [UNDECIDED, lines] => KeptDialect::Undecided(*lines),
                        [code, kept @ ..] => {
                            KeptDialect::Decided(*Dialect::VARIANTS.get(usize::from(*code))?, kept.into())
                        }
                        [] => return None,
                    };
                }
                _ => return None,
            }
            rest = &rest[end..];
        }
        rest.is_empty().then_some(state)
    }
}

/// Encoded fields. Fields without room are left out.
#[derive(Default)]
struct Fields(Vec<u8>);

impl Fields {
    fn put(&mut self, tag: u8, value: &[u8]) {
        if self.0.is_empty() {
            self.0.push(VERSION);
        }
        let room = PARSER_STATE_BYTES_MAX - self.0.len();
        if let Ok(length) = u16::try_from(value.len())
            && 3 + value.len() <= room
        {
            self.0.push(tag);
            self.0.extend_from_slice(&length.to_le_bytes());
            self.0.extend_from_slice(value);
        }
    }

    /// Empty without fields: most files need no state.
    fn written(self) -> ParserState {
        ParserState::new(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_dialect() -> impl Strategy<Value = KeptDialect> {
        let decided = (
            proptest::sample::select(Dialect::VARIANTS),
            proptest::collection::vec(any::<u8>(), 0..9),
        );
        prop_oneof![
            any::<u8>().prop_map(KeptDialect::Undecided),
            decided.prop_map(|(dialect, kept)| KeptDialect::Decided(dialect, kept.into())),
        ]
    }

    proptest! {
        #[test]
        fn a_state_comes_back_as_it_went(
            last_time in any::<Option<i64>>(),
            latest_time in any::<Option<i64>>(),
            dialect in any_dialect(),
        ) {
            let state = State { last_time, latest_time, dialect, ..State::default() };
            prop_assert_eq!(State::decode(&state.encode()), state);
        }

        /// Truncated or changed bytes decode to some state, without a panic.
        #[test]
        fn damaged_bytes_are_some_state(time in any::<i64>(), at in any::<usize>(), byte in any::<u8>()) {
            let whole = State { last_time: Some(time), ..State::default() }.encode();
            let mut bytes = whole.bytes().to_vec();
            let at = at % bytes.len();
            prop_assert_eq!(State::decode(&ParserState::new(&bytes[..at])), State::default());
            bytes[at] = byte;
            let _ = State::decode(&ParserState::new(&bytes));
        }

        #[test]
        fn any_bytes_are_some_state(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = State::decode(&ParserState::new(&bytes));
        }
    }

    #[test]
    fn the_bytes_stay_as_they_are() {
        let state = State {
            last_time: Some(0x0102),
            latest_time: Some(-2),
            dialect: KeptDialect::Decided(Dialect::Gemini, b"ab".as_slice().into()),
            ..State::default()
        };
        let pinned = b"\x01\x01\x08\x00\x02\x01\0\0\0\0\0\0\
            \x02\x08\x00\xfe\xff\xff\xff\xff\xff\xff\xff\
            \x05\x03\x00\x03ab";
        assert_eq!(state.encode().bytes(), pinned);
        assert_eq!(State::decode(&ParserState::new(pinned)), state);
    }

    #[test]
    fn another_version_and_unknown_fields_are_no_state() {
        let whole = State {
            last_time: Some(7),
            ..State::default()
        }
        .encode();
        let (mut later, mut more) = (whole.bytes().to_vec(), whole.bytes().to_vec());
        later[0] = VERSION + 1;
        more.extend([200, 0, 0]);
        for bytes in [later, more, Vec::new(), vec![0; PARSER_STATE_BYTES_MAX + 1]] {
            assert_eq!(State::decode(&ParserState::new(&bytes)), State::default());
        }
    }
}
