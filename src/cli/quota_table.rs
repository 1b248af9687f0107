//! Limits as people read them: one line for each window, one for each account, and the answer.
//!
//! What is unknown, over or refused is a word, never a number that could be taken for a share.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::numbers::{compact, counted, grouped, local_time};
use super::text;
use crate::api::wire::{Account, MayStart, Quota, Window};

const HEADER: Style = Style::new().underline();
const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Width of a full bar, in characters.
const BAR_CHARS: usize = 20;
/// From this share on a bar is a warning.
const WARNING_FROM: f64 = 0.75;
/// From this share on a bar is bad news.
const BAD_FROM: f64 = 0.90;
const DAY_S: i64 = 86_400;
const HOUR_S: i64 = 3_600;
const MINUTE_S: i64 = 60;

/// Prints windows, accounts and the answer.
///
/// # Errors
/// Those of the writer.
pub fn write(out: &mut dyn Write, quota: &Quota, now: Timestamp, zone: &TimeZone) -> io::Result<()> {
    if quota.windows.is_empty() {
        writeln!(
            out,
            "no limit was observed yet: how full the windows are is unknown"
        )?;
    } else {
        windows(out, &quota.windows, now, zone)?;
    }
    writeln!(out)?;
    for account in &quota.accounts {
        write_account(out, account)?;
    }
    writeln!(out)?;
    write_answer(out, &quota.may_start, zone)
}

/// Prints the answer to the admission question.
///
/// # Errors
/// Those of the writer.
pub fn write_answer(out: &mut dyn Write, answer: &MayStart, zone: &TimeZone) -> io::Result<()> {
    let style = match answer.decision.as_str() {
        "allow" => GOOD,
        "unknown" => WARNING,
        _ => BAD,
    };
    write!(out, "may start: {style}{}{style:#}", text::name(&answer.decision))?;
    match &answer.chosen {
        Some(chosen) => {
            let account = format!("{}/{}", chosen.provider, chosen.account);
            write!(out, ", with {}", text::name(&account))?;
            if let Some(model) = &chosen.model {
                write!(out, " and {}", text::name(model))?;
            }
        }
        None if answer.candidates.is_empty() => write!(out, ", {}", text::message(&answer.sentence))?,
        None => {}
    }
    if let Some(unseen) = &answer.unseen {
        write!(out, ": {}", text::message(unseen))?;
    }
    if let Some(at) = &answer.retry_at {
        // What is not known need not be known then.
        let until = if answer.decision == "unknown" {
            "; ask again at"
        } else {
            " until"
        };
        write!(out, "{until} {}", text::name(&local_time(at, zone)))?;
    }
    writeln!(out)?;
    for candidate in &answer.candidates {
        writeln!(out, "  {DIM}-{DIM:#} {}", text::message(&candidate.sentence))?;
    }
    Ok(())
}

/// One line of a table, and the style of its bar.
struct Line {
    cells: Vec<String>,
    style: Style,
}

