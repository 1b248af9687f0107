//! HTTP endpoints: access over TCP, bounds of connections, and refused starts.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use serde_json::Value;

use crate::harness::{Collector, LOG_LEVEL, Place, WAIT_MAX, append, response, text};
use crate::scenario::ended;

const LISTEN: &str = "TOKENTAIL__HTTP__LISTEN";
const CONNECTIONS_MAX: &str = "TOKENTAIL__HTTP__CONNECTIONS_MAX";
const TOKEN: &str = "correct-horse-battery-staple";

/// A collector that listens on a port of its own, with these variables.
fn serve(place: &Place, variables: &[(&str, &str)]) -> (Collector, SocketAddr) {
    let mut command = place.command(&["serve"]);
    command.env(LISTEN, "127.0.0.1:0").envs(variables.iter().copied());
    let mut collector = Collector::start(command, place.socket());
    let address = collector.tcp();
    (collector, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.set_write_timeout(Some(WAIT_MAX)).unwrap();
    stream
}

fn connect_unix(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stream.set_write_timeout(Some(WAIT_MAX)).unwrap();
    stream
}

/// Reads until the collector closes, cleanly or not.
fn rest(mut stream: impl Read) -> String {
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    while let Ok(length) = stream.read(&mut block)
        && length > 0
    {
        answer.extend_from_slice(&block[..length]);
    }
    text(&answer)
}

/// Sends these bytes and reads the answer.
fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(address);
    // The collector may close before it has read everything.
    let _ = stream.write_all(bytes.as_ref());
    rest(stream)
}

fn status_of(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).unwrap_or_default();
    status.parse().unwrap_or_else(|_| panic!("no status: {answer:?}"))
}

/// One request with these headers, and `Connection: close`.
fn ask(address: SocketAddr, start: &str, headers: &[&str]) -> String {
    let lines = [
        &[&format!("{start} HTTP/1.1"), "Connection: close"],
        headers,
        &["", ""],
    ];
    exchange(address, lines.concat().join("\r\n"))
}

fn problem(answer: &str) -> Value {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains("content-type: application/problem+json"),
        "{answer}"
    );
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

fn token_file(place: &Place, token: &str, mode: u32) -> String {
    let path = place.path("token");
    let _ = fs::remove_file(&path);
    fs::write(&path, token).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path.display().to_string()
}

