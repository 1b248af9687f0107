//! Requests for leases, repeated with the same key until they are granted, are refused for good, or the wait is over.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::time::Duration;

use crate::api::wire;
use crate::cli::client::{self, ClientError, Method, StatusCode};
use crate::cli::exit::{Exit, Failure};
use crate::cli::print::text;
use crate::cli::waiting::{AfterAnswer, AnswerWait};

/// Longest exchange of one request: the collector answers within 10 s.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);

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
    /// True once the collector has answered.
    is_answered: bool,
}

impl<'a> Acquiring<'a> {
    #[must_use]
    pub fn new(socket: &'a Path, request: wire::AcquireLeases, waiting: AnswerWait) -> Self {
        Self {
            socket,
            request,
            waiting,
            is_answered: false,
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
        Ok(
            match self.waiting.after(&answer.may_start, answer.by.as_deref()) {
                AfterAnswer::AskAgain(pause) => LeaseAttempt::Later(pause),
                AfterAnswer::End(exit) => LeaseAttempt::Refused(Box::new(answer), exit),
            },
        )
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
            self.waiting.say(reason, || vec![format!("waits: {error}")]);
            return Ok(LeaseAttempt::Later(pause));
        }
        let may_be_granted = error.may_pass() && !is_away;
        let failure = Failure::from(error);
        if !may_be_granted {
            return Err(failure);
        }
        let key = text::name(&self.request.key);
        let more = format!("the same request with --key {key} gets what may have been granted");
        Err(Failure::of_lines(failure.code, &[failure.message, more]))
    }
}

/// A random text, for a key that no other client has.
#[must_use]
pub fn random() -> String {
    format!("{:016x}", RandomState::new().build_hasher().finish())
}
