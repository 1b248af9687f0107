//! Checks of paths for `doctor` and `check-config`: any path may lie in a filesystem that hangs, so each check runs
//! on a thread of its own and is waited for a bounded time. A thread that hangs is left to the end of the process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::access;
use super::exit::{Exit, Failure};
use super::finding::Finding;
use super::limits;
use crate::logfile::mounts;
use crate::logfile::touched::TouchedPath;

/// Time that one call has before its path counts as one that does not answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);
/// The same after the first path that does not answer, so that a command ends in time beside many.
const FURTHER_WITHIN: Duration = Duration::from_secs(2);
/// Most mounts that are tried at once, each on a thread.
const MOUNTS_TRIED_MAX: usize = 512;

/// The checks of one command.
#[derive(Clone, Debug, Default)]
pub struct PathChecks {
    /// A path did not answer.
    is_late: Arc<AtomicBool>,
}

/// A path that does not answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Unanswered {
    pub path: PathBuf,
    why: String,
    todo: String,
}

impl Unanswered {
    /// The path, and the remedy.
    #[must_use]
    pub fn finding(&self) -> Finding {
        Finding::new(format!("{} {}", self.path.display(), self.why), self.todo.clone())
    }
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        let Finding { what, todo } = unanswered.finding();
        let todo = todo.map_or_else(String::new, |todo| format!("; {todo}"));
        Self::new(Exit::Io, format!("{what}{todo}"))
    }
}

/// The remedy for a path in a filesystem that hangs.
#[must_use]
pub fn remedy(path: &Path) -> String {
    format!(
        "bring the server of its mount back, or unmount it: umount --lazy {}",
        access::quoted(&mounts::point_of(path).unwrap_or_else(|| path.to_owned()))
    )
}

impl PathChecks {
    /// Runs a check that begins with `path` and notes the others that it touches.
    ///
    /// # Errors
    /// The path in which it hangs, or there is no thread for it.
    ///
    /// # Panics
    /// As the check.
    pub fn run<T: Send + 'static>(
        &self,
        path: &Path,
        check: impl FnOnce(&TouchedPath) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let touched = TouchedPath::default();
        touched.set(path);
        let (done, result) = sync_channel(1);
        let of_check = touched.clone();
        let work = move || {
            // Nobody waits for it any more if it was late.
            let _ = done.send(check(&of_check));
        };
        let thread = start(work).map_err(|error| Unanswered {
            path: path.to_owned(),
            why: format!("is not checked: there is no thread for it ({error})"),
            todo: limits::THREADS_HINT.to_owned(),
        })?;
        loop {
            let within = self.within();
            let (path, waits) = touched.waits().unwrap_or_default();
            match result.recv_timeout(within.saturating_sub(waits)) {
                Ok(found) => return Ok(found),
                Err(RecvTimeoutError::Disconnected) => {
                    let panicked = thread.join().expect_err("it sends a result unless it panics");
                    std::panic::resume_unwind(panicked);
                }
                Err(RecvTimeoutError::Timeout) if waits >= within => {
                    self.is_late.store(true, Ordering::Relaxed);
                    let seconds = within.as_secs();
                    let why = format!(
                        "has not answered for {seconds} s: its disk is slow, or its filesystem hangs"
                    );
                    let todo = remedy(&path);
                    return Err(Unanswered { path, why, todo });
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn within(&self) -> Duration {
        if self.is_late.load(Ordering::Relaxed) {
            FURTHER_WITHIN
        } else {
            ANSWERS_WITHIN
        }
    }

    /// The mount points below a directory that do not answer. All are tried at once, since each costs the whole
    /// time.
    #[must_use]
    pub fn silent_mounts(&self, directory: &Path) -> Vec<PathBuf> {
        let mut tried = mounts::points_below(directory);
        tried.truncate(MOUNTS_TRIED_MAX);
        let (done, answers) = sync_channel(tried.len());
        tried.retain(|point| {
            let (done, point) = (done.clone(), point.clone());
            let look = move || {
                // Any answer is one.
                let _ = std::fs::read_dir(&point).map(|mut entries| entries.next().is_some());
                let _ = done.send(point);
            };
            // A check that was not made has no result.
            start(look).is_ok()
        });
        drop(done);
        let deadline = Instant::now() + ANSWERS_WITHIN;
        while !tried.is_empty()
            && let Ok(point) = answers.recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            tried.retain(|one| *one != point);
        }
        tried
    }
}

/// Starts a thread that may hang for ever.
fn start(work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("check".to_owned()).spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_answers_is_returned_and_one_that_moves_is_waited_for() {
        let checks = PathChecks::default();
        let found = checks.run(Path::new("/a"), |touched| {
            touched.set(Path::new("/b"));
            touched.waits().map(|(path, _)| path)
        });
        assert_eq!(found, Ok(Some("/b".into())));
        assert_eq!(checks.within(), ANSWERS_WITHIN);
    }

    #[test]
    fn a_check_that_hangs_names_its_path_and_shortens_the_next_wait() {
        let checks = PathChecks::default();
        checks.is_late.store(true, Ordering::Relaxed);
        let (_go, gate) = sync_channel::<()>(1);
        let (done, is_done) = sync_channel(1);
        let hung = checks.run(Path::new("/a"), move |touched| {
            touched.set(Path::new("/a/mount"));
            done.send(()).unwrap();
            gate.recv()
        });
        is_done.recv().unwrap();
        let unanswered = hung.unwrap_err();
        assert_eq!(unanswered.path, Path::new("/a/mount"));
        let finding = unanswered.finding();
        assert!(
            finding.what.starts_with("/a/mount has not answered for 2 s"),
            "{finding:?}"
        );
        assert!(finding.todo.unwrap().contains("umount --lazy "));
    }
}
