//! Suspects: devices on which a call is slow or does not return, each with permits of its own.
//!
//! Without this every run on a dead mount would hang in it, each with a thread and a permit that others need,
//! and the runs on a slow one would take the permits of all others.

use std::collections::{BTreeMap, BTreeSet};
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::logfile::pool::{SLOW_AFTER, STALLED_AFTER};
use crate::sync::lock;

/// Jobs at once on a slow device.
const SLOW_JOBS_MAX: usize = 8;
/// A device is slow until no call on it was slow for this long.
const SLOW_FOR: Duration = Duration::from_secs(10);
/// Devices remembered because they answered; others count as devices without an answer.
const ANSWERED_MAX: usize = 4096;

/// The suspects by device number, and the devices that answered.
#[derive(Debug, Default)]
pub struct Suspects {
    devices: Mutex<BTreeMap<u64, Arc<Suspect>>>,
    answered: Mutex<BTreeSet<u64>>,
    /// **Invariant**: the number of suspects, readable without the lock.
    count: AtomicUsize,
}

/// The state of a suspect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SuspectPhase {
    /// The first slow call has not returned: no other job begins.
    Unclear,
    /// Calls return: [`SLOW_JOBS_MAX`] jobs at once.
    Slow,
    /// No call has returned for [`STALLED_AFTER`]: one job at a time tries the device.
    Stalled,
    /// It is no suspect any more.
    Over,
}

/// One device.
#[derive(Debug)]
pub struct Suspect {
    phase: watch::Sender<SuspectPhase>,
    lane: Arc<Semaphore>,
    trial: Arc<Semaphore>,
    times: Mutex<Times>,
}

#[derive(Clone, Copy, Debug)]
struct Times {
    /// The last time a call returned, or a job began.
    moved: Instant,
    /// The last time a call was slow.
    slow: Instant,
}

