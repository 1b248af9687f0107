//! Rust text as tokens with their lines: comments and the insides of strings are gone, test-only items are marked.
//!
//! This is no parser. It knows as much of the language as the rules need, and it never panics on odd text.

/// A word, a `::`, one character of punctuation, or `"` for a whole string literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    /// Counted from 1.
    pub line: usize,
    /// Part of an item behind `#[cfg(test)]`.
    pub test: bool,
}

impl Token<'_> {
    pub fn is_word(&self) -> bool {
        self.text.starts_with(|c: char| c == '_' || c.is_alphabetic())
    }
}

/// A function's name and extent, in lines.
#[derive(Debug, PartialEq, Eq)]
pub struct Function<'a> {
    pub name: &'a str,
    pub line: usize,
    pub lines: usize,
}

/// Takes a source apart and marks what only tests see.
pub fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        text,
        at: 0,
        line: 1,
        tokens: Vec::new(),
    };
    while lexer.step() {}
    let mut tokens = lexer.tokens;
    mark_tests(&mut tokens);
    tokens
}

struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    tokens: Vec<Token<'a>>,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Moves on and counts the lines passed.
    fn pass(&mut self, bytes: usize) {
        let end = (self.at + bytes).min(self.text.len());
        self.line += self.text[self.at..end].bytes().filter(|&b| b == b'\n').count();
        self.at = end;
    }

    /// Moves on to directly after the next `end`, or to the end of the text.
    fn pass_to(&mut self, end: &str) {
        let bytes = self
            .rest()
            .find(end)
            .map_or(self.rest().len(), |found| found + end.len());
        self.pass(bytes);
    }

    fn emit(&mut self, text: &'a str) {
        self.tokens.push(Token {
            text,
            line: self.line,
            test: false,
        });
    }

    fn step(&mut self) -> bool {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else {
            return false;
        };
        if first.is_whitespace() {
            self.pass(first.len_utf8());
        } else if rest.starts_with("//") {
            self.pass(rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            self.pass_comment();
        } else if let Some(prefix) = string_prefix(rest) {
            self.emit("\"");
            self.pass_string(prefix);
        } else if first == '\'' || rest.starts_with("b'") {
            self.pass_quote(first != '\'');
        } else if first == '_' || first.is_alphanumeric() {
            let raw = if rest.starts_with("r#") { 2 } else { 0 };
            let end = rest[raw..].find(|c: char| c != '_' && !c.is_alphanumeric());
            let bytes = end.map_or(rest.len(), |end| end + raw).max(1);
            self.emit(&rest[raw..bytes]);
            self.pass(bytes);
        } else {
            let bytes = if rest.starts_with("::") {
                2
            } else {
                first.len_utf8()
            };
            self.emit(&rest[..bytes]);
            self.pass(bytes);
        }
        true
    }

    /// Block comments nest.
    fn pass_comment(&mut self) {
        self.pass(2);
        let mut depth = 1;
        while depth > 0 && !self.rest().is_empty() {
            if self.rest().starts_with("/*") {
                depth += 1;
                self.pass(2);
            } else if self.rest().starts_with("*/") {
                depth -= 1;
                self.pass(2);
            } else {
                self.pass(self.rest().chars().next().map_or(1, char::len_utf8));
            }
        }
    }

    /// `prefix` is what stands before the quote: `r`, `b`, `c`, hashes.
    fn pass_string(&mut self, prefix: &str) {
        self.pass(prefix.len() + 1);
        if prefix.contains('r') {
            let hashes = prefix.matches('#').count();
            self.pass_to(&format!("\"{}", "#".repeat(hashes)));
        } else {
            self.pass_escaped('"');
        }
    }

    /// A character literal is left out; of a lifetime only the quote is.
    fn pass_quote(&mut self, byte: bool) {
        self.pass(1 + usize::from(byte));
        let mut ahead = self.rest().chars();
        let (first, second) = (ahead.next(), ahead.next());
        if byte || first == Some('\\') || second == Some('\'') {
            self.pass_escaped('\'');
        } else {
            let name = self.rest().find(|c: char| c != '_' && !c.is_alphanumeric());
            self.pass(name.unwrap_or(self.rest().len()));
        }
    }

    fn pass_escaped(&mut self, end: char) {
        while let Some(c) = self.rest().chars().next() {
            self.pass(c.len_utf8());
            if c == '\\' {
                self.pass(self.rest().chars().next().map_or(0, char::len_utf8));
            } else if c == end {
                return;
            }
        }
    }
}

