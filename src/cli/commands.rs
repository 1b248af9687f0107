//! PLACEHOLDER: the bodies of the commands, to be replaced as a whole.

use super::args::{Global, Replay};
use super::exit::{Exit, Failure};

/// Runs the collector until a signal.
///
/// # Errors
/// The configuration is wrong, or the collector cannot start or go on.
pub fn serve(_: &Global) -> Result<Exit, Failure> {
    missing("serve")
}

/// Reads transcripts once and prints the summary.
///
/// # Errors
/// A path or the expected document cannot be read.
pub fn replay(_: &Global, _: &Replay) -> Result<Exit, Failure> {
    missing("replay")
}

/// Prints the summary of the running collector.
///
/// # Errors
/// The collector does not answer.
pub fn status(_: &Global) -> Result<Exit, Failure> {
    missing("status")
}

/// Counts the transcripts anew and compares.
///
/// # Errors
/// The database or the transcripts cannot be read.
pub fn verify(_: &Global) -> Result<Exit, Failure> {
    missing("verify")
}

/// Prints the settings in effect.
///
/// # Errors
/// The configuration is wrong.
pub fn check_config(_: &Global) -> Result<Exit, Failure> {
    missing("check-config")
}

fn missing(command: &str) -> Result<Exit, Failure> {
    Err(Failure::new(Exit::Bug, format!("`{command}` is not built yet")))
}
