//! Requests to the usage endpoints.
//!
//! One server for each token: `outbound` follows no redirect. The thread that asks waits up to `REQUEST_WITHIN`.

use std::time::Duration;

use serde::Deserialize;
use zeroize::Zeroizing;

use super::files::Credential;
use crate::clock::Clock;
use crate::config::is_loopback_url;
use crate::model::{Millis, Observation};
use crate::outbound::{OutboundError, OutboundRequest, USER_AGENT, send};
use crate::parse::claude::limits::{ReportSource, reported, retry_after};
use crate::quota::poll::outcome::{PollErrorKind, PollOutcome};
use crate::quota::poll::settings::{PollSettings, PollVia};

/// Time within which an answer must be complete.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const BODY_BYTES_MAX: u64 = 64 << 10;
const CLAUDE_BASE: &str = "https://api.anthropic.com";
const CODEX_BASE: &str = "https://chatgpt.com/backend-api";
/// The version of the interface that the endpoint of Claude requires with a login.
const CLAUDE_BETA: &str = "oauth-2025-04-20";

/// An answer: its outcome without the names of windows, its readings, and its time.
pub struct Reply {
    pub result: Result<Vec<Observation>, PollOutcome>,
    pub at: Millis,
}

/// The address that is asked.
fn url(settings: &PollSettings) -> String {
    let base = settings.base_url.as_deref();
    match settings.via {
        PollVia::Wham => match base.unwrap_or(CODEX_BASE) {
            base if base.contains("/backend-api") => format!("{base}/wham/usage"),
            base => format!("{base}/api/codex/usage"),
        },
        _ => format!("{}/api/oauth/usage", base.unwrap_or(CLAUDE_BASE)),
    }
}

/// Asks once. Blocks.
pub fn ask(settings: &PollSettings, credential: &Credential, clock: Clock) -> Reply {
    let result = exchange(settings, credential, clock);
    Reply {
        result,
        at: clock.now(),
    }
}

fn exchange(
    settings: &PollSettings,
    credential: &Credential,
    clock: Clock,
) -> Result<Vec<Observation>, PollOutcome> {
    let url = url(settings);
    let is_codex = settings.via == PollVia::Wham;
    let bearer = Zeroizing::new(format!("Bearer {}", credential.token.as_str()));
    let mut headers = vec![
        ("Authorization", bearer.as_str()),
        ("Accept", "application/json"),
        ("User-Agent", settings.user_agent.as_deref().unwrap_or(USER_AGENT)),
    ];
    if !is_codex {
        headers.push(("anthropic-beta", CLAUDE_BETA));
    }
    if let Some(id) = credential.account_id.as_deref().filter(|_| is_codex) {
        headers.push(("ChatGPT-Account-Id", id));
    }
    let host = url.split('/').nth(2).unwrap_or_default();
    let failed = |error: OutboundError| {
        let why = match error {
            OutboundError::Long => {
                let detail = format!("the answer of {host} is longer than {} KiB", BODY_BYTES_MAX >> 10);
                return PollOutcome::failed(PollErrorKind::BadAnswer, detail);
            }
            OutboundError::Timeout => {
                format!("{host} has not answered within {} s", REQUEST_WITHIN.as_secs())
            }
            OutboundError::Other(why) => format!("no answer of {host}: {why}"),
        };
        PollOutcome::failed(PollErrorKind::Network, why)
    };
    let request = OutboundRequest {
        url: &url,
        is_local: is_loopback_url(&url),
        headers: &headers,
        body: None,
        within: REQUEST_WITHIN,
    };
    let mut answer = send(&request).map_err(failed)?;
    let status = answer.status();
    if status != 200 {
        let now = clock.now();
        let retry_at = answer
            .header("retry-after")
            .and_then(|text| retry_after(text, now));
        let has_id = is_codex || answer.header("request-id").is_some();
        return Err(PollOutcome::of_status(status, is_codex, retry_at, has_id));
    }
    let body = answer.text(BODY_BYTES_MAX).map_err(failed)?;
    let login = credential.account_id.as_deref().filter(|_| is_codex);
    if login.is_some_and(|login| is_of_another(&body, login)) {
        let detail = format!("the answer of {host} is of another account than the login");
        return Err(PollOutcome::failed(PollErrorKind::OtherAccount, detail));
    }
    let observations = reported(ReportSource::Usage(&body), clock.now());
    if observations.is_empty() {
        let detail = format!("the answer of {host} has no reading of a limit");
        return Err(PollOutcome::failed(PollErrorKind::BadAnswer, detail));
    }
    Ok(observations)
}

