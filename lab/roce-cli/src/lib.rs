//! The command `roce`: opens captures and prints what the crate `roce` makes of them.
//!
//! Parse, match, one file a subcommand; each subcommand is its arguments and a `run`, so that other commands can carry it. Results go to standard output,
//! remarks and errors to standard error. A reader that leaves early, as `head` does, ends the command without an error.

#![forbid(unsafe_code)]

mod check;
mod diff;
mod error;
mod explain;
#[cfg(feature = "parquet")]
mod export;
mod filter;
mod follow;
mod input;
mod json;
mod ladder;
mod messages;
mod naming;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "pictures")]
mod picture;
mod progress;
mod report;
mod stats;
mod synth;
mod trace;

use std::net::IpAddr;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::input::Input;
use roce::wire::Decoder;
use roce::{Analysis, Names};

pub use check::Args as CheckArgs;
pub use diff::Args as DiffArgs;
pub use error::Error;
pub use explain::Args as ExplainArgs;
#[cfg(feature = "parquet")]
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
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Prints every packet, message and finding, under names that are the same in every run.
    Trace(TraceArgs),
    /// Checks every rule; exits 1 when one is broken, 2 when the capture could not be checked whole.
    Check(CheckArgs),
    /// Prints what a rule says, with a conversation that breaks it.
    Explain(ExplainArgs),
    /// Prints the messages: one line a work request.
    Messages(MessagesArgs),
    /// Prints counts: opcodes, bytes, latencies, retransmissions, queue pairs.
    Stats(StatsArgs),
    /// Draws the packets between the nodes: SVG, PNG, PDF, HTML, or a diagram for Markdown.
    Ladder(LadderArgs),
    /// Writes packets and messages as Parquet, for DuckDB, pandas and the like.
    #[cfg(feature = "parquet")]
    Export(ExportArgs),
    /// Writes a page of a capture, or of two side by side, that a browser shows without a network.
    Report(ReportArgs),
    /// Compares two captures by what they mean; exits 1 when they differ, 2 when they could not be compared whole.
    Diff(DiffArgs),
    /// Prints packets and findings as a growing capture gets them.
    Follow(FollowArgs),
    /// Writes a synthetic capture for benchmarks.
    #[command(hide = true)]
    Synth(SynthArgs),
    /// Prints the completions for a shell.
    Completions {
        /// Shell that they are for.
        shell: clap_complete::Shell,
    },
    /// Prints the man page.
    Man,
}

/// What every subcommand that reads a capture takes.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Common {
    /// Show only what matches all terms: `opcode=WORDS|NUMBER`, `qp=NUMBER|NAME`, `psn=A..B`, `direction=FROM>TO`, `time=A..B` in seconds from the first
    /// packet, `findings`. Names are the trace's, as in `qp=client.qp1 psn=client+1..4`. Everything is analysed all the same.
    #[arg(long, value_name = "TERMS")]
    filter: Option<Terms>,
    /// Call an address by a name, as in `198.51.100.1=server`; may be repeated. Without, a file's name resolution blocks count, and in a recording of the lab
    /// the interface that the node is at.
    #[arg(long = "name", value_name = "ADDRESS=NAME", value_parser = parse_name)]
    names: Vec<(IpAddr, String)>,
    /// Take UDP to this port for VXLAN too, besides 4789 and 8472; may be repeated.
    #[arg(long = "vxlan-port", value_name = "PORT")]
    vxlan_ports: Vec<u16>,
    /// Threads that work on a file; as many as there are processors, 4 at most, without. What is printed is the same.
    #[arg(long, value_name = "NUMBER")]
    threads: Option<NonZero<usize>>,
    /// Keep every packet of a large capture, in memory that grows with it; without, trace, ladder and diff have the first 100,000.
    #[arg(long)]
    all: bool,
}

/// Most threads that work on a file without being asked for.
const THREADS_MAX: NonZero<usize> = NonZero::new(4).unwrap();

/// Packets that are kept of a capture.
const PACKETS_MAX: usize = 100_000;

