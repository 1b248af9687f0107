//! Rows per second into a fresh and into a full database, and the duration of a small durable commit.

use std::path::Path;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fastrand::Rng;
use tempfile::TempDir;
use tokentail::clock::Clock;
use tokentail::model::{
    Batch, Cursor, Dating, Dialect, Kind, LineCounts, ParserState, Rank, Record, ResponseKey, RunId, Service,
    Tier, Usage,
};
use tokentail::store::{self, Outcome, StoreOptions, Writer};

/// Rows of a large group, as in a backlog.
const GROUP_ROWS: usize = 65_536;
/// Rows of a batch in it.
const BATCH_ROWS: usize = 64;
/// Copies of each response, one after the other.
const COPIES: usize = 3;
/// Large groups in the full database.
const FULL_GROUPS: usize = 16;
/// Rows of a commit while an agent is active.
const SMALL_ROWS: usize = 5;
const CACHE_BYTES: usize = 32 << 20;

fn groups(c: &mut Criterion) {
    let mut group = c.benchmark_group("commit of 65,536 rows");
    group
        .throughput(Throughput::Elements(GROUP_ROWS as u64))
        .sample_size(10);
    group.bench_function("into a fresh database", |b| {
        let mut rng = Rng::with_seed(7);
        b.iter_batched(
            || (Database::new(), batches(&mut rng, GROUP_ROWS)),
            |(mut database, batches)| {
                database.commit(&batches);
                (database, batches)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("into a full database", |b| {
        let mut rng = Rng::with_seed(11);
        let mut database = Database::new();
        for _ in 0..FULL_GROUPS {
            database.commit(&batches(&mut rng, GROUP_ROWS));
        }
        b.iter_batched(
            || batches(&mut rng, GROUP_ROWS),
            |batches| {
                database.commit(&batches);
                batches
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn small(c: &mut Criterion) {
    let mut rng = Rng::with_seed(13);
    let mut database = Database::new();
    database.commit(&batches(&mut rng, GROUP_ROWS));
    c.bench_function("durable commit of 5 rows", |b| {
        b.iter_batched(
            || batches(&mut rng, SMALL_ROWS),
            |batches| database.commit(&batches),
            BatchSize::PerIteration,
        );
    });
}

/// A database on the disk of the temporary directory.
struct Database {
    writer: Writer,
    _directory: TempDir,
}

impl Database {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let options = StoreOptions {
            path: Some(directory.path().join("bench.redb")),
            cache_bytes: CACHE_BYTES,
            clock: Clock::SYSTEM,
        };
        let (_, writer) = store::open(options).expect("a new database");
        Self {
            writer,
            _directory: directory,
        }
    }

    fn commit(&mut self, batches: &[Batch]) {
        let committed = self.writer.commit(batches).expect("a commit");
        assert!(
            committed
                .outcomes
                .iter()
                .all(|outcome| *outcome == Outcome::Committed)
        );
    }
}

/// Batches of new files, their responses under new keys, with [`COPIES`] of each.
fn batches(rng: &mut Rng, rows: usize) -> Vec<Batch> {
    let mut left = rows;
    let mut batches = Vec::new();
    while left > 0 {
        let count = left.min(BATCH_ROWS);
        left -= count;
        batches.push(batch(rng, count));
    }
    batches
}

fn batch(rng: &mut Rng, rows: usize) -> Batch {
    let path = format!("mount/{:016x}.jsonl", rng.u64(..));
    let run = RunId::new(&format!("run-{:04}", rng.u8(..128))).expect("a run id");
    let mut key = ResponseKey(0);
    let records = (0..rows).map(|row| {
        if row % COPIES == 0 {
            key = ResponseKey(rng.u128(..));
        }
        Record {
            key,
            kind: Kind::Message,
            rank: Rank::Main,
            model: if rng.bool() {
                "claude-fable-5-1"
            } else {
                "claude-fable-5-1-fast"
            }
            .into(),
            usage: Usage {
                input: rng.u64(..4_000),
                output: 3 + row as u64,
                cache_read: rng.u64(..200_000),
                ..Usage::default()
            },
            service: Service {
                tier: Tier::Standard,
                ..Service::default()
            },
            provider: None,
            time: Some(1_791_190_800_000 + rng.i64(..7 * 86_400_000)),
            dating: Dating::Line,
            session: std::num::NonZeroU64::new(7),
            is_final: true,
            copies: 1,
        }
    });
    Batch {
        run,
        path: Path::new(&path).into(),
        is_project: false,
        renamed_from: None,
        expect: None,
        cursor: Cursor {
            offset: 1,
            ..Cursor::default()
        },
        state: ParserState::default(),
        dialect: Dialect::Claude,
        account: Arc::default(),
        provider_accounts: Vec::new(),
        records: records.collect(),
        observations: Vec::new(),
        reports: Vec::new(),
        lines: LineCounts {
            read: rows as u64,
            usage: rows as u64,
            ..LineCounts::default()
        },
        bytes: 1,
        earliest: None,
        latest: None,
        read_at: 1_791_190_800_000,
        written_at: None,
    }
}

criterion_group!(benches, groups, small);
criterion_main!(benches);
