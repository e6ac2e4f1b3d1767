//! Labs that stay, one file a subcommand.

use std::process::ExitCode;

use clap::Subcommand;
use lab::Result;

use crate::Front;

mod capture;
mod clean;
mod down;
mod exec;
mod extcap;
mod logs;
mod pour;
mod reset;
mod status;
mod step;
mod target;
mod transfer;
mod up;

/// The subcommands on labs that stay: of `lab` or, as `rdma-lab` has them, of the program itself.
#[derive(Subcommand)]
pub enum Lab {
    /// Brings both machines up and returns; they stay until `down`.
    Up(Box<up::Args>),
    /// Ends a lab, or all of them.
    Down(down::Args),
    /// Lists the labs, and what was left behind by ones that were killed.
    Status(status::Args),
    /// Opens a shell on a node.
    Ssh(exec::SshArgs),
    /// Runs a command on a node and exits with its exit code.
    Exec(exec::Args),
    /// Puts files onto a node, verified; programs keep their mode.
    Push(transfer::PushArgs),
    /// Gets files from a node, verified; programs keep their mode.
    Pull(transfer::PullArgs),
    /// Prints what the nodes' kernels and emulators have logged.
    Logs(logs::Args),
    /// Records the wire between the nodes.
    #[command(subcommand)]
    Capture(capture::CaptureCommand),
    /// Shows the wires of labs in Wireshark's list of interfaces; `--install` says so to Wireshark.
    Extcap(extcap::Args),
    /// Holds each RoCE packet in the switch until a key forwards, drops, doubles, corrupts or delays it.
    Step(step::command::Args),
    /// Puts both machines back to the state they had when they came up.
    Reset(reset::Args),
    /// Shows what the cache holds and removes it.
    Clean(clean::Args),
}

pub use exec::CarryArgs;
pub(crate) use exec::carried;

/// Runs one of them.
pub fn run(command: &Lab, front: &Front) -> Result<ExitCode> {
    match command {
        Lab::Up(args) => up::run(args, front),
        Lab::Down(args) => down::run(args),
        Lab::Status(args) => status::run(args),
        Lab::Ssh(args) => exec::ssh(args),
        Lab::Exec(args) => exec::run(args),
        Lab::Push(args) => transfer::push(args),
        Lab::Pull(args) => transfer::pull(args),
        Lab::Logs(args) => logs::run(args),
        Lab::Capture(command) => capture::run(command),
        Lab::Extcap(args) => extcap::run(args),
        Lab::Step(args) => step::command::run(args),
        Lab::Reset(args) => reset::run(args, front),
        Lab::Clean(args) => clean::run(args),
    }
}
