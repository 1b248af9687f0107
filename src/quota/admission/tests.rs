//! Accounts in every state, alone and in groups, then random ones.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::model::{AccountId, DAY_MS, HOUR_MS, LimitSource, LimitStatus, Observation};
use crate::quota::account::{Minimum, OnUnknown};
use crate::quota::budget::{Day, minute_of};
use crate::quota::exhaustion::{Cause, CauseKind, UNTIL_TAKEN_BACK};
use crate::quota::window::{Freshness, WindowState, merge};
use crate::quota::window_name::{FIVE_HOUR, OVERAGE, SEVEN_DAY, SEVEN_DAY_OPUS};

const MINUTE: Millis = 60_000;
/// 2026-10-05T12:00:00Z
const NOON: Millis = 1_791_201_600_000;
const MIDNIGHT: Millis = NOON + 12 * HOUR_MS;

fn seen(
    name: &str,
    utilization: Option<f64>,
    reset_in: Option<Millis>,
    status: LimitStatus,
    ago: Millis,
) -> WindowState {
    let observation = Observation {
        window: name.into(),
        utilization,
        remaining: None,
        limit: None,
        reset_at: reset_in.map(|span| NOON + span),
        observed_at: None,
        status,
        source: LimitSource::Headers,
        session: None,
        request: None,
    };
    merge(None, &observation, NOON - ago, &[]).track.state
}

fn healthy(utilization: f64) -> WindowState {
    seen(
        FIVE_HOUR,
        Some(utilization),
        Some(HOUR_MS),
        LimitStatus::Allowed,
        MINUTE,
    )
}

fn refused(reset_in: Millis) -> WindowState {
    seen(FIVE_HOUR, None, Some(reset_in), LimitStatus::Rejected, MINUTE)
}

/// A candidate that owns its parts.
#[derive(Debug)]
struct Place {
    account: Account,
    windows: Vec<(&'static str, WindowState)>,
    model: Option<&'static str>,
    calls: u64,
    budget: Option<DailyBudget>,
    mark: Option<Cause>,
    throttled: Option<Cause>,
    overage: Option<Overage>,
}

fn place(provider: &str) -> Place {
    Place {
        account: Account::new(AccountId {
            provider: provider.into(),
            name: "default".into(),
        }),
        windows: Vec::new(),
        model: None,
        calls: 0,
        budget: None,
        mark: None,
        throttled: None,
        overage: None,
    }
}

impl Place {
    fn window(mut self, name: &'static str, state: WindowState) -> Self {
        self.windows.push((name, state));
        self
    }

    fn calls(mut self, calls: u64, quota: u64) -> Self {
        (self.calls, self.account.calls_quota) = (calls, quota);
        self
    }

    fn budget(mut self, budget: DailyBudget) -> Self {
        self.budget = Some(budget);
        self
    }

    fn manual(mut self, until: Millis) -> Self {
        self.mark = Some(cause(until));
        self
    }

    fn on_unknown(mut self, on_unknown: OnUnknown) -> Self {
        self.account.on_unknown = on_unknown;
        self
    }

    fn model(mut self, model: &'static str) -> Self {
        self.model = Some(model);
        self
    }

    fn least(mut self, name: &str, percent: u8) -> Self {
        self.account.minimum_left.push(Minimum {
            window: name.into(),
            percent,
        });
        self
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            account: &self.account,
            model: self.model.map(Box::from),
            windows: self
                .windows
                .iter()
                .map(|(name, state)| NamedWindow { name, state })
                .collect(),
            calls: Calls {
                count: self.calls,
                oldest_leaves_in_s: 0,
            },
            budget: self.budget.as_ref(),
            mark: self.mark.as_ref(),
            throttled: self.throttled.clone(),
            overage: self.overage,
        }
    }

    fn assessment(&self) -> Assessment {
        assess(&self.candidate(), NOON)
    }
}

fn cause(until: Millis) -> Cause {
    Cause {
        until,
        reason: "closed for the holidays".into(),
        source: "me".into(),
        since: 0,
    }
}

