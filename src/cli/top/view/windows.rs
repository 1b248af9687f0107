//! The accounts: one row for each window, with its share, pace, reset, and the age and source of that.

use ratatui::style::Style;

use super::TopScene;
use super::columns::{PlacedColumn, TopColumn, numbers, placed, words};
use super::header::title_style;
use super::pen::{Pen, columns};
use crate::cli::print::numbers::percent;
use crate::cli::print::text;
use crate::cli::top::listing::{self, WindowRow};
use crate::cli::top::model::{Weight, millis};
use crate::cli::top::theme::{BAD_FROM, TopTheme, share_weight};
use crate::cli::top::times;
use crate::cli::top::ui::TopPane;
use crate::model::window_name::{FIVE_HOUR, SEVEN_DAY};

/// Widest name of an account and of a window.
const NAME_MAX: u16 = 28;
const WINDOW_MAX: u16 = 14;
const BAR: (u16, u16) = (10, 20);
/// Least width of a long name.
const NAME_MIN: u16 = 14;
/// Room for a time with its weekday.
const TIME_MAX: u16 = 9;
/// Room for a share with its marks.
const PERCENT: u16 = 6;
/// Room for a word where no bar is.
const WORD: u16 = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WindowField {
    Account,
    Window,
    Bar,
    Used,
    Pace,
    RunsOut,
    Resets,
    At,
    Age,
    Source,
}

/// What is known of the share of a window, in words and a bar.
pub struct UsedCell {
    /// A word in place of a bar.
    pub word: Option<&'static str>,
    pub share: Option<f64>,
    pub percent: String,
    pub style: Style,
}

/// Rows that all accounts need.
pub fn rows(scene: &TopScene<'_>) -> usize {
    listing::windows(scene.model, &scene.ui.scope).len()
}

/// Draws the title and the rows.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) {
    let mut rows = listing::windows(scene.model, &scene.ui.scope);
    let columns = layout(scene, &rows, pen.width());
    for column in &columns {
        let style = title_style(scene, TopPane::Accounts);
        if column.is_right {
            pen.put_right((column.x, 0), column.width, column.title, style);
        } else {
            pen.put((column.x, 0), column.width, column.title, style);
        }
    }
    if rows.is_empty() {
        let none = match &scene.model.quota {
            None => "waiting for the collector's answer",
            Some(_) if scene.ui.scope.is_everything() => {
                "no account yet: none is configured, and no limit was observed"
            }
            Some(_) => "no account of this name",
        };
        pen.put((1, 1), pen.width(), none, TopTheme::dim());
        return;
    }
    let room = usize::from(pen.height().saturating_sub(1));
    let is_cut = rows.len() > room && room > 1;
    let shown = if is_cut { room - 1 } else { room };
    if rows.len() > room && !scene.is_focused(TopPane::Accounts) {
        // What a person moves through keeps its order; what stands still shows trouble first.
        rows.sort_by_key(WindowRow::trouble_rank);
    }
    let chosen = (scene.ui.selected_window.as_ref()).filter(|_| scene.is_focused(TopPane::Accounts));
    let at = chosen.and_then(|key| rows.iter().position(|row| row.key() == *key));
    let skipped = at.map_or(0, |at| (at + 1).saturating_sub(shown.max(1)));
    let mut y = 1;
    for (index, row) in rows.iter().enumerate().skip(skipped).take(shown) {
        let is_selected = scene.is_focused(TopPane::Accounts) && at.unwrap_or(0) == index;
        if is_selected {
            pen.put((0, y), 1, ">", scene.theme.title());
        }
        draw_row(pen, scene, row, &columns, y);
        y += 1;
    }
    if is_cut {
        let more = rows.len() - shown;
        pen.put((1, y), pen.width(), &format!("… {more} more"), TopTheme::dim());
    }
}

fn layout(scene: &TopScene<'_>, rows: &[WindowRow<'_>], width: u16) -> Vec<PlacedColumn<WindowField>> {
    let widest = |of: &dyn Fn(&WindowRow<'_>) -> String, least: u16, most: u16| {
        let widths = rows.iter().map(|row| columns(&of(row)));
        widths.max().unwrap_or(0).clamp(least, most)
    };
    let name = widest(&|row| account_name(row), 7, NAME_MAX);
    let window = widest(&|row| text::name(&window_label(row)), 6, WINDOW_MAX);
    let at = widest(&|row| reset(scene, row).1, 5, TIME_MAX);
    let out = widest(&|row| runs_out(scene, row).0, 8, TIME_MAX);
    let columns_with = |used: u16| -> [TopColumn<WindowField>; 10] {
        [
            words(WindowField::Account, "account", (name.min(NAME_MIN), name), 0),
            words(WindowField::Window, "window", (window.min(6), window), 0),
            words(WindowField::Bar, "used", BAR, 4),
            numbers(WindowField::Used, "", used, 0),
            words(WindowField::Pace, "pace", (10, 10), 7),
            words(WindowField::Resets, "resets", (6, 6), 2),
            words(WindowField::At, "at", (at, at), 3),
            words(WindowField::RunsOut, "runs out", (out, out), 10),
            numbers(WindowField::Age, "age", 4, 8),
            words(WindowField::Source, "src", (4, 4), 9),
        ]
    };
    let with_bar = placed(&columns_with(PERCENT), width);
    if with_bar.iter().any(|column| column.field == WindowField::Bar) {
        return with_bar;
    }
    let without = columns_with(WORD);
    let without: Vec<_> = (without.into_iter())
        .filter(|column| column.field != WindowField::Bar)
        .collect();
    placed(&without, width)
}

