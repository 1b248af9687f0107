//! Recovery of a blocked account: due times, probes, their evidence, pauses after failures, ramps.

use super::*;
use crate::model::LimitSource;
use crate::quota::account::{Minimum, OnUnknown, RampRules};
use crate::quota::lease::probe::{
    BlockKind, Gate, Probe, ProbePhase, ProbeState, REVALIDATE_AFTER_MS, ScopeBlock, ScopeFacts, state,
};
use crate::quota::simulator::{Engine, News};
use crate::quota::window_name::{COOL_DOWN, SEVEN_DAY_OPUS, UNKNOWN};

const RESET: Millis = NOON + 2 * HOUR_MS;
/// The first time at which a probe may start.
const DUE: Millis = RESET + MINUTE_MS;

/// An account whose window was refused until [`RESET`].
fn refused() -> LeaseHarness {
    let mut harness = harness(0.9);
    refuse(&mut harness, Some(RESET), NOON - 1_000);
    harness
}

fn refuse(harness: &mut LeaseHarness, reset_at: Option<Millis>, at: Millis) {
    let news = reading(FIVE_HOUR, None, reset_at, LimitStatus::Rejected);
    harness.accounts[0].engine.take(&news, at);
}

fn serve(harness: &mut LeaseHarness, at: Millis) {
    harness.accounts[0].engine.take(&News::Served(0), at);
}

fn state_at(harness: &LeaseHarness, now: Millis) -> ProbeState {
    let account = &harness.accounts[0];
    let facts = account.scopes(None, now).remove(0);
    let key = ProbeKey {
        account: account.account.id.clone(),
        scope: facts.scope.clone(),
    };
    state(harness.book.probes.get(&key), &facts, &account.account.start, now)
}

/// Grants the probe and binds it to a run.
fn probe(harness: &mut LeaseHarness, now: Millis) -> LeaseNumber {
    let leases = grants(harness, 5, now);
    assert_eq!(leases.len(), 1, "{:?}", state_at(harness, now));
    assert!(harness.bind(leases[0], &run(&format!("r{}", leases[0])), now));
    leases[0]
}

#[test]
fn a_refused_account_is_due_a_minute_after_its_reset() {
    let mut harness = refused();
    for now in [NOON, RESET - 1, RESET, DUE - 1] {
        let open = ProbeState::Open {
            until: DUE,
            kind: BlockKind::Refusal,
        };
        assert_eq!(state_at(&harness, now), open);
        assert!(grants(&mut harness, 1, now).is_empty());
    }
    assert_eq!(state_at(&harness, DUE), ProbeState::Due);
    let capacity = harness.capacity(None, None, &BTreeMap::new(), DUE);
    assert_eq!(
        (capacity.free, capacity.by),
        (Some(1), Some(CapacityLimit::Probe))
    );
}

#[test]
fn exactly_one_lease_is_the_probe() {
    let mut harness = refused();
    let first = harness.acquire(&wanted("k", 5), None, DUE);
    assert_eq!((first.leases.len(), first.by), (1, Some(CapacityLimit::Probe)));
    assert_eq!(first.leases[0].probe.as_deref(), Some(""));
    assert_eq!(state_at(&harness, DUE), ProbeState::HalfOpen);
    let number = first.leases[0].number;
    for now in [DUE, DUE + TTL - 1] {
        let next = harness.acquire(&wanted("other", 1), None, now);
        assert_eq!((next.leases.len(), next.by), (0, Some(CapacityLimit::Probe)));
        assert!(next.retry_at > Some(DUE + TTL) && next.retry_at < Some(DUE + TTL + 15_000));
    }
    assert!(harness.bind(number, &run("r"), DUE + TTL - 1));
    assert!(grants(&mut harness, 1, DUE + TTL).is_empty());
}

