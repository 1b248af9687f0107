//! The summary and the collector's health for people: first the status, then the figures.
//!
//! Styles are ANSI sequences; the writer removes them where they are not allowed.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use jiff::Timestamp;

use super::cost;
use super::numbers::{bytes, counted, grouped, time};
use super::output::Screen;
use super::table::{self, Section, TableEntry};
use super::text;
use crate::api::wire::{Account, CoverageSums, Health, Lines, Summary};
use crate::cli::quota::table as quota_table;

/// Most rows of one table in `status`.
const STATUS_ROWS_MAX: usize = 20;
/// Fewest rows of a table; with less room it is left out.
const STATUS_ROWS_MIN: usize = 3;
/// Most candidates whose sentences the head of `status` shows.
const CANDIDATES_MAX: usize = 3;
/// Names of the tables by run, model and day.
const TABLES: [&str; 3] = ["run", "model", "day"];

const STRONG: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Most rows of the tables by run, model and day; `None` shows all.
type RowsMax = [Option<usize>; 3];

/// Prints a summary: heading, line counts, tables by run, model and day, limits.
///
/// # Errors
/// Errors of the writer.
pub fn summary(out: &mut dyn Write, summary: &Summary, width: Option<usize>) -> io::Result<()> {
    counts(out, summary, width)?;
    tables(out, summary, [None; 3], width)?;
    if has_limits(summary) {
        writeln!(out)?;
        // A document of another program may have an unreadable time; then ages are left out.
        let now = summary.now.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        quota_table::write(out, &summary.quota, now, width)?;
    }
    Ok(())
}

