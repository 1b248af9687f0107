//! Requests to the collector over its control socket, bounded in time and size.

use std::convert::Infallible;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
pub use hyper::{Method, StatusCode};
use hyper::{Request, Response, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::exit::{Exit, Failure};
use super::print::numbers;
use super::settings::SERVICE_SOCKET;
use crate::api::runs::INCOMPLETE;
use crate::api::wire::Problem;

/// Largest answer, in bytes.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Default timeout of a whole exchange.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Timeouts of a stream.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Until it begins.
    begins: Duration,
    /// Between two parts; the collector sends something at least every 15 s.
    goes_on: Duration,
}

/// Longest wait for the next part of a stream.
const GOES_ON_WITHIN: Duration = Duration::from_secs(30);

/// Errors of a request.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No socket file, or no listener behind it.
    #[error(
        "no collector answers on {}; {}, or name the socket of another with --socket",
        .0.display(),
        start_hint(.0)
    )]
    NotRunning(PathBuf),
    #[error("{} exists and is not a socket; name the collector's with --socket, or move it away", .0.display())]
    NotASocket(PathBuf),
    /// The socket exists but refuses connections.
    #[error("cannot connect to {}: {error}{}", .socket.display(), connect_hint(.error))]
    Connect { socket: PathBuf, error: io::Error },
    #[error("the collector on {} did not answer {path} within {}; try again", .socket.display(), numbers::length(.after.as_secs()))]
    Timeout {
        socket: PathBuf,
        path: String,
        after: Duration,
    },
    /// The collector answered with an error.
    #[error("{}", sentence(*.0, .1))]
    Status(StatusCode, Problem),
    #[error("the connection to the collector on {} was lost: {why}", .socket.display())]
    Lost { socket: PathBuf, why: String },
    #[error("the collector on {} sent nothing for {}; see whether it is stopped or hangs", .socket.display(), numbers::length(.after.as_secs()))]
    Silent { socket: PathBuf, after: Duration },
    /// The answer is not that of a collector.
    #[error("the answer of {} to {path} cannot be read: {why}; is it a tokentail of the same version?", .socket.display())]
    Protocol {
        socket: PathBuf,
        path: String,
        why: String,
    },
}

impl ClientError {
    /// True if the same request may succeed later: nothing is wrong with it.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Status(status, _) => status.is_server_error() || *status == StatusCode::REQUEST_TIMEOUT,
            Self::Connect { error, .. } => error.kind() != io::ErrorKind::PermissionDenied,
            Self::NotASocket(_) => false,
            Self::NotRunning(_)
            | Self::Timeout { .. }
            | Self::Lost { .. }
            | Self::Silent { .. }
            | Self::Protocol { .. } => true,
        }
    }

    /// True if the collector is away or went away meanwhile, as while it is started again.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(
            self,
            Self::NotRunning(_) | Self::Lost { .. } | Self::Protocol { .. }
        )
    }

    /// True if the item has ended.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Status(StatusCode::GONE, _))
    }

    /// True if the collector answers but does not have the requested item yet. Unreadable answers do not
    /// count.
    #[must_use]
    pub fn is_not_yet(&self) -> bool {
        matches!(self, Self::Status(StatusCode::SERVICE_UNAVAILABLE, problem)
            if problem.field.as_deref() != Some(INCOMPLETE))
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let code = match &error {
            ClientError::Timeout { .. } | ClientError::Silent { .. } => Exit::TryLater,
            ClientError::Connect { error, .. } if error.kind() == io::ErrorKind::WouldBlock => Exit::TryLater,
            ClientError::Connect { error, .. } => Exit::of_io(error.kind()),
            ClientError::Status(StatusCode::BAD_REQUEST | StatusCode::CONFLICT, _) => Exit::Usage,
            ClientError::Status(StatusCode::NOT_FOUND | StatusCode::GONE, _) => Exit::NoInput,
            ClientError::Status(StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS, _) => {
                Exit::TryLater
            }
            ClientError::NotRunning(_)
            | ClientError::NotASocket(_)
            | ClientError::Lost { .. }
            | ClientError::Protocol { .. }
            | ClientError::Status(..) => Exit::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// Requests the document at `path` from the collector behind `socket`; `timeout` covers everything from
/// connecting to the last byte.
///
/// # Errors
/// No answer, a timeout, an error answer, or another document.
pub async fn get_json<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    timeout: Duration,
) -> Result<T, ClientError> {
    ask(socket, Method::GET, path, None, timeout).await
}

/// Sends a document to `path` and returns the answer.
///
/// # Errors
/// As [`get_json`].
pub async fn send_json<T: DeserializeOwned>(
    socket: &Path,
    (method, path): (Method, &str),
    document: &impl Serialize,
    timeout: Duration,
) -> Result<T, ClientError> {
    let body = body_of(socket, path, document)?;
    ask(socket, method, path, Some(body), timeout).await
}

/// Posts bytes of a document to `path` and returns the answer.
///
/// # Errors
/// As [`get_json`].
pub async fn post_bytes<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    body: impl Into<Bytes>,
    timeout: Duration,
) -> Result<T, ClientError> {
    ask(socket, Method::POST, path, Some(body.into()), timeout).await
}

