//! Reading files again on a thread of its own, as it may hang with their filesystem.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Time after which a reading counts as one that hangs.
const STALLED_AFTER: Duration = Duration::from_secs(5);

/// The readings that requests ask for, one at a time.
pub struct Reload<T> {
    read: Arc<dyn Fn() -> T + Send + Sync>,
    reading: Option<JoinHandle<T>>,
    /// When the reading counts as one that hangs; `None` after that was reported.
    stalls_at: Option<Instant>,
    /// A request came during the reading, which may have passed what it is about.
    is_repeated: bool,
}

/// The progress of a reading.
#[derive(Debug, PartialEq, Eq)]
pub enum ReloadProgress<T> {
    Done(T),
    /// It hangs; it is done once the filesystem answers.
    Stalled,
}

impl<T: Send + 'static> Reload<T> {
    /// No reading yet.
    pub fn new(read: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self {
            read: Arc::new(read),
            reading: None,
            stalls_at: None,
            is_repeated: false,
        }
    }

    /// Starts a reading, or has another one follow the present one.
    pub fn start(&mut self) {
        self.stalls_at = Some(Instant::now() + STALLED_AFTER);
        if self.reading.is_some() {
            self.is_repeated = true;
            return;
        }
        let read = Arc::clone(&self.read);
        self.reading = Some(tokio::task::spawn_blocking(move || read()));
    }

    /// True until every reading that was asked for is done or reported as one that hangs.
    pub fn is_expected(&self) -> bool {
        self.reading.is_some() && self.stalls_at.is_some()
    }

    /// Waits for the end of the reading, or until it hangs; forever if there is none. Cancel safe.
    pub async fn progress(&mut self) -> ReloadProgress<T> {
        let Some(reading) = &mut self.reading else {
            return std::future::pending().await;
        };
        let read = match self.stalls_at {
            Some(stalls_at) => {
                let Ok(read) = timeout_at(stalls_at, reading).await else {
                    self.stalls_at = None;
                    return ReloadProgress::Stalled;
                };
                read
            }
            None => reading.await,
        };
        self.reading = None;
        if std::mem::take(&mut self.is_repeated) {
            self.start();
        }
        ReloadProgress::Done(read.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic())))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::mpsc::{SyncSender, sync_channel};

    use super::*;
    use crate::sync::lock;

    /// Readings that each end with the next number sent.
    fn scene() -> (Reload<u32>, SyncSender<u32>) {
        let (sender, numbers) = sync_channel(1);
        let numbers = Mutex::new(numbers);
        (Reload::new(move || lock(&numbers).recv().unwrap()), sender)
    }

    #[tokio::test]
    async fn a_request_during_a_reading_is_read_after_it() {
        let (mut reload, sender) = scene();
        reload.start();
        reload.start();
        reload.start();
        sender.send(1).unwrap();
        assert_eq!(reload.progress().await, ReloadProgress::Done(1));
        assert!(reload.is_expected());
        sender.send(2).unwrap();
        assert_eq!(reload.progress().await, ReloadProgress::Done(2));
        assert!(!reload.is_expected());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_hangs_is_reported_once_and_done_when_it_ends() {
        let (mut reload, sender) = scene();
        reload.start();
        // The clock does not advance by itself while a thread of the pool works.
        tokio::time::advance(STALLED_AFTER).await;
        assert_eq!(reload.progress().await, ReloadProgress::Stalled);
        assert!(!reload.is_expected());
        sender.send(1).unwrap();
        assert_eq!(reload.progress().await, ReloadProgress::Done(1));
    }
}
