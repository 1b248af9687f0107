//! Pool: threads for calls into filesystems of others, any of which may hang without end.
//!
//! A call into a mount whose server is gone does not return. It keeps its one thread; nothing waits for that
//! thread, not even the end of the process. Such calls may take `SLOTS_MAX` threads, never all of them.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use crate::sync::lock;

/// A job is stalled when one call has not returned for this long.
pub const STALLED_AFTER: Duration = Duration::from_secs(5);
/// A job is slow when one call has not returned for this long: its permits may have to be given to others.
pub const SLOW_AFTER: Duration = Duration::from_millis(100);
/// A job is slow, too, when fewer calls than this returned in [`SLOW_AFTER`].
pub const CALLS_MIN: u64 = 4;
/// Most threads.
const THREADS_MAX: usize = 256;
/// Jobs at once on devices that not only this kernel changes: any of them may hang. The other threads are
/// for the runs directory, for the collector's own files and for runs on local disks.
const SLOTS_MAX: usize = 192;
/// Of those, jobs on devices from which no answer is known. The others are for devices that answered.
const TRIALS_MAX: usize = 128;
/// A thread without work ends after this; [`Pool::keep_one`] is called more often.
const IDLE_THREAD_FOR: Duration = Duration::from_secs(10);

thread_local! {
    /// Counts the calls that returned in the job that runs on this thread.
    static CALLS: RefCell<Option<Arc<JobState>>> = const { RefCell::new(None) };
}

