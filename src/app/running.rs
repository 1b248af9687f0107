//! The running collector: its state for callers, reloads, and the shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Core;
use crate::api::runs;
use crate::api::server::{SocketFile, TokenSlot};
use crate::api::wire::RunDetail;
use crate::committer::{CommitterError, CommitterThread};
use crate::config::web::TokenError;
use crate::config::{LogSettings, RunsSettings, Settings};
use crate::live::Live;
use crate::model::RunId;
use crate::store::{StoreControl, StoreError};
use crate::supervisor::handle::SupervisorHandle;
use crate::tailer::TailerContext;

/// Signs of life that are requested per watchdog time of the service manager.
const BEATS_PER_WATCHDOG: u32 = 3;
/// Interval at which idle threads are kept: shorter than the time after which the pool and the runtime end
/// them.
pub const THREADS_KEPT_EVERY: Duration = Duration::from_secs(5);
/// Longest reason of a configuration that was not taken over, in bytes.
const REFUSED_BYTES_MAX: usize = 1000;
/// Time that one step of a shutdown has: the answers under way, the removal of the socket, the close of a
/// database that is still in use.
const STEP_WITHIN: Duration = Duration::from_millis(500);
/// Time that the server's task has to end once it is aborted.
const ABORTED_WITHIN: Duration = Duration::from_millis(50);
/// Time after the grace time that the committer has to give up and to close the database.
const ABANDON_WITHIN: Duration = Duration::from_millis(300);
/// Time after the grace time within which a shutdown is over; what is left of a second is for the log and for
/// the end of the process.
const ENDED_WITHIN: Duration = Duration::from_millis(500);

/// The outcome of a shutdown.
#[derive(Debug)]
pub enum ShutdownOutcome {
    /// Everything that was read is committed and the database is closed.
    Clean,
    /// The grace time was over first; lines that were read and not committed will be read again.
    GraceOver,
    /// The committer ended with an error.
    Failed(CommitterError),
}

/// The running collector.
#[derive(Debug)]
pub struct Running {
    pub(super) core: Core,
    pub(super) address: Option<SocketAddr>,
    pub(super) token: Arc<TokenSlot>,
    /// The problem of the last reload, for health.
    pub(super) refused: watch::Sender<Option<String>>,
    pub(super) supervisor: SupervisorHandle,
    pub(super) supervisor_task: JoinHandle<()>,
    /// The tasks that publish commits to streams and account events.
    pub(super) publishers: Vec<JoinHandle<()>>,
    pub(super) owned: JoinHandle<()>,
    /// The polls of accounts; without them counting goes on.
    pub(super) sources: Option<JoinHandle<()>>,
    /// The sender of notifications, likewise.
    pub(super) senders: Option<JoinHandle<()>>,
    /// The prune by the configuration.
    pub(super) retention: Option<JoinHandle<()>>,
    pub(super) server: Option<JoinHandle<()>>,
    pub(super) socket_file: Option<SocketFile>,
    pub(super) beat: Option<JoinHandle<()>>,
}

impl Running {
    /// Waits until everything that existed at the start is watched.
    pub async fn ready(&self) {
        self.core.tokens.ready.cancelled().await;
    }

