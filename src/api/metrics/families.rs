//! The metric families. Counted figures are read from the store, so that a restart counts nothing twice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::accounts;
use super::cost::{ClassSums, CostMeter};
use super::encode::{Family, seconds};
use super::leases;
use super::notifications;
use super::process;
use crate::api::health::{eval_context, health, snapshot_and_unseen};
use crate::api::leases::LeaseView;
use crate::api::runs;
use crate::api::server::EndpointKind;
use crate::api::state::ApiState;
use crate::coverage::{self, Coverage};
use crate::dedup::Totals;
use crate::model::DAY_MS;
use crate::quota::admission::Unseen;
use crate::stderr;
use crate::store::{ReadCounters, Snapshot, StoreError};
use crate::sync::lock;
use crate::verdict;

/// Models with series of their own: the first ones seen, so that no series changes its meaning. Names come
/// from transcripts, which may contain any number of them.
const MODELS_MAX: usize = 256;
/// Blocked for all models after those.
const OTHER: &str = "(other)";

const RUN_STATES: [&str; 6] = ["waiting", "live", "idle", "stopped", "gone", "failing"];
const WATCH_MODES: [&str; 2] = ["events", "polling"];

/// All families; without an answering store, those that need none.
pub fn collect(sources: &ApiState, costs: &mut CostMeter) -> Vec<Family> {
    let mut families = without_store(sources);
    let seen = snapshot_and_unseen(sources);
    match seen.and_then(|(snapshot, unseen)| stored(sources, &snapshot, unseen.as_ref(), costs)) {
        Ok(stored) => families.extend(stored),
        Err(error) => tracing::warn!(%error, "a scrape goes without what the store holds"),
    }
    families
}

/// The families that need no store.
pub fn without_store(sources: &ApiState) -> Vec<Family> {
    let mut families = collector(sources);
    families.extend(notifications::outcomes(sources));
    families.extend(machine(sources));
    families
}

