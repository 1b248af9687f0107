//! Tailer: one actor per run, which looks where hints point, reads new lines and commits them.
//!
//! Its state is a cache. When the committer refuses a batch, the position in the store replaces that of the
//! tailer; when the tailer fails, the next one begins with the positions in the store.

pub mod access;
pub mod dues;
mod handle;
mod idle;
pub mod late;
mod look;
#[cfg(test)]
mod model;
pub mod poller;
pub mod roster;
mod scan_schedule;
mod share;
mod shared;
pub mod stall;
pub mod status;
mod suspects;
mod sweep;
pub mod tree;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use crate::committer::handle::CommitterGone;
use crate::logfile::LogFileError;
use crate::logfile::pool::STALLED_AFTER;
use crate::logfile::run_dir::RunDir;
use crate::model::{AccountId, Labels, RunAccounts, RunId, StopReason};
use crate::store::StoredRun;

pub use handle::TailerHandle;
use handle::{Pending, StopWaiter};
use idle::IdleState;
use scan_schedule::ScanSchedule;
pub use shared::{ReadPermits, SharedAccounts, TailerContext};
use sweep::Sweep;
use tree::holes::HOLE_WAIT;
use tree::{Depth, Tree};

/// The reason why a tailer ended.
#[derive(Debug)]
pub enum Ended {
    Stopped,
    /// The run's directory is gone; everything that was read is committed.
    Gone,
}

