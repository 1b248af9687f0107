//! The summary and the health of the collector as people read them.
//!
//! Styles are written as ANSI sequences; the writer decides whether they pass.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::numbers::{bytes, compact, counted, grouped, local_time};
use super::table::{self, Entry, Section};
use super::{quota_table, text};
use crate::api::wire::{Account, Coverage, Health, Lines, Summary};

/// Most rows of one table that `status` shows.
pub const STATUS_ROWS_MAX: usize = 20;
/// Below this many tokens the short form of a number tells nothing new.
const COMPACT_FROM: u64 = 10_000;

const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// How to show a document.
#[derive(Clone, Debug)]
pub struct View {
    /// The zone of the times; days stay those of UTC, as they were counted.
    pub zone: TimeZone,
    /// Most rows of one table; `None` shows all.
    pub rows_max: Option<usize>,
}

/// Prints a summary: heading, tables by run, model and day, line counts.
///
/// # Errors
/// Those of the writer.
pub fn summary(out: &mut dyn Write, summary: &Summary, view: &View) -> io::Result<()> {
    heading(out, summary, view)?;
    if summary.by_run.is_empty() {
        writeln!(out, "\nno runs yet")?;
    } else {
        for section in [
            by_run(summary, view),
            by_model(summary, view),
            by_day(summary, view),
        ] {
            if !section.entries.is_empty() {
                writeln!(out)?;
                table::write(out, &section)?;
            }
        }
    }
    writeln!(out)?;
    lines(out, &summary.lines)?;
    coverage(out, &summary.coverage)?;
    limits(out, summary, view)
}

/// Prints what is known to be missing, if anything is.
fn coverage(out: &mut dyn Write, coverage: &Coverage) -> io::Result<()> {
    let mut missing = Vec::new();
    if coverage.unlogged.total_tokens > 0 {
        missing.push(format!(
            "{} of {} tokens that agents report stand in no log, and are not counted",
            compact(coverage.unlogged.total_tokens),
            compact(coverage.reported.total_tokens)
        ));
    }
    if coverage.unfinished > 0 {
        let responses = counted(coverage.unfinished, "message");
        missing.push(format!("{responses} without a final line"));
    }
    if coverage.without_figures > 0 {
        let responses = counted(coverage.without_figures, "response");
        missing.push(format!("{responses} without figures"));
    }
    if missing.is_empty() {
        return Ok(());
    }
    writeln!(out, "coverage: {WARNING}{}{WARNING:#}", missing.join("; "))
}

/// Prints the limits, if there is anything to say about them.
fn limits(out: &mut dyn Write, summary: &Summary, view: &View) -> io::Result<()> {
    let quota = &summary.quota;
    let is_wanted = |account: &Account| account.calls_quota.is_some() || account.budget.is_some();
    if quota.windows.is_empty() && !quota.accounts.iter().any(is_wanted) {
        return Ok(());
    }
    // A document of another program may have a time nobody can read; the ages are left out then.
    let now = summary.now.parse().unwrap_or(Timestamp::UNIX_EPOCH);
    writeln!(out)?;
    quota_table::write(out, quota, now, &view.zone)
}

/// Prints how the collector is, and each thing that is not as it should be.
///
/// # Errors
/// Those of the writer.
pub fn health(out: &mut dyn Write, health: &Health, view: &View) -> io::Result<()> {
    let style = match health.status.as_str() {
        "ok" => GOOD,
        "degraded" => WARNING,
        _ => BAD,
    };
    let known = |word: &str| {
        if word.is_empty() {
            "unknown".to_owned()
        } else {
            text::name(word)
        }
    };
    writeln!(
        out,
        "collector: {style}{}{style:#}, {}, watching by {}, {}, {} since {}",
        known(&health.status),
        if health.ready { "ready" } else { "not ready" },
        known(&health.watching),
        if health.backlog_done {
            "backlog read"
        } else {
            "still reading the backlog"
        },
        counted(health.commits, "commit"),
        text::name(&local_time(&health.since, &view.zone)),
    )?;
    for reason in &health.reasons {
        writeln!(
            out,
            "  {style}-{style:#} {}",
            text::message(reason).replace('\n', " ")
        )?;
    }
    for notice in &health.notices {
        writeln!(
            out,
            "  {WARNING}not read{WARNING:#}: {}",
            text::message(notice).replace('\n', " ")
        )?;
    }
    let past = been_through(health);
    if !past.is_empty() {
        writeln!(out, "  since then: {}", past.join(", "))?;
    }
    Ok(())
}

