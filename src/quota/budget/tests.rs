//! Calls and days with round numbers, then random minutes.

use proptest::prelude::*;

use super::*;
use crate::model::DAY_MS;

const HOUR: Minute = 60;
/// The minute 2026-10-05T00:00:00Z begins.
const FIRST: Minute = 29_852_640;

fn day() -> Day {
    let start = start_of(FIRST);
    Day {
        start,
        end: start + DAY_MS,
    }
}

fn at(hour: Minute, minute: Minute, second: Millis) -> Millis {
    start_of(FIRST + hour * HOUR + minute) + second * 1000
}

fn budget(used: &[(Minute, u128)]) -> DailyBudget {
    DailyBudget::new(
        1_000_000,
        day(),
        used.iter().map(|(minute, tokens)| (FIRST + minute, *tokens)),
    )
}

#[test]
fn a_time_lies_in_its_minute() {
    assert_eq!(minute_of(at(0, 0, 0)), FIRST);
    assert_eq!(minute_of(at(0, 0, 59) + 999), FIRST);
    assert_eq!(minute_of(at(0, 1, 0)), FIRST + 1);
    assert_eq!((minute_of(-1), minute_of(Millis::MIN)), (0, 0));
    assert_eq!(minute_of(Millis::MAX), Minute::MAX);
}

#[test]
fn near_the_limit_from_a_percentage_of_the_quota_on() {
    assert!(!near_limit(7, 10, 80));
    assert!(near_limit(8, 10, 80));
    assert!(!near_limit(8, 0, 80), "no quota");
    assert!(!near_limit(0, 3, 30));
    assert!(near_limit(1, 3, 30));
    assert!(!near_limit(719, 900, 80));
    assert!(near_limit(720, 900, 80));
    assert!(near_limit(u64::MAX, u64::MAX, 100));
}

#[test]
fn calls_count_for_exactly_five_hours() {
    let made = [(FIRST, 600), (FIRST + 4 * HOUR + 59, 300)];
    assert_eq!(
        calls_in(made, at(5, 0, 1)),
        Calls {
            count: 300,
            oldest_leaves_in_s: 4 * 3600 + 59 * 60 - 1
        }
    );
    assert_eq!(
        calls_in(made, at(4, 59, 0)),
        Calls {
            count: 900,
            oldest_leaves_in_s: 60
        }
    );
    assert_eq!(calls_in(made, at(5, 0, 0) - 1).count, 900);
    assert_eq!(
        calls_in(made, at(5, 0, 0) - 1).oldest_leaves_in_s,
        1,
        "rounded up"
    );
    assert_eq!(calls_in(made, at(5, 0, 0)).count, 300);
    assert_eq!(calls_in([], at(5, 0, 0)), Calls::default());
    assert_eq!(calls_in([(FIRST, 0)], at(0, 0, 0)), Calls::default());
}

#[test]
fn calls_later_than_now_do_not_count_yet() {
    let made = [(FIRST + 1, 2), (FIRST, 1)];
    assert_eq!(calls_in(made, at(0, 0, 59)).count, 1);
    assert_eq!(calls_in(made, at(0, 1, 0)).count, 3);
}

#[test]
fn tokens_belong_to_the_day_of_their_minute() {
    let next = Day {
        start: day().end,
        end: day().end + DAY_MS,
    };
    let mut used = vec![(FIRST + HOUR, 50_000), (FIRST + 24 * HOUR, 100)];
    assert_eq!(
        (used_in(day(), used.clone()), used_in(next, used.clone())),
        (50_000, 100)
    );
    used.push((FIRST + 24 * HOUR - 1, 10_000));
    assert_eq!((used_in(day(), used.clone()), used_in(next, used)), (60_000, 100));
}

