//! Config: the settings, gathered from all layers and checked once.
//!
//! A flag wins over a variable, a variable over the file, the file over the default. Afterwards every
//! value is present and within its bounds, and it is known where it came from. Nobody else reads a
//! variable or a configuration file.

mod accounts;
mod file;
mod layers;
mod mistakes;
mod render;
mod resolve;
mod schema;
mod units;
pub mod web;
mod wording;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::globs::Globs;
use crate::globs::layout::Layout;

pub use accounts::{
    ACCOUNT_LABEL, Accounts, DescribedAccount, PROVIDER_LABEL, PartialAccount, TokenKind, UnknownAccount,
    WhichAccount, check_name as check_account_name, name_an_account,
};
pub use layers::{
    Environment, LogFormat, Origin, Partial, PartialAccounts, PartialLimits, PartialLog, PartialQuota,
    PartialRuns, PartialShutdown, PartialStore, PartialWatch, VARIABLE_PREFIX,
};
pub use mistakes::{CONFIG_BYTES_MAX, ConfigError, FilePlace, MistakeText, Mistakes};
use resolve::Resolver;
pub use schema::schema;
pub use units::{ByteSize, Count, Flag, List, Period, UnitError};

/// The checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Absolute, like all paths here.
    pub runs_dir: PathBuf,
    pub db: PathBuf,
    pub socket: PathBuf,
    pub watch: WatchSettings,
    pub limits: Limits,
    pub store: StoreSettings,
    pub log: LogSettings,
    pub runs: RunsSettings,
    pub http: HttpSettings,
    /// How long a stop may take before what is left is left to the next start.
    pub shutdown_grace: Duration,
    /// Where the days of daily budgets begin.
    pub quota_zone: TimeZone,
    pub accounts: Accounts,
    /// The file that was read, if there was one.
    pub config_file: Option<PathBuf>,
    /// Where each value came from, by key.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What is allowed and was probably not meant so.
    pub doubts: Vec<ConfigError>,
}

#[derive(Clone, Debug)]
pub struct WatchSettings {
    pub include: Vec<String>,
    pub exclude: Vec<String>,
    /// Both lists, compiled.
    pub globs: Globs,
    pub scan_interval: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub line_bytes_max: usize,
    pub files_per_run_max: usize,
    /// Directories below the run's directory.
    pub depth_max: usize,
    pub turn_bytes_max: usize,
    pub idle_close: Duration,
}

/// What runs may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsSettings {
    pub layout: Layout,
    /// Directories below which a run may have its logs, beside the runs directory.
    pub mount_roots: Vec<PathBuf>,
    /// A run without news for so long is stopped.
    pub idle_stop: Duration,
}

/// The door that is open to the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// `None` for no such door.
    pub listen: Option<SocketAddr>,
    /// Holds the token that every request must bring.
    pub token_file: Option<PathBuf>,
    /// Someone in front ends TLS.
    pub tls_in_front: bool,
    /// The token may cross the network as it is.
    pub allow_plain_http: bool,
    /// Further names a request may call this host by.
    pub hosts: Vec<String>,
    /// Origins of web pages that may read the answers.
    pub origins: Vec<String>,
    /// For each door.
    pub connections_max: usize,
    /// Streams and WebSockets, over both doors.
    pub subscribers_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub cache_bytes: usize,
    pub commit_rows_max: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Directives of the filter, checked.
    pub level: String,
    pub format: LogFormat,
}

/// One setting as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub key: &'static str,
    /// As it would stand in the file.
    pub value: String,
    pub origin: Origin,
}

/// A key as the example shows it.
struct Key {
    name: &'static str,
    default: &'static str,
    help: &'static str,
    /// Cannot change while the collector runs.
    fixed: bool,
}

const fn key(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default,
        help,
        fixed: false,
    }
}

const fn fixed(name: &'static str, default: &'static str, help: &'static str) -> Key {
    Key {
        name,
        default,
        help,
        fixed: true,
    }
}

