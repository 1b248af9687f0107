//! The encoding of the parser's state between two readings of a file.
//!
//! Pure. One version byte, then fields: a tag, the length of the value in a byte, the value. A new field gets a
//! new tag.

use std::num::NonZeroU64;

use super::Codex;
use super::count::Parts;
use super::limits::UsedUp;
use crate::model::Millis;
use crate::parse::claude::limits::WINDOW_NAME_BYTES_MAX;
use crate::parse::claude::model_name::MODEL_BYTES_MAX;

/// The current version.
const VERSION: u8 = 1;
/// Field: yes or no in each bit.
const TAG_FLAGS: u8 = 1;
/// Fields of the thread: hashes of its id, its session and its parent, and the time it began.
const TAG_THREAD: u8 = 2;
const TAG_SESSION: u8 = 3;
const TAG_PARENT: u8 = 4;
const TAG_BEGAN: u8 = 5;
/// Fields of the turn: a hash of its id, the time of a copied one.
const TAG_TURN: u8 = 6;
const TAG_COPIED_FROM: u8 = 7;
/// Field: the name of the model.
const TAG_MODEL: u8 = 8;
/// Field: the five numbers of the last total.
const TAG_TOTAL: u8 = 9;
/// Fields: the name of a window that is used up, and its end.
const TAG_USED_UP: u8 = 10;
const TAG_USED_UP_RESET: u8 = 11;

/// Bits of the flags. There is a thread.
const FLAG_THREAD: u8 = 1;
const FLAG_CONTINUED: u8 = 2;
const FLAG_BEGUN: u8 = 4;
const FLAG_OF_TURN: u8 = 8;
const FLAG_COVERED: u8 = 16;
const FLAGS: u8 = FLAG_THREAD | FLAG_CONTINUED | FLAG_BEGUN | FLAG_OF_TURN | FLAG_COVERED;

/// Encodes the state; empty if there is nothing to keep.
#[must_use]
pub fn encode(state: &Codex) -> Vec<u8> {
    let mut bytes = Vec::new();
    if *state == Codex::default() {
        return bytes;
    }
    bytes.push(VERSION);
    let thread = state.thread.unwrap_or_default();
    let flags = [
        (state.thread.is_some(), FLAG_THREAD),
        (thread.is_continued, FLAG_CONTINUED),
        (state.turn.is_begun, FLAG_BEGUN),
        (state.total.is_of_turn, FLAG_OF_TURN),
        (state.total.is_covered, FLAG_COVERED),
    ];
    let flags = flags
        .iter()
        .fold(0, |all, (is_set, flag)| all | if *is_set { *flag } else { 0 });
    put(&mut bytes, TAG_FLAGS, Some([flags]));
    put(&mut bytes, TAG_THREAD, thread.id.map(u128::to_le_bytes));
    put(
        &mut bytes,
        TAG_SESSION,
        thread.session.map(|id| id.get().to_le_bytes()),
    );
    put(
        &mut bytes,
        TAG_PARENT,
        thread.parent.map(|id| id.get().to_le_bytes()),
    );
    put(&mut bytes, TAG_BEGAN, thread.began.map(Millis::to_le_bytes));
    put(&mut bytes, TAG_TURN, state.turn.id.map(u128::to_le_bytes));
    put(
        &mut bytes,
        TAG_COPIED_FROM,
        state.turn.copied_from.map(Millis::to_le_bytes),
    );
    put(
        &mut bytes,
        TAG_MODEL,
        state.model.as_ref().map(|name| name.as_bytes()),
    );
    put(
        &mut bytes,
        TAG_TOTAL,
        state.total.last.map(|parts| parts.map(u64::to_le_bytes).concat()),
    );
    if let Some(used_up) = &state.used_up {
        put(&mut bytes, TAG_USED_UP, Some(used_up.window.as_bytes()));
        put(
            &mut bytes,
            TAG_USED_UP_RESET,
            used_up.reset_at.map(Millis::to_le_bytes),
        );
    }
    bytes
}

