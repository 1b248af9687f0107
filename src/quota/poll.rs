//! Polls of an account's own numbers: when the next request is due, and what its outcome means.
//!
//! One state for each account, not for each credential: a new credential does not end a back-off. Times are
//! arguments, and the time of day may go back.

pub mod outcome;
pub mod settings;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use strum::IntoStaticStr;

use super::account::Account;
use super::window::{self, WindowState};
use crate::model::{HOUR_MS, MINUTE_MS, Millis};
use outcome::{PollErrorKind, PollOutcome};
use settings::{INTERVAL_MIN_MS, PollSettings};

/// Shortest time between any two requests of the process, in milliseconds.
pub const GAP_MS: Millis = 1_000;
/// Largest change of an interval by chance, in thousandths, so that hosts do not ask together.
pub const JITTER_MAX: i64 = 100;
/// First wait after a failure, in milliseconds; each further failure doubles it, up to the second.
const BACKOFF_FIRST_MS: Millis = MINUTE_MS;
const BACKOFF_MAX_MS: Millis = 15 * MINUTE_MS;
/// Longest wait that a server may ask for, in milliseconds.
pub const RETRY_AFTER_MAX_MS: Millis = 6 * HOUR_MS;
/// Time after the reset of a blocked window until it is asked for, in milliseconds.
const AFTER_RESET_MS: Millis = MINUTE_MS;
/// Longest time without a poll of a blocked account, in milliseconds: a plan may change.
const BLOCKED_EVERY_MS: Millis = 30 * MINUTE_MS;
/// Refusals in a row, none ever answered, after which the credential itself is the likely cause.
const REFUSALS_SUSPECT: u32 = 3;

/// A wait after failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub until: Millis,
    /// In a row.
    pub failures: u32,
}

/// A keyed hash of a credential; the key is of this process and in memory only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

/// What an account's poll does at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum PollState {
    /// Waits for its time.
    Idle,
    InFlight,
    Backoff,
    /// The credential is over. Nothing is asked until another one is in its file.
    Expired,
    /// The credential may not ask for usage, likewise.
    Forbidden,
    /// No usable credential is in its file, likewise.
    Missing,
}

/// The last error of a poll; cleared by the next success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollFailure {
    pub kind: PollErrorKind,
    pub at: Millis,
    /// The cause in words, without any secret.
    pub detail: Box<str>,
}

/// The poll of one account.
#[derive(Clone, Debug)]
pub struct Poll {
    state: PollState,
    backoff: Option<Backoff>,
    /// The credential of the request in flight, or of the one that was refused.
    fingerprint: Option<Fingerprint>,
    /// The end of the last poll; at first, the latest stored observation.
    checked_at: Option<Millis>,
    /// Thousandths by which the next interval differs.
    jitter: i64,
    /// The windows of the last answer.
    windows: Vec<Box<str>>,
    /// Refusals in a row without an answer before.
    untried: u32,
    last_ok: Option<Millis>,
    failure: Option<PollFailure>,
    /// The time of the last look: an earlier one means that the clock went back.
    seen_at: Millis,
}

/// The result of an outcome for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// True if the answer is that of the account as it is now.
    pub takes: bool,
    /// True if the back-off changed.
    pub is_backoff_new: bool,
}

impl Poll {
    /// A poll of an account with these stored windows and back-off.
    #[must_use]
    pub fn seeded(windows: &BTreeMap<Box<str>, WindowState>, backoff: Option<Backoff>, now: Millis) -> Self {
        let latest = windows.values().map(|state| state.observed_at).max();
        Self {
            state: if backoff.is_some() {
                PollState::Backoff
            } else {
                PollState::Idle
            },
            backoff: backoff.map(|backoff| Backoff {
                until: backoff.until.min(now.saturating_add(RETRY_AFTER_MAX_MS)),
                ..backoff
            }),
            fingerprint: None,
            // A time ahead of this clock would keep the poll waiting.
            checked_at: latest.map(|at| at.min(now)),
            jitter: 0,
            windows: Vec::new(),
            untried: 0,
            last_ok: None,
            failure: None,
            seen_at: now,
        }
    }

    /// Moves the waits back with a clock that went back.
    pub fn look(&mut self, now: Millis) {
        let back = self.seen_at.saturating_sub(now);
        if back > 0 {
            if let Some(at) = &mut self.checked_at {
                *at = at.saturating_sub(back);
            }
            if let Some(backoff) = &mut self.backoff {
                backoff.until = backoff.until.saturating_sub(back);
            }
        }
        self.seen_at = now;
    }