/// Every key, in the order of the example. The defaults of the three paths are those of the service.
const KEYS: &[Key] = &[
    fixed(
        "runs_dir",
        "\"/var/lib/tokentail/runs\"",
        "Where the runs are, one directory each. Else: ./runs",
    ),
    fixed(
        "db",
        "\"/var/lib/tokentail/tokentail.redb\"",
        "The store. Else: tokentail/ in $XDG_STATE_HOME, ~/.local/state",
    ),
    fixed(
        "socket",
        "\"/run/tokentail/tokentail.sock\"",
        "The control socket. Else: tokentail/ in $XDG_RUNTIME_DIR, beside the store",
    ),
    key(
        "watch.include",
        "[\"*/mount/**/*.jsonl\", \"*/mount/**/*.jsonl.superseded-*\"]",
        "Logs to read, relative to runs_dir; `**` crosses directories.",
    ),
    key("watch.exclude", "[]", "Of those, the ones not to read."),
    key(
        "watch.scan_interval",
        "\"2s\"",
        "How often to look for what events did not tell, 100ms to 1h.",
    ),
    key(
        "limits.line_bytes_max",
        "\"16MiB\"",
        "A longer line is skipped and counted, 4KiB to 256MiB.",
    ),
    key(
        "limits.files_per_run_max",
        "100000",
        "Further files of a run are not read, and said to be so; 1 to 10000000.",
    ),
    key(
        "limits.depth_max",
        "32",
        "Directories below the run's directory, 1 to 1000.",
    ),
    key(
        "limits.turn_bytes_max",
        "\"4MiB\"",
        "What one file may read before the next has its turn, 64KiB to 256MiB.",
    ),
    key(
        "limits.idle_close",
        "\"2s\"",
        "A file without news is closed after this, 100ms to 1h.",
    ),
    fixed(
        "store.cache_bytes",
        "\"32MiB\"",
        "Memory of the store's cache, 1MiB to 4GiB.",
    ),
    fixed(
        "store.commit_rows_max",
        "65536",
        "Most rows in one commit, 1 to 10000000.",
    ),
    key(
        "log.level",
        "\"info\"",
        "off, error, warn, info, debug, trace; or by part, as in \"info,tokentail::watch=debug\".",
    ),
    fixed("log.format", "\"text\"", "text or json."),
    fixed(
        "runs.layout",
        "\"runs\"",
        "runs: each directory in runs_dir is a run with its logs in mount. projects: each is a project with its logs in it, as in ~/.claude/projects.",
    ),
    key(
        "runs.mount_roots",
        "[]",
        "Directories below which a run that is started may have its logs, beside runs_dir.",
    ),
    key(
        "runs.idle_stop",
        "\"24h\"",
        "A run without news for this long is stopped; news start it again. 1m to 8760h.",
    ),
    fixed(
        "http.listen",
        "\"127.0.0.1:7717\"",
        "Where to answer over TCP, for reading only; \"off\" for nowhere.",
    ),
    fixed(
        "http.token_file",
        "\"\"",
        "File with the token that every request over TCP must bring, relative to $CREDENTIALS_DIRECTORY if that is set; \"\" for none.",
    ),
    fixed(
        "http.tls_in_front",
        "false",
        "Say that a proxy in front ends TLS; needed with a token to listen beyond this host.",
    ),
    fixed(
        "http.allow_plain_http",
        "false",
        "Or say that the token may cross the network unencrypted.",
    ),
    fixed(
        "http.hosts",
        "[]",
        "Further names by which requests may call this host, as in [\"tokentail.example\"].",
    ),
    fixed(
        "http.origins",
        "[]",
        "Web pages that may read the answers, as in [\"https://board.example\", \"tauri://localhost\"].",
    ),
    fixed(
        "http.connections_max",
        "512",
        "Most connections at once on each listener, 8 to 65536.",
    ),
    fixed("http.subscribers_max", "256", "Most streams at once, 1 to 65536."),
    key(
        "shutdown.grace",
        "\"10s\"",
        "How long a stop may take, 100ms to 1h.",
    ),
    key(
        "quota.zone",
        "\"UTC\"",
        "Where the days of daily budgets begin at midnight: a name of the IANA database, as in \"Europe/Berlin\".",
    ),
    key(
        "accounts.open",
        "false",
        "Take accounts that no table below names, as from a label, a mark or an observation.",
    ),
];

