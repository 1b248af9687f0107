//! Requests for leases, repeated with the same key until they are granted, are refused for good, or the wait is over.

use std::fmt::Write as _;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

use crate::api::wire;
use crate::cli::client::{self, ClientError, Method, StatusCode};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::numbers::time;
use crate::cli::print::{output, text};
use crate::cli::waiting::AnswerWait;

/// Longest exchange of one request: the collector answers within 10 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
/// A retry earlier than this is not worth a word about a change before it.
const SOON_S: u64 = 6;

/// Result of one request.
#[derive(Debug)]
pub enum LeaseAttempt {
    Granted(Box<wire::LeaseAnswer>),
    /// Not granted, and not to be repeated; the code says why.
    Refused(Box<wire::LeaseAnswer>, Exit),
    /// To be repeated after this pause.
    Later(Duration),
}

/// A request for leases and its repetitions.
pub struct Acquiring<'a> {
    socket: &'a Path,
    request: wire::AcquireLeases,
    waiting: AnswerWait,
    json: bool,
    /// Names what waits, in messages.
    subject: String,
    /// True once the collector has answered.
    is_answered: bool,
    /// The reason for the wait that was printed last.
    said: Option<String>,
}

impl<'a> Acquiring<'a> {
    #[must_use]
    pub fn new(
        socket: &'a Path,
        request: wire::AcquireLeases,
        waiting: AnswerWait,
        json: bool,
        subject: String,
    ) -> Self {
        Self {
            socket,
            request,
            waiting,
            json,
            subject,
            is_answered: false,
            said: None,
        }
    }

    /// Sends the request once. **Invariant**: it is never dropped halfway, or a lease could be granted that nobody
    /// knows of; only the pause may be cut short.
    ///
    /// # Errors
    /// No collector answers, or it refuses the request itself.
    pub async fn attempt(&mut self) -> Result<LeaseAttempt, Failure> {
        let to = (Method::POST, "/v1/leases");
        let asked = client::send_json(self.socket, to, &self.request, ANSWERED_WITHIN);
        let answer: wire::LeaseAnswer = match asked.await {
            Ok(answer) => answer,
            Err(error) => return self.missed(error),
        };
        self.is_answered = true;
        if !answer.leases.is_empty() {
            return Ok(LeaseAttempt::Granted(Box::new(answer)));
        }
        let may_start = &answer.may_start;
        let exit = match may_start.decision.as_str() {
            "unknown" if !self.waiting.is_still_reading(self.socket).await => {
                return Ok(LeaseAttempt::Refused(Box::new(answer), Exit::Unknown));
            }
            "unknown" => Exit::Unknown,
            "wait" => Exit::No,
            _ => return Ok(LeaseAttempt::Refused(Box::new(answer), Exit::No)),
        };
        if !self.waiting.is_wanted() {
            return Ok(LeaseAttempt::Refused(Box::new(answer), exit));
        }
        match self.waiting.pause(may_start.retry_at.as_deref()) {
            None => Ok(LeaseAttempt::Refused(Box::new(answer), Exit::TryLater)),
            Some(pause) => {
                self.say(&format!("{}/{:?}", may_start.reason, answer.by), || {
                    waits(may_start)
                });
                Ok(LeaseAttempt::Later(pause))
            }
        }
    }

    /// After a request without an answer, or a refusal: while waiting, a restart of the collector is waited for too, and
    /// the end of another lease of the run.
    fn missed(&mut self, error: ClientError) -> Result<LeaseAttempt, Failure> {
        let is_away = matches!(error, ClientError::NotRunning(_));
        // A run of this id may be left by a client that was killed: its lease ends in time, or with it.
        let is_held = matches!(&error, ClientError::Status(StatusCode::CONFLICT, problem)
            if problem.field.as_deref() == Some("runs"));
        let may_wait = is_held || error.may_pass() && (self.is_answered || !is_away);
        if let Some(pause) = self.waiting.pause(None).filter(|_| may_wait) {
            let reason = if is_held { "held" } else { "away" };
            self.say(reason, || format!("waits: {error}"));
            return Ok(LeaseAttempt::Later(pause));
        }
        let may_be_granted = error.may_pass() && !is_away;
        let mut failure = Failure::from(error);
        if may_be_granted {
            let key = text::name(&self.request.key);
            let more = format!("; the same request with --key {key} gets what may have been granted");
            failure.message.push_str(&more);
        }
        Err(failure)
    }

    /// Prints the reason for the wait, once for each reason.
    fn say(&mut self, reason: &str, words: impl FnOnce() -> String) {
        if self.said.as_deref() != Some(reason) {
            output::warn(self.json, &format!("{} {}", self.subject, words()));
            self.said = Some(reason.to_owned());
        }
    }
}

fn waits(answer: &wire::MayStart) -> String {
    let mut line = format!("waits: {}", text::one_line(&answer.sentence));
    if let Some(at) = &answer.retry_at {
        let _ = write!(line, "; next attempt at {}", time(at));
        if answer.retry_in_s.is_some_and(|seconds| seconds > SOON_S) {
            line += ", or earlier if a place is given back";
        }
    }
    line
}

/// A random text, for a key that no other client has.
#[must_use]
pub fn random() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
