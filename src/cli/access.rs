//! Path permissions of a user, checked component by component without becoming that user.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::logfile::run_dir::resolve;

/// Permission bits of a mode.
pub const READ: u32 = 4;
pub const WRITE: u32 = 2;
pub const PASS: u32 = 1;

/// Capabilities that allow reading and passing every directory: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH.
const CAPABILITIES_READ: u64 = 1 << 1 | 1 << 2;
/// The extended attribute of an access list, and the largest one read, in bytes.
const ACL: &str = "system.posix_acl_access";
const ACL_BYTES_MAX: usize = 64 * 1024;

/// The user or process that reads.
#[derive(Clone, Debug)]
pub struct Who {
    pub uid: u32,
    /// The name, or the number without one.
    pub name: String,
    groups: BTreeSet<u32>,
    reads_all: bool,
    /// True for this process: the kernel checks its permissions.
    is_self: bool,
}

impl Who {
    /// This process.
    #[must_use]
    pub fn this() -> Self {
        let uid = rustix::process::geteuid().as_raw();
        Self {
            is_self: true,
            reads_all: uid == 0,
            ..Self::of_uid(uid)
        }
    }

    /// A user with the groups of the system's files.
    #[must_use]
    pub fn of_uid(uid: u32) -> Self {
        let line = lines_of("/etc/passwd").find(|line| line.get(2).is_some_and(|id| *id == uid.to_string()));
        let name = line
            .as_ref()
            .map_or_else(|| uid.to_string(), |line| line[0].clone());
        let own = line.and_then(|line| line.get(3)?.parse().ok());
        let is_member = |line: &Vec<String>| {
            line.get(3)
                .is_some_and(|members| members.split(',').any(|member| member == name))
        };
        let others = lines_of("/etc/group").filter(is_member);
        let groups = others
            .filter_map(|line| line[2].parse().ok())
            .chain(own)
            .collect();
        Self {
            uid,
            name,
            groups,
            reads_all: uid == 0,
            is_self: uid == rustix::process::geteuid().as_raw(),
        }
    }

    /// A running process, with its groups and capabilities.
    #[must_use]
    pub fn of_process(pid: u32) -> Option<Self> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_whitespace())
        };
        let uid = field("Uid:")?.nth(1)?.parse().ok()?;
        let capabilities = u64::from_str_radix(field("CapEff:")?.next()?, 16).ok()?;
        let groups = field("Groups:")?.chain(field("Gid:")?.skip(1).take(1));
        Some(Self {
            groups: groups.filter_map(|group| group.parse().ok()).collect(),
            reads_all: capabilities & CAPABILITIES_READ != 0,
            is_self: pid == std::process::id(),
            ..Self::of_uid(uid)
        })
    }

    /// True if the user is in the group.
    #[must_use]
    fn is_in(&self, group: u32) -> bool {
        self.groups.contains(&group)
    }

    /// True if the user has all of these permissions.
    ///
    /// # Errors
    /// The path cannot be inspected.
    pub fn may(&self, path: &Path, rights: u32) -> io::Result<bool> {
        if self.is_self {
            let wanted = [
                (READ, Access::READ_OK),
                (WRITE, Access::WRITE_OK),
                (PASS, Access::EXEC_OK),
            ];
            let wanted = wanted.into_iter().filter(|(bit, _)| rights & bit != 0);
            let wanted = wanted.fold(Access::EXISTS, |all, (_, one)| all | one);
            return match rustix::fs::access(path, wanted) {
                Ok(()) => Ok(true),
                Err(rustix::io::Errno::ACCESS | rustix::io::Errno::ROFS) => Ok(false),
                Err(error) => Err(error.into()),
            };
        }
        let found = fs::metadata(path)?;
        if self.reads_all && rights & WRITE == 0 {
            return Ok(true);
        }
        let mut list = vec![0; ACL_BYTES_MAX];
        let length = rustix::fs::getxattr(path, ACL, &mut list[..]).unwrap_or(0);
        let mode = found.permissions().mode();
        Ok(match entries(&list[..length.min(ACL_BYTES_MAX)]) {
            Some(entries) => self.is_granted(&entries, (found.uid(), found.gid()), rights),
            None => self.has_mode(mode, (found.uid(), found.gid()), rights),
        })
    }

    fn has_mode(&self, mode: u32, (owner, group): (u32, u32), rights: u32) -> bool {
        let shift = match (self.uid == owner, self.is_in(group)) {
            (true, _) => 6,
            (false, true) => 3,
            (false, false) => 0,
        };
        (mode >> shift) & rights == rights
    }

    /// The algorithm of acl(5).
    fn is_granted(&self, entries: &[PathEntry], (owner, group): (u32, u32), rights: u32) -> bool {
        let of = |tag: Tag| entries.iter().filter(move |entry| entry.tag == tag);
        let mask = of(Tag::Mask).map(|entry| entry.rights).next().unwrap_or(7);
        let grants = |entry: &PathEntry, mask: u32| entry.rights & mask & rights == rights;
        if self.uid == owner {
            return of(Tag::Owner).any(|entry| grants(entry, 7));
        }
        if let Some(entry) = of(Tag::User).find(|entry| entry.id == self.uid) {
            return grants(entry, mask);
        }
        let groups = of(Tag::OwningGroup).filter(|_| self.is_in(group));
        let mut groups = groups
            .chain(of(Tag::Group).filter(|entry| self.is_in(entry.id)))
            .peekable();
        if groups.peek().is_some() {
            return groups.any(|entry| grants(entry, mask));
        }
        of(Tag::Other).any(|entry| grants(entry, 7))
    }
}

