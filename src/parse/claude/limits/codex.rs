//! Limits of Codex: `rate_limits` of a rollout or of the app server, the body of its usage endpoint, response
//! headers.
//!
//! A window is named by its length, not by its slot: some plans have the week in `primary`. Limits other than
//! the account's have windows of their own. Shares are always percentages.

use super::values::{self, Entries};
use super::{Answer, FIVE_HOUR, SEVEN_DAY, SourceWindows, WINDOW_UNKNOWN, WindowFields, storable_name, time};
use crate::json::{self, Raw};
use crate::model::window_name::CODEX_SLOT;
use crate::model::{LimitStatus, Millis};

/// The id of the account's own limit.
const ACCOUNT_LIMIT: &str = "codex";
/// Windows of up to this many minutes are five-hour windows.
const FIVE_HOUR_MINUTES_MAX: u64 = 360;
/// Windows of this many minutes are seven-day windows.
const SEVEN_DAY_MINUTES: std::ops::RangeInclusive<u64> = 9_000..=11_000;
/// The spending limit of a person or an organization: money beside the windows.
pub const SPEND_CONTROL: &str = "spend_control";
/// The error of a reached limit, in both spellings.
const LIMIT_ERRORS: [&str; 2] = ["usage_limit_exceeded", "usageLimitExceeded"];
/// Most further limits that are read.
const LIMITS_MAX: usize = 32;

/// The windows of a `rate_limits` object, an answer of the app server, or a body of the usage endpoint.
pub fn windows(value: Raw<'_>, answer: Answer) -> SourceWindows {
    let body = Entries::of(value);
    let mut windows = SourceWindows::default();
    let is_reached = has_limit_error(&body) || has_limit_error(&Entries::of(body.get(&["error"])));
    let by_id = Entries::of(body.get(&["rateLimitsByLimitId", "rate_limits_by_limit_id"]));
    let one = body.get(&["rateLimits", "rate_limits", "rate_limit"]);
    if by_id.0.is_empty() {
        let one = if one.0.is_some() { one } else { value };
        limit(None, one, is_reached, answer, &mut windows);
    }
    for (id, value) in by_id.0.iter().take(LIMITS_MAX) {
        limit(Some(id), *value, false, answer, &mut windows);
    }
    limit(
        Some("code_review"),
        body.get(&["code_review_rate_limit"]),
        false,
        answer,
        &mut windows,
    );
    let mut count = 0;
    let more = body.get(&["additional_rate_limits"]).0.unwrap_or_default();
    json::each(more.as_bytes(), |item| {
        let item = Entries::of(Raw(std::str::from_utf8(item).ok()));
        let id = (values::text(item.get(&["metered_feature"])))
            .or_else(|| values::text(item.get(&["limit_name"])));
        if let Some(id) = id {
            limit(Some(&id), item.get(&["rate_limit"]), false, answer, &mut windows);
        }
        count += 1;
        count == LIMITS_MAX
    });
    let control = Entries::of(body.get(&["spend_control"]));
    for holder in [&body, &control, &Entries::of(one)] {
        spend(
            holder.get(&["individual_limit", "individualLimit"]),
            answer,
            &mut windows,
        );
    }
    for window in &mut windows.0 {
        answer.clear_transient_refusal(window);
    }
    windows
}

fn has_limit_error(of: &Entries<'_>) -> bool {
    let info = values::text(of.get(&["codex_error_info", "codexErrorInfo"]));
    info.is_some_and(|info| LIMIT_ERRORS.contains(&info.as_str()))
}

/// The two windows of one limit.
fn limit(id: Option<&str>, value: Raw<'_>, is_reached: bool, answer: Answer, windows: &mut SourceWindows) {
    let limit = Entries::of(value);
    if limit.0.is_empty() && !is_reached {
        return;
    }
    let own_id = values::text(limit.get(&["limit_id", "limitId"]));
    let id = own_id.as_deref().or(id).unwrap_or(ACCOUNT_LIMIT);
    let reached = values::text(limit.get(&["rate_limit_reached_type", "rateLimitReachedType"]));
    let allowed = limit.get(&["allowed"]);
    let is_reached = is_reached
        || reached.is_some_and(|kind| !kind.is_empty())
        || limit.get(&["limit_reached"]).is("true")
        || allowed.is("false");
    let slots = [
        ("primary", limit.get(&["primary", "primary_window"])),
        ("secondary", limit.get(&["secondary", "secondary_window"])),
    ];
    let slots = slots.map(|(name, value)| (name, Slot::of(value, answer.time)));
    let verdict = if is_reached {
        LimitStatus::Rejected
    } else if allowed.is("true") {
        LimitStatus::Allowed
    } else {
        LimitStatus::Unknown
    };
    add(id, slots, verdict, windows);
}

/// Adds the windows of a limit. A refusal applies to the windows that are used up.
fn add(id: &str, slots: [(&str, Slot); 2], verdict: LimitStatus, windows: &mut SourceWindows) {
    let mut is_refused = false;
    for (name, slot) in slots {
        let Some(name) = slot.name(id, name) else {
            continue;
        };
        let is_used_up = slot.share.is_some_and(|share| share >= 1.0);
        let window = windows.at(name);
        window.utilization = slot.share;
        window.reset_at = slot.reset_at;
        if is_used_up == (verdict == LimitStatus::Rejected) {
            window.status = verdict;
        }
        is_refused |= is_used_up;
    }
    if verdict == LimitStatus::Rejected && !is_refused {
        let name = if id == ACCOUNT_LIMIT {
            WINDOW_UNKNOWN.into()
        } else {
            storable_name(&format!("codex:{id}"))
        };
        windows.at(name).status = verdict;
    }
}