fn spent(tokens: u128, hour: Millis) -> DailyBudget {
    let day = Day {
        start: MIDNIGHT - DAY_MS,
        end: MIDNIGHT,
    };
    DailyBudget::new(1_000_000, day, [(minute_of(day.start + hour * HOUR_MS), tokens)])
}

fn ask(places: &[Place]) -> Admission {
    admit(places.iter().map(Place::assessment).collect(), None, NOON)
}

/// Decision, chosen, reason, milliseconds to the retry.
type Answer = (Verdict, Option<usize>, Reason, Option<Millis>);

fn answer(places: &[Place]) -> Answer {
    let admission = ask(places);
    (
        admission.decision,
        admission.chosen,
        admission.reason,
        admission.retry_at.map(|at| at - NOON),
    )
}

fn verdict_on(place: &Place) -> (AccountVerdict, Verdict, Reason) {
    let assessment = place.assessment();
    (assessment.state, assessment.verdict, assessment.reason)
}

#[test]
fn what_is_not_seen_is_the_reason_unless_a_refusal_is_known() {
    let unseen = Unseen {
        reason: Reason::CollectorBlind,
        why: "the collector sees nothing".to_owned(),
    };
    let blind = |place: Place| {
        let admission = admit(vec![place.assessment()], Some(&unseen), NOON);
        let said = admission.sentence.contains(&unseen.why);
        assert_eq!(said, admission.unseen.is_some(), "{}", admission.sentence);
        (admission.decision, admission.reason, said)
    };
    let unknown = (Verdict::Unknown, Reason::CollectorBlind, true);
    assert_eq!(blind(place("claude").window(FIVE_HOUR, healthy(0.5))), unknown);
    for on_unknown in [OnUnknown::Say, OnUnknown::Allow, OnUnknown::Wait] {
        assert_eq!(
            blind(place("claude").on_unknown(on_unknown)),
            unknown,
            "{on_unknown:?}"
        );
    }
    let known = blind(place("claude").window(FIVE_HOUR, refused(HOUR_MS)));
    assert_eq!(known, (Verdict::Wait, Reason::WindowExhausted, false));
    let manual = blind(place("claude").manual(NOON + HOUR_MS));
    assert_eq!(manual, (Verdict::Wait, Reason::Manual, false));
}

#[test]
fn calls_overflow_to_the_next_and_come_back_with_a_warning() {
    let both = |claude, codex| {
        [
            place("claude").calls(claude, 900),
            place("codex").calls(codex, 1500),
        ]
    };
    let allow = |index, reason| (Verdict::Allow, Some(index), reason, None);
    assert_eq!(answer(&both(719, 0)), allow(0, Reason::WithinOwnLimits));
    assert_eq!(answer(&both(720, 0)), allow(1, Reason::Overflow));
    assert_eq!(answer(&both(720, 1199)), allow(1, Reason::Overflow));
    assert_eq!(answer(&both(720, 1200)), allow(0, Reason::AllNearLimit));
    assert_eq!(
        ask(&both(720, 1200)).sentence,
        "start with claude/default, with a warning; \
         claude/default is near its limit: 720 of 900 calls in five hours; \
         codex/default is near its limit: 1200 of 1500 calls in five hours"
    );
}

#[test]
fn when_all_are_exhausted_the_earliest_recovery_is_waited_for() {
    let both = [
        place("a").window(FIVE_HOUR, refused(30 * MINUTE)),
        place("b").window(FIVE_HOUR, refused(2 * MINUTE)),
    ];
    let admission = ask(&both);
    assert_eq!(
        answer(&both),
        (Verdict::Wait, None, Reason::AllExhausted, Some(2 * MINUTE))
    );
    assert_eq!(admission.recovers, Some(1));
    let reasons: Vec<_> = admission
        .candidates
        .iter()
        .map(|assessment| (assessment.reason, assessment.until))
        .collect();
    assert_eq!(
        reasons,
        [
            (Reason::WindowExhausted, Some(NOON + 30 * MINUTE)),
            (Reason::WindowExhausted, Some(NOON + 2 * MINUTE))
        ]
    );
    assert_eq!(
        admission.sentence,
        "wait 2 min for b/default; \
         a/default is blocked: five_hour was refused by the provider, free again in 30 min; \
         b/default is blocked: five_hour was refused by the provider, free again in 2 min"
    );
}

