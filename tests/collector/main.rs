//! The real program on temporary directories: each test has its own runs directory, database and socket.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod actions;
mod basics;
mod copies;
mod damage;
mod disk;
mod doors;
mod faces;
mod files;
mod giant;
mod growth;
mod harness;
mod hostile_names;
mod instances;
mod kills;
mod limits;
mod machine;
mod manager;
mod mounts;
mod overflow;
mod quota_live;
mod quota_order;
mod quota_rules;
mod quota_story;
mod renames;
mod runs;
mod scenario;
mod settings;
mod signals;
