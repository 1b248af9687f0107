//! The single writer: gathers what is queued, commits it in one transaction, then tells.
//!
//! It commits at once when idle; what arrives while a commit runs goes together into the next. A thread of its own,
//! because a commit waits for the disk. **Invariant**: nothing is published or acknowledged before it is committed.
//! After any error the database is closed and opened again, and the batches are offered to what it then says: a
//! commit that survived unacknowledged refuses them, one that did not takes them. Nothing is lost, nothing counted twice.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::live::{Lifecycle, Live, RunUpdate, Update};
use crate::model::{AccountId, Batch, Fired, RunId, StopReason};
use crate::quota::exhaustion::Cause;
use crate::store::{Committed, Outcome, Store, StoreError};
pub use crate::store::{Start, Started, Told};

/// Submissions that wait for the committer before the tailers wait.
const SUBMISSIONS_WAITING_MAX: usize = 256;
/// First pause before the database is opened again, doubled each time.
const REOPEN_AFTER: Duration = Duration::from_millis(100);
/// Longest pause before the database is opened again.
const REOPEN_AFTER_MAX: Duration = Duration::from_secs(5);
/// Longest pause before the path of the database is looked at again.
const LOOK_AGAIN_AFTER_MAX: Duration = Duration::from_secs(1);
/// How long to wait before the next try, after one that failed.
#[derive(Debug)]
struct Pause {
    next: Duration,
    /// Whether the database could be opened after the last failure.
    was_open: bool,
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            next: REOPEN_AFTER,
            was_open: true,
        }
    }
}

impl Pause {
    /// The pause after a failure to write, and what came of opening the database again.
    fn after(&mut self, error: &StoreError, reopened: &Result<(), StoreError>) -> Duration {
        let is_displaced = |error: &StoreError| matches!(error, StoreError::Displaced { .. });
        let was_open = std::mem::replace(&mut self.was_open, reopened.is_ok());
        if reopened.is_ok() && (!was_open || is_displaced(error)) {
            // It can be opened again: what stood against it is over.
            self.next = REOPEN_AFTER;
        }
        let max = if is_displaced(reopened.as_ref().err().unwrap_or(error)) {
            LOOK_AGAIN_AFTER_MAX
        } else {
            REOPEN_AFTER_MAX
        };
        let pause = self.next.min(max);
        self.next = (pause * 2).min(max);
        pause
    }
}

/// How long observations wait for the end of the backlog; a mount that hangs must not keep the others' limits unknown.
const PARKED_FOR_MAX: Duration = Duration::from_mins(1);

/// The committer does not take this any more: it is shutting down, or has given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the committer has stopped")]
pub struct CommitterGone;

enum CommitterCommand {
    Commit {
        batches: Vec<Batch>,
        done: oneshot::Sender<Vec<Outcome>>,
    },
    Start {
        runs: Vec<Start>,
        backlog: bool,
        done: oneshot::Sender<Vec<Started>>,
    },
    /// Answered by whether it changed anything.
    Run {
        run: RunId,
        end: End,
        done: oneshot::Sender<bool>,
    },
    Release {
        runs: Vec<RunId>,
        done: oneshot::Sender<()>,
    },
    Mark {
        account: AccountId,
        cause: Option<Cause>,
        done: oneshot::Sender<()>,
    },
    Observe {
        told: Vec<Told>,
        done: oneshot::Sender<()>,
    },
    Copy {
        done: oneshot::Sender<Result<File, StoreError>>,
    },
    /// What is another now without a commit of its own: numbered and told, in no table.
    Note {
        update: Update,
        done: oneshot::Sender<()>,
    },
    EndBacklog {
        done: oneshot::Sender<()>,
    },
    /// Answered by a sign of life to whoever watches over the process.
    Beat,
    /// Looks whether the database is still where it was.
    Look,
}

/// An end of a run.
#[derive(Clone, Copy)]
enum End {
    Stop(StopReason),
    Forget { directory_is_there: bool },
}