#[test]
fn deny_only_if_nobody_ever_recovers() {
    let closed = || place("a").manual(UNTIL_TAKEN_BACK);
    assert_eq!(answer(&[]), (Verdict::Deny, None, Reason::NoCandidates, None));
    assert_eq!(answer(&[closed()]), (Verdict::Deny, None, Reason::Manual, None));
    assert_eq!(
        answer(&[closed(), closed()]),
        (Verdict::Deny, None, Reason::NoneRecovers, None)
    );
    assert_eq!(
        answer(&[closed(), place("b").manual(NOON + 1)]),
        (Verdict::Wait, None, Reason::AllExhausted, Some(1))
    );
    assert_eq!(
        answer(&[closed(), place("b")]),
        (Verdict::Unknown, None, Reason::NoObservation, None)
    );
    let assessment = closed().assessment();
    assert_eq!((assessment.until, assessment.causes.len()), (None, 1));
    assert_eq!(assessment.causes[0].until, None);
}

#[test]
fn unknown_is_never_allowed_in_silence() {
    let never = |on_unknown| place("a").on_unknown(on_unknown);
    assert_eq!(
        verdict_on(&never(OnUnknown::Say)),
        (AccountVerdict::Unknown, Verdict::Unknown, Reason::NoObservation)
    );
    assert_eq!(
        answer(&[never(OnUnknown::Say)]),
        (Verdict::Unknown, None, Reason::NoObservation, None)
    );
    assert_eq!(
        answer(&[never(OnUnknown::Allow)]),
        (Verdict::Allow, Some(0), Reason::UnknownAsAllow, None)
    );
    assert_eq!(
        answer(&[never(OnUnknown::Wait)]),
        (Verdict::Wait, None, Reason::UnknownAsWait, None)
    );
    assert_eq!(
        ask(&[never(OnUnknown::Allow)]).sentence,
        "start with a/default; a/default has never been seen with a limit: \
         the settings say to use it then (on_unknown)"
    );
}

#[test]
fn an_unknown_candidate_is_passed_over_for_one_that_is_known() {
    let unknown = |on_unknown| place("a").on_unknown(on_unknown);
    let free = || place("b").window(FIVE_HOUR, healthy(0.2));
    let near = || place("c").calls(9, 10);
    let gone = || place("d").window(FIVE_HOUR, refused(MINUTE));
    assert_eq!(
        answer(&[unknown(OnUnknown::Say), free()]),
        (Verdict::Allow, Some(1), Reason::Overflow, None)
    );
    assert_eq!(
        answer(&[unknown(OnUnknown::Allow), free()]),
        (Verdict::Allow, Some(1), Reason::Overflow, None)
    );
    assert_eq!(
        answer(&[free(), unknown(OnUnknown::Allow)]),
        (Verdict::Allow, Some(0), Reason::Available, None)
    );
    assert_eq!(
        answer(&[unknown(OnUnknown::Say), near()]),
        (Verdict::Allow, Some(1), Reason::AllNearLimit, None)
    );
    assert_eq!(
        answer(&[near(), unknown(OnUnknown::Allow)]),
        (Verdict::Allow, Some(1), Reason::UnknownAsAllow, None)
    );
    assert_eq!(
        answer(&[gone(), unknown(OnUnknown::Say)]),
        (Verdict::Unknown, None, Reason::NoObservation, Some(MINUTE))
    );
    assert_eq!(
        answer(&[gone(), unknown(OnUnknown::Wait)]),
        (Verdict::Wait, None, Reason::UnknownAsWait, Some(MINUTE))
    );
    let admission = ask(&[unknown(OnUnknown::Say), free()]);
    assert!(
        admission.sentence.contains("a/default has never been seen"),
        "and it is said: {}",
        admission.sentence
    );
}

