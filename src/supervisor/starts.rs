//! Requests to start runs: the directory a start names is resolved on a thread of the pool, then the run is
//! registered.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Supervisor;
use super::handle::{Request, StartAnswer, StartRequest};
use super::runs_directory::AfterListing;
use crate::config::{UnknownAccount, name_an_account};
use crate::logfile::run_dir::resolve_mount;
use crate::model::AccountId;
use crate::store::{RunInfo, Start, Started};
use crate::tailer::access::resolve;

/// The place that a start names for the logs of its run.
#[derive(Clone, Debug)]
pub(super) enum WantedPlace {
    /// None is named.
    Anywhere,
    InRunsDirectory,
    /// A directory of the run's own, without links.
    Own(PathBuf),
}

/// A start whose directory was resolved, and the channel for its answer.
pub(super) type Resolved = (
    StartRequest,
    oneshot::Sender<StartAnswer>,
    Result<WantedPlace, StartAnswer>,
);

impl WantedPlace {
    /// The mount for the store: `None` to keep the present one, `Some(None)` for the runs directory.
    #[expect(clippy::option_option, reason = "as the mount of `Start` in the store")]
    fn mount(self) -> Option<Option<PathBuf>> {
        match self {
            Self::Anywhere => None,
            Self::InRunsDirectory => Some(None),
            Self::Own(mount) => Some(Some(mount)),
        }
    }
}

impl Supervisor {
    /// Resolves the directory that a start names; that may hang.
    pub(super) fn resolve(&mut self, start: StartRequest, done: oneshot::Sender<StartAnswer>) {
        let settings = Arc::clone(&self.shared.settings.borrow());
        let (run, runs_dir) = (start.run.clone(), self.places.directory.clone());
        let mount = start.mount.clone().unwrap_or_default();
        let given = mount.clone();
        let shared = Arc::clone(&self.shared);
        self.resolving.spawn(async move {
            let resolved = resolve(&shared, &mount, move || {
                resolve_mount(&given, &run, runs_dir.as_deref(), &settings.runs.mount_roots)
            });
            let place = match resolved.await {
                Some(Ok(Some(mount))) => Ok(WantedPlace::Own(mount)),
                Some(Ok(None)) => Ok(WantedPlace::InRunsDirectory),
                Some(Err(error)) => Err(StartAnswer::Mount(error)),
                None => Err(StartAnswer::MountStalled(mount)),
            };
            (start, done, place)
        });
    }

    /// Starts a run whose directory was resolved.
    pub(super) async fn resolved(&mut self, (start, done, place): Resolved) {
        let place = place.and_then(|place| self.not_taken(&start, place));
        let place = match place {
            Ok(place) => place,
            Err(answer) => {
                let _ = done.send(answer);
                return;
            }
        };
        let run = start.run.clone();
        if let Some(info) = self.look_up(move |snapshot| snapshot.run_info(&run)).await {
            self.start_run(start, place, info, done).await;
        }
    }

    /// The place, unless it overlaps with that of another run.
    fn not_taken(&self, start: &StartRequest, place: WantedPlace) -> Result<WantedPlace, StartAnswer> {
        if let WantedPlace::Own(mount) = &place
            && let Some(other) = self.places.overlaps(&start.run, mount)
        {
            return Err(StartAnswer::MountTaken(other));
        }
        Ok(place)
    }

    /// Registers a run with its logs in a place, or has the request wait for the end of a tailer that reads
    /// elsewhere.
    pub(super) async fn start_run(
        &mut self,
        start: StartRequest,
        place: WantedPlace,
        info: Option<RunInfo>,
        done: oneshot::Sender<StartAnswer>,
    ) {
        let account = match self.wanted_account(&start, info.as_ref()) {
            Ok(account) => account,
            Err(unknown) => {
                let _ = done.send(StartAnswer::NoSuchAccount(unknown));
                return;
            }
        };
        let run = start.run.clone();
        let mount = place.mount();
        let moves = info.is_some_and(|info| {
            info.account != account || mount.as_ref().is_some_and(|mount| info.mount != *mount)
        });
        if moves && let Some(tailer) = self.tailers.get_mut(&run) {
            // Until its end the tailer reads for the present account, in the present place.
            tailer.stop_before(Request::Start { start, done });
            return;
        }
        let registered = Start {
            run: run.clone(),
            account,
            labels: Some(start.labels),
            mount: mount.clone(),
            lease: start.lease,
        };
        let Ok(started) = self.shared.committer.start(vec![registered], false).await else {
            return;
        };
        let answer = match started.into_iter().next() {
            Some(Started::Elsewhere(account)) => StartAnswer::Elsewhere(account),
            Some(Started::NotBound(refused)) => StartAnswer::NotBound(refused),
            Some(Started::MountedElsewhere(mount)) => StartAnswer::MountedElsewhere(mount),
            Some(Started::New) => StartAnswer::New,
            _ => StartAnswer::Known,
        };
        if matches!(answer, StartAnswer::New | StartAnswer::Known) {
            self.forgotten.remove(&run);
            match mount {
                Some(Some(mount)) => self.places.take(&run, mount),
                Some(None) => self.places.give_up(&run),
                None => {}
            }
        }
        if let Some(tailer) = self.tailers.get(&run) {
            tailer.handle.revive();
            let _ = done.send(answer);
        } else {
            self.after_look(&run, AfterListing::Started(done, answer)).await;
        }
    }

    /// The account that counts the run from now on.
    fn wanted_account(
        &self,
        start: &StartRequest,
        info: Option<&RunInfo>,
    ) -> Result<AccountId, UnknownAccount> {
        let accounts = &self.shared.settings.borrow().accounts;
        let names_one = name_an_account(&start.labels);
        let account = match info {
            // Lines that were read are counted by the present account; labels without an account do not
            // change it.
            Some(info) if info.earliest.is_some() && !names_one => info.account.clone(),
            _ => accounts.of_labelled(&start.run, &start.labels),
        };
        // The present account stays allowed, even if the configuration no longer has it.
        let is_new = info.is_none_or(|info| info.account != account);
        if is_new && names_one {
            accounts.check(&account)?;
        }
        Ok(account)
    }
}