fn windows(out: &mut dyn Write, windows: &[Window], now: Timestamp, zone: &TimeZone) -> io::Result<()> {
    let lines: Vec<Line> = windows.iter().map(|window| line(window, now, zone)).collect();
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    let header = [
        "account", "window", "", "used", "pace", "resets", "runs out", "source", "age",
    ];
    table.set_header(header.map(Cell::new).to_vec());
    for line in &lines {
        table.add_row(line.cells.iter().map(Cell::new).collect::<Vec<_>>());
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if matches!(header[index], "used" | "age") {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    // A header line and one line for each window: names hold no line break.
    for (index, text) in table.lines().enumerate() {
        let text = text.trim_end();
        match index.checked_sub(1).and_then(|index| lines.get(index)) {
            None => writeln!(out, "{HEADER}{text}{HEADER:#}")?,
            Some(line) => {
                // The table counts characters, so the colour comes after it is laid out.
                let (bar, style) = (&line.cells[2], line.style);
                match text.split_once(bar.as_str()).filter(|_| !bar.is_empty()) {
                    Some((before, after)) => writeln!(out, "{before}{style}{bar}{style:#}{after}")?,
                    None => writeln!(out, "{text}")?,
                }
            }
        }
    }
    Ok(())
}

fn line(window: &Window, now: Timestamp, zone: &TimeZone) -> Line {
    let is_used_up = window.exhausted_until.is_some();
    let (bar, used, style) = match (window.state.as_str(), window.utilization) {
        // Its last share is not what it can still do.
        _ if window.refused => ("REFUSED".to_owned(), "-".to_owned(), BAD),
        ("expired", _) => ("(awaiting refresh)".to_owned(), "?".to_owned(), DIM),
        (_, Some(share)) => (
            bar(share),
            format!("{:.1} %", share * 100.0),
            if is_used_up || share >= BAD_FROM {
                BAD
            } else if share >= WARNING_FROM {
                WARNING
            } else {
                GOOD
            },
        ),
        (_, None) if is_used_up => ("EXHAUSTED".to_owned(), "?".to_owned(), BAD),
        (_, None) => ("(unknown)".to_owned(), "?".to_owned(), DIM),
    };
    let used = if is_used_up && !window.refused && window.utilization.is_some() {
        format!("{used}, EXHAUSTED")
    } else {
        used
    };
    let pace = match (window.pace.zone.as_str(), window.pace.delta) {
        ("hot", Some(delta)) => format!("hot, {:+.0} %", delta * 100.0),
        ("chill", Some(delta)) => format!("chill, {:+.0} %", delta * 100.0),
        ("on_track", _) => "on track".to_owned(),
        _ => "-".to_owned(),
    };
    Line {
        cells: vec![
            text::name(&format!("{}/{}", window.provider, window.account)),
            text::name(&window.bucket),
            bar,
            used,
            pace,
            moment(window.reset_at.as_deref(), now, zone),
            moment(window.projected_exhaustion_at.as_deref(), now, zone),
            text::name(&window.source),
            age(
                window
                    .utilization
                    .and(window.utilization_at.as_deref())
                    .unwrap_or(&window.observed_at),
                now,
            ),
        ],
        style,
    }
}

/// A share as a bar; one that is used at all has a mark, and only a full one is full.
fn bar(share: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "clamped to the bar's length"
    )]
    let filled = (share.clamp(0.0, 1.0) * BAR_CHARS as f64) as usize;
    let filled = if share > 0.0 { filled.max(1) } else { 0 };
    format!("{}{}", "█".repeat(filled), "░".repeat(BAR_CHARS - filled))
}

/// A time to come: how far away, and when.
fn moment(time: Option<&str>, now: Timestamp, zone: &TimeZone) -> String {
    let Some(text) = time else {
        return "-".to_owned();
    };
    let Ok(time) = text.parse::<Timestamp>() else {
        return text::name(text);
    };
    let seconds = time.as_second() - now.as_second();
    let clock = time.to_zoned(zone.clone());
    if seconds <= 0 {
        return format!("{} ago", length(-seconds));
    }
    let clock = if seconds < DAY_S {
        clock.strftime("%H:%M")
    } else {
        clock.strftime("%a %H:%M")
    };
    format!("in {}, {clock}", length(seconds))
}

fn age(observed_at: &str, now: Timestamp) -> String {
    observed_at.parse::<Timestamp>().map_or_else(
        |_| "?".to_owned(),
        |time| length((now.as_second() - time.as_second()).max(0)),
    )
}

/// A length of time in its two largest units.
fn length(seconds: i64) -> String {
    let (days, hours) = (seconds / DAY_S, seconds % DAY_S / HOUR_S);
    let (minutes, rest) = (seconds % HOUR_S / MINUTE_S, seconds % MINUTE_S);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{rest}s"),
        (0, 0, _) => format!("{minutes}m"),
        (0, _, _) => format!("{hours}h {minutes:02}m"),
        _ => format!("{days}d {hours}h"),
    }
}