fn draw_row(
    pen: &mut Pen<'_>,
    scene: &TopScene<'_>,
    row: &WindowRow<'_>,
    columns: &[PlacedColumn<WindowField>],
    y: u16,
) {
    let used = used_cell(scene, row);
    let has_bar = columns.iter().any(|column| column.field == WindowField::Bar);
    let age_style = if is_stale(row) {
        TopTheme::dim()
    } else {
        Style::new()
    };
    for column in columns {
        let (at, width) = ((column.x, y), column.width);
        match column.field {
            WindowField::Account => pen.put_name(at, width, &account_name(row), Style::new()),
            WindowField::Window => pen.put_name(at, width, &window_label(row), Style::new()),
            WindowField::Bar => draw_bar(pen, &used, at, width),
            WindowField::Used => {
                let words = match used.word {
                    Some(word) if !has_bar => word,
                    _ => &used.percent,
                };
                pen.put_right(at, width, words, used.style);
            }
            WindowField::Pace => {
                let (words, style) = pace(scene, row);
                pen.put(at, width, &words, style);
            }
            WindowField::Resets => {
                let (length, _) = reset(scene, row);
                pen.put(at, width, &length, Style::new());
            }
            WindowField::At => {
                let (_, time) = reset(scene, row);
                pen.put(at, width, &time, Style::new());
            }
            WindowField::RunsOut => {
                let (words, style) = runs_out(scene, row);
                pen.put(at, width, &words, style);
            }
            WindowField::Age => pen.put_right(at, width, &age(scene, row), age_style),
            WindowField::Source => {
                pen.put(at, width, source(scene, row), TopTheme::dim());
            }
        }
    }
}

fn draw_bar(pen: &mut Pen<'_>, used: &UsedCell, at: (u16, u16), width: u16) {
    match (used.word, used.share) {
        (Some(word), _) => {
            pen.put(at, width, word, used.style);
        }
        (None, Some(share)) => {
            let bar = pen.theme.bar(share, width.into());
            let style = used.style;
            // The pen would replace the blocks in ASCII: the bar has its signs already.
            pen.put(at, width, &bar, style);
        }
        (None, None) => {}
    }
}

/// The share of a row. An unknown, ended or refused window has a word, never a number that looks like a share.
pub fn used_cell(scene: &TopScene<'_>, row: &WindowRow<'_>) -> UsedCell {
    let theme = scene.theme;
    let word = |word: &'static str, style: Style| UsedCell {
        word: Some(word),
        share: None,
        percent: "?".to_owned(),
        style,
    };
    let window = match row {
        WindowRow::Window(window) => window,
        WindowRow::Blocked(..) => {
            return UsedCell {
                percent: String::new(),
                ..word("BLOCKED", theme.alarm())
            };
        }
        WindowRow::Unobserved(_) => return word("unknown", TopTheme::dim()),
    };
    let percent = |share: f64| percent(share, 0) + "%";
    let is_exhausted = window.exhausted_until.is_some();
    match (window.state.as_str(), window.utilization) {
        _ if window.refused => word("REFUSED", theme.alarm()),
        ("expired", _) => word("expired", TopTheme::dim()),
        (_, Some(share)) if is_exhausted => UsedCell {
            percent: percent(share) + "!",
            ..word("EXHAUSTED", theme.alarm())
        },
        (_, None) if is_exhausted => word("EXHAUSTED", theme.alarm()),
        (_, None) => word("unknown", TopTheme::dim()),
        (state, Some(share)) => {
            let is_stale = state == "stale";
            let mark = match (share >= BAD_FROM, is_stale) {
                (true, true) => "!~",
                (false, true) => "~",
                (true, false) => "!",
                (false, false) => "",
            };
            let style = theme.weight(share_weight(share));
            UsedCell {
                word: None,
                share: Some(share),
                percent: percent(share) + mark,
                style: if is_stale {
                    style.patch(TopTheme::dim())
                } else {
                    style
                },
            }
        }
    }
}

fn is_stale(row: &WindowRow<'_>) -> bool {
    matches!(row, WindowRow::Window(window) if window.state != "fresh")
}

fn account_name(row: &WindowRow<'_>) -> String {
    let (provider, account) = row.account();
    text::name(&format!("{provider}/{account}"))
}

