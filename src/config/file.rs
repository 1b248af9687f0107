//! File: the text of the configuration file, what it says, and every mistake in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::layers::Partial;
use super::mistakes::{
    CONFIG_BYTES_MAX, ConfigError, FilePlace, MistakeText, Mistakes, QUOTED_BYTES_MAX, did_you_mean, near,
    shortened,
};
use super::{KEYS, accounts};

/// The configuration file, kept as text to point into it.
#[derive(Debug)]
pub(super) struct FileLayer {
    pub path: PathBuf,
    /// What it says, without what is wrong.
    pub partial: Partial,
    /// What is wrong with it by itself.
    pub mistakes: Mistakes,
    text: String,
    spots: Spots,
}

impl FileLayer {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::from_bytes(path, Self::bytes(path)?)
    }

    pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
        let failed = |source: io::Error| ConfigError::Read {
            path: path.to_owned(),
            source: source.into(),
        };
        let mut bytes = Vec::new();
        match std::fs::metadata(path) {
            // A FIFO would wait for a writer, and whoever reloads with it.
            Ok(file) if !file.is_file() => {
                let what = if file.is_dir() {
                    "it is a directory"
                } else {
                    "it is no regular file"
                };
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, what)));
            }
            // Who made the link wanted a configuration there.
            Err(error) if error.kind() == io::ErrorKind::NotFound && path.is_symlink() => {
                let what = "it is a link to a file that is not there";
                return Err(failed(io::Error::new(io::ErrorKind::InvalidInput, what)));
            }
            _ => {}
        }
        let file = File::open(path).map_err(failed)?;
        file.take(CONFIG_BYTES_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Ok(bytes)
    }

    /// What a file with these bytes says.
    pub(super) fn from_bytes(path: &Path, bytes: Vec<u8>) -> Result<Self, ConfigError> {
        if bytes.len() as u64 > CONFIG_BYTES_MAX {
            return Err(ConfigError::Long {
                path: path.to_owned(),
            });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            let text = String::from_utf8_lossy(error.as_bytes());
            let bad = text[at..].chars().next().map_or(0, char::len_utf8);
            ConfigError::File {
                place: FilePlace::of(path, &text, "", at..at + bad).into(),
                problem: "this byte is no part of a text in UTF-8".to_owned().into(),
            }
        })?;
        Ok(Self::parse(path, text))
    }

    fn parse(path: &Path, text: String) -> Self {
        let (document, broken) = DeTable::parse_recoverable(&text);
        let spots = Spots::of(document.get_ref());
        let mut found = Vec::new();
        // What follows on the same line or in the same value mostly follows from the first.
        let mut lines = BTreeSet::new();
        let mut values = BTreeSet::new();
        let breaks: Vec<usize> = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
        let line_of = |at: usize| breaks.partition_point(|newline| *newline < at);
        for error in broken {
            let span = error.span().unwrap_or_default();
            let value = spots.at(span.start);
            let is_new_line = lines.insert(line_of(span.start));
            let is_new_value = value.is_none_or(|spot| values.insert(spot.span.start));
            if is_new_line && is_new_value {
                // Of a key that stands twice, the second has no value.
                let key = match value {
                    Some(spot) => spot.key.clone(),
                    None if error.message() == "duplicate key" => {
                        shortened(text.get(span.clone()).unwrap_or_default(), QUOTED_BYTES_MAX)
                    }
                    None => String::new(),
                };
                found.push((span, key, error));
            }
        }
        let root = Spanned::new(document.span(), DeValue::Table(document.into_inner()));
        let mut sieve = Sieve::default();
        let left = sieve.sift(&root, "", &|value| value);
        let values = sieve.found.into_iter();
        found.extend(values.filter(|(span, ..)| !lines.contains(&line_of(span.start))));
        found.sort_by_key(|(span, ..)| span.start);
        let mut mistakes = Mistakes::default();
        for (span, key, error) in found {
            mistakes.push_at(span.start, || {
                let problem = match key.as_str() {
                    "" => say(error.message()),
                    key => say(error.message()).of_key(key),
                };
                let place = FilePlace::of(path, &text, &key, span.clone()).into();
                ConfigError::File { place, problem }
            });
        }
        let partial = left.and_then(|left| Partial::deserialize(ValueDeserializer::from(left)).ok());
        Self {
            path: path.to_owned(),
            partial: partial.unwrap_or_default(),
            mistakes,
            spots,
            text,
        }
    }

    /// An error about the value at a place; if that was left out, about what it would stand in.
    pub(super) fn error(&self, place: &str, problem: MistakeText) -> ConfigError {
        let key = self.spots.find(place).map_or("", |spot| &spot.key);
        let place = FilePlace::of(&self.path, &self.text, key, self.span(place)).into();
        ConfigError::File { place, problem }
    }

    /// The bytes that such an error is about.
    pub(super) fn span(&self, place: &str) -> Range<usize> {
        self.spots.find(place).map_or(0..0, |spot| spot.span.clone())
    }
}

