//! Suspects: devices that do not answer. Runs on one are tried one at a time until one gets an answer.
//!
//! Without this every run on a dead mount would come to hang in it, each with a thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Devices by their numbers.
#[derive(Debug, Default)]
pub struct Suspects {
    /// The run that holds a device's permit tries it.
    devices: Mutex<BTreeMap<u64, Arc<Semaphore>>>,
    /// **Invariant**: how many there are, to be looked at without the lock.
    count: AtomicUsize,
}

impl Suspects {
    /// Whether there are none, which is the rule.
    pub fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// A call into one of these does not return.
    pub fn add(&self, devices: &[u64]) {
        let mut all = self.lock();
        for device in devices {
            all.entry(*device).or_insert_with(|| Arc::new(Semaphore::new(1)));
        }
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// A call into these returned: the runs that wait to try them go on.
    pub fn remove(&self, devices: &[u64]) {
        if self.is_empty() {
            return;
        }
        let mut all = self.lock();
        for permit in devices
            .iter()
            .filter_map(|device| all.remove(device))
            .collect::<Vec<_>>()
        {
            permit.close();
        }
        self.count.store(all.len(), Ordering::Relaxed);
    }

    /// The suspects among some devices.
    pub fn among(&self, devices: &[u64]) -> Vec<Suspect> {
        let all = self.lock();
        let found = devices.iter().filter_map(|device| all.get(device));
        found.map(|permit| Suspect(Arc::clone(permit))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Semaphore>>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of them.
#[derive(Debug)]
pub struct Suspect(Arc<Semaphore>);

impl Suspect {
    /// Whether somebody tries the device at the moment.
    pub fn is_tried(&self) -> bool {
        self.0.available_permits() == 0 && !self.0.is_closed()
    }

    /// The permit to try the device, once nobody else does; `None` once it answers. Cancel safe.
    pub async fn turn(self) -> Option<OwnedSemaphorePermit> {
        self.0.acquire_owned().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_tries_a_suspect_and_an_answer_lets_all_go_on() {
        let suspects = Suspects::default();
        assert!(suspects.is_empty() && suspects.among(&[1]).is_empty());
        suspects.add(&[1, 2]);
        let first = suspects.among(&[1]).pop().unwrap().turn().await;
        assert!(first.is_some());
        let second = suspects.among(&[1]).pop().unwrap();
        assert!(second.is_tried(), "the first has it");
        assert!(suspects.among(&[3]).is_empty());
        suspects.remove(&[1]);
        assert!(second.turn().await.is_none(), "it answers: no permit is needed");
        assert!(suspects.among(&[1]).is_empty() && !suspects.is_empty());
        suspects.remove(&[2]);
        assert!(suspects.is_empty());
    }
}
