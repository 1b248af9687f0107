//! Leases and capacities for people.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use crate::api::wire::{Capacity, Lease, LeaseAnswer};
use crate::cli::print::grid::{self, Column, GridCell, GridRow};
use crate::cli::print::numbers::{length, percent, time};
use crate::cli::print::text;

const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

const LEASES: [Column; 9] = [
    Column::words("lease", 0),
    Column::words("state", 0),
    Column::names("account", 0),
    Column::names("model", 3),
    Column::names("run or holder", 0),
    Column::words("class", 2),
    Column::words("ends", 0),
    Column::words("at (UTC)", 5),
    Column::words("granted (UTC)", 4),
];

const CAPACITIES: [Column; 7] = [
    Column::names("account", 0),
    Column::numbers("free", 0),
    Column::words("bound by", 0),
    Column::words("until", 1),
    Column::numbers("active", 0),
    Column::numbers("limit", 0),
    Column::words("held", 2),
];

/// Prints the answer to a request for leases.
///
/// # Errors
/// Errors of the writer.
pub fn write_answer(
    out: &mut dyn Write,
    answer: &LeaseAnswer,
    key: &str,
    now: Timestamp,
    width: Option<usize>,
) -> io::Result<()> {
    let may_start = &answer.may_start;
    if answer.leases.is_empty() {
        let mut line = format!(
            "{BAD}no lease{BAD:#}: {}; {}",
            text::name(&may_start.decision),
            text::one_line(&may_start.sentence)
        );
        if let Some(at) = &may_start.retry_at {
            let _ = write!(line, "; ask again at {}", time(at));
        }
        writeln!(out, "{}", text::wrapped(&line, width))?;
        for candidate in &may_start.candidates {
            let line = format!("  {DIM}-{DIM:#} {}", text::one_line(&candidate.sentence));
            writeln!(out, "{}", text::wrapped(&line, width))?;
        }
        return Ok(());
    }
    write_leases(out, &answer.leases, now, width)?;
    if let Some(by) = &answer.by {
        writeln!(
            out,
            "{DIM}no more were granted: {}{DIM:#}",
            text::name(&by.replace('_', " "))
        )?;
    }
    writeln!(out, "{DIM}key: {}{DIM:#}", text::name(key))
}

/// Prints leases.
///
/// # Errors
/// Errors of the writer.
pub fn write_leases(
    out: &mut dyn Write,
    leases: &[Lease],
    now: Timestamp,
    width: Option<usize>,
) -> io::Result<()> {
    if leases.is_empty() {
        return writeln!(out, "no leases");
    }
    let rows: Vec<GridRow> = leases.iter().map(|lease| row(lease, now)).collect();
    grid::write(out, &LEASES, &rows, width).map(drop)
}

fn row(lease: &Lease, now: Timestamp) -> GridRow {
    let style = if lease.state == "bound" { GOOD } else { WARNING };
    let probe = if lease.probe { ", probe" } else { "" };
    let (ends, at) = match &lease.expires_at {
        None => ("with run".to_owned(), "-".to_owned()),
        Some(at) => (until(at, now), clock_time(at)),
    };
    let or_none = |name: Option<&String>| name.map_or_else(|| "-".to_owned(), |name| text::name(name));
    GridRow::Cells(vec![
        text::name(&lease.id).into(),
        GridCell {
            text: format!("{}{probe}", text::name(&lease.state)),
            style,
        },
        text::name(&format!("{}/{}", lease.provider, lease.account)).into(),
        or_none(lease.model.as_ref()).into(),
        or_none(lease.run.as_ref().or(lease.holder.as_ref())).into(),
        or_none(lease.class.as_ref()).into(),
        ends.into(),
        at.into(),
        clock_time(&lease.granted_at).into(),
    ])
}

/// Prints the number of further runs of accounts.
///
/// # Errors
/// Errors of the writer.
pub fn write_capacities(
    out: &mut dyn Write,
    capacities: &[Capacity],
    now: Timestamp,
    width: Option<usize>,
) -> io::Result<()> {
    let rows: Vec<GridRow> = (capacities.iter())
        .map(|capacity| capacity_row(capacity, now))
        .collect();
    let shown = grid::write(out, &CAPACITIES, &rows, width)?;
    // The last column.
    if shown.contains(&(CAPACITIES.len() - 1)) && capacities.iter().any(|one| !one.held.is_empty()) {
        let line = "held: the share of a window that leases are still expected to use";
        writeln!(out, "{DIM}{}{DIM:#}", text::wrapped(line, width))?;
    }
    Ok(())
}