/// The spending limit and its rest.
fn spend(value: Raw<'_>, answer: Answer, windows: &mut SourceWindows) {
    let entries = Entries::of(value);
    let left = values::share(entries.get(&["remaining_percent", "remainingPercent"]));
    let used = values::share(entries.get(&["used"]));
    let limit = values::share(entries.get(&["limit"])).filter(|limit| *limit > 0.0);
    let share = (left.map(|percent| (1.0 - percent / 100.0).max(0.0))).or_else(|| Some(used? / limit?));
    if share.is_some() {
        let window = windows.at(SPEND_CONTROL.into());
        window.utilization = share;
        window.reset_at = Slot::reset(&entries, answer.time);
    }
}

/// One window of a limit as written.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    share: Option<f64>,
    minutes: Option<u64>,
    reset_at: Option<Millis>,
}

impl Slot {
    fn of(value: Raw<'_>, time: Option<Millis>) -> Self {
        let entries = Entries::of(value);
        let minutes = entries.get(&["window_minutes", "windowDurationMins"]).count();
        let seconds = entries.get(&["limit_window_seconds"]).count();
        Self {
            share: values::percent(entries.get(&["used_percent", "usedPercent"])),
            minutes: minutes.or(seconds.map(|seconds| seconds.div_ceil(60))),
            reset_at: Self::reset(&entries, time),
        }
    }

    fn reset(entries: &Entries<'_>, time: Option<Millis>) -> Option<Millis> {
        let after = entries.get(&["reset_after_seconds", "resets_in_seconds"]);
        time::reset(entries.get(&["reset_at", "resets_at", "resetsAt"]))
            .or_else(|| time::after(time?, values::number(after)?))
    }

    /// Its name; `None` if nothing was read. A window with neither length nor use is an empty slot.
    fn name(&self, id: &str, slot: &str) -> Option<Box<str>> {
        let share = self.share?;
        let minutes = self.minutes.filter(|minutes| *minutes > 0);
        if minutes.is_none() && share == 0.0 {
            return None;
        }
        let is_of_account = id == ACCOUNT_LIMIT;
        let name = match minutes {
            Some(minutes) if minutes <= FIVE_HOUR_MINUTES_MAX => FIVE_HOUR.to_owned(),
            Some(minutes) if SEVEN_DAY_MINUTES.contains(&minutes) => SEVEN_DAY.to_owned(),
            Some(minutes) => format!("{minutes}m"),
            None if is_of_account => format!("{CODEX_SLOT}{slot}"),
            None => slot.to_owned(),
        };
        Some(if is_of_account {
            name.into()
        } else {
            storable_name(&format!("codex:{id}:{name}"))
        })
    }
}

/// The headers of Codex in an answer: `x-codex-primary-used-percent`; of another limit, `x-<limit
/// id>-primary-…`.
#[derive(Debug, Default)]
pub struct Headers {
    /// Primary and secondary window of each limit.
    limits: Vec<(String, [Slot; 2])>,
    /// Reached limits.
    reached: Vec<String>,
}

impl Headers {
    /// Reads a header, if it is one of these; returns true then. The name is in lower case.
    pub fn take(&mut self, name: &str, value: Raw<'_>, time: Option<Millis>) -> bool {
        let Some(name) = name.strip_prefix("x-") else {
            return false;
        };
        if let Some(limit) = name.strip_suffix("-rate-limit-reached-type") {
            if values::text(value).is_some_and(|kind| !kind.is_empty()) {
                self.reached.push(id_of(limit));
            }
            return true;
        }
        for (index, slot) in ["-primary-", "-secondary-"].into_iter().enumerate() {
            let Some((limit, field)) = name.rsplit_once(slot) else {
                continue;
            };
            let known = [
                "used-percent",
                "window-minutes",
                "reset-at",
                "reset-after-seconds",
            ];
            if limit.is_empty() || !known.contains(&field) {
                continue;
            }
            let Some(slot) = self.slot(id_of(limit), index) else {
                return true;
            };
            match field {
                "used-percent" => slot.share = values::percent(value),
                "window-minutes" => slot.minutes = value.count(),
                "reset-at" => slot.reset_at = time::reset(value).or(slot.reset_at),
                _ => {
                    let at = time.and_then(|time| time::after(time, values::number(value)?));
                    slot.reset_at = slot.reset_at.or(at);
                }
            }
            return true;
        }
        false
    }

    /// The slot of a window; `None` if there are too many limits.
    fn slot(&mut self, id: String, index: usize) -> Option<&mut Slot> {
        let known = self.limits.iter().position(|(limit, _)| *limit == id);
        let at = match known {
            Some(at) => at,
            None if self.limits.len() == LIMITS_MAX => return None,
            None => {
                self.limits.push((id, <[Slot; 2]>::default()));
                self.limits.len() - 1
            }
        };
        Some(&mut self.limits[at].1[index])
    }

    /// The windows. A refusal applies to those that are used up.
    pub fn windows(self, answer: Answer) -> Vec<WindowFields> {
        let mut windows = SourceWindows::default();
        for (id, [primary, secondary]) in &self.limits {
            let is_used_up = [primary, secondary]
                .iter()
                .any(|slot| slot.share.is_some_and(|share| share >= 1.0));
            let is_refused = self.reached.contains(id) || answer.is_refusal() && is_used_up;
            let verdict = if is_refused {
                LimitStatus::Rejected
            } else {
                LimitStatus::Unknown
            };
            add(
                id,
                [("primary", *primary), ("secondary", *secondary)],
                verdict,
                &mut windows,
            );
        }
        windows.0
    }
}

/// A limit's id; in headers its underscores are hyphens.
fn id_of(limit: &str) -> String {
    limit.replace('-', "_")
}
