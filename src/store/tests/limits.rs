//! Limits: deferral, its order, and the bounds of the stored data.

use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::model::{DAY_MS, HOUR_MS, LimitSource, LimitStatus, Observation};
use crate::quota::account::THRESHOLDS_DEFAULT;
use crate::quota::window::{Track, WindowState, merge};
use crate::quota::window_name::{FIVE_HOUR, SEVEN_DAY};
use crate::store::schema::{HistoryRow, WindowRow, decode, encode};
use crate::store::write::windows::{
    HISTORY_AGE_MAX_MS, HISTORY_MINUTES_MS, HISTORY_ROWS_MAX, LIMIT_EVENTS_MAX, WINDOWS_PER_ACCOUNT_MAX,
};

const MINUTE: Millis = 60_000;

/// The observation of one line of a story.
#[derive(Clone, Debug)]
struct ReportedLine {
    file: u8,
    observation: Observation,
}

fn saw(name: &str, at: Option<Millis>, utilization: Option<f64>, reset_at: Option<Millis>) -> Observation {
    Observation {
        window: name.into(),
        utilization,
        remaining: None,
        limit: None,
        reset_at,
        observed_at: at,
        status: LimitStatus::Allowed,
        source: LimitSource::RateLimitEvent,
        session: None,
        request: None,
    }
}

fn file_name(file: u8) -> (String, String) {
    (format!("r{}", file % 2), format!("f{file}"))
}

fn reporting(file: u8, from: Option<u64>, observations: Vec<Observation>) -> Batch {
    let (run, path) = file_name(file);
    let to = from.unwrap_or(0) + observations.len().max(1) as u64;
    let mut batch = batch(&run, &path, from, to, Vec::new());
    batch.observations = observations;
    batch
}

/// A store and the read positions of its files.
struct Desk {
    /// Its file on disk, if it is to be opened again.
    directory: Option<tempfile::TempDir>,
    store: Writer,
    offsets: BTreeMap<u8, u64>,
}

impl Desk {
    fn on_disk() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = at(&directory.path().join("t.redb"));
        Self {
            directory: Some(directory),
            store,
            offsets: BTreeMap::new(),
        }
    }

    fn in_memory() -> Self {
        Self {
            directory: None,
            store: memory(),
            offsets: BTreeMap::new(),
        }
    }

    /// As after a stop or a kill: only the file remains.
    fn restart(&mut self) {
        let path = self.directory.as_ref().unwrap().path().join("t.redb");
        self.store.close();
        self.store = at(&path);
    }

    fn batch(&mut self, file: u8, observations: Vec<Observation>) -> Batch {
        let batch = reporting(file, self.offsets.get(&file).copied(), observations);
        self.offsets.insert(file, batch.cursor.offset);
        batch
    }

    fn commit(&mut self, file: u8, observations: Vec<Observation>) {
        let batch = self.batch(file, observations);
        let committed = self.store.commit([batch]).unwrap();
        assert_eq!(committed.outcomes, [Outcome::Committed]);
    }

    fn window(&self, name: &str) -> WindowState {
        let view = read(&self.store).quota(0).unwrap();
        view.accounts[&AccountId::default()].windows[name].clone()
    }

    fn facts(&self) -> Facts {
        let mut view = read(&self.store).quota(0).unwrap();
        let windows = view
            .accounts
            .remove(&AccountId::default())
            .unwrap_or_default()
            .windows;
        let history = windows
            .keys()
            .map(|name| {
                let points = read(&self.store).history(&AccountId::default(), name).unwrap();
                (name.clone(), points)
            })
            .collect();
        for (fired, number) in view.fired.iter().zip(1..) {
            assert_eq!(fired.number, number, "numbers go up by one");
        }
        let fired = view.fired.iter();
        let fired = fired.map(|one| (one.window.clone(), one.percent, one.reset_at, one.observed_at));
        Facts {
            windows,
            history,
            events: view.limit_events.clone(),
            fired: fired.collect(),
        }
    }
}

