//! Stalls: calls into the filesystem of a run that do not return.
//!
//! The call keeps its thread. The tailer gives its permits to others, health reports that the run does not
//! respond, and the tailer waits without end, but not beyond its own stop.

use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;

use super::tree::Tree;
use super::{Tailer, TailerError};
use crate::logfile::mounts::mounted_at;
use crate::logfile::pool::{JobPace, STALLED_AFTER};
use crate::model::format::length;

/// The problem of a run that waits for the permit of a stalled device, or has it.
const UNANSWERED: &str = "is on a device that does not answer; its runs are tried one at a time, and read on as soon as one \
                          gets an answer";

/// The permits to try the stalled devices of a run.
#[derive(Debug, Default)]
pub(super) struct DevicePermits(Vec<OwnedSemaphorePermit>);

impl Tailer {
    /// Waits for the permits of those devices of this run on which a call has not returned.
    pub(super) async fn device_permits(&mut self) -> Result<DevicePermits, TailerError> {
        let mut permits = DevicePermits::default();
        if self.shared.suspects.is_empty() {
            return Ok(permits);
        }
        if self.devices.is_empty() {
            self.devices = sorted(mounted_at(&self.home).devices);
        }
        for suspect in self.shared.suspects.among(&self.devices) {
            let mut its = pin!(suspect.clone().permit());
            // The device may only be slow.
            let permit = tokio::select! {
                biased;
                permit = &mut its => permit,
                () = self.stop.cancelled() => return Err(TailerError::Stopped),
                () = suspect.stalls() => {
                    self.stalled(format!("{} {UNANSWERED}", self.home.display()));
                    tokio::select! {
                        permit = its => permit,
                        () = self.stop.cancelled() => return Err(TailerError::Stopped),
                    }
                }
            };
            // The run with the permit reports that too: its attempt takes as long to fail as the first call did.
            if permit.is_some() && !self.is_stalled {
                self.stalled(format!("{} {UNANSWERED}", self.home.display()));
            }
            permits.0.extend(permit);
        }
        Ok(permits)
    }

    /// True if a device of this run became a suspect after the run got these permits.
    pub(super) fn is_outdated(&mut self, permits: &DevicePermits) -> bool {
        if !permits.0.is_empty() || self.shared.suspects.is_empty() {
            return false;
        }
        if self.devices.is_empty() {
            self.devices = sorted(mounted_at(&self.home).devices);
        }
        !self.shared.suspects.among(&self.devices).is_empty()
    }

    /// Runs blocking work on a thread of the pool. `permit` and `held` are given back if it stalls; where not
    /// only this kernel decides how long a call takes, `permit` is given back as soon as a call is slow.
    pub(super) async fn blocking<T: Send + 'static, P, H>(
        &mut self,
        devices: DevicePermits,
        permit: &mut Option<P>,
        held: &mut Option<H>,
        work: impl FnOnce(Box<Tree>) -> (T, Box<Tree>) + Send + 'static,
    ) -> Result<(T, Box<Tree>), TailerError> {
        let Some(tree) = self.tree.take() else {
            return Err(TailerError::Panic(
                "the work before it never came back".to_owned(),
            ));
        };
        let mut job = self.shared.pool.start(move || work(tree));
        let mut is_slow = false;
        let done = loop {
            match job.pace().await {
                JobPace::Done(done) => break done,
                JobPace::Moves if std::mem::take(&mut is_slow) => {
                    let suspects = Arc::clone(&self.shared.suspects);
                    suspects.remove(self.foreign());
                }
                JobPace::Moves => {}
                JobPace::Stands(time) if time >= STALLED_AFTER => {
                    (*permit, *held) = (None, None);
                    self.stalls(time);
                    tokio::select! {
                        done = job.done() => break done,
                        () = self.stop.cancelled() => return Err(TailerError::Stopped),
                    }
                }
                JobPace::Stands(_) if is_slow => {}
                JobPace::Stands(time) => {
                    is_slow = true;
                    if !self.foreign().is_empty() {
                        *permit = None;
                        let suspects = Arc::clone(&self.shared.suspects);
                        suspects.add(self.foreign(), time);
                    }
                }
            }
        };
        self.shared.suspects.remove(&self.devices);
        if is_slow {
            let suspects = Arc::clone(&self.shared.suspects);
            suspects.remove(self.foreign());
        }
        drop(devices);
        if std::mem::take(&mut self.is_stalled) {
            self.shared.statuses.answers(&self.run);
        }
        done.map_err(|error| TailerError::Panic(error.to_string()))
    }

    /// Reports that a call has not returned for this time.
    fn stalls(&mut self, time: Duration) {
        let mounted = mounted_at(&self.home);
        let devices = self.devices.iter().copied();
        self.devices = sorted(devices.chain(mounted.devices).collect());
        self.shared.suspects.add(&self.devices, time);
        self.stalled(does_not_answer(&self.home, mounted.place.as_deref()));
    }

    /// The devices that not only this kernel changes.
    fn foreign(&mut self) -> &[u64] {
        self.foreign.get_or_insert_with(|| mounted_at(&self.home).foreign)
    }

    fn stalled(&mut self, problem: String) {
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

fn sorted(mut devices: Vec<u64>) -> Vec<u64> {
    devices.sort_unstable();
    devices.dedup();
    devices
}
