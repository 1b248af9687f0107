//! Metrics of the real program.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::{Collector, Place, append, response, text};
use crate::machine::skipped;
use crate::quota_live::{BACKLOG_READ, HOUR, now, refused, second, share_line};
use crate::scenario::Copy;

const OPENMETRICS: &str = "Accept: application/openmetrics-text; version=1.0.0, text/plain; q=0.5\r\n";
/// Models that have series of their own.
const MODELS_MAX: usize = 256;
/// Counters of counted data: they continue over a restart.
const COUNTED: [&str; 6] = [
    "tokentail_tokens_total",
    "tokentail_responses_total",
    "tokentail_lines_total",
    "tokentail_duplicate_lines_total",
    "tokentail_clock_suspect_lines_total",
    "tokentail_read_bytes_total",
];

type Samples = BTreeMap<String, f64>;

/// A whole number as a sample.
fn number(whole: i64) -> f64 {
    whole.to_string().parse().unwrap()
}

fn scrape(collector: &Collector) -> String {
    let (status, head, body) = collector.ask("GET", "/metrics");
    assert_eq!(status, 200, "{body}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    body
}

fn samples(scraped: &str) -> Samples {
    let lines = scraped.lines().filter(|line| !line.starts_with('#'));
    let mut samples = Samples::new();
    for line in lines {
        let (name, value) = line.rsplit_once(' ').unwrap();
        let known = samples.insert(name.to_owned(), value.parse().unwrap());
        assert!(known.is_none(), "twice in one scrape: {name}");
    }
    samples
}

fn counted(samples: &Samples) -> Samples {
    let counted = samples.iter().filter(|(name, _)| {
        let family = name.split('{').next().unwrap();
        COUNTED.contains(&family)
    });
    counted.map(|(name, value)| (name.clone(), *value)).collect()
}

fn sum_of(samples: &Samples, family: &str, label: &str) -> f64 {
    let of = samples
        .iter()
        .filter(|(name, _)| name.starts_with(&format!("{family}{{")) && name.contains(label));
    of.map(|(_, value)| value).sum()
}

fn resume(place: &Place) -> Collector {
    let mut collector = place.serve();
    collector.wait_for_log(BACKLOG_READ);
    collector
}

/// A line of a response of this model, with 10 tokens of input and 1 of output.
fn of_model(id: &str, model: &str) -> String {
    response(id, 1, 0).replace("\"claude-opus-5\"", &serde_json::json!(model).to_string())
}

#[test]
fn a_restart_counts_nothing_twice() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    append(
        &log,
        response("1", 1, 0)
            + &response("1", 3, 0)
            + &response("2", 4, 1)
            + "no json\n{\"type\":\"sentinel\"}\n",
    );
    let collector = resume(&place);
    let first = samples(&scrape(&collector));
    assert!(
        (sum_of(&first, "tokentail_tokens_total", "kind=\"output\"") - 7.0).abs() < 1e-9,
        "{first:?}"
    );
    assert!(
        (sum_of(&first, "tokentail_responses_total", "kind=\"message\"") - 2.0).abs() < 1e-9,
        "{first:?}"
    );
    for (name, value) in [
        ("tokentail_lines_total{class=\"usage\"}", 3.0),
        ("tokentail_lines_total{class=\"malformed\"}", 1.0),
        ("tokentail_lines_total{class=\"ignored\"}", 1.0),
        ("tokentail_lines_total{class=\"oversized\"}", 0.0),
        ("tokentail_duplicate_lines_total", 1.0),
        (
            "tokentail_read_bytes_total",
            number(std::fs::metadata(&log).unwrap().len().cast_signed()),
        ),
        ("tokentail_files", 1.0),
        ("tokentail_ready", 1.0),
        ("tokentail_healthy", 1.0),
        ("tokentail_degraded", 0.0),
        ("tokentail_backlog_done", 1.0),
        ("tokentail_lag_bytes", 0.0),
        ("tokentail_watch_mode{mode=\"events\"}", 1.0),
        ("tokentail_watch_mode{mode=\"polling\"}", 0.0),
        ("tokentail_runs{state=\"failing\"}", 0.0),
    ] {
        assert_eq!(first.get(name), Some(&value), "{name}: {first:?}");
    }
    collector.stop_cleanly();

    let collector = resume(&place);
    assert_eq!(counted(&samples(&scrape(&collector))), counted(&first));
    collector.kill();
    let mut collector = resume(&place);
    assert_eq!(counted(&samples(&scrape(&collector))), counted(&first));

    append(&log, response("3", 8, 2));
    collector.wait_for_messages(3);
    let last = samples(&scrape(&collector));
    assert!(
        (sum_of(&last, "tokentail_tokens_total", "kind=\"output\"") - 15.0).abs() < 1e-9,
        "{last:?}"
    );
    for (name, value) in &counted(&first) {
        assert!(last[name] >= *value, "{name} went down");
    }
    collector.stop_cleanly();
}

