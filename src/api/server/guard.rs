//! Access checks of the TCP endpoint: host name, origin, token, and read-only methods.
//!
//! A page in a browser on this host can send requests here, but must not read the answers. A page whose
//! foreign name resolves to this host is recognised by `Host`, a foreign page by `Origin`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use subtle::ConstantTimeEq;

use crate::api::http::problem::Problem;
use crate::api::page;
use crate::config::HttpSettings;
use crate::config::web::{Host, Token, TokenError, WebOrigin};
use crate::sync::unpoisoned;

const READING: [Method; 3] = [Method::GET, Method::HEAD, Method::OPTIONS];
/// Methods that a page of an allowed origin may use.
const CORS_METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");
const CORS_HEADERS: HeaderValue = HeaderValue::from_static("Authorization, Last-Event-ID, Content-Type");
/// Headers of an answer that such a page may read beside those that any page may.
const CORS_EXPOSED: HeaderValue = HeaderValue::from_static("X-Total-Count");
/// Seconds for which a browser may cache the preflight answer.
const CORS_MAX_AGE_S: HeaderValue = HeaderValue::from_static("600");
/// Prefix of a WebSocket protocol name that carries the token: a page cannot set headers of a WebSocket.
const PROTOCOL_PREFIX: &str = "bearer.";

/// The token, which can be replaced while requests are served.
#[derive(Debug, Default)]
pub struct TokenSlot {
    path: Option<PathBuf>,
    token: RwLock<Option<Token>>,
}

impl TokenSlot {
    /// Reads the token, if a file is configured.
    ///
    /// # Errors
    /// See [`Token::read`].
    pub fn read(path: Option<&Path>) -> Result<Self, TokenError> {
        Ok(Self {
            path: path.map(Path::to_owned),
            token: RwLock::new(path.map(Token::read).transpose()?),
        })
    }

    /// Reads the token again; if that fails, the old one stays.
    ///
    /// # Errors
    /// See [`Token::read`].
    pub fn reread(&self) -> Result<(), TokenError> {
        if let Some(path) = &self.path {
            let token = Token::read(path)?;
            *unpoisoned(self.token.write()) = Some(token);
        }
        Ok(())
    }

    /// Compares in constant time.
    fn is(&self, given: Option<&[u8]>) -> bool {
        let token = unpoisoned(self.token.read());
        token
            .as_ref()
            .is_none_or(|token| given.is_some_and(|given| token.as_bytes().ct_eq(given).into()))
    }
}

/// The checks of one endpoint.
#[derive(Debug)]
pub struct Guard {
    hosts: Vec<Host>,
    origins: Vec<WebOrigin>,
    token: Arc<TokenSlot>,
}

/// CORS headers for the answer.
#[derive(Debug, Default)]
pub struct CorsDecision {
    /// The origin that may read the answer.
    origin: Option<HeaderValue>,
    /// True if the answer depends on the origin.
    varies: bool,
    /// The protocol that a WebSocket gets if the route selects none.
    protocol: Option<HeaderValue>,
}

/// The next step for an allowed request.
enum Pass {
    On,
    /// A CORS preflight request, which is answered here.
    Preflight,
}

impl Guard {
    pub fn new(settings: &HttpSettings, listening: SocketAddr, token: Arc<TokenSlot>) -> Self {
        let mut hosts = vec![
            Host::Name("localhost".to_owned()),
            Host::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Host::Address(IpAddr::V6(Ipv6Addr::LOCALHOST)),
            Host::Address(listening.ip()),
        ];
        // Both lists were checked when the settings were loaded.
        hosts.extend(settings.hosts.iter().filter_map(|host| host.parse().ok()));
        let origins = settings.origins.iter().filter_map(|origin| origin.parse().ok());
        Self {
            hosts,
            origins: origins.collect(),
            token,
        }
    }

    /// The CORS decision, and the answer itself if the request goes no further.
    pub fn admit(&self, request: &mut Request<Body>) -> (CorsDecision, Option<Response>) {
        let mut cors = CorsDecision {
            varies: !self.origins.is_empty(),
            ..CorsDecision::default()
        };
        let (mut parts, body) = std::mem::take(request).into_parts();
        let answer = match self.check(&mut parts, &mut cors) {
            Ok(Pass::On) => None,
            Ok(Pass::Preflight) => Some(preflight()),
            Err(problem) => Some(problem.into_response()),
        };
        *request = Request::from_parts(parts, body);
        (cors, answer)
    }

