//! `status`: the labs, whether they are up, and strays.

use std::process::ExitCode;

use lab::Result;
use lab::base::invocation;
use lab::provider::resident::report::LabReport;
use serde::Serialize;

use super::target::{json, labs};
use crate::output;

/// The arguments of `lab status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// As JSON, one object.
    #[arg(long)]
    json: bool,
}

/// All that there is.
#[derive(Serialize)]
struct Overview {
    labs: Vec<LabReport>,
    strays: Vec<String>,
}

/// Prints what there is.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let labs = labs()?;
    let strays = labs.strays()?.iter().map(ToString::to_string).collect();
    let reports = labs.all()?.iter().map(|lab| lab.report()).collect::<Result<_>>()?;
    let overview = Overview { labs: reports, strays };
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
            text.push_str(&format!("{:<12}        logs {}\n", "", lab.logs.display()));
        }
        if self.labs.is_empty() {
            text.push_str(&format!("no lab is up; bring one up: {}\n", invocation::lab("up")));
        }
        for stray in &self.strays {
            text.push_str(&format!("left behind: {stray}\n"));
        }
        if !self.strays.is_empty() {
            text.push_str(&format!("clear it: {}\n", invocation::lab("down --all")));
        }
        text
    }
}
