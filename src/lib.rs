//! tokentail: tails coding-agent transcripts and counts tokens exactly once.
//!
//! The house has floors. A file may use files of its own floor's sub-folder and of lower floors only;
//! `tests/tidy.rs` reads this table and judges.
//!
//! | floor | files |
//! |---|---|
//! | 0 words | record |
//! | 1 pure | coverage lines parse fold globs quota |
//! | 2 doors | config watch logfile store live signals service stderr |
//! | 3 writer | committer control |
//! | 4 readers | tailer |
//! | 5 ends | supervisor api |
//! | 6 whole | app replay verify |
//! | 7 face | cli |
//! | 8 | main |
//! | 9 tests | fuzz |

pub mod record;

pub mod coverage;
pub mod fold;
pub mod globs;
pub mod lines;
pub mod parse;
pub mod quota;

pub mod config;
pub mod live;
pub mod logfile;
pub mod service;
pub mod signals;
pub mod stderr;
pub mod store;
pub mod watch;

pub mod committer;
pub mod control;

pub mod tailer;

pub mod api;
pub mod supervisor;

pub mod app;
pub mod replay;
pub mod verify;

pub mod cli;

#[cfg(test)]
mod fuzz;
