//! The table of list prices, from the package genai-prices.
//!
//! The package takes 64 ms to decode its data, keeps 18 MB and has 3.7 MB of code and text. The program needs none of
//! that: prices change only with the package's version, so they are looked up once, here. The package calculates costs
//! and lists no prices; a price is the cost of a call of known size.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use genai_prices::{Calculator, PriceRequest, Usage, UsageKey};

/// The version of the package that `Cargo.toml` demands.
const VERSION: &str = "0.2.1";
/// Providers of their own models. Of models with the same name the first is taken. DeepSeek is not among them: its
/// prices depend on the time of the day, and sums are kept by days.
const PROVIDERS: [&str; 8] = [
    "anthropic",
    "openai",
    "google",
    "x-ai",
    "mistral",
    "moonshotai",
    "zai",
    "minimax",
];
/// First day and day after the last one whose prices are looked up, since 1970: from 2025-01-01 to the end of 2027.
const DAYS: (u32, u32) = (20_089, 21_184);
/// Days between two looks; between two that differ, the day of the change is searched.
const LOOK_DAYS: u32 = 5;
/// The smallest and the largest prompt of each size in `src/model/price.rs`, in tokens.
const PROMPTS: [(u32, u32); 4] = [
    (1, 100_000),
    (100_001, 200_000),
    (200_001, 272_000),
    (272_001, 100_000_000),
];
/// Something that a request has beside its usage.
type Context = Option<(&'static str, &'static str)>;
/// The columns of the list, and the context that selects each.
const COLUMNS: [(&str, Context); 5] = [
    ("Standard", None),
    ("Batch", Some(("processing", "batch"))),
    ("Priority", Some(("service_tier", "priority"))),
    ("Flex", Some(("service_tier", "flex"))),
    ("Fast", Some(("service_tier", "fast"))),
];
/// Ends of further names of a model.
const NAME_ENDS: [&str; 2] = ["-latest", "-codex"];
const DAY_SECONDS: u64 = 86_400;

/// Prices of input, output, cache reads, writes for 5 minutes and for an hour in millionths of a dollar per million
/// tokens, and of web searches in the same per thousand.
type Rates = [u32; 6];
/// The rates by size of the prompt; true if the smallest prompt of that size has others than the largest.
type Sizes = [(Rates, bool); 4];
/// The first day of some prices.
type Step = (u32, Option<Sizes>);

/// The costs of a call, in dollars.
#[derive(PartialEq)]
struct CallCost {
    input: f64,
    output: f64,
    other: f64,
}

/// A model of the package.
struct Listed<'c> {
    calculator: &'c Calculator,
    provider: &'c str,
    model: &'c str,
}

impl Listed<'_> {
    fn cost(&self, day: u32, context: Context, usage: &Usage) -> Option<CallCost> {
        let noon = Duration::from_secs(u64::from(day) * DAY_SECONDS + DAY_SECONDS / 2);
        let mut request = PriceRequest::new(self.model, usage)
            .with_provider_id(self.provider)
            .with_timestamp(SystemTime::UNIX_EPOCH + noon);
        if let Some((key, value)) = context {
            request = request.with_price_context(key, value);
        }
        let cost = self.calculator.calculate(&request).ok()?;
        (cost.model_id == self.model).then_some(CallCost {
            input: cost.input_price,
            output: cost.output_price,
            other: cost.total_price - cost.input_price - cost.output_price,
        })
    }

    /// The costs of one call with some of everything in all columns: they change when any price does.
    fn mark(&self, day: u32) -> [Option<CallCost>; COLUMNS.len()] {
        let usage = Usage::from([
            (UsageKey::INPUT_TOKENS, 700_001.0),
            (UsageKey::CACHE_READ_TOKENS, 100_003.0),
            (UsageKey::CACHE_WRITE_TOKENS, 200_011.0),
            (UsageKey::CACHE_WRITE_1H_TOKENS, 70_001.0),
            (UsageKey::OUTPUT_TOKENS, 130_003.0),
            (UsageKey::WEB_SEARCHES, 1_009.0),
        ]);
        COLUMNS.map(|(_, context)| self.cost(day, context, &usage))
    }

    /// The days on which any price may have changed, the first day included.
    fn changes(&self) -> Vec<u32> {
        let (first, after) = DAYS;
        let mut days = vec![first];
        let mut from = first;
        while from + 1 < after {
            let to = (from + LOOK_DAYS).min(after - 1);
            if self.mark(from) != self.mark(to) {
                days.extend((from + 1..=to).filter(|day| self.mark(day - 1) != self.mark(*day)));
            }
            from = to;
        }
        days
    }

    /// The prices of text for a prompt of this length; `None` if the model has none.
    fn rates(&self, day: u32, context: Context, prompt: u32) -> Option<Rates> {
        let prompt = f64::from(prompt);
        let kinds: [&[UsageKey]; 4] = [
            &[],
            &[UsageKey::CACHE_READ_TOKENS],
            &[UsageKey::CACHE_WRITE_TOKENS],
            &[UsageKey::CACHE_WRITE_TOKENS, UsageKey::CACHE_WRITE_1H_TOKENS],
        ];
        let mut of_kinds = [0.0; 4];
        for (kind, rate) in kinds.iter().zip(&mut of_kinds) {
            let keys = [UsageKey::INPUT_TOKENS].into_iter().chain(kind.iter().cloned());
            let cost = self.cost(day, context, &keys.map(|key| (key, prompt)).collect())?;
            // The price of a request as such has no place among sums of tokens.
            if cost.output != 0.0 || cost.other.abs() > 1e-9 {
                return None;
            }
            *rate = cost.input * 1e6 / prompt;
        }
        let usage = Usage::from([
            (UsageKey::INPUT_TOKENS, prompt),
            (UsageKey::OUTPUT_TOKENS, 1e6),
            (UsageKey::WEB_SEARCHES, 1_000.0),
        ]);
        let cost = self.cost(day, context, &usage)?;
        let [input, read, write_5m, write_1h] = of_kinds;
        let rates = [input, cost.output, read, write_5m, write_1h, cost.other].map(millionths);
        (rates[0] > 0 && rates[1] > 0).then_some(rates)
    }

    fn sizes(&self, day: u32, context: Context) -> Option<Sizes> {
        let mut sizes = Sizes::default();
        for (size, (smallest, largest)) in sizes.iter_mut().zip(PROMPTS) {
            let rates = self.rates(day, context, smallest)?;
            *size = (rates, rates != self.rates(day, context, largest)?);
        }
        Some(sizes)
    }

    /// A column's prices over time; empty if the list does not have the column, which costs as the standard one then.
    fn column(&self, context: Context, changes: &[u32]) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        for day in changes {
            let is_own = |sizes: &Sizes| context.is_none() || self.sizes(*day, None).as_ref() != Some(sizes);
            let sizes = self.sizes(*day, context).filter(is_own);
            if steps.last().map_or(sizes.is_some(), |(_, last)| *last != sizes) {
                // What is older than the first look is taken to have cost the same.
                steps.push((if *day == DAYS.0 { 0 } else { *day }, sizes));
            }
        }
        steps
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the assertion states the range"
)]
fn millionths(usd: f64) -> u32 {
    let rounded = (usd * 1e6).round();
    assert!((0.0..4e9).contains(&rounded), "a price of {usd} USD");
    rounded as u32
}

