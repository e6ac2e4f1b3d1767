//! `rdma-lab`: the lab for programs of any language, in any directory, as one file.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    rdma_lab_cli::standalone::main()
}
