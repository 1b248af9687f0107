//! The exact bytes of a row of each table, and of each value of each enum in one: an existing database must
//! be read as it was written.

use std::fmt::Write as _;
use std::num::NonZeroU64;

use redb::{TableDefinition, TableHandle};

use super::*;
use crate::model::{
    Geography, LimitSource, LimitStatus, Observation, PriceClass, PromptSize, RouteNames, SessionPlace,
    Speed, StopReason,
};
use crate::quota::exhaustion::Cause;
use crate::quota::lease::cost::{CostHistory, RunCost, WindowCost};
use crate::quota::lease::probe::{Probe, ProbePhase};
use crate::quota::lease::{KeyedAnswer, Lease, LeaseEnd};
use crate::quota::notice::{Latch, Notice, NoticeKind, NumberedNotice};
use crate::quota::overage::Overage;
use crate::quota::poll::Backoff;
use crate::quota::throttle::Throttles;
use crate::quota::window::{Held, Reading, Track, WindowState};
use crate::store::schema::{
    AccountLimitsRow, AccountRow, DeferredRow, FileRow, FiredRow, ForgottenRow, HistoryRow, LatchRow,
    LeaseEndRow, LeaseRow, LimitEventRow, MarkRow, OutboxRow, PlaceRow, PollRow, ProbeRow, RecordPart,
    RecordRow, ResponseParts, ResponseRow, RouteRow, RunInfoRow, RunRow, RunTotalsRow, SeriesRow, SessionRow,
    Stored, WindowRow, decode, encode,
};

