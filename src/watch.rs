//! Watch: turns filesystem events into hints, "look at this path" or "look at everything".
//!
//! A hint proves nothing: stat and the stored offset are the truth, and a scanner finds what events
//! miss. So the handler only marks a bounded, coalescing set and wakes whoever waits. Whatever makes
//! the set incomplete (overflow in the kernel or here, an error) becomes `rescan`. Without inotify, or
//! with too few watches, everything still works by scanning, only later, and [`Watch::health`] says so.
//!
//! Rules for callers:
//! - Watch a directory first, scan it second; else what appears in between is seen by neither.
//! - A hint that names a directory means both again. A watch can die with a late event about an older
//!   directory of that name, and then that event's hint is the sign of it.
//! - After `rescan`, watch and scan everything again.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::SystemTime;

use notify::{
    Config, ErrorKind, Event, EventKindMask, PathOp, RecommendedWatcher, RecursiveMode, UpdatePathsError,
    WatchPathConfig, Watcher,
};
use tokio::sync::Notify;

/// Paths kept for one turn; more are answered by a rescan.
pub const HINTS_PENDING_MAX: usize = 65_536;

/// Most watches of one watcher, as long as there are more watchers to be had: as many as fill a table of 2048 places, of
/// which an eighth stays free. With one more all its tables would double.
const SHARD_WATCHES_MAX: usize = 1792;
/// Most watchers: a user has 128 inotify instances by default.
const SHARDS_MAX: usize = 64;
/// Answers to one who asks for watches: there is one.
const ANSWERS_WAITING_MAX: usize = 1;

/// What wakes us. Opening, reading and closing is left out, else our own reads would. Attributes say nothing about content,
/// but with other rights what could not be read perhaps can.
const KINDS: EventKindMask = EventKindMask::CREATE
    .union(EventKindMask::REMOVE)
    .union(EventKindMask::MODIFY_DATA)
    .union(EventKindMask::MODIFY_META)
    .union(EventKindMask::MODIFY_NAME);

/// `inotify_init1` out of instances, or out of descriptors.
const EMFILE: i32 = 24;

/// Why a directory is not watched. None of these stops the counting.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    #[error("{} is not watched, it is scanned instead: {reason}", path.display())]
    Polling { path: PathBuf, reason: String },
    #[error("{} is not there, or is no directory", path.display())]
    Gone { path: PathBuf },
    #[error("{} cannot be watched: {source}; make it readable for this user", path.display())]
    Refused { path: PathBuf, source: io::Error },
}

/// Everything pending at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Paths with news, as spelled below the watched directory, each once, in no order.
    pub paths: Vec<PathBuf>,
    /// Events were lost: anything may have changed.
    pub rescan: bool,
}

/// How changes are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// By events; scanning only checks on them.
    Events,
    /// By scanning, at least in some directories; with the reason, and what to do about it.
    Polling { reason: String },
}

/// The state of the door, for people to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchHealth {
    pub mode: Mode,
    /// Directories watched.
    pub watches: usize,
    /// Directories that should be and are not.
    pub unwatched: usize,
    /// Times the kernel's queue or our own set was full.
    pub overflows: u64,
    /// Errors the watcher reported.
    pub errors: u64,
    /// Times it had to begin to scan because there were no watches, or no watcher, to be had.
    pub fallbacks: u64,
    /// Times another directory was found in the place of one that was watched: a mount over it, its unmount, a new one.
    pub replaced: u64,
}

/// The watchers for all runs.
///
/// There are several: to add a watch looks a path up, which may hang with its device, and to give one back walks over all
/// watches of the watcher that has it. So each device has its own, and another for every so many watches.
#[derive(Debug)]
pub struct Watch {
    shards: Mutex<Vec<Arc<Shard>>>,
    shared: Arc<SharedHints>,
}

/// One watcher and what it watches, all on one device if there are watchers for that.
#[derive(Debug)]
struct Shard {
    /// Set by the first directory.
    device: OnceLock<u64>,
    /// Held while the watcher works, so a thread that waits for it may wait for a device. **Invariant**: the handler never takes
    /// it, since the watcher answers on the handler's thread.
    door: Mutex<WatcherState>,
    /// What is asked while the door is held: whoever has it next asks for all of it at once. At the start, when every
    /// run has directories to watch, that is a fraction of the turns.
    asked: Mutex<Vec<WatchRequest>>,
    /// **Invariant**: never held while the watcher works or a path is looked up.
    known: Mutex<ShardState>,
}