/// What is over, or may be, and happened since the collector started.
fn been_through(health: &Health) -> Vec<String> {
    [
        (health.reopened, "the database opened anew"),
        (health.fallbacks, "without watches"),
        (health.overflows, "events lost"),
        (health.replaced, "a watched directory mounted over or replaced"),
        (health.problems, "something wrong with a run"),
    ]
    .into_iter()
    .filter(|(times, _)| *times > 0)
    .map(|(times, what)| format!("{what} ({})", counted(times, "time")))
    .collect()
}

fn heading(out: &mut dyn Write, summary: &Summary, view: &View) -> io::Result<()> {
    let total = summary.totals.total_tokens;
    let short = if total < COMPACT_FROM {
        String::new()
    } else {
        format!(" ({})", compact(total))
    };
    let calls = match summary.advisor_calls {
        0 => String::new(),
        calls => format!("{}, ", counted(calls, "advisor call")),
    };
    writeln!(
        out,
        "{STRONG}{}, {calls}{}{short}{STRONG:#} in {}, {}, as of {}",
        counted(summary.messages, "message"),
        counted(total, "token"),
        counted(summary.files, "file"),
        bytes(summary.bytes),
        text::name(&local_time(&summary.now, &view.zone)),
    )
}

fn by_run<'a>(summary: &'a Summary, view: &View) -> Section<'a> {
    let entries = summary.by_run.iter().map(|(name, run)| Entry {
        name,
        messages: Some(run.messages),
        totals: &run.totals,
    });
    let (entries, left_out) = table::most_first(entries.collect(), view.rows_max);
    let sum = Entry {
        name: "all",
        messages: Some(summary.messages),
        totals: &summary.totals,
    };
    Section {
        title: "run",
        rest: "more",
        entries,
        left_out,
        sum,
    }
}

fn by_model<'a>(summary: &'a Summary, view: &View) -> Section<'a> {
    let entries = summary.by_model.iter().map(|(name, totals)| Entry {
        name,
        messages: None,
        totals,
    });
    let (entries, left_out) = table::most_first(entries.collect(), view.rows_max);
    let sum = Entry {
        name: "all",
        messages: None,
        totals: &summary.totals,
    };
    Section {
        title: "model",
        rest: "more",
        entries,
        left_out,
        sum,
    }
}

/// The latest days, in their order.
fn by_day<'a>(summary: &'a Summary, view: &View) -> Section<'a> {
    let left_out = summary
        .by_day
        .len()
        .saturating_sub(view.rows_max.unwrap_or(usize::MAX));
    let entries = summary.by_day.iter().skip(left_out);
    let entries = entries
        .map(|(name, totals)| Entry {
            name,
            messages: None,
            totals,
        })
        .collect();
    let sum = Entry {
        name: "all",
        messages: None,
        totals: &summary.totals,
    };
    Section {
        title: "day (UTC)",
        rest: "earlier",
        entries,
        left_out,
        sum,
    }
}

