//! The text of a status line: pieces in an order that the user chooses, of which unknown ones are left out.

use std::ops::RangeInclusive;

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use serde_json::Value;

use crate::api::wire::{Cost, Statusline, Window};
use crate::cli::print::{numbers, text};
use crate::model::window_name::{FIVE_HOUR, SEVEN_DAY};

const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
/// A share from this on is a warning.
const WARNING_FROM: f64 = 0.75;
/// A share from this on is bad.
const BAD_FROM: f64 = 0.90;
/// Percentages of an input that are shown: others are mistakes of its writer.
const PERCENT_RANGE: RangeInclusive<f64> = 0.0..=1_000.0;
/// Separates groups of pieces; a group without pieces is left out with it.
const BETWEEN: char = '|';

/// What is known of a line's figures.
#[derive(Debug)]
pub struct LineFigures<'a> {
    input: &'a Value,
    answer: Option<&'a Statusline>,
    now: Timestamp,
}

/// The text of a piece.
enum LinePiece {
    /// No piece has this name.
    NotOne,
    Unknown,
    Shown(String, Option<Style>),
}

impl LinePiece {
    fn of(shown: Option<(String, Option<Style>)>) -> Self {
        shown.map_or(Self::Unknown, |(text, style)| Self::Shown(text, style))
    }
}

/// A limit window: its share, or none if the provider refuses, and its reset.
struct ShownWindow {
    share: Option<f64>,
    reset: Option<Timestamp>,
}

impl<'a> LineFigures<'a> {
    #[must_use]
    pub fn new(input: &'a Value, answer: Option<&'a Statusline>, now: Timestamp) -> Self {
        Self { input, answer, now }
    }

    /// The line in this format. A name in braces that is none of a piece stays as it is.
    #[must_use]
    pub fn line(&self, format: &str, has_colours: bool) -> String {
        let groups = format
            .split(BETWEEN)
            .filter_map(|group| self.group(group, has_colours));
        groups.collect::<Vec<_>>().join(" | ")
    }

