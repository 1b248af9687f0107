//! `compact`: gives the free space in the database file back to the system.

use std::path::Path;

use super::args::Global;
use super::exit::{Exit, Failure};
use super::print::numbers::bytes;
use super::print::output;
use super::settings::{choose_socket, settings};
use crate::clock::Clock;
use crate::config::Settings;
use crate::store::{self, StoreError, StoreOptions, Writer};

/// Compacts the database of a stopped collector.
///
/// # Errors
/// A collector uses it, or it cannot be read or written.
pub fn compact(global: &Global) -> Result<Exit, Failure> {
    let mut settings = settings(global)?;
    choose_socket(&mut settings);
    let mut writer = open(&settings, "a compaction")?;
    let before = writer.file_bytes().unwrap_or(0);
    writer.compact()?;
    writer.close();
    let after = writer.file_bytes().unwrap_or(0);
    let document = serde_json::json!({
        "file": settings.db,
        "bytes_before": before,
        "bytes_after": after,
    });
    output::document(global.json, &document, |out| {
        writeln!(
            out,
            "{}: {} before, {} now",
            settings.db.display(),
            bytes(before),
            bytes(after)
        )
    })?;
    Ok(Exit::Ok)
}

/// The database of a stopped collector; `work` names what needs it in a refusal.
///
/// # Errors
/// A collector uses it, or it cannot be read or written.
pub fn open(settings: &Settings, work: &str) -> Result<Writer, Failure> {
    let options = StoreOptions {
        path: Some(settings.db.clone()),
        cache_bytes: settings.store.cache_bytes,
        clock: Clock::SYSTEM,
    };
    match store::open_existing(options) {
        Ok((_, writer)) => Ok(writer),
        Err(StoreError::InUse(path)) => Err(in_use(&path, work)),
        Err(error) => Err(error.into()),
    }
}

fn in_use(path: &Path, work: &str) -> Failure {
    Failure::new(
        Exit::Unavailable,
        format!(
            "the database {} is in use by a collector, and {work} needs it for itself: stop the collector first; after its \
             next start it reads what came meanwhile",
            path.display()
        ),
    )
}
