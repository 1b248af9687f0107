//! Details of a run or of an account, in place of the panes.

use ratatui::style::Style;

use super::TopScene;
use super::news;
use super::pen::Pen;
use super::windows::short_window;
use crate::api::wire;
use crate::cli::print::numbers::{bytes, compact_style, counted, grouped};
use crate::cli::print::{cost, text};
use crate::cli::top::listing::WindowKey;
use crate::cli::top::model::{Details, News, Weight, millis};
use crate::cli::top::theme::TopTheme;
use crate::cli::top::times;
use crate::cli::top::ui::Opened;

/// Rows of the chart of a window.
const CHART_ROWS: usize = 6;
/// Columns left of the chart.
const CHART_FROM: u16 = 6;
/// Most sessions of a run that are listed.
const SESSIONS_MAX: usize = 10;
const NUMBER: u16 = 8;
const COST: u16 = 11;

/// A line of the details.
enum Line {
    Words(String, Style),
    /// A name and its figures.
    Row(String, Vec<String>, Style),
    Rule(String),
    Event(News),
    Chart(String, String),
}

impl Line {
    /// The line, in several if its words need more columns.
    fn wrapped(self, width: u16) -> Vec<Self> {
        match self {
            Self::Words(words, style) => {
                let wrapped = text::wrapped(&words, Some(usize::from(width.saturating_sub(2))));
                let lines = wrapped.split('\n').map(|line| Self::Words(line.to_owned(), style));
                lines.collect()
            }
            other => vec![other],
        }
    }
}

/// Draws the details that are open, from the line scrolled to.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let width = pen.width();
    let lines = match &scene.ui.opened {
        Some(Opened::Run(id)) => run_lines(scene, id),
        Some(Opened::Account(key)) => account_lines(scene, key, width),
        None => Vec::new(),
    };
    let lines: Vec<Line> = lines.into_iter().flat_map(|line| line.wrapped(width)).collect();
    let height = usize::from(pen.height());
    let skipped = scene
        .ui
        .lines_skipped
        .min(lines.len().saturating_sub(height));
    for (y, line) in (0..pen.height()).zip(lines.iter().skip(skipped)) {
        match line {
            Line::Words(words, style) => {
                pen.put((1, y), width.saturating_sub(1), words, *style);
            }
            Line::Rule(title) => pen.rule(y, title, TopTheme::strong()),
            Line::Event(one) => news::draw_one(pen, scene, one, y),
            Line::Chart(axis, bars) => {
                pen.put_right((0, y), CHART_FROM - 1, axis, TopTheme::dim());
                pen.put((CHART_FROM, y), width, bars, scene.theme.title());
            }
            Line::Row(name, figures, style) => row(pen, y, name, figures, *style),
        }
    }
}

/// A name and figures, of which the first ones are left out where there is no room.
fn row(pen: &mut Pen<'_>, y: u16, name: &str, figures: &[String], style: Style) {
    let width = pen.width();
    let mut right = width;
    for (index, figure) in figures.iter().rev().enumerate() {
        let column = if index == 0 { COST } else { NUMBER };
        if right < column + 16 {
            break;
        }
        right -= column;
        pen.put_right((right, y), column, figure, style);
    }
    pen.put_name((1, y), right.saturating_sub(2), name, style);
}

