//! Paths to runs: starts, wakes, restarts and retires the tailers, and does what is asked about runs.
//!
//! A directory below the runs directory whose name is a run id is a run. The 2 s scan is the truth about which there
//! are; events only make it sooner. A tailer that fails is started again, later each time, and disturbs no other.

pub mod handle;
mod run_locations;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::name_an_account;
use crate::logfile::mounts::{is_local, mounted_at};
use crate::logfile::pool::{Job, Progress, STALLED_AFTER};
use crate::logfile::run_dir::{resolve, resolve_mount};
use crate::logfile::shape::Shape;
use crate::logfile::unread::{LINKS_LOOKED_AT_MAX, Sorter, Unread, UnreadKind};
use crate::logfile::{Entry, EntryKind, LogFileError, Root, Stat};
use crate::model::format::length;
use crate::model::{RunId, StopReason};
use crate::store::{RunInfo, Start, Started, Store, StoreError, StoredRun};
use crate::tailer::poller::{PASSED_AFTER, Poller};
use crate::tailer::roster::{Dues, Roster};
use crate::tailer::stall::does_not_answer;
use crate::tailer::tree::Depth;
use crate::tailer::{Ended, Tailer, TailerContext, TailerError, TailerHandle};
use crate::watch::{Hints, Mode};

use handle::{ForgetAnswer, Request, StartAnswer, StartRequest, StopAnswer, StopRequest};
use run_locations::PathOwner;
pub use run_locations::RunLocations;

/// First pause before a failed tailer is started again, doubled each time.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Longest pause before a failed tailer is started again.
const RESTART_AFTER_MAX: Duration = Duration::from_mins(1);
/// How often someone who waits for a stop finds out that the run does not answer.
const STALL_LOOKED_FOR_EVERY: Duration = Duration::from_secs(1);
/// A directory that changed less than this ago may change again without another time of change.
const CHANGE_TIME_GRAIN: Duration = Duration::from_secs(1);
/// Names told once that they are no run ids.
const STRANGE_NAMES_MAX: usize = 1024;

/// What the supervisor hears.
enum SupervisorEvent {
    Hints(Hints),
    Tick,
    /// It is time to see how far the poller is.
    Poller,
    Ended(RunId, Result<Ended, TailerError>),
    /// A tailer's state changed.
    RunStatuses,
    /// The settings were read again.
    Settings,
    /// Someone asks for something.
    Request(Request),
    /// What there is in the runs directory, or that it does not answer.
    Listed(Progress<Listed>),
    /// It is committed that a run's directory is gone.
    Vanished(RunId),
    /// Whether a run's own directory is there.
    HomeSeen(RunId, bool),
    /// The directory that someone names for a run is found, or it cannot be that.
    Resolved(Resolved),
    /// How the runs directory is laid out, and links in it.
    Surveyed(Option<Unread>),
    /// A run's last sweep is done, or its tailer has ended; someone waits for that.
    Swept(StopRequest, Swept, oneshot::Sender<StopAnswer>),
    Stop,
}

/// Where a start says that the run's logs are.
#[derive(Clone, Debug)]
enum WantedPlace {
    /// It says nothing.
    Anywhere,
    InRunsDirectory,
    PathOwner(PathBuf),
}

/// A start whose directory was looked at.
type Resolved = (
    StartRequest,
    oneshot::Sender<StartAnswer>,
    Result<WantedPlace, StartAnswer>,
);

/// A look at the runs directory.
#[derive(Debug)]
enum Listed {
    /// It holds what it did when every run in it was known.
    Unchanged(Settled),
    Changed(Listing),
    Failed(LogFileError),
}

/// What the runs directory holds.
#[derive(Debug)]
struct Listing {
    /// Its path without links.
    directory: PathBuf,
    identity: DirectoryId,
    entries: Vec<Entry>,
    settled: Settled,
}

/// What the runs directory is like when every run in it is known.
#[derive(Clone, Copy, Debug)]
struct Settled {
    /// What it holds, see [`Root::mark`].
    mark: u64,
    /// When it last changed, in nanoseconds since 1970, where every change shows by that. To list thousands of runs at
    /// each scan is most of what a collector at rest takes.
    changed_ns: Option<i64>,
}

/// What is done once the runs directory was listed, so that a run that came just now is known.
enum AfterListing {
    Stop(StopRequest, oneshot::Sender<StopAnswer>),
    Forget(RunId, oneshot::Sender<ForgetAnswer>),
    /// The run's tailer has begun, or there is nothing yet.
    Started(oneshot::Sender<StartAnswer>, StartAnswer),
}

/// Which directory it is.
type DirectoryId = (u64, crate::model::Inode);

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any mix of them occurs"
)]
/// What others do with a supervisor: watch whether the first backlog is done.
pub struct Supervisor {
    shared: Arc<TailerContext>,
    places: RunLocations,
    stop: CancellationToken,
    runs: HashMap<RunId, RunningTailer>,
    tasks: JoinSet<(RunId, Result<Ended, TailerError>)>,
    failed: HashMap<RunId, TailerFailure>,
    strange: HashSet<PathBuf>,
    /// Kinds of what lies in the runs directory and is not read that the log has.
    logged: BTreeSet<UnreadKind>,
    /// A look at the runs directory. **Invariant**: there is never more than one, as it may hang.
    listing: Option<Job<Listed>>,
    /// The look at the runs directory does not end.
    is_listing_stalled: bool,
    /// There was no runs directory when it was last looked for.
    is_directory_gone: bool,
    /// Another look is to follow, as something may have come behind the one under way.
    lists_again: bool,
    /// Waits for the look under way, and for the one that is to follow.
    after_listing: Vec<AfterListing>,
    after_next_listing: Vec<AfterListing>,
    /// Looks at how the runs directory is laid out.
    survey: Option<Job<Option<Unread>>>,
    /// Tries to do without polling again.
    retrying: Option<Job<bool>>,
    /// Links in the runs directory, as of its last listing.
    links: Vec<Entry>,
    /// Another survey is to follow the one under way.
    surveys_again: bool,
    /// Names in the runs directory that are no run's, and links there.
    beside: (Unread, Unread),
    /// Looks whether runs' own directories are there.
    homes: JoinSet<(RunId, bool)>,
    homes_asked: HashSet<RunId>,
    /// Waits for such a look.
    after_home: Vec<(RunId, AfterListing)>,
    /// Starts whose directory is being looked for.
    resolving: JoinSet<Resolved>,
    /// Runs as the store had them at the start, until the runs directory was listed.
    known_at_start: BTreeMap<RunId, RunInfo>,
    requests: mpsc::Receiver<Request>,
    /// Runs whose directories went, until that is committed: none of them is started before.
    vanishing: HashSet<RunId>,
    vanishings: JoinSet<RunId>,
    /// Runs that are being stopped.
    sweeps: JoinSet<(StopRequest, Swept, oneshot::Sender<StopAnswer>)>,
    /// Runs that were forgotten and whose directories are still there.
    forgotten: BTreeSet<RunId>,
    /// The runs directory as it was watched; `None` while it is not there.
    root: Option<DirectoryId>,
    /// The runs directory as it was when every run in it was known.
    settled: Option<Settled>,
    poller: Poller,
    /// Of all `runs`; `None` when these have changed.
    roster: Option<Arc<Roster>>,
    dues: Dues,
    /// Tailers started so far.
    started: usize,
    replaced: u64,
    /// The runs directory was listed once, or cannot be: the board has every run there was at the start.
    has_looked: bool,
    ready: CancellationToken,
    backlog_done: CancellationToken,
}