/// Posts documents, one on each line, to `path` and returns the answer.
///
/// # Errors
/// As [`get_json`].
pub async fn post_lines<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    lines: Bytes,
    timeout: Duration,
) -> Result<T, ClientError> {
    let exchange = exchange(socket, Method::POST, path, Some(lines), "application/x-ndjson");
    in_time(socket, path, timeout, exchange).await
}

/// Posts to `path` without a document.
///
/// # Errors
/// As [`get_json`].
pub async fn post<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    timeout: Duration,
) -> Result<T, ClientError> {
    ask(socket, Method::POST, path, None, timeout).await
}

/// Deletes the item at `path`.
///
/// # Errors
/// As [`get_json`].
pub async fn delete(socket: &Path, path: &str, timeout: Duration) -> Result<(), ClientError> {
    ask(socket, Method::DELETE, path, None, timeout).await
}

/// A query string with its question mark; empty without parameters.
#[must_use]
pub fn query(parameters: &[(&str, Option<&str>)]) -> String {
    let mut query = String::new();
    for (name, value) in parameters {
        if let Some(value) = value {
            query.push(if query.is_empty() { '?' } else { '&' });
            query.push_str(name);
            query.push('=');
            query.push_str(&escaped(value));
        }
    }
    query
}

/// A percent-encoded value of a query, or part of a path.
#[must_use]
pub fn escaped(text: &str) -> String {
    let escape = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(escape).collect()
}

fn body_of(socket: &Path, path: &str, document: &impl Serialize) -> Result<Bytes, ClientError> {
    let body = serde_json::to_vec(document).map_err(|error| ClientError::Protocol {
        socket: socket.to_owned(),
        path: path.to_owned(),
        why: error.to_string(),
    })?;
    Ok(body.into())
}

async fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<Bytes>,
    timeout: Duration,
) -> Result<T, ClientError> {
    let exchange = exchange(socket, method, path, body, "application/json");
    in_time(socket, path, timeout, exchange).await
}

/// The result of an exchange, if it comes in time.
async fn in_time<T>(
    socket: &Path,
    path: &str,
    timeout: Duration,
    exchange: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    tokio::time::timeout(timeout, exchange).await.unwrap_or_else(|_| {
        Err(ClientError::Timeout {
            socket: socket.to_owned(),
            path: path.to_owned(),
            after: timeout,
        })
    })
}

/// [`get_json`] for commands without a runtime.
///
/// # Errors
/// As [`get_json`].
pub fn get_json_blocking<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    timeout: Duration,
) -> Result<T, ClientError> {
    runtime(socket)?.block_on(get_json(socket, path, timeout))
}

/// A runtime for a command with several requests.
///
/// # Errors
/// The system provides no threads.
pub fn runtime(socket: &Path) -> Result<tokio::runtime::Runtime, ClientError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| ClientError::Connect {
            socket: socket.to_owned(),
            error,
        })
}