#[test]
fn a_client_comes_back_for_the_next_probe_whatever_is_left_of_a_window() {
    let mut harness = harness(0.95);
    harness.accounts[0]
        .account
        .start
        .reserve
        .insert("high".into(), 0.1);
    let throttled = reading(COOL_DOWN, None, Some(NOON + 30_000), LimitStatus::Rejected);
    harness.accounts[0].engine.take(&throttled, NOON);
    let due = NOON + 30_000;
    let blocked = harness.acquire(&wanted("other", 1), None, NOON);
    assert_eq!(
        (blocked.leases.len(), blocked.by),
        (0, Some(CapacityLimit::CoolDown))
    );
    assert!(blocked.retry_at > Some(due) && blocked.retry_at < Some(due + 15_000));
    assert_eq!(grants(&mut harness, 1, due).len(), 1);
    let next = harness.acquire(&wanted("other", 1), None, due);
    assert_eq!((next.leases.len(), next.by), (0, Some(CapacityLimit::Probe)));
    assert!(next.retry_at > Some(due + TTL) && next.retry_at < Some(due + TTL + 15_000));
}

#[test]
fn a_response_after_the_grant_is_a_success() {
    let mut harness = refused();
    probe(&mut harness, DUE);
    // Of a request before the grant, and one whose time is yet to come.
    serve(&mut harness, DUE);
    harness.sweep(DUE + 1);
    assert_eq!(state_at(&harness, DUE + 1), ProbeState::HalfOpen);
    serve(&mut harness, DUE + 20_000);
    harness.sweep(DUE + 19_999);
    assert_eq!(state_at(&harness, DUE + 19_999), ProbeState::HalfOpen);
    harness.sweep(DUE + 20_000);
    assert!(matches!(
        state_at(&harness, DUE + 20_000),
        ProbeState::Ramp { cap: 1, .. }
    ));
}

#[test]
fn a_live_reading_is_a_success_and_a_status_line_is_none() {
    let at = DUE + 20_000;
    let allowed = |source| {
        let News::Saw(mut saw) = reading(
            FIVE_HOUR,
            Some(0.01),
            Some(RESET + 5 * HOUR_MS),
            LimitStatus::Allowed,
        ) else {
            panic!("it is a reading");
        };
        saw.source = source;
        let mut harness = refused();
        probe(&mut harness, DUE);
        harness.accounts[0].engine.take(&News::Saw(saw), at);
        harness.sweep(at);
        state_at(&harness, at)
    };
    assert_eq!(allowed(LimitSource::Statusline), ProbeState::HalfOpen);
    assert_eq!(allowed(LimitSource::AgentCache), ProbeState::HalfOpen);
    assert!(matches!(
        allowed(LimitSource::Headers),
        ProbeState::Ramp { cap: 1, .. }
    ));
}

#[test]
fn a_refused_probe_opens_until_its_reset() {
    let mut harness = refused();
    probe(&mut harness, DUE);
    let reset = DUE + 5 * HOUR_MS;
    refuse(&mut harness, Some(reset), DUE + 5_000);
    harness.sweep(DUE + 5_000);
    let until = reset + MINUTE_MS;
    let open = ProbeState::Open {
        until,
        kind: BlockKind::Refusal,
    };
    assert_eq!(state_at(&harness, DUE + 5_000), open);
    assert_eq!(state_at(&harness, until - 1), open);
    harness.sweep(until);
    assert_eq!(state_at(&harness, until), ProbeState::Due);
}

