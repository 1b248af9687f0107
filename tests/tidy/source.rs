//! Rust text as tokens with their lines: without comments and the insides of strings, and with test-only
//! items marked.
//!
//! This is not a parser: proc-macro2 gives the tokens, and this file handles the part of the language that
//! the rules need.

use proc_macro2::{LexError, Spacing, Span, TokenStream, TokenTree};

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

/// Divides a source into tokens and marks test-only items.
///
/// # Errors
/// The source is not Rust: a string, a comment or a bracket is not closed, or a character is not part of the
/// language.
pub fn tokens(text: &str) -> Result<Vec<Token<'_>>, LexError> {
    let mut tokens = Vec::new();
    flatten(text, text.parse()?, &mut tokens);
    mark_tests(&mut tokens);
    Ok(tokens)
}

fn flatten<'a>(text: &'a str, stream: TokenStream, tokens: &mut Vec<Token<'a>>) {
    let emit = |tokens: &mut Vec<Token<'a>>, text, span: Span| {
        let line = span.start().line;
        tokens.push(Token {
            text,
            line,
            test: false,
        });
    };
    let mut trees = stream.into_iter().peekable();
    while let Some(tree) = trees.next() {
        let source = &text[tree.span().byte_range()];
        match tree {
            // A comment of documentation is an attribute to the lexer.
            TokenTree::Punct(_) if source.starts_with("//") || source.starts_with("/*") => {
                while trees
                    .next_if(|tree| text[tree.span().byte_range()] == *source)
                    .is_some()
                {}
            }
            TokenTree::Punct(sign) if sign.as_char() == '\'' => drop(trees.next()),
            TokenTree::Punct(sign) if sign.as_char() == ':' && sign.spacing() == Spacing::Joint => {
                trees.next();
                emit(tokens, "::", sign.span());
            }
            TokenTree::Punct(_) => emit(tokens, source, tree.span()),
            TokenTree::Ident(_) => emit(tokens, source.trim_start_matches("r#"), tree.span()),
            TokenTree::Literal(_) if source.starts_with('\'') || source.starts_with("b'") => {}
            TokenTree::Literal(_) => {
                let is_string = source.contains('"');
                emit(tokens, if is_string { "\"" } else { source }, tree.span());
            }
            TokenTree::Group(group) => {
                emit(tokens, &source[..1], group.span_open());
                flatten(text, group.stream(), tokens);
                emit(tokens, &source[source.len() - 1..], group.span_close());
            }
        }
    }
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
        tokens(text).unwrap().iter().map(|token| token.text).collect()
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
    fn unfinished_text_is_no_rust() {
        for text in ["\"open", "r#\"open", "/* open", "b'", "use a::{b", "fn a(", "a)"] {
            assert!(tokens(text).is_err(), "{text}");
        }
        for text in ["", "fn", "#[cfg(test)]", "#"] {
            assert_eq!(functions(&tokens(text).unwrap()), [], "{text}");
        }
    }

    #[test]
    fn lines_are_counted_through_everything() {
        let source = "a\n/*\n\n*/ b \"\n\" c\nr\"\n\n\" d";
        let lines: Vec<_> = tokens(source)
            .unwrap()
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
            let found = tokens(source).unwrap();
            let words: Vec<_> = found.iter().filter(|t| !t.test).map(|t| t.text).collect();
            assert_eq!(words.join(" "), shipped, "{source}");
        }
    }

    #[test]
    fn functions_are_measured_from_head_to_brace() {
        let source = "trait T { fn none(); }\nfn a(x: [u8; 2])\nwhere u8: Copy\n{\n  let f: fn(u8) = g;\n}";
        assert_eq!(
            functions(&tokens(source).unwrap()),
            [Function {
                name: "a",
                line: 2,
                lines: 5
            }]
        );
    }
}
