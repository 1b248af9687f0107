//! The collector as a whole: started from settings, shut down in the direction of flow.

mod owned;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::events::monitor::Monitor;
use crate::api::feed::hub::Hub;
use crate::api::metrics::counters::Counters;
use crate::api::router;
use crate::api::runs;
use crate::api::server::{Doors, ServerError, Subscribers, TokenSlot, Traffic};
use crate::api::state::ApiState;
use crate::api::wire::RunDetail;
use crate::committer::{self, CommitterError, CommitterThread};
use crate::config::web::TokenError;
use crate::config::{LogSettings, RunsSettings, Settings};
use crate::live::Live;
use crate::logfile::pool::Pool;
use crate::model::RunId;
use crate::store::{Store, StoreError, StoreOptions};
use crate::supervisor::handle::{self, SupervisorHandle};
use crate::supervisor::{RunLocations, Supervisor};
use crate::systemd;
use crate::tailer::status::RunStatuses;
use crate::tailer::{ReadPermits, TailerContext};
use crate::watch::Watch;
use owned::Owned;

/// Part of the watchdog's time after which a sign of life is asked for.
const BEATS_PER_WATCHDOG: u32 = 3;

/// Less than a thread without work lives, in the pool and in the runtime.
pub const THREADS_KEPT_EVERY: Duration = Duration::from_secs(5);
/// Longest reason of a configuration that was not taken over, in bytes.
const REFUSED_BYTES_MAX: usize = 1000;
/// How long a stop waits for answers that are under way.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// How long the committer may take to give up, and to close the database, once it is told to.
const ABANDON_WITHIN: Duration = Duration::from_millis(500);

/// How long a database is waited for that something still uses at the end.
const CLOSED_WITHIN: Duration = Duration::from_millis(500);

/// Why the collector did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    Server(#[from] ServerError),
    #[error("{0}")]
    Token(#[from] TokenError),
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// How a shutdown went.
#[derive(Debug)]
pub enum Drained {
    /// Everything that was read is committed and the database is closed.
    Clean,
    /// The grace time was over first; what was read and not committed will be read again.
    GraceOver,
    /// The committer ended with an error.
    Failed(CommitterError),
}

/// Which runs a collector is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every run of the runs directory, and those that are asked for; it answers those who ask.
    Everything,
    /// Only runs that are asked for by [`Running::supervisor`]; no door is open.
    Asked,
}

/// The running collector.
#[derive(Debug)]
pub struct Running {
    settings: watch::Sender<Arc<Settings>>,
    shared: Arc<TailerContext>,
    live: Arc<Live>,
    stop: CancellationToken,
    ready: CancellationToken,
    backlog_done: CancellationToken,
    address: Option<SocketAddr>,
    token: Arc<TokenSlot>,
    /// What the last reload did not take over.
    refused: watch::Sender<Option<String>>,
    supervisor_task: JoinHandle<()>,
    telling: Vec<JoinHandle<()>>,
    owned: JoinHandle<()>,
    supervisor: SupervisorHandle,
    server: Option<JoinHandle<()>>,
    beat: Option<JoinHandle<()>>,
    committer: CommitterThread,
}

/// The collector.
pub struct App;

