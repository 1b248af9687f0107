//! Quota: verdicts from the provider's limit lines, the counted calls and the budgets. Pure: time is an
//! argument.

pub mod account;
pub mod admission;
pub mod budget;
pub mod exhaustion;
pub mod lease;
pub mod notice;
pub mod overage;
pub mod pace;
pub mod plausible;
pub mod poll;
pub mod throttle;
pub mod window;

pub use crate::model::window_name;

#[cfg(test)]
mod simulator;
