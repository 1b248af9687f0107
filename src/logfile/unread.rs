//! Unread files: entries where transcripts are expected that are not read, counted by kind, with one example
//! of each.
//!
//! They are no fault of the collector. They are reported because an unread mount must not look like an idle
//! one.

mod wording;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::logfile::{Entry, EntryKind, LogFile, Root};
use crate::parse::recognise::{self, Agent, ContentKind};

/// Links whose targets are inspected in one scan; the others count as links to files if they have the name of
/// a log.
pub const LINKS_LOOKED_AT_MAX: usize = 1024;
/// Directories of one run that are searched for logs which the settings exclude.
const LOOKED_INTO_MAX: usize = 64;
/// Endings of compressed files.
const COMPRESSED: [&[u8]; 9] = [
    b"gz", b"zst", b"xz", b"bz2", b"lz4", b"br", b"lzma", b"zip", b"7z",
];
/// Endings of archives of several files, before a compression or by themselves.
const BUNDLES: [&[u8]; 7] = [b"tar", b"tgz", b"tzst", b"txz", b"tbz2", b"zip", b"7z"];
/// Endings of copies.
const COPIES: [&[u8]; 4] = [b"bak", b"old", b"orig", b"backup"];
/// Other endings of files of JSON lines, in lower case.
const OTHER_ENDINGS: [&[u8]; 3] = [b"jsonl", b"jsonlines", b"ndjson"];
/// Directories of third-party code, in which no transcripts are.
const DEPENDENCIES: &str = "node_modules";
/// The directory with an agent's projects.
pub const PROJECTS: &str = "projects";
/// The directory of a run with its logs.
const MOUNT: &str = "mount";

/// The kind of an unread entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UnreadKind {
    LinkToDirectory,
    LinkToFile,
    /// A link without a target, or with one that is unknown.
    LinkElsewhere,
    Fifo,
    Socket,
    Device,
    /// A transcript that was compressed.
    Compressed,
    /// A transcript under the name of a rotated log, or of a copy.
    Rotated,
    /// A file of JSON lines with another ending.
    OtherEnding,
    /// An archive that may contain transcripts: reported only where no log is read beside it.
    Bundle,
    /// A `*.jsonl` that the settings exclude.
    NotIncluded,
    OtherAgent(Agent),
    /// A file that was read and has no content of a transcript.
    Strange,
    /// A file in which NUL bytes were read over.
    Hole,
    /// A directory whose name is no run id.
    NoRun,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    count: u64,
    first: PathBuf,
    /// The target of the first one, if it is a link.
    target: Option<PathBuf>,
}

/// Unread entries by kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unread(BTreeMap<UnreadKind, Found>);

/// Sorts the unread entries of a directory by kind.
pub struct Sorter<'s> {
    root: &'s Root,
    wants_directory: &'s dyn Fn(&Path) -> bool,
    wants_file: &'s dyn Fn(&Path) -> bool,
    /// The number of links that may still be inspected.
    links_left: &'s mut usize,
    /// Returns true for a path outside `root` that is read at its own place.
    pub reads_elsewhere: Option<&'s dyn Fn(&Path) -> bool>,
    pub unread: Unread,
}

impl<'s> Sorter<'s> {
    /// A sorter for one directory; `wants_*` return true for paths below `root` that are read.
    pub fn new(
        root: &'s Root,
        wants_directory: &'s dyn Fn(&Path) -> bool,
        wants_file: &'s dyn Fn(&Path) -> bool,
        links_left: &'s mut usize,
    ) -> Self {
        Self {
            root,
            wants_directory,
            wants_file,
            links_left,
            reads_elsewhere: None,
            unread: Unread::default(),
        }
    }

    /// Adds an entry that is neither a file to read nor a directory.
    pub fn add(&mut self, entry: &Entry) {
        let path = &entry.path;
        if path.iter().any(|name| name == DEPENDENCIES) {
            return;
        }
        match entry.kind {
            EntryKind::Link => self.link(path),
            EntryKind::File => {
                if let Some(kind) = self.file(path) {
                    self.unread.add(kind, path, None);
                }
            }
            EntryKind::Fifo | EntryKind::Socket | EntryKind::Device if (self.wants_file)(path) => {
                let kind = match entry.kind {
                    EntryKind::Fifo => UnreadKind::Fifo,
                    EntryKind::Socket => UnreadKind::Socket,
                    _ => UnreadKind::Device,
                };
                self.unread.add(kind, path, None);
            }
            _ => {}
        }
    }

