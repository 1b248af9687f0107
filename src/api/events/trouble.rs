//! Health as events: said when it becomes worse, and when all is well again.
//!
//! A collector that cannot commit says so from memory, under the id that the committed event will have.

use tokio::sync::mpsc;

use crate::api::state::ApiState;
use crate::api::wire;
use crate::committer::handle::WeakCommitterHandle;
use crate::live::Update;
use crate::model::Millis;
use crate::quota::notice::causes::{of_recovery, of_trouble};
use crate::quota::notice::{LatchChange, NumberedNotice};
use crate::sync::lock;

/// What was said of health.
#[derive(Default)]
pub struct Trouble {
    /// As of the last look: 0 is well, 1 degraded, 2 unhealthy; and since when.
    level: Option<(u8, Millis)>,
    /// The worst since all was well; `None` before the first look that counts.
    said: Option<u8>,
}

impl Trouble {
    /// Looks at health. What two looks in a row see is said.
    pub fn look(&mut self, api: &ApiState, health: &wire::Health, changes: &mpsc::Sender<LatchChange>) {
        if api.settings.borrow().notify.targets.is_empty() {
            self.said = None;
            return;
        }
        let now = api.clock.now();
        let level = match health.status.as_str() {
            "ok" => 0,
            "degraded" => 1,
            _ => 2,
        };
        let since = match self.level {
            Some((before, since)) if before == level => since,
            _ => {
                self.level = Some((level, now));
                return;
            }
        };
        let is_worse = level > self.said.unwrap_or(0);
        let is_well = level == 0 && self.said != Some(0);
        if !is_worse && !is_well {
            return;
        }
        let change = if is_worse {
            of_trouble(
                level,
                &health.status,
                health.reasons.first().map(String::as_str),
                since,
            )
        } else {
            of_recovery(since)
        };
        // Else the next look says it.
        let Ok(room) = changes.try_reserve() else {
            return;
        };
        let problem = lock(&api.committer).problem(api.store.path());
        if is_worse
            && problem.is_some()
            && let (Some(id), Some(notice)) = (change.id.clone(), change.notice.clone())
        {
            // The committed event follows when it can, also if there is no room.
            let _ = api.early.try_send(NumberedNotice { id, notice });
        }
        room.send(change);
        self.said = Some(level);
    }
}

/// Commits the changes in their order, each as soon as that is possible.
pub async fn commit_changes(writes: WeakCommitterHandle, mut changes: mpsc::Receiver<LatchChange>) {
    while let Some(change) = changes.recv().await {
        if writes.note(Update::default(), vec![change]).await.is_err() {
            return;
        }
    }
}
