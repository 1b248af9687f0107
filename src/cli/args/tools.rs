//! Command line arguments of `config`, `check-config`, `completions`, `words` and `man`.

use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::Shell;

/// Arguments of `config`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Config {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// Subcommands of `config`.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings in effect in the form of the file
    Show {
        /// Add the origin of each: a flag, a variable, the file, or the default
        #[arg(long)]
        origin: bool,
    },
    /// Print a configuration file with every key, explained and commented out
    Example,
    /// Print the JSON Schema of the configuration file
    Schema,
}

/// Arguments of `check-config`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct CheckConfig {
    /// Print nothing on stdout; mistakes still go to stderr
    #[arg(long)]
    pub quiet: bool,
}

/// Arguments of `statusline`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct StatuslineArgs {
    /// The line, of the pieces {model}, {session}, {run}, {today}, {cost}, {five_hour}, {seven_day}, {context},
    /// {account} and {health}; `|` separates groups, and groups without a known piece are left out. Empty: no line
    #[arg(long, value_name = "TEXT", default_value = STATUSLINE_FORMAT)]
    pub format: String,
    /// Give the same input to this command of the shell, which prints below the line
    #[arg(long, value_name = "COMMAND")]
    pub then: Option<String>,
}

/// The format of a status line that names none.
pub const STATUSLINE_FORMAT: &str =
    "{model} | {run} {today} | {five_hour} | {seven_day} | {context} | {health}";

pub const STATUSLINE_EXAMPLES: &str = "\
Examples, as in ~/.claude/settings.json:
  {\"statusLine\": {\"type\": \"command\", \"command\": \"tokentail statusline\"}}
  tokentail statusline --format '{model} | {five_hour} | {context}'
  tokentail statusline --format '' --then 'my-status-line'   # only passes the limits on

Costs are estimates at list prices; `+?` stands for models without a known price. Always exits 0; without an answer of
the collector within 50 ms the line has what the input has.";

/// Arguments of `completions`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Completions {
    pub shell: Shell,
}

/// Lists for completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Words {
    /// Ids of runs
    Runs,
    /// Accounts, as PROVIDER/NAME
    Accounts,
    /// Ids of leases
    Leases,
    /// Names of accounts
    Names,
}

/// Arguments of `man`.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Man {
    /// The page: a command, tokentail.toml for the configuration file, or tokentail.service [default: tokentail]
    #[arg(value_name = "PAGE", conflicts_with = "dir")]
    pub page: Option<String>,
    /// Write all pages into man1, man5 and man8 of this directory; what is missing is made
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  sudo tokentail doctor
  tokentail doctor --socket ./t.sock --json

It changes nothing. As root it checks every path; else only those visible to this user.";

pub(super) const CHECK_CONFIG_EXAMPLES: &str = "\
Examples:
  tokentail check-config
  tokentail check-config --config new.toml && sudo install -m 644 new.toml /etc/tokentail/tokentail.toml
  tokentail check-config --json
  tokentail check-config --quiet && systemctl reload tokentail

Exits 78 if serve would refuse the configuration. Warnings leave the exit code at 0.";

pub(super) const CONFIG_EXAMPLES: &str = "\
Examples:
  tokentail config show --origin
  tokentail config example >tokentail.toml
  tokentail config schema >tokentail.schema.json";

pub(super) const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  tokentail completions bash >~/.local/share/bash-completion/completions/tokentail
  tokentail completions zsh >~/.zfunc/_tokentail
  tokentail completions fish >~/.config/fish/completions/tokentail.fish";

pub(super) const MAN_EXAMPLES: &str = "\
Examples:
  tokentail man | man -l -
  tokentail man tokentail.toml | man -l -
  tokentail man --dir ~/.local/share/man";
