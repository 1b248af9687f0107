//! Events in words, for the list of events. Each usage is no news: the figures show it.

use std::fmt::Write as _;

use super::event::TopEvent;
use super::model::{News, Weight, millis};
use super::scope::TopScope;
use crate::api::wire;
use crate::cli::print::numbers::counted;
use crate::cli::print::text;

/// Thresholds, and refusals, of the time before the start.
const HISTORY_MAX: usize = 10;
/// The part of a sentence from which on it has a length of time, to the end.
const FREE_AGAIN: &str = ", free again in ";
const REFUSED: &str = "refused by the provider";

/// An event in words; `None` if it is no news, or out of scope.
#[must_use]
pub fn of(event: &TopEvent, scope: &TopScope) -> Option<News> {
    match event {
        TopEvent::Snapshot(event) => gap(event.reason.as_deref()?, &event.snapshot.now),
        TopEvent::Usage(event) => malformed(event, scope),
        TopEvent::Window(event) => {
            let of = &event.window;
            (scope.wants_account(&of.provider, &of.account))
                .then(|| window(event))
                .flatten()
        }
        TopEvent::Threshold(event) => {
            let of = &event.threshold;
            (scope.wants_account(&of.provider, &of.account)).then(|| threshold(of))
        }
        TopEvent::Account(event) => {
            (scope.wants_account(&event.provider, &event.account)).then(|| account(event))
        }
        TopEvent::Run(event) => {
            let is_wanted =
                scope.wants_run(&event.run) && scope.wants_account(&event.provider, &event.account);
            is_wanted.then(|| run(event))
        }
        TopEvent::Lease(event) => {
            let of = &event.lease;
            (scope.wants_account(&of.provider, &of.account)).then(|| lease(event))
        }
        TopEvent::Probe(event) => {
            (scope.wants_account(&event.provider, &event.account)).then(|| probe(event))
        }
        TopEvent::Health(event) => Some(health(event)),
        TopEvent::Tick(_) | TopEvent::Connected | TopEvent::Lost { .. } | TopEvent::Answer(_) => None,
    }
}

fn said(at: &str, kind: &'static str, weight: Weight, text: String) -> News {
    News {
        at: millis(at).unwrap_or_default(),
        kind,
        run: None,
        text,
        weight,
        until: None,
        is_before: false,
    }
}

/// What fired before the start as far as a quota document has it: refusals and thresholds, the latest first.
#[must_use]
pub fn history(quota: &wire::Quota, scope: &TopScope) -> Vec<News> {
    let thresholds = (quota.thresholds_fired.iter().rev())
        .filter(|of| scope.wants_account(&of.provider, &of.account))
        .map(threshold)
        .take(HISTORY_MAX);
    let refusals = (quota.limit_events.iter().rev())
        .filter(|of| scope.wants_account(&of.provider, &of.account))
        .map(refusal)
        .take(HISTORY_MAX);
    let mut news: Vec<News> = thresholds.chain(refusals).collect();
    news.sort_by_key(|one| std::cmp::Reverse(one.at));
    for one in &mut news {
        one.is_before = true;
    }
    news
}

fn refusal(event: &wire::LimitEvent) -> News {
    let name = window_name(&event.provider, &event.account, &event.window);
    said(&event.at, "window", Weight::Bad, format!("{name}  {REFUSED}"))
}

fn gap(reason: &str, now: &str) -> Option<News> {
    let why = match reason {
        "restarted" => "the collector was restarted; all numbers are read again",
        "too_slow" | "too_old" => "events were missed; all numbers are read again",
        _ => return None,
    };
    Some(said(now, "gap", Weight::Warning, why.to_owned()))
}

