//! A model for tests, with a window in each state, and its time.

use std::collections::BTreeMap;

use super::event::{SnapshotPart, Snapshotted, TopAnswer, TopEvent};
use super::fold::fold;
use super::model::{Link, PeriodSums, TopModel, millis};
use super::scope::TopScope;
use crate::api::wire;
use crate::cli::args::TopPeriod;
use crate::model::Millis;

/// The time of the samples.
pub const NOW: &str = "2026-10-05T10:42:07.000Z";

/// The time of the samples in milliseconds.
pub fn now() -> Millis {
    millis(NOW).unwrap()
}

/// A time so many seconds after [`NOW`].
pub fn after(seconds: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(now() + seconds * 1_000);
    at.unwrap().strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// Totals of so many tokens.
pub fn totals(tokens: u64) -> wire::RunTotals {
    wire::RunTotals {
        messages: tokens / 1_000,
        totals: wire::Totals {
            input_tokens: tokens / 500,
            output_tokens: tokens / 17,
            cache_creation_input_tokens: tokens / 9,
            cache_read_input_tokens: tokens - tokens / 500 - tokens / 17 - tokens / 9,
            total_tokens: tokens,
            ..wire::Totals::default()
        },
        malformed_lines: 0,
    }
}

/// A usage event of a run.
pub fn usage(run: &str, sequence: u64, delta: i64, tokens: u64) -> TopEvent {
    let delta = wire::Delta {
        total_tokens: delta,
        ..wire::Delta::default()
    };
    TopEvent::Usage(wire::UsageEvent {
        sequence,
        at: after(-20),
        run: Some(run.to_owned()),
        provider: "claude".to_owned(),
        account: "max-1".to_owned(),
        models: BTreeMap::from([("claude-opus-5-20260901".to_owned(), delta)]),
        delta,
        totals: totals(tokens),
        ..wire::UsageEvent::default()
    })
}

/// The snapshot at the beginning of a stream.
pub fn snapshot(sequence: u64) -> TopEvent {
    TopEvent::Snapshot(Box::new(Snapshotted {
        sequence,
        reason: None,
        snapshot: SnapshotPart {
            now: NOW.to_owned(),
            quota: quota(),
        },
    }))
}

/// A list of runs with these totals, requested at this commit.
pub fn list(asked_at: u64, runs: &[(String, u64)]) -> TopEvent {
    let rows = runs.iter().map(|(id, tokens)| wire::Run {
        id: id.clone(),
        totals: totals(*tokens),
        ..wire::Run::default()
    });
    let rows = rows.collect();
    TopEvent::Answer(Box::new(TopAnswer::Runs { rows, asked_at }))
}

fn window(account: &str, window: &str, share: Option<f64>, reset_s: i64) -> wire::Window {
    let (provider, account) = account.split_once('/').unwrap();
    wire::Window {
        provider: provider.to_owned(),
        account: account.to_owned(),
        window: window.to_owned(),
        utilization: share,
        utilization_at: share.map(|_| after(-58)),
        state: "fresh".to_owned(),
        status: "allowed".to_owned(),
        reset_at: Some(after(reset_s)),
        observed_at: after(-58),
        source: "rate_limit_event".to_owned(),
        pace: wire::Pace {
            delta: share.map(|_| 0.02),
            zone: "on_track".to_owned(),
        },
        ..wire::Window::default()
    }
}

/// Limits: fresh, hot, refused, used up, stale, expired and unknown windows, a budget, an account without any.
pub fn quota() -> wire::Quota {
    let hot = wire::Window {
        pace: wire::Pace {
            delta: Some(0.37),
            zone: "hot".to_owned(),
        },
        projected_exhaustion_at: Some(after(4_000)),
        ..window("claude/max-1", "five_hour", Some(0.77), 10_740)
    };
    let refused = wire::Window {
        refused: true,
        exhausted_until: Some(after(4_800)),
        source: "quota_limits".to_owned(),
        ..window("claude/max-2", "five_hour", None, 4_800)
    };
    let used_up = wire::Window {
        exhausted_until: Some(after(180_000)),
        ..window("claude/max-2", "seven_day", Some(1.0), 180_000)
    };
    let stale = wire::Window {
        state: "stale".to_owned(),
        utilization_at: Some(after(-3_000)),
        ..window("claude/team", "five_hour", Some(0.08), 14_400)
    };
    let expired = wire::Window {
        state: "expired".to_owned(),
        utilization_at: Some(after(-30_000)),
        ..window("claude/team", "seven_day", Some(0.5), -600)
    };
    let codex = wire::Window {
        source: "codex".to_owned(),
        ..window("codex/plus", "seven_day", Some(0.97), 190_000)
    };
    let account = |name: &str, state: &str| {
        let (provider, account) = name.split_once('/').unwrap();
        wire::Account {
            provider: provider.to_owned(),
            account: account.to_owned(),
            state: state.to_owned(),
            sentence: format!("{name} is {state}"),
            ..wire::Account::default()
        }
    };
    let budget = wire::Account {
        causes: vec![wire::Cause {
            kind: "predicted".to_owned(),
            code: "budget_exhausted".to_owned(),
            until: Some(after(36_000)),
            reason: "the day's budget is used up".to_owned(),
            ..wire::Cause::default()
        }],
        ..account("codex/plus", "exhausted")
    };
    wire::Quota {
        windows: vec![
            hot,
            window("claude/max-1", "seven_day", Some(0.48), 266_400),
            refused,
            used_up,
            stale,
            expired,
            codex,
        ],
        accounts: vec![
            account("claude/max-1", "available"),
            account("claude/max-2", "exhausted"),
            account("claude/team", "available"),
            budget,
            account("claude/spare", "unknown"),
        ],
        may_start: wire::MayStart {
            decision: "allow".to_owned(),
            chosen: Some(wire::Choice {
                provider: "claude".to_owned(),
                account: "team".to_owned(),
                model: None,
            }),
            candidates: vec![wire::Candidate {
                provider: "claude".to_owned(),
                account: "team".to_owned(),
                headroom: Some(0.92),
                ..wire::Candidate::default()
            }],
            ..wire::MayStart::default()
        },
        ..wire::Quota::default()
    }
}

fn run(id: &str, state: &str, tokens: u64, last_s: i64) -> wire::Run {
    wire::Run {
        id: id.to_owned(),
        state: state.to_owned(),
        provider: "claude".to_owned(),
        account: "max-1".to_owned(),
        labels: BTreeMap::from([("project".to_owned(), "alpha".to_owned())]),
        last_activity: Some(after(last_s)),
        totals: totals(tokens),
        cost: wire::Cost {
            estimated_cost_usd: Some(4.1),
            ..wire::Cost::default()
        },
        ..wire::Run::default()
    }
}

/// Sums of today by model.
pub fn sums() -> PeriodSums {
    let row = |name: &str, tokens: u64| wire::UsageRow {
        key: Some(Some(name.to_owned())),
        sums: wire::UsageSums {
            messages: tokens / 1_000,
            totals: totals(tokens).totals,
            ..wire::UsageSums::default()
        },
        ..wire::UsageRow::default()
    };
    let mut usage = wire::Usage {
        rows: vec![
            row("claude-opus-5-20260901", 2_000_000),
            row("claude-haiku-5", 310_000),
        ],
        ..wire::Usage::default()
    };
    usage.totals.messages = 104;
    usage.totals.totals = totals(2_310_000).totals;
    usage.totals.cost.estimated_cost_usd = Some(4.1);
    usage.totals.cost.unpriced = Some(wire::Unpriced::default());
    PeriodSums {
        period: TopPeriod::Today,
        usage,
    }
}

/// The sample.
pub fn model() -> TopModel {
    let scope = TopScope::default();
    let start = TopModel {
        now: now(),
        link: Link::Live,
        ..TopModel::default()
    };
    let failing = wire::Run {
        problem: Some("cannot read a file".to_owned()),
        lag_bytes: 300_000,
        ..run("nightly-042", "failing", 156_300, -5_000)
    };
    let rows = vec![
        run("refactor-billing", "live", 138_000, -30),
        failing,
        run("nightly-041", "stopped", 1_156_300, -86_400),
        run("日本語-run", "idle", 3_700, -600),
    ];
    let answers = [
        TopAnswer::Runs { rows, asked_at: 0 },
        TopAnswer::Sums(sums()),
        TopAnswer::Routes(sums()),
        TopAnswer::Hours(PeriodSums::default()),
    ];
    let answers = answers
        .into_iter()
        .map(|answer| TopEvent::Answer(Box::new(answer)));
    let health = wire::HealthEvent {
        at: NOW.to_owned(),
        status: "ok".to_owned(),
        ready: true,
        ..wire::HealthEvent::default()
    };
    let threshold = wire::ThresholdEvent {
        sequence: 8,
        threshold: wire::ThresholdFired {
            at: after(-2),
            provider: "claude".to_owned(),
            account: "max-1".to_owned(),
            window: "five_hour".to_owned(),
            threshold: 75,
            ..wire::ThresholdFired::default()
        },
    };
    let stream = [
        TopEvent::Health(health),
        usage("refactor-billing", 7, 2_100, 138_800),
        TopEvent::Threshold(threshold),
    ];
    let events = std::iter::once(snapshot(1)).chain(answers).chain(stream);
    events.fold(start, |model, event| fold(model, event, &scope))
}
