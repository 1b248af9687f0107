//! The update that the listeners get after a commit.

use crate::live::{Lifecycle, Live, RunUpdate, Update};
use crate::model::format::percent;
use crate::model::{Fired, Millis};
use crate::store::Committed;

/// Publishes the changes of a commit, if there are any. `batches` is the number of batches in it.
pub(super) fn publish(live: &Live, batches: usize, committed: &Committed, now: Millis) {
    tracing::debug!(sequence = committed.sequence, batches, "committed");
    let limits = &committed.limits;
    let is_empty = committed.changes.is_empty() && committed.without_run.is_empty();
    let no_leases =
        committed.leases.is_empty() && committed.probes.is_empty() && committed.notices.is_empty();
    if is_empty && limits.windows.is_empty() && committed.events.is_empty() && no_leases {
        return;
    }
    debug_assert_eq!(batches, committed.outcomes.len());
    let fired = current(&limits.fired, now);
    for fired in &fired {
        tracing::warn!(
            account = %fired.account, window = ?fired.window,
            "{} % used, which is {} % or more",
            percent(fired.utilization, 1), fired.percent
        );
    }
    let named = committed.changes.iter().map(|(run, change)| (Some(run), change));
    let all = named.chain(committed.without_run.iter().map(|change| (None, change)));
    let runs = all.map(|(run, change)| RunUpdate {
        run: run.cloned(),
        bytes: change.bytes,
        lines: change.lines,
        files: change.files,
        responses: change.responses,
        account: change.account.clone(),
        models: change.models.clone(),
        totals: change.totals,
        all_lines: change.all_lines,
    });
    let lifecycle = committed.events.iter().map(|event| Lifecycle {
        run: event.run.clone(),
        account: event.account.clone(),
        labels: event.labels.clone(),
        phase: event.phase,
        at: now,
        totals: event.totals,
    });
    live.publish(Update {
        sequence: committed.sequence,
        runs: runs.collect(),
        windows: limits.windows.clone(),
        fired,
        lifecycle: lifecycle.collect(),
        leases: committed.leases.clone(),
        probes: committed.probes.clone(),
        notices: committed.notices.clone(),
        ..Update::default()
    });
}

/// Thresholds of windows that have not ended: those of ended windows are history, not warnings.
fn current(fired: &[Fired], now: Millis) -> Vec<Fired> {
    let has_ended = |fired: &&Fired| fired.reset_at.is_some_and(|reset_at| reset_at <= now);
    fired.iter().filter(|fired| !has_ended(fired)).cloned().collect()
}
