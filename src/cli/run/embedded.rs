//! An embedded collector for one run, used if no collector is running.
//!
//! It has a database of its own, opens no listener, and ends with the run. The next one on the same database
//! continues from its end.

use std::path::PathBuf;

use super::super::exit::{Exit, Failure};
use super::super::runs::StartBody;
use crate::api::wire::RunDetail;
use crate::app::{App, Running, Scope, ShutdownOutcome};
use crate::clock::Clock;
use crate::config::Settings;
use crate::model::{Labels, RunId};
use crate::supervisor::handle::{StartAnswer, StartRequest, StopAnswer, StopRequest};

/// The running embedded collector.
pub struct Embedded {
    running: Running,
    db: PathBuf,
    grace: std::time::Duration,
    run: RunId,
}

impl Embedded {
    /// Starts to watch the run's directory, which may appear later.
    ///
    /// # Errors
    /// The database is in use, or cannot be used; or the run has its logs in another directory.
    pub async fn begin(mut settings: Settings, start: &StartBody) -> Result<Self, Failure> {
        let run = start.run.clone();
        let default = || settings.runs_dir.join(run.as_str()).join("mount");
        let mount = start.mount.clone().unwrap_or_else(default);
        let mount = std::path::absolute(&mount).map_err(|error| Failure::on_path("find", &mount, &error))?;
        // The user who runs a command may read its output.
        settings.runs.mount_roots = vec![mount.clone()];
        let (db, grace) = (settings.db.clone(), settings.shutdown_grace);
        let labels = start.labels.iter();
        let request = StartRequest {
            run: run.clone(),
            labels: labels
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect::<Labels>(),
            mount: Some(mount),
            lease: None,
        };
        let running = App::start(settings, Scope::OnDemand, Clock::SYSTEM)?;
        let embedded = Self {
            running,
            db,
            grace,
            run,
        };
        let mut code = Exit::Usage;
        let refused = match embedded.running.supervisor().start(request).await {
            Ok(StartAnswer::New | StartAnswer::Known) => {
                embedded.running.ready().await;
                return Ok(embedded);
            }
            // It names none.
            Ok(StartAnswer::NotBound(_)) => "the run has a lease that does not fit".to_owned(),
            Ok(StartAnswer::NoSuchAccount(unknown)) => {
                code = Exit::NoInput;
                unknown.to_string()
            }
            Ok(StartAnswer::Elsewhere(account)) => {
                format!(
                    "it is already counted under account {account} there; leave the labels provider and account out"
                )
            }
            Ok(StartAnswer::MountedElsewhere(Some(mount))) => {
                format!(
                    "it has its logs in {} there; give that as --mount, or another --db",
                    mount.display()
                )
            }
            Ok(StartAnswer::MountedElsewhere(None)) => {
                "it was counted by a collector there; give another --db".to_owned()
            }
            Ok(StartAnswer::Mount(error)) => error.to_string(),
            Ok(StartAnswer::MountStalled(mount)) => {
                format!("the filesystem of {} does not answer", mount.display())
            }
            Ok(StartAnswer::MountTaken(other)) => format!("run {other} has its logs there"),
            Err(error) => error.to_string(),
        };
        let failure = Failure::new(
            code,
            format!(
                "run {} cannot be counted in {}: {refused}",
                embedded.run,
                embedded.db.display()
            ),
        );
        embedded.running.shutdown(embedded.grace).await;
        Err(failure)
    }

    /// Reads everything that is there, closes the database, and returns the run's usage.
    ///
    /// # Errors
    /// Not everything could be read or committed; the rest is read the next time.
    pub async fn end(self) -> Result<RunDetail, Failure> {
        let Self {
            running,
            db,
            grace,
            run,
        } = self;
        let failed_with = |code, why: String| {
            let message = format!(
                "the totals of run {run} are not complete: {why}; what was counted is in {}, and `tokentail run {run}` \
                 reads on from there",
                db.display()
            );
            Failure::new(code, message)
        };
        let failed = |why| failed_with(Exit::Io, why);
        let stop = StopRequest {
            run: run.clone(),
            incomplete: false,
        };
        let swept = match running.supervisor().begin_stop(stop).await {
            Ok(stopping) => stopping.await,
            Err(refused) => Err(refused),
        };
        let document = match swept {
            Ok(StopAnswer::Stopped) => running.run(&run).map_err(|error| failed(error.to_string())),
            Ok(StopAnswer::Unread(why)) => Err(failed_with(Exit::TryLater, why)),
            Ok(StopAnswer::Unknown) => Ok(None),
            Err(refused) => Err(failed(refused.to_string())),
        };
        let drained = running.shutdown(grace).await;
        let document = document?;
        match drained {
            ShutdownOutcome::Clean => {}
            ShutdownOutcome::GraceOver => {
                return Err(failed("the stop took longer than shutdown.grace".to_owned()));
            }
            ShutdownOutcome::Failed(error) => return Err(failed(error.to_string())),
        }
        document.ok_or_else(|| failed("it is not known there".to_owned()))
    }
}
