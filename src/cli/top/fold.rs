//! `fold`: a model and an event give the next model. Pure: no clock, no terminal, no socket.

use super::event::{TopAnswer, TopEvent};
use super::model::{Link, TopHealth, TopModel, TopRun, millis};
use super::news;
use super::scope::TopScope;
use crate::api::wire;
use crate::quota::window::STALE_AFTER_MS;

/// The model after an event. `scope` is what the command line lets pass.
#[must_use]
pub fn fold(mut model: TopModel, event: TopEvent, scope: &TopScope) -> TopModel {
    let is_first_health =
        matches!(&event, TopEvent::Health(event) if event.status == "ok") && model.health.is_none();
    if let Some(news) = news::of(&event, scope).filter(|_| !is_first_health) {
        model.note(news);
    }
    match event {
        TopEvent::Tick(now) => {
            model.now = now;
            turn_stale(&mut model);
        }
        TopEvent::Connected => model.link = Link::Live,
        TopEvent::Lost { why, retry_at } => model.link = Link::Lost { why, retry_at },
        // Sums of runs are in the list that is requested next.
        TopEvent::Snapshot(event) => {
            remember(&mut model, &event.snapshot.quota, scope);
            model.quota = Some(event.snapshot.quota);
            model.sequence = model.sequence.max(event.sequence);
        }
        TopEvent::Usage(usage) => count(&mut model, &usage, scope),
        TopEvent::Window(event) => replace_window(&mut model, event.window),
        TopEvent::Account(event) => judge(&mut model, event),
        TopEvent::Run(event) => run(&mut model, event, scope),
        TopEvent::Health(event) => {
            model.health = Some(TopHealth {
                status: event.status,
                ready: event.ready,
                reasons: event.reasons,
            });
        }
        // Their effects are in the documents that are requested after them.
        TopEvent::Threshold(_) | TopEvent::Lease(_) | TopEvent::Probe(_) => {}
        TopEvent::Answer(answer) => take(&mut model, *answer, scope),
    }
    model
}

/// Makes what nothing newer was observed of stale in time: the document that says so comes later.
fn turn_stale(model: &mut TopModel) {
    let Some(quota) = &mut model.quota else {
        return;
    };
    for window in quota.windows.iter_mut().filter(|window| window.state == "fresh") {
        let share_at = window.utilization.and(window.utilization_at.as_deref());
        let seen_at = millis(share_at.unwrap_or(&window.observed_at));
        if seen_at.is_some_and(|at| model.now - at >= STALE_AFTER_MS) {
            "stale".clone_into(&mut window.state);
        }
    }
}

/// Adds what fired before the start, once.
fn remember(model: &mut TopModel, quota: &wire::Quota, scope: &TopScope) {
    if !std::mem::replace(&mut model.has_history, true) {
        model.news.extend(news::history(quota, scope));
    }
}

fn named(id: String) -> TopRun {
    TopRun {
        row: wire::Run {
            id,
            ..wire::Run::default()
        },
        ..TopRun::default()
    }
}

/// Adds a commit of a run: an event has the totals after it, so an older one changes nothing.
fn count(model: &mut TopModel, event: &wire::UsageEvent, scope: &TopScope) {
    model.sequence = model.sequence.max(event.sequence);
    let at = millis(&event.at).unwrap_or(model.now);
    let Some(id) = &event.run else {
        if scope.is_everything() {
            model.flow.add(at, event.delta.total_tokens);
        }
        return;
    };
    if !scope.wants_run(id) || !scope.wants_account(&event.provider, &event.account) {
        return;
    }
    model.flow.add(at, event.delta.total_tokens);
    let run = model.runs.entry(id.clone()).or_insert_with(|| named(id.clone()));
    run.flow.add(at, event.delta.total_tokens);
    if run.sequence > event.sequence {
        return;
    }
    run.sequence = event.sequence;
    run.row.totals = event.totals;
    event.provider.clone_into(&mut run.row.provider);
    event.account.clone_into(&mut run.row.account);
    let most = event.models.iter().max_by_key(|(_, delta)| delta.total_tokens);
    if let Some((model, _)) = most {
        run.model = Some(model.clone());
    }
    if matches!(run.row.state.as_str(), "" | "idle" | "waiting") {
        "live".clone_into(&mut run.row.state);
    }
    if run.row.last_activity.as_deref() < Some(event.at.as_str()) && !event.models.is_empty() {
        run.row.last_activity = Some(event.at.clone());
    }
}