/// The handle of the committer. When all are dropped, it finishes and ends.
#[derive(Clone, Debug)]
pub struct Committer {
    commands: mpsc::Sender<CommitterCommand>,
}

/// How the committer is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitterHealth {
    pub commits: u64,
    /// Why it is not advancing; `None` if it is.
    pub stuck: Option<String>,
    /// How often the database had to be opened again.
    pub reopened: u64,
}

/// The thread, to be waited for.
#[derive(Debug)]
pub struct CommitterThread {
    thread: JoinHandle<Result<(), CommitterError>>,
    abandon: CancellationToken,
    health: Arc<Mutex<CommitterHealth>>,
}

/// Why the committer ended before it was done.
#[derive(Debug, thiserror::Error)]
pub enum CommitterError {
    #[error(
        "{lines} lines were read but could not be committed in time ({why}); they will be read again at the next start"
    )]
    Abandoned { lines: u64, why: String },
    #[error("the committer panicked on a sound database: {0}; please report this")]
    Panic(String),
}

/// What the committer works with.
pub struct Setup {
    pub store: Arc<Store>,
    pub live: Arc<Live>,
    pub rows_max: usize,
    /// Told after each commit and each beat; feeds the service manager's watchdog.
    pub alive: Box<dyn Fn() + Send>,
}

/// Starts the committer's thread. Must be called inside a tokio runtime.
///
/// # Errors
/// When the thread cannot be made.
pub fn start(setup: Setup) -> std::io::Result<(Committer, CommitterThread)> {
    let (commands, queue) = mpsc::channel(SUBMISSIONS_WAITING_MAX);
    let abandon = CancellationToken::new();
    let health = Arc::new(Mutex::new(CommitterHealth::default()));
    let actor = Actor {
        setup,
        queue,
        abandon: abandon.clone(),
        runtime: tokio::runtime::Handle::current(),
        health: Arc::clone(&health),
        began: Instant::now(),
    };
    let thread = std::thread::Builder::new()
        .name("committer".to_owned())
        .spawn(move || actor.run())?;
    Ok((
        Committer { commands },
        CommitterThread {
            thread,
            abandon,
            health,
        },
    ))
}

impl Committer {
    /// Commits batches and says what became of each, once that is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn commit(&self, batches: Vec<Batch>) -> Result<Vec<Outcome>, CommitterGone> {
        let (done, outcomes) = oneshot::channel();
        self.commands
            .send(CommitterCommand::Commit { batches, done })
            .await
            .map_err(|_| CommitterGone)?;
        outcomes.await.map_err(|_| CommitterGone)
    }

    /// Makes runs known, in this order, and says what became of each, once that is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn start(&self, runs: Vec<Start>, backlog: bool) -> Result<Vec<Started>, CommitterGone> {
        self.ask(|done| CommitterCommand::Start { runs, backlog, done })
            .await
    }

    /// Stops a run; `false` if it is unknown or stopped already.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn stop(&self, run: RunId, reason: StopReason) -> Result<bool, CommitterGone> {
        let end = End::Stop(reason);
        self.ask(|done| CommitterCommand::Run { run, end, done }).await
    }

    /// Forgets a run whose tailer has ended; `false` if it is unknown. As long as its directory is there, it is not
    /// to be found again.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn forget(&self, run: RunId, directory_is_there: bool) -> Result<bool, CommitterGone> {
        let end = End::Forget { directory_is_there };
        self.ask(|done| CommitterCommand::Run { run, end, done }).await
    }

    /// The directories of forgotten runs are gone.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn release(&self, runs: Vec<RunId>) -> Result<(), CommitterGone> {
        self.ask(|done| CommitterCommand::Release { runs, done }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> CommitterCommand,
    ) -> Result<T, CommitterGone> {
        let (done, answer) = oneshot::channel();
        self.commands
            .send(command(done))
            .await
            .map_err(|_| CommitterGone)?;
        answer.await.map_err(|_| CommitterGone)
    }

    /// A handle for what does not come from logs.
    #[must_use]
    pub fn downgrade(&self) -> WeakCommitter {
        WeakCommitter {
            commands: self.commands.downgrade(),
        }
    }

    /// The first backlog is worked off; returns once what was parked meanwhile is merged.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn end_backlog(&self) -> Result<(), CommitterGone> {
        let (done, ended) = oneshot::channel();
        self.commands
            .send(CommitterCommand::EndBacklog { done })
            .await
            .map_err(|_| CommitterGone)?;
        ended.await.map_err(|_| CommitterGone)
    }

    /// Asks for a sign of life.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn beat(&self) -> Result<(), CommitterGone> {
        self.commands
            .send(CommitterCommand::Beat)
            .await
            .map_err(|_| CommitterGone)
    }
}

