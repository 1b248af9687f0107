//! Estimated costs in documents.

use std::collections::HashMap;
use std::sync::Arc;

use crate::api::wire;
use crate::dedup::Totals;
use crate::model::{ModelNumber, RunId, RunNumber};
use crate::prices::{Amounts, CostSum, PriceList, PriceNumber, Pricer};
use crate::store::schema::SeriesRow;
use crate::store::{RunView, SeriesNames, Snapshot, StoreError, SummaryFigures};

/// The costs of the sums of a summary or of a run.
#[derive(Debug)]
pub struct CostBook<'p> {
    pricer: Pricer<'p>,
    names: SeriesNames,
    numbers: HashMap<Arc<str>, ModelNumber>,
    all: CostSum,
    by_run: HashMap<RunNumber, CostSum>,
    by_model: HashMap<ModelNumber, CostSum>,
    by_day: HashMap<u32, CostSum>,
}

impl<'p> CostBook<'p> {
    fn new(snapshot: &Snapshot<'_>, prices: &'p PriceList) -> Result<Self, StoreError> {
        let names = snapshot.series_names()?;
        let numbers = names.models.iter().map(Arc::clone).zip(0..);
        Ok(Self {
            pricer: Pricer::new(prices),
            numbers: numbers.collect(),
            names,
            all: CostSum::default(),
            by_run: HashMap::new(),
            by_model: HashMap::new(),
            by_day: HashMap::new(),
        })
    }

    /// The figures of a summary and their costs.
    ///
    /// # Errors
    /// Errors of the store.
    pub fn summary(
        snapshot: &Snapshot<'_>,
        prices: &'p PriceList,
    ) -> Result<(SummaryFigures, Self), StoreError> {
        let mut book = Self::new(snapshot, prices)?;
        let figures = snapshot.summary_by_series(|day, series, totals| book.add(day, series, totals))?;
        Ok((figures, book))
    }

    /// The cost of everything alone, in time that does not grow with the number of runs.
    ///
    /// # Errors
    /// Errors of the store.
    pub fn overall(snapshot: &Snapshot<'_>, prices: &'p PriceList) -> Result<Self, StoreError> {
        let mut book = Self::new(snapshot, prices)?;
        let always = 0..u32::MAX;
        snapshot.for_each_model_usage(std::slice::from_ref(&always), |_, day, series, totals| {
            book.add(day, series, &totals);
        })?;
        Ok(book)
    }

    /// The figures of a run and their costs; `None` if the run was never seen.
    ///
    /// # Errors
    /// Errors of the store.
    pub fn run(
        snapshot: &Snapshot<'_>,
        prices: &'p PriceList,
        run: &RunId,
    ) -> Result<Option<(RunView, Self)>, StoreError> {
        let mut book = Self::new(snapshot, prices)?;
        let view = snapshot.run_by_series(run, |day, series, totals| book.add(day, series, totals))?;
        Ok(view.map(|view| (view, book)))
    }

    /// The costs of some runs, in time that grows with these alone.
    ///
    /// # Errors
    /// Errors of the store.
    pub fn runs(
        snapshot: &Snapshot<'_>,
        prices: &'p PriceList,
        runs: impl Iterator<Item = RunNumber>,
    ) -> Result<Self, StoreError> {
        let mut book = Self::new(snapshot, prices)?;
        snapshot.for_each_run_day(runs, |day, series, totals| book.add(day, series, totals))?;
        Ok(book)
    }

    fn add(&mut self, day: u32, series: &SeriesRow, totals: &Totals) {
        let number = price_number(&mut self.pricer, &self.names, series);
        let mut sum = CostSum::default();
        self.pricer.add(number, day, &amounts(totals), &mut sum);
        self.by_run.entry(series.run).or_default().add(&sum);
        self.by_model.entry(series.model).or_default().add(&sum);
        self.by_day.entry(day).or_default().add(&sum);
        self.all.add(&sum);
    }

    /// The cost of everything.
    #[must_use]
    pub fn all(&self) -> wire::Cost {
        cost(&self.all, &self.pricer)
    }

    #[must_use]
    pub fn of_run(&self, run: RunNumber) -> wire::Cost {
        self.of(self.by_run.get(&run))
    }

    #[must_use]
    pub fn of_model(&self, name: &str) -> wire::Cost {
        let number = self.numbers.get(name);
        self.of(number.and_then(|number| self.by_model.get(number)))
    }

    /// The cost of a UTC day since 1970.
    #[must_use]
    pub fn of_day(&self, day: u32) -> wire::Cost {
        self.of(self.by_day.get(&day))
    }

    /// The origin of the costs.
    #[must_use]
    pub fn pricing(&self) -> wire::Pricing {
        pricing(&self.pricer)
    }

    fn of(&self, sum: Option<&CostSum>) -> wire::Cost {
        sum.map_or_else(
            || cost(&CostSum::default(), &self.pricer),
            |sum| cost(sum, &self.pricer),
        )
    }
}

/// The number of the prices of a series.
pub fn price_number(pricer: &mut Pricer<'_>, names: &SeriesNames, series: &SeriesRow) -> PriceNumber {
    let model = names.models.get(series.model as usize);
    let name = model.map_or_else(|| Arc::from(""), Arc::clone);
    pricer.number(series.model, &name, series.dialect, series.class)
}

/// The parts of sums that have a price.
#[must_use]
pub fn amounts(totals: &Totals) -> Amounts {
    // What is not said to be kept for an hour is kept for five minutes.
    let write_1h = totals.cache_creation_1h.min(totals.cache_creation);
    Amounts {
        input: totals.input,
        output: totals.output,
        cache_read: totals.cache_read,
        write_5m: totals.cache_creation.saturating_sub(write_1h),
        write_1h,
        search: totals.web_search,
    }
}

/// A cost.
#[must_use]
pub fn cost(sum: &CostSum, pricer: &Pricer<'_>) -> wire::Cost {
    let unpriced = sum.unpriced();
    let tokens = unpriced.values().copied().fold(0, i128::saturating_add);
    let names = unpriced.keys().map(|model| pricer.name(*model).to_owned());
    wire::Cost {
        estimated_cost_usd: sum.usd(),
        unpriced: (!unpriced.is_empty()).then(|| wire::Unpriced {
            models: names.collect(),
            tokens: u64::try_from(tokens.max(0)).unwrap_or(u64::MAX),
        }),
    }
}

/// The origin of the costs of a document.
#[must_use]
pub fn pricing(pricer: &Pricer<'_>) -> wire::Pricing {
    wire::Pricing {
        price_table: pricer.title(),
        assumed: pricer.assumed(),
    }
}