/// Notes that a call into a filesystem returned.
pub(super) fn call_returned() {
    CALLS.with_borrow(|job| {
        if let Some(job) = job {
            job.calls.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// A pool of threads.
#[derive(Debug)]
pub struct Pool {
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
    queue: Arc<PoolQueue>,
    slots: Arc<Semaphore>,
    trials: Arc<Semaphore>,
}

/// A share of the threads for a job that may hang. The job holds it until it returns.
#[derive(Debug)]
pub struct PoolSlot(#[expect(dead_code, reason = "held")] Vec<OwnedSemaphorePermit>);

/// The jobs that wait for a thread. There are some only if the system refuses threads.
#[derive(Debug, Default)]
pub struct PoolQueue(Mutex<QueuedJobs>);

#[derive(Debug, Default)]
struct QueuedJobs {
    count: usize,
    /// The time since when none of them has begun.
    since: Option<Instant>,
}

impl PoolQueue {
    fn add(&self) {
        let mut jobs = lock(&self.0);
        jobs.count += 1;
        jobs.since.get_or_insert_with(Instant::now);
    }

    fn begin(&self) {
        let mut jobs = lock(&self.0);
        jobs.count -= 1;
        jobs.since = (jobs.count > 0).then(Instant::now);
    }

    /// The number of jobs that wait for a thread, if none has begun for [`STALLED_AFTER`].
    #[must_use]
    pub fn stuck(&self) -> Option<usize> {
        let jobs = lock(&self.0);
        let is_stuck = jobs.since.is_some_and(|since| since.elapsed() >= STALLED_AFTER);
        is_stuck.then_some(jobs.count)
    }
}

/// The progress of a job, as its thread reports it.
#[derive(Debug, Default)]
struct JobState {
    has_begun: AtomicBool,
    /// Calls that returned.
    calls: AtomicU64,
}

/// Work on a thread of the pool. After a drop it continues, and its result is lost.
#[derive(Debug)]
pub struct Job<T> {
    handle: JoinHandle<T>,
    state: Arc<JobState>,
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
    /// The job waits for a thread.
    Queued,
    /// This number of calls returned.
    Moves(u64),
    /// No call has returned for this long.
    Blocked(Duration),
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
            queue: Arc::default(),
            slots: Arc::new(Semaphore::new(SLOTS_MAX)),
            trials: Arc::new(Semaphore::new(TRIALS_MAX)),
        };
        pool.keep_one();
        Ok(pool)
    }

    /// Keeps one idle thread from ending. The runtime panics if the system refuses the first thread; a
    /// further one is only waited for.
    pub fn keep_one(&self) {
        drop(self.start(|| ()));
    }

    /// The jobs that wait for a thread.
    #[must_use]
    pub fn queue(&self) -> Arc<PoolQueue> {
        Arc::clone(&self.queue)
    }

    /// A slot, if one is free; for a trial if no answer is known from the devices.
    #[must_use]
    pub fn try_slot(&self, is_trial: bool) -> Option<PoolSlot> {
        let mut permits = vec![Arc::clone(&self.slots).try_acquire_owned().ok()?];
        if is_trial {
            permits.push(Arc::clone(&self.trials).try_acquire_owned().ok()?);
        }
        Some(PoolSlot(permits))
    }

    /// Waits for a slot, in the order of requests. Cancel safe.
    pub async fn slot(&self, is_trial: bool) -> PoolSlot {
        let mut permits = Vec::new();
        // They are never closed.
        if is_trial {
            permits.extend(Arc::clone(&self.trials).acquire_owned().await.ok());
        }
        permits.extend(Arc::clone(&self.slots).acquire_owned().await.ok());
        PoolSlot(permits)
    }

    /// Starts a job on a thread of its own. There are few such jobs at once, or each has a [`PoolSlot`] or a
    /// permit, so that a thread is free.
    pub fn start<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Job<T> {
        let state = Arc::new(JobState::default());
        let (its_state, queue) = (Arc::clone(&state), Arc::clone(&self.queue));
        queue.add();
        let counted = move || {
            queue.begin();
            its_state.has_begun.store(true, Ordering::Relaxed);
            CALLS.set(Some(its_state));
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
            state,
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
                JobPace::Blocked(time) if time >= STALLED_AFTER => return Progress::Stalled,
                JobPace::Queued | JobPace::Moves(_) | JobPace::Blocked(_) => {}
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
        if !self.state.has_begun.load(Ordering::Relaxed) {
            // Its calls may be blocked from its beginning on, which this check may miss by its interval.
            self.since = Instant::now();
            return JobPace::Queued;
        }
        let returned = self.state.calls.load(Ordering::Relaxed);
        if returned == self.returned {
            return JobPace::Blocked(self.since.elapsed());
        }
        let moved = returned - self.returned;
        (self.returned, self.since) = (returned, Instant::now());
        JobPace::Moves(moved)
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
        let (send, changes) = sync_channel(2);
        let _job = pool.start(move || {
            send.send("begun").unwrap();
            let _ = gate.recv();
            let _ = send.send("ended");
        });
        // The end drops jobs that have not begun.
        assert_eq!(changes.recv(), Ok("begun"));
        drop(pool);
        assert!(changes.try_recv().is_err());
        drop(go);
        assert_eq!(changes.recv(), Ok("ended"));
    }

    #[tokio::test(start_paused = true)]
    async fn jobs_that_hang_leave_threads_for_others() {
        let pool = Pool::new().unwrap();
        let (go, gate) = sync_channel::<()>(1);
        let gate = Arc::new(Mutex::new(gate));
        let mut hang = |slot: PoolSlot| {
            let gate = Arc::clone(&gate);
            pool.start(move || {
                let _ = lock(&gate).recv();
                drop(slot);
            })
        };
        let mut jobs: Vec<Job<()>> = std::iter::from_fn(|| pool.try_slot(true))
            .map(&mut hang)
            .collect();
        assert_eq!(jobs.len(), TRIALS_MAX);
        jobs.extend(std::iter::from_fn(|| pool.try_slot(false)).map(&mut hang));
        assert_eq!(jobs.len(), SLOTS_MAX, "the others have answered");
        assert_eq!(pool.start(|| 7).done().await.unwrap(), 7);
        let waits = tokio::time::timeout(STALLED_AFTER, pool.slot(true));
        assert!(waits.await.is_err());
        drop(go);
        for job in &mut jobs {
            job.done().await.unwrap();
        }
        assert!(pool.try_slot(true).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_without_a_thread_is_not_stalled_but_queued() {
        let pool = Pool::new().unwrap();
        let (go, gate) = sync_channel::<()>(1);
        let gate = Arc::new(Mutex::new(gate));
        let (send, begun) = sync_channel(THREADS_MAX);
        let jobs: Vec<Job<bool>> = (0..THREADS_MAX)
            .map(|_| {
                let (gate, send) = (Arc::clone(&gate), send.clone());
                pool.start(move || {
                    send.send(()).unwrap();
                    lock(&gate).recv().is_ok()
                })
            })
            .collect();
        assert_eq!(begun.iter().take(jobs.len()).count(), THREADS_MAX);
        assert_eq!(pool.queue().stuck(), None);
        let mut queued = pool.start(|| 7);
        let waits = tokio::time::timeout(STALLED_AFTER * 2, queued.progress());
        assert!(waits.await.is_err(), "it has not begun");
        assert_eq!(pool.queue().stuck(), Some(1));
        drop(go);
        assert_eq!(queued.done().await.unwrap(), 7);
        assert_eq!(pool.queue().stuck(), None);
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
