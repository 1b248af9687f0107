//! Paths to runs: starts, wakes, restarts and retires the tailers.
//!
//! A directory below the runs directory whose name is a run id is a run. The 2 s scan is the truth about which there
//! are; events only make it sooner. A tailer that fails is started again, later each time, and disturbs no other.

mod place;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::logfile::{EntryKind, LogFileError, Root, Stat};
use crate::record::RunId;
use crate::tailer::tree::Depth;
use crate::tailer::{Ended, Shared, Tailer, TailerError, Waker};
use crate::watch::{Hints, Mode};

pub use place::Place;

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
    Stop,
}

/// What others do with a supervisor: watch whether the first backlog is done.
pub struct Supervisor {
    shared: Arc<Shared>,
    place: Place,
    stop: CancellationToken,
    runs: HashMap<RunId, Running>,
    tasks: JoinSet<(RunId, Result<Ended, TailerError>)>,
    failed: HashMap<RunId, Failure>,
    strange: HashSet<PathBuf>,
    /// The runs directory as it was watched; `None` while it is not there.
    root: Option<(u64, crate::record::Inode)>,
    replaced: u64,
    ready: CancellationToken,
    backlog_done: CancellationToken,
}

struct Running {
    waker: Waker,
    stop: CancellationToken,
    /// Start it again when it has stopped.
    again: bool,
}

struct Failure {
    times: u32,
    retry_at: Instant,
}

