//! `roce`: reads captures of RoCEv2.
//!
//! Exit code 0: done; 1: findings, differences or a capture that cannot be read; 2: asked for something that cannot be.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    roce_cli::main(std::env::args_os())
}
