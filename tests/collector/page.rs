//! The page: its files, their headers, and who gets them.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{Collector, Place, WAIT_MAX};

const TOKEN: &str = "correct-horse-battery-staple";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The most that the files of a page without a cache may be over the wire, without headers.
const PAGE_BYTES_MAX: usize = 60 * 1024;

struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    /// As it was sent.
    bytes: Vec<u8>,
    /// The same as text, if it is some.
    body: String,
}

impl Answer {
    fn of(answer: &[u8]) -> Self {
        let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let (head, bytes) = (str::from_utf8(&answer[..end]).unwrap(), &answer[end + 4..]);
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap();
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_ascii_lowercase(), value.to_owned())
        });
        Self {
            status: status.parse().unwrap(),
            headers: headers.collect(),
            bytes: bytes.to_owned(),
            body: str::from_utf8(bytes).unwrap_or_default().to_owned(),
        }
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// One request over TCP.
fn ask(address: SocketAddr, start: &str, headers: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(WAIT_MAX)).unwrap();
    let head = format!("{start} HTTP/1.1");
    let lines = [&[head.as_str(), "Connection: close"], headers, &["", ""]].concat();
    write!(stream, "{}", lines.join("\r\n")).unwrap();
    let mut answer = Vec::new();
    Read::take(&mut stream, 1 << 24).read_to_end(&mut answer).unwrap();
    Answer::of(&answer)
}

/// A collector with a token that listens on a port of its own.
fn serve(place: &Place) -> (Collector, SocketAddr) {
    let token = place.path("token");
    std::fs::write(&token, TOKEN).unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut command = place.command(&["serve"]);
    command
        .env("TOKENTAIL__HTTP__LISTEN", "127.0.0.1:0")
        .env("TOKENTAIL__HTTP__TOKEN_FILE", token);
    let mut collector = Collector::start(command, place.socket());
    let address = collector.tcp();
    (collector, address)
}

/// The paths that a file of the page refers to: names between two equal quotes, whatever other quotes are around them.
fn referred(text: &str) -> Vec<String> {
    let quotes = text.match_indices(['"', '\'', '`']);
    let paths = quotes.filter_map(|(at, quote)| {
        let rest = &text[at + quote.len()..];
        let rest = rest.strip_prefix("./").or_else(|| rest.strip_prefix("/page/"))?;
        let (name, _) = rest.split_once(quote)?;
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
        is_name.then(|| format!("/page/{name}"))
    });
    paths.collect()
}

/// The names of the page's files, as they are in the sources.
fn sources() -> BTreeSet<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/api/page");
    let entries = std::fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn unpacked(gzip: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(gzip)
        .read_to_string(&mut text)
        .unwrap();
    text
}

#[test]
fn references_are_found_beside_any_other_quotes() {
    let text = "// the collector's\nimport { a } from \"./a.js\";\nit's(`/page/b.svg`, './c.js', \"./d e\", \"./e.js');";
    assert_eq!(referred(text), ["/page/a.js", "/page/b.svg", "/page/c.js"]);
}

#[test]
fn every_file_of_the_page_is_served_with_its_headers_and_without_the_token() {
    let place = Place::new();
    let (collector, address) = serve(&place);
    let host = "Host: localhost";
    let mut waiting = vec!["/".to_owned()];
    let mut served = BTreeMap::new();
    while let Some(path) = waiting.pop() {
        let answer = ask(address, &format!("GET {path}"), &[host]);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        for (name, wanted) in [
            ("content-security-policy", POLICY),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-cache"),
            ("vary", "accept-encoding"),
            ("content-encoding", ""),
        ] {
            assert_eq!(answer.header(name), wanted, "{path}: {name}");
        }
        let wanted = match path.rsplit('.').next() {
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            Some("svg") => "image/svg+xml; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), wanted, "{path}");
        let length: usize = answer.header("content-length").parse().unwrap();
        assert_eq!(answer.body.len(), length, "{path}");
        for next in referred(&answer.body) {
            if !served.contains_key(&next) {
                waiting.push(next);
            }
        }
        served.insert(path, answer.header("etag").to_owned());
    }
    let names = served.keys().map(|path| match path.strip_prefix("/page/") {
        Some(name) => name.to_owned(),
        None => "index.html".to_owned(),
    });
    assert_eq!(names.collect::<BTreeSet<_>>(), sources());
    for (path, tag) in &served {
        for given in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
            let answer = ask(
                address,
                &format!("GET {path}"),
                &[host, &format!("If-None-Match: {given}")],
            );
            assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{path} {given}");
            assert_eq!(answer.header("etag"), tag);
            assert_eq!(answer.header("content-security-policy"), POLICY);
        }
        let other = ask(
            address,
            &format!("GET {path}"),
            &[host, "If-None-Match: \"0000000000000000\", x"],
        );
        assert_eq!(other.status, 200, "{path}");
        let head = ask(address, &format!("HEAD {path}"), &[host]);
        assert_eq!((head.status, head.body.as_str()), (200, ""), "{path}");
        assert_eq!(head.header("etag"), tag);
    }
    let tags: BTreeSet<_> = served.values().collect();
    assert_eq!(
        tags.len(),
        served.len(),
        "each file has a tag of its own: {served:?}"
    );
    collector.stop_cleanly();
}

