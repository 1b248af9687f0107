//! Limits for people: one line for each window, one for each account, and the may-start answer.
//!
//! An unknown, ended or refused window is shown as a word, never as a number that looks like a share.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::api::wire::{Account, AccountPoll, MayStart, Quota, Recovery, Window};
use crate::cli::print::grid::{self, Column, GridCell, GridRow};
use crate::cli::print::numbers::{age, counted, grouped, length, percent, time};
use crate::cli::print::text;
use crate::quota::pace;

const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Width of a full bar, in characters.
const BAR_CHARS: usize = 20;
/// A bar from this share on is shown as a warning.
const WARNING_FROM: f64 = 0.75;
/// A bar from this share on is shown as bad.
const BAD_FROM: f64 = 0.90;
const DAY_S: i64 = 86_400;
/// From this distance on a weekday name could mean the one before.
const WEEKDAYS_S: i64 = 6 * DAY_S;

const COLUMNS: [Column; 11] = [
    Column::names("account", 0),
    Column::words("window", 0),
    Column::words("", 6),
    Column::numbers("used", 0),
    Column::words("pace", 2),
    Column::words("resets", 0),
    Column::words("at (UTC)", 3),
    Column::words("runs out", 1),
    Column::words("at (UTC)", 5),
    Column::words("source", 7),
    Column::words("seen", 4),
];

/// Index of the pace column.
const PACE: usize = 4;
/// The state of a window whose reset has passed, without newer observations.
const EXPIRED: &str = "expired";
/// The word for a window that does not run out before its reset.
const LASTS: &str = "lasts";

/// Prints windows, accounts and the answer.
///
/// # Errors
/// Errors of the writer.
pub fn write(out: &mut dyn Write, quota: &Quota, now: Timestamp, width: Option<usize>) -> io::Result<()> {
    write_limits(out, quota, now, width)?;
    writeln!(out)?;
    write_answer(out, &quota.may_start, width, usize::MAX)
}

/// Prints windows and accounts.
///
/// # Errors
/// Errors of the writer.
pub fn write_limits(
    out: &mut dyn Write,
    quota: &Quota,
    now: Timestamp,
    width: Option<usize>,
) -> io::Result<()> {
    if quota.windows.is_empty() {
        let none = "no limit was observed yet: the use of the windows is unknown";
        writeln!(out, "{}", text::wrapped(none, width))?;
    } else {
        let rows: Vec<GridRow> = quota
            .windows
            .iter()
            .map(|window| row(quota, window, now))
            .collect();
        let shown = grid::write(out, &COLUMNS, &rows, width)?;
        for line in legend(&quota.windows, shown.contains(&PACE)) {
            writeln!(out, "{DIM}{}{DIM:#}", text::wrapped(&line, width))?;
        }
    }
    writeln!(out)?;
    for account in &quota.accounts {
        write_account(out, account, now, width)?;
    }
    Ok(())
}

/// Explanations of the words in the table.
fn legend(windows: &[Window], shows_pace: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if shows_pace && windows.iter().any(|window| window.pace.delta.is_some()) {
        lines.push(format!(
            "pace: share used minus share of the window's time that has passed; hot: {:.0} % ahead or more; ahead: less, and \
             used up before its reset; chill: {:.0} % behind or more",
            pace::HOT * 100.0,
            -pace::CHILL * 100.0
        ));
    }
    if windows
        .iter()
        .any(|window| window.state == EXPIRED && !window.refused)
    {
        lines.push("expired: its reset has passed, without newer observations".to_owned());
    }
    lines
}

/// Prints the may-start answer, and the sentences of the first candidates.
///
/// # Errors
/// Errors of the writer.
pub fn write_answer(
    out: &mut dyn Write,
    answer: &MayStart,
    width: Option<usize>,
    candidates_max: usize,
) -> io::Result<()> {
    writeln!(out, "{}", text::wrapped(&answer_line(answer), width))?;
    for candidate in answer.candidates.iter().take(candidates_max) {
        let line = format!("  {DIM}-{DIM:#} {}", text::one_line(&candidate.sentence));
        writeln!(out, "{}", text::wrapped(&line, width))?;
    }
    let more = answer.candidates.len().saturating_sub(candidates_max);
    if more > 0 {
        let accounts = counted(more as u64, "more account");
        writeln!(out, "  {DIM}- {accounts}: tokentail may-start{DIM:#}")?;
    }
    Ok(())
}

