//! The real program on temporary directories: each test has its own runs directory, database and socket.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod actions;
mod basics;
mod copies;
mod faces;
mod files;
mod growth;
mod harness;
mod hostile_names;
mod renames;
mod runs;
mod scenario;
mod settings;
