//! Relay: signals for a command that this process runs, and their meaning once it has ended.
//!
//! While the command runs, every signal is returned to be passed on. Afterwards its output is read to the
//! end: the first signal that requests a stop allows that, the second one does not.

use std::os::raw::c_int;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::{Handle, Signals as Stream};
use tokio::sync::mpsc;

use super::{EXIT_SIGNAL_BASE, SignalError, exit_now};

/// Maximum number of signals that wait to be passed on; the kernel, too, merges several of a kind.
const SIGNALS_WAITING_MAX: usize = 64;

/// A signal that was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received(c_int);

impl Received {
    #[must_use]
    pub const fn number(self) -> c_int {
        self.0
    }

    #[must_use]
    pub const fn is_interrupt(self) -> bool {
        self.0 == SIGINT
    }

    /// True if it requests a stop; others are handled by the command.
    #[must_use]
    pub const fn asks_to_stop(self) -> bool {
        matches!(self.0, SIGTERM | SIGINT | SIGHUP | SIGQUIT)
    }
}

/// The receiver of signals; dropping it ends the thread, and the signals are then ignored.
#[derive(Debug)]
pub struct Relay {
    received: mpsc::Receiver<Received>,
    ending: Arc<AtomicBool>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// The meaning of one signal.
#[derive(Debug, PartialEq, Eq)]
enum RelayReaction {
    HandOut,
    /// Announce the shutdown.
    Finish,
    Exit(c_int),
    Nothing,
}

impl Relay {
    /// Handles TERM, INT, HUP, QUIT, USR1 and USR2 for this process. `say` writes a line to standard error
    /// without waiting for a reader.
    ///
    /// # Errors
    /// No descriptors or threads are left.
    pub fn install(say: fn(&str)) -> Result<Self, SignalError> {
        let mut stream = Stream::new([SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2])?;
        let handle = stream.handle();
        let (sender, received) = mpsc::channel(SIGNALS_WAITING_MAX);
        let ending = Arc::new(AtomicBool::new(false));
        let is_ending = Arc::clone(&ending);
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut is_second = false;
            for signal in stream.forever() {
                let signal = Received(signal);
                match reaction(signal, is_ending.load(Ordering::SeqCst), is_second) {
                    // If the queue is full, it contains a signal of the same kind.
                    RelayReaction::HandOut => drop(sender.try_send(signal)),
                    RelayReaction::Finish => {
                        is_second = true;
                        say("tokentail: reading what was written to the end; a second signal ends at once");
                    }
                    RelayReaction::Exit(code) => exit_now(signal.0, code, say),
                    RelayReaction::Nothing => {}
                }
            }
        })?;
        Ok(Self {
            received,
            ending,
            handle,
            thread: Some(thread),
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> Received {
        match self.received.recv().await {
            Some(signal) => signal,
            // The thread ends only with `self`.
            None => std::future::pending().await,
        }
    }

    /// The command has ended: from now on signals apply to this process.
    pub fn ending(&self) {
        self.ending.store(true, Ordering::SeqCst);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which the panic hook has already reported.
            let _ = thread.join();
        }
    }
}

fn reaction(signal: Received, ending: bool, is_second: bool) -> RelayReaction {
    match (ending, signal.asks_to_stop()) {
        (false, _) => RelayReaction::HandOut,
        (true, true) if is_second => RelayReaction::Exit(EXIT_SIGNAL_BASE + signal.0),
        (true, true) => RelayReaction::Finish,
        (true, false) => RelayReaction::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use signal_hook::low_level;

    use super::*;

    /// Bounds a failure; no order depends on it.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn signals_are_the_commands_while_it_runs_and_ours_afterwards() {
        for (signal, ending, is_second, expect) in [
            (SIGTERM, false, false, RelayReaction::HandOut),
            (SIGUSR1, false, true, RelayReaction::HandOut),
            (SIGTERM, true, false, RelayReaction::Finish),
            (SIGHUP, true, false, RelayReaction::Finish),
            (SIGINT, true, true, RelayReaction::Exit(130)),
            (SIGQUIT, true, true, RelayReaction::Exit(131)),
            (SIGUSR2, true, true, RelayReaction::Nothing),
        ] {
            assert_eq!(
                reaction(Received(signal), ending, is_second),
                expect,
                "{signal} {ending} {is_second}"
            );
        }
    }

    /// Signals reach the whole process: those of other tests are received here too.
    #[tokio::test]
    async fn signals_are_handed_out() {
        let mut relay = Relay::install(|_| {}).unwrap();
        for signal in [SIGUSR1, SIGUSR2] {
            low_level::raise(signal).unwrap();
            let arrives = async { while relay.next().await != Received(signal) {} };
            let arrived = tokio::time::timeout(PATIENCE, arrives).await;
            arrived.expect("it arrives");
        }
    }
}
