//! Events as lines for people.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::de::DeserializeOwned;

use super::super::print::numbers::{counted, grouped, percent, time, time_of_day};
use super::super::print::text;
use super::parser::ReceivedEvent;
use crate::api::wire;

const DIM: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();

/// Writes an event. A collector of another version may send other events: an unreadable one is printed
/// unchanged.
pub fn write(out: &mut dyn Write, received: &ReceivedEvent<'_>, width: Option<usize>) -> io::Result<()> {
    let ReceivedEvent { kind, data, .. } = received;
    let said = match *kind {
        "snapshot" => read(data, first),
        "gap" => read(data, gap),
        "usage" => read(data, usage),
        "window" => read(data, window),
        "threshold" => read(data, threshold),
        "run" => read(data, run),
        "account" => read(data, account),
        "health" => read(data, health),
        "lease" => read(data, lease),
        "probe" => read(data, probe),
        "notify" => read(data, notify),
        _ => None,
    };
    let (at, said) = said.unwrap_or_else(|| (String::new(), text::one_line(&data.to_string())));
    let at = if at.is_empty() { at } else { time_of_day(&at) };
    let line = format!("{DIM}{at:12}{DIM:#}  {:9}  {said}", text::name(kind));
    writeln!(out, "{}", text::wrapped(&line, width))
}

/// The time and the content of an event; `None` if it is not of the given kind.
fn read<T: DeserializeOwned>(
    data: &serde_json::Value,
    say: fn(T) -> (String, String),
) -> Option<(String, String)> {
    T::deserialize(data).ok().map(say)
}

fn first(event: wire::SnapshotEvent) -> (String, String) {
    sums(event.snapshot)
}

fn gap(event: wire::GapEvent) -> (String, String) {
    let why = match event.reason.as_str() {
        "too_old" => "the missed events are no longer kept",
        "too_slow" => "events came faster than they were read",
        "restarted" => "the collector was restarted",
        "unknown" => "the collector has no such event",
        other => other,
    };
    let (now, sums) = sums(event.snapshot);
    let said = format!(
        "{WARNING}events after {} are missing: {}{WARNING:#}; now {sums}",
        event.missed_from,
        text::name(why),
    );
    (now, said)
}

/// The time of a snapshot, and the sums of the runs in it; without runs, the tokens of everything.
fn sums(snapshot: wire::StreamSnapshot) -> (String, String) {
    let (now, runs, all, shown) = match snapshot {
        wire::StreamSnapshot::Full(summary) => {
            let of_runs = summary.by_run.values();
            let of_runs = of_runs.map(|run| run.sums.totals.total_tokens);
            let of_runs = of_runs.fold(0, u64::saturating_add);
            let runs = summary.by_run.len() as u64;
            (summary.now, runs, summary.totals.totals.total_tokens, of_runs)
        }
        wire::StreamSnapshot::Brief(brief) => {
            let all = brief.totals.totals.total_tokens;
            (brief.now, brief.runs.values().sum(), all, all)
        }
    };
    let said = match runs {
        0 => counted(all, "token"),
        _ => format!("{}, {}", counted(runs, "run"), counted(shown, "token")),
    };
    (now, said)
}

fn usage(event: wire::UsageEvent) -> (String, String) {
    let delta = &event.delta;
    let cache = delta
        .cache_creation_input_tokens
        .saturating_add(delta.cache_read_input_tokens);
    let models: Vec<String> = event.models.keys().map(|model| text::name(model)).collect();
    let run = event
        .run
        .as_deref()
        .map_or_else(|| "(no run)".to_owned(), text::name);
    let mut said = format!("{STRONG}{run}{STRONG:#}  ");
    let part = if *delta == wire::Delta::default() {
        format!("{} read, no tokens in them", counted(event.lines_read, "line"))
    } else {
        format!(
            "{} tokens ({} input, {} output, {} cache)",
            signed(delta.total_tokens),
            signed(delta.input_tokens),
            signed(delta.output_tokens),
            signed(cache),
        )
    };
    said.push_str(&part);
    if !models.is_empty() {
        let _ = write!(said, "  {}", models.join(", "));
    }
    if event.malformed_lines_read > 0 {
        let lines = counted(event.malformed_lines_read, "malformed line");
        let _ = write!(said, "  {WARNING}{lines}{WARNING:#}");
    }
    let _ = write!(said, "  total {}", grouped(event.totals.totals.total_tokens));
    (event.at, said)
}

