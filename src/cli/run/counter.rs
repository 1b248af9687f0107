//! The counter of a run: the collector, or an embedded one.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::super::args::Global;
use super::super::client::ClientError;
use super::super::exit::{Exit, Failure};
use super::super::log;
use super::super::print::output;
use super::super::runs::document::Document;
use super::super::runs::{self, StartBody};
use super::super::settings::{self, CollectorAddress};
use super::embedded::Embedded;
use crate::config::{LogSettings, Origin, Settings};
use crate::model::RunId;

/// The counter of the run.
pub enum Counter {
    Collector {
        socket: PathBuf,
        run: RunId,
        /// True if it holds a place.
        is_admitted: bool,
    },
    Embedded(Box<Embedded>),
}

impl Counter {
    /// Starts the run in the collector, or embedded if none answers and that is allowed.
    ///
    /// # Errors
    /// The run is refused, or cannot be counted here.
    pub async fn begin(
        global: &Global,
        asked: CollectorAddress,
        start: &StartBody,
        embedded: bool,
    ) -> Result<Self, Failure> {
        let socket = asked.socket;
        let is_admitted = start.lease.is_some();
        let started = if is_admitted {
            runs::patiently(|| runs::start(&socket, start)).await
        } else {
            runs::start(&socket, start).await
        };
        let why = match started {
            Ok(_) => {
                return Ok(Self::Collector {
                    socket,
                    run: start.run.clone(),
                    is_admitted,
                });
            }
            Err(ClientError::NotRunning(_)) if embedded => "no collector answers on",
            // No socket was named, and the service's socket is closed to this user.
            Err(ClientError::Connect { error, .. })
                if embedded && error.kind() == ErrorKind::PermissionDenied && is_unnamed(&asked.settings) =>
            {
                "this user may not use the collector on"
            }
            Err(error) => return Err(error.into()),
        };
        let mut settings = asked.settings?;
        if global.db.is_none() {
            if !is_own(&settings.db) {
                settings.db = settings::defaults(global)?.db;
            }
            settings.db = settings.db.with_file_name(format!("run-{}.redb", start.run));
        }
        start_log(&settings);
        let note = format!(
            "{why} {}; run {} is counted here, in {}",
            socket.display(),
            start.run,
            settings.db.display()
        );
        output::warn(global.json, &note);
        let embedded = Embedded::begin(settings, start).await.map_err(|mut failure| {
            if failure.code == Exit::Permission {
                failure.message.push_str("; or name a file for it with --db");
            }
            failure
        })?;
        Ok(Self::Embedded(Box::new(embedded)))
    }

    /// Stops the run; returns its document after the last byte.
    ///
    /// # Errors
    /// The run is incomplete; the message contains the remedy.
    pub async fn end(self) -> Result<Document, Failure> {
        match self {
            Self::Collector {
                socket,
                run,
                is_admitted,
            } => {
                let stopped = if is_admitted {
                    runs::patiently(|| runs::stop(&socket, &run, false)).await
                } else {
                    runs::stop(&socket, &run, false).await
                };
                stopped.map_err(|error| {
                    let failure = Failure::from(error);
                    let place = if is_admitted {
                        ", which also gives its place back"
                    } else {
                        ""
                    };
                    let message = format!(
                        "the totals of run {run} are not complete: {}; ask for them again later{place}: \
                         tokentail stop {run}",
                        failure.message
                    );
                    Failure::new(failure.code, message)
                })
            }
            Self::Embedded(embedded) => {
                let whole = embedded.end().await?;
                serde_json::to_value(&whole)
                    .and_then(serde_json::from_value)
                    .map_err(|error| {
                        Failure::new(Exit::Bug, format!("the run's document cannot be read: {error}"))
                    })
            }
        }
    }
}

/// True if a new file beside the database lies in a directory of this user: a service could not open another
/// user's file.
fn is_own(db: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let mut above = db.ancestors().skip(1);
    // Missing directories are made in the one above.
    let owner = above.find_map(|directory| match directory.metadata() {
        Ok(there) => Some(Some(there.uid())),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(_) => Some(None),
    });
    owner.flatten() == Some(user)
}

fn is_unnamed(settings: &Result<Settings, Failure>) -> bool {
    let origin = settings.as_ref().map(|settings| settings.origin("socket"));
    matches!(origin, Ok(Origin::Default(_)))
}

/// The log appears beside the command's output: only errors, unless a level was set.
fn start_log(settings: &Settings) {
    let level = match settings.origin("log.level") {
        Origin::Default(_) => "warn".to_owned(),
        _ => settings.log.level.clone(),
    };
    // The level does not change until the end.
    let _ = log::start(&LogSettings {
        level,
        ..settings.log
    });
}