fn capacity_row(capacity: &Capacity, now: Timestamp) -> GridRow {
    let (free, style) = match capacity.free {
        None => ("not bounded".to_owned(), GOOD),
        Some(0) => ("0".to_owned(), BAD),
        Some(free) => (free.to_string(), GOOD),
    };
    let by = capacity.by.as_deref().unwrap_or("-").replace('_', " ");
    let held: Vec<String> = (capacity.held.iter())
        .map(|(window, share)| format!("{} {} %", text::name(window), percent(*share, 1)))
        .collect();
    let held = if held.is_empty() {
        "-".to_owned()
    } else {
        held.join(", ")
    };
    GridRow::Cells(vec![
        text::name(&format!("{}/{}", capacity.provider, capacity.account)).into(),
        GridCell { text: free, style },
        text::name(&by).into(),
        (capacity.retry_at.as_deref())
            .map_or_else(|| "-".to_owned(), |at| until(at, now))
            .into(),
        capacity.active.to_string().into(),
        (capacity.concurrency)
            .map_or_else(|| "none".to_owned(), |limit| limit.to_string())
            .into(),
        held.into(),
    ])
}

/// `in 2 min`, or `now` for a time that has passed.
fn until(at: &str, now: Timestamp) -> String {
    let Ok(at) = at.parse::<Timestamp>() else {
        return text::name(at);
    };
    match u64::try_from(at.as_second() - now.as_second()) {
        Ok(seconds) if seconds > 0 => format!("in {}", length(seconds)),
        _ => "now".to_owned(),
    }
}

/// The time on its day; leases are short.
fn clock_time(at: &str) -> String {
    at.parse::<Timestamp>()
        .map_or_else(|_| text::name(at), |at| at.strftime("%m-%d %H:%M:%S").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        write(&mut out).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    fn now() -> Timestamp {
        "2026-11-30T16:00:00Z".parse().unwrap()
    }

    fn leases() -> Vec<Lease> {
        let granted = Lease {
            id: "1048576-9007199254".to_owned(),
            state: "granted".to_owned(),
            provider: "claude".to_owned(),
            account: "max-1".to_owned(),
            holder: Some("night\u{1b}[31m".to_owned()),
            granted_at: "2026-11-30T15:59:58.000Z".to_owned(),
            expires_at: Some("2026-11-30T16:01:58.000Z".to_owned()),
            probe: true,
            ..Lease::default()
        };
        let bound = Lease {
            id: "7-12".to_owned(),
            state: "bound".to_owned(),
            run: Some("refactor-the-billing-of-everything-042".to_owned()),
            class: Some("high".to_owned()),
            expires_at: None,
            probe: false,
            ..granted.clone()
        };
        vec![granted, bound]
    }

    #[test]
    fn leases_fit_eighty_columns_and_are_whole_in_a_pipe() {
        let narrow = shown(|out| write_leases(out, &leases(), now(), Some(80)));
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
        for words in ["granted, probe", "with run", "in 2 min", "…", "night\u{fffd}"] {
            assert!(narrow.contains(words), "{words}: {narrow}");
        }
        let whole = shown(|out| write_leases(out, &leases(), now(), None));
        for words in [
            "refactor-the-billing-of-everything-042",
            "11-30 16:01:58",
            "11-30 15:59:58",
            "high",
        ] {
            assert!(whole.contains(words), "{words}: {whole}");
        }
        assert_eq!(shown(|out| write_leases(out, &[], now(), None)), "no leases\n");
    }

    #[test]
    fn an_account_without_a_bound_does_not_look_full() {
        let free = Capacity {
            provider: "claude".to_owned(),
            account: "max-1".to_owned(),
            ..Capacity::default()
        };
        let full = Capacity {
            free: Some(0),
            by: Some("cool_down".to_owned()),
            retry_at: Some("2026-11-30T16:00:30Z".to_owned()),
            active: 3,
            concurrency: Some(3),
            held: [("five_hour".to_owned(), 0.06)].into(),
            ..free.clone()
        };
        let text = shown(|out| write_capacities(out, &[free, full], now(), Some(80)));
        let cells: Vec<Vec<&str>> = text
            .lines()
            .map(|line| {
                line.split("  ")
                    .map(str::trim)
                    .filter(|cell| !cell.is_empty())
                    .collect()
            })
            .collect();
        assert_eq!(
            cells[1],
            ["claude/max-1", "not bounded", "-", "-", "0", "none", "-"]
        );
        assert_eq!(
            cells[2],
            [
                "claude/max-1",
                "0",
                "cool down",
                "in 30 s",
                "3",
                "3",
                "five_hour 6.0 %"
            ]
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }

    #[test]
    fn a_refusal_has_its_reason_and_the_time_of_the_next_attempt() {
        let answer = LeaseAnswer {
            may_start: crate::api::wire::MayStart {
                decision: "wait".to_owned(),
                sentence: "no place is free".to_owned(),
                retry_at: Some("2026-11-30T16:00:30Z".to_owned()),
                ..Default::default()
            },
            ..LeaseAnswer::default()
        };
        let text = shown(|out| write_answer(out, &answer, "k", now(), None));
        assert_eq!(
            text,
            "no lease: wait; no place is free; ask again at 2026-11-30 16:00:30 UTC\n"
        );
        let granted = LeaseAnswer {
            leases: leases(),
            by: Some("concurrency".to_owned()),
            ..answer
        };
        let text = shown(|out| write_answer(out, &granted, "batch-7", now(), None));
        assert!(
            text.ends_with("no more were granted: concurrency\nkey: batch-7\n"),
            "{text}"
        );
    }
}
