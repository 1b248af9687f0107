//! Prices and costs by example.

use std::sync::Arc;

use super::operator::{OperatorFactor, OperatorModel, OperatorPrices, Pattern};
use super::*;
use crate::model::{Dialect, Geography, Service, Usage};

/// 2026-11-29.
const DAY: u32 = 20_786;

/// A response that costs as much as its amounts say.
fn amounts(usage: &Usage) -> Amounts {
    Amounts {
        input: usage.input.into(),
        output: usage.output.into(),
        cache_read: usage.cache_read.into(),
        write_5m: (usage.cache_creation - usage.cache_creation_1h).into(),
        write_1h: usage.cache_creation_1h.into(),
        search: usage.web_search.into(),
    }
}

fn usd_on(list: &PriceList, day: u32, model: &str, service: Service, usage: &Usage) -> Option<f64> {
    let mut pricer = Pricer::new(list);
    let class = PriceClass::of(usage, service);
    let number = pricer.number(0, &Arc::from(model), Some(Dialect::Claude), class);
    let mut sum = CostSum::default();
    pricer.add(number, day, &amounts(usage), &mut sum);
    sum.usd()
}

fn usd(model: &str, service: Service, usage: &Usage) -> Option<f64> {
    usd_on(&PriceList::default(), DAY, model, service, usage)
}

fn of(tier: Tier, speed: Speed, geography: Geography) -> Service {
    Service {
        tier,
        speed,
        geography,
    }
}

const STANDARD: Service = Service {
    tier: Tier::Standard,
    speed: Speed::Standard,
    geography: Geography::Other,
};

fn text(input: u64, output: u64) -> Usage {
    Usage {
        input,
        output,
        ..Usage::default()
    }
}

#[test]
fn responses_cost_as_the_package_calculates() {
    let written = Usage {
        input: 3,
        cache_read: 12_000,
        cache_creation: 900,
        cache_creation_1h: 900,
        output: 240,
        ..Usage::default()
    };
    assert_eq!(usd("claude-opus-5", STANDARD, &written), Some(0.021_015));
    let searched = Usage {
        cache_creation_1h: 0,
        web_search: 2,
        ..written
    };
    assert_eq!(usd("claude-opus-5", STANDARD, &searched), Some(0.037_640));
    assert_eq!(
        usd("claude-haiku-5-5", STANDARD, &text(100_000, 1_000)),
        Some(0.0105)
    );
    let long = usd("claude-haiku-5-5", STANDARD, &text(100_001, 1_000));
    assert_eq!(long, Some(0.052_500_5));
    let call = text(1_000, 1_000);
    let batch = of(Tier::Batch, Speed::Standard, Geography::Other);
    assert_eq!(usd("claude-opus-5", batch, &call), Some(0.015));
    assert_eq!(usd("claude-opus-5", STANDARD, &call), Some(0.030));
    let fast = of(Tier::Standard, Speed::Fast, Geography::Other);
    assert_eq!(usd("claude-opus-5", fast, &call), Some(0.060));
    let codex = Usage {
        input: 1_830,
        cache_read: 300,
        cache_creation: 20,
        output: 90,
        ..Usage::default()
    };
    assert_eq!(usd("gpt-6.1-sol", STANDARD, &codex), Some(0.004_64));
}

#[test]
fn prices_have_dates() {
    let call = text(250_000, 0);
    let cost = |day| usd_on(&PriceList::default(), day, "gpt-5.6-sol", STANDARD, &call);
    // 2026-08-20 and the day after.
    assert_eq!((cost(20_685), cost(20_686)), (Some(1.25), Some(1.0)));
    // 2026-03-12 and the day after: no tier for long prompts since.
    let cost = |day| usd_on(&PriceList::default(), day, "claude-opus-4-6", STANDARD, &call);
    assert_eq!((cost(20_524), cost(20_525)), (Some(2.5), Some(1.25)));
    // Before everything known.
    assert_eq!(cost(0), Some(2.5));
}

