//! Stalls: calls into the filesystem of a run that do not return.
//!
//! The call keeps its thread. The tailer gives its permits to others, health reports that the run does not
//! respond, and the tailer waits without end, but not beyond its own stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::shared::JobPermits;
use super::tree::Tree;
use super::{Tailer, TailerError};
use crate::logfile::mounts::mounted_at;
use crate::logfile::pool::{CALLS_MIN, JobPace, SLOW_AFTER, STALLED_AFTER};
use crate::model::format::length;

impl Tailer {
    /// Runs blocking work on a thread of the pool. The permits are given back if it stalls; where not only
    /// this kernel decides how long a call takes, the common one is given back as soon as a call is slow.
    pub(super) async fn blocking<T: Send + 'static>(
        &mut self,
        access: Access,
        permits: &mut JobPermits,
        work: impl FnOnce(Box<Tree>) -> (T, Box<Tree>) + Send + 'static,
    ) -> Result<(T, Box<Tree>), TailerError> {
        let Some(tree) = self.tree.take() else {
            return Err(TailerError::Panic(
                "the work before it never came back".to_owned(),
            ));
        };
        let suspects = Arc::clone(&self.shared.suspects);
        let mut job = self.shared.pool.start(access.around(move || work(tree)));
        let mut is_slow = false;
        let done = loop {
            match job.pace().await {
                JobPace::Done(done) => break done,
                JobPace::Queued => {}
                JobPace::Blocked(time) if time >= STALLED_AFTER => {
                    *permits = JobPermits::default();
                    self.turn = None;
                    self.stalls(time, &access);
                    is_slow = true;
                    tokio::select! {
                        done = job.done() => break done,
                        () = self.stop.cancelled() => return Err(TailerError::Stopped),
                    }
                }
                JobPace::Blocked(time) => {
                    is_slow = true;
                    if !self.shared_devices().is_empty() {
                        permits.common = None;
                        self.turn = None;
                        suspects.note_slow(self.shared_devices(), time);
                    }
                }
                JobPace::Moves(calls) => {
                    if calls < CALLS_MIN && !self.shared_devices().is_empty() {
                        is_slow = true;
                        permits.common = None;
                        self.turn = None;
                        suspects.note_slow(self.shared_devices(), SLOW_AFTER);
                    }
                    if is_slow {
                        suspects.note_answer(self.shared_devices());
                    }
                }
            }
        };
        if !is_slow {
            suspects.note_fast(&self.all_devices());
        }
        if std::mem::take(&mut self.is_stalled) {
            self.shared.statuses.answers(&self.run);
        }
        done.map_err(|error| TailerError::Panic(error.to_string()))
    }

    /// Reports that a call has not returned for this time.
    fn stalls(&mut self, time: Duration, access: &Access) {
        let mounted = mounted_at(&self.home);
        // A local disk is not blamed for the mount of another filesystem in it.
        let mut devices = [self.shared_devices(), &mounted.shared_devices].concat();
        if devices.is_empty() {
            devices = [self.all_devices(), mounted.devices].concat();
        }
        self.shared.suspects.note_stalled(&devices, time);
        let suspects = self.shared.suspects.among(&devices);
        if !suspects.iter().any(|suspect| suspect.is_stalled()) {
            // Others get answers: this job alone hangs.
            access.free();
        }
        self.stalled(does_not_answer(&self.home, mounted.place.as_deref()));
    }

    pub(super) fn stalled(&mut self, problem: String) {
        self.is_stalled = true;
        self.shared.statuses.stalled(&self.run, problem);
    }
}

/// The problem of a directory that does not respond, with its mount point.
#[must_use]
pub fn does_not_answer(home: &Path, place: Option<&Path>) -> String {
    let at = place.map_or_else(String::new, |place| format!(" (mounted at {})", place.display()));
    format!(
        "{}{at} has not answered for {}: its server may be gone; it is read on as soon as it answers",
        home.display(),
        length(STALLED_AFTER.as_secs())
    )
}
