//! Leases in a book: their states and ends, grants, keys of places, sweeps and starts.

mod limits;
mod recovery;

use std::collections::{BTreeMap, BTreeSet};

use super::capacity::CapacityLimit;
use super::cost::{CostHistory, RunCost, WindowCost};
use super::grant::LeaseRequest;
use super::harness::{LeaseHarness, ObservedAccount, reading};
use super::*;
use crate::model::{HOUR_MS, LimitStatus, MINUTE_MS};
use crate::quota::window_name::FIVE_HOUR;

/// 2026-10-05T12:00:00Z
const NOON: Millis = 1_791_201_600_000;
const TTL: Millis = 2 * MINUTE_MS;

/// One account, of which a window was read a minute ago: so much is used, its reset is in two hours.
fn harness(used: f64) -> LeaseHarness {
    let mut account = ObservedAccount::new("a");
    let status = LimitStatus::Allowed;
    let news = reading(FIVE_HOUR, Some(used), Some(NOON + 2 * HOUR_MS), status);
    account.engine.take(&news, NOON - MINUTE_MS);
    LeaseHarness {
        accounts: vec![account],
        ..LeaseHarness::default()
    }
}

/// The same with a number of runs at a time.
fn harness_for(concurrency: u32) -> LeaseHarness {
    let mut harness = harness(0.1);
    harness.accounts[0].account.start.concurrency = concurrency;
    harness
}

fn wanted(key: &str, count: u32) -> LeaseRequest {
    LeaseRequest {
        key: key.into(),
        count,
        min: 1,
        ttl: TTL,
        ..LeaseRequest::default()
    }
}

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

/// Grants so many; returns the numbers of those that there were.
fn grants(harness: &mut LeaseHarness, count: u32, now: Millis) -> Vec<LeaseNumber> {
    let grant = harness.acquire(&wanted("k", count), None, now);
    grant.leases.iter().map(|lease| lease.number).collect()
}

fn cost(window: &str, share: f64) -> BTreeMap<Box<str>, f64> {
    BTreeMap::from([(window.into(), share)])
}

#[test]
fn a_lease_ends_at_its_expiry_until_it_is_bound() {
    let mut harness = harness_for(2);
    let [one, two] = grants(&mut harness, 2, NOON)[..] else {
        panic!("two are free");
    };
    assert_eq!(harness.book.leases[&one].state(), LeaseState::Granted);
    assert!(harness.bind(two, &run("r"), NOON + TTL - 1));
    assert_eq!(harness.book.leases[&two].state(), LeaseState::Bound);
    assert_eq!(harness.book.of_run(&run("r")).unwrap().number, two);
    harness.sweep(NOON + TTL - 1);
    assert_eq!(harness.ends.len(), 0);
    assert_eq!(harness.book.next_change(NOON), Some(NOON + TTL));
    harness.sweep(NOON + TTL);
    assert_eq!(harness.ends, BTreeMap::from([(one, LeaseEnd::Expired)]));
    harness.sweep(NOON + 1_000 * HOUR_MS);
    assert!(harness.book.leases.contains_key(&two));
    assert!(!harness.bind(one, &run("s"), NOON));
}

#[test]
fn a_run_that_writes_nothing_keeps_its_place_for_one_length_of_the_lease() {
    let mut harness = harness_for(1);
    let number = grants(&mut harness, 1, NOON)[0];
    let started = NOON + TTL - 1;
    assert!(harness.start_run(number, &run("r"), started));
    harness.sweep(started + TTL - 1);
    assert!(harness.book.leases.contains_key(&number));
    harness.sweep(started + TTL);
    assert_eq!(harness.ends[&number], LeaseEnd::Expired);
}

#[test]
fn a_renewal_never_shortens_a_lease() {
    let mut harness = harness_for(1);
    let number = grants(&mut harness, 1, NOON)[0];
    let mut lease = harness.book.leases[&number].clone();
    lease.renew(Some(1_000), NOON + MINUTE_MS);
    assert_eq!((lease.ttl, lease.expires_at), (1_000, NOON + TTL));
    lease.renew(None, NOON + TTL);
    assert_eq!(lease.expires_at, NOON + TTL + 1_000);
    lease.renew(Some(10 * MINUTE_MS), NOON + TTL);
    assert_eq!(lease.expires_at, NOON + TTL + 10 * MINUTE_MS);
}

