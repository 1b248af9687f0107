//! The real program on temporary directories: each test has its own runs directory, database and socket.
#![allow(clippy::unwrap_used, reason = "a test's panic is its report")]

mod actions;
mod basics;
mod contract;
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
mod lifecycle;
mod limits;
mod machine;
mod manager;
mod metrics;
mod mounts;
mod overflow;
mod own_mounts;
mod quota_live;
mod quota_order;
mod quota_rules;
mod quota_story;
mod renames;
mod run_command;
mod runs;
mod scenario;
mod settings;
mod signals;
mod stream;
mod tools;
