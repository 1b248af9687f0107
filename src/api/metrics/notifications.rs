//! The metric families of notifications.

use std::collections::BTreeMap;

use super::encode::Family;
use crate::api::state::ApiState;
use crate::sender::board::SendOutcome;

const OUTCOMES: [SendOutcome; 4] = [
    SendOutcome::Sent,
    SendOutcome::Retried,
    SendOutcome::Dropped,
    SendOutcome::Failed,
];

/// The families of the sender, counted since its start.
pub fn outcomes(sources: &ApiState) -> [Family; 2] {
    let mut total = Family::counter(
        "tokentail_notifications",
        "Notifications by target and outcome since the start: sent, retried (a try), dropped, failed.",
    );
    let mut last = Family::gauge(
        "tokentail_notification_last_success_timestamp_seconds",
        "Time of the last notification that was sent since the start, since 1970.",
    );
    let counts = sources.notices.counts();
    for target in sources.settings.borrow().notify.targets.iter() {
        for outcome in OUTCOMES {
            let labels = [("target", &*target.name), ("outcome", outcome.into_str())];
            let count = counts.get(&(target.name.clone(), outcome)).copied();
            total.add(&labels, count.unwrap_or(0));
        }
        if let Some(at) = sources.notices.of(&target.name).last_sent_at {
            let seconds = u64::try_from(at.div_euclid(1000)).unwrap_or(0);
            last.add(&[("target", &*target.name)], seconds);
        }
    }
    [total, last]
}

/// The events in the outbox, by target.
pub fn waiting(sources: &ApiState, waiting: &BTreeMap<Box<str>, u64>) -> Family {
    let mut family = Family::gauge(
        "tokentail_notifications_waiting",
        "Events that wait for a target.",
    );
    for target in sources.settings.borrow().notify.targets.iter() {
        let count = waiting.get(&target.name).copied().unwrap_or(0);
        family.add(&[("target", &*target.name)], count);
    }
    family
}
