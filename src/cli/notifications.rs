//! `notify`: the targets of notifications and tests of them.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::args::{self, Global, NotifyCommand};
use super::client::{self, Method};
use super::exit::{Exit, Failure};
use super::print::grid::{self, Column, GridCell, GridRow};
use super::print::numbers::time;
use super::print::{output, text};
use super::settings;
use crate::api::wire;

/// Time for a test: longer than the longest time of a target.
const TEST_WITHIN: std::time::Duration = std::time::Duration::from_secs(30);

const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const WARNING: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();

const TARGETS: [Column; 8] = [
    Column::names("target", 0),
    Column::words("state", 0),
    Column::numbers("waiting", 0),
    Column::numbers("sent", 1),
    Column::numbers("failed", 2),
    Column::numbers("dropped", 3),
    Column::words("last sent (UTC)", 4),
    Column::names("to", 5),
];

/// Runs a subcommand.
///
/// # Errors
/// No collector answers, or there is no such target.
pub fn notify(global: &Global, command: &args::NotifyArgs) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    match &command.command {
        NotifyCommand::List => {
            let targets: Vec<wire::NotifyTarget> =
                client::get_json_blocking(&socket, "/v1/notify", client::TIMEOUT)?;
            let width = output::Screen::stdout().columns;
            output::document(global.json, &targets, |out| write_targets(out, &targets, width))?;
            Ok(Exit::Ok)
        }
        NotifyCommand::Test(test) => {
            let path = format!("/v1/notify/{}/test", client::escaped(&test.target));
            let body = wire::NotifyTest {
                event: test.event.clone(),
            };
            let sent = client::send_json(&socket, (Method::POST, &path), &body, TEST_WITHIN);
            let tested: wire::NotifyTested = client::runtime(&socket)?.block_on(sent)?;
            output::document(global.json, &tested, |out| write_tested(out, &tested))?;
            Ok(if tested.sent { Exit::Ok } else { Exit::No })
        }
    }
}

fn write_tested(out: &mut dyn Write, tested: &wire::NotifyTested) -> io::Result<()> {
    let (target, event, took) = (
        text::name(&tested.target),
        text::name(&tested.event),
        tested.took_ms,
    );
    match &tested.error {
        None => writeln!(out, "{GOOD}{target} took a test of {event}{GOOD:#} in {took} ms"),
        Some(why) => writeln!(
            out,
            "{BAD}{target} did not take a test of {event}{BAD:#}: {}",
            text::one_line(why)
        ),
    }
}

fn write_targets(
    out: &mut dyn Write,
    targets: &[wire::NotifyTarget],
    width: Option<usize>,
) -> io::Result<()> {
    if targets.is_empty() {
        return writeln!(
            out,
            "no targets; a [[notify]] table of the configuration makes one"
        );
    }
    let rows: Vec<GridRow> = targets.iter().map(row).collect();
    grid::write(out, &TARGETS, &rows, width)?;
    for target in targets {
        if let Some(line) = trouble(target) {
            writeln!(out, "{DIM}{}{DIM:#}", text::wrapped(&line, width))?;
        }
    }
    let note = "sent, failed and dropped are counted since the start of the collector";
    writeln!(out, "{DIM}{note}{DIM:#}")
}

/// The reason why nothing reaches a target, since when, and the next try.
fn trouble(target: &wire::NotifyTarget) -> Option<String> {
    let name = text::name(&target.name);
    let since = target.failing_since.as_deref().map(time);
    let mut line = match (&target.error, since) {
        (Some(why), None) => format!("{name}: {}", text::one_line(why)),
        (Some(why), Some(since)) => format!("{name}: {}; failing since {since}", text::one_line(why)),
        (None, Some(since)) => format!(
            "{name}: failing since {since}; the log before this start has the reason; \
             try it with `tokentail notify test {name}`"
        ),
        (None, None) => return None,
    };
    if let Some(at) = &target.next_try_at {
        line.push_str("; next try ");
        line.push_str(&time(at));
    }
    Some(line)
}

fn row(target: &wire::NotifyTarget) -> GridRow {
    let style = match target.state.as_str() {
        "failing" => BAD,
        "retrying" => WARNING,
        _ => GOOD,
    };
    let counts = target.since_start;
    GridRow::Cells(vec![
        text::name(&target.name).into(),
        GridCell {
            text: text::name(&target.state),
            style,
        },
        target.waiting.to_string().into(),
        counts.sent.to_string().into(),
        counts.failed.to_string().into(),
        counts.dropped.to_string().into(),
        target
            .last_sent_at
            .as_deref()
            .map_or_else(|| "-".to_owned(), time)
            .into(),
        text::name(&target.to).into(),
    ])
}
