//! The place of a run: acquired before it starts, released if it does not start.

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::wire;
use crate::cli::args::RunArgs;
use crate::cli::client::ClientError;
use crate::cli::exit::{Exit, Failure};
use crate::cli::lease;
use crate::cli::lease::acquire::{Acquiring, LeaseAttempt, random};
use crate::cli::print::numbers::time;
use crate::cli::print::{output, text};
use crate::cli::runs::StartBody;
use crate::cli::waiting::AnswerWait;
use crate::config::{ACCOUNT_LABEL, PROVIDER_LABEL};
use crate::signals::{Received, Relay};

/// Time to live of the lease, as long as the command has written nothing.
const LEASE_TTL: &str = "30s";
/// Interval of renewals.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// Longest part of a run's id in a key, in bytes: a key has up to 128.
const KEY_RUN_BYTES_MAX: usize = 100;

/// The variables of the command's environment.
const ACCOUNT_VARIABLE: &str = "TOKENTAIL_ACCOUNT";
const PROVIDER_VARIABLE: &str = "TOKENTAIL_PROVIDER";
const MODEL_VARIABLE: &str = "TOKENTAIL_MODEL";
const LEASE_VARIABLE: &str = "TOKENTAIL_LEASE";

/// A place that was granted.
pub struct RunPlace {
    socket: PathBuf,
    lease: wire::Lease,
}

/// Acquires a place for the run, and waits for it as long as the command says; returns the place, or a signal that
/// requests a stop and came first.
///
/// # Errors
/// No collector answers, or none is granted.
pub async fn admit(
    socket: &Path,
    command: &RunArgs,
    start: &StartBody,
    json: bool,
    relay: &mut Relay,
) -> Result<Result<RunPlace, Received>, Failure> {
    let limit = command.admit.flatten().map(Some);
    let subject = format!("run {}", start.run);
    let waiting = AnswerWait::new(limit, json, subject);
    let mut acquiring = Acquiring::new(socket, request(command, start), waiting);
    loop {
        match acquiring.attempt().await? {
            LeaseAttempt::Granted(answer) => {
                let lease = answer.leases.into_iter().next().ok_or_else(|| {
                    Failure::new(Exit::Bug, "the collector granted nothing, and did not refuse")
                })?;
                return Ok(Ok(RunPlace {
                    socket: socket.to_owned(),
                    lease,
                }));
            }
            LeaseAttempt::Refused(answer, _) => return Err(refused(&answer.may_start, limit.is_some())),
            LeaseAttempt::Later(pause) => {
                if let Some(signal) = stopped_during(pause, relay).await {
                    return Ok(Err(signal));
                }
            }
        }
    }
}

/// The signal that requests a stop during a pause.
async fn stopped_during(pause: Duration, relay: &mut Relay) -> Option<Received> {
    let stopped = async {
        loop {
            let signal = relay.next().await;
            if signal.asks_to_stop() {
                return signal;
            }
        }
    };
    tokio::time::timeout(pause, stopped).await.ok()
}

fn request(command: &RunArgs, start: &StartBody) -> wire::AcquireLeases {
    let run = start.run.as_str();
    let label = |name: &str| start.labels.get(name).cloned();
    wire::AcquireLeases {
        key: format!("{}-{}", &run[..run.len().min(KEY_RUN_BYTES_MAX)], random()),
        provider: label(PROVIDER_LABEL),
        account: label(ACCOUNT_LABEL),
        model: command.model.clone(),
        runs: vec![run.to_owned()],
        class: command.class.clone(),
        ttl: Some(LEASE_TTL.to_owned()),
        holder: Some("tokentail run".to_owned()),
        ..wire::AcquireLeases::default()
    }
}

/// The refusal, with what can be done.
fn refused(answer: &wire::MayStart, has_waited: bool) -> Failure {
    let mut lines = text::sentences(&answer.sentence);
    lines.extend((answer.retry_at.as_deref()).map(|at| format!("try again at {}", time(at))));
    if matches!(answer.decision.as_str(), "wait" | "unknown") {
        let words = if has_waited {
            "the time of --admit is over"
        } else {
            "--admit=30m waits up to 30 minutes for a place"
        };
        lines.push(words.to_owned());
    }
    Failure::of_lines(Exit::NotAdmitted, &lines)
}

impl RunPlace {
    #[must_use]
    pub fn lease(&self) -> &str {
        &self.lease.id
    }

    /// The variables for the command.
    #[must_use]
    pub fn variables(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![
            (PROVIDER_VARIABLE, self.lease.provider.clone()),
            (ACCOUNT_VARIABLE, self.lease.account.clone()),
            (LEASE_VARIABLE, self.lease.id.clone()),
        ];
        variables.extend((self.lease.model.clone()).map(|model| (MODEL_VARIABLE, model)));
        variables
    }

    /// Keeps the place until the run's own log does. Never ends: it is dropped with the command.
    pub async fn keep(&self, json: bool) -> Infallible {
        loop {
            tokio::time::sleep(RENEW_EVERY).await;
            match lease::renewed(&self.socket, self.lease(), None).await {
                Ok(lease) if lease.expires_at.is_none() => break,
                Err(error) if error.is_gone() => {
                    let lease = self.lease();
                    output::warn(
                        json,
                        &format!("{error}; the run goes on without the place of lease {lease}"),
                    );
                    break;
                }
                // A collector that is away comes back, and gives leases more time then.
                Ok(_) | Err(_) => {}
            }
        }
        std::future::pending().await
    }

    /// Gives the place back, as the run did not start. Without an answer it ends by itself.
    pub async fn give_back(&self, json: bool) {
        match lease::release(&self.socket, self.lease()).await {
            // Nothing holds a place then.
            Ok(()) | Err(ClientError::Status(..)) => {}
            Err(error) => output::warn(
                json,
                &format!(
                    "lease {} is not released: {error}; it ends by itself",
                    self.lease()
                ),
            ),
        }
    }
}
