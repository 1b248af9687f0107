//! The stream of events, opened again after each loss from the last event on.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use tokio::sync::Notify;

use super::event::TopEvent;
use crate::cli::client::{self, ClientError};
use crate::cli::watch::parser::FrameParser;
use crate::clock::Clock;
use crate::model::Millis;

/// First pause before another connection, doubled each time.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// Longest pause before another connection.
const AGAIN_AFTER_MAX: Duration = Duration::from_secs(5);
/// The events that are used; accounts and runs are filtered here, as a pattern is no parameter.
const PATH: &str = "/v1/events?snapshot=brief&kinds=usage,window,threshold,account,run,health,lease,probe";

/// The events that were received and not taken yet. The reader yields to their taker after a bounded number of chunks.
#[derive(Debug, Default)]
pub struct Feed {
    waiting: RefCell<VecDeque<TopEvent>>,
    arrived: Notify,
}

impl Feed {
    /// Follows the stream until it is dropped.
    pub async fn follow(&self, socket: &Path, clock: Clock) -> Infallible {
        let mut parser = FrameParser::default();
        let mut pause = AGAIN_AFTER;
        loop {
            let mut is_connected = false;
            let last_id = parser.last_id().to_owned();
            let ended = client::follow(socket, PATH, &last_id, |bytes| {
                if !std::mem::replace(&mut is_connected, true) {
                    self.push(TopEvent::Connected);
                }
                parser.take(bytes, |received| {
                    if let Some(event) = TopEvent::of(received.kind, received.data) {
                        self.push(event);
                    }
                    true
                });
                if parser.is_too_long() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .await;
            if is_connected {
                pause = AGAIN_AFTER;
            }
            parser.start_again();
            let retry_at = clock.now() + Millis::try_from(pause.as_millis()).unwrap_or(Millis::MAX);
            self.push(TopEvent::Lost {
                why: why(ended),
                retry_at,
            });
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_AFTER_MAX);
        }
    }

    fn push(&self, event: TopEvent) {
        self.waiting.borrow_mut().push_back(event);
        self.arrived.notify_one();
    }

    /// Waits until there is an event.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// Takes what has arrived.
    pub fn take(&self) -> VecDeque<TopEvent> {
        self.waiting.take()
    }
}

fn why(ended: Result<(), ClientError>) -> String {
    match ended {
        Ok(()) => "the collector ended the stream".to_owned(),
        Err(error) => error.to_string(),
    }
}