/// Directories that someone wants watched, and where that one waits.
#[derive(Debug)]
struct WatchRequest {
    found: Vec<FoundDirectory>,
    refused: SyncSender<Vec<WatchError>>,
}

/// A directory to be watched, and what its path leads to.
type FoundDirectory = (PathBuf, Result<DirectoryIdentity, WatchError>);

#[derive(Debug)]
struct WatcherState {
    /// `Err` says why there is none.
    watcher: Result<RecommendedWatcher, String>,
}

/// What there is to say of a shard without waiting for its watcher.
#[derive(Debug, Default)]
struct ShardState {
    /// Every path the watcher may have an entry for. **Invariant**: never fewer than it has, because
    /// adding a path it still knows does nothing, even if that was another directory.
    paths: HashMap<PathBuf, DirectoryIdentity>,
    /// Directories refused for want of watches.
    unwatched: HashSet<PathBuf>,
    /// Why there was none for the last of them.
    no_watches: String,
    /// Why there is no watcher.
    broken: Option<String>,
    /// Whether it scanned when this was last looked at.
    is_polling: bool,
    fallbacks: u64,
    replaced: u64,
}

/// Which directory a path led to when it was watched. Numbers alone are reused at once.
#[derive(Debug, PartialEq, Eq)]
struct DirectoryIdentity {
    device: u64,
    inode: u64,
    /// `None` where the filesystem keeps none, and then nothing can be told.
    born: Option<SystemTime>,
}

#[derive(Debug, Default)]
struct SharedHints {
    pending: Mutex<PendingHints>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct PendingHints {
    paths: HashSet<PathBuf>,
    rescan: bool,
    overflows: u64,
    errors: u64,
}

impl WatchError {
    fn of(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Gone { path },
            _ => Self::Refused { path, source },
        }
    }

    /// Which directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Polling { path, .. } | Self::Gone { path } | Self::Refused { path, .. } => path,
        }
    }
}

impl DirectoryIdentity {
    fn is_surely(&self, other: &Self) -> bool {
        self.born.is_some() && self == other
    }

    fn is_surely_not(&self, other: &Self) -> bool {
        let numbers = |of: &Self| (of.device, of.inode);
        numbers(self) != numbers(other)
            || (self.born.is_some() && other.born.is_some() && self.born != other.born)
    }
}

fn polling(path: PathBuf, reason: &str) -> WatchError {
    WatchError::Polling {
        path,
        reason: reason.to_owned(),
    }
}

/// The watcher would take a file or a link as it is; but the tree is written by strangers.
fn identify(path: &Path) -> Result<DirectoryIdentity, WatchError> {
    let found = path
        .symlink_metadata()
        .map_err(|error| WatchError::of(path, error))?;
    if !found.is_dir() {
        return Err(WatchError::Gone {
            path: path.to_owned(),
        });
    }
    Ok(DirectoryIdentity {
        device: found.dev(),
        inode: found.ino(),
        born: found.created().ok(),
    })
}

fn found(paths: Vec<PathBuf>) -> Vec<FoundDirectory> {
    let identified = |path: PathBuf| {
        let identity = identify(&path);
        (path, identity)
    };
    paths.into_iter().map(identified).collect()
}

impl Watch {
    /// Starts watching nothing yet. Never fails: without inotify it says so in [`Watch::health`].
    #[must_use]
    pub fn start() -> Self {
        let shared = Arc::new(SharedHints::default());
        let first = Arc::new(Shard::new(build(&shared)));
        Self {
            shards: Mutex::new(vec![first]),
            shared,
        }
    }

    /// Watches one directory, not what lies below it. Again for a known one takes a fresh hold of
    /// whatever directory now has that path. Waits for the watcher's thread, some microseconds, or for the device.
    ///
    /// # Errors
    /// The directory is left to the scanner.
    pub fn watch_dir(&self, path: &Path) -> Result<(), WatchError> {
        self.watch_dirs(vec![path.to_owned()]).pop().map_or(Ok(()), Err)
    }

    /// Watches many directories as [`Watch::watch_dir`] does one, in one turn of the watcher's thread. What it answers
    /// are those that are left to the scanner.
    pub fn watch_dirs(&self, paths: Vec<PathBuf>) -> Vec<WatchError> {
        let mut refused = Vec::new();
        for (shard, found) in self.sorted(found(paths)) {
            refused.extend(shard.watch_dirs(found, &self.shared));
        }
        refused
    }

