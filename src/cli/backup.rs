//! `backup`: the collector's database into a file, while it runs.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::args::{self, Global};
use super::exit::{Exit, Failure, OnPath};
use super::numbers::bytes;
use super::{client, commands, output};

/// Who may read the file: the store is nobody else's.
const MODE: u32 = 0o600;

/// Writes the backup.
///
/// # Errors
/// Nobody answers, the file is there already or cannot be written.
pub fn backup(global: &Global, command: &args::Backup) -> Result<Exit, Failure> {
    let socket = commands::asking(global)?.socket;
    let file = &command.file;
    if file.symlink_metadata().is_ok() {
        let message = format!(
            "{} is there already; name another file, or move it away",
            file.display()
        );
        return Err(Failure::new(Exit::Usage, message));
    }
    let part = part_of(file);
    let written = write(&socket, &part).and_then(|count| {
        std::fs::rename(&part, file).on_path("name", file)?;
        let directory = match file.parent() {
            Some(directory) if !directory.as_os_str().is_empty() => directory,
            _ => Path::new("."),
        };
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .on_path("save", directory)?;
        Ok(count)
    });
    let count = match written {
        Ok(count) => count,
        Err(failure) => {
            // What is there of it is no backup.
            let _ = std::fs::remove_file(&part);
            return Err(failure);
        }
    };
    if global.json {
        output::json(&serde_json::json!({ "file": file, "bytes": count }))?;
    } else {
        output::human(|out| writeln!(out, "{}: {}, as of the last commit", file.display(), bytes(count)))?;
    }
    Ok(Exit::Ok)
}

fn write(socket: &Path, part: &Path) -> Result<u64, Failure> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(MODE);
    let mut to = options.open(part).on_path("write", part)?;
    let (mut count, mut failed) = (0u64, None);
    let received = client::receive(socket, "/v1/backup", |bytes| match to.write_all(bytes) {
        Ok(()) => {
            count += bytes.len() as u64;
            ControlFlow::Continue(())
        }
        Err(error) => {
            failed = Some(error);
            ControlFlow::Break(())
        }
    });
    client::runtime(socket)?.block_on(received)?;
    match failed {
        Some(error) => Err(Failure::on_path("write", part, &error)),
        None => to.sync_all().on_path("save", part).map(|()| count),
    }
}

/// What the file is called until it is whole.
fn part_of(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".part");
    file.with_file_name(name)
}