/// A copy of the response `1`.
fn copy(output: u64, model: &str, sidechain: bool) -> String {
    let copy = Copy {
        id: "1",
        output,
        time: "2026-10-05T09:00:00.000Z",
        model,
        sidechain,
    };
    copy.line()
}

#[test]
fn a_counter_stays_where_it_was_until_what_a_better_copy_took_away_is_made_up() {
    let place = Place::new();
    let log = place.log("one", "a.jsonl");
    let mut collector = resume(&place);
    let mut before = Samples::new();
    let (opus, haiku) = ("claude-opus-5", "claude-haiku-5");
    // The written line, the counts of the two models after it, and the values of their series.
    for (number, (line, counted_now, shown)) in [
        // Each line of the main transcript outranks a quotation, whatever its figures are.
        (copy(500, opus, true), [500, 0], [500, 0]),
        (copy(300, opus, false), [300, 0], [500, 0]),
        (response("2", 150, 1), [450, 0], [500, 0]),
        (response("3", 49, 2), [499, 0], [500, 0]),
        (response("4", 2, 3), [501, 0], [501, 0]),
        // Another model's copy: everything leaves one series, which does not vanish.
        (copy(310, haiku, false), [201, 310], [501, 310]),
        (response("5", 299, 4), [500, 310], [501, 310]),
        (response("6", 10, 5), [510, 310], [510, 310]),
    ]
    .into_iter()
    .enumerate()
    {
        append(&log, line);
        let summary = collector.wait_until("the line", |summary| {
            summary["lines"]["read"] == number as u64 + 1
        });
        let by_model = [opus, haiku].map(|model| {
            let output = &summary["by_model"][model]["output_tokens"];
            output.as_i64().unwrap_or(0)
        });
        assert_eq!(by_model, counted_now, "line {number}: {summary}");
        let now = samples(&scrape(&collector));
        for (model, shown) in [opus, haiku].into_iter().zip(shown) {
            let series: f64 = sum_of(
                &now,
                "tokentail_tokens_total",
                &format!("model=\"{model}\",kind=\"output\""),
            );
            assert!(
                (series - self::number(shown)).abs() < 1e-9,
                "line {number}, {model}: {now:?}"
            );
        }
        for (name, value) in &counted(&before) {
            assert!(now.get(name) >= Some(value), "line {number}: {name} went down");
        }
        // The other format has the same values.
        let (_, _, open) = collector.ask_with("GET", "/metrics", OPENMETRICS);
        assert_eq!(counted(&samples(&open)), counted(&now), "line {number}");
        before = now;
    }
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn what_is_not_known_of_a_window_has_no_sample() {
    let place = Place::new();
    let mut collector = resume(&place);
    let none = samples(&scrape(&collector));
    for unknown in [
        "tokentail_window_",
        "tokentail_reported_",
        "tokentail_unlogged_",
        "tokentail_may_start_retry_",
    ] {
        assert!(
            !none.keys().any(|name| name.starts_with(unknown)),
            "{unknown}: {none:?}"
        );
    }
    let (soon, over) = (second(now() + HOUR), second(now() - HOUR));
    append(
        &place.log("one", "a.jsonl"),
        share_line(now(), "five_hour", 0.9, soon)
            + &share_line(now(), "seven_day_sonnet", 0.5, soon)
            + &refused(now(), "seven_day", soon)
            + &share_line(over - 60_000, "seven_day_opus", 0.7, over),
    );
    collector.wait_until("the lines", |summary| summary["lines"]["read"] == 4);
    let samples = samples(&scrape(&collector));
    let of = |family: &str, window: &str| {
        let name =
            format!("tokentail_{family}{{provider=\"claude\",account=\"default\",window=\"{window}\"}}");
        samples.get(&name).copied()
    };
    for (window, share, exhausted, reset, runs_out) in [
        ("five_hour", Some(0.9), Some(0.0), soon, true),
        ("seven_day_sonnet", Some(0.5), Some(0.0), soon, false),
        ("seven_day", None, Some(1.0), soon, false),
        ("seven_day_opus", None, None, over, false),
    ] {
        assert_eq!(
            of("window_utilization_ratio", window),
            share,
            "{window}: {samples:?}"
        );
        assert_eq!(of("window_exhausted", window), exhausted, "{window}: {samples:?}");
        let projected = of("window_projected_exhaustion_timestamp_seconds", window);
        assert_eq!(projected.is_some(), runs_out, "{window}: {samples:?}");
        assert!(
            projected.is_none_or(|at| at < number(reset / 1000) && at > number(over / 1000)),
            "{window}: {samples:?}"
        );
        assert_eq!(
            of("window_reset_timestamp_seconds", window),
            Some(number(reset / 1000)),
            "{window}"
        );
        assert!(
            of("window_observed_timestamp_seconds", window).is_some(),
            "{window}"
        );
    }
    assert!(
        (sum_of(&samples, "tokentail_account_state", "state=\"exhausted\"") - 1.0).abs() < 1e-9,
        "{samples:?}"
    );
    assert!(
        (sum_of(&samples, "tokentail_account_state", "state=") - 1.0).abs() < 1e-9,
        "{samples:?}"
    );
    assert!(
        (sum_of(&samples, "tokentail_may_start", "decision=\"wait\"") - 1.0).abs() < 1e-9,
        "{samples:?}"
    );
    let answer = collector.get("/v1/may-start").1;
    let retry: jiff::Timestamp = answer["retry_at"].as_str().unwrap().parse().unwrap();
    assert_eq!(
        samples
            .get("tokentail_may_start_retry_timestamp_seconds")
            .copied(),
        Some(number(retry.as_millisecond() / 1000)),
        "{answer}"
    );
    collector.stop_cleanly();
}

#[test]
fn names_from_transcripts_are_bounded_and_stay_one_line() {
    let place = Place::new();
    let mut lines = String::new();
    for (number, model) in [
        "a\"b\\c",
        "line\nline",
        "bell\u{7}",
        "x} 1\nforged 2",
        "(other)",
        &"é".repeat(60),
    ]
    .into_iter()
    .enumerate()
    {
        lines.push_str(&of_model(&format!("h{number}"), model));
    }
    for number in 0..300 {
        lines.push_str(&of_model(&format!("m{number}"), &format!("model-{number:03}")));
    }
    append(&place.log("one", "a.jsonl"), &lines);
    let mut collector = resume(&place);
    let before = samples(&scrape(&collector));
    let models = |samples: &Samples| {
        let series = samples
            .keys()
            .filter(|name| name.starts_with("tokentail_responses_total{"));
        series.filter(|name| name.contains("kind=\"message\"")).count()
    };
    assert!(models(&before) <= MODELS_MAX + 1, "{}", models(&before));
    assert!((sum_of(&before, "tokentail_responses_total", "message") - 306.0).abs() < 1e-9);
    assert!((sum_of(&before, "tokentail_tokens_total", "input") - 3060.0).abs() < 1e-9);
    assert!(!before.keys().any(|name| name.starts_with("forged")));

    // However many tokens a new model has, it takes no series from another.
    append(
        &place.log("one", "a.jsonl"),
        of_model("late", "late").replace("\"output_tokens\":1", "\"output_tokens\":999"),
    );
    collector.wait_for_messages(307);
    let after = samples(&scrape(&collector));
    assert_eq!(
        before.keys().collect::<BTreeSet<_>>(),
        after.keys().collect::<BTreeSet<_>>()
    );
    for (name, value) in &counted(&before) {
        assert!(after[name] >= *value, "{name} went down");
    }
    promtool(&collector);
    collector.stop_cleanly();
}

/// `promtool check metrics` reports nothing.
fn promtool(collector: &Collector) {
    let Ok(mut child) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        return skipped("promtool is not there");
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(scrape(collector).as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let mut said = text(&output.stdout);
    let _ = write!(said, "{}", text(&output.stderr));
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
}

#[test]
fn openmetrics_comes_to_those_who_prefer_it() {
    let place = Place::new();
    append(
        &place.log("one", "a.jsonl"),
        response("1", 1, 0) + &share_line(now(), "five_hour", 0.5, second(now() + HOUR)),
    );
    let collector = resume(&place);
    let (status, head, body) = collector.ask_with("GET", "/metrics", OPENMETRICS);
    assert_eq!(status, 200);
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(head.contains(kind), "{head}");
    assert!(body.ends_with("# EOF\n"), "{body}");
    for line in [
        "# TYPE tokentail_tokens counter",
        "# UNIT tokentail_tokens tokens",
        "# TYPE tokentail_build info",
    ] {
        assert!(body.lines().any(|one| one == line), "{line}: {body}");
    }
    // The same samples, except for those that change between two scrapes.
    let names = |body: &str| samples(body).into_keys().collect::<BTreeSet<_>>();
    assert_eq!(names(&body), names(&scrape(&collector)));
    assert_eq!(counted(&samples(&body)), counted(&samples(&scrape(&collector))));
    collector.stop_cleanly();
}

/// Every metric is documented, and every documented metric exists.
#[test]
fn the_table_of_metrics_is_complete() {
    let place = Place::new();
    place.configure(
        "[[account]]\nname = \"default\"\ncalls_quota = 10\ndaily_tokens = 10\nconcurrency = 4\nthresholds = [50]\n\
         [account.poll]\nvia = \"cache-file\"\ncache = \"/no/such/file\"\n\
         [[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\nexec = [\"/bin/true\"]\n",
    );
    append(
        &place.log("one", "a.jsonl"),
        response("1", 1, 0)
            + &share_line(now(), "five_hour", 0.9, second(now() + HOUR))
            + &refused(now(), "seven_day", second(now() + HOUR))
            + include_str!("../../fixtures/cases/cost-state/input/session.jsonl"),
    );
    let mut collector = Collector::start(place.command_with_config(&["serve"]), place.socket());
    collector.wait_for_log(BACKLOG_READ);
    collector.wait_for_log("the account's own numbers are not there");
    collector.wait_for_log("a notification is sent");
    let scraped = scrape(&collector);
    let families: BTreeSet<&str> = scraped
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split(' ').next())
        .collect();
    let page = include_str!("../../docs/operate.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let written: BTreeSet<&str> = rows
        .filter_map(|row| row.split(['`', '{']).next())
        .filter(|name| name.starts_with("tokentail_") || name.starts_with("process_"))
        .collect();
    assert_eq!(
        written, families,
        "the table in docs/operate.md (left) and a scrape (right)"
    );
    let alerts = include_str!("../../docs/grafana/alerts.yml");
    let words = alerts.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    for word in words.filter(|word| word.starts_with("tokentail_")) {
        assert!(
            families.contains(word),
            "docs/grafana/alerts.yml uses {word}, which no scrape has"
        );
    }
    let names = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in names {
        assert!(
            page.contains(&format!("| `{name}` |")),
            "docs/operate.md does not say what to do about {name}"
        );
    }
    collector.stop_cleanly();
}
