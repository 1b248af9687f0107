//! Gather: one value per key out of the layers, checked against its bounds.
//!
//! Whatever is refused is refused where it was written: the file's line, the variable, the flag.

mod http;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::accounts::Accounts;
use super::layers::{ConfigError, Environment, FileLayer, LogFormat, Origin, Partial, SOCKET_NAME};
use super::units::{Bytes, Count, Flag, List, Period, within};
use super::{HttpSettings, Limits, LogSettings, RunsSettings, Settings, StoreSettings, WatchSettings};
use crate::globs::Globs;
use crate::globs::layout::Layout;

const MIB: u64 = 1 << 20;

/// The bounds of every period.
const PERIOD_RANGE: RangeInclusive<Period> =
    Period(Duration::from_millis(100))..=Period(Duration::from_hours(1));
const LINE_BYTES_RANGE: RangeInclusive<Bytes> = Bytes(4096)..=Bytes(256 * MIB);
const TURN_BYTES_RANGE: RangeInclusive<Bytes> = Bytes(65_536)..=Bytes(256 * MIB);
const CACHE_BYTES_RANGE: RangeInclusive<Bytes> = Bytes(MIB)..=Bytes(4096 * MIB);
const FILES_PER_RUN_RANGE: RangeInclusive<Count> = Count(1)..=Count(10_000_000);
const DEPTH_RANGE: RangeInclusive<Count> = Count(1)..=Count(1000);
const COMMIT_ROWS_RANGE: RangeInclusive<Count> = Count(1)..=Count(10_000_000);

const IDLE_STOP_RANGE: RangeInclusive<Period> =
    Period(Duration::from_mins(1))..=Period(Duration::from_hours(8760));

const ZONE_DEFAULT: &str = "UTC";

/// Longest path the system takes for a socket, in bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// Picks each key from the first layer that has it.
pub(super) struct Gather<'a> {
    /// The strongest first.
    layers: Vec<(Origin, Partial)>,
    file: Option<FileLayer>,
    environment: &'a Environment,
    origins: BTreeMap<&'static str, Origin>,
}

impl<'a> Gather<'a> {
    pub(super) fn new(
        layers: Vec<(Origin, Partial)>,
        file: Option<FileLayer>,
        environment: &'a Environment,
    ) -> Self {
        Self {
            layers,
            file,
            environment,
            origins: BTreeMap::new(),
        }
    }

    pub(super) fn settings(mut self) -> Result<Settings, ConfigError> {
        let runs_dir = self.path(
            "runs_dir",
            |p| p.runs_dir.clone(),
            |this| Ok(this.runs_dir_default()),
        )?;
        let db = self.path("db", |p| p.db.clone(), Self::db_default)?;
        let socket = self.path(
            "socket",
            |p| p.socket.clone(),
            |this| Ok(this.socket_default(&db)),
        )?;
        self.check_socket(&socket)?;
        let layout = self.pick("runs.layout", |p| p.runs.layout, Layout::default);
        let watch = self.watch(layout)?;
        let limits = Limits {
            line_bytes_max: self.bytes(
                "limits.line_bytes_max",
                |p| p.limits.line_bytes_max,
                16 * MIB,
                LINE_BYTES_RANGE,
            )?,
            files_per_run_max: self.count(
                "limits.files_per_run_max",
                |p| p.limits.files_per_run_max,
                100_000,
                FILES_PER_RUN_RANGE,
            )?,
            depth_max: self.count("limits.depth_max", |p| p.limits.depth_max, 32, DEPTH_RANGE)?,
            turn_bytes_max: self.bytes(
                "limits.turn_bytes_max",
                |p| p.limits.turn_bytes_max,
                4 * MIB,
                TURN_BYTES_RANGE,
            )?,
            idle_close: self.period("limits.idle_close", |p| p.limits.idle_close, 2)?,
        };
        let store = StoreSettings {
            cache_bytes: self.bytes(
                "store.cache_bytes",
                |p| p.store.cache_bytes,
                32 * MIB,
                CACHE_BYTES_RANGE,
            )?,
            commit_rows_max: self.count(
                "store.commit_rows_max",
                |p| p.store.commit_rows_max,
                65_536,
                COMMIT_ROWS_RANGE,
            )?,
        };
        let level = self.pick("log.level", |p| p.log.level.clone(), || "info".to_owned());
        check_level(&level).map_err(|problem| self.error("log.level", &problem))?;
        let format = self.pick("log.format", |p| p.log.format, LogFormat::default);
        let shutdown_grace = self.period("shutdown.grace", |p| p.shutdown.grace, 10)?;
        let zone = self.pick("quota.zone", |p| p.quota.zone.clone(), || ZONE_DEFAULT.to_owned());
        let quota_zone = zone_named(&zone).map_err(|problem| self.error("quota.zone", &problem))?;
        let accounts = self.accounts()?;
        let runs = self.runs(layout)?;
        let http = self.http()?;
        Ok(Settings {
            runs,
            http,
            runs_dir,
            db,
            socket,
            watch,
            limits,
            store,
            log: LogSettings { level, format },
            shutdown_grace,
            quota_zone,
            accounts,
            config_file: self.file.map(|file| file.path),
            origins: self.origins,
        })
    }