async fn exchange<T: DeserializeOwned>(
    socket: &Path,
    method: Method,
    path: &str,
    document: Option<Bytes>,
    kind: &'static str,
) -> Result<T, ClientError> {
    let protocol = |why: String| ClientError::Protocol {
        socket: socket.to_owned(),
        path: path.to_owned(),
        why,
    };
    let stream = connect(socket).await?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| protocol(error.to_string()))?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "localhost")
        .header(header::ACCEPT, "application/json")
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(document.unwrap_or_default()))
        .map_err(|error| protocol(error.to_string()))?;
    // The connection task moves the bytes; its errors reach the exchange through the sender and the body.
    let driver = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| protocol(error.to_string()))?;
        let status = response.status();
        let body = body(response).await.map_err(&protocol)?;
        if !status.is_success() {
            return Err(ClientError::Status(status, problem(status, &body)));
        }
        // 204 has no body.
        let body: &[u8] = if body.is_empty() { b"null" } else { &body };
        serde_json::from_slice(body).map_err(|error| protocol(error.to_string()))
    };
    tokio::select! {
        result = answer => result,
        never = driver => match never {},
    }
}

/// Requests a stream of server-sent events after the event `last_id`, if that is not empty, and passes its
/// bytes to `each` until the stream ends or `each` stops.
///
/// # Errors
/// No answer within [`TIMEOUT`], an error answer, or a lost or silent connection.
pub async fn follow(
    socket: &Path,
    path: &str,
    last_id: &str,
    each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let mut request = Request::builder()
        .uri(path)
        .header(header::ACCEPT, "text/event-stream");
    if !last_id.is_empty() {
        request = request.header("last-event-id", last_id);
    }
    let patience = Patience {
        begins: TIMEOUT,
        goes_on: GOES_ON_WITHIN,
    };
    stream(socket, path, request, patience, each).await
}

/// Requests a body that may be long and takes up to `begins_within` to begin, and passes its bytes to `each`
/// until it ends or `each` stops.
///
/// # Errors
/// As [`follow`].
pub async fn receive(
    socket: &Path,
    (method, path): (Method, &str),
    begins_within: Duration,
    each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let request = Request::builder().method(method).uri(path);
    let patience = Patience {
        begins: begins_within,
        goes_on: GOES_ON_WITHIN,
    };
    stream(socket, path, request, patience, each).await
}

async fn stream(
    socket: &Path,
    path: &str,
    request: http::request::Builder,
    patience: Patience,
    mut each: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let protocol = |why: String| ClientError::Protocol {
        socket: socket.to_owned(),
        path: path.to_owned(),
        why,
    };
    let silent = |_| ClientError::Silent {
        socket: socket.to_owned(),
        after: patience.goes_on,
    };
    let stream = connect(socket).await?;
    let (mut sender, connection) = http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream))
        .await
        .map_err(|error| protocol(error.to_string()))?;
    let request = request
        .header(header::HOST, "localhost")
        .body(Full::default())
        .map_err(|error| protocol(error.to_string()))?;
    let driver = async {
        let _ = connection.await;
        std::future::pending::<Infallible>().await
    };
    let answer = async {
        let begun = tokio::time::timeout(patience.begins, sender.send_request(request)).await;
        let response = match begun {
            Ok(response) => response.map_err(|error| protocol(error.to_string()))?,
            Err(_) => {
                return Err(ClientError::Timeout {
                    socket: socket.to_owned(),
                    path: path.to_owned(),
                    after: patience.begins,
                });
            }
        };
        let status = response.status();
        if !status.is_success() {
            let body = tokio::time::timeout(patience.goes_on, body(response)).await;
            let body = body.map_err(silent)?.map_err(protocol)?;
            return Err(ClientError::Status(status, problem(status, &body)));
        }
        let mut body = response.into_body();
        while let Some(frame) = tokio::time::timeout(patience.goes_on, body.frame())
            .await
            .map_err(silent)?
        {
            let frame = frame.map_err(|error| ClientError::Lost {
                socket: socket.to_owned(),
                why: error.to_string(),
            })?;
            if let Some(bytes) = frame.data_ref()
                && each(bytes).is_break()
            {
                break;
            }
        }
        Ok(())
    };
    tokio::select! {
        result = answer => result,
        never = driver => match never {},
    }
}

