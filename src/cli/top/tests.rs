//! Tests of `fold`, of the keys and of the schedule.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::event::{TopAnswer, TopEvent};
use super::fold::fold;
use super::keys::{KeyEffect, TopKey};
use super::listing;
use super::model::{Link, TopModel, Weight};
use super::questions::{QuestionSchedule, TopQuestion};
use super::samples::{after, list, model, now, snapshot, totals, usage};
use super::scope::TopScope;
use super::ui::{Opened, TopPane, TopTable, TopUi};
use crate::api::wire;
use crate::cli::args::{TopArgs, TopPeriod};

fn folded(start: TopModel, events: impl IntoIterator<Item = TopEvent>) -> TopModel {
    let scope = TopScope::default();
    events
        .into_iter()
        .fold(start, |model, event| fold(model, event, &scope))
}

/// The total of each run.
fn sums(model: &TopModel) -> Vec<(String, u64)> {
    let of = |run: &super::model::TopRun| (run.row.id.clone(), run.row.totals.totals.total_tokens);
    model.known_runs().map(of).collect()
}

fn run_event(run: &str, sequence: u64, phase: &str, tokens: u64) -> TopEvent {
    TopEvent::Run(wire::RunEvent {
        sequence,
        at: after(0),
        run: run.to_owned(),
        phase: phase.to_owned(),
        totals: totals(tokens),
        ..wire::RunEvent::default()
    })
}

#[test]
fn each_event_changes_its_part() {
    let model = model();
    assert_eq!(sums(&model).len(), 4);
    let run = &model.runs["refactor-billing"];
    assert_eq!(run.row.totals.totals.total_tokens, 138_800);
    assert_eq!(run.model.as_deref(), Some("claude-opus-5-20260901"));
    assert_eq!(run.flow.per_minute(now()), Some(2_100));
    assert_eq!(model.flow.per_minute(now()), Some(2_100));
    // A collector that is well at first is no news.
    let kinds: Vec<&str> = model.news.iter().map(|news| news.kind).collect();
    assert_eq!(kinds, ["threshold"]);
    assert_eq!(model.news[0].text, "claude/max-1 five_hour  75 % reached");
    assert_eq!(model.news[0].weight, Weight::Warning);

    let mut window = model.quota.clone().unwrap().windows[0].clone();
    window.utilization = Some(0.9);
    let event = wire::WindowEvent {
        window,
        rolled_over: true,
        ..wire::WindowEvent::default()
    };
    let model = folded(model, [TopEvent::Window(Box::new(event))]);
    let quota = model.quota.as_ref().unwrap();
    assert_eq!(quota.windows.len(), 7);
    assert_eq!(quota.windows[0].utilization, Some(0.9));
    assert_eq!(
        model.news[0].text,
        "claude/max-1 five_hour  a new window has begun"
    );

    let model = folded(
        model,
        [
            run_event("refactor-billing", 20, "stopped", 139_000),
            run_event("nightly-041", 21, "forgotten", 0),
            TopEvent::Lost {
                why: "gone".to_owned(),
                retry_at: now() + 2_500,
            },
        ],
    );
    assert_eq!(model.runs["refactor-billing"].row.state, "stopped");
    assert!(sums(&model).iter().all(|(id, _)| id != "nightly-041"));
    assert!(model.is_outdated());
    let model = folded(model, [TopEvent::Connected]);
    assert_eq!(model.link, Link::Live);
    assert_eq!(sums(&model).len(), 3);
}