/// All stored data of limits.
#[derive(Debug, PartialEq)]
struct Facts {
    windows: BTreeMap<Box<str>, WindowState>,
    history: BTreeMap<Box<str>, Vec<HistoryRow>>,
    events: Vec<LimitEvent>,
    fired: std::collections::BTreeSet<(Box<str>, u8, Option<Millis>, Millis)>,
}

/// In the order of time, a late line directly after the line before it in its file; files of one time in one
/// order.
fn in_order(story: &[ReportedLine]) -> Vec<ReportedLine> {
    let mut latest: BTreeMap<u8, Millis> = BTreeMap::new();
    let mut placed: Vec<(Millis, u8, ReportedLine)> = Vec::new();
    for reported in story {
        let time = reported.observation.observed_at.unwrap();
        let latest = latest.entry(reported.file).or_insert(time);
        *latest = time.max(*latest);
        placed.push((*latest, reported.file, reported.clone()));
    }
    placed.sort_by_key(|(time, file, _)| (*time, *file));
    placed.into_iter().map(|(_, _, reported)| reported).collect()
}

/// One file after the other, each whole: another possible order of reading.
fn by_file(story: &[ReportedLine], descending: bool) -> Vec<ReportedLine> {
    let mut story = story.to_vec();
    story.sort_by_key(|reported| {
        if descending {
            u8::MAX - reported.file
        } else {
            reported.file
        }
    });
    story
}

/// One of this number of times; unless they are `apart`, times of different files coincide.
fn any_reported(times: i64, apart: bool) -> impl Strategy<Value = ReportedLine> {
    (
        0u8..4,
        0..times,
        prop_oneof![Just(FIVE_HOUR), Just(SEVEN_DAY), Just("other")],
        prop_oneof![1 => Just(None), 6 => (0u8..=21).prop_map(|n| Some(f64::from(n) / 20.0))],
        prop_oneof![1 => Just(None), 6 => (0i64..4).prop_map(Some)],
        prop_oneof![3 => Just(LimitStatus::Allowed), 1 => Just(LimitStatus::Unknown), 1 => Just(LimitStatus::Rejected)],
    )
        .prop_map(move |(file, time, name, utilization, reset, status)| ReportedLine {
            file,
            observation: Observation {
                status,
                ..saw(
                    name,
                    Some(NOW + time * 20 * MINUTE + if apart { i64::from(file) * MINUTE } else { 0 }),
                    utilization,
                    reset.map(|reset| NOW + reset * 5 * HOUR_MS + HOUR_MS),
                )
            },
        })
}

/// Commits a story in batches and groups; then the backlog ends. There is a restart after every
/// `restart_every` groups; without any the database is in memory.
fn deferred(
    story: &[ReportedLine],
    batch_len: usize,
    group_len: usize,
    restart_every: Option<usize>,
) -> Facts {
    let mut desk = match restart_every {
        Some(_) => Desk::on_disk(),
        None => Desk::in_memory(),
    };
    let mut group = Vec::new();
    let mut groups = 0;
    for chunk in story.chunk_by(|one, next| one.file == next.file) {
        for part in chunk.chunks(batch_len) {
            let reported = part.iter().map(|reported| reported.observation.clone()).collect();
            group.push(desk.batch(part[0].file, reported));
            if group.len() < group_len {
                continue;
            }
            groups += 1;
            for outcome in desk.store.commit(std::mem::take(&mut group)).unwrap().outcomes {
                assert_eq!(outcome, Outcome::Committed);
            }
            match restart_every {
                Some(every) if groups % every == 0 => desk.restart(),
                // Other data is written in between.
                _ => drop(desk.store.mark(&AccountId::default(), None).unwrap()),
            }
        }
    }
    desk.store.commit(group).unwrap();
    assert!(
        desk.facts().windows.is_empty(),
        "deferred observations are not merged"
    );
    desk.store.apply_deferred(NOW).unwrap();
    let facts = desk.facts();
    if restart_every.is_some() {
        desk.restart();
        let nothing = desk.store.apply_deferred(NOW).unwrap().limits;
        assert_eq!(nothing, LimitChanges::default(), "merged twice");
        assert_eq!(desk.facts(), facts, "after a restart");
    }
    facts
}

