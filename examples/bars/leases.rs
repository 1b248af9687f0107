//! Requests for leases, and may-start, beside runs that write.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::collector::{Collector, Place, append};
use super::{Options, line, milliseconds, quantile};

const RUNS: usize = 50;
const CLIENTS: usize = 16;
const REQUESTS: usize = 250;
/// Pause of each writing run between two lines.
const PAUSE: Duration = Duration::from_millis(20);

/// 16 clients that each acquire a lease and release it, and one that asks may-start, while 50 runs write.
pub fn leases(options: &Options) -> anyhow::Result<()> {
    let place = Place::new()?;
    let mut logs = Vec::new();
    for number in 0..RUNS {
        let log = place.log(&format!("r{number}"), "a.jsonl")?;
        append(&log, &line(&format!("first-{number}")))?;
        logs.push(log);
    }
    let (collector, _) = Collector::start(&options.program, &place)?;
    collector.catch_up()?;
    // An account of which nothing is known grants nothing.
    let known = r#"{"usage":{"five_hour":{"utilization":10,"resets_at":null}}}"#;
    collector.request("POST", "/v1/observations", known)?;
    let ends = AtomicBool::new(false);
    let (acquired, asked) = std::thread::scope(|scope| {
        for (number, log) in logs.iter().enumerate() {
            let ends = &ends;
            scope.spawn(move || {
                for count in 0u64.. {
                    if ends.load(Ordering::Relaxed)
                        || append(log, &line(&format!("{number}-{count}"))).is_err()
                    {
                        break;
                    }
                    std::thread::sleep(PAUSE);
                }
            });
        }
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn({
                    let collector = &collector;
                    move || acquire(collector, client)
                })
            })
            .collect();
        let asking = scope.spawn(|| ask(&collector, &ends));
        let acquired: anyhow::Result<Vec<_>> = clients
            .into_iter()
            .map(|client| client.join().unwrap_or_else(|_| anyhow::bail!("a client failed")))
            .collect();
        ends.store(true, Ordering::Relaxed);
        let asked = asking.join().unwrap_or_else(|_| anyhow::bail!("a client failed"));
        (acquired, asked)
    });
    println!(
        "{RUNS} runs that write a line each {} ms, {CLIENTS} clients",
        PAUSE.as_millis()
    );
    let print = |what: &str, mut samples: Vec<Duration>, bar: &str| {
        samples.sort_unstable();
        println!(
            "{what}: {} requests, p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms (bar p99 {bar})",
            samples.len(),
            quantile(&samples, 500),
            quantile(&samples, 990),
            milliseconds(samples[samples.len() - 1])
        );
    };
    print("acquire to answer, committed", acquired?.concat(), "20 ms");
    print("may-start", asked?, "5 ms");
    collector.stop()
}

fn acquire(collector: &Collector, client: usize) -> anyhow::Result<Vec<Duration>> {
    let mut samples = Vec::new();
    for number in 0..REQUESTS {
        let body = format!("{{\"key\":\"{client}-{number}\"}}");
        let began = Instant::now();
        let answer = collector.request("POST", "/v1/leases", &body)?;
        samples.push(began.elapsed());
        let id = answer
            .split("\"leases\":[{\"id\":\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let id = id.context("no lease")?;
        collector.request("DELETE", &format!("/v1/leases/{id}"), "")?;
    }
    Ok(samples)
}

fn ask(collector: &Collector, ends: &AtomicBool) -> anyhow::Result<Vec<Duration>> {
    let mut samples = Vec::new();
    while !ends.load(Ordering::Relaxed) {
        let began = Instant::now();
        collector.ask("/v1/may-start")?;
        samples.push(began.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(samples)
}
