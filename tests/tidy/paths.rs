//! The paths named by a source: `use` trees taken apart, and every `a::b::c` elsewhere.

use super::source::Token;

/// The way in which a path is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// In the middle of code.
    Inline,
    /// By `use` or `extern crate`: from here on the last segment, or its alias, is a name of its own.
    Import,
    /// By `use a::*`; the star is no segment.
    Glob,
}

/// One path, as written, relative to the given root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// From the crate's root if `inside`, else beginning with a crate's (or a local) name.
    pub segments: Vec<&'a str>,
    pub inside: bool,
    pub form: Form,
    pub line: usize,
    pub test: bool,
}

impl Path<'_> {
    /// As a reader would write it.
    pub fn display(&self) -> String {
        let mut parts = if self.inside { vec!["crate"] } else { Vec::new() };
        parts.extend(&self.segments);
        if self.form == Form::Glob {
            parts.push("*");
        }
        parts.join("::")
    }
}

/// Words that may stand before a path that begins with `::`; every other word is a part of the path.
const WORDS_BEFORE_A_PATH: [&str; 14] = [
    "use", "as", "in", "return", "dyn", "impl", "mut", "match", "if", "else", "while", "for", "where",
    "break",
];

/// All paths in a file whose module is `module`, `package` being the library's own name.
pub fn paths<'a>(tokens: &[Token<'a>], module: &[&'a str], package: &str) -> Vec<Path<'a>> {
    let scope = module.to_vec();
    let mut walk = Walk {
        tokens,
        at: 0,
        package,
        scope,
        found: Vec::new(),
    };
    walk.run();
    walk.found
}

struct Walk<'t, 'a> {
    tokens: &'t [Token<'a>],
    at: usize,
    package: &'t str,
    /// The module at the current position, inline modules included.
    scope: Vec<&'a str>,
    found: Vec<Path<'a>>,
}