/// Merges a story in its order, one line at a time.
fn merged(story: &[ReportedLine]) -> Facts {
    let mut desk = Desk::in_memory();
    desk.store.apply_deferred(NOW).unwrap();
    for reported in story {
        desk.commit(reported.file, vec![reported.observation.clone()]);
    }
    desk.facts()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any order of files, any batches, groups and restarts: deferred observations are merged in the order of
    /// time.
    #[test]
    fn parking_brings_the_order_of_time(
        story in proptest::collection::vec(any_reported(40, true), 1..40),
        batch_len in 1usize..6, group_len in 1usize..4, restart_every in 2usize..6,
    ) {
        let expected = merged(&in_order(&story));
        prop_assert_eq!(&deferred(&story, batch_len, group_len, Some(restart_every)), &expected);
        for descending in [false, true] {
            let other = by_file(&story, descending);
            prop_assert_eq!(&deferred(&other, batch_len, group_len, None), &expected);
        }
    }

    /// If many files have the same times there is no order of time; still the order of reading changes
    /// nothing.
    #[test]
    fn parking_makes_the_order_of_files_irrelevant(
        story in proptest::collection::vec(any_reported(4, false), 1..40), batch_len in 1usize..6, group_len in 1usize..4,
    ) {
        let expected = deferred(&story, batch_len, group_len, None);
        for descending in [false, true] {
            prop_assert_eq!(&deferred(&by_file(&story, descending), batch_len, 1, None), &expected);
        }
    }

    /// Live, files that are committed together are merged as if one followed the other in time.
    #[test]
    fn a_group_is_merged_in_the_order_of_time(
        story in proptest::collection::vec(any_reported(40, true), 1..20), batch_len in 1usize..6,
    ) {
        let mut desk = Desk::in_memory();
        desk.store.apply_deferred(NOW).unwrap();
        let mut group = Vec::new();
        for chunk in by_file(&story, true).chunk_by(|one, next| one.file == next.file) {
            for part in chunk.chunks(batch_len) {
                let reported = part.iter().map(|reported| reported.observation.clone()).collect();
                group.push(desk.batch(part[0].file, reported));
            }
        }
        desk.store.commit(group).unwrap();
        prop_assert_eq!(desk.facts(), merged(&in_order(&story)));
    }

    /// The stored window is sufficient for merging.
    #[test]
    fn a_restart_between_any_two_observations_changes_nothing(
        story in proptest::collection::vec(any_reported(40, true), 1..10),
    ) {
        let (mut straight, mut stored) = (None::<Track>, None::<Vec<u8>>);
        for reported in story {
            let observation = Observation { window: FIVE_HOUR.into(), ..reported.observation };
            let at = observation.observed_at.unwrap();
            let known = stored.map(|bytes| decode::<WindowRow>(&bytes).unwrap().track);
            let expected = merge(straight.as_ref(), &observation, at, &THRESHOLDS_DEFAULT);
            let merged = merge(known.as_ref(), &observation, at, &THRESHOLDS_DEFAULT);
            prop_assert_eq!(&merged, &expected);
            straight = Some(expected.track);
            stored = Some(encode(&WindowRow { track: merged.track, history_rows: 0 }).unwrap());
        }
    }
}

