//! The TCP endpoint: an address to listen on.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::ServerError;
use super::connection::{self, Accept, Endpoint};

/// Connections the system keeps until they are accepted.
const BACKLOG_MAX: u32 = 1024;

/// The address, listening.
#[derive(Debug)]
pub struct TcpEndpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl TcpEndpoint {
    /// # Errors
    /// When another program listens there, or the address is none of this host.
    pub fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let listen = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            // A start right after a stop finds connections of the one before.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            let listener = socket.listen(BACKLOG_MAX)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        };
        listen().map_err(|source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => ServerError::AddressInUse(address),
            _ => ServerError::Io {
                place: format!("{address} (http.listen)"),
                source,
            },
        })
    }

    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the endpoint is closed.
    pub async fn serve(self, endpoint: Endpoint) {
        connection::serve(self.listener, endpoint).await;
    }
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)> {
        let (stream, peer) = Self::accept(self).await?;
        // An update is sent at once. Without that the stream works too.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(peer)))
    }
}
