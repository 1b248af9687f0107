//! Better copies that arrive later: in the same log, another, another run, after a restart, across midnight.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::harness::{Place, append, output_by_run};
use crate::scenario::Copy;

const MORNING: &str = "2026-10-05T09:00:00.000Z";
const EVENING: &str = "2026-10-05T23:59:59.900Z";
const NIGHT: &str = "2026-10-06T00:00:00.100Z";

const FIRST: Copy<'_> = Copy {
    id: "1",
    output: 5,
    time: MORNING,
    model: "claude-opus-5",
    sidechain: false,
};

/// A copy of `FIRST` with more tokens.
const BETTER: Copy<'_> = Copy { output: 50, ..FIRST };

/// A log of a run, and a copy in it.
type Written<'a> = (&'a str, &'a str, Copy<'a>);

/// The counted response: its run, day, model and output.
struct Counted<'a> {
    run: &'a str,
    day: &'a str,
    model: &'a str,
    output: u64,
}

fn outputs(sums: &Value) -> BTreeMap<String, u64> {
    let sums = sums.as_object().unwrap().iter();
    sums.map(|(name, sum)| (name.clone(), sum["output_tokens"].as_u64().unwrap()))
        .filter(|(_, output)| *output > 0)
        .collect()
}

/// Writes the copies one by one, each after the commit of the previous one, with and without restarts in
/// between.
fn check(copies: &[Written<'_>], counted: &Counted<'_>) {
    for restart in [false, true] {
        let place = Place::new();
        let mut collector = place.serve();
        for (number, (run, name, copy)) in copies.iter().enumerate() {
            append(&place.log(run, name), copy.line());
            collector.wait_until("the copy", |summary| {
                summary["lines"]["usage"] == number as u64 + 1
            });
            if restart {
                collector.stop_cleanly();
                collector = place.serve();
            }
        }
        let summary = collector.summary();
        let what = format!("restart: {restart}, {summary}");
        assert_eq!(summary["messages"], 1, "{what}");
        assert_eq!(summary["totals"]["input_tokens"], 10, "{what}");
        assert_eq!(summary["totals"]["output_tokens"], counted.output, "{what}");
        assert_eq!(summary["lines"]["duplicate"], copies.len() as u64 - 1, "{what}");
        let only = |name: &str| BTreeMap::from([(name.to_owned(), counted.output)]);
        let mut by_run = output_by_run(&summary);
        by_run.retain(|_, output| *output > 0);
        assert_eq!(by_run, only(counted.run), "{what}");
        assert_eq!(outputs(&summary["by_day"]), only(counted.day), "{what}");
        assert_eq!(outputs(&summary["by_model"]), only(counted.model), "{what}");
        let run = collector.get(&format!("/v1/runs/{}", counted.run)).1;
        assert_eq!(run["messages"], 1, "{what}");
        assert_eq!(outputs(&run["by_day"]), only(counted.day), "{what}");
        collector.stop_cleanly();
        place.assert_verified();
        let replayed = place.replayed();
        for part in ["messages", "totals", "by_model", "by_day"] {
            assert_eq!(summary[part], replayed[part], "{part}: {what}");
        }
    }
}

const DAY: &str = "2026-10-05";

#[test]
fn a_better_copy_replaces_the_figures_and_a_worse_one_does_not() {
    let counted = Counted {
        run: "one",
        day: DAY,
        model: FIRST.model,
        output: 50,
    };
    check(&[("one", "a.jsonl", FIRST), ("one", "a.jsonl", BETTER)], &counted);
    check(&[("one", "a.jsonl", BETTER), ("one", "a.jsonl", FIRST)], &counted);
    check(
        &[("one", "a.jsonl", FIRST), ("one", "b/c.jsonl", BETTER)],
        &counted,
    );
    check(
        &[
            ("one", "b.jsonl", FIRST),
            ("one", "a.jsonl", Copy { output: 20, ..FIRST }),
            ("one", "b.jsonl", BETTER),
            ("one", "c.jsonl", FIRST),
        ],
        &counted,
    );
}

#[test]
fn a_copy_of_the_main_thread_beats_a_longer_one_of_a_side_chain() {
    let aside = Copy {
        sidechain: true,
        model: "claude-haiku-5",
        ..BETTER
    };
    let counted = Counted {
        run: "one",
        day: DAY,
        model: FIRST.model,
        output: 5,
    };
    check(&[("one", "a.jsonl", aside), ("one", "b.jsonl", FIRST)], &counted);
    check(&[("one", "a.jsonl", FIRST), ("one", "b.jsonl", aside)], &counted);
}

#[test]
fn a_better_copy_of_another_model_takes_the_tokens_to_its_model() {
    let other = Copy {
        model: "claude-sonnet-5",
        ..BETTER
    };
    let counted = Counted {
        run: "one",
        day: DAY,
        model: other.model,
        output: 50,
    };
    check(&[("one", "a.jsonl", FIRST), ("one", "a.jsonl", other)], &counted);
    check(&[("one", "a.jsonl", other), ("two", "a.jsonl", FIRST)], &counted);
}

#[test]
fn a_response_belongs_to_the_run_with_the_earliest_copy() {
    let later = Copy {
        time: "2026-10-05T09:00:00.001Z",
        ..BETTER
    };
    let counted = Counted {
        run: "one",
        day: DAY,
        model: FIRST.model,
        output: 50,
    };
    check(&[("one", "a.jsonl", FIRST), ("two", "a.jsonl", later)], &counted);
    check(&[("two", "a.jsonl", later), ("one", "a.jsonl", FIRST)], &counted);
    check(
        &[
            ("two", "a.jsonl", later),
            ("three", "a.jsonl", later),
            ("one", "a.jsonl", FIRST),
        ],
        &counted,
    );
}

#[test]
fn on_a_tie_a_response_stays_with_the_run_that_was_committed_first() {
    for (first, second) in [("a", "z"), ("z", "a")] {
        let counted = Counted {
            run: first,
            day: DAY,
            model: FIRST.model,
            output: 50,
        };
        check(
            &[(first, "a.jsonl", FIRST), (second, "a.jsonl", BETTER)],
            &counted,
        );
        check(
            &[(first, "a.jsonl", BETTER), (second, "a.jsonl", FIRST)],
            &counted,
        );
    }
}

#[test]
fn a_response_across_midnight_belongs_to_the_day_it_began() {
    let evening = Copy {
        time: EVENING,
        ..FIRST
    };
    let night = Copy {
        time: NIGHT,
        ..BETTER
    };
    let counted = Counted {
        run: "one",
        day: DAY,
        model: FIRST.model,
        output: 50,
    };
    check(
        &[("one", "a.jsonl", evening), ("one", "a.jsonl", night)],
        &counted,
    );
    check(
        &[("one", "a.jsonl", night), ("one", "b.jsonl", evening)],
        &counted,
    );
    check(
        &[("two", "a.jsonl", night), ("one", "a.jsonl", evening)],
        &counted,
    );
    check(
        &[("one", "a.jsonl", evening), ("two", "a.jsonl", night)],
        &counted,
    );
}
