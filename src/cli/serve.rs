//! `serve`: the collector from its start to its last signal.

use std::time::Duration;

use super::args::Global;
use super::exit::{Exit, Failure};
use super::print::progress::ProgressLine;
use super::reload::{Reload, ReloadProgress};
use super::settings::{load, named_file, settings};
use super::start_watch::StartWatch;
use super::{limits, log};
use crate::app::{App, Running, Scope, ShutdownOutcome, StartError, THREADS_KEPT_EVERY};
use crate::clock::Clock;
use crate::committer::CommitterError;
use crate::config::web::TokenError;
use crate::config::{LogFormat, Mistakes, Settings};
use crate::live::Event;
use crate::logfile::touched::TouchedPath;
use crate::signals::Signals;
use crate::{stderr, systemd};

/// Blocking threads for reading files and answering; hundreds of runs share them.
const BLOCKING_THREADS_MAX: usize = 16;
/// Interval of the backlog's progress display.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
const RELOAD_STALLED: &str = "the filesystem of the configuration or of the token file does not answer; both are taken over when it \
     does";

/// Runs the collector until a signal.
///
/// # Errors
/// The configuration is invalid, or the collector cannot start or continue.
pub fn serve(global: &Global) -> Result<Exit, Failure> {
    limits::check()?;
    queue_stderr()?;
    // Installed early, so that a signal during the start is handled.
    let mut signals = Signals::install(stderr::last_words)
        .map_err(|error| Failure::new(Exit::Io, format!("cannot listen to signals: {error}")))?;
    // On a thread of its own, as the system gives a signal to the main thread first: while that one is in a call
    // that hangs, no other thread gets it, and a second TERM would not end the process.
    std::thread::scope(|scope| {
        let serving = std::thread::Builder::new()
            .name("serve".to_owned())
            .spawn_scoped(scope, || until_stopped(global, &mut signals))
            .map_err(|error| no_threads(&error))?;
        (serving.join()).unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn until_stopped(global: &Global, signals: &mut Signals) -> Result<Exit, Failure> {
    let touched = TouchedPath::default();
    let watch = StartWatch::begin(&touched, signals.stop());
    touched.set(named_file(global));
    let settings = settings(global)?;
    signals.grace().set(settings.shutdown_grace);
    let level = log::start(&settings.log);
    let runtime = runtime()?;
    let ended = runtime.block_on(async {
        let format = settings.log.format;
        announce(&settings);
        let running = App::start_watched(settings, Scope::Everything, Clock::SYSTEM, &touched)?;
        drop(watch);
        if let Some(address) = running.address() {
            tracing::info!("listening on http://{address}");
        }
        let ended = attend(&running, signals, global, &level, format).await;
        systemd::stopping();
        tracing::info!("stopping: finishing what was read");
        // The committer's end is reported in more detail than that of the tasks.
        let drained = running.shutdown(signals.grace().left()).await;
        log::report_losses(true);
        report(drained).and(ended).map(|()| Exit::Ok)
    });
    // Calls that still hang, in a mount or on the disk, are left to the end of the process.
    runtime.shutdown_background();
    ended
}

/// Writes standard error through a queue from here on, so that a slow reader delays nothing.
///
/// # Errors
/// The system provides no thread.
pub fn queue_stderr() -> Result<(), Failure> {
    stderr::start().map_err(|error| {
        let message = format!(
            "cannot start a thread for the log: {error}; {}",
            limits::THREADS_HINT
        );
        Failure::new(Exit::Io, message)
    })
}

/// The runtime of a collector.
///
/// # Errors
/// The system provides no threads.
pub fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("tokentail")
        .build()
        .map_err(|error| no_threads(&error))
}

fn no_threads(error: &std::io::Error) -> Failure {
    let message = format!(
        "cannot start the worker threads: {error}; {}",
        limits::THREADS_HINT
    );
    Failure::new(Exit::Io, message)
}

fn announce(settings: &Settings) {
    tracing::info!(
        runs_dir = %settings.runs_dir.display(),
        db = %settings.db.display(),
        socket = %settings.socket.display(),
        "tokentail {} starts",
        env!("CARGO_PKG_VERSION")
    );
}

/// Handles signals and reloads until a stop is requested.
async fn attend(
    running: &Running,
    signals: &mut Signals,
    global: &Global,
    level: &log::Level,
    format: LogFormat,
) -> Result<(), Failure> {
    let stop = signals.stop();
    let backlog = follow_backlog(running, format);
    tokio::pin!(backlog);
    let mut backlog_followed = false;
    let (global, token) = (global.clone(), running.token());
    let mut reload = Reload::new(move || ReloadedFiles {
        settings: load(&global),
        token: token.reread(),
    });
    let mut look = tokio::time::interval(Duration::from_secs(1));
    let mut keep = tokio::time::interval(THREADS_KEPT_EVERY);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = signals.reloaded() => {
                // Before readiness there is no notification to withdraw.
                if running.is_ready() {
                    systemd::reloading();
                }
                reload.start();
            }
            progress = reload.progress() => {
                match progress {
                    ReloadProgress::Done(files) => {
                        files.apply(running, level);
                        signals.grace().set(running.settings().shutdown_grace);
                    }
                    ReloadProgress::Stalled => refuse(running, &RELOAD_STALLED),
                }
                if running.is_ready() && !reload.is_expected() {
                    systemd::ready();
                }
            }
            () = &mut backlog, if !backlog_followed => backlog_followed = true,
            _ = keep.tick() => running.keep_threads(),
            _ = look.tick() => {
                log::report_losses(false);
                systemd::send_again();
                if let Some(part) = running.ended_part() {
                    return Err(Failure::new(Exit::Bug, format!("{part} has ended; see the log")));
                }
            }
        }
    }
}

