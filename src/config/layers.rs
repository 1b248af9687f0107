//! Layers: what a flag, a variable or the file says, each for itself and nothing filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};

use super::accounts::{self, PartialAccount};
use crate::globs::layout::Layout;

use super::units::{Bytes, Count, Flag, List, Period};

/// The largest configuration file, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Variables that begin with this are settings, and nothing else.
pub const VARIABLE_PREFIX: &str = "TOKENTAIL__";

/// The socket's name where only its directory is chosen.
pub(super) const SOCKET_NAME: &str = "tokentail.sock";

/// The last word of the keys that are lists: their variables may hold an array.
const LISTS: [&str; 5] = ["include", "exclude", "mount_roots", "hosts", "origins"];

/// Settings of one layer: what is `None` is left to the layer below.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct Partial {
    pub runs_dir: Option<PathBuf>,
    pub db: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub watch: PartialWatch,
    pub limits: PartialLimits,
    pub store: PartialStore,
    pub log: PartialLog,
    pub shutdown: PartialShutdown,
    pub quota: PartialQuota,
    pub runs: PartialRuns,
    pub http: PartialHttp,
    pub accounts: PartialAccounts,
    /// Read from the file only.
    #[serde(deserialize_with = "accounts::tables")]
    pub account: Option<Vec<PartialAccount>>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialWatch {
    pub include: Option<List>,
    pub exclude: Option<List>,
    pub scan_interval: Option<Period>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialLimits {
    pub line_bytes_max: Option<Bytes>,
    pub files_per_run_max: Option<Count>,
    pub depth_max: Option<Count>,
    pub turn_bytes_max: Option<Bytes>,
    pub idle_close: Option<Period>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialStore {
    pub cache_bytes: Option<Bytes>,
    pub commit_rows_max: Option<Count>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialLog {
    pub level: Option<String>,
    pub format: Option<LogFormat>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialShutdown {
    pub grace: Option<Period>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialQuota {
    pub zone: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialRuns {
    pub layout: Option<Layout>,
    pub mount_roots: Option<List>,
    pub idle_stop: Option<Period>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialHttp {
    pub listen: Option<String>,
    pub token_file: Option<PathBuf>,
    pub tls_in_front: Option<Flag>,
    pub allow_plain_http: Option<Flag>,
    pub hosts: Option<List>,
    pub origins: Option<List>,
    pub connections_max: Option<Count>,
    pub subscribers_max: Option<Count>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialAccounts {
    pub open: Option<Flag>,
}

/// How the program's own log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    /// The name of the variable.
    Variable(String),
    File(PathBuf),
    /// Not set anywhere; the place it was made from, if there was one.
    Default(Option<&'static str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => f.write_str(name),
            Self::File(path) => path.display().fmt(f),
            Self::Default(None) => f.write_str("default"),
            Self::Default(Some(place)) => write!(f, "default, from {place}"),
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: cannot read the configuration: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{}: longer than {CONFIG_BYTES_MAX} bytes, so it is no configuration of tokentail", path.display())]
    Long { path: PathBuf },
    /// Line and column count from 1, the column in characters.
    #[error("{}:{line}:{column}: {problem}", path.display())]
    File {
        path: PathBuf,
        line: usize,
        column: usize,
        problem: String,
    },
    #[error("variable {name}: {problem}")]
    Variable { name: String, problem: String },
    #[error("flag for {problem}")]
    Flag { problem: String },
    #[error("{problem}")]
    Default { problem: String },
}

/// What the process was started with; an argument, so that tests choose it.
#[derive(Clone, Debug)]
pub struct Environment {
    pub vars: BTreeMap<String, String>,
    /// What relative paths start from.
    pub cwd: PathBuf,
    /// The configuration of the whole system.
    pub system_file: PathBuf,
}

impl Environment {
    /// That of this process. A variable that is no UTF-8 has its bad bytes replaced.
    #[must_use]
    pub fn from_process() -> Self {
        let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the environment"
        )]
        let variables = std::env::vars_os();
        Self {
            vars: variables.map(|(name, value)| (text(name), text(value))).collect(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            system_file: PathBuf::from("/etc/tokentail/tokentail.toml"),
        }
    }

    /// A variable that names an absolute directory; of several, separated by colons, the first.
    /// Others count as unset, as the XDG specification asks.
    #[must_use]
    pub fn directory(&self, name: &str) -> Option<PathBuf> {
        let first = PathBuf::from(self.vars.get(name)?.split(':').next()?);
        first.is_absolute().then_some(first)
    }

    /// Where a collector may listen, by what can be said without settings: the variable, the file if that much of it
    /// can be read, the runtime directory. Whoever asks a collector need not have its configuration.
    #[must_use]
    pub fn sockets(&self, named_file: Option<&Path>) -> Vec<PathBuf> {
        let variable = self
            .vars
            .get(&format!("{VARIABLE_PREFIX}SOCKET"))
            .map(PathBuf::from);
        let in_file = || {
            let places = match named_file {
                Some(path) => vec![self.cwd.join(path)],
                None => self.file_places(),
            };
            let bytes = places.iter().find_map(|path| FileLayer::bytes(path).ok())?;
            let table: toml::Table = toml::from_slice(&bytes).ok()?;
            Some(PathBuf::from(table.get("socket")?.as_str()?))
        };
        let told = variable.or_else(in_file).map(|path| self.cwd.join(path));
        let runtime = self.runtime_directory();
        told.into_iter()
            .chain(runtime.map(|(directory, _)| directory.join(SOCKET_NAME)))
            .collect()
    }

    /// The directory for sockets, and the variable that says so.
    pub(super) fn runtime_directory(&self) -> Option<(PathBuf, &'static str)> {
        let own = || Some((self.directory("RUNTIME_DIRECTORY")?, "$RUNTIME_DIRECTORY"));
        let users = || {
            let directory = self.directory("XDG_RUNTIME_DIR")?;
            Some((directory.join("tokentail"), "$XDG_RUNTIME_DIR"))
        };
        own().or_else(users)
    }

    /// The settings in variables, each a layer of its own so that its origin is known.
    pub(super) fn layers(&self) -> Result<Vec<(Origin, Partial)>, ConfigError> {
        let named = self
            .vars
            .iter()
            .filter_map(|(name, value)| Some((name, name.strip_prefix(VARIABLE_PREFIX)?, value)));
        named
            .map(|(name, key, value)| {
                let partial = from_variable(key, value).map_err(|problem| ConfigError::Variable {
                    name: name.clone(),
                    problem,
                })?;
                Ok((Origin::Variable(name.clone()), partial))
            })
            .collect()
    }

    /// The file that applies: the one named, else the user's, else the system's, else none.
    pub(super) fn file(&self, named: Option<&Path>) -> Result<Option<FileLayer>, ConfigError> {
        if let Some(path) = named {
            return FileLayer::read(&self.cwd.join(path)).map(Some);
        }
        for path in self.file_places() {
            match FileLayer::read(&path) {
                Err(ConfigError::Read { source, .. }) if is_absent(&source) => {}
                found => return found.map(Some),
            }
        }
        Ok(None)
    }

    /// Where a file is looked for that nobody names: the user's, the system's.
    fn file_places(&self) -> Vec<PathBuf> {
        let user = self
            .directory("XDG_CONFIG_HOME")
            .or_else(|| self.directory("HOME").map(|home| home.join(".config")))
            .map(|config| config.join("tokentail/tokentail.toml"));
        user.into_iter().chain([self.system_file.clone()]).collect()
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn from_variable(key: &str, text: &str) -> Result<Partial, String> {
    let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
    if path.first().is_some_and(|name| name == "account") {
        return Err("accounts are set in the configuration file only, as [[account]] tables".to_owned());
    }
    let is_list = path.last().is_some_and(|name| LISTS.contains(&name.as_str()));
    let array = || {
        toml::from_str::<toml::Table>(&format!("list = {text}"))
            .ok()?
            .remove("list")
    };
    let value = is_list.then(array).flatten().filter(toml::Value::is_array);
    let mut value = value.unwrap_or_else(|| toml::Value::String(text.to_owned()));
    for name in path.into_iter().rev() {
        value = toml::Value::Table(toml::Table::from_iter([(name, value)]));
    }
    Partial::deserialize(value).map_err(|error| say(error.message()))
}

/// serde speaks of fields, sequences and maps, people of keys, arrays and tables.
fn say(message: &str) -> String {
    message
        .replace("unknown field", "unknown key")
        .replace("expected a sequence", "expected an array")
        .replace("expected a map", "expected a table")
        .replace("invalid type: sequence", "invalid type: array")
        .replace("invalid type: map", "invalid type: table")
        .trim_end()
        .to_owned()
}

/// The configuration file, kept as text to point into it.
#[derive(Debug)]
pub(super) struct FileLayer {
    pub path: PathBuf,
    pub partial: Partial,
    text: String,
}

impl FileLayer {
    fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::from_bytes(path, Self::bytes(path)?)
    }

    fn bytes(path: &Path) -> Result<Vec<u8>, ConfigError> {
        let failed = |source| ConfigError::Read {
            path: path.to_owned(),
            source,
        };
        let mut bytes = Vec::new();
        // A FIFO would wait for a writer, and whoever reloads with it.
        if std::fs::metadata(path).is_ok_and(|file| !file.is_file()) {
            return Err(failed(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it is no regular file",
            )));
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
            let bytes = error.into_bytes();
            let before = String::from_utf8_lossy(&bytes[..at]);
            error_at(
                path,
                &before,
                at,
                "this byte is no part of a text in UTF-8".to_owned(),
            )
        })?;
        Self::parse(path, text)
    }

    fn parse(path: &Path, text: String) -> Result<Self, ConfigError> {
        match toml::from_str(&text) {
            Ok(partial) => Ok(Self {
                path: path.to_owned(),
                partial,
                text,
            }),
            Err(error) => {
                let at = error.span().map_or(0, |span| span.start);
                let mut problem = say(error.message());
                if let Some(key) = key_at(&text, at) {
                    problem = format!("`{key}`: {problem}");
                }
                Err(error_at(path, &text, at, problem))
            }
        }
    }

    /// An error about the value at a place; if that was left out, about what it would stand in.
    pub(super) fn error(&self, place: &str, problem: String) -> ConfigError {
        let spots = spots(&self.text);
        let start = |place: &str| Some(spots.iter().find(|spot| spot.place == place)?.span.start);
        let at = start(place).or_else(|| start(place.rsplit_once('.')?.0));
        error_at(&self.path, &self.text, at.unwrap_or(0), problem)
    }
}

fn error_at(path: &Path, text: &str, at: usize, problem: String) -> ConfigError {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    ConfigError::File {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
        problem,
    }
}

/// The key whose name or value stands at an offset.
fn key_at(text: &str, at: usize) -> Option<String> {
    spots(text)
        .into_iter()
        .find(|spot| spot.span.contains(&at))
        .map(|spot| spot.key)
}

/// Something with a value.
struct Spot {
    /// As people call it: `account.runs`.
    key: String,
    /// Which of several tables it is in: `account[1].runs`.
    place: String,
    /// From the key's first byte to the value's last; of a table in an array, its header.
    span: Range<usize>,
}

/// Every key with a value, and every table of an array after what is in it. Empty if this is no TOML.
fn spots(text: &str) -> Vec<Spot> {
    fn collect(table: &DeTable<'_>, above: (&str, &str), found: &mut Vec<Spot>) {
        for (name, value) in table {
            let key = format!("{}{}", above.0, name.get_ref());
            let place = format!("{}{}", above.1, name.get_ref());
            match value.get_ref() {
                DeValue::Table(below) => {
                    collect(below, (&format!("{key}."), &format!("{place}.")), found);
                }
                DeValue::Array(values) => {
                    for (number, value) in values.iter().enumerate() {
                        let DeValue::Table(below) = value.get_ref() else {
                            continue;
                        };
                        let place = format!("{place}[{number}]");
                        collect(below, (&format!("{key}."), &format!("{place}.")), found);
                        found.push(Spot {
                            key: key.clone(),
                            place,
                            span: value.span(),
                        });
                    }
                    found.push(Spot {
                        key,
                        place,
                        span: name.span().start..value.span().end,
                    });
                }
                _ => found.push(Spot {
                    key,
                    place,
                    span: name.span().start..value.span().end,
                }),
            }
        }
    }
    let mut found = Vec::new();
    if let Ok(table) = DeTable::parse(text) {
        collect(table.get_ref(), ("", ""), &mut found);
    }
    found
}