#[test]
fn a_late_line_stays_behind_its_predecessor_over_a_restart_and_a_mark_in_the_backlog() {
    for disturbed in [0, 1, 2] {
        let mut desk = Desk::on_disk();
        let reset = Some(NOW + HOUR_MS);
        desk.commit(1, vec![saw(FIVE_HOUR, Some(NOW), Some(0.3), reset)]);
        match disturbed {
            0 => {}
            1 => desk.restart(),
            _ => drop(desk.store.mark(&AccountId::default(), None).unwrap()),
        }
        desk.commit(1, vec![saw(FIVE_HOUR, Some(NOW - MINUTE), Some(0.8), reset)]);
        desk.store.apply_deferred(NOW).unwrap();
        let window = desk.window(FIVE_HOUR);
        assert_eq!(
            (window.utilization, window.observed_at),
            (Some(0.3), NOW),
            "{disturbed}"
        );
        assert!(desk.facts().fired.is_empty(), "{disturbed}");
    }
}

#[test]
fn a_restart_that_has_nothing_new_merges_what_was_deferred_before_it() {
    let mut desk = Desk::on_disk();
    desk.commit(1, vec![saw(FIVE_HOUR, Some(NOW), Some(0.9), Some(NOW + HOUR_MS))]);
    desk.restart();
    let changes = desk.store.apply_deferred(NOW).unwrap().limits;
    assert_eq!(changes.windows.len(), 1);
    let fired: Vec<_> = changes
        .fired
        .iter()
        .map(|one| (one.number, one.percent))
        .collect();
    assert_eq!(fired, [(1, 75), (2, 90)]);
    desk.restart();
    assert_eq!(
        desk.store.apply_deferred(NOW).unwrap().limits,
        LimitChanges::default()
    );
    assert_eq!(desk.facts().fired.len(), 2);
}

#[test]
fn an_observation_without_a_time_counts_as_made_when_the_backlog_ends() {
    let mut desk = Desk::on_disk();
    let reset = Some(NOW + HOUR_MS);
    desk.commit(1, vec![saw(FIVE_HOUR, None, Some(0.5), reset)]);
    desk.commit(2, vec![saw(FIVE_HOUR, Some(NOW - MINUTE), Some(0.4), reset)]);
    desk.store.apply_deferred(NOW).unwrap();
    let window = desk.window(FIVE_HOUR);
    assert_eq!((window.utilization, window.observed_at), (Some(0.5), NOW));
    // Live, its time is the time of reading.
    let mut later = desk.batch(1, vec![saw(FIVE_HOUR, None, Some(0.6), reset)]);
    later.read_at = NOW + MINUTE;
    desk.store.commit([later]).unwrap();
    assert_eq!(desk.window(FIVE_HOUR).observed_at, NOW + MINUTE);
}

/// The stored points of the window `other`: the minute after [`NOW`] and the status of each.
fn points(desk: &Desk) -> Vec<(i64, LimitStatus)> {
    let rows = read(&desk.store).history(&AccountId::default(), "other").unwrap();
    let minute = |at: Millis| at.div_euclid(MINUTE) - NOW.div_euclid(MINUTE);
    rows.iter()
        .map(|row| (minute(row.observed_at), row.status))
        .collect()
}

/// The minutes after [`NOW`] that steady observation of so many minutes leaves, without refusals.
fn kept_of(minutes: i64) -> Vec<i64> {
    let first = NOW.div_euclid(MINUTE);
    let coarse = (first + minutes - 1 - HISTORY_MINUTES_MS / MINUTE).div_euclid(15) * 15;
    let is_kept = |n: &i64| first + n >= coarse || (first + n).rem_euclid(15) == 14;
    (0..minutes).filter(is_kept).collect()
}

