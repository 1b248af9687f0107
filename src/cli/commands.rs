//! The bodies of the commands.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::args::{self, Global};
use super::exit::{Exit, Failure};
use super::progress::Progress;
use super::{expect, output, render};
use crate::config::{self, ConfigError, Environment, Partial, Settings};
use crate::logfile::LogFileError;
use crate::replay::{self, ReplayError, ReplayOptions};
use crate::store::{StoreError, StoreOptions};

/// Runs the collector until a signal.
///
/// # Errors
/// The configuration is wrong, or the collector cannot start or go on.
pub fn serve(_: &Global) -> Result<Exit, Failure> {
    missing("serve")
}

/// Reads transcripts once and prints the summary.
///
/// # Errors
/// A path or the expected document cannot be read.
pub fn replay(global: &Global, command: &args::Replay) -> Result<Exit, Failure> {
    let settings = settings(global)?;
    let golden = command.expect.as_deref().map(expect::read_golden).transpose()?;
    let clock = command.now.unwrap_or_else(Timestamp::now).as_millisecond();
    let options = ReplayOptions {
        paths: command.paths.clone(),
        globs: settings.watch.globs.clone(),
        limits: settings.limits.clone(),
        store: StoreOptions {
            path: global.db.clone(),
            cache_bytes: settings.store.cache_bytes,
        },
        commit_rows_max: settings.store.commit_rows_max,
        clock,
        clock_given: command.now.is_some(),
    };
    let progress = std::cell::OnceCell::new();
    let format = global.log_format.unwrap_or_default();
    let replayed = replay::replay(
        &options,
        |bytes| drop(progress.set(Progress::new("replay", bytes, format))),
        |so_far| {
            if let Some(progress) = progress.get() {
                progress.advance_to(so_far.bytes, so_far.files, so_far.responses);
            }
        },
    )?;
    drop(progress);
    for warning in &replayed.warnings {
        eprintln!("tokentail: {warning}");
    }
    let Some((golden, path)) = golden.zip(command.expect.as_deref()) else {
        if global.json {
            output::json(&replayed.summary)?;
        } else {
            let view = render::View {
                zone: TimeZone::system(),
                rows_max: None,
            };
            output::human(|out| render::summary(out, &replayed.summary, &view))?;
        }
        return Ok(Exit::Ok);
    };
    let actual = serde_json::to_value(&replayed.summary)
        .map_err(|error| Failure::new(Exit::Bug, format!("the summary is no JSON: {error}")))?;
    let differences = expect::compare(&golden, &actual);
    if global.json {
        output::json(&expect::Outcome::new(&differences))?;
    } else {
        output::human(|out| expect::write_human(out, path, &differences))?;
    }
    Ok(expect::Outcome::new(&differences).exit())
}

/// Prints the summary of the running collector.
///
/// # Errors
/// The collector does not answer.
pub fn status(_: &Global) -> Result<Exit, Failure> {
    missing("status")
}

/// Counts the transcripts anew and compares.
///
/// # Errors
/// The database or the transcripts cannot be read.
pub fn verify(_: &Global) -> Result<Exit, Failure> {
    missing("verify")
}

/// Prints the settings in effect.
///
/// # Errors
/// The configuration is wrong.
pub fn check_config(_: &Global) -> Result<Exit, Failure> {
    missing("check-config")
}

/// The settings of all layers, the flags on top.
fn settings(global: &Global) -> Result<Settings, Failure> {
    let mut flags = Partial {
        runs_dir: global.runs_dir.clone(),
        db: global.db.clone(),
        socket: global.socket.clone(),
        ..Partial::default()
    };
    flags.log.level = global.log_level.map(|level| level.as_str().to_owned());
    flags.log.format = global.log_format.map(|format| match format {
        args::LogFormat::Text => config::LogFormat::Text,
        args::LogFormat::Json => config::LogFormat::Json,
    });
    let environment = Environment::from_process();
    Settings::load(flags, global.config.as_deref(), &environment).map_err(Failure::from)
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        let code = match &error {
            ConfigError::Read { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                Exit::Permission
            }
            ConfigError::Flag { .. } => Exit::Usage,
            _ => Exit::Config,
        };
        Self::new(code, error.to_string())
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let code = match &error {
            StoreError::InUse(_) | StoreError::Closed { .. } => Exit::Unavailable,
            StoreError::Newer { .. } | StoreError::Damaged { .. } => Exit::BadData,
            StoreError::Full { .. } | StoreError::TooManyDamaged(_) => Exit::Io,
            StoreError::Io { source, .. } => Exit::of_io(source.kind()),
            StoreError::Other { .. } => Exit::Bug,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let code = match error {
            ReplayError::Store(error) => return error.into(),
            ReplayError::Path { ref source, .. } => Exit::of_io(source.kind()),
            ReplayError::LogFile(LogFileError::Io { ref source, .. }) => Exit::of_io(source.kind()),
            ReplayError::LogFile(_) | ReplayError::Nothing(_) => Exit::NoInput,
            ReplayError::Name { .. } | ReplayError::TwiceTheSameRun(_) | ReplayError::Globs(_) => Exit::Usage,
            ReplayError::Stale { .. } => Exit::TryLater,
        };
        Self::new(code, error.to_string())
    }
}

fn missing(command: &str) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Bug, format!("`{command}` is not built yet")))
}