/// The answer in one line, without the candidates.
#[must_use]
pub fn answer_line(answer: &MayStart) -> String {
    let style = match answer.decision.as_str() {
        "allow" => GOOD,
        "unknown" => WARNING,
        _ => BAD,
    };
    let mut line = format!("may start: {style}{}{style:#}", text::name(&answer.decision));
    match &answer.chosen {
        Some(chosen) => {
            let account = format!("{}/{}", chosen.provider, chosen.account);
            let _ = write!(line, ", with {}", text::name(&account));
            if let Some(model) = &chosen.model {
                let _ = write!(line, " and {}", text::name(model));
            }
        }
        None if answer.candidates.is_empty() => {
            let _ = write!(line, ", {}", text::one_line(&answer.sentence));
        }
        None => {}
    }
    if let Some(unseen) = &answer.unseen {
        let _ = write!(line, ": {}", text::one_line(unseen));
    }
    if let Some(at) = &answer.retry_at {
        // An unknown end is left out.
        let until = if answer.decision == "unknown" {
            "; ask again at"
        } else {
            " until"
        };
        let _ = write!(line, "{until} {}", time(at));
    }
    line
}

fn row(quota: &Quota, window: &Window, now: Timestamp) -> GridRow {
    let is_used_up = window.exhausted_until.is_some();
    let word = |word: &str, style| (String::new(), word.to_owned(), style);
    let (bar, used, style) = match (window.state.as_str(), window.utilization) {
        // The last share is meaningless for a refused window.
        _ if window.refused => word("REFUSED", BAD),
        (EXPIRED, _) => word(EXPIRED, DIM),
        (_, Some(share)) => {
            let style = if is_used_up || share >= BAD_FROM {
                BAD
            } else if share >= WARNING_FROM {
                WARNING
            } else {
                GOOD
            };
            let word = if is_used_up { ", EXHAUSTED" } else { "" };
            (bar(share), format!("{} %{word}", percent(share, 1)), style)
        }
        (_, None) if is_used_up => word("EXHAUSTED", BAD),
        (_, None) => word("unknown", DIM),
    };
    let pace = match (window.pace.zone.as_str(), window.pace.delta) {
        // What refuses has no pace: nothing more is used.
        _ if is_used_up => "-".to_owned(),
        // A window that runs out before its reset is not on track, however small the lead.
        ("on_track", Some(delta)) if window.projected_exhaustion_at.is_some() => {
            format!("ahead {:+.0} %", delta * 100.0)
        }
        (zone @ ("hot" | "chill"), Some(delta)) => format!("{zone} {:+.0} %", delta * 100.0),
        ("on_track", _) => "on track".to_owned(),
        _ => "-".to_owned(),
    };
    let (resets_in, resets_at) = moment(window.reset_at.as_deref(), now);
    // A used-up window has no projected end.
    let runs_out = window.projected_exhaustion_at.as_deref().filter(|_| !is_used_up);
    let (mut out_in, out_at) = moment(runs_out, now);
    if runs_out.is_none() && !is_used_up && window.pace.delta.is_some() {
        LASTS.clone_into(&mut out_in);
    }
    let (seen_at, source) = quota.seen(window);
    let (seen, _) = moment(Some(seen_at), now);
    GridRow::Cells(vec![
        text::name(&format!("{}/{}", window.provider, window.account)).into(),
        text::name(&window.window).into(),
        GridCell { text: bar, style },
        GridCell { text: used, style },
        pace.into(),
        resets_in.into(),
        resets_at.into(),
        out_in.into(),
        out_at.into(),
        text::name(source).into(),
        seen.into(),
    ])
}

/// A share as a bar; a share above zero has at least one mark, and only a full one is full.
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

/// The distance of a time, and the time itself.
fn moment(time: Option<&str>, now: Timestamp) -> (String, String) {
    let Some(text) = time else {
        return ("-".to_owned(), "-".to_owned());
    };
    let Ok(time) = text.parse::<Timestamp>() else {
        return (text::name(text), "?".to_owned());
    };
    let seconds = time.as_second() - now.as_second();
    let away = if seconds > 0 {
        format!("in {}", length(seconds.unsigned_abs()))
    } else {
        format!("{} ago", age(seconds.unsigned_abs()))
    };
    let day = |of: Timestamp| of.as_second().div_euclid(DAY_S);
    // At night the 02:30 of tomorrow would be read as that of today.
    let format = match seconds.abs() {
        _ if day(time) == day(now) => "%H:%M",
        ..WEEKDAYS_S => "%a %H:%M",
        _ => "%Y-%m-%d %H:%M",
    };
    (away, time.strftime(format).to_string())
}

