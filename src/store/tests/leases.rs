//! Leases, and the answers to their keys.

use super::*;
use crate::quota::lease::{KEPT_MS, KeyedAnswer, Lease, LeaseChange};

fn lease(number: u64) -> Lease {
    Lease {
        number,
        token: 1,
        account: AccountId::default(),
        model: None,
        class: None,
        run: None,
        holder: None,
        granted_at: NOW,
        ttl: 1000,
        expires_at: NOW + 1000,
        bound_at: None,
        bytes_before: 0,
        tokens_before: 0,
        has_log: false,
        probe: None,
        cost: Vec::new(),
    }
}

fn answer(key: &str, at: Millis) -> KeyedAnswer {
    KeyedAnswer {
        key: key.into(),
        hash: 1,
        at,
        text: key.as_bytes().into(),
    }
}

/// Writes leases, and the answer to a key.
fn write(store: &mut Writer, written: Vec<Lease>, answer: KeyedAnswer) {
    let at = answer.at;
    let mut change = Some(LeaseChange {
        written,
        answer: Some(answer),
        ..LeaseChange::default()
    });
    let mut decide: [DecideLeases; 1] = [Box::new(move |_, _| Ok(change.take().unwrap_or_default()))];
    store.leases(&mut decide, at).unwrap();
}

fn text(store: &Writer, key: &str) -> Option<Box<[u8]>> {
    let snapshot = store.reader().snapshot().unwrap();
    let answer = snapshot.lease_answer(key).unwrap();
    answer.map(|answer| answer.text)
}

#[test]
fn a_key_keeps_its_answer_when_an_earlier_lease_is_written_with_a_later_grant() {
    let mut store = memory();
    write(&mut store, vec![lease(1)], answer("one", NOW));
    // The clock was set back: the first lease is shortened by the request that is granted the second.
    let shorter = Lease {
        expires_at: NOW + 500,
        ..lease(1)
    };
    write(&mut store, vec![shorter, lease(2)], answer("two", NOW));
    assert_eq!(text(&store, "one").as_deref(), Some(&b"one"[..]));
    assert_eq!(text(&store, "two").as_deref(), Some(&b"two"[..]));
}

#[test]
fn a_key_that_is_used_again_after_a_day_has_its_later_answer() {
    let mut store = memory();
    write(&mut store, vec![lease(1)], answer("other", NOW + 1));
    write(&mut store, vec![lease(2)], answer("key", NOW));
    write(&mut store, vec![lease(3)], answer("key", NOW + KEPT_MS));
    // The earlier answer is dropped only now, with the one before it.
    write(&mut store, vec![lease(4)], answer("last", NOW + KEPT_MS + 1));
    assert_eq!(text(&store, "other"), None);
    let snapshot = store.reader().snapshot().unwrap();
    let later = snapshot.lease_answer("key").unwrap().unwrap();
    assert_eq!(later.at, NOW + KEPT_MS);
}
