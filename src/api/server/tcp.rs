//! The TCP endpoint: an address to listen on.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::ServerError;
use super::connection::{self, Accept, Endpoint};

/// Connections that the system queues until they are accepted.
const BACKLOG_MAX: u32 = 1024;

/// The listening address.
#[derive(Debug)]
pub struct TcpEndpoint {
    listener: TcpListener,
    address: SocketAddr,
}

impl TcpEndpoint {
    /// # Errors
    /// Another program listens there, or the address does not belong to this host.
    pub fn bind(address: SocketAddr) -> Result<Self, ServerError> {
        let listen = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            // A restart finds connections of the previous process in TIME_WAIT.
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
        // Sends updates at once; without it the stream still works.
        let _ = stream.set_nodelay(true);
        Ok((stream, Some(peer)))
    }
}