    fn watch(&mut self, layout: Layout) -> Result<WatchSettings, ConfigError> {
        let default = || {
            List(
                (layout.include_default().iter())
                    .map(|pattern| (*pattern).to_owned())
                    .collect(),
            )
        };
        let List(include) = self.pick("watch.include", |p| p.watch.include.clone(), default);
        let List(exclude) = self.pick("watch.exclude", |p| p.watch.exclude.clone(), || List(Vec::new()));
        let globs = Globs::new(&include, &exclude).map_err(|error| {
            let key = if error.list() == "include" {
                "watch.include"
            } else {
                "watch.exclude"
            };
            self.error(key, &error.to_string())
        })?;
        Ok(WatchSettings {
            include,
            exclude,
            globs,
            scan_interval: self.period("watch.scan_interval", |p| p.watch.scan_interval, 2)?,
        })
    }

    fn runs(&mut self, layout: Layout) -> Result<RunsSettings, ConfigError> {
        let List(roots) = self.pick(
            "runs.mount_roots",
            |p| p.runs.mount_roots.clone(),
            || List(Vec::new()),
        );
        let mount_roots: Vec<PathBuf> = roots.into_iter().map(PathBuf::from).collect();
        if let Some(root) = mount_roots.iter().find(|root| !root.is_absolute()) {
            let problem = format!("{:?} is no absolute path", root.display().to_string());
            return Err(self.error("runs.mount_roots", &problem));
        }
        let default = || Period(Duration::from_hours(24));
        let idle_stop = self.pick("runs.idle_stop", |p| p.runs.idle_stop, default);
        let Period(idle_stop) = self.within("runs.idle_stop", idle_stop, &IDLE_STOP_RANGE)?;
        Ok(RunsSettings {
            layout,
            mount_roots,
            idle_stop,
        })
    }

    fn accounts(&mut self) -> Result<Accounts, ConfigError> {
        let Flag(open) = self.pick("accounts.open", |p| p.accounts.open, || Flag(false));
        Ok(self.named_accounts()?.opened(open))
    }

