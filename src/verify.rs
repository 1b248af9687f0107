//! Recount from the logs: reports every difference with the store, and repairs them.
//!
//! Each file is read again up to its stored read position, into a second store in memory; then both are
//! compared. Counts from content that no longer exists cannot be recounted: that is noted, not reported as
//! wrong.

mod compare;
mod pruned;
mod recount;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use crate::clock::Clock;
use crate::config::Settings;
use crate::logfile::run_dir::{RunDir, name_of};
use crate::logfile::{LogFileError, Root};
use crate::model::{RunId, RunNumber};
use crate::store::audit::{Fixes, Repaired};
use crate::store::{self, Reader, Snapshot, StoreError, StoreOptions, Writer};
use pruned::PrunedRecount;

/// Maximum number of differences listed individually.
const DIFFERENCES_TOLD_MAX: usize = 1000;

/// Reason for which a recount is not possible.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("{0}")]
    Store(#[from] StoreError),
    #[error("{0}")]
    LogFile(#[from] LogFileError),
}

/// Result of a recount.
#[derive(Debug, Default, Serialize)]
pub struct VerifyReport {
    /// Responses recounted.
    pub responses: u64,
    pub differences_total: u64,
    /// The first of them, a sentence each.
    pub differences: Vec<String>,
    /// The parts that could not be compared, with the reason.
    pub notes: Vec<String>,
    /// Files that exist and could not be read; their contents are unknown.
    pub unread: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<Repair>,
}

/// Result of a repair.
#[derive(Debug, Serialize)]
pub struct Repair {
    /// A copy of the database before the repair.
    pub backup: PathBuf,
    pub repaired: Repaired,
    /// Differences that are left.
    pub left: u64,
}

impl VerifyReport {
    fn differs(&mut self, sentence: String) {
        self.differences_total += 1;
        if self.differences.len() < DIFFERENCES_TOLD_MAX {
            self.differences.push(sentence);
        }
    }
}

/// A recount in progress: the differences found, and the repair for them.
#[derive(Default)]
struct Findings {
    report: VerifyReport,
    fixes: Fixes,
    /// Files whose content no longer exists.
    gone: u64,
    /// Runs that have some.
    gone_runs: BTreeSet<RunId>,
    /// Runs whose positions do not match the bytes read of them.
    uneven: BTreeMap<RunId, u64>,
}

/// Recounts everything below the runs directory up to the stored read positions.
///
/// # Errors
/// The store cannot be read, or the runs directory does not exist.
pub fn verify(reader: &Reader, settings: &Settings, clock: Clock) -> Result<VerifyReport, VerifyError> {
    find(&reader.snapshot()?, settings, clock).map(|findings| findings.report)
}

/// As [`verify`]; then copies the database to a file beside it, repairs every difference in one transaction,
/// and recounts again. Without a difference nothing is done.
///
/// # Errors
/// As [`verify`], and if the copy or the transaction cannot be written: the database is unchanged then.
pub fn repair(writer: &mut Writer, settings: &Settings, clock: Clock) -> Result<VerifyReport, VerifyError> {
    let findings = find(&writer.reader().snapshot()?, settings, clock)?;
    let mut report = findings.report;
    if report.differences_total == 0 {
        return Ok(report);
    }
    let now = clock.timestamp().as_second();
    let backup = writer.copy_beside(&format!("before-repair-{now}"))?;
    let repaired = writer.repair(&findings.fixes)?;
    let again = find(&writer.reader().snapshot()?, settings, clock)?.report;
    for difference in again.differences {
        report.notes.push(format!("still there: {difference}"));
    }
    report.repair = Some(Repair {
        backup,
        repaired,
        left: again.differences_total,
    });
    Ok(report)
}

fn find(kept: &Snapshot<'_>, settings: &Settings, clock: Clock) -> Result<Findings, VerifyError> {
    let mut findings = Findings::default();
    let memory = StoreOptions {
        path: None,
        cache_bytes: settings.store.cache_bytes,
        clock,
    };
    let now = clock.now();
    let (_, mut recount) = store::open(memory)?;
    let infos = kept.run_infos()?;
    // Without the logs everything would count as gone, and nothing would be compared.
    if infos.values().any(|info| info.mount.is_none()) {
        Root::open_given(&settings.runs_dir)?;
    }
    let figures = kept.summary()?;
    for (id, _) in kept.run_numbers()? {
        let Ok(run) = RunId::new(&id) else {
            let sentence = format!("run {id:?}: the store holds a name that is no run id");
            findings.report.differs(sentence);
            continue;
        };
        let own = infos.get(&run).and_then(|info| info.mount.as_deref());
        let name = name_of(&settings.runs_dir, settings.runs.layout, &run);
        let home = RunDir::of(&settings.runs_dir, &name, own);
        let bytes = figures.runs.get(&id).map_or(0, |sums| sums.bytes);
        recount::run(
            kept,
            &mut recount,
            settings,
            (&run, &home),
            bytes,
            now,
            &mut findings,
        )?;
    }
    if findings.gone > 0 {
        findings.report.notes.push(format!(
            "{} files were removed, replaced or rewritten since they were read; what was counted from them cannot be recounted",
            findings.gone
        ));
    }
    let counted = recount.reader().snapshot()?;
    let mut pruned = PrunedRecount::new(kept.horizons()?);
    compare::responses(kept, &counted, &mut pruned, &mut findings)?;
    pruned.report(&figures, findings.gone > 0, &mut findings.report);
    compare::lines(&figures, &counted.summary()?, &mut findings);
    let report = &mut findings.report;
    kept.compare_sums(|sentence| report.differs(sentence))?;
    Ok(findings)
}

/// The names of a store's runs, by number.
fn names(snapshot: &Snapshot<'_>) -> Result<BTreeMap<RunNumber, String>, StoreError> {
    let numbers = snapshot.run_numbers()?.into_iter();
    Ok(numbers.map(|(id, number)| (number, id)).collect())
}

#[cfg(test)]
mod tests;
