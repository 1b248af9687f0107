//! The recovery of a blocked account: one run tries it, then more are let in step by step.
//!
//! `open` (blocked until a time) -> `due` -> `half_open` (one lease, the probe) -> `ramp` -> `closed`. Blocks are
//! read from the windows; only what they do not say is stored, as a [`Probe`]. **Invariant**: each stored phase has
//! an end by the clock, or lets a run in: none lasts for ever.

use strum::IntoStaticStr;

use super::{Lease, LeaseNumber};
use crate::model::{MINUTE_MS, Millis};
use crate::quota::account::StartRules;

/// Time after its reset at which a window is tried, in milliseconds: providers' clocks differ.
pub const PROBE_AFTER_MS: Millis = MINUTE_MS;
/// Time without evidence after which a bound probe is over, in milliseconds.
pub const EVIDENCE_MS: Millis = 3 * MINUTE_MS;
/// Time in which the run of a probe has to start, however its lease is renewed, in milliseconds.
const START_MS: Millis = 10 * MINUTE_MS;
/// Lead of a stored time from which the clock was set back, in milliseconds.
pub const CLOCK_BACK_MS: Millis = MINUTE_MS;
/// Probes without evidence that count as a failure.
const SILENT_MAX: u8 = 3;
/// Pauses after failures in a row for which the provider names no end, in minutes.
const BACKOFF_MIN: [Millis; 6] = [5, 10, 20, 40, 60, 60];
/// Age of the reading from which an account that is blocked by a share alone is tried, and the interval of such
/// tries, in milliseconds.
pub const REVALIDATE_AFTER_MS: Millis = 15 * MINUTE_MS;
/// Places at which a ramp ends where the account has no `concurrency`.
const RAMP_END: u32 = 10;

/// The kinds of blocks, in the order of their weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlockKind {
    /// Enough of the window is used, as of its last reading.
    Share,
    /// The provider refused without naming a window.
    CoolDown,
    /// The provider refused.
    Refusal,
    /// Tries showed nothing: their runs did not start, or no response of them was counted.
    NoEvidence,
}

/// What blocks a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScopeBlock {
    /// The first time at which a run may try.
    pub until: Millis,
    pub kind: BlockKind,
    /// The time of the reading.
    pub seen_at: Millis,
    /// True if the provider named the end.
    pub has_end: bool,
}

/// The block of a scope, from the windows alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gate {
    #[default]
    Closed,
    Blocked(ScopeBlock),
    /// A block ended by the clock, and nothing was observed since.
    Over,
}

/// What is known of a scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScopeFacts {
    /// The words of the family; empty for the whole account.
    pub scope: Box<str>,
    pub gate: Gate,
    /// The line of the latest response.
    pub served_at: Option<Millis>,
    /// The latest live reading by which the provider allows use.
    pub allowed_at: Option<Millis>,
    /// The latest refusal.
    pub refused_at: Option<Millis>,
}

impl ScopeFacts {
    /// A scope of which nothing is known.
    #[must_use]
    pub fn of(scope: &str) -> Self {
        Self {
            scope: scope.into(),
            ..Self::default()
        }
    }
}

/// The stored part of a recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub phase: ProbePhase,
    /// When the phase began; of a ramp, when its probe was granted.
    pub since: Millis,
    /// Failures in a row.
    pub failures: u8,
    /// Probes in a row without evidence; `SILENT_MAX` of them are a failure.
    pub silent: u8,
    /// When the last probe was granted.
    pub tried_at: Millis,
}

/// The stored phase of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbePhase {
    /// After a probe that failed or showed nothing: the next one may start then.
    BackedOff { until: Millis },
    /// One lease is the probe.
    HalfOpen { lease: LeaseNumber },
    /// So many leases at most from the probe on, one step more after each interval with a response.
    Ramp {
        /// The lease that was the probe.
        lease: LeaseNumber,
        cap: u32,
        step_at: Millis,
    },
}

/// The state of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum ProbeState {
    Closed,
    Open {
        until: Millis,
        kind: BlockKind,
    },
    /// The next lease is the probe.
    Due,
    /// The probe is under way.
    HalfOpen,
    /// So many leases at most from the probe on; the next step is at `step_at`.
    Ramp {
        cap: u32,
        probe: LeaseNumber,
        step_at: Millis,
    },
}

