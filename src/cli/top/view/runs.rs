//! The table of runs, with the totals of each since it began.

use ratatui::style::Style;

use super::TopScene;
use super::columns::{PlacedColumn, TopColumn, numbers, placed, words};
use super::header::title_style;
use super::pen::{Pen, columns};
use crate::cli::print::numbers::{bytes, compact_style, counted};
use crate::cli::print::{cost, text};
use crate::cli::top::flow::FLOW_MINUTES;
use crate::cli::top::listing;
use crate::cli::top::model::{TopRun, Weight};
use crate::cli::top::theme::TopTheme;
use crate::cli::top::ui::{TopPane, TopSort};

/// From this width on cache writes and reads are apart.
const CACHE_APART_FROM: u16 = 110;
/// Room for the title with the word of its order.
const NAME_LEAST: u16 = 11;
const NAME_MIN: u16 = 14;
const NAME_MAX: u16 = 36;
const ACCOUNT_MIN: u16 = 11;
const ACCOUNT_MAX: u16 = 24;
const MODEL_MAX: u16 = 24;
const LABELS: (u16, u16) = (8, 24);
/// A column of the sparkline is one minute.
const SPARK: (u16, u16) = (10, 30);
/// So few rows are all for runs.
const ROWS_WITHOUT_NOTE: usize = 3;
const MODEL_PREFIX: &str = "claude-";
/// Digits of a day at the end of a model's name.
const DAY_DIGITS: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunField {
    Name,
    State,
    Account,
    Model,
    Labels,
    Input,
    Output,
    Cache,
    CacheWrite,
    CacheRead,
    Total,
    Rate,
    Cost,
    Spark,
    Lag,
}

/// Draws the title and the rows.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let runs = listing::runs(scene.model, scene.ui);
    let columns = layout(&runs, pen.width(), scene.is_printed);
    for column in &columns {
        let title = title(scene, column);
        let style = title_style(scene, TopPane::Runs);
        if column.is_right {
            pen.put_right((column.x, 0), column.width, &title, style);
        } else {
            pen.put((column.x, 0), column.width, &title, style);
        }
    }
    if runs.is_empty() {
        let none = match listing::unnamed_count(scene.model) {
            _ if scene.ui.filter.is_empty() => "no run yet".to_owned(),
            0 => "no run contains the filter; Esc removes it".to_owned(),
            runs => {
                let runs = counted(runs as u64, "run");
                format!("no run contains the filter; Esc removes it; the model of {runs} is unknown")
            }
        };
        pen.put((1, 1), pen.width(), &none, TopTheme::dim());
        return;
    }
    let room = usize::from(pen.height().saturating_sub(1));
    let is_cut = runs.len() > room && room > ROWS_WITHOUT_NOTE;
    let shown = if is_cut { room - 1 } else { room };
    let chosen = scene.ui.selected_run.as_ref();
    let at = chosen.and_then(|id| runs.iter().position(|run| run.row.id == *id));
    let skipped = at.map_or(0, |at| (at + 1).saturating_sub(shown.max(1)));
    let mut y = 1;
    for (index, run) in runs.iter().enumerate().skip(skipped).take(shown) {
        if scene.is_focused(TopPane::Runs) && at.unwrap_or(0) == index {
            pen.put((0, y), 1, ">", scene.theme.title());
        }
        for column in &columns {
            draw_cell(pen, scene, run, column, y);
        }
        y += 1;
    }
    if is_cut {
        let (from, to, all) = (skipped + 1, skipped + shown, runs.len());
        let words = format!("… {from} to {to} of {all} runs");
        pen.put((1, y), pen.width(), &words, TopTheme::dim());
    }
}

/// The columns; a printed frame saw nothing come, so it has no rates.
fn layout(runs: &[&TopRun], width: u16, is_printed: bool) -> Vec<PlacedColumn<RunField>> {
    let widest = |of: &dyn Fn(&TopRun) -> String, least: u16, most: u16| {
        let widths = runs.iter().map(|run| columns(&of(run)));
        widths.max().unwrap_or(0).clamp(least, most)
    };
    let name = widest(&|run| text::name(&run.row.id), NAME_LEAST, NAME_MAX);
    let account = widest(&account_name, 9, ACCOUNT_MAX);
    let model = widest(&model_name, 8, MODEL_MAX);
    let mut all: Vec<TopColumn<RunField>> = vec![
        words(RunField::Name, "run", (name.min(NAME_MIN), name), 0),
        words(RunField::State, "state", (7, 7), 2),
        words(
            RunField::Account,
            "account",
            (account.min(ACCOUNT_MIN), account),
            7,
        ),
        words(RunField::Model, "model", (8, model), 6),
        numbers(RunField::Input, "in", 6, 8),
        numbers(RunField::Output, "out", 6, 5),
    ];
    if width >= CACHE_APART_FROM {
        all.push(numbers(RunField::CacheWrite, "c wrt", 6, 9));
        all.push(numbers(RunField::CacheRead, "c read", 6, 9));
    } else {
        all.push(numbers(RunField::Cache, "cache", 6, 9));
    }
    all.push(numbers(RunField::Total, "total", 7, 0));
    // A column that would be empty is none.
    let has_labels = runs.iter().any(|run| !run.row.labels.is_empty());
    let has_lag = runs.iter().any(|run| run.row.lag_bytes > 0);
    if !is_printed {
        all.push(numbers(RunField::Rate, "tok/m", 6, 4));
        all.push(words(RunField::Spark, "by minute", SPARK, 11));
    }
    all.push(numbers(RunField::Cost, "cost", 9, 10));
    if has_labels {
        all.push(words(RunField::Labels, "labels", LABELS, 12));
    }
    if has_lag {
        all.push(numbers(RunField::Lag, "lag", 8, 13));
    }
    placed(&all, width)
}

