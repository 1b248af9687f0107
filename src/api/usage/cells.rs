//! The sums and costs of an answer, by slot of time and by the distinguished parts of series; then by key.

use std::collections::{BTreeMap, HashMap};

use super::group::RowOrigin;
use super::question::Question;
use super::times::slots;
use crate::api::document::{cost, summary};
use crate::api::http::problem::Problem;
use crate::api::wire;
use crate::dedup::Totals;
use crate::model::{DAY_QUARTERS, SeriesNumber};
use crate::prices::{CostSum, PriceNumber, Pricer};
use crate::store::schema::SeriesRow;
use crate::store::{RunNames, Snapshot};

/// Most rows of an answer.
const ROWS_MAX: usize = 100_000;

/// A series in the answer.
#[derive(Clone, Copy, Default)]
enum SeenSeries {
    #[default]
    NotYet,
    /// It does not pass the filter.
    LeftOut,
    /// Of this part, and priced by this number.
    Of(usize, PriceNumber),
}

/// A sum and its cost.
#[derive(Clone, Debug, Default)]
pub struct CellSum {
    totals: Totals,
    cost: CostSum,
}

impl CellSum {
    /// Adds another sum.
    pub fn add(&mut self, other: &Self) {
        self.totals += other.totals;
        self.cost.add(&other.cost);
    }

    /// Adds usage of a UTC day, with its cost at this price.
    pub fn add_usage(&mut self, pricer: &mut Pricer<'_>, price: PriceNumber, day: u32, totals: Totals) {
        pricer.add(price, day, &cost::amounts(&totals), &mut self.cost);
        self.totals += totals;
    }

    /// The sum in documents.
    #[must_use]
    pub fn document(&self, pricer: &Pricer<'_>) -> wire::UsageSums {
        let count = |count: i64| u64::try_from(count).unwrap_or(0);
        wire::UsageSums {
            messages: count(self.totals.messages),
            advisor_calls: count(self.totals.advisor_calls),
            totals: summary::totals(&self.totals),
            fallbacks: count(self.totals.fallbacks),
            failed_attempts: count(self.totals.failed_attempts),
            estimated_tokens: summary::tokens(self.totals.estimated),
            cost: cost::cost(&self.cost, pricer),
        }
    }
}

/// The sums of one answer, by slot and by the distinguished parts of series.
#[derive(Default)]
struct Cells {
    parts: Vec<SeriesRow>,
    part_numbers: HashMap<SeriesRow, usize>,
    /// By the number of the series.
    of_series: Vec<SeenSeries>,
    sums: HashMap<(usize, usize), CellSum>,
}

impl Cells {
    /// The part that a series belongs to, and the number of its prices.
    fn part(
        &mut self,
        number: SeriesNumber,
        part: impl FnOnce() -> Option<(SeriesRow, PriceNumber)>,
    ) -> Option<(usize, PriceNumber)> {
        let at = number as usize;
        match self.of_series.get(at) {
            Some(SeenSeries::Of(part, price)) => return Some((*part, *price)),
            Some(SeenSeries::LeftOut) => return None,
            Some(SeenSeries::NotYet) | None => {}
        }
        let part = part().map(|(part, price)| (self.part_number(part), price));
        if self.of_series.len() <= at {
            self.of_series.resize(at + 1, SeenSeries::NotYet);
        }
        self.of_series[at] = part.map_or(SeenSeries::LeftOut, |(part, price)| SeenSeries::Of(part, price));
        part
    }

    fn part_number(&mut self, part: SeriesRow) -> usize {
        *self.part_numbers.entry(part).or_insert_with(|| {
            self.parts.push(part);
            self.parts.len() - 1
        })
    }
}

/// The rows of an answer, by the parts of their keys.
pub type UsageRows = BTreeMap<Vec<Option<String>>, CellSum>;

/// The rows of the answer to a question.
///
/// # Errors
/// There are too many, or the store does not answer.
pub fn rows(
    snapshot: &Snapshot<'_>,
    question: &Question,
    pricer: &mut Pricer<'_>,
) -> Result<UsageRows, Problem> {
    let names = snapshot.series_names()?;
    let recorded = snapshot.days_recorded()?;
    let (Some((first, last)), Some(filter)) = (recorded, question.filter(snapshot, &names)?) else {
        return Ok(UsageRows::new());
    };
    let start = first.saturating_mul(DAY_QUARTERS).max(question.quarters.start);
    let end = (last.saturating_add(1)).saturating_mul(DAY_QUARTERS);
    let slots = slots(
        start..end.min(question.quarters.end),
        &question.zone,
        question.unit(),
    )?;
    let stretches: Vec<_> = slots.iter().map(|slot| slot.quarters.clone()).collect();
    let apart = question.parts();
    let mut cells = Cells::default();
    // Sums over all runs, places and routes are few.
    if !filter.is_of_parts() && !apart.runs && !apart.places && !apart.routes {
        snapshot.for_each_model_usage(&stretches, |slot, day, series, totals| {
            if filter.wants(series) {
                let part = cells.part_number(apart.part(series));
                let price = cost::price_number(pricer, &names, series);
                let sum = cells.sums.entry((slot, part)).or_default();
                sum.add_usage(pricer, price, day, totals);
            }
        })?;
    } else {
        snapshot.for_each_usage(&stretches, filter.run, |place, totals| {
            let series = place.series;
            let part = cells.part(place.number, || {
                let price = |()| (apart.part(series), cost::price_number(pricer, &names, series));
                filter.wants(series).then_some(()).map(price)
            });
            if let Some((part, price)) = part {
                let sum = cells.sums.entry((place.stretch, part)).or_default();
                sum.add_usage(pricer, price, place.day, totals);
            }
        })?;
    }
    let places = if apart.places {
        snapshot.places(cells.parts.iter().map(|part| part.place))?
    } else {
        Vec::new()
    };
    let is_nameless = apart.runs && places.iter().any(|place| place.project.is_none());
    let runs = if question.names_runs() || is_nameless {
        snapshot.run_names(&cells.parts.iter().map(|part| part.run).collect())?
    } else {
        RunNames::default()
    };
    let mut rows = UsageRows::new();
    for ((slot, part), sum) in cells.sums {
        let (series, place) = (&cells.parts[part], places.get(part));
        let run = runs.get(&series.run).map(|(id, _)| id.as_str());
        let is_wanted = question.wants_place(place, run) && question.wants_run(series.run, &runs);
        if sum.totals.is_zero() || !is_wanted {
            continue;
        }
        let of = RowOrigin {
            slot: &slots[slot],
            series,
            place,
            route: names.route(series.route),
            model: names.models.get(series.model as usize).map(|name| &**name),
            account: names.accounts.get(series.account as usize),
            runs: &runs,
        };
        let key = question.groups.iter().map(|group| group.key(&of)).collect();
        rows.entry(key).or_default().add(&sum);
        if rows.len() > ROWS_MAX {
            let detail = format!("more than {ROWS_MAX} rows; request a shorter range or fewer groupings");
            return Err(Problem::bad("from", detail));
        }
    }
    rows.retain(|_, sum| !sum.totals.is_zero());
    Ok(rows)
}