    #[must_use]
    pub fn state(&self) -> PollState {
        self.state
    }

    #[must_use]
    pub fn backoff(&self) -> Option<Backoff> {
        self.backoff
    }

    #[must_use]
    pub fn last_ok(&self) -> Option<Millis> {
        self.last_ok
    }

    #[must_use]
    pub fn failure(&self) -> Option<&PollFailure> {
        self.failure.as_ref()
    }

    /// True while only another credential leads to a request.
    #[must_use]
    pub fn awaits_credential(&self) -> bool {
        matches!(
            self.state,
            PollState::Expired | PollState::Forbidden | PollState::Missing
        )
    }

    /// The time of the next poll; `None` while one is in flight, or another credential is awaited.
    #[must_use]
    pub fn due(
        &self,
        settings: &PollSettings,
        account: &Account,
        windows: &BTreeMap<Box<str>, WindowState>,
        now: Millis,
    ) -> Option<Millis> {
        match self.state {
            PollState::InFlight | PollState::Expired | PollState::Forbidden | PollState::Missing => None,
            PollState::Backoff => Some(self.backoff.map_or(now, |backoff| backoff.until)),
            PollState::Idle => {
                let Some(checked) = self.checked_at else {
                    return Some(now);
                };
                let covered = covered_at(&self.windows, windows, now);
                let fresh = covered.map_or(checked, |covered| covered.min(now).max(checked));
                Some(match blocked_until(account, windows, now) {
                    Some(reset) => reset
                        .saturating_add(AFTER_RESET_MS)
                        .min(fresh.saturating_add(BLOCKED_EVERY_MS.max(settings.interval)))
                        .max(fresh.saturating_add(INTERVAL_MIN_MS)),
                    None => stale_at(fresh, settings.interval, self.jitter),
                })
            }
        }
    }

    /// Begins a request with this credential. False if there is one in flight with it already, or it was
    /// refused: ten requests at once are one.
    pub fn begin(&mut self, fingerprint: Option<Fingerprint>, jitter: i64, now: Millis) -> bool {
        if (self.state == PollState::InFlight || self.is_refused()) && self.fingerprint == fingerprint {
            return false;
        }
        // Another credential is no new allowance.
        if self.awaits_credential() && self.backoff.is_some_and(|backoff| backoff.until > now) {
            self.state = PollState::Backoff;
            return false;
        }
        self.state = PollState::InFlight;
        self.fingerprint = fingerprint;
        self.jitter = jitter.clamp(-JITTER_MAX, JITTER_MAX);
        true
    }

    fn is_refused(&self) -> bool {
        matches!(self.state, PollState::Expired | PollState::Forbidden)
    }

    /// Takes the outcome of the request sent with a credential, and the one that is in its file now.
    pub fn finish(
        &mut self,
        sent: Option<Fingerprint>,
        present: Option<Fingerprint>,
        outcome: &PollOutcome,
        now: Millis,
    ) -> Finished {
        let before = self.backoff;
        let is_own = self.state == PollState::InFlight && self.fingerprint == sent;
        if !is_own {
            // A later request has taken its place.
            return Finished {
                takes: false,
                is_backoff_new: false,
            };
        }
        let is_current = sent == present;
        let takes = is_current && matches!(outcome, PollOutcome::Answer { .. });
        match outcome {
            PollOutcome::Answer { windows, at } if is_current => self.succeed(windows, *at, now),
            PollOutcome::Answer { .. } => self.ask_again(),
            PollOutcome::Failed { kind, .. } if kind.is_of_credential() && !is_current => self.ask_again(),
            PollOutcome::Failed {
                kind,
                detail,
                retry_at,
                is_from_edge,
            } => {
                self.fail(*kind, detail.clone(), *retry_at, *is_from_edge, now);
            }
        }
        Finished {
            takes,
            is_backoff_new: self.backoff != before,
        }
    }

    /// Notes that no request is possible with what is in the credential's file.
    pub fn refuse(
        &mut self,
        fingerprint: Option<Fingerprint>,
        kind: PollErrorKind,
        detail: Box<str>,
        now: Millis,
    ) {
        self.fingerprint = fingerprint;
        self.fail(kind, detail, None, false, now);
    }

    /// True if that was noted already.
    #[must_use]
    pub fn is_refused_as(&self, fingerprint: Option<Fingerprint>, kind: PollErrorKind) -> bool {
        let known = self.failure.as_ref().map(|failure| failure.kind);
        self.awaits_credential() && self.fingerprint == fingerprint && known == Some(kind)
    }