    /// Stops watching a directory; nothing happens if it is not watched.
    pub fn forget_dir(&self, path: &Path) {
        for shard in self.shards() {
            let is_known = {
                let mut known = lock(&shard.known);
                known.unwatched.remove(path);
                known.paths.contains_key(path)
            };
            if is_known {
                shard.unwatch(&mut lock(&shard.door), path);
            }
        }
    }

    /// Waits until something is pending and takes all of it. Cancel safe: hints are taken only when
    /// they are returned. For one waiter at a time.
    pub async fn next(&self) -> Hints {
        loop {
            if let Some(hints) = self.shared.take() {
                return hints;
            }
            self.shared.wake.notified().await;
        }
    }

    /// Tries to do without polling again: a new watcher, or the directories refused before. It may wait for a device.
    /// True if it came back, and then a rescan is pending, because all watches have to be set anew.
    pub fn retry(&self) -> bool {
        let mut came_back = false;
        for shard in self.shards() {
            // Who works there waits for a device, perhaps for ever.
            let Ok(mut door) = shard.door.try_lock() else {
                continue;
            };
            came_back |= shard.retry(&mut door, &self.shared);
            lock(&shard.known).note_mode();
        }
        if came_back {
            self.shared.mark(|pending| pending.rescan = true);
        }
        came_back
    }

    /// How it goes. Waits for no device.
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
            let known = lock(&shard.known);
            if health.mode == Mode::Events {
                health.mode = known.mode();
            }
            health.watches += known.paths.len();
            health.unwatched += known.unwatched.len();
            health.fallbacks += known.fallbacks;
            health.replaced += known.replaced;
        }
        let pending = lock(&self.shared.pending);
        health.overflows = pending.overflows;
        health.errors = pending.errors;
        health
    }

    fn shards(&self) -> Vec<Arc<Shard>> {
        lock(&self.shards).clone()
    }

    /// Directories by the shard that is to watch them: the one that knows the path if that is on the same device, else one
    /// of its device.
    fn sorted(&self, found: Vec<FoundDirectory>) -> Vec<(Arc<Shard>, Vec<FoundDirectory>)> {
        let mut sorted: Vec<(Arc<Shard>, Vec<FoundDirectory>)> = Vec::new();
        for (path, identity) in found {
            let device = identity.as_ref().ok().map(|identity| identity.device);
            let shards = self.shards();
            let knows = |shard: &&Arc<Shard>| {
                let known = lock(&shard.known);
                known.paths.contains_key(&path) || known.unwatched.contains(&path)
            };
            let shard = match (shards.iter().find(knows), device) {
                (Some(shard), _) if device.is_none() || shard.device.get().copied() == device => {
                    Arc::clone(shard)
                }
                (Some(elsewhere), Some(device)) => {
                    // Another device is there now. The old one may be what hangs, so its watcher is not waited for.
                    if let Ok(mut door) = elsewhere.door.try_lock() {
                        elsewhere.unwatch(&mut door, &path);
                    }
                    let mut known = lock(&elsewhere.known);
                    known.unwatched.remove(&path);
                    known.paths.remove(&path);
                    known.replaced += 1;
                    drop(known);
                    self.shard_of(device, &sorted)
                }
                (None, Some(device)) => self.shard_of(device, &sorted),
                (_, None) => Arc::clone(&shards[0]),
            };
            match sorted.iter_mut().find(|(one, _)| Arc::ptr_eq(one, &shard)) {
                Some((_, found)) => found.push((path, identity)),
                None => sorted.push((shard, vec![(path, identity)])),
            }
        }
        sorted
    }

    /// A shard of this device with room, counting what is `sorted` already; a new one if there is none.
    fn shard_of(&self, device: u64, sorted: &[(Arc<Shard>, Vec<FoundDirectory>)]) -> Arc<Shard> {
        let mut shards = lock(&self.shards);
        let is_of_device = |shard: &&Arc<Shard>| *shard.device.get_or_init(|| device) == device;
        let has_room = |shard: &&Arc<Shard>| {
            let waiting = sorted.iter().find(|(one, _)| Arc::ptr_eq(one, shard));
            let waiting = waiting.map_or(0, |(_, found)| found.len());
            lock(&shard.known).paths.len() + waiting < SHARD_WATCHES_MAX
        };
        if let Some(shard) = shards.iter().filter(is_of_device).find(has_room) {
            return Arc::clone(shard);
        }
        if shards.len() < SHARDS_MAX
            && let Ok(watcher) = build(&self.shared)
        {
            let shard = Arc::new(Shard::new(Ok(watcher)));
            shard.device.get_or_init(|| device);
            shards.push(Arc::clone(&shard));
            return shard;
        }
        // No watcher of its own can be made: one of its device is shared, else any.
        let last = shards.iter().rfind(is_of_device).or(shards.last());
        last.map_or_else(|| Arc::new(Shard::new(Err(THREAD_ENDED.to_owned()))), Arc::clone)
    }
}