/// USD per million tokens: input, write for 5 minutes, write for an hour, read, output.
fn listed(model: &str, prompt: PromptSize) -> Option<[f64; 5]> {
    let class = PriceClass {
        prompt,
        service: STANDARD,
    };
    let steps = PriceList::default().steps(model, class);
    let rates = price_on(&steps, DAY)?.rates;
    let kinds = [
        rates.input,
        rates.write_5m,
        rates.write_1h,
        rates.cache_read,
        rates.output,
    ];
    Some(kinds.map(|rate| f64::from(rate) / 1e6))
}

#[test]
fn the_list_of_2026_11_29_is_as_published() {
    for (models, expect) in [
        (
            &["claude-fable-5", "claude-mythos-5"][..],
            [10.0, 12.5, 20.0, 1.0, 50.0],
        ),
        (
            &["claude-fable-5-1", "claude-mythos-5-1"],
            [10.0, 12.5, 20.0, 0.25, 50.0],
        ),
        (&["claude-opus-5-5"], [4.0, 5.0, 8.0, 0.2, 20.0]),
        (
            &[
                "claude-opus-5",
                "claude-opus-4-8",
                "claude-opus-4-7",
                "claude-opus-4-6",
                "claude-opus-4-5",
            ],
            [5.0, 6.25, 10.0, 0.5, 25.0],
        ),
        (&["claude-sonnet-5-5"], [2.0, 2.5, 4.0, 0.1, 10.0]),
        (&["claude-sonnet-5"], [2.0, 2.5, 4.0, 0.2, 10.0]),
        (&["claude-sonnet-4-6"], [3.0, 3.75, 6.0, 0.3, 15.0]),
        (&["claude-haiku-4-5"], [1.0, 1.25, 2.0, 0.1, 5.0]),
        // Cache writes without a price of their own cost as input.
        (&["gpt-5.3-codex", "gpt-5.2"], [1.75, 1.75, 1.75, 0.175, 14.0]),
        (
            &["gpt-5-codex", "gpt-5.1", "gpt-5"],
            [1.25, 1.25, 1.25, 0.125, 10.0],
        ),
        (&["gpt-5.4-mini"], [0.75, 0.75, 0.75, 0.075, 4.5]),
    ] {
        for model in models {
            for size in SIZES {
                assert_eq!(listed(model, size), Some(expect), "{model} {size:?}");
            }
        }
    }
    for (model, bound, short, long) in [
        (
            "claude-sonnet-4-5",
            PromptSize::UpTo200k,
            [3.0, 3.75, 6.0, 0.3, 15.0],
            [6.0, 7.5, 12.0, 0.6, 22.5],
        ),
        (
            "claude-haiku-5-5",
            PromptSize::UpTo100k,
            [0.1, 0.125, 0.2, 0.01, 0.5],
            [0.5, 0.625, 1.0, 0.05, 2.5],
        ),
        (
            "gpt-6-astra",
            PromptSize::UpTo272k,
            [10.0, 12.5, 12.5, 1.0, 50.0],
            [20.0, 25.0, 25.0, 2.0, 75.0],
        ),
        (
            "gpt-6.1-sol",
            PromptSize::UpTo272k,
            [2.0, 2.5, 2.5, 0.1, 10.0],
            [4.0, 5.0, 5.0, 0.2, 15.0],
        ),
        (
            "gpt-6-sol",
            PromptSize::UpTo272k,
            [2.0, 2.5, 2.5, 0.2, 10.0],
            [4.0, 5.0, 5.0, 0.4, 15.0],
        ),
        (
            "gpt-6.1-terra",
            PromptSize::UpTo272k,
            [1.0, 1.25, 1.25, 0.05, 5.0],
            [2.0, 2.5, 2.5, 0.1, 7.5],
        ),
        (
            "gpt-6-luna",
            PromptSize::UpTo272k,
            [0.1, 0.125, 0.125, 0.01, 0.5],
            [0.2, 0.25, 0.25, 0.02, 0.75],
        ),
        (
            "gpt-5.6-sol",
            PromptSize::UpTo272k,
            [4.0, 5.0, 5.0, 0.4, 20.0],
            [8.0, 10.0, 10.0, 0.8, 30.0],
        ),
        (
            "gpt-5.6-terra",
            PromptSize::UpTo272k,
            [2.0, 2.5, 2.5, 0.2, 12.0],
            [4.0, 5.0, 5.0, 0.4, 18.0],
        ),
        (
            "gpt-5.6-luna",
            PromptSize::UpTo272k,
            [0.2, 0.25, 0.25, 0.02, 1.2],
            [0.4, 0.5, 0.5, 0.04, 1.8],
        ),
        (
            "gpt-5.5",
            PromptSize::UpTo272k,
            [5.0, 5.0, 5.0, 0.5, 30.0],
            [10.0, 10.0, 10.0, 1.0, 45.0],
        ),
        (
            "gpt-5.4",
            PromptSize::UpTo272k,
            [2.5, 2.5, 2.5, 0.25, 15.0],
            [5.0, 5.0, 5.0, 0.5, 22.5],
        ),
    ] {
        for size in SIZES {
            let expect = if size <= bound { short } else { long };
            assert_eq!(listed(model, size), Some(expect), "{model} {size:?}");
        }
    }
}