#[test]
fn all_near_is_the_first_that_is_not_exhausted() {
    let near = |name| place(name).window(FIVE_HOUR, healthy(0.92));
    assert_eq!(
        verdict_on(&near("a")),
        (AccountVerdict::NearLimit, Verdict::Allow, Reason::NearWindow)
    );
    assert_eq!(
        answer(&[near("a")]),
        (Verdict::Allow, Some(0), Reason::NearWindow, None)
    );
    assert_eq!(
        answer(&[
            place("a").window(FIVE_HOUR, refused(MINUTE)),
            near("b"),
            near("c")
        ]),
        (Verdict::Allow, Some(1), Reason::AllNearLimit, None)
    );
    assert_eq!(
        verdict_on(&place("a").window(FIVE_HOUR, healthy(0.90))).0,
        AccountVerdict::NearLimit
    );
    assert_eq!(
        verdict_on(&place("a").window(FIVE_HOUR, healthy(0.89))).0,
        AccountVerdict::Available,
        "the highest threshold counts, not the lowest"
    );
}

#[test]
fn an_account_whose_windows_are_all_over_is_free() {
    let over = seen(
        FIVE_HOUR,
        Some(0.95),
        Some(-MINUTE),
        LimitStatus::Allowed,
        HOUR_MS,
    );
    let assessment = place("a").window(FIVE_HOUR, over.clone()).assessment();
    assert_eq!(
        (assessment.state, assessment.verdict, assessment.reason),
        (AccountVerdict::Available, Verdict::Allow, Reason::AwaitingRefresh)
    );
    assert_eq!(
        (
            assessment.freshness,
            assessment.headroom,
            assessment.window.as_deref()
        ),
        (Freshness::Expired, None, Some(FIVE_HOUR))
    );
    let gone = seen(FIVE_HOUR, None, Some(-MINUTE), LimitStatus::Rejected, HOUR_MS);
    assert_eq!(
        verdict_on(&place("a").window(FIVE_HOUR, gone)).2,
        Reason::AwaitingRefresh
    );
    let week = seen(SEVEN_DAY, Some(0.3), Some(DAY_MS), LimitStatus::Allowed, HOUR_MS);
    let both = place("a")
        .window(FIVE_HOUR, over)
        .window(SEVEN_DAY, week)
        .assessment();
    assert_eq!(
        (both.reason, both.window.as_deref(), both.freshness),
        (Reason::Available, Some(SEVEN_DAY), Freshness::Stale)
    );
}

#[test]
fn the_tightest_window_that_binds_gives_the_headroom() {
    let place = |model| {
        place("a")
            .window(FIVE_HOUR, healthy(0.4))
            .window(
                SEVEN_DAY_OPUS,
                seen(
                    SEVEN_DAY_OPUS,
                    Some(0.75),
                    Some(DAY_MS),
                    LimitStatus::Allowed,
                    HOUR_MS,
                ),
            )
            .window(OVERAGE, seen(OVERAGE, Some(1.0), None, LimitStatus::Allowed, 0))
            .model(model)
    };
    let opus = place("claude-opus-5").assessment();
    assert_eq!(
        (opus.headroom, opus.window.as_deref(), opus.freshness),
        (Some(0.25), Some(SEVEN_DAY_OPUS), Freshness::Stale)
    );
    assert_eq!(
        opus.sentence,
        "a/default is free: seven_day_opus has 25 % left, seen 1 h ago"
    );
    let sonnet = place("claude-sonnet-5").assessment();
    assert_eq!(
        (sonnet.headroom, sonnet.window.as_deref()),
        (Some(0.6), Some(FIVE_HOUR))
    );
    assert_eq!(sonnet.state, AccountVerdict::Available, "overage binds nobody");

    let mut mapped = place("claude-sonnet-5");
    mapped
        .account
        .models
        .insert("claude-sonnet-5".into(), "claude-opus-5".into());
    let assessment = mapped.assessment();
    assert_eq!(
        (assessment.model.as_deref(), assessment.headroom),
        (Some("claude-opus-5"), Some(0.25)),
        "the model that serves decides"
    );
}

