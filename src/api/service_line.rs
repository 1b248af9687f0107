//! The status line for the service manager, which `systemctl status` prints.

use crate::api::document::time;
use crate::api::wire;
use crate::model::format::percent;
use crate::model::letters::is_unsafe;
use crate::quota::window;
use crate::store::KnownAccounts;
use crate::tailer::status::RunStatuses;
use crate::verdict::Verdicts;

/// Longest line, in bytes: a reason may contain a path of any length.
const LINE_BYTES_MAX: usize = 400;

/// The fullest window, and the answer of may-start.
#[must_use]
pub fn verdict(known: &KnownAccounts, verdicts: &Verdicts) -> String {
    let windows = known.iter().flat_map(|(id, sums)| {
        let states = sums.windows.iter();
        states.filter_map(move |(name, state)| {
            let used = window::view(state, verdicts.now).utilization?;
            Some((used, id, name))
        })
    });
    let fullest = windows.max_by(|(one, ..), (other, ..)| one.total_cmp(other));
    let mut text = fullest.map_or_else(String::new, |(used, id, name)| {
        format!("{}/{} {name} {} %; ", id.provider, id.name, percent(used, 0))
    });
    text += "may start: ";
    text += verdicts.may_start.decision.into_str();
    if let Some(at) = verdicts.may_start.retry_at {
        text += " until ";
        text += &time(at);
    }
    text
}

/// The whole line; problems come first.
#[must_use]
pub fn line(health: &wire::Health, statuses: &RunStatuses, verdict: &str) -> String {
    let mut parts = Vec::new();
    if let Some(reason) = health.reasons.first() {
        let others = health.reasons.len() - 1;
        let more = if others == 0 {
            String::new()
        } else {
            format!(" (and {others} more)")
        };
        parts.push(format!("{}: {reason}{more}", health.status));
    }
    let runs = statuses.digest();
    let s = if runs.runs == 1 { "" } else { "s" };
    parts.push(format!("{} run{s}, {} live", runs.runs, runs.live));
    if !health.backlog_done && health.lag_bytes > 0 {
        let mib = health.lag_bytes >> 20;
        parts.push(format!("reading the backlog, {mib} MiB left"));
    }
    parts.extend((!verdict.is_empty()).then(|| verdict.to_owned()));
    let mut line = parts.join("; ").replace(is_unsafe, " ");
    line.truncate(line.floor_char_boundary(LINE_BYTES_MAX));
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_comes_first() {
        let mut health = wire::Health {
            status: "ok".to_owned(),
            backlog_done: true,
            ..wire::Health::default()
        };
        let statuses = RunStatuses::default();
        assert_eq!(
            line(&health, &statuses, "may start: allow"),
            "0 runs, 0 live; may start: allow"
        );
        health.status = "unhealthy".to_owned();
        health.reasons = vec!["run a: no\nway in".to_owned(), "the disk is full".to_owned()];
        health.backlog_done = false;
        health.lag_bytes = 3 << 20;
        assert_eq!(
            line(&health, &statuses, ""),
            "unhealthy: run a: no way in (and 1 more); 0 runs, 0 live; reading the backlog, 3 MiB left"
        );
    }
}
