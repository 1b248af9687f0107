//! Characters of names from outside that must not reach a terminal.

/// True for control characters, line separators, and marks that change the direction of writing or are not seen: with
/// them a name looks like another one, or moves the cursor.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
        )
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The same character, or a replacement for one that is unsafe.
#[must_use]
pub fn safe(c: char) -> char {
    if is_unsafe(c) {
        char::REPLACEMENT_CHARACTER
    } else {
        c
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_direction_are_unsafe_and_letters_of_any_script_are_not() {
        for c in "\u{1b}\n\u{7f}\u{85}\u{61c}\u{200b}\u{200e}\u{200f}\u{2028}\u{202a}\u{202e}\u{2066}\u{2069}\u{feff}".chars() {
            assert!(is_unsafe(c), "{c:?}");
            assert_eq!(safe(c), '\u{fffd}');
        }
        for c in "aZ9 é日本語עבריתالعربية…🦀".chars() {
            assert!(!is_unsafe(c), "{c:?}");
            assert_eq!(safe(c), c);
        }
    }
}
