//! Paths to runs: starts, wakes, restarts and retires the tailers, and does what is asked about runs.
//!
//! A directory below the runs directory whose name is a run id is a run. The 2 s scan is the truth about which there
//! are; events only make it sooner. A tailer that fails is started again, later each time, and disturbs no other.

mod places;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::committer::{Start, Started};
use crate::config::name_an_account;
use crate::control::{ForgetAnswer, Request, StartAnswer, StartRequest, StopAnswer, StopRequest};
use crate::logfile::home::resolve_mount;
use crate::logfile::{Entry, EntryKind, LogFileError, Root, Stat};
use crate::record::format::length;
use crate::record::{RunId, StopReason};
use crate::store::{Known, RunInfo, Store, StoreError};
use crate::tailer::patrol::Patrol;
use crate::tailer::shape::Shape;
use crate::tailer::tree::Depth;
use crate::tailer::unread::{Kind, LINKS_LOOKED_AT_MAX, Sorter, Unread};
use crate::tailer::{Ended, Shared, Tailer, TailerError, Waker};
use crate::watch::{Hints, Mode};

use places::At;
pub use places::Places;

/// First pause before a failed tailer is started again, doubled each time.
const RESTART_AFTER: Duration = Duration::from_secs(1);
/// Longest pause before a failed tailer is started again.
const RESTART_AFTER_MAX: Duration = Duration::from_mins(1);
/// Names told once that they are no run ids.
const STRANGE_NAMES_MAX: usize = 1024;

/// What the supervisor hears.
enum Event {
    Hints(Hints),
    Tick,
    Ended(RunId, Result<Ended, TailerError>),
    /// A tailer's state changed.
    Board,
    /// The settings were read again.
    Settings,
    /// Someone asks for something.
    Request(Request),
    /// A run's last sweep is done, or its tailer has ended; someone waits for that.
    Swept(StopRequest, Swept, oneshot::Sender<StopAnswer>),
    Stop,
}

/// What others do with a supervisor: watch whether the first backlog is done.
pub struct Supervisor {
    shared: Arc<Shared>,
    places: Places,
    stop: CancellationToken,
    runs: HashMap<RunId, Running>,
    tasks: JoinSet<(RunId, Result<Ended, TailerError>)>,
    failed: HashMap<RunId, Failure>,
    strange: HashSet<PathBuf>,
    /// Kinds of what lies in the runs directory and is not read that the log has.
    logged: BTreeSet<Kind>,
    /// Looks at how the runs directory is laid out.
    looking: Option<tokio::task::JoinHandle<()>>,
    requests: mpsc::Receiver<Request>,
    /// Runs that are being stopped.
    sweeps: JoinSet<(StopRequest, Swept, oneshot::Sender<StopAnswer>)>,
    /// Runs that were forgotten and whose directories are still there.
    forgotten: BTreeSet<RunId>,
    /// The runs directory as it was watched; `None` while it is not there.
    root: Option<(u64, crate::record::Inode)>,
    /// What the runs directory held when every run in it was known, see [`Root::mark`].
    settled: Option<u64>,
    patrol: Patrol,
    replaced: u64,
    ready: CancellationToken,
    backlog_done: CancellationToken,
}

struct Running {
    waker: Waker,
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

struct Failure {
    times: u32,
    why: String,
    retry_at: Instant,
}

impl Supervisor {
    /// A supervisor for runs at these places. `ready` is cancelled once everything there is at first is watched,
    /// `backlog_done` once it is read.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        places: Places,
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
            looking: None,
            requests,
            sweeps: JoinSet::new(),
            forgotten: BTreeSet::new(),
            root: None,
            settled: None,
            patrol: Patrol::default(),
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
        self.discover().await;
        self.note_vanished(known).await;
        self.check_progress().await;
        loop {
            match self.next_event(&mut tick, &mut settings).await {
                Event::Hints(hints) => self.hints(hints).await,
                Event::Tick => self.tick().await,
                Event::Ended(run, result) => self.ended(run, result).await,
                Event::Board => self.check_progress().await,
                Event::Settings => {
                    tick = tokio::time::interval(settings.borrow().watch.scan_interval);
                    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
                    self.rescan().await;
                    // Somebody mended something: the first tick, which comes at once, starts what failed.
                    let now = Instant::now();
                    self.failed
                        .values_mut()
                        .for_each(|failure| failure.retry_at = now);
                }
                Event::Request(request) => self.request(request).await,
                Event::Swept(stop, swept, done) => self.swept(stop, swept, done).await,
                Event::Stop => break,
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
    ) -> Event {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Event::Stop,
            Some(ended) = self.tasks.join_next() => match ended {
                Ok((run, result)) => Event::Ended(run, result),
                // The task itself catches what panics in its work; this is the runtime going down.
                Err(_) => Event::Tick,
            },
            Some(Ok((stop, swept, done))) = self.sweeps.join_next() => Event::Swept(stop, swept, done),
            Some(request) = self.requests.recv() => Event::Request(request),
            Ok(()) = settings.changed() => Event::Settings,
            hints = self.shared.watch.next() => Event::Hints(hints),
            () = self.shared.board.changed() => Event::Board,
            _ = tick.tick() => Event::Tick,
        }
    }

