//! tokentail: tails coding-agent transcripts and counts tokens exactly once.
//!
//! The crate has layers. A file may use files of its own top-level module and of lower layers, nothing else;
//! `tests/tidy.rs` reads this table and checks it.
//!
//! | layer | files |
//! |---|---|
//! | 0 domain types | model |
//! | 1 text and locks | json sync |
//! | 2 pure | coverage dedup globs parse periods prices quota |
//! | 3 time | clock |
//! | 4 I/O adapters | config live logfile outbound signals stderr store systemd watch |
//! | 5 reader, writer, evaluation | committer reader verdict |
//! | 6 tailer, accounts' own numbers, notifications | sender sources tailer |
//! | 7 supervisor | supervisor |
//! | 8 api | api |
//! | 9 assembly | app replay verify |
//! | 10 CLI | cli |
//! | 11 | main |
//! | 12 tests | fuzz |

pub mod model;

pub mod json;
pub mod sync;

pub mod coverage;
pub mod dedup;
pub mod globs;
pub mod parse;
pub mod periods;
pub mod prices;
pub mod quota;

pub mod clock;

pub mod config;
pub mod live;
pub mod logfile;
pub mod outbound;
pub mod signals;
pub mod stderr;
pub mod store;
pub mod systemd;
pub mod watch;

pub mod committer;
pub mod reader;
pub mod verdict;

pub mod sender;
pub mod sources;
pub mod tailer;

pub mod supervisor;

pub mod api;

pub mod app;
pub mod replay;
pub mod verify;

pub mod cli;

#[cfg(test)]
mod fuzz;
