//! x

pub mod turn;
pub mod walk;