    /// True once everything that existed at the start is watched.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.core.tokens.ready.is_cancelled()
    }

    /// The reason why no run can be read, if that is so.
    #[must_use]
    pub fn blindness(&self) -> Option<String> {
        self.core.shared.statuses.blindness()
    }

    /// A token that is cancelled once everything that existed at the start is read.
    #[must_use]
    pub fn backlog_done(&self) -> CancellationToken {
        self.core.tokens.backlog_done.clone()
    }

    /// The settings in effect.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.core.settings.borrow())
    }

    /// The handle that starts and stops runs.
    #[must_use]
    pub const fn supervisor(&self) -> &SupervisorHandle {
        &self.supervisor
    }

    /// The document of a run; `None` if it is unknown. Waits for the disk.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn run(&self, run: &RunId) -> Result<Option<RunDetail>, StoreError> {
        let shared = &self.core.shared;
        let prices = Arc::clone(&shared.settings.borrow().prices);
        runs::document(&shared.store.snapshot()?, &prices, &shared.statuses, run)
    }

    /// The TCP address on which it listens, if it does.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Bytes waiting to be read.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.core.shared.statuses.lag()
    }

    /// The fan-out of what is committed.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.core.live
    }

    /// Keeps one idle thread in the pool and one in the runtime, see
    /// [`keep_one`](crate::logfile::pool::Pool::keep_one). Must be called every
    /// [`THREADS_KEPT_EVERY`].
    pub fn keep_threads(&self) {
        self.core.shared.pool.keep_one();
        drop(tokio::task::spawn_blocking(|| ()));
    }

    /// A part that has ended by itself; the collector does not work without it.
    #[must_use]
    pub fn ended_part(&self) -> Option<&'static str> {
        let is_over = |task: &JoinHandle<()>| task.is_finished();
        if self.core.committer.is_finished() {
            Some("the committer")
        } else if is_over(&self.supervisor_task) {
            Some("the supervisor of the runs")
        } else if self.server.as_ref().is_some_and(is_over) {
            Some("the server")
        } else if self.publishers.iter().any(is_over) {
            Some("what passes on the news")
        } else if self.retention.as_ref().is_some_and(is_over) {
            Some("the prune of old rows")
        } else if is_over(&self.owned) {
            Some("the look after the collector's files")
        } else {
            None
        }
    }

    /// Takes over new settings and scans everything; returns the keys that only a restart changes.
    pub fn reload(&self, new: Settings, token: Result<(), TokenError>) -> Vec<&'static str> {
        let old = Arc::clone(&self.core.settings.borrow());
        let fixed = old.needs_restart(&new);
        let taken = Settings {
            runs_dir: old.runs_dir.clone(),
            db: old.db.clone(),
            socket: old.socket.clone(),
            store: old.store,
            http: old.http.clone(),
            // The default globs depend on the layout.
            watch: if new.runs.layout == old.runs.layout {
                new.watch
            } else {
                old.watch.clone()
            },
            runs: RunsSettings {
                layout: old.runs.layout,
                ..new.runs
            },
            log: LogSettings {
                format: old.log.format,
                ..new.log
            },
            ..new
        };
        let token = token.err().map(|error| {
            tracing::error!("the token is not read again, the old one stays: {error}");
            format!("the token was not read again, the old one is in effect: {error}")
        });
        let waiting = (!fixed.is_empty()).then(|| {
            format!(
                "{} changed in the configuration; that needs a restart",
                fixed.join(", ")
            )
        });
        self.refused.send_replace(token.or(waiting));
        self.core.store.set_thresholds(taken.accounts.rules());
        self.core.store.set_targets(Arc::clone(&taken.notify.targets));
        self.core.settings.send_replace(Arc::new(taken));
        fixed
    }

    /// The token, to be read again.
    #[must_use]
    pub fn token(&self) -> Arc<TokenSlot> {
        Arc::clone(&self.token)
    }

    /// Notes that a configuration was not taken over; health reports that until one is.
    pub fn refuse(&self, why: &dyn std::fmt::Display) {
        let refused =
            format!("the changed configuration was not taken over, the old one is in effect: {why}");
        let end = refused.floor_char_boundary(REFUSED_BYTES_MAX);
        self.refused.send_replace(Some(refused[..end].to_owned()));
    }

    /// Stops in the direction of flow: watching, reading, committing; then closes the database. Ends within the
    /// grace time and `ENDED_WITHIN`, whatever hangs.
    pub async fn shutdown(self, grace: Duration) -> ShutdownOutcome {
        let Self {
            core,
            mut supervisor_task,
            publishers,
            owned,
            sources,
            senders,
            retention,
            server,
            socket_file,
            beat,
            ..
        } = self;
        let deadline = Instant::now() + grace;
        core.hooks.begin();
        core.tokens.stop.cancel();
        // It has a handle of the committer.
        owned.abort();
        let (supervised, _) = tokio::join!(
            timeout_at(deadline, &mut supervisor_task),
            timeout_at(deadline, core.hooks.ended())
        );
        supervisor_task.abort();
        let left_file = match (server, socket_file) {
            (Some(server), Some(file)) => end_server(server, file, deadline).await,
            _ => None,
        };
        for task in publishers
            .into_iter()
            .chain(beat)
            .chain(retention)
            .chain(sources)
            .chain(senders)
        {
            task.abort();
        }
        let Core {
            settings,
            shared,
            committer,
            store,
            ..
        } = core;
        // The queue of the committer ends with the last handle, and so does the committer.
        drop((shared, settings));
        let removal = async {
            if let Some(file) = left_file {
                step("socket", deadline, move || file.remove()).await;
            }
        };
        let (joined, ()) = tokio::join!(end_committer(committer, store, deadline), removal);
        match joined {
            Joined::InTime(Ok(())) if supervised.is_ok() => ShutdownOutcome::Clean,
            Joined::InTime(Err(error)) | Joined::Abandoned(Err(error)) => ShutdownOutcome::Failed(error),
            Joined::InTime(Ok(())) | Joined::Abandoned(Ok(())) | Joined::Never => ShutdownOutcome::GraceOver,
        }
    }
}