/// The handle for what does not come from logs: marks, observations, notes. It does not keep the committer from ending.
#[derive(Clone, Debug)]
pub struct WeakCommitter {
    commands: mpsc::WeakSender<CommitterCommand>,
}

impl WeakCommitter {
    /// Notes what an operator says about an account, `None` takes it back; returns once that is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn mark(&self, account: AccountId, cause: Option<Cause>) -> Result<(), CommitterGone> {
        self.ask(|done| CommitterCommand::Mark { account, cause, done })
            .await
    }

    /// Merges observations of limits; returns once that is durable.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn observe(&self, told: Vec<Told>) -> Result<(), CommitterGone> {
        self.ask(|done| CommitterCommand::Observe { told, done }).await
    }

    /// Numbers what is another now without a commit of its own, and tells it to those who listen.
    ///
    /// # Errors
    /// When the committer has stopped.
    pub async fn note(&self, update: Update) -> Result<(), CommitterGone> {
        self.ask(|done| CommitterCommand::Note { update, done }).await
    }

    /// Has it looked whether the database is still where it was, unless it has much to do, which looks too.
    pub fn look(&self) {
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.try_send(CommitterCommand::Look);
        }
    }

    /// Copies the database between two commits.
    ///
    /// # Errors
    /// When the committer has stopped; within, when the copy could not be made.
    pub async fn copy(&self) -> Result<Result<File, StoreError>, CommitterGone> {
        self.ask(|done| CommitterCommand::Copy { done }).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> CommitterCommand,
    ) -> Result<T, CommitterGone> {
        let (done, answer) = oneshot::channel();
        let commands = self.commands.upgrade().ok_or(CommitterGone)?;
        commands.send(command(done)).await.map_err(|_| CommitterGone)?;
        drop(commands);
        answer.await.map_err(|_| CommitterGone)
    }
}

impl CommitterThread {
    /// Whether the thread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// How it is, for everyone who asks.
    #[must_use]
    pub fn health(&self) -> Arc<Mutex<CommitterHealth>> {
        Arc::clone(&self.health)
    }

    /// Cancelled, this tells it to stop trying.
    #[must_use]
    pub fn abandon_token(&self) -> CancellationToken {
        self.abandon.clone()
    }

    /// Waits for its end; blocks.
    ///
    /// # Errors
    /// When it could not commit everything.
    pub fn join(self) -> Result<(), CommitterError> {
        self.thread
            .join()
            .unwrap_or_else(|panic| Err(CommitterError::Panic(panic_text(&*panic))))
    }
}

struct Actor {
    setup: Setup,
    queue: mpsc::Receiver<CommitterCommand>,
    abandon: CancellationToken,
    runtime: tokio::runtime::Handle,
    health: Arc<Mutex<CommitterHealth>>,
    began: Instant,
}

/// Runs that are stopped in one transaction, and who waits for each.
#[derive(Default)]
struct Stops {
    runs: Vec<(RunId, StopReason)>,
    done: Vec<oneshot::Sender<bool>>,
}

