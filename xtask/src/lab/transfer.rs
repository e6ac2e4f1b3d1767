//! `cargo xtask lab push` and `lab pull`: files, verified by their checksums.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use lab::error::IoContext as _;
use lab::{Error, Result};

use super::{Found, Name, Node, ssh_key};
use crate::output;

/// The arguments of `lab push`.
#[derive(Debug, clap::Args)]
pub(crate) struct PushArgs {
    #[command(flatten)]
    name: Name,
    /// Which node.
    #[arg(ignore_case = true)]
    node: Node,
    /// A file of this computer.
    file: PathBuf,
    /// Where it goes on the node [default: /opt/lab/bin/ and the file's name, first on PATH].
    to: Option<String>,
}

/// The arguments of `lab pull`.
#[derive(Debug, clap::Args)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    name: Name,
    /// Which node.
    #[arg(ignore_case = true)]
    node: Node,
    /// A file of the node.
    file: String,
    /// Where it goes on this computer [default: its name, in this directory].
    to: Option<PathBuf>,
}

/// Puts a file onto a node.
pub(crate) fn push(args: &PushArgs) -> Result<ExitCode> {
    let bytes = fs::read(&args.file).at("failed to read", &args.file)?;
    let name = args.file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let to = args.to.clone().unwrap_or_else(|| format!("/opt/lab/bin/{name}"));
    match args.name.find()? {
        Found::Own(lab) => lab.push(&ssh_key()?, args.node.into(), &bytes, &to)?,
        Found::Shared(lab) => lab.open()?.machine(args.node.into()).push(&bytes, &to, 0o755)?,
    }
    output::line(format_args!("{to}: {} bytes", bytes.len()))?;
    Ok(ExitCode::SUCCESS)
}

/// Gets a file from a node.
pub(crate) fn pull(args: &PullArgs) -> Result<ExitCode> {
    let name = args.file.rsplit('/').next().unwrap_or_default();
    let to = match &args.to {
        Some(to) => to.clone(),
        None if name.is_empty() => return Err(Error::usage(format!("{} is no file's name", args.file))),
        None => name.into(),
    };
    match args.name.find()? {
        Found::Own(lab) => {
            let bytes = lab.pull(&ssh_key()?, args.node.into(), &args.file)?;
            fs::write(&to, &bytes).at("failed to write", &to)?;
        }
        Found::Shared(lab) => lab.open()?.machine(args.node.into()).pull(&args.file, &to)?,
    }
    let length = fs::metadata(&to).at("failed to look at", &to)?.len();
    output::line(format_args!("{}: {length} bytes", to.display()))?;
    Ok(ExitCode::SUCCESS)
}
