//! Resolves and downloads packages of a Debian mirror: what apt does, on hosts that have none.
//!
//! In a checkout a program beside the lab and not a part of it, so that only those hosts compile OpenPGP and TLS; in
//! `rdma-lab` a hidden subcommand. One call does one thing with a directory that keeps the state in between:
//!
//! 1. `update DIRECTORY MIRROR RELEASE KEYS [expired]` fetches `InRelease`, checks its signature, date and name, and
//!    fetches the list of packages that it vouches for; `expired` takes one whose validity has ended.
//! 2. `depends DIRECTORY PACKAGE` names the packages that it depends on, in its order.
//! 3. `resolve DIRECTORY PACKAGE…` and `show DIRECTORY PACKAGE…` list packages with and without all they
//!    depend on.
//! 4. `download DIRECTORY INTO PACKAGE…` and `download-only DIRECTORY INTO PACKAGE…` bring those, each checked
//!    against the list.
//!
//! Prints one line of JSON: `{"answer": …}`, or `{"error": {"what": …, "next": …}}` with exit code 1.

#![forbid(unsafe_code)]

mod closure;
mod error;
mod index;
mod release;
mod signature;
mod state;
mod transfer;
mod version;

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};

use error::{Error, Result};
use release::Validity;
use state::{AnsweredPackage, FetchedRelease};

/// Does what `arguments` say, the words behind the program's name, and prints the answer.
pub fn main(arguments: &[String]) -> ExitCode {
    let (line, code) = match run(arguments) {
        Ok(answer) => (json!({ "answer": answer }), ExitCode::SUCCESS),
        Err(error) => (json!({ "error": error }), ExitCode::FAILURE),
    };
    println!("{line}");
    code
}

fn run(arguments: &[String]) -> Result<Value> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["update", directory, mirror, release, keys, rest @ ..] if matches!(rest, [] | ["expired"]) => {
            let validity = if rest.is_empty() { Validity::Demanded } else { Validity::Ignored };
            state::update(Path::new(directory), mirror, release, Path::new(keys), validity)?;
            Ok(Value::Null)
        }
        ["depends", directory, package] => {
            let state = FetchedRelease::open(Path::new(directory))?;
            let index = state.index();
            let numbers = closure::dependencies(&index, package)?;
            Ok(numbers.into_iter().map(|number| json!(index.packages[number].name)).collect())
        }
        [how @ ("resolve" | "show"), directory, ..] => {
            let state = FetchedRelease::open(Path::new(directory))?;
            let index = state.index();
            let choose = if *how == "resolve" { state::resolve } else { state::look_up };
            let packages = choose(&index, &arguments[2..])?;
            Ok(json!(packages.into_iter().map(AnsweredPackage::from).collect::<Vec<_>>()))
        }
        [how @ ("download" | "download-only"), directory, into, ..] => {
            let state = FetchedRelease::open(Path::new(directory))?;
            let index = state.index();
            let choose = if *how == "download" { state::resolve } else { state::look_up };
            let packages = choose(&index, &arguments[3..])?;
            Ok(json!(state.download(&packages, Path::new(into))?))
        }
        _ => Err(Error::new(
            format!("unknown command: {}", words.join(" ")),
            "update, depends, resolve, show, download or download-only",
        )),
    }
}
