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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use notify::{
    Config, ErrorKind, Event, EventKindMask, PathOp, RecommendedWatcher, RecursiveMode, UpdatePathsError,
    WatchPathConfig, Watcher,
};
use tokio::sync::Notify;

/// Paths kept for one turn; more are answered by a rescan.
pub const HINTS_PENDING_MAX: usize = 65_536;

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

/// The one watcher for all runs.
#[derive(Debug)]
pub struct Watch {
    /// Held while the watcher works. **Invariant**: the handler never takes it, since the watcher
    /// answers on the handler's thread.
    door: Mutex<Door>,
    /// What is asked while the door is held: whoever has it next asks for all of it at once. At the start, when every
    /// run has directories to watch, that is a fraction of the turns.
    asked: Mutex<Vec<Asked>>,
    shared: Arc<Shared>,
}

/// Directories that someone wants watched, and where that one waits.
#[derive(Debug)]
struct Asked {
    found: Vec<Found>,
    refused: SyncSender<Vec<WatchError>>,
}

/// A directory to be watched, and what its path leads to.
type Found = (PathBuf, Result<Identity, WatchError>);

#[derive(Debug)]
struct Door {
    /// `Err` says why there is none.
    watcher: Result<RecommendedWatcher, String>,
    /// Every path the watcher may have an entry for. **Invariant**: never fewer than it has, because
    /// adding a path it still knows does nothing, even if that was another directory.
    known: HashMap<PathBuf, Identity>,
    /// Directories refused for want of watches.
    unwatched: HashSet<PathBuf>,
    /// Whether it scanned when this was last looked at.
    is_polling: bool,
    fallbacks: u64,
    replaced: u64,
}

/// Which directory a path led to when it was watched. Numbers alone are reused at once.
#[derive(Debug, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    /// `None` where the filesystem keeps none, and then nothing can be told.
    born: Option<SystemTime>,
}

