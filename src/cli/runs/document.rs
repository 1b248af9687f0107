//! Run documents of the collector, and their rendering.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::super::args::RunOrder;
use super::super::print::cost;
use super::super::print::grid::{self, Column, GridCell, GridRow};
use super::super::print::numbers::{bytes, counted, grouped, time, time_without_zone};
use super::super::print::table::{self, Section, TableEntry};
use super::super::print::text;
use crate::api::wire;

const STRONG: Style = Style::new().bold();
const WARNING: Style = AnsiColor::Yellow.on_default();

const COLUMNS: [Column; 8] = [
    Column::names("run", 0),
    Column::words("state", 0),
    Column::names("account", 3),
    Column::names("labels", 5),
    Column::numbers("tokens", 0),
    Column::numbers("cost", 1),
    Column::numbers("lag", 4),
    Column::words("last activity (UTC)", 2),
];

/// Index of the cost among them, which collectors of earlier versions do not send.
const COST_AT: usize = 5;

/// A run's document: the raw JSON and the parsed fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    pub whole: Value,
    pub run: RunDocument,
}

/// Parsed fields. A collector of another version may omit some.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct RunDocument {
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
    pub first_seen: Option<String>,
    #[serde(default)]
    pub registered_at: Option<String>,
    #[serde(default)]
    pub last_activity: Option<String>,
    #[serde(default)]
    pub last_change: Option<String>,
    #[serde(default)]
    pub by_model: BTreeMap<String, wire::PricedTotals>,
    #[serde(flatten)]
    pub cost: wire::Cost,
    #[serde(flatten)]
    pub pricing: wire::Pricing,
    #[serde(default)]
    pub problem: Option<String>,
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let whole = Value::deserialize(deserializer)?;
        let run = RunDocument::deserialize(&whole).map_err(serde::de::Error::custom)?;
        Ok(Self { whole, run })
    }
}

/// Sorts runs; equal ones are ordered by id.
pub fn sort(runs: &mut [Document], order: RunOrder) {
    runs.sort_by(|a, b| by_id(&a.run.id, &b.run.id));
    let started = |run: &RunDocument| run.registered_at.clone().or_else(|| run.first_seen.clone());
    match order {
        RunOrder::Id => {}
        RunOrder::State => runs.sort_by(|a, b| a.run.state.cmp(&b.run.state)),
        RunOrder::Account => {
            runs.sort_by_cached_key(|one| (one.run.provider.clone(), one.run.account.clone()));
        }
        // RFC 3339 times of one form and zone sort as text.
        RunOrder::Started => runs.sort_by_cached_key(|one| Reverse(started(&one.run))),
        RunOrder::Active => runs.sort_by_cached_key(|one| Reverse(one.run.last_activity.clone())),
        RunOrder::Tokens => runs.sort_by_key(|one| Reverse(one.run.totals.totals.total_tokens)),
        RunOrder::Lag => runs.sort_by_key(|one| Reverse(one.run.lag_bytes)),
    }
}

/// Natural order of names: `run-9` comes before `run-10`.
#[must_use]
pub fn by_id(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (a_digits, b_digits) = (digits(left), digits(right));
        if a_digits > 0 && b_digits > 0 {
            let a_number = left[..a_digits].trim_start_matches('0');
            let b_number = right[..b_digits].trim_start_matches('0');
            let by_number = a_number
                .len()
                .cmp(&b_number.len())
                .then_with(|| a_number.cmp(b_number));
            if by_number.is_ne() {
                return by_number;
            }
            (left, right) = (&left[a_digits..], &right[b_digits..]);
            continue;
        }
        let (mut a_rest, mut b_rest) = (left.chars(), right.chars());
        match (a_rest.next(), b_rest.next()) {
            (Some(one), Some(other)) if one == other => (left, right) = (a_rest.as_str(), b_rest.as_str()),
            // `007` and `7`.
            (None, None) => return a.cmp(b),
            (one, other) => return one.cmp(&other),
        }
    }
}

/// Number of digits at the start of a text.
fn digits(text: &str) -> usize {
    text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len()
}