    /// From the file alone: a list of tables has no form as a variable or a flag.
    fn named_accounts(&mut self) -> Result<Accounts, ConfigError> {
        let Some((file, given)) = self
            .file
            .as_ref()
            .and_then(|file| Some((file, file.partial.account.as_ref()?)))
        else {
            self.origins.insert("account", Origin::Default(None));
            return Ok(Accounts::default());
        };
        self.origins.insert("account", Origin::File(file.path.clone()));
        Accounts::new(given).map_err(|mistake| file.error(&mistake.place(), mistake.to_string()))
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

    fn path(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<PathBuf>,
        default: impl FnOnce(&Self) -> Result<(PathBuf, &'static str), ConfigError>,
    ) -> Result<PathBuf, ConfigError> {
        match self.find(key, get) {
            Some(path) if path.as_os_str().is_empty() => {
                Err(self.error(key, "an empty path; leave the key out for the default"))
            }
            Some(path) => Ok(self.environment.cwd.join(path)),
            None => {
                let (path, place) = default(self)?;
                self.origins.insert(key, Origin::Default(Some(place)));
                Ok(path)
            }
        }
    }

    fn bytes(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<Bytes>,
        default: u64,
        range: RangeInclusive<Bytes>,
    ) -> Result<usize, ConfigError> {
        let value = self.pick(key, get, || Bytes(default));
        let Bytes(value) = self.within(key, value, &range)?;
        Ok(usize::try_from(value).unwrap_or(usize::MAX))
    }

    fn count(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<Count>,
        default: u64,
        range: RangeInclusive<Count>,
    ) -> Result<usize, ConfigError> {
        let value = self.pick(key, get, || Count(default));
        let Count(value) = self.within(key, value, &range)?;
        Ok(usize::try_from(value).unwrap_or(usize::MAX))
    }

    fn period(
        &mut self,
        key: &'static str,
        get: impl Fn(&Partial) -> Option<Period>,
        default_seconds: u64,
    ) -> Result<Duration, ConfigError> {
        let value = self.pick(key, get, || Period(Duration::from_secs(default_seconds)));
        self.within(key, value, &PERIOD_RANGE)
            .map(|Period(length)| length)
    }

    fn within<T: PartialOrd + fmt::Display>(
        &self,
        key: &'static str,
        value: T,
        range: &RangeInclusive<T>,
    ) -> Result<T, ConfigError> {
        within(value, range).map_err(|problem| self.error(key, &problem))
    }

    /// Points at where the value of a key came from.
    fn error(&self, key: &'static str, problem: &str) -> ConfigError {
        let problem = format!("`{key}`: {problem}");
        match (self.origins.get(key), &self.file) {
            (Some(Origin::File(_)), Some(file)) => file.error(key, problem),
            (Some(Origin::Variable(name)), _) => ConfigError::Variable {
                name: name.clone(),
                problem,
            },
            (Some(Origin::Flag), _) => ConfigError::Flag { problem },
            _ => ConfigError::Default { problem },
        }
    }

    fn check_socket(&self, socket: &Path) -> Result<(), ConfigError> {
        let bytes = socket.as_os_str().len();
        // A default that is too long harms only those who listen on it; they will say so.
        if bytes <= SOCKET_PATH_BYTES_MAX || matches!(self.origins.get("socket"), Some(Origin::Default(_))) {
            return Ok(());
        }
        let problem = format!(
            "a socket's path has at most {SOCKET_PATH_BYTES_MAX} bytes, {} has {bytes}",
            socket.display()
        );
        Err(self.error("socket", &problem))
    }

    fn runs_dir_default(&self) -> (PathBuf, &'static str) {
        match self.environment.directory("STATE_DIRECTORY") {
            Some(state) => (state.join("runs"), "$STATE_DIRECTORY"),
            None => (self.environment.cwd.join("runs"), "the working directory"),
        }
    }

    fn db_default(&self) -> Result<(PathBuf, &'static str), ConfigError> {
        const NAME: &str = "tokentail.redb";
        let directory = |name| self.environment.directory(name);
        if let Some(state) = directory("STATE_DIRECTORY") {
            Ok((state.join(NAME), "$STATE_DIRECTORY"))
        } else if let Some(state) = directory("XDG_STATE_HOME") {
            Ok((state.join("tokentail").join(NAME), "$XDG_STATE_HOME"))
        } else if let Some(home) = directory("HOME") {
            Ok((home.join(".local/state/tokentail").join(NAME), "$HOME"))
        } else {
            Err(self.error(
                "db",
                "no place for the store: set the key, or one of STATE_DIRECTORY, XDG_STATE_HOME, HOME",
            ))
        }
    }

    fn socket_default(&self, db: &Path) -> (PathBuf, &'static str) {
        match self.environment.runtime_directory() {
            Some((directory, place)) => (directory.join(SOCKET_NAME), place),
            None => (db.with_file_name(SOCKET_NAME), "`db`"),
        }
    }
}

/// From the zones that come with the program, so that days are the same on every machine.
fn zone_named(name: &str) -> Result<TimeZone, String> {
    TimeZoneDatabase::bundled()
        .get(name)
        .ok()
        .filter(|zone| zone.iana_name().is_some())
        .ok_or_else(|| {
            format!("{name:?} is no time zone: the name of one in the IANA database, as in \"UTC\" or \"Europe/Berlin\"")
        })
}

/// The filter takes any bare word for the name of a part, so a misspelt level would pass.
pub(super) fn check_level(directives: &str) -> Result<(), String> {
    const ALLOWED: &str =
        "off, error, warn, info, debug, trace, or parts of the program as in \"info,tokentail::watch=debug\"";
    // An empty word reads as `error`, which nobody means.
    let bare = |part: &&str| {
        part.is_empty() || !part.contains(['=', '[', ':']) && part.parse::<LevelFilter>().is_err()
    };
    if let Some(word) = directives.split(',').find(bare) {
        return Err(format!("{word:?} is no level: {ALLOWED}"));
    }
    // A value is what it is and no pattern: some patterns of a few bytes take hours and gigabytes to be made ready.
    EnvFilter::builder()
        .with_regex(false)
        .parse(directives)
        .map(|_| ())
        .map_err(|error| format!("{error}: {ALLOWED}"))
}
