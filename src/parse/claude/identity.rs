//! Identity of a response: the key that all its lines and copies share.
//!
//! Pure. Identities in the order of preference: an id that is unique by its shape, a request reference,
//! another id of the API, an id with its context, then a request, a line, a position in a file.

use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::LineContext;
use super::usage::CallIndex;
use crate::model::ResponseKey;

/// Prefix of the API's own message ids.
const API_ID_PREFIX: &[u8] = b"msg_";
/// Shortest part of an id that may be random, in bytes: the shortest group of a UUID.
const RANDOM_PART_BYTES_MIN: u32 = 4;
/// Number of random letters and digits from which an id is unique, in bytes.
const RANDOM_BYTES_MIN: u32 = 12;
/// The same for digits alone: a time in milliseconds has this many.
const RANDOM_DIGITS_MIN: u32 = 13;
/// Number of capitals from which letters alone count as random, rather than as a name of a few words.
const RANDOM_CAPITALS_MIN: u32 = 4;
/// Fewest different characters of a random part.
const RANDOM_CHARACTERS_MIN: u32 = 4;
/// Inspected start of an id, in bytes.
const JUDGED_BYTES_MAX: usize = 1000;

/// The identifying members of a line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity<'a> {
    /// `message.id`.
    pub id: Option<&'a [u8]>,
    /// `requestId`.
    pub request_id: Option<&'a [u8]>,
    /// `requestRef`.
    pub request_ref: Option<&'a [u8]>,
    /// The session in which the line was first written.
    pub session: &'a [u8],
    /// Raw: the line's own time, else the time of the captured stream's writer.
    pub timestamp: Option<&'a [u8]>,
    pub uuid: Option<&'a [u8]>,
    /// The whole line.
    pub line: &'a [u8],
    /// True for a line of a captured stream.
    pub is_captured: bool,
}

impl Identity<'_> {
    /// The key. Tags separate identities of different kinds.
    #[must_use]
    pub fn key(&self, place: LineContext) -> ResponseKey {
        let hash = |tag, parts: &[&[u8]]| hash(place.scope, tag, parts);
        if let Some(key) = self.key_of_unique_id(place) {
            return key;
        }
        if let Some(reference) = self.request_ref {
            return hash(b'f', &[reference]);
        }
        let by_time = (self.id.zip(self.timestamp)).map(|(id, time)| hash(b's', &[self.session, id, time]));
        let by_uuid = self.uuid.map(|uuid| hash(b'u', &[uuid]));
        // The line of a captured stream has the transcript's uuid, and often no time.
        let by_line = if self.is_captured {
            by_uuid.or(by_time)
        } else {
            by_time.or(by_uuid)
        };
        self.key_of_request(place).or(by_line).unwrap_or_else(|| {
            // The content is included: another line at the same position of a rewritten file is another
            // response.
            let (origin, offset) = (place.origin.to_le_bytes(), place.offset.to_le_bytes());
            hash(b'o', &[&origin, &offset, self.line])
        })
    }

    /// Further keys that captured copies of the response may have, since they contain less.
    pub fn keys_of_captured(
        &self,
        place: LineContext,
        own: ResponseKey,
    ) -> impl Iterator<Item = ResponseKey> {
        let of_id = |id| key_of_id(place.scope, id);
        let keys = match self.id {
            _ if self.is_captured => [None, None],
            Some(id) if is_unique(id) || is_of_api(id) => [Some(of_id(id)), None],
            _ => [
                self.key_of_request(place),
                self.uuid.map(|uuid| hash(place.scope, b'u', &[uuid])),
            ],
        };
        keys.into_iter().flatten().filter(move |key| *key != own)
    }

    /// True if a captured line has only a uuid, which each block of a response has of its own.
    #[must_use]
    pub fn is_of_block(&self) -> bool {
        self.is_captured
            && self.request_id.is_none()
            && self.request_ref.is_none()
            && !self.id.is_some_and(|id| is_unique(id) || is_of_api(id))
    }

    fn key_of_unique_id(&self, place: LineContext) -> Option<ResponseKey> {
        let id = self.id.filter(|id| is_unique(id))?;
        Some(match self.request_id {
            Some(request) if !is_of_api(id) => hash(place.scope, b'r', &[id, request]),
            _ => key_of_id(place.scope, id),
        })
    }

    /// The key from the API's identifiers: a short id with its context, or the request.
    fn key_of_request(&self, place: LineContext) -> Option<ResponseKey> {
        match (self.id, self.request_id) {
            (Some(id), _) if is_of_api(id) => Some(key_of_id(place.scope, id)),
            (Some(id), Some(request)) => Some(hash(place.scope, b'r', &[id, request])),
            (None, Some(request)) => Some(hash(place.scope, b'q', &[request])),
            (_, None) => None,
        }
    }
}

