//! `cargo xtask`: the command line of the lab.
//!
//! The commands that anybody needs are those of [`rdma_lab_cli`], in the context of this workspace; beside them are here those
//! for who develops it. Exit codes and outputs are as there.

#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
use lab::base::invocation::XTASK;
use rdma_lab_cli::{Lab, SharedCommand, shell, test};

mod bench;
mod book;
mod ci;
mod lesson;
mod samples;
mod screenshots;
mod self_test;
mod setup_git;
mod stage;
mod test_guest;
mod workspace;

/// Two machines with SoftRoCE: bring them up, run RDMA programs between them, judge the wire.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Xtask {
    #[command(subcommand)]
    command: XtaskCommand,
}

#[derive(Subcommand)]
enum XtaskCommand {
    #[command(flatten)]
    Common(SharedCommand),
    /// Handles the lab itself.
    #[command(subcommand)]
    Lab(Lab),
    /// Runs the scenarios and compares each trace with its snapshot.
    TestE2e(test::Args),
    /// Proves that the harness goes red: mutates programs, captures and machines.
    SelfTest(self_test::Args),
    /// Runs the verbs library's tests on a real device, inside the machines.
    TestGuest(test_guest::Args),
    /// Tells git to show captures as traces, in the repository here.
    SetupGit(setup_git::Args),
    /// Builds the sample programs for every guest and copies them into a directory, as a release has them.
    Samples(samples::Args),
    /// Measures, and prints tables with the bars beside.
    #[command(subcommand)]
    Bench(bench::Bench),
    /// Runs lessons: questions about RDMA, each answered by a run with its packets, plots and claims.
    Lesson(lesson::Args),
    /// Prints the completions for a shell, of the alias xtask='cargo xtask'.
    Completions(shell::Args),
    /// Prints the man pages.
    Man,
    /// Holds what the documentation shows against what the commands do, and builds it as a book.
    Book(book::Args),
    /// Is `roce`, for the documentation's commands.
    #[command(name = book::ROCE, hide = true, disable_help_flag = true)]
    Roce {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<OsString>,
    },
    /// Checks everything: formatting, lints, documentation, tests, scenarios.
    Ci(ci::Args),
}

fn main() -> ExitCode {
    rdma_lab_cli::main(XTASK, workspace::front, |cli: Xtask, front| match cli.command {
        XtaskCommand::Common(command) => command.run(front),
        XtaskCommand::Lab(command) => rdma_lab_cli::lab::run(&command, front),
        XtaskCommand::TestE2e(args) => test::run(&args, front),
        XtaskCommand::SelfTest(args) => self_test::run(&args, front),
        XtaskCommand::TestGuest(args) => test_guest::run(&args, front),
        XtaskCommand::SetupGit(args) => setup_git::run(&args),
        XtaskCommand::Samples(args) => samples::run(&args),
        XtaskCommand::Bench(command) => bench::run(&command, front),
        XtaskCommand::Lesson(args) => lesson::run(&args, front),
        XtaskCommand::Completions(args) => shell::completions(&args, Xtask::command().name("xtask"), "xtask"),
        XtaskCommand::Man => shell::man(Xtask::command().name("xtask").bin_name("xtask")),
        XtaskCommand::Book(args) => book::run(&args, Xtask::command()),
        XtaskCommand::Roce { words } => {
            Ok(roce_cli::main(std::iter::once(OsString::from("roce")).chain(words)))
        }
        XtaskCommand::Ci(args) => ci::run(&args),
    })
}

#[cfg(test)]
mod tests {
    use rdma_lab_cli::examples::with_examples;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Xtask::command().debug_assert();
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
        leaves(&Xtask::command(), "", &mut commands);
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

    /// The help behind each command, by the command's words.
    fn examples(command: &clap::Command, words: &str, found: &mut Vec<(String, String)>) {
        for subcommand in command.get_subcommands().filter(|command| !command.is_hide_set()) {
            let words = format!("{words} {}", subcommand.get_name());
            if let Some(help) = subcommand.get_after_help() {
                found.push((words.trim_start().to_owned(), help.to_string()));
            }
            examples(subcommand, &words, found);
        }
    }

    #[test]
    fn every_command_has_examples_that_it_takes() {
        let command = with_examples(Xtask::command(), XTASK);
        let (mut found, mut commands) = (Vec::new(), Vec::new());
        examples(&command, "", &mut found);
        leaves(&command, "", &mut commands);
        for command in &commands {
            assert!(found.iter().any(|(words, _)| words == command), "`{command}` has no example");
        }
        for (_, help) in &found {
            for line in help.lines().skip(1) {
                let words = line.trim_start().strip_prefix("cargo ").expect("a call of cargo");
                let words = shlex::split(words).expect("words of a shell");
                let _ = Xtask::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
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
                if let Err(error) = Xtask::try_parse_from(std::iter::once("cargo xtask").chain(words)) {
                    panic!("{}: {line}: {error}", file.path().display());
                }
                count += 1;
            }
        }
        assert!(count >= 5, "{count} commands");
    }
}