#[test]
fn what_fired_before_the_start_is_remembered_once_and_behind_what_happens_now() {
    let threshold = |threshold: u8, at_s: i64, account: &str| wire::ThresholdFired {
        at: after(at_s),
        provider: "claude".to_owned(),
        account: account.to_owned(),
        window: "five_hour".to_owned(),
        threshold,
        ..wire::ThresholdFired::default()
    };
    let mut fired: Vec<_> = (0..15).map(|at| threshold(50, at - 900, "max-1")).collect();
    fired.extend([threshold(75, -500, "max-1"), threshold(90, -400, "other")]);
    let refusal = wire::LimitEvent {
        at: after(-450),
        provider: "claude".to_owned(),
        account: "max-1".to_owned(),
        window: "seven_day".to_owned(),
        ..wire::LimitEvent::default()
    };
    let quota = wire::Quota {
        limit_events: vec![refusal],
        thresholds_fired: fired,
        ..wire::Quota::default()
    };
    let answer = || TopEvent::Answer(Box::new(TopAnswer::Quota(quota.clone())));
    let scope = TopScope::of(&TopArgs {
        account: Some("max-1".to_owned()),
        ..TopArgs::default()
    })
    .unwrap();
    let events = [answer(), run_event("a", 1, "started", 0), answer()];
    let only = (events.into_iter()).fold(TopModel::default(), |model, event| fold(model, event, &scope));
    assert_eq!(
        only.news.len(),
        11,
        "the last ten thresholds and the refusal, once"
    );
    let texts: Vec<(&str, bool)> = only.news.iter().map(|one| (&*one.text, one.is_before)).collect();
    assert_eq!(
        texts[0],
        ("claude/max-1 seven_day  refused by the provider", true)
    );
    assert_eq!(texts[1], ("claude/max-1 five_hour  75 % reached", true));
    let events = [answer(), run_event("a", 1, "started", 0), answer()];
    let all = folded(TopModel::default(), events);
    let texts: Vec<(&str, bool)> = all.news.iter().map(|one| (&*one.text, one.is_before)).collect();
    assert_eq!((all.news[0].kind, texts[0].1), ("run", false));
    assert_eq!(texts[1], ("claude/other five_hour  90 % reached", true));
}

#[test]
fn a_reading_turns_stale_at_five_minutes_without_a_document_that_says_so() {
    let state = |model: &TopModel| model.quota.as_ref().unwrap().windows[0].state.clone();
    // It was observed 58 s before.
    let model = folded(model(), [TopEvent::Tick(now() + 241_999)]);
    assert_eq!(state(&model), "fresh");
    let model = folded(model, [TopEvent::Tick(now() + 242_000)]);
    assert_eq!(state(&model), "stale");
}

#[test]
fn an_event_of_an_account_has_the_time_of_its_end_and_no_length() {
    let event = |until: Option<String>, sentence: &str| {
        TopEvent::Account(wire::AccountEvent {
            at: after(0),
            state: "exhausted".to_owned(),
            until,
            sentence: sentence.to_owned(),
            ..wire::AccountEvent::default()
        })
    };
    let sentence = "claude/max-1 is blocked: five_hour is used up, free again in 13 min";
    let model = folded(
        TopModel::default(),
        [
            event(Some(after(780)), sentence),
            event(None, "claude/max-1 is blocked: marked"),
        ],
    );
    let said: Vec<_> = model.news.iter().map(|one| (&*one.text, one.until)).collect();
    assert_eq!(
        said,
        [
            ("claude/max-1 is blocked: marked", None),
            (
                "claude/max-1 is blocked: five_hour is used up",
                Some(now() + 780_000)
            ),
        ]
    );
}

#[test]
fn a_list_that_was_requested_before_an_event_does_not_undo_it() {
    for (asked_at, listed, expected) in [(6, 50, 100), (7, 150, 150)] {
        let model = folded(
            TopModel::default(),
            [
                usage("a", 7, 100, 100),
                usage("b", 7, 5, 5),
                list(asked_at, &[("a".to_owned(), listed)]),
            ],
        );
        assert_eq!(model.runs["a"].row.totals.totals.total_tokens, expected);
        // A run that began after the request stays, one that is no longer listed goes.
        assert_eq!(model.runs.contains_key("b"), asked_at == 6);
    }
}

