//! The teller: looks at what changes without a commit of its own, and says so to those who listen.
//!
//! A verdict on an account follows from windows, calls, budgets, marks and the time; how the collector is follows from
//! everybody's state. Both are judged again when something was committed and when time has passed, and told when they
//! are others than before. A verdict takes the number of a commit, so that whoever comes back hears of it; the
//! collector's health may be that nothing can be committed, so it has none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::problem::blocking;
use super::quota::{self, Standing};
use super::routes::{Sources, health, terms};
use super::{summary, wire};
use crate::live::{AccountChange, Event, Listener};
use crate::record::{AccountId, Millis};

/// Between two judgements of accounts at least, however much is committed.
const JUDGE_AFTER_MIN: Duration = Duration::from_millis(500);
/// And at most: calls leave their five hours without a commit.
const JUDGE_AFTER_MAX: Duration = Duration::from_secs(30);
/// How often the collector's health is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The one who looks.
pub struct Teller {
    sources: Arc<Sources>,
    listener: Listener,
    stop: CancellationToken,
    /// As last told; `None` until judged for the first time.
    standings: Option<BTreeMap<AccountId, Standing>>,
    health: wire::HealthEvent,
}

impl Teller {
    #[must_use]
    pub fn new(sources: Arc<Sources>, listener: Listener, stop: CancellationToken) -> Self {
        Self {
            sources,
            listener,
            stop,
            standings: None,
            health: wire::HealthEvent::default(),
        }
    }

    /// Works until the collector stops.
    pub async fn run(mut self) {
        let stop = self.stop.clone();
        let _ = stop.run_until_cancelled(self.tell()).await;
    }

    async fn tell(&mut self) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
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
                    let next = self.judge().await;
                    judged_at = Instant::now();
                    judge_at = judged_at + next.clamp(JUDGE_AFTER_MIN, JUDGE_AFTER_MAX);
                }
                _ = look.tick() => self.look().await,
            }
        }
    }

    /// Judges the accounts; says after which time a verdict may be another by itself.
    async fn judge(&mut self) -> Duration {
        let sources = Arc::clone(&self.sources);
        let judged = blocking(move || {
            let settings = Arc::clone(&sources.settings.borrow());
            let terms = terms(&settings);
            let view = sources.store.quota(terms.since())?;
            Ok((quota::standings(&view, &terms), terms.now))
        });
        let Ok((standings, now)) = judged.await else {
            return JUDGE_AFTER_MAX;
        };
        let next = standings.iter().filter_map(|standing| standing.until);
        let next = next.filter(|until| *until > now).min();
        let standings = standings
            .into_iter()
            .map(|one| (one.account.clone(), one))
            .collect();
        let changes = self.standings.as_ref().map(|before| changes(before, &standings));
        // Not told, it is a change the next time too.
        let is_told = match changes {
            Some(changes) if !changes.is_empty() => self.sources.writes.note(changes).await.is_ok(),
            _ => true,
        };
        if is_told {
            self.standings = Some(standings);
        }
        let left = |until: Millis| u64::try_from(until.saturating_sub(now)).unwrap_or(0);
        next.map_or(JUDGE_AFTER_MAX, |until| Duration::from_millis(left(until) + 1))
    }

    /// Looks at the collector's health.
    async fn look(&mut self) {
        let sources = Arc::clone(&self.sources);
        let Ok(now) = blocking(move || Ok(health(&sources))).await else {
            return;
        };
        let before = &self.health;
        if now.status == before.status && now.ready == before.ready && now.reasons == before.reasons {
            return;
        }
        self.health = wire::HealthEvent {
            at: summary::time(jiff::Timestamp::now().as_millisecond()),
            status: now.status,
            ready: now.ready,
            reasons: now.reasons,
        };
        self.sources.hub.tell_health(&self.health);
    }
}

/// The verdicts that are others. When an account is free again matters while it is not.
fn changes(
    before: &BTreeMap<AccountId, Standing>,
    now: &BTreeMap<AccountId, Standing>,
) -> Vec<AccountChange> {
    let matters = |standing: &Standing| {
        let until = standing.until.filter(|_| standing.state == "exhausted");
        (standing.state, until)
    };
    now.iter()
        .filter(|(account, standing)| {
            before
                .get(account)
                .is_none_or(|before| matters(before) != matters(standing))
        })
        .map(|(account, standing)| AccountChange {
            account: account.clone(),
            from: before.get(account).map(|before| before.state.into()),
            state: standing.state.into(),
            until: standing.until,
            reason: standing.reason.into(),
            sentence: standing.sentence.as_str().into(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str, state: &'static str, until: Option<Millis>) -> (AccountId, Standing) {
        let account = AccountId {
            name: name.into(),
            ..AccountId::default()
        };
        let standing = Standing {
            account: account.clone(),
            state,
            until,
            reason: "r",
            sentence: String::new(),
        };
        (account, standing)
    }

    #[test]
    fn what_changes_is_the_state_and_the_end_of_what_is_over() {
        let before = [
            standing("same", "exhausted", Some(1)),
            standing("later", "exhausted", Some(1)),
            standing("near", "near_limit", Some(1)),
            standing("free", "exhausted", Some(1)),
        ];
        let now = [
            standing("same", "exhausted", Some(1)),
            standing("later", "exhausted", Some(2)),
            standing("near", "near_limit", Some(2)),
            standing("free", "available", None),
            standing("new", "unknown", None),
        ];
        let changes = changes(&before.into(), &now.into());
        let told: Vec<_> = changes
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
            told,
            [
                ("free", Some("exhausted"), "available", None),
                ("later", Some("exhausted"), "exhausted", Some(2)),
                ("new", None, "unknown", None),
            ]
        );
    }
}
