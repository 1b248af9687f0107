//! tokentail: tails coding-agent transcripts and counts tokens exactly once.
//!
//! The house has layers. A file may use files of its own top-level module and of lower layers, nothing else;
//! `tests/tidy.rs` reads this table and judges.
//!
//! | layer | files |
//! |---|---|
//! | 0 words | model |
//! | 1 text and locks | json sync |
//! | 2 pure | coverage dedup globs parse quota |
//! | 3 doors | config live logfile signals stderr store systemd watch |
//! | 4 reader and writer | committer reader |
//! | 5 tailer | tailer |
//! | 6 supervisor | supervisor |
//! | 7 api | api |
//! | 8 whole | app replay verify |
//! | 9 face | cli |
//! | 10 | main |
//! | 11 tests | fuzz |

pub mod model;

pub mod json;
pub mod sync;

pub mod coverage;
pub mod dedup;
pub mod globs;
pub mod parse;
pub mod quota;

pub mod config;
pub mod live;
pub mod logfile;
pub mod signals;
pub mod stderr;
pub mod store;
pub mod systemd;
pub mod watch;

pub mod committer;
pub mod reader;

pub mod tailer;

pub mod supervisor;

pub mod api;

pub mod app;
pub mod replay;
pub mod verify;

pub mod cli;

#[cfg(test)]
mod fuzz;
