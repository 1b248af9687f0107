//! Watch: turns filesystem events into hints, "look at this path" or "look at everything".
//!
//! A hint proves nothing: stat and the stored offset decide, and the scans find changes without events. So
//! the handler only adds to a bounded set and wakes the supervisor. Anything that makes the set incomplete
//! (overflow in the kernel or here, an error) becomes `rescan`. Without inotify, or with too few watches,
//! everything still works by scanning, only later, and [`Watch::health`] reports that.
//!
//! Rules for callers:
//! - Watch a directory first, scan it second; otherwise neither shows an entry that appears in between.
//! - After a hint that names a directory, do both again. A watch can end with a late event of an older
//!   directory of that name, and then the hint of that event is the only sign of it.
//! - After `rescan`, watch and scan everything again.

mod directory;
mod hints;
mod shard;
mod watched;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crate::sync::lock;

use directory::{FoundDirectory, identify_all};
pub use hints::Hints;
use hints::SharedHints;
use shard::{Shard, THREAD_ENDED, build};
use watched::PathHash;

/// Most watches of one watcher, as long as more watchers can be made. A hash table of 1024 places has room for
/// 896; beyond that, also if a watch is set again in a full one, the watcher's tables double, and each removal
/// walks over all of them.
const SHARD_WATCHES_MAX: usize = 880;
/// Most watchers: a user has 128 inotify instances by default.
const SHARDS_MAX: usize = 64;
/// The reason why a directory is not watched. None of these stops the counting.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("{} is not watched, it is scanned instead: {reason}", path.display())]
    Polling { path: PathBuf, reason: String },
    #[error("{} is not there, or is no directory", path.display())]
    Gone { path: PathBuf },
    #[error("{} cannot be watched: {source}; make it readable for this user", path.display())]
    Refused { path: PathBuf, source: io::Error },
}

/// The way in which changes are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By events; scans only verify them.
    Events,
    /// By scans, at least in some directories, with the reason and what to do about it.
    Polling { reason: String },
}

/// The state of the watchers, for health and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchHealth {
    pub mode: Mode,
    /// Directories that are watched.
    pub watches: usize,
    /// Directories that should be watched and are not.
    pub unwatched: usize,
    /// Times the queue of the kernel or the set of hints was full.
    pub overflows: u64,
    /// Errors that the watchers reported.
    pub errors: u64,
    /// Times the mode changed from events to polling, for lack of watches or of a watcher.
    pub fallbacks: u64,
    /// Times a watched path led to another directory: after a mount, an unmount, or a replacement.
    pub replaced: u64,
}

/// The watchers for all runs.
///
/// There are several: to add a watch the watcher looks a path up, which may hang with its device, and to
/// remove one it walks over all its watches. So each device has its own watcher, and another for every
/// `SHARD_WATCHES_MAX` watches.
#[derive(Debug)]
pub struct Watch {
    shards: Mutex<Vec<Arc<Shard>>>,
    shared: Arc<SharedHints>,
}

impl WatchError {
    fn of(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Gone { path },
            _ => Self::Refused { path, source },
        }
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Polling { path, .. } | Self::Gone { path } | Self::Refused { path, .. } => path,
        }
    }
}

impl Watch {
    /// A watch of no directories yet. Without inotify it polls, as [`Watch::health`] reports.
    #[must_use]
    pub fn start() -> Self {
        let shared = Arc::new(SharedHints::default());
        let first = Arc::new(Shard::new(build(&shared)));
        Self {
            shards: Mutex::new(vec![first]),
            shared,
        }
    }

    /// Watches one directory, not those below it. For a watched path it replaces the watch if the path leads
    /// to another directory now. Waits for the watcher's thread, some microseconds, or for the device.
    ///
    /// # Errors
    /// The directory is not watched; the scans find its changes.
    pub fn watch_dir(&self, path: &Path) -> Result<(), WatchError> {
        self.watch_dirs(vec![path.to_owned()]).pop().map_or(Ok(()), Err)
    }

    /// Watches many directories in one turn of the watcher's thread, each as [`Watch::watch_dir`] does.
    /// Returns those that are refused.
    pub fn watch_dirs(&self, paths: Vec<PathBuf>) -> Vec<WatchError> {
        let mut refused = Vec::new();
        for (shard, found) in self.sorted(identify_all(paths)) {
            refused.extend(shard.watch_dirs(found, &self.shared));
        }
        refused
    }

    /// Stops watching a directory; without effect if it is not watched.
    pub fn forget_dir(&self, path: &Path) {
        let hash = PathHash::of(path);
        for shard in self.shards() {
            let is_watched = {
                let mut state = lock(&shard.state);
                state.unwatched.remove(path);
                state.paths.contains(hash)
            };
            if is_watched {
                shard.unwatch(&mut lock(&shard.watcher), path);
            }
        }
    }

