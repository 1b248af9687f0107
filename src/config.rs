//! Settings: resolved from all layers and checked once.
//!
//! A flag overrides a variable, a variable the file, the file the default. A resolved value is present and
//! within its bounds, and its origin is recorded. No other code reads variables or configuration files.

mod accounts;
mod age;
mod example;
mod file;
mod host;
mod layers;
mod mistakes;
mod notifications;
mod prices;
mod render;
mod resolve;
mod schema;
mod units;
mod url;
pub mod web;
mod wording;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use serde_json::Value;

use crate::globs::Globs;
use crate::globs::layout::Layout;
use crate::prices::PriceList;
use crate::quota::notice::target::NoticeTarget;

pub use accounts::{
    ACCOUNT_LABEL, Accounts, PROVIDER_LABEL, UnknownAccount, WhichAccount, check_name as check_account_name,
    name_an_account,
};
pub use age::{Age, Keep};
pub use example::{KeyHelp, KeyTable, key_tables};
pub use layers::{Environment, LogFormat, Origin, Partial, VARIABLE_PREFIX};
pub use mistakes::{ConfigError, FilePlace, Mistakes, did_you_mean, near};
pub use notifications::rows as notify_rows;
pub use notifications::secret::{SIGNING_PREFIX, SecretError, read_secrets};
pub use prices::read_prices;
use resolve::Resolver;
pub use schema::schema;
pub use units::{ByteSize, Period};
pub use url::is_loopback_url;

/// The checked settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// An absolute path, like all paths here.
    pub runs_dir: PathBuf,
    pub db: PathBuf,
    pub socket: PathBuf,
    pub watch: WatchSettings,
    pub limits: Limits,
    pub store: StoreSettings,
    pub retention: RetentionSettings,
    pub log: LogSettings,
    pub runs: RunsSettings,
    pub http: HttpSettings,
    /// Longest duration of a stop; what is not read by then is left to the next start.
    pub shutdown_grace: Duration,
    /// Time zone of the days of daily budgets.
    pub quota_zone: TimeZone,
    pub accounts: Accounts,
    pub notify: NotifySettings,
    /// Time before it is used up within which a window is forecast.
    pub forecast_within: Duration,
    /// List prices, with those of the operator's file.
    pub prices: Arc<PriceList>,
    /// The operator's file, if there is one.
    pub prices_file: Option<PathBuf>,
    /// The configuration file that was read, if any.
    pub config_file: Option<PathBuf>,
    /// The origin of each value, by key.
    pub origins: BTreeMap<&'static str, Origin>,
    /// Values that are allowed but probably not intended.
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

/// Settings of runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunsSettings {
    pub layout: Layout,
    /// Directories below which a run may have its logs, beside the runs directory.
    pub mount_roots: Vec<PathBuf>,
    /// Time without new data after which a run is stopped.
    pub idle_stop: Duration,
}

/// Settings of the TCP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// `None` if the endpoint is off.
    pub listen: Option<SocketAddr>,
    /// The file with the token that every request needs.
    pub token_file: Option<PathBuf>,
    /// True if a proxy in front terminates TLS.
    pub tls_in_front: bool,
    /// True if the token may cross the network unencrypted.
    pub allow_plain_http: bool,
    /// Further host names that requests may use.
    pub hosts: Vec<String>,
    /// Origins of web pages that may read the answers.
    pub origins: Vec<String>,
    /// The bound of each endpoint.
    pub connections_max: usize,
    /// The bound of streams and WebSockets over both endpoints.
    pub subscribers_max: usize,
}

/// The targets of events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NotifySettings {
    pub targets: Arc<[NoticeTarget]>,
    /// The variables that a program gets.
    pub variables: BTreeMap<String, OsString>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub cache_bytes: usize,
    pub commit_rows_max: usize,
}

/// Ages at which something is removed, see [`prune`](crate::store::prune).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    pub details: Keep,
    pub tombstones: Keep,
    pub totals: Keep,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Directives of the log filter, checked.
    pub level: String,
    pub format: LogFormat,
}

/// One setting as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub key: &'static str,
    /// In TOML.
    pub value: String,
    pub origin: Origin,
}