#[test]
fn a_windows_history_is_of_minutes_for_a_day_and_of_quarters_of_an_hour_before() {
    let mut desk = Desk::on_disk();
    desk.store.apply_deferred(NOW).unwrap();
    let minute = |n: i64| saw("other", Some(NOW + n * MINUTE), Some(0.5), None);
    let lasts = HISTORY_AGE_MAX_MS / MINUTE;
    // Two in each minute are one point.
    let reported = |minutes: Range<i64>| {
        minutes.flat_map(|n| {
            let later = saw("other", Some(NOW + n * MINUTE + 1), Some(0.6), None);
            [minute(n), later]
        })
    };
    desk.commit(1, reported(0..5_000).collect());
    let minutes = |desk: &Desk| points(desk).into_iter().map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(minutes(&desk), kept_of(5_000));
    // Each commit leaves what one commit of all leaves.
    for part in (5_000..lasts).step_by(997) {
        desk.commit(1, reported(part..(part + 997).min(lasts)).collect());
    }
    assert_eq!(minutes(&desk), kept_of(lasts));
    let all = kept_of(lasts).len();
    assert!(all < HISTORY_ROWS_MAX as usize, "{all} points");
    // A late one joins its quarter of an hour; one that is later there takes its place.
    desk.commit(2, vec![minute(1_003)]);
    assert_eq!(minutes(&desk), kept_of(lasts));
    desk.restart();
    desk.store.apply_deferred(NOW).unwrap();
    // A jump removes what is too old, and makes points of minutes points of quarters of an hour.
    let jump = lasts + 3_000;
    desk.commit(1, vec![minute(jump)]);
    let mut left: Vec<i64> = (kept_of(lasts).into_iter())
        .filter(|n| *n >= 3_000 && (NOW.div_euclid(MINUTE) + n).rem_euclid(15) == 14)
        .collect();
    let last = lasts - 1;
    if !left.contains(&last) {
        left.push(last);
    }
    left.push(jump);
    assert_eq!(minutes(&desk), left);
    // Too old to be kept.
    let oldest = jump - lasts;
    let just_too_old = saw("other", Some(NOW + oldest * MINUTE - 1), Some(0.1), None);
    desk.commit(3, vec![just_too_old]);
    assert_eq!(minutes(&desk), left);
    desk.commit(1, vec![minute(jump + 2 * lasts)]);
    assert_eq!(minutes(&desk), [jump + 2 * lasts]);
}

#[test]
fn a_windows_history_is_the_same_in_whatever_order_it_was_read_and_keeps_refusals() {
    let reset = Some(NOW + 30 * DAY_MS);
    let refusal = |n: i64| Observation {
        status: LimitStatus::Rejected,
        ..saw("other", Some(NOW + n * MINUTE), None, reset)
    };
    let all = || {
        let steady = (0..4_000).map(|n| saw("other", Some(NOW + n * MINUTE + 5), Some(0.5), reset));
        let refusals = [17, 18, 100, 3_900].map(refusal);
        steady.chain(refusals).collect::<Vec<_>>()
    };
    let told = |order: &dyn Fn(&mut Vec<Observation>)| {
        let mut desk = Desk::on_disk();
        desk.store.apply_deferred(NOW).unwrap();
        let mut given = all();
        order(&mut given);
        for part in given.chunks(700) {
            desk.commit(1, part.to_vec());
        }
        points(&desk)
    };
    let in_order = told(&|given| given.sort_by_key(|seen| seen.observed_at));
    let refused: Vec<i64> = (in_order.iter())
        .filter(|(_, status)| *status == LimitStatus::Rejected)
        .map(|(at, _)| *at)
        .collect();
    // 17 and 18 are of one quarter of an hour or of two.
    let first = NOW.div_euclid(MINUTE);
    let is_one = (first + 17).div_euclid(15) == (first + 18).div_euclid(15);
    let wanted: &[i64] = if is_one {
        &[18, 100, 3_900]
    } else {
        &[17, 18, 100, 3_900]
    };
    assert_eq!(refused, wanted);
    assert_eq!(in_order.len(), kept_of(4_000).len());
    assert_eq!(told(&|given| given.reverse()), in_order, "newest first");
    let shuffled = told(&|given| fastrand::Rng::with_seed(7).shuffle(given));
    assert_eq!(shuffled, in_order, "in no order");
}

