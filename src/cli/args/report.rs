//! Command line arguments of `report`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::ValueEnum;
use jiff::civil::Date;
use strum::{EnumIter, IntoStaticStr};

use super::runs::{Label, label, limit, run_id};
use crate::model::RunId;
use crate::periods;

/// Arguments of `report`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "flags of a command line")]
pub struct ReportArgs {
    /// What the rows are: daily (default), weekly, monthly, runs, sessions, projects, models, accounts, routes or
    /// blocks; then the period, as in today, last-month, 2026-10 or 2026-10-01..2026-10-15 [default: all-time]
    #[arg(value_name = "REPORT] [PERIOD", num_args = 0..=2)]
    pub words: Vec<String>,

    /// From this day on, YYYY-MM-DD or YYYYMMDD
    #[arg(short, long, value_name = "DAY", value_parser = day)]
    pub since: Option<Date>,

    /// Until this day, which is included
    #[arg(short, long, value_name = "DAY", value_parser = day)]
    pub until: Option<Date>,

    /// Time zone of days, by its IANA name [default: quota.zone of the configuration]
    #[arg(short = 'z', long, value_name = "ZONE")]
    pub timezone: Option<String>,

    /// First day of a week [default: monday; with --format ccusage: sunday]
    #[arg(long, value_name = "DAY")]
    pub week_start: Option<WeekDay>,

    /// One row for each model below each row
    #[arg(short, long)]
    pub breakdown: bool,

    /// The rows by project too
    #[arg(short, long)]
    pub instances: bool,

    /// Rows by these groupings of /v1/usage instead, as in run,model or label:team,month
    #[arg(long, value_name = "DIM,DIM")]
    pub by: Option<String>,

    /// Only this project, or only runs with a label, as in label:project=alpha
    #[arg(short, long, value_name = "PROJECT", allow_hyphen_values = true)]
    pub project: Option<String>,

    /// Only runs with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub label: Option<Label>,

    /// Only this run
    #[arg(long, value_name = "ID", value_parser = run_id)]
    pub run: Option<RunId>,

    /// Only this account, as PROVIDER/NAME
    #[arg(long, value_name = "P/N")]
    pub account: Option<String>,

    /// Only models of this name or pattern, as in 'claude-opus-*'
    #[arg(long, value_name = "GLOB")]
    pub model: Option<String>,

    /// Only posted records with this instance of a router
    #[arg(long, value_name = "NAME")]
    pub instance: Option<String>,

    /// Only this session
    #[arg(long, value_name = "SESSION")]
    pub id: Option<String>,

    /// Order of the rows [default: upwards for time, downwards for others]
    #[arg(short, long, value_name = "ORDER")]
    pub order: Option<RowOrder>,

    /// At most N rows; the last row is the total of all
    #[arg(long, value_name = "N", value_parser = limit)]
    pub limit: Option<NonZeroUsize>,

    /// The narrow table, whatever the width of the terminal
    #[arg(long)]
    pub compact: bool,

    /// No costs
    #[arg(long)]
    pub no_cost: bool,

    /// Accepted and ignored: prices are never fetched
    #[arg(short = 'O', long)]
    pub offline: bool,

    /// Count these transcripts now instead of asking a collector or reading a database; may be given more than once
    #[arg(long, value_name = "PATH")]
    pub logs: Vec<PathBuf>,

    /// Form of the output [default: table; --json is the form json]
    #[arg(long, value_name = "FORM", conflicts_with_all = ["csv", "ndjson", "json"])]
    pub format: Option<ReportFormat>,

    /// As CSV with a header
    #[arg(long, conflicts_with_all = ["ndjson", "json"])]
    pub csv: bool,

    /// One JSON object for each row, on a line of its own
    #[arg(long, conflicts_with = "json")]
    pub ndjson: bool,

    /// Blocks: only the one that is under way
    #[arg(short, long)]
    pub active: bool,

    /// Blocks: only those of the last three days
    #[arg(short, long)]
    pub recent: bool,