struct RunningTailer {
    waker: TailerHandle,
    stop: CancellationToken,
    /// Start it again when it has stopped.
    again: bool,
    /// What waits for its end.
    then: Vec<Request>,
}

/// How a last sweep ended.
enum Swept {
    /// Or as far as it can be read, if that is accepted.
    ToTheEnd,
    /// Not everything could be read, for this reason, and the run goes on.
    Unread(String),
    /// There is no tailer: its directory is gone, or it failed.
    TailerGone,
}

struct TailerFailure {
    times: u32,
    why: String,
    retry_at: Instant,
}

impl Supervisor {
    /// A supervisor for runs at these places. `ready` is cancelled once everything there is at first is watched,
    /// `backlog_done` once it is read.
    #[must_use]
    pub fn new(
        shared: Arc<TailerContext>,
        places: RunLocations,
        requests: mpsc::Receiver<Request>,
        stop: CancellationToken,
        ready: CancellationToken,
        backlog_done: CancellationToken,
    ) -> Self {
        let replaced = shared.store.replaced();
        Self {
            shared,
            places,
            stop,
            runs: HashMap::new(),
            tasks: JoinSet::new(),
            failed: HashMap::new(),
            strange: HashSet::new(),
            logged: BTreeSet::new(),
            listing: None,
            is_listing_stalled: false,
            is_directory_gone: false,
            lists_again: false,
            after_listing: Vec::new(),
            after_next_listing: Vec::new(),
            survey: None,
            retrying: None,
            links: Vec::new(),
            surveys_again: false,
            beside: Default::default(),
            homes: JoinSet::new(),
            homes_asked: HashSet::new(),
            after_home: Vec::new(),
            resolving: JoinSet::new(),
            known_at_start: BTreeMap::new(),
            has_looked: false,
            requests,
            vanishing: HashSet::new(),
            vanishings: JoinSet::new(),
            sweeps: JoinSet::new(),
            forgotten: BTreeSet::new(),
            root: None,
            settled: None,
            poller: Poller::default(),
            roster: None,
            dues: Dues::default(),
            started: 0,
            replaced,
            ready,
            backlog_done,
        }
    }

    /// Works until it is stopped; then lets every tailer finish what it has.
    pub async fn run(mut self) {
        let mut settings = self.shared.settings.clone();
        let mut tick = tokio::time::interval(settings.borrow().watch.scan_interval);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.forgotten = self.look_up(Store::forgotten).await.unwrap_or_default();
        let known = self.look_up(Store::run_infos).await.unwrap_or_default();
        for (run, info) in &known {
            if let Some(mount) = &info.mount {
                self.places.take(run, mount.clone());
            }
        }
        self.known_at_start = known;
        self.discover();
        self.check_progress().await;
        loop {
            match self.next_event(&mut tick, &mut settings).await {
                SupervisorEvent::Hints(hints) => self.hints(hints).await,
                SupervisorEvent::Tick => self.tick().await,
                SupervisorEvent::Poller => self.look_at_poller(),
                SupervisorEvent::Ended(run, result) => self.ended(run, result).await,
                SupervisorEvent::RunStatuses => self.check_progress().await,
                SupervisorEvent::Settings => {
                    tick = tokio::time::interval(settings.borrow().watch.scan_interval);
                    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    self.rescan();
                    // Somebody mended something: the first tick, which comes at once, starts what failed.
                    let now = Instant::now();
                    self.failed
                        .values_mut()
                        .for_each(|failure| failure.retry_at = now);
                }
                SupervisorEvent::Request(request) => self.request(request).await,
                SupervisorEvent::Listed(listed) => self.listed(listed).await,
                SupervisorEvent::Vanished(run) => {
                    tracing::info!(%run, "its directory is gone; what was counted stays");
                    self.vanishing.remove(&run);
                    // It may have been made again meanwhile, and who told of that was told that it is known.
                    self.discover();
                }
                SupervisorEvent::HomeSeen(run, is_there) => self.home_seen(run, is_there).await,
                SupervisorEvent::Resolved((start, done, own)) => self.start_at(start, own, done).await,
                SupervisorEvent::Surveyed(links) => self.surveyed(links),
                SupervisorEvent::Swept(stop, swept, done) => self.swept(stop, swept, done).await,
                SupervisorEvent::Stop => break,
            }
        }
        for run in self.runs.values() {
            run.stop.cancel();
        }
        while self.tasks.join_next().await.is_some() {}
    }

