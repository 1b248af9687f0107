//! The command line of `watch`.

/// Arguments of `watch`.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub struct WatchArgs {
    /// Only events of this run; may be given more than once
    #[arg(long = "run", value_name = "ID", value_parser = super::runs::run_id)]
    pub runs: Vec<crate::model::RunId>,

    /// Only events of this account, as NAME or PROVIDER/NAME; may be given more than once
    #[arg(long = "account", value_name = "NAME")]
    pub accounts: Vec<String>,

    /// Only these kinds, separated by commas: usage, window, threshold, account, run, health, lease, probe
    #[arg(long, value_name = "KINDS")]
    pub kinds: Option<String>,
}

pub(super) const EXAMPLES: &str = "\
Examples:
  tokentail watch
  tokentail watch --run fix-42 --kinds usage,run --json

With --json one line for each event: {\"event\":KIND,\"id\":ID,\"data\":DOCUMENT}. After a lost connection it resumes
after the last event once the collector answers again. A run that does not exist yet is waited for, with a message on
stderr; an account that is not configured is refused (66), unless accounts.open is set.";