/// What goes into one transaction, and who waits for it.
#[derive(Default)]
struct CommitGroup {
    batches: Vec<Batch>,
    waiting: Vec<(usize, oneshot::Sender<Vec<Outcome>>)>,
    /// What is done about runs, in its order.
    runs: Vec<CommitterCommand>,
    /// What does not come from logs, in its order.
    others: Vec<CommitterCommand>,
    end_backlog: Vec<oneshot::Sender<()>>,
    looks: bool,
}

impl CommitGroup {
    fn add(&mut self, command: CommitterCommand) {
        match command {
            CommitterCommand::Commit { batches, done } => {
                self.waiting.push((batches.len(), done));
                self.batches.extend(batches);
            }
            command @ (CommitterCommand::Start { .. }
            | CommitterCommand::Run { .. }
            | CommitterCommand::Release { .. }) => {
                self.runs.push(command);
            }
            command @ (CommitterCommand::Mark { .. }
            | CommitterCommand::Observe { .. }
            | CommitterCommand::Note { .. }
            | CommitterCommand::Copy { .. }) => {
                self.others.push(command);
            }
            CommitterCommand::EndBacklog { done } => self.end_backlog.push(done),
            CommitterCommand::Look => self.looks = true,
            CommitterCommand::Beat => {}
        }
    }

    fn rows(&self) -> usize {
        self.batches.iter().map(|batch| batch.records.len() + 1).sum()
    }
}

impl Actor {
    fn run(mut self) -> Result<(), CommitterError> {
        while let Some(group) = self.next_group() {
            self.handle(group)?;
            (self.setup.alive)();
        }
        self.setup.store.close();
        Ok(())
    }

    /// Waits for something to do and takes what else is queued; `None` when everyone has left, or at the end of the grace
    /// time: a thread that hangs in a mount never leaves, and the database is to be closed all the same.
    fn next_group(&mut self) -> Option<CommitGroup> {
        let mut group = CommitGroup::default();
        let (queue, abandon) = (&mut self.queue, &self.abandon);
        group.add(self.runtime.block_on(async {
            tokio::select! {
                biased;
                command = queue.recv() => command,
                () = abandon.cancelled() => None,
            }
        })?);
        while group.rows() < self.setup.rows_max
            && let Ok(command) = self.queue.try_recv()
        {
            group.add(command);
        }
        Some(group)
    }

    fn handle(&mut self, group: CommitGroup) -> Result<(), CommitterError> {
        let mut stops = Stops::default();
        if group.looks && self.setup.store.in_place().is_err() {
            self.persist(&[], Store::in_place)?;
        }
        for command in group.runs {
            match command {
                // Thousands may come at once.
                CommitterCommand::Run {
                    run,
                    end: End::Stop(reason),
                    done,
                } => {
                    stops.runs.push((run, reason));
                    stops.done.push(done);
                }
                command => {
                    self.stop_runs(std::mem::take(&mut stops))?;
                    self.about_runs(command)?;
                }
            }
        }
        self.stop_runs(stops)?;
        if !group.batches.is_empty() {
            let committed = self.persist(&group.batches, |store| store.commit(&group.batches))?;
            self.publish(&group.batches, &committed);
            let mut outcomes = committed.outcomes.into_iter();
            for (count, done) in group.waiting {
                // A tailer that is gone needs no answer.
                let _ = done.send(outcomes.by_ref().take(count).collect());
            }
        }
        for command in group.others {
            self.about_others(command)?;
        }
        let ends_backlog = !group.end_backlog.is_empty();
        if ends_backlog {
            self.persist(&[], Store::end_backlog)?;
        }
        if self.setup.store.parks() && (ends_backlog || self.began.elapsed() > PARKED_FOR_MAX) {
            let now = jiff::Timestamp::now().as_millisecond();
            let committed = self.persist(&[], |store| store.unpark(now))?;
            self.publish(&[], &committed);
        }
        for done in group.end_backlog {
            let _ = done.send(());
        }
        Ok(())
    }