/// Keeps what is right of a document, and finds what is wrong.
#[derive(Default)]
struct Sieve {
    /// Where each is, and of which key.
    found: Vec<(Range<usize>, String, toml::de::Error)>,
}

impl Sieve {
    /// What is left of a value that stands where `within` puts it. What is wrong is looked for in its parts, each by
    /// itself; only a value that would be wrong without any is wrong as a whole.
    fn sift<'i>(
        &mut self,
        value: &Spanned<DeValue<'i>>,
        key: &str,
        within: &dyn Fn(Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>>,
    ) -> Option<Spanned<DeValue<'i>>> {
        let judge = |value: Spanned<DeValue<'i>>| {
            Partial::deserialize(ValueDeserializer::from(within(value))).map(drop)
        };
        let Err(error) = judge(value.clone()) else {
            return Some(value.clone());
        };
        let span = value.span();
        let with = |inner| Spanned::new(span.clone(), inner);
        let before = self.found.len();
        let left = match value.get_ref() {
            DeValue::Table(table) if judge(with(DeValue::Table(DeTable::new()))).is_ok() => {
                let mut left = DeTable::new();
                for (name, part) in table {
                    let alone =
                        |part| within(with(DeValue::Table([(name.clone(), part)].into_iter().collect())));
                    let key = below(key, name.get_ref());
                    if let Some(part) = self.sift(part, &key, &alone) {
                        left.insert(name.clone(), part);
                    }
                }
                Some(with(DeValue::Table(left)))
            }
            DeValue::Array(values) if judge(with(DeValue::Array(DeArray::new()))).is_ok() => {
                let mut left = DeArray::new();
                for part in values {
                    let alone = |part| {
                        let mut array = DeArray::new();
                        array.push(part);
                        within(with(DeValue::Array(array)))
                    };
                    if let Some(part) = self.sift(part, key, &alone) {
                        left.push(part);
                    }
                }
                // An empty list would be another mistake.
                (!left.is_empty()).then(|| with(DeValue::Array(left)))
            }
            _ => None,
        };
        if self.found.len() == before {
            let at = error.span().unwrap_or(span);
            self.found.push((at, key.to_owned(), error));
            return None;
        }
        left
    }
}

/// serde speaks of fields, variants, sequences and maps, people of keys, words, arrays and tables.
pub(super) fn say(message: &str) -> MistakeText {
    let what = message
        .replace("unknown field", "unknown key")
        .replace("unknown variant", "unknown value")
        .replace("expected a sequence", "expected an array")
        .replace("expected a map", "expected a table")
        .replace("invalid type: sequence", "invalid type: array")
        .replace("invalid type: map", "invalid type: table");
    // What reads amounts says itself what was meant.
    let (what, hint) = match what.rsplit_once("; did you mean ") {
        Some((what, word)) => (what, Some(format!("did you mean {}", word.trim_end()))),
        None => (what.trim_end(), meant(message)),
    };
    MistakeText::new(what, hint)
}