impl Settings {
    /// Gathers and checks all layers.
    ///
    /// # Errors
    /// Says of each mistake which file, line and column, which variable or which flag, and what is allowed there.
    pub fn load(
        flags: Partial,
        config_flag: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self, Mistakes> {
        let mut layers = vec![(Origin::Flag, flags)];
        let (variables, mut mistakes) = environment.layers();
        layers.extend(variables);
        match environment.file(config_flag) {
            Ok(file) => Resolver::new(layers, file, environment, mistakes).settings(),
            // Without the file nothing can be said of what it may set.
            Err(error) => {
                mistakes.push(error);
                Err(mistakes)
            }
        }
    }

    /// The settings that [`Self::document`] was made of, in another process: from `file`, if there was one.
    ///
    /// # Errors
    /// The document is that of another version.
    pub fn of_document(document: &Value, file: Option<&str>) -> Result<Self, Mistakes> {
        let path = Path::new(file.unwrap_or("/"));
        let text = toml::to_string(document).unwrap_or_default();
        let layer = file::FileLayer::from_bytes(path, text.into_bytes())?;
        let environment = Environment::empty();
        let mut settings =
            Resolver::new(Vec::new(), Some(layer), &environment, Mistakes::default()).settings()?;
        settings.config_file = file.map(PathBuf::from);
        Ok(settings)
    }

    /// Every key with its value and where that came from, in the order of the example.
    #[must_use]
    pub fn describe(&self) -> Vec<Described> {
        let values = self.values();
        KEYS.iter()
            .zip(values)
            .map(|(key, value)| Described {
                key: key.name,
                value,
                origin: self.origin(key.name),
            })
            .collect()
    }

    /// Where the value of a key came from; `account` stands for all accounts.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default(None))
    }

    /// The keys whose new value cannot be taken over while running.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        KEYS.iter()
            .zip(self.values().into_iter().zip(new.values()))
            .filter(|(key, (now, then))| key.fixed && now != then)
            .map(|(key, _)| key.name)
            .collect()
    }

    /// A configuration file in which every key is explained and commented out.
    #[must_use]
    pub fn example_toml() -> String {
        let mut text = String::from(
            "# tokentail: every key with its default, as it is for the service.\n\
             # A flag wins over a variable (TOKENTAIL__LIMITS__DEPTH_MAX=8), a variable over this file.\n",
        );
        let mut section_now = "";
        for Key {
            name, default, help, ..
        } in KEYS
        {
            let (section, name) = name.rsplit_once('.').unwrap_or(("", name));
            if section != section_now {
                let _ = write!(text, "\n[{section}]\n");
                section_now = section;
            }
            let _ = write!(text, "\n# {help}\n#{name} = {default}\n");
        }
        text.push_str(
            "\n# A provider account; one such table for each, in this file only. Of several that match a run, the\n\
             # first has it. Runs that match none belong to claude/default, as all do without such a table.\n\
             #[[account]]\n",
        );
        for Key {
            name, default, help, ..
        } in accounts::KEYS
        {
            let _ = write!(text, "\n# {help}\n#{name} = {default}\n");
        }
        text
    }

    /// One per key of `KEYS`, in TOML.
    fn values(&self) -> [String; KEYS.len()] {
        let quoted = |text: &dyn fmt::Display| toml::Value::String(text.to_string()).to_string();
        let path = |path: &Path| quoted(&path.display());
        let list = |patterns: &[String]| toml::Value::from(patterns.to_vec()).to_string();
        let paths = |paths: &[PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.display().to_string()).collect()
        };
        let period = |length: Duration| quoted(&Period(length));
        let bytes = |amount: usize| quoted(&ByteSize(amount as u64));
        [
            path(&self.runs_dir),
            path(&self.db),
            path(&self.socket),
            list(&self.watch.include),
            list(&self.watch.exclude),
            period(self.watch.scan_interval),
            bytes(self.limits.line_bytes_max),
            self.limits.files_per_run_max.to_string(),
            self.limits.depth_max.to_string(),
            bytes(self.limits.turn_bytes_max),
            period(self.limits.idle_close),
            bytes(self.store.cache_bytes),
            self.store.commit_rows_max.to_string(),
            quoted(&self.log.level),
            quoted(&self.log.format),
            quoted(&self.runs.layout),
            list(&paths(&self.runs.mount_roots)),
            period(self.runs.idle_stop),
            quoted(
                &self
                    .http
                    .listen
                    .map_or_else(|| "off".to_owned(), |listen| listen.to_string()),
            ),
            path(self.http.token_file.as_deref().unwrap_or(Path::new(""))),
            self.http.tls_in_front.to_string(),
            self.http.allow_plain_http.to_string(),
            list(&self.http.hosts),
            list(&self.http.origins),
            self.http.connections_max.to_string(),
            self.http.subscribers_max.to_string(),
            period(self.shutdown_grace),
            quoted(&self.quota_zone.iana_name().unwrap_or_default()),
            self.accounts.is_open().to_string(),
        ]
    }
}