/// Prints the usage of a run by model.
///
/// # Errors
/// Errors of the writer.
pub fn totals(out: &mut dyn Write, run: &RunDocument, width: Option<usize>) -> io::Result<()> {
    let sums = &run.totals.totals;
    let heading = format!(
        "{STRONG}run {}: {}, {}{STRONG:#} in {}, {}",
        text::name(&run.id),
        counted(run.totals.messages, "message"),
        counted(sums.total_tokens, "token"),
        counted(run.files, "file"),
        bytes(run.bytes),
    );
    writeln!(out, "{}", text::wrapped(&heading, width))?;
    if let Some(changed) = &run.last_change {
        let said = format!("a transcript changed last at {}", time(changed));
        writeln!(out, "{}", text::wrapped(&said, width))?;
    }
    if !run.by_model.is_empty() {
        let of_model = |name, totals, cost| TableEntry {
            name,
            messages: None,
            totals,
            cost,
        };
        let entries = run
            .by_model
            .iter()
            .map(|(name, sums)| of_model(name.as_str(), &sums.totals, &sums.cost));
        let (entries, left_out) = table::most_first(entries.collect(), None);
        let sum = of_model("all", sums, &run.cost);
        let section = Section {
            title: "model",
            rest: "more",
            entries,
            left_out,
            sum,
        };
        table::write(out, &section, width)?;
        if let Some(note) = cost::note(&run.pricing, &run.cost) {
            writeln!(out, "{}", text::wrapped(&note, width))?;
        }
    }
    if run.totals.malformed_lines > 0 {
        let lines = counted(run.totals.malformed_lines, "malformed line");
        writeln!(out, "{WARNING}{lines}{WARNING:#}, not counted")?;
    }
    if let Some(problem) = &run.problem {
        let problem = format!("{WARNING}{}{WARNING:#}", text::one_line(problem));
        writeln!(out, "{}", text::wrapped(&problem, width))?;
    }
    Ok(())
}

/// Prints runs, one per line, and the number of further ones.
///
/// # Errors
/// Errors of the writer.
pub fn list(
    out: &mut dyn Write,
    runs: &[RunDocument],
    left_out: usize,
    width: Option<usize>,
) -> io::Result<()> {
    if runs.is_empty() {
        return writeln!(out, "no runs");
    }
    let has_cost = runs.iter().any(|run| cost::is_known(&run.cost));
    let columns = COLUMNS.into_iter().enumerate();
    let columns: Vec<Column> = columns
        .filter(|(at, _)| has_cost || *at != COST_AT)
        .map(|(_, column)| column)
        .collect();
    let row = |run: &RunDocument| {
        let account = match (run.provider.as_str(), run.account.as_str()) {
            ("", "") => String::new(),
            (provider, account) => format!("{provider}/{account}"),
        };
        let lag = match run.lag_bytes {
            0 => String::new(),
            lag => bytes(lag),
        };
        let last = run.last_activity.as_deref().map(time_without_zone);
        let mut row = vec![
            text::name(&run.id),
            text::name(&run.state),
            text::name(&account),
            text::name(&labels(run)),
            grouped(run.totals.totals.total_tokens),
            lag,
            last.unwrap_or_default(),
        ];
        if has_cost {
            row.insert(COST_AT, cost::dollars(&run.cost));
        }
        GridRow::Cells(row.into_iter().map(GridCell::from).collect())
    };
    let mut rows: Vec<GridRow> = runs.iter().map(row).collect();
    if left_out > 0 {
        let (shown, all) = (runs.len() as u64, (runs.len() + left_out) as u64);
        rows.push(GridRow::Note(format!(
            "{} of {} shown",
            grouped(shown),
            grouped(all)
        )));
    }
    grid::write(out, &columns, &rows, width)?;
    if has_cost {
        writeln!(out, "{}", text::wrapped(cost::ESTIMATE, width))?;
    }
    Ok(())
}