#[test]
fn both_doors_give_the_same_answers_and_tcp_only_reads() {
    let place = Place::new();
    append(&place.log("one", "a.jsonl"), response("1", 5, 0));
    let (mut collector, address) = serve(&place, &[]);
    collector.wait_for_messages(1);
    let host = "Host: localhost";

    let answer = ask(address, "GET /v1/runs/one", &[host]);
    assert_eq!(status_of(&answer), 200, "{answer}");
    assert!(answer.contains("x-content-type-options: nosniff"), "{answer}");
    assert!(answer.contains("cache-control: no-store"), "{answer}");
    assert!(!answer.contains("access-control"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    let (_, over_the_socket) = collector.get("/v1/runs/one");
    let over_tcp: Value = serde_json::from_str(body).unwrap();
    assert_eq!(over_tcp["output_tokens"], over_the_socket["output_tokens"]);

    let answer = ask(address, "HEAD /v1/runs/one", &[host]);
    assert_eq!(status_of(&answer), 200);
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");

    for (method, path) in [
        ("POST", "/v1/accounts/claude/default/mark"),
        ("PUT", "/v1/runs/one"),
        ("DELETE", "/v1/runs/one"),
        ("PATCH", "/"),
        ("BREW", "/healthz"),
    ] {
        let answer = ask(
            address,
            &format!("{method} {path}"),
            &[host, "Content-Length: 2", "", "{}"],
        );
        assert_eq!(status_of(&answer), 403, "{method}: {answer}");
        let detail = problem(&answer)["detail"].to_string();
        assert!(
            detail.contains("TCP is read-only; use the unix socket"),
            "{detail}"
        );
    }
    for (path, status) in [
        ("/nowhere", 404),
        ("/%ff", 404),
        ("/v1/runs/%ff", 400),
        ("/v1/runs/%zz", 400),
        ("/v1/runs/%00", 400),
        ("/v1/runs/a%2fb", 400),
        ("/v1/runs/none", 404),
        ("/v1/quota/history?colour=blue", 400),
        ("/v1/may-start?%ff=%ff", 400),
        ("/v1/runs/one?x=%", 400),
        ("//", 404),
    ] {
        let answer = ask(address, &format!("GET {path}"), &[host]);
        assert_eq!(status_of(&answer), status, "{path}: {answer}");
        if status != 200 {
            assert_eq!(problem(&answer)["status"], status, "{path}");
        }
    }
    let answer = ask(address, "OPTIONS /healthz", &[host]);
    assert_eq!(status_of(&answer), 405, "{answer}");
    assert!(answer.contains("allow: GET"), "{answer}");
    // Commands still use the socket.
    assert!(place.run(&["status"]).status.success());
    collector.stop_cleanly();
}

#[test]
fn a_name_that_is_not_ours_is_not_answered() {
    let place = Place::new();
    let (collector, address) = serve(
        &place,
        &[("TOKENTAIL__HTTP__HOSTS", "[\"tokentail.example\", \"fe80::7\"]")],
    );
    let port = address.port();
    for host in [
        "localhost".to_owned(),
        "LOCALHOST".to_owned(),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        "127.0.0.1".to_owned(),
        "[::1]".to_owned(),
        "[::1]:80".to_owned(),
        "TokenTail.Example:443".to_owned(),
        "[fe80::7]:1".to_owned(),
    ] {
        let answer = ask(address, "GET /healthz", &[&format!("Host: {host}")]);
        assert_eq!(status_of(&answer), 200, "{host}: {answer}");
    }
    for headers in [
        &[][..],
        &["Host:"],
        &["Host: evil.example"],
        &["Host: localhost.evil.example"],
        &["Host: evil.example#localhost"],
        &["Host: localhost@evil.example"],
        &["Host: localhost:80@evil.example"],
        &["Host: localhost:port"],
        &["Host: 127.0.0.2"],
        &["Host: 0.0.0.0"],
        &["Host: 2130706433"],
        &["Host: localhost, evil.example"],
        &["Host: localhost", "Host: evil.example"],
        &["Host: localhost", "Host: localhost"],
        &["Host: \u{e4}"],
        &["Host: evil.example", "X-Forwarded-Host: localhost"],
    ] {
        let answer = ask(address, "GET /healthz", headers);
        assert_eq!(status_of(&answer), 421, "{headers:?}: {answer}");
        assert_eq!(problem(&answer)["field"], "host");
    }
    // A host in the request target counts as well.
    for (target, status) in [
        ("http://localhost/healthz", 200),
        ("http://evil.example/healthz", 421),
    ] {
        let answer = ask(address, &format!("GET {target}"), &["Host: localhost"]);
        assert_eq!(status_of(&answer), status, "{target}: {answer}");
    }
    // HTTP/1.0, without a host.
    assert_eq!(
        status_of(&exchange(address, "GET /healthz HTTP/1.0\r\n\r\n")),
        421
    );
    let mut stream = connect_unix(&place.socket());
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
        .unwrap();
    assert_eq!(status_of(&rest(stream)), 200);
    collector.stop_cleanly();
}

#[test]
fn a_page_reads_what_its_origin_lets_it_read() {
    let place = Place::new();
    let (collector, address) = serve(
        &place,
        &[("TOKENTAIL__HTTP__ORIGINS", "[\"https://board.example\"]")],
    );
    let here = format!("Host: localhost:{}", address.port());
    let own = format!("Origin: http://localhost:{}", address.port());
    let socket = ["Connection: Upgrade", "Upgrade: websocket"];
    for (origin, status, shown) in [
        ("Origin: https://board.example", 200, true),
        ("Origin: HTTPS://Board.example:443", 200, true),
        ("Origin: https://evil.example", 200, false),
        ("Origin: http://board.example", 200, false),
        ("Origin: null", 200, false),
        (&own, 200, false),
    ] {
        let answer = ask(address, "GET /healthz", &[&here, origin]);
        assert_eq!(status_of(&answer), status, "{origin}: {answer}");
        let value = origin.strip_prefix("Origin: ").unwrap();
        let allowed = format!("access-control-allow-origin: {value}\r\n");
        assert_eq!(answer.contains(&allowed), shown, "{origin}: {answer}");
        assert_eq!(answer.contains("access-control-allow-origin"), shown);
        let exposed = "access-control-expose-headers: X-Total-Count\r\n";
        assert_eq!(answer.contains(exposed), shown, "{origin}: {answer}");
        assert!(answer.contains("vary: Origin"), "{answer}");
    }
    for (origin, status) in [
        ("Origin: https://board.example", 200),
        (&own, 200),
        ("Origin: http://localhost", 403),
        ("Origin: http://localhost:1", 403),
        ("Origin: https://evil.example", 403),
        ("Origin: null", 403),
        ("Origin: *", 403),
        ("X-No-Origin: 1", 200),
    ] {
        // No route here accepts the upgrade, so an allowed one is answered as usual.
        let answer = ask(address, "GET /healthz", &[&here, origin, socket[0], socket[1]]);
        assert_eq!(status_of(&answer), status, "{origin}: {answer}");
        if status == 403 {
            assert_eq!(problem(&answer)["field"], "origin");
        }
    }
    let asked = "Access-Control-Request-Method: GET";
    let answer = ask(
        address,
        "OPTIONS /v1/summary",
        &[&here, "Origin: https://board.example", asked],
    );
    assert_eq!(status_of(&answer), 204, "{answer}");
    for header in [
        "access-control-allow-origin: https://board.example",
        "access-control-allow-methods: GET, HEAD",
        "access-control-allow-headers: Authorization, Last-Event-ID, Content-Type",
    ] {
        assert!(answer.contains(header), "{header}: {answer}");
    }
    let answer = ask(
        address,
        "OPTIONS /v1/summary",
        &[&here, "Origin: https://evil.example", asked],
    );
    assert_eq!(status_of(&answer), 403, "{answer}");
    assert!(!answer.contains("access-control"), "{answer}");
    collector.stop_cleanly();
}

#[test]
fn an_application_with_a_scheme_of_its_own_is_an_origin() {
    let place = Place::new();
    place.configure(
        "[http]\nlisten = \"127.0.0.1:0\"\norigins = [\"tauri://localhost\", \"app://board.example:8100\"]\n",
    );
    let mut command = place.command_with_config(&["serve"]);
    command.env_remove(LISTEN);
    let mut collector = Collector::start(command, place.socket());
    let address = collector.tcp();
    let here = format!("Host: {address}");
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    for (page, listed) in [
        ("tauri://localhost", true),
        ("app://board.example:8100", true),
        ("http://localhost", false),
        ("https://localhost", false),
        ("tauri://localhost:80", false),
        ("tauri://evil.example", false),
        ("app://board.example", false),
        ("ionic://localhost", false),
    ] {
        let origin = format!("Origin: {page}");
        let answer = ask(address, "GET /api/usage", &[&here, &origin]);
        assert_eq!(status_of(&answer), 200, "{page}: {answer}");
        let allowed = format!("access-control-allow-origin: {page}\r\n");
        assert_eq!(answer.contains(&allowed), listed, "{page}: {answer}");
        assert_eq!(answer.contains("access-control"), listed, "{page}: {answer}");
        let asked = "Access-Control-Request-Method: GET";
        let answer = ask(address, "OPTIONS /api/usage", &[&here, &origin, asked]);
        let expected = if listed { 204 } else { 403 };
        assert_eq!(status_of(&answer), expected, "{page}: {answer}");
        assert_eq!(answer.contains(&allowed), listed, "{page}: {answer}");
        let mut stream = connect(address);
        let headers = [&here, &origin].map(String::as_str);
        let head = [&["GET /api/ws/usage HTTP/1.1"], &headers[..], &upgrade, &["", ""]];
        stream.write_all(head.concat().join("\r\n").as_bytes()).unwrap();
        let mut start = [0; b"HTTP/1.1 101".len()];
        stream.read_exact(&mut start).unwrap();
        let expected = if listed { "HTTP/1.1 101" } else { "HTTP/1.1 403" };
        assert_eq!(text(&start), expected, "{page}");
    }
    collector.stop_cleanly();
    // Origins without a host, and schemes whose pages have no origin.
    for origin in [
        "tauri://",
        "tauri:localhost",
        "tauri://localhost/index.html",
        "tauri://*",
        "tauri",
        "://localhost",
        "about:blank",
        "data:text/html,a",
        "file:///a",
        "file://localhost",
        "blob:https://board.example/1",
        "null",
    ] {
        place.configure(&format!(
            "[http]\norigins = [\"https://board.example\", \"{origin}\"]\n"
        ));
        for words in [&["check-config"][..], &["serve"]] {
            let (code, _, stderr) = ended(&place.command_with_config(words).output().unwrap());
            assert_eq!(code, Some(78), "{origin}: {stderr}");
            let said = format!(
                ":2:1: `http.origins`: \"{origin}\" is not an origin: a scheme, a host and optionally a port"
            );
            assert!(stderr.contains(&said), "{origin}: {stderr}");
        }
    }
}

#[test]
fn with_a_token_file_every_request_over_tcp_needs_the_token() {
    let place = Place::new();
    let file = token_file(&place, &format!("  {TOKEN}\n"), 0o600);
    let (mut collector, address) = serve(
        &place,
        &[
            ("TOKENTAIL__HTTP__TOKEN_FILE", &file),
            ("TOKENTAIL__HTTP__ORIGINS", "https://board.example"),
        ],
    );
    let here = "Host: localhost";
    let with = |authorization: &str| {
        let header = format!("Authorization: {authorization}");
        status_of(&ask(address, "GET /healthz", &[here, &header]))
    };
    for right in [
        format!("Bearer {TOKEN}"),
        format!("bearer {TOKEN}"),
        format!("Bearer  {TOKEN} "),
    ] {
        assert_eq!(with(&right), 200, "{right}");
    }
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        TOKEN,
        "Bearer x",
        "Basic correct-horse-battery-staple",
    ] {
        assert_eq!(with(wrong), 401, "{wrong}");
    }
    assert_eq!(with(&format!("Bearer {TOKEN}x")), 401);
    assert_eq!(with(&format!("Bearer {}", &TOKEN[1..])), 401);
    for request in ["GET /healthz", "GET /nowhere", "POST /v1/summary", "OPTIONS /"] {
        let answer = ask(address, request, &[here]);
        assert_eq!(status_of(&answer), 401, "{request}: {answer}");
        assert!(answer.contains("www-authenticate: Bearer"), "{answer}");
        assert_eq!(problem(&answer)["field"], "authorization");
    }
    let answer = ask(
        address,
        "GET /healthz",
        &[
            here,
            &format!("Authorization: Bearer {TOKEN}"),
            &format!("Authorization: Bearer {TOKEN}"),
        ],
    );
    assert_eq!(status_of(&answer), 401, "{answer}");
    // A page has no other place for the token when it opens a WebSocket.
    for (protocols, status) in [
        (format!("bearer.{TOKEN}"), 200),
        (format!("tokentail, bearer.{TOKEN}"), 200),
        ("bearer.no".to_owned(), 401),
        ("tokentail".to_owned(), 401),
    ] {
        let protocols = format!("Sec-WebSocket-Protocol: {protocols}");
        let answer = ask(address, "GET /healthz", &[here, &protocols]);
        assert_eq!(status_of(&answer), status, "{protocols}: {answer}");
    }
    // A browser sends a preflight request, without the token.
    let first = [
        here,
        "Origin: https://board.example",
        "Access-Control-Request-Method: GET",
    ];
    assert_eq!(status_of(&ask(address, "OPTIONS /healthz", &first)), 204);
    assert_eq!(collector.get("/healthz").0, 200);

    token_file(&place, "another-one-that-is-long-enough", 0o600);
    collector.signal("HUP");
    collector.wait_for_next("the configuration is in effect");
    assert_eq!(with(&format!("Bearer {TOKEN}")), 401);
    assert_eq!(with("Bearer another-one-that-is-long-enough"), 200);
    token_file(&place, "short", 0o600);
    collector.signal("HUP");
    collector.wait_for_next("the token is not read again, the old one stays");
    assert_eq!(with("Bearer another-one-that-is-long-enough"), 200);
    assert!(!collector.seen.iter().any(|line| line.contains(TOKEN)));
    collector.stop_cleanly();
}

#[test]
fn what_is_open_beyond_this_host_must_be_meant_so() {
    let place = Place::new();
    let token = token_file(&place, TOKEN, 0o600);
    for (settings, said) in [
        (
            "[http]\nlisten = \"0.0.0.0:0\"\n",
            ":2:1: `http.listen`: 0.0.0.0:0",
        ),
        ("[http]\nlisten = \"[::]:0\"\n", ":2:1: `http.listen`: [::]:0"),
        (
            "[http]\ntls_in_front = true\n\n  listen = \"192.0.2.1:1\"\n",
            ":4:3: `http.listen`: 192.0.2.1:1 is open beyond this host",
        ),
        (
            &format!("[http]\nlisten = \"0.0.0.0:0\"\ntoken_file = {token:?}\n"),
            ":2:1: `http.listen`: ",
        ),
        ("[http]\nlisten = \"localhost\"\n", ":2:1: `http.listen`: "),
        ("[http]\norigins = [\"*\"]\n", ":2:1: `http.origins`: \"*\""),
        (
            "[http]\nhosts = [\"a.example:80\"]\n",
            ":2:1: `http.hosts`: \"a.example:80\"",
        ),
    ] {
        place.configure(settings);
        for words in [&["check-config"][..], &["serve"]] {
            let mut command = place.command_with_config(words);
            let (code, _, stderr) = ended(&command.env_remove(LISTEN).output().unwrap());
            assert_eq!(code, Some(78), "{settings}: {stderr}");
            assert!(stderr.contains(said), "{settings}: {stderr}");
        }
    }
    for consent in ["tls_in_front", "allow_plain_http"] {
        place.configure(&format!(
            "[http]\nlisten = \"0.0.0.0:0\"\ntoken_file = {token:?}\n{consent} = true\n"
        ));
        let mut command = place.command_with_config(&["serve"]);
        command.env_remove(LISTEN);
        let mut collector = Collector::start(command, place.socket());
        let port = collector.tcp().port();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(
            status_of(&ask(address, "GET /healthz", &["Host: localhost"])),
            401
        );
        collector.stop_cleanly();
    }
}

#[test]
fn a_token_that_is_none_or_known_to_all_is_refused() {
    let place = Place::new();
    for (token, mode, said) in [
        (TOKEN, 0o644, "has the mode 0644"),
        ("short", 0o600, "holds no token"),
        ("two words of some length", 0o600, "holds no token"),
    ] {
        let file = token_file(&place, token, mode);
        let mut command = place.command(&["serve"]);
        command.env("TOKENTAIL__HTTP__TOKEN_FILE", &file);
        let (code, said_by) = Collector::spawn(command, place.socket()).wait_for_end();
        assert_eq!(code, Some(78), "{said_by}");
        assert!(said_by.contains(said) && said_by.contains(&file), "{said_by}");
        assert!(!said_by.contains(token), "{said_by}");
    }
    let mut command = place.command(&["serve"]);
    command.env("CREDENTIALS_DIRECTORY", place.path("credentials"));
    command.env("TOKENTAIL__HTTP__TOKEN_FILE", "token");
    let (code, said) = Collector::spawn(command, place.socket()).wait_for_end();
    assert_eq!(code, Some(78), "{said}");
    assert!(said.contains("credentials/token"), "{said}");
    assert!(!place.socket().exists() && !place.db().exists());
}

#[test]
fn an_address_that_is_taken_is_named() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = place.command(&["serve"]);
    command.env(LISTEN, &address);
    let (code, said) = Collector::spawn(command, place.socket()).wait_for_end();
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&address) && said.contains("http.listen"), "{said}");
    assert!(!place.socket().exists());
}

