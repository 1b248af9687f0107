//! `backup`: writes the collector's database into a file while it runs.

use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use serde::de::IgnoredAny;

use super::args::{self, Global};
use super::exit::{Exit, Failure, OnPath};
use super::print::numbers::bytes;
use super::print::output;
use super::{client, settings};

/// Mode of the file: only the owner may read the store.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR);
/// Longest time for the collector to copy its database before it sends it.
const COPIED_WITHIN: Duration = Duration::from_mins(10);

/// Writes the backup.
///
/// # Errors
/// No collector answers, or the file exists or cannot be written.
pub fn backup(global: &Global, command: &args::Backup) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    let file = &command.file;
    if file.symlink_metadata().is_ok() {
        return Err(is_there(file));
    }
    // A short request first: a stopped or hanging collector is not waited for as long as a copy may take.
    client::get_json_blocking::<IgnoredAny>(&socket, "/version", client::TIMEOUT)?;
    let unfinished = Unfinished::beside(file)?;
    let count = write(&socket, &unfinished, file)?;
    unfinished.name(file)?;
    let directory = directory_of(file);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .on_path("save", directory)?;
    let document = serde_json::json!({ "file": file, "bytes": count });
    output::document(global.json, &document, |out| {
        writeln!(out, "{}: {}, as of the last commit", file.display(), bytes(count))
    })?;
    Ok(Exit::Ok)
}

fn write(socket: &Path, unfinished: &Unfinished, file: &Path) -> Result<u64, Failure> {
    let mut to = &unfinished.file;
    let (mut count, mut failed) = (0u64, None);
    let received = client::receive(
        socket,
        (client::Method::POST, "/v1/backup"),
        COPIED_WITHIN,
        |bytes| match to.write_all(bytes) {
            Ok(()) => {
                count += bytes.len() as u64;
                ControlFlow::Continue(())
            }
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        },
    );
    client::runtime(socket)?.block_on(received)?;
    match failed {
        Some(error) => Err(Failure::on_path("write", file, &error)),
        None => to.sync_all().on_path("save", file).map(|()| count),
    }
}

/// An incomplete backup. The file has no name, so nothing remains if this process ends early. On filesystems
/// without unnamed files it has a unique name and is removed on drop.
struct Unfinished {
    file: File,
    named: Option<PathBuf>,
}

impl Unfinished {
    fn beside(file: &Path) -> Result<Self, Failure> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        match rustix::fs::open(directory_of(file), flags | OFlags::TMPFILE, MODE) {
            Ok(made) => Ok(Self {
                file: made.into(),
                named: None,
            }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let mut name = file.file_name().unwrap_or_default().to_owned();
                name.push(format!(".{}.part", std::process::id()));
                let part = file.with_file_name(name);
                let made = rustix::fs::open(&part, flags | OFlags::CREATE | OFlags::EXCL, MODE);
                Ok(Self {
                    file: made.map_err(std::io::Error::from).on_path("write", &part)?.into(),
                    named: Some(part),
                })
            }
            Err(error) => Err(Failure::on_path("write", file, &error.into())),
        }
    }

    /// Links the file to its name, which must not exist.
    fn name(self, file: &Path) -> Result<(), Failure> {
        let named = match &self.named {
            None => {
                let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, own, CWD, file, AtFlags::SYMLINK_FOLLOW)
            }
            Some(part) => rustix::fs::renameat_with(CWD, part, CWD, file, RenameFlags::NOREPLACE),
        };
        match named {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => Err(is_there(file)),
            Err(error) => Err(Failure::on_path("name", file, &error.into())),
        }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(part) = &self.named {
            let _ = std::fs::remove_file(part);
        }
    }
}

fn is_there(file: &Path) -> Failure {
    let message = format!(
        "{} is there already; name another file, or move it away",
        file.display()
    );
    Failure::new(Exit::Usage, message)
}

fn directory_of(file: &Path) -> &Path {
    match file.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}
