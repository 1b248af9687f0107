//! The single writer: takes the queued commands, commits their batches in one transaction, then publishes.
//!
//! An idle committer commits at once; batches that arrive during a commit share the next one. It has a thread
//! of its own, because a commit waits for the disk. **Invariant**: nothing is published or acknowledged
//! before it is committed. After any error the database is closed and opened again, and the same batches are
//! committed again: if the failed commit is durable after all, their cursors no longer match and they are
//! refused; if not, they are accepted. So nothing is lost and nothing is counted twice.

mod group;
pub mod handle;
mod pause;
mod publish;
mod recent;
pub mod retention;

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::live::{Live, Update};
use crate::model::{Batch, DAY_MS, Millis};
use crate::store::prune::{PruneStep, Pruned};
use crate::store::{Committed, DecideLeases, StoreError, Writer};
use crate::sync::lock;

use group::{CommitGroup, Stops};
use handle::{CommitterCommand, CommitterHandle, RunCommand, SideCommand};
use pause::ReopenPause;
use recent::RecentTimes;

/// Longest time observations are deferred during the first backlog: a mount that hangs must not keep the
/// limits of other runs unknown.
const DEFERRED_FOR_MAX: Duration = Duration::from_mins(1);

/// Time after which a call of the database counts as one that hangs. The largest commits of a backlog take some seconds.
const CALL_STALLED_AFTER: Duration = Duration::from_secs(8);

/// The state of the committer, for health and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommitterHealth {
    pub commits: u64,
    /// The reason why commits fail at present.
    pub stuck: Option<String>,
    /// Times the database was opened again.
    pub reopened: u64,
    /// The present call of the database and its beginning.
    call: Option<(DatabaseCall, Instant)>,
    /// Size of the database file after the last call.
    pub file_bytes: Option<u64>,
    /// Why the database replaced another, as of the last check of its file.
    pub rebuilt: Option<String>,
    /// The reason why that could not be read.
    pub unreadable: Option<String>,
}

impl CommitterHealth {
    /// The reason why nothing is committed at present: commits fail, or a call of the database at this path hangs.
    #[must_use]
    pub fn problem(&self, path: &Path) -> Option<String> {
        self.stuck.clone().or_else(|| {
            let (call, waits) = self.stalled_call()?;
            let (path, waits) = (path.display(), waits.as_secs());
            Some(match call {
                DatabaseCall::Commit | DatabaseCall::Open => format!(
                    "the database {path} has not answered for {waits} s: its disk is slow, or its filesystem hangs; nothing is \
                     committed meanwhile"
                ),
                DatabaseCall::Copy => format!(
                    "a backup has been copying the database {path} for {waits} s; nothing is committed until it is done"
                ),
            })
        })
    }

    /// True while a call hangs that others of the database may hang behind.
    #[must_use]
    pub fn hangs(&self) -> bool {
        self.stalled_call()
            .is_some_and(|(call, _)| call != DatabaseCall::Copy)
    }

    fn stalled_call(&self) -> Option<(DatabaseCall, Duration)> {
        let (call, since) = self.call?;
        let waits = since.elapsed();
        (waits >= CALL_STALLED_AFTER).then_some((call, waits))
    }

    /// Takes over what the database says of itself.
    fn note_rebuilt(&mut self, rebuilt: Result<Option<String>, StoreError>) {
        (self.rebuilt, self.unreadable) = match rebuilt {
            Ok(rebuilt) => (rebuilt, None),
            Err(error) => (self.rebuilt.take(), Some(error.to_string())),
        };
    }
}

/// A call of the database, which nothing else can pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DatabaseCall {
    Commit,
    Copy,
    /// After an error.
    Open,
}

/// The thread of the committer, whose end a shutdown waits for.
#[derive(Debug)]
pub struct CommitterThread {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<Result<(), CommitterError>>,
    abandon: CancellationToken,
    health: Arc<Mutex<CommitterHealth>>,
}

/// The reason why the committer ended early.
#[derive(Debug, thiserror::Error)]
pub enum CommitterError {
    #[error(
        "{lines} lines were read but could not be committed in time ({why}); they will be read again at the next start"
    )]
    Abandoned { lines: u64, why: String },
    #[error("the committer panicked on a sound database: {0}; please report this")]
    Panic(String),
}

/// The parts that a committer needs.
pub struct Setup {
    /// The only one. **Invariant**: nobody else writes.
    pub writer: Writer,
    pub clock: Clock,
    pub live: Arc<Live>,
    pub rows_max: usize,
    /// Called after each group of commands and while a write is retried; feeds the service manager's
    /// watchdog.
    pub alive: Box<dyn Fn() + Send>,
}

