//! A shard: one watcher of the outside crate, with the paths it watches.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};

use notify::{
    Config, ErrorKind, EventKindMask, PathOp, RecommendedWatcher, RecursiveMode, UpdatePathsError,
    WatchPathConfig, Watcher,
};

use super::directory::{DirectoryIdentity, FoundDirectory, identify, identify_all};
use super::hints::SharedHints;
use super::watched::{PathHash, WatchedPaths};
use super::{Mode, WatchError};
use crate::sync::lock;

/// Answers to one request for watches.
const ANSWERS_WAITING_MAX: usize = 1;

/// The kinds of events that are hints. Opening, reading and closing are not, as our own reads would cause
/// them. Changes of attributes are, as a file may become readable by them.
const KINDS: EventKindMask = EventKindMask::CREATE
    .union(EventKindMask::REMOVE)
    .union(EventKindMask::MODIFY_DATA)
    .union(EventKindMask::MODIFY_META)
    .union(EventKindMask::MODIFY_NAME);

/// `inotify_init1` out of instances, or out of descriptors.
const EMFILE: i32 = 24;

pub(super) const OUT_OF_WATCHES: &str =
    "no inotify watch is left for this user: raise the sysctl fs.inotify.max_user_watches";
pub(super) const OUT_OF_INSTANCES: &str = "no inotify instance is left for this user: raise the sysctl \
     fs.inotify.max_user_instances, or this process's limit of open files";
pub(super) const THREAD_ENDED: &str = "the watcher's thread has ended: it is started again in a while";

/// One watcher and its watches, all on one device as long as there are watchers for each.
#[derive(Debug)]
pub(super) struct Shard {
    /// Set by the first directory.
    pub(super) device: OnceLock<u64>,
    /// Locked while the watcher works, so waiting for the lock may be waiting for a device. **Invariant**:
    /// the handler never locks it, since the watcher answers on the thread of the handler.
    pub(super) watcher: Mutex<WatcherState>,
    /// Requests made while the watcher is locked; the thread that locks it next executes all of them at once.
    /// At the start, when every run has directories to watch, that saves most of the calls.
    pub(super) requests: Mutex<Vec<WatchRequest>>,
    /// The number of directories in requests that are made or about to be made.
    expected: AtomicUsize,
    /// **Invariant**: not locked while the watcher works or a path is looked up.
    pub(super) state: Mutex<ShardState>,
}

/// Directories to be watched, and the channel for those that are refused.
#[derive(Debug)]
pub(super) struct WatchRequest {
    found: Vec<FoundDirectory>,
    refused: SyncSender<Vec<WatchError>>,
}

/// The watcher of the outside crate.
#[derive(Debug)]
pub(super) struct WatcherState {
    /// `Err` is the reason why there is none.
    inner: Result<RecommendedWatcher, String>,
}

/// The state of a shard that can be read without waiting for its watcher.
#[derive(Debug, Default)]
pub(super) struct ShardState {
    /// The paths with an entry in the watcher. **Invariant**: no entry of the watcher is missing, because
    /// adding a path that has an entry does nothing, even if that was for another directory.
    pub(super) paths: WatchedPaths,
    /// Directories that were refused because there are no more watches.
    pub(super) unwatched: HashSet<PathBuf>,
    /// The reason why the last of them was refused.
    pub(super) no_watches: String,
    /// The reason why there is no watcher.
    broken: Option<String>,
    /// It was polling at the last change of mode.
    is_polling: bool,
    pub(super) fallbacks: u64,
    pub(super) replaced: u64,
}

impl ShardState {
    pub(super) fn mode(&self) -> Mode {
        let reason = match &self.broken {
            Some(reason) => reason,
            None if !self.unwatched.is_empty() => &self.no_watches,
            None => return Mode::Events,
        };
        Mode::Polling {
            reason: reason.to_owned(),
        }
    }

    /// Counts the change if the mode went from events to polling.
    pub(super) fn note_mode(&mut self) {
        let is_polling = self.mode() != Mode::Events;
        self.fallbacks += u64::from(is_polling && !self.is_polling);
        self.is_polling = is_polling;
    }
}

impl Shard {
    pub(super) fn new(watcher: Result<RecommendedWatcher, String>) -> Self {
        let mut state = ShardState {
            broken: watcher.as_ref().err().cloned(),
            ..ShardState::default()
        };
        state.note_mode();
        Self {
            device: OnceLock::new(),
            watcher: Mutex::new(WatcherState { inner: watcher }),
            requests: Mutex::default(),
            expected: AtomicUsize::new(0),
            state: Mutex::new(state),
        }
    }

