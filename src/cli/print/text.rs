//! Names and messages from outside, made safe for a terminal.
//!
//! Model names come from transcripts of untrusted code; a control sequence in one must not reach the
//! terminal.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::model::letters::is_unsafe;

/// Indentation of further lines of a paragraph.
const INDENT: &str = "    ";

/// A name on one line, of any length.
#[must_use]
pub fn name(text: &str) -> String {
    text.replace(is_unsafe, "\u{fffd}")
}

/// A message of any length; line breaks and tabs are kept.
#[must_use]
pub fn message(text: &str) -> Cow<'_, str> {
    let is_bad = |c: char| is_unsafe(c) && c != '\n' && c != '\t';
    if text.contains(is_bad) {
        Cow::Owned(text.replace(is_bad, "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

/// A message on one line.
#[must_use]
pub fn one_line(text: &str) -> String {
    message(text).replace(['\n', '\t'], " ")
}

/// The parts of an answer's sentence, which has a part for each account.
#[must_use]
pub fn sentences(text: &str) -> Vec<String> {
    one_line(text).split("; ").map(str::to_owned).collect()
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

/// At most `columns` wide, shortened with `…` in the middle: names differ at their ends.
#[must_use]
pub fn without_middle(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let room = columns.saturating_sub(1);
    let (head, tail) = (room.div_ceil(2), room / 2);
    let fitting = |characters: &mut dyn Iterator<Item = char>, room: usize| -> Vec<char> {
        let mut used = 0;
        characters
            .take_while(|c| {
                used += c.width().unwrap_or(0);
                used <= room
            })
            .collect()
    };
    let start = fitting(&mut text.chars(), head);
    let end = fitting(&mut text.chars().rev(), tail);
    start
        .into_iter()
        .chain(['…'])
        .chain(end.into_iter().rev())
        .collect()
}

/// Breaks a line between words so that it fits `columns`, if given; styles take no room.
#[must_use]
pub fn wrapped(line: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else {
        return line.to_owned();
    };
    let (mut out, mut used) = (String::with_capacity(line.len()), 0);
    // Spaces at the start belong to the first word.
    let words_from = line.len() - line.trim_start_matches(' ').len();
    let (indent, words) = line.split_at(words_from);
    out.push_str(indent);
    used += indent.len();
    for (index, word) in words.split(' ').enumerate() {
        let width = anstream::adapter::strip_str(word).to_string().width();
        if index > 0 && used + 1 + width > columns {
            out.push('\n');
            out.push_str(INDENT);
            used = INDENT.len();
        } else if index > 0 {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += width;
    }
    out
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
    fn a_long_name_loses_its_middle() {
        for (name, columns, expected) in [
            ("nightly-build-of-the-tree-042", 12, "nightl…e-042"),
            ("nightly-042", 11, "nightly-042"),
            ("nightly-042", 10, "night…-042"),
            ("日本語日本語", 8, "日本…語"),
            ("日本語", 6, "日本語"),
            ("ab", 1, "…"),
        ] {
            let short = without_middle(name, columns);
            assert_eq!(short, expected);
            assert!(short.width() <= columns);
        }
    }

    #[test]
    fn a_paragraph_breaks_between_words() {
        let bold = anstyle::Style::new().bold();
        let line = format!("  - {bold}one two{bold:#} three four");
        assert_eq!(wrapped(&line, None), line);
        let broken = anstream::adapter::strip_str(&wrapped(&line, Some(12))).to_string();
        assert_eq!(broken, "  - one two\n    three\n    four");
        assert_eq!(wrapped("averylongword b", Some(4)), "averylongword\n    b");
        assert_eq!(wrapped("", Some(4)), "");
    }
}