#[test]
fn failures_without_an_end_back_off() {
    let rules = StartRules::default();
    let mut facts = ScopeFacts::of("");
    facts.gate = Gate::Over;
    let (mut now, mut before) = (NOON, None);
    for minutes in [5, 10, 20, 40, 60, 60, 60] {
        let granted = Probe::granted(before.as_ref(), 1, now);
        facts.refused_at = Some(now + 1);
        let failed = granted.advance(&facts, None, &rules, now + 2).unwrap();
        let until = now + 2 + minutes * MINUTE_MS;
        assert_eq!(failed.phase, ProbePhase::BackedOff { until });
        let open = ProbeState::Open {
            until,
            kind: BlockKind::Refusal,
        };
        assert_eq!(state(Some(&failed), &facts, &rules, until - 1), open);
        assert_eq!(state(Some(&failed), &facts, &rules, until), ProbeState::Due);
        assert_eq!(failed.advance(&facts, None, &rules, until), Some(failed.clone()));
        (now, before) = (until, Some(failed));
    }
    // One success, and the next failure is the first.
    let granted = Probe::granted(before.as_ref(), 1, now);
    facts.served_at = Some(now + 1);
    let ramp = granted.advance(&facts, None, &rules, now + 2).unwrap();
    assert_eq!(ramp.failures, 0);
}

#[test]
fn a_probe_without_evidence_is_due_again_and_the_third_fails() {
    let mut harness = refused();
    let mut now = DUE;
    for number in 1..=3 {
        let lease = probe(&mut harness, now);
        harness.sweep(now + 3 * MINUTE_MS - 1);
        assert_eq!(state_at(&harness, now + 3 * MINUTE_MS - 1), ProbeState::HalfOpen);
        now += 3 * MINUTE_MS;
        harness.sweep(now);
        if number < 3 {
            assert_eq!(state_at(&harness, now), ProbeState::Due);
        }
        // The run lives on and keeps its lease.
        assert!(harness.book.leases.contains_key(&lease));
    }
    // Nobody refused anything.
    let until = now + 5 * MINUTE_MS;
    let open = ProbeState::Open {
        until,
        kind: BlockKind::NoEvidence,
    };
    assert_eq!(state_at(&harness, now), open);
    let next = harness.acquire(&wanted("other", 1), None, now);
    assert_eq!((next.leases.len(), next.by), (0, Some(CapacityLimit::NoEvidence)));
    harness.sweep(until);
    assert_eq!(state_at(&harness, until), ProbeState::Due);
    // From here on three are a failure again.
    probe(&mut harness, until);
    now = until + 3 * MINUTE_MS;
    harness.sweep(now);
    assert_eq!(state_at(&harness, now), ProbeState::Due);
}

#[test]
fn probes_that_are_given_back_unused_are_no_refusals() {
    let mut harness = refused();
    for _ in 0..3 {
        let leases = grants(&mut harness, 1, DUE);
        harness.end(leases[0], LeaseEnd::Released);
        harness.sweep(DUE);
    }
    let capacity = harness.capacity(None, None, &BTreeMap::new(), DUE);
    assert_eq!(
        (capacity.free, capacity.by),
        (Some(0), Some(CapacityLimit::NoEvidence))
    );
    // Where nothing blocks any more the pause ends the recovery, as after a failure.
    serve(&mut harness, DUE + 1_000);
    harness.sweep(DUE + 5 * MINUTE_MS);
    assert_eq!(state_at(&harness, DUE + 5 * MINUTE_MS), ProbeState::Closed);
}

#[test]
fn a_probe_that_ended_without_evidence_is_due_at_once() {
    let mut harness = refused();
    // It expires before its run appears.
    assert_eq!(grants(&mut harness, 1, DUE).len(), 1);
    let now = DUE + TTL;
    harness.sweep(now);
    assert_eq!(state_at(&harness, now), ProbeState::Due);
    // Its run ends.
    let lease = probe(&mut harness, now);
    harness.end(lease, LeaseEnd::RunEnded);
    harness.sweep(now + 1_000);
    assert_eq!(state_at(&harness, now + 1_000), ProbeState::Due);
}