    /// Notes that a request will have one more directory.
    pub(super) fn expect_one(&self) {
        self.expected.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of watches, with those that are expected: many requests may be made at the same time.
    pub(super) fn load(&self) -> usize {
        self.expected.load(Ordering::Relaxed) + lock(&self.state).paths.len()
    }

    /// Watches expected directories; returns those that are refused.
    pub(super) fn watch_dirs(&self, found: Vec<FoundDirectory>, shared: &SharedHints) -> Vec<WatchError> {
        let count = found.len();
        let refused = self.request(found, shared);
        self.expected.fetch_sub(count, Ordering::Relaxed);
        refused
    }

    fn request(&self, found: Vec<FoundDirectory>, shared: &SharedHints) -> Vec<WatchError> {
        let (refused, answer) = sync_channel(ANSWERS_WAITING_MAX);
        lock(&self.requests).push(WatchRequest { found, refused });
        let mut watcher = lock(&self.watcher);
        if let Ok(refused) = answer.try_recv() {
            return refused;
        }
        let requests = std::mem::take(&mut *lock(&self.requests));
        self.execute(&mut watcher, requests);
        lock(&self.state).note_mode();
        drop(watcher);
        answer.try_recv().unwrap_or_else(|_| {
            // The thread that executed the request panicked, so it is unknown which directories are watched.
            shared.request_rescan();
            Vec::new()
        })
    }

    /// Executes several requests, and answers each.
    fn execute(&self, watcher: &mut WatcherState, mut requests: Vec<WatchRequest>) {
        let found = requests
            .iter_mut()
            .map(|request| std::mem::take(&mut request.found));
        let found: Vec<Vec<FoundDirectory>> = found.collect();
        let mut whose: HashMap<PathBuf, Vec<usize>> = HashMap::new();
        if requests.len() > 1 {
            for (place, found) in found.iter().enumerate() {
                for (path, _) in found {
                    whose.entry(path.clone()).or_default().push(place);
                }
            }
        }
        let mut answers: Vec<Vec<WatchError>> = requests.iter().map(|_| Vec::new()).collect();
        for error in self.watch_found(watcher, found.into_iter().flatten().collect()) {
            // A path of several requests is refused once for each.
            let place = whose.get_mut(error.path()).and_then(Vec::pop).unwrap_or(0);
            answers[place].push(error);
        }
        for (request, answer) in requests.into_iter().zip(answers) {
            // The sender of the request reads this once it has locked the watcher.
            let _ = request.refused.send(answer);
        }
    }

    fn watch_found(&self, watcher: &mut WatcherState, found: Vec<FoundDirectory>) -> Vec<WatchError> {
        let mut refused = Vec::new();
        let mut waiting = Vec::with_capacity(found.len());
        for (path, identity) in found {
            match self.identified(watcher, &path, identity) {
                Ok(identity) => waiting.push((path, identity)),
                Err(error) => refused.push(error),
            }
        }
        refused.extend(self.watch_all(watcher, waiting));
        refused
    }

    pub(super) fn watch_all(
        &self,
        watcher: &mut WatcherState,
        mut waiting: Vec<(PathBuf, DirectoryIdentity)>,
    ) -> Vec<WatchError> {
        let mut refused = Vec::new();
        while !waiting.is_empty() {
            let Ok(inner) = &mut watcher.inner else {
                refused.extend(waiting.drain(..).map(|(path, _)| polling(path, THREAD_ENDED)));
                break;
            };
            let how = WatchPathConfig::new(RecursiveMode::NonRecursive).with_dereference_symlinks(false);
            let wanted = waiting.iter().map(|(path, _)| path.clone());
            let batch = wanted.map(|path| PathOp::Watch(path, how.clone())).collect();
            let Err(error) = inner.update_paths(batch) else {
                lock(&self.state).paths.add(waiting.drain(..).map(hashed));
                break;
            };
            self.refuse(watcher, error, &mut waiting, &mut refused);
        }
        refused
    }

    /// Handles a batch that was watched up to a path that was refused; the paths behind it stay in `waiting`.
    fn refuse(
        &self,
        watcher: &mut WatcherState,
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
            self.drop_watcher(watcher, THREAD_ENDED);
            return;
        };
        // Before the state is locked, as it looks the path up.
        let none = match &source.kind {
            ErrorKind::MaxFilesWatch => Some(OUT_OF_WATCHES.to_owned()),
            ErrorKind::Io(error) if is_filtered(&waiting[place].0, error) => Some(format!(
                "inotify_add_watch is refused ({error}), probably by a filter of system calls (seccomp): allow it"
            )),
            _ => None,
        };
        let mut state = lock(&self.state);
        state.paths.add(waiting.drain(..place).map(hashed));
        let (path, _) = waiting.remove(0);
        state.paths.remove(PathHash::of(&path));
        match (none, source.kind) {
            (Some(reason), _) => {
                // Watched paths are added again; the others would be refused for the same reason.
                let is_watched =
                    |(path, _): &(PathBuf, DirectoryIdentity)| state.paths.contains(PathHash::of(path));
                let (watched, others): (Vec<_>, Vec<_>) = waiting.drain(..).partition(is_watched);
                *waiting = watched;
                for path in std::iter::once(path).chain(others.into_iter().map(|(path, _)| path)) {
                    state.unwatched.insert(path.clone());
                    refused.push(polling(path, &reason));
                }
                state.no_watches = reason;
            }
            (None, ErrorKind::Io(source)) => refused.push(WatchError::of(&path, source)),
            (None, ErrorKind::PathNotFound) => refused.push(WatchError::Gone { path }),
            // On Linux other errors come only from a watcher whose thread has ended.
            _ => {
                drop(state);
                refused.push(polling(path, THREAD_ENDED));
                self.drop_watcher(watcher, THREAD_ENDED);
            }
        }
    }