impl ShardState {
    fn mode(&self) -> Mode {
        let reason = match &self.broken {
            Some(reason) => reason,
            None if !self.unwatched.is_empty() => &self.no_watches,
            None => return Mode::Events,
        };
        Mode::Polling {
            reason: reason.to_owned(),
        }
    }

    /// Counts each change from events to scanning.
    fn note_mode(&mut self) {
        let is_polling = self.mode() != Mode::Events;
        self.fallbacks += u64::from(is_polling && !self.is_polling);
        self.is_polling = is_polling;
    }
}

impl Shard {
    fn new(watcher: Result<RecommendedWatcher, String>) -> Self {
        let mut known = ShardState {
            broken: watcher.as_ref().err().cloned(),
            ..ShardState::default()
        };
        known.note_mode();
        Self {
            device: OnceLock::new(),
            door: Mutex::new(WatcherState { watcher }),
            asked: Mutex::default(),
            known: Mutex::new(known),
        }
    }

    fn watch_dirs(&self, found: Vec<FoundDirectory>, shared: &SharedHints) -> Vec<WatchError> {
        let (refused, answer) = sync_channel(ANSWERS_WAITING_MAX);
        lock(&self.asked).push(WatchRequest { found, refused });
        let mut door = lock(&self.door);
        if let Ok(refused) = answer.try_recv() {
            return refused;
        }
        let asked = std::mem::take(&mut *lock(&self.asked));
        self.watch_asked(&mut door, asked);
        lock(&self.known).note_mode();
        drop(door);
        answer.try_recv().unwrap_or_else(|_| {
            // The thread that took it over panicked, so what is watched is unknown.
            shared.mark(|pending| pending.rescan = true);
            Vec::new()
        })
    }

    /// Watches what several ask for, and answers each.
    fn watch_asked(&self, door: &mut WatcherState, mut asked: Vec<WatchRequest>) {
        let found = asked.iter_mut().map(|asked| std::mem::take(&mut asked.found));
        let found: Vec<Vec<FoundDirectory>> = found.collect();
        let mut whose: HashMap<PathBuf, Vec<usize>> = HashMap::new();
        if asked.len() > 1 {
            for (place, found) in found.iter().enumerate() {
                for (path, _) in found {
                    whose.entry(path.clone()).or_default().push(place);
                }
            }
        }
        let mut answers: Vec<Vec<WatchError>> = asked.iter().map(|_| Vec::new()).collect();
        for error in self.watch_found(door, found.into_iter().flatten().collect()) {
            // One path that several ask for is refused to each.
            let place = whose.get_mut(error.path()).and_then(Vec::pop).unwrap_or(0);
            answers[place].push(error);
        }
        for (asked, answer) in asked.into_iter().zip(answers) {
            // Whoever asked waits for the door, and then finds this.
            let _ = asked.refused.send(answer);
        }
    }

    fn watch_found(&self, door: &mut WatcherState, found: Vec<FoundDirectory>) -> Vec<WatchError> {
        let mut refused = Vec::new();
        let mut waiting = Vec::with_capacity(found.len());
        for (path, identity) in found {
            match self.identified(door, &path, identity) {
                Ok(identity) => waiting.push((path, identity)),
                Err(error) => refused.push(error),
            }
        }
        refused.extend(self.watch_all(door, waiting));
        refused
    }