async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::ConnectionRefused if !is_socket(socket) => {
                ClientError::NotASocket(socket.to_owned())
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning(socket.to_owned())
            }
            _ => ClientError::Connect {
                socket: socket.to_owned(),
                error,
            },
        })
}

/// True if a socket is there, or the path cannot be inspected.
fn is_socket(path: &Path) -> bool {
    std::fs::metadata(path).map_or(true, |file| file.file_type().is_socket())
}

/// The process id of the listener behind a socket, where the system provides it, and its user.
pub async fn peer(socket: &Path) -> Option<(Option<u32>, u32)> {
    let credentials = connect(socket).await.ok()?.peer_cred().ok()?;
    let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok());
    Some((pid, credentials.uid()))
}

async fn body(response: Response<Incoming>) -> Result<Bytes, String> {
    match Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err(format!("longer than {}", numbers::bytes(BODY_BYTES_MAX as u64)))
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The problem document, or one made from the status if the body is something else.
fn problem(status: StatusCode, body: &[u8]) -> Problem {
    serde_json::from_slice(body).unwrap_or_else(|_| Problem {
        status: status.as_u16(),
        title: status
            .canonical_reason()
            .unwrap_or("an unknown status")
            .to_owned(),
        detail: String::new(),
        field: None,
    })
}

/// The refusal in the collector's words; other answers with the status.
fn sentence(status: StatusCode, problem: &Problem) -> String {
    let Problem { title, detail, .. } = problem;
    // Field names of the request are left out: the values were given on the command line.
    let detail = ["body: ", "id: ", "account: "]
        .into_iter()
        .find_map(|part| detail.strip_prefix(part))
        .unwrap_or(detail);
    match (status.is_client_error(), detail) {
        (_, "") => format!("the collector answered {status}: {title}"),
        (true, detail) => format!("the collector refuses it: {detail}"),
        (false, detail) => format!("the collector cannot do it now ({title}): {detail}"),
    }
}

fn start_hint(socket: &Path) -> &'static str {
    if socket == Path::new(SERVICE_SOCKET) {
        "start the service with `systemctl start tokentail`"
    } else {
        "start one with `tokentail serve`"
    }
}