    fn check(&self, parts: &mut Parts, cors: &mut CorsDecision) -> Result<Pass, Problem> {
        let (host, port) = self.host(parts)?;
        let origin = parts.headers.get(header::ORIGIN).cloned();
        let page = origin.as_ref().and_then(parse::<WebOrigin>);
        let listed = page.as_ref().is_some_and(|page| self.origins.contains(page));
        if listed {
            cors.origin.clone_from(&origin);
        }
        let asks_first = parts.headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if parts.method == Method::OPTIONS && origin.is_some() && asks_first {
            return if listed {
                Ok(Pass::Preflight)
            } else {
                Err(foreign_page())
            };
        }
        let by_protocol = protocol_token(&mut parts.headers, cors);
        let given = bearer(&parts.headers).or(by_protocol.as_deref());
        let needs_token = !page::is_without_token(&parts.method, parts.uri.path());
        if needs_token && !self.token.is(given) {
            return Err(no_token());
        }
        if !READING.contains(&parts.method) {
            return Err(Problem::new(
                StatusCode::FORBIDDEN,
                "TCP is read-only",
                format!("TCP is read-only; use the unix socket for {}", parts.method),
            ));
        }
        // Browsers apply no CORS to WebSockets: any page could open one and read it.
        let same = page.is_some_and(|page| page.is_at(&host, port));
        if parts.headers.contains_key(header::UPGRADE) && origin.is_some() && !listed && !same {
            return Err(foreign_page());
        }
        Ok(Pass::On)
    }

    /// The requested host: exactly one, and one of the allowed names.
    fn host(&self, parts: &Parts) -> Result<(Host, Option<u16>), Problem> {
        let misdirected = |detail: &str| {
            Problem::new(StatusCode::MISDIRECTED_REQUEST, "not a name of this host", detail).field("host")
        };
        let mut given = parts.headers.get_all(header::HOST).iter();
        let (Some(host), None) = (given.next(), given.next()) else {
            return Err(misdirected("host: the request must have one header Host"));
        };
        let foreign = || misdirected("host: this host name is not allowed; see http.hosts");
        let ours = |text: &str| Host::with_port(text).filter(|(host, _)| self.hosts.contains(host));
        // An authority in the request target overrides the header, so it must be allowed too.
        if let Some(authority) = parts.uri.authority() {
            ours(authority.as_str()).ok_or_else(foreign)?;
        }
        host.to_str().ok().and_then(ours).ok_or_else(foreign)
    }
}

impl CorsDecision {
    /// Adds the CORS headers to the answer.
    pub fn apply_headers(self, response: &mut Response) {
        let upgraded = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        if self.varies {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = self.origin {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, CORS_EXPOSED);
        }
        if let Some(protocol) = self.protocol.filter(|_| upgraded) {
            headers.entry(header::SEC_WEBSOCKET_PROTOCOL).or_insert(protocol);
        }
    }
}

fn parse<T: std::str::FromStr>(value: &HeaderValue) -> Option<T> {
    value.to_str().ok()?.parse().ok()
}

fn preflight() -> Response {
    let answer: [(HeaderName, HeaderValue); 3] = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, CORS_METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, CORS_HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, CORS_MAX_AGE_S),
    ];
    (StatusCode::NO_CONTENT, answer).into_response()
}

fn foreign_page() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "not for this page",
        "origin: the page is neither of this host nor one of http.origins",
    )
    .field("origin")
}

fn no_token() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "the token is missing or wrong",
        "authorization: send `Authorization: Bearer <token>` with the token of http.token_file",
    )
    .field("authorization")
}

/// The token in `Authorization: Bearer <token>`; with several such headers, none.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return None;
    };
    let (scheme, token) = value.as_bytes().split_at_checked("Bearer ".len())?;
    scheme
        .eq_ignore_ascii_case(b"Bearer ")
        .then(|| token.trim_ascii())
}

/// Removes the token from the offered WebSocket protocols.
///
/// A browser requires one of the offered protocols in the answer: another one that was offered, else the
/// token's own.
fn protocol_token(headers: &mut HeaderMap, cors: &mut CorsDecision) -> Option<Vec<u8>> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|value| value.to_str().ok());
    let offered: Vec<String> = offered
        .flat_map(|list| list.split(','))
        .map(|protocol| protocol.trim().to_owned())
        .collect();
    let is_token = |protocol: &&String| protocol.starts_with(PROTOCOL_PREFIX);
    let with_token = offered.iter().find(is_token)?;
    let others: Vec<&str> = offered
        .iter()
        .filter(|protocol| !is_token(protocol))
        .map(String::as_str)
        .collect();
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(value) = HeaderValue::from_str(&others.join(", "))
        && !others.is_empty()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    let answer = others.first().copied().unwrap_or(with_token);
    cors.protocol = HeaderValue::from_str(answer).ok();
    Some(with_token.as_bytes()[PROTOCOL_PREFIX.len()..].to_vec())
}
