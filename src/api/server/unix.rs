//! The control socket: a unix socket for the owner and the group, who may do everything.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

use super::ServerError;
use super::connection::{self, Accept, Door};

/// Owner and group may talk to the collector.
const SOCKET_MODE: u32 = 0o660;

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
            place: path.display().to_string(),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        Self::check_place(path)?;
        match std::fs::symlink_metadata(path) {
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(ServerError::InUse(path.to_owned())),
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        let bound = SocketPath(path.to_owned());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(Self {
            listener,
            path: bound,
        })
    }

    /// Whether something else than a socket is in its place.
    ///
    /// # Errors
    /// It is.
    pub fn check_place(path: &Path) -> Result<(), ServerError> {
        match std::fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => Err(ServerError::NotASocket(path.to_owned())),
            _ => Ok(()),
        }
    }

    /// Answers until the door is closed; then the file is removed.
    pub async fn serve(self, door: Door) {
        let Self { listener, path } = self;
        connection::serve(listener, door).await;
        drop(path);
    }
}

impl Accept for UnixListener {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)> {
        let (stream, _) = Self::accept(self).await?;
        Ok((stream, None))
    }
}