    /// The text of a group; `None` if it has pieces, and none of them is known.
    fn group(&self, group: &str, has_colours: bool) -> Option<String> {
        let (mut shown, mut rest) = (String::new(), group);
        let (mut pieces, mut known) = (0, 0);
        while let Some((before, after)) = rest.split_once('{') {
            shown.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                shown.push('{');
                rest = after;
                break;
            };
            match self.piece(name) {
                LinePiece::NotOne => {
                    shown.extend(["{", name, "}"]);
                    known += 1;
                }
                LinePiece::Unknown => {}
                LinePiece::Shown(piece, style) => {
                    known += 1;
                    // An agent's names must not steer the terminal.
                    let piece = text::name(&piece);
                    let style = style.filter(|_| has_colours).unwrap_or_default();
                    shown.extend([
                        style.render().to_string(),
                        piece,
                        style.render_reset().to_string(),
                    ]);
                }
            }
            pieces += 1;
            rest = after;
        }
        shown.push_str(rest);
        let words: Vec<&str> = shown.split_whitespace().collect();
        (pieces == 0 || known > 0)
            .then(|| words.join(" "))
            .filter(|text| !text.is_empty())
    }

    fn piece(&self, name: &str) -> LinePiece {
        let answer = self.answer;
        let plain = |text: Option<String>| LinePiece::of(text.map(|text| (text, None)));
        match name {
            "model" => plain(self.model()),
            "session" => plain(answer.and_then(|answer| tokens("session", answer.session_tokens))),
            "run" => plain(answer.and_then(|answer| tokens("run", answer.run_tokens))),
            "today" => plain(answer.map(today)),
            "cost" => {
                let cost = self.input["cost"]["total_cost_usd"].as_f64();
                plain(cost.map(|usd| format!("${usd:.2}")))
            }
            "five_hour" => LinePiece::of(self.window("5h", FIVE_HOUR, true)),
            "seven_day" => LinePiece::of(self.window("wk", SEVEN_DAY, false)),
            "context" => {
                let share = self.input["context_window"]["used_percentage"].as_f64();
                let share = share.filter(|percent| PERCENT_RANGE.contains(percent));
                plain(share.map(|percent| format!("ctx {percent:.0}%")))
            }
            "account" => plain(answer.and_then(|answer| answer.account.clone())),
            "health" => {
                let health = answer
                    .map(|answer| &*answer.health)
                    .filter(|health| *health != "ok");
                LinePiece::of(health.map(|health| (format!("collector {health}"), Some(BAD))))
            }
            _ => LinePiece::NotOne,
        }
    }

    fn model(&self) -> Option<String> {
        let model = &self.input["model"];
        let name = model["display_name"].as_str().or(model["id"].as_str());
        name.map(str::to_owned)
    }

    /// The window by the collector, which also has refusals and other sessions' readings; else by the input alone.
    fn window(&self, label: &str, name: &str, has_reset: bool) -> Option<(String, Option<Style>)> {
        let known = self
            .answer
            .and_then(|answer| answer.windows.iter().find(|window| window.window == name));
        let window = known.map_or_else(|| self.window_of_input(name), |window| self.window_of(window))?;
        let style = match window.share {
            Some(share) if share < WARNING_FROM => None,
            Some(share) if share < BAD_FROM => Some(WARNING),
            Some(_) | None => Some(BAD),
        };
        let mut shown = match window.share {
            Some(share) => format!("{label} {}%", numbers::percent(share, 0)),
            None => format!("{label} refused"),
        };
        // A refusal without its end is of no help.
        if let Some(reset) = window.reset.filter(|_| has_reset || window.share.is_none()) {
            let seconds = reset.duration_since(self.now).as_secs();
            shown += " resets ";
            shown += &numbers::short_length(u64::try_from(seconds).unwrap_or(0));
        }
        Some((shown, style))
    }

    fn window_of(&self, window: &Window) -> Option<ShownWindow> {
        let reset = window.reset_at.as_deref().and_then(|time| time.parse().ok());
        if window.refused {
            let until = window
                .exhausted_until
                .as_deref()
                .and_then(|time| time.parse().ok());
            return Some(ShownWindow {
                share: None,
                reset: until.or(reset),
            });
        }
        // The share of a window that has ended says nothing.
        let is_over = reset.is_some_and(|reset| reset <= self.now);
        let share = window.utilization.filter(|_| !is_over)?;
        Some(ShownWindow {
            share: Some(share),
            reset,
        })
    }

    fn window_of_input(&self, name: &str) -> Option<ShownWindow> {
        let window = &self.input["rate_limits"][name];
        let percent = window["used_percentage"].as_f64();
        let share = percent.filter(|percent| PERCENT_RANGE.contains(percent))? / 100.0;
        let reset = &window["resets_at"];
        let reset = match reset.as_i64() {
            Some(seconds) => Timestamp::from_second(seconds).ok(),
            None => reset.as_str().and_then(|time| time.parse().ok()),
        };
        let is_over = reset.is_some_and(|reset| reset <= self.now);
        (!is_over).then_some(ShownWindow {
            share: Some(share),
            reset,
        })
    }
}

fn tokens(label: &str, tokens: Option<u64>) -> Option<String> {
    tokens.map(|tokens| format!("{label} {}", numbers::compact_style(tokens)))
}

/// Today's tokens and their cost at list prices.
fn today(answer: &Statusline) -> String {
    let Cost {
        estimated_cost_usd,
        unpriced,
    } = &answer.today_cost;
    let tokens = numbers::compact_style(answer.today_tokens);
    let rest = if unpriced.is_some() { " +?" } else { "" };
    match estimated_cost_usd {
        Some(usd) => format!("today {tokens} ${usd:.2}{rest}"),
        None => format!("today {tokens}"),
    }
}

#[cfg(test)]
mod tests;
