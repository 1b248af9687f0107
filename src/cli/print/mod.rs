//! Rendering of documents as tables and sentences.

pub mod cost;
pub mod grid;
pub mod numbers;
pub mod output;
pub mod progress;
pub mod summary;
pub mod table;
pub mod text;
