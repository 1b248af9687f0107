//! Targets of symbolic links below a run's directory, found without opening them and without waiting for
//! another filesystem: a link may lead into a mount that does not respond.

use std::collections::{HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{EntryKind, Opening, Root, run_dir, stat};

/// Links that are followed one after the other: the bound of the kernel.
const HOPS_MAX: usize = 40;

/// The target of a symbolic link below a run's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkTarget {
    /// The text of the link.
    pub text: PathBuf,
    /// The path below the run's directory, if the target is there.
    pub inside: Option<PathBuf>,
    /// The path without links of a target outside, if that is known without waiting.
    pub outside: Option<PathBuf>,
    /// `Link` if there is no target; `Unknown` if another filesystem would have to be waited for.
    pub kind: EntryKind,
}

impl Root {
    /// The target of a symbolic link, without opening it and without waiting for another filesystem: a link
    /// may lead into a mount that does not respond.
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

    /// The kind and the path of a link's target: on this filesystem, or on another as far as that is known
    /// without waiting.
    fn followed(&self, relative: &Path) -> (EntryKind, Option<PathBuf>) {
        if self.opening == Opening::Openat2 {
            let found = self.followed_by_the_kernel(relative);
            // The kernel fails if an entry is renamed meanwhile, or is not in its cache.
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
                    // Entries in the kernel's cache are not requested from a server again.
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

/// The mount points of filesystems other than that of the run's directory; `None` if they are not known.
#[derive(Debug)]
pub(super) struct MountPoints(Option<HashSet<PathBuf>>);

impl MountPoints {
    fn beside(directory: &Path) -> Self {
        let list = std::fs::read("/proc/self/mountinfo").ok();
        let within = run_dir::resolve(directory);
        Self(list.map(|list| {
            let lines = list.split(|byte| *byte == b'\n');
            // The mount point is the fifth member of a line.
            let points = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
            let points = points.map(|point| PathBuf::from(OsString::from_vec(unescaped(point))));
            points.filter(|point| !within.starts_with(point)).collect()
        }))
    }

    /// Resolves a path name by name, up to the next mount point. `place` has no links.
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

/// Decodes spaces, tabs, line ends and backslashes, which are written in octal.
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

/// The target below `root` of a link at `link`, by its text; `None` if that is outside.
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
