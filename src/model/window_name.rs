//! The names of the provider's windows: spellings, lengths, and the runs that each binds.

use super::{DAY_MS, HOUR_MS, MINUTE_MS, Millis};

pub const FIVE_HOUR: &str = "five_hour";
pub const SEVEN_DAY: &str = "seven_day";
pub const SEVEN_DAY_OPUS: &str = "seven_day_opus";
pub const SEVEN_DAY_SONNET: &str = "seven_day_sonnet";
pub const SEVEN_DAY_OVERAGE_INCLUDED: &str = "seven_day_overage_included";
/// The window of a refusal that names none.
pub const UNKNOWN: &str = "unknown";

/// A window in a sentence.
#[must_use]
pub fn in_words(name: &str) -> &str {
    if name == UNKNOWN {
        "a window that the provider did not name"
    } else {
        name
    }
}
/// Use that is paid beyond the windows: an amount of money, not a window that resets.
pub const OVERAGE: &str = "overage";
/// A pause of the whole account after a 429 without a window name: `reset_at` is its end (`retry-after`), if
/// it was given.
pub const COOL_DOWN: &str = "cool_down";
/// Payment of the request as overage: a share of 1 if it was, of 0 if it was not. Not a window.
pub const OVERAGE_IN_USE: &str = "overage_in_use";

/// A window of the account's own limit at Codex of which only the slot is known: `primary` or `secondary`.
pub const CODEX_SLOT: &str = "codex_";

/// The names in the provider's own lines, each in its normalised spelling.
const FIXED: [&str; 14] = [
    FIVE_HOUR,
    SEVEN_DAY,
    SEVEN_DAY_OPUS,
    SEVEN_DAY_SONNET,
    SEVEN_DAY_OVERAGE_INCLUDED,
    UNKNOWN,
    OVERAGE,
    COOL_DOWN,
    OVERAGE_IN_USE,
    "monthly_spend",
    "requests",
    "tokens",
    "input_tokens",
    "output_tokens",
];

/// True for one of the fixed names, to which a log cannot add more. Families and limits of Codex have any
/// name.
#[must_use]
pub fn is_fixed(name: &str) -> bool {
    FIXED.contains(&canonical(name))
}

/// Every name of a window of the provider's, and the other spellings.
pub fn known() -> impl Iterator<Item = &'static str> {
    const SPELLINGS: [&str; 9] = [
        "5h",
        "7d",
        "weekly",
        "7d_opus",
        "7d_sonnet",
        "sonnet_weekly",
        "7d_oi",
        "codex_primary",
        "codex_secondary",
    ];
    FIXED.into_iter().filter(|name| *name != UNKNOWN).chain(SPELLINGS)
}

/// The normalised name of a window; an unknown name is unchanged.
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

/// The length of a window, in milliseconds; `None` if it is unknown.
#[must_use]
pub fn length(name: &str) -> Option<Millis> {
    let name = canonical(name);
    let minutes = |text: &str| {
        text.parse::<u32>()
            .ok()
            .map(|count| Millis::from(count) * MINUTE_MS)
    };
    if let Some((_, window)) = name.strip_prefix("codex:").and_then(|rest| rest.rsplit_once(':')) {
        return match window {
            FIVE_HOUR => Some(5 * HOUR_MS),
            SEVEN_DAY => Some(7 * DAY_MS),
            other => minutes(other.strip_suffix('m')?),
        };
    }
    if let Some(count) = minutes_in(name) {
        return minutes(count);
    }
    match (name, reach(name)) {
        (FIVE_HOUR, _) => Some(5 * HOUR_MS),
        (SEVEN_DAY, _) | (_, Reach::Family(_)) => Some(7 * DAY_MS),
        _ => None,
    }
}

/// The minutes in the name of a window that is named by its length only: `4320m`.
fn minutes_in(name: &str) -> Option<&str> {
    name.strip_suffix('m')
        .filter(|count| !count.is_empty() && count.bytes().all(|byte| byte.is_ascii_digit()))
}

/// True for the name of a window that is named by its length only: `4320m`.
#[must_use]
pub fn is_length(name: &str) -> bool {
    minutes_in(name).is_some()
}

/// True for the name of a window of one family of models, or of a further limit of Codex: these have any name.
#[must_use]
pub fn is_scoped(name: &str) -> bool {
    family(name).is_some() || name.starts_with("codex:") && length(name).is_some()
}

/// The runs that a window can block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach<'a> {
    /// Every run of the account.
    Account,
    /// Runs whose model's name contains these words.
    Family(&'a str),
    /// None, unless the provider refuses by it: side counters, money, undocumented names.
    Refused,
}