#[test]
fn a_price_that_is_unknown_is_not_zero() {
    let call = text(1_000, 1_000);
    for (model, service) in [
        ("gpt-6.2-sol", STANDARD),
        ("gpt-6.2-astra", STANDARD),
        ("codex-auto-review", STANDARD),
        ("", STANDARD),
        ("claude", STANDARD),
        ("claude-opus-5-new", STANDARD),
        // Columns that the list does not have.
        (
            "claude-opus-5",
            of(Tier::Other, Speed::Standard, Geography::Other),
        ),
        (
            "claude-opus-5",
            of(Tier::Priority, Speed::Standard, Geography::Other),
        ),
        (
            "claude-mythos-5",
            of(Tier::Batch, Speed::Standard, Geography::Other),
        ),
        (
            "claude-opus-4-7",
            of(Tier::Standard, Speed::Fast, Geography::Other),
        ),
    ] {
        assert_eq!(usd(model, service, &call), None, "{model} {service:?}");
    }
    // No usage, and no model.
    assert_eq!(usd("gpt-6.2-sol", STANDARD, &Usage::default()), Some(0.0));
    assert_eq!(usd("<synthetic>", STANDARD, &call), Some(0.0));
}

#[test]
fn a_model_has_many_names() {
    let call = text(1_000, 1_000);
    for name in [
        "claude-opus-5[1m]",
        "anthropic/claude-opus-5",
        "us.anthropic.claude-opus-5-20260901-v1:0",
        "claude-opus-5@20260901",
        "claude-opus-5-20260901",
        "claude-opus-5-latest",
        "Claude-Opus-5",
    ] {
        assert_eq!(usd(name, STANDARD, &call), Some(0.030), "{name}");
    }
    let fast = of(Tier::Unknown, Speed::Fast, Geography::Other);
    for (name, service) in [
        ("claude-opus-5-fast", fast),
        ("claude-opus-5[1m]-fast", fast),
        ("claude-opus-5-fast", STANDARD),
        ("claude-opus-5-20260901-fast", fast),
    ] {
        assert_eq!(usd(name, service, &call), Some(0.060), "{name}");
    }
    // Models whose own names end so.
    assert!(listed("grok-code-fast-1", PromptSize::UpTo100k).is_some());
    assert_eq!(
        listed("grok-4-fast", PromptSize::UpTo100k),
        listed("grok-4-fast-reasoning", PromptSize::UpTo100k)
    );
    for (name, like) in [
        ("gpt-5.6", "gpt-5.6-sol"),
        ("gpt-5-codex", "gpt-5"),
        ("gpt-5.5-codex", "gpt-5.5"),
        ("gpt-5.5-2026-04-23", "gpt-5.5"),
        ("claude-3-5-haiku-20241022", "claude-3-5-haiku-latest"),
        ("claude-sonnet-4-20250514", "claude-sonnet-4-0"),
        ("claude-opus-4-1-20250805", "claude-opus-4-1"),
    ] {
        assert_eq!(
            listed(name, PromptSize::More),
            listed(like, PromptSize::More),
            "{name}"
        );
        assert!(listed(name, PromptSize::More).is_some(), "{name}");
    }
}

