//! Supervisor: discovers runs, starts and restarts their tailers, and handles requests about runs.
//!
//! A directory in the runs directory whose name is a run id is a run. The scan every `watch.scan_interval`
//! decides which runs exist; events only make it sooner. A tailer that fails is started again, after ever
//! longer pauses, and does not affect other runs.

mod discovery;
mod failures;
pub mod handle;
mod own_directories;
mod requests;
mod run_locations;
mod runs_directory;
mod starts;
mod tailers;
mod unread_entries;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::logfile::pool::{Job, Progress};
use crate::logfile::unread::Unread;
use crate::model::RunId;
use crate::store::{RunInfo, Snapshot, StoreError};
use crate::tailer::tree::Depth;
use crate::tailer::{Ended, TailerContext, TailerError};
use crate::watch::{Hints, Mode};

use failures::Failures;
use handle::Request;
use own_directories::OwnDirectories;
use requests::SweptStop;
use run_locations::PathOwner;
pub use run_locations::RunLocations;
use runs_directory::{Listed, RunsDirectory};
use starts::Resolved;
use tailers::{RunningTailer, ScanRounds};
use unread_entries::UnreadEntries;

/// At the start reading waits until everything is watched, or no further run was watched for this long.
const WATCHED_WITHIN: Duration = Duration::from_millis(500);

/// An event that the supervisor handles.
enum SupervisorEvent {
    Hints(Hints),
    /// A scan is due.
    Tick,
    /// A check of the poller's progress is due.
    PollerDue,
    TailerEnded(RunId, Result<Ended, TailerError>),
    StatusesChanged,
    SettingsChanged,
    Request(Request),
    /// The runs directory was listed, or the listing stalled.
    Listed(Progress<Listed>),
    /// It is committed that a run's directory is gone.
    Vanished(RunId),
    /// The check of a run's own directory; true if it exists.
    OwnDirectoryChecked(RunId, bool),
    /// The directory that a start names was resolved.
    Resolved(Resolved),
    /// The links in the runs directory, by the kind of their targets.
    Surveyed(Option<Unread>),
    /// A run's last sweep has ended, or its tailer has.
    Swept(SweptStop),
    Stop,
}

/// The actor that owns all tailers.
pub struct Supervisor {
    shared: Arc<TailerContext>,
    places: RunLocations,
    requests: mpsc::Receiver<Request>,
    stop: CancellationToken,
    tailers: HashMap<RunId, RunningTailer>,
    tasks: JoinSet<(RunId, Result<Ended, TailerError>)>,
    failures: Failures,
    rounds: ScanRounds,
    directory: RunsDirectory,
    unread: UnreadEntries,
    own_directories: OwnDirectories,
    /// Starts whose directory is being resolved.
    resolving: JoinSet<Resolved>,
    /// Stops whose last sweep is under way.
    sweeps: JoinSet<SweptStop>,
    /// Runs whose directories are gone, until that is committed; none of them is started before.
    vanishing: HashSet<RunId>,
    vanishings: JoinSet<RunId>,
    /// Runs that were forgotten and whose directories still exist.
    forgotten: BTreeSet<RunId>,
    /// Runs in the store at the start, until the first listing of the runs directory.
    known_at_start: BTreeMap<RunId, RunInfo>,
    /// An attempt to get events again while the watcher polls.
    retrying: Option<Job<bool>>,
    /// Times the database had been replaced when the tailers were started.
    replaced: u64,
    /// The first listing of the runs directory is done or failed: every run that existed at the start has a
    /// status.
    has_looked: bool,
    backlog_done: CancellationToken,
}

impl Supervisor {
    /// A supervisor for runs at these places. The token `ready` of `shared` is cancelled once every run that
    /// exists at first is watched, `backlog_done` once it is read.
    #[must_use]
    pub fn new(
        shared: Arc<TailerContext>,
        places: RunLocations,
        requests: mpsc::Receiver<Request>,
        stop: CancellationToken,
        backlog_done: CancellationToken,
    ) -> Self {
        let replaced = shared.store.replaced();
        Self {
            shared,
            places,
            requests,
            stop,
            tailers: HashMap::new(),
            tasks: JoinSet::new(),
            failures: Failures::default(),
            rounds: ScanRounds::default(),
            directory: RunsDirectory::default(),
            unread: UnreadEntries::default(),
            own_directories: OwnDirectories::default(),
            resolving: JoinSet::new(),
            sweeps: JoinSet::new(),
            vanishing: HashSet::new(),
            vanishings: JoinSet::new(),
            forgotten: BTreeSet::new(),
            known_at_start: BTreeMap::new(),
            retrying: None,
            replaced,
            has_looked: false,
            backlog_done,
        }
    }

