//! x
pub mod turn;
