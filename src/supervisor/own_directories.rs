//! Runs whose logs are in directories of their own: each directory is checked on a thread of the pool.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::Supervisor;
use super::runs_directory::AfterListing;
use crate::logfile::LogFileError;
use crate::model::RunId;
use crate::tailer::access::check;

/// The checks under way.
#[derive(Default)]
pub(super) struct OwnDirectories {
    checks: JoinSet<(RunId, bool)>,
    /// Runs with a check under way.
    checked: HashSet<RunId>,
    /// Requests that wait for the check of a run.
    waiting: Vec<(RunId, AfterListing)>,
}

impl OwnDirectories {
    pub(super) fn has_checks(&self) -> bool {
        !self.checked.is_empty()
    }

    /// Waits for the end of a check: the run, and true if its directory exists. `None` if there is no check.
    pub(super) async fn checked(&mut self) -> Option<(RunId, bool)> {
        self.checks.join_next().await?.ok()
    }

    /// Has a request wait for the next check of a run.
    pub(super) fn wait(&mut self, run: RunId, request: AfterListing) {
        self.waiting.push((run, request));
    }

    /// Ends the check of a run; returns the requests that waited for it.
    fn finish(&mut self, run: &RunId) -> Vec<AfterListing> {
        self.checked.remove(run);
        let waiting = self.waiting.extract_if(.., |(whose, _)| whose == run);
        waiting.map(|(_, request)| request).collect()
    }
}

impl Supervisor {
    /// Checks the own directories of runs that have no tailer. Any check may hang.
    pub(super) fn check_own_directories(&mut self) {
        for (run, directory) in self.places.own() {
            if self.tailers.contains_key(&run)
                || self.failures.contains(&run)
                || self.vanishing.contains(&run)
                || !self.own_directories.checked.insert(run.clone())
            {
                continue;
            }
            let shared = Arc::clone(&self.shared);
            self.own_directories.checks.spawn(async move {
                let path = directory.path.clone();
                let exists = check(&shared, &path, move || {
                    let opened = directory.open();
                    !matches!(opened, Err(LogFileError::Gone(_) | LogFileError::Refused(_)))
                });
                // A directory that cannot be read, or does not answer, gets a tailer too, which reports that.
                (run, exists.await.unwrap_or(true))
            });
        }
    }

    /// Starts the tailer of a run whose own directory exists, and resumes the requests that waited for that.
    pub(super) async fn own_directory_checked(&mut self, run: RunId, exists: bool) {
        let waiting = self.own_directories.finish(&run);
        let is_known = self.tailers.contains_key(&run) || self.failures.contains(&run);
        if exists && !is_known && self.places.has(&run) {
            self.start_new(vec![run]).await;
        }
        self.resume(waiting, None).await;
        self.check_progress().await;
    }
}
