//! Details of an account: its causes, its figures, and the history of a window.

use ratatui::style::Style;

use super::TopScene;
use super::detail_line::{CHART_FROM, DetailLine};
use super::windows::short_window;
use crate::api::wire;
use crate::cli::print::numbers::{counted, grouped};
use crate::cli::print::text;
use crate::cli::top::model::{Details, Weight, WindowKey, millis};
use crate::cli::top::questions::history_hours;
use crate::cli::top::theme::TopTheme;
use crate::cli::top::times;
use crate::model::{HOUR_MS, Millis};

/// Rows of the chart of a window.
const CHART_ROWS: usize = 6;

/// The lines of an account's details.
pub fn lines(scene: &TopScene<'_>, key: &WindowKey, width: u16) -> Vec<DetailLine> {
    let (provider, name, window) = key;
    let mut lines = Vec::new();
    let quota = scene.model.quota.as_ref();
    let is_it = |one: &&wire::Account| one.provider == *provider && one.account == *name;
    let title = text::name(&format!("{provider}/{name}"));
    match quota.and_then(|quota| quota.accounts.iter().find(is_it)) {
        Some(account) => {
            verdict(scene, account, &title, &mut lines);
            rest(scene, account, &mut lines);
        }
        None => lines.push(DetailLine::Words(
            format!("{title}: not configured"),
            TopTheme::strong(),
        )),
    }
    if !window.is_empty() {
        chart(scene, key, width, &mut lines);
    }
    lines.push(DetailLine::Rule("events".to_owned()));
    let own = scene.model.news.iter().filter(|one| one.text.contains(&title));
    lines.extend(own.cloned().map(DetailLine::Event));
    lines
}

/// The state and its causes.
fn verdict(scene: &TopScene<'_>, account: &wire::Account, title: &str, lines: &mut Vec<DetailLine>) {
    let weight = match account.state.as_str() {
        "available" => Weight::Good,
        "exhausted" => Weight::Bad,
        _ => Weight::Warning,
    };
    let style = scene.theme.weight(weight).patch(TopTheme::strong());
    let state = text::name(&account.state.replace('_', " "));
    lines.push(DetailLine::Words(format!("{title}: {state}"), style));
    lines.push(DetailLine::Words(text::one_line(&account.sentence), Style::new()));
    for cause in &account.causes {
        let until = cause.until.as_deref().and_then(millis);
        let until = until.map_or_else(
            || "until taken back".to_owned(),
            |at| format!("until {}", times::day_and_time(at, scene.now(), scene.zone)),
        );
        let words = text::one_line(&format!("{} ({}), {until}", cause.reason, cause.kind));
        lines.push(DetailLine::Words(words, scene.theme.weight(Weight::Bad)));
    }
}

/// Calls, budget, leases, recoveries and the poll.
fn rest(scene: &TopScene<'_>, account: &wire::Account, lines: &mut Vec<DetailLine>) {
    let of = |used: u64, all: Option<u64>, noun: &str| match all {
        Some(all) => format!("{} of {}", grouped(used), counted(all, noun)),
        None => counted(used, noun),
    };
    let calls = of(account.calls_5h, account.calls_quota, "call");
    let budget = of(account.budget_used, account.budget, "token");
    let leases = counted(account.leases, "lease");
    let words = format!("{calls} in 5 h, {budget} today, {leases}");
    lines.push(DetailLine::Words(words, Style::new()));
    for recovery in &account.recoveries {
        let scope = match recovery.scope.as_str() {
            "" => String::new(),
            scope => format!(" of {scope}"),
        };
        let words = format!("recovery{scope}: {}", recovery.state.replace('_', " "));
        let style = scene.theme.weight(Weight::Warning);
        lines.push(DetailLine::Words(text::one_line(&words), style));
    }
    if let Some(poll) = &account.poll {
        let last = times::age_of(poll.last_ok.as_deref(), scene.now());
        let mut words = format!("poll by {}: {}, last reading {last} ago", poll.via, poll.state);
        if let Some(error) = &poll.last_error {
            words = format!("{words}; {}", error.detail);
        }
        lines.push(DetailLine::Words(text::one_line(&words), Style::new()));
    }
}

/// The history of a window as a chart: the last hours of its length, a gap where nothing was observed.
fn chart(scene: &TopScene<'_>, key: &WindowKey, width: u16, lines: &mut Vec<DetailLine>) {
    let (provider, name, window) = key;
    let hours = history_hours(window);
    let title = format!("{}, last {}", short_window(window), times::span(hours * HOUR_MS));
    lines.push(DetailLine::Rule(title));
    let points = match &scene.model.details {
        Some(Details::Account {
            provider: of,
            account,
            window: its,
            points,
        }) if of == provider && account == name && its == window => points,
        _ => {
            let words = "waiting for the collector's answer".to_owned();
            lines.push(DetailLine::Words(words, TopTheme::dim()));
            return;
        }
    };
    let columns = usize::from(width.saturating_sub(CHART_FROM + 1)).max(1);
    let from = scene.now() - hours * HOUR_MS;
    let (shares, refusals) = by_column(points, columns, (from, scene.now()));
    if points.is_empty() {
        let words = "nothing was observed in this time".to_owned();
        lines.push(DetailLine::Words(words, TopTheme::dim()));
        return;
    }
    for row in (0..CHART_ROWS).rev() {
        let axis = match row {
            0 => "0",
            row if row + 1 == CHART_ROWS => "100%",
            _ => "",
        };
        let bars = scene.theme.chart_row(&shares, row, CHART_ROWS);
        lines.push(DetailLine::Chart(axis.to_owned(), bars));
    }
    if refusals.contains('!') {
        lines.push(DetailLine::Chart("refu".to_owned(), refusals));
    }
    let begin = times::day_and_time(from, scene.now(), scene.zone);
    let gap = columns.saturating_sub(begin.len() + 3);
    lines.push(DetailLine::Chart(
        String::new(),
        format!("{begin}{}now", " ".repeat(gap)),
    ));
}

/// The largest share in each column, and a mark where the provider refused.
fn by_column(
    points: &[wire::HistoryPoint],
    columns: usize,
    (from, to): (Millis, Millis),
) -> (Vec<Option<f64>>, String) {
    let mut shares: Vec<Option<f64>> = vec![None; columns];
    let mut refused = vec![false; columns];
    let last = Millis::try_from(columns - 1).unwrap_or(Millis::MAX);
    for point in points {
        let Some(at) = millis(&point.at).filter(|at| (from..=to).contains(at)) else {
            continue;
        };
        let place = (at - from).saturating_mul(last) / (to - from).max(1);
        let place = usize::try_from(place).unwrap_or(0).min(columns - 1);
        let share = point.max.or(point.utilization);
        shares[place] = match (shares[place], share) {
            (Some(had), Some(has)) => Some(had.max(has)),
            (had, has) => had.or(has),
        };
        refused[place] |= point.refused;
    }
    let marks = refused
        .iter()
        .map(|is_refused| if *is_refused { '!' } else { ' ' });
    (shares, marks.collect())
}