#[test]
fn a_place_that_is_given_back_is_granted_again() {
    let mut harness = harness_for(1);
    let one = grants(&mut harness, 1, NOON)[0];
    assert!(grants(&mut harness, 1, NOON + 1).is_empty());
    // It expires.
    let two = grants(&mut harness, 1, NOON + TTL)[0];
    assert_eq!(harness.ends[&one], LeaseEnd::Expired);
    // Its run ends.
    assert!(harness.bind(two, &run("r"), NOON + TTL));
    assert!(grants(&mut harness, 1, NOON + HOUR_MS).is_empty());
    harness.end(two, LeaseEnd::RunEnded);
    let three = grants(&mut harness, 1, NOON + HOUR_MS)[0];
    // Its holder releases it.
    harness.end(three, LeaseEnd::Released);
    let four = grants(&mut harness, 1, NOON + HOUR_MS)[0];
    let numbers = BTreeSet::from([one, two, three, four]);
    assert_eq!(numbers.len(), 4, "a number is never given twice");
}

#[test]
fn the_token_of_a_later_lease_is_higher() {
    let mut harness = harness_for(1);
    let token = |harness: &mut LeaseHarness| {
        let number = grants(harness, 1, NOON)[0];
        let token = harness.book.leases[&number].token;
        harness.end(number, LeaseEnd::Released);
        token
    };
    let first = token(&mut harness);
    assert!(token(&mut harness) > first);
}

#[test]
fn fewer_than_asked_for_are_granted_but_none_below_the_minimum() {
    let mut harness = harness_for(3);
    let request = LeaseRequest {
        min: 4,
        ..wanted("k", 5)
    };
    let before = harness.book.clone();
    let none = harness.acquire(&request, None, NOON);
    assert_eq!(
        (none.leases.len(), none.by),
        (0, Some(CapacityLimit::Concurrency))
    );
    assert_eq!(none.change, LeaseChange::default());
    assert_eq!(harness.book.leases, before.leases);
    assert!(none.retry_at > Some(NOON));
    let request = LeaseRequest { min: 3, ..request };
    let three = harness.acquire(&request, None, NOON);
    assert_eq!(
        (three.leases.len(), three.by),
        (3, Some(CapacityLimit::Concurrency))
    );
    assert_eq!(three.capacities[0].1.free, Some(3), "as it was before the grant");
    assert_eq!(three.retry_at, None);
}

#[test]
fn the_runs_of_a_request_are_those_of_its_leases_in_order() {
    let mut harness = harness_for(0);
    let request = LeaseRequest {
        runs: vec![run("r"), run("s")],
        class: Some("high".into()),
        holder: Some("me".into()),
        cost: cost("5h", 0.2),
        ..wanted("k", 3)
    };
    let grant = harness.acquire(&request, Some("claude-opus-5"), NOON);
    let runs: Vec<_> = grant.leases.iter().map(|lease| lease.run.clone()).collect();
    assert_eq!(runs, [Some(run("r")), Some(run("s")), None]);
    let lease = &grant.leases[0];
    assert_eq!((lease.granted_at, lease.expires_at), (NOON, NOON + TTL));
    assert_eq!(lease.model.as_deref(), Some("claude-opus-5"));
    assert_eq!(
        (lease.class.as_deref(), lease.holder.as_deref()),
        (Some("high"), Some("me"))
    );
    assert_eq!((&*lease.cost[0].window, lease.cost[0].share), (FIVE_HOUR, 0.2));
}

#[test]
fn what_one_account_has_no_room_for_goes_to_the_next() {
    let mut harness = harness_for(2);
    let mut next = harness.accounts[0].clone();
    next.account.id.name = "b".into();
    next.account.start.concurrency = 4;
    harness.accounts.push(next);
    let grant = harness.acquire(&wanted("k", 5), None, NOON);
    let names: Vec<&str> = grant.leases.iter().map(|lease| &*lease.account.name).collect();
    assert_eq!(names, ["a", "a", "b", "b", "b"]);
    // What bounds the first.
    assert_eq!(grant.by, Some(CapacityLimit::Concurrency));
    assert_eq!(harness.acquire(&wanted("k", 5), None, NOON).leases.len(), 1);
}

