//! Requests to other hosts: the only module that uses ureq.
//!
//! HTTPS, or plain HTTP on this host; no redirects; one bound on the time of a request as a whole. Without the feature
//! `outbound` every request is refused, and so is the configuration that would need one.

use std::time::Duration;

/// The program's own name for servers.
pub const USER_AGENT: &str = concat!("tokentail/", env!("CARGO_PKG_VERSION"));

/// A request: with a body it is a POST, without one a GET.
#[derive(Debug)]
pub struct OutboundRequest<'a> {
    pub url: &'a str,
    /// True for an address of this host over plain HTTP; else it must be HTTPS.
    pub is_local: bool,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: Option<&'a [u8]>,
    /// Time for everything: names, connection, request, answer.
    pub within: Duration,
}

/// Reason why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboundError {
    /// The answer is longer than allowed.
    Long,
    Timeout,
    Other(Box<str>),
}

/// An answer whose body is not read yet.
#[cfg(feature = "outbound")]
pub struct OutboundAnswer(http::Response<ureq::Body>);

/// There is none.
#[cfg(not(feature = "outbound"))]
pub enum OutboundAnswer {}

#[cfg(feature = "outbound")]
impl OutboundAnswer {
    #[must_use]
    pub fn status(&self) -> u16 {
        self.0.status().as_u16()
    }

    /// A header that is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The body.
    ///
    /// # Errors
    /// It is longer than `bytes_max`, or does not come.
    pub fn text(&mut self, bytes_max: u64) -> Result<String, OutboundError> {
        let body = self.0.body_mut().with_config().limit(bytes_max);
        body.read_to_string().map_err(|error| failure(&error))
    }
}

#[cfg(not(feature = "outbound"))]
impl OutboundAnswer {
    #[must_use]
    pub fn status(&self) -> u16 {
        match *self {}
    }

    #[must_use]
    pub fn header(&self, _: &str) -> Option<&str> {
        match *self {}
    }

    /// # Errors
    /// None: there is no answer.
    pub fn text(&mut self, _: u64) -> Result<String, OutboundError> {
        match *self {}
    }
}

/// Sends a request. Blocks up to its time.
///
/// # Errors
/// There is no answer.
#[cfg(feature = "outbound")]
pub fn send(request: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError> {
    let mut config = ureq::config::Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .https_only(!request.is_local)
        .timeout_global(Some(request.within))
        .max_idle_connections(0);
    if request.is_local {
        config = config.proxy(None::<ureq::Proxy>);
    }
    let agent = config.build().new_agent();
    let answer = match request.body {
        None => {
            let with =
                |call: ureq::RequestBuilder<_>, (name, value): &(&str, &str)| call.header(*name, *value);
            request.headers.iter().fold(agent.get(request.url), with).call()
        }
        Some(body) => {
            let with =
                |call: ureq::RequestBuilder<_>, (name, value): &(&str, &str)| call.header(*name, *value);
            request
                .headers
                .iter()
                .fold(agent.post(request.url), with)
                .send(body)
        }
    };
    answer.map(OutboundAnswer).map_err(|error| failure(&error))
}

/// Refuses: there are no requests without the feature `outbound`.
///
/// # Errors
/// Always.
#[cfg(not(feature = "outbound"))]
pub fn send(_: &OutboundRequest<'_>) -> Result<OutboundAnswer, OutboundError> {
    let why = "this program was built without the feature `outbound`, so it sends no requests";
    Err(OutboundError::Other(why.into()))
}

/// An error in words of this program where the crate's could have parts of the address or of a header: the path of an
/// address may be a secret.
#[cfg(feature = "outbound")]
fn failure(error: &ureq::Error) -> OutboundError {
    let other = |why: &str| OutboundError::Other(why.into());
    match error {
        ureq::Error::BodyExceedsLimit(_) => OutboundError::Long,
        ureq::Error::Timeout(_) => OutboundError::Timeout,
        ureq::Error::Io(error) => other(&error.to_string()),
        ureq::Error::HostNotFound => other("its name is not found"),
        ureq::Error::ConnectionFailed => other("there is no connection"),
        ureq::Error::Tls(why) => other(&format!("TLS: {why}")),
        ureq::Error::Rustls(error) => other(&format!("TLS: {error}")),
        ureq::Error::BadUri(_) | ureq::Error::Http(_) => other("its address cannot be used"),
        ureq::Error::InvalidProxyUrl | ureq::Error::ConnectProxyFailed(_) => {
            other("the proxy of $HTTPS_PROXY or $ALL_PROXY cannot be used")
        }
        ureq::Error::Protocol(_) => other("what it sent is not HTTP"),
        _ => other("the request broke off"),
    }
}

#[cfg(all(test, feature = "outbound"))]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_no_part_of_the_address() {
        let secret = || "https://a.example/services/SECRET".to_owned();
        for error in [
            ureq::Error::BadUri(secret()),
            ureq::Error::RequireHttpsOnly(secret()),
            ureq::Error::ConnectProxyFailed(secret()),
        ] {
            assert!(error.to_string().contains("SECRET"));
            let said = format!("{:?}", failure(&error));
            assert!(!said.contains("SECRET"), "{said}");
        }
    }
}