fn write_account(
    out: &mut dyn Write,
    account: &Account,
    now: Timestamp,
    width: Option<usize>,
) -> io::Result<()> {
    let style = match account.state.as_str() {
        "available" => GOOD,
        "exhausted" => BAD,
        _ => WARNING,
    };
    let calls = match account.calls_quota {
        Some(quota) => format!("{} of {}", grouped(account.calls_5h), counted(quota, "call")),
        None => counted(account.calls_5h, "call"),
    };
    let tokens = match account.budget {
        Some(budget) => format!("{} of {}", grouped(account.budget_used), counted(budget, "token")),
        None => counted(account.budget_used, "token"),
    };
    let line = format!(
        "{STRONG}{}{STRONG:#} {style}{}{style:#}, {calls} in 5 h, {tokens} today",
        text::name(&format!("{}/{}", account.provider, account.account)),
        text::name(&account.state.replace('_', " ")),
    );
    let line = match account.leases {
        0 => line,
        leases => format!("{line}, {}", counted(leases, "lease")),
    };
    writeln!(out, "{}", text::wrapped(&line, width))?;
    for recovery in &account.recoveries {
        writeln!(out, "{}", text::wrapped(&recovery_line(recovery), width))?;
    }
    for cause in &account.causes {
        let until = (cause.until.as_deref()).map_or_else(
            || "until taken back".to_owned(),
            |until| format!("until {}", time(until)),
        );
        let line = format!(
            "  {} ({}), {until}",
            text::one_line(&cause.reason),
            text::name(&cause.kind)
        );
        writeln!(out, "{}", text::wrapped(&line, width))?;
    }
    if let Some(poll) = &account.poll {
        writeln!(out, "{}", text::wrapped(&poll_line(poll, now), width))?;
    }
    Ok(())
}

/// How far an account, or a family of models at it, has recovered from a block.
fn recovery_line(recovery: &Recovery) -> String {
    let mut line = "  recovery".to_owned();
    if !recovery.scope.is_empty() {
        let _ = write!(line, " of {}", text::name(&recovery.scope));
    }
    let until = recovery.until.as_deref().map(time);
    let state = match (recovery.state.as_str(), recovery.cap, until) {
        ("open", _, Some(until)) if recovery.by.as_deref() == Some("no_evidence") => {
            format!("the runs that tried it showed nothing; the next may at {until}")
        }
        ("open", _, Some(until)) => format!("blocked until {until}"),
        ("due", ..) => "the next lease tries it".to_owned(),
        ("half_open", _, until) => {
            let lease = (recovery.lease.as_deref()).map_or_else(
                || "a lease".to_owned(),
                |lease| format!("lease {}", text::name(lease)),
            );
            let until = until.map_or_else(String::new, |until| format!(", until {until} at most"));
            format!("{lease} tries it{until}")
        }
        ("ramp", Some(cap), until) => {
            let until = until.map_or_else(String::new, |until| format!(", more from {until} on"));
            format!("{} let in{until}", counted(cap.into(), "run"))
        }
        (state, ..) => text::name(&state.replace('_', " ")),
    };
    let _ = write!(line, ": {state}");
    if recovery.failures > 0 {
        let _ = write!(line, "; failed tries: {}", recovery.failures);
    }
    line
}

