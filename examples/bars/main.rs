//! Measures the collector against its performance bars, each beside a reference in the same run.
//!
//! usage: bars live|leases|idle|rest|files|ends|append|restart|size|growth|history|runs|responses [--program PROGRAM] [--tree TREE] [--only WAY] [--long]
//!
//! `growth` is history, runs and responses. TREE is one that `corpus` made; `append`, `restart` and `size` work on a copy of it. Prints what was measured, the
//! bar and the ratio; a bar that is not reached is no error. The scripts in `benches` run it.
#![expect(
    clippy::disallowed_methods,
    reason = "a benchmark waits, and reads what it wrote itself"
)]

mod collector;
mod ends;
mod growth;
mod leases;
mod live;
mod still;
mod tree;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Settings of a measurement.
struct Options {
    program: PathBuf,
    tree: Option<PathBuf>,
    long: bool,
    /// The one way of `ends` that is measured.
    only: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let mut options = Options {
        program: "target/release/tokentail".into(),
        tree: None,
        long: false,
        only: None,
    };
    let mut what = None;
    let mut words = std::env::args_os().skip(1);
    while let Some(word) = words.next() {
        match word.to_str() {
            Some("--program") => options.program = words.next().context("--program PROGRAM")?.into(),
            Some("--tree") => options.tree = Some(words.next().context("--tree TREE")?.into()),
            Some("--only") => options.only = words.next().and_then(|only| only.into_string().ok()),
            Some("--long") => options.long = true,
            Some(word) if what.is_none() => what = Some(word.to_owned()),
            _ => bail!("{} is not understood", word.display()),
        }
    }
    match what.as_deref() {
        Some("live") => live::live(&options),
        Some("leases") => leases::leases(&options),
        Some("idle") => still::idle(&options),
        Some("rest") => still::rest(&options),
        Some("files") => still::files(&options),
        Some("ends") => ends::ends(&options),
        Some("append") => tree::append(&options),
        Some("restart") => tree::restart(&options),
        Some("size") => tree::size(&options),
        Some("growth") => growth::growth(&options),
        Some("history") => growth::history(&options),
        Some("runs") => growth::runs(&options),
        Some("responses") => growth::responses(&options),
        _ => {
            bail!(
                "live, leases, idle, rest, files, ends, append, restart, size, growth, history, runs or responses"
            )
        }
    }
}

/// The program, and with BEFORE in the environment that one too.
fn programs(options: &Options) -> impl Iterator<Item = PathBuf> {
    let before = std::env::var_os("BEFORE").map(PathBuf::from);
    std::iter::once(options.program.clone()).chain(before)
}

/// The value of the sorted samples that this number of thousandths do not exceed.
fn quantile(sorted: &[Duration], per_mille: usize) -> f64 {
    milliseconds(sorted[(sorted.len() - 1) * per_mille / 1000])
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A count as it enters a ratio.
fn ratio_of(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A line of a response: 10 tokens of input, 7 of output.
fn line(id: &str) -> String {
    line_at(id, "2026-10-05T09:00:00.000Z", "claude-opus-5")
}

fn line_at(id: &str, time: &str, model: &str) -> String {
    format!(
        "{{\"type\":\"assistant\",\"uuid\":\"u-{id}\",\"requestId\":\"req_{id}\",\"sessionId\":\"s\",\"timestamp\":\"{time}\",\
         \"message\":{{\"id\":\"msg_{id}\",\"model\":\"{model}\",\"role\":\"assistant\",\
         \"usage\":{{\"input_tokens\":10,\"output_tokens\":7}}}}}}\n"
    )
}
