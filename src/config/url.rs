//! Addresses that the collector sends secrets to: encrypted, or on this host.

use std::net::IpAddr;

/// Most bytes of an address.
const URL_BYTES_MAX: usize = 1024;

/// Checks the address of a server. `query` allows one with a query.
pub fn check_url(url: &str, query: bool) -> Result<(), String> {
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !b"@#\\\"<>".contains(&byte) && (query || byte != b'?');
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let has_host = !host(rest).is_empty();
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

/// The host in what follows the scheme.
fn host(rest: &str) -> &str {
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    match authority.strip_prefix('[') {
        Some(inner) => inner.split_once(']').map_or("", |(host, _)| host),
        None => authority.split(':').next().unwrap_or_default(),
    }
}

/// True for an address of this host over plain HTTP.
#[must_use]
pub fn is_loopback_url(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let host = host(rest);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
