//! The names of the provider's windows: spellings, lengths, and whom each binds.

use super::{DAY_MS, HOUR_MS, Millis};

pub const FIVE_HOUR: &str = "five_hour";
pub const SEVEN_DAY: &str = "seven_day";
pub const SEVEN_DAY_OPUS: &str = "seven_day_opus";
pub const SEVEN_DAY_SONNET: &str = "seven_day_sonnet";
pub const SEVEN_DAY_OVERAGE_INCLUDED: &str = "seven_day_overage_included";
/// What is paid beyond the windows: money, not a window that resets.
pub const OVERAGE: &str = "overage";
/// A pause of the whole account after a 429 that names no window: `reset_at` is its end (`retry-after`), if one was given.
pub const COOL_DOWN: &str = "cool_down";

/// The one spelling of a window's name; a name that is not known stays as it is.
#[must_use]
pub fn canonical(name: &str) -> &str {
    match name {
        "5h" => FIVE_HOUR,
        "7d" | "weekly" => SEVEN_DAY,
        "7d_opus" => SEVEN_DAY_OPUS,
        "7d_sonnet" | "sonnet_weekly" => SEVEN_DAY_SONNET,
        "7d_oi" => SEVEN_DAY_OVERAGE_INCLUDED,
        other => other,
    }
}

/// How long a window lasts, in milliseconds; `None` where nobody has said.
#[must_use]
pub fn length(bucket: &str) -> Option<Millis> {
    match canonical(bucket) {
        FIVE_HOUR => Some(5 * HOUR_MS),
        SEVEN_DAY | SEVEN_DAY_OPUS | SEVEN_DAY_SONNET | SEVEN_DAY_OVERAGE_INCLUDED => Some(7 * DAY_MS),
        _ => None,
    }
}

/// True if a run with this model is held back when the window is used up.
///
/// A window for one family of models binds that family only, and nobody who names no model. `overage` binds
/// nobody: it can be refused while the windows have plenty left.
#[must_use]
pub fn binds(bucket: &str, model: Option<&str>) -> bool {
    let family = |name: &str| model.is_some_and(|model| model.to_ascii_lowercase().contains(name));
    match canonical(bucket) {
        SEVEN_DAY_OPUS => family("opus"),
        SEVEN_DAY_SONNET => family("sonnet"),
        SEVEN_DAY_OVERAGE_INCLUDED => family("fable"),
        OVERAGE => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_has_one_spelling_and_strangers_keep_their_name() {
        for (alias, name) in [
            ("5h", FIVE_HOUR),
            ("7d", SEVEN_DAY),
            ("weekly", SEVEN_DAY),
            ("7d_opus", SEVEN_DAY_OPUS),
            ("7d_sonnet", SEVEN_DAY_SONNET),
            ("sonnet_weekly", SEVEN_DAY_SONNET),
            ("7d_oi", SEVEN_DAY_OVERAGE_INCLUDED),
            ("overage", OVERAGE),
            ("weekly_scoped:new", "weekly_scoped:new"),
            ("", ""),
        ] {
            assert_eq!(canonical(alias), name);
            assert_eq!(canonical(name), name, "canonical twice is canonical once");
        }
    }

    #[test]
    fn lengths_are_known_by_any_spelling() {
        assert_eq!(length("5h"), Some(18_000_000));
        assert_eq!(length("sonnet_weekly"), Some(604_800_000));
        assert_eq!(length(SEVEN_DAY_OVERAGE_INCLUDED), Some(604_800_000));
        assert_eq!(length(OVERAGE), None);
        assert_eq!(length("other"), None);
    }

    #[test]
    fn a_family_window_binds_its_family_only() {
        assert!(binds(SEVEN_DAY_OPUS, Some("claude-Opus-5")));
        assert!(!binds(SEVEN_DAY_OPUS, Some("claude-sonnet-5")));
        assert!(binds("7d_sonnet", Some("claude-sonnet-5")));
        assert!(!binds(SEVEN_DAY_OPUS, None) && !binds(SEVEN_DAY_SONNET, None));
        assert!(binds(FIVE_HOUR, None) && binds(SEVEN_DAY, Some("claude-opus-5")) && binds("other", None));
        assert!(!binds(OVERAGE, Some("claude-opus-5")));
        assert!(binds("7d_oi", Some("claude-fable-5")) && !binds("7d_oi", Some("claude-haiku-5")));
    }
}