impl App {
    /// Opens the database, listens if others are to be answered, and starts to watch. Must be called inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// When another collector is running on the same database, socket or address, or they cannot be used.
    pub fn start(settings: Settings, scope: Scope) -> Result<Running, StartError> {
        let token = Arc::new(TokenSlot::read(settings.http.token_file.as_deref())?);
        if scope == Scope::Everything {
            // Before a database is made that nobody then uses.
            Doors::check_place(&settings.socket)?;
        }
        let options = StoreOptions {
            path: Some(settings.db.clone()),
            cache_bytes: settings.store.cache_bytes,
        };
        let store = Arc::new(Store::open(options)?);
        store.set_thresholds(settings.accounts.rules());
        let began = store.begin()?;
        let doors = match scope {
            Scope::Everything => Some(Doors::open(&settings, Arc::clone(&token))?),
            Scope::Asked => None,
        };
        let address = doors.as_ref().and_then(Doors::address);
        let socket = doors.as_ref().map(Doors::keeper);
        let live = Arc::new(Live::new());
        let (committer, thread) = committer::start(committer::Setup {
            store: Arc::clone(&store),
            live: Arc::clone(&live),
            rows_max: settings.store.commit_rows_max,
            alive: Box::new(systemd::alive),
        })
        .map_err(StartError::Thread)?;

        let places = RunLocations::new(
            (scope == Scope::Everything).then(|| settings.runs_dir.clone()),
            settings.runs.layout,
        );
        let (settings, receiver) = watch::channel(Arc::new(settings));
        let (stop, ready, backlog_done) = (
            CancellationToken::new(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let shared = Arc::new(TailerContext {
            settings: receiver,
            store,
            watch: Arc::new(Watch::start()),
            committer,
            board: Arc::new(RunStatuses::default()),
            readers: ReadPermits::new(),
            heard: Arc::default(),
            pool: Pool::new().map_err(StartError::Thread)?,
            suspects: Arc::default(),
            ready: ready.clone(),
        });
        let (handle, requests) = handle::channel();
        let supervisor = Supervisor::new(
            Arc::clone(&shared),
            places,
            requests,
            stop.clone(),
            ready.clone(),
            backlog_done.clone(),
        );
        let hub = Arc::new(Hub::new(began, stop.clone()));
        let telling = Arc::clone(&hub).run(live.subscribe(), Arc::clone(&shared.store));
        let traffic = Arc::new(Traffic::default());
        let (refused, not_taken_over) = watch::channel(None);
        let (missing, are_missing) = watch::channel(Vec::new());
        let sources = Arc::new(ApiState {
            live: Arc::clone(&live),
            hub,
            store: Arc::clone(&shared.store),
            settings: shared.settings.clone(),
            writes: shared.committer.downgrade(),
            supervisor: handle.clone(),
            board: Arc::clone(&shared.board),
            watch: Arc::clone(&shared.watch),
            committer: thread.health(),
            refused: not_taken_over,
            missing: are_missing,
            ready: ready.clone(),
            backlog_done: backlog_done.clone(),
            since: jiff::Timestamp::now().as_millisecond(),
            traffic: Arc::clone(&traffic),
            counters: Counters::default(),
            subscribers: Subscribers::new(shared.settings.borrow().http.subscribers_max),
        });
        let teller = Monitor::new(Arc::clone(&sources), live.subscribe(), stop.clone());
        let owned = Owned {
            shared: Arc::clone(&shared),
            writes: shared.committer.downgrade(),
            socket,
            missing,
            stop: stop.clone(),
        };
        let serving = Arc::clone(&shared.settings.borrow());
        let server = doors.map(|doors| doors.serve(router::router(sources), serving, traffic, stop.clone()));
        Ok(Running {
            supervisor_task: task(supervisor.run()),
            telling: match scope {
                Scope::Everything => vec![task(telling), task(teller.run())],
                Scope::Asked => vec![task(telling)],
            },
            owned: task(owned.run()),
            server: server.map(task),
            supervisor: handle,
            beat: systemd::watchdog().map(|limit| task(beat(Arc::clone(&shared), limit, stop.clone()))),
            settings,
            shared,
            live,
            stop,
            ready,
            backlog_done,
            address,
            token,
            refused,
            committer: thread,
        })
    }
}

impl Running {
    /// Waits until everything there was at the start is watched.
    pub async fn ready(&self) {
        self.ready.cancelled().await;
    }

    /// Whether that time has come.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.is_cancelled()
    }

    /// Why nothing is seen, if that is so.
    #[must_use]
    pub fn blindness(&self) -> Option<String> {
        self.shared.board.blindness()
    }

    /// Cancelled once everything there was at the start is read.
    #[must_use]
    pub fn backlog_done(&self) -> CancellationToken {
        self.backlog_done.clone()
    }

    /// The settings in effect.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// The handle that starts and stops runs.
    #[must_use]
    pub const fn supervisor(&self) -> &SupervisorHandle {
        &self.supervisor
    }

    /// What there is to say of a run; `None` if it is unknown. Waits for the disk.
    ///
    /// # Errors
    /// When the store does not answer.
    pub fn run(&self, run: &RunId) -> Result<Option<RunDetail>, StoreError> {
        runs::document(&self.shared.store, &self.shared.board, run)
    }

    /// Where it answers over TCP, if it does.
    #[must_use]
    pub const fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Bytes waiting to be read.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.shared.board.lag()
    }