/// Reports readiness, shows the backlog's progress on a terminal, and reports its end.
async fn follow_backlog(running: &Running, format: LogFormat) {
    let mut listener = running.live().subscribe();
    running.ready().await;
    systemd::ready();
    match running.blindness() {
        None => tracing::info!("ready: everything is watched"),
        Some(why) => tracing::warn!("ready, but blind: {why}"),
    }
    let done = running.backlog_done();
    let progress = match running.lag() {
        0 => ProgressLine::silent(),
        bytes => ProgressLine::new("backlog", bytes, format),
    };
    let (mut bytes, mut files, mut responses) = (0, 0, 0);
    let mut draw = tokio::time::interval(PROGRESS_EVERY);
    while !done.is_cancelled() {
        tokio::select! {
            event = listener.next() => match event {
                Event::Update(update) => {
                    bytes += update.runs.iter().map(|run| run.bytes).sum::<u64>();
                    files += update.runs.iter().map(|run| run.files).sum::<u64>();
                    responses += update.runs.iter().map(|run| run.responses).sum::<u64>();
                }
                Event::StartOver { .. } => {}
                Event::Closed => return,
            },
            _ = draw.tick() => progress.advance_to(bytes, files, responses),
            () = done.cancelled() => {}
        }
    }
    drop(progress);
    tracing::info!("the backlog is read; live from here on");
}

/// The configuration, and the token, which is in use already if it could be read.
struct ReloadedFiles {
    settings: Result<Settings, Mistakes>,
    token: Result<(), TokenError>,
}

impl ReloadedFiles {
    /// Applies a changed configuration; an invalid one is refused and the old one stays.
    fn apply(self, running: &Running, level: &log::Level) {
        match self.settings {
            Err(error) => refuse(running, &error),
            Ok(settings) => {
                level.set(&settings.log.level);
                let fixed = running.reload(settings, self.token);
                if !fixed.is_empty() {
                    tracing::warn!("{} changed; that needs a restart", fixed.join(", "));
                }
                tracing::info!("the configuration is in effect; scanning everything");
            }
        }
    }
}

fn refuse(running: &Running, why: &dyn std::fmt::Display) {
    running.refuse(why);
    tracing::error!("the configuration is refused, the old one stays in effect: {why}");
}

fn report(drained: ShutdownOutcome) -> Result<(), Failure> {
    match drained {
        ShutdownOutcome::Clean => {
            tracing::info!("stopped: everything that was read is committed, the database is closed");
            Ok(())
        }
        ShutdownOutcome::GraceOver => {
            tracing::warn!(
                "stopped at the end of shutdown.grace; what was not committed is read again at the next start"
            );
            Ok(())
        }
        ShutdownOutcome::Failed(error @ CommitterError::Panic(_)) => {
            Err(Failure::new(Exit::Bug, error.to_string()))
        }
        ShutdownOutcome::Failed(error) => Err(Failure::new(Exit::Io, error.to_string())),
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        use crate::api::server::ServerError;
        match error {
            StartError::Store(error) => error.into(),
            StartError::Server(ServerError::Io { ref source, .. }) => {
                Self::new(Exit::of_io(source.kind()), error.to_string())
            }
            StartError::Token(_) => Self::new(Exit::Config, error.to_string()),
            StartError::Server(_) => Self::new(Exit::Unavailable, error.to_string()),
            StartError::Thread(_) => Self::new(Exit::Io, error.to_string()),
        }
    }
}
