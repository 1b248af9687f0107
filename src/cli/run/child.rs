//! The child command: it inherits input and outputs, gets all signals, and is waited for.
//!
//! Processes it leaves behind are not waited for.

use std::ffi::OsString;
use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

use super::super::exit::{Exit, Failure};
use crate::signals::{EXIT_SIGNAL_BASE, Received, Relay};

/// Runs the command to its end, with further variables in its environment; returns its exit code as a shell would.
///
/// # Errors
/// It cannot be started.
pub async fn run(
    words: &[OsString],
    variables: Vec<(&str, String)>,
    relay: &mut Relay,
) -> Result<u8, Failure> {
    let Some((program, arguments)) = words.split_first() else {
        return Ok(Exit::Ok.code());
    };
    let name = program.display();
    let mut command = Command::new(program);
    let spawned = command.args(arguments).envs(variables).spawn();
    let mut child = spawned.map_err(|error| {
        let (code, hint) = match error.kind() {
            io::ErrorKind::NotFound => (Exit::NotFound, "check its name and PATH"),
            _ => (Exit::NotExecutable, "check its mode and its first line"),
        };
        Failure::new(code, format!("cannot run {name}: {error}; {hint}"))
    })?;
    loop {
        tokio::select! {
            biased;
            ended = child.wait() => {
                let failed = |error| Failure::new(Exit::Io, format!("cannot wait for {name}: {error}"));
                return ended.map(code_of).map_err(failed);
            }
            signal = relay.next() => pass_on(signal, &child),
        }
    }
}

/// **Invariant**: called before `wait` has returned, so the process id still belongs to the command.
fn pass_on(signal: Received, child: &Child) {
    // The terminal has already sent it to the whole foreground group, including the command.
    if signal.is_interrupt() && io::stdin().is_terminal() {
        return;
    }
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .and_then(Pid::from_raw);
    if let Some((pid, signal)) = pid.zip(Signal::from_named_raw(signal.number())) {
        // Refused if the process runs as another user now.
        if let Err(error) = rustix::process::kill_process(pid, signal) {
            tracing::warn!(%error, ?signal, "the signal could not be passed on to the command");
        }
    }
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| EXIT_SIGNAL_BASE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_a_shell() {
        for (raw, code) in [
            (0, 0),
            (7 << 8, 7),
            (255 << 8, 255),
            (15, 143),
            (9, 137),
            (0x8b, 139),
        ] {
            assert_eq!(code_of(ExitStatus::from_raw(raw)), code, "{raw}");
        }
    }
}
