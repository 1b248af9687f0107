//! The tailers: started, restarted after a failure, scanned in rounds, and removed at their end.

use std::sync::Arc;
use std::time::Instant;

use tokio_util::sync::CancellationToken;

use super::Supervisor;
use super::failures::RESTART_AFTER_MAX;
use super::handle::Request;
use crate::logfile::mounts::mounted_at;
use crate::logfile::pool::STALLED_AFTER;
use crate::model::format::length;
use crate::model::{RunId, StopReason};
use crate::store::StoredRun;
use crate::tailer::dues::Dues;
use crate::tailer::poller::{PASSED_AFTER, Poller};
use crate::tailer::roster::Roster;
use crate::tailer::stall::does_not_answer;
use crate::tailer::tree::Depth;
use crate::tailer::{Ended, Tailer, TailerContext, TailerError, TailerHandle};

/// A run's tailer while it works.
pub(super) struct RunningTailer {
    pub(super) handle: TailerHandle,
    stop: CancellationToken,
    /// The tailer is started again after its end.
    restarts: bool,
    /// Requests that wait for its end.
    waiting: Vec<Request>,
}

/// The rounds in which the tailers are scanned.
#[derive(Default)]
pub(super) struct ScanRounds {
    poller: Poller,
    /// Of all tailers; `None` after one was started or ended.
    roster: Option<Arc<Roster>>,
    dues: Dues,
    /// Tailers started so far.
    started: usize,
}

impl RunningTailer {
    /// Stops the tailer and starts it again.
    pub(super) fn restart(&mut self) {
        self.restarts = true;
        self.stop.cancel();
    }

    /// Stops the tailer, without a restart.
    fn stop(&self) {
        self.stop.cancel();
    }

    /// Stops the tailer and handles a request after its end.
    pub(super) fn stop_before(&mut self, request: Request) {
        self.waiting.push(request);
        self.stop.cancel();
    }
}

impl ScanRounds {
    /// The handle of a new tailer.
    fn new_handle(&mut self) -> TailerHandle {
        self.roster = None;
        self.started = self.started.wrapping_add(1);
        TailerHandle::new(self.dues.entry(self.started))
    }

    /// Starts a round over all tailers.
    fn start(
        &mut self,
        tailers: impl Iterator<Item = TailerHandle>,
        depth: Depth,
        shared: &Arc<TailerContext>,
    ) {
        let roster = (self.roster).get_or_insert_with(|| Arc::new(Roster::new(self.dues.clone(), tailers)));
        self.poller.go(Arc::clone(roster), depth, shared);
    }

    /// Waits until a check of the poller's progress is due; forever if none is.
    pub(super) async fn poller_due(&self) {
        match self.poller.due() {
            Some(due) => tokio::time::sleep_until(due).await,
            None => std::future::pending().await,
        }
    }
}

impl Supervisor {
    /// Starts tailers for runs, `again` after a failure.
    pub(super) async fn start_tailers(&mut self, runs: Vec<RunId>, again: bool) {
        let wanted = runs.clone();
        let known = self
            .read_store(move |snapshot| snapshot.stored_runs(&wanted))
            .await;
        match known {
            Ok(known) => {
                for (run, known) in runs.into_iter().zip(known) {
                    self.start_tailer(run, known, again);
                }
            }
            // One run that cannot be read must not keep the others from starting.
            Err(_) if runs.len() > 1 => {
                for run in runs {
                    Box::pin(self.start_tailers(vec![run], again)).await;
                }
            }
            Err(error) => {
                for run in runs {
                    self.shared.statuses.started(&run, again);
                    self.note_failure(&run, &error);
                }
            }
        }
    }

    fn start_tailer(&mut self, run: RunId, known: StoredRun, again: bool) {
        let handle = self.rounds.new_handle();
        let stop = CancellationToken::new();
        self.shared.statuses.started(&run, again);
        let tailer = Box::new(Tailer::new(
            run.clone(),
            self.places.home(&run),
            known,
            Arc::clone(&self.shared),
            handle.clone(),
            stop.clone(),
        ));
        self.tasks.spawn(tailer.run());
        let running = RunningTailer {
            handle,
            stop,
            restarts: false,
            waiting: Vec::new(),
        };
        self.tailers.insert(run, running);
    }

    /// Removes a tailer that has ended, and handles the requests that waited for that.
    pub(super) async fn tailer_ended(&mut self, run: RunId, result: Result<Ended, TailerError>) {
        let Some(tailer) = self.tailers.remove(&run) else {
            return;
        };
        self.rounds.roster = None;
        self.directory.known_listing = None;
        if !tailer.waiting.is_empty() {
            for request in tailer.waiting {
                self.handle_request(request).await;
            }
            return self.discover();
        }
        match result {
            Ok(Ended::Stopped) if tailer.restarts => self.start_tailers(vec![run], false).await,
            Ok(Ended::Gone) => self.run_vanished(run),
            Ok(Ended::Stopped) | Err(TailerError::Refused(_)) => {}
            Err(error) => self.note_failure(&run, &error),
        }
        self.check_progress().await;
    }