    /// Stops runs in one transaction.
    fn stop_runs(&self, stops: Stops) -> Result<(), CommitterError> {
        if stops.runs.is_empty() {
            return Ok(());
        }
        let now = jiff::Timestamp::now().as_millisecond();
        let (stopped, committed) = self.persist(&[], |store| store.stop(&stops.runs, now))?;
        if let Some(committed) = &committed {
            self.publish(&[], committed);
        }
        for (done, is_changed) in stops.done.into_iter().zip(stopped) {
            let _ = done.send(is_changed);
        }
        Ok(())
    }

    fn about_runs(&self, command: CommitterCommand) -> Result<(), CommitterError> {
        let now = jiff::Timestamp::now().as_millisecond();
        match command {
            CommitterCommand::Start { runs, backlog, done } => {
                let (started, committed) = self.persist(&[], |store| store.start(&runs, backlog, now))?;
                self.publish(&[], &committed);
                let _ = done.send(started);
            }
            CommitterCommand::Run {
                run,
                end: End::Forget { directory_is_there },
                done,
            } => {
                let committed = self.persist(&[], |store| store.forget(&run, directory_is_there, now))?;
                if let Some(committed) = &committed {
                    self.publish(&[], committed);
                }
                let _ = done.send(committed.is_some());
            }
            CommitterCommand::Release { runs, done } => {
                self.persist(&[], |store| store.release(&runs))?;
                let _ = done.send(());
            }
            _ => {}
        }
        Ok(())
    }

    fn about_others(&self, command: CommitterCommand) -> Result<(), CommitterError> {
        let done = match command {
            CommitterCommand::Mark { account, cause, done } => {
                let committed = self.persist(&[], |store| store.mark(&account, cause.as_ref()))?;
                // Whoever judges accounts looks again.
                self.setup.live.publish(Update {
                    sequence: committed.sequence,
                    marks: vec![account],
                    ..Update::default()
                });
                done
            }
            CommitterCommand::Observe { told, done } => {
                let now = jiff::Timestamp::now().as_millisecond();
                let committed = self.persist(&[], |store| store.observe(&told, now))?;
                self.publish(&[], &committed);
                done
            }
            CommitterCommand::Note { update, done } => {
                let sequence = self.persist(&[], Store::begin)?;
                self.setup.live.publish(Update { sequence, ..update });
                done
            }
            CommitterCommand::Copy { done } => {
                let _ = done.send(self.setup.store.copied());
                return Ok(());
            }
            _ => return Ok(()),
        };
        let _ = done.send(());
        Ok(())
    }

    /// Writes until it is written, however often the database has to be opened again.
    fn persist<T>(
        &self,
        batches: &[Batch],
        write: impl Fn(&Store) -> Result<T, StoreError>,
    ) -> Result<T, CommitterError> {
        let mut pause = Pause::default();
        loop {
            let error = match catch_unwind(AssertUnwindSafe(|| write(&self.setup.store))) {
                Ok(Ok(value)) => {
                    let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
                    health.commits += 1;
                    if health.stuck.take().is_some() {
                        tracing::info!("the database takes commits again; counting goes on");
                    }
                    return Ok(value);
                }
                Ok(Err(error)) => error,
                Err(panic) => self.after_panic(&panic_text(&*panic))?,
            };
            let reopened = self.recover(&error);
            if self.rest(pause.after(&error, &reopened)) {
                let lines = batches.iter().map(|batch| batch.lines.read).sum();
                return Err(CommitterError::Abandoned {
                    lines,
                    why: error.to_string(),
                });
            }
            (self.setup.alive)();
        }
    }

    /// A panic inside a transaction: damage that no error told, or a fault of ours on a sound database.
    fn after_panic(&self, text: &str) -> Result<StoreError, CommitterError> {
        match self.setup.store.examine() {
            Ok(()) => Err(CommitterError::Panic(text.to_owned())),
            Err(error) => Ok(error),
        }
    }