    fn link(&mut self, path: &Path) {
        let is_log = (self.wants_file)(path);
        if !is_log && !(self.wants_directory)(path) {
            return;
        }
        let Some(left) = self.links_left.checked_sub(1) else {
            if is_log {
                self.unread.add(UnreadKind::LinkToFile, path, None);
            }
            return;
        };
        *self.links_left = left;
        let target = self.root.link_target(path);
        let is_read_there = match (&target.inside, target.kind) {
            (Some(inside), EntryKind::File) => (self.wants_file)(inside),
            (Some(inside), EntryKind::Directory) => (self.wants_directory)(inside),
            _ => {
                (self.reads_elsewhere.zip(target.outside.as_deref())).is_some_and(|(reads, path)| reads(path))
            }
        };
        let kind = match target.kind {
            EntryKind::Directory => UnreadKind::LinkToDirectory,
            EntryKind::File if is_log => UnreadKind::LinkToFile,
            EntryKind::Link | EntryKind::Unknown if is_log || is_at_projects(path) => {
                UnreadKind::LinkElsewhere
            }
            _ if is_log => UnreadKind::LinkElsewhere,
            _ => return,
        };
        if !is_read_there {
            self.unread.add(kind, path, Some(target.text));
        }
    }

    /// The kind of a file by its name, if it may contain usage.
    fn file(&self, path: &Path) -> Option<UnreadKind> {
        let name = path.file_name()?.as_bytes();
        let wanted = |name: &[u8]| (self.wants_file)(&path.with_file_name(OsStr::from_bytes(name)));
        let without = |name: &[u8], endings: &[&[u8]]| ending(name, endings).map(<[u8]>::to_vec);
        if let Some(inner) = without(name, &COMPRESSED) {
            let inner = without(&inner, &[b"tar"]).unwrap_or(inner);
            if wanted(&inner) || unrotated(&inner).is_some_and(wanted) {
                return Some(UnreadKind::Compressed);
            }
        }
        if unrotated(name).is_some_and(wanted) {
            return Some(UnreadKind::Rotated);
        }
        let has_other_ending = || {
            let stem = ending(&name.to_ascii_lowercase(), &OTHER_ENDINGS)?.len();
            Some([&name[..stem], b".jsonl"].concat()).filter(|usual| usual != name)
        };
        if has_other_ending().is_some_and(|usual| wanted(&usual)) {
            return Some(UnreadKind::OtherEnding);
        }
        let inner = without(name, &COMPRESSED);
        let is_bundle = |name: &[u8]| ending(name, &BUNDLES).is_some();
        if is_bundle(name) || inner.is_some_and(|inner| is_bundle(&inner)) {
            return Some(UnreadKind::Bundle);
        }
        None
    }
}

/// The logs of a run that no include matches, in directories that the settings do not read. The search
/// inspects `LOOKED_INTO_MAX` of them, parents before their children.
pub fn not_included(
    root: &Root,
    wants_directory: impl Fn(&Path) -> bool,
    misses: impl Fn(&Path) -> bool,
) -> Unread {
    let mut unread = Unread::default();
    let mut pending = VecDeque::from([PathBuf::new()]);
    for _ in 0..LOOKED_INTO_MAX {
        let Some(directory) = pending.pop_front() else {
            break;
        };
        // A directory that cannot be listed is not one that should be read.
        let mut entries = root.list(&directory).unwrap_or_default();
        entries.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        for Entry { path, kind } in entries {
            match kind {
                EntryKind::Directory if !wants_directory(&path) && !path.ends_with(DEPENDENCIES) => {
                    pending.push_back(path);
                }
                EntryKind::File if is_log_name(&path) && misses(&path) => {
                    unread.add(UnreadKind::NotIncluded, &path, None);
                }
                _ => {}
            }
        }
    }
    unread
}