#[test]
fn a_window_that_is_no_limit_binds_only_while_it_refuses() {
    let side = |status| place("a").window(OVERAGE, seen(OVERAGE, Some(1.0), Some(HOUR_MS), status, MINUTE));
    assert_eq!(
        verdict_on(&side(LimitStatus::Allowed)),
        (AccountVerdict::Unknown, Verdict::Unknown, Reason::NoObservation)
    );
    assert_eq!(
        verdict_on(&side(LimitStatus::Rejected)),
        (AccountVerdict::Exhausted, Verdict::Wait, Reason::WindowExhausted)
    );
}

#[test]
fn a_pause_is_a_cause_of_its_own() {
    let mut paused = place("a").window(FIVE_HOUR, healthy(0.1));
    paused.throttled = Some(cause(NOON + MINUTE));
    let assessment = paused.assessment();
    assert_eq!(
        (
            assessment.verdict,
            assessment.reason,
            assessment.until,
            assessment.window.as_deref()
        ),
        (
            Verdict::Wait,
            Reason::Throttled,
            Some(NOON + MINUTE),
            Some(FIVE_HOUR)
        )
    );
    paused.throttled = Some(cause(NOON));
    assert_eq!(verdict_on(&paused).2, Reason::Available, "it ends by itself");
}

#[test]
fn what_is_paid_beyond_the_windows_is_used_only_if_that_is_wanted() {
    let said = |ago: Millis, in_use| Overage {
        said_at: NOON - ago,
        in_use,
    };
    let full = |overage, use_overage| {
        let mut full = place("a").window(FIVE_HOUR, healthy(1.0));
        (full.overage, full.account.use_overage) = (overage, use_overage);
        verdict_on(&full)
    };
    let waits = |reason| (AccountVerdict::Exhausted, Verdict::Wait, reason);
    for (overage, use_overage, expect) in [
        (None, true, waits(Reason::WindowExhausted)),
        (Some(said(0, false)), true, waits(Reason::WindowExhausted)),
        (Some(said(0, true)), false, waits(Reason::OverageOnly)),
        (
            Some(said(0, true)),
            true,
            (AccountVerdict::Available, Verdict::Allow, Reason::UsingOverage),
        ),
        // The overage report was about the previous window.
        (Some(said(HOUR_MS, true)), true, waits(Reason::WindowExhausted)),
    ] {
        assert_eq!(full(overage, use_overage), expect, "{overage:?} {use_overage}");
    }
    // An account that may buy more does so once its windows are used up.
    let mut buys = place("a")
        .window(FIVE_HOUR, healthy(1.0))
        .window(OVERAGE, seen(OVERAGE, None, None, LimitStatus::Allowed, MINUTE));
    assert_eq!(verdict_on(&buys), waits(Reason::OverageOnly));
    buys.account.use_overage = true;
    assert_eq!(verdict_on(&buys).2, Reason::UsingOverage);
    // A refusal overrides an earlier overage report.
    let mut refused = place("a").window(FIVE_HOUR, refused(HOUR_MS));
    (refused.overage, refused.account.use_overage) = (Some(said(2 * MINUTE, true)), true);
    assert_eq!(verdict_on(&refused), waits(Reason::WindowExhausted));
}

#[test]
fn windows_that_do_not_bind_say_nothing_of_the_account() {
    let overage = seen(OVERAGE, None, Some(DAY_MS), LimitStatus::Allowed, 0);
    assert_eq!(
        verdict_on(&place("a").window(OVERAGE, overage)).2,
        Reason::NoObservation
    );
    let silent = seen(FIVE_HOUR, None, Some(DAY_MS), LimitStatus::Unknown, 0);
    assert_eq!(
        verdict_on(&place("a").window(FIVE_HOUR, silent)).2,
        Reason::NoObservation
    );
    let spoken = seen(FIVE_HOUR, None, None, LimitStatus::Allowed, 0);
    let assessment = place("a").window(FIVE_HOUR, spoken).assessment();
    assert_eq!(
        (assessment.reason, assessment.headroom),
        (Reason::Available, None)
    );
}

