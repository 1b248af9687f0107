//! The contract: docs/openapi.json against the program's answers.
//!
//! Every route of the document is requested; a route with parameters or a body has an entry in [`ASKED`].

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::harness::{Collector, Place, append, response, text};
use crate::quota_live::{BACKLOG_READ, HOUR, now, refused, second, share_line};

/// The document as it is kept beside the code.
const DOCUMENT: &str = include_str!("../../docs/openapi.json");
const JSON: &str = "Content-Type: application/json\r\n";

/// A request with parameters or a body, and the expected status.
struct Asked {
    method: &'static str,
    /// As in the document.
    route: &'static str,
    path: &'static str,
    body: &'static str,
    status: u16,
}

const fn get(route: &'static str, path: &'static str, status: u16) -> Asked {
    Asked {
        method: "GET",
        route,
        path,
        body: "",
        status,
    }
}

const fn mark(path: &'static str, body: &'static str, status: u16) -> Asked {
    Asked {
        method: "POST",
        route: "/v1/accounts/{provider}/{account}/mark",
        path,
        body,
        status,
    }
}

const fn mark_by_name(path: &'static str, body: &'static str, status: u16) -> Asked {
    Asked {
        route: "/v1/quota/{account}/mark",
        ..mark(path, body, status)
    }
}

const fn test_target(path: &'static str, body: &'static str, status: u16) -> Asked {
    Asked {
        route: "/v1/notify/{target}/test",
        ..mark(path, body, status)
    }
}

const fn observe(body: &'static str, status: u16) -> Asked {
    Asked {
        route: "/v1/observations",
        ..mark("/v1/observations", body, status)
    }
}

const fn post_records(body: &'static str, status: u16) -> Asked {
    Asked {
        route: "/v1/records",
        ..mark("/v1/records", body, status)
    }
}

const fn ask_run(path: &'static str, body: &'static str, status: u16) -> Asked {
    Asked {
        method: "GET",
        route: "/v1/runs/{id}",
        path,
        body,
        status,
    }
}

const fn stop(path: &'static str, status: u16) -> Asked {
    Asked {
        method: "POST",
        route: "/v1/runs/{id}/stop",
        path,
        body: "",
        status,
    }
}

const fn prune(body: &'static str, status: u16) -> Asked {
    Asked {
        method: "POST",
        route: "/v1/prune",
        path: "/v1/prune",
        body,
        status,
    }
}

const fn lease(route: &'static str, path: &'static str, body: &'static str, status: u16) -> Asked {
    Asked {
        method: "POST",
        route,
        path,
        body,
        status,
    }
}