fn malformed(event: &wire::UsageEvent, scope: &TopScope) -> Option<News> {
    let id = event.run.as_deref()?;
    if event.malformed_lines_read == 0
        || !scope.wants_run(id)
        || !scope.wants_account(&event.provider, &event.account)
    {
        return None;
    }
    let lines = counted(event.malformed_lines_read, "malformed line");
    let text = format!("{}  {lines}, not counted", text::name(id));
    Some(News {
        run: Some(id.to_owned()),
        ..said(&event.at, "usage", Weight::Warning, text)
    })
}

fn window(event: &wire::WindowEvent) -> Option<News> {
    let window = &event.window;
    let name = window_name(&window.provider, &window.account, &window.window);
    let (weight, words) = if window.refused {
        (Weight::Bad, REFUSED)
    } else if window.exhausted_until.is_some() {
        (Weight::Bad, "exhausted")
    } else if window.state == "expired" {
        (Weight::Plain, "its reset has passed, awaiting news")
    } else if event.rolled_over {
        (Weight::Good, "a new window has begun")
    } else {
        return None;
    };
    Some(said(&event.at, "window", weight, format!("{name}  {words}")))
}

fn threshold(fired: &wire::ThresholdFired) -> News {
    let name = window_name(&fired.provider, &fired.account, &fired.window);
    let weight = if fired.threshold >= 90 {
        Weight::Bad
    } else {
        Weight::Warning
    };
    said(
        &fired.at,
        "threshold",
        weight,
        format!("{name}  {} % reached", fired.threshold),
    )
}

fn account(event: &wire::AccountEvent) -> News {
    let weight = match event.state.as_str() {
        "available" => Weight::Good,
        "exhausted" => Weight::Bad,
        _ => Weight::Warning,
    };
    let until = event.until.as_deref().and_then(millis);
    let mut words = event.sentence.as_str();
    if until.is_some() {
        words = words.split_once(FREE_AGAIN).map_or(words, |(words, _)| words);
    }
    News {
        until,
        ..said(&event.at, "account", weight, text::one_line(words))
    }
}

fn run(event: &wire::RunEvent) -> News {
    let mut words = format!("{}  {}", text::name(&event.run), text::name(&event.phase));
    if let Some(reason) = &event.reason {
        let _ = write!(words, " ({})", text::name(reason));
    }
    let _ = write!(words, "  {}", account_name(&event.provider, &event.account));
    News {
        run: Some(event.run.clone()),
        ..said(&event.at, "run", Weight::Plain, words)
    }
}

fn lease(event: &wire::LeaseEvent) -> News {
    let lease = &event.lease;
    let mut words = format!(
        "{}  {}  {}",
        text::name(&lease.id),
        text::name(&event.phase.replace('_', " ")),
        account_name(&lease.provider, &lease.account)
    );
    if let Some(run) = &lease.run {
        let _ = write!(words, "  run {}", text::name(run));
    }
    News {
        run: lease.run.clone(),
        ..said(&event.at, "lease", Weight::Plain, words)
    }
}

fn probe(event: &wire::ProbeEvent) -> News {
    let mut words = account_name(&event.provider, &event.account);
    if !event.scope.is_empty() {
        let _ = write!(words, " {}", text::name(&event.scope));
    }
    let _ = write!(words, "  recovery {}", text::name(&event.state.replace('_', " ")));
    said(&event.at, "probe", Weight::Plain, words)
}

fn health(event: &wire::HealthEvent) -> News {
    let (weight, mut words) = match event.status.as_str() {
        "ok" => (Weight::Good, "healthy".to_owned()),
        "degraded" => (Weight::Warning, "degraded".to_owned()),
        other => (Weight::Bad, text::name(other)),
    };
    if !event.reasons.is_empty() {
        let _ = write!(words, ": {}", text::one_line(&event.reasons.join("; ")));
    }
    said(&event.at, "health", weight, words)
}

fn account_name(provider: &str, account: &str) -> String {
    text::name(&format!("{provider}/{account}"))
}

fn window_name(provider: &str, account: &str, window: &str) -> String {
    format!("{} {}", account_name(provider, account), text::name(window))
}