/// The name without one of these endings and the dot before it.
fn ending<'n>(name: &'n [u8], endings: &[&[u8]]) -> Option<&'n [u8]> {
    endings
        .iter()
        .find_map(|ending| name.strip_suffix(*ending)?.strip_suffix(b"."))
}

/// The name of a log before it was rotated or copied: `x.jsonl` for `x.jsonl.1`, `x.jsonl-20261005`,
/// `x.jsonl.bak`.
fn unrotated(name: &[u8]) -> Option<&[u8]> {
    if let Some(name) = ending(name, &COPIES).or_else(|| name.strip_suffix(b"~")) {
        return Some(name);
    }
    let digits = name.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let before = &name[..name.len() - digits];
    (digits > 0)
        .then(|| before.strip_suffix(b".").or_else(|| before.strip_suffix(b"-")))
        .flatten()
}

/// True for the name of a compressed file or an archive.
#[must_use]
pub fn is_compressed(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_bytes();
    ending(name, &COMPRESSED).is_some() || ending(name, &BUNDLES).is_some()
}

/// True for the name of a transcript.
#[must_use]
pub fn is_log_name(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "jsonl")
}

/// True for paths where a run's mount or a project is expected.
fn is_at_projects(path: &Path) -> bool {
    let above = path.parent().and_then(Path::file_name);
    let depth = path.components().count();
    depth <= 1
        || depth == 2 && path.starts_with(MOUNT)
        || above.is_some_and(|name| name == PROJECTS)
        || path.file_name().is_some_and(|name| name == PROJECTS)
}

/// The kind of content of a file, by its beginning, as far as that can be read.
#[must_use]
pub fn content_kind(file: &LogFile) -> ContentKind {
    let mut head = vec![0; recognise::HEAD_BYTES];
    let length = file.read_at(&mut head, 0).unwrap_or(0);
    recognise::content_kind(&head[..length])
}

impl UnreadKind {
    /// The kind of a file with this content, if it is no transcript.
    #[must_use]
    pub fn of(content: ContentKind) -> Option<Self> {
        match content {
            ContentKind::TooShort | ContentKind::Ours => None,
            ContentKind::OtherAgent(agent) => Some(Self::OtherAgent(agent)),
            ContentKind::Strange => Some(Self::Strange),
        }
    }
}

impl Unread {
    pub fn add(&mut self, kind: UnreadKind, path: &Path, target: Option<PathBuf>) {
        self.take(
            kind,
            &Found {
                count: 1,
                first: path.to_owned(),
                target,
            },
        );
    }

    /// Adds the entries of another.
    pub fn merge(&mut self, other: &Self) {
        for (kind, found) in &other.0 {
            self.take(*kind, found);
        }
    }

    fn take(&mut self, kind: UnreadKind, more: &Found) {
        match self.0.get_mut(&kind) {
            Some(there) => {
                let count = there.count.saturating_add(more.count);
                // The example does not depend on the order of the entries.
                if more.first < there.first {
                    more.clone_into(there);
                }
                there.count = count;
            }
            None => {
                self.0.insert(kind, more.clone());
            }
        }
    }

    /// The number of files that were read and are no transcripts.
    #[must_use]
    pub fn no_transcripts(&self) -> u64 {
        let is_none = |kind: &UnreadKind| matches!(kind, UnreadKind::OtherAgent(_) | UnreadKind::Strange);
        let found = self.0.iter().filter(|(kind, _)| is_none(kind));
        found.map(|(_, found)| found.count).sum()
    }