impl<'a> Walk<'_, 'a> {
    fn text(&self, ahead: usize) -> &'a str {
        self.tokens.get(self.at + ahead).map_or("", |token| token.text)
    }

    fn before(&self, back: usize) -> &'a str {
        self.at
            .checked_sub(back)
            .map_or("", |index| self.tokens[index].text)
    }

    fn is_word(&self, ahead: usize) -> bool {
        self.tokens.get(self.at + ahead).is_some_and(Token::is_word)
    }

    fn run(&mut self) {
        let mut depth = 0_usize;
        let mut module_depths = Vec::new();
        while self.at < self.tokens.len() {
            match self.text(0) {
                "mod" if self.is_word(1) && self.text(2) == "{" => {
                    self.scope.push(self.text(1));
                    module_depths.push(depth);
                    depth += 1;
                    self.at += 3;
                }
                "{" => {
                    depth += 1;
                    self.at += 1;
                }
                "}" => {
                    depth = depth.saturating_sub(1);
                    if module_depths.last() == Some(&depth) {
                        module_depths.pop();
                        self.scope.pop();
                    }
                    self.at += 1;
                }
                // `+ use<'a, T>` captures, it does not import.
                "use" if self.text(1) != "<" => {
                    self.at += 1;
                    self.import(&[]);
                }
                "extern" if self.text(1) == "crate" => {
                    self.at += 2;
                    let own: &[&str] = if self.text(0) == "self" { &["crate"] } else { &[] };
                    self.import(own);
                }
                // A visibility names only the modules around it.
                "pub" if self.text(1) == "(" => {
                    while !matches!(self.text(0), ")" | "") {
                        self.at += 1;
                    }
                }
                _ if self.begins_a_path() => self.inline(),
                _ => self.at += 1,
            }
        }
    }

    fn begins_a_path(&self) -> bool {
        if !self.is_word(0) || self.text(1) != "::" || self.before(1) == "." {
            return false;
        }
        if self.before(1) != "::" {
            return true;
        }
        let before = self.before(2);
        let is_segment = before.starts_with(|c: char| c == '_' || c.is_alphanumeric())
            && !WORDS_BEFORE_A_PATH.contains(&before);
        !is_segment && before != ">"
    }

    fn inline(&mut self) {
        let mut segments = vec![self.text(0)];
        while self.text(1) == "::" && self.is_word(2) {
            self.at += 2;
            segments.push(self.text(0));
        }
        self.push(segments, Form::Inline, self.at);
        self.at += 1;
    }

    /// One branch of a `use` tree; leaves the walk at the `,`, `}` or `;` after it.
    fn import(&mut self, prefix: &[&'a str]) {
        let mut segments = prefix.to_vec();
        let mut last = self.at;
        loop {
            match self.text(0) {
                "{" => {
                    self.at += 1;
                    while !matches!(self.text(0), "}" | ";" | "") {
                        self.import(&segments);
                        if self.text(0) == "," {
                            self.at += 1;
                        }
                    }
                    if self.text(0) == "}" {
                        self.at += 1;
                    }
                    return;
                }
                "*" => {
                    self.push(segments, Form::Glob, self.at);
                    self.at += 1;
                    return;
                }
                "," | ";" | "}" | "" => {
                    self.push(segments, Form::Import, last);
                    return;
                }
                "as" => self.at += 2,
                _ => {
                    if self.is_word(0) {
                        segments.push(self.text(0));
                        last = self.at;
                    }
                    self.at += 1;
                }
            }
        }
    }

    fn push(&mut self, mut segments: Vec<&'a str>, form: Form, at: usize) {
        if form == Form::Import && segments.len() > 1 && segments.last() == Some(&"self") {
            segments.pop();
        }
        let Some(token) = self.tokens.get(at).or(self.tokens.last()) else {
            return;
        };
        let mut inside = true;
        let mut base = match segments.first() {
            Some(&"crate") => Vec::new(),
            Some(&first) if first == self.package => Vec::new(),
            Some(&("self" | "super")) => self.scope.clone(),
            _ => {
                inside = false;
                Vec::new()
            }
        };
        if inside {
            let mut rest = segments.iter().copied().peekable();
            if base.is_empty() {
                rest.next();
            }
            while let Some(step @ ("self" | "super")) = rest.peek().copied() {
                if step == "super" {
                    base.pop();
                }
                rest.next();
            }
            base.extend(rest);
            segments = base;
        }
        self.found.push(Path {
            segments,
            inside,
            form,
            line: token.line,
            test: token.test,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::tokens;
    use super::*;

    /// Paths in the module `store::commit`, as `line path`.
    fn check(source: &str, expect: &[&str]) {
        let found: Vec<String> = paths(&tokens(source).unwrap(), &["store", "commit"], "tokentail")
            .iter()
            .map(|path| format!("{} {}", path.line, path.display()))
            .collect();
        assert_eq!(found, expect, "{source}");
    }

    #[test]
    fn a_use_tree_is_every_one_of_its_branches() {
        check("use crate::record::RunId;", &["1 crate::record::RunId"]);
        check(
            "pub(crate) use crate::{a,\n b::{self, C as D},\n e::*,};",
            &["1 crate::a", "2 crate::b", "2 crate::b::C", "3 crate::e::*"],
        );
        check(
            "use {std::fs, ::redb::{Database, backends::{A}}};",
            &["1 std::fs", "1 redb::Database", "1 redb::backends::A"],
        );
        check(
            "use tokentail::cli; extern crate redb as r; use crate as c;",
            &["1 crate::cli", "1 redb", "1 crate"],
        );
    }

    #[test]
    fn relative_paths_are_followed_from_where_they_stand() {
        check("use super::tables;", &["1 crate::store::tables"]);
        check("use super::super::watch::Watch;", &["1 crate::watch::Watch"]);
        check("use self::inner::X;", &["1 crate::store::commit::inner::X"]);
        check(
            "mod inner { use super::X; fn f() { {} } } use super::Y;",
            &["1 crate::store::commit::X", "1 crate::store::Y"],
        );
        check(
            "fn f() { self::super::super::live::go() }",
            &["1 crate::live::go"],
        );
    }

    #[test]
    fn paths_in_code_are_found_once_each() {
        check(
            "let x: crate::a::B<crate::c::D> = Vec::<u8>::new();",
            &["1 crate::a::B", "1 crate::c::D", "1 Vec"],
        );
        check(
            "<T as crate::a::B>::go(::redb::X::y(), m!(crate::e::F))",
            &["1 crate::a::B", "1 redb::X::y", "1 crate::e::F"],
        );
        check(
            "pub(in crate::store) fn f(x: impl A + use<'a>) { $crate::g::h!() }",
            &["1 crate::g::h"],
        );
        check("// crate::a::b\n\"crate::a::b\"", &[]);
    }
}
