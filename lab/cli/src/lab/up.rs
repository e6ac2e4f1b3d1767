//! `up`: both machines, up until `lab down`; or in the foreground until Ctrl-C.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use lab::base::cache::Cache;
use lab::base::invocation;
use lab::base::progress::Step;
use lab::base::role::Role;
use lab::base::selection::{ProviderName, Selection};
use lab::provider::resident::qemu::Resident;
use lab::provider::resident::remote as shared;
use lab::provider::resident::remote::Shared;
use lab::provider::{Choice, Source};
use lab::run::setup::Setup;
use lab::trial::artifacts::Artifacts;
use lab::{Error, Result};

use super::told::Told;
use super::{Name, json, name_option, residents, ssh_key};
use crate::{Front, machines, output};

/// How often a lab in the foreground is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// The arguments of `lab up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    name: Name,
    /// Stay in the foreground; Ctrl-C ends the lab.
    #[arg(long)]
    foreground: bool,
    /// Say what was brought up as JSON.
    #[arg(long)]
    json: bool,
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
        return Err(lab::Error::usage("--packages is for runs, and not yet for a lab that stays up")
            .next("run the programs by `run --packages …`, or push what the machines have not: `lab push`"));
    }
    let (residents, cache, name) = (residents()?, Cache::open()?, &args.name.name);
    let other = shared::find(&cache, name)?;
    if let Some(lab) = residents.find(name)? {
        let choice = machines::choice(&args.machines, Some(ProviderName::Qemu))?;
        return tell_own(args, front, &lab, &lab.differences(&choice), true);
    }
    let mut there = None;
    if let Some(lab) = &other {
        there = Some(lab.choice()?.name());
        let differences = lab.differences(&machines::choice(&args.machines, there)?);
        if !differences.is_empty() && lab.is_as_it_was() {
            return tell_shared(args, front, lab, &differences, true);
        }
    }
    let choice = machines::choice(&args.machines, there)?;
    machines::prepare(&choice, &args.machines.means, front.samples.are_built())?;
    let setup = Setup::prepare(&front.samples, &choice, &front.program)?;
    let recorded: Vec<PathBuf> = residents
        .all()?
        .into_iter()
        .map(|lab| lab.logs)
        .chain(shared::all(&cache)?.into_iter().map(|lab| lab.logs))
        .collect();
    front.make_home()?;
    let kept = Artifacts::lab(&front.home, name, &recorded)?;
    let logs = kept.directory();
    let Source::Qemu(qemu) = &setup.provider else {
        return up_shared(args, front, &choice, &setup, logs);
    };
    if other.is_some() {
        return Err(Error::usage(format!(
            "the name {name} is that of a lab on other machines, which do not answer"
        ))
        .next(format!(
            "give them back: {}\nor bring up another: {}",
            invocation::lab("down"),
            invocation::lab("up --name OTHER")
        )));
    }
    let step = Step::begin(format!("bring up {name}"));
    let (lab, control) = residents.up(qemu, name, &choice, &setup.programs, logs)?;
    let Some(mut control) = control else {
        // Another process was faster.
        drop(step);
        let _ = fs::remove_dir_all(logs);
        return tell_own(args, front, &lab, &lab.differences(&choice), true);
    };
    if !args.foreground {
        control.stay(&lab.note())?;
    }
    step.done("both nodes are ready");
    tell_own(args, front, &lab, &[], false)?;
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
fn up_shared(args: &Args, front: &Front, choice: &Choice, setup: &Setup, logs: &Path) -> Result<ExitCode> {
    if args.foreground {
        return Err(Error::usage("machines of others do not end with a command: --foreground is for QEMU"));
    }
    let step = Step::begin(format!("bring up {}", args.name.name));
    let (cache, name) = (Cache::open()?, &args.name.name);
    let (lab, was_up) = shared::up(&cache, name, choice, &setup.provider, &setup.programs, logs)?;
    if was_up {
        let _ = fs::remove_dir_all(logs);
    }
    step.done("both nodes are ready");
    tell_shared(args, front, &lab, &[], was_up)
}

/// Says how to reach a lab on QEMU machines that is up, and was before if `was_up`; `differences` of it were asked for.
fn tell_own(
    args: &Args,
    front: &Front,
    lab: &Resident,
    differences: &[String],
    was_up: bool,
) -> Result<ExitCode> {
    if was_up {
        say_it_was_up(args, differences)?;
    }
    if args.json {
        output::line(json(&Told::own(lab)?.after_up(was_up, differences))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut ways = BTreeMap::new();
    let key = ssh_key()?;
    for role in Role::BOTH {
        // It is up, whether this user has a client or not.
        let way = lab.ssh(&key, role).map_or_else(
            |error| error.to_string().lines().next().unwrap_or_default().to_owned(),
            |command| command.to_string(),
        );
        ways.insert(role, (lab::provider::qemu::argv::address(role).into(), way));
    }
    output::print(introduction(&lab.name, &lab.description, &lab.logs, &ways, front))?;
    Ok(ExitCode::SUCCESS)
}

/// The same of one on machines of others.
fn tell_shared(
    args: &Args,
    front: &Front,
    lab: &Shared,
    differences: &[String],
    was_up: bool,
) -> Result<ExitCode> {
    if was_up {
        say_it_was_up(args, differences)?;
    }
    if args.json {
        output::line(json(&Told::shared(lab, true)?.after_up(was_up, differences))?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let open = lab.open()?;
    let ways = Role::BOTH
        .map(|role| (role, (lab.address(role), open.machine(role).host().shell(None, true).to_string())));
    output::print(introduction(&lab.name, &lab.description, &lab.logs, &ways.into(), front))?;
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

/// How to reach and use a lab, whose nodes each have an address and a command that opens a shell, or why there is none.
fn introduction(
    name: &str,
    what: &str,
    logs: &Path,
    ways: &BTreeMap<Role, (IpAddr, String)>,
    front: &Front,
) -> String {
    let lab = front.invocation.lab;
    let mut text = format!("{name}: {what}\n\n");
    let name = name_option(name);
    for (role, (address, way)) in ways {
        text.push_str(&format!("{role:<6}  {address:<13}  {lab} ssh{name} {role}\n        {way}\n"));
    }
    let server = ways.get(&Role::Server).map(|(address, _)| address.to_string()).unwrap_or_default();
    let [on_server, on_client] = match front.samples.are_at_hand() {
        true => ["rdma_server --once".to_owned(), format!("rdma_client {server}")],
        false => ["rping -s -C 1".to_owned(), format!("rping -c -a {server} -C 1")],
    };
    text.push_str(&format!(
        "\ntry it   {lab} exec{name} server {on_server}\n\
         and      {lab} exec{name} client {on_client}\n\
         logs     {}\n\
         end it   {lab} down{name}\n",
        logs.display()
    ));
    text
}
