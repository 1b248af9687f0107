//! Costs of usage queries over HTTP, with a database of many responses and series.
//!
//! usage: questions [PROGRAM] [RESPONSES] [SERIES] [DAYS] [RUNS]
//!
//! Commits RESPONSES (default 5,000,000) of SERIES (default 5,000) of RUNS (default 250) over DAYS (default 90) into a
//! new database, prints its bytes for each response, starts PROGRAM (default `target/release/tokentail`) with it, and
//! prints how long the answers to questions take, each asked [`TIMES`] times over the control socket, and whole
//! processes of `report`: the median and the longest. A year of 1,000 runs a day is 3650000 730000 365 365000.

#![expect(
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "figures of a measurement, far below these bounds"
)]

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use fastrand::Rng;
use tokentail::clock::Clock;
use tokentail::model::{
    Batch, Cursor, Dating, Dialect, Kind, LineCounts, ParserState, Rank, Record, ResponseKey, RunId, Service,
    Tier, Usage,
};
use tokentail::store::{self, StoreOptions};

/// 2026-10-05T00:00:00Z, when the days begin.
const START_MS: i64 = 1_791_158_400_000;
const DAYS: u64 = 90;
const DAY_MS: i64 = 86_400_000;
/// Duration of a session.
const SESSION_MS: i64 = 8 * 3_600_000;
const RUNS: u64 = 250;
const PROJECTS: u64 = 40;
const MODELS: [&str; 4] = [
    "claude-opus-5",
    "claude-fable-5-1",
    "claude-sonnet-5",
    "claude-haiku-5",
];
/// Series of a session: its prompts are short at first and long at the end.
const SERIES_OF_SESSION: u64 = 2;
/// Minimum number of responses of one commit.
const GROUP_ROWS: usize = 65_536;
const CACHE_BYTES: usize = 32 << 20;
/// Number of times each query is made.
const TIMES: usize = 21;
/// Maximum wait for a start.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// The queries, between the beginning and the end of the days.
const QUESTIONS: [(&str, &str); 16] = [
    ("by day", "/v1/usage?{range}&zone={zone}&group_by=day"),
    ("by model", "/v1/usage?{range}&zone={zone}&group_by=model"),
    (
        "by week and model",
        "/v1/usage?{range}&zone={zone}&group_by=week,model",
    ),
    (
        "by day and model",
        "/v1/usage?{range}&zone={zone}&group_by=day,model",
    ),
    ("by project", "/v1/usage?{range}&zone={zone}&group_by=project"),
    ("by run", "/v1/usage?{range}&zone={zone}&group_by=run"),
    (
        "by price class and model",
        "/v1/usage?{range}&zone={zone}&group_by=price_class,model",
    ),
    ("by session", "/v1/usage?{range}&zone={zone}&group_by=session"),
    (
        "one day by hour",
        "/v1/usage?from=2026-11-09&to=2026-11-10&zone={zone}&group_by=hour",
    ),
    (
        "one day by session",
        "/v1/usage?from=2026-11-09&to=2026-11-10&zone={zone}&group_by=session",
    ),
    (
        "one run by day",
        "/v1/usage?{range}&zone={zone}&group_by=day&run=run-7",
    ),
    (
        "one run by session",
        "/v1/usage?{range}&zone={zone}&group_by=session&run=run-7",
    ),
    ("everything by model", "/v1/usage?group_by=model"),
    ("the summary", "/v1/summary"),
    ("the page of a run", "/v1/runs/run-7"),
    ("metrics", "/metrics"),
];

/// Whole processes.
const COMMANDS: [&str; 9] = [
    "report monthly -b",
    "report monthly -b -z Europe/Berlin",
    "report daily",
    "report daily -z Asia/Kathmandu",
    "report models",
    "report runs 2026-11-09",
    "report sessions 2026-11-09",
    "report projects 2026-11",
    "report blocks 2026-11",
];

/// Numbers of what a database has.
struct Size {
    responses: u64,
    series: u64,
    days: u64,
    runs: u64,
}

