//! The collector as a whole: its parts are started from the settings here, and shut down in the direction of
//! flow.

mod owned;
mod retention;
mod running;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::api::events::monitor::Monitor;
use crate::api::feed::hub::Hub;
use crate::api::metrics::counters::Counters;
use crate::api::router;
use crate::api::server::{Endpoints, ServerError, Subscribers, TokenSlot, Traffic};
use crate::api::state::ApiState;
use crate::clock::Clock;
use crate::committer::retention::Retention;
use crate::committer::{self, CommitterThread};
use crate::config::Settings;
use crate::config::web::TokenError;
use crate::live::Live;
use crate::logfile::pool::Pool;
use crate::logfile::touched::TouchedPath;
use crate::quota::notice::NumberedNotice;
use crate::sender::board::NotifyBoard;
use crate::sender::ending::HookEnding;
use crate::sender::{EARLY_WAITING_MAX, Senders, SendersSetup};
use crate::sources::board::PollBoard;
use crate::sources::{Sources, SourcesSetup};
use crate::store::{self, Reader, StoreControl, StoreError, StoreOptions, Writer};
use crate::supervisor::handle::{self, SupervisorHandle};
use crate::supervisor::{RunLocations, Supervisor};
use crate::systemd;
use crate::tailer::status::RunStatuses;
use crate::tailer::{ReadPermits, SharedAccounts, TailerContext};
use crate::watch::Watch;

use owned::Owned;
use retention::RetentionTask;
pub use running::{Running, ShutdownOutcome, THREADS_KEPT_EVERY};

/// The reason why the collector did not start.
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

/// The runs that a collector reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every run of the runs directory, and those that are started by request; it listens for clients.
    Everything,
    /// Only runs that are started through [`Running::supervisor`]; it does not listen.
    OnDemand,
}

/// The cancellation tokens that the parts share.
#[derive(Clone, Debug, Default)]
struct Tokens {
    stop: CancellationToken,
    /// Cancelled once everything that existed at the start is watched.
    ready: CancellationToken,
    /// Cancelled once everything that existed at the start is read.
    backlog_done: CancellationToken,
}

/// The parts that all others use.
#[derive(Debug)]
struct Core {
    settings: watch::Sender<Arc<Settings>>,
    shared: Arc<TailerContext>,
    live: Arc<Live>,
    tokens: Tokens,
    committer: CommitterThread,
    /// The committer has the writer.
    store: StoreControl,
    polls: Arc<PollBoard>,
    notices: Arc<NotifyBoard>,
    hooks: Arc<HookEnding>,
}

/// The receivers of problems that health reports.
struct Problems {
    /// Settings that the last reload did not take over.
    refused: watch::Receiver<Option<String>>,
    /// Files of the collector that are gone.
    missing: watch::Receiver<Vec<String>>,
}

/// The collector.
pub struct App;

impl App {
    /// Opens the database, listens for clients if the scope is everything, and starts to watch. Must be
    /// called inside a tokio runtime.
    ///
    /// # Errors
    /// When another collector is running on the same database, socket or address, or they cannot be used.
    pub fn start(settings: Settings, scope: Scope, clock: Clock) -> Result<Running, StartError> {
        Self::start_watched(settings, scope, clock, &TouchedPath::default())
    }

    /// As [`App::start`]; any of the paths that it touches may hang, and `touched` has the present one.
    ///
    /// # Errors
    /// As [`App::start`].
    pub fn start_watched(
        settings: Settings,
        scope: Scope,
        clock: Clock,
        touched: &TouchedPath,
    ) -> Result<Running, StartError> {
        if let Some(path) = &settings.http.token_file {
            touched.set(path);
        }
        let token = Arc::new(TokenSlot::read(settings.http.token_file.as_deref())?);
        if scope == Scope::Everything {
            // Before a database is made that would not be used.
            touched.set(&settings.socket);
            Endpoints::check_place(&settings.socket)?;
        }
        touched.set(&settings.db);
        let (reader, mut writer) = open_store(&settings, scope, clock)?;
        let now = clock.now();
        writer.leases(&mut [Box::new(move |_, book| Ok(book.after_start(now)))], now)?;
        let began = writer.begin()?;
        let endpoints = match scope {
            Scope::Everything => {
                touched.set(&settings.socket);
                Some(Endpoints::open(&settings, Arc::clone(&token))?)
            }
            Scope::OnDemand => None,
        };
        touched.set(&settings.db);
        let runs_dir = (scope == Scope::Everything).then(|| settings.runs_dir.clone());
        let places = RunLocations::new(runs_dir, settings.runs.layout);
        let core = Core::start(settings, reader, writer, clock)?;
        let stop = &core.tokens.stop;

        let (supervisor, requests) = handle::channel();
        let actor = Supervisor::new(
            Arc::clone(&core.shared),
            places,
            requests,
            stop.clone(),
            core.tokens.backlog_done.clone(),
        );
        let hub = Arc::new(Hub::new(began, stop.clone()));
        let (refused_sender, refused) = watch::channel(None);
        let (missing_sender, missing) = watch::channel(Vec::new());
        let problems = Problems { refused, missing };
        let (early_sender, early) = mpsc::channel(EARLY_WAITING_MAX);
        let state = Arc::new(core.api_state(&hub, &supervisor, problems, early_sender));
        let retention = RetentionTask {
            retention: Arc::clone(&state.retention),
            shared: Arc::clone(&core.shared),
            backlog_done: core.tokens.backlog_done.clone(),
            stop: stop.clone(),
        };
        let owned = Owned {
            shared: Arc::clone(&core.shared),
            writes: core.shared.committer.downgrade(),
            socket: endpoints.as_ref().map(Endpoints::keeper),
            missing: missing_sender,
            stop: stop.clone(),
        };
        let sources = Sources::new(SourcesSetup {
            settings: core.shared.settings.clone(),
            clock,
            store: core.shared.store.clone(),
            writes: core.shared.committer.downgrade(),
            board: Arc::clone(&core.polls),
            stop: stop.clone(),
        });
        let senders = Senders::new(SendersSetup {
            settings: core.shared.settings.clone(),
            clock,
            store: core.shared.store.clone(),
            writes: core.shared.committer.downgrade(),
            board: Arc::clone(&core.notices),
            listener: core.live.subscribe(),
            early,
            stop: stop.clone(),
            ending: Arc::clone(&core.hooks),
        });
        let address = endpoints.as_ref().and_then(Endpoints::address);
        let socket_file = endpoints.as_ref().map(Endpoints::socket_file);
        let mut publishers = vec![task(hub.run(
            core.live.subscribe(),
            core.shared.store.clone(),
            core.shared.settings.clone(),
            clock,
        ))];
        if scope == Scope::Everything {
            let monitor = Monitor::new(Arc::clone(&state), core.live.subscribe(), stop.clone());
            publishers.push(task(monitor.run()));
        }
        let server = endpoints.map(|endpoints| {
            let settings = Arc::clone(&core.shared.settings.borrow());
            let traffic = Arc::clone(&state.traffic);
            task(endpoints.serve(router::router(state), settings, traffic, stop.clone()))
        });
        let beat = systemd::watchdog().map(|limit| {
            task(running::send_heartbeats(
                Arc::clone(&core.shared),
                limit,
                stop.clone(),
            ))
        });
        Ok(Running {
            supervisor_task: task(actor.run()),
            publishers,
            owned: task(owned.run()),
            sources: (scope == Scope::Everything).then(|| task(sources.run())),
            senders: (scope == Scope::Everything).then(|| task(senders.run())),
            retention: (scope == Scope::Everything).then(|| task(retention.run())),
            server,
            socket_file,
            supervisor,
            beat,
            core,
            address,
            token,
            refused: refused_sender,
        })
    }
}

