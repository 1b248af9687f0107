//! Command line arguments of `record`.

use std::path::PathBuf;

/// Arguments of `record`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RecordArgs {
    /// File with one JSON record on each line [default: standard input]
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// File that keeps the records while the collector is away; they are sent first the next time [default:
    /// records.spool beside the database]
    #[arg(long, value_name = "FILE")]
    pub spool: Option<PathBuf>,

    /// Largest size of that file, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=65_536))]
    pub spool_max: u64,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  tokentail record <calls.ndjson
  tokentail record calls.ndjson --json
  jq -c '.[]' calls.json | tokentail record --spool /var/spool/router/records.ndjson

A record: {\"id\":\"req-1\",\"source\":\"router-1\",\"provider\":\"openai\",\"model\":\"gpt-6\",\"usage\":{\"input_tokens\":300}}

Sent again, a record with the same id counts no second time. Exits 65 if a record was rejected, 75 if the spool is full;
0 also for records in the spool.";
