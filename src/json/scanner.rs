//! One-pass JSON scanner: wanted values are taken as raw text, the rest is skipped, everything is validated.
//!
//! It accepts exactly what `serde_json` accepts for `IgnoredAny`: JSON's grammar, without checking whether a
//! number or a surrogate fits a type. It exists because a replay spends most of its time here: see
//! docs/performance.md.

use std::borrow::Cow;
use std::ops::Range;

use super::Members;
use crate::json;

/// The text is not JSON, or a wanted value is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotJson;

/// One in each byte of a word.
const EACH: u64 = 0x0101_0101_0101_0101;
/// The highest bit of each byte.
const HIGH: u64 = EACH << 7;
/// Bytes compared at once.
const WORD_BYTES: usize = 8;

/// The open containers around a value, outermost first: 1 for an object. The first 64 levels need no memory.
#[derive(Default)]
struct Nesting {
    /// The innermost is the lowest bit.
    levels: u64,
    depth: u32,
    /// Full words of levels.
    outer: Vec<u64>,
}

impl Nesting {
    fn push(&mut self, is_object: bool) {
        if self.depth == u64::BITS {
            self.outer.push(self.levels);
            self.depth = 0;
        }
        self.levels = self.levels << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn pop(&mut self) -> Option<bool> {
        if self.depth == 0 {
            self.levels = self.outer.pop()?;
            self.depth = u64::BITS;
        }
        let is_object = self.levels & 1 == 1;
        self.levels >>= 1;
        self.depth -= 1;
        Some(is_object)
    }
}

/// A position in a text.
#[derive(Clone, Debug)]
pub struct Scanner<'de> {
    text: &'de [u8],
    /// Everything before it is consumed.
    at: usize,
}

impl<'de> Scanner<'de> {
    pub fn new(text: &'de [u8]) -> Self {
        Self { text, at: 0 }
    }