/// The name of a group, or its number.
#[must_use]
pub fn group_name(group: u32) -> String {
    let line = lines_of("/etc/group").find(|line| line[2] == group.to_string());
    line.map_or_else(|| group.to_string(), |line| line[0].clone())
}

/// The fields of each line of a file such as /etc/passwd; none if it cannot be read.
fn lines_of(path: &str) -> impl Iterator<Item = Vec<String>> {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let lines: Vec<_> = text.lines().map(fields).filter(|line| line.len() > 3).collect();
    lines.into_iter()
}

/// The subject of an access list entry, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tag {
    Owner,
    User,
    OwningGroup,
    Group,
    Mask,
    Other,
}

#[derive(Clone, Copy, Debug)]
struct PathEntry {
    tag: Tag,
    rights: u32,
    id: u32,
}

/// The entries of an access list in the kernel's format: a version, then a tag, permissions and a number
/// each.
fn entries(list: &[u8]) -> Option<Vec<PathEntry>> {
    let (version, rest) = list.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*version) != 2 {
        return None;
    }
    let entry = |bytes: &[u8; 8]| {
        let [t0, t1, r0, r1, id @ ..] = *bytes;
        let tag = match u16::from_le_bytes([t0, t1]) {
            0x01 => Tag::Owner,
            0x02 => Tag::User,
            0x04 => Tag::OwningGroup,
            0x08 => Tag::Group,
            0x10 => Tag::Mask,
            0x20 => Tag::Other,
            _ => return None,
        };
        Some(PathEntry {
            tag,
            rights: u16::from_le_bytes([r0, r1]).into(),
            id: u32::from_le_bytes(id),
        })
    };
    rest.as_chunks::<8>().0.iter().map(entry).collect()
}

/// The first component of a path that the user cannot pass.
#[derive(Debug)]
pub enum Stop {
    Missing(PathBuf),
    /// A directory that lacks some of these permissions.
    Denied(PathBuf, u32),
    NoDirectory(PathBuf),
    /// A directory that this process cannot inspect.
    Unseen(PathBuf, io::Error),
}