/// Families of the collector process, counted since its start.
fn collector(sources: &ApiState) -> Vec<Family> {
    let health = health(sources);
    let mut watch_mode = Family::gauge(
        "tokentail_watch_mode",
        "Source of changes: 1 for the current mode.",
    );
    watch_mode.add_one_of(&[], "mode", &WATCH_MODES, &health.watching);
    let mut build = Family::info("tokentail_build", "The program that answers.");
    build.add(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    let [connections, refused, requests] = traffic(sources);
    vec![
        build,
        polls(sources),
        connections,
        refused,
        requests,
        Family::gauge(
            "tokentail_subscribers",
            "Streams and WebSockets that receive committed updates.",
        )
        .of(sources.subscribers.now() as u64),
        Family::gauge(
            "tokentail_start_time_seconds",
            "Start time of the collector, since 1970.",
        )
        .of(seconds(sources.since)),
        Family::gauge(
            "tokentail_ready",
            "1 once everything that was there at the start is watched.",
        )
        .of(health.ready),
        Family::gauge(
            "tokentail_healthy",
            "1 while everything that should be counted is counted, 0 while something cannot be read or committed.",
        )
        .of(health.status != "unhealthy"),
        Family::gauge(
            "tokentail_degraded",
            "1 while everything is counted but something needs attention, see /healthz.",
        )
        .of(health.status == "degraded"),
        Family::gauge(
            "tokentail_backlog_done",
            "1 once everything that was there at the start is read.",
        )
        .of(health.backlog_done),
        Family::gauge("tokentail_lag_bytes", "Bytes known to wait for being read.").of(health.lag_bytes),
        watch_mode,
        Family::gauge("tokentail_watched_directories", "Directories watched.").of(health.watches),
        Family::gauge(
            "tokentail_unwatched_directories",
            "Directories that should be watched and are not.",
        )
        .of(health.unwatched),
        Family::counter(
            "tokentail_watch_overflows",
            "Event queue overflows, each answered by a full scan, since the start.",
        )
        .of(health.overflows),
        Family::counter(
            "tokentail_watch_fallbacks",
            "Changes from events to scanning because of missing watches, since the start.",
        )
        .of(health.fallbacks),
        Family::counter(
            "tokentail_watch_replaced",
            "Watched directories replaced by a mount or a new directory, since the start.",
        )
        .of(health.replaced),
        Family::counter(
            "tokentail_windows_left_out",
            "Observations left out because their account has too many windows, since the start.",
        )
        .of(sources.store.windows_left_out()),
        Family::counter(
            "tokentail_run_problems",
            "Problems that began in a run or in the runs directory, since the start.",
        )
        .of(health.problems),
        Family::counter(
            "tokentail_tailer_restarts",
            "Restarts of failed tailers, since the start.",
        )
        .of(sources.statuses.restarts()),
        Family::counter("tokentail_commits", "Write transactions since the start.").of(health.commits),
        Family::counter(
            "tokentail_store_reopened",
            "Times that the database was opened again after an error, since the start.",
        )
        .of(health.reopened),
        Family::counter(
            "tokentail_log_lines_dropped",
            "Log lines dropped because standard error did not accept them, since the start.",
        )
        .of(stderr::dropped()),
    ]
}

/// Polls by account and outcome.
fn polls(sources: &ApiState) -> Family {
    let mut polls = Family::counter(
        "tokentail_poll_requests",
        "Polls of accounts' own numbers, by outcome, since the start.",
    );
    for ((account, outcome), count) in sources.polls.requests() {
        let labels = [
            ("provider", &*account.provider),
            ("account", &*account.name),
            ("outcome", outcome),
        ];
        polls.add(&labels, count);
    }
    polls
}

/// Connections and requests by listener.
fn traffic(sources: &ApiState) -> [Family; 3] {
    let mut connections = Family::gauge("tokentail_connections", "Open connections, by listener.");
    let mut refused = Family::counter(
        "tokentail_connections_refused",
        "Connections refused as all places were taken or no descriptor was free, by listener, since the start.",
    );
    let mut requests = Family::counter(
        "tokentail_http_requests",
        "Requests answered, by listener and class of the status, since the start.",
    );
    for endpoint in EndpointKind::ALL {
        let (listener, stats) = (("listener", endpoint.into_str()), sources.traffic.of(endpoint));
        connections.add(&[listener], stats.connections());
        refused.add(&[listener], stats.refused());
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"]
            .into_iter()
            .zip(stats.answers())
        {
            requests.add(&[listener, ("status", class)], count);
        }
    }
    [connections, refused, requests]
}

/// Process and database file figures from the kernel.
fn machine(sources: &ApiState) -> Vec<Family> {
    let mut families = Vec::new();
    // As of the last commit: the file's filesystem may hang, and a scrape must not hang with it.
    if let Some(bytes) = lock(&sources.committer).file_bytes {
        families.push(Family::gauge("tokentail_store_bytes", "Size of the database file.").of(bytes));
    }
    if let Some(bytes) = process::resident_bytes() {
        families.push(
            Family::gauge("process_resident_memory_bytes", "Resident memory of the process.").of(bytes),
        );
    }
    if let Some(count) = process::open_descriptors() {
        families
            .push(Family::gauge("process_open_fds", "Descriptors of the process that are open.").of(count));
    }
    families
}

/// Families read from the store.
fn stored(
    sources: &ApiState,
    snapshot: &Snapshot<'_>,
    unseen: Option<&Unseen>,
    costs: &mut CostMeter,
) -> Result<Vec<Family>, StoreError> {
    let settings = Arc::clone(&sources.settings.borrow());
    let terms = eval_context(&settings, unseen, sources.clock.now());
    let sums = snapshot.sums()?;
    let counters = snapshot.counters()?;
    let known = snapshot.accounts(terms.since())?;

    let mut tokens = Family::counter("tokentail_tokens", "Tokens counted, by kind.");
    let mut responses = Family::counter(
        "tokentail_responses",
        "Responses counted; advisor calls have a kind of their own.",
    );
    let own: BTreeSet<&str> = counters
        .models
        .iter()
        .take(MODELS_MAX)
        .map(AsRef::as_ref)
        .collect();
    let label = |model: &str| own.get(model).copied().unwrap_or(OTHER);
    for (key, sums) in &sums {
        let labels = [
            ("provider", &*key.account.provider),
            ("account", &*key.account.name),
            ("model", label(&key.model)),
        ];
        add_sums(&mut tokens, &mut responses, &labels, sums);
    }
    let gaps = missing(&snapshot.coverage()?, &sums);
    let today = u32::try_from(terms.now.div_euclid(DAY_MS)).unwrap_or(0);
    costs.advance(sums, terms.prices, today);
    let mut families = vec![tokens, responses, costs.family(label)];
    families.extend(read(&counters));

    let statuses = sources.statuses.runs();
    let mut states: BTreeMap<&str, u64> = RUN_STATES.into_iter().map(|state| (state, 0)).collect();
    for (run, info) in &snapshot.run_infos()? {
        *states.entry(runs::state(info, statuses.get(run))).or_default() += 1;
    }
    let mut runs = Family::gauge("tokentail_runs", "Runs, by state.");
    for (state, count) in states {
        runs.add(&[("state", state)], count);
    }
    families.push(runs);
    families.extend(gaps);
    families.extend(accounts::windows(&known, terms.now));
    families.extend(accounts::accounts(&verdict::judge(&known, &terms)));
    let view = LeaseView::new(snapshot, &known, &terms, &sources.statuses.live())?;
    families.extend(leases::families(&view, &known, &terms));
    families.push(notifications::waiting(sources, &snapshot.waiting_notices()?));
    Ok(families)
}

fn add_sums(tokens: &mut Family, responses: &mut Family, labels: &[(&'static str, &str)], sums: &Totals) {
    for (kind, count) in [
        ("input", sums.input),
        ("output", sums.output),
        ("cache_read", sums.cache_read),
        ("cache_creation", sums.cache_creation),
    ] {
        tokens.add(
            &[labels, &[("kind", kind)]].concat(),
            u64::try_from(count.max(0)).unwrap_or(u64::MAX),
        );
    }
    for (kind, count) in [("message", sums.messages), ("advisor", sums.advisor_calls)] {
        responses.add(
            &[labels, &[("kind", kind)]].concat(),
            u64::try_from(count).unwrap_or(0),
        );
    }
}

/// Families of known gaps.
fn missing(coverage: &Coverage, sums: &ClassSums) -> [Family; 4] {
    let count = |of: fn(&Totals) -> i64| {
        let sum = sums.values().map(of).fold(0, i64::saturating_add);
        u64::try_from(sum).unwrap_or(0)
    };
    let mut reported = Family::gauge(
        "tokentail_reported_tokens",
        "Tokens in the agents' own reports of their sessions; no sample before the first report.",
    );
    let mut unlogged = Family::gauge(
        "tokentail_unlogged_tokens",
        "Tokens in the agents' own reports that no log contains; no sample before the first report.",
    );
    // Without a report nothing is known of what no log contains.
    if coverage.sessions_reported > 0 {
        reported.add(&[], coverage::total(coverage.reported));
        unlogged.add(&[], coverage::total(coverage.unlogged));
    }
    [
        reported,
        unlogged,
        Family::gauge(
            "tokentail_unfinished_messages",
            "Counted messages without a final line.",
        )
        .of(count(|totals| totals.unfinished)),
        Family::gauge(
            "tokentail_responses_without_figures",
            "Responses without figures.",
        )
        .of(count(|totals| totals.without_figures)),
    ]
}

fn read(counters: &ReadCounters) -> [Family; 6] {
    let mut lines = Family::counter("tokentail_lines", "Lines read, by class.");
    for (class, count) in [
        ("usage", counters.lines.usage),
        ("ignored", counters.lines.ignored),
        ("malformed", counters.lines.malformed),
        ("oversized", counters.lines.oversized),
    ] {
        lines.add(&[("class", class)], count);
    }
    [
        lines,
        Family::counter(
            "tokentail_duplicate_lines",
            "Lines with usage that repeat a known response.",
        )
        .of(counters.lines.duplicate),
        Family::counter(
            "tokentail_clock_suspect_lines",
            "Lines with usage and without a usable time.",
        )
        .of(counters.lines.clock_suspect),
        Family::counter("tokentail_read_bytes", "Bytes read, including skipped lines.").of(counters.bytes),
        Family::gauge("tokentail_files", "Files ever seen.").of(counters.files),
        Family::gauge(
            "tokentail_last_commit_sequence",
            "The number of the last commit, over all starts.",
        )
        .of(counters.sequence),
    ]
}