impl Suspects {
    /// True if there are no suspects, which is the usual case.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Notes that a call on these devices has not returned for this time.
    pub fn note_slow(&self, devices: &[u64], waited: Duration) {
        let now = Instant::now();
        let moved = now.checked_sub(waited).unwrap_or(now);
        let mut all = self.lock();
        for device in devices {
            let suspect = all
                .entry(*device)
                .or_insert_with(|| Arc::new(Suspect::new(moved)));
            suspect.times().slow = now;
        }
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// Notes that a call on these devices has not returned for this time, which is [`STALLED_AFTER`] at
    /// least. A device on which others returned meanwhile is only slow.
    pub fn note_stalled(&self, devices: &[u64], waited: Duration) {
        self.note_slow(devices, waited);
        for suspect in self.among(devices) {
            suspect.stall_if_due();
        }
    }

    /// Notes that a call on these devices returned: other runs continue.
    pub fn note_answer(&self, devices: &[u64]) {
        let mut answered = lock(&self.answered);
        if answered.len() < ANSWERED_MAX {
            answered.extend(devices);
        }
        drop(answered);
        for suspect in self.among(devices) {
            suspect.times().moved = Instant::now();
            suspect.change(SuspectPhase::Slow);
        }
    }

    /// Notes that no call of a job on these devices was slow.
    pub fn note_fast(&self, devices: &[u64]) {
        if self.is_empty() {
            return;
        }
        let mut all = self.lock();
        for device in devices {
            let is_over = |suspect: &Arc<Suspect>| suspect.times().slow.elapsed() >= SLOW_FOR;
            if all.get(device).is_some_and(is_over)
                && let Some(suspect) = all.remove(device)
            {
                suspect.change(SuspectPhase::Over);
            }
        }
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// The suspects among some devices, in one order for all runs.
    pub fn among(&self, devices: &[u64]) -> Vec<Arc<Suspect>> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut devices = devices.to_vec();
        devices.sort_unstable();
        devices.dedup();
        let all = self.lock();
        let found = devices.iter().filter_map(|device| all.get(device));
        found.cloned().collect()
    }

    /// True if these devices answered before, and none of them fails to at present.
    pub fn answer(&self, devices: &[u64]) -> bool {
        let answered = lock(&self.answered);
        devices.iter().all(|device| answered.contains(device))
            && self.among(devices).iter().all(|suspect| suspect.is_slow())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Suspect>>> {
        lock(&self.devices)
    }
}

impl Suspect {
    fn new(moved: Instant) -> Self {
        Self {
            phase: watch::Sender::new(SuspectPhase::Unclear),
            lane: Arc::new(Semaphore::new(SLOW_JOBS_MAX)),
            trial: Arc::new(Semaphore::new(1)),
            times: Mutex::new(Times { moved, slow: moved }),
        }
    }

    /// True if its calls return.
    fn is_slow(&self) -> bool {
        *self.phase.borrow() == SuspectPhase::Slow
    }

    /// True if no call has returned for [`STALLED_AFTER`].
    pub fn is_stalled(&self) -> bool {
        *self.phase.borrow() == SuspectPhase::Stalled
    }

    /// Waits for the permit to begin a job on the device; `None` if none is needed any more. Calls `stalls`
    /// when the device is stalled. Cancel safe.
    pub async fn permit(&self, mut stalls: impl FnMut()) -> Option<OwnedSemaphorePermit> {
        let mut phases = self.phase.subscribe();
        loop {
            let phase = *phases.borrow_and_update();
            let moved = self.times().moved;
            let admitted = async {
                match phase {
                    SuspectPhase::Unclear => pending().await,
                    SuspectPhase::Slow => Arc::clone(&self.lane).acquire_owned().await.ok(),
                    SuspectPhase::Stalled => {
                        stalls();
                        Arc::clone(&self.trial).acquire_owned().await.ok()
                    }
                    SuspectPhase::Over => None,
                }
            };
            let is_watched = matches!(phase, SuspectPhase::Unclear | SuspectPhase::Slow);
            tokio::select! {
                biased;
                permit = admitted => {
                    self.times().moved = Instant::now();
                    return permit;
                }
                _ = phases.changed() => {}
                () = tokio::time::sleep_until(moved + STALLED_AFTER), if is_watched => self.stall_if_due(),
            }
        }
    }

    /// Makes the device stalled if no call has returned for [`STALLED_AFTER`].
    fn stall_if_due(&self) {
        // The check of a job is that much late, or early.
        let stood = self.times().moved.elapsed() + SLOW_AFTER;
        if stood >= STALLED_AFTER {
            self.change(SuspectPhase::Stalled);
        }
    }

    fn change(&self, to: SuspectPhase) {
        self.phase
            .send_if_modified(|phase| std::mem::replace(phase, to) != to);
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        lock(&self.times)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use super::*;

    async fn is_pending<T>(future: impl Future<Output = T>) -> bool {
        tokio::time::timeout(Duration::from_millis(1), future)
            .await
            .is_err()
    }

    fn suspect(suspects: &Suspects, device: u64) -> Arc<Suspect> {
        suspects.among(&[device]).pop().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_tries_a_device_that_does_not_answer() {
        let suspects = Suspects::default();
        assert!(suspects.is_empty() && suspects.among(&[1]).is_empty());
        assert!(!suspects.answer(&[1]), "nothing is known");
        suspects.note_slow(&[1, 2], Duration::ZERO);
        let began = Instant::now();
        let one = suspect(&suspects, 1);
        let mut first = pin!(one.permit(|| ()));
        assert!(is_pending(&mut first).await, "its first call may return");
        assert!(!one.is_stalled());
        let permit = first.await.unwrap();
        assert_eq!(began.elapsed(), STALLED_AFTER);
        assert!(one.is_stalled());
        let mut stalls = 0;
        assert!(is_pending(one.permit(|| stalls += 1)).await, "the first has it");
        assert_eq!(stalls, 1);
        assert!(!suspects.answer(&[1]));
        suspects.note_answer(&[1]);
        assert!(suspects.answer(&[1]) && !one.is_stalled());
        drop(permit);
        suspects.note_stalled(&[2], STALLED_AFTER);
        assert!(suspect(&suspects, 2).is_stalled(), "it was waited for before");
        assert!(suspects.among(&[3]).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn some_at_once_go_on_where_calls_return_until_none_is_slow() {
        let suspects = Suspects::default();
        suspects.note_slow(&[1], SLOW_AFTER);
        let one = suspect(&suspects, 1);
        let mut waits = pin!(one.permit(|| ()));
        assert!(is_pending(&mut waits).await);
        suspects.note_answer(&[1]);
        let mut permits = vec![waits.await.unwrap()];
        for _ in 1..SLOW_JOBS_MAX {
            permits.push(one.permit(|| ()).await.unwrap());
        }
        let mut last = pin!(one.permit(|| ()));
        assert!(is_pending(&mut last).await, "the lane is full");
        // One job that hangs makes no device stalled on which others return.
        tokio::time::advance(STALLED_AFTER / 2).await;
        suspects.note_answer(&[1]);
        tokio::time::advance(STALLED_AFTER / 2).await;
        suspects.note_stalled(&[1], STALLED_AFTER);
        assert!(!one.is_stalled());
        suspects.note_fast(&[1]);
        assert!(!suspects.is_empty(), "it was slow a moment ago");
        tokio::time::advance(SLOW_FOR).await;
        suspects.note_answer(&[1]);
        suspects.note_fast(&[1]);
        assert!(last.await.is_none(), "no permit is needed");
        assert!(suspects.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_device_that_dies_is_tried_one_at_a_time() {
        let suspects = Suspects::default();
        suspects.note_slow(&[1], SLOW_AFTER);
        suspects.note_answer(&[1]);
        let one = suspect(&suspects, 1);
        let mut held = Vec::new();
        for _ in 0..SLOW_JOBS_MAX {
            held.push(one.permit(|| ()).await.unwrap());
        }
        let began = Instant::now();
        held.push(one.permit(|| ()).await.unwrap());
        assert_eq!(began.elapsed(), STALLED_AFTER);
        assert!(is_pending(one.permit(|| ())).await, "one has the trial");
    }
}
