//! The files of one run: opened safely, identified, read at an offset.
//!
//! Everything below a run's directory is written by code that is not trusted. Every open goes beneath that
//! directory ([`Opening`]: no symbolic links, no magic links, no way up), never blocks, and returns only
//! regular files.

mod links;
pub mod mounts;
mod opening;
pub mod pool;
pub mod run_dir;
pub mod shape;
pub mod touched;
pub mod unread;
pub mod walk;

use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, SeekFrom, StatxFlags};
use rustix::io::Errno;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use links::MountPoints;
pub use opening::Opening;

use crate::model::{Cursor, Inode, Millis, TAIL_BYTES_MAX};

/// Nanoseconds in a second.
const SECOND_NS: i64 = 1_000_000_000;
const MILLISECOND_NS: i64 = 1_000_000;
/// Buffer for the entries of a directory that the kernel returns at once, in bytes; an entry has at most 280.
const ENTRIES_BYTES: usize = 16 * 1024;

/// The reason why a path below a run's directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// It does not exist, or no longer.
    #[error("{0} is not there")]
    Gone(PathBuf),
    /// A link, a FIFO, a socket, a device, or a way out of the run's directory.
    #[error("{0} is no regular file inside the run's directory; it is left alone")]
    Refused(PathBuf),
    #[error("cannot read {path}: {source}{}", remedy(.source))]
    Io { path: PathBuf, source: io::Error },
}

/// The advice for a path that cannot be read, after a semicolon, where there is one.
#[must_use]
pub fn remedy(error: &io::Error) -> String {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT) => "; check the path".to_owned(),
        Some(Errno::ACCESS) => format!(
            "; let user id {} read it (r on files, rx on directories, x on those above), or run as a user who may",
            rustix::process::geteuid().as_raw()
        ),
        Some(Errno::PERM | Errno::NOSYS) => {
            "; probably a filter of system calls (seccomp) refuses it: allow \
             newfstatat, openat, getdents64 and pread64"
                .to_owned()
        }
        _ => String::new(),
    }
}

/// The metadata of a path, read without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    pub kind: EntryKind,
    pub device: u64,
    pub inode: Inode,
    pub size: u64,
    /// Last change of content or attributes, in nanoseconds since 1970.
    pub changed_ns: i64,
    /// Last change of content, or the time that a program set, in milliseconds since 1970.
    pub modified_ms: Millis,
}

/// The kind of a directory entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    File,
    Directory,
    /// Symbolic links are not followed; this kind and those below are never opened.
    Link,
    Fifo,
    Socket,
    Device,
    /// Its metadata could not be read.
    Unknown,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: PathBuf,
    pub kind: EntryKind,
}

/// The directory of one run. All access to its files begins here, and none leads outside.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
    opening: Opening,
    /// Read at the first link.
    mount_points: OnceLock<MountPoints>,
}

