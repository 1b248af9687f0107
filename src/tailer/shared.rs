//! Shared state of all tailers: the parts they use, and the permits that bound how many of them work at once.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::status::RunStatuses;
use super::suspects::Suspects;
use super::tree::SHARE_RECORDS_MAX;
use crate::clock::Clock;
use crate::committer::handle::CommitterHandle;
use crate::config::Settings;
use crate::logfile::pool::Pool;
use crate::model::RunAccounts;
use crate::store::Reader;
use crate::sync::lock;
use crate::watch::Watch;

/// Runs whose directories are scanned at the same time.
pub(super) const LOOKS_MAX: usize = 8;
/// Runs that are read at the same time, also with more processors: each holds a buffer and room for its records.
const READERS_MAX: usize = 12;
/// Runs on slow devices that are read at the same time, beside the others. Their records have room from the end
/// of the read on.
const SLOW_READS_MAX: usize = 8;
/// Runs that do at once what thousands may have to do at once: their first look, their first read, a rescan, an end. The
/// others wait in less memory, and the committer takes what so many read in one transaction.
const TURNS_MAX: usize = 512;
/// Own directories of runs that are checked at the same time.
const CHECKS_MAX: usize = 8;
/// Directories named by requests that are resolved at the same time. As many of these jobs may hang where the
/// kernel's table of mounts does not name the device, as behind a link.
const RESOLVES_MAX: usize = 8;
/// Records of all runs that are read and not committed: as many as two transactions take, so that one is read
/// while the other is committed. Some 20 MB; more with more than six readers.
const UNCOMMITTED_RECORDS_MAX: usize = 131_072;
/// Accounts of runs that other runs may share.
const SHARED_ACCOUNTS_MAX: usize = 1024;
/// Devices remembered because events arrive from them.
const DEVICES_MAX: usize = 64;

/// The parts that all tailers share.
#[derive(Debug)]
pub struct TailerContext {
    pub settings: watch::Receiver<Arc<Settings>>,
    pub clock: Clock,
    pub store: Reader,
    pub watch: Arc<Watch>,
    pub committer: CommitterHandle,
    pub statuses: Arc<RunStatuses>,
    pub permits: ReadPermits,
    pub accounts: SharedAccounts,
    pub devices_with_events: Arc<DevicesWithEvents>,
    /// All access to the filesystems of runs happens here. **Invariant**: no job holds a handle of the
    /// committer, which ends with the last one: a job that hangs must not keep it.
    pub pool: Pool,
    pub suspects: Arc<Suspects>,
    /// Cancelled once everything that existed at the start is watched.
    pub ready: CancellationToken,
    /// Cancelled when reading may begin: at the start everything is watched first and read second.
    pub reads_begin: CancellationToken,
}

/// The accounts of all runs, which differ little: thousands of runs have the same.
#[derive(Debug, Default)]
pub struct SharedAccounts(Mutex<BTreeSet<Arc<RunAccounts>>>);

impl SharedAccounts {
    /// These accounts, shared with the runs that have the same.
    pub(super) fn share(&self, accounts: RunAccounts) -> Arc<RunAccounts> {
        let mut known = lock(&self.0);
        if let Some(same) = known.get(&accounts) {
            return Arc::clone(same);
        }
        let accounts = Arc::new(accounts);
        if known.len() < SHARED_ACCOUNTS_MAX {
            known.insert(Arc::clone(&accounts));
        }
        accounts
    }
}

/// The devices from which events arrive: some have arrived, or only this kernel changes the filesystem.
#[derive(Debug, Default)]
pub struct DevicesWithEvents(Mutex<BTreeSet<u64>>);

impl DevicesWithEvents {
    /// True if there is at least one device, and events arrive from all of them.
    pub(super) fn has_all(&self, mut devices: impl Iterator<Item = u64>) -> bool {
        let known = self.lock();
        let is_known = |device| known.contains(&device);
        devices.next().is_some_and(is_known) && devices.all(is_known)
    }

