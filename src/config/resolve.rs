//! Resolution: one value per key from the layers, checked against its bounds.
//!
//! An invalid value is reported at its origin: the file's line, the variable, the flag.

mod http;
mod notifications;
mod retention;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::accounts::{self, Accounts};
use super::file::FileLayer;
use super::layers::{Environment, LogFormat, Origin, Partial, SOCKET_NAME};
use super::mistakes::{ConfigError, MISTAKES_MAX, MistakeText, Mistakes, did_you_mean, near};
use super::prices::read_prices;
use super::units::{ByteSize, Count, Flag, List, Period, within};
use super::{HttpSettings, Limits, LogSettings, RunsSettings, Settings, StoreSettings, WatchSettings};
use crate::globs::layout::Layout;
use crate::globs::{GlobError, Globs, check_amount};
use crate::prices::PriceList;

const MIB: u64 = 1 << 20;

/// The bounds of every period.
const PERIOD_RANGE: RangeInclusive<Period> =
    Period(Duration::from_millis(100))..=Period(Duration::from_hours(1));
const LINE_BYTES_RANGE: RangeInclusive<ByteSize> = ByteSize(4096)..=ByteSize(256 * MIB);
const TURN_BYTES_RANGE: RangeInclusive<ByteSize> = ByteSize(65_536)..=ByteSize(256 * MIB);
/// The kernel caches the file too; a larger one is memory that a collector at rest keeps.
const CACHE_BYTES_DEFAULT: u64 = 4 * MIB;
const CACHE_BYTES_RANGE: RangeInclusive<ByteSize> = ByteSize(MIB)..=ByteSize(4096 * MIB);
const FILES_PER_RUN_RANGE: RangeInclusive<Count> = Count(1)..=Count(10_000_000);
const DEPTH_RANGE: RangeInclusive<Count> = Count(1)..=Count(1000);
const COMMIT_ROWS_RANGE: RangeInclusive<Count> = Count(1)..=Count(10_000_000);

const IDLE_STOP_RANGE: RangeInclusive<Period> =
    Period(Duration::from_mins(1))..=Period(Duration::from_hours(8760));

const ZONE_DEFAULT: &str = "UTC";

/// Longest path that Linux accepts, in bytes.
const PATH_BYTES_MAX: usize = 4095;
/// Longest socket path that Linux accepts, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Takes each key from the first layer that has it.
pub(super) struct Resolver<'a> {
    /// The layer of highest priority first.
    layers: Vec<(Origin, Partial)>,
    file: Option<FileLayer>,
    environment: &'a Environment,
    origins: BTreeMap<&'static str, Origin>,
    mistakes: Mistakes,
    /// Values that are allowed but probably not intended.
    doubts: Vec<ConfigError>,
}

impl<'a> Resolver<'a> {
    pub(super) fn new(
        mut layers: Vec<(Origin, Partial)>,
        mut file: Option<FileLayer>,
        environment: &'a Environment,
        mut mistakes: Mistakes,
    ) -> Self {
        if let Some(file) = &mut file {
            layers.push((Origin::File(file.path.clone()), std::mem::take(&mut file.partial)));
            mistakes.extend(std::mem::take(&mut file.mistakes));
        }
        Self {
            layers,
            file,
            environment,
            origins: BTreeMap::new(),
            mistakes,
            doubts: Vec::new(),
        }
    }

    /// Resolves all keys. An invalid value is recorded, and resolution continues, so that all mistakes are
    /// found.
    pub(super) fn settings(mut self) -> Result<Settings, Mistakes> {
        let runs_dir = self.path(
            "runs_dir",
            |p| p.runs_dir.clone(),
            |this| Some(this.runs_dir_default()),
        );
        let db = self.path("db", |p| p.db.clone(), Self::db_default);
        let socket = self.path(
            "socket",
            |p| p.socket.clone(),
            |this| Some(this.socket_default(&db)),
        );
        self.check_socket(&socket);
        let (prices_file, prices) = self.prices();
        let layout = self.pick("runs.layout", |p| p.runs.layout, Layout::default);
        let watch = self.watch(layout);
        let limits = self.limits();
        let store = self.store();
        let retention = self.retention();
        let level = self.pick("log.level", |p| p.log.level.clone(), || "info".to_owned());
        if let Err(problem) = check_level(&level) {
            self.refuse("log.level", problem);
        }
        let format = self.pick("log.format", |p| p.log.format, LogFormat::default);
        let shutdown_grace = self.period("shutdown.grace", |p| p.shutdown.grace, 10);
        let zone = self.pick("quota.zone", |p| p.quota.zone.clone(), || ZONE_DEFAULT.to_owned());
        let quota_zone = zone_named(&zone).unwrap_or_else(|problem| {
            self.refuse("quota.zone", problem);
            TimeZone::UTC
        });
        let forecast_within = self.forecast_within();
        let accounts = self.accounts();
        let notify = self.notify();
        let runs = self.runs(layout);
        let http = self.http();
        if !self.mistakes.is_empty() {
            return Err(self.mistakes);
        }
        Ok(Settings {
            runs,
            http,
            runs_dir,
            db,
            socket,
            watch,
            limits,
            store,
            retention,
            log: LogSettings { level, format },
            shutdown_grace,
            quota_zone,
            accounts,
            notify,
            forecast_within,
            prices,
            prices_file,
            config_file: self.file.map(|file| file.path),
            origins: self.origins,
            doubts: self.doubts,
        })
    }

