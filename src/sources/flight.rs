//! One poll from its beginning to its end: the credential or the cache, the request, and what is stored.

use std::hash::BuildHasher;

use tokio::time::Instant;

use super::files::{Credential, CredentialRefusal};
use super::{Sources, blocking, command, endpoint, files, span};
use crate::model::format::length;
use crate::model::{AccountId, HOUR_MS, Millis, Observation};
use crate::quota::plausible::{AHEAD_MAX_MS, impossible};
use crate::quota::poll::outcome::{PollErrorKind, PollOutcome};
use crate::quota::poll::settings::{PollSettings, PollVia};
use crate::quota::poll::{Fingerprint, GAP_MS, JITTER_MAX};
use crate::store::AccountObservations;

/// Longest detail of an error, in bytes.
const DETAIL_BYTES_MAX: usize = 512;

/// Age of the reading in a client's cache from which it is reported that the client does not renew it, in milliseconds:
/// its shorter window has ended by then.
const QUIET_AFTER_MS: Millis = 6 * HOUR_MS;

/// An answer before it is judged: readings with their time, or the failure.
type PollReadings = Result<(Millis, Vec<Observation>), PollOutcome>;

impl Sources {
    /// Asks an endpoint.
    pub(super) async fn ask(&mut self, id: &AccountId, settings: PollSettings, waits: bool) {
        if !waits && self.adopts(id, &settings).await {
            return;
        }
        let credential = match self.credential(&settings).await {
            Ok(credential) => credential,
            Err(refusal) => return self.refuse(id, refusal),
        };
        let sent = Some(credential.fingerprint);
        if !self.begin(id, sent) {
            return;
        }
        self.pass_gate().await;
        let clock = self.setup.clock;
        let asked = settings.clone();
        let reply = blocking(move || endpoint::ask(&asked, &credential, clock)).await;
        self.asked_at = Some(Instant::now());
        let answered = reply.map_or_else(
            || {
                Err(PollOutcome::failed(
                    PollErrorKind::Network,
                    "the request failed inside",
                ))
            },
            |reply| reply.result.map(|observations| (reply.at, observations)),
        );
        let present = match self.credential(&settings).await {
            Ok(credential) => Some(credential.fingerprint),
            Err(refusal) => refusal.fingerprint,
        };
        self.finish(id, &settings, (sent, present), answered).await;
    }

    /// Reads the client's cache, after the client has run where that is the way.
    pub(super) async fn read_cache(&mut self, id: &AccountId, settings: PollSettings) {
        if settings.via == PollVia::ClaudeCli && self.adopts(id, &settings).await {
            return;
        }
        if !self.begin(id, None) {
            return;
        }
        let began = self.setup.clock.now();
        let mut answered = Ok(());
        if settings.via == PollVia::ClaudeCli {
            self.pass_gate().await;
            answered = command::run(&settings.command).await;
            self.asked_at = Some(Instant::now());
        }
        let answered = match answered {
            Ok(()) => self.cached(&settings).await,
            Err(detail) => Err(PollOutcome::failed(PollErrorKind::Command, detail)),
        };
        let answered = match answered {
            Ok((at, observations)) if settings.via == PollVia::CacheFile => {
                let quiet = self.setup.clock.now().saturating_sub(at);
                if quiet < QUIET_AFTER_MS.max(settings.interval.saturating_mul(2)) {
                    Ok((at, observations))
                } else {
                    // It is old, and still the latest of its source.
                    self.adopt_once(id, at, observations).await;
                    let detail = format!(
                        "the client's cache has not been renewed for {}",
                        length(quiet.unsigned_abs() / 1000)
                    );
                    Err(PollOutcome::failed(PollErrorKind::Cache, detail))
                }
            }
            // The client's clock is this host's.
            Ok((at, _)) if settings.via == PollVia::ClaudeCli && at < began => {
                let detail = "the command ended, and the client's cache is as old as before";
                Err(PollOutcome::failed(PollErrorKind::Cache, detail))
            }
            other => other,
        };
        self.finish(id, &settings, (None, None), answered).await;
    }