#[derive(Debug, Default)]
struct Shared {
    pending: Mutex<Pending>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Pending {
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

impl Identity {
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
fn identify(path: &Path) -> Result<Identity, WatchError> {
    let found = path
        .symlink_metadata()
        .map_err(|error| WatchError::of(path, error))?;
    if !found.is_dir() {
        return Err(WatchError::Gone {
            path: path.to_owned(),
        });
    }
    Ok(Identity {
        device: found.dev(),
        inode: found.ino(),
        born: found.created().ok(),
    })
}

fn found(paths: Vec<PathBuf>) -> Vec<Found> {
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
        let shared = Arc::new(Shared::default());
        let mut door = Door {
            watcher: build(&shared),
            known: HashMap::new(),
            unwatched: HashSet::new(),
            is_polling: false,
            fallbacks: 0,
            replaced: 0,
        };
        door.note_mode();
        Self {
            door: Mutex::new(door),
            asked: Mutex::default(),
            shared,
        }
    }

    /// Watches one directory, not what lies below it. Again for a known one takes a fresh hold of
    /// whatever directory now has that path. Waits for the watcher's thread, some microseconds.
    ///
    /// # Errors
    /// The directory is left to the scanner.
    pub fn watch_dir(&self, path: &Path) -> Result<(), WatchError> {
        self.watch_dirs(vec![path.to_owned()]).pop().map_or(Ok(()), Err)
    }

    /// Watches many directories as [`Watch::watch_dir`] does one, in one turn of the watcher's thread. What it answers
    /// are those that are left to the scanner.
    pub fn watch_dirs(&self, paths: Vec<PathBuf>) -> Vec<WatchError> {
        if paths.is_empty() {
            return Vec::new();
        }
        let (refused, answer) = sync_channel(ANSWERS_WAITING_MAX);
        let found = found(paths);
        lock(&self.asked).push(Asked { found, refused });
        let mut door = lock(&self.door);
        if let Ok(refused) = answer.try_recv() {
            return refused;
        }
        let asked = std::mem::take(&mut *lock(&self.asked));
        door.watch_asked(asked);
        door.note_mode();
        drop(door);
        answer.try_recv().unwrap_or_else(|_| {
            // Whoever took it over panicked: nobody knows what is watched.
            self.shared.mark(|pending| pending.rescan = true);
            Vec::new()
        })
    }

    /// Stops watching a directory; nothing happens if it is not watched.
    pub fn forget_dir(&self, path: &Path) {
        let mut door = lock(&self.door);
        door.unwatched.remove(path);
        door.unwatch(path);
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

    /// Tries to do without polling again: a new watcher, or the directories refused before.
    /// True if it came back, and then a rescan is pending, because all watches have to be set anew.
    pub fn retry(&self) -> bool {
        let came_back = {
            let mut door = lock(&self.door);
            let came_back = door.retry(&self.shared);
            door.note_mode();
            came_back
        };
        if came_back {
            self.shared.mark(|pending| pending.rescan = true);
        }
        came_back
    }

    /// How it goes.
    #[must_use]
    pub fn health(&self) -> WatchHealth {
        let door = lock(&self.door);
        let pending = lock(&self.shared.pending);
        WatchHealth {
            mode: door.mode(),
            watches: door.known.len(),
            unwatched: door.unwatched.len(),
            overflows: pending.overflows,
            errors: pending.errors,
            fallbacks: door.fallbacks,
            replaced: door.replaced,
        }
    }
}

impl Door {
    /// Watches what several ask for, and answers each.
    fn watch_asked(&mut self, mut asked: Vec<Asked>) {
        let found = asked.iter_mut().map(|asked| std::mem::take(&mut asked.found));
        let found: Vec<Vec<Found>> = found.collect();
        let mut whose: HashMap<PathBuf, Vec<usize>> = HashMap::new();
        if asked.len() > 1 {
            for (place, found) in found.iter().enumerate() {
                for (path, _) in found {
                    whose.entry(path.clone()).or_default().push(place);
                }
            }
        }
        let mut answers: Vec<Vec<WatchError>> = asked.iter().map(|_| Vec::new()).collect();
        for error in self.watch_dirs(found.into_iter().flatten().collect()) {
            // One path that several ask for is refused to each.
            let place = whose.get_mut(error.path()).and_then(Vec::pop).unwrap_or(0);
            answers[place].push(error);
        }
        for (asked, answer) in asked.into_iter().zip(answers) {
            // Whoever asked waits for the door, and then finds this.
            let _ = asked.refused.send(answer);
        }
    }

    fn watch_dirs(&mut self, found: Vec<Found>) -> Vec<WatchError> {
        let mut refused = Vec::new();
        let mut waiting = Vec::with_capacity(found.len());
        for (path, identity) in found {
            match self.identified(&path, identity) {
                Ok(identity) => waiting.push((path, identity)),
                Err(error) => refused.push(error),
            }
        }
        refused.extend(self.watch_all(waiting));
        refused
    }

    fn watch_all(&mut self, mut waiting: Vec<(PathBuf, Identity)>) -> Vec<WatchError> {
        let mut refused = Vec::new();
        while !waiting.is_empty() {
            let Ok(watcher) = &mut self.watcher else {
                refused.extend(waiting.drain(..).map(|(path, _)| polling(path, THREAD_ENDED)));
                break;
            };
            let how = WatchPathConfig::new(RecursiveMode::NonRecursive).with_dereference_symlinks(false);
            let wanted = waiting.iter().map(|(path, _)| path.clone());
            let batch = wanted.map(|path| PathOp::Watch(path, how.clone())).collect();
            let Err(error) = watcher.update_paths(batch) else {
                self.known.extend(waiting.drain(..));
                break;
            };
            self.refuse(error, &mut waiting, &mut refused);
        }
        refused
    }

    /// A batch was watched up to a path that was not; what is to be watched after it stays in `waiting`.
    fn refuse(
        &mut self,
        error: UpdatePathsError,
        waiting: &mut Vec<(PathBuf, Identity)>,
        refused: &mut Vec<WatchError>,
    ) {
        let UpdatePathsError {
            source,
            origin,
            remaining,
        } = error;
        let place = waiting.len().checked_sub(remaining.len() + 1);
        let (Some(_), Some(place)) = (origin, place) else {
            self.drop_watcher(THREAD_ENDED);
            return;
        };
        self.known.extend(waiting.drain(..place));
        let (path, _) = waiting.remove(0);
        self.known.remove(&path);
        match source.kind {
            ErrorKind::MaxFilesWatch => {
                // Those that are watched already are offered again; the others would be answered the same.
                let is_watched = |(path, _): &(PathBuf, Identity)| self.known.contains_key(path);
                let (watched, others): (Vec<_>, Vec<_>) = waiting.drain(..).partition(is_watched);
                *waiting = watched;
                for path in std::iter::once(path).chain(others.into_iter().map(|(path, _)| path)) {
                    self.unwatched.insert(path.clone());
                    refused.push(polling(path, OUT_OF_WATCHES));
                }
            }
            ErrorKind::Io(source) => refused.push(WatchError::of(&path, source)),
            ErrorKind::PathNotFound => refused.push(WatchError::Gone { path }),
            // On Linux only a watcher whose thread has ended says anything else.
            _ => {
                refused.push(polling(path, THREAD_ENDED));
                self.drop_watcher(THREAD_ENDED);
            }
        }
    }

    /// What a path leads to, ready to be watched.
    fn identified(
        &mut self,
        path: &Path,
        identity: Result<Identity, WatchError>,
    ) -> Result<Identity, WatchError> {
        if let Err(reason) = &self.watcher {
            return Err(polling(path.to_owned(), reason));
        }
        self.unwatched.remove(path);
        // Taking hold anew makes the watcher walk over all its watches, so only where it is needed.
        let is_known = |now: &Result<Identity, WatchError>| matches!((now, self.known.get(path)), (Ok(now), Some(then)) if now.is_surely(then));
        // It was looked at before the door was had, and may be another by now.
        let identity = if is_known(&identity) {
            identify(path)
        } else {
            identity
        };
        let same = is_known(&identity);
        if let (Ok(now), Some(then)) = (&identity, self.known.get(path)) {
            self.replaced += u64::from(now.is_surely_not(then));
        }
        if !same {
            self.unwatch(path);
        }
        identity
    }

    fn unwatch(&mut self, path: &Path) {
        if self.known.remove(path).is_none() {
            return;
        }
        let Ok(watcher) = &mut self.watcher else { return };
        match watcher.unwatch(path).map_err(|error| error.kind) {
            // Not found: it went with its directory.
            Ok(()) | Err(ErrorKind::WatchNotFound | ErrorKind::Io(_)) => {}
            Err(_) => self.drop_watcher(THREAD_ENDED),
        }
    }

    fn retry(&mut self, shared: &Arc<Shared>) -> bool {
        if self.watcher.is_err() {
            self.watcher = build(shared);
            return self.watcher.is_ok();
        }
        if self.unwatched.is_empty() {
            return false;
        }
        let refused: Vec<PathBuf> = self.unwatched.iter().cloned().collect();
        for path in refused {
            if let [WatchError::Polling { .. }] = self.watch_dirs(found(vec![path]))[..] {
                return false;
            }
        }
        true
    }

    fn mode(&self) -> Mode {
        let reason = match &self.watcher {
            Err(reason) => reason,
            Ok(_) if !self.unwatched.is_empty() => OUT_OF_WATCHES,
            Ok(_) => return Mode::Events,
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

    fn drop_watcher(&mut self, reason: &str) {
        self.known.clear();
        self.unwatched.clear();
        if let Ok(mut watcher) = std::mem::replace(&mut self.watcher, Err(reason.to_owned())) {
            // The destructor of a watcher whose thread has ended panics: better lose one descriptor.
            if watcher.configure(Config::default()).is_err() {
                #[expect(clippy::disallowed_methods, reason = "the destructor would panic")]
                std::mem::forget(watcher);
            }
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        self.drop_watcher("stopped");
    }
}

impl Shared {
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

    fn mark(&self, change: impl FnOnce(&mut Pending)) {
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

impl Pending {
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

fn build(shared: &Arc<Shared>) -> Result<RecommendedWatcher, String> {
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

/// What these locks guard is changed in single steps, so a panic elsewhere leaves it usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