#[test]
fn a_budget_blocks_whatever_the_windows_say() {
    let fast = place("a")
        .window(FIVE_HOUR, healthy(0.1))
        .budget(spent(600_000, 11));
    let assessment = fast.assessment();
    assert_eq!(
        (assessment.reason, assessment.until, assessment.headroom),
        (
            Reason::BudgetPredicted,
            Some(MIDNIGHT - 24 * HOUR_MS * 2 / 5),
            Some(0.9)
        ),
        "until six tenths of the day have passed"
    );
    let assessment = place("a").budget(spent(1_000_000, 11)).assessment();
    assert_eq!(
        (assessment.reason, assessment.until),
        (Reason::BudgetExhausted, Some(MIDNIGHT))
    );
    assert_eq!(
        verdict_on(&place("a").budget(spent(100_000, 11))),
        (AccountVerdict::Available, Verdict::Allow, Reason::WithinOwnLimits)
    );
}

#[test]
fn the_cause_that_ends_last_is_the_reason_and_all_are_listed() {
    let many = place("a")
        .window(FIVE_HOUR, refused(MINUTE))
        .budget(spent(600_000, 11))
        .manual(NOON + HOUR_MS);
    let assessment = many.assessment();
    assert_eq!(
        (assessment.reason, assessment.until),
        (Reason::BudgetPredicted, Some(MIDNIGHT - 24 * HOUR_MS * 2 / 5))
    );
    let listed: Vec<_> = assessment
        .causes
        .iter()
        .map(|block| (block.kind, block.code))
        .collect();
    assert_eq!(
        listed,
        [
            (CauseKind::Manual, Reason::Manual),
            (CauseKind::Observed, Reason::WindowExhausted),
            (CauseKind::Predicted, Reason::BudgetPredicted)
        ]
    );
    let past = place("a").window(FIVE_HOUR, healthy(0.1)).manual(NOON);
    assert_eq!(
        verdict_on(&past).0,
        AccountVerdict::Available,
        "a cause ends by itself"
    );
}

#[test]
fn too_little_left_blocks_until_after_the_reset_of_that_window() {
    let five = seen(FIVE_HOUR, Some(0.5), Some(600_000), LimitStatus::Allowed, MINUTE);
    let seven = seen(
        SEVEN_DAY,
        Some(0.96),
        Some(259_200_000),
        LimitStatus::Allowed,
        MINUTE,
    );
    let guarded = place("a")
        .window(FIVE_HOUR, five)
        .window(SEVEN_DAY, seven)
        .least(FIVE_HOUR, 10)
        .least(SEVEN_DAY, 10);
    let assessment = guarded.assessment();
    assert_eq!(
        (assessment.state, assessment.reason, assessment.window.as_deref()),
        (AccountVerdict::Exhausted, Reason::BelowMinimum, Some(SEVEN_DAY))
    );
    assert_eq!(
        answer(&[guarded]),
        (Verdict::Wait, None, Reason::BelowMinimum, Some(259_260_000))
    );
    assert_eq!(
        assessment.sentence,
        "a/default is blocked: seven_day has 4 % left, 10 % are required, free again in 3 d"
    );
}

#[test]
fn a_refusal_is_named_before_the_minimum_of_its_window() {
    for (status, reason, words) in [
        (
            LimitStatus::Rejected,
            Reason::WindowExhausted,
            "seven_day was refused by the provider",
        ),
        (
            LimitStatus::Allowed,
            Reason::BelowMinimum,
            "seven_day has 2 % left, 10 % are required",
        ),
    ] {
        let seven = seen(SEVEN_DAY, Some(0.98), Some(259_200_000), status, MINUTE);
        let refused = place("a").window(SEVEN_DAY, seven).least(SEVEN_DAY, 10);
        let assessment = refused.assessment();
        assert_eq!(assessment.reason, reason);
        // Either way it waits for the slack of the minimum.
        assert_eq!(assessment.until, Some(NOON + 259_260_000));
        assert_eq!(
            assessment.sentence,
            format!("a/default is blocked: {words}, free again in 3 d")
        );
    }
}