fn window(event: wire::WindowEvent) -> (String, String) {
    let wire::WindowEvent {
        at,
        rolled_over,
        window,
        ..
    } = event;
    let mut said = window_name(&window.provider, &window.account, &window.window);
    said += "  ";
    let part = match window.utilization {
        _ if window.refused => format!("{WARNING}refused by the provider{WARNING:#}"),
        _ if window.state == "expired" => "its reset has passed, without newer observations".to_owned(),
        Some(share) => used(share),
        None => "its share is unknown".to_owned(),
    };
    said.push_str(&part);
    if let (Some(until), false) = (&window.exhausted_until, window.refused) {
        let _ = write!(said, ", {WARNING}exhausted until {}{WARNING:#}", time(until));
    }
    if let Some(reset) = &window.reset_at {
        let resets = if window.state == "expired" {
            "reset"
        } else {
            "resets"
        };
        let _ = write!(said, ", {resets} {}", time(reset));
    }
    if rolled_over {
        said += ", a new window";
    }
    (at, said)
}

fn threshold(event: wire::ThresholdEvent) -> (String, String) {
    let fired = event.threshold;
    let mut said = window_name(&fired.provider, &fired.account, &fired.window);
    let _ = write!(
        said,
        "  {WARNING}{} % reached{WARNING:#}: {}",
        fired.threshold,
        used(fired.utilization)
    );
    if let Some(reset) = &fired.reset_at {
        let _ = write!(said, ", resets {}", time(reset));
    }
    (fired.at, said)
}

fn run(event: wire::RunEvent) -> (String, String) {
    let mut said = format!(
        "{STRONG}{}{STRONG:#}  {}",
        text::name(&event.run),
        text::name(&event.phase)
    );
    if let Some(reason) = &event.reason {
        let _ = write!(said, " ({})", text::name(reason));
    }
    let _ = write!(said, "  {}", account_name(&event.provider, &event.account));
    for (label, value) in &event.labels {
        let _ = write!(said, "  {}", text::name(&format!("{label}={value}")));
    }
    let _ = write!(said, "  total {}", grouped(event.totals.totals.total_tokens));
    (event.at, said)
}

fn account(event: wire::AccountEvent) -> (String, String) {
    let words = |state: &str| text::name(&state.replace('_', " "));
    let was = (event.from.as_deref()).map_or_else(String::new, |from| format!(" (was {})", words(from)));
    let mut said = format!(
        "{}  {STRONG}{}{STRONG:#}{was}: {}",
        account_name(&event.provider, &event.account),
        words(&event.state),
        text::one_line(&event.sentence)
    );
    if let Some(until) = &event.until {
        let _ = write!(said, ", until {}", time(until));
    }
    (event.at, said)
}

fn health(event: wire::HealthEvent) -> (String, String) {
    let mut said = match event.status.as_str() {
        "ok" => "healthy".to_owned(),
        other => format!("{WARNING}{}{WARNING:#}", text::name(other)),
    };
    if !event.ready {
        said += ", not ready";
    }
    if !event.reasons.is_empty() {
        let _ = write!(said, ": {}", text::one_line(&event.reasons.join("; ")));
    }
    (event.at, said)
}