fn reach(name: &str) -> Reach<'_> {
    match name {
        FIVE_HOUR | SEVEN_DAY | "requests" | "tokens" | "input_tokens" | "output_tokens" => Reach::Account,
        SEVEN_DAY_OVERAGE_INCLUDED => Reach::Family("fable"),
        "seven_day_oauth_apps" => Reach::Refused,
        // Further limits of Codex (`codex:<limit>`) do not apply to the whole account.
        other if other.starts_with(CODEX_SLOT) || minutes_in(other).is_some() => Reach::Account,
        other => ["seven_day_", "weekly_scoped:"]
            .iter()
            .find_map(|prefix| other.strip_prefix(prefix))
            .filter(|family| words(family).next().is_some())
            .map_or(Reach::Refused, Reach::Family),
    }
}

/// The words of the family of models that a window is for; `None` for one of the whole account.
#[must_use]
pub fn family(name: &str) -> Option<&str> {
    match reach(canonical(name)) {
        Reach::Family(family) => Some(family),
        Reach::Account | Reach::Refused => None,
    }
}

/// True for a window that binds runs even while it does not refuse.
#[must_use]
pub fn binds_always(name: &str) -> bool {
    reach(canonical(name)) != Reach::Refused
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
}

/// True if a run with this model is blocked when the window is used up. `refuses`: the provider refused by
/// this window and has not served since.
///
/// A window for one family of models binds that family only, and no run without a model. A window that
/// belongs neither to the account nor to a family binds only while it refuses.
#[must_use]
pub fn binds(name: &str, model: Option<&str>, refuses: bool) -> bool {
    match reach(canonical(name)) {
        Reach::Account => true,
        Reach::Family(family) => model.is_some_and(|model| is_of_family(family, model)),
        Reach::Refused => refuses,
    }
}

/// True if a response of this model shows that the window does not refuse.
#[must_use]
pub fn serves(name: &str, model: &str) -> bool {
    binds(name, Some(model), true)
}

/// True if the model's name contains the words of the family.
#[must_use]
pub fn is_of_family(family: &str, model: &str) -> bool {
    let model = model.to_ascii_lowercase();
    words(family).all(|word| model.contains(&word.to_ascii_lowercase()))
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
        for refuses in [false, true] {
            let binds = |name, model| binds(name, model, refuses);
            assert!(binds(SEVEN_DAY_OPUS, Some("claude-Opus-5")));
            assert!(!binds(SEVEN_DAY_OPUS, Some("claude-sonnet-5")));
            assert!(binds("7d_sonnet", Some("claude-sonnet-5")));
            assert!(!binds(SEVEN_DAY_OPUS, None) && !binds(SEVEN_DAY_SONNET, None));
            assert!(binds("7d_oi", Some("claude-fable-5")) && !binds("7d_oi", Some("claude-haiku-5")));
            assert!(binds("seven_day_haiku", Some("claude-haiku-5")) && !binds("seven_day_haiku", None));
            assert!(binds("weekly_scoped:Claude Opus", Some("claude-opus-5")));
            assert!(!binds("weekly_scoped:Claude Opus", Some("claude-haiku-5")));
        }
        assert_eq!(length("seven_day_haiku"), Some(604_800_000));
        assert_eq!(length("4320m"), Some(3 * DAY_MS));
        for name in ["codex_primary", "m", "4320", "4320 m", "-1m"] {
            assert_eq!(length(name), None, "{name}");
        }
        assert_eq!(length("codex:other:seven_day"), Some(7 * DAY_MS));
        assert_eq!(length("codex:other:90m"), Some(90 * MINUTE_MS));
        assert!(
            !binds("codex:other:seven_day", None, false),
            "a further limit is not the account's"
        );
    }

    #[test]
    fn the_accounts_windows_bind_everybody_and_side_counters_only_while_they_refuse() {
        for name in [
            FIVE_HOUR,
            SEVEN_DAY,
            "requests",
            "input_tokens",
            "codex_primary",
            "4320m",
        ] {
            assert!(
                binds(name, None, false) && binds(name, Some("claude-opus-5"), false),
                "{name}"
            );
        }
        for name in [
            OVERAGE,
            "overage-period-monthly",
            "grace-5h",
            "slow-budget",
            "spend_limit",
            "unknown",
            "seven_day_oauth_apps",
            "seven_day_",
            "other",
            "weekly_surface:web",
        ] {
            assert!(!binds(name, Some("claude-opus-5"), false), "{name}");
            assert!(binds(name, None, true), "{name}");
            assert_eq!(length(name), None, "{name}");
        }
    }
}
