//! The command line of `top`.

use std::time::Duration;

use clap::ValueEnum;
use strum::{EnumIter, IntoStaticStr};

use crate::globs::NamePattern;

/// Shortest time between two requests for the same document, at the fastest.
const INTERVAL_MIN: Duration = Duration::from_secs(1);
/// Longest such time.
const INTERVAL_MAX: Duration = Duration::from_mins(1);

/// Arguments of `top`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct TopArgs {
    /// Only runs with this id, or with ids of a pattern, as in 'nightly-*'
    #[arg(long, value_name = "GLOB", value_parser = pattern)]
    pub run: Option<String>,

    /// Only this account, as NAME or PROVIDER/NAME
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,

    /// The period of the sums at first; the keys 1 to 5 change it
    #[arg(long, value_name = "PERIOD", default_value = "today")]
    pub period: TopPeriod,

    /// Print one frame as plain text and exit, as without a terminal
    #[arg(long)]
    pub once: bool,

    /// Draw with ASCII characters alone
    #[arg(long)]
    pub ascii: bool,

    /// Shortest time between two requests for the same sums, 1s to 1m [default: 1s]
    #[arg(long, value_name = "DURATION", value_parser = interval)]
    pub interval: Option<Duration>,
}

/// The periods of sums: the present day, week, month, year, or the last 365 days.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, EnumIter, IntoStaticStr)]
#[strum(serialize_all = "UPPERCASE", const_into_str)]
pub enum TopPeriod {
    #[default]
    Today,
    Week,
    Month,
    /// The year to date.
    Ytd,
    /// Twelve months.
    Ttm,
}

impl TopPeriod {
    /// Its name as a period of `/v1/usage`.
    #[must_use]
    pub const fn question(self) -> &'static str {
        match self {
            Self::Today => "today",
            Self::Week => "this-week",
            Self::Month => "this-month",
            Self::Ytd => "this-year",
            Self::Ttm => "last-365d",
        }
    }
}

fn pattern(text: &str) -> Result<String, String> {
    NamePattern::new(text).map(|_| text.to_owned())
}

fn interval(text: &str) -> Result<Duration, String> {
    let length = super::parse_length(text)?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&length) {
        Ok(length)
    } else {
        Err("not between 1s and 1m".to_owned())
    }
}

pub(super) const EXAMPLES: &str = "\
Examples:
  tokentail top
  tokentail top --run 'nightly-*' --period week
  tokentail top --once --account claude/max-1

Keys: q quits, ? explains the others and every sign. Without a terminal, or with TERM=dumb, one frame is printed.
Exits 69 if no collector answers. Draws in ASCII if the locale is not UTF-8, without colours if NO_COLOR is set.";