impl Root {
    /// Opens a run's directory. The operator chose its path, which may have links; its last component may not
    /// be one.
    ///
    /// # Errors
    /// When it is gone, is a link or no directory, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, LogFileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self::of(path, rustix::fs::open(path, flags, Mode::empty()))
    }

    /// Opens a directory by a path without links; none is followed.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open_resolved(path: &Path) -> Result<Self, LogFileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::of(path, Opening::available().resolved(path, flags))
    }

    /// Opens a directory that is named on a command line: the operator made the links on the way.
    ///
    /// # Errors
    /// As [`Root::open`].
    pub fn open_given(path: &Path) -> Result<Self, LogFileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::of(path, rustix::fs::open(path, flags, Mode::empty()))
    }

    fn of(path: &Path, opened: rustix::io::Result<OwnedFd>) -> Result<Self, LogFileError> {
        Ok(Self {
            directory: opened.map_err(|error| failure(path, error))?,
            path: path.to_owned(),
            opening: Opening::available(),
            mount_points: OnceLock::new(),
        })
    }

    /// The metadata of a path; links are not followed.
    ///
    /// # Errors
    /// When the path does not exist, or its metadata may not be read.
    pub fn stat(&self, relative: &Path) -> Result<Stat, LogFileError> {
        let path = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        stat(&self.directory, path, flags).map_err(|error| failure(&self.path.join(relative), error))
    }

    /// The entries of a directory below, unsorted, without `.` and `..`. An empty path is the root itself.
    ///
    /// # Errors
    /// When the directory is gone, is reached over a link, or cannot be read.
    pub fn list(&self, relative: &Path) -> Result<Vec<Entry>, LogFileError> {
        Ok(self.list_marked(relative)?.0)
    }

    /// As [`Root::list`], with the mark of the entries, as [`Root::mark`] returns it.
    ///
    /// # Errors
    /// As [`Root::list`].
    pub fn list_marked(&self, relative: &Path) -> Result<(Vec<Entry>, u64), LogFileError> {
        let mut entries = Vec::new();
        let mark = self.each_entry(relative, |directory, name, kind| {
            let kind = match kind {
                FileType::Unknown => kind_of(directory, name),
                known => entry_kind(known),
            };
            entries.push(Entry {
                path: relative.join(OsStr::from_bytes(name.to_bytes())),
                kind,
            });
        })?;
        Ok((entries, mark))
    }

    /// The mark of a directory: a hash of the names, inode numbers and kinds of its entries, in the order of
    /// the kernel.
    ///
    /// # Errors
    /// As [`Root::list`].
    pub fn mark(&self, relative: &Path) -> Result<u64, LogFileError> {
        self.each_entry(relative, |_, _, _| {})
    }

    fn each_entry(
        &self,
        relative: &Path,
        mut each: impl FnMut(&OwnedFd, &CStr, FileType),
    ) -> Result<u64, LogFileError> {
        let at = if relative.as_os_str().is_empty() {
            Path::new(".")
        } else {
            relative
        };
        let full = || self.path.join(relative);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let directory = self.beneath(at, flags).map_err(|error| failure(&full(), error))?;
        let mut room = [const { MaybeUninit::uninit() }; ENTRIES_BYTES];
        let mut entries = RawDir::new(&directory, &mut room);
        let mut mark = Xxh3::new();
        while let Some(entry) = entries.next() {
            pool::call_returned();
            let entry = entry.map_err(|error| failure(&full(), error))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            mark.update(name.to_bytes_with_nul());
            mark.update(&entry.ino().to_le_bytes());
            mark.update(&[u8::from(entry.file_type().is_dir())]);
            each(&directory, name, entry.file_type());
        }
        Ok(mark.digest())
    }

    /// Opens a regular file below.
    ///
    /// # Errors
    /// When it is gone, is not a regular file inside the run's directory, or cannot be read.
    pub fn open_file(&self, relative: &Path) -> Result<LogFile, LogFileError> {
        let full = || self.path.join(relative);
        // Its kind is checked first: to open a device may have effects even if nothing is read.
        if self.stat(relative)?.kind != EntryKind::File {
            return Err(LogFileError::Refused(full()));
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = File::from(
            self.beneath(relative, flags)
                .map_err(|error| failure(&full(), error))?,
        );
        let file = LogFile { file };
        let stat = file
            .stat()
            .map_err(|source| LogFileError::Io { path: full(), source })?;
        if stat.kind != EntryKind::File {
            return Err(LogFileError::Refused(full()));
        }
        Ok(file)
    }

    fn beneath(&self, relative: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.opening.beneath(&self.directory, relative, flags)
    }
}

/// An open log file.
#[derive(Debug)]
pub struct LogFile {
    file: File,
}

impl LogFile {
    /// The metadata of the open file.
    ///
    /// # Errors
    /// Those of `statx`.
    pub fn stat(&self) -> io::Result<Stat> {
        Ok(stat(&self.file, Path::new(""), AtFlags::EMPTY_PATH)?)
    }