#[test]
fn a_window_below_its_minimum_is_tried_after_a_refusal_that_is_over() {
    let mut harness = harness(0.5);
    let minimum = Minimum {
        window: FIVE_HOUR.into(),
        percent: 10,
    };
    harness.accounts[0].account.minimum_left.push(minimum);
    refuse(&mut harness, Some(RESET), NOON);
    // The provider serves again, and little is left.
    serve(&mut harness, NOON + 10 * MINUTE_MS);
    let read_at = NOON + 11 * MINUTE_MS;
    let low = reading(FIVE_HOUR, Some(0.95), Some(RESET), LimitStatus::AllowedWarning);
    harness.accounts[0].engine.take(&low, read_at);
    let due = read_at + 15 * MINUTE_MS;
    let open = ProbeState::Open {
        until: due,
        kind: BlockKind::Share,
    };
    assert_eq!(state_at(&harness, read_at), open);
    assert!(grants(&mut harness, 1, due - 1).is_empty());
    probe(&mut harness, due);
}

#[test]
fn a_refusal_is_not_tried_before_its_reset() {
    let mut harness = refused();
    for minutes in 0..=120 {
        assert!(
            grants(&mut harness, 1, NOON + minutes * MINUTE_MS).is_empty(),
            "{minutes}"
        );
    }
}

#[test]
fn cool_downs_grow_until_something_is_served() {
    let throttled = |until| reading(COOL_DOWN, None, until, LimitStatus::Rejected);
    let mut harness = harness(0.1);
    let mut at = NOON;
    for seconds in [60, 120, 240, 480, 900, 900] {
        harness.accounts[0].engine.take(&throttled(None), at);
        harness.sweep(at);
        harness.book.leases.clear();
        let due = at + seconds * 1000;
        let open = ProbeState::Open {
            until: due,
            kind: BlockKind::CoolDown,
        };
        assert_eq!(state_at(&harness, at), open, "{seconds}");
        harness.sweep(due - 1);
        assert!(grants(&mut harness, 1, due - 1).is_empty());
        probe(&mut harness, due);
        at = due + 1_000;
    }
    serve(&mut harness, at);
    harness.sweep(at);
    assert!(matches!(state_at(&harness, at), ProbeState::Ramp { cap: 1, .. }));
    // The provider may name the end.
    harness.accounts[0]
        .engine
        .take(&throttled(Some(at + 31_000)), at + 1_000);
    harness.sweep(at + 1_000);
    let open = ProbeState::Open {
        until: at + 31_000,
        kind: BlockKind::CoolDown,
    };
    assert_eq!(state_at(&harness, at + 1_000), open);
}

#[test]
fn the_ramp_lets_in_one_more_each_half_minute_with_a_response() {
    let mut harness = refused();
    harness.accounts[0].account.start.concurrency = 4;
    probe(&mut harness, DUE);
    let start = DUE + 5_000;
    serve(&mut harness, start);
    // The run of the probe is the first.
    assert!(grants(&mut harness, 5, start).is_empty());
    let capacity = harness.capacity(None, None, &BTreeMap::new(), start);
    assert_eq!(
        (capacity.by, capacity.retry_at),
        (Some(CapacityLimit::Ramp), Some(start + 30_000))
    );
    // No response, no step.
    assert!(grants(&mut harness, 5, start + 30_000).is_empty());
    serve(&mut harness, start + 31_000);
    assert_eq!(grants(&mut harness, 5, start + 31_000).len(), 1);
    serve(&mut harness, start + 40_000);
    assert!(grants(&mut harness, 5, start + 60_999).is_empty());
    assert_eq!(grants(&mut harness, 5, start + 61_000).len(), 1);
    // The next step would be as many as `concurrency`: it is over.
    serve(&mut harness, start + 91_000);
    assert_eq!(grants(&mut harness, 5, start + 91_000).len(), 1);
    assert_eq!(state_at(&harness, start + 91_000), ProbeState::Closed);
    assert_eq!(harness.book.probes.len(), 0);
}