/// What was meant by a name or a word that is not known.
fn meant(message: &str) -> Option<String> {
    let (kind, rest) = message.split_once(" `")?;
    let (given, expected) = rest
        .rsplit_once("`, expected ")
        .or_else(|| Some((rest.strip_suffix('`')?, "")))?;
    let is_key = kind == "unknown field";
    if !is_key && kind != "unknown variant" {
        return None;
    }
    if let Some(word) = near(given, expected.split('`').skip(1).step_by(2)) {
        return Some(did_you_mean(word));
    }
    // It may stand in the wrong table.
    let last = |name: &'static str| name.rsplit_once('.').map_or(name, |(_, last)| last);
    let is_meant = |name: &str| name == given || near(given, [name]).is_some();
    let elsewhere = KEYS.iter().find(|key| is_key && is_meant(last(key.name)));
    match elsewhere.map(|key| (key.name.rsplit_once('.'), key.name)) {
        Some((Some((table, name)), _)) => Some(format!("`{name}` belongs below [{table}]")),
        Some((None, name)) => Some(format!("`{name}` belongs before the first [table]")),
        None if is_key && accounts::KEYS.iter().any(|key| is_meant(key.name)) => {
            Some("keys of an account belong below [[account]]".to_owned())
        }
        None => None,
    }
}

/// Something with a value.
#[derive(Debug)]
struct Spot {
    /// As people call it: `account.runs`.
    key: String,
    /// From the key's first byte to the value's last; of a table in an array, its header.
    span: Range<usize>,
}

/// Every key with a value, and every table of an array.
#[derive(Debug, Default)]
struct Spots {
    /// By which of several tables each is in: `account[1].runs`.
    by_place: BTreeMap<String, Spot>,
    /// The values that have no others in them, by where they begin.
    by_start: BTreeMap<usize, String>,
}

impl Spots {
    fn of(document: &DeTable<'_>) -> Self {
        let mut spots = Self::default();
        spots.collect(document, ("", ""));
        spots
    }

    fn collect(&mut self, table: &DeTable<'_>, above: (&str, &str)) {
        for (name, value) in table {
            let key = below(above.0, name.get_ref());
            let place = below(above.1, name.get_ref());
            let mut has_tables = false;
            match value.get_ref() {
                DeValue::Table(table) => {
                    self.collect(table, (&key, &place));
                    continue;
                }
                DeValue::Array(values) => {
                    for (number, value) in values.iter().enumerate() {
                        let DeValue::Table(table) = value.get_ref() else {
                            continue;
                        };
                        has_tables = true;
                        let place = format!("{place}[{number}]");
                        self.collect(table, (&key, &place));
                        let (key, span) = (key.clone(), value.span());
                        self.by_place.insert(place, Spot { key, span });
                    }
                }
                _ => {}
            }
            let span = name.span().start..value.span().end;
            if !has_tables {
                self.by_start.insert(span.start, place.clone());
            }
            self.by_place.insert(place, Spot { key, span });
        }
    }

    /// The value that has this byte of the file.
    fn at(&self, at: usize) -> Option<&Spot> {
        let (_, place) = self.by_start.range(..=at).next_back()?;
        self.by_place.get(place).filter(|spot| spot.span.contains(&at))
    }

    /// The value at a place; if that was left out, what it would stand in.
    fn find(&self, place: &str) -> Option<&Spot> {
        let above = || self.by_place.get(place.rsplit_once('.')?.0);
        self.by_place.get(place).or_else(above)
    }
}

/// The name of a key in a table; one that is longer than any there is, is cut.
fn below(table: &str, name: &str) -> String {
    let dot = if table.is_empty() { "" } else { "." };
    shortened(&format!("{table}{dot}{name}"), QUOTED_BYTES_MAX)
}
