//! Command line arguments.
//!
//! Every setting is an `Option`: a setting that was not given must not outrank the environment and the
//! configuration file.

mod export;
mod leases;
mod notifications;
mod prices;
mod record;
mod report;
mod retention;
mod runs;
mod tools;
#[cfg(feature = "top")]
mod top;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};
use jiff::Timestamp;
use strum::IntoStaticStr;

use crate::config::Period;

pub use export::{ExportArgs, ExportFormat};
pub use leases::{AcquireArgs, CapacityArgs, Cost, EndArgs, LeaseArgs, LeaseCommand, RenewArgs};
pub use notifications::{NotifyArgs, NotifyCommand, NotifyTestArgs};
pub use prices::PricesArgs;
pub use record::RecordArgs;
pub use report::{ReportArgs, ReportFormat, ReportKind, RowOrder, TokenLimit, WeekDay};
pub use retention::Prune;
pub use runs::{Forget, Label, RunArgs, RunOrder, RunsArgs, StopArgs};
pub use tools::{
    CheckConfig, Completions, Config, ConfigCommand, Man, STATUSLINE_FORMAT, StatuslineArgs, Words,
};
#[cfg(feature = "top")]
pub use top::{TopArgs, TopPeriod};
pub use watch::WatchArgs;

/// Tails the transcripts of coding agents and counts their tokens exactly once.
#[derive(Clone, Debug, PartialEq, Eq, Parser)]
#[command(
    name = "tokentail",
    version,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Args {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// The flags of every command, before or after its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// Configuration file [default: the user's or the system's tokentail/tokentail.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Directory with one folder per run [default: from the configuration]
    #[arg(long, global = true, value_name = "DIR")]
    pub runs_dir: Option<PathBuf>,

    /// Layout of the runs directory: runs with a mount each, or projects as in ~/.claude/projects [default:
    /// runs]
    #[arg(long, global = true, value_name = "LAYOUT")]
    pub layout: Option<LayoutArg>,

    /// Database file [default: in the state directory; for replay: none, all in memory]
    #[arg(long, global = true, value_name = "FILE")]
    pub db: Option<PathBuf>,

    /// Control socket of the collector [default: in the runtime directory]
    #[arg(long, global = true, value_name = "FILE")]
    pub socket: Option<PathBuf>,

    /// Answer in JSON: documents on stdout, failures on stderr
    #[arg(short, long, global = true)]
    pub json: bool,

    /// Format of log lines on stderr [default: text]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<LogFormatArg>,

    /// The least severe log lines to write [default: info]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<LogLevel>,
}

/// Layout of the runs directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LayoutArg {
    Runs,
    Projects,
}

/// Format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LogFormatArg {
    #[default]
    Text,
    Json,
}

