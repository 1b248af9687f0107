//! The control socket: a unix socket that speaks HTTP.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use axum::Router;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

/// Owner and group may talk to the collector.
const SOCKET_MODE: u32 = 0o660;

/// Why the control socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("another collector answers on {0}; stop that one or give this one another --socket")]
    InUse(PathBuf),
    #[error("{0} is there and is no socket; move it away or name another --socket")]
    NotASocket(PathBuf),
    #[error("cannot listen on {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
}

/// The socket, listening. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: SocketPath,
}

#[derive(Debug)]
struct SocketPath(PathBuf);

impl Drop for SocketPath {
    fn drop(&mut self) {
        // Someone may have removed it already.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl ControlSocket {
    /// Listens. A socket that nobody answers on is left over from a crash and replaced.
    ///
    /// # Errors
    /// When another collector answers there, or the path cannot be used.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let failed = |source| ServerError::Io {
            path: path.to_owned(),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        match std::fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => {
                return Err(ServerError::NotASocket(path.to_owned()));
            }
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(ServerError::InUse(path.to_owned())),
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let path = SocketPath(path.to_owned());
        std::fs::set_permissions(&path.0, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(
            |source| ServerError::Io {
                path: path.0.clone(),
                source,
            },
        )?;
        Ok(Self { listener, path })
    }

    /// Answers until it is stopped.
    pub async fn serve(self, router: Router, stop: CancellationToken) {
        let Self { listener, path } = self;
        let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned());
        if let Err(error) = served.await {
            tracing::error!(%error, socket = %path.0.display(), "the control socket failed");
        }
    }
}
