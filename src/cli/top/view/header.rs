//! The first line, with the verdict, and the last one, with the keys.

use ratatui::style::Style;

use super::TopScene;
use super::pen::{Pen, columns};
use crate::api::wire::{Candidate, MayStart, Window};
use crate::cli::print::numbers::percent;
use crate::cli::print::text;
use crate::cli::top::model::{Link, Weight, millis};
use crate::cli::top::theme::TopTheme;
use crate::cli::top::times;
use crate::cli::top::ui::TopPane;

/// From this width on the line begins with the name of the program.
const NAME_FROM: u16 = 70;
/// From this width on the time names its zone.
const ZONE_FROM: u16 = 100;
/// From this width on a good state and the time are named.
const STATE_FROM: u16 = 60;
/// From this height on a problem has a line of its own.
const REASON_FROM: u16 = 12;

type Part = (String, Style);

/// Draws the first line, and the reason if the collector is not well; returns the rows used.
pub fn draw(pen: &mut Pen<'_>, scene: &TopScene<'_>) -> u16 {
    let right = right_parts(pen, scene);
    let width = pen.width();
    let taken: u16 = right.iter().map(|(words, _)| columns(words)).sum();
    let verdict = verdict(scene);
    let mut left: Vec<Part> = Vec::new();
    if width >= NAME_FROM {
        left.push(("tokentail  ".to_owned(), TopTheme::strong()));
    }
    left.extend(verdict);
    // The verdict is more important than the state of the connection, except if that is lost.
    let room = width.saturating_sub(taken + 1);
    let mut part = pen.part(ratatui::layout::Rect {
        width: room,
        height: 1,
        ..pen.area
    });
    part.run((0, 0), &left);
    pen.run((width.saturating_sub(taken), 0), &right);
    let Some(reason) = reason(scene) else {
        return 1;
    };
    if pen.height() < REASON_FROM {
        return 1;
    }
    pen.put((1, 1), width.saturating_sub(1), &reason.0, reason.1);
    2
}

/// The answer to whether a run may start.
pub fn verdict(scene: &TopScene<'_>) -> Vec<Part> {
    let theme = scene.theme;
    let Some(quota) = &scene.model.quota else {
        return vec![
            ("may start: ".to_owned(), Style::new()),
            ("?".to_owned(), TopTheme::strong()),
        ];
    };
    let answer = &quota.may_start;
    let (word, weight) = match answer.decision.as_str() {
        "allow" => ("yes".to_owned(), Weight::Good),
        "wait" => ("wait".to_owned(), Weight::Bad),
        "deny" => ("no".to_owned(), Weight::Bad),
        "unknown" => ("unknown".to_owned(), Weight::Warning),
        other => (other.to_owned(), Weight::Warning),
    };
    let style = theme.weight(weight).patch(TopTheme::strong());
    vec![
        ("may start: ".to_owned(), Style::new()),
        (word, style),
        (rest_of_answer(scene, answer), Style::new()),
    ]
}

fn rest_of_answer(scene: &TopScene<'_>, answer: &MayStart) -> String {
    if let Some(chosen) = &answer.chosen {
        let is_it = |one: &&Candidate| one.provider == chosen.provider && one.account == chosen.account;
        let found = answer.candidates.iter().find(is_it);
        let left = found.and_then(|one| Some((one, one.headroom?)));
        let left = left.map_or_else(String::new, |(one, left)| {
            let mark = if is_stale(scene, one) { "~" } else { "" };
            format!(" ({}%{mark} left)", percent(left, 0))
        });
        return format!(", {}/{}{left}", chosen.provider, chosen.account);
    }
    let why = text::one_line(answer.unseen.as_deref().unwrap_or(&answer.sentence));
    let now = scene.now();
    let Some(at) = answer.retry_at.as_deref().and_then(millis) else {
        return format!(": {why}");
    };
    let (length, until) = (times::span(at - now), times::short(at, now, scene.zone));
    // The sentence begins with the same time as a length of its own, which was rounded then.
    let lead = why.split_once("; ").filter(|(lead, _)| lead.starts_with("wait "));
    let Some((lead, why)) = lead else {
        return format!(" {length}, until {until}: {why}");
    };
    let account = lead.split_once(" for ").map_or("", |(_, account)| account);
    format!(" {length}, until {until}, for {account}: {why}")
}

/// True if what is known of the candidate is no longer fresh, also if it has become so since the answer.
fn is_stale(scene: &TopScene<'_>, candidate: &Candidate) -> bool {
    let windows = scene.model.quota.as_ref().map_or(&[][..], |quota| &quota.windows);
    let is_binding = |window: &&Window| {
        (&window.provider, &window.account, Some(&window.window))
            == (
                &candidate.provider,
                &candidate.account,
                candidate.binding_window.as_ref(),
            )
    };
    let is_stale = |state: &str| state == "stale";
    is_stale(&candidate.freshness)
        || windows
            .iter()
            .find(is_binding)
            .is_some_and(|window| is_stale(&window.state))
}

