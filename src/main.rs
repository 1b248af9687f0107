//! The program `tokentail`; all it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    tokentail::cli::main()
}