fn lease(event: wire::LeaseEvent) -> (String, String) {
    let lease = event.lease;
    let mut said = format!(
        "{STRONG}{}{STRONG:#}  {}  {}",
        text::name(&lease.id),
        text::name(&event.phase.replace('_', " ")),
        account_name(&lease.provider, &lease.account)
    );
    if lease.probe {
        said += "  probe";
    }
    if let Some(run) = &lease.run {
        let _ = write!(said, "  run {}", text::name(run));
    }
    // An end that has come is no news.
    if let Some(until) = lease
        .expires_at
        .filter(|_| event.phase == "granted" || event.phase == "bound")
    {
        let _ = write!(said, ", until {}", time(&until));
    }
    (event.at, said)
}

fn probe(event: wire::ProbeEvent) -> (String, String) {
    let mut said = account_name(&event.provider, &event.account);
    if !event.scope.is_empty() {
        let _ = write!(said, "  {}", text::name(&event.scope));
    }
    let _ = write!(
        said,
        "  {STRONG}{}{STRONG:#}",
        text::name(&event.state.replace('_', " "))
    );
    if let Some(cap) = event.cap {
        let _ = write!(said, "  {} let in", counted(cap.into(), "run"));
    }
    if let Some(until) = &event.until {
        let _ = write!(said, ", until {}", time(until));
    }
    (event.at, said)
}

fn notify(event: wire::NotifyEvent) -> (String, String) {
    let mut said = format!(
        "{}  {STRONG}{}{STRONG:#}",
        text::name(&event.target),
        text::name(&event.phase)
    );
    let what = match &event.event {
        Some(kind) => text::name(kind),
        None => counted(event.count, "event"),
    };
    let _ = write!(said, "  {what}");
    if let (Some(provider), Some(account)) = (&event.provider, &event.account) {
        let _ = write!(said, "  {}", account_name(provider, account));
    }
    (event.at, said)
}

fn account_name(provider: &str, account: &str) -> String {
    text::name(&format!("{provider}/{account}"))
}

fn window_name(provider: &str, account: &str, window: &str) -> String {
    format!("{}  {}", account_name(provider, account), text::name(window))
}

fn used(share: f64) -> String {
    percent(share, 1) + " % used"
}