/// The state from what is stored and what is known.
#[must_use]
pub fn state(probe: Option<&Probe>, facts: &ScopeFacts, rules: &StartRules, now: Millis) -> ProbeState {
    if let Some(Probe {
        phase: ProbePhase::HalfOpen { .. },
        ..
    }) = probe
    {
        return ProbeState::HalfOpen;
    }
    let backed_off = probe.and_then(|probe| match probe.phase {
        ProbePhase::BackedOff { until } => Some(until),
        _ => None,
    });
    if let Gate::Blocked(block) = facts.gate {
        let tried_at = probe.map_or(Millis::MIN, |probe| probe.tried_at);
        let is_old = |at: Millis| now.saturating_sub(at) >= REVALIDATE_AFTER_MS;
        let may_try = block.kind == BlockKind::Share && is_old(block.seen_at) && is_old(tried_at);
        if may_try && backed_off.is_none_or(|until| until <= now || until == block.until) {
            return ProbeState::Due;
        }
        // A block by a share is tried before its end.
        let until = match block.kind {
            BlockKind::Share => {
                let last = block.seen_at.max(tried_at).saturating_add(REVALIDATE_AFTER_MS);
                last.max(backed_off.unwrap_or(last)).min(block.until)
            }
            BlockKind::CoolDown | BlockKind::Refusal | BlockKind::NoEvidence => {
                block.until.max(backed_off.unwrap_or(block.until))
            }
        };
        return ProbeState::Open {
            until,
            kind: block.kind,
        };
    }
    match (probe.map(|probe| probe.phase), facts.gate) {
        (Some(ProbePhase::BackedOff { until }), _) if until > now => ProbeState::Open {
            until,
            kind: if probe.is_some_and(Probe::is_unanswered) {
                BlockKind::NoEvidence
            } else {
                BlockKind::Refusal
            },
        },
        (Some(ProbePhase::Ramp { lease, cap, step_at }), _) => ProbeState::Ramp {
            cap,
            probe: lease,
            step_at: step_at.saturating_add(rules.ramp.every_ms),
        },
        (Some(ProbePhase::BackedOff { .. }), _) | (_, Gate::Over) => ProbeState::Due,
        _ => ProbeState::Closed,
    }
}

impl Probe {
    /// A probe that was just granted.
    #[must_use]
    pub fn granted(before: Option<&Self>, lease: LeaseNumber, now: Millis) -> Self {
        Self {
            phase: ProbePhase::HalfOpen { lease },
            since: now,
            failures: before.map_or(0, |before| before.failures),
            silent: before
                .filter(|before| !before.is_unanswered())
                .map_or(0, |before| before.silent),
            tried_at: now,
        }
    }

    /// True after so many probes without evidence that they were a failure.
    fn is_unanswered(&self) -> bool {
        self.silent >= SILENT_MAX
    }

    /// The lease that is the probe.
    #[must_use]
    pub fn lease(&self) -> Option<LeaseNumber> {
        match self.phase {
            ProbePhase::HalfOpen { lease } => Some(lease),
            _ => None,
        }
    }

    /// The time at which the phase ends by the clock; `lease` is the probe's, if it still exists.
    #[must_use]
    pub fn deadline(&self, lease: Option<&Lease>) -> Option<Millis> {
        match self.phase {
            ProbePhase::BackedOff { until } => Some(until),
            ProbePhase::HalfOpen { .. } => Some(match lease {
                None => self.since,
                Some(lease) => match lease.bound_at {
                    Some(bound_at) => bound_at.saturating_add(EVIDENCE_MS),
                    None => lease.expires_at.min(self.since.saturating_add(START_MS)),
                },
            }),
            ProbePhase::Ramp { step_at, .. } => Some(step_at.saturating_add(EVIDENCE_MS)),
        }
    }