fn is_of_api(id: &[u8]) -> bool {
    id.starts_with(API_ID_PREFIX)
}

/// True if an id alone is the key, whatever else the line contains: the API's own ids.
#[must_use]
pub fn is_alone(id: &[u8]) -> bool {
    is_of_api(id) && is_unique(id)
}

/// The key of a response whose id [alone](is_alone) is enough.
#[must_use]
pub fn key_of_id(scope: u64, id: &[u8]) -> ResponseKey {
    hash(scope, b'm', &[id])
}

/// True for an id of a response that other responses do not have.
#[must_use]
pub fn is_message_id(id: &str) -> bool {
    is_of_api(id.as_bytes()) || is_unique(id.as_bytes())
}

/// The key that a transcript's line of this response has, or that its line gives as a further key.
#[must_use]
pub fn key_of_message(scope: u64, id: &str) -> ResponseKey {
    key_of_id(scope, id.as_bytes())
}

/// The key of a call inside a response.
#[must_use]
pub fn key_of_call(scope: u64, response: ResponseKey, index: CallIndex) -> ResponseKey {
    let (kind, among) = (index.kind.to_le_bytes(), index.among.to_le_bytes());
    hash(scope, b'+', &[&response.0.to_le_bytes(), &kind, &among])
}

/// True if an id of this shape is never given twice: it has a long token of random letters and digits. Words,
/// versions, dates and counters have none.
#[must_use]
pub fn is_unique(id: &[u8]) -> bool {
    let mut random = IdPart::default();
    let mut part = IdPart::default();
    for &byte in id.iter().take(JUDGED_BYTES_MAX) {
        let one = ONE[usize::from(byte)];
        if one == 0 {
            random.add_if_random(part);
            part = IdPart::default();
        } else {
            part.counts += one;
            part.characters |= 1 << (byte & 63);
        }
    }
    random.add_if_random(part);
    let least = if random.small() + random.capitals() > 0 {
        RANDOM_BYTES_MIN
    } else {
        RANDOM_DIGITS_MIN
    };
    random.bytes() >= least && random.characters.count_ones() >= RANDOM_CHARACTERS_MIN
}

/// A part of an id between characters other than letters and digits, or several parts together.
#[derive(Clone, Copy, Default)]
struct IdPart {
    /// Its digits, small letters and capitals, ten bits each.
    counts: u32,
    /// The characters that occur, as bits. A digit and one of the last letters may share a bit: there are
    /// never fewer characters than bits.
    characters: u64,
}

/// The increment of [`IdPart::counts`] for each byte: branches would be mispredicted, since the bytes are
/// random.
const ONE: [u32; 256] = {
    let mut ones = [0; 256];
    let mut byte = 0;
    while byte < ones.len() {
        ones[byte] = match byte {
            0x30..=0x39 => 1,
            0x61..=0x7a => 1 << 10,
            0x41..=0x5a => 1 << 20,
            _ => 0,
        };
        byte += 1;
    }
    ones
};

impl IdPart {
    fn digits(self) -> u32 {
        self.counts & 0x3ff
    }

    fn small(self) -> u32 {
        self.counts >> 10 & 0x3ff
    }

    fn capitals(self) -> u32 {
        self.counts >> 20
    }

