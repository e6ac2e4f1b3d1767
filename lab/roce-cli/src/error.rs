//! Failure of a command, with what to do next.

use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};

pub use hinted::Hinted as Error;
use roce::capture::ReadError;

/// Says what to do about a capture that cannot be read.
pub(super) fn unreadable(name: &str, error: &ReadError) -> Error {
    let told = Error::new(format!("{name}: {error}"));
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
        ReadError::Malformed { .. } => told.next("what was read is above; the file is damaged from there on"),
        ReadError::Io { source, .. }
            if matches!(source.kind(), InvalidData | InvalidInput | UnexpectedEof) =>
        {
            told.next("what was read is above; the compressed file is cut or damaged from there on")
        }
        ReadError::Io { .. } => told,
    }
}