    fn limits(&mut self) -> Limits {
        Limits {
            line_bytes_max: self.bytes(
                "limits.line_bytes_max",
                |p| p.limits.line_bytes_max,
                16 * MIB,
                LINE_BYTES_RANGE,
            ),
            files_per_run_max: self.count(
                "limits.files_per_run_max",
                |p| p.limits.files_per_run_max,
                100_000,
                FILES_PER_RUN_RANGE,
            ),
            depth_max: self.count("limits.depth_max", |p| p.limits.depth_max, 32, DEPTH_RANGE),
            turn_bytes_max: self.bytes(
                "limits.turn_bytes_max",
                |p| p.limits.turn_bytes_max,
                4 * MIB,
                TURN_BYTES_RANGE,
            ),
            idle_close: self.period("limits.idle_close", |p| p.limits.idle_close, 2),
        }
    }

    fn store(&mut self) -> StoreSettings {
        StoreSettings {
            cache_bytes: self.bytes(
                "store.cache_bytes",
                |p| p.store.cache_bytes,
                CACHE_BYTES_DEFAULT,
                CACHE_BYTES_RANGE,
            ),
            commit_rows_max: self.count(
                "store.commit_rows_max",
                |p| p.store.commit_rows_max,
                65_536,
                COMMIT_ROWS_RANGE,
            ),
        }
    }

    fn watch(&mut self, layout: Layout) -> WatchSettings {
        let default = || {
            List(
                (layout.include_default().iter())
                    .map(|pattern| (*pattern).to_owned())
                    .collect(),
            )
        };
        let List(include) = self.pick("watch.include", |p| p.watch.include.clone(), default);
        let List(exclude) = self.pick("watch.exclude", |p| p.watch.exclude.clone(), || List(Vec::new()));
        let globs = Globs::new(&include, &exclude).unwrap_or_else(|error| {
            self.refuse_globs(&include, &exclude, &error);
            Globs::default()
        });
        WatchSettings {
            include,
            exclude,
            globs,
            scan_interval: self.period("watch.scan_interval", |p| p.watch.scan_interval, 2),
        }
    }

    /// Records every invalid pattern; if each is valid alone, the error of the whole list.
    fn refuse_globs(&mut self, include: &[String], exclude: &[String], whole: &GlobError) {
        // If there are too many patterns, they are not checked one by one.
        let mut refused = false;
        let lists = [("watch.include", include), ("watch.exclude", exclude)];
        for (key, patterns) in lists {
            if let Err(error) = check_amount(key, patterns) {
                self.refuse(key, error.to_string());
                refused = true;
            }
        }
        if refused {
            return;
        }
        for (key, patterns) in lists {
            let is_include = key == "watch.include";
            for pattern in patterns.iter().filter(|pattern| !pattern.is_empty()) {
                let one = std::slice::from_ref(pattern);
                let judged = if is_include {
                    Globs::new(one, &[])
                } else {
                    Globs::new(&["*/**".to_owned()], one)
                };
                if let Err(error) = judged {
                    self.refuse(key, error.to_string());
                    refused = true;
                }
            }
        }
        if !refused {
            let is_include = whole.list() == "include";
            self.refuse(
                if is_include {
                    "watch.include"
                } else {
                    "watch.exclude"
                },
                whole.to_string(),
            );
        }
    }

    fn runs(&mut self, layout: Layout) -> RunsSettings {
        let List(roots) = self.pick(
            "runs.mount_roots",
            |p| p.runs.mount_roots.clone(),
            || List(Vec::new()),
        );
        let mount_roots: Vec<PathBuf> = roots.into_iter().map(PathBuf::from).collect();
        for root in mount_roots.iter().filter(|root| !root.is_absolute()) {
            let problem = format!("{:?} is not an absolute path", root.display().to_string());
            self.refuse("runs.mount_roots", problem);
        }
        let default = || Period(Duration::from_hours(24));
        let idle_stop = self.pick("runs.idle_stop", |p| p.runs.idle_stop, default);
        let Period(idle_stop) = self.within("runs.idle_stop", idle_stop, &IDLE_STOP_RANGE);
        RunsSettings {
            layout,
            mount_roots,
            idle_stop,
        }
    }

