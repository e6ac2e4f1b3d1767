//! Why a command failed, and what to do next.

use std::fmt;
use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};

use roce::capture::ReadError;

/// Why a command failed.
#[derive(Debug)]
pub struct Error {
    what: String,
    next: Option<&'static str>,
}

impl Error {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), next: None }
    }

    pub(super) fn next(mut self, next: &'static str) -> Self {
        self.next = Some(next);
        self
    }

    /// Says what to do about a capture that cannot be read.
    pub(super) fn read(name: &str, error: &ReadError) -> Self {
        let told = Self::new(format!("{name}: {error}"));
        match error {
            ReadError::Empty => {
                told.next("see whether what wrote it had the right to capture, and ended by itself")
            }
            ReadError::NotACapture { .. } => {
                told.next("give a pcap or pcapng file, plain or compressed with gzip or zstd")
            }
            ReadError::Cut { offset: 0, .. } => {
                told.next("nothing of it can be read: let what writes the capture end before copying it")
            }
            ReadError::Cut { .. } => told.next(
                "what was read is above; the rest is lost: let what writes the capture end before copying it",
            ),
            ReadError::Malformed { .. } => {
                told.next("what was read is above; the file is damaged from there on")
            }
            ReadError::Io { source, .. }
                if matches!(source.kind(), InvalidData | InvalidInput | UnexpectedEof) =>
            {
                told.next("what was read is above; the compressed file is cut or damaged from there on")
            }
            ReadError::Io { .. } => told,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        match self.next {
            Some(next) => write!(f, "\n  next: {next}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Error {}