struct Collector(Child);

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1);
    let program = words
        .next()
        .map_or("target/release/tokentail".into(), PathBuf::from);
    let mut number = |what: &'static str, default: u64| match words.next() {
        Some(word) => word.parse().context(what),
        None => Ok(default),
    };
    let size = Size {
        responses: number("RESPONSES is a number", 5_000_000)?,
        series: number("SERIES is a number", 5_000)?,
        days: number("DAYS is a number", DAYS)?,
        runs: number("RUNS is a number", RUNS)?,
    };
    let directory = tempfile::tempdir()?;
    let db = directory.path().join("t.redb");
    let started = Instant::now();
    fill(&db, &size)?;
    let bytes = std::fs::metadata(&db)?.len();
    println!(
        "{} responses of {} series in {:.0} s: {} MiB, {:.1} bytes for each response",
        size.responses,
        size.series,
        started.elapsed().as_secs_f64(),
        bytes >> 20,
        bytes as f64 / size.responses as f64
    );
    // A database of its own, and then a collector.
    let of_file = [
        "--db".as_ref(),
        db.as_os_str(),
        "--socket".as_ref(),
        "no.sock".as_ref(),
    ];
    commands(&program, directory.path(), "the database", &of_file)?;
    ask(&program, directory.path(), &db, &size)
}

/// Commits sessions one after the other, as they began.
fn fill(db: &Path, size: &Size) -> anyhow::Result<()> {
    let options = StoreOptions {
        path: Some(db.to_owned()),
        cache_bytes: CACHE_BYTES,
        clock: Clock::SYSTEM,
    };
    let (_, mut writer) = store::open(options)?;
    let (sessions, responses) = (size.series / SERIES_OF_SESSION, size.responses);
    let mut rng = Rng::with_seed(7);
    let (mut group, mut rows) = (Vec::new(), 0);
    for session in 0..sessions {
        // The rest is distributed evenly.
        let count = responses / sessions + u64::from(session < responses % sessions);
        let batch = batch(&mut rng, session, size, count);
        rows += batch.records.len();
        group.push(batch);
        if rows >= GROUP_ROWS || session + 1 == sessions {
            writer.commit(&group)?;
            group.clear();
            rows = 0;
        }
    }
    writer.close();
    Ok(())
}

fn batch(rng: &mut Rng, session: u64, size: &Size, count: u64) -> Batch {
    let (sessions, days) = (size.series / SERIES_OF_SESSION, size.days as i64);
    let begin = START_MS + (days * DAY_MS - SESSION_MS) / sessions as i64 * session as i64;
    let model: Arc<str> = MODELS[rng.usize(..MODELS.len())].into();
    let record = |number: u64| {
        let is_long = number > count / SERIES_OF_SESSION;
        let prompt = if is_long { 110_000..190_000 } else { 20_000..90_000 };
        Record {
            key: ResponseKey(rng.u128(..)),
            kind: Kind::Message,
            rank: Rank::Main,
            model: Arc::clone(&model),
            usage: Usage {
                input: rng.u64(1..200),
                output: rng.u64(1..2_000),
                cache_read: rng.u64(prompt),
                cache_creation: rng.u64(..4_000),
                cache_creation_5m: rng.u64(..4_000),
                ..Usage::default()
            },
            service: Service {
                tier: Tier::Standard,
                ..Service::default()
            },
            provider: None,
            time: Some(begin + SESSION_MS * number as i64 / count as i64),
            dating: Dating::Line,
            session: std::num::NonZeroU64::new(session + 1),
            is_final: true,
            copies: 1,
        }
    };
    let records: Vec<Record> = (0..count).map(record).collect();
    let path = format!(
        "mount/projects/-home-user-project-{}/{session:032x}.jsonl",
        session % PROJECTS
    );
    Batch {
        run: RunId::new(&format!("run-{}", session % size.runs)).expect("a run id"),
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
        latest: Some(begin + SESSION_MS),
        read_at: START_MS + days * DAY_MS,
        written_at: None,
    }
}

