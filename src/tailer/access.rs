//! Access to the devices of a run: the permits of its suspects, and the share of the threads for a job that
//! may hang.

use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::shared::{JobKind, JobPermits, TailerContext};
use super::suspects::Suspects;
use super::{Tailer, TailerError};
use crate::logfile::mounts::{mount_of, mounted_at};
use crate::logfile::pool::{JobPace, Pool, PoolSlot, SLOW_AFTER, STALLED_AFTER};
use crate::sync::lock;

/// The problem of a run that waits for the permit of a stalled device, or has it.
const UNANSWERED: &str = "is on a device that does not answer; its runs are tried one at a time, and read on as soon as one \
                          gets an answer";
/// The problem of a run for whose job no thread is left.
const NO_THREAD: &str = "waits for a thread: calls into other filesystems that do not answer have all that such calls may \
                         take; it is read on as soon as one of them returns";

/// The permits of one job. Its thread and the task that waits for it share them; they are free once the call
/// returns, even if nobody waits any more.
#[derive(Clone, Debug)]
pub struct Access(Arc<AccessState>);

#[derive(Debug)]
struct AccessState {
    suspects: Arc<Suspects>,
    devices: Vec<u64>,
    /// Those of suspects, and what [`Access::keep`] adds.
    permits: Mutex<Vec<OwnedSemaphorePermit>>,
    slot: Mutex<Option<PoolSlot>>,
    /// The job has a permit of a suspect, so it needs none that other runs wait for.
    is_on_suspect: bool,
}

impl Access {
    fn new(suspects: &Arc<Suspects>, devices: &[u64], permits: Vec<OwnedSemaphorePermit>) -> Self {
        Self(Arc::new(AccessState {
            suspects: Arc::clone(suspects),
            devices: devices.to_vec(),
            is_on_suspect: !permits.is_empty(),
            permits: Mutex::new(permits),
            slot: Mutex::default(),
        }))
    }

    /// Wraps work, so that the permits are free when it returns, and the devices are known to answer.
    pub(super) fn around<T, W: FnOnce() -> T>(&self, work: W) -> impl FnOnce() -> T + use<T, W> {
        let access = self.clone();
        move || {
            let done = work();
            access.0.suspects.note_answer(&access.0.devices);
            drop(lock(&access.0.slot).take());
            access.free();
            done
        }
    }

    /// Gives the permits back before the job returns.
    pub(super) fn free(&self) {
        lock(&self.0.permits).clear();
    }

    /// Keeps a permit until the job returns.
    fn keep(&self, permit: Option<OwnedSemaphorePermit>) {
        lock(&self.0.permits).extend(permit);
    }

    /// Takes a free slot; `false` if none is free.
    fn takes_slot(&self, pool: &Pool) -> bool {
        let mut slot = lock(&self.0.slot);
        if slot.is_none() {
            *slot = pool.try_slot(self.is_trial());
        }
        slot.is_some()
    }

    /// Waits for a slot.
    async fn wait_for_slot(&self, pool: &Pool) {
        let slot = pool.slot(self.is_trial()).await;
        *lock(&self.0.slot) = Some(slot);
    }

    fn is_trial(&self) -> bool {
        !self.0.suspects.answer(&self.0.devices)
    }
}

/// A job, and the devices that it may wait for.
struct Plan {
    kind: JobKind,
    devices: Vec<u64>,
    /// Not only this kernel decides how long a call takes.
    is_shared: bool,
    /// The turn of the run; it is given back where the wait may be long.
    turn: Option<OwnedSemaphorePermit>,
}

/// Waits for everything that a job needs: the permits of those devices that are suspects, those of its kind,
/// and a slot. `reports` gets the reason why it takes long.
async fn admit(
    shared: &TailerContext,
    plan: &mut Plan,
    stop: &CancellationToken,
    mut reports: impl FnMut(&str),
) -> Result<(Access, JobPermits), TailerError> {
    let suspects = &shared.suspects;
    let mut access: Option<Access> = None;
    loop {
        let held = if let Some(held) = access.take() {
            held
        } else {
            let mut permits = Vec::new();
            for suspect in suspects.among(&plan.devices) {
                plan.turn = None;
                // Boxed, as all waits that are rare: thousands of runs may wait for a permit of their kind.
                let permit = suspect.permit(|| reports(UNANSWERED));
                permits.extend(Box::pin(unless_stopped(stop, permit)).await?);
            }
            Access::new(suspects, &plan.devices, permits)
        };
        let taken = if held.0.is_on_suspect {
            // The others there may take long.
            Box::pin(unless_stopped(stop, shared.permits.take(plan.kind, true))).await?
        } else {
            let taken = shared.permits.take(plan.kind, false).await;
            if !suspects.among(&plan.devices).is_empty() {
                // One of the devices became a suspect meanwhile.
                continue;
            }
            taken
        };
        let needs_slot = plan.is_shared || held.0.is_on_suspect;
        if !needs_slot || held.takes_slot(&shared.pool) {
            return Ok((held, taken));
        }
        drop(taken);
        plan.turn = None;
        let mut waits = Box::pin(held.wait_for_slot(&shared.pool));
        let within = Box::pin(tokio::time::timeout(STALLED_AFTER, &mut waits));
        if unless_stopped(stop, within).await?.is_err() {
            reports(NO_THREAD);
            unless_stopped(stop, waits).await?;
        }
        access = Some(held.clone());
    }
}