#[test]
fn what_is_no_request_is_cut_off_and_disturbs_nobody() {
    let place = Place::new();
    let (collector, address) = serve(&place, &[]);
    let large = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(20 << 10)
    );
    let many = format!(
        "GET /healthz HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X: y\r\n".repeat(100)
    );
    let line = format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(1 << 20));
    for (bytes, statuses) in [
        (
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"[..],
            &[400][..],
        ),
        (b"\x00\x00\x00\x00\r\n\r\n", &[400]),
        (b"GET\r\n\r\n", &[400]),
        (b"GET /healthz HTTP/9.9\r\n\r\n", &[400]),
        // Another protocol, which is no error of ours: closed without an answer.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[]),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n", &[400]),
        (
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nno header\r\n\r\n",
            &[400],
        ),
        (
            b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n",
            &[400],
        ),
        (large.as_bytes(), &[431]),
        (many.as_bytes(), &[431]),
        (line.as_bytes(), &[414, 431]),
    ] {
        let answer = exchange(address, bytes);
        // With unread bytes the answer can be lost with the connection.
        let lost = answer.is_empty() && (statuses.is_empty() || bytes.len() > 4096);
        let shown = text(&bytes[..bytes.len().min(80)]);
        let right = |status| answer.starts_with(&format!("HTTP/1.1 {status} "));
        assert!(lost || statuses.iter().any(right), "{shown:?}: {answer:?}");
    }
    // Pipelined requests are answered in order.
    let one = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let answers = exchange(address, one.repeat(20) + last);
    assert_eq!(answers.matches("HTTP/1.1 200 OK").count(), 20, "{answers}");
    assert_eq!(answers.matches("HTTP/1.1 404 Not Found").count(), 1);
    assert_eq!(collector.get("/healthz").0, 200);
    collector.stop_cleanly();
}