#[test]
fn a_refusal_without_an_end_is_never_room_again_by_itself() {
    for (share, status) in [(None, LimitStatus::Rejected), (Some(1.0), LimitStatus::Unknown)] {
        let refused = |on_unknown| {
            place("a")
                .window(FIVE_HOUR, seen(FIVE_HOUR, share, None, status, 9 * MINUTE))
                .on_unknown(on_unknown)
        };
        assert_eq!(
            verdict_on(&refused(OnUnknown::Say)),
            (AccountVerdict::Unknown, Verdict::Unknown, Reason::ResetUnknown)
        );
        assert_eq!(
            answer(&[refused(OnUnknown::Say)]),
            (Verdict::Unknown, None, Reason::ResetUnknown, None)
        );
        assert_eq!(answer(&[refused(OnUnknown::Wait)]).0, Verdict::Wait);
        assert_eq!(
            answer(&[refused(OnUnknown::Allow)]),
            (Verdict::Allow, Some(0), Reason::UnknownAsAllow, None)
        );
    }
}

#[test]
fn a_block_names_its_own_window_not_the_tightest() {
    let place = place("a")
        .window(FIVE_HOUR, healthy(0.88))
        .window(
            SEVEN_DAY,
            seen(SEVEN_DAY, Some(0.5), Some(DAY_MS), LimitStatus::Rejected, MINUTE),
        )
        .least(FIVE_HOUR, 10);
    let assessment = place.assessment();
    assert_eq!(
        (assessment.reason, assessment.window.as_deref()),
        (Reason::WindowExhausted, Some(SEVEN_DAY))
    );
}

#[test]
fn the_words_of_documents_stay_as_they_are() {
    let codes = [
        Reason::Available,
        Reason::AwaitingRefresh,
        Reason::WithinOwnLimits,
        Reason::NearCallsQuota,
        Reason::NearWindow,
        Reason::WindowExhausted,
        Reason::BudgetExhausted,
        Reason::BudgetPredicted,
        Reason::Manual,
        Reason::BelowMinimum,
        Reason::NoObservation,
        Reason::UnknownAsAllow,
        Reason::UnknownAsWait,
        Reason::Overflow,
        Reason::AllNearLimit,
        Reason::AllExhausted,
        Reason::NoneRecovers,
        Reason::NoCandidates,
    ];
    let mut stable = String::new();
    for code in codes {
        write!(stable, "{} ", code.into_str()).unwrap();
    }
    assert_eq!(
        stable,
        "available awaiting_refresh within_own_limits near_calls_quota near_window window_exhausted \
         budget_exhausted budget_predicted manual below_minimum no_observation unknown_as_allow \
         unknown_as_wait overflow all_near_limit all_exhausted none_recovers no_candidates "
    );
    let verdicts = [Verdict::Allow, Verdict::Wait, Verdict::Deny, Verdict::Unknown];
    assert_eq!(
        verdicts.each_ref().map(Verdict::into_str),
        ["allow", "wait", "deny", "unknown"]
    );
    let verdicts = [
        AccountVerdict::Available,
        AccountVerdict::NearLimit,
        AccountVerdict::Exhausted,
        AccountVerdict::Unknown,
    ];
    let words = ["available", "near_limit", "exhausted", "unknown"];
    assert_eq!(verdicts.each_ref().map(AccountVerdict::into_str), words);
}