fn run_lines(scene: &TopScene<'_>, id: &str) -> Vec<Line> {
    let model = scene.model;
    let mut lines = Vec::new();
    let Some(run) = model.runs.get(id) else {
        return vec![Line::Words(format!("run {} is not known", text::name(id)), TopTheme::dim())];
    };
    let row = &run.row;
    let totals = &row.totals;
    lines.push(Line::Words(
        format!(
            "run {}: {}, {}, {}/{}",
            text::name(id),
            row.state,
            counted(totals.totals.total_tokens, "token"),
            row.provider,
            row.account
        ),
        TopTheme::strong(),
    ));
    let now = scene.now();
    let last = times::age_of(row.last_activity.as_deref(), now);
    lines.push(Line::Words(
        format!(
            "{}, {} read in {}, {} waiting, last activity {last} ago",
            counted(totals.messages, "message"),
            bytes(row.bytes),
            counted(row.files, "file"),
            bytes(row.lag_bytes),
        ),
        Style::new(),
    ));
    for (name, value) in &row.labels {
        lines.push(Line::Words(format!("label {}={}", text::name(name), text::name(value)), Style::new()));
    }
    let bad = |words: String, weight: Weight| Line::Words(words, scene.theme.weight(weight));
    if totals.malformed_lines > 0 {
        let words = counted(totals.malformed_lines, "malformed line");
        lines.push(bad(format!("{words}, not counted"), Weight::Warning));
    }
    if let Some(problem) = &row.problem {
        lines.push(bad(text::one_line(problem), Weight::Bad));
    }
    for notice in &row.notices {
        lines.push(bad(text::one_line(notice), Weight::Warning));
    }
    let known = match &model.details {
        Some(Details::Run { id: of, run, sessions }) if of == id => Some((run, sessions)),
        _ => None,
    };
    lines.push(Line::Rule("by model".to_owned()));
    match known {
        None => lines.push(Line::Words("waiting for the collector's answer".to_owned(), TopTheme::dim())),
        Some((run, sessions)) => {
            lines.push(Line::Row(
                "model".to_owned(),
                ["in", "out", "c write", "c read", "total", "cost"].map(str::to_owned).into(),
                TopTheme::dim(),
            ));
            let mut models: Vec<_> = run.by_model.iter().collect();
            models.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.totals.total_tokens));
            for (name, sums) in models {
                lines.push(figures(name, &sums.totals, &sums.cost));
            }
            let count = counted(sessions.len() as u64, "session");
            lines.push(Line::Rule(count));
            for session in sessions.iter().take(SESSIONS_MAX) {
                let name = session.key.clone().flatten();
                let name = name.unwrap_or_else(|| "(none)".to_owned());
                lines.push(figures(&name, &session.sums.totals, &session.sums.cost));
            }
            let more = sessions.len().saturating_sub(SESSIONS_MAX);
            if more > 0 {
                lines.push(Line::Words(format!("… and {more} more"), TopTheme::dim()));
            }
        }
    }
    lines.push(Line::Rule("events".to_owned()));
    let own = model.news.iter().filter(|one| one.run.as_deref() == Some(id));
    lines.extend(own.cloned().map(Line::Event));
    lines
}

fn figures(name: &str, totals: &wire::Totals, cost: &wire::Cost) -> Line {
    let numbers = [
        totals.input_tokens,
        totals.output_tokens,
        totals.cache_creation_input_tokens,
        totals.cache_read_input_tokens,
        totals.total_tokens,
    ];
    let mut figures: Vec<String> = numbers.into_iter().map(compact_style).collect();
    figures.push(cost::dollars(cost));
    Line::Row(text::name(name), figures, Style::new())
}