/// The letters and hashes before the quote of a string literal, if `rest` begins with one.
fn string_prefix(rest: &str) -> Option<&str> {
    if !rest.starts_with(['"', 'b', 'c', 'r']) {
        return None;
    }
    let prefix = &rest[..rest.find('"')?];
    let letters = prefix.trim_end_matches('#');
    let known = matches!(letters, "" | "b" | "c" | "r" | "br" | "cr");
    let hashes = prefix.len() > letters.len();
    (known && (!hashes || letters.ends_with('r'))).then_some(prefix)
}

/// The index of the bracket that closes the one at `open`, or the last index.
fn closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0_usize;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return index;
        }
    }
    tokens.len().saturating_sub(1)
}

fn text_at<'a>(tokens: &[Token<'a>], index: usize) -> &'a str {
    tokens.get(index).map_or("", |token| token.text)
}

/// True for `cfg(test)` and `cfg(all(test, ..))` at `at`, the word `cfg`.
fn is_test_cfg(tokens: &[Token], at: usize) -> bool {
    let words: Vec<&str> = (at..at + 5).map(|index| text_at(tokens, index)).collect();
    words.starts_with(&["cfg", "(", "test", ")"]) || words == ["cfg", "(", "all", "(", "test"]
}

fn mark_tests(tokens: &mut [Token]) {
    let mut at = 0;
    while at < tokens.len() {
        if text_at(tokens, at) != "#" {
            at += 1;
            continue;
        }
        let whole_file = text_at(tokens, at + 1) == "!";
        let open = at + 1 + usize::from(whole_file);
        if !is_test_cfg(tokens, open + 1) {
            at += 1;
            continue;
        }
        let end = if whole_file {
            tokens.len()
        } else {
            item_end(tokens, closing(tokens, open) + 1)
        };
        for token in &mut tokens[at..end] {
            token.test = true;
        }
        at = end.max(at + 1);
    }
}

/// The index directly after the item (or field) that begins at `at`, further attributes included.
fn item_end(tokens: &[Token], mut at: usize) -> usize {
    while text_at(tokens, at) == "#" {
        at = closing(tokens, at + 1) + 1;
    }
    let is_use = (at..at + 6)
        .map(|i| text_at(tokens, i))
        .take_while(|t| *t != "{")
        .any(|t| t == "use");
    let is_item = (at..at + 6)
        .map(|i| text_at(tokens, i))
        .take_while(|t| *t != ":")
        .any(|t| {
            [
                "mod",
                "fn",
                "use",
                "impl",
                "struct",
                "enum",
                "const",
                "static",
                "type",
                "trait",
                "macro_rules",
            ]
            .contains(&t)
        });
    while at < tokens.len() {
        match tokens[at].text {
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            ")" | "]" | "}" => return at,
            "{" if !is_use => return closing(tokens, at) + 1,
            "{" | "(" | "[" => at = closing(tokens, at) + 1,
            _ => at += 1,
        }
    }
    tokens.len()
}

