//! HTTP helpers shared by all routes: queries, runs in paths, content negotiation, problems.

pub mod accept;
pub mod problem;
pub mod query;
pub mod run_path;