fn signed(number: i64) -> String {
    let sign = if number < 0 { '-' } else { '+' };
    format!("{sign}{}", grouped(number.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::{Value, json};

    use super::*;

    const AT: &str = "2026-10-05T09:00:01.000Z";
    const LATER: &str = "2026-10-05T12:00:00.000Z";

    fn line(kind: &str, data: &impl Serialize) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        let data = serde_json::to_value(data).unwrap();
        write(&mut out, &ReceivedEvent { kind, id: "", data }, None).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    fn snapshot(tokens: u64) -> wire::StreamSnapshot {
        let mut summary = wire::Summary {
            now: AT.into(),
            ..Default::default()
        };
        let run = wire::PricedRunTotals {
            sums: totals(tokens),
            ..Default::default()
        };
        summary.by_run.insert("a".into(), run);
        // Of other runs too, which the filter leaves out.
        summary.totals.totals.total_tokens = tokens + 5;
        wire::StreamSnapshot::Full(Box::new(summary))
    }

    fn totals(tokens: u64) -> wire::RunTotals {
        let mut totals = wire::RunTotals::default();
        totals.totals.total_tokens = tokens;
        totals
    }

    #[test]
    fn snapshots_and_gaps_say_what_there_is() {
        let first = wire::SnapshotEvent {
            sequence: 1,
            snapshot: snapshot(1_200),
        };
        assert_eq!(
            line("snapshot", &first),
            "09:00:01 UTC  snapshot   1 run, 1,200 tokens\n"
        );
        let mut all = wire::Summary {
            now: AT.into(),
            ..Default::default()
        };
        all.totals.totals.total_tokens = 7;
        let brief = wire::BriefSummary {
            now: AT.into(),
            totals: all.totals.clone(),
            runs: [("live".into(), 2), ("idle".into(), 1)].into(),
            ..Default::default()
        };
        for (snapshot, said) in [
            (wire::StreamSnapshot::Full(Box::new(all)), "7 tokens"),
            (wire::StreamSnapshot::Brief(Box::new(brief)), "3 runs, 7 tokens"),
        ] {
            let event = wire::SnapshotEvent {
                sequence: 1,
                snapshot,
            };
            assert_eq!(
                line("snapshot", &event),
                format!("09:00:01 UTC  snapshot   {said}\n")
            );
        }
        let gap = wire::GapEvent {
            reason: "too_old".into(),
            missed_from: 7,
            snapshot: snapshot(1),
            ..Default::default()
        };
        assert_eq!(
            line("gap", &gap),
            "09:00:01 UTC  gap        events after 7 are missing: the missed events are no longer kept; \
             now 1 run, 1 token\n"
        );
    }

    #[test]
    fn usage_is_what_was_added() {
        let usage = wire::UsageEvent {
            at: AT.into(),
            run: Some("r\u{1b}1".into()),
            models: [("small".into(), wire::Delta::default())].into(),
            delta: wire::Delta {
                total_tokens: -5,
                input_tokens: 1_000,
                output_tokens: 2,
                cache_read_input_tokens: 3,
                cache_creation_input_tokens: 4,
                ..Default::default()
            },
            malformed_lines_read: 1,
            totals: totals(5_000),
            ..Default::default()
        };
        assert_eq!(
            line("usage", &usage),
            "09:00:01 UTC  usage      r\u{fffd}1  -5 tokens (+1,000 input, +2 output, +7 cache)  small  \
             1 malformed line  total 5,000\n"
        );
        let nothing = wire::UsageEvent {
            delta: wire::Delta::default(),
            models: [].into(),
            malformed_lines_read: 0,
            lines_read: 30,
            ..usage
        };
        assert!(line("usage", &nothing).ends_with("  30 lines read, no tokens in them  total 5,000\n"));
    }

    #[test]
    fn windows_say_how_full_they_are() {
        let window = wire::Window {
            provider: "claude".into(),
            account: "a".into(),
            window: "five_hour".into(),
            utilization: Some(0.425),
            state: "fresh".into(),
            reset_at: Some(LATER.into()),
            ..Default::default()
        };
        let event = |rolled_over, window| wire::WindowEvent {
            sequence: 1,
            at: AT.into(),
            rolled_over,
            window,
        };
        let said = |rolled_over, window| line("window", &event(rolled_over, window));
        assert_eq!(
            said(true, window.clone()),
            "09:00:01 UTC  window     claude/a  five_hour  42.5 % used, resets 2026-10-05 12:00:00 UTC, \
             a new window\n"
        );
        let refused = wire::Window {
            refused: true,
            exhausted_until: Some(LATER.into()),
            ..window.clone()
        };
        assert!(
            said(false, refused)
                .contains("five_hour  refused by the provider, resets 2026-10-05 12:00:00 UTC\n")
        );
        let full = wire::Window {
            utilization: Some(1.0),
            exhausted_until: Some(LATER.into()),
            reset_at: None,
            ..window.clone()
        };
        assert!(said(false, full).ends_with("100.0 % used, exhausted until 2026-10-05 12:00:00 UTC\n"));
        let expired = wire::Window {
            state: "expired".into(),
            ..window.clone()
        };
        assert!(
            said(false, expired).contains("its reset has passed, without newer observations, reset 2026")
        );
        let unknown = wire::Window {
            utilization: None,
            reset_at: None,
            ..window
        };
        assert!(said(false, unknown).ends_with("five_hour  its share is unknown\n"));
        let threshold = wire::ThresholdEvent {
            sequence: 1,
            threshold: wire::ThresholdFired {
                at: AT.into(),
                provider: "claude".into(),
                account: "a".into(),
                window: "seven_day".into(),
                threshold: 75,
                utilization: 0.8,
                ..Default::default()
            },
        };
        assert_eq!(
            line("threshold", &threshold),
            "09:00:01 UTC  threshold  claude/a  seven_day  75 % reached: 80.0 % used\n"
        );
    }

    #[test]
    fn runs_accounts_and_health_say_what_changed() {
        let run = wire::RunEvent {
            at: AT.into(),
            run: "r".into(),
            provider: "claude".into(),
            account: "a".into(),
            labels: [("project".into(), "x".into())].into(),
            phase: "stopped".into(),
            reason: Some("asked".into()),
            totals: totals(7),
            ..Default::default()
        };
        assert_eq!(
            line("run", &run),
            "09:00:01 UTC  run        r  stopped (asked)  claude/a  project=x  total 7\n"
        );
        let account = wire::AccountEvent {
            at: AT.into(),
            provider: "claude".into(),
            account: "a".into(),
            from: Some("near_limit".into()),
            state: "exhausted".into(),
            until: Some(LATER.into()),
            sentence: "claude/a is blocked".into(),
            ..Default::default()
        };
        assert_eq!(
            line("account", &account),
            "09:00:01 UTC  account    claude/a  exhausted (was near limit): claude/a is blocked, \
             until 2026-10-05 12:00:00 UTC\n"
        );
        let health = wire::HealthEvent {
            at: AT.into(),
            status: "degraded".into(),
            ready: true,
            reasons: vec!["polling".into(), "full".into()],
        };
        assert_eq!(
            line("health", &health),
            "09:00:01 UTC  health     degraded: polling; full\n"
        );
    }

    #[test]
    fn leases_and_recoveries_say_what_became_of_them() {
        let lease = wire::LeaseEvent {
            at: AT.into(),
            phase: "granted".into(),
            lease: wire::Lease {
                id: "1-2".into(),
                provider: "claude".into(),
                account: "a".into(),
                run: Some("r".into()),
                expires_at: Some(LATER.into()),
                probe: true,
                ..Default::default()
            },
            ..Default::default()
        };
        assert_eq!(
            line("lease", &lease),
            "09:00:01 UTC  lease      1-2  granted  claude/a  probe  run r, until 2026-10-05 12:00:00 UTC\n"
        );
        let ended = wire::LeaseEvent {
            phase: "run_ended".into(),
            ..lease
        };
        assert_eq!(
            line("lease", &ended),
            "09:00:01 UTC  lease      1-2  run ended  claude/a  probe  run r\n"
        );
        let notify = wire::NotifyEvent {
            at: AT.into(),
            target: "oncall".into(),
            phase: "sent".into(),
            event: Some("window.reset".into()),
            provider: Some("claude".into()),
            account: Some("a".into()),
            count: 1,
            ..Default::default()
        };
        assert_eq!(
            line("notify", &notify),
            "09:00:01 UTC  notify     oncall  sent  window.reset  claude/a\n"
        );
        let dropped = wire::NotifyEvent {
            phase: "dropped".into(),
            event: None,
            provider: None,
            count: 3,
            ..notify
        };
        assert_eq!(
            line("notify", &dropped),
            "09:00:01 UTC  notify     oncall  dropped  3 events\n"
        );
        let probe = wire::ProbeEvent {
            at: AT.into(),
            provider: "claude".into(),
            account: "a".into(),
            scope: "opus".into(),
            state: "ramp".into(),
            cap: Some(2),
            ..Default::default()
        };
        assert_eq!(
            line("probe", &probe),
            "09:00:01 UTC  probe      claude/a  opus  ramp  2 runs let in\n"
        );
    }

    #[test]
    fn what_is_not_understood_is_shown_as_it_is() {
        for (kind, data) in [("tomorrow", json!({"x": 1})), ("window", json!({"window": "x"}))] {
            assert_eq!(line(kind, &data), format!("{:12}  {kind:9}  {data}\n", ""));
        }
        assert_eq!(
            line("usage", &Value::Null),
            format!("{:12}  usage      null\n", "")
        );
    }
}
