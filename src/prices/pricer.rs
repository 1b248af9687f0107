//! The pricing of many sums for one answer.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::{Amounts, CostSum, PriceList, PriceSteps, price_on};
use crate::model::{Dialect, ModelNumber, PriceClass, Tier};

/// What decides about prices, apart from the day.
type PricedPart = (ModelNumber, Option<Dialect>, PriceClass);

/// Number of a model, agent and class in a pricer.
pub type PriceNumber = usize;

/// Prices the sums of one answer; each price is looked up once.
#[derive(Debug)]
pub struct Pricer<'p> {
    list: &'p PriceList,
    numbers: HashMap<PricedPart, PriceNumber>,
    parts: Vec<(PricedPart, PriceSteps)>,
    models: HashMap<ModelNumber, Arc<str>>,
    assumed: BTreeSet<Assumption>,
}

/// Something that a price assumes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Assumption {
    /// Lines of this agent do not name the service tier.
    StandardTier(&'static str),
    /// Longer prompts of the same class have a higher price.
    LowerPrice(ModelNumber),
    SearchesFree(ModelNumber),
}

impl<'p> Pricer<'p> {
    #[must_use]
    pub fn new(list: &'p PriceList) -> Self {
        Self {
            list,
            numbers: HashMap::new(),
            parts: Vec::new(),
            models: HashMap::new(),
            assumed: BTreeSet::new(),
        }
    }

    /// The number by which sums of a model, an agent and a class are priced.
    pub fn number(
        &mut self,
        model: ModelNumber,
        name: &Arc<str>,
        dialect: Option<Dialect>,
        class: PriceClass,
    ) -> PriceNumber {
        let part = (model, dialect, class);
        *self.numbers.entry(part).or_insert_with(|| {
            self.models.entry(model).or_insert_with(|| Arc::clone(name));
            self.parts.push((part, self.list.steps(name, class)));
            self.parts.len() - 1
        })
    }

    /// Adds the cost of usage on a UTC day since 1970.
    pub fn add(&mut self, number: PriceNumber, day: u32, amounts: &Amounts, sum: &mut CostSum) {
        let ((model, dialect, class), steps) = &self.parts[number];
        if *amounts == Amounts::default() {
            return;
        }
        // What agents write themselves, as in `<synthetic>`, is no model's.
        if self.models.get(model).is_some_and(|name| name.starts_with('<')) {
            return;
        }
        let Some(price) = price_on(steps, day) else {
            let tokens = sum.unpriced.entry(*model).or_default();
            *tokens = tokens.saturating_add(amounts.tokens());
            return;
        };
        sum.is_priced = true;
        sum.atto = sum.atto.saturating_add(amounts.cost(price));
        if class.service.tier == Tier::Unknown {
            let who = dialect.map_or("records", Dialect::name);
            self.assumed.insert(Assumption::StandardTier(who));
        }
        if price.is_cut {
            self.assumed.insert(Assumption::LowerPrice(*model));
        }
        if amounts.search > 0 && price.rates.search.is_none() {
            self.assumed.insert(Assumption::SearchesFree(*model));
        }
    }

    /// The name of a model that was priced.
    #[must_use]
    pub fn name(&self, model: ModelNumber) -> &str {
        self.models.get(&model).map_or("", |name| &**name)
    }

    /// The name of the list in documents.
    #[must_use]
    pub fn title(&self) -> String {
        self.list.title()
    }

    /// What the costs so far assume, in words.
    #[must_use]
    pub fn assumed(&self) -> Vec<String> {
        let words = |assumption: &Assumption| match assumption {
            Assumption::StandardTier(dialect) => format!("{dialect}: standard tier"),
            Assumption::LowerPrice(model) => format!(
                "{}: the lower of two prices for prompts of this size",
                self.name(*model)
            ),
            Assumption::SearchesFree(model) => format!("{}: web searches have no price", self.name(*model)),
        };
        self.assumed.iter().map(words).collect()
    }
}