    fn watch_all(
        &self,
        door: &mut WatcherState,
        mut waiting: Vec<(PathBuf, DirectoryIdentity)>,
    ) -> Vec<WatchError> {
        let mut refused = Vec::new();
        while !waiting.is_empty() {
            let Ok(watcher) = &mut door.watcher else {
                refused.extend(waiting.drain(..).map(|(path, _)| polling(path, THREAD_ENDED)));
                break;
            };
            let how = WatchPathConfig::new(RecursiveMode::NonRecursive).with_dereference_symlinks(false);
            let wanted = waiting.iter().map(|(path, _)| path.clone());
            let batch = wanted.map(|path| PathOp::Watch(path, how.clone())).collect();
            let Err(error) = watcher.update_paths(batch) else {
                lock(&self.known).paths.extend(waiting.drain(..));
                break;
            };
            self.refuse(door, error, &mut waiting, &mut refused);
        }
        refused
    }

    /// A batch was watched up to a path that was not; what is to be watched after it stays in `waiting`.
    fn refuse(
        &self,
        door: &mut WatcherState,
        error: UpdatePathsError,
        waiting: &mut Vec<(PathBuf, DirectoryIdentity)>,
        refused: &mut Vec<WatchError>,
    ) {
        let UpdatePathsError {
            source,
            origin,
            remaining,
        } = error;
        let place = waiting.len().checked_sub(remaining.len() + 1);
        let (Some(_), Some(place)) = (origin, place) else {
            self.drop_watcher(door, THREAD_ENDED);
            return;
        };
        // Before the lock is taken: it looks the path up.
        let none = match &source.kind {
            ErrorKind::MaxFilesWatch => Some(OUT_OF_WATCHES.to_owned()),
            ErrorKind::Io(error) if is_filtered(&waiting[place].0, error) => Some(format!(
                "inotify_add_watch is refused ({error}), probably by a filter of system calls (seccomp): allow it"
            )),
            _ => None,
        };
        let mut known = lock(&self.known);
        known.paths.extend(waiting.drain(..place));
        let (path, _) = waiting.remove(0);
        known.paths.remove(&path);
        match (none, source.kind) {
            (Some(reason), _) => {
                // Those that are watched already are offered again; the others would be answered the same.
                let is_watched = |(path, _): &(PathBuf, DirectoryIdentity)| known.paths.contains_key(path);
                let (watched, others): (Vec<_>, Vec<_>) = waiting.drain(..).partition(is_watched);
                *waiting = watched;
                for path in std::iter::once(path).chain(others.into_iter().map(|(path, _)| path)) {
                    known.unwatched.insert(path.clone());
                    refused.push(polling(path, &reason));
                }
                known.no_watches = reason;
            }
            (None, ErrorKind::Io(source)) => refused.push(WatchError::of(&path, source)),
            (None, ErrorKind::PathNotFound) => refused.push(WatchError::Gone { path }),
            // On Linux only a watcher whose thread has ended says anything else.
            _ => {
                drop(known);
                refused.push(polling(path, THREAD_ENDED));
                self.drop_watcher(door, THREAD_ENDED);
            }
        }
    }

    /// What a path leads to, ready to be watched.
    fn identified(
        &self,
        door: &mut WatcherState,
        path: &Path,
        identity: Result<DirectoryIdentity, WatchError>,
    ) -> Result<DirectoryIdentity, WatchError> {
        if let Err(reason) = &door.watcher {
            return Err(polling(path.to_owned(), reason));
        }
        // Taking hold anew makes the watcher walk over all its watches, so only where it is needed.
        let is_known = |now: &Result<DirectoryIdentity, WatchError>| {
            let known = lock(&self.known);
            matches!((now, known.paths.get(path)), (Ok(now), Some(then)) if now.is_surely(then))
        };
        lock(&self.known).unwatched.remove(path);
        // It was looked at before the door was had, and may be another by now.
        let identity = if is_known(&identity) {
            identify(path)
        } else {
            identity
        };
        let same = is_known(&identity);
        {
            let mut known = lock(&self.known);
            if let (Ok(now), Some(then)) = (&identity, known.paths.get(path)) {
                let is_another = now.is_surely_not(then);
                known.replaced += u64::from(is_another);
            }
        }
        if !same {
            self.unwatch(door, path);
        }
        identity
    }

    fn unwatch(&self, door: &mut WatcherState, path: &Path) {
        let is_known = lock(&self.known).paths.contains_key(path);
        if !is_known {
            return;
        }
        let Ok(watcher) = &mut door.watcher else { return };
        match watcher.unwatch(path).map_err(|error| error.kind) {
            // Not found: it went with its directory.
            Ok(()) | Err(ErrorKind::WatchNotFound | ErrorKind::Io(_)) => {
                lock(&self.known).paths.remove(path);
            }
            Err(_) => self.drop_watcher(door, THREAD_ENDED),
        }
    }

