//! One actor per run: woken, it looks where the hints point, reads what is new and hands it to the committer.
//!
//! It keeps no truth of its own. When the committer refuses a batch, the stored cursor that comes back replaces what
//! the actor believed; when the actor dies, its successor begins with the cursors from the store.

mod idle;
#[cfg(test)]
mod model;
pub mod poller;
pub mod roster;
mod scan_schedule;
pub mod stall;
pub mod status;
mod suspects;
pub mod tree;

use std::collections::{BTreeSet, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::committer::handle::{CommitterGone, CommitterHandle};
use crate::config::Settings;
use crate::logfile::LogFileError;
use crate::logfile::pool::{Pool, STALLED_AFTER};
use crate::logfile::run_dir::RunDir;
use crate::model::{AccountId, Batch, Labels, Millis, RunId, StopReason};
use crate::store::{Outcome, Store, StoredRun};
use crate::watch::Watch;

use crate::reader::ReadOptions;
use idle::{IdleSlot, IdleState};
use roster::Due;
use scan_schedule::ScanSchedule;
use status::RunStatuses;
pub use suspects::Suspects;
use tree::{Depth, SHARE_RECORDS_MAX, ScanContext, Tree};

/// Runs whose directories are looked at at the same time.
const LOOKS_MAX: usize = 8;
/// Runs that are read at the same time: a read that hangs in a mount keeps a thread, and there are 16.
const READERS_MAX: usize = 12;
/// Records of all runs that are read and not committed: what two transactions take, so that one is read while the other
/// is committed. Some 20 MB; more with more than six readers.
const UNCOMMITTED_RECORDS_MAX: usize = 131_072;
/// Hints kept for one run; more are answered by a scan.
const HINTS_MAX: usize = 1024;
/// Longest time a last sweep follows files that go on growing.
const SWEEP_FOR_MAX: Duration = Duration::from_secs(10);
/// Reading waits at the start until everything is watched, or no further run was for so long.
const WATCHED_WITHIN: Duration = Duration::from_millis(500);
/// Devices remembered to give events.
const DEVICES_MAX: usize = 64;

/// What all tailers share.
#[derive(Debug)]
pub struct TailerContext {
    pub settings: watch::Receiver<Arc<Settings>>,
    pub store: Arc<Store>,
    pub watch: Arc<Watch>,
    pub committer: CommitterHandle,
    pub board: Arc<RunStatuses>,
    pub readers: ReadPermits,
    pub heard: Arc<DevicesWithEvents>,
    /// Whatever touches a run's filesystem runs here. **Invariant**: no work holds a handle of the committer, which ends
    /// with the last one: what hangs must not keep it.
    pub pool: Pool,
    pub suspects: Arc<Suspects>,
    /// Cancelled once everything there was at the start is watched.
    pub ready: CancellationToken,
}

/// The devices from which events arrive: some came, or nobody but this kernel changes anything there.
#[derive(Debug, Default)]
pub struct DevicesWithEvents(Mutex<BTreeSet<u64>>);

impl DevicesWithEvents {
    /// Whether events came from all of these; there is one at least.
    fn has_all(&self, mut devices: impl Iterator<Item = u64>) -> bool {
        let heard = self.lock();
        let is_heard = |device| heard.contains(&device);
        devices.next().is_some_and(is_heard) && devices.all(is_heard)
    }

    fn add(&self, device: u64) {
        let mut devices = self.lock();
        if devices.len() < DEVICES_MAX {
            devices.insert(device);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who may read: so many at once, each with a buffer that goes from one to the next.
#[derive(Debug)]
pub struct ReadPermits {
    permits: Semaphore,
    /// Fewer look at directories at once than there are threads: a mount that hangs leaves threads for answers.
    looks: Semaphore,
    /// The same for those that go through all of a run, so that a hint does not wait for hundreds of runs that came at once.
    scans: Semaphore,
    /// Room for records that are read and not committed yet: with many backlogs at once, that is what takes memory.
    room: Arc<Semaphore>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

impl ReadPermits {
    /// As many as there are processors, but not more than a mount that hangs may keep.
    #[must_use]
    pub fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = count.min(READERS_MAX);
        Self {
            permits: Semaphore::new(count),
            looks: Semaphore::new(LOOKS_MAX),
            scans: Semaphore::new(LOOKS_MAX),
            // Reads that hang in a mount hold theirs, and there are no more of them than permits.
            room: Arc::new(Semaphore::new(
                UNCOMMITTED_RECORDS_MAX.max((count + 2) * SHARE_RECORDS_MAX as usize),
            )),
            buffers: Mutex::default(),
        }
    }

    fn take_buffer(&self) -> Vec<u8> {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop()
            .unwrap_or_default()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        self.buffers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(buffer);
    }
}

impl Default for ReadPermits {
    fn default() -> Self {
        Self::new()
    }
}

/// What was read at once, and the room it has until it is committed.
struct CommitShare {
    batches: Vec<Batch>,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why a tailer ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// The run's directory is gone; everything that was read is committed.
    Gone,
}

/// Why a tailer failed.
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

/// What waits for a tailer.
#[derive(Debug, Default)]
struct Pending {
    paths: HashSet<PathBuf>,
    scan: Option<Depth>,
    /// A scan of all runs, by its number; what it means for this one is not decided yet.
    tick: Option<(u32, Depth)>,
    rescan: bool,
    /// Who waits for the run to be stopped.
    stops: Vec<StopWaiter>,
    /// The run was started again.
    revive: bool,
}

/// Someone waits for the run to be stopped.
#[derive(Debug)]
struct StopWaiter {
    /// What cannot be read is accepted.
    incomplete: bool,
    /// Told why not everything could be read, if that is not accepted.
    done: oneshot::Sender<Option<String>>,
}

/// How a last sweep ended.
enum Sweep {
    /// The tailer has to end first.
    CutShort,
    /// All that can be read is read; why that is not everything, if it is not.
    Done { unread: Option<String> },
}

/// The other end of a tailer: wakes it.
#[derive(Clone, Debug, Default)]
pub struct TailerHandle {
    mailbox: Arc<Mailbox>,
    idle: IdleSlot,
}

#[derive(Debug, Default)]
struct Mailbox {
    pending: Mutex<Pending>,
    notify: Notify,
    due: Option<Due>,
}

impl TailerHandle {
    /// Of a run that the poller looks after, with its entry in a table of what is due.
    #[must_use]
    pub fn new(due: Due) -> Self {
        Self {
            mailbox: Arc::new(Mailbox {
                due: Some(due),
                ..Mailbox::default()
            }),
            idle: IdleSlot::default(),
        }
    }

    /// Whether both wake the same tailer.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.mailbox, &other.mailbox)
    }

    /// Something happened at this path below the run's directory.
    pub fn hint(&self, path: PathBuf) {
        let mut pending = self.pending();
        if pending.paths.len() < HINTS_MAX {
            pending.paths.insert(path);
        } else {
            pending.scan = Some(Depth::Everything);
        }
        drop(pending);
        self.mailbox.notify.notify_one();
    }

    /// A scan of all runs, while this one was at work.
    fn tick(&self, scan: u32, asked: Depth) {
        let mut pending = self.pending();
        let depth = pending.tick.map_or(asked, |(_, before)| before.max(asked));
        pending.tick = Some((scan, depth));
        drop(pending);
        self.mailbox.notify.notify_one();
    }

    /// Time to look without a hint, and how thoroughly.
    fn scan(&self, depth: Depth) {
        let mut pending = self.pending();
        pending.scan = pending.scan.max(Some(depth));
        drop(pending);
        self.mailbox.notify.notify_one();
    }

    /// Events were lost.
    pub fn rescan(&self) {
        self.pending().rescan = true;
        self.mailbox.notify.notify_one();
    }

    /// Stops the run: a last sweep, and it is not watched any more. `done` gets `None` when that is committed, or why
    /// not everything could be read; then the run is not stopped, unless `incomplete` accepts that.
    pub fn stop_run(&self, incomplete: bool, done: oneshot::Sender<Option<String>>) {
        let mut pending = self.pending();
        pending.stops.push(StopWaiter { incomplete, done });
        drop(pending);
        self.mailbox.notify.notify_one();
    }

    /// A stopped run goes on.
    pub fn revive(&self) {
        self.pending().revive = true;
        self.mailbox.notify.notify_one();
    }

    fn take(&self) -> Pending {
        std::mem::take(&mut self.pending())
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.mailbox
            .pending
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run's actor.
pub struct Tailer {
    run: RunId,
    /// As they were when it started.
    labels: Labels,
    /// The account it is counted by.
    account: Arc<AccountId>,
    /// The account that the settings, as last looked at, give a new run of this name.
    wanted: AccountId,
    shared: Arc<TailerContext>,
    waker: TailerHandle,
    stop: CancellationToken,
    /// Where its logs are.
    home: PathBuf,
    /// The devices its logs were on when it last looked.
    devices: Vec<u64>,
    /// Those of them that more than this kernel has a say in; `None` before its first look.
    foreign: Option<Vec<u64>>,
    /// The board has it that they do not answer.
    is_stalled: bool,
    /// `None` only while a thread works on it, or while the tailer rests.
    tree: Option<Box<Tree>>,
    schedule: ScanSchedule,
}

impl Tailer {
    /// A tailer for a run whose logs are in `home`, and of which the store knows this. Nothing happens until it runs.
    #[must_use]
    pub fn new(
        run: RunId,
        home: RunDir,
        known: StoredRun,
        shared: Arc<TailerContext>,
        waker: TailerHandle,
        stop: CancellationToken,
    ) -> Self {
        let StoredRun { info, positions } = known;
        // One that had vanished is there again, so it is looked at like any other.
        let retired = (info.as_ref().and_then(|info| info.stopped))
            .is_some_and(|(_, reason)| reason != StopReason::Vanished);
        let (account, labels) = match info {
            Some(info) => (info.account, info.labels),
            None => (
                shared.settings.borrow().accounts.of_run(&run).clone(),
                Labels::new(),
            ),
        };
        // Runs take their full scans in turns.
        let run_turn = run.as_str().bytes().fold(0u8, u8::wrapping_add);
        Self {
            home: home.path.clone(),
            devices: Vec::new(),
            foreign: None,
            is_stalled: false,
            tree: Some(Box::new(Tree::new(run.clone(), home, positions))),
            run,
            wanted: account.clone(),
            account: Arc::new(account),
            labels,
            shared,
            waker,
            stop,
            schedule: ScanSchedule::new(run_turn, retired),
        }
    }

    /// Works until it is stopped or the run's directory is gone.
    ///
    /// # Errors
    /// When the run cannot go on; a new tailer may.
    // In a box: a future has room for what is moved into it at each place it passes through, and there may be thousands.
    pub async fn run(mut self: Box<Self>) -> Result<Ended, TailerError> {
        let ended = match self.follow().await {
            Err(TailerError::Stopped) => Ok(Ended::Stopped),
            ended => ended,
        };
        // To close files may hang too.
        if let Some(tree) = self.tree.take() {
            self.shared.pool.start(move || drop(tree));
        }
        ended
    }

    async fn follow(&mut self) -> Result<Ended, TailerError> {
        self.waker.rescan();
        loop {
            if !self.rest().await? {
                // What was hinted at before the stop is still read.
                let pending = self.waker.take();
                Box::pin(self.work(pending)).await?;
                return Ok(Ended::Stopped);
            }
            let mut pending = self.waker.take();
            let mut stops = std::mem::take(&mut pending.stops);
            // Who did not wait was told that the run is not stopped.
            stops.retain(|stop| !stop.done.is_closed());
            // What work needs is given back while the tailer rests: there may be thousands.
            if let Some(ended) = Box::pin(self.work(pending)).await? {
                // Everything that was held open is read; the supervisor notes that the run vanished.
                return Ok(ended);
            }
            if !stops.is_empty() {
                let incomplete = stops.iter().any(|stop| stop.incomplete);
                let Sweep::Done { unread } = Box::pin(self.stop_run(StopReason::Asked, incomplete)).await?
                else {
                    // Dropped, they say that it was not read to its end.
                    continue;
                };
                for stop in stops {
                    // Whoever asked may have left.
                    let _ = (stop.done).send(unread.clone().filter(|_| !stop.incomplete));
                }
            }
            let idle_stop = self.shared.settings.borrow().runs.idle_stop;
            if !self.schedule.retired && self.schedule.last_news.elapsed() > idle_stop {
                tracing::info!(run = %self.run, "no news for long; it is stopped until there are some");
                // Nobody asks for its totals: what cannot be read is looked for in a stopped run too.
                Box::pin(self.stop_run(StopReason::Idle, true)).await?;
            }
        }
    }

    /// Leaves the tree to whoever looks after all runs until there is something to do; `false` if that is to stop.
    async fn rest(&mut self) -> Result<bool, TailerError> {
        let hole_due = self.tree.as_deref().and_then(Tree::hole_due);
        if let Some(tree) = self.tree.take() {
            let schedule = self.schedule;
            self.waker.idle.leave(IdleState { tree, schedule });
        }
        let woken = async {
            tokio::select! {
                biased;
                () = self.waker.mailbox.notify.notified() => true,
                () = self.stop.cancelled() => false,
            }
        };
        let goes_on = match hole_due {
            None => woken.await,
            Some(due) => Box::pin(tokio::time::timeout_at(due.into(), woken))
                .await
                .unwrap_or(true),
        };
        // The visitor that has it may hang with it.
        let taking = self.waker.idle.take();
        tokio::pin!(taking);
        let resting = tokio::select! {
            biased;
            resting = &mut taking => resting,
            () = self.stop.cancelled() => {
                let taken = tokio::time::timeout(STALLED_AFTER, taking).await;
                taken.map_err(|_| TailerError::Stopped)?
            }
        };
        if let Some(due) = &self.waker.mailbox.due {
            due.at_once();
        }
        let IdleState { tree, schedule } = resting;
        self.tree = Some(tree);
        self.schedule = schedule;
        Ok(goes_on)
    }

    /// Reads everything there is, unfinished last lines too, notes that the run is stopped, and lets go of it. If not
    /// everything can be read and `incomplete` does not accept that, the run goes on.
    async fn stop_run(&mut self, reason: StopReason, incomplete: bool) -> Result<Sweep, TailerError> {
        let deadline = Instant::now() + SWEEP_FOR_MAX;
        let everything = Pending {
            scan: Some(Depth::Everything),
            ..Pending::default()
        };
        // If the directory is gone, what was still open is read; the next look ends the tailer.
        self.look(everything).await?;
        if let Some(tree) = &mut self.tree {
            tree.enqueue_unfinished();
        }
        // What is there now is read, however long that takes; what comes meanwhile only for a while.
        let goals = self.tree.as_deref().map(Tree::goals).unwrap_or_default();
        let is_due =
            |tree: &Tree| tree.has_news() && (Instant::now() < deadline || !tree.has_reached(&goals));
        while self.tree.as_deref().is_some_and(is_due) && !self.stop.is_cancelled() {
            let share = self.read_share(true).await?;
            self.commit(share).await?;
        }
        self.report_lag();
        if self.stop.is_cancelled() && self.tree.as_deref().is_some_and(Tree::has_news) {
            return Ok(Sweep::CutShort);
        }
        self.report(false);
        let unread = self.tree.as_deref().and_then(Tree::unread);
        if unread.is_some() && !incomplete {
            return Ok(Sweep::Done { unread });
        }
        self.shared.committer.stop(self.run.clone(), reason).await?;
        self.schedule.retire();
        let watch = Arc::clone(&self.shared.watch);
        let settings = Arc::clone(&self.shared.settings.borrow());
        let turn = self.turn().await?;
        let ((), tree) = self
            .blocking(turn, &mut None::<()>, &mut None::<()>, move |mut tree| {
                tree.retire(ScanContext {
                    globs: &settings.watch.globs,
                    limits: &settings.limits,
                    watch: &watch,
                    unwatched: true,
                });
                ((), tree)
            })
            .await?;
        self.tree = Some(tree);
        Ok(Sweep::Done { unread })
    }

    async fn work(&mut self, pending: Pending) -> Result<Option<Ended>, TailerError> {
        let mut pending = pending;
        if pending.revive && std::mem::take(&mut self.schedule.retired) {
            pending.rescan = true;
            self.schedule.last_news = Instant::now();
        }
        if let Some((scan, asked)) = pending.tick {
            let partly_watched = self.tree.as_ref().is_some_and(|tree| tree.partly_watched);
            pending.scan = pending.scan.max(self.schedule.next(scan, asked, partly_watched));
        }
        if self.schedule.retired {
            if pending.scan.is_none() && !pending.rescan && pending.paths.is_empty() {
                return Ok(None);
            }
            pending.scan = Some(Depth::Everything);
        }
        let gone = self.look(pending).await?;
        self.report_lag();
        if !self.schedule.watched {
            self.schedule.watched = true;
            self.shared.board.watched(&self.run);
            self.let_others_look().await;
        }
        let (mut had_news, mut had_lines) = (false, false);
        // A stop does not wait for a backlog: what is not read now is read at the next start.
        while self.tree.as_deref().is_some_and(Tree::has_news) && !(had_news && self.stop.is_cancelled()) {
            let share = self.read_share(false).await?;
            had_news |= !share.batches.is_empty();
            had_lines |= share.batches.iter().any(|batch| batch.lines.read > 0);
            self.commit(share).await?;
            self.report_lag();
        }
        if had_news {
            self.schedule.last_news = Instant::now();
        }
        if had_news || self.tree.as_deref().is_some_and(Tree::needs_looks) {
            self.schedule.stir();
        }
        if had_lines && std::mem::take(&mut self.schedule.retired) {
            tracing::info!(run = %self.run, "it was stopped and has new lines; it goes on");
            // Watched again from the next look on.
            self.waker.rescan();
        }
        self.report(had_news);
        Ok(gone.then_some(Ended::Gone))
    }

    /// Puts on the board what is wrong in the run and what is not read, once all that can be read is read.
    fn report(&mut self, had_news: bool) {
        if let Some((notices, new)) = self.tree.as_deref_mut().and_then(Tree::notices) {
            self.shared.board.notice(&self.run, notices);
            for notice in new {
                tracing::warn!(run = %self.run, "{notice}");
            }
        }
        if let Some(tree) = &self.tree {
            let complete = tree.unread().is_none();
            (self.shared.board).caught_up(&self.run, tree.problem(), complete, had_news);
        }
    }

    /// At the start everything is watched first and read second. What hangs is not waited for: it is enough that no
    /// further run is watched for a while.
    async fn let_others_look(&self) {
        let mut unwatched = self.shared.board.unwatched();
        loop {
            tokio::select! {
                () = self.shared.ready.cancelled() => return,
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(WATCHED_WITHIN) => {}
            }
            let before = std::mem::replace(&mut unwatched, self.shared.board.unwatched());
            if unwatched >= before {
                return;
            }
        }
    }

    fn report_lag(&self) {
        if let Some(tree) = &self.tree {
            self.shared.board.lags(&self.run, tree.lag());
        }
    }

    /// Looks where it was told to; says whether the run's directory is gone.
    async fn look(&mut self, pending: Pending) -> Result<bool, TailerError> {
        let shared = Arc::clone(&self.shared);
        let permits = if pending.rescan || pending.scan.is_some() {
            &shared.readers.scans
        } else {
            &shared.readers.looks
        };
        let (turn, mut permit) = loop {
            let turn = self.turn().await?;
            let permit = permits.acquire().await;
            if !self.is_outdated(&turn) {
                break (turn, Some(permit));
            }
        };
        let settings = Arc::clone(&self.shared.settings.borrow());
        if pending.rescan {
            // The first look, and the one after new settings.
            self.compare_account(&settings);
        }
        let depth = pending.scan;
        let watch = Arc::clone(&self.shared.watch);
        let idle = settings.limits.idle_close;
        let unwatched = self.schedule.retired;
        let known = self.devices.clone();
        let ((gone, devices, are_new), tree) = self
            .blocking(turn, &mut permit, &mut None::<()>, move |mut tree| {
                let hinted_before = tree.has_news();
                let world = ScanContext {
                    globs: &settings.watch.globs,
                    limits: &settings.limits,
                    watch: &watch,
                    unwatched,
                };
                let mut devices = Vec::new();
                let looked = if pending.rescan {
                    tree.rescan(world)
                } else {
                    let hinted = tree.look(&pending.paths, world);
                    if !hinted_before {
                        devices.extend(pending.paths.iter().filter_map(|path| tree.device_of_news(path)));
                    }
                    depth.map_or(hinted, |depth| tree.scan(depth, world))
                };
                // A mount may have come or gone.
                let are_new = pending.rescan || (depth.is_some() && tree.all_devices() != known);
                if are_new {
                    devices = tree.local_devices();
                }
                tree.enqueue_due_holes(Instant::now());
                if depth.is_some() {
                    tree.close_idle(idle, Instant::now());
                }
                let gone = match looked {
                    Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => {
                        tree.vanish_all(world);
                        Ok(true)
                    }
                    Err(error) => Err(error),
                    Ok(()) => Ok(false),
                };
                ((gone, devices, are_new), tree)
            })
            .await?;
        if are_new {
            self.devices = tree.all_devices();
            self.schedule.hinted = false;
            let foreign = self.devices.iter().filter(|device| !devices.contains(device));
            let foreign: Vec<u64> = foreign.copied().collect();
            self.schedule
                .note_local(foreign.is_empty() && !self.devices.is_empty());
            self.foreign = Some(foreign);
        }
        for device in devices {
            self.shared.heard.add(device);
        }
        self.schedule.hinted = self.schedule.hinted || self.shared.heard.has_all(tree.devices());
        // A full scan after the first that finds what no event told: do not trust events here for a while.
        if tree.news_without_hint && self.schedule.watched && depth == Some(Depth::Everything) {
            self.schedule.doubt();
        }
        self.tree = Some(tree);
        Ok(gone?)
    }

    /// Says, once for each change, that the settings want another account for the run than it has.
    fn compare_account(&mut self, settings: &Settings) {
        let wanted = settings.accounts.of_labelled(&self.run, &self.labels);
        if wanted == self.wanted {
            return;
        }
        self.wanted = wanted.clone();
        if self.wanted != *self.account {
            tracing::warn!(
                run = %self.run,
                "it stays with account {}, by which it is counted; new runs of its name go to {wanted}",
                self.account
            );
        }
    }

    async fn read_share(&mut self, settle: bool) -> Result<CommitShare, TailerError> {
        let shared = Arc::clone(&self.shared);
        let readers = &shared.readers;
        // Fair: runs get both in the order in which they ask.
        let (turn, mut held) = loop {
            let turn = self.turn().await?;
            let room = Arc::clone(&readers.room);
            let room = room.acquire_many_owned(SHARE_RECORDS_MAX).await.ok();
            let permit = readers.permits.acquire().await;
            if !self.is_outdated(&turn) {
                break (turn, (Some(permit), Some(room)));
            }
        };
        let mut buffer = shared.readers.take_buffer();
        let settings = Arc::clone(&shared.settings.borrow());
        let account = Arc::clone(&self.account);
        let ((batches, buffer), tree) = self
            .blocking(turn, &mut held.0, &mut held.1, move |mut tree| {
                let now = now();
                let reading = ReadOptions {
                    line_bytes_max: settings.limits.line_bytes_max,
                    turn_bytes_max: settings.limits.turn_bytes_max as u64,
                    settle,
                    until: u64::MAX,
                    lines_until: None,
                    account,
                    now,
                    waits_for_holes: true,
                };
                let share = tree.read_share(&reading, &mut buffer);
                ((share, buffer), tree)
            })
            .await?;
        shared.readers.give_back(buffer);
        self.tree = Some(tree);
        // A read that stalled has none any more.
        let (permit, room) = held;
        drop(permit);
        let mut room = room.flatten();
        let records: usize = batches.iter().map(|batch| batch.records.len()).sum();
        if let Some(room) = &mut room {
            // The rest is for others.
            drop(room.split(room.num_permits().saturating_sub(records)));
        }
        Ok(CommitShare { batches, _room: room })
    }

    async fn commit(&mut self, share: CommitShare) -> Result<(), TailerError> {
        let CommitShare { batches, _room } = share;
        if batches.is_empty() {
            return Ok(());
        }
        let paths: Vec<_> = batches.iter().map(|batch| batch.path.clone()).collect();
        let outcomes = self.shared.committer.commit(batches).await?;
        for (path, outcome) in paths.iter().zip(outcomes) {
            if let Outcome::Stale(stored) = outcome
                && let Some(tree) = &mut self.tree
            {
                tracing::debug!(run = %self.run, path = %path.display(), "the store holds another position; reading from there");
                tree.correct(path, stored);
            }
        }
        Ok(())
    }
}

/// The host's clock.
fn now() -> Millis {
    jiff::Timestamp::now().as_millisecond()
}
