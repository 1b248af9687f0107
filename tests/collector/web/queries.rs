//! Queries of this contract are never refused for their form, those below `/v1` are; and the order of runs.

use std::fs;

use serde_json::{Value, json};

use super::{Client, runtime};
use crate::harness::{Place, append, response};

/// Parameters added by clients, and remains of empty forms.
const QUERIES: [&str; 9] = [
    "",
    "?",
    "?_=1",
    "?_=1&_=2",
    "?state=&project_id=&q=",
    "?state=running&project_id=3&q=a%20b",
    "?days=&offset=&sort=-id",
    "?%ff=%ff&&=&+",
    "?a[]=1&b%5B%5D=2",
];

#[test]
fn what_clients_append_to_a_query_changes_nothing() {
    let place = Place::new();
    append(&place.log("7", "a.jsonl"), response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    for path in ["/api/usage", "/api/usage/daily", "/api/usage/runs/7", "/api/runs"] {
        let plain = collector.get(path);
        assert_eq!(plain.0, 200);
        for query in QUERIES {
            assert_eq!(collector.get(&format!("{path}{query}")), plain, "{path}{query}");
        }
    }
    assert!(collector.get("/api/runs").1.is_array());
    let page = |query: &str| collector.get(&format!("/api/runs?{query}"));
    let whole = page("limit=50");
    assert_eq!((whole.0, &whole.1["total"]), (200, &json!(1)));
    for query in [
        "limit=abc",
        "limit=",
        "limit=1.5",
        "limit=abc&offset=xyz&_=1",
        "limit=50&limit=0",
    ] {
        assert_eq!(page(query), whole, "{query}");
    }
    runtime().block_on(async {
        for query in QUERIES {
            let path = format!("/api/ws/usage{query}");
            let mut client = Client::unix(&collector, &path).await.unwrap();
            client.state(|_| true).await;
            for path in ["/api/ws/runs/7", "/api/runs/7/shell"] {
                Client::unix(&collector, &format!("{path}{query}")).await.unwrap();
            }
        }
    });
    collector.stop_cleanly();
}

#[test]
fn below_v1_a_parameter_that_a_route_does_not_have_is_refused() {
    let place = Place::new();
    append(&place.log("7", "a.jsonl"), response("1", 5, 1));
    let mut collector = place.serve();
    collector.wait_for_messages(1);
    for path in [
        "/v1/summary",
        "/v1/runs",
        "/v1/runs/7",
        "/v1/usage",
        "/v1/quota",
        "/v1/quota/history?window=five_hour",
        "/v1/may-start",
        "/v1/events",
    ] {
        let with = if path.contains('?') { "&" } else { "?" };
        for (query, field) in [
            ("_=1", "_"),
            ("q=", "q"),
            ("days=abc", "days"),
            ("project_id=", "project_id"),
        ] {
            let (status, problem) = collector.get(&format!("{path}{with}{query}"));
            assert_eq!(
                (status, &problem["field"]),
                (400, &json!(field)),
                "{path} {query}: {problem}"
            );
        }
    }
    for (path, field) in [
        ("/v1/usage?from=abc", "from"),
        ("/v1/runs?state=", "state"),
        ("/v1/may-start?account=default&account=other", "account"),
    ] {
        let (status, problem) = collector.get(path);
        assert_eq!(
            (status, &problem["field"]),
            (400, &json!(field)),
            "{path}: {problem}"
        );
    }
    collector.stop_cleanly();
}

fn ids(runs: &Value) -> Vec<String> {
    let runs = runs.as_array().unwrap().iter();
    runs.map(|run| run["id"].to_string()).collect()
}

#[test]
fn runs_that_were_there_before_the_collector_come_by_activity_then_by_number() {
    let place = Place::new();
    let silent = ["9", "10", "8", "100", "24", "fix-9", "fix-10", "099"];
    for run in silent {
        fs::create_dir_all(place.runs().join(run)).unwrap();
    }
    let alike = ["1", "2", "11", "3"];
    for run in alike {
        append(&place.log(run, "a.jsonl"), response(run, 5, 1));
    }
    append(&place.log("5", "a.jsonl"), response("5", 5, 2));
    let mut collector = place.serve();
    collector.wait_for_messages(5);
    let runs = collector.get("/api/runs").1;
    let silent = ["\"fix-10\"", "\"fix-9\"", "100", "\"099\"", "24", "10", "9", "8"];
    let expected: Vec<&str> = silent.iter().copied().chain(["5", "11", "3", "2", "1"]).collect();
    assert_eq!(ids(&runs), expected, "{runs}");
    // A page is a part of the same order.
    let mut paged = Vec::new();
    for offset in [0, 5, 10] {
        paged.extend(ids(&collector
            .get(&format!("/api/runs?limit=5&offset={offset}"))
            .1["items"]));
    }
    assert_eq!(paged, expected);
    // A later one is the newest, whatever its number.
    append(&place.log("4", "a.jsonl"), response("4", 5, 1));
    collector.wait_for_messages(6);
    assert_eq!(ids(&collector.get("/api/runs").1)[0], "4");
    collector.stop_cleanly();
}
