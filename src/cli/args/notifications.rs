//! Command line arguments of notifications.

use clap::Subcommand;

/// Arguments of `notify`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct NotifyArgs {
    #[command(subcommand)]
    pub command: NotifyCommand,
}

/// Subcommands of `notify`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum NotifyCommand {
    /// List the targets: state, events that wait, last error
    List,
    /// Send a test to a target, as the collector would; exits with 1 if it does not arrive
    Test(NotifyTestArgs),
}

/// Arguments of `notify test`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct NotifyTestArgs {
    /// Name of the target
    #[arg(value_name = "NAME")]
    pub target: String,

    /// Type of the event, as in account.exhausted [default: the first that the target gets]
    #[arg(long, value_name = "TYPE")]
    pub event: Option<String>,
}
