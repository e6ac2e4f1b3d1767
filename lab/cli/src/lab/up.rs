//! `up`: both machines, or more, up until `lab down`; or in the foreground until Ctrl-C.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lab::base::invocation;
use lab::base::progress::Step;
use lab::base::role::Role;
use lab::base::selection::{ProviderName, Selection};
use lab::node::Plan;
use lab::provider::resident::labs::Brought;
use lab::provider::resident::qemu::record::note;
use lab::provider::resident::report::LabReport;
use lab::provider::resident::{Resident, name_option, ready};
use lab::run::setup::Setup;
use lab::trial::artifacts::Artifacts;
use lab::{Error, Result};

use super::target::{LabName, json, labs};
use crate::{Front, machines, output};

/// Interval between two looks at a lab in the foreground.
const LOOK: Duration = Duration::from_millis(500);

/// The arguments of `lab up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: LabName,
    /// Stay in the foreground; Ctrl-C ends the lab.
    #[arg(long)]
    foreground: bool,
    /// Say what was brought up as JSON.
    #[arg(long)]
    json: bool,
    /// Number of nodes: a server, and clients client, client2, client3 and so on [default: 2] (QEMU).
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=8))]
    nodes: Option<u8>,
    #[command(flatten)]
    machines: Selection,
}

/// Brings the machines up and says how to reach them.
pub(crate) fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let (sender, interrupted) = channel();
    if args.foreground {
        ctrlc::set_handler(move || {
            // Without a receiver the lab is ending already.
            let _ = sender.send(());
        })
        .map_err(|source| Error::setup("failed to handle Ctrl-C").source(source))?;
    }
    if !args.machines.release.packages.is_empty() {
        return Err(Error::usage("--packages is for runs, and not yet for a lab that stays up")
            .next("run the programs by `run --packages …`, or push what the machines have not: `lab push`"));
    }
    let (labs, name) = (labs()?, &args.name.name);
    let there = labs.find(name)?;
    let provider = there.as_ref().map(|lab| lab.choice()).transpose()?.map(|choice| choice.name());
    let choice = machines::choice(&args.machines, provider)?;
    let nodes = args.nodes.map_or(Role::BOTH.len(), usize::from);
    choice.demand_nodes(nodes)?;
    if let Some(lab) = there {
        let differences = differences(args, lab.as_ref(), lab.differences(&choice));
        if lab.stays_with(&differences) {
            return tell(args, front, lab.as_ref(), true, differences);
        }
    }
    if args.foreground && choice.name() != ProviderName::Qemu {
        return Err(Error::usage("machines of others do not end with a command: --foreground is for QEMU"));
    }
    machines::prepare(&choice, &args.machines.means, front.samples.are_built())?;
    let setup = Setup::prepare(&front.samples, &choice, &front.program)?;
    let recorded: Vec<PathBuf> = labs.all()?.iter().map(|lab| lab.logs().to_owned()).collect();
    front.make_home()?;
    let kept = Artifacts::lab(&front.home, name, &recorded)?;
    let logs = kept.directory();
    let step = Step::begin(format!("bring up {name}"));
    let plan = Plan { nodes, programs: &setup.programs, ..Plan::new(logs) };
    let Brought { lab, was_up, mut held } = labs.up(name, &setup.provider, &choice, &plan)?;
    if was_up {
        // As it was, or another process was faster.
        let _ = fs::remove_dir_all(logs);
    } else if let (Some(control), false) = (held.as_mut(), args.foreground) {
        control.stay(&note(logs))?;
    }
    step.done(ready(lab.roles()));
    let differences =
        if was_up { differences(args, lab.as_ref(), lab.differences(&choice)) } else { Vec::new() };
    tell(args, front, lab.as_ref(), was_up, differences)?;
    if !args.foreground {
        return Ok(ExitCode::SUCCESS);
    }
    output::line("Ctrl-C ends the lab")?;
    while let Err(RecvTimeoutError::Timeout) = interrupted.recv_timeout(LOOK) {
        labs.get(name)?;
    }
    lab.down()?;
    Ok(ExitCode::SUCCESS)
}

/// Adds to the differences of a lab that is up that it has another number of nodes than was asked for.
fn differences(args: &Args, lab: &dyn Resident, mut differences: Vec<String>) -> Vec<String> {
    let has = lab.roles().len();
    if let Some(nodes) = args.nodes.filter(|nodes| usize::from(*nodes) != has) {
        differences.push(format!("--nodes {nodes} was asked for, and it has --nodes {has}"));
    }
    differences
}

/// Says how to reach a lab that is up, and was before if `was_up`; `differences` of it were asked for.
fn tell(
    args: &Args,
    front: &Front,
    lab: &dyn Resident,
    was_up: bool,
    differences: Vec<String>,
) -> Result<ExitCode> {
    if was_up {
        say_it_was_up(args, &differences)?;
    }
    if args.json {
        let report = LabReport { was_up: Some(was_up), differences, ..lab.report()? };
        output::line(json(&report)?)?;
    } else {
        output::print(introduction(lab, front)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says that there was nothing to do, and what of it is not as it was asked for.
fn say_it_was_up(args: &Args, differences: &[String]) -> Result<()> {
    let name = &args.name.name;
    if args.foreground {
        return Err(Error::usage(format!(
            "a lab called {name} is up already, and does not end with this command"
        ))
        .next(format!("end it first: {}{}", invocation::lab("down"), name_option(name))));
    }
    output::note(&format!("the lab called {name} was up already"));
    for difference in differences {
        output::note(&format!("it differs: {difference}"));
    }
    if !differences.is_empty() {
        let option = name_option(name);
        output::note(&format!(
            "to have it so: {}{option}, then this again; or another lab: --name OTHER",
            invocation::lab("down")
        ));
    }
    Ok(())
}

/// Introduces a lab: the commands that reach and use it.
fn introduction(lab: &dyn Resident, front: &Front) -> Result<String> {
    let mut text = format!("{}: {}\n\n", lab.name(), lab.description());
    let (name, logs) = (name_option(lab.name()), lab.logs().display());
    let (ways, command) = (lab.ways_in()?, front.invocation.lab);
    let widest = lab.roles().iter().map(|role| role.name().len()).max().unwrap_or(0);
    for (role, way) in ways {
        let address = lab.address(role).to_string();
        text.push_str(&format!(
            "{:<widest$}  {address:<13}  {command} ssh{name} {role}\n{:widest$}  {way}\n",
            role.name(),
            ""
        ));
    }
    let server = lab.address(Role::Server);
    let [on_server, on_client] = match front.samples.are_at_hand() {
        true => ["rdma_server --once".to_owned(), format!("rdma_client {server}")],
        false => ["rping -s -C 1".to_owned(), format!("rping -c -a {server} -C 1")],
    };
    text.push_str(&format!(
        "\ntry it   {command} exec{name} server {on_server}\n\
         and      {command} exec{name} client {on_client}\n\
         logs     {logs}\n\
         end it   {command} down{name}\n",
    ));
    Ok(text)
}