#[test]
fn the_scope_leaves_out_other_runs_and_accounts() {
    let of = |run: Option<&str>, account: Option<&str>| {
        TopScope::of(&TopArgs {
            run: run.map(str::to_owned),
            account: account.map(str::to_owned),
            ..TopArgs::default()
        })
        .unwrap()
    };
    for (scope, expected) in [
        (of(Some("a*"), None), vec!["a"]),
        (of(None, Some("claude/max-1")), vec!["a", "b"]),
        (of(None, Some("max-1")), vec!["a", "b"]),
        (of(None, Some("codex/max-1")), vec![]),
        (of(Some("c"), Some("max-1")), vec![]),
    ] {
        let events = [usage("a", 1, 5, 5), usage("b", 2, 5, 5)];
        let model = events
            .into_iter()
            .fold(TopModel::default(), |model, event| fold(model, event, &scope));
        let ids: Vec<&str> = model.runs.keys().map(String::as_str).collect();
        assert_eq!(ids, expected, "{scope:?}");
        assert_eq!(
            model.flow.per_minute(now()).unwrap_or(0),
            5 * expected.len() as u64
        );
    }
    let by_run = super::model::PeriodSums {
        usage: wire::Usage {
            rows: [("a", 7), ("b", 9)]
                .map(|(run, tokens)| sums_row(run, tokens))
                .into(),
            ..wire::Usage::default()
        },
        ..super::model::PeriodSums::default()
    };
    let only = of(Some("a"), None).only(by_run);
    assert_eq!(only.usage.totals.totals.total_tokens, 7);
    assert_eq!(listing::name(&only.usage.rows[0]), "opus");
}

fn sums_row(run: &str, tokens: u64) -> wire::UsageRow {
    let keys =
        [("run", run), ("model", "opus")].map(|(name, value)| (name.to_owned(), Some(value.to_owned())));
    wire::UsageRow {
        keys: Some(keys.into()),
        sums: wire::UsageSums {
            totals: totals(tokens).totals,
            ..wire::UsageSums::default()
        },
        ..wire::UsageRow::default()
    }
}

proptest! {
    /// Events of a stream arrive in order; whichever order they are taken in, the sums are those of a new snapshot.
    #[test]
    fn any_order_gives_the_sums_of_a_new_snapshot(
        steps in proptest::collection::vec((0_usize..4, 0_u64..1_000, any::<bool>()), 0..40),
        seed in any::<u64>(),
    ) {
        let names: Vec<String> = (0..4).map(|number| format!("run-{number}")).collect();
        let start: Vec<(String, u64)> = names.iter().map(|name| (name.clone(), 10)).collect();
        let mut now = start.clone();
        let mut events = Vec::new();
        for (index, (run, tokens, is_usage)) in steps.into_iter().enumerate() {
            let sequence = 2 + index as u64;
            if is_usage {
                now[run].1 += tokens;
                events.push(usage(&names[run], sequence, i64::try_from(tokens).unwrap(), now[run].1));
            } else {
                events.push(run_event(&names[run], sequence, "resumed", now[run].1));
            }
        }
        let last = 2 + events.len() as u64;
        fastrand::Rng::with_seed(seed).shuffle(&mut events);
        let begun = folded(TopModel::default(), [snapshot(1), list(1, &start)]);
        let by_events = folded(begun.clone(), events);
        let anew = folded(TopModel::default(), [snapshot(last), list(last, &now)]);
        prop_assert_eq!(sums(&by_events), sums(&anew));
    }
}