fn any_window() -> impl Strategy<Value = (&'static str, WindowState)> {
    (
        prop_oneof![
            Just(FIVE_HOUR),
            Just(SEVEN_DAY),
            Just(SEVEN_DAY_OPUS),
            Just(OVERAGE)
        ],
        proptest::option::weighted(
            0.8,
            prop_oneof![Just(0.3), Just(0.92), Just(0.96), Just(1.0), Just(1.2)],
        ),
        proptest::option::weighted(0.8, -2 * HOUR_MS..20 * HOUR_MS),
        prop_oneof![
            Just(LimitStatus::Unknown),
            Just(LimitStatus::Allowed),
            Just(LimitStatus::Rejected)
        ],
        0..10 * MINUTE,
    )
        .prop_map(|(name, utilization, reset, status, ago)| {
            (name, seen(name, utilization, reset, status, ago))
        })
}

fn any_place() -> impl Strategy<Value = Place> {
    (
        proptest::collection::vec(any_window(), 0..4),
        prop_oneof![Just(None), Just(Some("claude-opus-5"))],
        0u64..20,
        prop_oneof![Just(0u64), Just(10)],
        proptest::option::of((0u128..1_200_000, 0i64..12)),
        proptest::option::weighted(
            0.3,
            prop_oneof![Just(NOON - 1), Just(NOON + HOUR_MS), Just(UNTIL_TAKEN_BACK)],
        ),
        prop_oneof![
            Just(OnUnknown::Say),
            Just(OnUnknown::Allow),
            Just(OnUnknown::Wait)
        ],
        0u8..20,
    )
        .prop_map(
            |(windows, model, calls, quota, budget, manual, on_unknown, least)| {
                let mut place = place("a")
                    .calls(calls, quota)
                    .on_unknown(on_unknown)
                    .least(FIVE_HOUR, least)
                    .least(SEVEN_DAY, least);
                place.windows = windows;
                place.model = model;
                place.budget = budget.map(|(tokens, hour)| spent(tokens, hour));
                place.mark = manual.map(cause);
                place
            },
        )
}

proptest! {
    #[test]
    fn at_the_time_of_the_retry_nothing_of_what_blocked_is_left(places in proptest::collection::vec(any_place(), 0..4)) {
        let admission = ask(&places);
        prop_assert_eq!(admission.retry_at.is_some(), admission.recovers.is_some());
        if let (Some(at), Some(index)) = (admission.retry_at, admission.recovers) {
            prop_assert!(at > NOON);
            prop_assert_eq!(admission.candidates[index].until, Some(at));
            let then = assess(&places[index].candidate(), at);
            prop_assert_eq!(then.causes, []);
            prop_assert!(then.state != AccountVerdict::Exhausted);
            prop_assert!(admission.candidates.iter().all(|assessment| assessment.until.is_none_or(|until| until >= at)));
        }
    }

    #[test]
    fn a_run_starts_only_where_the_advice_allows_it(places in proptest::collection::vec(any_place(), 0..4)) {
        let admission = ask(&places);
        prop_assert_eq!(admission.candidates.len(), places.len());
        prop_assert_eq!(admission.decision == Verdict::Allow, admission.chosen.is_some());
        match admission.chosen {
            Some(index) => {
                prop_assert_eq!(admission.candidates[index].verdict, Verdict::Allow);
                prop_assert_eq!(admission.retry_at, None);
                prop_assert!(admission.candidates[index].causes.is_empty());
            }
            None => prop_assert!(admission.candidates.iter().all(|assessment| assessment.verdict != Verdict::Allow)),
        }
        for (assessment, place) in admission.candidates.iter().zip(&places) {
            prop_assert!(admission.sentence.contains(&assessment.sentence));
            if assessment.verdict == Verdict::Deny {
                prop_assert!(place.mark.is_some(), "only a person closes for good");
            }
            if assessment.state == AccountVerdict::Unknown && assessment.verdict == Verdict::Allow {
                prop_assert_eq!(assessment.reason, Reason::UnknownAsAllow);
            }
        }
    }

    #[test]
    fn any_time_is_taken(places in proptest::collection::vec(any_place(), 0..3), now in any::<i64>()) {
        let assessments = places.iter().map(|place| assess(&place.candidate(), now));
        prop_assert!(admit(assessments.collect(), None, now).retry_at.is_none_or(|at| at > now));
    }
}
