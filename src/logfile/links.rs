//! Where symbolic links below a run's directory lead, found without opening what they lead to and without waiting for
//! another filesystem: a link may lead into a mount that does not answer.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{EntryKind, Opening, Root, run_dir, stat};

/// Links that are followed one after the other, as many as the kernel does.
const HOPS_MAX: usize = 40;

/// Where a symbolic link below a run's directory leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTarget {
    /// As the link has it.
    pub text: PathBuf,
    /// The path below the run's directory, if it leads to something there.
    pub inside: Option<PathBuf>,
    /// What it leads to outside, by its path without links, if that is at hand.
    pub outside: Option<PathBuf>,
    /// `Link` if it leads nowhere; `Unknown` if finding out could wait for another filesystem.
    pub kind: EntryKind,
}

impl Root {
    /// Where a symbolic link leads, without opening anything and without waiting for another filesystem: a link may
    /// lead into a mount that does not answer.
    #[must_use]
    pub fn link_target(&self, relative: &Path) -> LinkTarget {
        let text = rustix::fs::readlinkat(&self.directory, relative, Vec::new());
        let text = text.map_or_else(
            |_| PathBuf::new(),
            |text| OsStr::from_bytes(text.to_bytes()).into(),
        );
        let inside = inside(&self.path, relative, &text);
        if let Some(path) = &inside
            && let Ok(stat) = self.stat(path)
            && stat.kind != EntryKind::Link
        {
            return LinkTarget {
                kind: stat.kind,
                inside,
                outside: None,
                text,
            };
        }
        let (kind, outside) = self.followed(relative);
        LinkTarget {
            kind,
            inside: None,
            outside: outside.or_else(|| text.is_absolute().then(|| text.clone())),
            text,
        }
    }

    /// The kind of what a link leads to, and its path: on this filesystem, or on another as far as that can be said
    /// without waiting.
    fn followed(&self, relative: &Path) -> (EntryKind, Option<PathBuf>) {
        if self.opening == Opening::Openat2 {
            let found = self.followed_by_the_kernel(relative);
            // The kernel gives up where something is renamed meanwhile, or is not in its cache.
            if found.0 != EntryKind::Unknown {
                return found;
            }
        }
        let mount_points = (self.mount_points).get_or_init(|| MountPoints::beside(&self.path));
        let mut place = run_dir::resolve(&self.path);
        place.extend(relative.parent());
        mount_points.followed(place, relative.file_name().unwrap_or_default())
    }

    fn followed_by_the_kernel(&self, relative: &Path) -> (EntryKind, Option<PathBuf>) {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let attempts = [ResolveFlags::NO_XDEV, ResolveFlags::CACHED];
        for resolve in attempts.map(|resolve| resolve | ResolveFlags::NO_MAGICLINKS) {
            match rustix::fs::openat2(&self.directory, relative, flags, Mode::empty(), resolve) {
                Ok(target) => {
                    // What is in the kernel's cache is not asked of a server again.
                    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
                    let stat = stat(&target, Path::new(""), flags);
                    let its_name = format!("/proc/self/fd/{}", target.as_raw_fd());
                    let path = rustix::fs::readlink(its_name, Vec::new()).ok();
                    let path = path.map(|path| OsStr::from_bytes(path.to_bytes()).into());
                    return (stat.map_or(EntryKind::Unknown, |stat| stat.kind), path);
                }
                Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return (EntryKind::Link, None),
                Err(_) => {}
            }
        }
        (EntryKind::Unknown, None)
    }
}

/// Where filesystems are mounted that a run's directory is not in; `None` if that is not known.
#[derive(Debug)]
pub(super) struct MountPoints(Option<HashSet<PathBuf>>);

impl MountPoints {
    fn beside(directory: &Path) -> Self {
        let list = std::fs::read("/proc/self/mountinfo").ok();
        let within = run_dir::resolve(directory);
        Self(list.map(|list| {
            let lines = list.split(|byte| *byte == b'\n');
            // The fifth member of a line.
            let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
            let points = points.map(|point| PathBuf::from(OsString::from_vec(unescaped(point))));
            points.filter(|point| !within.starts_with(point)).collect()
        }))
    }

    /// Goes through a path name by name, and no further than to the next mount point. `place` has no links.
    fn followed(&self, mut place: PathBuf, name: &OsStr) -> (EntryKind, Option<PathBuf>) {
        let Some(mount_points) = &self.0 else {
            return (EntryKind::Unknown, None);
        };
        let mut names = VecDeque::from([name.to_owned()]);
        let mut hops = 0;
        let mut kind = EntryKind::Directory;
        while let Some(name) = names.pop_front() {
            if name == ".." {
                place.pop();
                kind = EntryKind::Directory;
                continue;
            }
            let next = place.join(&name);
            if mount_points.contains(&next) {
                return (EntryKind::Unknown, None);
            }
            kind = match stat(CWD, &next, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
                Ok(found) => found.kind,
                Err(Errno::NOENT | Errno::NOTDIR) => return (EntryKind::Link, None),
                Err(_) => return (EntryKind::Unknown, None),
            };
            if kind != EntryKind::Link {
                place = next;
                continue;
            }
            hops += 1;
            let Ok(text) = rustix::fs::readlinkat(CWD, &next, Vec::new()) else {
                return (EntryKind::Unknown, None);
            };
            if hops > HOPS_MAX {
                return (EntryKind::Link, None);
            }
            let text = PathBuf::from(OsString::from_vec(text.into_bytes()));
            if text.is_absolute() {
                place = PathBuf::from("/");
            }
            for part in text.components().rev() {
                match part {
                    Component::Normal(name) => names.push_front(name.to_owned()),
                    Component::ParentDir => names.push_front("..".into()),
                    Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                }
            }
            kind = EntryKind::Directory;
        }
        (kind, Some(place))
    }
}

/// Spaces, tabs, line ends and backslashes are written in octal.
pub(super) fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let octal = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok();
        match after.get(..3).and_then(octal) {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = &after[3..];
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    plain
}

/// The path below `root` that a link at `link` leads to by its text; `None` if that is outside.
fn inside(root: &Path, link: &Path, text: &Path) -> Option<PathBuf> {
    let mut path = PathBuf::new();
    let below = if text.is_absolute() {
        text.strip_prefix(root).ok()?
    } else {
        path.extend(link.parent());
        text
    };
    for part in below.components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Some(path)
}
