//! Mistakes of a configuration, each with its place and a suggestion.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::letters::safe;

/// The largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Most mistakes that are kept; further ones are counted.
pub(super) const MISTAKES_MAX: usize = 100;
/// Length of an excerpt of a long line before and after the mistake, in bytes.
const EXCERPT_BYTES_MAX: usize = 200;
/// Longest message, and longest quote in it, in bytes; longer ones are cut in the middle.
const MESSAGE_BYTES_MAX: usize = 1000;
pub(super) const QUOTED_BYTES_MAX: usize = 200;
/// Largest edit distance of a suggestion.
const NEAR_LETTERS_MAX: usize = 2;

/// One mistake.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read { path: PathBuf, source: Arc<io::Error> },
    #[error("{}: longer than {CONFIG_BYTES_MAX} bytes, which is too long for a configuration", path.display())]
    Long { path: PathBuf },
    #[error("{}:{}:{}: {problem}", place.path.display(), place.line, place.column)]
    File {
        place: Box<FilePlace>,
        problem: MistakeText,
    },
    #[error("variable {name}: {problem}")]
    Variable { name: String, problem: MistakeText },
    #[error("flag for {problem}")]
    Flag { problem: MistakeText },
    #[error("{problem}")]
    Default { problem: MistakeText },
}

impl ConfigError {
    pub(super) fn variable(name: &str, problem: MistakeText) -> Self {
        Self::Variable {
            name: shortened(name, QUOTED_BYTES_MAX),
            problem,
        }
    }

    /// Its byte in the file; after all of them if it is not in the file.
    fn at(&self) -> usize {
        match self {
            Self::File { place, .. } => place.at,
            _ => usize::MAX,
        }
    }

    /// The problem, unless the place is part of it.
    #[must_use]
    pub const fn problem(&self) -> Option<&MistakeText> {
        match self {
            Self::Read { .. } | Self::Long { .. } => None,
            Self::File { problem, .. }
            | Self::Variable { problem, .. }
            | Self::Flag { problem }
            | Self::Default { problem } => Some(problem),
        }
    }
}

/// A problem and a suggestion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MistakeText {
    pub what: String,
    /// A separate sentence: "did you mean `depth_max`?".
    pub hint: Option<String>,
}

impl fmt::Display for MistakeText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "; {hint}"))
    }
}

impl MistakeText {
    /// A problem on one line; long quotes are cut.
    pub(super) fn new(what: &str, hint: Option<String>) -> Self {
        // A key may contain a line break, which would look like a log line.
        let what: String = what.chars().map(safe).collect();
        let parts = what.split_inclusive(['`', '"']).enumerate();
        // Every second part is inside quotation marks.
        let short: String = parts
            .map(|(number, part)| match number % 2 {
                1 => shortened(part, QUOTED_BYTES_MAX),
                _ => part.to_owned(),
            })
            .collect();
        Self {
            what: shortened(&short, MESSAGE_BYTES_MAX),
            hint,
        }
    }

    /// The same, prefixed with the key.
    pub(super) fn of_key(self, key: &str) -> Self {
        Self::new(&format!("`{key}`: {}", self.what), self.hint)
    }
}

impl From<String> for MistakeText {
    fn from(what: String) -> Self {
        Self::new(&what, None)
    }
}