fn replace_window(model: &mut TopModel, window: wire::Window) {
    let Some(quota) = &mut model.quota else {
        return;
    };
    let key = |one: &wire::Window| (one.provider.clone(), one.account.clone(), one.window.clone());
    match quota.windows.binary_search_by_key(&key(&window), key) {
        Ok(at) => quota.windows[at] = window,
        Err(at) => quota.windows.insert(at, window),
    }
}

fn judge(model: &mut TopModel, event: wire::AccountEvent) {
    let Some(quota) = &mut model.quota else {
        return;
    };
    let is_it = |one: &&mut wire::Account| one.provider == event.provider && one.account == event.account;
    if let Some(account) = quota.accounts.iter_mut().find(is_it) {
        account.state = event.state;
        account.until = event.until;
        account.reason = event.reason;
        account.sentence = event.sentence;
    }
}

fn run(model: &mut TopModel, event: wire::RunEvent, scope: &TopScope) {
    model.sequence = model.sequence.max(event.sequence);
    if !scope.wants_run(&event.run) || !scope.wants_account(&event.provider, &event.account) {
        return;
    }
    let run = model
        .runs
        .entry(event.run.clone())
        .or_insert_with(|| named(event.run));
    if run.sequence > event.sequence {
        return;
    }
    run.sequence = event.sequence;
    run.row.totals = event.totals;
    run.row.labels = event.labels;
    run.row.provider = event.provider;
    run.row.account = event.account;
    run.is_forgotten = event.phase == "forgotten";
    let state = if event.phase == "stopped" {
        "stopped"
    } else {
        "live"
    };
    state.clone_into(&mut run.row.state);
    run.row.stop_reason = event.reason;
}

fn take(model: &mut TopModel, answer: TopAnswer, scope: &TopScope) {
    model.trouble = match &answer {
        TopAnswer::Failed(why) => Some(why.clone()),
        _ => None,
    };
    match answer {
        TopAnswer::Quota(quota) => {
            remember(model, &quota, scope);
            model.quota = Some(quota);
        }
        TopAnswer::Runs { rows, asked_at } => list(model, rows, asked_at, scope),
        TopAnswer::Models(usage) => name_models(model, &usage),
        TopAnswer::Sums(sums) => model.sums = Some(scope.only(sums)),
        TopAnswer::Routes(sums) => model.routes = Some(sums),
        TopAnswer::Hours(sums) => model.hours = Some(sums),
        TopAnswer::Details(details) => model.details = Some(details),
        TopAnswer::Failed(_) => {}
    }
}

/// Replaces the list of runs. A run that had an event since the request keeps the totals of that event.
fn list(model: &mut TopModel, rows: Vec<wire::Run>, asked_at: u64, scope: &TopScope) {
    let mut before = std::mem::take(&mut model.runs);
    for mut row in rows {
        if !scope.wants_run(&row.id) || !scope.wants_account(&row.provider, &row.account) {
            continue;
        }
        let mut run = before.remove(&row.id).unwrap_or_default();
        if run.sequence > asked_at {
            row.totals = run.row.totals;
            row.last_activity = row.last_activity.max(run.row.last_activity.take());
        } else {
            run.is_forgotten = false;
        }
        run.row = row;
        model.runs.insert(run.row.id.clone(), run);
    }
    // A run that began after the request is not in the answer.
    let newer = before.into_iter().filter(|(_, run)| run.sequence > asked_at);
    model.runs.extend(newer);
}

/// Names the model that a run used most, where no event named one.
fn name_models(model: &mut TopModel, usage: &wire::Usage) {
    let mut most: std::collections::BTreeMap<&str, (u64, &str)> = std::collections::BTreeMap::new();
    for row in &usage.rows {
        let key = |name: &str| row.keys.as_ref().and_then(|keys| keys.get(name)?.as_deref());
        let (Some(run), Some(model)) = (key("run"), key("model")) else {
            continue;
        };
        let tokens = row.sums.totals.total_tokens;
        let best = most.entry(run).or_insert((tokens, model));
        if tokens > best.0 {
            *best = (tokens, model);
        }
    }
    for (id, (_, name)) in most {
        if let Some(run) = model.runs.get_mut(id) {
            run.model.get_or_insert_with(|| name.to_owned());
        }
    }
}