    /// The fan-out of what is committed.
    #[must_use]
    pub fn live(&self) -> &Live {
        &self.live
    }

    /// Keeps a thread for files and one for answers, see [`Pool::keep_one`]; to be called every
    /// [`THREADS_KEPT_EVERY`].
    pub fn keep_threads(&self) {
        self.shared.pool.keep_one();
        drop(tokio::task::spawn_blocking(|| ()));
    }

    /// A part that has ended by itself; without it nothing goes on as it should.
    #[must_use]
    pub fn ended_part(&self) -> Option<&'static str> {
        let is_over = |task: &JoinHandle<()>| task.is_finished();
        if self.committer.is_finished() {
            Some("the committer")
        } else if is_over(&self.supervisor_task) {
            Some("the supervisor of the runs")
        } else if self.server.as_ref().is_some_and(is_over) {
            Some("the server")
        } else if self.telling.iter().any(is_over) {
            Some("what passes on the news")
        } else if is_over(&self.owned) {
            Some("the look after the collector's files")
        } else {
            None
        }
    }

    /// Takes over new settings and scans everything; returns the keys that only a restart changes.
    pub fn reload(&self, new: Settings) -> Vec<&'static str> {
        let old = Arc::clone(&self.settings.borrow());
        let fixed = old.needs_restart(&new);
        let taken = Settings {
            runs_dir: old.runs_dir.clone(),
            db: old.db.clone(),
            socket: old.socket.clone(),
            store: old.store,
            http: old.http.clone(),
            // What is read by default goes with the layout.
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
        let token = self.token.reread().err().map(|error| {
            tracing::error!("the token is not read again, the old one stays: {error}");
            format!("the token was not read again, the old one is in effect: {error}")
        });
        let waiting = (!fixed.is_empty()).then(|| {
            format!(
                "{} changed in the configuration; that takes a restart",
                fixed.join(", ")
            )
        });
        self.refused.send_replace(token.or(waiting));
        self.shared.store.set_thresholds(taken.accounts.rules());
        self.settings.send_replace(Arc::new(taken));
        fixed
    }

    /// Notes that a configuration was not taken over: the collector's health says so until one is.
    pub fn refuse(&self, why: &dyn std::fmt::Display) {
        let refused =
            format!("the changed configuration was not taken over, the old one is in effect: {why}");
        let end = refused.floor_char_boundary(REFUSED_BYTES_MAX);
        self.refused.send_replace(Some(refused[..end].to_owned()));
    }

    /// Stops in the direction of flow: watching, reading, committing; then closes the database.
    pub async fn shutdown(self, grace: Duration) -> Drained {
        let Self {
            shared,
            stop,
            supervisor_task,
            telling,
            owned,
            server,
            beat,
            committer,
            settings,
            ..
        } = self;
        stop.cancel();
        // It holds what the committer waits for.
        owned.abort();
        let store = Arc::clone(&shared.store);
        let deadline = tokio::time::Instant::now() + grace;
        let mut supervisor = supervisor_task;
        let mut in_time = tokio::time::timeout_at(deadline, &mut supervisor).await.is_ok();
        supervisor.abort();
        // Whoever still has a question is answered, but not for ever.
        if let Some(mut server) = server {
            let ended = tokio::time::timeout(ANSWERS_WITHIN.min(grace), &mut server).await;
            if ended.is_err() {
                server.abort();
                // With its end the socket is removed.
                let _ = tokio::time::timeout(ANSWERS_WITHIN, server).await;
            }
        }
        for telling in telling {
            telling.abort();
        }
        if let Some(beat) = beat {
            beat.abort();
        }
        // With the last handle the committer's queue ends, and so does the committer.
        drop((shared, settings));
        let abandon = committer.abandon_token();
        let mut joining = tokio::task::spawn_blocking(move || committer.join());
        let joined = if let Ok(joined) = tokio::time::timeout_at(deadline, &mut joining).await {
            Some(joined)
        } else {
            in_time = false;
            abandon.cancel();
            tokio::time::timeout(ABANDON_WITHIN, joining).await.ok()
        };
        // What hangs may hold the store for ever; the database is for the next collector.
        let ending = tokio::task::spawn_blocking(move || store.end());
        let _ = tokio::time::timeout(CLOSED_WITHIN, ending).await;
        match joined {
            Some(Ok(Ok(()))) if in_time => Drained::Clean,
            None | Some(Ok(Ok(())) | Err(_)) => Drained::GraceOver,
            Some(Ok(Err(error))) => Drained::Failed(error),
        }
    }
}

