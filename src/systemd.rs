//! The service manager: messages on readiness, activity and health of the collector; and its journal.
//!
//! Without one (no `NOTIFY_SOCKET`) nothing is sent. No call waits for the manager: a message that its socket
//! does not accept is sent again later ([`send_again`]).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Mutex;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::sync::lock;

/// Maximum number of messages kept while the manager accepts none: of a reload and of the end, and one line.
const UNSENT_MAX: usize = 16;

/// Messages not yet accepted by the manager, in order.
static UNSENT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// The database is open and the directories are watched.
pub fn ready() {
    notify(&NotifyState::Ready);
}

/// One line on what the collector is doing.
pub fn status(text: &str) {
    notify(&NotifyState::Status(text));
}

/// The stop has begun.
pub fn stopping() {
    notify(&NotifyState::Stopping);
}

/// The configuration is being read again; [`ready`] ends this state.
pub fn reloading() {
    notify(&NotifyState::Reloading);
}

/// True in a service of the manager.
#[must_use]
pub fn is_service() -> bool {
    socket().is_some()
}

/// True if standard error is the journal: then `<4>` at the start of a line is its priority, and the journal
/// adds the time.
#[must_use]
pub fn is_stderr_the_journal() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a word of the service manager, not a setting of ours"
    )]
    let named = std::env::var("JOURNAL_STREAM");
    let (Ok(named), Ok(stderr)) = (named, rustix::fs::fstat(io::stderr().as_fd())) else {
        return false;
    };
    named == format!("{}:{}", stderr.st_dev, stderr.st_ino)
}

/// Sends the watchdog message.
pub fn alive() {
    notify(&NotifyState::Watchdog);
}

/// The watchdog interval that the manager requires, if any.
#[must_use]
pub fn watchdog() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// Sends the messages that the manager did not accept, because its queue was full or it was restarting.
pub fn send_again() {
    let mut unsent = lock(&UNSENT);
    if !unsent.is_empty()
        && let Some(socket) = socket()
    {
        // It is kept, and sent the next time.
        let _ = send(&mut unsent, &socket);
    }
}

fn notify(state: &NotifyState<'_>) {
    let Some(socket) = socket() else { return };
    let mut unsent = lock(&UNSENT);
    keep(&mut unsent, state);
    let sent = send(&mut unsent, &socket);
    // Late watchdog messages are dropped.
    unsent.retain(|message| !is_like(message, &NotifyState::Watchdog));
    drop(unsent);
    if let Err(error) = sent {
        tracing::debug!(%error, "the service manager was not reached");
    }
}

/// Adds a message to the queue. Of lines and of watchdog messages only the last one is kept.
fn keep(unsent: &mut VecDeque<String>, state: &NotifyState<'_>) {
    if matches!(state, NotifyState::Status(_) | NotifyState::Watchdog) {
        unsent.retain(|message| !is_like(message, state));
    }
    if unsent.len() == UNSENT_MAX {
        unsent.pop_front();
    }
    unsent.push_back(format!("{state}\n"));
}

fn is_like(message: &str, state: &NotifyState<'_>) -> bool {
    let name = |text: &str| text.split('=').next().map(str::to_owned);
    name(message) == name(&state.to_string())
}

/// The manager's socket: a path, or an abstract name after `@`.
fn socket() -> Option<OsString> {
    #[expect(
        clippy::disallowed_methods,
        reason = "a word of the service manager, not a setting of ours"
    )]
    std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty())
}

/// Sends all messages in order, as far as they are accepted at once.
fn send(unsent: &mut VecDeque<String>, name: &OsString) -> io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    while let Some(message) = unsent.front() {
        socket.send_to_addr(message.as_bytes(), &address)?;
        unsent.pop_front();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_taken_is_kept_in_order_and_of_lines_the_last() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify").into_os_string();
        let manager = UnixDatagram::bind(&path).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut unsent = VecDeque::new();
        // Fill the queue.
        let full = loop {
            keep(&mut unsent, &NotifyState::Custom("X=1"));
            if let Err(error) = send(&mut unsent, &path) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        unsent.clear();
        for state in [
            NotifyState::Status("one"),
            NotifyState::Reloading,
            NotifyState::Status("two"),
            NotifyState::Ready,
        ] {
            keep(&mut unsent, &state);
        }
        assert!(send(&mut unsent, &path).is_err());
        let mut received = Vec::new();
        let mut message = [0; 64];
        while let Ok(length) = manager.recv(&mut message) {
            received.push(String::from_utf8_lossy(&message[..length]).into_owned());
        }
        assert!(received.iter().all(|message| message == "X=1\n"), "{received:?}");
        send(&mut unsent, &path).unwrap();
        for expected in ["RELOADING=1\n", "STATUS=two\n", "READY=1\n"] {
            let length = manager.recv(&mut message).unwrap();
            assert_eq!(String::from_utf8_lossy(&message[..length]), expected);
        }
        for _ in 0..100 {
            keep(&mut unsent, &NotifyState::Reloading);
        }
        assert_eq!(unsent.len(), UNSENT_MAX);
    }

    #[test]
    fn an_abstract_name_is_reached() {
        let name = format!("tokentail-test-{}", std::process::id());
        let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        manager.set_nonblocking(true).unwrap();
        let mut unsent = VecDeque::from(["READY=1\n".to_owned()]);
        send(&mut unsent, &format!("@{name}").into()).unwrap();
        assert!(unsent.is_empty());
        let mut message = [0; 64];
        assert_eq!(manager.recv(&mut message).unwrap(), 8);
    }
}
