//! Names and messages from elsewhere, made safe for a terminal.
//!
//! Model names come from transcripts that code nobody trusts has written; a
//! control sequence in one must not reach the terminal.

use std::borrow::Cow;

/// Longest name in a table, in characters.
pub const NAME_CHARS_MAX: usize = 64;

/// A name on one line, at most [`NAME_CHARS_MAX`] characters long.
#[must_use]
pub fn name(text: &str) -> String {
    shortened(&text.replace(is_unsafe, "\u{fffd}"), NAME_CHARS_MAX)
}

/// A message of any length; its line breaks and tabs stay.
#[must_use]
pub fn message(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| is_unsafe(c) && c != '\n' && c != '\t';
    if text.contains(is_bad) {
        Cow::Owned(text.replace(is_bad, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// At most `chars_max` characters, the last of them `…` if some were cut off.
#[must_use]
pub fn shortened(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// Control characters, line separators, and the marks that turn the direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_sequences_do_not_pass() {
        assert_eq!(name("a\u{1b}[31mb\nc\u{202e}"), "a\u{fffd}[31mb\u{fffd}c\u{fffd}");
        assert_eq!(message("a\nb\tc"), "a\nb\tc");
        assert_eq!(message("a\u{7}\nb"), "a\u{fffd}\nb");
    }

    #[test]
    fn long_names_are_cut() {
        let cut = name(&"é".repeat(NAME_CHARS_MAX + 1));
        assert_eq!(cut.chars().count(), NAME_CHARS_MAX);
        assert!(cut.ends_with('…'));
        assert_eq!(name("claude"), "claude");
    }
}