/// The text, cut in the middle if it is longer than `bytes_max`.
pub(super) fn shortened(text: &str, bytes_max: usize) -> String {
    if text.len() <= bytes_max {
        return text.to_owned();
    }
    let half = bytes_max / 2;
    let (head, tail) = (
        text.floor_char_boundary(half),
        text.ceil_char_boundary(text.len() - half),
    );
    format!("{}\u{2026}{}", &text[..head], &text[tail..])
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilePlace {
    pub path: PathBuf,
    /// The byte of the file.
    pub at: usize,
    /// Line and column count from 1, the column in characters.
    pub line: usize,
    pub column: usize,
    /// The key without indices: `account.runs`. May be empty.
    pub key: String,
    /// The line, or the part of a long line around the place.
    pub excerpt: String,
    /// The marked bytes of the excerpt; may be empty.
    pub marked: Range<usize>,
}

impl FilePlace {
    /// The place of a span of a text; of several lines, the first.
    pub(super) fn of(path: &Path, text: &str, key: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line_end = text[start..]
            .find('\n')
            .map_or(text.len(), |length| start + length);
        let from = text.ceil_char_boundary(line_start.max(start.saturating_sub(EXCERPT_BYTES_MAX)));
        let to = text.floor_char_boundary(line_end.min(start + EXCERPT_BYTES_MAX));
        let excerpt = text[from..to].trim_end_matches('\r');
        let at = (start - from).min(excerpt.len());
        let end = text.ceil_char_boundary(span.end.clamp(start, to)) - from;
        Self {
            path: path.to_owned(),
            at: start,
            line: text[..start].matches('\n').count() + 1,
            // Editors do not show a byte order mark as a character.
            column: text[line_start..start]
                .trim_start_matches('\u{feff}')
                .chars()
                .count()
                + 1,
            key: key.to_owned(),
            marked: at..end.clamp(at, excerpt.len()),
            excerpt: excerpt.to_owned(),
        }
    }
}

/// All mistakes of a configuration; never empty when returned as an error.
#[derive(Debug, Default)]
pub struct Mistakes {
    /// Those in the file, by position, then the others.
    pub list: Vec<ConfigError>,
    /// Number of further mistakes.
    pub left_out: usize,
}

impl Mistakes {
    pub(super) fn push(&mut self, mistake: ConfigError) {
        self.push_at(mistake.at(), || mistake);
    }

    /// Keeps the first ones of the file, whatever the order of insertion. The mistake is built only if it is
    /// kept: a file may have very many.
    pub(super) fn push_at(&mut self, at: usize, mistake: impl FnOnce() -> ConfigError) {
        let place = self.list.partition_point(|kept| kept.at() <= at);
        if self.list.len() == MISTAKES_MAX {
            self.left_out += 1;
            if place == MISTAKES_MAX {
                return;
            }
            self.list.pop();
        }
        self.list.insert(place, mistake());
    }

    pub(super) fn extend(&mut self, mistakes: Self) {
        self.left_out += mistakes.left_out;
        mistakes.list.into_iter().for_each(|mistake| self.push(mistake));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// True if one is about this variable.
    #[must_use]
    pub fn is_about_variable(&self, name: &str) -> bool {
        let is_about = |mistake: &ConfigError| matches!(mistake, ConfigError::Variable { name: of, .. } if of.eq_ignore_ascii_case(name));
        self.list.iter().any(is_about)
    }

    /// True if one is about a key with this prefix: dependent settings cannot be checked then.
    pub(super) fn is_about(&self, prefix: &str) -> bool {
        let is_about = |mistake: &ConfigError| match mistake {
            ConfigError::File { place, .. } => place.key.starts_with(prefix),
            other => other
                .problem()
                .is_some_and(|problem| problem.what.starts_with(&format!("`{prefix}"))),
        };
        self.list.iter().any(is_about)
    }
}

impl From<ConfigError> for Mistakes {
    fn from(mistake: ConfigError) -> Self {
        Self {
            list: vec![mistake],
            left_out: 0,
        }
    }
}

/// The first mistake and the number of others, on one line.
impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(first) = self.list.first() {
            first.fmt(f)?;
        }
        match (self.list.len() + self.left_out).saturating_sub(1) {
            0 => Ok(()),
            1 => f.write_str(" (and one more mistake; `tokentail check-config` shows all)"),
            more => write!(
                f,
                " (and {more} more mistakes; `tokentail check-config` shows all)"
            ),
        }
    }
}

impl std::error::Error for Mistakes {}

