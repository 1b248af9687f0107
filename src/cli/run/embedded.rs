//! A collector for one run, in this process: for where none is up.
//!
//! It has a database of its own, opens no door, and ends with the run. The next one on the same database reads on from
//! where it ended.

use std::time::Duration;

use super::super::exit::{Exit, Failure};
use super::super::runs::Start;
use crate::api::summary;
use crate::api::wire::RunDetail;
use crate::app::{App, Drained, Running, Scope};
use crate::config::Settings;
use crate::store::{Store, StoreOptions};

/// Longest time for reading what there is when the run has ended.
const SWEEP_MAX: Duration = Duration::from_mins(1);

/// The running collector of a run.
pub struct Embedded {
    running: Running,
    settings: Settings,
    scope: Scope,
    start: Start,
}

impl Embedded {
    /// Starts to watch; done when everything there is is watched.
    ///
    /// # Errors
    /// The database is in use, or cannot be used.
    pub async fn begin(settings: Settings, start: &Start) -> Result<Self, Failure> {
        let scope = Scope::OneRun {
            run: start.run.clone(),
            mount: start.mount.clone(),
        };
        let running = App::start(settings.clone(), scope.clone())?;
        running.ready().await;
        Ok(Self {
            running,
            settings,
            scope,
            start: start.clone(),
        })
    }

    /// Reads everything there is now, closes the database, and says what the run used.
    ///
    /// # Errors
    /// Not everything could be read or committed in time; what was not is read the next time.
    pub async fn end(self) -> Result<RunDetail, Failure> {
        let Self {
            running,
            settings,
            scope,
            start,
        } = self;
        let run = &start.run;
        let failed = |why: String| {
            let message = format!(
                "the totals of run {run} could not be had: {why}; what was counted is in {}, \
                 and `tokentail run {run}` reads on from there",
                settings.db.display()
            );
            Failure::new(Exit::Io, message)
        };
        drained(running.shutdown(settings.shutdown_grace).await).map_err(&failed)?;
        // What was written last may not have been told of yet: a fresh start looks at everything.
        let running = App::start(settings.clone(), scope).map_err(|error| failed(error.to_string()))?;
        let read = tokio::time::timeout(SWEEP_MAX, running.caught_up()).await;
        drained(running.shutdown(settings.shutdown_grace).await).map_err(&failed)?;
        read.map_err(|_| failed(format!("there was more than is read in {} s", SWEEP_MAX.as_secs())))?;
        let options = StoreOptions {
            path: Some(settings.db.clone()),
            cache_bytes: settings.store.cache_bytes,
        };
        let view = Store::open_existing(options).and_then(|store| store.run(run));
        let view = view.map_err(|error| failed(error.to_string()))?;
        Ok(match view {
            Some(view) => summary::run_detail(run.as_str(), &view),
            // Its directory was never there.
            None => summary::run_detail(run.as_str(), &crate::store::RunView::default()),
        })
    }
}

fn drained(drained: Drained) -> Result<(), String> {
    match drained {
        Drained::Clean => Ok(()),
        Drained::GraceOver => Err("the stop took longer than shutdown.grace".to_owned()),
        Drained::Failed(error) => Err(error.to_string()),
    }
}
