//! Requests to stop and forget runs.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::Supervisor;
use super::handle::{ForgetAnswer, Request, StopAnswer, StopRequest};
use super::runs_directory::AfterListing;
use super::starts::WantedPlace;
use crate::model::{RunId, StopReason};
use crate::store::ForgetRun;
use crate::tailer::status::RunStatuses;

/// Interval at which the wait for a last sweep checks that the filesystem of the run responds.
const STALL_LOOKED_FOR_EVERY: Duration = Duration::from_secs(1);

/// A run to be forgotten, and the channel for the answer.
pub(super) type ForgetRequest = (RunId, oneshot::Sender<ForgetAnswer>);

/// A stop whose last sweep has ended, and the channel for its answer.
pub(super) type SweptStop = (StopRequest, Swept, oneshot::Sender<StopAnswer>);

/// The result of a last sweep.
pub(super) enum Swept {
    /// All lines are read, or with `incomplete` all that can be read.
    ToTheEnd,
    /// Some logs could not be read, for this reason, and the run continues.
    Unread(String),
    /// The run has no tailer: its directory is gone, or it failed.
    TailerGone,
}

impl Supervisor {
    /// Handles a request, or has it wait if the run's tailer has to end first.
    pub(super) async fn handle_request(&mut self, request: Request) {
        self.directory.known_listing = None;
        let run = request.run().clone();
        let Some(info) = self.look_up(move |snapshot| snapshot.run_info(&run)).await else {
            // The dropped channel of the request reports that there is no answer.
            return;
        };
        match request {
            Request::Start { start, done } if start.mount.is_some() => self.resolve(start, done),
            Request::Start { start, done } => {
                self.start_run(start, WantedPlace::Anywhere, info, done).await;
            }
            Request::Stop { stop, done } => match info {
                None => {
                    let _ = done.send(StopAnswer::Unknown);
                }
                Some(_) => self.stop_run(stop, done).await,
            },
            Request::Forget { run, done } => match info {
                None => {
                    let _ = done.send(ForgetAnswer::Unknown);
                }
                Some(info) if info.stopped.is_none() => {
                    let _ = done.send(ForgetAnswer::Running);
                }
                Some(_) => self.forget_stopped(run, done).await,
            },
        }
    }

    /// Has the run's tailer read everything to the end, after a look for a tailer that is missing.
    async fn stop_run(&mut self, stop: StopRequest, done: oneshot::Sender<StopAnswer>) {
        if self.tailers.contains_key(&stop.run) {
            return self.stop_known(stop, done).await;
        }
        // The directory may have been created just now.
        let run = stop.run.clone();
        self.after_look(&run, AfterListing::Stop(stop, done)).await;
    }

    /// Starts the last sweep of a run, which is waited for in a task.
    pub(super) async fn stop_known(&mut self, stop: StopRequest, done: oneshot::Sender<StopAnswer>) {
        let run = &stop.run;
        if !self.tailers.contains_key(run) && self.failures.contains(run) {
            // One more attempt.
            self.start_tailers(vec![run.clone()], true).await;
        }
        let Some(tailer) = self.tailers.get(run) else {
            return self.swept((stop, Swept::TailerGone, done)).await;
        };
        let (swept, sweep) = oneshot::channel();
        tailer.handle.stop_run(stop.incomplete, swept);
        let statuses = Arc::clone(&self.shared.statuses);
        self.sweeps.spawn(async move {
            let swept = wait_for_sweep(sweep, &stop.run, &statuses).await;
            (stop, swept, done)
        });
    }

    /// Answers a stop whose last sweep has ended. A run whose tailer did not read it to the end is stopped
    /// here.
    pub(super) async fn swept(&mut self, (stop, swept, done): SweptStop) {
        let unread = match swept {
            // The tailer has stopped the run.
            Swept::ToTheEnd => {
                let _ = done.send(StopAnswer::Stopped);
                return;
            }
            Swept::Unread(reason) => Some(reason),
            Swept::TailerGone => match self.failures.reason(&stop.run) {
                Some(reason) => Some(reason.to_owned()),
                // The tailer was started again meanwhile.
                None if self.tailers.contains_key(&stop.run) => {
                    return Box::pin(self.stop_run(stop, done)).await;
                }
                None => self.unreadable_directory(&stop.run),
            },
        };
        if let Some(why) = unread.filter(|_| !stop.incomplete) {
            tracing::warn!(run = %stop.run, "it was to be stopped and is not, as it cannot be read to its end: {why}");
            let _ = done.send(StopAnswer::Unread(why));
            return;
        }
        let stopped = self.shared.committer.stop(stop.run, StopReason::Asked).await;
        if stopped.is_ok() {
            let _ = done.send(StopAnswer::Stopped);
        }
    }

    /// The reason why it is unknown if a run without a tailer has lines to read: the runs directory cannot be
    /// read. A directory that is gone is no reason.
    fn unreadable_directory(&self, run: &RunId) -> Option<String> {
        if self.places.has(run) || self.directory.is_gone {
            return None;
        }
        self.shared.statuses.runs_directory_problem()
    }

    /// Forgets a stopped run, after its tailer has ended and after a look if its directory exists.
    async fn forget_stopped(&mut self, run: RunId, done: oneshot::Sender<ForgetAnswer>) {
        if let Some(tailer) = self.tailers.get_mut(&run) {
            tailer.stop_before(Request::Forget { run, done });
        } else if self.places.has(&run) {
            // A directory outside the runs directory is never discovered again.
            self.forget(vec![(run, done)], |_| false).await;
        } else {
            self.after_listing(AfterListing::Forget(run, done)).await;
        }
    }

    /// Forgets runs in one transaction, because thousands may be forgotten at once. `directory_is_there` if the
    /// directory of a run would be discovered again.
    pub(super) async fn forget(
        &mut self,
        runs: Vec<ForgetRequest>,
        directory_is_there: impl Fn(&RunId) -> bool,
    ) {
        let forget = |(run, _): &ForgetRequest| ForgetRun {
            run: run.clone(),
            directory_is_there: directory_is_there(run),
        };
        let forgets: Vec<ForgetRun> = runs.iter().map(forget).collect();
        let Ok(known) = self.shared.committer.forget(forgets.clone()).await else {
            return;
        };
        for ((forget, was_known), (_, done)) in forgets.into_iter().zip(known).zip(runs) {
            self.shared.statuses.forget(&forget.run);
            self.places.give_up(&forget.run);
            self.failures.remove(&forget.run);
            if forget.directory_is_there {
                self.forgotten.insert(forget.run);
            }
            let _ = done.send(if was_known {
                ForgetAnswer::Forgotten
            } else {
                ForgetAnswer::Unknown
            });
        }
    }
}

/// Waits for the end of a last sweep, or until the filesystem of the run stalls.
async fn wait_for_sweep(
    mut sweep: oneshot::Receiver<Option<String>>,
    run: &RunId,
    statuses: &RunStatuses,
) -> Swept {
    let mut check = tokio::time::interval(STALL_LOOKED_FOR_EVERY);
    loop {
        tokio::select! {
            swept = &mut sweep => return match swept {
                Ok(None) => Swept::ToTheEnd,
                Ok(Some(reason)) => Swept::Unread(reason),
                Err(_) => Swept::TailerGone,
            },
            _ = check.tick() => if let Some(reason) = statuses.stall(run) {
                return Swept::Unread(reason);
            },
        }
    }
}
