//! Generates a tree of agent transcripts of any size, and `oracle.json`, the expected result of its replay.
//!
//! The same bytes, seed and runs give the same tree on every machine. All of it is invented. With
//! `--append-in-steps` the same files grow together, a slice at a time, cut anywhere: for tests that kill a
//! collector.

mod books;
mod calendar;
mod line;
mod output;
mod session;
mod text;
mod tree;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;

use crate::books::Books;
use crate::output::{Output, Steps};
use crate::session::World;
use crate::text::Text;

const USAGE: &str =
    "usage: corpus --bytes N[K|M|G] [--seed N] [--runs N] [--append-in-steps N [--step-ms N]] OUT";
const EXIT_USAGE: u8 = 64;
const EXIT_IO: u8 = 74;
const RUN_BYTES: usize = 8 << 20;
const RUNS_MAX: usize = 9_999;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let request = match Request::parse(&arguments) {
        Ok(request) => request,
        Err(problem) => {
            eprintln!("corpus: {problem}\n{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match make(&request) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("corpus: {error:#}");
            ExitCode::from(EXIT_IO)
        }
    }
}

fn make(request: &Request) -> Result<()> {
    let mut rng = Rng::with_seed(request.seed);
    let text = Text::new(&mut rng);
    let mut world = World {
        rng,
        text,
        books: Books::default(),
    };
    let mut output = Output::create(&request.out, request.steps())?;
    let runs = tree::run_names(request.runs());
    tree::grow(&mut world, &mut output, request.bytes, &runs)?;
    output.finish()?;
    let oracle = serde_json::to_string_pretty(&world.books.summary(&runs))?;
    let path = request.out.join("oracle.json");
    std::fs::write(&path, &oracle).with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(std::io::stdout(), "{oracle}").context("cannot print the summary")
}

struct Request {
    bytes: usize,
    seed: u64,
    runs: Option<usize>,
    step_count: Option<usize>,
    step_ms: u64,
    out: PathBuf,
}

impl Request {
    fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut bytes, mut out) = (None, None);
        let (mut seed, mut runs, mut step_count, mut step_ms) = (7, None, None, 0);
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if !argument.starts_with("--") {
                if out.replace(PathBuf::from(argument)).is_some() {
                    return Err(format!("a second OUT: {argument}"));
                }
                continue;
            }
            let value = rest.next().ok_or_else(|| format!("{argument} needs a value"))?;
            match argument.as_str() {
                "--bytes" => bytes = Some(size(value)?),
                "--seed" => seed = number(argument, value)?,
                "--runs" => runs = Some(count(argument, value)?),
                "--append-in-steps" => step_count = Some(count(argument, value)?),
                "--step-ms" => step_ms = number(argument, value)?,
                _ => return Err(format!("unknown flag {argument}")),
            }
        }
        if runs.is_some_and(|runs| runs > RUNS_MAX) {
            return Err(format!("--runs: at most {RUNS_MAX}"));
        }
        let bytes = bytes.ok_or("--bytes is missing")?;
        let out = out.ok_or("OUT is missing")?;
        Ok(Self {
            bytes,
            seed,
            runs,
            step_count,
            step_ms,
            out,
        })
    }

    fn runs(&self) -> usize {
        self.runs
            .unwrap_or_else(|| self.bytes.div_ceil(RUN_BYTES))
            .clamp(1, RUNS_MAX)
    }

    fn steps(&self) -> Option<Steps> {
        self.step_count.map(|count| Steps {
            count,
            pause: Duration::from_millis(self.step_ms),
            seed: self.seed,
        })
    }
}

fn size(value: &str) -> Result<usize, String> {
    let (digits, shift) = match value.char_indices().last() {
        Some((end, 'K')) => (&value[..end], 10),
        Some((end, 'M')) => (&value[..end], 20),
        Some((end, 'G')) => (&value[..end], 30),
        _ => (value, 0),
    };
    let bytes: usize = digits
        .parse()
        .map_err(|_| format!("--bytes: {value:?} is not a size such as 64M"))?;
    bytes
        .checked_mul(1 << shift)
        .ok_or_else(|| format!("--bytes: {value} is too large"))
}

fn number(flag: &str, value: &str) -> Result<u64, String> {
    value
        .parse()
        .map_err(|_| format!("{flag}: {value:?} is not a number"))
}

fn count(flag: &str, value: &str) -> Result<usize, String> {
    match value.parse() {
        Ok(0) | Err(_) => Err(format!("{flag}: {value:?} is not a count of one or more")),
        Ok(count) => Ok(count),
    }
}
