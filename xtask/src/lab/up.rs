//! `cargo xtask lab up`: both machines, up until `lab down`; or in the foreground until Ctrl-C.

use std::fs;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lab::artifacts::Artifacts;
use lab::node::Role;
use lab::progress::Step;
use lab::provider::Source;
use lab::provider::qemu::resident::{DEFAULT_NAME, Resident};
use lab::setup::Setup;
use lab::{Error, Result};

use super::{Name, json, residents, ssh_key, this_program};
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
    let setup = Setup::prepare(workspace::root(), &args.machines.choice()?, &this_program()?)?;
    let Source::Qemu(qemu) = &setup.provider else {
        return Err(Error::usage("only QEMU machines stay"));
    };
    let logs = Artifacts::create(workspace::root())?.scenario(&args.name.name);
    fs::create_dir_all(&logs).map_err(|source| Error::setup("failed to keep logs").source(source))?;
    let step = Step::begin(format!("bring up {}", args.name.name));
    let (lab, mut control) = residents.up(qemu, &args.name.name, &setup.programs, &logs)?;
    if !args.foreground {
        control.stay(&lab.note())?;
    }
    step.done("both nodes are ready");
    if args.json {
        output::line(json(&lab)?)?;
    } else {
        output::print(introduction(&lab)?)?;
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

/// How to reach and use a lab.
fn introduction(lab: &Resident) -> Result<String> {
    let name = if lab.name == DEFAULT_NAME { String::new() } else { format!(" --name {}", lab.name) };
    let mut text = format!("{}: {}\n\n", lab.name, lab.description);
    for role in Role::BOTH {
        text.push_str(&format!(
            "{role:<6}  {:<13}  cargo xtask lab ssh{name} {role}\n        {}\n",
            lab::provider::qemu::argv::address(role),
            lab.ssh(&ssh_key()?, role)?
        ));
    }
    text.push_str(&format!(
        "\ntry it   cargo xtask lab exec{name} server -- rdma_server --once\n\
         and      cargo xtask lab exec{name} client -- rdma_client server\n\
         logs     {}\n\
         end it   cargo xtask lab down{name}\n",
        lab.logs.display()
    ));
    Ok(text)
}
