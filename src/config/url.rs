//! Addresses that the collector sends secrets to: encrypted, or on this host.

use http::Uri;

use super::host::Host;

/// Most bytes of an address.
const URL_BYTES_MAX: usize = 1024;

/// Checks the address of a server. `query` allows one with a query.
pub fn check_url(url: &str, query: bool) -> Result<(), String> {
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !b"@#\\\"<>".contains(&byte) && (query || byte != b'?');
    let (scheme, _) = url.split_once("://").unwrap_or_default();
    let has_host = host(url).is_some();
    if url.len() > URL_BYTES_MAX || !url.bytes().all(is_plain) || !has_host {
        let without = if query {
            "user and fragment"
        } else {
            "user, query and fragment"
        };
        return Err(format!(
            "{url:?} is no address: https://HOST, with a port and a path if needed, without {without}"
        ));
    }
    match scheme {
        "https" => Ok(()),
        "http" if is_loopback_url(url) => Ok(()),
        "http" => Err(
            "http:// is for this host alone, since it shows the token to the network; use https://"
                .to_owned(),
        ),
        other => Err(format!("{other}:// is not supported; use https://")),
    }
}

/// The host of an address that the HTTP crate takes as it is read here. That crate sends, and is laxer: it takes
/// `[::1]evil.example`, and a port beyond 65535.
fn host(url: &str) -> Option<Host> {
    let uri: Uri = url.parse().ok()?;
    let (host, port) = Host::with_port(uri.authority()?.as_str())?;
    let sent_to = uri.host()?.trim_matches(['[', ']']);
    let is_label = |label: &str| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-');
    let is_resolvable = match &host {
        Host::Name(name) => name.strip_suffix('.').unwrap_or(name).split('.').all(is_label),
        Host::Address(_) => true,
    };
    (sent_to.parse::<Host>().ok()? == host && port != Some(0) && is_resolvable).then_some(host)
}

/// True for an address of this host over plain HTTP.
#[must_use]
pub fn is_loopback_url(url: &str) -> bool {
    url.starts_with("http://")
        && match host(url) {
            Some(Host::Name(name)) => name == "localhost",
            Some(Host::Address(address)) => address.is_loopback(),
            None => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_one_reading() {
        for url in [
            "https://a.example",
            "https://a.example:8443/x?y=z",
            "https://[2001:db8::1]:1/x",
            "http://localhost:65535/",
            "http://[::1]/x",
            "https://a_b.example./%20",
        ] {
            assert_eq!(check_url(url, true), Ok(()), "{url}");
        }
        for url in [
            "http://[::1]evil.example/x",
            "http://[::1]:1evil.example/x",
            "http://localhost:80:evil.example/x",
            "http://127.0.0.1:80evil.example/",
            "https://x:99999/",
            "https://x:0/",
            "https://x:-1/",
            "https://-/",
            "https://-a.example/",
            "https://a..example/",
            "https://.a/",
            "https://[::1/",
            "https://::1/",
            "https://a%2eexample/",
            "https:///x",
            "https://",
            "https:a",
            "a.example/x",
        ] {
            assert!(check_url(url, true).is_err(), "{url}");
            assert!(!is_loopback_url(url), "{url}");
        }
    }
}
