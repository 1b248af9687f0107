//! The monitor: publishes changes that have no commit of their own.
//!
//! A verdict on an account follows from windows, calls, budgets, marks and the time; windows and blocks end
//! by the clock; health depends on all parts of the collector. The monitor evaluates them after each commit
//! and at the next time at which one of them changes by the clock, and publishes the differences. Changes of
//! accounts and windows get a commit number, so that a resumed stream includes them. Health has none, since
//! it must be published even while nothing can be committed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::latches;
use super::trouble::{self, Trouble};
use crate::api::document;
use crate::api::health::{eval_context, health, snapshot_and_unseen};
use crate::api::http::problem::blocking;
use crate::api::leases;
use crate::api::service_line;
use crate::api::state::ApiState;
use crate::api::wire;
use crate::live::{AccountChange, Event, Listener, Update};
use crate::model::{AccountId, Millis, WindowUpdate};
use crate::quota::admission::{AccountVerdict, Assessment};
use crate::quota::exhaustion::Cause;
use crate::quota::notice::LatchChange;
use crate::quota::pace::{self, Zone};
use crate::quota::window::{self, Freshness, WindowState};
use crate::store::KnownAccounts;
use crate::sync::lock;
use crate::systemd;
use crate::verdict;

/// Shortest time between two evaluations of accounts.
const JUDGE_AFTER_MIN: Duration = Duration::from_millis(500);
/// The same where only the clock changes something, so that the change is published when it happens.
const CLOCK_AFTER_MIN: Duration = Duration::from_millis(20);
/// Longest time between two evaluations: calls leave their five hours without a commit.
const JUDGE_AFTER_MAX: Duration = Duration::from_secs(30);
/// Interval between two evaluations of health.
const HEALTH_EVERY: Duration = Duration::from_secs(1);
/// Changes of health that wait for the committer.
const HEALTH_CHANGES_MAX: usize = 16;

/// The monitor task.
pub struct Monitor {
    api: Arc<ApiState>,
    listener: Listener,
    stop: CancellationToken,
    /// The last published verdicts; `None` before the first evaluation.
    published: Option<Judged>,
    /// The part of the service manager's status line about accounts.
    verdict: Arc<Mutex<String>>,
}

/// Verdicts as of a time.
struct Judged {
    at: Millis,
    assessments: BTreeMap<AccountId, Assessment>,
}

impl Monitor {
    #[must_use]
    pub fn new(api: Arc<ApiState>, listener: Listener, stop: CancellationToken) -> Self {
        Self {
            api,
            listener,
            stop,
            published: None,
            verdict: Arc::default(),
        }
    }

    /// Runs until the collector stops.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        // A separate loop: account changes wait while nothing can be committed, and health must report that.
        let (changes, waiting) = mpsc::channel(HEALTH_CHANGES_MAX);
        let health = follow_health(Arc::clone(&self.api), Arc::clone(&self.verdict), changes);
        let commits = trouble::commit_changes(self.api.writes.clone(), waiting);
        let both = async { tokio::join!(self.follow_accounts(), health, commits) };
        let _ = stop.run_until_cancelled(both).await;
    }

    async fn follow_accounts(&mut self) {
        let mut judged_at = Instant::now();
        let mut judge_at = judged_at;
        loop {
            tokio::select! {
                event = self.listener.next() => match event {
                    Event::Closed => return,
                    Event::Update(_) | Event::StartOver { .. } => {
                        judge_at = judge_at.min(judged_at + JUDGE_AFTER_MIN);
                    }
                },
                () = tokio::time::sleep_until(judge_at) => {
                    let next = self.judge().await.min(self.sweep().await);
                    judged_at = Instant::now();
                    judge_at = judged_at + next.clamp(CLOCK_AFTER_MIN, JUDGE_AFTER_MAX);
                }
            }
        }
    }

    /// Writes what became of leases and recoveries; returns the time until one of them changes by the clock.
    async fn sweep(&self) -> Duration {
        let Ok(Json(Some(next))) = leases::sweep(&self.api).await else {
            return JUDGE_AFTER_MAX;
        };
        let left = u64::try_from(next.saturating_sub(self.api.clock.now())).unwrap_or(0);
        Duration::from_millis(left).max(JUDGE_AFTER_MIN)
    }

    /// Evaluates accounts and windows; returns the time until one of them changes by the clock.
    async fn judge(&mut self) -> Duration {
        let api = Arc::clone(&self.api);
        let line = Arc::clone(&self.verdict);
        let since = self.published.as_ref().map(|published| published.at);
        let judged = blocking(move || {
            let settings = Arc::clone(&api.settings.borrow());
            let (snapshot, unseen) = snapshot_and_unseen(&api)?;
            let context = eval_context(&settings, unseen.as_ref(), api.clock.now());
            let known = snapshot.accounts(context.since())?;
            let verdicts = verdict::judge(&known, &context);
            let by_clock = since.map_or_else(Update::default, |since| by_clock(&known, since, verdicts.now));
            *lock(&line) = service_line::verdict(&known, &verdicts);
            // What is not read yet may change everything that would be said.
            let latches = if settings.notify.targets.is_empty() || unseen.is_some() {
                Vec::new()
            } else {
                latches::changes(&snapshot.latches()?, &known, &verdicts, &settings, &api.polls)
            };
            Ok((by_clock, verdicts.next_change(&known), verdicts, latches))
        });
        let Ok((mut update, next, verdicts, latches)) = judged.await else {
            return JUDGE_AFTER_MAX;
        };
        let now = verdicts.now;
        let assessments = verdicts.accounts.into_iter().map(|account| account.assessment);
        let assessments = assessments.map(|one| (one.account.clone(), one)).collect();
        if let Some(published) = &self.published {
            update.accounts = changes(&published.assessments, &assessments);
        }
        // If it was not published, the next evaluation finds the change again.
        let is_quiet = update == Update::default() && latches.is_empty();
        if is_quiet || self.api.writes.note(update, latches).await.is_ok() {
            self.published = Some(Judged { at: now, assessments });
        }
        let left = |until: Millis| u64::try_from(until.saturating_sub(now)).unwrap_or(0);
        next.map_or(JUDGE_AFTER_MAX, |until| Duration::from_millis(left(until) + 1))
    }
}