/// Every function that has a body.
pub fn functions<'a>(tokens: &[Token<'a>]) -> Vec<Function<'a>> {
    let mut found = Vec::new();
    for (index, token) in tokens.iter().enumerate() {
        let named = tokens.get(index + 1).is_some_and(Token::is_word);
        if token.text != "fn" || !named {
            continue;
        }
        let mut at = index + 2;
        while at < tokens.len() {
            match tokens[at].text {
                ";" | "}" => break,
                "{" => {
                    let lines = tokens[closing(tokens, at)].line - token.line + 1;
                    found.push(Function {
                        name: tokens[index + 1].text,
                        line: token.line,
                        lines,
                    });
                    break;
                }
                "(" | "[" => at = closing(tokens, at) + 1,
                _ => at += 1,
            }
        }
    }
    found
}

/// Names of the types that a file defines outside of functions, modules and tests, with their lines.
pub fn types<'a>(tokens: &[Token<'a>]) -> Vec<(&'a str, usize)> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let token = &tokens[at];
        match (token.text, tokens.get(at + 1)) {
            ("{" | "(" | "[", _) => at = closing(tokens, at),
            ("struct" | "enum" | "union" | "trait" | "type", Some(name)) if name.is_word() && !token.test => {
                found.push((name.text, name.line));
            }
            _ => {}
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<&str> {
        tokens(text).iter().map(|token| token.text).collect()
    }

    #[test]
    fn comments_and_literals_are_left_out() {
        let source = r##"
            // unsafe
            /* unsafe /* nested */ unsafe */
            a "unsafe \" unsafe" r"unsafe\" r#"unsafe " unsafe"# b"unsafe" br#"unsafe"# c
            'x' '\'' '\u{1F600}' b'"' 'static "\\" d::e r#type
        "##;
        assert_eq!(
            words(source),
            [
                "a", "\"", "\"", "\"", "\"", "\"", "c", "\"", "d", "::", "e", "type"
            ]
        );
    }

    #[test]
    fn unfinished_text_ends_quietly() {
        for text in [
            "\"open",
            "r#\"open",
            "/* open",
            "'",
            "b'",
            "fn",
            "#[cfg(test)]",
            "#",
            "use a::{b",
            "é'é\"é",
        ] {
            let found = tokens(text);
            assert!(functions(&found).is_empty(), "{text}");
        }
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let source = "a\n/*\n\n*/ b \"\n\" c\nr\"\n\n\" d";
        let lines: Vec<_> = tokens(source)
            .iter()
            .filter(|t| t.is_word())
            .map(|t| (t.text, t.line))
            .collect();
        assert_eq!(lines, [("a", 1), ("b", 4), ("c", 5), ("d", 8)]);
    }

    #[test]
    fn test_only_items_are_marked_and_nothing_else() {
        for (source, shipped) in [
            ("a; #[cfg(test)] mod tests { fn b() {} } c", "a ; c"),
            (
                "#[cfg(test)] #[allow(x)] fn b(y: [u8; 2]) -> [u8; 2] { y } c",
                "c",
            ),
            ("#[cfg(test)] use b::{d, e}; c", "c"),
            ("#[cfg(test)] pub(crate) mod b; c", "c"),
            ("struct S { #[cfg(test)] b: u8, c: u8 }", "struct S { c : u8 }"),
            ("struct S { #[cfg(test)] b: u8 } c", "struct S { } c"),
            ("#[cfg(all(test, unix))] mod b {} c", "c"),
            (
                "#[cfg(not(test))] mod b {}",
                "# [ cfg ( not ( test ) ) ] mod b { }",
            ),
            ("#![cfg(test)] a; b", ""),
        ] {
            let found = tokens(source);
            let words: Vec<_> = found.iter().filter(|t| !t.test).map(|t| t.text).collect();
            assert_eq!(words.join(" "), shipped, "{source}");
        }
    }

    #[test]
    fn functions_are_measured_from_head_to_brace() {
        let source = "trait T { fn none(); }\nfn a(x: [u8; 2])\nwhere u8: Copy\n{\n  let f: fn(u8) = g;\n}";
        assert_eq!(
            functions(&tokens(source)),
            [Function {
                name: "a",
                line: 2,
                lines: 5
            }]
        );
    }
}
