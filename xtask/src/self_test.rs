//! `cargo xtask self-test`: proof that the harness goes red, each mutation with its whole set of reasons.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Instant;

use lab::base::cache::Cache;
use lab::base::selection::{AccelChoice, Means, ReleaseOption};
use lab::guest::programs::Build;
use lab::host::{Host, requirement};
use lab::judge::verdict::Reason;
use lab::provider::{Choice, MachineSource};
use lab::run::setup::Setup;
use lab::self_test::{MUTATIONS, Mutation, Subject};
use lab::trial::artifacts::Artifacts;
use lab::{Error, Result};

use rdma_lab_cli::{Front, machines, output};

use crate::workspace;

/// The arguments of `self-test`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Mutations to apply [default: all].
    #[arg(value_name = "MUTATION", value_parser = mutation)]
    mutations: Vec<&'static Mutation>,
    /// Print the mutations with the reasons that each has to give, and start nothing.
    #[arg(long)]
    list: bool,
    /// Accelerator that runs the machines' instructions.
    #[arg(long, default_value = "auto")]
    accel: AccelChoice,
    #[command(flatten)]
    release: ReleaseOption,
    #[command(flatten)]
    means: Means,
}

/// Applies every mutation; exit code 1 where one gives other reasons than it must.
pub(crate) fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let mutations: Vec<&'static Mutation> =
        if args.mutations.is_empty() { MUTATIONS.iter().collect() } else { args.mutations.clone() };
    let width = mutations.iter().map(|mutation| mutation.name.len()).max().unwrap_or(0);
    if args.list {
        output::line(format_args!("{:<width$}  expected", "mutation"))?;
        for mutation in mutations {
            output::line(format_args!("{:<width$}  {}", mutation.name, told(&mutation.reasons())))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    machines::apply(&args.means)?;
    let guest = machines::guest(&args.release)?;
    Cache::open()?;
    requirement::demand_platform()?;
    requirement::demand(&Host::this(), &requirement::run(true))?;
    let choice = Choice::qemu(args.accel, guest).with_more(&args.release.packages, &[]);
    let setup = Setup::with(Build::Mutants, &front.samples, &choice, &front.program)?;
    let MachineSource::Qemu(provider) = &setup.provider else {
        return Err(Error::setup("the self-test needs QEMU's machines"));
    };
    let kept = Artifacts::create(&front.home)?;
    let _slot = setup.slot()?;
    let (scenarios, snapshots) = (workspace::scenarios(), workspace::snapshots());
    let subject = Subject {
        provider,
        programs: &setup.programs,
        scenarios: &scenarios,
        snapshots: &snapshots,
        kept: &kept,
    };
    let started = Instant::now();
    let (mut passed, mut differences) = (0, Vec::new());
    let wide = mutations.iter().map(|mutation| told(&mutation.reasons()).len()).max().unwrap_or(0).max(8);
    output::line(format_args!("{:<width$}  {:<wide$}  found", "mutation", "expected"))?;
    for mutation in mutations {
        let found = subject.apply(mutation)?;
        let (expected, reasons) = (told(&mutation.reasons()), told(&found.reasons));
        let (name, mark) = (mutation.name, if found.is_as_expected() { "" } else { "  <- differs" });
        output::line(format_args!("{name:<width$}  {expected:<wide$}  {reasons}{mark}"))?;
        if found.is_as_expected() {
            passed += 1;
        } else {
            differences.push(format!("{name}: see {}", found.artifacts.display()));
        }
    }
    for difference in &differences {
        output::line(difference)?;
    }
    let (word, failed) = (if differences.is_empty() { "ok" } else { "FAILED" }, differences.len());
    let seconds = started.elapsed().as_secs_f64();
    output::line(format_args!(
        "\ntest result: {word}. {passed} passed; {failed} failed; finished in {seconds:.2}s"
    ))?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// `WIRE, APP`, or `green`.
fn told(reasons: &BTreeSet<Reason>) -> String {
    match reasons.is_empty() {
        true => "green".to_owned(),
        false => reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn mutation(name: &str) -> Result<&'static Mutation, String> {
    let names = MUTATIONS.iter().map(|mutation| mutation.name);
    let found = lab::base::names::find("mutation", name, names.clone()).map_err(|why| {
        // All are told already where none is near.
        if why.contains("there are: ") {
            return why;
        }
        format!("{why}; there are: {}", names.collect::<Vec<_>>().join(", "))
    })?;
    MUTATIONS.iter().find(|mutation| mutation.name == found).ok_or_else(|| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_mutation_is_told_all_of_them_once() {
        for name in ["no_imediate", "zzzzzzzz"] {
            let error = mutation(name).unwrap_err();
            assert_eq!(error.matches("there are: ").count(), 1, "{error}");
        }
    }
}
