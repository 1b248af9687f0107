//! The documents of events, one function for each kind.

use crate::api::document::summary::{self, signed};
use crate::api::document::{leases, quota, time};
use crate::api::wire;
use crate::config::Accounts;
use crate::dedup::Totals;
use crate::live::{AccountChange, Lifecycle, RunUpdate};
use crate::model::{Fired, Millis, Phase, WindowUpdate};
use crate::quota::lease::probe::Probe;
use crate::quota::lease::{LeasePhase, LeaseUpdate, ProbeUpdate};
use crate::quota::notice::NoticeUpdate;
use crate::store::KnownAccounts;

/// The commit that an event belongs to, and its time.
pub struct CommitStamp {
    sequence: u64,
    now: Millis,
    /// `now` as text.
    at: String,
}

impl CommitStamp {
    pub fn new(sequence: u64, now: Millis) -> Self {
        let at = time(now);
        Self { sequence, now, at }
    }
}

pub fn run(event: &Lifecycle, stamp: &CommitStamp) -> wire::RunEvent {
    wire::RunEvent {
        sequence: stamp.sequence,
        at: time(event.at),
        run: event.run.to_string(),
        provider: event.account.provider.to_string(),
        account: event.account.name.to_string(),
        labels: summary::labels(&event.labels),
        phase: phase(event.phase).to_owned(),
        reason: match event.phase {
            Phase::Stopped(reason) => Some(reason.into_str().to_owned()),
            _ => None,
        },
        totals: summary::totals_of_run(&event.totals),
    }
}

/// `None` for an update without usage and lines.
pub fn usage(run: &RunUpdate, stamp: &CommitStamp) -> Option<wire::UsageEvent> {
    if run.models.is_empty() && run.lines.read == 0 {
        return None;
    }
    let mut all = Totals::default();
    for (_, delta) in &run.models {
        all += *delta;
    }
    let models = run.models.iter();
    Some(wire::UsageEvent {
        sequence: stamp.sequence,
        at: stamp.at.clone(),
        run: run.run.as_ref().map(ToString::to_string),
        provider: run.account.provider.to_string(),
        account: run.account.name.to_string(),
        models: models
            .map(|(model, delta)| (model.to_string(), signed(delta)))
            .collect(),
        delta: signed(&all),
        lines_read: run.lines.read,
        malformed_lines_read: run.lines.malformed,
        totals: wire::RunTotals {
            malformed_lines: run.all_lines.malformed,
            ..summary::totals_of_run(&run.totals)
        },
    })
}

/// `None` for a window that `known` no longer has.
pub fn window(
    changed: &WindowUpdate,
    known: &KnownAccounts,
    rules: &Accounts,
    stamp: &CommitStamp,
) -> Option<wire::WindowEvent> {
    let account = known.get(&changed.account)?;
    let state = account.windows.get(&*changed.window)?;
    Some(wire::WindowEvent {
        sequence: stamp.sequence,
        at: stamp.at.clone(),
        rolled_over: changed.rolled_over,
        window: quota::window(
            &changed.account,
            (&changed.window, state),
            rules.minimums(&changed.account),
            stamp.now,
        ),
    })
}

pub fn threshold(fired: &Fired, stamp: &CommitStamp) -> wire::ThresholdEvent {
    wire::ThresholdEvent {
        sequence: stamp.sequence,
        threshold: quota::fired(fired),
    }
}

pub fn account(changed: &AccountChange, stamp: &CommitStamp) -> wire::AccountEvent {
    wire::AccountEvent {
        sequence: stamp.sequence,
        at: stamp.at.clone(),
        provider: changed.account.provider.to_string(),
        account: changed.account.name.to_string(),
        from: changed.from.as_deref().map(str::to_owned),
        state: changed.state.to_string(),
        until: changed.until.map(time),
        reason: changed.reason.to_string(),
        sentence: changed.sentence.to_string(),
    }
}

pub fn lease(changed: &LeaseUpdate, stamp: &CommitStamp) -> wire::LeaseEvent {
    wire::LeaseEvent {
        sequence: stamp.sequence,
        at: time(changed.at),
        phase: match changed.phase {
            LeasePhase::Granted => "granted",
            LeasePhase::Bound => "bound",
            LeasePhase::Ended(end) => end.into_str(),
        }
        .to_owned(),
        lease: leases::lease(&changed.lease),
    }
}

pub fn probe(changed: &ProbeUpdate, stamp: &CommitStamp) -> wire::ProbeEvent {
    let probe = changed.probe.as_ref();
    let (state, until, cap) = leases::phase(probe, stamp.now);
    wire::ProbeEvent {
        sequence: stamp.sequence,
        at: stamp.at.clone(),
        provider: changed.key.account.provider.to_string(),
        account: changed.key.account.name.to_string(),
        scope: changed.key.scope.to_string(),
        state: state.to_owned(),
        until: until.map(time),
        cap,
        failures: probe.map_or(0, |probe| probe.failures),
        // Its token is its commit's.
        lease: (probe.and_then(Probe::lease)).map(|number| format!("{number}-{}", stamp.sequence)),
    }
}

pub fn notify(changed: &NoticeUpdate, stamp: &CommitStamp) -> wire::NotifyEvent {
    let account = changed.account.as_ref();
    wire::NotifyEvent {
        sequence: stamp.sequence,
        at: stamp.at.clone(),
        target: changed.target.to_string(),
        phase: changed.phase.into_str().to_owned(),
        id: changed.id.as_ref().map(ToString::to_string),
        event: changed.kind.map(|kind| kind.into_str().to_owned()),
        provider: account.map(|id| id.provider.to_string()),
        account: account.map(|id| id.name.to_string()),
        count: changed.count,
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Started => "started",
        Phase::Resumed => "resumed",
        Phase::Stopped(_) => "stopped",
        Phase::Forgotten => "forgotten",
    }
}
