//! The rules one by one, then random orders and duplicates.

use proptest::prelude::*;

use super::*;

fn response(rank: Rank, output: u64, input: u64, time: Millis, run: RunNumber) -> Response {
    Response {
        kind: Kind::Message,
        rank,
        service: Service::default(),
        model: "m".into(),
        usage: Usage {
            input,
            output,
            ..Usage::default()
        },
        run,
        time,
        dating: Dating::Line,
        is_final: true,
        session: 0,
        is_shared: false,
        is_estimated: false,
    }
}

fn folded(copies: &[Response], in_run_order: bool) -> Response {
    let mut known = copies[0].clone();
    for copy in &copies[1..] {
        merge_copy(&mut known, copy.clone(), in_run_order);
    }
    known
}

#[test]
fn rank_beats_output_beats_total() {
    let progress = response(Rank::Progress, 900, 900, 3, 1);
    let side = response(Rank::Sidechain, 100, 900, 2, 2);
    let main_early = response(Rank::Main, 2, 900, 1, 3);
    let main_final = response(Rank::Main, 240, 3, 4, 3);
    let got = folded(
        &[progress.clone(), side, main_early.clone(), main_final.clone()],
        false,
    );
    assert_eq!((got.usage, got.rank), (main_final.usage, Rank::Main));
    assert_eq!(
        (got.run, got.time),
        (3, 1),
        "the earliest line owns it, whichever copy wins"
    );
    let larger = response(Rank::Main, 2, 901, 9, 3);
    assert_eq!(folded(&[main_early, larger.clone()], false).usage, larger.usage);
}

#[test]
fn equal_times_stay_with_the_committed_run_unless_runs_are_worked_off_in_order() {
    let (second, first) = (response(Rank::Main, 5, 5, 7, 2), response(Rank::Main, 5, 5, 7, 1));
    assert_eq!(folded(&[second.clone(), first.clone()], false).run, 2);
    assert_eq!(folded(&[second, first], true).run, 1);
}

#[test]
fn a_time_of_reading_gives_way_to_a_line_time() {
    let undated = Response {
        dating: Dating::Unknown,
        ..response(Rank::Main, 5, 5, 7, 2)
    };
    let dated = response(Rank::Main, 5, 5, 70, 1);
    for copies in [[undated.clone(), dated.clone()], [dated, undated]] {
        let got = folded(&copies, false);
        assert_eq!((got.run, got.time, got.dating), (1, 70, Dating::Line));
    }
}

#[test]
fn what_is_counted_under_another_key_never_counts_again() {
    let duplicate = Response {
        kind: Kind::Duplicate,
        usage: Usage::default(),
        ..response(Rank::Progress, 0, 0, 1, 1)
    };
    let captured = response(Rank::Main, 5, 5, 2, 1);
    for copies in [[duplicate.clone(), captured.clone()], [captured, duplicate]] {
        assert_eq!(Totals::of(&folded(&copies, false)), Totals::default());
    }
}

fn any_response() -> impl Strategy<Value = Response> {
    let rank = prop_oneof![Just(Rank::Progress), Just(Rank::Sidechain), Just(Rank::Main)];
    (
        rank,
        0u64..4,
        0u64..4,
        0i64..4,
        0usize..7,
        prop_oneof![Just("a"), Just("b")],
        any::<bool>(),
        prop_oneof![3 => Just(Kind::Message), 1 => Just(Kind::Duplicate)],
    )
        .prop_map(
            |(rank, output, input, time, dating, model, is_final, kind)| Response {
                kind,
                model: model.into(),
                is_final,
                dating: [
                    Dating::Line,
                    Dating::Audit,
                    Dating::Nearby,
                    Dating::Written,
                    Dating::Unknown,
                    Dating::Posted,
                    Dating::Received,
                ][dating],
                // One run per time: only the winner of a tie may depend on the order.
                ..response(
                    rank,
                    output,
                    input,
                    time,
                    u32::try_from(time).unwrap_or(0) + u32::try_from(dating).unwrap_or(0) * 10,
                )
            },
        )
}

proptest! {
    #[test]
    fn order_and_duplication_change_nothing(
        copies in proptest::collection::vec(any_response(), 1..8),
        picks in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        rotation in any::<proptest::sample::Index>(),
    ) {
        let straight = folded(&copies, false);
        let mut shuffled = copies.clone();
        shuffled.rotate_left(rotation.index(copies.len()));
        shuffled.reverse();
        for pick in picks {
            shuffled.push(pick.get(&copies).clone());
        }
        prop_assert_eq!(folded(&shuffled, false), straight.clone());
        let reordered: Vec<_> = copies.iter().rev().cloned().collect();
        prop_assert_eq!(folded(&reordered, true), straight);
    }

    /// The differences of all better copies add up to the best copies.
    #[test]
    fn differences_add_up(copies in proptest::collection::vec((0usize..3, any_response()), 1..20)) {
        let mut known: [Option<Response>; 3] = Default::default();
        let mut running = Totals::default();
        for (key, copy) in copies {
            match &mut known[key] {
                Some(there) => {
                    running -= Totals::of(there);
                    merge_copy(there, copy, false);
                }
                empty => *empty = Some(copy),
            }
            if let Some(there) = &known[key] {
                running += Totals::of(there);
            }
        }
        let mut expected = Totals::default();
        for response in known.iter().flatten() {
            expected += Totals::of(response);
        }
        prop_assert_eq!(running, expected);
    }
}

#[test]
fn a_copy_without_figures_gives_way_to_any_with_figures() {
    let empty = response(Rank::Main, 0, 0, 1, 1);
    let stub = response(Rank::Sidechain, 1, 0, 2, 1);
    assert_eq!(Totals::of(&empty).messages, 0);
    assert_eq!(Totals::of(&empty).without_figures, 1);
    for copies in [[empty.clone(), stub.clone()], [stub.clone(), empty]] {
        let got = folded(&copies, false);
        assert_eq!((got.usage, got.time), (stub.usage, 1));
        assert_eq!(
            (Totals::of(&got).messages, Totals::of(&got).without_figures),
            (1, 0)
        );
    }
}
