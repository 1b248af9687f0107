//! The source of a report's figures: a collector, a database, or transcripts that are counted now.

use std::path::{Path, PathBuf};

use crate::api::blocks::{BlocksQuery, blocks_in};
use crate::api::http::problem::Problem;
use crate::api::usage::{UsageQuery, usage_in};
use crate::api::wire;
use crate::cli::args::{Global, ReportArgs};
use crate::cli::client::{self, ClientError, StatusCode};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::output;
use crate::cli::settings::{CollectorAddress, asking};
use crate::cli::{replay, status};
use crate::clock::Clock;
use crate::config::{Environment, Settings};
use crate::model::{Millis, RunId};
use crate::prices::PriceList;
use crate::store::Snapshot;

/// Answers questions about usage.
pub enum UsageSource<'s> {
    /// The collector behind this socket.
    Collector(&'s Path),
    Store {
        snapshot: &'s Snapshot<'s>,
        prices: &'s PriceList,
        now: Millis,
    },
}

impl UsageSource<'_> {
    /// The answer of `GET /v1/usage`.
    ///
    /// # Errors
    /// The query is refused, or the collector or the database does not answer.
    pub fn usage(&self, query: &UsageQuery) -> Result<wire::Usage, Failure> {
        match self {
            Self::Collector(socket) => {
                let path = format!("/v1/usage{}", client::query(&query.parameters()));
                Ok(client::get_json_blocking(socket, &path, client::TIMEOUT)?)
            }
            Self::Store {
                snapshot,
                prices,
                now,
            } => usage_in(snapshot, query.clone(), prices, *now).map_err(refused),
        }
    }

    /// True if there is a run of this name, also before it has used anything.
    ///
    /// # Errors
    /// The collector or the database does not answer.
    pub fn has_run(&self, run: &str) -> Result<bool, Failure> {
        match self {
            Self::Collector(socket) => {
                let path = format!("/v1/runs/{}", client::escaped(run));
                match client::get_json_blocking::<wire::RunDetail>(socket, &path, client::TIMEOUT) {
                    Ok(_) => Ok(true),
                    Err(ClientError::Status(StatusCode::NOT_FOUND, _)) => Ok(false),
                    Err(error) => Err(error.into()),
                }
            }
            Self::Store { snapshot, .. } => {
                let run = RunId::new(run).ok();
                let number = run.map(|run| snapshot.run_number(&run)).transpose()?;
                Ok(number.flatten().is_some())
            }
        }
    }

    /// The answer of `GET /v1/blocks`.
    ///
    /// # Errors
    /// As [`UsageSource::usage`].
    pub fn blocks(&self, query: &BlocksQuery) -> Result<wire::Blocks, Failure> {
        match self {
            Self::Collector(socket) => {
                let path = format!("/v1/blocks{}", client::query(&query.parameters()));
                Ok(client::get_json_blocking(socket, &path, client::TIMEOUT)?)
            }
            Self::Store {
                snapshot,
                prices,
                now,
            } => blocks_in(snapshot, query, prices, *now).map_err(refused),
        }
    }
}

/// A refusal, in the words of the route.
fn refused(problem: Problem) -> Failure {
    let (status, detail) = problem.into_parts();
    let code = if status.is_client_error() {
        Exit::Usage
    } else {
        Exit::Io
    };
    Failure::new(code, detail)
}

/// A source, and the settings if the configuration is valid.
pub struct Asked<'s> {
    pub source: UsageSource<'s>,
    pub settings: Option<&'s Settings>,
}

/// Finds the source and asks it.
///
/// # Errors
/// There is none, or the failure of `ask`.
pub fn with_source<T>(
    global: &Global,
    args: &ReportArgs,
    ask: impl FnOnce(&Asked<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if !args.logs.is_empty() {
        return of_logs(global, args.logs.clone(), ask);
    }
    let CollectorAddress { socket, settings } = asking(global)?;
    match client::get_json_blocking::<wire::Version>(&socket, "/version", client::TIMEOUT) {
        Ok(_) => ask(&Asked {
            source: UsageSource::Collector(&socket),
            settings: settings.as_ref().ok(),
        }),
        Err(error @ ClientError::NotRunning(_)) => of_files(global, &settings?, &error.into(), ask),
        Err(error) => Err(error.into()),
    }
}

/// Asks the database, or else the transcripts of this user.
fn of_files<T>(
    global: &Global,
    settings: &Settings,
    no_answer: &Failure,
    ask: impl FnOnce(&Asked<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if settings.db.exists() {
        let reader = status::stored(settings, Clock::SYSTEM, no_answer)?;
        let db = settings.db.display();
        note(
            global,
            &format!("no collector is running; these are the contents of {db}"),
        );
        return ask(&Asked {
            source: UsageSource::Store {
                snapshot: &reader.snapshot()?,
                prices: &settings.prices,
                now: Clock::SYSTEM.now(),
            },
            settings: Some(settings),
        });
    }
    let own = own_transcripts();
    // What was named is not replaced by something else.
    if let Some(own) = own
        .as_ref()
        .filter(|_| global.db.is_none() && global.socket.is_none())
    {
        let path = own.display();
        note(
            global,
            &format!("no collector is running and there is no database; counting {path} now"),
        );
        return of_logs(global, vec![own.clone()], ask);
    }
    let path = own.unwrap_or_else(|| PathBuf::from("DIRECTORY"));
    Err(Failure::new(
        Exit::Unavailable,
        format!(
            "{}; and there is no database {}; `tokentail report --logs {}` counts transcripts now",
            no_answer.message,
            settings.db.display(),
            path.display()
        ),
    ))
}

/// Counts transcripts in memory, and asks about them.
fn of_logs<T>(
    global: &Global,
    paths: Vec<PathBuf>,
    ask: impl FnOnce(&Asked<'_>) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let in_memory = Global {
        db: None,
        ..global.clone()
    };
    let (options, settings) = replay::options(&in_memory, paths)?;
    let (_, answer) = replay::run(&in_memory, &options, settings.log.format, |snapshot| {
        ask(&Asked {
            source: UsageSource::Store {
                snapshot,
                prices: &settings.prices,
                now: options.now,
            },
            settings: Some(&settings),
        })
    })?;
    answer
}

/// The directory of this user's agent, if it holds transcripts.
fn own_transcripts() -> Option<PathBuf> {
    let environment = Environment::from_process();
    let home = || Some(environment.directory("HOME")?.join(".claude"));
    let directory = environment.directory("CLAUDE_CONFIG_DIR").or_else(home)?;
    directory.join("projects").is_dir().then_some(directory)
}

/// A note beside the output; documents stand alone.
fn note(global: &Global, text: &str) {
    output::warn(global.json, text);
}
