//! Command line arguments of `export`.

use clap::ValueEnum;
use strum::IntoStaticStr;

/// Arguments of `export`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct ExportArgs {
    /// The rows
    pub kind: ExportRows,

    /// Only this period, as in today, last-month, 2026-10 or 2026-10-01..2026-10-15 [default: all-time]
    pub period: Option<String>,

    /// Time zone of the period, by its IANA name [default: UTC]
    #[arg(short = 'z', long, value_name = "ZONE")]
    pub timezone: Option<String>,

    /// Format of the rows
    #[arg(long, value_name = "FORMAT", default_value = "ndjson")]
    pub format: ExportFormat,
}

/// The rows of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum ExportRows {
    /// Sums and costs of each UTC hour, run, account, model and price class
    Usage,
    /// Responses that have their details
    Responses,
    /// Fallbacks and failed attempts of posted records
    Records,
    /// The history of limit windows
    Windows,
    /// Refusals and thresholds
    Events,
}

/// Format of exported rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// A JSON document for each line
    Ndjson,
    /// With a header line
    Csv,
}

pub const EXPORT_EXAMPLES: &str = "\
Examples:
  tokentail export usage last-month --format csv > usage.csv
  tokentail export responses 2026-10 | duckdb -c \"select model, sum(output_tokens) from read_json('/dev/stdin') group by 1\"
  tokentail export windows last-7d

Each row is of one snapshot. Responses whose details were pruned are in `usage` only.";
