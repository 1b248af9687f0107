//! Capacity by each limit.

use super::*;
use crate::quota::account::{Minimum, OnUnknown};
use crate::quota::admission::Reason;
use crate::quota::lease::capacity::{Capacity, LEASES_MAX, cost_of};
use crate::quota::simulator::News;
use crate::quota::window_name::{COOL_DOWN, OVERAGE_IN_USE, SEVEN_DAY, SEVEN_DAY_OPUS};

fn free(
    harness: &LeaseHarness,
    class: Option<&str>,
    cost: &BTreeMap<Box<str>, f64>,
) -> (Option<u32>, Option<CapacityLimit>) {
    let Capacity { free, by, .. } = harness.capacity(None, class, cost, NOON);
    (free, by)
}

fn nothing() -> BTreeMap<Box<str>, f64> {
    BTreeMap::new()
}

#[test]
fn without_limits_there_is_none() {
    let harness = harness(0.99);
    assert_eq!(free(&harness, None, &nothing()), (None, None));
    assert_eq!(harness.capacity(None, None, &nothing(), NOON).active, 0);
}

#[test]
fn leases_and_runs_without_one_count_against_concurrency() {
    let mut harness = harness_for(4);
    let leases = grants(&mut harness, 2, NOON);
    assert!(harness.bind(leases[0], &run("r"), NOON));
    harness.accounts[0].live = 1;
    let capacity = harness.capacity(None, None, &nothing(), NOON);
    assert_eq!((capacity.free, capacity.active), (Some(1), 3));
    assert_eq!(capacity.by, Some(CapacityLimit::Concurrency));
    // More foreign runs than there is room for.
    harness.accounts[0].live = 7;
    assert_eq!(
        free(&harness, None, &nothing()),
        (Some(0), Some(CapacityLimit::Concurrency))
    );
    // Those of another account do not count.
    let mut other = harness.accounts[0].clone();
    (other.account.id.name, other.live) = ("b".into(), 0);
    harness.accounts.insert(0, other);
    assert_eq!(free(&harness, None, &nothing()).0, Some(4));
}

#[test]
fn what_is_left_is_divided_by_the_given_the_configured_or_the_learned_cost() {
    let mut harness = harness(0.7);
    assert_eq!(
        free(&harness, None, &cost(FIVE_HOUR, 0.1)),
        (Some(3), Some(CapacityLimit::Headroom))
    );
    let capacity = harness.capacity(None, None, &cost(FIVE_HOUR, 0.4), NOON);
    assert_eq!(
        (capacity.free, capacity.retry_at),
        (Some(0), Some(NOON + 2 * HOUR_MS))
    );
    // Of a window that was never read nothing is known.
    assert_eq!(free(&harness, None, &cost(SEVEN_DAY, 0.1)), (None, None));
    let account = &mut harness.accounts[0].account;
    account.minimum_left.push(Minimum {
        window: FIVE_HOUR.into(),
        percent: 10,
    });
    assert_eq!(free(&harness, None, &cost(FIVE_HOUR, 0.1)).0, Some(2));

    let run = RunCost {
        run: 1,
        tokens: 100,
        windows: vec![WindowCost {
            window: FIVE_HOUR.into(),
            share: 0.05,
        }],
    };
    let id = harness.accounts[0].account.id.clone();
    let costs = CostHistory(vec![run; 5]);
    harness.book.costs.insert((id.clone(), "high".into()), costs);
    let account = harness.accounts[0].account.clone();
    let learned = |account: &_, class, given: BTreeMap<_, _>| cost_of(account, &harness.book, class, &given);
    assert_eq!(learned(&account, Some("high"), nothing()), cost(FIVE_HOUR, 0.05));
    assert_eq!(learned(&account, None, nothing()), nothing());
    let mut configured = account;
    configured.start.cost = cost(FIVE_HOUR, 0.02);
    assert_eq!(
        learned(&configured, Some("high"), nothing()),
        cost(FIVE_HOUR, 0.02)
    );
    assert_eq!(
        learned(&configured, Some("high"), cost("5h", 0.01)),
        cost(FIVE_HOUR, 0.01)
    );
}

