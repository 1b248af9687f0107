//! The model name under which a response is counted.

use std::sync::Arc;

use crate::model::letters::safe;

/// Longest model name kept, in bytes; the rest is cut off.
pub const MODEL_BYTES_MAX: usize = 128;
/// The model of a response without a model name.
pub const MODEL_UNKNOWN: &str = "unknown";
/// Suffix for responses with fast speed.
const MODEL_FAST: &str = "-fast";
/// The model of lines that the CLI writes by itself.
pub const MODEL_SYNTHETIC: &[u8] = b"<synthetic>";

/// The last model name: the records of a turn share it.
#[derive(Clone, Debug, Default)]
pub struct ModelMemory {
    text: Option<Vec<u8>>,
    is_fast: bool,
    name: Option<Arc<str>>,
}

impl ModelMemory {
    /// The counted name of a response's model.
    pub fn name(&mut self, text: Option<&[u8]>, is_fast: bool) -> Arc<str> {
        if let Some(name) = &self.name
            && self.text.as_deref() == text
            && self.is_fast == is_fast
        {
            return Arc::clone(name);
        }
        let mut name = model_name(text);
        if is_fast {
            name.truncate(name.floor_char_boundary(MODEL_BYTES_MAX - MODEL_FAST.len()));
            name.push_str(MODEL_FAST);
        }
        let name: Arc<str> = name.into();
        // Longer names are cut, and not cached.
        if text.is_none_or(|text| text.len() <= MODEL_BYTES_MAX) {
            (self.text, self.is_fast) = (text.map(<[u8]>::to_vec), is_fast);
            self.name = Some(Arc::clone(&name));
        }
        name
    }
}

/// A name that can be stored and shown: valid text without unsafe characters, at most [`MODEL_BYTES_MAX`]
/// long.
#[must_use]
pub fn model_name(text: Option<&[u8]>) -> String {
    let is_plain =
        |name: &&[u8]| (1..=MODEL_BYTES_MAX).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
    if let Some(plain) = text
        .filter(is_plain)
        .and_then(|name| std::str::from_utf8(name).ok())
    {
        return plain.to_owned();
    }
    let lossy = String::from_utf8_lossy(text.unwrap_or_default());
    let mut name = String::new();
    for c in lossy.trim().chars().map(safe) {
        // One replacement character for a run of bad bytes: a lone surrogate has three of them.
        if c != '\u{FFFD}' || !name.ends_with(c) {
            name.push(c);
        }
    }
    if name.is_empty() {
        return MODEL_UNKNOWN.to_owned();
    }
    name.truncate(name.floor_char_boundary(MODEL_BYTES_MAX));
    name
}