/// Starts the committer's thread. Must be called inside a tokio runtime.
///
/// # Errors
/// When the thread cannot be made.
pub fn start(setup: Setup) -> std::io::Result<(CommitterHandle, CommitterThread)> {
    let (handle, queue) = handle::channel();
    let abandon = CancellationToken::new();
    let mut health = CommitterHealth {
        file_bytes: setup.writer.file_bytes(),
        ..CommitterHealth::default()
    };
    health.note_rebuilt(setup.writer.reader().rebuilt());
    let health = Arc::new(Mutex::new(health));
    let committer = Committer {
        setup,
        queue,
        abandon: abandon.clone(),
        runtime: tokio::runtime::Handle::current(),
        health: Arc::clone(&health),
        began: Instant::now(),
        recent: RecentTimes::new(Instant::now()),
    };
    let (at_end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("committer".to_owned())
        .spawn(move || {
            let result = catch_unwind(AssertUnwindSafe(|| committer.run()));
            let result = result.unwrap_or_else(|panic| Err(CommitterError::Panic(panic_text(&*panic))));
            // After a shutdown that did not wait for it nobody listens.
            let _ = at_end.send(result);
        })?;
    Ok((
        handle,
        CommitterThread {
            thread,
            ended,
            abandon,
            health,
        },
    ))
}

impl CommitterThread {
    /// True once the thread has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// The state of the committer, shared with the readers of health.
    #[must_use]
    pub fn health(&self) -> Arc<Mutex<CommitterHealth>> {
        Arc::clone(&self.health)
    }

    /// The token that makes the committer give up.
    #[must_use]
    pub fn abandon_token(&self) -> CancellationToken {
        self.abandon.clone()
    }

    /// Waits for the end of the thread. Cancel safe; not to be called again after it has returned.
    ///
    /// # Errors
    /// When not everything could be committed.
    pub async fn ended(&mut self) -> Result<(), CommitterError> {
        let ended = (&mut self.ended).await;
        ended.unwrap_or_else(|_| Err(CommitterError::Panic("its thread is gone".to_owned())))
    }
}

struct Committer {
    setup: Setup,
    queue: mpsc::Receiver<CommitterCommand>,
    abandon: CancellationToken,
    runtime: tokio::runtime::Handle,
    health: Arc<Mutex<CommitterHealth>>,
    began: Instant,
    /// The times of the responses that were written last.
    recent: RecentTimes,
}

impl Committer {
    fn run(mut self) -> Result<(), CommitterError> {
        while let Some(group) = self.next_group() {
            self.handle(group)?;
            (self.setup.alive)();
        }
        self.setup.writer.close();
        Ok(())
    }

    /// Waits for a command and takes the others in the queue. `None` after the last handle was dropped, or at
    /// the end of the grace time: a thread that hangs in a mount never drops its handle, and the database
    /// must be closed anyway.
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
        if group.looks {
            if self
                .call(DatabaseCall::Commit, |writer| writer.in_place())
                .is_err()
            {
                self.persist(&[], |writer| writer.in_place())?;
            }
            self.look_at_notes();
        }
        for command in group.runs {
            match command {
                // Thousands may stop at once, so neighbours share a transaction.
                RunCommand::Stop { run, reason, done } => {
                    stops.runs.push((run, reason));
                    stops.done.push(done);
                }
                command => {
                    self.stop_runs(std::mem::take(&mut stops))?;
                    self.change_runs(command)?;
                }
            }
        }
        self.stop_runs(stops)?;
        self.decide_leases(group.leases, group.lease_answers)?;
        if !group.batches.is_empty() || !group.records.is_empty() {
            let now = self.setup.clock.now();
            let committed = self.persist(&group.batches, |writer| {
                writer.commit_posted(&group.batches, &group.records, now)
            })?;
            if let Some(earliest) = committed.earliest {
                self.recent.note(earliest, Instant::now());
            }
            self.publish(&group.batches, &committed, self.setup.clock.now());
            let mut outcomes = committed.outcomes.into_iter();
            for (count, done) in group.waiting {
                // A tailer that is gone needs no answer.
                let _ = done.send(outcomes.by_ref().take(count).collect());
            }
            let mut posted = committed.posted.into_iter();
            for (count, done, room) in group.posts {
                drop(room);
                // A client that is gone posts again.
                let _ = done.send(posted.by_ref().take(count).collect());
            }
        }
        for command in group.side {
            self.execute_side(command)?;
        }
        let ends_backlog = !group.end_backlog.is_empty();
        if ends_backlog {
            self.persist(&[], Writer::end_backlog)?;
        }
        if self.setup.writer.reader().defers() && (ends_backlog || self.began.elapsed() > DEFERRED_FOR_MAX) {
            let now = self.setup.clock.now();
            let committed = self.persist(&[], |writer| writer.apply_deferred(now))?;
            self.publish(&[], &committed, now);
        }
        for done in group.end_backlog {
            let _ = done.send(());
        }
        Ok(())
    }

    /// Has requests about leases decided, in one transaction.
    fn decide_leases(
        &mut self,
        decide: Vec<DecideLeases>,
        answers: Vec<oneshot::Sender<()>>,
    ) -> Result<(), CommitterError> {
        if decide.is_empty() {
            return Ok(());
        }
        let now = self.setup.clock.now();
        let decide = RefCell::new(decide);
        let committed = self.persist(&[], |writer| writer.leases(&mut decide.borrow_mut(), now))?;
        self.publish(&[], &committed, now);
        for done in answers {
            // A client that is gone asks again with the same key.
            let _ = done.send(());
        }
        Ok(())
    }

    /// Stops runs in one transaction.
    fn stop_runs(&mut self, stops: Stops) -> Result<(), CommitterError> {
        if stops.runs.is_empty() {
            return Ok(());
        }
        let now = self.setup.clock.now();
        let (stopped, committed) = self.persist(&[], |writer| writer.stop(&stops.runs, now))?;
        if let Some(committed) = &committed {
            self.publish(&[], committed, now);
        }
        for (done, is_changed) in stops.done.into_iter().zip(stopped) {
            let _ = done.send(is_changed);
        }
        Ok(())
    }

    fn change_runs(&mut self, command: RunCommand) -> Result<(), CommitterError> {
        let now = self.setup.clock.now();
        match command {
            RunCommand::Start { runs, backlog, done } => {
                let (started, committed) = self.persist(&[], |writer| writer.start(&runs, backlog, now))?;
                self.publish(&[], &committed, now);
                let _ = done.send(started);
            }
            RunCommand::Stop { run, reason, done } => self.stop_runs(Stops {
                runs: vec![(run, reason)],
                done: vec![done],
            })?,
            RunCommand::Forget { runs, done } => {
                let (known, committed) = self.persist(&[], |writer| writer.forget(&runs, now))?;
                if let Some(committed) = &committed {
                    self.publish(&[], committed, now);
                }
                let _ = done.send(known);
            }
            RunCommand::Release { runs, done } => {
                self.persist(&[], |writer| writer.release(&runs))?;
                let _ = done.send(());
            }
        }
        Ok(())
    }

    fn execute_side(&mut self, command: SideCommand) -> Result<(), CommitterError> {
        let done = match command {
            SideCommand::Mark { account, cause, done } => {
                let committed = self.persist(&[], |writer| writer.mark(&account, cause.as_ref()))?;
                // The verdict on the account is judged again.
                self.setup.live.publish(Update {
                    sequence: committed.sequence,
                    marks: vec![account],
                    ..Update::default()
                });
                done
            }
            SideCommand::Backoff {
                account,
                backoff,
                done,
            } => {
                self.persist(&[], |writer| writer.set_backoff(&account, backoff))?;
                done
            }
            SideCommand::Observe { observations, done } => {
                let now = self.setup.clock.now();
                let committed = self.persist(&[], |writer| writer.observe(&observations, now))?;
                self.publish(&[], &committed, now);
                done
            }
            SideCommand::Note {
                update,
                latches,
                done,
            } => {
                let now = self.setup.clock.now();
                let noted = self.persist(&[], |writer| writer.note(&latches, now))?;
                self.setup.live.publish(Update {
                    sequence: noted.sequence,
                    notices: noted.notices,
                    ..*update
                });
                done
            }
            SideCommand::Outbox { change, done } => {
                let now = self.setup.clock.now();
                let committed = self.persist(&[], |writer| writer.change_outbox(&change, now))?;
                self.publish(&[], &committed, now);
                done
            }
            SideCommand::Prune { step, done } => {
                let _ = done.send(self.prune(&step)?);
                return Ok(());
            }
            SideCommand::Copy { done } => {
                let _ = done.send(self.call(DatabaseCall::Copy, |writer| writer.copied()));
                return Ok(());
            }
        };
        let _ = done.send(());
        Ok(())
    }

    /// Executes a step of a prune, unless lines of its age are being read.
    fn prune(&mut self, step: &PruneStep) -> Result<Option<Pruned>, CommitterError> {
        let before = Millis::from(step.ends_responses_before()).saturating_mul(DAY_MS);
        if self.recent.earliest(Instant::now()) < before {
            return Ok(None);
        }
        let pruned = self.persist(&[], |writer| writer.prune(step))?;
        tracing::debug!(responses = pruned.responses, "pruned a step");
        Ok(Some(pruned))
    }

    /// Repeats a write until it succeeds or the committer gives up; opens the database again after each
    /// failure.
    fn persist<T>(
        &mut self,
        batches: &[Batch],
        write: impl Fn(&mut Writer) -> Result<T, StoreError>,
    ) -> Result<T, CommitterError> {
        let mut pause = ReopenPause::default();
        loop {
            let error = match catch_unwind(AssertUnwindSafe(|| self.call(DatabaseCall::Commit, &write))) {
                Ok(Ok(value)) => {
                    let was_stuck = {
                        let mut health = lock(&self.health);
                        health.commits += 1;
                        health.stuck.take().is_some()
                    };
                    if was_stuck {
                        tracing::info!("the database takes commits again; counting goes on");
                        // It may be another one.
                        self.look_at_notes();
                    }
                    return Ok(value);
                }
                Ok(Err(error)) => error,
                Err(panic) => self.after_panic(&panic_text(&*panic))?,
            };
            let reopened = self.recover(&error);
            if self.is_abandoned_within(pause.after(&error, &reopened)) {
                let lines = batches.iter().map(|batch| batch.lines.read).sum();
                return Err(CommitterError::Abandoned {
                    lines,
                    why: error.to_string(),
                });
            }
            (self.setup.alive)();
        }
    }

    /// Calls the database, which may hang with its filesystem; health reports that.
    fn call<T>(&mut self, what: DatabaseCall, call: impl FnOnce(&mut Writer) -> T) -> T {
        let writer = &mut self.setup.writer;
        lock(&self.health).call = Some((what, Instant::now()));
        let value = call(writer);
        let file_bytes = writer.file_bytes();
        let mut health = lock(&self.health);
        health.call = None;
        health.file_bytes = file_bytes;
        value
    }

    /// Has health say what the database says of itself, so that an answer does not have to read it.
    fn look_at_notes(&mut self) {
        let rebuilt = self.call(DatabaseCall::Commit, |writer| writer.reader().rebuilt());
        lock(&self.health).note_rebuilt(rebuilt);
    }

    /// The cause of a panic inside a transaction: damage of the database, or a bug on a sound one.
    fn after_panic(&mut self, text: &str) -> Result<StoreError, CommitterError> {
        match self.setup.writer.examine() {
            Ok(()) => Err(CommitterError::Panic(text.to_owned())),
            Err(error) => Ok(error),
        }
    }

    /// Opens the database again after an error, or replaces a damaged one.
    fn recover(&mut self, error: &StoreError) -> Result<(), StoreError> {
        {
            let mut health = lock(&self.health);
            if health.stuck.is_none() {
                match error {
                    StoreError::Displaced { .. } => tracing::error!("{error}; commits wait"),
                    error => tracing::error!("{error}; nothing is lost, trying again"),
                }
            }
            health.stuck = Some(error.to_string());
            health.reopened += 1;
        }
        let reopened = self.call(DatabaseCall::Open, |writer| {
            let reopened = if error.is_damage() {
                writer.replace(&error.to_string())
            } else {
                writer.reopen()
            };
            match reopened {
                Err(error) if error.is_damage() => writer.replace(&error.to_string()),
                other => other,
            }
        });
        if let Err(error) = &reopened {
            lock(&self.health).stuck = Some(error.to_string());
        }
        reopened
    }

    /// Waits for the pause; true if the committer has to give up.
    fn is_abandoned_within(&self, pause: Duration) -> bool {
        let abandoned = self.abandon.cancelled();
        self.runtime
            .block_on(async { tokio::time::timeout(pause, abandoned).await.is_ok() })
    }

    fn publish(&self, batches: &[Batch], committed: &Committed, now: Millis) {
        publish::publish(&self.setup.live, batches.len(), committed, now);
    }
}

/// The message of a panic that was caught.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_of_the_database_that_hangs_is_a_problem() {
        let path = Path::new("/d/tokentail.redb");
        let calling_since = |call, seconds| CommitterHealth {
            call: Some((
                call,
                Instant::now().checked_sub(Duration::from_secs(seconds)).unwrap(),
            )),
            ..CommitterHealth::default()
        };
        let since = |seconds| calling_since(DatabaseCall::Commit, seconds);
        assert_eq!(CommitterHealth::default().problem(path), None);
        assert_eq!(since(5).problem(path), None);
        let problem = since(9).problem(path).unwrap();
        assert!(
            problem.starts_with("the database /d/tokentail.redb has not answered for 9 s"),
            "{problem}"
        );
        let problem = calling_since(DatabaseCall::Copy, 9).problem(path).unwrap();
        assert!(problem.starts_with("a backup has been copying"), "{problem}");
        let stuck = CommitterHealth {
            stuck: Some("no space".to_owned()),
            ..since(9)
        };
        assert_eq!(stuck.problem(path).unwrap(), "no space");
    }
}
