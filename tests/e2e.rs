//! The scenarios as trials of cargo and nextest: `cargo nextest run --run-ignored all`.
//!
//! They are those of `cargo xtask test-e2e`: see [`rdma_lab_cli::trials`].

use std::path::Path;
use std::process::ExitCode;

use rdma_lab_cli::{Front, trials};

fn main() -> ExitCode {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let front = Front::workspace(here.parent().unwrap_or(here), env!("CARGO_BIN_EXE_xtask").into());
    trials::main(&front, std::env::args().skip(1).collect())
}
