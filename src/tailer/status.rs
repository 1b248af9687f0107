//! The status of each run, as its tailer reports it for the supervisor, health and documents.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::model::{Millis, RunId};
use crate::sync::lock;

/// A run is live for this long after its last news.
const LIVE_FOR: Duration = Duration::from_mins(1);
/// A run is late when a look or a read of its lines takes longer than this, or the wait for its turn.
pub const LATE_AFTER: Duration = Duration::from_secs(10);
const LIVE: &str = "live";
/// Notices in one document; the others are counted.
const NOTICES_MAX: usize = 20;

/// A run whose work takes long, although nothing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Late {
    /// It has lines that are not read; otherwise it is not looked at.
    pub has_lines: bool,
    /// Calls into its filesystem are slow.
    pub is_slow: bool,
}

/// The status of a run.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and any mix of them occurs"
)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunStatus {
    /// Its directories are watched and were listed once.
    pub watched: bool,
    /// Everything that existed at its first look is read.
    pub caught_up: bool,
    /// The time of the last new lines.
    pub last_news: Option<Instant>,
    /// Bytes waiting to be read, as of the last look.
    pub lag: u64,
    pub gone: bool,
    /// It failed and waits to be started again.
    pub failing: bool,
    pub restarts: u32,
    pub problem: Option<String>,
    /// The problem is that some logs cannot be read.
    pub incomplete: bool,
    /// A call into its filesystem does not return, as the problem says. The run is not waited for.
    pub stalled: bool,
    /// Files that are not read, in sentences.
    pub notices: Arc<[String]>,
    /// When a log changed last, as of the last stop.
    pub last_change: Option<Millis>,
    pub late: Option<Late>,
    /// Since when it waits for its turn, if it does, and if it has lines then.
    waits: Option<(Instant, bool)>,
}

impl RunStatus {
    /// The state as a word of the documents.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            status if status.failing || status.stalled => "failing",
            status if status.gone => "gone",
            status if status.last_news.is_some_and(|news| news.elapsed() < LIVE_FOR) => LIVE,
            _ => "idle",
        }
    }
}

/// The statuses of all runs, and the numbers of those that the start waits for.
#[derive(Debug, Default)]
struct BoardRuns {
    /// Boxed, as a node of the map has room for eleven, of which it uses six when runs are added in their order.
    by_id: BTreeMap<RunId, Box<RunStatus>>,
    /// **Invariant**: of `by_id`, those that are neither watched nor settled.
    unwatched: usize,
    /// **Invariant**: of `by_id`, those that are neither caught up nor settled.
    behind: usize,
    /// The number of changes.
    version: u64,
    /// The version of the last digest, the time until which it is valid without changes, and the digest.
    digest: Option<(u64, Option<Instant>, Arc<Digest>)>,
}

/// A summary of all runs.
#[derive(Debug, Default)]
pub struct Digest {
    pub runs: usize,
    /// Runs with news in the last minute.
    pub live: usize,
    /// Runs with a problem.
    pub troubled: Vec<(RunId, String)>,
    /// Late runs without a problem: the first of each kind, and their number.
    pub late: BTreeMap<Late, (RunId, usize)>,
    /// Every run has a problem.
    is_blind: bool,
    /// Bytes waiting to be read.
    pub lag: u64,
    /// The first notices, and the number of the others.
    notices: Vec<String>,
    more_notices: usize,
}

impl RunStatus {
    /// True if the start does not wait for the run.
    fn is_settled(&self) -> bool {
        self.gone || self.failing || self.stalled
    }

    fn is_unwatched(&self) -> bool {
        !self.watched && !self.is_settled()
    }

    /// The reason why it is late. `until` is brought forward to when it will be late if it is still waiting then.
    fn late_at(&self, now: Instant, until: &mut Option<Instant>) -> Option<Late> {
        let (since, has_lines) = match (self.late, self.waits) {
            (None, Some(waits)) => waits,
            (late, _) => return late,
        };
        let due = since + LATE_AFTER;
        if now < due {
            *until = Some(until.map_or(due, |until| until.min(due)));
            return None;
        }
        Some(Late {
            has_lines,
            is_slow: false,
        })
    }