    /// Handles events until it is stopped; then every tailer finishes the work it has.
    pub async fn run(mut self) {
        let mut settings = self.shared.settings.clone();
        let mut tick = scan_interval(&settings.borrow());
        // Its task ends with this.
        let mut beginning = JoinSet::new();
        beginning.spawn(begin_reads(Arc::clone(&self.shared)));
        self.load_runs().await;
        self.discover();
        self.check_progress().await;
        loop {
            // Thousands of runs may end or be stopped at once; lines of the others do not wait for all of them.
            if let Some(hints) = self.shared.watch.take() {
                self.forward(hints).await;
            }
            match self.next_event(&mut tick, &mut settings).await {
                SupervisorEvent::Hints(hints) => self.forward(hints).await,
                SupervisorEvent::Tick => self.tick().await,
                SupervisorEvent::PollerDue => self.check_poller(),
                SupervisorEvent::TailerEnded(run, result) => self.tailer_ended(run, result).await,
                SupervisorEvent::StatusesChanged => self.check_progress().await,
                SupervisorEvent::SettingsChanged => {
                    tick = scan_interval(&settings.borrow());
                    self.rescan();
                    // The first tick, which comes at once, restarts what failed: the settings may have been
                    // the cause.
                    self.failures.hurry_all(Instant::now());
                }
                SupervisorEvent::Request(request) => self.handle_request(request).await,
                SupervisorEvent::Listed(listed) => self.listed(listed).await,
                SupervisorEvent::Vanished(run) => self.vanish_committed(&run),
                SupervisorEvent::OwnDirectoryChecked(run, exists) => {
                    self.own_directory_checked(run, exists).await;
                }
                SupervisorEvent::Resolved(resolved) => self.resolved(resolved).await,
                SupervisorEvent::Surveyed(links) => {
                    self.unread.finish_survey(links, &self.places, &self.shared);
                }
                SupervisorEvent::Swept(swept) => self.swept(swept).await,
                SupervisorEvent::Stop => break,
            }
        }
        self.stop_tailers().await;
    }