#[derive(Deserialize)]
struct CodexAnswer {
    account_id: Option<String>,
}

/// True if an answer of Codex names another account than the login. Only ids of the same form can be compared: some
/// answers have a user's id in its place.
fn is_of_another(body: &str, login: &str) -> bool {
    let form = |id: &str| -> Vec<usize> { id.split('-').map(str::len).collect() };
    let answer: Option<CodexAnswer> = serde_json::from_str(body).ok();
    answer
        .and_then(|answer| answer.account_id)
        .is_some_and(|id| form(&id) == form(login) && !id.eq_ignore_ascii_case(login))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::poll::settings::INTERVAL_DEFAULT_MS;

    #[test]
    fn addresses_follow_the_way_and_the_base() {
        for (via, base, expected) in [
            (
                PollVia::UsageApi,
                None,
                "https://api.anthropic.com/api/oauth/usage",
            ),
            (
                PollVia::UsageApi,
                Some("http://127.0.0.1:1"),
                "http://127.0.0.1:1/api/oauth/usage",
            ),
            (PollVia::Wham, None, "https://chatgpt.com/backend-api/wham/usage"),
            (
                PollVia::Wham,
                Some("https://codex.example"),
                "https://codex.example/api/codex/usage",
            ),
        ] {
            let settings = PollSettings {
                via,
                interval: INTERVAL_DEFAULT_MS,
                credentials: None,
                cache: None,
                command: Vec::new(),
                user_agent: None,
                base_url: base.map(str::to_owned),
            };
            assert_eq!(url(&settings), expected);
        }
    }

    #[test]
    fn an_answer_of_another_account_is_found_where_ids_can_be_compared() {
        const LOGIN: &str = "5f0c8a4e-1111-4a2b-8c3d-0123456789ab";
        for (id, expected) in [
            (format!("{LOGIN:?}"), false),
            (format!("{:?}", LOGIN.to_uppercase()), false),
            ("\"5f0c8a4e-2222-4a2b-8c3d-0123456789ab\"".to_owned(), true),
            ("\"user-AbCdEf\"".to_owned(), false),
            ("null".to_owned(), false),
            ("7".to_owned(), false),
        ] {
            let body = format!("{{\"account_id\":{id},\"rate_limit\":{{}}}}");
            assert_eq!(is_of_another(&body, LOGIN), expected, "{body}");
        }
        assert!(!is_of_another("{}", LOGIN) && !is_of_another("<html>", LOGIN));
    }

    #[test]
    fn a_server_asks_for_a_wait_in_seconds_or_by_a_date_and_zero_is_none() {
        // 2026-10-05T12:00:00Z
        let now = 1_791_201_600_000;
        for (header, expected) in [
            ("2974", Some(now + 2_974_000)),
            (" 60 ", Some(now + 60_000)),
            ("0", None),
            ("-5", None),
            ("Mon, 05 Oct 2026 12:10:00 GMT", Some(now + 600_000)),
            ("Mon, 05 Oct 2026 11:00:00 GMT", None),
            ("soon\"", None),
            ("", None),
        ] {
            assert_eq!(retry_after(header, now), expected, "{header}");
        }
    }
}
