//! Late runs: health names a run that is not looked at, or not read, for long, although nothing failed.

use std::pin::Pin;
use std::sync::Arc;

use super::Tailer;
use super::shared::TailerContext;
use super::status::{LATE_AFTER, Late};
use crate::model::RunId;

/// Reports a run that is late while one step of its work takes.
pub(super) struct LateNote {
    shared: Arc<TailerContext>,
    run: RunId,
    devices: Vec<u64>,
    has_lines: bool,
}

impl Tailer {
    /// A note on a read of lines, or else on a look.
    pub(super) fn late_note(&mut self, has_lines: bool) -> LateNote {
        LateNote {
            devices: self.all_devices(),
            shared: Arc::clone(&self.shared),
            run: self.run.clone(),
            has_lines,
        }
    }
}

impl LateNote {
    /// Waits for the step.
    pub(super) async fn during<T>(self, mut step: Pin<Box<impl Future<Output = T>>>) -> T {
        if let Ok(done) = tokio::time::timeout(LATE_AFTER, &mut step).await {
            return done;
        }
        let Self { shared, run, .. } = self;
        let late = Late {
            has_lines: self.has_lines,
            is_slow: !shared.suspects.among(&self.devices).is_empty(),
        };
        shared.statuses.late(&run, Some(late));
        let done = step.await;
        shared.statuses.late(&run, None);
        done
    }
}