#[test]
fn multipliers_multiply() {
    let call = text(1_000, 1_000);
    let us = |tier, speed| of(tier, speed, Geography::Us);
    for (model, service, expect) in [
        ("claude-opus-5", us(Tier::Standard, Speed::Standard), Some(0.033)),
        ("claude-opus-5", us(Tier::Standard, Speed::Fast), Some(0.066)),
        ("claude-opus-5", us(Tier::Batch, Speed::Fast), Some(0.033)),
        (
            "claude-opus-4-5",
            us(Tier::Standard, Speed::Standard),
            Some(0.030),
        ),
        ("gpt-6.1-sol", us(Tier::Standard, Speed::Standard), Some(0.012)),
        // Prices of fast mode in the list itself, for the standard tier alone.
        (
            "gpt-5.5",
            of(Tier::Unknown, Speed::Fast, Geography::Other),
            Some(0.0875),
        ),
        ("gpt-5.5", of(Tier::Flex, Speed::Fast, Geography::Other), None),
        (
            "gpt-5.5",
            of(Tier::Priority, Speed::Standard, Geography::Other),
            Some(0.0875),
        ),
        (
            "gpt-6.1-sol",
            of(Tier::Priority, Speed::Standard, Geography::Other),
            Some(0.024),
        ),
        (
            "gpt-5.5",
            of(Tier::Flex, Speed::Standard, Geography::Other),
            Some(0.0175),
        ),
    ] {
        assert_eq!(usd(model, service, &call), expect, "{model} {service:?}");
    }
    // Searches cost the same in all columns.
    let searched = Usage {
        web_search: 1_000,
        ..call
    };
    let fast = us(Tier::Batch, Speed::Fast);
    assert_eq!(usd("claude-opus-5", fast, &searched), Some(10.033));
}

/// The models of which a threshold is inside a size of prompts, so that a sum has two prices.
#[test]
fn the_sizes_of_prompts_are_those_of_the_list() {
    let mut cut = Vec::new();
    for model in table::MODELS {
        let columns = [
            PriceColumn::Standard,
            PriceColumn::Batch,
            PriceColumn::Priority,
            PriceColumn::Flex,
            PriceColumn::Fast,
        ];
        let steps = columns.iter().flat_map(|column| model.steps(*column));
        let is_cut = |step: &table::TableStep| {
            let mut sizes = SIZES.iter().filter_map(|size| step.rates(*size));
            sizes.any(|(_, is_cut)| is_cut)
        };
        if steps.into_iter().any(is_cut) {
            cut.push(model.name);
        }
    }
    assert_eq!(
        cut,
        [
            // 128,000 tokens; all retired.
            "gemini-1.5-flash",
            "gemini-1.5-pro",
            "gemini-flash-1.5",
            "gemini-flash-1.5-8b",
            "gemini-pro-1.5",
            // 199,999 tokens: one length of all has two prices.
            "grok-4.20",
            "grok-4.20-multi-agent-0309",
            "grok-4.3",
            "grok-4.5",
            "grok-4.6",
            "grok-4.7",
            "grok-build-0.1",
            // 512,000 tokens.
            "minimax-m3",
        ]
    );
}

