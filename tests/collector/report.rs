//! `tokentail report`: from a collector, a database and transcripts; periods, tables, documents, blocks.

use std::fs;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tokentail::clock::Clock;

use crate::harness::{Collector, PROGRAM, Place, append, text};

/// Milliseconds in a minute.
const MINUTE_MS: i64 = 60_000;

/// A line of a response with 10 input tokens and so many output tokens.
fn line(id: &str, output: u64, at: &str, model: &str) -> String {
    let line = json!({"type": "assistant", "uuid": format!("u-{id}"), "requestId": format!("req_{id}"),
        "sessionId": "s", "timestamp": at, "message": {"id": format!("msg_{id}"), "model": model, "role": "assistant",
            "usage": {"input_tokens": 10, "output_tokens": output, "service_tier": "standard"}}});
    format!("{line}\n")
}

const BIG: &str = "claude-opus-5";
const SMALL: &str = "claude-haiku-4-5-20251001";
const UNKNOWN: &str = "no-such-model";

/// Two runs over three days, with three models of which one has no price.
fn story() -> (Place, Collector) {
    let place = Place::new();
    append(
        &place.log("a", "projects/-srv-x/s1.jsonl"),
        line("1", 1_000, "2026-10-05T09:10:00.000Z", BIG)
            + &line("2", 200, "2026-10-05T10:00:00.000Z", SMALL)
            + &line("3", 1_500_000, "2026-10-05T23:59:59.500Z", BIG),
    );
    append(
        &place.log("b", "projects/-srv-y/s2.jsonl"),
        line("4", 40, "2026-10-06T00:00:00.000Z", BIG) + &line("5", 7, "2026-11-01T12:00:00.000Z", UNKNOWN),
    );
    let mut collector = place.serve();
    collector.wait_for_messages(5);
    (place, collector)
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn report(place: &Place, words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    printed(&place.run(&[&["report"], &words[..]].concat()))
}

fn refusal(place: &Place, words: &str) -> String {
    let words: Vec<&str> = words.split_whitespace().collect();
    let output = place.run(&[&["report"], &words[..]].concat());
    assert_eq!(
        output.status.code(),
        Some(64),
        "{words:?}: {}",
        text(&output.stderr)
    );
    text(&output.stderr)
}

#[test]
fn a_collector_a_database_and_the_transcripts_give_one_report() {
    let (place, collector) = story();
    let asked = report(&place, "daily --json");
    let document: Value = serde_json::from_str(&asked).unwrap();
    assert_eq!(document["rows"].as_array().unwrap().len(), 3, "{document}");
    assert_eq!(document["rows"][0]["key"], "2026-10-05");
    assert_eq!(document["rows"][0]["output_tokens"], 1_501_200);
    assert_eq!(document["rows"][0]["by_model"][SMALL]["output_tokens"], 200);
    assert_eq!(document["totals"]["total_tokens"], 1_501_297);
    assert_eq!(
        document["totals"]["unpriced"],
        json!({"models": [UNKNOWN], "tokens": 17})
    );
    assert_eq!(document["rows"][2]["estimated_cost_usd"], Value::Null);
    let blocks = report(&place, "blocks --csv");
    collector.stop_cleanly();

    let output = place.run(&["report", "daily", "--json"]);
    assert_eq!(printed(&output), asked);
    assert!(text(&output.stderr).contains("no collector is running; these are the contents of"));
    assert_eq!(report(&place, "blocks --csv"), blocks);

    let runs = place.runs();
    let logs = ["report", "daily", "--json", "--logs", runs.to_str().unwrap()];
    assert_eq!(printed(&place.run(&logs)), asked);
}

#[test]
fn a_pipe_gets_every_column_and_every_digit() {
    let (place, collector) = story();
    assert_eq!(
        report(&place, "daily"),
        "\
Usage by day, all time, UTC
Date        Models             Input     Output  Cache Create  Cache Read  Total Tokens  Cost (USD)
2026-10-05  haiku-4-5, opus-5     30  1,501,200             0           0     1,501,230      $37.53
2026-10-06  opus-5                10         40             0           0            50      <$0.01
2026-11-01  no-such-model         10          7             0           0            17           -
Total                             50  1,501,247             0           0     1,501,297   $37.53 +?
cost: an estimate at list price (genai-prices 0.2.1), no bill; +?: no price of no-such-model (17 tokens)
"
    );
    assert_eq!(
        report(&place, "monthly -b -o desc --no-cost --compact"),
        "\
Usage by month, all time, UTC
Month             Input     Output  Total Tokens
2026-11              10          7            17
└─ no-such-model     10          7            17
2026-10              40  1,501,240     1,501,280
└─ opus-5            30  1,501,040     1,501,070
└─ haiku-4-5         10        200           210
Total                50  1,501,247     1,501,297
"
    );
    let models = report(&place, "models --limit 1 --no-cost");
    assert!(
        models.contains("\nopus-5 ") && models.contains("\n… and 2 more\n"),
        "{models}"
    );
    assert!(models.contains("\nTotal      50  1,501,247"), "{models}");
    collector.stop_cleanly();
}

#[test]
fn periods_and_filters_choose_what_is_summed() {
    let (place, collector) = story();
    for (words, output) in [
        ("daily 2026-10-05", 1_501_200),
        ("daily 20261005-20261006", 1_501_240),
        ("2026-10", 1_501_240),
        ("daily -s 2026-10-06", 47),
        ("daily -s 20261006 -u 20261006", 40),
        // In Berlin the day began two hours earlier.
        ("daily 2026-10-06 -z Europe/Berlin", 1_500_040),
        ("daily --model claude-*", 1_501_240),
        ("daily --model claude-haiku-4-5-20251001", 200),
        ("daily --run b", 47),
        ("daily -p -srv-x", 1_501_200),
        ("daily --account claude/default", 1_501_247),
        ("sessions --id s2", 47),
        ("daily -O", 1_501_247),
    ] {
        let document: Value = serde_json::from_str(&report(&place, &format!("{words} --json"))).unwrap();
        assert_eq!(document["totals"]["output_tokens"], output, "{words}");
    }
    let rows = |query: &str| {
        let (status, usage) = collector.get(&format!("/v1/usage?{query}"));
        assert_eq!(status, 200, "{usage}");
        let rows = usage["rows"].as_array().unwrap().iter();
        rows.map(|row| {
            (
                row["key"].as_str().unwrap().to_owned(),
                row["output_tokens"].as_u64().unwrap(),
            )
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(rows("group_by=quarter"), [("2026-Q4".to_owned(), 1_501_247)]);
    assert_eq!(rows("group_by=year&period=2026-11"), [("2026".to_owned(), 7)]);
    assert_eq!(
        rows("group_by=week&period=2026-10"),
        [("2026-W41".to_owned(), 1_501_240)]
    );
    assert_eq!(
        rows("group_by=week&week_start=sunday"),
        [("2026-10-04".to_owned(), 1_501_240), ("2026-11-01".to_owned(), 7)]
    );
    collector.stop_cleanly();
}

#[test]
fn words_that_mean_nothing_are_refused_with_what_was_meant() {
    let place = Place::new();
    for (words, said) in [
        (
            "wekly",
            "\"wekly\" is no report and no period; did you mean `weekly`?",
        ),
        ("usage", "\"usage\" is no report and no period"),
        ("daily yesterdy", "\"yesterdy\" is none of all-time, today,"),
        (
            "daily 20250231",
            "\"20250231\": there is no day 20250231; a period is one of",
        ),
        (
            "daily 20250215-20250201",
            "\"20250215-20250201\" ends before it begins",
        ),
        ("daily 30s", "\"30s\" is none of"),
        ("today weekly", "`tokentail report weekly today`"),
        ("daily today -s 20260101", "give one of the two"),
        (
            "-s 20260102 -u 20260101",
            "--until 2026-01-01 is before --since 2026-01-02",
        ),
        ("-z Europe/Berln", "did you mean `Europe/Berlin`?"),
        ("daily --active", "--active is for `tokentail report blocks`"),
        ("blocks --model x", "--model is not for blocks"),
    ] {
        let refusal = refusal(&place, words);
        assert!(refusal.contains(said), "{words}: {refusal}");
    }
    let (_place, collector) = story();
    let (status, problem) = collector.get("/v1/usage?period=20250231");
    assert_eq!((status, &problem["field"]), (400, &json!("period")));
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("\"20250231\"") && detail.contains("last-quarter"),
        "{detail}"
    );
    collector.stop_cleanly();
}

/// The program as a user starts it who has no configuration.
fn alone(home: &Place, words: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(words).env_clear().env("HOME", home.directory.path());
    command.current_dir(home.directory.path()).output().unwrap()
}

#[test]
fn without_a_collector_and_a_database_the_users_transcripts_are_counted() {
    let home = Place::new();
    let output = alone(&home, &["report"]);
    assert_eq!(output.status.code(), Some(69));
    let said = text(&output.stderr);
    assert!(
        said.contains("`tokentail report --logs DIRECTORY` counts transcripts now"),
        "{said}"
    );

    let project = home.path(".claude/projects/-srv-x");
    fs::create_dir_all(&project).unwrap();
    append(
        &project.join("s1.jsonl"),
        line("1", 5, "2026-10-05T09:10:00.000Z", BIG),
    );
    let output = alone(&home, &["report", "projects", "--csv", "--no-cost"]);
    assert!(
        text(&output.stderr).contains("counting"),
        "{}",
        text(&output.stderr)
    );
    // A spreadsheet must not take the name for a formula.
    let csv = printed(&output);
    let mut lines = csv.split("\r\n");
    assert_eq!(
        lines.next(),
        Some(
            "project,messages,advisor_calls,input_tokens,output_tokens,cache_creation_input_tokens,\
             cache_read_input_tokens,cache_creation_5m,cache_creation_1h,web_search_requests,thinking_tokens,\
             total_tokens,fallbacks,failed_attempts,estimated_tokens"
        )
    );
    assert_eq!(lines.next(), Some("'-srv-x,1,0,10,5,0,0,0,0,0,0,15,0,0,0"));
    assert_eq!((lines.next(), lines.next()), (Some(""), None));
    // What was named is not replaced by something else.
    let output = alone(&home, &["report", "--socket", "t.sock"]);
    assert_eq!(output.status.code(), Some(69));
    assert!(
        text(&output.stderr).contains("report --logs "),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn ccusage_scripts_find_their_members() {
    let (place, collector) = story();
    let document = |words: &str| -> Value {
        serde_json::from_str(&report(&place, &format!("{words} --format ccusage"))).unwrap()
    };
    let daily = document("daily 2026-10-05");
    assert_eq!(
        daily,
        json!({
            "daily": [{
                "date": "2026-10-05",
                "inputTokens": 30, "outputTokens": 1_501_200, "cacheCreationTokens": 0, "cacheReadTokens": 0,
                "totalTokens": 1_501_230, "totalCost": 37.52611,
                "modelsUsed": [BIG, SMALL],
                "modelBreakdowns": [
                    {"modelName": BIG, "inputTokens": 20, "outputTokens": 1_501_000,
                     "cacheCreationTokens": 0, "cacheReadTokens": 0, "cost": 37.5251},
                    {"modelName": SMALL, "inputTokens": 10, "outputTokens": 200,
                     "cacheCreationTokens": 0, "cacheReadTokens": 0, "cost": 0.00101},
                ],
            }],
            "totals": {
                "inputTokens": 30, "outputTokens": 1_501_200, "cacheCreationTokens": 0, "cacheReadTokens": 0,
                "totalTokens": 1_501_230, "totalCost": 37.52611,
            },
        })
    );
    // Its weeks begin on Sunday, and it has 0 for an unknown cost, with a mark.
    let weekly = document("weekly");
    assert_eq!(weekly["weekly"][0]["week"], "2026-10-04");
    let unpriced = &weekly["weekly"][1]["modelBreakdowns"][0];
    assert_eq!(
        (&unpriced["cost"], &unpriced["missingPricing"]),
        (&json!(0.0), &json!(true))
    );
    assert_eq!(weekly["totals"]["unpricedModels"], json!([UNKNOWN]));
    assert_eq!(document("monthly")["monthly"][0]["month"], "2026-10");
    let sessions = document("session");
    assert_eq!(sessions["sessions"][0]["sessionId"], "s1");
    assert_eq!(sessions["sessions"][0]["projectPath"], "-srv-x");
    assert_eq!(
        sessions["sessions"][0]["lastActivity"],
        "2026-10-05T23:00:00.000Z"
    );
    let projects = document("daily -i");
    assert_eq!(projects["projects"]["-srv-y"][0]["date"], "2026-10-06");
    let blocks = document("blocks 2026-10-05..2026-10-06");
    let shown: Vec<_> = (blocks["blocks"].as_array().unwrap().iter())
        .map(|block| {
            (
                block["id"].as_str().unwrap(),
                block["actualEndTime"].as_str(),
                &block["entries"],
            )
        })
        .collect();
    let (two, none) = (json!(2), json!(0));
    assert_eq!(
        shown,
        [
            ("2026-10-05T09:00:00.000Z", Some("2026-10-05T10:00:00.000Z"), &two),
            ("gap-2026-10-05T15:00:00.000Z", None, &none),
            ("2026-10-05T23:00:00.000Z", Some("2026-10-06T00:00:00.000Z"), &two),
        ]
    );
    assert!(
        refusal(&place, "models --format ccusage").contains("daily, weekly, monthly, sessions and blocks")
    );
    collector.stop_cleanly();
}

/// A time of today in RFC 3339.
fn shown(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

#[test]
fn a_block_is_the_window_that_was_observed_and_an_active_one_has_a_rate() {
    let place = Place::new();
    let mut collector = place.serve_open();
    let now = Clock::SYSTEM.now();
    let (first, last) = (now - 40 * MINUTE_MS, now - 10 * MINUTE_MS);
    append(
        &place.log("a", "a.jsonl"),
        line("1", 290, &shown(first), BIG) + &line("2", 590, &shown(last), BIG),
    );
    collector.wait_for_messages(2);
    let blocks: Value = serde_json::from_str(&report(&place, "blocks --active --json")).unwrap();
    let block = &blocks["blocks"][0];
    assert_eq!(
        (&block["source"], &block["is_active"]),
        (&json!("derived"), &json!(true))
    );
    assert_eq!(
        (&block["total_tokens"], &block["utilization"]),
        (&json!(900), &Value::Null)
    );
    assert_eq!(block["burn_rate"]["tokens_per_minute"], 30.0);
    let minutes = block["projection"]["remaining_minutes"].as_u64().unwrap();
    assert_eq!(block["projection"]["total_tokens"], 900 + 30 * minutes);

    // A window that ends in two hours began three hours ago.
    let reset = (now / (15 * MINUTE_MS) + 8) * 15 * MINUTE_MS;
    let seen = json!({"status": 200, "headers": {
        "anthropic-ratelimit-unified-5h-utilization": "0.42",
        "anthropic-ratelimit-unified-5h-reset": (reset / 1000).to_string(),
        "anthropic-ratelimit-unified-5h-status": "allowed",
    }});
    let (status, answer) = collector.request("POST", "/v1/observations", &seen.to_string());
    assert_eq!(status, 200, "{answer}");
    let blocks: Value = serde_json::from_str(&report(&place, "blocks --recent --json")).unwrap();
    let block = &blocks["blocks"][0];
    assert_eq!(
        (&block["source"], &block["utilization"]),
        (&json!("headers"), &json!(0.42))
    );
    assert_eq!(
        block["ends_at"]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
            .as_millisecond(),
        reset
    );
    assert_eq!(block["total_tokens"], 900);
    let table = report(&place, "blocks -t 1800");
    assert!(
        table.contains("ACTIVE, ") && table.contains("42 % by headers"),
        "{table}"
    );
    assert!(
        table.contains("REMAINING") && table.contains("PROJECTED"),
        "{table}"
    );
    assert!(table.contains("100 % is the limit, 1,800 tokens."), "{table}");
    collector.stop_cleanly();
}

#[test]
fn routes_are_those_of_posted_records() {
    let (place, collector) = story();
    let record = |id: &str, route: &str, model: &str, tokens: u64, fallbacks: u64| {
        json!({"id": id, "source": "inst1", "time": "2026-10-05T10:00:00Z", "provider": "openai", "model": model,
            "profile": "default", "route": route, "instance": "inst1", "fallbacks": fallbacks,
            "usage": {"input_tokens": tokens, "output_tokens": 0}})
    };
    let failed = json!({"id": "4", "source": "inst1", "time": "2026-10-05T10:00:00Z", "provider": "openai",
        "model": "gpt-4o", "profile": "default", "route": "/think", "instance": "inst1", "outcome": "failed"});
    let records = json!([
        record("1", "/think", "gpt-4o", 25_000_000, 2),
        record("2", "/think", "gpt-5", 15_000_000, 1),
        record("3", "/ultrathink", "gpt-5", 5_600_000, 0),
        failed,
    ]);
    let (status, answer) = collector.request("POST", "/v1/records", &records.to_string());
    assert_eq!((status, &answer["counted"]), (200, &json!(4)), "{answer}");
    assert_eq!(
        report(&place, "routes --instance inst1 --no-cost"),
        "\
Usage, all time, instance inst1
  Requests: 3  |  Tokens: 45.6M  |  Fallbacks: 3
  route                requests      tokens  fallbacks  failed
  default./think              2  40,000,000          3       1
  default./ultrathink         1   5,600,000          0       0
  model          requests      tokens
  openai.gpt-4o         1  25,000,000
  openai.gpt-5          2  20,600,000
"
    );
    let document: Value = serde_json::from_str(&report(&place, "routes --json")).unwrap();
    let (row, totals) = (&document["rows"][0], &document["totals"]);
    assert_eq!(row["keys"], json!({"profile": "default", "route": "/think"}));
    assert_eq!(
        (&row["fallbacks"], &row["failed_attempts"]),
        (&json!(3), &json!(1))
    );
    assert_eq!(
        (&totals["messages"], &totals["total_tokens"]),
        (&json!(3), &json!(45_600_000))
    );
    // They are in the sums over all runs too, and the sums agree with what they are made of.
    let document: Value = serde_json::from_str(&report(&place, "models --json")).unwrap();
    assert_eq!(document["totals"]["total_tokens"], 45_600_000 + 1_501_297);
    collector.stop_cleanly();
    place.assert_verified();
}

#[test]
fn a_name_that_does_not_exist_is_said_in_every_report() {
    let (place, collector) = story();
    let refused = |words: &[&str]| {
        let output = place.run(&[&["report"], words].concat());
        assert_eq!(
            output.status.code(),
            Some(66),
            "{words:?}: {}",
            text(&output.stdout)
        );
        assert_eq!(text(&output.stdout), "", "{words:?}");
        text(&output.stderr)
    };
    for (words, said) in [
        (
            &["--run", "nope"][..],
            "--run nope: there is no such run; known: a, b",
        ),
        (&["models", "--run", "nope", "--json"], "there is no such run"),
        (
            &["runs", "--account", "claude/defualt"],
            "there is no such account; did you mean `claude/default`?",
        ),
        (
            &["blocks", "--account", "claude/defualt"],
            "there is no such account; did you mean `claude/default`?",
        ),
        (
            &["weekly", "--model", "claude-opus-55"],
            "there is no such model; did you mean `claude-opus-5`?",
        ),
        (
            &["--model", "gpt-*", "--csv"],
            "--model gpt-*: there is no such model",
        ),
        (
            &["sessions", "--project", "-srv-z"],
            "there is no such project; did you mean `-srv-",
        ),
        (&["--id", "s3"], "there is no such session; known: s1, s2"),
        (&["routes", "--instance", "one"], "there is no such instance"),
    ] {
        let stderr = refused(words);
        assert!(stderr.contains(said), "{words:?}: {stderr}");
    }
    // What exists and was not used then has no usage; so has a run that was only started.
    assert_eq!(collector.request("PUT", "/v1/runs/started", "").0, 201);
    for words in [
        "2020-01 --run a",
        "--run started",
        "2020-01 --model claude-*",
        "--run a --model no-such-model",
    ] {
        let shown = report(&place, words);
        assert!(shown.contains("no usage"), "{words}: {shown}");
    }
    collector.stop_cleanly();
    assert!(refused(&["--run", "nope"]).contains("there is no such run; known: a, b"));
    assert!(report(&place, "--run started").contains("no usage"));
}

#[test]
fn a_project_has_its_name_whatever_it_begins_with() {
    let place = Place::new();
    let projects = place.path("projects");
    for (project, id) in [("alpha", "1"), ("-srv-x", "2")] {
        fs::create_dir_all(projects.join(project)).unwrap();
        let log = projects.join(project).join(format!("s{id}.jsonl"));
        append(&log, line(id, 10, "2026-10-05T09:10:00.000Z", BIG));
    }
    let names = |words: &[&str]| -> Vec<String> {
        let output = place.run(&[&["report", "projects", "--csv", "--no-cost"], words].concat());
        let csv = printed(&output);
        let mut names: Vec<String> = (csv.lines().skip(1))
            .map(|row| row.split(',').next().unwrap().trim_start_matches('\'').to_owned())
            .collect();
        names.sort();
        names
    };
    let both = ["-srv-x", "alpha"];
    assert_eq!(names(&["--logs", projects.to_str().unwrap()]), both);
    // A collector of such a directory has them too, and a recount finds the same.
    let mut serve = place.command(&["serve"]);
    serve.args(["--runs-dir".as_ref(), projects.as_os_str()]);
    serve.env("TOKENTAIL__RUNS__LAYOUT", "projects");
    let mut collector = place.start(serve);
    collector.wait_for_messages(2);
    assert_eq!(names(&[]), both);
    collector.stop_cleanly();
}
