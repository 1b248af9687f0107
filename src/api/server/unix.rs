//! The control socket: a unix socket for owner and group, without restrictions.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener as Listener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::net::UnixListener;
use tokio::sync::{oneshot, watch};

use super::ServerError;
use super::connection::{self, Accept, Endpoint};

use crate::sync::lock;

/// Owner and group may talk to the collector.
const SOCKET_MODE: u32 = 0o660;

/// The listening socket. Its file is removed on drop.
#[derive(Debug)]
pub struct ControlSocket {
    listener: watch::Sender<Arc<UnixListener>>,
    bound: BoundSocket,
}

/// Removes the socket file on drop.
#[derive(Debug)]
struct BoundSocket(Arc<SocketPath>);

impl Drop for BoundSocket {
    fn drop(&mut self) {
        if !self.0.is_closed.swap(true, Ordering::SeqCst) {
            self.0.remove();
        }
    }
}

impl BoundSocket {
    /// Removes the file on a thread of its own: its filesystem may hang, and a thread of the runtime must not.
    async fn remove_aside(self) {
        let file = SocketFile(Arc::clone(&self.0));
        if !file.retire() {
            return;
        }
        let (at_end, ended) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("socket".to_owned())
            .spawn(move || {
                file.remove();
                // Nobody waits for it after the time of a shutdown.
                let _ = at_end.send(());
            });
        if thread.is_ok() {
            let _ = ended.await;
        }
    }
}

/// The file of the socket, for a shutdown, which removes it where a filesystem that hangs holds nothing else up.
#[derive(Debug)]
pub struct SocketFile(Arc<SocketPath>);

impl SocketFile {
    /// From now on the file is not made again. True if it is left to the caller to remove it.
    #[must_use]
    pub fn retire(&self) -> bool {
        !self.0.is_closed.swap(true, Ordering::SeqCst)
    }

    /// Removes the file, unless it was replaced. Blocks on the filesystem.
    pub fn remove(&self) {
        self.0.remove();
    }
}

/// The file of the socket.
#[derive(Debug)]
struct SocketPath {
    path: PathBuf,
    /// Device and inode of the file made here, to recognise a replaced one.
    ours: Mutex<Option<(u64, u64)>>,
    /// Set by the one that removes the file.
    is_closed: AtomicBool,
}

impl SocketPath {
    /// Removes the file, unless it was replaced.
    fn remove(&self) {
        if self.is_ours() {
            // It may be removed already.
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// True if the file at the path is the one made here.
    fn is_ours(&self) -> bool {
        let ours = *lock(&self.ours);
        ours.is_some() && ours == identity(&self.path)
    }

    /// Listens. A socket without a listener is left over from a crash and replaced.
    fn bind(&self) -> Result<Listener, ServerError> {
        let path = &self.path;
        let failed = |source| ServerError::Io {
            place: path.display().to_string(),
            source,
        };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        ControlSocket::check_place(path)?;
        match std::fs::symlink_metadata(path) {
            Ok(_) if UnixStream::connect(path).is_ok() => return Err(ServerError::InUse(path.to_owned())),
            Ok(_) => std::fs::remove_file(path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = Listener::bind(path).map_err(failed)?;
        *lock(&self.ours) = identity(path);
        listener.set_nonblocking(true).map_err(failed)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE)).map_err(failed)?;
        Ok(listener)
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let file = std::fs::symlink_metadata(path).ok()?;
    Some((file.dev(), file.ino()))
}

/// A handle that keeps the socket at its path.
#[derive(Clone, Debug)]
pub struct SocketKeeper {
    listener: watch::Sender<Arc<UnixListener>>,
    path: Arc<SocketPath>,
}

impl SocketKeeper {
    /// Makes the socket again if the path no longer leads to it; returns the new listener. Blocks on the
    /// filesystem.
    ///
    /// # Errors
    /// Another process listens there, another file is there, or the path cannot be used.
    pub fn check(&self) -> Result<Option<Listener>, ServerError> {
        if self.path.is_ours() {
            return Ok(None);
        }
        let listener = self.path.bind()?;
        if self.path.is_closed.load(Ordering::SeqCst) {
            self.path.remove();
            return Ok(None);
        }
        Ok(Some(listener))
    }

    /// Replaces the listener that connections are accepted from.
    ///
    /// # Errors
    /// The runtime cannot register the listener.
    pub fn replace(&self, listener: Listener) -> io::Result<()> {
        self.listener
            .send_replace(Arc::new(UnixListener::from_std(listener)?));
        Ok(())
    }
}

impl ControlSocket {
    /// Listens. A socket without a listener is left over from a crash and replaced.
    ///
    /// # Errors
    /// Another collector answers there, or the path cannot be used.
    pub fn bind(path: &Path) -> Result<Self, ServerError> {
        let bound = BoundSocket(Arc::new(SocketPath {
            path: path.to_owned(),
            ours: Mutex::new(None),
            is_closed: AtomicBool::new(false),
        }));
        let listener = UnixListener::from_std(bound.0.bind()?).map_err(|source| ServerError::Io {
            place: path.display().to_string(),
            source,
        })?;
        Ok(Self {
            listener: watch::Sender::new(Arc::new(listener)),
            bound,
        })
    }

    /// Checks that nothing but a socket is at the path.
    ///
    /// # Errors
    /// Something else is there.
    pub fn check_place(path: &Path) -> Result<(), ServerError> {
        match std::fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => Err(ServerError::NotASocket(path.to_owned())),
            _ => Ok(()),
        }
    }

    /// A handle that keeps the socket at its path.
    pub fn keeper(&self) -> SocketKeeper {
        SocketKeeper {
            listener: self.listener.clone(),
            path: Arc::clone(&self.bound.0),
        }
    }

    /// A handle that removes the file at a shutdown.
    pub fn file(&self) -> SocketFile {
        SocketFile(Arc::clone(&self.bound.0))
    }

    /// Answers until the endpoint is closed; then the file is removed.
    pub async fn serve(self, endpoint: Endpoint) {
        let Self { listener, bound } = self;
        let latest = Latest(listener.subscribe());
        // The keeper's sender is dropped too once the endpoint is closed.
        drop(listener);
        connection::serve(latest, endpoint).await;
        bound.remove_aside().await;
    }
}

/// The listener that is currently at the path.
struct Latest(watch::Receiver<Arc<UnixListener>>);

impl Accept for Latest {
    type Stream = tokio::net::UnixStream;

    async fn accept(&self) -> io::Result<(Self::Stream, Option<SocketAddr>)> {
        let mut latest = self.0.clone();
        loop {
            let listener = Arc::clone(&latest.borrow_and_update());
            tokio::select! {
                accepted = listener.accept() => return Ok((accepted?.0, None)),
                Ok(()) = latest.changed() => {}
            }
        }
    }
}