/// Bounds of time: the collector ends these connections; the clients wait for that.
#[test]
fn who_is_too_slow_is_cut_off() {
    let place = Place::new();
    let (collector, address) = serve(&place, &[]);
    let mut silent = connect(address);
    let mut header = connect(address);
    header.write_all(b"GET /healthz HTTP/1.1\r\nHost: local").unwrap();
    let mut body = connect_unix(&place.socket());
    body.write_all(
        b"POST /v1/accounts/claude/default/mark HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n{\"state\"",
    )
    .unwrap();
    let mut left = connect_unix(&place.socket());
    left.write_all(b"POST /v1/accounts/claude/default/mark HTTP/1.1\r\nContent-Length: 20\r\n\r\n{\"state\"")
        .unwrap();
    drop(left);
    // Sends requests for ever and reads nothing: eventually neither side can write.
    let mut greedy = connect_unix(&place.socket());
    let requests = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(100);
    while greedy.write_all(requests.as_bytes()).is_ok() {}
    let answer = rest(&mut body);
    assert_eq!(status_of(&answer), 408, "{answer}");
    assert_eq!(problem(&answer)["field"], "body");
    assert_eq!(rest(&mut silent), "");
    assert_eq!(rest(&mut header), "");
    assert_eq!(collector.get("/healthz").0, 200);
    collector.stop_cleanly();
}

