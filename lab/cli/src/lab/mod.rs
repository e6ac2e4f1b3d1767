//! Labs that stay, one file a subcommand.

use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use lab::base::cache::Cache;
use lab::base::role::Role;
use lab::provider::qemu::ssh;
use lab::provider::resident::qemu::{DEFAULT_NAME, Resident, Residents};
use lab::provider::resident::remote as shared;
use lab::provider::resident::remote::Shared;
use lab::{Error, Result};

use crate::Front;

mod capture;
mod clean;
mod down;
mod exec;
mod logs;
mod reset;
mod status;
mod told;
mod transfer;
mod up;

/// The subcommands on labs that stay: of `lab` or, as `rdma-lab` has them, of the program itself.
#[derive(Subcommand)]
pub enum Lab {
    /// Brings both machines up and returns; they stay until `down`.
    Up(up::Args),
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
    Capture(capture::Capture),
    /// Puts both machines back to the state they had when they came up.
    Reset(reset::Args),
    /// Shows what the cache holds and removes it.
    Clean(clean::Args),
}

pub use exec::CarryArgs;
pub(crate) use exec::{TROUBLE, carry};

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
        Lab::Reset(args) => reset::run(args, front),
        Lab::Clean(args) => clean::run(args),
    }
}

/// Which lab.
#[derive(Debug, clap::Args)]
struct Name {
    /// The lab's name.
    #[arg(long, default_value = DEFAULT_NAME)]
    name: String,
}

impl Name {
    /// The lab of that name, which is up.
    fn find(&self) -> Result<Found> {
        match shared::find(&Cache::open()?, &self.name)? {
            Some(lab) => Ok(Found::Shared(lab)),
            None => residents()?.get(&self.name).map(Found::Own),
        }
    }
}

/// A lab that is up.
enum Found {
    /// On QEMU machines of our own.
    Own(Resident),
    /// On machines of others.
    Shared(Shared),
}

impl Found {
    /// Where its logs and captures go.
    fn logs(&self) -> &Path {
        match self {
            Found::Own(lab) => &lab.logs,
            Found::Shared(lab) => &lab.logs,
        }
    }
}

/// Which of a lab's two nodes.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Node {
    /// Listens.
    Server,
    /// Connects.
    Client,
}

impl From<Node> for Role {
    fn from(node: Node) -> Role {
        match node {
            Node::Server => Role::Server,
            Node::Client => Role::Client,
        }
    }
}

fn residents() -> Result<Residents> {
    Residents::open(&Cache::open()?)
}

fn ssh_key() -> Result<ssh::Key> {
    ssh::Key::ensure(&Cache::open()?)
}

/// The option that names a lab, left out for the default one.
fn name_option(name: &str) -> String {
    if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") }
}

/// What no other command of this computer's has.
fn id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("{now:x}-{:x}", std::process::id())
}

/// A value as one line of JSON.
fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|source| Error::setup("failed to write JSON").source(source))
}