#[test]
fn a_budget_is_overrun_once_it_is_used_faster_than_the_day_passes() {
    let until = |used: DailyBudget, now| used.overrun(now).map(|overrun| overrun.until);
    assert_eq!(until(budget(&[(12 * HOUR, 100_000)]), at(12, 0, 0)), None);
    assert_eq!(
        until(budget(&[(6 * HOUR, 500_000)]), at(6, 0, 0)),
        Some(at(12, 0, 0))
    );
    assert_eq!(until(budget(&[(6 * HOUR, 250_000)]), at(6, 0, 0)), None);
    assert_eq!(
        until(budget(&[(6 * HOUR, 250_001)]), at(6, 0, 0)),
        Some(at(6, 5, 0))
    );
    assert_eq!(
        until(budget(&[(18 * HOUR, 1_000_000)]), at(18, 0, 0)),
        Some(day().end)
    );
    assert_eq!(until(budget(&[(0, 12)]), at(0, 0, 1)), None);
}

#[test]
fn a_budget_that_was_used_too_fast_is_left_alone_until_the_day_has_caught_up() {
    let spent = budget(&[(6 * HOUR, 500_000)]);
    let overrun = Some(Overrun {
        used_up: false,
        since: at(6, 0, 0),
        until: at(12, 0, 0),
    });
    assert_eq!(spent.overrun(at(6, 0, 0) - 1), None);
    assert_eq!(spent.overrun(at(6, 0, 0)), overrun);
    assert_eq!(spent.overrun(at(12, 0, 0) - 1), overrun);
    assert_eq!(spent.overrun(at(12, 0, 0)), None, "half the day, half the budget");
    assert_eq!(spent.overrun(day().end), None);
    // More use in between moves the end; later use starts another block.
    let more = budget(&[(6 * HOUR, 500_000), (7 * HOUR, 100_000), (20 * HOUR, 300_000)]);
    let said = |now| more.overrun(now).map(|overrun| (overrun.since, overrun.until));
    assert_eq!(said(at(13, 0, 0)), Some((at(6, 0, 0), at(14, 24, 0))));
    assert_eq!(said(at(14, 24, 0)), None);
    assert_eq!(said(at(20, 0, 0)), Some((at(20, 0, 0), at(21, 36, 0))));
}

#[test]
fn the_whole_budget_is_used_up_at_any_time() {
    let early = budget(&[(1, 999_999), (2, 1)]);
    assert_eq!(early.overrun(at(0, 1, 59)), None, "too early to tell a pace");
    assert_eq!(
        early.overrun(at(0, 2, 0)),
        Some(Overrun {
            used_up: true,
            since: at(0, 2, 0),
            until: day().end
        })
    );
    let fast_then_used_up = budget(&[(6 * HOUR, 500_000), (7 * HOUR, 500_000)]);
    assert_eq!(
        fast_then_used_up.overrun(at(8, 0, 0)),
        Some(Overrun {
            used_up: true,
            since: at(6, 0, 0),
            until: day().end
        })
    );
}

#[test]
fn a_pace_is_shown_after_fifteen_minutes_and_a_tenth_of_the_budget() {
    let spent = budget(&[(0, 60_000), (3, 40_000)]);
    assert_eq!(spent.overrun(at(0, 15, 0) - 1), None);
    assert_eq!(
        spent.overrun(at(0, 15, 0)).map(|overrun| overrun.since),
        Some(at(0, 15, 0))
    );
    let little = budget(&[(0, 60_000), (3, 39_999)]);
    assert_eq!(little.overrun(at(0, 15, 0)), None);
    assert_eq!(little.overrun(at(1, 0, 0)), None);
}

#[test]
fn a_day_of_twenty_five_hours_gives_more_time() {
    let long = Day {
        end: day().end + HOUR_MS,
        ..day()
    };
    let used = |tokens| DailyBudget::new(1_000_000, long, [(FIRST + 5 * HOUR, tokens)]);
    assert_eq!(used(200_000).overrun(at(5, 0, 0)), None);
    assert_eq!(
        used(400_000).overrun(at(5, 0, 0)).map(|overrun| overrun.until),
        Some(at(10, 0, 0))
    );
    assert_eq!(
        used(200_001).overrun(at(5, 0, 0)).map(|overrun| overrun.until),
        Some(at(5, 5, 0))
    );
}

#[test]
fn a_budget_of_nothing_is_no_budget() {
    let none = DailyBudget::new(0, day(), [(FIRST, 5)]);
    assert_eq!(none.overrun(at(1, 0, 0)), None);
    assert_eq!(none.projected_exhaustion_at(at(1, 0, 0)), None);
}

