//! Pool: threads for calls into filesystems of others, any of which may hang without end.
//!
//! A call into a mount whose server is gone does not return. It keeps its one thread; nothing waits for that
//! thread, not even the end of the process.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

/// A job is stalled when one call has not returned for this long.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);
/// A job is slow when one call has not returned for this long: its permits may have to be given to others.
pub const SLOW_AFTER: Duration = Duration::from_millis(100);
/// Most threads: those that work, one for each mount that hangs, and those that were in it when it began to
/// hang.
const THREADS_MAX: usize = 256;
/// A thread without work ends after this; [`Pool::keep_one`] is called more often.
const IDLE_THREAD_FOR: Duration = Duration::from_secs(10);

thread_local! {
    /// Counts the calls that returned in the job that runs on this thread.
    static CALLS: RefCell<Option<Arc<AtomicU64>>> = const { RefCell::new(None) };
}

/// Notes that a call into a filesystem returned.
pub(super) fn call_returned() {
    CALLS.with_borrow(|calls| {
        if let Some(calls) = calls {
            calls.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// A pool of threads.
#[derive(Debug)]
pub struct Pool {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

/// Work on a thread of the pool. After a drop it continues, and its result is lost.
#[derive(Debug)]
pub struct Job<T> {
    handle: JoinHandle<T>,
    calls: Arc<AtomicU64>,
    /// The number of calls that had returned at the last check, and the time since when it has been so.
    returned: u64,
    since: Instant,
    /// The time of the last check: a wait for a job may be cancelled at any time.
    looked: Instant,
}

/// The progress of a job.
#[derive(Debug)]
pub enum Progress<T> {
    /// The job is done, or it panicked.
    Done(Result<T, JoinError>),
    /// One of its calls has not returned for [`STALLED_AFTER`].
    Stalled,
}

/// The progress of a job in a short time.
#[derive(Debug)]
pub enum JobPace<T> {
    /// The job is done, or it panicked.
    Done(Result<T, JoinError>),
    /// Calls of the job returned.
    Moves,
    /// No call has returned for this long.
    Stands(Duration),
}

impl Pool {
    /// A pool with one thread.
    ///
    /// # Errors
    /// When the system refuses a resource that a runtime needs.
    pub fn new() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(THREADS_MAX)
            .thread_keep_alive(IDLE_THREAD_FOR)
            .thread_name("tokentail-fs")
            .build()?;
        let pool = Self {
            runtime: Some(runtime),
        };
        pool.keep_one();
        Ok(pool)
    }

    /// Keeps one idle thread from ending. The runtime panics if the system refuses the first thread; a
    /// further one is only waited for.
    pub fn keep_one(&self) {
        drop(self.start(|| ()));
    }

    /// Starts a job on a thread of its own.
    pub fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let calls = Arc::new(AtomicU64::new(0));
        let its_calls = Arc::clone(&calls);
        let counted = move || {
            CALLS.set(Some(its_calls));
            let done = work();
            CALLS.set(None);
            done
        };
        let handle = match &self.runtime {
            Some(runtime) => runtime.spawn_blocking(counted),
            None => unreachable!("it is taken in `drop` alone"),
        };
        Job {
            handle,
            calls,
            returned: 0,
            since: Instant::now(),
            looked: Instant::now(),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl<T> Job<T> {
    /// Waits until the job is done or stalls; a stalled one can be waited for with [`Job::done`]. Cancel
    /// safe.
    pub async fn progress(&mut self) -> Progress<T> {
        loop {
            match self.pace().await {
                JobPace::Done(done) => return Progress::Done(done),
                JobPace::Stands(time) if time >= STALLED_AFTER => return Progress::Stalled,
                JobPace::Moves | JobPace::Stands(_) => {}
            }
        }
    }

    /// Waits until the job is done, but not longer than [`SLOW_AFTER`]; returns its progress. Cancel safe.
    pub async fn pace(&mut self) -> JobPace<T> {
        let until = self.looked + SLOW_AFTER;
        if let Ok(done) = tokio::time::timeout_at(until, &mut self.handle).await {
            return JobPace::Done(done);
        }
        self.looked = Instant::now();
        let returned = self.calls.load(Ordering::Relaxed);
        if returned == self.returned {
            return JobPace::Stands(self.since.elapsed());
        }
        (self.returned, self.since) = (returned, Instant::now());
        JobPace::Moves
    }

    /// True if the job is done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.handle.is_finished()
    }

    /// Waits until the job is done, however long it hangs. Cancel safe.
    ///
    /// # Errors
    /// The job panicked.
    pub async fn done(&mut self) -> Result<T, JoinError> {
        (&mut self.handle).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_job_is_stalled_while_no_call_returns_and_done_when_it_does() {
        let pool = Pool::new().unwrap();
        let (go, gate) = sync_channel::<()>(1);
        let mut hangs = pool.start(move || gate.recv().is_ok());
        let mut other = pool.start(|| 7);
        assert_eq!(other.done().await.unwrap(), 7);
        assert!(matches!(hangs.progress().await, Progress::Stalled));
        go.send(()).unwrap();
        assert!(hangs.done().await.unwrap());
    }

    #[test]
    fn what_hangs_is_not_waited_for_at_the_end() {
        let pool = Pool::new().unwrap();
        let (go, gate) = sync_channel::<()>(1);
        let (tell, ended) = sync_channel::<()>(1);
        let _job = pool.start(move || {
            let _ = gate.recv();
            let _ = tell.send(());
        });
        drop(pool);
        assert!(ended.try_recv().is_err());
        drop(go);
        ended.recv().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_that_return_are_progress() {
        const STEPS: u32 = 3;
        let pool = Pool::new().unwrap();
        let (step, steps) = sync_channel::<()>(1);
        let (did, done) = sync_channel::<()>(1);
        let mut job = pool.start(move || {
            while steps.recv().is_ok() {
                call_returned();
                did.send(()).unwrap();
            }
        });
        let began = Instant::now();
        let pause = STALLED_AFTER.checked_sub(Duration::from_secs(1)).unwrap();
        let stepping = async {
            for _ in 0..STEPS {
                tokio::time::advance(pause).await;
                step.send(()).unwrap();
                done.recv().unwrap();
            }
        };
        let (progress, ()) = tokio::join!(job.progress(), stepping);
        assert!(matches!(progress, Progress::Stalled));
        assert!(
            began.elapsed() >= pause * STEPS + Duration::from_secs(1),
            "{:?}",
            began.elapsed()
        );
        drop(step);
        job.done().await.unwrap();
    }
}
