//! A run as the collector describes it, and as people read it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use comfy_table::{Cell, CellAlignment, Table, presets};
use jiff::tz::TimeZone;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::numbers::{bytes, compact, counted, local_time};
use super::super::table::{self, Entry, Section};
use super::super::text;
use crate::api::wire;

const HEADER: Style = Style::new().underline();
const STRONG: Style = Style::new().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();

/// Most labels that a row shows, in characters.
const LABELS_CHARS_MAX: usize = 40;

/// A run's document, whole as it came, and what is read of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub whole: Value,
    pub run: Run,
}

/// What is read of it. A collector of another version may leave things out.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Run {
    pub id: String,
    #[serde(default)]
    pub state: String,
    #[serde(default)]
    pub provider: String,
    #[serde(default)]
    pub account: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(flatten)]
    pub totals: wire::RunTotals,
    #[serde(default)]
    pub files: u64,
    #[serde(default)]
    pub bytes: u64,
    #[serde(default)]
    pub lag_bytes: u64,
    #[serde(default)]
    pub last_activity: Option<String>,
    #[serde(default)]
    pub by_model: BTreeMap<String, wire::Totals>,
    #[serde(default)]
    pub problem: Option<String>,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Value::deserialize(deserializer)?;
        let run = Run::deserialize(&whole).map_err(serde::de::Error::custom)?;
        Ok(Self { whole, run })
    }
}

/// Prints what a run used, by model.
///
/// # Errors
/// Those of the writer.
pub fn totals(out: &mut dyn Write, run: &Run) -> io::Result<()> {
    let sums = &run.totals.totals;
    writeln!(
        out,
        "{STRONG}run {}: {}, {}{STRONG:#} in {}, {}",
        text::name(&run.id),
        counted(run.totals.messages, "message"),
        counted(sums.total_tokens, "token"),
        counted(run.files, "file"),
        bytes(run.bytes),
    )?;
    if !run.by_model.is_empty() {
        let of_model = |(name, totals)| Entry {
            name,
            messages: None,
            totals,
        };
        let entries = run
            .by_model
            .iter()
            .map(|(name, totals)| of_model((name.as_str(), totals)));
        let (entries, left_out) = table::most_first(entries.collect(), None);
        let sum = of_model(("all", sums));
        let section = Section {
            title: "model",
            rest: "more",
            entries,
            left_out,
            sum,
        };
        table::write(out, &section)?;
    }
    if run.totals.malformed_lines > 0 {
        let lines = counted(run.totals.malformed_lines, "malformed line");
        writeln!(out, "{WARNING}{lines}{WARNING:#}, not counted")?;
    }
    if let Some(problem) = &run.problem {
        writeln!(out, "{WARNING}{}{WARNING:#}", text::message(problem))?;
    }
    Ok(())
}

/// Prints runs, one to a line.
///
/// # Errors
/// Those of the writer.
pub fn list(out: &mut dyn Write, runs: &[Run], zone: &TimeZone) -> io::Result<()> {
    if runs.is_empty() {
        return writeln!(out, "no runs");
    }
    let header = [
        "run",
        "state",
        "account",
        "labels",
        "tokens",
        "lag",
        "last activity",
    ];
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header.map(Cell::new).to_vec());
    for run in runs {
        let account = match (run.provider.as_str(), run.account.as_str()) {
            ("", "") => String::new(),
            (provider, account) => format!("{provider}/{account}"),
        };
        let lag = match run.lag_bytes {
            0 => String::new(),
            lag => bytes(lag),
        };
        let last = (run.last_activity.as_deref()).map(|time| local_time(time, zone));
        let row = [
            text::name(&run.id),
            text::name(&run.state),
            text::name(&account),
            text::shortened(&text::name(&labels(run)), LABELS_CHARS_MAX),
            compact(run.totals.totals.total_tokens),
            lag,
            text::name(&last.unwrap_or_default()),
        ];
        table.add_row(row.map(Cell::new).to_vec());
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if matches!(header[index], "tokens" | "lag") {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for (index, line) in table.lines().enumerate() {
        let line = line.trim_end();
        match index {
            0 => writeln!(out, "{HEADER}{line}{HEADER:#}")?,
            _ => writeln!(out, "{line}")?,
        }
    }
    Ok(())
}

fn labels(run: &Run) -> String {
    let labels = run.labels.iter().map(|(name, value)| format!("{name}={value}"));
    labels.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sums(tokens: u64) -> Value {
        json!({"input_tokens": tokens, "output_tokens": 0, "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0, "cache_creation_5m": 0, "cache_creation_1h": 0,
            "web_search_requests": 0, "total_tokens": tokens})
    }

    fn document(more: Value) -> Value {
        let mut run = sums(1200);
        let (Value::Object(run_map), Value::Object(more)) = (&mut run, more) else {
            panic!("objects")
        };
        run_map.extend(more);
        run
    }

    fn plain(print: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = anstream::StripStream::new(Vec::new());
        print(&mut out).unwrap();
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[test]
    fn what_is_not_known_of_a_run_may_be_left_out_and_what_is_more_is_kept() {
        let least = document(json!({"id": "r", "messages": 2, "malformed_lines": 0, "tomorrow": [1]}));
        let read: Document = serde_json::from_value(least.clone()).unwrap();
        assert_eq!(read.whole, least);
        assert_eq!((read.run.state.as_str(), read.run.totals.messages), ("", 2));
        assert!(serde_json::from_value::<Document>(json!({"id": "r"})).is_err());
        let nulls = document(json!({"id": "r", "messages": 2, "malformed_lines": 0, "last_activity": null}));
        assert!(serde_json::from_value::<Document>(nulls).is_ok());
    }

    #[test]
    fn totals_are_a_table_by_model() {
        let run = document(
            json!({"id": "fix-42", "messages": 3, "malformed_lines": 1, "files": 1, "bytes": 2048,
            "by_model": {"small": sums(200), "big": sums(1000)}, "problem": "odd\u{1b}"}),
        );
        let run: Run = serde_json::from_value(run).unwrap();
        assert_eq!(
            plain(|out| totals(out, &run)),
            "run fix-42: 3 messages, 1,200 tokens in 1 file, 2.0 KiB\n\
             model  input  output  cache write  cache read  total\n\
             big    1,000       0            0           0  1,000\n\
             small    200       0            0           0    200\n\
             all    1,200       0            0           0  1,200\n\
             1 malformed line, not counted\n\
             odd\u{fffd}\n"
        );
        assert!(
            plain(|out| totals(out, &Run::default())).ends_with("0 messages, 0 tokens in 0 files, 0 B\n")
        );
    }

    #[test]
    fn runs_are_a_table() {
        let run = document(
            json!({"id": "a", "state": "live", "provider": "claude", "account": "max-1",
            "messages": 1, "malformed_lines": 0, "lag_bytes": 1024, "labels": {"k": "v", "project": "x"},
            "last_activity": "2026-10-05T09:00:00.000Z"}),
        );
        let other = document(json!({"id": "other", "state": "stopped", "messages": 1, "malformed_lines": 0}));
        let runs: Vec<Run> = serde_json::from_value(json!([run, other])).unwrap();
        assert_eq!(
            plain(|out| list(out, &runs, &TimeZone::UTC)),
            "run    state    account       labels         tokens      lag  last activity\n\
             a      live     claude/max-1  k=v project=x    1.2k  1.0 KiB  2026-10-05 09:00:00\n\
             other  stopped                                 1.2k\n"
        );
        assert_eq!(plain(|out| list(out, &[], &TimeZone::UTC)), "no runs\n");
    }
}
