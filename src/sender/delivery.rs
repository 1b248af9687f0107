//! One try to deliver an event to a target. It blocks, up to the target's time.

use std::collections::BTreeMap;
use std::ffi::OsString;

use zeroize::Zeroizing;

use super::body::{OutgoingNotice, body, standard, time_text};
use super::exec;
use super::schedule::{TryResult, of_status};
use crate::clock::Clock;
use crate::config::{is_loopback_url, read_secrets};
use crate::outbound::{OutboundError, OutboundRequest, USER_AGENT, send};
use crate::parse::claude::limits::retry_after;
use crate::quota::notice::target::{NoticeFormat, NoticeRoute, NoticeTarget, ntfy_topic};
use crate::systemd;

/// Bytes read of an answer.
const ANSWER_BYTES_MAX: u64 = 4 << 10;
/// Letters of an answer that are shown.
const SHOWN_MAX: usize = 200;

/// What every try needs.
#[derive(Clone, Debug)]
pub struct DeliveryContext {
    pub clock: Clock,
    /// The variables that programs get.
    pub variables: BTreeMap<String, OsString>,
    /// The name of this machine.
    pub host: Box<str>,
}

impl DeliveryContext {
    #[must_use]
    pub fn new(clock: Clock, variables: BTreeMap<String, OsString>) -> Self {
        let host = rustix::system::uname();
        Self {
            clock,
            variables,
            host: host.nodename().to_string_lossy().into(),
        }
    }
}

/// Delivers an event once.
#[must_use]
pub fn deliver(target: &NoticeTarget, outgoing: &OutgoingNotice<'_>, context: &DeliveryContext) -> TryResult {
    match &target.route {
        NoticeRoute::Url(url) => post(target, url, outgoing, context),
        NoticeRoute::Exec(words) => run(target, words, outgoing, context),
    }
}

fn post(
    target: &NoticeTarget,
    url: &str,
    outgoing: &OutgoingNotice<'_>,
    context: &DeliveryContext,
) -> TryResult {
    let (url, topic) = match ntfy_topic(url).filter(|_| target.format == NoticeFormat::Ntfy) {
        Some((server, topic)) => (server, topic),
        None => (url.to_owned(), ""),
    };
    let url = url.as_str();
    let body = body(target.format, topic, outgoing);
    let seconds = context.clock.now().div_euclid(1000);
    let id = &*outgoing.numbered.id;
    let (timestamp, mut signatures) = (seconds.to_string(), Vec::new());
    let mut bearer = None;
    if let Some(path) = &target.secret_file {
        let secrets = match read_secrets(path) {
            Ok(secrets) => secrets,
            // It may be put right at any time.
            Err(error) => {
                return TryResult::Retry {
                    why: error.to_string(),
                    after: None,
                };
            }
        };
        for secret in secrets {
            match sign(&secret, id, seconds, &body) {
                Signed::Signature(signature) => signatures.push(signature),
                Signed::Token => bearer = Some(Zeroizing::new(format!("Bearer {}", secret.as_str()))),
                Signed::Nothing => {
                    let why = format!(
                        "the secret {} has a line whsec_ whose rest is not 24 to 64 bytes in base64",
                        path.display()
                    );
                    return TryResult::Retry { why, after: None };
                }
            }
        }
    }
    let signatures = signatures.join(" ");
    let mut all = vec![
        ("Content-Type", "application/json"),
        ("User-Agent", USER_AGENT),
        ("webhook-id", id),
        ("webhook-timestamp", timestamp.as_str()),
    ];
    if !signatures.is_empty() {
        all.push(("webhook-signature", &signatures));
    }
    if let Some(bearer) = &bearer {
        all.push(("Authorization", bearer.as_str()));
    }
    let request = OutboundRequest {
        url,
        is_local: is_loopback_url(url),
        headers: &all,
        body: Some(body.as_bytes()),
        within: target.timeout,
    };
    match send(&request) {
        Ok(mut answer) => {
            let status = answer.status();
            let now = context.clock.now();
            let after = answer
                .header("retry-after")
                .and_then(|text| retry_after(text, now))
                .map(|at| at.saturating_sub(now));
            let said = if (200..300).contains(&status) {
                String::new()
            } else {
                answer.beginning(ANSWER_BYTES_MAX)
            };
            let end = said.floor_char_boundary(SHOWN_MAX);
            of_status(status, after, &said[..end])
        }
        Err(error) => TryResult::Retry {
            why: match error {
                OutboundError::Timeout => {
                    format!(
                        "it did not answer within {} ms{}",
                        target.timeout.as_millis(),
                        unit_hint(url)
                    )
                }
                OutboundError::Long => "its answer is too long".to_owned(),
                OutboundError::Other(why) => format!("no answer: {}", why.replace(url, "the address")),
            },
            after: None,
        },
    }
}