    /// Adopts a newer reading of another process from the client's cache; true if no poll is due then.
    async fn adopts(&mut self, id: &AccountId, settings: &PollSettings) -> bool {
        if settings.cache.is_none() {
            return false;
        }
        let Ok((at, observations)) = self.cached(settings).await else {
            return false;
        };
        let now = self.setup.clock.now();
        let is_news = self
            .polls
            .get(id)
            .is_some_and(|polled| polled.cached_at < Some(at));
        if !is_news || at.saturating_add(settings.interval) <= now {
            return false;
        }
        let names = names(&observations);
        if !self.observe(id, observations).await {
            return false;
        }
        tracing::debug!(account = %id, "a newer reading of the client's cache is adopted");
        let Some(polled) = self.polls.get_mut(id) else {
            return true;
        };
        polled.cached_at = Some(at);
        polled.poll.adopt(at, &names, now);
        true
    }

    /// Adopts a reading that was not adopted before.
    async fn adopt_once(&mut self, id: &AccountId, at: Millis, observations: Vec<Observation>) {
        let is_news = (self.polls.get(id)).is_some_and(|polled| polled.cached_at < Some(at));
        if is_news
            && self.observe(id, observations).await
            && let Some(polled) = self.polls.get_mut(id)
        {
            polled.cached_at = Some(at);
        }
    }

    async fn cached(&self, settings: &PollSettings) -> PollReadings {
        let Some(path) = settings.cache.clone() else {
            return Err(PollOutcome::failed(
                PollErrorKind::Cache,
                "no cache is configured",
            ));
        };
        let ahead_max = self.setup.clock.now().saturating_add(AHEAD_MAX_MS);
        let read = blocking(move || files::cached(&path, ahead_max)).await;
        let read = read.unwrap_or_else(|| Err("the cache could not be read".to_owned()));
        read.map_err(|detail| PollOutcome::failed(PollErrorKind::Cache, detail))
    }

    async fn credential(&self, settings: &PollSettings) -> Result<Credential, CredentialRefusal> {
        let missing = || CredentialRefusal {
            kind: PollErrorKind::MissingCredentials,
            detail: "the credentials could not be read".into(),
            fingerprint: None,
        };
        let path = settings.credentials.clone().ok_or_else(missing)?;
        let (via, now, key) = (settings.via, self.setup.clock.now(), self.key.clone());
        let read = blocking(move || files::credential(&path, via, now, &key)).await;
        read.unwrap_or_else(|| Err(missing()))
    }

    /// Begins a request unless there is one of the same credential, and shows it.
    fn begin(&mut self, id: &AccountId, fingerprint: Option<Fingerprint>) -> bool {
        self.polled += 1;
        let chance = self.key.hash_one(self.polled) % (2 * JITTER_MAX.unsigned_abs() + 1);
        let jitter = i64::try_from(chance).unwrap_or(0) - JITTER_MAX;
        let now = self.setup.clock.now();
        let began = self
            .polls
            .get_mut(id)
            .is_some_and(|polled| polled.poll.begin(fingerprint, jitter, now));
        self.show();
        began
    }

    /// Waits until the gap after the last request is over.
    async fn pass_gate(&self) {
        if let Some(asked) = self.asked_at {
            tokio::time::sleep_until(asked + span(GAP_MS)).await;
        }
    }

    /// Notes that the file has no credential to ask with, once for each.
    fn refuse(&mut self, id: &AccountId, refusal: CredentialRefusal) {
        let now = self.setup.clock.now();
        let Some(polled) = self.polls.get_mut(id) else {
            return;
        };
        let CredentialRefusal {
            kind,
            detail,
            fingerprint,
        } = refusal;
        let is_known = polled.poll.is_refused_as(fingerprint, kind);
        if is_known {
            return;
        }
        self.setup.board.count(id, kind.into_str());
        polled.poll.refuse(fingerprint, kind, shortened(&detail), now);
        self.show();
        log_failure(id, kind, &detail);
    }

