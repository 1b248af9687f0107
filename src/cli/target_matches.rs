//! Findings about conditions of targets that nothing configured fits, so that the target would get no such event.

use strum::VariantArray as _;

use super::finding::Finding;
use crate::config::Settings;
use crate::model::{ACCOUNT_DEFAULT, AccountId, Dialect};
use crate::quota::notice::NoticeKind;
use crate::quota::notice::target::NoticeTarget;

/// Most accounts named in a finding.
const NAMED_MAX: usize = 10;

/// Findings about conditions that no configured account fits. None stops `serve`: labels of runs may name others.
#[must_use]
pub fn targets(settings: &Settings) -> Vec<Finding> {
    let found = settings.notify.targets.iter().filter_map(|target| {
        let finding = no_account(target, settings).or_else(|| no_threshold(target, settings))?;
        Some(Finding {
            what: format!("notify {}: {}", target.name, finding.what),
            ..finding
        })
    });
    found.collect()
}

/// The condition on accounts, if it fits none.
fn no_account(target: &NoticeTarget, settings: &Settings) -> Option<Finding> {
    let matches = &target.matches;
    // Runs that no table has belong to the default account of their provider.
    let default = |provider: &str| AccountId {
        provider: provider.into(),
        name: ACCOUNT_DEFAULT.into(),
    };
    let is_known = (settings.accounts.rules().iter()).any(|rules| matches.takes_account(&rules.id))
        || (Dialect::VARIANTS.iter()).any(|dialect| matches.takes_account(&default(dialect.provider())));
    if is_known || settings.accounts.is_open() {
        return None;
    }
    let given = [("provider", &matches.provider), ("account", &matches.account)];
    let given: Vec<String> = (given.iter())
        .filter_map(|(key, pattern)| Some(format!("{key} = {:?}", pattern.as_deref()?)))
        .collect();
    let known = settings.accounts.rules().iter().take(NAMED_MAX);
    let known: Vec<String> = known.map(|rules| rules.id.to_string()).collect();
    Some(Finding::new(
        format!("match has {}, which no configured account fits", given.join(", ")),
        format!(
            "there are {}, and `*` stands for any characters",
            known.join(", ")
        ),
    ))
}

/// The least threshold, if no account that fits has one as high.
fn no_threshold(target: &NoticeTarget, settings: &Settings) -> Option<Finding> {
    let least = target.matches.threshold?;
    if ![NoticeKind::WindowThreshold, NoticeKind::BudgetThreshold]
        .iter()
        .any(|kind| target.names(*kind))
    {
        return None;
    }
    let fitting = (settings.accounts.rules().iter()).filter(|rules| target.matches.takes_account(&rules.id));
    let highest = fitting.flat_map(|rules| &rules.thresholds).max()?;
    (least > *highest).then(|| {
        Finding::new(
            format!("match has threshold = {least}, but the highest of `thresholds` is {highest}"),
            format!("add {least} to the `thresholds` of an account, or write a lower one here"),
        )
    })
}