#[test]
fn leases_hold_what_their_runs_are_expected_to_use_less_what_they_have_used() {
    let mut harness = harness(0.7);
    let request = LeaseRequest {
        cost: cost(FIVE_HOUR, 0.1),
        ..wanted("k", 2)
    };
    let leases = harness.acquire(&request, None, NOON).leases;
    let held = |harness: &LeaseHarness| harness.capacity(None, None, &request.cost, NOON).held[FIVE_HOUR];
    assert!((held(&harness) - 0.2).abs() < 1e-9);
    assert_eq!(
        free(&harness, None, &request.cost),
        (Some(1), Some(CapacityLimit::Headroom))
    );
    assert_eq!(
        harness
            .acquire(
                &LeaseRequest {
                    count: 5,
                    ..request.clone()
                },
                None,
                NOON
            )
            .leases
            .len(),
        1
    );
    assert_eq!(free(&harness, None, &request.cost).0, Some(0));
    // Runs of this account use 100 tokens; of one, 75 are in the readings already.
    let history = CostHistory(vec![
        RunCost {
            run: 1,
            tokens: 100,
            windows: Vec::new()
        };
        5
    ]);
    let id = harness.accounts[0].account.id.clone();
    harness.book.costs.insert((id, Box::default()), history);
    harness.book.used.insert(leases[0].number, 75);
    assert!((held(&harness) - 0.225).abs() < 1e-9, "{}", held(&harness));
    harness.book.used.insert(leases[0].number, 1_000);
    assert!((held(&harness) - 0.2).abs() < 1e-9);
    assert_eq!(free(&harness, None, &request.cost).0, Some(1));
    harness.end(leases[1].number, LeaseEnd::Released);
    assert_eq!(free(&harness, None, &request.cost).0, Some(2));
}

#[test]
fn what_leases_hold_may_come_back_before_the_reset() {
    let mut harness = harness(0.7);
    harness.accounts[0]
        .account
        .start
        .reserve
        .insert("high".into(), 0.1);
    let tenth = cost(FIVE_HOUR, 0.1);
    let retry_at = |harness: &LeaseHarness, cost: BTreeMap<_, _>| {
        let capacity = harness.capacity(None, None, &cost, NOON);
        assert_eq!(capacity.free, Some(0));
        capacity.retry_at
    };
    let request = LeaseRequest {
        cost: tenth.clone(),
        ..wanted("k", 5)
    };
    let leases = harness.acquire(&request, None, NOON).leases;
    assert_eq!(leases.len(), 2);
    assert_eq!(retry_at(&harness, tenth.clone()), None);
    assert_eq!(retry_at(&harness, nothing()), None);
    // Without the leases there would be too little too.
    assert_eq!(
        retry_at(&harness, cost(FIVE_HOUR, 0.25)),
        Some(NOON + 2 * HOUR_MS)
    );
    harness.accounts[0]
        .account
        .start
        .reserve
        .insert("high".into(), 0.3);
    assert_eq!(retry_at(&harness, tenth.clone()), Some(NOON + 2 * HOUR_MS));
    assert_eq!(retry_at(&harness, nothing()), Some(NOON + 2 * HOUR_MS));
}

#[test]
fn a_share_is_kept_for_a_class() {
    let mut harness = harness(0.7);
    let reserve = &mut harness.accounts[0].account.start.reserve;
    reserve.extend([("high".into(), 0.15), ("urgent".into(), 0.1)]);
    let tenth = cost(FIVE_HOUR, 0.1);
    assert_eq!(
        free(&harness, None, &tenth),
        (Some(0), Some(CapacityLimit::Reserve))
    );
    assert_eq!(
        free(&harness, Some("low"), &tenth),
        (Some(0), Some(CapacityLimit::Reserve))
    );
    assert_eq!(
        free(&harness, Some("high"), &tenth),
        (Some(2), Some(CapacityLimit::Reserve))
    );
    assert_eq!(free(&harness, Some("urgent"), &tenth).0, Some(1));
    // Without a cost the reserve is a limit all the same.
    assert_eq!(free(&harness, None, &nothing()), (None, None));
    harness.accounts[0]
        .account
        .start
        .reserve
        .insert("high".into(), 0.2);
    assert_eq!(
        free(&harness, None, &nothing()),
        (Some(0), Some(CapacityLimit::Reserve))
    );
    assert_eq!(free(&harness, Some("high"), &nothing()), (None, None));
}

#[test]
fn a_refusal_and_a_cool_down_leave_no_room() {
    let mut harness = harness(0.5);
    let mut full = harness.accounts[0].clone();
    full.account.id.name = "b".into();
    let refused = reading(FIVE_HOUR, None, Some(NOON + HOUR_MS), LimitStatus::Rejected);
    harness.accounts[0].engine.take(&refused, NOON - 1_000);
    let capacity = harness.capacity(None, None, &nothing(), NOON);
    assert_eq!(
        (capacity.free, capacity.by),
        (Some(0), Some(CapacityLimit::Refused))
    );
    assert_eq!(capacity.retry_at, Some(NOON + HOUR_MS + MINUTE_MS));
    assert_eq!(capacity.probes.len(), 0);

    let throttled = reading(COOL_DOWN, None, Some(NOON + 30_000), LimitStatus::Rejected);
    full.engine.take(&throttled, NOON - 1_000);
    harness.accounts = vec![full];
    let capacity = harness.capacity(None, None, &nothing(), NOON);
    assert_eq!(
        (capacity.free, capacity.by),
        (Some(0), Some(CapacityLimit::CoolDown))
    );
    assert_eq!(capacity.retry_at, Some(NOON + 30_000));
}