    /// Takes the outcome: stores readings that are the account's, and the back-off if it changed.
    async fn finish(
        &mut self,
        id: &AccountId,
        settings: &PollSettings,
        (sent, present): (Option<Fingerprint>, Option<Fingerprint>),
        answered: PollReadings,
    ) {
        // The settings may have changed meanwhile; then the readings may be of another account.
        let is_configured = {
            let settings_now = self.setup.settings.borrow();
            let rules = settings_now.accounts.get(id);
            rules.is_some_and(|rules| rules.poll.as_ref() == Some(settings))
        };
        if !is_configured {
            self.polls.remove(id);
            return;
        }
        let now = self.setup.clock.now();
        let (outcome, readings) = match answered {
            Ok((at, observations)) => (
                PollOutcome::Answer {
                    windows: names(&observations),
                    at,
                },
                Some((at, observations)),
            ),
            Err(outcome) => (outcome, None),
        };
        self.setup.board.count(id, outcome.word());
        let Some(polled) = self.polls.get_mut(id) else {
            return;
        };
        let had_failed = polled.poll.failure().map(|failure| failure.kind);
        let finished = polled.poll.finish(sent, present, &outcome, now);
        let is_news = |at: Millis| settings.via.has_credentials() || polled.cached_at < Some(at);
        let news = readings.filter(|(at, _)| finished.takes && is_news(*at));
        let (backoff, asks_again) = (polled.poll.backoff(), !finished.takes);
        if let Some((at, observations)) = news {
            if !settings.via.has_credentials() {
                polled.cached_at = Some(at);
            }
            self.observe(id, observations).await;
        }
        // A file of this host may be read again at any time.
        if finished.is_backoff_new && settings.via != PollVia::CacheFile {
            // A committer that has stopped is the end of the collector.
            let _ = self.setup.writes.set_backoff(id.clone(), backoff).await;
        }
        self.show();
        match &outcome {
            PollOutcome::Failed { kind, detail, .. } if had_failed != Some(*kind) => {
                log_failure(id, *kind, detail);
            }
            PollOutcome::Answer { .. } if asks_again => {
                tracing::info!(account = %id, "the credential was replaced meanwhile; it is asked again");
            }
            PollOutcome::Answer { .. } if had_failed.is_some() => {
                tracing::info!(account = %id, "the account's own numbers are there again");
            }
            outcome => tracing::debug!(account = %id, outcome = outcome.word(), "polled"),
        }
    }

    /// Commits readings; false if the committer has stopped.
    async fn observe(&self, id: &AccountId, mut observations: Vec<Observation>) -> bool {
        let now = self.setup.clock.now();
        observations.retain(|seen| {
            let why = impossible(seen, seen.observed_at.unwrap_or(now));
            if let Some(why) = &why {
                tracing::warn!(account = %id, window = ?seen.window, "a reading is left out: {why}");
            }
            why.is_none()
        });
        let account = id.clone();
        let reported = vec![AccountObservations {
            account,
            observations,
        }];
        self.setup.writes.observe(reported).await.is_ok()
    }
}

/// The windows of readings.
fn names(observations: &[Observation]) -> Vec<Box<str>> {
    observations.iter().map(|seen| seen.window.clone()).collect()
}

fn shortened(detail: &str) -> Box<str> {
    detail[..detail.floor_char_boundary(DETAIL_BYTES_MAX)].into()
}

fn log_failure(id: &AccountId, kind: PollErrorKind, detail: &str) {
    tracing::warn!(account = %id, error = kind.into_str(), "the account's own numbers are not there: {detail}; {}", kind.advice());
}