    /// Blocks: shares of this number of tokens, or of the largest block with `max`
    #[arg(short, long, value_name = "N|max", value_parser = token_limit)]
    pub token_limit: Option<TokenLimit>,
}

/// The reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ReportKind {
    #[default]
    Daily,
    Weekly,
    Monthly,
    Runs,
    Sessions,
    Projects,
    Models,
    Accounts,
    Routes,
    Blocks,
}

/// The first day of a week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum WeekDay {
    Monday,
    Sunday,
}

/// The order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RowOrder {
    /// The earliest or smallest row first
    Asc,
    /// The latest or largest row first
    Desc,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    #[default]
    Table,
    Json,
    Csv,
    Ndjson,
    /// The JSON of ccusage
    Ccusage,
}

/// The number of tokens that a block is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenLimit {
    Tokens(u64),
    /// The most tokens of any block that is over.
    Max,
}

fn day(text: &str) -> Result<Date, String> {
    periods::day(text).map_err(|_| format!("{text:?} is not a day; write it as 2026-10-05 or 20261005"))
}

fn token_limit(text: &str) -> Result<TokenLimit, String> {
    if text == "max" {
        return Ok(TokenLimit::Max);
    }
    match text.replace(['_', ','], "").parse() {
        Ok(0) | Err(_) => Err("a number of tokens from 1 on, or max".to_owned()),
        Ok(tokens) => Ok(TokenLimit::Tokens(tokens)),
    }
}

pub(super) const REPORT_EXAMPLES: &str = "\
Examples:
  tokentail report
  tokentail report monthly -b
  tokentail report daily last-month -p label:project=alpha
  tokentail report weekly --since 2026-10-01 --timezone Europe/Berlin --json
  tokentail report --by account,model this-month --csv
  tokentail report blocks --recent -t max
  tokentail report --logs ~/.claude/projects
  tokentail report daily --format ccusage

Asks the collector; without one the database is read, and without a database the transcripts below ~/.claude, if there
are any. Costs are estimates at list prices. A period is all-time, today, yesterday, this-week, last-week, the same with
month, quarter and year, last-7d, last-24h, a day, a month, or days as in 20261001-20261015.";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Command, parse};
    use super::*;

    fn read(line: &str) -> Result<ReportArgs, String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let args = parse(&words).map_err(|error| error.to_string())?;
        let Command::Report(report) = args.command else {
            panic!("{:?}", args.command)
        };
        Ok(*report)
    }

    #[test]
    fn flags_have_the_names_of_ccusage() {
        let args = read(
            "tokentail report daily -j -s 20261001 -u 2026-10-05 -z UTC -O -b -i -p x -o desc --compact --no-cost",
        )
        .unwrap();
        assert_eq!(args.words, ["daily"]);
        assert_eq!(args.since.unwrap().to_string(), "2026-10-01");
        assert_eq!(args.until.unwrap().to_string(), "2026-10-05");
        assert!(args.offline && args.breakdown && args.instances && args.compact && args.no_cost);
        assert_eq!(
            (args.project.as_deref(), args.order),
            (Some("x"), Some(RowOrder::Desc))
        );
        let args = read("tokentail report blocks -a -r -t max").unwrap();
        assert!(args.active && args.recent);
        assert_eq!(args.token_limit, Some(TokenLimit::Max));
        let args = read("tokentail report blocks -t 500_000").unwrap();
        assert_eq!(args.token_limit, Some(TokenLimit::Tokens(500_000)));
    }

    #[test]
    fn wrong_values_are_usage_errors_that_say_why() {
        for (line, wanted) in [
            ("report -s 20250231", "\"20250231\" is not a day"),
            ("report -u tomorrow", "2026-10-05 or 20261005"),
            ("report -t none", "or max"),
            ("report --csv --json", "cannot be used with"),
            ("report --format xml", "table, json, csv, ndjson, ccusage"),
            ("report a b c", "c"),
            ("report --limit 0", "from 1 on"),
        ] {
            let error = read(&format!("tokentail {line}")).unwrap_err();
            assert!(error.contains(wanted), "{line}: {error}");
        }
    }
}
