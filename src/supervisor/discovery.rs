//! Discovery: takes over each listing of the runs directory, and starts tailers for new runs.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use tokio::task::JoinSet;

use super::Supervisor;
use super::runs_directory::{AfterListing, Listed, Listing, ListingResult};
use crate::logfile::mounts::mount_of;
use crate::logfile::pool::{Progress, STALLED_AFTER};
use crate::logfile::unread::{Unread, UnreadKind};
use crate::logfile::{Entry, EntryKind, LogFileError};
use crate::model::{RunId, StopReason};
use crate::store::{RunInfo, Start};
use crate::tailer::stall::does_not_answer;

impl Supervisor {
    /// Looks for runs, even if the runs directory seems unchanged.
    pub(super) fn discover(&mut self) {
        self.directory.known_listing = None;
        self.look_for_runs();
    }

    /// Looks for runs, if the runs directory has changed since every run in it was known.
    pub(super) fn discover_if_changed(&mut self) {
        // A listing under way does not need another one behind it.
        if !self.directory.is_being_listed() {
            self.look_for_runs();
        }
    }

    fn look_for_runs(&mut self) {
        self.check_own_directories();
        self.directory.list(&self.shared, &self.places);
    }

    /// Takes over a listing. A listing that stalls is reported; nothing waits for it any longer.
    pub(super) async fn listed(&mut self, progress: Progress<Listed>) {
        self.has_looked = true;
        match progress {
            Progress::Stalled => {
                self.listing_stalled();
                let waiting = self.directory.take_all_waiting();
                self.resume(waiting, None).await;
            }
            Progress::Done(listed) => self.listing_done(listed).await,
        }
        self.check_progress().await;
    }

    async fn listing_done(&mut self, listed: ListingResult) {
        let had_stalled = self.directory.finish();
        if let (true, Some(directory)) = (had_stalled, self.places.directory.as_deref()) {
            self.shared.suspects.note_answer(&mount_of(directory).devices);
        }
        let mut found = None;
        match listed {
            Ok(Listed::Unchanged(known_listing)) => {
                // Unless a request came meanwhile.
                self.directory.known_listing = self.directory.known_listing.map(|_| known_listing);
                self.shared.statuses.runs_directory(None);
            }
            Ok(Listed::Changed(listing)) => found = Some(self.directory_changed(listing).await),
            Ok(Listed::Failed(error)) => self.listing_failed(&error),
            Err(error) => tracing::error!("looking at the runs directory failed: {error}"),
        }
        let waiting = self.directory.take_waiting();
        self.resume(waiting, found.as_ref()).await;
        if self.directory.take_repeated() {
            self.discover();
        }
    }

    fn listing_stalled(&mut self) {
        self.directory.is_stalled = true;
        let Some(directory) = self.places.directory.as_deref() else {
            return;
        };
        let mounted = mount_of(directory);
        self.shared.suspects.note_stalled(&mounted.devices, STALLED_AFTER);
        let problem = format!(
            "the runs directory: {}",
            does_not_answer(directory, mounted.place.as_deref())
        );
        tracing::warn!("{problem}");
        self.shared.statuses.runs_directory(Some(problem));
    }

    fn listing_failed(&mut self, error: &LogFileError) {
        let existed = self.directory.identity.take().is_some();
        self.directory.is_gone = matches!(error, LogFileError::Gone(_));
        if existed && self.directory.is_gone {
            self.wake_runs_in_directory();
        }
        let hint = if self.directory.is_gone {
            "; make it, or set runs_dir to the directory with the runs"
        } else {
            ""
        };
        let problem = format!("the runs directory: {error}{hint}");
        let directory = self.places.directory.clone().unwrap_or_default();
        if self.directory.is_first_failure(directory) || existed {
            tracing::warn!("{problem}; runs are picked up when the runs directory can be read");
        }
        self.shared.statuses.runs_directory(Some(problem));
    }

    /// Takes over the contents of the runs directory; returns the runs in it.
    async fn directory_changed(&mut self, listing: Listing) -> HashSet<RunId> {
        let before = self.directory.identity.replace(listing.identity);
        if before != Some(listing.identity) {
            self.wake_runs_in_directory();
        }
        self.directory.is_gone = false;
        self.move_to(&listing.directory);
        self.shared.statuses.runs_directory(None);
        let found = self.take_over(listing).await;
        let known = std::mem::take(&mut self.known_at_start);
        self.note_vanished(known).await;
        found
    }

    /// Wakes the runs in the runs directory, because it was replaced or removed. No event reports that for
    /// the runs in it, and the scans would reach those at rest one after the other.
    fn wake_runs_in_directory(&self) {
        for (run, tailer) in &self.tailers {
            if !self.places.has(run) {
                tailer.handle.hint(PathBuf::new());
            }
        }
    }

    /// Sets the path of the runs directory without links. If a link on the way to it has another target now,
    /// its runs are restarted there.
    fn move_to(&mut self, directory: &Path) {
        let before = self.places.directory.replace(directory.to_owned());
        if self.tailers.is_empty() || before.as_deref() == Some(directory) {
            return;
        }
        tracing::info!(directory = %directory.display(), "the runs directory leads elsewhere now; runs are read there");
        for (run, tailer) in &mut self.tailers {
            if !self.places.has(run) {
                tailer.restart();
            }
        }
    }

