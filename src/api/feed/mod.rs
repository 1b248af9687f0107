//! Committed updates as event text: encoded once, kept for a while, sent to all subscribers.

pub mod encode;
mod event;
pub mod hub;
