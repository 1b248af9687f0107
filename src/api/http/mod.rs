//! What every route uses of HTTP: queries, what is accepted, and problems.

pub mod accept;
pub mod problem;
pub mod query;
