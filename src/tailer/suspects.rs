//! Suspects: devices on which a call does not return. Until it has been so for long, runs there wait; from then on they are
//! tried one at a time until one gets an answer.
//!
//! Without this every run on a dead mount would come to hang in it, each with a thread, and with what others need to read.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::logfile::pool::STALLED_AFTER;

/// Devices by their numbers.
#[derive(Debug, Default)]
pub struct Suspects {
    devices: Mutex<BTreeMap<u64, Suspect>>,
    /// **Invariant**: how many there are, to be looked at without the lock.
    count: AtomicUsize,
}

impl Suspects {
    /// Whether there are none, which is the rule.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// A call into these has not returned for so long.
    pub fn add(&self, devices: &[u64], waited: Duration) {
        let stalled_at = Instant::now() + STALLED_AFTER.saturating_sub(waited);
        let mut all = self.lock();
        for device in devices {
            all.entry(*device).or_insert_with(|| Suspect::new(stalled_at));
        }
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// A call into these returned: the runs that wait to try them go on.
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
            suspect.turns.close();
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
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Suspect {
    /// The run that holds the permit tries the device. There is none yet while its first call may still return.
    turns: Arc<Semaphore>,
    is_tried: Arc<AtomicBool>,
    stalled_at: Instant,
}

impl Suspect {
    fn new(stalled_at: Instant) -> Self {
        Self {
            turns: Arc::new(Semaphore::new(0)),
            is_tried: Arc::default(),
            stalled_at,
        }
    }

    /// Waits until the first call has not returned for [`STALLED_AFTER`]: from then on runs try the device. Cancel safe.
    pub async fn stalls(&self) {
        tokio::time::sleep_until(self.stalled_at).await;
        if !self.is_tried.swap(true, Ordering::Relaxed) {
            self.turns.add_permits(1);
        }
    }

    /// Whether the first call has not returned for that long.
    pub fn is_stalled(&self) -> bool {
        Instant::now() >= self.stalled_at
    }

    /// The permit to try the device, once nobody else does; `None` once it answers. Cancel safe.
    pub async fn turn(self) -> Option<OwnedSemaphorePermit> {
        self.turns.acquire_owned().await.ok()
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
        let mut first = pin!(suspect(1).turn());
        assert!(is_pending(&mut first).await, "its first call may return");
        assert!(!suspect(1).is_stalled());
        suspect(1).stalls().await;
        assert_eq!(began.elapsed(), STALLED_AFTER);
        let permit = first.await;
        assert!(permit.is_some() && suspect(1).is_stalled());
        suspect(1).stalls().await;
        let mut second = pin!(suspect(1).turn());
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
