//! The command `roce`: opens captures and prints what the crate `roce` makes of them.
//!
//! Parse, match, one file a subcommand; each subcommand is its arguments and a `run`, so that other commands can carry it. Results go to standard output,
//! remarks and errors to standard error. A reader that leaves early, as `head` does, ends the command without an error.

#![forbid(unsafe_code)]

mod analyse;
mod check;
mod common;
mod diff;
mod error;
mod explain;
mod export;
mod filter;
mod follow;
mod input;
mod json;
mod ladder;
pub mod live;
mod messages;
mod naming;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "pictures")]
mod picture;
mod progress;
mod report;
#[cfg(feature = "parquet")]
mod rows;
mod side_by_side;
mod stats;
mod synth;
#[cfg(feature = "terminal")]
pub mod terminal;
mod trace;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use roce::Names;

pub use check::Args as CheckArgs;
pub use common::Common;
pub use diff::Args as DiffArgs;
pub use error::Error;
pub use explain::Args as ExplainArgs;
pub use export::Args as ExportArgs;
pub use filter::{Filter, PacketInfo, Terms};
pub use follow::Args as FollowArgs;
pub use ladder::Args as LadderArgs;
pub use messages::Args as MessagesArgs;
pub use report::Args as ReportArgs;
pub use stats::Args as StatsArgs;
pub use synth::Args as SynthArgs;
pub use trace::Args as TraceArgs;

/// Reads captures of RoCEv2: trace, rules, messages, statistics.
///
/// FILE is a pcap or pcapng capture, plain or compressed with gzip or zstd; `-` is standard input. Several are the rotated files of one capture.
#[derive(Debug, Parser)]
#[command(name = "roce", version, max_term_width = 100)]
struct Roce {
    #[command(subcommand)]
    command: RoceCommand,
}

#[derive(Debug, Subcommand)]
enum RoceCommand {
    /// Prints every packet, message and finding, under names that are the same in every run.
    #[command(
        after_help = "Examples:\n  roce trace capture.pcapng\n  roce trace capture.pcapng --filter 'qp=client.qp1 psn=client+1..4'"
    )]
    Trace(TraceArgs),
    /// Checks every rule; exits 1 when one is broken, 2 when the capture could not be checked whole.
    #[command(after_help = "Examples:\n  roce check capture.pcapng\n  roce check --each *.pcapng")]
    Check(CheckArgs),
    /// Prints what a rule says, with a conversation that breaks it.
    #[command(after_help = "Examples:\n  roce explain RequestPsnGap")]
    Explain(ExplainArgs),
    /// Prints the messages: one line a work request.
    #[command(
        after_help = "Examples:\n  roce messages capture.pcapng\n  roce messages --json capture.pcapng"
    )]
    Messages(MessagesArgs),
    /// Prints counts: opcodes, bytes, latencies, retransmissions, queue pairs.
    #[command(after_help = "Examples:\n  roce stats capture.pcapng\n  roce stats --json capture.pcapng")]
    Stats(StatsArgs),
    /// Draws the packets between the nodes: SVG, PNG, PDF, HTML, or a diagram for Markdown.
    #[command(
        after_help = "Examples:\n  roce ladder capture.pcapng -o ladder.svg\n  roce ladder capture.pcapng --packets 5..10 -o part.md"
    )]
    Ladder(LadderArgs),
    /// Writes packets and messages as Parquet, for DuckDB, pandas and the like.
    #[command(
        after_help = "Examples:\n  roce export --packets packets.parquet --messages messages.parquet capture.pcapng"
    )]
    Export(ExportArgs),
    /// Writes a page of a capture, or of two side by side, that a browser shows without a network.
    #[command(
        after_help = "Examples:\n  roce report capture.pcapng -o report.html\n  roce report before.pcapng after.pcapng -o report.html"
    )]
    Report(ReportArgs),
    /// Compares two captures by what they mean; exits 1 when they differ, 2 when they could not be compared whole.
    #[command(after_help = "Examples:\n  roce diff before.pcapng after.pcapng")]
    Diff(DiffArgs),
    /// Prints packets and findings as a growing capture gets them.
    #[command(after_help = "Examples:\n  roce follow capture.pcapng")]
    Follow(FollowArgs),
    /// Writes a synthetic capture for benchmarks.
    #[command(hide = true)]
    Synth(SynthArgs),
    /// Prints the completions for a shell.
    #[command(after_help = "Examples:\n  roce completions bash")]
    Completions {
        /// Shell that they are for.
        shell: clap_complete::Shell,
    },
    /// Prints the man page.
    #[command(after_help = "Examples:\n  roce man")]
    Man,
}

/// The command line, to be asked what it takes.
pub fn command() -> clap::Command {
    Roce::command()
}

/// The whole command: parses the words, of which the first is the program's name, runs, prints an error.
pub fn main(words: impl IntoIterator<Item = OsString>) -> ExitCode {
    let names = Names::new();
    let command = Roce::command();
    // In a pipe a line stays a line.
    let command = if io::stdout().is_terminal() { command } else { command.term_width(0) };
    let parsed =
        Roce::from_arg_matches(&command.get_matches_from(words)).unwrap_or_else(|error| error.exit());
    let result = match parsed.command {
        RoceCommand::Trace(args) => args.run(names),
        RoceCommand::Check(args) => args.run(names),
        RoceCommand::Explain(args) => args.run(),
        RoceCommand::Messages(args) => args.run(names),
        RoceCommand::Stats(args) => args.run(names),
        RoceCommand::Ladder(args) => args.run(names),
        RoceCommand::Export(args) => args.run(names),
        RoceCommand::Report(args) => args.run(names),
        RoceCommand::Diff(args) => args.run(names),
        RoceCommand::Follow(args) => args.run(names),
        RoceCommand::Synth(args) => args.run(),
        RoceCommand::Completions { shell } => output::print_with(|sink| {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Roce::command(), "roce", &mut text);
            sink.write_all(&text)
        })
        .map(|()| ExitCode::SUCCESS),
        RoceCommand::Man => man(),
    };
    result.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::FAILURE
    })
}

/// Prints the pages of the command and of its subcommands, one behind the other.
fn man() -> Result<ExitCode, Error> {
    output::print_with(|sink| {
        let mut command = Roce::command();
        command.build();
        clap_mangen::Man::new(command.clone()).render(sink)?;
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
            clap_mangen::Man::new(sub.clone()).render(sink)?;
        }
        Ok(())
    })
    .map(|()| ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Roce::command().debug_assert();
    }

    #[test]
    fn help_of_each_command_ends_with_examples_that_can_be_parsed() {
        for command in Roce::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let examples: Vec<&str> = help.lines().skip(1).collect();
            assert!(!examples.is_empty(), "{}", command.get_name());
            for example in examples {
                let words = example.replace("'qp=client.qp1 psn=client+1..4'", "qp=client.qp1");
                Roce::try_parse_from(words.split_whitespace())
                    .unwrap_or_else(|error| panic!("{example}: {error}"));
            }
        }
    }
}