#[test]
fn a_ramp_has_the_steps_of_its_account_and_an_end_without_concurrency() {
    let mut harness = refused();
    harness.accounts[0].account.start.ramp = RampRules {
        start: 3,
        step: 4,
        every_ms: 10_000,
    };
    probe(&mut harness, DUE);
    serve(&mut harness, DUE + 1);
    assert_eq!(grants(&mut harness, 20, DUE + 1).len(), 2);
    serve(&mut harness, DUE + 10_001);
    assert_eq!(grants(&mut harness, 20, DUE + 10_001).len(), 4);
    serve(&mut harness, DUE + 20_001);
    assert_eq!(grants(&mut harness, 20, DUE + 20_001).len(), 20, "ten are enough");
}

#[test]
fn a_ramp_without_responses_begins_again_and_a_refused_one_opens() {
    let mut harness = refused();
    probe(&mut harness, DUE);
    serve(&mut harness, DUE + 1);
    harness.sweep(DUE + 1);
    let quiet = DUE + 1 + 3 * MINUTE_MS;
    harness.sweep(quiet - 1);
    assert!(matches!(state_at(&harness, quiet - 1), ProbeState::Ramp { .. }));
    harness.sweep(quiet);
    assert_eq!(state_at(&harness, quiet), ProbeState::Due);
    probe(&mut harness, quiet);
    serve(&mut harness, quiet + 1);
    harness.sweep(quiet + 1);
    let reset = quiet + HOUR_MS;
    refuse(&mut harness, Some(reset), quiet + 2);
    harness.sweep(quiet + 2);
    assert!(
        matches!(state_at(&harness, quiet + 2), ProbeState::Open { until, .. } if until == reset + MINUTE_MS)
    );
}

#[test]
fn a_run_that_asked_nobody_shows_that_the_account_serves() {
    let mut harness = refused();
    // Due, without a request; a run without a lease is served.
    serve(&mut harness, DUE + 1);
    assert_eq!(state_at(&harness, DUE + 1), ProbeState::Closed);
    // The same after a failure.
    let mut harness = refused();
    probe(&mut harness, DUE);
    refuse(&mut harness, Some(DUE + HOUR_MS), DUE + 1);
    harness.sweep(DUE + 1);
    assert_eq!(harness.book.probes.len(), 1);
    serve(&mut harness, DUE + 10 * MINUTE_MS);
    harness.sweep(DUE + 10 * MINUTE_MS);
    assert_eq!(harness.book.probes.len(), 0);
}

#[test]
fn families_recover_apart() {
    let mut harness = harness(0.1);
    let opus = reading(SEVEN_DAY_OPUS, None, Some(RESET), LimitStatus::Rejected);
    harness.accounts[0].engine.take(&opus, NOON - 1_000);
    serve(&mut harness, NOON - 2_000);
    let model = Some("claude-opus-5");
    let one = harness.acquire(&wanted("k", 5), model, DUE);
    assert_eq!(one.leases.len(), 1);
    assert_eq!(one.leases[0].probe.as_deref(), Some("opus"));
    assert!(harness.acquire(&wanted("k", 5), model, DUE).leases.is_empty());
    assert_eq!(
        harness
            .acquire(&wanted("k", 5), Some("claude-haiku-5"), DUE)
            .leases
            .len(),
        5
    );
    // A response of another model is no evidence for this one.
    harness.accounts[0].engine.take(&News::Served(1), DUE + 1_000);
    assert!(
        harness
            .acquire(&wanted("k", 5), model, DUE + 1_000)
            .leases
            .is_empty()
    );
    assert_eq!(harness.book.probes.len(), 1);
    harness.accounts[0].engine.take(&News::Served(0), DUE + 2_000);
    harness.sweep(DUE + 2_000);
    assert!(matches!(
        harness.book.probes.values().next().unwrap().phase,
        ProbePhase::Ramp { cap: 1, .. }
    ));
}

