//! Command line arguments of runs: run, stop, list, forget.

use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use super::parse_length;
use crate::model::{RunId, RunIdError, split_label};

/// Arguments of `run`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct RunArgs {
    /// The run: 1 to 128 of A-Z a-z 0-9 . _ -
    #[arg(value_parser = run_id)]
    pub id: RunId,

    /// A label of the run, as in project=alpha; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<Label>,

    /// The directory that holds its logs [default: ID/mount in the runs directory]
    #[arg(long, value_name = "DIR")]
    pub mount: Option<PathBuf>,

    /// If no collector answers, fail, instead of counting here in a database of the run's own
    #[arg(long)]
    pub no_embedded: bool,

    /// Start only if an account has a free place, and hold it as long as the run lasts; with a duration, wait for a
    /// place at most for this long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = parse_length)]
    pub admit: Option<Option<Duration>>,

    /// The model the run will use, for --admit; the account may serve another in its place
    #[arg(long, value_name = "NAME", requires = "admit")]
    pub model: Option<String>,

    /// The class of the run, for --admit: for `reserve` of an account and for learned costs
    #[arg(long, value_name = "NAME", requires = "admit")]
    pub class: Option<String>,

    /// The command with its arguments [default: none; ends on SIGTERM or SIGINT]
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Arguments of `stop`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct StopArgs {
    /// The run
    #[arg(value_parser = run_id)]
    pub id: RunId,

    /// Stop even if some of its logs cannot be read
    #[arg(long)]
    pub incomplete: bool,
}

/// Arguments of `forget`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Forget {
    /// The run; it must be stopped
    #[arg(value_parser = run_id)]
    pub id: RunId,
}

/// Arguments of `runs`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct RunsArgs {
    /// Only runs in this state, as in live or stopped
    #[arg(long, value_name = "STATE")]
    pub state: Option<String>,

    /// Only runs with this label
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    pub label: Option<Label>,

    /// The order of the runs [default: by id]
    #[arg(long, value_name = "BY")]
    pub sort: Option<RunOrder>,

    /// At most N runs, the first in that order; the last line gives their total number
    #[arg(long, value_name = "N", value_parser = limit)]
    pub limit: Option<NonZeroUsize>,
}

/// The order of a list of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RunOrder {
    /// By name, in natural order
    Id,
    /// By state, then by id
    State,
    /// By account, then by id
    Account,
    /// The last started or first seen one first
    Started,
    /// The one with the newest line first
    Active,
    /// The one with the most tokens first
    Tokens,
    /// The one with the most bytes waiting to be read first
    Lag,
}

/// A name and a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    pub name: String,
    pub value: String,
}

pub(super) fn run_id(text: &str) -> Result<RunId, RunIdError> {
    RunId::new(text)
}

pub(super) fn label(text: &str) -> Result<Label, String> {
    let (name, value) = split_label(text).ok_or("a label is written KEY=VALUE, as in project=alpha")?;
    Ok(Label {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

pub(super) fn limit(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .map_err(|_| "a limit is a number from 1 on, as in 20".to_owned())
}

pub(super) const RUN_EXAMPLES: &str = "\
Examples:
  tokentail run fix-42 --label project=alpha -- claude -p 'fix the build'
  tokentail run fix-42 --json -- ./agent.sh >transcript.txt
  tokentail run fix-42 --admit=30m --class high -- ./agent.sh
  tokentail run fix-42

Signals are passed on to the command. After its end its output is read to the last byte and the
totals are printed on stderr; with --json the run's document goes to stdout, after the command's output.

Exits with the command's code, 128+n if signal n ended it, 127 if it was not found, 126 if it cannot be
executed. If the command ended with 0 and not all of its output could be counted: 74 or 75, and stderr names
the missing part. The command is not run if the run is refused: 64 for an invalid request, 69 and above for the collector.
Without a collector the run is counted here, into run-ID.redb beside the configured database, or in the user's
state directory if that one belongs to another user; or into --db.

With --admit the command has TOKENTAIL_PROVIDER, TOKENTAIL_ACCOUNT and TOKENTAIL_LEASE in its environment, and
TOKENTAIL_MODEL if a model was named. 125 means that it was not started, as no place was free; stderr has the reason and the
time of the next attempt. It needs a collector.";

pub(super) const RUNS_EXAMPLES: &str = "\
Examples:
  tokentail runs
  tokentail runs --sort tokens --limit 20
  tokentail runs --state live --label project=alpha --json

On a terminal the least important columns are left out if there is no room for all, and long ids are shortened.
In a pipe nothing is left out or shortened.";

#[cfg(test)]
mod tests {
    use super::super::{Args, Command, parse};
    use super::*;

    fn read(words: &[&str]) -> Result<Args, clap::Error> {
        let words: Vec<OsString> = ["tokentail"].iter().chain(words).map(OsString::from).collect();
        parse(&words)
    }

    fn run(words: &[&str]) -> RunArgs {
        match read(words).unwrap().command {
            Command::Run(run) => run,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_follows_two_dashes_is_the_commands_own() {
        let run = run(&[
            "run", "r", "--label", "a=b=c", "--", "sh", "-c", "x", "--json", "--",
        ]);
        assert_eq!(run.command, ["sh", "-c", "x", "--json", "--"]);
        assert_eq!(run.id.as_str(), "r");
        let label = Label {
            name: "a".into(),
            value: "b=c".into(),
        };
        assert_eq!(run.labels, [label]);
        let args = read(&["run", "r", "--", "x", "--json"]).unwrap();
        assert!(!args.global.json);
    }

    #[test]
    fn a_run_without_a_command_is_a_run() {
        let run = run(&["run", "r", "--mount", "logs", "--label", "a="]);
        assert_eq!(run.command, Vec::<OsString>::new());
        assert_eq!(run.mount, Some(PathBuf::from("logs")));
        assert_eq!(run.labels[0].value, "");
        let as_in_a_query = self::run(&["run", "r", "--label", "project:alpha=1"]).labels;
        assert_eq!(
            (as_in_a_query[0].name.as_str(), as_in_a_query[0].value.as_str()),
            ("project", "alpha=1")
        );
    }

    #[test]
    fn what_cannot_be_meant_is_a_usage_error() {
        for (words, wanted) in [
            (&["run"][..], "<ID>"),
            (&["run", "a/b"], "A-Z a-z 0-9 . _ -"),
            (&["run", ".."], "`.` and `..`"),
            (&["run", "r", "--label", "project"], "KEY=VALUE"),
            (&["run", "r", "--label", "=x"], "KEY=VALUE"),
            (&["run", "r", "claude"], "claude"),
            (&["stop"], "<ID>"),
            (&["forget", "r", "s"], "'s'"),
            (&["runs", "--label", "x"], "KEY=VALUE"),
            (
                &["runs", "--sort", "size"],
                "id, state, account, started, active, tokens, lag",
            ),
            (&["runs", "--limit", "0"], "a number from 1 on"),
            (&["runs", "--limit", "many"], "a number from 1 on"),
        ] {
            let error = read(words).unwrap_err();
            assert!(error.use_stderr(), "{words:?}");
            assert!(error.to_string().contains(wanted), "{words:?}: {error}");
        }
    }
}
