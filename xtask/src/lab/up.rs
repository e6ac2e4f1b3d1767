//! `cargo xtask lab up`: both machines, up until `lab down`; or in the foreground until Ctrl-C.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lab::artifacts::Artifacts;
use lab::cache::Cache;
use lab::command::Command;
use lab::node::Role;
use lab::progress::Step;
use lab::provider::qemu::resident::DEFAULT_NAME;
use lab::provider::remote::resident as shared;
use lab::provider::{Choice, Source};
use lab::setup::Setup;
use lab::{Error, Result};

use super::{Name, json, residents, ssh_key};
use crate::machines::Machines;
use crate::{output, workspace};

/// How often a lab in the foreground is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The arguments of `lab up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    name: Name,
    /// Stay in the foreground; Ctrl-C ends the lab.
    #[arg(long)]
    foreground: bool,
    /// Say what was brought up as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machines: Machines,
}

/// Brings the machines up and says how to reach them.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (sender, interrupted) = channel();
    if args.foreground {
        ctrlc::set_handler(move || {
            // Without a receiver the lab is ending already.
            let _ = sender.send(());
        })
        .map_err(|source| Error::setup("failed to handle Ctrl-C").source(source))?;
    }
    let residents = residents()?;
    residents.check_free(&args.name.name)?;
    args.machines.prepare()?;
    let choice = args.machines.choice()?;
    let setup = Setup::prepare(workspace::root(), &choice, &workspace::guard()?)?;
    let logs = Artifacts::create(workspace::root())?.scenario(&args.name.name);
    fs::create_dir_all(&logs).map_err(|source| Error::setup("failed to keep logs").source(source))?;
    let Source::Qemu(qemu) = &setup.provider else {
        return up_shared(args, &choice, &setup, &logs);
    };
    if shared::find(&Cache::open()?, &args.name.name)?.is_some() {
        return Err(Error::usage(format!("a lab called {} is up on other machines", args.name.name))
            .next("end it: cargo xtask lab down\nor bring up another: cargo xtask lab up --name OTHER"));
    }
    let step = Step::begin(format!("bring up {}", args.name.name));
    let (lab, mut control) = residents.up(qemu, &args.name.name, &setup.programs, &logs)?;
    if !args.foreground {
        control.stay(&lab.note())?;
    }
    step.done("both nodes are ready");
    if args.json {
        output::line(json(&lab)?)?;
    } else {
        let mut ways = BTreeMap::new();
        for role in Role::BOTH {
            ways.insert(role, (lab::provider::qemu::argv::address(role).into(), lab.ssh(&ssh_key()?, role)?));
        }
        output::print(introduction(&lab.name, &lab.description, &lab.logs, &ways))?;
    }
    if !args.foreground {
        return Ok(ExitCode::SUCCESS);
    }
    output::line("Ctrl-C ends the lab")?;
    while let Err(RecvTimeoutError::Timeout) = interrupted.recv_timeout(LOOK) {
        residents.get(&lab.name)?;
    }
    residents.down(&lab.name)?;
    Ok(ExitCode::SUCCESS)
}

/// The same on machines of others, which stay anyway.
fn up_shared(args: &Args, choice: &Choice, setup: &Setup, logs: &Path) -> Result<ExitCode> {
    if args.foreground {
        return Err(Error::usage("machines of others do not end with a command: --foreground is for QEMU"));
    }
    let step = Step::begin(format!("bring up {}", args.name.name));
    let (cache, name) = (Cache::open()?, &args.name.name);
    let lab = shared::up(&cache, name, choice, &setup.provider, &setup.programs, logs)?;
    step.done("both nodes are ready");
    if args.json {
        output::line(json(&lab)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let open = lab.open()?;
    let ways =
        Role::BOTH.map(|role| (role, (lab.address(role), open.machine(role).host().shell(None, true))));
    output::print(introduction(&lab.name, &lab.description, &lab.logs, &ways.into()))?;
    Ok(ExitCode::SUCCESS)
}

/// How to reach and use a lab, whose nodes each have an address and a command that opens a shell.
fn introduction(name: &str, what: &str, logs: &Path, ways: &BTreeMap<Role, (IpAddr, Command)>) -> String {
    let mut text = format!("{name}: {what}\n\n");
    let name = if name == DEFAULT_NAME { String::new() } else { format!(" --name {name}") };
    for (role, (address, way)) in ways {
        text.push_str(&format!(
            "{role:<6}  {address:<13}  cargo xtask lab ssh{name} {role}\n        {way}\n"
        ));
    }
    let server = ways.get(&Role::Server).map(|(address, _)| address.to_string()).unwrap_or_default();
    text.push_str(&format!(
        "\ntry it   cargo xtask lab exec{name} server -- rdma_server --once\n\
         and      cargo xtask lab exec{name} client -- rdma_client {server}\n\
         logs     {}\n\
         end it   cargo xtask lab down{name}\n",
        logs.display()
    ));
    text
}
