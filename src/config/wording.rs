//! Wording: the messages of serde in the words of the configuration, with what was probably meant.

use super::mistakes::{MistakeText, did_you_mean, near};
use super::{KEYS, accounts};

/// serde speaks of fields, variants, sequences and maps, people of keys, words, arrays and tables.
pub(super) fn say(message: &str) -> MistakeText {
    let what = message
        .replace("unknown field", "unknown key")
        .replace("unknown variant", "unknown value")
        .replace("expected a sequence", "expected an array")
        .replace("expected a map", "expected a table")
        .replace("invalid type: sequence", "invalid type: array")
        .replace("invalid type: map", "invalid type: table");
    // What reads amounts says itself what was meant.
    let (what, hint) = match what.rsplit_once("; did you mean ") {
        Some((what, word)) => (what, Some(format!("did you mean {}", word.trim_end()))),
        None => (what.trim_end(), meant(message)),
    };
    MistakeText::new(what, hint)
}

/// What was meant by a name or a word that is not known.
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
    // It may stand in the wrong table.
    let last = |name: &'static str| name.rsplit_once('.').map_or(name, |(_, last)| last);
    let is_meant = |name: &str| name == given || near(given, [name]).is_some();
    let elsewhere = KEYS.iter().find(|key| is_key && is_meant(last(key.name)));
    match elsewhere.map(|key| (key.name.rsplit_once('.'), key.name)) {
        Some((Some((table, name)), _)) => Some(format!("`{name}` belongs below [{table}]")),
        Some((None, name)) => Some(format!("`{name}` belongs before the first [table]")),
        None if is_key && accounts::KEYS.iter().any(|key| is_meant(key.name)) => {
            Some("keys of an account belong below [[account]]".to_owned())
        }
        None => None,
    }
}