#[test]
fn a_file_is_compressed_for_those_that_take_it() {
    let place = Place::new();
    let (collector, address) = serve(&place);
    let host = "Host: localhost";
    let mut sent = 0;
    for name in sources() {
        let path = if name == "index.html" {
            "/".to_owned()
        } else {
            format!("/page/{name}")
        };
        let start = format!("GET {path}");
        let plain = ask(address, &start, &[host]);
        let wanted = [host, "Accept-Encoding: br;q=1.0, gzip;q=0.8, *;q=0.1"];
        let packed = ask(address, &start, &wanted);
        assert_eq!(packed.status, 200, "{path}");
        assert_eq!(packed.header("content-encoding"), "gzip", "{path}");
        for name in ["vary", "content-type", "content-security-policy"] {
            assert_eq!(packed.header(name), plain.header(name), "{path}: {name}");
        }
        assert_eq!(packed.header("content-length"), packed.bytes.len().to_string());
        assert_eq!(unpacked(&packed.bytes), plain.body, "{path}");
        sent += packed.bytes.len();

        // Each form has its own tag, and is not taken for the other one.
        let (tag, other) = (packed.header("etag"), plain.header("etag"));
        assert_ne!(tag, other, "{path}");
        for (given, status) in [(tag, 304), (other, 200)] {
            let known = [wanted[0], wanted[1], &format!("If-None-Match: {given}")];
            let answer = ask(address, &start, &known);
            assert_eq!(answer.status, status, "{path} {given}");
            assert_eq!(
                (answer.header("etag"), answer.header("vary")),
                (tag, "accept-encoding")
            );
        }
        let head = ask(address, &format!("HEAD {path}"), &wanted);
        assert_eq!(head.bytes, b"", "{path}");
        for name in ["content-length", "content-encoding", "etag"] {
            assert_eq!(head.header(name), packed.header(name), "{path}: {name}");
        }
        for refused in ["gzip;q=0, *", "identity", "br", "gzip;q=0.1, identity"] {
            let answer = ask(address, &start, &[host, &format!("Accept-Encoding: {refused}")]);
            assert_eq!(answer.header("content-encoding"), "", "{path} {refused}");
            assert_eq!(answer.body, plain.body, "{path} {refused}");
        }
    }
    assert!(sent <= PAGE_BYTES_MAX, "{sent} bytes");
    collector.stop_cleanly();
}

#[test]
fn the_token_guards_everything_but_the_page() {
    let place = Place::new();
    let (collector, address) = serve(&place);
    let host = "Host: localhost";
    let bearer = format!("Authorization: Bearer {TOKEN}");
    for path in [
        "/v1/may-start",
        "/v1/quota",
        "/v1/runs",
        "/v1/events",
        "/healthz",
        "/version",
        "/metrics",
        "/openapi.json",
        "/page",
        "/page/",
        "/page/index.html",
        "/page/none.js",
        "/page/page.js/",
        "/page/../v1/runs",
        "/page//v1/runs",
        "/page/%70age.js",
        "//",
        "/favicon.ico",
    ] {
        let answer = ask(address, &format!("GET {path}"), &[host]);
        assert_eq!(answer.status, 401, "{path}: {}", answer.body);
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    for (path, status) in [
        ("/page/none.js", 404),
        ("/page/index.html", 404),
        ("/healthz", 200),
    ] {
        let answer = ask(address, &format!("GET {path}"), &[host, &bearer]);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
    }
    // The other checks stay.
    let answer = ask(address, "GET /", &["Host: evil.example"]);
    assert_eq!(answer.status, 421, "{}", answer.body);
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket"];
    let answer = ask(
        address,
        "GET /",
        &[host, "Origin: https://evil.example", upgrade[0], upgrade[1]],
    );
    assert_eq!(answer.status, 403, "{}", answer.body);
    for method in ["POST", "PUT", "DELETE"] {
        let answer = ask(address, &format!("{method} /"), &[host]);
        assert_eq!(answer.status, 401, "{method}: {}", answer.body);
    }
    for path in ["/", "/page/page.js"] {
        let answer = ask(address, &format!("OPTIONS {path}"), &[host, &bearer]);
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, "GET, HEAD"),
            "{path}"
        );
        let (status, head, _) = collector.exchange("POST", path, "", "");
        assert_eq!(status, 405, "{path}");
        assert!(head.to_ascii_lowercase().contains("allow: get, head"), "{head}");
    }
    collector.stop_cleanly();
}