fn connect_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "; run this as root or as a member of the collector's group",
        io::ErrorKind::WouldBlock => "; too many are waiting already, try again",
        _ => "; check --socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::wire::Health;
    use axum::Json;
    use axum::routing::get;
    use tokio::net::UnixListener;

    const WAIT: Duration = Duration::from_secs(20);

    /// A collector's socket in an empty folder; it answers as long as the test runs.
    fn collector() -> (tempfile::TempDir, PathBuf) {
        let problem = Problem {
            status: 404,
            title: "no such run".into(),
            detail: "run-9 was never seen".into(),
            field: None,
        };
        let routes = axum::Router::new()
            .route(
                "/health",
                get(|| async {
                    Json(Health {
                        commits: 7,
                        ..Health::default()
                    })
                }),
            )
            .route(
                "/problem",
                get(|| async { (StatusCode::NOT_FOUND, Json(problem)) }),
            )
            .route(
                "/busy",
                get(|| async { (StatusCode::SERVICE_UNAVAILABLE, "later") }),
            )
            .route("/long", get(|| async { vec![b' '; BODY_BYTES_MAX + 1] }))
            .route(
                "/stalls",
                get(|| async {
                    let parts = futures_util::stream::iter([Ok::<_, Infallible>("part")]);
                    let parts = futures_util::StreamExt::chain(parts, futures_util::stream::pending());
                    axum::body::Body::from_stream(parts)
                }),
            )
            .route("/never", get(|| async { std::future::pending::<&str>().await }));
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async { axum::serve(listener, routes).await });
        (folder, socket)
    }

    async fn fails(socket: &Path, path: &str, timeout: Duration) -> (ClientError, Exit) {
        let code = Failure::from(get_json::<Health>(socket, path, timeout).await.unwrap_err()).code;
        (get_json::<Health>(socket, path, timeout).await.unwrap_err(), code)
    }

    #[tokio::test]
    async fn a_document_arrives() {
        let (_folder, socket) = collector();
        let health: Health = get_json(&socket, "/health", WAIT).await.unwrap();
        assert_eq!(health.commits, 7);
    }

    #[tokio::test]
    async fn other_answers_keep_their_status() {
        let (_folder, socket) = collector();
        let (error, code) = fails(&socket, "/problem", WAIT).await;
        assert_eq!(
            error.to_string(),
            "the collector refuses it: run-9 was never seen"
        );
        assert_eq!(code, Exit::NoInput);
        let (error, code) = fails(&socket, "/busy", WAIT).await;
        assert!(matches!(error, ClientError::Status(_, problem) if problem.title == "Service Unavailable"));
        assert_eq!(code, Exit::TryLater);
    }

    #[tokio::test]
    async fn nonsense_and_silence_are_different_errors() {
        let (_folder, socket) = collector();
        let (error, code) = fails(&socket, "/long", WAIT).await;
        assert!(error.to_string().contains("longer than 64.0 MiB"), "{error}");
        assert_eq!(code, Exit::Unavailable);
        let error = get_json::<Problem>(&socket, "/health", WAIT).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
        let (error, code) = fails(&socket, "/never", Duration::from_millis(20)).await;
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        assert_eq!(code, Exit::TryLater);
    }

    #[tokio::test]
    async fn a_stream_that_does_not_begin_or_go_on_ends() {
        let (_folder, socket) = collector();
        let begins_late = Patience {
            begins: Duration::from_millis(20),
            goes_on: WAIT,
        };
        let stalls = Patience {
            begins: WAIT,
            goes_on: Duration::from_millis(20),
        };
        let mut received = Vec::new();
        for (path, patience) in [("/never", begins_late), ("/stalls", stalls)] {
            let ended = stream(&socket, path, Request::builder().uri(path), patience, |bytes| {
                received.extend_from_slice(bytes);
                ControlFlow::Continue(())
            });
            let error = ended.await.unwrap_err();
            let is_right = match path {
                "/never" => matches!(error, ClientError::Timeout { .. }),
                _ => matches!(error, ClientError::Silent { .. }),
            };
            assert!(is_right, "{error}");
            assert_eq!(Failure::from(error).code, Exit::TryLater);
        }
        assert_eq!(received, b"part");
    }

    #[tokio::test]
    async fn nobody_there_is_not_running() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        assert!(matches!(
            fails(&socket, "/", WAIT).await,
            (ClientError::NotRunning(_), Exit::Unavailable)
        ));
        // The file outlives the listener, as after a crash.
        drop(UnixListener::bind(&socket).unwrap());
        assert!(matches!(
            fails(&socket, "/", WAIT).await,
            (ClientError::NotRunning(_), Exit::Unavailable)
        ));
    }

    #[tokio::test]
    async fn a_listener_that_hangs_up_is_no_collector() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let listener = UnixListener::bind(&socket).unwrap();
        #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream);
            }
        });
        assert!(matches!(
            fails(&socket, "/", WAIT).await,
            (ClientError::Protocol { .. }, Exit::Unavailable)
        ));
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(query(&[("a", None)]), "");
        let parameters = [("a", Some("x y&z")), ("b", None), ("c", Some("k:ä"))];
        assert_eq!(query(&parameters), "?a=x%20y%26z&c=k%3A%C3%A4");
    }

    #[test]
    fn a_command_without_a_runtime_can_ask() {
        let failure = get_json_blocking::<Health>(Path::new("/no/such"), "/health", WAIT).unwrap_err();
        assert!(failure.to_string().contains("tokentail serve"), "{failure}");
    }
}