impl Core {
    /// Starts the committer on an open database.
    fn start(settings: Settings, reader: Reader, writer: Writer, clock: Clock) -> Result<Self, StartError> {
        let control = writer.control();
        let live = Arc::new(Live::new());
        let (handle, committer) = committer::start(committer::Setup {
            writer,
            clock,
            live: Arc::clone(&live),
            rows_max: settings.store.commit_rows_max,
            alive: Box::new(systemd::alive),
        })
        .map_err(StartError::Thread)?;
        let (settings, receiver) = watch::channel(Arc::new(settings));
        let tokens = Tokens::default();
        let shared = Arc::new(TailerContext {
            settings: receiver,
            clock,
            store: reader,
            watch: Arc::new(Watch::start()),
            committer: handle,
            statuses: Arc::new(RunStatuses::default()),
            permits: ReadPermits::new(),
            accounts: SharedAccounts::default(),
            devices_with_events: Arc::default(),
            pool: Pool::new().map_err(StartError::Thread)?,
            suspects: Arc::default(),
            ready: tokens.ready.clone(),
            reads_begin: CancellationToken::new(),
        });
        Ok(Self {
            settings,
            shared,
            live,
            tokens,
            committer,
            store: control,
            polls: Arc::default(),
            notices: Arc::default(),
            hooks: Arc::new(HookEnding::new().map_err(StartError::Thread)?),
        })
    }

    /// The state that all routes share.
    fn api_state(
        &self,
        hub: &Arc<Hub>,
        supervisor: &SupervisorHandle,
        problems: Problems,
        early: mpsc::Sender<NumberedNotice>,
    ) -> ApiState {
        let shared = &self.shared;
        ApiState {
            live: Arc::clone(&self.live),
            hub: Arc::clone(hub),
            store: shared.store.clone(),
            settings: shared.settings.clone(),
            clock: shared.clock,
            writes: shared.committer.downgrade(),
            supervisor: supervisor.clone(),
            statuses: Arc::clone(&shared.statuses),
            pool_queue: shared.pool.queue(),
            watch: Arc::clone(&shared.watch),
            committer: self.committer.health(),
            retention: Arc::new(Retention::new(shared.store.clone(), shared.committer.downgrade())),
            refused: problems.refused,
            missing: problems.missing,
            ready: self.tokens.ready.clone(),
            backlog_done: self.tokens.backlog_done.clone(),
            since: shared.clock.now(),
            traffic: Arc::new(Traffic::default()),
            counters: Counters::since_now(shared.store.clone()),
            polls: Arc::clone(&self.polls),
            notices: Arc::clone(&self.notices),
            hooks: Arc::clone(&self.hooks),
            early,
            subscribers: Subscribers::new(shared.settings.borrow().http.subscribers_max),
        }
    }
}

fn open_store(settings: &Settings, scope: Scope, clock: Clock) -> Result<(Reader, Writer), StoreError> {
    let (reader, writer) = store::open(StoreOptions {
        path: Some(settings.db.clone()),
        cache_bytes: settings.store.cache_bytes,
        clock,
    })?;
    writer.control().set_thresholds(settings.accounts.rules());
    if scope == Scope::Everything {
        writer.control().set_targets(Arc::clone(&settings.notify.targets));
    }
    Ok((reader, writer))
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
mod tests;
