//! `cargo xtask lab up`: both machines in the foreground, until Ctrl-C.

use std::fs;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lab::artifacts::Artifacts;
use lab::node::{Provider as _, Role};
use lab::progress::Step;
use lab::setup::Setup;
use lab::{Error, Result};

use crate::machines::Machines;
use crate::{output, workspace};

/// How often the machines are looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The arguments of `lab up`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    machines: Machines,
}

/// Brings the machines up, prints how to reach them, and ends them at Ctrl-C.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (sender, interrupted) = channel();
    ctrlc::set_handler(move || {
        // Without a receiver the lab is ending already.
        let _ = sender.send(());
    })
    .map_err(|source| Error::setup("failed to handle Ctrl-C").source(source))?;
    args.machines.prepare()?;
    let setup = Setup::prepare(workspace::root(), args.machines.accel.into(), &this_program()?, None)?;
    let logs = Artifacts::create(workspace::root())?.scenario("lab");
    fs::create_dir_all(&logs).map_err(|source| Error::setup("failed to keep logs").source(source))?;
    let pair = setup.provider.bring_up(&setup.programs, &logs)?;

    output::line(format_args!("\nboth nodes are up: {}\n", pair.description()))?;
    for role in Role::BOTH {
        output::line(format_args!("{role:<6}  {}", pair.node(role).address()))?;
        output::line(format_args!("        {}", pair.way_in(role)?))?;
    }
    output::line(format_args!(
        "\ntry `rdma_server` on server and `rdma_client server` on client\nlogs: {}\nCtrl-C ends the lab",
        logs.display()
    ))?;
    loop {
        match interrupted.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => pair.check_alive()?,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let step = Step::begin("end the lab");
    drop(pair);
    step.done("");
    Ok(ExitCode::SUCCESS)
}

/// This executable, which is also the guard's.
fn this_program() -> Result<std::path::PathBuf> {
    std::env::current_exe().map_err(|source| Error::setup("failed to find this program").source(source))
}