/// What a line of the secret's file is for.
#[cfg_attr(
    not(feature = "outbound"),
    expect(dead_code, reason = "nothing is signed without requests")
)]
enum Signed {
    Signature(String),
    /// It is sent as it is.
    Token,
    /// It begins like a key and is none.
    Nothing,
}

/// A hint for a service: its unit shuts out other hosts, which shows as silence.
fn unit_hint(url: &str) -> &'static str {
    if is_loopback_url(url) || !systemd::is_service() {
        ""
    } else {
        "; the service's unit reaches this host only, unless its drop-in notify.conf is installed"
    }
}

#[cfg(feature = "outbound")]
fn sign(secret: &str, id: &str, seconds: i64, body: &str) -> Signed {
    use super::signature::{SIGNING_PREFIX, signature};
    if !secret.starts_with(SIGNING_PREFIX) {
        return Signed::Token;
    }
    signature(secret, id, seconds, body).map_or(Signed::Nothing, Signed::Signature)
}

#[cfg(not(feature = "outbound"))]
fn sign(_: &str, _: &str, _: i64, _: &str) -> Signed {
    Signed::Nothing
}

/// The reason why the secrets of a target cannot be used.
#[must_use]
pub fn secret_problem(target: &NoticeTarget) -> Option<String> {
    let path = target.secret_file.as_ref()?;
    match read_secrets(path) {
        Err(error) => Some(error.to_string()),
        Ok(secrets) => {
            let is_no_key = |secret: &Zeroizing<String>| matches!(sign(secret, "", 0, ""), Signed::Nothing);
            secrets.iter().any(is_no_key).then(|| {
                format!(
                    "the secret {} has a line whsec_ whose rest is not 24 to 64 bytes in base64",
                    path.display()
                )
            })
        }
    }
}

fn run(
    target: &NoticeTarget,
    words: &[String],
    outgoing: &OutgoingNotice<'_>,
    context: &DeliveryContext,
) -> TryResult {
    let notice = &outgoing.numbered.notice;
    let account = notice.account.as_ref();
    let mut variables = context.variables.clone();
    let mut set = |name: &str, value: Option<&str>| {
        // A zero byte cannot be in a variable.
        if let Some(value) = value {
            variables.insert(format!("TOKENTAIL_{name}"), value.replace('\0', "").into());
        }
    };
    set("EVENT", Some(notice.kind.into_str()));
    set("ID", Some(&outgoing.numbered.id));
    set("PROVIDER", account.map(|id| &*id.provider));
    set("ACCOUNT", account.map(|id| &*id.name));
    set("BUCKET", notice.bucket.as_deref());
    set("RUN", notice.run.as_deref());
    set(
        "THRESHOLD",
        notice.threshold.map(|percent| percent.to_string()).as_deref(),
    );
    set(
        "UTILIZATION",
        notice.utilization.map(|share| share.to_string()).as_deref(),
    );
    set("RESET_AT", notice.reset_at.map(time_text).as_deref());
    set("SENTENCE", Some(&notice.sentence));
    set("TEST", outgoing.is_test.then_some("true"));
    let input = standard(outgoing) + "\n";
    let end = exec::run(words, &variables, &input, target.timeout);
    if !end.output.is_empty() {
        tracing::info!(target = &*target.name, id = &*outgoing.numbered.id, output = ?end.output, "the program said");
    }
    end.result
}
