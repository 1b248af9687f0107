//! Files of the operator: their text, what it says, and all mistakes in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::layers::{Environment, Partial, SOCKET_NAME, VARIABLE_PREFIX};
use super::mistakes::{
    CONFIG_BYTES_MAX, ConfigError, FilePlace, MistakeText, Mistakes, QUOTED_BYTES_MAX, shortened,
};
use super::wording::to_toml_terms;

/// The configuration file, or another one with a document `T`, with its text for error positions.
#[derive(Debug)]
pub(super) struct FileLayer<T = Partial> {
    pub path: PathBuf,
    /// Its valid part.
    pub partial: T,
    /// Mistakes of the file alone.
    pub mistakes: Mistakes,
    /// True if the header of a table is broken: keys may be missing in others.
    pub(super) has_lost_tables: bool,
    text: String,
    spots: Spots,
}

/// The bytes of a file, and one more than a configuration may have if it is longer.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
    let failed = |source: io::Error| ConfigError::Read {
        path: path.to_owned(),
        source: source.into(),
    };
    let mut bytes = Vec::new();
    let file = open_regular(path).map_err(|error| {
        // A dangling link is an error, since it shows that a configuration was intended.
        if error.kind() == io::ErrorKind::NotFound && path.is_symlink() {
            let what = "it is a link to a file that is not there";
            return failed(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        failed(error)
    })?;
    file.take(CONFIG_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Ok(bytes)
}

impl<T: Default + DeserializeOwned> FileLayer<T> {
    pub(super) fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::from_bytes(path, bytes(path)?)
    }

    /// Parses the bytes of a file.
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
                problem: "this byte is not valid UTF-8".to_owned().into(),
            }
        })?;
        Ok(Self::parse(path, text))
    }

    fn parse(path: &Path, text: String) -> Self {
        let (document, broken) = DeTable::parse_recoverable(&text);
        let spots = Spots::of(document.get_ref());
        let mut found = Vec::new();
        // Further errors on the same line or in the same value mostly follow from the first.
        let mut lines = BTreeSet::new();
        let mut values = BTreeSet::new();
        let breaks: Vec<usize> = memchr::memchr_iter(b'\n', text.as_bytes()).collect();
        let line_of = |at: usize| breaks.partition_point(|newline| *newline < at);
        let starts = broken.iter().map(|error| error.span().unwrap_or_default().start);
        let lost = lost_lines(&text, &breaks, starts.map(line_of));
        let is_lost = |at: usize| lost.iter().any(|lines| lines.contains(&line_of(at)));
        for error in broken {
            let span = error.span().unwrap_or_default();
            if is_lost(span.start) {
                continue;
            }
            let value = spots.at(span.start);
            let is_new_line = lines.insert(line_of(span.start));
            let is_new_value = value.is_none_or(|spot| values.insert(spot.span.start));
            if is_new_line && is_new_value {
                // The second of two equal keys has no value.
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
        let left = sieve.sift::<T>(&root, "", &|value| value);
        let values = sieve.found.into_iter();
        let follows = |at: usize| lines.contains(&line_of(at)) || is_lost(at);
        found.extend(values.filter(|(span, ..)| !follows(span.start)));
        found.sort_by_key(|(span, ..)| span.start);
        let mut mistakes = Mistakes::default();
        for (span, key, error) in found {
            mistakes.push_at(span.start, || {
                let problem = match key.as_str() {
                    "" => to_toml_terms(error.message()),
                    key => to_toml_terms(error.message()).of_key(key),
                };
                let place = FilePlace::of(path, &text, &key, span.clone()).into();
                ConfigError::File { place, problem }
            });
        }
        let partial = left.and_then(|left| T::deserialize(ValueDeserializer::from(left)).ok());
        Self {
            path: path.to_owned(),
            partial: partial.unwrap_or_default(),
            mistakes,
            has_lost_tables: !lost.is_empty(),
            spots,
            text,
        }
    }

    /// An error about the value at a place; if the value is missing, about its table.
    pub(super) fn error(&self, place: &str, problem: MistakeText) -> ConfigError {
        let key = self.spots.find(place).map_or("", |spot| &spot.key);
        let place = FilePlace::of(&self.path, &self.text, key, self.span(place)).into();
        ConfigError::File { place, problem }
    }

    /// The bytes that such an error marks.
    pub(super) fn span(&self, place: &str) -> Range<usize> {
        self.spots.find(place).map_or(0..0, |spot| spot.span.clone())
    }
}

/// The lines below each broken header up to the next one, given the lines with errors: it is not known which table they
/// are of.
fn lost_lines(text: &str, breaks: &[usize], broken: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let is_header = |line: usize| {
        let start = line.checked_sub(1).map_or(0, |before| breaks[before] + 1);
        text.get(start..)
            .is_some_and(|rest| rest.trim_start_matches([' ', '\t']).starts_with('['))
    };
    let after_last = breaks.len() + 1;
    broken
        .filter(|line| is_header(*line))
        .map(|line| {
            line + 1
                ..(line + 1..after_last)
                    .find(|next| is_header(*next))
                    .unwrap_or(after_last)
        })
        .collect()
}

impl Environment {
    /// Possible sockets of a collector, without resolving the settings: from the variable, from the file as
    /// far as it can be read, and from the runtime directory. A client need not have a valid configuration.
    #[must_use]
    pub fn sockets(&self, named_file: Option<&Path>) -> Vec<PathBuf> {
        let variable = self
            .vars
            .get(&format!("{VARIABLE_PREFIX}SOCKET"))
            .and_then(|value| value.to_str())
            .map(PathBuf::from);
        let in_file = || {
            let places = match named_file {
                Some(path) => vec![self.cwd.join(path)],
                None => self.file_places(),
            };
            let bytes = places.iter().find_map(|path| bytes(path).ok())?;
            let table: toml::Table = toml::from_slice(&bytes).ok()?;
            Some(PathBuf::from(table.get("socket")?.as_str()?))
        };
        let named = |path: &PathBuf| !path.as_os_str().is_empty();
        let found = variable.or_else(in_file).filter(named);
        let found = found.map(|path| self.cwd.join(path));
        let runtime = self.runtime_directory();
        found
            .into_iter()
            .chain(runtime.map(|(directory, _)| directory.join(SOCKET_NAME)))
            .collect()
    }

    /// The configuration file: the named one, else the user's, else the system's, else none.
    pub(super) fn file(&self, named: Option<&Path>) -> Result<Option<FileLayer>, ConfigError> {
        if let Some(path) = named {
            return FileLayer::read(&self.cwd.join(path)).map(Some);
        }
        if !self.has_files {
            return Ok(None);
        }
        for path in self.file_places() {
            match FileLayer::read(&path) {
                Err(ConfigError::Read { source, .. }) if is_absent(&source) => {}
                found => return found.map(Some),
            }
        }
        Ok(None)
    }

    /// Default paths of the file: the user's, the system's.
    fn file_places(&self) -> Vec<PathBuf> {
        let user = self
            .directory("XDG_CONFIG_HOME")
            .or_else(|| self.directory("HOME").map(|home| home.join(".config")))
            .map(|config| config.join("tokentail/tokentail.toml"));
        user.into_iter().chain([self.system_file.clone()]).collect()
    }
}

/// Opens a regular file to read it. Anything else is an error, also if it takes the place of the file just now.
pub(super) fn open_regular(path: &Path) -> io::Result<File> {
    // Opening a FIFO would wait for a writer, and reading it too.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let refused = |what| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        // So the kernel names a socket.
        Err(Errno::NXIO) => return refused("it is not a regular file"),
        Err(error) => return Err(error.into()),
    };
    match file.metadata()? {
        found if found.is_file() => Ok(file),
        found if found.is_dir() => refused("it is a directory"),
        _ => refused("it is not a regular file"),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Separates the valid parts of a document from the invalid ones.
#[derive(Default)]
struct Sieve {
    /// Position and key of each mistake.
    found: Vec<(Range<usize>, String, toml::de::Error)>,
}

impl Sieve {
    /// The valid part of a value, where `within` builds the document around it. Mistakes are searched in its
    /// parts, one by one; a value is invalid as a whole only if it would be invalid without its parts.
    fn sift<'i, T: DeserializeOwned>(
        &mut self,
        value: &Spanned<DeValue<'i>>,
        key: &str,
        within: &dyn Fn(Spanned<DeValue<'i>>) -> Spanned<DeValue<'i>>,
    ) -> Option<Spanned<DeValue<'i>>> {
        let judge =
            |value: Spanned<DeValue<'i>>| T::deserialize(ValueDeserializer::from(within(value))).map(drop);
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
                    if let Some(part) = self.sift::<T>(part, &key, &alone) {
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
                    if let Some(part) = self.sift::<T>(part, key, &alone) {
                        left.push(part);
                    }
                }
                // An empty list would cause a further error.
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

/// A value in the file.
#[derive(Debug)]
struct Spot {
    /// The key without indices: `account.runs`.
    key: String,
    /// From the first byte of the key to the last of the value; for a table in an array, its header.
    span: Range<usize>,
}

/// Every key with a value, and every table of an array.
#[derive(Debug, Default)]
struct Spots {
    /// By place with indices: `account[1].runs`.
    by_place: BTreeMap<String, Spot>,
    /// Values without nested values, by their first byte.
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
                    // What is missing in a table is marked at its name.
                    let span = name.span();
                    self.by_place.insert(place, Spot { key, span });
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

    /// The value at a byte of the file.
    fn at(&self, at: usize) -> Option<&Spot> {
        let (_, place) = self.by_start.range(..=at).next_back()?;
        self.by_place.get(place).filter(|spot| spot.span.contains(&at))
    }

    /// The value at a place; if it is missing, its table.
    fn find(&self, place: &str) -> Option<&Spot> {
        let above = || self.by_place.get(place.rsplit_once('.')?.0);
        self.by_place.get(place).or_else(above)
    }
}

/// The key of a name in a table, cut if it is longer than any valid key.
fn below(table: &str, name: &str) -> String {
    let dot = if table.is_empty() { "" } else { "." };
    shortened(&format!("{table}{dot}{name}"), QUOTED_BYTES_MAX)
}