    /// The operator's prices; a file that cannot be used is a mistake of the whole configuration.
    fn prices(&mut self) -> (Option<PathBuf>, Arc<PriceList>) {
        let path = self.pick("prices", |p| p.prices.clone(), PathBuf::new);
        if path.as_os_str().is_empty() {
            return (None, Arc::default());
        }
        let path = self.environment.cwd.join(path);
        // The settings of another process are for comparison only.
        if !self.environment.has_files {
            return (Some(path), Arc::default());
        }
        let list = match read_prices(&path) {
            Ok(prices) => PriceList::new(Some(prices)),
            Err(mistakes) => {
                self.refuse_prices(mistakes);
                PriceList::default()
            }
        };
        (Some(path), Arc::new(list))
    }

    /// A file that cannot be read is a mistake where it is named, the others are in it.
    fn refuse_prices(&mut self, mistakes: Mistakes) {
        match mistakes.list.first() {
            Some(ConfigError::Read { path, source }) => {
                let problem = format!("cannot read {}: {source}", path.display());
                self.refuse("prices", problem);
            }
            _ => self.mistakes.extend(mistakes),
        }
    }

    fn accounts(&mut self) -> Accounts {
        let Flag(open) = self.pick("accounts.open", |p| p.accounts.open, || Flag(false));
        self.named_accounts().opened(open)
    }

    /// From the file alone: a list of tables cannot be given as a variable or a flag.
    fn named_accounts(&mut self) -> Accounts {
        let layers = &mut self.layers;
        let given = layers.iter_mut().find_map(|(_, layer)| layer.account.take());
        let Some((file, given)) = self.file.as_ref().zip(given) else {
            self.origins.insert("account", Origin::Default(None));
            return Accounts::default();
        };
        self.origins.insert("account", Origin::File(file.path.clone()));
        let is_whole = !self.mistakes.is_about("account");
        let (accounts, mistakes) = Accounts::new(&given, is_whole);
        let mut mistakes: Vec<_> = mistakes
            .iter()
            .map(|mistake| (file.span(&mistake.place()).start, mistake))
            .collect();
        mistakes.sort_by_key(|(at, _)| *at);
        for (at, mistake) in mistakes {
            let error = || file.error(&mistake.place(), mistake.problem());
            self.mistakes.push_at(at, error);
        }
        let doubts = accounts::doubts(&given);
        let doubts = doubts
            .iter()
            .take(MISTAKES_MAX)
            .map(|doubt| file.error(&doubt.place(), doubt.problem()));
        self.doubts.extend(doubts);
        accounts
    }

    fn find<T>(&mut self, key: &'static str, get: impl Fn(&Partial) -> Option<T>) -> Option<T> {
        let (origin, value) = self
            .layers
            .iter()
            .find_map(|(origin, layer)| Some((origin, get(layer)?)))?;
        self.origins.insert(key, origin.clone());
        Some(value)
    }

    fn pick<T>(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<T>,
        default: impl FnOnce() -> T,
    ) -> T {
        self.find(key, get).unwrap_or_else(|| {
            self.origins.insert(key, Origin::Default(None));
            default()
        })
    }