/// Least severe level that is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// The commands.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the collector: tail every run, commit, answer on the control socket
    #[command(after_help = SERVE_EXAMPLES)]
    Serve,
    /// Run a command as a run: start it, count what it writes to the last byte, print the totals
    #[command(after_help = runs::RUN_EXAMPLES)]
    Run(RunArgs),
    /// Stop a run: read what there is to the last byte, and print the totals
    Stop(StopArgs),
    /// List the runs of the collector
    #[command(after_help = runs::RUNS_EXAMPLES)]
    Runs(RunsArgs),
    /// Print the collector's events as they occur
    #[command(after_help = watch::EXAMPLES)]
    Watch(WatchArgs),
    /// Watch accounts, runs and sums on the terminal as they change
    #[cfg(feature = "top")]
    #[command(after_help = top::EXAMPLES)]
    Top(TopArgs),
    /// Forget a stopped run; what was counted stays in the sums
    Forget(Forget),
    /// Post records of calls that no transcript contains, as those of a router
    #[command(after_help = record::EXAMPLES)]
    Record(RecordArgs),
    /// Read transcripts once, to the end, and print the summary
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(Replay),
    /// Print the summary of the running collector
    Status,
    /// Usage and list prices by day, week, month, run, session, project, model, account or block
    #[command(after_help = report::REPORT_EXAMPLES)]
    Report(Box<ReportArgs>),
    /// Print what is stored, a row on each line, as NDJSON or CSV
    #[command(after_help = export::EXPORT_EXAMPLES)]
    Export(ExportArgs),
    /// Print the status line of an agent from what it passes on stdin, and pass its limits on to the collector
    #[command(after_help = tools::STATUSLINE_EXAMPLES)]
    Statusline(StatuslineArgs),
    /// Show the use of each limit window, and the verdict on each account
    #[command(after_help = QUOTA_EXAMPLES, args_conflicts_with_subcommands = true)]
    Quota(QuotaArgs),
    /// Ask whether another run may start, where, and if not, when to retry
    #[command(after_help = MAY_START_EXAMPLES)]
    MayStart(MayStartArgs),
    /// Reserve places for runs: acquire, renew, release and list leases
    #[command(after_help = leases::LEASE_EXAMPLES)]
    Lease(LeaseArgs),
    /// Show how many further runs each account may start, and what bounds the number
    #[command(after_help = leases::CAPACITY_EXAMPLES)]
    Capacity(CapacityArgs),
    /// List the targets of notifications, and test them
    Notify(NotifyArgs),
    /// Count the transcripts again and compare with the database; exits 1 on a difference
    Verify(Verify),
    /// Write the running collector's database into a file
    Backup(Backup),
    /// Remove details of old responses, which changes no total; sums only with --totals or --all
    #[command(after_help = retention::PRUNE_EXAMPLES)]
    Prune(Prune),
    /// Give the free space in the database file back to the system, while the collector is stopped
    #[command(after_help = retention::COMPACT_EXAMPLES)]
    Compact,
    /// Check configuration, socket, permissions, runs, accounts and database, and print remedies; exits 1 if
    /// a check fails
    #[command(after_help = tools::DOCTOR_EXAMPLES)]
    Doctor,
    /// Check the configuration: every mistake with its place, else the settings in effect and findings on
    /// this machine
    #[command(after_help = tools::CHECK_CONFIG_EXAMPLES)]
    CheckConfig(CheckConfig),
    /// Print the prices that costs are estimated with, or check a file of prices
    #[command(after_help = prices::EXAMPLES)]
    Prices(PricesArgs),
    /// Print the OpenAPI document of the collector's routes
    Openapi,
    /// Show the configuration in effect, an example, or its schema
    #[command(after_help = tools::CONFIG_EXAMPLES)]
    Config(Config),
    /// Print the completions of a shell
    #[command(after_help = tools::COMPLETIONS_EXAMPLES)]
    Completions(Completions),
    /// Print the words for completions
    #[command(subcommand, hide = true)]
    Words(Words),
    /// Print a manual page, or write all of them
    #[command(after_help = tools::MAN_EXAMPLES)]
    Man(Man),
}

/// Arguments of `verify`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct Verify {
    /// Correct the database by the logs; a copy of it is kept beside it
    #[arg(long)]
    pub repair: bool,
}

/// Arguments of `backup`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Backup {
    /// The file; it must not exist yet
    pub file: PathBuf,
}

/// Arguments of `replay`. `--db` names the database to commit to.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Replay {
    /// A runs directory (holds */mount), a directory of projects or ~/.claude, else one run: any tree of
    /// *.jsonl, or one file
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,

    /// Compare with this summary document; exits 1 and prints the differences
    #[arg(long, value_name = "FILE")]
    pub expect: Option<PathBuf>,

    /// Time of the answer, RFC 3339, in place of the clock; leaves no line out [default: that of --until,
    /// else the latest time in the transcripts]
    #[arg(long, value_name = "TIME", value_parser = parse_now)]
    pub now: Option<Timestamp>,

    /// Leave out lines later than this, RFC 3339: the state at that time. A line without a time belongs to
    /// the line before it. Not with --db
    #[arg(long, value_name = "TIME", value_parser = parse_now)]
    pub until: Option<Timestamp>,
}

