//! Wording of errors: messages of serde in the terms of TOML, with suggestions.

use super::mistakes::{MistakeText, did_you_mean, near};
use super::{KEYS, accounts, notifications};

/// Translates serde's terms (field, variant, sequence, map) into those of TOML (key, value, array, table).
pub(super) fn to_toml_terms(message: &str) -> MistakeText {
    let what = message
        .replace("unknown field", "unknown key")
        .replace("unknown variant", "unknown value")
        .replace("expected a sequence", "expected an array")
        .replace("expected a map", "expected a table")
        .replace("invalid type: sequence", "invalid type: array")
        .replace("invalid type: map", "invalid type: table");
    // Errors of amounts already contain a suggestion.
    let (what, hint) = match what.rsplit_once("; did you mean ") {
        Some((what, word)) => (what, Some(format!("did you mean {}", word.trim_end()))),
        None => (what.trim_end(), meant(message)),
    };
    MistakeText::new(what, hint)
}

/// A suggestion for an unknown key or value.
fn meant(message: &str) -> Option<String> {
    let (kind, rest) = message.split_once(" `")?;
    let (given, expected) = rest
        .rsplit_once("`, expected ")
        .or_else(|| Some((rest.strip_suffix('`')?, "")))?;
    let is_key = kind == "unknown field";
    if !is_key && kind != "unknown variant" {
        return None;
    }
    if let Some(word) = near(given, expected.split('`').skip(1).step_by(2)) {
        return Some(did_you_mean(word));
    }
    // The key may belong in another table.
    let last = |name: &'static str| name.rsplit_once('.').map_or(name, |(_, last)| last);
    let is_meant = |name: &str| name == given || near(given, [name]).is_some();
    let elsewhere = KEYS.iter().find(|key| is_key && is_meant(last(key.name)));
    match elsewhere.map(|key| (key.name.rsplit_once('.'), key.name)) {
        Some((Some((table, name)), _)) => Some(format!("`{name}` belongs below [{table}]")),
        Some((None, name)) => Some(format!("`{name}` belongs before the first [table]")),
        None if is_key && accounts::KEYS.iter().any(|key| is_meant(key.name)) => {
            Some("keys of an account belong below [[account]]".to_owned())
        }
        None if is_key && notifications::KEYS.iter().any(|key| is_meant(key.name)) => {
            Some("keys of a target belong below [[notify]]".to_owned())
        }
        None => None,
    }
}