    fn is_behind(&self) -> bool {
        !self.caught_up && !self.is_settled()
    }
}

impl BoardRuns {
    /// Changes a run's status, which is added if it is missing.
    fn change(&mut self, run: &RunId, change: impl FnOnce(&mut RunStatus)) {
        let status = if let Some(status) = self.by_id.get_mut(run) {
            self.unwatched -= usize::from(status.is_unwatched());
            self.behind -= usize::from(status.is_behind());
            status
        } else {
            self.by_id.entry(run.clone()).or_default()
        };
        change(status);
        self.version += 1;
        self.unwatched += usize::from(status.is_unwatched());
        self.behind += usize::from(status.is_behind());
    }

    /// The summary; it is made once per change, as there may be thousands of runs.
    fn digest(&mut self) -> Arc<Digest> {
        let now = Instant::now();
        if let Some((version, until, digest)) = &self.digest
            && *version == self.version
            && until.is_none_or(|until| now < until)
        {
            return Arc::clone(digest);
        }
        let mut until: Option<Instant> = None;
        let mut digest = Digest {
            runs: self.by_id.len(),
            is_blind: true,
            ..Digest::default()
        };
        for (run, status) in &self.by_id {
            if let (LIVE, Some(news)) = (status.word(), status.last_news) {
                digest.live += 1;
                let ends = news + LIVE_FOR;
                until = Some(until.map_or(ends, |until| until.min(ends)));
            }
            digest.lag += status.lag;
            if let Some(problem) = &status.problem {
                digest.troubled.push((run.clone(), problem.clone()));
            } else if let Some(late) = status.late_at(now, &mut until) {
                let (_, count) = digest.late.entry(late).or_insert_with(|| (run.clone(), 0));
                *count += 1;
            }
            if status.gone {
                continue;
            }
            digest.is_blind &= status.problem.is_some();
            for notice in status.notices.iter() {
                if digest.notices.len() < NOTICES_MAX {
                    digest.notices.push(format!("run {run}: {notice}"));
                } else {
                    digest.more_notices += 1;
                }
            }
        }
        let digest = Arc::new(digest);
        self.digest = Some((self.version, until, Arc::clone(&digest)));
        digest
    }
}

/// The statuses of all runs that have, or had, a tailer.
#[derive(Debug, Default)]
pub struct RunStatuses {
    runs: Mutex<BoardRuns>,
    /// The problem of the runs directory.
    runs_directory: Mutex<Option<String>>,
    /// Entries of the runs directory that are not read, in sentences.
    beside_runs: Mutex<Vec<String>>,
    /// The setting with which they would be read.
    advice: Mutex<Option<String>>,
    changed: Notify,
    /// Counters over all runs, including forgotten ones, so that they never decrease.
    restarts: AtomicU64,
    problems: AtomicU64,
}

impl RunStatuses {
    /// A copy of the statuses of all runs; for single requests, not for repeated work.
    #[must_use]
    pub fn runs(&self) -> BTreeMap<RunId, RunStatus> {
        let runs = self.lock();
        let all = runs.by_id.iter();
        all.map(|(run, status)| (run.clone(), RunStatus::clone(status)))
            .collect()
    }

    /// The status of a run that has, or had, a tailer.
    #[must_use]
    pub fn get(&self, run: &RunId) -> Option<RunStatus> {
        self.lock().by_id.get(run).map(|status| RunStatus::clone(status))
    }