/// Health, connection and time, the less important first.
fn right_parts(pen: &Pen<'_>, scene: &TopScene<'_>) -> Vec<Part> {
    let (theme, model) = (scene.theme, scene.model);
    let mut parts: Vec<Part> = Vec::new();
    if scene.ui.paused.is_some() {
        parts.push((" PAUSED ".to_owned(), theme.alarm()));
        parts.push((" ".to_owned(), Style::new()));
    }
    let is_well = model.health.as_ref().is_some_and(|health| health.status == "ok");
    if pen.width() < STATE_FROM && is_well && model.link == Link::Live {
        return parts;
    }
    match &model.health {
        Some(health) => {
            let weight = match health.status.as_str() {
                "ok" => Weight::Good,
                "degraded" => Weight::Warning,
                _ => Weight::Bad,
            };
            parts.push((health.status.clone(), theme.weight(weight)));
        }
        None => parts.push(("health ?".to_owned(), Style::new())),
    }
    parts.push(("  ".to_owned(), Style::new()));
    let link = match &model.link {
        Link::Opening => ("opening".to_owned(), TopTheme::dim()),
        Link::Live if scene.is_printed => (String::new(), Style::new()),
        Link::Live => ("live".to_owned(), theme.weight(Weight::Good)),
        Link::Lost { retry_at, .. } => {
            let seconds = (retry_at - model.now).max(0).div_euclid(1_000) + 1;
            (format!("reconnecting {seconds} s"), theme.weight(Weight::Bad))
        }
    };
    let is_spaced = !link.0.is_empty();
    if model.is_outdated() {
        // What the collector last said of itself is no news of it now.
        parts.clear();
    }
    parts.push(link);
    if pen.width() < STATE_FROM {
        return parts;
    }
    if is_spaced {
        parts.push(("  ".to_owned(), Style::new()));
    }
    let now = if pen.width() >= ZONE_FROM || scene.is_printed {
        times::clock_with_zone(model.now, scene.zone)
    } else {
        times::clock(model.now, scene.zone)
    };
    parts.push((now, Style::new()));
    parts
}

/// What keeps the collector or the connection from being well.
fn reason(scene: &TopScene<'_>) -> Option<Part> {
    if let Link::Lost { why, .. } = &scene.model.link {
        let words = format!("the last known numbers; {}", text::one_line(why));
        return Some((words, scene.theme.weight(Weight::Bad)));
    }
    if let Some(why) = &scene.model.trouble {
        return Some((text::one_line(why), scene.theme.weight(Weight::Warning)));
    }
    let health = scene.model.health.as_ref()?;
    let weight = match health.status.as_str() {
        "ok" => return None,
        "degraded" => Weight::Warning,
        _ => Weight::Bad,
    };
    let first = health.reasons.first()?;
    let more = match health.reasons.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more, see tokentail status)"),
    };
    Some((
        format!("{}{more}", text::one_line(first)),
        scene.theme.weight(weight),
    ))
}

/// Draws the keys, or the filter that is being written.
pub fn draw_keys(pen: &mut Pen<'_>, scene: &TopScene<'_>, y: u16) {
    let ui = scene.ui;
    let width = pen.width();
    if ui.is_filtering {
        let used = pen.put((0, y), width, &format!("/{}", ui.filter), TopTheme::strong());
        let cursor = pen.put((used, y), 1, " ", scene.theme.alarm());
        let hint = "  Enter keeps it, Esc removes it";
        pen.put((used + cursor, y), width, hint, TopTheme::dim());
        return;
    }
    let keys: &[&str] = if ui.has_help {
        &["Esc back", "j/k scroll", "q quit"]
    } else if ui.opened.is_some() {
        &["Esc back", "j/k scroll", "p pause", "? help", "q quit"]
    } else {
        &[
            "q quit",
            "? help",
            "Tab pane",
            "/ filter",
            "s sort",
            "p pause",
            "Enter details",
            "m models",
            "1-5 period",
        ]
    };
    let mut at = 0;
    if !ui.filter.is_empty() {
        at = pen.put(
            (0, y),
            width,
            &format!("filter: {}", ui.filter),
            scene.theme.alarm(),
        ) + 2;
    }
    for key in keys {
        let words = columns(key);
        if at.saturating_add(words) > width {
            break;
        }
        let (name, does) = key.split_once(' ').unwrap_or((key, ""));
        let used = pen.put((at, y), width, name, TopTheme::strong());
        pen.put((at + used + 1, y), width, does, TopTheme::dim());
        at += words + 2;
    }
}

/// The style of a pane's title.
pub fn title_style(scene: &TopScene<'_>, pane: TopPane) -> Style {
    if scene.is_focused(pane) {
        scene.theme.title().patch(TopTheme::strong())
    } else {
        TopTheme::dim()
    }
}