    /// A default that cannot be determined is recorded by `default` itself.
    fn path(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<PathBuf>,
        default: impl FnOnce(&mut Self) -> Option<(PathBuf, &'static str)>,
    ) -> PathBuf {
        if let Some(path) = self.find(key, get) {
            if path.as_os_str().is_empty() {
                let problem = "an empty path; leave the key out for the default";
                self.refuse(key, problem.to_owned());
            } else if path.as_os_str().len() > PATH_BYTES_MAX {
                let bytes = path.as_os_str().len();
                self.refuse(
                    key,
                    format!("a path has at most {PATH_BYTES_MAX} bytes, this one has {bytes}"),
                );
                return PathBuf::new();
            }
            return self.environment.cwd.join(path);
        }
        let Some((path, place)) = default(self) else {
            return PathBuf::new();
        };
        self.origins.insert(key, Origin::Default(Some(place)));
        path
    }

    fn bytes(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<ByteSize>,
        default: u64,
        range: RangeInclusive<ByteSize>,
    ) -> usize {
        let value = self.pick(key, get, || ByteSize(default));
        let ByteSize(value) = self.within(key, value, &range);
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    fn count(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<Count>,
        default: u64,
        range: RangeInclusive<Count>,
    ) -> usize {
        let value = self.pick(key, get, || Count(default));
        let Count(value) = self.within(key, value, &range);
        usize::try_from(value).unwrap_or(usize::MAX)
    }

    fn period(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<Period>,
        default_seconds: u64,
    ) -> Duration {
        let value = self.pick(key, get, || Period(Duration::from_secs(default_seconds)));
        let Period(length) = self.within(key, value, &PERIOD_RANGE);
        length
    }

    fn within<T: PartialOrd + fmt::Display>(
        &mut self,
        key: &'static str,
        value: T,
        range: &RangeInclusive<T>,
    ) -> T {
        if let Err(problem) = within(&value, range) {
            self.refuse(key, problem);
        }
        value
    }

    /// Records an invalid value at its origin.
    fn refuse(&mut self, key: &'static str, problem: impl Into<MistakeText>) {
        let error = self.error(key, problem.into());
        self.mistakes.push(error);
    }

    /// The error for a key, with the value's origin.
    fn error(&self, key: &'static str, problem: MistakeText) -> ConfigError {
        let problem = problem.of_key(key);
        match (self.origins.get(key), &self.file) {
            (Some(Origin::File(_)), Some(file)) => file.error(key, problem),
            (Some(Origin::Variable(name)), _) => ConfigError::variable(name, problem),
            (Some(Origin::Flag), _) => ConfigError::Flag { problem },
            _ => ConfigError::Default { problem },
        }
    }

    fn check_socket(&mut self, socket: &Path) {
        let bytes = socket.as_os_str().len();
        // A default that is too long matters only to processes that listen on it; they report it.
        if bytes <= SOCKET_PATH_BYTES_MAX || matches!(self.origins.get("socket"), Some(Origin::Default(_))) {
            return;
        }
        let problem = format!(
            "a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, {} has {bytes}",
            socket.display()
        );
        self.refuse("socket", problem);
    }

    fn runs_dir_default(&self) -> (PathBuf, &'static str) {
        match self.environment.directory("STATE_DIRECTORY") {
            Some(state) => (state.join("runs"), "$STATE_DIRECTORY"),
            None => (self.environment.cwd.join("runs"), "the working directory"),
        }
    }

    fn db_default(&mut self) -> Option<(PathBuf, &'static str)> {
        const NAME: &str = "tokentail.redb";
        let environment = self.environment;
        let directory = |name| environment.directory(name);
        if let Some(state) = directory("STATE_DIRECTORY") {
            Some((state.join(NAME), "$STATE_DIRECTORY"))
        } else if let Some(state) = directory("XDG_STATE_HOME") {
            Some((state.join("tokentail").join(NAME), "$XDG_STATE_HOME"))
        } else if let Some(home) = directory("HOME") {
            Some((home.join(".local/state/tokentail").join(NAME), "$HOME"))
        } else {
            let problem =
                "no place for the store: set the key, or one of STATE_DIRECTORY, XDG_STATE_HOME, HOME";
            self.refuse("db", problem.to_owned());
            None
        }
    }

    fn socket_default(&self, db: &Path) -> (PathBuf, &'static str) {
        match self.environment.runtime_directory() {
            Some((directory, place)) => (directory.join(SOCKET_NAME), place),
            None => (db.with_file_name(SOCKET_NAME), "`db`"),
        }
    }
}

/// From the bundled zones, so that days are the same on every machine.
fn zone_named(name: &str) -> Result<TimeZone, MistakeText> {
    let zones = TimeZoneDatabase::bundled();
    let found = zones.get(name).ok().filter(|zone| zone.iana_name().is_some());
    found.ok_or_else(|| {
        let names: Vec<_> = zones.available().collect();
        MistakeText {
            what: format!(
                "{name:?} is not a time zone: the name of one in the IANA database, as in \"UTC\" or \"Europe/Berlin\""
            ),
            hint: near(name, names.iter().map(jiff::tz::TimeZoneName::as_str)).map(did_you_mean),
        }
    })
}

/// The filter accepts any bare word as the name of a part, so a misspelt level would pass unnoticed.
pub(super) fn check_level(directives: &str) -> Result<(), MistakeText> {
    const ALLOWED: &str =
        "off, error, warn, info, debug, trace, or parts of the program as in \"info,tokentail::watch=debug\"";
    // An empty word would be parsed as `error`.
    let bare = |part: &&str| {
        part.is_empty() || !part.contains(['=', '[', ':']) && part.parse::<LevelFilter>().is_err()
    };
    if let Some(word) = directives.split(',').find(bare) {
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        return Err(MistakeText {
            what: format!("{word:?} is not a level: {ALLOWED}"),
            hint: near(word, levels).map(did_you_mean),
        });
    }
    // Values are not treated as patterns: some patterns of a few bytes take hours and gigabytes to compile.
    EnvFilter::builder()
        .with_regex(false)
        .parse(directives)
        .map(|_| ())
        .map_err(|error| format!("{error}: {ALLOWED}").into())
}
