//! A mount of another directory that can be made to hang, like a network filesystem without its server.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner, OpenFlags,
    ReplyAttr, ReplyData, ReplyDirectory, ReplyEntry, Request,
};

use crate::machine::skipped;

/// The kernel caches nothing: each lookup comes here.
const KEPT_FOR: Duration = Duration::ZERO;

/// Set for the server process of this test program: the directory to show.
const SHOWS: &str = "TOKENTAIL_TEST_MOUNT_SHOWS";
/// The mount point.
const SHOWS_AT: &str = "TOKENTAIL_TEST_MOUNT_AT";
/// A file whose length changes the inode numbers of all others, as on filesystems that number a file at each
/// lookup.
pub const NUMBERING: &str = ".numbering";
/// Added to them for each byte.
const NUMBERING_STEP: u64 = 1 << 40;
/// If this file exists each look at a file takes [`LATENCY`], for several at the same time.
pub const SLOW: &str = ".slow";
const LATENCY: Duration = Duration::from_millis(150);
/// Requests that are answered at the same time.
const THREADS: usize = 8;
/// A file that always exists.
const PROBE: &str = ".probe";

/// The mount. It answers again when this is dropped, so that nothing hangs in it for ever.
pub struct Mount {
    at: PathBuf,
    /// A process of its own: while it is stopped, requests wait in the kernel, where a signal ends them.
    server: Child,
}

impl Mount {
    /// Mounts `source` at `at`; `None`, and a line with the reason, on a machine that does not allow it.
    pub fn or_skip(source: &Path, at: &Path) -> Option<Self> {
        fs::write(source.join(PROBE), "").unwrap();
        // This file is a module of more than one test program.
        let (_, module) = module_path!().split_once("::").unwrap();
        let server = format!("{module}::shows_a_directory_on_request");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &server, "--nocapture"]);
        command.env(SHOWS, source).env(SHOWS_AT, at);
        let server = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut mount = Self {
            at: at.to_owned(),
            server,
        };
        // A close that the server refuses as unknown is never sent again, as on a network filesystem.
        while fs::File::open(at.join(PROBE)).is_err() {
            if mount.server.try_wait().unwrap().is_some() {
                let mut why = String::new();
                mount
                    .server
                    .stderr
                    .take()
                    .unwrap()
                    .read_to_string(&mut why)
                    .unwrap();
                skipped(&format!("no FUSE mount: {}", why.trim()));
                return None;
            }
            std::thread::yield_now();
        }
        Some(mount)
    }

    pub fn hang(&self) {
        self.signal("STOP");
    }

    pub fn answer(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let server = self.server.id().to_string();
        let status = Command::new("kill").args(["-s", name, &server]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.server.try_wait().unwrap().is_none() {
            self.answer();
            let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
    }
}

/// A mount whose server never answers anything.
pub struct DeadMount {
    at: PathBuf,
    /// `None` only while it is dropped: without it the kernel fails the calls that wait.
    device: Option<fs::File>,
}

impl DeadMount {
    /// Mounts at `at`; `None`, and a line with the reason, on a machine that does not allow it.
    pub fn or_skip(at: &Path) -> Option<Self> {
        let device = fs::File::options().read(true).write(true).open("/dev/fuse");
        let Ok(device) = device else {
            skipped("no FUSE mount: /dev/fuse cannot be opened");
            return None;
        };
        let mut mount = Command::new("mount");
        mount.args(["-i", "-t", "fuse", "-o"]);
        mount.arg("fd=0,rootmode=40000,user_id=0,group_id=0,allow_other");
        mount.arg("dead").arg(at).stdin(device.try_clone().unwrap());
        let done = mount.output().unwrap();
        if !done.status.success() {
            let why = String::from_utf8_lossy(&done.stderr);
            skipped(&format!("no FUSE mount: {}", why.trim()));
            return None;
        }
        Some(Self {
            at: at.to_owned(),
            device: Some(device),
        })
    }
}

impl Drop for DeadMount {
    fn drop(&mut self) {
        self.device = None;
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

/// No test by itself: the server, in a process that is started for it.
#[test]
fn shows_a_directory_on_request() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a process of the tests, not the program"
    )]
    let (Some(source), Some(at)) = (std::env::var_os(SHOWS), std::env::var_os(SHOWS_AT)) else {
        return;
    };
    let server = Server {
        paths: Mutex::new(HashMap::from([(INodeNo::ROOT.0, PathBuf::from(&source))])),
    };
    let mut config = Config::default();
    if Path::new(&source).join(SLOW).exists() {
        // Others have one: a request that a second one takes while the process is being stopped cannot be ended
        // by a signal.
        config.n_threads = Some(THREADS);
    }
    if let Err(error) = fuser::mount(server, at, &config) {
        writeln!(std::io::stderr(), "{error}").unwrap();
        #[expect(
            clippy::disallowed_methods,
            reason = "what the test harness prints is not the reason"
        )]
        std::process::exit(1);
    }
}