    fn retry(&self, door: &mut WatcherState, shared: &Arc<SharedHints>) -> bool {
        if door.watcher.is_err() {
            door.watcher = build(shared);
            lock(&self.known).broken = door.watcher.as_ref().err().cloned();
            return door.watcher.is_ok();
        }
        let refused: Vec<PathBuf> = lock(&self.known).unwatched.iter().cloned().collect();
        if refused.is_empty() {
            return false;
        }
        for path in refused {
            if let [WatchError::Polling { .. }] = self.watch_found(door, found(vec![path]))[..] {
                return false;
            }
        }
        true
    }

    fn drop_watcher(&self, door: &mut WatcherState, reason: &str) {
        let mut known = lock(&self.known);
        known.paths.clear();
        known.unwatched.clear();
        known.broken = Some(reason.to_owned());
        drop(known);
        door.drop_watcher(reason);
    }
}

impl WatcherState {
    fn drop_watcher(&mut self, reason: &str) {
        if let Ok(mut watcher) = std::mem::replace(&mut self.watcher, Err(reason.to_owned())) {
            // The destructor of a watcher whose thread has ended panics: better lose one descriptor.
            if watcher.configure(Config::default()).is_err() {
                #[expect(clippy::disallowed_methods, reason = "the destructor would panic")]
                std::mem::forget(watcher);
            }
        }
    }
}

impl Drop for WatcherState {
    fn drop(&mut self) {
        self.drop_watcher("stopped");
    }
}

impl SharedHints {
    fn handle(&self, event: notify::Result<Event>) {
        match event {
            Err(_) => self.mark(|pending| {
                pending.errors += 1;
                pending.rescan = true;
            }),
            // Such an event has no paths: the flag is all there is.
            Ok(event) if event.need_rescan() => self.mark(|pending| {
                pending.overflows += 1;
                pending.rescan = true;
            }),
            Ok(event) if event.kind.is_access() => {}
            Ok(event) => self.mark(|pending| event.paths.into_iter().for_each(|path| pending.add(path))),
        }
    }

    fn mark(&self, change: impl FnOnce(&mut PendingHints)) {
        let mut pending = lock(&self.pending);
        change(&mut pending);
        if !pending.is_empty() {
            self.wake.notify_one();
        }
    }

    fn take(&self) -> Option<Hints> {
        let mut pending = lock(&self.pending);
        if pending.is_empty() {
            return None;
        }
        Some(Hints {
            paths: std::mem::take(&mut pending.paths).into_iter().collect(),
            rescan: std::mem::take(&mut pending.rescan),
        })
    }
}

impl PendingHints {
    fn is_empty(&self) -> bool {
        self.paths.is_empty() && !self.rescan
    }

    fn add(&mut self, path: PathBuf) {
        if self.paths.len() < HINTS_PENDING_MAX {
            self.paths.insert(path);
        } else if !self.paths.contains(&path) && !self.rescan {
            self.rescan = true;
            self.overflows += 1;
        }
    }
}

const OUT_OF_WATCHES: &str =
    "no inotify watch is left for this user: raise the sysctl fs.inotify.max_user_watches";
const OUT_OF_INSTANCES: &str = "no inotify instance is left for this user: raise the sysctl \
     fs.inotify.max_user_instances, or this process's limit of open files";
const THREAD_ENDED: &str = "the watcher's thread has ended: it is started again in a while";

fn build(shared: &Arc<SharedHints>) -> Result<RecommendedWatcher, String> {
    let handler = {
        let shared = Arc::clone(shared);
        move |event| shared.handle(event)
    };
    RecommendedWatcher::new(handler, Config::default().with_event_kinds(KINDS)).map_err(|error| {
        match error.kind {
            ErrorKind::MaxFilesWatch => OUT_OF_WATCHES.to_owned(),
            ErrorKind::Io(source) if source.raw_os_error() == Some(EMFILE) => OUT_OF_INSTANCES.to_owned(),
            _ => format!("inotify cannot be used: {error}"),
        }
    })
}

/// Whether a watch was refused by something else than the directory: one that may be read may be watched.
fn is_filtered(path: &Path, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => false,
        io::ErrorKind::PermissionDenied => std::fs::read_dir(path).is_ok(),
        _ => true,
    }
}

/// What these locks guard is changed in single steps, so a panic elsewhere leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
