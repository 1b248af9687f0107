//! Documents and the HTTP interface. No other folder uses HTTP server types.

pub mod backup;
pub mod blocks;
pub mod document;
pub mod events;
pub mod export;
pub mod feed;
mod health;
pub mod http;
pub mod leases;
pub mod metrics;
pub mod notifications;
pub mod openapi;
mod page;
pub mod prune;
pub mod quota;
mod records;
pub mod router;
pub mod runs;
pub mod server;
mod service_line;
pub mod state;
mod statusline;
mod summary;
pub mod usage;
pub mod version;
pub mod web;
pub mod wire;