    /// Notes that the directory of a run is gone. Thousands may go at once, so the commit is not waited for
    /// here.
    fn run_vanished(&mut self, run: RunId) {
        self.failures.remove(&run);
        self.shared.statuses.gone(&run);
        self.vanishing.insert(run.clone());
        let committer = self.shared.committer.clone();
        self.vanishings.spawn(async move {
            // Refused only during the shutdown; then it is noted at the next start.
            let _ = committer.stop(run.clone(), StopReason::Vanished).await;
            run
        });
    }

    /// Notes that it is committed that a run vanished.
    pub(super) fn vanish_committed(&mut self, run: &RunId) {
        tracing::info!(%run, "its directory is gone; what was counted stays");
        self.vanishing.remove(run);
        // The directory may have been made again meanwhile: it was left out while the run was in `vanishing`. Of
        // thousands of runs that vanish at once the last one starts the listing.
        if self.vanishing.is_empty() {
            self.discover();
        }
    }

    /// Notes that a tailer failed, or could not be started.
    fn note_failure(&mut self, run: &RunId, error: &impl std::fmt::Display) {
        let reason = error.to_string();
        let retry = self.failures.add(run, reason.clone(), Instant::now());
        let pause = length(retry.pause.as_secs());
        if retry.is_repeated {
            tracing::debug!(%run, "reading this run failed as before; starting it again in {pause}");
        } else {
            tracing::error!(
                %run,
                "reading this run failed: {reason}; starting it again in {pause}, then ever later, at least once in {}",
                length(RESTART_AFTER_MAX.as_secs())
            );
        }
        let problem = format!("reading this run failed: {reason}");
        self.shared.statuses.failed(run, problem);
    }

    /// Starts failed tailers again whose pause is over.
    pub(super) async fn restart_failed(&mut self) {
        let statuses = &self.shared.statuses;
        let has_recovered = |run: &RunId| {
            let status = statuses.get(run);
            status.is_some_and(|status| !status.failing && status.caught_up)
        };
        for run in self.failures.due(Instant::now(), has_recovered) {
            if !self.tailers.contains_key(&run) {
                self.start_tailers(vec![run], true).await;
            }
        }
    }

    /// Restarts every tailer from the start of its files, because the database was replaced.
    pub(super) fn restart_all(&mut self) {
        self.replaced = self.shared.store.replaced();
        self.tailers.values_mut().for_each(RunningTailer::restart);
    }

    /// Starts a round of scans, except of runs whose filesystem is known to hang.
    pub(super) fn start_round(&mut self, depth: Depth) {
        self.check_poller();
        let tailers = self.tailers.values().map(|tailer| tailer.handle.clone());
        self.rounds.start(tailers, depth, &self.shared);
    }

    /// Reports which runs the poller cannot reach, and which it can reach again.
    pub(super) fn check_poller(&mut self) {
        let stalls = self.rounds.poller.look(&self.shared);
        let find = |handle: &TailerHandle| {
            let mut tailers = self.tailers.iter();
            tailers.find(|(_, tailer)| tailer.handle.is(handle))
        };
        let (statuses, suspects) = (&self.shared.statuses, &self.shared.suspects);
        // The poller leaves other runs on these devices to their tailers.
        for (run, _) in stalls.slow.iter().filter_map(find) {
            suspects.note_slow(
                &mounted_at(&self.places.home(run).path).shared_devices,
                PASSED_AFTER,
            );
        }
        for (run, _) in stalls.moved.iter().filter_map(find) {
            suspects.note_answer(&mounted_at(&self.places.home(run).path).shared_devices);
        }
        for (run, _) in stalls.new.iter().filter_map(find) {
            let home = self.places.home(run).path;
            let mounted = mounted_at(&home);
            let is_local = mounted.shared_devices.is_empty();
            let devices = if is_local {
                mounted.devices
            } else {
                mounted.shared_devices
            };
            suspects.note_stalled(&devices, STALLED_AFTER);
            statuses.stalled(run, does_not_answer(&home, mounted.place.as_deref()));
        }
        for (run, tailer) in stalls.over.iter().filter_map(find) {
            suspects.note_answer(&mounted_at(&self.places.home(run).path).devices);
            statuses.answers(run);
            tailer.handle.rescan();
        }
    }

    /// Stops all tailers, each after it has read the files in its hints, and waits for their ends.
    pub(super) async fn stop_tailers(&mut self) {
        self.tailers.values().for_each(RunningTailer::stop);
        while self.tasks.join_next().await.is_some() {}
    }
}