struct Server {
    /// Paths by inode number, which is the source's, or derived from it.
    paths: Mutex<HashMap<u64, PathBuf>>,
}

impl Server {
    fn path(&self, inode: INodeNo) -> Option<PathBuf> {
        self.paths.lock().unwrap().get(&inode.0).cloned()
    }

    fn attributes(&self, path: &Path) -> Option<FileAttr> {
        if self.path(INodeNo::ROOT)?.join(SLOW).exists() {
            // The distance to a server: nothing is ever sent.
            let (_answers, answer) = sync_channel::<()>(1);
            let _ = answer.recv_timeout(LATENCY);
        }
        let found = fs::symlink_metadata(path).ok()?;
        let root = self.path(INodeNo::ROOT)?;
        let number = if root == path {
            INodeNo::ROOT.0
        } else if found.is_file() {
            let numbering = fs::metadata(root.join(NUMBERING)).map_or(0, |file| file.len());
            found.ino() + numbering * NUMBERING_STEP
        } else {
            found.ino()
        };
        self.paths.lock().unwrap().insert(number, path.to_owned());
        let at = |seconds: i64, nanoseconds: i64| {
            UNIX_EPOCH + Duration::new(seconds.unsigned_abs(), u32::try_from(nanoseconds).unwrap())
        };
        Some(FileAttr {
            ino: INodeNo(number),
            size: found.len(),
            blocks: found.blocks(),
            atime: at(found.atime(), found.atime_nsec()),
            mtime: at(found.mtime(), found.mtime_nsec()),
            ctime: at(found.ctime(), found.ctime_nsec()),
            crtime: UNIX_EPOCH,
            kind: kind(found.file_type()),
            perm: u16::try_from(found.mode() & 0o7777).unwrap(),
            nlink: 1,
            uid: found.uid(),
            gid: found.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

fn kind(found: fs::FileType) -> FileType {
    if found.is_dir() {
        FileType::Directory
    } else if found.is_symlink() {
        FileType::Symlink
    } else {
        FileType::RegularFile
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        match self
            .path(parent)
            .and_then(|parent| self.attributes(&parent.join(name)))
        {
            Some(attributes) => reply.entry(&KEPT_FOR, &attributes, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, inode: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.path(inode).and_then(|path| self.attributes(&path)) {
            Some(attributes) => reply.attr(&KEPT_FOR, &attributes),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn readdir(&self, _: &Request, inode: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let entries = self.path(inode).and_then(|path| fs::read_dir(path).ok());
        let mut entries: Vec<_> = entries.into_iter().flatten().flatten().collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        let left = entries.iter().zip(1..).skip(usize::try_from(offset).unwrap());
        for (entry, next) in left {
            let Ok(found) = entry.metadata() else { continue };
            if reply.add(
                INodeNo(found.ino()),
                next,
                kind(found.file_type()),
                entry.file_name(),
            ) {
                break;
            }
        }
        reply.ok();
    }

    fn read(
        &self,
        _: &Request,
        inode: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        let file = self.path(inode).and_then(|path| fs::File::open(path).ok());
        match file.and_then(|file| file.read_at(&mut bytes, offset).ok()) {
            Some(length) => reply.data(&bytes[..length]),
            None => reply.error(Errno::EIO),
        }
    }
}