/// Arguments of `quota`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct QuotaArgs {
    #[command(subcommand)]
    pub command: Option<QuotaCommand>,
}

/// Subcommands of `quota`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum QuotaCommand {
    /// Mark an account as exhausted, or remove the mark, where no transcript shows it
    Mark(MarkArgs),
}

/// Arguments of `quota mark`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct MarkArgs {
    /// The account: provider/name, or one of the two if only one account has it
    pub account: String,

    /// `available` removes an earlier `exhausted`, and ends the steps in which leases are granted after a block
    pub state: MarkState,

    /// RFC 3339, or a length of time from now as in 2h [default: until the mark is removed]
    #[arg(long, value_name = "TIME", value_parser = parse_until)]
    pub until: Option<Until>,

    /// Shown with the verdict
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
}

/// The state set by a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MarkState {
    Exhausted,
    Available,
}

/// The end of a mark: a time, or a length from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    At(Timestamp),
    After(Duration),
}

/// Arguments of `may-start`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct MayStartArgs {
    /// Only accounts of this provider
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,

    /// Only the account of this name
    #[arg(long, value_name = "NAME")]
    pub account: Option<String>,

    /// The model the run will use; each account may serve another in its place
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,

    /// While the answer is `wait` or `unknown`, wait for another one, at most for this long [default: without end]
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = parse_length)]
    pub wait: Option<Option<Duration>>,
}

const QUOTA_EXAMPLES: &str = "\
Examples:
  tokentail quota
  tokentail quota --json
  tokentail quota mark claude/max-1 exhausted --until 2h --reason 'shared with the demo'
  tokentail quota mark max-1 available

Without a collector, the contents of the database are shown.

The pace of a window is the share used minus the share of its time that has passed: +37 % is 37 points ahead. It is hot from
25 points ahead on: at this pace it is used up long before it resets. It is chill from 20 points behind on: there is room
to spare. In between it is on track. Early in a window there is none.";

const MAY_START_EXAMPLES: &str = "\
Examples:
  tokentail may-start && start-the-run
  tokentail may-start --model claude-opus-5 --json
  tokentail may-start --wait=30m && start-the-run

Exits 0 for allow, 1 for wait and deny, 2 for unknown, also if --wait ran out, 69 if no collector answers, 75 if --wait ran
out before a place was free.";

const SERVE_EXAMPLES: &str = "\
Examples:
  tokentail serve --runs-dir /srv/agents/runs
  tokentail serve --config ./tokentail.toml --log-format json --log-level debug

Stops on SIGTERM and SIGINT after a last sweep; a second signal stops at once.";

const REPLAY_EXAMPLES: &str = "\
Examples:
  tokentail replay runs/
  tokentail replay session.jsonl --json
  tokentail replay tests/runs --expect tests/golden.json --now 2026-10-05T11:00:00Z
  tokentail replay runs/ --until 2026-10-05T11:00:00Z
  tokentail replay runs/ --db counted.redb

A key that the expected document leaves out is not compared; its by_run, by_model and by_day must be complete.";

/// Parses the command line; the first word is the program's name.
///
/// # Errors
/// A usage error, or the text of `--help` and `--version`; `use_stderr` distinguishes them.
pub fn parse(words: &[OsString]) -> Result<Args, clap::Error> {
    Args::try_parse_from(words)
}

/// True if `--json` was given, also on an invalid command line.
#[must_use]
pub fn wants_json(words: &[OsString]) -> bool {
    words
        .iter()
        .skip(1)
        .take_while(|word| *word != "--")
        .any(|word| word == "--json" || word == "-j")
}