fn lines(out: &mut dyn Write, lines: &Lines) -> io::Result<()> {
    write!(
        out,
        "lines: {} read, {} with usage, {} duplicate, {} ignored",
        grouped(lines.read),
        grouped(lines.usage),
        grouped(lines.duplicate),
        grouped(lines.ignored),
    )?;
    let problems = [
        (
            lines.malformed,
            "malformed",
            "not counted: no JSON object, or a `usage` that is not an object",
        ),
        (
            lines.oversized,
            "oversized",
            "not counted: longer than the bound on a line",
        ),
        (
            lines.clock_suspect,
            "clock suspect",
            "counted at the time of reading: no usable time",
        ),
    ];
    for (count, name, meaning) in problems {
        if count == 0 {
            write!(out, ", {DIM}0 {name}{DIM:#}")?;
        } else {
            write!(out, ", {WARNING}{} {name}{WARNING:#} ({meaning})", grouped(count))?;
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::{RunTotals, Totals};

    fn totals(input: u64, output: u64, write: u64, read: u64) -> Totals {
        Totals {
            input_tokens: input,
            output_tokens: output,
            cache_creation_input_tokens: write,
            cache_read_input_tokens: read,
            total_tokens: input + output + write + read,
            ..Totals::default()
        }
    }

    fn small() -> Summary {
        let (one, two) = (totals(10, 300, 2_000, 1_234_567), totals(1, 2, 0, 0));
        let all = totals(11, 302, 2_000, 1_234_567);
        let run = |messages, totals| RunTotals {
            messages,
            totals,
            malformed_lines: 0,
        };
        Summary {
            now: "2026-10-05T09:00:04.000Z".into(),
            messages: 3,
            advisor_calls: 1,
            totals: all,
            by_run: [("a".into(), run(1, two)), ("run-7".into(), run(2, one))].into(),
            by_model: [("claude-opus-4-5".into(), all)].into(),
            by_day: [("2026-10-04".into(), two), ("2026-10-05".into(), one)].into(),
            lines: Lines {
                read: 1_010,
                usage: 5,
                duplicate: 2,
                ignored: 1_002,
                malformed: 3,
                ..Lines::default()
            },
            files: 2,
            bytes: 1_536,
            ..Summary::default()
        }
    }

    fn view(rows_max: Option<usize>) -> View {
        View {
            zone: TimeZone::fixed(jiff::tz::offset(2)),
            rows_max,
        }
    }

    fn plain(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        write(&mut out).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn a_small_summary() {
        let expected = "\
3 messages, 1 advisor call, 1,236,880 tokens (1.2M) in 2 files, 1.5 KiB, as of 2026-10-05 11:00:04

run    messages  input  output  cache write  cache read      total
run-7         2     10     300        2,000   1,234,567  1,236,877
a             1      1       2            0           0          3
all           3     11     302        2,000   1,234,567  1,236,880

model            input  output  cache write  cache read      total
claude-opus-4-5     11     302        2,000   1,234,567  1,236,880
all                 11     302        2,000   1,234,567  1,236,880

day (UTC)   input  output  cache write  cache read      total
2026-10-04      1       2            0           0          3
2026-10-05     10     300        2,000   1,234,567  1,236,877
all            11     302        2,000   1,234,567  1,236,880

lines: 1,010 read, 5 with usage, 2 duplicate, 1,002 ignored, 3 malformed (not counted: \
no JSON object, or a `usage` that is not an object), 0 oversized, 0 clock suspect
";
        assert_eq!(plain(|out| summary(out, &small(), &view(None))), expected);
    }

    #[test]
    fn many_rows_are_cut_and_said() {
        let mut many = small();
        for index in 0..498_u64 {
            many.by_run.insert(format!("quiet-{index}"), RunTotals::default());
        }
        let text = plain(|out| summary(out, &many, &view(Some(1))));
        let rows: Vec<&str> = text
            .lines()
            .map(|line| line.split("  ").next().unwrap_or(""))
            .collect();
        assert_eq!(
            rows[2..6],
            ["run", "run-7", "… and 499 more (--json lists all)", "all"]
        );
        assert!(text.contains("… and 1 earlier (--json lists all)\nall"), "{text}");
        assert!(!text.contains("2026-10-04"), "{text}");
    }

    #[test]
    fn web_searches_show_if_there_are_any() {
        let mut searched = small();
        assert!(!plain(|out| summary(out, &searched, &view(None))).contains("web searches"));
        searched.totals.web_search_requests = 4;
        assert!(plain(|out| summary(out, &searched, &view(None))).contains("cache read  web searches"));
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(
            plain(|out| summary(out, &Summary::default(), &view(None))),
            "0 messages, 0 tokens in 0 files, 0 B, as of unknown\n\nno runs yet\n\n\
             lines: 0 read, 0 with usage, 0 duplicate, 0 ignored, 0 malformed, 0 oversized, 0 clock suspect\n"
        );
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let mut bad = small();
        bad.by_model.insert("\u{1b}[2J\nall".into(), Totals::default());
        let mut out = Vec::new();
        summary(&mut out, &bad, &view(None)).unwrap();
        assert!(!String::from_utf8(out).unwrap().contains("\u{1b}[2J"));
    }

    #[test]
    fn health_in_a_line_and_its_reasons() {
        let sick = Health {
            status: "degraded".into(),
            ready: true,
            reasons: vec!["out of watches: polling".into()],
            watching: "polling".into(),
            backlog_done: false,
            commits: 1_200,
            fallbacks: 1,
            problems: 2,
            since: "2026-10-05T09:00:04.000Z".into(),
            ..Health::default()
        };
        assert_eq!(
            plain(|out| health(out, &sick, &view(None))),
            "collector: degraded, ready, watching by polling, still reading the backlog, \
             1,200 commits since 2026-10-05 11:00:04\n  - out of watches: polling\n  \
             since then: without watches (1 time), something wrong with a run (2 times)\n"
        );
        assert!(plain(|out| health(out, &Health::default(), &view(None))).contains("since unknown"));
    }
}