    async fn next_event(
        &mut self,
        tick: &mut tokio::time::Interval,
        settings: &mut tokio::sync::watch::Receiver<Arc<crate::config::Settings>>,
    ) -> SupervisorEvent {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => SupervisorEvent::Stop,
            Some(ended) = self.tasks.join_next() => match ended {
                Ok((run, result)) => SupervisorEvent::Ended(run, result),
                // The task itself catches what panics in its work; this is the runtime going down.
                Err(_) => SupervisorEvent::Tick,
            },
            Some(Ok((stop, swept, done))) = self.sweeps.join_next() => SupervisorEvent::Swept(stop, swept, done),
            Some(request) = self.requests.recv() => SupervisorEvent::Request(request),
            listed = progress(&mut self.listing, self.is_listing_stalled) => SupervisorEvent::Listed(listed),
            Some(Ok(run)) = self.vanishings.join_next() => SupervisorEvent::Vanished(run),
            Some(Ok((run, is_there))) = self.homes.join_next() => SupervisorEvent::HomeSeen(run, is_there),
            Some(Ok(resolved)) = self.resolving.join_next() => SupervisorEvent::Resolved(resolved),
            links = done(&mut self.survey) => SupervisorEvent::Surveyed(links),
            Ok(()) = settings.changed() => SupervisorEvent::Settings,
            hints = self.shared.watch.next() => SupervisorEvent::Hints(hints),
            () = self.shared.board.changed() => SupervisorEvent::RunStatuses,
            () = at(self.poller.due()) => SupervisorEvent::Poller,
            _ = tick.tick() => SupervisorEvent::Tick,
        }
    }

    /// Hands hints to the runs they are about.
    async fn hints(&mut self, hints: Hints) {
        if hints.rescan {
            return self.rescan();
        }
        let (mut look_around, mut retry) = (false, false);
        for path in hints.paths {
            match self.places.run_at(&path) {
                PathOwner::Run(run, below) => {
                    if let Some(running) = self.runs.get(&run) {
                        running.waker.hint(below.to_owned());
                        continue;
                    }
                    look_around = true;
                    // Its directory itself is another: made anew, or with other rights. News below it, of which there
                    // may be many, do not hurry what failed.
                    if let (true, Some(failure)) = (below.as_os_str().is_empty(), self.failed.get_mut(&run)) {
                        failure.retry_at = Instant::now();
                        retry = true;
                    }
                }
                PathOwner::NoRun => {}
                PathOwner::Elsewhere => look_around = true,
            }
        }
        if look_around {
            self.discover();
        }
        if retry {
            self.restart_failed().await;
        }
    }

    fn rescan(&mut self) {
        self.root = None;
        self.discover();
        for run in self.runs.values() {
            run.waker.rescan();
        }
    }

    async fn tick(&mut self) {
        if self.shared.store.replaced() != self.replaced {
            self.begin_again();
        }
        let is_polling = self.shared.watch.health().mode != Mode::Events;
        if is_polling && self.retrying.as_ref().is_none_or(Job::is_done) {
            let watch = Arc::clone(&self.shared.watch);
            self.retrying = Some(self.shared.pool.start(move || watch.retry()));
        }
        if self.shared.store.parks() {
            // The committer looks at how long observations have waited when it is asked for anything.
            let _ = self.shared.committer.beat().await;
        }
        self.discover_if_changed();
        let depth = if self.shared.watch.health().mode == Mode::Events {
            Depth::Changed
        } else {
            Depth::Everything
        };
        // What is known to hang is not visited.
        self.look_at_poller();
        let roster = self.roster.get_or_insert_with(|| {
            let wakers = self.runs.values().map(|run| run.waker.clone());
            Arc::new(Roster::new(self.dues.clone(), wakers))
        });
        self.poller.go(Arc::clone(roster), depth, &self.shared);
        self.restart_failed().await;
        self.check_progress().await;
    }

    /// The database was replaced: every run is read from the start.
    fn begin_again(&mut self) {
        self.replaced = self.shared.store.replaced();
        for run in self.runs.values_mut() {
            run.again = true;
            run.stop.cancel();
        }
    }

    /// Says of runs that they are out of reach, or not any more.
    fn look_at_poller(&mut self) {
        let stalls = self.poller.look(&self.shared);
        let find = |waker: &TailerHandle| self.runs.iter().find(|(_, running)| running.waker.is(waker));
        // Others there wait until it is known whether it is only slow.
        for (run, _) in stalls.slow.iter().filter_map(find) {
            let mounted = mounted_at(&self.places.home(run).path);
            self.shared.suspects.add(&mounted.foreign, PASSED_AFTER);
        }
        for (run, _) in stalls.moved.iter().filter_map(find) {
            let mounted = mounted_at(&self.places.home(run).path);
            self.shared.suspects.remove(&mounted.foreign);
        }
        for (run, _) in stalls.new.iter().filter_map(find) {
            let home = self.places.home(run).path;
            let mounted = mounted_at(&home);
            self.shared.suspects.add(&mounted.devices, STALLED_AFTER);
            self.shared
                .board
                .stalled(run, does_not_answer(&home, mounted.place.as_deref()));
        }
        for (run, running) in stalls.over.iter().filter_map(find) {
            let mounted = mounted_at(&self.places.home(run).path);
            self.shared.suspects.remove(&mounted.devices);
            self.shared.board.answers(run);
            running.waker.rescan();
        }
    }

    /// Finds out which runs there are, and starts tailers for the new ones.
    fn discover(&mut self) {
        self.settled = None;
        self.look_at_runs_directory();
    }

    /// As [`Self::discover`], if the runs directory does not hold what it did when every run in it was known.
    fn discover_if_changed(&mut self) {
        // What waits for an answer is asked again when that came.
        if self.listing.is_none() {
            self.look_at_runs_directory();
        }
    }

    fn look_at_runs_directory(&mut self) {
        self.look_at_homes();
        let Some(given) = self.places.given.clone() else {
            return;
        };
        if self.listing.is_some() {
            self.lists_again = true;
            return;
        }
        let (watch, was, settled) = (Arc::clone(&self.shared.watch), self.root, self.settled);
        let was_at = self.places.directory.clone();
        let look = move || {
            let directory = resolve(&given);
            let root = Root::open_given(&directory)?;
            let stat = root.stat(Path::new(""))?;
            let identity = identity(&stat);
            let changed_ns = last_change(&directory, &stat);
            if was != Some(identity) || was_at.as_ref() != Some(&directory) {
                // Watched before it is listed; if it cannot be, the scans find what is new.
                let _ = watch.watch_dir(&directory);
            } else if let Some(Settled {
                mark,
                changed_ns: was,
            }) = settled
                && (was.is_some() && was == changed_ns || mark == root.mark(Path::new(""))?)
            {
                return Ok(Listed::Unchanged(Settled { mark, changed_ns }));
            }
            let (entries, mark) = root.list_marked(Path::new(""))?;
            Ok(Listed::Changed(Listing {
                directory,
                identity,
                entries,
                settled: Settled { mark, changed_ns },
            }))
        };
        self.listing = Some((self.shared.pool).start(move || look().unwrap_or_else(Listed::Failed)));
    }

    /// Takes over what the runs directory holds. That it does not answer is said, and waited for by nobody.
    async fn listed(&mut self, progress: Progress<Listed>) {
        let listed = match progress {
            Progress::Stalled => {
                self.is_listing_stalled = true;
                self.has_looked = true;
                if let Some(directory) = self.places.directory.as_deref() {
                    let mounted = mounted_at(directory);
                    self.shared.suspects.add(&mounted.devices, STALLED_AFTER);
                    let problem = format!(
                        "the runs directory: {}",
                        does_not_answer(directory, mounted.place.as_deref())
                    );
                    tracing::warn!("{problem}");
                    self.shared.board.runs_directory(Some(problem));
                }
                let mut waiting = std::mem::take(&mut self.after_listing);
                waiting.append(&mut self.after_next_listing);
                self.go_on(waiting, None).await;
                return self.check_progress().await;
            }
            Progress::Done(listed) => listed,
        };
        self.listing = None;
        if std::mem::take(&mut self.is_listing_stalled)
            && let Some(directory) = self.places.directory.as_deref()
        {
            self.shared.suspects.remove(&mounted_at(directory).devices);
        }
        let mut there = None;
        self.has_looked = true;
        match listed {
            Ok(Listed::Unchanged(settled)) => {
                // Unless something was asked for meanwhile.
                self.settled = self.settled.map(|_| settled);
                self.shared.board.runs_directory(None);
            }
            Ok(Listed::Changed(listing)) => {
                let before = self.root.replace(listing.identity);
                if before != Some(listing.identity) {
                    self.doubt_runs();
                }
                self.is_directory_gone = false;
                self.move_to(&listing.directory);
                self.shared.board.runs_directory(None);
                there = Some(self.take_over(listing).await);
                let known = std::mem::take(&mut self.known_at_start);
                self.note_vanished(known).await;
            }
            Ok(Listed::Failed(error)) => {
                let was_there = self.root.take().is_some();
                self.is_directory_gone = matches!(error, LogFileError::Gone(_));
                if was_there && self.is_directory_gone {
                    self.doubt_runs();
                }
                let hint = match error {
                    LogFileError::Gone(_) => "; make it, or set runs_dir to the directory with the runs",
                    _ => "",
                };
                let problem = format!("the runs directory: {error}{hint}");
                let directory = self.places.directory.clone().unwrap_or_default();
                if self.strange.insert(directory) || was_there {
                    tracing::warn!("{problem}; runs are picked up when the runs directory can be read");
                }
                self.shared.board.runs_directory(Some(problem));
            }
            Err(error) => tracing::error!("looking at the runs directory failed: {error}"),
        }
        let waiting = std::mem::take(&mut self.after_listing);
        self.go_on(waiting, there.as_ref()).await;
        self.after_listing = std::mem::take(&mut self.after_next_listing);
        if std::mem::take(&mut self.lists_again) || !self.after_listing.is_empty() {
            self.discover();
        }
        self.check_progress().await;
    }

    /// Another runs directory stands in the place of the one there was, or none does. No event tells the runs in it, and
    /// those that rest would find out one after the other.
    fn doubt_runs(&self) {
        for (run, running) in &self.runs {
            if !self.places.has(run) {
                running.waker.hint(PathBuf::new());
            }
        }
    }

    /// The runs directory is here from now on: a link on the way to it was turned, or it is found for the first time.
    fn move_to(&mut self, directory: &Path) {
        let before = self.places.directory.replace(directory.to_owned());
        if self.runs.is_empty() || before.as_deref() == Some(directory) {
            return;
        }
        tracing::info!(directory = %directory.display(), "the runs directory leads elsewhere now; runs are read there");
        for (run, running) in &mut self.runs {
            if !self.places.has(run) {
                running.again = true;
                running.stop.cancel();
            }
        }
    }

    /// Starts tailers for the runs in the runs directory that have none; returns those that are there.
    async fn take_over(&mut self, listing: Listing) -> HashSet<RunId> {
        let Listing { entries, settled, .. } = listing;
        self.release_forgotten(&entries).await;
        let directory = self.places.directory.clone().unwrap_or_default();
        let is_link = |entry: &&Entry| entry.kind == EntryKind::Link;
        self.links = entries.iter().filter(is_link).cloned().collect();
        self.survey(directory);
        let found = self.found_in(entries);
        let mut new: Vec<RunId> = (found.iter())
            .filter(|run| !self.runs.contains_key(*run) && !self.failed.contains_key(*run))
            .filter(|run| !self.forgotten.contains(*run) && !self.vanishing.contains(*run))
            .cloned()
            .collect();
        new.sort_unstable();
        if self.start_new(new).await {
            self.settled = Some(settled);
        }
        found.into_iter().collect()
    }

    /// Starts tailers for runs that have none; `false` if the committer is gone.
    async fn start_new(&mut self, new: Vec<RunId>) -> bool {
        if new.is_empty() {
            return true;
        }
        let backlog = !self.backlog_done.is_cancelled();
        let accounts = self.shared.settings.borrow().accounts.clone();
        let with_accounts: Vec<_> = (new.iter())
            .map(|run| Start {
                run: run.clone(),
                account: accounts.of_run(run).clone(),
                labels: None,
                mount: None,
            })
            .collect();
        if self.shared.committer.start(with_accounts, backlog).await.is_err() {
            return false;
        }
        self.start(new, false).await;
        true
    }

    /// Looks for a run that has no tailer where its logs are to be, before it goes on with this.
    async fn after_look(&mut self, run: &RunId, what: AfterListing) {
        if !self.places.has(run) {
            self.after_listing(what).await;
        } else if self.failed.contains_key(run) {
            Box::pin(self.go_on(vec![what], None)).await;
        } else {
            self.after_home.push((run.clone(), what));
            self.discover();
        }
    }

    /// Waits for the runs directory to be listed, from now on, before it goes on with this.
    async fn after_listing(&mut self, what: AfterListing) {
        if self.is_listing_stalled || self.places.directory.is_none() {
            // Nobody can say what has come meanwhile, or there is nowhere to look.
            Box::pin(self.go_on(vec![what], None)).await;
        } else if self.listing.is_some() {
            self.after_next_listing.push(what);
            self.lists_again = true;
        } else {
            self.after_listing.push(what);
            self.discover();
        }
    }

    /// Goes on with what waited for a listing; `there` are the runs that it found, if it found anything out.
    async fn go_on(&mut self, waiting: Vec<AfterListing>, there: Option<&HashSet<RunId>>) {
        for what in waiting {
            match what {
                AfterListing::Stop(stop, done) => self.stop_known(stop, done).await,
                AfterListing::Forget(run, done) => {
                    let is_there =
                        there.map_or(self.places.directory.is_some(), |there| there.contains(&run));
                    self.forget(run, is_there, done).await;
                }
                AfterListing::Started(done, answer) => {
                    let _ = done.send(answer);
                }
            }
        }
    }

    /// Finds out whether the runs directory looks like another layout, and what links in it lead to. Nobody waits for
    /// that: a directory in it may hang.
    fn survey(&mut self, directory: PathBuf) {
        if self.survey.is_some() {
            self.surveys_again = true;
            return;
        }
        let links = self.links.clone();
        let (board, places) = (Arc::clone(&self.shared.board), self.places.clone());
        let settings = Arc::clone(&self.shared.settings.borrow());
        self.survey = Some(self.shared.pool.start(move || {
            if let Ok(shape) = Shape::of(&directory) {
                let advice = shape.advice(&directory, |log| settings.watch.globs.reads(log));
                board.advise(advice);
            }
            let root = Root::open_given(&directory).ok()?;
            let mut links_left = LINKS_LOOKED_AT_MAX;
            let reads_elsewhere = |target: &Path| places.reads_own(target);
            let mut sorter = Sorter::new(&root, &|_| true, &|_| false, &mut links_left);
            sorter.reads_elsewhere = Some(&reads_elsewhere);
            for entry in &links {
                sorter.add(entry);
            }
            Some(sorter.unread)
        }));
    }

    fn surveyed(&mut self, links: Option<Unread>) {
        self.survey = None;
        if let Some(links) = links {
            self.beside.1 = links;
            self.say_beside();
        }
        if std::mem::take(&mut self.surveys_again)
            && let Some(directory) = self.places.directory.clone()
        {
            self.survey(directory);
        }
    }

    /// The runs among the entries of the runs directory.
    fn found_in(&mut self, entries: Vec<Entry>) -> Vec<RunId> {
        let mut found = Vec::new();
        let mut names = Unread::default();
        for entry in entries {
            if entry.kind != EntryKind::Directory {
                continue;
            }
            match self.places.named(&entry.path) {
                // Its logs are elsewhere, so this directory is nobody's.
                Ok(run) if self.places.has(&run) => {}
                Ok(run) => found.push(run),
                Err(error) => {
                    self.strange_name(&entry.path, &error.to_string());
                    names.add(UnreadKind::NoRun, &entry.path, None);
                }
            }
        }
        self.beside.0 = names;
        self.say_beside();
        found
    }

    /// Says what lies in the runs directory and is not read.
    fn say_beside(&mut self) {
        let mut unread = self.beside.0.clone();
        unread.merge(&self.beside.1);
        let directory = self.places.directory.clone().unwrap_or_default();
        let sentences = unread.sentences(&directory, true);
        let notices = sentences.iter().map(|(_, sentence)| sentence.clone());
        self.shared.board.beside_runs(notices.collect());
        for (kind, sentence) in sentences {
            if self.logged.insert(kind) {
                tracing::warn!("{sentence}");
            }
        }
    }

    /// Looks for the own directories of runs that have no tailer. Each by itself: any may hang.
    fn look_at_homes(&mut self) {
        for (run, home) in self.places.own() {
            if self.runs.contains_key(&run)
                || self.failed.contains_key(&run)
                || self.vanishing.contains(&run)
                || !self.homes_asked.insert(run.clone())
            {
                continue;
            }
            let mut job = self
                .shared
                .pool
                .start(move || !matches!(home.open(), Err(LogFileError::Gone(_) | LogFileError::Refused(_))));
            self.homes.spawn(async move {
                // One that cannot be read, or does not answer, has a tailer too, which says so.
                let is_there = match job.progress().await {
                    Progress::Done(is_there) => is_there.unwrap_or(false),
                    Progress::Stalled => true,
                };
                (run, is_there)
            });
        }
    }

    async fn home_seen(&mut self, run: RunId, is_there: bool) {
        self.homes_asked.remove(&run);
        let is_known = self.runs.contains_key(&run) || self.failed.contains_key(&run);
        if is_there && !is_known && self.places.has(&run) {
            self.start_new(vec![run.clone()]).await;
        }
        let (waiting, others) = std::mem::take(&mut self.after_home)
            .into_iter()
            .partition(|(whose, _): &(RunId, AfterListing)| *whose == run);
        self.after_home = others;
        let waiting: Vec<(RunId, AfterListing)> = waiting;
        self.go_on(waiting.into_iter().map(|(_, what)| what).collect(), None)
            .await;
        self.check_progress().await;
    }

    /// Runs of which something was read and whose directories went while nobody looked.
    async fn note_vanished(&self, known: BTreeMap<RunId, RunInfo>) {
        if self.root.is_none() {
            return;
        }
        let went = known.into_iter().filter(|(run, info)| {
            info.stopped.is_none() && info.earliest.is_some() && !self.runs.contains_key(run)
        });
        let mut stops = JoinSet::new();
        for (run, _) in went {
            let committer = self.shared.committer.clone();
            stops.spawn(async move {
                if committer.stop(run.clone(), StopReason::Vanished).await.is_ok() {
                    tracing::info!(%run, "its directory went while the collector was down; what was counted stays");
                }
            });
        }
        while stops.join_next().await.is_some() {}
    }

    fn strange_name(&mut self, name: &Path, error: &str) {
        if self.strange.len() < STRANGE_NAMES_MAX && self.strange.insert(name.to_owned()) {
            tracing::warn!(name = ?name, "not a run: {error}");
        }
    }

    /// Starts tailers for runs, `again` if they had some that failed.
    async fn start(&mut self, runs: Vec<RunId>, again: bool) {
        let asked = runs.clone();
        let known = self.ask_store(move |store| store.known(&asked)).await;
        match known {
            Ok(known) => {
                for (run, known) in runs.into_iter().zip(known) {
                    self.start_tailer(run, known, again);
                }
            }
            // What is wrong with one must not keep the others.
            Err(_) if runs.len() > 1 => {
                for run in runs {
                    Box::pin(self.start(vec![run], again)).await;
                }
            }
            Err(error) => {
                for run in runs {
                    self.shared.board.started(&run, again);
                    self.note_failure(run, &error);
                }
            }
        }
    }

    fn start_tailer(&mut self, run: RunId, known: StoredRun, again: bool) {
        self.started = self.started.wrapping_add(1);
        let waker = TailerHandle::new(self.dues.entry(self.started));
        let stop = CancellationToken::new();
        let home = self.places.home(&run);
        let (shared, its_waker, its_stop, id) =
            (Arc::clone(&self.shared), waker.clone(), stop.clone(), run.clone());
        self.shared.board.started(&run, again);
        let tailer = Box::new(Tailer::new(id.clone(), home, known, shared, its_waker, its_stop));
        self.tasks.spawn(async move { (id, tailer.run().await) });
        self.roster = None;
        self.runs.insert(
            run,
            RunningTailer {
                waker,
                stop,
                again: false,
                then: Vec::new(),
            },
        );
    }

    async fn ended(&mut self, run: RunId, result: Result<Ended, TailerError>) {
        let Some(running) = self.runs.remove(&run) else {
            return;
        };
        self.roster = None;
        self.settled = None;
        if !running.then.is_empty() {
            for request in running.then {
                self.request(request).await;
            }
            return self.discover();
        }
        match result {
            Ok(Ended::Stopped) if running.again => self.start(vec![run], false).await,
            Ok(Ended::Gone) => {
                self.failed.remove(&run);
                self.shared.board.gone(&run);
                // Thousands may go at once, and nobody waits for one after the other.
                self.vanishing.insert(run.clone());
                let committer = self.shared.committer.clone();
                self.vanishings.spawn(async move {
                    // Refused only while everything stops; then it vanishes at the next start.
                    let _ = committer.stop(run.clone(), StopReason::Vanished).await;
                    run
                });
            }
            Ok(Ended::Stopped) | Err(TailerError::Refused(_)) => {}
            Err(error) => self.note_failure(run, &error),
        }
        self.check_progress().await;
    }

    /// A tailer failed, or could not be started: it is started again, later each time.
    fn note_failure(&mut self, run: RunId, error: &impl std::fmt::Display) {
        let before = self.failed.get(&run);
        let times = before.map_or(0, |failure| failure.times) + 1;
        let pause = (RESTART_AFTER * 2u32.saturating_pow(times.min(10) - 1)).min(RESTART_AFTER_MAX);
        let why = error.to_string();
        if before.is_some_and(|failure| failure.why == why) {
            tracing::debug!(%run, "reading this run failed as before; starting it again in {}", length(pause.as_secs()));
        } else {
            tracing::error!(
                %run,
                "reading this run failed: {why}; starting it again in {}, then ever later, at least once in {}",
                length(pause.as_secs()),
                length(RESTART_AFTER_MAX.as_secs())
            );
        }
        self.shared
            .board
            .failed(&run, format!("reading this run failed: {why}"));
        self.failed.insert(
            run,
            TailerFailure {
                times,
                why,
                retry_at: Instant::now() + pause,
            },
        );
    }

    /// Reads from the store, which may wait for the disk; what goes wrong is told in the log.
    async fn look_up<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        match self.ask_store(look).await {
            Ok(found) => Some(found),
            Err(error) => {
                tracing::warn!("{error}");
                None
            }
        }
    }

    async fn ask_store<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = Arc::clone(&self.shared.store);
        let path = store.path().to_owned();
        let looked = tokio::task::spawn_blocking(move || look(&store)).await;
        looked.unwrap_or_else(|error| {
            let what = error.to_string();
            Err(StoreError::Other { path, what })
        })
    }

    /// Does what is asked, or, if the run's tailer has to end first, lets it wait for that.
    async fn request(&mut self, request: Request) {
        self.settled = None;
        let run = request.run().clone();
        let Some(info) = self.look_up(move |store| store.run_info(&run)).await else {
            // Dropped, the request says that it was not answered.
            return;
        };
        match request {
            Request::Start { start, done } if start.mount.is_some() => self.resolve(start, done),
            Request::Start { start, done } => {
                self.start_asked(start, WantedPlace::Anywhere, info, done).await;
            }
            Request::Stop { stop, done } => match info {
                None => {
                    let _ = done.send(StopAnswer::Unknown);
                }
                Some(_) => self.stop_asked(stop, done).await,
            },
            Request::Forget { run, done } => match info {
                None => {
                    let _ = done.send(ForgetAnswer::Unknown);
                }
                Some(info) if info.stopped.is_none() => {
                    let _ = done.send(ForgetAnswer::Running);
                }
                Some(_) => match self.runs.get_mut(&run) {
                    Some(running) => {
                        running.then.push(Request::Forget { run, done });
                        running.stop.cancel();
                    }
                    // Nobody finds a directory that is not in the runs directory by itself.
                    None if self.places.has(&run) => self.forget(run, false, done).await,
                    None => self.after_listing(AfterListing::Forget(run, done)).await,
                },
            },
        }
    }

    /// Lets the run's tailer read everything there is, and waits for that elsewhere.
    async fn stop_asked(&mut self, stop: StopRequest, done: oneshot::Sender<StopAnswer>) {
        if self.runs.contains_key(&stop.run) {
            return self.stop_known(stop, done).await;
        }
        // It may have come just now.
        let run = stop.run.clone();
        self.after_look(&run, AfterListing::Stop(stop, done)).await;
    }

    async fn stop_known(&mut self, stop: StopRequest, done: oneshot::Sender<StopAnswer>) {
        let run = &stop.run;
        if !self.runs.contains_key(run) && self.failed.contains_key(run) {
            // It tries once more.
            self.start(vec![run.clone()], true).await;
        }
        let Some(running) = self.runs.get(run) else {
            return self.swept(stop, Swept::TailerGone, done).await;
        };
        let (swept, mut sweep) = oneshot::channel();
        running.waker.stop_run(stop.incomplete, swept);
        let board = Arc::clone(&self.shared.board);
        self.sweeps.spawn(async move {
            let mut look = tokio::time::interval(STALL_LOOKED_FOR_EVERY);
            let swept = loop {
                tokio::select! {
                    swept = &mut sweep => break match swept {
                        Ok(None) => Swept::ToTheEnd,
                        Ok(Some(why)) => Swept::Unread(why),
                        Err(_) => Swept::TailerGone,
                    },
                    _ = look.tick() => if let Some(why) = board.stall(&stop.run) {
                        break Swept::Unread(why);
                    },
                }
            };
            (stop, swept, done)
        });
    }

    /// Looks for the directory that a start names, which may hang.
    fn resolve(&mut self, start: StartRequest, done: oneshot::Sender<StartAnswer>) {
        let settings = Arc::clone(&self.shared.settings.borrow());
        let (run, runs_dir) = (start.run.clone(), self.places.directory.clone());
        let mount = start.mount.clone().unwrap_or_default();
        let its_mount = mount.clone();
        let mut job = (self.shared.pool)
            .start(move || resolve_mount(&its_mount, &run, runs_dir.as_deref(), &settings.runs.mount_roots));
        self.resolving.spawn(async move {
            let own = match job.progress().await {
                Progress::Done(Ok(Ok(Some(mount)))) => Ok(WantedPlace::PathOwner(mount)),
                Progress::Done(Ok(Ok(None))) => Ok(WantedPlace::InRunsDirectory),
                Progress::Done(Ok(Err(error))) => Err(StartAnswer::Mount(error)),
                Progress::Done(Err(_)) => Ok(WantedPlace::Anywhere),
                Progress::Stalled => Err(StartAnswer::MountStalled(mount)),
            };
            (start, done, own)
        });
    }

    /// Starts a run whose directory was looked at.
    async fn start_at(
        &mut self,
        start: StartRequest,
        own: Result<WantedPlace, StartAnswer>,
        done: oneshot::Sender<StartAnswer>,
    ) {
        let taken = |own: &WantedPlace| match own {
            WantedPlace::PathOwner(mount) => self.places.overlaps(&start.run, mount),
            WantedPlace::Anywhere | WantedPlace::InRunsDirectory => None,
        };
        let own = own.and_then(|own| match taken(&own) {
            Some(other) => Err(StartAnswer::MountTaken(other)),
            None => Ok(own),
        });
        let own = match own {
            Ok(own) => own,
            Err(answer) => {
                let _ = done.send(answer);
                return;
            }
        };
        let run = start.run.clone();
        if let Some(info) = self.look_up(move |store| store.run_info(&run)).await {
            self.start_asked(start, own, info, done).await;
        }
    }

    /// Starts a run with its logs where that is wanted.
    async fn start_asked(
        &mut self,
        start: StartRequest,
        own: WantedPlace,
        info: Option<RunInfo>,
        done: oneshot::Sender<StartAnswer>,
    ) {
        let run = start.run.clone();
        let accounts = self.shared.settings.borrow().accounts.clone();
        let wanted = match &info {
            // What was read of it is counted by the account it has; labels that name none do not mean another.
            Some(info) if info.earliest.is_some() && !name_an_account(&start.labels) => info.account.clone(),
            _ => accounts.of_labelled(&run, &start.labels),
        };
        // One that it has already stays, whatever the configuration says by now.
        let is_new = info.as_ref().is_none_or(|info| info.account != wanted);
        if is_new
            && name_an_account(&start.labels)
            && let Err(unknown) = accounts.check(&wanted)
        {
            let _ = done.send(StartAnswer::NoSuchAccount(unknown));
            return;
        }
        let mount = match own {
            WantedPlace::Anywhere => None,
            WantedPlace::InRunsDirectory => Some(None),
            WantedPlace::PathOwner(mount) => Some(Some(mount)),
        };
        let moves = info.is_some_and(|info| {
            info.account != wanted || mount.as_ref().is_some_and(|mount| info.mount != *mount)
        });
        if moves && let Some(running) = self.runs.get_mut(&run) {
            // What it reads meanwhile would be counted by the account, or in the place, that it has now.
            running.then.push(Request::Start { start, done });
            running.stop.cancel();
            return;
        }
        let asked = Start {
            run: run.clone(),
            account: wanted,
            labels: Some(start.labels),
            mount: mount.clone(),
        };
        let Ok(started) = self.shared.committer.start(vec![asked], false).await else {
            return;
        };
        let answer = match started.into_iter().next() {
            Some(Started::Elsewhere(account)) => StartAnswer::Elsewhere(account),
            Some(Started::MountedElsewhere(mount)) => StartAnswer::MountedElsewhere(mount),
            Some(Started::New) => StartAnswer::New,
            _ => StartAnswer::Known,
        };
        if matches!(answer, StartAnswer::New | StartAnswer::Known) {
            self.forgotten.remove(&run);
            match mount {
                Some(Some(mount)) => self.places.take(&run, mount),
                Some(None) => self.places.give_up(&run),
                None => {}
            }
        }
        if let Some(running) = self.runs.get(&run) {
            running.waker.revive();
            let _ = done.send(answer);
        } else {
            self.after_look(&run, AfterListing::Started(done, answer)).await;
        }
    }

    /// A run's last sweep is done: it is stopped, if its tailer did not come to say so.
    async fn swept(&mut self, stop: StopRequest, swept: Swept, done: oneshot::Sender<StopAnswer>) {
        let unread = match swept {
            Swept::ToTheEnd => None,
            Swept::Unread(why) => Some(why),
            Swept::TailerGone => match self.failed.get(&stop.run) {
                Some(failure) => Some(failure.why.clone()),
                // It began again meanwhile.
                None if self.runs.contains_key(&stop.run) => {
                    return Box::pin(self.stop_asked(stop, done)).await;
                }
                None => self.why_out_of_reach(&stop.run),
            },
        };
        if let Some(why) = unread.filter(|_| !stop.incomplete) {
            tracing::warn!(run = %stop.run, "it was to be stopped and is not, as it cannot be read to its end: {why}");
            let _ = done.send(StopAnswer::Unread(why));
            return;
        }
        if self
            .shared
            .committer
            .stop(stop.run, StopReason::Asked)
            .await
            .is_ok()
        {
            let _ = done.send(StopAnswer::Stopped);
        }
    }

    /// Why nobody can say whether a run without a tailer has anything to read: the runs directory cannot be read. A
    /// directory that is gone is no reason.
    fn why_out_of_reach(&self, run: &RunId) -> Option<String> {
        if self.places.has(run) {
            return None;
        }
        self.shared
            .board
            .runs_directory_problem()
            .filter(|_| !self.is_directory_gone)
    }

    /// Forgets a run; `is_there` says that its directory would be found again.
    async fn forget(&mut self, run: RunId, is_there: bool, done: oneshot::Sender<ForgetAnswer>) {
        let Ok(forgotten) = self.shared.committer.forget(run.clone(), is_there).await else {
            return;
        };
        self.shared.board.forget(&run);
        self.places.give_up(&run);
        self.failed.remove(&run);
        if is_there {
            self.forgotten.insert(run);
        }
        let _ = done.send(if forgotten {
            ForgetAnswer::Forgotten
        } else {
            ForgetAnswer::Unknown
        });
    }

    /// Names of forgotten runs whose directories are gone are free again.
    async fn release_forgotten(&mut self, entries: &[Entry]) {
        if self.forgotten.is_empty() {
            return;
        }
        let there: HashSet<RunId> = (entries.iter())
            .filter_map(|entry| self.places.layout.run_of(entry.path.as_os_str()).ok())
            .collect();
        let gone: Vec<RunId> = (self.forgotten.iter())
            .filter(|run| !there.contains(*run))
            .cloned()
            .collect();
        if gone.is_empty() || self.shared.committer.release(gone.clone()).await.is_err() {
            return;
        }
        self.forgotten.retain(|run| !gone.contains(run));
    }

    async fn restart_failed(&mut self) {
        if self.failed.is_empty() {
            return;
        }
        let now = Instant::now();
        let board = Arc::clone(&self.shared.board);
        // One that works again and has caught up starts its next failure from the first pause.
        self.failed.retain(|run, failure| {
            failure.retry_at > now
                || !board
                    .get(run)
                    .is_some_and(|status| !status.failing && status.caught_up)
        });
        let due: Vec<RunId> = self
            .failed
            .iter()
            .filter(|(run, failure)| failure.retry_at <= now && !self.runs.contains_key(*run))
            .map(|(run, _)| run.clone())
            .collect();
        for run in due {
            self.start(vec![run], true).await;
        }
    }

    /// Says when everything is watched, and when the first backlog is read.
    async fn check_progress(&mut self) {
        if self.ready.is_cancelled() && self.backlog_done.is_cancelled() {
            return;
        }
        if !self.has_looked && self.places.directory.is_some() || !self.homes_asked.is_empty() {
            return;
        }
        let (watched, caught_up) = self.shared.board.progress();
        if watched && !self.ready.is_cancelled() {
            self.ready.cancel();
        }
        // Without a runs directory there was no backlog to see.
        if caught_up
            && (self.root.is_some() || self.places.directory.is_none())
            && !self.backlog_done.is_cancelled()
            && self.shared.committer.end_backlog().await.is_ok()
        {
            self.backlog_done.cancel();
        }
    }
}

/// When a directory last changed, if another change would show by that: only this kernel changes it, and the last change is
/// older than the grain of its times. It looks at the filesystem.
fn last_change(directory: &Path, stat: &Stat) -> Option<i64> {
    let age_ns = jiff::Timestamp::now().as_nanosecond() - i128::from(stat.changed_ns);
    let is_past = u128::try_from(age_ns).is_ok_and(|age| age > CHANGE_TIME_GRAIN.as_nanos());
    (is_past && is_local(directory)).then_some(stat.changed_ns)
}

fn identity(stat: &Stat) -> (u64, crate::model::Inode) {
    (stat.device, stat.inode)
}

/// How far a job has come, if there is one: once it is known to be stalled, only that it is done.
async fn progress<T>(job: &mut Option<Job<T>>, is_stalled: bool) -> Progress<T> {
    match job {
        Some(job) if is_stalled => Progress::Done(job.done().await),
        Some(job) => job.progress().await,
        None => std::future::pending().await,
    }
}

/// Waits until then.
async fn at(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// What a job came to, if there is one; the default if it panicked.
async fn done<T: Default>(job: &mut Option<Job<T>>) -> T {
    match job {
        Some(job) => job.done().await.unwrap_or_default(),
        None => std::future::pending().await,
    }
}