/// The source of a status: a collector with its health, or the database with a sentence about it.
#[derive(Clone, Copy, Debug)]
pub enum StatusSource<'a> {
    Collector(&'a Health),
    Stored(&'a str),
}

/// Prints health and the may-start answer, then the summary. On a terminal the tables leave room for the
/// head.
///
/// # Errors
/// Errors of the writer.
pub fn status(
    out: &mut dyn Write,
    summary: &Summary,
    standing: StatusSource<'_>,
    screen: Screen,
) -> io::Result<()> {
    let width = screen.columns;
    let mut head = Vec::new();
    match standing {
        StatusSource::Collector(health) => verdict(&mut head, health, width)?,
        StatusSource::Stored(sentence) => {
            let line = format!("{WARNING}{}{WARNING:#}", text::one_line(sentence));
            writeln!(head, "{}", text::wrapped(&line, width))?;
        }
    }
    let answer = &summary.quota.may_start;
    if answer.decision == "allow" {
        let line = quota_table::answer_line(answer);
        writeln!(head, "{}", text::wrapped(&line, width))?;
    } else {
        quota_table::write_answer(&mut head, answer, width, CANDIDATES_MAX)?;
    }
    if let StatusSource::Collector(health) = standing {
        collector(&mut head, health, width)?;
    }
    writeln!(head)?;
    counts(&mut head, summary, width)?;
    let mut limits = Vec::new();
    if has_limits(summary) {
        writeln!(limits)?;
        let now = summary.now.parse().unwrap_or(Timestamp::UNIX_EPOCH);
        quota_table::write_limits(&mut limits, &summary.quota, now, width)?;
    }
    let lines = |text: &[u8]| memchr::memchr_iter(b'\n', text).count();
    let of_runs = summary.by_run.len() + usize::from(summary.without_run.is_some());
    let entries = [of_runs, summary.by_model.len(), summary.by_day.len()];
    let rows_max = match screen.lines {
        // The last line is left to the shell's prompt.
        Some(all) => fitting(entries, all.saturating_sub(lines(&head) + lines(&limits) + 1)),
        None => [Some(STATUS_ROWS_MAX); 3],
    };
    out.write_all(&head)?;
    tables(out, summary, rows_max, width)?;
    out.write_all(&limits)?;
    let left_out: Vec<&str> = (TABLES.iter().zip(rows_max))
        .filter(|(_, rows)| *rows == Some(0))
        .map(|(name, _)| *name)
        .collect();
    if left_out.is_empty() {
        return Ok(());
    }
    let note = format!(
        "{DIM}no room for the table by {} (tokentail status | less){DIM:#}",
        left_out.join(" and ")
    );
    writeln!(out, "\n{}", text::wrapped(&note, width))
}

/// Rows of each table that fit into `lines`; 0 for a table that is left out. The table by run is always
/// shown.
fn fitting(entries: [usize; 3], lines: usize) -> RowsMax {
    let wanted = entries.map(|entries| entries.min(STATUS_ROWS_MAX));
    let mut rows = entries.map(|entries| entries.min(STATUS_ROWS_MIN));
    let height = |rows: &[usize; 3]| -> usize {
        let of = |(rows, entries): (&usize, usize)| match *rows {
            0 => 0,
            // A blank line, the header, the note on left-out rows, and the sum.
            rows => rows + 3 + usize::from(rows < entries),
        };
        let note = rows
            .iter()
            .zip(entries)
            .any(|(rows, entries)| *rows == 0 && entries > 0);
        rows.iter().zip(entries).map(of).sum::<usize>() + if note { 2 } else { 0 }
    };
    for last in [2, 1] {
        if height(&rows) > lines {
            rows[last] = 0;
        }
    }
    loop {
        let grows = |index: &usize| rows[*index] > 0 && rows[*index] < wanted[*index];
        let Some(least) = (0..rows.len()).filter(grows).min_by_key(|index| rows[*index]) else {
            break;
        };
        let mut more = rows;
        more[least] += 1;
        if height(&more) > lines {
            break;
        }
        rows = more;
    }
    rows.map(Some)
}

/// The heading, and notes on the lines read and on known gaps.
fn counts(out: &mut dyn Write, summary: &Summary, width: Option<usize>) -> io::Result<()> {
    for line in [heading(summary), lines(&summary.lines)]
        .into_iter()
        .chain(coverage(&summary.coverage.sums))
        .chain(cost::note(&summary.pricing, &summary.totals.cost))
    {
        writeln!(out, "{}", text::wrapped(&line, width))?;
    }
    Ok(())
}

fn tables(out: &mut dyn Write, summary: &Summary, rows_max: RowsMax, width: Option<usize>) -> io::Result<()> {
    if summary.by_run.is_empty() && summary.without_run.is_none() {
        return writeln!(out, "\nno runs yet");
    }
    let [runs, models, days] = rows_max;
    for (section, rows_max) in [
        (by_run(summary, runs), runs),
        (by_model(summary, models), models),
        (by_day(summary, days), days),
    ] {
        if !section.entries.is_empty() && rows_max != Some(0) {
            writeln!(out)?;
            table::write(out, &section, width)?;
        }
    }
    Ok(())
}

/// Known gaps, if there are any.
fn coverage(coverage: &CoverageSums) -> Option<String> {
    let mut missing = Vec::new();
    if coverage.unlogged.total_tokens > 0 {
        missing.push(format!(
            "{} of {} tokens reported by agents are in no log, and are not counted",
            grouped(coverage.unlogged.total_tokens),
            grouped(coverage.reported.total_tokens)
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
    let missing = missing.join("; ");
    (!missing.is_empty()).then(|| format!("coverage: {WARNING}{missing}{WARNING:#}"))
}

/// True if there are limits to show.
fn has_limits(summary: &Summary) -> bool {
    let quota = &summary.quota;
    let is_wanted = |account: &Account| {
        account.calls_quota.is_some() || account.budget.is_some() || account.poll.is_some()
    };
    !quota.windows.is_empty() || quota.accounts.iter().any(is_wanted)
}

/// The status as a word, and the reasons.
fn verdict(out: &mut dyn Write, health: &Health, width: Option<usize>) -> io::Result<()> {
    let (word, style) = match health.status.as_str() {
        "ok" => ("healthy".to_owned(), GOOD),
        "degraded" => ("degraded".to_owned(), WARNING),
        "" => ("unknown".to_owned(), BAD),
        word => (text::name(word), BAD),
    };
    let mut line = format!("{style}{word}{style:#}");
    if !health.ready {
        line += ", not ready";
    }
    if !health.backlog_done {
        line += ", still reading the backlog";
    }
    match health.reasons.as_slice() {
        [] => {}
        [reason] => {
            let _ = write!(line, ": {}", text::one_line(reason));
        }
        reasons => {
            let _ = write!(line, ", {}:", counted(reasons.len() as u64, "reason"));
        }
    }
    writeln!(out, "{}", text::wrapped(&line, width))?;
    if health.reasons.len() > 1 {
        for reason in &health.reasons {
            let line = format!("  {style}-{style:#} {}", text::one_line(reason));
            writeln!(out, "{}", text::wrapped(&line, width))?;
        }
    }
    Ok(())
}

/// The mode of operation, notices, and past events.
fn collector(out: &mut dyn Write, health: &Health, width: Option<usize>) -> io::Result<()> {
    let watching = if health.watching.is_empty() {
        "unknown".to_owned()
    } else {
        text::name(&health.watching)
    };
    let line = format!(
        "collector: watching by {watching}, {} since {}",
        counted(health.commits, "commit"),
        time(&health.since),
    );
    writeln!(out, "{}", text::wrapped(&line, width))?;
    for notice in &health.notices {
        let line = format!("  {WARNING}note{WARNING:#}: {}", text::one_line(notice));
        writeln!(out, "{}", text::wrapped(&line, width))?;
    }
    let past = been_through(health);
    if !past.is_empty() {
        let line = format!("  since then: {}", past.join(", "));
        writeln!(out, "{}", text::wrapped(&line, width))?;
    }
    Ok(())
}

/// Past events since the collector started.
fn been_through(health: &Health) -> Vec<String> {
    [
        (health.reopened, "the database opened anew"),
        (health.fallbacks, "without watches"),
        (health.overflows, "events lost"),
        (health.replaced, "a watched directory mounted over or replaced"),
        (health.problems, "a problem in a run or in the runs directory"),
    ]
    .into_iter()
    .filter(|(times, _)| *times > 0)
    .map(|(times, what)| format!("{what} ({})", counted(times, "time")))
    .collect()
}

fn heading(summary: &Summary) -> String {
    let calls = match summary.advisor_calls {
        0 => String::new(),
        calls => format!("{}, ", counted(calls, "advisor call")),
    };
    format!(
        "{STRONG}{}, {calls}{}{STRONG:#} in {}, {}, as of {}",
        counted(summary.messages, "message"),
        counted(summary.totals.totals.total_tokens, "token"),
        counted(summary.files, "file"),
        bytes(summary.bytes),
        time(&summary.now),
    )
}

fn by_run(summary: &Summary, rows_max: Option<usize>) -> Section<'_> {
    let entries = summary.by_run.iter().map(|(name, run)| TableEntry {
        name,
        messages: Some(run.sums.messages),
        totals: &run.sums.totals,
        cost: &run.cost,
    });
    // No run can have this name.
    let without = summary.without_run.as_ref().map(|run| TableEntry {
        name: "(no run)",
        messages: Some(run.sums.messages),
        totals: &run.sums.totals,
        cost: &run.cost,
    });
    let (entries, left_out) = table::most_first(entries.chain(without).collect(), rows_max);
    let sum = TableEntry {
        name: "all",
        messages: Some(summary.messages),
        totals: &summary.totals.totals,
        cost: &summary.totals.cost,
    };
    Section {
        title: "run",
        rest: "more",
        entries,
        left_out,
        sum,
    }
}

fn by_model(summary: &Summary, rows_max: Option<usize>) -> Section<'_> {
    let entries = summary.by_model.iter().map(|(name, sums)| TableEntry {
        name,
        messages: None,
        totals: &sums.totals,
        cost: &sums.cost,
    });
    let (entries, left_out) = table::most_first(entries.collect(), rows_max);
    let sum = TableEntry {
        name: "all",
        messages: None,
        totals: &summary.totals.totals,
        cost: &summary.totals.cost,
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
fn by_day(summary: &Summary, rows_max: Option<usize>) -> Section<'_> {
    let left_out = summary
        .by_day
        .len()
        .saturating_sub(rows_max.unwrap_or(usize::MAX));
    let entries = summary.by_day.iter().skip(left_out);
    let entries = entries
        .map(|(name, sums)| TableEntry {
            name,
            messages: None,
            totals: &sums.totals,
            cost: &sums.cost,
        })
        .collect();
    let sum = TableEntry {
        name: "all",
        messages: None,
        totals: &summary.totals.totals,
        cost: &summary.totals.cost,
    };
    Section {
        title: "day (UTC)",
        rest: "earlier",
        entries,
        left_out,
        sum,
    }
}

fn lines(lines: &Lines) -> String {
    let mut line = format!(
        "lines: {} read, {} with usage, {} duplicate, {} ignored",
        grouped(lines.read),
        grouped(lines.usage),
        grouped(lines.duplicate),
        grouped(lines.ignored),
    );
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
        let part = if count == 0 {
            format!(", {DIM}0 {name}{DIM:#}")
        } else {
            format!(", {WARNING}{} {name}{WARNING:#} ({meaning})", grouped(count))
        };
        line.push_str(&part);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::{Cost, PricedRunTotals, PricedTotals, RunTotals, Totals, Unpriced};

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
        let priced = |totals| PricedTotals {
            totals,
            cost: Cost::default(),
        };
        let all = priced(totals(11, 302, 2_000, 1_234_567));
        let run = |messages, totals| PricedRunTotals {
            state: None,
            sums: RunTotals {
                messages,
                totals,
                malformed_lines: 0,
            },
            cost: Cost::default(),
        };
        Summary {
            now: "2026-10-05T09:00:04.000Z".into(),
            messages: 3,
            advisor_calls: 1,
            totals: all.clone(),
            by_run: [("a".into(), run(1, two)), ("run-7".into(), run(2, one))].into(),
            by_model: [("claude-opus-4-5".into(), all)].into(),
            by_day: [
                ("2026-10-04".into(), priced(two)),
                ("2026-10-05".into(), priced(one)),
            ]
            .into(),
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

    fn plain(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        write(&mut out).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    const SMALL: &str = "\
3 messages, 1 advisor call, 1,236,880 tokens in 2 files, 1.5 KiB, as of 2026-10-05 09:00:04 UTC
lines: 1,010 read, 5 with usage, 2 duplicate, 1,002 ignored, 3 malformed (not counted: \
no JSON object, or a `usage` that is not an object), 0 oversized, 0 clock suspect

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
";

    #[test]
    fn a_small_summary() {
        assert_eq!(plain(|out| summary(out, &small(), None)), SMALL);
    }

    #[test]
    fn a_summary_fits_its_width() {
        let mut long = small();
        let name = format!("nightly-{}-042", "x".repeat(100));
        let run = long.by_run["run-7"].clone();
        long.by_run.insert(name.clone(), run);
        assert!(plain(|out| summary(out, &long, None)).contains(&name));
        for width in [40, 60, 80, 100] {
            let text = plain(|out| summary(out, &long, Some(width)));
            assert!(
                text.lines().all(|line| line.chars().count() <= width),
                "{width}: {text}"
            );
            assert!(
                text.contains("nightly-") && text.contains("…") && text.contains("-042"),
                "{text}"
            );
            assert!(text.contains("1,236,880"), "{text}");
        }
    }

    #[test]
    fn many_rows_are_left_out_and_said() {
        let mut many = small();
        for index in 0..498_u64 {
            many.by_run
                .insert(format!("quiet-{index}"), PricedRunTotals::default());
        }
        let health = Health::default();
        let text = plain(|out| status(out, &many, StatusSource::Collector(&health), Screen::default()));
        assert!(text.contains("… and 480 more (--json lists all)\nall"), "{text}");
        let text = plain(|out| tables(out, &many, [Some(1); 3], None));
        assert!(text.contains("… and 1 earlier (--json lists all)\nall"), "{text}");
        assert!(!text.contains("2026-10-04"), "{text}");
    }

    #[test]
    fn the_verdict_stays_on_the_terminal() {
        let mut many = small();
        for index in 0..498_u64 {
            many.by_run
                .insert(format!("quiet-{index}"), PricedRunTotals::default());
            many.by_model
                .insert(format!("model-{index}"), PricedTotals::default());
        }
        let health = Health {
            status: "ok".into(),
            ready: true,
            backlog_done: true,
            ..Health::default()
        };
        for lines in [24, 30, 50, 80, 200] {
            let screen = Screen {
                columns: Some(80),
                lines: Some(lines),
            };
            let text = plain(|out| status(out, &many, StatusSource::Collector(&health), screen));
            assert!(text.starts_with("healthy\nmay start: "), "{text}");
            assert!(text.lines().count() < lines, "{lines}: {text}");
            assert!(text.contains("\nrun-7 "), "{text}");
            assert_eq!(
                text.contains("no room for the table by"),
                lines < 30,
                "{lines}: {text}"
            );
        }
    }

    #[test]
    fn tables_share_the_room() {
        for (entries, lines, expected) in [
            ([500, 8, 30], 100, [20, 8, 20]),
            ([500, 8, 30], 40, [11, 8, 10]),
            ([2, 1, 1], 24, [2, 1, 1]),
            ([500, 8, 30], 14, [8, 0, 0]),
            ([500, 8, 30], 0, [3, 0, 0]),
            ([0, 0, 0], 24, [0, 0, 0]),
        ] {
            assert_eq!(
                fitting(entries, lines),
                expected.map(Some),
                "{entries:?} in {lines}"
            );
        }
    }

    #[test]
    fn thinking_and_web_searches_show_if_there_are_any() {
        let mut searched = small();
        assert!(!plain(|out| summary(out, &searched, None)).contains("web searches"));
        searched.totals.totals.web_search_requests = 4;
        assert!(plain(|out| summary(out, &searched, None)).contains("cache read  web searches"));
        searched.totals.totals.thinking_tokens = 200;
        assert!(plain(|out| summary(out, &searched, None)).contains("cache read  thinking  web searches"));
    }

    #[test]
    fn costs_show_if_the_document_has_them() {
        let mut priced = small();
        assert!(!plain(|out| summary(out, &priced, None)).contains("cost:"));
        let cost = |usd| Cost {
            estimated_cost_usd: usd,
            unpriced: Some(Unpriced {
                models: ["gpt-new".to_owned()].into(),
                tokens: 3,
            }),
        };
        priced.totals.cost = cost(Some(1_234.5));
        priced.by_run.get_mut("a").unwrap().cost = cost(None);
        priced.pricing.price_table = "list 1".to_owned();
        let text = plain(|out| summary(out, &priced, None));
        assert!(
            text.contains(
                "\ncost: an estimate at list price (list 1), no bill; +?: no price of gpt-new (3 tokens)\n"
            ),
            "{text}"
        );
        assert!(text.contains("      total          cost\n"), "{text}");
        assert!(text.contains("3             -\n"), "{text}");
        assert!(text.contains("1,236,880  $1,234.50 +?\n"), "{text}");
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert_eq!(
            plain(|out| summary(out, &Summary::default(), None)),
            "0 messages, 0 tokens in 0 files, 0 B, as of unknown\n\
             lines: 0 read, 0 with usage, 0 duplicate, 0 ignored, 0 malformed, 0 oversized, 0 clock suspect\n\n\
             no runs yet\n"
        );
    }

    #[test]
    fn a_name_cannot_steer_the_terminal() {
        let mut bad = small();
        bad.by_model
            .insert("\u{1b}[2J\nall".into(), PricedTotals::default());
        let mut out = Vec::new();
        summary(&mut out, &bad, None).unwrap();
        assert!(!String::from_utf8(out).unwrap().contains("\u{1b}[2J"));
    }

    #[test]
    fn the_verdict_and_its_reasons_come_first() {
        let mut sick = Health {
            status: "degraded".into(),
            ready: true,
            reasons: vec!["out of watches:\npolling".into()],
            watching: "polling".into(),
            backlog_done: false,
            commits: 1_200,
            fallbacks: 1,
            problems: 2,
            since: "2026-10-05T09:00:04.000Z".into(),
            ..Health::default()
        };
        let said = |health: &Health| {
            let standing = StatusSource::Collector(health);
            plain(|out| status(out, &Summary::default(), standing, Screen::default()))
        };
        let text = said(&sick);
        assert!(
            text.starts_with(
                "degraded, still reading the backlog: out of watches: polling\n\
                 may start: , \n\
                 collector: watching by polling, 1,200 commits since 2026-10-05 09:00:04 UTC\n  \
                 since then: without watches (1 time), a problem in a run or in the runs directory (2 times)\n\n\
                 0 messages"
            ),
            "{text}"
        );
        sick.status = "unhealthy".into();
        sick.reasons.push("run a: cannot read".into());
        let text = said(&sick);
        assert!(
            text.starts_with(
                "unhealthy, still reading the backlog, 2 reasons:\n  - out of watches: polling\n  \
                 - run a: cannot read\nmay start: "
            ),
            "{text}"
        );
        assert!(said(&Health::default()).contains("since unknown"));
        let stored = StatusSource::Stored("no collector is running");
        let text = plain(|out| status(out, &Summary::default(), stored, Screen::default()));
        assert!(text.starts_with("no collector is running\nmay start: "), "{text}");
    }
}
