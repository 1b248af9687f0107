//! `verify`: counts the transcripts again and compares with the database.

use std::io::{self, Write};
use std::path::Path;

use super::args::{self, Global};
use super::exit::{Exit, Failure};
use super::print::numbers::counted;
use super::print::output;
use super::settings::{SERVICE_STATE, choose_socket, is_there, settings};
use crate::clock::Clock;
use crate::config::Settings;
use crate::logfile::LogFileError;
use crate::store::{self, StoreError, StoreOptions};
use crate::verify::{VerifyError, VerifyReport};

/// Counts the transcripts again, compares with the database, and repairs it with `--repair`.
///
/// # Errors
/// The database or the transcripts cannot be read, or the database cannot be written.
pub fn verify(global: &Global, command: args::Verify) -> Result<Exit, Failure> {
    let mut settings = settings(global)?;
    choose_socket(&mut settings);
    let clock = Clock::SYSTEM;
    let options = StoreOptions {
        path: Some(settings.db.clone()),
        cache_bytes: settings.store.cache_bytes,
        clock,
    };
    let refused = |error| refusal(&settings, error);
    let report = if command.repair {
        let (_, mut writer) = store::open_existing(options).map_err(refused)?;
        crate::verify::repair(&mut writer, &settings, clock)?
    } else {
        let reader = store::open_read_only(options).map_err(refused)?;
        crate::verify::verify(&reader, &settings, clock)?
    };
    output::document(global.json, &report, |out| print(out, &report))?;
    let left = report
        .repair
        .as_ref()
        .map_or(report.differences_total, |repair| repair.left);
    Ok(match left {
        0 if report.unread.is_empty() => Exit::Ok,
        0 => Exit::Io,
        _ => Exit::No,
    })
}

/// Why the database is not opened for a recount.
fn refusal(settings: &Settings, error: StoreError) -> Failure {
    let service_db = Path::new(SERVICE_STATE).join("tokentail.redb");
    match error {
        StoreError::InUse(path) => Failure::new(
            Exit::Unavailable,
            format!(
                "the database {} is in use by a collector, and a recount needs it for itself: stop the collector first; \
                 after its next start it reads what came meanwhile",
                path.display()
            ),
        ),
        error if !is_there(&settings.db) && is_there(&service_db) => {
            let mut failure = Failure::from(error);
            let of_service = format!(
                "; the service has {}: run this as root for that one",
                service_db.display()
            );
            failure.message.push_str(&of_service);
            failure
        }
        error => error.into(),
    }
}

fn print(out: &mut dyn Write, report: &VerifyReport) -> io::Result<()> {
    for difference in &report.differences {
        writeln!(out, "{difference}")?;
    }
    for note in &report.notes {
        writeln!(out, "note: {note}")?;
    }
    for unread in &report.unread {
        writeln!(out, "not compared: {unread}")?;
    }
    let responses = counted(report.responses, "response");
    match report.differences_total {
        0 => writeln!(out, "{responses} recounted from the logs: no difference")?,
        count => writeln!(
            out,
            "{responses} recounted from the logs: {}",
            counted(count, "difference")
        )?,
    }
    let Some(repair) = &report.repair else {
        return Ok(());
    };
    let done = &repair.repaired;
    writeln!(
        out,
        "repaired: {}, {}, {}, {}; {} left",
        counted(done.responses, "response"),
        counted(done.positions, "read position"),
        counted(done.runs, "run count"),
        counted(done.sums, "sum"),
        counted(repair.left, "difference")
    )?;
    writeln!(out, "the database as it was: {}", repair.backup.display())
}

impl From<VerifyError> for Failure {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Store(error) => error.into(),
            VerifyError::LogFile(LogFileError::Io { ref source, .. }) => {
                Self::new(Exit::of_io(source.kind()), error.to_string())
            }
            VerifyError::LogFile(_) => Self::new(
                Exit::NoInput,
                format!("{error}; name the directory with the runs with --runs-dir, or as runs_dir"),
            ),
        }
    }
}