impl Supervisor {
    /// A supervisor for the runs of a place. `ready` is cancelled once everything there is at first is watched,
    /// `backlog_done` once it is read.
    #[must_use]
    pub fn new(
        shared: Arc<Shared>,
        place: Place,
        stop: CancellationToken,
        ready: CancellationToken,
        backlog_done: CancellationToken,
    ) -> Self {
        let replaced = shared.store.replaced();
        Self {
            shared,
            place,
            stop,
            runs: HashMap::new(),
            tasks: JoinSet::new(),
            failed: HashMap::new(),
            strange: HashSet::new(),
            root: None,
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
        self.discover().await;
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
                }
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
        let mut look_around = false;
        for path in hints.paths {
            let Ok(below) = path.strip_prefix(&self.place.directory) else {
                look_around = true;
                continue;
            };
            if below == Path::new("") {
                look_around = true;
                continue;
            }
            if let Some(Ok(run)) = self.place.run_of(below) {
                match self.runs.get(&run) {
                    Some(running) => running.waker.hint(below.iter().skip(1).collect()),
                    None => look_around = true,
                }
            }
        }
        if look_around {
            self.discover().await;
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
        self.discover().await;
        let depth = if self.shared.watch.health().mode == Mode::Events {
            Depth::Changed
        } else {
            Depth::Everything
        };
        for run in self.runs.values() {
            run.waker.scan(depth);
        }
        self.restart_failed();
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

    /// Finds out which runs there are, and starts tailers for the new ones.
    async fn discover(&mut self) {
        let directory = self.place.directory.clone();
        let known: HashSet<RunId> = self.runs.keys().chain(self.failed.keys()).cloned().collect();
        let watch = Arc::clone(&self.shared.watch);
        let was = self.root;
        let listed = tokio::task::spawn_blocking(move || {
            let root = Root::open_given(&directory)?;
            let stat = root.stat(Path::new(""))?;
            if was != Some(identity(&stat)) {
                // Watched before it is listed; if it cannot be, the scans find what is new.
                let _ = watch.watch_dir(&directory);
            }
            Ok::<_, LogFileError>((identity(&stat), root.list(Path::new(""))?))
        });
        let entries = match listed.await {
            Ok(Ok((identity, entries))) => {
                self.root = Some(identity);
                self.shared.board.runs_directory(None);
                entries
            }
            Ok(Err(error)) => {
                let was_there = self.root.take().is_some();
                if self.strange.insert(self.place.directory.clone()) || was_there {
                    tracing::warn!("{error}; runs are picked up when the runs directory can be read");
                }
                self.shared
                    .board
                    .runs_directory(Some(format!("the runs directory: {error}")));
                return;
            }
            Err(_) => return,
        };
        let mut new = Vec::new();
        for entry in entries {
            let Some(named) = self.place.run_of(&entry.path) else {
                continue;
            };
            if entry.kind != EntryKind::Directory {
                if entry.kind == EntryKind::Other && self.place.directory.join(&entry.path).is_dir() {
                    self.strange_name(&entry.path, "it is a link, and links are not followed");
                }
                continue;
            }
            match named {
                Ok(run) if !known.contains(&run) => new.push(run),
                Ok(_) => {}
                Err(error) => self.strange_name(&entry.path, &error.to_string()),
            }
        }
        new.sort_unstable();
        if new.is_empty() {
            return;
        }
        let backlog = !self.backlog_done.is_cancelled();
        let accounts = self.shared.settings.borrow().accounts.clone();
        let with_accounts: Vec<_> = (new.iter())
            .map(|run| (run.clone(), accounts.of_run(run).clone()))
            .collect();
        if self
            .shared
            .committer
            .register(with_accounts, backlog)
            .await
            .is_err()
        {
            return;
        }
        for run in new {
            self.start(run, false);
        }
    }

    fn strange_name(&mut self, name: &Path, error: &str) {
        if self.strange.len() < STRANGE_NAMES_MAX && self.strange.insert(name.to_owned()) {
            tracing::warn!(name = ?name, "not a run: {error}");
        }
    }

    fn start(&mut self, run: RunId, again: bool) {
        let waker = Waker::default();
        let stop = CancellationToken::new();
        let (path, in_runs) = (self.place.path_of(&run), self.place.in_runs(&run));
        let (shared, its_waker, its_stop, id) =
            (Arc::clone(&self.shared), waker.clone(), stop.clone(), run.clone());
        self.shared.board.started(&run, again);
        self.tasks.spawn(async move {
            let tailer = Tailer::new(id.clone(), path, in_runs, shared, its_waker, its_stop);
            let result = match tailer {
                Ok(tailer) => tailer.run().await,
                Err(error) => Err(error),
            };
            (id, result)
        });
        self.runs.insert(
            run,
            Running {
                waker,
                stop,
                again: false,
            },
        );
    }

    async fn ended(&mut self, run: RunId, result: Result<Ended, TailerError>) {
        let Some(running) = self.runs.remove(&run) else {
            return;
        };
        match result {
            Ok(Ended::Stopped) if running.again => self.start(run, false),
            Ok(Ended::Gone) => {
                tracing::info!(%run, "its directory is gone; what was counted stays");
                self.failed.remove(&run);
                self.shared.board.gone(&run);
                // It may have been made again meanwhile, and who told of that was told that it is known.
                self.discover().await;
            }
            Ok(Ended::Stopped) | Err(TailerError::Refused(_)) => {}
            Err(error) => {
                let times = self.failed.get(&run).map_or(0, |failure| failure.times) + 1;
                let pause = (RESTART_AFTER * 2u32.saturating_pow(times.min(10) - 1)).min(RESTART_AFTER_MAX);
                tracing::error!(%run, "its tailer failed: {error}; starting it again in {} s", pause.as_secs());
                self.shared
                    .board
                    .failed(&run, format!("its tailer failed: {error}"));
                self.failed.insert(
                    run,
                    Failure {
                        times,
                        retry_at: Instant::now() + pause,
                    },
                );
            }
        }
        self.check_progress().await;
    }

    fn restart_failed(&mut self) {
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
            self.start(run, true);
        }
    }

    /// Says when everything is watched, and when the first backlog is read.
    async fn check_progress(&mut self) {
        let (watched, caught_up) = self.shared.board.progress();
        if watched && !self.ready.is_cancelled() {
            self.ready.cancel();
        }
        // Without a runs directory there was no backlog to see.
        if caught_up
            && self.root.is_some()
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