    /// Waits until there are hints and takes all of them. Cancel safe: they are taken only when they are
    /// returned. For one waiter at a time.
    pub async fn next(&self) -> Hints {
        self.shared.next().await
    }

    /// Takes all hints, without waiting; `None` if there are none.
    #[must_use]
    pub fn take(&self) -> Option<Hints> {
        self.shared.take()
    }

    /// Tries to end the polling, with new watchers and the directories that were refused. It may wait for a
    /// device. True if a shard has recovered; then a rescan is pending, because all watches have to be set
    /// again.
    pub fn retry(&self) -> bool {
        let mut has_recovered = false;
        for shard in self.shards() {
            // A thread that has it locked may wait for a device without end.
            let Ok(mut watcher) = shard.watcher.try_lock() else {
                continue;
            };
            has_recovered |= shard.retry(&mut watcher, &self.shared);
            lock(&shard.state).note_mode();
        }
        if has_recovered {
            self.shared.request_rescan();
        }
        has_recovered
    }

    /// The state of all watchers. Waits for no device.
    #[must_use]
    pub fn health(&self) -> WatchHealth {
        let mut health = WatchHealth {
            mode: Mode::Events,
            watches: 0,
            unwatched: 0,
            overflows: 0,
            errors: 0,
            fallbacks: 0,
            replaced: 0,
        };
        for shard in self.shards() {
            let state = lock(&shard.state);
            if health.mode == Mode::Events {
                health.mode = state.mode();
            }
            health.watches += state.paths.len();
            health.unwatched += state.unwatched.len();
            health.fallbacks += state.fallbacks;
            health.replaced += state.replaced;
        }
        let pending = lock(&self.shared.pending);
        health.overflows = pending.overflows;
        health.errors = pending.errors;
        health
    }

    fn shards(&self) -> Vec<Arc<Shard>> {
        lock(&self.shards).clone()
    }

    /// Sorts directories by shard: the one that has the path if it is of the same device, otherwise one of
    /// the device.
    fn sorted(&self, found: Vec<FoundDirectory>) -> Vec<(Arc<Shard>, Vec<FoundDirectory>)> {
        let mut sorted: Vec<(Arc<Shard>, Vec<FoundDirectory>)> = Vec::new();
        for (path, identity) in found {
            let device = identity.as_ref().ok().map(|identity| identity.device);
            let hash = PathHash::of(&path);
            let shards = self.shards();
            let has_path = |shard: &&Arc<Shard>| {
                let state = lock(&shard.state);
                state.paths.contains(hash) || state.unwatched.contains(&path)
            };
            let shard = match (shards.iter().find(has_path), device) {
                (Some(shard), _) if device.is_none() || shard.device.get().copied() == device => {
                    expecting(shard)
                }
                (Some(elsewhere), Some(device)) => {
                    // The path is on another device now. The old one may hang, so its watcher is not waited
                    // for.
                    if let Ok(mut watcher) = elsewhere.watcher.try_lock() {
                        elsewhere.unwatch(&mut watcher, &path);
                    }
                    let mut state = lock(&elsewhere.state);
                    state.unwatched.remove(&path);
                    state.paths.remove(hash);
                    state.replaced += 1;
                    drop(state);
                    self.shard_of(device)
                }
                (None, Some(device)) => self.shard_of(device),
                (_, None) => expecting(&shards[0]),
            };
            match sorted.iter_mut().find(|(one, _)| Arc::ptr_eq(one, &shard)) {
                Some((_, found)) => found.push((path, identity)),
                None => sorted.push((shard, vec![(path, identity)])),
            }
        }
        sorted
    }

    /// A shard of this device with room for a directory, which it expects from now on; a new one if there is
    /// none.
    fn shard_of(&self, device: u64) -> Arc<Shard> {
        let mut shards = lock(&self.shards);
        let is_of_device = |shard: &&Arc<Shard>| *shard.device.get_or_init(|| device) == device;
        let has_room = |shard: &&Arc<Shard>| shard.load() < SHARD_WATCHES_MAX;
        if let Some(shard) = shards.iter().filter(is_of_device).find(has_room) {
            return expecting(shard);
        }
        if shards.len() < SHARDS_MAX
            && let Ok(watcher) = build(&self.shared)
        {
            let shard = Arc::new(Shard::new(Ok(watcher)));
            shard.device.get_or_init(|| device);
            shards.push(Arc::clone(&shard));
            return expecting(&shard);
        }
        // No further watcher can be made, so one is shared, if possible one of the device.
        let of_device = shards.iter().filter(is_of_device);
        let shared = of_device.min_by_key(|shard| shard.load()).or(shards.last());
        let none = || Arc::new(Shard::new(Err(THREAD_ENDED.to_owned())));
        shared.map_or_else(|| expecting(&none()), expecting)
    }
}

/// The shard, after it expects one more directory.
fn expecting(shard: &Arc<Shard>) -> Arc<Shard> {
    shard.expect_one();
    Arc::clone(shard)
}

#[cfg(test)]
mod tests;
