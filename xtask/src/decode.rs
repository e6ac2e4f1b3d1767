//! `cargo xtask decode FILE`: the RoCEv2 trace of a capture.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::node::Role;
use lab::provider::qemu::argv;
use lab::{Error, Result};
use roce::capture::{ReadError, Reader};
use roce::{Analysis, Names, Report};

use crate::output;

/// The arguments of `decode`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A pcap or pcapng file; `-` is standard input.
    file: PathBuf,
}

/// Prints the trace. What was read before a fault in the file is printed before the error.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let (name, source) = open(&args.file)?;
    let (report, stopped) = analyse(source);
    if let Some(report) = report {
        output::print(report.trace())?;
        if report.packets == 0 && stopped.is_none() {
            output::note(&format!("no RoCEv2 packet in {name}: {}", frames(&report)));
        }
    }
    match stopped {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(explain(&name, error)),
    }
}

/// Opens a capture; gives also what to call it.
fn open(file: &Path) -> Result<(String, Box<dyn Read>)> {
    if file == Path::new("-") {
        return Ok(("standard input".to_owned(), Box::new(io::stdin().lock())));
    }
    let name = file.display().to_string();
    if file.is_dir() {
        return Err(Error::capture(format!("{name} is a directory"))
            .next("name a capture in it, such as capture.pcapng"));
    }
    let source =
        File::open(file).map_err(|source| Error::capture(format!("failed to open {name}")).source(source))?;
    Ok((name, Box::new(source)))
}

/// Decodes a whole capture; gives what could be read, and why it ended before its end.
///
/// The lab's own addresses get the names of its nodes.
fn analyse(source: impl Read) -> (Option<Report>, Option<ReadError>) {
    let mut reader = match Reader::new(source) {
        Ok(reader) => reader,
        Err(error) => return (None, Some(error)),
    };
    let names = Names::new()
        .with(argv::address(Role::Server).into(), Role::Server.to_string())
        .with(argv::address(Role::Client).into(), Role::Client.to_string());
    let mut analysis = Analysis::new(names);
    let stopped = loop {
        match reader.next() {
            Ok(Some(record)) => analysis.push(&record),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    (Some(analysis.finish()), stopped)
}

/// What a capture without RoCEv2 holds.
fn frames(report: &Report) -> String {
    if report.records == 0 {
        return "it has no frame at all".to_owned();
    }
    let kinds: Vec<String> = report.not_roce.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!("{} other frames: {}", report.records, kinds.join(", "))
}

/// Says what to do about a capture that cannot be read.
fn explain(name: &str, error: ReadError) -> Error {
    let next = match &error {
        ReadError::Empty => "see whether what wrote it had the right to capture, and ended in peace",
        ReadError::NotACapture { .. } => "give a pcap or pcapng file, not compressed",
        ReadError::Cut { .. } => {
            "what was read is above; the rest is lost: let what writes the capture end before copying it"
        }
        ReadError::Malformed { .. } => "what was read is above; the file is damaged from there on",
        ReadError::Io { .. } => "",
    };
    let told = Error::capture(name).source(error);
    if next.is_empty() { told } else { told.next(next) }
}