/// Walks down to a directory that needs these permissions; links on the way are followed.
#[must_use]
pub fn stop_on_the_way(path: &Path, who: &Who, rights: u32) -> Option<Stop> {
    let resolved = resolve(path);
    for path in [path, &resolved] {
        let mut components: Vec<&Path> = path.ancestors().collect();
        components.reverse();
        for component in components {
            let wanted = if component == path { rights } else { PASS };
            match fs::metadata(component) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    return Some(Stop::Missing(component.to_owned()));
                }
                Err(error) => return Some(Stop::Unseen(component.to_owned(), error)),
                Ok(found) if !found.is_dir() => return Some(Stop::NoDirectory(component.to_owned())),
                Ok(_) => match who.may(component, wanted) {
                    Ok(true) => {}
                    Ok(false) => return Some(Stop::Denied(component.to_owned(), wanted)),
                    Err(error) => return Some(Stop::Unseen(component.to_owned(), error)),
                },
            }
        }
    }
    None
}

/// A path quoted for a shell.
#[must_use]
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@:".contains(c);
    if text.chars().all(plain) {
        return text;
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(uid: u32, groups: &[u32]) -> Who {
        Who {
            uid,
            name: uid.to_string(),
            groups: groups.iter().copied().collect(),
            reads_all: false,
            is_self: false,
        }
    }

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        for (tag, rights, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(rights.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    }

    #[test]
    fn a_mode_is_that_of_the_first_class_that_fits() {
        for (who, mode, expect) in [
            (who(1, &[]), 0o500, true),
            (who(1, &[]), 0o077, false),
            (who(2, &[9]), 0o750, true),
            (who(2, &[9]), 0o707, false),
            (who(2, &[8]), 0o770, false),
            (who(2, &[8]), 0o005, true),
        ] {
            assert_eq!(
                who.has_mode(mode, (1, 9), READ | PASS),
                expect,
                "{who:?} {mode:o}"
            );
        }
    }

    #[test]
    fn an_access_list_lets_in_whom_it_names_within_its_mask() {
        let entries = |mask| {
            let list = list(&[
                (1, 7, 0),
                (2, 1, 50),
                (4, 0, 0),
                (8, 5, 70),
                (0x10, mask, 0),
                (0x20, 0, 0),
            ]);
            entries(&list).unwrap()
        };
        for (who, mask, rights, expect) in [
            (who(1, &[]), 0, READ | PASS, true),
            (who(50, &[]), 5, PASS, true),
            (who(50, &[]), 5, READ | PASS, false),
            (who(50, &[]), 4, PASS, false),
            (who(60, &[70]), 5, READ | PASS, true),
            (who(60, &[9]), 5, PASS, false),
            (who(60, &[]), 7, PASS, false),
        ] {
            assert_eq!(
                who.is_granted(&entries(mask), (1, 9), rights),
                expect,
                "{who:?} {mask}"
            );
        }
        assert!(super::entries(b"").is_none() && super::entries(b"\x01\0\0\0").is_none());
    }

    #[test]
    fn the_way_stops_at_the_first_that_cannot_be_passed() {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("a/b");
        fs::create_dir_all(&directory).unwrap();
        fs::write(place.path().join("f"), "").unwrap();
        let other = who(4_000_000_000, &[]);
        let open = |mode| {
            for path in [place.path(), &place.path().join("a"), &directory] {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            }
        };
        open(0o755);
        assert!(stop_on_the_way(&directory, &other, READ | PASS).is_none());
        assert!(matches!(
            stop_on_the_way(&directory, &other, WRITE | PASS),
            Some(Stop::Denied(path, 3)) if path == directory
        ));
        open(0o700);
        assert!(matches!(
            stop_on_the_way(&directory, &other, READ | PASS),
            Some(Stop::Denied(path, PASS)) if path == place.path()
        ));
        open(0o755);
        let stop = |path: &str| stop_on_the_way(&place.path().join(path), &other, PASS);
        assert!(matches!(stop("a/c/d"), Some(Stop::Missing(path)) if path.ends_with("a/c")));
        assert!(matches!(stop("f/d"), Some(Stop::NoDirectory(path)) if path.ends_with("f")));
        assert_eq!(quoted(Path::new("/a b/'c")), "'/a b/'\\''c'");
    }

    #[test]
    fn this_process_is_somebody() {
        let this = Who::of_process(std::process::id()).unwrap();
        assert_eq!(this.uid, Who::this().uid);
        assert!(this.may(Path::new("/"), PASS).unwrap());
    }
}