#[test]
fn keys_choose_and_close() {
    let model = model();
    let mut ui = TopUi::default();
    let press = |ui: &mut TopUi, key| ui.key(key, &model);
    assert_eq!(press(&mut ui, TopKey::Char('3')), KeyEffect::Ask);
    assert_eq!(ui.period, TopPeriod::Month);
    press(&mut ui, TopKey::Char('t'));
    press(&mut ui, TopKey::Char('t'));
    assert!(ui.is_reversed);
    press(&mut ui, TopKey::Char('n'));
    assert!(!ui.is_reversed);
    let ids = |ui: &TopUi| -> Vec<String> {
        let runs = listing::runs(&model, ui);
        runs.iter().map(|run| run.row.id.clone()).collect()
    };
    assert_eq!(
        ids(&ui),
        ["nightly-041", "nightly-042", "refactor-billing", "日本語-run"]
    );
    for key in ['/', 'N', 'i', 'g', 'x'] {
        press(&mut ui, TopKey::Char(key));
    }
    press(&mut ui, TopKey::Backspace);
    press(&mut ui, TopKey::Enter);
    assert_eq!(ids(&ui), ["nightly-041", "nightly-042"]);
    press(&mut ui, TopKey::Down);
    press(&mut ui, TopKey::Down);
    assert_eq!(press(&mut ui, TopKey::Enter), KeyEffect::Ask);
    assert_eq!(ui.opened, Some(Opened::Run("nightly-042".to_owned())));
    press(&mut ui, TopKey::Escape);
    assert_eq!(ui.opened, None);
    press(&mut ui, TopKey::Escape);
    assert_eq!(ui.filter, "");
    press(&mut ui, TopKey::BackTab);
    assert_eq!(ui.pane, TopPane::Accounts);
    press(&mut ui, TopKey::End);
    press(&mut ui, TopKey::Enter);
    let last = ("claude".to_owned(), "spare".to_owned(), String::new());
    assert_eq!(ui.opened, Some(Opened::Account(last)));
    press(&mut ui, TopKey::Backspace);
    press(&mut ui, TopKey::Char('m'));
    assert_eq!(ui.table, TopTable::Models);
    press(&mut ui, TopKey::Char('p'));
    assert!(ui.paused.is_some());
    press(&mut ui, TopKey::Char('p'));
    assert!(ui.paused.is_none());
    assert_eq!(press(&mut ui, TopKey::Backspace), KeyEffect::Nothing);
    assert_eq!(press(&mut ui, TopKey::Escape), KeyEffect::Quit);
    assert_eq!(press(&mut ui, TopKey::Interrupt), KeyEffect::Quit);
}

#[test]
fn a_pause_stands_still_while_the_model_goes_on() {
    let before = model();
    let mut ui = TopUi::default();
    ui.key(TopKey::Char('p'), &before);
    let after = folded(before, [usage("refactor-billing", 30, 500, 139_300)]);
    assert_eq!(
        after.runs["refactor-billing"].row.totals.totals.total_tokens,
        139_300
    );
    let shown = ui.shown(&after);
    assert_eq!(
        shown.runs["refactor-billing"].row.totals.totals.total_tokens,
        138_800
    );
}

#[test]
fn questions_are_asked_once_and_again_after_a_commit() {
    let mut schedule = QuestionSchedule::new(Duration::from_secs(1));
    let ui = TopUi::default();
    let start = Instant::now();
    let all = |schedule: &mut QuestionSchedule, at: Instant| {
        let asked = std::iter::from_fn(|| schedule.next(&ui, false, at));
        asked.collect::<Vec<_>>()
    };
    let today = TopQuestion::Sums(TopPeriod::Today);
    let first = [
        TopQuestion::Quota,
        today.clone(),
        TopQuestion::Runs,
        TopQuestion::Models,
    ];
    assert_eq!(all(&mut schedule, start), first);
    let later = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(all(&mut schedule, later(2)), []);
    schedule.heed(&usage("a", 1, 1, 1));
    assert_eq!(all(&mut schedule, later(2)), std::slice::from_ref(&today));
    assert_eq!(schedule.next_at(), Some(later(5)));
    schedule.heed(&usage("a", 2, 1, 1));
    assert_eq!(all(&mut schedule, later(6)), [today.clone(), TopQuestion::Runs]);
    // An answer that took long keeps the collector free for as long ten times.
    schedule.took(&today, true, Duration::from_secs(1), later(7));
    schedule.heed(&usage("a", 3, 1, 1));
    assert_eq!(all(&mut schedule, later(12)), [TopQuestion::Runs]);
    assert_eq!(all(&mut schedule, later(17)), [today]);
    // A question without an answer is asked again.
    schedule.took(&TopQuestion::Quota, false, Duration::ZERO, later(18));
    assert_eq!(all(&mut schedule, later(19)), []);
    assert_eq!(all(&mut schedule, later(24)), [TopQuestion::Quota]);
    schedule.heed(&TopEvent::Connected);
    assert_eq!(all(&mut schedule, later(24)), first);
}
