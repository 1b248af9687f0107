//! Tests of `[account.poll]`: the ways with their keys, and error messages.

use std::path::PathBuf;

use super::{home, load};
use crate::config::is_loopback_url;
use crate::quota::poll::settings::{PollSettings, PollVia};

fn poll(text: &str) -> Option<PollSettings> {
    let (_folder, environment) = home(&format!("[[account]]\n{text}\n"));
    let settings = load(&environment).unwrap();
    // The output is valid input.
    let rows = settings.accounts.describe()[0].rows();
    let again: Vec<String> = rows
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    let (_folder, environment) = home(&format!("[[account]]\n{}\n", again.join("\n")));
    let again = load(&environment).unwrap();
    assert_eq!(again.accounts.rules(), settings.accounts.rules());
    settings.accounts.rules()[0].poll.clone()
}

#[test]
fn a_poll_is_off_unless_its_way_is_named() {
    assert_eq!(poll(""), None);
    assert_eq!(poll("poll = false"), None);
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let nothing = PollSettings {
        via: PollVia::CacheFile,
        interval: 300_000,
        credentials: None,
        cache: None,
        command: Vec::new(),
        user_agent: None,
        base_url: None,
    };
    let path = |path: &str| Some(PathBuf::from(path));
    assert_eq!(
        poll("poll = { via = \"cache-file\", cache = \"/h/.claude.json\", interval = \"1m\" }"),
        Some(PollSettings {
            interval: 60_000,
            cache: path("/h/.claude.json"),
            ..nothing.clone()
        })
    );
    assert_eq!(
        poll("[account.poll]\nvia = \"claude-cli\"\ncache = \"/c\""),
        Some(PollSettings {
            via: PollVia::ClaudeCli,
            cache: path("/c"),
            command: words(&["claude", "-p", "/usage"]),
            ..nothing.clone()
        })
    );
    assert_eq!(
        poll(
            "[account.poll]\nvia = \"wham\"\ncredentials = \"/a\"\nbase_url = \"http://[::1]:9/x/\"\nuser_agent = \"u 1\""
        ),
        Some(PollSettings {
            via: PollVia::Wham,
            credentials: path("/a"),
            user_agent: Some("u 1".to_owned()),
            base_url: Some("http://[::1]:9/x".to_owned()),
            ..nothing
        })
    );
}

#[test]
fn mistakes_of_a_poll_have_a_place_and_a_remedy() {
    for (text, expect) in [
        (
            "poll = true",
            "2:8: `account.poll`: the way is missing: write a table, as in { via = \"claude-cli\", cache = \"/home/u/.claude.json\" }",
        ),
        (
            "poll = 5",
            "2:8: `account.poll`: invalid type: integer `5`, expected false, or a table [account.poll] with `via`",
        ),
        (
            "[account.poll]\ninterval = \"5m\"",
            "2:10: `account.poll.via`: it is missing: claude-cli, cache-file, usage-api or wham",
        ),
        (
            "[account.poll]\nvia = \"usage_api\"\ncredentials = \"/c\"",
            "3:7: `account.poll.via`: unknown value `usage_api`, expected one of `claude-cli`, `cache-file`, `usage-api`, `wham`; did you mean `usage-api`?",
        ),
        (
            "[account.poll]\nvia = \"cache-file\"\ncahce = \"/c\"\ncache = \"/c\"",
            "4:1: `account.poll.cahce`: unknown key `cahce`, expected one of `via`, `interval`, `credentials`, `cache`, `command`, `user_agent`, `base_url`; did you mean `cache`?",
        ),
        (
            "[account.poll]\nvia = \"usage-api\"",
            "2:10: `account.poll.credentials`: via = \"usage-api\" needs the file of the login, as in \"/home/u/.claude/.credentials.json\"",
        ),
        (
            "[account.poll]\nvia = \"claude-cli\"",
            "2:10: `account.poll.cache`: via = \"claude-cli\" needs the file of the client, as in \"/home/u/.claude.json\"",
        ),
        (
            "[account.poll]\nvia = \"cache-file\"\ncache = \"/c\"\ncommand = [\"x\"]",
            "5:1: `account.poll.command`: via = \"cache-file\" does not use it",
        ),
        (
            "[account.poll]\nvia = \"cache-file\"\ncache = \"c\"",
            "4:1: `account.poll.cache`: \"c\" is not an absolute path",
        ),
        (
            "[account.poll]\nvia = \"cache-file\"\ncache = \"/c\"\ninterval = \"59s\"",
            "5:1: `account.poll.interval`: 59s is out of bounds: 1m to 24h is allowed",
        ),
        (
            "[account.poll]\nvia = \"claude-cli\"\ncache = \"/c\"\ncommand = []",
            "5:1: `account.poll.command`: give the program and its arguments, as in [\"claude\", \"-p\", \"/usage\"]: at most 64 words of 1024 bytes",
        ),
        (
            "[account.poll]\nvia = \"wham\"\ncredentials = \"/c\"\nbase_url = \"http://api.example\"",
            "5:1: `account.poll.base_url`: http:// is for this host alone, since it shows the token to the network; use https://",
        ),
        (
            "[account.poll]\nvia = \"wham\"\ncredentials = \"/c\"\nbase_url = \"https://u@api.example\"",
            "5:1: `account.poll.base_url`: \"https://u@api.example\" is no address: https://HOST, with a port and a path if needed, without user, query and fragment",
        ),
        (
            "[account.poll]\nvia = \"wham\"\ncredentials = \"/c\"\nuser_agent = \"a\\u000ab\"",
            "5:1: `account.poll.user_agent`: \"a\\nb\" is no header: 1 to 1024 visible ASCII characters",
        ),
    ] {
        let (_folder, environment) = home(&format!("[[account]]\n{text}\n"));
        let error = load(&environment).unwrap_err().to_string();
        assert!(
            error.ends_with(&format!("tokentail.toml:{expect}")),
            "{text:?} gives {error}"
        );
    }
}

#[test]
fn plain_http_is_for_this_host_alone() {
    for (url, is_loopback) in [
        ("http://127.0.0.1:8080", true),
        ("http://127.9.9.9", true),
        ("http://[::1]:1/x", true),
        ("http://localhost", true),
        ("http://localhost.example", false),
        ("http://127.0.0.1.example", false),
        ("http://10.0.0.1", false),
        ("https://127.0.0.1", false),
        ("http://", false),
    ] {
        assert_eq!(is_loopback_url(url), is_loopback, "{url}");
    }
}
