//! Comparison of the store with a recount.

use super::pruned::PrunedRecount;
use super::{Findings, names};
use crate::dedup::Response;
use crate::model::{Dating, Kind, Rank, ResponseKey, RunId, RunNumber, is_clock_wrong};
use crate::store::audit::{ResponseFix, RunFix};
use crate::store::{Recorded, Snapshot, StoreError, SummaryFigures};

/// Compares each stored response with the one read from the logs.
pub(super) fn responses(
    kept: &Snapshot<'_>,
    recount: &Snapshot<'_>,
    pruned: &mut PrunedRecount,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let (names, recount_names) = (names(kept)?, names(recount)?);
    let numbers = kept.run_numbers()?;
    let name = |number: RunNumber| names.get(&number).map_or("(no run)", String::as_str);
    let recount_name = |number: RunNumber| recount_names.get(&number).map_or("(no run)", String::as_str);
    // The logs of a forgotten run are no longer read, whether they exist or not.
    let some_gone = findings.gone > 0;
    let is_gone = |stored: &Response| some_gone || !names.contains_key(&stored.run);
    let ours = |counted: Response| Response {
        run: recount_names
            .get(&counted.run)
            .and_then(|id| numbers.get(id))
            .copied()
            .unwrap_or(counted.run),
        ..counted
    };
    let (mut not_recounted, mut of_another_run, mut of_records) = (0u64, 0u64, 0u64);
    let (report, fixes) = (&mut findings.report, &mut findings.fixes);
    kept.merge_join(recount, |key, stored, counted| {
        let counted = counted.and_then(Recorded::response);
        report.responses += u64::from(counted.as_ref().is_some_and(|it| it.kind != Kind::Duplicate));
        // In no log, unless a transcript has the same response.
        let is_posted = |stored: &Response| stored.dating >= Dating::Posted;
        match pruned.sift(stored, counted) {
            (Some(stored), None) if is_posted(&stored) => of_records += 1,
            (Some(stored), Some(counted)) if !same(&stored, &counted) => {
                // Content that is gone may have contained a better or an earlier copy, never a worse one.
                if is_gone(&stored)
                    && (stored.usage.output >= counted.usage.output || stored.time < counted.time)
                {
                    not_recounted += 1;
                    return;
                }
                report.differs(format!(
                    "response {:032x} of run {}: the store has {}, the logs give {}",
                    key.0,
                    name(stored.run),
                    sentence(&stored),
                    sentence(&counted)
                ));
                // The logs do not show which of two runs was first.
                let run = if names.contains_key(&stored.run) {
                    stored.run
                } else {
                    ours(counted.clone()).run
                };
                let response = Response { run, ..counted };
                if pruned.is_correctable(&response) {
                    fixes.responses.push(fix(key, Some(response)));
                }
            }
            (Some(stored), None) if is_gone(&stored) => not_recounted += 1,
            (Some(stored), None) => {
                report.differs(format!(
                    "response {:032x} of run {}: the store has {}, the logs do not have it",
                    key.0,
                    name(stored.run),
                    sentence(&stored)
                ));
                fixes.responses.push(fix(key, None));
            }
            (None, Some(counted)) => {
                report.differs(format!(
                    "response {:032x} of run {}: the logs give {}, the store does not have it",
                    key.0,
                    recount_name(counted.run),
                    sentence(&counted)
                ));
                if pruned.is_correctable(&counted) {
                    fixes.responses.push(fix(key, Some(ours(counted))));
                }
            }
            (Some(stored), Some(counted)) => {
                let is_known = names.contains_key(&stored.run);
                of_another_run += u64::from(is_known && stored.run != ours(counted).run);
            }
            (None, None) => {}
        }
    })?;
    for fix in &mut findings.fixes.responses {
        fix.origin = recount.origin(fix.key)?;
    }
    let report = &mut findings.report;
    if not_recounted > 0 {
        report.notes.push(format!(
            "{not_recounted} responses in the store come from content that is gone, or from forgotten runs"
        ));
    }
    if of_records > 0 {
        report.notes.push(format!(
            "{of_records} posted records are in no log, and cannot be recounted"
        ));
    }
    if of_another_run > 0 {
        report.notes.push(format!(
            "{of_another_run} responses have lines of the same time in several runs: they belong to the run that was read \
             first, and a recount or a replay may read another first; sums of all runs are the same"
        ));
    }
    Ok(())
}

/// The correction of a response; its origin is read afterwards.
fn fix(key: ResponseKey, response: Option<Response>) -> ResponseFix {
    ResponseFix {
        key,
        response,
        origin: None,
    }
}

/// True if all counted fields are equal. A record's figures are kept only where the lines have none. Times of reading cannot be repeated; ties between runs depend on the
/// order of reading.
fn same(stored: &Response, counted: &Response) -> bool {
    // A response dated by a wrong clock must be dated by its line.
    let is_misdated = is_clock_wrong(stored.time) && counted.dating.is_own();
    let is_dated = stored.dating.is_own() || is_misdated;
    let is_posted = stored.rank == Rank::Posted && stored.dating < Dating::Posted && counted.usage.is_empty();
    if is_posted {
        return (stored.dating, stored.time) == (counted.dating, counted.time) || !is_dated;
    }
    stored.usage == counted.usage
        && stored.service == counted.service
        && stored.model == counted.model
        && stored.kind == counted.kind
        && stored.is_final == counted.is_final
        && (!is_dated || (stored.dating, stored.time) == (counted.dating, counted.time))
}

fn sentence(response: &Response) -> String {
    let usage = &response.usage;
    format!(
        "{} in {} out {} cache read {} cache write of {} at {}",
        usage.input,
        usage.output,
        usage.cache_read,
        usage.cache_creation,
        response.model,
        crate::api::document::time(response.time)
    )
}

/// Compares the lines, files and bytes of each run whose files all still exist: each line was counted once
/// then.
pub(super) fn lines(kept: &SummaryFigures, counted: &SummaryFigures, findings: &mut Findings) {
    for (id, kept) in &kept.runs {
        let Ok(run) = RunId::new(id) else { continue };
        if findings.gone_runs.contains(&run) {
            // Only the positions themselves.
            if let Some(read) = findings.uneven.get(&run).filter(|read| **read != kept.bytes) {
                findings.report.differs(format!(
                    "run {id}: the store keeps {} bytes, its positions add up to {read}",
                    kept.bytes
                ));
                findings.fixes.runs.push(RunFix {
                    run,
                    lines: None,
                    files: None,
                    bytes: Some(*read),
                });
            }
            continue;
        }
        let again = counted.runs.get(id).copied().unwrap_or_default();
        let before = findings.report.differences_total;
        for (what, kept, counted) in [
            ("lines read", kept.lines.read, again.lines.read),
            ("lines with usage", kept.lines.usage, again.lines.usage),
            ("lines ignored", kept.lines.ignored, again.lines.ignored),
            ("malformed lines", kept.lines.malformed, again.lines.malformed),
            ("oversized lines", kept.lines.oversized, again.lines.oversized),
            ("files", kept.files, again.files),
            ("bytes", kept.bytes, again.bytes),
        ] {
            if kept != counted {
                findings.report.differs(format!(
                    "run {id}: the store keeps {kept} {what}, the logs give {counted}"
                ));
            }
        }
        if findings.report.differences_total > before {
            findings.fixes.runs.push(RunFix {
                run,
                lines: Some(again.lines),
                files: Some(again.files),
                bytes: Some(again.bytes),
            });
        }
    }
}
