//! `cargo xtask`: the command line of the lab.
//!
//! Parse, match, one file a subcommand. Exit code 0: done, 1: failed, 2: asked for something that cannot be; those of
//! `lab exec` are its command's, and 125 is the lab's trouble.
//! Results go to standard output, progress and errors to standard error.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;

use ::lab::base::error::Kind;
use clap::{Parser, Subcommand};

mod bench;
mod ci;
mod decode;
mod doctor;
mod guard;
mod lab;
mod machines;
mod means;
mod output;
mod results;
mod review;
mod run;
mod self_test;
mod stage;
mod test_e2e;
mod test_guest;
mod workspace;

/// Two machines with SoftRoCE: bring them up, run RDMA programs between them, judge the wire.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Tells what this computer has, what it lacks and how to get it.
    Doctor(doctor::Args),
    /// Handles the lab itself.
    #[command(subcommand)]
    Lab(lab::Lab),
    /// Runs the scenarios and compares each trace with its snapshot.
    TestE2e(test_e2e::Args),
    /// Proves that the harness goes red: mutates programs, captures and machines.
    SelfTest(self_test::Args),
    /// Runs the verbs library's tests on a real device, inside the machines.
    TestGuest(test_guest::Args),
    /// Runs any two programs between the machines and judges their wire.
    Run(run::Args),
    /// Tells what came of the scenarios of an invocation.
    Results(results::Args),
    /// Prints the RoCEv2 trace of a capture.
    Decode(roce::cli::TraceArgs),
    /// Checks a capture against every rule; exits 1 when one is broken.
    Check(roce::cli::CheckArgs),
    /// Compares two captures by what they mean; exits 1 when they differ.
    Diff(roce::cli::DiffArgs),
    /// Measures, and prints tables with the bars beside.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Checks everything: formatting, lints, documentation, tests, scenarios.
    Ci(ci::Args),
    /// Keeps machines from outliving their owner.
    #[command(name = "__guard", hide = true)]
    Guard,
    /// Runs a program that ends with its parent.
    #[command(name = "__carry", hide = true)]
    Carry(lab::CarryArgs),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            let is_of_exec = std::env::args().skip(1).take(2).eq(["lab", "exec"]);
            return match error.exit_code() {
                0 => ExitCode::SUCCESS,
                // 2 may be a command's own.
                _ if is_of_exec => ExitCode::from(lab::TROUBLE),
                code => ExitCode::from(u8::try_from(code).unwrap_or(2)),
            };
        }
    };
    let is_of_exec = matches!(&cli.command, Command::Lab(command) if command.is_exec());
    let result = match cli.command {
        Command::Doctor(args) => doctor::run(&args),
        Command::Lab(command) => lab::run(&command),
        Command::TestE2e(args) => test_e2e::run(&args),
        Command::SelfTest(args) => self_test::run(&args),
        Command::TestGuest(args) => test_guest::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Results(args) => results::run(&args),
        Command::Decode(args) => decode::told(args.run(decode::names())),
        Command::Check(args) => decode::told(args.run(decode::names())),
        Command::Diff(args) => decode::told(args.run(decode::names())),
        Command::Bench(command) => bench::run(&command),
        Command::Ci(args) => ci::run(&args),
        Command::Guard => guard::run(),
        Command::Carry(args) => lab::carry(&args),
    };
    result.unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "error: {error}");
        match error.kind() {
            _ if is_of_exec => ExitCode::from(lab::TROUBLE),
            Kind::Usage => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The commands that do something, by their words; those that people do not call are left out.
    fn leaves(command: &clap::Command, words: &str, found: &mut Vec<String>) {
        let is_of_people = |command: &&clap::Command| !command.is_hide_set() && command.get_name() != "help";
        let mut subcommands = command.get_subcommands().filter(is_of_people).peekable();
        if subcommands.peek().is_none() {
            found.push(words.trim_start().to_owned());
        }
        for subcommand in subcommands {
            leaves(subcommand, &format!("{words} {}", subcommand.get_name()), found);
        }
    }

    #[test]
    fn every_command_is_run_by_ci() {
        let runs: Vec<&str> = include_str!("../../tests/lab/smoke-runs")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        let mut commands = Vec::new();
        leaves(&Cli::command(), "", &mut commands);
        assert!(commands.len() > 20, "{commands:?}");
        let is_run = |command: &str, line: &str| {
            let words = line.strip_prefix("ci: ").unwrap_or(line);
            words.strip_prefix(command).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
        };
        for command in &commands {
            assert!(
                runs.iter().any(|line| is_run(command, line)),
                "`{command}` is run by nothing: add a line to tests/lab/smoke-runs"
            );
        }
        for line in runs {
            assert!(commands.iter().any(|command| is_run(command, line)), "no command: {line}");
            if let Some(stage) = line.strip_prefix("ci: ") {
                assert!(stage == "ci" || ci::runs(stage), "no stage of ci runs {stage}");
            }
        }
    }

    #[test]
    fn every_command_of_the_workflows_is_one() {
        let workflows = workspace::root().join(".github/workflows");
        let mut count = 0;
        for file in std::fs::read_dir(&workflows).expect("the workflows").flatten() {
            let text = std::fs::read_to_string(file.path()).expect("a workflow");
            for line in text.lines().filter(|line| line.contains("cargo xtask") && !line.starts_with('#')) {
                let (_, command) = line.split_once("cargo xtask").expect("a command");
                let command = command.split(">>").next().unwrap_or_default();
                let words = command.split_whitespace().map(|word| word.trim_matches('"'));
                if let Err(error) = Cli::try_parse_from(std::iter::once("cargo xtask").chain(words)) {
                    panic!("{}: {line}: {error}", file.path().display());
                }
                count += 1;
            }
        }
        assert!(count >= 5, "{count} commands");
    }
}