/// Asks the committer for signs of life, so that the manager restarts us if it hangs.
async fn beat(shared: Arc<TailerContext>, limit: Duration, stop: CancellationToken) {
    let mut interval = tokio::time::interval(limit / BEATS_PER_WATCHDOG);
    while stop.run_until_cancelled(interval.tick()).await.is_some() {
        if shared.committer.beat().await.is_err() {
            return;
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place; the handle is kept and joined in `shutdown`"
)]
fn task<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
    tokio::spawn(future)
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::config::{Environment, Partial};
    use crate::live::Event;
    use crate::tailer::tree::fault;

    const LINE: &str = r#"{"type":"assistant","timestamp":"2026-10-05T09:00:00.000Z","message":{"id":"msg_ID","model":"m","usage":{"output_tokens":7}}}"#;

    /// A failure bound, not a clock to go by.
    pub const WAIT_MAX: Duration = Duration::from_mins(1);

    pub fn settings(directory: &Path) -> Settings {
        let mut flags = Partial {
            runs_dir: Some(directory.join("runs")),
            db: Some(directory.join("t.redb")),
            socket: Some(directory.join("t.sock")),
            ..Partial::default()
        };
        flags.http.listen = Some("off".to_owned());
        let environment = Environment {
            vars: [].into(),
            cwd: directory.to_owned(),
            system_file: directory.join("none.toml"),
            has_files: true,
        };
        Settings::load(flags, None, &environment).unwrap()
    }

    pub fn write_log(directory: &Path, run: &str, name: &str, id: &str) {
        let path = directory.join("runs").join(run).join("mount").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, LINE.replace("ID", id) + "\n").unwrap();
    }

    /// A limit event: a share of a window that ends after a number of hours.
    fn event(share: f64, hours: i64) -> String {
        let now = jiff::Timestamp::now();
        let reset = now.as_second() + hours * 3600;
        format!(
            r#"{{"type":"rate_limit_event","timestamp":"{now}","rate_limit_info":{{"status":"allowed","resetsAt":{reset},"rateLimitType":"five_hour","unifiedWindows":{{"five_hour":{{"utilization":{share},"resetsAt":{reset}}}}}}}}}"#
        ) + "\n"
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_threshold_is_told_after_its_commit_and_once() {
        let directory = tempfile::tempdir().unwrap();
        write_log(directory.path(), "r", "a.jsonl", "1");
        let running = App::start(settings(directory.path()), Scope::Everything).unwrap();
        let mut listener = running.live().subscribe();
        running.backlog_done().cancelled().await;
        let path = directory.path().join("runs/r/mount/a.jsonl");
        let mut told = Vec::new();
        for share in [0.5, 0.76, 0.8, 0.93] {
            let mut log = fs::OpenOptions::new().append(true).open(&path).unwrap();
            std::io::Write::write_all(&mut log, event(share, 3).as_bytes()).unwrap();
            let heard = async {
                loop {
                    let Event::Update(update) = listener.next().await else {
                        panic!("the listener was too slow")
                    };
                    told.extend(update.fired.iter().map(|fired| (fired.number, fired.percent)));
                    let view = running.shared.store.quota(0).unwrap();
                    let window = view
                        .accounts
                        .values()
                        .find_map(|account| account.windows.get("five_hour"));
                    // What is told is committed: the store never knows less.
                    assert!(told.len() <= view.fired.len());
                    if window.is_some_and(|window| window.utilization == Some(share)) {
                        return;
                    }
                }
            };
            tokio::time::timeout(WAIT_MAX, heard)
                .await
                .expect("the line is merged");
        }
        assert_eq!(told, [(1, 75), (2, 90)]);
        assert!(matches!(running.shutdown(WAIT_MAX).await, Drained::Clean));
    }

    /// What hangs in a mount may hold what it works with for as long as the process lives, and that may be for ever.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_still_holds_the_store_does_not_keep_the_database() {
        let directory = tempfile::tempdir().unwrap();
        let running = App::start(settings(directory.path()), Scope::Everything).unwrap();
        running.ready().await;
        let held = Arc::clone(&running.shared);
        let ended = running.shutdown(Duration::from_millis(100)).await;
        assert!(matches!(ended, Drained::GraceOver), "{ended:?}");
        assert!(!directory.path().join("t.sock").exists());
        let options = StoreOptions {
            path: Some(directory.path().join("t.redb")),
            cache_bytes: 1 << 20,
        };
        let next = Store::open(options).unwrap();
        // Nor does it take it again.
        assert!(held.store.reopen().is_err());
        next.begin().unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_database_is_closed_at_the_end_of_the_grace_time_whoever_still_hangs() {
        let directory = tempfile::tempdir().unwrap();
        let running = App::start(settings(directory.path()), Scope::Everything).unwrap();
        running.ready().await;
        // As a thread has it that hangs in a mount.
        let hangs = Arc::clone(&running.shared);
        let drained = running.shutdown(Duration::from_millis(100)).await;
        assert!(matches!(drained, Drained::GraceOver), "{drained:?}");
        let again = App::start(settings(directory.path()), Scope::Asked).expect("the database is free");
        assert!(matches!(again.shutdown(WAIT_MAX).await, Drained::Clean));
        drop(hangs);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_part_that_ends_by_itself_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let mut running = App::start(settings(directory.path()), Scope::Everything).unwrap();
        running.ready().await;
        assert_eq!(running.ended_part(), None);
        running.supervisor_task.abort();
        let ended = tokio::time::timeout(WAIT_MAX, &mut running.supervisor_task).await;
        assert!(ended.expect("it ends").is_err());
        assert_eq!(running.ended_part(), Some("the supervisor of the runs"));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_tailer_that_panics_is_started_again_and_disturbs_no_other_run() {
        let directory = tempfile::tempdir().unwrap();
        fault::PANICS_LEFT.store(2, Ordering::SeqCst);
        write_log(directory.path(), "bad", "panics.jsonl", "1");
        write_log(directory.path(), "good", "a.jsonl", "2");
        let running = App::start(settings(directory.path()), Scope::Everything).unwrap();
        let mut listener = running.live().subscribe();
        let mut order = Vec::new();
        let counted = async {
            loop {
                let snapshot = running.shared.store.snapshot().unwrap();
                for (run, sums) in &snapshot.runs {
                    if sums.totals.messages > 0 && !order.contains(run) {
                        order.push(run.clone());
                    }
                }
                if order.len() == 2 {
                    return;
                }
                assert!(!matches!(listener.next().await, Event::Closed));
            }
        };
        tokio::time::timeout(WAIT_MAX, counted)
            .await
            .expect("both runs are counted");
        assert_eq!(order, ["good", "bad"], "the sound run did not wait for the other");
        let bad = &running.shared.board.runs()[&RunId::new("bad").unwrap()];
        assert_eq!(bad.restarts, 2);
        assert!(matches!(running.shutdown(WAIT_MAX).await, Drained::Clean));
    }
}
