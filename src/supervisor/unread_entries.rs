//! Entries of the runs directory that are not read, and the advice where its layout looks like another one.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::RunLocations;
use crate::logfile::pool::Job;
use crate::logfile::shape::Shape;
use crate::logfile::unread::{LINKS_LOOKED_AT_MAX, Sorter, Unread, UnreadKind};
use crate::logfile::{Entry, EntryKind, Root};
use crate::tailer::TailerContext;

/// Names that are logged one by one because they are no run ids.
const STRANGE_NAMES_MAX: usize = 1024;

/// The entries as of the last listing and the last survey.
#[derive(Default)]
pub(super) struct UnreadEntries {
    /// Names that are no run ids.
    names: Unread,
    /// Links, by the kind of their targets.
    links: Unread,
    /// The links of the last listing.
    link_entries: Vec<Entry>,
    survey: Option<Job<Option<Unread>>>,
    /// Another survey has to follow the present one.
    is_repeated: bool,
    /// Kinds that were logged.
    logged_kinds: BTreeSet<UnreadKind>,
    logged_names: HashSet<PathBuf>,
}

impl UnreadEntries {
    /// Takes over the links of a listing.
    pub(super) fn set_links(&mut self, entries: &[Entry]) {
        let links = entries.iter().filter(|entry| entry.kind == EntryKind::Link);
        self.link_entries = links.cloned().collect();
    }

    /// Takes over the names of a listing that are no run ids.
    pub(super) fn set_names(&mut self, names: Unread, places: &RunLocations, shared: &TailerContext) {
        self.names = names;
        self.report(places, shared);
    }

    /// Logs a name that is no run id, once.
    pub(super) fn log_name(&mut self, name: &Path, error: &str) {
        if self.logged_names.len() < STRANGE_NAMES_MAX && self.logged_names.insert(name.to_owned()) {
            tracing::warn!(name = ?name, "not a run: {error}");
        }
    }

    /// Starts to compare the runs directory with other layouts and to find the targets of its links. Nothing
    /// waits for that: a directory in it may hang.
    pub(super) fn start_survey(&mut self, places: &RunLocations, shared: &TailerContext) {
        if self.survey.is_some() {
            self.is_repeated = true;
            return;
        }
        let directory = places.directory.clone().unwrap_or_default();
        let (links, places) = (self.link_entries.clone(), places.clone());
        let (statuses, settings) = (
            Arc::clone(&shared.statuses),
            Arc::clone(&shared.settings.borrow()),
        );
        self.survey = Some(shared.pool.start(move || {
            if let Ok(shape) = Shape::of(&directory) {
                let advice = shape.advice(&directory, |log| settings.watch.globs.reads(log));
                statuses.advise(advice);
            }
            sort_links(&directory, &links, &places)
        }));
    }

    /// Waits for the end of the survey; forever if there is none. `None` if the links could not be sorted.
    pub(super) async fn surveyed(&mut self) -> Option<Unread> {
        match &mut self.survey {
            Some(job) => job.done().await.unwrap_or_default(),
            None => std::future::pending().await,
        }
    }

    /// Takes over the result of a survey.
    pub(super) fn finish_survey(
        &mut self,
        links: Option<Unread>,
        places: &RunLocations,
        shared: &TailerContext,
    ) {
        self.survey = None;
        if let Some(links) = links {
            self.links = links;
            self.report(places, shared);
        }
        if std::mem::take(&mut self.is_repeated) && places.directory.is_some() {
            self.start_survey(places, shared);
        }
    }

    /// Reports the entries, and logs each kind once.
    fn report(&mut self, places: &RunLocations, shared: &TailerContext) {
        let mut unread = self.names.clone();
        unread.merge(&self.links);
        let directory = places.directory.clone().unwrap_or_default();
        let sentences = unread.sentences(&directory, true);
        let notices = sentences.iter().map(|(_, sentence)| sentence.clone());
        shared.statuses.beside_runs(notices.collect());
        for (kind, sentence) in sentences {
            if self.logged_kinds.insert(kind) {
                tracing::warn!("{sentence}");
            }
        }
    }
}

/// Sorts links by the kind of their targets; `None` if the directory cannot be opened.
fn sort_links(directory: &Path, links: &[Entry], places: &RunLocations) -> Option<Unread> {
    let root = Root::open_given(directory).ok()?;
    let mut links_left = LINKS_LOOKED_AT_MAX;
    let reads_elsewhere = |target: &Path| places.reads_own(target);
    let mut sorter = Sorter::new(&root, &|_| true, &|_| false, &mut links_left);
    sorter.reads_elsewhere = Some(&reads_elsewhere);
    for entry in links {
        sorter.add(entry);
    }
    Some(sorter.unread)
}