    /// Brings the database back after an error.
    fn recover(&self, error: &StoreError) -> Result<(), StoreError> {
        let store = &self.setup.store;
        {
            let mut health = self.health.lock().unwrap_or_else(PoisonError::into_inner);
            if health.stuck.is_none() {
                match error {
                    StoreError::Displaced { .. } => tracing::error!("{error}; commits wait"),
                    error => tracing::error!("{error}; nothing is lost, trying again"),
                }
            }
            health.stuck = Some(error.to_string());
            health.reopened += 1;
        }
        let brought_back = if error.is_damage() {
            store.replace(&error.to_string())
        } else {
            store.reopen()
        };
        let brought_back = match brought_back {
            Err(error) if error.is_damage() => store.replace(&error.to_string()),
            other => other,
        };
        if let Err(error) = &brought_back {
            self.health.lock().unwrap_or_else(PoisonError::into_inner).stuck = Some(error.to_string());
        }
        brought_back
    }

    /// Waits; says whether to give up.
    fn rest(&self, pause: Duration) -> bool {
        let abandoned = self.abandon.cancelled();
        self.runtime
            .block_on(async { tokio::time::timeout(pause, abandoned).await.is_ok() })
    }

    fn publish(&self, batches: &[Batch], committed: &Committed) {
        tracing::debug!(
            sequence = committed.sequence,
            batches = batches.len(),
            "committed"
        );
        let limits = &committed.limits;
        if committed.changes.is_empty() && limits.windows.is_empty() && committed.events.is_empty() {
            return;
        }
        debug_assert_eq!(batches.len(), committed.outcomes.len());
        let now = jiff::Timestamp::now().as_millisecond();
        // One whose window is over was a warning once; now it is only history.
        let has_ended = |fired: &Fired| fired.reset_at.is_some_and(|reset_at| reset_at <= now);
        let fired: Vec<Fired> = (limits.fired.iter())
            .filter(|fired| !has_ended(fired))
            .cloned()
            .collect();
        for fired in &fired {
            tracing::warn!(
                account = %fired.account, window = ?fired.bucket,
                "{:.1} % used, which is {} % or more",
                fired.utilization * 100.0, fired.percent
            );
        }
        let runs = committed.changes.iter().map(|(run, change)| RunUpdate {
            run: run.clone(),
            bytes: change.bytes,
            lines: change.lines,
            files: change.files,
            responses: change.responses,
            account: change.account.clone(),
            models: change.models.clone(),
            totals: change.totals,
            all_lines: change.all_lines,
        });
        self.setup.live.publish(Update {
            sequence: committed.sequence,
            runs: runs.collect(),
            windows: limits.windows.clone(),
            fired,
            lifecycle: (committed.events.iter())
                .map(|event| Lifecycle {
                    run: event.run.clone(),
                    account: event.account.clone(),
                    labels: event.labels.clone(),
                    phase: event.phase,
                    at: now,
                    totals: event.totals,
                })
                .collect(),
            ..Update::default()
        });
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(failures: impl IntoIterator<Item = (StoreError, Result<(), StoreError>)>) -> Vec<u128> {
        let mut pause = Pause::default();
        let failures = failures.into_iter();
        failures
            .map(|(error, reopened)| pause.after(&error, &reopened).as_millis())
            .collect()
    }

    fn closed() -> StoreError {
        StoreError::Closed {
            path: "t.redb".into(),
        }
    }

    fn full() -> StoreError {
        StoreError::Full {
            path: "t.redb".into(),
            source: std::io::ErrorKind::StorageFull.into(),
        }
    }

    #[test]
    fn a_full_disk_is_tried_ever_more_rarely() {
        let failures = (0..8).map(|_| (full(), Ok(())));
        assert_eq!(pauses(failures), [100, 200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
    }

    #[test]
    fn a_database_that_can_be_opened_again_is_written_at_once() {
        let io = || StoreError::Io {
            path: "t.redb".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let mut failures: Vec<(StoreError, Result<(), StoreError>)> = vec![(io(), Err(io()))];
        failures.extend((0..6).map(|_| (closed(), Err(io()))));
        failures.push((closed(), Ok(())));
        assert_eq!(pauses(failures), [100, 200, 400, 800, 1_600, 3_200, 5_000, 100]);
    }
}