/// The reason why a tailer failed.
#[derive(Debug, thiserror::Error)]
pub enum TailerError {
    #[error("{0}")]
    LogFile(#[from] LogFileError),
    #[error("{0}")]
    Refused(#[from] CommitterGone),
    #[error("reading stopped with a panic: {0}")]
    Panic(String),
    #[error("it is stopped while its filesystem does not answer")]
    Stopped,
}

/// A run's actor.
pub struct Tailer {
    run: RunId,
    /// The labels of the run when the tailer started.
    labels: Labels,
    /// The accounts that count the run.
    accounts: Arc<RunAccounts>,
    /// The account that the settings name for a new run of this name, as of the last rescan, if the run has
    /// another one.
    wanted: Option<Box<AccountId>>,
    shared: Arc<TailerContext>,
    handle: TailerHandle,
    stop: CancellationToken,
    /// Held in a step of which thousands may be due at once, unless its filesystem is slow.
    turn: Option<OwnedSemaphorePermit>,
    /// The directory with its logs.
    home: Arc<Path>,
    /// The devices of its logs, as of the last look.
    devices: Vec<u64>,
    /// Those of them that not only this kernel changes; `None` before the first look.
    shared_devices: Option<Vec<u64>>,
    /// It was reported that its filesystem does not respond.
    is_stalled: bool,
    /// `None` while a thread works on it, and while the tailer rests.
    tree: Option<Box<Tree>>,
    schedule: ScanSchedule,
    /// When everything that its first look found was read, except what stands behind holes.
    first_read: Option<Instant>,
}

impl Tailer {
    /// A tailer for a run with its logs in `home` and this state in the store.
    #[must_use]
    pub fn new(
        run: RunId,
        home: RunDir,
        known: StoredRun,
        shared: Arc<TailerContext>,
        handle: TailerHandle,
        stop: CancellationToken,
    ) -> Self {
        let StoredRun { info, positions } = known;
        // A run that vanished has a directory again, so it is scanned like any other.
        let retired = (info.as_ref().and_then(|info| info.stopped))
            .is_some_and(|(_, reason)| reason != StopReason::Vanished);
        let (account, labels) = match info {
            Some(info) => (info.account, info.labels),
            None => (
                shared.settings.borrow().accounts.of_run(&run).clone(),
                Labels::new(),
            ),
        };
        let accounts = shared
            .settings
            .borrow()
            .accounts
            .of_providers(&run, &labels, account);
        // Spreads the full scans of the runs over different rounds.
        let round_offset = run.as_str().bytes().fold(0u8, u8::wrapping_add);
        Self {
            home: Arc::clone(&home.path),
            devices: Vec::new(),
            shared_devices: None,
            is_stalled: false,
            tree: Some(Box::new(Tree::new(run.clone(), home, positions))),
            run,
            wanted: None,
            accounts: shared.accounts.share(accounts),
            labels,
            shared,
            handle,
            stop,
            turn: None,
            schedule: ScanSchedule::new(round_offset, retired),
            first_read: None,
        }
    }

    /// Works until it is stopped or the run's directory is gone, or cannot go on; a new tailer may.
    // Boxed: a future reserves room for each value that is moved into it, and there may be thousands of
    // tailers. For the same reason each step has a box of its own, which is free while the tailer rests.
    pub async fn run(mut self: Box<Self>) -> (RunId, Result<Ended, TailerError>) {
        self.take_turn(false).await;
        let mut step = Box::pin(self.first_look()).await;
        if matches!(step, Ok(None)) {
            self.turn = None;
            self.until_reads_begin().await;
            self.take_turn(true).await;
            step = Box::pin(self.read_news()).await.map(|()| None);
        }
        let ended = loop {
            self.turn = None;
            match step {
                Ok(None) => {}
                Ok(Some(ended)) => break Ok(ended),
                Err(TailerError::Stopped) => break Ok(Ended::Stopped),
                Err(error) => break Err(error),
            }
            let goes_on = self.rest().await;
            if self.handle.is_of_many() {
                self.take_turn(false).await;
            }
            step = Box::pin(self.step(goes_on)).await;
        };
        // Files are closed on a thread of the pool, because that may hang too.
        if let Some(tree) = self.tree.take() {
            self.shared.pool.start(move || drop(tree));
        }
        (self.run, ended)
    }

    /// Watches and lists the run for the first time. What it finds is read afterwards.
    async fn first_look(&mut self) -> Result<Option<Ended>, TailerError> {
        let mut first = Pending {
            rescan: true,
            ..Pending::default()
        };
        self.schedule_look(&mut first);
        let is_gone = self.look_in_time(first).await?;
        self.schedule.watched = true;
        self.shared.statuses.watched(&self.run);
        if let Some(tree) = &mut self.tree
            && !is_gone
        {
            tree.shrink();
            return Ok(None);
        }
        // Open files are read to their ends.
        self.read_news().await?;
        Ok(Some(Ended::Gone))
    }

    /// Does the work of all messages, the last one if the tailer does not go on; returns the reason if it ends.
    async fn step(&mut self, goes_on: bool) -> Result<Option<Ended>, TailerError> {
        self.take_back().await?;
        let mut pending = self.handle.take();
        if !goes_on {
            // The hints that came before the stop are still worked off.
            self.work(pending).await?;
            return Ok(Some(Ended::Stopped));
        }
        let mut stops = std::mem::take(&mut pending.stops);
        // A closed channel was answered already: the filesystem of the run stalled.
        stops.retain(|stop| !stop.done.is_closed());
        if let Some(ended) = self.work(pending).await? {
            // Open files were read to their ends; the supervisor notes that the run vanished.
            return Ok(Some(ended));
        }
        if !stops.is_empty() && !self.stop_for(stops).await? {
            return Ok(None);
        }
        let idle_stop = self.shared.settings.borrow().runs.idle_stop;
        if !self.schedule.retired && self.schedule.last_news.elapsed() > idle_stop {
            tracing::info!(run = %self.run, "no news for long; it is stopped until there are some");
            // Incomplete is enough: a stopped run is still scanned for logs that cannot be read now.
            Box::pin(self.stop_run(StopReason::Idle, true)).await?;
        }
        Ok(None)
    }

    /// Stops the run after a last sweep, and answers each request for that; `false` if the sweep was cut
    /// short.
    async fn stop_for(&mut self, stops: Vec<StopWaiter>) -> Result<bool, TailerError> {
        let incomplete = stops.iter().any(|stop| stop.incomplete);
        let swept = Box::pin(self.stop_run(StopReason::Asked, incomplete)).await?;
        let Sweep::Done { unread } = swept else {
            // The dropped channels report that the run was not read to its end.
            return Ok(false);
        };
        for stop in stops {
            // The receiver may be gone.
            let _ = (stop.done).send(unread.clone().filter(|_| !stop.incomplete));
        }
        Ok(true)
    }

    /// Leaves the tree to the poller until there is a message; `false` if that is the stop.
    async fn rest(&mut self) -> bool {
        let hole_due = self.tree.as_deref().and_then(Tree::hole_due);
        if let Some(mut tree) = self.tree.take() {
            tree.shrink();
            let schedule = self.schedule;
            self.handle.leave_idle(IdleState { tree, schedule });
        }
        match hole_due {
            None => self.woken().await,
            Some(due) => {
                let woken = Box::pin(tokio::time::timeout_at(due.into(), self.woken()));
                woken.await.unwrap_or(true)
            }
        }
    }

    /// Waits for a message; `false` if that is the stop.
    async fn woken(&self) -> bool {
        tokio::select! {
            biased;
            () = self.handle.woken() => true,
            () = self.stop.cancelled() => false,
        }
    }

    /// Takes the tree back from the poller. A visitor that has it may hang.
    async fn take_back(&mut self) -> Result<(), TailerError> {
        let taking = self.handle.take_idle();
        tokio::pin!(taking);
        let idle = tokio::select! {
            biased;
            idle = &mut taking => idle,
            () = self.stop.cancelled() => {
                let taken = tokio::time::timeout(STALLED_AFTER, taking).await;
                taken.map_err(|_| TailerError::Stopped)?
            }
        };
        self.handle.set_due();
        let IdleState { tree, schedule } = idle;
        self.tree = Some(tree);
        self.schedule = schedule;
        Ok(())
    }

    /// Looks where the messages point, then reads and commits until there is no news.
    async fn work(&mut self, mut pending: Pending) -> Result<Option<Ended>, TailerError> {
        if !self.schedule_look(&mut pending) {
            return Ok(None);
        }
        let is_gone = self.look_in_time(pending).await?;
        self.read_news().await?;
        Ok(is_gone.then_some(Ended::Gone))
    }

    /// Looks where the messages point; true if the run's directory is gone.
    async fn look_in_time(&mut self, pending: Pending) -> Result<bool, TailerError> {
        let note = self.late_note(false);
        // Boxed, since hundreds of tailers may wait for a permit in the look.
        let is_gone = note.during(Box::pin(self.look(pending))).await?;
        self.report_lag();
        Ok(is_gone)
    }

    /// Reads and commits until there is no news.
    async fn read_news(&mut self) -> Result<(), TailerError> {
        let (mut had_news, mut had_lines) = (false, false);
        // A stop does not wait for a backlog: the rest is read at the next start.
        while self.tree.as_deref().is_some_and(Tree::has_news) && !(had_news && self.stop.is_cancelled()) {
            let note = self.late_note(true);
            let share = note.during(Box::pin(self.read_share(false))).await?;
            had_news |= !share.batches.is_empty();
            had_lines |= share.batches.iter().any(|batch| batch.lines.read > 0);
            Box::pin(self.commit(share)).await?;
            self.report_lag();
        }
        if had_news {
            self.schedule.last_news = Instant::now();
        }
        if had_news || self.tree.as_deref().is_some_and(Tree::needs_looks) {
            self.schedule.reset_interval();
        }
        if had_lines && std::mem::take(&mut self.schedule.retired) {
            tracing::info!(run = %self.run, "it was stopped and has new lines; it goes on");
            // With the rescan its directories are watched again.
            self.handle.rescan();
        }
        self.report(had_news);
        Ok(())
    }

    /// Decides how thorough the look is; `false` if a stopped run needs none.
    fn schedule_look(&mut self, pending: &mut Pending) -> bool {
        if pending.revive && std::mem::take(&mut self.schedule.retired) {
            pending.rescan = true;
            self.schedule.last_news = Instant::now();
        }
        if let Some((scan, depth)) = pending.tick {
            let partly_watched = self.tree.as_ref().is_some_and(|tree| tree.partly_watched);
            pending.scan = pending.scan.max(self.schedule.next(scan, depth, partly_watched));
        }
        if self.schedule.retired {
            if pending.scan.is_none() && !pending.rescan && pending.paths.is_empty() {
                return false;
            }
            pending.scan = Some(Depth::Everything);
        }
        true
    }

    /// Reports which logs cannot be read and what is not read, once all others are read.
    fn report(&mut self, had_news: bool) {
        if let Some((notices, new)) = self.tree.as_deref_mut().and_then(Tree::notices) {
            self.shared.statuses.notice(&self.run, notices);
            for notice in new {
                tracing::warn!(run = %self.run, "{notice}");
            }
        }
        if let Some(tree) = &self.tree {
            let complete = tree.unread().is_none();
            (self.shared.statuses).has_read(&self.run, tree.problem(), complete, had_news);
            let waited_from = *self.first_read.get_or_insert_with(Instant::now);
            // What appears later is no backlog: a log that is filled all the time would end it never.
            if !tree.waits_at_hole() || waited_from.elapsed() >= HOLE_WAIT {
                self.shared.statuses.caught_up(&self.run);
            }
        }
    }

    /// Takes one of the turns for what thousands may have to do at once. Those that wait here, outside of the step,
    /// take far less memory than those in it.
    async fn take_turn(&mut self, has_lines: bool) {
        self.turn = self.shared.permits.try_turn();
        if self.turn.is_none() {
            self.shared.statuses.waits(&self.run, Some(has_lines));
            self.turn = self.shared.permits.turn().await;
            self.shared.statuses.waits(&self.run, None);
        }
    }

    /// Waits until reading may begin, or the tailer is stopped.
    async fn until_reads_begin(&self) {
        tokio::select! {
            () = self.shared.reads_begin.cancelled() => {}
            () = self.stop.cancelled() => {}
        }
    }

    fn report_lag(&self) {
        if let Some(tree) = &self.tree {
            self.shared.statuses.lags(&self.run, tree.lag());
        }
    }
}
