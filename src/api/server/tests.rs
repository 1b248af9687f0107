//! Tests with routes of their own: streams, WebSockets and panics behind an endpoint.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::WebSocketUpgrade;
use axum::routing::get;
use futures_util::{StreamExt, future, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::connection::{self, Endpoint};
use super::guard::{Guard, TokenSlot};
use super::{EndpointKind, Subscribers, Traffic};
use crate::config::HttpSettings;

/// Upper bound of a failing test; no test waits for it otherwise.
const WAIT_MAX: Duration = Duration::from_mins(1);
const TOKEN: &str = "0123456789abcdef";

/// An endpoint in front of the routes of the test.
struct Open {
    address: SocketAddr,
    traffic: Arc<Traffic>,
    stop: CancellationToken,
    serving: JoinSet<()>,
    _token: tempfile::TempDir,
}

async fn open(connections_max: usize) -> Open {
    let token = tempfile::tempdir().unwrap();
    let path = token.path().join("token");
    std::fs::write(&path, TOKEN).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    let settings = HttpSettings {
        listen: None,
        token_file: Some(path.clone()),
        tls_in_front: false,
        allow_plain_http: false,
        hosts: Vec::new(),
        origins: Vec::new(),
        connections_max,
        subscribers_max: 1,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let guard = Guard::new(
        &settings,
        address,
        Arc::new(TokenSlot::read(Some(&path)).unwrap()),
    );
    let router = Router::new()
        .route("/", get(|| future::ready("here")))
        .route("/stream", get(endless))
        .route("/socket", get(upgrade))
        .route("/panic", get(panic));
    let (traffic, stop) = (Arc::new(Traffic::default()), CancellationToken::new());
    let endpoint = Endpoint::new(
        EndpointKind::Tcp,
        Some(guard),
        router,
        Arc::clone(&traffic),
        connections_max,
        stop.clone(),
    );
    let mut serving = JoinSet::new();
    serving.spawn(connection::serve(listener, endpoint));
    Open {
        address,
        traffic,
        stop,
        serving,
        _token: token,
    }
}

async fn endless() -> Body {
    let first = stream::once(future::ready(Ok::<_, Infallible>(Bytes::from("first"))));
    Body::from_stream(first.chain(stream::pending()))
}

async fn upgrade(upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(async |mut socket| while let Some(Ok(_)) = socket.recv().await {})
}

async fn panic() -> &'static str {
    panic!("as the test wants it")
}

/// Sends a request with the token and reads until `end` arrives, or to the end.
async fn ask(address: SocketAddr, path: &str, headers: &str, end: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    while answer.is_empty() || !answer.contains(end) || end.is_empty() {
        let mut block = [0; 1024];
        let read = tokio::time::timeout(WAIT_MAX, stream.read(&mut block)).await;
        let length = read.expect("an answer comes").unwrap_or(0);
        if length == 0 {
            break;
        }
        answer += &String::from_utf8_lossy(&block[..length]);
    }
    (stream, answer)
}

async fn ask_to_the_end(address: SocketAddr, path: &str) -> String {
    let headers = format!("Authorization: Bearer {TOKEN}\r\nConnection: close\r\n");
    ask(address, path, &headers, "").await.1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_goes_on_until_the_door_is_closed() {
    let mut open = open(8).await;
    let token = format!("Authorization: Bearer {TOKEN}\r\n");
    let (mut stream, answer) = ask(open.address, "/stream", &token, "first").await;
    assert!(answer.contains("first"), "{answer}");
    assert_eq!(open.traffic.of(EndpointKind::Tcp).connections(), 1);
    open.stop.cancel();
    let mut rest = String::new();
    let read = tokio::time::timeout(WAIT_MAX, stream.read_to_string(&mut rest)).await;
    read.expect("the stream ends").unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "it ends in order: {rest:?}");
    let served = tokio::time::timeout(WAIT_MAX, open.serving.join_next()).await;
    served.expect("the endpoint closes").unwrap().unwrap();
    assert_eq!(open.traffic.of(EndpointKind::Tcp).connections(), 0);
    assert_eq!(open.traffic.of(EndpointKind::Tcp).answers(), [0, 1, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_keeps_the_place_of_its_connection() {
    let open = open(1).await;
    let handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for (protocols, chosen) in [
        (
            format!("bearer.{TOKEN}"),
            format!("sec-websocket-protocol: bearer.{TOKEN}"),
        ),
        (
            format!("tokentail, bearer.{TOKEN}"),
            "sec-websocket-protocol: tokentail".to_owned(),
        ),
    ] {
        let headers = format!("{handshake}Sec-WebSocket-Protocol: {protocols}\r\n");
        let (socket, answer) = ask(open.address, "/socket", &headers, "\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.contains(&chosen), "{answer}");
        let full = ask_to_the_end(open.address, "/").await;
        assert!(full.starts_with("HTTP/1.1 503 "), "{full}");
        drop(socket);
        let free = async {
            while !ask_to_the_end(open.address, "/")
                .await
                .starts_with("HTTP/1.1 200 ")
            {}
        };
        tokio::time::timeout(WAIT_MAX, free)
            .await
            .expect("its place is free again");
        // The slot of the last request is released as well.
        let free = async {
            while open.traffic.of(EndpointKind::Tcp).connections() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT_MAX, free).await.expect("all have gone");
    }
    assert!(open.traffic.of(EndpointKind::Tcp).refused() >= 2);
    assert_eq!(open.traffic.of(EndpointKind::Tcp).answers()[0], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_ends_its_connection_and_no_other() {
    let open = open(8).await;
    assert_eq!(ask_to_the_end(open.address, "/panic").await, "");
    let answer = ask_to_the_end(open.address, "/").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn there_is_room_for_so_many_subscribers() {
    let subscribers = Subscribers::new(2);
    let permits = [subscribers.try_enter(), subscribers.try_enter()];
    assert!(permits.iter().all(Option::is_some));
    assert!(subscribers.clone().try_enter().is_none());
    assert_eq!(subscribers.now(), 2);
    drop(permits);
    assert_eq!(subscribers.now(), 0);
    assert!(subscribers.try_enter().is_some());
}