    pub(super) fn add(&self, device: u64) {
        let mut devices = self.lock();
        if devices.len() < DEVICES_MAX {
            devices.insert(device);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        lock(&self.0)
    }
}

/// Permits to scan and to read, and the buffers of the readers.
#[derive(Debug)]
pub struct ReadPermits {
    reads: Arc<Semaphore>,
    slow_reads: Arc<Semaphore>,
    /// For runs with hints, and for scans of runs that changed without one. Fewer than there are threads: a
    /// mount that hangs must leave threads for answers.
    looks: Arc<Semaphore>,
    /// For runs that are created, removed or stopped, so that a line does not wait for thousands of them.
    scans: Arc<Semaphore>,
    turns: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    resolves: Arc<Semaphore>,
    /// Room for records that are read and not committed yet, which are most of the memory during many
    /// backlogs.
    room: Arc<Semaphore>,
    buffers: Mutex<Vec<Vec<u8>>>,
}

/// The kind of a job, by the permits that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum JobKind {
    Look,
    Scan,
    Read,
    /// A check if the own directory of a run exists.
    Check,
    /// The resolution of the directory that a request names.
    Resolve,
}

/// The permits of a job. Each is given back early when the job turns out to be slow, or to stall.
#[derive(Debug, Default)]
pub(super) struct JobPermits {
    /// One for which the jobs of all runs wait.
    pub(super) common: Option<OwnedSemaphorePermit>,
    pub(super) slow_read: Option<OwnedSemaphorePermit>,
    pub(super) room: Option<OwnedSemaphorePermit>,
}

impl ReadPermits {
    /// As many readers as processors, at most `READERS_MAX`.
    #[must_use]
    pub fn new() -> Self {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let count = count.min(READERS_MAX);
        let semaphore = |permits| Arc::new(Semaphore::new(permits));
        Self {
            reads: semaphore(count),
            slow_reads: semaphore(SLOW_READS_MAX),
            looks: semaphore(LOOKS_MAX),
            scans: semaphore(LOOKS_MAX),
            turns: semaphore(TURNS_MAX),
            checks: semaphore(CHECKS_MAX),
            resolves: semaphore(RESOLVES_MAX),
            // Reads that hang in a mount keep their room, and there are no more of them than permits.
            room: semaphore(UNCOMMITTED_RECORDS_MAX.max((count + 2) * SHARE_RECORDS_MAX as usize)),
            buffers: Mutex::default(),
        }
    }

    /// Waits for the permits of a job. On a suspect, which has permits of its own, it takes none that runs
    /// elsewhere wait for. All are fair: runs get them in the order of their requests.
    pub(super) async fn take(&self, kind: JobKind, is_on_suspect: bool) -> JobPermits {
        let mut taken = JobPermits::default();
        if is_on_suspect {
            if kind == JobKind::Read {
                taken.slow_read = one_of(&self.slow_reads).await;
            }
            return taken;
        }
        taken.common = match kind {
            JobKind::Look => one_of(&self.looks).await,
            JobKind::Scan => one_of(&self.scans).await,
            JobKind::Read => {
                taken.room = self.room(SHARE_RECORDS_MAX).await;
                one_of(&self.reads).await
            }
            JobKind::Check => one_of(&self.checks).await,
            JobKind::Resolve => one_of(&self.resolves).await,
        };
        taken
    }

    /// A turn, if one is free.
    pub(super) fn try_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turns).try_acquire_owned().ok()
    }

    /// Waits for a turn.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        one_of(&self.turns).await
    }

    /// Waits for the room of this number of records.
    pub(super) async fn room(&self, records: u32) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.room).acquire_many_owned(records).await.ok()
    }

    /// The permits that a line needs, as if as many runs were looked at as may be.
    #[cfg(test)]
    pub async fn all_looks(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let all = self
            .looks
            .acquire_many(u32::try_from(LOOKS_MAX).unwrap_or(u32::MAX));
        all.await.ok()
    }

    pub(super) fn take_buffer(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_default()
    }

    pub(super) fn give_back(&self, buffer: Vec<u8>) {
        self.lock().push(buffer);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        lock(&self.buffers)
    }
}

/// A permit; `None` is impossible, as these semaphores are never closed.
async fn one_of(permits: &Arc<Semaphore>) -> Option<OwnedSemaphorePermit> {
    Arc::clone(permits).acquire_owned().await.ok()
}

impl Default for ReadPermits {
    fn default() -> Self {
        Self::new()
    }
}