/// Evaluates health without end and publishes changes.
async fn follow_health(api: Arc<ApiState>, verdict: Arc<Mutex<String>>, changes: mpsc::Sender<LatchChange>) {
    let mut trouble = Trouble::default();
    let mut ticks = tokio::time::interval(HEALTH_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut published = wire::HealthEvent::default();
    let mut line = String::new();
    loop {
        ticks.tick().await;
        let now = health(&api);
        trouble.look(&api, &now, &changes);
        let verdict = lock(&verdict).clone();
        let line_now = service_line::line(&now, &api.statuses, &verdict);
        if line != line_now {
            systemd::status(&line_now);
            line = line_now;
        }
        if now.status == published.status && now.ready == published.ready && now.reasons == published.reasons
        {
            continue;
        }
        published = wire::HealthEvent {
            at: document::time(api.clock.now()),
            status: now.status,
            ready: now.ready,
            reasons: now.reasons,
        };
        api.hub.publish_health(published.clone());
    }
}

/// Changes by the clock alone between two times: windows that ended, blocks that ended, paces in another
/// zone, expired marks.
fn by_clock(known: &KnownAccounts, since: Millis, now: Millis) -> Update {
    let mut update = Update::default();
    for (account, sums) in known {
        let is_over = |mark: &Cause| since < mark.until && mark.until <= now;
        if sums.mark.as_ref().is_some_and(is_over) {
            update.marks.push(account.clone());
        }
        let changed =
            (sums.windows.iter()).filter(|(_, state)| visible_part(state, since) != visible_part(state, now));
        update.windows.extend(changed.map(|(name, _)| WindowUpdate {
            account: account.clone(),
            window: name.clone(),
            rolled_over: false,
        }));
    }
    update
}

/// The part of a window's state that changes by the clock and is published. Staleness is left out: clients
/// see the age.
fn visible_part(state: &WindowState, at: Millis) -> (bool, bool, Zone) {
    let view = window::view(state, at);
    (
        view.freshness == Freshness::Expired,
        view.blocked_until.is_some(),
        pace::pace(state, at).zone,
    )
}

/// The verdicts that changed. The end of an exhaustion counts only while the account is exhausted.
fn changes(
    before: &BTreeMap<AccountId, Assessment>,
    now: &BTreeMap<AccountId, Assessment>,
) -> Vec<AccountChange> {
    let matters = |one: &Assessment| {
        let until = one.until.filter(|_| one.state == AccountVerdict::Exhausted);
        (one.state, until)
    };
    now.iter()
        .filter(|(account, now)| {
            before
                .get(account)
                .is_none_or(|before| matters(before) != matters(now))
        })
        .map(|(account, now)| AccountChange {
            account: account.clone(),
            from: before.get(account).map(|before| before.state.into_str().into()),
            state: now.state.into_str().into(),
            until: now.until,
            reason: now.reason.into_str().into(),
            sentence: now.sentence.as_str().into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::account::Account;
    use crate::quota::admission::{AccountVerdict::*, Candidate, assess};
    use crate::quota::budget::Calls;

    fn assessment(name: &str, state: AccountVerdict, until: Option<Millis>) -> (AccountId, Assessment) {
        let rules = Account::new(AccountId {
            name: name.into(),
            ..AccountId::default()
        });
        let candidate = Candidate {
            account: &rules,
            model: None,
            windows: Vec::new(),
            calls: Calls::default(),
            budget: None,
            mark: None,
            throttled: None,
            overage: None,
        };
        let assessment = Assessment {
            state,
            until,
            ..assess(&candidate, 0)
        };
        (rules.id, assessment)
    }

    #[test]
    fn what_changes_is_the_state_and_the_end_of_what_is_over() {
        let before = [
            assessment("same", Exhausted, Some(1)),
            assessment("later", Exhausted, Some(1)),
            assessment("near", NearLimit, Some(1)),
            assessment("free", Exhausted, Some(1)),
        ];
        let now = [
            assessment("same", Exhausted, Some(1)),
            assessment("later", Exhausted, Some(2)),
            assessment("near", NearLimit, Some(2)),
            assessment("free", Available, None),
            assessment("new", Unknown, None),
        ];
        let changes = changes(&before.into(), &now.into());
        let published: Vec<_> = changes
            .iter()
            .map(|change| {
                (
                    &*change.account.name,
                    change.from.as_deref(),
                    &*change.state,
                    change.until,
                )
            })
            .collect();
        assert_eq!(
            published,
            [
                ("free", Some("exhausted"), "available", None),
                ("later", Some("exhausted"), "exhausted", Some(2)),
                ("new", None, "unknown", None),
            ]
        );
    }
}
