//! Mounts: devices and their mount points, from the kernel's table, without access to any of them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::links::unescaped;
use super::pool;

/// The kernel's table of mounts.
const TABLE: &str = "/proc/self/mountinfo";

/// The entries of the table for a path.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mounted {
    /// The devices that a call below the path may wait for: those mounted there or below, otherwise the one
    /// that contains the path.
    pub devices: Vec<u64>,
    /// Those of them that not only this kernel changes.
    pub shared_devices: Vec<u64>,
    /// The mount point of the first of them.
    pub place: Option<PathBuf>,
}

/// The mounts at `path`, compared by the text of `path`. Empty if the kernel's table cannot be read.
#[must_use]
pub fn mounted_at(path: &Path) -> Mounted {
    std::fs::read(TABLE).map_or_else(|_| Mounted::default(), |table| find(&table, path, true))
}

/// The mount that contains `path` itself, without those below it: a call on the path waits for that one alone.
#[must_use]
pub fn mount_of(path: &Path) -> Mounted {
    std::fs::read(TABLE).map_or_else(|_| Mounted::default(), |table| find(&table, path, false))
}

fn find(table: &[u8], path: &Path, includes_below: bool) -> Mounted {
    let mut found = Mounted::default();
    let mut around: Option<(PathBuf, u64, bool)> = None;
    for line in table.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b' ');
        // The third member is the device, the fifth the mount point; the name of the filesystem follows a
        // dash.
        let (Some(device), Some(point)) = (fields.nth(2).and_then(device), fields.nth(1)) else {
            continue;
        };
        let mut name = fields.skip_while(|field| *field != b"-").skip(1);
        let is_shared = name.next().is_none_or(|name| !LOCAL_NAMES.contains(&name));
        let point = PathBuf::from(OsString::from_vec(unescaped(point)));
        if includes_below && point.starts_with(path) {
            found.devices.push(device);
            found.shared_devices.extend(is_shared.then_some(device));
            found.place.get_or_insert(point);
        } else if path.starts_with(&point)
            // Of two mounts on one place the later one covers the other.
            && around.as_ref().is_none_or(|(longest, ..)| point.starts_with(longest))
        {
            around = Some((point, device, is_shared));
        }
    }
    if found.devices.is_empty()
        && let Some((point, device, is_shared)) = around
    {
        found.devices.push(device);
        found.shared_devices.extend(is_shared.then_some(device));
        found.place = Some(point);
    }
    found
}

/// All mount points, as the kernel's table has them: without access to any of them. Empty if it cannot be read.
fn points() -> Vec<PathBuf> {
    let table = std::fs::read(TABLE).unwrap_or_default();
    let lines = table.split(|byte| *byte == b'\n');
    lines
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|point| PathBuf::from(OsString::from_vec(unescaped(point))))
        .collect()
}

/// The mount points below a directory, compared by the text of their paths.
#[must_use]
pub fn points_below(directory: &Path) -> Vec<PathBuf> {
    let mut points = points();
    points.retain(|point| point != directory && point.starts_with(directory));
    points.sort_unstable();
    points.dedup();
    points
}

/// The mount point that contains a path, compared by the text of the path.
#[must_use]
pub fn point_of(path: &Path) -> Option<PathBuf> {
    let around = points().into_iter().filter(|point| path.starts_with(point));
    around.max_by_key(|point| point.as_os_str().len())
}

/// Filesystems that only this kernel changes, so that each change has an event: ext2 to ext4, XFS, Btrfs,
/// tmpfs, F2FS, ZFS, bcachefs. Not overlays, whose layers may be changed below them.
const LOCAL: [u32; 7] = [
    0xEF53,
    0x5846_5342,
    0x9123_683E,
    0x0102_1994,
    0xF2F5_2010,
    0x2FC1_2FC1,
    0xCA45_1A4E,
];

/// Their names in the table.
const LOCAL_NAMES: [&[u8]; 9] = [
    b"ext2",
    b"ext3",
    b"ext4",
    b"xfs",
    b"btrfs",
    b"tmpfs",
    b"f2fs",
    b"zfs",
    b"bcachefs",
];

/// True if only this kernel changes the filesystem at a path. It may hang.
#[must_use]
pub fn is_local(path: &Path) -> bool {
    let found = rustix::fs::statfs(path);
    pool::call_returned();
    // A magic number has 32 bits, whatever the width of the field is.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "32 bits are meant"
    )]
    found.is_ok_and(|found| LOCAL.contains(&(found.f_type as u32)))
}

/// Parses a device number such as `259:1`.
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
            33 22 0:60 / /runs rw shared:5 master:1 - tmpfs over rw\nnonsense\n";
        let at = |path: &str| {
            let found = find(table, Path::new(path), true);
            let minors: Vec<u32> = (found.devices.iter().copied()).map(rustix::fs::minor).collect();
            let is_shared = found.shared_devices == found.devices;
            assert!(is_shared || found.shared_devices.is_empty(), "{found:?}");
            (minors, found.place.unwrap(), is_shared)
        };
        assert_eq!(at("/runs/a"), (vec![50], "/runs/a/mount".into(), true));
        assert_eq!(at("/runs/a/mount/x"), (vec![50], "/runs/a/mount".into(), true));
        assert_eq!(at("/runs/a b"), (vec![51], "/runs/a b".into(), true));
        assert_eq!(at("/runs/b"), (vec![60], "/runs".into(), false));
        assert_eq!(at("/home"), (vec![0], "/".into(), false));
        assert_eq!(find(b"", Path::new("/x"), true), Mounted::default());
        let holds = |path: &str| find(table, Path::new(path), false).place.unwrap();
        assert_eq!(holds("/runs"), Path::new("/runs"));
        assert_eq!(holds("/runs/a"), Path::new("/runs"), "not the mount in it");
        assert_eq!(holds("/runs/a/mount"), Path::new("/runs/a/mount"));
    }

    #[test]
    fn every_path_is_in_a_mount_and_those_below_are_listed() {
        assert_eq!(point_of(Path::new("/proc/self")), Some("/proc".into()));
        assert_eq!(point_of(Path::new("/no/such")), Some("/".into()));
        assert!(points_below(Path::new("/")).contains(&"/proc".into()));
        assert!(points_below(Path::new("/proc/self")).is_empty());
    }
}
