//! `debian-fetcher`: see the library's documentation.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    debian_fetcher::main(&std::env::args().skip(1).collect::<Vec<_>>())
}
