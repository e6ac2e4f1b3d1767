//! `cargo xtask lab status`: the labs, whether they are up, and strays.

use std::process::ExitCode;

use lab::Result;
use lab::cache::Cache;
use lab::node::Role;
use lab::provider::qemu::resident::Condition;
use lab::provider::remote::resident as shared;
use serde::Serialize;

use super::{json, residents};
use crate::output;

/// The arguments of `lab status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As JSON, one object.
    #[arg(long)]
    json: bool,
}

/// All that there is.
#[derive(Serialize)]
struct Overview {
    labs: Vec<Row>,
    strays: Vec<String>,
}

/// One lab.
#[derive(Serialize)]
struct Row {
    name: String,
    is_up: bool,
    /// `up`, `down` or `does not answer`.
    state: &'static str,
    description: String,
    /// Process ids of the machines: server, client.
    machines: Vec<u32>,
    /// Machines that stand still because of a signal.
    stopped: Vec<Role>,
    /// Process id of the guard.
    guard: Option<u32>,
    run_directory: String,
    logs: String,
}

/// Prints what there is.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let residents = residents()?;
    let mut labs: Vec<Row> = residents
        .all()?
        .into_iter()
        .map(|lab| {
            let condition = lab.condition();
            let (state, status) = match &condition {
                Condition::Up(status) => ("up", Some(status)),
                Condition::Silent => ("does not answer", None),
                Condition::Down => ("down", None),
            };
            let machines =
                status.iter().flat_map(|status| Role::BOTH.map(|role| status.machines.get(&role).copied()));
            Row {
                is_up: status.is_some(),
                state,
                machines: machines.flatten().collect(),
                stopped: status.iter().flat_map(|status| status.stopped.iter().copied()).collect(),
                guard: lab.guard().map(|guard| guard.pid),
                run_directory: lab.run_directory.display().to_string(),
                description: lab.description,
                logs: lab.logs.display().to_string(),
                name: lab.name,
            }
        })
        .collect();
    for lab in shared::all(&Cache::open()?)? {
        let is_up = lab.is_as_it_was();
        labs.push(Row {
            is_up,
            state: if is_up { "up" } else { "down" },
            machines: Vec::new(),
            stopped: Vec::new(),
            guard: None,
            run_directory: String::new(),
            description: lab.description,
            logs: lab.logs.display().to_string(),
            name: lab.name,
        });
    }
    let strays = residents.strays()?.iter().map(ToString::to_string).collect();
    let overview = Overview { labs, strays };
    output::print(if args.json { json(&overview)? + "\n" } else { overview.text() })?;
    Ok(ExitCode::SUCCESS)
}

impl Overview {
    fn text(&self) -> String {
        let mut text = String::new();
        for lab in &self.labs {
            let machines: Vec<String> = lab.machines.iter().map(u32::to_string).collect();
            text.push_str(&format!("{:<12}  {:<4}  {}\n", lab.name, lab.state, lab.description));
            if !lab.machines.is_empty() {
                text.push_str(&format!("{:<12}        machines {}\n", "", machines.join(", ")));
            }
            for role in &lab.stopped {
                text.push_str(&format!("{:<12}        {role} stands still: stopped by a signal\n", ""));
            }
            text.push_str(&format!("{:<12}        logs {}\n", "", lab.logs));
        }
        if self.labs.is_empty() {
            text.push_str("no lab is up; bring one up: cargo xtask lab up\n");
        }
        for stray in &self.strays {
            text.push_str(&format!("left behind: {stray}\n"));
        }
        if !self.strays.is_empty() {
            text.push_str("clear it: cargo xtask lab down --all\n");
        }
        text
    }
}
