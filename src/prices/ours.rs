//! What the table of the package does not have: multipliers, and models that it does not know.
//!
//! Each row names its source.

use super::operator::Pattern;
use super::{FACTOR_ONE, Rates};

/// A multiplier of the models that a pattern matches, in thousandths.
pub struct Multiplier {
    pub models: Pattern<&'static str>,
    pub factor: u32,
}

const fn exactly(models: &'static str, factor: u32) -> Multiplier {
    Multiplier {
        models: Pattern::Exactly(models),
        factor,
    }
}

const fn beginning(models: &'static str, factor: u32) -> Multiplier {
    Multiplier {
        models: Pattern::Prefix(models),
        factor,
    }
}

/// Fast mode costs this many times as much; a model without a row has no known price of it.
pub const FAST: [Multiplier; 3] = [
    // Source of the three: LiteLLM 1.110.2, `provider_specific_entry.fast` = 2.0.
    exactly("claude-opus-4-8", 2_000),
    exactly("claude-opus-5", 2_000),
    exactly("claude-opus-5-5", 2_000),
];

/// Inference in the United States only costs this many times as much. The longest row that matches counts; Claude models
/// without a row have no known price of it, and others have no such price at all.
pub const US: [Multiplier; 18] = [
    // Source of the rows with 1.1: LiteLLM 1.110.2, `provider_specific_entry.us` = 1.1; for mythos the rule of
    // Anthropic's pricing page, "data residency": models of 4.6 and later.
    exactly("claude-opus-4-6", 1_100),
    exactly("claude-opus-4-7", 1_100),
    exactly("claude-opus-4-8", 1_100),
    exactly("claude-opus-5", 1_100),
    exactly("claude-opus-5-5", 1_100),
    exactly("claude-sonnet-4-6", 1_100),
    exactly("claude-sonnet-5", 1_100),
    exactly("claude-sonnet-5-5", 1_100),
    exactly("claude-haiku-5-5", 1_100),
    beginning("claude-fable-5", 1_100),
    beginning("claude-mythos-5", 1_100),
    // Source of the rest: the same page, earlier models cost the same everywhere.
    beginning("claude-2", FACTOR_ONE),
    beginning("claude-3", FACTOR_ONE),
    beginning("claude-opus-4", FACTOR_ONE),
    beginning("claude-sonnet-4", FACTOR_ONE),
    beginning("claude-haiku-4", FACTOR_ONE),
    beginning("claude-4", FACTOR_ONE),
    beginning("claude-v1", FACTOR_ONE),
];

/// Models that the package does not have, with their standard prices at all times and for all lengths. Without the list
/// there are none of these either: two models with a price would look like a choice.
pub const MODELS: &[(&str, Rates)] = if cfg!(feature = "cost") {
    &[
        // Source: LiteLLM 1.110.2, `claude-mythos-5`.
        ("claude-mythos-5", mythos(1_000_000)),
        // Source: LiteLLM 1.110.2, `claude-mythos-5-1`.
        ("claude-mythos-5-1", mythos(250_000)),
    ]
} else {
    &[]
};

const fn mythos(cache_read: u32) -> Rates {
    Rates {
        input: 10_000_000,
        output: 50_000_000,
        cache_read,
        write_5m: 12_500_000,
        write_1h: 20_000_000,
        search: Some(10_000_000),
    }
}
