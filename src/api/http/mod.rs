//! HTTP helpers shared by all routes: queries, content negotiation, problems.

pub mod accept;
pub mod problem;
pub mod query;
