//! Hosts: by name or by address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Longest name of a host, in bytes, as in DNS.
const HOST_BYTES_MAX: usize = 253;

/// A host by its name, in lower case, or by its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

impl Host {
    /// `localhost`, `127.0.0.1`, `[::1]`, each with or without a port, as in a header `Host`.
    pub fn with_port(text: &str) -> Option<(Self, Option<u16>)> {
        // An IPv6 address with colons is in brackets.
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            // The port may be empty after its colon.
            Some("") | None => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            Some(_) => return None,
        };
        Some((Self::parse(host)?, port))
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
            return address
                .parse::<Ipv6Addr>()
                .ok()
                .map(|it| Self::Address(it.into()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = (1..=HOST_BYTES_MAX).contains(&text.len())
            && text.bytes().all(letter)
            && text.bytes().any(|byte| byte.is_ascii_alphanumeric());
        is_name.then(|| Self::Name(text.to_ascii_lowercase()))
    }
}

impl FromStr for Host {
    type Err = String;

    /// Parses a host without a port.
    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text
            .parse::<Ipv6Addr>()
            .map(|address| Self::Address(address.into()));
        bare.ok().or_else(|| Self::parse(text)).ok_or_else(|| {
            format!(
                "{text:?} is not a host name or address, as in \"tokentail.example\", without scheme and port"
            )
        })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => address.fmt(f),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}
