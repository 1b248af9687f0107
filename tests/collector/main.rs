//! The real program on temporary directories: each test has its own runs directory, database and socket.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod basics;
mod files;
mod growth;
mod harness;
mod scenario;