    /// Adopts a reading that another process made.
    pub fn adopt(&mut self, at: Millis, windows: &[Box<str>], now: Millis) {
        self.windows = windows.to_vec();
        self.checked_at = self.checked_at.max(Some(at.min(now)));
        if self.state == PollState::Backoff && self.backoff.is_none_or(|backoff| backoff.until <= now) {
            self.state = PollState::Idle;
        }
    }

    /// The next request is due at once: the answer belongs to a credential that was replaced meanwhile.
    fn ask_again(&mut self) {
        self.state = if self.backoff.is_some() {
            PollState::Backoff
        } else {
            PollState::Idle
        };
        self.checked_at = None;
    }

    fn succeed(&mut self, windows: &[Box<str>], at: Millis, now: Millis) {
        self.state = PollState::Idle;
        self.backoff = None;
        self.failure = None;
        self.untried = 0;
        self.last_ok = Some(at);
        self.checked_at = Some(now);
        self.windows = windows.to_vec();
    }

    fn fail(
        &mut self,
        kind: PollErrorKind,
        detail: Box<str>,
        retry_at: Option<Millis>,
        is_from_edge: bool,
        now: Millis,
    ) {
        self.checked_at = Some(now);
        self.state = match kind {
            PollErrorKind::Expired => PollState::Expired,
            PollErrorKind::Forbidden => PollState::Forbidden,
            PollErrorKind::MissingCredentials => PollState::Missing,
            _ => {
                let failures = self
                    .backoff
                    .map_or(0, |backoff| backoff.failures)
                    .saturating_add(1);
                let until = backoff_until(failures, retry_at, now);
                // The later of two deadlines stays.
                let until = self.backoff.map_or(until, |earlier| earlier.until.max(until));
                self.backoff = Some(Backoff { until, failures });
                PollState::Backoff
            }
        };
        self.untried = if is_from_edge && self.last_ok.is_none() {
            self.untried + 1
        } else {
            0
        };
        let detail = if self.untried >= REFUSALS_SUSPECT {
            format!(
                "{detail}; this token may lack the scope user:profile, as those of `claude setup-token` do"
            )
            .into()
        } else {
            detail
        };
        self.failure = Some(PollFailure {
            kind,
            at: now,
            detail,
        });
    }
}

/// The time at which a reading is stale, with an interval that differs by so many thousandths.
#[must_use]
pub fn stale_at(observed: Millis, interval: Millis, jitter: i64) -> Millis {
    observed.saturating_add(interval.saturating_add(interval.saturating_mul(jitter) / 1000))
}

/// The end of the wait after so many failures in a row.
#[must_use]
pub fn backoff_until(failures: u32, retry_at: Option<Millis>, now: Millis) -> Millis {
    let doubled = BACKOFF_FIRST_MS.saturating_mul(1 << failures.saturating_sub(1).min(10));
    let own = now.saturating_add(doubled.min(BACKOFF_MAX_MS));
    let asked = retry_at.map(|at| at.min(now.saturating_add(RETRY_AFTER_MAX_MS)));
    asked.map_or(own, |asked| asked.max(own))
}

/// The time from which readings of every window are known, whatever their source is: those of the last answer,
/// or before one, all that have not ended. `None` if one of them is missing.
fn covered_at(named: &[Box<str>], windows: &BTreeMap<Box<str>, WindowState>, now: Millis) -> Option<Millis> {
    if named.is_empty() {
        let open = windows
            .values()
            .filter(|state| state.over_at().is_none_or(|over| over > now));
        return open.map(|state| state.observed_at).min();
    }
    let times = named.iter().map(|name| Some(windows.get(name)?.observed_at));
    times.collect::<Option<Vec<_>>>()?.into_iter().min()
}

/// The earliest reset of the windows with less left than the account needs; `None` if there is none.
fn blocked_until(
    account: &Account,
    windows: &BTreeMap<Box<str>, WindowState>,
    now: Millis,
) -> Option<Millis> {
    let least = |name: &str| {
        let minimum = account
            .minimum_left
            .iter()
            .find(|minimum| &*minimum.window == name);
        minimum.map_or(0.0, |minimum| f64::from(minimum.percent) / 100.0)
    };
    let resets = windows.iter().filter_map(|(name, state)| {
        let view = window::view(state, now);
        let is_blocked = view.left.is_some_and(|left| left <= 0.0 || left < least(name));
        let reset = view.blocked_until.or(state.reset_at);
        reset.filter(|reset| is_blocked && *reset > now)
    });
    resets.min()
}
