//! Backstop: ends a process that does not stop on request because some part of it hangs.
//!
//! A destructor that hangs in a filesystem can block a thread that others wait for. So the last time limit is
//! enforced by a thread that accesses nothing else.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::low_level;

use crate::sync::lock;

/// Time after the grace time for an orderly end.
pub const ORDERLY_WITHIN: Duration = Duration::from_millis(900);
/// The exit code of a stop that exceeded its grace time.
const EXIT_CODE: i32 = 0;

/// The time limit of a stop, and its start. Clones share both.
#[derive(Clone, Debug, Default)]
pub struct Grace(Arc<Mutex<GraceState>>);

#[derive(Debug, Default)]
struct GraceState {
    time: Duration,
    began: Option<Instant>,
}

impl Grace {
    /// Sets the grace time of the settings in effect. Before that it is zero: nothing is open yet.
    pub fn set(&self, time: Duration) {
        lock(&self.0).time = time;
    }

    /// The rest of the grace time; all of it before a signal to stop.
    #[must_use]
    pub fn left(&self) -> Duration {
        let state = lock(&self.0);
        let spent = state.began.map_or(Duration::ZERO, |began| began.elapsed());
        state.time.saturating_sub(spent)
    }

    fn begin(&self) {
        lock(&self.0).began = Some(Instant::now());
    }
}

/// The sending end of the thread. When it is dropped, the thread ends and the process does not.
#[derive(Debug)]
pub struct Backstop {
    arm: SyncSender<()>,
    grace: Grace,
}

impl Backstop {
    /// Starts the thread early, while threads can be created. `say` writes a line without waiting for a
    /// reader.
    ///
    /// # Errors
    /// The thread cannot be created.
    pub fn start(grace: Grace, say: fn(&str)) -> io::Result<Self> {
        let (arm, armed) = sync_channel(1);
        let of_thread = grace.clone();
        thread::Builder::new()
            .name("backstop".to_owned())
            .spawn(move || {
                if is_over(&armed, &of_thread) {
                    say(
                        "tokentail: ended at the end of shutdown.grace without waiting for what hangs in a filesystem; \
                         nothing that was committed is lost, and the rest is read again at the next start",
                    );
                    low_level::exit(EXIT_CODE);
                }
            })?;
        Ok(Self { arm, grace })
    }

    /// Starts the time of the stop.
    pub fn arm(&self) {
        self.grace.begin();
        // It was started already.
        let _ = self.arm.try_send(());
    }
}

/// Waits until the time after the start of a stop is over; false if the process ends by itself before.
fn is_over(armed: &Receiver<()>, grace: &Grace) -> bool {
    if armed.recv().is_err() {
        return false;
    }
    let within = grace.left() + ORDERLY_WITHIN;
    armed.recv_timeout(within) == Err(RecvTimeoutError::Timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_ends_by_itself_is_left_alone() {
        for is_armed in [false, true] {
            let (arm, armed) = sync_channel(1);
            if is_armed {
                arm.send(()).unwrap();
            }
            drop(arm);
            let grace = Grace::default();
            grace.set(Duration::from_hours(1));
            assert!(!is_over(&armed, &grace), "{is_armed}");
        }
    }

    #[test]
    fn the_time_is_over_after_the_grace_time_of_the_stop() {
        let (arm, armed) = sync_channel(1);
        let grace = Grace::default();
        grace.set(Duration::from_millis(1));
        grace.begin();
        arm.send(()).unwrap();
        let began = Instant::now();
        assert!(is_over(&armed, &grace));
        assert!(began.elapsed() >= ORDERLY_WITHIN);
        assert_eq!(grace.left(), Duration::ZERO);
    }
}
