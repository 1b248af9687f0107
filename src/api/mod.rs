//! What others read: the documents, and HTTP, which only this folder knows.

pub mod backup;
pub mod document;
pub mod events;
pub mod feed;
mod health;
pub mod http;
pub mod metrics;
pub mod openapi;
pub mod quota;
pub mod router;
pub mod runs;
pub mod server;
mod service_line;
pub mod state;
mod summary;
pub mod usage;
pub mod version;
pub mod web;
pub mod wire;
