//! `multipassd`: the stand-in's daemon.

#![forbid(unsafe_code)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::cache::Cache;
use lab::error::IoContext as _;
use lab::node::{Pair as _, Plan, Role};
use lab::provider::Qemu;
use lab::provider::qemu::{accel, guard};

#[path = "../guest.rs"]
mod guest;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["__guard"] => guard::main(),
        ["nodes", logs] => nodes(Path::new(logs)),
        _ => Err(lab::Error::usage("usage: multipassd nodes LOGS")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Brings up the two machines that instances are, says how to reach each through SSH, the server's first, and
/// keeps them until standard input ends. Consoles go into the directory `logs`.
fn nodes(logs: &Path) -> lab::Result<()> {
    let own = PathBuf::from("/proc/self/exe");
    let program = std::env::current_exe().at("failed to find", &own)?;
    let qemu = Qemu::of(&guest::RECIPE, Cache::open()?, accel::Choice::Auto, &program, None)?;
    let pair = qemu.fork(&Plan::new(logs))?;
    for role in Role::BOTH {
        println!("{}", pair.way_in(role)?);
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(())
}
