//! Documents that more than one route answers with, made from rows.

pub mod quota;
pub mod summary;