fn write_account(out: &mut dyn Write, account: &Account) -> io::Result<()> {
    let style = match account.state.as_str() {
        "available" => GOOD,
        "exhausted" => BAD,
        _ => WARNING,
    };
    write!(
        out,
        "{STRONG}{}{STRONG:#} {style}{}{style:#}, {} ",
        text::name(&format!("{}/{}", account.provider, account.account)),
        text::name(&account.state.replace('_', " ")),
        match account.calls_quota {
            Some(quota) => format!("{} of {}", grouped(account.calls_5h), counted(quota, "call")),
            None => counted(account.calls_5h, "call"),
        },
    )?;
    write!(out, "in 5 h")?;
    match account.budget {
        Some(budget) => writeln!(
            out,
            ", {} of {} tokens today",
            compact(account.budget_used),
            compact(budget)
        )?,
        None => writeln!(out, ", {} tokens today", compact(account.budget_used))?,
    }
    for cause in &account.causes {
        writeln!(
            out,
            "  {} ({}), {}",
            text::message(&cause.reason),
            text::name(&cause.kind),
            cause
                .until
                .as_deref()
                .map_or_else(|| "until taken back".to_owned(), |until| format!("until {until}"))
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_empty_only_for_nothing_and_full_only_for_all() {
        assert_eq!(bar(0.0), "░".repeat(20));
        assert_eq!(bar(0.001), format!("█{}", "░".repeat(19)));
        assert_eq!(bar(0.999), format!("{}░", "█".repeat(19)));
        assert_eq!(bar(1.02), "█".repeat(20));
    }

    #[test]
    fn lengths_have_two_units() {
        for (seconds, expect) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_600, "1h 00m"),
            (7_860, "2h 11m"),
            (259_200, "3d 0h"),
        ] {
            assert_eq!(length(seconds), expect);
        }
    }

    #[test]
    fn an_answer_is_until_a_time_and_what_is_unknown_is_asked_again() {
        for (decision, expect) in [
            ("wait", "may start: wait until 2026-10-05 12:00:00\n"),
            ("deny", "may start: deny until 2026-10-05 12:00:00\n"),
            (
                "unknown",
                "may start: unknown: it starts; ask again at 2026-10-05 12:00:00\n  - why\n",
            ),
        ] {
            let answer = MayStart {
                decision: decision.to_owned(),
                unseen: (decision == "unknown").then(|| "it starts".to_owned()),
                retry_at: Some("2026-10-05T12:00:00.000Z".to_owned()),
                candidates: vec![crate::api::wire::Candidate {
                    sentence: "why".to_owned(),
                    ..Default::default()
                }],
                ..MayStart::default()
            };
            let mut out = anstream::StripStream::new(Vec::new());
            write_answer(&mut out, &answer, &TimeZone::UTC).unwrap();
            let written = String::from_utf8(out.into_inner()).unwrap();
            assert!(written.starts_with(expect), "{written}");
        }
    }

    #[test]
    fn unknown_exhausted_and_zero_are_told_apart() {
        let window = |utilization, state: &str, refused: bool| Window {
            bucket: "five_hour".to_owned(),
            utilization,
            state: state.to_owned(),
            exhausted_until: refused.then(|| "2026-10-05T12:00:00.000Z".to_owned()),
            ..Window::default()
        };
        let shown =
            |window: &Window| line(window, Timestamp::UNIX_EPOCH, &TimeZone::UTC).cells[2..4].join("|");
        assert_eq!(
            shown(&window(Some(0.0), "fresh", false)),
            format!("{}|0.0 %", "░".repeat(20))
        );
        assert_eq!(shown(&window(None, "fresh", false)), "(unknown)|?");
        assert_eq!(shown(&window(None, "fresh", true)), "EXHAUSTED|?");
        assert_eq!(shown(&window(None, "expired", false)), "(awaiting refresh)|?");
        assert!(shown(&window(Some(1.0), "stale", true)).ends_with("|100.0 %, EXHAUSTED"));
        let refused = Window {
            refused: true,
            ..window(Some(0.5), "stale", true)
        };
        assert_eq!(shown(&refused), "REFUSED|-");
    }
}