    /// Starts tailers for the runs in the runs directory that have none; returns the runs in it.
    async fn take_over(&mut self, listing: Listing) -> HashSet<RunId> {
        let Listing { entries, known, .. } = listing;
        self.release_forgotten(&entries).await;
        self.unread.set_links(&entries);
        self.unread.start_survey(&self.places, &self.shared);
        let found = self.runs_among(entries);
        let mut new: Vec<RunId> = (found.iter())
            .filter(|run| !self.tailers.contains_key(*run) && !self.failures.contains(run))
            .filter(|run| !self.forgotten.contains(*run) && !self.vanishing.contains(*run))
            .cloned()
            .collect();
        new.sort_unstable();
        if self.start_new(new).await {
            self.directory.known_listing = Some(known);
        }
        found.into_iter().collect()
    }

    /// The runs among the entries of the runs directory.
    fn runs_among(&mut self, entries: Vec<Entry>) -> Vec<RunId> {
        let mut found = Vec::new();
        let mut names = Unread::default();
        for entry in entries {
            if entry.kind != EntryKind::Directory {
                continue;
            }
            match self.places.named(&entry.path) {
                // The logs of this run are elsewhere, so the directory belongs to no run.
                Ok(run) if self.places.has(&run) => {}
                Ok(run) => found.push(run),
                Err(error) => {
                    self.unread.log_name(&entry.path, &error.to_string());
                    names.add(UnreadKind::NoRun, &entry.path, None);
                }
            }
        }
        self.unread.set_names(names, &self.places, &self.shared);
        found
    }

    /// Registers runs that have no tailer and starts their tailers; `false` if the committer is gone.
    pub(super) async fn start_new(&mut self, new: Vec<RunId>) -> bool {
        if new.is_empty() {
            return true;
        }
        let backlog = !self.backlog_done.is_cancelled();
        let accounts = self.shared.settings.borrow().accounts.clone();
        let starts = new.iter().map(|run| Start {
            run: run.clone(),
            account: accounts.of_run(run).clone(),
            labels: None,
            mount: None,
            lease: None,
        });
        let started = self.shared.committer.start(starts.collect(), backlog).await;
        if started.is_err() {
            return false;
        }
        self.start_tailers(new, false).await;
        true
    }

    /// Stops runs with counted lines whose directories vanished while the collector was down.
    async fn note_vanished(&self, known: BTreeMap<RunId, RunInfo>) {
        if self.directory.identity.is_none() {
            return;
        }
        let vanished = known.into_iter().filter(|(run, info)| {
            info.stopped.is_none() && info.earliest.is_some() && !self.tailers.contains_key(run)
        });
        let mut stops = JoinSet::new();
        for (run, _) in vanished {
            let committer = self.shared.committer.clone();
            stops.spawn(async move {
                if committer.stop(run.clone(), StopReason::Vanished).await.is_ok() {
                    tracing::info!(%run, "its directory went while the collector was down; what was counted stays");
                }
            });
        }
        while stops.join_next().await.is_some() {}
    }

    /// Frees the names of forgotten runs whose directories are gone.
    async fn release_forgotten(&mut self, entries: &[Entry]) {
        if self.forgotten.is_empty() {
            return;
        }
        let present: HashSet<RunId> = (entries.iter())
            .filter_map(|entry| self.places.layout.run_of(entry.path.as_os_str()).ok())
            .collect();
        let gone: Vec<RunId> = (self.forgotten.iter())
            .filter(|run| !present.contains(*run))
            .cloned()
            .collect();
        if gone.is_empty() || self.shared.committer.release(gone.clone()).await.is_err() {
            return;
        }
        self.forgotten.retain(|run| !gone.contains(run));
    }

    /// Looks for the directory of a run that has no tailer, and resumes the request afterwards.
    pub(super) async fn after_look(&mut self, run: &RunId, request: AfterListing) {
        if !self.places.has(run) {
            self.after_listing(request).await;
        } else if self.failures.contains(run) {
            Box::pin(self.resume(vec![request], None)).await;
        } else {
            self.own_directories.wait(run.clone(), request);
            self.discover();
        }
    }

    /// Resumes a request after a listing of the runs directory that begins from now on.
    pub(super) async fn after_listing(&mut self, request: AfterListing) {
        if self.directory.is_stalled || self.places.directory.is_none() {
            // The listing does not return, or there is no directory to list.
            Box::pin(self.resume(vec![request], None)).await;
        } else {
            self.directory.wait(request);
            self.discover();
        }
    }

    /// Resumes requests after a listing; `found` are the runs in the runs directory, if it could be listed.
    pub(super) async fn resume(&mut self, waiting: Vec<AfterListing>, found: Option<&HashSet<RunId>>) {
        let mut forgets = Vec::new();
        for request in waiting {
            match request {
                AfterListing::Stop(stop, done) => self.stop_known(stop, done).await,
                AfterListing::Forget(run, done) => forgets.push((run, done)),
                AfterListing::Started(done, answer) => {
                    let _ = done.send(answer);
                }
            }
        }
        if !forgets.is_empty() {
            let runs_dir_is_there = self.places.directory.is_some();
            let is_there = |run: &RunId| found.map_or(runs_dir_is_there, |found| found.contains(run));
            self.forget(forgets, is_there).await;
        }
    }
}