    fn bytes(self) -> u32 {
        self.digits() + self.small() + self.capitals()
    }

    /// Adds a part with digits, or with small letters and capitals mixed as in no name.
    fn add_if_random(&mut self, part: Self) {
        let is_mixed = part.small() > 0 && part.capitals() >= RANDOM_CAPITALS_MIN;
        if part.bytes() >= RANDOM_PART_BYTES_MIN && (part.digits() > 0 || is_mixed) {
            self.counts += part.counts;
            self.characters |= part.characters;
        }
    }
}

/// Hashes the parts of an identity.
fn hash(scope: u64, tag: u8, parts: &[&[u8]]) -> ResponseKey {
    let mut text = Vec::with_capacity(1 + parts.iter().map(|part| part.len() + 8).sum::<usize>());
    text.push(tag);
    for part in parts {
        text.extend_from_slice(&(part.len() as u64).to_le_bytes());
        text.extend_from_slice(part);
    }
    ResponseKey(xxh3_128_with_seed(&text, scope))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unique_by_their_shape() {
        for unique in [
            "msg_01XFDUDYJgAACzvnptvVoYEL",
            "msg_bdrk_01XFDUDYJgAACzvnptvVoYEL",
            "d0c1f2a3-5b6c-4d7e-8f90-a1b2c3d4e5f6",
            "0b7a1c9e-77aa-4a10-9c2b-000000000001",
            "04ecb5d9b1921ae0fb0e8da9017a5474",
            "chatcmpl-9f86d081884c7d65",
            "chatcmpl-d0c1f2a3-5b6c-4d7e-8f90-a1b2c3d4e5f6",
            "chatcmpl-BzAbQkLmNoPqRsTu",
            "cmpl-68c1f2a35b6c4d7e8f90a1b2",
            "gen-1767225600-AbC123xyz",
            "resp_68c1f2a35b6c4d7e8f90a1b2c3d4e5f6",
            "01JBCDEFGHJKMNPQRSTVWXYZ01",
            "V1StGXR8_Z5jdHi6B-myT",
            "202510051430452f8c1d9be04a4f7d",
            "8313807536837492492",
            "chatcmpl-1767225600123",
        ] {
            assert!(is_unique(unique.as_bytes()), "{unique}");
        }
        for common in [
            "",
            "ocgo",
            "response",
            "chatcmpl-0",
            "chatcmpl-f0",
            "chatcmpl-123",
            "chatcmpl-mock",
            "chatcmpl-0000000000000000",
            "00000000-0000-0000-0000-000000000000",
            "msg_1",
            "message-42",
            "gen-1767225600",
            "claude-opus-4-5-20250929",
            "gateway-response-completed",
            "ResponseMessage",
            "2026-10-05T09:00:00",
        ] {
            assert!(!is_unique(common.as_bytes()), "{common}");
        }
    }

    const UNIQUE: &[u8] = b"chatcmpl-9f86d081884c7d65";

    fn key(identity: Identity<'_>) -> ResponseKey {
        identity.key(LineContext::default())
    }

    #[test]
    fn what_is_believed_first_decides_alone() {
        let bare = Identity {
            session: b"s",
            timestamp: Some(b"t"),
            ..Identity::default()
        };
        let other = Identity {
            session: b"other",
            timestamp: Some(b"later"),
            uuid: Some(b"u2"),
            line: b"{}",
            ..bare
        };
        let with = |identity: Identity<'static>, id: &'static [u8]| Identity {
            id: Some(id),
            ..identity
        };
        let referred = |identity: Identity<'static>, reference: &'static [u8]| Identity {
            request_ref: Some(reference),
            ..identity
        };
        let requested = |identity: Identity<'static>, request: &'static [u8]| Identity {
            request_id: Some(request),
            ..identity
        };
        let captured = |identity: Identity<'static>| Identity {
            is_captured: true,
            ..identity
        };
        // Pairs of lines, and whether they belong to one response.
        let cases = [
            ("a unique id", with(bare, UNIQUE), with(other, UNIQUE), true),
            (
                "a unique id, whatever refers to it",
                with(bare, UNIQUE),
                with(referred(other, b"f"), UNIQUE),
                true,
            ),
            (
                "a unique id of two requests",
                with(requested(bare, b"1"), UNIQUE),
                with(requested(bare, b"2"), UNIQUE),
                false,
            ),
            (
                "an id of the API in two requests",
                with(requested(bare, b"1"), b"msg_01XFDUDYJgAACzvnptvVoYEL"),
                with(requested(other, b"2"), b"msg_01XFDUDYJgAACzvnptvVoYEL"),
                true,
            ),
            (
                "one reference",
                with(referred(bare, b"f"), b"ocgo"),
                referred(other, b"f"),
                true,
            ),
            (
                "two references",
                with(referred(bare, b"f"), b"msg_1"),
                with(referred(bare, b"g"), b"msg_1"),
                false,
            ),
            (
                "a short id of the API",
                with(bare, b"msg_1"),
                with(other, b"msg_1"),
                true,
            ),
            (
                "an id that names nothing, in another session",
                with(bare, b"ocgo"),
                with(
                    Identity {
                        session: b"other",
                        ..bare
                    },
                    b"ocgo",
                ),
                false,
            ),
            (
                "an id that names nothing, at another time",
                with(bare, b"ocgo"),
                with(
                    Identity {
                        timestamp: Some(b"later"),
                        ..bare
                    },
                    b"ocgo",
                ),
                false,
            ),
            (
                "an id that names nothing, in one request",
                with(requested(bare, b"1"), b"ocgo"),
                with(requested(other, b"1"), b"ocgo"),
                true,
            ),
            (
                "no id, one request",
                requested(bare, b"1"),
                requested(other, b"1"),
                true,
            ),
            (
                "no id, one line",
                Identity {
                    uuid: Some(b"u2"),
                    ..bare
                },
                other,
                true,
            ),
            (
                "an id that names nothing, without a time",
                Identity {
                    timestamp: None,
                    uuid: Some(b"u1"),
                    ..with(bare, b"ocgo")
                },
                Identity {
                    timestamp: None,
                    ..with(other, b"ocgo")
                },
                false,
            ),
            (
                "a captured line by its uuid, whenever it was written",
                captured(with(other, b"ocgo")),
                captured(Identity {
                    timestamp: Some(b"audited"),
                    ..with(other, b"ocgo")
                }),
                true,
            ),
            ("nothing", bare, Identity { line: b"{}", ..bare }, false),
        ];
        for (what, one, two, same) in cases {
            assert_eq!(key(one) == key(two), same, "{what}");
        }
    }

    /// Whatever a captured line leaves out, its key is the transcript's, or a further key of the transcript's
    /// line.
    #[test]
    fn a_transcripts_line_gives_the_key_of_its_captured_copy() {
        let ids: [Option<&[u8]>; 5] = [None, Some(b"ocgo"), Some(b"msg_1"), Some(UNIQUE), Some(API)];
        let texts: [Option<&[u8]>; 2] = [None, Some(b"given")];
        for id in ids {
            for (request_id, request_ref) in texts.iter().flat_map(|one| texts.map(|two| (*one, two))) {
                let line = Identity {
                    id,
                    request_id,
                    request_ref,
                    session: b"s",
                    timestamp: Some(b"t"),
                    uuid: Some(b"u"),
                    line: b"{}",
                    is_captured: false,
                };
                let own = key(line);
                let others: Vec<_> = line.keys_of_captured(LineContext::default(), own).collect();
                for request_id in [None, request_id] {
                    let captured = Identity {
                        request_id,
                        request_ref: None,
                        is_captured: true,
                        ..line
                    };
                    let copy = key(captured);
                    assert!(copy == own || others.contains(&copy), "{line:?} {captured:?}");
                    assert_eq!(captured.keys_of_captured(LineContext::default(), copy).count(), 0);
                }
                assert!(!others.contains(&own), "{line:?}");
            }
        }
    }

    const API: &[u8] = b"msg_01XFDUDYJgAACzvnptvVoYEL";
}
