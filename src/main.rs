//! The program `tokentail`; all it does is in the library.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Of many small values that live for different times it keeps less free memory than the C library's, and gives
/// more of it back. `.cargo/config.toml` has its settings.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    tokentail::cli::main()
}