const ASKED: [Asked; 72] = [
    get("/v1/leases/{id}", "/v1/leases/1-2", 404),
    Asked {
        method: "PUT",
        ..lease("/v1/leases/{id}", "/v1/leases/1-2", r#"{"ttl":"5m"}"#, 404)
    },
    Asked {
        method: "DELETE",
        ..lease("/v1/leases/{id}", "/v1/leases/1-2", "", 404)
    },
    lease("/v1/leases", "/v1/leases", r#"{"key":"k","n":0}"#, 400),
    lease("/v1/leases", "/v1/leases", r#"{"key":"k","account":"none"}"#, 404),
    get("/v1/capacity", "/v1/capacity?account=none", 404),
    prune(r#"{"what":"totals","older_than":"30d","dry_run":true}"#, 200),
    prune(r#"{"what":"details","older_than":"30s"}"#, 400),
    get("/v1/runs", "/v1/runs?sort=active&limit=1", 200),
    get("/v1/runs", "/v1/runs?sort=size", 400),
    get("/v1/runs/{id}/files", "/v1/runs/one/files", 200),
    get("/v1/runs/{id}/files", "/v1/runs/none/files", 404),
    get("/v1/runs/{id}", "/v1/runs/one", 200),
    get("/v1/runs/{id}", "/v1/runs/none", 404),
    get("/v1/runs/{id}", "/v1/runs/a%20b", 400),
    Asked {
        method: "PUT",
        ..ask_run("/v1/runs/new", r#"{"labels":{"project":"x"}}"#, 201)
    },
    Asked {
        method: "PUT",
        ..ask_run("/v1/runs/new", "", 200)
    },
    Asked {
        method: "PUT",
        ..ask_run("/v1/runs/new", r#"{"label":{}}"#, 400)
    },
    Asked {
        method: "DELETE",
        ..ask_run("/v1/runs/new", "", 409)
    },
    Asked {
        method: "DELETE",
        ..ask_run("/v1/runs/none", "", 404)
    },
    stop("/v1/runs/new/stop", 202),
    stop("/v1/runs/one/stop?wait=true", 200),
    stop("/v1/runs/none/stop?wait=true", 404),
    get("/v1/export/{kind}", "/v1/export/none", 404),
    get("/v1/export/{kind}", "/v1/export/usage?format=xml", 400),
    get("/page/{name}", "/page/none.js", 404),
    get("/v1/events", "/v1/events?kinds=noise", 400),
    get("/v1/events", "/v1/events?last_event_id=x", 400),
    get(
        "/v1/usage",
        "/v1/usage?group_by=label:project&from=2026-10-05",
        200,
    ),
    get("/v1/usage", "/v1/usage?from=2026-10-05T09:20:00Z", 400),
    get("/v1/blocks", "/v1/blocks?period=all-time", 200),
    get("/v1/blocks", "/v1/blocks?period=30s", 400),
    get("/api/usage", "/api/usage?account=nobody", 404),
    get("/api/usage", "/api/usage?account=default", 200),
    get("/api/usage/runs/{id}", "/api/usage/runs/one", 200),
    get("/api/usage/runs/{id}", "/api/usage/runs/a%20b", 400),
    get("/api/runs", "/api/runs?limit=1&offset=1", 200),
    get("/api/runs", "/api/runs?limit=0", 400),
    get("/api/ws/usage", "/api/ws/usage", 400),
    get("/api/ws/runs/{id}", "/api/ws/runs/one", 400),
    get("/api/runs/{id}/shell", "/api/runs/one/shell", 400),
    get("/api/usage/daily", "/api/usage/daily?days=91", 200),
    get("/api/usage/daily", "/api/usage/daily?days=many", 200),
    get("/api/usage", "/api/usage?colour=1", 200),
    get("/v1/quota/history", "/v1/quota/history?window=five_hour", 200),
    get("/v1/quota/history", "/v1/quota/history", 400),
    get(
        "/v1/quota/history",
        "/v1/quota/history?window=five_hour&colour=1",
        400,
    ),
    get("/v1/may-start", "/v1/may-start?account=default&model=m", 200),
    get("/v1/may-start", "/v1/may-start?account=nobody", 404),
    get("/v1/may-start", "/v1/may-start?colour=1", 400),
    mark(
        "/v1/accounts/claude/default/mark",
        r#"{"state":"exhausted","until":"2999-01-01T00:00:00Z"}"#,
        200,
    ),
    mark(
        "/v1/accounts/claude/default/mark",
        r#"{"state":"available"}"#,
        200,
    ),
    mark("/v1/accounts/claude/default/mark", r#"{"state":"gone"}"#, 400),
    mark("/v1/accounts/claude/default/mark", r#"{"state":7}"#, 422),
    mark(
        "/v1/accounts/claude/default/mark",
        r#"{"state":"exhausted","colour":1}"#,
        422,
    ),
    mark("/v1/accounts/claude/default/mark", "{", 400),
    test_target("/v1/notify/a/test", "{}", 200),
    test_target("/v1/notify/a/test", r#"{"event":"window.reset"}"#, 200),
    test_target("/v1/notify/a/test", r#"{"event":"window"}"#, 400),
    test_target("/v1/notify/a/test", r#"{"events":"x"}"#, 422),
    test_target("/v1/notify/b/test", "{}", 404),
    mark("/v1/accounts/claude/nobody/mark", r#"{"state":"exhausted"}"#, 404),
    mark("/v1/accounts/claude/%ff/mark", r#"{"state":"exhausted"}"#, 400),
    mark_by_name("/v1/quota/default/mark", r#"{"state":"available"}"#, 200),
    mark_by_name("/v1/quota/nobody/mark", r#"{"state":"available"}"#, 404),
    mark_by_name("/v1/quota/%ff/mark", r#"{"state":"available"}"#, 400),
    Asked {
        route: "/v1/statusline",
        ..mark("/v1/statusline", r#"{"session_id":"s"}"#, 200)
    },
    Asked {
        route: "/v1/statusline",
        ..mark("/v1/statusline", "7", 400)
    },
    observe(
        r#"{"statusline":{"rate_limits":{"five_hour":{"used_percentage":10}}}}"#,
        200,
    ),
    observe(r#"{"statusline":{}}"#, 422),
    post_records(
        r#"[{"id":"1","model":"m","usage":{"input_tokens":1},"route":"/a"},{"id":"2"}]"#,
        200,
    ),
    post_records("{", 400),
];

/// The OpenAPI document.
pub struct Contract {
    document: Value,
}

impl Contract {
    pub fn new() -> Self {
        Self {
            document: serde_json::from_str(DOCUMENT).expect("docs/openapi.json is JSON"),
        }
    }

    /// The paths of the document.
    fn paths(&self) -> &Map<String, Value> {
        self.document["paths"].as_object().unwrap()
    }

    /// Checks an answer: the document must have its status for this route, and its body must match the
    /// schema.
    pub fn check(&self, method: &str, route: &str, (status, head, body): &(u16, String, String)) {
        let said = format!("{method} {route}: {status} {body}");
        let operation = &self.document["paths"][route][method.to_lowercase()];
        assert!(
            operation.is_object(),
            "{said}: the document has no such operation"
        );
        let responses = &operation["responses"];
        let response = match &responses[status.to_string()] {
            Value::Null => panic!("{said}: the document has {responses}"),
            response => self.resolved(response),
        };
        let content = response["content"].as_object().unwrap();
        let kind = head
            .lines()
            .find_map(|line| line.strip_prefix("content-type: "))
            .unwrap();
        let content = content
            .get(kind)
            .unwrap_or_else(|| panic!("{said}: as {kind}; the document has {content:?}"));
        if kind.ends_with("json") {
            self.check_document(&content["schema"], body, &said);
        }
    }

    /// Checks that an answer is a problem that contains its own status.
    pub fn check_problem(&self, (status, head, body): &(u16, String, String)) {
        let said = format!("{status} {body}");
        assert!(
            head.contains("content-type: application/problem+json"),
            "{said}: {head}"
        );
        self.check_document(&json!({ "$ref": "#/components/schemas/Problem" }), body, &said);
        let problem: Value = serde_json::from_str(body).unwrap();
        assert_eq!(problem["status"], *status, "{said}");
    }

    fn check_document(&self, schema: &Value, body: &str, said: &str) {
        let document: Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{said}: {error}"));
        let mut schema = schema.clone();
        schema["components"] = self.document["components"].clone();
        let validator = jsonschema::options()
            .with_draft(jsonschema::Draft::Draft202012)
            .should_validate_formats(true)
            .build(&schema)
            .unwrap_or_else(|error| panic!("{said}: its schema: {error}"));
        let errors: Vec<String> = (validator.iter_errors(&document))
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{said}: {}", errors.join("\n"));
    }

    fn resolved<'d>(&'d self, described: &'d Value) -> &'d Value {
        match described["$ref"].as_str() {
            Some(place) => self.document.pointer(place.trim_start_matches('#')).unwrap(),
            None => described,
        }
    }
}

/// A GET with no parameters but those of its path, and with an end.
fn is_plain(operation: &Value) -> bool {
    let parameters = operation["parameters"].as_array();
    let needs = parameters
        .into_iter()
        .flatten()
        .any(|parameter| parameter["required"] == true);
    let responses = &operation["responses"];
    let is_stream =
        !responses["101"].is_null() || !responses["200"]["content"]["text/event-stream"].is_null();
    operation.is_object() && !needs && !is_stream
}

/// A collector with counts and limits.
fn collector(place: &Place) -> Collector {
    let reset = second(now() + HOUR);
    append(
        &place.log("one", "a.jsonl"),
        response("1", 1, 0)
            + &share_line(now(), "five_hour", 0.8, reset)
            + &share_line(now(), "five_hour", 0.95, reset)
            + &refused(now(), "seven_day", reset)
            + "no json\n",
    );
    place.configure("[[notify]]\nname = \"a\"\nevents = [\"window.threshold\"]\nexec = [\"/bin/true\"]\n");
    let mut collector = Collector::start(place.command_with_config(&["serve"]), place.socket());
    collector.wait_for_log(BACKLOG_READ);
    collector
}

#[test]
fn the_document_is_that_of_the_program() {
    let output = Place::new().run(&["openapi"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout) == DOCUMENT,
        "docs/openapi.json is not what this program serves; renew it: cargo run -- openapi > docs/openapi.json"
    );
    let place = Place::new();
    let collector = place.serve();
    assert_eq!(collector.ask("GET", "/openapi.json").2, DOCUMENT);
    collector.stop_cleanly();
}

#[test]
fn every_route_answers_as_the_document_says() {
    let contract = Contract::new();
    let place = Place::new();
    let collector = collector(&place);
    let mut requested = BTreeSet::new();
    for (route, item) in contract.paths().iter().filter(|(_, item)| is_plain(&item["get"])) {
        let answer = collector.ask("GET", route);
        assert_eq!(answer.0, 200, "{route}: {}", answer.2);
        contract.check("GET", route, &answer);
        requested.insert(route.clone());
        assert!(
            item["get"]["summary"]
                .as_str()
                .is_some_and(|text| text.len() <= 60),
            "{route}: its summary"
        );
        assert!(item["get"]["description"].is_string(), "{route}: no description");
    }
    for ask in &ASKED {
        let (status, head, document) = collector.send(ask.method, ask.path, JSON, ask.body);
        assert_eq!(
            status, ask.status,
            "{} {} {}: {document}",
            ask.method, ask.path, ask.body
        );
        let answer = (status, head, document.to_string());
        contract.check(ask.method, ask.route, &answer);
        if status >= 400 {
            contract.check_problem(&answer);
            assert!(
                document["field"].is_string(),
                "{} {}: {document}",
                ask.method,
                ask.path
            );
        }
        requested.insert(ask.route.to_owned());
    }
    // The route that answers with a file.
    let backup = collector.ask("POST", "/v1/backup");
    assert_eq!(backup.0, 200);
    contract.check("POST", "/v1/backup", &backup);
    requested.insert("/v1/backup".to_owned());
    let windows = collector.get("/v1/quota").1["windows"].as_array().unwrap().len();
    assert_eq!(windows, 2, "the documents were not empty");
    let left: Vec<_> = contract
        .paths()
        .keys()
        .filter(|route| !requested.contains(*route))
        .collect();
    assert!(left.is_empty(), "nobody requested {left:?}");
    collector.stop_cleanly();
}

/// Generators name functions after operations.
#[test]
fn no_two_operations_share_a_name() {
    let contract = Contract::new();
    let mut names = BTreeSet::new();
    for (route, item) in contract.paths() {
        for operation in item.as_object().unwrap().values() {
            if let Some(name) = operation["operationId"].as_str() {
                assert!(names.insert(name), "{route}: {name} is also another operation's");
            }
        }
    }
    assert!(
        names.len() >= contract.paths().len(),
        "an operation without a name"
    );
}

#[test]
fn what_no_route_takes_is_a_problem() {
    let contract = Contract::new();
    let place = Place::new();
    let collector = collector(&place);
    for (route, item) in contract.paths() {
        let methods: Vec<&str> = ["get", "put", "post", "delete"]
            .into_iter()
            .filter(|method| item[method].is_object())
            .collect();
        let path = route.replace(['{', '}'], "");
        for method in ["PATCH", "OPTIONS", "GET", "PUT", "POST", "DELETE"] {
            if methods.contains(&method.to_lowercase().as_str()) {
                continue;
            }
            let answer = collector.ask(method, &path);
            assert_eq!(answer.0, 405, "{method} {path}: {}", answer.2);
            contract.check_problem(&answer);
            // HEAD comes with GET, but cannot upgrade.
            let has_head = item["get"].is_object() && item["get"]["responses"]["101"].is_null();
            let allowed = if has_head {
                methods.join(", ").replace("get", "get, head")
            } else {
                methods.join(", ")
            };
            let allow = format!("allow: {allowed}\r\n");
            assert!(answer.1.contains(&allow), "{method} {path}: {}", answer.1);
        }
    }
    for path in [
        "/index.html",
        "/favicon.ico",
        "/v1",
        "/v2/summary",
        "/metrics/",
        "/v1/runs/one/more",
        "/%00",
        "/openapi.yaml",
    ] {
        let answer = collector.ask("GET", path);
        assert_eq!(answer.0, 404, "{path}: {}", answer.2);
        contract.check_problem(&answer);
    }
    collector.stop_cleanly();
}

#[test]
fn a_property_named_as_a_time_is_said_to_be_one() {
    let contract = Contract::new();
    for (name, schema) in contract.document["components"]["schemas"].as_object().unwrap() {
        let own = std::iter::once(schema).chain(schema["allOf"].as_array().into_iter().flatten());
        for (property, said) in own
            .filter_map(|schema| schema["properties"].as_object())
            .flatten()
        {
            let is_text = said["type"] == "string" || said["type"][0] == "string";
            let is_time = ["at", "now", "since", "until"].contains(&property.as_str())
                || property.ends_with("_at")
                || property.ends_with("_until");
            assert!(
                !(is_text && is_time) || said["format"] == "date-time",
                "{name}.{property}: say #[schema(format = DateTime)]"
            );
        }
    }
}
