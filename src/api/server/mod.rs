//! The endpoints: a unix socket for everything, and TCP for reading only.
//!
//! Both speak HTTP/1.1 with the same bounds (`connection`) and give the same answers (`answer`). Requests
//! over TCP are checked before any route (`guard`).

mod access;
mod answer;
mod connection;
mod descriptors;
mod guard;
mod tcp;
mod traffic;
mod unix;

#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use connection::Endpoint;
use guard::Guard;
use tcp::TcpEndpoint;
use unix::ControlSocket;

pub use guard::TokenSlot;
pub use traffic::{EndpointKind, Permit, Subscribers, Traffic};
pub use unix::{SocketFile, SocketKeeper};

/// Errors of opening an endpoint.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("another collector answers on {0}; stop that one or give this one another --socket")]
    InUse(PathBuf),
    #[error("{0} exists and is not a socket; move it away or name another --socket")]
    NotASocket(PathBuf),
    #[error(
        "cannot listen on {0}: another program does, perhaps a collector; stop that one, set http.listen to another address, or to \"off\""
    )]
    AddressInUse(SocketAddr),
    #[error("cannot listen on {place}: {source}")]
    Io { place: String, source: io::Error },
}

/// The listening endpoints.
#[derive(Debug)]
pub struct Endpoints {
    unix: ControlSocket,
    tcp: Option<TcpEndpoint>,
    token: Arc<TokenSlot>,
    connections_max: usize,
}

impl Endpoints {
    /// Checks that nothing but a socket is at the socket's path.
    ///
    /// # Errors
    /// Something else is there.
    pub fn check_place(socket: &Path) -> Result<(), ServerError> {
        ControlSocket::check_place(socket)
    }

    /// Listens on the socket, and over TCP if configured.
    ///
    /// # Errors
    /// Another process listens there, or the path or address cannot be used.
    pub fn open(settings: &Settings, token: Arc<TokenSlot>) -> Result<Self, ServerError> {
        let unix = ControlSocket::bind(&settings.socket)?;
        let tcp = settings.http.listen.map(TcpEndpoint::bind).transpose()?;
        Ok(Self {
            unix,
            tcp,
            token,
            connections_max: descriptors::connections(settings.http.connections_max),
        })
    }

    /// The TCP address, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.as_ref().map(TcpEndpoint::address)
    }

    /// A handle that keeps the socket at its path.
    #[must_use]
    pub fn keeper(&self) -> SocketKeeper {
        self.unix.keeper()
    }

    /// A handle that removes the socket's file at a shutdown.
    #[must_use]
    pub fn socket_file(&self) -> SocketFile {
        self.unix.file()
    }

    /// Answers until stopped; then running answers are completed and streams end.
    pub async fn serve(
        self,
        router: Router,
        settings: Arc<Settings>,
        traffic: Arc<Traffic>,
        stop: CancellationToken,
    ) {
        let unix = Endpoint::new(
            EndpointKind::Unix,
            None,
            router.clone(),
            Arc::clone(&traffic),
            self.connections_max,
            stop.clone(),
        );
        let Some(tcp) = self.tcp else {
            return self.unix.serve(unix).await;
        };
        let guard = Guard::new(&settings.http, tcp.address(), self.token);
        let endpoint = Endpoint::new(
            EndpointKind::Tcp,
            Some(guard),
            router,
            traffic,
            self.connections_max,
            stop,
        );
        tokio::join!(self.unix.serve(unix), tcp.serve(endpoint));
    }
}