fn labels(run: &RunDocument) -> String {
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
        let run: RunDocument = serde_json::from_value(run).unwrap();
        assert_eq!(
            plain(|out| totals(out, &run, None)),
            "run fix-42: 3 messages, 1,200 tokens in 1 file, 2.0 KiB\n\
             model  input  output  cache write  cache read  total\n\
             big    1,000       0            0           0  1,000\n\
             small    200       0            0           0    200\n\
             all    1,200       0            0           0  1,200\n\
             1 malformed line, not counted\n\
             odd\u{fffd}\n"
        );
        assert!(
            plain(|out| totals(out, &RunDocument::default(), None))
                .ends_with("0 messages, 0 tokens in 0 files, 0 B\n")
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
        let runs: Vec<RunDocument> = serde_json::from_value(json!([run, other])).unwrap();
        assert_eq!(
            plain(|out| list(out, &runs, 0, None)),
            "run    state    account       labels         tokens      lag  last activity (UTC)\n\
             a      live     claude/max-1  k=v project=x   1,200  1.0 KiB  2026-10-05 09:00:00\n\
             other  stopped                                1,200\n"
        );
        assert_eq!(
            plain(|out| list(out, &runs, 1_338, Some(60))),
            "run    state    account       tokens  last activity (UTC)\n\
             a      live     claude/max-1   1,200  2026-10-05 09:00:00\n\
             other  stopped                 1,200\n\
             2 of 1,340 shown\n"
        );
        assert_eq!(plain(|out| list(out, &[], 0, None)), "no runs\n");
    }

    #[test]
    fn runs_are_sorted() {
        let run = |id: &str, state: &str, tokens: u64, started: &str, active: Option<&str>| {
            let mut run = sums(tokens);
            let more = json!({"id": id, "state": state, "messages": 1, "malformed_lines": 0,
                "first_seen": started, "last_activity": active, "lag_bytes": tokens / 2});
            run.as_object_mut()
                .unwrap()
                .extend(more.as_object().unwrap().clone());
            serde_json::from_value::<Document>(run).unwrap()
        };
        let mut runs = [
            run("run-10", "live", 5, "2026-10-05T09:00:00Z", None),
            run(
                "run-9",
                "stopped",
                7,
                "2026-10-06T09:00:00Z",
                Some("2026-10-06T09:00:00Z"),
            ),
            run(
                "run-9b",
                "live",
                5,
                "2026-10-04T09:00:00Z",
                Some("2026-10-07T09:00:00Z"),
            ),
            run("alpha", "idle", 0, "2026-10-05T09:00:00Z", None),
        ];
        for (order, expected) in [
            (RunOrder::Id, ["alpha", "run-9", "run-9b", "run-10"]),
            (RunOrder::State, ["alpha", "run-9b", "run-10", "run-9"]),
            (RunOrder::Account, ["alpha", "run-9", "run-9b", "run-10"]),
            (RunOrder::Started, ["run-9", "alpha", "run-10", "run-9b"]),
            (RunOrder::Active, ["run-9b", "run-9", "alpha", "run-10"]),
            (RunOrder::Tokens, ["run-9", "run-9b", "run-10", "alpha"]),
            (RunOrder::Lag, ["run-9", "run-9b", "run-10", "alpha"]),
        ] {
            sort(&mut runs, order);
            let ids: Vec<&str> = runs.iter().map(|one| one.run.id.as_str()).collect();
            assert_eq!(ids, expected, "{order:?}");
        }
        assert_eq!(by_id("7", "007"), Ordering::Greater);
        assert_eq!(by_id("a7", "a7"), Ordering::Equal);
    }

    #[test]
    fn a_run_id_is_whole_in_a_pipe() {
        let id = format!("nightly-{}-042", "x".repeat(116));
        let run = document(json!({"id": id, "state": "live", "messages": 1, "malformed_lines": 0}));
        let runs: Vec<RunDocument> = serde_json::from_value(json!([run])).unwrap();
        assert!(plain(|out| list(out, &runs, 0, None)).contains(&id));
        let narrow = plain(|out| list(out, &runs, 0, Some(80)));
        assert!(
            narrow.contains("nightly-x") && narrow.contains("…") && narrow.contains("x-042"),
            "{narrow}"
        );
        assert!(narrow.lines().all(|line| line.chars().count() <= 80), "{narrow}");
    }
}
