//! The price class of a response: the properties that a price list uses and that sums of tokens do not
//! contain.
//!
//! A price depends on the length of each prompt, the speed, the geography and the service tier. Sums that are
//! separate for each of these can be priced exactly by any list.

use strum::{EnumIter, IntoStaticStr};

use super::usage::Usage;

/// Maximum length of the prompts of each size except the last, in tokens.
const PROMPT_TOKENS_MAX: [(u64, PromptSize); 3] = [
    (100_000, PromptSize::UpTo100k),
    (200_000, PromptSize::UpTo200k),
    (272_000, PromptSize::UpTo272k),
];

/// The length of a prompt, cached tokens included: providers charge more above some of these bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, EnumIter)]
pub enum PromptSize {
    #[default]
    #[strum(serialize = "prompt_100k")]
    UpTo100k = 0,
    #[strum(serialize = "prompt_200k")]
    UpTo200k = 1,
    #[strum(serialize = "prompt_272k")]
    UpTo272k = 2,
    #[strum(serialize = "prompt_more")]
    More = 3,
}

impl PromptSize {
    /// The size of the prompt of a response.
    #[must_use]
    pub fn of(usage: &Usage) -> Self {
        let prompt = usage
            .input
            .saturating_add(usage.cache_read)
            .saturating_add(usage.cache_creation);
        let size = PROMPT_TOKENS_MAX.into_iter().find(|(most, _)| prompt <= *most);
        size.map_or(Self::More, |(_, size)| size)
    }
}

/// The speed of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Speed {
    #[default]
    Standard = 0,
    Fast = 1,
}

/// The place where a response was computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Geography {
    #[default]
    Other = 0,
    /// In the United States because the request demands it.
    Us = 1,
}

/// The service tier of a response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, EnumIter)]
#[strum(serialize_all = "snake_case")]
pub enum Tier {
    #[default]
    Unknown = 0,
    Standard = 1,
    Priority = 2,
    Batch = 3,
    Other = 4,
    Flex = 5,
}

/// The service of a response, as its line states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Service {
    pub tier: Tier,
    pub speed: Speed,
    pub geography: Geography,
}

/// The price class of a response: its usage is priced by one row of a price list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PriceClass {
    pub prompt: PromptSize,
    pub service: Service,
}

impl PriceClass {
    #[must_use]
    pub fn of(usage: &Usage, service: Service) -> Self {
        Self {
            prompt: PromptSize::of(usage),
            service,
        }
    }

    /// Its name in documents: prompt, speed, geography and tier, as in `prompt_200k/fast/us/batch`.
    #[must_use]
    pub fn name(self) -> String {
        let prompt: &str = self.prompt.into();
        let speed: &str = self.service.speed.into();
        let geography: &str = self.service.geography.into();
        let tier: &str = self.service.tier.into();
        format!("{prompt}/{speed}/{geography}/{tier}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prompt_counts_cached_tokens_and_a_bound_belongs_to_the_smaller_size() {
        let of = |input, cache_read, cache_creation| {
            PromptSize::of(&Usage {
                input,
                cache_read,
                cache_creation,
                output: 9_999_999,
                ..Usage::default()
            })
        };
        assert_eq!(of(0, 0, 0), PromptSize::UpTo100k);
        assert_eq!(of(1, 99_000, 999), PromptSize::UpTo100k);
        assert_eq!(of(1, 99_000, 1_000), PromptSize::UpTo200k);
        assert_eq!(of(0, 200_000, 0), PromptSize::UpTo200k);
        assert_eq!(of(200_001, 0, 0), PromptSize::UpTo272k);
        assert_eq!(of(0, 0, 272_000), PromptSize::UpTo272k);
        assert_eq!(of(272_001, 0, 0), PromptSize::More);
        assert_eq!(of(u64::MAX, u64::MAX, u64::MAX), PromptSize::More);
    }

    #[test]
    fn names_of_classes_are_stable() {
        assert_eq!(PriceClass::default().name(), "prompt_100k/standard/other/unknown");
        let class = PriceClass {
            prompt: PromptSize::UpTo200k,
            service: Service {
                tier: Tier::Batch,
                speed: Speed::Fast,
                geography: Geography::Us,
            },
        };
        assert_eq!(class.name(), "prompt_200k/fast/us/batch");
        let more = PriceClass {
            prompt: PromptSize::More,
            service: Service {
                tier: Tier::Flex,
                ..Service::default()
            },
        };
        assert_eq!(more.name(), "prompt_more/standard/other/flex");
    }
}