/// A key of the example configuration.
struct Key {
    name: &'static str,
    default: &'static str,
    help: &'static str,
    /// True if it cannot change while the collector runs.
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

/// Every key outside of accounts and targets, in the order of the example. The defaults of the three paths are those of the service.
const KEYS: &[Key] = &[
    fixed(
        "runs_dir",
        "\"/var/lib/tokentail/runs\"",
        "Runs directory, with one directory per run. Else: ./runs",
    ),
    fixed(
        "db",
        "\"/var/lib/tokentail/tokentail.redb\"",
        "Database file. Else: tokentail/ in $XDG_STATE_HOME, ~/.local/state",
    ),
    fixed(
        "socket",
        "\"/run/tokentail/tokentail.sock\"",
        "Control socket. Else: tokentail/ in $XDG_RUNTIME_DIR, beside the store",
    ),
    key(
        "prices",
        "\"\"",
        "File with prices of models that override the built-in list, for estimated costs; \"\" for none.",
    ),
    key(
        "watch.include",
        "[\"*/mount/**/*.jsonl\", \"*/mount/**/*.jsonl.superseded-*\"]",
        "Logs to read, relative to runs_dir; `**` crosses directories.",
    ),
    key("watch.exclude", "[]", "Logs among these that are not read."),
    key(
        "watch.scan_interval",
        "\"2s\"",
        "Interval of scans for changes without events, 100ms to 1h.",
    ),
    key(
        "limits.line_bytes_max",
        "\"16MiB\"",
        "A longer line is skipped and counted, 4KiB to 256MiB.",
    ),
    key(
        "limits.files_per_run_max",
        "100000",
        "Further files of a run are not read, and reported; 1 to 10000000.",
    ),
    key(
        "limits.depth_max",
        "32",
        "Deepest directory below the run's directory, 1 to 1000.",
    ),
    key(
        "limits.turn_bytes_max",
        "\"4MiB\"",
        "Bytes read of one file before the next gets its turn, 64KiB to 256MiB.",
    ),
    key(
        "limits.idle_close",
        "\"2s\"",
        "Time without new data after which a file is closed, 100ms to 1h.",
    ),
    fixed(
        "store.cache_bytes",
        "\"4MiB\"",
        "Memory of the database cache, 1MiB to 4GiB.",
    ),
    fixed(
        "store.commit_rows_max",
        "65536",
        "Most rows in one commit, 1 to 10000000.",
    ),
    key(
        "retention.details",
        "\"90d\"",
        "Age at which details of responses are removed, which changes no total: 1d to 3660d, or \"forever\".",
    ),
    key(
        "retention.tombstones",
        "\"forever\"",
        "Age at which the keys of such responses are removed too; older lines are not counted any more. Not below details.",
    ),
    key(
        "retention.totals",
        "\"forever\"",
        "Age at which sums are removed: totals become smaller. Not below details.",
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
        "Further directories below which a registered run may have its logs.",
    ),
    key(
        "runs.idle_stop",
        "\"24h\"",
        "Time without new data after which a run is stopped; new data resumes it. 1m to 8760h.",
    ),
    fixed(
        "http.listen",
        "\"127.0.0.1:7717\"",
        "Address for reading over TCP; \"off\" for none.",
    ),
    fixed(
        "http.token_file",
        "\"\"",
        "File with the token that every request for data over TCP needs, relative to $CREDENTIALS_DIRECTORY if that is set; \"\" for none.",
    ),
    fixed(
        "http.tls_in_front",
        "false",
        "True if a proxy in front terminates TLS; this or the next one, and a token, is needed to listen beyond this host.",
    ),
    fixed(
        "http.allow_plain_http",
        "false",
        "True if the token may cross the network unencrypted.",
    ),
    fixed(
        "http.hosts",
        "[]",
        "Further host names that requests may use, as in [\"tokentail.example\"].",
    ),
    fixed(
        "http.origins",
        "[]",
        "Origins of web pages that may read the answers, as in [\"https://board.example\", \"tauri://localhost\"].",
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
        "Longest duration of a stop, 100ms to 1h.",
    ),
    key(
        "quota.zone",
        "\"UTC\"",
        "Time zone of the days of daily budgets: a name of the IANA database, as in \"Europe/Berlin\".",
    ),
    key(
        "quota.forecast_within",
        "\"30m\"",
        "A window that will be used up within this time, and before its reset, is an event for notifications; 1m to 168h.",
    ),
    key(
        "accounts.open",
        "false",
        "Accept accounts without a table below, from labels, marks and observations.",
    ),
];

impl Settings {
    /// Resolves and checks all layers.
    ///
    /// # Errors
    /// All mistakes, each with its file, line and column, its variable or its flag, and the allowed values.
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
            // Without the file, its settings are unknown.
            Err(error) => {
                mistakes.push(error);
                Err(mistakes)
            }
        }
    }

    /// The settings of a [`Self::document`] from another process, with that process's configuration file.
    ///
    /// # Errors
    /// The document is from another version.
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

    /// Every key with its value and its origin, in the order of the example.
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

    /// The origin of a key's value; `account` stands for all accounts.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default(None))
    }

    /// The keys whose new value needs a restart.
    #[must_use]
    pub fn needs_restart(&self, new: &Self) -> Vec<&'static str> {
        KEYS.iter()
            .zip(self.values().into_iter().zip(new.values()))
            .filter(|(key, (now, then))| key.fixed && now != then)
            .map(|(key, _)| key.name)
            .collect()
    }

    /// The values of `KEYS` in their order, in TOML.
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
            path(self.prices_file.as_deref().unwrap_or(Path::new(""))),
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
            quoted(&self.retention.details),
            quoted(&self.retention.tombstones),
            quoted(&self.retention.totals),
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
            period(self.forecast_within),
            self.accounts.is_open().to_string(),
        ]
    }
}