/// The title, with a mark if the rows are in its order.
fn title(scene: &TopScene<'_>, column: &PlacedColumn<RunField>) -> String {
    let sorted = match scene.ui.sort {
        // The time of the last activity has no column.
        TopSort::Active if column.field == RunField::Name && !scene.is_printed => {
            let mark = scene.theme.order(scene.ui.is_reversed);
            return format!("{} {mark}{}", column.title, scene.ui.sort.word());
        }
        TopSort::Active => None,
        TopSort::Total => Some(RunField::Total),
        TopSort::Input => Some(RunField::Input),
        TopSort::Output => Some(RunField::Output),
        TopSort::Cost => Some(RunField::Cost),
        TopSort::Name => Some(RunField::Name),
    };
    if sorted == Some(column.field) {
        format!("{}{}", scene.theme.order(scene.ui.is_reversed), column.title)
    } else {
        column.title.to_owned()
    }
}

fn draw_cell(pen: &mut Pen<'_>, scene: &TopScene<'_>, run: &TopRun, column: &PlacedColumn<RunField>, y: u16) {
    let (at, width) = ((column.x, y), column.width);
    let plain = Style::new();
    let totals = &run.row.totals.totals;
    let cache = totals
        .cache_creation_input_tokens
        .saturating_add(totals.cache_read_input_tokens);
    match column.field {
        RunField::Name => pen.put_name(at, width, &run.row.id, name_style(scene, run)),
        RunField::State => {
            let (word, style) = state(scene, run);
            pen.put(at, width, word, style);
        }
        RunField::Account => pen.put_name(at, width, &account_name(run), plain),
        RunField::Model => pen.put_name(at, width, &model_name(run), plain),
        RunField::Labels => pen.put_name(at, width, &labels(run), TopTheme::dim()),
        RunField::Input => pen.put_right(at, width, &compact_style(totals.input_tokens), plain),
        RunField::Output => pen.put_right(at, width, &compact_style(totals.output_tokens), plain),
        RunField::Cache => pen.put_right(at, width, &compact_style(cache), plain),
        RunField::CacheWrite => {
            pen.put_right(
                at,
                width,
                &compact_style(totals.cache_creation_input_tokens),
                plain,
            );
        }
        RunField::CacheRead => {
            pen.put_right(at, width, &compact_style(totals.cache_read_input_tokens), plain);
        }
        RunField::Total => {
            pen.put_right(at, width, &compact_style(totals.total_tokens), TopTheme::strong());
        }
        RunField::Rate => pen.put_right(at, width, &rate(scene, run), plain),
        RunField::Cost => pen.put_right(at, width, &cost::dollars(&run.row.cost), plain),
        RunField::Spark => {
            let minutes = run.flow.minutes(scene.now());
            let from = FLOW_MINUTES.saturating_sub(width.into());
            let spark = scene.theme.spark(&minutes[from..]);
            pen.put(at, width, &spark, scene.theme.title());
        }
        RunField::Lag => {
            let lag = match run.row.lag_bytes {
                0 => String::new(),
                lag => bytes(lag),
            };
            pen.put_right(at, width, &lag, scene.theme.weight(Weight::Warning));
        }
    }
}

/// Tokens of the last minute; `-` while nothing of the run was seen.
fn rate(scene: &TopScene<'_>, run: &TopRun) -> String {
    match run.flow.per_minute(scene.now()) {
        None | Some(0) => "-".to_owned(),
        Some(tokens) => compact_style(tokens),
    }
}

fn name_style(scene: &TopScene<'_>, run: &TopRun) -> Style {
    match run.row.state.as_str() {
        _ if run.row.problem.is_some() => scene.theme.weight(Weight::Bad),
        "stopped" | "gone" => TopTheme::dim(),
        _ => Style::new(),
    }
}

/// The state; `?` before the list of runs was read.
fn state<'r>(scene: &TopScene<'_>, run: &'r TopRun) -> (&'r str, Style) {
    match run.row.state.as_str() {
        "" => ("?", TopTheme::dim()),
        "live" => ("live", scene.theme.weight(Weight::Good)),
        word @ "failing" => (word, scene.theme.weight(Weight::Bad)),
        word @ ("stopped" | "gone") => (word, TopTheme::dim()),
        word => (word, Style::new()),
    }
}

fn account_name(run: &TopRun) -> String {
    match (run.row.provider.as_str(), run.row.account.as_str()) {
        ("", "") => "?".to_owned(),
        (provider, account) => text::name(&format!("{provider}/{account}")),
    }
}

/// The model without the word that most names begin with, and without the day at the end; `-` while there is none, `?`
/// if it is not known, as that of a run which was quiet for long.
fn model_name(run: &TopRun) -> String {
    let Some(name) = run.model.as_deref() else {
        let has_used_any = run.row.totals.totals.total_tokens > 0;
        return if has_used_any { "?" } else { "-" }.to_owned();
    };
    let name = name.strip_prefix(MODEL_PREFIX).unwrap_or(name);
    let is_day = |end: &str| end.len() == DAY_DIGITS && end.bytes().all(|letter| letter.is_ascii_digit());
    match name.rsplit_once('-') {
        Some((short, end)) if is_day(end) => text::name(short),
        _ => text::name(name),
    }
}

/// The values of the labels; the details have the names.
fn labels(run: &TopRun) -> String {
    let values: Vec<&str> = run.row.labels.values().map(String::as_str).collect();
    values.join(" ")
}
