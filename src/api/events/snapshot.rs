//! Snapshots in the stream: the present figures, in the shape that a subscriber asked for.

use std::collections::BTreeMap;
use std::sync::Arc;

use strum::{EnumString, VariantNames};

use crate::api::document::cost::CostBook;
use crate::api::document::{quota, summary};
use crate::api::feed::encode::Filter;
use crate::api::health::{eval_context, snapshot_and_unseen};
use crate::api::http::problem::Problem;
use crate::api::runs;
use crate::api::state::ApiState;
use crate::api::wire::{self, StreamSnapshot};
use crate::store::{Snapshot, StoreError};
use crate::verdict::EvalContext;

/// Most refusals, and most thresholds that fired, in a brief snapshot.
const BRIEF_EVENTS_MAX: usize = 10;

/// The shape of snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "snake_case")]
pub enum SnapshotShape {
    Full,
    /// Without what is by run, model and day.
    Brief,
}

impl SnapshotShape {
    /// The shape of this name; without a name, the full one.
    ///
    /// # Errors
    /// No shape has this name.
    pub fn of(name: Option<&str>) -> Result<Self, Problem> {
        name.map_or(Ok(Self::Full), |name| {
            name.parse().map_err(|_| {
                let known = Self::VARIANTS.join(", ");
                Problem::bad("snapshot", format!("{name:?} is none of {known}"))
            })
        })
    }
}

/// The figures as of a commit, and its number.
///
/// # Errors
/// The store does not answer.
pub fn read(api: &ApiState, filter: &Filter, shape: SnapshotShape) -> Result<(u64, StreamSnapshot), Problem> {
    let settings = Arc::clone(&api.settings.borrow());
    // Before the snapshot: the readings of a poll that is shown are in it.
    let polls = api.polls.statuses();
    let (snapshot, unseen) = snapshot_and_unseen(api)?;
    let context = eval_context(&settings, unseen.as_ref(), api.clock.now());
    let sequence = snapshot.sequence()?;
    let document = match shape {
        SnapshotShape::Full => {
            let mut document = full(api, &snapshot, &context, filter)?;
            quota::add_polls(&mut document.quota, polls);
            StreamSnapshot::Full(Box::new(document))
        }
        SnapshotShape::Brief => {
            let mut document = brief(api, &snapshot, &context)?;
            quota::add_polls(&mut document.quota, polls);
            StreamSnapshot::Brief(Box::new(document))
        }
    };
    Ok((sequence, document))
}

fn brief(
    api: &ApiState,
    snapshot: &Snapshot<'_>,
    context: &EvalContext<'_>,
) -> Result<wire::BriefSummary, StoreError> {
    let mut document = summary::brief(snapshot, context)?;
    for state in runs::states(snapshot, &api.statuses)?.into_values() {
        *document.runs.entry(state.to_owned()).or_default() += 1;
    }
    keep_last(&mut document.quota.limit_events);
    keep_last(&mut document.quota.thresholds_fired);
    Ok(document)
}

fn keep_last<T>(events: &mut Vec<T>) {
    events.drain(..events.len().saturating_sub(BRIEF_EVENTS_MAX));
}

/// The summary, without what the filter does not let through.
fn full(
    api: &ApiState,
    snapshot: &Snapshot<'_>,
    context: &EvalContext<'_>,
    filter: &Filter,
) -> Result<wire::Summary, StoreError> {
    let view = snapshot.quota(context.since())?;
    let (figures, costs) = CostBook::summary(snapshot, context.prices)?;
    let mut document = summary::summary(&figures, &costs, &view, context);
    if !filter.wants_usage() {
        (document.by_day, document.by_model) = (BTreeMap::new(), BTreeMap::new());
    }
    if filter.names_runs() || !filter.wants_usage() {
        let is_wanted = |run: &str| filter.names_runs() && filter.wants_run(run);
        document.by_run.retain(|run, _| is_wanted(run));
        document.coverage.by_run.retain(|run, _| is_wanted(run));
        document.without_run = None;
    }
    let states = runs::states(snapshot, &api.statuses)?;
    for (run, sums) in &mut document.by_run {
        sums.state = states.get(run).map(|state| (*state).to_owned());
    }
    Ok(document)
}
