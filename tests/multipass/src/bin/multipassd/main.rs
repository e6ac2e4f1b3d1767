//! `multipassd`: the stand-in's daemon, and what runs under it.
//!
//! - `multipassd DIR -- COMMAND…` serves in the directory while COMMAND runs, with `multipass` first on its PATH,
//!   and exits as it does
//! - `multipassd DIR` serves until standard input ends
//! - `multipassd nodes LOGS` brings two machines up, says how to reach each through SSH, the server's first, and
//!   keeps them until standard input ends; meanwhile their switch writes what passes it to `mirror.pcapng` in LOGS
//!
//! However it ends, its machines end with it: their guard lives by a pipe from here.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode};

use lab::base::error::{Error, IoContext as _, Result};
use lab::base::role::Role;
use lab::node::{NodePair as _, Plan};
use lab::provider::qemu::guard;
use multipass_stand_in::place::{StandInDirectory, VARIABLE};

use crate::daemon::Daemon;
use crate::nodes::{machines, own_program};

mod daemon;
mod launch;
mod nodes;
mod user_data;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["__guard"] => guard::main().map(|()| ExitCode::SUCCESS),
        ["nodes", logs] => keep_nodes(Path::new(logs)),
        [directory] => serve(Path::new(directory), &[]),
        [directory, "--", ref command @ ..] if !command.is_empty() => serve(Path::new(directory), command),
        _ => Err(Error::usage("usage: multipassd DIR [-- COMMAND…] | multipassd nodes LOGS")),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        ExitCode::FAILURE
    })
}

fn serve(directory: &Path, command: &[&str]) -> Result<ExitCode> {
    fs::create_dir_all(directory).at("failed to create", directory)?;
    let directory = directory.canonicalize().at("failed to find", directory)?;
    let place = StandInDirectory::at(&directory);
    Daemon::start(&place)?;
    let Some((program, arguments)) = command.split_first() else {
        println!("serving in {}", directory.display());
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = fs::remove_file(place.socket());
        return Ok(ExitCode::SUCCESS);
    };
    let own = own_program()?;
    let mut path = OsString::from(own.parent().unwrap_or(Path::new("/")));
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let status = Command::new(program).args(arguments).env("PATH", path).env(VARIABLE, &directory).status();
    let _ = fs::remove_file(place.socket());
    let code = status.at("failed to run", Path::new(program))?.code();
    Ok(code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}

fn keep_nodes(logs: &Path) -> Result<ExitCode> {
    let pair = machines()?.fork(&Plan::new(logs))?;
    pair.start_capture(&logs.join("mirror.pcapng"))?;
    for role in Role::BOTH {
        println!("{}", pair.way_in(role)?);
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    Ok(ExitCode::SUCCESS)
}
