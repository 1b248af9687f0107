//! Layers: the settings of flags, of each variable, and of the file, without defaults.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::accounts::{self, PartialAccount};
use super::age::Keep;
use super::mistakes::{ConfigError, MistakeText, Mistakes};
use super::notifications::{self, PartialNotify};
use crate::globs::layout::Layout;

use super::units::{ByteSize, Count, Flag, List, Period};
use super::wording::to_toml_terms;

/// Prefix of variables that are settings.
pub const VARIABLE_PREFIX: &str = "TOKENTAIL__";

/// The socket's file name in a default directory.
pub(super) const SOCKET_NAME: &str = "tokentail.sock";

/// Last components of keys that are lists: their variables may contain an array.
const LISTS: [&str; 5] = ["include", "exclude", "mount_roots", "hosts", "origins"];

/// Settings of one layer; `None` is left to the next layer.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct Partial {
    pub runs_dir: Option<PathBuf>,
    pub db: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub prices: Option<PathBuf>,
    pub watch: PartialWatch,
    pub limits: PartialLimits,
    pub store: PartialStore,
    pub retention: PartialRetention,
    pub log: PartialLog,
    pub shutdown: PartialShutdown,
    pub quota: PartialQuota,
    pub runs: PartialRuns,
    pub http: PartialHttp,
    pub accounts: PartialAccounts,
    /// Read from the file only.
    #[serde(deserialize_with = "accounts::tables")]
    pub account: Option<Vec<PartialAccount>>,
    /// Read from the file only.
    #[serde(deserialize_with = "notifications::notify_tables")]
    pub notify: Option<Vec<PartialNotify>>,
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
    pub line_bytes_max: Option<ByteSize>,
    pub files_per_run_max: Option<Count>,
    pub depth_max: Option<Count>,
    pub turn_bytes_max: Option<ByteSize>,
    pub idle_close: Option<Period>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialStore {
    pub cache_bytes: Option<ByteSize>,
    pub commit_rows_max: Option<Count>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, expecting = "a table of settings")]
pub struct PartialRetention {
    pub details: Option<Keep>,
    pub tombstones: Option<Keep>,
    pub totals: Option<Keep>,
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
    pub forecast_within: Option<Period>,
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

/// Format of the program's own log.
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

/// The origin of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag,
    /// The name of the variable.
    Variable(String),
    File(PathBuf),
    /// Not set; the place that the default comes from, if any.
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

/// The process environment; an argument, so that tests can set it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// A value may be a path that is not UTF-8.
    pub vars: BTreeMap<String, OsString>,
    /// Base of relative paths.
    pub cwd: PathBuf,
    /// The system's configuration file.
    pub system_file: PathBuf,
    /// True if the user's and the system's file are read.
    pub has_files: bool,
}

impl Environment {
    /// The environment of this process. Bytes of a variable's name that are not UTF-8 are replaced.
    #[must_use]
    pub fn from_process() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that reads the environment"
        )]
        let variables = std::env::vars_os();
        Self {
            vars: (variables.map(|(name, value)| (name.to_string_lossy().into_owned(), value))).collect(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            system_file: PathBuf::from("/etc/tokentail/tokentail.toml"),
            has_files: true,
        }
    }

    /// No variables and no files.
    #[must_use]
    pub(super) fn empty() -> Self {
        Self {
            vars: BTreeMap::new(),
            cwd: PathBuf::from("/"),
            system_file: PathBuf::new(),
            has_files: false,
        }
    }

    /// The environment without tokentail's variables and files.
    #[must_use]
    pub fn without_settings(mut self) -> Self {
        self.vars.retain(|name, _| !name.starts_with(VARIABLE_PREFIX));
        self.has_files = false;
        self
    }

    /// A variable that contains an absolute directory; of several, separated by colons, the first. Others
    /// count as unset, as in the XDG specification.
    #[must_use]
    pub fn directory(&self, name: &str) -> Option<PathBuf> {
        let value = self.vars.get(name)?.as_bytes();
        let first = Path::new(OsStr::from_bytes(value.split(|byte| *byte == b':').next()?));
        first.is_absolute().then(|| first.to_owned())
    }

    /// The directory for sockets, and the variable it comes from.
    pub(super) fn runtime_directory(&self) -> Option<(PathBuf, &'static str)> {
        let own = || Some((self.directory("RUNTIME_DIRECTORY")?, "$RUNTIME_DIRECTORY"));
        let users = || {
            let directory = self.directory("XDG_RUNTIME_DIR")?;
            Some((directory.join("tokentail"), "$XDG_RUNTIME_DIR"))
        };
        own().or_else(users)
    }

    /// The settings in variables, each a layer with its own origin, and the mistakes.
    pub(super) fn layers(&self) -> (Vec<(Origin, Partial)>, Mistakes) {
        let named = self
            .vars
            .iter()
            .filter_map(|(name, value)| Some((name, name.strip_prefix(VARIABLE_PREFIX)?, value)));
        let mut layers = Vec::new();
        let mut mistakes = Mistakes::default();
        for (name, key, value) in named {
            let read = match value.to_str() {
                Some(text) => from_variable(key, text),
                None => Err("its value is not valid UTF-8".to_owned().into()),
            };
            match read {
                Ok(partial) => layers.push((Origin::Variable(name.clone()), partial)),
                Err(problem) => mistakes.push(ConfigError::variable(name, problem.of_key(&key_of(key)))),
            }
        }
        (layers, mistakes)
    }
}

/// The key set by a variable, given without its prefix.
fn key_of(name: &str) -> String {
    name.to_ascii_lowercase().replace("__", ".")
}

fn from_variable(key: &str, text: &str) -> Result<Partial, MistakeText> {
    let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
    if path.first().is_some_and(|name| name == "account") {
        return Err(
            "accounts are set in the configuration file only, as [[account]] tables"
                .to_owned()
                .into(),
        );
    }
    if path.first().is_some_and(|name| name == "notify") {
        return Err(
            "targets of notifications are set in the configuration file only, as [[notify]] tables"
                .to_owned()
                .into(),
        );
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
    Partial::deserialize(value).map_err(|error| to_toml_terms(error.message()))
}
