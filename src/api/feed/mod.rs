//! What is committed as text for subscribers: made once, kept for a while, handed to all.

pub mod encode;
pub mod hub;