/// The most similar known word: equal but for case and dashes, else with an edit distance of one or two.
#[must_use]
pub fn near<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.to_lowercase().replace('-', "_");
    let wanted = plain(given);
    // A short word is similar to many.
    let letters = wanted.chars().count();
    let letters_max = NEAR_LETTERS_MAX.min(letters / 3);
    known
        .into_iter()
        .filter(|word| *word != given && word.chars().count().abs_diff(letters) <= letters_max)
        .map(|word| (strsim::osa_distance(&wanted, &plain(word)), word))
        .filter(|(distance, _)| *distance <= letters_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

/// `did you mean ...?` with the word in backquotes.
#[must_use]
pub fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_near() {
        let known = ["depth_max", "idle_close", "5h", "codex"];
        for (given, expect) in [
            ("depth-max", Some("depth_max")),
            ("DepthMax", Some("depth_max")),
            ("dept_max", Some("depth_max")),
            ("idel_close", Some("idle_close")),
            ("Codex", Some("codex")),
            ("5hr", Some("5h")),
            ("x", None),
            ("colour", None),
            ("codex", None),
        ] {
            assert_eq!(near(given, known), expect, "{given}");
        }
    }

    #[test]
    fn a_place_has_its_line_and_what_is_meant_in_it() {
        let text = "a = 1\r\n\t\u{4e2d}\u{6587} = \"x\"\r\nlast";
        let place = |span| FilePlace::of(Path::new("t"), text, "", span);
        let wide = text.find('"').unwrap();
        let it = place(wide..wide + 3);
        assert_eq!((it.line, it.column), (2, 7));
        assert_eq!(&it.excerpt[it.marked.clone()], "\"x\"");
        // Of several lines the first; after the end of the text, its end.
        let it = place(wide..text.len());
        assert_eq!(&it.excerpt[it.marked.clone()], "\"x\"");
        let it = place(text.len()..text.len() + 5);
        assert_eq!((it.line, it.column, it.marked), (3, 5, 4..4));
        // Inside a character, and in a long line.
        let it = place(wide - 7..wide);
        assert!(it.excerpt.is_char_boundary(it.marked.start));
        let long = format!("x = \"{}\"", "\u{e9}".repeat(10_000));
        let it = FilePlace::of(Path::new("t"), &long, "", 9_001..9_002);
        assert!(it.excerpt.len() <= 2 * EXCERPT_BYTES_MAX && it.marked.end <= it.excerpt.len());
    }

    #[test]
    fn further_mistakes_are_counted() {
        let mut mistakes = Mistakes::default();
        for number in 0..=MISTAKES_MAX {
            let problem = MistakeText::from(number.to_string());
            mistakes.push(ConfigError::Default { problem });
        }
        assert_eq!((mistakes.list.len(), mistakes.left_out), (MISTAKES_MAX, 1));
        assert!(mistakes.to_string().starts_with("0 (and 100 more mistakes; "));
    }

    #[test]
    fn the_first_of_the_file_are_kept_in_its_order() {
        let text = "x\n".repeat(4 * MISTAKES_MAX);
        let mut mistakes = Mistakes::default();
        mistakes.push(ConfigError::Default {
            problem: "none of the file's".to_owned().into(),
        });
        for at in (0..text.len()).step_by(2).rev() {
            mistakes.push(ConfigError::File {
                place: FilePlace::of(Path::new("t"), &text, "", at..at + 1).into(),
                problem: "x".to_owned().into(),
            });
        }
        let lines: Vec<usize> = (mistakes.list.iter())
            .map(|mistake| mistake.at() / 2 + 1)
            .collect();
        assert_eq!(lines, (1..=MISTAKES_MAX).collect::<Vec<_>>());
        assert_eq!(mistakes.left_out, 3 * MISTAKES_MAX + 1);
    }

    #[test]
    fn what_is_long_is_cut_in_the_middle() {
        let long = "k".repeat(100_000);
        let problem = MistakeText::from(format!("unknown key `{long}`, expected `a`")).of_key(&long);
        assert!(problem.what.starts_with("`kkk") && problem.what.ends_with("kkk`, expected `a`"));
        assert!(
            problem.what.len() < 3 * QUOTED_BYTES_MAX,
            "{}",
            problem.what.len()
        );
        let quotes = MistakeText::from("\"\u{e9}".repeat(100_000));
        assert!(quotes.what.len() <= MESSAGE_BYTES_MAX + "\u{2026}".len());
        let ConfigError::Variable { name, .. } = ConfigError::variable(&long, quotes) else {
            panic!("it is a variable's");
        };
        assert!(name.len() <= QUOTED_BYTES_MAX + "\u{2026}".len());
        let short = "\"a\" is not a level: off";
        assert_eq!(MistakeText::from(short.to_owned()).what, short);
    }
}
