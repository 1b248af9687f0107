//! An account as text: every key with its value, given or by default.

use std::collections::BTreeMap;

use serde::Serialize;

use super::poll::DescribedPoll;
use super::start::DescribedRamp;
use super::table::{KEYS, TokenKind};
use crate::model::Labels;
use crate::quota::account::{Account, OnUnknown, TokenKinds};

/// One account as text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DescribedAccount {
    pub provider: Box<str>,
    pub name: Box<str>,
    pub runs: Vec<String>,
    pub labels: Labels,
    pub calls_quota: u64,
    pub warn_at_percent: u8,
    pub daily_tokens: u64,
    pub counted: Vec<TokenKind>,
    pub thresholds: Vec<u8>,
    pub minimum_left: BTreeMap<Box<str>, u8>,
    pub on_unknown: OnUnknown,
    pub use_overage: bool,
    pub models: BTreeMap<Box<str>, Box<str>>,
    pub concurrency: u32,
    pub reserve: BTreeMap<Box<str>, f64>,
    pub ramp: DescribedRamp,
    pub cost: BTreeMap<Box<str>, f64>,
    pub poll: DescribedPoll,
}

impl DescribedAccount {
    pub(super) fn new(rules: &Account, runs: &[String], labels: Labels) -> Self {
        let TokenKinds {
            input,
            output,
            cache_creation,
            cache_read,
        } = rules.counted;
        let counted = [
            (input, TokenKind::Input),
            (output, TokenKind::Output),
            (cache_creation, TokenKind::CacheCreation),
            (cache_read, TokenKind::CacheRead),
        ];
        Self {
            provider: rules.id.provider.clone(),
            name: rules.id.name.clone(),
            runs: runs.to_vec(),
            labels,
            calls_quota: rules.calls_quota,
            warn_at_percent: rules.warn_at_percent,
            daily_tokens: rules.daily_tokens,
            counted: counted
                .into_iter()
                .filter_map(|(counts, kind)| counts.then_some(kind))
                .collect(),
            thresholds: rules.thresholds.clone(),
            minimum_left: rules
                .minimum_left
                .iter()
                .map(|minimum| (minimum.window.clone(), minimum.percent))
                .collect(),
            on_unknown: rules.on_unknown,
            use_overage: rules.use_overage,
            models: rules.models.clone(),
            concurrency: rules.start.concurrency,
            reserve: rules.start.reserve.clone(),
            ramp: DescribedRamp::new(rules.start.ramp),
            cost: rules.start.cost.clone(),
            poll: rules.poll.as_ref().into(),
        }
    }

    /// Every key with its value in TOML, in the order of the example.
    #[must_use]
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let table = toml::Table::try_from(self).unwrap_or_default();
        KEYS.iter()
            .filter_map(|key| Some((key.name, table.get(key.name)?.to_string())))
            .collect()
    }
}