/// Table, type and bytes of the key, type and bytes of the value.
const TABLES: [&str; 50] = [
    "meta [&str] 736368656d61 [u64] 0a00000000000000",
    "notes [&str] 72656275696c74 [&str] 776879",
    "runs [&str] 72756e [&[u8]] 01f0a2040103",
    "paths [(u32,&[u8])] 01000000612e6a736f6e6c [u32] 02000000",
    "files [u32] 01000000 [&[u8]] 01010207040506ffffffffffffffffff0108090a057374617465",
    "models [u32] 01000000 [&str] 6d6f64656c",
    "model_runs [u32] 01000000 [u32] 02000000",
    "responses [u128] 00000000000000000000000010000000 [&[u8]] 01d56d0a09180102030405060708",
    "totals [u32] 01000000 [&[u8]] 01020406080ad8040d80808080808080808002121416181a1c1e151617181\
     91a1b1c1d013c",
    "places [u32] 01000000 [&[u8]] 010173010170",
    "place_numbers [(&str,&str)] 017370 [u32] 02000000",
    "routes [u32] 01000000 [&[u8]] 0101017001022f7200",
    "route_numbers [(&str,&str,&str)] 0102702f72 [u32] 01000000",
    "records [u128] 00000000000000000000000010000000 [&[u8]] 01ac020401030405",
    "series [u32] 01000000 [&[u8]] 01010203ac0204010357",
    "series_numbers [(u32,u32,u32,u32,u32,u8,u8)] 0100000002000000030000002c010000040000000357 [u32] 02000000",
    "series_sums [u32] 01000000 [&[u8]] 01020406080ad8040d80808080808080808002121416181a1c1e",
    "quarters [(u32,u32)] 0100000002000000 [&[u8]] 01020406080ad8040d80808080808080808002121416181a1c1e",
    "days [(u32,u32)] 0100000002000000 [&[u8]] 01020406080ad8040d80808080808080808002121416181a1c1e",
    "run_days [(u32,u32,u32)] 010000000200000003000000 [()] ",
    "model_quarters [(u32,u32,u32,u8,u8)] 01000000030000002c0100000357 [&[u8]] 01020406080ad8040d80808080808080808002\
     121416181a1c1e",
    "model_days [(u32,u32,u32,u8,u8)] 01000000030000002c0100000357 [&[u8]] 01020406080ad8040d80808080808080808002\
     121416181a1c1e",
    "accounts [u32] 01000000 [&[u8]] 010170016e",
    "run_accounts [u32] 01000000 [u32] 02000000",
    "run_providers [(u32,&str)] 0100000070 [u32] 02000000",
    "run_info [u32] 01000000 [&[u8]] 0102016101620163016401022f6d01020104010602",
    "forgotten [&str] 72756e [&[u8]] 010104",
    "session_numbers [u64] 0100000000000000 [u32] 02000000",
    "sessions [u32] 01000000 [&[u8]] 010102010304050601",
    "session_sums [u32] 01000000 [&[u8]] 01020406080ad8040d80808080808080808002121416181a1c1e",
    "session_copies [(u128,u32)] 0100000000000000000000000000000002000000 [()] ",
    "minutes [(u32,u32)] 0100000002000000 [&[u8]] 01020406080ad8040d80808080808080808002121416181a1c1e",
    "windows [(u32,&str)] 0100000077 [&[u8]] 0101000000000000e03f01000000000000e83f010201660167020108\
     010a010c010e1009140116050118011a012001000000000000d03f01110112012603080114014001000000000000d03f\
     01210122014603080124016001000000000000d03f013101320166030801340002505f01000000000000000000000202\
     0600000000000000017001000000000000d03f0139013a01760308013c00020201000000000000d03f01020103010803\
     0801050401000000000000d03f01030104010a0308010663",
    "observations [(u32,&str,u32)] 01010000007702000000 [&[u8]] 010201000000000000e03f01040107",
    "limit_events [(u64,u32,&str)] 01000000000000000200000077 [&[u8]] 01010201010c010d08",
    "fired [u64] 0100000000000000 [&[u8]] 0101017750000000000000e03f010406",
    "marks [u32] 01000000 [&[u8]] 01020172017304",
    "polls [u32] 01000000 [&[u8]] 010203",
    "account_limits [u32] 01000000 [&[u8]] 01020e010601100310000002011201",
    "served [(u32,u32)] 0100000002000000 [i64] fdffffffffffffff",
    "parked [(u64,u64,u64)] 010000000000000002000000000000000300000000000000 [&[u8]] 0107017701000000\
     000000e03f01010102010601080103010f0110",
    "parked_files [u32] 01000000 [i64] feffffffffffffff",
    "leases [u64] 0100000000000000 [&[u8]] 01020170016e01016d01016301017201016806080a010c07080101730\
     10177000000000000e03f",
    "lease_ends [u64] 0100000000000000 [&[u8]] 01090402",
    "lease_answers [u64] 0100000000000000 [&[u8]] 01016b0206027b7d",
    "lease_keys [&str] 6b [u64] 0100000000000000",
    "probes [(&str,&str,&str)] 0101706e6f707573 [&[u8]] 01010700000403040a",
    "run_costs [(&str,&str,&str)] 0101706e [&[u8]] 01010809010177000000000000e03f",
    "outbox [(&str,u64,u32)] 0174010000000000000002000000 [&[u8]] 010165000201017001016e010162010172014b01000000000000e03f\
     0104010173010601017701040174",
    "latches [(&str,&str)] 016b73 [&[u8]] 0101040604",
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn line<K: redb::Key, V: redb::Value>(
    table: TableDefinition<'_, K, V>,
    key: &K::SelfType<'_>,
    value: &V::SelfType<'_>,
) -> String {
    format!(
        "{} [{}] {} [{}] {}",
        table.name(),
        K::type_name().name(),
        hex(K::as_bytes(key).as_ref()),
        V::type_name().name(),
        hex(V::as_bytes(value).as_ref())
    )
}

fn totals() -> Totals {
    Totals {
        messages: 1,
        without_figures: 2,
        unfinished: 3,
        advisor_calls: 4,
        input: 5,
        output: 300,
        cache_read: -7,
        cache_creation: i128::from(i64::MAX) + 1,
        cache_creation_5m: 9,
        cache_creation_1h: 10,
        web_search: 11,
        thinking: 12,
        fallbacks: 13,
        failed_attempts: 14,
        estimated: 15,
    }
}

fn run_totals() -> RunTotalsRow {
    RunTotalsRow {
        totals: totals(),
        lines: LineCounts {
            read: 21,
            usage: 22,
            duplicate: 23,
            ignored: 24,
            malformed: 25,
            oversized: 26,
            clock_suspect: 27,
        },
        files: 28,
        bytes: 29,
        latest: Some(30),
    }
}

fn file() -> FileRow {
    let cursor = Cursor {
        inode: Inode {
            number: 2,
            born_ns: -4,
        },
        generation: 4,
        offset: 5,
        tail_len: 6,
        tail_hash: u64::MAX,
        skip_to: NonZeroU64::new(8),
        partial_end: 9,
        origin: 10,
    };
    FileRow::new(1, &cursor, &ParserState::new(b"state"))
}

fn response(
    kind: Kind,
    rank: Rank,
    dating: Dating,
    service: Service,
    is_final: bool,
    is_shared: bool,
) -> ResponseRow {
    let usage = Usage {
        input: 1,
        output: 2,
        cache_read: 3,
        cache_creation: 4,
        cache_creation_5m: 5,
        cache_creation_1h: 6,
        web_search: 7,
        thinking: 8,
    };
    let parts = ResponseParts {
        kind,
        rank,
        service,
        dating,
        usage,
        is_final,
        session: 9,
        is_shared,
        is_estimated: false,
    };
    ResponseRow::new(&parts, 10, 12)
}

fn place() -> PlaceRow {
    PlaceRow::new(&SessionPlace {
        session: "s".into(),
        project: Some("p".into()),
    })
}

fn class(prompt: PromptSize, service: Service) -> PriceClass {
    PriceClass { prompt, service }
}

fn series() -> SeriesRow {
    let service = Service {
        tier: Tier::Flex,
        speed: Speed::Fast,
        geography: Geography::Other,
    };
    SeriesRow {
        run: 1,
        place: 2,
        account: 3,
        model: 300,
        route: 4,
        dialect: Some(Dialect::Gemini),
        class: class(PromptSize::More, service),
    }
}

fn route() -> RouteRow {
    RouteRow {
        names: RouteNames {
            profile: Some("p".into()),
            route: Some("/r".into()),
            instance: None,
        },
    }
}

fn record() -> RecordRow {
    RecordRow {
        content: 300,
        at: 2,
        parts: vec![RecordPart {
            series: 3,
            fallbacks: 4,
            failed_attempts: 5,
        }],
    }
}

fn run_info(reason: StopReason) -> RunInfoRow {
    RunInfoRow {
        labels: [("a".into(), "b".into()), ("c".into(), "d".into())].into(),
        mount: Some(b"/m".as_slice().into()),
        registered_at: Some(1),
        earliest: Some(2),
        stopped: Some((3, reason)),
    }
}

fn reading(first: u8) -> Reading {
    let number = |offset: u8| u64::from(first + offset);
    let time = |offset: u8| i64::from(first + offset);
    Reading {
        at: time(0),
        utilization: Some(0.25),
        remaining: Some(number(1)),
        limit: Some(number(2)),
        reset_at: Some(time(3)),
        status: LimitStatus::Rejected,
        source: LimitSource::Codex,
        session: Some(number(4)),
    }
}

fn window_state() -> WindowState {
    WindowState {
        utilization: Some(0.5),
        highest: Some(0.75),
        utilization_at: Some(1),
        remaining: Some(102),
        limit: Some(103),
        status: LimitStatus::AllowedWarning,
        status_at: Some(4),
        reset_at: Some(5),
        window_started_at: Some(6),
        length: Some(7),
        opened_at: 8,
        number: 9,
        observed_at: 10,
        live_at: Some(11),
        source: LimitSource::Prose,
        exhausted_until: Some(12),
        blocked_at: Some(13),
        held: Held {
            drop: Some(reading(0x10)),
            reset: Some(reading(0x20)),
            relief: Some(reading(0x30)),
            rise: None,
        },
        thresholds_crossed: vec![80, 95],
        served_at: None,
        allowed_at: None,
    }
}

/// An empty state, for an option of a state.
fn no_state() -> WindowState {
    WindowState {
        utilization: None,
        highest: None,
        utilization_at: None,
        remaining: None,
        limit: None,
        status: LimitStatus::Unknown,
        status_at: None,
        reset_at: None,
        window_started_at: None,
        length: None,
        opened_at: 1,
        number: 2,
        observed_at: 3,
        live_at: None,
        source: LimitSource::RateLimits,
        exhausted_until: None,
        blocked_at: None,
        held: Held {
            rise: Some(reading(0x38)),
            ..Held::default()
        },
        thresholds_crossed: Vec::new(),
        served_at: None,
        allowed_at: None,
    }
}

fn window() -> WindowRow {
    WindowRow {
        track: Track {
            state: window_state(),
            before: Some(no_state()),
            readings: vec![reading(1), reading(2)],
        },
        history_rows: 99,
    }
}

fn observation() -> Observation {
    Observation {
        window: "w".into(),
        utilization: Some(0.5),
        remaining: Some(1),
        limit: Some(2),
        reset_at: Some(3),
        observed_at: Some(4),
        status: LimitStatus::Allowed,
        source: LimitSource::Headers,
        session: Some(15),
        request: Some(16),
    }
}

fn account_limits() -> AccountLimitsRow {
    let mut throttles = Throttles::default();
    throttles.take(&observation(), 7);
    let later = Observation {
        reset_at: None,
        request: None,
        source: LimitSource::ApiError,
        ..observation()
    };
    throttles.take(&later, 8);
    AccountLimitsRow {
        throttles,
        overage: Some(Overage {
            said_at: 9,
            in_use: true,
        }),
    }
}

fn history(status: LimitStatus, source: LimitSource) -> HistoryRow {
    HistoryRow {
        observed_at: 1,
        utilization: Some(0.5),
        reset_at: Some(2),
        status,
        source,
    }
}

fn costs_of_windows() -> Vec<WindowCost> {
    vec![WindowCost {
        window: "w".into(),
        share: 0.5,
    }]
}

fn lease() -> Lease {
    Lease {
        number: 1,
        token: 2,
        account: AccountId {
            provider: "p".into(),
            name: "n".into(),
        },
        model: Some("m".into()),
        class: Some("c".into()),
        run: Some(RunId::new("r").unwrap()),
        holder: Some("h".into()),
        granted_at: 3,
        ttl: 4,
        expires_at: 5,
        bound_at: Some(6),
        bytes_before: 7,
        tokens_before: 8,
        has_log: false,
        probe: Some("s".into()),
        cost: costs_of_windows(),
    }
}

fn probe(phase: ProbePhase) -> Probe {
    Probe {
        phase,
        since: 2,
        failures: 3,
        silent: 4,
        tried_at: 5,
    }
}

fn costs() -> CostHistory {
    CostHistory(vec![RunCost {
        run: 8,
        tokens: 9,
        windows: costs_of_windows(),
    }])
}

/// A row's bytes, checked to be read as the value that was written.
fn bytes<R: Stored + PartialEq + std::fmt::Debug>(row: &R) -> Vec<u8> {
    let bytes = encode(row).unwrap();
    assert_eq!(&decode::<R>(&bytes).unwrap(), row);
    bytes
}

/// A row of each table.
fn tables() -> Vec<String> {
    let sums = bytes(&totals());
    macro_rules! row {
        ($table:ident, $key:expr, $row:expr) => {
            line(schema::$table, &$key, &bytes(&$row).as_slice())
        };
    }
    let responses = response(
        Kind::Advisor,
        Rank::Main,
        Dating::Nearby,
        Service {
            tier: Tier::Batch,
            speed: Speed::Fast,
            geography: Geography::Us,
        },
        false,
        true,
    );
    vec![
        line(schema::META, &schema::META_SCHEMA, &schema::STORED_SCHEMA),
        line(schema::NOTES, &schema::NOTE_REBUILT, &"why"),
        row!(
            RUNS,
            "run",
            RunRow {
                number: 70_000,
                backlog: true,
                first_seen: -2
            }
        ),
        line(schema::PATHS, &(1, b"a.jsonl".as_slice()), &2),
        row!(FILES, 1, file()),
        line(schema::MODELS, &1, &"model"),
        line(schema::MODEL_RUNS, &1, &2),
        row!(RESPONSES, 1 << 100, responses),
        row!(TOTALS, 1, run_totals()),
        row!(PLACES, 1, place()),
        line(schema::PLACE_NUMBERS, &("s", "p"), &2),
        row!(ROUTES, 1, route()),
        line(schema::ROUTE_NUMBERS, &("p", "/r", ""), &1),
        row!(RECORDS, 1 << 100, record()),
        row!(SERIES, 1, series()),
        line(schema::SERIES_NUMBERS, &series().key(), &2),
        line(schema::SERIES_SUMS, &1, &sums.as_slice()),
        line(schema::QUARTERS, &(1, 2), &sums.as_slice()),
        line(schema::DAYS, &(1, 2), &sums.as_slice()),
        line(schema::RUN_DAYS, &(1, 2, 3), &()),
        line(schema::MODEL_QUARTERS, &series().model_key(1), &sums.as_slice()),
        line(schema::MODEL_DAYS, &series().model_key(1), &sums.as_slice()),
        row!(
            ACCOUNTS,
            1,
            AccountRow::new(&AccountId {
                provider: "p".into(),
                name: "n".into()
            })
        ),
        line(schema::RUN_ACCOUNTS, &1, &2),
        line(schema::RUN_PROVIDERS, &(1, "p"), &2),
        row!(RUN_INFO, 1, run_info(StopReason::Vanished)),
        row!(FORGOTTEN, "run", ForgottenRow { number: 1, at: 2 }),
        line(schema::SESSION_NUMBERS, &1, &2),
        row!(
            SESSIONS,
            1,
            SessionRow {
                run: 1,
                linked: 2,
                reported: Some([3, 4, 5, 6]),
                has_pruned: true
            }
        ),
        line(schema::SESSION_SUMS, &1, &sums.as_slice()),
        line(schema::SESSION_COPIES, &(1, 2), &()),
        line(schema::MINUTES, &(1, 2), &sums.as_slice()),
        row!(WINDOWS, (1, "w"), window()),
        row!(
            OBSERVATIONS,
            (1, "w", 2),
            history(LimitStatus::Allowed, LimitSource::UsageApi)
        ),
        row!(
            LIMIT_EVENTS,
            (1, 2, "w"),
            LimitEventRow {
                resets_at: Some(1),
                source: LimitSource::QuotaLimits,
                session: Some(12),
                request: Some(13),
                last_at: 4
            }
        ),
        row!(
            FIRED,
            1,
            FiredRow {
                account: 1,
                window: "w".into(),
                percent: 80,
                utilization: 0.5,
                reset_at: Some(2),
                observed_at: 3
            }
        ),
        row!(
            MARKS,
            1,
            MarkRow {
                cause: Cause {
                    until: 1,
                    reason: "r".into(),
                    source: "s".into(),
                    since: 2
                }
            }
        ),
        row!(
            POLLS,
            1,
            PollRow {
                backoff: Backoff {
                    until: 1,
                    failures: 3
                }
            }
        ),
        row!(ACCOUNT_LIMITS, 1, account_limits()),
        line(schema::SERVED, &(1, 2), &-3),
        row!(DEFERRED, (1, 2, 3), DeferredRow::new(7, &observation())),
        line(schema::DEFERRED_FILES, &1, &-2),
        row!(LEASES, 1, LeaseRow::new(&lease())),
        row!(
            LEASE_ENDS,
            1,
            LeaseEndRow {
                token: 9,
                at: 2,
                end: LeaseEnd::Revoked
            }
        ),
        row!(
            LEASE_ANSWERS,
            1,
            KeyedAnswer {
                key: "k".into(),
                hash: 2,
                at: 3,
                text: b"{}".as_slice().into()
            }
        ),
        line(schema::LEASE_KEYS, &"k", &1),
        row!(
            PROBES,
            ("p", "n", "opus"),
            ProbeRow::new(&probe(ProbePhase::HalfOpen { lease: 7 }))
        ),
        row!(RUN_COSTS, ("p", "n", ""), costs()),
        row!(
            OUTBOX,
            ("t", 1, 2),
            OutboxRow::new(&notice(NoticeKind::WindowThreshold))
        ),
        row!(LATCHES, ("k", "s"), LatchRow::new(set())),
    ]
}

#[test]
fn the_bytes_of_each_table_stay_as_they_are() {
    let written = tables();
    for (written, pinned) in written.iter().zip(TABLES) {
        assert_eq!(written, pinned);
    }
    assert_eq!(written.len(), TABLES.len());

    let store = memory();
    let mut made: Vec<String> = read(&store)
        .reading(|read| {
            let tables = read.list_tables()?;
            Ok(tables.map(|table| table.name().to_owned()).collect())
        })
        .unwrap();
    let name = |line: &String| line.split(' ').next().unwrap().to_owned();
    let mut pinned: Vec<String> = written.iter().map(name).collect();
    made.sort();
    pinned.sort();
    assert_eq!(made, pinned, "a table without a row in this test");
}

#[test]
fn what_is_filled_in_when_a_window_is_read_is_not_written() {
    let mut filled_in = window();
    for state in [Some(&mut filled_in.track.state), filled_in.track.before.as_mut()] {
        let state = state.unwrap();
        (state.served_at, state.allowed_at) = (Some(1), Some(2));
    }
    assert_eq!(encode(&filled_in).unwrap(), encode(&window()).unwrap());
}

#[test]
fn the_byte_of_each_value_of_an_enum_stays_as_it_is() {
    let code = |status, source, place: usize| encode(&history(status, source)).unwrap()[place];
    let (status_at, source_at) = (13, 14);
    for (status, byte) in [
        (LimitStatus::Unknown, 0),
        (LimitStatus::Allowed, 1),
        (LimitStatus::AllowedWarning, 2),
        (LimitStatus::Rejected, 3),
    ] {
        assert_eq!(code(status, LimitSource::Prose, status_at), byte, "{status:?}");
    }
    for (source, byte) in [
        (LimitSource::RateLimits, 0),
        (LimitSource::QuotaLimits, 1),
        (LimitSource::ApiError, 2),
        (LimitSource::Headers, 3),
        (LimitSource::RateLimitEvent, 4),
        (LimitSource::Prose, 5),
        (LimitSource::Statusline, 6),
        (LimitSource::UsageApi, 7),
        (LimitSource::Codex, 8),
        (LimitSource::AgentCache, 9),
        (LimitSource::WhamUsage, 10),
    ] {
        assert_eq!(code(LimitStatus::Unknown, source, source_at), byte, "{source:?}");
    }
    for (reason, byte) in [
        (StopReason::Asked, 0),
        (StopReason::Idle, 1),
        (StopReason::Vanished, 2),
    ] {
        assert_eq!(
            encode(&run_info(reason)).unwrap().last(),
            Some(&byte),
            "{reason:?}"
        );
    }
}

#[test]
fn the_flags_of_a_response_stay_as_they_are() {
    use {Dating as D, Kind as K, Rank as R, Tier as T};
    for (kind, rank, dating, tier, is_final, is_shared, flags) in [
        (K::Message, R::Progress, D::Line, T::Unknown, true, false, 0),
        (K::Advisor, R::Progress, D::Line, T::Unknown, true, false, 1),
        (
            K::Duplicate,
            R::Progress,
            D::Line,
            T::Unknown,
            true,
            false,
            1 << 11,
        ),
        (K::Message, R::Sidechain, D::Line, T::Unknown, true, false, 1 << 1),
        (K::Message, R::Main, D::Line, T::Unknown, true, false, 2 << 1),
        (K::Message, R::Progress, D::Audit, T::Unknown, true, false, 1 << 3),
        (
            K::Message,
            R::Progress,
            D::Nearby,
            T::Unknown,
            true,
            false,
            2 << 3,
        ),
        (
            K::Message,
            R::Progress,
            D::Written,
            T::Unknown,
            true,
            false,
            3 << 3,
        ),
        (
            K::Message,
            R::Progress,
            D::Unknown,
            T::Unknown,
            true,
            false,
            4 << 3,
        ),
        (K::Message, R::Posted, D::Line, T::Unknown, true, false, 3 << 1),
        (
            K::Message,
            R::Progress,
            D::Posted,
            T::Unknown,
            true,
            false,
            5 << 3,
        ),
        (
            K::Message,
            R::Progress,
            D::Received,
            T::Unknown,
            true,
            false,
            6 << 3,
        ),
        (K::Message, R::Progress, D::Line, T::Standard, true, false, 1 << 6),
        (K::Message, R::Progress, D::Line, T::Priority, true, false, 2 << 6),
        (K::Message, R::Progress, D::Line, T::Batch, true, false, 3 << 6),
        (K::Message, R::Progress, D::Line, T::Other, true, false, 4 << 6),
        (K::Message, R::Progress, D::Line, T::Unknown, false, false, 1 << 9),
        (K::Message, R::Progress, D::Line, T::Unknown, true, true, 1 << 10),
    ] {
        let service = Service {
            tier,
            ..Service::default()
        };
        let row = response(kind, rank, dating, service, is_final, is_shared);
        // The flags are the first field, a variable-length integer behind the version.
        let bytes = encode(&row).unwrap();
        let found = match bytes[1] {
            low if low < 0x80 => u16::from(low),
            low => u16::from(low & 0x7f) | u16::from(bytes[2]) << 7,
        };
        assert_eq!(
            found, flags,
            "{kind:?} {rank:?} {dating:?} {tier:?} {is_final} {is_shared}"
        );
        let parts = row.parts().unwrap();
        assert_eq!(
            (
                parts.kind,
                parts.rank,
                parts.dating,
                parts.service,
                parts.is_final,
                parts.is_shared
            ),
            (kind, rank, dating, service, is_final, is_shared)
        );
    }
    let with = |speed, geography| {
        let service = Service {
            tier: T::Unknown,
            speed,
            geography,
        };
        let row = response(K::Message, R::Progress, D::Line, service, true, false);
        encode(&row).unwrap()[1..3].to_vec()
    };
    assert_eq!(with(Speed::Fast, Geography::Other), [0x80, 1 << 5], "bit 12");
    assert_eq!(with(Speed::Standard, Geography::Us), [0x80, 1 << 6], "bit 13");
}

#[test]
fn the_bytes_of_leases_and_recoveries_stay_as_they_are() {
    for (phase, expected) in [
        (ProbePhase::BackedOff { until: 1 }, "01000000020403040a"),
        (ProbePhase::HalfOpen { lease: 1 }, "01010100000403040a"),
        (
            ProbePhase::Ramp {
                lease: 1,
                cap: 1,
                step_at: 1,
            },
            "01020101020403040a",
        ),
    ] {
        let row = ProbeRow::new(&probe(phase));
        assert_eq!(hex(&bytes(&row)), expected);
        assert_eq!(row.probe().unwrap().phase, phase);
    }
    for (end, code) in [
        (LeaseEnd::Released, 0),
        (LeaseEnd::Expired, 1),
        (LeaseEnd::Revoked, 2),
        (LeaseEnd::RunEnded, 3),
    ] {
        assert_eq!(bytes(&LeaseEndRow { token: 9, at: 0, end }), [1, 9, 0, code]);
    }
    let row = LeaseRow::new(&lease());
    assert_eq!(row.lease(1).unwrap(), lease());
}

#[test]
fn the_bytes_of_a_price_class_and_of_a_dialect_stay_as_they_are() {
    let plain = |tier| Service {
        tier,
        ..Service::default()
    };
    let fast = Service {
        speed: Speed::Fast,
        ..Service::default()
    };
    let us = Service {
        geography: Geography::Us,
        ..Service::default()
    };
    for (class, byte) in [
        (PriceClass::default(), 0),
        (class(PromptSize::UpTo200k, Service::default()), 1),
        (class(PromptSize::UpTo272k, Service::default()), 2),
        (class(PromptSize::More, Service::default()), 3),
        (class(PromptSize::UpTo100k, fast), 1 << 2),
        (class(PromptSize::UpTo100k, us), 1 << 3),
        (class(PromptSize::UpTo100k, plain(Tier::Standard)), 1 << 4),
        (class(PromptSize::UpTo100k, plain(Tier::Priority)), 2 << 4),
        (class(PromptSize::UpTo100k, plain(Tier::Batch)), 3 << 4),
        (class(PromptSize::UpTo100k, plain(Tier::Other)), 4 << 4),
        (class(PromptSize::UpTo100k, plain(Tier::Flex)), 5 << 4),
    ] {
        assert_eq!(bytes(&class), [1, byte], "{class:?}");
        let row = SeriesRow { class, ..series() };
        assert_eq!(row.key().6, byte, "{class:?}");
    }
    for (dialect, byte) in [
        (Dialect::Claude, 0),
        (Dialect::Codex, 1),
        (Dialect::Pi, 2),
        (Dialect::Gemini, 3),
        (Dialect::Qwen, 4),
    ] {
        assert_eq!(bytes(&dialect), [1, byte]);
        let dialect = Some(dialect);
        assert_eq!(SeriesRow { dialect, ..series() }.key().5, byte);
    }
    let of_record = SeriesRow {
        dialect: None,
        ..series()
    };
    assert_eq!((of_record.key().5, bytes(&of_record)[7]), (255, 0), "no dialect");
}

/// An event with every field.
fn notice(kind: NoticeKind) -> NumberedNotice {
    NumberedNotice {
        id: "e".into(),
        notice: Notice {
            kind,
            at: 1,
            account: Some(AccountId {
                provider: "p".into(),
                name: "n".into(),
            }),
            bucket: Some("b".into()),
            run: Some("r".into()),
            threshold: Some(75),
            utilization: Some(0.5),
            reset_at: Some(2),
            source: Some("s".into()),
            observed_at: Some(3),
            reason: Some("w".into()),
            count: Some(4),
            sentence: "t".into(),
        },
    }
}

fn set() -> Latch {
    Latch {
        stage: 1,
        mark: 2,
        seen: 3,
        against: 4,
    }
}

#[test]
fn the_bytes_of_events_and_latches_stay_as_they_are() {
    use NoticeKind::*;
    for (kind, code) in [
        (WindowThreshold, 0),
        (WindowExhausted, 1),
        (WindowReset, 2),
        (AccountExhausted, 3),
        (AccountAvailable, 4),
        (BudgetThreshold, 5),
        (ForecastBeforeReset, 6),
        (RunStopped, 7),
        (HealthDegraded, 8),
        (HealthOk, 9),
        (PollExpired, 10),
        (NotifyDropped, 11),
    ] {
        let row = OutboxRow::new(&notice(kind));
        // Version, length and text of the id, kind.
        assert_eq!(bytes(&row)[..4], [1, 1, b'e', code]);
        assert_eq!(row.notice(), notice(kind));
    }
    let bare = NumberedNotice {
        id: "e".into(),
        notice: Notice::new(HealthOk, 1, "t"),
    };
    assert_eq!(OutboxRow::new(&bare).notice(), bare);
    assert_eq!(LatchRow::new(set()).latch(), set());
}