#[test]
fn windows_beyond_the_bound_are_left_out_and_harm_no_other() {
    let mut desk = Desk::on_disk();
    desk.store.apply_deferred(NOW).unwrap();
    let most = usize::try_from(WINDOWS_PER_ACCOUNT_MAX).unwrap();
    let named = |n: usize, share: f64| saw(&format!("w{n:03}"), Some(NOW), Some(share), Some(NOW + HOUR_MS));
    desk.commit(1, (0..most / 2).map(|n| named(n, 0.1)).collect());
    desk.commit(1, (0..most + 9).map(|n| named(n, 0.2)).collect());
    let facts = desk.facts();
    assert_eq!(facts.windows.len(), most);
    assert!(
        facts
            .windows
            .values()
            .all(|window| window.utilization == Some(0.2))
    );
    assert!(facts.windows.keys().all(|name| **name < *format!("w{most:03}")));
    assert_eq!(desk.store.reader().windows_left_out(), 9);
    // A family, a limit of Codex or a model scope may have any name too, and refusals are bounded with them.
    let refusals = |desk: &Desk| read(&desk.store).quota(0).unwrap().limit_events.len();
    let before = refusals(&desk);
    for name in ["seven_day_x1", "codex_77", "weekly_scoped:x", "codex:x:90m"] {
        let refused = Observation {
            status: LimitStatus::Rejected,
            ..saw(name, Some(NOW), Some(1.0), Some(NOW + HOUR_MS))
        };
        desk.commit(1, vec![refused]);
    }
    assert_eq!(desk.facts().windows.len(), most);
    assert_eq!(refusals(&desk), before);
    assert_eq!(desk.store.reader().windows_left_out(), 13);
    // Known ones are updated further; so are those of another account.
    let later = Observation {
        observed_at: Some(NOW + MINUTE),
        ..named(most - 1, 0.8)
    };
    desk.commit(1, vec![named(most + 9, 0.9), later]);
    assert_eq!(desk.window(&format!("w{:03}", most - 1)).utilization, Some(0.8));
    assert_eq!(desk.facts().fired.len(), 1);
    // And the provider's own windows have room whatever else was named before.
    desk.commit(
        1,
        vec![saw(FIVE_HOUR, Some(NOW + MINUTE), Some(0.4), Some(NOW + HOUR_MS))],
    );
    assert_eq!(desk.window(FIVE_HOUR).utilization, Some(0.4));
    let mut other = batch("elsewhere", "f", None, 1, Vec::new());
    other.account = Arc::new(AccountId {
        name: "other".into(),
        ..AccountId::default()
    });
    other.observations = vec![named(most + 1, 0.3)];
    desk.store.commit([other]).unwrap();
    let view = read(&desk.store).quota(0).unwrap();
    let counts: Vec<_> = view.accounts.values().map(|sums| sums.windows.len()).collect();
    assert_eq!(counts, [most + 1, 1]);
    desk.restart();
    assert_eq!(desk.facts().windows.len(), most + 1);
}

#[test]
fn rejections_are_noted_once_and_the_latest_are_kept() {
    let mut desk = Desk::on_disk();
    let most = i64::try_from(LIMIT_EVENTS_MAX).unwrap();
    let rejected = |n: i64| Observation {
        status: LimitStatus::Rejected,
        request: u64::try_from(n).ok(),
        ..saw(FIVE_HOUR, Some(NOW + n), None, Some(NOW + HOUR_MS))
    };
    let reported: Vec<_> = (0..most + 5).map(rejected).collect();
    desk.commit(1, reported.clone());
    desk.commit(2, reported);
    desk.store.apply_deferred(NOW).unwrap();
    let times: Vec<_> = desk.facts().events.iter().map(|event| event.at - NOW).collect();
    assert_eq!(times, (5..most + 5).collect::<Vec<_>>());
}