#[test]
fn the_verdict_on_an_account_binds() {
    let mut unseen = LeaseHarness {
        accounts: vec![ObservedAccount::new("a")],
        ..LeaseHarness::default()
    };
    assert_eq!(
        free(&unseen, None, &nothing()),
        (Some(0), Some(CapacityLimit::Verdict))
    );
    unseen.accounts[0].account.on_unknown = OnUnknown::Wait;
    assert_eq!(free(&unseen, None, &nothing()).0, Some(0));
    unseen.accounts[0].account.on_unknown = OnUnknown::Allow;
    assert_eq!(free(&unseen, None, &nothing()), (None, None));
    assert_eq!(CapacityLimit::Verdict.reason(), None);
    assert_eq!(CapacityLimit::Probe.reason(), Some(Reason::Probing));
}

#[test]
fn there_are_only_so_many_leases_at_all() {
    let mut harness = harness(0.1);
    let lease = harness.acquire(&wanted("k", 1), None, NOON).leases[0].clone();
    for number in 2..LEASES_MAX as u64 {
        let mut other = Lease {
            number,
            ..lease.clone()
        };
        other.account.name = "elsewhere".into();
        harness.book.leases.insert(number, other);
        harness.book.last = number;
    }
    assert_eq!(grants(&mut harness, 5, NOON).len(), 1);
    assert_eq!(
        free(&harness, None, &nothing()),
        (Some(0), Some(CapacityLimit::Leases))
    );
}

#[test]
fn of_several_limits_the_lowest_binds_and_each_has_to_pass() {
    let mut harness = harness_for(3);
    assert_eq!(
        free(&harness, None, &cost(FIVE_HOUR, 0.45)),
        (Some(2), Some(CapacityLimit::Headroom))
    );
    assert_eq!(
        free(&harness, None, &cost(FIVE_HOUR, 0.1)),
        (Some(3), Some(CapacityLimit::Concurrency))
    );
    harness.accounts[0].live = 3;
    let capacity = harness.capacity(None, None, &cost(FIVE_HOUR, 0.95), NOON);
    assert_eq!(
        (capacity.free, capacity.by),
        (Some(0), Some(CapacityLimit::Concurrency))
    );
    assert_eq!(capacity.retry_at, Some(NOON + 2 * HOUR_MS));
}

#[test]
fn the_window_of_a_family_binds_its_models_only() {
    let mut harness = harness(0.1);
    let opus = reading(
        SEVEN_DAY_OPUS,
        Some(1.0),
        Some(NOON + 50 * HOUR_MS),
        LimitStatus::Rejected,
    );
    harness.accounts[0].engine.take(&opus, NOON - 1_000);
    let of_model = |model| harness.capacity(model, None, &nothing(), NOON).free;
    assert_eq!(of_model(Some("claude-opus-5")), Some(0));
    assert_eq!(of_model(Some("claude-haiku-5")), None);
    // As may-start says: no run without a model.
    assert_eq!(of_model(None), None);
}

#[test]
fn use_that_is_paid_for_passes_windows_that_are_used_up() {
    let mut harness = harness(1.0);
    let account = &mut harness.accounts[0];
    account.account.use_overage = true;
    account.account.start.concurrency = 2;
    account.account.start.reserve.insert("high".into(), 0.1);
    let refused = free(&harness, None, &cost(FIVE_HOUR, 0.1));
    assert_eq!(refused, (Some(0), Some(CapacityLimit::Headroom)));
    let paid = reading(OVERAGE_IN_USE, Some(1.0), None, LimitStatus::Unknown);
    let account = &mut harness.accounts[0];
    account.engine.take(&paid, NOON - 1_000);
    account.engine.take(&News::Served(0), NOON - 1_000);
    let verdict = harness.with_places(None, NOON, |places| places[0].assessment.reason);
    assert_eq!(verdict, Reason::UsingOverage);
    assert_eq!(
        free(&harness, None, &cost(FIVE_HOUR, 0.1)),
        (Some(2), Some(CapacityLimit::Concurrency))
    );
    // Without the permission it is none.
    harness.accounts[0].account.use_overage = false;
    assert_eq!(free(&harness, None, &nothing()).0, Some(0));
}
