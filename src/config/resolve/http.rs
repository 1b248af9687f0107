//! Settings of the TCP endpoint. Listening beyond this host needs explicit settings.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::super::web::{Host, WebOrigin};
use super::{Count, Flag, HttpSettings, List, RangeInclusive, Resolver};

const CONNECTIONS_RANGE: RangeInclusive<Count> = Count(8)..=Count(65_536);
const SUBSCRIBERS_RANGE: RangeInclusive<Count> = Count(1)..=Count(65_536);

const LISTEN_DEFAULT: &str = "127.0.0.1:7717";

impl Resolver<'_> {
    pub(super) fn http(&mut self) -> HttpSettings {
        let token_file = self.pick("http.token_file", |p| p.http.token_file.clone(), PathBuf::new);
        let base = self.environment.directory("CREDENTIALS_DIRECTORY");
        let base = base.unwrap_or_else(|| self.environment.cwd.clone());
        let no = || Flag(false);
        let list = || List(Vec::new());
        let Flag(tls_in_front) = self.pick("http.tls_in_front", |p| p.http.tls_in_front, no);
        let Flag(allow_plain_http) = self.pick("http.allow_plain_http", |p| p.http.allow_plain_http, no);
        let List(hosts) = self.pick("http.hosts", |p| p.http.hosts.clone(), list);
        for host in &hosts {
            if let Err(problem) = host.parse::<Host>() {
                self.refuse("http.hosts", problem);
            }
        }
        let List(origins) = self.pick("http.origins", |p| p.http.origins.clone(), list);
        for origin in &origins {
            if let Err(problem) = origin.parse::<WebOrigin>() {
                self.refuse("http.origins", problem);
            }
        }
        let settings = HttpSettings {
            listen: self.listen(),
            token_file: Some(token_file)
                .filter(|path| !path.as_os_str().is_empty())
                .map(|path| base.join(path)),
            tls_in_front,
            allow_plain_http,
            hosts,
            origins,
            connections_max: self.count(
                "http.connections_max",
                |p| p.http.connections_max,
                512,
                CONNECTIONS_RANGE,
            ),
            subscribers_max: self.count(
                "http.subscribers_max",
                |p| p.http.subscribers_max,
                256,
                SUBSCRIBERS_RANGE,
            ),
        };
        // With an invalid value among them, the combination cannot be judged.
        if !self.mistakes.is_about("http.") {
            self.check_reach(&settings);
        }
        settings
    }

    fn listen(&mut self) -> Option<SocketAddr> {
        let listen = self.pick(
            "http.listen",
            |p| p.http.listen.clone(),
            || LISTEN_DEFAULT.to_owned(),
        );
        if listen == "off" {
            return None;
        }
        let address = listen.parse();
        if address.is_err() {
            let problem = format!(
                "{listen:?} is not an address with a port, as in \"127.0.0.1:7717\" or \"[::1]:7717\", and not \"off\""
            );
            self.refuse("http.listen", problem);
        }
        address.ok()
    }

    /// Listening beyond this host needs a token, and a setting on how the token is protected on the network.
    fn check_reach(&mut self, settings: &HttpSettings) {
        let Some(listen) = settings.listen else {
            return;
        };
        let kept = settings.tls_in_front || settings.allow_plain_http;
        if listen.ip().to_canonical().is_loopback() || settings.token_file.is_some() && kept {
            return;
        }
        let problem = format!(
            "{listen} is open beyond this host; that takes http.token_file, and http.tls_in_front = true if a proxy in front ends TLS, or http.allow_plain_http = true if the token may cross the network unencrypted; else listen on 127.0.0.1"
        );
        self.refuse("http.listen", problem);
    }
}