impl Common {
    /// An analysis for a trace.
    fn analysis(&self, names: Names) -> Analysis {
        if self.all { Analysis::new(names) } else { Analysis::of_first(names, PACKETS_MAX) }
    }

    /// Threads that work on a file.
    fn threads(&self) -> NonZero<usize> {
        self.threads.unwrap_or_else(|| {
            let processors = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
            // The checker takes the packets in order: more have nothing to do.
            processors.min(THREADS_MAX)
        })
    }

    /// The decoder of one capture's frames.
    fn decoder(&self) -> Decoder {
        Decoder::new().vxlan_ports(&self.vxlan_ports)
    }

    /// The names of nodes: those of the options before `defaults`, and these before what the capture itself says.
    fn names(&self, defaults: Names, files: &[PathBuf]) -> Names {
        let names = self.names.iter().fold(defaults, |names, (address, name)| names.with(*address, name));
        naming::of_capture(files, self, names)
    }

    /// The filter; a capture whose trace has the names in it is read for them first.
    fn filter(&self, files: &[PathBuf], names: &Names) -> Result<Filter, Error> {
        let terms = self.filter.clone().unwrap_or_default();
        if !terms.has_names() {
            return Ok(Filter::new(terms));
        }
        if let Some(file) = files.iter().find(|file| !input::can_be_read_again(file)) {
            let name = if *file == Path::new("-") {
                "standard input".to_owned()
            } else {
                file.display().to_string()
            };
            return Err(Error::new(format!(
                "names in a filter need the whole capture, and {name} comes only once"
            ))
            .next("give a file, or numbers"));
        }
        let (report, _) =
            trace::analyse(self, &mut Input::open(files, self)?, names.clone(), &Filter::default())?;
        if report.packets_untraced > 0 {
            return Err(Error::new(format!(
                "names in a filter are known of the first {PACKETS_MAX} packets, and the capture has {}",
                report.packets
            ))
            .next(
                "give numbers, as in `qp=0x11 psn=100..200`, or `--all`, whose memory grows with the capture",
            ));
        }
        let name = files.first().map(|file| file.display().to_string()).unwrap_or_default();
        Filter::named(terms, &report).map_err(|error| Error::new(format!("{name}: {error}")))
    }
}

fn parse_name(text: &str) -> Result<(IpAddr, String), String> {
    let (address, name) = text.split_once('=').ok_or("expected ADDRESS=NAME")?;
    let address = address.parse().map_err(|error| format!("{address:?}: {error}"))?;
    if name.is_empty() { Err("the name is empty".to_owned()) } else { Ok((address, name.to_owned())) }
}

/// The whole command: parses the process's arguments, runs, prints an error.
pub fn main() -> ExitCode {
    let names = Names::new();
    let result = match Cli::parse().command {
        Command::Trace(args) => args.run(names),
        Command::Check(args) => args.run(names),
        Command::Explain(args) => args.run(),
        Command::Messages(args) => args.run(names),
        Command::Stats(args) => args.run(names),
        Command::Ladder(args) => args.run(names),
        #[cfg(feature = "parquet")]
        Command::Export(args) => args.run(names),
        Command::Report(args) => args.run(names),
        Command::Diff(args) => args.run(names),
        Command::Follow(args) => args.run(names),
        Command::Synth(args) => args.run(),
        Command::Completions { shell } => output::print_with(|sink| {
            let mut text = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "roce", &mut text);
            sink.write_all(&text)
        })
        .map(|()| ExitCode::SUCCESS),
        Command::Man => man(),
    };
    result.unwrap_or_else(|error| {
        output::error(&error);
        ExitCode::FAILURE
    })
}

/// Prints the pages of the command and of its subcommands, one behind the other.
fn man() -> Result<ExitCode, Error> {
    output::print_with(|sink| {
        let mut command = Cli::command();
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
        Cli::command().debug_assert();
    }

    #[test]
    fn a_name_needs_an_address() {
        assert!(parse_name("198.51.100.1=server").is_ok());
        for bad in ["server", "x=server", "198.51.100.1="] {
            assert!(parse_name(bad).is_err(), "{bad}");
        }
    }
}
