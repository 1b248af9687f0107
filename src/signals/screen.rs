//! Signals for a program that draws on a terminal: it gives the terminal back before it ends or stops.

use std::os::raw::c_int;
use std::thread::{self, JoinHandle};

use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::iterator::{Handle, Signals as Stream};
use tokio::sync::mpsc;

use super::EXIT_SIGNAL_BASE;
use super::{SignalError, exit_now};

/// Maximum number of signals that wait; the kernel, too, merges several of a kind.
const WAITING_MAX: usize = 16;

/// A signal of a terminal's program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScreenSignal {
    /// The exit code after it.
    End(u8),
    Suspend,
    Resume,
    Resize,
}

/// The receiver of signals; dropping it ends the thread, and the signals are then ignored.
#[derive(Debug)]
pub struct ScreenSignals {
    received: mpsc::Receiver<ScreenSignal>,
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl ScreenSignals {
    /// Handles TERM, INT, QUIT, HUP, TSTP, CONT and WINCH for this process. A second signal that ends it, ends it at
    /// once; `say` then writes a line.
    ///
    /// # Errors
    /// No descriptors or threads are left.
    pub fn install(say: fn(&str)) -> Result<Self, SignalError> {
        let mut stream = Stream::new([SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGCONT, SIGWINCH])?;
        let handle = stream.handle();
        let (sender, received) = mpsc::channel(WAITING_MAX);
        let thread = thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let mut is_second = false;
            for signal in stream.forever() {
                let meaning = meaning(signal);
                if matches!(meaning, ScreenSignal::End(_)) && std::mem::replace(&mut is_second, true) {
                    exit_now(signal, EXIT_SIGNAL_BASE + signal, say);
                }
                // If the queue is full, it contains a signal of the same kind.
                let _ = sender.try_send(meaning);
            }
        })?;
        Ok(Self {
            received,
            handle,
            thread: Some(thread),
        })
    }

    /// Waits for the next signal. Cancel safe.
    pub async fn next(&mut self) -> ScreenSignal {
        match self.received.recv().await {
            Some(signal) => signal,
            // The thread ends only with `self`.
            None => std::future::pending().await,
        }
    }
}

impl Drop for ScreenSignals {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // It can only have panicked, which the panic hook has already reported.
            let _ = thread.join();
        }
    }
}

fn meaning(signal: c_int) -> ScreenSignal {
    match signal {
        SIGTSTP => ScreenSignal::Suspend,
        SIGCONT => ScreenSignal::Resume,
        SIGWINCH => ScreenSignal::Resize,
        signal => ScreenSignal::End(u8::try_from(EXIT_SIGNAL_BASE + signal).unwrap_or(u8::MAX)),
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
    fn each_signal_has_its_meaning() {
        for (signal, expect) in [
            (SIGTERM, ScreenSignal::End(143)),
            (SIGHUP, ScreenSignal::End(129)),
            (SIGINT, ScreenSignal::End(130)),
            (SIGTSTP, ScreenSignal::Suspend),
            (SIGCONT, ScreenSignal::Resume),
            (SIGWINCH, ScreenSignal::Resize),
        ] {
            assert_eq!(meaning(signal), expect, "{signal}");
        }
    }

    #[tokio::test]
    async fn signals_arrive() {
        let mut signals = ScreenSignals::install(|_| {}).unwrap();
        low_level::raise(SIGWINCH).unwrap();
        let arrives = async { while signals.next().await != ScreenSignal::Resize {} };
        let arrived = tokio::time::timeout(PATIENCE, arrives).await;
        arrived.expect("it arrives");
    }
}