#[test]
fn a_pause_after_a_failure_is_not_shorter_than_the_end_that_was_named() {
    let rules = StartRules::default();
    let granted = Probe::granted(None, 1, NOON);
    let failed = |until, has_end| {
        let facts = ScopeFacts {
            gate: Gate::Blocked(ScopeBlock {
                until,
                kind: BlockKind::Refusal,
                seen_at: NOON + 1,
                has_end,
            }),
            refused_at: Some(NOON + 1),
            ..ScopeFacts::of("")
        };
        granted.advance(&facts, None, &rules, NOON + 1).unwrap().phase
    };
    let minute = NOON + MINUTE_MS;
    assert_eq!(failed(minute, true), ProbePhase::BackedOff { until: minute });
    let five = NOON + 1 + 5 * MINUTE_MS;
    assert_eq!(failed(minute, false), ProbePhase::BackedOff { until: five });
    assert_eq!(
        failed(NOON + HOUR_MS, false),
        ProbePhase::BackedOff {
            until: NOON + HOUR_MS
        }
    );
}

#[test]
fn a_refusal_without_an_end_is_tried_again_and_again() {
    for on_unknown in [OnUnknown::Say, OnUnknown::Wait, OnUnknown::Allow] {
        let mut harness = harness(0.5);
        harness.accounts[0].engine = Engine::default();
        harness.accounts[0].account.on_unknown = on_unknown;
        let unknown = reading(UNKNOWN, None, None, LimitStatus::Rejected);
        let mut at = NOON;
        // The first is the guess for the refusal itself.
        for minutes in [5, 5, 10, 20, 40, 60, 60] {
            harness.accounts[0].engine.take(&unknown, at);
            harness.sweep(at);
            for lease in std::mem::take(&mut harness.book.leases).into_keys() {
                harness.ends.insert(lease, LeaseEnd::RunEnded);
            }
            let due = at + minutes * MINUTE_MS;
            assert!(
                grants(&mut harness, 1, due - 1).is_empty(),
                "{minutes} {on_unknown:?}"
            );
            probe(&mut harness, due);
            at = due + 1;
        }
        serve(&mut harness, at + 10 * MINUTE_MS);
        harness.sweep(at + 10 * MINUTE_MS);
    }
}

#[test]
fn a_block_by_a_share_is_tried_once_in_a_quarter_of_an_hour() {
    let read_at = NOON - MINUTE_MS;
    let mut harness = harness(1.0);
    let due = read_at + 15 * MINUTE_MS;
    assert!(matches!(
        state_at(&harness, due - 1),
        ProbeState::Open {
            kind: BlockKind::Share,
            ..
        }
    ));
    assert!(grants(&mut harness, 1, due - 1).is_empty());
    let lease = probe(&mut harness, due);
    assert!(grants(&mut harness, 1, due + 1).is_empty());
    // It shows nothing.
    harness.end(lease, LeaseEnd::RunEnded);
    let next = due + 15 * MINUTE_MS;
    assert!(grants(&mut harness, 1, due + 2).is_empty() && grants(&mut harness, 1, next - 1).is_empty());
    let lease = probe(&mut harness, next);
    // A new reading says the same.
    let again = reading(FIVE_HOUR, Some(1.0), Some(RESET), LimitStatus::Allowed);
    harness.accounts[0].engine.take(&again, next + 1_000);
    harness.end(lease, LeaseEnd::RunEnded);
    let last = next + 1_000 + 15 * MINUTE_MS;
    assert!(grants(&mut harness, 1, last - 1).is_empty());
    let lease = probe(&mut harness, last);
    harness.end(lease, LeaseEnd::RunEnded);
    // Three showed nothing; a moved end of the window does not delay the next one.
    let moved = reading(FIVE_HOUR, Some(1.0), Some(RESET + 20_000), LimitStatus::Allowed);
    harness.sweep(last + 1_000);
    harness.accounts[0].engine.take(&moved, last + 2_000);
    probe(&mut harness, last + 2_000 + 15 * MINUTE_MS);
}

