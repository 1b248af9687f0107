//! Signals to the process, as values that the program can wait for.
//!
//! The first TERM or INT requests a stop after everything read is committed; a second one requests it at
//! once, and loses nothing either, because positions and totals are committed together. HUP requests that the
//! settings are read again.

mod backstop;
mod relay;
mod screen;

use std::io;
use std::os::raw::c_int;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::{Handle, Signals as Stream};
use signal_hook::{flag, low_level};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use backstop::Backstop;
pub use backstop::Grace;
pub use relay::{Received, Relay};
pub use screen::{ScreenSignal, ScreenSignals};

/// The exit code in a shell of a process ended by signal n is this plus n.
pub const EXIT_SIGNAL_BASE: c_int = 128;

/// Reason for which signals cannot be received.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error("cannot take over signals: {0}; raise the limit of open files or threads of this process")]
    Install(#[from] io::Error),
}

/// The receiver of signals; dropping it ends the thread, and the signals are then ignored.
#[derive(Debug)]
pub struct Signals {
    stop: CancellationToken,
    grace: Grace,
    reloads: watch::Receiver<u64>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

/// The meaning of one signal.
#[derive(Debug, PartialEq, Eq)]
enum Reaction {
    Stop,
    Exit(c_int),
    Reload,
    Nothing,
}

impl Signals {
    /// Handles TERM, INT and HUP for this process. `say` writes a line to standard error without waiting for
    /// a reader. If the process still runs at the end of its [`Grace`] and `ORDERLY_WITHIN` after
    /// the first TERM or INT, it is ended.
    ///
    /// # Errors
    /// No descriptors or threads are left.
    pub fn install(say: fn(&str)) -> Result<Self, SignalError> {
        let mut stream = Stream::new([SIGTERM, SIGINT, SIGHUP])?;
        let handle = stream.handle();
        let stop = CancellationToken::new();
        let (sender, reloads) = watch::channel(0_u64);
        let token = stop.clone();
        let grace = Grace::default();
        let backstop = Backstop::start(grace.clone(), say)?;
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut is_second = false;
            for signal in stream.forever() {
                match reaction(signal, is_second) {
                    Reaction::Stop => {
                        is_second = true;
                        backstop.arm();
                        token.cancel();
                    }
                    Reaction::Reload => sender.send_modify(|count| *count += 1),
                    Reaction::Exit(code) => exit_now(signal, code, say),
                    Reaction::Nothing => {}
                }
            }
        })?;
        Ok(Self {
            stop,
            grace,
            reloads,
            handle,
            thread: Some(thread),
        })
    }

    /// Cancelled by the first TERM or INT.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// The time limit of a stop.
    #[must_use]
    pub fn grace(&self) -> Grace {
        self.grace.clone()
    }

    /// Waits for a HUP that arrived after the last call returned; several count as one. Cancel safe.
    pub async fn reloaded(&mut self) {
        if self.reloads.changed().await.is_err() {
            // The thread ends only with `self`; without it no HUP can come.
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which the panic hook has already reported.
            let _ = thread.join();
        }
    }
}

/// From now on a write beyond the limit of a file's size fails with an error, as other writes do; the signal
/// sent with it would end the process silently. A program started by this one has the default again.
pub fn outlive_file_limit() {
    // Without it the signal ends the process, as it does other programs.
    let _ = flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)));
}

fn reaction(signal: c_int, is_second: bool) -> Reaction {
    match signal {
        SIGTERM | SIGINT if is_second => Reaction::Exit(EXIT_SIGNAL_BASE + signal),
        SIGTERM | SIGINT => Reaction::Stop,
        SIGHUP => Reaction::Reload,
        _ => Reaction::Nothing,
    }
}

/// Ends the process without destructors: a destructor that hangs must not hang here.
fn exit_now(signal: c_int, code: c_int, say: fn(&str)) -> ! {
    let name = low_level::signal_name(signal).unwrap_or("a signal");
    say(&format!("tokentail: {name} while stopping, exiting at once"));
    low_level::exit(code)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Bounds a failure; no order depends on it.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_second_signal_exits_with_its_own_code() {
        for (signal, is_second, expect) in [
            (SIGTERM, false, Reaction::Stop),
            (SIGINT, false, Reaction::Stop),
            (SIGTERM, true, Reaction::Exit(143)),
            (SIGINT, true, Reaction::Exit(130)),
            (SIGHUP, false, Reaction::Reload),
            (SIGHUP, true, Reaction::Reload),
            (signal_hook::consts::SIGUSR1, true, Reaction::Nothing),
        ] {
            assert_eq!(reaction(signal, is_second), expect, "{signal} {is_second}");
        }
    }

    /// One test for all real signals: they reach the whole process.
    #[tokio::test]
    async fn signals_arrive_and_the_door_closes() {
        let mut signals = Signals::install(|_| {}).unwrap();
        let stop = signals.stop();
        for _ in 0..2 {
            low_level::raise(SIGHUP).unwrap();
            tokio::time::timeout(PATIENCE, signals.reloaded())
                .await
                .expect("a HUP arrives");
        }
        assert!(!stop.is_cancelled());
        low_level::raise(SIGTERM).unwrap();
        tokio::time::timeout(PATIENCE, stop.cancelled())
            .await
            .expect("a TERM arrives");
        drop(signals);
    }

    /// Environment variable that marks the test process to be ended, see below.
    const CHILD: &str = "SIGNALS_TEST_CHILD";

    #[test]
    fn a_second_signal_ends_a_process_that_hangs() {
        let test = "signals::tests::a_process_that_hangs_after_two_signals";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        assert_eq!(child.status.code(), Some(143));
        let said = String::from_utf8_lossy(&child.stderr);
        assert!(
            said.contains("tokentail: SIGTERM while stopping, exiting at once"),
            "{said}"
        );
    }

    /// Does nothing unless the test above runs it in a process of its own.
    #[test]
    fn a_process_that_hangs_after_two_signals() {
        #[expect(clippy::disallowed_methods, reason = "marks the child process of this test")]
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let signals = Signals::install(|line| eprintln!("{line}")).unwrap();
        low_level::raise(SIGTERM).unwrap();
        while !signals.stop().is_cancelled() {
            thread::yield_now();
        }
        low_level::raise(SIGTERM).unwrap();
        loop {
            thread::park();
        }
    }
}
