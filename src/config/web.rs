//! Hosts, origins and the token, in the settings and in request headers.

use std::fmt;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::file::open_regular;
pub use super::host::Host;

/// Allowed length of the token, in bytes. A shorter one could be guessed.
const TOKEN_BYTES: RangeInclusive<usize> = 16..=4096;
/// Permission bits of others.
const MODE_OTHERS: u32 = 0o007;

/// The origin of a web page: scheme, host and port. Applications that embed a browser have schemes of their
/// own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebOrigin {
    scheme: Box<str>,
    host: Host,
    /// `None` for the default port of the scheme, and for schemes without one.
    port: Option<u16>,
}

/// Schemes whose pages have no origin: a browser sends `Origin: null` for them.
const SCHEMES_WITHOUT_ORIGIN: [&str; 5] = ["about", "blob", "data", "file", "javascript"];

impl WebOrigin {
    fn port_default(scheme: &str) -> Option<u16> {
        match scheme {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        }
    }

    /// True if a page of this origin comes from `host` itself.
    #[must_use]
    pub fn is_at(&self, host: &Host, port: Option<u16>) -> bool {
        let Some(default) = Self::port_default(&self.scheme) else {
            return false;
        };
        self.host == *host && self.port.unwrap_or(default) == port.unwrap_or(default)
    }
}

impl FromStr for WebOrigin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "{text:?} is not an origin: a scheme, a host and optionally a port, as in \"https://board.example\" or \"tauri://localhost\"; there is no wildcard"
            )
        };
        let lower = text.to_ascii_lowercase();
        let (scheme, rest) = lower.split_once("://").ok_or_else(refused)?;
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
            && scheme
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !is_scheme || SCHEMES_WITHOUT_ORIGIN.contains(&scheme) {
            return Err(refused());
        }
        let (host, port) = Host::with_port(rest).ok_or_else(refused)?;
        let port = port.filter(|port| Some(*port) != Self::port_default(scheme));
        let scheme = scheme.into();
        Ok(Self { scheme, host, port })
    }
}

/// The token that requests over TCP need. It is never shown.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// Reads a file that contains only the token; surrounding white space is ignored.
    ///
    /// # Errors
    /// The file cannot be read, others may read it, or it contains no valid token.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let failed = |source| TokenError::Read {
            path: path.to_owned(),
            source,
        };
        let file = open_regular(path).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode();
        if mode & MODE_OTHERS != 0 {
            return Err(TokenError::Open {
                path: path.to_owned(),
                mode: mode & 0o777,
            });
        }
        let mut bytes = Vec::new();
        // Room for some white space around it.
        file.take(*TOKEN_BYTES.end() as u64 + 64)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        let token = bytes.trim_ascii();
        if !TOKEN_BYTES.contains(&token.len()) || !token.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError::NoToken {
                path: path.to_owned(),
            });
        }
        Ok(Self(String::from_utf8_lossy(token).into_owned()))
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Errors of the token file.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("http.token_file: cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("http.token_file: {} has the mode {mode:04o}, so every user may use it; chmod 600 it, and replace the token if it was read", path.display())]
    Open { path: PathBuf, mode: u32 },
    #[error(
        "http.token_file: {} holds no token: {} to {} visible characters of ASCII, as `openssl rand -hex 32` makes them",
        path.display(), TOKEN_BYTES.start(), TOKEN_BYTES.end()
    )]
    NoToken { path: PathBuf },
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn hosts_are_distinguished_from_other_texts() {
        for (text, host, port) in [
            ("localhost", "localhost", None),
            ("LocalHost:7717", "localhost", Some(7717)),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("localhost:", "localhost", None),
            ("[::1]", "[::1]", None),
            ("[0:0::1]:7717", "[::1]", Some(7717)),
            ("a_b.example-1", "a_b.example-1", None),
        ] {
            let (found, found_port) = Host::with_port(text).unwrap();
            assert_eq!((found.to_string().as_str(), found_port), (host, port), "{text}");
        }
        for text in [
            "", ":80", "a:b", "a:+1", "a:65536", ".", "::1", "[::1", "[::1]x", "[a]", "a/b", "a@b", "a b",
            "a,b", "http://a", "ä",
        ] {
            assert_eq!(Host::with_port(text), None, "{text}");
        }
        assert_eq!("::1".parse::<Host>().unwrap().to_string(), "[::1]");
        assert!("a:80".parse::<Host>().is_err());
    }

    #[test]
    fn an_origin_is_at_a_host_and_its_port() {
        let origin = |text: &str| text.parse::<WebOrigin>().unwrap();
        let at = |page: &str, host: &str| {
            let (host, port) = Host::with_port(host).unwrap();
            origin(page).is_at(&host, port)
        };
        assert!(at("http://localhost:7717", "LOCALHOST:7717"));
        assert!(at("https://board.example", "board.example"));
        assert!(at("https://board.example", "board.example:443"));
        assert!(!at("http://localhost:3000", "localhost:7717"));
        assert!(!at("http://localhost", "localhost:7717"));
        assert!(!at("http://evil.example:7717", "localhost:7717"));
        assert_eq!(origin("HTTPS://A.example:443"), origin("https://a.example"));
        assert_ne!(origin("http://a.example:443"), origin("https://a.example"));
        // Schemes of applications never match the collector's own origin.
        for text in [
            "tauri://localhost",
            "capacitor://localhost",
            "app://obsidian.md",
            "chrome-extension://cjpalhdlnbpafiamejdnhcphjbkeiagm",
            "vscode-webview://0f2c",
            "ionic://localhost:8100",
        ] {
            assert_eq!(origin(text), origin(&text.to_ascii_uppercase()), "{text}");
            assert!(!at(text, "localhost:7717") && !at(text, "localhost"), "{text}");
        }
        assert_ne!(origin("tauri://localhost"), origin("http://localhost"));
        for text in [
            "*",
            "null",
            "",
            "board.example",
            "localhost:3000",
            "https://",
            "https://a/",
            "https://a/b",
            "https://a?b",
            "https://a#b",
            "https://me@a",
            "https://a:65536",
            "https://*.example",
            "tauri://",
            "tauri:localhost",
            "://localhost",
            "1app://localhost",
            "a b://localhost",
            "file://localhost",
            "file:///a",
            "data:text/html,a",
        ] {
            assert!(text.parse::<WebOrigin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_token_is_a_file_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let read = |bytes: &[u8], mode: u32| {
            let _ = fs::remove_file(&path);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path).map_err(|error| error.to_string())
        };
        let token = read(b"  0123456789abcdef\n", 0o600).unwrap();
        assert_eq!(token.as_bytes(), b"0123456789abcdef");
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(read(b"0123456789abcdef", 0o440).is_ok());
        for (bytes, mode, said) in [
            (&b"0123456789abcdef"[..], 0o644, "the mode 0644"),
            (b"0123456789abcde", 0o600, "holds no token: 16 to 4096"),
            (b"0123456789abcdef 0123456789abcdef", 0o600, "holds no token"),
            (&[b'x'; 5000], 0o600, "holds no token"),
            (b"", 0o600, "holds no token"),
        ] {
            let error = read(bytes, mode).unwrap_err();
            assert!(
                error.starts_with("http.token_file: ") && error.contains(said),
                "{error}"
            );
        }
        let error = Token::read(&folder.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
        let error = Token::read(folder.path()).unwrap_err();
        assert!(error.to_string().contains("it is a directory"), "{error}");
        let fifo = folder.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
        let error = Token::read(&fifo).unwrap_err();
        assert!(error.to_string().contains("it is not a regular file"), "{error}");
    }
}