#[test]
fn the_operator_has_the_last_word() {
    let rates = |input| Rates {
        input,
        output: 10_000_000,
        ..Rates::default()
    };
    let model = |models, since, input| OperatorModel {
        models,
        name: "x".into(),
        since,
        sizes: [rates(input), rates(input), rates(input), rates(2 * input)],
    };
    let exactly = |name: &str| Pattern::Exactly(name.into());
    let prefix = |name: &str| Pattern::Prefix(name.into());
    let list = PriceList::new(Some(OperatorPrices {
        models: vec![
            model(exactly("gpt-6-2-sol"), DAY, 2_000_000),
            model(prefix("gpt-6-2"), 0, 3_000_000),
            model(prefix("gpt-6"), 0, 4_000_000),
            model(exactly("gpt-5-6-sol"), DAY, 1_000_000),
        ],
        fast: vec![OperatorFactor {
            models: prefix("gpt-6"),
            factor: 3_000,
        }],
        us: vec![OperatorFactor {
            models: exactly("claude-opus-5"),
            factor: 1_500,
        }],
    }));
    assert_eq!(list.title(), "genai-prices 0.2.1 + prices.toml");
    let million = text(1_000_000, 0);
    let cost = |day, model, service, usage| usd_on(&list, day, model, service, usage);
    let short = text(100_000, 0);
    assert_eq!(cost(DAY, "gpt-6.2-sol", STANDARD, &short), Some(0.2));
    assert_eq!(cost(DAY, "openai/gpt-6.2-sol", STANDARD, &million), Some(4.0));
    assert_eq!(cost(DAY - 1, "gpt-6.2-sol", STANDARD, &short), None);
    assert_eq!(cost(DAY, "gpt-6.2-astra", STANDARD, &short), Some(0.3));
    assert_eq!(cost(DAY, "gpt-6.3", STANDARD, &short), Some(0.4));
    assert_eq!(cost(DAY, "gpt-5.6-sol", STANDARD, &short), Some(0.1));
    assert_eq!(cost(DAY - 1, "gpt-5.6-sol", STANDARD, &short), Some(0.4));
    let fast = of(Tier::Standard, Speed::Fast, Geography::Other);
    assert_eq!(cost(DAY, "gpt-6.2-sol", fast, &short), Some(0.6));
    let batch = of(Tier::Batch, Speed::Standard, Geography::Other);
    assert_eq!(cost(DAY, "gpt-6.2-sol", batch, &short), None);
    let us = of(Tier::Standard, Speed::Standard, Geography::Us);
    assert_eq!(cost(DAY, "claude-opus-5", us, &short), Some(0.75));
}

#[test]
fn sums_name_what_is_left_out() {
    let list = PriceList::default();
    let mut pricer = Pricer::new(&list);
    let class = PriceClass::default();
    let known = pricer.number(0, &Arc::from("gpt-6.1-sol"), Some(Dialect::Codex), class);
    let unknown = pricer.number(1, &Arc::from("gpt-6.2-sol"), Some(Dialect::Codex), class);
    let retired = pricer.number(2, &Arc::from("gemini-1.5-pro"), Some(Dialect::Gemini), class);
    assert_eq!(
        pricer.number(1, &Arc::from("gpt-6.2-sol"), Some(Dialect::Codex), class),
        unknown
    );
    let call = amounts(&text(900, 100));
    let (mut one, mut other, mut empty) = Default::default();
    pricer.add(known, DAY, &call, &mut one);
    pricer.add(unknown, DAY, &call, &mut other);
    pricer.add(unknown, DAY, &call, &mut other);
    pricer.add(retired, DAY, &Amounts::default(), &mut empty);
    assert_eq!(empty, CostSum::default());
    assert_eq!((one.usd(), other.usd()), (Some(0.0028), None));
    assert_eq!(other.unpriced().get(&1), Some(&2_000));
    one.add(&other);
    assert_eq!(one.usd(), Some(0.0028));
    assert_eq!(one.unpriced().len(), 1);
    assert_eq!(pricer.name(1), "gpt-6.2-sol");
    assert_eq!(pricer.assumed(), ["codex: standard tier"]);
    assert_eq!(pricer.title(), "genai-prices 0.2.1");
}

#[test]
fn sums_of_any_size_saturate() {
    let list = PriceList::default();
    let steps = list.steps("claude-opus-5", PriceClass::default());
    let price = price_on(&steps, DAY).unwrap();
    let most = Amounts {
        input: i128::MAX,
        output: i128::MAX,
        search: i128::MAX,
        ..Amounts::default()
    };
    assert_eq!(most.cost(price), i128::MAX);
    assert_eq!(most.tokens(), i128::MAX);
}