#[test]
fn what_is_used_and_when_it_runs_out() {
    let spent = budget(&[(2 * HOUR, 200_000), (9 * HOUR, 900_000)]);
    assert_eq!(spent.used(at(6, 0, 0)), 200_000);
    assert_eq!(spent.used(at(9, 0, 0)), 1_100_000);
    assert_eq!(spent.projected_exhaustion_at(at(4, 0, 0)), Some(at(20, 0, 0)));
    assert_eq!(
        spent.projected_exhaustion_at(at(6, 0, 0)),
        None,
        "it lasts the day"
    );
    assert_eq!(spent.projected_exhaustion_at(at(9, 0, 0)), Some(at(9, 0, 0)));
    assert_eq!(
        spent.projected_exhaustion_at(at(1, 0, 0)),
        None,
        "nothing used yet"
    );
    assert_eq!(
        budget(&[(1, 200_000)]).projected_exhaustion_at(at(0, 14, 59)),
        None
    );
}

#[test]
fn what_was_used_up_in_the_first_minutes_stays_so_since_then() {
    let spent = budget(&[(0, 600_000), (5, 500_000)]);
    for now in [at(0, 6, 0), at(0, 15, 0), at(23, 0, 0)] {
        assert_eq!(spent.overrun(now).unwrap().since, at(0, 5, 0));
    }
}

proptest! {
    /// A block holds from `since` up to `until`; during that time the verdict is the same or stricter.
    #[test]
    fn an_overrun_holds_from_its_beginning_to_its_end(
        used in proptest::collection::vec((0..24 * HOUR, 0u128..400_000), 0..12),
        second in 0..24i64 * 3600, part in 0.0f64..1.0,
    ) {
        let budget = budget(&used);
        let now = day().start + second * 1000;
        let Some(said) = budget.overrun(now) else {
            return Ok(());
        };
        prop_assert!(said.since <= now && now < said.until && said.until <= day().end);
        prop_assert!(!said.used_up || said.until == day().end);
        #[expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "a day in milliseconds")]
        let between = said.since + ((said.until - said.since) as f64 * part) as Millis;
        let again = budget.overrun(between);
        prop_assert_eq!(again.map(|again| again.since), Some(said.since));
        if between >= now {
            prop_assert!(again.is_some_and(|again| again.until >= said.until));
        }
    }

    #[test]
    fn calls_are_those_of_five_hours_by_the_definition(
        made in proptest::collection::vec((0..12 * HOUR, 0u64..5), 0..12), second in 0i64..12 * 3600,
    ) {
        let now = start_of(FIRST) + second * 1000;
        let made: Vec<_> = made.into_iter().map(|(minute, calls)| (FIRST + minute, calls)).collect();
        let calls = calls_in(made.iter().copied(), now);
        let live = |now: Millis| -> u64 {
            made.iter()
                .filter(|(minute, _)| (0..CALLS_WINDOW_MS).contains(&(now - start_of(*minute))))
                .map(|(_, calls)| calls)
                .sum()
        };
        prop_assert_eq!(calls.count, live(now));
        let wait = Millis::try_from(calls.oldest_leaves_in_s).unwrap_or(0) * 1000;
        let made: Vec<_> = made.iter().filter(|(minute, _)| start_of(*minute) <= now).copied().collect();
        if calls.count > 0 {
            prop_assert!(calls_in(made.iter().copied(), now + wait).count < calls.count);
            prop_assert_eq!(calls_in(made, now + wait - 1000).count, calls.count);
        }
    }

    #[test]
    fn any_minutes_and_times_are_taken(
        used in proptest::collection::vec((any::<u32>(), any::<u128>()), 0..6),
        tokens in any::<u64>(), start in any::<i64>(), end in any::<i64>(), now in any::<i64>(),
    ) {
        let calls: Vec<_> = used.iter().map(|(minute, _)| (*minute, u64::MAX)).collect();
        let _ = calls_in(calls, now);
        let budget = DailyBudget::new(tokens, Day { start, end }, used);
        let _ = (budget.used(now), minute_of(now));
        prop_assert!(budget.overrun(now).is_none_or(|overrun| overrun.until > now));
        prop_assert!(budget.projected_exhaustion_at(now).is_none_or(|at| at >= now && at < end));
    }
}