    /// The identity of a directory whose path is ready to be watched: an older watch of the path is removed.
    fn identified(
        &self,
        watcher: &mut WatcherState,
        path: &Path,
        identity: Result<DirectoryIdentity, WatchError>,
    ) -> Result<DirectoryIdentity, WatchError> {
        if let Err(reason) = &watcher.inner {
            return Err(polling(path.to_owned(), reason));
        }
        let hash = PathHash::of(path);
        // To remove a watch the watcher walks over all its watches, so that is done only where it is needed.
        let is_known = |now: &Result<DirectoryIdentity, WatchError>| {
            let state = lock(&self.state);
            matches!((now, state.paths.get(hash)), (Ok(now), Some(then)) if now.is_surely(then))
        };
        lock(&self.state).unwatched.remove(path);
        // It was identified before the watcher was locked, and may have been replaced since.
        let identity = if is_known(&identity) {
            identify(path)
        } else {
            identity
        };
        let same = is_known(&identity);
        {
            let mut state = lock(&self.state);
            if let (Ok(now), Some(then)) = (&identity, state.paths.get(hash)) {
                let is_another = now.is_surely_not(then);
                state.replaced += u64::from(is_another);
            }
        }
        if !same {
            self.unwatch(watcher, path);
        }
        identity
    }

    pub(super) fn unwatch(&self, watcher: &mut WatcherState, path: &Path) {
        let hash = PathHash::of(path);
        let is_known = lock(&self.state).paths.contains(hash);
        if !is_known {
            return;
        }
        let Ok(inner) = &mut watcher.inner else { return };
        match inner.unwatch(path).map_err(|error| error.kind) {
            // Not found: the watch ended with its directory.
            Ok(()) | Err(ErrorKind::WatchNotFound | ErrorKind::Io(_)) => {
                lock(&self.state).paths.remove(hash);
            }
            Err(_) => self.drop_watcher(watcher, THREAD_ENDED),
        }
    }

    /// Makes a new watcher, or watches the refused directories; true if that succeeded.
    pub(super) fn retry(&self, watcher: &mut WatcherState, shared: &Arc<SharedHints>) -> bool {
        if watcher.inner.is_err() {
            watcher.inner = build(shared);
            lock(&self.state).broken = watcher.inner.as_ref().err().cloned();
            return watcher.inner.is_ok();
        }
        let refused: Vec<PathBuf> = lock(&self.state).unwatched.iter().cloned().collect();
        if refused.is_empty() {
            return false;
        }
        for path in refused {
            if let [WatchError::Polling { .. }] = self.watch_found(watcher, identify_all(vec![path]))[..] {
                return false;
            }
        }
        true
    }

    pub(super) fn drop_watcher(&self, watcher: &mut WatcherState, reason: &str) {
        let mut state = lock(&self.state);
        state.paths.clear();
        state.unwatched.clear();
        state.broken = Some(reason.to_owned());
        drop(state);
        watcher.drop_watcher(reason);
    }
}

impl WatcherState {
    fn drop_watcher(&mut self, reason: &str) {
        if let Ok(mut watcher) = std::mem::replace(&mut self.inner, Err(reason.to_owned())) {
            // The destructor of a watcher whose thread has ended panics; a lost descriptor does less harm.
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

fn hashed((path, identity): (PathBuf, DirectoryIdentity)) -> (PathHash, DirectoryIdentity) {
    (PathHash::of(&path), identity)
}

fn polling(path: PathBuf, reason: &str) -> WatchError {
    WatchError::Polling {
        path,
        reason: reason.to_owned(),
    }
}

/// A new watcher, or the reason why there is none.
pub(super) fn build(shared: &Arc<SharedHints>) -> Result<RecommendedWatcher, String> {
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

/// True if a watch was refused although the directory can be read: by a filter of system calls.
fn is_filtered(path: &Path, error: &io::Error) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => false,
        io::ErrorKind::PermissionDenied => std::fs::read_dir(path).is_ok(),
        _ => true,
    }
}
