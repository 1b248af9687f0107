//! Details of a run: its figures by model and session, its files, its events.

use ratatui::style::Style;

use super::TopScene;
use super::detail_line::DetailLine;
use crate::api::wire;
use crate::cli::print::numbers::{bytes, compact_style, counted};
use crate::cli::print::{cost, text};
use crate::cli::top::model::{Details, TopRun, Weight};
use crate::cli::top::theme::TopTheme;
use crate::cli::top::times;

/// Most sessions and files of a run that are listed.
const LISTED_MAX: usize = 10;
const COLUMNS: [&str; 6] = ["in", "out", "c write", "c read", "total", "cost"];

/// The lines of a run's details.
pub fn lines(scene: &TopScene<'_>, id: &str) -> Vec<DetailLine> {
    let model = scene.model;
    let Some(run) = model.runs.get(id) else {
        let words = format!("run {} is not known", text::name(id));
        return vec![DetailLine::Words(words, TopTheme::dim())];
    };
    let mut lines = Vec::new();
    summary(scene, run, &mut lines);
    lines.push(DetailLine::Rule("by model".to_owned()));
    match &model.details {
        Some(Details::Run {
            id: of,
            run,
            sessions,
            files,
        }) if of == id => known(run, sessions, files, &mut lines),
        _ => {
            let words = "waiting for the collector's answer".to_owned();
            lines.push(DetailLine::Words(words, TopTheme::dim()));
        }
    }
    lines.push(DetailLine::Rule("events".to_owned()));
    let own = model.news.iter().filter(|one| one.run.as_deref() == Some(id));
    lines.extend(own.cloned().map(DetailLine::Event));
    lines
}

/// What the list of runs says, and what is wrong.
fn summary(scene: &TopScene<'_>, run: &TopRun, lines: &mut Vec<DetailLine>) {
    let row = &run.row;
    let totals = &row.totals;
    let tokens = counted(totals.totals.total_tokens, "token");
    let account = format!("{}/{}", row.provider, row.account);
    let title = format!("run {}: {}, {tokens}, {account}", row.id, row.state);
    lines.push(DetailLine::Words(text::one_line(&title), TopTheme::strong()));
    let last = times::age_of(row.last_activity.as_deref(), scene.now());
    let (messages, files) = (counted(totals.messages, "message"), counted(row.files, "file"));
    let (read, waiting) = (bytes(row.bytes), bytes(row.lag_bytes));
    let words = format!("{messages}, {read} read in {files}, {waiting} waiting, last activity {last} ago");
    lines.push(DetailLine::Words(words, Style::new()));
    for (name, value) in &row.labels {
        let label = text::one_line(&format!("label {name}={value}"));
        lines.push(DetailLine::Words(label, Style::new()));
    }
    let mut bad = |words: String, weight: Weight| {
        lines.push(DetailLine::Words(
            text::one_line(&words),
            scene.theme.weight(weight),
        ));
    };
    if totals.malformed_lines > 0 {
        let count = counted(totals.malformed_lines, "malformed line");
        bad(format!("{count}, not counted"), Weight::Warning);
    }
    if let Some(problem) = &row.problem {
        bad(problem.clone(), Weight::Bad);
    }
    for notice in &row.notices {
        bad(notice.clone(), Weight::Warning);
    }
}

/// What was requested for the details.
fn known(
    run: &wire::RunDetail,
    sessions: &[wire::UsageRow],
    files: &wire::RunFiles,
    lines: &mut Vec<DetailLine>,
) {
    let more = |all: usize, lines: &mut Vec<DetailLine>| {
        if let more @ 1.. = all.saturating_sub(LISTED_MAX) {
            lines.push(DetailLine::Words(format!("… and {more} more"), TopTheme::dim()));
        }
    };
    let titles = COLUMNS.map(str::to_owned).into();
    lines.push(DetailLine::Row("model".to_owned(), titles, TopTheme::dim()));
    let mut models: Vec<_> = run.by_model.iter().collect();
    models.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.totals.total_tokens));
    for (name, sums) in models {
        lines.push(figures(name, &sums.totals, &sums.cost));
    }
    lines.push(DetailLine::Rule(counted(sessions.len() as u64, "session")));
    for session in sessions.iter().take(LISTED_MAX) {
        let name = session.key.clone().flatten();
        let name = name.unwrap_or_else(|| "(none)".to_owned());
        lines.push(figures(&name, &session.sums.totals, &session.sums.cost));
    }
    more(sessions.len(), lines);
    lines.push(DetailLine::Rule(format!(
        "{}, read so far",
        counted(files.total, "file")
    )));
    for file in files.files.iter().take(LISTED_MAX) {
        let read = vec![bytes(file.bytes_read)];
        lines.push(DetailLine::Row(text::name(&file.path), read, Style::new()));
    }
    more(usize::try_from(files.total).unwrap_or(usize::MAX), lines);
}

fn figures(name: &str, totals: &wire::Totals, cost: &wire::Cost) -> DetailLine {
    let numbers = [
        totals.input_tokens,
        totals.output_tokens,
        totals.cache_creation_input_tokens,
        totals.cache_read_input_tokens,
        totals.total_tokens,
    ];
    let mut figures: Vec<String> = numbers.into_iter().map(compact_style).collect();
    figures.push(cost::dollars(cost));
    DetailLine::Row(text::name(name), figures, Style::new())
}