#[test]
fn nothing_is_to_be_done_by_the_clock_for_an_account_that_is_due() {
    let mut harness = refused();
    assert_eq!(grants(&mut harness, 1, DUE).len(), 1);
    assert_eq!(harness.book.next_change(DUE), Some(DUE + TTL));
    let now = DUE + TTL;
    harness.sweep(now);
    assert_eq!(state_at(&harness, now), ProbeState::Due);
    // Or the collector would look at it for ever.
    assert_eq!(harness.book.next_change(now), None);
}

#[test]
fn a_slow_ramp_has_its_whole_interval() {
    let mut harness = refused();
    harness.accounts[0].account.start.ramp.every_ms = HOUR_MS;
    probe(&mut harness, DUE);
    serve(&mut harness, DUE + 1);
    harness.sweep(DUE + 1);
    let next = DUE + 1 + HOUR_MS;
    harness.sweep(next - 1);
    assert!(matches!(
        state_at(&harness, next - 1),
        ProbeState::Ramp { cap: 1, .. }
    ));
    serve(&mut harness, next);
    assert_eq!(grants(&mut harness, 5, next).len(), 1);
}

#[test]
fn a_ramp_is_bounded_though_the_clock_went_back() {
    let mut harness = refused();
    harness.accounts[0].account.start.ramp.start = 3;
    let late = DUE + HOUR_MS;
    probe(&mut harness, late);
    serve(&mut harness, late + 2_000);
    harness.sweep(late + 2_000);
    assert_eq!(grants(&mut harness, 20, late - 3_000).len(), 2);
    assert_eq!(grants(&mut harness, 20, late - 2_000).len(), 0);
}

#[test]
fn a_block_by_a_share_that_is_served_is_tried_once_in_a_quarter_of_an_hour_all_the_same() {
    let served = ScopeFacts {
        gate: Gate::Blocked(ScopeBlock {
            until: NOON + 2 * HOUR_MS,
            kind: BlockKind::Share,
            seen_at: NOON - HOUR_MS,
            has_end: true,
        }),
        served_at: Some(NOON + 2),
        ..ScopeFacts::default()
    };
    let rules = StartRules {
        concurrency: 1,
        ..StartRules::default()
    };
    let tried = Probe::granted(None, 1, NOON);
    let ramp = tried.advance(&served, None, &rules, NOON + 3).unwrap();
    let over = ramp.advance(&served, None, &rules, NOON + 4).unwrap();
    let next = NOON + REVALIDATE_AFTER_MS;
    assert_eq!(
        state(Some(&over), &served, &rules, NOON + 5),
        ProbeState::Open {
            until: next,
            kind: BlockKind::Share
        }
    );
    assert_eq!(
        over.advance(&served, None, &rules, NOON + 6),
        Some(over.clone()),
        "it stays"
    );
    assert_eq!(state(Some(&over), &served, &rules, next), ProbeState::Due);
}

#[test]
fn a_clock_that_is_set_back_keeps_no_lease_and_no_probe() {
    let day = 24 * HOUR_MS;
    let tried = Probe::granted(None, 1, NOON + day);
    let facts = ScopeFacts::default();
    let next = tried.advance(&facts, None, &StartRules::default(), NOON).unwrap();
    assert_eq!(
        state(Some(&next), &facts, &StartRules::default(), NOON),
        ProbeState::Due
    );
    let mut harness = harness_for(1);
    let lease = harness
        .acquire(&wanted("k", 1), None, NOON + day)
        .leases
        .remove(0);
    let swept = harness.book.sweep(&[], NOON);
    let (ttl, until) = (lease.ttl, swept.written[0].expires_at);
    assert_eq!(
        (swept.written[0].number, until),
        (lease.number, NOON + ttl.max(30_000))
    );
}