    /// The phase after what is known now; `None` once the recovery is over. `lease` is that of the probe, as long as
    /// it has not ended.
    #[must_use]
    pub fn advance(
        &self,
        facts: &ScopeFacts,
        lease: Option<&Lease>,
        rules: &StartRules,
        now: Millis,
    ) -> Option<Self> {
        if self.since > now.saturating_add(CLOCK_BACK_MS) {
            // The clock was set back: nothing would end in time.
            return Some(Self {
                phase: ProbePhase::BackedOff { until: now },
                since: now,
                tried_at: now,
                ..self.clone()
            });
        }
        let is_since = |at: Option<Millis>| at.is_some_and(|at| at > self.since && at <= now);
        let is_refused = is_since(facts.refused_at) && facts.refused_at >= facts.served_at;
        // A reading that allows ends a block only if none is left.
        let is_allowed = is_since(facts.allowed_at) && facts.gate == Gate::Closed;
        let is_served = !is_refused && (is_since(facts.served_at) || is_allowed);
        match self.phase {
            ProbePhase::HalfOpen { .. } | ProbePhase::Ramp { .. } if is_refused => {
                Some(self.failed(facts, now))
            }
            ProbePhase::HalfOpen { lease } if is_served => Some(Self {
                phase: ProbePhase::Ramp {
                    lease,
                    cap: rules.ramp.start,
                    step_at: now,
                },
                failures: 0,
                silent: 0,
                ..self.clone()
            }),
            ProbePhase::HalfOpen { .. } => {
                let is_over = self.deadline(lease).is_some_and(|deadline| deadline <= now);
                Some(if is_over {
                    self.silent(facts, now)
                } else {
                    self.clone()
                })
            }
            ProbePhase::Ramp { lease, cap, step_at } => {
                self.climbed((lease, cap, step_at), facts, rules, now)
            }
            // Served by a run that asked nobody.
            ProbePhase::BackedOff { .. } if is_served => self.over(facts),
            ProbePhase::BackedOff { until } => {
                let is_tried_again = self.silent > 0 && !self.is_unanswered();
                let is_over = until <= now && facts.gate == Gate::Closed && !is_tried_again;
                (!is_over).then(|| self.clone())
            }
        }
    }

    /// The next step of a ramp, or its end.
    fn climbed(
        &self,
        (lease, cap, step_at): (LeaseNumber, u32, Millis),
        facts: &ScopeFacts,
        rules: &StartRules,
        now: Millis,
    ) -> Option<Self> {
        let end = if rules.concurrency > 0 {
            rules.concurrency
        } else {
            RAMP_END
        };
        if cap >= end {
            return self.over(facts);
        }
        let is_served = (facts.served_at.max(facts.allowed_at)).is_some_and(|at| at > step_at && at <= now);
        let next = if is_served && now >= step_at.saturating_add(rules.ramp.every_ms) {
            Self {
                phase: ProbePhase::Ramp {
                    lease,
                    cap: cap.saturating_add(rules.ramp.step),
                    step_at: now,
                },
                ..self.clone()
            }
        } else if !is_served && now >= step_at.saturating_add(rules.ramp.every_ms.max(EVIDENCE_MS)) {
            // Its runs may be silent for long: another probe shows more.
            return Some(self.silent(facts, now));
        } else {
            self.clone()
        };
        match next.phase {
            ProbePhase::Ramp { cap, .. } if cap >= end => next.over(facts),
            _ => Some(next),
        }
    }

    /// After the recovery: nothing is stored, unless the account is blocked by a share still, which is tried once in
    /// [`REVALIDATE_AFTER_MS`].
    fn over(&self, facts: &ScopeFacts) -> Option<Self> {
        let is_share = matches!(facts.gate, Gate::Blocked(block) if block.kind == BlockKind::Share);
        is_share.then(|| Self {
            phase: ProbePhase::BackedOff { until: self.since },
            failures: 0,
            silent: 0,
            ..self.clone()
        })
    }

    /// After a probe that showed nothing.
    fn silent(&self, facts: &ScopeFacts, now: Millis) -> Self {
        if self.silent + 1 >= SILENT_MAX {
            return Self {
                silent: SILENT_MAX,
                ..self.failed(facts, now)
            };
        }
        Self {
            phase: ProbePhase::BackedOff { until: now },
            since: now,
            silent: self.silent + 1,
            ..self.clone()
        }
    }

    /// After a probe that was refused.
    fn failed(&self, facts: &ScopeFacts, now: Millis) -> Self {
        let step = usize::from(self.failures).min(BACKOFF_MIN.len() - 1);
        let backoff = now.saturating_add(BACKOFF_MIN[step] * MINUTE_MS);
        let until = match facts.gate {
            // It is tried again before its end.
            Gate::Blocked(block) if block.kind == BlockKind::Share => backoff,
            Gate::Blocked(block) if block.has_end => block.until,
            Gate::Blocked(block) => block.until.max(backoff),
            _ => backoff,
        };
        Self {
            phase: ProbePhase::BackedOff { until },
            since: now,
            failures: self.failures.saturating_add(1),
            silent: 0,
            ..self.clone()
        }
    }
}
