//! The watch of a start: a thread that names the path on which a start waits, in the log and to the service
//! manager. The start itself cannot: it hangs in the call.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::log;
use crate::logfile::touched::TouchedPath;
use crate::{stderr, systemd};

/// Interval of the looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A path is named once it has been waited for this long.
const NAMED_AFTER: Duration = Duration::from_secs(5);
/// It is named again after this time.
const NAMED_EVERY: Duration = Duration::from_mins(1);

/// The watch; it ends with this value.
#[derive(Debug)]
pub struct StartWatch {
    _until: Option<SyncSender<()>>,
}

impl StartWatch {
    /// Watches the paths that a start touches. Without a thread for it the start goes on unwatched.
    #[must_use]
    pub fn begin(touched: &TouchedPath, stop: CancellationToken) -> Self {
        let (until, ended) = sync_channel(1);
        let touched = touched.clone();
        let thread = thread::Builder::new()
            .name("start".to_owned())
            .spawn(move || watch(&ended, &touched, &stop));
        Self {
            _until: thread.is_ok().then_some(until),
        }
    }
}

fn watch(ended: &Receiver<()>, touched: &TouchedPath, stop: &CancellationToken) {
    let mut naming = Naming::default();
    while ended.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let Some((path, waits)) = touched.waits() else {
            continue;
        };
        if let Some(said) = naming.next(&path, waits, stop.is_cancelled()) {
            say(&said);
            systemd::status(&said);
        }
    }
}

/// Reports already made about the current path.
#[derive(Debug, Default)]
struct Naming {
    /// For how long the path was waited for when it was named last.
    named_at: Option<Duration>,
    is_stop_named: bool,
}

impl Naming {
    /// The sentence that is due about a path. A stop that waits for the start has one of its own.
    fn next(&mut self, path: &Path, waits: Duration, is_stopping: bool) -> Option<String> {
        if self.named_at.is_some_and(|named_at| named_at > waits) {
            // It is another path.
            self.named_at = None;
        }
        let due = self
            .named_at
            .map_or(NAMED_AFTER, |named_at| named_at + NAMED_EVERY);
        let names_stop = is_stopping && !self.is_stop_named;
        if waits < due && !names_stop {
            return None;
        }
        self.named_at = Some(waits);
        let (path, seconds) = (path.display(), waits.as_secs());
        if names_stop {
            self.is_stop_named = true;
            return Some(format!(
                "stopping: the start still waits for {path}; it ends with shutdown.grace, a second signal ends it at once"
            ));
        }
        Some(format!(
            "the start has waited for {path} for {seconds} s: its disk is slow, or its filesystem does not answer; see \
             whether a mount hangs"
        ))
    }
}

/// Before the settings are read there is no log.
fn say(said: &str) {
    if tracing::dispatcher::has_been_set() {
        tracing::error!("{said}");
    } else {
        stderr::print((log::failure(said) + "\n").as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_named_after_a_while_and_then_rarely() {
        let mut naming = Naming::default();
        let mut at = |path: &str, seconds| {
            let said = naming.next(Path::new(path), Duration::from_secs(seconds), false);
            said.map(|said| said.split(": ").next().unwrap().to_owned())
        };
        assert_eq!(at("/a", 4), None);
        assert_eq!(at("/a", 5).unwrap(), "the start has waited for /a for 5 s");
        assert_eq!(at("/a", 64), None);
        assert_eq!(at("/a", 65).unwrap(), "the start has waited for /a for 65 s");
        assert_eq!(at("/b", 4), None);
        assert_eq!(at("/b", 6).unwrap(), "the start has waited for /b for 6 s");
    }

    #[test]
    fn a_stop_that_waits_for_the_start_is_said_once() {
        let mut naming = Naming::default();
        let mut at = |seconds| naming.next(Path::new("/a"), Duration::from_secs(seconds), true);
        assert!(
            at(1)
                .unwrap()
                .starts_with("stopping: the start still waits for /a;")
        );
        assert_eq!(at(2), None);
    }
}