    /// For a single file the reason why it is no transcript.
    #[must_use]
    pub fn judgement(&self) -> Option<String> {
        self.0.keys().find_map(|kind| match kind {
            UnreadKind::OtherAgent(agent) => {
                let file = agent.file();
                let why = if agent.is_sums() {
                    "its sums are of responses that the agent's transcripts have"
                } else {
                    "this agent is not supported"
                };
                Some(format!("it looks like a {file}, and {why}"))
            }
            UnreadKind::Strange => Some("it has nothing in it that a transcript has".to_owned()),
            _ => None,
        })
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One sentence for each kind: which entries are not read, where, and what to do. Paths are below `base`;
    /// `has_logs` is true if logs are read beside them.
    #[must_use]
    pub fn sentences(&self, base: &Path, has_logs: bool) -> Vec<(UnreadKind, String)> {
        let shown = self
            .0
            .iter()
            .filter(|(kind, _)| !has_logs || **kind != UnreadKind::Bundle);
        shown
            .map(|(kind, found)| (*kind, found.sentence(*kind, base)))
            .collect()
    }
}

impl Found {
    fn sentence(&self, kind: UnreadKind, base: &Path) -> String {
        let (what, todo) = wording::of(kind, self.count);
        let first = base.join(&self.first);
        let first = match &self.target {
            Some(target) => format!("{first:?} -> {target:?}"),
            None => format!("{first:?}"),
        };
        let label = if self.count == 1 { "" } else { "the first is " };
        format!("{} {what} ({label}{first}); {todo}", self.count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind_of(name: &str) -> Option<UnreadKind> {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::open_given(directory.path()).unwrap();
        let mut links_left = 0;
        let mut sorter = Sorter::new(&root, &|_| true, &is_log_name, &mut links_left);
        sorter.add(&Entry {
            path: name.into(),
            kind: EntryKind::File,
        });
        sorter.unread.0.into_keys().next()
    }

    #[test]
    fn a_file_is_known_by_its_name() {
        for (name, kind) in [
            ("x.jsonl.gz", Some(UnreadKind::Compressed)),
            ("x.jsonl.zip", Some(UnreadKind::Compressed)),
            ("x.jsonl.tar.zst", Some(UnreadKind::Compressed)),
            ("x.jsonl.3.gz", Some(UnreadKind::Compressed)),
            ("x.jsonl-20261005.xz", Some(UnreadKind::Compressed)),
            ("x.jsonl.1", Some(UnreadKind::Rotated)),
            ("x.jsonl-20261005", Some(UnreadKind::Rotated)),
            ("x.jsonl.bak", Some(UnreadKind::Rotated)),
            ("x.jsonl~", Some(UnreadKind::Rotated)),
            ("x.JSONL", Some(UnreadKind::OtherEnding)),
            ("x.ndjson", Some(UnreadKind::OtherEnding)),
            ("all.tgz", Some(UnreadKind::Bundle)),
            ("all.tar.gz", Some(UnreadKind::Bundle)),
            ("x.json.gz", None),
            ("x.log.1", None),
            ("node_modules/x.jsonl.gz", None),
            (".gz", None),
            ("1", None),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }

    #[test]
    fn the_example_is_the_same_in_any_order() {
        let add = |names: &[&str]| {
            let mut unread = Unread::default();
            for name in names {
                unread.add(UnreadKind::Fifo, Path::new(name), None);
            }
            unread
        };
        let (mut one, other) = (add(&["b", "c"]), add(&["a", "d"]));
        one.merge(&other);
        assert_eq!(one, add(&["d", "a", "c", "b"]));
    }

    #[test]
    fn what_to_do_is_of_one_or_of_several() {
        for kind in [
            UnreadKind::LinkToDirectory,
            UnreadKind::LinkToFile,
            UnreadKind::LinkElsewhere,
            UnreadKind::Compressed,
            UnreadKind::Rotated,
            UnreadKind::OtherEnding,
            UnreadKind::Bundle,
            UnreadKind::NotIncluded,
            UnreadKind::OtherAgent(Agent::Kimi),
            UnreadKind::Strange,
            UnreadKind::Hole,
            UnreadKind::NoRun,
        ] {
            let todo = |count| {
                let mut unread = Unread::default();
                (0..count).for_each(|_| unread.add(kind, Path::new("x"), None));
                let (_, sentence) = unread.sentences(Path::new("/"), false).remove(0);
                sentence.split_once("); ").unwrap().1.to_owned()
            };
            assert_ne!(todo(1), todo(2), "{kind:?}");
        }
    }

    proptest! {
        #[test]
        fn ordinary_files_are_not_worth_a_word(name in "[a-z0-9.-]{0,12}\\.(md|json|txt|rs|log|lock|png|toml|jsonl)") {
            prop_assert_eq!(kind_of(&name), None);
        }
    }
}
