//! Costs of a prune: commits beside it, bytes before and after, a compaction; and the size of the tables.
//!
//! usage: retention prune [OLD] [NEW]
//!        retention year [`RUNS_A_DAY`] [RESPONSES]
//!
//! `prune` commits OLD (default 1,000,000) responses that are older than 90 days and NEW (default 200,000) younger ones
//! into a new database, measures commits of 5 rows every [`COMMIT_EVERY`] without and with a prune beside them, then a
//! walk for the free space and a compaction. `year` commits a year of `RUNS_A_DAY` (default 1,000) runs with RESPONSES
//! (default 10) each and prints the bytes of each table, before and after a prune of 90 days.

#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "figures of a measurement, far below these bounds"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fastrand::Rng;
use redb::{ReadableDatabase as _, ReadableTableMetadata as _, TableHandle as _};
use tokentail::clock::Clock;
use tokentail::committer::handle::CommitterHandle;
use tokentail::committer::retention::Retention;
use tokentail::committer::{self, Setup};
use tokentail::live::Live;
use tokentail::model::{
    Batch, Cursor, Dating, Dialect, Kind, LineCounts, ParserState, Rank, Record, ResponseKey, RunId, Service,
    Usage,
};
use tokentail::store::prune::{PruneGoal, prune_all_steps};
use tokentail::store::{self, Horizons, Reader, StoreOptions, Writer, horizon_day};

const DAY_MS: i64 = 86_400_000;
/// Minimum number of responses of one commit.
const GROUP_ROWS: u64 = 65_536;
/// Rows of a commit while an agent is active.
const SMALL_ROWS: u64 = 5;
const COMMIT_EVERY: Duration = Duration::from_millis(10);
/// Commits that are measured without a prune.
const COMMITS_ALONE: usize = 1500;
const CACHE_BYTES: usize = 32 << 20;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: u64| match words.get(at) {
        Some(word) => word.parse().context("a number is expected"),
        None => Ok(default),
    };
    match words.first().map(String::as_str) {
        Some("prune") => beside_commits(number(1, 1_000_000)?, number(2, 200_000)?),
        Some("year") => year(number(1, 1_000)?, number(2, 10)?),
        _ => anyhow::bail!("usage: retention prune [OLD] [NEW] | retention year [RUNS_A_DAY] [RESPONSES]"),
    }
}

fn open(db: &Path) -> anyhow::Result<(Reader, Writer)> {
    Ok(store::open(StoreOptions {
        path: Some(db.to_owned()),
        cache_bytes: CACHE_BYTES,
        clock: Clock::SYSTEM,
    })?)
}

fn goal() -> PruneGoal {
    let now = Clock::SYSTEM.now();
    let horizons = Horizons {
        details: horizon_day(now, 90 * DAY_MS),
        ..Horizons::default()
    };
    PruneGoal::new(horizons, now)
}

fn beside_commits(old: u64, new: u64) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let db = directory.path().join("t.redb");
    let (reader, mut writer) = open(&db)?;
    let mut rng = Rng::with_seed(7);
    let mut file = 0;
    for (count, days) in [(old, 100..300), (new, 0..80)] {
        let mut left = count;
        while left > 0 {
            let rows = left.min(GROUP_ROWS);
            writer.commit(&[batch(&mut rng, "run", file, rows, days.clone())])?;
            (left, file) = (left - rows, file + 1);
        }
    }
    writer.end_backlog()?;
    size(&db, "filled")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let (handle, mut thread) = committer::start(Setup {
            writer,
            clock: Clock::SYSTEM,
            live: Arc::new(Live::new()),
            rows_max: 65_536,
            alive: Box::new(|| ()),
        })?;
        let never = AtomicBool::new(false);
        let alone = commits(&handle, &mut rng, 1 << 20, &never, COMMITS_ALONE).await?;
        print_times("commits of 5 rows alone", alone);
        let done = Arc::new(AtomicBool::new(false));
        let retention = Retention::new(reader.clone(), handle.downgrade());
        let pruning = {
            let done = Arc::clone(&done);
            async move {
                let began = Instant::now();
                let pruned = retention.prune(goal()).await;
                done.store(true, Ordering::Release);
                pruned.map(|pruned| (pruned, began.elapsed(), retention))
            }
        };
        let beside = commits(&handle, &mut rng, 1 << 21, &done, usize::MAX);
        let (pruned, beside) = tokio::join!(pruning, beside);
        let (pruned, took, retention) = pruned?;
        print_times("commits of 5 rows beside the prune", beside?);
        println!(
            "{} responses pruned in {:.1} s, with the walk for the free space",
            pruned.responses,
            took.as_secs_f64()
        );
        let began = Instant::now();
        retention.look().await?;
        let (free, bytes) = retention.free_bytes().context("a database on disk")?;
        println!(
            "{} of {} MiB free; the walk takes {:.0} ms",
            free >> 20,
            bytes >> 20,
            began.elapsed().as_secs_f64() * 1e3
        );
        drop(handle);
        drop(retention);
        thread.ended().await?;
        anyhow::Ok(())
    })?;
    drop(reader);
    size(&db, "pruned")?;
    let (reader, mut writer) = open(&db)?;
    let began = Instant::now();
    writer.compact()?;
    println!("compacted in {:.1} s", began.elapsed().as_secs_f64());
    size(&db, "compacted")?;
    drop(reader);
    writer.close();
    Ok(())
}

