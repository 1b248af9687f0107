//! The encoding of the parser's state between two readings of a file.
//!
//! Pure. One version byte, the session in eight bytes, little-endian, then the names of the model and the
//! provider, each after a byte with its length. What is not there is zero.

use std::num::NonZeroU64;
use std::sync::Arc;

use super::Pi;
use crate::parse::claude::model_name::MODEL_BYTES_MAX;

/// The current version.
const VERSION: u8 = 1;

/// Encodes the state; empty if there is nothing to keep.
#[must_use]
pub fn encode(state: &Pi) -> Vec<u8> {
    let mut bytes = Vec::new();
    if *state == Pi::default() {
        return bytes;
    }
    bytes.push(VERSION);
    bytes.extend_from_slice(&state.session.map_or(0, NonZeroU64::get).to_le_bytes());
    for name in [&state.model, &state.provider] {
        // No name is longer than a byte can say.
        let name = name.as_deref().unwrap_or_default();
        bytes.push(u8::try_from(name.len()).unwrap_or_default());
        bytes.extend_from_slice(name.as_bytes());
    }
    bytes
}

/// Decodes the result of [`encode`]; `None` for bytes that no version wrote.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Pi> {
    let Some((&version, rest)) = bytes.split_first() else {
        return Some(Pi::default());
    };
    let (session, rest) = rest.split_first_chunk()?;
    let (model, rest) = name(rest)?;
    let (provider, rest) = name(rest)?;
    let state = Pi {
        session: NonZeroU64::new(u64::from_le_bytes(*session)),
        model,
        provider,
    };
    let is_whole = version == VERSION && rest.is_empty() && state != Pi::default();
    is_whole.then_some(state)
}

/// A name, and the bytes after it.
fn name(bytes: &[u8]) -> Option<(Option<Arc<str>>, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(length.into())?;
    let name = std::str::from_utf8(name).ok()?;
    (name.len() <= MODEL_BYTES_MAX).then(|| (Some(name.into()).filter(|_| !name.is_empty()), rest))
}
