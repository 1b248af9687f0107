//! The body of the provider's usage API, and the copy of it that Claude Code keeps in its own file.
//!
//! Read value by value: windows come and go, and a new member, or one of another type, is skipped alone.
//! Shares are percentages, so 0.5 is half a percent.

use super::values::{self, Entries};
use super::{FIVE_HOUR, SEVEN_DAY, SEVEN_DAY_FAMILY, SourceWindows, storable_name, time};
use crate::json::{self, Raw};
use crate::model::Millis;

/// Most members of `limits` that are read; a real body has a handful.
const LIMITS_MAX: usize = 64;
/// Use paid beyond the windows, in two spellings: counters beside the windows.
const EXTRA_USAGE: &str = "extra_usage";
const SPEND: &str = "spend";

/// A kept copy: the time of fetching, and the body.
pub fn kept(value: Raw<'_>) -> Option<(Millis, Raw<'_>)> {
    let outer = Entries::of(value);
    let inner = Entries::of(outer.get(&["cachedUsageUtilization"]));
    let kept = if inner.0.is_empty() { outer } else { inner };
    let at = time::reset(kept.get(&["fetchedAtMs"]))?;
    Some((at, kept.get(&["utilization"])))
}

/// The windows of a body.
pub fn windows(value: Raw<'_>) -> SourceWindows {
    let body = Entries::of(value);
    let mut windows = SourceWindows::default();
    for (name, value) in &body.0 {
        match name.as_str() {
            EXTRA_USAGE => extra_usage(*value, &mut windows),
            SPEND => spend(*value, &mut windows),
            _ => {
                let window = Entries::of(*value);
                let share = values::percent(window.get(&["utilization"]));
                set(
                    &mut windows,
                    storable_name(name),
                    share,
                    window.get(&["resets_at"]),
                );
            }
        }
    }
    let flat: Vec<Box<str>> = windows.0.iter().map(|window| window.name.clone()).collect();
    let mut count = 0;
    let limits = body.get(&["limits"]).0.unwrap_or_default();
    json::each(limits.as_bytes(), |item| {
        let item = Entries::of(Raw(std::str::from_utf8(item).ok()));
        // The same window is also outside the list, with more detail.
        if let Some(name) = scoped(&item).filter(|name| !is_among(name, &flat)) {
            let share = values::percent(item.get(&["percent"]));
            set(&mut windows, name, share, item.get(&["resets_at"]));
        }
        count += 1;
        count == LIMITS_MAX
    });
    windows
}

fn set(windows: &mut SourceWindows, name: Box<str>, share: Option<f64>, resets_at: Raw<'_>) {
    if share.is_some() {
        let window = windows.at(name);
        window.utilization = share;
        // Only text is accepted: the unit of a number is not documented.
        window.reset_at = values::text(resets_at).and_then(|text| time::reset_text(&text));
    }
}

/// The window of a member of `limits`.
fn scoped(limit: &Entries<'_>) -> Option<Box<str>> {
    let kind = values::text(limit.get(&["kind"]))?;
    let scope = Entries::of(limit.get(&["scope"]));
    Some(match kind.as_str() {
        "session" => FIVE_HOUR.into(),
        "weekly_all" => SEVEN_DAY.into(),
        "weekly_scoped" => match (name(scope.get(&["model"])), name(scope.get(&["surface"]))) {
            (Some(model), _) => storable_name(&format!("weekly_scoped:{model}")),
            (None, Some(surface)) => storable_name(&format!("weekly_surface:{surface}")),
            (None, None) => "weekly_scoped".into(),
        },
        other => storable_name(other),
    })
}

/// The id of a model or surface, else its display name.
fn name(value: Raw<'_>) -> Option<String> {
    let entries = Entries::of(value);
    (values::text(entries.get(&["id"])))
        .or_else(|| values::text(entries.get(&["display_name"])))
        .or_else(|| values::text(value))
        .filter(|name| !name.is_empty())
}

/// True if a window of `limits` is also outside it: under its name, or as the week of that model's family.
fn is_among(name: &str, flat: &[Box<str>]) -> bool {
    let model = name.strip_prefix("weekly_scoped:").map(str::to_ascii_lowercase);
    flat.iter().any(|known| {
        let family = known.strip_prefix(SEVEN_DAY_FAMILY);
        &**known == name
            || model
                .as_deref()
                .zip(family)
                .is_some_and(|(model, family)| model.contains(family))
    })
}

fn extra_usage(value: Raw<'_>, windows: &mut SourceWindows) {
    let extra = Entries::of(value);
    let share = values::percent(extra.get(&["utilization"]));
    set(windows, EXTRA_USAGE.into(), share, extra.get(&["resets_at"]));
    let (limit, used) = (
        extra.get(&["monthly_limit"]).count(),
        extra.get(&["used_credits"]).count(),
    );
    money(windows, EXTRA_USAGE, limit, used);
}

fn spend(value: Raw<'_>, windows: &mut SourceWindows) {
    let spend = Entries::of(value);
    let share = values::percent(spend.get(&["percent"]));
    set(windows, SPEND.into(), share, spend.get(&["resets_at"]));
    let amount = |name| Entries::of(spend.get(&[name])).get(&["amount_minor"]).count();
    money(windows, SPEND, amount("limit"), amount("used"));
}

/// Sets the rest of a sum of money, in its smallest unit.
fn money(windows: &mut SourceWindows, name: &str, limit: Option<u64>, used: Option<u64>) {
    if let Some(window) = windows.0.iter_mut().find(|window| &*window.name == name) {
        window.limit = limit;
        window.remaining = limit.zip(used).map(|(limit, used)| limit.saturating_sub(used));
    }
}
