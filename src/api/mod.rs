//! What others read: the documents, and HTTP, which only this folder knows.

pub mod backup;
pub mod daily;
mod health;
pub mod marks;
pub mod metrics;
pub mod observations;
pub mod openapi;
pub mod problem;
pub mod query;
pub mod quota;
pub mod routes;
pub mod runs;
pub mod server;
mod service_line;
pub mod stream;
pub mod summary;
pub mod teller;
pub mod usage;
pub mod version;
pub mod web;
pub mod wire;
