//! Suspects: devices on which a call has not returned. Runs there wait until the device counts as stalled;
//! from then on one run at a time tries the device until a call returns.
//!
//! Without this every run on a dead mount would hang in it, each with a thread and a permit that others need.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::logfile::pool::STALLED_AFTER;
use crate::sync::lock;

/// The suspects by device number.
#[derive(Debug, Default)]
pub struct Suspects {
    devices: Mutex<BTreeMap<u64, Suspect>>,
    /// **Invariant**: the number of suspects, readable without the lock.
    count: AtomicUsize,
}

impl Suspects {
    /// True if there are no suspects, which is the usual case.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// Adds devices on which a call has not returned for this time.
    pub fn add(&self, devices: &[u64], waited: Duration) {
        let stalled_at = Instant::now() + STALLED_AFTER.saturating_sub(waited);
        let mut all = self.lock();
        for device in devices {
            all.entry(*device).or_insert_with(|| Suspect::new(stalled_at));
        }
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// Removes devices on which a call returned; the runs that wait for them continue.
    pub fn remove(&self, devices: &[u64]) {
        if self.is_empty() {
            return;
        }
        let mut all = self.lock();
        for suspect in devices
            .iter()
            .filter_map(|device| all.remove(device))
            .collect::<Vec<_>>()
        {
            suspect.permits.close();
        }
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// The suspects among some devices.
    pub fn among(&self, devices: &[u64]) -> Vec<Suspect> {
        let all = self.lock();
        let found = devices.iter().filter_map(|device| all.get(device));
        found.cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Suspect>> {
        lock(&self.devices)
    }
}

/// One device.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// The run with the permit tries the device. There is no permit while the first call may still return.
    permits: Arc<Semaphore>,
    is_tried: Arc<AtomicBool>,
    stalled_at: Instant,
}

impl Suspect {
    fn new(stalled_at: Instant) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(0)),
            is_tried: Arc::default(),
            stalled_at,
        }
    }

    /// Waits until the first call has not returned for [`STALLED_AFTER`]; from then on runs try the device.
    /// Cancel safe.
    pub async fn stalls(&self) {
        tokio::time::sleep_until(self.stalled_at).await;
        if !self.is_tried.swap(true, Ordering::Relaxed) {
            self.permits.add_permits(1);
        }
    }

    /// True if the first call has not returned for that long.
    pub fn is_stalled(&self) -> bool {
        Instant::now() >= self.stalled_at
    }

    /// Waits for the permit to try the device; `None` once the device responds. Cancel safe.
    pub async fn permit(self) -> Option<OwnedSemaphorePermit> {
        self.permits.acquire_owned().await.ok()
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

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_tries_a_suspect_and_an_answer_lets_all_go_on() {
        let suspects = Suspects::default();
        assert!(suspects.is_empty() && suspects.among(&[1]).is_empty());
        suspects.add(&[1, 2], Duration::ZERO);
        let suspect = |device| suspects.among(&[device]).pop().unwrap();
        let began = Instant::now();
        let mut first = pin!(suspect(1).permit());
        assert!(is_pending(&mut first).await, "its first call may return");
        assert!(!suspect(1).is_stalled());
        suspect(1).stalls().await;
        assert_eq!(began.elapsed(), STALLED_AFTER);
        let permit = first.await;
        assert!(permit.is_some() && suspect(1).is_stalled());
        suspect(1).stalls().await;
        let mut second = pin!(suspect(1).permit());
        assert!(is_pending(&mut second).await, "the first has it");
        assert!(suspects.among(&[3]).is_empty());
        suspects.remove(&[1]);
        assert!(second.await.is_none(), "it answers: no permit is needed");
        assert!(suspects.among(&[1]).is_empty() && !suspects.is_empty());
        suspects.remove(&[2]);
        assert!(suspects.is_empty());
        suspects.add(&[2], STALLED_AFTER);
        assert!(suspect(2).is_stalled(), "it was waited for before");
    }
}
