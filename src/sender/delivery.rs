//! One try to deliver an event to a target. It blocks, up to the target's time.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::body::{OutgoingNotice, body, standard, time_text};
use super::ending::HookEnding;
use super::exec;
use super::schedule::{TryResult, of_status};
use crate::clock::Clock;
use crate::config::{SIGNING_PREFIX, is_loopback_url, read_secrets};
use crate::outbound::{OutboundError, OutboundRequest, USER_AGENT, send};
use crate::parse::claude::limits::retry_after;
use crate::quota::notice::target::{NoticeFormat, NoticeRoute, NoticeTarget, ntfy_topic};
use crate::systemd;

/// What every try needs.
#[derive(Clone, Debug)]
pub struct DeliveryContext {
    pub clock: Clock,
    /// The variables that programs get.
    pub variables: BTreeMap<String, OsString>,
    /// The name of this machine.
    pub host: Box<str>,
    pub ending: Arc<HookEnding>,
}

impl DeliveryContext {
    #[must_use]
    pub fn new(clock: Clock, variables: BTreeMap<String, OsString>, ending: Arc<HookEnding>) -> Self {
        let host = rustix::system::uname();
        Self {
            clock,
            variables,
            host: host.nodename().to_string_lossy().into(),
            ending,
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
    let timestamp = seconds.to_string();
    let secrets = signatures(target, id, seconds, &body).and_then(|signed| Ok((signed, bearer(target)?)));
    let (signatures, bearer) = match secrets {
        Ok(secrets) => secrets,
        // They may be put right at any time.
        Err(why) => return TryResult::Retry { why, after: None },
    };
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
        Ok(answer) => {
            let now = context.clock.now();
            let after = answer
                .header("retry-after")
                .and_then(|text| retry_after(text, now))
                .map(|at| at.saturating_sub(now));
            of_status(answer.status(), after)
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
                OutboundError::Other(why) => format!("no answer: {why}"),
            },
            after: None,
        },
    }
}

/// The signatures with all secrets of a target, separated by spaces; empty without any.
fn signatures(target: &NoticeTarget, id: &str, seconds: i64, body: &str) -> Result<String, String> {
    let Some(path) = &target.secret_file else {
        return Ok(String::new());
    };
    let secrets = read_secrets(path).map_err(|error| error.to_string())?;
    let signed: Option<Vec<String>> = secrets
        .iter()
        .map(|secret| sign(secret, id, seconds, body))
        .collect();
    // A line that signs nothing is an error: it would be an event that nobody can verify.
    signed.map(|signed| signed.join(" ")).ok_or_else(|| {
        let path = path.display();
        let token = "an access token belongs into token_file";
        format!("the secret {path} has a line that is not whsec_ and 24 to 64 bytes in base64; {token}")
    })
}

/// The value of the header with the access token of a target.
fn bearer(target: &NoticeTarget) -> Result<Option<Zeroizing<String>>, String> {
    let Some(path) = &target.token_file else {
        return Ok(None);
    };
    let tokens = read_secrets(path).map_err(|error| error.to_string())?;
    match &tokens[..] {
        [token] if token.starts_with(SIGNING_PREFIX) => {
            let path = path.display();
            Err(format!(
                "the token {path} is a secret that signs, whsec_; it belongs into secret_file"
            ))
        }
        [token] => Ok(Some(Zeroizing::new(format!("Bearer {}", token.as_str())))),
        _ => Err(format!("the token {} has more than one line", path.display())),
    }
}

/// A hint for a service: its unit shuts out other hosts, which shows as silence.
fn unit_hint(url: &str) -> &'static str {
    if is_loopback_url(url) || !systemd::is_service() {
        ""
    } else {
        "; the service's unit reaches this host only, unless its drop-in notify.conf is installed: see tokentail.service(8)"
    }
}

#[cfg(feature = "outbound")]
use super::signature::signature as sign;

#[cfg(not(feature = "outbound"))]
const fn sign(_: &str, _: &str, _: i64, _: &str) -> Option<String> {
    None
}

/// The reason why the secrets or the token of a target cannot be used. Nothing is sent.
#[must_use]
pub fn secret_problem(target: &NoticeTarget) -> Option<String> {
    let signed = signatures(target, "", 0, "").map(drop);
    signed.and_then(|()| bearer(target).map(drop)).err()
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
    let end = exec::run(words, &variables, &input, target.timeout, &context.ending);
    if !end.output.is_empty() {
        tracing::info!(target = &*target.name, id = &*outgoing.numbered.id, output = ?end.output, "the program said");
    }
    end.result
}