    /// Reads into `buffer` from `offset` until it is full or the file ends; returns the number of bytes.
    ///
    /// # Errors
    /// Those of `pread`.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            let read = self.file.read_at(&mut buffer[filled..], offset + filled as u64);
            pool::call_returned();
            match read {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// The offset of the next stored data, at `offset` or after it; the end of the file if there are none,
    /// and `offset` where the filesystem does not report that.
    #[must_use]
    pub fn next_data(&self, offset: u64) -> u64 {
        // Reads pass their offset, so the position of the file does not matter.
        let seek = |to| rustix::fs::seek(&self.file, to);
        let found = match seek(SeekFrom::Data(offset)) {
            Err(Errno::NXIO) => seek(SeekFrom::End(0)),
            found => found,
        };
        pool::call_returned();
        found.map_or(offset, |found| found.max(offset))
    }

    /// If this is still the content of the cursor (same file, not shorter, same bytes before its end), the
    /// bytes before the place where reading continues.
    ///
    /// Where the filesystem keeps no birth times, the inode number of a file may change from call to call;
    /// there only the bytes identify a file.
    ///
    /// # Errors
    /// Those of `pread`.
    pub fn continues(&self, stat: &Stat, cursor: &Cursor) -> io::Result<Option<Tail>> {
        let partial_end = cursor.offset.max(cursor.partial_end);
        let read_to = cursor.skip_to.map_or(partial_end, std::num::NonZeroU64::get);
        let is_other = if stat.inode.born_ns == 0 && cursor.inode.born_ns == 0 {
            stat.inode != cursor.inode && cursor.tail_len == 0
        } else {
            !stat.inode.may_be(cursor.inode)
        };
        if is_other || stat.size < read_to {
            return Ok(None);
        }
        let length = usize::from(cursor.tail_len);
        let tail = self.tail(read_to, length)?;
        if length > 0 && (tail.length != length || tail.hash() != cursor.tail_hash) {
            return Ok(None);
        }
        if cursor.skip_to.is_some() || partial_end == cursor.offset {
            return Ok(Some(tail));
        }
        self.tail(cursor.offset, TAIL_BYTES_MAX).map(Some)
    }

    /// The bytes before an offset, at most this number.
    fn tail(&self, offset: u64, length: usize) -> io::Result<Tail> {
        let mut tail = Tail::default();
        let start = offset.saturating_sub(length.min(TAIL_BYTES_MAX) as u64);
        let wanted = usize::try_from(offset - start).unwrap_or(TAIL_BYTES_MAX);
        tail.length = self.read_at(&mut tail.bytes[..wanted], start)?;
        Ok(tail)
    }
}

/// The last bytes before an offset, at most [`TAIL_BYTES_MAX`] of them.
#[derive(Clone, Debug)]
pub struct Tail {
    bytes: [u8; TAIL_BYTES_MAX],
    length: usize,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            bytes: [0; TAIL_BYTES_MAX],
            length: 0,
        }
    }
}

impl Tail {
    /// Adds bytes that were read.
    pub fn push(&mut self, read: &[u8]) {
        let new = &read[read.len().saturating_sub(TAIL_BYTES_MAX)..];
        let kept = self.length.min(TAIL_BYTES_MAX - new.len());
        self.bytes.copy_within(self.length - kept..self.length, 0);
        self.bytes[kept..kept + new.len()].copy_from_slice(new);
        self.length = kept + new.len();
    }

    /// The number of bytes.
    #[must_use]
    pub fn length(&self) -> u16 {
        u16::try_from(self.length).unwrap_or(u16::MAX)
    }

    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh3_64(&self.bytes[..self.length])
    }
}