fn ask(program: &Path, directory: &Path, db: &Path, size: &Size) -> anyhow::Result<()> {
    let socket = directory.join("t.sock");
    let runs = directory.join("runs");
    std::fs::create_dir_all(&runs)?;
    let collector = Command::new(program)
        .arg("serve")
        .arg("--runs-dir")
        .arg(&runs)
        .arg("--socket")
        .arg(&socket)
        .arg("--db")
        .arg(db)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let _collector = Collector(collector);
    let started = Instant::now();
    while get(&socket, "/readyz").is_err() {
        ensure!(started.elapsed() < WAIT_MAX, "no answer within {WAIT_MAX:?}");
        #[expect(
            clippy::disallowed_methods,
            reason = "the program says nothing when it is ready"
        )]
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "{:>28} {:>14} {:>10} {:>10} {:>10}",
        "question", "zone", "KiB", "median ms", "longest ms"
    );
    let after = jiff::Timestamp::from_millisecond(START_MS + size.days as i64 * DAY_MS)?;
    let range = format!(
        "from=2026-10-05&to={}",
        after.to_string().get(..10).unwrap_or_default()
    );
    for zone in ["UTC", "Asia/Kathmandu"] {
        for (name, path) in QUESTIONS {
            if zone != "UTC" && !path.contains("{zone}") {
                continue;
            }
            let path = path.replace("{range}", &range).replace("{zone}", zone);
            let (mut times, mut bytes) = (Vec::new(), 0);
            for _ in 0..TIMES {
                let asked = Instant::now();
                let Some(answer) = ask_for(&socket, &path)? else {
                    break;
                };
                bytes = answer;
                times.push(asked.elapsed());
            }
            if times.is_empty() {
                println!("{name:>28} {zone:>14} refused: too many rows");
                continue;
            }
            times.sort();
            let ms = |time: Duration| time.as_secs_f64() * 1e3;
            let (median, longest) = (ms(times[TIMES / 2]), ms(times[TIMES - 1]));
            println!(
                "{name:>28} {zone:>14} {:>10} {median:>10.2} {longest:>10.2}",
                bytes >> 10
            );
        }
    }
    commands(
        program,
        directory,
        "a collector",
        &["--socket".as_ref(), socket.as_os_str()],
    )
}

/// Times whole processes.
fn commands(program: &Path, directory: &Path, asked: &str, flags: &[&OsStr]) -> anyhow::Result<()> {
    println!(
        "{:>40} {:>14} {:>10} {:>10}",
        "process", "asks", "median ms", "longest ms"
    );
    for line in COMMANDS {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            let started = Instant::now();
            let output = Command::new(program)
                .args(line.split(' '))
                .args(flags)
                .current_dir(directory)
                .output()?;
            times.push(started.elapsed());
            let why = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.success() && !output.stdout.is_empty(),
                "{line}: {why}"
            );
        }
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let (median, longest) = (ms(times[TIMES / 2]), ms(times[TIMES - 1]));
        println!("{line:>40} {asked:>14} {median:>10.2} {longest:>10.2}");
    }
    Ok(())
}

/// The length of an answer in bytes; `None` if it would have too many rows.
fn ask_for(socket: &Path, path: &str) -> anyhow::Result<Option<usize>> {
    match get(socket, path) {
        Err(error) if error.to_string().contains("more than 100000 rows") => Ok(None),
        answer => answer.map(Some),
    }
}

/// The length of an answer in bytes.
fn get(socket: &Path, path: &str) -> anyhow::Result<usize> {
    let mut stream = UnixStream::connect(socket)?;
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let head = String::from_utf8_lossy(&answer[..answer.len().min(400)]).into_owned();
    let said = String::from_utf8_lossy(&answer[..answer.len().min(1_000)]);
    ensure!(head.starts_with("HTTP/1.1 200"), "{path}: {said}");
    Ok(answer.len())
}
