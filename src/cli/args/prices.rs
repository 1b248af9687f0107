//! Command line arguments of `prices`.

use std::path::PathBuf;

use jiff::civil::Date;

/// Arguments of `prices`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct PricesArgs {
    /// Names as in transcripts [default: all models with a price]
    #[arg(value_name = "MODEL")]
    pub models: Vec<String>,

    /// The day of the prices, in UTC [default: today]
    #[arg(long, value_name = "DATE", value_parser = parse_date)]
    pub at: Option<Date>,

    /// Print what this file would change if it were the configured one
    #[arg(long, value_name = "FILE")]
    pub check: Option<PathBuf>,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  tokentail prices
  tokentail prices claude-opus-5 gpt-6.1-sol --at 2026-08-20
  tokentail prices --check prices.toml && systemctl reload tokentail

In US dollars per million tokens, and per thousand web searches. List prices are for estimates: a subscription costs what
it costs. Exits 1 if one of the models has no price.";

fn parse_date(text: &str) -> Result<Date, String> {
    (text.parse::<Date>().ok())
        .filter(|date| text.len() == "2026-11-29".len() && *date >= Date::constant(1970, 1, 1))
        .ok_or_else(|| "no date, as 2026-11-29 is".to_owned())
}
