//! Stalls: what a tailer does while a call into its run's filesystem does not return.
//!
//! The call keeps its thread. Everything else the tailer holds is given to others, health says that the run does not answer,
//! and the tailer waits, for ever if need be, but not beyond its own stop.

use std::path::Path;

use tokio::sync::OwnedSemaphorePermit;

use super::tree::Tree;
use super::{Tailer, TailerError};
use crate::logfile::mounts::devices_at;
use crate::logfile::pool::{Progress, STALLED_AFTER};
use crate::record::format::length;

/// The right to touch a run's devices, where others wait for the same.
#[derive(Debug, Default)]
pub(super) struct Turn(Vec<OwnedSemaphorePermit>);

impl Tailer {
    /// Waits for this run's turn if one of its devices does not answer.
    pub(super) async fn turn(&mut self) -> Result<Turn, TailerError> {
        let mut turn = Turn::default();
        if self.shared.suspects.is_empty() {
            return Ok(turn);
        }
        if self.devices.is_empty() {
            self.devices = sorted(devices_at(&self.home).0);
        }
        for suspect in self.shared.suspects.among(&self.devices) {
            if suspect.is_tried() {
                self.stalled(format!(
                    "{} is on a device that does not answer; it is tried again when another run there gets an answer",
                    self.home.display()
                ));
            }
            tokio::select! {
                permit = suspect.turn() => turn.0.extend(permit),
                () = self.stop.cancelled() => return Err(TailerError::Stopped),
            }
        }
        Ok(turn)
    }

    /// Runs a piece of work that blocks, on a thread made for that. `held` is given back if it stalls.
    pub(super) async fn blocking<T: Send + 'static, H>(
        &mut self,
        turn: Turn,
        held: &mut Option<H>,
        work: impl FnOnce(Tree) -> (T, Tree) + Send + 'static,
    ) -> Result<(T, Tree), TailerError> {
        let Some(tree) = self.tree.take() else {
            return Err(TailerError::Panic(
                "the work before it never came back".to_owned(),
            ));
        };
        let mut job = self.shared.pool.start(move || work(tree));
        let done = match job.progress().await {
            Progress::Done(done) => done,
            Progress::Stalled => {
                *held = None;
                let (devices, place) = devices_at(&self.home);
                self.devices = sorted(self.devices.iter().copied().chain(devices).collect());
                self.shared.suspects.add(&self.devices);
                self.stalled(does_not_answer(&self.home, place.as_deref()));
                tokio::select! {
                    done = job.done() => done,
                    () = self.stop.cancelled() => return Err(TailerError::Stopped),
                }
            }
        };
        self.shared.suspects.remove(&self.devices);
        drop(turn);
        if std::mem::take(&mut self.is_stalled) {
            self.shared.board.answers(&self.run);
        }
        done.map_err(|error| TailerError::Panic(error.to_string()))
    }

    fn stalled(&mut self, problem: String) {
        self.is_stalled = true;
        self.shared.board.stalled(&self.run, problem);
    }
}

/// For health: what does not answer, and where that is mounted.
#[must_use]
pub fn does_not_answer(home: &Path, place: Option<&Path>) -> String {
    let at = place.map_or_else(String::new, |place| format!(" (mounted at {})", place.display()));
    format!(
        "{}{at} has not answered for {}: its server may be gone; it is read on as soon as it answers",
        home.display(),
        length(STALLED_AFTER.as_secs())
    )
}

fn sorted(mut devices: Vec<u64>) -> Vec<u64> {
    devices.sort_unstable();
    devices.dedup();
    devices
}
