//! Opening below a directory without following links: with `openat2`, or name by name where that call is
//! refused.
//!
//! Sandboxes refuse `openat2` as if it did not exist: `RestrictSUIDSGID=` of systemd and seccomp profiles of
//! container runtimes cannot inspect its arguments. Name by name has the same result: no link is followed, no
//! path leads up or out, and a directory that was replaced meanwhile is an error.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags};
use rustix::io::{Errno, Result};
use strum::IntoStaticStr;

use super::stat;

/// The way in which paths below a directory are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum Opening {
    /// One call, in which the kernel follows no link.
    Openat2,
    /// One call for each name.
    #[strum(serialize = "openat")]
    ByName,
}

impl Opening {
    /// The way that this process can use; tested once.
    #[must_use]
    pub fn available() -> Self {
        static AVAILABLE: OnceLock<Opening> = OnceLock::new();
        *AVAILABLE.get_or_init(|| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            // Every process may open this path: any error comes from a filter, or from a kernel without the
            // call.
            match rustix::fs::openat2(CWD, "/", flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
                Err(_) => Self::ByName,
                Ok(_) => Self::Openat2,
            }
        })
    }

    /// Opens a path below `directory`. Links fail with `LOOP` or `NOTDIR`, a path that leads out with `XDEV`.
    pub(super) fn beneath(self, directory: &OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd> {
        match self {
            Self::Openat2 => {
                let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                rustix::fs::openat2(directory, relative, flags, Mode::empty(), resolve)
            }
            Self::ByName => by_name(directory.as_fd(), relative, flags),
        }
    }

    /// Opens a directory by an absolute path that has no links.
    pub(super) fn resolved(self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        match self {
            Self::Openat2 => {
                let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
                rustix::fs::openat2(CWD, path, flags, Mode::empty(), resolve)
            }
            Self::ByName => {
                let top = rustix::fs::open(
                    "/",
                    OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                let below = path.strip_prefix("/").map_err(|_| Errno::XDEV)?;
                by_name(top.as_fd(), below, flags)
            }
        }
    }
}

/// Opens name by name, then checks that each directory on the way is still the same.
fn by_name(top: BorrowedFd<'_>, relative: &Path, flags: OFlags) -> Result<OwnedFd> {
    let mut names = Vec::new();
    for part in relative.components() {
        match part {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(Errno::XDEV),
        }
    }
    let Some((last, above)) = names.split_last() else {
        return rustix::fs::openat(top, ".", flags | OFlags::NOFOLLOW, Mode::empty());
    };
    let mut passed: Vec<OwnedFd> = Vec::with_capacity(above.len());
    for name in above {
        let at = passed.last().map_or(top, AsFd::as_fd);
        let way = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        passed.push(rustix::fs::openat(at, *name, way, Mode::empty())?);
    }
    let at = passed.last().map_or(top, AsFd::as_fd);
    let opened = rustix::fs::openat(at, *last, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let mut at = top;
    for (name, directory) in above.iter().zip(&passed) {
        if identity(at, name, AtFlags::SYMLINK_NOFOLLOW)?
            != identity(directory.as_fd(), "", AtFlags::EMPTY_PATH)?
        {
            return Err(Errno::NOENT);
        }
        at = directory.as_fd();
    }
    Ok(opened)
}

/// The device and the inode number of a directory.
fn identity(at: BorrowedFd<'_>, name: impl AsRef<OsStr>, flags: AtFlags) -> Result<(u64, u64)> {
    let found = stat(at, Path::new(&name), flags | AtFlags::NO_AUTOMOUNT)?;
    Ok((found.device, found.inode.number))
}