/// Commits of a few rows at intervals; the time of each.
async fn commits(
    handle: &CommitterHandle,
    rng: &mut Rng,
    first_file: u64,
    done: &AtomicBool,
    most: usize,
) -> anyhow::Result<Vec<Duration>> {
    let mut times = Vec::new();
    let mut interval = tokio::time::interval(COMMIT_EVERY);
    while times.len() < most && !done.load(Ordering::Acquire) {
        interval.tick().await;
        let batch = batch(rng, "live", first_file + times.len() as u64, SMALL_ROWS, 0..1);
        let began = Instant::now();
        handle.commit(vec![batch]).await?;
        times.push(began.elapsed());
    }
    Ok(times)
}

fn print_times(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 1000).copied().unwrap_or_default();
    println!(
        "{what}: {} commits, p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, most {:.1} ms",
        times.len(),
        at(500).as_secs_f64() * 1e3,
        at(990).as_secs_f64() * 1e3,
        at(999).as_secs_f64() * 1e3,
        times.last().copied().unwrap_or_default().as_secs_f64() * 1e3
    );
}

fn size(db: &Path, what: &str) -> anyhow::Result<()> {
    println!(
        "{what}: {:.1} MiB",
        std::fs::metadata(db)?.len() as f64 / f64::from(1 << 20)
    );
    Ok(())
}

fn year(runs_a_day: u64, responses: u64) -> anyhow::Result<()> {
    let directory = tempfile::tempdir()?;
    let db = directory.path().join("t.redb");
    let (_, mut writer) = open(&db)?;
    let mut rng = Rng::with_seed(7);
    let began = Instant::now();
    for day in (0..365i64).rev() {
        let runs: Vec<Batch> = (0..runs_a_day)
            .map(|run| batch(&mut rng, &format!("run-{day}-{run}"), 0, responses, day..day + 1))
            .collect();
        writer.commit(&runs)?;
    }
    writer.end_backlog()?;
    writer.compact()?;
    writer.close();
    println!("{:.0} s to fill", began.elapsed().as_secs_f64());
    tables(&db)?;
    let (_, mut writer) = open(&db)?;
    let began = Instant::now();
    let pruned = prune_all_steps(&mut writer, goal())?;
    println!(
        "{} responses pruned in {:.1} s",
        pruned.responses,
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    writer.compact()?;
    println!("compacted in {:.1} s", began.elapsed().as_secs_f64());
    writer.close();
    tables(&db)
}

/// Prints the rows and the bytes of each table.
fn tables(db: &Path) -> anyhow::Result<()> {
    let database = redb::Database::open(db)?;
    let read = database.begin_read()?;
    let mut rows = Vec::new();
    for table in read.list_tables()? {
        let name = table.name().to_owned();
        let table = read.open_untyped_table(table)?;
        let stats = table.stats()?;
        let bytes = stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
        rows.push((bytes, table.len()?, name));
    }
    ensure!(!rows.is_empty(), "no tables");
    rows.sort_unstable();
    println!("{:>20} {:>12} {:>10} {:>10}", "table", "rows", "MiB", "bytes/row");
    for (bytes, count, name) in rows.iter().rev().filter(|(bytes, ..)| *bytes > 1 << 20) {
        println!(
            "{name:>20} {count:>12} {:>10.1} {:>10.1}",
            *bytes as f64 / f64::from(1 << 20),
            *bytes as f64 / (*count).max(1) as f64
        );
    }
    let all: u64 = rows.iter().map(|(bytes, ..)| bytes).sum();
    println!(
        "{:>20} {:>12} {:>10.1}",
        "all",
        "",
        all as f64 / f64::from(1 << 20)
    );
    drop(read);
    drop(database);
    size(db, "the file")
}

/// A file with responses of these days ago.
fn batch(rng: &mut Rng, run: &str, file: u64, count: u64, days: std::ops::Range<i64>) -> Batch {
    let now = Clock::SYSTEM.now();
    let model: Arc<str> = ["claude-opus-5", "claude-haiku-5"][rng.usize(..2)].into();
    let day = now / DAY_MS - rng.i64(days.clone());
    let begin = (day * DAY_MS + rng.i64(0..DAY_MS - 7_200_000)).min(now - 3_600_000);
    let records: Vec<Record> = (0..count)
        .map(|number| Record {
            key: ResponseKey(rng.u128(..)),
            kind: Kind::Message,
            rank: Rank::Main,
            model: Arc::clone(&model),
            usage: Usage {
                input: rng.u64(1..200),
                output: rng.u64(1..2_000),
                cache_read: rng.u64(20_000..90_000),
                cache_creation: rng.u64(..4_000),
                cache_creation_5m: rng.u64(..4_000),
                ..Usage::default()
            },
            service: Service::default(),
            provider: None,
            time: Some(if count > GROUP_ROWS / 2 {
                (now / DAY_MS - rng.i64(days.clone())) * DAY_MS
            } else {
                begin + 3_600_000 * number as i64 / count as i64
            }),
            dating: Dating::Line,
            session: None,
            is_final: true,
            copies: 1,
        })
        .collect();
    Batch {
        run: RunId::new(run).expect("a run id"),
        path: Path::new(&format!("mount/p/{file:032x}.jsonl")).into(),
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
        records,
        observations: Vec::new(),
        reports: Vec::new(),
        lines: LineCounts {
            read: count,
            usage: count,
            ..LineCounts::default()
        },
        bytes: 1,
        earliest: Some(begin),
        latest: Some(begin),
        read_at: now,
        written_at: None,
    }
}
