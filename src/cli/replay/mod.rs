//! `replay`: reads transcripts once and prints the summary, or compares it with a document.

pub mod expect;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::wire;
use crate::cli::args::{self, Global};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::progress::ProgressLine;
use crate::cli::print::{output, summary as render};
use crate::cli::settings::settings;
use crate::clock::Clock;
use crate::config::{LogFormat, Origin, Settings};
use crate::logfile::LogFileError;
use crate::replay::{self, ReplayError, ReplayOptions, Replayed};
use crate::store::{Snapshot, StoreOptions};

/// Reads transcripts once and prints the summary.
///
/// # Errors
/// A path or the expected document cannot be read.
pub fn replay(global: &Global, command: &args::Replay) -> Result<Exit, Failure> {
    if let (Some(_), Some(path)) = (command.until, &global.db) {
        let path = path.display();
        return Err(Failure::new(
            Exit::Usage,
            format!(
                "lines that --until leaves out would never be read into --db {path}; give one of the two"
            ),
        ));
    }
    let golden = command.expect.as_deref().map(expect::read_golden).transpose()?;
    let now_given = command.now.or(command.until);
    let (options, settings) = options(global, command.paths.clone())?;
    let options = ReplayOptions {
        now: now_given.map_or_else(|| Clock::SYSTEM.now(), Timestamp::as_millisecond),
        until: command.until.map(Timestamp::as_millisecond),
        now_given: now_given.is_some(),
        ..options
    };
    let (replayed, ()) = run(global, &options, settings.log.format, |_| ())?;
    if let Some((golden, path)) = golden.zip(command.expect.as_deref()) {
        return compare(global, &golden, path, &replayed.summary);
    }
    let width = output::Screen::stdout().columns;
    output::document(global.json, &replayed.summary, |out| {
        render::summary(out, &replayed.summary, width)
    })?;
    Ok(Exit::Ok)
}

/// The options of a replay of these paths, with the time of day, and the settings.
///
/// # Errors
/// The configuration is invalid.
pub fn options(global: &Global, paths: Vec<PathBuf>) -> Result<(ReplayOptions, Settings), Failure> {
    // A replay in memory must not require a home directory for a database it does not use.
    let in_memory = Global {
        db: Some(PathBuf::from("unused")),
        ..global.clone()
    };
    let settings = settings(if global.db.is_some() { global } else { &in_memory })?;
    let clock = Clock::SYSTEM;
    let options = ReplayOptions {
        paths,
        globs: settings.watch.globs.clone(),
        layout: settings.runs.layout,
        layout_given: settings.origin("runs.layout") == Origin::Flag,
        limits: settings.limits,
        store: StoreOptions {
            path: global.db.clone(),
            cache_bytes: settings.store.cache_bytes,
            clock,
        },
        commit_rows_max: settings.store.commit_rows_max,
        accounts: settings.accounts.clone(),
        quota_zone: settings.quota_zone.clone(),
        prices: Arc::clone(&settings.prices),
        now: clock.now(),
        until: None,
        now_given: false,
    };
    Ok((options, settings))
}

/// Replays with a bar on a terminal and the warnings on standard error; `ask` gets the counted store.
///
/// # Errors
/// A path cannot be read.
pub fn run<T>(
    global: &Global,
    options: &ReplayOptions,
    format: LogFormat,
    ask: impl FnOnce(&Snapshot<'_>) -> T,
) -> Result<(Replayed, T), Failure> {
    let progress = std::cell::OnceCell::new();
    let replayed = replay::replay_then(
        options,
        |bytes| drop(progress.set(ProgressLine::new("replay", bytes, format))),
        |so_far| {
            if let Some(progress) = progress.get() {
                progress.advance_to(so_far.bytes, so_far.files, so_far.responses);
            }
        },
        ask,
    )?;
    drop(progress);
    print_warnings(global, &replayed.0.warnings);
    Ok(replayed)
}

/// Prints the differences between the summary and the expected document.
fn compare(global: &Global, golden: &Value, path: &Path, summary: &wire::Summary) -> Result<Exit, Failure> {
    let actual = serde_json::to_value(summary).map_err(|error| {
        Failure::new(
            Exit::Bug,
            format!("the summary cannot be written as JSON: {error}"),
        )
    })?;
    let differences = expect::compare(golden, &actual);
    let outcome = expect::ExpectOutcome::new(&differences);
    output::document(global.json, &outcome, |out| {
        expect::write_human(out, path, &differences)
    })?;
    Ok(outcome.exit())
}

/// Prints warnings to standard error. A closed reader does not change the result.
fn print_warnings(global: &Global, warnings: &[String]) {
    for warning in warnings {
        output::warn(global.json, warning);
    }
}

impl From<ReplayError> for Failure {
    fn from(error: ReplayError) -> Self {
        let code = match error {
            ReplayError::Store(error) => return error.into(),
            ReplayError::Path { ref source, .. }
            | ReplayError::LogFile(LogFileError::Io { ref source, .. }) => Exit::of_io(source.kind()),
            ReplayError::LogFile(_)
            | ReplayError::Nothing { .. }
            | ReplayError::NoTranscript { .. }
            | ReplayError::Compressed(_) => Exit::NoInput,
            ReplayError::TwiceTheSameRun(_) | ReplayError::Globs(_) => Exit::Usage,
            ReplayError::Stale { .. } => Exit::TryLater,
            ReplayError::Bounds(_) => Exit::BadData,
        };
        Self::new(code, error.to_string())
    }
}
