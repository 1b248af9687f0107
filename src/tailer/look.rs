//! A look at a run's directory on a thread of the pool: hinted paths, changed directories, or everything.

use std::sync::Arc;
use std::time::Instant;

use super::handle::Pending;
use super::shared::JobKind;
use super::tree::{Depth, ScanContext, Tree};
use super::{Tailer, TailerError};
use crate::config::Settings;
use crate::logfile::LogFileError;
use crate::watch::Watch;

/// The settings and messages of a look.
struct LookOrder {
    pending: Pending,
    settings: Arc<Settings>,
    watch: Arc<Watch>,
    /// The run is stopped, so its directories are not watched.
    unwatched: bool,
    /// The devices at the look before.
    devices_before: Vec<u64>,
}

/// The result of a look.
struct LookResult {
    is_gone: Result<bool, LogFileError>,
    /// Devices from which events arrive: of hinted paths with news, or with `are_new` those that only this
    /// kernel changes.
    devices: Vec<u64>,
    /// The devices of the run may have changed.
    are_new: bool,
}

impl Tailer {
    /// Looks at what the messages name; true if the run's directory is gone.
    pub(super) async fn look(&mut self, pending: Pending) -> Result<bool, TailerError> {
        let kind = if pending.is_of_many() {
            JobKind::Scan
        } else {
            JobKind::Look
        };
        let (access, mut permits) = self.admitted(kind).await?;
        let settings = Arc::clone(&self.shared.settings.borrow());
        if pending.rescan {
            // At the first look, and after the settings changed.
            self.compare_account(&settings);
        }
        let depth = pending.scan;
        let order = LookOrder {
            pending,
            settings,
            watch: Arc::clone(&self.shared.watch),
            unwatched: self.schedule.retired,
            devices_before: self.devices.clone(),
        };
        let (result, tree) = self
            .blocking(access, &mut permits, move |mut tree| {
                (look_at(&mut tree, &order), tree)
            })
            .await?;
        self.note_devices(&tree, result.devices, result.are_new);
        // A full scan after the first one found changes without events: events are not trusted here for a
        // while.
        if tree.news_without_hint && self.schedule.watched && depth == Some(Depth::Everything) {
            self.schedule.distrust_events();
        }
        self.tree = Some(tree);
        drop(permits);
        let is_gone = result.is_gone?;
        if is_gone {
            self.give_back(Tree::mark_all_removed).await?;
        }
        Ok(is_gone)
    }

    /// Gives watches and files of the run back. That takes far longer than to notice that a run is gone, so
    /// thousands of runs that end do it a few at a time.
    pub(super) async fn give_back(&mut self, how: fn(&mut Tree, ScanContext<'_>)) -> Result<(), TailerError> {
        let shared = Arc::clone(&self.shared);
        let settings = Arc::clone(&shared.settings.borrow());
        let watch = Arc::clone(&shared.watch);
        let (access, mut permits) = self.admitted(JobKind::Scan).await?;
        let ((), tree) = self
            .blocking(access, &mut permits, move |mut tree| {
                let context = ScanContext {
                    globs: &settings.watch.globs,
                    limits: &settings.limits,
                    watch: &watch,
                    unwatched: true,
                };
                how(&mut tree, context);
                ((), tree)
            })
            .await?;
        self.tree = Some(tree);
        Ok(())
    }

    /// Notes from which devices events arrive.
    fn note_devices(&mut self, tree: &Tree, devices: Vec<u64>, are_new: bool) {
        if are_new {
            self.devices = tree.all_devices();
            self.schedule.hinted = false;
            let shared_devices = self.devices.iter().filter(|device| !devices.contains(device));
            let shared_devices: Vec<u64> = shared_devices.copied().collect();
            let is_local = shared_devices.is_empty() && !self.devices.is_empty();
            self.schedule.note_local(is_local);
            self.shared_devices = Some(shared_devices);
        }
        for device in devices {
            self.shared.devices_with_events.add(device);
        }
        self.schedule.hinted |= self.shared.devices_with_events.has_all(tree.devices());
    }

    /// Takes over the accounts of further providers, and logs, once for each change, that the settings name another
    /// account for the run than the one that counts it.
    fn compare_account(&mut self, settings: &Settings) {
        let own = self.accounts.own().clone();
        // Of a provider that the run has an account of the store keeps that.
        let accounts = settings.accounts.of_providers(&self.run, &self.labels, own);
        self.accounts = self.shared.accounts.share(accounts);
        let wanted = settings.accounts.of_labelled(&self.run, &self.labels);
        let wanted = (wanted != *self.accounts.own()).then(|| Box::new(wanted));
        if wanted == self.wanted {
            return;
        }
        if let Some(wanted) = &wanted {
            tracing::warn!(
                run = %self.run,
                "it stays with account {}, by which it is counted; new runs of its name go to {wanted}",
                self.accounts.own()
            );
        }
        self.wanted = wanted;
    }
}

/// Looks at a tree; it accesses the filesystem.
fn look_at(tree: &mut Tree, order: &LookOrder) -> LookResult {
    let pending = &order.pending;
    let had_news = tree.has_news();
    let context = ScanContext {
        globs: &order.settings.watch.globs,
        limits: &order.settings.limits,
        watch: &order.watch,
        unwatched: order.unwatched,
    };
    let mut devices = Vec::new();
    let looked = if pending.rescan {
        tree.rescan(context)
    } else {
        let hinted = tree.look(&pending.paths, context);
        if !had_news {
            devices.extend(pending.paths.iter().filter_map(|path| tree.device_of_news(path)));
        }
        pending.scan.map_or(hinted, |depth| tree.scan(depth, context))
    };
    // A filesystem may have been mounted or unmounted.
    let are_new = pending.rescan || (pending.scan.is_some() && tree.all_devices() != order.devices_before);
    if are_new {
        devices = tree.local_devices();
    }
    tree.enqueue_due_holes(Instant::now());
    if pending.scan.is_some() {
        tree.close_idle(order.settings.limits.idle_close, Instant::now());
    }
    let is_gone = match looked {
        Err(LogFileError::Gone(_) | LogFileError::Refused(_)) => Ok(true),
        Err(error) => Err(error),
        Ok(()) => Ok(false),
    };
    LookResult {
        is_gone,
        devices,
        are_new,
    }
}
