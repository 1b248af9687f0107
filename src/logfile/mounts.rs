//! Mounts: which devices are mounted where, from the kernel's table, without touching any of them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::links::unescaped;
use super::pool;

/// The kernel's table.
const TABLE: &str = "/proc/self/mountinfo";

/// The devices that a call below `path` may have to wait for, by what `path` says: those that are mounted there or below, or
/// else the one it lies in; and where the first of them is mounted. Nothing if the kernel's table cannot be read.
#[must_use]
pub fn devices_at(path: &Path) -> (Vec<u64>, Option<PathBuf>) {
    std::fs::read(TABLE).map_or_else(|_| Default::default(), |table| find(&table, path))
}

fn find(table: &[u8], path: &Path) -> (Vec<u64>, Option<PathBuf>) {
    let mut below = Vec::new();
    let mut place = None;
    let mut around: Option<(PathBuf, u64)> = None;
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        // The third member is the device, the fifth where it is mounted.
        let (Some(device), Some(point)) = (fields.nth(2).and_then(device), fields.nth(1)) else {
            continue;
        };
        let point = PathBuf::from(OsString::from_vec(unescaped(point)));
        if point.starts_with(path) {
            below.push(device);
            place.get_or_insert(point);
        } else if path.starts_with(&point)
            // Of two on one place, the later one covers the other.
            && around.as_ref().is_none_or(|(longest, _)| point.starts_with(longest))
        {
            around = Some((point, device));
        }
    }
    if below.is_empty()
        && let Some((point, device)) = around
    {
        below.push(device);
        place = Some(point);
    }
    (below, place)
}

/// Filesystems that only this kernel changes, so that it tells of every change: ext2 to ext4, XFS, Btrfs, tmpfs, F2FS, ZFS,
/// bcachefs. Not overlays, whose layers may be changed below them.
const LOCAL: [u32; 7] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0x0102_1994,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xCA45_1A4E,
];

/// Whether the filesystem at a path is changed by this kernel alone. It may hang.
#[must_use]
pub fn is_local(path: &Path) -> bool {
    let found = rustix::fs::statfs(path);
    pool::call_returned();
    // A magic number has 32 bits, whatever the width of the field.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "32 bits are meant"
    )]
    found.is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
}

/// `259:1`.
fn device(text: &[u8]) -> Option<u64> {
    let (major, minor) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some(rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mounted_below_counts_else_what_is_around() {
        let table = b"22 1 254:0 / / rw - ext4 /dev/vda rw\n\
            30 22 0:40 / /runs rw - tmpfs tmpfs rw\n\
            31 30 0:50 / /runs/a/mount rw - fuse a rw\n\
            32 30 0:51 / /runs/a\\040b rw - fuse b rw\n\
            33 22 0:60 / /runs rw - tmpfs over rw\nnonsense\n";
        let at = |path: &str| find(table, Path::new(path));
        let device = |minor| rustix::fs::makedev(0, minor);
        assert_eq!(at("/runs/a"), (vec![device(50)], Some("/runs/a/mount".into())));
        assert_eq!(
            at("/runs/a/mount/x"),
            (vec![device(50)], Some("/runs/a/mount".into()))
        );
        assert_eq!(at("/runs/a b"), (vec![device(51)], Some("/runs/a b".into())));
        assert_eq!(at("/runs/b"), (vec![device(60)], Some("/runs".into())));
        assert_eq!(at("/home"), (vec![rustix::fs::makedev(254, 0)], Some("/".into())));
        assert_eq!(find(b"", Path::new("/x")), (vec![], None));
    }
}
