//! The command line of what explains the program: its configuration, completions, manual pages.

use std::path::PathBuf;

use clap::Subcommand;
use clap_complete::Shell;

/// `config`: what to show.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Config {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What there is to show of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum ConfigCommand {
    /// Print the settings in effect, as they would stand in the file
    Show {
        /// Say where each comes from: a flag, a variable, the file, or the default
        #[arg(long)]
        origin: bool,
    },
    /// Print a configuration file with every key, explained and commented out
    Example,
    /// Print the JSON Schema of the configuration file
    Schema,
}

/// `check-config`: how much to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub struct CheckConfig {
    /// Print nothing on stdout; mistakes still go to stderr
    #[arg(long)]
    pub quiet: bool,
}

/// `completions`: for which shell.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Completions {
    pub shell: Shell,
}

/// `words`: what the completions ask the collector for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Words {
    /// Ids of runs
    Runs,
    /// Accounts, as PROVIDER/NAME
    Accounts,
    /// Names of accounts
    Names,
}

/// `man`: where to.
#[derive(Clone, Debug, PartialEq, Eq, clap::Args)]
pub struct Man {
    /// Write a page for each command into this directory, which is made if it is missing
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

pub(super) const DOCTOR_EXAMPLES: &str = "\
Examples:
  sudo tokentail doctor
  tokentail doctor --socket ./t.sock --json

It asks and looks, and changes nothing. As root it sees every path; else only what this user may see.";

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
  tokentail man --dir ~/.local/share/man/man1";