/// The end of the committer in a shutdown.
enum Joined {
    InTime(Result<(), CommitterError>),
    /// After the grace time.
    Abandoned(Result<(), CommitterError>),
    /// Its thread did not end.
    Never,
}

/// Waits for the committer until the deadline, then makes it give up; then closes the database.
async fn end_committer(mut committer: CommitterThread, store: StoreControl, deadline: Instant) -> Joined {
    let joined = if let Ok(joined) = timeout_at(deadline, committer.ended()).await {
        Joined::InTime(joined)
    } else {
        committer.abandon_token().cancel();
        timeout_at(deadline + ABANDON_WITHIN, committer.ended())
            .await
            .map_or(Joined::Never, Joined::Abandoned)
    };
    // A call that hangs in a mount may hold the store without end; the next collector needs the database.
    step("store", deadline, move || store.end()).await;
    joined
}

/// Runs a step of the end that may hang in a filesystem, and waits for it at most [`STEP_WITHIN`], and until
/// [`ENDED_WITHIN`] after the deadline.
async fn step(name: &str, deadline: Instant, work: impl FnOnce() + Send + 'static) {
    let until = (Instant::now() + STEP_WITHIN).min(deadline + ENDED_WITHIN);
    let (at_end, ended) = oneshot::channel();
    // Not one of the runtime's threads: answers that hang may have them all.
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        work();
        // Nobody listens after the time is over.
        let _ = at_end.send(());
    });
    if thread.is_ok() {
        let _ = timeout_at(until, ended).await;
    }
}

/// Waits for the answers under way and for the removal of the socket, for a limited time. Returns the socket's file
/// if it is not removed.
async fn end_server(mut server: JoinHandle<()>, file: SocketFile, deadline: Instant) -> Option<SocketFile> {
    let until = (Instant::now() + STEP_WITHIN).min(deadline);
    if timeout_at(until, &mut server).await.is_err() {
        let is_left = file.retire();
        server.abort();
        // Its end closes the listeners.
        let _ = timeout(ABORTED_WITHIN, server).await;
        return is_left.then_some(file);
    }
    None
}

/// Sends heartbeats to the committer, so that the service manager restarts a collector that hangs.
pub(super) async fn send_heartbeats(shared: Arc<TailerContext>, limit: Duration, stop: CancellationToken) {
    let mut interval = tokio::time::interval(limit / BEATS_PER_WATCHDOG);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        if shared.committer.send_heartbeat().await.is_err() {
            return;
        }
    }
}
