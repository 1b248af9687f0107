//! Owned files: checks that the socket, the database, the token and the configuration are still at their
//! paths.
//!
//! A missing socket is made again, and the committer replaces a missing database. Files that only an operator
//! can put back, because they are gone or something else is in their place, are reported in health and in the log.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::api::server::{ServerError, SocketKeeper};
use crate::committer::handle::WeakCommitterHandle;
use crate::config::Settings;
use crate::logfile::pool::Progress;
use crate::tailer::TailerContext;

/// Interval of the checks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The problem while a check does not return.
const STALLED: &str = "the directory of the socket, of the token or of the configuration does not answer; see whether a \
                       mount hangs";

/// The task that checks the files.
pub struct Owned {
    pub shared: Arc<TailerContext>,
    pub writes: WeakCommitterHandle,
    pub socket: Option<SocketKeeper>,
    /// Problems with missing files, for health.
    pub missing: watch::Sender<Vec<String>>,
    pub stop: CancellationToken,
}

/// The result of a check.
struct OwnedState {
    listener: Option<std::os::unix::net::UnixListener>,
    problems: Vec<String>,
    /// Files that existed at this check: only these can be missing at a later one.
    there: BTreeSet<PathBuf>,
}

impl Owned {
    /// Checks the files at each interval until it is stopped.
    pub async fn run(self) {
        let mut interval = tokio::time::interval(LOOK_EVERY);
        let mut there = BTreeSet::new();
        while self.stop.run_until_cancelled(interval.tick()).await.is_some() {
            self.writes.look();
            let settings = Arc::clone(&self.shared.settings.borrow());
            let (socket, known) = (self.socket.clone(), there.clone());
            let mut job = self
                .shared
                .pool
                .start(move || look(socket.as_ref(), &settings, known));
            let looked = async {
                match job.progress().await {
                    Progress::Done(found) => found,
                    Progress::Stalled => {
                        self.say(vec![STALLED.to_owned()]);
                        job.done().await
                    }
                }
            };
            let Some(looked) = self.stop.run_until_cancelled(looked).await else {
                return;
            };
            let Ok(mut found) = looked else { continue };
            if let (Some(listener), Some(socket)) = (found.listener.take(), &self.socket) {
                match socket.replace(listener) {
                    Ok(()) => tracing::warn!("the socket was not at its path any more and was made again"),
                    Err(error) => found
                        .problems
                        .push(format!("cannot listen on the socket again: {error}")),
                }
            }
            there = found.there;
            self.say(found.problems);
        }
    }

    fn say(&self, problems: Vec<String>) {
        self.missing.send_if_modified(|missing| {
            for problem in problems.iter().filter(|problem| !missing.contains(problem)) {
                tracing::error!("{problem}");
            }
            for problem in missing.iter().filter(|problem| !problems.contains(problem)) {
                tracing::info!("no longer: {problem}");
            }
            let is_other = *missing != problems;
            *missing = problems;
            is_other
        });
    }
}

/// Checks the files; it accesses the filesystem.
fn look(socket: Option<&SocketKeeper>, settings: &Settings, mut there: BTreeSet<PathBuf>) -> OwnedState {
    let mut problems = Vec::new();
    let listener = socket.and_then(|socket| {
        socket.check().unwrap_or_else(|error| {
            problems.push(unreachable(&error));
            None
        })
    });
    let files = [
        (
            settings.http.token_file.as_ref(),
            "the token that was read stays in effect until a restart",
        ),
        (
            settings.config_file.as_ref(),
            "what was read stays in effect until a restart",
        ),
        (
            settings.prices_file.as_ref(),
            "the prices that were read stay in effect until a restart",
        ),
    ];
    for (path, then) in files {
        let Some(path) = path else { continue };
        match path.metadata() {
            Ok(file) if file.is_file() => {
                there.insert(path.clone());
            }
            Ok(file) => {
                let what = if file.is_dir() {
                    "a directory"
                } else {
                    "no regular file"
                };
                problems.push(format!(
                    "{} is {what} now: {then}; put the file back",
                    path.display()
                ));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && there.contains(path) => {
                problems.push(format!("{} is gone: {then}; put it back", path.display()));
            }
            Err(_) => {}
        }
    }
    OwnedState {
        listener,
        problems,
        there,
    }
}

fn unreachable(error: &ServerError) -> String {
    format!("nobody reaches this collector by its socket: {error}")
}
