//! Traffic counters of the endpoints, and the bound of stream subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use strum::IntoStaticStr;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Classes of a status: 1xx to 5xx.
const CLASSES: usize = 5;

/// A listener, with its name in the access log and the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case", const_into_str)]
pub enum EndpointKind {
    Unix,
    Tcp,
}

impl EndpointKind {
    pub const ALL: [Self; 2] = [Self::Unix, Self::Tcp];
}

/// Counters of one endpoint since the start.
#[derive(Debug, Default)]
pub struct EndpointStats {
    connections: AtomicU64,
    refused: AtomicU64,
    answers: [AtomicU64; CLASSES],
}

impl EndpointStats {
    /// Connections that are open now, those of streams and WebSockets included.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections refused because `http.connections_max` were open.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Requests answered, by class of the status: the first is 1xx, the last 5xx.
    #[must_use]
    pub fn answers(&self) -> [u64; CLASSES] {
        self.answers.each_ref().map(|count| count.load(Ordering::Relaxed))
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn refuse(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES) - 1;
        self.answers[class].fetch_add(1, Ordering::Relaxed);
    }
}

/// Counters of both endpoints.
#[derive(Debug, Default)]
pub struct Traffic {
    unix: EndpointStats,
    tcp: EndpointStats,
}

impl Traffic {
    #[must_use]
    pub const fn of(&self, endpoint: EndpointKind) -> &EndpointStats {
        match endpoint {
            EndpointKind::Unix => &self.unix,
            EndpointKind::Tcp => &self.tcp,
        }
    }
}

/// The bound of simultaneous subscribers over both endpoints.
#[derive(Clone, Debug)]
pub struct Subscribers {
    free: Arc<Semaphore>,
    max: usize,
}

/// The place of one subscriber, released on drop.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "it is held, not read")] OwnedSemaphorePermit);

impl Subscribers {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            free: Arc::new(Semaphore::new(max)),
            max,
        }
    }

    /// A place, or `None` if all are taken.
    #[must_use]
    pub fn try_enter(&self) -> Option<Permit> {
        Arc::clone(&self.free).try_acquire_owned().ok().map(Permit)
    }

    /// Current number of subscribers.
    #[must_use]
    pub fn now(&self) -> usize {
        self.max - self.free.available_permits()
    }
}
