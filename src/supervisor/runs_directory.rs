//! The runs directory: its listing on a thread of the pool, and its state as of the last listing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinError;

use super::RunLocations;
use super::handle::{ForgetAnswer, StartAnswer, StopAnswer, StopRequest};
use crate::clock::Clock;
use crate::logfile::mounts::is_local;
use crate::logfile::pool::{Job, Progress};
use crate::logfile::run_dir::resolve;
use crate::logfile::{Entry, LogFileError, Root, Stat};
use crate::model::{Inode, RunId};
use crate::tailer::TailerContext;
use crate::watch::Watch;

/// A directory that changed less than this ago may change again without another time of change.
const CHANGE_TIME_GRAIN: Duration = Duration::from_secs(1);

/// Device and inode of a directory.
pub(super) type DirectoryId = (u64, Inode);

/// The result of a listing.
#[derive(Debug)]
pub(super) enum Listed {
    /// The directory has the contents of the last listing, after which every run in it was known.
    Unchanged(KnownListing),
    Changed(Listing),
    Failed(LogFileError),
}

/// The contents of the runs directory.
#[derive(Debug)]
pub(super) struct Listing {
    /// Its path without links.
    pub(super) directory: PathBuf,
    pub(super) identity: DirectoryId,
    pub(super) entries: Vec<Entry>,
    pub(super) known: KnownListing,
}

/// A state of the runs directory in which every run in it was known.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownListing {
    /// A hash of the contents, see [`Root::mark`].
    mark: u64,
    /// The time of the last change, in nanoseconds since 1970, where every change moves it. Without it
    /// thousands of runs would be listed at each scan, which is most of the work of a collector at rest.
    changed_ns: Option<i64>,
}

/// A request that continues after the next listing, so that a run that was created just now is known.
pub(super) enum AfterListing {
    Stop(StopRequest, oneshot::Sender<StopAnswer>),
    Forget(RunId, oneshot::Sender<ForgetAnswer>),
    /// The answer to a start: the tailer of the run has begun, or the run has no directory yet.
    Started(oneshot::Sender<StartAnswer>, StartAnswer),
}

/// The state of the runs directory.
#[derive(Default)]
pub(super) struct RunsDirectory {
    /// **Invariant**: at most one listing runs at a time, as it may hang.
    job: Option<Job<Listed>>,
    /// The listing does not return.
    pub(super) is_stalled: bool,
    /// The directory did not exist at the last listing.
    pub(super) is_gone: bool,
    /// Another listing has to follow, because a run may have been created behind the present one.
    is_repeated: bool,
    /// The directory that is watched; `None` while it does not exist.
    pub(super) identity: Option<DirectoryId>,
    /// `None` if the next listing has to be read in any case.
    pub(super) known_listing: Option<KnownListing>,
    /// Requests that wait for the present listing.
    waiting: Vec<AfterListing>,
    /// Requests that came during the present listing and wait for the next one.
    waiting_for_next: Vec<AfterListing>,
    /// Directories whose first failure was logged.
    logged: BTreeSet<PathBuf>,
}

impl RunsDirectory {
    pub(super) fn is_being_listed(&self) -> bool {
        self.job.is_some()
    }

    /// Starts a listing, or has another one follow the present one.
    pub(super) fn list(&mut self, shared: &TailerContext, places: &RunLocations) {
        let Some(given) = places.given.clone() else {
            return;
        };
        if self.job.is_some() {
            self.is_repeated = true;
            return;
        }
        let (watch, watched, known_listing) = (Arc::clone(&shared.watch), self.identity, self.known_listing);
        let (directory, clock) = (places.directory.clone(), shared.clock);
        self.job = Some(shared.pool.start(move || {
            list(
                &given,
                directory.as_deref(),
                watched,
                known_listing,
                &watch,
                clock,
            )
            .unwrap_or_else(Listed::Failed)
        }));
    }

    /// Waits for the end of the listing, or until it stalls; forever if there is none.
    pub(super) async fn progress(&mut self) -> Progress<Listed> {
        match &mut self.job {
            Some(job) if self.is_stalled => Progress::Done(job.done().await),
            Some(job) => job.progress().await,
            None => std::future::pending().await,
        }
    }

    /// Ends the listing; true if it had stalled.
    pub(super) fn finish(&mut self) -> bool {
        self.job = None;
        std::mem::take(&mut self.is_stalled)
    }

    /// Has a request wait for a listing that begins from now on.
    pub(super) fn wait(&mut self, request: AfterListing) {
        if self.job.is_some() {
            self.waiting_for_next.push(request);
        } else {
            self.waiting.push(request);
        }
    }

    /// The requests that waited for the listing that has ended.
    pub(super) fn take_waiting(&mut self) -> Vec<AfterListing> {
        let next = std::mem::take(&mut self.waiting_for_next);
        std::mem::replace(&mut self.waiting, next)
    }

    /// All requests that wait for any listing.
    pub(super) fn take_all_waiting(&mut self) -> Vec<AfterListing> {
        let mut waiting = std::mem::take(&mut self.waiting);
        waiting.append(&mut self.waiting_for_next);
        waiting
    }

    /// True if another listing has to follow the one that has ended.
    pub(super) fn take_repeated(&mut self) -> bool {
        std::mem::take(&mut self.is_repeated) || !self.waiting.is_empty()
    }

    /// True for the first failure of a directory.
    pub(super) fn is_first_failure(&mut self, directory: PathBuf) -> bool {
        self.logged.insert(directory)
    }
}

/// The result of a listing, or the panic in it.
pub(super) type ListingResult = Result<Listed, JoinError>;

/// Lists the runs directory, unless its state is the known one.
fn list(
    given: &Path,
    directory_before: Option<&Path>,
    watched: Option<DirectoryId>,
    known_listing: Option<KnownListing>,
    watch: &Watch,
    clock: Clock,
) -> Result<Listed, LogFileError> {
    let directory = resolve(given);
    let root = Root::open_given(&directory)?;
    let stat = root.stat(Path::new(""))?;
    let identity = (stat.device, stat.inode);
    let changed_ns = last_change(&directory, &stat, clock);
    if watched != Some(identity) || directory_before != Some(directory.as_path()) {
        // Watched before it is listed; if it cannot be watched, the scans discover new runs.
        let _ = watch.watch_dir(&directory);
    } else if let Some(known_listing) = known_listing {
        let is_same_time = known_listing.changed_ns.is_some() && known_listing.changed_ns == changed_ns;
        let mark = known_listing.mark;
        if is_same_time || mark == root.mark(Path::new(""))? {
            return Ok(Listed::Unchanged(KnownListing { mark, changed_ns }));
        }
    }
    let (entries, mark) = root.list_marked(Path::new(""))?;
    Ok(Listed::Changed(Listing {
        directory,
        identity,
        entries,
        known: KnownListing { mark, changed_ns },
    }))
}

/// The time of the last change of a directory, if another change would move it: only this kernel changes the
/// directory, and the change is older than the grain of its times. It accesses the filesystem.
fn last_change(directory: &Path, stat: &Stat, clock: Clock) -> Option<i64> {
    let age_ns = clock.timestamp().as_nanosecond() - i128::from(stat.changed_ns);
    let is_past = u128::try_from(age_ns).is_ok_and(|age| age > CHANGE_TIME_GRAIN.as_nanos());
    (is_past && is_local(directory)).then_some(stat.changed_ns)
}