async fn unless_stopped<T>(
    stop: &CancellationToken,
    future: impl Future<Output = T>,
) -> Result<T, TailerError> {
    tokio::select! {
        biased;
        done = future => Ok(done),
        () = stop.cancelled() => Err(TailerError::Stopped),
    }
}

impl Tailer {
    /// Waits for everything that a job needs, see [`admit`].
    pub(super) async fn admitted(&mut self, kind: JobKind) -> Result<(Access, JobPermits), TailerError> {
        let (shared, stop) = (Arc::clone(&self.shared), self.stop.clone());
        let mut plan = Plan {
            kind,
            is_shared: !self.shared_devices().is_empty(),
            devices: self.all_devices(),
            turn: self.turn.take(),
        };
        let reports = |problem: &str| {
            if !self.is_stalled {
                self.stalled(format!("{} {problem}", self.home.display()));
            }
        };
        let admitted = admit(&shared, &mut plan, &stop, reports).await;
        self.turn = plan.turn;
        admitted
    }

    /// The devices of this run that not only this kernel changes.
    pub(super) fn shared_devices(&mut self) -> &[u64] {
        self.shared_devices
            .get_or_insert_with(|| mounted_at(&self.home).shared_devices)
    }

    /// The devices of this run, as of the last look, or as the kernel's table of mounts has them.
    pub(super) fn all_devices(&mut self) -> Vec<u64> {
        if self.devices.is_empty() {
            self.devices = mounted_at(&self.home).devices;
        }
        let shared_devices = self.shared_devices().to_vec();
        self.devices.iter().copied().chain(shared_devices).collect()
    }
}

/// Checks the own directory of a run on a thread of the pool; `None` if that does not return in time.
pub async fn check<T: Send + 'static>(
    shared: &TailerContext,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    within_time(shared, JobKind::Check, path, work).await
}

/// Resolves a directory that a request names on a thread of the pool; `None` if that does not return in time.
pub async fn resolve<T: Send + 'static>(
    shared: &TailerContext,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    within_time(shared, JobKind::Resolve, path, work).await
}

/// Runs work that touches `path`; `None` if it does not return within [`STALLED_AFTER`]. Few of the jobs on a
/// device that hangs take a thread.
async fn within_time<T: Send + 'static>(
    shared: &TailerContext,
    kind: JobKind,
    path: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let deadline = Instant::now() + STALLED_AFTER;
    let shared_devices = mount_of(path).shared_devices;
    let mut plan = Plan {
        kind,
        is_shared: !shared_devices.is_empty(),
        devices: shared_devices.clone(),
        turn: None,
    };
    let never = CancellationToken::new();
    let admitted = admit(shared, &mut plan, &never, |_| ());
    let (access, permits) = tokio::time::timeout_at(deadline, admitted).await.ok()?.ok()?;
    // Where the device is not known, the jobs that hang are bounded by these permits.
    access.keep(permits.common);
    let mut job = shared.pool.start(access.around(work));
    let mut is_slow = false;
    let waits = async {
        loop {
            match job.pace().await {
                JobPace::Done(done) => return done.ok(),
                JobPace::Blocked(time) if time >= STALLED_AFTER => {
                    shared.suspects.note_stalled(&shared_devices, time);
                    return None;
                }
                JobPace::Blocked(time) if !is_slow && !shared_devices.is_empty() => {
                    is_slow = true;
                    shared.suspects.note_slow(&shared_devices, time);
                    if !access.0.is_on_suspect {
                        access.free();
                    }
                }
                JobPace::Queued | JobPace::Moves(_) | JobPace::Blocked(_) => {}
            }
        }
    };
    // A job that began late stalls later than that.
    let done = tokio::time::timeout_at(deadline + SLOW_AFTER, waits)
        .await
        .ok()
        .flatten();
    if !is_slow {
        shared.suspects.note_fast(&shared_devices);
    }
    done
}