    /// Hands hints to the runs they are about.
    async fn hints(&mut self, hints: Hints) {
        if hints.rescan {
            return self.rescan().await;
        }
        let (mut look_around, mut retry) = (false, false);
        for path in hints.paths {
            match self.places.run_at(&path) {
                At::Run(run, below) => {
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
                At::NoRun => {}
                At::Elsewhere => look_around = true,
            }
        }
        if look_around {
            self.discover().await;
        }
        if retry {
            self.restart_failed().await;
        }
    }

    async fn rescan(&mut self) {
        self.root = None;
        self.discover().await;
        for run in self.runs.values() {
            run.waker.rescan();
        }
    }

    async fn tick(&mut self) {
        if self.shared.store.replaced() != self.replaced {
            self.begin_again();
        }
        if self.shared.watch.health().mode != Mode::Events {
            self.shared.watch.retry();
        }
        if self.shared.store.parks() {
            // The committer looks at how long observations have waited when it is asked for anything.
            let _ = self.shared.committer.beat().await;
        }
        self.discover_if_changed().await;
        let depth = if self.shared.watch.health().mode == Mode::Events {
            Depth::Changed
        } else {
            Depth::Everything
        };
        let runs = self.runs.values().map(|run| run.waker.clone()).collect();
        self.patrol.go(runs, depth, &self.shared);
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

    /// As [`Self::discover`], if the runs directory does not hold what it did when every run in it was known.
    async fn discover_if_changed(&mut self) {
        let settled = self.settled;
        if let (Some(directory), Some(_), Some(root)) = (self.places.directory.clone(), settled, self.root)
            && self.places.own().is_empty()
        {
            let looked = tokio::task::spawn_blocking(move || {
                let there = Root::open_given(&directory)?;
                let is_same = identity(&there.stat(Path::new(""))?) == root;
                Ok::<_, LogFileError>(is_same && Some(there.mark(Path::new(""))?) == settled)
            });
            if matches!(looked.await, Ok(Ok(true))) {
                return;
            }
        }
        self.discover().await;
    }

    /// Finds out which runs there are, and starts tailers for the new ones.
    async fn discover(&mut self) {
        self.settled = None;
        let known: HashSet<RunId> = self.runs.keys().chain(self.failed.keys()).cloned().collect();
        let mut new = self.homes_there(&known).await;
        let mut mark = None;
        if let Some(directory) = self.places.directory.clone()
            && let Some((entries, its_mark, unread)) = self.list(directory.clone()).await
        {
            mark = Some(its_mark);
            self.release_forgotten(&entries).await;
            self.look_at_shape(directory.clone());
            new.extend(
                self.found_in(&directory, entries, unread)
                    .into_iter()
                    .filter(|run| !known.contains(run)),
            );
        }
        new.sort_unstable();
        if !new.is_empty() {
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
                return;
            }
            self.start(new, false).await;
        }
        self.settled = mark;
    }

    /// The entries of the runs directory, which is watched, their mark, and links among them; `None` while it cannot be
    /// read.
    async fn list(&mut self, directory: PathBuf) -> Option<(Vec<Entry>, u64, Unread)> {
        let watch = Arc::clone(&self.shared.watch);
        let was = self.root;
        let its = directory.clone();
        let places = self.places.clone();
        let listed = tokio::task::spawn_blocking(move || {
            let root = Root::open_given(&its)?;
            let stat = root.stat(Path::new(""))?;
            if was != Some(identity(&stat)) {
                // Watched before it is listed; if it cannot be, the scans find what is new.
                let _ = watch.watch_dir(&its);
            }
            let (entries, mark) = root.list_marked(Path::new(""))?;
            let mut links_left = LINKS_LOOKED_AT_MAX;
            let reads_elsewhere = |target: &Path| places.reads_own(target);
            let mut sorter = Sorter::new(&root, &|_| true, &|_| false, &mut links_left);
            sorter.reads_elsewhere = Some(&reads_elsewhere);
            let links = entries.iter().filter(|entry| entry.kind == EntryKind::Link);
            links.for_each(|entry| sorter.add(entry));
            Ok::<_, LogFileError>((identity(&stat), (entries, mark), sorter.unread))
        });
        match listed.await {
            Ok(Ok((identity, (entries, mark), unread))) => {
                self.root = Some(identity);
                self.shared.board.runs_directory(None);
                Some((entries, mark, unread))
            }
            Ok(Err(error)) => {
                let was_there = self.root.take().is_some();
                let hint = match error {
                    LogFileError::Gone(_) => "; make it, or set runs_dir to the directory with the runs",
                    _ => "",
                };
                let problem = format!("the runs directory: {error}{hint}");
                if self.strange.insert(directory) || was_there {
                    tracing::warn!("{problem}; runs are picked up when the runs directory can be read");
                }
                self.shared.board.runs_directory(Some(problem));
                None
            }
            Err(_) => None,
        }
    }

    /// Finds out whether the runs directory looks like another layout. Nobody waits for that: a directory in it may hang.
    fn look_at_shape(&mut self, directory: PathBuf) {
        if self
            .looking
            .as_ref()
            .is_some_and(|looking| !looking.is_finished())
        {
            return;
        }
        let shared = Arc::clone(&self.shared);
        self.looking = Some(tokio::task::spawn_blocking(move || {
            if let Ok(shape) = Shape::of(&directory) {
                let settings = Arc::clone(&shared.settings.borrow());
                let advice = shape.advice(&directory, |log| settings.watch.globs.reads(log));
                shared.board.advise(advice);
            }
        }));
    }

    /// The runs among the entries of the runs directory; `unread` is the links among them.
    fn found_in(&mut self, directory: &Path, entries: Vec<Entry>, mut unread: Unread) -> Vec<RunId> {
        let mut found = Vec::new();
        for entry in entries {
            if entry.kind != EntryKind::Directory {
                continue;
            }
            match self.places.named(&entry.path) {
                // Its logs are elsewhere, so this directory is nobody's.
                Ok(run) if self.places.has(&run) => {}
                Ok(run) if !self.forgotten.contains(&run) => found.push(run),
                Ok(_) => {}
                Err(error) => {
                    self.strange_name(&entry.path, &error.to_string());
                    unread.add(Kind::NoRun, &entry.path, None);
                }
            }
        }
        let sentences = unread.sentences(directory, true);
        let notices = sentences.iter().map(|(_, sentence)| sentence.clone());
        self.shared.board.beside_runs(notices.collect());
        for (kind, sentence) in sentences {
            if self.logged.insert(kind) {
                tracing::warn!("{sentence}");
            }
        }
        found
    }

    /// Runs with directories of their own that are there and not known yet.
    async fn homes_there(&self, known: &HashSet<RunId>) -> Vec<RunId> {
        let mut homes = self.places.own();
        homes.retain(|(run, _)| !known.contains(run));
        if homes.is_empty() {
            return Vec::new();
        }
        let looked = tokio::task::spawn_blocking(move || {
            // One that cannot be read has a tailer too, which fails and says why.
            homes.retain(|(_, home)| {
                !matches!(home.open(), Err(LogFileError::Gone(_) | LogFileError::Refused(_)))
            });
            homes.into_iter().map(|(run, _)| run).collect()
        });
        looked.await.unwrap_or_default()
    }

    /// Runs of which something was read and whose directories went while nobody looked.
    async fn note_vanished(&mut self, known: BTreeMap<RunId, RunInfo>) {
        if self.root.is_none() {
            return;
        }
        for (run, info) in known {
            if info.stopped.is_none()
                && info.earliest.is_some()
                && !self.runs.contains_key(&run)
                && (self.shared.committer.stop(run.clone(), StopReason::Vanished))
                    .await
                    .is_ok()
            {
                tracing::info!(%run, "its directory went while the collector was down; what was counted stays");
            }
        }
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

    fn start_tailer(&mut self, run: RunId, known: Known, again: bool) {
        let waker = Waker::default();
        let stop = CancellationToken::new();
        let home = self.places.home(&run);
        let (shared, its_waker, its_stop, id) =
            (Arc::clone(&self.shared), waker.clone(), stop.clone(), run.clone());
        self.shared.board.started(&run, again);
        let tailer = Tailer::new(id.clone(), home, known, shared, its_waker, its_stop);
        self.tasks.spawn(async move { (id, tailer.run().await) });
        self.runs.insert(
            run,
            Running {
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
        self.settled = None;
        if !running.then.is_empty() {
            for request in running.then {
                self.request(request).await;
            }
            self.discover().await;
            return;
        }
        match result {
            Ok(Ended::Stopped) if running.again => self.start(vec![run], false).await,
            Ok(Ended::Gone) => {
                self.failed.remove(&run);
                self.shared.board.gone(&run);
                // Refused only while everything stops; then it vanishes at the next start.
                let _ = (self.shared.committer.stop(run.clone(), StopReason::Vanished)).await;
                tracing::info!(%run, "its directory is gone; what was counted stays");
                // It may have been made again meanwhile, and who told of that was told that it is known.
                self.discover().await;
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
            Failure {
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
            Request::Start { start, done } => self.start_asked(start, info, done).await,
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
                    None => self.forget(run, done).await,
                },
            },
        }
    }

    /// Lets the run's tailer read everything there is, and waits for that elsewhere.
    async fn stop_asked(&mut self, stop: StopRequest, done: oneshot::Sender<StopAnswer>) {
        let run = &stop.run;
        if !self.runs.contains_key(run) {
            // It may have come just now; and one that failed tries once more.
            self.discover().await;
            if self.failed.contains_key(run) {
                self.start(vec![run.clone()], true).await;
            }
        }
        let Some(running) = self.runs.get(run) else {
            return self.swept(stop, Swept::TailerGone, done).await;
        };
        let (swept, sweep) = oneshot::channel();
        running.waker.stop_run(stop.incomplete, swept);
        self.sweeps.spawn(async move {
            let swept = match sweep.await {
                Ok(None) => Swept::ToTheEnd,
                Ok(Some(why)) => Swept::Unread(why),
                Err(_) => Swept::TailerGone,
            };
            (stop, swept, done)
        });
    }

    async fn start_asked(
        &mut self,
        start: StartRequest,
        info: Option<RunInfo>,
        done: oneshot::Sender<StartAnswer>,
    ) {
        let run = start.run.clone();
        let own = match self.own_mount(&start).await {
            Ok(own) => own,
            Err(answer) => {
                let _ = done.send(answer);
                return;
            }
        };
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
        let moves = info
            .is_some_and(|info| info.account != wanted || own.as_ref().is_some_and(|own| info.mount != *own));
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
            mount: own.clone(),
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
            match own {
                Some(Some(mount)) => self.places.take(&run, mount),
                Some(None) => self.places.give_up(&run),
                None => {}
            }
        }
        match self.runs.get(&run) {
            Some(running) => running.waker.revive(),
            None => self.discover().await,
        }
        let _ = done.send(answer);
    }

    /// Where a run's logs are to be, as far as that is said: `Some(None)` is the runs directory.
    async fn own_mount(&self, start: &StartRequest) -> Result<Option<Option<PathBuf>>, StartAnswer> {
        let Some(mount) = start.mount.clone() else {
            return Ok(None);
        };
        let (run, settings) = (start.run.clone(), Arc::clone(&self.shared.settings.borrow()));
        let runs_dir = self.places.directory.clone();
        let resolving = tokio::task::spawn_blocking(move || {
            resolve_mount(&mount, &run, runs_dir.as_deref(), &settings.runs.mount_roots)
        });
        let resolved = match resolving.await {
            Ok(resolved) => resolved.map_err(StartAnswer::Mount)?,
            Err(_) => return Ok(None),
        };
        if let Some(mount) = &resolved
            && let Some(other) = self.places.overlaps(&start.run, mount)
        {
            return Err(StartAnswer::MountTaken(other));
        }
        Ok(Some(resolved))
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
                None => self.why_out_of_reach(&stop.run).await,
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
    async fn why_out_of_reach(&self, run: &RunId) -> Option<String> {
        let directory = self.places.directory.clone().filter(|_| !self.places.has(run))?;
        let listed = tokio::task::spawn_blocking(move || Root::open_given(&directory)?.list(Path::new("")));
        match listed.await {
            Ok(Err(error @ LogFileError::Io { .. })) => Some(error.to_string()),
            _ => None,
        }
    }

    async fn forget(&mut self, run: RunId, done: oneshot::Sender<ForgetAnswer>) {
        // Nobody finds a directory that is not in the runs directory by itself.
        let home = self.places.home(&run);
        let is_there = !home.is_own && home.path.symlink_metadata().is_ok();
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
        let statuses = self.shared.board.runs();
        // One that works again and has caught up starts its next failure from the first pause.
        self.failed.retain(|run, failure| {
            failure.retry_at > now
                || !statuses
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

fn identity(stat: &Stat) -> (u64, crate::record::Inode) {
    (stat.device, stat.inode)
}