    /// The state of each run as a word, as of [`RunStatus::word`].
    #[must_use]
    pub fn words(&self) -> BTreeMap<String, &'static str> {
        let runs = self.lock();
        let all = runs.by_id.iter();
        all.map(|(run, status)| (run.to_string(), status.word()))
            .collect()
    }

    /// The runs with news in the last minute.
    #[must_use]
    pub fn live(&self) -> Vec<RunId> {
        let runs = self.lock();
        let live = runs.by_id.iter().filter(|(_, status)| status.word() == LIVE);
        live.map(|(run, _)| run.clone()).collect()
    }

    /// A summary of all runs.
    #[must_use]
    pub fn digest(&self) -> Arc<Digest> {
        self.lock().digest()
    }

    /// Waits for a change that matters to the supervisor.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// A pair: every run is watched, and every run is caught up.
    #[must_use]
    pub fn progress(&self) -> (bool, bool) {
        let runs = self.lock();
        (runs.unwatched == 0, runs.behind == 0)
    }

    /// The number of runs that are not watched yet.
    #[must_use]
    pub fn unwatched(&self) -> usize {
        self.lock().unwatched
    }

    /// The number of restarts of failed tailers.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }

    /// The number of times a run, or the runs directory, got a problem and had none before.
    #[must_use]
    pub fn problems(&self) -> u64 {
        self.problems.load(Ordering::Relaxed)
    }

    /// Replaces a problem; `true` if there was none before.
    fn note(&self, there: &mut Option<String>, problem: Option<String>) -> bool {
        let is_new = there.is_none() && problem.is_some();
        self.problems.fetch_add(u64::from(is_new), Ordering::Relaxed);
        *there = problem;
        is_new
    }

    /// Sets or removes the problem of the runs directory.
    pub fn runs_directory(&self, problem: Option<String>) {
        let mut there = lock(&self.runs_directory);
        self.note(&mut there, problem);
    }

    /// The problem of the runs directory.
    #[must_use]
    pub fn runs_directory_problem(&self) -> Option<String> {
        lock(&self.runs_directory).clone()
    }

    /// The reason why no run can be read: the problem of the runs directory, or that of the first run if all
    /// have one.
    #[must_use]
    pub fn blindness(&self) -> Option<String> {
        let of_directory = self.runs_directory_problem();
        of_directory.or_else(|| {
            let runs = self.lock().digest();
            if !runs.is_blind {
                return None;
            }
            // A run that is gone may still have a problem.
            let first = (runs.troubled.iter()).find(|(run, _)| self.get(run).is_some_and(|run| !run.gone));
            first.map(|(run, problem)| format!("run {run}: {problem}"))
        })
    }

    /// Sets the sentences about entries of the runs directory that are not read.
    pub fn beside_runs(&self, notices: Vec<String>) {
        *lock(&self.beside_runs) = notices;
    }

    /// Sets the advice with which setting the entries of the runs directory would be read.
    pub fn advise(&self, advice: Option<String>) {
        let mut there = lock(&self.advice);
        let is_new = *there != advice;
        *there = advice;
        if let (true, Some(advice)) = (is_new, &*there) {
            tracing::warn!("{advice}");
        }
    }

    /// Sentences about everything that is not read, in the runs directory and in the runs, and one with the
    /// number of the others.
    #[must_use]
    pub fn notices(&self) -> Vec<String> {
        let beside = lock(&self.beside_runs).clone();
        let advice = lock(&self.advice).clone();
        let runs = self.digest();
        let mut all = advice
            .into_iter()
            .chain(beside)
            .chain(runs.notices.iter().cloned());
        let mut shown: Vec<String> = all.by_ref().take(NOTICES_MAX).collect();
        match all.count() + runs.more_notices {
            0 => {}
            more => shown.push(format!(
                "and {more} more like these; `tokentail runs --json` has those of each run"
            )),
        }
        shown
    }

    /// Sets the sentences about files of a run that are not read.
    pub fn notice(&self, run: &RunId, notices: Arc<[String]>) {
        let mut runs = self.lock();
        if let Some(status) = runs.by_id.get_mut(run) {
            status.notices = notices;
            runs.version += 1;
        }
    }

    /// Reports that a tailer was started, `again` after a failure.
    pub fn started(&self, run: &RunId, again: bool) {
        self.lock().change(run, |status| {
            status.gone = false;
            status.failing = false;
            status.stalled = false;
            status.late = None;
            status.waits = None;
            status.restarts += u32::from(again);
        });
        self.restarts.fetch_add(u64::from(again), Ordering::Relaxed);
    }

    /// Sets the bytes of a run that wait to be read.
    pub fn lags(&self, run: &RunId, bytes: u64) {
        let mut runs = self.lock();
        if let Some(status) = runs.by_id.get_mut(run)
            && status.lag != bytes
        {
            status.lag = bytes;
            runs.version += 1;
        }
    }

    /// Sets when a log of a run that is stopped changed last.
    pub fn swept(&self, run: &RunId, last_change: Option<Millis>) {
        self.change(run, |status| status.last_change = last_change);
    }

    /// Reports that a run is late, or no longer.
    pub fn late(&self, run: &RunId, late: Option<Late>) {
        let mut runs = self.lock();
        if let Some(status) = runs.by_id.get_mut(run) {
            status.late = late;
            runs.version += 1;
        }
    }

    /// Reports that a run waits for its turn, with lines or without, or `None` that it has one.
    pub fn waits(&self, run: &RunId, has_lines: Option<bool>) {
        let mut runs = self.lock();
        if let Some(status) = runs.by_id.get_mut(run) {
            status.waits = has_lines.map(|has_lines| (Instant::now(), has_lines));
            runs.version += 1;
        }
    }

    /// The bytes of all runs that wait to be read.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.digest().lag
    }

    pub fn watched(&self, run: &RunId) {
        self.change(run, |status| status.watched = true);
    }

    /// Reports that a tailer has read everything that it saw.
    pub fn caught_up(&self, run: &RunId) {
        let mut first = false;
        self.lock().change(run, |status| {
            first = !std::mem::replace(&mut status.caught_up, true);
        });
        if first {
            self.changed.notify_one();
        }
    }

    /// Reports the end of a reading: what cannot be read, and that there was something new.
    pub fn has_read(&self, run: &RunId, problem: Option<String>, complete: bool, live: bool) {
        self.lock().change(run, |status| {
            status.incomplete = !complete;
            if self.note(&mut status.problem, problem)
                && let Some(problem) = &status.problem
            {
                tracing::warn!(%run, "{problem}");
            }
            if live {
                status.last_news = Some(Instant::now());
            }
        });
    }

    /// Removes a run.
    pub fn forget(&self, run: &RunId) {
        let mut runs = self.lock();
        // So that the start does not wait for it.
        runs.change(run, |status| status.gone = true);
        runs.by_id.remove(run);
        runs.version += 1;
    }

    pub fn gone(&self, run: &RunId) {
        self.change(run, |status| status.gone = true);
    }

    pub fn failed(&self, run: &RunId, problem: String) {
        self.change(run, |status| {
            status.failing = true;
            status.incomplete = true;
            self.note(&mut status.problem, Some(problem));
        });
    }

    /// Reports that a call into the run's filesystem does not return, or that the run waits for its turn on
    /// it.
    pub fn stalled(&self, run: &RunId, problem: String) {
        tracing::warn!(%run, "{problem}");
        self.change(run, |status| {
            status.stalled = true;
            status.incomplete = true;
            self.note(&mut status.problem, Some(problem));
        });
    }

    /// Reports that the call returned. Other problems are reported when the run is caught up.
    pub fn answers(&self, run: &RunId) {
        self.change(run, |status| {
            if std::mem::take(&mut status.stalled) {
                tracing::info!(%run, "its filesystem answers again");
                status.incomplete = false;
                status.problem = None;
            }
        });
    }

    /// The problem of a run whose filesystem does not respond.
    #[must_use]
    pub fn stall(&self, run: &RunId) -> Option<String> {
        let runs = self.lock();
        let status = runs.by_id.get(run).filter(|status| status.stalled)?;
        status.problem.clone()
    }

    fn change(&self, run: &RunId, change: impl FnOnce(&mut RunStatus)) {
        self.lock().change(run, change);
        self.changed.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BoardRuns> {
        lock(&self.runs)
    }
}

#[cfg(test)]
mod tests;