#[test]
fn clients_that_wait_for_one_moment_come_back_apart() {
    let mut harness = harness(1.0);
    let times: BTreeSet<Millis> = (0..20)
        .map(|number| {
            let grant = harness.acquire(&wanted(&format!("key-{number}"), 1), None, NOON);
            assert!(grant.leases.is_empty());
            grant.retry_at.unwrap()
        })
        .collect();
    let (first, last) = (*times.first().unwrap(), *times.last().unwrap());
    // The next try of a block by a share, a quarter of an hour after its reading, and half a minute of spread.
    let from = NOON + 14 * MINUTE_MS;
    assert!(first > from && last <= from + 30_000, "{times:?}");
    assert!(times.len() >= 15 && last - first > 15_000, "{times:?}");
    // One key has one time.
    let again = harness.acquire(&wanted("key-3", 1), None, NOON).retry_at.unwrap();
    assert!(times.contains(&again));
    // Without a known time, soon.
    let mut full = harness_for(1);
    grants(&mut full, 1, NOON);
    let soon = full.acquire(&wanted("other", 1), None, NOON).retry_at.unwrap();
    assert!((NOON + 10_000..=NOON + 11_000).contains(&soon), "{}", soon - NOON);
    assert!(
        full.with_places(None, NOON, |_| grant::grant(
            &wanted("k", 1),
            &[],
            &LeaseBook::default(),
            NOON
        )
        .retry_at)
            > Some(NOON)
    );
}

#[test]
fn a_start_gives_time_to_leases_without_a_run_only() {
    let mut harness = harness_for(3);
    let [short, bound] = grants(&mut harness, 2, NOON)[..] else {
        panic!("two are free");
    };
    assert!(harness.bind(bound, &run("r"), NOON + 1));
    let start = NOON + TTL + MINUTE_MS;
    let long = LeaseRequest {
        ttl: 10 * MINUTE_MS,
        ..wanted("long", 1)
    };
    let long = harness.acquire(&long, None, NOON).leases[0].clone();
    let before = harness.book.leases[&bound].clone();
    harness.start(start);
    assert_eq!(harness.book.leases[&short].expires_at, start + 30_000);
    assert_eq!(harness.book.leases[&long.number], long);
    assert_eq!(harness.book.leases[&bound], before);
    assert!(harness.bind(short, &run("s"), start + 29_999));
    assert_eq!(harness.book.after_start(start), LeaseChange::default());
}

#[test]
fn a_change_is_empty_only_if_nothing_is_written() {
    let mut harness = harness_for(1);
    assert!(harness.swept(NOON).is_empty());
    let grant = harness.acquire(&wanted("k", 1), None, NOON);
    assert!(!grant.change.is_empty());
    assert!(harness.swept(NOON + TTL - 1).is_empty() && !harness.swept(NOON + TTL).is_empty());
    let answer = KeyedAnswer {
        key: "k".into(),
        hash: 0,
        at: NOON,
        text: Box::default(),
    };
    let answered = LeaseChange {
        answer: Some(answer),
        ..LeaseChange::default()
    };
    assert!(!answered.is_empty());
}

#[test]
fn the_recovery_of_an_account_that_is_gone_is_dropped() {
    let mut harness = harness(1.0);
    let at = NOON + 2 * HOUR_MS + MINUTE_MS;
    assert_eq!(grants(&mut harness, 2, at).len(), 1);
    assert_eq!(harness.book.probes.len(), 1);
    harness.accounts.clear();
    harness.sweep(at + 1);
    assert_eq!(harness.book.probes.len(), 0);
}

#[test]
fn a_cost_is_the_median_of_the_last_runs() {
    let of_run = |run, tokens, share| RunCost {
        run,
        tokens,
        windows: vec![WindowCost {
            window: FIVE_HOUR.into(),
            share,
        }],
    };
    let mut history = CostHistory::default();
    for number in 1..=4_u32 {
        history.add(of_run(number, number.into(), f64::from(number) / 100.0));
        // It was stopped, resumed, and stopped again: a run is one.
        history.add(of_run(number, number.into(), f64::from(number) / 100.0));
    }
    assert_eq!((history.learned(), history.tokens()), (BTreeMap::new(), None));
    history.add(of_run(5, 5, 0.5));
    assert_eq!(
        (history.learned(), history.tokens()),
        (cost(FIVE_HOUR, 0.03), Some(3.0))
    );
    // The latest 25 count.
    for number in 10..35 {
        history.add(of_run(number, 7, 0.07));
    }
    assert_eq!((history.0.len(), history.tokens()), (25, Some(7.0)));
    assert_eq!(history.learned(), cost(FIVE_HOUR, 0.07));
    // A share that is not told from nothing would allow any number.
    for number in 40..65 {
        history.add(of_run(number, 0, 1e-9));
    }
    assert_eq!(history.learned(), BTreeMap::new());
}