/// The poll of an account in one line: its last answer, or its error and what to do, and the next one.
fn poll_line(poll: &AccountPoll, now: Timestamp) -> String {
    let when = |time: &Option<String>| time.as_deref().map(|time| moment(Some(time), now).0);
    let mut line = format!("  polled by {}: ", text::name(&poll.via));
    if let Some(error) = &poll.last_error {
        let (code, ago) = (error.code.replace('_', " "), moment(Some(&error.at), now).0);
        let _ = write!(line, "{WARNING}{}{WARNING:#} {ago}: ", text::name(&code));
        let (detail, advice) = (text::one_line(&error.detail), text::one_line(&error.advice));
        let _ = write!(line, "{detail}; {advice}");
        if let Some(ok) = when(&poll.last_ok) {
            let _ = write!(line, "; last answer {ok}");
        }
    } else {
        let ok = when(&poll.last_ok).map(|ok| format!("last answer {ok}"));
        line.push_str(&ok.unwrap_or_else(|| "no answer since the start".to_owned()));
    }
    let next = match poll.state.as_str() {
        "in_flight" => Some("asking now".to_owned()),
        "expired" | "forbidden" | "missing" => None,
        _ => when(&poll.next).map(|next| format!("next {next}")),
    };
    if let Some(next) = next {
        let _ = write!(line, "; {next}");
    }
    line
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
    fn an_answer_is_until_a_time_and_what_is_unknown_is_asked_again() {
        for (decision, expect) in [
            ("wait", "may start: wait until 2026-10-05 12:00:00 UTC\n"),
            ("deny", "may start: deny until 2026-10-05 12:00:00 UTC\n"),
            (
                "unknown",
                "may start: unknown: it starts; ask again at 2026-10-05 12:00:00 UTC\n  - why\n",
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
            write_answer(&mut out, &answer, None, usize::MAX).unwrap();
            let written = String::from_utf8(out.into_inner()).unwrap();
            assert!(written.starts_with(expect), "{written}");
        }
    }

    #[test]
    fn unknown_exhausted_and_zero_are_shown_differently() {
        let window = |utilization, state: &str, refused: bool| Window {
            window: "five_hour".to_owned(),
            utilization,
            state: state.to_owned(),
            exhausted_until: refused.then(|| "2026-10-05T12:00:00.000Z".to_owned()),
            ..Window::default()
        };
        let shown = |window: &Window| {
            let GridRow::Cells(cells) = row(&Quota::default(), window, Timestamp::UNIX_EPOCH) else {
                panic!("a row of cells")
            };
            format!("{}|{}", cells[2].text, cells[3].text)
        };
        assert_eq!(
            shown(&window(Some(0.0), "fresh", false)),
            format!("{}|0.0 %", "░".repeat(20))
        );
        assert_eq!(shown(&window(None, "fresh", false)), "|unknown");
        assert_eq!(shown(&window(None, "fresh", true)), "|EXHAUSTED");
        assert_eq!(shown(&window(None, "expired", false)), "|expired");
        assert!(shown(&window(Some(1.0), "stale", true)).ends_with("|100.0 %, EXHAUSTED"));
        let refused = Window {
            refused: true,
            ..window(Some(0.5), "stale", true)
        };
        assert_eq!(shown(&refused), "|REFUSED");
        assert!(shown(&window(Some(0.999_999), "fresh", false)).ends_with("|99.9 %"));
    }

    #[test]
    fn a_refused_window_is_as_old_as_its_refusal_and_of_its_source() {
        let (now, account) = ("1970-01-01T03:00:00Z".parse().unwrap(), "max-1");
        let refusal = |at: &str, window: &str| crate::api::wire::LimitEvent {
            at: at.to_owned(),
            account: account.to_owned(),
            window: window.to_owned(),
            source: "quota_limits".to_owned(),
            ..Default::default()
        };
        let quota = Quota {
            limit_events: vec![
                refusal("1970-01-01T01:00:00Z", "five_hour"),
                refusal("1970-01-01T02:59:57Z", "five_hour"),
                refusal("1970-01-01T02:59:59Z", "seven_day"),
            ],
            ..Quota::default()
        };
        let window = |started: &str, refused: bool| Window {
            account: account.to_owned(),
            window: "five_hour".to_owned(),
            utilization: Some(0.5),
            utilization_at: Some("1970-01-01T02:00:00Z".to_owned()),
            observed_at: "1970-01-01T02:59:58Z".to_owned(),
            window_started_at: Some(started.to_owned()),
            source: "statusline".to_owned(),
            refused,
            ..Window::default()
        };
        let seen = |window: &Window| {
            let GridRow::Cells(cells) = row(&quota, window, now) else {
                panic!("a row of cells")
            };
            format!("{} {}", cells[9].text, cells[10].text)
        };
        let start = "1970-01-01T00:00:00Z";
        assert_eq!(seen(&window(start, true)), "quota_limits 3 s ago");
        assert_eq!(seen(&window(start, false)), "statusline 1 h ago");
        // The refusals of an earlier window are not those of this one.
        assert_eq!(seen(&window("1970-01-01T02:59:58Z", true)), "statusline 2 s ago");
    }

    #[test]
    fn a_window_that_refuses_has_no_pace_and_one_with_a_pace_lasts_or_runs_out() {
        let shown = |zone: &str, until: Option<&str>, out: Option<&str>| {
            let window = Window {
                utilization: Some(0.3),
                state: "fresh".to_owned(),
                exhausted_until: until.map(str::to_owned),
                refused: until.is_some(),
                pace: crate::api::wire::Pace {
                    delta: (zone != "none").then_some(-0.68),
                    zone: zone.to_owned(),
                },
                projected_exhaustion_at: out.map(str::to_owned),
                ..Window::default()
            };
            let GridRow::Cells(cells) = row(&Quota::default(), &window, Timestamp::UNIX_EPOCH) else {
                panic!("a row of cells")
            };
            (cells[PACE].text.clone(), cells[PACE + 3].text.clone())
        };
        let pair = |pace: &str, out: &str| (pace.to_owned(), out.to_owned());
        let at = Some("1970-01-01T01:00:00Z");
        assert_eq!(shown("chill", at, None), pair("-", "-"));
        assert_eq!(shown("chill", at, at), pair("-", "-"));
        assert_eq!(shown("chill", None, None), pair("chill -68 %", LASTS));
        assert_eq!(shown("chill", None, at), pair("chill -68 %", "in 1 h"));
        assert_eq!(shown("none", None, None), pair("-", "-"));
    }

    #[test]
    fn a_recovery_is_said_with_what_comes_next() {
        let recovery = |state: &str| Recovery {
            state: state.to_owned(),
            until: Some("2026-11-30T16:00:30Z".to_owned()),
            lease: Some("7-12".to_owned()),
            ..Recovery::default()
        };
        let failed = Recovery {
            scope: "opus".to_owned(),
            failures: 2,
            ..recovery("open")
        };
        let ramp = Recovery {
            cap: Some(2),
            ..recovery("ramp")
        };
        let silent = Recovery {
            by: Some("no_evidence".to_owned()),
            failures: 1,
            ..recovery("open")
        };
        for (recovery, expected) in [
            (
                silent,
                "  recovery: the runs that tried it showed nothing; the next may at 2026-11-30 16:00:30 UTC; \
                 failed tries: 1",
            ),
            (
                failed,
                "  recovery of opus: blocked until 2026-11-30 16:00:30 UTC; failed tries: 2",
            ),
            (recovery("due"), "  recovery: the next lease tries it"),
            (
                recovery("half_open"),
                "  recovery: lease 7-12 tries it, until 2026-11-30 16:00:30 UTC at most",
            ),
            (
                ramp,
                "  recovery: 2 runs let in, more from 2026-11-30 16:00:30 UTC on",
            ),
        ] {
            assert_eq!(recovery_line(&recovery), expected);
        }
    }

    #[test]
    fn moments_are_a_distance_and_a_time() {
        let now: Timestamp = "2026-10-05T11:00:00Z".parse().unwrap();
        for (time, expected) in [
            (None, ("-", "-")),
            (Some("2026-10-05T12:56:00Z"), ("in 1 h 56 min", "12:56")),
            (Some("2026-10-06T02:30:00Z"), ("in 15 h 30 min", "Tue 02:30")),
            (Some("2026-10-04T23:00:00Z"), ("12 h ago", "Sun 23:00")),
            (Some("2026-10-08T15:00:00Z"), ("in 3 d 4 h", "Thu 15:00")),
            (Some("2026-11-05T15:00:00Z"), ("in 31 d 4 h", "2026-11-05 15:00")),
            (Some("2026-10-05T10:59:02Z"), ("58 s ago", "10:59")),
            (Some("soon"), ("soon", "?")),
        ] {
            let (away, at) = moment(time, now);
            assert_eq!((away.as_str(), at.as_str()), expected, "{time:?}");
        }
    }

    #[test]
    fn windows_fit_eighty_columns_and_are_whole_in_a_pipe() {
        let window = Window {
            provider: "claude".to_owned(),
            account: "max-1".to_owned(),
            window: "seven_day".to_owned(),
            utilization: Some(0.771),
            state: "fresh".to_owned(),
            reset_at: Some("2026-10-08T15:00:00Z".to_owned()),
            observed_at: "2026-10-05T10:59:02Z".to_owned(),
            source: "rate_limit_event".to_owned(),
            pace: crate::api::wire::Pace {
                delta: Some(0.37),
                zone: "hot".to_owned(),
            },
            projected_exhaustion_at: Some("2026-10-05T11:35:00Z".to_owned()),
            ..Window::default()
        };
        let quota = Quota {
            windows: vec![window],
            ..Quota::default()
        };
        let shown = |width| {
            let mut out = anstream::StripStream::new(Vec::new());
            let now = "2026-10-05T11:00:00Z".parse().unwrap();
            write_limits(&mut out, &quota, now, width).unwrap();
            String::from_utf8(out.into_inner()).unwrap()
        };
        let narrow = shown(Some(80));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        assert!(
            narrow.starts_with(
                "account       window       used  pace       resets      at (UTC)   runs out\n\
                 claude/max-1  seven_day  77.1 %  hot +37 %  in 3 d 4 h  Thu 15:00  in 35 min\n\
                 pace: "
            ),
            "{narrow}"
        );
        let whole = shown(None);
        for words in ["█", "11:35", "rate_limit_event", "58 s ago", "behind or more\n"] {
            assert!(whole.contains(words), "{words}: {whole}");
        }
    }
}
