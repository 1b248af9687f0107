//! Files of the official clients: credentials and caches. They are read, never written.
//!
//! Opened anew for each poll, because the client replaces them. A token is kept in memory that is overwritten when
//! it is given back, and is neither logged nor stored.

use std::borrow::Cow;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use crate::model::{Millis, Observation};
use crate::parse::claude::limits::{ReportSource, reported};
use crate::quota::poll::Fingerprint;
use crate::quota::poll::outcome::PollErrorKind;
use crate::quota::poll::settings::PollVia;

/// Largest file of credentials, in bytes.
const CREDENTIALS_BYTES_MAX: u64 = 64 << 10;
/// Largest cache of a client, in bytes; the file has much beside it.
const CACHE_BYTES_MAX: u64 = 32 << 20;
/// Longest token, in bytes.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// The scope that the usage endpoint of Claude requires.
const SCOPE: &str = "user:profile";

/// A token and what identifies it.
pub struct Credential {
    pub token: Zeroizing<String>,
    /// The account of a Codex token.
    pub account_id: Option<String>,
    pub fingerprint: Fingerprint,
}

/// The reason why nothing can be asked with what is in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct CredentialRefusal {
    pub kind: PollErrorKind,
    pub detail: Box<str>,
    /// The token, if there is one.
    pub fingerprint: Option<Fingerprint>,
}

#[derive(Deserialize)]
struct ClaudeCredentials<'a> {
    #[serde(rename = "claudeAiOauth", borrow)]
    login: Option<ClaudeLogin<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClaudeLogin<'a> {
    #[serde(borrow)]
    access_token: Option<Cow<'a, str>>,
    expires_at: Option<Value>,
    scopes: Option<Value>,
}

#[derive(Deserialize)]
struct CodexCredentials<'a> {
    #[serde(borrow)]
    tokens: Option<CodexTokens<'a>>,
}

#[derive(Deserialize)]
struct CodexTokens<'a> {
    #[serde(borrow)]
    access_token: Option<Cow<'a, str>>,
    account_id: Option<String>,
}

/// Reads the credential of a way from its file. `key` is the process's own key of fingerprints.
pub fn credential(
    path: &Path,
    via: PollVia,
    now: Millis,
    key: &RandomState,
) -> Result<Credential, CredentialRefusal> {
    let missing = |detail: String| CredentialRefusal {
        kind: PollErrorKind::MissingCredentials,
        detail: detail.into(),
        fingerprint: None,
    };
    let shown = path.display();
    let bytes = read(path, CREDENTIALS_BYTES_MAX).map_err(&missing)?;
    // The text of an error of the parser could repeat a part of the file.
    let unreadable = || missing(format!("{shown} is not JSON as the client writes it"));
    let (token, account_id, login) = if via == PollVia::Wham {
        let file: CodexCredentials<'_> = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
        let tokens = file
            .tokens
            .ok_or_else(|| missing(format!("{shown} has no `tokens`: log in with a plan")))?;
        (tokens.access_token, tokens.account_id, None)
    } else {
        let file: ClaudeCredentials<'_> = serde_json::from_slice(&bytes).map_err(|_| unreadable())?;
        let mut login = file
            .login
            .ok_or_else(|| missing(format!("{shown} has no `claudeAiOauth`: log in")))?;
        (login.access_token.take(), None, Some(login))
    };
    let token = token.map(|token| Zeroizing::new(token.into_owned()));
    let is_usable = |token: &Zeroizing<String>| {
        (1..=TOKEN_BYTES_MAX).contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let token = token
        .filter(is_usable)
        .ok_or_else(|| missing(format!("{shown} has no access token")))?;
    // A client may move the end of a token that is over.
    let end = (login.as_ref())
        .and_then(|login| login.expires_at.as_ref())
        .map(Value::to_string);
    let fingerprint = Fingerprint(key.hash_one((token.as_bytes(), end)));
    let refused = |kind, detail: String| CredentialRefusal {
        kind,
        detail: detail.into(),
        fingerprint: Some(fingerprint),
    };
    if let Some(login) = login {
        if let Some(scopes) = login.scopes.as_ref().and_then(Value::as_array)
            && scopes.iter().all(|scope| scope != SCOPE)
        {
            let detail = format!("the token in {shown} lacks the scope {SCOPE}");
            return Err(refused(PollErrorKind::Forbidden, detail));
        }
        if login
            .expires_at
            .as_ref()
            .and_then(Value::as_i64)
            .is_some_and(|at| at <= now)
        {
            let detail = format!("the token in {shown} is over; nothing is asked with it");
            return Err(refused(PollErrorKind::Expired, detail));
        }
    }
    let account_id = account_id.filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()));
    Ok(Credential {
        token,
        account_id,
        fingerprint,
    })
}

#[derive(Deserialize)]
struct ClaudeFile<'a> {
    #[serde(rename = "cachedUsageUtilization", borrow)]
    usage: Option<&'a RawValue>,
}

