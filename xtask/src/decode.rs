//! `cargo xtask decode FILE`: the RoCEv2 trace of a capture.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::error::IoContext as _;
use lab::{Error, Result};
use roce::capture::{ReadError, Reader};

use crate::output;

/// The arguments of `decode`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A pcap or pcapng file; `-` is standard input.
    file: PathBuf,
}

/// Prints the trace. What was read before a fault in the file is printed before the error.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let name = args.file.display().to_string();
    let source: Box<dyn Read> = if args.file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        if args.file.is_dir() {
            return Err(Error::capture(format!("{name} is a directory"))
                .next("name a capture in it, such as capture.pcapng"));
        }
        Box::new(File::open(&args.file).at("failed to open", &args.file)?)
    };
    let (trace, stopped) = trace(source);
    output::print(&trace)?;
    match stopped {
        None => Ok(ExitCode::SUCCESS),
        Some(error) => Err(explain(&name, error)),
    }
}

/// Decodes a whole capture; gives what could be read, and why it ended before its end.
fn trace(source: impl Read) -> (String, Option<ReadError>) {
    let mut reader = match Reader::new(source) {
        Ok(reader) => reader,
        Err(error) => return (String::new(), Some(error)),
    };
    let mut trace = String::new();
    loop {
        match reader.next() {
            Ok(Some(record)) => {
                let opcode = record.frame().packet().and_then(|packet| packet.opcode());
                trace.push_str(&format!("{} {opcode:?}\n", record.number));
            }
            Ok(None) => return (trace, None),
            Err(error) => return (trace, Some(error)),
        }
    }
}

/// Says what to do about a capture that cannot be read.
fn explain(name: &str, error: ReadError) -> Error {
    let next = match &error {
        ReadError::Empty => {
            "see whether what wrote it had the right to capture, and ended in peace"
        }
        ReadError::NotACapture { .. } => "give a pcap or pcapng file, not compressed",
        ReadError::Cut { .. } => {
            "what was read is above; the rest is lost: let what writes the capture end before copying it"
        }
        ReadError::Malformed { .. } => "what was read is above; the file is damaged from there on",
        ReadError::Io { .. } => "",
    };
    let told = Error::capture(name).source(error);
    if next.is_empty() {
        told
    } else {
        told.next(next)
    }
}
