//! Command line arguments of `prune` and `compact`.

use crate::config::Age;

/// Arguments of `prune`.
#[expect(clippy::struct_excessive_bools, reason = "one for each flag")]
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Prune {
    /// Strictly older than this goes, in whole UTC days: 30d, 12h, 90m
    #[arg(required_unless_present = "all", allow_hyphen_values = true, value_parser = parse_age)]
    pub older: Option<Age>,

    /// Remove the sums too: totals become smaller
    #[arg(long)]
    pub totals: bool,

    /// Remove everything that was counted; read positions and keys stay, so that nothing is counted again
    #[arg(long, conflicts_with_all = ["totals", "older"])]
    pub all: bool,

    /// Do it; --totals and --all only say what would go without it
    #[arg(long)]
    pub yes: bool,

    /// Remove nothing, and say what would go
    #[arg(long, conflicts_with = "yes")]
    pub dry_run: bool,
}

pub(super) const PRUNE_EXAMPLES: &str = "\
Examples:
  tokentail prune 30d --dry-run
  tokentail prune 30d
  tokentail prune 30d --db /var/lib/tokentail/tokentail.redb
  tokentail prune --totals 400d
  tokentail prune --totals 400d --yes

Details are what is known of a single response, histories of windows, refusals and thresholds. Without them no total
changes, and copies of such a response still count nothing. [retention] in the configuration does the same each night.
--db is for a database whose collector is stopped.

Exits 1 if --totals or --all lacks --yes.";

pub(super) const COMPACT_EXAMPLES: &str = "\
Examples:
  systemctl stop tokentail && sudo tokentail compact && systemctl start tokentail
  tokentail compact --db copy.redb

The database gives no space back by itself; this is its VACUUM. Lines that agents write meanwhile are read at the next
start.";

fn parse_age(text: &str) -> Result<Age, String> {
    text.parse::<Age>().map_err(|error| error.to_string())
}