/// The first word that is not UTF-8, with the flag before it.
#[must_use]
pub fn no_text(words: &[OsString]) -> Option<String> {
    let at = words.iter().position(|word| word.to_str().is_none())?;
    let flag = at.checked_sub(1).and_then(|before| words[before].to_str());
    let word = words[at].to_string_lossy();
    Some(
        match flag.filter(|flag| flag.starts_with("--") && !word.starts_with("--")) {
            Some(flag) => format!("{flag} {word}"),
            None => word.into_owned(),
        },
    )
}

fn parse_until(text: &str) -> Result<Until, String> {
    if let Ok(length) = parse_length(text) {
        return Ok(Until::After(length));
    }
    text.parse().map(Until::At).map_err(|_| {
        "neither an RFC 3339 time with an offset, as in 2026-10-05T11:00:04Z, nor a length of time, as in 2h"
            .to_owned()
    })
}

fn parse_length(text: &str) -> Result<Duration, String> {
    text.parse::<Period>()
        .map(|period| period.0)
        .map_err(|error| error.to_string())
}

fn parse_now(text: &str) -> Result<Timestamp, String> {
    let now: Timestamp = text.parse().map_err(|error| {
        format!(
            "no RFC 3339 time with an offset ({error}); write it like 2026-10-05T11:00:04Z or 2026-10-05T13:00:04+02:00"
        )
    })?;
    if now < Timestamp::UNIX_EPOCH {
        return Err("a time before 1970; no transcript is that old".to_owned());
    }
    Ok(now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn read(line: &str) -> Result<Args, clap::Error> {
        parse(&line.split_whitespace().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_before_and_after_the_command() {
        let before = read("tokentail --json --db a.redb --socket s --log-level debug status").unwrap();
        let after = read("tokentail status --json --db a.redb --socket s --log-level debug").unwrap();
        assert_eq!(before, after);
        assert_eq!(after.command, Command::Status);
        assert!(after.global.json);
        assert_eq!(after.global.db, Some(PathBuf::from("a.redb")));
        assert_eq!(after.global.log_level, Some(LogLevel::Debug));
        assert_eq!(after.global.log_format, None);
    }

    #[test]
    fn replay_takes_paths_golden_and_time() {
        let args =
            read("tokentail replay a b --expect g.json --now 2026-10-05T13:00:04+02:00 --db d").unwrap();
        let Command::Replay(replay) = args.command else {
            panic!("{:?}", args.command)
        };
        assert_eq!(replay.paths, [PathBuf::from("a"), PathBuf::from("b")]);
        assert_eq!(replay.expect, Some(PathBuf::from("g.json")));
        assert_eq!(replay.now.unwrap().to_string(), "2026-10-05T11:00:04Z");
        assert_eq!(replay.until, None);
        assert_eq!(args.global.db, Some(PathBuf::from("d")));
    }

    #[test]
    fn wrong_lines_are_usage_errors_that_say_why() {
        for (line, wanted) in [
            ("tokentail", "Usage"),
            ("tokentail replay", "<PATH>"),
            ("tokentail dance", "dance"),
            ("tokentail status --watch", "--watch"),
            (
                "tokentail serve --log-format xml",
                "[possible values: text, json]",
            ),
            ("tokentail replay a --now yesterday", "2026-10-05T11:00:04Z"),
            ("tokentail replay a --now 2026-10-05T11:00:04", "with an offset"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.use_stderr(), "{line}");
            assert!(error.to_string().contains(wanted), "{line}: {error}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for line in [
            "tokentail --help",
            "tokentail replay --help",
            "tokentail --version",
        ] {
            assert!(!read(line).unwrap_err().use_stderr(), "{line}");
        }
        assert!(
            read("tokentail --version")
                .unwrap_err()
                .to_string()
                .contains(env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn json_is_seen_on_a_broken_line() {
        let words = |line: &str| line.split_whitespace().map(OsString::from).collect::<Vec<_>>();
        assert!(wants_json(&words("tokentail dance --json")));
        assert!(!wants_json(&words("tokentail replay -- --json")));
    }
}