/// The text of the table.
#[derive(Default)]
struct Table {
    models: String,
    model_count: usize,
    rates: Vec<Rates>,
    /// Names, with dashes for dots, and the numbers of their models.
    names: BTreeMap<String, usize>,
}

impl Table {
    fn rates_number(&mut self, rates: Rates) -> usize {
        let known = self.rates.iter().position(|it| *it == rates);
        known.unwrap_or_else(|| {
            self.rates.push(rates);
            self.rates.len() - 1
        })
    }

    /// Adds a model that has prices of text.
    fn add(&mut self, listed: &Listed<'_>) {
        let key = listed.model.to_lowercase().replace('.', "-");
        let changes = listed.changes();
        let columns = COLUMNS.map(|(name, context)| (name, listed.column(context, &changes)));
        if self.names.contains_key(&key) || columns[0].1.is_empty() {
            return;
        }
        let mut text = format!("TableModel {{ name: {:?}, columns: &[\n", listed.model);
        for (name, steps) in columns.iter().filter(|(_, steps)| !steps.is_empty()) {
            let _ = writeln!(text, "    (PriceColumn::{name}, &[");
            for (from, sizes) in steps {
                let sizes =
                    sizes.map(|sizes| sizes.map(|(rates, is_cut)| (self.rates_number(rates), is_cut)));
                let _ = writeln!(text, "        TableStep {{ from: {from}, sizes: {sizes:?} }},");
            }
            let _ = writeln!(text, "    ]),");
        }
        let _ = writeln!(self.models, "{text}]}},");
        self.names.insert(key, self.model_count);
        self.model_count += 1;
    }

    /// Adds the other names under which the package finds the models of a provider.
    fn add_aliases(&mut self, calculator: &Calculator, provider: &str, models: &[&str]) {
        let nothing = Usage::new();
        for model in models {
            let shorter = model.rsplit_once('-').map(|(start, _)| start.to_owned());
            let longer = NAME_ENDS.map(|end| format!("{model}{end}"));
            for name in longer.into_iter().chain(shorter) {
                let request = PriceRequest::new(&name, &nothing).with_provider_id(provider);
                let Ok(found) = calculator.calculate(&request) else {
                    continue;
                };
                let key = |name: &str| name.to_lowercase().replace('.', "-");
                if let Some(number) = self.names.get(&key(&found.model_id)).copied() {
                    self.names.entry(key(&name)).or_insert(number);
                }
            }
        }
    }

    fn text(&self) -> String {
        let Self {
            models, rates, names, ..
        } = self;
        let names: Vec<_> = names.iter().collect();
        format!(
            "use super::{{PriceColumn, TableModel, TableStep}};\n\
             pub const VERSION: Option<&str> = Some({VERSION:?});\n\
             pub static MODELS: &[TableModel] = &[\n{models}];\n\
             pub static RATES: &[[u32; 6]] = &{rates:?};\n\
             pub static NAMES: &[(&str, u16)] = &{names:?};\n"
        )
    }
}

/// The text that `src/prices/table.rs` includes.
pub fn table() -> String {
    let calculator = Calculator::bundled();
    let mut table = Table::default();
    for provider in PROVIDERS {
        let found = calculator.find_provider(Some(provider), None);
        let found = found
            .expect("the package's expressions work")
            .expect("it has the provider");
        let models: Vec<&str> = found.models().map(genai_prices::ModelInfo::id).collect();
        for model in &models {
            table.add(&Listed {
                calculator,
                provider,
                model,
            });
        }
        table.add_aliases(calculator, provider, &models);
    }
    table.text()
}