#[test]
fn a_body_that_is_too_large_is_refused() {
    const PATH: &str = "/v1/accounts/claude/default/mark";
    let place = Place::new();
    let (collector, _) = serve(&place, &[]);
    let ask = |head: &str, body: &[u8]| {
        let mut stream = connect_unix(&place.socket());
        let head = format!(
            "POST {PATH} HTTP/1.1\r\nConnection: close\r\nContent-Type: application/json\r\n{head}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        let _ = stream.write_all(body);
        rest(stream)
    };
    // With an announced length, and without.
    let answer = ask("Content-Length: 65537", b"");
    assert_eq!(status_of(&answer), 413, "{answer}");
    assert_eq!(problem(&answer)["field"], "body");
    let chunk = format!("10001\r\n{}\r\n0\r\n\r\n", "x".repeat(0x10001));
    let answer = ask("Transfer-Encoding: chunked", chunk.as_bytes());
    assert_eq!(status_of(&answer), 413, "{answer}");
    // A client that sends everything before it reads gets an answer too.
    let answer = ask("Content-Length: 900000", "x".repeat(900_000).as_bytes());
    assert_eq!(status_of(&answer), 413, "{answer}");
    let answer = ask("Transfer-Encoding: chunked", b"zz\r\n");
    assert_eq!(status_of(&answer), 400, "{answer}");
    let answer = ask("Content-Length: 17", br#"{"state":"happy"}"#);
    assert!((400..500).contains(&status_of(&answer)), "{answer}");
    collector.stop_cleanly();
}

#[test]
fn a_full_door_says_so_and_the_other_stays_open() {
    const PLACES: usize = 16;
    let place = Place::new();
    let (collector, address) = serve(&place, &[(CONNECTIONS_MAX, "16")]);
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let held: Vec<TcpStream> = (0..PLACES).map(|_| connect(address)).collect();
    let answer = exchange(address, request);
    assert_eq!(status_of(&answer), 503, "{answer}");
    assert_eq!(problem(&answer)["title"], "too many connections");
    // Each of many more gets an answer, or is closed.
    for _ in 0..600 {
        let answer = exchange(address, request);
        assert!(
            answer.is_empty() || [200, 503].contains(&status_of(&answer)),
            "{answer}"
        );
    }
    assert_eq!(collector.get("/healthz").0, 200);
    drop(held);
    let deadline = Instant::now() + WAIT_MAX;
    while status_of(&exchange(address, request)) != 200 {
        assert!(Instant::now() < deadline, "no place became free");
    }
    collector.stop_cleanly();
}

#[test]
fn every_request_is_a_line_in_the_log_and_no_secret_is() {
    let place = Place::new();
    let file = token_file(&place, TOKEN, 0o600);
    let (mut collector, address) = serve(
        &place,
        &[
            ("TOKENTAIL__HTTP__TOKEN_FILE", &file),
            (LOG_LEVEL, "info,tokentail::access=debug"),
        ],
    );
    let token = format!("Authorization: Bearer {TOKEN}");
    let log = |collector: &mut Collector, path: &str| {
        let line = collector.wait_for_next(&format!("\"path\":\"{path}\""));
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["target"], "tokentail::access", "{line}");
        line
    };
    ask(
        address,
        "GET /healthz?key=hidden-value",
        &["Host: localhost", &token],
    );
    let line = log(&mut collector, "/healthz");
    assert_eq!(line["level"], "DEBUG", "{line}");
    assert_eq!(
        (&line["listener"], &line["method"], &line["status"]),
        (&"tcp".into(), &"GET".into(), &200.into())
    );
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
    assert!(line["ms"].is_u64() && line["bytes"].as_u64() > Some(0), "{line}");
    ask(address, "GET /refused", &["Host: localhost"]);
    let line = log(&mut collector, "/refused");
    assert_eq!((&line["level"], &line["status"]), (&"INFO".into(), &401.into()));
    let mut stream = connect_unix(&place.socket());
    stream
        .write_all(b"POST /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
        .unwrap();
    rest(stream);
    let line = log(&mut collector, "/healthz");
    assert_eq!(
        (&line["level"], &line["listener"]),
        (&"INFO".into(), &"unix".into())
    );
    let secrets = ["hidden-value", TOKEN];
    assert!(
        !collector
            .seen
            .iter()
            .any(|line| secrets.iter().any(|secret| line.contains(secret))),
        "{:?}",
        collector.seen
    );
    collector.stop_cleanly();
}

#[test]
fn a_body_that_nobody_asked_for_leaves_the_connection_as_it_was() {
    let place = Place::new();
    let collector = place.serve();
    let mut stream = UnixStream::connect(collector.socket_path()).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let body = "x".repeat(100_000);
    let head = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n";
    write!(stream, "{head}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    write!(stream, "{head}Connection: close\r\n\r\n").unwrap();
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers).unwrap();
    assert_eq!(
        text(&answers).matches("HTTP/1.1 200 OK\r\n").count(),
        2,
        "{}",
        text(&answers)
    );
}
