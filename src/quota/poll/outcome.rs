//! The outcome of one poll, from a status, a body or an error.

use strum::IntoStaticStr;

use crate::model::Millis;

/// The kind of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum PollErrorKind {
    /// The provider does not know the token any more.
    Expired,
    /// The token may not ask for usage.
    Forbidden,
    /// There is no usable credential in its file.
    MissingCredentials,
    RateLimited,
    /// No answer.
    Network,
    /// An error of the server, such as 503.
    Server,
    /// An answer without a reading, or one that leads elsewhere.
    BadAnswer,
    /// An answer of another account than that of the login.
    OtherAccount,
    /// The command failed.
    Command,
    /// The client's cache cannot be read, or was not written.
    Cache,
}

impl PollErrorKind {
    /// True if another credential may change the outcome.
    #[must_use]
    pub const fn is_of_credential(self) -> bool {
        matches!(self, Self::Expired | Self::Forbidden)
    }

    /// The word of the web client's contract.
    #[must_use]
    pub const fn web_word(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::MissingCredentials => "missing_credentials",
            Self::RateLimited => "rate_limited",
            _ => "network",
        }
    }

    /// What the operator can do.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Expired => {
                "log in again with the official client; it is asked again once the file has another token, or another end of it"
            }
            Self::Forbidden => {
                "use the credentials of a login, not of `claude setup-token`; it is asked again once the file has another token"
            }
            Self::MissingCredentials => {
                "check the path and the rights of the file in account.poll; it is read again by itself"
            }
            Self::RateLimited => "wait; if it stays, raise account.poll.interval, or poll on one host only",
            Self::Network => {
                "check the connection, and the service's drop-in poll.conf, which opens the network: see tokentail.service(8)"
            }
            Self::Server => "it is asked again by itself; see whether the provider has a disturbance",
            Self::BadAnswer => {
                "see account.poll.base_url; else the provider's interface may have changed: please report it"
            }
            Self::OtherAccount => {
                "log in again with the official client: its token and the account in its file do not belong together"
            }
            Self::Command => "run the command as the collector's user and see what it prints",
            Self::Cache => "run /usage in the official client, and check account.poll.cache",
        }
    }
}

/// The outcome of one poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollOutcome {
    /// An answer with these windows.
    Answer {
        windows: Vec<Box<str>>,
        /// The time of its readings.
        at: Millis,
    },
    Failed {
        kind: PollErrorKind,
        /// The cause in words, without any secret.
        detail: Box<str>,
        /// The time for which the server asked.
        retry_at: Option<Millis>,
        /// True for a refusal without a request id: so the edge answers a token that may not ask.
        is_from_edge: bool,
    },
}

impl PollOutcome {
    /// A failure without a time.
    pub fn failed(kind: PollErrorKind, detail: impl Into<Box<str>>) -> Self {
        Self::Failed {
            kind,
            detail: detail.into(),
            retry_at: None,
            is_from_edge: false,
        }
    }

    /// The outcome of an answer that is no success.
    #[must_use]
    pub fn of_status(status: u16, is_codex: bool, retry_at: Option<Millis>, has_request_id: bool) -> Self {
        let detail: Box<str> = format!("the server answered {status}").into();
        match status {
            401 => Self::failed(PollErrorKind::Expired, detail),
            403 if is_codex => Self::failed(PollErrorKind::Expired, detail),
            403 => Self::failed(PollErrorKind::Forbidden, detail),
            429 => Self::Failed {
                kind: PollErrorKind::RateLimited,
                detail,
                retry_at,
                is_from_edge: !has_request_id,
            },
            300..=399 => Self::failed(
                PollErrorKind::BadAnswer,
                format!("{detail}, a redirect, which is not followed: the token is for this server only"),
            ),
            _ => Self::Failed {
                kind: PollErrorKind::Server,
                detail,
                retry_at,
                is_from_edge: false,
            },
        }
    }

    /// The word of the outcome in metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Answer { .. } => "ok",
            Self::Failed { kind, .. } => kind.into_str(),
        }
    }
}