    /// Reads an object member by member; any other value is skipped and returns `false`.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn object<M: Members<'de>>(&mut self, members: &mut M) -> Result<bool, NotJson> {
        self.object_at(members).map(|place| place.is_some())
    }

    /// [`Scanner::object`], with the object's range in the text.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn object_at<M: Members<'de>>(&mut self, members: &mut M) -> Result<Option<Range<usize>>, NotJson> {
        if self.next_byte() != Some(b'{') {
            return self.skip().map(|()| None);
        }
        let start = self.at;
        self.at += 1;
        if self.next_byte() == Some(b'}') {
            self.at += 1;
            return Ok(Some(start..self.at));
        }
        loop {
            let name = self.name()?;
            let before = self.at;
            members.member(&name, self)?;
            debug_assert!(self.at > before, "a member takes its value");
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Some(start..self.at));
                }
                _ => return Err(NotJson),
            }
        }
    }

    /// Skips an object if the text continues with exactly these bytes, which are a whole object.
    pub fn skip_object(&mut self, object: &[u8]) -> bool {
        let is_it = self.next_byte() == object.first().copied() && self.text[self.at..].starts_with(object);
        if is_it {
            self.at += object.len();
        }
        is_it
    }

    /// Passes the elements of a list, raw, to `is_enough` until it returns true; any other value is skipped.
    ///
    /// # Errors
    /// The text is not JSON.
    pub fn each(&mut self, mut is_enough: impl FnMut(&'de [u8]) -> bool) -> Result<(), NotJson> {
        if self.next_byte() != Some(b'[') {
            return self.skip();
        }
        self.at += 1;
        if self.next_byte() == Some(b']') {
            self.at += 1;
            return Ok(());
        }
        loop {
            if is_enough(self.raw_bytes()?) {
                return Ok(());
            }
            match self.next_byte() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(NotJson),
            }
        }
    }

    /// Reads a value as raw text.
    ///
    /// # Errors
    /// It is not JSON, or not UTF-8.
    pub fn raw(&mut self) -> Result<&'de str, NotJson> {
        std::str::from_utf8(self.raw_bytes()?).map_err(|_| NotJson)
    }

    /// Reads a value as raw bytes.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn raw_bytes(&mut self) -> Result<&'de [u8], NotJson> {
        self.next_byte();
        let start = self.at;
        self.skip()?;
        Ok(&self.text[start..self.at])
    }

    /// Skips a value.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn skip(&mut self) -> Result<(), NotJson> {
        match self.next_byte().ok_or(NotJson)? {
            b'"' => self.string().map(drop),
            b'{' | b'[' => self.skip_nested(),
            _ => self.skip_word(),
        }
    }

    /// True if only white space is left.
    pub fn is_at_end(&mut self) -> bool {
        self.next_byte().is_none()
    }

    /// Skips white space; returns the next byte.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let byte = *self.text.get(self.at)?;
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    /// A member's name and the colon after it.
    fn name(&mut self) -> Result<Cow<'de, [u8]>, NotJson> {
        if self.next_byte() != Some(b'"') {
            return Err(NotJson);
        }
        let start = self.at;
        let has_escapes = self.string()?;
        let end = self.at;
        if self.next_byte() != Some(b':') {
            return Err(NotJson);
        }
        self.at += 1;
        if !has_escapes {
            return Ok(Cow::Borrowed(&self.text[start + 1..end - 1]));
        }
        json::string(&self.text[start..end]).ok_or(NotJson)
    }

    /// Skips a string including its quotes; returns true if it has escapes.
    fn string(&mut self) -> Result<bool, NotJson> {
        self.at += 1;
        let mut has_escapes = false;
        loop {
            let byte = self.next_special().ok_or(NotJson)?;
            match byte {
                b'"' => {
                    self.at += 1;
                    return Ok(has_escapes);
                }
                b'\\' => {
                    has_escapes = true;
                    self.skip_escape()?;
                }
                _ => return Err(NotJson),
            }
        }
    }

    /// Advances to the next byte that ends a piece of a string: a quote, a backslash or a control character.
    fn next_special(&mut self) -> Option<u8> {
        while let Some(bytes) = self.text.get(self.at..self.at + WORD_BYTES) {
            let word = u64::from_le_bytes(bytes.try_into().ok()?);
            // A byte less than the other borrows from its highest bit. Bits above it may be wrong, but the
            // lowest one found is right.
            let quote = word ^ (EACH * u64::from(b'"'));
            let backslash = word ^ (EACH * u64::from(b'\\'));
            let found = ((quote.wrapping_sub(EACH) & !quote)
                | (backslash.wrapping_sub(EACH) & !backslash)
                | (word.wrapping_sub(EACH * 0x20) & !word))
                & HIGH;
            if found != 0 {
                self.at += (found.trailing_zeros() / 8) as usize;
                return self.text.get(self.at).copied();
            }
            self.at += WORD_BYTES;
        }
        loop {
            let byte = *self.text.get(self.at)?;
            if matches!(byte, b'"' | b'\\' | ..0x20) {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    fn skip_escape(&mut self) -> Result<(), NotJson> {
        match self.text.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') => {
                let digits = self.text.get(self.at + 2..self.at + 6).ok_or(NotJson)?;
                if !digits.iter().all(u8::is_ascii_hexdigit) {
                    return Err(NotJson);
                }
                self.at += 6;
            }
            _ => return Err(NotJson),
        }
        Ok(())
    }

    /// Skips an object or a list of any depth: open containers are kept in a list, not on the stack.
    fn skip_nested(&mut self) -> Result<(), NotJson> {
        let mut outer = Nesting::default();
        let mut is_object = self.text[self.at] == b'{';
        self.at += 1;
        let mut is_first = true;
        loop {
            let byte = self.next_byte().ok_or(NotJson)?;
            if byte == if is_object { b'}' } else { b']' } {
                self.at += 1;
                let Some(before) = outer.pop() else {
                    return Ok(());
                };
                (is_object, is_first) = (before, false);
                continue;
            }
            if !is_first {
                if byte != b',' {
                    return Err(NotJson);
                }
                self.at += 1;
            }
            is_first = false;
            if is_object {
                if self.next_byte() != Some(b'"') {
                    return Err(NotJson);
                }
                self.string()?;
                if self.next_byte() != Some(b':') {
                    return Err(NotJson);
                }
                self.at += 1;
            }
            match self.next_byte().ok_or(NotJson)? {
                b'"' => drop(self.string()?),
                opening @ (b'{' | b'[') => {
                    outer.push(is_object);
                    (is_object, is_first) = (opening == b'{', true);
                    self.at += 1;
                }
                _ => self.skip_word()?,
            }
        }
    }

    /// Skips a number or a word.
    fn skip_word(&mut self) -> Result<(), NotJson> {
        let rest = &self.text[self.at..];
        for word in [b"true".as_slice(), b"false", b"null"] {
            if rest.starts_with(word) {
                self.at += word.len();
                return Ok(());
            }
        }
        self.skip_number()
    }

    fn skip_number(&mut self) -> Result<(), NotJson> {
        self.at += usize::from(self.text.get(self.at) == Some(&b'-'));
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.skip_digits()?;
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.skip_digits()?;
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            self.at += usize::from(matches!(self.text.get(self.at), Some(b'+' | b'-')));
            self.skip_digits()?;
        }
        Ok(())
    }

    /// Skips one or more digits.
    fn skip_digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { Err(NotJson) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::de::IgnoredAny;
    use serde_json::value::RawValue;

    use super::*;

    /// A line with every kind of value, and its surroundings.
    const LINE: &str = r#"{"a":[],"b":{ }, "text":"said \"so\" \\ \u001b[0m — naïve 🦀 \ud83d end of it","n":[-0.5e+10,0,12,1E9],"deep":[[[{"x":[true,false,null]}]]] }"#;

    fn is_json(text: &[u8]) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip().is_ok() && scanner.is_at_end()
    }

    #[track_caller]
    fn agrees(text: &[u8]) {
        let other = serde_json::from_slice::<IgnoredAny>(text);
        assert_eq!(
            is_json(text),
            other.is_ok(),
            "{:?}: {other:?}",
            String::from_utf8_lossy(text)
        );
    }

    #[test]
    fn a_line_cut_anywhere_or_with_any_byte_changed_is_judged_as_by_another_reader() {
        agrees(LINE.as_bytes());
        assert!(is_json(LINE.as_bytes()));
        for at in 0..LINE.len() {
            agrees(&LINE.as_bytes()[..at]);
            agrees(&LINE.as_bytes()[at..]);
            let mut other = LINE.as_bytes().to_vec();
            for byte in 0..=u8::MAX {
                other[at] = byte;
                agrees(&other);
            }
        }
    }

    #[test]
    fn no_depth_is_too_much() {
        for depth in [1, 127, 128, 129, 100_000] {
            assert!(is_json(
                format!("{}7{}", "[".repeat(depth), "]".repeat(depth)).as_bytes()
            ));
            assert!(!is_json("[".repeat(depth).as_bytes()));
            assert!(is_json(
                format!("{}7{}", r#"{"a":"#.repeat(depth), "}".repeat(depth)).as_bytes()
            ));
        }
    }

    #[test]
    fn what_closes_is_what_was_opened_at_every_depth() {
        for depth in [1, 31, 32, 33, 63, 64, 65, 128, 200] {
            let open = r#"[{"a":"#.repeat(depth);
            assert!(is_json(format!("{open}7{}", "}]".repeat(depth)).as_bytes()));
            let closed = "}]".repeat(depth - 1);
            for wrong in ["]}", "}}", "]]"] {
                for (inside, outside) in [(wrong, ""), ("", wrong)] {
                    agrees(format!("{open}7{inside}{closed}{outside}").as_bytes());
                    assert!(!is_json(format!("{open}7{inside}{closed}{outside}").as_bytes()));
                }
            }
        }
    }

    #[test]
    fn an_object_is_passed_over_only_if_it_is_the_same() {
        for (text, is_it) in [
            (r#" {"a":1},7"#, true),
            (r#"{"a":1 }"#, false),
            (r#"{"a":12}"#, false),
            ("{}", false),
            ("", false),
        ] {
            let mut scanner = Scanner::new(text.as_bytes());
            assert_eq!(scanner.skip_object(br#"{"a":1}"#), is_it, "{text}");
            assert_eq!(
                scanner.at > 0 && !text.starts_with('{'),
                is_it && text.starts_with(' '),
                "{text}"
            );
        }
    }

    fn any_piece() -> impl Strategy<Value = Vec<u8>> {
        let words: Vec<&'static [u8]> = vec![
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b" ",
            b"\t",
            b"\n",
            b"\"",
            b"\\",
            b"\\\"",
            b"\\u00e9",
            b"\\ud83d",
            b"\"a\"",
            b"\"a\":",
            b"0",
            b"1",
            b"-",
            b".",
            b"e",
            b"E+",
            b"true",
            b"false",
            b"null",
            b"\xFF",
            b"\0",
            b"12345678",
        ];
        prop_oneof![
            9 => proptest::sample::select(words).prop_map(<[u8]>::to_vec),
            1 => proptest::collection::vec(any::<u8>(), 0..12),
        ]
    }

    /// Mostly valid values.
    fn any_value() -> impl Strategy<Value = String> {
        let leaf = proptest::sample::select(vec![
            "0",
            "-1.5e3",
            "true",
            "null",
            "\"\"",
            "\"ab\\n\"",
            "\"naïve 🦀 and so on\"",
            "01",
            "1.",
            "\"\\x\"",
            "\"\x01\"",
        ]);
        leaf.prop_map(str::to_owned).prop_recursive(6, 40, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                proptest::collection::vec(inner, 0..4).prop_map(|items| {
                    let members: Vec<_> = items.iter().map(|item| format!("\"k\": {item}")).collect();
                    format!("{{{}}}", members.join(" , "))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged_as_by_another_reader(pieces in proptest::collection::vec(any_piece(), 0..24)) {
            agrees(&pieces.concat());
        }

        #[test]
        fn any_value_is_judged_as_by_another_reader(value in any_value()) {
            agrees(value.as_bytes());
        }

        #[test]
        fn lists_have_the_elements_that_another_reader_finds(items in proptest::collection::vec(any_value(), 0..5)) {
            let text = format!("[{}]", items.join(", "));
            let mut found = Vec::new();
            let whole = Scanner::new(text.as_bytes()).each(|item| {
                found.push(item);
                false
            });
            let other: Result<Vec<&RawValue>, _> = serde_json::from_str(&text);
            prop_assert_eq!(whole.is_ok(), other.is_ok());
            if let Ok(other) = other {
                prop_assert_eq!(found, other.into_iter().map(|raw| raw.get().as_bytes()).collect::<Vec<_>>());
            }
        }
    }
}