    /// Waits for the next event. The order is the priority.
    async fn next_event(
        &mut self,
        tick: &mut Interval,
        settings: &mut watch::Receiver<Arc<Settings>>,
    ) -> SupervisorEvent {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => SupervisorEvent::Stop,
            Some(ended) = self.tasks.join_next() => match ended {
                Ok((run, result)) => SupervisorEvent::TailerEnded(run, result),
                // Panics in a tailer's work are caught in its task, so this is the end of the runtime.
                Err(_) => SupervisorEvent::Tick,
            },
            Some(Ok(swept)) = self.sweeps.join_next() => SupervisorEvent::Swept(swept),
            Some(request) = self.requests.recv() => SupervisorEvent::Request(request),
            listed = self.directory.progress() => SupervisorEvent::Listed(listed),
            Some(Ok(run)) = self.vanishings.join_next() => SupervisorEvent::Vanished(run),
            Some((run, exists)) = self.own_directories.checked() => {
                SupervisorEvent::OwnDirectoryChecked(run, exists)
            }
            Some(Ok(resolved)) = self.resolving.join_next() => SupervisorEvent::Resolved(resolved),
            links = self.unread.surveyed() => SupervisorEvent::Surveyed(links),
            Ok(()) = settings.changed() => SupervisorEvent::SettingsChanged,
            hints = self.shared.watch.next() => SupervisorEvent::Hints(hints),
            () = self.shared.statuses.changed() => SupervisorEvent::StatusesChanged,
            () = self.rounds.poller_due() => SupervisorEvent::PollerDue,
            _ = tick.tick() => SupervisorEvent::Tick,
        }
    }

    /// Reads from the store which runs are known, and where their logs are.
    #[expect(
        clippy::redundant_closure_for_method_calls,
        reason = "the path of the method names one lifetime of a snapshot, a closure takes any"
    )]
    async fn load_runs(&mut self) {
        self.forgotten = self
            .look_up(|snapshot| snapshot.forgotten())
            .await
            .unwrap_or_default();
        let known = self
            .look_up(|snapshot| snapshot.run_infos())
            .await
            .unwrap_or_default();
        for (run, info) in &known {
            if let Some(mount) = &info.mount {
                self.places.take(run, mount.clone());
            }
        }
        self.known_at_start = known;
    }

    /// Forwards hints to the tailers of their runs; a hint at an unknown run starts a look for runs.
    async fn forward(&mut self, hints: Hints) {
        if hints.rescan {
            return self.rescan();
        }
        let (mut discovers, mut restarts) = (false, false);
        for path in hints.paths {
            match self.places.run_at(&path) {
                PathOwner::Run(run, below) => {
                    if let Some(tailer) = self.tailers.get(&run) {
                        tailer.handle.hint(below.to_owned());
                        continue;
                    }
                    discovers = true;
                    // Its directory itself was replaced or has other rights. Hints below it, of which there
                    // may be many, do not hurry a failed tailer.
                    if below.as_os_str().is_empty() {
                        restarts |= self.failures.hurry(&run, Instant::now());
                    }
                }
                PathOwner::NoRun => {}
                PathOwner::Elsewhere => discovers = true,
            }
        }
        if discovers {
            self.discover();
        }
        if restarts {
            self.restart_failed().await;
        }
    }

    /// Looks for runs and has every tailer scan its run, because events were lost or the settings changed.
    fn rescan(&mut self) {
        self.directory.identity = None;
        self.discover();
        for tailer in self.tailers.values() {
            tailer.handle.rescan();
        }
    }

    /// The work of each scan interval.
    async fn tick(&mut self) {
        if self.shared.store.replaced() != self.replaced {
            self.restart_all();
        }
        let is_polling = self.shared.watch.health().mode != Mode::Events;
        if is_polling && self.retrying.as_ref().is_none_or(Job::is_done) {
            let watch = Arc::clone(&self.shared.watch);
            self.retrying = Some(self.shared.pool.start(move || watch.retry()));
        }
        if self.shared.store.defers() {
            // With each command the committer checks for how long observations have been deferred.
            let _ = self.shared.committer.send_heartbeat().await;
        }
        self.discover_if_changed();
        let depth = if self.shared.watch.health().mode == Mode::Events {
            Depth::Changed
        } else {
            Depth::Everything
        };
        self.start_round(depth);
        self.restart_failed().await;
        self.check_progress().await;
    }

    /// Cancels `ready` when everything is watched, and `backlog_done` when the first backlog is read.
    async fn check_progress(&mut self) {
        if self.shared.ready.is_cancelled() && self.backlog_done.is_cancelled() {
            return;
        }
        if !self.has_looked && self.places.directory.is_some() || self.own_directories.has_checks() {
            return;
        }
        let (watched, caught_up) = self.shared.statuses.progress();
        if watched && !self.shared.ready.is_cancelled() {
            self.shared.ready.cancel();
        }
        // While the runs directory does not exist, its backlog is unknown.
        if caught_up
            && (self.directory.identity.is_some() || self.places.directory.is_none())
            && !self.backlog_done.is_cancelled()
            && self.shared.committer.end_backlog().await.is_ok()
        {
            self.backlog_done.cancel();
        }
    }

    /// Reads from the store, which may wait for the disk; `None` after an error, which is logged.
    async fn look_up<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        match self.read_store(read).await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    /// Reads from the store, which may wait for the disk: on a thread of the pool, since slow answers to clients
    /// may have all those of the runtime.
    async fn read_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.shared.store.clone();
        let path = store.path().to_owned();
        let mut reading = self.shared.pool.start(move || read(&store.snapshot()?));
        reading.done().await.unwrap_or_else(|error| {
            let what = error.to_string();
            Err(StoreError::Other { path, what })
        })
    }
}

/// Lets the tailers read once everything is watched. A run that hangs is not waited for: it is enough that no
/// further run was watched for a while.
async fn begin_reads(shared: Arc<TailerContext>) {
    let mut unwatched = usize::MAX;
    loop {
        tokio::select! {
            () = shared.ready.cancelled() => break,
            () = tokio::time::sleep(WATCHED_WITHIN) => {}
        }
        let before = std::mem::replace(&mut unwatched, shared.statuses.unwatched());
        // Before the first run is known there is nothing to read.
        if unwatched >= before && shared.statuses.digest().runs > 0 {
            break;
        }
    }
    shared.reads_begin.cancel();
}

fn scan_interval(settings: &Settings) -> Interval {
    let mut interval = tokio::time::interval(settings.watch.scan_interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