/// The metadata of a path; a link at its end is not followed. Nothing is opened: it is compared with an
/// earlier state.
///
/// # Errors
/// As [`Root::stat`].
pub fn stat_path(path: &Path) -> Result<Stat, LogFileError> {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    stat(rustix::fs::CWD, path, flags).map_err(|error| failure(path, error))
}

fn stat<Fd: std::os::fd::AsFd>(directory: Fd, path: &Path, flags: AtFlags) -> rustix::io::Result<Stat> {
    let wanted = StatxFlags::TYPE
        | StatxFlags::INO
        | StatxFlags::SIZE
        | StatxFlags::CTIME
        | StatxFlags::MTIME
        | StatxFlags::BTIME;
    if !has_statx() {
        let found = rustix::fs::statat(directory, path, flags);
        pool::call_returned();
        return Ok(without_birth(&found?));
    }
    let found = rustix::fs::statx(directory, path, flags, wanted);
    pool::call_returned();
    let found = found?;
    let has_birth = StatxFlags::from_bits_truncate(found.stx_mask).contains(StatxFlags::BTIME);
    let nanoseconds = |time: rustix::fs::StatxTimestamp| {
        time.tv_sec
            .saturating_mul(SECOND_NS)
            .saturating_add(i64::from(time.tv_nsec))
    };
    Ok(Stat {
        kind: entry_kind(FileType::from_raw_mode(found.stx_mode.into())),
        device: rustix::fs::makedev(found.stx_dev_major, found.stx_dev_minor),
        inode: Inode {
            number: found.stx_ino,
            born_ns: if has_birth {
                nanoseconds(found.stx_btime)
            } else {
                0
            },
        },
        size: found.stx_size,
        changed_ns: nanoseconds(found.stx_ctime),
        modified_ms: nanoseconds(found.stx_mtime) / MILLISECOND_NS,
    })
}

/// True if this process can use `statx`; tested once. Filters of system calls refuse it, with different
/// errors.
fn has_statx() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| rustix::fs::statx(rustix::fs::CWD, "/", AtFlags::empty(), StatxFlags::INO).is_ok())
}

/// The metadata of the older call, which has no birth time.
fn without_birth(found: &rustix::fs::Stat) -> Stat {
    let nanoseconds = |seconds: i64, nanoseconds: u64| {
        seconds
            .saturating_mul(SECOND_NS)
            .saturating_add_unsigned(nanoseconds)
    };
    Stat {
        kind: entry_kind(FileType::from_raw_mode(found.st_mode)),
        device: found.st_dev,
        inode: Inode {
            number: found.st_ino,
            born_ns: 0,
        },
        size: u64::try_from(found.st_size).unwrap_or(0),
        changed_ns: nanoseconds(found.st_ctime, found.st_ctime_nsec),
        modified_ms: nanoseconds(found.st_mtime, found.st_mtime_nsec) / MILLISECOND_NS,
    }
}

fn kind_of(directory: &OwnedFd, name: &CStr) -> EntryKind {
    let path = Path::new(OsStr::from_bytes(name.to_bytes()));
    stat(directory, path, AtFlags::SYMLINK_NOFOLLOW).map_or(EntryKind::Unknown, |stat| stat.kind)
}

fn entry_kind(kind: FileType) -> EntryKind {
    match kind {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Link,
        FileType::Fifo => EntryKind::Fifo,
        FileType::Socket => EntryKind::Socket,
        FileType::CharacterDevice | FileType::BlockDevice => EntryKind::Device,
        FileType::Unknown => EntryKind::Unknown,
    }
}

fn failure(path: &Path, error: Errno) -> LogFileError {
    let path = path.to_owned();
    match error {
        Errno::NOENT => LogFileError::Gone(path),
        // A component is a link, leads outside, is no directory, or is a socket or a device without a driver.
        Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NXIO | Errno::NODEV => LogFileError::Refused(path),
        error => LogFileError::Io {
            path,
            source: error.into(),
        },
    }
}

#[cfg(test)]
mod tests;