/// The window in few letters; an unknown name is unchanged.
pub fn window_label(row: &WindowRow<'_>) -> String {
    match row {
        WindowRow::Window(window) => short_window(&window.window),
        WindowRow::Blocked(_, cause) => match cause.code.as_str() {
            "manual" => "mark".to_owned(),
            "throttled" => "pause".to_owned(),
            code if code.starts_with("budget") => "budget".to_owned(),
            code => code.replace('_', " "),
        },
        WindowRow::Unobserved(_) => "-".to_owned(),
    }
}

/// The name of a window in few letters.
pub fn short_window(name: &str) -> String {
    match name.strip_prefix(SEVEN_DAY) {
        _ if name == FIVE_HOUR => "5h".to_owned(),
        Some("") => "wk".to_owned(),
        Some(rest) => format!("wk{}", rest.replace('_', " ")),
        None => name.replace('_', " "),
    }
}

fn pace(scene: &TopScene<'_>, row: &WindowRow<'_>) -> (String, Style) {
    let WindowRow::Window(window) = row else {
        return ("-".to_owned(), Style::new());
    };
    let is_over = window.exhausted_until.is_some() || window.refused || window.state == "expired";
    match (window.pace.zone.as_str(), window.pace.delta) {
        _ if is_over => ("-".to_owned(), Style::new()),
        ("hot", Some(delta)) => (
            format!("hot {:+.0}%", delta * 100.0),
            scene.theme.weight(Weight::Warning),
        ),
        // What runs out before its reset is not on track, however small the lead.
        ("on_track", Some(delta)) if window.projected_exhaustion_at.is_some() => (
            format!("ahead {:+.0}%", delta * 100.0),
            scene.theme.weight(Weight::Warning),
        ),
        ("chill", Some(delta)) => (format!("chill {:+.0}%", delta * 100.0), Style::new()),
        ("on_track", _) => ("on track".to_owned(), Style::new()),
        _ => ("-".to_owned(), Style::new()),
    }
}

fn runs_out(scene: &TopScene<'_>, row: &WindowRow<'_>) -> (String, Style) {
    let WindowRow::Window(window) = row else {
        return ("-".to_owned(), Style::new());
    };
    let is_over = window.exhausted_until.is_some() || window.refused || window.state == "expired";
    let at = window.projected_exhaustion_at.as_deref().and_then(millis);
    match at {
        _ if is_over => ("-".to_owned(), Style::new()),
        Some(at) => (
            times::short(at, scene.now(), scene.zone),
            scene.theme.weight(Weight::Warning),
        ),
        None if window.pace.delta.is_some() => ("lasts".to_owned(), Style::new()),
        None => ("?".to_owned(), Style::new()),
    }
}

/// The time until the reset, or until the end of what blocks, and that time.
fn reset(scene: &TopScene<'_>, row: &WindowRow<'_>) -> (String, String) {
    let now = scene.now();
    let at = match row {
        WindowRow::Window(window) => window.reset_at.as_deref().or(window.exhausted_until.as_deref()),
        WindowRow::Blocked(_, cause) => cause.until.as_deref(),
        WindowRow::Unobserved(_) => None,
    };
    match at.and_then(millis) {
        None => ("?".to_owned(), String::new()),
        Some(at) if at <= now => ("passed".to_owned(), times::short(at, now, scene.zone)),
        Some(at) => (times::span(at - now), times::short(at, now, scene.zone)),
    }
}

fn age(scene: &TopScene<'_>, row: &WindowRow<'_>) -> String {
    match (row, &scene.model.quota) {
        (WindowRow::Window(window), Some(quota)) => times::age_of(Some(quota.seen(window).0), scene.now()),
        _ => "-".to_owned(),
    }
}

/// The source in few letters; the help explains them.
fn source(scene: &TopScene<'_>, row: &WindowRow<'_>) -> &'static str {
    match row {
        WindowRow::Window(window) => {
            let seen = scene.model.quota.as_ref().map(|quota| quota.seen(window));
            seen.map_or("?", |(_, source)| short_source(source))
        }
        WindowRow::Blocked(_, cause) => match cause.kind.as_str() {
            "manual" => "mark",
            "predicted" => "own",
            _ => "lim",
        },
        WindowRow::Unobserved(_) => "-",
    }
}

/// The letters of each source, and its meaning, for the help.
pub const SOURCES: [(&str, &str, &[&str]); 10] = [
    ("ev", "rate-limit event of the agent", &["rate_limit_event"]),
    ("log", "line of a transcript", &["rate_limits", "codex"]),
    ("lim", "refusal in a transcript", &["quota_limits", "api_error"]),
    ("text", "sentence of the agent on a limit", &["prose"]),
    ("hdr", "headers of an answer", &["headers"]),
    ("line", "status line of the agent", &["statusline"]),
    (
        "api",
        "usage endpoint of the provider",
        &["usage_api", "wham_usage"],
    ),
    ("file", "file of the agent with such an answer", &["agent_cache"]),
    ("mark", "mark of an operator", &[]),
    ("own", "the account's own budget", &[]),
];

fn short_source(name: &str) -> &'static str {
    let found = SOURCES.iter().find(|(_, _, names)| names.contains(&name));
    found.map_or("?", |(letters, ..)| letters)
}
