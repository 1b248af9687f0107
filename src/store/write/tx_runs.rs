//! The runs of a transaction: their changes, and the rows written for them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::name_cache::NameCache;
use super::outcome::{RunChange, RunEvent};
use super::registry::Registry;
use crate::dedup::Totals;
use crate::model::{Batch, Millis, ModelNumber, Phase, RunId, RunNumber};
use crate::store::error::DbError;
use crate::store::schema::{NO_RUN, RunRow, RunTotalsRow, SeriesRow};
use crate::store::table::{get, put};

/// The changes of one run in a transaction.
pub struct TxRun {
    id: RunId,
    pub row: RunRow,
    /// `None` if all of its batches were refused.
    pub change: Option<RunChange>,
    pub files_added: u64,
    /// True if this transaction registered it.
    is_new: bool,
    pub earliest: Option<Millis>,
    pub latest: Option<Millis>,
}

/// The runs with batches in a transaction.
#[derive(Default)]
pub struct TxRuns {
    pub all: Vec<TxRun>,
    /// Index of a run in `all`.
    places: HashMap<RunId, usize>,
    /// Names of runs with posted records.
    named: HashMap<RunNumber, RunId>,
}

impl TxRuns {
    /// The index in `all` of the run of a batch; an unknown run is registered.
    pub fn place(
        &mut self,
        registry: &mut Registry<'_>,
        names: &mut NameCache,
        batch: &Batch,
    ) -> Result<usize, DbError> {
        if let Some(place) = self.places.get(&batch.run) {
            return Ok(*place);
        }
        let (row, account, is_new) = registry.run(&batch.run, &batch.account, false, batch.read_at)?;
        names.note_run(&row, account);
        names.note_account(account, &batch.account);
        let place = self.all.len();
        self.all.push(TxRun {
            id: batch.run.clone(),
            row,
            is_new,
            change: None,
            files_added: 0,
            earliest: None,
            latest: None,
        });
        self.places.insert(batch.run.clone(), place);
        Ok(place)
    }

    /// Keeps the name of a run with posted records.
    pub fn note_name(&mut self, run: RunNumber, id: &RunId) {
        self.named.entry(run).or_insert_with(|| id.clone());
    }

    /// Adds the changes to the runs' totals; returns the new totals.
    pub fn write_totals(
        &self,
        registry: &mut Registry<'_>,
        by_model: &BTreeMap<(RunNumber, ModelNumber), Totals>,
    ) -> Result<BTreeMap<RunNumber, RunTotalsRow>, DbError> {
        let mut sums = BTreeMap::new();
        let mut deltas: BTreeMap<RunNumber, (Totals, Option<&TxRun>)> = BTreeMap::new();
        for ((run, _), delta) in by_model {
            deltas.entry(*run).or_default().0 += *delta;
        }
        for run in &self.all {
            deltas.entry(run.row.number).or_default().1 = Some(run);
        }
        for (run, (delta, part)) in deltas {
            let mut row: RunTotalsRow = get(&registry.totals, run)?.unwrap_or_default();
            row.totals += delta;
            if let Some(part) = part {
                row.files += part.files_added;
                row.latest = row.latest.max(part.latest);
            }
            if let Some(change) = part.and_then(|part| part.change.as_ref()) {
                row.lines.add(&change.lines);
                row.bytes = row.bytes.saturating_add(change.bytes);
            }
            put(&mut registry.totals, run, &row)?;
            sums.insert(run, row);
        }
        Ok(sums)
    }

    /// The changes of each run in this transaction: of runs with batches, and of those that gained or lost a
    /// response.
    pub fn changes(
        &mut self,
        registry: &Registry<'_>,
        names: &NameCache,
        sums: &BTreeMap<RunNumber, RunTotalsRow>,
        by_model: &BTreeMap<(RunNumber, ModelNumber), Totals>,
    ) -> Result<BTreeMap<RunId, RunChange>, DbError> {
        let mut changes = BTreeMap::new();
        for run in &mut self.all {
            if let Some(change) = run.change.take() {
                changes.insert(run.row.number, (run.id.clone(), change));
            }
        }
        for ((run, model), delta) in by_model {
            // No update without figures.
            if !delta.has_figures() || *run == NO_RUN {
                continue;
            }
            if !changes.contains_key(run) {
                let named = self.named.get(run).cloned();
                // Rare: only if a response of a run without batches gets another owner or a better copy.
                let Some(id) = named.map_or_else(|| registry.name_of(*run), |id| Ok(Some(id)))? else {
                    continue;
                };
                changes.insert(*run, (id, RunChange::default()));
            }
            if let Some((_, change)) = changes.get_mut(run) {
                change
                    .models
                    .push((Arc::clone(&names.models[*model as usize]), *delta));
            }
        }
        let mut named = BTreeMap::new();
        for (run, (id, mut change)) in changes {
            change.account = (names.accounts.get(names.account_of(run) as usize))
                .cloned()
                .unwrap_or_default();
            if let Some(row) = sums.get(&run) {
                change.totals = row.totals;
                change.all_lines = row.lines;
            }
            named.insert(id, change);
        }
        Ok(named)
    }

    /// The changes by posted records of no run, one for each account.
    pub fn without_run(
        names: &NameCache,
        sums: &BTreeMap<RunNumber, RunTotalsRow>,
        by_series: &[(SeriesRow, Totals)],
    ) -> Vec<RunChange> {
        let Some(row) = sums.get(&NO_RUN) else {
            return Vec::new();
        };
        let mut by_account: BTreeMap<u32, BTreeMap<ModelNumber, Totals>> = BTreeMap::new();
        for (series, delta) in by_series {
            if series.run == NO_RUN && delta.has_figures() {
                let of_account = by_account.entry(series.account).or_default();
                *of_account.entry(series.model).or_default() += *delta;
            }
        }
        let change = |(account, models): (u32, BTreeMap<ModelNumber, Totals>)| RunChange {
            account: names.accounts.get(account as usize).cloned().unwrap_or_default(),
            models: (models.into_iter())
                .map(|(model, delta)| (Arc::clone(&names.models[model as usize]), delta))
                .collect(),
            totals: row.totals,
            ..RunChange::default()
        };
        by_account.into_iter().map(change).collect()
    }

    /// Stores the first activity of runs, and resumes stopped ones that have new lines.
    pub fn write_infos(
        &self,
        registry: &mut Registry<'_>,
        names: &NameCache,
    ) -> Result<Vec<RunEvent>, DbError> {
        let mut events = Vec::new();
        for run in &self.all {
            let Some(change) = &run.change else {
                continue;
            };
            let number = run.row.number;
            let mut info = registry.info(number)?;
            let resumes = info.stopped.is_some() && change.lines.read > 0;
            let earliest = [info.earliest, run.earliest].into_iter().flatten().min();
            if run.is_new || resumes {
                let phase = if run.is_new {
                    Phase::Started
                } else {
                    Phase::Resumed
                };
                events.push(RunEvent {
                    run: run.id.clone(),
                    account: registry.account_id(names.account_of(number))?,
                    labels: info.labels.clone(),
                    phase,
                    totals: registry.sums(number)?.totals,
                });
            }
            if resumes || earliest != info.earliest {
                info.stopped = info.stopped.filter(|_| !resumes);
                info.earliest = earliest;
                put(&mut registry.infos, number, &info)?;
            }
        }
        Ok(events)
    }
}
