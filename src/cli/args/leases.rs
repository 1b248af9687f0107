//! Command line arguments of leases and capacities.

use std::time::Duration;

use clap::Subcommand;

use super::parse_length;
use super::runs::run_id;
use crate::model::RunId;
use crate::quota::lease::grant::GRANT_MAX;

/// Arguments of `lease`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct LeaseArgs {
    #[command(subcommand)]
    pub command: LeaseCommand,
}

/// Subcommands of `lease`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum LeaseCommand {
    /// Reserve places for runs; exits as may-start does
    #[command(after_help = ACQUIRE_EXAMPLES)]
    Acquire(Box<AcquireArgs>),
    /// Let a lease last longer; needed only until its run has written something
    Renew(RenewArgs),
    /// Give a place back; also for a lease that has ended already
    Release(EndArgs),
    /// Take a place back from its holder. A run that has started goes on, and counts without a lease
    Revoke(EndArgs),
    /// List the leases that have not ended
    List,
}

/// Arguments of `lease acquire`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct AcquireArgs {
    /// Wanted leases, 1 to 100 [default: 1]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(GRANT_MAX)))]
    pub count: Option<u32>,

    /// Grant nothing if there is room for fewer than this [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(GRANT_MAX)))]
    pub min: Option<u32>,

    /// Name of this request: repeated within 24 hours, it gets the same leases [default: a random one, which is
    /// printed]
    #[arg(long, value_name = "TEXT")]
    pub key: Option<String>,

    /// The run that a lease is for; may be given up to N times
    #[arg(long = "run", value_name = "ID", value_parser = run_id)]
    pub runs: Vec<RunId>,

    /// Only accounts of this provider
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,

    /// Only the account of this name
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,

    /// The model the runs will use; each account may serve another in its place
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,

    /// The class of the runs, for `reserve` of an account and for learned costs
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,

    /// The share of a window that a run will use, as in five_hour=0.02; may be given more than once [default: the
    /// configured or the learned share]
    #[arg(long = "cost", value_name = "WINDOW=SHARE", value_parser = cost)]
    pub costs: Vec<Cost>,

    /// The time in which the run has to write something, 1s to 10m [default: 2m]
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    pub ttl: Option<String>,

    /// Name of the client, for people
    #[arg(long, value_name = "TEXT")]
    pub holder: Option<String>,

    /// While no place is free, or nothing is known, wait, at most for this long [default: without end]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = parse_length)]
    pub wait: Option<Option<Duration>>,
}

/// Arguments of `lease renew`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RenewArgs {
    /// Id of the lease
    #[arg(value_name = "LEASE")]
    pub lease: String,

    /// The time from now on [default: that of the grant]
    #[arg(long, value_name = "DURATION", value_parser = ttl)]
    pub ttl: Option<String>,
}

/// Arguments of `lease release` and `lease revoke`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct EndArgs {
    /// Id of the lease
    #[arg(value_name = "LEASE")]
    pub lease: String,
}

/// Arguments of `capacity`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct CapacityArgs {
    /// Only accounts of this provider
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,

    /// Only the account of this name
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,

    /// The model the runs will use
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,

    /// The class of the runs
    #[arg(long, value_name = "NAME")]
    pub class: Option<String>,
}

/// The share of a window that a run is expected to use, above 0 and up to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Cost {
    pub window: String,
    pub share: f64,
}

/// Never a NaN.
impl Eq for Cost {}

fn cost(text: &str) -> Result<Cost, String> {
    let wrong = || "a cost is written WINDOW=SHARE, as in five_hour=0.02 for 2 %".to_owned();
    let (window, share) = text.split_once('=').ok_or_else(wrong)?;
    let share: f64 = share.parse().map_err(|_| wrong())?;
    if window.is_empty() || !(share > 0.0 && share <= 1.0) {
        return Err(format!("{}; the share is above 0 and up to 1", wrong()));
    }
    Ok(Cost {
        window: window.to_owned(),
        share,
    })
}

/// A length of time, as the collector reads it; it has the bounds.
fn ttl(text: &str) -> Result<String, String> {
    parse_length(text).map(|_| text.to_owned())
}

pub(super) const LEASE_EXAMPLES: &str = "\
Examples:
  tokentail lease acquire -n 5 --min 1 --key batch-7 --json
  tokentail lease acquire --run fix-42 --model claude-opus-5 --wait=30m
  tokentail lease renew 12-3456 --ttl 5m
  tokentail lease release 12-3456
  tokentail lease list

A lease holds a place of an account until its time is over, and once its run has written something as long as the run. A
run starts with its lease if PUT /v1/runs/ID names it, or if the lease names the run. `tokentail run --admit` does it all.";

const ACQUIRE_EXAMPLES: &str = "\
Examples:
  tokentail lease acquire -n 5 --min 1 --key batch-7 --json
  tokentail lease acquire --run fix-42 --class high --cost five_hour=0.02 --wait=30m

Exits 0 if leases were granted, also fewer than N; 1 for wait and deny, 2 for unknown, also if --wait ran out, 69 if no
collector answers, 75 if --wait ran out before a place was free, 64 if the key had another request, or a run has a lease already.";

pub(super) const CAPACITY_EXAMPLES: &str = "\
Examples:
  tokentail capacity
  tokentail capacity --account max-1 --class high --json

It reserves nothing: others may be faster. `tokentail lease acquire` reserves.";

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::super::{Args, Command, parse};
    use super::*;

    fn read(line: &str) -> Result<Args, clap::Error> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        parse(&words)
    }

    fn acquire(line: &str) -> AcquireArgs {
        match read(line).unwrap().command {
            Command::Lease(LeaseArgs {
                command: LeaseCommand::Acquire(acquire),
            }) => *acquire,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_request_is_read_whole() {
        let all = acquire(
            "tokentail lease acquire -n 5 --min 2 --key k --run a --run b --cost five_hour=0.02 --ttl 90s --wait=30m",
        );
        assert_eq!((all.count, all.min), (Some(5), Some(2)));
        assert_eq!(all.runs.len(), 2);
        assert_eq!(
            (all.costs[0].window.as_str(), all.costs[0].share),
            ("five_hour", 0.02)
        );
        assert_eq!(all.ttl.as_deref(), Some("90s"));
        assert_eq!(all.wait, Some(Some(Duration::from_mins(30))));
        assert_eq!(acquire("tokentail lease acquire --wait").wait, Some(None));
        assert_eq!(acquire("tokentail lease acquire"), AcquireArgs::default());
    }

    #[test]
    fn wrong_requests_are_usage_errors_that_say_why() {
        for (line, wanted) in [
            ("tokentail lease", "acquire"),
            ("tokentail lease renew", "<LEASE>"),
            ("tokentail lease acquire -n 0", "1..=100"),
            ("tokentail lease acquire --cost five_hour", "WINDOW=SHARE"),
            (
                "tokentail lease acquire --cost five_hour=2",
                "above 0 and up to 1",
            ),
            (
                "tokentail lease acquire --cost five_hour=NaN",
                "above 0 and up to 1",
            ),
            ("tokentail lease acquire --ttl soon", "soon"),
            ("tokentail lease acquire --run a/b", "A-Z a-z 0-9 . _ -"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.to_string().contains(wanted), "{line}: {error}");
        }
    }
}