fn account_lines(scene: &TopScene<'_>, key: &WindowKey, width: u16) -> Vec<Line> {
    let (provider, name, window) = key;
    let mut lines = Vec::new();
    let quota = scene.model.quota.as_ref();
    let is_it = |one: &&wire::Account| one.provider == *provider && one.account == *name;
    let account = quota.and_then(|quota| quota.accounts.iter().find(is_it));
    let title = text::name(&format!("{provider}/{name}"));
    let Some(account) = account else {
        lines.push(Line::Words(format!("{title}: not configured"), TopTheme::strong()));
        lines.extend(chart_lines(scene, key, width));
        return lines;
    };
    let weight = match account.state.as_str() {
        "available" => Weight::Good,
        "exhausted" => Weight::Bad,
        _ => Weight::Warning,
    };
    let style = scene.theme.weight(weight).patch(TopTheme::strong());
    lines.push(Line::Words(
        format!("{title}: {}", account.state.replace('_', " ")),
        style,
    ));
    lines.push(Line::Words(text::one_line(&account.sentence), Style::new()));
    for cause in &account.causes {
        let until = cause.until.as_deref().and_then(millis);
        let until = until.map_or_else(
            || "until taken back".to_owned(),
            |at| format!("until {}", times::day_and_time(at, scene.now(), scene.zone)),
        );
        let words = format!("{} ({}), {until}", text::one_line(&cause.reason), cause.kind);
        lines.push(Line::Words(words, scene.theme.weight(Weight::Bad)));
    }
    let of = |used: u64, all: Option<u64>, noun: &str| match all {
        Some(all) => format!("{} of {}", grouped(used), counted(all, noun)),
        None => counted(used, noun),
    };
    lines.push(Line::Words(
        format!(
            "{} in 5 h, {} today, {}",
            of(account.calls_5h, account.calls_quota, "call"),
            of(account.budget_used, account.budget, "token"),
            counted(account.leases, "lease")
        ),
        Style::new(),
    ));
    for recovery in &account.recoveries {
        let scope = if recovery.scope.is_empty() {
            String::new()
        } else {
            format!(" of {}", recovery.scope)
        };
        let words = format!("recovery{scope}: {}", recovery.state.replace('_', " "));
        lines.push(Line::Words(words, scene.theme.weight(Weight::Warning)));
    }
    if let Some(poll) = &account.poll {
        let last = times::age_of(poll.last_ok.as_deref(), scene.now());
        let mut words = format!("poll by {}: {}, last reading {last} ago", poll.via, poll.state);
        if let Some(error) = &poll.last_error {
            words = format!("{words}; {}", text::one_line(&error.detail));
        }
        lines.push(Line::Words(words, Style::new()));
    }
    if !window.is_empty() {
        lines.extend(chart_lines(scene, key, width));
    }
    lines.push(Line::Rule("events".to_owned()));
    let own = scene.model.news.iter().filter(|one| one.text.contains(&title));
    lines.extend(own.cloned().map(Line::Event));
    lines
}

/// The history of a window as a chart: the last hours of its length, a gap where nothing was observed.
fn chart_lines(scene: &TopScene<'_>, key: &WindowKey, width: u16) -> Vec<Line> {
    let (provider, name, window) = key;
    let hours = super::super::questions::history_hours(window);
    let mut lines = vec![Line::Rule(format!("{}, last {hours} h", short_window(window)))];
    let points = match &scene.model.details {
        Some(Details::Account {
            provider: of,
            account,
            window: its,
            points,
        }) if of == provider && account == name && its == window => points,
        _ => {
            lines.push(Line::Words("waiting for the collector's answer".to_owned(), TopTheme::dim()));
            return lines;
        }
    };
    let columns = usize::from(width.saturating_sub(CHART_FROM + 1)).max(1);
    let length = hours * crate::model::HOUR_MS;
    let from = scene.now() - length;
    let mut shares: Vec<Option<f64>> = vec![None; columns];
    for point in points {
        let Some(at) = millis(&point.at).filter(|at| *at >= from && *at <= scene.now()) else {
            continue;
        };
        let place = (at - from) * i64::try_from(columns - 1).unwrap_or(0) / length;
        let place = &mut shares[usize::try_from(place).unwrap_or(0).min(columns - 1)];
        *place = match (*place, point.utilization) {
            (Some(had), Some(has)) => Some(had.max(has)),
            (had, has) => had.or(has),
        };
    }
    if shares.iter().all(Option::is_none) {
        lines.push(Line::Words("nothing was observed in this time".to_owned(), TopTheme::dim()));
        return lines;
    }
    for row in (0..CHART_ROWS).rev() {
        let axis = match row {
            row if row + 1 == CHART_ROWS => "100%",
            0 => "0",
            _ => "",
        };
        let bars = scene.theme.chart_row(&shares, row, CHART_ROWS);
        lines.push(Line::Chart(axis.to_owned(), bars));
    }
    lines
}