/// Decodes the result of [`encode`]; `None` for bytes that no version wrote.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Codex> {
    let mut state = Codex::default();
    let Some((&version, mut rest)) = bytes.split_first() else {
        return Some(state);
    };
    if version != VERSION {
        return None;
    }
    while let Some(&[tag, length]) = rest.first_chunk() {
        let end = 2 + usize::from(length);
        state.take_field(tag, rest.get(2..end)?)?;
        rest = &rest[end..];
    }
    // A valid state is encoded again to the same bytes.
    (rest.is_empty() && encode(&state) == bytes).then_some(state)
}

impl Codex {
    fn take_field(&mut self, tag: u8, value: &[u8]) -> Option<()> {
        // Fields of a thread come after the flag that there is one.
        match tag {
            TAG_FLAGS => {
                let &[flags] = value else { return None };
                let is_set = |flag| flags & flag != 0;
                (flags & !FLAGS == 0).then_some(())?;
                self.thread = is_set(FLAG_THREAD).then(Default::default);
                if let Some(thread) = &mut self.thread {
                    thread.is_continued = is_set(FLAG_CONTINUED);
                }
                self.turn.is_begun = is_set(FLAG_BEGUN);
                self.total.is_of_turn = is_set(FLAG_OF_TURN);
                self.total.is_covered = is_set(FLAG_COVERED);
            }
            TAG_THREAD => self.thread.as_mut()?.id = Some(hash(value)?),
            TAG_SESSION => self.thread.as_mut()?.session = Some(short_hash(value)?),
            TAG_PARENT => self.thread.as_mut()?.parent = Some(short_hash(value)?),
            TAG_BEGAN => self.thread.as_mut()?.began = Some(time(value)?),
            TAG_TURN => self.turn.id = Some(hash(value)?),
            TAG_COPIED_FROM => self.turn.copied_from = Some(time(value)?),
            TAG_MODEL => self.model = Some(text(value, MODEL_BYTES_MAX)?.into()),
            TAG_TOTAL => self.total.last = Some(parts(value)?),
            TAG_USED_UP => {
                self.used_up = Some(UsedUp {
                    window: text(value, WINDOW_NAME_BYTES_MAX)?.into(),
                    reset_at: None,
                });
            }
            TAG_USED_UP_RESET => self.used_up.as_mut()?.reset_at = Some(time(value)?),
            _ => return None,
        }
        Some(())
    }
}

/// Appends a field. No value is longer than a name, which fits.
fn put(bytes: &mut Vec<u8>, tag: u8, value: Option<impl AsRef<[u8]>>) {
    if let Some(value) = value
        && let Ok(length) = u8::try_from(value.as_ref().len())
    {
        bytes.extend([tag, length]);
        bytes.extend_from_slice(value.as_ref());
    }
}

fn hash(value: &[u8]) -> Option<u128> {
    Some(u128::from_le_bytes(value.try_into().ok()?))
}

fn short_hash(value: &[u8]) -> Option<NonZeroU64> {
    NonZeroU64::new(u64::from_le_bytes(value.try_into().ok()?))
}

fn time(value: &[u8]) -> Option<Millis> {
    Some(Millis::from_le_bytes(value.try_into().ok()?))
}

fn text(value: &[u8], bytes_max: usize) -> Option<&str> {
    let text = std::str::from_utf8(value).ok()?;
    (text.len() <= bytes_max).then_some(text)
}

fn parts(value: &[u8]) -> Option<Parts> {
    let mut parts = Parts::default();
    let (numbers, rest) = value.as_chunks();
    (numbers.len() == parts.len() && rest.is_empty()).then_some(())?;
    for (part, number) in parts.iter_mut().zip(numbers) {
        *part = u64::from_le_bytes(*number);
    }
    Some(parts)
}
