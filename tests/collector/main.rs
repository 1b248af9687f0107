//! The real program on temporary directories: each test has its own runs directory, database and socket.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod basics;
mod damage;
mod disk;
mod giant;
mod harness;
mod instances;
mod kills;
mod limits;
mod machine;
mod manager;
mod mounts;
mod overflow;
mod signals;