/// The readings in the client's cache, and the time of fetching.
pub fn cached(path: &Path, ahead_max: Millis) -> Result<(Millis, Vec<Observation>), String> {
    let shown = path.display();
    let bytes = read(path, CACHE_BYTES_MAX)?;
    let file: ClaudeFile<'_> = serde_json::from_slice(&bytes)
        .map_err(|_| format!("{shown} is not a whole JSON document; the client may be writing it"))?;
    let usage = file.usage.ok_or_else(|| {
        format!("{shown} has no `cachedUsageUtilization`: the client writes it when /usage runs")
    })?;
    let observations = reported(ReportSource::Kept(usage.get()), 0);
    let at = observations.first().and_then(|one| one.observed_at);
    let Some(at) = at.filter(|at| *at > 0) else {
        return Err(format!(
            "the cache in {shown} has no reading of a limit, or no time"
        ));
    };
    if at > ahead_max {
        return Err(format!(
            "the cache in {shown} is of a time ahead of this host's clock"
        ));
    }
    Ok((at, observations))
}

/// The bytes of a regular file, up to a bound.
fn read(path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    // A FIFO in its place would wait for a writer.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file =
        File::from(rustix::fs::open(path, flags, Mode::empty()).map_err(|error| failed(error.into()))?);
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(format!("{} is not a regular file", path.display()));
    }
    // A buffer that grows leaves copies behind.
    let room = usize::try_from(found.len().min(bytes_max)).unwrap_or(0) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!(
            "{} is longer than {} KiB",
            path.display(),
            bytes_max >> 10
        ));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    const NOW: Millis = 1_791_201_600_000;

    fn read_as(content: &[u8], via: PollVia) -> Result<Credential, CredentialRefusal> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("login.json");
        fs::write(&path, content).unwrap();
        credential(&path, via, NOW, &RandomState::new())
    }

    #[test]
    fn a_login_gives_its_token_and_other_keys_do_not_matter() {
        let claude = json!({"mcpOAuth": {"x": 1}, "claudeAiOauth": {"accessToken": "t-1", "expiresAt": NOW + 1,
            "scopes": ["user:inference", "user:profile"], "subscriptionType": null, "new": [1]}});
        let read = read_as(claude.to_string().as_bytes(), PollVia::UsageApi)
            .ok()
            .unwrap();
        assert_eq!((read.token.as_str(), read.account_id), ("t-1", None));
        // Neither end nor scopes are required.
        let bare = json!({"claudeAiOauth": {"accessToken": "t-1", "expiresAt": null}});
        assert!(read_as(bare.to_string().as_bytes(), PollVia::UsageApi).is_ok());
        let codex = json!({"OPENAI_API_KEY": null, "tokens": {"access_token": "t-2", "account_id": "a"}});
        let read = read_as(codex.to_string().as_bytes(), PollVia::Wham).ok().unwrap();
        assert_eq!(
            (read.token.as_str(), read.account_id.as_deref()),
            ("t-2", Some("a"))
        );
    }

    #[test]
    fn what_cannot_be_asked_with_is_refused_without_a_word_of_it() {
        use PollErrorKind::{Expired, Forbidden, MissingCredentials};

        let login = |login: Value| json!({ "claudeAiOauth": login }).to_string();
        for (content, kind, words) in [
            (String::new(), MissingCredentials, "not JSON"),
            (
                "{\"claudeAiOauth\":{\"accessToken\":\"sk-secret".to_owned(),
                MissingCredentials,
                "not JSON",
            ),
            (
                json!({"mcpOAuth": {}}).to_string(),
                MissingCredentials,
                "no `claudeAiOauth`",
            ),
            (login(json!({})), MissingCredentials, "no access token"),
            (
                login(json!({"accessToken": ""})),
                MissingCredentials,
                "no access token",
            ),
            (
                login(json!({"accessToken": "sk-secret\n"})),
                MissingCredentials,
                "no access token",
            ),
            (
                login(json!({"accessToken": "a".repeat(TOKEN_BYTES_MAX + 1)})),
                MissingCredentials,
                "no access token",
            ),
            (
                login(json!({"accessToken": "sk-secret", "scopes": ["user:inference"]})),
                Forbidden,
                "user:profile",
            ),
            (
                login(json!({"accessToken": "sk-secret", "expiresAt": NOW})),
                Expired,
                "is over",
            ),
            (
                " ".repeat((64 << 10) + 1),
                MissingCredentials,
                "longer than 64 KiB",
            ),
        ] {
            let refusal = read_as(content.as_bytes(), PollVia::UsageApi).err().unwrap();
            assert_eq!(refusal.kind, kind, "{content}");
            assert!(refusal.detail.contains(words), "{}", refusal.detail);
            assert!(!refusal.detail.contains("sk-secret"), "{}", refusal.detail);
            assert_eq!(refusal.fingerprint.is_some(), kind != MissingCredentials);
        }
        let codex = read_as(b"{\"OPENAI_API_KEY\":\"k\"}", PollVia::Wham)
            .err()
            .unwrap();
        assert!(codex.detail.contains("no `tokens`"), "{}", codex.detail);
    }

    #[test]
    fn a_directory_and_a_pipe_are_no_files() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let (fifo, mode) = (rustix::fs::FileType::Fifo, Mode::RWXU);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).unwrap();
        for path in [directory.path(), &pipe] {
            let why = read(path, 10).unwrap_err();
            assert!(why.ends_with("is not a regular file"), "{why}");
        }
        let why = read(&directory.path().join("none"), 10).unwrap_err();
        assert!(
            why.starts_with("cannot read ") && why.contains("No such file"),
            "{why}"
        );
    }
}
