//! The object with which the CLI passes on a limit: `rate_limit_info`, `quotaLimits` and `error.rateLimits`
//! have one shape.
//!
//! Its status is that of the window it names; newer versions also give each of `unifiedWindows` a status.
//! `overageStatus` is about buying more, not about a window. For a window without a share, a surpassed
//! threshold is the least share used.

use super::values::{self, Entries};
use super::{Answer, SourceWindows, WINDOW_UNKNOWN, storable_name, time};
use crate::json::{self, Raw, members};

/// The windows in such an object; none if it is no object or an empty one.
pub fn windows(value: Raw<'_>, answer: Answer) -> SourceWindows {
    let mut windows = SourceWindows::default();
    let mut info = Info::default();
    let is_object = value
        .0
        .is_some_and(|raw| json::object(raw.as_bytes(), &mut info).unwrap_or(false));
    if !is_object {
        return windows;
    }
    for (name, value) in Entries::of(info.windows).0 {
        let mut share = WindowShare::default();
        if json::object(value.0.unwrap_or_default().as_bytes(), &mut share).unwrap_or(false) {
            let window = windows.at(storable_name(&name));
            window.utilization = values::share(share.utilization).or(values::share(share.surpassed));
            window.reset_at = time::reset(share.resets_at);
            window.status = values::status(share.status);
        }
    }
    let named = values::text(info.kind).map_or_else(|| WINDOW_UNKNOWN.into(), |name| storable_name(&name));
    let window = windows.at(named);
    let in_use = values::flag(info.is_using_overage);
    let share = values::share(info.utilization).or(values::share(info.surpassed));
    window.utilization = window.utilization.or(share);
    window.take_verdict(super::verdict(
        values::status(info.status),
        in_use,
        window.utilization,
    ));
    window.reset_at = window.reset_at.or(time::reset(info.resets_at));
    for window in &mut windows.0 {
        answer.clear_transient_refusal(window);
    }
    windows.0.extend(in_use.map(super::overage));
    windows
}

members! {
    struct Info<'de> {
        status: Raw<'de> = b"status",
        kind: Raw<'de> = b"rateLimitType",
        resets_at: Raw<'de> = b"resetsAt",
        utilization: Raw<'de> = b"utilization",
        surpassed: Raw<'de> = b"surpassedThreshold",
        windows: Raw<'de> = b"unifiedWindows",
        is_using_overage: Raw<'de> = b"isUsingOverage",
    }
}

members! {
    /// One of `unifiedWindows`.
    struct WindowShare<'de> {
        utilization: Raw<'de> = b"utilization",
        surpassed: Raw<'de> = b"surpassedThreshold",
        resets_at: Raw<'de> = b"resetsAt",
        status: Raw<'de> = b"status",
    }
}
